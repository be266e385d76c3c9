//! SQL's share of the loop's time. A statement blocks the loop. So after a statement that took longer than the budget
//! of a tick, SQL rests until it has had no more than its share. A push waits for one statement at most, and most
//! pushes wait for none. A database that is far away, or slow, makes log-ins slow and nothing else.
//!
//! Short statements do not wait one by one: a storm of log-ins, or of rows, on a database next door is over in an
//! instant. They are counted too: over some seconds they have no more than half of the time.

use std::time::Duration;

use crate::config;
use crate::time::Time;

/// Percent of the loop's time that statements within the budget may have.
const SHORT: u32 = 50;

/// The time of which statements within the budget may use the same percentage in one piece.
const WINDOW: Duration = Duration::from_secs(1);

/// The state of SQL's share: see the file.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// The time of statements that SQL has not paid for yet, at the instant `at`: of ticks with a long statement, and
    /// of other ticks.
    long: Duration,
    short: Duration,
    at: Time,
    /// No statement starts before it.
    rest: Time,
}

impl Share {
    /// When SQL may go on.
    pub(super) fn rest(&self) -> Time {
        self.rest
    }

    /// Notes the statements of a tick that ended at `now`: all of them took `took`, the longest one `longest`.
    pub(super) fn spend(&mut self, took: Duration, longest: Duration, settings: &config::Database, now: Time) {
        let share = u32::try_from(settings.share).unwrap_or(u32::MAX).clamp(1, 99);
        let half = share.max(SHORT);
        let credit = WINDOW * half / 100;
        // No answer takes longer than this. If it seems so, the process or the machine stood still.
        let most = Duration::from_millis(settings.read_timeout_ms);
        let idle = now.since(self.at).saturating_sub(took);
        // A rest pays for so much of SQL that SQL has its share of the two together.
        self.long = self.long.saturating_sub(idle * share / (100 - share));
        self.short = self.short.saturating_sub(idle * half / (100 - half));
        match longest > Duration::from_millis(settings.budget_ms) {
            true => self.long = (self.long + took).min(most),
            false => self.short = (self.short + took).min(credit + most),
        }
        let for_long = self.long * (100 - share) / share;
        let for_short = self.short.saturating_sub(credit) * (100 - half) / half;
        self.rest = now + for_long.max(for_short);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Runs statements that take so long for two minutes, each as soon as it is allowed, but at least a poll after the
    /// one before. Returns the share that SQL had of the second half, and the longest time without a rest.
    fn run(statement: Duration, poll: Duration) -> (f64, Duration) {
        let settings = config::Database::default();
        let mut share = Share::default();
        let (mut now, mut had, mut busy, mut worst) = (Time(0), Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let (half, end) = (Time(60_000_000), Time(120_000_000));
        while now < end {
            now = now + statement;
            busy += statement;
            worst = worst.max(busy);
            if now > half {
                had += statement;
            }
            share.spend(statement, statement, &settings, now);
            let next = share.rest().max(now + poll);
            if next > now {
                busy = Duration::ZERO;
            }
            now = next;
        }
        (had.as_secs_f64() / 60.0, worst)
    }

    #[test]
    fn long_statements_have_their_share_of_the_time() {
        for statement in [ms(11), ms(80), ms(90), ms(400), ms(500)] {
            let (had, worst) = run(statement, Duration::ZERO);
            assert!((0.15..=0.25).contains(&had), "{statement:?}: {had}");
            assert_eq!(worst, statement, "each is followed by a rest");
        }
    }

    #[test]
    fn short_statements_wait_only_after_half_of_the_time() {
        let settings = config::Database::default();
        let mut share = Share::default();
        let mut now = Time(1_000_000);
        for _ in 0..49 {
            now = now + ms(10);
            share.spend(ms(10), ms(9), &settings, now);
            assert_eq!(share.rest(), now);
        }
        let (had, _) = run(ms(9), Duration::ZERO);
        assert!((0.45..=0.51).contains(&had), "{had}");
        let (had, _) = run(ms(1), ms(20));
        assert!((0.045..0.05).contains(&had), "{had}: rare short statements never wait");
    }

    /// The time in which a process is stopped, or the machine suspended, is not time of SQL.
    #[test]
    fn a_rest_is_at_most_the_one_for_a_whole_answer() {
        let settings = config::Database::default();
        let mut share = Share::default();
        let now = Time(3_600_000_000);
        share.spend(ms(3_600_000), ms(3_600_000), &settings, now);
        assert_eq!(share.rest(), now + ms(2000));
    }

    #[test]
    fn passing_time_pays_for_statements() {
        let settings = config::Database::default();
        let mut share = Share::default();
        share.spend(ms(100), ms(100), &settings, Time(1_000_000));
        assert_eq!(share.rest(), Time(1_400_000), "four times as long, of a fifth");
        share.spend(ms(20), ms(20), &settings, Time(1_420_000));
        assert_eq!(share.rest(), Time(1_500_000));
        // In a transaction there is no rest in between, so its statements are paid for together.
        share.spend(ms(20), ms(20), &settings, Time(2_020_000));
        share.spend(ms(20), ms(20), &settings, Time(2_040_000));
        assert_eq!(share.rest(), Time(2_200_000));
        // The rest after a long statement does not pay for short statements before it.
        let mut share = Share::default();
        share.spend(ms(400), ms(5), &settings, Time(3_000_000));
        share.spend(ms(15), ms(15), &settings, Time(3_020_000));
        assert_eq!(share.rest(), Time(3_080_000));
    }
}
