//! Time as plain numbers. Only the loop reads a clock; `now` is an argument everywhere else, so that a test, the
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

/// A time of the wall clock in UTC, to the millisecond: `2026-11-30T07:29:39.123Z`. `None`: it is no date that can be
/// written. `unix_ms`: milliseconds since 1970.
pub fn utc(unix_ms: u64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(format!("{time:.3}"))
}

/// A token bucket: `rate` tokens flow in each second, and it holds those of `seconds` seconds. Both are arguments of
/// each call, since a reload may change them; neither is 0. It keeps only the instant at which it will be full again
/// (the "generic cell rate algorithm").
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Nanoseconds since the server started.
    full_at: u64,
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

impl Bucket {
    /// Whether there is a token.
    pub fn has(&self, rate: u32, seconds: u32, now: Time) -> bool {
        self.missing(now) + span(1, rate) <= u64::from(seconds) * SECOND
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, rate: u32, seconds: u32, now: Time) -> bool {
        self.take_many(1, rate, seconds, now).is_ok()
    }

    /// Takes many tokens. More than the bucket holds can be taken once it is full; they are paid for afterwards.
    ///
    /// # Errors
    /// How long it takes until there are enough; then none is taken.
    pub fn take_many(&mut self, tokens: u64, rate: u32, seconds: u32, now: Time) -> Result<(), Duration> {
        let (cost, most) = (span(tokens, rate), u64::from(seconds) * SECOND);
        let missing = self.missing(now);
        match missing.saturating_add(cost.min(most)).saturating_sub(most) {
            0 => {
                self.full_at = nanoseconds(now).saturating_add(missing).saturating_add(cost);
                Ok(())
            }
            wait => Err(Duration::from_nanos(wait)),
        }
    }

    /// Takes tokens whether they are there or not. The bucket owes one second's tokens at most.
    pub fn spend(&mut self, tokens: u64, rate: u32, seconds: u32, now: Time) {
        let most = (u64::from(seconds) + 1) * SECOND;
        let missing = self.missing(now).saturating_add(span(tokens, rate)).min(most);
        self.full_at = nanoseconds(now).saturating_add(missing.max(self.missing(now)));
    }

    /// How many whole tokens there are.
    pub fn left(&self, rate: u32, seconds: u32, now: Time) -> u64 {
        let there = (u64::from(seconds) * SECOND).saturating_sub(self.missing(now));
        u64::try_from(u128::from(there) * u128::from(rate) / u128::from(SECOND)).unwrap_or(u64::MAX)
    }

    /// Whether nothing was taken for so long that it is full.
    pub fn is_full(&self, now: Time) -> bool {
        self.missing(now) == 0
    }

    /// When there is a token again, if none is taken before.
    pub fn next(&self, rate: u32, seconds: u32) -> Time {
        let at = self.full_at.saturating_add(span(1, rate));
        Time(at.saturating_sub(u64::from(seconds) * SECOND).div_ceil(1000))
    }

    /// The time in which an empty bucket fills, in nanoseconds.
    fn missing(&self, now: Time) -> u64 {
        self.full_at.saturating_sub(nanoseconds(now))
    }
}

fn nanoseconds(time: Time) -> u64 {
    time.0.saturating_mul(1000)
}

/// The time in which so many tokens flow, in nanoseconds.
fn span(tokens: u64, rate: u32) -> u64 {
    tokens.saturating_mul(SECOND) / u64::from(rate.max(1))
}

/// The clocks at the start of a tick: the loop's own monotonic clock and the wall clock, which may jump.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::default() + Duration::from_millis(milliseconds)
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_bucket_holds_its_seconds_and_fills_in_them() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take_many(4, 10, 1, at(0)), Ok(()));
        assert_eq!(bucket.left(10, 1, at(0)), 6);
        assert_eq!(bucket.take_many(6, 10, 1, at(0)), Ok(()));
        assert_eq!(bucket.left(10, 1, at(0)), 0);
        assert_eq!(bucket.take_many(1, 10, 1, at(99)), Err(ms(1)));
        assert_eq!(bucket.take_many(1, 10, 1, at(100)), Ok(()));
        assert_eq!(bucket.take_many(10, 10, 1, at(1099)), Err(ms(1)));
        assert_eq!(bucket.left(10, 1, at(1099)), 9);
        assert_eq!(bucket.take_many(10, 10, 1, at(1100)), Ok(()));
        assert_eq!(
            bucket.take_many(10, 10, 1, at(1_000_000_000)),
            Ok(()),
            "it does not run over"
        );
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take_many(1, 10, 5, at(0)), Ok(()));
        assert_eq!(bucket.left(10, 5, at(0)), 49);
    }

    #[test]
    fn a_full_bucket_gives_more_than_it_holds_and_is_empty_for_longer_afterwards() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take_many(100, 10, 1, at(0)), Ok(()));
        assert_eq!(bucket.take_many(1, 10, 1, at(0)), Err(ms(9_100)));
        assert_eq!(bucket.take_many(1, 10, 1, at(9_099)), Err(ms(1)));
        assert_eq!(bucket.take_many(1, 10, 1, at(9_100)), Ok(()));
        assert_eq!(bucket.take_many(100, 10, 1, at(10_000)), Err(ms(100)));
        assert_eq!(bucket.take_many(100, 10, 1, at(10_100)), Ok(()));
    }

    #[test]
    fn what_others_spend_is_owed_for_one_second_at_most() {
        let mut bucket = Bucket::default();
        bucket.spend(5, 10, 1, at(0));
        assert_eq!(bucket.left(10, 1, at(0)), 5);
        bucket.spend(1_000_000, 10, 1, at(0));
        assert!(!bucket.has(10, 1, at(1050)));
        assert!(bucket.has(10, 1, at(1100)));
        // A bucket that owes more already, by a large request of its own, owes no less.
        let mut own = Bucket::default();
        own.take_many(100, 10, 1, at(0)).unwrap();
        own.spend(1, 10, 1, at(0));
        assert!(!own.has(10, 1, at(9050)));
    }

    #[test]
    fn the_next_token_comes_at_the_announced_time() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.next(10, 2), at(0));
        while bucket.take(10, 2, at(30)) {}
        assert!(!bucket.has(10, 2, at(129)) && !bucket.is_full(at(2029)));
        assert!(bucket.has(10, 2, bucket.next(10, 2)) && bucket.is_full(at(2030)));
        let mut spent = Bucket::default();
        while spent.take(10, 2, at(0)) {}
        assert_eq!(spent.next(10, 2), at(100));
    }

    #[test]
    fn a_changed_rate_counts_at_once() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take_many(5, 10, 1, at(0)), Ok(()));
        assert_eq!(bucket.left(10, 1, at(0)), 5);
        assert_eq!(bucket.take_many(5, u32::MAX, 1, Time::NEVER), Ok(()));
        assert_eq!(bucket.left(u32::MAX, 1, Time::NEVER), u64::from(u32::MAX));
    }

    /// So many requests at random times never get more than the bucket and what flowed into it.
    #[test]
    fn a_bucket_never_gives_more_than_it_held_and_received() {
        use rand::{RngExt, SeedableRng};
        for seed in 0..50 {
            let mut random = rand::rngs::StdRng::seed_from_u64(seed);
            let rate: u32 = random.random_range(1..200);
            let mut bucket = Bucket::default();
            let (mut now, mut passed) = (0, 0);
            for _ in 0..1000 {
                now += random.random_range(0..20);
                let tokens = random.random_range(1..=u64::from(rate));
                if bucket.take_many(tokens, rate, 1, at(now)).is_ok() {
                    passed += tokens;
                }
                assert!(
                    passed * 1000 <= u64::from(rate) * (1000 + now),
                    "seed {seed} at {now} ms"
                );
            }
        }
    }
}
