//! `Io` over real sockets: mio's poll, the listeners, the signals and the clocks.

use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, acceptfrom_with};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use socket2::{SockAddr, Type};

use super::io::{Io, MOST_OUTGOING, Peer, Ready, Signal, Socket};
use super::listener::Listener;
use super::polled::Edges;
use crate::config::ListenAddr;
use crate::id::ConnectionId;
use crate::time::{Now, Time};

/// The token of the signals. Listeners and outgoing connections have the tokens below it, connections those from 2^32.
const SIGNALS: Token = Token(u32::MAX as usize);

/// The first token of outgoing connections. The tokens below it are the listeners'.
const OUTGOING: usize = 1 << 31;

/// Events taken from the kernel at once; more stay there for the next tick.
const EVENTS: usize = 1024;

/// A stream over TCP or a Unix socket. Closing it takes it off the poller.
#[derive(Debug)]
pub struct Stream(socket2::Socket);

impl Socket for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // Most flushes have a single slice. `send` spares the kernel the import of an iovec.
        let written = match slices {
            [one] => rustix::net::send(&self.0, one, SendFlags::NOSIGNAL),
            many => rustix::io::writev(&self.0, many),
        };
        Ok(written?)
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        match self.0.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn shutdown_write(&mut self) {
        // It fails only when the peer is gone.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn reset_on_close(&mut self) {
        // A failure leaves an ordinary close.
        let _ = self.0.set_linger(Some(Duration::ZERO));
    }
}

/// The poller, the listeners, the signals and the clocks of the system.
pub struct MioIo {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    /// The index of the listener for administrators, if there is one.
    admin: Option<usize>,
    signals: Signals,
    start: Instant,
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
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listeners,
            admin,
            signals,
            start: Instant::now(),
        })
    }

    /// Registers a stream for readable and writable edges.
    fn watch(&self, stream: &Stream, token: Token) -> io::Result<()> {
        let source = &mut SourceFd(&stream.0.as_raw_fd());
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
                        SIGHUP => ready.push(Ready::Signal(Signal::Reload)),
                        _ => ready.push(Ready::Signal(Signal::Terminate)),
                    }
                }
            } else if token.0 >= OUTGOING {
                ready.push(Ready::Outgoing(token.0 - OUTGOING, edges));
            } else {
                ready.push(Ready::Listener(token.0));
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Now {
        let at = Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX));
        // A clock that is set before 1970 is read as 1970.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            at,
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn accept(&mut self, listener: usize) -> io::Result<(Stream, Peer)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, address) = acceptfrom_with(&self.listeners[listener].socket, flags)?;
        let stream = socket2::Socket::from(socket);
        let address = address.and_then(|address| std::net::SocketAddr::try_from(address).ok());
        if address.is_some() {
            send_at_once(&stream);
        }
        let peer = Peer {
            address: address.map(|address| address.ip().to_canonical()),
            admin: self.admin == Some(listener),
        };
        Ok((Stream(stream), peer))
    }

    fn register(&mut self, stream: &mut Stream, id: ConnectionId) -> io::Result<()> {
        self.watch(stream, Token(id.raw() as usize))
    }

    fn connect(&mut self, address: &ListenAddr, n: usize) -> io::Result<Stream> {
        debug_assert!(n <= MOST_OUTGOING, "the token above is that of the signals");
        let to = match address {
            ListenAddr::Tcp(address) => SockAddr::from(*address),
            ListenAddr::Unix(path) => SockAddr::unix(path)?,
        };
        let socket = socket2::Socket::new(to.domain(), Type::STREAM.nonblocking(), None)?;
        if matches!(address, ListenAddr::Tcp(_)) {
            send_at_once(&socket);
        }
        match socket.connect(&to) {
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            connected => connected?,
        }
        let stream = Stream(socket);
        self.watch(&stream, Token(OUTGOING + n))?;
        Ok(stream)
    }
}

/// Switches Nagle's algorithm off: frames are flushed whole, once a tick, and waiting for more would only delay them.
fn send_at_once(socket: &socket2::Socket) {
    // It fails only when the peer is gone already; the first read will fail then.
    let _ = socket.set_tcp_nodelay(true);
}
