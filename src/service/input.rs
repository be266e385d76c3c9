//! The events of a connection, as input for the service.

use bytes::Bytes;
use http::Request;

use super::caller::Caller;
use super::stats::ProcessStats;
use crate::protocol::actions::Message;

/// An event of a connection.
#[derive(Clone, Debug)]
pub enum Input {
    /// The connection was accepted.
    Opened(Caller),
    /// A plain HTTP request arrived. It needs exactly one `Respond`.
    Request(Caller, Request<Bytes>),
    /// A valid WebSocket handshake arrived. It needs exactly one `Accept` or `Respond`.
    Handshake(Caller, Request<Bytes>),
    /// A message arrived.
    Message(Message),
    /// The send queue is empty, or nearly empty. A `WhenFlushed` requested this.
    Flushed,
    /// The facts that a `Gather` requested.
    ProcessStats(Box<ProcessStats>),
    /// The connection is closed. It needs no answer any more.
    Closed,
}
