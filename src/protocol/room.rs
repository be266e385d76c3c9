//! Room that collections keep for more entries than they hold. A crowd makes them grow; when it has gone, `give_back`
//! makes them small again.
//!
//! `give_back` is called where entries are taken out, so that no timer is needed: a collection shrinks when less than
//! an eighth of its room is in use, to twice what is. That moves each entry that is left once for many that went.
//! Rejected: to shrink all collections every few seconds. That would wake an idle server and make one tick pay for
//! everything.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

use slab::Slab;

/// Entries whose room is kept in any case: not worth an allocation.
const KEPT: usize = 64;

/// A collection that has room for more entries than it holds.
pub trait Room {
    /// Entries that it holds.
    fn used(&self) -> usize;
    /// Entries that it can hold without an allocation.
    fn room(&self) -> usize;
    /// Gives back room, but keeps some for `entries` in all, if it can.
    fn shrink(&mut self, entries: usize);
}

/// Makes a collection small that was large and is nearly empty.
pub fn give_back(of: &mut impl Room) {
    if of.room() > KEPT && of.used() < of.room() / 8 {
        of.shrink(2 * of.used());
    }
}

/// The same for a list by slot, whose last slots may be empty.
pub fn give_back_slots<T>(slots: &mut Vec<Option<T>>) {
    while let Some(None) = slots.last() {
        slots.pop();
    }
    give_back(slots);
}

impl<T> Room for Vec<T> {
    fn used(&self) -> usize {
        self.len()
    }
    fn room(&self) -> usize {
        self.capacity()
    }
    fn shrink(&mut self, entries: usize) {
        self.shrink_to(entries);
    }
}

impl<T> Room for VecDeque<T> {
    fn used(&self) -> usize {
        self.len()
    }
    fn room(&self) -> usize {
        self.capacity()
    }
    fn shrink(&mut self, entries: usize) {
        self.shrink_to(entries);
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Room for HashMap<K, V, S> {
    fn used(&self) -> usize {
        self.len()
    }
    fn room(&self) -> usize {
        self.capacity()
    }
    fn shrink(&mut self, entries: usize) {
        self.shrink_to(entries);
    }
}

/// A slab cannot move its entries, so it keeps the room up to its last one. To give back is to walk through all of its
/// room, so that is done only at lengths that are powers of two: a dozen times however large it was and in whichever
/// order its entries go.
impl<T> Room for Slab<T> {
    fn used(&self) -> usize {
        self.len()
    }
    fn room(&self) -> usize {
        self.capacity()
    }
    fn shrink(&mut self, _: usize) {
        if self.is_empty() || self.len().is_power_of_two() {
            self.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything out of a collection of 10,000, one by one, and gives back room after each.
    fn drain<R: Room>(mut of: R, mut take: impl FnMut(&mut R)) {
        let most = of.room();
        let (mut shrunk, mut moved) = (0, 0);
        while of.used() > 0 {
            take(&mut of);
            let before = of.room();
            give_back(&mut of);
            if of.room() < before {
                shrunk += 1;
                moved += of.used();
            }
            assert!(
                of.room() <= KEPT.max(8 * of.used()) * 2,
                "room for {} entries is kept for {}",
                of.room(),
                of.used()
            );
        }
        assert!(of.room() <= KEPT && most >= 10_000, "{most} became {}", of.room());
        assert!(
            shrunk < 10 && moved < 10_000,
            "{shrunk} times, {moved} entries were moved"
        );
    }

    #[test]
    fn what_is_nearly_empty_becomes_small_in_few_steps() {
        drain(vec![0; 10_000], |of| {
            of.pop();
        });
        drain(VecDeque::from(vec![0; 10_000]), |of| {
            of.pop_front();
        });
        let mut next = 0..;
        drain((0..10_000).map(|n| (n, n)).collect::<HashMap<_, _>>(), |of| {
            of.remove(&next.next().expect("numbers without end"));
        });
        let mut last = (0..10_000).rev();
        drain((0..10_000).map(|n| (n, n)).collect::<Slab<_>>(), |of| {
            of.remove(last.next().expect("one for each"));
        });
    }

    #[test]
    fn what_is_in_use_or_small_stays() {
        let mut half: Vec<u8> = Vec::with_capacity(1000);
        half.resize(200, 0);
        give_back(&mut half);
        assert_eq!(half.capacity(), 1000);
        let mut small: Vec<u8> = Vec::with_capacity(KEPT);
        give_back(&mut small);
        assert_eq!(small.capacity(), KEPT);
    }

    #[test]
    fn empty_slots_go_with_the_last_one_in_use() {
        let mut slots: Vec<Option<u32>> = vec![Some(0); 10_000];
        slots[1..9_999].fill(None);
        give_back_slots(&mut slots);
        assert_eq!(slots.len(), 10_000, "the last one is in use");
        slots[9_999] = None;
        give_back_slots(&mut slots);
        assert_eq!((slots.len(), slots.capacity()), (1, 2));

        let mut slab: Slab<u32> = (0..10_000).map(|n| (n, 0)).collect();
        for n in 0..9_999 {
            slab.remove(n);
        }
        give_back(&mut slab);
        assert!(slab.capacity() >= 10_000);
        slab.remove(9_999);
        give_back(&mut slab);
        assert_eq!((slab.capacity(), slab.insert(0)), (0, 0));
    }
}
