//! The server's own figures, read from its console: the cost of its database. The connection to the console is
//! separate, so it does not count among the measured ones.

use std::time::Duration;

use jsocketd::time::Time;
use serde::Deserialize;

use crate::client::{Greeting, Script};
use crate::failure::Failure;
use crate::fleet::{Fleet, random_mask};
use crate::target::Target;
use crate::wire;

/// The time between two questions whether the database is reachable.
const STEP: Duration = Duration::from_millis(50);
/// The time after that in which the server reads its settings before the first client comes.
const SETTLE: Duration = Duration::from_millis(500);

/// A console of the server.
pub struct Watch {
    fleet: Fleet,
    answers: Answers,
}

/// The cost of the database since the server's start.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct Sql {
    available: bool,
    /// Statements that were started.
    pub statements: u64,
    /// Ticks whose statements took longer than their budget.
    pub overruns: u64,
    /// The longest time that the statements of one tick took, in microseconds.
    pub worst_us: u64,
}

#[derive(Deserialize)]
struct Stats {
    database: Option<Sql>,
}

/// Answers that have not been read yet.
#[derive(Default)]
struct Answers(Vec<String>);

impl Script for Answers {
    fn received(&mut self, _: usize, bytes: &[u8], _: &mut Vec<u8>, _: Time) {
        self.0.push(String::from_utf8_lossy(bytes).into_owned());
    }
}

impl Watch {
    /// Opens the console with the server's `admin_token`, and waits until its database is there.
    pub fn open(target: &Target, token: &str, patience: Duration) -> Result<Self, Failure> {
        let mut watch = Self {
            fleet: Fleet::new(target, "/", 1, patience)?,
            answers: Answers::default(),
        };
        watch.fleet.open(1, 1, |_| Greeting::plain(), &mut watch.answers)?;
        let answer = watch.ask(&format!("token {token}"))?;
        if !answer.starts_with("Allowed") {
            return Err(Failure::Usage(format!(
                "--admin-token: the server says: {}",
                answer.trim_end()
            )));
        }
        let deadline = watch.fleet.now() + patience;
        while !watch.sql()?.available {
            if watch.fleet.now() > deadline {
                return Err(watch.fleet.stalled("the server does not reach its database"));
            }
            watch.wait(STEP)?;
        }
        watch.wait(SETTLE)?;
        Ok(watch)
    }

    /// The cost of the database until now.
    pub fn sql(&mut self) -> Result<Sql, Failure> {
        let answer = self.ask("stats")?;
        let stats: Stats = serde_json::from_str(&answer)
            .map_err(|error| Failure::Run(format!("the console's stats have another form: {error}: {answer}")))?;
        stats
            .database
            .ok_or_else(|| Failure::Usage("the server has no site, so there is no database to look at".into()))
    }

    /// Lets time pass.
    pub fn wait(&mut self, span: Duration) -> Result<(), Failure> {
        self.fleet.wait(self.fleet.now() + span, &mut self.answers)
    }

    fn ask(&mut self, command: &str) -> Result<String, Failure> {
        let mut frame = Vec::new();
        wire::encode(wire::TEXT, command.as_bytes(), random_mask(), &mut frame);
        self.answers.0.clear();
        self.fleet.send(0, &frame, &mut self.answers);
        let answered = |answers: &Answers| !answers.0.is_empty();
        self.fleet
            .until(&mut self.answers, "the console does not answer", answered)?;
        Ok(self.answers.0.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_found_in_the_stats() {
        let text =
            r#"{"connections":1,"database":{"available":true,"statements":7,"overruns":1,"worst_us":900},"site":{}}"#;
        let stats: Stats = serde_json::from_str(text).unwrap();
        let expected = Sql {
            available: true,
            statements: 7,
            overruns: 1,
            worst_us: 900,
        };
        assert_eq!(stats.database, Some(expected));
        assert_eq!(serde_json::from_str::<Stats>("{}").unwrap().database, None);
    }
}
