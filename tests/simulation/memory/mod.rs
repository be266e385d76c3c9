//! A database in memory, for tests and the simulator, with every fault of a real one, when a test orders it. Its
//! contents and answers are in `tables` and `outbox`; this is the connection to it.
//!
//! [`Tables`] is the server, [`Link`] one process's connection to it, and [`Memory`] both in one, which is a [`Store`].
//! A test that plays several processes on one database owns the parts and makes a store of them. This module shares
//! nothing.

mod outbox;
mod tables;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jsocketd::config::ListenAddr;
use jsocketd::protocol::greeting::NoGreeting;
use jsocketd::store::{Answer, Failure, Question, Readiness, Store};
use jsocketd::time::{Now, Time};

pub use self::outbox::{Durable, OutboxTables, Transaction};
pub use self::tables::{Category, Item, Session, Tables};

/// How long a link leaves the server alone after each failure. It is always the same, so that a test can tell when it
/// is over; its growth is tested with the breaker.
pub const RETRY: Duration = Duration::from_secs(1);

/// One process's connection.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which client of the server this is.
    client: u32,
    endpoints: Vec<ListenAddr>,
    line: Line,
    /// A transaction is open on it.
    claimed: bool,
    /// How old the state that it reads is, in milliseconds: it is connected to a node that lags.
    pub lag: i64,
    /// Questions that are left alone for a while, by name, because they took too long: they have no answer, and nothing
    /// is wrong with the connection.
    pub resting: BTreeSet<&'static str>,
    faults: VecDeque<Fault>,
    asked: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    /// In this life of the client's connections.
    Connected(u64),
    /// No try is made before this instant.
    Broken(Time),
}

#[derive(Clone, Debug)]
enum Fault {
    /// The question is not carried out.
    Failure(Failure),
    /// The question is carried out, but the connection breaks before the answer.
    LostAnswer,
    /// The connection breaks. The end of a transaction is carried out all the same, so many milliseconds later; nothing
    /// else is.
    Late(i64),
}

/// A server with one process that asks it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The server.
    pub tables: Tables,
    /// The connection.
    pub link: Link,
}

impl Default for Link {
    /// The first client, connected.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Link {
    /// The connection of a client that no other link has, to a server that was never killed.
    pub fn new(client: u32) -> Self {
        Self {
            client,
            endpoints: vec![ListenAddr::Tcp(([127, 0, 0, 1], 3306).into())],
            line: Line::Connected(0),
            claimed: false,
            lag: 0,
            resting: BTreeSet::new(),
            faults: VecDeque::new(),
            asked: BTreeMap::new(),
        }
    }

    /// The next `count` questions get this failure instead of being carried out, behind those that were ordered before.
    pub fn fail_next(&mut self, count: usize, failure: Failure) {
        self.order(count, Fault::Failure(failure));
    }

    /// The next `count` questions are carried out, but the connection breaks before their answers.
    pub fn lose_next(&mut self, count: usize) {
        self.order(count, Fault::LostAnswer);
    }

    /// The next question breaks the connection. If it ends a transaction, it is carried out so many milliseconds later.
    pub fn delay_next(&mut self, ms: i64) {
        self.order(1, Fault::Late(ms));
    }

    fn order(&mut self, count: usize, fault: Fault) {
        self.faults.extend(std::iter::repeat_n(fault, count));
    }

    /// How many questions of this name reached the server, or would have but for a fault.
    pub fn asked(&self, name: &str) -> u64 {
        self.asked.get(name).copied().unwrap_or(0)
    }

    /// Forgets the counts.
    pub fn count_anew(&mut self) {
        self.asked.clear();
    }

    /// See [`Store::readiness`]. A dead connection is ready until a question fails.
    pub fn readiness(&self, now: Now) -> Readiness {
        match self.line {
            Line::Connected(_) => Readiness::Ready,
            Line::Broken(retry_at) if now.at < retry_at => Readiness::Closed(retry_at),
            Line::Broken(_) => Readiness::Probe,
        }
    }

    /// See [`Store::endpoints`].
    pub fn endpoints(&self) -> &[ListenAddr] {
        &self.endpoints
    }

    /// See [`Store::probed`].
    pub fn probed(&mut self, endpoint: Result<usize, NoGreeting>, tables: &Tables, now: Now) {
        let known = endpoint.is_ok_and(|index| index < self.endpoints.len());
        self.line = match known && !tables.down {
            true => Line::Connected(tables.life(self.client)),
            false => Line::Broken(now.at + RETRY),
        };
    }

    /// See [`Store::ask`].
    ///
    /// # Errors
    /// The failure of the tables, or a failure that the test ordered.
    pub fn ask(&mut self, question: &Question, tables: &mut Tables, now: Now) -> Result<Answer, Failure> {
        let Line::Connected(life) = self.line else {
            return Err(unavailable("there is no connection"));
        };
        assert!(
            !self.claimed || question.ends_transaction(),
            "{} is asked while a transaction is open",
            question.name()
        );
        if question.ends_transaction() && !self.claimed {
            return Err(unavailable("the transaction went with its connection"));
        }
        if self.resting.contains(question.name()) {
            return Err(unavailable("it took too long a moment ago"));
        }
        *self.asked.entry(question.name()).or_default() += 1;
        let answer = if tables.down {
            Err(unavailable("the server does not answer"))
        } else if life != tables.life(self.client) {
            Err(unavailable("the server has gone away"))
        } else {
            match self.faults.pop_front() {
                None => tables.answer(question, self.client, self.lag),
                Some(Fault::Failure(failure)) => Err(failure),
                Some(Fault::LostAnswer) => tables
                    .answer(question, self.client, self.lag)
                    .and(Err(unavailable("the connection broke before the answer"))),
                Some(Fault::Late(ms)) => {
                    tables.outbox.end_late(self.client, question, ms, tables.now);
                    Err(unavailable("the connection broke"))
                }
            }
        };
        self.claimed = answer.is_ok() && question.begins_transaction();
        match answer {
            Err(Failure::Unavailable(_)) => {
                self.line = Line::Broken(now.at + RETRY);
                tables.outbox.leave(self.client);
            }
            // A refused statement is rolled back.
            Err(_) => tables.outbox.leave(self.client),
            Ok(_) => {}
        }
        answer
    }
}

fn unavailable(why: &str) -> Failure {
    Failure::Unavailable(why.to_owned())
}

impl Store for Memory {
    fn readiness(&self, now: Now) -> Readiness {
        self.link.readiness(now)
    }

    fn endpoints(&self) -> &[ListenAddr] {
        self.link.endpoints()
    }

    fn move_to(&mut self, endpoints: Vec<ListenAddr>) {
        self.link.endpoints = endpoints;
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn probed(&mut self, endpoint: Result<usize, NoGreeting>, now: Now) {
        self.link.probed(endpoint, &self.tables, now);
    }

    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure> {
        self.link.ask(question, &mut self.tables, now)
    }
}
