//! `jsocketd status`: asks a running server for its state and prints it. `--ready` only asks whether new clients may
//! come, which everybody may know.

use std::fmt::{Display, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use jsocketd::service::snapshot::{AppNumbers, Snapshot};
use jsocketd::service::{ClusterStats, Standing};

use super::admin::{Failure, REFUSED, Target, load, places, print};
use super::complain;
use super::http::{Answer, Server, is_harmful};
use super::units::{bytes, count, counted, micros, millis, rate, span};
use crate::cli::Status;

/// The width of the labels.
const LABEL: usize = 15;

/// Apps that are shown; those with the most connections.
const MOST_APPS: usize = 5;

/// Prints the state of a server. Returns the exit code of the process: see `jsocketd status --help`.
pub fn status(flags: &Status) -> ExitCode {
    let asked = match flags.ready {
        true => ready(flags),
        false => state(flags),
    };
    match asked.and_then(|(text, code)| print(&text).map(|()| code)) {
        Ok(code) => code.into(),
        Err(failure) => {
            complain(failure.why);
            failure.code.into()
        }
    }
}

/// Whether the server takes new clients: a line for people, and the exit code. Of several workers one is enough.
fn ready(flags: &Status) -> Result<(String, u8), Failure> {
    let loaded = load(flags.asked.config.clone())?;
    let (mut refused, mut failed) = (None, Vec::new());
    for (server, prefix) in places(&flags.asked, &loaded, true)? {
        match server.get(&format!("{prefix}/ready"), "") {
            Ok(answer) => match judge_ready(&server, &answer)? {
                (line, REFUSED) if loaded.config.server.workers > 1 => refused = Some((line, REFUSED)),
                judged => return Ok(judged),
            },
            Err(why) => failed.push(why),
        }
    }
    refused.ok_or_else(|| failed.join("\n").into())
}

fn judge_ready(server: &Server, answer: &Answer) -> Result<(String, u8), String> {
    let line = answer.sentence();
    match answer.status {
        200 if line == "ready" => Ok((format!("{line}\n"), 0)),
        503 => Ok((format!("{line}\n"), REFUSED)),
        status => Err(format!(
            "{server} answers {status} to /ready, not as jsocketd does: {line}"
        )),
    }
}

/// The state: a text for people or the server's own JSON, and the exit code. Of several workers each in its turn, as
/// JSON in a list; those without an answer are named on standard error.
///
/// # Errors
/// No worker has an answer.
fn state(flags: &Status) -> Result<(String, u8), Failure> {
    let targets = Target::all(&flags.asked, &load(flags.asked.config.clone())?)?;
    let (mut states, mut failures) = (Vec::new(), Vec::new());
    for (target, number) in targets.iter().zip(flags.asked.worker.unwrap_or(1)..) {
        match target.ask("/debug/status").and_then(|answer| target.state(&answer)) {
            Ok((snapshot, json)) => states.push((number, snapshot, json)),
            Err(failure) => failures.push((number, failure)),
        }
    }
    if states.is_empty() {
        return Err(failures.remove(0).1);
    }
    for (number, failure) in &failures {
        complain(format!("worker {number}: {}", failure.why));
    }
    let code = failures.iter().map(|(_, failure)| failure.code).max().unwrap_or(0);
    let text = match (flags.json, targets.len()) {
        (true, 1) => states.remove(0).2 + "\n",
        (true, _) => {
            let all: Vec<String> = states.into_iter().map(|(.., json)| json).collect();
            format!("[{}]\n", all.join(",\n"))
        }
        (false, 1) => describe(&states[0].1),
        (false, _) => {
            let all = states.iter().map(|(number, state, _)| {
                let text = describe(state);
                format!("{:<LABEL$} {number}\n{text}", "worker")
            });
            all.collect::<Vec<String>>().join("\n")
        }
    };
    Ok((text, code))
}

/// The state in aligned lines, of at most 80 columns as long as names and paths are short.
pub fn describe(snapshot: &Snapshot) -> String {
    let mut lines = Lines::default();
    let commit = snapshot
        .commit
        .as_ref()
        .map_or_else(String::new, |commit| format!(" (commit {commit})"));
    let uptime = span(Duration::from_secs(snapshot.uptime_s));
    lines.add(
        "jsocketd",
        format!("{}{commit}, process {}, up {uptime}", snapshot.version, snapshot.pid),
    );
    match &snapshot.config_file {
        Some(file) => lines.add("configuration", file.display()),
        None => lines.add("configuration", "no file"),
    }
    lines.add(
        "state",
        if snapshot.draining {
            "draining: no new clients"
        } else {
            "ready"
        },
    );
    let open = &snapshot.connections;
    lines.add("connections", of(open.total as u64, open.max as u64));
    for (kind, number) in open.kinds() {
        lines.add(&format!("  {kind}"), count(number as u64));
    }
    add_apps(&mut lines, &snapshot.apps);
    let traffic = &snapshot.traffic;
    let each = |total, per_second| format!("{}, {}", count(total), rate(per_second));
    lines.add("messages in", each(traffic.messages_in, traffic.per_second.messages_in));
    lines.add(
        "messages out",
        each(traffic.messages_out, traffic.per_second.messages_out),
    );
    lines.add("requests", each(traffic.requests, traffic.per_second.requests));
    let sizes = |total, per_second: f64| format!("{}, {} a second", bytes(total), bytes(per_second.round() as u64));
    lines.add("bytes in", sizes(traffic.bytes_in, traffic.per_second.bytes_in));
    lines.add("bytes out", sizes(traffic.bytes_out, traffic.per_second.bytes_out));
    lines.add("memory", bytes(snapshot.resident_bytes));
    lines.add("descriptors", of(snapshot.descriptors, snapshot.descriptor_limit));
    add_loop(&mut lines, snapshot);
    add_site(&mut lines, snapshot);
    let hooks = &snapshot.webhooks;
    lines.add(
        "webhooks",
        format!(
            "{} waiting, {} delivered, {} failed, {} dropped",
            count(hooks.waiting as u64),
            count(hooks.delivered),
            count(hooks.failed),
            count(hooks.dropped)
        ),
    );
    if let Some(cluster) = &snapshot.cluster {
        add_cluster(&mut lines, cluster);
    }
    lines.0
}

fn add_apps(lines: &mut Lines, apps: &[AppNumbers]) {
    let mut apps: Vec<&AppNumbers> = apps.iter().collect();
    apps.sort_by_key(|app| std::cmp::Reverse(app.load.connections));
    for app in apps.iter().take(MOST_APPS) {
        let load = &app.load;
        let off = if app.enabled { "" } else { "disabled, " };
        lines.add(
            &format!("app {}", app.id),
            format!(
                "{off}{}, {}",
                counted(load.connections as u64, "connection", "connections"),
                counted(load.channels as u64, "channel", "channels")
            ),
        );
        lines.add(
            "",
            format!(
                "{} ({}), {}, {}",
                counted(load.subscriptions as u64, "subscription", "subscriptions"),
                bytes(load.subscription_bytes as u64),
                counted(load.members as u64, "member", "members"),
                counted(load.users as u64, "user", "users")
            ),
        );
    }
    let more = apps.len().saturating_sub(MOST_APPS);
    if more > 0 {
        lines.add("", format!("and {}", counted(more as u64, "more app", "more apps")));
    }
}

fn add_loop(lines: &mut Lines, snapshot: &Snapshot) {
    let lag = &snapshot.lag;
    lines.add("loop", counted(lag.ticks, "tick", "ticks"));
    let [half, most, longest] = [lag.p50_us, lag.p99_us, lag.max_us].map(|us| micros(us.into()));
    lines.add(
        "",
        format!(
            "the last {}: half within {half}, 99 % within {most}",
            count(lag.sample as u64)
        ),
    );
    lines.add("", format!("the longest of them {longest}"));
}

fn add_site(lines: &mut Lines, snapshot: &Snapshot) {
    if let Some(site) = &snapshot.site {
        let version = site.joomla.as_deref().unwrap_or("of an unknown version");
        let (sessions, users) = (site.sessions as u64, site.users as u64);
        let state = match (site.enabled, site.offline) {
            (false, _) => ", switched off",
            (true, true) => ", offline",
            (true, false) => "",
        };
        lines.add(
            "site",
            format!(
                "Joomla {version}{state}, {}, {}",
                counted(sessions, "session", "sessions"),
                counted(users, "user", "users")
            ),
        );
    }
    if let Some(sql) = &snapshot.database {
        let state = match (sql.available, sql.retry_ms) {
            (true, _) => "available".to_owned(),
            (false, 0) => "not available".to_owned(),
            (false, ms) => format!("not available, tried again in {}", millis(ms)),
        };
        lines.add("database", state);
        lines.add(
            "",
            format!(
                "{} took {}, at most {} in one tick",
                counted(sql.statements, "statement", "statements"),
                micros(sql.total_us),
                micros(sql.worst_us)
            ),
        );
    }
    if let Some(outbox) = &snapshot.outbox {
        let position = outbox.position.as_deref().unwrap_or("unknown");
        let counters = &outbox.counters;
        let state = if outbox.available { "is read" } else { "is not read" };
        lines.add("outbox table", format!("{state}, position {position}"));
        lines.add(
            "",
            format!(
                "{} behind, {} late, {}",
                counted(counters.behind, "row", "rows"),
                millis(counters.late_ms),
                match counters.unstamped {
                    true => "rows wait for a number",
                    false => "every row has a number",
                }
            ),
        );
    }
}

fn add_cluster(lines: &mut Lines, cluster: &ClusterStats) {
    let hooks = if cluster.leads { ", sends the webhooks" } else { "" };
    let processes = counted(cluster.processes as u64, "process", "processes");
    lines.add(
        "cluster",
        match cluster.standing {
            Standing::Joining => "has not met the others yet".to_owned(),
            Standing::Together => format!("{processes}{hooks}"),
            Standing::Isolated => format!("ISOLATED for {}", span(Duration::from_millis(cluster.isolated_ms))),
        },
    );
    if let Some(why) = &cluster.why {
        lines.add("", format!("the engine {why}"));
    }
    lines.add(
        "",
        format!(
            "{} waiting ({}), {} late, log of {}",
            counted(cluster.waiting_entries as u64, "entry", "entries"),
            bytes(cluster.waiting_bytes as u64),
            micros(cluster.lag_us),
            bytes(cluster.log_bytes as u64)
        ),
    );
}

/// A number and its limit.
fn of(number: u64, limit: u64) -> String {
    match limit {
        u64::MAX => format!("{}, no limit", count(number)),
        limit => format!("{} of {}", count(number), count(limit)),
    }
}

/// Lines of a label and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, label: &str, value: impl Display) {
        // Names and versions are from outside.
        let line = format!("{label:<LABEL$} {value}").replace(is_harmful, "?");
        let _ = writeln!(self.0, "{}", line.trim_end());
    }
}
