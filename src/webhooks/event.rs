//! What webhooks tell: the kinds of events, an event that waits, how a post went, and the limits that hold for each
//! target.

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::effects::HookEvent;
use crate::time::Time;

/// How long `channel_vacated` and `member_removed` wait for a return (hosted Pusher: up to 3 s).
pub const GRACE: Duration = Duration::from_secs(3);

/// How long after an event it is still tried to tell it: receivers refuse an older `time_ms`.
pub const LIFE: Duration = Duration::from_secs(300);

/// The longest pause between two tries. A target that returns after minutes hears what is left of its queue within one,
/// while most of it is young enough to count.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// Events that wait for one target: at 30 a second, all that happens in five minutes, after which they are too old.
pub const QUEUE_EVENTS: usize = 10_000;

/// Bytes of the bodies that wait for one target: client events of 10 KB are the large ones, and 800 of them are plenty.
pub const QUEUE_BYTES: usize = 8 << 20;

/// A cache channel's misses that are one: a room full of newcomers, and the time that the site takes to fill the cache.
/// Its end is no fault: who misses later asks again, for the site may have failed to answer the first time.
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
pub const KINDS: [&str; 7] = [
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
];

/// How a post went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// A status of 200 to 299.
    Done,
    /// Another status.
    Refused(u16),
    /// No answer, and why.
    Failed(&'a str),
}

impl<'a> Outcome<'a> {
    /// The outcome of a post that got this status as its answer, or none and why.
    pub fn of(result: Result<u16, &'a str>) -> Self {
        match result {
            Ok(200..300) => Self::Done,
            Ok(status) => Self::Refused(status),
            Err(why) => Self::Failed(why),
        }
    }
}

/// Counts of all targets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that wait, also those in their grace.
    pub waiting: usize,
    /// Posts that were taken, since the start.
    pub delivered: u64,
    /// Posts that were not, since the start.
    pub failed: u64,
    /// Events that no target will hear of: too old or too many, since the start.
    pub dropped: u64,
}

/// An event that is to be told.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) body: Bytes,
    /// When it happened.
    pub(super) since: Time,
}

/// What left or returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

    pub(super) fn named(name: &str) -> Option<usize> {
        KINDS.iter().position(|kind| *kind == name)
    }

    /// The one that undoes it, if there is one.
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

/// Who came or went, when that is what happened.
pub(super) fn subject(event: &HookEvent) -> Option<Subject> {
    match event {
        HookEvent::Occupied { .. } | HookEvent::Vacated { .. } => Some(Subject::Channel),
        HookEvent::MemberAdded { user_id, .. } | HookEvent::MemberRemoved { user_id, .. } => {
            Some(Subject::Member(user_id.clone()))
        }
        HookEvent::ClientEvent { .. } | HookEvent::CacheMiss { .. } | HookEvent::SubscriptionCount { .. } => None,
    }
}
