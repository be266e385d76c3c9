//! The values that webhooks work with: the kinds of events, a waiting event, the outcome of a post, and the limits of
//! each target.

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::effects::HookEvent;
use crate::time::Time;

/// How long `channel_vacated` and `member_removed` are held back in case of a return (hosted Pusher: up to 3 s).
pub const GRACE: Duration = Duration::from_secs(3);

/// How long after an event it may still be sent: receivers refuse an older `time_ms`.
pub const LIFE: Duration = Duration::from_secs(300);

/// The longest pause between two tries. When a target works again after minutes, the rest of its queue reaches it
/// within one such pause, while most of the events are young enough.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// The most events that wait for one target: with 30 a second, all events of five minutes, after which they are too
/// old.
pub const QUEUE_EVENTS: usize = 10_000;

/// The most bytes of bodies that wait for one target. Client events of 10 KB are the large ones, and 800 of them are
/// plenty.
pub const QUEUE_BYTES: usize = 8 << 20;

/// Misses of one cache channel within this time count as one: many clients may subscribe at once, and the site needs
/// time to fill the cache. A later miss is sent again, because the site may have failed to answer the first time.
pub const ONE_MISS: Duration = Duration::from_secs(5);

/// The kinds of events, in the order of [`KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Occupied,
    Vacated,
    MemberAdded,
    MemberRemoved,
    ClientEvent,
    CacheMiss,
    SubscriptionCount,
}

/// The names of the kinds: in a post, and in `events` of a target.
pub use crate::config::WEBHOOK_EVENTS as KINDS;

/// The outcome of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// A status of 200 to 299.
    Done,
    /// Another status.
    Refused(u16),
    /// No answer, and the reason.
    Failed(&'a str),
}

impl<'a> Outcome<'a> {
    /// The outcome of a post. `result` is the status of the answer, or the reason why there is none.
    pub fn of(result: Result<u16, &'a str>) -> Self {
        match result {
            Ok(200..300) => Self::Done,
            Ok(status) => Self::Refused(status),
            Err(why) => Self::Failed(why),
        }
    }
}

/// Counts of all targets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Events that wait, including departures in their grace.
    pub waiting: usize,
    /// Posts that were accepted, since the start.
    pub delivered: u64,
    /// Posts that failed, since the start.
    pub failed: u64,
    /// Events that are never sent, because they were too old or too many, since the start.
    pub dropped: u64,
}

/// An event that waits to be sent.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) body: Bytes,
    /// When it happened.
    pub(super) since: Time,
}

/// The channel or member that left or returned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The channel as a whole.
    Channel,
    /// A member of it.
    Member(String),
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        self.waiting += other.waiting;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.dropped += other.dropped;
    }
}

impl Kind {
    pub(super) fn of(event: &HookEvent) -> Self {
        match event {
            HookEvent::Occupied { .. } => Kind::Occupied,
            HookEvent::Vacated { .. } => Kind::Vacated,
            HookEvent::MemberAdded { .. } => Kind::MemberAdded,
            HookEvent::MemberRemoved { .. } => Kind::MemberRemoved,
            HookEvent::ClientEvent { .. } => Kind::ClientEvent,
            HookEvent::CacheMiss { .. } => Kind::CacheMiss,
            HookEvent::SubscriptionCount { .. } => Kind::SubscriptionCount,
        }
    }

    /// The kind that undoes this one, if there is one.
    pub(super) fn opposite(self) -> Option<Kind> {
        match self {
            Self::Occupied => Some(Self::Vacated),
            Self::Vacated => Some(Self::Occupied),
            Self::MemberAdded => Some(Self::MemberRemoved),
            Self::MemberRemoved => Some(Self::MemberAdded),
            Self::ClientEvent | Self::CacheMiss | Self::SubscriptionCount => None,
        }
    }

    pub(super) fn is_departure(self) -> bool {
        matches!(self, Self::Vacated | Self::MemberRemoved)
    }
}

/// The channel or member that arrived or left, if the event is about that.
pub(super) fn subject(event: &HookEvent) -> Option<Subject> {
    match event {
        HookEvent::Occupied { .. } | HookEvent::Vacated { .. } => Some(Subject::Channel),
        HookEvent::MemberAdded { user_id, .. } | HookEvent::MemberRemoved { user_id, .. } => {
            Some(Subject::Member(user_id.clone()))
        }
        HookEvent::ClientEvent { .. } | HookEvent::CacheMiss { .. } | HookEvent::SubscriptionCount { .. } => None,
    }
}
