//! Numbers: locks of others, lost answers, and changed rows.

use jsocketd::config::Database;
use jsocketd::outbox::Seen;
use jsocketd::store::{Answer, Failure, Question};

use crate::memory::Link;
use crate::outbox_stories::stage::{Process, Stage, control, row};

#[test]
fn control_rows_are_the_first_of_a_stamp_and_a_stamp_is_bounded() {
    let mut stage = Stage::ready();
    for _ in 0..300 {
        stage.publish("news");
    }
    for user in 1..=250 {
        let data = format!(r#"{{"user_id":{user}}}"#);
        stage.table().publish(control("recheck-user", &data));
    }
    let question = stage.asks("stamp");
    let Question::Stamp { ids, .. } = &question else {
        panic!("{question:?}")
    };
    assert_eq!(ids.len(), 200);
    stage.goes_on(&question);
    stage.run(300);
    let at = stage
        .seen
        .iter()
        .position(|seen| matches!(seen, Seen::Event(_)))
        .unwrap();
    assert_eq!(at, 250, "nothing overtakes a control row");
    assert_eq!(stage.seen.len(), 550);
    assert_eq!(stage.last(), 551);
}

#[test]
fn rows_committed_between_the_two_reads_of_a_claim_come_behind_their_control_row() {
    let mut stage = Stage::ready();
    stage.publish("news");
    let writer = stage.table().begin();
    stage.table().insert(writer, row("news", "{}"));
    stage.table().insert(writer, control("recheck-access", "{}"));
    stage.tables.outbox.meanwhile.push(writer);
    stage.run(300);
    assert!(matches!(stage.seen[0], Seen::Control(_)), "{:?}", stage.seen);
    assert_eq!(stage.numbers(), [3, 4]);
}

#[test]
fn locked_rows_are_left_out_one_by_one() {
    let mut stage = Stage::ready();
    let ids: Vec<u64> = (0..20).map(|_| stage.publish("news")).collect();
    stage.tables.outbox.locked.push(ids[3]..=ids[4]);
    stage.run(600);
    let free: Vec<u64> = ids
        .iter()
        .copied()
        .filter(|id| ![ids[3], ids[4]].contains(id))
        .collect();
    assert_eq!(stage.ids(), free);
    stage.process.asked.clear();
    stage.run(10_000);
    assert!(stage.count("stamp") <= 100, "it is tried now and then");
    let later = stage.publish("news");
    stage.run(400);
    assert_eq!(stage.ids(), [later], "a later row is not delayed");
    stage.tables.outbox.locked.clear();
    stage.run(600);
    assert_eq!(stage.ids(), [ids[3], ids[4]]);
    stage.process.asked.clear();
    for _ in 0..50 {
        stage.publish("news");
    }
    stage.run(1500);
    assert!(stage.count("stamp") <= 2, "all together again");
}

#[test]
fn a_locked_control_row_delays_the_rows_behind_it() {
    let mut stage = Stage::ready();
    let user = |user: u32| control("recheck-user", &format!(r#"{{"user_id":{user}}}"#));
    let locked = stage.table().publish(user(1));
    stage.publish("news");
    stage.table().publish(user(2));
    stage.tables.outbox.locked.push(locked..=locked);
    stage.run(5000);
    assert_eq!(stage.seen, []);
    stage.tables.outbox.locked.clear();
    stage.run(600);
    assert_eq!(stage.seen.len(), 3);
    assert!(matches!(stage.seen[2], Seen::Event(_)));
}

#[test]
fn a_locked_table_costs_few_statements_and_is_no_failure() {
    let mut stage = Stage::ready();
    for _ in 0..50 {
        stage.publish("news");
    }
    stage.tables.outbox.locked.push(0..=u64::MAX);
    stage.run(2000);
    stage.process.asked.clear();
    stage.run(10_000);
    let asked = stage.process.asked.len();
    assert!(asked <= 10 * 250, "{asked} statements in 10 s");
    stage.tables.outbox.locked.clear();
    stage.run(700);
    assert_eq!(stage.ids().len(), 50);
}

#[test]
fn a_stamp_whose_rows_are_not_there_any_more_is_tried_every_ten_seconds() {
    let mut stage = Stage::ready();
    let (gone, stays) = (stage.table().begin(), stage.publish("news"));
    let id = stage.table().insert(gone, row("news", "{}"));
    stage.table().commit(gone);
    let question = stage.asks("stamp");
    let Question::Stamp { ids, .. } = &question else {
        panic!("{question:?}")
    };
    assert_eq!(*ids, [stays, id]);
    // An administrator has deleted the row: the number of rows is another one.
    let why = Failure::Refused("Column 'value' cannot be null".into());
    stage.process.link.fail_next(1, why.clone());
    stage.goes_on(&question);
    stage.failing = vec![("stamp", why)];
    stage.process.asked.clear();
    stage.run(60_000);
    assert!((5..=6).contains(&stage.count("stamp")));
    stage.failing.clear();
    stage.run(11_000);
    assert_eq!(stage.ids(), [stays, id]);
}

#[test]
fn a_process_that_stops_in_its_transaction_is_waited_for_and_another_goes_on() {
    let mut stage = Stage::ready();
    let mut other = Process::new(&Database::default(), 2);
    stage.publish("news");
    // The other one claims and stops.
    let claim = loop {
        let now = stage.now();
        other.is_connected(&stage.tables, now);
        let question = other.question(now).expect("it begins");
        let answer = other.link.ask(&question, &mut stage.tables, now);
        other.outbox.answer(&question, answer, now);
        if question.name() == "claim" {
            break question;
        }
    };
    assert_eq!(claim.name(), "claim");
    stage.process.asked.clear();
    stage.run(5000);
    assert!(
        (4800..=5000).contains(&stage.counters().locked_ms),
        "{}",
        stage.counters().locked_ms
    );
    assert!(stage.process.asked.len() <= 5 * 120, "{}", stage.process.asked.len());
    assert_eq!(stage.seen, []);
    stage.tables.end(2);
    stage.run(150);
    assert_eq!((stage.numbers(), stage.counters().locked_ms), (vec![2], 0));
    // The other process comes back, and the rows that it read are of no use.
    let now = stage.now();
    let question = other.question(now).expect("the end of its transaction");
    assert!(question.ends_transaction());
    let answer = other.link.ask(&question, &mut stage.tables, now);
    assert!(matches!(answer, Err(Failure::Unavailable(_))));
    other.outbox.answer(&question, answer, now);
    stage.us += 1_000_000;
    while let Some(question) = {
        let now = stage.now();
        other
            .is_connected(&stage.tables, now)
            .then(|| other.question(now))
            .flatten()
    } {
        let now = stage.now();
        let answer = other.link.ask(&question, &mut stage.tables, now);
        other.outbox.answer(&question, answer, now);
    }
    assert_eq!(other.outbox.position(), stage.outbox().position());
}

#[test]
fn after_a_lost_answer_of_a_commit_the_next_tail_decides() {
    for how in [
        "it was done",
        "it was not",
        "it is done later",
        "it is done when others wait for it",
    ] {
        let mut stage = Stage::ready();
        let first = stage.publish("news");
        let question = stage.asks("stamp");
        let link: &mut Link = &mut stage.process.link;
        match how {
            "it was done" => link.lose_next(1),
            "it was not" => link.fail_next(1, Failure::Unavailable("gone".into())),
            "it is done later" => link.delay_next(700),
            _ => link.delay_next(3000),
        }
        stage.goes_on(&question);
        let second = stage.publish("news");
        stage.run(6000);
        assert_eq!(stage.ids(), [first, second], "{how}");
        assert_eq!((stage.last(), stage.counters().epochs), (3, 1), "{how}");
    }
}

#[test]
fn a_lost_answer_leaves_no_transaction_behind() {
    for name in [
        "check",
        "look",
        "look-behind",
        "claim",
        "stamp",
        "tail",
        "heartbeat",
        "old",
        "delete",
    ] {
        let mut stage = Stage::ready();
        let first = stage.publish("news");
        if name == "check" {
            stage.restart();
        }
        let question = stage.asks(name);
        stage.process.link.lose_next(1);
        stage.goes_on(&question);
        stage.run(3000);
        let second = stage.publish("news");
        stage.run(300);
        let mut ids = stage.ids();
        ids.sort_unstable();
        assert_eq!(ids, [first, second], "{name}");
        assert!(stage.tables.outbox.is_unlocked());
    }
}

#[test]
fn rows_that_another_process_stamps_at_the_same_moment_are_not_waited_for_until_the_next_poll() {
    let slow = Database {
        poll_ms: 5000,
        idle_poll_ms: 5000,
        ..Database::default()
    };
    let settings = [Database::default(), slow];
    for (settings, holds) in settings
        .iter()
        .flat_map(|settings| [(settings, false), (settings, true)])
    {
        let mut stage = Stage::ready_with(settings);
        stage.run(3000);
        stage.publish("news");
        let now = stage.now();
        stage.process.outbox.nudge(now);
        let claim = stage.asks("claim");
        let mut other = Link::new(2);
        let now = stage.now();
        let Ok(Answer::Claimed(claimed)) = other.ask(&claim, &mut stage.tables, now) else {
            panic!("it is claimed")
        };
        let stamp = Question::Stamp {
            ids: claimed.ids,
            epoch: 1,
            first: 2,
            mark: claimed.tables.now_ms,
        };
        if holds {
            // It is between its two questions.
            stage.goes_on(&claim);
            other.ask(&stamp, &mut stage.tables, now).unwrap();
        } else {
            other.ask(&stamp, &mut stage.tables, now).unwrap();
            stage.goes_on(&claim);
        }
        stage.run(if holds { 10 } else { 0 });
        assert_eq!(stage.numbers(), [2], "held: {holds}, {} ms", settings.poll_ms);
    }
}

#[test]
fn a_claim_that_finds_nothing_delays_no_row() {
    let mut stage = Stage::ready();
    stage.run(3000);
    for _ in 0..200 {
        stage.publish("news");
    }
    // As many as a stamp has room for, so there may be more.
    let claim = stage.asks("claim");
    stage.goes_on(&claim);
    stage.work();
    assert_eq!(stage.ids().len(), 200);
    let id = stage.publish("news");
    stage.run(21);
    assert_eq!(stage.ids(), [id]);
}
