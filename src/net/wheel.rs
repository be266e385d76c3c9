//! The timer wheel: a ring of one-second slots (after mosquitto's `keepalive.c`). The deadlines are in the connections.
//! The wheel only stores which connection is to be checked in which second.
//!
//! When the deadline of a connection moves away (it sent a message, or answered a ping), nothing is done here. The
//! check comes early, finds nothing due, and the connection is put in again. So a message costs no timer work, and a
//! connection costs one check per deadline at most. Rejected: a heap of timers, which would cost a push and a pop for
//! each message.

use crate::id::ConnectionId;
use crate::protocol::room::give_back;
use crate::time::Time;

/// Slots of the ring. A connection with a deadline further away is checked every `SLOTS` seconds, which is cheap.
const SLOTS: usize = 128;

/// Which connections are to be checked, and in which second.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<ConnectionId>>,
    /// The next second whose slot has not been emptied yet.
    next: u64,
    /// The first second with an entry; `u64::MAX`: there is none.
    first: u64,
}

impl Wheel {
    /// An empty wheel that starts at second 0.
    pub fn new() -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS],
            next: 0,
            first: u64::MAX,
        }
    }

    /// Asks for a check of `id` in the second after `deadline` begins, or earlier. Returns the second of the check.
    fn insert(&mut self, id: ConnectionId, deadline: Time) -> u64 {
        let second = self.second(deadline);
        self.slots[second as usize % SLOTS].push(id);
        self.first = self.first.min(second);
        second
    }

    /// Asks for a check in time for `deadline`, unless an earlier one is stored. The caller keeps `check_at` beside the
    /// connection: the second of the next check, `u64::MAX` while there is none. It sets `check_at` back at the check.
    #[inline]
    pub fn schedule(&mut self, id: ConnectionId, deadline: Time, check_at: &mut u64) {
        if deadline != Time::NEVER && self.second(deadline) < *check_at {
            *check_at = self.insert(id, deadline);
        }
    }

    /// In which second the check for this deadline would come.
    fn second(&self, deadline: Time) -> u64 {
        let after = deadline.seconds().saturating_add(1);
        after.clamp(self.next, self.next + SLOTS as u64 - 1)
    }

    /// Moves the connections that are to be checked by `now` into `due`.
    pub fn expire(&mut self, now: Time, due: &mut Vec<ConnectionId>) {
        if self.first == u64::MAX {
            // The wheel is empty: skip the seconds of the wait.
            self.next = self.next.max(now.seconds() + 1);
            return;
        }
        let last = now.seconds().min(self.next + SLOTS as u64 - 1);
        while self.next <= last {
            let slot = &mut self.slots[self.next as usize % SLOTS];
            due.append(slot);
            give_back(slot);
            self.next += 1;
        }
        self.next = self.next.max(now.seconds() + 1);
        if self.first < self.next {
            let mut seconds = self.next..self.next + SLOTS as u64;
            let first = seconds.find(|second| !self.slots[*second as usize % SLOTS].is_empty());
            self.first = first.unwrap_or(u64::MAX);
        }
    }

    /// When the next check is due; `None`: the wheel is empty.
    pub fn next_check(&self) -> Option<Time> {
        (self.first != u64::MAX).then(|| Time(self.first * 1_000_000))
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ConnectionId {
        ConnectionId::new(n, 1)
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn a_check_comes_within_a_second_after_the_deadline() {
        let mut wheel = Wheel::new();
        wheel.insert(id(1), Time(2_300_000));
        let mut due = Vec::new();
        wheel.expire(Time(2_999_999), &mut due);
        assert!(due.is_empty());
        assert_eq!(wheel.next_check(), Some(at(3)));
        wheel.expire(at(3), &mut due);
        assert_eq!(due, [id(1)]);
        assert_eq!(wheel.next_check(), None);
    }

    #[test]
    fn a_long_wait_skips_no_connection() {
        for gap in [1, 127, 128, 129, 1000] {
            let mut wheel = Wheel::new();
            let mut due = Vec::new();
            wheel.expire(at(50), &mut due);
            for n in 0..200u32 {
                wheel.insert(id(n), at(50 + u64::from(n)));
            }
            wheel.expire(at(50 + gap), &mut due);
            let far = (0..200u32).filter(|n| u64::from(*n).min(127) < gap).count();
            assert_eq!(due.len(), far, "gap {gap}");
        }
    }

    #[test]
    fn a_far_deadline_is_checked_within_one_turn_of_the_ring() {
        let mut wheel = Wheel::new();
        let second = wheel.insert(id(1), at(10_000));
        assert!(second < SLOTS as u64);
        assert_eq!(wheel.insert(id(2), Time::NEVER), second);
    }

    #[test]
    fn a_slot_frees_the_memory_of_a_crowd() {
        let mut wheel = Wheel::new();
        for n in 0..1000 {
            wheel.insert(id(n), at(5));
        }
        wheel.expire(at(6), &mut Vec::new());
        assert!(wheel.slots.iter().all(|slot| slot.capacity() <= 64));
    }
}
