//! The database as the service sees it: questions, each of them one round trip, and their answers as plain rows. Nothing here
//! decides anything; what rows mean is decided in `outbox`, `app` and `joomla`. `mysql` asks a real server behind the fence of
//! `docs/architecture.md`; the tests and the simulator have one in memory.
//!
//! Rows carry the key that they were asked for and are matched by it, never by their order: after a mishap on the wire the
//! answer to an older question must not pass for this one's.

pub mod breaker;
pub mod grants;
pub mod mysql;
mod outbox;
pub mod schema;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::ListenAddr;
use crate::protocol::position::{Place, Position};
use crate::time::Now;

pub use self::outbox::{ChannelRange, Checked, Claimed, Look, Looked, NewRow, Old, Row};

/// Session ids of one [`Question::Sessions`], users of one [`Question::Users`], items of one [`Question::Items`], numbers of one
/// [`Question::Check`].
pub const MOST_KEYS: usize = 100;

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

/// What the service wants of the database in one round trip.
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
    /// Whether committed rows of the outbox table wait for their number. Answered with [`Answer::Looked`].
    Look(Look),
    /// The state of the outbox's tables, and the places of at most [`MOST_KEYS`] numbers. Answered with [`Answer::Checked`].
    Check(Vec<u64>),
    /// Begins a transaction that holds the lock of the stream's counter, and reads what waits for a number. Answered with
    /// [`Answer::Claimed`]: the next question is [`Question::Stamp`], [`Question::Renew`] or [`Question::Release`].
    /// [`Failure::Locked`]: another process has the lock.
    Claim {
        /// Where to look.
        look: Look,
        /// The most rows.
        limit: u32,
        /// Whether the position's row is made first if it is missing.
        ensure: bool,
    },
    /// Gives rows their numbers, moves the position, and commits. Answered with [`Answer::Done`]. On any failure the
    /// transaction is rolled back, or it is not known whether it was committed ([`Failure::Unavailable`]).
    Stamp {
        /// The rows' ids in the order of their numbers, each once; at least one.
        ids: Vec<u64>,
        /// Of the position.
        epoch: u32,
        /// The number of the first one.
        first: u64,
        /// Their mark.
        mark: u64,
    },
    /// Writes a new epoch as the position, and commits. Answered with [`Answer::Done`].
    Renew {
        /// The new one.
        epoch: u32,
        /// The newest row that has a number. `None`: there is none, so one is added.
        newest: Option<Place>,
        /// The mark of the row that is added.
        mark: u64,
    },
    /// Ends the transaction without a change. Answered with [`Answer::Done`].
    Release,
    /// Rows of the outbox table above a number, in order. Answered with [`Answer::Rows`].
    Tail {
        /// The number.
        after: u64,
        /// The most rows.
        limit: u32,
    },
    /// Rows of one channel with numbers in `(after, to]`, from the last one down. Answered with [`Answer::Rows`], of which
    /// some may be of other channels whose names are the same to the table's collation: they count for the limit too.
    Channel(ChannelRange),
    /// Begins a transaction that holds the lock of the deleter, whose row is made if it is missing, and reads what it may
    /// delete. Answered with [`Answer::Old`]: the next question is [`Question::Delete`]. [`Failure::Locked`]: another process
    /// has the lock.
    Old {
        /// Seconds that a row is kept after it was stamped.
        retention: u64,
        /// Seconds after which the heartbeat of a process that is gone is deleted.
        dead: u64,
        /// The most rows.
        limit: u32,
    },
    /// Deletes rows by their ids and heartbeats by their processes, and commits. Answered with [`Answer::Done`].
    Delete {
        /// Rows.
        ids: Vec<u64>,
        /// Processes.
        processes: Vec<u32>,
    },
    /// Writes the heartbeat of a process. Answered with [`Answer::Done`].
    Beat {
        /// The process.
        process: u32,
        /// How far it is.
        position: Position,
    },
    /// All rows of the state table; for the command line. Answered with [`Answer::State`].
    State,
    /// Adds rows to the outbox table, all or none; for the command line. Answered with [`Answer::Added`].
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
    /// Whether rows wait, and where the stream is.
    Looked(Looked),
    /// The state of the outbox's tables.
    Checked(Checked),
    /// What waits for a number.
    Claimed(Claimed),
    /// What may be deleted.
    Old(Old),
    /// Rows of the outbox table.
    Rows(Vec<Row>),
    /// The id of the first row that was added.
    Added(u64),
    /// The state table: name, value, and how many milliseconds ago it was written by the database's clock.
    State(Vec<(String, String, i64)>),
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

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// There is no connection, or it broke in the middle. The same question may be asked again later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Somebody holds a lock on what was asked for, or has changed it meanwhile.
    #[error("the rows are locked")]
    Locked,
    /// A statement about the outbox reached the limit of its time; it had no effect. Others are `Unavailable` then.
    #[error("the statement took too long")]
    TooLong,
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
    /// Whether it is about the outbox's tables, whose reader knows what to do about a statement that takes too long.
    pub fn is_about_outbox(&self) -> bool {
        !matches!(
            self,
            Question::Sessions { .. }
                | Question::Users(_)
                | Question::Groups
                | Question::Levels
                | Question::Assets
                | Question::Extensions
                | Question::Items { .. }
                | Question::Categories(_)
        )
    }

    /// Whether a transaction is open after it, which the next question must end.
    pub fn begins_transaction(&self) -> bool {
        matches!(self, Question::Claim { .. } | Question::Old { .. })
    }

    /// Whether it ends the transaction that the question before it began. It is never asked on another connection.
    pub fn ends_transaction(&self) -> bool {
        matches!(
            self,
            Question::Stamp { .. } | Question::Renew { .. } | Question::Release | Question::Delete { .. }
        )
    }

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
            Question::Look(Look::Front(_)) => "look",
            Question::Look(_) => "look-behind",
            Question::Check(_) => "check",
            Question::Claim { .. } => "claim",
            Question::Stamp { .. } => "stamp",
            Question::Renew { .. } => "renew",
            Question::Release => "release",
            Question::Tail { .. } => "tail",
            Question::Channel(_) => "channel",
            Question::Old { .. } => "old",
            Question::Delete { .. } => "delete",
            Question::Beat { .. } => "heartbeat",
            Question::State => "state",
            Question::Publish(_) => "publish",
        }
    }
}
