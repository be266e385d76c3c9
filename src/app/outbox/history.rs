//! Rows of the table in memory, for clients that were away. The *window* holds the newest rows of all channels; whatever is
//! evicted from it raises one mark, for it is always the row with the lowest id. Below the mark a channel can be *recalled*:
//! read from the table again, once for all who ask, kept for a while and continued by what the window evicts meanwhile.
//!
//! Late rows are put where their ids belong. Nothing here is asked or decided about epochs.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use tungstenite::Utf8Bytes;

use crate::config::Database;
use crate::protocol::SocketId;
use crate::time::Time;

/// What a row costs besides its text: an estimate of what the structures around it take.
const OVERHEAD: usize = 160;

/// The most channels that are recalled at once: each costs a statement, and some of the memory.
const MOST_RECALLS: usize = 1000;

/// Questions for one recall that may have no answer: then it is what kills the connections, and clients are told of a gap.
const MOST_FAILURES: u32 = 5;

/// How long a recall stays after it was wanted last: a client takes its part when its socket has room.
const RECALL_KEPT: Duration = Duration::from_secs(60);

/// All recalls together may take this part of the memory, and one of them half of that.
const RECALL_SHARE: usize = 4;

/// One row as clients that ask for recovery get it.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) id: u64,
    pub(super) frame: Utf8Bytes,
    pub(super) except: Option<SocketId>,
}

#[derive(Debug)]
pub(super) struct History {
    /// By channel, each by id.
    logs: HashMap<Box<str>, VecDeque<Logged>>,
    /// Every row of the window by id.
    order: VecDeque<(u64, Box<str>)>,
    bytes: usize,
    /// Every row above it that was seen is in the window.
    mark: u64,
    recalls: HashMap<Box<str>, Recall>,
    /// The channels that wait for a statement.
    reading: BTreeSet<Box<str>>,
    recalled_bytes: usize,
    most_rows: usize,
    most_bytes: usize,
}

/// The rows of a channel up to the mark of the window.
#[derive(Debug)]
struct Recall {
    /// Every row above it, up to the mark, is here.
    from: u64,
    rows: VecDeque<Logged>,
    bytes: usize,
    until: Time,
    /// Positions up to here are out of reach: there is too much, or it is deleted.
    refused: Option<u64>,
    reading: Option<Reading>,
    /// The lowest position that was wanted while something was read already.
    wanted: Option<u64>,
}

/// How `from` is being lowered.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// What `from` is to become.
    since: u64,
    /// Read so far.
    cursor: u64,
    /// The last id to be read.
    to: u64,
    /// Questions that had no answer.
    failed: u32,
    /// All is read; what was deleted before that must not pass for nothing.
    complete: bool,
}

impl History {
    pub(super) fn new(settings: &Database) -> Self {
        let mut history = Self {
            logs: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            mark: 0,
            recalls: HashMap::new(),
            reading: BTreeSet::new(),
            recalled_bytes: 0,
            most_rows: 0,
            most_bytes: 0,
        };
        history.reconfigure(settings);
        history
    }

    pub(super) fn reconfigure(&mut self, settings: &Database) {
        self.most_rows = settings.history_rows;
        self.most_bytes = settings.history_bytes;
        self.evict();
    }

    /// Forgets everything. What is seen from now on is above `mark`.
    pub(super) fn clear(&mut self, mark: u64) {
        self.logs.clear();
        self.order.clear();
        self.bytes = 0;
        self.mark = mark;
        self.recalls.clear();
        self.reading.clear();
        self.recalled_bytes = 0;
    }

    /// Rows and bytes in memory.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.order.len(), self.bytes + self.recalled_bytes)
    }

    /// Keeps a row that was just seen.
    pub(super) fn insert(&mut self, channel: &str, row: Logged) {
        if row.id <= self.mark {
            if let Some(recall) = self.recalls.get_mut(channel) {
                self.recalled_bytes += recall.insert(row);
                self.bound_recall(channel);
            }
            return;
        }
        self.bytes += cost(&row);
        let place = self.order.partition_point(|(id, _)| *id < row.id);
        self.order.insert(place, (row.id, channel.into()));
        let log = match self.logs.get_mut(channel) {
            Some(log) => log,
            None => self.logs.entry(channel.into()).or_default(),
        };
        let place = log.partition_point(|logged| logged.id < row.id);
        log.insert(place, row);
        self.evict();
    }

    fn evict(&mut self) {
        while self.order.len() > self.most_rows || self.bytes > self.most_bytes {
            self.evict_lowest();
        }
    }

    fn evict_lowest(&mut self) {
        let Some((id, channel)) = self.order.pop_front() else {
            return;
        };
        self.mark = id;
        let Some(log) = self.logs.get_mut(&channel) else { return };
        let lowest = log.pop_front();
        if log.is_empty() {
            self.logs.remove(&channel);
        }
        debug_assert!(
            lowest.as_ref().is_some_and(|row| row.id == id),
            "the order knows every row"
        );
        let Some(row) = lowest else { return };
        self.bytes -= cost(&row);
        if let Some(recall) = self.recalls.get_mut(&channel) {
            self.recalled_bytes += recall.insert(row);
            self.bound_recall(&channel);
        }
    }

    /// Rows up to here are deleted, so nobody can come from before.
    pub(super) fn deleted(&mut self, to: u64) {
        while self.order.front().is_some_and(|(id, _)| *id <= to) {
            self.evict_lowest();
        }
        self.mark = self.mark.max(to);
    }

    /// The first row of a channel above an id. Only after [`History::covers`] it is the first that there was.
    pub(super) fn next(&self, channel: &str, n: u64) -> Option<&Logged> {
        let above = |rows: &VecDeque<Logged>| rows.partition_point(|row| row.id <= n);
        if let Some(recall) = self.recalls.get(channel)
            && let Some(row) = recall.rows.get(above(&recall.rows))
        {
            return Some(row);
        }
        let log = self.logs.get(channel)?;
        log.get(above(log))
    }

    // --- recalls -------------------------------------------------------------------------------------------------

    /// Whether every row of a channel above a position is here. `None`: not yet, it will be read, if [`Self::want`]ed.
    pub(super) fn covers(&mut self, channel: &str, since: u64, now: Time) -> Option<bool> {
        if since >= self.mark {
            return Some(true);
        }
        let recall = self.recalls.get_mut(channel)?;
        recall.until = now + RECALL_KEPT;
        if since >= recall.from {
            return Some(true);
        }
        recall.refused.is_some_and(|refused| since <= refused).then_some(false)
    }

    /// Sees to it that a channel is recalled from a position on. False: too many are.
    pub(super) fn want(&mut self, channel: &str, since: u64, now: Time) -> bool {
        if !self.recalls.contains_key(channel) {
            if self.recalls.len() >= MOST_RECALLS {
                return false;
            }
            self.recalls
                .insert(channel.into(), Recall::new(self.mark, now + RECALL_KEPT));
        }
        let Some(recall) = self.recalls.get_mut(channel) else {
            return false;
        };
        match recall.reading {
            Some(reading) if reading.since <= since => return true,
            Some(_) => {}
            None => drop(self.reading.insert(channel.into())),
        }
        recall.wanted = Some(recall.wanted.unwrap_or(since).min(since));
        true
    }

    /// Whether [`Self::question`] has one.
    pub(super) fn is_asking(&self) -> bool {
        !self.reading.is_empty()
    }

    /// The channel that is to be read next, and which ids of it.
    pub(super) fn question(&mut self) -> Option<(Box<str>, RangeInclusive<u64>)> {
        while let Some(channel) = self.reading.pop_first() {
            let Some(recall) = self.recalls.get_mut(&channel) else {
                continue;
            };
            recall.start();
            let Some(reading) = recall.reading.filter(|reading| !reading.complete) else {
                continue;
            };
            return Some((channel, reading.cursor + 1..=reading.to));
        }
        None
    }

    /// A part of a channel was read: the rows that are to be kept, and the id up to which that was all.
    pub(super) fn read(&mut self, channel: &str, rows: Vec<Logged>, up_to: u64) {
        let Some(recall) = self.recalls.get_mut(channel) else {
            return;
        };
        for row in rows {
            self.recalled_bytes += recall.insert(row);
        }
        if let Some(reading) = &mut recall.reading {
            reading.cursor = up_to;
            reading.complete = up_to >= reading.to;
            if !reading.complete {
                self.reading.insert(channel.into());
            }
        }
        self.bound_recall(channel);
    }

    /// A part of a channel could not be read: again, but not for ever.
    pub(super) fn read_again(&mut self, channel: &str) {
        let Some(recall) = self.recalls.get_mut(channel) else {
            return;
        };
        if let Some(reading) = &mut recall.reading {
            reading.failed += 1;
            match reading.failed > MOST_FAILURES {
                true => self.refuse(channel),
                false => drop(self.reading.insert(channel.into())),
            }
        }
    }

    /// What is read of a channel cannot be had.
    pub(super) fn refuse(&mut self, channel: &str) {
        self.reading.remove(channel);
        if let Some(recall) = self.recalls.get_mut(channel)
            && let Some(reading) = recall.reading.take()
        {
            recall.refuse(reading.since);
            if recall.wanted.is_some() {
                self.reading.insert(channel.into());
            }
        }
    }

    /// Whether a recall waits for [`Self::confirm`].
    pub(super) fn is_unconfirmed(&self) -> bool {
        let mut reading = self.recalls.values().filter_map(|recall| recall.reading);
        reading.any(|reading| reading.complete)
    }

    /// What is deleted is known as of after everything that was read: who comes from above that can be told all of it. Whether
    /// somebody can be answered now.
    pub(super) fn confirm(&mut self) -> bool {
        let mut any = false;
        for (channel, recall) in &mut self.recalls {
            if let Some(reading) = recall.reading.take_if(|reading| reading.complete) {
                any = true;
                recall.from = recall.from.min(reading.since);
                if recall.wanted.is_some() {
                    self.reading.insert(channel.clone());
                }
            }
        }
        any
    }

    /// Forgets recalls that nobody wants any more.
    pub(super) fn expire(&mut self, now: Time) {
        let freed = &mut self.recalled_bytes;
        self.recalls.retain(|_, recall| {
            let keep = recall.until > now;
            if !keep {
                *freed -= recall.bytes;
            }
            keep
        });
    }

    /// A channel that is too large is out of reach from below what there is room for; of too many the oldest goes.
    fn bound_recall(&mut self, channel: &str) {
        let most = self.most_bytes / RECALL_SHARE;
        if let Some(recall) = self.recalls.get_mut(channel)
            && recall.bytes > most / 2
        {
            self.recalled_bytes -= recall.bytes;
            self.reading.remove(channel);
            let hoped = recall.hoped();
            *recall = Recall::new(self.mark, recall.until);
            recall.refused = hoped;
        }
        while self.recalled_bytes > most {
            let others = self.recalls.iter().filter(|(name, recall)| {
                recall.bytes > 0 && &***name != channel // its own part is bounded above
            });
            let Some(oldest) = others
                .min_by_key(|(_, recall)| recall.until)
                .map(|(name, _)| name.clone())
            else {
                return;
            };
            self.recalled_bytes -= self.recalls.remove(&oldest).map_or(0, |recall| recall.bytes);
            self.reading.remove(&oldest);
        }
    }
}

impl Recall {
    fn new(mark: u64, until: Time) -> Self {
        Self {
            from: mark,
            rows: VecDeque::new(),
            bytes: 0,
            until,
            refused: None,
            reading: None,
            wanted: None,
        }
    }

    /// Begins to read what is wanted, if nothing is read yet.
    fn start(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let since = self.wanted.take().filter(|since| *since < self.from);
        self.reading = since.map(|since| Reading {
            since,
            cursor: since,
            to: self.from,
            failed: 0,
            complete: false,
        });
    }

    /// The lowest position that somebody hopes for.
    fn hoped(&self) -> Option<u64> {
        let reading = self.reading.map(|reading| reading.since);
        reading.into_iter().chain(self.wanted).chain(self.refused).min()
    }

    fn refuse(&mut self, since: u64) {
        self.refused = Some(self.refused.unwrap_or(since).max(since));
    }

    /// Puts a row where its id belongs, once. What it costs.
    fn insert(&mut self, row: Logged) -> usize {
        let place = self.rows.partition_point(|own| own.id < row.id);
        if self.rows.get(place).is_some_and(|own| own.id == row.id) {
            return 0;
        }
        let cost = cost(&row);
        self.bytes += cost;
        self.rows.insert(place, row);
        cost
    }
}

fn cost(row: &Logged) -> usize {
    row.frame.len() + OVERHEAD
}
