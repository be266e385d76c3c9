//! The publish scenario: clients post events to the HTTP API over keep-alive connections, with some requests in flight
//! on each. The server must answer every request with `200 {}`. No client subscribes: this scenario measures the API,
//! and `fanout` the deliveries.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use jsocketd::time::Time;

use crate::client::{Greeting, Script};
use crate::failure::Failure;
use crate::fanout::DIGITS;
use crate::fleet::{Fleet, histogram};
use crate::process::Process;
use crate::pusher::App;
use crate::report::Report;

/// Connections that are on their way at once.
const BURST: usize = 64;
/// Left out of the measurement.
const WARM_UP: Duration = Duration::from_millis(200);
/// Different requests; they are sent again and again, which a signature allows for ten minutes.
const REQUESTS: usize = 1024;

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub connections: usize,
    /// Requests in flight on each.
    pub pipeline: usize,
    /// Bytes of an event's data.
    pub size: usize,
    /// Over how many channels.
    pub channels: usize,
    pub span: Duration,
}

struct Publish {
    requests: Vec<Vec<u8>>,
    next: usize,
    pipeline: usize,
    /// When the requests in flight on each connection were sent, oldest first.
    lanes: Vec<VecDeque<Time>>,
    sending: bool,
    answered: u64,
    latency: Histogram<u64>,
    wrong: u64,
    lost: u64,
    first_wrong: Option<String>,
}

impl Publish {
    fn new(requests: Vec<Vec<u8>>, connections: usize, pipeline: usize) -> Self {
        Self {
            requests,
            next: 0,
            pipeline,
            lanes: vec![VecDeque::new(); connections],
            sending: true,
            answered: 0,
            latency: histogram(),
            wrong: 0,
            lost: 0,
            first_wrong: None,
        }
    }

    fn publish(&mut self, id: usize, out: &mut Vec<u8>, now: Time) {
        out.extend_from_slice(&self.requests[self.next % self.requests.len()]);
        self.next += 1;
        self.lanes[id].push_back(now);
    }

    fn in_flight(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }
}

impl Script for Publish {
    fn begin(&mut self, id: usize, out: &mut Vec<u8>, now: Time) {
        (0..self.pipeline).for_each(|_| self.publish(id, out, now));
    }

    fn answered(&mut self, id: usize, status: u16, body: &[u8], out: &mut Vec<u8>, now: Time) {
        let sent = self.lanes[id].pop_front();
        if status != 200 || body != b"{}" || sent.is_none() {
            self.wrong += 1;
            self.first_wrong
                .get_or_insert_with(|| format!("connection {id}: {status} {}", String::from_utf8_lossy(body)));
        }
        self.answered += 1;
        let _ = self.latency.record(now.since(sent.unwrap_or(now)).as_micros() as u64);
        if self.sending {
            self.publish(id, out, now);
        }
    }

    fn ended(&mut self, id: usize) {
        self.lost += std::mem::take(&mut self.lanes[id]).len() as u64;
    }
}

/// Runs the scenario.
pub fn run(plan: &Plan, app: &App, fleet: &mut Fleet, process: Option<&Process>) -> Result<Report, Failure> {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let requests = (0..REQUESTS).map(|number| {
        let data = format!("{number:0DIGITS$}{}", "x".repeat(plan.size.saturating_sub(DIGITS)));
        app.publish(&fleet.host(), &format!("load-{}", number % plan.channels), &data, unix)
    });
    let mut publish = Publish::new(requests.collect(), plan.connections, plan.pipeline);
    fleet.open(plan.connections, BURST, |_| Greeting::Http, &mut publish)?;
    fleet.begin(&mut publish);
    fleet.wait(fleet.now() + WARM_UP, &mut publish)?;
    (publish.answered, publish.latency) = (0, histogram());
    let (from, cpu) = (fleet.now(), process.map(Process::cpu_nanoseconds).transpose()?);
    fleet.wait(from + plan.span, &mut publish)?;
    let (to, cpu_after) = (fleet.now(), process.map(Process::cpu_nanoseconds).transpose()?);
    let (answered, latency) = (publish.answered, std::mem::replace(&mut publish.latency, histogram()));
    publish.sending = false;
    if fleet
        .until(&mut publish, "", |publish| publish.in_flight() == 0)
        .is_err()
    {
        publish.lost += publish.in_flight() as u64;
    }
    if answered == 0 {
        return Err(fleet.stalled("not one publish was answered"));
    }

    let Plan {
        connections,
        pipeline,
        size,
        ..
    } = plan;
    let mut report = Report::new(format!(
        "publish: {connections} keep-alive connections, {size} bytes of data, {pipeline} in flight on each"
    ));
    report.set("connections", fleet.standing.opened as f64);
    report.set("seconds", to.since(from).as_secs_f64());
    report.set("refused", fleet.standing.refused as f64);
    report.set("lost", publish.lost as f64);
    report.set("wrong", publish.wrong as f64);
    report.set("messages", answered as f64);
    report.set("rate", answered as f64 / to.since(from).as_secs_f64());
    report.percentiles(
        &latency,
        &[
            ("p50_ms", 50.0),
            ("p95_ms", 95.0),
            ("p99_ms", 99.0),
            ("p999_ms", 99.9),
            ("slowest_ms", 100.0),
        ],
    );
    if let Some((before, after)) = cpu.zip(cpu_after) {
        let cpu = after.saturating_sub(before) as f64;
        report.set("cpu_seconds", cpu / 1e9);
        report.set("cpu_ns_per_message", cpu / answered as f64);
    }
    if let Some(what) = publish.first_wrong.as_ref().or(fleet.standing.first_reason.as_ref()) {
        report.note(format!("the first that went wrong: {what}"));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_with_an_empty_object_is_right() {
        let mut publish = Publish::new(vec![b"request".to_vec()], 1, 4);
        let mut out = Vec::new();
        publish.begin(0, &mut out, Time(0));
        assert_eq!((publish.in_flight(), out.len()), (4, 28));
        publish.answered(0, 200, b"{}", &mut out, Time(3));
        assert_eq!(
            (publish.wrong, publish.in_flight(), out.len()),
            (0, 4, 35),
            "another one is sent"
        );
        publish.sending = false;
        publish.answered(0, 200, b"{\"ok\":true}", &mut out, Time(3));
        publish.answered(0, 202, b"{}", &mut out, Time(3));
        assert_eq!((publish.wrong, publish.in_flight(), publish.answered), (2, 2, 3));
        publish.ended(0);
        assert_eq!((publish.lost, publish.in_flight()), (2, 0));
        publish.answered(0, 200, b"{}", &mut out, Time(3));
        assert_eq!(publish.wrong, 3, "there was no request");
    }
}
