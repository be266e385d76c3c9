//! The polling scenario: nobody is there and nothing is published, but the server looks for rows of the outbox table all the
//! time. What does that cost? All of the server's CPU is counted, whatever else it may do.

use std::time::Duration;

use crate::failure::Failure;
use crate::process::Process;
use crate::report::Report;
use crate::watch::Watch;

/// Runs the scenario for `span`.
pub fn run(span: Duration, watch: &mut Watch, process: &Process) -> Result<Report, Failure> {
    let sql = watch.sql()?;
    let cpu = process.cpu_nanoseconds()?;
    watch.wait(span)?;
    let cpu_now = process.cpu_nanoseconds()?;
    let sql_now = watch.sql()?;

    let mut report = Report::new(format!("polling: an idle server, for {:.1} s", span.as_secs_f64()));
    report.set("connections", 1.0);
    report.set("seconds", span.as_secs_f64());
    for name in ["refused", "lost", "wrong"] {
        report.set(name, 0.0);
    }
    let statements = (sql_now.statements - sql.statements) as f64;
    report.set("statements", statements);
    report.set("overruns", (sql_now.overruns - sql.overruns) as f64);
    report.set("idle_cpu_seconds", (cpu_now - cpu) as f64 / 1e9);
    report.set("cpu_ns_per_statement", (cpu_now - cpu) as f64 / statements);
    Ok(report)
}
