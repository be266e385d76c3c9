//! The state of the stream: its epoch, the newest row that was passed on, and whether the data read fits these. It
//! decides nothing about the content of rows. If a number between two rows is missing, it waits for the row and then
//! reports a gap.
//!
//! Rejected: to follow ids, as the first version did. Ids are given before the commit. So that version had to remember
//! missing ids, probe them for locks, let some expire, and guess at a restart; rows were lost silently in five ways.

use std::time::Duration;

use crate::protocol::position::{Place, Position};
use crate::store::{Checked, Row};
use crate::time::Time;

/// The wait on one connection for a number that is missing or went back: the database node may lag behind.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The reason for a new epoch if everything else fits.
pub(super) const REPLACED: &str = "the last row is another one";

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// `None`: no position has been read yet.
    epoch: Option<u32>,
    /// The newest row that was passed on.
    last: Place,
    /// The position as it was last read.
    end: Place,
    /// Since when the row behind `last` is missing.
    hole: Option<Time>,
    /// Since when the position is below `last`.
    lower: Option<Time>,
    /// Rows below this number are lost: they were deleted before they were read.
    lost: u64,
}

/// Whether a position fits the known state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The position fits.
    Same,
    /// Another process has begun a new epoch, or this process has no epoch yet.
    Other(u32, Place),
    /// The position went back. The database node may lag, so the position is read again.
    Lower,
    /// The position has no other explanation, so a new epoch must begin, for this reason.
    Broken(&'static str),
}

impl Stream {
    /// The epoch and the newest row that was passed on.
    pub(super) fn position(&self) -> Option<Position> {
        let place = self.last;
        self.epoch.map(|epoch| Position::Table { epoch, place })
    }

    pub(super) fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    pub(super) fn last(&self) -> Place {
        self.last
    }

    /// The position as it was last read or written.
    pub(super) fn end(&self) -> Place {
        self.end
    }

    /// How many rows the table has behind the last one.
    pub(super) fn behind(&self) -> u64 {
        self.end.seq.saturating_sub(self.last.seq)
    }

    /// Whether the table has rows behind the last one.
    pub(super) fn is_behind(&self) -> bool {
        self.behind() > 0
    }

    /// Whether rows behind this one were lost.
    pub(super) fn has_lost(&self, seq: u64) -> bool {
        seq < self.lost
    }

    /// Goes on in an epoch behind a row.
    pub(super) fn adopt(&mut self, epoch: u32, place: Place) {
        *self = Self {
            epoch: Some(epoch),
            last: place,
            end: place,
            ..Self::default()
        };
    }

    /// The connection was lost: the next one may lead to another database node.
    pub(super) fn disconnected(&mut self) {
        (self.hole, self.lower) = (None, None);
    }

    /// Compares a position in its written form; see [`Fit`].
    pub(super) fn fit(&mut self, position: Option<&str>, now: Time) -> Fit {
        let Some((epoch, place)) = position.and_then(parse) else {
            return Fit::Broken("the state table has no position");
        };
        if self.epoch != Some(epoch) {
            return Fit::Other(epoch, place);
        }
        if place.seq < self.last.seq || place.seq == self.last.seq && place != self.last {
            return match now.since(*self.lower.get_or_insert(now)) < PATIENCE {
                true => Fit::Lower,
                false => Fit::Broken("its numbers went back"),
            };
        }
        self.lower = None;
        self.end = place;
        Fit::Same
    }

    /// The same, after everything was read as of one instant. Also compares the newest row, and the row that was the
    /// last one.
    pub(super) fn fit_all(&mut self, checked: &Checked, now: Time) -> Fit {
        let written = checked.position.as_deref().and_then(parse);
        if let (Some((epoch, place)), Some(newest)) = (written, checked.newest) {
            if newest.seq > place.seq {
                return Fit::Broken("rows have numbers above the position");
            }
            let is_other = |found: &Place| found.seq == self.last.seq && *found != self.last;
            if self.epoch == Some(epoch) && checked.found.iter().any(is_other) {
                return Fit::Broken(REPLACED);
            }
        }
        self.fit(checked.position.as_deref(), now)
    }

    /// A stamp of this process moved the position.
    pub(super) fn stamped(&mut self, seq: u64, mark: u64) {
        self.end = Place { seq, mark };
    }

    /// Takes the rows that are next in turn from the rows of a tail. Also returns whether rows before them are lost.
    pub(super) fn take(&mut self, mut rows: Vec<Row>, now: Time) -> (Vec<Row>, bool) {
        rows.sort_by_key(|row| row.place.seq);
        rows.retain(|row| row.place.seq > self.last.seq);
        let next = rows.first().map(|row| row.place.seq);
        let missing = match next {
            Some(next) => next > self.last.seq + 1,
            None => self.is_behind(),
        };
        let gap = missing && now.since(*self.hole.get_or_insert(now)) >= PATIENCE;
        if missing && !gap {
            return (Vec::new(), false);
        }
        self.hole = None;
        let first = next.unwrap_or(self.end.seq);
        if gap {
            self.lost = first;
        }
        let dense = rows
            .iter()
            .zip(first..)
            .take_while(|(row, seq)| row.place.seq == *seq)
            .count();
        rows.truncate(dense);
        if let Some(last) = rows.last() {
            self.last = last.place;
        } else if gap {
            self.last = self.end;
        }
        (rows, gap)
    }
}

/// Parses a position of the table. Epoch 0 is invalid.
fn parse(text: &str) -> Option<(u32, Place)> {
    match text.parse() {
        Ok(Position::Table { epoch, place }) if epoch != 0 => Some((epoch, place)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1000)
    }

    fn row(seq: u64) -> Row {
        Row {
            id: 1000 - seq,
            place: Place { seq, mark: seq * 10 },
            channel: "c".into(),
            event: "e".into(),
            data: None,
            socket_id: None,
        }
    }

    fn stream(last: u64) -> Stream {
        let mut stream = Stream::default();
        stream.adopt(7, row(last).place);
        stream
    }

    fn written(seq: u64, mark: u64) -> String {
        let place = Place { seq, mark };
        Position::Table { epoch: 7, place }.to_string()
    }

    #[test]
    fn rows_are_taken_in_order_and_once() {
        let mut stream = stream(4);
        let (taken, gap) = stream.take(vec![row(6), row(4), row(5)], at(0));
        assert_eq!((taken, gap), (vec![row(5), row(6)], false));
        assert_eq!(stream.last(), row(6).place);
        assert_eq!(stream.take(vec![row(5), row(6)], at(0)), (vec![], false));
    }

    #[test]
    fn a_missing_row_becomes_a_gap_after_a_wait() {
        let mut stream = stream(4);
        assert_eq!(stream.take(vec![row(6), row(7), row(9)], at(0)), (vec![], false));
        assert_eq!(
            stream.take(vec![row(5)], at(1000)),
            (vec![row(5)], false),
            "the missing row arrived"
        );
        assert_eq!(stream.take(vec![row(7)], at(2000)), (vec![], false));
        assert_eq!(stream.take(vec![row(7)], at(3999)), (vec![], false));
        let (taken, gap) = stream.take(vec![row(7), row(8), row(11)], at(4000));
        assert_eq!((taken, gap), (vec![row(7), row(8)], true));
        assert_eq!(
            stream.take(vec![row(11)], at(4000)),
            (vec![], false),
            "the next missing row has its own time"
        );
    }

    #[test]
    fn missing_rows_up_to_the_position_become_a_gap_after_a_wait() {
        let mut stream = stream(4);
        assert_eq!(stream.fit(Some(&written(9, 90)), at(0)), Fit::Same);
        assert!(stream.is_behind());
        assert_eq!(stream.take(vec![], at(0)), (vec![], false));
        assert_eq!(stream.take(vec![], at(2000)), (vec![], true));
        assert_eq!(stream.last(), row(9).place);
        assert!(!stream.is_behind());
    }

    #[test]
    fn a_position_that_went_back_is_read_again_for_a_while() {
        let mut stream = stream(4);
        assert_eq!(stream.fit(Some(&written(3, 30)), at(0)), Fit::Lower);
        assert_eq!(stream.fit(Some(&written(4, 40)), at(1000)), Fit::Same);
        for (lower, began) in [(written(3, 30), 2000), (written(4, 41), 10_000)] {
            assert_eq!(stream.fit(Some(&lower), at(began)), Fit::Lower, "{lower}");
            assert_eq!(stream.fit(Some(&lower), at(began + 1999)), Fit::Lower, "{lower}");
            stream.disconnected();
            assert_eq!(
                stream.fit(Some(&lower), at(began + 2000)),
                Fit::Lower,
                "on another connection"
            );
            assert!(
                matches!(stream.fit(Some(&lower), at(began + 4000)), Fit::Broken(_)),
                "{lower}"
            );
            assert_eq!(stream.fit(Some(&written(4, 40)), at(began + 4000)), Fit::Same);
        }
        let other = "o00000008:1.1";
        assert_eq!(stream.fit(Some(other), at(0)), Fit::Other(8, Place { seq: 1, mark: 1 }));
        for nothing in [
            None,
            Some(""),
            Some("o00000000:0.0"),
            Some("o00000007:4"),
            Some("m00000007:4"),
        ] {
            assert!(matches!(stream.fit(nothing, at(0)), Fit::Broken(_)), "{nothing:?}");
        }
    }

    #[test]
    fn a_read_as_of_one_instant_distinguishes_the_table_from_another_one() {
        let checked = |position: u64, newest: u64, found: &[(u64, u64)]| Checked {
            position: Some(written(position, position * 10)),
            newest: Some(row(newest).place),
            found: found
                .iter()
                .map(|(seq, mark)| Place { seq: *seq, mark: *mark })
                .collect(),
            ..Checked::default()
        };
        for (checked, same, why) in [
            (checked(9, 9, &[(4, 40)]), true, "more rows were stamped"),
            (checked(9, 9, &[]), true, "the last row was deleted"),
            (checked(9, 2, &[]), true, "the table was emptied"),
            (checked(9, 9, &[(4, 41)]), false, "the last row is another one"),
            (checked(9, 10, &[(4, 40)]), false, "the position was set back"),
        ] {
            assert_eq!(stream(4).fit_all(&checked, at(0)) == Fit::Same, same, "{why}");
        }
    }
}
