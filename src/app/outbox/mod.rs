//! The outbox table as the service reads it: what was committed into it becomes events and control rows in the order in which
//! it became visible, none is skipped because others overtook it, and clients that were away are told what they missed or
//! honestly that it is not known any more.
//!
//! It asks for one statement at a time ([`Outbox::question`]) and goes on with what comes back, or does not. What an event
//! does, who may hear it and when a client's recovery is written are decided by others. The files: `tail` reads rows, `runs`
//! remembers which ids are missing, `history` keeps rows for recovery, `epoch` sees to it that positions mean something, and
//! `cleaner` deletes.

mod cleaner;
pub mod control;
mod epoch;
mod history;
mod late;
mod recovery;
mod rows;
mod runs;
mod samples;
mod seen;
mod table;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use self::cleaner::Cleaner;
pub use self::control::{CHANNEL, Control};
use self::epoch::Heartbeat;
use self::history::History;
use self::late::Late;
use self::recovery::Above;
pub use self::recovery::{NOWHERE, Reach};
use self::rows::Complaints;
use self::runs::Runs;
use self::samples::Samples;
pub use self::seen::{Counters, Event, Seen};
use crate::config::Database;
use crate::store::{Answer, Failure, NewRow, Question, Row};
use crate::time::{Now, Time};

/// After a failure of the database; the store has its own breaker, so that asking costs nothing.
const RETRY: Duration = Duration::from_millis(250);

/// After something was refused: a table or a privilege is missing, and somebody has to mend it.
const REFUSED: Duration = Duration::from_secs(10);

/// How often the state table is read.
const STATE_EVERY: Duration = Duration::from_secs(3);

/// How often rows of processes that are gone are forgotten, and how old those are, in seconds.
const FORGET_EVERY: Duration = Duration::from_secs(600);
const FORGET_AFTER: u64 = 600;

/// Bytes of data that one answer may have.
const ANSWER_BYTES: usize = 4 << 20;

/// The outbox table of a site.
#[derive(Debug)]
pub struct Outbox {
    settings: Database,
    /// Names this process in the state table.
    process: u32,
    max_event_size: usize,
    /// Rows of one question; smaller after one that took too long.
    limit: u32,

    phase: Phase,
    asked: Option<Asked>,
    /// Nothing is asked before it.
    retry_at: Time,
    /// What was refused, as it was said.
    refused: Option<String>,
    tail_at: Time,
    state_at: Time,
    forget_at: Time,
    /// Rows came lately.
    busy_until: Time,
    /// Whether the last question was one for rows: then something else has its turn.
    tailed: bool,
    /// Which of the other duties has its turn.
    turn: usize,
    /// Questions for rows so far.
    tails: u64,

    /// While ready, and while rows are loaded.
    epoch: Option<u32>,
    /// The epoch that is being written, or that cannot be written.
    proposed: u32,
    /// The state table cannot be written: the epoch is this process's own.
    unshared: bool,
    /// When the table was made, as far as this process believes.
    made: Option<String>,
    /// What does not fit together and is looked at once more.
    suspicion: Option<&'static str>,
    /// When this process made an epoch last.
    renamed_at: Option<Time>,
    heartbeat: Heartbeat,

    /// The highest id that is known: all up to it were seen or are in a run, or were before the window.
    head: u64,
    /// All up to it are settled.
    safe: u64,
    /// The safe position as of what was taken by [`Outbox::take_seen`].
    told: u64,
    /// Ids up to here were handed out before this process began to load.
    before: u64,
    /// Up to where other processes told their clients: what they say, as of how many questions for rows, and what they said
    /// when rows were read since. What is missing below it was not overlooked, it was taken for settled.
    others_tell: Option<(u64, u64)>,
    others_told: u64,
    deleted_to: u64,
    /// The lowest row in the table, lately.
    lowest: Option<u64>,
    /// `auto_increment_increment`, and which residues of it ids had so far.
    increment: u64,
    residues: u64,

    runs: Runs,
    history: History,
    late: Late,
    samples: Samples,
    cleaner: Cleaner,
    above: Option<Above>,
    /// What is to be written as the state table's mark.
    mark: Option<String>,
    /// The lowest row up to which somebody waits for everything to be settled.
    settling: Option<u64>,
    generation: u64,

    seen: Vec<Seen>,
    complaints: Complaints,
    counters: Counters,
    answered_at: Time,
    /// When rows were last asked for and all that there were came.
    caught_up_at: Time,
    /// There were more than the last answer has room for.
    waiting: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The state has to be read.
    Unknown,
    /// A new epoch is being written: these rows of the state table.
    Naming(VecDeque<(&'static str, String)>),
    /// The retention window is being read.
    Loading,
    /// As it should be.
    Ready,
}

/// The question that has no answer yet.
#[derive(Debug)]
struct Asked {
    duty: Duty,
    question: Question,
    at: Time,
}

/// What a question is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Duty {
    State,
    Name,
    Tail,
    Heartbeat,
    Mark,
    Probe(RangeInclusive<u64>),
    Recall(Box<str>, RangeInclusive<u64>),
    Clean,
    Forget,
}

/// Whether a row may be published, or obeyed if it is a control row, before it is written.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check(row: &NewRow, max_event_size: usize) -> Result<(), String> {
    let row = Row {
        id: 1,
        channel: row.channel.clone(),
        event: row.event.clone(),
        data: Some(row.data.clone()),
        socket_id: row.socket_id.clone(),
    };
    rows::read(row, max_event_size).map(drop)
}

impl Outbox {
    /// Nothing is known yet. `process` is random: it names this process to others. `max_event_size`: bytes of an event's data.
    pub fn new(settings: &Database, process: u32, max_event_size: usize) -> Self {
        Self {
            settings: settings.clone(),
            process,
            max_event_size,
            limit: limit_for(max_event_size),
            phase: Phase::Unknown,
            asked: None,
            retry_at: Time::default(),
            refused: None,
            tail_at: Time::default(),
            state_at: Time::default(),
            forget_at: Time::default(),
            busy_until: Time::default(),
            tailed: false,
            turn: 0,
            tails: 0,
            epoch: None,
            proposed: 0,
            unshared: false,
            made: None,
            suspicion: None,
            renamed_at: None,
            heartbeat: Heartbeat::default(),
            head: 0,
            safe: 0,
            told: 0,
            before: 0,
            others_tell: None,
            others_told: 0,
            deleted_to: 0,
            lowest: None,
            increment: 0,
            residues: 0,
            runs: Runs::new(Duration::from_secs(settings.gap_max)),
            history: History::new(settings),
            late: Late::default(),
            samples: Samples::default(),
            cleaner: Cleaner::new(),
            above: None,
            mark: None,
            settling: None,
            generation: 0,
            seen: Vec::new(),
            complaints: Complaints::default(),
            counters: Counters::default(),
            answered_at: Time::default(),
            caught_up_at: Time::default(),
            waiting: false,
        }
    }

    /// Goes on with other settings.
    pub fn reconfigure(&mut self, settings: &Database, max_event_size: usize) {
        self.settings = settings.clone();
        self.max_event_size = max_event_size;
        self.limit = limit_for(max_event_size);
        self.runs.set_gap_max(Duration::from_secs(settings.gap_max));
        self.history.reconfigure(settings);
    }

    /// The next statement that is due, if any. It counts as asked; the one before it, if it has no answer, as lost.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        if let Some(lost) = self.asked.take() {
            self.lost(&lost);
        }
        if now.at < self.retry_at {
            return None;
        }
        let (duty, question) = self.choose(now)?;
        self.asked = Some(Asked {
            duty,
            question: question.clone(),
            at: now.at,
        });
        Some(question)
    }

    /// Whether this is the question that was asked last.
    pub fn is_mine(&self, question: &Question) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.question == *question)
    }

    /// What came of a question. An answer to any but the last question is ignored.
    pub fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now) {
        let Some(asked) = self.asked.take_if(|asked| asked.question == *question) else {
            return;
        };
        if let Err(Failure::Unavailable(_)) = &answer {
            // Whatever comes back may be another table.
            (self.state_at, self.tailed, self.turn) = (now.at, true, 0);
            self.retry_at = now.at + RETRY;
            self.lost(&asked);
        }
        match asked.duty {
            Duty::State => self.on_state(answer, now),
            Duty::Name => self.on_named(answer, now.at),
            Duty::Tail => self.on_tail(&asked.question, answer, asked.at, now),
            Duty::Heartbeat => self.on_heartbeat(answer, now.at),
            Duty::Probe(ids) => self.on_probe(&ids, &answer, asked.at, now.at),
            Duty::Recall(channel, ids) => self.on_recall(&channel, &ids, &asked.question, answer),
            Duty::Clean => self.on_clean(&answer, now.at),
            // What was not written is wanted again when the state is read next.
            Duty::Mark | Duty::Forget => {}
        }
        self.settle(now);
    }

    /// When to ask again.
    pub fn deadline(&self) -> Time {
        let due = match self.phase {
            Phase::Unknown => self.state_at,
            Phase::Naming(_) | Phase::Loading => Time::default(),
            Phase::Ready if self.wants_state() || self.history.is_asking() || self.mark.is_some() => Time::default(),
            Phase::Ready => [
                self.tail_at,
                self.state_at,
                self.heartbeat.at,
                self.runs.probe_at(),
                self.cleaner.deadline(),
                self.forget_at,
            ]
            .into_iter()
            .min()
            .unwrap_or(Time::NEVER),
        };
        due.max(self.retry_at)
    }

    /// Somebody says that there are new rows.
    pub fn nudge(&mut self, now: Now) {
        self.tail_at = self.tail_at.min(now.at);
    }

    /// What became visible since the last call. To be called after each answer.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        self.told = self.safe;
        std::mem::take(&mut self.seen)
    }

    /// Whether the position is not known yet but will be, as far as this process knows.
    pub fn is_coming(&self) -> bool {
        self.phase != Phase::Ready && self.refused.is_none()
    }

    /// Whether positions are known and rows are delivered.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// How it goes.
    pub fn counters(&self, now: Now) -> Counters {
        let (gaps_open, gaps_dead) = self.runs.count();
        let (history_rows, history_bytes) = self.history.size();
        let ms = |since: Time| u64::try_from(now.at.since(since).as_millis()).unwrap_or(u64::MAX);
        Counters {
            gaps_open,
            gaps_dead,
            died: self.runs.died,
            given_up: self.runs.given_up,
            deletes: self.cleaner.ranges,
            history_rows,
            history_bytes,
            lag_ms: ms(self.answered_at),
            behind_ms: ms(self.caught_up_at),
            waiting: self.waiting,
            held_ms: self.runs.held_since(now.at).map_or(0, ms),
            ..self.counters
        }
    }

    fn choose(&mut self, now: Now) -> Option<(Duty, Question)> {
        match &self.phase {
            Phase::Unknown if self.state_at <= now.at => Some(self.ask_state(now.at)),
            Phase::Unknown => None,
            Phase::Naming(rows) => {
                let (name, value) = rows.front()?.clone();
                let name = name.into();
                Some((Duty::Name, Question::Write { name, value }))
            }
            Phase::Loading => Some(self.ask_tail(now.at)),
            Phase::Ready => {
                let due = self.tail_at <= now.at;
                if due && !self.tailed {
                    return Some(self.ask_tail(now.at));
                }
                self.tailed = false;
                let other = self.choose_other(now.at);
                other.or_else(|| due.then(|| self.ask_tail(now.at)))
            }
        }
    }

    /// Whatever is due besides reading rows, each in its turn.
    fn choose_other(&mut self, now: Time) -> Option<(Duty, Question)> {
        const DUTIES: usize = 6;
        let seen = self.samples.safe_for(self.retention(), now);
        self.cleaner.consider(self.lowest, seen, now);
        for _ in 0..DUTIES {
            let turn = self.turn;
            self.turn = (turn + 1) % DUTIES;
            let question = match turn {
                0 if self.wants_state() || self.state_at <= now => Some(self.ask_state(now)),
                1 => self.ask_heartbeat(now),
                2 => self
                    .runs
                    .probe(now)
                    .map(|ids| (Duty::Probe(ids.clone()), Question::Probe(ids))),
                3 => self.ask_recall(),
                4 => self.ask_clean(now),
                5 => self.ask_mark(),
                _ => None,
            };
            if question.is_some() {
                return question;
            }
        }
        None
    }

    fn wants_state(&self) -> bool {
        self.cleaner.is_looking() || self.history.is_unconfirmed()
    }

    fn ask_state(&mut self, now: Time) -> (Duty, Question) {
        self.state_at = now + STATE_EVERY;
        (Duty::State, Question::State)
    }

    fn ask_clean(&mut self, now: Time) -> Option<(Duty, Question)> {
        if self.forget_at <= now {
            self.forget_at = now + FORGET_EVERY;
            let (prefix, seconds) = (table::POSITION.into(), FORGET_AFTER);
            return Some((Duty::Forget, Question::Forget { prefix, seconds }));
        }
        let question = self.cleaner.question(self.epoch?, now)?;
        Some((Duty::Clean, question))
    }

    fn on_clean(&mut self, answer: &Result<Answer, Failure>, now: Time) {
        if let Some(to) = self.cleaner.answer(answer, now) {
            self.on_deleted(to);
        }
    }

    /// Nobody can come from below any more.
    fn on_deleted(&mut self, to: u64) {
        if to > self.deleted_to {
            self.deleted_to = to;
            self.runs.deleted(to);
            self.history.deleted(to);
            self.late.deleted(to);
        }
    }

    /// An answer that will not come. Everything else that is asked is due again by itself after a while.
    fn lost(&mut self, asked: &Asked) {
        if let Duty::Recall(channel, _) = &asked.duty {
            self.history.read_again(channel);
        }
    }

    fn retention(&self) -> Duration {
        Duration::from_secs(self.settings.retention)
    }

    /// Something that is needed is missing: it is said once, and looked at again now and then.
    fn refuse(&mut self, why: String, now: Time) {
        if self.refused.as_ref() != Some(&why) {
            log::warn!("the outbox table is not read: {why}");
        }
        self.refused = Some(why);
        self.retry_at = now + REFUSED;
        self.generation += 1;
    }
}

/// Rows of one question, so that an answer is no larger than [`ANSWER_BYTES`] except for sites with very large events.
fn limit_for(max_event_size: usize) -> u32 {
    let rows = (ANSWER_BYTES / max_event_size.max(1)).clamp(16, 500);
    u32::try_from(rows).unwrap_or(16)
}
