//! What comes out: rows that became visible, and numbers for those who look after the server.

use tungstenite::Utf8Bytes;

use crate::protocol::SocketId;
use crate::protocol::control::Control;

/// What became visible, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// To be delivered now. It is retained already.
    Event(Event),
    /// From before the start, and how old it is in milliseconds: for cache channels alone.
    Past(Event, u64),
    /// To be done now: rows behind it wait for it.
    Control(Control),
    /// Rows may have been lost for those who are connected, control rows too.
    Gap,
}

/// A row of the table that may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A valid name.
    pub channel: String,
    /// A valid name.
    pub event: String,
    /// As it was written.
    pub data: String,
    /// As it is retained.
    pub logged: Logged,
}

/// An event as clients that ask for recovery get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The row's number.
    pub seq: u64,
    /// The frame, with the row's position.
    pub frame: Utf8Bytes,
    /// The socket that gets no copy.
    pub except: Option<SocketId>,
}

/// What happened so far, and how it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Rows that were handed on, control rows and bad ones included.
    pub rows: u64,
    /// Rows that were skipped because they may not be published.
    pub bad: u64,
    /// Rows that this process gave their numbers.
    pub stamped: u64,
    /// Rows that this process deleted.
    pub deleted: u64,
    /// New epochs that this process made or found, the first one included.
    pub epochs: u64,
    /// Rows in memory for recovery.
    pub history_rows: usize,
    /// Their bytes, and those of channels that were read again.
    pub history_bytes: usize,
    /// How late everything that could be seen in the table is read, in milliseconds: beyond the pause between two looks.
    pub late_ms: u64,
    /// Rows have a number and were not handed on yet.
    pub waiting: bool,
    /// Milliseconds for which another process has held the lock of the counter.
    pub locked_ms: u64,
}
