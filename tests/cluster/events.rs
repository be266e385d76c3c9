//! Events of several processes: whoever publishes where, all subscribers receive the same in the same order, once, with
//! the same positions; and a client may change the process.

use std::thread;

use serde_json::{Value, json};

use crate::common::cluster::{enter, process, processes, together, until, wait_for_what_is_shared};
use crate::common::engine::Engine;
use crate::common::pusher::{Session, Site};
use crate::common::wait_until;

/// The positions and data of the next events of a channel.
fn events(session: &mut Session, count: usize) -> Vec<(Value, Value)> {
    let one = |_| {
        let message = until(session, "e");
        assert!(message["id"].is_string(), "without a position: {message}");
        (message["id"].clone(), message["data"].clone())
    };
    (0..count).map(one).collect()
}

#[test]
fn four_processes_deliver_the_same_events_in_the_same_order() {
    let engine = Engine::start();
    let sites = processes::<4>(&engine.url());
    let mut readers: Vec<Session> = sites.iter().map(|site| site.connect_recovering()).collect();
    for reader in &mut readers {
        enter(reader, "news", None);
    }
    const EACH: usize = 100;
    thread::scope(|scope| {
        for (number, site) in sites.iter().enumerate() {
            scope.spawn(move || {
                let mut api = site.api();
                for n in 0..EACH {
                    api.publish("news", "e", &format!("{number}:{n}"));
                }
            });
        }
    });
    let all: Vec<_> = readers.iter_mut().map(|reader| events(reader, 4 * EACH)).collect();
    for other in &all[1..] {
        assert_eq!(*other, all[0], "not the same on all processes");
    }
    for number in 0..4 {
        let prefix = format!("{number}:");
        let of_one: Vec<_> = all[0]
            .iter()
            .filter_map(|(_, data)| data.as_str()?.strip_prefix(&prefix))
            .collect();
        let wanted: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
        assert_eq!(of_one, wanted, "the order of process {number}");
    }
    for reader in &mut readers {
        reader.expect_pong();
    }
}

#[test]
fn a_client_that_changes_the_process_gets_exactly_what_it_missed() {
    let engine = Engine::start();
    let mut sites = Vec::from(processes::<2>(&engine.socket_url()));
    let mut session = sites[0].connect_recovering();
    enter(&mut session, "news", None);
    sites[0].api().publish("news", "e", "1");
    let since = until(&mut session, "e")["id"].clone();
    drop(session);
    sites[1].api().publish("news", "e", "2").publish("news", "e", "3");
    wait_for_what_is_shared(&sites[1], &sites[0]);
    sites[0].api().publish("news", "e", "4");
    // Also to a process that was started since then.
    sites.push(process(&engine.socket_url()));
    together(&sites);
    for site in &sites {
        let mut session = site.connect_recovering();
        session.say_subscribe(json!({"channel": "news", "since": since}));
        let confirmed = session.next();
        assert_eq!(confirmed["recovered"], true, "{confirmed}");
        let got: Vec<_> = events(&mut session, 3).into_iter().map(|(_, data)| data).collect();
        assert_eq!(got, ["2", "3", "4"]);
        session.expect_pong();
    }
}

#[test]
fn after_the_loss_of_the_engine_there_is_an_honest_gap() {
    let mut engine = Engine::start();
    let sites = processes::<2>(&engine.url());
    let mut session = sites[0].connect_recovering();
    enter(&mut session, "news", None);
    sites[0].api().publish("news", "e", "1");
    let since = until(&mut session, "e")["id"].clone();
    drop(session);
    // A client that comes before the process knows of the loss is sent away.
    let joins = |site: &Site| {
        let log = site.server.log();
        log.matches("belongs to the cluster").count() + log.matches("The engine works again").count()
    };
    let before = sites.each_ref().map(joins);
    engine.restart();
    for (site, before) in sites.iter().zip(before) {
        wait_until(
            "the process has joined again",
            || joins(site) > before,
            || site.server.log(),
        );
    }
    together(&sites);
    let mut session = sites[1].connect_recovering();
    let confirmed = enter(&mut session, "news", Some(&since));
    assert_eq!(confirmed["recovered"], false, "{confirmed}");
    sites[0].api().publish("news", "e", "2");
    assert_eq!(until(&mut session, "e")["data"], "2");
}

#[test]
fn the_sender_is_left_out_and_clients_events_pass_to_the_other_processes() {
    let engine = Engine::start();
    let [a, b] = processes(&engine.url());
    let (mut mine, mut theirs) = (a.connect(), b.connect());
    mine.subscribe("private-chat");
    theirs.subscribe("private-chat");
    let socket = mine.socket_id.clone();
    let event = json!({"name": "e", "channel": "private-chat", "data": "1", "socket_id": socket});
    b.api().trigger(event);
    theirs.expect_event("private-chat", "e", "1");
    mine.whisper("private-chat", "client-wave", json!({"x": 1}));
    theirs.expect(json!({"event": "client-wave", "channel": "private-chat", "data": {"x": 1}}));
    a.api().publish("private-chat", "e", "2");
    mine.expect_event("private-chat", "e", "2");
    theirs.expect_event("private-chat", "e", "2");
}

#[test]
fn the_last_event_of_a_cache_channel_is_cached_on_all_processes() {
    let engine = Engine::start();
    let [a, b] = processes(&engine.url());
    let mut early = b.connect();
    early.subscribe("cache-weather").expect_cache_miss("cache-weather");
    a.api().publish("cache-weather", "e", "1");
    early.expect_event("cache-weather", "e", "1");
    let late = process(&engine.url());
    let sites = [a, b, late];
    together(&sites);
    for site in &sites {
        let mut session = site.connect();
        session
            .subscribe("cache-weather")
            .expect_event("cache-weather", "e", "1");
    }
}

#[test]
fn a_user_is_terminated_wherever_the_connections_are() {
    let engine = Engine::start();
    let [a, b] = processes(&engine.url());
    let mut both = [a.connect(), b.connect()];
    for session in &mut both {
        session.sign_in(r#"{"id":"7"}"#);
    }
    a.api().ask("POST", "/users/7/terminate_connections", &[], "{}");
    for session in &mut both {
        while session.peer.any_frame().0 != crate::common::frame::CLOSE {}
    }
}
