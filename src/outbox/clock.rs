//! When the outbox table is polled, and when clients that wait for an answer are woken.

use std::time::Duration;

use crate::config::Database;
use crate::time::Time;

/// After the last row it is polled fast for so long.
const BUSY: Duration = Duration::from_secs(1);

/// After so long without a row nobody is in a conversation, and the pause between two polls doubles.
const STILL: Duration = Duration::from_secs(60);

/// Between two polls while nobody is connected. The database closes a connection that is silent for 10 s.
const ALONE: Duration = Duration::from_secs(2);

/// The least between two times at which clients that wait are woken.
const WAKE_EVERY: Duration = Duration::from_millis(50);

/// How often rows are forgotten that no client wants any more.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// See the file.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Nothing is asked before it.
    pub(super) retry: Time,
    pub(super) poll: Time,
    forget: Time,
    /// Nobody is connected.
    pub(super) alone: bool,
    /// The lowest number above the newest row that a client waits for, and when it is to be answered at the latest.
    pub(super) above: (u64, Time),
    /// Clients that wait may be answered, and when they were woken last.
    pub(super) wake: bool,
    woke: Time,
    /// When everything in the table was last read.
    pub(super) caught_up: Time,
    /// Until when it is polled fast.
    busy: Time,
    /// The table is not looked at before it: the account has asked much in this hour.
    pub(super) held: Time,
    fast: Duration,
    slow: Duration,
}

impl Clock {
    pub(super) fn set_pauses(&mut self, settings: &Database) {
        self.fast = Duration::from_millis(settings.poll_ms);
        self.slow = Duration::from_millis(settings.idle_poll_ms);
    }

    /// Between two polls.
    pub(super) fn pause(&self, now: Time) -> Duration {
        match (self.alone, now < self.busy) {
            (true, _) => ALONE,
            (false, true) => self.fast,
            (false, false) if now < self.busy + STILL => self.slow,
            (false, false) => (self.slow * 2).min(ALONE).max(self.slow),
        }
    }

    /// When the rows behind the last one are to be read, if there are any (`is_behind`), or the table is to be looked
    /// at.
    pub(super) fn poll_or_look(&self, is_behind: bool) -> Time {
        match is_behind {
            true => self.poll,
            false => self.poll.max(self.held),
        }
    }

    /// Whether it is time to forget.
    pub(super) fn forgets(&mut self, now: Time) -> bool {
        let due = self.forget <= now;
        if due {
            self.forget = now + FORGET_EVERY;
        }
        due
    }

    /// Rows came, or are expected.
    pub(super) fn hurry(&mut self, now: Time) {
        self.busy = now + BUSY;
        self.poll = self.poll.min(now + self.fast);
    }

    /// Whether clients that wait are woken now. Waking looks at each of them, so it is done once for many answers, as
    /// long as others are `expected`.
    pub(super) fn wakes(&mut self, expected: bool, now: Time) -> bool {
        let due = self.wake && (!expected || now >= self.woke + WAKE_EVERY);
        if due {
            (self.wake, self.woke) = (false, now);
        }
        due
    }
}
