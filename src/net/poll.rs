//! `Io` over real sockets: mio's poll, the listeners, the signals and the clocks.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_mio::v1_0::Signals;

use super::io::{Io, MOST_OUTGOING, Peer, Ready, Signal};
use super::listener::{Listener, Speaks};
use super::polled::Edges;
use super::stream::Stream;
use super::supervised::Line;
use crate::config::ListenAddr;
use crate::id::ConnectionId;
use crate::time::{Now, Time};

/// The token of the signals. Listeners and outgoing connections have the tokens below it, connections those from 2^32.
const SIGNALS: Token = Token(u32::MAX as usize);

/// The first token of outgoing connections. The tokens below it are the listeners'.
const OUTGOING: usize = 1 << 31;

/// The token of the line to the supervisor, the last one below [`OUTGOING`].
const SUPERVISOR: Token = Token(OUTGOING - 1);

/// Events taken from the kernel at once; more stay there for the next tick.
const EVENTS: usize = 1024;

/// The poller, the listeners, the signals and the clocks of the system.
pub struct MioIo {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    /// The index of the listener for administrators, if there is one.
    admin: Option<usize>,
    signals: Signals,
    /// The line to the supervisor, if this is one of several workers.
    supervisor: Option<Line>,
    start: Instant,
    /// The wall clock at the start, in milliseconds since 1970, as it was computed in this second.
    wall: (u64, u64),
}

impl MioIo {
    /// Polls these listeners and the signals. `admin`: the index of the listener for administrators.
    ///
    /// # Errors
    /// When the poller or the signal handlers cannot be made.
    pub fn new(listeners: Vec<Listener>, admin: Option<usize>) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (n, listener) in listeners.iter().enumerate() {
            let source = &mut SourceFd(&listener.socket.as_raw_fd());
            poll.registry().register(source, Token(n), Interest::READABLE)?;
        }
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listeners,
            admin,
            signals,
            supervisor: None,
            start: Instant::now(),
            wall: (u64::MAX, 0),
        })
    }

    /// The port of the first listener that speaks TLS.
    pub fn https_port(&self) -> Option<u16> {
        let mut secure = self
            .listeners
            .iter()
            .filter(|listener| listener.speaks == Speaks::Https);
        secure.next().and_then(Listener::port)
    }

    /// Takes the orders of a supervisor, too.
    ///
    /// # Errors
    /// When the poller refuses the line.
    pub fn serve_supervisor(&mut self, line: Line) -> io::Result<()> {
        let source = &mut SourceFd(&line.as_raw_fd());
        self.poll.registry().register(source, SUPERVISOR, Interest::READABLE)?;
        self.supervisor = Some(line);
        Ok(())
    }

    /// Registers a stream for readable and writable edges.
    fn watch(&self, stream: &Stream, token: Token) -> io::Result<()> {
        let source = &mut SourceFd(&stream.as_raw_fd());
        self.poll
            .registry()
            .register(source, token, Interest::READABLE | Interest::WRITABLE)
    }
}

impl Io for MioIo {
    type Socket = Stream;

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let token = event.token();
            let edges = Edges {
                readable: event.is_readable() || event.is_error(),
                writable: event.is_writable() || event.is_error(),
                read_closed: event.is_read_closed() || event.is_error(),
            };
            if let Some(id) = ConnectionId::from_raw(token.0 as u64) {
                ready.push(Ready::Connection(id, edges));
            } else if token == SIGNALS {
                for signal in self.signals.pending() {
                    match signal {
                        // A child process ended. Its owner only needs the wait to end.
                        SIGCHLD => {}
                        // It asks a supervisor for new workers, and may be sent to its workers too.
                        SIGUSR2 => {}
                        SIGHUP => ready.push(Ready::Signal(Signal::Reload)),
                        SIGUSR1 => ready.push(Ready::Signal(Signal::Report)),
                        _ => ready.push(Ready::Signal(Signal::Terminate)),
                    }
                }
            } else if token == SUPERVISOR {
                let orders = self.supervisor.as_mut().map(Line::orders).unwrap_or_default();
                ready.extend(orders.into_iter().map(|order| Ready::Signal(Signal::Order(order))));
            } else if token.0 >= OUTGOING {
                ready.push(Ready::Outgoing(token.0 - OUTGOING, edges));
            } else {
                ready.push(Ready::Listener(token.0));
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Now {
        let at = self.clock();
        // The wall clock is for people and for times of the site. It is read once a second.
        if self.wall.0 != at.seconds() {
            // A clock that is set before 1970 is read as 1970.
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
            self.wall = (at.seconds(), unix_ms.saturating_sub(at.0 / 1000));
        }
        Now {
            at,
            unix_ms: self.wall.1 + at.0 / 1000,
        }
    }

    fn clock(&mut self) -> Time {
        let elapsed = self.start.elapsed();
        Time(elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros()))
    }

    fn processor(&mut self) -> Duration {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(used).unwrap_or_default()
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn accept(&mut self, listener: usize) -> io::Result<(Stream, Peer)> {
        let Some(source) = self.listeners.get(listener) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let (stream, address) = Stream::accept(source)?;
        let peer = Peer {
            address,
            admin: self.admin == Some(listener),
            proxy_protocol: source.proxy_protocol,
            secure: source.speaks == Speaks::Https,
            redirects: source.speaks == Speaks::Redirect,
        };
        Ok((stream, peer))
    }

    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            // Another process has the same socket, so closing it would not take it off this poller.
            if let Err(error) = self
                .poll
                .registry()
                .deregister(&mut SourceFd(&listener.socket.as_raw_fd()))
            {
                log::debug!("a listener stays on the poller: {error}");
            }
        }
    }

    fn register(&mut self, stream: &mut Stream, id: ConnectionId) -> io::Result<()> {
        self.watch(stream, Token(id.raw() as usize))
    }

    fn connect(&mut self, address: &ListenAddr, n: usize) -> io::Result<Stream> {
        debug_assert!(n <= MOST_OUTGOING, "the token above is that of the signals");
        let stream = Stream::connect(address)?;
        self.watch(&stream, Token(OUTGOING + n))?;
        Ok(stream)
    }
}
