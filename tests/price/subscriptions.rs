//! `[limits] subscriptions_per_second`: the messages that count and those that do not, and a proof that none is lost.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::Frame;
use crate::common::pusher::{Session, Settings, Site};
use serde_json::{Value, json};

fn site(limits: &str) -> Site {
    Site::with(Settings {
        limits,
        ..Settings::default()
    })
}

/// Frames in one write.
fn frames(messages: impl IntoIterator<Item = Value>) -> Vec<u8> {
    let frame = |message: Value| Frame::text(message.to_string()).bytes();
    messages.into_iter().flat_map(frame).collect()
}

fn subscribe(channel: &str) -> Value {
    json!({"event": "pusher:subscribe", "data": {"channel": channel}})
}

fn unsubscribe(channel: &str) -> Value {
    json!({"event": "pusher:unsubscribe", "data": {"channel": channel}})
}

fn ping() -> Value {
    json!({"event": "pusher:ping", "data": {}})
}

/// A burst of twice the rate, then the rate. The loop serves a waiting connection once a second. So of 400 requests at
/// a hundred a second the first 200 come at once, and the tokens of each second come after its pause.
#[test]
fn orders_above_the_rate_wait_in_their_order_and_others_do_not() {
    let site = site("subscriptions_per_second = 100");
    let (mut busy, mut other) = (site.connect(), site.connect());
    let all = frames((0..400).map(|n| subscribe(&format!("c{n}"))).chain([ping()]));
    let began = Instant::now();
    busy.peer.send(all);
    let came = thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let came: Vec<Instant> = (0..400)
                .map(|n| {
                    busy.expect_subscribed(&format!("c{n}"));
                    Instant::now()
                })
                .collect();
            // Its own ping comes last, late and not lost.
            busy.expect(json!({"event": "pusher:pong", "data": "{}"}));
            came
        });
        let mut pings = 0;
        while !reads.is_finished() {
            let sent = Instant::now();
            other.expect_nothing();
            let took = sent.elapsed();
            assert!(
                took < Duration::from_millis(400),
                "a ping of another connection took {took:?}"
            );
            thread::sleep(Duration::from_millis(10));
            pings += 1;
        }
        assert!(pings > 10, "the test saw only {pings} pings of the other connection");
        reads.join().expect("all that was ordered comes")
    });
    let took = came[399] - began;
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(6)).contains(&took),
        "400 orders at 100 a second took {took:?}"
    );
    let longest = (1..400).max_by_key(|n| came[*n] - came[n - 1]);
    assert!(
        longest >= Some(200),
        "a burst of 200 and then 100 a second, but the longest pause was before {longest:?}"
    );
    let log = site.server.log();
    assert!(log.contains("sends more than subscriptions_per_second"), "{log}");
}

/// Whether 80 of these messages at twenty a second have to wait.
fn is_counted(messages: impl Fn(&mut Session, usize) -> Value) -> bool {
    let site = site("subscriptions_per_second = 20");
    let mut session = site.connect();
    let all: Vec<Value> = (0..80).map(|n| messages(&mut session, n)).collect();
    let began = Instant::now();
    // A different message comes last, so that there is one that waits.
    session.peer.send(frames(all));
    session.rest();
    let took = began.elapsed();
    let is_logged = site.server.log().contains("sends more than subscriptions_per_second");
    // Forty come at once, and twenty at the end of this second and of the next.
    assert!(!is_logged || took > Duration::from_millis(900), "held up for {took:?}");
    is_logged
}

#[test]
fn requests_that_cost_others_or_the_database_count_and_plain_answers_do_not() {
    let sign_in =
        |_: &mut Session, _: usize| json!({"event": "pusher:signin", "data": {"auth": "a", "user_data": "{}"}});
    let signed = |session: &mut Session, _: usize| {
        let user = r#"{"id":"1"}"#;
        json!({"event": "pusher:signin", "data": {"auth": session.auth_user(user), "user_data": user}})
    };
    let form_token = |_: &mut Session, _: usize| json!({"event": "jsocketd:form_token", "data": {"form_token": "00"}});
    let client_event = |_: &mut Session, _: usize| json!({"event": "client-x", "channel": "private-x", "data": {}});
    thread::scope(|scope| {
        let counted = [
            scope.spawn(move || is_counted(|_, n| subscribe(&format!("c{n}")))),
            // Refused ones, and joins and leaves.
            scope.spawn(move || is_counted(|_, n| subscribe(&format!("private-c{n}")))),
            scope.spawn(move || is_counted(|_, n| if n % 2 == 0 { subscribe("c") } else { unsubscribe("c") })),
            scope.spawn(move || is_counted(|_, n| unsubscribe(&format!("c{n}")))),
            scope.spawn(move || is_counted(sign_in)),
            scope.spawn(move || is_counted(signed)),
            scope.spawn(move || is_counted(form_token)),
        ];
        let free = [
            scope.spawn(move || is_counted(|_, _| ping())),
            scope.spawn(move || is_counted(|_, _| json!({"event": "pusher:pong", "data": {}}))),
            scope.spawn(move || is_counted(client_event)),
            scope.spawn(move || is_counted(|_, _| json!({"event": "nonsense"}))),
        ];
        assert_eq!(counted.map(|kind| kind.join().expect("an answer")), [true; 7]);
        assert_eq!(free.map(|kind| kind.join().expect("an answer")), [false; 4]);
    });
}

#[test]
fn zero_holds_nothing_up() {
    let site = site("subscriptions_per_second = 0");
    let mut session = site.connect();
    session
        .peer
        .send(frames((0..900).map(|n| subscribe(&format!("c{n}"))).chain([ping()])));
    for n in 0..900 {
        session.expect_subscribed(&format!("c{n}"));
    }
    let log = site.server.log();
    assert!(!log.contains("sends more than"), "{log}");
}
