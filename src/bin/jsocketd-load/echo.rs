//! The echo scenario: every connection keeps a number of messages in flight and compares each reply with what it sent.
//! The half-open and compare scenarios use its parts.

use std::time::Duration;

use hdrhistogram::Histogram;
use jsocketd::time::Time;

use crate::client::{Greeting, Script};
use crate::failure::Failure;
use crate::fleet::{Fleet, histogram, random_mask};
use crate::process::Process;
use crate::report::Report;
use crate::wire;

/// Left out of a measurement by time: connections start together, and caches are cold.
const WARM_UP: Duration = Duration::from_millis(200);
/// A run by count ends after so long even if the server goes on answering slowly.
const COUNT_LIMIT: Duration = Duration::from_secs(600);
/// Handshakes in flight at once while the connections are opened.
const BURST: usize = 256;

/// The traffic of a run.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub connections: usize,
    /// Payload bytes of a message.
    pub size: usize,
    /// Messages in flight on each connection.
    pub pipeline: usize,
    pub binary: bool,
    /// The server sends back the very bytes it got, masks included: the floor server.
    pub raw: bool,
}

/// The length of a measurement.
#[derive(Clone, Copy, Debug)]
pub enum Span {
    /// So long, after a warm-up.
    Time(Duration),
    /// Until so many replies have come.
    Messages(u64),
}

/// The figures of one measurement.
pub struct Window {
    pub messages: u64,
    pub seconds: f64,
    /// Microseconds from sending to the reply.
    pub latency: Histogram<u64>,
    /// CPU nanoseconds of the server, if it is known which process that is.
    pub cpu: Option<u64>,
}

impl Window {
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    pub fn cpu_per_message(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu as f64 / self.messages as f64)
    }
}

/// The echo conversation on all its connections, which must be the first of their fleet.
pub struct Echo {
    lanes: Vec<Lane>,
    traffic: Traffic,
    sending: bool,
    /// Replies since the last reset.
    answered: u64,
    latency: Histogram<u64>,
    /// Replies that differ from the message that was sent.
    pub wrong: u64,
    /// Replies that never came.
    pub lost: u64,
}

/// One connection's conversation: a ring of ready-made frames that is sent over and over. All the payloads in it
/// differ, from each other and from other connections', so a reply out of order or to the wrong connection is noticed.
struct Lane {
    frames: Vec<u8>,
    payloads: Vec<u8>,
    sent_at: Vec<Time>,
    sent: u64,
    answered: u64,
    /// Raw only: bytes of the current frame that came back already.
    offset: usize,
    live: bool,
}

impl Lane {
    fn new(id: usize, traffic: &Traffic) -> Self {
        let mask = random_mask();
        let opcode = if traffic.binary { wire::BINARY } else { wire::TEXT };
        let (mut frames, mut payloads) = (Vec::new(), Vec::new());
        let slots = (traffic.pipeline + 1).next_power_of_two();
        for slot in 0..slots {
            let start = payloads.len();
            // Shortened to the size from the front, so that the part with the most differences stays.
            let number = format!("{id:06x}{slot:03x}");
            let filling = (0..traffic.size.saturating_sub(number.len())).map(|at| b'a' + ((at + slot) % 26) as u8);
            payloads.extend(filling);
            let shown = number.len().min(traffic.size);
            payloads.extend_from_slice(&number.as_bytes()[number.len() - shown..]);
            wire::encode(opcode, &payloads[start..], mask, &mut frames);
        }
        Self {
            frames,
            payloads,
            sent_at: vec![Time(0); slots],
            sent: 0,
            answered: 0,
            offset: 0,
            live: true,
        }
    }

    fn slot(&self, count: u64) -> usize {
        count as usize & (self.sent_at.len() - 1)
    }

    fn frame(&self, slot: usize) -> &[u8] {
        let length = self.frames.len() / self.sent_at.len();
        &self.frames[slot * length..][..length]
    }

    fn payload(&self, slot: usize) -> &[u8] {
        let length = self.payloads.len() / self.sent_at.len();
        &self.payloads[slot * length..][..length]
    }

    fn send(&mut self, out: &mut Vec<u8>, now: Time) {
        let slot = self.slot(self.sent);
        self.sent_at[slot] = now;
        self.sent += 1;
        out.extend_from_slice(self.frame(slot));
    }

    fn in_flight(&self) -> u64 {
        if self.live { self.sent - self.answered } else { 0 }
    }
}

impl Echo {
    pub fn new(traffic: Traffic) -> Self {
        Self {
            lanes: (0..traffic.connections).map(|id| Lane::new(id, &traffic)).collect(),
            traffic,
            sending: false,
            answered: 0,
            latency: histogram(),
            wrong: 0,
            lost: 0,
        }
    }

    /// Opens the connections.
    pub fn open(&mut self, fleet: &mut Fleet) -> Result<(), Failure> {
        let raw = self.traffic.raw;
        fleet.open(
            self.traffic.connections,
            BURST,
            |_| Greeting::Whole {
                headers: String::new(),
                early: Vec::new(),
                raw,
            },
            self,
        )
    }

    /// Sends for `span`, waits for the last replies, and returns the figures. Lost messages are counted. They are no
    /// error as long as the server goes on.
    pub fn measure(&mut self, fleet: &mut Fleet, span: Span, process: Option<&Process>) -> Result<Window, Failure> {
        if fleet.live() == 0 {
            return Err(fleet.stalled("no connection is open"));
        }
        self.sending = true;
        let (warm_up, limit, enough) = match span {
            Span::Time(time) => (WARM_UP, time, u64::MAX),
            Span::Messages(count) => (Duration::ZERO, COUNT_LIMIT, count),
        };
        fleet.begin(self);
        self.run_until(fleet, fleet.now() + warm_up, u64::MAX)?;
        (self.answered, self.latency) = (0, histogram());
        let (from, cpu) = (fleet.now(), process.map(Process::cpu_nanoseconds).transpose()?);
        self.run_until(fleet, from + limit, enough)?;
        let (to, cpu_after) = (fleet.now(), process.map(Process::cpu_nanoseconds).transpose()?);
        let window = Window {
            messages: self.answered,
            seconds: to.since(from).as_secs_f64(),
            latency: std::mem::replace(&mut self.latency, histogram()),
            cpu: cpu_after.zip(cpu).map(|(after, before)| after.saturating_sub(before)),
        };
        self.drain(fleet)?;
        if window.messages == 0 {
            return Err(fleet.stalled("not one message was echoed"));
        }
        Ok(window)
    }

    fn run_until(&mut self, fleet: &mut Fleet, deadline: Time, enough: u64) -> Result<(), Failure> {
        while fleet.now() < deadline && self.answered < enough {
            fleet.turn(deadline, self)?;
            fleet.check_patience("the server has stopped to echo")?;
            if fleet.live() == 0 {
                return Err(fleet.stalled("the server has ended all connections"));
            }
        }
        Ok(())
    }

    /// Waits for the messages in flight. A message whose reply has not come when the server falls silent is lost.
    fn drain(&mut self, fleet: &mut Fleet) -> Result<(), Failure> {
        self.sending = false;
        let deadline = fleet.now() + Duration::from_secs(30);
        while self.lanes.iter().any(|lane| lane.in_flight() > 0) {
            fleet.turn(deadline, self)?;
            if fleet.now() >= deadline || fleet.check_patience("").is_err() {
                break;
            }
        }
        for lane in &mut self.lanes {
            self.lost += lane.in_flight();
            lane.live &= lane.in_flight() == 0;
        }
        Ok(())
    }

    fn answer(&mut self, id: usize, out: &mut Vec<u8>, now: Time) {
        let lane = &mut self.lanes[id];
        let slot = lane.slot(lane.answered);
        lane.answered += 1;
        self.answered += 1;
        let _ = self.latency.record(now.since(lane.sent_at[slot]).as_micros() as u64);
        if self.sending {
            lane.send(out, now);
        }
    }

    /// Compares a piece of a raw stream with the bytes that were sent. A stream that differs is not compared any
    /// further.
    fn raw(&mut self, id: usize, mut bytes: &[u8], out: &mut Vec<u8>, now: Time) {
        while !bytes.is_empty() && self.lanes[id].live {
            let lane = &mut self.lanes[id];
            let expected = &lane.frame(lane.slot(lane.answered))[lane.offset..];
            let length = expected.len().min(bytes.len());
            if lane.in_flight() == 0 || bytes[..length] != expected[..length] {
                self.wrong += 1;
                self.lost += lane.in_flight();
                lane.live = false;
            } else if length == expected.len() {
                lane.offset = 0;
                self.answer(id, out, now);
            } else {
                lane.offset += length;
            }
            bytes = &bytes[length..];
        }
    }
}

impl Script for Echo {
    fn begin(&mut self, id: usize, out: &mut Vec<u8>, now: Time) {
        // Connections beyond the lanes belong to another part of the scenario. A lane that lost something is out of
        // step.
        if let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.live) {
            (0..self.traffic.pipeline).for_each(|_| lane.send(out, now));
        }
    }

    fn received(&mut self, id: usize, bytes: &[u8], out: &mut Vec<u8>, now: Time) {
        if self.traffic.raw {
            return self.raw(id, bytes, out, now);
        }
        let lane = &self.lanes[id];
        if lane.in_flight() == 0 {
            self.wrong += 1; // a reply without a request
            return;
        }
        if lane.payload(lane.slot(lane.answered)) != bytes {
            self.wrong += 1;
        }
        self.answer(id, out, now);
    }

    fn ended(&mut self, id: usize) {
        if let Some(lane) = self.lanes.get_mut(id) {
            self.lost += lane.in_flight();
            lane.live = false;
        }
    }
}

/// Reports the losses and the wrong replies.
pub fn report_losses(report: &mut Report, fleet: &Fleet, echo: &Echo) {
    report.set("connections", fleet.standing.opened as f64);
    report.set("refused", fleet.standing.refused as f64);
    report.set("lost", echo.lost as f64);
    report.set("wrong", echo.wrong as f64);
    if let Some(reason) = &fleet.standing.first_reason {
        report.note(format!("the first connection that failed: {reason}"));
    }
}

/// Runs the scenario.
pub fn run(traffic: Traffic, span: Span, fleet: &mut Fleet, process: Option<&Process>) -> Result<Report, Failure> {
    let mut echo = Echo::new(traffic);
    echo.open(fleet)?;
    let window = echo.measure(fleet, span, process)?;
    let Traffic {
        connections,
        size,
        pipeline,
        ..
    } = traffic;
    let mut report = Report::new(format!(
        "echo: {connections} connections, {size} bytes, {pipeline} in flight on each"
    ));
    report_losses(&mut report, fleet, &echo);
    report.set("seconds", window.seconds);
    report.set("messages", window.messages as f64);
    report.set("rate", window.rate());
    report.percentiles(
        &window.latency,
        &[
            ("p50_ms", 50.0),
            ("p95_ms", 95.0),
            ("p99_ms", 99.0),
            ("p999_ms", 99.9),
            ("slowest_ms", 100.0),
        ],
    );
    if let (Some(cpu), Some(each)) = (window.cpu, window.cpu_per_message()) {
        report.set("cpu_seconds", cpu as f64 / 1e9);
        report.set("cpu_ns_per_message", each);
    }
    if let Some(process) = process {
        report.set("rss", process.memory()?.resident as f64);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(raw: bool) -> Echo {
        let traffic = Traffic {
            connections: 2,
            size: 64,
            pipeline: 3,
            binary: false,
            raw,
        };
        let mut echo = Echo::new(traffic);
        (0..2).for_each(|id| echo.begin(id, &mut Vec::new(), Time(0)));
        echo
    }

    fn receive(echo: &mut Echo, id: usize, bytes: &[u8]) {
        echo.received(id, bytes, &mut Vec::new(), Time(5));
    }

    #[test]
    fn payloads_differ_within_and_between_connections_even_when_short() {
        for size in [9, 10, 64] {
            let traffic = Traffic {
                size,
                ..echo(false).traffic
            };
            let lanes = [Lane::new(0, &traffic), Lane::new(1, &traffic)];
            let all: Vec<_> = lanes
                .iter()
                .flat_map(|lane| (0..4).map(|slot| lane.payload(slot)))
                .collect();
            assert!(all.iter().all(|payload| payload.len() == size));
            let different: std::collections::BTreeSet<_> = all.iter().collect();
            assert_eq!(different.len(), all.len(), "size {size}");
        }
    }

    #[test]
    fn a_true_echo_has_nothing_wrong_and_goes_on() {
        let mut echo = echo(false);
        echo.sending = true;
        let mut out = Vec::new();
        for count in 0..10 {
            let payload = echo.lanes[0].payload(count % 4).to_vec();
            echo.received(0, &payload, &mut out, Time(5));
        }
        assert_eq!((echo.wrong, echo.answered, echo.lanes[0].in_flight()), (0, 10, 3));
        assert_eq!(out.len(), 10 * (2 + 4 + 64));
    }

    #[test]
    fn replies_out_of_order_or_of_another_connection_are_wrong() {
        let mut echo = echo(false);
        let (second, foreign) = (echo.lanes[0].payload(1).to_vec(), echo.lanes[1].payload(1).to_vec());
        receive(&mut echo, 0, &second);
        assert_eq!(echo.wrong, 1, "the second before the first");
        receive(&mut echo, 0, &foreign);
        assert_eq!(echo.wrong, 2, "another connection's");
        receive(&mut echo, 0, b"");
        assert_eq!(echo.wrong, 3, "cut off");
        receive(&mut echo, 0, b"more");
        assert_eq!((echo.wrong, echo.answered), (4, 3), "a fourth reply was not requested");
    }

    #[test]
    fn messages_in_flight_are_lost_when_the_connection_ends() {
        let mut echo = echo(false);
        let first = echo.lanes[1].payload(0).to_vec();
        receive(&mut echo, 1, &first);
        echo.ended(1);
        assert_eq!(echo.lost, 2);
    }

    #[test]
    fn a_raw_stream_is_compared_in_pieces_of_any_size() {
        for piece in 1..=3 * (2 + 4 + 64) {
            let mut echo = echo(true);
            let three = [0, 1, 2].map(|slot| echo.lanes[0].frame(slot).to_vec()).concat();
            three.chunks(piece).for_each(|bytes| receive(&mut echo, 0, bytes));
            assert_eq!((echo.wrong, echo.answered, echo.lost), (0, 3, 0), "pieces of {piece}");
        }
        let mut echo = echo(true);
        let mut bad = echo.lanes[0].frame(0).to_vec();
        bad[40] ^= 1;
        receive(&mut echo, 0, &bad);
        assert_eq!((echo.wrong, echo.answered, echo.lost), (1, 0, 3));
    }
}
