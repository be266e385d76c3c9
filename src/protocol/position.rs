//! Positions in the streams of events. To clients a position is an opaque string; they use only its first character,
//! the stream.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Events of the HTTP API and of clients: `m…`.
    Memory,
    /// Events of the outbox table: `o…`.
    Table,
}

/// A row's place in the outbox table's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The number with which the row was stamped: from 1 and without gaps.
    pub seq: u64,
    /// The time of the stamp, in milliseconds since 1970 UTC by the database's clock. A table that was restored,
    /// copied, or lost its last commits may have another row with the same number; the mark distinguishes the two rows.
    pub mark: u64,
}

/// A position in a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// In memory: the run of the server, and the number of the event in this run.
    Memory {
        /// Different in every run.
        start: u32,
        /// The number from 1; 0 is before the first event.
        n: u64,
    },
    /// In the outbox table.
    Table {
        /// The epoch. It changes whenever numbers may have gone back. Never 0.
        epoch: u32,
        /// The row.
        place: Place,
    },
}

impl Position {
    /// The position that clients get while the table's position is unknown. No row ever has it, so a client that sends
    /// it later is informed of a gap.
    pub const NOWHERE: Position = Position::Table {
        epoch: 0,
        place: Place { seq: 0, mark: 0 },
    };

    /// The stream of the position.
    pub fn stream(self) -> Stream {
        match self {
            Position::Memory { .. } => Stream::Memory,
            Position::Table { .. } => Stream::Table,
        }
    }

    /// The number within the stream.
    pub fn number(self) -> u64 {
        match self {
            Position::Memory { n, .. } => n,
            Position::Table { place, .. } => place.seq,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Memory { start, n } => write!(f, "m{start:08x}:{n}"),
            Position::Table { epoch, place } => write!(f, "o{epoch:08x}:{}.{}", place.seq, base36(place.mark)),
        }
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (stream, rest) = text.split_at_checked(1).ok_or(())?;
        let (run, place) = rest.split_once(':').ok_or(())?;
        if run.len() != 8 {
            return Err(());
        }
        let run = u32::try_from(number(run, 16)?).map_err(|_| ())?;
        match (stream, place.split_once('.')) {
            ("m", None) => Ok(Position::Memory {
                start: run,
                n: number(place, 10)?,
            }),
            ("o", Some((seq, mark))) => Ok(Position::Table {
                epoch: run,
                place: Place {
                    seq: number(seq, 10)?,
                    mark: number(mark, 36)?,
                },
            }),
            _ => Err(()),
        }
    }
}

/// Parses a number in lower-case digits, without a sign.
fn number(digits: &str, radix: u32) -> Result<u64, ()> {
    let plain = |c: char| c.is_digit(radix) && !c.is_ascii_uppercase();
    if digits.is_empty() || !digits.chars().all(plain) {
        return Err(());
    }
    u64::from_str_radix(digits, radix).map_err(|_| ())
}

/// The number as MySQL's `LOWER(CONV(number, 10, 36))` writes it.
fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_parsed_in_its_written_form_only() {
        let place = |seq, mark| Place { seq, mark };
        for (position, text) in [
            (Position::Memory { start: 0xab, n: 12 }, "m000000ab:12"),
            (
                Position::Table {
                    epoch: 0xab,
                    place: place(12, 1_767_225_600_123),
                },
                "o000000ab:12.mjuohs3f",
            ),
            (
                Position::Table {
                    epoch: u32::MAX,
                    place: place(u64::MAX, u64::MAX),
                },
                "offffffff:18446744073709551615.3w5e11264sgsf",
            ),
            (Position::NOWHERE, "o00000000:0.0"),
        ] {
            assert_eq!(position.to_string(), text);
            assert_eq!(text.parse(), Ok(position));
        }
        for bad in [
            "",
            "m",
            "m:",
            "m0:1",
            "mab:12",
            "m000000AB:1",
            "m000000ab:",
            "m000000ab:-1",
            "m000000ab:+1",
            "m000000ab:1.1",
            "m+00000ab:1",
            "o1:2.3",
            "o000000ab:12", // of version 1
            "o000000ab:12.",
            "o000000ab:.1",
            "o000000ab:12.A",
            "o000000ab:12.1.1",
            "o000000ab:12.3w5e11264sgsg", // above 64 bits
            "p000000ab:1",
            "ä000000ab:1",
            "m000000ab:99999999999999999999",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(()), "{bad}");
        }
    }
}
