//! A site as the rest of the server needs it: what configuration.php says, overridden by our own configuration, with
//! every value that is needed made sure of.
//!
//! This file says what a site is. `read` finds and merges the values, `host` knows what Joomla makes of `$host`,
//! `watch` tells whether the file changed, `report` puts into words what was found.

mod cookie;
mod host;
mod read;
mod report;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

pub use read::{Origin, SiteError, SiteRead, Source, is_wanted, read};
pub use report::describe;
pub use watch::{Stamp, Watch};

use crate::config::{HostName, ListenAddr};

/// What the service knows of the site. It has no credentials of the database.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The session cookies' names with the application that each belongs to: site first. With a shared session (and a
    /// session name) there is one, and it is both. With a session name that somebody has written without sharing, both
    /// have the same.
    pub cookies: Vec<(Client, String)>,
    /// Joomla's `$secret`; salt of the form token. Never shown.
    pub secret: String,
    /// Where the session text is.
    pub handler: Handler,
    /// Whether rows of the session table tell their user.
    pub metadata: bool,
    /// Seconds that a session lives without a request. As in Joomla, nobody's session lives with 0, which only a
    /// negative `$lifetime` makes.
    pub lifetime: u64,
    /// Whether site and administrator share one session.
    pub shared: bool,
    /// `scheme://host[:port]` of `$live_site`, in lower case.
    pub live_site: Option<String>,
    /// Whether the site is offline.
    pub offline: bool,
    /// Who is a super user whatever the database says.
    pub root_user: Option<RootUser>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("cookies", &self.cookies)
            .field("secret", &Masked)
            .field("handler", &self.handler)
            .field("metadata", &self.metadata)
            .field("lifetime", &self.lifetime)
            .field("shared", &self.shared)
            .field("live_site", &self.live_site)
            .field("offline", &self.offline)
            .field("root_user", &self.root_user)
            .finish()
    }
}

/// In place of a secret.
struct Masked;

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The name of a session cookie: `md5(md5(secret . name))` in lower-case hexadecimal, where `name` is `$session_name`
/// if the site has one, else `site` or `administrator`. Joomla 3 to 6: `generateSessionName()` of the session's service
/// provider makes the inner one, `Joomla\CMS\Session\Session` the outer.
pub fn cookie_name(secret: &str, name: &str) -> String {
    let inner = HEXLOWER.encode(&Md5::digest([secret, name].concat()));
    HEXLOWER.encode(&Md5::digest(inner))
}

/// A Joomla application with a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Client {
    /// Client 0.
    Site,
    /// Client 1.
    Administrator,
}

impl Client {
    /// What Joomla calls it; enters the cookie's name.
    pub fn name(self) -> &'static str {
        match self {
            Client::Site => "site",
            Client::Administrator => "administrator",
        }
    }
}

/// Where Joomla keeps session texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handler {
    /// In the column `data` of the session table.
    Database,
    /// Somewhere else: `filesystem`, `redis`, … Out of reach here.
    Other(String),
}

/// `$root_user`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootUser {
    /// By id.
    Id(u32),
    /// By user name.
    Name(String),
}

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
            .field("password", &Masked)
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
    pub ca: Option<std::path::PathBuf>,
    /// See `ca`.
    pub cert: Option<std::path::PathBuf>,
    /// See `ca`.
    pub key: Option<std::path::PathBuf>,
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
