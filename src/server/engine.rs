//! The connections to the engine of a cluster, one to append and one to read. What came is handed to the service before
//! the tick's first write, so that events leave in the same tick; what a tick shares is sent at its end, and what its
//! connections said at once. A connection that fails is made again after a pause that doubles. The service decides what
//! to ask and what an answer means; `engine` has the protocol.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::RngExt;
use rustls::pki_types::ServerName;

use super::act::Dispatcher;
use crate::config::{Config, EnginePlace, HostName, ListenAddr};
use crate::engine::{Client, Heard, Settings};
use crate::flight::Kind;
use crate::logging::{More, RareLine};
use crate::net::dial;
use crate::net::io::{Io, MOST_OUTGOING, Socket};
use crate::net::polled::Edges;
use crate::net::tls::{ClientSettings, Session};
use crate::protocol::engine::{Line, LineState};
use crate::time::Time;
use crate::trust::{self, Trust};

/// The numbers of the two connections among the outgoing ones: those before the probe's, which `net::outgoing` never
/// counts up to.
pub(super) const NUMBERS: std::ops::Range<usize> = MOST_OUTGOING - 2..MOST_OUTGOING;

/// How long a connection, with the handshake of TLS, may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first pause after a failure, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A connection that lasted so long was good: the pause after it is the first one.
const GOOD: Duration = Duration::from_secs(2);

/// Reads of one connection in a turn. The rest is read in the next tick, after the clients.
const READS: usize = 8;

/// The least time between two log lines about an engine that cannot be used for the same reason.
const QUIET: Duration = Duration::from_secs(60);

/// The least time between two log lines about an engine that cannot be used for another reason than before.
const CHANGED: Duration = Duration::from_secs(10);

/// The reason as long as the host's name was not looked up. The look-up logs its own failures.
const NO_ADDRESS: &str = "has no address yet";

/// The connections to the engine.
#[derive(Debug)]
pub(super) struct Engine<S> {
    settings: Settings,
    place: Place,
    calls: [Call<S>; 2],
    failures: RareLine,
    /// The reason that was logged last.
    logged: String,
}

/// Where the engine is.
#[derive(Debug)]
struct Place {
    /// The host, or the path of a socket, for the log.
    name: String,
    /// Its host, if that is a name that must be looked up.
    host: Option<HostName>,
    addresses: Vec<ListenAddr>,
    /// No address took a connection since the last look-up.
    is_lost: bool,
    /// How TLS is spoken, and the name in its certificate; `None`: it is not.
    tls: Option<(ClientSettings, ServerName<'static>)>,
    is_secure: bool,
}

/// One of the connections.
#[derive(Debug)]
struct Call<S> {
    stage: Stage<S>,
    /// Failures since the last good connection.
    failures: u32,
    /// Attempts so far: they take the addresses in turn.
    attempts: usize,
}

#[derive(Debug)]
enum Stage<S> {
    /// The next attempt is made then.
    Resting(Time),
    /// The connection is being made.
    Dialing(dial::Line<S>),
    /// It was made then.
    Talking(dial::Line<S>, Box<Client>, Time),
}

impl<S: Socket> Engine<S> {
    /// The engine of the configuration, if it has one.
    pub(super) fn new(config: &Config) -> Option<Box<Self>> {
        let url = config.engine.place()?;
        let mut engine = Self {
            settings: Settings {
                user: config.engine.user.clone(),
                password: config.engine.password.clone(),
                database: url.database,
                prefix: config.engine.prefix.clone(),
            },
            place: Place::new(url.place),
            calls: [Call::new(), Call::new()],
            failures: RareLine::default(),
            logged: String::new(),
        };
        engine.configure(config);
        Some(Box::new(engine))
    }

    /// The files of authorities may be others.
    pub(super) fn configure(&mut self, config: &Config) {
        if !self.place.is_secure {
            return;
        }
        let name = ServerName::try_from(self.place.name.clone());
        match (Trust::new(&config.tls.authorities()), name) {
            (Ok(trust), Ok(name)) => self.place.tls = Some((trust.client().into(), name)),
            // The file was good a moment ago, when the configuration was read.
            (Err(bad), _) => log::error!("TLS to the engine trusts the same authorities as before: {bad}"),
            (_, Err(_)) => log::error!("the engine's host is no name for a certificate: {}", self.place.name),
        }
    }

    /// The host whose addresses must be looked up.
    pub(super) fn host_name(&self) -> Option<&HostName> {
        self.place.host.as_ref()
    }

    /// The host, if no address took a connection since the last call.
    pub(super) fn lost_host(&mut self) -> Option<HostName> {
        let is_lost = std::mem::take(&mut self.place.is_lost);
        self.place.host.clone().filter(|_| is_lost)
    }

    /// The host has these addresses from here on. They are tried at once.
    pub(super) fn set_addresses(&mut self, name: &HostName, addresses: &[SocketAddr]) {
        if self.place.host.as_ref() != Some(name) {
            return;
        }
        self.place.addresses = addresses.iter().copied().map(ListenAddr::Tcp).collect();
        for call in &mut self.calls {
            if let Stage::Resting(at) = &mut call.stage {
                (*at, call.failures) = (Time(0), 0);
            }
        }
    }

    /// Notes the readiness of a connection with one of the [`NUMBERS`].
    pub(super) fn note(&mut self, number: usize, edges: Edges) {
        let call = self.calls.get_mut(number - NUMBERS.start);
        if let Some(Stage::Dialing(line) | Stage::Talking(line, ..)) = call.map(|call| &mut call.stage) {
            line.socket.note(edges);
        }
    }

    /// When a turn is due if nothing becomes ready.
    pub(super) fn deadline(&self) -> Time {
        let deadlines = self.calls.iter().map(|call| match &call.stage {
            Stage::Resting(at) => *at,
            Stage::Dialing(line) => line.deadline,
            Stage::Talking(line, ..) if line.socket.has_more() => Time(0),
            Stage::Talking(_, client, _) => client.deadline(),
        });
        deadlines.min().unwrap_or(Time::NEVER)
    }

    /// Makes connections, hands what came to the service, and sends what it asks then.
    pub(super) fn turn<I: Io<Socket = S>>(&mut self, dispatcher: &mut Dispatcher<I>, buffer: &mut [u8]) {
        let filled = dispatcher.connections.dirty.len();
        let mut had_work = false;
        for line in Line::BOTH {
            match self.listen(line, dispatcher, buffer) {
                Ok(worked) => had_work |= worked,
                Err(why) => {
                    self.fail(line, why, dispatcher);
                    had_work = true;
                }
            }
        }
        if had_work {
            dispatcher.piece_since(filled, |culprit| culprit.is(Kind::Due, "engine"));
        }
        self.ask(dispatcher);
    }

    /// Sends what the service wants to ask.
    pub(super) fn ask<I: Io<Socket = S>>(&mut self, dispatcher: &mut Dispatcher<I>) {
        let now = dispatcher.now;
        for line in Line::BOTH {
            let Stage::Talking(socket, client, _) = &mut self.calls[line.index()].stage else {
                continue;
            };
            let mut asked = false;
            while client.is_free()
                && let Some(command) = dispatcher.decisions.engine_command(line, now)
            {
                client.give(&command, now.at);
                asked = true;
            }
            if asked {
                let sent = send(socket, client);
                dispatcher.piece(|culprit| culprit.is(Kind::Due, "engine"));
                if let Err(error) = sent {
                    let why = self.place.why(&error);
                    self.fail(line, why, dispatcher);
                }
            }
        }
    }

    /// Goes on with a connection as far as it can without waiting. Returns whether there was something to do.
    fn listen<I: Io<Socket = S>>(
        &mut self,
        line: Line,
        dispatcher: &mut Dispatcher<I>,
        buffer: &mut [u8],
    ) -> Result<bool, String> {
        let now = dispatcher.now.at;
        let call = &mut self.calls[line.index()];
        match &mut call.stage {
            Stage::Resting(at) if *at > now => return Ok(false),
            Stage::Resting(_) => {
                call.stage = Stage::Dialing(self.place.dial(call.attempts, line, &mut dispatcher.io, now)?);
                call.attempts += 1;
                return Ok(true);
            }
            Stage::Dialing(socket) => {
                if !socket.is_ready() && socket.deadline > now {
                    return Ok(false);
                }
                if !socket.is_connected().map_err(|error| self.place.why(&error))? {
                    return match socket.deadline > now {
                        true => Ok(true),
                        false => Err(format!("takes no connection within {} s", CONNECT_TIMEOUT.as_secs())),
                    };
                }
            }
            Stage::Talking(socket, client, _) => {
                let waits = !client.unsent().is_empty() || socket.socket.unsent() > 0;
                let can_send = waits && socket.socket.ready.writable;
                if !socket.socket.has_more() && !can_send && client.deadline() > now {
                    return Ok(false);
                }
            }
        }
        if let Stage::Dialing(_) = &call.stage
            && let Stage::Dialing(socket) = std::mem::replace(&mut call.stage, Stage::Resting(now))
        {
            let client = Client::new(line, &self.settings, now);
            call.stage = Stage::Talking(socket, Box::new(client), now);
        }
        self.talk(line, dispatcher, buffer)
    }

    /// Sends and reads. The deadline is checked last: the answer may have been there while this process did not run.
    fn talk<I: Io<Socket = S>>(
        &mut self,
        line: Line,
        dispatcher: &mut Dispatcher<I>,
        buffer: &mut [u8],
    ) -> Result<bool, String> {
        let call = &mut self.calls[line.index()];
        let Stage::Talking(socket, client, _) = &mut call.stage else {
            return Ok(false);
        };
        let broken = send(socket, client).err();
        // Its last words may say why.
        socket.socket.ready.readable |= broken.is_some();
        let mut had_work = false;
        for _ in 0..READS {
            let read = socket.socket.read(buffer).map_err(|error| self.place.why(&error))?;
            let count = match read {
                None => break,
                Some(0) => return Err("closed the connection".to_owned()),
                Some(count) => count,
            };
            had_work = true;
            client.receive(&buffer[..count]);
            while let Some(heard) = client.heard().map_err(|why| why.to_string())? {
                match heard {
                    Heard::Reply(reply) => dispatcher.decide(|decisions, now| decisions.engine_reply(line, reply, now)),
                    Heard::Open(engine) => {
                        let name = &self.place.name;
                        // An engine that fails again and again does not fill the log.
                        let level = match call.failures {
                            0 => log::Level::Info,
                            _ => log::Level::Debug,
                        };
                        log::log!(
                            level,
                            "the {line} connection to the engine at {name} is there: {engine}"
                        );
                        let state = LineState::Up { engine };
                        dispatcher.decide(|decisions, now| decisions.engine_line(line, state, now));
                    }
                }
            }
        }
        if let Some(error) = broken {
            return Err(self.place.why(&error));
        }
        match client.late(dispatcher.now.at) {
            Some(late) if !socket.socket.has_more() => Err(late.to_string()),
            _ => Ok(had_work),
        }
    }

    /// A connection failed. The next attempt comes after a pause.
    fn fail<I: Io<Socket = S>>(&mut self, line: Line, why: String, dispatcher: &mut Dispatcher<I>) {
        let now = dispatcher.now.at;
        let call = &mut self.calls[line.index()];
        let was_dialing = !matches!(call.stage, Stage::Talking(..));
        if let Stage::Talking(_, _, since) = call.stage
            && now.since(since) >= GOOD
        {
            call.failures = 0;
        }
        let pause = PAUSES.0 * 2_u32.saturating_pow(call.failures.min(8));
        let pause = pause.min(PAUSES.1).mul_f64(rand::rng().random_range(0.5..=1.0));
        call.failures += 1;
        call.stage = Stage::Resting(now + pause);
        self.place.is_lost |= was_dialing && call.attempts.is_multiple_of(self.place.addresses.len().max(1));
        let name = &self.place.name;
        let pause = match self.logged == why {
            true => QUIET,
            false => CHANGED,
        };
        let more = match why == NO_ADDRESS {
            true => None,
            false => self.failures.allow(pause, now),
        };
        match more.map(More) {
            Some(more) => {
                log::warn!("the {line} connection to the engine at {name} cannot be used: it {why}{more}");
                self.logged.clone_from(&why);
            }
            None => log::debug!("the {line} connection to the engine at {name} cannot be used: it {why}"),
        }
        let state = LineState::Down { why: why.into() };
        dispatcher.decide(|decisions, now| decisions.engine_line(line, state, now));
    }
}

impl Place {
    fn new(place: EnginePlace) -> Self {
        let (name, host, addresses, is_secure) = match place {
            EnginePlace::Unix(path) => {
                let name = path.display().to_string();
                (name, None, vec![ListenAddr::Unix(path)], false)
            }
            EnginePlace::Tcp { host, port, tls } => match host.parse::<IpAddr>() {
                Ok(ip) => (host, None, vec![ListenAddr::Tcp((ip, port).into())], tls),
                Err(_) => {
                    let name = HostName {
                        host: host.clone(),
                        port,
                    };
                    (host, Some(name), Vec::new(), tls)
                }
            },
        };
        Self {
            name,
            host,
            addresses,
            is_lost: false,
            tls: None,
            is_secure,
        }
    }

    /// Begins a connection.
    fn dial<S: Socket>(
        &mut self,
        attempt: usize,
        line: Line,
        io: &mut impl Io<Socket = S>,
        now: Time,
    ) -> Result<dial::Line<S>, String> {
        let Some(address) = self.addresses.get(attempt % self.addresses.len().max(1)) else {
            return Err(NO_ADDRESS.to_owned());
        };
        let session = match &self.tls {
            Some((settings, name)) => {
                let session = Session::client(settings, name.clone());
                Some(session.map_err(|error| format!("needs TLS, which cannot be set up: {error}"))?)
            }
            None if self.is_secure => return Err("needs TLS, which is not set up".to_owned()),
            None => None,
        };
        let number = NUMBERS.start + line.index();
        let mut dialed =
            dial::Line::dial(address, number, io, now + CONNECT_TIMEOUT).map_err(|error| self.why(&error))?;
        if let Some(session) = session {
            dialed.socket.secure(session);
        }
        Ok(dialed)
    }

    /// The reason of a failure, as a clause whose subject is the engine.
    fn why(&self, error: &io::Error) -> String {
        match trust::in_io(error) {
            Some(fault) => format!(
                "failed in TLS: {}",
                trust::what_to_do(fault, &self.name, "`ca` in [tls]")
            ),
            None => format!("failed: {error}"),
        }
    }
}

impl<S> Call<S> {
    fn new() -> Self {
        Self {
            stage: Stage::Resting(Time(0)),
            failures: 0,
            attempts: 0,
        }
    }
}

/// Writes what waits, as much as the kernel takes.
fn send<S: Socket>(line: &mut dial::Line<S>, client: &mut Client) -> io::Result<()> {
    line.socket.flush()?;
    while !client.unsent().is_empty() {
        match line.socket.write(&[IoSlice::new(client.unsent())])? {
            Some(count) => client.sent(count),
            None => break,
        }
    }
    Ok(())
}
