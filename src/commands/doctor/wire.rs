//! Connections with a deadline: plain TCP, or TLS over it. A peer that never answers, or drips, costs no more than its
//! deadline. The certificate is judged by `tls` once, not by each connection: the doctor goes on behind a bad one.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jsocketd::server::process::lookup::resolve;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};
use thiserror::Error;

use super::address::Address;
use super::tls::Tls;

/// How long each address may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// How long one exchange may take in all.
pub const EXCHANGE: Duration = Duration::from_secs(10);

/// How long all connections together may work; the wait for the idle time-out is beyond it.
const IN_ALL: Duration = Duration::from_secs(90);

/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The name has no address.
    #[error("{0}")]
    NoName(String),
    /// No address accepts.
    #[error("{0}")]
    NoConnection(String),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// The answer did not come whole in time.
    #[error("there was no whole answer within {} s", EXCHANGE.as_secs())]
    Late,
    /// The connection ended before the answer.
    #[error("the connection ended before an answer came: {0}")]
    Ended(String),
    /// The answer is no HTTP.
    #[error("the answer is not HTTP: {0}")]
    Garbage(String),
    /// The answer has no end.
    #[error("the answer is longer than {0}")]
    Endless(&'static str),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            // rustls hides its own errors in those of reading.
            io::ErrorKind::InvalidData => Self::Tls(error.to_string()),
            _ => Self::Ended(error.to_string()),
        }
    }
}

/// Makes connections, and remembers the addresses of names.
pub struct Net {
    /// Encryption.
    pub tls: Tls,
    known: Vec<(String, u16, Vec<SocketAddr>)>,
    end: Instant,
}

impl Net {
    /// `tls`: what is trusted.
    pub fn new(tls: Tls) -> Self {
        Self {
            tls,
            known: Vec::new(),
            end: Instant::now() + IN_ALL,
        }
    }

    /// When an exchange that begins now must be over.
    pub fn deadline(&self, limit: Duration) -> Instant {
        (Instant::now() + limit).min(self.end)
    }

    /// The addresses of a host, at most four.
    ///
    /// # Errors
    /// The name cannot be resolved.
    pub fn resolve(&mut self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Trouble> {
        let is_it = |known: &&(String, u16, Vec<SocketAddr>)| known.0 == host && known.1 == port;
        if let Some((.., addresses)) = self.known.iter().find(is_it) {
            return Ok(addresses.clone());
        }
        let mut addresses = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => {
                resolve(host, port).map_err(|error| Trouble::NoName(format!("{host} cannot be resolved: {error}")))?
            }
        };
        if addresses.is_empty() {
            return Err(Trouble::NoName(format!("{host} has no address")));
        }
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        self.known.push((host.to_owned(), port, addresses.clone()));
        Ok(addresses)
    }

    /// Connects to one address.
    ///
    /// # Errors
    /// It does not accept.
    pub fn reach(&self, address: SocketAddr) -> Result<TcpStream, Trouble> {
        let left = self.deadline(CONNECT).saturating_duration_since(Instant::now());
        let limit = left.max(Duration::from_millis(1));
        TcpStream::connect_timeout(&address, limit)
            .map_err(|error| Trouble::NoConnection(format!("{address} does not accept: {error}")))
    }

    /// Connects to the first address of a host that accepts.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn connect(&mut self, to: &Address) -> Result<Wire, Trouble> {
        let mut last = None;
        for address in self.resolve(&to.host, to.port)? {
            match self.reach(address) {
                Ok(stream) => return self.wrap(stream, to),
                Err(trouble) => last = Some(trouble),
            }
        }
        Err(last.unwrap_or_else(|| Trouble::NoName(format!("{} has no address", to.host))))
    }

    /// Sets up TLS where the address has it.
    fn wrap(&self, stream: TcpStream, to: &Address) -> Result<Wire, Trouble> {
        stream.set_nodelay(true)?;
        let timed = Timed {
            stream,
            until: self.deadline(EXCHANGE),
        };
        if !to.tls {
            return Ok(Wire::Plain(timed));
        }
        let name = server_name(&to.host)?;
        let failed = |error: rustls::Error| Trouble::Tls(error.to_string());
        let connection = ClientConnection::new(self.tls.config().into(), name).map_err(failed)?;
        let mut stream = StreamOwned::new(connection, timed);
        while stream.conn.is_handshaking() {
            match stream.conn.complete_io(&mut stream.sock) {
                Ok((0, 0)) => return Err(Trouble::Ended("in the middle of the TLS handshake".into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Trouble::Tls("the connection ended in the TLS handshake".into()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Wire::Tls(Box::new(stream)))
    }
}

/// The name that a certificate must have.
///
/// # Errors
/// The host can be no such name.
pub fn server_name(host: &str) -> Result<ServerName<'static>, Trouble> {
    ServerName::try_from(host.to_owned()).map_err(|_| Trouble::Tls(format!("{host:?} is no name for a certificate")))
}

/// A connection.
pub enum Wire {
    /// Without encryption.
    Plain(Timed),
    /// With it.
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Wire {
    /// From now on it is waited until then.
    pub fn wait_until(&mut self, until: Instant) {
        self.timed_mut().until = until;
    }

    /// Our own address on the connection.
    pub fn own_address(&self) -> Option<IpAddr> {
        let address = self.timed().stream.local_addr().ok()?;
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

/// A TCP stream whose reads and writes end at a deadline with `WouldBlock`.
pub struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(left),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
