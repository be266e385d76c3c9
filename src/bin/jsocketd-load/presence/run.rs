//! Plays the presence scenario with a fleet of connections, and reports the figures.

use std::time::Duration;

use super::{Plan, Presence, State};
use crate::client::Greeting;
use crate::failure::Failure;
use crate::fleet::{Fleet, histogram, random_mask};
use crate::process::Process;
use crate::pusher::App;
use crate::report::Report;
use crate::wire;

/// Handshakes in flight at once while the connections are opened.
const BURST: usize = 256;

/// Lets `id` say something.
fn say(fleet: &mut Fleet, presence: &mut Presence, id: usize, text: &str) {
    let mut out = Vec::new();
    wire::encode(wire::TEXT, text.as_bytes(), random_mask(), &mut out);
    fleet.send(id, &out, presence);
}

/// Runs the scenario.
pub fn run(plan: Plan, app: &App, fleet: &mut Fleet, process: Option<&Process>) -> Result<Report, Failure> {
    let people = plan.channels * plan.members;
    let mut presence = Presence::new(plan, app.clone());
    fleet.open(people, BURST, |_| Greeting::plain(), &mut presence)?;
    fleet.until(&mut presence, "not every person has a socket id", |presence| {
        presence.people.iter().all(|person| person.state != State::New)
    })?;
    for id in 0..people {
        presence.people[id].state = State::Joining;
        presence.people[id].since = fleet.now();
        let subscribe = presence.people[id].subscribe.clone();
        say(fleet, &mut presence, id, &subscribe);
    }
    fleet.until(&mut presence, "not every person is in its channel", |presence| {
        presence.inside == people
    })?;
    // The early persons still receive the joins of the later ones. These joins must arrive before the counting begins.
    fleet.wait(fleet.now() + Duration::from_millis(300), &mut presence)?;
    presence
        .people
        .iter_mut()
        .for_each(|person| (person.added, person.removed) = (0, 0));
    (presence.each, presence.joining, presence.received) = (histogram(), histogram(), 0);

    let (from, cpu) = (fleet.now(), process.map(Process::cpu_nanoseconds).transpose()?);
    let count = (plan.rate * plan.span.as_secs_f64()).ceil() as usize;
    for n in 0..count {
        fleet.wait(from + Duration::from_secs_f64(n as f64 / plan.rate), &mut presence)?;
        let now = fleet.now();
        if let Some((id, text)) = presence.next(now) {
            say(fleet, &mut presence, id, &text);
        }
    }
    let to = fleet.now();
    if fleet.until(&mut presence, "", Presence::is_settled).is_err() {
        for id in presence.mistaken().collect::<Vec<_>>() {
            presence.note_wrong(id, "its member list is not the truth in the end");
        }
    }
    let cpu_after = process.map(Process::cpu_nanoseconds).transpose()?;

    let Plan { channels, members, .. } = plan;
    let mut report = Report::new(format!(
        "presence: {channels} channels of {members}, {} a second come or go, {} watch in each",
        plan.rate, plan.watchers
    ));
    let seconds = to.since(from).as_secs_f64();
    report.set("connections", fleet.standing.opened as f64);
    report.set("seconds", seconds);
    report.set("refused", fleet.standing.refused as f64);
    report.set("lost", presence.missing() as f64);
    report.set("wrong", presence.wrong as f64);
    report.set("comings", presence.comings as f64);
    report.set("goings", presence.goings as f64);
    report.set("rate", (presence.comings + presence.goings) as f64 / seconds);
    report.percentiles(
        &presence.each,
        &[
            ("p50_ms", 50.0),
            ("p95_ms", 95.0),
            ("p99_ms", 99.0),
            ("slowest_ms", 100.0),
        ],
    );
    report.percentiles(&presence.joining, &[("join_p50_ms", 50.0), ("join_p99_ms", 99.0)]);
    if let Some((before, after)) = cpu.zip(cpu_after) {
        let cpu = after.saturating_sub(before) as f64;
        report.set("cpu_seconds", cpu / 1e9);
        report.set("cpu_ns_per_message", cpu / (presence.comings + presence.goings) as f64);
    }
    if let Some(what) = presence.first_wrong.as_ref().or(fleet.standing.first_reason.as_ref()) {
        report.note(format!("the first that went wrong: {what}"));
    }
    Ok(report)
}
