//! A tick, as it is recorded, and the sums of ticks.

use serde::{Deserialize, Serialize};

use super::culprit::{Culprit, Kind};
use crate::time::{Now, Time};

/// The phases of a tick, in their order. Both writes of a tick count as one phase, and so does all work of the process
/// between two ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "docs/architecture.md describes each phase")]
pub enum Phase {
    #[default]
    Wait,
    Read,
    Time,
    Write,
    Work,
    Post,
    Accept,
    Reap,
    Between,
}

/// Every phase, with its name.
pub const PHASES: [(Phase, &str); 9] = [
    (Phase::Wait, "wait"),
    (Phase::Read, "read"),
    (Phase::Time, "time"),
    (Phase::Write, "write"),
    (Phase::Work, "work"),
    (Phase::Post, "post"),
    (Phase::Accept, "accept"),
    (Phase::Reap, "reap"),
    (Phase::Between, "between"),
];

/// What a tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Reports of the poller.
    pub events: u32,
    /// Reads of connections.
    pub reads: u32,
    /// Bytes that were read from connections.
    pub bytes_in: u64,
    /// Messages, requests and handshakes that were decoded.
    pub messages: u32,
    /// Connections that were written to.
    pub writes: u32,
    /// Bytes of messages, events and answers that were appended to send queues.
    pub bytes_out: u64,
    /// Copies of events that were appended to send queues.
    pub deliveries: u32,
    /// Statements of the database.
    pub statements: u32,
    /// Rows of their answers.
    pub rows: u32,
    /// Deadlines of connections that were checked.
    pub timers: u32,
    /// New connections.
    pub accepts: u32,
    /// Connections that ended.
    pub closes: u32,
}

/// One tick of the loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Its number since the start, from 1.
    pub number: u64,
    /// When its wait ended.
    pub began: Time,
    /// The same on the wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How long it waited before, in microseconds.
    pub slept_us: u32,
    /// How much later than its timer it woke, in microseconds; 0 if something became ready before.
    pub late_us: u32,
    /// How long it took without the wait, in microseconds: the sum of the phases.
    pub us: u32,
    /// How long each phase took, in microseconds, in the order of [`PHASES`].
    pub phases: [u32; PHASES.len()],
    /// What it did.
    pub counts: Counts,
    /// Connections and listeners that became ready while it ran.
    pub waiting: u32,
    /// The piece of work that took the longest.
    pub culprit: Culprit,
}

impl Tick {
    /// Begins tick `number`, keeping the buffers.
    pub(super) fn begin(&mut self, number: u64, now: Now, slept_us: u32) {
        self.number = number;
        self.began = now.at;
        self.unix_ms = now.unix_ms;
        self.slept_us = slept_us;
        (self.late_us, self.us, self.waiting) = (0, 0, 0);
        self.phases = [0; PHASES.len()];
        self.counts = Counts::default();
        self.culprit.clear();
    }

    /// The phase that took the longest, and how long.
    pub fn longest_phase(&self) -> (Phase, u32) {
        let mut longest = (Phase::Wait, self.phases[0]);
        for (n, us) in self.phases.into_iter().enumerate() {
            if us > longest.1 {
                longest = (PHASES[n].0, us);
            }
        }
        longest
    }

    /// Blames the phase that took the longest where no single piece of work took at least half as long.
    pub(super) fn blame_many(&mut self) {
        if self.us / 2 <= self.culprit.us {
            return;
        }
        let (phase, us) = self.longest_phase();
        let (counts, culprit) = (&self.counts, &mut self.culprit);
        let (kind, count) = match phase {
            Phase::Wait => (Kind::Events, counts.events),
            Phase::Read => (Kind::Inputs, counts.reads),
            Phase::Time => (Kind::Timers, counts.timers),
            Phase::Write => (Kind::Writes, counts.writes),
            Phase::Work => (Kind::Statements, counts.statements),
            Phase::Post => (Kind::Webhooks, 0),
            Phase::Accept => (Kind::Accepts, counts.accepts),
            Phase::Reap => (Kind::Closes, counts.closes),
            Phase::Between => (Kind::Other, 0),
        };
        if us / 2 > culprit.us && kind != culprit.kind {
            culprit.clear();
            (culprit.kind, culprit.count, culprit.us) = (kind, count, us);
        }
    }

    /// Blames the machine where the processor worked for less than half of the tick: only `ran` microseconds.
    pub(super) fn blame_machine(&mut self, ran: u64) {
        let stood = self.us.saturating_sub(u32::try_from(ran).unwrap_or(u32::MAX));
        if stood > self.us / 2 && !self.culprit.kind.may_wait() {
            self.culprit.clear();
            (self.culprit.kind, self.culprit.us) = (Kind::Machine, stood);
        }
    }
}

/// Durations in buckets, for histograms. Bucket `n` counts durations of less than 2^n × 64 µs; the last one counts all
/// that are longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// Counts, each without those of the buckets before it.
    pub buckets: [u64; LONGEST + 1],
    /// All durations together, in microseconds.
    pub sum_us: u64,
}

/// The number of the last bucket of [`Durations`]: for 2 s and more.
pub const LONGEST: usize = 16;

impl Durations {
    /// Counts a duration in microseconds.
    pub fn add(&mut self, us: u32) {
        let bits = u32::BITS - (us >> 6).leading_zeros();
        self.buckets[(bits as usize).min(LONGEST)] += 1;
        self.sum_us += u64::from(us);
    }

    /// How many durations there are, as far as the number fits: they may be those of another server.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Ticks.
    pub ticks: u64,
    /// Ticks that took as long as `[loop] slow_ms` or longer.
    pub slow: u64,
    /// Whole ticks.
    pub tick: Durations,
    /// The phases that had work, in the order of [`PHASES`].
    pub phases: [Durations; PHASES.len()],
    /// How much later than their timers ticks woke.
    pub late: Durations,
    /// Bytes that were read from connections.
    pub bytes_in: u64,
    /// Bytes of messages, events and answers that were appended to send queues.
    pub bytes_out: u64,
    /// Copies of events that were appended to send queues.
    pub deliveries: u64,
    /// Connections that were accepted.
    pub accepts: u64,
}
