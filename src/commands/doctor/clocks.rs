//! Compares the clocks: this machine's, the web server's, the database's, and the server's.

use std::time::Instant;

use super::report::{Findings, hop};
use crate::commands::now;

/// Seconds that do no harm, and seconds from which on sessions and signatures fail.
const TOLERANCE: i64 = 5;
const HARM: i64 = 300;

/// The clocks, each with its name and how many seconds it is ahead of this machine's.
#[derive(Default)]
pub struct Clocks(Vec<(&'static str, i64)>);

impl Clocks {
    /// Notes a clock that was read at an instant.
    pub fn note(&mut self, name: &'static str, read: Option<(i64, Instant)>) {
        if let Some((seconds, at)) = read {
            let since = i64::try_from(at.elapsed().as_secs()).unwrap_or_default();
            self.0
                .push((name, seconds.saturating_add(since).saturating_sub(now().unix())));
        }
    }

    /// Judges them all.
    pub fn judge(&self, findings: &mut Findings) {
        const MEND: &str =
            "let all machines follow a time server: `timedatectl set-ntp true`, chrony or systemd-timesyncd";
        if self.0.is_empty() {
            return findings.skip(hop::CLOCKS, "no other clock could be read");
        }
        let odd: Vec<_> = self.0.iter().filter(|(_, ahead)| ahead.abs() > TOLERANCE).collect();
        let worst = odd.iter().map(|(_, ahead)| ahead.abs()).max().unwrap_or_default();
        let spread = |(_, ahead): &&(&str, i64)| (ahead - self.0[0].1).abs() <= TOLERANCE;
        let is_own = odd.len() == self.0.len() && self.0.len() > 1 && self.0.iter().all(|clock| spread(&clock));
        let says = match is_own {
            true => format!("this machine's clock is {}", way(-self.0[0].1, "all others")),
            false => {
                let list = odd
                    .iter()
                    .map(|(name, ahead)| format!("{name} is {}", way(*ahead, "this machine's")));
                list.collect::<Vec<_>>().join("; ")
            }
        };
        match worst {
            0 => {
                let names: Vec<&str> = self.0.iter().map(|(name, _)| *name).collect();
                findings.ok(
                    hop::CLOCKS,
                    format!("within {TOLERANCE} s of this machine's: {}", names.join(", ")),
                );
            }
            HARM.. => findings.fault(
                hop::CLOCKS,
                format!("{says}: sessions end early or late, and signatures fail"),
                MEND,
            ),
            _ => findings.warn(hop::CLOCKS, says, MEND),
        }
    }
}

fn way(ahead: i64, of: &str) -> String {
    let seconds = ahead.unsigned_abs();
    match ahead > 0 {
        true => format!("{seconds} s ahead of {of}"),
        false => format!("{seconds} s behind {of}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn judged(clocks: &[(&'static str, i64)]) -> (Verdict, String) {
        let mut findings = Findings::new(true);
        Clocks(clocks.to_vec()).judge(&mut findings);
        let found = findings.of(hop::CLOCKS).expect("a finding");
        (found.verdict, found.says.clone())
    }

    #[test]
    fn the_clock_that_is_off_is_named() {
        assert_eq!(judged(&[("a", 2), ("b", -5)]).0, Verdict::Ok);
        assert_eq!(judged(&[]).0, Verdict::NotChecked);
        let (verdict, says) = judged(&[("the database's clock", -600), ("b", 0)]);
        assert_eq!(verdict, Verdict::Fault);
        assert!(says.contains("the database's clock is 600 s behind"), "{says}");
        let (verdict, says) = judged(&[("a", 60), ("b", 61)]);
        assert_eq!(
            (verdict, says.as_str()),
            (Verdict::Warning, "this machine's clock is 60 s behind all others")
        );
    }
}
