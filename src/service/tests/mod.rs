//! Several services that are one cluster, over a model of its engine: what a client of one process and the HTTP API of
//! another one see. `cluster` has the tests of the log, `hub` those of one app in a cluster.

mod engine;
mod stage;
mod words;

use std::time::Duration;

use serde_json::json;

use self::stage::Stage;
use self::words::user_event;
use crate::config::Config;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_event_that_one_process_publishes_reaches_the_clients_of_all_at_the_same_position() {
    let mut stage = Stage::new(2);
    let (a, b) = (stage.connect(0), stage.connect(1));
    for client in [a, b] {
        stage.subscribe(client, "news", None);
    }
    stage.take(a);
    stage.take(b);
    let published = stage.publish(0, "news", "greeting", "hello");
    assert_eq!(published, (200, json!({})));
    stage.settle();
    let (on_a, on_b) = (stage.take(a), stage.take(b));
    assert_eq!(words::events(&on_a), [("greeting", "hello")]);
    assert_eq!(words::events(&on_b), [("greeting", "hello")]);
    assert_eq!(on_a[0]["id"], on_b[0]["id"]);
    assert!(on_a[0]["id"].as_str().is_some_and(|id| id.starts_with('m')), "{on_a:?}");
}

#[test]
fn all_processes_deliver_in_the_same_order() {
    let mut stage = Stage::new(3);
    let clients = [0, 1, 2].map(|process| stage.connect(process));
    for client in clients {
        stage.subscribe(client, "news", None);
        stage.take(client);
    }
    for round in 0..10 {
        for process in 0..3 {
            stage.publish(process, "news", "n", &format!("{process} {round}"));
        }
    }
    stage.settle();
    let seen = clients.map(|client| {
        let frames = stage.take(client);
        let data = frames.iter().map(|frame| frame["data"].to_string());
        data.collect::<Vec<_>>()
    });
    assert_eq!(seen[0].len(), 30);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn a_client_that_changes_the_process_gets_exactly_what_it_missed() {
    let mut stage = Stage::new(2);
    let a = stage.connect(0);
    stage.subscribe(a, "news", None);
    stage.publish(1, "news", "n", "first");
    stage.settle();
    let position = stage.take(a).last().unwrap()["id"].clone();
    stage.close(a);
    stage.publish(0, "news", "n", "second");
    stage.publish(1, "news", "n", "third");
    stage.settle();
    let b = stage.connect(1);
    stage.subscribe(b, "news", Some(&position));
    let frames = stage.take(b);
    assert_eq!(words::events(&frames), [("n", "second"), ("n", "third")], "{frames:?}");
}

#[test]
fn each_client_sees_each_member_come_and_go_once() {
    let mut stage = Stage::new(2);
    let (a, b) = (stage.connect(0), stage.connect(1));
    stage.join(a, "presence-room", "1");
    stage.settle();
    stage.join(b, "presence-room", "2");
    stage.settle();
    assert_eq!(words::members(&stage.take(a)), [("member_added", "2".into())]);
    let roll = stage.take(b);
    assert!(
        roll.iter()
            .any(|frame| frame.to_string().contains(r#"\"ids\":[\"1\",\"2\"]"#)),
        "{roll:?}"
    );
    // A user with a connection to each process comes once and goes once.
    let both = [stage.connect(0), stage.connect(1)];
    for client in both {
        stage.join(client, "presence-room", "3");
        stage.settle();
    }
    for client in [a, b] {
        assert_eq!(words::members(&stage.take(client)), [("member_added", "3".into())]);
    }
    stage.close(both[0]);
    stage.settle();
    assert_eq!(words::members(&stage.take(a)), []);
    assert_eq!(words::members(&stage.take(b)), []);
    stage.close(both[1]);
    stage.settle();
    for client in [a, b] {
        assert_eq!(words::members(&stage.take(client)), [("member_removed", "3".into())]);
    }
}

#[test]
fn every_process_gives_the_same_answers_about_channels() {
    let mut stage = Stage::new(2);
    let (a, b, c) = (stage.connect(0), stage.connect(1), stage.connect(1));
    stage.join(a, "presence-room", "1");
    stage.join(b, "presence-room", "2");
    stage.subscribe(c, "news", None);
    stage.settle();
    for process in [0, 1] {
        let (_, channels) = stage.get(process, "/apps/7/channels", "info=subscription_count");
        assert_eq!(
            channels,
            json!({"channels": {"news": {"subscription_count": 1}, "presence-room": {"subscription_count": 2}}})
        );
        let (_, one) = stage.get(
            process,
            "/apps/7/channels/presence-room",
            "info=user_count,subscription_count",
        );
        assert_eq!(one, json!({"occupied": true, "user_count": 2, "subscription_count": 2}));
        let (_, users) = stage.get(process, "/apps/7/channels/presence-room/users", "");
        assert_eq!(users, json!({"users": [{"id": "1"}, {"id": "2"}]}));
        let (_, connections) = stage.get(process, "/apps/7/connections", "");
        assert_eq!(connections, json!({"connections": 3}));
    }
}

#[test]
fn a_user_is_terminated_on_all_processes_after_the_events_before() {
    let mut stage = Stage::new(2);
    let (a, b) = (stage.connect(0), stage.connect(1));
    stage.sign_in(a, "1");
    stage.sign_in(b, "1");
    stage.settle();
    stage.take(b);
    stage.publish(0, &user_event("1"), "bye", "now");
    let (status, _) = stage.post(0, "/apps/7/users/1/terminate_connections", "{}");
    assert_eq!(status, 200);
    stage.settle();
    assert_eq!(stage.closed(a), Some(4009));
    assert_eq!(stage.closed(b), Some(4009));
    assert_eq!(words::events(&stage.take(b)), [("bye", "now")]);
}

#[test]
fn a_cached_event_is_there_for_clients_of_all_processes_and_for_a_process_that_comes() {
    let mut stage = Stage::new(2);
    stage.publish(0, "cache-news", "n", "kept");
    stage.settle();
    let b = stage.connect(1);
    stage.subscribe(b, "cache-news", None);
    assert_eq!(words::events(&stage.take(b)), [("n", "kept")]);
    let third = stage.come();
    stage.pass(SECOND);
    let c = stage.connect(third);
    stage.subscribe(c, "cache-news", None);
    assert_eq!(words::events(&stage.take(c)), [("n", "kept")]);
}

#[test]
fn one_process_sends_each_webhook() {
    let mut stage = Stage::new(3);
    let clients = [0, 1, 2].map(|process| stage.connect(process));
    for client in clients {
        stage.join(client, "presence-room", "1");
        stage.settle();
    }
    stage.say(
        clients[2],
        json!({"event": "client-x", "channel": "presence-room", "data": {"a": 1}}),
    );
    stage.settle();
    for client in clients {
        stage.close(client);
        stage.settle();
    }
    stage.pass(8 * SECOND);
    let mut hooks = stage.hooks();
    hooks.sort();
    assert_eq!(
        hooks,
        [
            "channel_occupied presence-room",
            "channel_vacated presence-room",
            "client_event presence-room",
            "member_added presence-room",
            "member_removed presence-room"
        ]
    );
}

#[test]
fn a_publish_counts_in_the_rate_of_all_processes() {
    let mut stage = Stage::with(2, |config: &mut Config| config.apps[0].publishes_per_second = 3);
    for _ in 0..2 {
        assert_eq!(stage.publish(0, "news", "n", "x").0, 200);
    }
    stage.settle();
    assert_eq!(stage.publish(1, "news", "n", "x").0, 200);
    assert_eq!(stage.publish(1, "news", "n", "x").0, 429);
    stage.settle();
    assert_eq!(stage.publish(0, "news", "n", "x").0, 429);
    stage.pass(SECOND);
    assert_eq!(stage.publish(0, "news", "n", "x").0, 200);
}

#[test]
fn the_connections_of_a_session_count_on_all_processes() {
    let mut stage = Stage::with(2, |config: &mut Config| config.limits.connections_per_session = 2);
    stage.find_site();
    let (a, b) = (stage.visit(0, "session"), stage.visit(1, "session"));
    stage.settle();
    assert_eq!((stage.closed(a), stage.closed(b)), (None, None));
    for process in [0, 1] {
        let third = stage.visit(process, "session");
        assert_eq!(stage.closed(third), Some(4100));
        stage.close(third);
    }
    let other = stage.visit(0, "another");
    assert_eq!(stage.closed(other), None);
    stage.close(a);
    stage.settle();
    let third = stage.visit(1, "session");
    assert_eq!(stage.closed(third), None);
    stage.settle();
    // A process that comes is told of the sessions, too.
    let late = stage.come();
    stage.find_site();
    stage.pass(SECOND);
    let fourth = stage.visit(late, "session");
    assert_eq!(stage.closed(fourth), Some(4100));
}

#[test]
fn without_the_engine_each_process_serves_its_own_clients_and_heals() {
    let mut stage = Stage::new(2);
    let (a, b) = (stage.connect(0), stage.connect(1));
    for (client, user) in [(a, "1"), (b, "2")] {
        stage.join(client, "presence-room", user);
    }
    stage.settle();
    stage.take(a);
    stage.take(b);
    stage.engine.cut = true;
    stage.pass(SECOND);
    stage.publish(0, "presence-room", "n", "waits");
    stage.pass(3 * SECOND);
    assert_eq!(words::events(&stage.take(a)), [("n", "waits")]);
    stage.publish(0, "presence-room", "n", "alone");
    assert_eq!(words::events(&stage.take(a)), [("n", "alone")]);
    assert_eq!(words::events(&stage.take(b)), []);
    assert_eq!(stage.get(0, "/ready", "").0, 200);
    stage.close(b);
    // The lease of the other process is over.
    stage.pass(30 * SECOND);
    assert_eq!(words::members(&stage.take(a)), [("member_removed", "2".into())]);
    stage.engine.cut = false;
    stage.pass(5 * SECOND);
    let c = stage.connect(1);
    stage.join(c, "presence-room", "3");
    stage.settle();
    assert_eq!(words::members(&stage.take(a)), [("member_added", "3".into())]);
    stage.publish(1, "presence-room", "n", "together");
    stage.settle();
    assert_eq!(words::events(&stage.take(a)), [("n", "together")]);
    assert_eq!(words::events(&stage.take(c)), [("n", "together")]);
}

#[test]
fn members_of_a_process_that_ends_leave_at_once_and_of_one_that_dies_after_the_lease() {
    let mut stage = Stage::new(3);
    let clients = [0, 1, 2].map(|process| stage.connect(process));
    for (n, client) in clients.into_iter().enumerate() {
        stage.join(client, "presence-room", &n.to_string());
        stage.settle();
    }
    stage.take(clients[0]);
    stage.drain(1);
    assert_eq!(
        words::members(&stage.take(clients[0])),
        [("member_removed", "1".into())]
    );
    stage.kill(2);
    stage.pass(2 * SECOND);
    assert_eq!(words::members(&stage.take(clients[0])), []);
    stage.pass(30 * SECOND);
    assert_eq!(
        words::members(&stage.take(clients[0])),
        [("member_removed", "2".into())]
    );
    assert_eq!(
        stage.get(0, "/apps/7/channels/presence-room/users", "").1,
        json!({"users": [{"id": "0"}]})
    );
}

#[test]
fn a_process_is_ready_when_it_knows_what_the_others_hold() {
    let mut stage = Stage::new(1);
    stage.engine.cut = true;
    let late = stage.come();
    assert_eq!(stage.get(late, "/ready", "").0, 503);
    stage.engine.cut = false;
    stage.pass(SECOND);
    assert_eq!(stage.get(late, "/ready", "").0, 200);
}

#[test]
fn an_app_that_a_reload_adds_is_shared_too() {
    let second = ("8", "second", "a second secret");
    let mut stage = Stage::new(2);
    stage.change(|config| config.apps.push(crate::config::App::new(second.0, second.1, second.2)));
    stage.reload(0);
    let a = stage.connect_to(0, second.1);
    stage.subscribe(a, "news", None);
    stage.settle();
    // The other process read that before it knew the app.
    stage.reload(1);
    stage.pass(SECOND);
    let (_, connections) = stage.get_as(1, second, "/apps/8/connections");
    assert_eq!(connections, json!({"connections": 1}));
    let b = stage.connect_to(1, second.1);
    stage.subscribe(b, "news", None);
    stage.settle();
    stage.take(a);
    stage.take(b);
    assert_eq!(stage.publish_as(0, second, "news", "n", "x").0, 200);
    stage.settle();
    for client in [a, b] {
        assert_eq!(words::events(&stage.take(client)), [("n", "x")]);
    }
}
