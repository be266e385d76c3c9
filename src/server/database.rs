//! The database in the loop: it gets statements in the `work` phase, one after the other, as long as the tick's budget
//! lasts and SQL has not used up its share of the loop's time. The service decides what to ask and what an answer
//! means.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::ListenAddr;
use crate::flight::{Kind, Recorder};
use crate::net::io::{Io, Socket};
use crate::net::polled::Edges;
use crate::net::probe::Probe;
use crate::service::{Sql, Statement};
use crate::store::{Answer, Failure, Question, Readiness, Store};
use crate::time::{Now, Time};

use super::act::Dispatcher;
use super::share::Share;

/// The site's database, if there is one, and the probe that checks whether it accepts connections.
pub(super) struct Database<S> {
    store: Option<Box<dyn Store>>,
    probe: Probe<S>,
    share: Share,
    /// See `is_away`.
    away: bool,
    /// The process has deleted its heartbeat, and nothing is asked any more.
    left: bool,
    sql: Sql,
    /// By name.
    statements: BTreeMap<&'static str, Statement>,
}

/// The result of one step.
#[allow(
    clippy::large_enum_variant,
    reason = "it is moved once, from one function to the other"
)]
enum Step {
    /// There is nothing to do now.
    Nothing,
    /// A step that comes before a statement was done, or a statement with this name that nobody asked for.
    Prepared(Option<&'static str>),
    /// A statement.
    Answered(Question, Result<Answer, Failure>),
}

impl<S: Socket> Database<S> {
    pub(super) fn new() -> Self {
        Self {
            store: None,
            probe: Probe::new(),
            share: Share::default(),
            away: false,
            left: false,
            sql: Sql::default(),
            statements: BTreeMap::new(),
        }
    }

    /// Another database than before.
    pub(super) fn replace(&mut self, store: Box<dyn Store>) {
        self.store = Some(store);
        self.probe = Probe::new();
        self.away = false;
    }

    /// The database is at these endpoints from here on.
    pub(super) fn move_to(&mut self, endpoints: Vec<ListenAddr>) {
        if let Some(store) = &mut self.store {
            store.move_to(endpoints);
            self.probe = Probe::new();
            self.away = false;
        }
    }

    /// Whether connecting to the database failed and it has answered nothing since.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// The time that SQL has taken so far, if there is a database.
    pub(super) fn stats(&self, now: Now) -> Option<Sql> {
        let store = self.store.as_ref()?;
        let retry_ms = match store.readiness(now) {
            Readiness::Closed(until) => u64::try_from(until.since(now.at).as_millis()).unwrap_or(u64::MAX),
            Readiness::Ready | Readiness::Preparing | Readiness::Probe => 0,
        };
        Some(Sql { retry_ms, ..self.sql })
    }

    /// The statements so far, by name.
    pub(super) fn statements(&self) -> Vec<Statement> {
        self.statements.values().cloned().collect()
    }

    /// The readiness of the probe's connection changed.
    pub(super) fn note_probe(&mut self, reported: Edges) {
        self.probe.note(reported);
    }

    /// Deletes this process's heartbeat from the state table, if the database is at hand and surely answers within
    /// `patience`. Asks nothing afterwards. Returns whether nothing is left to do.
    pub(super) fn leave<I: Io<Socket = S>>(&mut self, dispatcher: &mut Dispatcher<I>, patience: Duration) -> bool {
        let service = &dispatcher.decisions.service;
        let (Some(store), Some(process)) = (&mut self.store, service.heartbeat()) else {
            return true;
        };
        let limit = Duration::from_millis(dispatcher.config.database.read_timeout_ms);
        if self.left || limit > patience || store.readiness(dispatcher.now) != Readiness::Ready {
            return true;
        }
        // The question would break the open transaction off.
        if service.goes_on() {
            return false;
        }
        let (question, before) = (Question::Leave(process), dispatcher.lap());
        let answer = store.ask(&question, dispatcher.now);
        let after = dispatcher.io.clock();
        self.count(&question, &answer, after.since(before));
        note(&mut dispatcher.flight, after, &question, &answer);
        self.left = answer != Err(Failure::Locked);
        if let Err(why) = answer {
            log::info!("the heartbeat of this process stays in the state table for some minutes: {why}");
        }
        self.left
    }

    /// Asks the database, or connects to it. The time of a statement is bounded, so the budget is exceeded by one
    /// statement at most.
    pub(super) fn ask<I: Io<Socket = S>>(&mut self, dispatcher: &mut Dispatcher<I>) {
        if self.left {
            return;
        }
        let Some(mut store) = self.store.take() else { return };
        let budget = Duration::from_millis(dispatcher.config.database.budget_ms);
        let began = dispatcher.io.clock();
        let (mut sql, mut longest) = (Duration::ZERO, Duration::ZERO);
        while !self.rests(dispatcher) {
            let before = dispatcher.lap();
            if before.since(began) >= budget {
                break;
            }
            let step = self.step(store.as_mut(), dispatcher);
            if let Step::Nothing = step {
                break;
            }
            let after = dispatcher.io.clock();
            let took = after.since(before);
            (sql, longest) = (sql + took, longest.max(took));
            match step {
                Step::Nothing => {}
                Step::Prepared(Some(name)) => {
                    self.sql.statements += 1;
                    dispatcher.flight.counts().statements += 1;
                    dispatcher
                        .flight
                        .piece(after, |culprit| culprit.is(Kind::Statement, name));
                }
                Step::Prepared(None) => {
                    dispatcher.flight.piece(after, |culprit| culprit.kind = Kind::Connect);
                }
                Step::Answered(question, answer) => {
                    self.sql.statements += 1;
                    self.away &= answer.is_err();
                    self.count(&question, &answer, took);
                    note(&mut dispatcher.flight, after, &question, &answer);
                    let filled = dispatcher.connections.dirty.len();
                    dispatcher.decide(|decisions, now| decisions.answer(&question, answer, now));
                    let queues = (dispatcher.connections.dirty.len() - filled) as u32;
                    dispatcher.piece_since(filled, |culprit| {
                        culprit.is(Kind::Answer, question.name());
                        culprit.count = queues;
                    });
                }
            }
        }
        if !sql.is_zero() {
            let now = dispatcher.io.clock();
            match dispatcher.connections.is_empty() {
                // No connection can be delayed.
                true => self.share = Share::default(),
                false => self.share.spend(sql, longest, &dispatcher.config.database, now),
            }
            self.sql.spend(sql, budget);
        }
        self.sql.available = store.readiness(dispatcher.now) == Readiness::Ready;
        self.store = Some(store);
    }

    fn count(&mut self, question: &Question, answer: &Result<Answer, Failure>, took: Duration) {
        let name = question.name();
        let statement = self.statements.entry(name).or_default();
        statement.name = Cow::Borrowed(name);
        statement.times.add(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        statement.errors += u64::from(!matches!(answer, Ok(_) | Err(Failure::Locked)));
    }

    fn step<I: Io<Socket = S>>(&mut self, store: &mut dyn Store, dispatcher: &mut Dispatcher<I>) -> Step {
        let now = dispatcher.now;
        match store.readiness(now) {
            Readiness::Probe if self.probe(store, dispatcher) => Step::Prepared(None),
            Readiness::Probe | Readiness::Closed(_) => Step::Nothing,
            Readiness::Preparing => Step::Prepared(store.prepare(now)),
            Readiness::Ready => match dispatcher.decisions.service.question(now) {
                Some(question) => {
                    let answer = store.ask(&question, now);
                    Step::Answered(question, answer)
                }
                None => Step::Nothing,
            },
        }
    }

    /// Whether SQL has to wait. It does not wait in the middle of a transaction, for whose end other processes wait. It
    /// does not wait between finding rows and reading them either, and pays for that afterwards.
    fn rests<I: Io>(&self, dispatcher: &Dispatcher<I>) -> bool {
        self.share.rest() > dispatcher.now.at && !dispatcher.decisions.service.goes_on()
    }

    /// Finds out whether the database is there, without waiting for it. Returns whether it is known now.
    fn probe<I: Io<Socket = S>>(&mut self, store: &mut dyn Store, dispatcher: &mut Dispatcher<I>) -> bool {
        let (io, now) = (&mut dispatcher.io, dispatcher.now);
        if !self.probe.is_running() {
            self.probe.start(store.endpoints(), store.patience(), io, now.at);
        }
        let Some(found) = self.probe.turn(io, now.at) else {
            return false;
        };
        store.probed(found, now);
        self.away = !matches!(store.readiness(now), Readiness::Ready | Readiness::Preparing);
        true
    }

    /// When `ask` has something to do.
    pub(super) fn due<I: Io<Socket = S>>(&self, dispatcher: &Dispatcher<I>) -> Time {
        let Some(store) = self.store.as_ref().filter(|_| !self.left) else {
            return Time::NEVER;
        };
        let due = match store.readiness(dispatcher.now) {
            Readiness::Ready => dispatcher.decisions.service.question_due(),
            Readiness::Probe if self.probe.is_running() => self.probe.deadline(),
            Readiness::Probe | Readiness::Preparing => Time(0),
            Readiness::Closed(until) => until,
        };
        match self.rests(dispatcher) {
            true => due.max(self.share.rest()),
            false => due,
        }
    }
}

/// Notes a statement in the flight recorder.
fn note(flight: &mut Recorder, now: Time, question: &Question, answer: &Result<Answer, Failure>) {
    let rows = answer.as_ref().map_or(0, Answer::rows);
    let counts = flight.counts();
    counts.statements += 1;
    counts.rows += rows as u32;
    flight.piece(now, |culprit| {
        culprit.kind = Kind::Statement;
        culprit.count = rows as u32;
        culprit.outcome = match answer {
            Ok(_) => "",
            Err(Failure::Unavailable(_)) => "no answer",
            Err(Failure::Locked) => "locked",
            Err(Failure::TooLong) => "took too long",
            Err(Failure::Denied(_) | Failure::Refused(_)) => "refused",
            Err(Failure::Malformed(_)) => "malformed answer",
        };
        culprit.append(question.name());
    });
}
