//! A site as the rest of the server needs it: what configuration.php says, overridden by our own configuration, with every
//! value that is needed made sure of.

use serde::{Deserialize, Serialize};

use crate::config::ListenAddr;

/// What the service knows of the site. It has no credentials of the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The session cookies' names with the application that each belongs to: site first. With a shared session (and a session
    /// name) there is one, and it is both.
    pub cookies: Vec<(Client, String)>,
    /// Joomla's `$secret`; salt of the form token. Never shown.
    pub secret: String,
    /// Where the session text is.
    pub handler: Handler,
    /// Whether rows of the session table tell their user.
    pub metadata: bool,
    /// Seconds that a session lives without a request.
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

/// A Joomla application with a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Client {
    /// Client 0.
    Site,
    /// Client 1.
    Administrator,
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
    /// Where to connect, in the order in which to try: names are resolved already.
    pub endpoints: Vec<ListenAddr>,
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

/// Encryption of the connection to the database.
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
