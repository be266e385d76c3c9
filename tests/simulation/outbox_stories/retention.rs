//! Rows are deleted when they were stamped long enough ago, and nothing else is.

use jsocketd::config::Database;
use jsocketd::outbox::Reach;
use jsocketd::protocol::position::Position;
use jsocketd::store::{Failure, Question};

use crate::outbox_stories::stage::Stage;

/// A process that keeps rows for 100 s.
fn short() -> Stage {
    Stage::ready_with(&Database {
        retention: 100,
        ..Database::default()
    })
}

fn numbers(stage: &Stage) -> (u64, u64) {
    let mut rows = stage.tables.outbox.numbered(0).map(|(_, place, _)| place.seq);
    let first = rows.next().expect("the newest row stays");
    (first, rows.next_back().unwrap_or(first))
}

#[test]
fn rows_are_deleted_in_order_when_they_were_stamped_for_the_retention() {
    let mut stage = short();
    for _ in 0..2500 {
        stage.publish("news");
    }
    stage.run(50_000);
    let middle = stage.outbox().position().unwrap();
    for _ in 0..10 {
        stage.publish("news");
    }
    stage.run(45_000);
    assert_eq!(numbers(&stage), (1, 2511));
    stage.process.asked.clear();
    stage.run(20_000);
    assert_eq!(numbers(&stage), (2502, 2511));
    assert!((50..=53).contains(&stage.count("delete")), "50 rows at once");
    assert_eq!(stage.counters().deleted, 2501);
    assert_eq!(
        stage.missed_since("news", middle),
        Some((2502..=2511).collect()),
        "memory has its row"
    );
    stage.run(70_000);
    assert_eq!(numbers(&stage), (2511, 2511), "the newest row is never deleted");
    stage.run(400_000);
    assert_eq!(numbers(&stage), (2511, 2511));
    assert_eq!(stage.missed_since("news", middle), None);
    assert_eq!(stage.missed("news", 2511), Some(vec![]));
}

#[test]
fn a_row_that_stood_uncommitted_for_longer_than_the_retention_is_kept_from_when_it_was_stamped() {
    let mut stage = short();
    let writer = stage.table().begin();
    let id = stage
        .table()
        .insert(writer, crate::outbox_stories::stage::row("news", "{}"));
    stage.run(300_000);
    stage.table().commit(writer);
    stage.run(1200);
    assert_eq!(stage.ids(), [id]);
    stage.publish("news");
    stage.run(95_000);
    assert_eq!(stage.missed("news", 2), Some(vec![3]));
    assert!(stage.tables.outbox.has(id));
    stage.run(20_000);
    assert!(!stage.tables.outbox.has(id));
}

#[test]
fn a_delete_that_would_wait_gives_up_until_later() {
    let mut stage = short();
    for _ in 0..100 {
        stage.publish("news");
    }
    stage.run(1000);
    stage.tables.outbox.locked.push(0..=u64::MAX);
    stage.process.asked.clear();
    stage.run(130_000);
    let tries = stage.count("delete");
    assert!((3..=14).contains(&tries), "{tries}");
    assert!(stage.tables.outbox.is_unlocked(), "others may try");
    stage.tables.outbox.locked.clear();
    stage.run(12_000);
    assert_eq!(numbers(&stage), (101, 101));
}

#[test]
fn only_one_process_deletes_at_a_time() {
    let mut stage = short();
    stage.publish("news");
    stage.run(1000);
    stage.process.asked.clear();
    let mut other = crate::memory::Link::new(7);
    let old = Question::Old {
        retention: 100,
        dead: 600,
        limit: 50,
    };
    let now = stage.now();
    other.ask(&old, &mut stage.tables, now).unwrap();
    stage.run(300_000);
    assert_eq!(stage.count("delete"), 0);
    assert_eq!(numbers(&stage), (1, 2));
    stage.tables.end(7);
    stage.run(11_000);
    assert_eq!(numbers(&stage), (2, 2));
}

#[test]
fn heartbeats_are_written_every_ten_seconds_and_those_of_the_dead_are_deleted() {
    let mut stage = short();
    stage.table().set("process.00000007", "o00000001:1.0", 0);
    let now = stage.now().unix_ms.cast_signed();
    stage.table().set("process.00000007", "o00000001:1.0", now);
    stage.process.asked.clear();
    stage.run(100_000);
    let beats = stage.count("heartbeat");
    assert!((10..=11).contains(&beats), "{beats}");
    stage.run(480_000);
    assert!(stage.tables.outbox.state.contains_key("process.00000007"));
    stage.run(40_000);
    assert!(!stage.tables.outbox.state.contains_key("process.00000007"));
    let own: Vec<_> = stage
        .tables
        .outbox
        .state
        .iter()
        .filter(|(name, _)| name.starts_with("process."))
        .collect();
    assert_eq!(own.len(), 1);
    let position = stage.process.outbox.position().map(|position| position.to_string());
    assert_eq!(own[0].1.0.parse::<Position>().ok().map(|p| p.to_string()), position);
}

#[test]
fn rows_in_memory_are_no_older_than_the_retention() {
    let mut stage = short();
    for _ in 0..10 {
        stage.publish("news");
    }
    stage.run(50_000);
    assert_eq!(stage.counters().history_rows, 11);
    stage.run(60_000);
    assert_eq!(stage.counters().history_rows, 0);
    // Nothing was deleted: the table still has the rows.
    stage.tables.refused.insert("old", "denied".into());
    assert_eq!(stage.reach("news", 11), Reach::Yes, "the row at the floor");
    stage.failing = vec![("delete", Failure::Locked)];
}
