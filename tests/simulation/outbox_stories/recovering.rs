//! Positions that clients send, and the answers about their absence.

use jsocketd::config::Database;
use jsocketd::outbox::{Outbox, Reach};
use jsocketd::protocol::position::{Place, Position};
use jsocketd::protocol::rows::Missed;
use jsocketd::store::{Failure, Question};

use crate::outbox_stories::stage::{Stage, row};

#[test]
fn a_recovery_is_refused_if_and_only_if_the_row_of_the_position_is_not_there() {
    let mut stage = Stage::ready();
    for n in 0..10 {
        stage.publish(["a", "b"][n % 2]);
    }
    stage.run(200);
    assert_eq!(stage.missed("a", 1), Some(vec![2, 4, 6, 8, 10]));
    assert_eq!(stage.missed("a", 6), Some(vec![8, 10]));
    assert_eq!(
        stage.missed("a", 7),
        Some(vec![8, 10]),
        "the row may be another channel's"
    );
    assert_eq!(stage.missed("c", 5), Some(vec![]));
    assert_eq!(stage.missed("a", 11), Some(vec![]));
    let (epoch, place) = (stage.epoch(), stage.tables.outbox.place(5).unwrap());
    let Place { seq, mark } = place;
    for (why, epoch, place) in [
        ("another epoch", epoch + 1, place),
        ("another row", epoch, Place { seq, mark: mark + 1 }),
        ("no row", epoch, Place { seq: 0, mark: 0 }),
        (
            "the newest row's number, but another row",
            epoch,
            Place { seq: 11, mark: 1 },
        ),
        ("nowhere", 0, Place { seq: 0, mark: 0 }),
    ] {
        assert_eq!(stage.missed_since("a", Position::Table { epoch, place }), None, "{why}");
    }
    let memory = Position::Memory { start: 1, n: 5 };
    assert_eq!(stage.reach_from("a", memory, 0), Reach::No);
}

#[test]
fn a_client_from_a_faster_process_waits_for_the_tail() {
    let mut stage = Stage::ready();
    stage.run(3000);
    let mut other = Stage::new(stage.tables.clone(), &Database::default());
    other.process = crate::outbox_stories::stage::Process::new(&Database::default(), 2);
    other.us = stage.us;
    other.publish("a");
    other.run(150);
    let (since, started) = (other.since(2), stage.us);
    stage.tables = other.tables;
    // Before this process has looked.
    stage.us = started + 1;
    let before = stage.outbox().generation();
    assert_eq!(stage.reach_from("a", since, 0), Reach::Ask);
    stage.run(30);
    assert_ne!(stage.outbox().generation(), before, "the poll is not waited for");
    assert_eq!(stage.reach_from("a", since, 30), Reach::Yes);
    // A row that never comes.
    let above = Position::Table {
        epoch: stage.epoch(),
        place: Place { seq: 3, mark: 7 },
    };
    let began = stage.us;
    assert_eq!(stage.missed_since("a", above), None);
    let waited = (stage.us - began) / 1000;
    assert!((2000..=2150).contains(&waited), "{waited} ms");
}

#[test]
fn many_clients_that_wait_for_rows_that_never_come_cost_no_more_polls() {
    let mut stage = Stage::ready();
    stage.run(3000);
    stage.process.asked.clear();
    for seq in 0..1000 {
        let since = stage.since(100 + seq);
        stage.reach_from("a", since, 0);
    }
    stage.run(1000);
    let asked = stage.process.asked.len();
    assert!(asked <= 60, "{asked} statements a second");
}

/// A hundred rows in two channels, of which memory has the last ones.
fn small_history(rows: usize) -> Stage {
    let settings = Database {
        history_rows: rows,
        ..Database::default()
    };
    let mut stage = Stage::ready_with(&settings);
    for n in 0..100 {
        stage.publish(["b", "a"][n % 2]);
    }
    stage.run(200);
    stage.numbers();
    stage
}

fn odd(from: u64, to: u64) -> Vec<u64> {
    (from..=to).filter(|n| n % 2 == 1).collect()
}

#[test]
fn rows_that_left_memory_are_read_once_for_all_clients() {
    let mut stage = small_history(10);
    assert_eq!(stage.counters().history_rows, 10);
    assert_eq!(stage.reach("a", 91), Reach::Yes);
    stage.process.asked.clear();
    for since in [50, 20, 60] {
        assert_eq!(stage.reach("a", since), Reach::Read);
    }
    assert_eq!(stage.missed("a", 20), Some(odd(21, 101)));
    assert_eq!(stage.missed("a", 60), Some(odd(61, 101)));
    assert_eq!(stage.count("channel"), 1);
    assert_eq!(
        stage.missed("a", 1),
        Some(odd(2, 101)),
        "further down only the rest is read"
    );
    assert_eq!(stage.count("channel"), 1);
    // Rows that leave memory meanwhile are kept for the clients that are being served.
    for _ in 0..20 {
        stage.publish("a");
    }
    stage.run(200);
    let all = [odd(21, 101), (102..=121).collect()].concat();
    assert_eq!(stage.missed("a", 20), Some(all));
    assert_eq!(stage.count("channel"), 0);
    for _ in 0..3 {
        stage.run(59_000);
        let now = stage.now();
        assert_ne!(
            stage.outbox().missed("a", 20, now),
            Missed::Gone,
            "a recovery that goes on keeps it"
        );
    }
    stage.run(62_000);
    let now = stage.now();
    assert_eq!(stage.outbox().missed("a", 20, now), Missed::Gone, "it is forgotten");
    assert_ne!(stage.outbox().missed("a", 115, now), Missed::Gone);
}

#[test]
fn a_position_is_believed_only_after_everything_behind_it_was_read() {
    let mut stage = small_history(10);
    let since = stage.since(20);
    assert_eq!(stage.reach_from("a", since, 0), Reach::Read);
    let channel = stage.asks("channel");
    stage.goes_on(&channel);
    // A deleter comes between.
    stage.table().trim(40);
    assert_eq!(stage.missed_since("a", since), None);
    assert_eq!(stage.missed("a", 41).map(|missed| missed[0]), Some(43));
}

#[test]
fn a_checked_position_must_be_checked_again_for_a_later_read() {
    let mut stage = small_history(10);
    let since = stage.since(20);
    assert_eq!(stage.missed_since("a", since), Some(odd(21, 101)));
    stage.table().trim(40);
    assert_eq!(stage.missed_since("b", since), None, "rows of this channel are gone");
}

#[test]
fn a_position_that_was_deleted_is_a_gap_although_the_channel_has_rows() {
    let mut stage = small_history(10);
    let (old, kept) = (stage.since(40), stage.since(41));
    stage.table().trim(40);
    assert_eq!(stage.missed_since("a", old), None);
    assert_eq!(stage.missed_since("a", kept), Some(odd(43, 101)));
}

#[test]
fn a_recovery_that_is_too_large_for_memory_is_refused() {
    let settings = Database {
        history_rows: 10,
        history_bytes: 40_000,
        ..Database::default()
    };
    let mut stage = Stage::ready_with(&settings);
    for n in 0..200 {
        stage.publish(["b", "a"][n % 2]);
    }
    stage.run(300);
    assert_eq!(stage.missed("a", 20), None);
    assert!(
        stage.counters().history_bytes <= 40_000 * 5 / 4,
        "{}",
        stage.counters().history_bytes
    );
    assert_eq!(stage.missed("a", 170), Some(odd(171, 201)), "the newest ones are kept");
    assert_eq!(
        stage.missed("b", 170).map(|missed| missed.len()),
        Some(15),
        "each channel has its own bound"
    );
}

#[test]
fn a_channel_that_is_read_in_parts_is_whole() {
    let settings = Database {
        history_rows: 10,
        ..Database::default()
    };
    let mut stage = Stage::ready_with(&settings);
    for _ in 0..2000 {
        stage.publish("a");
    }
    stage.run(500);
    stage.process.asked.clear();
    assert_eq!(stage.missed("a", 1), Some((2..=2001).collect()));
    assert!((5..=6).contains(&stage.count("channel")));
    // Parts that take too long are made smaller.
    stage.publish("b");
    stage.run(70_000);
    assert_eq!(stage.reach("a", 1000), Reach::Read);
    let mut parts = Vec::new();
    for _ in 0..3 {
        let question = stage.asks("channel");
        let Question::Channel(range) = &question else {
            panic!("{question:?}")
        };
        parts.push(range.limit);
        stage.answer(&question, Err(Failure::TooLong));
    }
    assert!(parts.is_sorted_by(|a, b| a > b), "{parts:?}");
    assert_eq!(stage.missed("a", 1000), Some((1001..=2001).collect()));
}

#[test]
fn a_recovery_waits_while_the_database_is_away() {
    for failure in [Failure::Unavailable("gone".into()), Failure::Locked] {
        for name in ["channel", "check"] {
            let mut stage = small_history(10);
            stage.failing = vec![(name, failure.clone())];
            assert_eq!(stage.reach("a", 20), Reach::Read);
            stage.run(3000);
            let reach = stage.reach("a", 20);
            stage.failing.clear();
            let missed = stage.missed("a", 20);
            match (name, &failure) {
                // It cannot be had.
                ("channel", Failure::Locked) => assert_eq!((reach, missed), (Reach::No, None)),
                _ => assert_eq!((reach, missed), (Reach::Read, Some(odd(21, 101))), "{name} {failure:?}"),
            }
        }
    }
}

#[test]
fn a_thousand_empty_channels_keep_no_places() {
    let mut stage = small_history(10);
    let now = stage.now();
    let since = stage.since(20);
    for n in 0..1000 {
        assert_eq!(stage.reach_from(&format!("x{n}"), since, 0), Reach::Read);
    }
    assert_ne!(stage.reach_from("a", since, 0), Reach::No, "it waits for its turn");
    assert_eq!(stage.missed_since("a", since), Some(odd(21, 101)));
    assert!(stage.now().at.since(now.at).as_millis() < 1000);
    // Channels that are being read do not lose their places.
    for n in 0..999 {
        assert_eq!(stage.missed_since(&format!("y{n}"), since), Some(vec![]));
    }
}

#[test]
fn a_channel_that_is_kept_does_not_make_the_loop_wake() {
    let mut stage = small_history(10);
    assert_eq!(stage.missed("a", 20), Some(odd(21, 101)));
    stage.run(2000);
    stage.process.asked.clear();
    stage.run(10_000);
    assert!(stage.process.asked.len() <= 120, "{}", stage.process.asked.len());
}

#[test]
fn a_waiting_client_is_woken_when_it_must_ask_again() {
    let mut stage = small_history(10);
    let since = stage.since(20);
    assert_eq!(stage.reach_from("a", since, 0), Reach::Read);
    let before = stage.outbox().generation();
    stage.run(60);
    assert_ne!(stage.outbox().generation(), before);
    assert_eq!(
        stage.reach_from("a", since, 60),
        Reach::Read,
        "now the position is looked for"
    );
    let before = stage.outbox().generation();
    stage.run(60);
    assert_ne!(stage.outbox().generation(), before);
    assert_eq!(stage.reach_from("a", since, 120), Reach::Yes);
    let before = stage.outbox().generation();
    stage.run(30_000);
    assert_eq!(stage.outbox().generation(), before, "no client is woken for nothing");
}

#[test]
fn the_limits_of_the_settings_hold_after_a_reload() {
    let mut stage = small_history(50);
    let settings = Database {
        history_rows: 5,
        ..Database::default()
    };
    stage.outbox().reconfigure(&settings, 10_240);
    assert_eq!(stage.counters().history_rows, 5);
    assert_eq!(stage.reach("a", 96), Reach::Yes);
    assert_eq!(stage.missed("a", 20), Some(odd(21, 101)));
}

#[test]
fn no_history_at_all_is_read_from_the_table() {
    let mut stage = small_history(0);
    assert_eq!(stage.counters().history_rows, 0);
    assert_eq!(stage.missed("a", 101), Some(vec![]));
    assert_eq!(stage.missed("a", 97), Some(vec![99, 101]));
    let id = stage.table().publish(row("a", "{}"));
    stage.run(200);
    assert_eq!(stage.ids(), [id]);
    assert_eq!(stage.missed("a", 97), Some(vec![99, 101, 102]));
    let _: &mut Outbox = stage.outbox();
}

#[test]
fn channels_that_have_no_room_together_are_not_read_in_turn_for_ever() {
    let settings = Database {
        history_rows: 4,
        history_bytes: 44_000,
        ..Database::default()
    };
    let mut stage = Stage::ready_with(&settings);
    for n in 0..60 {
        stage.publish(["a", "b", "c"][n % 3]);
    }
    stage.run(300);
    let since = stage.since(20);
    let mut told = Vec::new();
    stage.process.asked.clear();
    for _ in 0..100 {
        for channel in ["a", "b", "c"] {
            let known = told.iter().any(|(own, _)| *own == channel);
            match stage.reach_from(channel, since, 0) {
                Reach::Ask | Reach::Read => {}
                reach if !known => told.push((channel, reach)),
                _ => {}
            }
        }
        stage.run(10);
    }
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter().filter(|(_, reach)| *reach == Reach::Yes).count() >= 2,
        "{told:?}"
    );
    assert!(stage.count("channel") <= 6);
}

#[test]
fn a_checked_position_stays_valid_while_other_channels_are_read() {
    let mut stage = small_history(10);
    let since = stage.since(20);
    assert_eq!(stage.missed_since("a", since), Some(odd(21, 101)));
    // Others connect all the time, and none of them wakes the others.
    stage.run(70_000);
    assert_eq!(stage.reach_from("a", since, 0), Reach::Read);
    let channel = stage.asks("channel");
    stage.goes_on(&channel);
    assert_eq!(stage.reach_from("a", since, 0), Reach::Read);
    let check = stage.asks("check");
    stage.goes_on(&check);
    assert_eq!(stage.reach_from("b", since, 0), Reach::Read);
    let channel = stage.asks("channel");
    stage.goes_on(&channel);
    assert_eq!(stage.reach_from("a", since, 0), Reach::Yes);
    assert_eq!(
        stage.reach_from("b", since, 0),
        Reach::Read,
        "but it was said before this was read"
    );
}
