//! Why a WebSocket is closed: the code and the reason of the close frame (RFC 6455 section 7.4). Also how long a closed
//! connection has for its last words.

use std::time::Duration;

use std::borrow::Cow;

use super::io::Socket;
use super::polled::Polled;
use crate::time::Time;

/// Seconds that the last words of a connection may take as long as they move: a megabyte at 20 KB/s.
const LAST_WORDS: u64 = 60;

/// A close code and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// 1000–1003, 1007–1014 or 3000–4999.
    pub code: u16,
    /// For people; at most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl CloseReason {
    /// A code with a reason that does not change.
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
    /// Decoding panicked: our own bug.
    pub const OUR_BUG: Self = Self::new(1011, "internal error");
}

/// How a WebSocket is kept alive and which codes it understands.
#[derive(Debug, PartialEq, Eq)]
pub struct Manners {
    /// A text that goes out with every ping, for clients that cannot see pings.
    pub ping: Option<&'static str>,
    /// No sign of life after a ping.
    pub no_pong: CloseReason,
    /// The send queue went over its limit in bytes or time.
    pub slow_consumer: CloseReason,
    /// The server stops.
    pub going_away: CloseReason,
    /// The process stops, and its successor accepts already.
    pub replaced: CloseReason,
    /// Whether a `pusher:error` frame comes before each close frame of the server.
    pub error_before_close: bool,
}

impl Manners {
    /// The words to a client when the process stops.
    pub fn parting(&self, is_replaced: bool) -> CloseReason {
        let reason = if is_replaced { &self.replaced } else { &self.going_away };
        reason.clone()
    }
}

/// The codes of RFC 6455. 1011 after a ping is what other servers send, so it is what people search for.
pub static PLAIN: Manners = Manners {
    ping: None,
    no_pong: CloseReason::new(1011, "no answer to a ping"),
    slow_consumer: CloseReason::new(1013, TOO_SLOW),
    going_away: CloseReason::new(1001, GOING_AWAY),
    replaced: CloseReason::new(1012, REPLACED),
    error_before_close: false,
};

/// The codes of the Pusher protocol: a client that is closed with 4200 or 4201 comes back at once, with 4100 after a
/// moment.
pub static PUSHER: Manners = pusher(false);

/// The Pusher protocol before version 6.
pub static OLD_PUSHER: Manners = pusher(true);

const fn pusher(error_before_close: bool) -> Manners {
    Manners {
        ping: Some(r#"{"event":"pusher:ping","data":"{}"}"#),
        no_pong: CloseReason::new(4201, "Pong reply not received"),
        slow_consumer: CloseReason::new(4100, TOO_SLOW),
        going_away: CloseReason::new(4100, GOING_AWAY),
        replaced: CloseReason::new(4200, REPLACED),
        error_before_close,
    }
}

const TOO_SLOW: &str = "too slow: what was sent to you was not read";
const GOING_AWAY: &str = "the server is shutting down";
const REPLACED: &str = "the server was replaced: connect again";

/// The state of a connection that has said its last word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finishing {
    /// When the connection is freed, even if bytes are left.
    pub(super) until: Time,
    /// No progress moves `until` beyond it.
    at_most: Time,
    /// The write side is shut down.
    pub(super) shut: bool,
    /// The peer has ended its side.
    pub(super) ended: bool,
}

impl Finishing {
    /// `timeout`: seconds that the last word has to leave.
    pub(super) fn new(ended: bool, timeout: u64, now: Time) -> Self {
        Self {
            until: now + Duration::from_secs(timeout),
            at_most: now + Duration::from_secs(timeout.max(LAST_WORDS)),
            shut: false,
            ended,
        }
    }

    /// The last word has left: ends the writing side, after TLS has said goodbye. Returns whether the connection is
    /// over.
    pub(super) fn shut_down(&mut self, socket: &mut Polled<impl Socket>) -> bool {
        if self.shut {
            return self.ended;
        }
        match socket.finish() {
            Ok(true) if !self.ended => {
                self.shut = true;
                socket.stream.shutdown_write();
                false
            }
            Ok(is_written) => is_written,
            Err(_) => true,
        }
    }

    /// Bytes of the last word have left, so it gets more time.
    pub(super) fn prolong(&mut self, timeout: u64, now: Time) {
        self.until = (now + Duration::from_secs(timeout)).min(self.at_most);
    }
}
