//! The half-open scenario: a crowd sends half a handshake and stays, while a few good clients go on. Do they notice?

use std::time::Duration;

use crate::client::Greeting;
use crate::echo::{Echo, Span, Traffic, report_losses};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::process::Process;
use crate::report::Report;

/// Half-open connections that are on their way at once.
const BURST: usize = 1024;

/// Runs the scenario: the good clients' echo for `span` without and then with `half_open` half-finished handshakes.
pub fn run(
    half_open: usize,
    traffic: Traffic,
    span: Duration,
    fleet: &mut Fleet,
    process: Option<&Process>,
) -> Result<Report, Failure> {
    let mut echo = Echo::new(traffic);
    echo.open(fleet)?;
    let alone = echo.measure(fleet, Span::Time(span), process)?;
    fleet.open(half_open, BURST, |_| Greeting::Half, &mut echo)?;
    let with = echo.measure(fleet, Span::Time(span), process)?;

    let mut report = Report::new(format!(
        "half-open: {half_open} half-finished handshakes beside {} clients that echo {} bytes",
        traffic.connections, traffic.size
    ));
    report_losses(&mut report, fleet, &echo);
    report.set("seconds", with.seconds);
    report.set("messages", with.messages as f64);
    report.set("rate", with.rate());
    report.set("alone_rate", alone.rate());
    report.percentiles(
        &alone.latency,
        &[("alone_p50_ms", 50.0), ("alone_p95_ms", 95.0), ("alone_p99_ms", 99.0)],
    );
    report.percentiles(
        &with.latency,
        &[
            ("p50_ms", 50.0),
            ("p95_ms", 95.0),
            ("p99_ms", 99.0),
            ("p999_ms", 99.9),
            ("slowest_ms", 100.0),
        ],
    );
    let slower = |percentile| {
        let [with, alone] = [&with, &alone].map(|window| window.latency.value_at_percentile(percentile) as f64);
        (with - alone) / 1000.0
    };
    report.set("p95_slowdown_ms", slower(95.0));
    report.set("p99_slowdown_ms", slower(99.0));
    let standing = &fleet.standing;
    report.set("half_open", (standing.half_open - standing.half_open_ended) as f64);
    if let Some(each) = with.cpu_per_message() {
        report.set("cpu_ns_per_message", each);
    }
    Ok(report)
}
