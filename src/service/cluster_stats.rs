//! The numbers of the cluster, as this process sees it. A process without an engine has none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{Phase, State};
use crate::time::Now;

/// How the process stands to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has not met the others yet.
    #[default]
    Joining,
    /// It sees what all see.
    Together,
    /// It is alone: the engine cannot be used.
    Isolated,
}

/// See the top of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterStats {
    /// How it stands to the others.
    pub standing: Standing,
    /// For how many milliseconds it has been isolated; 0: it is not.
    pub isolated_ms: u64,
    /// Why it is isolated, as a clause about the engine; `None`: it is not.
    pub why: Option<String>,
    /// The processes of the cluster, this one included.
    pub processes: usize,
    /// Whether this process sends the webhooks.
    pub leads: bool,
    /// Whether the others have told what they hold, once.
    pub complete: bool,
    /// Entries that wait to be written to the log.
    pub waiting_entries: usize,
    /// The bytes of the events among them.
    pub waiting_bytes: usize,
    /// Batches that were written and not read back.
    pub unread_batches: usize,
    /// The age of the oldest of these batches, in microseconds.
    pub lag_us: u64,
    /// The bytes of the log.
    pub log_bytes: usize,
    /// How often the process was isolated since its start.
    pub isolations: u64,
    /// Batches that it has written.
    pub batches_written: u64,
    /// Batches of all processes that it has read.
    pub batches_read: u64,
    /// Webhook events that are kept for the case that the process dies that sends them.
    pub hooks_kept: usize,
    /// Of these, the ones that were dropped because there were too many.
    pub hooks_dropped: u64,
}

impl ClusterStats {
    /// The numbers of this state.
    pub(super) fn new(state: State, now: Now) -> Self {
        let (standing, isolated, why) = match state.phase {
            Phase::Joining => (Standing::Joining, Duration::ZERO, None),
            Phase::Together => (Standing::Together, Duration::ZERO, None),
            Phase::Isolated { since, why } => (Standing::Isolated, now.at.since(since), Some(why)),
        };
        Self {
            standing,
            isolated_ms: u64::try_from(isolated.as_millis()).unwrap_or(u64::MAX),
            why,
            processes: state.processes,
            leads: state.is_leader,
            complete: state.complete,
            waiting_entries: state.waiting_entries,
            waiting_bytes: state.waiting_bytes,
            unread_batches: state.unread_batches,
            lag_us: u64::try_from(state.lag.as_micros()).unwrap_or(u64::MAX),
            log_bytes: state.log_bytes,
            isolations: state.isolations,
            batches_written: state.batches_written,
            batches_read: state.batches_read,
            hooks_kept: state.hooks_kept,
            hooks_dropped: state.hooks_dropped,
        }
    }
}
