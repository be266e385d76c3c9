//! What is known of items and categories: asked for in batches, believed for a while, looked at again while somebody watches.
//! A bounded cache that decides nothing about visitors. `asking` makes the questions and learns from the answers,
//! `watching` knows who is to be told of a change.
//!
//! An entry that nobody watches serves whoever asks within [`FRESH`] and is forgotten then. An entry that is watched stays,
//! and its next look is due before the sweep interval is over, at a time that differs a little each round: what was asked for at
//! once (ten thousand pages after a restart) spreads by itself. One pass over all entries per interval was the loser: its pace
//! changes with their number, and an entry could wait for almost two intervals.

mod asking;
#[cfg(test)]
mod tests;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Subject;
use crate::config::ItemType;
use crate::store::{CategoryRow, CategoryStep, ItemRow, Question};
use crate::time::{Now, Time};

/// How old a fact may be that lets somebody in.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// Entries; a hundred questions fill a fiftieth of them. Those that are watched are never forgotten: when they are as
/// many, nobody else is let in.
pub(super) const MOST: usize = 50_000;

/// After this a question without an answer is taken for lost. The store answers within its read timeout.
const LOST: Duration = Duration::from_secs(10);

/// The kind that is categories; item types come behind it.
const CATEGORIES: usize = 0;

/// An item or a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Index of `Facts::kinds`.
    kind: usize,
    id: u64,
}

/// What the database said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    /// `None`: there is no such item.
    Item(Option<ItemRow>),
    /// `None`: there is no such category.
    Category(Option<CategoryRow>),
    /// It refused the question, or made no sense.
    Unknowable,
}

/// How old a fact may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// At most [`FRESH`].
    Fresh,
    /// As old as it is, if it was not declared stale.
    Any,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// This.
    Fact(&'a Fact),
    /// Nothing yet.
    Asked,
    /// Nothing, and there is no room to ask.
    Full,
}

/// See the file's comment.
#[derive(Debug)]
pub(super) struct Facts {
    types: Vec<ItemType>,
    sweep_interval: Duration,
    kinds: Vec<Kind>,
    /// In order, so that the same inputs ask the same questions in each run.
    entries: BTreeMap<Key, Entry>,
    /// The entries that nobody watches, by when they were last answered or wanted.
    unwatched: BTreeMap<u64, Key>,
    /// When dates of watched items come: Unix seconds.
    turns: BTreeSet<(i64, Key)>,
    changed: BTreeSet<Key>,
    /// Watched ones that are not believed any more, until they are asked for again.
    doubted: BTreeSet<Key>,
    /// Categories that were rechecked, until all entries were looked through for them once.
    suspects: BTreeSet<u64>,
    asked: Vec<Asked>,
    /// Counts rechecks.
    version: u64,
    /// Nothing is asked before.
    hold: Time,
    /// Numbers for the queues.
    serial: u64,
    /// Whether the last question was the sweep's, and the kind that it was about: the turn is the others' then.
    swept: bool,
    turn: usize,
    /// The last that was seen of the clocks.
    now: Now,
}

/// What is to be asked about one table.
#[derive(Debug, Default)]
struct Kind {
    /// At once, in this order: serial number → id.
    urgent: BTreeMap<u64, u64>,
    /// Watched ones, by when they are due.
    due: BTreeSet<(Time, u64)>,
    /// When it was last said that these cannot be checked.
    complained: Option<Time>,
}

#[derive(Debug)]
struct Entry {
    fact: Option<Fact>,
    /// When the fact was asked for; `None`: it is stale.
    since: Option<Now>,
    place: Place,
    /// The recheck that it was doubted by last: an answer to a question from before it is not believed.
    version: u64,
    /// A batch with it made no sense: it is asked for by itself.
    alone: bool,
    /// Who is told of changes, and how often they were watched. Empty: it has a place in `unwatched` instead.
    watchers: Vec<(Subject, usize)>,
    /// Its key in `unwatched`.
    serial: u64,
    /// Its key in `turns`.
    turn: Option<i64>,
}

/// Where an entry stands; the queues of its kind say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In no queue: nobody watches it.
    Idle,
    /// In `urgent`, by this number.
    Urgent(u64),
    /// In a question that has no answer yet.
    Asked,
    /// In `due`: it is watched.
    Due(Time),
}

/// A question that has no answer yet.
#[derive(Debug)]
struct Asked {
    kind: usize,
    ids: Vec<u64>,
    now: Now,
    version: u64,
}

/// What a question asks for.
pub(super) fn keys(question: &Question) -> impl Iterator<Item = Key> + use<'_> {
    let (kind, ids) = match question {
        Question::Categories(ids) => (CATEGORIES, ids.as_slice()),
        Question::Items { kind, ids } => (kind + 1, ids.as_slice()),
        _ => (CATEGORIES, &[][..]),
    };
    ids.iter().map(move |&id| Key { kind, id })
}

impl Facts {
    pub(super) fn new(types: Vec<ItemType>, sweep_interval: u64) -> Self {
        let mut kinds = Vec::new();
        kinds.resize_with(types.len() + 1, Kind::default);
        Self {
            types,
            sweep_interval: Duration::from_secs(sweep_interval.max(1)),
            kinds,
            entries: BTreeMap::new(),
            unwatched: BTreeMap::new(),
            turns: BTreeSet::new(),
            changed: BTreeSet::new(),
            doubted: BTreeSet::new(),
            suspects: BTreeSet::new(),
            asked: Vec::new(),
            version: 0,
            hold: Time::default(),
            serial: 0,
            swept: false,
            turn: 0,
            now: Now::default(),
        }
    }

    /// Whether everything was forgotten, because it would belong to other types.
    pub(super) fn reload(&mut self, types: Vec<ItemType>, sweep_interval: u64) -> bool {
        let other = types != self.types;
        if other {
            *self = Self::new(types, sweep_interval);
        }
        // What is due already stays so: it comes round once by the old interval.
        self.sweep_interval = Duration::from_secs(sweep_interval.max(1));
        other
    }

    /// The key of an item or a category of a type that is known.
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

    pub(super) fn has_doubts(&self) -> bool {
        !self.doubted.is_empty()
    }

    pub(super) fn is_doubted(&self, key: Key) -> bool {
        self.doubted.contains(&key)
    }

    /// What is known; if that is not enough, it is asked for.
    pub(super) fn know(&mut self, key: Key, age: Age, now: Now) -> Known<'_> {
        self.now = now;
        self.settle();
        let known = self.entries.get(&key).is_some_and(|entry| match (age, entry.since) {
            (_, None) => false,
            (Age::Any, Some(_)) => true,
            (Age::Fresh, Some(since)) => now.at.since(since.at) <= FRESH,
        });
        if !known {
            if !self.make_room(key) {
                return Known::Full;
            }
            self.want(key);
            return Known::Asked;
        }
        match self.entries.get(&key).and_then(|entry| entry.fact.as_ref()) {
            Some(fact) => Known::Fact(fact),
            None => Known::Asked,
        }
    }

    /// Makes sure of room for an entry; whether there is any. The oldest that nobody watches goes.
    fn make_room(&mut self, key: Key) -> bool {
        if self.entries.len() < MOST || self.entries.contains_key(&key) {
            return true;
        }
        match self.unwatched.first_key_value() {
            Some((_, oldest)) => {
                self.forget(*oldest);
                true
            }
            None => false,
        }
    }

    fn forget(&mut self, key: Key) {
        self.put(key, Place::Idle);
        self.doubted.remove(&key);
        if let Some(entry) = self.entries.remove(&key) {
            self.unwatched.remove(&entry.serial);
        }
    }

    /// Asks for it soon, if it is not asked for already.
    fn want(&mut self, key: Key) {
        let serial = self.next_serial();
        match self.entries.get(&key).map(|entry| entry.place) {
            Some(Place::Urgent(_) | Place::Asked) => {}
            Some(Place::Idle | Place::Due(_)) => self.put(key, Place::Urgent(serial)),
            None => {
                self.entries.insert(key, Entry::new(serial));
                self.unwatched.insert(serial, key);
                self.put(key, Place::Urgent(serial));
            }
        }
    }

    /// The only one that moves an entry: its own word and the queues of its kind agree.
    fn put(&mut self, key: Key, place: Place) {
        let (Some(entry), Some(kind)) = (self.entries.get_mut(&key), self.kinds.get_mut(key.kind)) else {
            return;
        };
        match std::mem::replace(&mut entry.place, place) {
            Place::Urgent(serial) => drop(kind.urgent.remove(&serial)),
            Place::Due(at) => drop(kind.due.remove(&(at, key.id))),
            Place::Idle | Place::Asked => {}
        }
        match place {
            Place::Urgent(serial) => drop(kind.urgent.insert(serial, key.id)),
            Place::Due(at) => drop(kind.due.insert((at, key.id))),
            Place::Idle | Place::Asked => {}
        }
    }

    /// Puts an entry where it waits while nothing is asked: to the others that are due, or that are soon forgotten.
    fn rest(&mut self, key: Key) {
        let serial = self.next_serial();
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if !entry.watchers.is_empty() {
            let since = entry.since.map_or(self.now.at, |since| since.at);
            let due = self.due_after(since, serial);
            return self.put(key, Place::Due(due));
        }
        self.unwatched.remove(&entry.serial);
        entry.serial = serial;
        self.unwatched.insert(serial, key);
        self.put(key, Place::Idle);
    }

    /// Between five and seven eighths of the interval later; a question takes in those that are due an eighth later.
    fn due_after(&self, since: Time, serial: u64) -> Time {
        let eighth = self.sweep_interval / 8;
        // The fractional parts of the multiples of the golden ratio: close numbers lie far apart, and none lies dense.
        let spread = (serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
        since + eighth * 5 + eighth * 2 * spread / 0x1_0000
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn deadline(&self) -> Time {
        if !self.suspects.is_empty() || !self.changed.is_empty() {
            return self.now.at;
        }
        let urgent = self.kinds.iter().any(|kind| !kind.urgent.is_empty());
        let due = self.kinds.iter().filter_map(|kind| kind.due.first()).map(|(at, _)| *at);
        let ask = due.chain(urgent.then_some(self.now.at)).min().unwrap_or(Time::NEVER);
        let lost = self
            .asked
            .iter()
            .map(|asked| asked.now.at + LOST + Duration::from_micros(1))
            .min();
        lost.into_iter().fold(ask.max(self.hold), Time::min)
    }

    pub(super) fn next_date(&self) -> Time {
        let first = self.turns.first();
        first.map_or(Time::NEVER, |(turn, _)| self.instant(*turn))
    }

    /// When the wall clock shows this, if it goes on as it is.
    fn instant(&self, unix: i64) -> Time {
        let ms = u64::try_from(unix).unwrap_or(0).saturating_mul(1000);
        self.now.at + Duration::from_millis(ms.saturating_sub(self.now.unix_ms))
    }
}

impl Fact {
    pub(super) fn is_unknowable(&self) -> bool {
        *self == Fact::Unknowable
    }
}

impl Entry {
    fn new(serial: u64) -> Self {
        Self {
            fact: None,
            since: None,
            place: Place::Idle,
            version: 0,
            alone: false,
            watchers: Vec::new(),
            serial,
            turn: None,
        }
    }

    /// The categories that it hangs on, as far as is known.
    fn chain(&self) -> &[CategoryStep] {
        match &self.fact {
            Some(Fact::Item(Some(row))) => row.categories.as_deref().unwrap_or_default(),
            Some(Fact::Category(Some(row))) => &row.chain,
            _ => &[],
        }
    }
}
