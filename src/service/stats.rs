//! Numbers for those who look after the server: what the loop measured, and what the service counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What only the loop and the operating system know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStats {
    /// Connections of any kind.
    pub connections: usize,
    /// How many there may be.
    pub max_connections: usize,
    /// Resident memory of the process in bytes; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// The loop's recent delays.
    pub lag: Lag,
    /// What the site's database cost the loop; `None`: there is none.
    pub sql: Option<Sql>,
}

/// What the database cost the loop since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sql {
    /// Whether questions can be asked.
    pub available: bool,
    /// Statements that were started.
    pub statements: u64,
    /// Ticks whose statements took longer than the budget.
    pub overruns: u64,
    /// The longest time that the statements of one tick took, in microseconds.
    pub worst_us: u64,
    /// The time that all of them took, in microseconds.
    pub total_us: u64,
}

impl Sql {
    /// Takes note of what the statements of a tick took.
    pub fn spend(&mut self, took: Duration, budget: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.overruns += u64::from(took > budget);
        self.worst_us = self.worst_us.max(micros);
        self.total_us = self.total_us.saturating_add(micros);
    }
}

/// How long the loop was away from its poller: what a client that speaks at the worst moment waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Ticks since the start.
    pub ticks: u64,
    /// How many of the latest ticks the percentiles are of.
    pub sample: usize,
    /// Microseconds.
    pub p50_us: u32,
    /// Microseconds.
    pub p99_us: u32,
    /// Microseconds, the longest of the sample.
    pub max_us: u32,
    /// Microseconds, the longest tick in each of the last seconds that had one, newest first; 60 at most.
    pub worst_by_second_us: Vec<u32>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// WebSockets that are open.
    pub websockets: usize,
    /// Messages that came.
    pub messages_in: u64,
    /// Messages that were sent.
    pub messages_out: u64,
    /// HTTP requests answered, handshakes not counted.
    pub requests: u64,
}
