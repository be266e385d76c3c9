//! The questions about items and categories. A question has one kind and at most [`MOST_KEYS`](crate::store::MOST_KEYS)
//! keys. A question that failed or got no answer is asked again without further action.

use std::time::Duration;

use super::entries::{CATEGORIES, Entries, Key};
use crate::protocol::turn::Turn;
use crate::store::Question;
use crate::time::{Now, Time};

/// After this time a question without an answer counts as lost. The store answers within its read timeout.
const LOST: Duration = Duration::from_secs(10);

/// The pause after a failure of the database. So the store's breaker is used no more often than this.
const HOLD: Duration = Duration::from_secs(1);

/// A question that has no answer yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: usize,
    pub(super) ids: Vec<u64>,
    pub(super) now: Now,
    /// The number of rechecks before the question.
    pub(super) version: u64,
}

impl Asked {
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        let kind = self.kind;
        self.ids.clone().into_iter().map(move |id| Key { kind, id })
    }
}

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: Vec<Asked>,
    /// No question is asked before this time.
    hold: Time,
    /// Whether the last question was for due entries. Then urgent entries are next.
    swept: bool,
    /// The next kind.
    turn: Turn,
}

impl Questions {
    /// The next question, if one is due. `version`: the number of rechecks so far.
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

    /// Urgent entries and due entries take turns, and the kinds take turns too.
    fn choose(&mut self, kinds: usize, entries: &Entries, now: Time) -> Option<(usize, Vec<u64>)> {
        let mut kinds = self.turn.round(kinds);
        let due = kinds.clone().find(|kind| entries.first_due(*kind) <= now);
        let urgent = kinds.find(|kind| entries.is_urgent(*kind));
        let due = due.filter(|_| urgent.is_none() || !self.swept);
        self.swept = due.is_some();
        let kind = due.or(urgent)?;
        self.turn.served(kind);
        let ids = match self.swept {
            true => entries.due_batch(kind, now),
            false => entries.urgent_batch(kind),
        };
        Some((kind, ids))
    }

    /// Removes the question to which an answer belongs. `None`: the question counted as lost and is asked again.
    pub(super) fn answered(&mut self, kind: usize, ids: &[u64]) -> Option<Asked> {
        let at = self
            .asked
            .iter()
            .position(|asked| asked.kind == kind && asked.ids == ids)?;
        Some(self.asked.swap_remove(at))
    }

    /// The database is unavailable: no question is asked for a while.
    pub(super) fn hold(&mut self, now: Time) {
        self.hold = now + HOLD;
    }

    /// When [`Questions::next`] has work. `due`: when the first entry is due.
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
