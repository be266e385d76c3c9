//! How long each tick took: the time in which the loop did not ask its poller.

use std::collections::VecDeque;

use crate::service::Lag;
use crate::time::Time;

/// Ticks that the percentiles are computed from.
const SAMPLE: usize = 1024;

/// Seconds whose worst tick is kept.
const SECONDS: usize = 60;

/// The latest ticks.
#[derive(Debug, Default)]
pub struct Ticks {
    ticks: u64,
    /// Microseconds each, as a ring.
    sample: Vec<u32>,
    /// The second and its longest tick in microseconds, newest last.
    worst: VecDeque<(u64, u32)>,
}

impl Ticks {
    /// Notes a tick that lasted from `start` to `end`.
    pub fn tick(&mut self, start: Time, end: Time) {
        let took = u32::try_from(end.since(start).as_micros()).unwrap_or(u32::MAX);
        if self.sample.len() < SAMPLE {
            self.sample.push(took);
        } else {
            self.sample[self.ticks as usize % SAMPLE] = took;
        }
        self.ticks += 1;
        match self.worst.back_mut() {
            Some((second, worst)) if *second == end.seconds() => *worst = took.max(*worst),
            _ => {
                if self.worst.len() == SECONDS {
                    self.worst.pop_front();
                }
                self.worst.push_back((end.seconds(), took));
            }
        }
    }

    /// The percentiles of the latest ticks, and the worst tick of each second.
    pub fn lag(&self) -> Lag {
        let mut sorted = self.sample.clone();
        sorted.sort_unstable();
        let at = |part: f64| sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1)));
        Lag {
            ticks: self.ticks,
            sample: sorted.len(),
            p50_us: at(0.5).copied().unwrap_or(0),
            p99_us: at(0.99).copied().unwrap_or(0),
            max_us: sorted.last().copied().unwrap_or(0),
            worst_by_second_us: self.worst.iter().rev().map(|(_, worst)| *worst).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_latest_ticks_only() {
        let mut ticks = Ticks::default();
        ticks.tick(Time(0), Time(5_000_000));
        for n in 0..SAMPLE as u64 {
            ticks.tick(Time(n), Time(n + 10 + n % 2));
        }
        let lag = ticks.lag();
        assert_eq!((lag.p50_us, lag.p99_us, lag.max_us, lag.sample), (11, 11, 11, SAMPLE));
        assert_eq!(lag.ticks, SAMPLE as u64 + 1);
    }

    #[test]
    fn without_ticks_the_lag_is_zero() {
        assert_eq!(Ticks::default().lag(), Lag::default());
    }
}
