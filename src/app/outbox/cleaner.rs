//! Retention: rows that every live process has seen, and this one for long enough, are deleted in small ranges by key, by one
//! process at a time. What is out of reach from then on is written before anything is deleted.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::table::{DELETED_TO, Table};
use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Question};
use crate::time::Time;

/// Ids of one statement.
const AT_ONCE: u64 = 1000;

/// Between two statements, so that ten thousand rows a second can be deleted and the loop hardly notices.
const PAUSE: Duration = Duration::from_millis(50);

/// Statements until the lowest row is looked for again: ids may lie far apart.
const ROUNDS: u32 = 8;

/// How often is looked whether there is something to delete.
const EVERY: Duration = Duration::from_secs(10);

/// After somebody else was deleting, or held a lock.
const LATER: Duration = Duration::from_secs(60);

/// The deleter of this process.
#[derive(Debug)]
pub(super) struct Cleaner {
    step: Step,
    at: Time,
    /// Ranges that were deleted.
    pub(super) ranges: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing to do before `at`.
    Idle,
    /// Ask for the lock.
    Lock,
    /// Hold it; see how things are now.
    Look,
    /// Write what will be out of reach.
    Mark { from: u64, to: u64 },
    /// Delete.
    Delete { from: u64, to: u64, rounds: u32 },
    /// Give the lock back, and wait for this long.
    Unlock(Duration),
}

impl Cleaner {
    pub(super) fn new() -> Self {
        Self {
            step: Step::Idle,
            at: Time::default(),
            ranges: 0,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.at
    }

    /// Whether a state is wanted, which [`Self::look`] is then told.
    pub(super) fn is_looking(&self) -> bool {
        self.step == Step::Look
    }

    /// Something could be deleted: rows from `lowest` on, which this process has seen for long enough up to `seen`.
    pub(super) fn consider(&mut self, lowest: Option<u64>, seen: Option<u64>, now: Time) {
        if self.step == Step::Idle && self.at <= now {
            let due = lowest.zip(seen).is_some_and(|(lowest, seen)| lowest <= seen);
            match due {
                true => self.step = Step::Lock,
                false => self.at = now + EVERY,
            }
        }
    }

    /// The state as it is while this process is the deleter.
    pub(super) fn look(&mut self, table: &Table, seen: Option<u64>, now: Time) {
        if self.step != Step::Look {
            return;
        }
        let to = seen.map(|seen| table.lowest_fresh().map_or(seen, |lowest| lowest.min(seen)));
        self.at = now;
        self.step = match table.state.lowest.zip(to) {
            Some((from, to)) if from <= to && to > table.deleted_to => Step::Mark { from, to },
            Some((from, to)) if from <= to => Step::Delete { from, to, rounds: 0 },
            _ => Step::Unlock(EVERY),
        };
    }

    pub(super) fn question(&mut self, epoch: u32, now: Time) -> Option<Question> {
        if self.at > now {
            return None;
        }
        // Should the answer be lost it is asked again.
        let question = match &self.step {
            Step::Idle | Step::Look => return None,
            Step::Lock => Question::Lock,
            Step::Mark { to, .. } => Question::Write {
                name: DELETED_TO.into(),
                value: Position::Outbox { epoch, row: *to }.to_string(),
            },
            Step::Delete { from, to, .. } => Question::Delete(range(*from, *to)),
            Step::Unlock(_) => Question::Unlock,
        };
        self.at = now + Duration::from_secs(1);
        Some(question)
    }

    /// What came of a question. Rows up to the id that is returned may be deleted from now on.
    pub(super) fn answer(&mut self, answer: &Result<Answer, Failure>, now: Time) -> Option<u64> {
        self.at = now;
        let (step, deleted_to) = match (&self.step, answer) {
            // The lock was the connection's.
            (_, Err(Failure::Unavailable(_))) => (Step::Idle, None),
            (Step::Lock, Ok(Answer::Lock(true))) => (Step::Look, None),
            (Step::Lock | Step::Unlock(_), Err(_)) => (Step::Idle, None),
            (Step::Lock, Ok(_)) => (Step::Idle, None),
            (Step::Unlock(_), Ok(_)) => (Step::Idle, None),
            (_, Err(_)) => (Step::Unlock(LATER), None),
            (Step::Mark { from, to }, Ok(_)) => {
                let (from, to) = (*from, *to);
                (Step::Delete { from, to, rounds: 0 }, Some(to))
            }
            (Step::Delete { from, to, rounds }, Ok(_)) => {
                self.ranges += 1;
                let (next, rounds) = (range(*from, *to).end() + 1, rounds + 1);
                let to = *to;
                let step = match (next > to, rounds >= ROUNDS) {
                    (true, _) => Step::Unlock(EVERY),
                    (_, true) => Step::Look,
                    _ => Step::Delete { from: next, to, rounds },
                };
                (step, None)
            }
            (Step::Idle | Step::Look, Ok(_)) => (self.step.clone(), None),
        };
        self.at = match (&self.step, &step) {
            (Step::Unlock(pause), Step::Idle) => now + *pause,
            (_, Step::Idle) => now + LATER,
            (_, Step::Delete { .. }) => now + PAUSE,
            _ => now,
        };
        self.step = step;
        deleted_to
    }

    /// The epoch changed: what was to be deleted is something else now.
    pub(super) fn reset(&mut self) {
        self.at = Time::default();
        if self.step != Step::Idle {
            self.step = Step::Unlock(EVERY);
        }
    }
}

fn range(from: u64, to: u64) -> RangeInclusive<u64> {
    from..=to.min(from.saturating_add(AT_ONCE - 1))
}
