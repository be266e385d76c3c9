//! The fanout scenario: many subscribe to one channel, one publishes, and everybody must hear every event once and in
//! order. Others may play in turns with the server: another server of the Pusher protocol, or a bare one that sends
//! what is posted to it to everybody who is connected.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use jsocketd::time::Time;

use crate::client::{Greeting, Script};
use crate::compare::median;
use crate::failure::Failure;
use crate::fleet::{Fleet, histogram, random_mask};
use crate::process::{Memory, Process};
use crate::pusher::{self, App, Frame};
use crate::report::Report;
use crate::target::Target;
use crate::wire;

/// The channel that everybody subscribes to.
pub const CHANNEL: &str = "load";
/// Handshakes in flight at once while the connections are opened.
const BURST: usize = 256;
/// Publishes before the measurement: caches are cold, and buffers have not grown.
const WARM_UP: usize = 3;
/// The digits of an event's number, with which its data begins.
pub const DIGITS: usize = 10;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub connections: usize,
    /// Bytes of an event's data.
    pub size: usize,
    pub pace: Pace,
    pub rounds: usize,
}

/// How fast is published.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second, for so long.
    Rate(f64, Duration),
    /// So many at once.
    Burst(usize),
}

impl Pace {
    fn publishes(self) -> usize {
        match self {
            Pace::Rate(rate, span) => (rate * span.as_secs_f64()).ceil() as usize,
            Pace::Burst(count) => count,
        }
    }
}

/// One of the servers.
pub struct Side<'a> {
    pub name: &'a str,
    pub target: &'a Target,
    pub process: Option<&'a Process>,
    /// It knows nothing of the Pusher protocol: whoever is connected gets what is posted.
    pub bare: bool,
}

/// One round on one side: the subscribers and what they heard.
struct Fanout {
    bare: bool,
    lanes: Vec<Lane>,
    subscribed: usize,
    events: Vec<Event>,
    /// Events that everybody has heard.
    complete: usize,
    answered: usize,
    deliveries: u64,
    /// When the last delivery came.
    last_delivery: Time,
    /// Microseconds from the request to each delivery, and to the last one.
    each: Histogram<u64>,
    last: Histogram<u64>,
    wrong: u64,
    lost: u64,
    first_wrong: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    subscribed: bool,
    /// The number of the event that must come next.
    next: usize,
}

/// Something that was published.
struct Event {
    data: String,
    sent: Time,
    /// The frame as the first subscriber got it, once its content was checked; the others' is compared byte by byte.
    frame: Vec<u8>,
    heard: usize,
}

impl Fanout {
    fn new(connections: usize, bare: bool) -> Self {
        Self {
            bare,
            lanes: vec![Lane::default(); connections],
            subscribed: 0,
            events: Vec::new(),
            complete: 0,
            answered: 0,
            deliveries: 0,
            last_delivery: Time(0),
            each: histogram(),
            last: histogram(),
            wrong: 0,
            lost: 0,
            first_wrong: None,
        }
    }

    /// Takes note that an event is published now.
    fn published(&mut self, data: String, now: Time) {
        self.events.push(Event {
            data,
            sent: now,
            frame: Vec::new(),
            heard: 0,
        });
    }

    fn is_settled(&self) -> bool {
        self.complete == self.events.len() && self.answered == self.events.len()
    }

    /// Forgets the figures, not the order of events.
    fn reset(&mut self) {
        self.deliveries = 0;
        self.each.reset();
        self.last.reset();
    }

    fn note_wrong(&mut self, id: usize, what: &str, bytes: &[u8]) {
        self.wrong += 1;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        self.first_wrong
            .get_or_insert_with(|| format!("connection {id}: {what}: {shown}"));
    }

    /// The greeting of the server and the answer to the subscription.
    fn greeted(&mut self, id: usize, bytes: &[u8]) {
        match Frame::read(bytes) {
            Some(frame) if frame.is_succeeded(CHANNEL) => {
                self.lanes[id].subscribed = true;
                self.subscribed += 1;
            }
            Some(frame) if frame.socket_id().is_some() => {}
            _ => self.note_wrong(id, "instead of subscription_succeeded came", bytes),
        }
    }

    /// A frame that is not, byte for byte, the one that must come next: the first of its kind, or one too early or too
    /// late.
    fn examine(&mut self, id: usize, bytes: &[u8], now: Time) {
        let Some(frame) = Frame::read(bytes) else {
            return self.note_wrong(id, "this is no frame", bytes);
        };
        if frame.is_upkeep() {
            return;
        }
        let data = frame.data().unwrap_or_default();
        let number = data.get(..DIGITS).and_then(|digits| digits.parse::<usize>().ok());
        let next = self.lanes[id].next;
        let whole = frame.event == pusher::EVENT
            && frame.channel.as_deref() == Some(CHANNEL)
            && number
                .and_then(|number| self.events.get(number))
                .is_some_and(|event| event.data == data);
        match number {
            Some(number) if whole && number >= next => {
                // What was jumped over cannot come any more without being wrong.
                self.lost += (number - next) as u64;
                self.events[number].frame = bytes.to_vec();
                self.lanes[id].next = number;
                self.deliver(id, now);
            }
            Some(_) if whole => self.note_wrong(id, "an event came twice or out of order", bytes),
            _ => self.note_wrong(id, "nobody published this", bytes),
        }
    }

    fn deliver(&mut self, id: usize, now: Time) {
        let lane = &mut self.lanes[id];
        let event = &mut self.events[lane.next];
        lane.next += 1;
        event.heard += 1;
        let micros = now.since(event.sent).as_micros() as u64;
        let _ = self.each.record(micros);
        if event.heard == self.lanes.len() {
            let _ = self.last.record(micros);
            self.complete += 1;
        }
        self.deliveries += 1;
        self.last_delivery = now;
    }

    /// Counts what will not come any more.
    fn give_up(&mut self) {
        let all = self.events.len();
        self.lost += self.lanes.iter().map(|lane| (all - lane.next) as u64).sum::<u64>();
        self.lost += (all - self.answered) as u64;
    }
}

/// A moment in which the end of a connection is heard of that came right behind an answer.
const SETTLE: Duration = Duration::from_millis(5);

impl Script for Fanout {
    fn upgraded(&mut self, id: usize, out: &mut Vec<u8>) {
        match self.lanes.get_mut(id) {
            None => {} // the publisher
            Some(lane) if self.bare => {
                lane.subscribed = true;
                self.subscribed += 1;
            }
            Some(_) => wire::encode(wire::TEXT, pusher::subscribe(CHANNEL).as_bytes(), random_mask(), out),
        }
    }

    fn received(&mut self, id: usize, bytes: &[u8], _: &mut Vec<u8>, now: Time) {
        let lane = self.lanes[id];
        if !lane.subscribed {
            return self.greeted(id, bytes);
        }
        match self.events.get(lane.next) {
            Some(event) if event.frame == bytes => self.deliver(id, now),
            _ => self.examine(id, bytes, now),
        }
    }

    fn answered(&mut self, id: usize, status: u16, body: &[u8], _: &mut Vec<u8>, _: Time) {
        self.answered += 1;
        if status != 200 {
            self.note_wrong(id, &format!("a publish was answered with {status}"), body);
        }
    }
}

/// What the rounds of one side came to.
struct Outcome {
    rates: Vec<f64>,
    cpu: Vec<f64>,
    each: Histogram<u64>,
    last: Histogram<u64>,
    /// Before the first connection and with all of them, in the first round.
    memory: Option<(Memory, Memory)>,
    deliveries: u64,
    refused: usize,
    lost: u64,
    wrong: u64,
    first_wrong: Option<String>,
}

impl Outcome {
    fn new() -> Self {
        Self {
            rates: Vec::new(),
            cpu: Vec::new(),
            each: histogram(),
            last: histogram(),
            memory: None,
            deliveries: 0,
            refused: 0,
            lost: 0,
            wrong: 0,
            first_wrong: None,
        }
    }

    fn play(&mut self, side: &Side, plan: &Plan, app: &App, patience: Duration) -> Result<(), Failure> {
        let path = if side.bare { "/".to_owned() } else { app.path() };
        let mut fleet = Fleet::new(side.target, &path, plan.connections + 1, patience)?;
        let mut fanout = Fanout::new(plan.connections, side.bare);
        let empty = side.process.map(Process::memory).transpose()?;
        fleet.open(plan.connections, BURST, |_| Greeting::plain(), &mut fanout)?;
        let here = fleet.live();
        fleet.until(&mut fanout, "not everybody is subscribed", |fanout| {
            fanout.subscribed >= here
        })?;
        // Some servers end the publisher's connection after every answer.
        let mut publisher = fleet.reopen(plan.connections, &mut fanout)?;
        if let (None, Some(empty), Some(process)) = (self.memory, empty, side.process) {
            self.memory = Some((empty, process.memory()?));
        }

        let count = plan.pace.publishes();
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let prepared: Vec<_> = (0..WARM_UP + count)
            .map(|number| {
                let data = data(number, plan.size);
                let request = match side.bare {
                    true => pusher::post(&fleet.host(), "/", &pusher::event(CHANNEL, &data)),
                    false => app.publish(&fleet.host(), CHANNEL, &data, unix),
                };
                (data, request)
            })
            .collect();
        let (warm_up, measured) = prepared.split_at(WARM_UP);
        for (data, request) in warm_up {
            publisher = fleet.reopen(publisher, &mut fanout)?;
            fanout.published(data.clone(), fleet.now());
            fleet.send(publisher, request, &mut fanout);
            // Who was refused cannot hear: that is told by `refused`, and by what is lost in the end.
            if fleet.until(&mut fanout, "", Fanout::is_settled).is_err() {
                break;
            }
            fleet.wait(fleet.now() + SETTLE, &mut fanout)?;
        }

        fanout.reset();
        let (from, cpu) = (fleet.now(), side.process.map(Process::cpu_nanoseconds).transpose()?);
        match plan.pace {
            Pace::Rate(rate, _) => {
                for (n, (data, request)) in measured.iter().enumerate() {
                    fleet.wait(from + Duration::from_secs_f64(n as f64 / rate), &mut fanout)?;
                    publisher = fleet.reopen(publisher, &mut fanout)?;
                    fanout.published(data.clone(), fleet.now());
                    fleet.send(publisher, request, &mut fanout);
                }
            }
            Pace::Burst(_) => {
                for (data, _) in measured {
                    fanout.published(data.clone(), from);
                }
                let requests = measured.iter().flat_map(|(_, request)| request);
                fleet.send(publisher, &requests.copied().collect::<Vec<u8>>(), &mut fanout);
            }
        }
        if fleet.until(&mut fanout, "", Fanout::is_settled).is_err() {
            fanout.give_up();
        }
        let cpu_after = side.process.map(Process::cpu_nanoseconds).transpose()?;
        if fanout.deliveries == 0 {
            return Err(fleet.stalled("not one event was delivered"));
        }

        let seconds = fanout.last_delivery.since(from).as_secs_f64();
        self.rates.push(fanout.deliveries as f64 / seconds);
        let cpu = cpu_after.zip(cpu).map(|(after, before)| after.saturating_sub(before));
        self.cpu.extend(cpu.map(|cpu| cpu as f64 / fanout.deliveries as f64));
        // The histograms have the same bounds, so they can be added.
        let _ = self.each.add(&fanout.each);
        let _ = self.last.add(&fanout.last);
        self.deliveries += fanout.deliveries;
        self.refused += fleet.standing.refused;
        self.lost += fanout.lost;
        self.wrong += fanout.wrong;
        if self.first_wrong.is_none() {
            self.first_wrong = fanout.first_wrong.or(fleet.standing.first_reason);
        }
        Ok(())
    }

    fn each_connection(&self, connections: usize, of: impl Fn(&Memory) -> u64) -> Option<f64> {
        let (before, after) = self.memory.as_ref()?;
        Some((of(after) as f64 - of(before) as f64) / connections as f64)
    }
}

/// The data of an event: its number and a filling.
fn data(number: usize, size: usize) -> String {
    let mut data = format!("{number:0DIGITS$}");
    data.extend((DIGITS..size).map(|at| char::from(b'a' + ((at + number) % 26) as u8)));
    data
}

/// Runs the scenario, on all sides in turns; the first one is the server.
pub fn run(sides: &[Side], plan: &Plan, app: &App, patience: Duration) -> Result<Report, Failure> {
    let mut outcomes: Vec<_> = sides.iter().map(|_| Outcome::new()).collect();
    for _ in 0..plan.rounds {
        for (outcome, side) in outcomes.iter_mut().zip(sides) {
            outcome.play(side, plan, app, patience)?;
        }
    }
    let Plan {
        connections,
        size,
        pace,
        rounds,
    } = plan;
    let pace = match pace {
        Pace::Rate(rate, span) => format!("{rate} publishes a second for {:.1} s", span.as_secs_f64()),
        Pace::Burst(count) => format!("{count} publishes at once"),
    };
    let mut report = Report::new(format!(
        "fanout: {connections} subscribers, {size} bytes of data, {pace}; medians of {rounds} rounds"
    ));
    report.set("connections", *connections as f64);
    for (side, outcome) in sides.iter().zip(&outcomes) {
        if let Some(what) = &outcome.first_wrong {
            report.note(format!("{}: the first that went wrong: {what}", side.name));
        }
    }
    report.set("refused", outcomes.iter().map(|it| it.refused).sum::<usize>() as f64);
    report.set("lost", outcomes.iter().map(|it| it.lost).sum::<u64>() as f64);
    report.set("wrong", outcomes.iter().map(|it| it.wrong).sum::<u64>() as f64);
    let figures: Vec<_> = outcomes.iter_mut().map(|it| figures(it, *connections)).collect();
    let [ours, others @ ..] = figures.as_slice() else {
        return Err(Failure::Usage("there is no server".into()));
    };
    report.set("deliveries", outcomes[0].deliveries as f64);
    for (name, value) in ours {
        report.set(name, *value);
    }
    if let Some(other) = others.first() {
        for (name, against, ratio) in [
            ("rate", "against_rate", "rate_ratio"),
            ("cpu_ns_per_delivery", "against_cpu_ns_per_delivery", "cpu_ratio"),
            ("p99_ms", "against_p99_ms", "p99_ratio"),
        ] {
            if let (Some(our), Some(their)) = (find(ours, name), find(other, name)) {
                report.set(against, their);
                report.set(ratio, our / their);
            }
        }
    }
    if !others.is_empty() {
        table(&mut report, sides, &figures);
    }
    Ok(report)
}

type Figures = Vec<(&'static str, f64)>;

fn find(figures: &Figures, name: &str) -> Option<f64> {
    figures
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// The figures of one side.
fn figures(outcome: &mut Outcome, connections: usize) -> Figures {
    let millis = |histogram: &Histogram<u64>, percentile| histogram.value_at_percentile(percentile) as f64 / 1000.0;
    let mut figures = vec![
        ("rate", median(&mut outcome.rates)),
        ("p50_ms", millis(&outcome.each, 50.0)),
        ("p99_ms", millis(&outcome.each, 99.0)),
        ("slowest_ms", millis(&outcome.each, 100.0)),
        ("last_p50_ms", millis(&outcome.last, 50.0)),
        ("last_p99_ms", millis(&outcome.last, 99.0)),
        ("last_slowest_ms", millis(&outcome.last, 100.0)),
    ];
    if !outcome.cpu.is_empty() {
        figures.push(("cpu_ns_per_delivery", median(&mut outcome.cpu)));
    }
    let memory = [
        (
            "rss_per_connection",
            outcome.each_connection(connections, |memory| memory.resident),
        ),
        (
            "dirty_per_connection",
            outcome.each_connection(connections, |memory| memory.private_dirty),
        ),
    ];
    figures.extend(memory.into_iter().filter_map(|(name, value)| Some((name, value?))));
    figures
}

/// Puts the sides beside each other, each with its proportion to the server.
fn table(report: &mut Report, sides: &[Side], figures: &[Figures]) {
    let names = sides.iter().map(|side| side.name.to_owned());
    let mut rows = vec![std::iter::once(String::new()).chain(names).collect::<Vec<_>>()];
    for (name, ours) in &figures[0] {
        let mut row = vec![Report::label(name).to_owned(), Report::shown(name, *ours)];
        for other in &figures[1..] {
            row.push(match find(other, name) {
                Some(value) => format!("{} ({:.2}×)", Report::shown(name, value), value / ours),
                None => "–".into(),
            });
        }
        rows.push(row);
    }
    report.table(rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fan-out to two subscribers with `published` events on the way.
    fn fanout(published: usize) -> Fanout {
        let mut fanout = Fanout::new(2, false);
        for id in 0..2 {
            hear(
                &mut fanout,
                id,
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#,
            );
            hear(
                &mut fanout,
                id,
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"load","data":"{}"}"#,
            );
        }
        (0..published).for_each(|number| fanout.published(data(number, 30), Time(0)));
        fanout
    }

    fn hear(fanout: &mut Fanout, id: usize, text: &str) {
        fanout.received(id, text.as_bytes(), &mut Vec::new(), Time(5));
    }

    fn frame(number: usize) -> String {
        pusher::event(CHANNEL, &data(number, 30))
    }

    #[test]
    fn everything_once_and_in_order_is_right() {
        let mut fanout = fanout(3);
        assert_eq!(fanout.subscribed, 2);
        for id in 0..2 {
            (0..3).for_each(|number| hear(&mut fanout, id, &frame(number)));
            hear(&mut fanout, id, r#"{"event":"pusher:ping","data":"{}"}"#);
        }
        fanout.answered = 3;
        assert!(fanout.is_settled());
        assert_eq!((fanout.deliveries, fanout.wrong, fanout.lost), (6, 0, 0));
        assert_eq!((fanout.each.len(), fanout.last.len()), (6, 3));
    }

    #[test]
    fn another_order_of_the_fields_is_the_same_event() {
        let mut fanout = fanout(1);
        hear(&mut fanout, 0, &frame(0));
        let other = format!(r#"{{"data":"{}","channel":"load","event":"load"}}"#, data(0, 30));
        hear(&mut fanout, 1, &other);
        assert_eq!((fanout.deliveries, fanout.wrong), (2, 0));
    }

    #[test]
    fn what_is_jumped_over_is_lost_and_what_comes_again_is_wrong() {
        let mut fanout = fanout(3);
        hear(&mut fanout, 0, &frame(1));
        assert_eq!((fanout.lost, fanout.wrong), (1, 0));
        hear(&mut fanout, 0, &frame(0));
        hear(&mut fanout, 0, &frame(1));
        assert_eq!((fanout.lost, fanout.wrong), (1, 2));
        fanout.answered = 3;
        fanout.give_up();
        assert_eq!(
            fanout.lost,
            1 + 1 + 3,
            "the jumped one, the third, and all of the other subscriber's"
        );
    }

    #[test]
    fn what_nobody_published_is_wrong() {
        let mut fanout = fanout(1);
        for text in [
            &frame(1),
            "{}",
            "no",
            &frame(0).replace("\"load\"", "\"x\""),
            &frame(0).replace("k", "l"),
        ] {
            let before = fanout.wrong;
            hear(&mut fanout, 0, text);
            assert_eq!(fanout.wrong, before + 1, "{text}");
        }
        assert_eq!(fanout.deliveries, 0);
        fanout.answered(2, 401, b"no", &mut Vec::new(), Time(5));
        assert_eq!(fanout.wrong, 6);
    }
}
