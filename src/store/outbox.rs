//! What is asked of the outbox's tables, and what they answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::Question;
use crate::protocol::position::Place;

/// Rows of one channel by their numbers: [`Question::Channel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRange {
    /// Whose.
    pub channel: String,
    /// Not this one.
    pub after: u64,
    /// The last one.
    pub to: u64,
    /// The most rows.
    pub limit: u32,
}

/// Where rows without a number are looked for. No place finds all of them at every price, so there are three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// Among ids above this one, along the primary key: rows that were written a moment ago.
    Front(u64),
    /// Among all, along the index of the numbers: also rows that stood uncommitted for long. Slow where tens of
    /// thousands of rows are in flight, or were stamped and could not be purged yet.
    Behind,
    /// The same, without the highest id: one statement, for a table that is as it was a moment ago.
    Anywhere,
    /// Among ids in `(after, to]`, along the primary key.
    Window {
        /// Not this one.
        after: u64,
        /// The last one.
        to: u64,
    },
}

/// The answer to a [`Question::Look`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// The position as it is written. `None`: its row is missing.
    pub position: Option<String>,
    /// The database's clock: milliseconds since 1970 UTC. 0 where the position is missing.
    pub now_ms: u64,
    /// Whether a row waits there.
    pub found: bool,
    /// The highest id of all, rows in flight included; as of before the look. Not told by [`Look::Front`] and
    /// [`Look::Anywhere`].
    pub highest: u64,
    /// The lowest id above the window, rows in flight included.
    pub next: Option<u64>,
    /// How long the statement took, in microseconds.
    pub micros: u64,
    /// How long the next look should wait, so that the account stays within its limits.
    #[serde(default)]
    pub pause: Duration,
}

/// The answer to a [`Question::Check`], all as of one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The version of the tables.
    pub schema: Option<String>,
    /// See [`Looked::position`].
    pub position: Option<String>,
    /// See [`Looked::now_ms`]; always told.
    pub now_ms: u64,
    /// The row with the highest number.
    pub newest: Option<Place>,
    /// Those of the numbers that was asked for that have a row.
    pub found: Vec<Place>,
}

/// The answer to a [`Question::Claim`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// The tables as they are while the lock is held, but for the version. Without a position there is no lock.
    pub tables: Checked,
    /// Ids that wait where was looked, in order.
    pub ids: Vec<u64>,
    /// Ids of control rows that wait anywhere, in order; read after the others.
    pub control: Vec<u64>,
}

/// The answer to a [`Question::Old`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Old {
    /// Ids of rows.
    pub ids: Vec<u64>,
    /// Processes.
    pub processes: Vec<u32>,
}

/// A row of the outbox table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The key.
    pub id: u64,
    /// Its place in the stream.
    pub place: Place,
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
    /// The socket that gets no copy.
    pub socket_id: Option<String>,
}

impl From<NewRow> for Row {
    /// As it is read, but for its key and its place.
    fn from(row: NewRow) -> Self {
        Self {
            id: 0,
            place: Place::default(),
            channel: row.channel,
            event: row.event,
            data: Some(row.data),
            socket_id: row.socket_id,
        }
    }
}
