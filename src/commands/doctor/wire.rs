//! The doctor's connections. The certificate is judged by `tls` once, not by each connection: the doctor goes on behind
//! a bad one.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jsocketd::server::process::lookup::resolve;
use jsocketd::trust;
use rustls::pki_types::ServerName;
use thiserror::Error;

use super::address::Address;
use super::tls::Tls;

pub use crate::commands::wire::Wire;

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
        let (socket, until) = (stream.into(), self.deadline(EXCHANGE));
        if !to.tls {
            return Ok(Wire::plain(socket, until));
        }
        let name = server_name(&to.host)?;
        Wire::tls(socket, until, self.tls.config(), name).map_err(|error| match trust::in_io(&error) {
            Some(fault) => Trouble::Tls(trust::what(fault, &to.host)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Trouble::Tls("the connection ended in the TLS handshake".into())
            }
            None => error.into(),
        })
    }
}

/// The name that a certificate must have.
///
/// # Errors
/// The host can be no such name.
pub fn server_name(host: &str) -> Result<ServerName<'static>, Trouble> {
    ServerName::try_from(host.to_owned()).map_err(|_| Trouble::Tls(format!("{host:?} is no name for a certificate")))
}
