//! Rules 3, 5, 6 and 8 of the Pusher protocol: the kinds of channels, the rights to them, their caches, their counts,
//! and client events. Each test is named after its rule.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::pusher::{KEY, SECRET, Session, Settings, Site, below, pick, signature};
use crate::common::{Noise, wait_until};
use serde_json::{Value, json};

// --- 3 Channels and subscriptions ------------------------------------------------------------------------------------

#[test]
fn rule_3_1_names_have_1_to_164_of_the_allowed_characters() {
    let site = Site::start();
    let mut session = site.connect();
    let every = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=@,.;";
    for name in [
        "a",
        every,
        &"x".repeat(164),
        "-",
        "...",
        "private",
        "presence",
        "privatefoo",
        "Private-x",
        "x-private-y",
    ] {
        session.subscribe(name).unsubscribe(name);
    }
    session.subscribe(&format!("private-{}", "x".repeat(156)));
    for name in [
        "",
        " ",
        "a b",
        "a:b",
        "a/b",
        "a#b",
        "#a",
        "#control",
        "#server-to-user",
        "#server-to-user-",
        "ä",
        "a\n",
        "a\u{0}",
        "a'b",
        "*",
        "a%20b",
        "a\\b",
        "a\u{200b}",
        &"x".repeat(165),
    ] {
        session.say_subscribe(json!({"channel": name, "auth": ""}));
        let refused = session.expect_refused(name);
        assert!(refused.is_channel(), "{name:?}: {refused:?}");
    }
    let long = format!("private-{}", "x".repeat(157));
    session.ask(&long);
    assert!(session.expect_refused(&long).is_channel());
    // The answer may shorten a name that is far too long.
    let long = "x".repeat(10_000);
    let refusal = session.ask(&long).next();
    let shown = refusal["channel"].as_str().unwrap();
    assert!(shown.len() > 164 && long.starts_with(shown), "{refusal}");
    session.expect_error();
    session.expect_nothing();
}

#[test]
fn rule_3_1_random_names_are_judged_as_the_rule_says() {
    const ALLOWED: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=@,.;";
    let site = Site::start();
    let mut session = site.connect();
    let mut noise = Noise(0x0031_2026);
    for _ in 0..2_000 {
        let length = [1, 2, 5, 20, 163, 164, 165, 170][below(&mut noise, 8)];
        let mut name: Vec<char> = (0..length)
            .map(|_| ALLOWED.chars().nth(below(&mut noise, ALLOWED.len())).unwrap())
            .collect();
        if below(&mut noise, 2) == 0 {
            let at = below(&mut noise, length);
            name[at] = char::from_u32(noise.next() as u32 % 0x250).unwrap();
        }
        let name: String = name.into_iter().collect();
        if ["private-", "presence-", "cache-", "#"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            continue;
        }
        session.say_subscribe(json!({"channel": name, "auth": ""}));
        if name.len() <= 164 && name.chars().all(|char| ALLOWED.contains(char)) {
            session.expect_subscribed(&name).unsubscribe(&name);
        } else {
            assert!(session.expect_refused(&name).is_channel(), "{name:?}");
        }
    }
}

#[test]
fn rule_3_1_the_prefix_is_anchored_and_decides() {
    let site = Site::start();
    let mut session = site.connect();
    // Public although it looks otherwise, and no cache.
    for name in [
        "x-private-y",
        "Presence-x",
        "privatefoo",
        "encrypted-x",
        "foo-cache-x",
        "Cache-x",
        "cachex",
        "xcache-",
    ] {
        session.subscribe(name).expect_nothing();
    }
    for name in ["cache-x", "cache-", "cache-private-x"] {
        session.subscribe(name).expect_cache_miss(name);
    }
    for name in ["private-cache-x", "private-encrypted-cache-x"] {
        session.subscribe(name).expect_cache_miss(name);
    }
    session.join("presence-cache-x", "1");
    session.expect_cache_miss("presence-cache-x");
    for name in [
        "private-x",
        "private-encrypted-x",
        "private-foo-cache-x",
        "private-encrypted-foo-cache-x",
    ] {
        session.subscribe(name).expect_nothing();
        session
            .unsubscribe(name)
            .say_subscribe(json!({"channel": name, "auth": ""}));
        assert!(session.expect_refused(name).is_auth(), "{name}");
    }
}

#[test]
fn rule_3_2_every_form_of_subscribe_that_clients_send() {
    let site = Site::start();
    let mut session = site.connect();
    let auth = session.auth("private-x");
    for (name, data) in [
        ("news", json!({"channel": "news", "auth": ""})),
        ("news", json!({"channel": "news"})),
        ("news", json!({"channel": "news", "auth": null, "channel_data": null})),
        ("news", json!({"channel": "news", "auth": "whatever:it is"})),
        ("news", json!(r#"{"channel":"news"}"#)),
        ("news", json!({"channel": "news", "more": {"x": [1]}})),
        ("private-x", json!({"channel": "private-x", "auth": auth})),
        (
            "private-x",
            json!({"channel": "private-x", "auth": auth, "channel_data": null}),
        ),
        (
            "private-x",
            json!(json!({"channel": "private-x", "auth": auth}).to_string()),
        ),
    ] {
        session.say_subscribe(data);
        session.expect_subscribed(name).unsubscribe(name).expect_nothing();
    }
}

#[test]
fn rule_3_2_no_event_before_the_confirmation_and_none_after_the_unsubscribe() {
    let site = Site::start();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for channel in ["news", "private-news"] {
            let (site, over) = (&site, &over);
            scope.spawn(move || {
                let mut api = site.api();
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    api.publish(channel, "event", &number.to_string());
                }
            });
        }
        let mut session = site.connect();
        for _ in 0..200 {
            session.ask("news").ask("private-news");
            let mut confirmed: HashMap<String, u64> = HashMap::new();
            // Until both were confirmed and both have given something.
            while confirmed.values().filter(|&&last| last > 0).count() < 2 {
                let message = session.next();
                let channel = message["channel"].as_str().unwrap().to_owned();
                if message["event"] == "event" {
                    let number: u64 = message["data"].as_str().unwrap().parse().unwrap();
                    let last = confirmed.get_mut(&channel).expect("no event before the confirmation");
                    assert!(*last == 0 || number == *last + 1, "{channel}: {number} after {last}");
                    *last = number;
                } else {
                    assert_eq!(message["event"], "pusher_internal:subscription_succeeded");
                    assert!(confirmed.insert(channel, 0).is_none(), "confirmed twice");
                }
            }
            session.unsubscribe("news").unsubscribe("private-news").rest();
            session.expect_nothing();
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn rule_3_3_a_second_subscribe_is_an_error_and_changes_nothing() {
    let site = Site::start();
    let mut api = site.api();
    let mut session = site.connect();
    for channel in ["news", "private-x", "presence-x", "cache-x"] {
        match channel {
            "presence-x" => drop(session.join(channel, "1")),
            _ => drop(session.subscribe(channel)),
        }
        if channel == "cache-x" {
            session.expect_cache_miss(channel);
        }
        for _ in 0..3 {
            match channel {
                "presence-x" => session.ask_member(channel, r#"{"user_id":"1"}"#),
                _ => session.ask(channel),
            };
            let text = session.expect_error();
            assert_eq!(text, format!("Existing subscription to channel {channel}"));
        }
        api.publish(channel, "event", "once");
        session.expect_event(channel, "event", "once").expect_nothing();
        session.unsubscribe(channel).expect_nothing();
        api.publish(channel, "event", "gone");
        session.expect_nothing();
    }
    assert_eq!(api.get("/channels", &[]), json!({"channels": {}}));
}

#[test]
fn rule_3_3_an_unknown_unsubscribe_is_silent() {
    let site = Site::start();
    let mut session = site.connect();
    session.subscribe("news");
    for channel in ["other", "private-x", "presence-x", "#server-to-user-1", "news2"] {
        session.unsubscribe(channel).expect_nothing();
    }
    session.unsubscribe("news").unsubscribe("news").expect_nothing();
    session
        .say_text(r#"{"event":"pusher:unsubscribe","data":"{\"channel\":\"news\"}"}"#)
        .expect_nothing();
    session.subscribe("news");
}

/// Everything that may be wrong about the `auth` of `private-x`, and is not right by chance.
fn wrong_auths(session: &Session) -> Vec<(&'static str, Value)> {
    let right = session.auth("private-x");
    let (_, hex) = right.split_once(':').expect("key:signature");
    let mut flipped = hex.to_owned();
    let last = if flipped.ends_with('0') { '1' } else { '0' };
    flipped.replace_range(63.., &last.to_string());
    let by = |secret: &str, text: &str| json!(format!("{KEY}:{}", signature(secret, text)));
    let id = &session.socket_id;
    vec![
        ("missing", Value::Null),
        ("empty", json!("")),
        ("no colon", json!(hex)),
        ("only the key", json!(KEY)),
        ("no signature", json!(format!("{KEY}:"))),
        ("no key", json!(format!(":{hex}"))),
        ("another key", json!(format!("other-key:{hex}"))),
        ("the key in capitals", json!(format!("{}:{hex}", KEY.to_uppercase()))),
        ("a flipped digit", json!(format!("{KEY}:{flipped}"))),
        ("a digit less", json!(format!("{KEY}:{}", &hex[..63]))),
        ("a digit more", json!(format!("{KEY}:{hex}0"))),
        ("capitals", json!(format!("{KEY}:{}", hex.to_uppercase()))),
        ("a space behind", json!(format!("{right} "))),
        ("a space before", json!(format!(" {right}"))),
        ("no digits", json!(format!("{KEY}:{}", "zz".repeat(32)))),
        ("two signatures", json!(format!("{right}:{hex}"))),
        ("another secret", by("other-secret", &format!("{id}:private-x"))),
        ("the key as secret", by(KEY, &format!("{id}:private-x"))),
        ("no secret", by("", &format!("{id}:private-x"))),
        ("another channel", by(SECRET, &format!("{id}:private-y"))),
        ("another socket", by(SECRET, "1.1:private-x")),
        ("only the socket", by(SECRET, id)),
        ("for a user", by(SECRET, &format!("{id}::user::private-x"))),
        ("a number", json!(1)),
        ("true", json!(true)),
        ("an array", json!([right])),
        ("an object", json!({"auth": right})),
        ("something long", json!("x".repeat(20_000))),
    ]
}

#[test]
fn rule_3_4_wrong_signatures_are_refused_in_both_forms_and_the_connection_stays() {
    let site = Site::start();
    let mut session = site.connect();
    for channel in ["private-x", "private-encrypted-x", "private-cache-x"] {
        for (what, auth) in wrong_auths(&session) {
            session.say_subscribe(json!({"channel": channel, "auth": auth}));
            let refused = session.expect_refused(channel);
            assert!(refused.is_auth(), "{channel}, {what}: {refused:?}");
        }
    }
    for (what, auth) in wrong_auths(&session) {
        session.say_subscribe(json!({"channel": "presence-x", "auth": auth, "channel_data": r#"{"user_id":"1"}"#}));
        let refused = session.expect_refused("presence-x");
        assert!(refused.is_auth(), "{what}: {refused:?}");
    }
    // A refused client is not in the channel, and may subscribe again.
    let mut api = site.api();
    assert_eq!(api.get("/channels", &[]), json!({"channels": {}}));
    api.publish("private-x", "event", "secret");
    session.expect_nothing().subscribe("private-x");
}

#[test]
fn rule_3_4_a_signature_is_for_one_connection_and_one_channel() {
    let site = Site::start();
    let (first, mut second) = (site.connect(), site.connect());
    second.say_subscribe(json!({"channel": "private-x", "auth": first.auth("private-x")}));
    assert!(second.expect_refused("private-x").is_auth());
    second.say_subscribe(json!({"channel": "private-encrypted-x", "auth": second.auth("private-x")}));
    assert!(second.expect_refused("private-encrypted-x").is_auth());
    second.subscribe("private-x");
}

#[test]
fn rule_3_4_apps_share_nothing() {
    let site = Site::with(Settings {
        more: "[[apps]]\nid = \"2\"\nkey = \"other-key\"\nsecret = \"other-secret\"\nclient_events = true",
        ..Settings::default()
    });
    let mut ours = site.connect();
    let mut theirs = Session::greeted(site.upgrade("/app/other-key?protocol=7"));
    ours.subscribe("news").subscribe("private-x");
    theirs.subscribe("news").ask("private-x");
    assert!(theirs.expect_refused("private-x").is_auth());
    let signed = signature("other-secret", &format!("{}:private-x", theirs.socket_id));
    theirs.say_subscribe(json!({"channel": "private-x", "auth": format!("other-key:{signed}")}));
    theirs.expect_subscribed("private-x");

    let mut api = site.api();
    api.publish("news", "event", "ours")
        .publish("private-x", "event", "ours");
    ours.expect_event("news", "event", "ours")
        .expect_event("private-x", "event", "ours");
    ours.whisper("private-x", "client-x", json!(1)).expect_nothing();
    theirs.expect_nothing();
    // The other's socket id means nothing here.
    api.trigger(json!({"name": "event", "channel": "news", "data": "all", "socket_id": theirs.socket_id}));
    ours.expect_event("news", "event", "all");
    api.id = "2".to_owned();
    assert_eq!(
        api.send("GET", "/channels", &[], "").status,
        401,
        "the key of another app"
    );
    (api.key, api.secret) = ("other-key".to_owned(), "other-secret".to_owned());
    api.publish("news", "event", "theirs");
    theirs.expect_event("news", "event", "theirs");
    ours.expect_nothing();
}

#[test]
fn rule_3_5_a_connection_holds_many_channels_up_to_the_limit() {
    let site = Site::start();
    let mut session = site.connect();
    for number in 0..1_000 {
        session.subscribe(&format!("news-{number}"));
    }
    session.ask("one-more");
    let refused = session.expect_refused("one-more");
    assert!(refused.is_limit(), "{refused:?}");
    session.unsubscribe("news-500").subscribe("one-more");
    let mut api = site.api();
    for number in [0, 499, 501, 999] {
        api.publish(&format!("news-{number}"), "event", "{}");
        session.expect_event(&format!("news-{number}"), "event", "{}");
    }
}

// --- 5 Cache channels ------------------------------------------------------------------------------------------------

#[test]
fn rule_5_the_last_event_comes_right_behind_the_confirmation() {
    let site = Site::start();
    let mut api = site.api();
    let data = r#"{"n":12345678901234567890,"e":1e400}"#;
    for channel in ["cache-x", "private-cache-x", "private-encrypted-cache-x"] {
        // Published to no subscriber.
        api.publish(channel, "first", "1").publish(channel, "App\\Last", data);
        let mut session = site.connect();
        session
            .subscribe(channel)
            .expect_event(channel, "App\\Last", data)
            .expect_nothing();
    }
    api.publish("presence-cache-x", "last", data);
    let mut session = site.connect();
    session.join("presence-cache-x", "1");
    session.expect_event("presence-cache-x", "last", data).expect_nothing();
    api.publish("foo-cache-x", "last", data);
    session.subscribe("foo-cache-x").expect_nothing();
}

#[test]
fn rule_5_every_published_event_replaces_the_cached_one() {
    let site = Site::start();
    let mut api = site.api();
    let mut sender = site.connect();
    sender.subscribe("cache-x").expect_cache_miss("cache-x");
    let newcomer = |event: &str| {
        let mut session = site.connect();
        session.subscribe("cache-x").expect_event("cache-x", event, "{}");
    };
    api.publish("cache-x", "one", "{}");
    newcomer("one");
    api.trigger(json!({"name": "excluding", "channel": "cache-x", "data": "{}", "socket_id": sender.socket_id}));
    newcomer("excluding");
    api.trigger(json!({"name": "several", "channels": ["cache-x", "cache-y"], "data": "{}"}));
    newcomer("several");
    let batch = json!({"batch": [
        {"name": "first", "channel": "cache-x", "data": "{}"},
        {"name": "second", "channel": "cache-x", "data": "{}"},
    ]});
    api.ask("POST", "/batch_events", &[], &batch.to_string());
    newcomer("second");
}

#[test]
fn rule_5_the_cache_outlives_the_channel_until_its_time_is_over() {
    let site = Site::with(Settings {
        app: "cache_ttl = 2",
        ..Settings::default()
    });
    let mut api = site.api();
    let mut session = site.connect();
    session.subscribe("cache-x").expect_cache_miss("cache-x");
    api.publish("cache-x", "event", "{}");
    session.expect_event("cache-x", "event", "{}");
    // Vacated and occupied again.
    session.unsubscribe("cache-x").expect_nothing();
    session.subscribe("cache-x").expect_event("cache-x", "event", "{}");
    let gone = || {
        session.unsubscribe("cache-x").subscribe("cache-x");
        session.next()["event"] == "pusher:cache_miss"
    };
    wait_until("the cached event is forgotten", gone, String::new);
}

#[test]
fn rule_5_client_events_and_member_events_are_not_cached() {
    let site = Site::start();
    let mut first = site.connect();
    first.join("presence-cache-x", "1");
    first.expect_cache_miss("presence-cache-x");
    first
        .whisper("presence-cache-x", "client-x", json!({}))
        .expect_nothing();
    let mut second = site.connect();
    second.join("presence-cache-x", "2");
    second
        .expect_cache_miss("presence-cache-x")
        .unsubscribe("presence-cache-x")
        .expect_nothing();
    first
        .expect_added("presence-cache-x", "2", Value::Null)
        .expect_removed("presence-cache-x", "2");
    site.api().publish("presence-cache-x", "event", "{}");
    first
        .expect_event("presence-cache-x", "event", "{}")
        .whisper("presence-cache-x", "client-y", json!({}))
        .expect_nothing();
    second.join("presence-cache-x", "2");
    second.expect_event("presence-cache-x", "event", "{}");
}

#[test]
fn rule_5_the_cache_is_bounded_in_bytes() {
    let site = Site::with(Settings {
        app: "cache_bytes = 100000",
        ..Settings::default()
    });
    let mut api = site.api();
    let data = "x".repeat(10_000);
    for number in 0..40 {
        api.publish(&format!("cache-{number}"), "event", &data);
    }
    let mut session = site.connect();
    let mut kept = Vec::new();
    for number in 0..40 {
        session.subscribe(&format!("cache-{number}"));
        if session.next()["event"] == "event" {
            kept.push(number);
        }
    }
    assert!((5..=10).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept.last(), Some(&39), "the newest is kept: {kept:?}");
}

// --- 6 subscription_count --------------------------------------------------------------------------------------------

/// The next message is a count.
fn count(session: &mut Session, channel: &str, count: usize) {
    let data = json!({"subscription_count": count});
    session.expect_encoded("pusher_internal:subscription_count", Some(channel), data);
}

#[test]
fn rule_6_subscribers_get_their_number() {
    let site = Site::with(Settings {
        app: "subscription_count = true",
        ..Settings::default()
    });
    for channel in ["news", "private-x", "private-encrypted-x"] {
        let (mut first, mut second) = (site.connect(), site.connect());
        first.subscribe(channel);
        count(&mut first, channel, 1);
        second.subscribe(channel);
        count(&mut second, channel, 2);
        count(&mut first, channel, 2);
        second.unsubscribe(channel).expect_nothing();
        count(&mut first, channel, 1);
        second.subscribe(channel);
        count(&mut second, channel, 2);
        count(&mut first, channel, 2);
        // A drop is an unsubscribe too.
        second.peer.reset();
        count(&mut first, channel, 1);
        first.expect_nothing();
    }
    let mut member = site.connect();
    member.join("presence-x", "1");
    member.expect_nothing();
}

#[test]
fn rule_6_it_is_off_by_default() {
    let site = Site::start();
    let (mut first, mut second) = (site.connect(), site.connect());
    first.subscribe("news");
    second.subscribe("news").unsubscribe("news").expect_nothing();
    first.expect_nothing();
}

#[test]
fn rule_6_above_100_the_counts_come_every_5_seconds() {
    let site = Site::with(Settings {
        app: "subscription_count = true",
        ..Settings::default()
    });
    let mut first = site.connect();
    first.subscribe("news");
    let began = std::time::Instant::now();
    let _others: Vec<Session> = (1..300)
        .map(|_| {
            let mut session = site.connect();
            session.ask("news").rest();
            session
        })
        .collect();
    let mut counts = Vec::new();
    while counts.last() != Some(&300) {
        let message = first.next();
        assert_eq!(message["event"], "pusher_internal:subscription_count");
        counts.push(
            crate::common::pusher::decoded(&message)["subscription_count"]
                .as_u64()
                .unwrap(),
        );
    }
    assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{counts:?}");
    let above = counts.iter().filter(|&&count| count > 101).count() as u64;
    let most = began.elapsed().as_secs() / 5 + 1;
    assert!(
        above <= most,
        "{above} counts above 100 in {:?}: {counts:?}",
        began.elapsed()
    );
}

// --- 8 Client events -------------------------------------------------------------------------------------------------

#[test]
fn rule_8_client_events_reach_the_others_with_data_as_it_was_sent() {
    let site = Site::start();
    for channel in ["private-x", "private-encrypted-x"] {
        let (mut first, mut second) = (site.connect(), site.connect());
        first.subscribe(channel);
        second.subscribe(channel);
        for data in [
            json!({}),
            json!({"a": [1, null, "é"]}),
            json!("text"),
            json!("{\"a\":1}"),
            json!([1]),
            json!(7),
            json!(null),
        ] {
            first.whisper(channel, "client-x", data.clone());
            second.expect(json!({"event": "client-x", "channel": channel, "data": data}));
        }
        // Numbers and escapes as they were written.
        let data = r#"{"n":12345678901234567890123,"e":1e400,"s":"\u00e9\/"}"#;
        first.say_text(&format!(
            "{{\"event\":\"client-x\",\"channel\":\"{channel}\",\"data\":{data}}}"
        ));
        let text = second.next_text();
        assert!(text.contains(data), "{text}");
        first.expect_nothing();
    }
}

#[test]
fn rule_8_on_presence_channels_the_senders_user_id_is_added() {
    let site = Site::start();
    let (mut first, mut second) = (site.connect(), site.connect());
    first.join_with("presence-x", r#"{"user_id":10}"#);
    second.join("presence-x", "2");
    first.expect_added("presence-x", "2", Value::Null);
    first.whisper("presence-x", "client-x", json!({"a": 1}));
    second.expect(json!({"event": "client-x", "channel": "presence-x", "data": {"a": 1}, "user_id": "10"}));
}

#[test]
fn rule_8_other_fields_of_the_sender_are_dropped() {
    let site = Site::start();
    let mut sender = site.connect();
    let mut private = site.connect();
    let mut presence = site.connect();
    sender.subscribe("private-x").join("presence-x", "1");
    private.subscribe("private-x");
    presence.join("presence-x", "2");
    sender.expect_added("presence-x", "2", Value::Null);
    let lies = |channel: &str| json!({"event": "client-x", "channel": channel, "data": 1, "user_id": "admin", "id": "m1:1", "pos": "m1:1", "socket_id": "1.1"});
    sender.say(lies("private-x")).say(lies("presence-x")).expect_nothing();
    private
        .expect(json!({"event": "client-x", "channel": "private-x", "data": 1}))
        .expect_nothing();
    presence
        .expect(json!({"event": "client-x", "channel": "presence-x", "data": 1, "user_id": "1"}))
        .expect_nothing();
}

#[test]
fn rule_8_a_sender_without_the_right_gets_an_error_and_no_client_the_event() {
    let site = Site::start();
    let mut sender = site.connect();
    let mut others = site.connect();
    for channel in ["news", "cache-x"] {
        sender.ask(channel).rest();
    }
    sender.subscribe("private-mine");
    others
        .ask("news")
        .ask("cache-x")
        .ask("private-mine")
        .ask("private-other")
        .rest();
    let long = format!("client-{}", "x".repeat(194));
    for (channel, event) in [
        ("news", "client-x"),
        ("cache-x", "client-x"),
        ("private-other", "client-x"),
        ("private-nobody", "client-x"),
        ("presence-nobody", "client-x"),
        ("#server-to-user-1", "client-x"),
        ("", "client-x"),
        ("private-mine", "x-client-x"),
        ("private-mine", "clientx"),
        ("private-mine", "Client-x"),
        ("private-mine", "pusher:x"),
        ("private-mine", "pusher_internal:member_added"),
        ("private-mine", &long),
    ] {
        sender.whisper(channel, event, json!({}));
        sender.expect_error();
        others.expect_nothing();
    }
    for message in [
        json!({"event": "client-x", "data": {}}),
        json!({"event": "client-x", "channel": null, "data": {}}),
        json!({"event": "client-x", "channel": ["private-mine"], "data": {}}),
    ] {
        sender.say(message);
        sender.expect_error();
    }
    // It was in it, and is no more.
    sender
        .unsubscribe("private-mine")
        .whisper("private-mine", "client-x", json!({}));
    sender.expect_error();
    others.expect_nothing();
}

#[test]
fn rule_8_a_payload_of_10_kb_passes_and_more_does_not() {
    let site = Site::start();
    let (mut first, mut second) = (site.connect(), site.connect());
    first.subscribe("private-x");
    second.subscribe("private-x");
    let data = json!("x".repeat(10_000));
    first.whisper("private-x", "client-x", data.clone());
    second.expect(json!({"event": "client-x", "channel": "private-x", "data": data}));
    first.whisper("private-x", "client-x", json!("x".repeat(10_300)));
    first.expect_error();
    let name = format!("client-{}", "x".repeat(193));
    first.whisper("private-x", &name, json!(1));
    second
        .expect(json!({"event": name, "channel": "private-x", "data": 1}))
        .expect_nothing();
}

#[test]
fn rule_8_more_than_10_in_a_second_is_error_4301() {
    let site = Site::start();
    let (mut first, mut second) = (site.connect(), site.connect());
    first.subscribe("private-x");
    second.subscribe("private-x");
    for number in 0..60 {
        first.whisper("private-x", "client-x", json!(number));
    }
    let errors = first.rest();
    for error in &errors {
        assert_eq!(
            (&error["event"], &error["channel"], &error["data"]["code"]),
            (&json!("pusher:error"), &json!("private-x"), &json!(4301)),
            "{error}"
        );
    }
    let came = second.rest();
    assert!((10..=30).contains(&came.len()), "{} of 60 came", came.len());
    assert_eq!(came.len() + errors.len(), 60);
    assert_eq!(came[9]["data"], 9, "the burst passes whole");
    // Tokens come back, and others have their own.
    second.whisper("private-x", "client-x", json!("mine"));
    first.expect(json!({"event": "client-x", "channel": "private-x", "data": "mine"}));
    let again = || {
        first.whisper("private-x", "client-x", json!("again"));
        first.rest().is_empty()
    };
    wait_until("there is a token again", again, String::new);
}

#[test]
fn rule_8_they_are_off_by_default() {
    let site = Site::with(Settings {
        app: "",
        ..Settings::default()
    });
    let (mut first, mut second) = (site.connect(), site.connect());
    first.subscribe("private-x").whisper("private-x", "client-x", json!({}));
    first.expect_error();
    second.subscribe("private-x").expect_nothing();
}

#[test]
fn rule_8_random_conversations_reach_exactly_the_others() {
    let site = Site::with(Settings {
        app: "client_events = true\nclient_events_per_second = 100000",
        ..Settings::default()
    });
    const CHANNELS: [&str; 3] = ["private-a", "private-b", "private-c"];
    let mut noise = Noise(0x0008_2026);
    let mut sessions: Vec<Session> = (0..5).map(|_| site.connect()).collect();
    let mut inside = [[false; 3]; 5];
    for round in 0..1_500 {
        let (who, at) = (below(&mut noise, 5), below(&mut noise, 3));
        let channel = CHANNELS[at];
        match *pick(&mut noise, &["join", "leave", "say", "say", "say"]) {
            "join" if !inside[who][at] => {
                sessions[who].subscribe(channel);
                inside[who][at] = true;
            }
            "leave" => {
                sessions[who].unsubscribe(channel).expect_nothing();
                inside[who][at] = false;
            }
            _ => {
                sessions[who].whisper(channel, "client-x", json!(round));
                if !inside[who][at] {
                    sessions[who].expect_error();
                    continue;
                }
                sessions[who].expect_nothing();
                for other in (0..5).filter(|&other| other != who && inside[other][at]) {
                    sessions[other].expect(json!({"event": "client-x", "channel": channel, "data": round}));
                }
            }
        }
    }
    for session in &mut sessions {
        session.expect_nothing();
    }
}
