//! Events, positions and the cache in a cluster.

use std::time::Duration;

use serde_json::{Value, json};

use super::model::{EPOCH, Model, settings};
use crate::hub::events::Publication;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::channel::ChannelName;
use crate::protocol::effects::HookEvent;
use crate::protocol::shared::{CachedEvent, Sender, SharedEvent};

fn publish(model: &mut Model, n: usize, channel: &str, data: &str, except: Option<SocketId>) -> usize {
    let publication = Publication {
        channel: ChannelName::parse(channel).unwrap(),
        event: "e",
        data,
        socket_id: except,
    };
    let now = model.now;
    model.processes[n].publish(&publication, now)
}

fn since(model: &mut Model, n: usize, id: ConnectionId, channel: &str, position: &Value) -> Value {
    let data = json!({"channel": channel, "since": position});
    model.send(n, id, &json!({"event": "pusher:subscribe", "data": data}));
    let frames = &model.client(n, id).frames;
    let confirmed = |frame: &&Value| frame["event"] == "pusher_internal:subscription_succeeded";
    frames.iter().rfind(confirmed).unwrap().clone()
}

fn data(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["data"].as_str()).collect()
}

#[test]
fn an_event_has_the_same_position_on_each_process_and_is_recovered_on_another() {
    let mut model = Model::new(2, &settings());
    let ann = model.connect(0, "ann");
    let bob = model.connect(1, "bob");
    model.subscribe(0, ann, "news");
    model.subscribe(1, bob, "news");
    assert_eq!(publish(&mut model, 0, "news", "1", None), 1);
    assert!(model.client(0, ann).events.is_empty(), "the event comes back first");
    publish(&mut model, 1, "news", "2", None);
    model.read_all();
    let told = model.client(0, ann).events.clone();
    assert_eq!(told, model.client(1, bob).events);
    assert_eq!(data(&told), ["1", "2"]);
    model.disconnect(0, ann);
    publish(&mut model, 1, "news", "3", None);
    publish(&mut model, 0, "other", "4", None);
    model.read_all();
    // The client changes the process, and comes from a position of each event.
    for (from, expected) in [(0, &["2", "3"][..]), (1, &["3"])] {
        let again = model.connect(1, "ann");
        let confirmation = since(&mut model, 1, again, "news", &told[from]["id"]);
        assert_eq!(confirmation["recovered"], true);
        assert_eq!(data(&model.client(1, again).events), expected);
    }
    let last = model.client(1, bob).events.last().unwrap()["id"].clone();
    let again = model.connect(0, "bob");
    assert_eq!(since(&mut model, 0, again, "news", &last)["recovered"], true);
    assert!(model.client(0, again).events.is_empty());
}

#[test]
fn the_publisher_of_an_event_gets_no_copy_wherever_it_is_connected() {
    let mut model = Model::new(2, &settings());
    let ann = model.connect(0, "ann");
    let bob = model.connect(1, "bob");
    model.subscribe(0, ann, "news");
    model.subscribe(1, bob, "news");
    publish(&mut model, 0, "news", "1", Some(SocketId(2, 1)));
    model.read_all();
    assert_eq!(model.client(0, ann).events.len(), 1);
    assert!(model.client(1, bob).events.is_empty());
}

#[test]
fn a_client_event_reaches_the_other_processes_and_one_webhook() {
    let mut model = Model::new(2, &settings());
    let ann = model.connect(0, "ann");
    let bob = model.connect(1, "bob");
    model.subscribe(0, ann, "presence-x");
    model.subscribe(1, bob, "presence-x");
    let frame = json!({"event": "client-a", "channel": "presence-x", "data": {"n": 1}});
    model.send(0, ann, &frame);
    model.read_all();
    assert!(model.client(0, ann).events.is_empty());
    let got = &model.client(1, bob).events[0];
    assert_eq!((&got["data"], &got["user_id"]), (&json!({"n": 1}), &json!("ann")));
    let sent = HookEvent::ClientEvent {
        channel: "presence-x".into(),
        event: "client-a".into(),
        data: r#"{"n":1}"#.into(),
        socket_id: "1.1".into(),
        user_id: Some("ann".into()),
    };
    for process in &model.processes {
        assert_eq!(process.hooks.iter().filter(|hook| **hook == sent).count(), 1);
    }
}

#[test]
fn the_events_of_a_user_reach_its_connections_on_all_processes() {
    let mut model = Model::new(2, &settings());
    let ann = model.connect(0, "ann");
    let also = model.connect(1, "ann");
    model.sign_in(0, ann, &[]);
    model.sign_in(1, also, &[]);
    publish(&mut model, 0, "#server-to-user-ann", "1", None);
    model.read_all();
    assert_eq!(data(&model.client(0, ann).events), ["1"]);
    assert_eq!(data(&model.client(1, also).events), ["1"]);
}

#[test]
fn another_epoch_is_an_honest_gap() {
    let mut model = Model::new(1, &settings());
    let ann = model.connect(0, "ann");
    model.subscribe(0, ann, "news");
    publish(&mut model, 0, "news", "1", None);
    model.read_all();
    let position = model.client(0, ann).events[0]["id"].clone();
    assert_eq!(position, format!("m{EPOCH:08x}:{}", model.log.len()));
    let together = |model: &mut Model, start, after| model.processes[0].set_epoch(start, after);
    together(&mut model, EPOCH, 0);
    let again = model.connect(0, "ann");
    assert_eq!(
        since(&mut model, 0, again, "news", &position)["recovered"],
        true,
        "the same epoch"
    );
    together(&mut model, EPOCH, 1000);
    let again = model.connect(0, "ann");
    let confirmation = since(&mut model, 0, again, "news", &position);
    assert_eq!(confirmation["recovered"], false, "entries were lost");
    assert_eq!(confirmation["pos"], format!("m{EPOCH:08x}:1000"));
    together(&mut model, EPOCH + 1, 0);
    let told = model.client(0, again).frames.last().unwrap();
    assert_eq!(told["event"], "pusher_internal:position");
    let again = model.connect(0, "ann");
    let old = json!(format!("m{EPOCH:08x}:1000"));
    assert_eq!(since(&mut model, 0, again, "news", &old)["recovered"], false);
}

#[test]
fn a_newcomer_recovers_events_from_before_its_start() {
    let mut model = Model::new(1, &settings());
    let now = model.now;
    let event = |data: &str, except| SharedEvent {
        channel: "cache-news".into(),
        name: "e".into(),
        data: data.into(),
        except,
        sender: None,
    };
    let sent = SharedEvent {
        channel: "private-x".into(),
        name: "client-x".into(),
        data: "7".into(),
        except: None,
        sender: Some(Sender {
            socket: SocketId(5, 5),
            user_id: None,
        }),
    };
    model.processes[0].set_epoch(EPOCH, 10);
    let app = &mut model.processes[0].app;
    let mut together = app.together().unwrap();
    let age = Duration::from_millis(400);
    together.keep_past(&event("1", None), 11, age, now);
    together.keep_past(&event("2", None), 12, age, now);
    together.keep_past(&event("2", None), 12, age, now);
    together.keep_past(&sent, 13, age, now);
    let cached = |data: &str| CachedEvent {
        channel: "cache-news".into(),
        name: "e".into(),
        data: data.into(),
        age: 0,
    };
    together.keep_cached(&cached("0"), now);
    assert_eq!(
        app.cached("cache-news", now).map(|(data, _)| data),
        Some("2"),
        "what was read is newer"
    );
    app.together()
        .unwrap()
        .gap(&mut crate::protocol::actions::Actions::default());
    app.together().unwrap().keep_cached(&cached("9"), now);
    assert_eq!(app.cached("cache-news", now).map(|(data, _)| data), Some("9"));
    for (channel, n, expected) in [
        ("cache-news", 10, &["1", "2"][..]),
        ("cache-news", 11, &["2"]),
        ("private-x", 12, &[]),
    ] {
        let id = model.connect(0, "ann");
        let confirmation = since(&mut model, 0, id, channel, &json!(format!("m{EPOCH:08x}:{n}")));
        assert_eq!(confirmation["recovered"], true, "{channel} {n}");
        let events = &model.client(0, id).events;
        assert_eq!(data(events), expected);
        if channel == "private-x" {
            assert_eq!(events[0]["data"], 7);
        }
    }
    let id = model.connect(0, "ann");
    let early = json!(format!("m{EPOCH:08x}:9"));
    assert_eq!(since(&mut model, 0, id, "cache-news", &early)["recovered"], false);
}

#[test]
fn a_cache_miss_is_one_webhook_and_a_cached_event_is_told() {
    let mut model = Model::new(2, &settings());
    let ann = model.connect(0, "ann");
    model.subscribe(0, ann, "cache-x");
    model.read_all();
    let miss = HookEvent::CacheMiss {
        channel: "cache-x".into(),
    };
    for process in &model.processes {
        assert_eq!(process.hooks.iter().filter(|hook| **hook == miss).count(), 1);
    }
    publish(&mut model, 0, "cache-x", "1", None);
    model.read_all();
    let bob = model.connect(1, "bob");
    model.subscribe(1, bob, "cache-x");
    assert_eq!(data(&model.client(1, bob).events), ["1"]);
    let holdings = model.processes[0].app.together().unwrap().holdings(true, model.now);
    let cached = holdings
        .iter()
        .filter(|shared| matches!(shared, crate::protocol::shared::Shared::Cached(_)));
    assert_eq!(cached.count(), 1);
}

#[test]
fn an_event_that_no_server_writes_is_ignored() {
    let mut model = Model::new(1, &settings());
    let ann = model.connect(0, "ann");
    for channel in ["news", "private-x"] {
        model.subscribe(0, ann, channel);
    }
    let event = |channel: &str, name: &str, data: &str, is_sent: bool| SharedEvent {
        channel: channel.into(),
        name: name.into(),
        data: data.into(),
        except: None,
        sender: is_sent.then_some(Sender {
            socket: SocketId(5, 5),
            user_id: None,
        }),
    };
    let before = model.client(0, ann).frames.len();
    for lie in [
        event("a b", "e", "1", false),
        event("news", "pusher:error", "1", false),
        event("news", "", "1", false),
        event("news", "client-x", "1", true),
        event("private-x", "e", "1", true),
        event("private-x", "client-x", "{", true),
    ] {
        assert_eq!(model.processes[0].deliver(&lie, 100, model.now), 0, "{lie:?}");
    }
    assert_eq!(
        model.processes[0].deliver(&event("news", "e", "1", false), 100, model.now),
        1
    );
    assert_eq!(
        model.processes[0].deliver(&event("news", "e", "1", false), 100, model.now),
        0,
        "read twice"
    );
    assert_eq!(model.client(0, ann).frames.len(), before + 1);
}
