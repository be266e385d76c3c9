//! Why a connection to the engine is given up. Each text is a clause whose subject is the engine.

use crate::protocol::engine::EntryId;

/// Why a connection to the engine is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It sent something that is no answer of RESP2.
    #[error("does not speak RESP2 as Redis does: {0}")]
    Nonsense(#[from] Nonsense),
    /// It sent an answer that no such question can have.
    #[error("gave an answer to another question: {0}")]
    Lie(#[from] Lie),
    /// It needs a password, or took the user or the password for wrong ones.
    #[error("does not admit us: {0}; set `user` and `password` in [engine]")]
    Denied(String),
    /// It refused one of the first commands.
    #[error("refused our greeting: {0}")]
    Refused(String),
    /// It is older than the first version with the commands that are needed.
    #[error("is too old: version {0}; Redis 7.0, Valkey 7.2 or newer is needed")]
    Old(String),
    /// It takes no writes.
    #[error("is a replica: set `url` in [engine] to its primary")]
    Replica,
    /// It did not answer in time.
    #[error("did not answer {0} within its time")]
    Late(&'static str),
}

/// Bytes that are no answer of RESP2, or one that is larger than any that may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// The first byte names no kind of RESP2.
    #[error("an answer of an unknown kind came")]
    Kind,
    /// A length is no number.
    #[error("a length is no number")]
    Length,
    /// A text or a whole answer is too long.
    #[error("an answer is longer than any that was asked for")]
    Long,
    /// A line has no end.
    #[error("a line has no end")]
    Line,
    /// A text is longer than its length.
    #[error("a text does not end where its length says")]
    Unended,
    /// Arrays within arrays.
    #[error("an answer is nested too deep")]
    Deep,
    /// An array has too many parts.
    #[error("an answer has more parts than were asked for")]
    Many,
    /// The library could not read it.
    #[error("an answer cannot be read")]
    Unreadable,
}

/// An answer that does not fit its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// Nothing was asked.
    #[error("it came before anything was asked")]
    Unasked,
    /// The answer to this command is of another kind.
    #[error("its kind is not that of an answer to {0}")]
    Kind(&'static str),
    /// An entry was appended elsewhere.
    #[error("an entry was appended as {0}, which is not where it belongs")]
    Elsewhere(EntryId),
    /// An id is none.
    #[error("the id of an entry is none")]
    Id,
    /// Entries are not in order.
    #[error("entry {0} came out of order")]
    Order(EntryId),
    /// Another stream than the one that was asked for.
    #[error("it is about another key")]
    Key,
    /// More entries than were asked for.
    #[error("it has more entries than were asked for")]
    Many,
}
