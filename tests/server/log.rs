//! The log: its first line, the filter of `RUST_LOG`, and at debug a line with the connection's id for everything that
//! a client does. No line holds a payload, a cookie, a token or a secret.
//!
//! Levels and reloads are in `reload.rs`, the escaping of control characters in the unit tests of `logging`.

use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::common::pusher::{KEY, SECRET, Session, Settings, Site};
use crate::common::server::Server;
use crate::common::{Peer, wait_until};
use crate::outgoing::request;

#[test]
fn the_first_line_names_version_process_configuration_and_listeners() {
    let toml = "[server]\nadmin_listen = \"127.0.0.1:0\"\n";
    let server = Server::start(toml);
    let (log, pid, file) = (server.log(), server.pid, server.config_path());
    let first = log.lines().next().expect("a first line");
    let version = env!("CARGO_PKG_VERSION");
    let commit = jsocketd::COMMIT.map_or_else(String::new, |commit| format!(" (commit {commit})"));
    let file = file.display();
    let wanted = format!(
        " INFO  jsocketd {version}{commit} starts: process {pid}, configuration {file}, \
         listeners 127.0.0.1:0, 127.0.0.1:0 for administrators"
    );
    let (time, rest) = first.split_at(first.find(' ').expect("a time"));
    assert_eq!(rest, wanted);
    // 2026-11-30T07:29:39.123Z
    assert!(
        time.len() == 24 && time.as_bytes()[19] == b'.' && time.ends_with('Z'),
        "{time}"
    );

    let first = Server::start_defaults().log();
    let first = first.lines().next().unwrap_or_default();
    assert!(
        first.contains(", the embedded defaults, listeners 127.0.0.1:0"),
        "{first}"
    );
}

#[test]
fn a_wrong_rust_log_ends_the_start_and_names_the_word() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jsocketd.toml");
    fs::write(&file, "").expect("the configuration is written");
    for (filter, word) in [("debgu", "`debgu`"), ("info,jsocketd::hub=loud", "`loud`")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command.arg("--config").arg(&file).args(["--listen", "127.0.0.1:0"]);
        let output = command
            .env("RUST_LOG", filter)
            .output()
            .expect("the server's binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("jsocketd: RUST_LOG: ") && said.contains(word),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// What must never be in the log, in every place where a client can put it.
const MARKER: &str = "MARKER";

/// The sentences at debug, without time, level and module.
fn sentences(server: &Server) -> Vec<String> {
    let log = server.log();
    let debug = log.lines().filter(|line| line.contains(" DEBUG jsocketd::"));
    debug
        .filter_map(|line| Some(line.split_once(": ")?.1.to_owned()))
        .collect()
}

/// Waits until a sentence has all these parts. The first one is its beginning, behind the id of a connection if it
/// begins with a space.
fn expect_sentence(server: &Server, parts: &[&str]) {
    let has = |sentence: &String| {
        let rest = match parts[0].starts_with(' ') {
            true => sentence
                .strip_prefix('#')
                .map_or("", |rest| rest.trim_start_matches(|c| c != ' ')),
            false => sentence.as_str(),
        };
        rest.starts_with(parts[0]) && parts.iter().all(|part| rest.contains(part))
    };
    let what = format!("a line at debug with {parts:?}");
    wait_until(&what, || sentences(server).iter().any(has), || server.log());
}

/// A target of webhooks that accepts every post.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/hook?{MARKER}-QUERY",
        listener.local_addr().expect("an address")
    );
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            while request(&mut stream).is_some() {
                let answered = stream
                    .get_mut()
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                answered.expect("the server takes the answer");
            }
        }
    });
    url
}

#[test]
fn everything_that_a_client_does_has_a_line_with_its_facts_and_no_secret() {
    let hook = format!(
        "[[apps.webhooks]]\nurl = \"{}\"\nevents = [\"channel_occupied\"]\nheaders = [\"X-Token: {MARKER}\"]\n",
        receiver()
    );
    let site = Site::with(Settings {
        server: "log_level = \"debug\"\nadmin_token = \"MARKER-ADMIN-TOKEN\"\n",
        more: &hook,
        ..Settings::default()
    });
    let server = &site.server;

    // A connection and its requests.
    let mut browser = Peer::connect(server);
    let head = "HTTP/1.1\r\nHost: localhost\r\nCookie: session=MARKER-COOKIE\r\nX-Forwarded-For: 203.0.113.9\r\n";
    browser
        .send(format!("GET /health?{MARKER}-QUERY {head}\r\n"))
        .expect_status(200);
    expect_sentence(server, &[" came from 127.0.0.1 by listener 0"]);
    expect_sentence(server, &[" GET /health from 203.0.113.9: 200, 6 bytes, ", " ms"]);
    let post = format!("POST /nothing {head}Content-Length: 6\r\n\r\n{MARKER}");
    browser.send(post).expect_status(404);
    expect_sentence(server, &[" POST /nothing from 203.0.113.9: 404, "]);
    let wrong = format!("GET / {head}Accept: text/html\r\nAuthorization: Bearer {MARKER}-WRONG\r\n\r\n");
    browser.send(wrong).expect_status(401);
    expect_sentence(server, &[" shows a wrong admin token"]);
    expect_sentence(server, &[" GET / from 203.0.113.9: 401, "]);
    expect_sentence(
        server,
        &[" ended after its last answer; it was here from 203.0.113.9 for "],
    );
    Peer::connect(server)
        .send(format!("GET / {MARKER}\r\n\r\n"))
        .expect_status(400);
    expect_sentence(
        server,
        &[" sent a bad request: 400 ", "; it was here from 127.0.0.1 for "],
    );

    // WebSockets: echo and console.
    let mut echo = Peer::upgrade(server, &format!("/echo?{MARKER}"));
    echo.text(MARKER)
        .expect_text(MARKER)
        .close(1000, MARKER)
        .expect_close(1000);
    expect_sentence(server, &[" GET /echo from 127.0.0.1: 101, 0 bytes, "]);
    expect_sentence(
        server,
        &[" was closed by its peer with 1000; it was here from 127.0.0.1 for "],
    );
    let mut console = Peer::upgrade(server, "/");
    for command in ["version", MARKER, "token MARKER-WRONG", "token MARKER-ADMIN-TOKEN"] {
        console.text(command).next_frame();
    }
    console.text(&format!("publish news said {MARKER}")).next_frame();
    expect_sentence(server, &[" gives the command version"]);
    expect_sentence(server, &[" gives the command that is unknown"]);
    expect_sentence(server, &[" shows a token: Not allowed: wrong token."]);
    expect_sentence(server, &[" shows a token: Allowed: "]);
    expect_sentence(server, &[" gives the command publish"]);
    expect_sentence(server, &["said is published to news of 4711"]);

    // A client of the Pusher protocol.
    let mut anna = Session::open(&site, &format!("protocol=7&client={MARKER}"));
    let socket = format!(" is socket {} of the app 4711", anna.socket_id);
    expect_sentence(server, &[&socket]);
    expect_sentence(server, &[" GET /app/site-key from 127.0.0.1: 101, "]);
    anna.sign_in(&json!({"id": "42", "user_info": {"name": MARKER}}).to_string());
    expect_sentence(server, &[" is signed in as user 42"]);
    anna.subscribe("news").subscribe("private-room");
    let mut bob = site.connect();
    bob.subscribe("private-room");
    bob.join_with(
        "presence-room",
        &json!({"user_id": "7", "user_info": {"name": MARKER}}).to_string(),
    );
    expect_sentence(server, &[" subscribes to news (open to everybody)"]);
    expect_sentence(server, &[" subscribes to private-room (by its signature)"]);
    expect_sentence(server, &[" subscribes to presence-room (by its signature) as member 7"]);
    expect_sentence(server, &["webhook http://127.0.0.1:", "/hook is sent one of 1 events"]);
    expect_sentence(server, &["webhook http://127.0.0.1:", "/hook has taken an event"]);
    bob.whisper("private-room", "client-typing", json!(MARKER))
        .expect_nothing();
    anna.next();
    expect_sentence(server, &[" sends client-typing to private-room"]);
    anna.whisper("presence-room", "client-typing", json!(MARKER))
        .expect_error();
    expect_sentence(
        server,
        &[" may not send a client event: No current subscription to channel presence-room"],
    );
    site.api().publish("news", "told", MARKER);
    anna.next();
    expect_sentence(server, &["told is published to news of 4711"]);
    expect_sentence(server, &[" POST /apps/4711/events from 127.0.0.1: 200, 2 bytes, "]);
    let mut stranger = site.api();
    stranger.secret = "another secret".to_owned();
    assert_eq!(stranger.send("POST", "/events", &[], MARKER).status, 401);
    expect_sentence(server, &[" POST /apps/4711/events from 127.0.0.1: 401, "]);
    anna.unsubscribe("private-room").expect_nothing();
    expect_sentence(server, &[" leaves private-room"]);

    // Refusals.
    let wrong = format!("{KEY}:{MARKER}-SIGNATURE");
    let data = json!({"user_id": "9", "user_info": MARKER}).to_string();
    bob.say_subscribe(json!({"channel": "presence-other", "auth": wrong, "channel_data": data}));
    bob.expect_refused("presence-other");
    expect_sentence(server, &[" may not be subscribed to presence-other: AuthError"]);
    bob.ask("private-with spaces").expect_refused("private-with spaces");
    expect_sentence(
        server,
        &[" may not be subscribed to private-with spaces: InvalidChannel, "],
    );
    bob.say(json!({"event": "pusher:signin", "data": {"auth": wrong, "user_data": data}}))
        .expect_error();
    expect_sentence(server, &[" is not signed in: the key or the signature is wrong"]);
    bob.say(json!({"event": "jsocketd:form_token", "data": {"form_token": MARKER}}))
        .expect_error();
    expect_sentence(server, &[" has shown no right form token: there is no site "]);
    let _unknown = site.upgrade("/app/no-such-key?protocol=7");
    expect_sentence(
        server,
        &[" is closed: 4001 Application does not exist; it was here from 127.0.0.1 for "],
    );

    // Ends.
    anna.peer.close(1001, MARKER);
    let end = " was closed by its peer with 1001; it was here from 127.0.0.1 as user 42 of the app 4711 for ";
    expect_sentence(server, &[end]);
    bob.peer.send([0xff; 8]);
    let end = " broke the protocol: 1002 ";
    expect_sentence(
        server,
        &[end, "; it was here from 127.0.0.1 as a guest of the app 4711 for "],
    );
    server.signal(Signal::TERM);
    expect_sentence(server, &[" is closed: 1001 the server is shutting down; it was here "]);

    let log = server.log();
    for secret in [MARKER, SECRET, "auth_", "?"] {
        assert!(!log.contains(secret), "{secret} stands in the log:\n{log}");
    }
}
