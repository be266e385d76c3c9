//! Webhooks of a cluster: one process sends each of them, in the order of the log, and another one takes over when it
//! dies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::PATIENCE;
use crate::common::cluster::{cluster, process_with, together, wait_for_standing};
use crate::common::engine::Engine;
use crate::common::pusher::{Settings, Site};

/// A target; its url, and the events that it was told.
fn target() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
    let (sender, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                loop {
                    let (mut length, mut line) = (0, String::new());
                    while stream.read_line(&mut line).is_ok_and(|n| n > 2) {
                        if let Some(value) = line.strip_prefix("Content-Length: ") {
                            length = value.trim().parse().expect("a number");
                        }
                        line.clear();
                    }
                    let mut body = vec![0; length];
                    if length == 0 || stream.read_exact(&mut body).is_err() {
                        return;
                    }
                    let body: Value = serde_json::from_slice(&body).expect("JSON");
                    for event in body["events"].as_array().expect("a list") {
                        // The test may be over.
                        let _ = sender.send(event.clone());
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    if stream.get_mut().write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, told)
}

fn start(engine: &Engine, target: &str) -> Site {
    let more = format!(
        "[[apps.webhooks]]\nurl = \"{target}\"\nevents = [\"channel_occupied\", \"channel_vacated\", \"member_added\", \
         \"member_removed\", \"client_event\", \"cache_miss\"]\n"
    );
    let settings = Settings {
        more: &more,
        ..Settings::default()
    };
    process_with(&engine.url(), "", settings)
}

fn next(told: &Receiver<Value>) -> Value {
    told.recv_timeout(PATIENCE).expect("a webhook comes")
}

#[test]
fn each_webhook_of_two_processes_is_sent_once() {
    let engine = Engine::start();
    let (url, told) = target();
    let sites = [start(&engine, &url), start(&engine, &url)];
    together(&sites);
    let (mut ann, mut bob) = (sites[0].connect(), sites[1].connect());
    ann.join("presence-room", "ann");
    assert_eq!(
        next(&told),
        json!({"name": "channel_occupied", "channel": "presence-room"})
    );
    assert_eq!(
        next(&told),
        json!({"name": "member_added", "channel": "presence-room", "user_id": "ann"})
    );
    bob.join("presence-room", "bob");
    assert_eq!(
        next(&told),
        json!({"name": "member_added", "channel": "presence-room", "user_id": "bob"})
    );
    bob.whisper("presence-room", "client-wave", json!(1));
    let wave = next(&told);
    assert_eq!(
        (&wave["name"], &wave["user_id"]),
        (&json!("client_event"), &json!("bob")),
        "{wave}"
    );
    // A user with connections on both processes leaves when the last one ends.
    let mut tab = sites[1].connect();
    tab.join("presence-room", "ann");
    drop(ann);
    drop(bob);
    assert_eq!(
        next(&told),
        json!({"name": "member_removed", "channel": "presence-room", "user_id": "bob"})
    );
    drop(tab);
    let mut last = [next(&told), next(&told)].map(|event| event["name"].clone());
    last.sort_by_key(Value::to_string);
    assert_eq!(last, ["channel_vacated", "member_removed"]);
    // Nothing came twice: the next one is of another channel.
    let mut carl = sites[0].connect();
    carl.subscribe("last");
    assert_eq!(next(&told), json!({"name": "channel_occupied", "channel": "last"}));
}

#[test]
fn another_process_sends_them_when_the_leader_dies() {
    let engine = Engine::start();
    let (url, told) = target();
    let mut sites = vec![start(&engine, &url), start(&engine, &url)];
    together(&sites);
    let leads = sites
        .iter()
        .position(|site| cluster(site)["leads"] == true)
        .expect("one of them leads");
    let mut leader = sites.remove(leads);
    let mut theirs = leader.connect();
    theirs.join("presence-room", "dead");
    assert_eq!(next(&told)["name"], "channel_occupied");
    assert_eq!(next(&told)["name"], "member_added");
    let mut mine = sites[0].connect();
    leader.server.signal(Signal::KILL);
    leader.server.ended();
    // While nobody knows of the death.
    mine.subscribe("news");
    wait_for_standing(&sites[0], "together", 1);
    assert_eq!(cluster(&sites[0])["leads"], true);
    let mut seen = Vec::new();
    let wanted = [
        json!({"name": "channel_occupied", "channel": "news"}),
        json!({"name": "member_removed", "channel": "presence-room", "user_id": "dead"}),
        json!({"name": "channel_vacated", "channel": "presence-room"}),
    ];
    // What the dead one sent last may be sent again.
    while !wanted.iter().all(|event| seen.contains(event)) {
        seen.push(next(&told));
    }
    for event in &wanted {
        assert_eq!(seen.iter().filter(|other| *other == event).count(), 1, "{seen:?}");
    }
}
