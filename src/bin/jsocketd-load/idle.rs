//! The idle scenario: many connections shake hands and then send nothing. The report shows their cost in memory and
//! whether the server really sleeps.

use std::time::Duration;

use jsocketd::time::Time;

use crate::client::{Greeting, Script};
use crate::failure::Failure;
use crate::fanout::CHANNEL;
use crate::fleet::{Fleet, random_mask};
use crate::process::Process;
use crate::pusher::{self, Frame};
use crate::report::Report;
use crate::visitors::Visitor;
use crate::wire;

/// After the last handshake, before anything is measured: the server may still have work left over.
const SETTLE: Duration = Duration::from_secs(1);

/// The channel of all users who are logged in to a newly installed Joomla site: their view level.
const LEVEL: &str = "private-level-2";

/// The messages of a connection before it falls silent.
#[derive(Clone, Debug, PartialEq)]
pub enum Habit {
    /// Nothing.
    Mute,
    /// They subscribe to one channel of an app of the Pusher protocol.
    Subscribe,
    /// They come as these visitors, one each, and subscribe to one channel that is open to all of them.
    Visit(Vec<Visitor>),
}

impl Habit {
    fn channel(&self) -> Option<&'static str> {
        match self {
            Habit::Mute => None,
            Habit::Subscribe => Some(CHANNEL),
            Habit::Visit(_) => Some(LEVEL),
        }
    }
}

/// A script that sends only the messages of its habit and counts all messages that it receives.
struct Idle {
    channel: Option<&'static str>,
    subscribed: usize,
    unexpected: u64,
}

impl Script for Idle {
    fn upgraded(&mut self, _: usize, out: &mut Vec<u8>) {
        if let Some(channel) = self.channel {
            wire::encode(wire::TEXT, pusher::subscribe(channel).as_bytes(), random_mask(), out);
        }
    }

    fn received(&mut self, _: usize, bytes: &[u8], _: &mut Vec<u8>, _: Time) {
        match (Frame::read(bytes), self.channel) {
            (Some(frame), Some(channel)) if frame.is_succeeded(channel) => self.subscribed += 1,
            (Some(frame), Some(_)) if frame.socket_id().is_some() => {}
            _ => self.unexpected += 1,
        }
    }
}

/// Runs the scenario: `connections`, opened `burst` at a time, held for `hold`.
pub fn run(
    connections: usize,
    burst: usize,
    hold: Duration,
    habit: &Habit,
    fleet: &mut Fleet,
    process: Option<&Process>,
) -> Result<Report, Failure> {
    let mut idle = Idle {
        channel: habit.channel(),
        subscribed: 0,
        unexpected: 0,
    };
    let host = fleet.host();
    let before = process.map(Process::memory).transpose()?;
    let cpu_at_start = process.map(Process::cpu_nanoseconds).transpose()?;
    fleet.open(
        connections,
        burst,
        |id| match habit {
            Habit::Visit(visitors) => visitors[id].greeting(&host),
            Habit::Mute | Habit::Subscribe => Greeting::plain(),
        },
        &mut idle,
    )?;
    if habit.channel().is_some() {
        let here = fleet.live();
        fleet.until(&mut idle, "not every connection is subscribed", |idle| {
            idle.subscribed >= here
        })?;
    }
    wait(SETTLE, fleet, &mut idle)?;
    let cpu_before = process.map(Process::cpu_nanoseconds).transpose()?;
    wait(hold, fleet, &mut idle)?;
    let cpu_after = process.map(Process::cpu_nanoseconds).transpose()?;
    let after = process.map(Process::memory).transpose()?;

    let mut report = Report::new(format!(
        "idle: {connections} {}connections, held for {:.1} s",
        match habit {
            Habit::Mute => "",
            Habit::Subscribe => "subscribed ",
            Habit::Visit(_) => "identified and subscribed ",
        },
        hold.as_secs_f64()
    ));
    report.set("connections", fleet.standing.opened as f64);
    report.set("seconds", hold.as_secs_f64());
    report.set("refused", fleet.standing.refused as f64);
    report.set("lost", fleet.standing.ended as f64);
    report.set("wrong", idle.unexpected as f64);
    report_connecting(&mut report, fleet);
    if let (Some(before), Some(after)) = (before, after) {
        let each = |after: u64, before: u64| (after as f64 - before as f64) / fleet.live() as f64;
        report.set("rss_empty", before.resident as f64);
        report.set("rss", after.resident as f64);
        report.set("rss_per_connection", each(after.resident, before.resident));
        report.set("dirty_per_connection", each(after.private_dirty, before.private_dirty));
    }
    if let (Some(start), Some(before), Some(after)) = (cpu_at_start, cpu_before, cpu_after) {
        report.set("cpu_seconds", (after - start) as f64 / 1e9);
        report.set("idle_cpu_seconds", (after - before) as f64 / 1e9);
    }
    Ok(report)
}

/// Puts how long connecting took, and the first failure, into a report.
pub fn report_connecting(report: &mut Report, fleet: &Fleet) {
    report.percentiles(
        &fleet.connecting,
        &[
            ("connect_p50_ms", 50.0),
            ("connect_p95_ms", 95.0),
            ("connect_p99_ms", 99.0),
            ("connect_slowest_ms", 100.0),
        ],
    );
    report.set(
        "connect_retried",
        fleet.connecting.count_between(900_000, u64::MAX) as f64,
    );
    report.percentiles(&fleet.upgrading, &[("upgrade_p99_ms", 99.0)]);
    if let Some(reason) = &fleet.standing.first_reason {
        report.note(format!("the first connection that failed: {reason}"));
    }
}

/// Serves the connections (pings want pongs) for `span`.
fn wait(span: Duration, fleet: &mut Fleet, idle: &mut Idle) -> Result<(), Failure> {
    fleet.wait(fleet.now() + span, idle)
}
