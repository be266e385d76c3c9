//! A test for each rule of pusher.md's sections 9 and 7.6, and for the rules of sections 12 and 16 that concern the
//! API. Each test is named after its rule. One table has hostile requests.

mod stage;

use serde_json::{Value, json};

use self::stage::{Call, Outcome, START, Sent, Stage, encode};
use super::is_for;
use crate::config;

const EVENTS: &str = "/apps/7/events";
const BATCH: &str = "/apps/7/batch_events";
const EVENT: &str = r#"{"name":"greeting","channel":"news","data":"hello"}"#;

/// A stage with connection 1, subscribed to `news`.
fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.subscribe(1, "news", None);
    stage
}

fn sent(to: &[u32], channel: &str, event: &str, data: &str) -> Sent {
    Sent {
        to: to.to_vec(),
        channel: channel.to_owned(),
        event: event.to_owned(),
        data: data.to_owned(),
    }
}

/// An event for `news` with some fields replaced; null removes a field.
fn event(changes: Value) -> String {
    let mut event = json!({"name": "greeting", "channel": "news", "data": "hello"});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(event.as_object_mut().unwrap().remove(name)),
            value => event[name] = value.clone(),
        }
    }
    event.to_string()
}

// 9.1 Authentication

#[test]
fn rule_9_1_the_worked_example_of_the_documentation_passes() {
    let mut stage = Stage::with(&[config::App::new("3", "278d425bdf160c739803", "7ad3773142a6692b25b8")]);
    stage.now.unix_ms = 1_353_088_179_000;
    stage.subscribe(1, "project-3", None);
    let target = "/apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
                  &body_md5=ec365a775a4cd0599faeb73354201b6f\
                  &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
    let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    let outcome = stage.raw("POST", target, body);
    outcome.is(200, "{}");
    assert_eq!(outcome.sent, [sent(&[1], "project-3", "foo", r#"{"some":"data"}"#)]);
}

#[test]
fn rule_9_1_the_answer_names_the_first_flaw_in_the_order_of_the_checks() {
    type Flaw = fn(Call) -> Call;
    let wrong_body: Flaw = |mut call| {
        call.body[0] = b' ';
        call
    };
    let flaws: [(Flaw, u16, &str); 9] = [
        (
            |mut c| {
                c.path = c.path.replace("/7/", "/9/");
                c
            },
            404,
            "There is no app with the id \"9\"",
        ),
        (
            |mut c| {
                c.path += "x";
                c
            },
            404,
            "There is nothing at this path",
        ),
        (
            |mut c| {
                c.method = "PUT".to_owned();
                c
            },
            405,
            "This path answers POST, not PUT",
        ),
        (
            |c| c.set("auth_key", "other-key"),
            401,
            "Unknown auth_key \"other-key\"",
        ),
        (|c| c.set("auth_version", "2.0"), 401, "Version not supported"),
        (|c| c.set("auth_timestamp", "1"), 401, "Timestamp expired"),
        (|c| c.signature("0"), 401, "Invalid signature"),
        (wrong_body, 401, "Invalid body MD5"),
        (|c| c, 403, "This app is disabled"),
    ];
    let mut stage = stage();
    stage.settings().enabled = false;
    for (n, (_, status, text)) in flaws.iter().enumerate() {
        let mut call = Call::post(EVENTS, EVENT);
        for (flaw, ..) in &flaws[n..] {
            call = flaw(call);
        }
        stage.send(&call).refuses(*status, text);
    }
}

#[test]
fn rule_9_1_an_unknown_app_is_404() {
    let mut stage = stage();
    for path in [
        "/apps/9/events",
        "/apps//events",
        "/apps/9",
        "/apps/",
        "/apps/%FF/events",
    ] {
        stage.post(path, EVENT).refuses(404, "There is no app with the id");
    }
    stage.post("/apps/%37/events", EVENT).is(200, "{}");
}

#[test]
fn rule_9_1_the_key_must_be_that_of_this_app() {
    let mut stage = stage();
    let call = Call::post(EVENTS, EVENT);
    let other = call.clone().set("auth_key", "other-key");
    stage.send(&other).refuses(401, "Unknown auth_key");
    stage
        .send(&other.secret("other-secret"))
        .refuses(401, "Unknown auth_key");
    stage
        .send(&call.clone().set("auth_key", "KEY"))
        .refuses(401, "Unknown auth_key");
    stage
        .send(&call.clone().set("auth_key", ""))
        .refuses(401, "Unknown auth_key");
    stage
        .send(&call.without("auth_key"))
        .refuses(401, "Missing parameter: auth_key");
}

#[test]
fn rule_9_1_the_version_is_1_0() {
    let mut stage = stage();
    for wrong in ["1", "1.00", "1.1", "", " 1.0"] {
        stage
            .send(&Call::post(EVENTS, EVENT).set("auth_version", wrong))
            .refuses(401, "Version not supported");
    }
    stage
        .send(&Call::post(EVENTS, EVENT).without("auth_version"))
        .refuses(401, "Version required");
}

#[test]
fn rule_9_1_the_timestamp_is_within_600_s() {
    let mut stage = stage();
    for (offset, passes) in [(-601, false), (-600, true), (0, true), (600, true), (601, false)] {
        let timestamp = START.checked_add_signed(offset).unwrap().to_string();
        let outcome = stage.send(&Call::post(EVENTS, EVENT).set("auth_timestamp", &timestamp));
        assert_eq!(outcome.status == 200, passes, "{offset}: {}", outcome.text);
    }
    stage
        .send(&Call::post(EVENTS, EVENT).set("auth_timestamp", "1353088179"))
        .is(
            401,
            r#"{"error":"Timestamp expired: Given timestamp (2012-11-16T17:49:39Z) not within 600s of server time (2027-01-15T08:00:00Z)"}"#,
        );
    let huge = "9".repeat(30);
    for far in ["0", "18446744073709551615", "9223372036854775807", &huge] {
        stage
            .send(&Call::post(EVENTS, EVENT).set("auth_timestamp", far))
            .refuses(401, "Timestamp expired");
    }
    for wrong in ["", "-1", "+1800000000", "1800000000.0", "1e9", "now", "０"] {
        stage
            .send(&Call::post(EVENTS, EVENT).set("auth_timestamp", wrong))
            .refuses(401, "Timestamp required");
    }
    stage
        .send(&Call::post(EVENTS, EVENT).without("auth_timestamp"))
        .refuses(401, "Timestamp required");
    // A recorded request is not accepted later.
    let recorded = Call::post(EVENTS, EVENT);
    stage.pass(600_999);
    stage.send(&recorded).is(200, "{}");
    stage.pass(1);
    stage.send(&recorded).refuses(401, "Timestamp expired");
}

#[test]
fn rule_9_1_the_refusal_of_a_wrong_signature_does_not_contain_the_right_one() {
    let call = Call::post(EVENTS, EVENT);
    let right = call.right_signature();
    let mut stage = stage();
    let elsewhere = Call::post("/apps/7/batch_events", EVENT).right_signature();
    let mut as_put = call.clone();
    as_put.method = "PUT".to_owned();
    for wrong in [
        "",
        "0",
        &right.to_uppercase(),
        &right[1..],
        &format!("{right}0"),
        &format!(" {right}"),
        &"0".repeat(64),
        &call.clone().secret("other-secret").right_signature(),
        &call.clone().secret("").right_signature(),
        &as_put.right_signature(),
        &elsewhere,
    ] {
        let outcome = stage.send(&call.clone().signature(wrong));
        outcome.refuses(
            401,
            "Invalid signature: you should have sent HmacSHA256Hex(\"POST\\n/apps/7/events\\nauth_key=key&",
        );
        assert!(!outcome.error().contains(right.as_str()) || wrong.contains(right.as_str()));
        assert!(!outcome.text.contains("secret\""), "{}", outcome.text);
    }
    let unsigned = call.target().replace("&auth_signature=", "&signature=");
    stage
        .raw("POST", &unsigned, EVENT.as_bytes())
        .refuses(401, "Missing parameter: auth_signature");
    stage.send(&call).is(200, "{}");
}

#[test]
fn rule_9_1_every_parameter_but_the_signature_is_signed() {
    let mut stage = stage();
    let target = Call::get("/apps/7/channels").target();
    stage.raw("GET", &target, b"").is(200, r#"{"channels":{"news":{}}}"#);
    for more in ["&a=b", "&a", "&filter_by_prefix=presence-", "&="] {
        stage
            .raw("GET", &format!("{target}{more}"), b"")
            .refuses(401, "Invalid signature");
    }
    let signed = Call::get("/apps/7/channels").with("a", "b").with("", "").target();
    stage.raw("GET", &signed, b"").is(200, r#"{"channels":{"news":{}}}"#);
}

#[test]
fn rule_9_1_values_are_signed_decoded_and_names_in_lower_case() {
    let mut stage = stage();
    let call = Call::get("/apps/7/channels")
        .with("Odd", "a b+c&d=e%41ä\n")
        .with("info", "subscription_count");
    assert!(call.target().contains("Odd=a+b%2Bc%26d%3De%2541%C3%A4%0A"));
    stage
        .send(&call)
        .is(200, r#"{"channels":{"news":{"subscription_count":1}}}"#);
    let upper = Call::get("/apps/7/channels")
        .without("auth_key")
        .with("AUTH_KEY", "key");
    stage.send(&upper).is(200, r#"{"channels":{"news":{}}}"#);
}

#[test]
fn rule_9_1_the_order_in_the_url_is_free() {
    let mut stage = stage();
    let target = Call::post(EVENTS, EVENT).target();
    let (path, query) = target.split_once('?').unwrap();
    let mut pairs: Vec<&str> = query.split('&').collect();
    for _ in 0..pairs.len() {
        pairs.rotate_left(1);
        let target = format!("{path}?{}", pairs.join("&"));
        stage.raw("POST", &target, EVENT.as_bytes()).is(200, "{}");
    }
}

#[test]
fn rule_9_1_repeated_parameters_are_signed_in_their_order() {
    let mut stage = stage();
    let call = Call::get("/apps/7/channels")
        .with("channels[]", "b")
        .with("channels[]", "a");
    stage.send(&call).is(200, r#"{"channels":{"news":{}}}"#);
    let swapped = Call::get("/apps/7/channels")
        .with("channels[]", "a")
        .with("channels[]", "b");
    stage
        .send(&swapped.signature(&call.right_signature()))
        .refuses(401, "Invalid signature");
}

#[test]
fn rule_9_1_a_parameter_that_decides_is_given_once() {
    let mut stage = stage();
    for name in [
        "auth_key",
        "auth_version",
        "auth_timestamp",
        "auth_signature",
        "body_md5",
    ] {
        let call = Call::post(EVENTS, EVENT);
        let value = call.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let call = call.with(name, value.as_deref().unwrap_or("0"));
        stage
            .send(&call)
            .refuses(400, &format!("The parameter {name} is given more than once"));
    }
    let call = Call::get("/apps/7/channels").with("info", "").with("INFO", "");
    stage
        .send(&call)
        .refuses(400, "The parameter info is given more than once");
}

#[test]
fn rule_9_1_the_path_is_signed_as_sent_with_its_prefix() {
    let mut stage = stage();
    stage.config.path = "/push".to_owned();
    stage.post("/push/apps/7/events", EVENT).is(200, "{}");
    let other = Call::post("/pushy/apps/7/events", EVENT).right_signature();
    stage
        .send(&Call::post("/push/apps/7/events", EVENT).signature(&other))
        .refuses(401, "Invalid signature");
    // Only the user's id has a decoded spelling.
    let encoded = "/push/apps/7/channels/a%40b";
    stage.get(encoded, &[]).is(200, r#"{"occupied":false}"#);
    let decoded = Call::get("/push/apps/7/channels/a@b").right_signature();
    stage
        .send(&Call::get(encoded).signature(&decoded))
        .refuses(401, "Invalid signature");
}

/// pusher.md 17: the libraries for PHP and others leave the prefix out, in what they sign or also in what they send.
#[test]
fn rule_17_the_prefix_may_be_left_out_in_the_path_and_in_the_signature() {
    let paths = ["/apps/7/events", "/push/apps/7/events"];
    for sent in paths {
        for signed in paths {
            let mut stage = stage();
            stage.config.path = "/push".to_owned();
            let signature = Call::post(signed, EVENT).right_signature();
            let call = Call::post(sent, EVENT).signature(&signature);
            stage.send(&call).is(200, "{}");
            // The path is a part of what is signed, as before.
            let elsewhere = Call::post("/push/apps/7/batch_events", EVENT).signature(&signature);
            stage.send(&elsewhere).refuses(401, "Invalid signature");
            // Without a prefix there is one spelling.
            stage.config.path.clear();
            match (sent, signed) {
                ("/apps/7/events", "/apps/7/events") => stage.send(&call).is(200, "{}"),
                ("/apps/7/events", _) => stage.send(&call).refuses(401, "Invalid signature"),
                _ => assert!(!is_for(sent, &stage.config)),
            }
        }
    }
    let mut stage = stage();
    stage.config.path = "/push".to_owned();
    let twice = Call::post("/push/push/apps/7/events", EVENT).right_signature();
    stage
        .send(&Call::post("/push/apps/7/events", EVENT).signature(&twice))
        .refuses(401, "Invalid signature");
    assert!(!is_for("/push/push/apps/7/events", &stage.config));
}

/// pusher-http-php signs the id as it is given; its HTTP client encodes it.
#[test]
fn rule_17_the_id_of_a_user_may_be_signed_raw() {
    let path = |prefix: &str, user: &str| format!("{prefix}/users/{user}/terminate_connections");
    for user in ["a b", "a/b", "é", "50%", "a@b"] {
        for (sent, signed) in [
            ("/push/apps/7", "/apps/7"),
            ("/apps/7", "/push/apps/7"),
            ("/push", ""),
            ("", ""),
        ] {
            let mut stage = Stage::new();
            stage.config.path = "/push".to_owned();
            stage.connect(1, Some(user));
            let signature = Call::post(&path(signed, user), "{}").right_signature();
            let call = Call::post(&path(sent, &encode(user).replace('+', "%20")), "{}").signature(&signature);
            let outcome = stage.send(&call);
            outcome.is(200, "{}");
            assert_eq!(outcome.closed, [(1, 4009)], "{user}");
        }
    }
    // A signed text means one user: this one means A.
    let mut stage = Stage::new();
    stage.connect(1, Some("%41"));
    let of_a = Call::post(&path("/apps/7", "%41"), "{}").right_signature();
    let call = Call::post(&path("/apps/7", "%2541"), "{}").signature(&of_a);
    stage.send(&call).refuses(401, "Invalid signature");
    assert_eq!(stage.post(&path("/apps/7", "%2541"), "{}").closed, [(1, 4009)]);
    assert_eq!(stage.send(&Call::post(&path("/apps/7", "%41"), "{}")).closed, []);
}

#[test]
fn rule_9_1_a_body_needs_its_md5() {
    let mut stage = stage();
    let call = Call::post(EVENTS, EVENT);
    stage
        .send(&call.clone().without("body_md5"))
        .refuses(401, "Missing parameter: body_md5");
    for wrong in [
        "",
        "0",
        "d41d8cd98f00b204e9800998ecf8427e",
        "ec365a775a4cd0599faeb73354201b6f",
    ] {
        stage
            .send(&call.clone().set("body_md5", wrong))
            .refuses(401, "Invalid body MD5");
    }
    let mut changed = call.clone();
    changed.body = EVENT.replace("hello", "hullo").into_bytes();
    stage.send(&changed).refuses(401, "Invalid body MD5");
    changed.body.clear();
    stage.send(&changed).refuses(401, "Invalid body MD5");
    stage.send(&call).is(200, "{}");
}

#[test]
fn rule_9_1_the_md5_of_an_empty_body_is_optional() {
    let mut stage = stage();
    let python = Call::get("/apps/7/channels").with("body_md5", "d41d8cd98f00b204e9800998ecf8427e");
    stage.send(&python).is(200, r#"{"channels":{"news":{}}}"#);
    let wrong = Call::get("/apps/7/channels").with("body_md5", "0");
    stage.send(&wrong).refuses(401, "Invalid body MD5");
    stage.post("/apps/7/users/1/terminate_connections", "").is(200, "{}");
    let python =
        Call::post("/apps/7/users/1/terminate_connections", "").with("body_md5", "d41d8cd98f00b204e9800998ecf8427e");
    stage.send(&python).is(200, "{}");
}

// 9.2 Endpoints and answers

#[test]
fn rule_9_2_an_event_goes_to_each_of_its_channels() {
    let mut stage = stage();
    stage.subscribe(2, "sports", None);
    let body = r#"{"name":"App\\Events\\X","channels":["news","sports","empty"],"data":"\"\u00e4\\n\ud83d\ude00"}"#;
    let outcome = stage.post(EVENTS, body);
    outcome.is(200, "{}");
    let data = "\"ä\\n😀";
    assert_eq!(
        outcome.sent,
        [
            sent(&[1], "news", r"App\Events\X", data),
            sent(&[2], "sports", r"App\Events\X", data)
        ]
    );
}

#[test]
fn rule_9_2_the_socket_id_is_left_out() {
    let mut stage = stage();
    stage.subscribe(2, "news", None);
    let outcome = stage.post(EVENTS, event(json!({"socket_id": "1.1"})));
    assert_eq!(outcome.sent, [sent(&[2], "news", "greeting", "hello")]);
}

#[test]
fn rule_9_2_info_is_answered_for_every_distinct_channel() {
    let mut stage = stage();
    stage.subscribe(2, "presence-room", Some("a"));
    stage.subscribe(3, "presence-room", Some("a"));
    let channels = json!(["presence-room", "news", "empty", "presence-empty", "news"]);
    let ask = |stage: &mut Stage, info: &str| {
        let outcome = stage.post(
            EVENTS,
            event(json!({"channel": null, "channels": channels, "info": info})),
        );
        assert_eq!(outcome.status, 200);
        outcome.json()
    };
    assert_eq!(
        ask(&mut stage, "user_count,subscription_count"),
        json!({"channels": {
            "presence-room": {"user_count": 1, "subscription_count": 2},
            "news": {"subscription_count": 1},
            "empty": {"subscription_count": 0},
            "presence-empty": {"user_count": 0, "subscription_count": 0},
        }})
    );
    assert_eq!(
        ask(&mut stage, "user_count"),
        json!({"channels": {
            "presence-room": {"user_count": 1},
            "news": {},
            "empty": {},
            "presence-empty": {"user_count": 0},
        }})
    );
    let nothing = json!({"channels": {"presence-room": {}, "news": {}, "empty": {}, "presence-empty": {}}});
    assert_eq!(ask(&mut stage, "cache,unknown"), nothing);
    assert_eq!(ask(&mut stage, ""), json!({}));
}

#[test]
fn rule_9_2_a_batch_is_published_in_order() {
    let mut stage = stage();
    stage.subscribe(2, "news", None);
    let body = r#"{"batch":[
        {"name":"one","channel":"news","data":"1"},
        {"name":"two","channel":"empty","data":"2"},
        {"name":"three","channel":"news","data":"3","socket_id":"1.2"}]}"#;
    let outcome = stage.post(BATCH, body);
    outcome.is(200, "{}");
    assert_eq!(
        outcome.sent,
        [sent(&[1, 2], "news", "one", "1"), sent(&[1], "news", "three", "3")]
    );
    stage.post(BATCH, r#"{"batch":[]}"#).is(200, "{}");
}

/// Not a rule of Pusher's: a header of our own, which libraries ignore.
#[test]
fn the_answer_says_to_how_many_connections_the_events_were_sent() {
    let mut stage = stage();
    stage.subscribe(2, "news", None);
    stage.subscribe(3, "other", None);
    let batch = |events: &[String]| format!("{{\"batch\":[{}]}}", events.join(","));
    for (path, body, deliveries) in [
        (EVENTS, event(json!({})), "2"),
        (EVENTS, event(json!({"channel": "empty"})), "0"),
        (EVENTS, event(json!({"socket_id": "1.2"})), "1"),
        (
            EVENTS,
            event(json!({"channel": null, "channels": ["news", "other", "empty"]})),
            "3",
        ),
        (EVENTS, event(json!({"info": "subscription_count"})), "2"),
        (
            BATCH,
            batch(&[event(json!({})), event(json!({"channel": "other"}))]),
            "3",
        ),
    ] {
        let outcome = stage.send(&Call::post(path, &body).with("deliveries", "1"));
        assert_eq!(outcome.headers["jsocketd-deliveries"], deliveries, "{body}");
        let sent: usize = outcome.sent.iter().map(|sent| sent.to.len()).sum();
        assert_eq!(sent.to_string(), deliveries, "{body}");
    }
    let unasked = stage.post(EVENTS, event(json!({})));
    assert!(unasked.status == 200 && !unasked.headers.contains_key("jsocketd-deliveries"));
    let refused = stage.send(&Call::post(EVENTS, event(json!({"name": "pusher:x"}))).with("deliveries", "1"));
    assert!(refused.status == 400 && !refused.headers.contains_key("jsocketd-deliveries"));
}

#[test]
fn rule_9_2_a_batch_answers_info_in_the_same_order() {
    let mut stage = stage();
    stage.subscribe(2, "presence-room", Some("a"));
    let body = r#"{"batch":[
        {"name":"one","channel":"news","data":"1"},
        {"name":"two","channel":"presence-room","data":"2","info":"user_count,subscription_count"},
        {"name":"three","channel":"news","data":"3","info":"subscription_count"}]}"#;
    stage.post(BATCH, body).is(
        200,
        r#"{"batch":[{},{"user_count":1,"subscription_count":1},{"subscription_count":1}]}"#,
    );
}

#[test]
fn rule_9_2_channels_lists_the_occupied_ones() {
    let mut stage = Stage::new();
    stage.get("/apps/7/channels", &[]).is(200, r#"{"channels":{}}"#);
    stage.subscribe(1, "news", None);
    stage.subscribe(2, "presence-room", Some("a"));
    stage.subscribe(3, "presence-room", Some("b"));
    stage.subscribe(4, "presence-room", Some("b"));
    let both = json!({"channels": {"news": {}, "presence-room": {}}});
    assert_eq!(stage.get("/apps/7/channels", &[]).json(), both);
    for (prefix, listed) in [
        ("", both.clone()),
        ("nothing", json!({"channels": {}})),
        ("ne", json!({"channels": {"news": {}}})),
    ] {
        let outcome = stage.get("/apps/7/channels", &[("filter_by_prefix", prefix)]);
        assert_eq!(outcome.json(), listed, "{prefix}");
    }
    stage
        .get(
            "/apps/7/channels",
            &[("filter_by_prefix", "presence-"), ("info", "user_count")],
        )
        .is(200, r#"{"channels":{"presence-room":{"user_count":2}}}"#);
    stage
        .get(
            "/apps/7/channels",
            &[
                ("filter_by_prefix", "presence-r"),
                ("info", "subscription_count, user_count"),
            ],
        )
        .is(
            200,
            r#"{"channels":{"presence-room":{"user_count":2,"subscription_count":3}}}"#,
        );
}

#[test]
fn rule_9_2_user_count_of_channels_needs_the_presence_prefix() {
    let mut stage = stage();
    for prefix in [None, Some(""), Some("presence"), Some("private-"), Some("x-presence-")] {
        let mut call = Call::get("/apps/7/channels").with("info", "user_count");
        if let Some(prefix) = prefix {
            call = call.with("filter_by_prefix", prefix);
        }
        stage
            .send(&call)
            .refuses(400, "user_count may only be requested for presence channels");
    }
}

#[test]
fn rule_9_2_the_answer_about_a_channel_has_its_occupancy() {
    let mut stage = stage();
    stage.subscribe(2, "presence-room", Some("a"));
    stage.subscribe(3, "presence-room", Some("a"));
    for (name, info, answer) in [
        ("news", "", r#"{"occupied":true}"#),
        (
            "news",
            "subscription_count",
            r#"{"occupied":true,"subscription_count":1}"#,
        ),
        ("empty", "", r#"{"occupied":false}"#),
        (
            "empty",
            "subscription_count,cache",
            r#"{"occupied":false,"subscription_count":0,"cache":null}"#,
        ),
        (
            "presence-room",
            "user_count,subscription_count,unknown",
            r#"{"occupied":true,"user_count":1,"subscription_count":2}"#,
        ),
        ("presence-empty", "user_count", r#"{"occupied":false,"user_count":0}"#),
    ] {
        stage
            .get(&format!("/apps/7/channels/{name}"), &[("info", info)])
            .is(200, answer);
    }
    stage.get("/apps/7/channels/news", &[("info", "user_count")]).refuses(
        400,
        "Cannot retrieve the user count unless the channel is a presence channel",
    );
}

#[test]
fn rule_9_2_a_channel_shows_its_cached_event() {
    let mut stage = Stage::new();
    let ask = |stage: &mut Stage| stage.get("/apps/7/channels/cache-x", &[("info", "cache")]).text;
    assert_eq!(ask(&mut stage), r#"{"occupied":false,"cache":null}"#);
    stage
        .post(EVENTS, event(json!({"channel": "cache-x", "data": "a\"b"})))
        .is(200, "{}");
    stage.pass(10_000);
    assert_eq!(
        ask(&mut stage),
        r#"{"occupied":false,"cache":{"data":"a\"b","ttl":1790}}"#
    );
    stage
        .get("/apps/7/channels/cache-x", &[])
        .is(200, r#"{"occupied":false}"#);
}

#[test]
fn rule_9_2_users_are_listed_once() {
    let mut stage = stage();
    for (slot, user) in [(2, "10"), (3, "10"), (4, "ä\"")] {
        stage.subscribe(slot, "presence-room", Some(user));
    }
    let outcome = stage.get("/apps/7/channels/presence-room/users", &[]);
    assert_eq!(outcome.json(), json!({"users": [{"id": "10"}, {"id": "ä\""}]}));
    stage
        .get("/apps/7/channels/presence-empty/users", &[])
        .is(200, r#"{"users":[]}"#);
    for name in ["news", "empty", "private-x"] {
        stage
            .get(&format!("/apps/7/channels/{name}/users"), &[])
            .refuses(400, "Users can only be retrieved for presence channels");
    }
}

#[test]
fn rule_9_2_names_in_the_path_are_checked() {
    let mut stage = stage();
    let long = "x".repeat(165);
    for name in ["a:b", "%20", "%C3%A4", "", &long] {
        for more in ["", "/users"] {
            stage
                .get(&format!("/apps/7/channels/{name}{more}"), &[])
                .refuses(400, "Invalid channel name");
        }
    }
    for name in ["%", "%4", "%FF"] {
        stage
            .get(&format!("/apps/7/channels/{name}"), &[])
            .refuses(400, "percent sign");
    }
    stage
        .get("/apps/7/channels/a%2Fb", &[])
        .refuses(400, "Invalid channel name");
    for path in [
        "/apps/7/channels/a/b",
        "/apps/7/channels/a/b/users",
        "/apps/7/channels/a/",
    ] {
        stage.get(path, &[]).refuses(404, "There is nothing at this path");
    }
    stage
        .get("/apps/7/channels/a%40b,c;d=e", &[])
        .is(200, r#"{"occupied":false}"#);
    stage
        .get("/apps/7/channels/users", &[])
        .is(200, r#"{"occupied":false}"#);
}

#[test]
fn rule_9_2_another_method_is_405_with_allow() {
    let mut stage = stage();
    for (path, allow, others) in [
        (EVENTS, "POST", ["GET", "HEAD", "DELETE"]),
        (BATCH, "POST", ["GET", "PUT", "OPTIONS"]),
        (
            "/apps/7/users/1/terminate_connections",
            "POST",
            ["GET", "HEAD", "PATCH"],
        ),
        ("/apps/7/channels", "GET, HEAD", ["POST", "PUT", "OPTIONS"]),
        ("/apps/7/channels/news", "GET, HEAD", ["POST", "DELETE", "OPTIONS"]),
        (
            "/apps/7/channels/presence-x/users",
            "GET, HEAD",
            ["POST", "PUT", "OPTIONS"],
        ),
        ("/apps/7/connections", "GET, HEAD", ["POST", "PUT", "OPTIONS"]),
        ("/apps/7/status", "GET, HEAD", ["POST", "PUT", "OPTIONS"]),
    ] {
        for method in others {
            let outcome = stage.send(&Call::new(method, path, b""));
            outcome.refuses(405, &format!("not {method}"));
            assert_eq!(outcome.headers["allow"], allow, "{path}");
        }
        if allow != "POST" {
            let outcome = stage.send(&Call::new("HEAD", path, b""));
            assert_eq!(outcome.text, stage.get(path, &[]).text);
        }
    }
}

#[test]
fn rule_9_2_an_unknown_path_is_404_signed_or_not() {
    let mut stage = stage();
    for path in [
        "/apps/7",
        "/apps/7/",
        "/apps/7/event",
        "/apps/7/events/",
        "/apps/7//events",
        "/apps/7/channels/news/events",
        "/apps/7/users",
        "/apps/7/users/1",
        "/apps/7/users/terminate_connections",
        "/apps/7/users//terminate_connections",
        "/apps/7/stats",
    ] {
        stage.post(path, EVENT).refuses(404, "There is nothing at this path");
        stage
            .raw("POST", path, b"")
            .refuses(404, "There is nothing at this path");
    }
}

#[test]
fn rule_11_3_connections_are_counted() {
    let mut stage = stage();
    stage.connect(2, None);
    stage.get("/apps/7/connections", &[]).is(200, r#"{"connections":2}"#);
}

// 9.3 Validation

#[test]
fn rule_9_3_a_missing_parameter_is_400() {
    let mut stage = stage();
    for (changes, text) in [
        (json!({"name": null}), "Missing parameter: name"),
        (json!({"name": ""}), "Missing parameter: name"),
        (json!({"data": null}), "Missing parameter: data"),
        (json!({"channel": null}), "Missing parameter: channels or channel"),
        (
            json!({"channel": null, "channels": []}),
            "Missing parameter: channels or channel",
        ),
    ] {
        stage.post(EVENTS, event(changes.clone())).refuses(400, text);
        let batch = format!(r#"{{"batch":[{EVENT},{}]}}"#, event(changes));
        stage.post(BATCH, batch).refuses(400, "batch[1]: Missing parameter");
    }
    stage.post(EVENTS, "{}").refuses(400, "Missing parameter: name");
    stage.post(EVENTS, "").refuses(400, "Missing parameter: name");
    stage.post(BATCH, "{}").refuses(400, "Missing parameter: batch");
    stage.post(BATCH, "").refuses(400, "Missing parameter: batch");
    stage.post(BATCH, EVENT).refuses(400, "Missing parameter: batch");
}

#[test]
fn rule_9_3_a_body_that_is_no_json_object_is_400() {
    let mut stage = stage();
    for body in [
        &b"{"[..],
        b"[]",
        b"null",
        b"1",
        b"\"x\"",
        b" ",
        b"name=greeting&channel=news&data=hello",
        b"{\"name\":\"greeting\",\"channel\":\"news\",\"data\":\"hello\"",
        b"{\"name\":\"greeting\",\"channel\":\"news\",\"data\":\"hello\"} x",
        b"{\"name\":\"greeting\",\"channel\":\"news\",\"data\":\"hello\",}",
        b"{'name':'greeting'}",
        b"{\"name\":\"a\nb\",\"channel\":\"news\",\"data\":\"hello\"}",
        b"{\"name\":\"\xff\",\"channel\":\"news\",\"data\":\"hello\"}",
        b"\xef\xbb\xbf{\"name\":\"greeting\",\"channel\":\"news\",\"data\":\"hello\"}",
        b"\xff\xfe{\0",
        b"{\"data\":NaN}",
        b"{\"data\":01}",
        b"{\"data\":\"\\x\"}",
    ] {
        for path in [EVENTS, BATCH, "/apps/7/users/1/terminate_connections"] {
            let outcome = stage.post(path, body);
            outcome.refuses(400, "Invalid body: ");
        }
    }
}

#[test]
fn rule_9_3_fields_of_another_type_are_400() {
    let mut stage = stage();
    for (changes, field) in [
        (json!({"name": 1}), "name"),
        (json!({"name": ["a"]}), "name"),
        (json!({"channel": 1}), "channel"),
        (json!({"channel": ["news"]}), "channel"),
        (json!({"channels": "news"}), "channels"),
        (json!({"channels": {"0": "news"}}), "channels"),
        (json!({"channels": ["news", 1]}), "channels"),
        (json!({"channels": ["news", null]}), "channels"),
        (json!({"socket_id": 1.1}), "socket_id"),
        (json!({"info": ["user_count"]}), "info"),
    ] {
        stage
            .post(EVENTS, event(changes))
            .refuses(400, &format!("{field}: invalid type"));
    }
    for batch in ["{}", "1", "\"x\"", "{\"0\":{}}"] {
        stage
            .post(BATCH, format!(r#"{{"batch":{batch}}}"#))
            .refuses(400, "batch: invalid type");
    }
    stage
        .post(BATCH, r#"{"batch":[1]}"#)
        .refuses(400, "batch[0]: invalid type");
    let lone = r#"{"name":"greeting","channel":"news","data":"\ud800"}"#;
    stage.post(EVENTS, lone).refuses(400, "data: ");
}

#[test]
fn rule_9_3_a_field_that_is_null_counts_as_missing() {
    let mut stage = stage();
    let body = r#"{"name":"greeting","channels":["news"],"channel":null,"data":"x","socket_id":null,"info":null}"#;
    stage.post(EVENTS, body).is(200, "{}");
}

#[test]
fn rule_9_3_a_wrong_channel_name_is_400_also_among_many() {
    let mut stage = stage();
    let long = "x".repeat(165);
    let longer = "ä".repeat(100_000);
    for name in [
        "",
        "a b",
        "a:b",
        "a/b",
        "#x",
        "ä",
        "a\n",
        "#server-to-user-",
        &long,
        &longer,
    ] {
        for body in [
            json!({"channel": name}),
            json!({"channel": null, "channels": ["news", name]}),
            json!({"channels": [name]}),
        ] {
            let outcome = stage.post(EVENTS, event(body));
            outcome.refuses(400, "Invalid channel name");
            assert!(outcome.text.len() < 1000, "{}", outcome.text);
        }
    }
    stage
        .post(EVENTS, event(json!({"channel": "x".repeat(164)})))
        .is(200, "{}");
}

#[test]
fn rule_9_3_an_event_has_100_channels_at_most() {
    let mut stage = stage();
    let channels = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>();
    let post = |stage: &mut Stage, channels: Vec<String>| {
        stage.post(EVENTS, event(json!({"channel": null, "channels": channels})))
    };
    post(&mut stage, channels(100)).is(200, "{}");
    post(&mut stage, channels(101)).refuses(400, "has 101 channels, 100 at most");
    post(&mut stage, vec!["news".to_owned(); 5000]).refuses(400, "has 5000 channels, 100 at most");
    stage
        .post(EVENTS, event(json!({"channels": channels(100)})))
        .refuses(400, "has 101 channels");
}

#[test]
fn rule_9_3_a_batch_has_10_events_at_most() {
    let mut stage = stage();
    let batch = |count: usize| format!(r#"{{"batch":[{}]}}"#, vec![EVENT; count].join(","));
    let outcome = stage.post(BATCH, batch(10));
    outcome.is(200, "{}");
    assert_eq!(outcome.sent.len(), 10);
    stage.post(BATCH, batch(11)).refuses(400, "has 11 events, 10 at most");
    stage
        .post(BATCH, batch(3000))
        .refuses(400, "has 3000 events, 10 at most");
}

#[test]
fn rule_9_3_data_has_10240_bytes_of_utf_8_at_most() {
    let mut stage = stage();
    let post = |stage: &mut Stage, data: &str| stage.post(EVENTS, event(json!({"data": data})));
    for data in ["x".repeat(10_240), "ä".repeat(5120), "\n".repeat(10_240), String::new()] {
        let outcome = post(&mut stage, &data);
        outcome.is(200, "{}");
        assert_eq!(outcome.sent[0].data, data);
    }
    for data in ["x".repeat(10_241), "ä".repeat(5121)] {
        post(&mut stage, &data).refuses(
            413,
            "The data content of this event exceeds the allowed maximum (10240 bytes).",
        );
    }
    let batch = format!(
        r#"{{"batch":[{EVENT},{}]}}"#,
        event(json!({"data": "x".repeat(10_241)}))
    );
    stage.post(BATCH, batch).refuses(413, "batch[1]: The data content");
    stage.settings().max_event_size = 3;
    post(&mut stage, "äx").is(200, "{}");
    post(&mut stage, "ää").refuses(413, "maximum (3 bytes)");
}

#[test]
fn rule_9_3_a_name_has_200_characters_at_most_of_any_kind() {
    let mut stage = stage();
    let post = |stage: &mut Stage, name: &str| stage.post(EVENTS, event(json!({"name": name})));
    for name in [
        "x".repeat(200),
        "ä".repeat(200),
        r"App\Events\X".to_owned(),
        " \n\"".to_owned(),
        "client-x".to_owned(),
    ] {
        let outcome = post(&mut stage, &name);
        outcome.is(200, "{}");
        assert_eq!(outcome.sent[0].event, name);
    }
    post(&mut stage, &"x".repeat(201)).refuses(400, "has 201 characters, 200 at most");
}

#[test]
fn rule_9_3_names_of_protocol_events_are_refused() {
    let mut stage = stage();
    for name in [
        "pusher:error",
        "pusher:",
        "pusher_internal:member_added",
        "pusher_internal:",
    ] {
        stage
            .post(EVENTS, event(json!({"name": name})))
            .refuses(400, "reserved");
        let batch = format!(r#"{{"batch":[{EVENT},{}]}}"#, event(json!({"name": name})));
        stage.post(BATCH, batch).refuses(400, "batch[1]: Only the server");
    }
    // An escape does not hide the prefix.
    let hidden = r#"{"name":"pusher\u003aerror","channel":"news","data":"x"}"#;
    stage.post(EVENTS, hidden).refuses(400, "reserved");
    for name in ["pusher", "pusherx:a", "x-pusher:a", "Pusher:a", "pusher_internal"] {
        stage.post(EVENTS, event(json!({"name": name}))).is(200, "{}");
    }
}

#[test]
fn rule_9_3_a_socket_id_is_two_numbers() {
    let mut stage = stage();
    for wrong in [
        "", "1", "1.", ".1", "1.1.1", "a.b", "1.1 ", "-1.1", "+1.1", "1.1\n", "1,1", "１.１",
    ] {
        stage
            .post(EVENTS, event(json!({"socket_id": wrong})))
            .refuses(400, "Invalid socket_id");
    }
    for unknown in [
        "123.456",
        "4294967295.4294967295",
        "4294967296.1",
        "99999999999999999999.1",
    ] {
        let outcome = stage.post(EVENTS, event(json!({"socket_id": unknown})));
        outcome.is(200, "{}");
        assert_eq!(outcome.sent.len(), 1);
    }
}

#[test]
fn rule_9_3_data_that_is_not_text_is_published_as_it_was_written() {
    let mut stage = stage();
    for data in [
        "{}",
        r#"{"a": 1,  "b":[1e400, 12345678901234567890123456789, 1.0, "\u00e4\ud800"]}"#,
        "[1,2]",
        "1",
        "-0.0",
        "true",
        "null",
        "123456789012345678901234567890",
    ] {
        let outcome = stage.post(EVENTS, format!(r#"{{"name":"x","channel":"news","data": {data} }}"#));
        outcome.is(200, "{}");
        assert_eq!(outcome.sent, [sent(&[1], "news", "x", data)]);
    }
    let large = format!("[{}1]", "1,".repeat(5120));
    stage
        .post(EVENTS, format!(r#"{{"name":"x","channel":"news","data":{large}}}"#))
        .refuses(413, "exceeds the allowed maximum");
}

#[test]
fn rule_9_3_a_batch_is_all_or_nothing() {
    let mut stage = stage();
    for (bad, status) in [
        (event(json!({"name": null})), 400),
        (event(json!({"channel": "a b"})), 400),
        (event(json!({"socket_id": "x"})), 400),
        (event(json!({"data": "x".repeat(20_000)})), 413),
        ("1".to_owned(), 400),
    ] {
        for place in 0..3 {
            let mut events = vec![EVENT.to_owned(); 2];
            events.insert(place, bad.clone());
            let outcome = stage.post(BATCH, format!(r#"{{"batch":[{}]}}"#, events.join(",")));
            // The stage checks for every refusal that nothing was sent.
            outcome.refuses(status, &format!("batch[{place}]: "));
        }
    }
}

#[test]
fn rule_9_3_the_same_channel_twice_is_one_delivery() {
    let mut stage = stage();
    let outcome = stage.post(EVENTS, event(json!({"channels": ["news", "news", "n\u{65}ws"]})));
    outcome.is(200, "{}");
    assert_eq!(outcome.sent, [sent(&[1], "news", "greeting", "hello")]);
}

#[test]
fn rule_9_3_parameters_may_come_in_the_query_of_an_empty_post() {
    let mut stage = stage();
    stage.subscribe(2, "sports", None);
    let call = Call::post(EVENTS, "")
        .with("name", "greeting")
        .with("data", "{\"a\": \"+&ä\"}");
    let outcome = stage.send(&call.clone().with("channel", "news"));
    outcome.is(200, "{}");
    assert_eq!(outcome.sent, [sent(&[1], "news", "greeting", "{\"a\": \"+&ä\"}")]);
    let both = call.clone().with("channels[]", "news").with("channels[]", "sports");
    assert_eq!(stage.send(&both).sent.len(), 2);
    let both = both.with("info", "subscription_count").with("socket_id", "1.1");
    let outcome = stage.send(&both);
    outcome.is(
        200,
        r#"{"channels":{"news":{"subscription_count":1},"sports":{"subscription_count":1}}}"#,
    );
    stage.send(&call).refuses(400, "Missing parameter: channels");
    let many = (0..101).fold(call, |call, n| call.with("channels[]", &format!("c{n}")));
    stage.send(&many).refuses(400, "has 101 channels");
}

#[test]
fn rule_9_3_the_last_of_two_equal_fields_counts() {
    let mut stage = stage();
    let body = r#"{"name":"a","name":"b","channel":"x","channel":"news","data":[1],"\u0064ata":"d","zzz":{},"zzz":1}"#;
    let outcome = stage.post(EVENTS, body);
    outcome.is(200, "{}");
    assert_eq!(outcome.sent, [sent(&[1], "news", "b", "d")]);
}

#[test]
fn rule_9_3_a_disabled_app_is_403_for_signed_requests_only() {
    let mut stage = stage();
    stage.settings().enabled = false;
    stage.post(EVENTS, EVENT).refuses(403, "disabled");
    stage.get("/apps/7/channels", &[]).refuses(403, "disabled");
    stage
        .post("/apps/7/users/1/terminate_connections", "")
        .refuses(403, "disabled");
    stage
        .send(&Call::post(EVENTS, EVENT).signature("0"))
        .refuses(401, "Invalid signature");
}

#[test]
fn rule_9_3_publishes_above_the_limit_are_429() {
    let mut stage = stage();
    stage.settings().publishes_per_second = 5;
    let three = event(json!({"channel": null, "channels": ["news", "b", "c", "c"]}));
    let outcome = stage.post(EVENTS, &three);
    outcome.is(200, "{}");
    assert_eq!(limits(&outcome), (None, Some(5), Some(2)));
    let outcome = stage.post(EVENTS, &three);
    outcome.refuses(429, "5 a second are allowed, try again in 1 s");
    assert_eq!(limits(&outcome), (Some(1), Some(5), Some(2)));
    // Wrong requests and requests that only read are not counted.
    stage.post(EVENTS, "{}").refuses(400, "");
    stage
        .get("/apps/7/channels", &[])
        .is(200, r#"{"channels":{"news":{}}}"#);
    let batch = format!(r#"{{"batch":[{EVENT},{EVENT}]}}"#);
    stage.post(BATCH, &batch).is(200, "{}");
    stage.post(BATCH, &batch).refuses(429, "try again in 1 s");
    // Another app has its own limit.
    let other = Call::post("/apps/8/events", EVENT)
        .set("auth_key", "other-key")
        .secret("other-secret");
    let outcome = stage.send(&other);
    outcome.is(200, "{}");
    assert_eq!(limits(&outcome), (None, None, None));
    stage.pass(400);
    stage.post(BATCH, &batch).is(200, "{}");
    stage.settings().publishes_per_second = 0;
    stage.post(BATCH, &batch).is(200, "{}");
}

fn limits(outcome: &Outcome) -> (Option<u64>, Option<u64>, Option<u64>) {
    let number = |name: &str| {
        outcome
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().parse().unwrap())
    };
    (
        number("retry-after"),
        number("x-ratelimit-limit"),
        number("x-ratelimit-remaining"),
    )
}

#[test]
fn rule_9_3_the_content_type_does_not_matter() {
    // The API reads no headers: `raw` sends none.
    stage().post(EVENTS, EVENT).is(200, "{}");
}

#[test]
fn rule_9_4_no_answer_allows_another_origin() {
    let mut stage = stage();
    for outcome in [stage.post(EVENTS, EVENT), stage.raw("OPTIONS", EVENTS, b"")] {
        let named = outcome
            .headers
            .keys()
            .find(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(named, None);
    }
}

// 7 Users

#[test]
fn rule_7_3_an_event_for_a_signed_in_user_reaches_the_user() {
    let mut stage = stage();
    stage.connect(2, Some("jo hn"));
    let body = event(json!({"channel": "#server-to-user-jo hn", "info": "subscription_count"}));
    let outcome = stage.post(EVENTS, body);
    outcome.is(200, r##"{"channels":{"#server-to-user-jo hn":{}}}"##);
    assert_eq!(outcome.sent, [sent(&[2], "#server-to-user-jo hn", "greeting", "hello")]);
}

#[test]
fn rule_7_3_the_channels_of_users_are_not_shown() {
    let mut stage = stage();
    for more in ["", "/users"] {
        stage
            .get(&format!("/apps/7/channels/%23server-to-user-1{more}"), &[])
            .refuses(400, "The channels of signed-in users cannot be asked for");
    }
}

#[test]
fn rule_7_6_terminate_closes_the_connections_of_the_signed_in_user() {
    let mut stage = Stage::new();
    stage.connect(1, Some("7"));
    stage.connect(2, Some("7"));
    stage.connect(3, Some("8"));
    stage.subscribe(4, "presence-room", Some("7"));
    for body in ["", "{}", r#"{"reason":"x"}"#] {
        let outcome = stage.post("/apps/7/users/7/terminate_connections", body);
        outcome.is(200, "{}");
        assert_eq!(outcome.closed, [(1, 4009), (2, 4009)]);
    }
    let outcome = stage.post("/apps/7/users/nobody/terminate_connections", "");
    outcome.is(200, "{}");
    assert_eq!(outcome.closed, []);
}

#[test]
fn rule_7_6_terminate_without_an_app_id_uses_the_app_of_the_key() {
    let mut stage = Stage::new();
    stage.connect(1, Some("7"));
    let call = Call::post("/users/7/terminate_connections", "{}");
    assert_eq!(stage.send(&call).closed, [(1, 4009)]);
    let other = call.clone().set("auth_key", "other-key");
    stage.send(&other).refuses(401, "Invalid signature");
    assert_eq!(stage.send(&other.secret("other-secret")).closed, []);
    stage
        .send(&call.clone().set("auth_key", "nobody"))
        .refuses(401, "Unknown auth_key \"nobody\"");
    stage
        .send(&call.clone().without("auth_key"))
        .refuses(401, "Missing parameter: auth_key");
    let get = Call::get("/users/7/terminate_connections");
    stage.send(&get).refuses(405, "POST");
    stage.settings().enabled = false;
    stage.send(&call).refuses(403, "disabled");
}

#[test]
fn rule_12_user_ids_stand_in_the_path_escaped_or_not() {
    for (user, segment) in [
        ("a@b", "a@b"),
        ("a@b", "a%40b"),
        ("a/b", "a/b"),
        ("a/b", "a%2Fb"),
        ("50%", "50%"),
        ("50%", "50%25"),
        ("ä", "ä"),
        ("ä", &encode("ä")),
        ("a+b", "a+b"),
    ] {
        for app in ["/apps/7", ""] {
            let mut stage = Stage::new();
            stage.connect(1, Some(user));
            let outcome = stage.post(&format!("{app}/users/{segment}/terminate_connections"), "");
            outcome.is(200, "{}");
            assert_eq!(outcome.closed, [(1, 4009)], "{segment}");
        }
    }
}

// 1.1, 14: which requests belong to the API, and to which app

#[test]
fn rule_1_1_paths_have_the_prefix() {
    let plain = config::Pusher::default();
    let prefixed = config::Pusher {
        path: "/push".to_owned(),
        ..config::Pusher::default()
    };
    for path in [
        "/apps/7/events",
        "/apps/",
        "/apps/x",
        "/users/1/terminate_connections",
        "/users/a/b/terminate_connections",
    ] {
        assert!(is_for(path, &plain), "{path}");
        assert!(is_for(path, &prefixed), "{path}");
        assert!(is_for(&format!("/push{path}"), &prefixed), "{path}");
        assert!(!is_for(&format!("/push{path}"), &plain), "{path}");
        assert!(!is_for(&format!("/pushy{path}"), &prefixed), "{path}");
    }
    for path in [
        "/",
        "/apps",
        "/app/key",
        "/users/1",
        "/users/",
        "/users/terminate_connections",
        "/x/apps/7/events",
    ] {
        assert!(!is_for(path, &plain), "{path}");
    }
}

#[test]
fn rule_9_an_app_has_no_access_to_the_channels_of_another() {
    let mut stage = stage();
    let call = |path: &str| Call::get(path).set("auth_key", "other-key").secret("other-secret");
    stage.send(&call("/apps/8/channels")).is(200, r#"{"channels":{}}"#);
    let outcome = stage.send(
        &Call::post("/apps/8/events", EVENT)
            .set("auth_key", "other-key")
            .secret("other-secret"),
    );
    outcome.is(200, "{}");
    assert_eq!(outcome.sent, []);
}

// 2.6: hostile input

#[test]
fn rule_2_6_nesting_is_bounded() {
    let mut stage = stage();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let body = |depth: usize| format!(r#"{{"name":"x","channel":"news","data":{}}}"#, nested(depth));
    stage.post(EVENTS, body(63)).is(200, "{}");
    for depth in [64, 65, 1000, 500_000] {
        stage
            .post(EVENTS, body(depth))
            .refuses(400, "nested deeper than 64 levels");
    }
    stage
        .post(EVENTS, "[".repeat(1_000_000))
        .refuses(400, "nested deeper than 64 levels");
    stage
        .post(EVENTS, "{\"a\":".repeat(100_000))
        .refuses(400, "nested deeper than 64 levels");
    // Brackets inside strings do not count.
    stage.post(EVENTS, event(json!({"data": nested(1000)}))).is(200, "{}");
}

#[test]
fn rule_2_6_hostile_queries_are_refused_with_a_sentence() {
    let mut stage = stage();
    let good = Call::post(EVENTS, EVENT).target();
    let many = "a&".repeat(8000);
    for (query, status) in [
        ("", 401),
        ("&", 401),
        ("&&&&=&==", 401),
        ("%", 400),
        ("a=%", 400),
        ("a=%4", 400),
        ("a=%zz", 400),
        ("a=%u0041", 400),
        ("a=%C0%80", 400),
        ("a=%FF", 400),
        ("%FF=a", 400),
        ("a=%ED%A0%80", 400),
        ("auth_key", 401),
        ("auth_key=key&auth_key=key", 400),
        ("auth_key=key&auth_version=1.0&auth_timestamp=%00", 401),
        (many.as_str(), 401),
    ] {
        let outcome = stage.raw("POST", &format!("{EVENTS}?{query}"), EVENT.as_bytes());
        assert_eq!(outcome.status, status, "{query}: {}", outcome.text);
        let outcome = stage.raw("POST", &format!("{good}&{query}"), EVENT.as_bytes());
        assert!(
            query.trim_matches('&').is_empty() || matches!(outcome.status, 400 | 401),
            "{query}: {}",
            outcome.text
        );
    }
    stage
        .raw("POST", EVENTS, EVENT.as_bytes())
        .refuses(401, "Missing parameter: auth_key");
}

/// A cut, a changed byte or a doubled piece in a request leads to a refusal or to the same event.
#[test]
fn rule_2_6_mutilated_requests_do_no_harm() {
    use rand::{RngExt, SeedableRng};
    let body = br#"{"batch":[{"name":"a","channel":"news","data":"\"x\u00e4"},{"name":"b","channel":"news","data":{"k":[1]}}]}"#;
    let mut random = rand::rngs::StdRng::seed_from_u64(3);
    let mut stage = stage();
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..3000 {
        let mut body = body.to_vec();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..body.len());
            match random.random_range(0..4) {
                0 => body[at] = random.random(),
                1 => body[at] = b"\"\\{}[],:0n"[random.random_range(0..10)],
                2 => body.truncate(at.max(1)),
                _ => drop(body.splice(at..at, body[at..].to_vec())),
            }
        }
        let outcome = stage.post(BATCH, &body);
        match outcome.status {
            200 => {
                passed += 1;
                assert!(outcome.sent.len() <= 2, "{}", String::from_utf8_lossy(&body));
            }
            400 => refused += 1,
            other => panic!("{other} for {}", String::from_utf8_lossy(&body)),
        }
    }
    assert!(passed > 10 && refused > 1000, "{passed} passed, {refused} refused");
}
