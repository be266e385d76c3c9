//! The drain: how a signal ends the process without cutting connections. The connections that exist when it begins are
//! closed one by one, spread over `drain_seconds`. It ends when no connection is left and the webhooks are out, or when
//! its time is over.

use std::time::Duration;

use crate::config::Config;
use crate::flight::Kind;
use crate::id::ConnectionId;
use crate::net::io::Io;
use crate::time::Time;

use super::Flow;
use super::act::Dispatcher;

/// Whether the loop goes on, and a drain that is under way.
#[derive(Debug)]
pub(super) struct Drain {
    flow: Flow,
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    since: Time,
    /// Connections that existed when it began and have not been asked to leave yet.
    remaining: Vec<ConnectionId>,
    /// How many connections were asked.
    asked: usize,
}

impl Drain {
    pub(super) fn new() -> Self {
        Self {
            flow: Flow::Continue,
            run: None,
        }
    }

    pub(super) fn flow(&self) -> Flow {
        self.flow
    }

    /// Handles a signal to terminate. The first one begins a drain, the second one ends the loop. Returns whether a
    /// drain has begun.
    pub(super) fn terminate<I: Io>(&mut self, dispatcher: &mut Dispatcher<I>) -> bool {
        if self.run.is_some() {
            self.flow = Flow::Abandon;
            return false;
        }
        log::info!(
            "draining {} connections over {} s",
            dispatcher.connections.len(),
            dispatcher.config.limits.drain_seconds
        );
        dispatcher.drain();
        self.run = Some(Run {
            since: dispatcher.now.at,
            remaining: dispatcher.connections.ids().collect(),
            asked: 0,
        });
        true
    }

    /// Closes the connections that are due by now, and ends the drain when it is over.
    pub(super) fn drain_step<I: Io>(&mut self, dispatcher: &mut Dispatcher<I>) {
        let Some(run) = &mut self.run else { return };
        let now = dispatcher.now.at;
        let filled = dispatcher.connections.dirty.len();
        let due = run.due(&dispatcher.config, now);
        for _ in 0..due {
            let Some(id) = run.remaining.pop() else { break };
            run.asked += 1;
            let limits = &dispatcher.config.limits;
            let entry = dispatcher.connections.find(id);
            if let Some(over) = entry.and_then(|entry| entry.connection.leave(limits, now)) {
                dispatcher.note_end(id, over);
            }
            dispatcher.requeue(id);
        }
        let limits = &dispatcher.config.limits;
        let is_over = now >= run.since + Duration::from_secs(limits.drain_seconds + limits.close_timeout + 1);
        let webhooks = dispatcher.decisions.service.webhooks();
        if dispatcher.connections.is_empty() && !webhooks.is_busy() || is_over {
            let lost = webhooks.counts().waiting;
            if lost > 0 {
                log::warn!("{lost} webhook events are lost: their targets did not take them");
            }
            self.flow = Flow::Drained;
        }
        if due > 0 {
            dispatcher.piece_since(filled, |culprit| culprit.are(Kind::Drain, due));
        }
    }

    /// When `drain_step` has work.
    pub(super) fn next(&self, config: &Config, now: Time) -> Time {
        self.run.as_ref().map_or(Time::NEVER, |run| run.next(config, now))
    }
}

impl Run {
    /// How many of the remaining connections must be asked to leave by `now`.
    fn due(&self, config: &Config, now: Time) -> usize {
        let all = self.asked + self.remaining.len();
        let span = Duration::from_secs(config.limits.drain_seconds).as_micros();
        let gone = now.since(self.since).as_micros();
        // The first connection is closed at once, the last one at the end.
        let by_now = if gone >= span {
            all
        } else {
            (all as u128 * gone / span) as usize + 1
        };
        by_now.min(all) - self.asked
    }

    /// When the next connection must be closed, or the end be checked.
    fn next(&self, config: &Config, now: Time) -> Time {
        let all = (self.asked + self.remaining.len()).max(1);
        let span = Duration::from_secs(config.limits.drain_seconds);
        let step = span / u32::try_from(all).unwrap_or(u32::MAX);
        now + step.clamp(Duration::from_millis(5), Duration::from_millis(100))
    }
}
