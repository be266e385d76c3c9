//! jsocketd's decisions from a site's groups, view levels, assets and sessions, against Joomla's own answers (recorded
//! on running sites of all four majors) and against a second, slow reading of Joomla's rules over thousands of random
//! sites.

#![allow(clippy::unwrap_used, reason = "all of it is a test, also what has no #[test] on it")]

mod answers;
mod identity;
mod oracle;
mod random;
mod rules;
mod session;
mod sql;

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// 0 to `sides` - 1.
    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides as u64).unwrap()
    }

    /// Once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// The bytes of a file of the fixtures.
fn fixture(name: &str) -> Vec<u8> {
    crate::common::joomla::fixture(name).into_bytes()
}
