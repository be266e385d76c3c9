//! The name of a connection. It is all that `net` and `app` know of each other.

use std::fmt;

/// One connection of this process's life: a slot of the table in the low 32 bits, its generation in the high 32.
///
/// A slot is used again, an id is not: a late event, timer or action that holds an old id finds nobody instead of
/// somebody else (nginx's instance bit, mio issues 172 and 808). Generation 0 is never given to a connection, so the
/// ids below 2^32 are free for listeners and signals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The id for `slot` in its `generation` (1 or more).
    pub fn new(slot: u32, generation: u32) -> Self {
        debug_assert!(generation > 0, "generation 0 belongs to listeners and signals");
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    /// The id that `raw` stands for; `None` when `raw` belongs to a listener or a signal.
    pub fn from_raw(raw: u64) -> Option<Self> {
        (raw >> 32 != 0).then_some(Self(raw))
    }

    /// The id as one number, as it is registered with the poller.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The slot of the table.
    pub fn slot(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    /// Which owner of the slot this is.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// `slot.generation`, short enough to start every log line.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot(), self.generation())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
