//! Values by connection: one place for each slot of the connection table. A slot is reused by other connections. So
//! each value stands beside the id of its connection, and a stale id finds nothing.
//!
//! Rejected: a map by id. It would hash at every look-up and take more memory, and the slots are dense anyway.

use super::room::give_back_slots;
use crate::id::ConnectionId;

/// Values, one per connection.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Option<(ConnectionId, T)>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Stores the value of a connection that has none yet. The value of the slot's former connection must be removed
    /// before.
    pub fn insert(&mut self, id: ConnectionId, value: T) {
        let slot = id.slot();
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        debug_assert!(self.slots[slot].is_none(), "the last owner of the slot is still there");
        self.slots[slot] = Some((id, value));
    }

    /// The value of a connection.
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        let (owner, value) = self.slots.get(id.slot())?.as_ref()?;
        (*owner == id).then_some(value)
    }

    /// The value of a connection.
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let (owner, value) = self.slots.get_mut(id.slot())?.as_mut()?;
        (*owner == id).then_some(value)
    }

    /// Removes the value of a connection. Gives back the memory of slots behind the last used one.
    pub fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let (_, value) = self.slots.get_mut(id.slot())?.take_if(|(owner, _)| *owner == id)?;
        give_back_slots(&mut self.slots);
        Some(value)
    }

    /// All connections with their values, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.slots.iter().flatten().map(|(id, value)| (*id, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_own_id_alone() {
        let (old, new) = (ConnectionId::new(3, 1), ConnectionId::new(3, 2));
        let mut slots = Slots::default();
        assert_eq!(slots.get(old), None);
        slots.insert(old, 'a');
        assert_eq!((slots.get(old), slots.get(new)), (Some(&'a'), None));
        assert_eq!(
            (slots.remove(new), slots.remove(old), slots.remove(old)),
            (None, Some('a'), None)
        );
        slots.insert(new, 'b');
        assert_eq!(slots.get_mut(old), None);
        assert_eq!(slots.get_mut(new), Some(&mut 'b'));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [(new, &'b')]);
    }

    #[test]
    fn slots_behind_the_last_one_in_use_are_given_back() {
        let mut slots = Slots::default();
        let ids: Vec<ConnectionId> = (0..10_000).map(|slot| ConnectionId::new(slot, 1)).collect();
        ids.iter().for_each(|id| slots.insert(*id, ()));
        for id in &ids[1..9_999] {
            slots.remove(*id);
        }
        assert_eq!(slots.slots.len(), 10_000, "the last slot is in use");
        slots.remove(ids[9_999]);
        assert_eq!((slots.slots.len(), slots.slots.capacity()), (1, 2));
    }
}
