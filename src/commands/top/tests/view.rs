//! The view keeps parts of earlier answers.

use super::*;
use crate::commands::top::view::MOST_TICKS;

#[test]
fn averages_are_over_the_last_ten_seconds() {
    let mut view = view();
    assert_eq!((view.ticks.len(), view.since()), (10, 39), "a second each");
    assert!((view.per_second(|counts| counts.statements) - 3.0).abs() < 0.1);
    let phases = view.phases();
    assert_eq!(
        phases.iter().sum::<u64>(),
        view.ticks.iter().map(|tick| u64::from(tick.us)).sum::<u64>()
    );
    // The first answer tells how busy it was since the start.
    assert!((view.busy() - 0.002).abs() < 1e-9, "{}", view.busy());
    for second in 1..=20 {
        let report = Report {
            now_us: 60_000_000 + second * 1_000_000,
            busy_us: 120_000 + second.min(10) * 500_000,
            ticks: 39 + second,
            ..Report::default()
        };
        view.update(snapshot(), report);
        let wanted = match second {
            1..=10 => 0.5,
            _ => 0.5 * (20 - second) as f64 / 10.0,
        };
        assert!((view.busy() - wanted).abs() < 1e-9, "second {second}: {}", view.busy());
    }
}

/// Also of a server that tells of no time, so that all its ticks are within the last ten seconds.
#[test]
fn no_more_ticks_are_kept_than_ten_answers_have() {
    let mut view = View::default();
    for second in 1..50 {
        let recent = (0..300).map(|n| TickView {
            n: second * 300 + n,
            ..TickView::default()
        });
        let report = Report {
            ticks: second * 300 + 300,
            recent: recent.collect(),
            ..Report::default()
        };
        view.update(snapshot(), report);
    }
    assert_eq!((view.ticks.len(), view.since()), (10 * MOST_TICKS, 50 * 300 - 1));
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
    assert_eq!((view.worst.len(), view.since()), (40, 41));
    view.update(snapshot(), next(61));
    assert_eq!(view.worst.len(), 0);
    // None of the last hour is a change, too.
    view.update(snapshot(), report());
    let none = Report {
        worst_hour: Some(Vec::new()),
        ..next(2)
    };
    view.update(snapshot(), none);
    assert_eq!(view.worst.len(), 0);
}

/// Containers give each process the same id.
#[test]
fn another_process_is_asked_for_everything() {
    let other_id = Snapshot { pid: 5, ..snapshot() };
    let later = Snapshot {
        started_ms: 1,
        ..snapshot()
    };
    for (state, ticks) in [(other_id, 40), (later, 40), (snapshot(), 3)] {
        let mut view = view();
        let answer = Report {
            ticks,
            recent: vec![tick(ticks, 10, "other")],
            ..Report::default()
        };
        view.update(state, answer);
        assert_eq!((view.since(), view.ticks.len(), view.worst.len()), (0, 0, 0));
    }
}
