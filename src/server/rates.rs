//! How much comes and goes in a second, on the average of the last seconds. The totals are kept once a second.

use std::collections::VecDeque;

use crate::service::PerSecond;
use crate::time::Time;

/// Seconds of an average. While the loop sleeps nothing is kept, so an average may be of more.
const AVERAGE: u64 = 10;

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) requests: u64,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// The totals of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// The totals at the beginning of the first tick of a second, oldest first. All but the first are younger than
    /// [`AVERAGE`].
    kept: VecDeque<(Time, Traffic)>,
}

impl Rates {
    /// Notes the totals, once a second.
    pub(super) fn note(&mut self, totals: Traffic, now: Time) {
        self.kept.push_back((now, totals));
        while self.kept.get(1).is_some_and(|(at, _)| is_old(*at, now)) {
            self.kept.pop_front();
        }
    }

    /// The averages until now. In the first seconds they are since the start.
    pub(super) fn per_second(&self, totals: Traffic, now: Time) -> PerSecond {
        let since = self.kept.iter().rev().find(|(at, _)| is_old(*at, now));
        let (at, before) = since.copied().unwrap_or_default();
        let seconds = now.since(at).as_secs_f64().max(1.0);
        let rate = |now: u64, before: u64| ((now - before) as f64 / seconds * 10.0).round() / 10.0;
        PerSecond {
            requests: rate(totals.requests, before.requests),
            messages_in: rate(totals.messages_in, before.messages_in),
            messages_out: rate(totals.messages_out, before.messages_out),
            bytes_in: rate(totals.bytes_in, before.bytes_in),
            bytes_out: rate(totals.bytes_out, before.bytes_out),
        }
    }
}

fn is_old(at: Time, now: Time) -> bool {
    now.since(at).as_secs() >= AVERAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(requests: u64) -> Traffic {
        Traffic {
            requests,
            messages_in: 2 * requests,
            messages_out: 30 * requests,
            bytes_in: 400 * requests,
            bytes_out: 5000 * requests,
        }
    }

    #[test]
    fn an_average_is_of_the_last_seconds() {
        let mut rates = Rates::default();
        // A hundred requests a second for a minute, then ten.
        let (mut requests, mut now) = (0, Time(0));
        for tick in 0..720 {
            requests += if tick < 600 { 10 } else { 1 };
            now = Time(tick * 100_000);
            if tick % 10 == 0 {
                rates.note(traffic(requests), now);
            }
            assert!(rates.kept.len() <= AVERAGE as usize + 2);
            if tick == 599 {
                let shown = rates.per_second(traffic(requests), now);
                assert!((98.0..=102.0).contains(&shown.requests), "{shown:?}");
            }
        }
        let shown = rates.per_second(traffic(requests), now);
        assert!((9.0..=12.0).contains(&shown.requests), "{shown:?}");
        assert!((18.0..=24.0).contains(&shown.messages_in), "{shown:?}");
        assert!((270.0..=360.0).contains(&shown.messages_out), "{shown:?}");
    }

    #[test]
    fn a_time_without_ticks_counts_and_the_first_second_divides_by_one() {
        let mut rates = Rates::default();
        assert_eq!(rates.per_second(traffic(5), Time(100)).requests, 5.0);
        rates.note(traffic(0), Time(0));
        rates.note(traffic(100), Time(1_000_000));
        let hour_later = Time(3_601_000_000);
        assert_eq!(rates.per_second(traffic(3700), hour_later).requests, 1.0);
    }
}
