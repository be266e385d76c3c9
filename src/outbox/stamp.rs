//! Gives rows their numbers: claims the lock of the counter, puts the waiting rows in order, writes the numbers and
//! commits them with the position. Control rows come first, so no row that was committed after a control row gets a
//! lower number.
//!
//! Each transaction is two questions, and the loop may turn once between them. While the lock is held, no other
//! question is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::logging::RareLine;
use crate::protocol::position::Place;
use crate::store::{Claimed, Look, Question};
use crate::time::Time;

/// The most rows of one stamp: 5 ms of the database's time.
const MOST: u32 = 200;

/// For how long a row, or the whole table, is skipped after it was found locked.
const LOCKED: Duration = Duration::from_millis(250);

/// The time between two attempts after one that met a lock: if the whole table is locked, each row is tried.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// The most locked rows that are remembered.
const MOST_LOCKED: usize = 1000;

/// The first pause after another process was found to hold the counter's lock.
const MOMENT: Duration = Duration::from_millis(5);

/// For how long another process may hold the counter's lock before this is logged.
const LOCK_MAX: Duration = Duration::from_secs(1);

/// The shortest time between two log lines about that.
const QUIET: Duration = Duration::from_secs(60);

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Stamper {
    /// The look that finds the waiting rows.
    wanted: Option<Look>,
    /// No lock is claimed before this time.
    at: Time,
    /// Rows that another transaction has locked, or may have. Rows are then stamped one by one, and these rows are
    /// skipped until the time given.
    careful: Option<(BTreeSet<u64>, Time)>,
    /// Since when the counter's lock was not available, and the log line about that.
    locked_since: Option<Time>,
    said: RareLine,
}

impl Stamper {
    /// Rows wait where this look found them. A row in front is found again at the next poll, a row behind only a second
    /// later.
    pub(super) fn want(&mut self, look: Look) {
        if let None | Some(Look::Front(_)) = self.wanted {
            self.wanted = Some(look);
        }
    }

    /// When [`Self::question`] has a question.
    pub(super) fn due(&self) -> Time {
        match self.wanted {
            Some(_) => self.at,
            None => Time::NEVER,
        }
    }

    /// The question for the lock and the waiting rows.
    pub(super) fn question(&mut self, now: Time) -> Option<Question> {
        let look = self.wanted.filter(|_| self.at <= now)?;
        self.at = now + LOCKED; // in case the answer is lost
        let (limit, ensure) = (MOST, false);
        Some(Question::Claim { look, limit, ensure })
    }

    /// Another process has the lock. It stamps the same rows, which takes a moment. Returns when to look again: soon,
    /// and after twice the pause each time, up to that between two polls.
    pub(super) fn is_locked_out(&mut self, poll: Duration, now: Time) -> Time {
        let since = *self.locked_since.get_or_insert(now);
        self.at = now + now.since(since).max(MOMENT).min(poll);
        if now.since(since) > LOCK_MAX && self.said.allow(QUIET, now).is_some() {
            log::warn!(
                "another process holds the outbox's counter for {:.1} s: no row gets a number meanwhile",
                now.since(since).as_secs_f64()
            );
        }
        self.at
    }

    /// Whether rows wait for a number.
    pub(super) fn has_rows(&self) -> bool {
        self.wanted.is_some()
    }

    /// For how long the counter's lock was not available.
    pub(super) fn locked_for(&self, now: Time) -> Duration {
        self.locked_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The lock is held. Returns the question that writes the numbers behind the row `last`.
    pub(super) fn order(&mut self, claimed: &Claimed, epoch: u32, last: Place, now: Time) -> Question {
        (self.locked_since, self.at) = (None, now);
        let most = MOST as usize;
        let is_control = |id: &u64| claimed.control.contains(id);
        let others = claimed.ids.iter().filter(|id| !is_control(id));
        // If control rows alone fill a stamp, there may be more of them, and other rows must not overtake those.
        let others = others.take(most.saturating_sub(claimed.control.len()));
        let mut ids: Vec<u64> = claimed.control.iter().chain(others).copied().collect();
        let is_full = ids.len() >= most;
        if let Some((locked, until)) = &mut self.careful {
            if *until <= now {
                locked.clear();
            }
            // A locked control row holds up all rows behind it; any other locked row holds up only itself.
            if claimed.control.iter().any(|id| locked.contains(id)) {
                ids.clear();
            }
            ids.retain(|id| !locked.contains(id));
            ids.truncate(1);
        }
        if ids.is_empty() {
            self.settle(now);
            return Question::Release;
        }
        if !is_full && self.careful.is_none() {
            // The stamp has all waiting rows. If it fails, the next look finds them again.
            self.wanted = None;
        }
        let (first, mark) = (last.seq + 1, claimed.tables.now_ms);
        Question::Stamp {
            ids,
            epoch,
            first,
            mark,
        }
    }

    /// No row is left that could be stamped: locked rows are tried again a little later.
    fn settle(&mut self, now: Time) {
        match &self.careful {
            Some((locked, _)) if !locked.is_empty() => self.at = now + LOCKED,
            _ => (self.careful, self.wanted) = (None, None),
        }
    }

    /// Another transaction has locked one of these rows or the table, or has changed a row meanwhile.
    pub(super) fn met_lock(&mut self, ids: &[u64], look: Look, now: Time) {
        self.want(look);
        let (locked, until) = self.careful.get_or_insert_default();
        *until = now + LOCKED;
        if let [id] = ids {
            locked.insert(*id);
        }
        if locked.len() > MOST_LOCKED {
            locked.clear();
        }
        self.at = now + TRY_EVERY;
    }

    /// Drops the waiting rows. The next look finds them again.
    pub(super) fn reset(&mut self) {
        (self.wanted, self.careful, self.locked_since) = (None, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Checked;

    fn claimed(control: &[u64], ids: &[u64]) -> Claimed {
        let tables = Checked {
            now_ms: 77,
            ..Checked::default()
        };
        let (ids, control) = (ids.to_vec(), control.to_vec());
        Claimed { tables, ids, control }
    }

    /// The ids that are written next.
    fn order(stamper: &mut Stamper, claimed: &Claimed, ms: u64) -> Vec<u64> {
        stamper.want(Look::Behind);
        match stamper.order(claimed, 1, Place { seq: 9, mark: 0 }, Time(ms * 1000)) {
            Question::Stamp { ids, first, mark, .. } => {
                assert_eq!((first, mark), (10, 77));
                ids
            }
            Question::Release => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn control_rows_come_first_and_no_row_overtakes_control_rows_of_the_next_stamp() {
        let mut stamper = Stamper::default();
        assert_eq!(order(&mut stamper, &claimed(&[5, 8], &[3, 5, 6, 8]), 0), [5, 8, 3, 6]);
        assert_eq!(stamper.due(), Time::NEVER, "the stamp has all waiting rows");
        let many: Vec<u64> = (100..100 + u64::from(MOST)).collect();
        assert_eq!(order(&mut stamper, &claimed(&many, &[1, 2]), 0), many);
        assert_ne!(stamper.due(), Time::NEVER, "more rows wait");
        let ids = order(&mut stamper, &claimed(&[5], &many), 0);
        assert_eq!((ids.len(), ids[0], ids[1]), (many.len(), 5, 100));
        assert_eq!(order(&mut stamper, &claimed(&[], &[]), 0), [0; 0]);
        assert_eq!(stamper.due(), Time::NEVER);
    }

    #[test]
    fn a_locked_row_is_skipped_and_a_locked_control_row_delays_all_others() {
        let mut stamper = Stamper::default();
        let rows = claimed(&[], &[1, 2, 3]);
        let met = |stamper: &mut Stamper, ids: &[u64], ms: u64| stamper.met_lock(ids, Look::Behind, Time(ms * 1000));
        assert_eq!(order(&mut stamper, &rows, 0), [1, 2, 3]);
        met(&mut stamper, &[1, 2, 3], 0);
        assert_eq!(order(&mut stamper, &rows, 0), [1], "rows are stamped one by one");
        met(&mut stamper, &[1], 0);
        assert_eq!(order(&mut stamper, &rows, 0), [2]);
        assert_eq!(order(&mut stamper, &claimed(&[], &[1, 3]), 0), [3]);
        assert_eq!(order(&mut stamper, &claimed(&[], &[1]), 0), [0; 0]);
        assert_eq!(
            stamper.due(),
            Time(250_000),
            "the locked row is tried again a little later"
        );
        assert_eq!(order(&mut stamper, &claimed(&[], &[1]), 250), [1]);
        assert_eq!(order(&mut stamper, &claimed(&[], &[]), 250), [0; 0]);
        assert_eq!(
            order(&mut stamper, &rows, 260),
            [1, 2, 3],
            "the rows are stamped together again"
        );
        met(&mut stamper, &[4, 1], 300);
        assert_eq!(order(&mut stamper, &claimed(&[4], &[1]), 300), [4]);
        met(&mut stamper, &[4], 300);
        assert_eq!(order(&mut stamper, &claimed(&[4], &[1]), 300), [0; 0]);
    }
}
