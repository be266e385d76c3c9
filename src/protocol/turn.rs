//! A round robin: which candidate is served next, so that no candidate starves the others.

/// The next candidate of a round robin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn(usize);

impl Turn {
    /// All of `count` candidates, beginning with the next one.
    pub fn round(self, count: usize) -> impl Iterator<Item = usize> + Clone {
        (0..count).map(move |step| (self.0 + step) % count)
    }

    /// This candidate was served: the turn goes to the candidate behind it.
    pub fn served(&mut self, candidate: usize) {
        self.0 = candidate + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_served_candidate_comes_last() {
        let mut turn = Turn::default();
        let round = |turn: Turn| turn.round(3).collect::<Vec<_>>();
        assert_eq!(round(turn), [0, 1, 2]);
        turn.served(0);
        assert_eq!(round(turn), [1, 2, 0]);
        turn.served(2);
        assert_eq!(round(turn), [0, 1, 2]);
    }
}
