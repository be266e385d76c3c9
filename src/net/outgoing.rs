//! Outgoing HTTP/1.1: posts for the loop, without waiting. Each target has one client: a connection that is kept for
//! the next post and carries one post at a time. The caller starts posts, notes readiness, gives each client its turn,
//! and takes the outcomes out.
//!
//! Redirects are not followed, and TLS is not spoken. Names are resolved elsewhere, since the resolver blocks: see
//! `lost_hosts`.
//!
//! Rejected: a client library. The ones that do not block bring a runtime of their own.

mod answer;
mod flight;
mod places;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use self::flight::Flight;
use self::places::{Place, Places};
use super::dial::Line;
use super::io::{Io, Socket};
use super::polled::Edges;
use crate::config::{HostName, ListenAddr};
use crate::time::Time;

/// How long one address has to take the connection: a SYN that was lost is sent again after one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// From the first byte of a post to the last of its answer. A site's own code runs in between.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Most servers end it after 5 to 75 s themselves.
const KEEP: Duration = Duration::from_secs(30);

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
    /// The status of the answer, or why there is none.
    pub result: Result<u16, String>,
}

/// All clients.
#[derive(Debug)]
pub struct Outgoing<S> {
    places: Places,
    clients: Slab<Client<S>>,
    /// Clients that are to have a turn, and a second buffer for them.
    awake: Vec<usize>,
    spare: Vec<usize>,
    outcomes: Vec<Outcome>,
}

/// The connection to a target.
#[derive(Debug)]
struct Client<S> {
    target: u32,
    url: String,
    line: Line<S>,
    stage: Stage,
    awake: bool,
}

#[derive(Debug)]
enum Stage {
    /// The connection is being made, to the address with this index.
    Connecting(Flight, usize),
    /// A post is being sent and its answer read.
    Exchanging(Flight),
    /// Nothing is under way.
    Kept,
}

/// The result of a client's turn.
enum Turn {
    /// The client waits for readiness.
    Wait,
    /// The answer is complete: its status, and whether the connection is kept.
    Answered(u16, bool),
    /// The connection failed, for this reason.
    Lost(String),
    /// A kept connection is of no more use.
    Stale,
}

impl<S: Socket> Outgoing<S> {
    /// Without URLs; `configure` sets them.
    pub fn new() -> Self {
        Self {
            places: Places::default(),
            clients: Slab::new(),
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
            Some(n) if self.clients[n].takes(&request.url) => {
                let client = &mut self.clients[n];
                client.stage = Stage::Exchanging(Flight {
                    on_kept: true,
                    ..flight
                });
                client.line.deadline = now + ANSWER_TIMEOUT;
                self.wake(n);
            }
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
        for n in awake.drain(..) {
            let Some(client) = self.clients.get_mut(n) else {
                continue;
            };
            client.awake = false;
            let turn = client.turn(buffer, now, self.places.find(&client.url));
            self.conclude(n, turn, io, now);
        }
        self.spare = awake;
        let late = |(n, client): (usize, &Client<S>)| (client.line.deadline <= now).then_some(n);
        let late: Vec<usize> = self.clients.iter().filter_map(late).collect();
        let had_work = had_work || !late.is_empty();
        for n in late {
            let turn = match &self.clients[n].stage {
                Stage::Connecting(..) => Turn::Lost(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())),
                Stage::Exchanging(flight) => match flight.answer.status() {
                    Some(status) => Turn::Answered(status, false),
                    None => Turn::Lost(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
                },
                Stage::Kept => Turn::Stale,
            };
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
        while let Some((index, address)) = self.next_address(&url, flight.tried) {
            flight.tried += 1;
            let vacant = self.clients.vacant_entry();
            match Line::dial(&ListenAddr::Tcp(address), vacant.key(), io, now + CONNECT_TIMEOUT) {
                Ok(line) => {
                    vacant.insert(Client {
                        target,
                        url,
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

    /// The address to try after `tried` addresses, with its index; `None`: all were tried.
    fn next_address(&mut self, url: &str, tried: usize) -> Option<(usize, SocketAddr)> {
        let place = self.places.find(url)?;
        let count = place.addresses.len();
        (tried < count).then(|| {
            let index = (place.best + tried) % count;
            (index, place.addresses[index])
        })
    }

    /// Carries out the result of a turn.
    fn conclude(&mut self, n: usize, turn: Turn, io: &mut impl Io<Socket = S>, now: Time) {
        match turn {
            Turn::Wait => {}
            Turn::Stale => drop(self.clients.remove(n)),
            Turn::Answered(status, keep) => {
                let client = &mut self.clients[n];
                let flight = std::mem::replace(&mut client.stage, Stage::Kept).into_flight();
                client.line.deadline = now + KEEP;
                if !keep {
                    self.clients.remove(n);
                }
                if let Some(flight) = flight {
                    self.outcomes.push(Outcome {
                        ticket: flight.ticket,
                        result: Ok(status),
                    });
                }
            }
            Turn::Lost(why) => {
                let Client { target, url, stage, .. } = self.clients.remove(n);
                let connecting = matches!(stage, Stage::Connecting(..));
                match stage.into_flight() {
                    Some(flight) if connecting && self.next_address(&url, flight.tried).is_some() => {
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

impl<S: Socket> Client<S> {
    fn turn(&mut self, buffer: &mut [u8], now: Time, place: Option<&mut Place>) -> Turn {
        if let Stage::Connecting(_, address) = self.stage {
            match self.line.is_connected() {
                Ok(true) => {}
                Ok(false) => return Turn::Wait,
                Err(error) => return Turn::Lost(error.to_string()),
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
            (Turn::Wait, Some(error)) => Turn::Lost(error.to_string()),
            (turn, _) => turn,
        }
    }

    fn write(&mut self) -> io::Result<()> {
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
                Err(error) => Err(error),
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
                Err(error) => Err(error.to_string()),
            };
            match (complete, flight.answer.status()) {
                (Ok(false), _) => {}
                (Ok(true), Some(status)) => {
                    let keeps = flight.answer.keeps_alive() && flight.is_sent() && !self.line.socket.ready.read_closed;
                    return Turn::Answered(status, keeps);
                }
                // The head came, and its status is the outcome. Only the body failed.
                (Err(_), Some(status)) => return Turn::Answered(status, false),
                (Err(why), None) => return Turn::Lost(why),
                (Ok(true), None) => return Turn::Lost("the answer has no status".to_owned()),
            }
        }
    }

    /// Whether it is free for a post to `url`.
    fn takes(&self, url: &str) -> bool {
        matches!(self.stage, Stage::Kept) && !self.line.socket.ready.read_closed && self.url == url
    }

    fn into_flight(self) -> Option<Flight> {
        self.stage.into_flight()
    }
}

impl Stage {
    fn into_flight(self) -> Option<Flight> {
        match self {
            Stage::Connecting(flight, _) | Stage::Exchanging(flight) => Some(flight),
            Stage::Kept => None,
        }
    }
}
