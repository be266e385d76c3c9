//! The facts about items and categories. They are asked for in batches, count for a limited time, are asked for again
//! while they are watched, and are in doubt when a control row reports a change. This module decides nothing about
//! visitors.
//!
//! `entries` stores the facts and schedules them, `questions` creates the questions. This file handles the answers and
//! returns the channels whose facts changed.

mod entries;
mod questions;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

#[cfg(test)]
pub(super) use self::entries::MOST;
use self::entries::{CATEGORIES, Entries, Entry};
pub use self::entries::{FRESH, Key};
use self::questions::{Asked, Questions};
use super::subject::{Subject, is_component};
use super::visible::{self, Fact};
use crate::config::ItemType;
use crate::logging::{More, RareLine};
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

/// The most rechecks of categories that wait until all entries are searched. If there are more, everything is
/// rechecked.
const MOST_SUSPECTS: usize = 1000;

/// The shortest time between two log lines of one kind about facts that cannot be checked.
const QUIET: Duration = Duration::from_secs(60);

/// The required age of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// At most five seconds (`FRESH`): for visitors who want to subscribe.
    Fresh,
    /// Any age, unless the fact was rechecked: for subscribers.
    Any,
}

/// The state of a fact.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// The fact is known.
    Fact(&'a Fact),
    /// The fact is not known yet.
    Asked,
    /// The fact is unknown, and there is no room to ask for it.
    Full,
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Facts {
    types: Vec<ItemType>,
    entries: Entries,
    questions: Questions,
    changed: BTreeSet<Key>,
    /// Watched entries that were rechecked and have had no answer since.
    doubted: BTreeSet<Key>,
    /// Rechecked categories for which the entries were not searched yet.
    suspects: BTreeSet<u64>,
    /// The number of rechecks.
    version: u64,
    /// The log lines of each kind about facts that cannot be checked.
    complained: Vec<RareLine>,
    /// The latest time of the inputs.
    now: Now,
}

/// The entries that a question asks for.
pub(super) fn keys(question: &Question) -> impl Iterator<Item = Key> + use<'_> {
    let (kind, ids) = kind_and_ids(question).unwrap_or_default();
    ids.iter().map(move |&id| Key { kind, id })
}

fn kind_and_ids(question: &Question) -> Option<(usize, &[u64])> {
    match question {
        Question::Categories(ids) => Some((CATEGORIES, ids)),
        Question::Items { kind, ids } => Some((kind + 1, ids)),
        _ => None,
    }
}

impl Facts {
    /// An empty state. `sweep_interval`: in seconds.
    pub(super) fn new(types: Vec<ItemType>, sweep_interval: u64) -> Self {
        let kinds = types.len() + 1;
        Self {
            types,
            entries: Entries::new(kinds, Duration::from_secs(sweep_interval.max(1))),
            questions: Questions::default(),
            changed: BTreeSet::new(),
            doubted: BTreeSet::new(),
            suspects: BTreeSet::new(),
            version: 0,
            complained: vec![RareLine::default(); kinds],
            now: Now::default(),
        }
    }

    /// Applies a configuration. If the item types changed, all facts are dropped, and the channels that must be watched
    /// anew are returned.
    pub(super) fn reload(&mut self, types: Vec<ItemType>, sweep_interval: u64) -> Option<Vec<Box<str>>> {
        let watched = (types != self.types).then(|| {
            let entries = self.entries.iter();
            let watched = entries.flat_map(|(_, entry)| &entry.channels).cloned().collect();
            *self = Self::new(types, sweep_interval);
            watched
        });
        // Entries that are due already stay due; their next round follows the new interval.
        self.entries.set_interval(Duration::from_secs(sweep_interval.max(1)));
        watched
    }

    /// The configured item types.
    pub(super) fn types(&self) -> &[ItemType] {
        &self.types
    }

    /// The key of an item or a category, if its type is configured.
    pub(super) fn key(&self, subject: &Subject) -> Option<Key> {
        match subject {
            Subject::Category { id, .. } => Some(Key {
                kind: CATEGORIES,
                id: *id,
            }),
            Subject::Item { kind, id } => self.item_key(kind, *id),
            _ => None,
        }
    }

    fn item_key(&self, name: &str, id: u64) -> Option<Key> {
        let index = self.types.iter().position(|item| item.name == name)?;
        Some(Key { kind: index + 1, id })
    }

    /// The fact of a key. If the fact does not have the required age, it is asked for.
    pub(super) fn know(&mut self, key: Key, age: Age, now: Now) -> Known<'_> {
        self.now = now;
        self.settle();
        let is_known = |entry: &Entry| entry.is_known(age == Age::Fresh, now.at);
        if !self.entries.get(key).is_some_and(is_known) {
            if !self.entries.make_room(key) {
                return Known::Full;
            }
            self.entries.want(key);
            return Known::Asked;
        }
        let fact = self.entries.get(key).and_then(|entry| entry.fact.as_ref());
        fact.map_or(Known::Asked, Known::Fact)
    }

    // --- subscribers ---------------------------------------------------------------------------------------------

    pub(super) fn watch(&mut self, key: Key, channel: &str) {
        self.entries.watch(key, channel);
    }

    pub(super) fn unwatch(&mut self, key: Key, channel: &str) {
        if self.entries.unwatch(key, channel) {
            self.changed.remove(&key);
            self.doubted.remove(&key);
        }
    }

    /// The watched channels whose facts changed since the last call. A date that has come is a change.
    pub(super) fn take_changed(&mut self, now: Now) -> Vec<Box<str>> {
        self.now = now;
        while let Some(key) = self.entries.pass_date(now.unix()) {
            self.changed.insert(key);
        }
        let changed = std::mem::take(&mut self.changed);
        let entries = changed.iter().filter_map(|key| self.entries.get(*key));
        entries.flat_map(|entry| &entry.channels).cloned().collect()
    }

    // --- rechecks ------------------------------------------------------------------------------------------------

    pub(super) fn has_doubts(&self) -> bool {
        !self.doubted.is_empty()
    }

    pub(super) fn is_doubted(&self, key: Key) -> bool {
        self.doubted.contains(&key)
    }

    pub(super) fn recheck(&mut self, name: &str, id: u64) {
        self.version += 1;
        match name.strip_suffix(".category") {
            Some(extension) if is_component(extension) => {
                if self.suspects.len() < MOST_SUSPECTS {
                    self.suspects.insert(id);
                } else {
                    self.recheck_all();
                }
            }
            _ => match self.item_key(name, id) {
                Some(key) => self.doubt(key),
                None => log::debug!("nobody can subscribe to items of the type {name:?}"),
            },
        }
    }

    pub(super) fn recheck_all(&mut self) {
        self.version += 1;
        self.suspects.clear();
        let keys: Vec<Key> = self.entries.iter().map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.doubt(key));
    }

    /// Puts everything in a rechecked category in doubt. One pass over all entries serves all rechecked categories.
    pub(super) fn settle(&mut self) {
        if self.suspects.is_empty() {
            return;
        }
        let suspects = std::mem::take(&mut self.suspects);
        let is_hit = |(key, entry): &(&Key, &Entry)| {
            key.kind == CATEGORIES && suspects.contains(&key.id)
                || entry.chain().iter().any(|step| suspects.contains(&step.id))
        };
        let keys: Vec<Key> = self.entries.iter().filter(is_hit).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.doubt(key));
    }

    /// The fact does not count any more. When it is known again and differs, its subscribers are checked again.
    fn doubt(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.since = None;
        entry.version = self.version;
        if entry.is_watched() {
            self.doubted.insert(key);
            self.entries.want(key);
        }
    }

    // --- questions and answers -----------------------------------------------------------------------------------

    pub(super) fn question(&mut self, now: Now) -> Option<Question> {
        self.now = now;
        self.settle();
        self.entries.forget_old(now.at);
        self.questions
            .next(self.types.len() + 1, &mut self.entries, self.version, now)
    }

    pub(super) fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now) {
        self.now = now;
        self.settle();
        let asked = kind_and_ids(question).and_then(|(kind, ids)| self.questions.answered(kind, ids));
        let Some(asked) = asked else { return };
        match answer {
            Ok(Answer::Items(rows)) if asked.kind != CATEGORIES => {
                let rows = rows.into_iter().map(|row| (row.id, visible::by_our_clock(row, now)));
                self.learn(&asked, rows.collect(), Fact::Item);
            }
            Ok(Answer::Categories(rows)) if asked.kind == CATEGORIES => {
                let rows = rows.into_iter().map(|row| (row.id, row)).collect();
                self.learn(&asked, rows, Fact::Category);
            }
            Ok(_) => {
                debug_assert!(false, "the answer is not one to its question");
                self.fail(&asked, "the answer is another question's");
            }
            Err(Failure::Unavailable(_) | Failure::Locked) => {
                self.questions.hold(now.at);
                asked.keys().for_each(|key| self.entries.ask_again(key));
            }
            Err(Failure::Malformed(why)) if asked.ids.len() > 1 => {
                log::debug!("asking one by one: {why}");
                for key in asked.keys() {
                    self.set_alone(key, true);
                    self.entries.ask_again(key);
                }
            }
            Err(failure) => self.fail(&asked, &failure.to_string()),
        }
    }

    fn set_alone(&mut self, key: Key, alone: bool) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.alone = alone;
        }
    }

    fn learn<Row>(&mut self, asked: &Asked, mut rows: HashMap<u64, Row>, fact: fn(Option<Row>) -> Fact) {
        for key in asked.keys() {
            self.note(key, fact(rows.remove(&key.id)), asked);
            self.set_alone(key, false);
        }
    }

    fn fail(&mut self, asked: &Asked, why: &str) {
        asked.keys().for_each(|key| self.note(key, Fact::Unknowable, asked));
        if let Some(more) = self.complained[asked.kind].allow(QUIET, self.now.at) {
            let name = match asked.kind {
                CATEGORIES => "categories",
                item => &self.types[item - 1].name,
            };
            log::warn!(
                "channels of {name} are closed, because access cannot be checked: {why}{}",
                More(more)
            );
        }
    }

    fn note(&mut self, key: Key, fact: Fact, asked: &Asked) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.is_asked_for()) else {
            return;
        };
        if entry.is_watched() && entry.fact.as_ref() != Some(&fact) {
            self.changed.insert(key);
        }
        entry.fact = Some(fact);
        // If there was a recheck after the question, the row may have been read before the change.
        let is_believed = asked.version >= entry.version;
        entry.since = is_believed.then_some(asked.now);
        if is_believed {
            self.doubted.remove(&key);
        }
        self.entries.rest(key);
        self.entries.note_date(key, None);
    }

    // --- time ----------------------------------------------------------------------------------------------------

    pub(super) fn deadline(&self) -> Time {
        match self.suspects.is_empty() && self.changed.is_empty() {
            true => self.questions.deadline(self.entries.due()),
            false => self.now.at,
        }
    }

    /// When the wall clock reaches the next date, if the clock is not adjusted.
    pub(super) fn next_date(&self) -> Time {
        self.entries.first_date().map_or(Time::NEVER, |unix| {
            let ms = u64::try_from(unix).unwrap_or(0).saturating_mul(1000);
            self.now.at + Duration::from_millis(ms.saturating_sub(self.now.unix_ms))
        })
    }

    // --- for tests -----------------------------------------------------------------------------------------------

    /// The number of entries, and how many of them are watched.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        self.entries.count()
    }

    /// Panics unless entries, queues and questions agree.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        self.entries.assert_consistent();
        let mut asked = self.entries.iter().filter(|(_, entry)| entry.is_asked_for());
        assert!(
            asked.all(|(key, _)| self.questions.has(*key)),
            "every entry that is asked for is in a question"
        );
        assert!(self.suspects.len() <= MOST_SUSPECTS);
    }
}
