//! The outbox's counters for the administrator.

/// Totals since the start, and the current state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Rows that were passed on, control rows and bad rows included.
    pub rows: u64,
    /// Rows that were skipped because they may not be published.
    pub bad: u64,
    /// Rows that this process stamped with a number.
    pub stamped: u64,
    /// Rows that this process deleted.
    pub deleted: u64,
    /// New epochs that this process began or found, the first one included.
    pub epochs: u64,
    /// Rows in memory for recovery.
    pub history_rows: usize,
    /// The bytes of these rows, and of the rows of recalled channels.
    pub history_bytes: usize,
    /// Whether rows were found that have no number yet.
    pub unstamped: bool,
    /// Rows that have a number and were not passed on yet.
    pub behind: u64,
    /// The delay in reading the table's visible rows, in milliseconds beyond the pause between two looks.
    pub late_ms: u64,
    /// For how many milliseconds another process has held the counter's lock.
    pub locked_ms: u64,
}
