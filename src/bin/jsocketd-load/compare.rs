//! The compare scenario: two servers echo the same traffic in turns (A B A B …), and the report gives the ratio of the
//! medians of their rounds. Only figures of the same run are compared, because the speed of a machine varies.

use std::time::Duration;

use crate::echo::{Echo, Span, Traffic, Window};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::process::Process;
use crate::report::Report;
use crate::target::Target;

/// One of the two servers.
pub struct Side<'a> {
    pub target: &'a Target,
    pub process: &'a Process,
    /// See [`Traffic::raw`].
    pub raw: bool,
}

/// The measurements of all rounds of one side.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    cpu: Vec<f64>,
    refused: usize,
    lost: u64,
    wrong: u64,
}

impl Rounds {
    fn play(&mut self, side: &Side, traffic: Traffic, span: Duration, patience: Duration) -> Result<(), Failure> {
        let traffic = Traffic {
            raw: side.raw,
            ..traffic
        };
        let mut fleet = Fleet::new(side.target, "/echo", traffic.connections, patience)?;
        let mut echo = Echo::new(traffic);
        echo.open(&mut fleet)?;
        let window: Window = echo.measure(&mut fleet, Span::Time(span), Some(side.process))?;
        self.rates.push(window.rate());
        self.cpu.extend(window.cpu_per_message());
        self.refused += fleet.standing.refused;
        self.lost += echo.lost;
        self.wrong += echo.wrong;
        Ok(())
    }
}

/// Runs the scenario: `rounds` times `span` on each side.
pub fn run(
    server: &Side,
    other: &Side,
    traffic: Traffic,
    rounds: usize,
    span: Duration,
    patience: Duration,
) -> Result<Report, Failure> {
    let [mut ours, mut theirs] = [Rounds::default(), Rounds::default()];
    for _ in 0..rounds {
        ours.play(server, traffic, span, patience)?;
        theirs.play(other, traffic, span, patience)?;
    }
    let Traffic {
        connections,
        size,
        pipeline,
        ..
    } = traffic;
    let mut report = Report::new(format!(
        "compare: {connections} connections, {size} bytes, {pipeline} in flight; medians of {rounds} rounds in turns"
    ));
    report.note(format!("rounds of the server: {}", list(&ours)));
    report.note(format!("rounds of the other: {}", list(&theirs)));
    let [rate, cpu] = [median(&mut ours.rates), median(&mut ours.cpu)];
    let [against_rate, against_cpu] = [median(&mut theirs.rates), median(&mut theirs.cpu)];
    report.set("connections", connections as f64);
    report.set("seconds", span.as_secs_f64() * rounds as f64);
    report.set("refused", (ours.refused + theirs.refused) as f64);
    report.set("lost", (ours.lost + theirs.lost) as f64);
    report.set("wrong", (ours.wrong + theirs.wrong) as f64);
    report.set("rate", rate);
    report.set("against_rate", against_rate);
    report.set("rate_ratio", rate / against_rate);
    report.set("cpu_ns_per_message", cpu);
    report.set("against_cpu_ns_per_message", against_cpu);
    report.set("cpu_ratio", cpu / against_cpu);
    Ok(report)
}

/// `rate/s at CPU ns` of each round, in the order they were played.
fn list(rounds: &Rounds) -> String {
    let each = rounds.rates.iter().zip(&rounds.cpu);
    let each: Vec<_> = each.map(|(rate, cpu)| format!("{rate:.0}/s at {cpu:.0} ns")).collect();
    each.join(", ")
}

/// The middle one; the mean of the middle two; NaN of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_care_for_one_bad_round() {
        assert_eq!(median(&mut [3.0, 1000.0, 1.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 1000.0]), 3.0);
        assert!(median(&mut []).is_nan());
    }
}
