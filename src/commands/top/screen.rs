//! The screen of `top`: which line says what, at any width and height. Plain values in, lines out.
//!
//! The upper part has a row for each part of the server. What is left of the height is for two lists: the culprits of
//! the last hour, and single ticks.

use std::time::Duration;

use jsocketd::flight::{Blame, Counts, PHASES, TickView};
use jsocketd::service::Sql;
use jsocketd::service::snapshot::{AppNumbers, OutboxNumbers, SiteNumbers, Snapshot};

use super::line::{Line, Look};
use super::view::View;
use crate::commands::units::{bytes, count, counted, micros, span};

/// The width of the labels.
const LABEL: usize = 13;

/// The most culprits on a screen.
const MOST_BLAME: usize = 12;

/// The part of a limit from which on a number is near it.
const NEAR: f64 = 0.8;

/// Which ticks are listed, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The worst of the last hour, the longest first.
    #[default]
    Worst,
    /// The same, the newest first.
    Newest,
    /// All of the last seconds, the newest first.
    Latest,
}

impl Order {
    /// The one after this.
    pub fn next(self) -> Self {
        match self {
            Self::Worst => Self::Newest,
            Self::Newest => Self::Latest,
            Self::Latest => Self::Worst,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Worst => "worst ticks of the last hour, the longest first",
            Self::Newest => "worst ticks of the last hour, the newest first",
            Self::Latest => "latest ticks, the newest first",
        }
    }
}

/// The parts of the screen besides the numbers.
#[derive(Debug, Default)]
pub struct Screen {
    /// Which ticks are listed.
    pub order: Order,
    /// How many ticks of the list are above the screen. It is never more than there are.
    pub scroll: usize,
    /// How many ticks were in sight.
    pub page: usize,
    /// Whether the keys are explained.
    pub help: bool,
    /// The server's address.
    pub server: String,
    /// The last line.
    pub footer: Option<Line>,
}

impl Screen {
    /// The lines of a screen of this size, each as wide as it.
    pub fn lines(&mut self, view: &View, columns: usize, rows: usize) -> Vec<Line> {
        let mut bottom = Vec::new();
        if self.help {
            bottom.push(Line::of(
                Look::Strong,
                "j k, arrows, PgUp PgDn, Home End scroll; s: worst, newest, latest; Esc leaves",
            ));
        }
        bottom.extend(self.footer.clone());
        let mut lines = self.state(view, columns);
        let room = rows.saturating_sub(lines.len() + bottom.len());
        // A heading and a third of the rows, as far as there are culprits; the ticks get the rest.
        let culprits = view
            .report
            .blame
            .len()
            .clamp(1, MOST_BLAME)
            .min((room / 3).saturating_sub(1));
        if culprits > 0 {
            lines.extend(blame(&view.report.blame, culprits));
        }
        let room = rows.saturating_sub(lines.len() + bottom.len());
        lines.extend(self.ticks(view, columns, room));
        let room = rows.saturating_sub(bottom.len());
        lines.resize(room, Line::default());
        lines.extend(bottom);
        lines.truncate(rows);
        lines.into_iter().map(|line| line.fit(columns)).collect()
    }

    /// The upper part.
    fn state(&self, view: &View, columns: usize) -> Vec<Line> {
        let snapshot = &view.snapshot;
        let mut lines = vec![self.title(view, columns)];
        lines.extend(clients(snapshot, columns));
        lines.extend(rates(view, columns));
        let mut row = Row::new("memory", columns);
        row.add(bytes(snapshot.resident_bytes));
        row.add("descriptors ");
        row.limited(snapshot.descriptors, snapshot.descriptor_limit);
        lines.push(row.line);
        lines.extend(snapshot.site.as_ref().map(|numbers| site(numbers, columns)));
        lines.extend(snapshot.database.as_ref().map(|sql| database(sql, columns)));
        lines.extend(snapshot.outbox.as_ref().map(|numbers| outbox(numbers, columns)));
        lines.push(webhooks(snapshot, columns));
        lines.extend(of_loop(view, columns));
        lines
    }

    fn title(&self, view: &View, columns: usize) -> Line {
        let snapshot = &view.snapshot;
        let uptime = span(Duration::from_secs(snapshot.uptime_s));
        let title = format!(
            "jsocketd {}, pid {}, up {uptime}, {}",
            snapshot.version, snapshot.pid, self.server
        );
        let draining = if snapshot.draining { "DRAINING " } else { "" };
        let right = format!("{draining}{}Z", clock(view.report.unix_ms));
        let left = Line::of(Look::Reverse, title).fit(columns.saturating_sub(right.len() + 1));
        left.and(Look::Reverse, " ").and(Look::Reverse, right)
    }

    /// The list of ticks, of at most so many rows with its heading.
    fn ticks(&mut self, view: &View, columns: usize, rows: usize) -> Vec<Line> {
        let ticks: Vec<&TickView> = match self.order {
            Order::Worst => view.report.worst_hour.iter().collect(),
            Order::Newest => {
                let mut ticks: Vec<&TickView> = view.report.worst_hour.iter().collect();
                ticks.sort_by_key(|tick| std::cmp::Reverse(tick.n));
                ticks
            }
            Order::Latest => view.ticks.iter().rev().collect(),
        };
        self.page = rows.saturating_sub(1);
        self.scroll = self.scroll.min(ticks.len().saturating_sub(self.page));
        let mut heading = self.order.heading().to_owned();
        if ticks.len() > self.page {
            let last = (self.scroll + self.page).min(ticks.len());
            heading += &format!(" ({} to {last} of {})", self.scroll + 1, ticks.len());
        }
        let mut lines = vec![Line::of(Look::Strong, heading)];
        if ticks.is_empty() {
            lines.push(Line::of(Look::Plain, "  none of 1 ms or longer"));
        }
        let shown = ticks.iter().skip(self.scroll).take(self.page);
        lines.extend(shown.map(|tick| of_tick(tick, view.report.slow_ms, columns)));
        lines.truncate(rows);
        lines
    }
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
            self.comma = if part.ends_with(' ') { "" } else { ", " };
            self.line = line;
        }
    }

    /// A number and its limit.
    fn limited(&mut self, number: u64, limit: u64) {
        match limit {
            u64::MAX => self.add(count(number)),
            limit if number as f64 > limit as f64 * NEAR => {
                let near = format!("{} of {}: NEAR THE LIMIT", count(number), count(limit));
                self.look(Look::Warning, near);
            }
            limit => self.add(format!("{} of {}", count(number), count(limit))),
        }
    }
}

/// The connections by kind, and what they hold.
fn clients(snapshot: &Snapshot, columns: usize) -> [Line; 2] {
    let open = &snapshot.connections;
    let mut row = Row::new("connections", columns);
    row.limited(open.total as u64, open.max as u64);
    for (kind, number) in [
        ("Pusher", open.pusher),
        ("console", open.console),
        ("/echo", open.echo),
        ("HTTP", open.http),
        ("closing", open.closing),
    ] {
        row.add(format!("{kind} {}", count(number as u64)));
    }
    let sum = |part: fn(&AppNumbers) -> usize| snapshot.apps.iter().map(part).sum::<usize>() as u64;
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
        (false, ms) => row.look(
            Look::Bad,
            format!("NOT AVAILABLE, tried again in {}", micros(ms * 1000)),
        ),
    }
    row.add(counted(sql.statements, "statement", "statements"));
    row.add(format!("at most {} a tick", micros(sql.worst_us)));
    row.add(format!("{} over budget", count(sql.overruns)));
    row.line
}

fn outbox(outbox: &OutboxNumbers, columns: usize) -> Line {
    let counters = &outbox.counters;
    let mut row = Row::new("outbox", columns);
    match outbox.available {
        true => row.add("is read"),
        false => row.look(Look::Bad, "IS NOT READ".into()),
    }
    row.add(format!("{} behind", counted(counters.behind, "row", "rows")));
    row.add(format!("{} late", micros(counters.late_ms * 1000)));
    if counters.locked_ms > 0 {
        row.look(
            Look::Warning,
            format!("LOCKED FOR {}", micros(counters.locked_ms * 1000)),
        );
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
        let is_slow = u64::from(*us) >= report.slow_ms * 1000;
        longest = longest.and(if is_slow { Look::Warning } else { Look::Plain }, height(*us));
    }
    let mut row = Row::new("phases", columns);
    let times = view.phases();
    let total = times.iter().sum::<u64>().max(1);
    let mut phases: Vec<(&str, u64)> = PHASES.iter().map(|(_, name)| *name).zip(times).collect();
    phases.sort_by_key(|(_, us)| std::cmp::Reverse(*us));
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

fn blame(blame: &[Blame], rows: usize) -> Vec<Line> {
    let mut lines = vec![Line::of(
        Look::Strong,
        "   total    worst  ticks  culprit of the worst ticks of the last hour",
    )];
    if blame.is_empty() {
        lines.push(Line::of(Look::Plain, "  none"));
    }
    lines.extend(blame.iter().take(rows).map(|culprit| {
        let text = format!(
            "{:>8} {:>8} {:>6}  {}",
            micros(culprit.us),
            micros(culprit.worst_us.into()),
            culprit.ticks,
            culprit.name
        );
        Line::of(Look::Plain, text)
    }));
    lines
}

/// One tick of the list. A wide screen shows its number and what it did, too.
fn of_tick(tick: &TickView, slow_ms: u64, columns: usize) -> Line {
    let times = PHASES.iter().map(|(_, name)| *name).zip(tick.phases_us.times());
    let (phase, _) = times.max_by_key(|(_, us)| *us).unwrap_or_default();
    let took = format!("{:>8}", micros(tick.us.into()));
    let is_slow = u64::from(tick.us) >= slow_ms * 1000;
    let waited = match tick.waiting {
        0 => String::new(),
        waiting => format!(" ({} waited)", count(waiting.into())),
    };
    let number = if columns >= 100 {
        format!(" #{:<9}", tick.n)
    } else {
        String::new()
    };
    Line::of(Look::Plain, format!("{}{number}", clock(tick.unix_ms)))
        .and(if is_slow { Look::Warning } else { Look::Plain }, took)
        .and(Look::Plain, if is_slow { " SLOW " } else { "      " })
        .and(Look::Plain, format!("{phase:<8} {}{waited}", tick.culprit.text))
}

/// A time of day in UTC, as the log has it.
fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
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
