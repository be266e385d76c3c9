//! Which position was safe when: for pages that carry only the time at which they were rendered, and for the deleter, which
//! goes by its own clock and nobody else's.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Now, Time};

/// Samples that are kept: one a second at a retention of an hour.
const MOST: u64 = 4096;

/// How far the clock of the machine that rendered the page may be off, with the time that rendering takes before the page
/// looks at anything.
const MARGIN_MS: u64 = 2000;

#[derive(Clone, Copy, Debug)]
struct Sample {
    now: Now,
    safe: u64,
}

#[derive(Debug, Default)]
pub(super) struct Samples {
    /// In the order in which they were taken.
    samples: VecDeque<Sample>,
}

impl Samples {
    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// Takes a sample if one is due. The last one that is older than `retention` is kept.
    pub(super) fn take(&mut self, safe: u64, retention: Duration, now: Now) {
        let every = Duration::from_secs((retention.as_secs() / MOST).max(1));
        let due = self
            .samples
            .back()
            .is_none_or(|last| now.at.since(last.now.at) >= every);
        if !due {
            return;
        }
        self.samples.push_back(Sample { now, safe });
        while self
            .samples
            .get(1)
            .is_some_and(|second| second.now.at + retention <= now.at)
        {
            self.samples.pop_front();
        }
    }

    /// What was safe at a time of the wall clock; `None` for the future and for what is too long ago.
    pub(super) fn at(&self, unix_ms: u64, now: Now) -> Option<u64> {
        if unix_ms > now.unix_ms + MARGIN_MS {
            return None;
        }
        let wanted = unix_ms.checked_sub(MARGIN_MS)?;
        // In the order of taking: should the wall clock have been set back, the earlier one counts.
        let before = self.samples.iter().take_while(|sample| sample.now.unix_ms <= wanted);
        before.last().map(|sample| sample.safe)
    }

    /// What has been safe for at least this long.
    pub(super) fn safe_for(&self, age: Duration, now: Time) -> Option<u64> {
        let old = self.samples.iter().take_while(|sample| sample.now.at + age <= now);
        old.last().map(|sample| sample.safe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(seconds: u64) -> Now {
        Now {
            at: Time(seconds * 1_000_000),
            unix_ms: 1_000_000 + seconds * 1000,
        }
    }

    fn hour() -> Samples {
        let mut samples = Samples::default();
        for second in 0..100 {
            samples.take(second * 10, Duration::from_secs(60), now(second));
        }
        samples
    }

    #[test]
    fn a_time_is_the_position_of_two_seconds_before() {
        let samples = hour();
        assert_eq!(samples.at(now(99).unix_ms, now(99)), Some(970));
        assert_eq!(samples.at(now(99).unix_ms - 1, now(99)), Some(960));
        assert_eq!(samples.at(now(41).unix_ms, now(99)), Some(390));
        assert_eq!(samples.at(now(40).unix_ms, now(99)), None, "too long ago");
        assert_eq!(
            samples.at(now(101).unix_ms, now(99)),
            Some(990),
            "a clock that is a little ahead"
        );
        assert_eq!(samples.at(now(101).unix_ms + 1, now(99)), None, "the future");
        assert_eq!(samples.at(0, now(99)), None);
    }

    #[test]
    fn a_wall_clock_that_was_set_back_never_gives_a_later_position() {
        let mut samples = Samples::default();
        for (second, unix_ms, safe) in [(0, 100_000, 1), (1, 101_000, 2), (2, 91_000, 3), (3, 92_000, 4)] {
            let at = now(second).at;
            samples.take(safe, Duration::from_secs(60), Now { at, unix_ms });
        }
        let at = |unix_ms| samples.at(unix_ms, now(3));
        assert_eq!(at(94_000), None, "may have been before the first sample");
        assert_eq!(at(102_000), Some(1));
    }

    #[test]
    fn the_deleter_sees_what_is_old_enough_by_the_loops_clock() {
        let samples = hour();
        assert_eq!(samples.safe_for(Duration::from_secs(60), now(99).at), Some(390));
        assert_eq!(samples.safe_for(Duration::from_secs(61), now(99).at), None);
        assert_eq!(samples.samples.len(), 61);
    }
}
