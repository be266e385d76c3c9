//! Reading rows: the window at the start, then whatever is new, and again what was missing. Each id is settled once: by its
//! row, or by the run that it is in.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::control;
use super::history::Logged;
use super::recovery::with_pos;
use super::rows::{self, Meaning};
use super::{Duty, Event, Outbox, Phase, RETRY, Seen, limit_for};
use crate::protocol::frames::{self, Extra};
use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Question, Row};
use crate::time::{Now, Time};

/// After the last row it is polled fast for so long.
const BUSY: Duration = Duration::from_secs(1);

/// The fewest rows of one question.
const LEAST_ROWS: u32 = 16;

impl Outbox {
    pub(super) fn ask_tail(&mut self, now: Time) -> (Duty, Question) {
        self.tailed = true;
        self.tails += 1;
        // Should the answer be lost.
        self.tail_at = now + Duration::from_millis(self.settings.idle_poll_ms);
        let runs = match self.phase {
            Phase::Ready => self.runs.spans(self.limit, now),
            _ => Vec::new(),
        };
        let (after, limit) = (self.head, self.limit);
        (Duty::Tail, Question::Tail { after, runs, limit })
    }

    pub(super) fn on_tail(&mut self, question: &Question, answer: Result<Answer, Failure>, asked: Time, now: Now) {
        let Question::Tail { after, runs, limit } = question else {
            return;
        };
        let mut rows = match answer {
            Ok(Answer::Rows(rows)) => rows,
            Ok(_) => return,
            Err(Failure::Unavailable(_)) => {
                self.ask_less(*limit);
                return;
            }
            Err(Failure::Locked) => {
                self.retry_at = now.at + RETRY;
                return;
            }
            Err(failure) => return self.refuse(failure.to_string(), now.at),
        };
        self.answered_at = now.at;
        let full = rows.len() >= *limit as usize;
        rows.sort_by_key(|row| row.id);
        let loading = self.phase == Phase::Loading;
        let first = self.seen.len();
        let mut news = false;
        for row in rows {
            let asked_for = row.id > *after || runs.iter().any(|run| run.contains(&row.id));
            if asked_for && let Some(was_missing) = self.settle_row(row.id, now.at) {
                news = true;
                if was_missing {
                    self.mark_late(&row);
                }
                let live = !loading || row.id > self.before;
                self.accept(row, live, now.at);
            }
        }
        if !full && loading {
            self.loaded(now.at);
        }
        self.pace(full, news, asked, now.at);
        self.safe = self.safe.max(self.runs.safe(self.head, now.at));
        self.write_positions(first);
        self.waiting = full;
        if !full {
            // What was committed while the database answered may not be in it.
            self.caught_up_at = asked;
            self.looked_above(now.at);
            if let Some((told, _)) = self.others_tell.take_if(|(_, tails)| *tails < self.tails) {
                self.others_told = self.others_told.max(told);
            }
        }
    }

    /// A row with this id is there. `None`: it was seen before. Else whether it was missing, with rows above it.
    fn settle_row(&mut self, id: u64, now: Time) -> Option<bool> {
        if (2..=u64::from(u64::BITS)).contains(&self.increment) {
            self.residues |= 1 << (id % self.increment);
        }
        if id <= self.head {
            return self.runs.fill(id).then_some(true);
        }
        if id - 1 > self.head {
            self.miss(self.head + 1..=id - 1, now);
        }
        self.head = id;
        Some(false)
    }

    /// A row that was missing appeared. Was it taken for settled, here or by another process, then clients may be past it.
    fn mark_late(&mut self, row: &Row) {
        if row.channel == control::CHANNEL {
            return;
        }
        let told = self.safe.max(self.others_told);
        self.counters.late += u64::from(row.id <= self.safe);
        if row.id <= told {
            self.late.add(&row.channel, row.id, told);
        }
    }

    /// These ids have no row yet. Regular holes are nobody's, as long as nobody was seen to use them.
    fn miss(&mut self, ids: RangeInclusive<u64>, now: Time) {
        let step = self.increment;
        let regular = (2..=u64::from(u64::BITS)).contains(&step)
            && ids.end() - ids.start() < step
            && ids.clone().all(|id| self.residues & 1 << (id % step) == 0);
        match regular {
            true => self.runs.bury(ids, now),
            false => self.runs.open(ids, now),
        }
    }

    /// The window is read; what was handed out before and has no row is missing.
    fn loaded(&mut self, now: Time) {
        if self.before > self.head {
            self.runs.open(self.head + 1..=self.before, now);
            self.head = self.before;
        }
        self.phase = Phase::Ready;
        self.generation += 1;
        self.heartbeat.at = now;
        let (rows, _) = self.history.size();
        log::info!(
            "the outbox table is read from row {} on; {rows} rows are remembered",
            self.head + 1
        );
    }

    fn accept(&mut self, row: Row, live: bool, now: Time) {
        self.counters.rows += 1;
        let id = row.id;
        match rows::read(row, self.max_event_size) {
            Ok(Meaning::Event(event)) => {
                let logged = self.log(id, &event);
                self.history.insert(&event.channel, logged.clone());
                if live {
                    self.seen.push(Seen::Event(Event {
                        id,
                        channel: event.channel,
                        event: event.name,
                        data: event.data,
                        except: event.except,
                        frame: logged.frame,
                    }));
                }
            }
            Ok(Meaning::Control(control)) if live => self.seen.push(Seen::Control(control)),
            Ok(Meaning::Control(_)) => {}
            Err(why) => {
                self.counters.bad += 1;
                self.complaints.say(id, &why, now);
            }
        }
    }

    /// A row as it is kept.
    pub(super) fn log(&self, id: u64, event: &rows::Event) -> Logged {
        let position = Position::Outbox {
            epoch: self.epoch.unwrap_or(0),
            row: id,
        };
        let extra = Extra {
            id: Some(&position.to_string()),
            ..Extra::default()
        };
        let frame = frames::event(&event.name, &event.channel, &event.data, None, extra);
        Logged {
            id,
            frame: frame.into(),
            except: event.except,
        }
    }

    /// Those that were just seen are told with what is safe once all of them are told.
    fn write_positions(&mut self, first: usize) {
        let Some(epoch) = self.epoch else { return };
        let safe = self.safe;
        for seen in &mut self.seen[first..] {
            if let Seen::Event(event) = seen {
                event.frame = with_pos(&event.frame, event.id, epoch, safe);
            }
        }
    }

    fn pace(&mut self, full: bool, news: bool, asked: Time, now: Time) {
        if news {
            self.busy_until = now + BUSY;
        }
        let ms = match now < self.busy_until {
            true => self.settings.poll_ms,
            false => self.settings.idle_poll_ms,
        };
        self.tail_at = match full {
            true => now,
            false => asked + Duration::from_millis(ms),
        };
        self.limit = (self.limit.saturating_mul(2)).min(limit_for(self.max_event_size));
    }

    /// There was no answer: it may have been too much for the statement limit.
    pub(super) fn ask_less(&mut self, limit: u32) {
        self.limit = (limit / 2).max(LEAST_ROWS);
    }

    pub(super) fn on_probe(
        &mut self,
        ids: &RangeInclusive<u64>,
        answer: &Result<Answer, Failure>,
        asked: Time,
        now: Time,
    ) {
        let result = match answer {
            Ok(Answer::Ids(found)) => Ok(found.as_slice()),
            Ok(_) => return,
            Err(failure) => Err(failure),
        };
        if self.runs.probed(ids, result, asked, now) {
            self.tail_at = now;
        }
    }

    /// What follows from any answer: how far everything is settled now.
    pub(super) fn settle(&mut self, now: Now) {
        if self.phase != Phase::Ready {
            return;
        }
        self.safe = self.safe.max(self.runs.safe(self.head, now.at));
        if self.seen.is_empty() {
            self.told = self.safe;
        }
        if self.settling.take_if(|row| *row <= self.safe).is_some() {
            self.generation += 1;
        }
        self.samples.take(self.safe, self.retention(), now);
        self.heartbeat.hurry(self.told);
    }
}
