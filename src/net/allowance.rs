//! How much a connection may order in a second: messages, and orders that cost more than their own answer. Orders are
//! requests while it speaks HTTP, and subscriptions once it is a WebSocket.

use crate::config::Limits;
use crate::time::{Bucket, Time};

/// The size of a burst: the seconds whose messages or orders may come at once.
const BURST: u32 = 2;

/// The messages and orders that a connection may still send in this second. Each rate is a limit of the configuration;
/// 0 is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowances {
    messages: Bucket,
    orders: Bucket,
    /// The connection's orders are subscriptions. Otherwise they are requests, and the connection sends no messages.
    is_websocket: bool,
}

impl Allowances {
    /// For a connection that became a WebSocket.
    pub(super) fn websocket() -> Self {
        Self {
            is_websocket: true,
            ..Self::default()
        }
    }

    fn orders_per_second(&self, limits: &Limits) -> (u32, &'static str) {
        match self.is_websocket {
            true => (limits.subscriptions_per_second, "subscriptions_per_second"),
            false => (limits.requests_per_second, "requests_per_second"),
        }
    }

    /// The limit that the connection has exceeded for now; `resumes` says when the connection may go on.
    pub fn throttled_by(&self, limits: &Limits, now: Time) -> Option<&'static str> {
        if is_spent(self.messages, limits.messages_per_second, now) {
            return Some("messages_per_second");
        }
        let (rate, name) = self.orders_per_second(limits);
        is_spent(self.orders, rate, now).then_some(name)
    }

    /// When a limit that is spent lets the connection go on; `NEVER`: no limit is spent.
    pub(super) fn resumes(&self, limits: &Limits, now: Time) -> Time {
        let orders = next(self.orders, self.orders_per_second(limits).0, now);
        next(self.messages, limits.messages_per_second, now).min(orders)
    }

    /// A message came.
    pub(super) fn note_message(&mut self, limits: &Limits, now: Time) {
        spend(&mut self.messages, limits.messages_per_second, now);
    }

    /// The connection ordered something that costs more than its own answer.
    pub fn charge(&mut self, limits: &Limits, now: Time) {
        let (rate, _) = self.orders_per_second(limits);
        spend(&mut self.orders, rate, now);
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
