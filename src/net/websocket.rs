//! The WebSocket of a connection: its messages, its pings, and how long a message may stay unfinished. It owns no
//! socket: it reads slices and writes into the connection's send queue. Other modules decide what a message means.

use std::time::Duration;

use super::close::{CloseReason, Manners};
use super::event::Over;
use super::frame::{self, Opcode};
use super::keep_alive::{Due, KeepAlive};
use super::meter::MessageLimits;
use super::send_queue::SendQueue;
use super::wire::{Received, Wire};
use crate::config::Limits;
use crate::time::Time;

/// Seconds of silence after which the decoder is replaced if large messages made it grow. They are long enough that it
/// is not replaced between two large messages of one conversation.
const SHRINK_AFTER: u64 = 10;

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct WebSocket {
    wire: Wire,
    keep_alive: KeepAlive,
    /// Its close codes and its way to be kept alive.
    pub(super) manners: &'static Manners,
}

impl WebSocket {
    /// A WebSocket whose handshake was just accepted.
    pub(super) fn new(manners: &'static Manners, now: Time) -> Self {
        Self {
            wire: Wire::new(),
            keep_alive: KeepAlive::new(now),
            manners,
        }
    }

    /// Notes that bytes came.
    pub(super) fn note_received(&mut self, now: Time) {
        self.keep_alive.note_received(now);
    }

    /// Decodes from the front of `input` up to the next message, close or violation; `None`: more must come.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        queue: &mut SendQueue,
        limits: &Limits,
        now: Time,
    ) -> Option<Received> {
        let limits = MessageLimits {
            size: limits.max_message_size,
            fragments: limits.max_fragments,
        };
        self.wire.read(input, queue, limits, now)
    }

    /// Appends a close frame, after an error message where the protocol wants one. Nothing may be read after it.
    pub(super) fn close(&mut self, reason: &CloseReason, queue: &mut SendQueue) {
        if self.manners.error_before_close {
            let error = serde_json::json!({
                "event": "pusher:error",
                "data": {"message": reason.reason, "code": reason.code},
            });
            send(queue, Opcode::Text, error.to_string().as_bytes());
        }
        self.wire.close(reason, queue);
    }

    /// When `check_deadlines` has something to do.
    pub(super) fn deadline(&self, limits: &Limits) -> Time {
        let shrink = match self.wire.grown() {
            true => self.shrink_at(),
            false => Time::NEVER,
        };
        let unfinished = self.unfinished_until(limits);
        self.keep_alive.deadline(limits).min(shrink).min(unfinished)
    }

    /// Does the work that is due: sends a ping or a close frame, frees memory. Returns why the connection is over, if
    /// it is.
    pub(super) fn check_deadlines(&mut self, queue: &mut SendQueue, limits: &Limits, now: Time) -> Option<Over> {
        if self.unfinished_until(limits) <= now {
            self.close(&CloseReason::UNFINISHED, queue);
            return Some(Over::TimedOut("message_timeout", Some(CloseReason::UNFINISHED.code)));
        }
        if self.shrink_at() <= now {
            self.wire.shrink();
        }
        match self.keep_alive.check(limits, now) {
            Due::Nothing => {}
            Due::Ping => {
                send(queue, Opcode::Ping, b"");
                if let Some(text) = self.manners.ping {
                    send(queue, Opcode::Text, text.as_bytes());
                }
            }
            Due::End => {
                self.close(&self.manners.no_pong, queue);
                return Some(Over::TimedOut("ping_timeout", Some(self.manners.no_pong.code)));
            }
        }
        None
    }

    fn shrink_at(&self) -> Time {
        self.keep_alive.last_read() + Duration::from_secs(SHRINK_AFTER)
    }

    fn unfinished_until(&self, limits: &Limits) -> Time {
        self.wire.unfinished_since + Duration::from_secs(limits.message_timeout)
    }
}

/// Appends a frame of a connection's own to its send queue.
pub(super) fn send(queue: &mut SendQueue, opcode: Opcode, payload: &[u8]) {
    queue.append_with(|out| frame::append(out, opcode, payload));
}
