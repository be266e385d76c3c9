//! How to reach the site's database. The reader of the site's configuration fills these types, and `mysql` uses them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{HostName, ListenAddr};

/// How to reach the site's database.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The host as the configuration writes it, for messages.
    pub host: String,
    /// Where to connect, in the order in which to try. Empty: the host is a name that was not resolved yet.
    pub endpoints: Vec<ListenAddr>,
    /// The host, if it is a name; then the endpoints are its addresses.
    pub host_name: Option<HostName>,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// The schema.
    pub name: String,
    /// The prefix of the tables' names, for which `#__` stands in Joomla's SQL.
    pub prefix: String,
    /// Encryption.
    pub tls: Tls,
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Encryption of the connection to the database over TCP. A Unix socket needs none and has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether to encrypt, and what to check.
    pub mode: TlsMode,
    /// The name that the server's certificate must have.
    pub host: String,
    /// Files in PEM: `ca` has certificates that are trusted besides the usual ones, `cert` and `key` are our own
    /// certificate and its key.
    pub ca: Option<PathBuf>,
    /// See `ca`.
    pub cert: Option<PathBuf>,
    /// See `ca`.
    pub key: Option<PathBuf>,
}

/// See [`Tls`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Not encrypted.
    #[default]
    Off,
    /// Encrypted, but the server's certificate is not checked.
    On,
    /// Encrypted, and the server's certificate is checked.
    Verify,
}
