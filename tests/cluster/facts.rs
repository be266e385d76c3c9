//! What the log of a cluster expects of an engine, asked of the real one: these answers are the ground on which the
//! processes stand. An engine on which this file fails is none for `[engine]`.

use crate::common::engine::Answer::{Error, Line, Nil, Number};
use crate::common::engine::{Answer, Asking, Engine};

fn text(text: &str) -> Answer {
    Answer::Text(text.to_owned())
}

#[test]
fn numbers_behind_the_epoch_have_no_holes_and_never_return() {
    let engine = Engine::start();
    assert_eq!(engine.ask("XADD log NOMKSTREAM 7-* b x"), Nil, "there is no log yet");
    assert_eq!(engine.ask("EXISTS log"), Number(0), "and none was made");
    assert_eq!(engine.ask("XADD log 7-1 b begin"), text("7-1"));
    for n in 2..=5 {
        assert_eq!(engine.ask("XADD log NOMKSTREAM 7-* b x"), text(&format!("7-{n}")));
    }
    // Another process was first with this epoch, or with a later one.
    for late in ["7-1", "6-1", "7-5"] {
        let Error(said) = engine.ask(&format!("XADD log {late} b begin")) else {
            panic!("a second beginning at {late}");
        };
        assert!(said.contains("equal or smaller"), "{said}");
    }
    // Trimming takes no number back, even if nothing is left.
    assert_eq!(engine.ask("XTRIM log MINID 7-4"), Number(3));
    assert_eq!(engine.ask("XTRIM log MINID 7-99"), Number(2));
    assert_eq!(engine.ask("XADD log NOMKSTREAM 7-* b x"), text("7-6"));
    // A writer of an older epoch is refused.
    assert_eq!(engine.ask("XADD log 8-1 b begin"), text("8-1"));
    assert!(matches!(engine.ask("XADD log NOMKSTREAM 7-* b x"), Error(_)));
}

#[test]
fn a_reader_waits_for_the_next_entry_and_learns_of_none_within_its_time() {
    let engine = Engine::start();
    assert_eq!(engine.ask("XADD log 7-1 b begin"), text("7-1"));
    let mut reader = Asking::connect(engine.addr());
    assert_eq!(
        reader.ask(&["XREAD", "COUNT", "64", "BLOCK", "10", "STREAMS", "log", "7-1"]),
        Nil
    );
    let read = std::thread::spawn(move || reader.ask(&["XREAD", "BLOCK", "9000", "STREAMS", "log", "7-1"]));
    assert_eq!(engine.ask("XADD log NOMKSTREAM 7-* b x"), text("7-2"));
    let entry = Answer::List(vec![text("7-2"), Answer::List(vec![text("b"), text("x")])]);
    let log = Answer::List(vec![text("log"), Answer::List(vec![entry])]);
    assert_eq!(read.join().expect("it reads"), Answer::List(vec![log]));
}

#[test]
fn a_full_engine_and_a_key_of_somebody_else_are_told_apart() {
    let engine = Engine::start();
    assert_eq!(engine.ask("XADD log 7-1 b begin"), text("7-1"));
    assert_eq!(engine.ask("SET other text"), Line("OK".into()));
    let wrong = engine.ask("XADD other NOMKSTREAM 7-* b x");
    assert!(
        matches!(&wrong, Error(said) if said.starts_with("WRONGTYPE ")),
        "{wrong:?}"
    );
    for limit in ["maxmemory-policy noeviction", "maxmemory 1"] {
        assert_eq!(engine.ask(&format!("CONFIG SET {limit}")), Line("OK".into()));
    }
    let full = engine.ask("XADD log NOMKSTREAM 7-* b x");
    assert!(matches!(&full, Error(said) if said.starts_with("OOM ")), "{full:?}");
    assert_eq!(engine.ask("XTRIM log MINID 7-1"), Number(0), "making room is allowed");
}

#[test]
fn an_engine_that_was_restarted_has_no_log() {
    let mut engine = Engine::start();
    assert_eq!(engine.ask("XADD log 7-1 b begin"), text("7-1"));
    assert_eq!(engine.length("log"), 1);
    engine.restart();
    assert_eq!(engine.length("log"), 0);
    assert_eq!(engine.ask("XADD log NOMKSTREAM 7-* b x"), Nil);
}

#[test]
fn a_stopped_engine_keeps_its_connections_and_answers_late() {
    let engine = Engine::start();
    assert_eq!(engine.ask("XADD log 7-1 b begin"), text("7-1"));
    engine.pause();
    // The kernel takes the connection.
    let mut asking = Asking::connect(engine.addr());
    let late = std::thread::spawn(move || asking.ask(&["XADD", "log", "NOMKSTREAM", "7-*", "b", "x"]));
    engine.resume();
    assert_eq!(late.join().expect("it answers"), text("7-2"));
}
