//! Socket ids (pusher.md 1.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The public id of a connection, for clients and for the programs that sign for them: two random 32-bit numbers,
/// written `123.456`. The id must not be guessable and is not reused, because it is part of every signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketId(pub u32, pub u32);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for SocketId {
    type Err = ();

    /// Parses `\d+\.\d+`. Numbers beyond 32 bits are well formed, but no connection has them: they become an unused id.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (one, two) = text.split_once('.').ok_or(())?;
        let number = |digits: &str| match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            true => Ok(digits.parse::<u32>().ok()),
            false => Err(()),
        };
        // No connection has the id (0, 0).
        Ok(match (number(one)?, number(two)?) {
            (Some(one), Some(two)) => SocketId(one, two),
            _ => SocketId(0, 0),
        })
    }
}
