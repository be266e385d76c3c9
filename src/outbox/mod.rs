//! The outbox table of a site: committed rows become events and control rows, in the same order for all clients.
//! Clients that were away get the rows that they missed, or an answer that these are no longer known.
//!
//! A committed row is *stamped* with the next number when it is first seen, and *tailed* in the order of the numbers.
//! The order of the stream is the order of visibility, of delivery and of recovery. A row that is not visible does not
//! exist yet.
//!
//! This file asks one question at a time ([`Outbox::question`]), gives each part its turn, and passes the answers on.
//! Other rooms decide what an event does, who may get it, and when a client's recovery is written. The parts: `looks`
//! (where rows wait), `stamp` (their numbers), `stream` (which row is next), `reader` (turns rows into events),
//! `history` (rows for recovery), `cleaner`.

mod cleaner;
mod clock;
mod counters;
mod history;
mod looks;
mod phase;
mod reader;
mod rows;
mod stamp;
mod stream;

use std::time::Duration;

use self::cleaner::Cleaner;
use self::clock::{Clock, DENIED, REFUSED, RETRY};
pub use self::counters::Counters;
use self::looks::Looks;
use self::phase::Phase;
use self::reader::Reader;
pub use self::rows::check;
use self::stamp::Stamper;
use self::stream::Fit;
use crate::config::Database;
use crate::protocol::position::Position;
use crate::protocol::rows::Missed;
pub use crate::protocol::rows::{Event, Logged, Reach, Seen};
use crate::protocol::turn::Turn;
use crate::store::{Answer, Checked, Claimed, Failure, Look, Looked, Question, Row, schema};
use crate::time::{Now, Time};

/// The number of duties that take turns; see [`Outbox::choose_duty`].
const DUTIES: usize = 7;

/// See the top of this file.
#[derive(Debug, Default)]
pub struct Outbox {
    settings: Database,
    /// The number of this process in the state table.
    process: u32,
    phase: Phase,
    asked: Option<(Question, Time)>,
    /// The question that ends the open transaction. No other question comes before it.
    ending: Option<Question>,
    /// Rows were found, claimed or stamped, and the next step must follow at once.
    on_its_way: bool,
    /// The reason why nothing is read, as it was logged.
    refused: Option<String>,
    clock: Clock,
    /// The next duty.
    turn: Turn,
    looks: Looks,
    stamper: Stamper,
    reader: Reader,
    cleaner: Cleaner,
    /// Changes when a waiting client may get an answer.
    generation: u64,
}

impl Outbox {
    /// An outbox of which nothing has been read. `process` is a random number that identifies this process to others.
    /// `max_event_size`: the most bytes of an event's data.
    pub fn new(settings: &Database, process: u32, max_event_size: usize) -> Self {
        let mut outbox = Self {
            process,
            ..Self::default()
        };
        outbox.reconfigure(settings, max_event_size);
        outbox
    }

    /// Applies new settings.
    pub fn reconfigure(&mut self, settings: &Database, max_event_size: usize) {
        self.settings = settings.clone();
        self.clock.set_pauses(settings);
        self.looks.set_budget(Duration::from_millis(settings.budget_ms));
        self.reader.set_bounds(settings, max_event_size);
    }

    /// Rows may have been committed: polls the table now.
    pub fn nudge(&mut self, now: Now) {
        self.clock.poll = self.clock.poll.min(now.at);
    }

    /// Whether rows are delivered.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether the position is unknown but expected.
    pub fn is_coming(&self) -> bool {
        self.position().is_none() && self.refused.is_none()
    }

    /// Whether rows are on their way, or a transaction is open. Then the next question to the database must be this
    /// outbox's, and at once.
    pub fn is_on_its_way(&self) -> bool {
        self.on_its_way || self.ending.is_some()
    }

    /// The newest row that was passed on, also while the database is unavailable; `None`: not known.
    pub fn position(&self) -> Option<Position> {
        let known = match self.phase {
            Phase::Ready => true,
            Phase::Unknown => self.refused.is_none(),
            Phase::Renewing(_) | Phase::Loading { .. } => false,
        };
        self.reader.stream.position().filter(|_| known)
    }

    /// The position that clients get.
    pub fn told_position(&self) -> Position {
        self.position().unwrap_or(Position::NOWHERE)
    }

    /// Changes when a [`Reach::Ask`] may have become another answer.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether all events of `channel` after `since` can be sent to a client. `waited`: how long the client has waited
    /// for the answer.
    pub fn reaches(&mut self, channel: &str, since: Position, waited: Duration, now: Now) -> Reach {
        let Position::Table { epoch, place } = since else {
            return Reach::No;
        };
        let stream = &self.reader.stream;
        let of_another = stream.epoch().is_some_and(|own| own != epoch) || stream.has_lost(place.seq);
        match self.position() {
            _ if of_another || self.refused.is_some() => Reach::No,
            None => Reach::Ask,
            // Another process may have been faster; a client must not be informed of a gap only for that.
            Some(_) if place.seq > stream.last().seq && waited >= stream::PATIENCE => Reach::No,
            Some(_) if place.seq > stream.last().seq => {
                let (seq, until) = self.clock.above;
                self.clock.above = (seq.min(place.seq), until.min(now.at + (stream::PATIENCE - waited)));
                self.clock.hurry(now.at);
                Reach::Ask
            }
            Some(_) => self.reader.history.reaches(channel, place, now.at),
        }
    }

    /// The first event of a channel after a row, if it is still known: memory is bounded, so it may have been dropped.
    pub fn missed(&mut self, channel: &str, seq: u64, now: Now) -> Missed {
        let history = &mut self.reader.history;
        match history.covers(channel, seq, now.at) {
            Some(true) => history
                .next(channel, seq)
                .cloned()
                .map_or(Missed::Nothing, Missed::Event),
            _ => Missed::Gone,
        }
    }

    /// The process whose heartbeat is in the table, if it is there.
    pub fn heartbeat(&self) -> Option<u32> {
        self.cleaner.has_beaten.then_some(self.process)
    }

    /// The counters.
    pub fn counters(&self, now: Now) -> Counters {
        let (history_rows, history_bytes) = self.reader.history.size();
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Counters {
            history_rows,
            history_bytes,
            unstamped: self.stamper.has_rows(),
            behind: self.reader.stream.behind(),
            late_ms: ms(now.at.since(self.clock.caught_up + self.clock.pause(now.at))),
            locked_ms: ms(self.stamper.locked_for(now.at)),
            deleted: self.cleaner.deleted,
            ..self.reader.counters
        }
    }

    /// The next question, if one is due. The question counts as asked. If the one before it has no answer, that answer
    /// counts as lost. `alone`: no client is connected, so the table is polled seldom.
    pub fn question(&mut self, alone: bool, now: Now) -> Option<Question> {
        if std::mem::replace(&mut self.clock.alone, alone) && !alone {
            self.nudge(now);
            self.cleaner.hurry(now.at);
        }
        if self.asked.take().is_some() {
            self.disconnected(now.at);
        }
        let question = match self.ending.take() {
            None if now.at < self.clock.retry => None,
            None => self.choose(now.at),
            ending => ending,
        };
        self.asked = question.clone().map(|question| (question, now.at));
        question
    }

    /// When the next question is due.
    pub fn deadline(&self) -> Time {
        let clock = &self.clock;
        let behind = self.looks.behind_at(clock.poll).max(clock.held);
        let poll = clock.poll_or_look(self.reader.stream.is_behind());
        let duties = [poll, behind, self.stamper.due(), self.cleaner.due()];
        match self.is_ready() && !self.reader.history.is_asking() && !self.on_its_way {
            _ if self.ending.is_some() => Time::default(),
            true => duties.into_iter().fold(Time::NEVER, Time::min).max(clock.retry),
            false => clock.retry,
        }
    }

    fn choose(&mut self, now: Time) -> Option<Question> {
        match self.phase {
            Phase::Unknown => Some(Question::Check(vec![self.reader.stream.last().seq])),
            Phase::Renewing(_) => {
                let (look, limit, ensure) = (self.looks.front(), 1, true);
                Some(Question::Claim { look, limit, ensure })
            }
            Phase::Loading { seq, .. } => Some(self.reader.tail(seq)),
            Phase::Ready => {
                self.forget(now);
                if std::mem::take(&mut self.on_its_way)
                    && let Some(next) = self.reader.tail_behind().or_else(|| self.stamper.question(now))
                {
                    return Some(next);
                }
                let mut duties = self.turn.round(DUTIES);
                let (duty, question) = duties.find_map(|duty| Some((duty, self.choose_duty(duty, now)?)))?;
                self.turn.served(duty);
                Some(question)
            }
        }
    }

    /// The question of a duty, if it is due. The duties take turns, so that many questions of one duty do not starve
    /// the others.
    fn choose_duty(&mut self, duty: usize, now: Time) -> Option<Question> {
        let is_behind = self.reader.stream.is_behind();
        let polls = self.clock.poll_or_look(is_behind) <= now;
        let looks_behind = self.looks.behind_at(self.clock.poll).max(self.clock.held) <= now;
        match duty {
            0 => self.stamper.question(now),
            1 if polls && !is_behind && !looks_behind => Some(Question::Look(self.looks.front())),
            2 if looks_behind => Some(Question::Look(self.looks.behind(self.clock.pause(now), now))),
            3 => self.reader.history.channel_question(self.reader.limit),
            4 => self.reader.history.words_question(),
            5 => {
                let (position, retention) = (self.told_position(), self.settings.retention);
                self.cleaner
                    .question(self.process, position, retention, self.clock.alone, now)
            }
            6 if polls => self.reader.tail_behind(),
            _ => None,
        }
    }

    fn forget(&mut self, now: Time) {
        let (seq, until) = self.clock.above;
        if until <= now || seq <= self.reader.stream.last().seq {
            (self.clock.above, self.clock.wake) = ((u64::MAX, Time::NEVER), true);
        }
        if self.clock.forgets(now) {
            self.reader.history.expire(now);
        }
    }

    /// Handles an answer. Returns the rows that became visible by it, in order. Only an answer to the last question
    /// counts.
    pub fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now) -> Vec<Seen> {
        if let Some((question, asked)) = self.asked.take_if(|(asked, _)| asked == question) {
            self.on_answer(question, answer, asked, now);
        }
        std::mem::take(&mut self.reader.seen)
    }

    fn on_answer(&mut self, question: Question, answer: Result<Answer, Failure>, asked: Time, now: Now) {
        let moves = answer.is_ok() && !matches!(question, Question::Tail { .. });
        match (question, answer) {
            (_, Err(Failure::Unavailable(_))) => self.disconnected(now.at),
            (Question::Check(seqs), Ok(Answer::Checked(checked))) => self.on_checked(&seqs, &checked, now.at),
            (Question::Look(look), Ok(Answer::Looked(looked))) => self.on_looked(look, &looked, asked, now.at),
            (Question::Claim { .. }, Ok(Answer::Claimed(claimed))) => {
                self.ending = Some(self.on_claimed(&claimed, now.at))
            }
            (Question::Claim { .. }, Err(Failure::Locked)) => {
                self.clock.retry = now.at + if self.is_ready() { Duration::ZERO } else { RETRY };
                self.clock.hurry(now.at);
                let again = self.stamper.is_locked_out(self.clock.pause(now.at), now.at);
                self.clock.poll = self.clock.poll.min(again);
            }
            (Question::Stamp { ids, first, mark, .. }, Ok(_)) => {
                self.reader.counters.stamped += ids.len() as u64;
                self.reader.stream.stamped(first + ids.len() as u64 - 1, mark);
                self.clock.poll = now.at;
            }
            (Question::Stamp { ids, .. }, Err(Failure::Locked | Failure::TooLong)) => {
                self.stamper
                    .met_lock(&ids, self.looks.claim(self.looks.front()), now.at);
            }
            (Question::Tail { limit, .. }, Ok(Answer::Rows(rows))) => self.on_rows(rows, limit, asked, now.at),
            (Question::Tail { .. }, Err(Failure::TooLong)) => self.reader.read_less(),
            (Question::Channel(range), answer) => {
                self.reader.recalled(&range, answer);
                self.clock.wake = true;
            }
            (question @ (Question::Beat { .. } | Question::Old { .. } | Question::Delete { .. }), answer) => {
                self.ending = self.cleaner.answer(&question, answer, now.at);
            }
            (_, Err(Failure::Denied(why))) => self.refuse(why, now.at + DENIED),
            (_, Err(Failure::Refused(why) | Failure::Malformed(why))) => self.refuse(why, now.at + REFUSED),
            // Too many rows in flight lie between the waiting rows: other looks find them.
            (Question::Look(look) | Question::Claim { look, .. }, Err(Failure::TooLong)) => {
                self.looks.failed(look, now.at);
                self.stamper.reset();
            }
            _ => {}
        }
        self.on_its_way =
            moves && self.looks.is_near() && (self.reader.stream.is_behind() || self.stamper.due() <= now.at);
        self.generation += u64::from(self.clock.wakes(self.reader.history.is_asking(), now.at));
    }

    fn on_checked(&mut self, seqs: &[u64], checked: &Checked, now: Time) {
        self.clock.wake = true;
        if self.is_ready() {
            return self.reader.history.checked(seqs, &checked.found);
        }
        if let Some(why) = schema::objection(checked.schema.as_deref()) {
            return self.refuse(why, now + REFUSED);
        }
        if self.refused.take().is_some() {
            log::info!("the outbox can be read");
        }
        match self.reader.stream.fit_all(checked, now) {
            Fit::Same => (self.phase, self.clock.poll) = (Phase::Ready, now),
            Fit::Other(epoch, place) => {
                let seq = self.reader.adopt(epoch, place, self.settings.history_rows);
                let now_ms = checked.now_ms;
                self.phase = Phase::Loading { seq, now_ms };
            }
            Fit::Lower => self.clock.retry = now + RETRY,
            Fit::Broken(why) => self.phase = Phase::Renewing(why),
        }
    }

    fn on_looked(&mut self, look: Look, looked: &Looked, asked: Time, now: Time) {
        let poll = self.clock.pause(now);
        self.looks.answered(look, looked, poll, now);
        self.clock.held = now + looked.pause;
        let is_whole = !matches!(look, Look::Window { .. });
        if is_whole {
            self.clock.poll = asked + poll;
        }
        match self.reader.stream.fit(looked.position.as_deref(), now) {
            Fit::Same if self.reader.stream.is_behind() => self.clock.poll = now,
            // Rows that were committed while the database answered may be missing in the answer.
            Fit::Same if is_whole => self.clock.caught_up = asked,
            Fit::Same => {}
            // Before a decision everything is read as of one instant. This read also counts for a position that went
            // back and has reached the same number again: by then there may be other rows.
            Fit::Other(..) | Fit::Lower | Fit::Broken(_) => self.phase = Phase::Unknown,
        }
        if looked.found.is_some() {
            self.stamper.want(self.looks.claim(look));
        }
        let retention_ms = self.settings.retention * 1000;
        self.reader.history.evict(looked.now_ms.saturating_sub(retention_ms));
    }

    /// The question that ends the transaction whose locks are held now.
    fn on_claimed(&mut self, claimed: &Claimed, now: Time) -> Question {
        let stream = &mut self.reader.stream;
        let why = match (&self.phase, stream.fit_all(&claimed.tables, now), stream.epoch()) {
            (Phase::Ready, Fit::Same, Some(epoch)) => {
                self.clock.poll = now;
                return self.stamper.order(claimed, epoch, stream.end(), now);
            }
            (Phase::Renewing(_), Fit::Broken(why), _) => why,
            // A claim cannot show this.
            (Phase::Renewing(stream::REPLACED), Fit::Same | Fit::Lower, _) => stream::REPLACED,
            // Data that was read outside the transaction may be older.
            _ => {
                (self.phase, self.clock.retry) = (Phase::Unknown, now + RETRY);
                return Question::Release;
            }
        };
        log::info!("a new epoch of the outbox table begins: {why}");
        self.phase = Phase::Unknown;
        let (newest, mark) = (claimed.tables.newest, claimed.tables.now_ms);
        // A number that most likely no epoch had: the combination of these two values does not come again.
        let epoch = (self.process ^ mark as u32).max(1);
        Question::Renew { epoch, newest, mark }
    }

    fn on_rows(&mut self, rows: Vec<Row>, limit: u32, asked: Time, now: Time) {
        if let Phase::Loading { now_ms, .. } = self.phase {
            self.phase = match self.reader.past(rows, limit, now_ms, now) {
                Some(seq) => Phase::Loading { seq, now_ms },
                None => Phase::Ready,
            };
            if self.is_ready() {
                (self.clock.wake, self.clock.poll) = (true, now);
                let (rows, _) = self.reader.history.size();
                let next = self.reader.stream.last().seq + 1;
                log::info!("the outbox table is read from number {next} on; {rows} rows are remembered");
            }
            return;
        }
        self.clock.poll = asked + self.clock.pause(now);
        if self.reader.news(rows, now) {
            self.clock.hurry(now);
            self.clock.poll = now;
        }
    }

    /// The connection was lost. The next one may lead to another database.
    fn disconnected(&mut self, now: Time) {
        self.reader.stream.disconnected();
        self.stop(now + RETRY);
    }

    /// A table or a privilege is missing: logs this once, and reads the tables again from time to time.
    fn refuse(&mut self, why: String, until: Time) {
        if self.refused.as_ref() != Some(&why) {
            log::warn!("the outbox is not read: {why}");
        }
        (self.refused, self.clock.wake) = (Some(why), true);
        self.stop(until);
    }

    fn stop(&mut self, until: Time) {
        self.stamper.reset();
        self.clock.retry = until;
        if !matches!(self.phase, Phase::Loading { .. }) {
            self.phase = Phase::Unknown;
        }
    }
}
