//! The progress in reading the tables.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The tables must be read: at the start, and after a lost connection.
    #[default]
    Unknown,
    /// A new epoch must begin, for this reason.
    Renewing(&'static str),
    /// The window is being read: the number that was reached, and the time of the database's clock.
    Loading { seq: u64, now_ms: u64 },
    /// Rows are delivered.
    Ready,
}
