//! What a process asks the cluster's engine for, and what the engine answers, without a word of its protocol. The
//! engine keeps one log of entries. `cluster` asks by these types; the room `engine` makes bytes of them.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use bytes::Bytes;

/// The place of an entry in the log. The engine sorts by both numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The first number: here the epoch of the log, where others have milliseconds since 1970.
    pub ms: u64,
    /// The second number: it counts the entries of an epoch from 1.
    pub seq: u64,
}

/// The text is no id of an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of an entry is two numbers with a hyphen between")]
pub struct BadEntryId;

impl From<ParseIntError> for BadEntryId {
    fn from(_: ParseIntError) -> Self {
        Self
    }
}

/// As the engine writes it: `1700000000-1`.
impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = BadEntryId;

    fn from_str(text: &str) -> Result<Self, BadEntryId> {
        let (ms, seq) = text.split_once('-').ok_or(BadEntryId)?;
        // The library's parser also takes a plus sign.
        if ms.starts_with('+') || seq.starts_with('+') {
            return Err(BadEntryId);
        }
        Ok(Self {
            ms: ms.parse()?,
            seq: seq.parse()?,
        })
    }
}

/// One of the two connections to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// The connection that appends. Commands on it are answered at once.
    Writing,
    /// The connection that reads. It waits for the next entry.
    Reading,
}

impl Line {
    /// Both, in the order of [`Line::index`].
    pub const BOTH: [Self; 2] = [Self::Writing, Self::Reading];

    /// The place in an array of two.
    pub fn index(self) -> usize {
        match self {
            Self::Writing => 0,
            Self::Reading => 1,
        }
    }
}

/// The connection's part in a sentence: "the writing connection".
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writing => "writing",
            Self::Reading => "reading",
        })
    }
}

/// Whether a connection to the engine can take commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineState {
    /// It can, from now on. None of the commands that were given before will be answered.
    Up {
        /// The engine and its version, for administrators: `Redis 7.0.15`, `Valkey 8.1.1`.
        engine: Box<str>,
    },
    /// It cannot, for this reason, which is a clause without a subject ("refused the password"). Commands that were not
    /// answered will not be: the engine may have carried them out or not. The next attempt comes by itself.
    Down {
        /// Why.
        why: Box<str>,
    },
}

/// A command about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Append an entry to the epoch, with the next number of that epoch, if there is a log.
    /// Answered by [`Reply::Appended`], [`Reply::NoLog`] or [`Reply::TooSmall`].
    Append {
        /// The epoch.
        epoch: u32,
        /// The entry.
        bytes: Bytes,
    },
    /// Begin an epoch with this entry, which gets number 1. Makes the log if there is none.
    /// Answered by [`Reply::Appended`] or [`Reply::TooSmall`].
    Begin {
        /// The epoch.
        epoch: u32,
        /// The entry.
        bytes: Bytes,
    },
    /// Read the entries after this one, a bounded number. Answered by [`Reply::Records`].
    Read {
        /// The entry before the first one that is wanted.
        after: EntryId,
        /// How long to wait for an entry if there is none, in milliseconds. 0: not at all. Only on [`Line::Reading`].
        wait_ms: u32,
    },
    /// Read the newest entry. Answered by [`Reply::Records`] with one entry, or none if there is no log.
    Last,
    /// Delete the entries before this one. Answered by [`Reply::Done`], with the number of deleted entries.
    Trim {
        /// The oldest entry that stays.
        before: EntryId,
    },
    /// Delete the log when this time is over, unless this is said again. Answered by [`Reply::Done`] with 1, or with 0
    /// if there is no log.
    Expire {
        /// Milliseconds from now.
        ms: u64,
    },
}

/// An answer of the engine to the command that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The entry is in the log and has this id.
    Appended(EntryId),
    /// There is no log.
    NoLog,
    /// The log already has an entry of a higher epoch, or of this epoch's beginning.
    TooSmall,
    /// Entries in the log's order, each with its id. None: nothing came while it waited.
    Records(Vec<(EntryId, Bytes)>),
    /// It was done; the number is the command's own.
    Done(u64),
}

/// Why the engine did not do what it was asked for. The connection stays. The texts are clauses whose subject is the
/// engine; those of the engine itself are cut to one short printable line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its memory is used up.
    #[error("is full: {0}")]
    Full(String),
    /// The log's key holds something else than a log.
    #[error("holds another program's value at the log's key: choose another `prefix` in [engine]")]
    WrongType,
    /// The log holds an entry that no jsocketd wrote.
    #[error("holds an entry of another program in the log ({0}): choose another `prefix` in [engine]")]
    Foreign(EntryId),
    /// The user may not give the command.
    #[error("denies a command: {0}")]
    Denied(String),
    /// It is still reading its data.
    #[error("is still loading its data")]
    Loading,
    /// It is a replica, or cannot store: nothing can be written.
    #[error("takes no writes: {0}")]
    ReadOnly(String),
    /// Another error.
    #[error("refused a command: {0}")]
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> EntryId {
        EntryId { ms, seq }
    }

    #[test]
    fn an_id_is_written_and_read_again() {
        for (id, text) in [
            (id(0, 0), "0-0"),
            (id(17_000, 3), "17000-3"),
            (id(u64::MAX, u64::MAX), "18446744073709551615-18446744073709551615"),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "+1-2",
            "1-+2",
            "1-x",
            "18446744073709551616-0",
            " 1-2",
        ] {
            assert_eq!(bad.parse::<EntryId>(), Err(BadEntryId), "{bad}");
        }
    }

    #[test]
    fn ids_are_sorted_by_epoch_first() {
        assert!(id(1, 9) < id(2, 1));
        assert!(id(2, 1) < id(2, 2));
    }

    #[test]
    fn each_line_has_its_own_place() {
        for (n, line) in Line::BOTH.into_iter().enumerate() {
            assert_eq!(line.index(), n, "{line}");
        }
    }

    #[test]
    fn a_key_of_somebody_else_has_its_remedy() {
        for fault in [Fault::WrongType, Fault::Foreign(id(1, 2))] {
            assert!(fault.to_string().contains("`prefix` in [engine]"), "{fault}");
        }
    }
}
