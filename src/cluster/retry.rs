//! When a command that the engine refused is tried again.

use std::time::Duration;

use crate::time::Time;

/// The first pause, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Pauses that double.
#[derive(Debug, Default)]
pub(super) struct Retry {
    at: Time,
    pause: Duration,
}

impl Retry {
    /// Whether the next attempt may be made.
    pub(super) fn may(&self, now: Time) -> bool {
        self.at <= now
    }

    /// When the next attempt may be made.
    pub(super) fn at(&self) -> Time {
        self.at
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Time) {
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
        self.at = now + self.pause;
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}
