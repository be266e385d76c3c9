//! The database as the service sees it: questions, each of them one round trip, and their answers as plain rows.
//! Nothing here decides anything; what rows mean is decided in `outbox`, `site` and `joomla`. `mysql` asks a real
//! server behind the fence of `docs/architecture.md`; the tests and the simulator have one in memory.
//!
//! Rows carry the key that they were asked for and are matched by it, never by their order: after a mishap on the wire
//! the answer to an older question must not pass for this one's.

pub mod breaker;
mod database;
pub mod grants;
pub mod mysql;
mod outbox;
pub mod schema;
mod site;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::ListenAddr;
use crate::protocol::position::{Place, Position};
use crate::time::Now;

pub use self::database::{Database, Tls, TlsMode};
pub use self::outbox::{ChannelRange, Checked, Claimed, Look, Looked, NewRow, Old, Row};
pub use self::site::{
    AssetRow, CLOCK_TOLERANCE, CategoryRow, CategoryStep, Extensions, GroupRow, ItemRow, LevelRow, SessionRow, UserRow,
};

/// Session ids of one [`Question::Sessions`], users of one [`Question::Users`], items of one [`Question::Items`],
/// numbers of one [`Question::Check`].
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
    /// The state of the outbox's tables, and the places of at most [`MOST_KEYS`] numbers. Answered with
    /// [`Answer::Checked`].
    Check(Vec<u64>),
    /// Begins a transaction that holds the lock of the stream's counter, and reads what waits for a number. Answered
    /// with [`Answer::Claimed`]: the next question is [`Question::Stamp`], [`Question::Renew`] or
    /// [`Question::Release`]. [`Failure::Locked`]: another process has the lock.
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
    /// Rows of one channel with numbers in `(after, to]`, from the last one down. Answered with [`Answer::Rows`], of
    /// which some may be of other channels whose names are the same to the table's collation: they count for the limit
    /// too.
    Channel(ChannelRange),
    /// Begins a transaction that holds the lock of the deleter, whose row is made if it is missing, and reads what it
    /// may delete. Answered with [`Answer::Old`]: the next question is [`Question::Delete`]. [`Failure::Locked`]:
    /// another process has the lock.
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
    /// Of rows that tell a user: a guest's is nothing to anybody.
    OfUsers,
    /// Always: without metadata the user stands in it alone.
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
    /// The server refused the statement: a privilege is missing.
    #[error("the database refused it: {0}")]
    Denied(String),
    /// The server refused the statement for another reason: a table is missing.
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
    /// [`Store::prepare`]: a connection that was made is set up, a statement at a time.
    Preparing,
    /// The caller has to probe: to connect to one of [`Store::endpoints`], wait for its greeting and call
    /// [`Store::probed`].
    Probe,
    /// Nothing helps before this instant.
    Closed(crate::time::Time),
}

/// Why no connection to the database's server was greeted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// As a sentence.
    pub why: String,
    /// Somebody took the connection. Servers count those who turn away from them.
    pub taken: bool,
}

/// A database.
pub trait Store: fmt::Debug {
    /// What it needs.
    fn readiness(&self, now: Now) -> Readiness;

    /// Where its server is, in the order in which to try.
    fn endpoints(&self) -> &[ListenAddr];

    /// How long a server may take to greet.
    fn patience(&self) -> Duration;
    /// Other endpoints from here on: the name of its host has other addresses. What there is of a connection is
    /// given up, and the new ones are tried at once.
    fn move_to(&mut self, endpoints: Vec<ListenAddr>);

    /// A connection to this endpoint was greeted by the server: the store may make its own there, which takes no longer
    /// than its timeouts. Or none could be made, and why.
    fn probed(&mut self, endpoint: Result<usize, Missed>, now: Now);

    /// Takes the next step to make a connection ready; a step is as long as a statement.
    fn prepare(&mut self, _now: Now) {}

    /// Runs one statement. Takes no longer than the statement limit, or the read timeout when the connection is dead.
    ///
    /// # Errors
    /// See [`Failure`]. After `Unavailable` the store is not ready, or it is and only questions of this kind have to
    /// wait: whoever asks goes on by [`Store::readiness`].
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
