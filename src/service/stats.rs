//! Numbers for administrators: measurements of the loop, and counts of the service.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::flight::Lag;

/// Numbers that only the loop and the operating system have. A trace of an older version lacks some of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessStats {
    /// What tells this process from others.
    pub process: Process,
    /// Open connections of any kind.
    pub connections: usize,
    /// Those of them that have said their last word and are about to end.
    pub closing: usize,
    /// The limit of connections.
    pub max_connections: usize,
    /// Messages that were sent since the start; a message to many connections counts once for each of them.
    pub messages_out: u64,
    /// Bytes read from connections since the start.
    pub bytes_in: u64,
    /// Bytes written to connections since the start.
    pub bytes_out: u64,
    /// What came and went lately.
    pub per_second: PerSecond,
    /// Resident memory of the process in bytes; 0: the system does not report it.
    pub resident_bytes: u64,
    /// Open descriptors; 0: the system does not report them.
    pub descriptors: u64,
    /// The limit of open descriptors.
    pub descriptor_limit: u64,
    /// The loop's recent delays.
    pub lag: Lag,
    /// The time that the site's database took from the loop; `None`: there is no database.
    pub sql: Option<Sql>,
}

/// What tells this process from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// The configuration file that was read; `None`: there is none.
    pub config_file: Option<PathBuf>,
}

/// How much came and went in a second, on the average of the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerSecond {
    /// HTTP requests, handshakes not counted.
    pub requests: f64,
    /// Messages received.
    pub messages_in: f64,
    /// Messages sent, counted as [`ProcessStats::messages_out`].
    pub messages_out: f64,
    /// Bytes read from connections.
    pub bytes_in: f64,
    /// Bytes written to connections.
    pub bytes_out: f64,
}

/// The time that the database took from the loop since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sql {
    /// Whether questions can be asked.
    pub available: bool,
    /// For how many milliseconds the breaker still keeps the server from trying, after failures; 0: it does not.
    #[serde(default)]
    pub retry_ms: u64,
    /// Statements that were started.
    pub statements: u64,
    /// Ticks whose statements took longer than the budget.
    pub overruns: u64,
    /// The longest time of one tick's statements, in microseconds.
    pub worst_us: u64,
    /// The total time of all statements, in microseconds.
    pub total_us: u64,
}

impl Sql {
    /// Adds the time of a tick's statements.
    pub fn spend(&mut self, took: Duration, budget: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.overruns += u64::from(took > budget);
        self.worst_us = self.worst_us.max(micros);
        self.total_us = self.total_us.saturating_add(micros);
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages received.
    pub messages_in: u64,
    /// HTTP requests answered, handshakes not counted.
    pub requests: u64,
}
