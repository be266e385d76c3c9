//! One connection to a target, and what its turn does: write the post, read the answer.

use std::io::{self, IoSlice};

use super::flight::Flight;
use super::places::Place;
use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use crate::config::HttpUrl;
use crate::net::dial::Line;
use crate::net::io::Socket;
use crate::time::Time;
use crate::trust;

/// The connection to a target.
#[derive(Debug)]
pub(super) struct Client<S> {
    pub(super) target: u32,
    /// The configured URL.
    pub(super) url: String,
    /// The server at the other end: `url`, or where a redirect has led to.
    pub(super) server: HttpUrl,
    pub(super) line: Line<S>,
    pub(super) stage: Stage,
    pub(super) awake: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The connection is being made, to the address with this index.
    Connecting(Flight, usize),
    /// A post is being sent and its answer read.
    Exchanging(Flight),
    /// Nothing is under way.
    Kept,
}

/// The result of a client's turn.
pub(super) enum Turn {
    /// The client waits for readiness.
    Wait,
    /// The answer is complete: its status, and whether the connection is kept.
    Answered(u16, bool),
    /// The connection failed, for this reason.
    Lost(String),
    /// A kept connection is of no more use.
    Stale,
}

impl<S: Socket> Client<S> {
    pub(super) fn turn(&mut self, buffer: &mut [u8], now: Time, place: Option<&mut Place>) -> Turn {
        if let Stage::Connecting(_, address) = self.stage {
            match self.line.is_connected() {
                Ok(true) => {}
                Ok(false) => return Turn::Wait,
                Err(error) => return Turn::Lost(self.why(&error)),
            }
            self.line.deadline = now + ANSWER_TIMEOUT;
            if let Some(place) = place {
                place.best = address;
            }
            let stage = std::mem::replace(&mut self.stage, Stage::Kept);
            self.stage = stage.into_flight().map_or(Stage::Kept, Stage::Exchanging);
        }
        // An answer, and the end, may come before all is sent. So the answer is read also when writing fails.
        let broken = self.write().err();
        self.line.socket.ready.readable |= broken.is_some();
        match (self.read(buffer), broken) {
            (Turn::Wait, Some(error)) => Turn::Lost(self.why(&error)),
            (turn, _) => turn,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        // TLS may hold bytes that it has taken.
        self.line.socket.flush()?;
        let Stage::Exchanging(flight) = &mut self.stage else {
            return Ok(());
        };
        while !flight.is_sent() {
            let head = flight.head.get(flight.sent..).unwrap_or_default();
            let body = &flight.body[flight.sent.saturating_sub(flight.head.len())..];
            let written = match head.is_empty() {
                true => self.line.socket.write(&[IoSlice::new(body)])?,
                false => self.line.socket.write(&[IoSlice::new(head), IoSlice::new(body)])?,
            };
            let Some(n) = written else { break };
            flight.sent += n;
        }
        Ok(())
    }

    /// Reads until the answer is complete or wrong, or nothing more is there.
    fn read(&mut self, buffer: &mut [u8]) -> Turn {
        loop {
            let read = match self.line.socket.read(buffer) {
                Ok(None) => return Turn::Wait,
                Ok(Some(n)) => Ok(n),
                Err(error) => Err(self.why(&error)),
            };
            // No post is under way, so these bytes answer none.
            let Stage::Exchanging(flight) = &mut self.stage else {
                return Turn::Stale;
            };
            let complete = match read {
                Ok(0) => {
                    flight.answer.end();
                    return match flight.answer.status() {
                        Some(status) => Turn::Answered(status, false),
                        None => Turn::Lost("it closed the connection without an answer".to_owned()),
                    };
                }
                Ok(n) => flight.answer.take(&buffer[..n]),
                Err(why) => Err(why),
            };
            match (complete, flight.answer.status()) {
                (Ok(false), _) => {}
                (Ok(true), Some(status)) => {
                    let socket = &self.line.socket;
                    let is_sent = flight.is_sent() && socket.unsent() == 0;
                    let keeps = flight.answer.keeps_alive() && is_sent && !socket.ready.read_closed;
                    return Turn::Answered(status, keeps);
                }
                // The head came, and its status is the outcome. Only the body failed.
                (Err(_), Some(status)) => return Turn::Answered(status, false),
                (Err(why), None) => return Turn::Lost(why),
                (Ok(true), None) => return Turn::Lost("the answer has no status".to_owned()),
            }
        }
    }

    /// The deadline is over.
    pub(super) fn late(&self) -> Turn {
        match &self.stage {
            Stage::Connecting(..) => {
                let missing = match self.line.was_connected() {
                    true => "TLS handshake",
                    false => "connection",
                };
                Turn::Lost(format!("no {missing} within {} s", CONNECT_TIMEOUT.as_secs()))
            }
            Stage::Exchanging(flight) => match flight.answer.status() {
                Some(status) => Turn::Answered(status, false),
                None => Turn::Lost(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
            },
            Stage::Kept => Turn::Stale,
        }
    }

    /// Whether it is free for a post to `url`, which is configured as `configured`.
    pub(super) fn takes(&self, configured: &str, url: &HttpUrl) -> bool {
        let is_free = matches!(self.stage, Stage::Kept) && !self.line.socket.ready.read_closed;
        is_free && self.url == configured && self.leads_to(url)
    }

    /// Whether its server is that of `url`.
    pub(super) fn leads_to(&self, url: &HttpUrl) -> bool {
        (&self.server.host, self.server.port, self.server.tls) == (&url.host, url.port, url.tls)
    }

    /// Whether its turn costs a handshake.
    pub(super) fn is_handshaking(&self) -> bool {
        self.line.socket.is_handshaking()
    }

    /// The reason of a failure, as a clause about the target.
    fn why(&self, error: &io::Error) -> String {
        match trust::in_io(error) {
            Some(fault) => trust::what_to_do(fault, &self.server.host, "`ca` in [tls]"),
            None => error.to_string(),
        }
    }

    pub(super) fn into_flight(self) -> Option<Flight> {
        self.stage.into_flight()
    }
}

impl Stage {
    pub(super) fn into_flight(self) -> Option<Flight> {
        match self {
            Stage::Connecting(flight, _) | Stage::Exchanging(flight) => Some(flight),
            Stage::Kept => None,
        }
    }
}
