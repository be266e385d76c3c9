//! Ids: the id of a connection, by which the loop and the service name it, and the one reader of the keys of Joomla's
//! tables.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Reads the key of a user, a group, a view level (`u32`) or an item (`u64`): decimal digits without a sign, a space or
/// a leading zero, from 1 up to the type's largest number. Anything else is `None`: `+42` and `042` would be further
/// names of user 42, and one side compares names as text, the other as numbers.
///
/// Identities in Joomla's rules are the exception: there a denial counts however it is spelt (`joomla::acl`).
pub fn key<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    // No integer type reads an empty text.
    is_plain.then(|| text.parse().ok()).flatten()
}

/// One connection of this process's life: a slot of the table in the low 32 bits, its generation in the high 32.
///
/// A slot is used again, an id is not: a late event, timer or action with an old id finds no connection instead of
/// another one (nginx's instance bit, mio issues 172 and 808). No connection has generation 0, so the ids below 2^32
/// are free for listeners and signals. An optional id needs no more room than an id, nor more time to compare, which
/// counts for each recipient of an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// The id for `slot` in its `generation` (1 or more).
    pub fn new(slot: u32, generation: u32) -> Self {
        Self::from_raw(u64::from(generation) << 32 | u64::from(slot))
            .expect("generation 0 belongs to listeners and signals")
    }

    /// The id that `raw` stands for; `None` when `raw` belongs to a listener or a signal.
    pub fn from_raw(raw: u64) -> Option<Self> {
        NonZeroU64::new(raw).filter(|raw| raw.get() >> 32 != 0).map(Self)
    }

    /// The id as one number, as it is registered with the poller.
    pub fn raw(self) -> u64 {
        self.0.get()
    }

    /// The slot of the table.
    pub fn slot(self) -> usize {
        (self.raw() & 0xffff_ffff) as usize
    }

    /// The generation: which connection of its slot this is.
    pub fn generation(self) -> u32 {
        (self.raw() >> 32) as u32
    }
}

/// `slot.generation`, short enough to start every log line.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot(), self.generation())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Texts that are no key, for the tests of every reader. PHP's `(int)` makes 42 of most.
#[cfg(test)]
pub const MISSPELT: [&str; 14] = [
    "",
    "0",
    "00",
    "+42",
    "-42",
    "042",
    "0042",
    " 42",
    "42 ",
    "42\n",
    "4_2",
    "42.0",
    "0x2a",
    "\u{664}\u{662}",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_spelling() {
        assert_eq!((key::<u32>("1"), key::<u64>("1")), (Some(1), Some(1)));
        assert_eq!(key("4294967295"), Some(u32::MAX));
        assert_eq!(key("18446744073709551615"), Some(u64::MAX));
        assert_eq!(key::<u32>("4294967296"), None);
        assert_eq!(key::<u64>("18446744073709551616"), None);
        for bad in MISSPELT {
            assert_eq!((key::<u32>(bad), key::<u64>(bad)), (None, None), "{bad:?}");
        }
    }
}
