//! What the state table says, and whether it can be believed: parsed once, compared with what this process knows.

use crate::protocol::position::Position;
use crate::store::State;

/// Names of rows of the state table.
pub(super) const SCHEMA: &str = "schema";
pub(super) const EPOCH: &str = "epoch";
pub(super) const MADE: &str = "made";
pub(super) const DELETED_TO: &str = "deleted_to";
pub(super) const MARK: &str = "mark";
pub(super) const POSITION: &str = "position.";

/// Milliseconds after which a newer row is marked.
const MARK_EVERY_MS: i64 = 60_000;

/// Milliseconds after which the process that wrote a position is not alive.
pub(super) const FRESH_MS: i64 = 60_000;

/// The answer to a question for the state.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) state: State,
    pub(super) schema: Option<String>,
    pub(super) epoch: Option<u32>,
    pub(super) made: Option<String>,
    /// Of the epoch; 0: nothing was deleted.
    pub(super) deleted_to: u64,
    /// Of the epoch.
    pub(super) positions: Vec<Written>,
    /// Of the epoch: a row, when it was written, and how many milliseconds ago that was noted. The text is a position and a
    /// time, with a space between.
    mark: Option<(u64, String, i64)>,
}

/// A process's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) row: u64,
    /// Whether its process lives.
    pub(super) fresh: bool,
}

impl Table {
    pub(super) fn read(state: State) -> Self {
        let entry = |name: &str| {
            let mut entries = state.entries.iter();
            entries
                .find(|(own, _, _)| own == name)
                .map(|(_, value, _)| value.as_str())
        };
        let epoch = entry(EPOCH).and_then(parse_epoch);
        let row = |value: &str| match value.parse() {
            Ok(Position::Outbox { epoch: own, row }) if Some(own) == epoch => Some(row),
            _ => None,
        };
        let processes = state.entries.iter().filter(|(name, _, _)| name.starts_with(POSITION));
        let positions = processes.filter_map(|(_, value, age)| {
            let fresh = *age < FRESH_MS;
            row(value).map(|row| Written { row, fresh })
        });
        Self {
            schema: entry(SCHEMA).map(str::to_owned),
            epoch,
            made: entry(MADE).map(str::to_owned),
            deleted_to: entry(DELETED_TO).and_then(row).unwrap_or(0),
            positions: positions.collect(),
            mark: state
                .entries
                .iter()
                .find(|(name, _, _)| name == MARK)
                .and_then(|(_, value, age)| {
                    let (position, written) = value.split_once(' ')?;
                    Some((row(position)?, written.to_owned(), *age))
                }),
            state,
        }
    }

    /// The value of a row.
    pub(super) fn entry(&self, name: &str) -> Option<&str> {
        let mut entries = self.state.entries.iter();
        entries
            .find(|(own, _, _)| own == name)
            .map(|(_, value, _)| value.as_str())
    }

    /// Whether a row with this id cannot have been there, so that ids must have gone back. A table whose counter is not known
    /// or older than its rows is judged by its rows; those may also have been deleted.
    pub(super) fn is_behind(&self, id: u64, deleted_to: u64) -> bool {
        let highest = self.state.highest.unwrap_or(0);
        let none_above = highest < id;
        match self.state.next {
            0 => none_above && id > deleted_to,
            next => none_above && next <= id,
        }
    }

    /// Whether the row that was marked is another one now. The table was emptied then, and filled again beyond that row: of a
    /// TRUNCATE the server tells nothing.
    pub(super) fn is_another(&self) -> bool {
        let mark = self.mark.as_ref().zip(self.state.marked.as_ref());
        mark.is_some_and(|((row, then, _), (id, now))| row == id && then != now)
    }

    /// What is to be marked now, if the mark is gone or old.
    pub(super) fn next_mark(&self) -> Option<String> {
        let (epoch, row, written) = (self.epoch?, self.state.highest?, self.state.newest.as_ref()?);
        let is_good = |(marked, _, age): &(u64, String, i64)| *age < MARK_EVERY_MS || *marked == row;
        if self.state.marked.is_some() && self.mark.as_ref().is_some_and(is_good) {
            return None;
        }
        Some(format!("{} {written}", Position::Outbox { epoch, row }))
    }

    /// The highest id that may have been handed out.
    pub(super) fn handed_out(&self) -> u64 {
        self.state.next.saturating_sub(1).max(self.state.highest.unwrap_or(0))
    }

    /// The highest position that a process has told its clients, as far as it has written that.
    pub(super) fn highest_told(&self) -> u64 {
        self.positions.iter().map(|written| written.row).max().unwrap_or(0)
    }

    /// The lowest position of those who live.
    pub(super) fn lowest_fresh(&self) -> Option<u64> {
        self.positions
            .iter()
            .filter(|written| written.fresh)
            .map(|w| w.row)
            .min()
    }
}

/// As it is written.
pub(super) fn epoch_text(epoch: u32) -> String {
    format!("{epoch:08x}")
}

fn parse_epoch(text: &str) -> Option<u32> {
    let epoch = u32::from_str_radix(text, 16).ok()?;
    (epoch_text(epoch) == text).then_some(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, &str, i64)], next: u64, highest: Option<u64>) -> Table {
        let entries = entries.iter().map(|(n, v, age)| (n.to_string(), v.to_string(), *age));
        Table::read(State {
            entries: entries.collect(),
            next,
            highest,
            ..State::default()
        })
    }

    #[test]
    fn only_what_is_of_the_epoch_counts() {
        let entries = [
            ("epoch", "0000abcd", 9),
            ("deleted_to", "o0000abcd:7", 9),
            ("position.00000001", "o0000abcd:12", 59_999),
            ("position.00000002", "o0000abcd:10", 60_000),
            ("position.00000003", "o0000abce:1", 0),
            ("position.00000004", "1", 0),
        ];
        let read = table(&entries, 20, Some(15));
        assert_eq!((read.epoch, read.deleted_to), (Some(0xabcd), 7));
        let written = |row, fresh| Written { row, fresh };
        assert_eq!(read.positions, [written(12, true), written(10, false)]);
        assert_eq!(read.lowest_fresh(), Some(12));
        assert_eq!(read.handed_out(), 19);
        for bad in ["", "abcd", "0000ABCD", "+000abcd", "0000abcd "] {
            let read = table(&[("epoch", bad, 0), ("deleted_to", "o0000abcd:7", 9)], 0, None);
            assert_eq!((read.epoch, read.deleted_to), (None, 0), "{bad:?}");
        }
    }

    #[test]
    fn a_row_that_is_another_one_is_told_by_the_time_at_which_it_was_written() {
        let marked = |mark: &str, age, now: Option<(u64, &str)>| {
            let mut state = table(&[("epoch", "0000abcd", 9), ("mark", mark, age)], 20, Some(15)).state;
            state.newest = Some("n".into());
            state.marked = now.map(|(id, written)| (id, written.to_owned()));
            let table = Table::read(state);
            (table.is_another(), table.next_mark().is_some())
        };
        for (mark, age, now, another, is_next) in [
            ("o0000abcd:7 a", 9, Some((7, "a")), false, false),
            ("o0000abcd:7 a", 60_000, Some((7, "a")), false, true),
            ("o0000abcd:15 a", 60_000, Some((15, "a")), false, false), // there is no newer one
            ("o0000abcd:7 a", 9, Some((7, "b")), true, false),
            ("o0000abcd:7 a", 9, None, false, true), // it was deleted
            ("o0000abce:7 a", 9, Some((7, "b")), false, true),
            ("o0000abcd:7", 9, Some((7, "b")), false, true),
            ("", 9, None, false, true),
        ] {
            assert_eq!(marked(mark, age, now), (another, is_next), "{mark:?} {age} {now:?}");
        }
        let mut state = table(&[("epoch", "0000abcd", 9)], 20, Some(15)).state;
        state.newest = Some("2026-01-02 03:04:05.678".into());
        let next = Table::read(state).next_mark();
        assert_eq!(next.as_deref(), Some("o0000abcd:15 2026-01-02 03:04:05.678"));
        assert_eq!(
            table(&[("epoch", "0000abcd", 9)], 1, None).next_mark(),
            None,
            "there is no row"
        );
    }

    #[test]
    fn ids_went_back_if_a_row_cannot_have_been_there() {
        for (next, highest, id, behind) in [
            (11, Some(10), 10, false),
            (11, None, 10, false), // the rows were deleted
            (10, Some(9), 10, true),
            (1, None, 10, true),      // truncated
            (8, Some(10), 10, false), // a counter that is behind the rows says nothing
            (0, Some(9), 10, true),   // not known: judged by the rows
            (0, Some(9), 5, false),
            (0, None, 4, false), // deleted
        ] {
            assert_eq!(
                table(&[], next, highest).is_behind(id, 4),
                behind,
                "{next} {highest:?} {id}"
            );
        }
    }
}
