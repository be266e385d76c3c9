//! The HTTP exchange of a connection: whether the peer or the server is next, how long a request may take, and the
//! facts that its answer depends on. It owns no socket: it reads slices and writes into the connection's send queue.
//! Other modules decide what a request means.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version, header};

use super::event::Over;
use super::handshake::{self, Accept};
use super::http::{CONTINUE, DateLine, HttpLimits, Incoming, Parser, Progress, Refusal, has_token, write_response};
use super::io::Peer;
use super::proxy_protocol::{Announced, HeaderReader};
use super::send_queue::SendQueue;
use crate::config::Limits;
use crate::time::Time;

/// How long a client that has just connected has for its first request when the server stops. A client that gets no
/// answer at all would take the server for dead.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// One HTTP connection's requests and answers, one after the other.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The header of the PROXY protocol that must come before the first request, as far as it has come.
    header: Option<Box<HeaderReader>>,
    parser: Parser,
    /// When the current request must be complete; between two requests: when the connection ends.
    deadline: Time,
    /// No request has come yet.
    is_first: bool,
    turn: Turn,
    /// The peer has ended its side; an answer is still owed.
    pub(super) ended: bool,
}

/// The side that must send next.
#[derive(Debug)]
enum Turn {
    /// The peer's turn: a request is awaited.
    Peer,
    /// Our turn: this request is not answered yet.
    Ours {
        version: Version,
        head_only: bool,
        keep_alive: bool,
        accept: Option<Accept>,
    },
}

/// A request of a peer.
pub(super) enum Asked {
    Request(Request<Bytes>),
    /// A valid WebSocket handshake.
    Handshake(Request<Bytes>),
    Refused(Refusal),
}

impl Exchange {
    /// For a connection that was just accepted.
    pub(super) fn new(proxy_protocol: bool, limits: &Limits, now: Time) -> Self {
        Self {
            header: proxy_protocol.then(Box::default),
            parser: Parser::new(),
            deadline: now + Duration::from_secs(limits.handshake_timeout),
            is_first: true,
            turn: Turn::Peer,
            ended: false,
        }
    }

    /// Whether a header of the PROXY protocol must come first.
    pub(super) fn is_arriving(&self) -> bool {
        self.header.is_some()
    }

    /// Reads that header with `read`, as far as it has come. Returns whether it is complete; then `peer`, the proxy
    /// until then, is the client.
    ///
    /// # Errors
    /// Why no good one will come.
    pub(super) fn read_header(
        &mut self,
        peer: &mut Peer,
        mut read: impl FnMut(&mut [u8]) -> io::Result<Option<usize>>,
    ) -> Result<bool, Over> {
        let mut buffer = [0; HeaderReader::MOST];
        while let Some(header) = &mut self.header {
            let part = &mut buffer[..header.missing()];
            let announced = match read(part) {
                Ok(None) => return Ok(false),
                Ok(Some(0)) => return Err(Over::Ended),
                Ok(Some(n)) => header.push(&part[..n]).map_err(|why| Over::BadHeader(*peer, why))?,
                Err(error) => return Err(Over::Failed(error.to_string())),
            };
            if let Some(Announced::Client { address, secure }) = announced {
                peer.address = Some(address);
                // Or TLS ends here, above the header.
                peer.secure |= secure;
            }
            if announced.is_some() {
                self.header = None;
            }
        }
        Ok(true)
    }

    /// Whether an answer is owed.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.turn, Turn::Ours { .. })
    }

    /// Whether the connection stays for an answer when the server stops: a request has begun, or the first one is on
    /// its way. That one must come soon from here on.
    pub(super) fn stays(&mut self, now: Time) -> bool {
        let has_begun = self.is_ours() || self.parser.in_request();
        if self.is_first && !has_begun {
            self.deadline = self.deadline.min(now + ON_ITS_WAY);
        }
        self.is_first || has_begun
    }

    /// Whether a request must come or be complete: the first one, or one that has begun.
    pub(super) fn expects_request(&self) -> bool {
        self.is_first || self.parser.in_request()
    }

    /// Bytes that are held of an unfinished request.
    pub(super) fn held(&self) -> usize {
        self.parser.held()
    }

    /// When the peer's time is over; `NEVER` while it is our turn.
    pub(super) fn deadline(&self) -> Time {
        match self.turn {
            Turn::Peer => self.deadline,
            Turn::Ours { .. } => Time::NEVER,
        }
    }

    /// Sets the deadline of the peer's request.
    pub(super) fn hurry(&mut self, deadline: Time) {
        self.deadline = deadline;
    }

    /// Reads from the front of `input` up to the end of a request; `None`: more must come.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        queue: &mut SendQueue,
        limits: &Limits,
        now: Time,
    ) -> Option<Asked> {
        let bounds = HttpLimits {
            head: limits.max_head_size,
            headers: limits.max_headers,
            body: limits.max_body_size,
        };
        let was_idle = !self.parser.in_request();
        loop {
            match self.parser.read(input, &bounds) {
                Progress::More => {
                    if was_idle && !self.is_first && self.parser.in_request() {
                        self.deadline = now + Duration::from_secs(limits.handshake_timeout);
                    }
                    return None;
                }
                Progress::Continue => queue.append_with(|out| out.extend_from_slice(CONTINUE)),
                Progress::Request(incoming) => return Some(self.requested(incoming)),
                Progress::Refused(refusal) => return Some(Asked::Refused(refusal)),
            }
        }
    }

    fn requested(&mut self, incoming: Incoming) -> Asked {
        let Incoming {
            request,
            keep_alive,
            head_only,
            ..
        } = incoming;
        self.is_first = false;
        let accept = match handshake::wants_websocket(&request).then(|| handshake::check(&request)) {
            Some(Err(refusal)) => return Asked::Refused(refusal),
            Some(Ok(accept)) => Some(accept),
            None => None,
        };
        let is_handshake = accept.is_some();
        self.turn = Turn::Ours {
            version: request.version(),
            head_only,
            keep_alive,
            accept,
        };
        match is_handshake {
            true => Asked::Handshake(request),
            false => Asked::Request(request),
        }
    }

    /// Answers the request that waits for its answer; `None`: no answer is owed. Returns whether a further request may
    /// come. `last`: no further request is wanted.
    pub(super) fn respond(
        &mut self,
        response: &Response<Bytes>,
        last: bool,
        queue: &mut SendQueue,
        limits: &Limits,
        now: Time,
        date: &DateLine,
    ) -> Option<bool> {
        let Turn::Ours {
            version,
            head_only,
            keep_alive,
            accept,
        } = std::mem::replace(&mut self.turn, Turn::Peer)
        else {
            return None;
        };
        let last = last || has_token(response.headers(), &header::CONNECTION, "close");
        let keep_alive = keep_alive && !last && accept.is_none() && !self.ended;
        queue.append_with(|out| write_response(out, response, version, head_only, keep_alive, date));
        self.deadline = now + Duration::from_secs(limits.keep_alive_timeout);
        Some(keep_alive)
    }

    /// Accepts the handshake that waits for its answer with 101. False: no handshake waits.
    pub(super) fn accept(&self, queue: &mut SendQueue, date: &DateLine) -> bool {
        let Turn::Ours {
            accept: Some(accept), ..
        } = &self.turn
        else {
            return false;
        };
        queue.append_with(|out| accept.write(out, date));
        true
    }
}
