//! How long much has waited in a connection's send queue, from which a slow consumer is recognised.

use std::time::Duration;

use crate::config::Limits;
use crate::time::Time;

/// The bytes in a send queue above which reading from the peer pauses and `send_queue_seconds` is counted.
pub(super) fn high_water(limits: &Limits) -> usize {
    limits.send_queue_bytes / 4
}

/// Since when more waits than the high-water mark.
#[derive(Debug)]
pub(super) struct Backlog(Time);

impl Backlog {
    /// Little waits.
    pub(super) const NONE: Self = Self(Time::NEVER);

    /// So many bytes wait now. Returns whether the high-water mark was crossed.
    #[inline]
    pub(super) fn note(&mut self, waiting: usize, limits: &Limits, now: Time) -> bool {
        let before = self.0;
        if waiting <= high_water(limits) {
            self.0 = Time::NEVER;
        } else if self.0 == Time::NEVER {
            self.0 = now;
        }
        self.0 != before
    }

    /// Whether more waits than the high-water mark.
    pub(super) fn is_high(&self) -> bool {
        self.0 != Time::NEVER
    }

    /// When the connection will be closed as a slow consumer.
    pub(super) fn ends(&self, limits: &Limits) -> Time {
        self.0 + Duration::from_secs(limits.send_queue_seconds)
    }
}
