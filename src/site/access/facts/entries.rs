//! What is kept of each item and category, and in which order entries are asked for again and forgotten.
//!
//! An entry that nobody watches lets visitors in for as long as its fact is [`FRESH`], and is forgotten then. An entry
//! that is watched stays, and is asked for again before the sweep interval is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::protocol::refresh::{Place, Refresh};
use crate::site::access::subject::Subject;
use crate::site::access::visible::{self, Fact};
use crate::store::{CategoryStep, MOST_KEYS};
use crate::time::{Now, Time};

/// How old a fact may be that lets a visitor in.
pub const FRESH: Duration = Duration::from_secs(5);

/// Entries; a hundred questions fill a fiftieth of them. Those that are watched are never forgotten: when all of them
/// are watched, nobody else is let in.
pub(in crate::site::access) const MOST: usize = 50_000;

/// The kind that is categories; item types come behind it.
pub(super) const CATEGORIES: usize = 0;

/// An item or a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// [`CATEGORIES`], or one more than the index of the item's type.
    pub(super) kind: usize,
    pub(super) id: u64,
}

/// What is kept of an item or a category.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) fact: Option<Fact>,
    /// When the fact was asked for; `None`: it is stale.
    pub(super) since: Option<Now>,
    /// The number of the recheck that it was doubted by last. An answer to an earlier question is not believed.
    pub(super) version: u64,
    /// A question with it and others made no sense: it is asked for by itself.
    pub(super) alone: bool,
    /// Subjects that somebody is subscribed to, and how often they were watched. Empty: the entry stands in
    /// `unwatched`.
    watchers: Vec<(Subject, usize)>,
    place: Place,
    /// Its key in `unwatched`.
    serial: u64,
    /// Its key in `dates`.
    date: Option<i64>,
}

impl Entry {
    pub(super) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.place == Place::Asked
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.watchers.iter().map(|(subject, _)| subject)
    }

    fn is_fresh(&self, now: Time) -> bool {
        self.since.is_some_and(|since| now.since(since.at) <= FRESH)
    }

    /// What lets a visitor in (`fresh`), or lets a subscriber stay.
    pub(super) fn is_known(&self, fresh: bool, now: Time) -> bool {
        if fresh {
            self.is_fresh(now)
        } else {
            self.since.is_some()
        }
    }

    /// The categories that it is in, as far as they are known.
    pub(super) fn chain(&self) -> &[CategoryStep] {
        match &self.fact {
            Some(Fact::Item(Some(row))) => row.categories.as_deref().unwrap_or_default(),
            Some(Fact::Category(Some(row))) => &row.chain,
            _ => &[],
        }
    }
}

/// See the file.
#[derive(Debug)]
pub(super) struct Entries {
    /// In order, so that the same inputs ask the same questions in each run.
    entries: BTreeMap<Key, Entry>,
    /// The entries that nobody watches, by when they were last answered or wanted.
    unwatched: BTreeMap<u64, Key>,
    /// One schedule for each kind; watched entries alone are due.
    schedules: Vec<Refresh<u64>>,
    /// When dates of watched items come: Unix seconds.
    dates: BTreeSet<(i64, Key)>,
    /// Counts what was put into `unwatched`.
    serial: u64,
    sweep_interval: Duration,
}

impl Entries {
    pub(super) fn new(kinds: usize, sweep_interval: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            unwatched: BTreeMap::new(),
            schedules: (0..kinds).map(|_| Refresh::default()).collect(),
            dates: BTreeSet::new(),
            serial: 0,
            sweep_interval,
        }
    }

    pub(super) fn set_interval(&mut self, sweep_interval: Duration) {
        self.sweep_interval = sweep_interval;
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    // --- what is kept --------------------------------------------------------------------------------------------

    /// Makes sure of room for an entry. The oldest one that nobody watches goes. Returns whether there is room.
    pub(super) fn make_room(&mut self, key: Key) -> bool {
        if self.entries.len() < MOST || self.entries.contains_key(&key) {
            return true;
        }
        let oldest = self.unwatched.first_key_value().map(|(_, oldest)| *oldest);
        oldest.into_iter().for_each(|oldest| self.forget(oldest));
        oldest.is_some()
    }

    fn forget(&mut self, key: Key) {
        if let Some(mut entry) = self.entries.remove(&key) {
            self.schedules[key.kind].remove(key.id, &mut entry.place);
            self.unwatched.remove(&entry.serial);
        }
    }

    /// Forgets what nobody watches and what lets nobody in any more, except what is being asked for.
    pub(super) fn forget_old(&mut self, now: Time) {
        while let Some((_, &key)) = self.unwatched.first_key_value() {
            let Some(entry) = self.entries.get(&key) else { return };
            if entry.is_fresh(now) || entry.place != Place::Idle {
                return;
            }
            self.forget(key);
        }
    }

    /// Somebody is subscribed to a subject.
    pub(super) fn watch(&mut self, key: Key, subject: &Subject) {
        if !self.entries.contains_key(&key) {
            // The subscriber was let in by facts that are gone meanwhile. The bound is for newcomers, not for
            // subscribers.
            self.make_room(key);
            self.want(key);
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        match entry.watchers.iter_mut().find(|(watched, _)| watched == subject) {
            Some((_, count)) => return *count += 1,
            None => entry.watchers.push((subject.clone(), 1)),
        }
        if entry.watchers.len() > 1 {
            return;
        }
        self.unwatched.remove(&entry.serial);
        if entry.place == Place::Idle {
            self.rest(key);
        }
        self.note_date(key, None);
    }

    /// Takes back one [`Entries::watch`]. Returns whether nobody watches the entry any more.
    pub(super) fn unwatch(&mut self, key: Key, subject: &Subject) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        let Some(at) = entry.watchers.iter().position(|(watched, _)| watched == subject) else {
            debug_assert!(false, "unwatched more often than watched");
            return false;
        };
        entry.watchers[at].1 -= 1;
        if entry.watchers[at].1 > 0 {
            return false;
        }
        entry.watchers.swap_remove(at);
        if entry.is_watched() {
            return false;
        }
        if let Some(date) = entry.date.take() {
            self.dates.remove(&(date, key));
        }
        if let Place::Due(_) = entry.place {
            self.schedules[key.kind].remove(key.id, &mut entry.place);
        }
        self.serial += 1;
        entry.serial = self.serial;
        self.unwatched.insert(self.serial, key);
        true
    }

    // --- when it is asked for ------------------------------------------------------------------------------------

    /// Asks for an entry soon, if it is not asked for already.
    pub(super) fn want(&mut self, key: Key) {
        let entry = self.entries.entry(key).or_insert_with(|| {
            self.serial += 1;
            self.unwatched.insert(self.serial, key);
            Entry {
                serial: self.serial,
                ..Entry::default()
            }
        });
        if let Place::Idle | Place::Due(_) = entry.place {
            self.schedules[key.kind].hurry(key.id, &mut entry.place);
        }
    }

    /// An entry is in a question.
    pub(super) fn asked(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.schedules[key.kind].asked(key.id, &mut entry.place);
        }
    }

    /// The question got no answer. Entries that were forgotten, or came anew since, are not concerned.
    pub(super) fn ask_again(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_asked_for()) {
            self.schedules[key.kind].hurry(key.id, &mut entry.place);
        }
    }

    /// Puts an entry where it waits after an answer: to the others that are due, or that are soon forgotten.
    pub(super) fn rest(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let schedule = &mut self.schedules[key.kind];
        match (entry.is_watched(), entry.since) {
            (true, Some(since)) => schedule.seen(key.id, &mut entry.place, since.at, self.sweep_interval),
            (true, None) => schedule.hurry(key.id, &mut entry.place),
            (false, _) => {
                schedule.remove(key.id, &mut entry.place);
                self.unwatched.remove(&entry.serial);
                self.serial += 1;
                entry.serial = self.serial;
                self.unwatched.insert(self.serial, key);
            }
        }
    }

    /// Whether a visitor or a subscriber waits for entries of a kind.
    pub(super) fn is_urgent(&self, kind: usize) -> bool {
        self.schedules[kind].has_urgent()
    }

    /// When the first entry of a kind is due.
    pub(super) fn first_due(&self, kind: usize) -> Time {
        self.schedules[kind].first_due()
    }

    /// When the first entry of all is due, or the past if one is urgent.
    pub(super) fn due(&self) -> Time {
        let schedules = self.schedules.iter();
        let due = schedules.map(|schedule| match schedule.has_urgent() {
            true => Time::default(),
            false => schedule.first_due(),
        });
        due.min().unwrap_or(Time::NEVER)
    }

    /// The urgent entries of a kind, as many as one question takes.
    pub(super) fn urgent_batch(&self, kind: usize) -> Vec<u64> {
        self.batch(kind, self.schedules[kind].urgent())
    }

    /// The entries of a kind that are due now or an eighth of the interval later, as many as one question takes.
    pub(super) fn due_batch(&self, kind: usize, now: Time) -> Vec<u64> {
        self.batch(kind, self.schedules[kind].due(now + self.sweep_interval / 8))
    }

    /// The first of a queue, up to one that is asked for by itself.
    fn batch(&self, kind: usize, queue: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut ids = Vec::new();
        for id in queue.take(MOST_KEYS) {
            let alone = self.entries.get(&Key { kind, id }).is_some_and(|entry| entry.alone);
            if alone && !ids.is_empty() {
                break;
            }
            ids.push(id);
            if alone {
                break;
            }
        }
        ids
    }

    // --- dates ---------------------------------------------------------------------------------------------------

    /// The Unix second of the first date that comes.
    pub(super) fn first_date(&self) -> Option<i64> {
        self.dates.first().map(|(date, _)| *date)
    }

    /// Takes out an entry of which a date has come.
    pub(super) fn pass_date(&mut self, unix: i64) -> Option<Key> {
        let (date, key) = *self.dates.first().filter(|(date, _)| *date <= unix)?;
        self.dates.remove(&(date, key));
        self.note_date(key, Some(unix));
        Some(key)
    }

    /// Notes when the next date of a watched item comes, after a Unix second (`None`: after its fact was asked for).
    pub(super) fn note_date(&mut self, key: Key, after: Option<i64>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if let Some(date) = entry.date.take() {
            self.dates.remove(&(date, key));
        }
        if let (Some(fact), Some(since), true) = (&entry.fact, entry.since, entry.is_watched()) {
            entry.date = visible::next_date(fact, after.unwrap_or(since.unix()));
            self.dates.extend(entry.date.map(|date| (date, key)));
        }
    }

    // --- for tests -----------------------------------------------------------------------------------------------

    /// How many entries there are, and how many of them somebody watches.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.len() - self.unwatched.len())
    }

    /// Panics unless all queues say the same as the entries do.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        let (mut urgent, mut due, mut unwatched, mut dates) = (0, 0, 0, 0);
        for (key, entry) in &self.entries {
            assert!(self.schedules[key.kind].agrees(key.id, entry.place));
            match entry.place {
                Place::Urgent(_) => urgent += 1,
                Place::Due(_) => {
                    due += 1;
                    assert!(entry.is_watched(), "only what is watched is due");
                }
                Place::Idle => assert!(!entry.is_watched(), "what is watched is asked for again"),
                Place::Asked => {}
            }
            if !entry.is_watched() {
                unwatched += 1;
                assert_eq!(self.unwatched.get(&entry.serial), Some(key));
                assert_eq!(entry.date, None);
            }
            if let Some(date) = entry.date {
                dates += 1;
                assert!(self.dates.contains(&(date, *key)));
            }
        }
        let lengths = self.schedules.iter().map(Refresh::lengths);
        let lengths = lengths.fold((0, 0), |all, own| (all.0 + own.0, all.1 + own.1));
        assert_eq!(lengths, (urgent, due));
        assert_eq!(unwatched, self.unwatched.len());
        assert_eq!(dates, self.dates.len());
    }
}
