//! The drain: how a signal ends the process without cutting connections. The connections that exist when it begins are
//! closed one by one, spread over `drain_seconds`. It ends when no connection is left and the webhooks are out, or when
//! its time is over. Last of all the heartbeat of the process is deleted, if the database is at hand, and the other
//! processes of a cluster are told.

use std::time::Duration;

use crate::config::Config;
use crate::flight::Kind;
use crate::id::ConnectionId;
use crate::net::io::Io;
use crate::time::Time;

use super::Flow;
use super::act::Dispatcher;
use super::database::Database;

/// The end of the drain's time, in which the heartbeat of the process is deleted and the cluster is told.
const LEAVING: Duration = Duration::from_secs(1);

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
    /// A successor accepts already: clients may come back at once.
    is_replaced: bool,
    /// Since when nothing is left to wait for but the database and the cluster.
    idle: Option<Time>,
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
            self.abandon();
        }
        self.begin(false, dispatcher)
    }

    /// Ends the loop at once.
    pub(super) fn abandon(&mut self) {
        self.flow = Flow::Abandon;
    }

    /// Begins a drain. `is_replaced`: a successor accepts already. Returns whether it has begun; it may be under way.
    pub(super) fn begin<I: Io>(&mut self, is_replaced: bool, dispatcher: &mut Dispatcher<I>) -> bool {
        if self.run.is_some() {
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
            is_replaced,
            idle: None,
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
            if let Some(over) = entry.and_then(|entry| entry.connection.leave(run.is_replaced, limits, now)) {
                dispatcher.note_end(id, over);
            }
            dispatcher.requeue(id);
        }
        let is_idle = dispatcher.connections.is_empty() && !dispatcher.decisions.service.webhooks().is_busy();
        run.idle = is_idle.then(|| run.idle.unwrap_or(now));
        if due > 0 {
            dispatcher.piece_since(filled, |culprit| culprit.are(Kind::Drain, due));
        }
    }

    /// Ends the drain when it is over. Call it when the database has been asked for the last time in this tick.
    pub(super) fn finish<I: Io>(&mut self, database: &mut Database<I::Socket>, dispatcher: &mut Dispatcher<I>) {
        let Some(run) = &self.run else { return };
        let (now, end) = (dispatcher.now.at, run.end(&dispatcher.config));
        if run.idle.is_none() && now + LEAVING < end {
            return;
        }
        let has_left = dispatcher.decisions.leave_cluster();
        let has_left = database.leave(dispatcher, end.since(now)) && has_left;
        let is_done = run.idle.is_some_and(|since| has_left || now >= since + LEAVING);
        if is_done || now >= end {
            let lost = dispatcher.decisions.service.webhooks().counts().waiting;
            if lost > 0 {
                log::warn!("{lost} webhook events are lost: their targets did not take them");
            }
            self.flow = Flow::Drained;
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

    /// When the drain is over in any case.
    fn end(&self, config: &Config) -> Time {
        let limits = &config.limits;
        self.since + Duration::from_secs(limits.drain_seconds + limits.close_timeout + 1)
    }

    /// When the next connection must be closed, or the end be checked.
    fn next(&self, config: &Config, now: Time) -> Time {
        let all = (self.asked + self.remaining.len()).max(1);
        let span = Duration::from_secs(config.limits.drain_seconds);
        let step = span / u32::try_from(all).unwrap_or(u32::MAX);
        now + step.clamp(Duration::from_millis(5), Duration::from_millis(100))
    }
}
