//! The table of connections: a slab whose slots are used again while ids are not.

use slab::Slab;

use super::connection::Connection;
use crate::id::ConnectionId;
use crate::room::give_back;

/// Every connection of the process.
#[derive(Debug)]
pub struct Table<S> {
    slots: Slab<Connection<S>>,
    /// The generation of the newest connection. 4 billion connections later it starts again at 1; whoever still holds an
    /// id from then has held it for days.
    generation: u32,
}

impl<S> Table<S> {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            slots: Slab::new(),
            generation: 0,
        }
    }

    /// Puts in what `make` makes for the id it is given.
    pub fn insert(&mut self, make: impl FnOnce(ConnectionId) -> Connection<S>) -> ConnectionId {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let entry = self.slots.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("descriptors are 32-bit numbers");
        let id = ConnectionId::new(slot, self.generation);
        entry.insert(make(id));
        id
    }

    /// The connection with this id, if it is still there.
    pub fn find(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.slots.get_mut(id.slot()).filter(|connection| connection.id == id)
    }

    /// Takes out the connection with this id.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection<S>> {
        self.find(id)?;
        let removed = self.slots.remove(id.slot());
        give_back(&mut self.slots);
        Some(removed)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The ids of all, in no order that means anything.
    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.slots.iter().map(|(_, connection)| connection.id)
    }
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self::new()
    }
}
