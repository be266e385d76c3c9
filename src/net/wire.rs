//! One connection's WebSocket: tungstenite's state machine fed with slices of the shared read buffer and writing into
//! the connection's send queue. It owns no socket, so a test is a few byte strings. Closing decisions that need the
//! header alone are the meter's; those that need the payload (UTF-8, close codes) are tungstenite's.

use std::io::{self, Read, Write};

use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message as Frame};

use super::close::CloseReason;
use super::meter::{MessageLimits, Meter};
use super::send_queue::SendQueue;
use crate::protocol::actions::Message;
use crate::time::Time;

/// A decoder whose buffer has grown over this is replaced once the connection is idle.
const GROWN: u32 = 2048;

/// The close code of a gateway whose upstream answered nonsense.
const BAD_GATEWAY: u16 = 1014;

/// What a peer said.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// The peer closed, with this code if it gave one. The answer is in the send queue.
    Closed(Option<u16>),
    /// The peer broke a rule. The close frame is in the send queue, and nothing more may be read.
    Violated(CloseReason),
}

/// The protocol state of one WebSocket.
#[derive(Debug)]
pub struct Wire {
    context: WebSocketContext,
    meter: Meter,
    /// When the unfinished message began; `Time::NEVER` while there is none.
    pub unfinished_since: Time,
}

impl Wire {
    /// A fresh connection, after the 101.
    pub fn new() -> Self {
        Self {
            context: context(),
            meter: Meter::default(),
            unfinished_since: Time::NEVER,
        }
    }

    /// Decodes from the front of `input` up to the first message, close or violation; `None` when all is taken without
    /// one.
    pub fn read(
        &mut self,
        input: &mut &[u8],
        queue: &mut SendQueue,
        limits: MessageLimits,
        now: Time,
    ) -> Option<Received> {
        while !input.is_empty() {
            let length = match self.meter.measure(input, limits) {
                Ok(length) => length,
                Err(reason) => {
                    *input = &[];
                    return Some(self.violated(reason, queue));
                }
            };
            let (frame, rest) = input.split_at(length);
            *input = rest;
            let received = self.feed(frame, queue);
            if !self.meter.in_message() {
                self.unfinished_since = Time::NEVER;
            } else if self.unfinished_since == Time::NEVER {
                self.unfinished_since = now;
            }
            if received.is_some() {
                return received;
            }
        }
        None
    }

    /// Appends a close frame to the send queue. Nothing may be read after it.
    pub fn close(&mut self, reason: &CloseReason, queue: &mut SendQueue) {
        let frame = CloseFrame {
            code: reason.code.into(),
            reason: reason.reason.as_ref().into(),
        };
        // Fails only when the peer's close has been answered already, and then there is nothing left to say.
        let _ = self.context.close(&mut Feed { input: &[], queue }, Some(frame));
    }

    /// Gives back what large messages made the decoder allocate, if nothing is half read. Buffers never shrink by
    /// themselves.
    pub fn shrink(&mut self) {
        if self.grown() && !self.meter.in_message() {
            self.context = context();
            self.meter = Meter::default();
        }
    }

    /// Whether large messages made the decoder's buffer grow.
    pub fn grown(&self) -> bool {
        self.meter.largest > GROWN
    }

    /// Feeds bytes of one frame only, so that one message at most comes out.
    fn feed(&mut self, frame: &[u8], queue: &mut SendQueue) -> Option<Received> {
        let mut feed = Feed { input: frame, queue };
        match self.context.read(&mut feed) {
            Ok(Frame::Text(text)) => Some(Received::Message(Message::Text(text))),
            Ok(Frame::Binary(bytes)) => Some(Received::Message(Message::Binary(bytes))),
            Ok(Frame::Close(frame)) => {
                if self.meter.close_code() == Some(BAD_GATEWAY) {
                    // Valid since 2012 (RFC 6455 section 11.7's registry), but tungstenite would answer it with 1002.
                    queue.append_with(|out| out.extend_from_slice(&[0x88, 2, 0x03, 0xf6]));
                    return Some(Received::Closed(Some(BAD_GATEWAY)));
                }
                // Writes the answer; "connection closed" is how tungstenite says that this was the last word.
                let _ = self.context.flush(&mut feed);
                Some(Received::Closed(frame.map(|frame| frame.code.into())))
            }
            Ok(Frame::Ping(_)) => {
                // Writes the pong that the ping made it queue.
                let _ = self.context.flush(&mut feed);
                None
            }
            Ok(Frame::Pong(_) | Frame::Frame(_)) => None,
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                let reason = match error {
                    Error::Utf8(_) => CloseReason::BAD_UTF8,
                    Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseReason::TOO_BIG,
                    _ => CloseReason::protocol("protocol error"),
                };
                Some(self.violated(reason, queue))
            }
        }
    }

    fn violated(&mut self, reason: CloseReason, queue: &mut SendQueue) -> Received {
        self.close(&reason, queue);
        Received::Violated(reason)
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

/// The limits are the meter's, so tungstenite's own are off. Its read buffer is allocated at once and per connection
/// (128 KiB by default); it grows to the frame that is being read in any case, so it begins with the least. It writes
/// frames through at once.
fn context() -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(16)
        .write_buffer_size(0)
        .max_message_size(None)
        .max_frame_size(None);
    WebSocketContext::new(Role::Server, Some(config))
}

/// The stream that tungstenite reads from and writes to.
struct Feed<'a> {
    input: &'a [u8],
    queue: &'a mut SendQueue,
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            // Never `Ok(0)`: that would be the end of the stream.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
