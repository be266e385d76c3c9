//! How much may be published through the API: one token bucket for each app with a limit. A request that is larger than
//! the bucket passes when the bucket is full and is paid for afterwards.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::reply::Refusal;
use crate::config;
use crate::time::{Bucket, Time};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// A bucket holds what may be published in so many seconds.
const SECONDS: u32 = 1;

/// The buckets, by the app's id: a reload that moves apps about or changes a limit keeps what was counted.
#[derive(Debug, Default)]
pub struct Rates(HashMap<String, Bucket>);

/// What is left for the caller to say of a limit; nothing without one.
#[derive(Debug)]
pub struct Allowance(Option<(u32, u64)>);

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
