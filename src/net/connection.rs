//! One connection: its socket, what it speaks (HTTP, then perhaps WebSocket), its outbox and its deadline. Bytes become
//! events here and answers become bytes; what an event means and which answer it gets is decided elsewhere.
//!
//! A connection goes through `Http` → `WebSocket` → `Finishing` → `Doomed`, each step optional, never back. `Finishing` has
//! said its last word: the outbox is flushed, the write side shut down, and what the peer still sends is thrown away for a
//! moment, because a close with unread input becomes a reset that would destroy the last word on its way.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, header};
use tungstenite::Utf8Bytes;

use super::close::{self, CloseReason, Manners};
use super::frame::{self, Opcode};
use super::handshake::{self, Accept};
use super::http::{CONTINUE, HttpLimits, Incoming, Parser, Progress, Refusal, has_token, write_response};
use super::io::{Peer, Socket};
use super::meter::MessageLimits;
use super::outbox::{Flushed, Outbox};
use super::wire::{Received, Wire};
use crate::config::Limits;
use crate::id::ConnectionId;
use crate::logging::Kind;
use crate::time::Time;

/// Something decoded.
#[derive(Debug)]
pub enum Event {
    /// A plain HTTP request; decoding goes on after `respond`.
    Request(Request<Bytes>),
    /// A valid WebSocket handshake; decoding goes on after `accept` or `respond`.
    Handshake(Request<Bytes>),
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The connection has begun to finish by itself: the peer closed, or broke a rule.
    Over(Over),
}

/// Why a connection began to finish by itself.
#[derive(Debug, PartialEq)]
pub enum Over {
    /// The peer's close frame, with its code.
    PeerClosed(Option<u16>),
    /// The peer broke the WebSocket protocol.
    Violated(CloseReason),
    /// The peer broke HTTP.
    Refused(StatusCode),
    /// The peer ended the stream.
    Ended,
    /// A deadline passed.
    TimedOut(&'static str),
    /// The peer does not read what it is sent; which limit said so.
    Slow(&'static str),
}

impl Over {
    /// Which limit ended it, if it is one that the administrator may want to know of.
    pub fn limit(&self) -> Option<Kind> {
        match self {
            Over::Slow(_) => Some(Kind::SlowConsumer),
            Over::Violated(reason) if *reason == CloseReason::TOO_BIG => Some(Kind::TooLarge),
            Over::Violated(reason) if *reason == CloseReason::TOO_MANY_FRAGMENTS => Some(Kind::TooLarge),
            Over::Refused(
                StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG,
            ) => Some(Kind::TooLarge),
            _ => None,
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
            Over::Refused(status) => write!(f, "sent a bad request: {status}"),
            Over::Ended => write!(f, "was ended by its peer"),
            Over::TimedOut(limit) => write!(f, "ran into {limit}"),
            Over::Slow(limit) => write!(f, "is a slow consumer ({limit}) and is dropped"),
        }
    }
}

/// A TCP or Unix connection.
#[derive(Debug)]
pub struct Connection<S> {
    /// Its name.
    pub id: ConnectionId,
    /// Its stream.
    pub socket: S,
    /// Who is at the other end.
    pub peer: Peer,
    /// What waits to be written.
    pub outbox: Outbox,
    state: State,
    /// Read but not decoded, because the connection was paused in the middle.
    unread: Bytes,
    /// A readable edge came and has not been read dry.
    pub readable: bool,
    /// The peer has closed its side or the connection failed: a short read is not the last word.
    pub read_closed: bool,
    /// It is in the list of those with something to write.
    pub dirty: bool,
    /// It is in the list of those to be read again.
    pub queued: bool,
    /// The kernel takes no more until a writable edge.
    pub blocked: bool,
    /// The connection is over the limit of connections: its request gets 503.
    pub surplus: bool,
    /// It holds much of a request, and all of them together hold too much: it is not read until others are done.
    pub hungry: bool,
    /// The service wants to hear nothing more of it for a while.
    pub held_back: bool,
    /// It stands in the line of those who hold much.
    pub in_line: bool,
    /// The service was told that it is gone, or is about to be.
    pub left: bool,
    /// What the loop counted of `held`.
    pub counted: usize,
    /// What it understands; told when it became a WebSocket.
    manners: &'static Manners,
    /// Somebody wants to know when its outbox is empty.
    pub tell_when_flushed: bool,
    /// A ping was sent and nothing came since.
    pinged: bool,
    /// In which second the wheel will look at it; `u64::MAX`: never.
    pub look: u64,
    /// When the last byte came.
    last_read: Time,
    /// Since when more than a quarter of the outbox's limit waits.
    over_since: Time,
    /// Messages that may still be decoded in this second.
    messages: Allowance,
    /// What it may still order that costs more than its own answer: requests, then subscriptions.
    orders: Allowance,
}

/// A token bucket: filled by the second, holding two seconds' worth.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    second: u32,
}

impl Allowance {
    /// A full bucket.
    fn new(rate: u32, now: Time) -> Self {
        Self {
            left: rate.saturating_mul(2),
            second: now.seconds() as u32,
        }
    }

    /// Whether nothing is left although there is a limit.
    fn is_spent(&self, rate: u32) -> bool {
        rate > 0 && self.left == 0
    }

    /// The same, after what a new second brought.
    fn stays_spent(&mut self, rate: u32, now: Time) -> bool {
        if self.is_spent(rate) {
            self.refill(rate, now);
        }
        self.is_spent(rate)
    }

    fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// When there is something again.
    fn next(&self) -> Time {
        Time((u64::from(self.second) + 1) * 1_000_000)
    }

    fn refill(&mut self, rate: u32, now: Time) {
        let second = now.seconds() as u32;
        let full = rate.saturating_mul(2);
        self.left = self
            .left
            .saturating_add(rate.saturating_mul(second.saturating_sub(self.second)))
            .min(full);
        self.second = second;
    }
}

#[derive(Debug)]
enum State {
    Http(Box<Http>),
    WebSocket(Box<Wire>),
    Finishing {
        until: Time,
        /// Beyond which no progress moves `until`.
        at_most: Time,
        shut: bool,
        ended: bool,
    },
    Doomed,
}

#[derive(Debug)]
struct Http {
    parser: Parser,
    /// When the current request must be complete; between two requests: when the connection ends.
    deadline: Time,
    /// No request has come yet.
    first: bool,
    turn: Turn,
    /// The peer has ended its side; answers are still owed.
    ended: bool,
}

/// Whose turn it is in an HTTP exchange.
#[derive(Debug)]
enum Turn {
    /// The peer's: a request is awaited.
    Peer,
    /// Ours: this request is not answered yet.
    Ours {
        version: Version,
        head_only: bool,
        keep_alive: bool,
        accept: Option<Accept>,
    },
}

impl<S: Socket> Connection<S> {
    /// A connection that was just accepted.
    pub fn new(id: ConnectionId, socket: S, peer: Peer, limits: &Limits, now: Time) -> Self {
        let http = Http {
            parser: Parser::new(),
            deadline: now + seconds(limits.handshake_timeout),
            first: true,
            turn: Turn::Peer,
            ended: false,
        };
        Self {
            id,
            socket,
            peer,
            outbox: Outbox::default(),
            state: State::Http(Box::new(http)),
            unread: Bytes::new(),
            readable: false,
            read_closed: false,
            dirty: false,
            queued: false,
            blocked: false,
            surplus: false,
            hungry: false,
            held_back: false,
            in_line: false,
            left: false,
            counted: 0,
            manners: &close::PLAIN,
            tell_when_flushed: false,
            pinged: false,
            look: u64::MAX,
            last_read: now,
            over_since: Time::NEVER,
            messages: Allowance::new(limits.messages_per_second, now),
            orders: Allowance::new(limits.requests_per_second, now),
        }
    }

    /// Whether it has ended and only waits to be freed.
    pub fn is_doomed(&self) -> bool {
        matches!(self.state, State::Doomed)
    }

    /// Whether it still takes part: it has neither ended nor said its last word.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Http(_) | State::WebSocket(_))
    }

    /// Whether it is an open WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.state, State::WebSocket(_))
    }

    /// Makes it one that will only be told no, and has until `deadline` to ask.
    pub fn hurry(&mut self, deadline: Time) {
        if let State::Http(http) = &mut self.state {
            http.deadline = deadline;
        }
    }

    /// Ends it; the next reap frees it.
    pub fn doom(&mut self) {
        self.state = State::Doomed;
    }

    // --- reading -------------------------------------------------------------------------------------------------

    /// Whether nothing may be decoded now: the peer does not read what it is sent, an answer is owed, or it sent more
    /// messages than it may.
    pub fn is_paused(&mut self, limits: &Limits, now: Time) -> bool {
        // Whose peer has gone may be read: that is how it gives back what it holds.
        if (self.hungry && !self.read_closed) || self.outbox.len() > high_water(limits) {
            return true;
        }
        match &self.state {
            State::Http(http) if matches!(http.turn, Turn::Ours { .. }) => true,
            // Whose peer has gone is read to its end, as above.
            State::WebSocket(_) if self.held_back && !self.read_closed => true,
            State::Http(_) | State::WebSocket(_) => self.throttled_by(limits, now).is_some(),
            State::Finishing { .. } | State::Doomed => false,
        }
    }

    /// The limit by which it sent more than it may for now; `deadline` says when it may go on.
    pub fn throttled_by(&mut self, limits: &Limits, now: Time) -> Option<&'static str> {
        let (orders, name) = self.order_rate(limits);
        if self.is_websocket() && self.messages.stays_spent(limits.messages_per_second, now) {
            return Some("messages_per_second");
        }
        self.orders.stays_spent(orders, now).then_some(name)
    }

    /// How many orders it may give in a second, and which limit says so.
    fn order_rate(&self, limits: &Limits) -> (u32, &'static str) {
        match self.state {
            State::Http(_) => (limits.requests_per_second, "requests_per_second"),
            _ => (limits.subscriptions_per_second, "subscriptions_per_second"),
        }
    }

    /// When the limit that it has come to lets it go on; `NEVER`: it has come to none.
    fn resumes(&self, limits: &Limits) -> Time {
        let messages = self.is_websocket() && self.messages.is_spent(limits.messages_per_second);
        let orders = self.orders.is_spent(self.order_rate(limits).0);
        let at = |spent, allowance: &Allowance| if spent { allowance.next() } else { Time::NEVER };
        at(messages, &self.messages).min(at(orders, &self.orders))
    }

    /// Counts an order: something that costs more than its own answer.
    pub fn charge(&mut self) {
        self.orders.spend();
    }

    /// Bytes that were read before a pause, to be decoded first.
    pub fn take_unread(&mut self) -> Bytes {
        std::mem::take(&mut self.unread)
    }

    /// Bytes that it holds of an unfinished HTTP request, and of what may not be decoded yet.
    pub fn held(&self) -> usize {
        let request = match &self.state {
            State::Http(http) => http.parser.held(),
            State::WebSocket(_) | State::Finishing { .. } | State::Doomed => 0,
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
    pub fn heard(&mut self, now: Time) {
        self.last_read = now;
        self.pinged = false;
    }

    /// Decodes from the front of `input` up to the next event; `None` when all is taken, or when a pause begins.
    pub fn decode(&mut self, input: &mut &[u8], limits: &Limits, now: Time) -> Option<Event> {
        if self.is_paused(limits, now) {
            return None;
        }
        match &mut self.state {
            State::Http(_) => self.decode_http(input, limits, now),
            State::WebSocket(wire) => {
                let message = MessageLimits {
                    size: limits.max_message_size,
                    fragments: limits.max_fragments,
                };
                let received = wire.read(input, &mut self.outbox, message, now)?;
                self.messages.spend();
                Some(match received {
                    Received::Text(text) => Event::Text(text),
                    Received::Binary(bytes) => Event::Binary(bytes),
                    Received::Closed(code) => self.over(Over::PeerClosed(code), limits, now),
                    Received::Violated(reason) => self.over(Over::Violated(reason), limits, now),
                })
            }
            State::Finishing { .. } | State::Doomed => {
                *input = &[];
                None
            }
        }
    }

    fn decode_http(&mut self, input: &mut &[u8], limits: &Limits, now: Time) -> Option<Event> {
        let State::Http(http) = &mut self.state else {
            unreachable!("asked only in this state")
        };
        let bounds = HttpLimits {
            head: limits.max_head_size,
            headers: limits.max_headers,
            body: limits.max_body_size,
        };
        let idle = !http.parser.in_request();
        loop {
            match http.parser.read(input, &bounds) {
                Progress::More => {
                    if idle && !http.first && http.parser.in_request() {
                        http.deadline = now + seconds(limits.handshake_timeout);
                    }
                    return None;
                }
                Progress::Continue => {
                    self.outbox.append_with(|out| out.extend_from_slice(CONTINUE));
                }
                Progress::Request(incoming) => return Some(self.requested(incoming, limits, now)),
                Progress::Refused(refusal) => return Some(self.refuse(refusal, limits, now)),
            }
        }
    }

    fn requested(&mut self, incoming: Incoming, limits: &Limits, now: Time) -> Event {
        let State::Http(http) = &mut self.state else {
            unreachable!("asked only in this state")
        };
        let Incoming {
            request,
            keep_alive,
            head_only,
            ..
        } = incoming;
        http.first = false;
        let version = request.version();
        let mut accept = None;
        if handshake::wants_websocket(&request) {
            match handshake::check(&request) {
                Ok(key) => accept = Some(key),
                Err(refusal) => return self.refuse(refusal, limits, now),
            }
        }
        let is_handshake = accept.is_some();
        http.turn = Turn::Ours {
            version,
            head_only,
            keep_alive,
            accept,
        };
        if is_handshake {
            Event::Handshake(request)
        } else {
            Event::Request(request)
        }
    }

    /// Ends the reading side: the peer sent its last byte.
    pub fn ended(&mut self, limits: &Limits, now: Time) -> Option<Event> {
        match &mut self.state {
            State::Http(http) if matches!(http.turn, Turn::Ours { .. }) => {
                http.ended = true;
                None
            }
            State::Http(_) | State::WebSocket(_) => {
                let event = self.over(Over::Ended, limits, now);
                self.note_end();
                Some(event)
            }
            State::Finishing { .. } | State::Doomed => {
                self.note_end();
                None
            }
        }
    }

    fn note_end(&mut self) {
        if let State::Finishing { ended, .. } = &mut self.state {
            *ended = true;
            if self.outbox.is_empty() {
                self.state = State::Doomed;
            }
        }
    }

    // --- answering -----------------------------------------------------------------------------------------------

    /// Answers the request whose turn it is; nobody's turn: nothing happens. `last`: no further request is wanted.
    pub fn respond(&mut self, response: &Response<Bytes>, last: bool, limits: &Limits, now: Time) {
        let State::Http(http) = &mut self.state else { return };
        let Turn::Ours {
            version,
            head_only,
            keep_alive,
            accept,
        } = std::mem::replace(&mut http.turn, Turn::Peer)
        else {
            return;
        };
        let last = last || has_token(response.headers(), &header::CONNECTION, "close");
        let keep_alive = keep_alive && !last && accept.is_none() && !http.ended;
        self.outbox
            .append_with(|out| write_response(out, response, version, head_only, keep_alive));
        http.deadline = now + seconds(limits.keep_alive_timeout);
        if !keep_alive {
            self.finish(limits, now);
        }
    }

    /// Accepts the handshake whose turn it is: 101, and from here on WebSocket frames.
    pub fn accept(&mut self, manners: &'static Manners, limits: &Limits, now: Time) {
        let State::Http(http) = &mut self.state else { return };
        let Turn::Ours {
            accept: Some(accept), ..
        } = &http.turn
        else {
            return;
        };
        self.outbox.append_with(|out| accept.write(out));
        self.state = State::WebSocket(Box::default());
        self.orders = Allowance::new(limits.subscriptions_per_second, now);
        self.manners = manners;
    }

    /// Sends a frame of this connection's own.
    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        if self.is_websocket() {
            self.outbox.append_with(|out| frame::append(out, opcode, payload));
        }
    }

    /// Sends a frame that others get too.
    pub fn send_shared(&mut self, frame: &Bytes) {
        if self.is_websocket() {
            self.outbox.push(frame.clone());
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
                self.outbox
                    .append_with(|out| frame::append(out, Opcode::Text, error.as_bytes()));
            }
            wire.close(reason, &mut self.outbox);
        }
        if self.is_live() {
            self.finish(limits, now);
        }
    }

    /// Closes after decoding panicked: by hand, because the decoder is not to be trusted any more.
    pub fn close_broken(&mut self, limits: &Limits, now: Time) {
        if self.is_websocket() {
            let CloseReason { code, reason } = CloseReason::OUR_BUG;
            self.outbox.append_with(|out| {
                out.extend_from_slice(&[0x88, 2 + reason.len() as u8]);
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(reason.as_bytes());
            });
        }
        self.finish(limits, now);
    }

    /// Closes because the server stops, when nothing is owed any more: a WebSocket and an idle HTTP connection at once, one in the middle of a request
    /// after its answer.
    pub fn leave(&mut self, limits: &Limits, now: Time) {
        match &self.state {
            State::Http(http) if http.parser.in_request() || matches!(http.turn, Turn::Ours { .. }) => {}
            _ => self.close(&self.manners.going_away, limits, now),
        }
    }

    /// Closes a peer that does not read: what has not begun to be written is dropped, and if the rest does not leave within
    /// `close_timeout`, it is reset rather than left to the kernel.
    pub fn close_slow(&mut self, limit: &'static str, limits: &Limits, now: Time) -> Over {
        self.outbox.drop_unwritten();
        self.socket.reset_on_close();
        self.close(&self.manners.slow_consumer, limits, now);
        Over::Slow(limit)
    }

    /// The event that tells of the end, with the connection already finishing.
    pub fn over(&mut self, over: Over, limits: &Limits, now: Time) -> Event {
        self.finish(limits, now);
        Event::Over(over)
    }

    fn refuse(&mut self, refusal: Refusal, limits: &Limits, now: Time) -> Event {
        let response = refusal.into_response();
        self.outbox
            .append_with(|out| write_response(out, &response, Version::HTTP_11, false, false));
        self.over(Over::Refused(response.status()), limits, now)
    }

    fn finish(&mut self, limits: &Limits, now: Time) {
        let ended = matches!(&self.state, State::Http(http) if http.ended);
        self.unread = Bytes::new();
        self.state = State::Finishing {
            until: now + seconds(limits.close_timeout),
            at_most: now + seconds(limits.close_timeout.max(LAST_WORDS)),
            shut: false,
            ended,
        };
    }

    // --- writing -------------------------------------------------------------------------------------------------

    /// Flushes the outbox; a finishing connection that has nothing left shuts its write side down, and ends if the peer has
    /// ended too.
    pub fn flush(&mut self, limits: &Limits, now: Time) {
        if self.is_doomed() || self.blocked {
            return;
        }
        let before = self.outbox.len();
        match self.outbox.flush(&mut self.socket) {
            Ok(Flushed::All) => {
                self.blocked = false;
                if let State::Finishing { shut, ended, .. } = &mut self.state {
                    if *ended {
                        self.state = State::Doomed;
                    } else if !*shut {
                        *shut = true;
                        self.socket.shutdown_write();
                    }
                }
            }
            Ok(Flushed::Blocked) => self.blocked = true,
            Err(_) => self.state = State::Doomed,
        }
        if self.outbox.len() < before {
            self.prolong(limits, now);
        }
    }

    /// A last word that is still leaving may take longer than `close_timeout`, as long as it moves.
    fn prolong(&mut self, limits: &Limits, now: Time) {
        if let State::Finishing { until, at_most, .. } = &mut self.state {
            *until = (now + seconds(limits.close_timeout)).min(*at_most);
        }
    }

    /// Whether a flush would do something: there are bytes that the kernel may take, a last word to end with, or so many
    /// bytes that somebody must decide.
    pub fn wants_flush(&self, limits: &Limits) -> bool {
        match &self.state {
            State::Finishing { shut, .. } if self.outbox.is_empty() => !shut,
            _ => !self.outbox.is_empty() && (!self.blocked || self.is_over_full(limits)),
        }
    }

    /// Notes since when the outbox is above its high water; returns whether that has changed.
    pub fn weigh(&mut self, limits: &Limits, now: Time) -> bool {
        let before = self.over_since;
        if self.outbox.len() <= high_water(limits) {
            self.over_since = Time::NEVER;
        } else if self.over_since == Time::NEVER {
            self.over_since = now;
        }
        self.over_since != before
    }

    /// Whether more bytes wait than may, after a flush.
    pub fn is_over_full(&self, limits: &Limits) -> bool {
        // An HTTP answer may be larger than any limit on what is pushed; the next one waits until it has left.
        self.is_websocket() && self.outbox.len() > limits.send_queue_bytes
    }

    // --- time ----------------------------------------------------------------------------------------------------

    /// When somebody must look at it; it only says so, the wheel remembers.
    pub fn deadline(&self, limits: &Limits) -> Time {
        let slow = self.over_since + seconds(limits.send_queue_seconds);
        let resumes = self.resumes(limits);
        let own = match &self.state {
            State::Http(http) => match http.turn {
                Turn::Peer => http.deadline.min(resumes),
                Turn::Ours { .. } => Time::NEVER,
            },
            State::WebSocket(_) if resumes != Time::NEVER => resumes,
            State::WebSocket(wire) => {
                let silence = if self.pinged {
                    self.last_read + seconds(limits.ping_interval + limits.ping_timeout)
                } else {
                    self.last_read + seconds(limits.ping_interval)
                };
                let shrink = if wire.grown() {
                    self.last_read + seconds(SHRINK_AFTER)
                } else {
                    Time::NEVER
                };
                silence
                    .min(shrink)
                    .min(wire.unfinished_since + seconds(limits.message_timeout))
            }
            State::Finishing { until, .. } => return *until,
            State::Doomed => Time::NEVER,
        };
        own.min(slow)
    }

    /// Does what is due: a ping, the end of what took too long, the release of memory.
    pub fn look(&mut self, limits: &Limits, now: Time) -> Option<Event> {
        if self.is_live() && self.over_since + seconds(limits.send_queue_seconds) <= now {
            return Some(Event::Over(self.close_slow("send_queue_seconds", limits, now)));
        }
        let _ = self.throttled_by(limits, now);
        match &mut self.state {
            State::Http(http) if http.deadline <= now && matches!(http.turn, Turn::Peer) => {
                if http.first || http.parser.in_request() {
                    self.refuse(super::http::timeout(), limits, now);
                    return Some(Event::Over(Over::TimedOut("handshake_timeout")));
                }
                Some(self.over(Over::TimedOut("keep_alive_timeout"), limits, now))
            }
            State::WebSocket(wire) => {
                if wire.unfinished_since + seconds(limits.message_timeout) <= now {
                    self.close(&CloseReason::UNFINISHED, limits, now);
                    return Some(Event::Over(Over::TimedOut("message_timeout")));
                }
                if self.last_read + seconds(SHRINK_AFTER) <= now {
                    wire.shrink();
                }
                self.look_for_silence(limits, now)
            }
            State::Finishing { until, .. } if *until <= now => {
                // What the kernel still holds for a peer that takes nothing is not left to it.
                if !self.outbox.is_empty() {
                    self.socket.reset_on_close();
                }
                self.state = State::Doomed;
                None
            }
            _ => None,
        }
    }

    fn look_for_silence(&mut self, limits: &Limits, now: Time) -> Option<Event> {
        if self.readable || self.has_unread() {
            // It has spoken; it is we who do not listen, because it is paused.
            self.heard(now);
            return None;
        }
        if self.last_read + seconds(limits.ping_interval) > now {
            return None;
        }
        if !self.pinged {
            self.pinged = true;
            self.send(Opcode::Ping, b"");
            if let Some(text) = self.manners.ping {
                self.send(Opcode::Text, text.as_bytes());
            }
            return None;
        }
        if self.last_read + seconds(limits.ping_interval + limits.ping_timeout) > now {
            return None;
        }
        self.close(&self.manners.no_pong, limits, now);
        Some(Event::Over(Over::TimedOut("ping_timeout")))
    }
}

/// What may wait in an outbox before reading from its peer pauses and its time is counted.
fn high_water(limits: &Limits) -> usize {
    limits.send_queue_bytes / 4
}

/// Seconds that the last words of a connection may take as long as they move: a megabyte at 20 KB/s.
const LAST_WORDS: u64 = 60;

/// Seconds of silence after which a decoder that large messages made grow is replaced. Long enough not to undo it between
/// two large messages of one conversation.
const SHRINK_AFTER: u64 = 10;

fn seconds(n: u64) -> std::time::Duration {
    std::time::Duration::from_secs(n)
}
