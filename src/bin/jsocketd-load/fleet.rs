//! The loop: all connections of a run in one edge-triggered mio poll, opened in bursts and served turn by turn. The
//! loop counts the upgraded and the refused connections and measures the handshakes. The script handles the messages.
//! Every wait here has a deadline, so a dead or stalled server ends the run with a sentence.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jsocketd::time::Time;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tungstenite::handshake::client::generate_key;

use crate::client::{Client, Greeting, Outcome, Script, Speaks, Stage};
use crate::failure::Failure;
use crate::target::Target;
use crate::wire;

/// Opening connections may take so long in all, however many there are: a server that lets one in every few seconds
/// would otherwise keep a run of thousands for hours.
const OPENING_LIMIT: Duration = Duration::from_secs(120);
/// Descriptors that are not connections: the standard ones, the poller, `/proc`.
const RESERVED_DESCRIPTORS: u64 = 16;
/// Read at once from one connection.
const BUFFER: usize = 64 << 10;
/// Events taken in one turn.
const EVENTS: usize = 1024;

/// Where all connections of a run stand. Every opened one is upgrading, upgraded, half open or refused.
#[derive(Debug, Default)]
pub struct Standing {
    pub opened: usize,
    /// Connections without an upgrade (HTTP) count too, once they are connected.
    pub upgraded: usize,
    pub half_open: usize,
    pub refused: usize,
    /// Ended after the upgrade; still counted in `upgraded`.
    pub ended: usize,
    /// Half-open ones that the server dropped; still counted in `half_open`.
    pub half_open_ended: usize,
    /// Why the first one was refused or ended.
    pub first_reason: Option<String>,
}

impl Standing {
    fn waiting(&self) -> usize {
        self.opened - self.upgraded - self.half_open - self.refused
    }
}

/// The connections of a run.
pub struct Fleet {
    poll: Poll,
    events: Events,
    clients: Vec<Option<Client>>,
    /// Connections that may have more to read although no event will say so.
    again: Vec<usize>,
    buffer: Vec<u8>,
    started: Instant,
    target: Target,
    path: String,
    /// The last octet of the loopback address that connections come from; 0 leaves it to the kernel.
    source: u8,
    patience: Duration,
    last_activity: Time,
    pub standing: Standing,
    /// Microseconds from `connect` to a connected socket.
    pub connecting: Histogram<u64>,
    /// Microseconds from `connect` to the 101.
    pub upgrading: Histogram<u64>,
}

/// A histogram of microseconds with three digits, up to ten minutes.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000, 3).expect("the bounds are constants that hdrhistogram takes")
}

/// A random mask, from the standard library's randomly keyed hasher.
pub fn random_mask() -> [u8; 4] {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    [a, b, c, d]
}

impl Fleet {
    /// A fleet of up to `connections`; refused when this process may not have so many descriptors.
    pub fn new(target: &Target, usual_path: &str, connections: usize, patience: Duration) -> Result<Self, Failure> {
        want_descriptors(connections)?;
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            clients: Vec::with_capacity(connections),
            again: Vec::new(),
            buffer: vec![0; BUFFER],
            started: Instant::now(),
            path: target.path_or(usual_path).to_owned(),
            target: target.clone(),
            source: 0,
            patience,
            last_activity: Time(0),
            standing: Standing::default(),
            connecting: histogram(),
            upgrading: histogram(),
        })
    }

    /// The time since the fleet was made.
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The connections that are upgraded and live.
    pub fn live(&self) -> usize {
        self.standing.upgraded - self.standing.ended
    }

    /// Opens `count` more connections, at most `burst` of them unfinished at any time, until each is upgraded (or half
    /// open, as its greeting says) or refused.
    pub fn open(
        &mut self,
        count: usize,
        burst: usize,
        greeting: impl Fn(usize) -> Greeting,
        script: &mut impl Script,
    ) -> Result<(), Failure> {
        let end = self.now() + OPENING_LIMIT;
        let mut left = count;
        self.last_activity = self.now();
        while left > 0 || self.standing.waiting() > 0 {
            while left > 0 && self.standing.waiting() < burst.max(1) {
                self.connect(greeting(self.clients.len()))?;
                left -= 1;
            }
            self.turn(end, script)?;
            if self.now() >= end {
                return Err(self.stalled("the connections are not open in time"));
            }
            self.check_patience("the server has stopped to let connections in")?;
        }
        Ok(())
    }

    /// When `connect` was called for a connection that is still there.
    pub fn opened(&self, id: usize) -> Option<Time> {
        Some(self.clients.get(id)?.as_ref()?.opened)
    }

    /// Opens one more connection for requests, unless `id` is still open; returns the one to use.
    pub fn reopen(&mut self, id: usize, script: &mut impl Script) -> Result<usize, Failure> {
        if self.clients.get(id).is_some_and(Option::is_some) {
            return Ok(id);
        }
        self.open(1, 1, |_| Greeting::Http, script)?;
        Ok(self.clients.len() - 1)
    }

    /// Lets `script` begin on each live connection.
    pub fn begin(&mut self, script: &mut impl Script) {
        for id in 0..self.clients.len() {
            let now = self.now();
            if let Some(client) = &mut self.clients[id]
                && matches!(client.stage, Stage::Open)
            {
                script.begin(id, &mut client.out, now);
                if let Err(error) = client.flush() {
                    self.end(id, error.to_string(), script);
                }
            }
        }
        self.last_activity = self.now();
    }

    /// Sends `bytes` on an open connection; nothing happens when it has ended.
    pub fn send(&mut self, id: usize, bytes: &[u8], script: &mut impl Script) {
        let Some(client) = &mut self.clients[id] else {
            return;
        };
        client.out.extend_from_slice(bytes);
        if let Err(error) = client.flush() {
            self.end(id, error.to_string(), script);
        }
    }

    /// Serves the connections until `done`, or until nothing came for longer than the patience: then the error says
    /// `what` did not happen.
    pub fn until<S: Script>(&mut self, script: &mut S, what: &str, done: impl Fn(&S) -> bool) -> Result<(), Failure> {
        self.last_activity = self.now();
        while !done(script) {
            if self.live() == 0 {
                return Err(self.stalled("the server has ended all connections"));
            }
            self.turn(self.now() + self.patience, script)?;
            self.check_patience(what)?;
        }
        Ok(())
    }

    /// Serves the connections until `at`.
    pub fn wait(&mut self, at: Time, script: &mut impl Script) -> Result<(), Failure> {
        while self.now() < at {
            if self.live() == 0 {
                return Err(self.stalled("the server has ended all connections"));
            }
            self.turn(at, script)?;
        }
        Ok(())
    }

    /// The server's `host:port`.
    pub fn host(&self) -> String {
        self.target.address.to_string()
    }

    /// Waits for events, until `deadline` at the longest (in steps that let the caller check its patience), and deals
    /// with them.
    pub fn turn(&mut self, deadline: Time, script: &mut impl Script) -> Result<(), Failure> {
        let now = self.now();
        let step = deadline.since(now).min(Duration::from_millis(500));
        let timeout = if self.again.is_empty() { step } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let again = std::mem::take(&mut self.again);
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for id in again {
            self.serve(id, false, script);
        }
        for event in &events {
            self.serve(event.token().0, event.is_read_closed() || event.is_error(), script);
        }
        self.events = events;
        Ok(())
    }

    /// Ends the run when the server has sent nothing at all for longer than the patience.
    pub fn check_patience(&self, what: &str) -> Result<(), Failure> {
        match self.now().since(self.last_activity) > self.patience {
            true => Err(self.stalled(what)),
            false => Ok(()),
        }
    }

    /// The end of the run: a sentence with where the connections stand.
    pub fn stalled(&self, what: &str) -> Failure {
        let Standing {
            opened,
            upgraded,
            refused,
            ended,
            ..
        } = self.standing;
        let mut sentence = format!("{what}: {opened} opened, {upgraded} upgraded, {refused} refused, {ended} ended");
        let silence = self.now().since(self.last_activity);
        if silence >= Duration::from_secs(1) {
            sentence += &format!("; nothing came for {:.1} s", silence.as_secs_f64());
        }
        if let Some(reason) = &self.standing.first_reason {
            sentence += &format!("; the first that failed: {reason}");
        }
        Failure::Run(sentence)
    }

    fn connect(&mut self, greeting: Greeting) -> Result<(), Failure> {
        let (id, now) = (self.clients.len(), self.now());
        self.standing.opened += 1;
        self.clients.push(None);
        let mut socket = match self.dial() {
            Ok(socket) => socket,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.refuse(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(Failure::Usage(format!("connection {id} cannot be opened: {error}"))),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(id), interest)?;
        let key = match greeting {
            Greeting::Whole { .. } => generate_key(),
            Greeting::Half | Greeting::Http => String::new(),
        };
        let speaks = match greeting {
            Greeting::Whole { raw: true, .. } => Speaks::Raw,
            Greeting::Whole { .. } | Greeting::Half => Speaks::WebSocket,
            Greeting::Http => Speaks::Http,
        };
        let request = |headers: &str| wire::request(&self.host(), &self.path, &key, headers);
        let mut client = Client::new(socket, key.clone(), speaks, random_mask(), now);
        match greeting {
            Greeting::Whole { headers, early, .. } => {
                client.out.extend_from_slice(request(&headers).as_bytes());
                client.out.extend_from_slice(&early);
            }
            Greeting::Half => {
                let request = request("");
                client.out.extend_from_slice(&request.as_bytes()[..request.len() / 2]);
            }
            Greeting::Http => {}
        }
        self.clients[id] = Some(client);
        Ok(())
    }

    /// A socket that connects; from the next loopback address when the ports of one have run out.
    fn dial(&mut self) -> io::Result<TcpStream> {
        loop {
            let address = self.target.address;
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            // Reset instead of TIME_WAIT: thousands of connections a run would otherwise use up the ports for a minute.
            socket.set_linger(Some(Duration::ZERO))?;
            let bound = match self.source {
                0 => Ok(()),
                octet => socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, octet)), 0).into()),
            };
            let error = match bound.and_then(|()| socket.connect(&address.into())) {
                Ok(()) => return Ok(TcpStream::from_std(socket.into())),
                Err(error) => error,
            };
            // connect says EINPROGRESS, for which there is no stable ErrorKind.
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
                return Ok(TcpStream::from_std(socket.into()));
            }
            let out_of_ports = matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse);
            if !(out_of_ports && address.is_ipv4() && self.source < 254) {
                return Err(error);
            }
            self.source += 1;
        }
    }

    fn serve(&mut self, id: usize, closed: bool, script: &mut impl Script) {
        let now = self.now();
        let Some(client) = &mut self.clients[id] else {
            return; // ended earlier in this turn
        };
        if matches!(client.stage, Stage::Connecting { .. }) {
            match client.connected() {
                Ok(false) => return,
                Err(error) => return self.end(id, error.to_string(), script),
                Ok(true) => self.last_activity = now,
            }
            let _ = self.connecting.record(now.since(client.opened).as_micros() as u64);
            let Stage::Connecting { key } = std::mem::replace(&mut client.stage, Stage::HalfOpen) else {
                unreachable!("the stage was looked at above");
            };
            if client.speaks == Speaks::Http {
                client.stage = Stage::Open;
                self.standing.upgraded += 1;
                script.upgraded(id, &mut client.out);
            } else if key.is_empty() {
                self.standing.half_open += 1;
            } else {
                client.stage = Stage::Upgrading { key };
            }
        }
        let upgrading = matches!(client.stage, Stage::Upgrading { .. });
        let outcome = client.read(id, &mut self.buffer, closed, now, script);
        if upgrading && matches!(client.stage, Stage::Open) {
            self.standing.upgraded += 1;
            let _ = self.upgrading.record(now.since(client.opened).as_micros() as u64);
        }
        self.last_activity = now;
        match outcome {
            Outcome::Ended(why) => return self.end(id, why, script),
            Outcome::MoreToRead => self.again.push(id),
            Outcome::Quiet => {}
        }
        if let Err(error) = client.flush() {
            self.end(id, error.to_string(), script);
        }
    }

    fn end(&mut self, id: usize, why: String, script: &mut impl Script) {
        let Some(client) = self.clients[id].take() else {
            return;
        };
        match client.stage {
            Stage::Open => {
                self.standing.ended += 1;
                self.standing.first_reason.get_or_insert(why);
                script.ended(id);
            }
            Stage::HalfOpen => self.standing.half_open_ended += 1,
            Stage::Connecting { .. } | Stage::Upgrading { .. } => self.refuse(why),
        }
    }

    fn refuse(&mut self, why: String) {
        self.standing.refused += 1;
        self.standing.first_reason.get_or_insert(why);
    }
}

/// Raises the soft limit to the hard one and refuses more connections than that allows.
fn want_descriptors(connections: usize) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(_) => limit.current,
    };
    match allowed {
        Some(allowed) if connections as u64 + RESERVED_DESCRIPTORS > allowed => Err(Failure::Usage(format!(
            "{connections} connections are more than one process may open here ({allowed} descriptors); \
             share them out over several processes"
        ))),
        _ => Ok(()),
    }
}
