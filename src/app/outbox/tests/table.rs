//! A database for these tests: the two tables with transactions, as plain as they can be. What is committed is a map, what is
//! not is a list.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Answer, Failure, Question, Row, State};
use crate::time::Now;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<u64, Row>,
    /// Ids of rows that are written and not committed.
    pub(super) locked: BTreeSet<u64>,
    pub(super) next: u64,
    pub(super) increment: u64,
    pub(super) made: String,
    /// Value, and when it was written.
    pub(super) state: BTreeMap<String, (String, u64)>,
    /// Who deletes.
    pub(super) deleter: Option<usize>,
    /// The outbox table is not there.
    pub(super) missing: bool,
    /// The state table cannot be written.
    pub(super) read_only: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            locked: BTreeSet::new(),
            next: 1,
            increment: 1,
            made: "2026-01-01 00:00:00".into(),
            state: BTreeMap::new(),
            deleter: None,
            missing: false,
            read_only: false,
        }
    }

    /// Hands out `count` ids.
    pub(super) fn reserve(&mut self, count: u64) -> Vec<u64> {
        let step = self.increment;
        let ids = (0..count).map(|n| self.next + n * step).collect();
        self.next += count * step;
        ids
    }

    /// A row that is written and committed at once.
    pub(super) fn insert(&mut self, channel: &str, data: &str) -> u64 {
        let id = self.reserve(1)[0];
        self.commit(id, channel, data);
        id
    }

    pub(super) fn commit(&mut self, id: u64, channel: &str, data: &str) {
        self.locked.remove(&id);
        let row = Row {
            id,
            channel: channel.into(),
            event: "e".into(),
            data: Some(data.into()),
            socket_id: None,
        };
        self.rows.insert(id, row);
    }

    pub(super) fn ask(&mut self, who: usize, question: &Question, now: Now) -> Result<Answer, Failure> {
        if self.missing {
            return Err(Failure::Refused("Table 'x_websockets_outbox' doesn't exist".into()));
        }
        match question {
            Question::Tail { after, runs, limit } => {
                let wanted = |id: &u64| id > after || runs.iter().any(|run| run.contains(id));
                let rows = self.rows.iter().filter(|(id, _)| wanted(id));
                Ok(Answer::Rows(
                    rows.take(*limit as usize).map(|(_, row)| row.clone()).collect(),
                ))
            }
            Question::Probe(ids) => match self.locked.range(ids.clone()).next() {
                Some(_) => Err(Failure::Locked),
                None => Ok(Answer::Ids(self.rows.range(ids.clone()).map(|(id, _)| *id).collect())),
            },
            Question::Channel { channel, ids, limit } => {
                let rows = self.rows.range(ids.clone()).map(|(_, row)| row);
                let rows = rows.filter(|row| row.channel == *channel).take(*limit as usize);
                Ok(Answer::Rows(rows.cloned().collect()))
            }
            Question::State => Ok(Answer::State(self.state(now))),
            Question::Write { .. } | Question::Forget { .. } | Question::Delete(_) if self.read_only => {
                Err(Failure::Refused("INSERT command denied".into()))
            }
            Question::Write { name, value } => {
                self.state.insert(name.clone(), (value.clone(), now.unix_ms));
                Ok(Answer::Done)
            }
            Question::Forget { prefix, seconds } => {
                let gone = |name: &str, at: u64| name.starts_with(prefix) && at + seconds * 1000 <= now.unix_ms;
                self.state.retain(|name, (_, at)| !gone(name, *at));
                Ok(Answer::Done)
            }
            Question::Lock => {
                let got = self.deleter.is_none_or(|deleter| deleter == who);
                if got {
                    self.deleter = Some(who);
                }
                Ok(Answer::Lock(got))
            }
            Question::Unlock => {
                self.unlock(who);
                Ok(Answer::Done)
            }
            Question::Delete(ids) => match self.locked.range(ids.clone()).next() {
                Some(_) => Err(Failure::Locked),
                None => {
                    self.rows.retain(|id, _| !ids.contains(id));
                    Ok(Answer::Done)
                }
            },
            other => panic!("the outbox does not ask this: {other:?}"),
        }
    }

    /// A connection is gone, and with it its lock.
    pub(super) fn unlock(&mut self, who: usize) {
        if self.deleter == Some(who) {
            self.deleter = None;
        }
    }

    fn state(&self, now: Now) -> State {
        let age = |at: u64| now.unix_ms.cast_signed() - at.cast_signed();
        let entries = self.state.iter();
        State {
            entries: entries
                .map(|(name, (value, at))| (name.clone(), value.clone(), age(*at)))
                .collect(),
            made: self.made.clone(),
            next: self.next,
            lowest: self.rows.first_key_value().map(|(id, _)| *id),
            highest: self.rows.last_key_value().map(|(id, _)| *id),
            increment: self.increment,
            ..State::default()
        }
    }
}
