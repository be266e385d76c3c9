//! Why a WebSocket is closed: the code and the words of the close frame (RFC 6455 section 7.4).

use std::borrow::Cow;

/// A close code and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// 1000–1003, 1007–1014 or 3000–4999.
    pub code: u16,
    /// For people; at most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl CloseReason {
    /// The code with words of our own.
    pub const fn new(code: u16, reason: &'static str) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
        }
    }

    /// RFC 6455 was violated.
    pub const fn protocol(reason: &'static str) -> Self {
        Self::new(1002, reason)
    }

    /// A text was not UTF-8.
    pub const BAD_UTF8: Self = Self::new(1007, "text is not valid UTF-8");
    /// A message would be larger than `max_message_size`.
    pub const TOO_BIG: Self = Self::new(1009, "message too big");
    /// A message has more fragments than `max_fragments`.
    pub const TOO_MANY_FRAGMENTS: Self = Self::new(1008, "too many fragments");
    /// A message stayed unfinished for `message_timeout`.
    pub const UNFINISHED: Self = Self::new(1008, "a message stayed unfinished for too long");
    /// No sign of life after a ping. 1011 is what other servers send here, so it is what people search for.
    pub const NO_PONG: Self = Self::new(1011, "no answer to a ping");
    /// The outbox went over its limit in bytes or time.
    pub const SLOW_CONSUMER: Self = Self::new(1013, "too slow: what was sent to you was not read");
    /// The server stops.
    pub const GOING_AWAY: Self = Self::new(1001, "the server is shutting down");
    /// Decoding panicked: our own bug.
    pub const OUR_BUG: Self = Self::new(1011, "internal error");
}
