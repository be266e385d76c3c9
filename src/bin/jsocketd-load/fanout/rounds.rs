//! Plays the rounds of the fanout scenario on each side in turns, and reports their figures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use super::{CHANNEL, Fanout, Pace, Plan, Side, data};
use crate::client::Greeting;
use crate::compare::median;
use crate::failure::Failure;
use crate::fleet::{Fleet, histogram};
use crate::process::{Memory, Process};
use crate::pusher::{self, App};
use crate::report::Report;

/// Handshakes in flight at once while the connections are opened.
const BURST: usize = 256;
/// Publishes before the measurement: caches are cold, and buffers have not grown.
const WARM_UP: usize = 3;
/// The time to wait for the end of a connection that the server closes right after an answer.
const SETTLE: Duration = Duration::from_millis(5);

/// The measurements of all rounds of one side.
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
        fleet.until(&mut fanout, "not every connection is subscribed", |fanout| {
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
            // A refused subscriber cannot receive. It shows in `refused`, and in `lost` at the end.
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
