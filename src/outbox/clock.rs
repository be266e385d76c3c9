//! When the outbox table is polled, and when waiting clients are woken.

use std::time::Duration;

use crate::config::Database;
use crate::time::Time;

/// The pause after a failure of the database. The store has its own breaker, so an attempt costs nothing.
pub(super) const RETRY: Duration = Duration::from_millis(250);

/// The pause after a refusal: a table or a privilege is missing, and the administrator must fix it.
pub(super) const REFUSED: Duration = Duration::from_secs(10);

/// The same where a privilege is missing.
pub(super) const DENIED: Duration = Duration::from_millis(750);

/// After the last row the table is polled fast for this time.
const BUSY: Duration = Duration::from_secs(1);

/// After this time without a row the pause between two polls doubles.
const STILL: Duration = Duration::from_secs(60);

/// The pause between two polls while no client is connected. The database closes a connection that is silent for 10 s.
const ALONE: Duration = Duration::from_secs(2);

/// The shortest time between two times at which waiting clients are woken.
const WAKE_EVERY: Duration = Duration::from_millis(50);

/// How often rows are dropped that no client needs any more.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// No question is asked before this time.
    pub(super) retry: Time,
    pub(super) poll: Time,
    forget: Time,
    /// No client is connected.
    pub(super) alone: bool,
    /// The lowest number above the newest row for which a client waits, and the latest time for its answer.
    pub(super) above: (u64, Time),
    /// Waiting clients may get an answer; below: when they were last woken.
    pub(super) wake: bool,
    woke: Time,
    /// When the whole table was last read.
    pub(super) caught_up: Time,
    /// Until when the table is polled fast.
    busy: Time,
    /// No look is taken before this time: the account has sent many statements in this hour.
    pub(super) held: Time,
    fast: Duration,
    slow: Duration,
}

impl Clock {
    pub(super) fn set_pauses(&mut self, settings: &Database) {
        self.fast = Duration::from_millis(settings.poll_ms);
        self.slow = Duration::from_millis(settings.idle_poll_ms);
    }

    /// The pause between two polls.
    pub(super) fn pause(&self, now: Time) -> Duration {
        match (self.alone, now < self.busy) {
            (true, _) => ALONE,
            (false, true) => self.fast,
            (false, false) if now < self.busy + STILL => self.slow,
            (false, false) => (self.slow * 2).min(ALONE).max(self.slow),
        }
    }

    /// When the next poll is due. If there are rows behind the last one (`is_behind`), the poll reads them; else it
    /// looks for new rows.
    pub(super) fn poll_or_look(&self, is_behind: bool) -> Time {
        match is_behind {
            true => self.poll,
            false => self.poll.max(self.held),
        }
    }

    /// Whether it is time to drop unneeded rows.
    pub(super) fn forgets(&mut self, now: Time) -> bool {
        let due = self.forget <= now;
        if due {
            self.forget = now + FORGET_EVERY;
        }
        due
    }

    /// Rows arrived, or are expected.
    pub(super) fn hurry(&mut self, now: Time) {
        self.busy = now + BUSY;
        self.poll = self.poll.min(now + self.fast);
    }

    /// Whether waiting clients are woken now. This checks all of them. So while other answers are `expected`, one
    /// wake-up serves many answers.
    pub(super) fn wakes(&mut self, expected: bool, now: Time) -> bool {
        let due = self.wake && (!expected || now >= self.woke + WAKE_EVERY);
        if due {
            (self.wake, self.woke) = (false, now);
        }
        due
    }
}
