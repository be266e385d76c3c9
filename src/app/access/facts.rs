//! What is known of items and categories: asked for in batches, believed for a while, looked at again while somebody watches.
//! A bounded cache that decides nothing about visitors.
//!
//! An entry that nobody watches serves whoever asks within [`FRESH`] and is forgotten then. An entry that is watched stays,
//! and its next look is due before the sweep interval is over, at a time that differs a little each round: what was asked for at
//! once (ten thousand pages after a restart) spreads by itself. One pass over all entries per interval was the loser: its pace
//! changes with their number, and an entry could wait for almost two intervals.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::subject::is_component;
use super::{Subject, visible};
use crate::config::ItemType;
use crate::store::{Answer, CategoryRow, Failure, ItemRow, MOST_KEYS, Question};
use crate::time::{Now, Time};

/// How old a fact may be that lets somebody in.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// Entries; a hundred questions fill a fiftieth of them. Those that are watched are never forgotten: when they are as
/// many, nobody else is let in.
pub(super) const MOST: usize = 50_000;

/// How long nothing is asked after the database failed; its own breaker knows better and is asked no more often than this.
const HOLD: Duration = Duration::from_secs(1);

/// After this a question without an answer is taken for lost. The store answers within its read timeout.
const LOST: Duration = Duration::from_secs(10);

/// At most one line about what cannot be checked in this time, for each kind.
const QUIET: Duration = Duration::from_secs(60);

/// Rechecks of categories that wait for the next look at all entries; more of them are a recheck of everything.
const MOST_SUSPECTS: usize = 1000;

/// The kind that is categories; item types come behind it.
const CATEGORIES: usize = 0;

/// An item or a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
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
    entries: HashMap<Key, Entry>,
    /// The entries that nobody watches, by when they were last answered or wanted.
    unwatched: BTreeMap<u64, Key>,
    /// When dates of watched items come: Unix seconds.
    turns: BTreeSet<(i64, Key)>,
    changed: BTreeSet<Key>,
    /// Categories that were rechecked, until all entries were looked through for them once.
    suspects: HashSet<u64>,
    asked: Vec<Asked>,
    /// Counts rechecks: an answer to a question from before one is not believed.
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

impl Facts {
    pub(super) fn new(types: Vec<ItemType>, sweep_interval: u64) -> Self {
        let mut kinds = Vec::new();
        kinds.resize_with(types.len() + 1, Kind::default);
        Self {
            types,
            sweep_interval: Duration::from_secs(sweep_interval.max(1)),
            kinds,
            entries: HashMap::new(),
            unwatched: BTreeMap::new(),
            turns: BTreeSet::new(),
            changed: BTreeSet::new(),
            suspects: HashSet::new(),
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

    pub(super) fn count(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.len() - self.unwatched.len())
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

    pub(super) fn watch(&mut self, key: Key, subject: &Subject) {
        if !self.entries.contains_key(&key) {
            // It was decided by facts that are gone meanwhile. The bound holds for those who come, not for those who are in.
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
        match (entry.place, entry.since) {
            (Place::Idle, Some(_)) => self.rest(key),
            (Place::Idle, None) => self.want(key),
            _ => {}
        }
        self.note_turn(key, None);
    }

    pub(super) fn unwatch(&mut self, key: Key, subject: &Subject) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let Some(at) = entry.watchers.iter().position(|(watched, _)| watched == subject) else {
            debug_assert!(false, "unwatched more often than watched");
            return;
        };
        entry.watchers[at].1 -= 1;
        if entry.watchers[at].1 > 0 {
            return;
        }
        entry.watchers.swap_remove(at);
        if !entry.watchers.is_empty() {
            return;
        }
        if let Some(turn) = entry.turn.take() {
            self.turns.remove(&(turn, key));
        }
        self.changed.remove(&key);
        let place = entry.place;
        self.rest(key);
        if let Place::Urgent(_) | Place::Asked = place {
            self.put(key, place);
        }
    }

    /// Notes when the next date of a watched item comes, after a Unix second (`None`: after its fact was asked for).
    fn note_turn(&mut self, key: Key, after: Option<i64>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if let Some(turn) = entry.turn.take() {
            self.turns.remove(&(turn, key));
        }
        let (Some(fact), Some(since)) = (&entry.fact, entry.since) else {
            return;
        };
        if entry.watchers.is_empty() {
            return;
        }
        entry.turn = visible::turns(fact, after.unwrap_or(visible::unix(since)));
        self.turns.extend(entry.turn.map(|turn| (turn, key)));
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
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys {
            self.doubt(key);
        }
    }

    /// Looks for everything that hangs on a category that was rechecked: one pass, however many they are.
    fn settle(&mut self) {
        if self.suspects.is_empty() {
            return;
        }
        let suspects = std::mem::take(&mut self.suspects);
        let hit = |(key, entry): (&Key, &Entry)| {
            let own = key.kind == CATEGORIES && suspects.contains(&key.id);
            let above = || entry.chain().iter().any(|step| suspects.contains(&step.id));
            (own || above()).then_some(*key)
        };
        let keys: Vec<Key> = self.entries.iter().filter_map(hit).collect();
        for key in keys {
            self.doubt(key);
        }
    }

    /// What is known of it is not believed any more. Who watches it is told when it is known again and differs.
    fn doubt(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.since = None;
        if !entry.watchers.is_empty() {
            self.want(key);
        }
    }

    pub(super) fn question(&mut self, now: Now) -> Option<Question> {
        self.now = now;
        self.settle();
        self.forget_old();
        self.give_up_lost();
        if now.at < self.hold {
            return None;
        }
        let (kind, ids) = self.next_batch()?;
        for &id in &ids {
            self.put(Key { kind, id }, Place::Asked);
        }
        let question = match kind {
            CATEGORIES => Question::Categories(ids.clone()),
            item => Question::Items {
                kind: item - 1,
                ids: ids.clone(),
            },
        };
        let version = self.version;
        self.asked.push(Asked {
            kind,
            ids,
            now,
            version,
        });
        Some(question)
    }

    /// What nobody watches and nobody may be let in by. Those who wait for an answer keep theirs.
    fn forget_old(&mut self) {
        while let Some((_, &key)) = self.unwatched.first_key_value() {
            let Some(entry) = self.entries.get(&key) else { return };
            let since = entry.since.map(|since| since.at);
            let fresh = since.is_some_and(|since| self.now.at.since(since) <= FRESH);
            if fresh || entry.place != Place::Idle {
                return;
            }
            self.forget(key);
        }
    }

    fn give_up_lost(&mut self) {
        let now = self.now.at;
        let is_lost = |asked: &mut Asked| now.since(asked.now.at) > LOST;
        let lost: Vec<Asked> = self.asked.extract_if(.., is_lost).collect();
        for asked in lost {
            self.ask_again(&asked);
        }
    }

    fn ask_again(&mut self, asked: &Asked) {
        for &id in &asked.ids {
            let key = Key { kind: asked.kind, id };
            // Others may have forgotten it, or it came anew since.
            if self.entries.get(&key).is_some_and(|entry| entry.place == Place::Asked) {
                let serial = self.next_serial();
                self.put(key, Place::Urgent(serial));
            }
        }
    }

    /// Those who wait and those who are due take turns, and so do the kinds.
    fn next_batch(&mut self) -> Option<(usize, Vec<u64>)> {
        let now = self.now.at;
        let count = self.kinds.len();
        let kinds: Vec<usize> = (1..=count).map(|step| (self.turn + step) % count).collect();
        let urgent = kinds.iter().find(|&&kind| !self.kinds[kind].urgent.is_empty());
        let is_due = |kind: usize| self.kinds[kind].due.first().is_some_and(|(at, _)| *at <= now);
        let due = kinds.iter().find(|&&kind| is_due(kind));
        let (kind, sweep) = match (urgent, due) {
            (None, None) => return None,
            (Some(_), Some(&due)) if !self.swept => (due, true),
            (Some(&urgent), _) => (urgent, false),
            (None, Some(&due)) => (due, true),
        };
        self.swept = sweep;
        self.turn = kind;
        let soon = now + self.sweep_interval / 8;
        let queue = &self.kinds[kind];
        let ids = match sweep {
            true => {
                let due = queue.due.iter().take_while(|(at, _)| *at <= soon);
                self.batch(kind, due.map(|(_, id)| *id))
            }
            false => self.batch(kind, queue.urgent.values().copied()),
        };
        Some((kind, ids))
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

    pub(super) fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now) {
        self.now = now;
        let (kind, ids) = match question {
            Question::Categories(ids) => (CATEGORIES, ids),
            Question::Items { kind, ids } => (kind + 1, ids),
            _ => return,
        };
        let is_it = |asked: &Asked| asked.kind == kind && asked.ids == *ids;
        let Some(at) = self.asked.iter().position(is_it) else {
            // It was taken for lost and is asked again.
            return;
        };
        let asked = self.asked.swap_remove(at);
        match answer {
            Ok(Answer::Items(rows)) if kind != CATEGORIES => {
                let rows = rows.into_iter().map(|row| (row.id, row)).collect();
                self.learn(&asked, rows, Fact::Item);
            }
            Ok(Answer::Categories(rows)) if kind == CATEGORIES => {
                let rows = rows.into_iter().map(|row| (row.id, row)).collect();
                self.learn(&asked, rows, Fact::Category);
            }
            Ok(_) => {
                debug_assert!(false, "the answer is not one to its question");
                self.fail(&asked, "the answer is another question's");
            }
            Err(Failure::Unavailable(_) | Failure::Locked) => {
                self.hold = now.at + HOLD;
                self.ask_again(&asked);
            }
            Err(Failure::Malformed(why)) if asked.ids.len() > 1 => {
                log::debug!("asking one by one: {why}");
                for &id in &asked.ids {
                    if let Some(entry) = self.entries.get_mut(&Key { kind, id }) {
                        entry.alone = true;
                    }
                }
                self.ask_again(&asked);
            }
            Err(failure) => self.fail(&asked, &failure.to_string()),
        }
    }

    fn learn<Row>(&mut self, asked: &Asked, mut rows: HashMap<u64, Row>, fact: fn(Option<Row>) -> Fact) {
        for &id in &asked.ids {
            let key = Key { kind: asked.kind, id };
            self.note(key, fact(rows.remove(&id)), asked);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.alone = false;
            }
        }
    }

    fn fail(&mut self, asked: &Asked, why: &str) {
        let now = self.now.at;
        for &id in &asked.ids {
            self.note(Key { kind: asked.kind, id }, Fact::Unknowable, asked);
        }
        let kind = &mut self.kinds[asked.kind];
        if kind.complained.is_none_or(|last| now.since(last) >= QUIET) {
            kind.complained = Some(now);
            let name = match asked.kind {
                CATEGORIES => "categories",
                item => &self.types[item - 1].name,
            };
            log::warn!("channels of {name} are closed, because access cannot be checked: {why}");
        }
    }

    fn note(&mut self, key: Key, fact: Fact, asked: &Asked) {
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.place == Place::Asked) else {
            return;
        };
        let watched = !entry.watchers.is_empty();
        if watched && entry.fact.as_ref() != Some(&fact) {
            self.changed.insert(key);
        }
        entry.fact = Some(fact);
        // Somebody said meanwhile that something changed: whether before or after the answer, nobody knows.
        let believed = asked.version == self.version;
        entry.since = believed.then_some(asked.now);
        self.rest(key);
        self.note_turn(key, None);
        if watched && !believed {
            self.want(key);
        }
    }

    /// Dates that came are changes.
    pub(super) fn take_changed(&mut self, now: Now) -> Vec<Subject> {
        self.now = now;
        let unix = visible::unix(now);
        while let Some(&(turn, key)) = self.turns.first()
            && turn <= unix
        {
            self.changed.insert(key);
            self.turns.remove(&(turn, key));
            self.note_turn(key, Some(unix));
        }
        let changed = std::mem::take(&mut self.changed);
        let entries = changed.iter().filter_map(|key| self.entries.get(key));
        let subjects = entries.flat_map(|entry| entry.watchers.iter().map(|(subject, _)| subject.clone()));
        subjects.collect()
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
            alone: false,
            watchers: Vec::new(),
            serial,
            turn: None,
        }
    }

    /// The categories that it hangs on, as far as is known.
    fn chain(&self) -> &[crate::store::CategoryStep] {
        match &self.fact {
            Some(Fact::Item(Some(row))) => row.categories.as_deref().unwrap_or_default(),
            Some(Fact::Category(Some(row))) => &row.chain,
            _ => &[],
        }
    }
}
