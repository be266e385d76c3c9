//! How much a connection may order: messages, requests and subscriptions a second.

use crate::config::Limits;
use crate::time::Time;

/// What a connection may still order in this second.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowances {
    /// While it speaks HTTP.
    Http { requests: Allowance },
    /// Once it is a WebSocket.
    WebSocket {
        messages: Allowance,
        subscriptions: Allowance,
    },
}

impl Allowances {
    pub(super) fn http(limits: &Limits, now: Time) -> Self {
        Self::Http {
            requests: Allowance::new(limits.requests_per_second, now),
        }
    }

    pub(super) fn websocket(limits: &Limits, now: Time) -> Self {
        Self::WebSocket {
            messages: Allowance::new(limits.messages_per_second, now),
            subscriptions: Allowance::new(limits.subscriptions_per_second, now),
        }
    }

    /// The limit by which more was ordered than may be for now; `resumes` says when there is something again.
    pub(super) fn throttled_by(&mut self, limits: &Limits, now: Time) -> Option<&'static str> {
        match self {
            Self::Http { requests } => requests
                .stays_spent(limits.requests_per_second, now)
                .then_some("requests_per_second"),
            Self::WebSocket {
                messages,
                subscriptions,
            } => {
                if messages.stays_spent(limits.messages_per_second, now) {
                    return Some("messages_per_second");
                }
                subscriptions
                    .stays_spent(limits.subscriptions_per_second, now)
                    .then_some("subscriptions_per_second")
            }
        }
    }

    /// When a limit that is spent lets the connection go on; `NEVER`: none is.
    pub(super) fn resumes(&self, limits: &Limits) -> Time {
        match self {
            Self::Http { requests } => requests.next(limits.requests_per_second),
            Self::WebSocket {
                messages,
                subscriptions,
            } => messages
                .next(limits.messages_per_second)
                .min(subscriptions.next(limits.subscriptions_per_second)),
        }
    }

    /// A message came.
    pub(super) fn note_message(&mut self) {
        if let Self::WebSocket { messages, .. } = self {
            messages.spend();
        }
    }

    /// It ordered something that costs more than its own answer.
    pub(super) fn charge(&mut self) {
        match self {
            Self::Http { requests } => requests.spend(),
            Self::WebSocket { subscriptions, .. } => subscriptions.spend(),
        }
    }
}

/// A token bucket that is filled by the second and holds two seconds' worth; a rate of 0 is no limit. To spend from it
/// reads no clock and divides nothing, since every message does so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    left: u32,
    second: u32,
}

impl Allowance {
    fn new(rate: u32, now: Time) -> Self {
        Self {
            left: rate.saturating_mul(2),
            second: now.seconds() as u32,
        }
    }

    /// Whether nothing is left although there is a limit.
    fn is_spent(&self, rate: u32) -> bool {
        rate > 0 && self.left == 0
    }

    /// The same, after what a new second brought.
    fn stays_spent(&mut self, rate: u32, now: Time) -> bool {
        if self.is_spent(rate) {
            let second = now.seconds() as u32;
            let brought = rate.saturating_mul(second.saturating_sub(self.second));
            self.left = brought.min(rate.saturating_mul(2));
            self.second = second;
        }
        self.is_spent(rate)
    }

    fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// When a spent one has something again; `NEVER` when it is not spent.
    fn next(&self, rate: u32) -> Time {
        match self.is_spent(rate) {
            true => Time((u64::from(self.second) + 1) * 1_000_000),
            false => Time::NEVER,
        }
    }
}
