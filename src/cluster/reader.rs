//! The reading side: which entry of the log comes next, and whether the one that came is that one.
//!
//! Within an epoch the numbers of entries follow each other, so a lost entry is noticed. After each interruption the
//! last entry is read once more and compared: an engine that lost its newest entries, or holds another log, may have
//! other entries with the same numbers. So it is when an epoch begins: either the log was lost, or two processes that
//! came at the same time both began it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::retry::Retry;
use crate::protocol::engine::{Command, EntryId};
use crate::time::{Now, Time};

/// How long the engine waits for an entry before it answers.
const WAIT: Duration = Duration::from_secs(1);

/// An answer with fewer entries than this shows all that there were. The engine's client reads more at once.
const FEW: usize = 16;

/// Above this number of an entry its events would have no position.
const MAX_SEQ: u64 = 1 << 50;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Reader {
    /// Since when the line is down.
    pub(super) down: Option<Time>,
    pub(super) retry: Retry,
    /// What was asked, and when.
    asked: Option<(Asked, Time)>,
    /// Whether the newest entry was compared with the last one that was read.
    is_checked: bool,
    /// The newest entry when this process first asked: up to there the log is the past.
    past: Option<EntryId>,
    last: EntryId,
    /// A hash of the last entry's bytes.
    print: u64,
    /// The next answer begins with the last entry.
    verifies: bool,
    /// The last entry was read once more, in the answer that is being handled.
    is_verified: bool,
    /// The next entry does not follow the last one.
    is_broken: bool,
    /// All that was in the log has been read.
    has_caught_up: bool,
    /// All that was in the log at this time has been read.
    read_until: Time,
    /// The highest epoch that was seen.
    highest: u32,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Last,
    Entries,
}

/// An entry that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It is not a new one.
    Known,
    /// It begins an epoch. The next answer shows whether the last entry is still there, just before it.
    Again,
    /// It belongs to no epoch: somebody appended to a log that was not the expected one.
    Stray,
    /// Its id cannot be one of ours.
    Foreign,
    /// The next one.
    Next {
        /// It was in the log before this process came.
        is_past: bool,
        /// It is the first one that this process reads at all.
        is_first: bool,
        /// Entries before it may have been lost.
        has_gap: bool,
        /// It belongs to another epoch than the last one.
        is_epoch: bool,
    },
}

impl Reader {
    pub(super) fn new(now: Time) -> Self {
        Self {
            down: Some(now),
            retry: Retry::default(),
            asked: None,
            is_checked: false,
            past: None,
            last: EntryId::default(),
            print: 0,
            verifies: false,
            is_verified: false,
            is_broken: false,
            has_caught_up: false,
            read_until: now,
            highest: 0,
        }
    }

    /// The line is up or down.
    pub(super) fn set_up(&mut self, is_up: bool, now: Time) {
        self.down = match is_up {
            true => None,
            false => self.down.or(Some(now)),
        };
        self.asked = None;
        self.is_checked = false;
        self.has_caught_up = false;
        self.verifies = false;
    }

    /// Reads the log from its beginning again.
    pub(super) fn restart(&mut self) {
        self.is_broken |= self.last != EntryId::default();
        self.last = EntryId::default();
        self.past = None;
        self.is_checked = false;
        self.has_caught_up = false;
        self.verifies = false;
    }

    /// Looks at the newest entry with the next command, and at the last one with the one after that.
    pub(super) fn check(&mut self) {
        self.is_checked = false;
    }

    /// Whether the rest of the answer is to be left out: it will be read again.
    pub(super) fn reads_again(&self) -> bool {
        self.verifies
    }

    /// The next command.
    pub(super) fn command(&mut self, now: Time) -> Option<Command> {
        if self.down.is_some() || self.asked.is_some() || !self.retry.may(now) {
            return None;
        }
        if !self.is_checked {
            self.asked = Some((Asked::Last, now));
            return Some(Command::Last);
        }
        self.asked = Some((Asked::Entries, now));
        let EntryId { ms, seq } = self.last;
        Some(Command::Read {
            after: match self.verifies {
                true => EntryId {
                    ms,
                    seq: seq.saturating_sub(1),
                },
                false => self.last,
            },
            wait_ms: WAIT.as_millis() as u32,
        })
    }

    /// The engine answered with so many entries. Returns whether that was the newest entry, and when it was asked for.
    pub(super) fn answered(&mut self, count: usize) -> (bool, Time) {
        let (asked, at) = self.asked.take().unwrap_or((Asked::Entries, Time(0)));
        let is_last = matches!(asked, Asked::Last);
        self.is_verified = false;
        if !is_last && count < FEW {
            self.has_caught_up = true;
            self.read_until = self.read_until.max(at);
        }
        // The last entry itself was not there any more.
        if !is_last && count == 0 && std::mem::take(&mut self.verifies) {
            self.is_broken = true;
        }
        (is_last, at)
    }

    /// The engine refused the command. It is asked again.
    pub(super) fn refused(&mut self, now: Time) {
        self.asked = None;
        self.retry.failed(now);
    }

    /// This is the newest entry. Returns whether the log is gone, or lost its newest entries. `is_missing`: an entry of
    /// this process was confirmed before the question, and was not read yet.
    pub(super) fn newest(&mut self, newest: Option<EntryId>, is_missing: bool) -> bool {
        self.is_checked = true;
        self.verifies = self.last != EntryId::default();
        let Some(newest) = newest else {
            self.is_broken |= self.last != EntryId::default();
            self.last = EntryId::default();
            self.past = Some(EntryId::default());
            self.verifies = false;
            self.has_caught_up = true;
            return true;
        };
        self.highest = self.highest.max(u32::try_from(newest.ms).unwrap_or(0));
        self.past.get_or_insert(newest);
        if newest > self.last {
            return false;
        }
        self.has_caught_up = true;
        if newest == self.last && !is_missing {
            return false;
        }
        self.last = newest;
        self.is_broken = true;
        self.verifies = false;
        true
    }

    /// An entry came.
    pub(super) fn came(&mut self, id: EntryId, bytes: &[u8]) -> Came {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let print = hasher.finish();
        if std::mem::take(&mut self.verifies) {
            let is_same = id == self.last && print == self.print;
            self.is_broken |= !is_same;
            self.is_verified = is_same;
            if is_same {
                return Came::Known;
            }
            if id == self.last {
                self.print = print;
                return Came::Stray;
            }
        }
        if id <= self.last {
            return Came::Known;
        }
        let Ok(epoch) = u32::try_from(id.ms) else {
            return Came::Foreign;
        };
        if epoch == 0 || id.seq > MAX_SEQ {
            return Came::Foreign;
        }
        let is_known = self.last != EntryId::default() && !self.is_broken;
        if is_known && id.ms != self.last.ms && id.seq == 1 && !self.is_verified {
            self.verifies = true;
            return Came::Again;
        }
        let last = std::mem::replace(&mut self.last, id);
        self.print = print;
        self.highest = self.highest.max(epoch);
        if id.seq == 0 {
            self.is_broken = true;
            return Came::Stray;
        }
        let is_first = last == EntryId::default() && !self.is_broken;
        let is_epoch = id.ms != last.ms;
        // An epoch that begins behind the last entry of the one before has lost nothing.
        let follows = match is_epoch {
            true => id.seq == 1 && self.is_verified,
            false => id.seq == last.seq + 1,
        };
        self.is_verified = false;
        Came::Next {
            is_past: self.past.is_some_and(|past| id <= past),
            is_first,
            has_gap: !is_first && (std::mem::take(&mut self.is_broken) || !follows),
            is_epoch,
        }
    }

    /// The last entry that was read.
    pub(super) fn last(&self) -> EntryId {
        self.last
    }

    /// The epoch of the last entry; 0: none was read.
    pub(super) fn epoch(&self) -> u32 {
        u32::try_from(self.last.ms).unwrap_or(0)
    }

    /// An epoch that nobody has used, as far as this process can see. `spread` is a random number.
    pub(super) fn next_epoch(&self, spread: u16, now: Now) -> u32 {
        // A new number every tenth of a second, for 13 years.
        let by_clock = (now.unix_ms / 100 % u64::from(u32::MAX)) as u32 + 1;
        match self.highest {
            // Processes that come together begin the same one.
            0 => by_clock,
            // A log that lost its newest entries may have had a higher one.
            highest => by_clock.max(highest.saturating_add(1 + u32::from(spread))),
        }
    }

    /// Whether all that was in the log has been read, and the line is up.
    pub(super) fn has_caught_up(&self) -> bool {
        self.has_caught_up && self.down.is_none() && self.is_checked && !self.verifies
    }

    /// All that was in the log at this time has been read.
    pub(super) fn read_until(&self) -> Time {
        self.read_until
    }
}
