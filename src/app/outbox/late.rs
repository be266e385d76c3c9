//! Rows that appeared below a position which clients may have been given already: the transaction was open for longer than
//! `gap_max`, or nobody saw who was writing, or another process knows of other clients. Such a row is delivered like any other,
//! but whoever comes back with a position between it and the newest one of that moment may have missed it, or not: nobody can
//! tell, so such a client is told of a gap. Who came from below is told the row, and nobody else has such a position unless
//! somebody took the row for settled.

use std::collections::VecDeque;

/// The most late rows that are remembered one by one; what the oldest says is then said of all channels.
const MOST: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Late {
    /// Oldest first.
    rows: VecDeque<Mark>,
    /// Below it nothing is certain in any channel.
    all_to: u64,
}

#[derive(Debug)]
struct Mark {
    channel: Box<str>,
    row: u64,
    /// The newest position when the row appeared.
    newest: u64,
}

impl Late {
    /// A row appeared when positions up to `newest` may have been given.
    pub(super) fn add(&mut self, channel: &str, row: u64, newest: u64) {
        let channel = channel.into();
        self.rows.push_back(Mark { channel, row, newest });
        if self.rows.len() > MOST
            && let Some(oldest) = self.rows.pop_front()
        {
            self.all_to = self.all_to.max(oldest.newest + 1);
        }
    }

    /// Whether somebody with this position may have missed a late row.
    pub(super) fn is_uncertain(&self, channel: &str, since: u64) -> bool {
        let holds = |mark: &Mark| (mark.row..=mark.newest).contains(&since) && &*mark.channel == channel;
        since < self.all_to || self.rows.iter().any(holds)
    }

    /// Nobody comes from below any more.
    pub(super) fn deleted(&mut self, to: u64) {
        self.rows.retain(|mark| mark.newest >= to);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positions_between_the_row_and_the_newest_of_the_moment_are_uncertain() {
        let mut late = Late::default();
        late.add("a", 10, 20);
        for (channel, since, uncertain) in [
            ("a", 9, false), // the row is behind it and will be told
            ("a", 10, true),
            ("a", 20, true),
            ("a", 21, false), // given after the row was told
            ("b", 15, false),
        ] {
            assert_eq!(late.is_uncertain(channel, since), uncertain, "{channel} {since}");
        }
        late.deleted(20);
        assert!(late.is_uncertain("a", 20));
        late.deleted(21);
        assert!(!late.is_uncertain("a", 20));
    }

    #[test]
    fn of_too_many_the_oldest_is_said_of_all_channels() {
        let mut late = Late::default();
        for n in 0..=MOST as u64 {
            late.add("a", 5000 + n, 6000 + n);
        }
        assert_eq!(late.rows.len(), MOST);
        assert!(late.is_uncertain("b", 6000));
        assert!(!late.is_uncertain("b", 6001));
        assert!(late.is_uncertain("a", 6001));
    }
}
