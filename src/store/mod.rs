//! The database as the service sees it: questions and answers. A question is one round trip; an answer holds plain
//! rows. Nothing here decides anything: `outbox`, `site` and `joomla` decide what rows mean. `mysql` queries a real
//! server, behind the fence that `docs/architecture.md` describes; the tests and the simulator have a database in
//! memory.
//!
//! Rows carry the key that they were asked for, and the caller matches them by this key, never by their order. After a
//! fault on the wire the answer to an older question may arrive; it must not pass for the answer to this one.

pub mod breaker;
mod database;
pub mod grants;
pub mod mysql;
mod outbox;
pub mod schema;
mod site;
pub mod slow;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::ListenAddr;
use crate::protocol::greeting::NoGreeting;
use crate::protocol::position::{Place, Position};
use crate::time::Now;

pub use self::database::{Database, Secret, Tls, TlsMode};
pub use self::outbox::{ChannelRange, Checked, Claimed, Look, Looked, NewRow, Old, Row};
pub use self::site::{
    AssetRow, CLOCK_TOLERANCE, CategoryRow, CategoryStep, Extensions, GroupRow, ItemRow, LevelRow, SessionRow, UserRow,
};

/// The most keys of one question: session ids of [`Question::Sessions`], users of [`Question::Users`], items of
/// [`Question::Items`], numbers of [`Question::Check`].
pub const MOST_KEYS: usize = 100;

/// The value of a session cookie: 1 to 192 bytes of `[0-9A-Za-z,-]`. It is a bearer secret, so it is never shown.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// The longest value that the column takes, in bytes.
    pub const LONGEST: usize = 192;

    /// The session id, if `value` can be one. PHP makes no other values, so the database is not queried for them.
    pub fn parse(value: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b',' || byte == b'-';
        let fits = !value.is_empty() && value.len() <= Self::LONGEST && value.bytes().all(plain);
        fits.then(|| Self(value.into()))
    }

    /// The value itself, for use in a question only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// A question of the service to the database, for one round trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// The rows of these sessions: at most [`MOST_KEYS`] ids, each once. Answered with [`Answer::Sessions`].
    Sessions {
        /// The session ids.
        ids: Vec<SessionId>,
        /// Whether the session text is wanted.
        text: Text,
    },
    /// The current rows of these users, for sessions that name their user only in the session text. Answered with
    /// [`Answer::Users`].
    Users(Vec<u32>),
    /// All user groups. Answered with [`Answer::Groups`].
    Groups,
    /// All view levels. Answered with [`Answer::Levels`].
    Levels,
    /// The rules of the root and of every component. Answered with [`Answer::Assets`].
    Assets,
    /// The parameters of com_users and com_websockets, and the versions of com_websockets and Joomla. Answered with
    /// [`Answer::Extensions`].
    Extensions,
    /// Items with their categories' chains: at most [`MOST_KEYS`]. Answered with [`Answer::Items`].
    Items {
        /// The item type, as an index in the configuration's list of item types.
        kind: usize,
        /// Their ids.
        ids: Vec<u64>,
    },
    /// Categories with their chains: at most [`MOST_KEYS`]. Answered with [`Answer::Categories`].
    Categories(Vec<u64>),
    /// Whether committed rows of the outbox table wait for their number. Answered with [`Answer::Looked`].
    Look(Look),
    /// The state of the outbox's tables, and the places of at most [`MOST_KEYS`] numbers. Answered with
    /// [`Answer::Checked`].
    Check(Vec<u64>),
    /// Begins a transaction that holds the lock of the stream's counter, and reads the rows that wait for a number.
    /// Answered with [`Answer::Claimed`]: the next question is [`Question::Stamp`], [`Question::Renew`] or
    /// [`Question::Release`]. [`Failure::Locked`]: another process has the lock.
    Claim {
        /// Where to look.
        look: Look,
        /// The most rows.
        limit: u32,
        /// Whether to make the position's row first if it is missing.
        ensure: bool,
    },
    /// Gives rows their numbers, moves the position, and commits. Answered with [`Answer::Done`]. On any failure the
    /// transaction is rolled back; only after [`Failure::Unavailable`] it may be unknown whether it was committed.
    Stamp {
        /// The rows' ids in the order of their numbers, each once; at least one.
        ids: Vec<u64>,
        /// The epoch of the position.
        epoch: u32,
        /// The number of the first row.
        first: u64,
        /// The mark of these rows.
        mark: u64,
    },
    /// Writes a new epoch as the position, and commits. Answered with [`Answer::Done`].
    Renew {
        /// The new epoch.
        epoch: u32,
        /// The newest row that has a number. `None`: no row has a number, so one is added.
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
    /// Rows of one channel with numbers in `(after, to]`, in descending order. Answered with [`Answer::Rows`]. Some of
    /// these rows may be of other channels, whose names are equal in the table's collation; they count towards the
    /// limit too.
    Channel(ChannelRange),
    /// Begins a transaction that holds the lock of the deleter, and reads what the deleter may delete. The lock's row
    /// is made if it is missing. Answered with [`Answer::Old`]: the next question is [`Question::Delete`].
    /// [`Failure::Locked`]: another process has the lock.
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
        /// The ids of the rows.
        ids: Vec<u64>,
        /// The processes whose heartbeats are deleted.
        processes: Vec<u32>,
    },
    /// Writes the heartbeat of a process. Answered with [`Answer::Done`].
    Beat {
        /// The process.
        process: u32,
        /// The position that the process has reached.
        position: Position,
    },
    /// Deletes the heartbeat of a process that ends. Answered with [`Answer::Done`].
    Leave(u32),
    /// All rows of the state table; for the command line. Answered with [`Answer::State`].
    State,
    /// Adds rows to the outbox table, all or none; for the command line. Answered with [`Answer::Added`].
    Publish(Vec<NewRow>),
}

/// Whether a [`Question::Sessions`] wants the session text, which may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Text {
    /// Never; for a sweep.
    Never,
    /// Only of users with multi-factor authentication, and of rows that do not name their user.
    IfNeeded,
    /// Only of rows that name a user: the text of a guest is not needed.
    OfUsers,
    /// Always: without metadata only the text names the user.
    Always,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The sessions that have a row, in any order.
    Sessions(Vec<SessionRow>),
    /// The users that exist, in any order.
    Users(Vec<UserRow>),
    /// All groups.
    Groups(Vec<GroupRow>),
    /// All view levels.
    Levels(Vec<LevelRow>),
    /// The assets that were asked for.
    Assets(Vec<AssetRow>),
    /// The parameters and versions of the extensions.
    Extensions(Extensions),
    /// The items that exist.
    Items(Vec<ItemRow>),
    /// The categories that exist.
    Categories(Vec<CategoryRow>),
    /// Whether rows wait for a number, and the position of the stream.
    Looked(Looked),
    /// The state of the outbox's tables.
    Checked(Checked),
    /// The rows that wait for a number.
    Claimed(Claimed),
    /// The rows and heartbeats that may be deleted.
    Old(Old),
    /// Rows of the outbox table.
    Rows(Vec<Row>),
    /// The id of the first row that was added.
    Added(u64),
    /// The state table: name, value, and how many milliseconds ago it was written by the database's clock.
    State(Vec<(String, String, i64)>),
    /// The question was carried out, and there is nothing to return.
    Done,
}

impl Answer {
    /// How many rows were read.
    pub fn rows(&self) -> usize {
        match self {
            Answer::Sessions(rows) => rows.len(),
            Answer::Users(rows) => rows.len(),
            Answer::Groups(rows) => rows.len(),
            Answer::Levels(rows) => rows.len(),
            Answer::Assets(rows) => rows.len(),
            Answer::Items(rows) => rows.len(),
            Answer::Categories(rows) => rows.len(),
            Answer::Claimed(claimed) => claimed.ids.len() + claimed.control.len(),
            Answer::Old(old) => old.ids.len(),
            Answer::Rows(rows) => rows.len(),
            Answer::State(rows) => rows.len(),
            Answer::Extensions(_) | Answer::Looked(_) | Answer::Checked(_) => 1,
            Answer::Added(_) | Answer::Done => 0,
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// There is no connection, or it broke in the middle. The same question may be asked again later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Another transaction holds a lock on the rows, or has changed them meanwhile.
    #[error("the rows are locked")]
    Locked,
    /// A statement about the outbox reached its time limit; it had no effect. Other statements fail with `Unavailable`
    /// in this case.
    #[error("the statement took too long")]
    TooLong,
    /// The server refused the statement: a privilege is missing.
    #[error("the database refused it: {0}")]
    Denied(String),
    /// The server refused the statement for another reason, such as a missing table.
    #[error("the database refused it: {0}")]
    Refused(String),
    /// A row has a value that its table does not allow.
    #[error("{0}")]
    Malformed(String),
}

/// The step that the store needs before the next question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing: the next question may be asked.
    Ready,
    /// A call of [`Store::prepare`]: a new connection is being set up, one statement at a time.
    Preparing,
    /// The caller has to probe: to connect to one of [`Store::endpoints`], wait for its greeting and call
    /// [`Store::probed`].
    Probe,
    /// Nothing can be done before this instant.
    Closed(crate::time::Time),
}

/// A database.
pub trait Store: fmt::Debug {
    /// The step that the store needs now.
    fn readiness(&self, now: Now) -> Readiness;

    /// The addresses of the database's server, in the order in which to try them.
    fn endpoints(&self) -> &[ListenAddr];

    /// How long a server may take to greet.
    fn patience(&self) -> Duration;
    /// Replaces the endpoints, because the server's host name has other addresses now. The store drops its connection,
    /// or the one that is being made, and tries the new endpoints at once.
    fn move_to(&mut self, endpoints: Vec<ListenAddr>);

    /// Takes the result of a probe. `Ok`: the server greeted a connection to this endpoint, so the store may make its
    /// own there, which takes no longer than its timeouts. `Err`: why no server greeted a connection.
    fn probed(&mut self, endpoint: Result<usize, NoGreeting>, now: Now);

    /// Takes the next step to set up a connection; a step takes as long as a statement. Returns the name of the
    /// statement if it was one of its own and not a part of a log-in.
    fn prepare(&mut self, _now: Now) -> Option<&'static str> {
        None
    }

    /// Runs one statement. Takes no longer than the statement limit, or than the read timeout if the connection is
    /// dead.
    ///
    /// # Errors
    /// See [`Failure`]. After `Unavailable` either the store is not ready, or it is ready and only questions of this
    /// kind have to wait. [`Store::readiness`] returns which of the two is true.
    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure>;
}

impl Question {
    /// Whether the question is about the outbox's tables. The reader of the outbox handles a statement that takes too
    /// long.
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

    /// Whether the question opens a transaction, which the next question must end.
    pub fn begins_transaction(&self) -> bool {
        matches!(self, Question::Claim { .. } | Question::Old { .. })
    }

    /// Whether the question ends the transaction that the question before it began. Such a question is never asked on
    /// another connection.
    pub fn ends_transaction(&self) -> bool {
        matches!(
            self,
            Question::Stamp { .. } | Question::Renew { .. } | Question::Release | Question::Delete { .. }
        )
    }

    /// The question's name in logs and measurements.
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
            Question::Leave(_) => "leave",
            Question::State => "state",
            Question::Publish(_) => "publish",
        }
    }
}
