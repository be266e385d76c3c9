//! The site's MySQL or MariaDB, asked by the loop itself: one connection, one statement at a time, and a fence around it,
//! because the driver blocks. What the fence is made of:
//!
//! - Nothing is connected before somebody else, who does not block, was greeted by the server ([`Readiness::Knock`]). Only a
//!   server that just answered, and said no, is asked again directly: it counts those who turn away at its greeting, and after
//!   `max_connect_errors` of them (100) it blocks our host, Joomla included.
//! - A connection is dropped on every error that is not an error packet of the server: after a read timeout the driver would
//!   take the late answer for that of the next statement. The answers' rows are matched by their keys on top of that.
//! - Each session is set up for short statements (`session`), and the settings are read back.
//! - A whole answer has a deadline (`deadline`), and so has each step of making a connection (`link`).
//! - A failure opens a [`Breaker`], and so does a run of statements that are too slow; a statement that hits the limit of its
//!   time opens one of its own kind.
//!
//! The statements are written in `sql`, run in `driver`, their rows read in `rows`; `survey` finds out which tables there are.

mod account;
mod advice;
pub mod deadline;
mod driver;
mod link;
mod outbox;
pub mod package;
mod rows;
mod session;
mod sql;
mod survey;
pub mod update;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::account::Account;
use self::advice::LogIns;
use self::driver::{Fault, query, run};
use self::link::{Link, Made, Making};
use super::breaker::{Breaker, Cost};
use super::{Answer, Failure, Missed, Question, Readiness, Store};
use crate::config::{self, ItemType, ListenAddr};
use crate::joomla::site::Database;
use crate::logging::More;
use crate::time::{Now, Time};

pub use self::account::Limits;
pub use self::advice::silence_driver_panics;
pub use self::session::{Kind, Server};
pub use self::survey::{Column, Survey};

/// A statement that takes longer has a warning.
const SLOW: Duration = Duration::from_millis(50);

/// The least between two warnings of one kind.
const QUIET: Duration = Duration::from_secs(1);

/// How long a survey is believed: tables appear when Joomla is updated, one of them says who has a second factor.
const SURVEY: Duration = Duration::from_secs(60);

/// … and the least between two surveys, whatever happens.
const SURVEY_AGAIN: Duration = Duration::from_secs(5);

/// Statements in a row that may take longer than `statement_ms`, as they are measured here, until the server counts as failed.
const LATE: u32 = 3;

/// Knocks in a row that are taken and lead to nothing, until the pauses between them grow: a server that counts a hundred
/// blocks our host.
const SILENT: u32 = 60;

/// A connection that is refused something is given up once it is so old: privileges may have been given since it was made, and
/// some count for new connections only.
const DENIED: Duration = Duration::from_secs(10);

/// A connection that broke at this age was good for something.
const YOUNG: Duration = Duration::from_secs(1);

/// A connection that was silent for so long may have been cut by somebody on the way: that it does not answer says nothing
/// of the server yet.
const IDLE: Duration = Duration::from_secs(30);

/// How often a statement of one kind was run, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Statements that were started.
    pub count: u64,
    /// Those of them that gave no answer.
    pub failures: u64,
    /// The time of all.
    pub total: Duration,
    /// The longest of all.
    pub worst: Duration,
    /// When the last warning was written.
    warned: Option<Time>,
}

/// See the module.
pub struct MySql {
    database: Database,
    settings: config::Database,
    shape: sql::Shape,
    /// The program that watches over deadlines.
    watcher: Option<PathBuf>,
    making: Option<Making>,
    link: Option<Link>,
    account: Account,
    log_ins: LogIns,
    breaker: Breaker,
    /// Statements in a row that took longer than they may.
    late: u32,
    /// Such a run has ended the last connection: the server is believed to be better when it greets in time.
    sluggish: bool,
    /// Knocks in a row that were taken and led to nothing.
    silent: u32,
    /// The endpoint whose server refused us in its own words.
    refused_by: Option<usize>,
    /// The kinds of questions whose statement took too long.
    slow: HashMap<&'static str, Breaker>,
    /// Why there is no connection.
    why: String,
    /// Whether it was told that there is none, or nothing was told yet.
    told: bool,
    measures: BTreeMap<&'static str, Measure>,
    /// See [`Self::lacks_something`].
    lacks: bool,
    /// When a warning about rows that could not be read was written.
    warned: Option<Time>,
}

impl MySql {
    /// Not connected yet. `items` are the types that [`Question::Items`] counts; data of events that is longer than
    /// `max_event_size` bytes is not fetched.
    pub fn new(database: Database, settings: config::Database, items: Vec<ItemType>, max_event_size: usize) -> Self {
        Self {
            shape: sql::Shape::new(&database.prefix, items, max_event_size),
            database,
            settings,
            watcher: None,
            making: None,
            link: None,
            account: Account::default(),
            log_ins: LogIns::default(),
            breaker: Breaker::default(),
            late: 0,
            sluggish: false,
            silent: 0,
            refused_by: None,
            slow: HashMap::new(),
            why: "nobody has connected yet".to_owned(),
            told: true,
            measures: BTreeMap::new(),
            lacks: false,
            warned: None,
        }
    }

    /// Lets a child of this process, which runs `program` (this very program), end answers that drip.
    pub fn watched_by(mut self, program: PathBuf) -> Self {
        self.watcher = Some(program);
        self
    }

    /// Connects without anybody having knocked: for the command line, where waiting is no harm. Each endpoint may take the
    /// connect timeout and some read timeouts; a Unix socket whose queue is full may take longer.
    ///
    /// # Errors
    /// Why none of the endpoints would do, as a sentence.
    pub fn connect(&mut self, now: Now) -> Result<(), String> {
        let mut reasons = Vec::new();
        for n in 0..self.database.endpoints.len() {
            let mut made = self.log_in(n, Duration::from_millis(self.settings.connect_timeout_ms), now);
            while made.is_ok() && self.making.is_some() {
                made = self.step(now);
            }
            match made {
                Ok(()) => return Ok(()),
                Err(why) => reasons.push(format!("{}: {why}", self.database.endpoints[n])),
            }
        }
        // Whoever waits for it asks for it; the loop finds out for itself.
        self.refused_by = None;
        self.why = match reasons.is_empty() {
            true => format!("{} has no address", self.database.host),
            false => reasons.join("; "),
        };
        Err(self.why.clone())
    }

    /// What the server is, while there is a connection.
    pub fn server(&self) -> Option<&Server> {
        self.link.as_ref().map(|link| &link.server)
    }

    /// Which tables there are, while there is a connection.
    pub fn survey(&self) -> Option<&Survey> {
        self.link.as_ref().map(|link| &link.survey)
    }

    /// Whether a table, a column or a privilege was missing for an answer.
    pub fn lacks_something(&self) -> bool {
        self.lacks
    }

    /// What the server lets this user do in an hour, while there is a connection.
    pub fn limits(&self) -> Limits {
        self.account.limits()
    }

    /// What the statements took so far, by name. `survey` and `connect` are the store's own doing.
    pub fn measures(&self) -> impl Iterator<Item = (&'static str, Measure)> {
        self.measures.iter().map(|(name, measure)| (*name, *measure))
    }

    fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.read_timeout_ms.max(1))
    }

    /// Logs in at an endpoint.
    fn log_in(&mut self, n: usize, patience: Duration, now: Now) -> Result<(), String> {
        (self.link, self.making, self.late) = (None, None, 0);
        let started = Instant::now();
        let made = Making::begin(&self.database, &self.settings, self.watcher.as_deref(), n, patience);
        let made = self.log_ins.note(made);
        self.measure("connect", started.elapsed(), made.is_ok(), now.at);
        let answered = matches!(made, Err(Fault::Server(..) | Fault::Unfit(_)));
        self.refused_by = answered.then_some(n);
        self.making = Some(made.map_err(|fault| fault.to_string())?);
        Ok(())
    }

    /// Takes the next step to set the session up.
    fn step(&mut self, now: Now) -> Result<(), String> {
        let Some(making) = self.making.take() else {
            return Ok(());
        };
        let (n, started) = (making.endpoint, Instant::now());
        let made = making.step(&self.shape, &self.settings, now.at);
        self.measure("set-up", started.elapsed(), made.is_ok(), now.at);
        let answered = matches!(made, Err(Fault::Server(..) | Fault::Unfit(_)));
        self.refused_by = answered.then_some(n);
        match made.map_err(|fault| fault.to_string())? {
            Made::Partly(making) => self.making = Some(making),
            Made::Whole(link) => {
                self.shape.learn(&link.survey);
                if std::mem::take(&mut self.told) {
                    log::info!(
                        "connected to the database {} at {}: {}",
                        self.database.name,
                        self.database.endpoints[n],
                        link.server
                    );
                }
                self.account.connected(link.limits, now.at);
                self.breaker.succeed(now.at);
                self.silent = 0;
                self.link = Some(link);
            }
        }
        Ok(())
    }

    /// Takes note that there is no connection, and why.
    fn fail(&mut self, why: String, cost: Cost, now: Now) {
        self.breaker.fail(cost, now.at, rand::random());
        let wait = self.breaker.wait(now.at).map(|until| until.since(now.at));
        match self.breaker.may_speak(now.at) {
            Some(unsaid) => {
                let next = match wait {
                    Some(wait) => format!("the next try is in {:.1} s", wait.as_secs_f64()),
                    None => "it is tried again at once".to_owned(),
                };
                log::warn!(
                    "the database {} is not available: {why}; {next}{}",
                    self.database.host,
                    More(unsaid)
                );
                self.told = true;
            }
            None => log::debug!("the database is not available: {why}"),
        }
        self.why = why;
    }

    /// Does what the loop waits for.
    fn attempt(&mut self, now: Now, act: impl FnOnce(&mut Self) -> Result<(), String>) {
        let started = Instant::now();
        if let Err(why) = act(self) {
            let cost = match started.elapsed() > SLOW {
                true => Cost::Much,
                false => Cost::Little,
            };
            self.fail(why, cost, now);
        }
    }

    /// Keeps a connection whose last statement was good, unless it is one of a run that took too long.
    fn keep(&mut self, link: Link, took: Duration, now: Now) {
        let limit = self.settings.statement_ms;
        self.late = match took > Duration::from_millis(limit) {
            true => self.late + 1,
            false => 0,
        };
        self.sluggish &= self.late > 0;
        if self.late < LATE || link.claimed {
            self.link = Some(link);
            return;
        }
        drop(link);
        self.sluggish = true;
        let why = format!(
            "it is too slow: {} statements in a row took longer than {limit} ms",
            self.late
        );
        self.fail(why, Cost::Much, now);
    }

    /// Looks again which tables there are, if it is time.
    fn resurvey(&mut self, link: &mut Link, now: Now) -> Result<(), Fault> {
        let patience = if link.stale { SURVEY_AGAIN } else { SURVEY };
        if now.at.since(link.surveyed) < patience {
            return Ok(());
        }
        link.surveyed = now.at;
        let started = Instant::now();
        let survey = survey::survey(&mut link.conn, &self.shape);
        self.measure("survey", started.elapsed(), survey.is_ok(), now.at);
        match survey {
            Ok(survey) => {
                self.shape.learn(&survey);
                link.survey = survey;
                link.stale = false;
                Ok(())
            }
            // What was known before is still the best that is known.
            Err(Fault::Server(code, why)) if !session::is_fatal(code) => {
                log::debug!("the tables cannot be surveyed: {why}");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    fn measure(&mut self, name: &'static str, took: Duration, good: bool, now: Time) {
        let measure = self.measures.entry(name).or_default();
        measure.count += 1;
        measure.failures += u64::from(!good);
        measure.total += took;
        measure.worst = measure.worst.max(took);
        if took > SLOW && measure.warned.is_none_or(|warned| now.since(warned) >= QUIET) {
            measure.warned = Some(now);
            log::warn!("the database took {} ms for {name}", took.as_millis());
        }
    }

    /// What an error of the server comes to while the connection stays.
    fn refusal(&mut self, link: &mut Link, question: &Question, code: u16, why: String, now: Now) -> Failure {
        match session::meaning(code) {
            session::Meaning::Locked => Failure::Locked,
            session::Meaning::TooLong if question.is_about_outbox() => Failure::TooLong,
            session::Meaning::TooLong => {
                let name = question.name();
                let slow = self.slow.entry(name).or_default();
                slow.fail(Cost::Much, now.at, rand::random());
                Failure::Unavailable(format!("{name} took longer than {} ms", self.settings.statement_ms))
            }
            session::Meaning::Interrupted => Failure::Unavailable(why),
            session::Meaning::Missing | session::Meaning::Denied => {
                link.stale = true;
                Failure::Refused(why)
            }
            session::Meaning::Refused | session::Meaning::Fatal => Failure::Refused(why),
        }
    }

    fn spoiled(&mut self, spoiled: &[&'static str], now: Now) {
        let Some(first) = spoiled.first() else { return };
        if self
            .warned
            .is_none_or(|warned| now.at.since(warned) >= Duration::from_secs(60))
        {
            self.warned = Some(now.at);
            log::warn!(
                "{} rows of the database cannot be read and are left out: {first} is not what it should be",
                spoiled.len()
            );
        }
    }
}

impl Store for MySql {
    fn readiness(&self, now: Now) -> Readiness {
        match self.breaker.wait(now.at) {
            _ if self.link.is_some() => Readiness::Ready,
            _ if self.making.is_some() => Readiness::Preparing,
            Some(until) => Readiness::Closed(until),
            None if self.refused_by.is_some() => Readiness::Ready,
            None => Readiness::Knock,
        }
    }

    fn endpoints(&self) -> &[ListenAddr] {
        &self.database.endpoints
    }

    fn patience(&self) -> Duration {
        let patience = Duration::from_millis(self.settings.connect_timeout_ms);
        match self.sluggish {
            // There and back for the connection, and once more for the greeting.
            true => patience.min(Duration::from_millis(2 * self.settings.statement_ms)),
            false => patience,
        }
    }

    fn reached(&mut self, endpoint: Result<usize, Missed>, now: Now) {
        // The server answered a moment ago, so it would now or not at all.
        let patience = Duration::from_millis(self.settings.connect_timeout_ms).min(self.read_timeout());
        match endpoint {
            Ok(n) => self.attempt(now, |store| store.log_in(n, patience, now)),
            Err(missed) => {
                self.silent += u32::from(missed.taken);
                let cost = match missed.taken && self.silent > SILENT {
                    true => Cost::Little,
                    false => Cost::Nothing,
                };
                self.fail(missed.why, cost, now);
            }
        }
    }

    fn prepare(&mut self, now: Now) {
        self.attempt(now, |store| store.step(now));
    }

    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure> {
        let name = question.name();
        if let Some(answer) = sql::trivial(question) {
            return Ok(answer);
        }
        if self.slow.get(name).is_some_and(|slow| slow.wait(now.at).is_some()) {
            return Err(Failure::Unavailable(format!("{name} took too long a moment ago")));
        }
        if let (Readiness::Ready, Some(n)) = (self.readiness(now), self.refused_by) {
            self.reached(Ok(n), now);
        }
        while self.making.is_some() {
            self.prepare(now);
        }
        // Whoever returns from here without putting it back has dropped the connection.
        let Some(mut link) = self.link.take() else {
            return Err(Failure::Unavailable(self.why.clone()));
        };
        if question.ends_transaction() && !link.claimed {
            self.link = Some(link);
            return Err(Failure::Unavailable(
                "the transaction went with its connection".to_owned(),
            ));
        }
        link.conn.begin();
        let surveyed = match link.claimed {
            true => Ok(()),
            false => self.resurvey(&mut link, now),
        };
        let statement = sql::statement(question, &self.shape).map_err(Failure::Refused);
        let statement = match statement {
            Ok(statement) => statement,
            Err(failure) => {
                self.link = Some(link);
                return Err(failure);
            }
        };
        self.account.asks(&statement, now.at);
        let started = Instant::now();
        let result = surveyed.and_then(|()| run(&mut link.conn, &statement));
        let took = started.elapsed();
        self.measure(name, took, result.is_ok(), now.at);
        self.lacks |= matches!(&result, Err(Fault::Server(code, _)) if session::meaning(*code) == session::Meaning::Missing);
        match result {
            Ok(output) => {
                if let Some(slow) = self.slow.get_mut(name) {
                    slow.succeed(now.at);
                }
                link.answered = now.at;
                let mut spoiled = Vec::new();
                let mut answer = rows::answer(question, output, &mut spoiled);
                self.spoiled(&spoiled, now);
                link.claimed = question.begins_transaction() && answer.is_ok();
                // Without an answer nobody ends the transaction that began.
                if question.begins_transaction() && answer.is_err() && query(&mut link.conn, "ROLLBACK").is_err() {
                    return answer;
                }
                if let Ok(Answer::Looked(looked)) = &mut answer {
                    looked.micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    looked.pause = self.account.pause(now.at);
                }
                self.keep(link, took, now);
                answer
            }
            Err(Fault::Server(code, why)) if !session::is_fatal(code) => {
                let failure = self.refusal(&mut link, question, code, why, now);
                link.answered = now.at;
                link.claimed = false;
                let answer = match (question, &failure) {
                    (Question::Check(_), Failure::Refused(_)) => {
                        match survey::other_version(&mut link.conn, &self.shape) {
                            Ok(other) => other.ok_or(failure),
                            Err(_) => return Err(failure),
                        }
                    }
                    _ => Err(failure),
                };
                let denied = session::meaning(code) == session::Meaning::Denied;
                self.link = (!denied || now.at.since(link.made) < DENIED).then_some(link);
                answer
            }
            Err(fault) => {
                let late = matches!(fault, Fault::Lost { late: true, .. });
                let cost = match late {
                    true if now.at.since(link.answered) < IDLE => Cost::Much,
                    false if now.at.since(link.made) >= YOUNG => Cost::Nothing,
                    _ => Cost::Little,
                };
                let why = fault.to_string();
                drop(link);
                self.fail(why.clone(), cost, now);
                Err(Failure::Unavailable(why))
            }
        }
    }
}

/// Without the credentials, which stand in `database` and in the driver's connection.
impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySql")
            .field("host", &self.database.host)
            .field("name", &self.database.name)
            .field("server", &self.server())
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}
