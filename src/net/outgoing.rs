//! Outgoing HTTP/1.1: posts for the loop, without ever waiting. Each target has one line: a connection that is kept for
//! the next post, with one post on it at a time. The caller starts posts, tells of readiness, gives each line its turn,
//! and takes the outcomes out.
//!
//! Redirects are not followed and TLS is not spoken. Names are resolved by somebody else, since the resolver blocks: see
//! `lost_hosts`.
//! A client library was the loser: those that do not block bring a runtime of their own.

mod answer;

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use self::answer::Answer;
use super::io::{Io, Socket};
use crate::config::{HostName, HttpUrl, ListenAddr};
use crate::time::Time;

/// How long one address has to take the connection: a SYN that was lost is sent again after one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// From the first byte of a post to the last of its answer. A site's own code runs in between.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Most servers end it after 5 to 75 s themselves.
const KEEP: Duration = Duration::from_secs(30);

/// Addresses of one host that are tried: both families, and a spare of each.
const ADDRESSES: usize = 4;

/// A post to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names it in its outcome.
    pub ticket: u64,
    /// Which line it takes. It must be free.
    pub target: u32,
    /// One of the configured URLs.
    pub url: String,
    /// Besides Host, User-Agent and Content-Length.
    pub headers: Vec<(String, String)>,
    /// The bytes to be sent.
    pub body: Bytes,
}

/// How a post ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub ticket: u64,
    /// The status of the answer, or why there is none.
    pub result: Result<u16, String>,
}

/// All lines.
#[derive(Debug)]
pub struct Outgoing<S> {
    places: HashMap<String, Place>,
    lines: Slab<Line<S>>,
    /// Lines that are to have a turn.
    awake: Vec<usize>,
    outcomes: Vec<Outcome>,
}

/// What a URL stands for.
#[derive(Debug)]
struct Place {
    url: HttpUrl,
    addresses: Vec<SocketAddr>,
    /// The address that took the last connection: the next one begins there.
    best: usize,
    /// None took the last one.
    is_lost: bool,
}

impl Place {
    fn name(&self) -> HostName {
        host_name(&self.url)
    }
}

fn host_name(url: &HttpUrl) -> HostName {
    HostName {
        host: url.host.clone(),
        port: url.port,
    }
}

#[derive(Debug)]
struct Line<S> {
    target: u32,
    url: String,
    socket: S,
    stage: Stage,
    deadline: Time,
    readable: bool,
    writable: bool,
    /// The peer closed its side or the connection failed: a short read is not the last word.
    read_closed: bool,
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

/// A post under way.
#[derive(Debug)]
struct Flight {
    ticket: u64,
    head: Bytes,
    body: Bytes,
    sent: usize,
    answer: Answer,
    /// Addresses that were tried for it.
    tried: usize,
    /// It went over a connection that was kept, which may have been closed before the post arrived.
    on_kept: bool,
}

/// What became of a line in its turn.
enum Turn {
    /// Nothing to be done until it is ready again.
    Wait,
    /// The answer is complete, and the line is kept or not.
    Answered(u16, bool),
    /// The connection failed, and why.
    Lost(String),
    /// A kept connection is of no more use.
    Stale,
}

impl<S: Socket> Outgoing<S> {
    /// Knows no URL yet.
    pub fn new() -> Self {
        Self {
            places: HashMap::new(),
            lines: Slab::new(),
            awake: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Knows these URLs from here on and no others. A host keeps the addresses it had; a new one gets them by
    /// `set_addresses`. Lines to URLs that are gone are cut.
    pub fn configure<'a>(&mut self, urls: impl Iterator<Item = &'a str>) {
        let mut places = HashMap::new();
        for text in urls {
            let url = match text.parse::<HttpUrl>() {
                Ok(url) => url,
                Err(why) => {
                    log::error!("a webhook goes nowhere: {why}");
                    continue;
                }
            };
            let addresses = match url.host.parse::<IpAddr>() {
                Ok(ip) => vec![(ip, url.port).into()],
                Err(_) => {
                    let known = self.places.values().find(|place| place.name() == host_name(&url));
                    known.map(|place| place.addresses.clone()).unwrap_or_default()
                }
            };
            let place = Place {
                url,
                addresses,
                best: 0,
                is_lost: false,
            };
            places.insert(text.to_owned(), place);
        }
        self.places = places;
        let gone: Vec<usize> = self
            .lines
            .iter()
            .filter(|(_, line)| !self.places.contains_key(&line.url))
            .map(|(n, _)| n)
            .collect();
        for n in gone {
            if let Some(flight) = self.lines.remove(n).into_flight() {
                self.fail(flight.ticket, "it is no longer configured");
            }
        }
    }

    /// The hosts that are names, whose addresses somebody has to find out.
    pub fn host_names(&self) -> Vec<HostName> {
        let mut names = Vec::new();
        for place in self.places.values() {
            let name = place.name();
            if name.host.parse::<IpAddr>().is_err() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// A host has these addresses from here on. A post that is under way goes on.
    pub fn set_addresses(&mut self, name: &HostName, addresses: &[SocketAddr]) {
        for place in self.places.values_mut().filter(|place| place.name() == *name) {
            place.addresses = addresses.iter().copied().take(ADDRESSES).collect();
            place.best = 0;
        }
    }

    /// The names of hosts where no address took a connection since this was asked last.
    pub fn lost_hosts(&mut self) -> Vec<HostName> {
        let lost = |place: &mut Place| std::mem::take(&mut place.is_lost).then(|| place.name());
        self.places.values_mut().filter_map(lost).collect()
    }

    /// Starts a post. Its outcome comes later, also when it could not even begin.
    pub fn start(&mut self, request: Request, io: &mut impl Io<Socket = S>, now: Time) {
        let Some(place) = self.places.get(&request.url) else {
            return self.fail(request.ticket, "it is not configured");
        };
        let flight = Flight::new(&request, &place.url);
        let line = self
            .lines
            .iter()
            .find(|(_, line)| line.target == request.target)
            .map(|(n, _)| n);
        match line {
            Some(n) if self.lines[n].takes(&request.url) => {
                let line = &mut self.lines[n];
                line.stage = Stage::Exchanging(Flight {
                    on_kept: true,
                    ..flight
                });
                line.deadline = now + ANSWER_TIMEOUT;
                self.wake(n);
            }
            Some(n) => {
                if let Some(old) = self.lines.remove(n).into_flight() {
                    debug_assert!(false, "a target has one post at a time");
                    self.fail(old.ticket, "another post took its place");
                }
                self.connect(request.target, request.url, flight, io, now);
            }
            None => self.connect(request.target, request.url, flight, io, now),
        }
    }

    /// Takes note of a line's readiness. A number that nobody has any more is ignored, and one that somebody else has by
    /// now does no harm: to look at a socket that is not ready finds nothing.
    pub fn ready(&mut self, n: usize, readable: bool, writable: bool, read_closed: bool) {
        if let Some(line) = self.lines.get_mut(n) {
            line.readable |= readable;
            line.writable |= writable;
            line.read_closed |= read_closed;
            self.wake(n);
        }
    }

    /// Gives each line its turn that has something to do, then ends those whose deadline is over.
    pub fn turn(&mut self, io: &mut impl Io<Socket = S>, buffer: &mut [u8], now: Time) {
        for n in std::mem::take(&mut self.awake) {
            let Some(line) = self.lines.get_mut(n) else { continue };
            line.awake = false;
            let turn = line.turn(buffer, now, self.places.get_mut(&line.url));
            self.follow(n, turn, io, now);
        }
        let late: Vec<usize> = self
            .lines
            .iter()
            .filter(|(_, line)| line.deadline <= now)
            .map(|(n, _)| n)
            .collect();
        for n in late {
            let turn = match &self.lines[n].stage {
                Stage::Connecting(..) => Turn::Lost(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())),
                Stage::Exchanging(flight) => match flight.answer.status() {
                    Some(status) => Turn::Answered(status, false),
                    None => Turn::Lost(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
                },
                Stage::Kept => Turn::Stale,
            };
            self.follow(n, turn, io, now);
        }
    }

    /// Takes the outcomes out that are known.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// When `turn` must be called next if nothing becomes ready.
    pub fn deadline(&self) -> Time {
        if !self.awake.is_empty() || !self.outcomes.is_empty() {
            return Time(0);
        }
        self.lines
            .iter()
            .map(|(_, line)| line.deadline)
            .min()
            .unwrap_or(Time::NEVER)
    }

    fn connect(&mut self, target: u32, url: String, mut flight: Flight, io: &mut impl Io<Socket = S>, now: Time) {
        let place = &self.places[&url];
        let mut why = "its host has no address".to_owned();
        while flight.tried < place.addresses.len() {
            let index = (place.best + flight.tried) % place.addresses.len();
            let address = place.addresses[index];
            flight.tried += 1;
            let slot = self.lines.vacant_entry();
            match io.connect(&ListenAddr::Tcp(address), slot.key()) {
                Ok(socket) => {
                    slot.insert(Line {
                        target,
                        url,
                        socket,
                        stage: Stage::Connecting(flight, index),
                        deadline: now + CONNECT_TIMEOUT,
                        readable: false,
                        writable: false,
                        read_closed: false,
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

    /// Does what a turn came to.
    fn follow(&mut self, n: usize, turn: Turn, io: &mut impl Io<Socket = S>, now: Time) {
        match turn {
            Turn::Wait => {}
            Turn::Stale => drop(self.lines.remove(n)),
            Turn::Answered(status, keep) => {
                let line = &mut self.lines[n];
                let flight = std::mem::replace(&mut line.stage, Stage::Kept).into_flight();
                line.deadline = now + KEEP;
                if !keep {
                    self.lines.remove(n);
                }
                if let Some(flight) = flight {
                    self.outcomes.push(Outcome {
                        ticket: flight.ticket,
                        result: Ok(status),
                    });
                }
            }
            Turn::Lost(why) => {
                let Line { target, url, stage, .. } = self.lines.remove(n);
                let connecting = matches!(stage, Stage::Connecting(..));
                match stage.into_flight() {
                    Some(flight) if connecting && flight.tried < self.places[&url].addresses.len() => {
                        log::debug!("webhook {target} tries another address: {why}");
                        self.connect(target, url, flight, io, now);
                    }
                    // It was closed while nobody looked: that says nothing of the target, and a new connection will tell.
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
        if let Some(place) = self.places.get_mut(url) {
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
        let line = &mut self.lines[n];
        if !line.awake {
            line.awake = true;
            self.awake.push(n);
        }
    }
}

impl<S: Socket> Default for Outgoing<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Socket> Line<S> {
    fn turn(&mut self, buffer: &mut [u8], now: Time, place: Option<&mut Place>) -> Turn {
        if let Stage::Connecting(_, address) = self.stage {
            if !self.writable && !self.readable {
                return Turn::Wait;
            }
            match self.socket.is_connected() {
                Ok(true) => {}
                Ok(false) => {
                    self.writable = false;
                    self.readable = false;
                    return Turn::Wait;
                }
                Err(error) => return Turn::Lost(error.to_string()),
            }
            // What is writable is connected, but what is connected may have been seen by its readability first.
            self.writable = true;
            self.deadline = now + ANSWER_TIMEOUT;
            if let Some(place) = place {
                place.best = address;
            }
            let stage = std::mem::replace(&mut self.stage, Stage::Kept);
            self.stage = stage.into_flight().map_or(Stage::Kept, Stage::Exchanging);
        }
        // An answer may come before all is sent, and with it the end: it is looked for also when writing fails.
        let broken = self.write().err();
        self.readable |= broken.is_some();
        match (self.read(buffer), broken) {
            (Turn::Wait, Some(error)) => Turn::Lost(error.to_string()),
            (turn, _) => turn,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Stage::Exchanging(flight) = &mut self.stage else {
            return Ok(());
        };
        while self.writable && !flight.is_sent() {
            let written = match flight.head.get(flight.sent..) {
                Some(head) if !head.is_empty() => self
                    .socket
                    .write_vectored(&[IoSlice::new(head), IoSlice::new(&flight.body)]),
                _ => self
                    .socket
                    .write_vectored(&[IoSlice::new(&flight.body[flight.sent - flight.head.len()..])]),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => flight.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there. Not more than an answer may have: then it is complete or wrong.
    fn read(&mut self, buffer: &mut [u8]) -> Turn {
        while self.readable {
            let read = self.socket.read(buffer);
            let flight = match (&mut self.stage, &read) {
                (Stage::Exchanging(flight), _) => flight,
                (_, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Turn::Wait;
                }
                // Whatever an idle peer says, it does not answer a post of ours.
                _ => return Turn::Stale,
            };
            let complete = match read {
                Ok(0) => {
                    flight.answer.end();
                    return match flight.answer.status() {
                        Some(status) => Turn::Answered(status, false),
                        None => Turn::Lost("it closed the connection without an answer".to_owned()),
                    };
                }
                Ok(n) => {
                    self.readable = n == buffer.len() || self.read_closed;
                    flight.answer.take(&buffer[..n])
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error.to_string()),
            };
            match (complete, flight.answer.status()) {
                (Ok(false), _) => {}
                (Ok(true), Some(status)) => {
                    return Turn::Answered(
                        status,
                        flight.answer.keeps_alive() && flight.is_sent() && !self.read_closed,
                    );
                }
                // The head came, and it says how the post went; what failed is its body.
                (Err(_), Some(status)) => return Turn::Answered(status, false),
                (Err(why), None) => return Turn::Lost(why),
                (Ok(true), None) => return Turn::Lost("the answer has no status".to_owned()),
            }
        }
        Turn::Wait
    }

    /// Whether it is free for a post to `url`.
    fn takes(&self, url: &str) -> bool {
        matches!(self.stage, Stage::Kept) && !self.read_closed && self.url == url
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

impl Flight {
    fn new(request: &Request, url: &HttpUrl) -> Self {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: jsocketd/{}\r\nContent-Length: {}\r\n",
            url.path,
            url.authority(),
            env!("CARGO_PKG_VERSION"),
            request.body.len()
        );
        for (name, value) in &request.headers {
            debug_assert!(
                !format!("{name}{value}").contains(['\r', '\n']),
                "the configuration refuses such headers"
            );
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        Self {
            ticket: request.ticket,
            head: head.into(),
            body: request.body.clone(),
            sent: 0,
            answer: Answer::new(),
            tried: 0,
            on_kept: false,
        }
    }

    /// The same post before anything was done for it.
    fn again(self) -> Self {
        Self {
            sent: 0,
            answer: Answer::new(),
            tried: 0,
            on_kept: false,
            ..self
        }
    }

    fn is_sent(&self) -> bool {
        self.sent == self.head.len() + self.body.len()
    }
}
