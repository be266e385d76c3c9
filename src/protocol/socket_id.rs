//! Socket ids (pusher.md 1.2).

use std::fmt;
use std::str::FromStr;

/// Names a connection to clients and to those who sign for it: two random 32-bit numbers, written `123.456`. It cannot
/// be guessed and is not used again, because it is part of every signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u32, pub u32);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for SocketId {
    type Err = ();

    /// `\d+\.\d+`. Numbers beyond 32 bits are nobody's, but well formed: they become an id that nobody has.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (one, two) = text.split_once('.').ok_or(())?;
        let number = |digits: &str| match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            true => Ok(digits.parse::<u32>().ok()),
            false => Err(()),
        };
        // (0, 0) is never given to a connection.
        Ok(match (number(one)?, number(two)?) {
            (Some(one), Some(two)) => SocketId(one, two),
            _ => SocketId(0, 0),
        })
    }
}
