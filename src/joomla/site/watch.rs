//! Whether configuration.php is still the file that was read. Looking at it, and how often, is the loop's affair.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was last written: Unix seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Bytes.
    pub len: u64,
    /// A file that was put in the place of another has another number.
    pub inode: u64,
}

impl Stamp {
    /// Of a file that was looked at.
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
    /// `seen`: the state that was read, as [`SiteRead`](super::SiteRead) has it. Its stamp is taken before the file is
    /// read, so that a change in between is seen at the next look.
    pub fn new(seen: Option<Stamp>) -> Self {
        Self { seen }
    }

    /// Whether the file is another than at the last look. `None`: it cannot be seen, for instance because somebody is
    /// replacing it; that is no change, and what comes after is compared with what was there before.
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
    fn a_change_is_told_once() {
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
