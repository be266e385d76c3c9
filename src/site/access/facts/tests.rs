//! What always holds between the entries and the queues they stand in.

use super::watching::MOST_SUSPECTS;
use super::*;

impl Facts {
    /// How many entries there are, and how many of them somebody watches.
    pub(in crate::site::access) fn count(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.len() - self.unwatched.len())
    }

    /// Whether all queues say the same as the entries do.
    pub(in crate::site::access) fn assert_consistent(&self) {
        let (mut urgent, mut due, mut unwatched, mut turns) = (0, 0, 0, 0);
        for (key, entry) in &self.entries {
            let kind = &self.kinds[key.kind];
            match entry.place {
                Place::Urgent(serial) => {
                    urgent += 1;
                    assert_eq!(kind.urgent.get(&serial), Some(&key.id));
                }
                Place::Due(at) => {
                    due += 1;
                    assert!(kind.due.contains(&(at, key.id)));
                    assert!(!entry.watchers.is_empty(), "only what is watched is due");
                }
                Place::Idle => assert!(entry.watchers.is_empty(), "what is watched is looked at again"),
                Place::Asked => {
                    let is_it = |asked: &Asked| asked.kind == key.kind && asked.ids.contains(&key.id);
                    assert!(self.asked.iter().any(is_it), "it would never be answered");
                }
            }
            if entry.watchers.is_empty() {
                unwatched += 1;
                assert_eq!(self.unwatched.get(&entry.serial), Some(key));
                assert_eq!(entry.turn, None);
            }
            if let Some(turn) = entry.turn {
                turns += 1;
                assert!(self.turns.contains(&(turn, *key)));
            }
        }
        assert_eq!(urgent, self.kinds.iter().map(|kind| kind.urgent.len()).sum::<usize>());
        assert_eq!(due, self.kinds.iter().map(|kind| kind.due.len()).sum::<usize>());
        assert_eq!(unwatched, self.unwatched.len());
        assert_eq!(turns, self.turns.len());
        assert!(self.suspects.len() <= MOST_SUSPECTS);
    }
}
