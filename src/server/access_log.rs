//! What was asked and how it ended: at debug one line for each request and each connection, when it is over, and the
//! same as JSON in the access log (`[server] access_log`). Nothing is noted while nobody wants either.
//!
//! A line has facts only: never a query, a header, a payload or a name. What a connection does in between is logged
//! where it is decided.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use log::Level;

use crate::config::Server;
use crate::id::ConnectionId;
use crate::net::event::Over;
use crate::protocol::slots::Slots;
use crate::service::Identity;
use crate::service::caller::{Call, Caller};
use crate::time::{Now, Time};

/// The most characters of a path in a line. A peer chooses the path, and may send many.
const SHOWN: usize = 200;

/// The connections that are noted.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    visits: Slots<Visit>,
}

/// One connection.
#[derive(Debug)]
struct Visit {
    /// When it was accepted.
    since: Time,
    /// The client, as far as it is known: a proxy's until its first request. `None`: a Unix socket.
    client: Option<IpAddr>,
    asked: Option<Asked>,
    over: Option<Over>,
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Asked {
    method: Method,
    path: Box<str>,
    /// When the tick began in which it was complete.
    since: Time,
}

impl AccessLog {
    /// Whether connections and their requests are to be noted.
    pub(super) fn is_wanted(&self) -> bool {
        log::log_enabled!(Level::Debug)
    }

    /// A connection was accepted from this address; `None`: from a Unix socket.
    pub(super) fn opened(&mut self, id: ConnectionId, client: Option<IpAddr>, now: Time) {
        if self.is_wanted() {
            let visit = Visit {
                since: now,
                client,
                asked: None,
                over: None,
            };
            self.visits.insert(id, visit);
        }
    }

    /// A request or handshake is complete. It comes from the client that a trusted proxy names, or else from the peer.
    pub(super) fn asked(
        &mut self,
        id: ConnectionId,
        caller: &Caller,
        request: &Request<Bytes>,
        server: &Server,
        now: Time,
    ) {
        if let Some(visit) = self.visits.get_mut(id) {
            let client = Call::new(id, caller, request, server).address();
            visit.client = client.or(visit.client);
            visit.asked = Some(Asked {
                method: request.method().clone(),
                path: request.uri().path().chars().take(SHOWN).collect(),
                since: now,
            });
        }
    }

    /// The request of a connection has its answer. `clock` reads the clocks: those of the tick are as old as the
    /// request.
    pub(super) fn answered(&mut self, id: ConnectionId, response: &Response<Bytes>, clock: impl FnOnce() -> Now) {
        self.settled(id, response.status(), response.body().len(), clock);
    }

    /// The handshake of a connection is accepted.
    pub(super) fn accepted(&mut self, id: ConnectionId, clock: impl FnOnce() -> Now) {
        self.settled(id, StatusCode::SWITCHING_PROTOCOLS, 0, clock);
    }

    fn settled(&mut self, id: ConnectionId, status: StatusCode, bytes: usize, clock: impl FnOnce() -> Now) {
        let Some(visit) = self.visits.get_mut(id) else { return };
        let Some(Asked { method, path, since }) = visit.asked.take() else {
            return;
        };
        let (client, ms) = (Client(visit.client), clock().at.since(since).as_secs_f64() * 1000.0);
        let status = status.as_str();
        log::debug!("{id} {method} {path} from {client}: {status}, {bytes} bytes, {ms:.3} ms");
    }

    /// A connection ended by itself or by us. The first reason counts.
    pub(super) fn ended(&mut self, id: ConnectionId, over: Over) {
        if let Some(visit) = self.visits.get_mut(id) {
            visit.over.get_or_insert(over);
        }
    }

    /// A connection has said its last word. `identity` is what it was.
    pub(super) fn left<'a>(&mut self, id: ConnectionId, identity: impl FnOnce() -> Identity<'a>, now: Time) {
        let Some(visit) = self.visits.remove(id) else { return };
        let (client, identity) = (Client(visit.client), identity());
        let seconds = now.since(visit.since).as_secs_f64();
        let over = match &visit.over {
            Some(over) => over.to_string(),
            None => "ended after its last answer".to_owned(),
        };
        log::debug!("{id} {over}; it was here from {client}{identity} for {seconds:.3} s");
    }
}

/// Where a connection comes from.
struct Client(Option<IpAddr>);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}
