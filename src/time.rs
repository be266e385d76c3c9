//! Time as plain numbers. Nobody but the loop reads a clock; `now` is an argument everywhere else, so that a test, the
//! simulator and a replayed trace decide what time it is.

use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant: microseconds since the server started. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// An instant that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// Whole seconds since the start.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long it is from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, span: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// A token bucket: so many a second, and in a burst so many seconds' worth. The rate is said at each call, since a reload may
/// change it.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Thousandths of a token.
    left: u64,
    filled: Time,
}

impl Bucket {
    /// A full one.
    pub fn full(rate: u32, seconds: u32, now: Time) -> Self {
        Self {
            left: most(rate, seconds),
            filled: now,
        }
    }

    /// Whether there is a token.
    pub fn has(&mut self, rate: u32, seconds: u32, now: Time) -> bool {
        let millis = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            self.left = self.left.saturating_add(millis.saturating_mul(rate.into()));
            self.filled = now;
        }
        self.left = self.left.min(most(rate, seconds));
        self.left >= 1000
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, rate: u32, seconds: u32, now: Time) -> bool {
        let may = self.has(rate, seconds, now);
        if may {
            self.left -= 1000;
        }
        may
    }

    /// Whether nothing was taken for so long that it is full.
    pub fn is_full(&mut self, rate: u32, seconds: u32, now: Time) -> bool {
        self.has(rate, seconds, now);
        self.left == most(rate, seconds)
    }
}

fn most(rate: u32, seconds: u32) -> u64 {
    u64::from(rate) * u64::from(seconds) * 1000
}

/// What the clocks say at the start of a tick: the loop's own monotonic clock and the wall clock, which may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Now {
    /// The monotonic clock, for deadlines and durations.
    pub at: Time,
    /// Milliseconds since 1970-01-01 UTC, for people.
    pub unix_ms: u64,
}

impl Now {
    /// Whole seconds since 1970-01-01 UTC.
    pub fn unix(self) -> i64 {
        i64::try_from(self.unix_ms / 1000).unwrap_or(i64::MAX)
    }
}
