//! The screen at every size, from answers like those of a server. `tests/server/top.rs` has it in a terminal.

use jsocketd::flight::{Blame, Counts, CulpritView, PhasesView, Report, TickView};
use jsocketd::service::Sql;
use jsocketd::service::snapshot::{AppNumbers, OutboxNumbers, SiteNumbers, Snapshot};

use super::line::{Line, Look};
use super::screen::{Order, Screen};
use super::view::View;

const NOON: u64 = 12 * 3_600_000;

fn tick(n: u64, us: u32, text: &str) -> TickView {
    TickView {
        n,
        unix_ms: NOON + n * 1000,
        slept_us: 1_000_000 - us,
        us,
        phases_us: PhasesView {
            read: us / 4,
            work: us - us / 4,
            ..PhasesView::default()
        },
        counts: Counts {
            statements: 3,
            ..Counts::default()
        },
        waiting: 2,
        culprit: CulpritView {
            text: text.into(),
            ..CulpritView::default()
        },
        ..TickView::default()
    }
}

/// A busy server of a site.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        version: "9.8.7".into(),
        pid: 4321,
        uptime_s: 3 * 86_400 + 7200,
        resident_bytes: 45 << 20,
        descriptors: 19_500,
        descriptor_limit: 20_000,
        site: Some(SiteNumbers {
            joomla: Some("5.3.1".into()),
            enabled: true,
            sessions: 12,
            users: 5,
            ..SiteNumbers::default()
        }),
        database: Some(Sql {
            available: true,
            statements: 1234,
            worst_us: 120_000,
            ..Sql::default()
        }),
        outbox: Some(OutboxNumbers {
            available: true,
            ..OutboxNumbers::default()
        }),
        ..Snapshot::default()
    };
    snapshot.connections.total = 12_345;
    snapshot.connections.max = 19_872;
    snapshot.connections.pusher = 12_300;
    snapshot.traffic.per_second.messages_out = 4567.0;
    snapshot.traffic.per_second.bytes_in = 2048.0;
    snapshot.lag.worst_by_second_us = vec![526_000, 50, 2000, 50];
    let mut app = AppNumbers::default();
    (app.load.channels, app.load.subscriptions) = (17, 2345);
    snapshot.apps = vec![app.clone(), app];
    snapshot
}

fn report() -> Report {
    let worst: Vec<TickView> = (0..40)
        .map(|n| match n {
            3 => tick(3, 526_000, "statement sessions 500 ms (no answer)"),
            n => tick(n, 2000 + (n as u32 * 7) % 13, "fan-out to news 1.9 ms"),
        })
        .collect();
    let mut worst_hour = worst.clone();
    worst_hour.sort_by_key(|tick| std::cmp::Reverse(tick.us));
    Report {
        unix_ms: NOON + 60_000,
        slow_ms: 50,
        ticks: 39,
        slow_ticks: 1,
        p50_us: 60,
        p99_us: 2000,
        max_us: 526_000,
        recent: worst.clone(),
        worst,
        worst_hour,
        blame: vec![Blame {
            kind: "statement".into(),
            name: "statement sessions".into(),
            ticks: 1,
            us: 500_000,
            worst_us: 500_000,
        }],
        ..Report::default()
    }
}

fn view() -> View {
    let mut view = View::default();
    view.update(snapshot(), report());
    view
}

fn screen() -> Screen {
    Screen {
        server: "unix:/run/jsocketd/admin.sock".into(),
        footer: Some(Line::of(Look::Plain, "the footer")),
        ..Screen::default()
    }
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| line.text() + "\n").collect()
}

/// The lines of a screen of this size, which they fill.
fn drawn(screen: &mut Screen, view: &View, columns: usize, rows: usize) -> Vec<String> {
    let lines = screen.lines(view, columns, rows);
    assert_eq!(lines.len(), rows, "{columns}×{rows}:\n{}", text(&lines));
    for line in &lines {
        assert_eq!(line.width(), columns, "{columns}×{rows}: {:?}", line.text());
    }
    lines.iter().map(|line| line.text().trim_end().to_owned()).collect()
}

#[test]
fn a_small_terminal_has_all_that_matters() {
    let lines = drawn(&mut screen(), &view(), 80, 24);
    for (row, wanted) in [
        (
            0,
            "jsocketd 9.8.7, pid 4321, up 3 d 2 h, unix:/run/jsocketd/admin.sock    12:01:00Z",
        ),
        (
            1,
            "connections  12,345 of 19,872, Pusher 12,300, console 0, /echo 0, HTTP 0",
        ),
        (
            2,
            "apps         2 apps, 34 channels, 4,690 subscriptions, 0 members, 0 users",
        ),
        (
            3,
            "each second  messages in 0.0, out 4,567, requests 0.0, accepts 0.0, closes 0.0",
        ),
        (
            4,
            "             bytes in 2.0 KiB, out 0 bytes, statements 3.0, rows 0.0",
        ),
        (5, "memory       45.0 MiB, descriptors 19,500 of 20,000: NEAR THE LIMIT"),
        (6, "site         Joomla 5.3.1, 12 sessions, 5 users"),
        (
            7,
            "database     available, 1,234 statements, at most 120 ms a tick, 0 over budget",
        ),
        (8, "outbox       is read, 0 rows behind, 0 µs late, 0 passed on, 0 bad"),
        (9, "webhooks     0 waiting, 0 delivered, 0 failed, 0 dropped"),
        (
            10,
            "loop         busy 0.2%, tick p50 60 µs, p99 2.0 ms, max 526 ms, 1 slow",
        ),
        (11, "longest tick ▁▃▁█"),
        (12, "phases       work 75%, read 25%"),
        (
            14,
            "   total    worst  ticks  culprit of the worst ticks of the last hour",
        ),
        (15, "  500 ms   500 ms      1  statement sessions"),
        (16, "worst ticks of the last hour, the longest first (1 to 6 of 40)"),
        (
            17,
            "12:00:03  526 ms SLOW work     statement sessions 500 ms (no answer) (2 waited)",
        ),
        (18, "12:00:11  2.0 ms      work     fan-out to news 1.9 ms (2 waited)"),
        (23, "the footer"),
    ] {
        assert_eq!(lines[row], wanted, "row {row}:\n{}", lines.join("\n"));
    }
    let bar = lines[13].trim_start();
    assert!(bar.starts_with("│work─") && bar.contains("─│read─"), "{bar}");
    let work = bar.chars().skip(1).position(|c| c == '│').expect("read");
    assert_eq!(work + 1, 67 * 3 / 4, "three quarters");
}

#[test]
fn a_large_terminal_has_more_ticks_and_their_numbers() {
    let lines = drawn(&mut screen(), &view(), 140, 50);
    assert!(lines[1].ends_with("HTTP 0, closing 0"), "{}", lines[1]);
    assert!(lines[10].ends_with("1 slow, 39 since the start"), "{}", lines[10]);
    assert!(lines[16].ends_with("(1 to 32 of 40)"), "{}", lines[16]);
    assert!(
        lines[17].starts_with("12:00:03 #3          526 ms SLOW work     statement"),
        "{}",
        lines[17]
    );
    assert!(lines[48].starts_with("12:00:"), "{}", lines[48]);
    assert_eq!(lines[49], "the footer");
}

/// Also one that has nothing yet, and one that is out of order.
#[test]
fn a_screen_of_every_size_is_filled() {
    let mut ill = View::default();
    let mut state = snapshot();
    state.draining = true;
    state.database = Some(Sql {
        retry_ms: 3000,
        ..Sql::default()
    });
    state.outbox = Some(OutboxNumbers::default());
    ill.update(state, report());
    for view in [&view(), &View::default(), &ill] {
        for rows in (0..60).step_by(3) {
            for columns in (0..200).step_by(7) {
                for help in [false, true] {
                    drawn(&mut Screen { help, ..screen() }, view, columns, rows);
                }
            }
        }
    }
    let lines = drawn(&mut screen(), &ill, 100, 24).join("\n");
    for wanted in [
        "DRAINING 12:01:00Z",
        "database     NOT AVAILABLE, tried again in 3.0 s",
        "outbox       IS NOT READ",
    ] {
        assert!(lines.contains(wanted), "{wanted}:\n{lines}");
    }
    let help = drawn(&mut Screen { help: true, ..screen() }, &view(), 80, 24);
    assert!(help[22].starts_with("j k") && !help[22].contains('…'), "{}", help[22]);
}

#[test]
fn a_colour_never_stands_alone() {
    let view = view();
    let lines = screen().lines(&view, 80, 24);
    let looks = lines.iter().flat_map(Line::pieces);
    let warnings: Vec<&str> = looks
        .filter(|(look, _)| *look == Look::Warning)
        .map(|(_, text)| text.as_str())
        .collect();
    // The height of the bar, the word behind the time.
    assert_eq!(warnings, ["19,500 of 20,000: NEAR THE LIMIT", "█", "  526 ms"]);
    assert!(lines[17].text().contains("526 ms SLOW"));
}

#[test]
fn the_ticks_are_sorted_and_scroll_to_their_ends() {
    let (view, mut screen) = (view(), screen());
    screen.scroll = usize::MAX;
    let lines = drawn(&mut screen, &view, 80, 24);
    assert_eq!((screen.scroll, screen.page), (34, 6));
    assert!(
        lines[16].ends_with("(35 to 40 of 40)") && !lines[22].is_empty(),
        "{}",
        lines.join("\n")
    );
    (screen.order, screen.scroll) = (screen.order.next(), 1);
    assert_eq!(screen.order, Order::Newest);
    let lines = drawn(&mut screen, &view, 80, 24);
    assert!(lines[17].starts_with("12:00:38"), "{}", lines[17]);
    (screen.order, screen.scroll) = (screen.order.next(), 0);
    let lines = drawn(&mut screen, &view, 80, 24);
    assert!(
        lines[16].starts_with("latest ticks") && lines[17].starts_with("12:00:39"),
        "{}",
        lines[17]
    );
    assert_eq!(screen.order.next(), Order::Worst);
}

#[test]
fn averages_are_over_the_last_ten_seconds() {
    let view = view();
    assert_eq!((view.ticks.len(), view.since()), (10, 39), "a second each");
    assert!((view.per_second(|counts| counts.statements) - 3.0).abs() < 0.1);
    let phases = view.phases();
    assert_eq!(
        phases.iter().sum::<u64>(),
        view.ticks.iter().map(|tick| u64::from(tick.us)).sum::<u64>()
    );
    let busy = view.busy();
    assert!((0.002..0.003).contains(&busy), "{busy}");
}

#[test]
fn lists_that_did_not_change_are_kept_until_they_are_old() {
    let mut view = view();
    let next = |minutes: u64| Report {
        unix_ms: NOON + minutes * 60_000,
        ticks: 41,
        recent: vec![tick(41, 10, "other")],
        ..Report::default()
    };
    view.update(snapshot(), next(2));
    assert_eq!((view.report.worst_hour.len(), view.report.worst.len()), (40, 40));
    assert_eq!(view.since(), 41);
    view.update(snapshot(), next(61));
    assert_eq!((view.report.worst_hour.len(), view.report.worst.len()), (0, 40));
}

#[test]
fn another_process_is_asked_for_everything() {
    let mut view = view();
    let other = Snapshot { pid: 5, ..snapshot() };
    view.update(
        other,
        Report {
            ticks: 3,
            ..Report::default()
        },
    );
    assert_eq!((view.since(), view.report.worst.len()), (0, 0));
}
