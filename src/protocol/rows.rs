//! Rows of the outbox table as they are handed on.

use tungstenite::Utf8Bytes;

use super::SocketId;
use super::control::Control;

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
