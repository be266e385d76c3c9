//! What the service is told of a connection.

use bytes::Bytes;
use http::Request;
use tungstenite::Utf8Bytes;

use super::caller::Caller;
use super::stats::ProcessStats;

/// What happened to a connection.
#[derive(Clone, Debug)]
pub enum Input {
    /// It was accepted.
    Opened(Caller),
    /// A plain HTTP request came; exactly one `Respond` is owed.
    Request(Caller, Request<Bytes>),
    /// A valid WebSocket handshake came; exactly one `Accept` or `Respond` is owed.
    Handshake(Caller, Request<Bytes>),
    /// A text message came.
    Text(Utf8Bytes),
    /// A binary message came.
    Binary(Bytes),
    /// What was to be written has been written, all but a little; a `WhenFlushed` asked for this.
    Flushed,
    /// What a `Gather` asked for.
    Facts(Box<ProcessStats>),
    /// The connection is gone. Nothing is owed any more.
    Closed,
}
