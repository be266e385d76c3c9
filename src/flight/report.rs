//! What the recorder shows: as JSON for programs, as lines for people.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::culprit::{Culprit, Ms, Span};
use super::recorder::Recorder;
use super::tick::{Counts, PHASES, Tick};
use crate::time::{Now, utc};

/// How long the loop was away from its poller: the longest that a client's message waits for the loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lag {
    /// Ticks since the start.
    pub ticks: u64,
    /// The number of latest ticks in the percentiles.
    pub sample: usize,
    /// Microseconds, the median of the sample.
    pub p50_us: u32,
    /// Microseconds, the 99th percentile of the sample.
    pub p99_us: u32,
    /// Microseconds, the longest tick of the sample.
    pub max_us: u32,
    /// Microseconds: the longest tick of each of the last seconds that had a tick, newest first; 60 at most.
    pub worst_by_second_us: Vec<u32>,
}

/// The records as `GET /debug/loop` shows them. Times are microseconds unless the name says otherwise. A reader may be
/// of another version, so a part that is missing has its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Now, since the start.
    pub now_us: u64,
    /// Now, in milliseconds since 1970.
    pub unix_ms: u64,
    /// `[loop] slow_ms`: from here on a tick is slow.
    pub slow_ms: u64,
    /// Ticks since the start.
    pub ticks: u64,
    /// Slow ones among them.
    pub slow_ticks: u64,
    /// The time of all ticks together: what the loop did not wait.
    pub busy_us: u64,
    /// The number of latest ticks in the percentiles.
    pub sample: usize,
    /// The median of the sample.
    pub p50_us: u32,
    /// The 99th percentile of the sample.
    pub p99_us: u32,
    /// The longest tick of the sample.
    pub max_us: u32,
    /// The latest ticks, the oldest first.
    pub recent: Vec<TickView>,
    /// The worst ticks since the start, of 1 ms or longer, the longest first; `None`: as in the report before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Vec<TickView>>,
    /// The worst ticks of the last hour, the longest first; `None`: as in the report before, without those that are
    /// older than an hour now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_hour: Option<Vec<TickView>>,
    /// The culprits of the worst ticks of the last hour, the most expensive first.
    pub blame: Vec<Blame>,
}

/// One tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TickView {
    /// Its number since the start.
    pub n: u64,
    /// When it began, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How long the loop waited before.
    pub slept_us: u32,
    /// How much later than its timer it woke.
    pub late_us: u32,
    /// How long it took without the wait.
    pub us: u32,
    /// How long each phase took, in the order of [`PHASES`].
    #[serde(serialize_with = "by_name", deserialize_with = "of_names")]
    pub phases_us: [u32; PHASES.len()],
    /// What it did.
    pub counts: Counts,
    /// Connections and listeners that became ready while it ran.
    pub waiting: u32,
    /// What took the longest.
    pub culprit: CulpritView,
}

/// Writes the times of the phases by their names.
fn by_name<S: Serializer>(phases: &[u32; PHASES.len()], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(PHASES.iter().map(|(_, name)| name).zip(phases))
}

/// Reads them: a phase that is missing took no time, and an unknown one is ignored.
fn of_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u32; PHASES.len()], D::Error> {
    let times = HashMap::<String, u32>::deserialize(deserializer)?;
    Ok(PHASES.map(|(_, name)| times.get(name).copied().unwrap_or_default()))
}

/// A culprit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CulpritView {
    /// The kind of work.
    pub kind: String,
    /// What it was: the same text for the same thing.
    pub name: String,
    /// How long it took.
    pub us: u32,
    /// All of it as a sentence.
    pub text: String,
}

/// The time that one culprit had of the worst ticks of the last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blame {
    /// The kind of work.
    pub kind: String,
    /// The name of the work: the same text for the same work.
    pub name: String,
    /// In how many of these ticks it was the culprit.
    pub ticks: usize,
    /// The time that it took in them.
    pub us: u64,
    /// The longest time.
    pub worst_us: u32,
}

impl From<&Culprit> for CulpritView {
    fn from(culprit: &Culprit) -> Self {
        Self {
            kind: culprit.kind.name().to_owned(),
            name: culprit.thing(),
            us: culprit.us,
            text: culprit.to_string(),
        }
    }
}

impl From<&Tick> for TickView {
    fn from(tick: &Tick) -> Self {
        Self {
            n: tick.number,
            unix_ms: tick.unix_ms,
            slept_us: tick.slept_us,
            late_us: tick.late_us,
            us: tick.us,
            phases_us: tick.phases,
            counts: tick.counts,
            waiting: tick.waiting,
            culprit: CulpritView::from(&tick.culprit),
        }
    }
}

/// `526 ms, of which work 521: statement sessions 500 ms (no answer), 3 connections waited`
impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phase, us) = self.longest_phase();
        let phase = PHASES[phase as usize].1;
        write!(f, "{}, of which {phase} {}: {}", Span(self.us), Ms(us), self.culprit)?;
        match self.waiting {
            0 => Ok(()),
            1 => f.write_str(", 1 connection waited"),
            many => write!(f, ", {many} connections waited"),
        }
    }
}

impl Lag {
    /// The percentiles of the latest ticks, and the worst tick of each second.
    pub fn of(recorder: &Recorder) -> Self {
        let mut sorted: Vec<u32> = recorder.ticks().map(|tick| tick.us).collect();
        sorted.sort_unstable();
        let at = |part: f64| sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1)));
        Self {
            ticks: recorder.totals.ticks,
            sample: sorted.len(),
            p50_us: at(0.5).copied().unwrap_or(0),
            p99_us: at(0.99).copied().unwrap_or(0),
            max_us: sorted.last().copied().unwrap_or(0),
            worst_by_second_us: recorder.by_second.iter().rev().map(|(_, worst)| *worst).collect(),
        }
    }
}

impl Report {
    /// The records at `now` for a reader who has those up to tick `since`; 0: it has none. Of the latest ticks only
    /// those after it, at most `limit`. A list of the worst is left out if no tick after it belongs to the list.
    pub fn new(recorder: &Recorder, since: u64, limit: usize, slow_ms: u64, now: Now) -> Self {
        let lag = Lag::of(recorder);
        let totals = &recorder.totals;
        let newest_first = |tick: &&Tick| std::cmp::Reverse(tick.number);
        let mut recent: Vec<&Tick> = recorder.ticks().filter(|tick| tick.number > since).collect();
        recent.sort_by_key(newest_first);
        recent.truncate(limit);
        let mut worst: Vec<&Tick> = recorder.worst.ticks().iter().collect();
        worst.sort_by_key(|tick| std::cmp::Reverse((tick.us, tick.number)));
        let worst_hour = recorder.hour.ticks(now.at);
        let changed = |ticks: &[&Tick]| {
            let is_changed = since == 0 || ticks.iter().any(|tick| tick.number > since);
            is_changed.then(|| ticks.iter().map(|tick| TickView::from(*tick)).collect())
        };
        Self {
            now_us: now.at.0,
            unix_ms: now.unix_ms,
            slow_ms,
            ticks: totals.ticks,
            slow_ticks: totals.slow,
            busy_us: totals.tick.sum_us,
            sample: lag.sample,
            p50_us: lag.p50_us,
            p99_us: lag.p99_us,
            max_us: lag.max_us,
            recent: recent.into_iter().rev().map(TickView::from).collect(),
            blame: blame(&worst_hour),
            worst: changed(&worst),
            worst_hour: changed(&worst_hour),
        }
    }

    /// All records, a line each.
    pub fn text(&self) -> String {
        self.blame_text(usize::MAX) + "the latest ticks:\n" + &self.ticks_text()
    }

    /// The latest ticks, a line each, the oldest first.
    pub fn ticks_text(&self) -> String {
        self.recent.iter().map(TickView::line).collect()
    }

    /// The culprits of the worst ticks of the last hour, and these ticks, at most `many` lines of each.
    pub fn blame_text(&self, many: usize) -> String {
        let mut text = String::from("culprits of the worst ticks of the last hour:\n");
        for blame in self.blame.iter().take(many) {
            let ticks = if blame.ticks == 1 { "tick" } else { "ticks" };
            text += &format!(
                "{:>9} ms in {:>3} {ticks}, at most {}: {}\n",
                blame.us / 1000,
                blame.ticks,
                Span(blame.worst_us),
                blame.name
            );
        }
        text += "the worst ticks of the last hour:\n";
        text.extend(self.worst_hour.iter().flatten().take(many).map(TickView::line));
        text
    }
}

impl TickView {
    /// One line for people, with its end.
    fn line(&self) -> String {
        let time = utc(self.unix_ms).map_or_else(String::new, |time| time + " ");
        format!(
            "{time}tick {}: {:>7}, {}\n",
            self.n,
            Span(self.us).to_string(),
            self.culprit.text
        )
    }
}

/// The time of each culprit of these ticks, the most expensive first.
fn blame(ticks: &[&Tick]) -> Vec<Blame> {
    let mut things: HashMap<String, Blame> = HashMap::new();
    for tick in ticks {
        let culprit = &tick.culprit;
        let name = culprit.thing();
        let blame = things.entry(name.clone()).or_insert_with(|| Blame {
            kind: culprit.kind.name().to_owned(),
            name,
            ..Blame::default()
        });
        blame.ticks += 1;
        blame.us += u64::from(culprit.us);
        blame.worst_us = blame.worst_us.max(culprit.us);
    }
    let mut blame: Vec<Blame> = things.into_values().collect();
    blame.sort_by(|a, b| (b.us, &a.name).cmp(&(a.us, &b.name)));
    blame
}
