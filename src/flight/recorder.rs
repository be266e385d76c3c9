//! The recorder itself: the tick that is under way, the ring of the latest, and the sums since the start.

use std::collections::VecDeque;
use std::time::Duration;

use super::culprit::{Culprit, Kind};
use super::tick::{Counts, Phase, Tick, Totals};
use super::worst::{Hour, Worst};
use crate::time::{Now, Time};

/// Ticks in the ring, the one that is under way among them, from which the percentiles are computed.
pub const SAMPLE: usize = 1024;

/// Seconds whose worst tick is kept.
const SECONDS: usize = 60;

/// When and how much the processor had worked for this process, to find out whether it ran during a slow tick.
#[derive(Clone, Copy, Debug, Default)]
struct Processor {
    second: u64,
    /// The processor's time, in microseconds.
    used: u64,
    /// The time of ticks since then, in microseconds.
    busy: u64,
}

/// The flight recorder: see the module.
#[derive(Debug)]
pub struct Recorder {
    /// The latest ticks by the lowest bits of their numbers, the one that is under way among them.
    ring: Box<[Tick; SAMPLE]>,
    /// The number of the tick that is under way.
    number: u64,
    phase: Phase,
    /// The end of the last lap.
    lap: Time,
    /// Time before a fan-out that belongs to the piece around it, in microseconds.
    carried: u32,
    /// The work that filled the most send queues since the last write: the time of the next write belongs to it.
    cause: Culprit,
    /// How many send queues it filled; 0: there is no such work.
    filled: usize,
    /// The number of the tick in which it did. What comes after the last write of a tick is written in the next one.
    caused_in: u64,
    pub(super) worst: Worst,
    pub(super) hour: Hour,
    /// The second and its longest tick in microseconds, newest last.
    pub(super) by_second: VecDeque<(u64, u32)>,
    pub(super) totals: Totals,
    processor: Processor,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            ring: Box::new(std::array::from_fn(|_| Tick::default())),
            number: 0,
            phase: Phase::Between,
            lap: Time(0),
            carried: 0,
            cause: Culprit::default(),
            filled: 0,
            caused_in: 0,
            worst: Worst::default(),
            hour: Hour::default(),
            by_second: VecDeque::with_capacity(SECONDS),
            totals: Totals::default(),
            processor: Processor::default(),
        }
    }
}

/// Copies of a fan-out from which its time is taken. Reading the clock twice would cost a small one too much.
const LARGE: usize = 32;

/// A wait of less than this many microseconds is none: what was ready afterwards had become ready before.
const NO_WAIT: u32 = 1000;

/// A tick shorter than this many microseconds is never one of the worst.
const WORTH: u32 = 1000;

impl Recorder {
    /// The sums since the start.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The latest ticks that have ended, in any order.
    pub(super) fn ticks(&self) -> impl Iterator<Item = &Tick> {
        self.ring
            .iter()
            .filter(|tick| tick.number > 0 && tick.number < self.number)
    }

    /// The end of the last lap.
    pub fn last_lap(&self) -> Time {
        self.lap
    }

    fn tick(&mut self) -> &mut Tick {
        &mut self.ring[self.number as usize % SAMPLE]
    }

    /// The counts of the tick that is under way.
    pub fn counts(&mut self) -> &mut Counts {
        &mut self.tick().counts
    }

    /// From here on time belongs to this phase. A phase without work needs no clock: what it takes counts as the time
    /// of the next one.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Adds the time since the last lap to the phase. Returns it in microseconds.
    pub fn lap(&mut self, now: Time) -> u32 {
        let us = micros(now, self.lap);
        self.lap = now;
        let phase = self.phase as usize;
        let sum = &mut self.tick().phases[phase];
        // A machine that slept in between makes the longest time there is.
        *sum = sum.saturating_add(us);
        us
    }

    /// The same at the end of a piece of work. `name` says what it was; it is called for the longest of the tick alone.
    /// Returns the time of the piece in microseconds.
    pub fn piece(&mut self, now: Time, name: impl FnOnce(&mut Culprit)) -> u32 {
        let us = self.lap(now).saturating_add(std::mem::take(&mut self.carried));
        let culprit = &mut self.tick().culprit;
        if us > culprit.us || culprit.kind == Kind::Other {
            culprit.clear();
            culprit.us = us;
            name(culprit);
        }
        us
    }

    /// Work that took `us` microseconds filled so many send queues. The time of the next write belongs to it, unless
    /// other work, such as a fan-out in it, has filled half as many since the last write.
    pub fn cause(&mut self, us: u32, queues: usize, name: impl FnOnce(&mut Culprit)) {
        if queues > self.filled * 2 {
            self.set_cause(us, queues, name);
        }
    }

    fn set_cause(&mut self, us: u32, queues: usize, name: impl FnOnce(&mut Culprit)) {
        self.blame_cause();
        (self.filled, self.caused_in) = (queues, self.number);
        self.cause.us = us;
        name(&mut self.cause);
    }

    /// Blames the work that filled the send queues, if nothing in the tick took longer, and forgets it.
    fn blame_cause(&mut self) {
        let culprit = &mut self.ring[self.number as usize % SAMPLE].culprit;
        if self.cause.us > culprit.us {
            std::mem::swap(&mut self.cause, culprit);
        }
        self.cause.clear();
        self.filled = 0;
    }

    /// Counts a fan-out; `bytes`: of one copy. Returns whether it is large enough to be timed: then `fan_out_began` and
    /// `fan_out_ended` must be called before and after it.
    pub fn counts_as_large(&mut self, recipients: usize, bytes: usize) -> bool {
        let counts = self.counts();
        counts.deliveries += count(recipients);
        counts.bytes_out += (recipients * bytes) as u64;
        recipients >= LARGE
    }

    /// A large fan-out begins. The time so far belongs to the piece of work around it.
    pub fn fan_out_began(&mut self, now: Time) {
        self.carried = self.carried.saturating_add(self.lap(now));
    }

    /// A large fan-out to this channel ended. `bytes`: of one copy.
    pub fn fan_out_ended(&mut self, now: Time, channel: &str, recipients: usize, bytes: usize) {
        let us = self.lap(now);
        let (copies, bytes) = (count(recipients), count(bytes));
        let (cause, is_now) = (&mut self.cause, self.caused_in == self.number);
        if is_now && cause.kind == Kind::FanOut && cause.name == channel {
            cause.us = cause.us.saturating_add(us);
            cause.count = cause.count.saturating_add(copies);
            cause.bytes = cause.bytes.max(bytes);
            self.filled = self.filled.max(recipients);
            return;
        }
        if recipients > self.filled {
            self.set_cause(us, recipients, |culprit| {
                culprit.is(Kind::FanOut, channel);
                (culprit.count, culprit.bytes) = (copies, bytes);
            });
        }
    }

    /// A write phase is over; `last`: how many connections had their last words written at most. The time belongs to
    /// the work that filled at least half of these send queues, else to the ends of connections if these are as many.
    pub fn written(&mut self, now: Time, connections: usize, last: usize) {
        let us = self.lap(now);
        self.tick().counts.writes += count(connections);
        if self.filled * 2 < connections && last * 2 >= connections {
            self.set_cause(0, last, |culprit| {
                (culprit.kind, culprit.count) = (Kind::Closes, count(last));
            });
        }
        if self.filled > 0 {
            if self.filled * 2 >= connections {
                self.cause.us = self.cause.us.saturating_add(us);
            }
            self.blame_cause();
        }
    }

    /// The poller's wait is over: sums up the tick before it and finds its culprit. `events`: how many connections and
    /// listeners became ready. `used`: the time that the processor has spent on this process. Returns the tick if it
    /// took `slow_ms` or longer. [`Recorder::begin`] must follow.
    pub fn end(
        &mut self,
        now: Time,
        events: usize,
        slow_ms: u64,
        used: impl FnOnce() -> Duration,
    ) -> Option<&mut Tick> {
        let tick = &mut self.ring[self.number as usize % SAMPLE];
        tick.us = micros(self.lap, tick.began);
        if micros(now, self.lap) < NO_WAIT {
            tick.waiting = count(events);
        }
        // It is kept for the write of the next tick.
        if self.cause.us > tick.culprit.us {
            tick.culprit.copy(&self.cause);
        }
        tick.blame_many();
        self.processor.busy += u64::from(tick.us);
        if u64::from(tick.us) < slow_ms * 1000 || self.number == 0 {
            return None;
        }
        let used = whole_micros(used());
        let ran = (used + u64::from(tick.us)).saturating_sub(self.processor.used + self.processor.busy);
        tick.blame_machine(ran);
        (self.processor.used, self.processor.busy) = (used, 0);
        self.totals.slow += 1;
        Some(tick)
    }

    /// Keeps the tick that ended and begins the next one. `timeout`: how long the wait should have lasted at most.
    /// Returns whether it is the first tick of a second.
    pub fn begin(
        &mut self,
        now: Now,
        events: usize,
        timeout: Option<Duration>,
        used: impl FnOnce() -> Duration,
    ) -> bool {
        let slept_us = micros(now.at, self.lap);
        if self.number > 0 {
            self.keep();
        }
        self.number += 1;
        let number = self.number;
        self.tick().begin(number, now, slept_us);
        self.tick().counts.events = count(events);
        if let Some(timeout) = timeout.filter(|timeout| events == 0 && !timeout.is_zero()) {
            let late_us = u64::from(slept_us).saturating_sub(whole_micros(timeout)) as u32;
            self.tick().late_us = late_us;
            self.totals.late.add(late_us);
        }
        self.phase = Phase::Wait;
        self.lap = now.at;
        self.carried = 0;
        if self.filled > 0 && self.caused_in + 1 == number {
            self.cause.us = 0;
        } else if self.filled > 0 {
            self.cause.clear();
            self.filled = 0;
        }
        let second = now.at.seconds();
        let is_first = second != self.processor.second || number == 1;
        if is_first {
            let used = whole_micros(used());
            self.processor = Processor { second, used, busy: 0 };
        }
        is_first
    }

    /// Adds the tick to the lists and sums.
    fn keep(&mut self) {
        let tick = &self.ring[self.number as usize % SAMPLE];
        let totals = &mut self.totals;
        totals.ticks += 1;
        totals.tick.add(tick.us);
        for (durations, us) in totals.phases.iter_mut().zip(tick.phases) {
            if us > 0 {
                durations.add(us);
            }
        }
        totals.bytes_in += tick.counts.bytes_in;
        totals.bytes_out += tick.counts.bytes_out;
        totals.deliveries += u64::from(tick.counts.deliveries);
        totals.accepts += u64::from(tick.counts.accepts);
        // The tick began in the second of the last sample.
        let second = self.processor.second;
        match self.by_second.back_mut() {
            Some((last, worst)) if *last == second => *worst = tick.us.max(*worst),
            _ => {
                if self.by_second.len() == SECONDS {
                    self.by_second.pop_front();
                }
                self.by_second.push_back((second, tick.us));
            }
        }
        if tick.us >= WORTH {
            self.worst.offer(tick);
            self.hour.offer(tick);
        }
    }
}

/// Microseconds between two instants, as far as they fit; 0 if `earlier` is later.
fn micros(now: Time, earlier: Time) -> u32 {
    u32::try_from(now.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
}

fn whole_micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
