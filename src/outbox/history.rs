//! Rows in memory for recovery. The *window* holds the newest rows of all channels, bounded by rows and bytes; what is
//! evicted raises the floor, above which nothing is missing. Below the floor a channel can be *recalled*: read from the
//! table again, once for all clients that ask, and kept for a while.
//!
//! A position is believed if its row is in the window, or if the table says that it stands there, asked after
//! everything behind it was read, so that no deleter can slip between.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::Database;
use crate::protocol::position::Place;
use crate::protocol::retained::Retained;
use crate::protocol::room::give_back;
use crate::protocol::rows::{Event, Logged, Reach};
use crate::store::{ChannelRange, MOST_KEYS, Question};
use crate::time::Time;

/// What a row costs besides its text: an estimate of what the structures around it take.
const OVERHEAD: usize = 160;

/// Channels that are recalled at once: each costs statements, and some of the memory.
const MOST_RECALLS: usize = 1000;

/// Positions that the table is asked about at once.
const MOST_POSITIONS: usize = 10_000;

/// How long a channel is kept after a client wanted it last: a client takes its part when its send queue has room.
const KEPT: Duration = Duration::from_secs(60);

/// A channel that was wanted no longer ago is not given up for another one: two that have no room together would be
/// read in turn for ever.
const WANTED: Duration = Duration::from_secs(5);

/// All recalls together may take this part of the memory for the window, and one of them half of that.
const SHARE: usize = 4;

/// See the file.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Every row above the floor in order.
    rows: VecDeque<Place>,
    /// Those of them that are events.
    window: Retained<Logged>,
    recalls: BTreeMap<Box<str>, Recall>,
    /// The channel that was read last: they take turns.
    turn: Box<str>,
    /// Numbers of positions below the floor, and what the table says of them; `None`: it is to be asked.
    words: BTreeMap<u64, Option<Word>>,
    /// How many parts of channels were read.
    reads: u64,
    floor: u64,
    /// Of the row at the floor, if it was here.
    floor_mark: Option<u64>,
    /// Bytes of what is recalled.
    recalled: usize,
    most_rows: usize,
    most_bytes: usize,
}

/// A row's mark, if there is such a row; and how many parts of channels had been read before.
type Word = (Option<u64>, u64);

/// A channel that is read below the floor, from there down.
#[derive(Debug, Default)]
struct Recall {
    /// Every event above it is here, or in the window.
    from: u64,
    /// The events below the floor, in order, and their bytes.
    log: VecDeque<Logged>,
    bytes: usize,
    until: Time,
    /// The number down to which it is being read.
    wanted: Option<u64>,
    /// Which of all reads was its last one: what was said of positions before says nothing of it.
    read: u64,
    /// What is below `from` is out of reach: there is too much, or it cannot be read.
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

    /// Forgets everything. What comes from here on is above `floor`.
    pub(super) fn clear(&mut self, floor: u64) {
        *self = Self {
            floor,
            most_rows: self.most_rows,
            most_bytes: self.most_bytes,
            ..Self::default()
        };
    }

    /// Rows and bytes in memory.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.window.bytes() + self.recalled)
    }

    /// Keeps the next row, which may be an event.
    pub(super) fn push(&mut self, place: Place, event: Option<&Event>) {
        self.rows.push_back(place);
        if let Some(Event { channel, logged, .. }) = event {
            self.window.push(channel, place.seq, cost(logged), logged.clone());
        }
    }

    /// Takes rows that there is no room for, or that were stamped before `since_ms`, out of the window.
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

    /// Whether a client with this position can be told everything that the channel had since.
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

    /// Whether every event of a channel above a number is here. `None`: not yet.
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

    /// Has the table asked for a position. Where too many wait the client asks again.
    fn ask_for(&mut self, seq: u64) -> Reach {
        if self.words.len() < MOST_POSITIONS {
            self.words.insert(seq, None);
        }
        Reach::Read
    }

    /// Has a channel read down to a number. Where too many are being read the client asks again.
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

    /// Gives up a channel without events, else the one that was wanted longest ago; never one that is being read, nor
    /// `but`, which is kept until then.
    fn make_room(&mut self, but: &str, until: Time) -> bool {
        let is_idle = |own: &Recall| own.wanted.is_none() && (own.bytes == 0 || own.until + WANTED <= until);
        let recalls = self.recalls.iter();
        let idle = recalls.filter(|(name, own)| is_idle(own) && &***name != but);
        let oldest = idle.min_by_key(|(_, own)| (own.bytes > 0, own.until));
        let oldest = oldest.map(|(name, _)| name.clone());
        oldest.iter().for_each(|oldest| self.forget(oldest));
        oldest.is_some()
    }

    /// Gives up a channel. A client that waits for it asks for it again.
    pub(super) fn forget(&mut self, channel: &str) {
        if let Some(recall) = self.recalls.remove(channel) {
            self.recalled -= recall.bytes;
        }
    }

    /// Whether there is a question.
    pub(super) fn is_asking(&self) -> bool {
        self.recalls.values().any(|recall| recall.wanted.is_some()) || self.words.values().any(Option::is_none)
    }

    /// The channel that is to be read next, in at most `limit` rows.
    pub(super) fn channel_question(&mut self, limit: u32) -> Option<Question> {
        let recalls = self.recalls.iter();
        let wanted = recalls.filter_map(|(name, own)| Some((name, own.from, own.wanted?)));
        // Behind the one that was read last, so that each has its turn.
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

    /// The positions that the table is to be asked for next.
    pub(super) fn words_question(&self) -> Option<Question> {
        let wanted = self.words.iter().filter(|(_, word)| word.is_none());
        let seqs: Vec<u64> = wanted.map(|(seq, _)| *seq).take(MOST_KEYS).collect();
        (!seqs.is_empty()).then_some(Question::Check(seqs))
    }

    /// A part of a channel was read: its events from the newest down, and the number down to which they are all.
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

    /// The rest of a channel cannot be had.
    pub(super) fn refuse(&mut self, channel: &str) {
        if let Some(recall) = self.recalls.get_mut(channel) {
            (recall.wanted, recall.refused) = (None, true);
        }
    }

    /// What the table says about positions: those that were asked for, and the rows that were found.
    pub(super) fn checked(&mut self, seqs: &[u64], found: &[Place]) {
        for seq in seqs {
            let row = found.iter().find(|place| place.seq == *seq);
            let mark = row.map(|place| place.mark);
            self.words.insert(*seq, Some((mark, self.reads)));
        }
    }

    /// Forgets what no client wants any more.
    pub(super) fn expire(&mut self, now: Time) {
        self.words.retain(|_, word| word.is_none());
        let old = self.recalls.iter().filter(|(_, recall)| recall.until <= now);
        let old: Vec<Box<str>> = old.map(|(name, _)| name.clone()).collect();
        old.iter().for_each(|old| self.forget(old));
    }

    /// Of a channel that is too large, or has no room beside others that are wanted, only the newest events are kept.
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
    fn each_channel_that_is_read_has_its_turn_however_many_come_before_it() {
        let mut history = History::default();
        history.clear(100);
        for channel in ["a", "b", "m"] {
            history.recall(channel, 1, Time::default());
        }
        assert_eq!(next(&mut history), "a");
        // Somebody asks for it again at once, and for another one like it.
        for channel in ["a", "aa"] {
            history.recall(channel, 1, Time::default());
        }
        let round: Vec<String> = (0..4).map(|_| next(&mut history)).collect();
        assert_eq!(round, ["aa", "b", "m", "a"]);
        history.ask_for(7);
        assert_eq!(history.words_question(), Some(Question::Check(vec![7])), "beside them");
    }
}
