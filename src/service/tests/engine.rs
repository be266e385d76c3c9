//! A model of the engine: one log in memory.

use bytes::Bytes;

use crate::protocol::engine::{Command, EntryId, Reply};

/// The log, and whether it can be reached.
#[derive(Default)]
pub struct Engine {
    log: Option<Vec<(EntryId, Bytes)>>,
    last: EntryId,
    /// Nobody can reach it.
    pub cut: bool,
}

impl Engine {
    /// Carries out a command. `None`: a reader waits for the next entry.
    pub fn answer(&mut self, command: &Command) -> Option<Reply> {
        Some(match command {
            Command::Append { epoch, bytes } => match &self.log {
                None => Reply::NoLog,
                Some(_) => {
                    let ms = u64::from(*epoch);
                    let seq = if self.last.ms == ms { self.last.seq + 1 } else { 0 };
                    match ms < self.last.ms {
                        true => Reply::TooSmall,
                        false => self.append(EntryId { ms, seq }, bytes),
                    }
                }
            },
            Command::Begin { epoch, bytes } => {
                let id = EntryId {
                    ms: u64::from(*epoch),
                    seq: 1,
                };
                match id <= self.last {
                    true => Reply::TooSmall,
                    false => self.append(id, bytes),
                }
            }
            Command::Read { after, wait_ms } => {
                let log = self.log.iter().flatten();
                let records: Vec<_> = log.filter(|(id, _)| id > after).take(64).cloned().collect();
                if records.is_empty() && *wait_ms > 0 {
                    return None;
                }
                Reply::Records(records)
            }
            Command::Last => Reply::Records(self.log.iter().flatten().last().cloned().into_iter().collect()),
            Command::Trim { before } => {
                let log = self.log.get_or_insert_default();
                let all = log.len();
                log.retain(|(id, _)| id >= before);
                Reply::Done((all - log.len()) as u64)
            }
            Command::Expire { .. } => Reply::Done(u64::from(self.log.is_some())),
        })
    }

    fn append(&mut self, id: EntryId, bytes: &Bytes) -> Reply {
        self.log.get_or_insert_default().push((id, bytes.clone()));
        self.last = id;
        Reply::Appended(id)
    }
}
