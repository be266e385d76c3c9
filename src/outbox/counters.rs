//! The outbox's counters for the administrator.

/// Totals since the start, and the present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Rows that were handed on, control rows and bad ones included.
    pub rows: u64,
    /// Rows that were skipped because they may not be published.
    pub bad: u64,
    /// Rows that this process gave their numbers.
    pub stamped: u64,
    /// Rows that this process deleted.
    pub deleted: u64,
    /// New epochs that this process made or found, the first one included.
    pub epochs: u64,
    /// Rows in memory for recovery.
    pub history_rows: usize,
    /// Their bytes, and those of channels that were read again.
    pub history_bytes: usize,
    /// How late the table's visible rows are read, in milliseconds beyond the pause between two looks.
    pub late_ms: u64,
    /// Whether rows have a number and were not handed on yet.
    pub waiting: bool,
    /// Milliseconds for which another process has held the lock of the counter.
    pub locked_ms: u64,
}
