//! Retention: deletes rows that were stamped long enough ago, and the heartbeats of processes that are gone. It deletes
//! a few rows at a time, and only one process deletes at a time. Each deletion is two questions, like a stamp. A
//! deletion that would have to wait for a lock is postponed. The heartbeat of this process shows PHP that a server is
//! running.

use std::time::Duration;

use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Old, Question};
use crate::time::Time;

/// The most rows of one transaction: 3 ms of the database's time.
const AT_ONCE: u32 = 50;

/// The pause between two transactions: some 900 rows a second are deleted, with hardly any delay for the loop.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the process looks for rows to delete, and how often it writes its heartbeat. PHP treats a process without
/// a heartbeat for a minute as dead.
const EVERY: Duration = Duration::from_secs(10);

/// The same while no client is connected: seldom, but often enough for PHP.
const EVERY_ALONE: Duration = Duration::from_secs(30);

/// After this many seconds the heartbeat of a process is deleted.
const DEAD: u64 = 600;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    clean_at: Time,
    beat_at: Time,
    /// Whether the table has had a heartbeat of this process.
    pub(super) has_beaten: bool,
    /// The number of deleted rows.
    pub(super) deleted: u64,
}

impl Cleaner {
    /// The first client has connected: the next question is due no later than usual.
    pub(super) fn hurry(&mut self, now: Time) {
        self.clean_at = self.clean_at.min(now + EVERY);
        self.beat_at = self.beat_at.min(now + EVERY);
    }

    /// When the next question is due.
    pub(super) fn due(&self) -> Time {
        self.clean_at.min(self.beat_at)
    }

    /// Writes the heartbeat of this process, or asks for rows older than `retention`. If the answer is lost, the
    /// question is due again after a while. `alone`: no client is connected.
    pub(super) fn question(
        &mut self,
        process: u32,
        position: Position,
        retention: u64,
        alone: bool,
        now: Time,
    ) -> Option<Question> {
        let every = if alone { EVERY_ALONE } else { EVERY };
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

    /// Handles an answer. Returns the question that ends the transaction, if one is open. A failed question becomes due
    /// again without further action.
    pub(super) fn answer(
        &mut self,
        question: &Question,
        answer: Result<Answer, Failure>,
        now: Time,
    ) -> Option<Question> {
        match (question, answer) {
            (Question::Beat { .. }, Ok(_)) => {
                self.has_beaten = true;
                None
            }
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
