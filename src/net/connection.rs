//! One connection: its socket, what it speaks (HTTP, then perhaps WebSocket), its send queue and its deadline. Bytes
//! become events here, and answers become bytes. Other modules decide what an event means and which answer it gets.
//!
//! A connection goes through `Http` → `WebSocket` → `Finishing` → `Doomed`; it may skip steps and never goes back. A
//! `Finishing` connection has said its last word: its queue is flushed, its write side is shut down, and its peer's
//! input is thrown away: a close with unread input is a reset. A header of the PROXY protocol belongs to `Http`.

use bytes::Bytes;
use http::{Response, Version};

use super::allowance::Allowances;
use super::backlog::{Backlog, high_water};
use super::close::{self, CloseReason, Finishing, Manners};
use super::event::{Event, Over};
use super::exchange::{Asked, Exchange};
use super::frame::Opcode;
use super::http::{DateLine, Refusal, write_response};
use super::io::{Peer, Socket};
use super::polled::Polled;
use super::send_queue::SendQueue;
use super::websocket::{WebSocket, send};
use super::wire::Received;
use crate::config::Limits;
use crate::protocol::actions::Message;
use crate::time::Time;

/// A TCP or Unix connection.
#[derive(Debug)]
pub struct Connection<S> {
    /// The stream with its readiness.
    pub socket: Polled<S>,
    /// The other end.
    pub peer: Peer,
    /// The bytes that wait to be encrypted or written.
    pub queue: SendQueue,
    state: State,
    /// Read but not decoded, because the connection was paused in the middle.
    unread: Bytes,
    backlog: Backlog,
    /// What it may still send in this second.
    pub allowances: Allowances,
}

#[derive(Debug)]
enum State {
    Http(Box<Exchange>),
    WebSocket(Box<WebSocket>),
    Finishing(Finishing),
    Doomed,
}

impl<S: Socket> Connection<S> {
    /// A connection that was just accepted.
    pub fn new(stream: S, peer: Peer, limits: &Limits, now: Time) -> Self {
        let mut socket = Polled::new(stream);
        // The kernel's buffer is empty.
        socket.ready.writable = true;
        Self {
            socket,
            peer,
            queue: SendQueue::default(),
            state: State::Http(Box::new(Exchange::new(peer.proxy_protocol, limits, now))),
            unread: Bytes::new(),
            backlog: Backlog::NONE,
            allowances: Allowances::default(),
        }
    }

    /// Whether the connection has ended and only waits to be freed.
    pub fn is_doomed(&self) -> bool {
        matches!(self.state, State::Doomed)
    }

    /// Whether the connection has neither ended nor begun to finish.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Http(_) | State::WebSocket(_))
    }

    /// Whether it is an open WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.state, State::WebSocket(_))
    }

    /// Sets the deadline of the connection's request, which will be refused.
    pub fn hurry(&mut self, deadline: Time) {
        if let State::Http(http) = &mut self.state {
            http.hurry(deadline);
        }
    }

    /// Ends the connection; the next reap frees it.
    pub fn doom(&mut self) {
        self.state = State::Doomed;
    }

    // --- reading -------------------------------------------------------------------------------------------------

    /// Whether nothing may be decoded now: the peer does not read its answers, an answer is owed, or a rate is
    /// exceeded.
    pub fn is_paused(&self, limits: &Limits, now: Time) -> bool {
        if self.waiting() > high_water(limits) {
            return true;
        }
        match &self.state {
            State::Http(http) if http.is_ours() => true,
            State::Http(_) | State::WebSocket(_) => self.allowances.throttled_by(limits, now).is_some(),
            State::Finishing(_) | State::Doomed => false,
        }
    }

    /// Bytes that were read before a pause, to be decoded first.
    pub fn take_unread(&mut self) -> Bytes {
        std::mem::take(&mut self.unread)
    }

    /// Bytes that it holds of an unfinished HTTP request, and of input that may not be decoded yet.
    pub fn request_bytes(&self) -> usize {
        let State::Http(http) = &self.state else {
            return self.unread.len();
        };
        http.held() + self.unread.len()
    }

    /// Whether there is something to decode: in the socket, or read before a pause.
    pub fn has_more(&self) -> bool {
        self.socket.has_more() || !self.unread.is_empty()
    }

    /// Keeps input that may not be decoded yet: one read buffer at most.
    pub fn keep_unread(&mut self, rest: Bytes) {
        self.unread = rest;
    }

    /// Whether a header of the PROXY protocol must come first.
    pub fn is_arriving(&self) -> bool {
        matches!(&self.state, State::Http(http) if http.is_arriving())
    }

    /// Reads of that header what the socket has. Returns whether it is complete; then `peer` is the client.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn read_header(&mut self) -> Result<bool, Over> {
        let State::Http(http) = &mut self.state else {
            return Ok(true);
        };
        http.read_header(&mut self.peer, |part| self.socket.read_raw(part))
            .inspect_err(|_| self.doom())
    }

    /// Reads once into `buffer`; 0: there is nothing to decode.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn read(&mut self, buffer: &mut [u8], limits: &Limits, now: Time) -> Result<usize, Over> {
        match self.socket.read(buffer) {
            Ok(Some(0)) => self.end(limits, now).map_or(Ok(0), Err),
            Ok(Some(n)) => {
                if let State::WebSocket(websocket) = &mut self.state {
                    websocket.note_received(now);
                }
                Ok(n)
            }
            Ok(None) => Ok(0),
            Err(error) => {
                // Bad TLS is answered with an alert.
                match self.socket.has_failed() && self.is_live() {
                    true => self.finish(limits, now),
                    false => self.doom(),
                }
                Err(Over::Failed(error.to_string()))
            }
        }
    }

    /// Decodes from the front of `input` up to the next event. `None`: all is decoded, or a pause begins.
    pub fn decode(&mut self, input: &mut &[u8], limits: &Limits, now: Time, date: &DateLine) -> Option<Event> {
        if self.is_paused(limits, now) {
            return None;
        }
        let event = match &mut self.state {
            State::Http(http) => match http.read(input, &mut self.queue, limits, now)? {
                Asked::Request(request) => Event::Request(request),
                Asked::Handshake(request) => Event::Handshake(request),
                Asked::Refused(refusal) => Event::Over(self.refuse(refusal, date)),
            },
            State::WebSocket(websocket) => {
                let received = websocket.read(input, &mut self.queue, limits, now)?;
                self.allowances.note_message(limits, now);
                match received {
                    Received::Message(message) => Event::Message(message),
                    Received::Closed(code) => Event::Over(Over::PeerClosed(code)),
                    Received::Violated(reason) => Event::Over(Over::Violated(reason)),
                }
            }
            State::Finishing(_) | State::Doomed => {
                *input = &[];
                return None;
            }
        };
        if let Event::Over(_) = event {
            self.finish(limits, now);
        }
        Some(event)
    }

    /// The peer has ended its side.
    fn end(&mut self, limits: &Limits, now: Time) -> Option<Over> {
        let was_live = self.is_live();
        match &mut self.state {
            State::Http(http) if http.is_ours() => {
                http.ended = true;
                return None;
            }
            State::Http(_) | State::WebSocket(_) => self.finish(limits, now),
            State::Finishing(_) | State::Doomed => {}
        }
        if let State::Finishing(finishing) = &mut self.state {
            finishing.ended = true;
            // TLS still says goodbye.
            if self.queue.is_empty() && (finishing.shut || !self.socket.is_secure()) {
                self.doom();
            }
        }
        was_live.then_some(Over::Ended)
    }

    // --- answering -----------------------------------------------------------------------------------------------

    /// Answers the request whose answer is owed, if there is one. `last`: no further request is wanted.
    pub fn respond(&mut self, response: &Response<Bytes>, last: bool, limits: &Limits, now: Time, date: &DateLine) {
        let State::Http(http) = &mut self.state else { return };
        if http.respond(response, last, &mut self.queue, limits, now, date) == Some(false) {
            self.finish(limits, now);
        }
    }

    /// Accepts the handshake whose answer is owed: 101, and from here on WebSocket frames.
    pub fn accept(&mut self, manners: &'static Manners, now: Time, date: &DateLine) {
        if matches!(&self.state, State::Http(http) if http.accept(&mut self.queue, date)) {
            self.state = State::WebSocket(Box::new(WebSocket::new(manners, now)));
            self.allowances = Allowances::websocket();
        }
    }

    /// Sends a message as a frame of this connection's own.
    pub fn send(&mut self, message: &Message) {
        if self.is_websocket() {
            match message {
                Message::Text(text) => send(&mut self.queue, Opcode::Text, text.as_bytes()),
                Message::Binary(bytes) => send(&mut self.queue, Opcode::Binary, bytes),
            }
        }
    }

    /// Sends a frame that other connections get too.
    pub fn send_shared(&mut self, frame: &Bytes) {
        if self.is_websocket() {
            self.queue.push(frame.clone());
        }
    }

    /// Closes: a close frame on a WebSocket, nothing more on HTTP; then the last bytes are flushed and the connection
    /// ends. Returns how it ended, if it had not ended before.
    pub fn close(&mut self, reason: CloseReason, limits: &Limits, now: Time) -> Option<Over> {
        if let State::WebSocket(websocket) = &mut self.state {
            websocket.close(&reason, &mut self.queue);
        }
        if !self.is_live() {
            return None;
        }
        self.finish(limits, now);
        Some(Over::Closed(reason))
    }

    /// Closes after decoding panicked. The decoder is in no state to write the close frame. Returns how it ended.
    pub fn close_broken(&mut self, limits: &Limits, now: Time) -> Over {
        if self.is_websocket() {
            let CloseReason { code, reason } = CloseReason::OUR_BUG;
            let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
            send(&mut self.queue, Opcode::Close, &payload);
        }
        self.finish(limits, now);
        Over::Closed(CloseReason::OUR_BUG)
    }

    /// Closes because the server stops, unless HTTP still waits for an answer. Returns how it ended, if it did now.
    pub fn leave(&mut self, is_replaced: bool, limits: &Limits, now: Time) -> Option<Over> {
        if let State::Http(http) = &mut self.state
            && http.stays(now)
        {
            return None;
        }
        self.close(self.manners().parting(is_replaced), limits, now)
    }

    /// Closes the connection of a slow consumer. Frames that have not begun to be written are dropped, and the rest has
    /// `close_timeout` to leave. The socket is then closed with a reset in any case, so that the kernel keeps no
    /// megabytes for a peer that may never read them.
    fn close_slow(&mut self, limit: &'static str, limits: &Limits, now: Time) -> Over {
        self.queue.drop_unwritten();
        self.socket.stream.reset_on_close();
        let reason = &self.manners().slow_consumer;
        self.close(reason.clone(), limits, now);
        Over::Slow(limit, reason.code)
    }

    fn manners(&self) -> &'static Manners {
        match &self.state {
            State::WebSocket(websocket) => websocket.manners,
            State::Http(_) | State::Finishing(_) | State::Doomed => &close::PLAIN,
        }
    }

    /// Answers a bad request.
    fn refuse(&mut self, refusal: Refusal, date: &DateLine) -> Over {
        let response = refusal.into_response();
        self.queue
            .append_with(|out| write_response(out, &response, Version::HTTP_11, false, false, date));
        Over::Refused(response.status())
    }

    fn finish(&mut self, limits: &Limits, now: Time) {
        let ended = matches!(&self.state, State::Http(http) if http.ended);
        self.unread = Bytes::new();
        if self.socket.is_handshaking() || self.socket.has_failed() {
            // It could never be sent.
            self.queue = SendQueue::default();
        }
        self.state = State::Finishing(Finishing::new(ended, limits.close_timeout, now));
    }

    // --- writing -------------------------------------------------------------------------------------------------

    /// Flushes the send queue and closes a slow consumer. A finishing connection that has nothing left shuts its write
    /// side down, and ends if the peer has ended too. Returns how the connection ended, if it did.
    pub fn flush(&mut self, limits: &Limits, now: Time) -> Option<Over> {
        if self.is_doomed() {
            return None;
        }
        let before = self.waiting();
        if let Err(error) = self.socket.flush().and_then(|()| self.queue.flush(&mut self.socket)) {
            self.doom();
            return Some(Over::Failed(error.to_string()));
        }
        if self.is_over_full(limits) {
            let over = self.close_slow("send_queue_bytes", limits, now);
            self.flush(limits, now);
            return Some(over);
        }
        let State::Finishing(finishing) = &mut self.state else {
            return None;
        };
        if self.queue.len() + self.socket.unsent() < before {
            finishing.prolong(limits.close_timeout, now);
        }
        if self.queue.is_empty() && finishing.shut_down(&mut self.socket) {
            self.doom();
        }
        None
    }

    /// Bytes that wait to be written, those included that TLS has encrypted.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.socket.unsent()
    }

    /// Whether a flush would do something: the kernel may take bytes, the write side is to be shut down, or the queue
    /// is over its limit.
    pub fn wants_flush(&self, limits: &Limits) -> bool {
        let may_flush = || self.socket.ready.writable || self.is_over_full(limits);
        if self.socket.unsent() > 0 {
            return may_flush();
        }
        match &self.state {
            State::Finishing(finishing) if self.queue.is_empty() => !finishing.shut,
            _ => !self.queue.is_empty() && may_flush() && !self.socket.is_handshaking(),
        }
    }

    /// Notes since when the send queue is above its high-water mark. Returns whether that has changed.
    pub fn note_backlog(&mut self, limits: &Limits, now: Time) -> bool {
        let waiting = self.waiting();
        self.backlog.note(waiting, limits, now)
    }

    /// Whether more waits in the send queue than its high-water mark.
    pub fn is_slow(&self) -> bool {
        self.backlog.is_high()
    }

    /// Whether the send queue is over its limit, after a flush.
    fn is_over_full(&self, limits: &Limits) -> bool {
        // An HTTP answer may be larger than the limit; the next one waits until it has left.
        self.is_websocket() && self.waiting() > limits.send_queue_bytes
    }

    // --- time ----------------------------------------------------------------------------------------------------

    /// When `check_deadlines` has something to do.
    pub fn deadline(&self, limits: &Limits, now: Time) -> Time {
        let resumes = self.allowances.resumes(limits, now);
        let own = match &self.state {
            State::Http(http) if http.is_ours() => Time::NEVER,
            State::Http(http) => http.deadline().min(resumes),
            State::WebSocket(_) if resumes != Time::NEVER => resumes,
            State::WebSocket(websocket) => websocket.deadline(limits),
            State::Finishing(finishing) => return finishing.until,
            State::Doomed => Time::NEVER,
        };
        own.min(self.backlog.ends(limits))
    }

    /// Does the work that is due: sends a ping, ends a request or message that took too long, frees memory. Returns how
    /// the connection ended, if it did.
    pub fn check_deadlines(&mut self, limits: &Limits, now: Time, date: &DateLine) -> Option<Over> {
        if self.is_live() && self.backlog.ends(limits) <= now {
            return Some(self.close_slow("send_queue_seconds", limits, now));
        }
        let has_more = self.has_more();
        let over = match &mut self.state {
            State::Http(http) if http.deadline() <= now => match http.expects_request() {
                true => {
                    self.refuse(super::http::timeout(), date);
                    Over::TimedOut("handshake_timeout", None)
                }
                false => Over::TimedOut("keep_alive_timeout", None),
            },
            State::WebSocket(websocket) => {
                if has_more {
                    // The peer is not silent: its bytes are not read, because the connection is paused.
                    websocket.note_received(now);
                }
                websocket.check_deadlines(&mut self.queue, limits, now)?
            }
            State::Finishing(finishing) if finishing.until <= now => {
                // The peer reads nothing, so the kernel need not keep the rest for the peer.
                if self.waiting() > 0 {
                    self.socket.stream.reset_on_close();
                }
                self.doom();
                return None;
            }
            _ => return None,
        };
        self.finish(limits, now);
        Some(over)
    }
}
