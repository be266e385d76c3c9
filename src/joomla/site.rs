//! A site as the rest of the server needs it: what configuration.php says, overridden by our own configuration, with
//! every value that is needed made sure of.
//!
//! This file says what a site is. `read` finds and merges the values, `host` knows what Joomla makes of `$host`,
//! `watch` tells whether the file changed, `report` puts into words what was found.

mod cookie;
mod host;
mod live_site;
mod locate;
mod read;
mod report;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::store::Database;

pub use read::{is_wanted, read};
pub use report::describe;
pub use watch::{Stamp, Watch};

/// What the service knows of the site. It has no credentials of the database.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteConfig {
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

impl fmt::Debug for SiteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteConfig")
            .field("cookies", &self.cookies)
            .field("secret", &format_args!("***"))
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

/// A site that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteRead {
    /// What the service needs to know.
    pub site: SiteConfig,
    /// What the store needs to know.
    pub database: Database,
    /// The configuration.php, if one was read …
    pub file: Option<PathBuf>,
    /// … and its state just before, for [`Watch`].
    pub stamp: Option<Stamp>,
    /// What an administrator should know, as sentences.
    pub warnings: Vec<String>,
    /// Where each value came from, in the order in which they were needed.
    pub sources: Vec<Source>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The property of `JConfig`.
    pub key: &'static str,
    /// Where it was.
    pub origin: Origin,
}

/// See [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In configuration.php, in this line.
    File(usize),
    /// In our own configuration, as this key: `[database] host`.
    Own(&'static str),
    /// Nowhere.
    Default,
}

/// Why there is no site: one sentence or several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct SiteError {
    /// Each names a file, a key, or both.
    pub problems: Vec<String>,
}

impl From<String> for SiteError {
    fn from(problem: String) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}
