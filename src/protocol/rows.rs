//! Rows of the outbox table, in the forms in which rooms pass them on.

use tungstenite::Utf8Bytes;

use super::SocketId;
use super::control::Control;
use crate::id::ConnectionId;

/// A row that became visible, or a gap. The order matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Deliver this event now. It is retained already.
    Event(Event),
    /// An event from before the start and its age in milliseconds; it is only for cache channels.
    Past(Event, u64),
    /// Carry out this control row now: the rows behind it wait for it.
    Control(Control),
    /// Connected clients may have missed rows, control rows too.
    Gap,
}

/// A row of the table that may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A valid channel name.
    pub channel: String,
    /// A valid event name.
    pub event: String,
    /// The data, as it was written.
    pub data: String,
    /// The event in its retained form.
    pub logged: Logged,
}

/// An event in the form for clients that requested recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The row's number.
    pub seq: u64,
    /// The frame, with the row's position.
    pub frame: Utf8Bytes,
    /// The socket that gets no copy.
    pub except: Option<SocketId>,
}

/// Whether all events after a position of the table can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// They can be sent.
    Yes,
    /// They cannot be sent: the client is informed of a gap.
    No,
    /// Not known yet; the answer is on its way.
    Ask,
    /// Not known yet; the table is read for it.
    Read,
}

/// The next row that a connection needs: the first row of a channel behind a row.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// The channel, or the user's own channel.
    pub channel: &'a str,
    /// The site's rules admitted the connection to the channel, not a signature.
    pub by_rule: bool,
    /// The number of the last row that the connection got.
    pub after: u64,
}

/// The next part of a channel's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// This event.
    Event(Logged),
    /// No event: all events were sent.
    Nothing,
    /// The remaining events were dropped.
    Gone,
    /// No event yet: the site checks again whether the connection may subscribe.
    Doubted,
}
