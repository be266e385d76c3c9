//! The state of the way to the server while there is no connection: whether a probe is needed, of which endpoint, how
//! long to wait for a greeting, and until when nothing can be done. Also the reason why there is no connection, which
//! is logged at most once a minute.

use std::time::{Duration, Instant};

use super::fault::Fault;
use super::session;
use crate::config;
use crate::logging::More;
use crate::protocol::greeting::NoGreeting;
use crate::store::Readiness;
use crate::store::breaker::{Breaker, Cost};
use crate::time::Time;

/// The server counts as failed after this number of statements in a row that take longer than `statement_ms`, as
/// measured here.
const LATE: u32 = 5;

/// After this number of probes in a row that are accepted and lead to nothing, the pauses between them grow. A server
/// that counts a hundred of them blocks our host.
const SILENT: u32 = 60;

/// The server's ER_ACCESS_DENIED_ERROR.
const WRONG_PASSWORD: u16 = 1045;

/// A try that takes longer holds up the loop.
const DEAR: Duration = Duration::from_millis(50);

/// See the file.
#[derive(Debug)]
pub(super) struct Door {
    /// For messages.
    host: String,
    breaker: Breaker,
    /// Statements in a row that took longer than they may.
    late: u32,
    /// A run of such statements ended the last connection. The server then has to greet within a shorter time.
    is_sluggish: bool,
    /// Probes in a row that were accepted and led to nothing.
    silent: u32,
    /// The endpoint whose server answered and refused us.
    pub(super) refused_by: Option<usize>,
    /// The server accepted the log-in, but the database or a privilege was missing.
    lacks: bool,
    /// Why there is no connection.
    pub(super) why: String,
    /// Whether it was logged that there is no connection, or nothing was logged yet.
    told: bool,
}

impl Door {
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            breaker: Breaker::default(),
            late: 0,
            is_sluggish: false,
            silent: 0,
            refused_by: None,
            lacks: false,
            why: "nobody has connected yet".to_owned(),
            told: true,
        }
    }

    /// The step that is needed while there is no connection.
    pub(super) fn readiness(&self, now: Time) -> Readiness {
        match self.breaker.wait(now) {
            Some(until) => Readiness::Closed(until),
            None if self.refused_by.is_some() => Readiness::Ready,
            None => Readiness::Probe,
        }
    }

    /// How long to wait for a greeting.
    pub(super) fn patience(&self, settings: &config::Database) -> Duration {
        let patience = Duration::from_millis(settings.connect_timeout_ms);
        match self.is_sluggish {
            // One round trip for the connection, and one more for the greeting.
            true => patience.min(Duration::from_millis(2 * settings.statement_ms)),
            false => patience,
        }
    }

    /// Notes that no server greeted a probe.
    pub(super) fn missed(&mut self, missed: NoGreeting, now: Time) {
        self.silent += u32::from(missed.taken);
        let cost = match missed.taken && self.silent > SILENT {
            true => Cost::Little,
            false => Cost::Nothing,
        };
        self.fail(missed.why, cost, now);
    }

    /// Notes the outcome of a log-in at an endpoint, or of a step after it.
    pub(super) fn tried<T>(&mut self, endpoint: usize, outcome: Result<T, Fault>) -> Result<T, String> {
        let answered = matches!(outcome, Err(Fault::Server(..) | Fault::Unfit(_)));
        self.refused_by = answered.then_some(endpoint);
        // A wrong password is not counted here: servers count wrong passwords, and delay log-ins after them.
        self.lacks =
            matches!(&outcome, Err(Fault::Server(code, _)) if session::is_lack(*code) && *code != WRONG_PASSWORD);
        outcome.map_err(|fault| fault.to_string())
    }

    /// Notes that a try failed, which began at `started`.
    pub(super) fn failed(&mut self, why: String, started: Instant, now: Time) {
        let cost = match started.elapsed() > DEAR {
            true => Cost::Much,
            false if self.lacks => Cost::Nothing,
            false => Cost::Little,
        };
        self.fail(why, cost, now);
    }

    /// Forgets the server, because its addresses have changed.
    pub(super) fn forget(&mut self) {
        let host = std::mem::take(&mut self.host);
        let mut breaker = self.breaker;
        breaker.forget();
        *self = Self {
            breaker,
            ..Self::new(&host)
        };
    }

    /// Notes that there is a connection. Returns whether that is news for the log.
    pub(super) fn opened(&mut self, now: Time) -> bool {
        (self.late, self.silent) = (0, 0);
        self.breaker.succeed(now);
        std::mem::take(&mut self.told)
    }

    /// Notes how long a statement took. If it is the last of a run of statements that took too long: the reason, as a
    /// sentence.
    pub(super) fn is_too_slow(&mut self, took: Duration, settings: &config::Database) -> Option<String> {
        let limit = settings.statement_ms;
        self.late = match took > Duration::from_millis(limit) {
            true => self.late + 1,
            false => 0,
        };
        self.is_sluggish = self.late >= LATE || self.is_sluggish && self.late > 0;
        (self.late >= LATE).then(|| {
            format!(
                "it is too slow: {} statements in a row took longer than {limit} ms",
                self.late
            )
        })
    }

    /// Notes that there is no connection, and why.
    pub(super) fn fail(&mut self, why: String, cost: Cost, now: Time) {
        self.breaker.fail(cost, now, rand::random());
        let wait = self.breaker.wait(now).map(|until| until.since(now));
        match self.breaker.may_speak(now) {
            Some(unsaid) => {
                let next = match wait {
                    Some(wait) => format!("the next try is in {:.1} s", wait.as_secs_f64()),
                    None => "it is tried again at once".to_owned(),
                };
                log::warn!(
                    "the database {} is not available: {why}; {next}{}",
                    self.host,
                    More(unsaid)
                );
                self.told = true;
            }
            None => log::debug!("the database is not available: {why}"),
        }
        self.why = why;
    }
}
