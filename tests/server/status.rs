//! The state of a running server, `GET /debug/status`: the numbers are right, and only administrators see them.
//! `joomla/component.rs` has the sessions of a site.

use serde_json::{Value, json};

use crate::common::{Peer, Server, wait_until};

const TOKEN: &str = "an-admin-token-of-this-test";

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

fn server() -> Server {
    Server::start(&format!("[server]\nadmin_token = \"{TOKEN}\"\n{APP}"))
}

/// The state, asked for with the token.
fn status(server: &Server) -> Value {
    let request = format!("GET /debug/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let reply = Peer::connect(server).send(request).expect_status(200);
    assert_eq!(reply.header("content-type"), Some("application/json"), "{}", reply.head);
    serde_json::from_str(&reply.body).expect("JSON")
}

/// Waits until a part of the state is so.
fn wait_for(server: &Server, part: &str, wanted: &Value) {
    let now = || status(server).pointer(part).cloned().unwrap_or_default();
    wait_until(
        &format!("{part} is {wanted}"),
        || now() == *wanted,
        || now().to_string(),
    );
}

/// A subscriber of `news`.
fn subscriber(server: &Server) -> Peer {
    let mut peer = Peer::upgrade(server, "/app/ka?protocol=7");
    peer.next_frame();
    peer.text(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    peer.next_frame();
    peer
}

#[test]
fn connections_are_counted_by_kind_and_apps_by_what_they_hold() {
    let server = server();
    let state = status(&server);
    assert_eq!(state["product"], "jsocketd");
    assert_eq!(state["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(state["pid"], server.pid);
    assert_eq!(state["config_file"], server.config_path().to_str().expect("UTF-8"));
    assert_eq!(state["draining"], false);
    assert_eq!(
        [&state["site"], &state["database"], &state["outbox"]],
        [&Value::Null; 3]
    );
    assert_eq!(state["webhooks"]["waiting"], 0);

    let _http = Peer::connect(&server);
    let _console = Peer::upgrade(&server, "/");
    let _echo = [Peer::upgrade(&server, "/echo"), Peer::upgrade(&server, "/echo")];
    let mut subscribers: Vec<Peer> = (0..3).map(|_| subscriber(&server)).collect();
    // The request itself comes by HTTP.
    wait_for(&server, "/connections/http", &json!(2));
    let state = status(&server);
    let mut connections = state["connections"].clone();
    assert!(connections["max"].as_u64() > Some(100), "{connections}");
    connections["max"] = json!(0);
    assert_eq!(
        connections,
        json!({"total": 8, "max": 0, "http": 2, "websockets": 6, "console": 1, "echo": 2, "pusher": 3, "closing": 0})
    );
    let app = &state["apps"][0];
    assert_eq!([&app["id"], &app["enabled"]], [&json!("a"), &json!(true)]);
    for (what, count) in [
        ("connections", 3),
        ("channels", 1),
        ("subscriptions", 3),
        ("members", 0),
    ] {
        assert_eq!(app[what], count, "{what}");
    }
    assert!(app["subscription_bytes"].as_u64() > Some(100), "{app}");
    assert_eq!(state["descriptors"], server.fds());
    assert!(state["descriptor_limit"].as_u64() >= state["connections"]["max"].as_u64());
    let rss = server.rss() as u64;
    let shown = state["resident_bytes"].as_u64().expect("bytes");
    assert!(shown.abs_diff(rss) < rss / 4, "{shown} and {rss}");

    subscribers.pop();
    wait_for(&server, "/apps/0/subscriptions", &json!(2));
    wait_for(&server, "/connections/closing", &json!(0));
    wait_for(&server, "/connections/pusher", &json!(2));
}

/// A fan-out to N connections counts N, for the console's `stats` too.
#[test]
fn messages_out_are_deliveries() {
    let server = server();
    let mut subscribers: Vec<Peer> = (0..5).map(|_| subscriber(&server)).collect();
    let mut console = Peer::upgrade(&server, "/");
    console.text(&format!("token {TOKEN}")).next_frame();
    let before = status(&server)["traffic"].clone();
    console.text(r#"publish news saved {"id":1}"#).expect_text("Published.");
    for subscriber in &mut subscribers {
        subscriber.next_frame();
    }
    let traffic = status(&server)["traffic"].clone();
    let grew = |what: &str| traffic[what].as_u64().expect("a count") - before[what].as_u64().expect("a count");
    assert_eq!(grew("messages_in"), 1);
    assert_eq!(grew("messages_out"), 5 + 1, "five copies and the reply");
    assert_eq!(grew("requests"), 1, "the second request for the state");
    assert!(traffic["per_second"]["messages_out"].as_f64() > Some(0.0), "{traffic}");
    let (_, stats) = console.text("stats").next_frame();
    let stats: Value = serde_json::from_slice(&stats).expect("JSON");
    assert_eq!(stats["messages_out"], traffic["messages_out"]);
}

#[test]
fn the_state_is_guarded_as_the_page_is() {
    let server = server();
    for path in ["/", "/debug/status"] {
        for (lines, status) in [
            (String::new(), 401),
            ("Authorization: Bearer wrong\r\n".to_owned(), 401),
            (format!("Authorization: Bearer {TOKEN}\r\n"), 200),
            (
                format!("Authorization: Bearer {TOKEN}\r\nOrigin: https://evil.example\r\n"),
                401,
            ),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
            let reply = Peer::connect(&server).send(request).expect_status(status);
            let asks = reply.header("www-authenticate");
            assert_eq!(asks.is_some(), status == 401, "{path} {lines}: {}", reply.head);
            assert!(status == 200 || !reply.body.contains("uptime"), "{}", reply.body);
        }
        let post = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let reply = Peer::connect(&server).send(post).expect_status(405);
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
    let closed = Server::start(APP);
    let request = "GET /debug/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let reply = Peer::connect(&closed).send(request).expect_status(403);
    assert!(
        reply.body.contains("set admin_token, or admin_listen"),
        "{}",
        reply.body
    );
    let open = Server::start_defaults();
    let reply = Peer::connect(&open).send(request).expect_status(200);
    assert!(reply.body.contains("\"config_file\":null"), "{}", reply.body);
    let foreign = request.replace("localhost", "evil.example");
    Peer::connect(&open).send(foreign).expect_status(421);
    let head = request.replace("GET", "HEAD");
    let reply = Peer::connect(&open).send(format!("{head}{request}")).head();
    assert!(reply.head.starts_with("HTTP/1.1 200"), "{}", reply.head);
}
