//! The two lines to the engine together: what one of them learns, the other must often know.

use bytes::Bytes;

use super::reader::Reader;
use super::writer::Writer;
use crate::protocol::engine::{EntryId, Fault, Line, Reply};
use crate::time::Time;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// Both lines were up once.
    has_met: bool,
    /// The last trouble with the engine, as a clause without a subject.
    trouble: String,
}

impl Lines {
    pub(super) fn new(now: Time) -> Self {
        Self {
            reader: Reader::new(now),
            writer: Writer::new(now),
            has_met: false,
            trouble: "has not answered yet".to_owned(),
        }
    }

    /// A line is up or down. Returns whether both are up for the first time.
    pub(super) fn set(&mut self, line: Line, state: Result<(), String>, now: Time) -> bool {
        match line {
            Line::Writing => {
                self.writer.set_up(state.is_ok(), now);
                // The engine may have lost its newest entries: nothing is appended before that is known.
                self.reader.check();
            }
            Line::Reading => self.reader.set_up(state.is_ok(), now),
        }
        if let Err(why) = state {
            self.trouble = why;
        }
        let meets = !self.has_met && self.writer.down.is_none() && self.reader.down.is_none();
        self.has_met |= meets;
        meets
    }

    /// The engine refused the command of a line.
    pub(super) fn refused(&mut self, line: Line, fault: &Fault, now: Time) {
        self.trouble = fault.to_string();
        match line {
            Line::Writing => self.writer.refused(now),
            Line::Reading => self.reader.refused(now),
        }
    }

    /// The engine answered the command of the writing line.
    pub(super) fn written(&mut self, reply: &Reply, now: Time) {
        match reply {
            Reply::Appended(id) => self.writer.appended(*id, self.reader.last(), now),
            Reply::NoLog => self.writer.no_log(),
            Reply::TooSmall => {
                self.writer.too_small();
                self.reader.check();
            }
            Reply::Records(_) | Reply::Done(_) => self.writer.done(),
        }
    }

    /// The engine answered the command of the reading line. Returns the entries to be applied.
    pub(super) fn read(&mut self, reply: Reply, now: Time) -> Vec<(EntryId, Bytes)> {
        let Reply::Records(records) = reply else {
            self.reader.refused(now);
            return Vec::new();
        };
        self.reader.retry.succeeded();
        let (is_newest, asked) = self.reader.answered(records.len());
        let is_missing = self.writer.is_missing(asked);
        if !is_newest {
            if records.is_empty() && (is_missing || self.writer.is_refused()) {
                self.reader.check();
            }
            return records;
        }
        let newest = records.first().map(|(id, _)| *id);
        if self.reader.newest(newest, is_missing) {
            self.writer.lost();
        }
        if let Some(id) = newest {
            self.writer.is_current(u32::try_from(id.ms).unwrap_or(0));
        }
        Vec::new()
    }

    /// Since when a line is down, or the oldest batch was not read back.
    pub(super) fn trouble_since(&self) -> Option<Time> {
        let all = [self.writer.down, self.reader.down, self.writer.oldest()];
        all.into_iter().flatten().min()
    }

    /// Why the engine cannot be used, as a clause without a subject.
    pub(super) fn why(&self) -> String {
        let is_down = self.writer.down.or(self.reader.down).is_some();
        match is_down || self.writer.retry.at() != Time(0) || self.reader.retry.at() != Time(0) {
            true => self.trouble.clone(),
            false => "does not show what was written".to_owned(),
        }
    }

    /// When a refused command is tried again.
    pub(super) fn retry_at(&self, now: Time) -> Option<Time> {
        let all = [self.writer.retry.at(), self.reader.retry.at()];
        all.into_iter().filter(|at| *at > now).min()
    }
}
