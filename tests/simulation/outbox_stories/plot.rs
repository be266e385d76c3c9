//! The plot of a seed's story: how many processes there are, with which settings, and what may go wrong.

use jsocketd::config::Database;

use crate::outbox_stories::dice::Dice;
use crate::outbox_stories::story::SECOND;

/// The plot of a story.
#[derive(Clone, Debug)]
pub struct Plot {
    pub settings: Database,
    pub processes: usize,
    pub storm: u64,
    /// Transactions may be open for minutes.
    pub long: bool,
    /// One in so many questions fails; 0: none.
    pub losses: u64,
    /// Processes are killed, restarted and stopped.
    pub restarts: bool,
    /// The database is killed; it may forget the last commits.
    pub crashes: bool,
    pub forgets: bool,
    /// The table is truncated or restored.
    pub disasters: bool,
    /// Other transactions lock rows.
    pub locks: bool,
    /// PHP stamps and trims.
    pub php: bool,
    /// Milliseconds by which one process's node lags.
    pub lag: i64,
    pub step: u64,
    pub most_in_flight: usize,
}

impl Plot {
    pub fn of(dice: &mut Dice) -> Self {
        let quiet = dice.one_in(4);
        let mut often = |n| !quiet && dice.one_in(n);
        let (restarts, crashes, disasters, locks) = (often(2), often(3), often(5), often(4));
        let (lags, long, php) = (often(6) && !disasters, often(8), often(4));
        let (losses, forgets) = (often(2), !often(4));
        Self {
            settings: Database {
                poll_ms: 20 + dice.below(20),
                retention: [3600, 3600, 8][dice.below(3) as usize],
                history_rows: [100_000, 20, 5, 0][dice.below(4) as usize],
                history_bytes: if quiet || dice.one_in(2) { 1 << 26 } else { 12_000 },
                ..Database::default()
            },
            processes: 1 + dice.below(3) as usize,
            storm: if long { 200 } else { 8 + dice.below(10) } * SECOND,
            long,
            losses: if losses { 30 + dice.below(200) } else { 0 },
            restarts,
            crashes,
            forgets,
            disasters,
            locks,
            php,
            lag: if lags { 200 + dice.below(1700).cast_signed() } else { 0 },
            step: [1, 1, 1, 3][dice.below(4) as usize],
            most_in_flight: if quiet || dice.one_in(2) { 100_000 } else { 12 },
        }
    }
}
