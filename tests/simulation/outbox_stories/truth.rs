//! The oracle: every row that was ever written and every number that was ever given. From them it computes the output
//! of each process and the events of each client. It is simple on purpose: it walks back from a number to another one,
//! row by row.
//!
//! Numbers have no holes, so a number and its mark have one past. Where commits were forgotten, or a backup was
//! restored, the same numbers are given again to other rows: then there are branches, and no client may get from one to
//! another without a gap.

use std::collections::HashMap;

use jsocketd::outbox::Seen;
use jsocketd::protocol::control::Control;
use jsocketd::protocol::position::{Place, Position};

use crate::memory::OutboxTables;

/// The kind of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event of this channel.
    Event(&'static str),
    /// The data is its key.
    Control,
    /// It may not be published.
    Bad,
}

/// A written row.
#[derive(Clone, Debug)]
pub struct Written {
    pub kind: Kind,
    /// When its id was handed out, in microseconds.
    pub began: u64,
    /// Its writer chose an id below others.
    pub below: bool,
    /// Which commit it was, and when.
    pub committed: Option<(u64, u64)>,
}

/// A row with a number.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its key; `None`: it is the first row of a table.
    key: Option<usize>,
    /// The place before it.
    before: Option<Place>,
}

#[derive(Debug, Default)]
pub struct Truth {
    pub rows: Vec<Written>,
    entries: HashMap<(u64, u64), Entry>,
    newest: Option<Place>,
    commits: u64,
}

impl Truth {
    /// A row is about to be written; its key.
    pub fn write(&mut self, kind: Kind, us: u64) -> usize {
        self.rows.push(Written {
            kind,
            began: us,
            below: false,
            committed: None,
        });
        self.rows.len() - 1
    }

    /// A transaction with these rows is committed.
    pub fn commit(&mut self, keys: &[usize], us: u64) {
        self.commits += 1;
        for key in keys {
            self.rows[*key].committed = Some((self.commits, us));
        }
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Takes note of rows that got a number. Nothing that was committed behind a control row may be numbered before it.
    pub fn note(&mut self, tables: &OutboxTables) {
        if let Some(Position::Table { place, .. }) = tables.position().and_then(|position| position.parse().ok())
            && self
                .newest
                .is_some_and(|newest| newest.seq >= place.seq && newest != place)
        {
            // A table that was empty begins anew.
            self.newest = self.entries.contains_key(&(place.seq, place.mark)).then_some(place);
        }
        let after = self.newest.map_or(0, |place| place.seq);
        let mut before = self.newest;
        let mut last_commit = 0;
        let new: Vec<(Place, Option<usize>)> = tables
            .numbered(after)
            .map(|(_, place, row)| (place, key(&row.data)))
            .collect();
        for (place, key) in new {
            assert_eq!(
                before.map_or(place.seq, |before| before.seq + 1),
                place.seq,
                "a number is left out"
            );
            let entry = Entry { key, before };
            let twin = self.entries.insert((place.seq, place.mark), entry);
            assert!(twin.is_none(), "{place:?} was given twice");
            before = Some(place);
            if let Some(row) = key.map(|key| &self.rows[key]) {
                let (commit, _) = row.committed.expect("only committed rows have a number");
                match row.kind {
                    Kind::Control => assert!(last_commit < commit, "row {key:?} was overtaken"),
                    _ => last_commit = last_commit.max(commit),
                }
            }
        }
        self.newest = before;
        let waiting = tables.unnumbered().filter(|(_, row)| row.channel == "#control");
        for key in waiting.filter_map(|(_, row)| key(&row.data)) {
            let commit = self.rows[key].committed.map_or(u64::MAX, |(commit, _)| commit);
            assert!(last_commit < commit, "row {key} is overtaken");
        }
    }

    /// The tables have been replaced: numbers go on behind the newest row in them.
    pub fn look_again(&mut self, tables: &OutboxTables) {
        let written = tables.position().and_then(|position| position.parse().ok());
        self.newest = match written {
            Some(Position::Table { place, .. }) => Some(place),
            _ => tables.newest(),
        };
    }

    /// The rows between two places, the second one included, in order. `None`: there is no way from the one to the
    /// other.
    pub fn between(&self, from: Place, to: Place) -> Option<Vec<(Place, Option<usize>)>> {
        let mut found = Vec::new();
        let mut at = to;
        while at.seq > from.seq {
            let entry = self.entries.get(&(at.seq, at.mark))?;
            found.push((at, entry.key));
            at = entry.before?;
        }
        found.reverse();
        (at == from).then_some(found)
    }

    /// The rows above a number up to a place, in order. The place of the start does not matter.
    pub fn above(&self, seq: u64, to: Place) -> Vec<(Place, Option<usize>)> {
        let mut found = Vec::new();
        let mut at = Some(to);
        while let Some(place) = at.filter(|place| place.seq > seq)
            && let Some(entry) = self.entries.get(&(place.seq, place.mark))
        {
            found.push((place, entry.key));
            at = entry.before;
        }
        found.reverse();
        found
    }

    /// The row that has a place.
    pub fn key_at(&self, place: Place) -> Option<usize> {
        self.entries.get(&(place.seq, place.mark))?.key
    }

    /// The expected output for a row.
    pub fn expected(&self, key: usize) -> Option<Expected> {
        match self.rows[key].kind {
            Kind::Event(_) => Some(Expected::Event(key)),
            Kind::Control => Some(Expected::Control(key)),
            Kind::Bad => None,
        }
    }
}

/// The output of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Event(usize),
    Control(usize),
}

impl Expected {
    /// `None`: a gap, or something from before the start.
    pub fn of(seen: &Seen) -> Option<Self> {
        match seen {
            Seen::Event(event) => key(&event.data).map(Expected::Event),
            Seen::Control(Control::RecheckUser(user)) => Some(Expected::Control(*user as usize - 1)),
            Seen::Control(other) => panic!("{other:?} was not written"),
            Seen::Past(..) | Seen::Gap => None,
        }
    }
}

/// The data of a row; `user_id` begins at 1.
pub fn data(key: usize) -> String {
    format!(r#"{{"user_id":{}}}"#, key + 1)
}

/// The key in a row's data.
pub fn key(data: &str) -> Option<usize> {
    let digits = data.strip_prefix(r#"{"user_id":"#)?.strip_suffix('}')?;
    digits.parse::<usize>().ok().map(|user| user - 1)
}
