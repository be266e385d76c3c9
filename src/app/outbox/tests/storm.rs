//! Thousands of stories from fixed seeds: writers with transactions of every kind, a store that loses questions and answers,
//! restarts, several processes, deletions and disasters; and clients that follow the documented rules. The oracle is dumb: it
//! writes down every commit, every row that an answer had for the first time, and every frame that a client took.
//!
//! The rules of a client: `pos` of a frame, else its `id`, is the position, if it is higher than what it had; ids above the
//! position are remembered, and a frame whose id is remembered is a double.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::table::Table;
use super::{at, event, row};
use crate::app::outbox::{Outbox, Reach, Seen};
use crate::config::Database;
use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Question};

const STORIES: u64 = 400;
const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// Milliseconds of the storm, and of the calm in which everything has to come right.
const STORM: u64 = 12_000;
const CALM: u64 = 45_000;

#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What kind of story it is.
#[derive(Clone, Debug)]
struct Plot {
    settings: Database,
    processes: usize,
    /// Transactions may be open for longer than `gap_max`.
    slow: bool,
    restarts: bool,
    /// The table is truncated or restored.
    disasters: bool,
    increment: u64,
    /// Two servers write, each with ids of its own.
    cluster: bool,
    /// With large events an answer has few rows.
    max_event_size: usize,
    /// One in so many questions fails.
    losses: u64,
}

impl Plot {
    fn of(dice: &mut Dice) -> Self {
        let slow = dice.one_in(4);
        let increment = [1, 1, 1, 3][dice.below(4) as usize];
        Self {
            settings: Database {
                poll_ms: 30,
                idle_poll_ms: 100,
                gap_max: if slow { 2 } else { 60 },
                retention: [3600, 8][dice.below(2) as usize],
                history_rows: [100_000, 6][dice.below(2) as usize],
                ..Database::default()
            },
            // Another process, or a later one, may take a row for settled that this one waits for: a hole that is documented.
            processes: if !slow && dice.one_in(3) { 2 } else { 1 },
            restarts: !slow && dice.one_in(2),
            slow,
            disasters: dice.one_in(6),
            cluster: increment > 1 && dice.one_in(2),
            increment,
            max_event_size: [10_240, 1 << 20][dice.below(2) as usize],
            losses: [0, 10, 40][dice.below(3) as usize],
        }
    }
}

/// A transaction: what it does, and when.
#[derive(Debug)]
struct Transaction {
    steps: VecDeque<(u64, Step)>,
    /// Handed out and not written.
    reserved: VecDeque<u64>,
    written: Vec<(u64, &'static str)>,
    /// Ids of the other server.
    foreign: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve(u64),
    Write,
    Commit,
    RollBack,
}

#[derive(Debug)]
struct Process {
    outbox: Outbox,
    /// Rows that an answer had.
    known: BTreeSet<u64>,
    /// Ids that were handed out before it began to load.
    before: u64,
    epochs: u64,
}

#[derive(Debug)]
struct Client {
    channel: &'static str,
    place: Place,
    next_move: u64,
    position: Option<Position>,
    /// Ids above the position.
    seen: BTreeSet<u64>,
    /// How often each row was handled.
    handled: BTreeMap<u64, u32>,
    /// Commits before it came, or before it was told of a gap.
    excused: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Away,
    /// Its position is being looked at.
    Asking(usize),
    /// It was told everything up to a row.
    Replaying(usize, u64),
    Live(usize),
}

#[derive(Debug)]
struct World {
    seed: u64,
    dice: Dice,
    plot: Plot,
    ms: u64,
    table: Table,
    transactions: Vec<Transaction>,
    commits: Vec<(u64, &'static str)>,
    processes: Vec<Process>,
    clients: Vec<Client>,
    /// Statements whose connection is gone and that take effect all the same.
    delayed: Vec<(u64, Question)>,
    gaps: u64,
    recovered: u64,
    /// All that stood in the table.
    epochs: BTreeSet<String>,
}

fn new_process(dice: &mut Dice, plot: &Plot) -> Process {
    Process {
        outbox: Outbox::new(&plot.settings, dice.roll() as u32, plot.max_event_size),
        known: BTreeSet::new(),
        before: 0,
        epochs: 0,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = dice.roll());
        let plot = Plot::of(&mut dice);
        let mut table = Table::new();
        table.increment = plot.increment;
        let processes = (0..plot.processes).map(|_| new_process(&mut dice, &plot)).collect();
        let client = |n: usize| Client {
            channel: CHANNELS[n % CHANNELS.len()],
            place: Place::Away,
            next_move: 0,
            position: None,
            seen: BTreeSet::new(),
            handled: BTreeMap::new(),
            excused: 0,
        };
        Self {
            seed,
            dice,
            plot,
            ms: 0,
            table,
            transactions: Vec::new(),
            commits: Vec::new(),
            processes,
            clients: (0..6).map(client).collect(),
            delayed: Vec::new(),
            gaps: 0,
            recovered: 0,
            epochs: BTreeSet::new(),
        }
    }

    fn play(&mut self) {
        while self.ms < STORM {
            self.stir();
            self.tick();
            self.ms += 1 + self.dice.below(12);
        }
        while self.ms < STORM + CALM {
            self.tick();
            self.ms += 40;
        }
        self.judge();
    }

    fn tick(&mut self) {
        self.write();
        for n in 0..self.clients.len() {
            self.step_client(n);
        }
        for who in 0..self.processes.len() {
            self.work(who);
        }
        for n in 0..self.clients.len() {
            self.recover(n);
        }
    }

    /// What happens in a storm.
    fn stir(&mut self) {
        if self.transactions.len() < 8 && self.dice.one_in(4) {
            self.begin();
        }
        if self.plot.restarts && self.dice.one_in(600) {
            let who = self.dice.below(self.processes.len() as u64) as usize;
            self.processes[who] = new_process(&mut self.dice, &self.plot);
            self.table.unlock(who);
            for n in 0..self.clients.len() {
                if self.process_of(n) == Some(who) {
                    self.leave(n);
                }
            }
        }
        if self.plot.disasters && self.dice.one_in(1200) {
            self.transactions.clear();
            self.table.locked.clear();
            match self.dice.below(3) {
                0 => {
                    self.table.rows.clear();
                    self.table.next = 1;
                    self.table.made += "x";
                }
                1 => self.table.state.clear(),
                _ => {
                    // A backup of some rows ago is restored, without the state table.
                    let to = self.table.next.saturating_sub(self.dice.below(30)).max(1);
                    self.table.rows.split_off(&to);
                    self.table.next = to;
                    self.table.made += "x";
                }
            }
        }
    }

    // --- writers -------------------------------------------------------------------------------------------------

    fn begin(&mut self) {
        let mut steps = VecDeque::new();
        let mut ms = self.ms;
        for _ in 0..=self.dice.below(2) {
            match self.dice.below(4) {
                // Its id is there before its row, but not for long.
                0 | 1 => {
                    steps.push_back((ms, Step::Reserve(1)));
                    ms += self.dice.below(400);
                    steps.push_back((ms, Step::Write));
                }
                2 => {
                    let rows = 2 + self.dice.below(8);
                    steps.push_back((ms, Step::Reserve(rows)));
                    for _ in 0..rows {
                        steps.push_back((ms, Step::Write));
                        ms += self.dice.below(150);
                    }
                }
                // INSERT … SELECT: ids in growing blocks, the last one not used up.
                _ => {
                    let mut left = 1 + self.dice.below(12);
                    let mut block = 1;
                    while left > 0 {
                        steps.push_back((ms, Step::Reserve(block)));
                        for _ in 0..block.min(left) {
                            steps.push_back((ms, Step::Write));
                            ms += self.dice.below(150);
                        }
                        left -= block.min(left);
                        block *= 2;
                    }
                }
            }
        }
        let patience = match self.dice.below(10) {
            0 => 6000,
            1..=3 => 1500,
            _ => 30,
        };
        ms += self.dice.below(patience);
        let killed = self.dice.one_in(12);
        if killed {
            steps.truncate(1 + self.dice.below(steps.len() as u64) as usize);
        }
        let undone = killed || self.dice.one_in(6);
        steps.push_back((ms, if undone { Step::RollBack } else { Step::Commit }));
        self.transactions.push(Transaction {
            steps,
            reserved: VecDeque::new(),
            written: Vec::new(),
            foreign: self.plot.cluster && self.dice.one_in(3),
        });
    }

    fn write(&mut self) {
        let (now, mut transactions) = (self.ms, std::mem::take(&mut self.transactions));
        transactions.retain_mut(|transaction| {
            while transaction.steps.front().is_some_and(|(ms, _)| *ms <= now)
                && let Some((_, step)) = transaction.steps.pop_front()
            {
                match step {
                    Step::Reserve(count) => {
                        let ids = self.table.reserve(count);
                        let shift = u64::from(transaction.foreign);
                        // What is left of the block before is never written.
                        transaction.reserved = ids.iter().map(|id| id + shift).collect();
                    }
                    Step::Write => {
                        let id = transaction.reserved.pop_front().expect("reserved before");
                        let channel = CHANNELS[self.dice.below(3) as usize];
                        self.table.locked.insert(id);
                        transaction.written.push((id, channel));
                    }
                    Step::Commit => {
                        for (id, channel) in &transaction.written {
                            self.table.commit(*id, channel, &format!("{{\"row\":{id}}}"));
                            self.commits.push((*id, channel));
                        }
                        return false;
                    }
                    Step::RollBack => {
                        transaction
                            .written
                            .iter()
                            .for_each(|(id, _)| _ = self.table.locked.remove(id));
                        return false;
                    }
                }
            }
            true
        });
        self.transactions = transactions;
        let delayed = std::mem::take(&mut self.delayed);
        for (ms, question) in delayed {
            match ms <= now {
                true => _ = self.table.ask(usize::MAX, &question, at(now)),
                false => self.delayed.push((ms, question)),
            }
        }
    }

    // --- processes -----------------------------------------------------------------------------------------------

    fn work(&mut self, who: usize) {
        // Sometimes the tick's budget is spent.
        for _ in 0..self.dice.below(12) {
            let now = at(self.ms);
            if self.processes[who].outbox.deadline() > now.at {
                return;
            }
            let Some(question) = self.processes[who].outbox.question(now) else {
                assert!(
                    self.processes[who].outbox.deadline() > now.at,
                    "seed {}: it wakes for nothing",
                    self.seed
                );
                return;
            };
            let answer = self.ask(who, &question);
            self.take(who, &question, answer);
        }
    }

    fn ask(&mut self, who: usize, question: &Question) -> Result<Answer, Failure> {
        let losses = self.plot.losses;
        if self.ms >= STORM || losses == 0 || !self.dice.one_in(losses) {
            return self.table.ask(who, question, at(self.ms));
        }
        // The connection is gone, and its lock.
        match self.dice.below(3) {
            0 => {}
            1 => drop(self.table.ask(who, question, at(self.ms))),
            _ if matches!(question, Question::Write { .. } | Question::Delete(_)) => {
                let ms = self.ms + self.dice.below(2000);
                self.delayed.push((ms, question.clone()));
            }
            _ => return Err(Failure::Locked),
        }
        self.table.unlock(who);
        Err(Failure::Unavailable("lost".into()))
    }

    /// An answer goes in, and what comes out is what the oracle expects.
    fn take(&mut self, who: usize, question: &Question, answer: Result<Answer, Failure>) {
        let (now, seed) = (at(self.ms), self.seed);
        let handed_out = self.table.next - 1;
        let process = &mut self.processes[who];
        let ready = process.outbox.is_ready();
        let rows = match &answer {
            Ok(Answer::Rows(rows)) if question.name() == "tail" => rows.iter().map(|row| row.id).collect(),
            _ => Vec::new(),
        };
        process.outbox.answer(question, answer, now);
        let new = rows.into_iter().filter(|id| process.known.insert(*id));
        let before = process.before;
        let expected: Vec<u64> = new.filter(|id| ready || *id > before).collect();
        let seen = process.outbox.take_seen();
        let found: Vec<u64> = seen.iter().filter_map(event).map(|event| event.id).collect();
        assert_eq!(
            found, expected,
            "seed {seed}: the order of visibility at {} ms",
            self.ms
        );
        self.epochs
            .extend(self.table.state.get("epoch").map(|(epoch, _)| epoch.clone()));
        let epochs = process.outbox.counters(now).epochs;
        if epochs != process.epochs {
            process.epochs = epochs;
            process.known.clear();
            process.before = handed_out;
        }
        self.check_safe(who);
        for seen in &seen {
            self.deliver(who, seen);
        }
    }

    fn check_safe(&self, who: usize) {
        // In a disaster the truth changes before anybody can know.
        if self.plot.slow || self.plot.disasters || self.plot.cluster {
            return;
        }
        let process = &self.processes[who];
        let Some(safe) = process.outbox.position().map(row) else {
            return;
        };
        let pending = self.transactions.iter().flat_map(|t| {
            let may_come = t.steps.iter().filter(|(_, step)| matches!(step, Step::Write)).count();
            let reserved = t.reserved.iter().take(may_come);
            reserved.chain(t.written.iter().map(|(id, _)| id))
        });
        // Every row is much to look at.
        let look = self.ms.is_multiple_of(8);
        let unknown = self.kept().filter(|id| look && !process.known.contains(id));
        for id in pending.chain(unknown) {
            assert!(
                *id > safe,
                "seed {}: {safe} is safe at {} ms, {id} is not settled",
                self.seed,
                self.ms
            );
        }
        assert_eq!(process.outbox.counters(at(self.ms)).late, 0, "seed {}", self.seed);
    }

    /// Rows that are not about to be deleted.
    fn kept(&self) -> impl Iterator<Item = &u64> {
        let deleted_to = self
            .table
            .state
            .get("deleted_to")
            .and_then(|(value, _)| value.parse().ok());
        let deleted_to = deleted_to.map_or(0, row);
        self.table.rows.keys().filter(move |id| **id > deleted_to)
    }

    // --- clients -------------------------------------------------------------------------------------------------

    fn process_of(&self, n: usize) -> Option<usize> {
        match self.clients[n].place {
            Place::Away => None,
            Place::Asking(who) | Place::Replaying(who, _) | Place::Live(who) => Some(who),
        }
    }

    fn leave(&mut self, n: usize) {
        self.clients[n].place = Place::Away;
        self.clients[n].next_move = self.ms + self.dice.below(3000);
    }

    fn step_client(&mut self, n: usize) {
        // In the end everybody stays.
        let storm = self.ms < STORM;
        if self.clients[n].next_move > self.ms {
            return;
        }
        let pause = self.dice.below(2500);
        self.clients[n].next_move = self.ms + pause;
        match self.clients[n].place {
            Place::Away => self.come(n),
            Place::Live(who) if self.dice.one_in(2) || !storm => {
                // A pong.
                let position = self.processes[who].outbox.position();
                self.clients[n].learn(position);
            }
            _ if storm => self.leave(n),
            _ => {}
        }
    }

    fn come(&mut self, n: usize) {
        let who = self.dice.below(self.processes.len() as u64) as usize;
        let position = self.processes[who].outbox.position();
        let commits = self.commits.len();
        let client = &mut self.clients[n];
        match (client.position, position) {
            (Some(_), _) => client.place = Place::Asking(who),
            (None, Some(position)) => {
                client.place = Place::Live(who);
                client.position = Some(position);
                client.excused = commits;
            }
            (None, None) => {}
        }
    }

    /// The part of the service that tells what was missed.
    fn recover(&mut self, n: usize) {
        let now = at(self.ms);
        let client = &self.clients[n];
        let channel = client.channel;
        let Some(position) = client.position else { return };
        let (who, from, reach) = match client.place {
            Place::Asking(who) => {
                let reach = self.processes[who].outbox.reaches(channel, position, now);
                (who, row(position), reach)
            }
            Place::Replaying(who, from) => (who, from, self.processes[who].outbox.goes_on(channel, from, now)),
            Place::Away | Place::Live(_) => return,
        };
        match reach {
            Reach::Ask | Reach::Soon => {}
            Reach::No => self.gap(n, who),
            Reach::Yes => self.tell(n, who, from),
        }
    }

    fn tell(&mut self, n: usize, who: usize, mut from: u64) {
        let outbox = &self.processes[who].outbox;
        for _ in 0..=self.dice.below(4) {
            let Some((id, frame, _)) = outbox.next(self.clients[n].channel, from) else {
                self.clients[n].place = Place::Live(who);
                self.recovered += 1;
                return;
            };
            let frame = outbox.with_pos(id, frame);
            self.clients[n].take(&frame);
            from = id;
        }
        self.clients[n].place = Place::Replaying(who, from);
    }

    /// The client is told that something may be missing: it loads everything anew.
    fn gap(&mut self, n: usize, who: usize) {
        self.gaps += 1;
        let client = &mut self.clients[n];
        client.check_doubles(self.seed);
        client.position = self.processes[who].outbox.position();
        client.seen.clear();
        client.handled.clear();
        client.excused = self.commits.len();
        client.place = match client.position {
            Some(_) => Place::Live(who),
            None => Place::Away,
        };
    }

    fn deliver(&mut self, who: usize, seen: &Seen) {
        let epoch = self.processes[who].outbox.position().map(super::epoch);
        for n in 0..self.clients.len() {
            if self.process_of(n) != Some(who) {
                continue;
            }
            let event = match seen {
                Seen::Event(event) => event,
                Seen::Gap => {
                    self.gap(n, who);
                    continue;
                }
                Seen::Control(control) => panic!("nobody wrote {control:?}"),
            };
            let client = &mut self.clients[n];
            let told = match client.place {
                Place::Live(_) => true,
                // What lies behind it would never come; what lies before it waits in the history.
                Place::Replaying(_, from) => event.id <= from,
                Place::Asking(_) => client
                    .position
                    .is_some_and(|own| event.id <= row(own) && epoch == Some(super::epoch(own))),
                Place::Away => false,
            };
            if told && event.channel == client.channel {
                client.take(&event.frame);
            }
        }
    }

    /// Everything has come to rest.
    fn judge(&mut self) {
        let seed = self.seed;
        let Plot {
            slow,
            disasters,
            cluster,
            ..
        } = self.plot;
        // Two processes that find no epoch at the same moment make two.
        if self.epochs.len() < 2 && !slow && !disasters && !cluster && self.plot.settings.retention == 3600 {
            assert_eq!(self.gaps, 0, "seed {seed}: without a reason, {:?}", self.plot);
        }
        for process in &self.processes {
            assert!(process.outbox.is_ready(), "seed {seed}");
            for id in self.kept() {
                assert!(process.known.contains(id), "seed {seed}: row {id} was never seen");
            }
            let counters = process.outbox.counters(at(self.ms));
            assert_eq!((counters.gaps_open, counters.bad), (0, 0), "seed {seed}");
        }
        for (n, client) in self.clients.iter().enumerate() {
            assert!(
                matches!(client.place, Place::Live(_)),
                "seed {seed}: client {n} {:?}",
                client.place
            );
            client.check_doubles(seed);
            for (id, channel) in &self.commits[client.excused..] {
                let handled = *channel != client.channel || client.handled.contains_key(id);
                assert!(handled, "seed {seed}: client {n} missed row {id}, {:?}", self.plot);
            }
        }
    }
}

impl Client {
    fn take(&mut self, frame: &str) {
        let frame: serde_json::Value = serde_json::from_str(frame).expect("JSON");
        let position = |name: &str| -> Option<Position> { frame[name].as_str().map(|text| text.parse().expect("one")) };
        let own = position("id").expect("every row has one");
        assert_eq!(frame["data"], format!("{{\"row\":{}}}", row(own)));
        if self.seen.insert(row(own)) {
            *self.handled.entry(row(own)).or_default() += 1;
        }
        self.learn(position("pos").or(Some(own)));
    }

    fn learn(&mut self, told: Option<Position>) {
        let Some(told) = told else { return };
        if self.position.is_none_or(|position| row(position) < row(told)) {
            self.position = Some(told);
        }
        let above = self.position.map_or(0, row);
        self.seen.retain(|id| *id > above);
    }

    fn check_doubles(&self, seed: u64) {
        let double = self.handled.iter().find(|(_, times)| **times > 1);
        assert_eq!(double, None, "seed {seed}: handled twice");
    }
}

#[test]
fn every_committed_row_is_seen_once_and_every_client_gets_it_once_or_is_told_of_a_gap() {
    // STORIES=5000 for more, or STORIES=87..88 for one.
    let asked = std::env::var("STORIES").unwrap_or_default();
    let (from, to) = match asked.split_once("..") {
        Some((from, to)) => (from.parse().expect("a number"), to.parse().expect("a number")),
        None => (1, asked.parse().unwrap_or(STORIES)),
    };
    let (mut gaps, mut recovered, mut commits) = (0, 0, 0);
    for seed in from..to {
        let mut world = World::new(seed);
        world.play();
        gaps += world.gaps;
        recovered += world.recovered;
        commits += world.commits.len() as u64;
    }
    println!("{gaps} gaps, {recovered} recoveries, {commits} commits");
    // The stories are worth something.
    let stories = to - from;
    if stories > 100 {
        assert!(gaps > stories, "{gaps}");
        assert!(recovered > 5 * stories, "{recovered}");
        assert!(commits > 200 * stories, "{commits}");
    }
}
