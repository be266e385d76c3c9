//! How the site's database is reached: filled by whoever has read the site's configuration, used by `mysql`.

use std::fmt;
use std::path::PathBuf;

use crate::config::{HostName, ListenAddr};

/// How to reach the site's database.
#[derive(Clone, PartialEq)]
pub struct Database {
    /// As it was written, for messages.
    pub host: String,
    /// Where to connect, in the order in which to try. None: the host is a name that is not known yet.
    pub endpoints: Vec<ListenAddr>,
    /// The host, if it is a name: the endpoints are its addresses.
    pub host_name: Option<HostName>,
    /// The user.
    pub user: String,
    /// The password. Never shown.
    pub password: String,
    /// The schema.
    pub name: String,
    /// `#__` in Joomla's SQL stands for it.
    pub prefix: String,
    /// Encryption.
    pub tls: Tls,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("host", &self.host)
            .field("endpoints", &self.endpoints)
            .field("host_name", &self.host_name)
            .field("user", &self.user)
            .field("password", &format_args!("***"))
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .finish()
    }
}

/// Encryption of the connection to the database over TCP. A Unix socket needs none and has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// How.
    pub mode: TlsMode,
    /// The name that the server's certificate must have.
    pub host: String,
    /// Files in PEM: certificates that are trusted besides the usual ones, and our own certificate with its key.
    pub ca: Option<PathBuf>,
    /// See `ca`.
    pub cert: Option<PathBuf>,
    /// See `ca`.
    pub key: Option<PathBuf>,
}

/// See [`Tls`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// In clear.
    #[default]
    Off,
    /// Encrypted, whoever answers.
    On,
    /// Encrypted, and the server's certificate is checked.
    Verify,
}
