//! The table of connections: a slab whose slots are used again, under ids that are not.

use slab::Slab;

use crate::id::ConnectionId;
use crate::protocol::room::give_back;

/// The entries of the connections, by id.
#[derive(Debug)]
pub struct Table<T> {
    slots: Slab<(ConnectionId, T)>,
    /// The generation of the newest connection. It starts again at 1 after 4 billion connections. An old id can name a
    /// new connection only if the id is kept for so long.
    generation: u32,
}

impl<T> Table<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            slots: Slab::new(),
            generation: 0,
        }
    }

    /// Puts an entry in and returns its id.
    pub fn insert(&mut self, entry: T) -> ConnectionId {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let vacant = self.slots.vacant_entry();
        let slot = u32::try_from(vacant.key()).expect("descriptors are 32-bit numbers");
        let id = ConnectionId::new(slot, self.generation);
        vacant.insert((id, entry));
        id
    }

    /// The entry with this id, if it still exists.
    pub fn find(&mut self, id: ConnectionId) -> Option<&mut T> {
        let (owner, entry) = self.slots.get_mut(id.slot())?;
        (*owner == id).then_some(entry)
    }

    /// Takes out the entry with this id.
    pub fn remove(&mut self, id: ConnectionId) -> Option<T> {
        self.find(id)?;
        let (_, entry) = self.slots.remove(id.slot());
        give_back(&mut self.slots);
        Some(entry)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, (_, entry))| entry)
    }

    /// The ids of all entries, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.slots.iter().map(|(_, (id, _))| *id)
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}
