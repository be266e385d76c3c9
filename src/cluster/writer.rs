//! The writing side: batches that were given to the engine, until they are read back.
//!
//! One command at a time is on the way, so that a refusal cannot change the order of a process's batches. A batch whose
//! fate is unknown is written again with the same number, and all readers count only the first of both.

use std::collections::VecDeque;

use bytes::Bytes;

use super::retry::Retry;
use crate::protocol::engine::{Command, EntryId};
use crate::time::Time;

/// The most batches that were written and not read back.
const MAX_UNREAD: usize = 8;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Writer {
    /// Since when the line is down.
    pub(super) down: Option<Time>,
    pub(super) retry: Retry,
    flight: Option<Flight>,
    /// There is no log, or not the right one: a new epoch must begin.
    begins: bool,
    /// This epoch is over, and the next one was not read yet.
    refused: Option<u32>,
    last_k: u64,
    unread: VecDeque<Unread>,
}

#[derive(Clone, Copy, Debug)]
enum Flight {
    Append { k: u64, epoch: u32 },
    Begin,
    Other,
}

/// A batch.
#[derive(Debug)]
struct Unread {
    k: u64,
    bytes: Bytes,
    built: Time,
    /// The place that the engine named, and when.
    confirmed: Option<(EntryId, Time)>,
}

impl Writer {
    pub(super) fn new(now: Time) -> Self {
        Self {
            down: Some(now),
            retry: Retry::default(),
            flight: None,
            begins: false,
            refused: None,
            last_k: 0,
            unread: VecDeque::new(),
        }
    }

    /// The line is up or down.
    pub(super) fn set_up(&mut self, is_up: bool, now: Time) {
        self.down = match is_up {
            true => None,
            false => self.down.or(Some(now)),
        };
        self.flight = None;
    }

    /// Whether a command may be given.
    pub(super) fn is_free(&self, now: Time) -> bool {
        self.down.is_none() && self.flight.is_none() && self.retry.may(now)
    }

    /// Whether a new epoch must begin.
    pub(super) fn begins(&self) -> bool {
        self.begins
    }

    /// A new epoch begins with this entry.
    pub(super) fn begin(&mut self, epoch: u32, bytes: Bytes) -> Command {
        self.flight = Some(Flight::Begin);
        Command::Begin { epoch, bytes }
    }

    /// A command that appends nothing.
    pub(super) fn other(&mut self, command: Command) -> Command {
        self.flight = Some(Flight::Other);
        command
    }

    /// Whether batches may be written in this epoch.
    pub(super) fn may_append(&self, epoch: u32) -> bool {
        epoch != 0 && !self.begins && self.refused != Some(epoch)
    }

    /// The first batch that must be written (again).
    pub(super) fn again(&mut self, epoch: u32) -> Option<Command> {
        let unread = self.unread.iter().find(|unread| unread.confirmed.is_none())?;
        self.flight = Some(Flight::Append { k: unread.k, epoch });
        Some(Command::Append {
            epoch,
            bytes: unread.bytes.clone(),
        })
    }

    /// The number of the next batch; `None`: too many were not read back.
    pub(super) fn next_k(&self) -> Option<u64> {
        (self.unread.len() < MAX_UNREAD).then_some(self.last_k + 1)
    }

    /// Writes the next batch.
    pub(super) fn append(&mut self, epoch: u32, bytes: Bytes, now: Time) -> Command {
        self.last_k += 1;
        let k = self.last_k;
        self.flight = Some(Flight::Append { k, epoch });
        self.unread.push_back(Unread {
            k,
            bytes: bytes.clone(),
            built: now,
            confirmed: None,
        });
        Command::Append { epoch, bytes }
    }

    /// The engine appended an entry. `last` is the last one that was read. Returns whether it is a batch with that
    /// number.
    pub(super) fn appended(&mut self, id: EntryId, last: EntryId, now: Time) {
        self.retry.succeeded();
        match self.flight.take() {
            Some(Flight::Begin) => self.begins = false,
            Some(Flight::Append { k, epoch }) => {
                let Some(unread) = self.unread.iter_mut().find(|unread| unread.k == k) else {
                    return;
                };
                // Somewhere else than behind all that was read: this is not the log that it was.
                match id.ms == u64::from(epoch) && id.seq != 0 && id > last {
                    true => unread.confirmed = Some((id, now)),
                    false => self.lost(),
                }
            }
            _ => {}
        }
    }

    /// There is no log.
    pub(super) fn no_log(&mut self) {
        self.flight = None;
        self.lost();
    }

    /// The log has a newer epoch.
    pub(super) fn too_small(&mut self) {
        match self.flight.take() {
            Some(Flight::Append { epoch, .. }) => self.refused = Some(epoch),
            Some(Flight::Begin) => self.begins = false,
            _ => {}
        }
    }

    /// The command is over.
    pub(super) fn done(&mut self) {
        self.flight = None;
    }

    /// The engine refused the command. It is tried again.
    pub(super) fn refused(&mut self, now: Time) {
        self.flight = None;
        self.retry.failed(now);
    }

    /// The log is gone, and with it what was not read back.
    pub(super) fn lost(&mut self) {
        self.begins = true;
        for unread in &mut self.unread {
            unread.confirmed = None;
        }
    }

    /// The newest entry belongs to this epoch: it is not over.
    pub(super) fn is_current(&mut self, epoch: u32) {
        self.refused.take_if(|refused| *refused == epoch);
    }

    /// The next entry was read: an epoch began, or entries before it were lost. What was confirmed before it and not
    /// read is written again.
    pub(super) fn jumped(&mut self, id: EntryId, is_epoch: bool) {
        if is_epoch {
            self.begins = false;
        }
        for unread in &mut self.unread {
            unread.confirmed.take_if(|(confirmed, _)| *confirmed < id);
        }
    }

    /// The batch with this number was read back.
    pub(super) fn read_back(&mut self, k: u64) {
        self.unread.retain(|unread| unread.k != k);
    }

    /// Gives up what was not read back: this process alone handles it. Returns the batches, and the number up to which
    /// they go.
    pub(super) fn give_up(&mut self) -> (Vec<Bytes>, u64) {
        let unread = std::mem::take(&mut self.unread);
        (unread.into_iter().map(|unread| unread.bytes).collect(), self.last_k)
    }

    /// Whether a batch was confirmed before this time and not read back.
    pub(super) fn is_missing(&self, since: Time) -> bool {
        self.unread
            .iter()
            .any(|unread| unread.confirmed.is_some_and(|(_, at)| at < since))
    }

    /// Whether the epoch is said to be over.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether the batch with this number was confirmed or read back.
    pub(super) fn is_written(&self, k: u64) -> bool {
        let unread = self.unread.iter().find(|unread| unread.k == k);
        unread.is_none_or(|unread| unread.confirmed.is_some())
    }

    /// Since when the oldest batch was not read back.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.unread.front().map(|unread| unread.built)
    }

    /// The number of the last batch, and how many were not read back.
    pub(super) fn numbers(&self) -> (u64, usize) {
        (self.last_k, self.unread.len())
    }
}
