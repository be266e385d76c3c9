//! Ids that were handed out and have no row yet, as runs: ids are given before the commit, so a row may appear behind rows with
//! higher ids, and a statement of many rows reserves ids long before it writes and locks the rows. Here is remembered what is
//! missing, what a probe of it meant, and how far everything is settled; nothing is asked here.
//!
//! A run is *open* until two probes at least [`TWICE`] apart found nothing and nobody who writes; then it is *dead*, but read
//! again now and then. A run that is open for too long is *aged*: it does not hold the safe position any more.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::store::{Failure, MOST_RUNS};
use crate::time::Time;

/// The most runs that are remembered, half of them open and half dead: some hundred bytes each.
pub(super) const MOST: usize = 10_000;

/// What must lie between two empty results before a run is dead: a writer that got its id and was not scheduled yet.
const TWICE: Duration = Duration::from_secs(1);

/// Most gaps are filled sooner than this; probing them would be in vain.
const FIRST_PROBE: Duration = Duration::from_millis(100);

/// Between two probes: should each of thousands of gaps be locked, each is asked for by itself.
const PROBE_EVERY: Duration = Duration::from_millis(2);

/// Ids that one question may span when it serves several runs, with the known rows between them.
const SPAN: u64 = 1000;

/// Known rows between two runs that are read once more rather than told apart: they are fetched, with their data.
const READ_BETWEEN: u64 = 8;

/// Of the rows of an answer those that are known may take a quarter at most, or news would have no room.
const KNOWN_SHARE: u64 = 4;

/// Known rows between two runs that are probed once more: of them the index is touched.
const PROBED_BETWEEN: u64 = 64;

/// Dead runs of one question.
const DEAD_AT_ONCE: usize = 4;

/// How often dead runs are read at all.
const DEAD_EVERY: Duration = Duration::from_secs(1);

/// What is missing.
#[derive(Debug)]
pub(super) struct Runs {
    /// By first id.
    open: BTreeMap<u64, Open>,
    /// By first id.
    dead: BTreeMap<u64, Dead>,
    /// Where the next round through the open runs goes on, and through the dead ones.
    open_from: u64,
    dead_from: u64,
    dead_at: Time,
    probed_at: Time,
    /// After which time a run is aged.
    gap_max: Duration,
    /// Runs that were found dead, and those that were given up because there were too many.
    pub(super) died: u64,
    pub(super) given_up: u64,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    end: u64,
    since: Time,
    probe_at: Time,
    /// When a probe found nothing for the first time.
    empty: Option<Time>,
    /// Somebody held a lock in a span with others: it is probed for itself.
    alone: bool,
    /// A probe saw rows: read it first.
    read: bool,
}

#[derive(Clone, Copy, Debug)]
struct Dead {
    end: u64,
    since: Time,
}

impl Runs {
    pub(super) fn new(gap_max: Duration) -> Self {
        Self {
            open: BTreeMap::new(),
            dead: BTreeMap::new(),
            open_from: 0,
            dead_from: 0,
            dead_at: Time::default(),
            probed_at: Time::default(),
            gap_max,
            died: 0,
            given_up: 0,
        }
    }

    pub(super) fn set_gap_max(&mut self, gap_max: Duration) {
        self.gap_max = gap_max;
    }

    /// Forgets all runs.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.dead.clear();
    }

    /// These ids are missing since now. All are above those that are known already.
    pub(super) fn open(&mut self, ids: RangeInclusive<u64>, now: Time) {
        debug_assert!(ids.start() <= ids.end(), "a run has an id");
        let run = Open {
            end: *ids.end(),
            since: now,
            probe_at: now + FIRST_PROBE,
            empty: None,
            alone: false,
            read: false,
        };
        self.open.insert(*ids.start(), run);
        self.bound();
    }

    /// These ids are a hole that is no gap; they are treated as dead, in case somebody else hands them out.
    pub(super) fn bury(&mut self, ids: RangeInclusive<u64>, now: Time) {
        let (end, since) = (*ids.end(), now);
        self.dead.insert(*ids.start(), Dead { end, since });
        self.bound();
    }

    /// When too many are open the oldest is taken for dead; of too many dead the oldest is not read again.
    fn bound(&mut self) {
        while self.open.len() > MOST / 2
            && let Some((start, Open { end, since, .. })) = self.open.pop_first()
        {
            self.given_up += 1;
            self.dead.insert(start, Dead { end, since });
        }
        while self.dead.len() > MOST / 2 {
            self.dead.pop_first();
        }
    }

    /// A row with this id is there. Whether it was missing; what is left of its run stays what it was.
    pub(super) fn fill(&mut self, id: u64) -> bool {
        if let Some((&start, &run)) = self.open.range(..=id).next_back()
            && id <= run.end
        {
            self.open.remove(&start);
            // What was probed was another run.
            let left = Open {
                empty: None,
                read: run.read,
                ..run
            };
            for (start, end) in rests(start, run.end, id) {
                self.open.insert(start, Open { end, ..left });
            }
            return true;
        }
        if let Some((&start, &run)) = self.dead.range(..=id).next_back()
            && id <= run.end
        {
            self.dead.remove(&start);
            for (start, end) in rests(start, run.end, id) {
                self.dead.insert(start, Dead { end, ..run });
            }
            return true;
        }
        false
    }

    /// Whether a row with this id would be news.
    pub(super) fn lacks(&self, id: u64) -> bool {
        let open = self.open.range(..=id).next_back();
        let dead = self.dead.range(..=id).next_back();
        open.is_some_and(|(_, run)| id <= run.end) || dead.is_some_and(|(_, run)| id <= run.end)
    }

    /// The highest id up to which everything is settled, when `head` is the highest that is known.
    pub(super) fn safe(&self, head: u64, now: Time) -> u64 {
        self.holding(now).map_or(head, |(start, _)| start - 1)
    }

    /// Since when the safe position is held back.
    pub(super) fn held_since(&self, now: Time) -> Option<Time> {
        self.holding(now).map(|(_, run)| run.since)
    }

    fn holding(&self, now: Time) -> Option<(u64, &Open)> {
        let mut open = self.open.iter();
        open.find(|(_, run)| run.since + self.gap_max > now)
            .map(|(start, run)| (*start, run))
    }

    /// How many are open and dead.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.open.len(), self.dead.len())
    }

    // --- reading -------------------------------------------------------------------------------------------------

    /// What is to be read again now, in an answer of `limit` rows: a part of the open runs and now and then of the dead ones,
    /// each time other ones.
    pub(super) fn spans(&mut self, limit: u32, now: Time) -> Vec<RangeInclusive<u64>> {
        let mut spans = Spans {
            ranges: Vec::new(),
            known: u64::from(limit) / KNOWN_SHARE,
        };
        if self.dead_at <= now && !self.dead.is_empty() {
            self.dead_at = now + DEAD_EVERY;
            let runs = self.dead.iter().map(|(start, run)| (*start, run.end));
            self.dead_from = around(runs, self.dead_from, DEAD_AT_ONCE, &mut spans);
        }
        let urgent = self.open.iter_mut().filter(|(_, run)| run.read);
        for (start, run) in urgent.take(MOST_RUNS - spans.ranges.len()) {
            run.read = false;
            spans.push((*start, run.end));
        }
        let room = MOST_RUNS - spans.ranges.len();
        let runs = self.open.iter().map(|(start, run)| (*start, run.end));
        self.open_from = around(runs, self.open_from, room, &mut spans);
        spans.ranges
    }

    // --- probing -------------------------------------------------------------------------------------------------

    /// When a run is to be probed next.
    pub(super) fn probe_at(&self) -> Time {
        let next = self.open.values().map(|run| run.probe_at).min();
        next.map_or(Time::NEVER, |next| next.max(self.probed_at + PROBE_EVERY))
    }

    /// The next range to be probed: a run, or several that lie close together.
    pub(super) fn probe(&mut self, now: Time) -> Option<RangeInclusive<u64>> {
        if now < self.probed_at + PROBE_EVERY {
            return None;
        }
        let due = self.open.iter_mut().filter(|(_, run)| run.probe_at <= now);
        let (&first, run) = due.min_by_key(|(_, run)| run.probe_at)?;
        self.probed_at = now;
        let (mut end, alone) = (run.end, run.alone);
        // Should the answer be lost it is asked again.
        run.probe_at = now + TWICE;
        if alone {
            return Some(first..=end);
        }
        for (start, run) in self.open.range_mut(first + 1..) {
            if run.alone || start - end > PROBED_BETWEEN || run.end - first >= SPAN {
                break;
            }
            end = run.end;
            run.probe_at = run.probe_at.max(now + TWICE);
        }
        Some(first..=end)
    }

    /// What came of a probe that was asked at `asked`. True: there are rows to be read.
    pub(super) fn probed(
        &mut self,
        ids: &RangeInclusive<u64>,
        result: Result<&[u64], &Failure>,
        asked: Time,
        now: Time,
    ) -> bool {
        let within = self.open.range(ids.clone()).filter(|(_, run)| run.end <= *ids.end());
        let starts: Vec<u64> = within.map(|(start, _)| *start).collect();
        let mut news = false;
        for start in &starts {
            let Some(run) = self.open.get_mut(start) else { continue };
            match result {
                Err(Failure::Locked) if starts.len() > 1 => {
                    run.alone = true;
                    run.probe_at = now;
                }
                Err(Failure::Locked) => {
                    run.empty = None;
                    let patience = now.since(run.since) / 4;
                    run.probe_at = now + patience.clamp(Duration::from_millis(250), Duration::from_secs(5));
                }
                Err(_) => run.probe_at = now + TWICE,
                Ok(found) if found.iter().any(|id| (*start..=run.end).contains(id)) => {
                    run.read = true;
                    run.empty = None;
                    run.probe_at = now + TWICE;
                    news = true;
                }
                Ok(_) => self.found_empty(*start, asked, now),
            }
        }
        news
    }

    fn found_empty(&mut self, start: u64, asked: Time, now: Time) {
        let Some(run) = self.open.get_mut(&start) else { return };
        run.alone = false;
        match run.empty {
            Some(first) if first + TWICE <= asked => {
                let (end, since) = (run.end, run.since);
                self.open.remove(&start);
                self.dead.insert(start, Dead { end, since });
                self.died += 1;
            }
            first => {
                let first = first.unwrap_or(now);
                run.empty = Some(first);
                run.probe_at = first + TWICE;
            }
        }
    }

    // --- forgetting ----------------------------------------------------------------------------------------------

    /// Rows up to here are deleted.
    pub(super) fn deleted(&mut self, to: u64) {
        while let Some(first) = self.dead.first_entry().filter(|first| first.get().end <= to) {
            first.remove();
        }
        while let Some(first) = self.open.first_entry().filter(|first| first.get().end <= to) {
            first.remove();
        }
    }

    /// Dead runs are not read any more after this time.
    pub(super) fn expire(&mut self, retention: Duration, now: Time) {
        while let Some(first) = self
            .dead
            .first_entry()
            .filter(|first| first.get().since + retention <= now)
        {
            first.remove();
        }
    }
}

/// What is left of a run without one id.
fn rests(start: u64, end: u64, id: u64) -> impl Iterator<Item = (u64, u64)> {
    let below = (start < id).then(|| (start, id - 1));
    let above = (id < end).then(|| (id + 1, end));
    below.into_iter().chain(above)
}

/// Ranges to be read.
struct Spans {
    ranges: Vec<RangeInclusive<u64>>,
    /// How many known rows may still be among them.
    known: u64,
}

impl Spans {
    /// Adds a run, to the last range if it is close to it.
    fn push(&mut self, (start, end): (u64, u64)) {
        if let Some(last) = self.ranges.last_mut()
            && start > *last.end()
            && start - *last.end() <= READ_BETWEEN.min(self.known)
            && end - *last.start() < SPAN
        {
            self.known -= start - *last.end() - 1;
            *last = *last.start()..=end;
            return;
        }
        self.ranges.push(start..=end);
    }
}

/// Adds at most `room` spans, starting at `from` and coming round; returns where to go on.
fn around(runs: impl Iterator<Item = (u64, u64)> + Clone, from: u64, room: usize, spans: &mut Spans) -> u64 {
    let most = spans.ranges.len() + room;
    let (behind, before) = (runs.clone(), runs);
    let round = behind
        .filter(|(start, _)| *start >= from)
        .chain(before.filter(|(start, _)| *start < from));
    for run in round {
        let mut ranges = spans.ranges.iter();
        if ranges.any(|range| *range.start() <= run.0 && run.1 <= *range.end()) {
            continue;
        }
        spans.push(run);
        if spans.ranges.len() > most {
            spans.ranges.pop();
            return run.0;
        }
    }
    0
}
