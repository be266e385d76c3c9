//! `serve --slow-sql`: a database that is slow on purpose, for experiments. [`Slowed`] delays every statement of a
//! database. [`Artificial`] stands in for a database where there is none.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

use super::{Answer, Failure, Question, Readiness, Store};
use crate::config::ListenAddr;
use crate::protocol::greeting::NoGreeting;
use crate::time::{Now, Time};

/// From the start of one artificial statement to that of the next, if it takes no longer.
const PERIOD: Duration = Duration::from_secs(1);

/// A database each of whose statements takes so much longer. Its limits of statements do not count the delay.
#[derive(Debug)]
pub struct Slowed {
    /// The database.
    pub store: Box<dyn Store>,
    /// The delay before each statement.
    pub delay: Duration,
}

impl Store for Slowed {
    fn readiness(&self, now: Now) -> Readiness {
        self.store.readiness(now)
    }

    fn endpoints(&self) -> &[ListenAddr] {
        self.store.endpoints()
    }

    fn patience(&self) -> Duration {
        self.store.patience()
    }

    fn move_to(&mut self, endpoints: Vec<ListenAddr>) {
        self.store.move_to(endpoints);
    }

    fn probed(&mut self, endpoint: Result<usize, NoGreeting>, now: Now) {
        self.store.probed(endpoint, now);
    }

    fn prepare(&mut self, now: Now) -> Option<&'static str> {
        sleep(self.delay);
        self.store.prepare(now)
    }

    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure> {
        sleep(self.delay);
        self.store.ask(question, now)
    }
}

/// No database. Once a second there is a statement named `slow`, which takes so long and does nothing.
#[derive(Debug)]
pub struct Artificial {
    delay: Duration,
    next: Time,
}

impl Artificial {
    /// One whose statement takes so long.
    pub fn new(delay: Duration) -> Self {
        Self { delay, next: Time(0) }
    }
}

impl Store for Artificial {
    fn readiness(&self, now: Now) -> Readiness {
        match now.at < self.next {
            true => Readiness::Closed(self.next),
            false => Readiness::Preparing,
        }
    }

    fn endpoints(&self) -> &[ListenAddr] {
        &[]
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn move_to(&mut self, _: Vec<ListenAddr>) {}

    fn probed(&mut self, _: Result<usize, NoGreeting>, _: Now) {}

    fn prepare(&mut self, now: Now) -> Option<&'static str> {
        sleep(self.delay);
        self.next = now.at + PERIOD;
        Some("slow")
    }

    fn ask(&mut self, _: &Question, _: Now) -> Result<Answer, Failure> {
        Err(Failure::Unavailable("there is no database".to_owned()))
    }
}

/// Does nothing for so long. A signal that comes meanwhile is handled afterwards, as during a statement.
fn sleep(span: Duration) {
    let end = Instant::now() + span;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // A signal ends this wait before its time. No other failure is possible: the time is valid, and no descriptor
        // is waited for.
        let left = Timespec::try_from(left).ok();
        let _ = poll(&mut [], left.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(20);

    fn at(ms: u64) -> Now {
        Now {
            at: Time(ms * 1000),
            unix_ms: 0,
        }
    }

    #[test]
    fn an_artificial_statement_comes_once_a_second_and_takes_its_time() {
        let mut store = Artificial::new(DELAY);
        let mut statements = Vec::new();
        for ms in (0..3000).step_by(10) {
            match store.readiness(at(ms)) {
                Readiness::Preparing => {
                    let began = Instant::now();
                    assert_eq!(store.prepare(at(ms)), Some("slow"));
                    assert!(began.elapsed() >= DELAY);
                    statements.push(ms);
                }
                Readiness::Closed(until) => assert_eq!(until, at(statements.last().expect("one") + 1000).at),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(statements, [0, 1000, 2000]);
    }

    #[test]
    fn a_slowed_database_delays_questions_and_steps_and_answers_as_before() {
        let mut store = Slowed {
            store: Box::new(Artificial::new(Duration::ZERO)),
            delay: DELAY,
        };
        assert_eq!(store.readiness(at(0)), Readiness::Preparing);
        store.probed(Ok(0), at(0));
        store.move_to(Vec::new());
        assert!(store.endpoints().is_empty() && store.patience().is_zero());
        let began = Instant::now();
        assert_eq!(store.prepare(at(0)), Some("slow"));
        assert!(began.elapsed() >= DELAY);
        let began = Instant::now();
        let answer = store.ask(&Question::Groups, at(0));
        assert!(
            matches!(answer, Err(Failure::Unavailable(_))),
            "the answer is the database's"
        );
        assert!(began.elapsed() >= DELAY);
    }
}
