//! The polling scenario: one connection is open and nothing is published, but the server looks for rows of the outbox
//! table all the time. (Without a connection it looks only every two seconds.) The report shows the cost: all of the
//! server's CPU time. A process that sleeps runs on cold caches when it wakes, and that costs more than its work. So
//! the same run measures a bare loop that sleeps, sends a question and reads an answer as often.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use jsocketd::time::Time;
use mio::{Events, Poll};

use crate::client::{Greeting, Script};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::process::Process;
use crate::report::Report;
use crate::watch::Watch;

/// The length in bytes of the driver's query for a poll, and of the answer without rows.
const QUESTION: usize = 36;
const ANSWER: usize = 24;

/// A client that sends nothing and subscribes to nothing.
struct Silent;

impl Script for Silent {
    fn received(&mut self, _: usize, _: &[u8], _: &mut Vec<u8>, _: Time) {}
}

/// Runs the scenario for `span`, then the bare loop for a third of it.
pub fn run(span: Duration, fleet: &mut Fleet, watch: &mut Watch, process: &Process) -> Result<Report, Failure> {
    fleet.open(1, 1, |_| Greeting::plain(), &mut Silent)?;
    let sql = watch.sql()?;
    let cpu = process.cpu_nanoseconds()?;
    fleet.wait(fleet.now() + span, &mut Silent)?;
    let cpu_now = process.cpu_nanoseconds()?;
    let sql_now = watch.sql()?;
    let statements = sql_now.statements - sql.statements;

    let mut report = Report::new(format!("polling: an idle server, for {:.1} s", span.as_secs_f64()));
    report.set("connections", fleet.standing.opened as f64);
    report.set("seconds", span.as_secs_f64());
    report.set("refused", fleet.standing.refused as f64);
    report.set("lost", fleet.standing.ended as f64);
    report.set("wrong", 0.0);
    report.set("statements", statements as f64);
    report.set("overruns", (sql_now.overruns - sql.overruns) as f64);
    report.set("idle_cpu_seconds", (cpu_now - cpu) as f64 / 1e9);
    if statements > 0 {
        let each = (cpu_now - cpu) as f64 / statements as f64;
        let floor = floor(span / statements as u32, statements / 3 + 1)?;
        report.set("cpu_ns_per_statement", each);
        report.set("against_cpu_ns_per_statement", floor);
        report.set("statement_cpu_ratio", each / floor);
    }
    Ok(report)
}

/// Nanoseconds of CPU that one of `turns` costs a loop that sleeps for `pause`, asks over loopback and reads the
/// answer.
fn floor(pause: Duration, turns: u64) -> Result<f64, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut asking = TcpStream::connect(listener.local_addr()?)?;
    let (mut answering, _) = listener.accept()?;
    for stream in [&asking, &answering] {
        stream.set_nodelay(true)?;
    }
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    thread::scope(|scope| {
        // It ends when `asking` does.
        scope.spawn(move || {
            let mut question = [0; QUESTION];
            while answering.read_exact(&mut question).is_ok() && answering.write_all(&[0; ANSWER]).is_ok() {}
        });
        let before = own_nanoseconds()?;
        for _ in 0..turns {
            poll.poll(&mut events, Some(pause))?;
            asking.write_all(&[0; QUESTION])?;
            asking.read_exact(&mut [0; ANSWER])?;
        }
        let used = own_nanoseconds()? - before;
        drop(asking);
        Ok(used as f64 / turns as f64)
    })
}

/// Nanoseconds of CPU that this thread has used.
fn own_nanoseconds() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let used = text.split_ascii_whitespace().next().and_then(|used| used.parse().ok());
    used.ok_or_else(|| Failure::Run("the kernel does not report the CPU time of a thread".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_loop_costs_something() {
        let each = floor(Duration::from_millis(1), 5).unwrap();
        assert!(each > 0.0 && each < 1e9, "{each}");
    }
}
