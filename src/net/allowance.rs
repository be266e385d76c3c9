//! How much a connection may order: messages, and what costs more than its own answer (requests while it speaks HTTP,
//! subscriptions once it is a WebSocket).

use crate::config::Limits;
use crate::time::{Bucket, Time};

/// Seconds' worth that may come at once.
const BURST: u32 = 2;

/// What may be ordered in a second, and the key that says so; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    messages: u32,
    orders: (u32, &'static str),
}

impl Rates {
    /// While it speaks HTTP.
    pub(super) fn http(limits: &Limits) -> Self {
        Self {
            messages: 0,
            orders: (limits.requests_per_second, "requests_per_second"),
        }
    }

    /// Once it is a WebSocket.
    pub(super) fn websocket(limits: &Limits) -> Self {
        Self {
            messages: limits.messages_per_second,
            orders: (limits.subscriptions_per_second, "subscriptions_per_second"),
        }
    }
}

/// What a connection may still order in this second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowances {
    messages: Bucket,
    orders: Bucket,
}

impl Allowances {
    /// The limit by which more was ordered than may be for now; `resumes` says when there is something again.
    pub(super) fn throttled_by(&self, rates: Rates, now: Time) -> Option<&'static str> {
        let (orders, name) = rates.orders;
        match is_spent(self.messages, rates.messages, now) {
            true => Some("messages_per_second"),
            false => is_spent(self.orders, orders, now).then_some(name),
        }
    }

    /// When a limit that is spent lets the connection go on; `NEVER`: none is.
    pub(super) fn resumes(&self, rates: Rates, now: Time) -> Time {
        next(self.messages, rates.messages, now).min(next(self.orders, rates.orders.0, now))
    }

    /// A message came.
    pub(super) fn note_message(&mut self, rates: Rates, now: Time) {
        spend(&mut self.messages, rates.messages, now);
    }

    /// It ordered something that costs more than its own answer.
    pub(super) fn charge(&mut self, rates: Rates, now: Time) {
        spend(&mut self.orders, rates.orders.0, now);
    }
}

fn is_spent(bucket: Bucket, rate: u32, now: Time) -> bool {
    rate > 0 && !bucket.has(rate, BURST, now)
}

fn next(bucket: Bucket, rate: u32, now: Time) -> Time {
    match is_spent(bucket, rate, now) {
        true => bucket.next(rate, BURST),
        false => Time::NEVER,
    }
}

fn spend(bucket: &mut Bucket, rate: u32, now: Time) {
    if rate > 0 {
        bucket.take(rate, BURST, now);
    }
}
