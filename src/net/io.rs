//! The loop's interface to the operating system, as two small traits. They have two implementations: mio over real
//! sockets (`poll.rs`), and the seeded network of the simulator in `tests/simulation`, which behaves in every way that
//! a kernel may.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::polled::Edges;
use super::supervised::Order;
use crate::config::ListenAddr;
use crate::id::ConnectionId;
use crate::time::{Now, Time};

/// The highest number of an outgoing connection. This one is the probe's: see [`super::probe`].
pub const MOST_OUTGOING: usize = (1 << 31) - 2;

/// The poller, the listeners and the clocks.
pub trait Io {
    /// A connected stream.
    type Socket: Socket;

    /// Waits until something is ready, at most `timeout` (`None`: for ever), and puts it into `ready`.
    ///
    /// # Errors
    /// When the poller itself fails; an interrupted wait is an empty answer.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Reads the clocks.
    fn now(&mut self) -> Now;

    /// Reads the monotonic clock alone, which can cost half as much.
    fn clock(&mut self) -> Time {
        self.now().at
    }

    /// The time that the processor has spent on this thread. Without a better source: all the time.
    fn processor(&mut self) -> Duration {
        self.clock().since(Time(0))
    }

    /// How many listeners there are; they are numbered from 0.
    fn listeners(&self) -> usize;

    /// Takes the next waiting client of a listener.
    ///
    /// # Errors
    /// `WouldBlock` when no client waits; otherwise the error of `accept(2)`.
    fn accept(&mut self, listener: usize) -> io::Result<(Self::Socket, Peer)>;

    /// Registers a connection for readable and writable edges, once and for its life.
    ///
    /// # Errors
    /// Those of the poller.
    fn register(&mut self, socket: &mut Self::Socket, id: ConnectionId) -> io::Result<()>;

    /// Accepts no more clients: those that wait are left to other processes that share the listeners.
    fn stop_listening(&mut self) {}

    /// Begins an outgoing connection and registers it under the number `n`, at most [`MOST_OUTGOING`]. After its first
    /// edge, `Socket::is_connected` returns the result.
    ///
    /// # Errors
    /// If the system refuses at once.
    fn connect(&mut self, address: &ListenAddr, n: usize) -> io::Result<Self::Socket>;
}

/// A connected, non-blocking stream. Dropping it closes it and takes it off the poller.
pub trait Socket {
    /// Reads what is there. `Ok(0)`: the peer will send no more.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; anything else ends the connection.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much of the slices as the kernel takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; anything else ends the connection.
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize>;

    /// Whether an outgoing connection is established; false: not yet.
    ///
    /// # Errors
    /// Why it could not be established.
    fn is_connected(&mut self) -> io::Result<bool>;

    /// Shuts the write side down: the peer reads an end.
    fn shutdown_write(&mut self);

    /// Makes the close a reset: the kernel throws away what it still holds for the peer.
    fn reset_on_close(&mut self);
}

/// Something that happened since the last wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Clients wait at this listener.
    Listener(usize),
    /// The readiness of the connection with this id changed. The connection may be long gone.
    Connection(ConnectionId, Edges),
    /// The readiness of the outgoing connection with this number changed. It may be long gone, and the number may be
    /// another connection's by now.
    Outgoing(usize, Edges),
    /// A signal came.
    Signal(Signal),
}

/// The signals that the server handles, and what a supervisor orders in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain, then exit; the second one exits at once.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: write the records of the loop.
    Report,
    /// The supervisor gave an order.
    Order(Order),
}

/// The other end of a TCP or Unix connection: a client or a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The address; `None` on a Unix socket. After a header of the PROXY protocol it is the address that it names.
    pub address: Option<IpAddr>,
    /// Whether it came by the listener that is for administrators.
    pub admin: bool,
    /// Whether the connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether the client's connection is encrypted: by TLS here, or by the proxy whose PROXY header says so.
    pub secure: bool,
    /// Whether it came by a listener that redirects to https.
    pub redirects: bool,
}

/// The address, for the logs.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}
