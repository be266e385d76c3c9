//! The site's MySQL or MariaDB. The loop itself queries it: one connection, one statement at a time. The driver blocks,
//! so there is a fence around it. The fence consists of:
//!
//! - The store connects only after the server has greeted a probe that does not block ([`Readiness::Probe`]). The one
//!   exception is a server that has just answered with a refusal: the store connects to it again without a probe.
//!   Servers count clients that disconnect at the greeting. After `max_connect_errors` of them (100) the server blocks
//!   our host, and so Joomla on this host too.
//! - A connection is dropped on every error that is not an error packet of the server: after a read timeout the driver
//!   would take the late answer for that of the next statement. In addition the rows of an answer are matched by their
//!   keys.
//! - Each session is set up for short statements (`session`), and the settings are read back.
//! - A whole answer has a deadline (`deadline`), and so has each step of making a connection (`link`).
//! - A failure opens a [`Breaker`], and so does a run of statements that are too slow. A statement that reaches its
//!   time limit opens a breaker for its kind only.
//!
//! `sql` writes the statements, `driver` runs them, `rows` reads their rows; `survey` finds out which tables exist.

mod account;
mod advice;
mod columns;
pub mod deadline;
mod door;
mod driver;
mod fault;
mod link;
mod measures;
mod outbox;
pub mod package;
mod rows;
mod session;
mod shape;
mod sql;
mod survey;
pub mod update;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::account::Account;
use self::advice::LogIns;
use self::door::Door;
use self::driver::{query, run};
use self::fault::Fault;
use self::link::{Link, Made, Making};
use self::measures::Measures;
use self::shape::{Shape, quoted};
use super::breaker::{Breaker, Cost};
use super::{Answer, Database, Failure, Question, Readiness, Store};
use crate::config::{self, ItemType, ListenAddr};
use crate::protocol::greeting::NoGreeting;
use crate::time::{Now, Time};

pub use self::account::Limits;
pub use self::advice::silence_driver_panics;
pub use self::measures::Measure;
pub use self::session::{Kind, Server};
pub use self::shape::Survey;

/// How long a survey is used: tables appear when Joomla is updated, and one of them lists the users with a second
/// factor.
const SURVEY: Duration = Duration::from_secs(60);

/// The shortest time between two surveys, in all cases.
const SURVEY_AGAIN: Duration = Duration::from_secs(5);

/// A connection that is refused something is dropped once it is this old: privileges may have been granted since it was
/// made, and some of them count for new connections only.
const DENIED: Duration = Duration::from_secs(10);

/// A connection that breaks at this age or later had worked, so its failure does not delay the next try.
const YOUNG: Duration = Duration::from_secs(1);

/// A connection that was silent for this long may have been cut on the way to the server. A missing answer on such a
/// connection does not mean yet that the server has failed.
const IDLE: Duration = Duration::from_secs(30);

/// See the module.
pub struct MySql {
    database: Database,
    settings: config::Database,
    shape: Shape,
    /// The program of the child that watches over deadlines.
    watcher: Option<PathBuf>,
    making: Option<Making>,
    link: Option<Link>,
    account: Account,
    log_ins: LogIns,
    door: Door,
    /// The kinds of questions whose statement took too long.
    slow: HashMap<&'static str, Breaker>,
    measures: Measures,
    /// See [`Self::lacks_something`].
    lacks: bool,
}

impl MySql {
    /// Not connected yet. `items`: the item types, which [`Question::Items`] names by their index. Event data that is
    /// longer than `max_event_size` bytes is not fetched.
    pub fn new(database: Database, settings: config::Database, items: Vec<ItemType>, max_event_size: usize) -> Self {
        Self {
            shape: Shape::new(&database.prefix, items, max_event_size),
            door: Door::new(&database.host),
            database,
            settings,
            watcher: None,
            making: None,
            link: None,
            account: Account::default(),
            log_ins: LogIns::default(),
            slow: HashMap::new(),
            measures: Measures::default(),
            lacks: false,
        }
    }

    /// Lets a child process, which runs `program` (this very program), end answers that drip.
    pub fn watched_by(mut self, program: PathBuf) -> Self {
        self.watcher = Some(program);
        self
    }

    /// Connects without a probe: for the command line, where waiting does no harm. Each endpoint may take the connect
    /// timeout and some read timeouts; a Unix socket whose queue is full may take longer.
    ///
    /// # Errors
    /// Why the store could connect to none of the endpoints, as a sentence.
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
        // The refusal is not kept: the command line calls `connect` again if it wants to, and the loop probes the
        // server.
        self.door.refused_by = None;
        self.door.why = match reasons.is_empty() {
            true => format!("{} has no address", self.database.host),
            false => reasons.join("; "),
        };
        Err(self.door.why.clone())
    }

    /// The account whose privileges count, in the form that a GRANT takes; `None`: there is no connection.
    pub fn account(&mut self) -> Option<String> {
        let conn = &mut self.link.as_mut()?.conn;
        conn.begin();
        update::account(conn)
    }

    /// The kind and the version of the server, while there is a connection.
    pub fn server(&self) -> Option<&Server> {
        self.link.as_ref().map(|link| &link.server)
    }

    /// Which tables exist, while there is a connection.
    pub fn survey(&self) -> Option<&Survey> {
        self.link.as_ref().map(|_| &self.shape.survey)
    }

    /// Whether a table, a column or a privilege was missing for an answer.
    pub fn lacks_something(&self) -> bool {
        self.lacks
    }

    /// The hourly limits of the database user, while there is a connection.
    pub fn limits(&self) -> Limits {
        self.account.limits()
    }

    /// The times of all statements so far, by name. `survey`, `connect` and `set-up` are the store's own.
    pub fn measures(&self) -> impl Iterator<Item = (&'static str, Measure)> {
        self.measures.iter()
    }

    fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.read_timeout_ms.max(1))
    }

    /// Logs in at an endpoint.
    fn log_in(&mut self, n: usize, patience: Duration, now: Now) -> Result<(), String> {
        (self.link, self.making) = (None, None);
        let started = Instant::now();
        let made = Making::begin(&self.database, &self.settings, self.watcher.as_deref(), n, patience);
        let made = self.log_ins.note(made);
        self.measures.note("connect", started.elapsed(), made.is_ok(), now.at);
        self.making = Some(self.door.tried(n, made)?);
        Ok(())
    }

    /// Takes the next step to set the session up.
    fn step(&mut self, now: Now) -> Result<(), String> {
        let Some(making) = self.making.take() else {
            return Ok(());
        };
        let (n, started) = (making.endpoint, Instant::now());
        let made = making.step(&self.shape, &self.settings, now.at);
        self.measures.note("set-up", started.elapsed(), made.is_ok(), now.at);
        match self.door.tried(n, made)? {
            Made::Partly(making) => self.making = Some(making),
            Made::Whole(link, survey) => {
                self.shape.survey = survey;
                if self.door.opened(now.at) {
                    log::info!(
                        "connected to the database {} at {}: {}",
                        self.database.name,
                        self.database.endpoints[n],
                        link.server
                    );
                }
                self.account.connected(link.limits, now.at);
                self.measures.note_clock(link.server.odd_clock(now));
                self.link = Some(link);
            }
        }
        Ok(())
    }

    /// Runs a step of making a connection, for which the loop waits, and notes its failure.
    fn attempt(&mut self, now: Now, act: impl FnOnce(&mut Self) -> Result<(), String>) {
        let started = Instant::now();
        if let Err(why) = act(self) {
            self.door.failed(why, started, now.at);
        }
    }

    /// Keeps a connection whose last statement succeeded, unless that statement is the last of a run that took too
    /// long. `way`: the time of one round trip.
    fn keep(&mut self, link: Link, way: Duration, now: Now) {
        match self.door.is_too_slow(way, &self.settings) {
            Some(why) if !link.claimed => self.door.fail(why, Cost::Much, now.at),
            _ => self.link = Some(link),
        }
    }

    /// Refreshes our privileges and the survey of the tables, if it is time.
    fn resurvey(&mut self, link: &mut Link, now: Now) -> Result<(), Fault> {
        link.conn.begin();
        if std::mem::take(&mut link.denied) {
            // New privileges of a database count only for sessions that select the database again.
            query(&mut link.conn, &format!("USE {}", quoted(&self.database.name)))?;
        }
        let patience = if link.stale { SURVEY_AGAIN } else { SURVEY };
        if now.at.since(link.surveyed) < patience {
            return Ok(());
        }
        link.surveyed = now.at;
        let started = Instant::now();
        let survey = survey::survey(&mut link.conn, &self.shape);
        self.measures.note("survey", started.elapsed(), survey.is_ok(), now.at);
        match survey {
            Ok(survey) => {
                self.shape.survey = survey;
                link.stale = false;
                Ok(())
            }
            // The earlier survey is still the best one.
            Err(Fault::Server(code, why)) if !session::is_fatal(code) => {
                log::debug!("the tables cannot be surveyed: {why}");
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// The failure that an error of the server means for the question, while the connection stays.
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
            session::Meaning::Missing => {
                link.stale = true;
                Failure::Refused(why)
            }
            session::Meaning::Denied => {
                link.stale = true;
                Failure::Denied(why)
            }
            session::Meaning::Refused | session::Meaning::Exhausted | session::Meaning::Fatal => Failure::Refused(why),
        }
    }
}

impl Store for MySql {
    fn readiness(&self, now: Now) -> Readiness {
        match (&self.link, &self.making) {
            (Some(_), _) => Readiness::Ready,
            (None, Some(_)) => Readiness::Preparing,
            (None, None) if self.database.endpoints.is_empty() => Readiness::Closed(Time::NEVER),
            (None, None) => self.door.readiness(now.at),
        }
    }

    fn endpoints(&self) -> &[ListenAddr] {
        &self.database.endpoints
    }

    fn move_to(&mut self, endpoints: Vec<ListenAddr>) {
        self.database.endpoints = endpoints;
        (self.link, self.making) = (None, None);
        self.door.forget();
    }

    fn patience(&self) -> Duration {
        self.door.patience(&self.settings)
    }

    fn probed(&mut self, endpoint: Result<usize, NoGreeting>, now: Now) {
        // The server answered a moment ago, so it answers the log-in soon or not at all.
        let patience = Duration::from_millis(self.settings.connect_timeout_ms).min(self.read_timeout());
        match endpoint {
            Ok(n) => self.attempt(now, |store| store.log_in(n, patience, now)),
            Err(missed) => self.door.missed(missed, now.at),
        }
    }

    fn prepare(&mut self, now: Now) -> Option<&'static str> {
        self.attempt(now, |store| store.step(now));
        None
    }

    fn ask(&mut self, question: &Question, now: Now) -> Result<Answer, Failure> {
        let name = question.name();
        if let Some(answer) = sql::trivial(question) {
            return Ok(answer);
        }
        if self.slow.get(name).is_some_and(|slow| slow.wait(now.at).is_some()) {
            return Err(Failure::Unavailable(format!("{name} took too long a moment ago")));
        }
        if let (Readiness::Ready, Some(n)) = (self.readiness(now), self.door.refused_by) {
            self.probed(Ok(n), now);
        }
        while self.making.is_some() {
            self.prepare(now);
        }
        // From here on a return that does not put the link back drops the connection.
        let Some(mut link) = self.link.take() else {
            return Err(Failure::Unavailable(self.door.why.clone()));
        };
        if question.ends_transaction() && !link.claimed {
            self.link = Some(link);
            return Err(Failure::Unavailable(
                "the transaction went with its connection".to_owned(),
            ));
        }
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
        link.conn.begin();
        let started = Instant::now();
        let result = surveyed.and_then(|()| run(&mut link.conn, &statement));
        let took = started.elapsed();
        self.measures.note(name, took, result.is_ok(), now.at);
        self.lacks |= matches!(&result, Err(Fault::Server(code, _)) if session::is_lack(*code));
        match result {
            Ok(output) => {
                if let Some(slow) = self.slow.get_mut(name) {
                    slow.succeed(now.at);
                }
                link.answered = now.at;
                let way = took / output.ways;
                let mut spoiled = Vec::new();
                let mut answer = rows::answer(question, output, &mut spoiled);
                self.measures.note_spoiled(&spoiled, now.at);
                link.claimed = question.begins_transaction() && answer.is_ok();
                // A caller without an answer does not end the transaction that began.
                if question.begins_transaction() && answer.is_err() && query(&mut link.conn, "ROLLBACK").is_err() {
                    return answer;
                }
                if let Ok(Answer::Looked(looked)) = &mut answer {
                    looked.micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    looked.pause = self.account.pause(now.at);
                }
                self.keep(link, way, now);
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
                link.denied = session::meaning(code) == session::Meaning::Denied;
                self.link = (!link.denied || now.at.since(link.made) < DENIED).then_some(link);
                answer
            }
            Err(fault) => {
                let cost = match &fault {
                    Fault::Lost { late: true, .. } if now.at.since(link.answered) < IDLE => Cost::Much,
                    Fault::Server(code, _) if session::meaning(*code) == session::Meaning::Exhausted => Cost::Much,
                    Fault::Lost { late: true, .. } => Cost::Little,
                    _ if now.at.since(link.made) >= YOUNG => Cost::Nothing,
                    _ => Cost::Little,
                };
                let why = fault.to_string();
                drop(link);
                self.door.fail(why.clone(), cost, now.at);
                Err(Failure::Unavailable(why))
            }
        }
    }
}

/// Leaves out the credentials, which `database` and the driver's connection hold.
impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySql")
            .field("host", &self.database.host)
            .field("name", &self.database.name)
            .field("server", &self.server())
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}
