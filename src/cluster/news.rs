//! What the cluster tells the service, and what it shows of itself.

use std::time::Duration;

use crate::protocol::effects::HookEvent;
use crate::protocol::shared::{ProcessId, Shared, SharedEvent};
use crate::time::Time;

/// Something that the service must do, in the order of the log.
#[derive(Debug)]
pub enum News {
    /// From here on events have the positions `m<start>:<n>`. Events with an `n` up to `after` are unknown here.
    Epoch {
        /// The epoch's number.
        start: u32,
        /// The last position that is unknown.
        after: u64,
    },
    /// A process tells something.
    Shared {
        /// The process.
        from: ProcessId,
        /// Whether that is this process.
        mine: bool,
        /// The index of the app.
        app: usize,
        /// What it tells.
        what: Shared,
        /// The position.
        n: u64,
        /// It comes late: this process is cut off, or was.
        late: bool,
    },
    /// An event that was published before this process came: clients that recover may need it. It is sent to nobody.
    Past {
        /// The index of the app.
        app: usize,
        /// The event.
        event: SharedEvent,
        /// The position.
        n: u64,
        /// The time since it was published, at least; unknown to the log, so it is the time since it was read.
        age: Duration,
    },
    /// What the process told before is in doubt: it tells everything again.
    Stale {
        /// The process; it may be this one.
        of: ProcessId,
    },
    /// The process has told everything: what is still in doubt is no longer so.
    Fresh {
        /// The process; it may be this one.
        of: ProcessId,
    },
    /// The process is gone, with all that it held.
    Gone {
        /// The process; it may be this one, which others took for dead.
        of: ProcessId,
    },
    /// Give all that this process holds to [`Cluster::snapshot`](super::Cluster::snapshot), then call
    /// [`Cluster::told`](super::Cluster::told).
    TellAll {
        /// The events of cache channels, too.
        with_cache: bool,
    },
    /// Events may have been lost.
    Gap,
    /// Pass an event to the app's webhooks: this process is the one that does.
    Hook {
        /// The index of the app.
        app: usize,
        /// The event.
        event: HookEvent,
    },
}

/// How the process stands to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is coming.
    Joining,
    /// It sees what all see.
    Together,
    /// It is alone: the engine cannot be used.
    Isolated {
        /// Since then.
        since: Time,
        /// Why, as a clause without a subject.
        why: String,
    },
}

/// The cluster, as this process sees it, for status and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// How the process stands to the others.
    pub phase: Phase,
    /// How many processes there are, this one included.
    pub processes: usize,
    /// The process that sends webhooks and trims the log.
    pub leader: Option<ProcessId>,
    /// Whether that is this process.
    pub is_leader: bool,
    /// All others have told what they hold, once. A process that is [`Phase::Joining`] and not complete is not ready.
    pub complete: bool,
    /// Entries that wait to be written.
    pub waiting_entries: usize,
    /// The bytes of waiting events.
    pub waiting_bytes: usize,
    /// Batches that were written and not read back.
    pub unread_batches: usize,
    /// The bytes of the log.
    pub log_bytes: usize,
    /// The age of the oldest batch that was not read back.
    pub lag: Duration,
    /// How often the process was isolated.
    pub isolations: u64,
    /// Batches that this process has written since its start.
    pub batches_written: u64,
    /// Batches of all processes that it has read since its start.
    pub batches_read: u64,
    /// Webhook events that it keeps for the case that the leader dies.
    pub hooks_kept: usize,
    /// Of those, how many were dropped since the start because there were too many.
    pub hooks_dropped: u64,
}
