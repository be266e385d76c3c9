//! The console scenario: a crowd arrives at the same moment. Each client sends one command and waits for its reply.
//! Every client must be accepted and must receive exactly this reply.

use std::time::Duration;

use hdrhistogram::Histogram;
use jsocketd::time::Time;

use crate::client::{Greeting, Script};
use crate::failure::Failure;
use crate::fleet::{Fleet, histogram, random_mask};
use crate::idle::report_connecting;
use crate::process::Process;
use crate::report::Report;
use crate::wire;

/// The command, and its whole reply.
const COMMAND: &[u8] = b"test";
const ANSWER: &[u8] = b"This is a test!";
/// The last replies may take so long after the last connection is open.
const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// When the command is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Eagerness {
    /// In the same segment as the handshake.
    Early,
    /// Once the 101 is there.
    Polite,
}

struct Crowd {
    eagerness: Eagerness,
    began: Time,
    /// Replies seen, by connection.
    replies: Vec<u8>,
    answered: usize,
    wrong: usize,
    /// Microseconds from the beginning of the burst to the reply.
    latency: Histogram<u64>,
}

impl Script for Crowd {
    fn upgraded(&mut self, _: usize, out: &mut Vec<u8>) {
        if self.eagerness == Eagerness::Polite {
            wire::encode(wire::TEXT, COMMAND, random_mask(), out);
        }
    }

    fn received(&mut self, id: usize, bytes: &[u8], _: &mut Vec<u8>, now: Time) {
        if self.replies[id] > 0 || bytes != ANSWER {
            self.wrong += 1;
        }
        if self.replies[id] == 0 {
            self.replies[id] = 1;
            self.answered += 1;
            let _ = self.latency.record(now.since(self.began).as_micros() as u64);
        }
    }
}

/// Runs the scenario: `connections`, opened `burst` at a time.
pub fn run(
    connections: usize,
    burst: usize,
    eagerness: Eagerness,
    fleet: &mut Fleet,
    process: Option<&Process>,
) -> Result<Report, Failure> {
    let mut crowd = Crowd {
        eagerness,
        began: fleet.now(),
        replies: vec![0; connections],
        answered: 0,
        wrong: 0,
        latency: histogram(),
    };
    let cpu = process.map(Process::cpu_nanoseconds).transpose()?;
    let greeting = |_| {
        let mut early = Vec::new();
        if eagerness == Eagerness::Early {
            wire::encode(wire::TEXT, COMMAND, random_mask(), &mut early);
        }
        Greeting::Whole {
            headers: String::new(),
            early,
            raw: false,
        }
    };
    fleet.open(connections, burst, greeting, &mut crowd)?;
    let deadline = fleet.now() + REPLY_LIMIT;
    // A reply counts even if its client has left since. A client that left without a reply counts as lost.
    while crowd.answered < fleet.standing.upgraded && fleet.live() > 0 && fleet.now() < deadline {
        fleet.turn(deadline, &mut crowd)?;
        if fleet.check_patience("").is_err() {
            break;
        }
    }

    let seconds = fleet.now().since(crowd.began).as_secs_f64();
    let when = if eagerness == Eagerness::Early { "with" } else { "after" };
    let mut report = Report::new(format!(
        "console: {connections} connections in bursts of {burst}, each sends a command {when} its handshake"
    ));
    report.set("connections", fleet.standing.opened as f64);
    report.set("seconds", seconds);
    report.set("refused", fleet.standing.refused as f64);
    report.set("lost", (fleet.standing.upgraded - crowd.answered) as f64);
    report.set("wrong", crowd.wrong as f64);
    report.set("messages", crowd.answered as f64);
    report.percentiles(
        &crowd.latency,
        &[
            ("p50_ms", 50.0),
            ("p95_ms", 95.0),
            ("p99_ms", 99.0),
            ("slowest_ms", 100.0),
        ],
    );
    report.note("latencies are from the beginning of the burst to the reply".into());
    report_connecting(&mut report, fleet);
    if let (Some(process), Some(before)) = (process, cpu) {
        report.set("cpu_seconds", (process.cpu_nanoseconds()? - before) as f64 / 1e9);
    }
    Ok(report)
}
