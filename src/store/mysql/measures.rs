//! How often each kind of statement was run and how long it took, and warnings about slow statements, bad rows and
//! clocks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::logging::{More, RareLine};
use crate::time::Time;

/// A statement that takes longer is logged as a warning.
const SLOW: Duration = Duration::from_millis(50);

/// The shortest time between two warnings about one kind of statement.
const QUIET: Duration = Duration::from_secs(1);

/// The shortest time between two warnings about rows that cannot be read.
const QUIET_ROWS: Duration = Duration::from_secs(60);

/// How often a statement of one kind was run, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Statements that were started.
    pub count: u64,
    /// Started statements that gave no answer.
    pub failures: u64,
    /// The time of all statements together.
    pub total: Duration,
    /// The time of the longest statement.
    pub worst: Duration,
    /// The warning about a statement that takes long.
    slow: RareLine,
}

/// The measures of all kinds of statements.
#[derive(Debug, Default)]
pub(super) struct Measures {
    kinds: BTreeMap<&'static str, Measure>,
    /// The warning about rows that cannot be read.
    spoiled: RareLine,
    /// Whether it was logged that the clocks differ.
    told_clock: bool,
}

impl Measures {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, Measure)> {
        self.kinds.iter().map(|(name, measure)| (*name, *measure))
    }

    /// Notes a statement and its time. `good`: it gave an answer.
    pub(super) fn note(&mut self, name: &'static str, took: Duration, good: bool, now: Time) {
        let measure = self.kinds.entry(name).or_default();
        measure.count += 1;
        measure.failures += u64::from(!good);
        measure.total += took;
        measure.worst = measure.worst.max(took);
        if took > SLOW
            && let Some(more) = measure.slow.allow(QUIET, now)
        {
            let more = More(more);
            log::warn!("the database took {} ms for {name}{more}", took.as_millis());
        }
    }

    /// Logs once that the clocks differ. `None`: they do not.
    pub(super) fn note_clock(&mut self, odd: Option<String>) {
        if let Some(why) = odd.filter(|_| !self.told_clock) {
            self.told_clock = true;
            log::warn!("{why}");
        }
    }

    /// Logs that these columns had values that could not be read.
    pub(super) fn note_spoiled(&mut self, spoiled: &[&'static str], now: Time) {
        let Some(first) = spoiled.first() else { return };
        if let Some(more) = self.spoiled.allow(QUIET_ROWS, now) {
            log::warn!(
                "{} rows of the database cannot be read and are left out: {first} is not what it should be{}",
                spoiled.len(),
                More(more)
            );
        }
    }
}
