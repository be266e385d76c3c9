//! Reading the table: which rows are seen, in which order, how soon, and for how many statements.

use jsocketd::config::Database;
use jsocketd::outbox::{Reach, Seen};
use jsocketd::protocol::control::Control;
use jsocketd::protocol::rows::Missed;
use jsocketd::store::{Failure, Look, NewRow, Question};

use crate::outbox_stories::stage::{Stage, control, event, row};

#[test]
fn a_row_is_delivered_with_its_position() {
    let mut stage = Stage::ready();
    stage.table().publish(row("news", "{\"a\":1}"));
    stage.run(100);
    let position = stage.outbox().position().unwrap();
    let [Seen::Event(event)] = stage.seen.as_slice() else {
        panic!("{:?}", stage.seen)
    };
    assert_eq!(
        event.logged.frame.as_str(),
        format!(r#"{{"event":"e","channel":"news","data":"{{\"a\":1}}","id":"{position}"}}"#)
    );
    assert_eq!((event.channel.as_str(), event.data.as_str()), ("news", "{\"a\":1}"));
    assert_eq!(position.number(), 2);
    assert_eq!(stage.tables.outbox.position(), Some(&*position.to_string()));
}

#[test]
fn rows_come_in_the_order_in_which_they_become_visible() {
    let mut stage = Stage::ready();
    let table = stage.table();
    let (one, two) = (table.begin(), table.begin());
    let ids = table.reserve(4);
    table.insert_at(one, ids[3], row("news", "{}"));
    table.insert_at(two, ids[0], row("news", "{}"));
    table.insert_at(one, ids[1], row("news", "{}"));
    let id = stage.publish("news");
    stage.run(100);
    assert_eq!(stage.ids(), [id]);
    stage.table().commit(one);
    stage.run(150);
    assert_eq!(stage.ids(), [ids[1], ids[3]]);
    stage.run(120_000);
    assert_eq!(stage.ids(), [0; 0]);
    stage.table().commit(two);
    stage.run(1150);
    assert_eq!(stage.ids(), [ids[0]], "after minutes too");
    assert_eq!(stage.missed("news", 1), Some(vec![2, 3, 4, 5]));
    stage.table().reserve(100);
    let lost = stage.table().begin();
    stage.table().insert(lost, row("news", "{}"));
    stage.table().rollback(lost);
    stage.run(10_000);
    assert_eq!((stage.ids(), stage.last()), (vec![], 5));
}

#[test]
fn ids_that_the_writer_chose_are_found_wherever_they_are() {
    let mut stage = Stage::ready();
    stage.table().next = 1000;
    for _ in 0..3 {
        stage.publish("news");
        stage.run(2000);
    }
    stage.numbers();
    let writer = stage.table().begin();
    stage.table().insert_at(writer, 7, row("news", "{}"));
    stage.table().insert_at(writer, 5_000_000, row("news", "{}"));
    stage.table().commit(writer);
    stage.run(1150);
    assert_eq!(
        stage.ids(),
        [7, 5_000_000],
        "rows of one transaction in the order of their ids"
    );
    let id = stage.publish("news");
    stage.run(110);
    assert_eq!(stage.ids(), [id]);
}

#[test]
fn a_row_is_delivered_within_a_poll_and_one_that_stood_uncommitted_a_second_later() {
    let mut stage = Stage::ready();
    let mut worst = (0, 0);
    for n in 0..200u64 {
        let writer = stage.table().begin();
        let id = stage.table().insert(writer, row("news", "{}"));
        // Others go on meanwhile.
        for _ in 0..3 {
            stage.run(37 + n % 7);
            stage.publish("news");
        }
        let long = n % 4 == 0;
        stage.run(if long { 1500 + n * 10 } else { n % 800 });
        stage.ids();
        stage.table().commit(writer);
        let began = stage.us;
        while !stage.ids().contains(&id) {
            stage.run(1);
        }
        let took = (stage.us - began) / 1000;
        match long {
            true => worst.1 = worst.1.max(took),
            false => worst.0 = worst.0.max(took),
        }
    }
    assert!(worst.0 <= 101, "{} ms", worst.0);
    assert!(worst.1 > 200 && worst.1 <= 1101, "{} ms", worst.1);
}

#[test]
fn a_row_found_behind_is_stamped_even_right_after_a_row_found_in_front() {
    let mut stage = Stage::ready();
    let writer = stage.table().begin();
    let behind = stage.table().insert(writer, row("news", "{}"));
    stage.publish("news");
    stage.run(5000);
    stage.ids();
    // Both looks are due.
    stage.us += 1_500_000;
    stage.table().commit(writer);
    let front = stage.publish("news");
    stage.run(50);
    let mut ids = stage.ids();
    ids.sort_unstable();
    assert_eq!(ids, [behind, front]);
}

#[test]
fn it_polls_fast_while_rows_come_and_at_once_after_a_nudge() {
    let mut stage = Stage::ready();
    stage.run(3000);
    let per_second = |stage: &mut Stage| {
        stage.process.asked.clear();
        stage.run(1000);
        let asked = std::mem::take(&mut stage.process.asked);
        let count = |name| asked.iter().filter(|asked| **asked == name).count();
        (count("look"), count("look-behind"))
    };
    assert!(matches!(per_second(&mut stage), (9..=10, 1)));
    stage.publish("news");
    stage.run(100);
    let busy = per_second(&mut stage);
    assert!(matches!(busy, (45..=51, 1)), "{busy:?}");
    stage.run(3000);
    stage.process.asked.clear();
    while stage.count("look") == 0 {
        stage.run(1);
    }
    let now = stage.now();
    stage.outbox().nudge(now);
    stage.work();
    assert_eq!(stage.count("look"), 1);
}

#[test]
fn without_connections_it_queries_seldom() {
    let mut stage = Stage::ready();
    stage.process.alone = true;
    stage.run(5000);
    stage.process.asked.clear();
    for _ in 0..600 {
        stage.run(100);
        assert!(stage.counters().late_ms < 50, "that it looks seldom is no lateness");
    }
    let all = stage.process.asked.len();
    assert!(all <= 90, "{all} statements a minute: {:?}", stage.process.asked);
    let id = stage.publish("news");
    stage.run(4100);
    assert_eq!(stage.ids(), [id], "rows get their numbers all the same");
}

#[test]
fn an_idle_process_asks_few_statements_and_a_busy_one_a_bounded_number() {
    let mut stage = Stage::ready();
    stage.run(3000);
    stage.process.asked.clear();
    stage.run(100_000);
    let idle = stage.process.asked.len();
    assert!(idle <= 100 * 12, "{idle} in 100 s");
    stage.process.asked.clear();
    for _ in 0..1000 {
        for _ in 0..5 {
            stage.publish("news");
        }
        stage.run(1);
    }
    stage.run(100);
    assert_eq!(stage.ids().len(), 5000);
    let busy = stage.process.asked.len();
    assert!(busy <= 51 * 5, "{busy} in a second with 5000 rows");
}

#[test]
fn an_answer_is_bounded_and_the_rest_follows_at_once() {
    for (most_bytes, limit) in [(10_240, 409), (1, 500), (100 << 20, 16)] {
        let settings = Database::default();
        let mut stage = Stage::ready();
        stage.outbox().reconfigure(&settings, most_bytes);
        stage.run(10_000);
        (0..2000).for_each(|_| _ = stage.publish("news"));
        let mut limits = Vec::new();
        while stage.last() < 2001 {
            let question = stage.asks("tail");
            stage.goes_on(&question);
            if let Question::Tail { limit, .. } = question {
                limits.push(limit);
            }
        }
        let first = limits.iter().position(|own| *own == limit).expect("the most");
        assert!(
            first < 6 && limits[first..].iter().all(|own| *own == limit),
            "{limits:?}"
        );
    }
}

#[test]
fn an_answer_that_takes_too_long_is_asked_for_in_smaller_parts() {
    let mut stage = Stage::ready();
    stage.run(10_000);
    (0..150).for_each(|_| _ = stage.publish("news"));
    let mut limits = Vec::new();
    while limits.len() < 6 {
        let question = stage.asks("tail");
        let Question::Tail { limit, .. } = question else {
            panic!("{question:?}")
        };
        limits.push(limit);
        stage.answer(&question, Err(Failure::TooLong));
    }
    assert!(limits.is_sorted_by(|a, b| a > b || *b == 16), "{limits:?}");
    stage.run(200);
    assert_eq!(stage.ids().len(), 150);
}

// --- what a row says -------------------------------------------------------------------------------------------------

#[test]
fn a_bad_row_is_counted_skipped_and_numbered() {
    let mut stage = Stage::ready();
    stage.publish("no channel");
    stage.publish("news");
    stage.publish("#control");
    stage.tables.outbox.longest_data = 100;
    stage.table().publish(row("news", &format!("{:0>101}", 1)));
    stage.run(150);
    assert_eq!(stage.numbers(), [3 + 1], "the control row came first, bad as it is");
    assert_eq!((stage.counters().bad, stage.counters().rows), (3, 4));
    assert_eq!(stage.last(), 5);
    assert_eq!(stage.missed("news", 1), Some(vec![4]));
}

#[test]
fn control_rows_come_before_all_rows_committed_behind_them_and_never_reach_clients() {
    let mut stage = Stage::ready();
    stage.publish("news");
    stage.table().publish(control("recheck-user", r#"{"user_id":42}"#));
    stage.publish("news");
    stage.run(100);
    assert_eq!(stage.seen[0], Seen::Control(Control::RecheckUser(42)));
    assert_eq!(stage.numbers(), [3, 4], "within one stamp control rows are the first");
    assert_eq!(stage.missed("#control", 1), Some(vec![]));
    // A transaction that wrote it last.
    let writer = stage.table().begin();
    stage.table().insert(writer, row("news", "{}"));
    stage.table().insert(writer, control("recheck-access", "{}"));
    stage.table().commit(writer);
    stage.run(100);
    assert_eq!(stage.seen[0], Seen::Control(Control::RecheckAccess));
    assert_eq!(stage.numbers(), [6]);
}

#[test]
fn the_socket_that_published_is_named() {
    let mut stage = Stage::ready();
    let socket = NewRow {
        socket_id: Some("12.34".into()),
        ..row("news", "{}")
    };
    stage.table().publish(socket);
    stage.run(100);
    let socket = "12.34".parse().ok();
    assert_eq!(event(&stage.seen[0]).unwrap().logged.except, socket);
    let now = stage.now();
    let Missed::Event(logged) = stage.outbox().missed("news", 1, now) else {
        panic!("it is retained");
    };
    assert_eq!(logged.except, socket);
}

// --- rows in flight --------------------------------------------------------------------------------------------------

#[test]
fn tens_of_thousands_of_rows_in_flight_delay_no_other_row() {
    let mut stage = Stage::ready();
    for _ in 0..5 {
        stage.publish("news");
    }
    stage.run(3000);
    let hidden = stage.table().begin();
    let early = stage.table().insert(hidden, row("news", "{}"));
    let alone = 1_000_000;
    stage.table().insert_at(hidden, alone, row("news", "{}"));
    let import = stage.table().begin();
    for _ in 0..60_000 {
        stage.table().insert(import, row("news", "{}"));
    }
    // All of them are too many for the budget, or for a statement.
    for most in [400_000, 50_000] {
        stage.tables.outbox.most_in_flight = most;
        stage.run(12_000);
        stage.ids();
        stage.process.asked.clear();
        let id = stage.publish("news");
        stage.run(150);
        assert_eq!(stage.ids(), [id], "{most}");
        stage.run(10_000);
        assert!(stage.process.asked.len() <= 10 * 40, "{}", stage.process.asked.len());
        let windows = (0..100).filter(|_| {
            let look = stage.asks("look-behind");
            stage.goes_on(&look);
            matches!(look, Question::Look(Look::Window { .. }))
        });
        let windows = windows.count();
        assert!(windows >= 90, "{windows} of 100 go by windows");
    }
    stage.table().commit(hidden);
    stage.run(1500);
    let mut ids = stage.ids();
    ids.sort_unstable();
    assert_eq!(ids, [early, alone], "the windows find them");
    stage.table().commit(import);
    stage.run(12_000);
    assert_eq!(stage.ids().len(), 60_000);
    stage.run(25_000);
    let behind = stage.asks("look-behind");
    assert!(
        !matches!(behind, Question::Look(Look::Window { .. })),
        "as before: {behind:?}"
    );
}

// --- rows that are missing -------------------------------------------------------------------------------------------

#[test]
fn rows_that_were_deleted_before_they_were_seen_are_a_gap_for_all_clients() {
    let mut stage = Stage::ready();
    stage.publish("news");
    stage.run(500);
    stage.numbers();
    // The process stops for longer than the retention; others stamp and delete.
    let mut other = Stage::new(stage.tables.clone(), &Database::default());
    other.process = crate::outbox_stories::stage::Process::new(&Database::default(), 2);
    other.us = stage.us;
    for _ in 0..10 {
        other.publish("news");
    }
    other.run(500);
    other.table().trim(8);
    (stage.tables, stage.us) = (other.tables, other.us);
    let old = stage.outbox().position().unwrap();
    stage.run(1900);
    assert_eq!((stage.seen.as_slice(), stage.last()), (&[][..], 2), "a node may lag");
    stage.run(400);
    assert_eq!(stage.seen.remove(0), Seen::Gap);
    assert_eq!(stage.numbers(), [9, 10, 11, 12]);
    assert_eq!(stage.reach_from("news", old, 0), Reach::No);
    assert_eq!(stage.reach("news", 7), Reach::No);
    assert_eq!(stage.missed("news", 9), Some(vec![10, 11, 12]));
}

#[test]
fn rows_that_are_gone_although_the_position_counts_them_are_a_gap_too() {
    let mut stage = Stage::ready();
    stage.publish("news");
    let tail = stage.asks("tail");
    stage.table().truncate();
    stage.goes_on(&tail);
    stage.run(1900);
    assert_eq!((stage.seen.as_slice(), stage.last()), (&[][..], 1));
    stage.run(400);
    assert_eq!((stage.seen.as_slice(), stage.last()), (&[Seen::Gap][..], 2));
    stage.process.asked.clear();
    stage.run(10_000);
    assert!(stage.process.asked.len() <= 130, "{}", stage.process.asked.len());
    stage.publish("news");
    stage.run(1200);
    assert_eq!(stage.numbers(), [3]);
}

#[test]
fn a_node_that_lags_is_waited_for() {
    let mut stage = Stage::ready();
    stage.process.link.lag = 1700;
    for _ in 0..100 {
        let now = stage.now().unix_ms.cast_signed();
        stage.publish("news");
        stage.run(53);
        stage.tables.outbox.remember(now);
    }
    for _ in 0..40 {
        let now = stage.now().unix_ms.cast_signed();
        stage.tables.outbox.remember(now);
        stage.run(100);
    }
    let numbers: Vec<u64> = (2..=101).collect();
    assert!(!stage.seen.contains(&Seen::Gap));
    assert_eq!(stage.numbers(), numbers);
    // The next connection is to a node that lags more.
    stage.publish("news");
    stage.run(150);
    stage.process.link.lag = 1900;
    stage.process.link.fail_next(1, Failure::Unavailable("gone".into()));
    for _ in 0..60 {
        let now = stage.now().unix_ms.cast_signed();
        stage.tables.outbox.remember(now);
        stage.run(100);
    }
    assert!(!stage.seen.contains(&Seen::Gap));
    assert_eq!((stage.numbers(), stage.counters().epochs), (vec![102], 1));
}
