//! What `top` knows of the server: its two last answers, and the ticks that came with the answers before.

use std::collections::VecDeque;

use jsocketd::flight::{Counts, PHASES, Report, TickView};
use jsocketd::service::snapshot::Snapshot;

/// Averages are over this much of the loop's latest time, in microseconds.
const WINDOW_US: u64 = 10_000_000;

/// Ticks that are kept, at most: what ten answers of a busy server have.
const MOST_TICKS: usize = 10 * 1024;

/// How old a tick of the last hour may be, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// See the top of this file.
#[derive(Debug, Default)]
pub struct View {
    /// The answer of `/debug/status`.
    pub snapshot: Snapshot,
    /// The answer of `/debug/loop`. Its lists of the worst ticks are whole, although the server leaves them out while
    /// nothing changes. Its `recent` is empty: see `ticks`.
    pub report: Report,
    /// The latest ticks, the oldest first: those of the last ten seconds, or all that there are for the first answer.
    pub ticks: VecDeque<TickView>,
}

impl View {
    /// Takes the next two answers.
    pub fn update(&mut self, snapshot: Snapshot, mut report: Report) {
        if snapshot.pid != self.snapshot.pid || report.ticks < self.report.ticks {
            // Another process: its ticks are counted from 1 again, and the next question is for all of them.
            self.ticks.clear();
            self.report = Report::default();
        } else {
            if report.worst.is_empty() {
                report.worst = std::mem::take(&mut self.report.worst);
            }
            if report.worst_hour.is_empty() {
                report.worst_hour = std::mem::take(&mut self.report.worst_hour);
            }
        }
        report.worst_hour.retain(|tick| tick.unix_ms + HOUR_MS > report.unix_ms);
        self.ticks.extend(std::mem::take(&mut report.recent));
        (self.snapshot, self.report) = (snapshot, report);
        self.trim();
    }

    /// The number of the last tick that was seen: the next question is for those after it.
    pub fn since(&self) -> u64 {
        self.ticks.back().map_or(0, |tick| tick.n)
    }

    fn trim(&mut self) {
        let mut covered = 0;
        let within = self.ticks.iter().rev().take(MOST_TICKS).take_while(|tick| {
            let is_within = covered < WINDOW_US;
            covered += loop_time(tick);
            is_within
        });
        let kept = within.count();
        self.ticks.drain(..self.ticks.len() - kept);
    }

    /// The part of the latest time in which the loop did not wait, from 0 to 1.
    pub fn busy(&self) -> f64 {
        let busy: u64 = self.ticks.iter().map(|tick| u64::from(tick.us)).sum();
        busy as f64 / self.covered().max(1) as f64
    }

    /// The time of each phase in the latest ticks, in microseconds, in the order of the phases.
    pub fn phases(&self) -> [u64; PHASES.len()] {
        let mut sums = [0; PHASES.len()];
        for tick in &self.ticks {
            for (sum, us) in sums.iter_mut().zip(tick.phases_us.times()) {
                *sum += u64::from(us);
            }
        }
        sums
    }

    /// How many there were in a second, on the average of the latest ticks.
    pub fn per_second(&self, number: impl Fn(&Counts) -> u32) -> f64 {
        let sum: u64 = self.ticks.iter().map(|tick| u64::from(number(&tick.counts))).sum();
        sum as f64 * 1e6 / self.covered().max(1) as f64
    }

    /// The microseconds from the first of the latest ticks to the last one.
    fn covered(&self) -> u64 {
        self.ticks.iter().map(loop_time).sum()
    }
}

/// The time of a tick and of the wait before it, in microseconds.
fn loop_time(tick: &TickView) -> u64 {
    u64::from(tick.us) + u64::from(tick.slept_us)
}
