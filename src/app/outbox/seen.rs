//! What comes out: rows that became visible, and numbers for those who look after the server.

use tungstenite::Utf8Bytes;

use super::control::Control;
use crate::protocol::SocketId;

/// What became visible, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// To be delivered now. It is in the history already.
    Event(Event),
    /// To be done now.
    Control(Control),
    /// Rows may have been lost for those who are connected: the ids went back, or rows were deleted before they were seen.
    Gap,
}

/// A row of the table that may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The row's id.
    pub id: u64,
    /// A valid name.
    pub channel: String,
    /// A valid name.
    pub event: String,
    /// As it was written.
    pub data: String,
    /// Who gets no copy.
    pub except: Option<SocketId>,
    /// As those who asked for recovery get it: with its position and, if that is lower, the safe one.
    pub frame: Utf8Bytes,
}

/// What happened so far, and how it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Rows that were seen, control rows and bad ones included.
    pub rows: u64,
    /// Rows that were skipped because they may not be published.
    pub bad: u64,
    /// Rows that appeared below a position that may have been given to clients.
    pub late: u64,
    /// Runs of missing ids that may still be filled.
    pub gaps_open: usize,
    /// Runs that will not be filled, as far as can be known, and that are still read.
    pub gaps_dead: usize,
    /// Runs that were found dead.
    pub died: u64,
    /// Runs that were taken for dead because there were too many.
    pub given_up: u64,
    /// New epochs that this process made or found, the first one included.
    pub epochs: u64,
    /// Ranges of rows that were deleted.
    pub deletes: u64,
    /// Rows in memory for recovery.
    pub history_rows: usize,
    /// Their bytes, and those of channels that were read again.
    pub history_bytes: usize,
    /// Milliseconds since the table was read last.
    pub lag_ms: u64,
    /// How far back everything that could be seen in the table has been read, in milliseconds.
    pub behind_ms: u64,
    /// More rows than one answer has room for were there at the last look.
    pub waiting: bool,
    /// Milliseconds for which a gap has held the safe position back.
    pub held_ms: u64,
}
