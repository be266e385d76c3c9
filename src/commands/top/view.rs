//! What `top` knows of the server: its two last answers, and the ticks that came with the answers before.

use std::collections::VecDeque;

use jsocketd::flight::{Counts, PHASES, Report, TickView};
use jsocketd::service::snapshot::Snapshot;

/// Averages are over this much of the loop's latest time, in microseconds.
const WINDOW_US: u64 = 10_000_000;

/// The ticks of one answer. Averages need no more, and a busy loop makes more of them in a second than anybody wants to
/// send.
pub const MOST_TICKS: usize = 256;

/// Answers that the averages are over, and that ticks are kept of.
const ANSWERS: usize = 10;

/// How old a tick of the last hour may be, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// See the top of this file.
#[derive(Debug, Default)]
pub struct View {
    /// The answer of `/debug/status`.
    pub snapshot: Snapshot,
    /// The answer of `/debug/loop`, without ticks: they are in the lists below.
    pub report: Report,
    /// The latest ticks, the oldest first: those of the last ten seconds, or all that there are for the first answer.
    /// Of a busy loop they are a sample.
    pub ticks: VecDeque<TickView>,
    /// The worst ticks of the last hour, the longest first.
    pub worst: Vec<TickView>,
    /// The time since the server's start at the latest answers, and how much of it the loop was busy, in microseconds.
    /// The first answer is compared with the start.
    busy: VecDeque<(u64, u64)>,
}

impl View {
    /// Takes the next two answers.
    pub fn update(&mut self, snapshot: Snapshot, mut report: Report) {
        let process = |of: &Snapshot| (of.pid, of.started_ms);
        let is_first = self.report.ticks == 0;
        if !is_first && (process(&snapshot) != process(&self.snapshot) || report.ticks < self.report.ticks) {
            // Another process: it counts its ticks from 1 again, and the next question is for all of them.
            *self = Self::default();
            report.recent.clear();
        }
        if let Some(worst) = report.worst_hour.take() {
            self.worst = worst;
        }
        let hour_ago = report.unix_ms.saturating_sub(HOUR_MS);
        self.worst.retain(|tick| tick.unix_ms > hour_ago);
        report.worst = None;
        if self.busy.len() > ANSWERS {
            self.busy.pop_front();
        }
        self.busy.push_back((report.now_us, report.busy_us));
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
        let within = self.ticks.iter().rev().take(ANSWERS * MOST_TICKS).take_while(|tick| {
            let is_within = covered < WINDOW_US;
            covered += loop_time(tick);
            is_within
        });
        let kept = within.count();
        self.ticks.drain(..self.ticks.len() - kept);
    }

    /// The part of the latest time in which the loop did not wait, from 0 to 1.
    pub fn busy(&self) -> f64 {
        let (now, busy) = self.busy.back().copied().unwrap_or_default();
        let first = self.busy.front().filter(|_| self.busy.len() > 1);
        let (began, busy_before) = first.copied().unwrap_or_default();
        busy.saturating_sub(busy_before) as f64 / now.saturating_sub(began).max(1) as f64
    }

    /// The time of each phase in the latest ticks, in microseconds, in the order of the phases.
    pub fn phases(&self) -> [u64; PHASES.len()] {
        let mut sums = [0; PHASES.len()];
        for tick in &self.ticks {
            for (sum, us) in sums.iter_mut().zip(tick.phases_us) {
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
