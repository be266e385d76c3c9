//! The worst ticks: a hundred since the start, and a hundred of the last hour.

use super::tick::Tick;
use crate::time::Time;

/// How many of the worst ticks are kept.
pub const MOST_WORST: usize = 100;

/// Seconds of one part of the hour.
const PART: u64 = 600;

/// Parts of the hour: the six that are over, and the one that is under way.
const PARTS: usize = 7;

/// The ticks that took the longest, in any order.
#[derive(Debug, Default)]
pub(super) struct Worst {
    ticks: Vec<Tick>,
    /// Where the shortest of them is, once there are [`MOST_WORST`].
    shortest: usize,
}

impl Worst {
    /// Keeps a copy of the tick if it is one of the worst.
    pub(super) fn offer(&mut self, tick: &Tick) {
        if self.ticks.len() < MOST_WORST {
            self.ticks.push(tick.clone());
        } else if tick.us > self.ticks[self.shortest].us {
            self.ticks[self.shortest].clone_from(tick);
        } else {
            return;
        }
        let shortest = self.ticks.iter().enumerate().min_by_key(|(_, tick)| tick.us);
        self.shortest = shortest.map_or(0, |(n, _)| n);
    }

    /// The ticks.
    pub(super) fn ticks(&self) -> &[Tick] {
        &self.ticks
    }
}

/// The worst ticks of the last hour. Each part of the hour has its own list, so a part that is over is dropped as a
/// whole and no part can crowd out another.
#[derive(Debug, Default)]
pub(super) struct Hour {
    parts: [(u64, Worst); PARTS],
}

impl Hour {
    /// Keeps a copy of the tick, which began at `began`, if it is one of the worst.
    pub(super) fn offer(&mut self, tick: &Tick) {
        let part = tick.began.seconds() / PART;
        let (current, worst) = &mut self.parts[part as usize % PARTS];
        if std::mem::replace(current, part) != part {
            worst.ticks.clear();
        }
        worst.offer(tick);
    }

    /// The worst ticks that began within an hour before `now`, the longest first.
    pub(super) fn ticks(&self, now: Time) -> Vec<&Tick> {
        let all = self.parts.iter().flat_map(|(_, worst)| worst.ticks());
        let recent = all.filter(|tick| now.since(tick.began).as_secs() < 3600);
        let mut worst: Vec<&Tick> = recent.collect();
        worst.sort_by_key(|tick| std::cmp::Reverse((tick.us, tick.number)));
        worst.truncate(MOST_WORST);
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(second: u64, us: u32) -> Tick {
        Tick {
            began: Time(second * 1_000_000),
            us,
            ..Tick::default()
        }
    }

    #[test]
    fn the_longest_ticks_stay() {
        let mut worst = Worst::default();
        // Each remainder once, in no order.
        for n in 0..1009_u32 {
            worst.offer(&tick(0, n * 383 % 1009));
        }
        let mut us: Vec<u32> = worst.ticks().iter().map(|tick| tick.us).collect();
        us.sort_unstable();
        assert_eq!(us, (1009 - 100..1009).collect::<Vec<_>>());
    }

    #[test]
    fn an_hour_forgets_what_is_older_and_nothing_else() {
        let mut hour = Hour::default();
        for second in 0..3 * 3600_u64 {
            let us = if second % 3000 == 17 {
                1_000_000 - second as u32
            } else {
                5
            };
            hour.offer(&tick(second, us));
            let now = Time((second + 1) * 1_000_000);
            let expected = (0..=second).rev().take(3599).filter(|s| s % 3000 == 17);
            let mut expected: Vec<u32> = expected.map(|s| 1_000_000 - s as u32).collect();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            let long = hour.ticks(now).into_iter().map(|tick| tick.us).filter(|us| *us > 5);
            assert_eq!(long.collect::<Vec<_>>(), expected, "after second {second}");
            assert!(hour.ticks(now).len() <= MOST_WORST);
        }
    }
}
