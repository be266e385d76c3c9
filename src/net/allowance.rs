//! How much a connection may order: messages, requests and subscriptions a second. A rate of 0 is no limit.

use crate::config::Limits;
use crate::time::{Bucket, Time};

/// Seconds' worth that may come at once.
const BURST: u32 = 2;

/// What a connection may still order in this second.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowances {
    /// While it speaks HTTP.
    Http { requests: Bucket },
    /// Once it is a WebSocket.
    WebSocket { messages: Bucket, subscriptions: Bucket },
}

impl Allowances {
    pub(super) fn http(limits: &Limits, now: Time) -> Self {
        Self::Http {
            requests: Bucket::full(limits.requests_per_second, BURST, now),
        }
    }

    pub(super) fn websocket(limits: &Limits, now: Time) -> Self {
        Self::WebSocket {
            messages: Bucket::full(limits.messages_per_second, BURST, now),
            subscriptions: Bucket::full(limits.subscriptions_per_second, BURST, now),
        }
    }

    /// The limit by which more was ordered than may be for now; `resumes` says when there is something again.
    pub(super) fn throttled_by(&mut self, limits: &Limits, now: Time) -> Option<&'static str> {
        match self {
            Self::Http { requests } => {
                is_spent(requests, limits.requests_per_second, now).then_some("requests_per_second")
            }
            Self::WebSocket {
                messages,
                subscriptions,
            } => {
                if is_spent(messages, limits.messages_per_second, now) {
                    return Some("messages_per_second");
                }
                is_spent(subscriptions, limits.subscriptions_per_second, now).then_some("subscriptions_per_second")
            }
        }
    }

    /// When a limit that is spent lets the connection go on; `NEVER`: none is.
    pub(super) fn resumes(&self, limits: &Limits) -> Time {
        match self {
            Self::Http { requests } => next(requests, limits.requests_per_second),
            Self::WebSocket {
                messages,
                subscriptions,
            } => next(messages, limits.messages_per_second).min(next(subscriptions, limits.subscriptions_per_second)),
        }
    }

    /// A message came.
    pub(super) fn note_message(&mut self, limits: &Limits, now: Time) {
        if let Self::WebSocket { messages, .. } = self {
            spend(messages, limits.messages_per_second, now);
        }
    }

    /// It ordered something that costs more than its own answer.
    pub(super) fn charge(&mut self, limits: &Limits, now: Time) {
        match self {
            Self::Http { requests } => spend(requests, limits.requests_per_second, now),
            Self::WebSocket { subscriptions, .. } => spend(subscriptions, limits.subscriptions_per_second, now),
        }
    }
}

fn is_spent(bucket: &mut Bucket, rate: u32, now: Time) -> bool {
    // Nearly always there are tokens left since the last time, and the bucket need not be filled.
    rate > 0 && bucket.left() == 0 && !bucket.has(rate, BURST, now)
}

fn next(bucket: &Bucket, rate: u32) -> Time {
    match rate > 0 && bucket.left() == 0 {
        true => bucket.next(rate),
        false => Time::NEVER,
    }
}

fn spend(bucket: &mut Bucket, rate: u32, now: Time) {
    if rate > 0 {
        bucket.take(rate, BURST, now);
    }
}
