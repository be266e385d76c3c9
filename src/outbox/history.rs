//! Rows in memory for recovery. The *window* holds the newest rows of all channels, limited by rows and bytes. Eviction
//! raises the floor; above the floor no row is missing. Below the floor a channel can be *recalled*: its rows are read
//! from the table again, once for all clients that ask, and kept for a while.
//!
//! A position is accepted if its row is in the window, or if the table confirms that its row exists. The table is asked
//! after everything behind the row was read, so that no rows can be deleted in between without notice.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::Database;
use crate::protocol::position::Place;
use crate::protocol::retained::Retained;
use crate::protocol::room::give_back;
use crate::protocol::rows::{Event, Logged, Reach};
use crate::store::{ChannelRange, MOST_KEYS, Question};
use crate::time::Time;

/// The estimated bytes of a row besides its text: the structures around it.
const OVERHEAD: usize = 160;

/// The most channels that are recalled at once: each costs statements and memory.
const MOST_RECALLS: usize = 1000;

/// The most positions that wait for a check by the table.
const MOST_POSITIONS: usize = 10_000;

/// How long a channel is kept after a client last needed it: a client takes the next part when its send queue has room.
const KEPT: Duration = Duration::from_secs(60);

/// A channel that a client needed within this time is not dropped for another one. Otherwise two channels that do not
/// fit together would be read in turn for ever.
const WANTED: Duration = Duration::from_secs(5);

/// The window's memory divided by this number is the limit for all recalls together. Half of that is the limit for one
/// recall.
const SHARE: usize = 4;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct History {
    /// All rows above the floor, in order.
    rows: VecDeque<Place>,
    /// The rows that are events.
    window: Retained<Logged>,
    recalls: BTreeMap<Box<str>, Recall>,
    /// The channel that was read last, because the channels take turns.
    turn: Box<str>,
    /// Numbers of positions below the floor, with the table's answer; `None`: the table must be asked.
    words: BTreeMap<u64, Option<Word>>,
    /// The number of parts of channels that were read.
    reads: u64,
    floor: u64,
    /// The mark of the row at the floor, if the row was in the window.
    floor_mark: Option<u64>,
    /// The bytes of all recalled rows.
    recalled: usize,
    most_rows: usize,
    most_bytes: usize,
}

/// A row's mark, if the row exists, and the number of reads of channels before the answer.
type Word = (Option<u64>, u64);

/// A channel that is read again below the floor, from there down.
#[derive(Debug, Default)]
struct Recall {
    /// Every event above this number is here or in the window.
    from: u64,
    /// The events below the floor, in order, and their bytes.
    log: VecDeque<Logged>,
    bytes: usize,
    until: Time,
    /// The number down to which the channel is being read.
    wanted: Option<u64>,
    /// The number of the channel's last read. Answers about positions from before this read do not count.
    read: u64,
    /// Events below `from` are not available: there are too many, or they cannot be read.
    refused: bool,
}

fn cost(logged: &Logged) -> usize {
    logged.frame.len() + OVERHEAD
}

impl History {
    pub(super) fn set_bounds(&mut self, settings: &Database) {
        (self.most_rows, self.most_bytes) = (settings.history_rows, settings.history_bytes);
        self.evict(0);
    }

    /// Drops everything. New rows are above `floor`.
    pub(super) fn clear(&mut self, floor: u64) {
        *self = Self {
            floor,
            most_rows: self.most_rows,
            most_bytes: self.most_bytes,
            ..Self::default()
        };
    }

    /// The rows and bytes in memory.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.window.bytes() + self.recalled)
    }

    /// Keeps the next row. `event`: given if the row is an event.
    pub(super) fn push(&mut self, place: Place, event: Option<&Event>) {
        self.rows.push_back(place);
        if let Some(Event { channel, logged, .. }) = event {
            self.window.push(channel, place.seq, cost(logged), logged.clone());
        }
    }

    /// Evicts rows from the window for which there is no room, or that were stamped before `since_ms`.
    pub(super) fn evict(&mut self, since_ms: u64) {
        let full = |own: &Self| own.rows.len() > own.most_rows || own.window.bytes() > own.most_bytes;
        while let Some(place) = self.rows.front().copied()
            && (place.mark < since_ms || full(self))
        {
            self.rows.pop_front();
            (self.floor, self.floor_mark) = (place.seq, Some(place.mark));
            if self.window.oldest().is_some_and(|(seq, _)| seq == place.seq)
                && let Some((channel, logged)) = self.window.pop_oldest()
                && let Some(recall) = self.recalls.get_mut(&channel)
            {
                recall.bytes += cost(&logged);
                self.recalled += cost(&logged);
                recall.log.push_back(logged);
                self.bound(&channel);
            }
        }
        give_back(&mut self.rows);
    }

    /// Whether all events of the channel after this position can be sent to a client.
    pub(super) fn reaches(&mut self, channel: &str, place: Place, now: Time) -> Reach {
        let own = self.rows.binary_search_by_key(&place.seq, |place| place.seq);
        let own = own.ok().and_then(|at| self.rows.get(at)).map(|place| place.mark);
        let known = own.or(self.floor_mark.filter(|_| place.seq == self.floor));
        let mark = match (known, self.covers(channel, place.seq, now)) {
            (Some(mark), _) => Some(mark),
            (None, Some(false)) => None,
            (None, None) => return self.recall(channel, place.seq, now),
            (None, Some(true)) => match self.words.get(&place.seq) {
                Some(Some((mark, reads))) if self.recalls.get(channel).is_none_or(|own| own.read <= *reads) => *mark,
                _ => return self.ask_for(place.seq),
            },
        };
        match mark == Some(place.mark) {
            true => Reach::Yes,
            false => Reach::No,
        }
    }

    /// Whether every event of a channel above a number is here. `None`: not known yet.
    pub(super) fn covers(&mut self, channel: &str, seq: u64, now: Time) -> Option<bool> {
        if seq >= self.floor {
            return Some(true);
        }
        let recall = self.recalls.get_mut(channel)?;
        recall.until = now + KEPT;
        match seq >= recall.from {
            true => Some(true),
            false => recall.refused.then_some(false),
        }
    }

    /// The first event of a channel above a number that it [covers](Self::covers).
    pub(super) fn next(&self, channel: &str, seq: u64) -> Option<&Logged> {
        let recalled = self.recalls.get(channel).and_then(|recall| {
            let next = recall.log.partition_point(|logged| logged.seq <= seq);
            recall.log.get(next)
        });
        recalled.or_else(|| self.window.next(channel, seq).map(|(_, logged)| logged))
    }

    // --- recalls -------------------------------------------------------------------------------------------------

    /// Requests a check of a position by the table. If too many positions wait, the client tries again later.
    fn ask_for(&mut self, seq: u64) -> Reach {
        if self.words.len() < MOST_POSITIONS {
            self.words.insert(seq, None);
        }
        Reach::Read
    }

    /// Requests that a channel is read down to a number. If too many channels are recalled, the client tries again
    /// later.
    fn recall(&mut self, channel: &str, since: u64, now: Time) -> Reach {
        let has_room = self.recalls.contains_key(channel) || self.recalls.len() < MOST_RECALLS;
        if has_room || self.make_room(channel, now + KEPT) {
            let recall = self.recalls.entry(channel.into()).or_insert_with(|| Recall {
                from: self.floor,
                until: now + KEPT,
                ..Recall::default()
            });
            recall.wanted = Some(recall.wanted.unwrap_or(since).min(since));
        }
        Reach::Read
    }

    /// Drops one recalled channel: one without events, else the one that was needed longest ago. A channel that is
    /// being read stays, and so does the channel `but`, which is kept until `until`.
    fn make_room(&mut self, but: &str, until: Time) -> bool {
        let is_idle = |own: &Recall| own.wanted.is_none() && (own.bytes == 0 || own.until + WANTED <= until);
        let recalls = self.recalls.iter();
        let idle = recalls.filter(|(name, own)| is_idle(own) && &***name != but);
        let oldest = idle.min_by_key(|(_, own)| (own.bytes > 0, own.until));
        let oldest = oldest.map(|(name, _)| name.clone());
        oldest.iter().for_each(|oldest| self.forget(oldest));
        oldest.is_some()
    }

    /// Drops a recalled channel. A client that waits for it requests it again.
    pub(super) fn forget(&mut self, channel: &str) {
        if let Some(recall) = self.recalls.remove(channel) {
            self.recalled -= recall.bytes;
        }
    }

    /// Whether there is a question for the table.
    pub(super) fn is_asking(&self) -> bool {
        self.recalls.values().any(|recall| recall.wanted.is_some()) || self.words.values().any(Option::is_none)
    }

    /// The question for the next channel, with at most `limit` rows.
    pub(super) fn channel_question(&mut self, limit: u32) -> Option<Question> {
        let recalls = self.recalls.iter();
        let wanted = recalls.filter_map(|(name, own)| Some((name, own.from, own.wanted?)));
        // The channel behind the one that was read last, so that all channels take turns.
        let (name, to, after) = wanted.min_by_key(|(name, ..)| **name <= self.turn)?;
        self.turn = name.clone();
        let channel = name.to_string();
        Some(Question::Channel(ChannelRange {
            channel,
            after,
            to,
            limit,
        }))
    }

    /// The question for the next positions to check.
    pub(super) fn words_question(&self) -> Option<Question> {
        let wanted = self.words.iter().filter(|(_, word)| word.is_none());
        let seqs: Vec<u64> = wanted.map(|(seq, _)| *seq).take(MOST_KEYS).collect();
        (!seqs.is_empty()).then_some(Question::Check(seqs))
    }

    /// A part of a channel was read. `events` are in order from the newest; above `down_to` none is missing.
    pub(super) fn read(&mut self, channel: &str, events: Vec<Logged>, down_to: u64) {
        let Some(recall) = self.recalls.get_mut(channel) else {
            return;
        };
        for event in events {
            recall.bytes += cost(&event);
            self.recalled += cost(&event);
            recall.log.push_front(event);
        }
        self.reads += 1;
        recall.read = self.reads;
        recall.from = recall.from.min(down_to);
        recall.wanted = recall.wanted.filter(|wanted| *wanted < recall.from);
        self.bound(channel);
    }

    /// The rest of a channel is not available.
    pub(super) fn refuse(&mut self, channel: &str) {
        if let Some(recall) = self.recalls.get_mut(channel) {
            (recall.wanted, recall.refused) = (None, true);
        }
    }

    /// The table's answer about positions: the requested numbers, and the rows that were found.
    pub(super) fn checked(&mut self, seqs: &[u64], found: &[Place]) {
        for seq in seqs {
            let row = found.iter().find(|place| place.seq == *seq);
            let mark = row.map(|place| place.mark);
            self.words.insert(*seq, Some((mark, self.reads)));
        }
    }

    /// Drops the entries that no client needs any more.
    pub(super) fn expire(&mut self, now: Time) {
        self.words.retain(|_, word| word.is_none());
        let old = self.recalls.iter().filter(|(_, recall)| recall.until <= now);
        let old: Vec<Box<str>> = old.map(|(name, _)| name.clone()).collect();
        old.iter().for_each(|old| self.forget(old));
    }

    /// Keeps only the newest events of a channel that is too large, or for which other needed channels leave no room.
    fn bound(&mut self, channel: &str) {
        let most = self.most_bytes / SHARE;
        let until = self.recalls.get(channel).map_or(Time::default(), |own| own.until);
        while self.recalled > most && self.make_room(channel, until) {}
        while let Some(recall) = self.recalls.get_mut(channel)
            && (recall.bytes > most / 2 || self.recalled > most)
            && let Some(oldest) = recall.log.pop_front()
        {
            (recall.from, recall.wanted, recall.refused) = (oldest.seq, None, true);
            recall.bytes -= cost(&oldest);
            self.recalled -= cost(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The channel that is read next.
    fn next(history: &mut History) -> String {
        match history.channel_question(10) {
            Some(Question::Channel(range)) => range.channel,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_recalled_channel_gets_its_turn_despite_new_requests() {
        let mut history = History::default();
        history.clear(100);
        for channel in ["a", "b", "m"] {
            history.recall(channel, 1, Time::default());
        }
        assert_eq!(next(&mut history), "a");
        // A client requests the channel again at once, and a similar one.
        for channel in ["a", "aa"] {
            history.recall(channel, 1, Time::default());
        }
        let round: Vec<String> = (0..4).map(|_| next(&mut history)).collect();
        assert_eq!(round, ["aa", "b", "m", "a"]);
        history.ask_for(7);
        assert_eq!(
            history.words_question(),
            Some(Question::Check(vec![7])),
            "positions are checked besides"
        );
    }
}
