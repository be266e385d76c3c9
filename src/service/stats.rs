//! Numbers for administrators: measurements of the loop, and counts of the service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Numbers that only the loop and the operating system have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStats {
    /// Open connections of any kind.
    pub connections: usize,
    /// The limit of connections.
    pub max_connections: usize,
    /// Resident memory of the process in bytes; 0: the system does not report it.
    pub resident_bytes: u64,
    /// The loop's recent delays.
    pub lag: Lag,
    /// The time that the site's database took from the loop; `None`: there is no database.
    pub sql: Option<Sql>,
}

/// The time that the database took from the loop since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sql {
    /// Whether questions can be asked.
    pub available: bool,
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

/// How long the loop was away from its poller: the longest that a client's message waits for the loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Ticks since the start.
    pub ticks: u64,
    /// The number of latest ticks in the percentiles.
    pub sample: usize,
    /// Microseconds, the median of the sample.
    pub p50_us: u32,
    /// Microseconds, the 99th percentile of the sample.
    pub p99_us: u32,
    /// Microseconds, the longest tick of the sample.
    pub max_us: u32,
    /// Microseconds: the longest tick of each of the last seconds that had a tick, newest first; 60 at most.
    pub worst_by_second_us: Vec<u32>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open WebSockets.
    pub websockets: usize,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// HTTP requests answered, handshakes not counted.
    pub requests: u64,
}
