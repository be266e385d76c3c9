//! Numbers for administrators: measurements of the loop, and counts of the service.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::flight::Lag;
use crate::flight::{Durations, Totals};

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
    /// The sums of all ticks.
    pub totals: Totals,
    /// How connections ended, and which limits were reached.
    pub ends: Ends,
    /// TLS of clients.
    pub tls: TlsStats,
    /// What waits in the send queues.
    pub send_queues: SendQueues,
    /// The time that the site's database took from the loop; `None`: there is no database.
    pub sql: Option<Sql>,
    /// The statements of the database by name, those that were used.
    pub statements: Vec<Statement>,
}

/// Counts since the start by name. The names are a fixed few: never those of a peer.
pub type Tally = BTreeMap<Cow<'static, str>, u64>;

/// Why connections end: the words of [`Ends::reasons`].
const REASONS: [&str; 9] = [
    "peer",
    "failed",
    "refused",
    "violation",
    "timeout",
    "slow",
    "server",
    "stranger",
    "bad_header",
];

/// The limits that are counted: the keys of [`Ends::limits`].
const LIMITS: [&str; 17] = [
    "max_connections",
    "connects_per_second",
    "connections_per_address",
    "connections_per_session",
    "requests_per_second",
    "messages_per_second",
    "subscriptions_per_second",
    "max_head_size",
    "max_body_size",
    "max_message_size",
    "max_fragments",
    "handshake_timeout",
    "keep_alive_timeout",
    "message_timeout",
    "ping_timeout",
    "send_queue_bytes",
    "send_queue_seconds",
];

/// How connections ended, and which limits were reached, since the start. Each name is there from the start with 0,
/// since a count that appears with 1 shows no increase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ends {
    /// Connections that ended, by the reason in a word.
    pub reasons: Tally,
    /// How often a limit was reached, by its key in the configuration.
    pub limits: Tally,
}

impl Default for Ends {
    fn default() -> Self {
        let zero = |name| (Cow::Borrowed(name), 0);
        Self {
            reasons: REASONS.map(zero).into(),
            limits: LIMITS.map(zero).into(),
        }
    }
}

impl Ends {
    /// A connection ended for this reason, because of this limit.
    pub fn note(&mut self, (reason, limit): (&'static str, Option<&'static str>)) {
        debug_assert!(self.reasons.contains_key(reason), "{reason} is one of the reasons");
        count(&mut self.reasons, reason);
        if let Some(limit) = limit {
            self.reached(limit);
        }
    }

    /// A limit was reached.
    pub fn reached(&mut self, limit: &'static str) {
        debug_assert!(self.limits.contains_key(limit), "{limit} is one of the limits");
        count(&mut self.limits, limit);
    }
}

/// Counts one more of a name.
pub fn count(tally: &mut Tally, name: &'static str) {
    *tally.entry(Cow::Borrowed(name)).or_default() += 1;
}

/// What waits in the send queues of all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SendQueues {
    /// Bytes in all of them.
    pub bytes: usize,
    /// Bytes in the largest one.
    pub largest: usize,
    /// How many are not empty.
    pub waiting: usize,
    /// How many hold more than a quarter of `send_queue_bytes`.
    pub slow: usize,
}

/// The statements of one name, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statement {
    /// The name.
    pub name: Cow<'static, str>,
    /// Statements that had no answer, or none that could be used. A lock of another process is no error.
    pub errors: u64,
    /// How long each of them took.
    pub times: Durations,
}

/// What tells this process from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// The configuration file that was read; `None`: there is none.
    pub config_file: Option<PathBuf>,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
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
    /// Positions of clients that were away, after which everything was still known.
    pub recovered: u64,
    /// The same, after which something was not known any more.
    pub gaps: u64,
}

/// Why TLS fails: the keys of [`TlsStats::failures`].
const TLS_FAILURES: [&str; 6] = ["plain_http", "ended", "alert", "incompatible", "protocol", "timeout"];

/// TLS of clients since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsStats {
    /// Handshakes that became complete, with a signature.
    pub full: u64,
    /// Those that went on from an earlier session.
    pub resumed: u64,
    /// Connections whose TLS failed, by the reason in a word.
    pub failures: Tally,
    /// When the first certificate expires, in seconds since 1970; 0: no listener speaks TLS.
    pub expires: u64,
}

impl Default for TlsStats {
    fn default() -> Self {
        Self {
            full: 0,
            resumed: 0,
            failures: TLS_FAILURES.map(|name| (Cow::Borrowed(name), 0)).into(),
            expires: 0,
        }
    }
}

impl TlsStats {
    /// The TLS of a connection failed for this reason.
    pub fn failed(&mut self, reason: &'static str) {
        debug_assert!(self.failures.contains_key(reason), "{reason} is one of the reasons");
        count(&mut self.failures, reason);
    }
}

/// Handshakes of WebSockets since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handshakes {
    /// Those that led to a WebSocket.
    pub accepted: u64,
    /// The others, by the HTTP status or close code that they got.
    pub refused: BTreeMap<u16, u64>,
}
