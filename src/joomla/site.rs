//! A site as the rest of the server needs it: the values of configuration.php, overridden by our own configuration,
//! with every needed value checked.
//!
//! This file defines the types. `read` finds and merges the values, `host` interprets `$host` as Joomla does, `watch`
//! detects changes of the file, `report` describes the result in sentences.

mod cookie;
mod host;
mod live_site;
mod locate;
mod read;
mod report;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::store::{Database, Secret};

pub use read::{Resolve, inspect, read};
pub use report::describe;
pub use watch::{Stamp, Watch};

/// The settings of the site that the service needs. They contain no credentials of the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteConfig {
    /// The names of the session cookies, each with its application: site first. With a shared session and a session
    /// name, there is one cookie for both applications. With a session name but without sharing, both applications have
    /// the same cookie name.
    pub cookies: Vec<(Client, String)>,
    /// Joomla's `$secret`, the salt of the form token.
    pub secret: Secret,
    /// Where the session texts are kept.
    pub handler: Handler,
    /// Whether rows of the session table name their user.
    pub metadata: bool,
    /// Seconds that a session lives without a request. 0 comes only from a negative `$lifetime`: then no session is
    /// valid, as in Joomla.
    pub lifetime: u64,
    /// Whether site and administrator share one session.
    pub shared: bool,
    /// `scheme://host[:port]` of `$live_site`, in lower case.
    pub live_site: Option<String>,
    /// Whether the site is offline.
    pub offline: bool,
    /// The user who is a super user whatever the database says.
    pub root_user: Option<RootUser>,
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
    /// Joomla's name of the application, which is part of the cookie's name.
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
    /// In another place that jsocketd cannot read: `filesystem`, `redis`, …
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

/// The result of reading a site.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteRead {
    /// The settings for the service.
    pub site: SiteConfig,
    /// The settings for the store.
    pub database: Database,
    /// The path of configuration.php, if one was read.
    pub file: Option<PathBuf>,
    /// The state of that file just before it was read, for [`Watch`].
    pub stamp: Option<Stamp>,
    /// Warnings for the administrator, as sentences.
    pub warnings: Vec<String>,
    /// The origin of each value, in the order in which the values were needed.
    pub sources: Vec<Source>,
}

/// What is known of a site, also if it cannot be read as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspected {
    /// The settings for the service, if none of them is missing.
    pub site: Option<SiteConfig>,
    /// The settings for the store, if none of them is missing.
    pub database: Option<Database>,
    /// See [`SiteRead::file`].
    pub file: Option<PathBuf>,
    /// See [`SiteRead::stamp`].
    pub stamp: Option<Stamp>,
    /// See [`SiteRead::warnings`].
    pub warnings: Vec<String>,
    /// See [`SiteRead::sources`].
    pub sources: Vec<Source>,
    /// Why the site cannot be read, as sentences.
    pub problems: Vec<String>,
}

impl Inspected {
    /// The site, if it can be read as a whole.
    ///
    /// # Errors
    /// The problems.
    pub fn whole(self) -> Result<SiteRead, SiteError> {
        match (self.site, self.database) {
            (Some(site), Some(database)) if self.problems.is_empty() => Ok(SiteRead {
                site,
                database,
                file: self.file,
                stamp: self.stamp,
                warnings: self.warnings,
                sources: self.sources,
            }),
            _ => Err(SiteError {
                problems: self.problems,
            }),
        }
    }
}

/// A value's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The property of `JConfig`.
    pub key: &'static str,
    /// The place where the value was found.
    pub origin: Origin,
}

/// See [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In this line of configuration.php.
    File(usize),
    /// In our own configuration, under this key: `[database] host`.
    Own(&'static str),
    /// In neither place: Joomla's default is used.
    Default,
}

/// Why the site cannot be read: one sentence or several.
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
