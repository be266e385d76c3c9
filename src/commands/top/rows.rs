//! The upper part of the screen of `top`: a row for each part of the server.

use std::cmp::Reverse;

use jsocketd::flight::{Counts, PHASES};
use jsocketd::service::snapshot::{AppNumbers, OutboxNumbers, SiteNumbers, Snapshot};
use jsocketd::service::{ClusterStats, Sql, Standing, Statement};

use super::line::{Line, Look};
use super::view::View;
use crate::commands::units::{bytes, count, counted, micros, millis};

/// The width of the labels.
const LABEL: usize = 13;

/// The part of a limit from which on a number is near it.
const NEAR: f64 = 0.8;

/// The rows, at most as wide as the screen.
pub fn of(view: &View, columns: usize) -> Vec<Line> {
    let snapshot = &view.snapshot;
    let mut lines = Vec::from(clients(snapshot, columns));
    lines.extend(rates(view, columns));
    let mut row = Row::new("memory", columns);
    row.add(bytes(snapshot.resident_bytes));
    row.limited("descriptors ", snapshot.descriptors, snapshot.descriptor_limit);
    lines.push(row.line);
    lines.push(send_queues(snapshot, columns));
    lines.extend(snapshot.site.as_ref().map(|numbers| site(numbers, columns)));
    lines.extend(snapshot.database.as_ref().map(|sql| database(sql, columns)));
    lines.extend(statements(&snapshot.statements, columns));
    lines.extend(snapshot.outbox.as_ref().map(|numbers| outbox(numbers, columns)));
    lines.push(webhooks(snapshot, columns));
    lines.extend(snapshot.cluster.as_ref().map(|numbers| cluster(numbers, columns)));
    lines.extend(of_loop(view, columns));
    lines
}

/// A line of a label and parts, which are left out at its end as far as there is no room.
struct Row {
    line: Line,
    columns: usize,
    is_full: bool,
    /// The text between the last part and the next.
    comma: &'static str,
}

impl Row {
    fn new(label: &str, columns: usize) -> Self {
        Self {
            line: Line::of(Look::Strong, format!("{label:<LABEL$}")),
            columns,
            is_full: false,
            comma: "",
        }
    }

    fn add(&mut self, part: impl Into<String>) {
        self.look(Look::Plain, part.into());
    }

    fn look(&mut self, look: Look, part: String) {
        let line = self.line.clone().and(Look::Plain, self.comma).and(look, &part);
        self.is_full |= line.width() > self.columns;
        if !self.is_full {
            self.comma = ", ";
            self.line = line;
        }
    }

    /// A number and its limit, with the word for it.
    fn limited(&mut self, word: &str, number: u64, limit: u64) {
        match limit {
            u64::MAX => self.add(format!("{word}{}", count(number))),
            limit if number as f64 > limit as f64 * NEAR => {
                let near = format!("{word}{} of {}: NEAR THE LIMIT", count(number), count(limit));
                self.look(Look::Warning, near);
            }
            limit => self.add(format!("{word}{} of {}", count(number), count(limit))),
        }
    }
}

/// The connections by kind, and what they hold.
fn clients(snapshot: &Snapshot, columns: usize) -> [Line; 2] {
    let open = &snapshot.connections;
    let mut row = Row::new("connections", columns);
    row.limited("", open.total as u64, open.max as u64);
    for (kind, number) in open.kinds() {
        row.add(format!("{kind} {}", count(number as u64)));
    }
    let sum = |part: fn(&AppNumbers) -> usize| snapshot.apps.iter().map(part).fold(0, usize::saturating_add) as u64;
    let mut apps = Row::new("apps", columns);
    apps.add(counted(snapshot.apps.len() as u64, "app", "apps"));
    apps.add(counted(sum(|app| app.load.channels), "channel", "channels"));
    apps.add(counted(
        sum(|app| app.load.subscriptions),
        "subscription",
        "subscriptions",
    ));
    apps.add(counted(sum(|app| app.load.members), "member", "members"));
    apps.add(counted(sum(|app| app.load.users), "user", "users"));
    [row.line, apps.line]
}

/// The lines of the rates, each a second.
fn rates(view: &View, columns: usize) -> [Line; 2] {
    let each = view.snapshot.traffic.per_second;
    let mut row = Row::new("each second", columns);
    row.add(format!("messages in {}", rate(each.messages_in)));
    row.add(format!("out {}", rate(each.messages_out)));
    row.add(format!("requests {}", rate(each.requests)));
    let ticks = |part: fn(&Counts) -> u32| rate(view.per_second(part));
    row.add(format!("accepts {}", ticks(|counts| counts.accepts)));
    row.add(format!("closes {}", ticks(|counts| counts.closes)));
    let mut more = Row::new("", columns);
    let amount = |number: f64| bytes(number.round() as u64);
    more.add(format!("bytes in {}", amount(each.bytes_in)));
    more.add(format!("out {}", amount(each.bytes_out)));
    more.add(format!("statements {}", ticks(|counts| counts.statements)));
    more.add(format!("rows {}", ticks(|counts| counts.rows)));
    [row.line, more.line]
}

/// The bytes that wait in send queues, and the slow consumers.
fn send_queues(snapshot: &Snapshot, columns: usize) -> Line {
    let queues = &snapshot.send_queues;
    let mut row = Row::new("send queues", columns);
    let (waiting, size) = (count(queues.waiting as u64), bytes(queues.bytes as u64));
    row.add(format!("{waiting} waiting ({size})"));
    let slow = counted(queues.slow as u64, "slow consumer", "slow consumers");
    match queues.slow {
        0 => row.add(slow),
        _ => row.look(Look::Warning, slow.to_uppercase()),
    }
    let closed = snapshot.ends.reasons.get("slow").copied().unwrap_or_default();
    row.add(format!("{} closed as slow", count(closed)));
    row.add(format!("largest {}", bytes(queues.largest as u64)));
    row.line
}

fn site(site: &SiteNumbers, columns: usize) -> Line {
    let mut row = Row::new("site", columns);
    row.add(format!(
        "Joomla {}",
        site.joomla.as_deref().unwrap_or("of an unknown version")
    ));
    match (site.enabled, site.offline) {
        (false, _) => row.look(Look::Warning, "SWITCHED OFF".into()),
        (true, true) => row.look(Look::Warning, "OFFLINE".into()),
        (true, false) => {}
    }
    row.add(counted(site.sessions as u64, "session", "sessions"));
    row.add(counted(site.users as u64, "user", "users"));
    row.line
}

fn database(sql: &Sql, columns: usize) -> Line {
    let mut row = Row::new("database", columns);
    match (sql.available, sql.retry_ms) {
        (true, _) => row.add("available"),
        (false, 0) => row.look(Look::Bad, "NOT AVAILABLE".into()),
        (false, ms) => row.look(Look::Bad, format!("NOT AVAILABLE, tried again in {}", millis(ms))),
    }
    row.add(counted(sql.statements, "statement", "statements"));
    row.add(format!("at most {} a tick", micros(sql.worst_us)));
    row.add(format!("{} over budget", count(sql.overruns)));
    row.line
}

/// The statements that took the most time since the start.
fn statements(statements: &[Statement], columns: usize) -> Option<Line> {
    let mut statements: Vec<&Statement> = statements.iter().collect();
    statements.sort_by_key(|statement| Reverse(statement.times.sum_us));
    let mut row = Row::new("statements", columns);
    for Statement { name, errors, times } in &statements {
        let took = format!("{name} {} in {}", count(times.count()), micros(times.sum_us));
        match errors {
            0 => row.add(took),
            errors => row.look(Look::Warning, format!("{took} ({} FAILED)", count(*errors))),
        }
    }
    (!statements.is_empty()).then_some(row.line)
}

fn outbox(outbox: &OutboxNumbers, columns: usize) -> Line {
    let counters = &outbox.counters;
    let mut row = Row::new("outbox", columns);
    match outbox.available {
        true => row.add("is read"),
        false => row.look(Look::Bad, "IS NOT READ".into()),
    }
    row.add(format!("{} behind", counted(counters.behind, "row", "rows")));
    row.add(format!("{} late", millis(counters.late_ms)));
    if counters.locked_ms > 0 {
        row.look(Look::Warning, format!("LOCKED FOR {}", millis(counters.locked_ms)));
    }
    row.add(format!("{} passed on", count(counters.rows)));
    row.add(format!("{} bad", count(counters.bad)));
    row.line
}

fn webhooks(snapshot: &Snapshot, columns: usize) -> Line {
    let hooks = &snapshot.webhooks;
    let mut row = Row::new("webhooks", columns);
    row.add(format!("{} waiting", count(hooks.waiting as u64)));
    row.add(format!("{} delivered", count(hooks.delivered)));
    row.add(format!("{} failed", count(hooks.failed)));
    row.add(format!("{} dropped", count(hooks.dropped)));
    row.line
}

fn cluster(cluster: &ClusterStats, columns: usize) -> Line {
    let mut row = Row::new("cluster", columns);
    match cluster.standing {
        Standing::Joining => row.look(Look::Warning, "NOT JOINED YET".into()),
        Standing::Together => row.add(counted(cluster.processes as u64, "process", "processes")),
        Standing::Isolated => row.look(Look::Bad, format!("ISOLATED FOR {}", millis(cluster.isolated_ms))),
    }
    if cluster.leads {
        row.add("leads");
    }
    row.add(format!("{} late", micros(cluster.lag_us)));
    row.add(format!("{} waiting", count(cluster.waiting_entries as u64)));
    row.add(format!("{} read", counted(cluster.batches_read, "batch", "batches")));
    row.add(format!("isolated {}", counted(cluster.isolations, "time", "times")));
    row.add(format!("log {}", bytes(cluster.log_bytes as u64)));
    row.line
}

/// How busy the loop is, and where its time went.
fn of_loop(view: &View, columns: usize) -> Vec<Line> {
    let report = &view.report;
    let mut row = Row::new("loop", columns);
    row.add(format!("busy {}", percent(view.busy())));
    let [half, most, longest] = [report.p50_us, report.p99_us, report.max_us].map(|us| micros(us.into()));
    row.add(format!("tick p50 {half}"));
    row.add(format!("p99 {most}"));
    row.add(format!("max {longest}"));
    row.add(format!("{} slow", count(report.slow_ticks)));
    row.add(format!("{} since the start", count(report.ticks)));
    let mut lines = vec![row.line];

    // The seconds that had a tick, the newest at the right.
    let seconds = view.snapshot.lag.worst_by_second_us.iter();
    let mut longest = Row::new("longest tick", columns).line;
    for us in seconds.take(columns.saturating_sub(LABEL)).rev() {
        let is_slow = u64::from(*us) >= report.slow_ms.saturating_mul(1000);
        longest = longest.and(if is_slow { Look::Warning } else { Look::Plain }, height(*us));
    }
    let mut row = Row::new("phases", columns);
    let times = view.phases();
    let total = times.iter().sum::<u64>().max(1);
    let mut phases: Vec<(&str, u64)> = PHASES.iter().map(|(_, name)| *name).zip(times).collect();
    phases.sort_by_key(|(_, us)| Reverse(*us));
    for (name, us) in phases.iter().filter(|(_, us)| *us > 0) {
        row.add(format!("{name} {}", percent(*us as f64 / total as f64)));
    }
    lines.extend([longest, row.line, bar(&phases, columns)]);
    lines
}

/// A bar of the phases, the longest first: every other one is reversed, and each begins with a stroke.
fn bar(phases: &[(&str, u64)], columns: usize) -> Line {
    let total = phases.iter().map(|(_, us)| us).sum::<u64>().max(1);
    let room = columns.saturating_sub(LABEL) as u64;
    let mut line = Line::of(Look::Plain, " ".repeat(LABEL));
    let (mut sum, mut drawn) = (0, 0);
    for (n, (name, us)) in phases.iter().enumerate() {
        sum += us;
        let end = sum * room / total;
        let width = (end - drawn) as usize;
        if width > 0 {
            let look = if n % 2 == 0 { Look::Reverse } else { Look::Plain };
            line = line.and(look, format!("{:─<width$.width$}", format!("│{name}")));
        }
        drawn = end;
    }
    line
}

/// So many.
fn rate(number: f64) -> String {
    match number < 100.0 {
        true => format!("{number:.1}"),
        false => count(number.round() as u64),
    }
}

/// A part of one in percent.
fn percent(part: f64) -> String {
    match part * 100.0 {
        percent if percent > 0.0 && percent < 0.05 => "<0.1%".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    }
}

/// A column as high as the logarithm of a time: from below 0.3 ms to 300 ms and more.
fn height(us: u32) -> char {
    match us {
        0..300 => '▁',
        300..1000 => '▂',
        1000..3000 => '▃',
        3000..10_000 => '▄',
        10_000..30_000 => '▅',
        30_000..100_000 => '▆',
        100_000..300_000 => '▇',
        _ => '█',
    }
}
