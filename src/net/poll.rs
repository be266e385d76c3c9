//! `Io` over real sockets: mio's poll, the listeners, the signals and the clocks.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::{TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use socket2::SockRef;

use super::io::{Io, MOST_OUTGOING, Peer, Ready, Signal, Socket};
use super::listener::Listener;
use crate::config::ListenAddr;
use crate::id::ConnectionId;
use crate::time::{Now, Time};

/// The token of the signals; outgoing connections and listeners have theirs below, connections above 2^32.
const SIGNALS: Token = Token(u32::MAX as usize);

/// The first token of outgoing connections: half of what is below 2^32 is theirs, half the listeners'.
const OUTGOING: usize = 1 << 31;

/// Events taken from the kernel at once; more stay there for the next tick.
const EVENTS: usize = 1024;

/// A client's stream.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Socket for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // A single slice goes by `send`: it is what most ticks write, and it saves the kernel the import of an iovec.
        match (self, slices) {
            (Stream::Tcp(stream), [one]) => stream.write(one),
            (Stream::Unix(stream), [one]) => stream.write(one),
            (Stream::Tcp(stream), many) => stream.write_vectored(many),
            (Stream::Unix(stream), many) => stream.write_vectored(many),
        }
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        match self {
            Stream::Tcp(stream) => {
                if let Some(error) = stream.take_error()? {
                    return Err(error);
                }
                match stream.peer_addr() {
                    Ok(_) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
                    Err(error) => Err(error),
                }
            }
            // Connecting one succeeds or fails at once (unix(7)): a full queue is an error, not a wait.
            Stream::Unix(_) => Ok(true),
        }
    }

    fn shutdown_write(&mut self) {
        // It fails only when the peer is gone.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    fn reset_on_close(&mut self) {
        if let Stream::Tcp(stream) = self {
            // A failure leaves an ordinary close.
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// The real thing.
pub struct MioIo {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    /// The listener that is for administrators, if any.
    admin: Option<usize>,
    signals: Signals,
    start: Instant,
}

impl MioIo {
    /// Polls these listeners (`admin`: the one among them that is for administrators) and the signals.
    ///
    /// # Errors
    /// When the poller or the signal handlers cannot be made.
    pub fn new(mut listeners: Vec<Listener>, admin: Option<usize>) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (n, listener) in listeners.iter_mut().enumerate() {
            match listener {
                Listener::Tcp(listener) => poll.registry().register(listener, Token(n), Interest::READABLE)?,
                Listener::Unix(listener, _) => poll.registry().register(listener, Token(n), Interest::READABLE)?,
            }
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

    /// The URLs of the listeners, in order.
    pub fn urls(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::url).collect()
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
            if token == SIGNALS {
                for signal in self.signals.pending() {
                    match signal {
                        // A child ended: that the wait ends is all that its owner needs.
                        SIGCHLD => {}
                        SIGHUP => ready.push(Ready::Signal(Signal::Reload)),
                        _ => ready.push(Ready::Signal(Signal::Terminate)),
                    }
                }
            } else if let Some(id) = ConnectionId::from_raw(token.0 as u64) {
                ready.push(Ready::Connection {
                    id,
                    readable: event.is_readable() || event.is_error(),
                    writable: event.is_writable(),
                    read_closed: event.is_read_closed() || event.is_error(),
                });
            } else if token.0 >= OUTGOING {
                ready.push(Ready::Outgoing {
                    n: token.0 - OUTGOING,
                    readable: event.is_readable() || event.is_error(),
                    writable: event.is_writable() || event.is_error(),
                    read_closed: event.is_read_closed() || event.is_error(),
                });
            } else {
                ready.push(Ready::Listener(token.0));
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Now {
        let at = Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX));
        // A clock before 1970 is shown as 1970.
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
        let admin = self.admin == Some(listener);
        match &self.listeners[listener] {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                // Frames are flushed whole, once a tick: Nagle's wait for more would only delay them.
                // It fails only when the client is gone already; the first read will fail then.
                let _ = stream.set_nodelay(true);
                Ok((
                    Stream::Tcp(stream),
                    Peer {
                        address: Some(address.ip().to_canonical()),
                        admin,
                    },
                ))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), Peer { address: None, admin }))
            }
        }
    }

    fn register(&mut self, socket: &mut Stream, id: ConnectionId) -> io::Result<()> {
        let token = Token(id.raw() as usize);
        let both = Interest::READABLE | Interest::WRITABLE;
        match socket {
            Stream::Tcp(stream) => self.poll.registry().register(stream, token, both),
            Stream::Unix(stream) => self.poll.registry().register(stream, token, both),
        }
    }

    fn connect(&mut self, address: &ListenAddr, n: usize) -> io::Result<Stream> {
        debug_assert!(n <= MOST_OUTGOING, "the token above is that of the signals");
        let (token, both) = (Token(OUTGOING + n), Interest::READABLE | Interest::WRITABLE);
        match address {
            ListenAddr::Tcp(address) => {
                let mut stream = TcpStream::connect(*address)?;
                // As with accepted ones.
                let _ = stream.set_nodelay(true);
                self.poll.registry().register(&mut stream, token, both)?;
                Ok(Stream::Tcp(stream))
            }
            ListenAddr::Unix(path) => {
                let mut stream = UnixStream::connect(path)?;
                self.poll.registry().register(&mut stream, token, both)?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}
