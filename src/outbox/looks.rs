//! Where and when committed rows without a number are looked for. A *look in front*, at every poll, finds rows with ids
//! above a `top`: rows that were written a moment ago. A *look behind* finds all rows; once a second it replaces a look
//! in front. It is needed because a row may be uncommitted while its id is in front. While no rows are written, each
//! look is one statement, since the highest id does not change. A look behind takes too long if tens of thousands of
//! rows are in flight or could not be purged yet. Then the looks behind go through the table in windows of ids.
//!
//! Rejected: only the look behind; it took 300 ms beside 200,000 rows in flight. Rejected: only the look in front; it
//! would never find a row that was committed below its top.

use std::time::Duration;

use crate::store::{Look, Looked};
use crate::time::Time;

/// The time between two looks behind, and the shortest time between two changes of the top.
const BEHIND_EVERY: Duration = Duration::from_secs(1);

/// The ids of one window: a few milliseconds if all of them are rows in flight.
const WINDOW: u64 = 20_000;

/// If a look in front takes longer than a round trip to the database by this much, it has passed many rows: the top is
/// too low.
const LOW: Duration = Duration::from_millis(3);

/// This many looks behind read the highest id after rows came. The id that the first one reads is the top at the second
/// one.
const READ_HIGHEST: u8 = 2;

/// For how long after a slow look behind the looks behind use windows.
const WINDOWS_FOR: Duration = Duration::from_secs(10);

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// A look in front covers the ids above this one.
    top: u64,
    /// The highest id at the last look behind. It becomes the top at the next one. So a row that stays uncommitted for
    /// up to a second is still found in front.
    highest: u64,
    /// When the highest id was read last. Windows are more frequent than looks behind and do not read it more often.
    read_at: Time,
    /// The lowest id of a row that the windows of this round have found. It waits for its number, perhaps because none
    /// can be written now.
    waiting: Option<u64>,
    behind_at: Time,
    /// The number of looks behind that have read the highest id since rows came; [`READ_HIGHEST`] of them are enough.
    settled: u8,
    /// The id behind which the next window begins, and until when windows are used.
    windows: Option<(u64, Time)>,
    /// The time that a look may take, besides the round trip to the database.
    budget: Duration,
    /// The round trip to the database in microseconds: the shortest time of a look. The value grows slowly, in case the
    /// round trip has become longer.
    way: Option<u64>,
    /// The time that the last look took.
    last: Option<u64>,
}

impl Looks {
    pub(super) fn set_budget(&mut self, budget: Duration) {
        self.budget = budget;
    }

    /// Whether the last look was short enough for the four round trips of a row to follow without a pause.
    pub(super) fn is_near(&self) -> bool {
        self.last.is_some_and(|last| Duration::from_micros(last) <= self.budget)
    }

    pub(super) fn front(&self) -> Look {
        Look::Front(self.top)
    }

    /// When [`Self::behind`] is due. `poll`: when the next poll is due. A look behind takes the place of a poll, except
    /// with windows.
    pub(super) fn behind_at(&self, poll: Time) -> Time {
        match self.windows {
            Some(_) => self.behind_at,
            None => self.behind_at.max(poll),
        }
    }

    /// The next look behind. `pause`: between two polls. If the answer is lost, the look is due again a second later.
    pub(super) fn behind(&mut self, pause: Duration, now: Time) -> Look {
        self.behind_at = now + BEHIND_EVERY.max(pause);
        match self.windows {
            Some((after, until)) if now < until || after > 0 => Look::Window {
                after,
                to: after.saturating_add(WINDOW),
            },
            _ => {
                self.windows = None;
                match self.settled >= READ_HIGHEST {
                    true => Look::Anywhere,
                    false => Look::Behind,
                }
            }
        }
    }

    /// The rows that a stamp reads after a look has found some: all rows, except with windows. So the rows of one
    /// transaction get their numbers in the order in which they were written. This holds even if the transaction was
    /// open so long that only some of its ids are in front. With windows it holds as a rule, for a transaction that was
    /// open for less than a second.
    pub(super) fn claim(&self, found: Look) -> Look {
        match self.windows {
            None => Look::Behind,
            Some(_) => found,
        }
    }

    /// Handles the answer of a look. `pause`: between two windows.
    pub(super) fn answered(&mut self, look: Look, looked: &Looked, pause: Duration, now: Time) {
        self.last = Some(looked.micros);
        let longer = |way: u64| way.saturating_add(way / 100 + 1);
        let way = self.way.map_or(u64::MAX, longer).min(looked.micros);
        self.way = Some(way);
        let took = Duration::from_micros(looked.micros - way);
        let slow = took > self.budget;
        if looked.found.is_some() || slow || (matches!(look, Look::Front(_)) && took > LOW) {
            self.settled = 0;
        }
        match look {
            Look::Front(_) if slow => {
                // A look behind finds the rows that remain there.
                self.top = self.top.max(self.highest);
                return self.behind_at = self.behind_at.min(now);
            }
            Look::Front(_) => return,
            Look::Anywhere if slow => return self.windows = Some((0, now + WINDOWS_FOR)),
            Look::Anywhere => return,
            Look::Behind if slow => self.windows = Some((0, now + WINDOWS_FOR)),
            Look::Behind if looked.found.is_none() => self.settled = self.settled.saturating_add(1),
            Look::Behind => {}
            Look::Window { .. } => {
                let after = looked.next.map_or(0, |next| next - 1);
                self.windows = self.windows.map(|(_, until)| (after, until));
                self.behind_at = now + pause;
                self.waiting = self.waiting.or(looked.found);
                if after > 0 || now < self.read_at + BEHIND_EVERY {
                    return;
                }
            }
        }
        // Rows that wait stay in front, so that they get their numbers before later rows.
        let waiting = self.waiting.take().or(looked.found);
        // The highest id becomes lower when the table is emptied.
        self.top = self.highest.min(looked.highest);
        if let Some(first) = waiting {
            self.top = self.top.min(first.saturating_sub(1));
        }
        (self.highest, self.read_at) = (looked.highest, now);
    }

    /// A look took longer than the limit for a statement.
    pub(super) fn failed(&mut self, look: Look, now: Time) {
        let next = match look {
            Look::Window { to, .. } => Some(to + 1),
            _ => None,
        };
        let (highest, micros) = (self.highest, u64::MAX);
        let looked = Looked {
            highest,
            next,
            micros,
            ..Looked::default()
        };
        self.answered(look, &looked, BEHIND_EVERY, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_millis(20);

    fn at(ms: u64) -> Time {
        Time(ms * 1000)
    }

    fn looked(highest: u64, micros: u64) -> Looked {
        Looked {
            highest,
            micros,
            ..Looked::default()
        }
    }

    fn looks() -> Looks {
        let mut looks = Looks::default();
        looks.set_budget(Duration::from_millis(10));
        looks.way = Some(50);
        looks
    }

    #[test]
    fn the_top_is_the_highest_id_of_a_second_ago() {
        let mut looks = looks();
        assert_eq!(looks.behind(POLL, at(0)), Look::Behind);
        looks.answered(Look::Behind, &looked(100, 50), POLL, at(0));
        assert_eq!((looks.front(), looks.behind_at(at(0))), (Look::Front(0), at(1000)));
        looks.behind(POLL, at(1000));
        looks.answered(Look::Behind, &looked(150, 50), POLL, at(1000));
        assert_eq!(looks.front(), Look::Front(100));
        looks.answered(Look::Front(100), &looked(0, 10_100), POLL, at(1500));
        assert_eq!(looks.front(), Look::Front(150), "the look in front took too long");
        assert_eq!(looks.behind_at(at(0)), at(1500), "a look behind follows at once");
        looks.answered(Look::Behind, &looked(3, 50), POLL, at(1500));
        assert_eq!(looks.front(), Look::Front(3), "the table was emptied");
        assert_eq!(looks.claim(Look::Front(3)), Look::Behind);
    }

    #[test]
    fn a_long_round_trip_does_not_make_a_look_slow() {
        let mut looks = looks();
        looks.way = None;
        let mut looks_behind = |micros: u64| {
            let now = looks.behind_at(at(0));
            let look = looks.behind(POLL, now);
            looks.answered(look, &looked(9, micros), POLL, now);
            matches!(look, Look::Behind | Look::Anywhere)
        };
        assert!([90_000, 91_000, 99_000, 90_000].into_iter().all(&mut looks_behind));
        looks_behind(102_000);
        assert!(!looks_behind(90_000), "a look that takes 10 ms more is slow");
    }

    #[test]
    fn looks_behind_use_windows_for_a_while_after_a_slow_one() {
        for killed in [false, true] {
            let mut looks = looks();
            looks.behind(POLL, at(0));
            match killed {
                true => looks.failed(Look::Behind, at(0)),
                false => looks.answered(Look::Behind, &looked(60_000, 10_100), POLL, at(0)),
            }
            assert_eq!(looks.claim(Look::Front(7)), Look::Front(7));
            let mut seen = Vec::new();
            let mut now = at(1000);
            while let window @ Look::Window { after, to } = looks.behind(POLL, now) {
                seen.push((after, to));
                let next = (to < 60_000).then_some(to + 5);
                let looked = Looked {
                    next,
                    ..looked(60_000, 90)
                };
                looks.answered(window, &looked, POLL, now);
                assert_eq!(looks.behind_at(at(0)), now + POLL);
                now = looks.behind_at(at(0));
            }
            assert_eq!(
                seen[..4],
                [(0, 20_000), (20_004, 40_004), (40_008, 60_008), (0, 20_000)]
            );
            assert!(
                now >= at(10_000) && now < at(10_100),
                "{now:?}: the windows end at the end of a round"
            );
        }
    }

    /// Otherwise the later rows of a transaction would be found in front, before its first ones.
    #[test]
    fn windows_raise_the_top_once_a_second_only_and_below_rows_that_wait() {
        let mut looks = looks();
        looks.answered(Look::Behind, &looked(60_000, 10_100), POLL, at(0));
        let tops = (1000..=3000).step_by(20).map(|ms| {
            let window = looks.behind(POLL, at(ms));
            looks.answered(window, &looked(ms, 90), POLL, at(ms));
            looks.front()
        });
        let mut tops: Vec<Look> = tops.collect();
        tops.dedup();
        assert_eq!(tops, [Look::Front(1000), Look::Front(2000)]);
        let found = Looked {
            found: Some(1700),
            next: Some(20_001),
            ..looked(4000, 90)
        };
        let window = looks.behind(POLL, at(4000));
        looks.answered(window, &found, POLL, at(4000));
        let window = looks.behind(POLL, at(4020));
        assert_eq!(
            window,
            Look::Window {
                after: 20_000,
                to: 40_000
            }
        );
        looks.answered(window, &looked(4000, 90), POLL, at(4020));
        assert_eq!(looks.front(), Look::Front(1699), "the row of the first window waits");
    }

    /// A look behind is the poll of its second, and one statement once the highest id is known to be the top.
    #[test]
    fn a_look_behind_is_one_statement_while_no_rows_come() {
        let mut looks = looks();
        let mut second = 0;
        let mut next = |change: &dyn Fn(&mut Looks)| {
            change(&mut looks);
            second += 1000;
            assert_eq!(
                looks.behind_at(at(second + 40)),
                at(second + 40),
                "the look waits for the poll"
            );
            let look = looks.behind(POLL, at(second));
            looks.answered(
                look,
                &looked(if look == Look::Behind { 70 } else { 0 }, 60),
                POLL,
                at(second),
            );
            (look, looks.front())
        };
        let nothing = |_: &mut Looks| {};
        assert_eq!(next(&nothing), (Look::Behind, Look::Front(0)));
        assert_eq!(next(&nothing), (Look::Behind, Look::Front(70)));
        assert_eq!(next(&nothing), (Look::Anywhere, Look::Front(70)));
        let found = |looks: &mut Looks| {
            let found = Looked {
                found: Some(71),
                ..looked(0, 50)
            };
            looks.answered(Look::Front(70), &found, POLL, at(0));
        };
        // The look passes many rows that this process neither finds nor stamps.
        let passed = |looks: &mut Looks| looks.answered(Look::Front(70), &looked(0, 3200), POLL, at(0));
        for change in [&found as &dyn Fn(&mut Looks), &passed] {
            assert_eq!(next(change).0, Look::Behind);
            assert_eq!(next(&nothing).0, Look::Behind);
            assert_eq!(next(&nothing).0, Look::Anywhere);
        }
        looks.answered(Look::Anywhere, &looked(0, 20_000), POLL, at(second));
        assert_eq!(
            looks.behind(POLL, at(second + 1000)),
            Look::Window { after: 0, to: 20_000 }
        );
        assert_eq!(
            looks.behind_at(at(second + 5000)),
            at(second + 2000),
            "windows do not wait for polls"
        );
    }
}
