//! Retention: rows that were stamped long enough ago are deleted, a few at a time, by one process at a time, and so are
//! the heartbeats of processes that are gone. Each deletion is two questions, as a stamp is. A deletion that would have
//! to wait for a lock is left for later. The heartbeat of this process tells PHP that a server does all this.

use std::time::Duration;

use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Old, Question};
use crate::time::Time;

/// Rows of one transaction: 3 ms of the database's time.
const AT_ONCE: u32 = 50;

/// Between two transactions: some 900 rows a second are deleted, and the loop hardly notices.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the process looks for rows to delete, and how often it writes its heartbeat. PHP treats a process as dead
/// that wrote none for a minute.
const EVERY: Duration = Duration::from_secs(10);

/// … while nobody is connected: seldom, and often enough for PHP.
const EVERY_ALONE: Duration = Duration::from_secs(30);

/// Seconds after which the heartbeat of a process is deleted.
const DEAD: u64 = 600;

/// See the file.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    clean_at: Time,
    beat_at: Time,
    /// Nobody is connected.
    alone: bool,
    /// Rows that were deleted.
    pub(super) deleted: u64,
}

impl Cleaner {
    /// Sets whether nobody is connected. Once somebody is, nothing is put off for longer than usual.
    pub(super) fn set_alone(&mut self, alone: bool, now: Time) {
        if self.alone && !alone {
            self.clean_at = self.clean_at.min(now + EVERY);
            self.beat_at = self.beat_at.min(now + EVERY);
        }
        self.alone = alone;
    }

    /// When there is a question.
    pub(super) fn due(&self) -> Time {
        self.clean_at.min(self.beat_at)
    }

    /// Writes the heartbeat of this process, and asks for what is older than `retention`. Should an answer be lost it
    /// is due again after a while.
    pub(super) fn question(&mut self, process: u32, position: Position, retention: u64, now: Time) -> Option<Question> {
        let every = if self.alone { EVERY_ALONE } else { EVERY };
        if self.beat_at <= now {
            self.beat_at = now + every;
            return Some(Question::Beat { process, position });
        }
        if self.clean_at <= now {
            self.clean_at = now + every;
            let (dead, limit) = (DEAD, AT_ONCE);
            return Some(Question::Old { retention, dead, limit });
        }
        None
    }

    /// What came of a question. Returns the question that ends the transaction, if one is open. A question that failed
    /// is due again by itself.
    pub(super) fn answer(
        &mut self,
        question: &Question,
        answer: Result<Answer, Failure>,
        now: Time,
    ) -> Option<Question> {
        match (question, answer) {
            (_, Ok(Answer::Old(Old { ids, processes }))) => Some(Question::Delete { ids, processes }),
            (Question::Delete { ids, .. }, Ok(_)) => {
                self.deleted += ids.len() as u64;
                if ids.len() >= AT_ONCE as usize {
                    self.clean_at = now + PAUSE;
                }
                None
            }
            (_, Err(Failure::Denied(why) | Failure::Refused(why))) => {
                log::warn!("old rows of the outbox, or heartbeats, stay as they are: {why}");
                None
            }
            _ => None,
        }
    }
}
