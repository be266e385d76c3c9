//! The entries of items and categories, and the order in which they are asked for again and dropped.
//!
//! An unwatched entry admits visitors for as long as its fact is [`FRESH`]; then the entry is dropped. A watched entry
//! stays, and is asked for again before the sweep interval is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::protocol::refresh::{Place, Refresh};
use crate::site::access::visible::{self, Fact};
use crate::store::{CategoryStep, MOST_KEYS};
use crate::time::{Now, Time};

/// The highest age of a fact that may admit a visitor.
pub const FRESH: Duration = Duration::from_secs(5);

/// The most entries; a hundred questions fill a fiftieth of them. Watched entries are never dropped. When all entries
/// are watched, no further visitor is admitted.
pub(in crate::site::access) const MOST: usize = 50_000;

/// The kind of categories; the item types follow behind it.
pub(super) const CATEGORIES: usize = 0;

/// An item or a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// [`CATEGORIES`], or the index of the item's type plus one.
    pub(super) kind: usize,
    pub(super) id: u64,
}

/// The entry of an item or a category.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) fact: Option<Fact>,
    /// When the fact was asked for; `None`: the fact is stale.
    pub(super) since: Option<Now>,
    /// The number of the last recheck that put the entry in doubt. An answer to an earlier question does not count.
    pub(super) version: u64,
    /// A question about this entry and others failed as malformed: the entry is asked for by itself.
    pub(super) alone: bool,
    /// The channels about the entry that have subscribers. If there are none, the entry is in `unwatched`.
    pub(super) channels: BTreeSet<Box<str>>,
    place: Place,
    /// The entry's place in `unwatched`.
    rank: Place,
    /// The entry's key in `dates`.
    date: Option<i64>,
}

impl Entry {
    pub(super) fn is_watched(&self) -> bool {
        !self.channels.is_empty()
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.place == Place::Asked
    }

    fn is_fresh(&self, now: Time) -> bool {
        self.since.is_some_and(|since| now.since(since.at) <= FRESH)
    }

    /// Whether the fact may admit a visitor (`fresh`), or lets a subscriber stay.
    pub(super) fn is_known(&self, fresh: bool, now: Time) -> bool {
        if fresh {
            self.is_fresh(now)
        } else {
            self.since.is_some()
        }
    }

    /// The categories of the entry, as far as they are known.
    pub(super) fn chain(&self) -> &[CategoryStep] {
        match &self.fact {
            Some(Fact::Item(Some(row))) => row.categories.as_deref().unwrap_or_default(),
            Some(Fact::Category(Some(row))) => &row.chain,
            _ => &[],
        }
    }
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Entries {
    /// Sorted, so that the same inputs cause the same questions in each run.
    entries: BTreeMap<Key, Entry>,
    /// The unwatched entries, in the order in which they were last answered or wanted.
    unwatched: Refresh<Key>,
    /// One schedule for each kind; only watched entries become due.
    schedules: Vec<Refresh<u64>>,
    /// The next dates of watched items, in Unix seconds.
    dates: BTreeSet<(i64, Key)>,
    sweep_interval: Duration,
}

impl Entries {
    pub(super) fn new(kinds: usize, sweep_interval: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            unwatched: Refresh::default(),
            schedules: (0..kinds).map(|_| Refresh::default()).collect(),
            dates: BTreeSet::new(),
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

    // --- the entries ---------------------------------------------------------------------------------------------

    /// Makes room for an entry; drops the oldest unwatched entry if needed. Returns whether there is room.
    pub(super) fn make_room(&mut self, key: Key) -> bool {
        if self.entries.len() < MOST || self.entries.contains_key(&key) {
            return true;
        }
        let oldest = self.oldest();
        oldest.into_iter().for_each(|oldest| self.forget(oldest));
        oldest.is_some()
    }

    /// The unwatched entry that was answered or wanted longest ago.
    fn oldest(&self) -> Option<Key> {
        self.unwatched.urgent().next()
    }

    fn forget(&mut self, key: Key) {
        if let Some(mut entry) = self.entries.remove(&key) {
            self.schedules[key.kind].remove(key.id, &mut entry.place);
            self.unwatched.remove(key, &mut entry.rank);
        }
    }

    /// Drops unwatched entries that cannot admit visitors any more, except entries that are being asked for.
    pub(super) fn forget_old(&mut self, now: Time) {
        while let Some(key) = self.oldest() {
            let Some(entry) = self.entries.get(&key) else { return };
            if entry.is_fresh(now) || entry.place != Place::Idle {
                return;
            }
            self.forget(key);
        }
    }

    /// Watches an entry: a channel about it has subscribers.
    pub(super) fn watch(&mut self, key: Key, channel: &str) {
        if !self.entries.contains_key(&key) {
            // The facts that admitted the subscriber were dropped meanwhile. The limit is for new visitors and not for
            // subscribers.
            self.make_room(key);
            self.want(key);
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let was_watched = entry.is_watched();
        entry.channels.insert(channel.into());
        if was_watched {
            return;
        }
        self.unwatched.remove(key, &mut entry.rank);
        if entry.place == Place::Idle {
            self.rest(key);
        }
        self.note_date(key, None);
    }

    /// Ends one [`Entries::watch`]. Returns whether the entry is unwatched now.
    pub(super) fn unwatch(&mut self, key: Key, channel: &str) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        let was_watched = entry.channels.remove(channel);
        debug_assert!(was_watched, "the channel watched the entry");
        if !was_watched || entry.is_watched() {
            return false;
        }
        if let Some(date) = entry.date.take() {
            self.dates.remove(&(date, key));
        }
        if let Place::Due(_) = entry.place {
            self.schedules[key.kind].remove(key.id, &mut entry.place);
        }
        self.unwatched.hurry(key, &mut entry.rank);
        true
    }

    // --- the schedule --------------------------------------------------------------------------------------------

    /// Asks for an entry soon, unless it is asked for already.
    pub(super) fn want(&mut self, key: Key) {
        let entry = self.entries.entry(key).or_insert_with(|| {
            let mut entry = Entry::default();
            self.unwatched.hurry(key, &mut entry.rank);
            entry
        });
        if let Place::Idle | Place::Due(_) = entry.place {
            self.schedules[key.kind].hurry(key.id, &mut entry.place);
        }
    }

    /// The entry is part of a question.
    pub(super) fn asked(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.schedules[key.kind].asked(key.id, &mut entry.place);
        }
    }

    /// The question got no answer. Entries that were dropped or created again meanwhile are not affected.
    pub(super) fn ask_again(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_asked_for()) {
            self.schedules[key.kind].hurry(key.id, &mut entry.place);
        }
    }

    /// Puts an entry in its place after an answer: to the due entries, or to the unwatched entries.
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
                self.unwatched.hurry(key, &mut entry.rank);
            }
        }
    }

    /// Whether a visitor or a subscriber waits for entries of a kind.
    pub(super) fn is_urgent(&self, kind: usize) -> bool {
        self.schedules[kind].has_urgent()
    }

    /// When the first watched entry of a kind is due.
    pub(super) fn first_due(&self, kind: usize) -> Time {
        self.schedules[kind].first_due()
    }

    /// When the first entry of all kinds is due; in the past if an entry is urgent.
    pub(super) fn due(&self) -> Time {
        let schedules = self.schedules.iter();
        let due = schedules.map(|schedule| match schedule.has_urgent() {
            true => Time::default(),
            false => schedule.first_due(),
        });
        due.min().unwrap_or(Time::NEVER)
    }

    /// The urgent entries of a kind; at most as many as fit one question.
    pub(super) fn urgent_batch(&self, kind: usize) -> Vec<u64> {
        self.batch(kind, self.schedules[kind].urgent())
    }

    /// The entries of a kind that are due within an eighth of the interval; at most as many as fit one question.
    pub(super) fn due_batch(&self, kind: usize, now: Time) -> Vec<u64> {
        self.batch(kind, self.schedules[kind].due(now + self.sweep_interval / 8))
    }

    /// The first entries of a queue. An entry that must be asked for by itself ends the batch.
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

    /// The Unix second of the next date.
    pub(super) fn first_date(&self) -> Option<i64> {
        self.dates.first().map(|(date, _)| *date)
    }

    /// Removes and returns an entry whose date has come.
    pub(super) fn pass_date(&mut self, unix: i64) -> Option<Key> {
        let (date, key) = *self.dates.first().filter(|(date, _)| *date <= unix)?;
        self.dates.remove(&(date, key));
        self.note_date(key, Some(unix));
        Some(key)
    }

    /// Schedules the next date of a watched item after a Unix second (`None`: after the time at which its fact was
    /// asked for).
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

    /// The number of entries, and how many of them are watched.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.len() - self.unwatched.lengths().0)
    }

    /// Panics unless all queues agree with the entries.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        let (mut urgent, mut due, mut unwatched, mut dates) = (0, 0, 0, 0);
        for (key, entry) in &self.entries {
            assert!(self.schedules[key.kind].agrees(key.id, entry.place));
            match entry.place {
                Place::Urgent(_) => urgent += 1,
                Place::Due(_) => {
                    due += 1;
                    assert!(entry.is_watched(), "only watched entries are due");
                }
                Place::Idle => assert!(!entry.is_watched(), "every watched entry is in the schedule"),
                Place::Asked => {}
            }
            if !entry.is_watched() {
                unwatched += 1;
                assert!(matches!(entry.rank, Place::Urgent(_)) && self.unwatched.agrees(*key, entry.rank));
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
        assert_eq!((unwatched, 0), self.unwatched.lengths());
        assert_eq!(dates, self.dates.len());
    }
}
