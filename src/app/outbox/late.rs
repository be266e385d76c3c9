//! Rows that appeared below a position which clients may have been given already: the transaction was open for longer than
//! `gap_max`, or nobody saw who was writing. Such a row is delivered like any other, but whoever comes back with a position
//! between it and the newest one of that moment may have missed it, or not: nobody can tell, so such a client is told of a gap.

use std::collections::HashMap;

/// The most late rows that are remembered one by one; beyond them all positions of the time are out of reach.
const MOST: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Late {
    /// By channel: the late row, and the newest position when it appeared.
    rows: HashMap<Box<str>, Vec<(u64, u64)>>,
    count: usize,
    /// Below it nothing is certain in any channel.
    all_to: u64,
}

impl Late {
    /// A row appeared when positions up to `newest` may have been given.
    pub(super) fn add(&mut self, channel: &str, row: u64, newest: u64) {
        if self.count >= MOST {
            let newest = self.rows.drain().flat_map(|(_, rows)| rows).map(|(_, newest)| newest);
            self.all_to = newest.fold(self.all_to, u64::max);
            self.count = 0;
        }
        match self.rows.get_mut(channel) {
            Some(rows) => rows.push((row, newest)),
            None => drop(self.rows.insert(channel.into(), vec![(row, newest)])),
        }
        self.count += 1;
    }

    /// Whether somebody with this position may have missed a late row.
    pub(super) fn is_uncertain(&self, channel: &str, since: u64) -> bool {
        let rows = self.rows.get(channel).map_or(&[][..], Vec::as_slice);
        since < self.all_to || rows.iter().any(|(row, newest)| (*row..=*newest).contains(&since))
    }

    /// Nobody comes from below any more.
    pub(super) fn deleted(&mut self, to: u64) {
        self.rows.retain(|_, rows| {
            rows.retain(|(_, newest)| *newest >= to);
            !rows.is_empty()
        });
        self.count = self.rows.values().map(Vec::len).sum();
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
    fn too_many_are_remembered_as_one() {
        let mut late = Late::default();
        for row in 0..=MOST as u64 {
            late.add("a", 5000 + row, 9000);
        }
        assert_eq!(late.count, 1);
        assert!(late.is_uncertain("b", 4000));
        assert!(!late.is_uncertain("b", 9000));
    }
}
