//! What was asked and how it ended: at debug one line for each request and each connection, when it is over, and the
//! same as JSON in the access log (`[server] access_log`). Nothing is noted while nobody wants either.
//!
//! A line has facts only: never a query, a header, a payload or a name. What a connection does in between is logged
//! where it is decided. docs/operations.md describes the fields of the file.

mod file;

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use log::Level;
use serde::Serialize;

use self::file::LogFile;
use crate::config::Server;
use crate::id::ConnectionId;
use crate::net::event::Over;
use crate::net::io::Peer;
use crate::protocol::slots::Slots;
use crate::service::Identity;
use crate::service::caller::{Call, Caller};
use crate::time::{Now, Time, utc};

/// The most characters of a path in a line. A peer chooses the path, and may send many.
const SHOWN: usize = 200;

/// The file, and the connections that are noted.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    /// `None`: there is no access log.
    file: Option<LogFile>,
    visits: Slots<Visit>,
}

/// The access log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("[server] access_log: {path}: {source}; name a regular file in a folder that this user may write")]
pub struct BadAccessLog {
    path: String,
    source: io::Error,
}

/// One connection.
#[derive(Debug)]
struct Visit {
    /// When it was accepted.
    since: Time,
    /// Where it comes from: the peer, and from its first request on the client that a trusted proxy names.
    source: Peer,
    requests: u64,
    asked: Option<Asked>,
    is_websocket: bool,
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

/// The line of a request.
#[derive(Serialize)]
struct RequestLine<'a> {
    time: String,
    kind: &'static str,
    connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    bytes: usize,
    ms: f64,
}

/// The line of a connection.
#[derive(Serialize)]
struct ConnectionLine<'a> {
    time: String,
    kind: &'static str,
    connection: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    requests: u64,
    websocket: bool,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Cow<'a, str>>,
    ms: f64,
}

impl AccessLog {
    /// Writes to this file from here on; an empty path: to none. It is opened again also if the path is the same, since
    /// the old file may have been renamed.
    ///
    /// # Errors
    /// When it cannot be opened. Then everything stays as it was.
    pub(super) fn open(&mut self, path: &str, now: Time) -> Result<(), BadAccessLog> {
        let opened = (!path.is_empty()).then(|| LogFile::open(path)).transpose();
        let file = opened.map_err(|source| BadAccessLog {
            path: path.to_owned(),
            source,
        })?;
        self.flush(now);
        self.file = file;
        Ok(())
    }

    /// Writes the lines of this tick into the file. This takes as long as the disk does. Returns how many there were.
    pub(super) fn flush(&mut self, now: Time) -> u32 {
        self.file.as_mut().map_or(0, |file| file.flush(now))
    }

    /// Whether connections and their requests are to be noted.
    pub(super) fn is_wanted(&self) -> bool {
        self.file.is_some() || log::log_enabled!(Level::Debug)
    }

    /// A connection was accepted.
    pub(super) fn opened(&mut self, id: ConnectionId, caller: &Caller, now: Time) {
        if self.is_wanted() {
            let visit = Visit {
                since: now,
                source: Peer {
                    address: caller.address,
                    admin: caller.admin,
                    ..Peer::default()
                },
                requests: 0,
                asked: None,
                is_websocket: false,
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
            visit.source.address = client.or(visit.source.address);
            visit.requests += 1;
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
        visit.is_websocket |= status == StatusCode::SWITCHING_PROTOCOLS;
        if let Some(asked) = visit.asked.take() {
            asked.log(id, visit.source, Some(status), bytes, clock(), self.file.as_mut());
        }
    }

    /// A connection ended by itself or by us. The first reason counts.
    pub(super) fn ended(&mut self, id: ConnectionId, over: Over) {
        if let Some(visit) = self.visits.get_mut(id) {
            visit.over.get_or_insert(over);
        }
    }

    /// A connection has said its last word. `identity` is what it was.
    pub(super) fn left<'a>(&mut self, id: ConnectionId, identity: impl FnOnce() -> Identity<'a>, now: Now) {
        let Some(mut visit) = self.visits.remove(id) else {
            return;
        };
        if let Some(asked) = visit.asked.take() {
            asked.log(id, visit.source, None, 0, now, self.file.as_mut());
        }
        visit.log(id, identity(), now, self.file.as_mut());
    }
}

impl Asked {
    fn log(
        &self,
        id: ConnectionId,
        source: Peer,
        status: Option<StatusCode>,
        bytes: usize,
        now: Now,
        file: Option<&mut LogFile>,
    ) {
        let Self { method, path, since } = self;
        let ms = milliseconds(*since, now.at);
        match status {
            Some(status) => {
                let status = status.as_u16();
                log::debug!("{id} {method} {path} from {source}: {status}, {bytes} bytes, {ms} ms");
            }
            None => log::debug!("{id} {method} {path} from {source}: no answer, {ms} ms"),
        }
        if let Some(file) = file {
            file.append(&RequestLine {
                time: utc(now.unix_ms).unwrap_or_default(),
                kind: "request",
                connection: id.to_string(),
                client: source.address,
                method: method.as_str(),
                path,
                status: status.map(|status| status.as_u16()),
                bytes,
                ms,
            });
        }
    }
}

impl Visit {
    fn log(&self, id: ConnectionId, identity: Identity<'_>, now: Now, file: Option<&mut LogFile>) {
        let (ms, source) = (milliseconds(self.since, now.at), self.source);
        match &self.over {
            Some(over) => log::debug!("{id} {over}; it was here from {source}{identity} for {ms} ms"),
            None => log::debug!("{id} ended after its last answer; it was here from {source} for {ms} ms"),
        }
        let Some(file) = file else { return };
        let (end, code, why) = self.end();
        file.append(&ConnectionLine {
            time: utc(now.unix_ms).unwrap_or_default(),
            kind: "connection",
            connection: id.to_string(),
            client: source.address,
            app: identity.app,
            user: identity.user,
            requests: self.requests,
            websocket: self.is_websocket,
            end,
            // On HTTP nobody got the code.
            code: code.filter(|_| self.is_websocket),
            why,
            ms,
        });
    }

    /// How it ended: a word for programs, the code of the close frame, and the reason or the name of the limit.
    fn end(&self) -> (&'static str, Option<u16>, Option<Cow<'_, str>>) {
        match &self.over {
            None => ("server", None, None),
            Some(Over::Closed(reason)) => ("server", Some(reason.code), Some((&*reason.reason).into())),
            Some(Over::PeerClosed(code)) => ("peer", *code, None),
            Some(Over::Ended) => ("peer", None, None),
            Some(Over::Violated(reason)) => ("violation", Some(reason.code), Some((&*reason.reason).into())),
            Some(Over::Refused(status)) => ("refused", None, Some(status.to_string().into())),
            Some(Over::TimedOut(limit, code)) => ("timeout", *code, Some((*limit).into())),
            Some(Over::Slow(limit, code)) => ("slow", Some(*code), Some((*limit).into())),
            Some(Over::Failed(why)) => ("failed", None, Some(why.into())),
            // They end before they have a client, so before their line begins.
            Some(over @ (Over::Stranger(_) | Over::BadHeader(..))) => (over.cause().0, None, None),
        }
    }
}

/// Milliseconds, in thousandths.
fn milliseconds(since: Time, now: Time) -> f64 {
    now.since(since).as_micros() as f64 / 1000.0
}
