//! Silence. Nothing is sent through a proxy but what the server sends by itself: its pings keep the connection alive,
//! with the time-outs that the products have in Debian.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::Frame;
use crate::common::frame::{PING, TEXT};
use crate::common::pusher::{ASKS, Session};
use crate::everyday::WORKING;
use crate::products::{ALL, Place};
use crate::stage::Stage;
use crate::visitor::Visitor;

/// For how long nobody publishes: longer than each product's time-out, and twice that of most.
const SILENCE: Duration = Duration::from_secs(120);

/// Answers what the server asks until this moment; returns how often it asked.
fn answer_until(session: &mut Session, end: Instant) -> usize {
    let mut asked = 0;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        if !session.peer.hears_within(left.max(Duration::from_millis(1))) {
            continue;
        }
        match session.peer.any_frame() {
            (PING, payload) => {
                session.peer.frame(&Frame::pong(payload));
            }
            (TEXT, payload) if payload == ASKS => {
                session.say_text(r#"{"event":"pusher:pong","data":{}}"#);
            }
            (opcode, payload) => panic!("{opcode} {payload:?}"),
        }
        asked += 1;
    }
    asked
}

/// Through every product at once, with the files of `conf/` and with people's lines.
fn keep_silent(limits: &str, silence: Duration, least: usize) {
    let stage = &Stage::new("", limits);
    let wait = |visitor: &Visitor, what: &str| {
        let mut session = visitor.subscriber();
        let asked = answer_until(&mut session, Instant::now() + silence);
        assert!(asked >= least, "{asked} pings in {silence:?}: {what}");
        visitor.expect_event(&mut session);
    };
    thread::scope(|scope| {
        for everyday in WORKING {
            scope.spawn(move || {
                let (_proxy, visitor) = everyday.before(stage);
                wait(&visitor, everyday.lines);
            });
        }
        for conf in ALL {
            scope.spawn(move || {
                let running = conf.start(stage, Place::Beside);
                wait(&running.secure, &format!("{conf:?}"));
            });
        }
    });
}

#[test]
fn pings_and_their_answers_cross_every_proxy() {
    keep_silent("ping_interval = 1", Duration::from_millis(3500), 2);
}

#[test]
fn the_default_ping_interval_keeps_a_silent_socket_behind_every_proxy() {
    if std::env::var_os("TEST_ALL").is_some() {
        keep_silent("", SILENCE, 3);
    } else {
        // The shortest time-outs of the products are HAProxy's 50 s and nginx's 60 s; a ping has as long again to come.
        let defaults = include_str!("../../conf/jsocketd.toml");
        let line = defaults.lines().find_map(|line| line.strip_prefix("ping_interval = "));
        let value = line.and_then(|line| line.split_whitespace().next()).expect("the key");
        let seconds: u64 = value.parse().expect("a number of seconds");
        assert!(seconds * 2 <= 50, "{seconds}");
    }
}
