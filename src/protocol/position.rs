//! Places in the streams of events. To clients a position is an opaque string; only its first character, the stream, counts.

use std::fmt;
use std::str::FromStr;

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// From the HTTP API and from clients: `m…`.
    Memory,
    /// From the outbox table: `o…`.
    Table,
}

/// A place in a stream of events. To clients it is an opaque string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// In memory: which run of the server, and the number of the event in it.
    Memory {
        /// Different in every run.
        start: u32,
        /// From 1; 0 is before the first.
        n: u64,
    },
    /// In the outbox table.
    Outbox {
        /// Different whenever ids of the table may have gone back.
        epoch: u32,
        /// The id of the row; 0 is before the first.
        row: u64,
    },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Memory { start, n } => write!(f, "m{start:08x}:{n}"),
            Position::Outbox { epoch, row } => write!(f, "o{epoch:08x}:{row}"),
        }
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (stream, rest) = text.split_at_checked(1).ok_or(())?;
        let (run, n) = rest.split_once(':').ok_or(())?;
        let plain = run.len() == 8 && run.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !plain || n.is_empty() || !n.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        let run = u32::from_str_radix(run, 16).map_err(|_| ())?;
        let n = n.parse().map_err(|_| ())?;
        match stream {
            "m" => Ok(Position::Memory { start: run, n }),
            "o" => Ok(Position::Outbox { epoch: run, row: n }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written_and_nothing_else_is_one() {
        let position = Position::Memory { start: 0xab, n: 12 };
        assert_eq!(position.to_string(), "m000000ab:12");
        assert_eq!(position.to_string().parse(), Ok(position));
        let position = Position::Outbox {
            epoch: 0xab,
            row: u64::MAX,
        };
        assert_eq!(position.to_string(), "o000000ab:18446744073709551615");
        assert_eq!(position.to_string().parse(), Ok(position));
        for bad in [
            "",
            "m",
            "m:",
            "m0:1",
            "mab:12",
            "m000000AB:1",
            "m000000ab:",
            "m000000ab:-1",
            "o1:2",
            "p000000ab:1",
            "ä000000ab:1",
            "m000000ab:99999999999999999999",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(()), "{bad}");
        }
    }
}
