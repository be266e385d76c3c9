//! Rules 4 and 7 of the Pusher protocol: the members of a presence channel, the signed-in users, their watchlists, and
//! the signatures that prove them. Each test is named after its rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;

use crate::common::pusher::{KEY, SECRET, Session, Settings, Site, auth, below, decoded, signature};
use crate::common::{Noise, wait_until};
use serde_json::{Value, json};

const ROOM: &str = "presence-room";

/// The users of the room as the HTTP API lists them.
fn users(site: &Site) -> BTreeSet<String> {
    let answer = site.api().get(&format!("/channels/{ROOM}/users"), &[]);
    let users = answer["users"].as_array().expect("an array");
    let set: BTreeSet<String> = users
        .iter()
        .map(|user| user["id"].as_str().expect("a string").to_owned())
        .collect();
    assert_eq!(set.len(), users.len(), "users are distinct: {answer}");
    set
}

/// Waits until exactly these are in the room.
fn expect_users(site: &Site, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&id| id.to_owned()).collect();
    let what = format!("{expected:?} are in the room");
    wait_until(&what, || users(site) == expected, || format!("{:?} are", users(site)));
}

/// The ids of a `presence`, in the order of the alphabet; `count` and `hash` agree with them.
fn ids(presence: &Value) -> Vec<String> {
    let ids: Vec<&str> = presence["ids"]
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| id.as_str().expect("a string"))
        .collect();
    let sorted: BTreeSet<&str> = ids.iter().copied().collect();
    let hash: BTreeSet<&str> = presence["hash"]
        .as_object()
        .expect("hash")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(sorted, hash, "{presence}");
    assert_eq!(
        (sorted.len(), json!(ids.len())),
        (ids.len(), presence["count"].clone()),
        "{presence}"
    );
    assert_eq!(presence.as_object().expect("an object").len(), 3, "{presence}");
    sorted.into_iter().map(str::to_owned).collect()
}

// --- 4 Presence ------------------------------------------------------------------------------------------------------

#[test]
fn rule_4_1_numbers_and_strings_are_the_same_user() {
    let site = Site::start();
    let (mut number, mut string) = (site.connect(), site.connect());
    let presence = number.join_with(ROOM, r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#);
    assert_eq!(
        presence,
        json!({"ids": ["10"], "hash": {"10": {"name": "Mr. Channels"}}, "count": 1})
    );
    assert_eq!(ids(&string.join_with(ROOM, r#"{"user_id":"10"}"#)), ["10"]);
    number.expect_nothing();
    string.unsubscribe(ROOM).expect_nothing();
    number.expect_nothing();
    expect_users(&site, &["10"]);

    for (written, id) in [
        ("0", "0"),
        ("-5", "-5"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        let mut session = site.connect();
        let presence = session.join_with("presence-numbers", &format!("{{\"user_id\":{written}}}"));
        assert_eq!(ids(&presence), [id]);
        session.unsubscribe("presence-numbers").expect_nothing();
    }
}

#[test]
fn rule_4_1_channel_data_without_a_user_is_refused() {
    let site = Site::start();
    let mut session = site.connect();
    for data in [
        "",
        "{",
        "[]",
        "null",
        "1",
        "\"1\"",
        "{}",
        r#"{"user_id":null}"#,
        r#"{"user_id":""}"#,
        r#"{"user_id":true}"#,
        r#"{"user_id":[1]}"#,
        r#"{"user_id":{"id":1}}"#,
        r#"{"id":"1"}"#,
        r#"{"user_info":{}}"#,
        r#"{"USER_ID":"1"}"#,
        r#"{"user_id":"1"}}"#,
        &format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129)),
        &format!(
            r#"{{"user_id":"1","user_info":{}{}}}"#,
            "[".repeat(5_000),
            "]".repeat(5_000)
        ),
    ] {
        session.ask_member(ROOM, data);
        session.expect_refused(ROOM);
        session.expect_nothing();
    }
    // Not there at all, with either signature.
    for auth in [
        session.auth(ROOM),
        session.auth_member(ROOM, ""),
        session.auth_member(ROOM, r#"{"user_id":"1"}"#),
    ] {
        session.say_subscribe(json!({"channel": ROOM, "auth": auth}));
        session.expect_refused(ROOM);
        session.say_subscribe(json!({"channel": ROOM, "auth": auth, "channel_data": null}));
        session.expect_refused(ROOM);
    }
    // It is a string, nothing else.
    let member = json!({"user_id": "1"});
    let auth = session.auth_member(ROOM, &member.to_string());
    session.say_subscribe(json!({"channel": ROOM, "auth": auth, "channel_data": member}));
    session.expect_refused(ROOM);
    expect_users(&site, &[]);
    session.join(ROOM, &"x".repeat(128));
}

#[test]
fn rule_4_1_channel_data_is_signed_as_bytes() {
    let site = Site::start();
    let mut session = site.connect();
    let signed = r#"{"user_id":"1","user_info":{"name":"é"}}"#;
    let auth = session.auth_member(ROOM, signed);
    for other in [
        r#"{"user_id":"1", "user_info":{"name":"é"}}"#,
        r#"{"user_info":{"name":"é"},"user_id":"1"}"#,
        "{\"user_id\":\"1\",\"user_info\":{\"name\":\"\\u00e9\"}}",
        r#"{"user_id":"2","user_info":{"name":"é"}}"#,
        "{\"user_id\":\"1\",\"user_info\":{\"name\":\"é\"}}\n",
    ] {
        session.say_subscribe(json!({"channel": ROOM, "auth": auth, "channel_data": other}));
        assert!(session.expect_refused(ROOM).is_auth(), "{other}");
    }
    session.say_subscribe(json!({"channel": ROOM, "auth": auth, "channel_data": signed}));
    session.expect_joined(ROOM);
}

#[test]
fn rule_4_1_user_info_is_any_json_up_to_its_limit() {
    let site = Site::start();
    let mut watcher = site.connect();
    watcher.join(ROOM, "watcher");
    for (at, info) in [
        json!(true),
        json!({}),
        json!([]),
        json!("x"),
        json!(1.5),
        json!({"a": {"b": [1, null]}}),
        json!("x".repeat(900)),
    ]
    .into_iter()
    .enumerate()
    {
        let id = at.to_string();
        let mut session = site.connect();
        let presence = session.join_with(ROOM, &json!({"user_id": id, "user_info": info}).to_string());
        assert_eq!(presence["hash"][&id], info);
        watcher.expect_added(ROOM, &id, info);
        session.unsubscribe(ROOM).expect_nothing();
        watcher.expect_removed(ROOM, &id);
    }
    let mut session = site.connect();
    session.ask_member(
        ROOM,
        &json!({"user_id": "1", "user_info": "x".repeat(5_000)}).to_string(),
    );
    let refused = session.expect_refused(ROOM);
    assert!(refused.is_limit(), "{refused:?}");
    watcher.expect_nothing();
}

#[test]
fn rule_4_2_the_newcomer_gets_the_distinct_users_and_is_one_of_them() {
    let site = Site::start();
    let (mut a, mut b, mut second_b, mut c) = (site.connect(), site.connect(), site.connect(), site.connect());
    assert_eq!(
        a.join(ROOM, "a"),
        json!({"ids": ["a"], "hash": {"a": null}, "count": 1})
    );
    b.join_with(ROOM, r#"{"user_id":"b","user_info":{"n":1}}"#);
    second_b.join_with(ROOM, r#"{"user_id":"b","user_info":{"n":2}}"#);
    let presence = c.join_with(ROOM, r#"{"user_id":"c","user_info":false}"#);
    assert_eq!(ids(&presence), ["a", "b", "c"]);
    assert_eq!(presence["hash"], json!({"a": null, "b": {"n": 1}, "c": false}));
    // Ids that an object's keys might do something to.
    let mut odd = site.connect();
    let strange = "\"\\\u{0}é\u{1f418}__proto__";
    let presence = odd.join_with(ROOM, &json!({"user_id": strange}).to_string());
    assert_eq!(ids(&presence).len(), 4);
    assert!(presence["hash"].as_object().unwrap().contains_key(strange));
}

#[test]
fn rule_4_3_a_user_comes_with_the_first_connection_and_goes_with_the_last() {
    let site = Site::start();
    let mut watcher = site.connect();
    watcher.join(ROOM, "watcher");
    let (mut first, mut second, mut third) = (site.connect(), site.connect(), site.connect());
    first.join_with(ROOM, r#"{"user_id":"7","user_info":{"tab":1}}"#);
    watcher.expect_added(ROOM, "7", json!({"tab": 1}));
    second.join_with(ROOM, r#"{"user_id":"7","user_info":{"tab":2}}"#);
    third.join_with(ROOM, r#"{"user_id":7,"user_info":{"tab":3}}"#);
    first.expect_nothing();
    // The first tab's words stay although it goes (unsubscribe), also for the drop of another.
    first.unsubscribe(ROOM).expect_nothing();
    let mut newcomer = site.connect();
    assert_eq!(newcomer.join(ROOM, "newcomer")["hash"]["7"], json!({"tab": 1}));
    watcher.expect_added(ROOM, "newcomer", Value::Null);
    let fds = site.server.fds();
    second.peer.reset();
    site.server.expect_fds(fds - 1);
    watcher.expect_nothing();
    third.peer.close(1000, "");
    watcher.expect_removed(ROOM, "7").expect_nothing();
    // The next tab is a first one again.
    assert_eq!(
        first.join_with(ROOM, r#"{"user_id":"7","user_info":{"tab":4}}"#)["hash"]["7"],
        json!({"tab": 4})
    );
    watcher.expect_added(ROOM, "7", json!({"tab": 4})).expect_nothing();
}

#[test]
fn rule_4_3_simultaneous_joins_and_drops_count_once() {
    let site = Site::start();
    let mut watcher = site.connect();
    watcher.join(ROOM, "watcher");
    for round in 0..20 {
        let together = Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut session = site.connect();
                    session.ask_member(ROOM, r#"{"user_id":"crowd"}"#);
                    // The first message is the confirmation.
                    session.expect_joined(ROOM);
                    together.wait();
                    if round % 2 == 0 {
                        session.peer.reset();
                    }
                });
            }
        });
        watcher
            .expect_added(ROOM, "crowd", Value::Null)
            .expect_removed(ROOM, "crowd")
            .expect_nothing();
    }
}

#[test]
fn rule_4_3_several_users_at_once() {
    let site = Site::start();
    let mut watcher = site.connect();
    watcher.join(ROOM, "watcher");
    let together = Barrier::new(6);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (site, together) = (&site, &together);
            scope.spawn(move || {
                let mut session = site.connect();
                together.wait();
                session.join(ROOM, &number.to_string());
            });
        }
    });
    let mut here = BTreeSet::new();
    for _ in 0..12 {
        let message = watcher.next();
        let id = decoded(&message)["user_id"].as_str().unwrap().to_owned();
        match message["event"].as_str().unwrap() {
            "pusher_internal:member_added" => assert!(here.insert(id), "{message}"),
            "pusher_internal:member_removed" => assert!(here.remove(&id), "{message}"),
            _ => panic!("{message}"),
        }
    }
    assert!(here.is_empty());
    watcher.expect_nothing();
}

#[test]
fn rule_4_3_identity_belongs_to_the_subscription() {
    let site = Site::start();
    let mut session = site.connect();
    session.join("presence-a", "one");
    session.join("presence-b", "two");
    let mut other = site.connect();
    assert_eq!(ids(&other.join("presence-a", "x")), ["one", "x"]);
    assert_eq!(ids(&other.join("presence-b", "x")), ["two", "x"]);
    session
        .expect_added("presence-a", "x", Value::Null)
        .expect_added("presence-b", "x", Value::Null);
    session.whisper("presence-b", "client-x", json!(1));
    other.expect(json!({"event": "client-x", "channel": "presence-b", "data": 1, "user_id": "two"}));
    session.peer.reset();
    let gone: BTreeSet<String> = (0..2)
        .map(|_| {
            let message = other.next();
            format!(
                "{}: {}",
                message["channel"].as_str().unwrap(),
                decoded(&message)["user_id"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        gone.into_iter().collect::<Vec<_>>(),
        ["presence-a: one", "presence-b: two"]
    );
}

#[test]
fn rule_4_4_the_limit_counts_users_and_not_tabs() {
    let site = Site::start();
    let mut sessions: Vec<Session> = (0..100)
        .map(|number| {
            let mut session = site.connect();
            session.join(ROOM, &number.to_string());
            session
        })
        .collect();
    let mut extra = site.connect();
    extra.ask_member(ROOM, r#"{"user_id":"100"}"#);
    let refused = extra.expect_refused(ROOM);
    assert_eq!(
        (refused.kind.as_str(), refused.status),
        ("LimitReached", 4100),
        "{refused:?}"
    );
    // A second tab of a member has room, and another one when a member has left.
    extra.join(ROOM, "42");
    extra.unsubscribe(ROOM).expect_nothing();
    sessions[7].unsubscribe(ROOM).rest();
    extra.join(ROOM, "100");
    assert_eq!(users(&site).len(), 100);
}

#[test]
fn rule_4_random_joins_and_leaves_agree_with_an_obvious_model() {
    const ROOMS: [&str; 2] = ["presence-a", "presence-b"];
    let site = Site::start();
    let mut noise = Noise(0x0004_2026);
    let mut watcher = site.connect();
    for room in ROOMS {
        watcher.join(room, "watcher");
    }
    // The rooms of each connection, and its user in each.
    let mut sessions: Vec<(Session, BTreeMap<&str, String>)> =
        (0..8).map(|_| (site.connect(), BTreeMap::new())).collect();
    for _ in 0..800 {
        let (who, room) = (below(&mut noise, sessions.len()), ROOMS[below(&mut noise, 2)]);
        let tabs = |sessions: &[(Session, BTreeMap<&str, String>)], room: &str, user: &str| {
            sessions
                .iter()
                .filter(|(_, rooms)| rooms.get(room).is_some_and(|id| id == user))
                .count()
        };
        match below(&mut noise, 5) {
            0 => {
                // The connection drops: it leaves all its rooms.
                let (old, rooms) = std::mem::replace(&mut sessions[who], (site.connect(), BTreeMap::new()));
                old.peer.reset();
                let mut gone: BTreeSet<(String, String)> = rooms
                    .into_iter()
                    .filter(|(room, id)| tabs(&sessions, room, id) == 0)
                    .map(|(room, id)| (room.to_owned(), id))
                    .collect();
                while !gone.is_empty() {
                    let message = watcher.next();
                    assert_eq!(message["event"], "pusher_internal:member_removed", "{message}");
                    let user = decoded(&message)["user_id"].as_str().unwrap().to_owned();
                    let left = (message["channel"].as_str().unwrap().to_owned(), user);
                    assert!(gone.remove(&left), "{message}, still waiting for {gone:?}");
                }
                // The end of one tab of a member that stays is not reported.
                expect_tabs(&site, &sessions, ROOMS);
            }
            1 | 2 => {
                sessions[who].0.unsubscribe(room).rest();
                if let Some(id) = sessions[who].1.remove(room)
                    && tabs(&sessions, room, &id) == 0
                {
                    watcher.expect_removed(room, &id);
                }
            }
            _ if !sessions[who].1.contains_key(room) => {
                let id = below(&mut noise, 4).to_string();
                let first = tabs(&sessions, room, &id) == 0;
                sessions[who].0.rest();
                let presence = sessions[who].0.join(room, &id);
                sessions[who].1.insert(room, id.clone());
                if first {
                    watcher.expect_added(room, &id, Value::Null);
                }
                let mut truth: BTreeSet<String> = sessions
                    .iter()
                    .filter_map(|(_, rooms)| rooms.get(room).cloned())
                    .collect();
                truth.insert("watcher".to_owned());
                assert_eq!(ids(&presence), truth.into_iter().collect::<Vec<_>>());
            }
            _ => {}
        }
        watcher.expect_nothing();
    }
}

/// Waits until the server has noticed who left.
fn expect_tabs(site: &Site, sessions: &[(Session, BTreeMap<&str, String>)], rooms: [&str; 2]) {
    let mut api = site.api();
    for room in rooms {
        let tabs = 1 + sessions.iter().filter(|(_, inside)| inside.contains_key(room)).count();
        let mut there = 0;
        wait_until(
            "dropped tabs are gone",
            || {
                let answer = api.get(&format!("/channels/{room}"), &[("info", "subscription_count")]);
                there = answer["subscription_count"].as_u64().expect("a number") as usize;
                there == tabs
            },
            || format!("not {tabs}"),
        );
    }
}

// --- 7 Signatures, sign-in, users, watchlist -------------------------------------------------------------------------

#[test]
fn rule_7_1_the_documentations_own_signatures() {
    let secret = "7ad3773142a6692b25b8";
    for (text, expected) in [
        (
            "1234.1234:private-foobar",
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
        ),
        (
            r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#,
            "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
        ),
    ] {
        assert_eq!(signature(secret, text), expected);
    }
}

#[test]
fn rule_7_1_private_channels_accept_either_form_and_presence_only_the_long_one() {
    let site = Site::start();
    let mut session = site.connect();
    for channel in ["private-x", "private-encrypted-x"] {
        for data in [r#"{"user_id":"1"}"#, "", "no JSON"] {
            for auth in [session.auth(channel), session.auth_member(channel, data)] {
                session.say_subscribe(json!({"channel": channel, "auth": auth, "channel_data": data}));
                session.expect_subscribed(channel).unsubscribe(channel);
            }
            let wrong = session.auth_member(channel, "something else");
            session.say_subscribe(json!({"channel": channel, "auth": wrong, "channel_data": data}));
            assert!(session.expect_refused(channel).is_auth(), "{data}");
        }
    }
    let data = r#"{"user_id":"1"}"#;
    session.say_subscribe(json!({"channel": ROOM, "auth": session.auth(ROOM), "channel_data": data}));
    assert!(session.expect_refused(ROOM).is_auth());
}

#[test]
fn rule_7_2_sign_in() {
    let site = Site::start();
    let mut session = site.connect();
    // The same string comes back, byte for byte; the same id may sign in again, another one may not.
    session
        .sign_in("{ \"id\":\"7\",\"user_info\":{\"n\":1e400,\"name\":\"\\u00e9\"} }")
        .sign_in(r#"{"id":"7"}"#);
    session.ask_sign_in(r#"{"id":"8"}"#);
    session.expect_error();
    session.sign_in(r#"{"id":"7","watchlist":[]}"#).expect_nothing();
}

/// Hand-written endpoints sign a number (pusher.md section 17). It is the user of its decimal string.
#[test]
fn rule_17_a_number_at_sign_in_is_its_decimal_string() {
    let site = Site::start();
    for (written, id) in [
        ("7", "7"),
        ("0", "0"),
        ("-5", "-5"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
        ("\"+1\"", "+1"),
        ("\"01\"", "01"),
    ] {
        let mut session = site.connect();
        session.sign_in(&format!("{{\"id\":{written}}}"));
        session.sign_in(&json!({ "id": id }).to_string());
        site.api().publish(&format!("#server-to-user-{id}"), "event", "{}");
        assert_eq!(session.rest().len(), 1, "{written}");
        session.ask_sign_in(r#"{"id":"1"}"#);
        session.expect_error();
    }
}

#[test]
fn rule_7_2_a_wrong_sign_in_is_an_error_and_the_connection_stays() {
    let site = Site::start();
    let mut session = site.connect();
    for data in [
        "",
        "{",
        "null",
        "[]",
        "\"7\"",
        "{}",
        r#"{"id":""}"#,
        r#"{"id":+1}"#,
        r#"{"id":01}"#,
        r#"{"id":true}"#,
        r#"{"id":null}"#,
        r#"{"id":["7"]}"#,
        r#"{"user_id":"7"}"#,
    ] {
        session.ask_sign_in(data);
        session.expect_error();
    }
    let data = r#"{"id":"7"}"#;
    let id = session.socket_id.clone();
    let hex = signature(SECRET, &format!("{id}::user::{data}"));
    for wrong in [
        json!(null),
        json!(""),
        json!(hex),
        json!(format!("other-key:{hex}")),
        json!(format!("{KEY}:{}", hex.to_uppercase())),
        json!(auth(&format!("{id}:user:{data}"))),
        json!(auth(&format!("{id}:{data}"))),
        json!(auth(&format!("1.1::user::{data}"))),
        json!(auth(&format!("{id}::user::{{\"id\":\"8\"}}"))),
        json!([format!("{KEY}:{hex}")]),
        json!(7),
    ] {
        session.say(json!({"event": "pusher:signin", "data": {"auth": wrong, "user_data": data}}));
        session.expect_error();
    }
    session.say(json!({"event": "pusher:signin", "data": {"auth": format!("{KEY}:{hex}"), "user_data": {"id": "7"}}}));
    session.expect_error();
    // This signs in no user.
    site.api().publish("#server-to-user-7", "event", "{}");
    session.expect_nothing().sign_in(data).expect_nothing();
}

#[test]
fn rule_7_2_sign_in_can_be_off() {
    let site = Site::with(Settings {
        app: "user_authentication = false",
        ..Settings::default()
    });
    let mut session = site.connect();
    session.ask_sign_in(r#"{"id":"7"}"#);
    session.expect_error();
    session.expect_nothing();
}

#[test]
fn rule_7_3_server_to_user_events_come_once_to_every_connection_of_the_user() {
    let site = Site::start();
    const CHANNEL: &str = "#server-to-user-7";
    let mut api = site.api();
    let (mut bare, mut subscribed, mut other, mut guest) =
        (site.connect(), site.connect(), site.connect(), site.connect());
    for session in [&mut bare, &mut subscribed] {
        session.sign_in(r#"{"id":"7"}"#);
    }
    other.sign_in(r#"{"id":"77"}"#);
    subscribed.say_subscribe(json!({"channel": CHANNEL, "auth": ""}));
    subscribed.expect_subscribed(CHANNEL);
    for session in [&mut other, &mut guest] {
        session.say_subscribe(json!({"channel": CHANNEL, "auth": ""}));
        session.expect_refused(CHANNEL);
        let auth = session.auth(CHANNEL);
        session.say_subscribe(json!({"channel": CHANNEL, "auth": auth}));
        session.expect_refused(CHANNEL);
    }
    api.publish(CHANNEL, "event", "{}");
    for session in [&mut bare, &mut subscribed] {
        session.expect_event(CHANNEL, "event", "{}").expect_nothing();
    }
    for session in [&mut other, &mut guest] {
        session.expect_nothing();
    }
    // They are no channels to any other client.
    assert_eq!(api.get("/channels", &[]), json!({"channels": {}}));
    // No connection is online: that is no error.
    api.publish("#server-to-user-nobody", "event", "{}");
    // An id is compared, not interpreted.
    let mut strange = site.connect();
    strange.sign_in(r#"{"id":"a/b c:d"}"#);
    api.publish("#server-to-user-a/b c:d", "event", "{}");
    strange.expect_event("#server-to-user-a/b c:d", "event", "{}");
}

#[test]
fn rule_7_4_a_signed_in_client_joins_with_the_signature_of_the_private_form() {
    let site = Site::start();
    let mut session = site.connect();
    session.sign_in(r#"{"id":"7","user_info":{"name":"Ada"}}"#);
    session.say_subscribe(json!({"channel": ROOM, "auth": session.auth(ROOM)}));
    let presence = session.expect_joined(ROOM);
    assert_eq!(
        presence,
        json!({"ids": ["7"], "hash": {"7": {"name": "Ada"}}, "count": 1})
    );
    // channel_data overrides it.
    session.join_with("presence-other", r#"{"user_id":"8"}"#);
    // Signing in is no signature.
    session.say_subscribe(json!({"channel": "presence-third", "auth": ""}));
    assert!(session.expect_refused("presence-third").is_auth());
    let mut guest = site.connect();
    guest.say_subscribe(json!({"channel": ROOM, "auth": guest.auth(ROOM)}));
    guest.expect_refused(ROOM);
}

/// The next message is about these users.
fn watched(session: &mut Session, online: &[&str], offline: &[&str]) {
    let message = session.next();
    assert_eq!(
        message,
        json!({"event": "pusher_internal:watchlist_events", "data": message["data"]})
    );
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in decoded(&message)["events"].as_array().expect("events") {
        let ids = event["user_ids"]
            .as_array()
            .expect("as the rule says")
            .iter()
            .map(|id| id.as_str().expect("as the rule says").to_owned());
        told.entry(event["name"].as_str().expect("as the rule says").to_owned())
            .or_default()
            .extend(ids);
    }
    told.retain(|_, ids| !ids.is_empty());
    let mut expected = BTreeMap::new();
    for (name, ids) in [("online", online), ("offline", offline)] {
        if !ids.is_empty() {
            expected.insert(
                name.to_owned(),
                ids.iter().map(|&id| id.to_owned()).collect::<BTreeSet<_>>(),
            );
        }
    }
    assert_eq!(told, expected, "{message}");
}

#[test]
fn rule_7_5_a_watchlist_reports_the_online_users_and_every_change() {
    let site = Site::start();
    let mut ada = site.connect();
    ada.sign_in(r#"{"id":"ada"}"#);
    let mut bob = site.connect();
    bob.sign_in(r#"{"id":"bob","watchlist":["ada","eve","bob2"]}"#);
    watched(&mut bob, &["ada"], &["eve", "bob2"]);
    // A second connection changes nothing, nor does the end of one of two.
    let mut second_ada = site.connect();
    second_ada.sign_in(r#"{"id":"ada"}"#).expect_nothing();
    bob.expect_nothing();
    second_ada.peer.reset();
    let mut eve = site.connect();
    eve.sign_in(r#"{"id":"eve"}"#);
    watched(&mut bob, &["eve"], &[]);
    ada.peer.reset();
    watched(&mut bob, &[], &["ada"]);
    eve.peer.close(1000, "");
    watched(&mut bob, &[], &["eve"]);
    bob.expect_nothing();
}

#[test]
fn rule_7_5_a_hundred_are_watched_and_more_get_4302() {
    let site = Site::start();
    let mut session = site.connect();
    let watchlist: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let user_data = json!({"id": "7", "watchlist": watchlist}).to_string();
    session.ask_sign_in(&user_data);
    session.expect(json!({"event": "pusher:signin_success", "data": {"user_data": user_data}}));
    let (mut error, mut told) = (false, 0);
    for message in session.rest() {
        match message["event"].as_str().unwrap() {
            "pusher:error" => {
                assert_eq!(message["data"]["code"], 4302);
                error = true;
            }
            "pusher_internal:watchlist_events" => {
                for event in decoded(&message)["events"].as_array().unwrap() {
                    told += event["user_ids"].as_array().unwrap().len();
                }
            }
            _ => panic!("{message}"),
        }
    }
    // 7 watches itself too; it is the only one online.
    assert_eq!((error, told), (true, 100));
    let mut last = site.connect();
    last.sign_in(r#"{"id":"100"}"#).expect_nothing();
    session.expect_nothing();
    let mut first = site.connect();
    first.sign_in(r#"{"id":"99"}"#);
    watched(&mut session, &["99"], &[]);
}

#[test]
fn rule_7_5_it_can_be_off() {
    let site = Site::with(Settings {
        app: "watchlist = false",
        ..Settings::default()
    });
    let mut session = site.connect();
    session.sign_in(r#"{"id":"7","watchlist":["8"]}"#).expect_nothing();
}

#[test]
fn rule_7_6_terminate_closes_the_connections_that_are_signed_in_and_no_others() {
    let site = Site::start();
    let (mut first, mut second, mut other, mut member) =
        (site.connect(), site.connect(), site.connect(), site.connect());
    first.sign_in(r#"{"id":"7"}"#).subscribe("news");
    second.sign_in(r#"{"id":"7"}"#);
    other.sign_in(r#"{"id":"77"}"#);
    member.join(ROOM, "7");
    let mut api = site.api();
    assert_eq!(api.ask("POST", "/users/7/terminate_connections", &[], ""), json!({}));
    for session in [&mut first, &mut second] {
        session.peer.expect_close(4009);
    }
    other.expect_nothing();
    member.expect_nothing();
    // No connection is left, and any body is accepted.
    assert_eq!(api.ask("POST", "/users/7/terminate_connections", &[], "{}"), json!({}));
    let left = || api.get("/channels/news", &[]) == json!({"occupied": false});
    wait_until("the terminated connection is in no channel", left, String::new);
    // A terminated user may connect again.
    site.connect().sign_in(r#"{"id":"7"}"#).expect_nothing();
}
