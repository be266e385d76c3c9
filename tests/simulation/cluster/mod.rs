//! Stories of a cluster: two to four processes on a model of the engine, which is slow, full, away, emptied or rolled
//! back; lines are cut, processes are killed, stand still, and come; wall clocks differ. At the end all is well for a
//! while, and then
//!
//! - every process sees the same processes, and exactly what each one holds;
//! - no process delivered an event twice, and a position names the same event on all processes;
//! - what is published now reaches all processes once and in the same order.
//!
//! In stories without faults of the engine every event reached every process in the same order, and each change of a
//! channel was one webhook.

mod engine;
mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Engine;
use jsocketd::cluster::Phase;
use jsocketd::protocol::engine::Line;
use jsocketd::time::{Now, Time};
use process::{LEASE, Process};

use crate::world::Dice;

const SEEDS: u64 = 400;

/// The faults that a story may have.
#[derive(Clone, Copy, PartialEq)]
enum Faults {
    None,
    /// Processes are killed, and others come.
    Processes,
    All,
}

struct Story {
    dice: Dice,
    now: Now,
    engine: Engine,
    processes: Vec<Process>,
    /// Those that were killed.
    killed: Vec<Process>,
    faults: Faults,
    slow: usize,
    /// When the engine is well again.
    mended: Time,
    published: u64,
    /// The engine lost its newest entries once. A process that had not read them cannot notice that: until another one
    /// begins an epoch, it uses their positions again.
    has_rolled_back: bool,
}

impl Story {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut dice = Dice::new(seed);
        let now = Now {
            at: Time(1_000_000),
            unix_ms: 1_796_000_000_000,
        };
        let count = 2 + dice.below(3);
        let processes = (0..count).map(|n| Process::new(n as u64, &mut dice, now)).collect();
        Self {
            dice,
            now,
            engine: Engine::default(),
            processes,
            killed: Vec::new(),
            faults,
            slow: 1,
            mended: Time(0),
            published: 0,
            has_rolled_back: false,
        }
    }

    fn start(&mut self) {
        let n = self.processes.len() + self.killed.len();
        let process = Process::new(n as u64, &mut self.dice, self.now);
        self.processes.push(process);
    }

    fn tick(&mut self) {
        let step = Duration::from_micros(1 + self.dice.below(20_000) as u64);
        self.now.at = self.now.at + step;
        self.now.unix_ms += step.as_millis() as u64;
        for process in &mut self.processes {
            if process.frozen <= self.now.at {
                process.tick(&mut self.engine, &mut self.dice, self.slow, self.now);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now.at + span;
        while self.now.at < until {
            self.tick();
        }
    }

    fn act(&mut self) {
        let n = self.dice.below(self.processes.len());
        if self.processes[n].frozen > self.now.at {
            return;
        }
        match self.dice.below(6) {
            0 => self.publish(n),
            1 => {
                let channel = format!("channel-{}", self.dice.below(5));
                let count = self.dice.below(3) as u32;
                self.processes[n].hold(&channel, count, self.now);
            }
            _ => {}
        }
    }

    fn publish(&mut self, n: usize) {
        self.published += 1;
        self.processes[n].publish(self.published.to_string(), self.now);
    }

    fn disturb(&mut self) {
        if self.faults == Faults::None {
            return;
        }
        if self.mended != Time(0) && self.mended <= self.now.at {
            self.mend();
        }
        let n = self.dice.below(self.processes.len());
        let seconds = Duration::from_secs(1 + self.dice.below(12) as u64);
        let dice = self.dice.below(if self.faults == Faults::All { 4000 } else { 16_000 });
        match dice {
            0..4 if self.processes.len() > 1 => {
                let killed = self.processes.remove(n);
                self.killed.push(killed);
            }
            4..8 if self.processes.len() < 4 => self.start(),
            _ if self.faults != Faults::All => {}
            8..16 => {
                let line = Line::BOTH[self.dice.below(2)];
                let process = &mut self.processes[n];
                process.cut(line, &mut self.engine, &mut self.dice, seconds / 4, self.now);
            }
            16..18 => self.processes[n].frozen = self.now.at + seconds,
            18..20 => self.engine.empty(),
            20 => {
                self.cut_all(Duration::ZERO);
                self.engine.roll_back(1 + self.dice.below(20));
                self.has_rolled_back = true;
            }
            21..24 => (self.engine.is_full, self.mended) = (true, self.now.at + seconds),
            24..26 => (self.slow, self.mended) = (1 + self.dice.below(1500), self.now.at + seconds),
            26..28 => {
                (self.engine.is_down, self.mended) = (true, self.now.at + seconds);
                self.cut_all(Duration::from_millis(50));
                if self.dice.one_in(2) {
                    self.engine.empty();
                }
            }
            _ => {}
        }
    }

    fn cut_all(&mut self, pause: Duration) {
        for process in &mut self.processes {
            for line in Line::BOTH {
                process.cut(line, &mut self.engine, &mut self.dice, pause, self.now);
            }
        }
    }

    fn mend(&mut self) {
        (self.engine.is_full, self.engine.is_down, self.slow, self.mended) = (false, false, 1, Time(0));
    }

    fn play(&mut self) {
        self.pass(Duration::from_secs(3));
        for _ in 0..3000 {
            self.tick();
            self.act();
            self.disturb();
        }
        self.mend();
        self.processes.iter_mut().for_each(|process| process.frozen = Time(0));
        self.pass(LEASE * 4);
    }

    fn judge(&mut self) {
        let now = self.now;
        let ids: Vec<_> = self.processes.iter().map(|process| process.cluster.me()).collect();
        let truth: BTreeMap<_, _> = self
            .processes
            .iter()
            .map(|p| (p.cluster.me(), p.holds.clone()))
            .collect();
        let leader = self.processes[0].cluster.state(now).leader;
        assert!(
            leader.is_some_and(|leader| ids.contains(&leader)),
            "a dead process leads"
        );
        for process in &self.processes {
            let state = process.cluster.state(now);
            assert_eq!(state.phase, Phase::Together);
            assert_eq!((state.processes, state.leader), (ids.len(), leader));
            // A heartbeat may be on its way.
            assert!(state.waiting_entries == 0 && state.unread_batches <= 1, "{state:?}");
            let told = process.told.iter().map(|(id, told)| {
                let told = told.iter().map(|(channel, (count, doubt))| {
                    assert!(!doubt, "what a process told is still in doubt");
                    (channel.clone(), *count)
                });
                (*id, told.collect::<BTreeMap<_, _>>())
            });
            let told: BTreeMap<_, _> = told
                .filter(|(id, told)| !told.is_empty() || truth.contains_key(id))
                .collect();
            assert_eq!(told, truth, "what the processes hold");
        }
        let mut positions = BTreeMap::new();
        for process in self.processes.iter().chain(&self.killed) {
            for (position, id) in &process.positions {
                let known = positions.entry(*position).or_insert(id);
                assert!(
                    *known == id || self.has_rolled_back,
                    "two events have the position {position:?}"
                );
            }
        }
        self.judge_the_present();
    }

    /// What is published now reaches all, once and in the same order.
    fn judge_the_present(&mut self) {
        let before: Vec<usize> = self.processes.iter().map(|process| process.delivered.len()).collect();
        let first = self.published + 1;
        for _ in 0..50 {
            let n = self.dice.below(self.processes.len());
            self.publish(n);
            self.tick();
        }
        self.pass(Duration::from_secs(1));
        let new = |n: usize| &self.processes[n].delivered[before[n]..];
        let mut all: Vec<u64> = new(0).iter().map(|id| id.parse().unwrap()).collect();
        assert!((1..before.len()).all(|n| new(n) == new(0)), "the order differs");
        all.sort_unstable();
        assert_eq!(all, (first..=self.published).collect::<Vec<_>>(), "an event is missing");
    }

    /// In a story without faults of the engine each change of a channel is one webhook, in order.
    fn judge_hooks(&self, is_exact: bool) {
        let all = self
            .killed
            .iter()
            .chain(&self.processes)
            .flat_map(|process| &process.hooks);
        let mut occupied = BTreeMap::new();
        for (channel, is) in all {
            let was = occupied.insert(channel, *is);
            assert!(
                !is_exact || was.unwrap_or(false) != *is,
                "a webhook of {channel} came twice or not"
            );
        }
        if is_exact {
            for n in 0..5 {
                let channel = format!("channel-{n}");
                let is = self
                    .processes
                    .iter()
                    .any(|process| process.holds.contains_key(&channel));
                assert_eq!(
                    occupied.get(&channel).copied().unwrap_or(false),
                    is,
                    "{channel} at the end"
                );
            }
        }
    }
}

#[test]
fn clusters_agree_after_all_faults() {
    crate::tell(SEEDS, |seed| {
        let mut story = Story::new(seed, Faults::All);
        story.play();
        story.judge();
    });
}

#[test]
fn processes_come_and_die_beside_a_good_engine() {
    crate::tell(SEEDS / 2, |seed| {
        let mut story = Story::new(seed, Faults::Processes);
        story.play();
        story.judge();
        story.judge_hooks(false);
        for process in &story.processes {
            assert_eq!((process.gaps, process.cluster.state(story.now).isolations), (0, 0));
        }
    });
}

#[test]
fn beside_a_good_engine_everybody_gets_everything_once() {
    crate::tell(SEEDS / 4, |seed| {
        let mut story = Story::new(seed, Faults::None);
        story.play();
        story.judge();
        story.judge_hooks(true);
        for process in &story.processes {
            assert_eq!(process.delivered, story.processes[0].delivered);
            assert_eq!(process.delivered.len() as u64, story.published);
            assert!(process.past.is_empty() && process.gaps == 0);
        }
    });
}

#[test]
fn the_past_is_known_to_a_process_that_comes() {
    let mut story = Story::new(7, Faults::None);
    story.play();
    story.start();
    story.pass(Duration::from_secs(3));
    let new = story.processes.last().unwrap();
    assert!(new.is_together(story.now), "{:?}", new.cluster.state(story.now));
    assert!(new.delivered.is_empty());
    let kept = new.past.len();
    assert!(kept > 0 && new.past.iter().all(|id| story.processes[0].delivered.contains(id)));
    story.judge();
}

#[test]
fn the_log_is_trimmed_and_goes_on() {
    let mut story = Story::new(8, Faults::None);
    story.play();
    story.pass(Duration::from_secs(120));
    assert!(
        story.engine.trimmed > 100,
        "{} entries were deleted",
        story.engine.trimmed
    );
    assert!(
        story.engine.entries.len() < 300,
        "{} entries are left",
        story.engine.entries.len()
    );
    story.judge();
}

#[test]
fn a_process_that_leaves_is_gone_at_once() {
    let mut story = Story::new(9, Faults::None);
    story.play();
    let left = story.processes[0].cluster.me();
    story.processes[0].cluster.leave();
    assert!(!story.processes[0].cluster.has_left());
    story.pass(Duration::from_millis(200));
    assert!(story.processes[0].cluster.has_left());
    story.processes.remove(0);
    assert!(story.processes.iter().all(|process| !process.told.contains_key(&left)));
    story.judge();
}

#[test]
fn nothing_is_written_beside_the_bytes_of_somebody_else() {
    for is_early in [true, false] {
        let mut story = Story::new(10, Faults::None);
        if !is_early {
            story.pass(Duration::from_secs(3));
        }
        story.engine.write(b"{\"job\":1}");
        story.pass(Duration::from_secs(1));
        let size = story.engine.entries.len();
        story.pass(Duration::from_secs(30));
        assert_eq!(story.engine.entries.len(), size, "something was written");
        for n in 0..story.processes.len() {
            let Phase::Isolated { why, .. } = story.processes[n].cluster.state(story.now).phase else {
                panic!("it is not alone");
            };
            assert!(why.contains("another program"), "{why}");
            story.publish(n);
            assert_eq!(story.processes[n].delivered.last(), Some(&story.published.to_string()));
        }
        story.engine.empty();
        story
            .processes
            .iter_mut()
            .for_each(|process| process.cluster.set_apps(&["app", "other"]));
        story
            .processes
            .iter_mut()
            .for_each(|process| process.cluster.set_apps(&["gone", "app"]));
        story.pass(Duration::from_secs(5));
        story.judge();
    }
}
