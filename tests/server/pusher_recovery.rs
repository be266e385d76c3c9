//! Recovery, an extension of the Pusher protocol: a client that requests it gets positions, and after an absence
//! exactly the missed events, or an honest no. A stock client gets not one byte more than without it.
//!
//! A client that follows the documentation tests the promise: it remembers one position for each channel and no ids,
//! and starts anew when the server reports a gap. The oracle is the list of all published events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::pusher::{Api, Session, Settings, Site, below, decoded};
use crate::common::{Noise, wait_until};
use serde_json::{Value, json};

/// A site that remembers with these limits.
fn remembering(app: &str) -> Site {
    Site::with(Settings {
        app,
        ..Settings::default()
    })
}

/// Subscribes; the answer is the confirmation, and is returned.
fn subscribe(session: &mut Session, channel: &str, since: Option<Value>) -> Value {
    let auth = session.auth(channel);
    let mut data = json!({"channel": channel, "auth": auth});
    if let Some(since) = since {
        data["since"] = since;
    }
    session.say_subscribe(data);
    let mut got = session.next();
    while is_position(&got) {
        got = session.next();
    }
    assert_eq!(got["event"], "pusher_internal:subscription_succeeded", "{got}");
    assert_eq!(got["channel"], channel, "{got}");
    got
}

/// From time to time the server sends the connection's position; the message holds nothing else.
fn is_position(message: &Value) -> bool {
    let is = message["event"] == "pusher_internal:position";
    if is {
        let pos = position(&message["pos"]);
        assert_eq!(
            *message,
            json!({"event": "pusher_internal:position", "data": "{}", "pos": pos})
        );
    }
    is
}

/// A position of the stream in memory: `m<start>:<n>`.
fn position(value: &Value) -> String {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no position"));
    let (start, n) = text
        .strip_prefix('m')
        .and_then(|rest| rest.split_once(':'))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(!start.is_empty() && n.parse::<u64>().is_ok(), "{text}");
    text.to_owned()
}

/// The confirmation's position.
fn since(session: &mut Session, channel: &str) -> Value {
    let got = subscribe(session, channel, None);
    json!(position(&got["pos"]))
}

/// The events that came, as data; each has an id.
fn rest(session: &mut Session) -> Vec<String> {
    session.say(json!({"event": "pusher:ping", "data": {}}));
    let mut all = Vec::new();
    loop {
        let message = session.next();
        if message["event"] == "pusher:pong" {
            return all;
        }
        if is_position(&message) {
            continue;
        }
        position(&message["id"]);
        all.push(message["data"].as_str().expect("as the rule says").to_owned());
    }
}

#[test]
fn only_a_client_that_requests_recovery_gets_positions_and_nothing_else_changes() {
    let site = Site::start();
    let mut session = site.connect_recovering();
    let got = subscribe(&mut session, "news", None);
    let pos = position(&got["pos"]);
    let event = "pusher_internal:subscription_succeeded";
    assert_eq!(
        got,
        json!({"event": event, "channel": "news", "data": "{}", "pos": pos})
    );
    site.api().publish("news", "event", "{\"n\":1e400}");
    let got = session.next();
    let id = position(&got["id"]);
    assert_eq!(
        got,
        json!({"event": "event", "channel": "news", "data": "{\"n\":1e400}", "id": id})
    );
    assert_ne!(id, pos);
    session.say(json!({"event": "pusher:ping", "data": {}}));
    let got = session.next();
    assert_eq!(
        got,
        json!({"event": "pusher:pong", "data": "{}", "pos": position(&got["pos"])})
    );

    let presence = subscribe_member(&mut session, "presence-x", None);
    assert_eq!(
        presence,
        json!({
            "event": event, "channel": "presence-x", "data": presence["data"], "pos": position(&presence["pos"]),
        })
    );
    assert_eq!(decoded(&presence)["presence"]["count"], 1);
}

fn subscribe_member(session: &mut Session, channel: &str, since: Option<Value>) -> Value {
    let member = r#"{"user_id":"1"}"#;
    let mut data = json!({"channel": channel, "auth": session.auth_member(channel, member), "channel_data": member});
    if let Some(since) = since {
        data["since"] = since;
    }
    session.say_subscribe(data);
    session.next()
}

#[test]
fn a_stock_client_sees_none_of_it() {
    let site = Site::start();
    let mut asking = site.connect_recovering();
    let pos = since(&mut asking, "news");
    let mut api = site.api();
    api.publish("news", "event", "missed");
    for query in ["protocol=7", "protocol=7&recovery=0", "protocol=7&recovery="] {
        let mut stock = Session::open(&site, query);
        // Not even when it sends keys that a stock client does not have.
        stock.say_subscribe(json!({"channel": "news", "auth": "", "since": pos}));
        stock.expect_subscribed("news").expect_nothing();
        api.publish("news", "event", "live");
        stock.expect_event("news", "event", "live").expect_nothing();
    }
}

/// The answer for each position that was given, in the form in which they were; of more than there are streams only the
/// first.
fn mirrored(since: &Value, recovered: bool) -> Value {
    match since.as_array() {
        Some(list) => vec![recovered; list.len().min(2)].into(),
        None => recovered.into(),
    }
}

#[test]
fn exactly_the_missed_events_follow_the_confirmation_in_order() {
    let site = Site::start();
    let mut api = site.api();
    let mut session = site.connect_recovering();
    let start = since(&mut session, "news");
    api.publish("news", "event", "seen");
    let id = session.next()["id"].take();
    session.peer.reset();
    let missed: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for n in &missed {
        api.publish("news", "event", n).publish("other", "event", "not this");
    }
    for since in [json!(id), json!([id]), json!(start)] {
        let mut session = site.connect_recovering();
        let got = subscribe(&mut session, "news", Some(since.clone()));
        let expected = json!({
            "event": "pusher_internal:subscription_succeeded", "channel": "news", "data": "{}",
            "pos": position(&got["pos"]), "recovered": mirrored(&since, true),
        });
        assert_eq!(got, expected, "{since}");
        let mut came = rest(&mut session);
        if since == start {
            assert_eq!(came.remove(0), "seen");
        }
        assert_eq!(came, missed, "{since}");
    }
}

#[test]
fn a_replayed_event_is_the_frame_that_was_live() {
    let site = Site::start();
    let (mut live, mut late) = (site.connect_recovering(), site.connect_recovering());
    subscribe(&mut live, "private-x", None);
    let pos = since(&mut late, "private-x");
    late.unsubscribe("private-x").expect_pong();
    let mut api = site.api();
    for data in ["{\"n\":1e400,\"s\":\"\\u00e9\\/\"}", "", "text\u{0}é"] {
        api.publish("private-x", "App\\Events\\X", data);
    }
    let frames: Vec<String> = (0..3).map(|_| live.next_text()).collect();
    assert_eq!(subscribe(&mut late, "private-x", Some(pos))["recovered"], true);
    for frame in frames {
        assert_eq!(late.next_text(), frame);
    }
}

#[test]
fn nothing_missed_is_recovered_too() {
    let site = Site::start();
    let mut session = site.connect_recovering();
    let pos = since(&mut session, "news");
    session.peer.reset();
    let mut session = site.connect_recovering();
    let got = subscribe(&mut session, "news", Some(pos));
    assert_eq!(got["recovered"], true);
    assert!(rest(&mut session).is_empty());
    // From the position of a pong, and of another channel.
    site.api().publish("news", "event", "x");
    session.next();
    session.say(json!({"event": "pusher:ping", "data": {}}));
    let pos = session.next()["pos"].take();
    site.api().publish("second", "event", "missed");
    assert_eq!(subscribe(&mut session, "second", Some(pos))["recovered"], true);
    assert_eq!(rest(&mut session), ["missed"]);
}

#[test]
fn a_position_that_the_server_did_not_give_is_not_recovered() {
    let site = Site::start();
    let mut session = site.connect_recovering();
    let pos = since(&mut session, "news");
    let (start, n) = pos
        .as_str()
        .expect("as the rule says")
        .rsplit_once(':')
        .expect("as the rule says");
    let n: u64 = n.parse().expect("as the rule says");
    session.unsubscribe("news");
    site.api().publish("news", "event", "x");
    for unknown in [
        json!(format!("{start}:{}", n + 1_000)),
        json!(format!("{start}:{}", u64::MAX)),
        json!(format!("{start}:99999999999999999999999")),
        json!(format!("{start}:-1")),
        json!(format!("{start}:")),
        json!(format!("{start}x:{n}")),
        json!(format!("m0:{n}")),
        json!("m1:1"),
        json!("o1:1"),
        json!("m"),
        json!(""),
        json!("yesterday"),
        json!("x".repeat(10_000)),
        json!([]),
        json!(["m1:1", "o1:1"]),
    ] {
        let got = subscribe(&mut session, "news", Some(unknown.clone()));
        assert_eq!(got["recovered"], mirrored(&unknown, false), "{unknown}: {got}");
        position(&got["pos"]);
        assert!(rest(&mut session).is_empty(), "{unknown}");
        session.unsubscribe("news");
    }
    // Nonsense ends nothing.
    for nonsense in [
        json!(7),
        json!(true),
        json!({}),
        json!([[]]),
        json!([7]),
        json!(vec!["m1:1"; 1_000]),
    ] {
        let auth = session.auth("news");
        session.say_subscribe(json!({"channel": "news", "auth": auth, "since": nonsense}));
        session.rest();
        session.unsubscribe("news");
    }
    assert!(rest(&mut session).is_empty());
}

#[test]
fn a_restart_is_an_honest_gap() {
    let first = Site::start();
    let mut session = first.connect_recovering();
    let pos = since(&mut session, "news");
    drop(first);
    let second = Site::start();
    second.api().publish("news", "event", "x");
    let mut session = second.connect_recovering();
    assert_eq!(subscribe(&mut session, "news", Some(pos))["recovered"], false);
}

#[test]
fn the_history_is_bounded_in_events() {
    let site = remembering("history_events = 10");
    let mut api = site.api();
    let mut session = site.connect_recovering();
    let pos = since(&mut session, "news");
    session.unsubscribe("news");
    for n in 0..10 {
        api.publish("news", "event", &n.to_string());
    }
    assert_eq!(subscribe(&mut session, "news", Some(pos.clone()))["recovered"], true);
    assert_eq!(rest(&mut session).len(), 10);
    session.unsubscribe("news");
    api.publish("news", "event", "10");
    let got = subscribe(&mut session, "news", Some(pos));
    assert_eq!(got["recovered"], false);
    assert!(rest(&mut session).is_empty(), "half of it would be worse than nothing");
}

#[test]
fn the_history_is_bounded_in_bytes_of_a_channel_and_in_all() {
    for app in ["history_channel_bytes = 65536", "history_bytes = 65536"] {
        let site = remembering(app);
        let mut api = site.api();
        let mut session = site.connect_recovering();
        let pos = since(&mut session, "news");
        session.unsubscribe("news");
        api.publish("news", "event", &"x".repeat(5_000));
        let got = subscribe(&mut session, "news", Some(pos.clone()));
        assert_eq!(got["recovered"], true, "{app}");
        assert_eq!(rest(&mut session).len(), 1, "{app}");
        session.unsubscribe("news");
        for _ in 0..20 {
            api.publish("news", "event", &"x".repeat(5_000));
        }
        assert_eq!(subscribe(&mut session, "news", Some(pos))["recovered"], false, "{app}");
    }
    // Other channels' events may push these out, when it is all that is bounded.
    let site = remembering("history_bytes = 65536");
    let mut session = site.connect_recovering();
    let pos = since(&mut session, "news");
    session.unsubscribe("news");
    let mut api = site.api();
    api.publish("news", "event", "pushed out");
    for n in 0..40 {
        api.publish(&format!("other-{n}"), "event", &"x".repeat(5_000));
    }
    let got = subscribe(&mut session, "news", Some(pos));
    let came = rest(&mut session);
    match got["recovered"].as_bool() {
        Some(true) => assert_eq!(came, ["pushed out"]),
        Some(false) => assert!(came.is_empty()),
        None => panic!("{got}"),
    }
}

#[test]
fn the_history_is_bounded_in_time() {
    let site = remembering("history_seconds = 2");
    let mut session = site.connect_recovering();
    let pos = since(&mut session, "news");
    session.unsubscribe("news");
    site.api().publish("news", "event", "old");
    let forgotten = || {
        let got = subscribe(&mut session, "news", Some(pos.clone()));
        let came = rest(&mut session);
        session.unsubscribe("news");
        match got["recovered"].as_bool().expect("yes or no") {
            true => assert_eq!(came, ["old"]),
            false => assert!(came.is_empty()),
        }
        got["recovered"] == false
    };
    wait_until("the event is forgotten", forgotten, String::new);
}

#[test]
fn without_a_history_nothing_is_recovered() {
    let site = remembering("history_events = 0");
    let mut session = site.connect_recovering();
    let pos = subscribe(&mut session, "news", None)["pos"].take();
    session.unsubscribe("news");
    site.api().publish("news", "event", "x");
    let pos = if pos.is_null() { json!("m1:1") } else { pos };
    assert_eq!(subscribe(&mut session, "news", Some(pos))["recovered"], false);
}

#[test]
fn the_exclusion_of_a_socket_holds_on_replay() {
    let site = Site::start();
    let (mut author, mut reader) = (site.connect_recovering(), site.connect_recovering());
    let pos = since(&mut author, "news");
    subscribe(&mut reader, "news", None);
    for session in [&mut author, &mut reader] {
        session.unsubscribe("news").expect_pong();
    }
    let mut api = site.api();
    api.trigger(json!({"name": "event", "channel": "news", "data": "by the author", "socket_id": author.socket_id}));
    api.publish("news", "event", "by somebody");
    assert_eq!(subscribe(&mut author, "news", Some(pos.clone()))["recovered"], true);
    assert_eq!(rest(&mut author), ["by somebody"]);
    assert_eq!(subscribe(&mut reader, "news", Some(pos))["recovered"], true);
    assert_eq!(rest(&mut reader), ["by the author", "by somebody"]);
}

#[test]
fn only_clients_that_may_subscribe_may_recover() {
    let site = Site::start();
    let mut session = site.connect_recovering();
    let pos = since(&mut session, "private-x");
    session.unsubscribe("private-x");
    site.api().publish("private-x", "event", "secret");
    session.say_subscribe(json!({"channel": "private-x", "auth": "site-key:00", "since": pos}));
    session.expect_refused("private-x");
    assert!(rest(&mut session).is_empty());
    // The position of one channel opens no other.
    let got = subscribe(&mut session, "private-y", Some(pos.clone()));
    assert_eq!(got["recovered"], true);
    assert!(rest(&mut session).is_empty());
    assert_eq!(subscribe(&mut session, "private-x", Some(pos))["recovered"], true);
    assert_eq!(rest(&mut session), ["secret"]);
}

// --- the promise -----------------------------------------------------------------------------------------------------

/// A client as the documentation describes it, which handles numbers.
struct Client {
    session: Session,
    channels: BTreeMap<String, Follows>,
}

/// A client's state of one channel.
#[derive(Default)]
struct Follows {
    /// The last position that covers everything handled so far.
    pos: Option<Value>,
    /// How much was handled ever.
    total: usize,
    /// The events handled since the beginning or the last gap, in order.
    handled: Vec<u64>,
    /// It has asked for it since it connected.
    inside: bool,
    /// It was confirmed: positions of the connection are this channel's too.
    confirmed: bool,
    /// It was given up: from here on they are not.
    leaving: bool,
    /// The number of reported gaps, and of recoveries.
    gaps: usize,
    recoveries: usize,
}

impl Client {
    fn connect(site: &Site) -> Self {
        Self {
            session: site.connect_recovering(),
            channels: BTreeMap::new(),
        }
    }

    /// Drops the connection without a close frame and reconnects; bytes on their way are lost.
    fn reconnect(&mut self, site: &Site) {
        let old = std::mem::replace(&mut self.session, site.connect_recovering());
        old.peer.reset();
        for follows in self.channels.values_mut() {
            (follows.inside, follows.confirmed) = (false, false);
        }
    }

    fn ask(&mut self, channel: &str) {
        let follows = self.channels.entry(channel.to_owned()).or_default();
        if follows.inside {
            return;
        }
        follows.inside = true;
        let mut data = json!({"channel": channel, "auth": ""});
        if let Some(pos) = &follows.pos {
            data["since"] = pos.clone();
        }
        self.session.say_subscribe(data);
    }

    /// Reads `most` messages, or all until the answer to a ping.
    fn read(&mut self, most: Option<usize>) {
        if most.is_none() {
            self.session.say(json!({"event": "pusher:ping", "data": {}}));
        }
        for _ in 0..most.unwrap_or(usize::MAX) {
            if self.read_one() {
                return;
            }
        }
    }

    /// Reads a message; says whether it was the answer to a ping, with a position.
    fn read_one(&mut self) -> bool {
        let message = self.session.next();
        let is_pong = message["event"] == "pusher:pong";
        if is_pong && message.get("pos").is_none() {
            // Missed events are still being sent: the ping is repeated.
            self.session.say(json!({"event": "pusher:ping", "data": {}}));
            return false;
        }
        if is_pong || is_position(&message) {
            // Everything before it was handled, in every channel that it is in.
            for follows in self
                .channels
                .values_mut()
                .filter(|follows| follows.confirmed && !follows.leaving)
            {
                follows.pos = Some(message["pos"].clone());
            }
            return is_pong;
        }
        let channel = message["channel"].as_str().unwrap_or_else(|| panic!("{message}"));
        let follows = self.channels.get_mut(channel).unwrap_or_else(|| panic!("{message}"));
        assert!(follows.inside, "after the unsubscribe: {message}");
        follows.take(&message);
        false
    }

    fn leave(&mut self, channel: &str) {
        // Events that come before the answer were sent before the server read the unsubscribe: they still count. The
        // answer's position does not, because an event may have come in between.
        self.channels.entry(channel.to_owned()).or_default().leaving = true;
        self.session.unsubscribe(channel);
        self.read(None);
        if let Some(follows) = self.channels.get_mut(channel) {
            (follows.inside, follows.confirmed, follows.leaving) = (false, false, false);
        }
    }
}

impl Follows {
    fn take(&mut self, message: &Value) {
        if message["event"] == "pusher_internal:subscription_succeeded" {
            let asked = self.pos.is_some();
            self.confirmed = true;
            assert_eq!(
                message.get("recovered").is_some(),
                asked,
                "an answer to since, and only to it: {message}"
            );
            if message["recovered"] == true {
                // The missed events follow: only their ids move the position.
                self.recoveries += 1;
                return;
            }
            if asked {
                self.gaps += 1;
                self.handled.clear();
            }
            self.pos = Some(json!(position(&message["pos"])));
            return;
        }
        let data = message["data"].as_str().expect("as the rule says").trim_end();
        self.handled.push(data.parse().expect("as the rule says"));
        self.total += 1;
        self.pos = Some(json!(position(&message["id"])));
    }

    /// The handled events are a piece of the published ones, without a hole.
    fn assert_exact(&self, channel: &str, published: &[u64]) {
        let Some(first) = self.handled.first() else { return };
        let start = published
            .binary_search(first)
            .unwrap_or_else(|_| panic!("{channel}: {first} was never published"));
        let end = start + self.handled.len();
        assert!(end <= published.len(), "{channel}: more than was published");
        assert_eq!(self.handled, published[start..end], "{channel}");
    }
}

const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// Publishes the next number to a channel, sometimes in a batch, and notes it.
fn publish(api: &mut Api, noise: &mut Noise, next: &mut u64, published: &mut BTreeMap<String, Vec<u64>>) {
    publish_padded(api, noise, next, published, 0);
}

/// The same with that many spaces behind the number.
fn publish_padded(
    api: &mut Api,
    noise: &mut Noise,
    next: &mut u64,
    published: &mut BTreeMap<String, Vec<u64>>,
    pad: usize,
) {
    let size = [1, 1, 1, 2, 10][below(noise, 5)];
    let batch: Vec<Value> = (0..size)
        .map(|_| {
            *next += 1;
            let channel = CHANNELS[below(noise, CHANNELS.len())];
            published.entry(channel.to_owned()).or_default().push(*next);
            json!({"name": "event", "channel": channel, "data": format!("{next}{}", " ".repeat(pad))})
        })
        .collect();
    if size == 1 {
        api.trigger(batch[0].clone());
    } else {
        api.ask("POST", "/batch_events", &[], &json!({"batch": batch}).to_string());
    }
}

#[test]
fn every_event_is_handled_once_or_the_gap_is_reported() {
    const KEPT: usize = 12;
    let (mut gaps, mut recoveries) = (0, 0);
    for seed in 1..=12 {
        let site = remembering(&format!("history_events = {KEPT}"));
        let mut api = site.api();
        let mut noise = Noise(seed * 0x9e37_79b9);
        let mut published = BTreeMap::new();
        let mut next = 0;
        let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&site)).collect();
        for _ in 0..250 {
            let client = below(&mut noise, clients.len());
            let channel = CHANNELS[below(&mut noise, CHANNELS.len())];
            let client = &mut clients[client];
            match below(&mut noise, 12) {
                0..=5 => publish(&mut api, &mut noise, &mut next, &mut published),
                6 | 7 => client.ask(channel),
                8 => client.leave(channel),
                9 => client.read(None),
                // The client reconnects: at once, or behind the confirmation, or in the middle of the missed events.
                10 => client.reconnect(&site),
                _ => {
                    client.read(None);
                    client.leave(channel);
                    client.ask(channel);
                    client.read(Some(1));
                    client.reconnect(&site);
                }
            }
        }
        for client in &mut clients {
            for channel in CHANNELS {
                // A client without a gap has missed no more than the server keeps, and the other way round.
                let (before, told) = match client.channels.get(channel) {
                    Some(follows) => (follows.handled.last().copied(), follows.gaps),
                    None => (None, 0),
                };
                let away = client.channels.get(channel).is_some_and(|follows| !follows.inside);
                client.read(None);
                client.ask(channel);
                client.read(None);
                let follows = &client.channels[channel];
                let all = published.get(channel).map_or(&[][..], Vec::as_slice);
                follows.assert_exact(channel, all);
                if let (true, Some(last)) = (away, before) {
                    let missed = all.iter().filter(|&&number| number > last).count();
                    if missed <= KEPT {
                        assert_eq!(
                            follows.gaps, told,
                            "seed {seed}, {channel}: {missed} missed, and that is too many"
                        );
                    }
                }
                if follows.gaps == told && !follows.handled.is_empty() {
                    assert_eq!(
                        follows.handled.last(),
                        all.last(),
                        "seed {seed}, {channel}: the newest is missing"
                    );
                }
                gaps += follows.gaps;
                recoveries += follows.recoveries;
            }
        }
    }
    assert!(
        gaps > 20 && recoveries > 20,
        "only {gaps} gaps and {recoveries} recoveries: this proves nothing"
    );
}

#[test]
fn the_promise_holds_while_events_pour_in() {
    let site = remembering("history_events = 40");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut api = site.api();
            let mut noise = Noise(0x0000_7ec0);
            let (mut next, mut published) = (0, BTreeMap::new());
            while !over.load(Ordering::Relaxed) {
                publish(&mut api, &mut noise, &mut next, &mut published);
            }
            published
        });
        let clients: Vec<_> = (1..=3)
            .map(|seed| {
                let site = &site;
                scope.spawn(move || {
                    let mut noise = Noise(seed * 0x51ed_2701);
                    let mut client = Client::connect(site);
                    for _ in 0..400 {
                        let channel = CHANNELS[below(&mut noise, CHANNELS.len())];
                        match below(&mut noise, 6) {
                            0 | 1 => client.ask(channel),
                            2 => client.leave(channel),
                            3 => client.reconnect(site),
                            _ => client.read(None),
                        }
                    }
                    client
                })
            })
            .collect();
        let clients: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let published = publisher.join().expect("the publisher works");
        let mut handled = 0;
        for client in clients {
            let mut client = client.expect("the client works");
            for channel in CHANNELS {
                client.ask(channel);
                client.read(None);
                client.channels[channel].assert_exact(channel, &published[channel]);
                handled += client.channels[channel].total;
            }
        }
        assert!(handled > 500, "only {handled} events were handled: this proves nothing");
    });
}

#[test]
fn bounds_in_bytes_and_in_time_keep_the_promise() {
    let site = remembering("history_bytes = 65536\nhistory_channel_bytes = 65536\nhistory_seconds = 2");
    let mut api = site.api();
    let mut noise = Noise(0x000b_17e5);
    let (mut next, mut published) = (0, BTreeMap::new());
    let mut client = Client::connect(&site);
    let began = std::time::Instant::now();
    while began.elapsed().as_secs() < 5 {
        for _ in 0..below(&mut noise, 60) {
            publish(&mut api, &mut noise, &mut next, &mut published);
        }
        // Some ballast, which pushes others out.
        for n in 0..below(&mut noise, 10) {
            api.publish(&format!("ballast-{n}"), "event", &"x".repeat(9_000));
        }
        for channel in CHANNELS {
            client.ask(channel);
            client.read(None);
            client.channels[channel].assert_exact(channel, published.get(channel).map_or(&[][..], Vec::as_slice));
        }
        if below(&mut noise, 2) == 0 {
            client.reconnect(&site);
        }
    }
    let recoveries: usize = client.channels.values().map(|follows| follows.recoveries).sum();
    assert!(recoveries > 0, "nothing was ever recovered");
}

#[test]
fn a_long_absence_is_recovered_in_pieces_and_no_position_runs_ahead() {
    let site = remembering("history_channel_bytes = 1048576");
    let mut noise = Noise(0x0010_0246);
    let mut api = site.api();
    let (mut next, mut published) = (0, BTreeMap::new());
    let mut client = Client::connect(&site);
    for channel in CHANNELS {
        client.ask(channel);
    }
    client.read(None);
    for round in 0..30 {
        client.reconnect(&site);
        // More than the server replays at once.
        for _ in 0..10 + below(&mut noise, 20) {
            publish_padded(&mut api, &mut noise, &mut next, &mut published, 3_000);
        }
        for channel in CHANNELS {
            client.ask(channel);
        }
        // Live events come during the replay, and the client may disconnect in the middle.
        publish_padded(&mut api, &mut noise, &mut next, &mut published, 3_000);
        if round % 3 == 0 {
            client.session.say(json!({"event": "pusher:ping", "data": {}}));
            for _ in 0..below(&mut noise, 60) {
                if client.read_one() {
                    break;
                }
            }
            continue;
        }
        client.read(None);
        for channel in CHANNELS {
            let follows = &client.channels[channel];
            follows.assert_exact(channel, &published[channel]);
            assert_eq!(
                follows.handled.last(),
                published[channel].last(),
                "round {round}, {channel}: behind the pong"
            );
        }
    }
    for channel in CHANNELS {
        assert_eq!(client.channels[channel].gaps, 0, "{channel}: all of it was kept");
    }
}
