//! One connection: its socket, what it speaks (HTTP, then perhaps WebSocket), its send queue and its deadline. Bytes
//! become events here and answers become bytes; what an event means and which answer it gets is decided elsewhere.
//!
//! A connection goes through `Http` → `WebSocket` → `Finishing` → `Doomed`, each step optional, never back. `Finishing`
//! has said its last word: the send queue is flushed, the write side shut down, and what the peer still sends is thrown
//! away for a moment, because a close with unread input becomes a reset that would destroy the last word on its way.
//!
//! Reading, answering, writing and time stay together in more than 450 lines, since all of them move the one `State`.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, Version};

use super::allowance::{Allowances, Rates};
use super::close::{self, CloseReason, Finishing, Manners};
use super::event::{Event, Over};
use super::exchange::{Asked, Exchange};
use super::frame::{self, Opcode};
use super::http::{Refusal, write_response};
use super::io::{Peer, Socket};
use super::keep_alive::{Due, KeepAlive};
use super::meter::MessageLimits;
use super::send_queue::{Flushed, SendQueue};
use super::wire::{Received, Wire};
use crate::config::Limits;
use crate::protocol::actions::Message;
use crate::time::Time;

/// A TCP or Unix connection.
#[derive(Debug)]
pub struct Connection<S> {
    /// Its stream.
    pub socket: S,
    /// The other end.
    pub peer: Peer,
    /// What waits to be written.
    pub queue: SendQueue,
    state: State,
    /// Read but not decoded, because the connection was paused in the middle.
    unread: Bytes,
    /// A readable edge came and has not been read dry.
    pub readable: bool,
    /// The peer has closed its side or the connection failed: a short read is not the last word.
    pub read_closed: bool,
    /// The kernel takes no more until a writable edge.
    pub blocked: bool,
    /// Its codes and its way to be kept alive; set when it became a WebSocket.
    manners: &'static Manners,
    keep_alive: KeepAlive,
    /// Since when more than a quarter of the send queue's limit waits.
    over_since: Time,
    allowances: Allowances,
}

#[derive(Debug)]
enum State {
    Http(Box<Exchange>),
    WebSocket(Box<Wire>),
    Finishing(Finishing),
    Doomed,
}

impl<S: Socket> Connection<S> {
    /// A connection that was just accepted.
    pub fn new(socket: S, peer: Peer, limits: &Limits, now: Time) -> Self {
        Self {
            socket,
            peer,
            queue: SendQueue::default(),
            state: State::Http(Box::new(Exchange::new(limits, now))),
            unread: Bytes::new(),
            readable: false,
            read_closed: false,
            blocked: false,
            manners: &close::PLAIN,
            keep_alive: KeepAlive::new(now),
            over_since: Time::NEVER,
            allowances: Allowances::default(),
        }
    }

    /// Whether it has ended and only waits to be freed.
    pub fn is_doomed(&self) -> bool {
        matches!(self.state, State::Doomed)
    }

    /// Whether it has neither ended nor said its last word.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Http(_) | State::WebSocket(_))
    }

    /// Whether it is an open WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.state, State::WebSocket(_))
    }

    /// Gives it until `deadline` for its request, which will be refused.
    pub fn hurry(&mut self, deadline: Time) {
        if let State::Http(http) = &mut self.state {
            http.hurry(deadline);
        }
    }

    /// Ends it; the next reap frees it.
    pub fn doom(&mut self) {
        self.state = State::Doomed;
    }

    // --- reading -------------------------------------------------------------------------------------------------

    /// Whether nothing may be decoded now: the peer does not read its answers, an answer is owed, or a rate is
    /// exceeded.
    pub fn is_paused(&self, limits: &Limits, now: Time) -> bool {
        if self.queue.len() > high_water(limits) {
            return true;
        }
        match &self.state {
            State::Http(http) if http.is_ours() => true,
            State::Http(_) | State::WebSocket(_) => self.throttled_by(limits, now).is_some(),
            State::Finishing(_) | State::Doomed => false,
        }
    }

    /// The limit by which it sent more than it may for now; `deadline` says when it may go on.
    pub fn throttled_by(&self, limits: &Limits, now: Time) -> Option<&'static str> {
        self.allowances.throttled_by(self.rates(limits), now)
    }

    fn rates(&self, limits: &Limits) -> Rates {
        match &self.state {
            State::WebSocket(_) => Rates::websocket(limits),
            State::Http(_) | State::Finishing(_) | State::Doomed => Rates::http(limits),
        }
    }

    /// Counts an order: something that costs more than its own answer.
    pub fn charge(&mut self, limits: &Limits, now: Time) {
        let rates = self.rates(limits);
        self.allowances.charge(rates, now);
    }

    /// Bytes that were read before a pause, to be decoded first.
    pub fn take_unread(&mut self) -> Bytes {
        std::mem::take(&mut self.unread)
    }

    /// Bytes that it holds of an unfinished HTTP request, and of what may not be decoded yet.
    pub fn request_bytes(&self) -> usize {
        let request = match &self.state {
            State::Http(http) => http.held(),
            State::WebSocket(_) | State::Finishing(_) | State::Doomed => 0,
        };
        request + self.unread.len()
    }

    /// Whether bytes wait that were read before a pause.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Keeps what was read and may not be decoded yet: one read buffer at most.
    pub fn keep_unread(&mut self, rest: Bytes) {
        self.unread = rest;
    }

    /// Notes that bytes came.
    pub fn note_received(&mut self, now: Time) {
        self.keep_alive.note_received(now);
    }

    /// Decodes from the front of `input` up to the next event; `None` when all is taken, or when a pause begins.
    pub fn decode(&mut self, input: &mut &[u8], limits: &Limits, now: Time) -> Option<Event> {
        if self.is_paused(limits, now) {
            return None;
        }
        match &mut self.state {
            State::Http(http) => Some(match http.read(input, &mut self.queue, limits, now)? {
                Asked::Request(request) => Event::Request(request),
                Asked::Handshake(request) => Event::Handshake(request),
                Asked::Refused(refusal) => self.refuse(refusal, limits, now),
            }),
            State::WebSocket(wire) => {
                let message = MessageLimits {
                    size: limits.max_message_size,
                    fragments: limits.max_fragments,
                };
                let received = wire.read(input, &mut self.queue, message, now)?;
                self.allowances.note_message(Rates::websocket(limits), now);
                Some(match received {
                    Received::Message(message) => Event::Message(message),
                    Received::Closed(code) => self.over(Over::PeerClosed(code), limits, now),
                    Received::Violated(reason) => self.over(Over::Violated(reason), limits, now),
                })
            }
            State::Finishing(_) | State::Doomed => {
                *input = &[];
                None
            }
        }
    }

    /// Ends the reading side: the peer sent its last byte.
    pub fn ended(&mut self, limits: &Limits, now: Time) -> Option<Event> {
        match &mut self.state {
            State::Http(http) if http.is_ours() => {
                http.ended = true;
                None
            }
            State::Http(_) | State::WebSocket(_) => {
                let event = self.over(Over::Ended, limits, now);
                self.note_end();
                Some(event)
            }
            State::Finishing(_) | State::Doomed => {
                self.note_end();
                None
            }
        }
    }

    fn note_end(&mut self) {
        if let State::Finishing(finishing) = &mut self.state {
            finishing.ended = true;
            if self.queue.is_empty() {
                self.state = State::Doomed;
            }
        }
    }

    // --- answering -----------------------------------------------------------------------------------------------

    /// Answers the request that is owed an answer, if there is one. `last`: no further request is wanted.
    pub fn respond(&mut self, response: &Response<Bytes>, last: bool, limits: &Limits, now: Time) {
        let State::Http(http) = &mut self.state else { return };
        if http.respond(response, last, &mut self.queue, limits, now) == Some(false) {
            self.finish(limits, now);
        }
    }

    /// Accepts the handshake that is owed an answer: 101, and from here on WebSocket frames.
    pub fn accept(&mut self, manners: &'static Manners) {
        if let State::Http(http) = &self.state
            && http.accept(&mut self.queue)
        {
            self.state = State::WebSocket(Box::default());
            self.allowances = Allowances::default();
            self.manners = manners;
        }
    }

    /// Sends a message as a frame of this connection's own.
    pub fn send(&mut self, message: &Message) {
        match message {
            Message::Text(text) => self.send_frame(Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => self.send_frame(Opcode::Binary, bytes),
        }
    }

    fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        if self.is_websocket() {
            self.queue.append_with(|out| frame::append(out, opcode, payload));
        }
    }

    /// Sends a frame that others get too.
    pub fn send_shared(&mut self, frame: &Bytes) {
        if self.is_websocket() {
            self.queue.push(frame.clone());
        }
    }

    /// Closes: a close frame on a WebSocket, nothing more on HTTP; then the last bytes are flushed and the connection
    /// ends.
    pub fn close(&mut self, reason: &CloseReason, limits: &Limits, now: Time) {
        if let State::WebSocket(wire) = &mut self.state {
            if self.manners.error_before_close {
                let error = serde_json::json!({
                    "event": "pusher:error",
                    "data": {"message": reason.reason, "code": reason.code},
                })
                .to_string();
                self.queue
                    .append_with(|out| frame::append(out, Opcode::Text, error.as_bytes()));
            }
            wire.close(reason, &mut self.queue);
        }
        if self.is_live() {
            self.finish(limits, now);
        }
    }

    /// Closes after decoding panicked: by hand, because the decoder is not to be trusted any more.
    pub fn close_broken(&mut self, limits: &Limits, now: Time) {
        if self.is_websocket() {
            let CloseReason { code, reason } = CloseReason::OUR_BUG;
            self.queue.append_with(|out| {
                out.extend_from_slice(&[0x88, 2 + reason.len() as u8]);
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(reason.as_bytes());
            });
        }
        self.finish(limits, now);
    }

    /// Closes because the server stops, when nothing is owed any more: a WebSocket and an idle HTTP connection at once,
    /// one in the middle of a request after its answer.
    pub fn leave(&mut self, limits: &Limits, now: Time) {
        match &self.state {
            State::Http(http) if http.is_busy() => {}
            _ => self.close(&self.manners.going_away, limits, now),
        }
    }

    /// Closes a peer that does not read: what has not begun to be written is dropped, and the rest has `close_timeout`
    /// to leave. The socket is closed with a reset, so that nothing is left in the kernel.
    pub fn close_slow(&mut self, limit: &'static str, limits: &Limits, now: Time) -> Over {
        self.queue.drop_unwritten();
        self.socket.reset_on_close();
        self.close(&self.manners.slow_consumer, limits, now);
        Over::Slow(limit)
    }

    /// The event that tells of the end, with the connection already finishing.
    fn over(&mut self, over: Over, limits: &Limits, now: Time) -> Event {
        self.finish(limits, now);
        Event::Over(over)
    }

    fn refuse(&mut self, refusal: Refusal, limits: &Limits, now: Time) -> Event {
        let response = refusal.into_response();
        self.queue
            .append_with(|out| write_response(out, &response, Version::HTTP_11, false, false));
        self.over(Over::Refused(response.status()), limits, now)
    }

    fn finish(&mut self, limits: &Limits, now: Time) {
        let ended = matches!(&self.state, State::Http(http) if http.ended);
        self.unread = Bytes::new();
        self.state = State::Finishing(Finishing::new(ended, limits.close_timeout, now));
    }

    // --- writing -------------------------------------------------------------------------------------------------

    /// Flushes the send queue; a finishing connection that has nothing left shuts its write side down, and ends if the
    /// peer has ended too.
    pub fn flush(&mut self, limits: &Limits, now: Time) {
        if self.is_doomed() || self.blocked {
            return;
        }
        let before = self.queue.len();
        match self.queue.flush(&mut self.socket) {
            Ok(Flushed::All) => {
                self.blocked = false;
                if let State::Finishing(finishing) = &mut self.state {
                    if finishing.ended {
                        self.state = State::Doomed;
                    } else if !std::mem::replace(&mut finishing.shut, true) {
                        self.socket.shutdown_write();
                    }
                }
            }
            Ok(Flushed::Blocked) => self.blocked = true,
            Err(_) => self.state = State::Doomed,
        }
        if self.queue.len() < before
            && let State::Finishing(finishing) = &mut self.state
        {
            finishing.prolong(limits.close_timeout, now);
        }
    }

    /// Whether a flush would do something: there are bytes that the kernel may take, a last word to end with, or so
    /// many bytes that the limit must be looked at.
    pub fn wants_flush(&self, limits: &Limits) -> bool {
        match &self.state {
            State::Finishing(finishing) if self.queue.is_empty() => !finishing.shut,
            _ => !self.queue.is_empty() && (!self.blocked || self.is_over_full(limits)),
        }
    }

    /// Notes since when the send queue is above its high-water mark; returns whether that has changed.
    pub fn note_backlog(&mut self, limits: &Limits, now: Time) -> bool {
        let before = self.over_since;
        if self.queue.len() <= high_water(limits) {
            self.over_since = Time::NEVER;
        } else if self.over_since == Time::NEVER {
            self.over_since = now;
        }
        self.over_since != before
    }

    /// Whether more bytes wait than may, after a flush.
    pub fn is_over_full(&self, limits: &Limits) -> bool {
        // An HTTP answer may be larger than any limit on what is pushed; the next one waits until it has left.
        self.is_websocket() && self.queue.len() > limits.send_queue_bytes
    }

    // --- time ----------------------------------------------------------------------------------------------------

    /// When `check_deadlines` has something to do.
    pub fn deadline(&self, limits: &Limits, now: Time) -> Time {
        let slow = self.over_since + Duration::from_secs(limits.send_queue_seconds);
        let resumes = self.allowances.resumes(self.rates(limits), now);
        let own = match &self.state {
            State::Http(http) if http.is_ours() => Time::NEVER,
            State::Http(http) => http.deadline().min(resumes),
            State::WebSocket(_) if resumes != Time::NEVER => resumes,
            State::WebSocket(wire) => {
                let shrink = match wire.grown() {
                    true => self.keep_alive.last_read() + Duration::from_secs(SHRINK_AFTER),
                    false => Time::NEVER,
                };
                let unfinished = wire.unfinished_since + Duration::from_secs(limits.message_timeout);
                self.keep_alive.deadline(limits).min(shrink).min(unfinished)
            }
            State::Finishing(finishing) => return finishing.until,
            State::Doomed => Time::NEVER,
        };
        own.min(slow)
    }

    /// Does what is due: a ping, the end of what took too long, the release of memory.
    pub fn check_deadlines(&mut self, limits: &Limits, now: Time) -> Option<Event> {
        if self.is_live() && self.over_since + Duration::from_secs(limits.send_queue_seconds) <= now {
            return Some(Event::Over(self.close_slow("send_queue_seconds", limits, now)));
        }
        match &mut self.state {
            State::Http(http) if http.deadline() <= now => {
                if http.expects_request() {
                    self.refuse(super::http::timeout(), limits, now);
                    return Some(Event::Over(Over::TimedOut("handshake_timeout")));
                }
                Some(self.over(Over::TimedOut("keep_alive_timeout"), limits, now))
            }
            State::WebSocket(wire) => {
                if wire.unfinished_since + Duration::from_secs(limits.message_timeout) <= now {
                    self.close(&CloseReason::UNFINISHED, limits, now);
                    return Some(Event::Over(Over::TimedOut("message_timeout")));
                }
                if self.keep_alive.last_read() + Duration::from_secs(SHRINK_AFTER) <= now {
                    wire.shrink();
                }
                self.check_silence(limits, now)
            }
            State::Finishing(finishing) if finishing.until <= now => {
                // What the kernel still holds for a peer that takes nothing is not left to it.
                if !self.queue.is_empty() {
                    self.socket.reset_on_close();
                }
                self.state = State::Doomed;
                None
            }
            _ => None,
        }
    }

    fn check_silence(&mut self, limits: &Limits, now: Time) -> Option<Event> {
        if self.readable || self.has_unread() {
            // It is not silent: its bytes are not read, because it is paused.
            self.note_received(now);
            return None;
        }
        match self.keep_alive.check(limits, now) {
            Due::Nothing => None,
            Due::Ping => {
                self.send_frame(Opcode::Ping, b"");
                if let Some(text) = self.manners.ping {
                    self.send_frame(Opcode::Text, text.as_bytes());
                }
                None
            }
            Due::End => {
                self.close(&self.manners.no_pong, limits, now);
                Some(Event::Over(Over::TimedOut("ping_timeout")))
            }
        }
    }
}

/// What may wait in a send queue before reading from its peer pauses and its time is counted.
fn high_water(limits: &Limits) -> usize {
    limits.send_queue_bytes / 4
}

/// Seconds of silence after which a decoder that large messages made grow is replaced. Long enough not to undo it
/// between two large messages of one conversation.
const SHRINK_AFTER: u64 = 10;
