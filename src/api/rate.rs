//! How much may be published through the API: one token bucket for each app with a limit. It holds what may be published in
//! one second; a request that is larger than the bucket passes when the bucket is full and is paid for afterwards.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::reply::Refusal;
use crate::config;
use crate::time::Time;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// The buckets, by the app's id: a reload that moves apps about or changes a limit keeps what was counted.
#[derive(Debug, Default)]
pub struct Rates(HashMap<String, Bucket>);

/// What is left for the caller to say of a limit; nothing without one.
#[derive(Debug)]
pub struct Allowance(Option<(u64, u64)>);

impl Allowance {
    /// Says it in the headers of an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some((limit, left)) = self.0 {
            headers.insert(LIMIT, HeaderValue::from(limit));
            headers.insert(REMAINING, HeaderValue::from(left));
        }
    }
}

impl Rates {
    /// Counts so many publishes of an app.
    ///
    /// # Errors
    /// 429 when they are too many for now; then none is counted.
    pub fn take(&mut self, app: &config::App, publishes: usize, now: Time) -> Result<Allowance, Refusal> {
        let rate = u64::from(app.publishes_per_second);
        if rate == 0 {
            self.0.remove(&app.id);
            return Ok(Allowance(None));
        }
        let bucket = match self.0.get_mut(&app.id) {
            Some(bucket) => bucket,
            None => self.0.entry(app.id.clone()).or_insert(Bucket::full(rate, now)),
        };
        match bucket.take(publishes as u64, rate, now) {
            Ok(left) => Ok(Allowance(Some((rate, left)))),
            Err(Wait { seconds, left }) => {
                let text = format!("Too many publishes: {rate} a second are allowed, try again in {seconds} s");
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, text)
                    .with(header::RETRY_AFTER, HeaderValue::from(seconds))
                    .with(LIMIT, HeaderValue::from(rate))
                    .with(REMAINING, HeaderValue::from(left)))
            }
        }
    }
}

/// A millionth of a token: a microsecond brings as many of them as a second brings tokens.
const TOKEN: i64 = 1_000_000;

#[derive(Debug)]
struct Bucket {
    /// In millionths; below zero while a large request is being paid for.
    level: i64,
    at: Time,
}

#[derive(Debug, PartialEq, Eq)]
struct Wait {
    seconds: u64,
    left: u64,
}

impl Bucket {
    fn full(rate: u64, now: Time) -> Self {
        Self {
            level: capacity(rate),
            at: now,
        }
    }

    fn take(&mut self, tokens: u64, rate: u64, now: Time) -> Result<u64, Wait> {
        let microseconds = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let fresh = i64::try_from(microseconds.saturating_mul(rate)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(fresh).min(capacity(rate));
        self.at = now;
        let cost = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(TOKEN);
        let missing = cost.min(capacity(rate)) - self.level;
        if missing > 0 {
            let seconds = missing.unsigned_abs().div_ceil(rate).div_ceil(1_000_000);
            return Err(Wait {
                seconds,
                left: self.left(),
            });
        }
        self.level -= cost;
        Ok(self.left())
    }

    fn left(&self) -> u64 {
        (self.level.max(0) / TOKEN).unsigned_abs()
    }
}

fn capacity(rate: u64) -> i64 {
    i64::try_from(rate).unwrap_or(i64::MAX).saturating_mul(TOKEN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::default() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_bucket_holds_one_second_and_fills_in_one() {
        let mut bucket = Bucket::full(10, at(0));
        assert_eq!(bucket.take(4, 10, at(0)), Ok(6));
        assert_eq!(bucket.take(6, 10, at(0)), Ok(0));
        assert_eq!(bucket.take(1, 10, at(99)), Err(Wait { seconds: 1, left: 0 }));
        assert_eq!(bucket.take(1, 10, at(100)), Ok(0));
        assert_eq!(bucket.take(10, 10, at(1099)), Err(Wait { seconds: 1, left: 9 }));
        assert_eq!(bucket.take(10, 10, at(1100)), Ok(0));
        assert_eq!(bucket.take(10, 10, at(1_000_000_000)), Ok(0), "it does not run over");
    }

    #[test]
    fn a_request_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_for() {
        let mut bucket = Bucket::full(10, at(0));
        assert_eq!(bucket.take(100, 10, at(0)), Ok(0));
        assert_eq!(bucket.take(1, 10, at(0)), Err(Wait { seconds: 10, left: 0 }));
        assert_eq!(bucket.take(1, 10, at(9_099)), Err(Wait { seconds: 1, left: 0 }));
        assert_eq!(bucket.take(1, 10, at(9_100)), Ok(0));
        assert_eq!(bucket.take(100, 10, at(10_000)), Err(Wait { seconds: 1, left: 9 }));
        assert_eq!(bucket.take(100, 10, at(10_100)), Ok(0));
    }

    #[test]
    fn a_changed_rate_counts_at_once() {
        let mut bucket = Bucket::full(1000, at(0));
        assert_eq!(bucket.take(5, 10, at(0)), Ok(5));
        assert_eq!(
            bucket.take(5, u64::from(u32::MAX), Time::NEVER),
            Ok(u64::from(u32::MAX) - 5)
        );
    }

    /// So many requests at random times never get more than the bucket and what flowed into it.
    #[test]
    fn no_more_passes_than_bucket_and_time_allow() {
        use rand::{RngExt, SeedableRng};
        for seed in 0..50 {
            let mut random = rand::rngs::StdRng::seed_from_u64(seed);
            let rate = random.random_range(1..200);
            let mut bucket = Bucket::full(rate, at(0));
            let (mut now, mut passed) = (0, 0);
            for _ in 0..1000 {
                now += random.random_range(0..20);
                let tokens = random.random_range(1..=rate);
                if bucket.take(tokens, rate, at(now)).is_ok() {
                    passed += tokens;
                }
                assert!(passed * 1000 <= rate * (1000 + now), "seed {seed} at {now} ms");
            }
        }
    }
}
