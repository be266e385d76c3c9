//! One process in dialogue with a table: its questions, and its use of the answers. Statements take no time here.

use std::time::Duration;

use jsocketd::config::Database;
use jsocketd::outbox::{Counters, Event, Outbox, Reach, Seen};
use jsocketd::protocol::position::{Place, Position};
use jsocketd::protocol::rows::Missed;
use jsocketd::store::{Answer, Failure, NewRow, Question, Readiness};
use jsocketd::time::{Now, Time};

use crate::memory::{Link, OutboxTables, Tables};

/// The wall clock when a test begins.
pub const START_MS: u64 = 1_800_000_000_000;

/// Bytes of an event's data.
pub const MOST_BYTES: usize = 10_240;

pub fn at(us: u64) -> Now {
    Now {
        at: Time(us),
        unix_ms: START_MS + us / 1000,
    }
}

/// The tables as they were installed a moment ago.
pub fn tables() -> Tables {
    Tables::new(START_MS.cast_signed())
}

pub fn row(channel: &str, data: &str) -> NewRow {
    NewRow {
        channel: channel.into(),
        event: "e".into(),
        data: data.into(),
        socket_id: None,
    }
}

pub fn control(verb: &str, data: &str) -> NewRow {
    NewRow {
        event: verb.into(),
        ..row("#control", data)
    }
}

/// A process: its outbox and its connection.
pub struct Process {
    pub outbox: Outbox,
    pub link: Link,
    /// Which client of the server it is.
    pub client: u32,
    /// The process has no connections.
    pub alone: bool,
    /// Names of the questions so far.
    pub asked: Vec<&'static str>,
}

impl Process {
    pub fn new(settings: &Database, client: u32) -> Self {
        Self {
            outbox: Outbox::new(settings, client.wrapping_mul(0x9e37_79b9) | 1, MOST_BYTES),
            link: Link::new(client),
            client,
            alone: false,
            asked: Vec::new(),
        }
    }

    /// Whether the process can send a question; makes a connection if it may.
    pub fn is_connected(&mut self, tables: &Tables, now: Now) -> bool {
        if self.link.readiness(now) == Readiness::Probe {
            self.link.probed(Ok(0), tables, now);
        }
        self.link.readiness(now) == Readiness::Ready
    }

    /// The due question. The deadline promises that there is one: a loop that wakes for nothing would spin.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        let due = self.outbox.deadline();
        let question = self.outbox.question(self.alone, now);
        match &question {
            None => assert!(due > now.at, "it wakes the loop for nothing"),
            Some(question) => {
                assert!(due <= now.at, "{question:?} is asked before it is due");
                self.asked.push(question.name());
            }
        }
        question
    }

    /// When it is due again, as the loop sees it.
    pub fn due(&self, now: Now) -> Time {
        match self.link.readiness(now) {
            Readiness::Ready => self.outbox.deadline(),
            Readiness::Probe | Readiness::Preparing => now.at,
            Readiness::Closed(until) => until,
        }
    }
}

/// One process, its tables, and a clock.
pub struct Stage {
    pub process: Process,
    pub tables: Tables,
    settings: Database,
    pub us: u64,
    pub seen: Vec<Seen>,
    /// Questions that fail, by name.
    pub failing: Vec<(&'static str, Failure)>,
}

impl Stage {
    /// Nothing was asked yet.
    pub fn new(tables: Tables, settings: &Database) -> Self {
        Self {
            process: Process::new(settings, 1),
            tables,
            settings: settings.clone(),
            us: 0,
            seen: Vec::new(),
            failing: Vec::new(),
        }
    }

    /// Rows are delivered, and nothing waits.
    pub fn ready() -> Self {
        Self::ready_with(&Database::default())
    }

    pub fn ready_with(settings: &Database) -> Self {
        let mut stage = Self::new(tables(), settings);
        stage.run(10);
        assert!(stage.outbox().is_ready());
        stage
    }

    /// Another process takes the place of this one.
    pub fn restart(&mut self) {
        self.tables.end(self.process.client);
        self.process = Process::new(&self.settings, self.process.client + 1);
        self.process.link.probed(Ok(0), &self.tables, self.now());
        self.seen.clear();
    }

    pub fn now(&self) -> Now {
        at(self.us)
    }

    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.process.outbox
    }

    pub fn table(&mut self) -> &mut OutboxTables {
        &mut self.tables.outbox
    }

    /// Commits a row; its id.
    pub fn publish(&mut self, channel: &str) -> u64 {
        self.tables.outbox.publish(row(channel, "{}"))
    }

    /// Lets milliseconds pass; everything that is due is asked.
    pub fn run(&mut self, ms: u64) {
        let end = self.us + ms * 1000;
        loop {
            self.work();
            let next = self.process.due(self.now()).0.min(end);
            if self.us >= end {
                return;
            }
            self.us = next.max(self.us + 1);
        }
    }

    /// Asks everything that is due now.
    pub fn work(&mut self) {
        for _ in 0..5000 {
            if self.turn().is_none() {
                return;
            }
        }
        panic!("it asks for ever");
    }

    /// Asks one question that is due; which it was.
    pub fn turn(&mut self) -> Option<Question> {
        let now = self.now();
        self.tables.now = now.unix_ms.cast_signed();
        if !self.process.is_connected(&self.tables, now) {
            return None;
        }
        let question = self.process.question(now)?;
        let failing = self.failing.iter().find(|(name, _)| *name == question.name());
        if let Some((_, failure)) = failing {
            self.process.link.fail_next(1, failure.clone());
        }
        let answer = self.process.link.ask(&question, &mut self.tables, now);
        self.answer(&question, answer);
        Some(question)
    }

    pub fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>) {
        let now = self.now();
        self.seen.extend(self.process.outbox.answer(question, answer, now));
    }

    /// Asks until a question of this kind is due; it is not answered yet.
    pub fn asks(&mut self, name: &str) -> Question {
        for _ in 0..100_000 {
            let now = self.now();
            self.tables.now = now.unix_ms.cast_signed();
            if self.process.is_connected(&self.tables, now)
                && let Some(question) = self.process.question(now)
            {
                if question.name() == name {
                    return question;
                }
                let answer = self.process.link.ask(&question, &mut self.tables, now);
                self.answer(&question, answer);
            } else {
                self.us = self.process.due(now).0.max(self.us + 1);
            }
        }
        panic!("{name} is never asked");
    }

    /// Answers what [`Self::asks`] gave.
    pub fn goes_on(&mut self, question: &Question) {
        let now = self.now();
        let answer = self.process.link.ask(question, &mut self.tables, now);
        self.answer(question, answer);
    }

    /// Numbers of the events since the last call.
    pub fn numbers(&mut self) -> Vec<u64> {
        let seen = std::mem::take(&mut self.seen);
        seen.iter()
            .filter_map(|seen| event(seen).map(|event| event.logged.seq))
            .collect()
    }

    /// Ids of the events since the last call.
    pub fn ids(&mut self) -> Vec<u64> {
        self.numbers().into_iter().map(|seq| self.id(seq)).collect()
    }

    /// The id of the row with a number.
    pub fn id(&self, seq: u64) -> u64 {
        let after = seq - 1;
        self.tables.outbox.numbered(after).next().expect("a row").0
    }

    pub fn last(&self) -> u64 {
        self.process.outbox.position().expect("it is known").number()
    }

    /// The position of a row.
    pub fn since(&self, seq: u64) -> Position {
        let place = self.tables.outbox.place(seq).unwrap_or(Place { seq, mark: 1 });
        Position::Table {
            epoch: self.epoch(),
            place,
        }
    }

    pub fn epoch(&self) -> u32 {
        match self.process.outbox.position().expect("it is known") {
            Position::Table { epoch, .. } => epoch,
            other => panic!("{other}"),
        }
    }

    pub fn reach(&mut self, channel: &str, seq: u64) -> Reach {
        let since = self.since(seq);
        self.reach_from(channel, since, 0)
    }

    pub fn reach_from(&mut self, channel: &str, since: Position, waited_ms: u64) -> Reach {
        let now = self.now();
        let waited = Duration::from_millis(waited_ms);
        self.process.outbox.reaches(channel, since, waited, now)
    }

    /// The numbers that a returning client gets, once they are known; `None`: the client gets a gap.
    pub fn missed(&mut self, channel: &str, seq: u64) -> Option<Vec<u64>> {
        let since = self.since(seq);
        self.missed_since(channel, since)
    }

    pub fn missed_since(&mut self, channel: &str, since: Position) -> Option<Vec<u64>> {
        let began = self.us;
        let mut generation = None;
        for _ in 0..10_000 {
            // Like the service, this checks again only when the generation has changed.
            let now = self.process.outbox.generation();
            if generation.replace(now) == Some(now) {
                self.run(1);
                continue;
            }
            match self.reach_from(channel, since, (self.us - began) / 1000) {
                Reach::Yes => {
                    let (mut n, mut all) = (since.number(), Vec::new());
                    let at = self.now();
                    while let Missed::Event(logged) = self.process.outbox.missed(channel, n, at) {
                        n = logged.seq;
                        all.push(n);
                    }
                    return Some(all);
                }
                Reach::No => return None,
                Reach::Ask | Reach::Read => {}
            }
        }
        panic!("it is never known");
    }

    pub fn counters(&self) -> Counters {
        self.process.outbox.counters(self.now())
    }

    /// How many questions of this name were asked since the last call of any.
    pub fn count(&mut self, name: &str) -> usize {
        let asked = std::mem::take(&mut self.process.asked);
        asked.iter().filter(|asked| **asked == name).count()
    }
}

pub fn event(seen: &Seen) -> Option<&Event> {
    match seen {
        Seen::Event(event) => Some(event),
        _ => None,
    }
}
