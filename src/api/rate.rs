//! Limits how much is published through the API: one token bucket for each app with a limit. A request that is larger
//! than the bucket passes when the bucket is full, and the missing tokens are paid for afterwards.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::reply::Refusal;
use crate::config;
use crate::time::{Bucket, Time};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// A bucket holds the publishes of this many seconds.
const SECONDS: u32 = 1;

/// The buckets by the app's id. A reload that reorders the apps or changes a limit keeps the counts.
#[derive(Debug, Default)]
pub struct Rates(HashMap<String, Bucket>);

/// The limit and how much of it is left, for the caller; `None` without a limit.
#[derive(Debug)]
pub struct Allowance(Option<(u32, u64)>);

impl Allowance {
    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the limit and the rest to the headers of an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some((limit, left)) = self.0 {
            headers.insert(LIMIT, HeaderValue::from(limit));
            headers.insert(REMAINING, HeaderValue::from(left));
        }
    }
}

impl Rates {
    /// Counts publishes of an app that another process has allowed.
    pub fn spend(&mut self, app: &config::App, publishes: u32, now: Time) {
        let rate = app.publishes_per_second;
        if rate > 0 {
            let bucket = self.0.entry(app.id.clone()).or_default();
            bucket.spend(u64::from(publishes), rate, SECONDS, now);
        }
    }

    /// Counts this many publishes of an app.
    ///
    /// # Errors
    /// 429 when the limit is exceeded; then no publish is counted.
    pub fn take(&mut self, app: &config::App, publishes: usize, now: Time) -> Result<Allowance, Refusal> {
        let rate = app.publishes_per_second;
        if rate == 0 {
            self.0.remove(&app.id);
            return Ok(Allowance(None));
        }
        let bucket = match self.0.get_mut(&app.id) {
            Some(bucket) => bucket,
            None => self.0.entry(app.id.clone()).or_default(),
        };
        match bucket.take_many(publishes as u64, rate, SECONDS, now) {
            Ok(()) => Ok(Allowance(Some((rate, bucket.left(rate, SECONDS, now))))),
            Err(wait) => {
                let (seconds, left) = (
                    wait.as_micros().div_ceil(1_000_000) as u64,
                    bucket.left(rate, SECONDS, now),
                );
                let text = format!("Too many publishes: {rate} a second are allowed, try again in {seconds} s");
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, text)
                    .with(header::RETRY_AFTER, HeaderValue::from(seconds))
                    .with(LIMIT, HeaderValue::from(rate))
                    .with(REMAINING, HeaderValue::from(left)))
            }
        }
    }
}
