//! The report of a run: figures with names, as text for people and as JSON for programs, and the check against the
//! expectations. The table of figures is the single place with their names, so an expectation with a typo is refused.

use std::collections::BTreeMap;
use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::failure::Failure;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Count,
    PerSecond,
    Milliseconds,
    Seconds,
    Bytes,
    Nanoseconds,
    Ratio,
}

use Unit::{Bytes, Count, Milliseconds, Nanoseconds, PerSecond, Ratio, Seconds};

/// The most slack of a ratio: both of its parts were measured in one run, so the speed of the machine is in neither.
const OF_RATIOS: f64 = 1.25;

/// Name, label for people, unit. A report prints its figures in this order.
const FIGURES: &[(&str, &str, Unit)] = &[
    ("connections", "connections", Count),
    ("seconds", "measured for", Seconds),
    ("refused", "connections refused", Count),
    ("lost", "replies lost", Count),
    ("wrong", "replies wrong or out of order", Count),
    ("deliveries", "events delivered", Count),
    ("comings", "members that came", Count),
    ("goings", "members that went", Count),
    ("messages", "messages echoed", Count),
    ("rate", "rate", PerSecond),
    ("p50_ms", "latency p50", Milliseconds),
    ("p95_ms", "latency p95", Milliseconds),
    ("p99_ms", "latency p99", Milliseconds),
    ("p999_ms", "latency p99.9", Milliseconds),
    ("slowest_ms", "latency, the slowest", Milliseconds),
    ("last_p50_ms", "latency of the last delivery, p50", Milliseconds),
    ("last_p99_ms", "latency of the last delivery, p99", Milliseconds),
    (
        "last_slowest_ms",
        "latency of the last delivery, the slowest",
        Milliseconds,
    ),
    ("join_p50_ms", "joining p50", Milliseconds),
    ("join_p99_ms", "joining p99", Milliseconds),
    ("alone_rate", "rate before the half-open ones came", PerSecond),
    ("alone_p50_ms", "latency before, p50", Milliseconds),
    ("alone_p95_ms", "latency before, p95", Milliseconds),
    ("alone_p99_ms", "latency before, p99", Milliseconds),
    ("p95_slowdown_ms", "p95 slower by", Milliseconds),
    ("p99_slowdown_ms", "p99 slower by", Milliseconds),
    ("half_open", "half-open connections at the end", Count),
    ("connect_p50_ms", "connecting p50", Milliseconds),
    ("connect_p95_ms", "connecting p95", Milliseconds),
    ("connect_p99_ms", "connecting p99", Milliseconds),
    ("connect_slowest_ms", "connecting, the slowest", Milliseconds),
    ("connect_retried", "connecting took 0.9 s or more (SYN retry)", Count),
    ("upgrade_p99_ms", "connect to 101, p99", Milliseconds),
    ("cpu_seconds", "CPU of the server", Seconds),
    ("cpu_ns_per_message", "CPU of the server per message", Nanoseconds),
    ("cpu_ns_per_handshake", "CPU of the server per handshake", Nanoseconds),
    ("cpu_ns_per_statement", "CPU of the server per statement", Nanoseconds),
    (
        "against_cpu_ns_per_statement",
        "CPU of a bare loop that asks as often",
        Nanoseconds,
    ),
    ("statement_cpu_ratio", "CPU per statement: server ÷ bare loop", Ratio),
    ("statements", "SQL statements", Count),
    ("visitors_per_statement", "visitors per SQL statement", Count),
    ("overruns", "ticks that were over their budget of SQL", Count),
    ("sql_worst_ms", "SQL of one tick, the longest", Milliseconds),
    ("cpu_ns_per_delivery", "CPU of the server per delivery", Nanoseconds),
    ("against_rate", "rate of the other server", PerSecond),
    (
        "against_cpu_ns_per_message",
        "CPU of the other server per message",
        Nanoseconds,
    ),
    (
        "against_cpu_ns_per_delivery",
        "CPU of the other server per delivery",
        Nanoseconds,
    ),
    ("against_p99_ms", "latency p99 of the other server", Milliseconds),
    ("rate_ratio", "rate: server ÷ other", Ratio),
    ("cpu_ratio", "CPU per message or delivery: server ÷ other", Ratio),
    ("p99_ratio", "latency p99: server ÷ other", Ratio),
    ("rss_empty", "resident memory before", Bytes),
    ("rss", "resident memory with all connections", Bytes),
    ("rss_per_connection", "resident memory per connection", Bytes),
    ("dirty_per_connection", "private dirty memory per connection", Bytes),
    ("idle_cpu_seconds", "CPU of the server while idle", Seconds),
];

/// `max_…` and `min_…` of any figure, by name.
pub type Expectations = BTreeMap<String, f64>;

/// The figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    title: String,
    values: BTreeMap<&'static str, f64>,
    notes: Vec<String>,
    /// Rows of cells, the first one the heading.
    table: Vec<Vec<String>>,
}

impl Report {
    /// An empty report; `title` names the run.
    pub fn new(title: String) -> Self {
        Self {
            title,
            ..Self::default()
        }
    }

    /// Puts a figure into the report; its name must be in the table.
    pub fn set(&mut self, name: &'static str, value: f64) {
        debug_assert!(unit(name).is_some(), "{name} is not in the table of figures");
        self.values.insert(name, value);
    }

    /// Adds a sentence that helps to understand the figures.
    pub fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// Adds a table for figures of several servers beside each other.
    pub fn table(&mut self, rows: Vec<Vec<String>>) {
        self.table = rows;
    }

    /// The label that people read for a figure's name.
    pub fn label(name: &str) -> &'static str {
        let known = FIGURES.iter().find(|(known, ..)| *known == name);
        known.map_or("", |(_, label, _)| label)
    }

    /// A figure's value as people read it.
    pub fn shown(name: &str, value: f64) -> String {
        show(value, unit(name).unwrap_or(Count))
    }

    /// Puts percentiles of microseconds under `names`, each beside its percentile; 100 is the slowest.
    pub fn percentiles(&mut self, histogram: &Histogram<u64>, names: &[(&'static str, f64)]) {
        for (name, percentile) in names {
            let micros = match *percentile {
                100.0 => histogram.max(),
                percentile => histogram.value_at_percentile(percentile),
            };
            self.set(name, micros as f64 / 1000.0);
        }
    }

    /// For people: one figure a line.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for (name, label, unit) in FIGURES {
            if let Some(value) = self.values.get(name) {
                let _ = writeln!(text, "  {label:<42} {}", show(*value, *unit));
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        for (n, row) in self.table.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if n == 0 {
                let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
            }
        }
        text
    }

    /// For programs: one object on one line, figures by name, in the units that the names say (bytes, seconds, counts).
    pub fn json(&self) -> String {
        serde_json::json!({ "title": self.title, "figures": self.values, "notes": self.notes, "table": self.table })
            .to_string()
    }

    /// Whether every expectation is met; else a sentence for each that is not. `slack` (1 or more) widens the bounds of
    /// the figures that depend on the speed and the load of the machine, those of ratios by [`OF_RATIOS`] at most.
    pub fn judge(&self, expectations: &Expectations, slack: f64) -> Result<(), Failure> {
        let mut missed = Vec::new();
        for (expectation, limit) in expectations {
            let (most, name) = parse(expectation)?;
            let Some(value) = self.values.get(name) else {
                return Err(Failure::Usage(format!(
                    "{expectation} is expected, but this run did not measure it; is --pid missing?"
                )));
            };
            let slack = match unit(name) {
                Some(PerSecond | Milliseconds | Seconds | Nanoseconds) => slack,
                Some(Ratio) => slack.min(OF_RATIOS),
                Some(Count | Bytes) | None => 1.0,
            };
            let limit = &if most { limit * slack } else { limit / slack };
            // A comparison with NaN is false: a figure that could not be computed never meets its expectation.
            let met = if most { value <= limit } else { value >= limit };
            if !met {
                let unit = unit(name).unwrap_or(Count);
                let (value, limit, bound) = (
                    show(*value, unit),
                    show(*limit, unit),
                    if most { "most" } else { "least" },
                );
                missed.push(format!("{name} is {value}, expected at {bound} {limit}"));
            }
        }
        match missed.is_empty() {
            true => Ok(()),
            false => Err(Failure::Run(format!("expectation not met: {}", missed.join("; ")))),
        }
    }
}

/// Refuses expectations whose names no figure has, before anything is run.
pub fn check_names(expectations: &Expectations) -> Result<(), Failure> {
    expectations.keys().try_for_each(|name| parse(name).map(drop))
}

/// `max_rate` → (true, "rate").
fn parse(expectation: &str) -> Result<(bool, &str), Failure> {
    let (most, name) = match (expectation.strip_prefix("max_"), expectation.strip_prefix("min_")) {
        (Some(name), _) => (true, name),
        (_, Some(name)) => (false, name),
        _ => {
            return Err(Failure::Usage(format!(
                "{expectation}: an expectation starts with max_ or min_"
            )));
        }
    };
    match unit(name) {
        Some(_) => Ok((most, name)),
        None => {
            let nearest = FIGURES
                .iter()
                .map(|(known, ..)| *known)
                .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)))
                .unwrap_or_default();
            Err(Failure::Usage(format!(
                "{expectation}: there is no figure {name}; did you mean {nearest}?"
            )))
        }
    }
}

fn unit(name: &str) -> Option<Unit> {
    FIGURES
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, _, unit)| *unit)
}

fn show(value: f64, unit: Unit) -> String {
    match unit {
        Count => format!("{value:.0}"),
        PerSecond => format!("{value:.0} messages/s"),
        Milliseconds => format!("{value:.3} ms"),
        Seconds => format!("{value:.3} s"),
        Bytes if value.abs() >= 1024.0 * 1024.0 => format!("{:.2} MiB", value / 1024.0 / 1024.0),
        Bytes => format!("{value:.0} bytes"),
        Nanoseconds => format!("{value:.0} ns"),
        Ratio => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("echo".into());
        report.set("rate", 1000.0);
        report.set("p99_ms", 2.5);
        report
    }

    fn expect(name: &str, limit: f64) -> Expectations {
        Expectations::from([(name.to_owned(), limit)])
    }

    #[test]
    fn limits_themselves_are_met() {
        for (name, limit) in [("min_rate", 1000.0), ("max_rate", 1000.0), ("max_p99_ms", 2.5)] {
            assert!(report().judge(&expect(name, limit), 1.0).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_missed_expectation_is_named_with_both_numbers() {
        let Err(Failure::Run(sentence)) = report().judge(&expect("max_p99_ms", 2.0), 1.0) else {
            panic!("2.5 is more than 2");
        };
        assert_eq!(
            sentence,
            "expectation not met: p99_ms is 2.500 ms, expected at most 2.000 ms"
        );
        assert!(matches!(
            report().judge(&expect("min_rate", 1001.0), 1.0),
            Err(Failure::Run(_))
        ));
    }

    #[test]
    fn a_figure_that_is_no_number_meets_nothing() {
        let mut report = report();
        report.set("cpu_ratio", f64::NAN);
        assert!(matches!(
            report.judge(&expect("max_cpu_ratio", 1.0), 1.0),
            Err(Failure::Run(_))
        ));
        assert!(matches!(
            report.judge(&expect("min_cpu_ratio", 1.0), 1.0),
            Err(Failure::Run(_))
        ));
    }

    #[test]
    fn a_figure_that_was_not_measured_is_a_mistake_of_the_caller() {
        assert!(matches!(
            report().judge(&expect("max_rss", 1.0), 1.0),
            Err(Failure::Usage(_))
        ));
    }

    #[test]
    fn a_typo_is_refused_with_the_nearest_name() {
        let Err(Failure::Usage(sentence)) = check_names(&expect("max_p99_mss", 1.0)) else {
            panic!("there is no such figure");
        };
        assert!(sentence.contains("did you mean p99_ms?"), "{sentence}");
        assert!(check_names(&expect("p99_ms", 1.0)).is_err(), "neither max nor min");
        assert!(check_names(&expect("min_rate", 1.0)).is_ok());
    }

    #[test]
    fn the_report_is_text_and_json() {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=100u64).for_each(|micros| histogram.record(micros).unwrap());
        let mut report = report();
        report.percentiles(&histogram, &[("p50_ms", 50.0), ("slowest_ms", 100.0)]);
        assert!(report.text().contains("0.050 ms"), "{}", report.text());
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["figures"]["slowest_ms"], 0.1);
        assert_eq!(json["figures"]["rate"], 1000.0);
    }

    #[test]
    fn slack_is_for_what_a_busy_machine_changes() {
        let mut report = Report::new("x".into());
        for (name, value) in [("p99_ms", 12.0), ("rate", 80.0), ("lost", 1.0), ("cpu_ratio", 1.3)] {
            report.set(name, value);
        }
        assert!(report.judge(&expect("max_p99_ms", 10.0), 1.0).is_err());
        assert!(report.judge(&expect("max_p99_ms", 10.0), 1.25).is_ok());
        assert!(report.judge(&expect("min_rate", 100.0), 1.25).is_ok());
        assert!(report.judge(&expect("min_rate", 101.0), 1.25).is_err());
        assert!(report.judge(&expect("max_lost", 0.9), 1.25).is_err());
        assert!(report.judge(&expect("max_cpu_ratio", 1.1), 3.0).is_ok());
        assert!(report.judge(&expect("max_cpu_ratio", 1.0), 3.0).is_err());
    }
}
