//! The questions about items and categories: one kind and at most [`MOST_KEYS`](crate::store::MOST_KEYS) keys at a
//! time. A question that failed, or whose answer never came, is asked again by itself.

use std::time::Duration;

use super::entries::{CATEGORIES, Entries, Key};
use crate::protocol::turn::Turn;
use crate::store::Question;
use crate::time::{Now, Time};

/// After this time a question without an answer is taken for lost. The store answers within its read timeout.
const LOST: Duration = Duration::from_secs(10);

/// How long nothing is asked after the database failed. The store's breaker is then asked no more often than this.
const HOLD: Duration = Duration::from_secs(1);

/// A question that has no answer yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: usize,
    pub(super) ids: Vec<u64>,
    pub(super) now: Now,
    /// How many rechecks there had been.
    pub(super) version: u64,
}

impl Asked {
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        let kind = self.kind;
        self.ids.clone().into_iter().map(move |id| Key { kind, id })
    }
}

/// See the file.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: Vec<Asked>,
    /// Nothing is asked before it.
    hold: Time,
    /// Whether the last question was the sweep's; then it is the turn of those who wait.
    swept: bool,
    /// Which kind is next.
    turn: Turn,
}

impl Questions {
    /// The next question, if one is due. `version`: how many rechecks there have been.
    pub(super) fn next(&mut self, kinds: usize, entries: &mut Entries, version: u64, now: Now) -> Option<Question> {
        let is_lost = |asked: &mut Asked| now.at.since(asked.now.at) > LOST;
        for key in self.asked.extract_if(.., is_lost).flat_map(|asked| asked.keys()) {
            entries.ask_again(key);
        }
        if now.at < self.hold {
            return None;
        }
        let (kind, ids) = self.choose(kinds, entries, now.at)?;
        ids.iter().for_each(|&id| entries.asked(Key { kind, id }));
        self.asked.push(Asked {
            kind,
            ids: ids.clone(),
            now,
            version,
        });
        Some(match kind {
            CATEGORIES => Question::Categories(ids),
            item => Question::Items { kind: item - 1, ids },
        })
    }

    /// What is urgent and what is due take turns, and so do the kinds.
    fn choose(&mut self, kinds: usize, entries: &Entries, now: Time) -> Option<(usize, Vec<u64>)> {
        let mut kinds = self.turn.round(kinds);
        let due = kinds.clone().find(|kind| entries.first_due(*kind) <= now);
        let urgent = kinds.find(|kind| entries.is_urgent(*kind));
        let kind = match due.filter(|_| urgent.is_none() || !self.swept) {
            Some(due) => {
                self.swept = true;
                due
            }
            None => {
                self.swept = false;
                urgent?
            }
        };
        self.turn.served(kind);
        let ids = match self.swept {
            true => entries.due_batch(kind, now),
            false => entries.urgent_batch(kind),
        };
        Some((kind, ids))
    }

    /// Takes out the question that an answer belongs to. `None`: it was taken for lost, and is asked again.
    pub(super) fn answered(&mut self, kind: usize, ids: &[u64]) -> Option<Asked> {
        let at = self
            .asked
            .iter()
            .position(|asked| asked.kind == kind && asked.ids == ids)?;
        Some(self.asked.swap_remove(at))
    }

    /// The database is away: nothing is asked for a while.
    pub(super) fn hold(&mut self, now: Time) {
        self.hold = now + HOLD;
    }

    /// When [`Questions::next`] has something to do, if entries are due at a time.
    pub(super) fn deadline(&self, due: Time) -> Time {
        let asked = self.asked.iter();
        let lost = asked.map(|asked| asked.now.at + LOST + Duration::from_micros(1));
        lost.fold(due.max(self.hold), Time::min)
    }

    /// Whether a question with this key has no answer yet.
    #[cfg(test)]
    pub(super) fn has(&self, key: Key) -> bool {
        self.asked
            .iter()
            .any(|asked| asked.kind == key.kind && asked.ids.contains(&key.id))
    }
}
