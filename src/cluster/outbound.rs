//! What waits to be written to the log. Events and orders wait in their order. Of a holding only the newest state
//! waits. A snapshot waits behind both, so that it delays no event; when all of it is written, the process says so.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::batch::{Draft, Entry};
use crate::protocol::shared::{Holding, HoldingKey, Shared};
use crate::time::Time;

/// The most bytes of texts that wait in order, and the most texts. From half of it on no client is read. More than
/// that: the engine is too slow, and the process isolates itself.
const MAX_BYTES: usize = 8 << 20;

/// See [`MAX_BYTES`].
const MAX_ITEMS: usize = 20_000;

/// Where the snapshot's part of a batch ends, in bytes: a batch with a part of a snapshot takes no longer than that.
const SNAPSHOT_BYTES: usize = 64 * 1024;

/// A holding of an app.
type Key = (usize, HoldingKey);

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Events, orders and changes of holdings, by ticket.
    live: BTreeMap<u64, Item>,
    next: u64,
    /// The tickets of holdings in `live`.
    tickets: HashMap<Key, u64>,
    /// Bytes and number of the texts in `live`.
    bytes: usize,
    texts: usize,
    /// The order of the snapshot. A key without a value in `holdings` was overtaken by a change.
    snapshot: VecDeque<Key>,
    holdings: HashMap<Key, Holding>,
    cached: VecDeque<(usize, String)>,
    /// What is said when the snapshot is written: see [`Entry::Told`].
    told: Option<u64>,
    published: BTreeMap<usize, u32>,
    nudged: BTreeSet<usize>,
    /// Entries that were too large for a batch.
    refused: u64,
}

#[derive(Debug)]
struct Item {
    app: usize,
    since: Time,
    what: What,
}

#[derive(Debug)]
enum What {
    /// An event or an order, as JSON.
    Text(String),
    Holds(Holding),
}

impl Outbound {
    /// Takes something that others are to be told. Holdings only from a process that has said hello.
    pub(super) fn push(&mut self, app: usize, what: Shared, now: Time) {
        match what {
            Shared::Published(count) => {
                let sum = self.published.entry(app).or_default();
                *sum = sum.saturating_add(count);
            }
            Shared::Nudge => {
                self.nudged.insert(app);
            }
            Shared::Holds(holding) => {
                let key = (app, holding.key());
                self.holdings.remove(&key);
                if let Some(old) = self.tickets.insert(key, self.next) {
                    self.live.remove(&old);
                }
                self.append(app, What::Holds(holding), now);
            }
            other => {
                let text = json(&other);
                self.bytes += text.len();
                self.texts += 1;
                self.append(app, What::Text(text), now);
            }
        }
    }

    fn append(&mut self, app: usize, what: What, now: Time) {
        self.live.insert(self.next, Item { app, since: now, what });
        self.next += 1;
    }

    /// Takes a part of a snapshot: a state that the process has now.
    pub(super) fn snapshot(&mut self, app: usize, what: Shared) {
        match what {
            Shared::Holds(holding) => {
                let key = (app, holding.key());
                if !self.tickets.contains_key(&key) && self.holdings.insert(key.clone(), holding).is_none() {
                    self.snapshot.push_back(key);
                }
            }
            other => self.cached.push_back((app, json(&other))),
        }
    }

    /// The snapshot is whole: it shows what the process held when it had read up to this position.
    pub(super) fn told(&mut self, position: u64) {
        self.told = Some(position);
    }

    /// Forgets the snapshot and all changes of holdings: the process will say hello and then tell everything again.
    pub(super) fn forget_holdings(&mut self) {
        for (_, ticket) in self.tickets.drain() {
            self.live.remove(&ticket);
        }
        self.snapshot.clear();
        self.holdings.clear();
        self.cached.clear();
        self.told = None;
    }

    /// Takes the events and orders, for this process alone. Nothing waits any more.
    pub(super) fn take_local(&mut self) -> Vec<(usize, Shared)> {
        self.forget_holdings();
        self.published.clear();
        let nudged = std::mem::take(&mut self.nudged).into_iter();
        let mut local: Vec<_> = nudged.map(|app| (app, Shared::Nudge)).collect();
        for item in std::mem::take(&mut self.live).into_values() {
            if let What::Text(text) = item.what
                && let Ok(shared) = serde_json::from_str(&text)
            {
                local.push((item.app, shared));
            }
        }
        (self.bytes, self.texts) = (0, 0);
        local
    }

    /// How long the oldest event or change has waited: since then.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.live.first_key_value().map(|(_, item)| item.since)
    }

    /// The entries and bytes that wait, about.
    pub(super) fn size(&self) -> (usize, usize) {
        let entries = self.live.len() + self.holdings.len() + self.cached.len();
        (entries, self.bytes)
    }

    /// Whether half of what may wait does.
    pub(super) fn is_crowded(&self) -> bool {
        self.bytes > MAX_BYTES / 2 || self.texts > MAX_ITEMS / 2
    }

    /// Whether more waits than may.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES || self.texts > MAX_ITEMS
    }

    /// Entries that no batch can hold, and that were therefore dropped since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Moves as much as it can hold into a batch. `ids` are the ids of the apps.
    pub(super) fn fill(&mut self, draft: &mut Draft, ids: &[Box<str>]) {
        for app in std::mem::take(&mut self.nudged) {
            put(draft, ids, app, &json(&Shared::Nudge));
        }
        for (app, count) in std::mem::take(&mut self.published) {
            put(draft, ids, app, &json(&Shared::Published(count)));
        }
        while let Some(first) = self.live.first_entry() {
            let item = first.get();
            let encoded;
            let text = match &item.what {
                What::Text(text) => text,
                What::Holds(holding) => {
                    encoded = json(&Shared::Holds(holding.clone()));
                    &encoded
                }
            };
            let is_alone = draft.len() == 0;
            if !put(draft, ids, item.app, text) {
                if !is_alone {
                    return;
                }
                self.refused += 1;
            }
            let item = first.remove();
            match item.what {
                What::Text(text) => {
                    self.bytes -= text.len();
                    self.texts -= 1;
                }
                What::Holds(holding) => drop(self.tickets.remove(&(item.app, holding.key()))),
            }
        }
        self.fill_snapshot(draft, ids);
    }

    fn fill_snapshot(&mut self, draft: &mut Draft, ids: &[Box<str>]) {
        while draft.bytes() < SNAPSHOT_BYTES
            && let Some(key) = self.snapshot.pop_front()
        {
            let Some(holding) = self.holdings.remove(&key) else {
                continue;
            };
            if !put(draft, ids, key.0, &json(&Shared::Holds(holding.clone()))) {
                self.holdings.insert(key.clone(), holding);
                return self.snapshot.push_front(key);
            }
        }
        while self.snapshot.is_empty()
            && draft.bytes() < SNAPSHOT_BYTES
            && let Some((app, text)) = self.cached.pop_front()
        {
            if !put(draft, ids, app, &text) {
                match draft.len() {
                    0 => self.refused += 1,
                    _ => return self.cached.push_front((app, text)),
                }
            }
        }
        if self.snapshot.is_empty()
            && self.cached.is_empty()
            && let Some(position) = self.told.take()
        {
            draft.push(&Entry::Told(position));
        }
    }
}

/// Puts something about an app into a batch. An app that is gone takes its words with it.
fn put(draft: &mut Draft, ids: &[Box<str>], app: usize, json: &str) -> bool {
    ids.get(app).is_none_or(|id| draft.push_app(app, id, json))
}

/// Only a map with keys that are no strings cannot be written, and there is none.
fn json(shared: &Shared) -> String {
    serde_json::to_string(shared).unwrap_or_default()
}
