//! The outbox in dialogue with a small table: what it asks for, what it makes of the answers, and what follows from the
//! contract's sentences one by one. `storm` plays thousands of stories.

mod storm;
mod table;

use self::table::Table;
use super::{Counters, Event, Outbox, Reach, Seen, runs};
use crate::app::outbox::control::Control;
use crate::config::Database;
use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Question, Row};
use crate::time::{Now, Time};

pub(super) const START_MS: u64 = 1_800_000_000_000;

pub(super) fn at(ms: u64) -> Now {
    Now {
        at: Time(ms * 1000),
        unix_ms: START_MS + ms,
    }
}

/// An outbox with its table and a clock in milliseconds.
struct Stage {
    outbox: Outbox,
    table: Table,
    ms: u64,
    seen: Vec<Seen>,
    /// What was asked, by name.
    asked: Vec<&'static str>,
    /// Questions that fail, by name.
    failing: Vec<(&'static str, Failure)>,
}

impl Stage {
    fn new(table: Table) -> Self {
        Self::with(table, &Database::default())
    }

    fn with(table: Table, settings: &Database) -> Self {
        Self {
            outbox: Outbox::new(settings, 0xabc, 10_240),
            table,
            ms: 0,
            seen: Vec::new(),
            asked: Vec::new(),
            failing: Vec::new(),
        }
    }

    /// A stage on which the tail runs, and nothing is open.
    fn ready() -> Self {
        let mut stage = Self::new(Table::new());
        stage.run(10);
        assert!(stage.outbox.is_ready());
        stage
    }

    /// Lets time pass; everything that is due is asked.
    fn run(&mut self, ms: u64) {
        for _ in 0..=ms {
            self.work();
            self.ms += 1;
        }
        self.ms -= 1;
    }

    fn work(&mut self) {
        let now = at(self.ms);
        for _ in 0..1000 {
            let due = self.outbox.deadline() <= now.at;
            let Some(question) = self.outbox.question(now) else {
                assert!(self.outbox.deadline() > now.at, "it wakes the loop for nothing");
                return;
            };
            assert!(due, "{question:?} is asked before it is due");
            self.asked.push(question.name());
            let failing = self.failing.iter().find(|(name, _)| *name == question.name());
            let answer = match failing {
                Some((_, failure)) => Err(failure.clone()),
                None => self.table.ask(0, &question, now),
            };
            assert!(self.outbox.is_mine(&question));
            self.outbox.answer(&question, answer, now);
            assert!(!self.outbox.is_mine(&question));
            self.seen.extend(self.outbox.take_seen());
        }
        panic!("it asks for ever");
    }

    /// Ids of the events since the last call.
    fn ids(&mut self) -> Vec<u64> {
        let seen = std::mem::take(&mut self.seen);
        seen.iter()
            .filter_map(|seen| event(seen).map(|event| event.id))
            .collect()
    }

    fn safe(&self) -> u64 {
        row(self.outbox.position().expect("ready"))
    }

    fn since(&self, row: u64) -> Position {
        match self.outbox.position().expect("ready") {
            Position::Outbox { epoch, .. } => Position::Outbox { epoch, row },
            other => panic!("{other}"),
        }
    }

    fn reach(&mut self, channel: &str, row: u64) -> Reach {
        let since = self.since(row);
        self.outbox.reaches(channel, since, at(self.ms))
    }

    /// What a client gets that comes back, once it is known.
    fn missed(&mut self, channel: &str, since: u64) -> Option<Vec<u64>> {
        for _ in 0..3000 {
            match self.reach(channel, since) {
                Reach::Yes => {
                    let (mut n, mut all) = (since, Vec::new());
                    while let Some((id, _, _)) = self.outbox.next(channel, n) {
                        n = id;
                        all.push(id);
                    }
                    return Some(all);
                }
                Reach::No => return None,
                Reach::Ask | Reach::Soon => self.run(1),
            }
        }
        panic!("it is never known");
    }

    fn counters(&self) -> Counters {
        self.outbox.counters(at(self.ms))
    }

    fn count(&mut self, name: &str) -> usize {
        let asked = std::mem::take(&mut self.asked);
        asked.iter().filter(|asked| **asked == name).count()
    }
}

fn event(seen: &Seen) -> Option<&Event> {
    match seen {
        Seen::Event(event) => Some(event),
        _ => None,
    }
}

fn row(position: Position) -> u64 {
    match position {
        Position::Outbox { row, .. } => row,
        other => panic!("{other}"),
    }
}

fn epoch(position: Position) -> u32 {
    match position {
        Position::Outbox { epoch, .. } => epoch,
        other => panic!("{other}"),
    }
}

// --- tail ------------------------------------------------------------------------------------------------------------

#[test]
fn a_row_is_delivered_with_its_position() {
    let mut stage = Stage::ready();
    stage.table.insert("news", "{\"a\":1}");
    stage.run(100);
    let [Seen::Event(event)] = stage.seen.as_slice() else {
        panic!("{:?}", stage.seen)
    };
    let epoch = epoch(stage.outbox.position().unwrap());
    assert_eq!(
        event.frame.as_str(),
        format!(r#"{{"event":"e","channel":"news","data":"{{\"a\":1}}","id":"o{epoch:08x}:1"}}"#)
    );
    assert_eq!(
        (event.id, event.channel.as_str(), event.data.as_str()),
        (1, "news", "{\"a\":1}")
    );
    assert_eq!(stage.safe(), 1);
}

#[test]
fn rows_that_were_overtaken_come_when_they_are_committed() {
    let mut stage = Stage::ready();
    let ids = stage.table.reserve(3);
    stage.table.locked.extend([ids[0], ids[2]]);
    stage.table.commit(ids[1], "news", "{}");
    stage.run(100);
    assert_eq!(stage.safe(), 0, "1 is in flight");
    let frame = event(&stage.seen[0]).unwrap().frame.to_string();
    assert!(frame.ends_with(":0\"}") && frame.contains("\"pos\":\"o"), "{frame}");
    assert_eq!(stage.ids(), [2]);
    stage.run(5000);
    assert_eq!(stage.ids(), [0; 0]);
    stage.table.commit(ids[2], "news", "{}");
    stage.run(100);
    assert_eq!(stage.ids(), [3]);
    stage.table.commit(ids[0], "news", "{}");
    stage.run(100);
    assert_eq!(stage.ids(), [1]);
    assert_eq!(stage.safe(), 3);
    assert_eq!(stage.counters().late, 0);
}

#[test]
fn a_gap_is_dead_after_two_empty_probes_a_second_apart() {
    let mut stage = Stage::ready();
    stage.table.reserve(1);
    stage.table.insert("news", "{}");
    stage.run(100);
    assert_eq!((stage.safe(), stage.counters().gaps_open), (0, 1));
    stage.run(1000);
    assert_eq!(stage.safe(), 0, "the first probe was 100 ms after the gap was seen");
    stage.run(200);
    assert_eq!(
        (stage.safe(), stage.counters().gaps_open, stage.counters().died),
        (2, 0, 1)
    );
    assert_eq!(stage.count("probe"), 2);
}

#[test]
fn a_lock_keeps_the_whole_run_in_flight() {
    let mut stage = Stage::ready();
    // One statement of many rows: it reserved ten ids and wrote the first one.
    let ids = stage.table.reserve(10);
    stage.table.locked.insert(ids[0]);
    stage.table.insert("news", "{}");
    stage.run(30_000);
    assert_eq!(stage.safe(), 0);
    for id in &ids {
        stage.table.commit(*id, "news", "{}");
    }
    stage.run(100);
    assert_eq!(stage.ids(), [vec![11], ids].concat());
    assert_eq!((stage.safe(), stage.counters().late), (11, 0));
}

#[test]
fn a_lock_between_two_empty_probes_starts_over() {
    let mut stage = Stage::ready();
    let ids = stage.table.reserve(2);
    stage.table.insert("news", "{}");
    stage.run(500);
    assert_eq!(stage.count("probe"), 1, "it found nothing");
    stage.table.locked.insert(ids[0]);
    stage.run(800);
    assert_eq!(stage.count("probe"), 1, "it was locked");
    stage.table.locked.clear();
    stage.run(1000);
    assert_eq!(stage.safe(), 0, "one empty result since");
    stage.run(600);
    assert_eq!(stage.safe(), 3);
}

#[test]
fn a_row_that_another_process_took_for_settled_makes_its_positions_uncertain() {
    let mut stage = Stage::ready();
    let ids = stage.table.reserve(1);
    stage.table.locked.extend(&ids);
    stage.table.insert("news", "{}");
    stage.table.insert("news", "{}");
    stage.run(1000);
    let others = stage.since(2).to_string();
    let now = at(stage.ms).unix_ms;
    stage.table.state.insert("position.00000002".into(), (others, now));
    stage.run(3000);
    assert_eq!(stage.safe(), 0);
    stage.table.commit(ids[0], "news", "{}");
    stage.run(100);
    assert_eq!(stage.ids(), [2, 3, 1]);
    assert_eq!(stage.counters().late, 0, "not here");
    assert_eq!(stage.reach("news", 2), Reach::No);
    assert_eq!(stage.reach("news", 3), Reach::Yes);
}

#[test]
fn an_unknown_answer_keeps_a_gap_open() {
    for failure in [
        Failure::Unavailable("gone".into()),
        Failure::Refused("denied".into()),
        Failure::Malformed("what".into()),
    ] {
        let mut stage = Stage::ready();
        stage.failing = vec![("probe", failure)];
        stage.table.reserve(1);
        stage.table.insert("news", "{}");
        stage.run(20_000);
        assert_eq!(stage.safe(), 0);
        assert_eq!(stage.ids(), [2], "what is there is delivered");
        stage.failing.clear();
        stage.run(5000);
        assert_eq!(stage.safe(), 2);
    }
}

#[test]
fn a_probe_that_finds_rows_has_them_read_and_says_nothing_of_the_rest() {
    let settings = Database {
        idle_poll_ms: 5000,
        poll_ms: 5000,
        ..Database::default()
    };
    let mut stage = Stage::with(Table::new(), &settings);
    stage.run(10);
    stage.outbox.nudge(at(stage.ms));
    let ids = stage.table.reserve(4);
    stage.table.insert("news", "{}");
    stage.run(90);
    assert_eq!(stage.ids(), [5]);
    stage.table.commit(ids[1], "news", "{}");
    stage.run(60);
    assert_eq!(stage.ids(), [2], "long before the next poll");
    stage.run(1100);
    assert_eq!(stage.safe(), 0, "the parts are runs of their own");
    stage.run(1000);
    assert_eq!(stage.safe(), 5);
}

#[test]
fn a_partly_filled_run_is_split() {
    let mut stage = Stage::ready();
    let ids = stage.table.reserve(9);
    stage.table.locked.extend([ids[1], ids[7]]);
    stage.table.insert("news", "{}");
    stage.run(100);
    assert_eq!(stage.counters().gaps_open, 1);
    stage.table.commit(ids[4], "news", "{}");
    stage.run(100);
    assert_eq!(stage.counters().gaps_open, 2);
    stage.table.commit(ids[1], "news", "{}");
    stage.run(5000);
    assert_eq!(stage.safe(), 5, "up to the part that is locked");
    assert_eq!(stage.ids(), [10, 5, 2]);
}

#[test]
fn a_dead_run_is_read_again_and_a_late_row_is_delivered_and_counted() {
    let mut stage = Stage::ready();
    let lost = stage.table.reserve(3);
    stage.table.insert("news", "{}");
    stage.run(10_000);
    assert_eq!(stage.ids(), [4]);
    assert_eq!(stage.safe(), 4);
    stage.table.commit(lost[1], "news", "{}");
    stage.run(2000);
    assert_eq!(stage.ids(), [2]);
    assert_eq!(stage.counters().late, 1);
    assert_eq!(
        stage.reach("news", 4),
        Reach::No,
        "who has this position may have missed it"
    );
    assert_eq!(stage.reach("other", 4), Reach::Yes);
    assert_eq!(stage.missed("news", 1), Some(vec![2, 4]));
    stage.table.insert("news", "{}");
    stage.run(100);
    assert_eq!(stage.missed("news", 5), Some(vec![]));
    // Until retention, not longer.
    stage.run(3_600_000);
    assert_eq!(stage.counters().gaps_dead, 0);
}

#[test]
fn a_run_older_than_gap_max_does_not_hold_the_position_back() {
    let mut stage = Stage::ready();
    let slow = stage.table.reserve(1);
    stage.table.locked.extend(&slow);
    stage.table.insert("news", "{}");
    stage.run(59_900);
    assert_eq!(stage.safe(), 0);
    assert!(stage.counters().held_ms > 59_000);
    stage.run(500);
    assert_eq!((stage.safe(), stage.counters().held_ms), (2, 0));
    assert_eq!(stage.counters().gaps_open, 1, "it is still in flight");
    stage.table.commit(slow[0], "news", "{}");
    stage.run(100);
    assert_eq!(stage.ids(), [2, 1]);
    assert_eq!(stage.counters().late, 1);
}

#[test]
fn ten_thousand_gaps_are_bounded() {
    let mut stage = Stage::ready();
    for _ in 0..runs::MOST {
        stage.table.reserve(1);
        stage.table.insert("news", "{}");
    }
    stage.run(150);
    assert_eq!(stage.ids().len(), runs::MOST);
    let counters = stage.counters();
    assert_eq!(counters.gaps_open, runs::MOST / 2);
    assert_eq!(counters.given_up as usize, runs::MOST / 2);
    stage.run(5000);
    assert_eq!(stage.counters().gaps_open, 0);
    assert!(stage.count("probe") < 200, "many runs are one probe");
}

#[test]
fn one_lock_among_many_gaps_does_not_keep_the_others_open() {
    let mut stage = Stage::ready();
    let mut lost = Vec::new();
    for _ in 0..50 {
        lost.extend(stage.table.reserve(1));
        stage.table.insert("news", "{}");
    }
    stage.table.locked.insert(lost[20]);
    stage.run(5000);
    assert_eq!(stage.counters().gaps_open, 1);
    assert_eq!(stage.safe(), lost[20] - 1);
}

#[test]
fn regular_holes_are_no_gaps_until_somebody_fills_one() {
    let mut table = Table::new();
    table.increment = 3;
    let mut stage = Stage::new(table);
    stage.run(10);
    for _ in 0..5 {
        stage.table.insert("news", "{}");
    }
    stage.run(100);
    assert_eq!(stage.ids(), [1, 4, 7, 10, 13]);
    assert_eq!((stage.safe(), stage.counters().gaps_open), (13, 0));
    stage.table.reserve(1);
    stage.table.insert("news", "{}");
    stage.run(50);
    assert_eq!((stage.safe(), stage.counters().gaps_open), (13, 1), "16 was skipped");
    // Another server of the cluster writes.
    stage.table.commit(5, "news", "{}");
    stage.run(3000);
    assert_eq!(stage.ids(), [19, 5]);
    stage.table.insert("news", "{}");
    stage.run(110);
    assert_eq!(stage.counters().gaps_open, 1, "from now on such a hole may be a gap");
}

#[test]
fn many_known_rows_between_gaps_leave_room_for_news() {
    let mut stage = Stage::ready();
    // Every other row is missing and in flight: what is read again must not fill the answers.
    for _ in 0..2000 {
        let id = stage.table.reserve(1);
        stage.table.locked.extend(id);
        stage.table.insert("news", "{}");
    }
    stage.run(200);
    assert_eq!(stage.ids().len(), 2000);
    stage.table.insert("news", "{}");
    stage.run(100);
    assert_eq!(stage.ids().len(), 1);
}

#[test]
fn it_polls_fast_while_rows_come_and_at_once_after_a_nudge() {
    let mut stage = Stage::ready();
    stage.run(2000);
    stage.count("tail");
    stage.run(1000);
    let idle = stage.count("tail");
    assert!((10..=11).contains(&idle), "{idle}");
    stage.table.insert("news", "{}");
    stage.run(100);
    stage.count("tail");
    stage.run(500);
    let busy = stage.count("tail");
    assert!((25..=26).contains(&busy), "{busy}");
    stage.run(3000);
    stage.count("tail");
    while stage.count("tail") == 0 {
        stage.run(1);
    }
    stage.outbox.nudge(at(stage.ms));
    stage.work();
    assert_eq!(stage.count("tail"), 1);
}

#[test]
fn an_answer_is_bounded_and_the_rest_follows_at_once() {
    for (max_event_size, limit) in [(10_240, 409), (1, 500), (100 << 20, 16)] {
        let mut outbox = Outbox::new(&Database::default(), 1, max_event_size);
        let mut table = Table::new();
        (0..2000).for_each(|_| _ = table.insert("news", "{}"));
        let mut questions = Vec::new();
        while let Some(question) = outbox.question(at(0)) {
            if let Question::Tail { limit, .. } = question {
                questions.push(limit);
            }
            let answer = table.ask(0, &question, at(0));
            outbox.answer(&question, answer, at(0));
        }
        assert!(questions.iter().all(|own| *own == limit), "{questions:?}");
        assert_eq!(questions.len(), 2000 / limit as usize + 1);
    }
}

#[test]
fn an_outage_loses_nothing_and_asks_seldom() {
    let mut stage = Stage::ready();
    let gone = || Failure::Unavailable("gone".into());
    let all = ["tail", "state", "write", "probe", "forget", "channel"];
    stage.failing = all.map(|name| (name, gone())).to_vec();
    stage.table.insert("news", "{}");
    stage.asked.clear();
    stage.run(60_000);
    assert!(stage.asked.len() <= 60 * 4, "{}", stage.asked.len());
    assert_eq!(stage.ids(), [0; 0]);
    assert!(stage.counters().lag_ms >= 60_000);
    stage.failing.clear();
    stage.asked.clear();
    stage.run(1000);
    assert_eq!(stage.asked[0], "state", "it may be another table now");
    assert_eq!(stage.ids(), [1]);
}

#[test]
fn other_peoples_answers_are_ignored() {
    let mut stage = Stage::ready();
    stage.run(100);
    while stage.outbox.deadline() > at(stage.ms).at {
        stage.ms += 1;
    }
    let now = at(stage.ms);
    let question = stage.outbox.question(now).unwrap();
    let other = Question::Tail {
        after: 77,
        runs: Vec::new(),
        limit: 1,
    };
    assert!(!stage.outbox.is_mine(&other));
    let row = |id| Row {
        id,
        channel: "news".into(),
        event: "e".into(),
        data: Some("{}".into()),
        socket_id: None,
    };
    stage.outbox.answer(&other, Ok(Answer::Rows(vec![row(78)])), now);
    assert!(stage.outbox.is_mine(&question));
    assert_eq!(stage.outbox.take_seen(), []);
    // A row that was not asked for.
    let Question::Tail { .. } = question else {
        panic!("{question:?}")
    };
    stage.outbox.answer(&question, Ok(Answer::Rows(vec![row(0)])), now);
    assert_eq!(stage.outbox.take_seen(), []);
}

// --- what a row says -------------------------------------------------------------------------------------------------

#[test]
fn a_bad_row_is_counted_skipped_and_settled() {
    let mut stage = Stage::ready();
    stage.table.insert("no channel", "{}");
    stage.table.insert("news", "{}");
    stage.table.insert("#control", "{}");
    let id = stage.table.insert("news", "");
    stage.table.rows.get_mut(&id).unwrap().data = None;
    stage.run(100);
    assert_eq!(stage.ids(), [2]);
    assert_eq!(stage.counters().bad, 3);
    assert_eq!(stage.counters().rows, 4);
    assert_eq!(stage.safe(), 4);
    assert_eq!(stage.missed("news", 0), Some(vec![2]));
}

#[test]
fn control_rows_are_told_in_their_place_and_kept_from_clients() {
    let mut stage = Stage::ready();
    stage.table.insert("news", "{}");
    let id = stage.table.insert("#control", r#"{"user_id":42}"#);
    stage.table.rows.get_mut(&id).unwrap().event = "recheck-user".into();
    stage.table.insert("news", "{}");
    stage.run(100);
    assert_eq!(stage.seen[1], Seen::Control(Control::RecheckUser(42)));
    assert_eq!(stage.ids(), [1, 3]);
    assert_eq!(stage.missed("#control", 0), Some(vec![]));
}

#[test]
fn the_socket_that_published_is_named() {
    let mut stage = Stage::ready();
    let id = stage.table.insert("news", "{}");
    stage.table.rows.get_mut(&id).unwrap().socket_id = Some("12.34".into());
    stage.run(100);
    let socket = "12.34".parse().ok();
    assert_eq!(event(&stage.seen[0]).unwrap().except, socket);
    assert_eq!(stage.outbox.next("news", 0).unwrap().2, socket);
}

// --- start and epochs ------------------------------------------------------------------------------------------------

#[test]
fn rows_from_before_the_start_go_to_the_history_only() {
    let mut table = Table::new();
    for _ in 0..3 {
        table.insert("news", "{}");
    }
    let id = table.insert("#control", "{}");
    table.rows.get_mut(&id).unwrap().event = "recheck-access".into();
    let flying = table.reserve(2);
    table.locked.extend(&flying);
    let mut stage = Stage::new(table);
    stage.run(10);
    assert_eq!(stage.seen, []);
    assert_eq!(stage.missed("news", 0), Some(vec![1, 2, 3]));
    // What was in flight then is news.
    stage.table.commit(flying[1], "news", "{}");
    stage.run(100);
    stage.table.commit(flying[0], "news", "{}");
    stage.run(100);
    assert_eq!(stage.ids(), [6, 5]);
    assert_eq!(stage.missed("news", 2), Some(vec![3, 5, 6]));
}

#[test]
fn a_row_that_is_written_while_the_window_is_loaded_is_news() {
    let mut table = Table::new();
    for _ in 0..500 {
        table.insert("news", "{}");
    }
    let mut outbox = Outbox::new(&Database::default(), 1, 10_240);
    let mut fresh = None;
    while let Some(question) = outbox.question(at(0)) {
        let answer = table.ask(0, &question, at(0));
        outbox.answer(&question, answer, at(0));
        if let (None, Question::Tail { .. }) = (fresh, &question) {
            fresh = Some(table.insert("news", "{}"));
        }
    }
    let seen = outbox.take_seen();
    assert_eq!(
        seen.iter().filter_map(event).map(|event| event.id).collect::<Vec<_>>(),
        [501]
    );
    assert_eq!(fresh, Some(501));
}

#[test]
fn the_first_process_makes_the_epoch_and_others_adopt_it() {
    let mut first = Stage::ready();
    first.run(100);
    let position = first.outbox.position().unwrap();
    assert_eq!(first.table.state["epoch"].0, format!("{:08x}", epoch(position)));
    assert_eq!(first.table.state["made"].0, first.table.made);
    assert_eq!(first.table.state["position.00000abc"].0, position.to_string());
    let mut second = Stage::new(first.table);
    second.outbox = Outbox::new(&Database::default(), 0xdef, 10_240);
    second.run(10);
    assert_eq!(epoch(second.outbox.position().unwrap()), epoch(position));
    assert_eq!(second.counters().epochs, 1);
    assert!(second.table.state.contains_key("position.00000def"));
}

#[test]
fn what_was_safe_before_a_restart_is_safe_after_it() {
    let mut stage = Stage::ready();
    stage.table.reserve(1);
    for _ in 0..10 {
        stage.table.insert("news", "{}");
    }
    stage.run(5000);
    let position = stage.outbox.position().unwrap();
    assert_eq!(row(position), 11);
    let mut again = Stage::new(stage.table);
    again.outbox = Outbox::new(&Database::default(), 0xdef, 10_240);
    again.run(10);
    assert_eq!(again.outbox.position(), Some(position));
    assert_eq!(again.reach("news", 11), Reach::Yes);
}

/// Something happens to the table; within some seconds positions from before are gaps.
fn after(what: impl FnOnce(&mut Table)) -> Stage {
    let mut stage = Stage::ready();
    for _ in 0..10 {
        stage.table.insert("news", "{}");
    }
    stage.run(3000);
    let old = stage.outbox.position().unwrap();
    assert_eq!(row(old), 10);
    stage.seen.clear();
    what(&mut stage.table);
    stage.run(4000);
    let new = stage.outbox.position().unwrap();
    assert_ne!(epoch(old), epoch(new), "a new epoch");
    assert_eq!(stage.table.state["epoch"].0, format!("{:08x}", epoch(new)));
    assert_eq!(stage.outbox.reaches("news", old, at(stage.ms)), Reach::No);
    assert_eq!(stage.seen, [Seen::Gap]);
    assert_eq!(stage.counters().epochs, 2);
    stage.seen.clear();
    // And it goes on.
    let id = stage.table.insert("news", "{}");
    stage.run(200);
    assert_eq!(stage.ids(), [id]);
    stage.run(30_000);
    assert_eq!(stage.counters().epochs, 2);
    stage
}

#[test]
fn a_truncated_table_is_a_new_epoch() {
    after(|table| {
        table.rows.clear();
        table.next = 1;
    });
}

#[test]
fn a_table_that_was_made_anew_is_a_new_epoch() {
    after(|table| table.made = "2026-02-02 00:00:00".into());
}

#[test]
fn a_restored_table_is_a_new_epoch() {
    after(|table| {
        table.rows.split_off(&6);
        table.next = 6;
    });
}

#[test]
fn a_lost_state_table_is_a_new_epoch() {
    after(|table| table.state.clear());
}

#[test]
fn a_heartbeat_that_vanished_or_is_an_older_one_is_a_new_epoch() {
    after(|table| drop(table.state.remove("position.00000abc")));
    after(|table| table.state.get_mut("position.00000abc").unwrap().0 = "o00000000:3".into());
}

#[test]
fn ids_below_a_stored_position_are_a_new_epoch_at_the_start() {
    let mut stage = Stage::ready();
    for _ in 0..10 {
        stage.table.insert("news", "{}");
    }
    stage.run(5000);
    let old = stage.outbox.position().unwrap();
    stage.table.rows.split_off(&6);
    stage.table.next = 6;
    let mut again = Stage::new(stage.table);
    again.outbox = Outbox::new(&Database::default(), 0xdef, 10_240);
    again.run(1000);
    assert_ne!(epoch(again.outbox.position().unwrap()), epoch(old));
}

#[test]
fn an_emptied_table_is_the_same_epoch() {
    let mut stage = Stage::ready();
    for _ in 0..10 {
        stage.table.insert("news", "{}");
    }
    stage.run(3000);
    stage.table.rows.clear();
    stage.run(10_000);
    assert_eq!(stage.counters().epochs, 1);
    assert_eq!(stage.reach("news", 10), Reach::Yes);
    // After a restart too: the position is known although no row is there.
    let mut again = Stage::new(stage.table);
    again.outbox = Outbox::new(&Database::default(), 0xdef, 10_240);
    again.run(3000);
    assert_eq!(again.missed("news", 10), Some(vec![]));
    assert_eq!(again.counters().epochs, 1);
}

#[test]
fn another_process_that_changes_the_epoch_is_followed() {
    let mut stage = Stage::ready();
    stage.run(100);
    stage
        .table
        .state
        .insert("epoch".into(), ("12345678".into(), START_MS + stage.ms));
    stage.run(3100);
    assert_eq!(epoch(stage.outbox.position().unwrap()), 0x1234_5678);
    assert_eq!(stage.seen, [Seen::Gap]);
}

#[test]
fn tables_that_are_missing_are_looked_for_every_ten_seconds() {
    let mut table = Table::new();
    table.missing = true;
    let mut stage = Stage::new(table);
    stage.run(60_000);
    assert!((6..=7).contains(&stage.asked.len()), "{:?}", stage.asked);
    let since = Position::Outbox { epoch: 1, row: 1 };
    assert_eq!(stage.outbox.reaches("news", since, at(stage.ms)), Reach::No);
    stage.table.missing = false;
    stage.run(10_000);
    assert!(stage.outbox.is_ready());
}

#[test]
fn tables_of_another_schema_are_not_read() {
    let mut table = Table::new();
    table.state.insert("schema".into(), ("2".into(), START_MS));
    let mut stage = Stage::new(table);
    stage.run(25_000);
    assert_eq!(stage.asked, ["state"; 3]);
    stage.table.state.insert("schema".into(), ("1".into(), START_MS));
    stage.run(10_000);
    assert!(stage.outbox.is_ready());
}

#[test]
fn without_the_right_to_write_rows_are_delivered_all_the_same() {
    let mut table = Table::new();
    table.read_only = true;
    let mut stage = Stage::new(table);
    stage.run(1000);
    stage.table.insert("news", "{}");
    stage.run(20_000);
    assert_eq!(stage.ids(), [1]);
    assert_eq!(stage.missed("news", 0), Some(vec![1]));
    assert_eq!(stage.counters().epochs, 1);
    // Once it may, it says so to everybody.
    stage.table.read_only = false;
    stage.run(20_000);
    let epoch = epoch(stage.outbox.position().unwrap());
    assert_eq!(stage.table.state["epoch"].0, format!("{epoch:08x}"));
}

// --- positions and recovery ------------------------------------------------------------------------------------------

#[test]
fn recovery_is_refused_only_for_the_named_reasons() {
    let mut stage = Stage::ready();
    for n in 0..10 {
        stage.table.insert(["a", "b"][n % 2], "{}");
    }
    stage.run(100);
    assert_eq!(stage.missed("a", 0), Some(vec![1, 3, 5, 7, 9]));
    assert_eq!(stage.missed("a", 5), Some(vec![7, 9]));
    assert_eq!(stage.missed("c", 5), Some(vec![]));
    assert_eq!(stage.missed("a", 10), Some(vec![]));
    assert_eq!(stage.missed("a", 11), None, "above the highest known");
    assert_eq!(stage.missed("a", u64::MAX), None);
    let other = Position::Outbox { epoch: 1, row: 5 };
    assert_eq!(
        stage.outbox.reaches("a", other, at(stage.ms)),
        Reach::No,
        "another epoch"
    );
    let memory = Position::Memory { start: 1, n: 5 };
    assert_eq!(stage.outbox.reaches("a", memory, at(stage.ms)), Reach::No);
    let deleted = stage.since(4).to_string();
    stage.table.state.insert("deleted_to".into(), (deleted, START_MS));
    stage.run(3000);
    assert_eq!(stage.missed("a", 3), None, "below deleted_to");
    assert_eq!(stage.missed("a", 4), Some(vec![5, 7, 9]));
}

#[test]
fn who_comes_from_a_faster_process_is_not_told_of_a_gap() {
    let mut stage = Stage::ready();
    stage.run(50);
    stage.table.insert("a", "{}");
    assert_eq!(stage.reach("a", 1), Reach::Ask);
    let generation = stage.outbox.generation();
    stage.run(1);
    assert_ne!(stage.outbox.generation(), generation);
    assert_eq!(stage.reach("a", 1), Reach::Yes);
    assert_eq!(stage.reach("a", 2), Reach::Ask);
    stage.run(1);
    assert_eq!(stage.reach("a", 2), Reach::No);
    // The other one knows of ids whose rows were rolled back.
    stage.table.reserve(3);
    stage.run(1500);
    assert_eq!(stage.missed("a", 4), Some(vec![]));
    assert_eq!(stage.missed("a", 5), None);
}

fn small_history(rows: usize) -> Stage {
    let settings = Database {
        history_rows: rows,
        ..Database::default()
    };
    let mut stage = Stage::with(Table::new(), &settings);
    stage.run(10);
    for n in 0..100 {
        stage.table.insert(["a", "b"][n % 2], "{}");
    }
    stage.run(100);
    stage
}

#[test]
fn what_memory_does_not_hold_is_read_once_for_all_who_ask() {
    let mut stage = small_history(10);
    let odd = |from: u64| (from..100).filter(|id| id % 2 == 1).collect::<Vec<_>>();
    assert_eq!(stage.counters().history_rows, 10);
    assert_eq!(stage.reach("a", 90), Reach::Yes);
    stage.asked.clear();
    for since in [50, 20, 60] {
        assert_eq!(stage.reach("a", since), Reach::Ask);
    }
    assert_eq!(stage.missed("a", 20), Some(odd(21)));
    assert_eq!(stage.missed("a", 60), Some(odd(61)));
    assert_eq!(stage.count("channel"), 1);
    assert_eq!(stage.missed("a", 0), Some(odd(1)), "further down only the rest is read");
    assert_eq!(stage.count("channel"), 1);
    // What leaves memory meanwhile is kept for those who are being told.
    for _ in 0..20 {
        stage.table.insert("a", "{}");
    }
    stage.run(100);
    let all = [odd(21), (101..=120).collect()].concat();
    assert_eq!(stage.missed("a", 20), Some(all));
    assert_eq!(stage.count("channel"), 0);
}

#[test]
fn a_recovery_of_what_is_being_deleted_is_refused() {
    let mut stage = small_history(10);
    assert_eq!(stage.reach("a", 20), Reach::Ask);
    // Another process deletes, and has said so before.
    let deleted = stage.since(40).to_string();
    stage.table.state.insert("deleted_to".into(), (deleted, START_MS));
    stage.table.rows.retain(|id, _| *id > 40);
    assert_eq!(stage.missed("a", 20), None);
    assert_eq!(stage.missed("a", 40).map(|missed| missed[0]), Some(41));
}

#[test]
fn a_recovery_that_is_too_large_for_memory_is_refused() {
    let settings = Database {
        history_rows: 10,
        history_bytes: 20_000,
        ..Database::default()
    };
    let mut stage = Stage::with(Table::new(), &settings);
    stage.run(10);
    for _ in 0..100 {
        stage.table.insert("a", "{}");
    }
    stage.run(100);
    assert_eq!(stage.missed("a", 2), None);
    assert_eq!(stage.missed("a", 85).map(|missed| missed.len()), Some(15));
    assert!(stage.counters().history_bytes <= 20_000 + 5000);
}

#[test]
fn a_channel_query_that_never_comes_back_is_a_gap() {
    let mut stage = small_history(10);
    stage.failing = vec![("channel", Failure::Unavailable("timed out".into()))];
    let mut reach = Reach::Ask;
    for _ in 0..10_000 {
        reach = stage.reach("a", 20);
        if reach != Reach::Ask {
            break;
        }
        stage.run(1);
    }
    assert_eq!(reach, Reach::No);
}

#[test]
fn rows_that_are_told_as_news_are_not_recovered_too() {
    let mut stage = small_history(10);
    let ids = stage.table.reserve(1);
    stage.table.locked.extend(&ids);
    for _ in 0..20 {
        stage.table.insert("a", "{}");
    }
    stage.run(100);
    // Committed, and the channel is read before the tail sees it.
    assert_eq!(stage.reach("a", 98), Reach::Ask);
    stage.ms += 1;
    let now = at(stage.ms);
    stage.table.commit(ids[0], "a", "{}");
    loop {
        let question = stage.outbox.question(now).expect("the channel is asked for");
        let answer = stage.table.ask(0, &question, now);
        let channel = question.name() == "channel";
        if question.name() == "tail" {
            // Its snapshot was a moment before.
            stage.outbox.answer(&question, Ok(Answer::Rows(Vec::new())), now);
            continue;
        }
        stage.outbox.answer(&question, answer, now);
        if channel {
            break;
        }
    }
    assert!(stage.outbox.next("a", 99).is_some_and(|(id, _, _)| id == 102));
    stage.ids();
    stage.run(100);
    assert_eq!(stage.ids(), [101]);
    assert_eq!(stage.outbox.next("a", 99).map(|(id, _, _)| id), Some(101));
}

#[test]
fn a_page_that_carries_a_time_gets_the_position_of_two_seconds_before() {
    let mut stage = Stage::ready();
    for _ in 0..10 {
        stage.table.insert("news", "{}");
        stage.run(1000);
    }
    let now = at(stage.ms);
    let position = stage.outbox.position_at(now.unix_ms, now).map(row);
    assert!(position.is_some_and(|row| (7..=8).contains(&row)), "{position:?}");
    assert_eq!(stage.outbox.position_at(START_MS, now), None, "before the first sample");
    assert_eq!(stage.outbox.position_at(now.unix_ms + 3000, now), None, "the future");
}

#[test]
fn the_position_counts_when_it_was_taken() {
    let mut stage = Stage::ready();
    stage.table.insert("news", "{}");
    stage.run(150);
    while stage.outbox.deadline() > at(stage.ms).at {
        stage.ms += 1;
    }
    stage.table.insert("news", "{}");
    let now = at(stage.ms);
    let question = stage.outbox.question(now).unwrap();
    assert_eq!(question.name(), "tail");
    let answer = stage.table.ask(0, &question, now);
    stage.outbox.answer(&question, answer, now);
    assert_eq!(stage.safe(), 1, "nobody was told of row 2 yet");
    assert_eq!(stage.outbox.take_seen().len(), 1);
    assert_eq!(stage.safe(), 2);
}

#[test]
fn the_position_is_written_every_two_seconds_and_soon_after_a_row() {
    let mut stage = Stage::ready();
    stage.run(5000);
    stage.count("write");
    stage.run(20_000);
    assert_eq!(stage.count("write"), 10);
    // A row that comes alone is in the next page's position; many are not many writes.
    let id = stage.table.insert("news", "{}");
    stage.run(300);
    let row = &stage.table.state["position.00000abc"].0;
    assert!(row.ends_with(&format!(":{id}")), "{row} without {id}");
    stage.count("write");
    for _ in 0..50 {
        stage.table.insert("news", "{}");
        stage.run(100);
    }
    let writes = stage.count("write");
    assert!((9..=11).contains(&writes), "{writes}");
}

// --- retention -------------------------------------------------------------------------------------------------------

fn short() -> Database {
    Database {
        retention: 100,
        ..Database::default()
    }
}

fn lowest(stage: &Stage) -> Option<u64> {
    stage.table.rows.first_key_value().map(|(id, _)| *id)
}

#[test]
fn rows_are_deleted_when_they_were_seen_for_the_retention() {
    let mut stage = Stage::with(Table::new(), &short());
    stage.run(10);
    for _ in 0..2500 {
        stage.table.insert("news", "{}");
    }
    stage.run(50_000);
    for _ in 0..10 {
        stage.table.insert("news", "{}");
    }
    stage.run(45_000);
    assert_eq!(lowest(&stage), Some(1));
    stage.asked.clear();
    stage.run(20_000);
    assert_eq!(lowest(&stage), Some(2501));
    let order: Vec<_> = stage
        .asked
        .iter()
        .filter(|name| ["lock", "unlock", "delete"].contains(name))
        .collect();
    assert_eq!(order, [&"lock", &"delete", &"delete", &"delete", &"unlock"]);
    assert_eq!(stage.table.deleter, None);
    assert_eq!(stage.table.state["deleted_to"].0, stage.since(2500).to_string());
    assert_eq!(stage.reach("news", 2499), Reach::No);
    assert_eq!(stage.missed("news", 2500).map(|missed| missed.len()), Some(10));
}

#[test]
fn a_live_process_that_is_behind_keeps_the_rows_and_a_dead_one_does_not() {
    let mut stage = Stage::with(Table::new(), &short());
    stage.run(10);
    for _ in 0..100 {
        stage.table.insert("news", "{}");
    }
    stage.run(5000);
    let behind = stage.since(30).to_string();
    for _ in 0..20 {
        let now = at(stage.ms).unix_ms;
        stage
            .table
            .state
            .insert("position.00000002".into(), (behind.clone(), now));
        stage.run(10_000);
    }
    assert_eq!(lowest(&stage), Some(31));
    stage.run(120_000);
    assert_eq!(lowest(&stage), None);
    stage.run(1_300_000);
    assert!(!stage.table.state.contains_key("position.00000002"), "it is forgotten");
    assert!(stage.table.state.contains_key("position.00000abc"));
    assert_eq!(stage.counters().epochs, 1);
}

#[test]
fn a_delete_that_would_wait_gives_up_until_later() {
    let mut stage = Stage::with(Table::new(), &short());
    stage.run(10);
    for _ in 0..100 {
        stage.table.insert("news", "{}");
    }
    stage.failing = vec![("delete", Failure::Locked)];
    stage.run(130_000);
    assert!((1..=2).contains(&stage.count("delete")));
    assert_eq!(stage.table.deleter, None, "others may try");
    stage.failing.clear();
    stage.run(120_000);
    assert_eq!(lowest(&stage), None);
}

#[test]
fn nobody_deletes_while_another_does() {
    let mut stage = Stage::with(Table::new(), &short());
    stage.table.deleter = Some(7);
    stage.run(10);
    stage.table.insert("news", "{}");
    stage.run(300_000);
    assert_eq!(stage.count("delete"), 0);
    assert!(!stage.table.state.contains_key("deleted_to"));
}

#[test]
fn rows_that_were_deleted_before_they_were_seen_are_a_gap() {
    let mut stage = Stage::ready();
    stage.table.insert("news", "{}");
    stage.run(3000);
    stage.seen.clear();
    stage.failing = vec![("tail", Failure::Locked)];
    stage.table.reserve(10);
    let deleted = stage.since(11).to_string();
    stage.table.state.insert("deleted_to".into(), (deleted, START_MS));
    stage.run(4000);
    assert_eq!(stage.seen, [Seen::Gap]);
    assert_eq!(stage.reach("news", 1), Reach::No);
    stage.failing.clear();
    stage.table.insert("news", "{}");
    stage.run(500);
    assert_eq!(stage.safe(), 12);
}

#[test]
fn the_limits_of_the_settings_hold_after_a_reload() {
    let mut stage = small_history(50);
    let settings = Database {
        history_rows: 5,
        ..Database::default()
    };
    stage.outbox.reconfigure(&settings, 10_240);
    assert_eq!(stage.counters().history_rows, 5);
}
