//! The questions about items and categories, one kind and at most [`MOST_KEYS`] at a time, and what their answers change. A question
//! that failed, or whose answer never came, is asked again without anybody's asking for it.

use std::collections::HashMap;
use std::time::Duration;

use super::{Asked, CATEGORIES, FRESH, Fact, Facts, Key, LOST, Place};
use crate::site::access::visible;
use crate::store::{Answer, Failure, MOST_KEYS, Question};
use crate::time::Now;

/// How long nothing is asked after the database failed; its own breaker knows better and is asked no more often than this.
const HOLD: Duration = Duration::from_secs(1);

/// At most one line about what cannot be checked in this time, for each kind.
const QUIET: Duration = Duration::from_secs(60);

impl Facts {
    pub(in crate::site::access) fn question(&mut self, now: Now) -> Option<Question> {
        self.now = now;
        self.settle();
        self.forget_old();
        self.give_up_lost();
        if now.at < self.hold {
            return None;
        }
        let (kind, ids) = self.next_batch()?;
        for &id in &ids {
            self.put(Key { kind, id }, Place::Asked);
        }
        let question = match kind {
            CATEGORIES => Question::Categories(ids.clone()),
            item => Question::Items {
                kind: item - 1,
                ids: ids.clone(),
            },
        };
        let version = self.version;
        self.asked.push(Asked {
            kind,
            ids,
            now,
            version,
        });
        Some(question)
    }

    /// What nobody watches and nobody may be let in by. Those who wait for an answer keep theirs.
    fn forget_old(&mut self) {
        while let Some((_, &key)) = self.unwatched.first_key_value() {
            let Some(entry) = self.entries.get(&key) else { return };
            let since = entry.since.map(|since| since.at);
            let fresh = since.is_some_and(|since| self.now.at.since(since) <= FRESH);
            if fresh || entry.place != Place::Idle {
                return;
            }
            self.forget(key);
        }
    }

    fn give_up_lost(&mut self) {
        let now = self.now.at;
        let is_lost = |asked: &mut Asked| now.since(asked.now.at) > LOST;
        let lost: Vec<Asked> = self.asked.extract_if(.., is_lost).collect();
        for asked in lost {
            self.ask_again(&asked);
        }
    }

    fn ask_again(&mut self, asked: &Asked) {
        for &id in &asked.ids {
            let key = Key { kind: asked.kind, id };
            // Others may have forgotten it, or it came anew since.
            if self.entries.get(&key).is_some_and(|entry| entry.place == Place::Asked) {
                let serial = self.next_serial();
                self.put(key, Place::Urgent(serial));
            }
        }
    }

    /// Those who wait and those who are due take turns, and so do the kinds.
    fn next_batch(&mut self) -> Option<(usize, Vec<u64>)> {
        let now = self.now.at;
        let count = self.kinds.len();
        let kinds: Vec<usize> = (1..=count).map(|step| (self.turn + step) % count).collect();
        let urgent = kinds.iter().find(|&&kind| !self.kinds[kind].urgent.is_empty());
        let is_due = |kind: usize| self.kinds[kind].due.first().is_some_and(|(at, _)| *at <= now);
        let due = kinds.iter().find(|&&kind| is_due(kind));
        let (kind, sweep) = match (urgent, due) {
            (None, None) => return None,
            (Some(_), Some(&due)) if !self.swept => (due, true),
            (Some(&urgent), _) => (urgent, false),
            (None, Some(&due)) => (due, true),
        };
        self.swept = sweep;
        self.turn = kind;
        let soon = now + self.sweep_interval / 8;
        let queue = &self.kinds[kind];
        let ids = match sweep {
            true => {
                let due = queue.due.iter().take_while(|(at, _)| *at <= soon);
                self.batch(kind, due.map(|(_, id)| *id))
            }
            false => self.batch(kind, queue.urgent.values().copied()),
        };
        Some((kind, ids))
    }

    /// The first of a queue, up to one that is asked for by itself.
    fn batch(&self, kind: usize, queue: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut ids = Vec::new();
        for id in queue.take(MOST_KEYS) {
            let alone = self.entries.get(&Key { kind, id }).is_some_and(|entry| entry.alone);
            if alone && !ids.is_empty() {
                break;
            }
            ids.push(id);
            if alone {
                break;
            }
        }
        ids
    }

    pub(in crate::site::access) fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now) {
        self.now = now;
        self.settle();
        let (kind, ids) = match question {
            Question::Categories(ids) => (CATEGORIES, ids),
            Question::Items { kind, ids } => (kind + 1, ids),
            _ => return,
        };
        let is_it = |asked: &Asked| asked.kind == kind && asked.ids == *ids;
        let Some(at) = self.asked.iter().position(is_it) else {
            // It was taken for lost and is asked again.
            return;
        };
        let asked = self.asked.swap_remove(at);
        match answer {
            Ok(Answer::Items(rows)) if kind != CATEGORIES => {
                let rows = rows.into_iter().map(|row| (row.id, visible::by_our_clock(row, now)));
                self.learn(&asked, rows.collect(), Fact::Item);
            }
            Ok(Answer::Categories(rows)) if kind == CATEGORIES => {
                let rows = rows.into_iter().map(|row| (row.id, row)).collect();
                self.learn(&asked, rows, Fact::Category);
            }
            Ok(_) => {
                debug_assert!(false, "the answer is not one to its question");
                self.fail(&asked, "the answer is another question's");
            }
            Err(Failure::Unavailable(_) | Failure::Locked) => {
                self.hold = now.at + HOLD;
                self.ask_again(&asked);
            }
            Err(Failure::Malformed(why)) if asked.ids.len() > 1 => {
                log::debug!("asking one by one: {why}");
                for &id in &asked.ids {
                    if let Some(entry) = self.entries.get_mut(&Key { kind, id }) {
                        entry.alone = true;
                    }
                }
                self.ask_again(&asked);
            }
            Err(failure) => self.fail(&asked, &failure.to_string()),
        }
    }

    fn learn<Row>(&mut self, asked: &Asked, mut rows: HashMap<u64, Row>, fact: fn(Option<Row>) -> Fact) {
        for &id in &asked.ids {
            let key = Key { kind: asked.kind, id };
            self.note(key, fact(rows.remove(&id)), asked);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.alone = false;
            }
        }
    }

    fn fail(&mut self, asked: &Asked, why: &str) {
        let now = self.now.at;
        for &id in &asked.ids {
            self.note(Key { kind: asked.kind, id }, Fact::Unknowable, asked);
        }
        let kind = &mut self.kinds[asked.kind];
        if kind.complained.is_none_or(|last| now.since(last) >= QUIET) {
            kind.complained = Some(now);
            let name = match asked.kind {
                CATEGORIES => "categories",
                item => &self.types[item - 1].name,
            };
            log::warn!("channels of {name} are closed, because access cannot be checked: {why}");
        }
    }

    fn note(&mut self, key: Key, fact: Fact, asked: &Asked) {
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.place == Place::Asked) else {
            return;
        };
        let watched = !entry.watchers.is_empty();
        if watched && entry.fact.as_ref() != Some(&fact) {
            self.changed.insert(key);
        }
        entry.fact = Some(fact);
        // Somebody said meanwhile that something changed: whether before or after the answer, nobody knows.
        let believed = asked.version >= entry.version;
        if believed {
            self.doubted.remove(&key);
        }
        entry.since = believed.then_some(asked.now);
        self.rest(key);
        self.note_turn(key, None);
        if watched && !believed {
            self.want(key);
        }
    }
}
