//! How much of the log stays in the engine. The leader deletes what is older than a minute, or more than the bytes that
//! the log may have. Every process measures, so that each one can lead at once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::protocol::engine::{Command, EntryId};
use crate::time::Time;

/// Entries stay so long, and at least for two leases.
const KEPT: Duration = Duration::from_secs(60);

/// The most bytes of the log.
const MAX_BYTES: usize = 64 << 20;

/// Entries that arrived within this time, and have no more than these bytes together, are deleted together.
const PIECE: (Duration, usize) = (Duration::from_secs(1), 1 << 20);

/// The engine deletes the log so many leases after the last heartbeat of a leader.
const LIFE: u32 = 20;

/// What stays in the log, as pieces.
#[derive(Debug, Default)]
pub(super) struct Retention {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Entries before this one may be deleted.
    before: Option<EntryId>,
    /// The end of the log is to be postponed.
    extends: bool,
}

#[derive(Debug)]
struct Piece {
    first: EntryId,
    begun: Time,
    bytes: usize,
}

impl Retention {
    /// An entry was read.
    pub(super) fn note(&mut self, id: EntryId, bytes: usize, lease: Duration, now: Time) {
        self.bytes += bytes;
        match self.pieces.back_mut() {
            Some(last) if now.since(last.begun) < PIECE.0 && last.bytes < PIECE.1 => last.bytes += bytes,
            _ => self.pieces.push_back(Piece {
                first: id,
                begun: now,
                bytes,
            }),
        }
        self.expire(lease, now);
    }

    /// Notices what is too old or too much by now.
    fn expire(&mut self, lease: Duration, now: Time) {
        let kept = KEPT.max(lease * 2);
        while self.pieces.len() > 1
            && self
                .pieces
                .front()
                .is_some_and(|first| now.since(first.begun) > kept + PIECE.0 || self.bytes > MAX_BYTES)
            && let Some(first) = self.pieces.pop_front()
        {
            self.bytes -= first.bytes;
            self.before = self.pieces.front().map(|next| next.first);
        }
    }

    /// The leader's heartbeat: the log goes on.
    pub(super) fn beat(&mut self, lease: Duration, now: Time) {
        self.expire(lease, now);
        self.extends = true;
    }

    /// The leader's next command, if there is something to do.
    pub(super) fn command(&mut self, lease: Duration) -> Option<Command> {
        if let Some(before) = self.before.take() {
            return Some(Command::Trim { before });
        }
        let ms = u64::try_from((lease * LIFE).as_millis()).unwrap_or(u64::MAX);
        std::mem::take(&mut self.extends).then_some(Command::Expire { ms })
    }

    /// The log is another one.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The bytes that stay in the log.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
