//! A refresh schedule: which facts are asked for next. A fact is *urgent* if a client waits for it; urgent facts are
//! asked for at once, in order. A known fact becomes *due* again before its interval is over. The time differs a little
//! in each round, so that facts that were asked for at the same time (ten thousand pages after a restart) spread out.
//!
//! Rejected: one pass over all facts in each interval. The pace would change with the number of facts, and a fact could
//! wait for almost two intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Time;

/// The state of a fact in the schedule. The owner of the fact stores it, so that the queues find the fact at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In no queue: the schedule does not ask for the fact again.
    #[default]
    Idle,
    /// In the queue of urgent facts, under this number.
    Urgent(i64),
    /// In a question that has no answer yet.
    Asked,
    /// Known. It is asked for again at this time.
    Due(Time),
}

/// The queues of a set of facts.
#[derive(Debug)]
pub struct Refresh<K> {
    urgent: BTreeMap<i64, K>,
    due: BTreeSet<(Time, K)>,
    /// The number of facts that became due. It determines the spread.
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
    /// Makes a fact urgent, behind all urgent facts.
    pub fn hurry(&mut self, key: K, place: &mut Place) {
        let last = self.urgent.last_key_value().map_or(0, |(number, _)| *number + 1);
        self.put(key, place, Place::Urgent(last));
    }

    /// Makes a fact urgent, before all urgent facts.
    pub fn hurry_first(&mut self, key: K, place: &mut Place) {
        let first = self.urgent.first_key_value().map_or(0, |(number, _)| *number - 1);
        self.put(key, place, Place::Urgent(first));
    }

    /// A fact was read at `since`. It becomes due between five and seven eighths of the interval later.
    pub fn seen(&mut self, key: K, place: &mut Place, since: Time, interval: Duration) {
        self.rounds += 1;
        // The fractional parts of the multiples of the golden ratio: consecutive numbers are far apart, and all are
        // spread evenly.
        let spread = (self.rounds.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
        let eighth = interval / 8;
        self.due_at(key, place, since + eighth * 5 + eighth * 2 * spread / 0x1_0000);
    }

    /// Makes a fact due at this time.
    pub fn due_at(&mut self, key: K, place: &mut Place, at: Time) {
        self.put(key, place, Place::Due(at));
    }

    /// The fact is part of a question.
    pub fn asked(&mut self, key: K, place: &mut Place) {
        self.put(key, place, Place::Asked);
    }

    /// Removes a fact from the queues.
    pub fn remove(&mut self, key: K, place: &mut Place) {
        self.put(key, place, Place::Idle);
    }

    /// The only function that moves a fact, so that its place and the queues always agree.
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

    /// The urgent facts, in order.
    pub fn urgent(&self) -> impl Iterator<Item = K> {
        self.urgent.values().copied()
    }

    /// The facts that are due at a time, in order.
    pub fn due(&self, at: Time) -> impl Iterator<Item = K> {
        self.due
            .iter()
            .take_while(move |(due, _)| *due <= at)
            .map(|(_, key)| *key)
    }

    /// Whether a fact is urgent.
    pub fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// When the first fact is due.
    pub fn first_due(&self) -> Time {
        self.due.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Whether the queues contain the fact exactly at its place.
    #[cfg(test)]
    pub(crate) fn agrees(&self, key: K, place: Place) -> bool {
        match place {
            Place::Urgent(number) => self.urgent.get(&number) == Some(&key),
            Place::Due(at) => self.due.contains(&(at, key)),
            Place::Idle | Place::Asked => true,
        }
    }

    /// The lengths of the two queues.
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
    fn facts_read_at_the_same_time_become_due_at_different_times() {
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
