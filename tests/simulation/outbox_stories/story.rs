//! The stories: a few processes over one database, writers of every kind, clients that connect, leave and move, and
//! every kind of failure. The oracle is in `truth`; the rules for a client are in `clients`.
//!
//! 1. Every process delivers every row in the order of the numbers, once, and nothing else; a gap is reported only with
//!    a reason.
//! 2. Every client handles every committed row of its channels exactly once, wherever it moves, or gets a gap, and that
//!    only when the row of its position is not in the table any more, or the epoch is another one.
//! 3. A committed row is delivered within a poll, or within a second and a poll if it stood uncommitted, when nothing
//!    is broken.
//! 4. A deadline that has come has a question, and a question has a deadline that has come. Statements are bounded.
//!
//! The tables assert that numbers have no holes and no twins, and that no question comes within an open transaction.
//!
//! The file is long because a story has one owner of its dice: every move is made here.

use jsocketd::outbox::Seen;
use jsocketd::protocol::position::{Place, Position};
use jsocketd::store::{Answer, Failure, Look, Question, Readiness};

use crate::memory::{Durable, Link, Tables};
use crate::outbox_stories::clients::{Client, State, Told};
use crate::outbox_stories::dice::Dice;
use crate::outbox_stories::plot::Plot;
use crate::outbox_stories::stage::{Process, at, tables};
use crate::outbox_stories::truth::{Expected, Truth};
use crate::outbox_stories::writers::{CHANNELS, Writers};

pub const SECOND: u64 = 1_000_000;

/// After the storm everything is mended; then a while is given for everything to come right, with writers and without.
const CALM: u64 = 18 * SECOND;
const SILENCE: u64 = 8 * SECOND;

/// The time that the clock and the statements may add to a bound.
const SLACK: u64 = 30_000;

/// After trouble everything takes its time.
const AFTER_TROUBLE: u64 = 4 * SECOND;

/// After a look behind that took too long the table is looked at in windows for so long: it takes a poll for each.
const WINDOWS: u64 = 12 * SECOND;

/// Nothing is asked for so long after something was refused.
const REFUSED: u64 = 10 * SECOND;

/// Statements are started for so long after a tick began.
const TICK: u64 = 10_000;

/// Statements of a process in a second of a storm, in one in which rows are stamped one by one because some are locked,
/// and in one without any rows.
const MOST: u64 = 700;
const MOST_CAREFUL: u64 = 3500;
const MOST_IDLE: u64 = 14;

/// The client of the database that is PHP.
const PHP: u32 = 1000;

/// A question that is on its way.
struct Asked {
    question: Question,
    /// When the database runs it, and when its answer is there.
    runs: u64,
    done: u64,
    answer: Option<Result<Answer, Failure>>,
}

/// A process as the story has it.
struct Runner {
    process: Process,
    asked: Option<Asked>,
    wake: u64,
    /// When its tick began. Its clock shows this time until the tick is over.
    tick: u64,
    /// It does nothing before it.
    stopped: u64,
    /// When the server ends its connection, because it stopped in a transaction.
    ended: u64,
    /// The newest row that it handed on; `None`: it has to begin somewhere.
    anchor: Option<Place>,
    /// Whether its position was known when it was last read.
    known: bool,
    /// When it had trouble last.
    trouble: u64,
    /// The second of its last question, and how many there were in it.
    rate: (u64, u64),
}

pub struct World {
    dice: Dice,
    plot: Plot,
    us: u64,
    tables: Tables,
    truth: Truth,
    writers: Writers,
    next_writer: u64,
    next_stir: u64,
    runners: Vec<Runner>,
    clients: Vec<Client>,
    php: Link,
    /// How many clients of the database there were.
    connected: u32,
    /// When the database comes back.
    up: u64,
    backup: Option<Durable>,
    /// A backup is being restored, and it is there at this time.
    restores: Option<u64>,
    /// When the database had trouble last.
    trouble: u64,
    /// When the state of the tables was kept for a node that lags.
    remembered: i64,
    /// A new epoch is no surprise.
    may_renew: bool,
    log: bool,
    pub gaps: u64,
    pub recovered: u64,
}

impl World {
    pub fn new(seed: u64, log: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plot = Plot::of(&mut dice);
        let mut tables = tables();
        tables.outbox.step = plot.step;
        tables.outbox.most_in_flight = plot.most_in_flight;
        let mut truth = Truth::default();
        truth.note(&tables.outbox);
        let clients = (0..6).map(|n| match n % 3 {
            0 => Client::new(n, &CHANNELS[n % 2..n % 2 + 1]),
            1 => Client::new(n, &CHANNELS[1..]),
            _ => Client::new(n, &CHANNELS),
        });
        let mut world = Self {
            clients: clients.collect(),
            dice,
            us: 0,
            tables,
            truth,
            writers: Writers::default(),
            next_writer: 0,
            next_stir: SECOND,
            runners: Vec::new(),
            php: Link::new(PHP),
            connected: 0,
            up: 0,
            backup: None,
            restores: None,
            trouble: 0,
            remembered: 0,
            may_renew: false,
            log,
            gaps: 0,
            recovered: 0,
            plot,
        };
        world.tables.outbox.remember(at(0).unix_ms.cast_signed());
        world.say(|world| format!("{:?}", world.plot));
        for n in 0..world.plot.processes {
            let runner = world.start(n);
            world.runners.push(runner);
        }
        world
    }

    pub fn commits(&self) -> u64 {
        self.truth.commits()
    }

    fn say(&self, what: impl FnOnce(&Self) -> String) {
        if self.log {
            eprintln!("{:>4}.{:06} {}", self.us / SECOND, self.us % SECOND, what(self));
        }
    }

    /// A new process, whose number among the others is `n`.
    fn start(&mut self, n: usize) -> Runner {
        self.connected += 1;
        let mut process = Process::new(&self.plot.settings, self.connected);
        process.link.probed(Ok(0), &self.tables, at(self.us));
        process.link.lag = if n == 0 { self.plot.lag } else { 0 };
        Runner {
            process,
            asked: None,
            wake: self.us + self.dice.below(SECOND / 4),
            tick: self.us,
            stopped: 0,
            ended: u64::MAX,
            anchor: None,
            known: false,
            trouble: self.us,
            rate: (0, 0),
        }
    }

    // --- time ------------------------------------------------------------------------------------------------------

    pub fn play(&mut self) {
        let storm = self.plot.storm;
        self.run(storm, true);
        self.mend();
        self.run(CALM, true);
        self.writers.hurry(self.us + SECOND);
        self.run(SILENCE, false);
        let before: Vec<usize> = self.runners.iter().map(|runner| runner.process.asked.len()).collect();
        self.run(5 * SECOND, false);
        for (runner, before) in self.runners.iter().zip(before) {
            // Old rows are deleted whether rows come or not.
            let asked = runner.process.asked[before..]
                .iter()
                .filter(|name| !["old", "delete"].contains(name));
            let asked = asked.count() as u64;
            assert!(asked <= 5 * MOST_IDLE, "{asked} statements in 5 s without a row");
        }
        self.judge();
    }

    /// Lets so much time pass.
    fn run(&mut self, span: u64, writes: bool) {
        let end = self.us + span;
        let storm = !self.is_calm();
        let mut stands = 0;
        while self.us < end {
            let next = self.next(writes, storm).max(self.us).min(end);
            stands = if next > self.us { 0 } else { stands + 1 };
            assert!(stands < 10_000, "time stands still");
            self.us = next;
            let now = at(self.us).unix_ms.cast_signed();
            self.tables.now = now;
            if storm {
                self.stir();
            }
            self.write(writes);
            for who in 0..self.runners.len() {
                self.work(who);
            }
            for n in 0..self.clients.len() {
                self.step_client(n);
            }
            if self.plot.lag > 0 && now > self.remembered + 5 {
                self.remembered = now;
                self.tables.outbox.remember(now);
            }
        }
    }

    fn is_calm(&self) -> bool {
        self.us >= self.plot.storm
    }

    fn next(&self, writes: bool, storm: bool) -> u64 {
        let mut next = match self.tables.down {
            true => self.up,
            false => self.writers.due(),
        };
        if writes {
            next = next.min(self.next_writer);
        }
        if storm {
            next = next.min(self.next_stir);
        }
        next = next.min(self.restores.unwrap_or(u64::MAX));
        for runner in &self.runners {
            let own = match &runner.asked {
                Some(asked) if asked.answer.is_none() => asked.runs,
                Some(asked) => asked.done.max(runner.stopped),
                None => runner.wake.max(runner.stopped),
            };
            next = next.min(own).min(runner.ended);
        }
        for client in &self.clients {
            let is_served = client.at.is_none_or(|who| self.runners[who].stopped <= self.us);
            next = next.min(if is_served { client.due() } else { client.next });
        }
        next
    }

    // --- writers -----------------------------------------------------------------------------------------------------

    fn write(&mut self, writes: bool) {
        if self.tables.down || self.restores.is_some() {
            // A writer waits, or fails.
            self.next_writer = self.next_writer.max(self.us + 1000);
            return;
        }
        let (us, calm) = (self.us, self.is_calm());
        if writes && self.next_writer <= us {
            self.next_writer = us + self.dice.below(if calm { 300_000 } else { 120_000 });
            if self.writers.len() < 8 {
                self.writers
                    .begin(us, self.plot.long && !calm, &mut self.tables.outbox, &mut self.dice);
            }
        }
        let committed = self
            .writers
            .go_on(us, &mut self.tables.outbox, &mut self.truth, &mut self.dice);
        if committed > 0 {
            self.say(|_| format!("{committed} rows are committed"));
            if self.dice.one_in(10) {
                let who = self.dice.below(self.runners.len() as u64) as usize;
                let runner = &mut self.runners[who];
                runner.process.outbox.nudge(at(us));
                runner.wake = runner.wake.min(us);
            }
        }
    }

    // --- processes ---------------------------------------------------------------------------------------------------

    fn work(&mut self, who: usize) {
        let us = self.us;
        if self.runners[who].ended <= us {
            self.say(|_| format!("the server ends the connection of {who}"));
            self.runners[who].ended = u64::MAX;
            self.tables.end(self.runners[who].process.client);
        }
        if let Some(asked) = &self.runners[who].asked
            && asked.answer.is_none()
            && asked.runs <= us
        {
            self.ask(who);
        }
        let runner = &mut self.runners[who];
        if runner.stopped > us {
            return;
        }
        if runner
            .asked
            .as_ref()
            .is_some_and(|asked| asked.answer.is_some() && asked.done <= us)
        {
            let asked = runner.asked.take().expect("it was asked");
            runner.ended = u64::MAX;
            self.take(who, asked);
        }
        let runner = &mut self.runners[who];
        if runner.asked.is_some() || runner.wake > us {
            return;
        }
        if us >= runner.tick + TICK {
            runner.tick = us;
        }
        let now = at(runner.tick);
        if !runner.process.is_connected(&self.tables, now) {
            runner.trouble = runner.trouble.max(us);
            runner.wake = runner.process.due(now).0.max(us + 1000);
            return;
        }
        match runner.process.question(now) {
            None => {
                runner.tick = 0;
                runner.wake = runner.process.due(now).0.max(us) + self.dice.below(1000);
            }
            Some(question) => {
                let runs = us + 50 + self.dice.below(200);
                runner.rate = match runner.rate {
                    (second, count) if second == us / SECOND => (second, count + 1),
                    _ => (us / SECOND, 1),
                };
                let is_careful = self.plot.locks || self.plot.losses > 0;
                let most = if is_careful { MOST_CAREFUL } else { MOST };
                assert!(runner.rate.1 <= most, "{} statements in a second", runner.rate.1);
                runner.asked = Some(Asked {
                    question,
                    runs,
                    done: u64::MAX,
                    answer: None,
                });
            }
        }
    }

    /// The database runs a question.
    fn ask(&mut self, who: usize) {
        let (us, losses) = (self.us, self.plot.losses);
        let asked = self.runners[who].asked.as_ref().expect("it was asked");
        let question = asked.question.clone();
        let link = &mut self.runners[who].process.link;
        if losses > 0 && us < self.plot.storm && self.dice.one_in(losses) {
            match self.dice.below(6) {
                0 | 1 => link.fail_next(1, Failure::Unavailable("it broke".into())),
                2 => link.lose_next(1),
                3 if question.ends_transaction() => {
                    let ms = self.dice.below(4000).cast_signed();
                    link.delay_next(ms);
                }
                3 => link.lose_next(1),
                4 => link.fail_next(1, Failure::TooLong),
                _ => link.fail_next(1, Failure::Locked),
            }
        }
        let answer = link.ask(&question, &mut self.tables, at(us));
        let took = match &answer {
            Ok(Answer::Looked(looked)) => looked.micros,
            Err(Failure::TooLong) => 100_000,
            Err(Failure::Unavailable(_)) if self.tables.down => 500_000,
            _ => 50 + self.dice.below(300),
        };
        if answer.is_err() {
            let refused = matches!(answer, Err(Failure::Refused(_)));
            let until = us + if refused { REFUSED } else { 0 };
            self.runners[who].trouble = self.runners[who].trouble.max(until);
            if !matches!(answer, Err(Failure::Unavailable(_))) {
                self.trouble = self.trouble.max(us);
            }
        }
        if took > 10_000 {
            self.trouble = self.trouble.max(us);
        }
        self.say(|_| format!("{who}: {question:?} {answer:?}"));
        if let (Question::Renew { .. }, Ok(_)) = (&question, &answer) {
            assert!(self.may_renew, "a new epoch without a reason");
        }
        self.truth.note(&self.tables.outbox);
        let asked = self.runners[who].asked.as_mut().expect("it was asked");
        (asked.answer, asked.done) = (Some(answer), us + took);
    }

    /// An answer comes in. The events that come out must be the oracle's.
    fn take(&mut self, who: usize, asked: Asked) {
        let us = self.us;
        let runner = &mut self.runners[who];
        let now = at(runner.tick);
        let outbox = &mut runner.process.outbox;
        let seen = outbox.answer(&asked.question, asked.answer.expect("it has one"), now);
        runner.wake = us;
        self.check(who, &seen);
        let known = self.runners[who].process.outbox.position().is_some();
        if known && !std::mem::replace(&mut self.runners[who].known, known) {
            // Clients that connected while the position was unknown must reconnect.
            self.send_back(who);
        }
        self.runners[who].known = known;
        for seen in &seen {
            match seen {
                Seen::Gap => self.send_back(who),
                Seen::Event(event) => {
                    for client in self.clients.iter_mut().filter(|client| client.at == Some(who)) {
                        client.hear(event, &self.truth);
                    }
                }
                Seen::Past(..) | Seen::Control(_) => {}
            }
        }
        for n in 0..self.clients.len() {
            if self.clients[n].at == Some(who) {
                self.recover(n);
            }
        }
    }

    /// Every subscribed client is closed, and comes back.
    fn send_back(&mut self, who: usize) {
        let us = self.us;
        let hears = |client: &Client| {
            let mut states = client.channels.values().map(|own| own.state);
            states.any(|state| matches!(state, State::Live | State::Replaying(..)))
        };
        for client in self.clients.iter_mut().filter(|client| client.at == Some(who)) {
            if hears(client) {
                client.lose();
                client.next = us + self.dice.below(SECOND);
            }
        }
    }

    fn check(&mut self, who: usize, seen: &[Seen]) {
        let found: Vec<Expected> = seen.iter().filter_map(Expected::of).collect();
        let gap = seen.contains(&Seen::Gap);
        let runner = &self.runners[who];
        let position = runner.process.outbox.position();
        let (epoch, place) = match position {
            Some(Position::Table { epoch, place }) => (epoch, place),
            _ => {
                assert_eq!(found, [], "rows without a known position");
                if gap {
                    self.runners[who].anchor = None;
                }
                return;
            }
        };
        let Some(from) = runner.anchor else {
            assert_eq!(found, [], "rows from before the start are no news");
            self.say(|_| format!("{who} begins behind {place:?} of {epoch:08x}"));
            self.runners[who].anchor = Some(place);
            return;
        };
        let way = match gap {
            // It may come from rows that are not in the table any more.
            true => self.truth.above(from.seq, place),
            false => self
                .truth
                .between(from, place)
                .unwrap_or_else(|| panic!("{who} goes from {from:?} to {place:?}")),
        };
        let rows = way.iter().filter_map(|(_, key)| *key);
        let expected: Vec<Expected> = rows.filter_map(|key| self.truth.expected(key)).collect();
        if gap {
            assert!(expected.ends_with(&found), "{found:?} is not the end of {expected:?}");
            let is_gone = |place: &Place| self.tables.outbox.place(place.seq) != Some(*place);
            let any_gone = is_gone(&from) || way.iter().any(|(place, _)| is_gone(place));
            assert!(any_gone, "{who} reports a gap without a reason");
        } else {
            assert_eq!(found, expected, "the output of {who} from {from:?} to {place:?}");
        }
        self.runners[who].anchor = Some(place);
        self.check_delays(who, &found);
    }

    /// Checks that the rows came soon enough.
    fn check_delays(&self, who: usize, found: &[Expected]) {
        let slow = self.plot.most_in_flight < 1000 || self.plot.losses > 0;
        let windows = if slow { WINDOWS } else { 0 };
        let trouble = self.trouble.max(self.runners[who].trouble) + AFTER_TROUBLE.max(windows);
        let poll = self.plot.settings.idle_poll_ms * 1000;
        for found in found {
            let (Expected::Event(key) | Expected::Control(key)) = found;
            let row = &self.truth.rows[*key];
            let committed = row.committed.expect("it is").1;
            if self.plot.lag > 0 && who == 0 || committed < trouble {
                continue;
            }
            let stood = row.below || committed - row.began > SECOND * 9 / 10;
            let most = poll + SLACK + if stood { SECOND } else { 0 };
            let took = self.us - committed;
            assert!(took <= most, "row {key} took {took} us, {row:?}");
        }
    }

    // --- clients -----------------------------------------------------------------------------------------------------

    fn step_client(&mut self, n: usize) {
        if self.clients[n].due() > self.us {
            return;
        }
        if self.clients[n].at.is_some() {
            self.recover(n);
        }
        if self.clients[n].next > self.us {
            return;
        }
        let quiet = self.us >= self.plot.storm + CALM;
        let long = self.dice.one_in(12);
        let pause = self.dice.below(if long { 12 * SECOND } else { 2 * SECOND });
        self.clients[n].next = self.us + if quiet { pause.min(SECOND) } else { pause };
        match self.clients[n].at {
            None => {
                let who = self.dice.below(self.runners.len() as u64) as usize;
                if self.runners[who].stopped <= self.us {
                    self.say(|_| format!("client {n} comes to {who}"));
                    self.clients[n].connect(who, self.us);
                    self.recover(n);
                } else {
                    self.clients[n].next = self.us + 100_000;
                }
            }
            Some(who) if self.runners[who].stopped <= self.us && (quiet || self.dice.one_in(2)) => {
                self.clients[n].pong(&self.runners[who].process.outbox, &self.truth);
            }
            Some(_) if !quiet => {
                self.say(|_| format!("client {n} leaves"));
                self.clients[n].lose();
            }
            Some(_) => {}
        }
    }

    /// The service's part of sending the missed events.
    fn recover(&mut self, n: usize) {
        let (us, client) = (self.us, &mut self.clients[n]);
        let Some(who) = client.at else { return };
        let runner = &mut self.runners[who];
        if runner.stopped > us {
            return;
        }
        let mut gaps = Vec::new();
        for (channel, own) in &mut client.channels {
            let most = 1 + self.dice.below(5);
            match own.recover((n, channel), &mut runner.process.outbox, most, us, &self.truth) {
                Told::Nothing => {}
                Told::Recovered => self.recovered += 1,
                Told::Gap(position) => gaps.push((*channel, position)),
                Told::Cut => {
                    client.lose();
                    client.next = us + 1000;
                    break;
                }
            }
        }
        // A question that is due now was caused by a client that requests recovery.
        let now = at(us);
        if runner.asked.is_none() {
            runner.wake = runner.wake.min(runner.process.due(now).0.max(us));
        }
        for (channel, position) in gaps {
            self.gaps += 1;
            self.say(|_| format!("client {n} gets a gap in {channel} since {position}"));
            self.justify(who, position);
        }
    }

    /// A gap must have a reason.
    fn justify(&self, who: usize, position: Position) {
        let Position::Table { epoch, place } = position else {
            panic!("{position}")
        };
        let runner = &self.runners[who];
        let written = self.tables.outbox.position().and_then(|position| position.parse().ok());
        let is_current = matches!(written, Some(Position::Table { epoch: now, .. }) if now == epoch);
        let is_there = self.tables.outbox.place(place.seq) == Some(place);
        let is_troubled = runner.trouble + 11 * SECOND > self.us || self.plot.lag > 0 && who == 0;
        let is_small = self.plot.settings.history_bytes < 1 << 20;
        assert!(
            !is_current || !is_there || is_troubled || is_small,
            "{who} reports a gap since {position} without a reason"
        );
    }

    // --- failures ----------------------------------------------------------------------------------------------------

    fn stir(&mut self) {
        let us = self.us;
        if self.tables.down && self.up <= us {
            self.say(|_| "the database is there again".into());
            self.tables.down = false;
        }
        if self.restores.is_some_and(|due| due <= us) {
            self.restore();
        }
        if self.next_stir > us {
            return;
        }
        self.next_stir = us + self.dice.below(SECOND);
        let who = self.dice.below(self.runners.len() as u64) as usize;
        match self.dice.below(12) {
            0 if self.plot.restarts => self.kill(who),
            1 | 2 if self.plot.restarts => self.stop(who),
            3 if self.plot.crashes && self.dice.one_in(2) => self.crash(),
            4 if self.plot.disasters && self.dice.one_in(3) => self.disaster(),
            5 if self.plot.locks => {
                self.trouble = self.trouble.max(us);
                let next = self.tables.outbox.next;
                let from = next.saturating_sub(self.dice.below(20));
                let to = if self.dice.one_in(3) {
                    u64::MAX
                } else {
                    from + self.dice.below(20)
                };
                self.tables.outbox.locked = vec![from..=to];
            }
            6 if self.plot.locks => {
                self.trouble = self.trouble.max(us);
                self.tables.outbox.locked.clear();
            }
            7 | 8 if self.plot.php => self.php(),
            9 | 11 => self.tables.outbox.flush(),
            10 if self.plot.disasters && self.restores.is_none() => {
                self.backup = Some(self.tables.outbox.copy());
            }
            _ => {}
        }
    }

    fn kill(&mut self, who: usize) {
        self.say(|_| format!("process {who} is killed"));
        self.trouble = self.trouble.max(self.us);
        self.tables.end(self.runners[who].process.client);
        for client in self.clients.iter_mut().filter(|client| client.at == Some(who)) {
            client.lose();
        }
        self.runners[who] = self.start(who);
    }

    /// It does not go on for a while, wherever it is. The server gives an open transaction up.
    fn stop(&mut self, who: usize) {
        let us = self.us;
        let for_long = self.dice.one_in(3);
        let span = self.dice.below(if for_long { 15 * SECOND } else { SECOND });
        self.say(|_| format!("process {who} stops for {} ms", span / 1000));
        self.trouble = self.trouble.max(us);
        let runner = &mut self.runners[who];
        (runner.stopped, runner.trouble) = (us + span, us + span);
        let patience = [2, 10][self.dice.below(2) as usize] * SECOND;
        runner.ended = us + patience;
    }

    fn crash(&mut self) {
        let forgets = self.plot.forgets && !self.dice.one_in(3);
        self.say(|_| format!("the database dies, and forgets: {forgets}"));
        self.tables.crash(forgets);
        self.truth.look_again(&self.tables.outbox);
        self.writers.clear();
        self.may_renew |= forgets;
        self.tables.down = true;
        self.up = self.us + 2000 + self.dice.below(4 * SECOND);
        self.trouble = self.up;
    }

    fn disaster(&mut self) {
        // A change of the tables waits for all transactions.
        if !self.tables.outbox.is_unlocked() || self.tables.down || self.restores.is_some() {
            return;
        }
        self.trouble = self.trouble.max(self.us);
        match (self.dice.below(3), self.backup.is_some()) {
            (0, _) => {
                self.say(|_| "the table is truncated".into());
                self.writers.roll_back(&mut self.tables.outbox);
                self.tables.outbox.truncate();
            }
            (1, _) => {
                self.say(|_| "the position is deleted".into());
                self.tables.outbox.state.remove("position");
                self.may_renew = true;
            }
            (_, true) => {
                self.say(|_| "a backup is restored".into());
                self.writers.clear();
                let missing = "Table 'x_websockets_outbox' doesn't exist".to_owned();
                for name in [
                    "look",
                    "look-behind",
                    "check",
                    "claim",
                    "tail",
                    "channel",
                    "old",
                    "heartbeat",
                ] {
                    self.tables.refused.insert(name, missing.clone());
                }
                self.restores = Some(self.us + 150_000 + self.dice.below(SECOND));
            }
            _ => {}
        }
    }

    /// The tables are there again.
    fn restore(&mut self) {
        self.say(|_| "the backup is restored".into());
        self.restores = None;
        self.tables.refused.clear();
        // It is looked for after a while, and then its numbers are waited for.
        self.trouble = self.us + REFUSED;
        self.may_renew = true;
        let backup = self.backup.take().expect("a backup");
        self.tables.outbox.restore(backup);
        self.truth.look_again(&self.tables.outbox);
        // A process that did not see that the tables were missing sees the end of its connection.
        for runner in &self.runners {
            if runner.stopped > self.us || !matches!(runner.process.link.readiness(at(self.us)), Readiness::Ready) {
                self.tables.end(runner.process.client);
            }
        }
    }

    /// PHP stamps and trims, as the server does.
    fn php(&mut self) {
        let now = at(self.us);
        if self.php.readiness(now) == Readiness::Probe {
            self.php.probed(Ok(0), &self.tables, now);
        }
        if self.php.readiness(now) != Readiness::Ready {
            return;
        }
        let (look, limit, ensure) = (Look::Behind, 200, false);
        let claim = Question::Claim { look, limit, ensure };
        if let Ok(Answer::Claimed(claimed)) = self.php.ask(&claim, &mut self.tables, now) {
            let written = claimed.tables.position.and_then(|position| position.parse().ok());
            let others = claimed.ids.iter().filter(|id| !claimed.control.contains(id));
            let ids: Vec<u64> = claimed.control.iter().chain(others).copied().take(200).collect();
            let whole = claimed.tables.newest.map(|place| place.seq);
            let end = match written {
                Some(Position::Table { epoch, place }) if !ids.is_empty() && whole <= Some(place.seq) => {
                    Question::Stamp {
                        ids,
                        epoch,
                        first: place.seq + 1,
                        mark: claimed.tables.now_ms,
                    }
                }
                _ => Question::Release,
            };
            drop(self.php.ask(&end, &mut self.tables, now));
            self.truth.note(&self.tables.outbox);
        }
        let old = Question::Old {
            retention: self.plot.settings.retention,
            dead: 600,
            limit: 50,
        };
        if let Ok(Answer::Old(old)) = self.php.ask(&old, &mut self.tables, now) {
            let (ids, processes) = (old.ids, old.processes);
            drop(
                self.php
                    .ask(&Question::Delete { ids, processes }, &mut self.tables, now),
            );
        }
    }

    /// Nothing is broken any more.
    fn mend(&mut self) {
        self.say(|_| "everything is mended".into());
        self.trouble = self.trouble.max(self.us);
        self.tables.down = false;
        self.tables.outbox.locked.clear();
        self.tables.outbox.most_in_flight = 100_000;
        if self.restores.is_some() {
            self.restore();
        }
        self.writers.hurry(self.us + SECOND);
        for runner in &mut self.runners {
            runner.stopped = runner.stopped.min(self.us);
            runner.ended = u64::MAX;
            runner.wake = runner.wake.min(self.us + SECOND);
        }
    }

    // --- the end -----------------------------------------------------------------------------------------------------

    fn judge(&self) {
        let waiting: Vec<_> = self.tables.outbox.unnumbered().collect();
        assert!(waiting.is_empty(), "rows without a number: {waiting:?}");
        assert_eq!(self.writers.len(), 0);
        let written = self.tables.outbox.position().and_then(|position| position.parse().ok());
        let Some(Position::Table { epoch, place }) = written else {
            panic!("the position is {written:?}")
        };
        for (who, runner) in self.runners.iter().enumerate() {
            let position = runner.process.outbox.position();
            assert_eq!(position, Some(Position::Table { epoch, place }), "process {who}");
            assert!(runner.process.outbox.is_ready());
        }
        for client in &self.clients {
            assert!(client.at.is_some(), "client {} is away", client.name);
            for (channel, own) in &client.channels {
                own.judge(client.name, channel, place, &self.truth);
            }
        }
    }
}
