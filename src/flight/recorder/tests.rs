use super::*;
use crate::flight::tick::Durations;
use crate::flight::{Lag, PHASES, Report, TickView};

const SLOW_MS: u64 = 50;

/// A recorder with a clock that stands still unless it is told to go on.
#[derive(Default)]
struct Stage {
    flight: Recorder,
    now: Time,
    used: Duration,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self::default();
        stage.wait(0, 0);
        stage
    }

    /// The loop waits for so many microseconds, and then so much is ready. Returns the text of a slow tick.
    fn wait(&mut self, us: u64, events: usize) -> Option<String> {
        self.now.0 += us;
        let used = self.used;
        let slow = self.flight.end(self.now, events, SLOW_MS, || used);
        let slow = slow.map(|tick| tick.to_string());
        let now = Now {
            at: self.now,
            unix_ms: self.now.0 / 1000,
        };
        self.flight.begin(now, events, Some(Duration::from_millis(5)), || used);
        slow
    }

    /// The process works.
    fn work(&mut self, us: u64) {
        self.now.0 += us;
        self.used += Duration::from_micros(us);
    }

    fn piece(&mut self, us: u64, kind: Kind, name: &str) {
        self.work(us);
        self.flight.piece(self.now, |culprit| {
            culprit.kind = kind;
            culprit.append(name);
        });
    }

    fn newest(&self) -> &Tick {
        self.flight
            .ticks()
            .max_by_key(|tick| tick.number)
            .expect("a tick has ended")
    }
}

#[test]
fn the_phases_add_up_to_the_tick() {
    let mut stage = Stage::new();
    for n in 1..=3 * SAMPLE as u64 {
        stage.flight.enter(Phase::Read);
        stage.piece(n % 7, Kind::Input, "");
        stage.flight.enter(Phase::Write);
        stage.work(n % 5);
        stage.flight.written(stage.now, 1, 0);
        // A phase without work reads no clock: its time counts as that of the next one.
        stage.flight.enter(Phase::Work);
        stage.work(n % 3);
        stage.flight.enter(Phase::Between);
        stage.work(n % 2);
        stage.flight.lap(stage.now);
        stage.wait(10, 1);
        let tick = stage.newest();
        assert_eq!(tick.number, n);
        assert_eq!(u64::from(tick.us), n % 7 + n % 5 + n % 3 + n % 2);
        assert_eq!(tick.us, tick.phases.iter().sum::<u32>());
        let slept = if n == 1 { 0 } else { 10 };
        assert_eq!(tick.slept_us, slept);
    }
    assert_eq!(stage.flight.ticks().count(), SAMPLE - 1);
    let totals = stage.flight.totals();
    assert_eq!((totals.ticks, totals.slow), (3 * SAMPLE as u64, 0));
    let all: u64 = totals.phases.iter().map(|phase| phase.sum_us).sum();
    assert_eq!(all, totals.tick.sum_us);
}

#[test]
fn the_longest_piece_is_the_culprit() {
    let mut stage = Stage::new();
    stage.flight.enter(Phase::Read);
    stage.piece(300, Kind::Input, "a");
    stage.flight.enter(Phase::Work);
    stage.piece(500_000, Kind::Statement, "sessions");
    stage.flight.enter(Phase::Reap);
    stage.piece(400, Kind::Close, "b");
    let slow = stage.wait(0, 3);
    assert_eq!(
        slow.as_deref(),
        Some("501 ms, of which work 500: statement sessions 500 ms, 3 connections waited")
    );
}

#[test]
fn a_fan_out_takes_its_time_from_the_input_that_caused_it() {
    let mut stage = Stage::new();
    stage.flight.enter(Phase::Read);
    stage.work(20_000);
    stage.flight.fan_out_began(stage.now);
    stage.work(15_000);
    stage.flight.fan_out_ended(stage.now, "news", 10_000, 100);
    stage.piece(5_000, Kind::Input, "POST /apps/joomla/events");
    assert_eq!(stage.flight.tick().culprit.us, 25_000, "of the input itself");
    stage.flight.enter(Phase::Write);
    stage.work(40_000);
    stage.flight.written(stage.now, 10_010, 0);
    let slow = stage.wait(5_000, 0).expect("it was slow");
    assert!(
        slow.contains("fan-out to news 55 ms (10000 recipients, 100 bytes)"),
        "{slow}"
    );
}

#[test]
fn writes_that_no_fan_out_caused_are_not_blamed_on_one() {
    let mut stage = Stage::new();
    stage.flight.enter(Phase::Read);
    stage.flight.fan_out_began(stage.now);
    stage.flight.fan_out_ended(stage.now, "news", 40, 100);
    stage.flight.enter(Phase::Write);
    stage.work(60_000);
    stage.flight.written(stage.now, 500, 0);
    let slow = stage.wait(5_000, 0).expect("it was slow");
    assert!(
        slow.ends_with("writes to connections 60 ms (500 connections)"),
        "{slow}"
    );
}

#[test]
fn many_short_pieces_are_blamed_together() {
    let mut stage = Stage::new();
    stage.flight.enter(Phase::Read);
    for _ in 0..100 {
        stage.flight.counts().reads += 1;
        stage.piece(600, Kind::Input, "");
    }
    let slow = stage.wait(5_000, 0).expect("it was slow");
    assert!(
        slow.ends_with("input of many connections 60 ms (100 connections)"),
        "{slow}"
    );
}

#[test]
fn a_process_that_did_not_run_is_not_the_fault_of_a_connection() {
    let mut stage = Stage::new();
    stage.wait(5_000, 0);
    stage.flight.enter(Phase::Read);
    stage.now.0 += 400_000;
    stage.piece(1_000, Kind::Input, "");
    let slow = stage.wait(5_000, 0).expect("it was slow");
    assert!(slow.contains("the process did not run"), "{slow}");
    // Right behind it a tick that works: no second is over, so there is no new sample.
    stage.flight.enter(Phase::Read);
    stage.piece(100_000, Kind::Input, "");
    let slow = stage.wait(5_000, 0).expect("it was slow");
    assert!(!slow.contains("did not run"), "{slow}");
    // A statement waits without using the processor.
    stage.flight.enter(Phase::Work);
    stage.now.0 += 200_000;
    stage.piece(1_000, Kind::Statement, "look");
    let slow = stage.wait(5_000, 0).expect("it was slow");
    assert!(slow.contains("statement look 201 ms"), "{slow}");
}

#[test]
fn a_late_timer_is_noted_and_a_wait_that_an_event_ended_is_not() {
    let mut stage = Stage::new();
    stage.wait(5_300, 0);
    assert_eq!(stage.flight.tick().late_us, 300);
    stage.wait(9_000, 1);
    assert_eq!(stage.flight.tick().late_us, 0);
    assert_eq!(stage.flight.totals().late.sum_us, 300);
}

#[test]
fn a_report_has_the_ticks_since_a_number() {
    let mut stage = Stage::new();
    for n in 0..10 {
        stage.flight.enter(Phase::Read);
        stage.piece(1000 * n, Kind::Input, "");
        stage.wait(0, 0);
    }
    let now = Now {
        at: stage.now,
        unix_ms: 1,
    };
    let report = |since, limit| Report::new(&stage.flight, since, limit, 50, now);
    let numbers = |ticks: &[TickView]| ticks.iter().map(|tick| tick.n).collect::<Vec<_>>();
    let all = report(0, SAMPLE);
    let [worst, worst_hour] = [&all.worst, &all.worst_hour].map(|list| list.as_ref().expect("a list"));
    assert_eq!((all.recent.len(), worst.len(), worst_hour.len()), (10, 9, 9));
    assert_eq!(
        (worst[0].us, worst[8].us),
        (9000, 1000),
        "shorter ones are not worth it"
    );
    assert_eq!((all.recent[0].n, all.ticks, all.busy_us), (1, 10, 45_000));
    assert_eq!(Lag::of(&stage.flight).max_us, 9000);
    let rest = report(8, SAMPLE);
    assert_eq!((numbers(&rest.recent), &rest.worst), (vec![9, 10], &all.worst));
    let last = report(0, 2);
    assert_eq!((numbers(&last.recent), &last.worst), (vec![9, 10], &all.worst));
    let nothing_new = report(10, SAMPLE);
    assert_eq!((nothing_new.worst, nothing_new.worst_hour), (None, None));
    let empty = Report::new(&Recorder::default(), 0, SAMPLE, 50, now);
    assert_eq!((empty.worst, empty.worst_hour), (Some(Vec::new()), Some(Vec::new())));
    for report in [all, report(10, 1)] {
        let text = serde_json::to_string(&report).expect("it is JSON");
        assert_eq!(text.contains("\"worst\":"), report.worst.is_some(), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("it is a report"), report);
    }
}

/// A reader may be older or newer than the server.
#[test]
fn phases_are_read_by_their_names() {
    let text = r#"{"n": 7, "phases_us": {"read": 3, "nap": 5, "between": 2}, "later": 1}"#;
    let tick: TickView = serde_json::from_str(text).expect("a tick");
    let mut phases = [0; PHASES.len()];
    (phases[Phase::Read as usize], phases[Phase::Between as usize]) = (3, 2);
    assert_eq!((tick.n, tick.phases_us), (7, phases));
    let written = serde_json::to_value(&tick).expect("JSON");
    let written = written["phases_us"].as_object().expect("an object");
    assert_eq!((written.len(), &written["read"]), (PHASES.len(), &3.into()));
    let none: TickView = serde_json::from_str("{}").expect("a tick");
    assert_eq!(none.phases_us, [0; PHASES.len()]);
}

#[test]
fn durations_are_counted_in_buckets_that_double() {
    let mut durations = Durations::default();
    for us in [0, 63, 64, 127, 128, 50_000, 2_097_151, 2_097_152, u32::MAX] {
        durations.add(us);
    }
    let counted: Vec<(usize, u64)> = durations
        .buckets
        .into_iter()
        .enumerate()
        .filter(|(_, n)| *n > 0)
        .collect();
    assert_eq!(counted, [(0, 2), (1, 2), (2, 1), (10, 1), (15, 1), (16, 2)]);
    assert_eq!(durations.sum_us, 50_382 + 2_097_151 + 2_097_152 + u64::from(u32::MAX));
}

/// A tick whose work after a statement filled so many send queues, of which so many are written for so long.
fn answered(stage: &mut Stage, filled: usize, written: usize, us: u64) {
    stage.flight.enter(Phase::Work);
    stage.piece(2_000, Kind::Statement, "sessions");
    stage.piece(1_000, Kind::Answer, "sessions");
    stage
        .flight
        .cause(1_000, filled, |culprit| culprit.is(Kind::Answer, "sessions"));
    stage.flight.enter(Phase::Write);
    stage.work(us);
    stage.flight.written(stage.now, written, 0);
    stage.wait(5_000, 0);
}

fn kind_and_us(stage: &Stage) -> (&'static str, u32) {
    let culprit = &stage.newest().culprit;
    (culprit.kind.name(), culprit.us)
}

#[test]
fn writes_belong_to_the_work_that_filled_the_queues() {
    let mut stage = Stage::new();
    answered(&mut stage, 300, 310, 40_000);
    assert_eq!(kind_and_us(&stage), ("answer", 41_000));
    answered(&mut stage, 300, 601, 40_000);
    assert_eq!(kind_and_us(&stage), ("writes", 40_000), "of less than half of them");
    answered(&mut stage, 300, 310, 500);
    assert_eq!(kind_and_us(&stage), ("statement", 2_000), "which took longer");
}

#[test]
fn work_behind_the_last_write_has_the_write_of_the_next_tick_and_no_later_one() {
    let mut stage = Stage::new();
    for (ticks, expected) in [(0, ("reload", 30_000)), (1, ("writes", 30_000))] {
        stage.flight.enter(Phase::Between);
        stage.piece(1_000, Kind::Reload, "");
        stage.flight.cause(0, 500, |culprit| culprit.is(Kind::Reload, ""));
        stage.wait(0, 0);
        assert_eq!(kind_and_us(&stage), ("reload", 1_000));
        for _ in 0..ticks {
            stage.flight.enter(Phase::Read);
            stage.piece(10, Kind::Input, "");
            stage.wait(0, 0);
        }
        stage.flight.enter(Phase::Write);
        stage.work(30_000);
        stage.flight.written(stage.now, 500, 0);
        stage.wait(5_000, 0);
        assert_eq!(kind_and_us(&stage), expected);
    }
}

#[test]
fn a_fan_out_keeps_its_writes_from_the_work_that_it_is_a_part_of() {
    let mut stage = Stage::new();
    stage.flight.enter(Phase::Read);
    stage.flight.fan_out_began(stage.now);
    stage.work(1_000);
    stage.flight.fan_out_ended(stage.now, "news", 1_000, 100);
    // The request has an answer too.
    stage
        .flight
        .cause(0, 1_001, |culprit| culprit.is(Kind::Input, "POST /"));
    stage.piece(100, Kind::Input, "POST /");
    stage.flight.enter(Phase::Write);
    stage.work(9_000);
    stage.flight.written(stage.now, 1_001, 0);
    stage.wait(5_000, 0);
    assert_eq!(kind_and_us(&stage), ("fan-out", 10_000));
}

#[test]
fn last_words_belong_to_the_ends_of_their_connections() {
    let mut stage = Stage::new();
    for (last, expected) in [(100, "closes"), (20, "writes")] {
        stage.flight.enter(Phase::Write);
        stage.work(9_000);
        stage.flight.written(stage.now, 100, last);
        stage.flight.enter(Phase::Reap);
        for _ in 0..last {
            stage.piece(10, Kind::Close, "");
        }
        stage.wait(5_000, 0);
        assert_eq!(kind_and_us(&stage), (expected, 9_000));
    }
}

#[test]
fn a_tick_over_which_the_machine_slept_has_the_longest_time() {
    let mut stage = Stage::new();
    stage.flight.enter(Phase::Read);
    for _ in 0..3 {
        stage.flight.fan_out_began(stage.now);
        stage.now.0 += 1 << 33;
        stage.flight.fan_out_ended(stage.now, "news", 40, 1);
        stage.now.0 += 1 << 33;
        stage.piece(1, Kind::Input, "");
    }
    stage.flight.enter(Phase::Write);
    stage.now.0 += 1 << 33;
    stage.flight.written(stage.now, 40, 0);
    assert!(stage.wait(5_000, 0).is_some());
    assert_eq!(stage.newest().us, u32::MAX);
}
