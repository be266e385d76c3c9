//! Decides when a database may be tried again. After a failure nothing is tried until an instant; each further failure
//! moves this instant further away. The breaker is pure: the time and the jitter are arguments, and it connects to
//! nothing.
//!
//! A connection that worked for a while and then fails may be tried again at once. Its failure does not yet mean that
//! the server is in trouble: a connection ends after an idle night, at a restart or at a fail-over. A connection that
//! fails soon after a success has to wait. Otherwise a database that accepts connections and then hangs would stall the
//! loop over and over. A try without a cost is repeated after the same short pause, so that a database that
//! comes back is found at once.

use std::time::Duration;

use crate::logging::RareLine;
use crate::time::Time;

/// The wait after the first failure in a row. Each further failure doubles it, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait. A database that comes back is noticed within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// The wait after a failure that cost nothing.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a success has to last until earlier failures are forgotten.
const STEADY: Duration = Duration::from_secs(10);

/// The shortest time between two log lines.
const QUIET: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that are not forgotten yet.
    failures: u32,
    state: State,
    /// The log line about failures.
    line: RareLine,
}

/// The cost of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The loop did not wait, and the server does not count the try.
    Nothing,
    /// The loop did not wait for long.
    Little,
    /// The loop stood still.
    Much,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// There was no try yet.
    #[default]
    Fresh,
    /// The tries have succeeded since this instant.
    Closed(Time),
    /// The last try failed, and there is no new one before this instant.
    Open(Time),
}

impl Breaker {
    /// `None`: a try may be made now. Otherwise the instant from which it may be made.
    pub fn wait(&self, now: Time) -> Option<Time> {
        match self.state {
            State::Open(until) if now < until => Some(until),
            _ => None,
        }
    }

    /// Notes a failure. `jitter` is a number from 0 to 1; it changes the wait by up to a quarter, shorter or longer, so
    /// that many servers do not return to one database at the same moment.
    pub fn fail(&mut self, cost: Cost, now: Time, jitter: f64) {
        let was_steady = self.was_steady(now);
        if was_steady {
            self.failures = 0;
        }
        let wait = match cost {
            Cost::Nothing | Cost::Little if was_steady => Duration::ZERO,
            Cost::Nothing => PAUSE,
            Cost::Little | Cost::Much => {
                self.failures = self.failures.saturating_add(1);
                FIRST.saturating_mul(1 << (self.failures - 1).min(5)).min(LONGEST)
            }
        };
        self.state = State::Open(now + wait.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0));
    }

    /// Notes a success. Earlier failures are forgotten only when the success lasts.
    pub fn succeed(&mut self, now: Time) {
        if !matches!(self.state, State::Closed(_)) {
            self.state = State::Closed(now);
        }
    }

    /// Forgets all failures, because they were those of another server.
    pub fn forget(&mut self) {
        self.failures = 0;
        self.state = State::Fresh;
    }

    /// Whether the last failure may be logged. If so: the number of failures since the last line that were not logged.
    pub fn may_speak(&mut self, now: Time) -> Option<u64> {
        self.line.allow(QUIET, now)
    }

    fn was_steady(&self, now: Time) -> bool {
        matches!(self.state, State::Closed(since) if now.since(since) >= STEADY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1000)
    }

    /// Milliseconds that a breaker waits when it fails again at the end of each wait.
    fn waits(breaker: &mut Breaker, mut now: Time, jitter: f64, count: usize) -> Vec<u128> {
        let mut waits = Vec::new();
        for _ in 0..count {
            breaker.fail(Cost::Little, now, jitter);
            let until = breaker.wait(now).expect("the breaker waits");
            waits.push(until.since(now).as_millis());
            now = until;
            assert_eq!(breaker.wait(now), None, "a try may be made at the instant itself");
        }
        waits
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let expected = [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        assert_eq!(waits(&mut Breaker::default(), at(0), 0.5, 7), expected);
    }

    #[test]
    fn jitter_changes_a_wait_by_at_most_a_quarter() {
        assert_eq!(waits(&mut Breaker::default(), at(0), 0.0, 2), [750, 1500]);
        assert_eq!(waits(&mut Breaker::default(), at(0), 1.0, 2), [1250, 2500]);
        assert_eq!(waits(&mut Breaker::default(), at(0), 7.0, 1), [1250]);
        assert_eq!(waits(&mut Breaker::default(), at(0), -7.0, 1), [750]);
    }

    #[test]
    fn a_connection_that_worked_for_long_is_tried_again_at_once_but_only_once() {
        let mut breaker = Breaker::default();
        breaker.succeed(at(0));
        breaker.succeed(at(9_999));
        breaker.fail(Cost::Little, at(10_000), 0.5);
        assert_eq!(breaker.wait(at(10_000)), None);
        assert_eq!(waits(&mut breaker, at(10_000), 0.5, 2), [1000, 2000]);
    }

    #[test]
    fn waits_go_on_doubling_after_a_short_success() {
        let mut breaker = Breaker::default();
        assert_eq!(waits(&mut breaker, at(0), 0.5, 2), [1000, 2000]);
        breaker.succeed(at(3000));
        breaker.fail(Cost::Little, at(3100), 0.5);
        assert_eq!(breaker.wait(at(3100)), Some(at(7100)));
        breaker.succeed(at(8000));
        breaker.fail(Cost::Little, at(18_000), 0.5);
        assert_eq!(breaker.wait(at(18_000)), None, "a success of ten seconds");
        assert_eq!(
            waits(&mut breaker, at(18_000), 0.5, 1),
            [1000],
            "makes the breaker forget earlier failures"
        );
    }

    #[test]
    fn an_expensive_failure_causes_a_wait_even_after_a_long_success() {
        let mut breaker = Breaker::default();
        assert_eq!(waits(&mut breaker, at(0), 0.5, 3), [1000, 2000, 4000]);
        breaker.succeed(at(8000));
        breaker.fail(Cost::Much, at(20_000), 0.5);
        assert_eq!(breaker.wait(at(20_000)), Some(at(21_000)));
    }

    #[test]
    fn every_failure_without_a_cost_has_the_same_short_wait() {
        let mut breaker = Breaker::default();
        for n in 0..100 {
            breaker.fail(Cost::Nothing, at(n * 1000), 0.5);
            assert_eq!(breaker.wait(at(n * 1000)), Some(at(n * 1000 + 500)));
        }
        assert_eq!(
            waits(&mut breaker, at(100_000), 0.5, 2),
            [1000, 2000],
            "failures without a cost do not lengthen later waits"
        );
        breaker.succeed(at(110_000));
        breaker.fail(Cost::Nothing, at(120_000), 0.5);
        assert_eq!(breaker.wait(at(120_000)), None);
    }

    #[test]
    fn failures_of_another_server_are_forgotten() {
        let mut breaker = Breaker::default();
        assert_eq!(waits(&mut breaker, at(0), 0.5, 3), [1000, 2000, 4000]);
        breaker.fail(Cost::Little, at(7000), 0.5);
        breaker.forget();
        assert_eq!(breaker.wait(at(7000)), None);
        assert_eq!(waits(&mut breaker, at(7000), 0.5, 2), [1000, 2000]);
    }

    #[test]
    fn a_failure_is_logged_once_a_minute_and_the_rest_is_counted() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.may_speak(at(0)), Some(0));
        assert_eq!(breaker.may_speak(at(59_999)), None);
        assert_eq!(breaker.may_speak(at(59_999)), None);
        assert_eq!(breaker.may_speak(at(60_000)), Some(2));
        assert_eq!(breaker.may_speak(at(120_000)), Some(0));
    }
}
