//! A refresh schedule: which facts are asked for next. What somebody waits for is *urgent* and is asked for at once, in
//! order. What is known is *due* again before its interval is over, at a time that differs a little each round: facts
//! that were asked for at once (ten thousand pages after a restart) spread by themselves.
//!
//! Rejected: one pass over all facts in each interval. Its pace changes with their number, and a fact could wait for
//! almost two intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Time;

/// Where a fact stands in its schedule. Its owner keeps it, so that the fact is found in the queues at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In no queue: it is not asked for again by itself.
    #[default]
    Idle,
    /// In the queue of those that somebody waits for, by this number.
    Urgent(i64),
    /// In a question that has no answer yet.
    Asked,
    /// Known; it is asked for again at this time.
    Due(Time),
}

/// The queues of some facts.
#[derive(Debug)]
pub struct Refresh<K> {
    urgent: BTreeMap<i64, K>,
    due: BTreeSet<(Time, K)>,
    /// Counts the facts that became due, for the spread.
    rounds: u64,
}

impl<K> Default for Refresh<K> {
    fn default() -> Self {
        Self {
            urgent: BTreeMap::new(),
            due: BTreeSet::new(),
            rounds: 0,
        }
    }
}

impl<K: Copy + Ord> Refresh<K> {
    /// Puts a fact behind all that are urgent.
    pub fn hurry(&mut self, key: K, place: &mut Place) {
        let last = self.urgent.last_key_value().map_or(0, |(number, _)| *number + 1);
        self.put(key, place, Place::Urgent(last));
    }

    /// Puts a fact before all that are urgent.
    pub fn hurry_first(&mut self, key: K, place: &mut Place) {
        let first = self.urgent.first_key_value().map_or(0, |(number, _)| *number - 1);
        self.put(key, place, Place::Urgent(first));
    }

    /// A fact was seen at `since`: it is due between five and seven eighths of the interval later.
    pub fn seen(&mut self, key: K, place: &mut Place, since: Time, interval: Duration) {
        self.rounds += 1;
        // The fractional parts of the multiples of the golden ratio: close numbers lie far apart, and none lies dense.
        let spread = (self.rounds.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
        let eighth = interval / 8;
        self.due_at(key, place, since + eighth * 5 + eighth * 2 * spread / 0x1_0000);
    }

    /// A fact is due at this time.
    pub fn due_at(&mut self, key: K, place: &mut Place, at: Time) {
        self.put(key, place, Place::Due(at));
    }

    /// A fact is in a question.
    pub fn asked(&mut self, key: K, place: &mut Place) {
        self.put(key, place, Place::Asked);
    }

    /// Takes a fact out of the queues.
    pub fn remove(&mut self, key: K, place: &mut Place) {
        self.put(key, place, Place::Idle);
    }

    /// The only function that moves a fact: its place and the queues agree.
    fn put(&mut self, key: K, place: &mut Place, to: Place) {
        match std::mem::replace(place, to) {
            Place::Urgent(number) => drop(self.urgent.remove(&number)),
            Place::Due(at) => drop(self.due.remove(&(at, key))),
            Place::Idle | Place::Asked => {}
        }
        match to {
            Place::Urgent(number) => drop(self.urgent.insert(number, key)),
            Place::Due(at) => drop(self.due.insert((at, key))),
            Place::Idle | Place::Asked => {}
        }
    }

    /// Those that are urgent, in order.
    pub fn urgent(&self) -> impl Iterator<Item = K> {
        self.urgent.values().copied()
    }

    /// Those that are due at a time, in order.
    pub fn due(&self, at: Time) -> impl Iterator<Item = K> {
        self.due
            .iter()
            .take_while(move |(due, _)| *due <= at)
            .map(|(_, key)| *key)
    }

    /// Whether any is urgent.
    pub fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// When the first one is due.
    pub fn first_due(&self) -> Time {
        self.due.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Whether the queues have a fact where it says that it stands.
    #[cfg(test)]
    pub(crate) fn agrees(&self, key: K, place: Place) -> bool {
        match place {
            Place::Urgent(number) => self.urgent.get(&number) == Some(&key),
            Place::Due(at) => self.due.contains(&(at, key)),
            Place::Idle | Place::Asked => true,
        }
    }

    /// How many stand in each of the two queues.
    #[cfg(test)]
    pub(crate) fn lengths(&self) -> (usize, usize) {
        (self.urgent.len(), self.due.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(80);

    #[test]
    fn urgent_facts_are_asked_for_in_order_and_each_stands_in_one_queue() {
        let (mut refresh, mut places) = (Refresh::default(), [Place::Idle; 4]);
        for (key, place) in places[..3].iter_mut().enumerate() {
            refresh.hurry(key, place);
        }
        refresh.hurry_first(3, &mut places[3]);
        assert_eq!(refresh.urgent().collect::<Vec<_>>(), [3, 0, 1, 2]);
        refresh.asked(0, &mut places[0]);
        refresh.remove(1, &mut places[1]);
        refresh.seen(2, &mut places[2], Time::default(), INTERVAL);
        assert_eq!((refresh.lengths(), refresh.urgent().next()), ((1, 1), Some(3)));
        assert!((0..4).all(|key| refresh.agrees(key, places[key])));
    }

    #[test]
    fn what_was_seen_at_once_is_due_at_different_times_within_the_interval() {
        let mut refresh = Refresh::default();
        for key in 0..1000 {
            refresh.seen(key, &mut Place::Idle, Time::default(), INTERVAL);
        }
        let second = |second: u64| Time(second * 1_000_000);
        assert!(refresh.first_due() >= second(50));
        assert_eq!(refresh.due(second(70)).count(), 1000);
        for at in 51..70 {
            let due = refresh.due(second(at)).count() - refresh.due(second(at - 1)).count();
            assert!((40..60).contains(&due), "{due} in second {at}");
        }
    }
}
