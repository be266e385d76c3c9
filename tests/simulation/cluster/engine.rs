//! A model of the engine: one stream as Redis keeps it, and lines to it that may be slow or cut.

use bytes::Bytes;
use jsocketd::protocol::engine::{Command, EntryId, Fault, Reply};

/// What the engine answered; `None`: it still waits for an entry.
pub type Answer = Option<Result<Reply, Fault>>;

/// The stream.
#[derive(Default)]
pub struct Engine {
    pub entries: Vec<(EntryId, Bytes)>,
    /// The newest id that the stream ever had; `None`: there is no stream.
    last: Option<EntryId>,
    pub is_full: bool,
    /// It takes no connections.
    pub is_down: bool,
    pub trimmed: u64,
}

impl Engine {
    pub fn answer(&mut self, command: &Command) -> Answer {
        Some(Ok(match command {
            Command::Append { .. } | Command::Begin { .. } if self.is_full => {
                return Some(Err(Fault::Full("OOM command not allowed".into())));
            }
            Command::Append { epoch, bytes } => match self.last {
                None => Reply::NoLog,
                Some(last) if u64::from(*epoch) < last.ms => Reply::TooSmall,
                Some(last) => {
                    let seq = if last.ms == u64::from(*epoch) { last.seq + 1 } else { 0 };
                    self.append(u64::from(*epoch), seq, bytes)
                }
            },
            Command::Begin { epoch, bytes } => {
                let id = EntryId {
                    ms: u64::from(*epoch),
                    seq: 1,
                };
                match self.last.is_some_and(|last| id <= last) {
                    true => Reply::TooSmall,
                    false => self.append(id.ms, id.seq, bytes),
                }
            }
            Command::Read { after, .. } => {
                let new = self.entries.iter().filter(|(id, _)| id > after).take(64);
                let new: Vec<_> = new.cloned().collect();
                if new.is_empty() {
                    return None;
                }
                Reply::Records(new)
            }
            Command::Last => Reply::Records(self.entries.last().cloned().into_iter().collect()),
            Command::Trim { before } => {
                let all = self.entries.len();
                self.entries.retain(|(id, _)| id >= before);
                self.trimmed += (all - self.entries.len()) as u64;
                Reply::Done((all - self.entries.len()) as u64)
            }
            Command::Expire { .. } => Reply::Done(u64::from(self.last.is_some())),
        }))
    }

    fn append(&mut self, ms: u64, seq: u64, bytes: &Bytes) -> Reply {
        let id = EntryId { ms, seq };
        self.last = Some(id);
        self.entries.push((id, bytes.clone()));
        Reply::Appended(id)
    }

    /// The key is deleted.
    pub fn empty(&mut self) {
        self.entries.clear();
        self.last = None;
    }

    /// The newest entries are lost, as by a restart from an older dump.
    pub fn roll_back(&mut self, entries: usize) {
        self.entries.truncate(self.entries.len().saturating_sub(entries));
        self.last = self.entries.last().map(|(id, _)| *id);
    }

    /// Somebody else writes to the key.
    pub fn write(&mut self, bytes: &'static [u8]) {
        let last = self.last.unwrap_or_default();
        self.append(last.ms, last.seq + 1, &Bytes::from_static(bytes));
    }
}
