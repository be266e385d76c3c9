//! Items and categories that somebody is subscribed to: what makes the facts about them doubtful, and which of them changed. That
//! they are looked at again in each sweep interval is `asking`'s part.

use super::{CATEGORIES, Entry, Facts, Key, Place};
use crate::site::access::subject::is_component;
use crate::site::access::{Subject, visible};
use crate::time::Now;

/// Rechecks of categories that wait for the next look at all entries; more of them are a recheck of everything.
pub(super) const MOST_SUSPECTS: usize = 1000;

impl Facts {
    pub(in crate::site::access) fn watch(&mut self, key: Key, subject: &Subject) {
        if !self.entries.contains_key(&key) {
            // It was decided by facts that are gone meanwhile. The bound holds for those who come, not for those who are in.
            self.make_room(key);
            self.want(key);
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        match entry.watchers.iter_mut().find(|(watched, _)| watched == subject) {
            Some((_, count)) => return *count += 1,
            None => entry.watchers.push((subject.clone(), 1)),
        }
        if entry.watchers.len() > 1 {
            return;
        }
        self.unwatched.remove(&entry.serial);
        match (entry.place, entry.since) {
            (Place::Idle, Some(_)) => self.rest(key),
            (Place::Idle, None) => self.want(key),
            _ => {}
        }
        self.note_turn(key, None);
    }

    pub(in crate::site::access) fn unwatch(&mut self, key: Key, subject: &Subject) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let Some(at) = entry.watchers.iter().position(|(watched, _)| watched == subject) else {
            debug_assert!(false, "unwatched more often than watched");
            return;
        };
        entry.watchers[at].1 -= 1;
        if entry.watchers[at].1 > 0 {
            return;
        }
        entry.watchers.swap_remove(at);
        if !entry.watchers.is_empty() {
            return;
        }
        if let Some(turn) = entry.turn.take() {
            self.turns.remove(&(turn, key));
        }
        self.changed.remove(&key);
        self.doubted.remove(&key);
        let place = entry.place;
        self.rest(key);
        if let Place::Urgent(_) | Place::Asked = place {
            self.put(key, place);
        }
    }

    pub(in crate::site::access) fn recheck(&mut self, name: &str, id: u64) {
        self.version += 1;
        match name.strip_suffix(".category") {
            Some(extension) if is_component(extension) => {
                if self.suspects.len() < MOST_SUSPECTS {
                    self.suspects.insert(id);
                } else {
                    self.recheck_all();
                }
            }
            _ => match self.item_key(name, id) {
                Some(key) => self.doubt(key),
                None => log::debug!("nobody can subscribe to items of the type {name:?}"),
            },
        }
    }

    pub(in crate::site::access) fn recheck_all(&mut self) {
        self.version += 1;
        self.suspects.clear();
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys {
            self.doubt(key);
        }
    }

    /// Looks for everything that hangs on a category that was rechecked: one pass, however many they are.
    pub(in crate::site::access) fn settle(&mut self) {
        if self.suspects.is_empty() {
            return;
        }
        let suspects = std::mem::take(&mut self.suspects);
        let hit = |(key, entry): (&Key, &Entry)| {
            let own = key.kind == CATEGORIES && suspects.contains(&key.id);
            let above = || entry.chain().iter().any(|step| suspects.contains(&step.id));
            (own || above()).then_some(*key)
        };
        let keys: Vec<Key> = self.entries.iter().filter_map(hit).collect();
        for key in keys {
            self.doubt(key);
        }
    }

    /// What is known of it is not believed any more. Who watches it is told when it is known again and differs.
    fn doubt(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.since = None;
        entry.version = self.version;
        if !entry.watchers.is_empty() {
            self.doubted.insert(key);
            self.want(key);
        }
    }

    /// Dates that came are changes.
    pub(in crate::site::access) fn take_changed(&mut self, now: Now) -> Vec<Subject> {
        self.now = now;
        let unix = now.unix();
        while let Some(&(turn, key)) = self.turns.first()
            && turn <= unix
        {
            self.changed.insert(key);
            self.turns.remove(&(turn, key));
            self.note_turn(key, Some(unix));
        }
        let changed = std::mem::take(&mut self.changed);
        let entries = changed.iter().filter_map(|key| self.entries.get(key));
        let subjects = entries.flat_map(|entry| entry.watchers.iter().map(|(subject, _)| subject.clone()));
        subjects.collect()
    }

    /// Notes when the next date of a watched item comes, after a Unix second (`None`: after its fact was asked for).
    pub(super) fn note_turn(&mut self, key: Key, after: Option<i64>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if let Some(turn) = entry.turn.take() {
            self.turns.remove(&(turn, key));
        }
        let (Some(fact), Some(since)) = (&entry.fact, entry.since) else {
            return;
        };
        if entry.watchers.is_empty() {
            return;
        }
        entry.turn = visible::turns(fact, after.unwrap_or(since.unix()));
        self.turns.extend(entry.turn.map(|turn| (turn, key)));
    }
}
