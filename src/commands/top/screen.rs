//! The screen of `top`: which line says what, at any width and height. Plain values in, lines out.
//!
//! The upper part has a row for each part of the server (`super::rows`). What is left of the height is for two lists:
//! the culprits of the last hour, and single ticks.

use std::time::Duration;

use jsocketd::flight::{Blame, PHASES, TickView};

use super::line::{Line, Look};
use super::rows;
use super::view::View;
use crate::commands::units::{count, micros, span};

/// The most culprits on a screen.
const MOST_BLAME: usize = 12;

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
    pub fn lines(&mut self, view: &View, columns: usize, height: usize) -> Vec<Line> {
        let mut bottom = Vec::new();
        if self.help {
            bottom.push(Line::of(
                Look::Strong,
                "j k, arrows, PgUp PgDn, Home End scroll; s: worst, newest, latest; Esc leaves",
            ));
        }
        bottom.extend(self.footer.clone());
        let mut lines = vec![self.title(view, columns)];
        lines.extend(rows::of(view, columns));
        let room = height.saturating_sub(lines.len() + bottom.len());
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
        let room = height.saturating_sub(lines.len() + bottom.len());
        lines.extend(self.ticks(view, columns, room));
        let room = height.saturating_sub(bottom.len());
        lines.resize(room, Line::default());
        lines.extend(bottom);
        lines.truncate(height);
        lines.into_iter().map(|line| line.fit(columns)).collect()
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
            Order::Worst => view.worst.iter().collect(),
            Order::Newest => {
                let mut ticks: Vec<&TickView> = view.worst.iter().collect();
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
    let times = PHASES.iter().map(|(_, name)| *name).zip(tick.phases_us);
    let (phase, _) = times.max_by_key(|(_, us)| *us).unwrap_or_default();
    let took = format!("{:>8}", micros(tick.us.into()));
    let is_slow = u64::from(tick.us) >= slow_ms.saturating_mul(1000);
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
