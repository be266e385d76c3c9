//! Starts, epochs, and damaged databases.

use jsocketd::config::Database;
use jsocketd::outbox::{Reach, Seen};
use jsocketd::protocol::position::Position;
use jsocketd::store::{Answer, Failure, Question};

use crate::outbox_stories::stage::{Stage, control, row, tables};

#[test]
fn rows_that_were_stamped_before_the_start_go_to_history_and_cache_channels_alone() {
    let mut stage = Stage::ready();
    let first = stage.publish("news");
    stage.table().publish(control("recheck-access", "{}"));
    let writer = stage.table().begin();
    let flying = stage.table().insert(writer, row("news", "{}"));
    stage.publish("news");
    stage.run(5000);
    let waiting = stage.publish("news");
    stage.restart();
    stage.run(10);
    let past: Vec<(u64, u64)> = (stage.seen.iter())
        .filter_map(|seen| match seen {
            Seen::Past(event, age) => Some((event.logged.seq, *age)),
            _ => None,
        })
        .collect();
    assert_eq!(past.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 4]);
    assert!(past.iter().all(|(_, age)| (4900..=5010).contains(age)), "{past:?}");
    assert!(
        !stage.seen.iter().any(|seen| matches!(seen, Seen::Control(_))),
        "no socket survived"
    );
    stage.run(200);
    assert_eq!(stage.ids(), [waiting], "it waited for a number, so it is news");
    stage.table().commit(writer);
    stage.run(2000);
    assert_eq!(stage.ids(), [flying]);
    assert_eq!(stage.missed("news", 1), Some(vec![3, 4, 5, 6]));
    assert_eq!(stage.id(3), first);
}

#[test]
fn a_row_that_is_stamped_while_the_window_is_loaded_is_news() {
    let mut tables = tables();
    for _ in 0..1000 {
        tables.outbox.publish(row("news", "{}"));
    }
    let mut stage = Stage::new(tables, &Database::default());
    stage.run(3000);
    assert_eq!(stage.numbers().len(), 1000);
    stage.restart();
    let question = stage.asks("tail");
    stage.goes_on(&question);
    assert!(!stage.outbox().is_ready(), "the window has another part");
    let fresh = stage.publish("news");
    stage.run(500);
    assert_eq!(stage.ids(), [fresh]);
    assert_eq!(stage.missed("news", 1000), Some(vec![1001, 1002]));
}

#[test]
fn a_start_loads_as_much_as_there_is_room_for() {
    let mut stage = Stage::ready();
    for _ in 0..100 {
        stage.publish("news");
    }
    stage.run(500);
    let settings = Database {
        history_rows: 30,
        ..Database::default()
    };
    let mut again = Stage::new(stage.tables, &settings);
    again.run(10);
    assert_eq!(again.counters().history_rows, 30);
    assert_eq!(again.reach("news", 71), Reach::Read, "its row is not in memory");
    assert_eq!(again.reach("news", 72), Reach::Yes);
    assert_eq!(again.missed("news", 71), Some((72..=101).collect()));
}

#[test]
fn the_position_survives_a_restart() {
    let mut stage = Stage::ready();
    for _ in 0..10 {
        stage.publish("news");
    }
    stage.run(500);
    let position = stage.outbox().position();
    stage.restart();
    assert_eq!((stage.outbox().position(), stage.outbox().is_coming()), (None, true));
    assert_eq!(stage.outbox().told_position(), Position::NOWHERE);
    stage.run(10);
    assert_eq!(stage.outbox().position(), position);
    assert_eq!(stage.counters().epochs, 1);
}

#[test]
fn the_first_process_makes_the_epoch_and_others_adopt_it() {
    let mut tables = tables();
    tables.outbox.state.remove("position");
    let mut first = Stage::new(tables, &Database::default());
    first.run(300);
    let position = first.outbox().position().unwrap();
    assert_ne!(first.epoch(), 1);
    assert_eq!(first.tables.outbox.position(), Some(&*position.to_string()));
    assert_eq!(position.number(), 1, "the newest row's");
    let mut second = Stage::new(first.tables, &Database::default());
    second.process.client = 2;
    second.run(10);
    assert_eq!(second.outbox().position(), Some(position));
}

#[test]
fn a_table_without_rows_gets_a_first_one() {
    let mut tables = tables();
    tables.outbox.truncate();
    tables.outbox.state.remove("position");
    let mut stage = Stage::new(tables, &Database::default());
    stage.run(300);
    assert!(stage.outbox().is_ready());
    assert_eq!((stage.last(), stage.id(1)), (1, 1));
    let id = stage.publish("news");
    stage.run(200);
    assert_eq!(stage.ids(), [id]);
}

/// The tables are damaged. Within some seconds old positions are gaps, every client is told so, and the outbox goes on.
fn renews(what: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = Stage::ready();
    for _ in 0..5 {
        stage.publish("news");
    }
    stage.run(1000);
    stage.table().flush();
    for _ in 0..5 {
        stage.publish("news");
    }
    stage.run(1000);
    let (old, epoch) = (stage.outbox().position().unwrap(), stage.epoch());
    assert_eq!(old.number(), 11);
    stage.seen.clear();
    what(&mut stage);
    stage.run(6000);
    assert!(stage.outbox().is_ready());
    assert_ne!(stage.epoch(), epoch, "a new epoch");
    let written = stage.outbox().position().unwrap().to_string();
    assert_eq!(stage.tables.outbox.position(), Some(&*written));
    assert_eq!(stage.reach_from("news", old, 0), Reach::No);
    assert_eq!(stage.seen.iter().filter(|seen| **seen == Seen::Gap).count(), 1);
    assert_eq!(stage.counters().epochs, 2);
    stage.seen.clear();
    let id = stage.publish("news");
    stage.run(200);
    assert_eq!(stage.ids(), [id]);
    stage.run(30_000);
    assert_eq!(stage.counters().epochs, 2, "one is enough");
    stage
}

#[test]
fn a_position_that_is_missing_is_a_new_epoch() {
    renews(|stage| drop(stage.table().state.remove("position")));
    renews(|stage| stage.tables.outbox.set("position", "", 0));
    renews(|stage| stage.tables.outbox.set("position", "o00000001:11", 0));
}

#[test]
fn a_position_below_the_newest_row_is_a_new_epoch() {
    let stage = renews(|stage| {
        let lower = stage.since(5).to_string();
        stage.table().set("position", &lower, 0);
    });
    assert_eq!(stage.last(), 12, "numbers go on behind the newest row");
}

#[test]
fn forgotten_commits_are_a_new_epoch() {
    let stage = renews(|stage| stage.tables.crash(true));
    assert_eq!(stage.last(), 7);
    // Another process stamps on meanwhile, and comes as far as the position was, or further.
    for beyond in [0, 3] {
        renews(|stage| {
            stage.tables.crash(true);
            stamp_as_another(stage, 5 + beyond);
        });
    }
}

#[test]
fn a_backup_that_is_restored_is_a_new_epoch_also_if_others_stamp_on() {
    // No connection breaks.
    renews(|stage| {
        let before = stage.tables.outbox.clone();
        stage.tables.crash(true);
        let backup = stage.table().copy();
        stage.tables.outbox = before;
        stage.table().restore(backup);
    });
    renews(|stage| {
        let (before, link) = (stage.tables.outbox.clone(), stage.process.link.clone());
        let mut other = stage.tables.clone();
        other.crash(true);
        stage.tables.outbox = before;
        stage.table().restore(other.outbox.copy());
        stage.process.link = link;
        stage.run(500);
        // It saw that the position went back, and then it is where it was.
        stamp_as_another(stage, 8);
    });
}

/// Another process publishes rows and stamps them.
fn stamp_as_another(stage: &mut Stage, rows: u64) {
    let mut other = Stage::new(stage.tables.clone(), &Database::default());
    other.process.client = 9;
    other.process.link = crate::memory::Link::new(9);
    other.us = stage.us;
    other.process.link.probed(Ok(0), &other.tables, other.now());
    other.run(10);
    for _ in 0..rows {
        other.publish("news");
    }
    other.run(150);
    stage.us = other.us;
    stage.tables = other.tables;
}

#[test]
fn a_truncated_table_goes_on_with_its_numbers() {
    let mut stage = Stage::ready();
    for _ in 0..10 {
        stage.publish("news");
    }
    stage.run(3000);
    let old = stage.outbox().position().unwrap();
    stage.seen.clear();
    stage.table().truncate();
    stage.run(3000);
    assert_eq!(stage.outbox().position(), Some(old), "nothing is known to be wrong");
    let id = stage.publish("news");
    assert_eq!(id, 1, "ids begin anew");
    stage.run(1200);
    assert_eq!(stage.numbers(), [12]);
    assert_eq!(
        stage.missed_since("news", old),
        Some(vec![12]),
        "memory still has its row"
    );
    stage.restart();
    stage.run(10);
    assert_eq!(stage.counters().epochs, 1);
    assert_eq!(
        stage.missed_since("news", old),
        None,
        "after a restart nothing tells of it"
    );
    assert_eq!(stage.missed("news", 12), Some(vec![]));
}

#[test]
fn another_process_that_begins_an_epoch_is_followed() {
    let mut stage = Stage::ready();
    let place = stage.tables.outbox.newest().unwrap();
    let other = Position::Table {
        epoch: 0x1234_5678,
        place,
    };
    stage.table().set("position", &other.to_string(), 0);
    stage.run(200);
    assert_eq!(stage.outbox().position(), Some(other));
    assert_eq!(stage.seen, [Seen::Gap]);
}

#[test]
fn two_processes_that_find_no_epoch_make_one() {
    let mut tables = tables();
    tables.outbox.state.remove("position");
    let mut one = Stage::new(tables, &Database::default());
    let claim = one.asks("claim");
    // The other was as fast, and is done before.
    let mut two = Stage::new(one.tables.clone(), &Database::default());
    two.process = crate::outbox_stories::stage::Process::new(&Database::default(), 2);
    two.run(500);
    let epoch = two.epoch();
    one.tables = two.tables;
    one.goes_on(&claim);
    one.run(500);
    assert_eq!(one.epoch(), epoch);
}

#[test]
fn tables_of_another_version_are_not_read_until_they_are_updated() {
    let mut tables = tables();
    tables.outbox.set("schema", "1", 0);
    let mut stage = Stage::new(tables, &Database::default());
    stage.run(60_000);
    assert!(
        (6..=7).contains(&stage.process.asked.len()),
        "{:?}",
        stage.process.asked
    );
    assert!(!stage.outbox().is_coming(), "no client waits for it");
    let place = stage.tables.outbox.newest().unwrap();
    let since = Position::Table { epoch: 1, place };
    assert_eq!(stage.reach_from("news", since, 0), Reach::No);
    stage.table().set("schema", "2", 0);
    stage.run(10_000);
    assert_eq!(stage.missed_since("news", since), Some(vec![]));
}

#[test]
fn a_missing_table_is_looked_for_every_ten_seconds() {
    for missing in ["check", "look", "tail", "stamp"] {
        let mut stage = Stage::ready();
        stage
            .tables
            .refused
            .insert(missing, "Table 'x_websockets_outbox' doesn't exist".into());
        stage.publish("news");
        if missing == "check" {
            stage.restart();
        }
        stage.run(2000);
        stage.process.asked.clear();
        stage.run(60_000);
        let asked = stage.count(missing);
        assert!((6..=30).contains(&asked), "{missing} is asked {asked} times a minute");
        stage.tables.refused.clear();
        stage.run(11_000);
        assert!(stage.outbox().is_ready());
        assert_eq!(stage.ids().len(), 1, "{missing}");
    }
}

#[test]
fn without_the_right_to_write_heartbeats_and_to_delete_rows_are_delivered_all_the_same() {
    let mut stage = Stage::ready();
    for what in ["heartbeat", "old", "delete"] {
        stage.tables.refused.insert(what, "INSERT command denied".into());
    }
    stage.run(30_000);
    let id = stage.publish("news");
    stage.run(200);
    assert_eq!(stage.ids(), [id]);
}

#[test]
fn an_outage_loses_nothing_and_asks_seldom() {
    let mut stage = Stage::ready();
    stage.tables.down = true;
    let id = stage.publish("news");
    stage.process.asked.clear();
    let position = stage.outbox().position();
    stage.run(60_000);
    assert!(stage.process.asked.len() <= 60, "{}", stage.process.asked.len());
    assert_eq!(
        stage.outbox().position(),
        position,
        "clients get the same position as before"
    );
    assert!(stage.counters().late_ms >= 59_000);
    stage.tables.down = false;
    stage.process.asked.clear();
    stage.run(1200);
    assert_eq!(stage.process.asked[0], "check", "it may be another table now");
    assert_eq!(stage.ids(), [id]);
    assert_eq!(stage.counters().epochs, 1);
}

#[test]
fn other_peoples_answers_are_ignored() {
    let mut stage = Stage::ready();
    stage.publish("news");
    let question = stage.asks("tail");
    let other = Question::Tail { after: 77, limit: 1 };
    let Ok(Answer::Rows(rows)) = stage
        .process
        .link
        .clone()
        .ask(&question, &mut stage.tables.clone(), stage.now())
    else {
        panic!("rows")
    };
    stage.answer(&other, Ok(Answer::Rows(rows.clone())));
    assert_eq!(stage.seen, []);
    stage.answer(&question, Ok(Answer::Rows(rows.clone())));
    assert_eq!(stage.numbers(), [2]);
    // Once.
    stage.answer(&question, Ok(Answer::Rows(rows)));
    assert_eq!(stage.seen, []);
    // Rows that were not asked for.
    stage.publish("news");
    let question = stage.asks("tail");
    stage.goes_on(&Question::Tail { after: 0, limit: 1 });
    stage.answer(&question, Err(Failure::Locked));
    stage.run(200);
    assert_eq!(stage.numbers(), [3]);
}

#[test]
fn where_reads_lag_behind_a_new_epoch_it_is_asked_again_with_pauses() {
    let mut stage = Stage::ready();
    stage.publish("news");
    stage.run(500);
    // Commits are forgotten, and another process has begun a new epoch already, but the node that is read does not show
    // it.
    stage.tables.crash(false);
    let lower = Position::Table {
        epoch: 1,
        place: stage.tables.outbox.place(1).unwrap(),
    };
    let begun = Position::Table {
        epoch: 2,
        place: stage.tables.outbox.newest().unwrap(),
    };
    stage.table().set("position", &lower.to_string(), 0);
    let now = stage.now().unix_ms.cast_signed();
    stage.table().remember(now);
    stage.table().set("position", &begun.to_string(), 0);
    stage.process.link.lag = 1;
    stage.process.asked.clear();
    stage.run(10_000);
    let asked = stage.process.asked.len();
    assert!(asked <= 10 * 15, "{asked} statements in 10 s");
    stage.process.link.lag = 0;
    stage.run(500);
    assert_eq!(stage.epoch(), 2);
}
