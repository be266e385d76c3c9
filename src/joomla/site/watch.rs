//! Detects that configuration.php has changed since it was read. The loop checks the file and decides how often.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Identifies a state of a file without reading the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was last written: Unix seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// The file's length in bytes.
    pub len: u64,
    /// The inode number, which changes when another file replaces this one.
    pub inode: u64,
}

impl Stamp {
    /// The stamp of a file with this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            len: metadata.len(),
            inode: metadata.ino(),
        }
    }
}

/// Remembers the last state of the file.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    seen: Option<Stamp>,
}

impl Watch {
    /// `seen` is the state of the file that was read, from [`SiteRead`](super::SiteRead). That stamp is taken before
    /// the file is read, so a change during the reading is detected at the next check.
    pub fn new(seen: Option<Stamp>) -> Self {
        Self { seen }
    }

    /// Whether the file has changed since the last check. `now` is `None` if the file cannot be found, for instance
    /// because it is being replaced. That is no change: the next state is compared with the last known one.
    pub fn changed(&mut self, now: Option<Stamp>) -> bool {
        let changed = now.is_some() && now != self.seen;
        self.seen = now.or(self.seen);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Stamp = Stamp {
        mtime: (100, 5),
        len: 3000,
        inode: 7,
    };

    #[test]
    fn a_change_is_reported_once() {
        for other in [
            Stamp {
                mtime: (100, 6),
                ..FIRST
            },
            Stamp {
                mtime: (99, 5),
                ..FIRST
            },
            Stamp { len: 2999, ..FIRST },
            Stamp { inode: 8, ..FIRST },
        ] {
            let mut watch = Watch::new(Some(FIRST));
            assert!(!watch.changed(Some(FIRST)));
            assert!(watch.changed(Some(other)));
            assert!(!watch.changed(Some(other)));
            assert!(watch.changed(Some(FIRST)), "back again");
        }
    }

    #[test]
    fn a_file_that_is_away_for_a_moment_has_not_changed() {
        let mut watch = Watch::new(Some(FIRST));
        assert!(!watch.changed(None));
        assert!(!watch.changed(Some(FIRST)));
        assert!(!watch.changed(None));
        assert!(watch.changed(Some(Stamp { inode: 8, ..FIRST })));
        let mut watch = Watch::new(None);
        assert!(!watch.changed(None) && watch.changed(Some(FIRST)));
    }
}
