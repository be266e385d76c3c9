//! A connection of ours, as a client: its socket, its readiness, and its deadline. What is sent over it, and which
//! address is tried next, is decided in [`super::outgoing`] and [`super::probe`].

use std::io::{self, IoSlice};

use super::io::{Io, Socket};
use crate::config::ListenAddr;
use crate::time::Time;

/// See the file.
#[derive(Debug)]
pub(super) struct Line<S> {
    socket: S,
    connected: bool,
    /// Until when it must be connected, or what is under way on it must be done.
    pub(super) deadline: Time,
    /// A readable edge came and has not been read dry.
    pub(super) readable: bool,
    writable: bool,
    /// The peer closed its side or the connection failed: a short read is not the last word.
    pub(super) read_closed: bool,
}

impl<S: Socket> Line<S> {
    /// Begins a connection, as outgoing number `n`.
    ///
    /// # Errors
    /// What can be said at once.
    pub(super) fn dial(
        address: &ListenAddr,
        n: usize,
        io: &mut impl Io<Socket = S>,
        deadline: Time,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: io.connect(address, n)?,
            connected: false,
            deadline,
            readable: false,
            writable: false,
            read_closed: false,
        })
    }

    /// Takes note of readiness. What was meant for an earlier connection of this number does no harm: to look at a
    /// socket that is not ready finds nothing.
    pub(super) fn ready(&mut self, readable: bool, writable: bool, read_closed: bool) {
        self.readable |= readable;
        self.writable |= writable;
        self.read_closed |= read_closed;
    }

    /// Whether there is something to look at.
    pub(super) fn is_ready(&self) -> bool {
        self.readable || (self.writable && !self.connected)
    }

    /// Whether it was seen to be connected.
    pub(super) fn was_connected(&self) -> bool {
        self.connected
    }

    /// Whether it is connected; asks the kernel only after an edge.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) fn is_connected(&mut self) -> io::Result<bool> {
        if !self.connected && (self.readable || self.writable) {
            self.connected = self.socket.is_connected()?;
            self.readable &= self.connected;
            // What is connected is writable, though its readability may have been seen first.
            self.writable = self.connected;
        }
        Ok(self.connected)
    }

    /// Reads what is there; `None`: nothing until the next edge.
    ///
    /// # Errors
    /// Those of the socket; the connection is then of no more use.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        until_blocked(&mut self.readable, || self.socket.read(buffer))
    }

    /// Writes what the kernel takes; `None`: nothing until the next edge.
    ///
    /// # Errors
    /// Those of the socket; the connection is then of no more use.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        match until_blocked(&mut self.writable, || self.socket.write_vectored(slices))? {
            Some(0) => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }
}

/// Does it while the socket is ready, again if a signal came in between.
fn until_blocked(ready: &mut bool, mut io: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    while *ready {
        match io() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *ready = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}
