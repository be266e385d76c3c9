//! Turns rows into events and control rows. New rows are passed on and kept in turn; older rows are read for clients
//! that were away.

use super::counters::Counters;
use super::history::History;
use super::rows::{self, Meaning};
use super::stream::Stream;
use crate::config::Database;
use crate::logging::{Kind, More, Quiet};
use crate::protocol::position::Place;
use crate::protocol::rows::Seen;
use crate::store::{Answer, ChannelRange, Failure, Question, Row};
use crate::time::Time;

/// The most bytes of data in one answer, and the fewest rows of one question.
const ANSWER_BYTES: usize = 4 << 20;
const LEAST_ROWS: u32 = 16;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) stream: Stream,
    pub(super) history: History,
    /// The rows that became visible by the answer that is being read.
    pub(super) seen: Vec<Seen>,
    pub(super) counters: Counters,
    max_event_size: usize,
    /// The rows of one question; fewer after a question that took too long.
    pub(super) limit: u32,
    quiet: Quiet,
}

impl Reader {
    pub(super) fn set_bounds(&mut self, settings: &Database, max_event_size: usize) {
        self.max_event_size = max_event_size;
        self.history.set_bounds(settings);
        self.read_more();
    }

    /// Raises the rows of one question, so that an answer is at most [`ANSWER_BYTES`] long, except on sites with very
    /// large events.
    fn read_more(&mut self) {
        let most = (ANSWER_BYTES / self.max_event_size.max(1)).clamp(LEAST_ROWS as usize, 500) as u32;
        self.limit = self.limit.saturating_mul(2).clamp(LEAST_ROWS, most);
    }

    /// An answer took too long: lowers the rows of one question.
    pub(super) fn read_less(&mut self) {
        self.limit = (self.limit / 2).max(LEAST_ROWS);
    }

    /// The question for the rows behind a number.
    pub(super) fn tail(&self, after: u64) -> Question {
        let limit = self.limit;
        Question::Tail { after, limit }
    }

    /// The question for the rows behind the last one, if there are any.
    pub(super) fn tail_behind(&self) -> Option<Question> {
        let last = self.stream.last().seq;
        self.stream.is_behind().then(|| self.tail(last))
    }

    /// Goes on behind a row of a new epoch, and drops the rows of the old epoch. Returns the number behind which the
    /// window begins.
    pub(super) fn adopt(&mut self, epoch: u32, place: Place, window: usize) -> u64 {
        if self.stream.epoch().is_some() {
            log::info!("the outbox table has a new epoch: every recovery from before is a gap");
            self.seen.push(Seen::Gap);
        }
        self.counters.epochs += 1;
        self.stream.adopt(epoch, place);
        let floor = place.seq.saturating_sub(u64::try_from(window).unwrap_or(u64::MAX));
        self.history.clear(floor);
        floor
    }

    /// Takes rows behind the last one. Returns whether at least one was the next in turn.
    pub(super) fn news(&mut self, rows: Vec<Row>, now: Time) -> bool {
        self.read_more();
        let (rows, gap) = self.stream.take(rows, now);
        if gap {
            log::warn!("rows of the outbox table are missing: everybody who is connected is told of a gap");
            self.seen.push(Seen::Gap);
        }
        let any = !rows.is_empty();
        for row in rows {
            self.accept(row, None, now);
        }
        self.history.evict(0);
        any
    }

    /// Takes rows from before the start, or from before a new epoch. They are for recovery and cache channels only and
    /// are not delivered. Returns the number that was reached; `None`: there are no more rows.
    pub(super) fn past(&mut self, mut rows: Vec<Row>, limit: u32, now_ms: u64, now: Time) -> Option<u64> {
        let full = rows.len() >= limit as usize;
        rows.sort_by_key(|row| row.place.seq);
        let last = self.stream.last().seq;
        let reached = rows.last().map(|row| row.place.seq);
        for row in rows.into_iter().filter(|row| row.place.seq <= last) {
            self.accept(row, Some(now_ms), now);
        }
        self.history.evict(0);
        reached.filter(|reached| full && *reached < last)
    }

    /// Handles the next row in turn. `past`: the row is from before the start, and this is the time of the database's
    /// clock.
    fn accept(&mut self, row: Row, past: Option<u64>, now: Time) {
        let (id, place) = (row.id, row.place);
        let meaning = rows::read(row, self.max_event_size, self.stream.epoch().unwrap_or(0));
        let event = match &meaning {
            Ok(Meaning::Event(event)) => Some(event),
            _ => None,
        };
        self.history.push(place, event);
        self.counters.rows += u64::from(past.is_none());
        match (meaning, past) {
            (Ok(Meaning::Event(event)), None) => self.seen.push(Seen::Event(event)),
            (Ok(Meaning::Event(event)), Some(now_ms)) => {
                self.seen.push(Seen::Past(event, now_ms.saturating_sub(place.mark)))
            }
            (Ok(Meaning::Control(control)), None) => self.seen.extend(control.map(Seen::Control)),
            (Err(why), None) => {
                self.counters.bad += 1;
                if let Some(more) = self.quiet.allow(Kind::BadRow, now) {
                    log::warn!("row {id} of the outbox table is skipped: {why}{}", More(more));
                }
            }
            (_, Some(_)) => {}
        }
    }

    /// A part of a channel was read again down to a number, or the read failed.
    pub(super) fn recalled(&mut self, range: &ChannelRange, answer: Result<Answer, Failure>) {
        let mut rows = match answer {
            Ok(Answer::Rows(rows)) => rows,
            Err(Failure::TooLong) if range.limit > LEAST_ROWS => return self.read_less(),
            _ => return self.history.refuse(&range.channel),
        };
        rows.sort_by_key(|row| std::cmp::Reverse(row.place.seq));
        let full = rows.len() >= range.limit as usize;
        let down_to = rows
            .last()
            .filter(|_| full)
            .map_or(range.after, |row| row.place.seq - 1);
        let epoch = self.stream.epoch().unwrap_or(0);
        let rows = rows.into_iter().filter(|row| row.channel == range.channel);
        let events = rows.filter_map(|row| match rows::read(row, self.max_event_size, epoch) {
            Ok(Meaning::Event(event)) => Some(event.logged),
            _ => None,
        });
        self.history.read(&range.channel, events.collect(), down_to);
    }
}
