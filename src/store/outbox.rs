//! The parts of questions about the outbox's tables, and their answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::Question;
use crate::protocol::position::Place;

/// Rows of one channel by their numbers: [`Question::Channel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRange {
    /// The name of the channel.
    pub channel: String,
    /// Numbers above this one.
    pub after: u64,
    /// The last one.
    pub to: u64,
    /// The most rows.
    pub limit: u32,
}

/// Where to look for rows without a number. No single look finds all of them at a low cost, so there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// Among ids above this one, along the primary key. Finds rows that were written a moment ago.
    Front(u64),
    /// Among all rows, along the index of the numbers. Also finds rows that stood uncommitted for long. Slow where tens
    /// of thousands of rows are in flight, or were stamped and could not be purged yet.
    Behind,
    /// Like [`Look::Behind`], but without the highest id: one statement, for a table that has not changed since a
    /// moment ago.
    Anywhere,
    /// Among ids in `(after, to]`, along the primary key.
    Window {
        /// Ids above this one.
        after: u64,
        /// The last one.
        to: u64,
    },
}

/// The answer to a [`Question::Look`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// The position as the state table has it. `None`: its row is missing.
    pub position: Option<String>,
    /// The database's clock: milliseconds since 1970 UTC. 0 where the position is missing.
    pub now_ms: u64,
    /// The lowest id of a row that waits for a number where the look was made.
    pub found: Option<u64>,
    /// The highest id of all rows, including rows in flight, as of before the look. [`Look::Front`] and
    /// [`Look::Anywhere`] do not read it.
    pub highest: u64,
    /// The lowest id above the window, including rows in flight.
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
    /// See [`Looked::now_ms`]; read even where the position is missing.
    pub now_ms: u64,
    /// The row with the highest number.
    pub newest: Option<Place>,
    /// The places of the numbers in the question that have a row.
    pub found: Vec<Place>,
}

/// The answer to a [`Question::Claim`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// The tables as they are while the lock is held; their version is not read. Without a position there is no lock.
    pub tables: Checked,
    /// Ids of the rows that wait where the question looks, in order.
    pub ids: Vec<u64>,
    /// Ids of the control rows that wait anywhere in the table, in order. They are read after the other ids.
    pub control: Vec<u64>,
}

/// The answer to a [`Question::Old`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Old {
    /// Ids of the rows that may be deleted.
    pub ids: Vec<u64>,
    /// Processes whose heartbeats may be deleted.
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
    /// Not checked. `None`: the data is longer than an event may have, so it was not fetched.
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
    /// The row as it would be read, except for its key and its place.
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
