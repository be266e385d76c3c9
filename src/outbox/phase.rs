//! How far the reading of the tables has come.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The tables have to be read: at the start, and after a lost connection.
    #[default]
    Unknown,
    /// A new epoch has to begin, for this reason.
    Renewing(&'static str),
    /// The window is being read: the number that was reached, and what the database's clock said.
    Loading { seq: u64, now_ms: u64 },
    /// Rows are delivered.
    Ready,
}
