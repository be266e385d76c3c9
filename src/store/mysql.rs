//! The site's MySQL or MariaDB, asked by the loop itself: one connection, one statement at a time, and a fence around it,
//! because the driver blocks. What the fence is made of:
//!
//! - Nothing is connected before somebody else, who does not block, was greeted by the server ([`Readiness::Knock`]). Only a
//!   server that just answered, and said no, is asked again directly: it counts those who turn away at its greeting, and after
//!   `max_connect_errors` of them (100) it blocks our host, Joomla included.
//! - A connection is dropped on every error that is not an error packet of the server: after a read timeout the driver would
//!   take the late answer for that of the next statement. The answers' rows are matched by their keys on top of that.
//! - Each session is set up for short statements (`session`), and the settings are read back.
//! - A failure opens a [`Breaker`]; a statement that hits the limit of its time opens one of its own kind.
//!
//! The statements are written in `sql`, run in `driver`, their rows read in `rows`; `survey` finds out which tables there are.
//!
//! The one thing that the driver cannot do without blocking: with [`TlsMode::Verify`] it checks the server's certificate for
//! the name that it connects to, so it must be given the name, and resolves it. The loser was not to check the name.

mod driver;
mod outbox;
mod rows;
mod session;
mod sql;
mod survey;
pub mod update;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mysql::{ClientIdentity, Conn, LocalInfileHandler, OptsBuilder, SslOpts};

use self::driver::{Fault, fenced, query, run};
use super::breaker::Breaker;
use super::{Answer, Failure, Question, Readiness, Store};
use crate::config::{self, ItemType, ListenAddr};
use crate::joomla::site::{Database, TlsMode};
use crate::logging::More;
use crate::time::{Now, Time};

pub use self::session::{Kind, Server};
pub use self::survey::{Column, Survey};

/// A statement that takes longer has a warning.
const SLOW: Duration = Duration::from_millis(50);

/// The least between two warnings of one kind.
const QUIET: Duration = Duration::from_secs(1);

/// Prepared statements that are kept, so all: three dozen shapes and two for each item type, in up to four lengths.
const STATEMENTS: usize = 256;

/// The most bytes of one packet in either direction: the longest session text, a large `params`, rows to be published.
const PACKET: usize = 16 << 20;

/// How long a survey is believed: tables appear when Joomla is updated, one of them says who has a second factor.
const SURVEY: Duration = Duration::from_secs(60);

/// … and the least between two surveys, whatever happens.
const SURVEY_AGAIN: Duration = Duration::from_secs(5);

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
    link: Option<Link>,
    breaker: Breaker,
    /// The endpoint whose server refused us in its own words.
    refused_by: Option<usize>,
    /// The kinds of questions whose statement took too long.
    slow: HashMap<&'static str, Breaker>,
    /// After a statement that took too long nothing is asked until then.
    rest: Time,
    /// Why there is no connection.
    why: String,
    /// Whether it was told that there is none, or nothing was told yet.
    told: bool,
    measures: BTreeMap<&'static str, Measure>,
    /// When a warning about rows that could not be read was written.
    warned: Option<Time>,
}

/// A connection that is set up.
struct Link {
    conn: Conn,
    server: Server,
    survey: Survey,
    surveyed: Time,
    /// Something was missing that the survey had seen, or the other way round.
    stale: bool,
    /// When it last answered.
    answered: Time,
    /// Whether a transaction is open.
    claimed: bool,
}

impl MySql {
    /// Not connected yet. `items` are the types that [`Question::Items`] counts; data of events that is longer than
    /// `max_event_size` bytes is not fetched.
    pub fn new(database: Database, settings: config::Database, items: Vec<ItemType>, max_event_size: usize) -> Self {
        Self {
            shape: sql::Shape::new(&database.prefix, items, max_event_size),
            database,
            settings,
            link: None,
            breaker: Breaker::default(),
            refused_by: None,
            slow: HashMap::new(),
            rest: Time(0),
            why: "nobody has connected yet".to_owned(),
            told: true,
            measures: BTreeMap::new(),
            warned: None,
        }
    }

    /// Connects without anybody having knocked: for the command line, where waiting is no harm. Each endpoint may take the
    /// connect timeout and some read timeouts; a Unix socket whose queue is full may take longer.
    ///
    /// # Errors
    /// Why none of the endpoints would do, as a sentence.
    pub fn connect(&mut self, now: Now) -> Result<(), String> {
        let mut reasons = Vec::new();
        for n in 0..self.database.endpoints.len() {
            match self.open(n, Duration::from_millis(self.settings.connect_timeout_ms), now) {
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

    /// What the statements took so far, by name. `survey` and `connect` are the store's own doing.
    pub fn measures(&self) -> impl Iterator<Item = (&'static str, Measure)> {
        self.measures.iter().map(|(name, measure)| (*name, *measure))
    }

    fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.read_timeout_ms.max(1))
    }

    /// Connects to an endpoint and sets the session up.
    fn open(&mut self, n: usize, patience: Duration, now: Now) -> Result<(), String> {
        self.link = None;
        let started = Instant::now();
        let opened = self.link_to(n, patience, now);
        self.measure("connect", started.elapsed(), opened.is_ok(), now.at);
        let answered = matches!(opened, Err(Fault::Server(..) | Fault::Unfit(_)));
        self.refused_by = answered.then_some(n);
        let link = opened.map_err(|fault| fault.to_string())?;
        self.shape.learn(&link.survey);
        if std::mem::take(&mut self.told) {
            log::info!(
                "connected to the database {} at {}: {}",
                self.database.name,
                self.database.endpoints[n],
                link.server
            );
        }
        self.breaker.succeed(now.at);
        self.link = Some(link);
        Ok(())
    }

    fn link_to(&self, n: usize, patience: Duration, now: Now) -> Result<Link, Fault> {
        let endpoint = self
            .database
            .endpoints
            .get(n)
            .ok_or_else(|| Fault::lost("there is no such endpoint"))?;
        let opts = self.opts(endpoint, patience)?;
        // Several answers have to come, each within the read timeout. All of them together may not take much longer.
        let deadline = Instant::now() + patience + self.read_timeout();
        let in_time = || match Instant::now() < deadline {
            true => Ok(()),
            false => Err(Fault::Lost {
                late: true,
                why: "the server is too slow to set a session up".to_owned(),
            }),
        };
        let mut conn = fenced(|| Conn::new(opts))?;
        in_time()?;
        let mut server = session::identify(&mut conn)?;
        // Before the statement limit is set: on a cold server this may take longer, and the read timeout bounds it too.
        in_time()?;
        let survey = survey::survey(&mut conn, &self.shape)?;
        in_time()?;
        session::set_up(&mut conn, &mut server, self.settings.statement_ms)?;
        Ok(Link {
            conn,
            server,
            survey,
            surveyed: now.at,
            stale: false,
            answered: now.at,
            claimed: false,
        })
    }

    fn opts(&self, endpoint: &ListenAddr, patience: Duration) -> Result<OptsBuilder, Fault> {
        let refuse = |_: &[u8], _: &mut mysql::LocalInfile<'_>| {
            Err(io::Error::other("no file of this machine is sent to a server"))
        };
        let opts = OptsBuilder::new()
            .user(Some(&self.database.user))
            .pass(Some(&self.database.password))
            .db_name(Some(&self.database.name))
            .prefer_socket(false)
            .read_timeout(Some(self.read_timeout()))
            .write_timeout(Some(self.read_timeout()))
            .tcp_connect_timeout(Some(patience))
            .max_allowed_packet(Some(PACKET))
            .stmt_cache_size(STATEMENTS)
            .connect_attrs(Some(HashMap::from([("program_name", "jsocketd")])))
            .local_infile_handler(Some(LocalInfileHandler::new(refuse)));
        match endpoint {
            // The driver speaks no TLS over a Unix socket, where there is nobody in between.
            ListenAddr::Unix(path) => match path.to_str() {
                Some(path) => Ok(opts.socket(Some(path))),
                None => Err(Fault::lost("the path of the socket is not UTF-8")),
            },
            ListenAddr::Tcp(address) => {
                let tls = &self.database.tls;
                let named = tls.mode == TlsMode::Verify && !tls.host.is_empty() && tls.host.parse::<IpAddr>().is_err();
                let host = match address.ip() {
                    _ if named => tls.host.clone(),
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                };
                Ok(opts
                    .ip_or_hostname(Some(host))
                    .tcp_port(address.port())
                    .ssl_opts(self.ssl_opts()))
            }
        }
    }

    fn ssl_opts(&self) -> Option<SslOpts> {
        let tls = &self.database.tls;
        let identity = tls.cert.as_ref().zip(tls.key.as_ref());
        let opts = SslOpts::default()
            .with_root_cert_path(tls.ca.clone())
            .with_client_identity(identity.map(|(cert, key)| ClientIdentity::new(cert.clone(), key.clone())));
        match tls.mode {
            TlsMode::Off => None,
            TlsMode::On => Some(
                opts.with_danger_accept_invalid_certs(true)
                    .with_danger_skip_domain_validation(true),
            ),
            TlsMode::Verify => Some(opts),
        }
    }

    /// Takes note that there is no connection, and why.
    fn fail(&mut self, why: String, dear: bool, now: Now) {
        match dear {
            true => self.breaker.fail_slowly(now.at, rand::random()),
            false => self.breaker.fail(now.at, rand::random()),
        }
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
    fn refusal(
        &mut self,
        link: &mut Link,
        question: &Question,
        code: u16,
        why: String,
        took: Duration,
        now: Now,
    ) -> Failure {
        match session::meaning(code) {
            session::Meaning::Locked => Failure::Locked,
            session::Meaning::TooLong if question.is_about_outbox() => {
                self.rest = now.at + took * 4;
                Failure::TooLong
            }
            session::Meaning::TooLong => {
                let name = question.name();
                self.slow.entry(name).or_default().fail_slowly(now.at, rand::random());
                self.rest = now.at + took * 4;
                Failure::Unavailable(format!("{name} took longer than {} ms", self.settings.statement_ms))
            }
            session::Meaning::Interrupted => Failure::Unavailable(why),
            session::Meaning::Missing => {
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
        match (&self.link, self.breaker.wait(now.at)) {
            (Some(_), _) if now.at < self.rest => Readiness::Closed(self.rest),
            (Some(_), _) => Readiness::Ready,
            (None, Some(until)) => Readiness::Closed(until),
            (None, None) if self.refused_by.is_some() => Readiness::Ready,
            (None, None) => Readiness::Knock,
        }
    }

    fn endpoints(&self) -> &[ListenAddr] {
        &self.database.endpoints
    }

    fn reached(&mut self, endpoint: Result<usize, String>, now: Now) {
        // The server answered a moment ago, so it would now or not at all.
        let patience = Duration::from_millis(self.settings.connect_timeout_ms).min(self.read_timeout());
        let started = Instant::now();
        if let Err(why) = endpoint.and_then(|n| self.open(n, patience, now)) {
            self.fail(why, started.elapsed() > SLOW, now);
        }
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
        let started = Instant::now();
        let limit = Duration::from_millis(self.settings.statement_ms) + self.read_timeout();
        let result = surveyed.and_then(|()| run(&mut link.conn, &statement, limit));
        let took = started.elapsed();
        self.measure(name, took, result.is_ok(), now.at);
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
                self.link = Some(link);
                if let Ok(Answer::Looked(looked)) = &mut answer {
                    looked.micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                }
                answer
            }
            Err(Fault::Server(code, why)) if !session::is_fatal(code) => {
                let failure = self.refusal(&mut link, question, code, why, took, now);
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
                self.link = Some(link);
                answer
            }
            Err(fault) => {
                let late = matches!(fault, Fault::Lost { late: true, .. });
                let hangs = late && now.at.since(link.answered) < IDLE;
                let why = fault.to_string();
                drop(link);
                self.fail(why.clone(), hangs, now);
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
