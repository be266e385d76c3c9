//! The unused capacity of collections. Collections grow with a crowd; when the crowd has left, `give_back` shrinks
//! them.
//!
//! Call `give_back` where entries are removed; so no timer is needed. A collection shrinks when it uses less than an
//! eighth of its capacity, to twice what it uses. So for each remaining entry that moves, many entries were removed.
//! Rejected: to shrink all collections every few seconds. That would wake an idle server and make one tick pay for
//! everything.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

use slab::Slab;

/// A capacity of this many entries is always kept; shrinking it is not worth an allocation.
const KEPT: usize = 64;

/// A collection with a capacity.
pub trait Room {
    /// The number of entries.
    fn used(&self) -> usize;
    /// The number of entries that fit without an allocation.
    fn room(&self) -> usize;
    /// Shrinks the capacity to about `entries`, if possible.
    fn shrink(&mut self, entries: usize);
}

/// Shrinks a collection that is nearly empty and was large.
pub fn give_back(of: &mut impl Room) {
    if of.room() > KEPT && of.used() < of.room() / 8 {
        of.shrink(2 * of.used());
    }
}

/// The same for a list by slot. Removes empty slots at the end first.
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

/// A slab cannot move its entries, so it keeps the capacity up to its last entry. Shrinking walks through the whole
/// capacity. So it is done only at lengths that are powers of two: about a dozen times, whatever the size and the order
/// of removal.
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

    /// Removes all entries of a collection of 10,000 one by one, and calls `give_back` after each.
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
    fn a_nearly_empty_collection_shrinks_in_few_steps() {
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
            of.remove(last.next().expect("one number for each entry"));
        });
    }

    #[test]
    fn a_capacity_in_use_or_a_small_one_is_kept() {
        let mut half: Vec<u8> = Vec::with_capacity(1000);
        half.resize(200, 0);
        give_back(&mut half);
        assert_eq!(half.capacity(), 1000);
        let mut small: Vec<u8> = Vec::with_capacity(KEPT);
        give_back(&mut small);
        assert_eq!(small.capacity(), KEPT);
    }

    #[test]
    fn empty_slots_at_the_end_are_removed() {
        let mut slots: Vec<Option<u32>> = vec![Some(0); 10_000];
        slots[1..9_999].fill(None);
        give_back_slots(&mut slots);
        assert_eq!(slots.len(), 10_000, "the last slot is in use");
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
