//! What makes positions mean something: the epoch, which changes whenever ids may have gone back (a table that was restored,
//! copied, truncated), and the row by which this process tells others how far it is. All of it stands in the state table,
//! so that several processes agree: whoever finds something wrong writes a new epoch, all others adopt what is written.

use std::time::Duration;

use super::table::{self, Table, epoch_text};
use super::{Duty, Outbox, Phase, REFUSED, Seen};
use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Question, schema};
use crate::time::{Now, Time};

/// How often the own position is written, and how often at most while it moves. PHP gives it to pages: one that is made right
/// after a row was delivered must not be told of that row again.
const EVERY: Duration = Duration::from_secs(2);
const HURRY: Duration = Duration::from_millis(500);

/// A row that was written longer ago than this may have been forgotten by others.
const SURELY_THERE: Duration = Duration::from_secs(300);

/// A statement whose answer was lost may still take effect for so long.
const MAY_BE: Duration = Duration::from_secs(60);

/// When something does not fit together it is looked at again: the state's parts are not read in one instant.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Between two new epochs of one process.
const NOT_SOONER: Duration = Duration::from_secs(5);

/// Ids below the highest among which rows may still be in flight at the start.
const IN_FLIGHT: u64 = 10_000;

const NONE_YET: &str = "there is none yet";
const MADE_ANEW: &str = "the table was made anew or changed";
const WENT_BACK: &str = "its ids went back";
const LOST: &str = "this process's row of the state table is not what was written";

/// The row of the state table that says how far this process is.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    /// When it is written next.
    pub(super) at: Time,
    last: Time,
    /// What it said.
    row: u64,
    /// What is in the table, and since when.
    written: Option<(String, Time)>,
    /// What may be in the table.
    unsure: Vec<(String, Time)>,
    refused: bool,
    /// The state was read and believed since it was written: or a row that is not what was written would be overwritten.
    looked: bool,
}

impl Heartbeat {
    /// The position has come this far.
    pub(super) fn hurry(&mut self, row: u64) {
        if row > self.row && !self.refused {
            self.at = self.at.min(self.last + HURRY);
        }
    }

    /// Whether the table may say this.
    fn may_be(&self, entry: Option<&str>, now: Time) -> bool {
        let Some((written, at)) = &self.written else {
            return true;
        };
        *at + SURELY_THERE <= now
            || entry.is_some_and(|entry| entry == written || self.unsure.iter().any(|(unsure, _)| unsure == entry))
    }
}

impl Outbox {
    pub(super) fn on_state(&mut self, answer: Result<Answer, Failure>, now: Now) {
        let table = match answer {
            Ok(Answer::State(state)) => Table::read(state),
            Ok(_) | Err(Failure::Unavailable(_)) => return,
            Err(Failure::Locked) => {
                self.state_at = now.at;
                self.retry_at = now.at + LOOK_AGAIN;
                return;
            }
            Err(failure) => {
                self.state_at = now.at;
                return self.refuse(failure.to_string(), now.at);
            }
        };
        if let Some(version) = table.schema.as_deref().filter(|version| *version != schema::VERSION) {
            self.state_at = now.at;
            let known = schema::VERSION;
            return self.refuse(
                format!("its tables are of schema {version}, this server knows {known}"),
                now.at,
            );
        }
        if self.refused.take().is_some() {
            log::info!("the outbox table can be read");
        }
        match self.distrust(&table, now.at) {
            Some(why) if why == NONE_YET || self.suspicion == Some(why) => self.rename(why, &table, now),
            Some(why) => {
                self.suspicion = Some(why);
                self.state_at = now.at;
                self.retry_at = now.at + LOOK_AGAIN;
            }
            None => {
                self.suspicion = None;
                self.believe(&table, now.at);
            }
        }
    }

    /// Why positions that were given do not mean anything any more.
    fn distrust(&self, table: &Table, now: Time) -> Option<&'static str> {
        let stored = match (table.epoch, self.unshared) {
            (Some(epoch), _) => epoch,
            (None, true) => self.proposed,
            (None, false) => return Some(NONE_YET),
        };
        let made = match self.unshared && table.epoch.is_none() {
            true => self.made.as_ref(),
            false => table.made.as_ref(),
        };
        if made != Some(&table.state.made) {
            return Some(MADE_ANEW);
        }
        if table.is_another() {
            return Some(WENT_BACK);
        }
        let behind = |row| table.is_behind(row, table.deleted_to);
        if table.positions.iter().any(|written| behind(written.row)) {
            return Some(WENT_BACK);
        }
        if self.phase == Phase::Ready && self.epoch == Some(stored) {
            if behind(self.head) {
                return Some(WENT_BACK);
            }
            if !self.unshared && !self.heartbeat.may_be(table.entry(&self.own_row()), now) {
                return Some(LOST);
            }
        }
        None
    }

    /// Makes a new epoch. It counts when the state table says so.
    fn rename(&mut self, why: &'static str, table: &Table, now: Now) {
        self.suspicion = None;
        self.end_epoch();
        let unlike = [table.epoch, Some(self.proposed), Some(0)];
        let mut number = u64::from(self.process) << 32 ^ now.unix_ms ^ self.counters.epochs << 56 | 1;
        loop {
            // xorshift64
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            self.proposed = (number >> 32) as u32;
            if !unlike.contains(&Some(self.proposed)) {
                break;
            }
        }
        log::info!("a new epoch of the outbox table begins: {why}");
        self.made = Some(table.state.made.clone());
        // The epoch first: should this process end in between, the next one finds that they do not fit.
        let rows = [
            (table::EPOCH, epoch_text(self.proposed)),
            (table::MADE, table.state.made.clone()),
        ];
        self.phase = Phase::Naming(rows.into());
        if let Some(last) = self.renamed_at.replace(now.at) {
            self.retry_at = self.retry_at.max(last + NOT_SOONER);
        }
    }

    pub(super) fn on_named(&mut self, answer: Result<Answer, Failure>, now: Time) {
        let Phase::Naming(rows) = &mut self.phase else { return };
        match answer {
            Ok(_) => {
                rows.pop_front();
                self.unshared = false;
                if rows.is_empty() {
                    self.phase = Phase::Unknown;
                    self.state_at = now;
                }
            }
            Err(Failure::Refused(why)) => {
                log::warn!("the state table cannot be written, so after a restart every recovery is a gap: {why}");
                self.unshared = true;
                self.phase = Phase::Unknown;
                self.state_at = now;
            }
            Err(_) => self.retry_at = self.retry_at.max(now + super::RETRY),
        }
    }

    /// All is as it should be.
    fn believe(&mut self, table: &Table, now: Time) {
        let epoch = table.epoch.unwrap_or(self.proposed);
        self.increment = table.state.increment;
        self.lowest = table.state.lowest;
        self.heartbeat.looked = true;
        if self.epoch != Some(epoch) || !matches!(self.phase, Phase::Ready | Phase::Loading) {
            return self.adopt(epoch, table, now);
        }
        if table.deleted_to > self.head {
            log::warn!("rows of the outbox table were deleted before they were seen");
            self.head = table.deleted_to;
            self.seen.push(Seen::Gap);
        }
        self.others_tell.get_or_insert((table.highest_told(), self.tails));
        self.on_deleted(table.deleted_to);
        self.safe = self.safe.max(self.deleted_to);
        self.runs.expire(self.retention(), now);
        if self.history.confirm() {
            self.generation += 1;
        }
        self.history.expire(now);
        self.mark = table.next_mark().filter(|_| !self.heartbeat.refused);
        self.looked_at_state(table.handed_out(), now);
        let seen = self.samples.safe_for(self.retention(), now);
        self.cleaner.look(table, seen, now);
    }

    /// Begins with an epoch: what is in the table is loaded.
    fn adopt(&mut self, epoch: u32, table: &Table, now: Time) {
        self.end_epoch();
        self.counters.epochs += 1;
        self.generation += 1;
        self.epoch = Some(epoch);
        self.unshared &= table.epoch.is_none();
        self.made = Some(table.state.made.clone());
        self.deleted_to = table.deleted_to;
        let before = table.handed_out();
        self.before = before;
        let rows = u64::try_from(self.settings.history_rows).unwrap_or(u64::MAX);
        let window = rows.max(IN_FLIGHT).saturating_mul(self.increment.max(1));
        let start = before.saturating_sub(window).max(self.deleted_to);
        self.head = start;
        // What was safe for one is safe for all; should a row appear below, it is a late one.
        let told = table.highest_told();
        self.others_told = 0;
        self.others_tell = Some((told, self.tails));
        self.safe = start.max(told.min(before));
        self.told = self.safe;
        self.residues = 0;
        self.runs.clear();
        self.history.clear(start);
        self.heartbeat = Heartbeat {
            at: now,
            looked: true,
            ..Heartbeat::default()
        };
        self.phase = Phase::Loading;
    }

    /// Nothing of what is known counts any more.
    fn end_epoch(&mut self) {
        if self.epoch.take().is_some() {
            self.seen.push(Seen::Gap);
        }
        self.phase = Phase::Unknown;
        self.generation += 1;
        self.late.clear();
        self.samples.clear();
        (self.above, self.settling, self.mark) = (None, None, None);
        self.cleaner.reset();
    }

    /// Notes a row by which is seen later whether the table is still the same.
    pub(super) fn ask_mark(&mut self) -> Option<(Duty, Question)> {
        let value = self.mark.take()?;
        let name = table::MARK.into();
        Some((Duty::Mark, Question::Write { name, value }))
    }

    // --- heartbeat -----------------------------------------------------------------------------------------------

    fn own_row(&self) -> String {
        format!("{}{:08x}", table::POSITION, self.process)
    }

    pub(super) fn ask_heartbeat(&mut self, now: Time) -> Option<(Duty, Question)> {
        let epoch = self.epoch.filter(|_| self.heartbeat.at <= now)?;
        if !self.heartbeat.looked {
            return Some(self.ask_state(now));
        }
        self.heartbeat.looked = false;
        let (row, name) = (self.told, self.own_row());
        let value = Position::Outbox { epoch, row }.to_string();
        let heartbeat = &mut self.heartbeat;
        heartbeat.at = now + EVERY;
        heartbeat.last = now;
        heartbeat.row = row;
        heartbeat.unsure.retain(|(_, at)| *at + MAY_BE > now);
        heartbeat.unsure.push((value.clone(), now));
        Some((Duty::Heartbeat, Question::Write { name, value }))
    }

    pub(super) fn on_heartbeat(&mut self, answer: Result<Answer, Failure>, now: Time) {
        let heartbeat = &mut self.heartbeat;
        match answer {
            Ok(_) => {
                heartbeat.written = heartbeat.unsure.pop().map(|(value, _)| (value, now));
                if std::mem::take(&mut heartbeat.refused) {
                    log::info!("the state table can be written");
                }
                // The epoch is to be written too.
                if self.unshared {
                    self.unshared = false;
                    self.state_at = now;
                }
            }
            Err(Failure::Refused(why)) => {
                heartbeat.unsure.pop();
                heartbeat.at = now + REFUSED;
                if !std::mem::replace(&mut heartbeat.refused, true) && !self.unshared {
                    log::warn!("the position cannot be written into the state table: {why}");
                }
            }
            Err(_) => {}
        }
    }
}
