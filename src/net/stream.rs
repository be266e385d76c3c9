//! A connected socket of the system, over TCP or a Unix socket: accepted from a listener, or connected to an address.

use std::io::{self, IoSlice, Read};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, acceptfrom_with};
use socket2::{SockAddr, Type};

use super::io::Socket;
use super::listener::Listener;
use crate::config::ListenAddr;

/// A stream. Closing it takes it off the poller.
#[derive(Debug)]
pub struct Stream(socket2::Socket);

impl Stream {
    /// Accepts the next waiting client of a listener. Its address is `None` on a Unix socket.
    ///
    /// # Errors
    /// `WouldBlock` when no client waits; otherwise the error of `accept(2)`.
    pub(super) fn accept(listener: &Listener) -> io::Result<(Self, Option<IpAddr>)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, address) = acceptfrom_with(&listener.socket, flags)?;
        let socket = socket2::Socket::from(socket);
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        if address.is_some() {
            send_at_once(&socket);
        }
        Ok((Self(socket), address.map(|address| address.ip().to_canonical())))
    }

    /// Begins a connection, without waiting for it.
    ///
    /// # Errors
    /// If the system refuses at once.
    pub(super) fn connect(address: &ListenAddr) -> io::Result<Self> {
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
        Ok(Self(socket))
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

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

/// Switches Nagle's algorithm off: frames are flushed whole, once a tick, and waiting for more would only delay them.
fn send_at_once(socket: &socket2::Socket) {
    // It fails only when the peer is gone already; the first read will fail then.
    let _ = socket.set_tcp_nodelay(true);
}
