//! Rules 1 and 2 of the Pusher protocol, and the behaviour of clients at the edges of a connection (11, 12): how it
//! begins, how it is kept alive, how it ends, and that malformed frames have no effect on it. Each test is named after
//! its rule.

use std::collections::HashSet;

use crate::common::frame::{CLOSE, PING, TEXT, fragments};
use crate::common::peer::{handshake, show};
use crate::common::pusher::{ASKS, KEY, SECRET, Session, Settings, Site, app_handshake, pick, signature};
use crate::common::{Frame, Noise, Peer, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The messages before the close frame, and its code; then the end of the stream.
fn ending(peer: &mut Peer) -> (Vec<Value>, u16) {
    let mut before = Vec::new();
    loop {
        match peer.any_frame() {
            (TEXT, payload) => before.push(serde_json::from_slice(&payload).expect("as the rule says")),
            (CLOSE, payload) => {
                peer.expect_eof();
                return (before, u16::from_be_bytes([payload[0], payload[1]]));
            }
            (PING, _) => {}
            (opcode, payload) => panic!("opcode {opcode} with {}", show(&payload)),
        }
    }
}

/// The app's socket is turned away with this code, and was not established. An error frame may stand before the close.
fn refused(site: &Site, path: &str) -> u16 {
    let (before, code) = ending(&mut site.upgrade(path));
    for message in before {
        assert_eq!(message["event"], "pusher:error", "{path}: {message}");
        assert_eq!(message["data"]["code"], code, "{path}: {message}");
    }
    code
}

fn app(query: &str) -> String {
    format!("/app/{KEY}?{query}")
}

// --- 1 Connection ----------------------------------------------------------------------------------------------------

#[test]
fn rule_1_1_unknown_parameters_are_ignored() {
    let site = Site::start();
    for query in [
        "protocol=7",
        "protocol=7&client=js&version=8.6.0&flash=false",
        "client=js&protocol=7&version=8.6.0",
        "protocol=7&client=&version=",
        "protocol=7&x&=&&y=%zz&%00=1&protocolx=1",
        "protocol=7&client=%F0%9F%90%98&version=../..",
    ] {
        Session::open(&site, query).expect_nothing();
    }
}

#[test]
fn rule_1_1_a_path_prefix_stands_before_app_and_apps() {
    let site = Site::with(Settings {
        pusher: "path = \"/live\"",
        ..Settings::default()
    });
    Session::greeted(site.upgrade(&format!("/live/app/{KEY}?protocol=7"))).expect_nothing();
    no_such_path(&site, &format!("/app/{KEY}?protocol=7"));
    no_such_path(&site, &format!("/livelive/app/{KEY}?protocol=7"));
}

#[test]
fn rule_1_2_protocols_4_to_7_are_spoken() {
    let site = Site::start();
    for protocol in 4..=7 {
        Session::open(&site, &format!("protocol={protocol}")).subscribe("news");
    }
    for protocol in ["1", "2", "3", "8", "9", "77"] {
        assert_eq!(
            refused(&site, &app(&format!("protocol={protocol}"))),
            4007,
            "{protocol}"
        );
    }
    for protocol in ["x", "7x", "-7", "7.0", "seven", "0x7", "%37%20", "7%00"] {
        assert_eq!(
            refused(&site, &app(&format!("protocol={protocol}"))),
            4006,
            "{protocol}"
        );
    }
}

#[test]
fn rule_1_2_a_missing_protocol_is_7_unless_strict() {
    let site = Site::start();
    Session::open(&site, "client=js").expect_nothing();
    Session::greeted(site.upgrade(&format!("/app/{KEY}"))).expect_nothing();

    let strict = Site::with(Settings {
        pusher: "strict_protocol = true",
        ..Settings::default()
    });
    assert_eq!(refused(&strict, &app("client=js")), 4008);
    Session::open(&strict, "protocol=7").expect_nothing();
}

#[test]
fn rule_1_5_a_foreign_origin_is_refused_only_where_it_is_asked_for() {
    let from = |site: &Site, origin: &str| {
        let mut peer = Peer::connect(&site.server);
        peer.send(handshake(&app("protocol=7")).replace("Upgrade: w", &format!("Origin: {origin}\r\nUpgrade: w")));
        peer.expect_switch();
        peer
    };
    let open = Site::start();
    Session::greeted(from(&open, "https://other.example")).expect_nothing();

    let strict = Site::with(Settings {
        pusher: "strict_origin = true",
        ..Settings::default()
    });
    for origin in [
        "https://other.example",
        "null",
        "http://localhost:8081",
        "https://localhost",
    ] {
        assert_eq!(ending(&mut from(&strict, origin)).1, 4009, "{origin}");
    }
    Session::greeted(from(&strict, "http://localhost")).expect_nothing();
    Session::greeted(from(&open, "http://localhost:8081")).expect_nothing();
    assert_eq!(ending(&mut strict.upgrade(&app("protocol=7"))).1, 4009, "no origin");
}

#[test]
fn rule_1_2_below_6_an_error_frame_precedes_every_close() {
    let site = Site::start();
    for (path, code) in [("/app/nobody?protocol=5".to_owned(), 4001), (app("protocol=3"), 4007)] {
        let (before, closed) = ending(&mut site.upgrade(&path));
        assert_eq!(closed, code);
        assert_eq!(before.len(), 1, "{before:?}");
        assert_eq!(before[0]["event"], "pusher:error");
        assert_eq!(before[0]["data"]["code"], code);
    }
    let mut old = Session::open(&site, "protocol=5");
    old.sign_in(r#"{"id":"7"}"#);
    site.api().ask("POST", "/users/7/terminate_connections", &[], "");
    let (before, closed) = ending(&mut old.peer);
    assert_eq!((closed, before.len()), (4009, 1), "{before:?}");
    assert_eq!(before[0]["data"]["code"], 4009);
}

#[test]
fn rule_1_3_unknown_key_closes_4001() {
    let site = Site::start();
    for key in [
        "nobody",
        "SITE-KEY",
        "site-ke",
        "site-keyy",
        "site%2Dkex",
        "joomla",
        "jsocketd-key",
    ] {
        assert_eq!(refused(&site, &format!("/app/{key}?protocol=7")), 4001, "{key}");
    }
}

#[test]
fn rule_1_3_a_disabled_app_closes_4003() {
    let site = Site::with(Settings {
        app: "enabled = false",
        ..Settings::default()
    });
    assert_eq!(refused(&site, &app("protocol=7")), 4003);
}

#[test]
fn rule_1_3_over_the_apps_quota_closes_4004_and_quota_comes_back() {
    let site = Site::with(Settings {
        app: "max_connections = 2",
        ..Settings::default()
    });
    let _first = site.connect();
    let second = site.connect();
    assert_eq!(refused(&site, &app("protocol=7")), 4004);
    // Refused connections cost no quota.
    assert_eq!(refused(&site, &app("protocol=7")), 4004);
    second.peer.reset();
    let back = || matches!(site.open_app("protocol=7").next_frame(), (TEXT, _));
    wait_until("a closed connection gives its quota back", back, String::new);
}

#[test]
fn rule_1_3_a_full_server_closes_4100() {
    let site = Site::with(Settings {
        server: "max_connections = 2",
        ..Settings::default()
    });
    let (_first, _second) = (site.connect(), site.connect());
    assert_eq!(refused(&site, &app("protocol=7")), 4100);
}

/// There is no app socket at this path: an HTTP 404, or a close with 4005.
fn no_such_path(site: &Site, path: &str) {
    let mut peer = Peer::connect(&site.server);
    peer.send(crate::common::peer::handshake(path));
    let mut head = peer.head();
    if head.status == 101 {
        assert_eq!(ending(&mut peer), (Vec::new(), 4005), "{path}");
    } else {
        peer.body_of(&mut head);
        assert_eq!(head.status, 404, "{path}");
    }
}

#[test]
fn rule_1_3_other_paths_are_not_found() {
    let site = Site::start();
    for path in [
        "/app",
        "/app/",
        "/app/?protocol=7",
        "/App/site-key",
        "/apps/site-key",
        "/app/site-key/more?protocol=7",
        "/app/site-key/?protocol=7",
        "//app/site-key?protocol=7",
        "/application/site-key",
    ] {
        no_such_path(&site, path);
    }
}

#[test]
fn rule_1_4_the_first_frame_is_the_greeting() {
    let site = Site::start();
    let mut peer = site.open_app("protocol=7");
    let (opcode, payload) = peer.next_frame();
    assert_eq!(opcode, TEXT);
    let message: Value = serde_json::from_slice(&payload).expect("as the rule says");
    let data = message["data"].as_str().expect("a string");
    assert_eq!(message, json!({"event": "pusher:connection_established", "data": data}));
    let data: Value = serde_json::from_str(data).expect("as the rule says");
    let socket_id = data["socket_id"].as_str().expect("as the rule says");
    assert_eq!(data, json!({"socket_id": socket_id, "activity_timeout": 120}));
    assert_socket_id(socket_id);
}

/// `^\d+\.\d+$`, each half a number of 32 bits.
fn assert_socket_id(socket_id: &str) -> (u32, u32) {
    let (a, b) = socket_id
        .split_once('.')
        .unwrap_or_else(|| panic!("no dot in {socket_id}"));
    assert!(
        [a, b].iter().all(|half| half.bytes().all(|byte| byte.is_ascii_digit())),
        "{socket_id}"
    );
    (
        a.parse().expect("as the rule says"),
        b.parse().expect("as the rule says"),
    )
}

#[test]
fn rule_1_4_socket_ids_are_unique_and_not_guessable() {
    let mut all = HashSet::new();
    let mut halves = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        // A restart begins no sequence anew.
        let site = Site::start();
        let sessions: Vec<Session> = (0..200).map(|_| site.connect()).collect();
        for session in &sessions {
            assert!(all.insert(session.socket_id.clone()), "{} twice", session.socket_id);
            let (a, b) = assert_socket_id(&session.socket_id);
            halves[0].push(a);
            halves[1].push(b);
        }
    }
    for half in halves {
        // 400 numbers by chance hit both values of each bit; 60 differences by chance are all different.
        for bit in 0..32 {
            let ones = half.iter().filter(|&&number| number >> bit & 1 == 1).count();
            assert!((100..300).contains(&ones), "bit {bit} is set in {ones} of 400");
        }
        let steps: HashSet<u32> = half.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert!(steps.len() > 390, "only {} different steps", steps.len());
    }
}

#[test]
fn rule_1_4_the_activity_timeout_is_the_configured_one() {
    let site = Site::with(Settings {
        pusher: "activity_timeout = 30",
        ..Settings::default()
    });
    let (_, payload) = site.open_app("protocol=7").next_frame();
    let message: Value = serde_json::from_slice(&payload).expect("as the rule says");
    assert_eq!(crate::common::pusher::decoded(&message)["activity_timeout"], 30);
}

#[test]
fn rule_1_5_no_sub_protocol_or_extension_is_promised() {
    let site = Site::start();
    let mut peer = Peer::connect(&site.server);
    let extra = "Sec-WebSocket-Protocol: pusher, chat\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
                 Origin: https://elsewhere.example\r\n\r\n";
    let asked = app_handshake("protocol=7");
    peer.send(asked.strip_suffix("\r\n").expect("as the rule says"))
        .send(extra);
    let head = peer.expect_switch().to_ascii_lowercase();
    assert!(!head.contains("sec-websocket-protocol"), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    // Other sites' pages are welcome: the key is public.
    Session::greeted(peer).expect_nothing();
}

/// A ping message that is exactly so long.
fn padded(len: usize) -> String {
    let message = r#"{"event":"pusher:ping","data":{}}"#;
    format!("{message}{}", " ".repeat(len - message.len()))
}

#[test]
fn rule_1_6_64_kib_is_the_most_and_fragments_are_summed() {
    let site = Site::start();
    let pong = json!({"event": "pusher:pong", "data": "{}"});
    let mut session = site.connect();
    session.say_text(&padded(65_536)).expect(pong.clone());
    session.peer.send(fragments(TEXT, padded(65_536).as_bytes(), 1_000));
    session.expect(pong);
    session.peer.send(Frame::text(padded(65_537)).bytes());
    assert_eq!(ending(&mut session.peer), (Vec::new(), 1009));

    let mut session = site.connect();
    session.peer.try_send(fragments(TEXT, padded(65_537).as_bytes(), 1_000));
    assert_eq!(ending(&mut session.peer), (Vec::new(), 1009));
}

#[test]
fn rule_1_7_a_client_that_neither_signs_in_nor_joins_in_time_closes_4009() {
    let site = Site::with(Settings {
        pusher: "authorization_timeout = 1",
        ..Settings::default()
    });
    let mut member = site.connect();
    member.join("presence-room", "1");
    let mut reader = site.connect();
    reader.subscribe("private-news");
    let mut user = site.connect();
    user.sign_in(r#"{"id":"7"}"#);
    let mut passer_by = site.connect();
    passer_by.subscribe("news");
    let mut liar = site.connect();
    liar.say_subscribe(json!({"channel": "private-news", "auth": "site-key:00"}));
    liar.expect_refused("private-news");

    assert_eq!(ending(&mut passer_by.peer).1, 4009);
    assert_eq!(ending(&mut liar.peer).1, 4009);
    for session in [&mut member, &mut reader, &mut user] {
        session.expect_nothing();
    }
}

// --- 2 Frames, liveness, errors --------------------------------------------------------------------------------------

#[test]
fn rule_2_1_binary_messages_are_no_messages() {
    let site = Site::start();
    let mut session = site.connect();
    session.peer.binary(br#"{"event":"pusher:ping"}"#);
    match session.peer.next_frame() {
        (TEXT, payload) => {
            let message: Value = serde_json::from_slice(&payload).expect("as the rule says");
            assert_eq!(
                (&message["event"], &message["data"]["code"]),
                (&json!("pusher:error"), &Value::Null)
            );
            session.expect_nothing();
        }
        (CLOSE, payload) => assert_eq!(payload[..2], 1003u16.to_be_bytes()),
        (opcode, payload) => panic!("opcode {opcode} with {}", show(&payload)),
    }
}

#[test]
fn rule_2_1_violations_of_rfc_6455_close() {
    let site = Site::start();
    for (frame, code) in [
        (Frame::text([0xff, 0xfe]), 1007),
        (Frame::text("{}").unmasked(), 1002),
        (Frame::new(3, "{}"), 1002),
        (Frame::new(11, "{}"), 1002),
        (Frame::ping([0; 126]), 1002),
        (Frame::text("{}").reserved(4), 1002),
        (Frame::continuation("{}"), 1002),
    ] {
        let mut session = site.connect();
        session.peer.frame(&frame);
        assert_eq!(ending(&mut session.peer), (Vec::new(), code), "{frame:?}");
    }
}

/// What JSON parsers like to change.
const DATA: &[&str] = &[
    "",
    "{}",
    "null",
    "plain text, no JSON",
    r#"{"n":12345678901234567890123456789,"f":1.10,"e":1e400,"z":-0}"#,
    r#"{"b":1,"a":2,"b":3}"#,
    r#"{ "space" : [ ] }"#,
    r#"{"s":"\u00e9\/\u0000\ud83d\ude00"}"#,
    "é \u{1f418} \u{2028} \u{7f}",
    "tab\tline\nback\\slash\"quote\u{0}\u{1f}",
    r#"{"unfinished":"#,
    "<script>&amp;</script>",
];

#[test]
fn rule_2_2_published_data_comes_byte_for_byte() {
    let site = Site::start();
    let mut session = site.connect();
    session.subscribe("news");
    let mut api = site.api();
    for data in DATA {
        api.publish("news", "event", data);
        session.expect_event("news", "event", data);
    }
    // However the JSON string was written.
    let body = r#"{"name":"\u0065vent","channels":["\u006eews"],"data":"\u00e9\/\ud83d\ude00\u007b"}"#;
    api.ask("POST", "/events", &[], body);
    session.expect_event("news", "event", "é/\u{1f600}{");
}

#[test]
fn rule_2_2_frames_have_no_other_keys() {
    let site = Site::start();
    let mut session = site.connect();
    session.ask("news");
    assert_eq!(keys(&session.next()), ["channel", "data", "event"]);
    site.api().publish("news", "event", "{}");
    assert_eq!(keys(&session.next()), ["channel", "data", "event"]);
    session.say(json!({"event": "pusher:ping"}));
    assert_eq!(keys(&session.next()), ["data", "event"]);
    session.say(json!({"event": "pusher:nonsense"}));
    assert_eq!(keys(&session.next()), ["data", "event"]);
}

fn keys(message: &Value) -> Vec<&str> {
    message
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn rule_2_3_a_ping_with_any_data_is_answered() {
    let site = Site::start();
    let mut session = site.connect();
    for ping in [
        r#"{"event":"pusher:ping","data":{}}"#,
        r#"{"event":"pusher:ping","data":""}"#,
        r#"{"event":"pusher:ping","data":"{}"}"#,
        r#"{"event":"pusher:ping","data":[]}"#,
        r#"{"event":"pusher:ping","data":null}"#,
        r#"{"event":"pusher:ping"}"#,
        r#"{"data":{},"event":"pusher:ping","more":[1,{"x":null}]}"#,
    ] {
        session.say_text(ping);
        assert_eq!(session.next(), json!({"event": "pusher:pong", "data": "{}"}), "{ping}");
    }
    session.peer.ping("are you there").expect_pong("are you there");
}

#[test]
fn rule_2_3_a_ping_before_the_greeting_is_answered_behind_it() {
    let site = Site::start();
    let mut peer = Peer::connect(&site.server);
    let ping = Frame::text(r#"{"event":"pusher:ping","data":""}"#).bytes();
    peer.send([app_handshake("protocol=6").as_bytes(), &ping].concat())
        .expect_switch();
    Session::greeted(peer).expect(json!({"event": "pusher:pong", "data": "{}"}));
}

/// A server that asks silent clients after a second and gives them two more.
fn impatient() -> Site {
    Site::with(Settings {
        pusher: "activity_timeout = 1",
        limits: "ping_interval = 1\nping_timeout = 2",
        ..Settings::default()
    })
}

/// How a client answers the server's two pings.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answers {
    Frame,
    Event,
    Other,
    Nothing,
}

/// Reads one round of the server's asking, a ping and a `pusher:ping` in any order, and answers.
fn asked(session: &mut Session, answers: Answers) {
    let mut seen = (false, false);
    while seen != (true, true) {
        match session.peer.any_frame() {
            (PING, payload) => {
                seen.0 = true;
                if answers == Answers::Frame {
                    session.peer.frame(&Frame::pong(payload));
                }
            }
            (TEXT, payload) => {
                assert_eq!(payload, ASKS, "{}", show(&payload));
                seen.1 = true;
                match answers {
                    Answers::Event => drop(session.say_text(r#"{"event":"pusher:pong","data":{}}"#)),
                    Answers::Other => drop(session.unsubscribe("nothing")),
                    Answers::Frame | Answers::Nothing => {}
                }
            }
            (opcode, payload) => panic!("{answers:?}: opcode {opcode} with {}", show(&payload)),
        }
    }
}

#[test]
fn rule_2_3_silence_is_asked_in_both_ways_and_any_answer_counts() {
    let site = impatient();
    std::thread::scope(|scope| {
        for answers in [Answers::Frame, Answers::Event, Answers::Other] {
            let site = &site;
            scope.spawn(move || {
                let mut session = site.connect();
                // Three rounds take longer than the wait for an answer.
                for _ in 0..3 {
                    asked(&mut session, answers);
                }
            });
        }
    });
}

#[test]
fn rule_2_3_no_answer_closes_4201_with_and_without_subscriptions() {
    let site = impatient();
    let (mut idle, mut subscriber) = (site.connect(), site.connect());
    subscriber.subscribe("news");
    for session in [&mut idle, &mut subscriber] {
        asked(session, Answers::Nothing);
        session.peer.expect_close(4201);
    }
}

#[test]
fn rule_2_4_a_restart_closes_with_a_code_that_brings_clients_back_spread_out() {
    let mut site = Site::with(Settings {
        limits: "drain_seconds = 1",
        ..Settings::default()
    });
    let sessions: Vec<Session> = (0..20).map(|_| site.connect()).collect();
    site.server.signal(Signal::TERM);
    for mut session in sessions {
        let (_, code) = ending(&mut session.peer);
        assert!(matches!(code, 4100 | 4200), "{code}");
    }
    assert!(site.server.ended().success());
}

#[test]
fn rule_2_4_a_slow_consumer_is_closed_and_delays_no_other_client() {
    let site = Site::with(Settings {
        limits: "send_queue_bytes = 131072",
        ..Settings::default()
    });
    let mut slow = site.connect();
    slow.subscribe("news");
    let mut quick = site.connect();
    quick.subscribe("news");
    let mut api = site.api();
    let data = "x".repeat(10_000);
    let mut published = 0;
    while !site.server.log().contains("slow") {
        assert!(published < 20_000, "200 MB wait for one connection and nobody minds");
        api.publish("news", "event", &data);
        quick.expect_event("news", "event", &data);
        published += 1;
    }
    quick.expect_nothing();
    slow.peer.drain();
    let count = json!({"occupied": true, "subscription_count": 1});
    let gone = || api.get("/channels/news", &[("info", "subscription_count")]) == count;
    wait_until("the slow consumer has left the channel", gone, String::new);
}

#[test]
fn rule_2_5_errors_have_the_texts_that_people_search_for() {
    let site = Site::start();
    let mut session = site.connect();
    let id = session.socket_id.clone();
    session.subscribe("news").ask("news");
    assert_eq!(session.expect_error(), "Existing subscription to channel news");

    let wrong = "0".repeat(64);
    session.say_subscribe(json!({"channel": "private-x", "auth": format!("{KEY}:{wrong}")}));
    let text = format!("Invalid signature: Expected HMAC SHA256 hex digest of {id}:private-x, but got {wrong}");
    assert_eq!(session.expect_refused("private-x").error, text);

    let user = r#"{"user_id":"1"}"#;
    let asked = json!({"channel": "presence-x", "auth": format!("{KEY}:{wrong}"), "channel_data": user});
    session.say_subscribe(asked);
    let text = format!("Invalid signature: Expected HMAC SHA256 hex digest of {id}:presence-x:{user}, but got {wrong}");
    assert_eq!(session.expect_refused("presence-x").error, text);

    session.say_subscribe(json!({"channel": "private-x", "auth": "other-key:00"}));
    let refused = session.expect_refused("private-x");
    assert!(
        refused
            .error
            .starts_with("Invalid key in subscription auth data: 'other-key'"),
        "{refused:?}"
    );
    // The refusal does not contain the right signature.
    let right = signature(SECRET, &format!("{id}:private-x"));
    assert!(!refused.error.contains(&right));
}

/// Texts that are no messages, or messages that make no sense.
fn malformed() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        "x",
        "{",
        "}",
        "[",
        "[]",
        "null",
        "true",
        "1",
        "\"\"",
        "{}",
        "{\"event\"}",
        "{\"event\":}",
        "{'event':'x'}",
        "\u{feff}{\"event\":\"pusher:ping\"}",
        "{\"event\":\"pusher:ping\"}{\"event\":\"pusher:ping\"}",
        "{\"event\":\"pusher:ping\"}x",
        "{\"event\":\"pusher:ping\",}",
        "{\"event\":\"\\ud800\"}",
        "{\"event\":\"\\x\"}",
        "{\"event\":\"a\nb\"}",
        "{\"event\":1}",
        "{\"event\":null}",
        "{\"event\":[\"pusher:ping\"]}",
        "{\"event\":{}}",
        "{\"data\":{}}",
        "{\"event\":\"\"}",
        "{\"Event\":\"pusher:ping\"}",
        "{\"event\":\"pusher:nonsense\"}",
        "{\"event\":\"pusher_internal:subscription_succeeded\",\"channel\":\"news\",\"data\":\"{}\"}",
        "{\"event\":\"news\",\"channel\":\"news\",\"data\":{}}",
        "{\"event\":\"pusher:error\",\"data\":{\"code\":4000}}",
        "{\"event\":\"pusher:connection_established\",\"data\":\"{}\"}",
        "{\"event\":\"PUSHER:PING\"}",
        "{\"event\":1e999}",
    ]
    .map(str::to_owned)
    .into();
    for data in [
        "null",
        "1",
        "true",
        "[]",
        "\"\"",
        "\"x\"",
        "\"[]\"",
        "\"{\"",
        "{}",
        "{\"channel\":null}",
        "{\"channel\":1}",
        "{\"channel\":[]}",
        "{\"channel\":{}}",
        "{\"channel\":[\"news\"]}",
        "{\"Channel\":\"news\"}",
    ] {
        all.push(format!("{{\"event\":\"pusher:subscribe\",\"data\":{data}}}"));
    }
    all.push("{\"event\":\"pusher:subscribe\"}".to_owned());
    all.push("{\"event\":\"pusher:subscribe\",\"channel\":\"news\"}".to_owned());
    for data in [
        "null",
        "1",
        "[]",
        "\"x\"",
        "{}",
        "{\"auth\":1,\"user_data\":2}",
        "{\"auth\":\"a:b\"}",
        "{\"user_data\":\"{}\"}",
    ] {
        all.push(format!("{{\"event\":\"pusher:signin\",\"data\":{data}}}"));
    }
    for depth in [65, 1_000, 30_000] {
        all.push("[".repeat(depth));
        all.push(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        all.push(format!(
            "{{\"event\":\"pusher:ping\",\"data\":{}{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        ));
        all.push(format!("{}1{}", "{\"event\":".repeat(depth / 5), "}".repeat(depth / 5)));
    }
    all
}

#[test]
fn rule_2_6_malformed_input_is_an_error_and_not_the_end() {
    let site = Site::start();
    let mut session = site.connect();
    session.subscribe("private-before");
    for text in malformed() {
        session.say_text(&text);
        let rest = session.rest();
        let start: String = text.chars().take(80).collect();
        let last = rest.last().unwrap_or_else(|| panic!("no answer to {start}"));
        assert_eq!(last["event"], "pusher:error", "{start}: {last}");
        for message in &rest {
            let code = &message["data"]["code"];
            let kind = message["event"].as_str().expect("as the rule says");
            assert!(
                kind == "pusher:subscription_error" || (kind == "pusher:error" && code.is_null()),
                "{start}: {message}"
            );
        }
        assert!(rest.len() <= 2, "{start}: {rest:?}");
    }
    // The first subscription is unchanged.
    site.api().publish("private-before", "event", "{}");
    session.expect_event("private-before", "event", "{}");
}

#[test]
fn rule_2_6_nesting_has_a_bound() {
    let site = Site::start();
    let mut session = site.connect();
    for (depth, fine) in [
        (1, true),
        (32, true),
        (60, true),
        (65, false),
        (100, false),
        (20_000, false),
    ] {
        let data = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        session.say_text(&format!("{{\"event\":\"pusher:ping\",\"data\":{data}}}"));
        let event = session.next()["event"].take();
        assert_eq!(event, if fine { "pusher:pong" } else { "pusher:error" }, "{depth}");
    }
}

#[test]
fn rule_2_6_mutated_messages_never_end_a_connection() {
    const SEEDS: &[&str] = &[
        r#"{"event":"pusher:subscribe","data":{"channel":"news","auth":"","channel_data":null}}"#,
        r#"{"event":"pusher:subscribe","data":"{\"channel\":\"private-x\",\"auth\":\"site-key:00ff\"}"}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"presence-x","auth":"site-key:0","channel_data":"{\"user_id\":1}"}}"#,
        r#"{"event":"pusher:signin","data":{"auth":"site-key:0","user_data":"{\"id\":\"1\",\"watchlist\":[\"2\"]}"}}"#,
        r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#,
        r#"{"event":"client-x","channel":"private-x","data":{"a":[1,2.5e3,"\u00e9"]}}"#,
        r#"{"event":"pusher:ping","data":{}}"#,
    ];
    const PIECES: &[&str] = &[
        "",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "1e9999",
        "-",
        "\\u0000",
        "\\ud800",
        "é",
        "\u{1f418}",
        "#",
        "cache-",
        "private-",
        "presence-",
        "pusher:",
        "client-",
        "#server-to-user-1",
        "0000000000000000000000000000",
    ];
    let site = Site::start();
    let mut noise = Noise(0x005e_ed0f_2026);
    let mut session = site.connect();
    let mut other = site.connect();
    for round in 0..3_000 {
        let mut text: Vec<char> = pick(&mut noise, SEEDS).chars().collect();
        for _ in 0..1 + noise.next() % 3 {
            let at = noise.next() as usize % text.len();
            let end = (at + noise.next() as usize % 12).min(text.len());
            text.splice(at..end, pick(&mut noise, PIECES).chars());
            if text.is_empty() {
                text.push('x');
            }
        }
        let text: String = text.into_iter().collect();
        session.say_text(&text);
        for message in session.rest() {
            let event = message["event"].as_str().expect("as the rule says");
            let known = [
                "pusher:error",
                "pusher:pong",
                "pusher:subscription_error",
                "pusher:cache_miss",
                "pusher_internal:subscription_succeeded",
            ];
            assert!(known.contains(&event), "round {round}, {text}: {message}");
            if event == "pusher:error" {
                let code = message["data"]["code"].as_u64();
                assert!(
                    code.is_none_or(|code| (4300..4400).contains(&code)),
                    "round {round}, {text}: {message}"
                );
            }
        }
        if round % 500 == 0 {
            other.expect_nothing();
        }
    }
}

// --- 11 Fallbacks, 12 Quirks -----------------------------------------------------------------------------------------

#[test]
fn rule_11_1_the_fallback_transports_are_not_found() {
    let site = Site::start();
    for path in [
        format!("/pusher/app/{KEY}/437/k2jd83hs/xhr_streaming?protocol=7"),
        format!("/pusher/app/{KEY}/437/k2jd83hs/xhr?protocol=7"),
        format!("/pusher/app/{KEY}/437/k2jd83hs/xhr_send?protocol=7"),
    ] {
        for method in ["POST", "GET"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let reply = Peer::connect(&site.server).send(request).reply();
            assert_eq!(reply.status, 404, "{method} {path}");
        }
    }
}

#[test]
fn rule_12_a_subscribe_right_behind_the_unsubscribe_of_the_same_channel() {
    let site = Site::start();
    let mut session = site.connect();
    session.subscribe("news");
    let frames = [
        r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"news","auth":""}}"#,
    ];
    session
        .peer
        .send(frames.map(|frame| Frame::text(frame).bytes()).concat());
    session.expect_subscribed("news");
    site.api().publish("news", "event", "once");
    session.expect_event("news", "event", "once").expect_nothing();
}

#[test]
fn rule_12_names_as_laravel_gives_them() {
    let site = Site::start();
    let mut session = site.connect();
    session.subscribe("private-App.Models.User.1");
    site.api()
        .publish("private-App.Models.User.1", "App\\Events\\OrderShipped", "{}");
    session.expect_event("private-App.Models.User.1", "App\\Events\\OrderShipped", "{}");
}

#[test]
fn rule_12_pysher_is_protocol_6_and_asks_before_it_is_greeted() {
    let site = Site::start();
    let mut peer = Peer::connect(&site.server);
    let frames = [
        r#"{"event":"pusher:ping","data":""}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#,
    ];
    let handshake = app_handshake("client=Pysher&version=0.6.0&protocol=6");
    let bytes = [
        handshake.into_bytes(),
        frames.map(|frame| Frame::text(frame).bytes()).concat(),
    ]
    .concat();
    peer.send(bytes).expect_switch();
    Session::greeted(peer)
        .expect(json!({"event": "pusher:pong", "data": "{}"}))
        .expect_subscribed("news")
        .expect_nothing();
}

#[test]
fn rule_15_half_open_and_dropped_connections_leave_nothing_behind() {
    let site = Site::start();
    let mut api = site.api();
    let nothing = json!({"channels": {}});
    assert_eq!(api.get("/channels", &[]), nothing);
    let fds = site.server.fds();
    for _ in 0..100 {
        let mut session = site.connect();
        session.subscribe("news").subscribe("private-x").join("presence-x", "1");
        session.peer.reset();
    }
    site.server.expect_fds(fds);
    assert_eq!(api.get("/channels", &[]), nothing);
}
