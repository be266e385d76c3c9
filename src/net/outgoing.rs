//! Outgoing HTTP/1.1: posts for the loop, without waiting. Each target has one client: a connection that is kept for
//! the next post and carries one post at a time. The caller starts posts, notes readiness, gives each client its turn,
//! and takes the outcomes out.
//!
//! A redirect is followed at most once, and only to the same host: see `redirect`. With an `https://` URL the
//! connection speaks TLS, and its certificate must be for the host of the URL. Names are resolved elsewhere, since the
//! resolver blocks: see `lost_hosts`.
//!
//! Rejected: a client library. The ones that do not block bring a runtime of their own.

mod answer;
mod client;
mod flight;
mod places;
mod redirect;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use slab::Slab;

use self::client::{Client, Stage, Turn};
use self::flight::Flight;
use self::places::Places;
use super::dial::Line;
use super::io::{Io, Socket};
use super::polled::Edges;
use super::tls::{ClientSettings, Session};
use crate::config::{HostName, HttpUrl, ListenAddr};
use crate::time::Time;

/// How long one address has to take the connection, and to complete the handshake of TLS: a SYN that was lost is sent
/// again after one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// From the first byte of a post to the last of its answer. A site's own code runs in between.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Most servers end it after 5 to 75 s themselves.
const KEEP: Duration = Duration::from_secs(30);

/// TLS handshakes that go on in one turn. Each costs up to half a millisecond, for the signatures of the chain.
const HANDSHAKES: usize = 4;

/// A post to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of the post, which its outcome repeats.
    pub ticket: u64,
    /// The target. Its client must be free.
    pub target: u32,
    /// One of the configured URLs.
    pub url: String,
    /// Headers other than Host, User-Agent and Content-Length.
    pub headers: Vec<(String, String)>,
    /// The bytes to be sent.
    pub body: Bytes,
}

/// How a post ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The number of the post.
    pub ticket: u64,
    /// The status of the answer, or why there is none, or why its redirect was not followed.
    pub result: Result<u16, String>,
}

/// All clients.
#[derive(Debug)]
pub struct Outgoing<S> {
    places: Places,
    clients: Slab<Client<S>>,
    /// How TLS is spoken; `None`: no URL needs it.
    tls: Option<ClientSettings>,
    /// Clients that are to have a turn, and a second buffer for them.
    awake: Vec<usize>,
    spare: Vec<usize>,
    outcomes: Vec<Outcome>,
}

impl<S: Socket> Outgoing<S> {
    /// Without URLs; `configure` sets them.
    pub fn new() -> Self {
        Self {
            places: Places::default(),
            clients: Slab::new(),
            tls: None,
            awake: Vec::new(),
            spare: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Sets the URLs. A host keeps its addresses; a new host gets them by `set_addresses`. Connections to URLs that are
    /// gone are cut.
    pub fn configure<'a>(&mut self, urls: impl Iterator<Item = &'a str>) {
        self.places.configure(urls);
        let gone = |(n, client): (usize, &Client<S>)| self.places.find(&client.url).is_none().then_some(n);
        let gone: Vec<usize> = self.clients.iter().filter_map(gone).collect();
        for n in gone {
            if let Some(flight) = self.clients.remove(n).into_flight() {
                self.fail(flight.ticket, "it is no longer configured");
            }
        }
    }

    /// Connections to `https://` URLs are made with these settings from here on. Without them there are none.
    pub fn secure(&mut self, settings: ClientSettings) {
        self.tls = Some(settings);
    }

    /// The hosts that are names, whose addresses must be looked up.
    pub fn host_names(&self) -> Vec<HostName> {
        self.places.host_names()
    }

    /// A host has these addresses from here on. A post that is under way goes on.
    pub fn set_addresses(&mut self, name: &HostName, addresses: &[SocketAddr]) {
        self.places.set_addresses(name, addresses);
    }

    /// The names of hosts where no address took a connection since the last call.
    pub fn lost_hosts(&mut self) -> Vec<HostName> {
        self.places.lost_hosts()
    }

    /// Starts a post. Its outcome comes later, also when it could not even begin.
    pub fn start(&mut self, request: Request, io: &mut impl Io<Socket = S>, now: Time) {
        let Some(place) = self.places.find(&request.url) else {
            return self.fail(request.ticket, "it is not configured");
        };
        let flight = Flight::new(&request, &place.url);
        let of_target = |(n, client): (usize, &Client<S>)| (client.target == request.target).then_some(n);
        match self.clients.iter().find_map(of_target) {
            Some(n) if self.clients[n].takes(&request.url, &flight.url) => self.resume(n, flight, now),
            Some(n) => {
                if let Some(old) = self.clients.remove(n).into_flight() {
                    debug_assert!(false, "a target has one post at a time");
                    self.fail(old.ticket, "another post took its place");
                }
                self.connect(request.target, request.url, flight, io, now);
            }
            None => self.connect(request.target, request.url, flight, io, now),
        }
    }

    /// Notes a connection's readiness. A number that is free by now is ignored, and one that was given again does no
    /// harm: reading a socket that is not ready finds nothing.
    pub fn note(&mut self, n: usize, reported: Edges) {
        if let Some(client) = self.clients.get_mut(n) {
            client.line.socket.note(reported);
            self.wake(n);
        }
    }

    /// Whether there is no connection.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    /// Gives each client its turn that has something to do, then ends those whose deadline is over. Returns whether
    /// there was one.
    pub fn turn(&mut self, io: &mut impl Io<Socket = S>, buffer: &mut [u8], now: Time) -> bool {
        let mut awake = std::mem::replace(&mut self.awake, std::mem::take(&mut self.spare));
        let had_work = !awake.is_empty();
        let mut handshakes = 0;
        for n in awake.drain(..) {
            let Some(client) = self.clients.get_mut(n) else {
                continue;
            };
            handshakes += usize::from(client.is_handshaking());
            if client.is_handshaking() && handshakes > HANDSHAKES {
                // It stays awake.
                self.awake.push(n);
                continue;
            }
            client.awake = false;
            let turn = client.turn(buffer, now, self.places.find(&client.url));
            self.conclude(n, turn, io, now);
        }
        self.spare = awake;
        let late = |(n, client): (usize, &Client<S>)| (client.line.deadline <= now).then_some(n);
        let late: Vec<usize> = self.clients.iter().filter_map(late).collect();
        let had_work = had_work || !late.is_empty();
        for n in late {
            let turn = self.clients[n].late();
            self.conclude(n, turn, io, now);
        }
        had_work
    }

    /// Takes out the outcomes so far.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// When `turn` must be called next if nothing becomes ready.
    pub fn deadline(&self) -> Time {
        if !self.awake.is_empty() || !self.outcomes.is_empty() {
            return Time(0);
        }
        let deadlines = self.clients.iter().map(|(_, client)| client.line.deadline);
        deadlines.min().unwrap_or(Time::NEVER)
    }

    fn connect(&mut self, target: u32, url: String, mut flight: Flight, io: &mut impl Io<Socket = S>, now: Time) {
        let mut why = "its host has no address".to_owned();
        while let Some((index, address)) = self.next_address(&url, &flight) {
            flight.tried += 1;
            let session = match self.session(&flight.url) {
                Ok(session) => session,
                Err(why) => return self.fail(flight.ticket, &why),
            };
            let vacant = self.clients.vacant_entry();
            match Line::dial(&ListenAddr::Tcp(address), vacant.key(), io, now + CONNECT_TIMEOUT) {
                Ok(mut line) => {
                    if let Some(session) = session {
                        line.socket.secure(session);
                    }
                    vacant.insert(Client {
                        target,
                        url,
                        server: flight.url.clone(),
                        line,
                        stage: Stage::Connecting(flight, index),
                        awake: false,
                    });
                    return;
                }
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        self.lose(&url);
        self.fail(flight.ticket, &why);
    }

    /// The TLS of a new connection, if the URL needs it.
    fn session(&self, url: &HttpUrl) -> Result<Option<Session>, String> {
        if !url.tls {
            return Ok(None);
        }
        let settings = self.tls.as_ref().ok_or("it needs TLS, which is not set up")?;
        let name = ServerName::try_from(url.host.clone());
        let name = name.map_err(|_| "its host is no name for a certificate")?;
        match Session::client(settings, name) {
            Ok(session) => Ok(Some(session)),
            Err(error) => Err(format!("TLS: {error}")),
        }
    }

    /// The address to try next for a post, with its index; `None`: all were tried. A redirect may lead to another port.
    fn next_address(&mut self, url: &str, flight: &Flight) -> Option<(usize, SocketAddr)> {
        let place = self.places.find(url)?;
        let count = place.addresses.len();
        (flight.tried < count).then(|| {
            let index = (place.best + flight.tried) % count;
            let mut address = place.addresses[index];
            address.set_port(flight.url.port);
            (index, address)
        })
    }

    /// Sends a post over the connection of a client that is free.
    fn resume(&mut self, n: usize, flight: Flight, now: Time) {
        let client = &mut self.clients[n];
        client.stage = Stage::Exchanging(flight.over_kept());
        client.line.deadline = now + ANSWER_TIMEOUT;
        self.wake(n);
    }

    /// Carries out the result of a turn.
    fn conclude(&mut self, n: usize, turn: Turn, io: &mut impl Io<Socket = S>, now: Time) {
        match turn {
            Turn::Wait => {
                // TLS had much to read. It goes on in the next turn.
                if self.clients[n].line.socket.has_more() {
                    self.wake(n);
                }
            }
            Turn::Stale => {
                let mut client = self.clients.remove(n);
                // Whether the target learns that nothing follows is of no more interest.
                let _ = client.line.socket.finish();
            }
            Turn::Answered(status, keep) => self.answered(n, status, keep, io, now),
            Turn::Lost(why) => {
                let Client { target, url, stage, .. } = self.clients.remove(n);
                let connecting = matches!(stage, Stage::Connecting(..));
                match stage.into_flight() {
                    Some(flight) if connecting && self.next_address(&url, &flight).is_some() => {
                        log::debug!("webhook {target} tries another address: {why}");
                        self.connect(target, url, flight, io, now);
                    }
                    // The peer closed it while it was idle. The target may be fine: try a new connection.
                    Some(flight) if flight.on_kept && !flight.answer.has_begun() => {
                        self.connect(target, url, flight.again(), io, now);
                    }
                    Some(flight) => {
                        if connecting {
                            self.lose(&url);
                        }
                        self.fail(flight.ticket, &why);
                    }
                    None => {}
                }
            }
        }
    }

    /// An answer has come: it is the outcome, or a redirect to follow.
    fn answered(&mut self, n: usize, status: u16, keep: bool, io: &mut impl Io<Socket = S>, now: Time) {
        let client = &mut self.clients[n];
        let Some(flight) = std::mem::replace(&mut client.stage, Stage::Kept).into_flight() else {
            return;
        };
        client.line.deadline = now + KEEP;
        let redirect = redirect::of(status, &flight);
        if let Some(Ok(to)) = redirect {
            log::debug!("webhook {} follows a redirect to {}", client.target, to.without_query());
            if keep && client.leads_to(&to) {
                return self.resume(n, flight.redirected_to(to), now);
            }
            let Client { target, url, .. } = self.clients.remove(n);
            return self.connect(target, url, flight.redirected_to(to), io, now);
        }
        if !keep {
            self.clients.remove(n);
        }
        let result = redirect.map_or(Ok(status), |not_followed| not_followed.map(|_| status));
        let ticket = flight.ticket;
        self.outcomes.push(Outcome { ticket, result });
    }

    fn lose(&mut self, url: &str) {
        if let Some(place) = self.places.find(url) {
            place.is_lost = true;
        }
    }

    fn fail(&mut self, ticket: u64, why: &str) {
        self.outcomes.push(Outcome {
            ticket,
            result: Err(why.to_owned()),
        });
    }

    fn wake(&mut self, n: usize) {
        let client = &mut self.clients[n];
        if !client.awake {
            client.awake = true;
            self.awake.push(n);
        }
    }
}

impl<S: Socket> Default for Outgoing<S> {
    fn default() -> Self {
        Self::new()
    }
}
