//! A connection of a command, plain or with TLS over it, whose reads and writes end at a deadline. A peer that never
//! answers, or drips, costs no more than that.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::Socket;

/// A connection.
pub enum Wire {
    /// Without encryption.
    Plain(Timed),
    /// With it.
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Wire {
    /// A connection without encryption.
    pub fn plain(socket: Socket, until: Instant) -> Self {
        Self::Plain(Timed::new(socket, until))
    }

    /// Sets up TLS with the server of this name.
    ///
    /// # Errors
    /// `WouldBlock` at the deadline, `UnexpectedEof` if the peer ends it. An error of TLS is in one of the kind
    /// `InvalidData`: see [`jsocketd::trust::in_io`].
    pub fn tls(socket: Socket, until: Instant, config: &ClientConfig, name: ServerName<'static>) -> io::Result<Self> {
        let connection = ClientConnection::new(config.clone().into(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, Timed::new(socket, until));
        while stream.conn.is_handshaking() {
            if let (0, 0) = stream.conn.complete_io(&mut stream.sock)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    /// From now on it is waited until then.
    pub fn wait_until(&mut self, until: Instant) {
        self.timed_mut().until = Some(until);
    }

    /// From now on nothing is waited for: the caller polls.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn never_wait(&mut self) -> io::Result<()> {
        let timed = self.timed_mut();
        timed.until = None;
        timed.socket.set_nonblocking(true)
    }

    /// Our own address on the connection.
    pub fn own_address(&self) -> Option<IpAddr> {
        let address = self.timed().socket.local_addr().ok()?.as_socket()?;
        Some(address.ip().to_canonical())
    }

    /// The certificates that the peer has shown.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Tls(stream) => {
                let chain = stream.conn.peer_certificates().unwrap_or_default();
                chain.iter().map(|der| der.clone().into_owned()).collect()
            }
        }
    }

    fn timed(&self) -> &Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn timed_mut(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // Many servers end the stream without the notice of TLS.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timed().socket.as_fd()
    }
}

/// A socket whose reads and writes end at a deadline with `WouldBlock`.
pub struct Timed {
    socket: Socket,
    /// `None`: the socket does not block.
    until: Option<Instant>,
}

impl Timed {
    fn new(socket: Socket, until: Instant) -> Self {
        let until = Some(until);
        Self { socket, until }
    }

    /// The time that is left, if the socket blocks.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(Duration::ZERO) => Err(io::ErrorKind::WouldBlock.into()),
            left => Ok(left),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(left) = self.left()? {
                self.socket.set_read_timeout(Some(left))?;
            }
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(left) = self.left()? {
            self.socket.set_write_timeout(Some(left))?;
        }
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
