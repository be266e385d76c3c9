//! The database as the service sees it: questions, each of them one statement, and their answers as plain rows. Nothing here
//! decides anything; what rows mean is decided in `app` and `joomla`. `mysql` asks a real server behind the fence of
//! `docs/architecture.md`, `memory` plays one for tests and the simulator.
//!
//! Rows carry the key that they were asked for and are matched by it, never by their order: after a mishap on the wire the
//! answer to an older question must not pass for this one's.

pub mod breaker;
pub mod grants;
pub mod memory;
pub mod mysql;
pub mod schema;

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::config::ListenAddr;
use crate::time::Now;

/// Session ids of one [`Question::Sessions`], users of one [`Question::Groups`], items of one [`Question::Items`].
pub const MOST_KEYS: usize = 100;

/// Ranges of missing ids that one [`Question::Tail`] reads again. More than these are read in turns, and then rows come later
/// than others that became visible after them.
pub const MOST_RUNS: usize = 64;

/// The value of a session cookie: 1 to 192 bytes of `[0-9A-Za-z,-]`. It is a bearer secret, so it is never shown.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// The longest one that the column takes.
    pub const LONGEST: usize = 192;

    /// A value that can be one; PHP makes nothing else, so nothing else is worth a question.
    pub fn parse(value: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b',' || byte == b'-';
        let fits = !value.is_empty() && value.len() <= Self::LONGEST && value.bytes().all(plain);
        fits.then(|| Self(value.into()))
    }

    /// The value itself, for the question alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// One statement that the service wants run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Who these sessions are: at most [`MOST_KEYS`] ids, each once. Answered with [`Answer::Sessions`].
    Sessions {
        /// Which.
        ids: Vec<SessionId>,
        /// Whether the session text is wanted.
        text: Text,
    },
    /// These users as they are now, for sessions that name them in their text only. Answered with [`Answer::Users`].
    Users(Vec<u32>),
    /// All user groups. Answered with [`Answer::Groups`].
    Groups,
    /// All view levels. Answered with [`Answer::Levels`].
    Levels,
    /// The rules of the root and of every component. Answered with [`Answer::Assets`].
    Assets,
    /// The parameters of com_users and com_websockets, and the versions of the latter and of Joomla. Answered with
    /// [`Answer::Extensions`].
    Extensions,
    /// Items with their categories' chains: at most [`MOST_KEYS`]. Answered with [`Answer::Items`].
    Items {
        /// Which type: the index in the configuration's list of item types.
        kind: usize,
        /// Their ids.
        ids: Vec<u64>,
    },
    /// Categories with their chains: at most [`MOST_KEYS`]. Answered with [`Answer::Categories`].
    Categories(Vec<u64>),
    /// Rows of the outbox table above an id, and those in ranges that were missing; by id. Answered with [`Answer::Rows`].
    Tail {
        /// The highest id that was seen.
        after: u64,
        /// At most [`MOST_RUNS`] ranges to be read again.
        runs: Vec<RangeInclusive<u64>>,
        /// The most rows.
        limit: u32,
    },
    /// Whether rows of a range are being written by somebody: a locking read that does not wait. Answered with
    /// [`Answer::Ids`] of those that are there, or [`Failure::Locked`].
    Probe(RangeInclusive<u64>),
    /// Rows of one channel within a range of ids, by id. Answered with [`Answer::Rows`].
    Channel {
        /// Whose.
        channel: String,
        /// From and to.
        ids: RangeInclusive<u64>,
        /// The most rows.
        limit: u32,
    },
    /// Everything that the state table says, and what the outbox table is like. Answered with [`Answer::State`].
    State,
    /// Writes a row of the state table. Answered with [`Answer::Done`].
    Write {
        /// At most 64 ASCII characters.
        name: String,
        /// At most 255 characters.
        value: String,
    },
    /// Removes rows of the state table that were not written for so many seconds and whose names begin so. Answered with
    /// [`Answer::Done`].
    Forget {
        /// How the names begin.
        prefix: String,
        /// Seconds.
        seconds: u64,
    },
    /// Becomes the one that deletes, if nobody is: `GET_LOCK` without waiting. Answered with [`Answer::Lock`].
    Lock,
    /// Stops being it. Answered with [`Answer::Done`].
    Unlock,
    /// Deletes the rows of a range of ids. Answered with [`Answer::Done`].
    Delete(RangeInclusive<u64>),
    /// Adds rows to the outbox table, all or none; for the command line. Answered with [`Answer::Ids`] with the first id.
    Publish(Vec<NewRow>),
}

/// Whether a [`Question::Sessions`] wants the session text, which may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Text {
    /// Never: a sweep.
    Never,
    /// Only of users with multi-factor authentication, and of rows that do not tell their user.
    IfNeeded,
    /// Always: the form token stands in it.
    Always,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The sessions that have a row, in any order.
    Sessions(Vec<SessionRow>),
    /// The users that there are, in any order.
    Users(Vec<UserRow>),
    /// All groups.
    Groups(Vec<GroupRow>),
    /// All view levels.
    Levels(Vec<LevelRow>),
    /// The assets that were asked for.
    Assets(Vec<AssetRow>),
    /// What is known of the extensions.
    Extensions(Extensions),
    /// The items that there are.
    Items(Vec<ItemRow>),
    /// The categories that there are.
    Categories(Vec<CategoryRow>),
    /// Rows of the outbox table by id.
    Rows(Vec<Row>),
    /// Ids of rows.
    Ids(Vec<u64>),
    /// The state table and the outbox table's own facts.
    State(State),
    /// Whether the lock was got.
    Lock(bool),
    /// It was done.
    Done,
}

/// A row of `#__session` with its user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The key.
    pub id: SessionId,
    /// 0 site, 1 administrator; `None` with a shared session or without metadata.
    pub client_id: Option<u8>,
    /// As the row says.
    pub guest: bool,
    /// Unix seconds of the last request.
    pub time: i64,
    /// As the row says; 0 for guests, and without metadata.
    pub user_id: u32,
    /// That user, if there is one.
    pub user: Option<UserRow>,
    /// The session text, if it was asked for and is no longer than [`SessionRow::LONGEST_TEXT`].
    pub text: Option<Vec<u8>>,
}

impl SessionRow {
    /// Bytes of a session text; a longer one is not fetched.
    pub const LONGEST_TEXT: usize = 512 * 1024;
}

/// A row of `#__users` with what hangs on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserRow {
    /// The key.
    pub id: u32,
    /// The display name.
    pub name: String,
    /// The log-in name.
    pub username: String,
    /// May not log in.
    pub blocked: bool,
    /// Must set a new password first.
    pub require_reset: bool,
    /// Has a second factor (backup codes do not count). False where Joomla has no such table.
    pub mfa: bool,
    /// The groups it is mapped to, without their parents.
    pub groups: Vec<u32>,
}

/// A row of `#__usergroups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The key.
    pub id: u32,
    /// The parent's id; 0: none.
    pub parent: u32,
    /// Nested set.
    pub lft: i64,
    /// Nested set.
    pub rgt: i64,
}

/// A row of `#__viewlevels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelRow {
    /// The key.
    pub id: u32,
    /// JSON: a list of group ids and negative user ids.
    pub rules: String,
}

/// A row of `#__assets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRow {
    /// `root.1`, `com_content`, …
    pub name: String,
    /// JSON: action → identity → 0 or 1.
    pub rules: String,
    /// Nested set.
    pub lft: i64,
    /// Nested set.
    pub rgt: i64,
}

/// Of `#__extensions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// The parameters of com_users as JSON; `None`: there is no such row.
    pub com_users: Option<String>,
    /// The parameters of com_websockets as JSON, if it is installed and enabled.
    pub com_websockets: Option<String>,
    /// The version of com_websockets.
    pub package_version: Option<String>,
    /// The version of Joomla (of `files_joomla`).
    pub joomla_version: Option<String>,
}

/// A step of a category's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryStep {
    /// The category.
    pub id: u64,
    /// Its view level.
    pub access: u32,
    /// 1 published, 2 archived, 0 not, -2 in the trash.
    pub published: i8,
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// The key.
    pub id: u64,
    /// Its view level.
    pub access: u32,
    /// 1 published, 2 archived, 0 not, -2 in the trash.
    pub state: i8,
    /// Unix seconds; `None`: always.
    pub publish_up: Option<i64>,
    /// Unix seconds; `None`: for ever.
    pub publish_down: Option<i64>,
    /// The category and all above it, without the root, outermost first. `None`: the type has no categories. Empty: it
    /// names a category that does not exist.
    pub categories: Option<Vec<CategoryStep>>,
}

/// A category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryRow {
    /// The key.
    pub id: u64,
    /// Whose it is: `com_content`.
    pub extension: String,
    /// It and all above it, without the root, outermost first.
    pub chain: Vec<CategoryStep>,
}

/// A row of the outbox table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The key.
    pub id: u64,
    /// Not checked.
    pub channel: String,
    /// Not checked.
    pub event: String,
    /// Not checked. `None`: longer than what an event may have, so it was not fetched.
    pub data: Option<String>,
    /// Not checked.
    pub socket_id: Option<String>,
}

/// A row to be added to the outbox table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRow {
    /// A valid name.
    pub channel: String,
    /// A valid name.
    pub event: String,
    /// JSON text.
    pub data: String,
    /// Who gets no copy.
    pub socket_id: Option<String>,
}

/// The two tables as they are now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The rows of the state table: name, value, and how many milliseconds ago they were written by the database's clock.
    pub entries: Vec<(String, String, i64)>,
    /// When the outbox table was made, as the server says it: changes when it was restored, truncated or copied.
    pub made: String,
    /// The id that the next row will get at the least; 0: not known.
    pub next: u64,
    /// The lowest id in the table; `None`: it is empty.
    pub lowest: Option<u64>,
    /// The highest id in the table.
    pub highest: Option<u64>,
    /// When the row with the highest id was written, as the row says; `None`: not known.
    #[serde(default)]
    pub newest: Option<String>,
    /// The row that the state table's entry `mark` names, as it is now: its id, and when it was written. `None`: there is no
    /// such row, or it is not known.
    #[serde(default)]
    pub marked: Option<(u64, String)>,
    /// How far apart two ids are that the server hands out (`auto_increment_increment`): holes of less are nobody's rows. 0 or
    /// 1: there are no such holes.
    pub increment: u64,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// There is no connection, or it broke in the middle. The same question may be asked again later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Somebody holds a lock on what was asked for.
    #[error("the rows are locked")]
    Locked,
    /// The server refused the statement: a table or a privilege is missing.
    #[error("the database refused it: {0}")]
    Refused(String),
    /// A row is not what its table promises.
    #[error("{0}")]
    Malformed(String),
}

/// What the store needs before the next question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing: ask.
    Ready,
    /// Somebody has to connect to one of [`Store::endpoints`], wait for the first byte and tell [`Store::reached`].
    Knock,
    /// Nothing helps before this instant.
    Closed(crate::time::Time),
}

/// A database.
pub trait Store: fmt::Debug {
    /// What it needs.
    fn readiness(&self, now: Now) -> Readiness;

    /// Where its server is, in the order in which to try.
    fn endpoints(&self) -> &[ListenAddr];

    /// A connection to this endpoint was greeted by the server: the store may make its own there, which takes no longer than
    /// its timeouts. Or none could be made, and why.
    fn reached(&mut self, endpoint: Result<usize, String>, now: Now);

    /// Runs one statement. Takes no longer than the statement limit, or the read timeout when the connection is dead.
    ///
    /// # Errors
    /// See [`Failure`]. After `Unavailable` the store is not ready, or it is and only questions of this kind have to wait:
    /// whoever asks goes on by [`Store::readiness`].
    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure>;
}

impl Question {
    /// Its name in logs and measurements.
    pub fn name(&self) -> &'static str {
        match self {
            Question::Sessions { .. } => "sessions",
            Question::Users(_) => "users",
            Question::Groups => "groups",
            Question::Levels => "levels",
            Question::Assets => "assets",
            Question::Extensions => "extensions",
            Question::Items { .. } => "items",
            Question::Categories(_) => "categories",
            Question::Tail { .. } => "tail",
            Question::Probe(_) => "probe",
            Question::Channel { .. } => "channel",
            Question::State => "state",
            Question::Write { .. } => "write",
            Question::Forget { .. } => "forget",
            Question::Lock => "lock",
            Question::Unlock => "unlock",
            Question::Delete(_) => "delete",
            Question::Publish(_) => "publish",
        }
    }
}
