//! A database in memory, for tests and the simulator, with every fault that a real one has, when somebody asks for it. What
//! it holds and answers is in `tables`; this is the connection to it.
//!
//! [`Tables`] is the server, [`Link`] one process's connection to it, and [`Memory`] both in one, which is a [`Store`]. Whoever
//! plays several processes on one database owns the parts and makes a store of them himself; sharing is no affair of ours.

mod tables;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::ListenAddr;
use crate::time::{Now, Time};

pub use self::tables::{Category, Item, OutboxRow, Session, Tables, Transaction};
use super::{Answer, Failure, Question, Readiness, Store};

/// How long a link leaves the server alone after each failure. Always the same, so that a test knows when it is over; how it
/// grows is the breaker's affair.
pub const RETRY: Duration = Duration::from_secs(1);

/// One process's connection.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which client of the server this is.
    client: u32,
    endpoints: Vec<ListenAddr>,
    line: Line,
    faults: VecDeque<Fault>,
    asked: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    /// To this life of the server.
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

    /// See [`Store::readiness`]. A connection that is dead without anybody knowing is ready.
    pub fn readiness(&self, now: Now) -> Readiness {
        match self.line {
            Line::Connected(_) => Readiness::Ready,
            Line::Broken(retry_at) if now.at < retry_at => Readiness::Closed(retry_at),
            Line::Broken(_) => Readiness::Knock,
        }
    }

    /// See [`Store::endpoints`].
    pub fn endpoints(&self) -> &[ListenAddr] {
        &self.endpoints
    }

    /// See [`Store::reached`].
    pub fn reached(&mut self, endpoint: Result<usize, String>, tables: &Tables, now: Now) {
        let known = endpoint.is_ok_and(|index| index < self.endpoints.len());
        self.line = match known && !tables.down {
            true => Line::Connected(tables.lives),
            false => Line::Broken(now.at + RETRY),
        };
    }

    /// See [`Store::ask`].
    ///
    /// # Errors
    /// What the tables say, and the faults that were ordered.
    pub fn ask(&mut self, question: &Question, tables: &mut Tables, now: Now) -> Result<Answer, Failure> {
        let Line::Connected(life) = self.line else {
            return Err(unavailable("there is no connection"));
        };
        *self.asked.entry(question.name()).or_default() += 1;
        let answer = if tables.down {
            Err(unavailable("the server does not answer"))
        } else if life != tables.lives {
            Err(unavailable("the server has gone away"))
        } else {
            match self.faults.pop_front() {
                None => tables.answer(question, self.client),
                Some(Fault::Failure(failure)) => Err(failure),
                Some(Fault::LostAnswer) => tables
                    .answer(question, self.client)
                    .and(Err(unavailable("the connection broke before the answer"))),
            }
        };
        if let Err(Failure::Unavailable(_)) = answer {
            self.line = Line::Broken(now.at + RETRY);
            tables.leave(self.client);
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

    fn reached(&mut self, endpoint: Result<usize, String>, now: Now) {
        self.link.reached(endpoint, &self.tables, now);
    }

    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure> {
        self.link.ask(question, &mut self.tables, now)
    }
}

#[cfg(test)]
mod tests;
