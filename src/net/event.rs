//! The events of a connection: a request, a handshake, a message, or its end.

use std::fmt;

use bytes::Bytes;
use http::{Request, StatusCode};

use super::close::CloseReason;
use super::io::Peer;
use super::proxy_protocol::BadHeader;
use crate::logging::Kind;
use crate::protocol::actions::Message;

/// Something decoded.
#[derive(Debug)]
pub enum Event {
    /// A plain HTTP request; decoding goes on after `respond`.
    Request(Request<Bytes>),
    /// A valid WebSocket handshake; decoding goes on after `accept` or `respond`.
    Handshake(Request<Bytes>),
    /// A message.
    Message(Message),
    /// The connection has ended by itself: the peer closed, or broke a rule.
    Over(Over),
}

/// Why a connection ended by itself.
#[derive(Debug, PartialEq)]
pub enum Over {
    /// The peer's close frame, with its code.
    PeerClosed(Option<u16>),
    /// The peer broke the WebSocket protocol.
    Violated(CloseReason),
    /// We closed it, for this reason. Only a WebSocket gets the code.
    Closed(CloseReason),
    /// The peer broke HTTP.
    Refused(StatusCode),
    /// The peer is no trusted proxy and came to a listener that expects the PROXY protocol.
    Stranger(Peer),
    /// The trusted proxy sent no good header of the PROXY protocol.
    BadHeader(Peer, BadHeader),
    /// The peer ended the stream.
    Ended,
    /// The socket failed, for this reason.
    Failed(String),
    /// A deadline passed; with the code of the close frame, if there was one.
    TimedOut(&'static str, Option<u16>),
    /// The peer does not read its messages; this limit was exceeded. With the code of the close frame.
    Slow(&'static str, u16),
}

impl Over {
    /// Which limit ended it, if it is one that is worth a warning.
    pub fn limit(&self) -> Option<Kind> {
        match self {
            Over::Slow(..) => Some(Kind::SlowConsumer),
            Over::Violated(reason) if *reason == CloseReason::TOO_BIG => Some(Kind::TooLarge),
            Over::Violated(reason) if *reason == CloseReason::TOO_MANY_FRAGMENTS => Some(Kind::TooLarge),
            Over::Refused(
                StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG,
            ) => Some(Kind::TooLarge),
            Over::Stranger(_) => Some(Kind::Stranger),
            Over::BadHeader(..) => Some(Kind::BadHeader),
            _ => None,
        }
    }

    /// Why it ended, in a word, and the key of the configuration whose limit it exceeded, if there is one. 414 and 431
    /// stand for `max_head_size`, although the number of headers has a key of its own.
    pub fn cause(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Over::PeerClosed(_) | Over::Ended => ("peer", None),
            Over::Violated(reason) if *reason == CloseReason::TOO_BIG => ("violation", Some("max_message_size")),
            Over::Violated(reason) if *reason == CloseReason::TOO_MANY_FRAGMENTS => {
                ("violation", Some("max_fragments"))
            }
            Over::Violated(_) => ("violation", None),
            Over::Closed(_) => ("server", None),
            Over::Refused(StatusCode::PAYLOAD_TOO_LARGE) => ("refused", Some("max_body_size")),
            Over::Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG) => {
                ("refused", Some("max_head_size"))
            }
            Over::Refused(_) => ("refused", None),
            Over::Stranger(_) => ("stranger", None),
            Over::BadHeader(..) => ("bad_header", None),
            Over::Failed(_) => ("failed", None),
            Over::TimedOut(limit, _) => ("timeout", Some(limit)),
            Over::Slow(limit, _) => ("slow", Some(limit)),
        }
    }
}

/// A clause for the log, to follow the connection's id.
impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Over::PeerClosed(Some(code)) => write!(f, "was closed by its peer with {code}"),
            Over::PeerClosed(None) => write!(f, "was closed by its peer"),
            Over::Violated(reason) => write!(f, "broke the protocol: {} {}", reason.code, reason.reason),
            Over::Closed(reason) => write!(f, "is closed: {} {}", reason.code, reason.reason),
            Over::Refused(status) => write!(f, "sent a bad request: {status}"),
            Over::Stranger(peer) => write!(
                f,
                "comes from {peer}, which is not in trusted_proxies, to a listener with proxy_protocol, and is closed"
            ),
            Over::BadHeader(peer, why) => write!(f, "comes from {peer}, {why} and is closed"),
            Over::Ended => write!(f, "was ended by its peer"),
            Over::Failed(why) => write!(f, "failed: {why}"),
            Over::TimedOut(limit, Some(code)) => write!(f, "ran into {limit} and is closed: {code}"),
            Over::TimedOut(limit, None) => write!(f, "ran into {limit}"),
            Over::Slow(limit, code) => write!(f, "is a slow consumer ({limit}) and is dropped: {code}"),
        }
    }
}
