//! The screen at every size, from answers like those of a server. `tests/server/top.rs` has it in a terminal.

use jsocketd::flight::{Blame, Counts, CulpritView, Durations, Phase, Report, TickView};
use jsocketd::service::snapshot::{AppNumbers, OutboxNumbers, SiteNumbers, Snapshot};
use jsocketd::service::{ClusterStats, Sql, Standing, Statement};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::line::{Line, Look};
use super::screen::{Order, Screen};
use super::view::View;
use crate::commands::status::describe;

mod view;

const NOON: u64 = 12 * 3_600_000;

fn tick(n: u64, us: u32, text: &str) -> TickView {
    let mut phases_us = <[u32; _]>::default();
    (phases_us[Phase::Read as usize], phases_us[Phase::Work as usize]) = (us / 4, us - us / 4);
    TickView {
        n,
        unix_ms: NOON + n * 1000,
        slept_us: 1_000_000 - us,
        us,
        phases_us,
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
    (snapshot.send_queues.waiting, snapshot.send_queues.slow) = (3, 2);
    (snapshot.send_queues.bytes, snapshot.send_queues.largest) = (200 << 10, 150 << 10);
    snapshot.ends.reasons.insert("slow".into(), 7);
    let statement = |name: &'static str, took: &[u32], errors| {
        let mut times = Durations::default();
        took.iter().for_each(|us| times.add(*us));
        Statement {
            name: name.into(),
            errors,
            times,
        }
    };
    snapshot.statements = vec![
        statement("sessions", &[1500; 4], 0),
        statement("outbox", &[900_000, 1_200_000], 1),
        statement("users", &[300], 0),
    ];
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
        now_us: 60_000_000,
        busy_us: 120_000,
        ticks: 39,
        slow_ticks: 1,
        p50_us: 60,
        p99_us: 2000,
        max_us: 526_000,
        recent: worst.clone(),
        worst: Some(worst),
        worst_hour: Some(worst_hour),
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
        (
            6,
            "send queues  3 waiting (200.0 KiB), 2 SLOW CONSUMERS, 7 closed as slow",
        ),
        (7, "site         Joomla 5.3.1, 12 sessions, 5 users"),
        (
            8,
            "database     available, 1,234 statements, at most 120 ms a tick, 0 over budget",
        ),
        (9, "statements   outbox 2 in 2.1 s (1 FAILED), sessions 4 in 6.0 ms"),
        (10, "outbox       is read, 0 rows behind, 0 µs late, 0 passed on, 0 bad"),
        (11, "webhooks     0 waiting, 0 delivered, 0 failed, 0 dropped"),
        (
            12,
            "loop         busy 0.2%, tick p50 60 µs, p99 2.0 ms, max 526 ms, 1 slow",
        ),
        (13, "longest tick ▁▃▁█"),
        (14, "phases       work 75%, read 25%"),
        (
            16,
            "   total    worst  ticks  culprit of the worst ticks of the last hour",
        ),
        (17, "  500 ms   500 ms      1  statement sessions"),
        (18, "worst ticks of the last hour, the longest first (1 to 4 of 40)"),
        (
            19,
            "12:00:03  526 ms SLOW work     statement sessions 500 ms (no answer) (2 waited)",
        ),
        (20, "12:00:11  2.0 ms      work     fan-out to news 1.9 ms (2 waited)"),
        (23, "the footer"),
    ] {
        assert_eq!(lines[row], wanted, "row {row}:\n{}", lines.join("\n"));
    }
    let bar = lines[15].trim_start();
    assert!(bar.starts_with("│work─") && bar.contains("─│read─"), "{bar}");
    let work = bar.chars().skip(1).position(|c| c == '│').expect("read");
    assert_eq!(work + 1, 67 * 3 / 4, "three quarters");
}

#[test]
fn a_large_terminal_has_more_ticks_and_their_numbers() {
    let lines = drawn(&mut screen(), &view(), 140, 50);
    assert!(lines[1].ends_with("HTTP 0, closing 0"), "{}", lines[1]);
    assert!(
        lines[6].ends_with("7 closed as slow, largest 150.0 KiB"),
        "{}",
        lines[6]
    );
    assert!(lines[9].ends_with("6.0 ms, users 1 in 300 µs"), "{}", lines[9]);
    assert!(lines[12].ends_with("1 slow, 39 since the start"), "{}", lines[12]);
    assert!(lines[18].ends_with("(1 to 30 of 40)"), "{}", lines[18]);
    assert!(
        lines[19].starts_with("12:00:03 #3          526 ms SLOW work     statement"),
        "{}",
        lines[19]
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
    state.cluster = Some(ClusterStats {
        standing: Standing::Isolated,
        isolated_ms: 61_000,
        why: Some("is full: OOM".into()),
        processes: 3,
        ..ClusterStats::default()
    });
    let described = describe(&state);
    assert!(described.contains("ISOLATED for 1 min 1 s\n"), "{described}");
    assert!(described.contains("the engine is full: OOM\n"), "{described}");
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
        "cluster      ISOLATED FOR 61.0 s, 0 µs late, 0 waiting",
    ] {
        assert!(lines.contains(wanted), "{wanted}:\n{lines}");
    }
    let help = drawn(&mut Screen { help: true, ..screen() }, &view(), 80, 24);
    assert!(help[22].starts_with("j k") && !help[22].contains('…'), "{}", help[22]);
}

/// A part that has no room is left out whole, with its word.
#[test]
fn a_row_ends_with_a_whole_part() {
    let whole = drawn(&mut screen(), &view(), 200, 24);
    for columns in 14..140 {
        let lines = drawn(&mut screen(), &view(), columns, 24);
        for (line, whole) in lines.iter().zip(&whole).take(13).skip(1) {
            // Of a very narrow screen nothing but the label.
            let rest = whole.strip_prefix(line.as_str()).expect(line);
            let is_whole = line.len() < 14 || rest.is_empty() || rest.starts_with(", ");
            assert!(is_whole, "{columns} columns: {line}");
        }
    }
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
    assert_eq!(
        warnings,
        [
            "descriptors 19,500 of 20,000: NEAR THE LIMIT",
            "2 SLOW CONSUMERS",
            "outbox 2 in 2.1 s (1 FAILED)",
            "█",
            "  526 ms"
        ]
    );
    assert!(lines[19].text().contains("526 ms SLOW"));
}

#[test]
fn the_ticks_are_sorted_and_scroll_to_their_ends() {
    let (view, mut screen) = (view(), screen());
    screen.scroll = usize::MAX;
    let lines = drawn(&mut screen, &view, 80, 24);
    assert_eq!((screen.scroll, screen.page), (36, 4));
    assert!(
        lines[18].ends_with("(37 to 40 of 40)") && !lines[22].is_empty(),
        "{}",
        lines.join("\n")
    );
    (screen.order, screen.scroll) = (screen.order.next(), 1);
    assert_eq!(screen.order, Order::Newest);
    let lines = drawn(&mut screen, &view, 80, 24);
    assert!(lines[19].starts_with("12:00:38"), "{}", lines[19]);
    (screen.order, screen.scroll) = (screen.order.next(), 0);
    let lines = drawn(&mut screen, &view, 80, 24);
    assert!(
        lines[18].starts_with("latest ticks") && lines[19].starts_with("12:00:39"),
        "{}",
        lines[19]
    );
    assert_eq!(screen.order.next(), Order::Worst);
}

#[test]
fn a_cluster_has_a_row() {
    let mut state = snapshot();
    state.cluster = Some(ClusterStats {
        standing: Standing::Together,
        processes: 4,
        leads: true,
        lag_us: 300,
        batches_read: 1234,
        isolations: 1,
        ..ClusterStats::default()
    });
    let described = describe(&state);
    assert!(described.contains("4 processes, sends the webhooks\n"), "{described}");
    let mut view = View::default();
    view.update(state, report());
    let lines = drawn(&mut screen(), &view, 80, 24);
    assert_eq!(
        lines[12],
        "cluster      4 processes, leads, 300 µs late, 0 waiting, 1,234 batches read"
    );
}

/// The largest numbers that JSON of the right shape can hold.
#[test]
fn no_number_is_too_large() {
    fn enlarge(value: &mut Value, number: &Value) {
        match value {
            Value::Number(_) => *value = number.clone(),
            Value::Array(all) => all.iter_mut().for_each(|value| enlarge(value, number)),
            Value::Object(all) => all.values_mut().for_each(|value| enlarge(value, number)),
            _ => {}
        }
    }
    fn largest<T: Serialize + DeserializeOwned>(of: &T) -> T {
        let mut whole = serde_json::to_value(of).expect("JSON");
        enlarge(&mut whole, &json!(u32::MAX));
        let mut largest: T = serde_json::from_value(whole.clone()).expect("every number has room for 32 bits");
        let parts: Vec<String> = whole.as_object().expect("an object").keys().cloned().collect();
        for part in parts {
            let before = whole[&part].clone();
            enlarge(&mut whole[&part], &json!(u64::MAX));
            match serde_json::from_value(whole.clone()) {
                Ok(larger) => largest = larger,
                Err(_) => whole[&part] = before,
            }
        }
        largest
    }
    let mut state = snapshot();
    state.database = Some(Sql {
        retry_ms: 1,
        ..Sql::default()
    });
    state.cluster = Some(ClusterStats::default());
    let (state, report) = (largest(&state), largest(&report()));
    assert_eq!(
        state.outbox.as_ref().map(|outbox| outbox.counters.late_ms),
        Some(u64::MAX)
    );
    let mut view = View::default();
    for _ in 0..3 {
        view.update(state.clone(), report.clone());
        drawn(&mut screen(), &view, 200, 60);
    }
    assert!(!describe(&state).is_empty());
}
