//! When the site's groups, view levels, rules and extensions are read: in rounds of four questions. A round begins when
//! a control row reports a change, and two more begin a little later. Without a control row a round begins before the
//! sweep interval is over.
//!
//! Rejected: [`Refresh`](crate::protocol::refresh::Refresh). It spreads many facts, each with one next time. Here all
//! parts are read together, and several rounds may be requested at once.

use std::time::Duration;

use super::control::AGAIN;
use crate::store::{Failure, Question};
use crate::time::{Now, Time};

/// How often the rights are read while the site is switched off: no control row reports that it is switched on again.
const OFTEN: Duration = Duration::from_secs(2);

/// The pause before a part that could not be read is asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// The pause after a part got no answer. Without it, a database that answers none of these questions would be asked in
/// every tick.
const LOST: Duration = Duration::from_millis(100);

/// How long the outbox waits for rights that changed. Without this wait, control rows could keep a slow database from
/// ever answering. It is longer than a few round trips, and short compared with the wait for a database that does not
/// answer.
const PRESSING: Duration = Duration::from_secs(1);

/// The most requested rounds.
const MOST_ROUNDS: usize = 16;

/// The questions of a round.
const PARTS: [Question; 4] = [
    Question::Extensions,
    Question::Groups,
    Question::Levels,
    Question::Assets,
];

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The next of [`PARTS`] in this round; behind the last one: the round is over.
    next: usize,
    /// The next rounds that control rows requested.
    requested: Vec<Time>,
    /// When the next round begins without a control row.
    sweep: Time,
    waits: bool,
    retry: Time,
    interval: Duration,
    often: bool,
    /// When a control row reported a change, if no round that began later has ended.
    doubted: Option<Time>,
}

impl Rounds {
    /// The first round is due at once. `interval`: the sweep interval.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            next: 0,
            requested: Vec::new(),
            sweep: Time::NEVER,
            waits: false,
            retry: Time::default(),
            interval,
            often: false,
            doubted: None,
        }
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Sets whether the rounds come often, from the end of the next round on.
    pub(super) fn set_often(&mut self, often: bool) {
        self.often = often;
    }

    /// Whether a control row reported a change, and no round that began later has ended.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// Whether this has lasted only a short time and the next question is due. Then the rights are read before the
    /// outbox.
    pub(super) fn is_pressing(&self, now: Now) -> bool {
        let is_due = !self.waits && self.retry <= now.at;
        is_due && self.doubted.is_some_and(|since| now.at.since(since) < PRESSING)
    }

    /// A control row reported a change.
    pub(super) fn suspect(&mut self, now: Now) {
        self.doubted.get_or_insert(now.at);
        if self.next < PARTS.len() {
            // The parts that this round has read may be from before the change.
            self.next = 0;
        }
        self.requested.push(now.at);
        self.requested.extend(AGAIN.map(|wait| now.at + wait));
        self.requested.sort_unstable();
        // A hundred control rows request only a few rounds; the last rounds matter.
        let surplus = self.requested.len().saturating_sub(MOST_ROUNDS);
        self.requested.drain(1..=surplus);
    }

    /// The next question, if one is due.
    pub(super) fn question(&mut self, now: Now) -> Option<Question> {
        if self.due() > now.at {
            return None;
        }
        if self.next == PARTS.len() {
            self.requested.retain(|at| *at > now.at);
            self.sweep = Time::NEVER;
            self.next = 0;
        }
        self.waits = true;
        Some(PARTS[self.next].clone())
    }

    /// When the next question is due.
    pub(super) fn due(&self) -> Time {
        let requested = self.requested.first().copied().unwrap_or(Time::NEVER);
        match self.next < PARTS.len() {
            _ if self.waits => Time::NEVER,
            true => self.retry,
            false => requested.min(self.sweep).max(self.retry),
        }
    }

    /// A question has an answer. Returns whether it is the answer to the next part of the round.
    pub(super) fn is_answered(&mut self, question: &Question) -> bool {
        self.waits = false;
        PARTS.get(self.next) == Some(question)
    }

    /// The next part could not be read.
    pub(super) fn failed(&mut self, failure: &Failure, now: Now) {
        let is_lost = matches!(failure, Failure::Unavailable(_));
        self.retry = now.at + if is_lost { LOST } else { RETRY };
    }

    /// The next part was read. Returns whether the round is over.
    pub(super) fn passed(&mut self, now: Now) -> bool {
        self.next += 1;
        let is_over = self.next == PARTS.len();
        if is_over {
            self.doubted = None;
            let usual = self.interval * 8 / 10;
            self.sweep = now.at + if self.often { usual.min(OFTEN) } else { usual };
        }
        is_over
    }
}
