//! Rows of the outbox table as they are handed on.

use tungstenite::Utf8Bytes;

use super::SocketId;
use super::control::Control;
use crate::id::ConnectionId;

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

/// Whether everything after a position of the table can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It can.
    Yes,
    /// Never: the client is told of a gap.
    No,
    /// It is being found out.
    Ask,
    /// The same, and the table is read for it.
    Read,
}

/// What a connection is to get next: the first row of a channel behind a row.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Who.
    pub id: ConnectionId,
    /// The channel, or the user's own one.
    pub channel: &'a str,
    /// The site's rules let the connection into the channel, not a signature.
    pub by_rule: bool,
    /// The number of the row that it had last.
    pub after: u64,
}

/// What comes next of a channel's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// This event.
    Event(Logged),
    /// Nothing: everything was told.
    Nothing,
    /// The rest was forgotten.
    Gone,
    /// Nothing yet: the site asks again whether the connection may hear the channel.
    Doubted,
}
