//! An outgoing connection: its socket, whether it is connected, and its deadline. [`super::outgoing`] and
//! [`super::probe`] decide which bytes are sent over it, and which address is tried next.

use std::io;

use super::io::{Io, Socket};
use super::polled::Polled;
use crate::config::ListenAddr;
use crate::time::Time;

/// An outgoing connection.
#[derive(Debug)]
pub struct Line<S> {
    /// The socket.
    pub socket: Polled<S>,
    connected: bool,
    /// When it must be connected, and then when the exchange on it must be complete.
    pub deadline: Time,
}

impl<S: Socket> Line<S> {
    /// Begins a connection, as outgoing number `n`.
    ///
    /// # Errors
    /// The reason, if the system refuses at once.
    pub fn dial(address: &ListenAddr, n: usize, io: &mut impl Io<Socket = S>, deadline: Time) -> io::Result<Self> {
        Ok(Self {
            socket: Polled::new(io.connect(address, n)?),
            connected: false,
            deadline,
        })
    }

    /// Whether an edge came that was not used up.
    pub fn is_ready(&self) -> bool {
        let ready = self.socket.ready;
        ready.readable || (ready.writable && !self.connected)
    }

    /// Whether it was seen to be connected.
    pub fn was_connected(&self) -> bool {
        self.connected
    }

    /// Whether it is connected, and its TLS handshake complete. The kernel is asked only after an edge.
    ///
    /// # Errors
    /// Why the connection failed.
    pub fn is_connected(&mut self) -> io::Result<bool> {
        let ready = &mut self.socket.ready;
        if !self.connected && (ready.readable || ready.writable) {
            self.connected = self.socket.stream.is_connected()?;
            ready.readable &= self.connected;
            // A connected socket is writable, even if only its readable edge was reported so far.
            ready.writable = self.connected;
        }
        Ok(self.connected && self.socket.shake_hands()?)
    }
}
