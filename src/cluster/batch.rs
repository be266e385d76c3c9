//! What one entry of the log holds: a batch of one process, as one JSON object. Its first member says that it is ours,
//! and in which version. So bytes of another program under the same key are noticed and never guessed at.
//!
//! Apps are named by their ids in a small table, because two processes may have different lists of apps while they are
//! reloaded one by one. Rejected: a binary form. JSON is as fast as it must be, and an administrator can read the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::protocol::shared::{ProcessId, Shared};

/// The version of the form. A change that older processes cannot read needs another number.
pub(super) const VERSION: u32 = 1;

/// The most entries of a batch: an event's position has room for so many in each entry of the log.
pub(super) const MAX_ENTRIES: usize = 1024;

/// The most bytes of a batch.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// What the parts of a batch around its entries take at most, besides the table of apps.
const FRAME_BYTES: usize = 256;

/// A batch that was read.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    /// The form's version.
    pub(super) jsocketd: u32,
    /// The process that wrote it.
    pub(super) from: ProcessId,
    /// The epoch to which `joined` belongs.
    pub(super) epoch: u32,
    /// The position of the process's last hello; 0: it had none when it wrote.
    pub(super) joined: u64,
    /// The number of the batch among those of its process, from 1; 0: it has no entries.
    pub(super) k: u64,
    /// The ids of the apps that the entries name by index.
    pub(super) apps: Vec<Box<str>>,
    /// The entries, in order.
    pub(super) entries: Vec<Entry>,
}

/// One thing that a process tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// Something about an app, by its index in the batch's table.
    A(usize, Shared),
    /// The process is here, and will tell all that it holds.
    Hello {
        /// Whether the others are to tell all that they hold, too.
        ask: bool,
    },
    /// The process has told all that it held when it had read the log up to this position.
    Told(u64),
    /// The process with this id and this `joined` has not been read for too long.
    Dead(ProcessId, u64),
    /// The process ends.
    Bye,
    /// The leader has passed on the webhooks of the log up to this position.
    Mark(u64),
}

/// Why bytes are no batch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("holds an entry of another program in the log: choose another `prefix` in [engine]")]
    Foreign,
    #[error("holds a log of version {0}, and this jsocketd writes version {VERSION}: all processes need the same one")]
    Version(u32),
}

/// Reads a batch.
///
/// # Errors
/// See [`Unreadable`].
pub(super) fn read(bytes: &[u8]) -> Result<Batch, Unreadable> {
    #[derive(Deserialize)]
    struct Version {
        jsocketd: u32,
    }
    match serde_json::from_slice::<Batch>(bytes) {
        Ok(batch) if batch.jsocketd == VERSION && batch.entries.len() <= MAX_ENTRIES => Ok(batch),
        _ => Err(match serde_json::from_slice::<Version>(bytes) {
            Ok(other) if other.jsocketd != VERSION => Unreadable::Version(other.jsocketd),
            _ => Unreadable::Foreign,
        }),
    }
}

/// A batch that is being written.
#[derive(Debug)]
pub(super) struct Draft {
    from: ProcessId,
    epoch: u32,
    joined: u64,
    k: u64,
    /// The apps that the entries use, by their index here.
    apps: Vec<usize>,
    app_ids: String,
    entries: String,
    count: usize,
}

impl Draft {
    /// A batch without entries.
    pub(super) fn new(from: ProcessId, epoch: u32, joined: u64, k: u64) -> Self {
        Self {
            from,
            epoch,
            joined,
            k,
            apps: Vec::new(),
            app_ids: String::new(),
            entries: String::new(),
            count: 0,
        }
    }

    /// The number of its entries.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Its bytes so far.
    pub(super) fn bytes(&self) -> usize {
        FRAME_BYTES + self.app_ids.len() + self.entries.len()
    }

    /// Appends an entry that is about no app. There are few, and a batch has room for them.
    pub(super) fn push(&mut self, entry: &Entry) {
        if let Ok(text) = serde_json::to_string(entry) {
            self.append(&text);
        }
    }

    /// Appends what `json` says about an app. Returns whether it has room.
    pub(super) fn push_app(&mut self, app: usize, id: &str, json: &str) -> bool {
        let known = self.apps.iter().position(|known| *known == app);
        let more = json.len() + 16 + known.map_or(id.len() + 3, |_| 0);
        // The last places are for entries about no app.
        if self.count >= MAX_ENTRIES - 8 || self.bytes() + more > MAX_BYTES - 1024 {
            return false;
        }
        let index = known.unwrap_or_else(|| {
            if !self.apps.is_empty() {
                self.app_ids.push(',');
            }
            self.app_ids.push_str(&serde_json::Value::from(id).to_string());
            self.apps.push(app);
            self.apps.len() - 1
        });
        self.append(&format!("{{\"a\":[{index},{json}]}}"));
        true
    }

    fn append(&mut self, text: &str) {
        if self.count > 0 {
            self.entries.push(',');
        }
        self.entries.push_str(text);
        self.count += 1;
    }

    /// The bytes of the entry of the log.
    pub(super) fn finish(self) -> Bytes {
        let Self {
            from,
            epoch,
            joined,
            k,
            app_ids,
            entries,
            ..
        } = self;
        let ProcessId(from) = from;
        Bytes::from(format!(
            "{{\"jsocketd\":{VERSION},\"from\":{from},\"epoch\":{epoch},\"joined\":{joined},\"k\":{k},\
             \"apps\":[{app_ids}],\"entries\":[{entries}]}}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::shared::Holding;

    #[test]
    fn a_batch_is_written_and_read_again() {
        let mut draft = Draft::new(ProcessId(u64::MAX), 7, 2048, 3);
        draft.push(&Entry::Hello { ask: true });
        for app in [4, 9, 4] {
            let holds = Shared::Holds(Holding::User {
                user_id: "ü\"".into(),
                is_online: true,
            });
            assert!(draft.push_app(app, "app \"é\"", &serde_json::to_string(&holds).unwrap()));
        }
        for entry in [
            Entry::Told(5),
            Entry::Dead(ProcessId(1), 1024),
            Entry::Bye,
            Entry::Mark(9),
        ] {
            draft.push(&entry);
        }
        assert_eq!(draft.len(), 8);
        let most = draft.bytes();
        let bytes = draft.finish();
        assert!(bytes.len() <= most, "{} bytes, {most} were expected", bytes.len());
        let batch = read(&bytes).unwrap();
        assert_eq!(
            (batch.from, batch.epoch, batch.joined, batch.k),
            (ProcessId(u64::MAX), 7, 2048, 3)
        );
        assert_eq!(batch.apps, ["app \"é\"".into(), "app \"é\"".into()]);
        assert_eq!(
            format!(
                "{:?}",
                batch
                    .entries
                    .iter()
                    .map(|e| match e {
                        Entry::A(app, _) => *app as i64,
                        _ => -1,
                    })
                    .collect::<Vec<_>>()
            ),
            "[-1, 0, 1, 0, -1, -1, -1, -1]"
        );
    }

    #[test]
    fn a_batch_has_its_bounds() {
        let mut draft = Draft::new(ProcessId(1), 1, 1, 1);
        while draft.push_app(0, "1", "\"nudge\"") {}
        assert!(draft.len() < MAX_ENTRIES && draft.len() > MAX_ENTRIES - 20);
        let mut draft = Draft::new(ProcessId(1), 1, 1, 1);
        let large = format!("{{\"terminate\":\"{}\"}}", "x".repeat(100_000));
        assert!(draft.push_app(0, "1", &large) && draft.push_app(0, "1", &large));
        assert!(!draft.push_app(0, "1", &large));
        let bytes = draft.finish();
        assert!(bytes.len() <= MAX_BYTES && read(&bytes).is_ok());
    }

    #[test]
    fn foreign_bytes_and_other_versions_have_a_name() {
        for bytes in [
            "",
            "hello",
            "[]",
            "{}",
            "{\"jsocketd\":1}",
            "{\"jsocketd\":\"1\"}",
            "\u{0}",
        ] {
            assert_eq!(read(bytes.as_bytes()).unwrap_err(), Unreadable::Foreign, "{bytes}");
        }
        assert_eq!(read(b"{\"jsocketd\":2,\"x\":[]}").unwrap_err(), Unreadable::Version(2));
        assert_eq!(read(&[0xff, 0xfe]).unwrap_err(), Unreadable::Foreign);
    }
}
