//! The decoder of a WebSocket: tungstenite's state machine. It reads slices of the shared read buffer and writes into
//! the connection's send queue. It owns no socket, so a test is a few byte strings. The meter rejects what the header
//! alone shows to be wrong; tungstenite rejects what the payload shows (UTF-8, close codes).

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

/// The close code of a gateway that got an invalid answer.
const BAD_GATEWAY: u16 = 1014;

/// The decoded input of a peer.
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
            let received = self.decode(frame, queue);
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
        // Fails only when the peer's close has been answered already. Then no close frame is needed.
        let _ = self.context.close(&mut FrameStream { input: &[], queue }, Some(frame));
    }

    /// Frees the memory that large messages made the decoder allocate, unless a message is unfinished. Its buffers
    /// never shrink by themselves.
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

    /// Decodes bytes of one frame only, so that one message at most comes out.
    fn decode(&mut self, frame: &[u8], queue: &mut SendQueue) -> Option<Received> {
        let mut stream = FrameStream { input: frame, queue };
        match self.context.read(&mut stream) {
            Ok(Frame::Text(text)) => Some(Received::Message(Message::Text(text))),
            Ok(Frame::Binary(bytes)) => Some(Received::Message(Message::Binary(bytes))),
            Ok(Frame::Close(frame)) => {
                if self.meter.close_code() == Some(BAD_GATEWAY) {
                    // Valid since 2012 (RFC 6455 section 11.7's registry), but tungstenite would answer it with 1002.
                    queue.append_with(|out| out.extend_from_slice(&[0x88, 2, 0x03, 0xf6]));
                    return Some(Received::Closed(Some(BAD_GATEWAY)));
                }
                // Writes the answer. tungstenite then returns "connection closed", which is no failure here.
                let _ = self.context.flush(&mut stream);
                Some(Received::Closed(frame.map(|frame| frame.code.into())))
            }
            Ok(Frame::Ping(_)) => {
                // Writes the pong that the ping made it queue.
                let _ = self.context.flush(&mut stream);
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

/// tungstenite's own limits are off, since the meter has them. Its read buffer is allocated at once for each connection
/// (128 KiB by default). It grows to the frame that is being read in any case, so it begins with the least. Frames are
/// written through at once.
fn context() -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(16)
        .write_buffer_size(0)
        .max_message_size(None)
        .max_frame_size(None);
    WebSocketContext::new(Role::Server, Some(config))
}

/// The stream that tungstenite reads from and writes to.
struct FrameStream<'a> {
    input: &'a [u8],
    queue: &'a mut SendQueue,
}

impl Read for FrameStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            // Never `Ok(0)`: that would be the end of the stream.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for FrameStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
