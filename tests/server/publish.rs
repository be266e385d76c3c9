//! `jsocketd publish` end to end: the event of a subscriber, and the message at the terminal when an event is not
//! delivered.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::common::ports::close;
use crate::common::{PATIENCE, Peer, Server};

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

/// The output for an event that one connection gets.
const TO_ONE: &str = "published to 1 connection";

/// A server with one app.
fn server() -> Server {
    Server::start(APP)
}

/// Runs `jsocketd publish` with this standard input.
fn publish(flags: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command.env_clear().arg("publish").args(flags);
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("jsocketd runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A run that does not read its input may have ended before.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("jsocketd ends")
}

/// The flags that name a server and its configuration.
fn to(server: &Server) -> [String; 4] {
    let config = server.config_path();
    let config = config.to_str().expect("a UTF-8 path").to_owned();
    [
        "--config".into(),
        config,
        "--url".into(),
        format!("http://{}", server.addr),
    ]
}

/// Publishes, which must succeed and say this.
fn published(server: &Server, flags: &[&str], input: &str, said: &str) {
    let to = to(server);
    let flags: Vec<_> = flags.iter().copied().chain(to.iter().map(String::as_str)).collect();
    let output = publish(&flags, input);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!((output.status.code(), out.trim_end(), &*err), (Some(0), said, ""));
}

/// Publishes, which must fail with one complaint on one line.
fn complaint(flags: &[&str]) -> String {
    complaint_about(flags, "")
}

/// The same with this standard input.
fn complaint_about(flags: &[&str], input: &str) -> String {
    let output = publish(flags, input);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{err}");
    let line = err.strip_prefix("jsocketd: ").and_then(|rest| rest.strip_suffix('\n'));
    line.filter(|line| !line.contains('\n'))
        .unwrap_or_else(|| panic!("not one complaint: {err}"))
        .to_owned()
}

/// A subscriber of `news`, and its socket id.
fn subscriber(server: &Server, key: &str) -> (Peer, String) {
    let mut peer = Peer::upgrade(server, &format!("/app/{key}?protocol=7"));
    let established = json(&mut peer);
    assert_eq!(established["event"], "pusher:connection_established");
    let data: serde_json::Value = serde_json::from_str(established["data"].as_str().expect("a string")).expect("JSON");
    peer.text(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    assert_eq!(json(&mut peer)["event"], "pusher_internal:subscription_succeeded");
    (peer, data["socket_id"].as_str().expect("a string").to_owned())
}

fn json(peer: &mut Peer) -> serde_json::Value {
    serde_json::from_slice(&peer.next_frame().1).expect("JSON")
}

#[test]
fn a_subscriber_gets_the_data_as_it_was_typed() {
    let server = server();
    let (mut peer, _) = subscriber(&server, "ka");
    for (data, input, wanted) in [
        ("{\"a\": 1e400}", "", "{\"a\": 1e400}"),
        (
            "not JSON, \"quoted\"\tü\u{1f600}",
            "",
            "not JSON, \"quoted\"\tü\u{1f600}",
        ),
        ("-1.5", "", "-1.5"),
        ("", "", ""),
        ("-", "from\nstandard input\n", "from\nstandard input\n"),
    ] {
        published(&server, &["news", "App\\Events\\X", data], input, TO_ONE);
        let event = json(&mut peer);
        assert_eq!(
            (&event["event"], &event["channel"]),
            (&"App\\Events\\X".into(), &"news".into())
        );
        assert_eq!(event["data"], wanted);
    }
}

#[test]
fn the_connection_that_is_named_is_left_out() {
    let server = server();
    let ((mut one, id), (mut other, _)) = (subscriber(&server, "ka"), subscriber(&server, "ka"));
    let except = ["news", "first", "1", "--socket-id", &id];
    published(&server, &except, "", TO_ONE);
    published(&server, &["news", "second", "2"], "", "published to 2 connections");
    published(
        &server,
        &["nobody-hears-it", "third", "3"],
        "",
        "published to 0 connections",
    );
    assert_eq!(json(&mut one)["event"], "second");
    assert_eq!(json(&mut other)["event"], "first");
}

#[test]
fn one_of_several_apps_must_be_named() {
    let other = APP.replace("\"a\"", "\"b\"").replace("\"ka\"", "\"kb\"");
    let server = Server::start(&format!("{APP}{other}"));
    let (mut peer, _) = subscriber(&server, "kb");
    let to = to(&server);
    let to: Vec<_> = ["news", "x", "1"]
        .into_iter()
        .chain(to.iter().map(String::as_str))
        .collect();
    assert_eq!(
        complaint(&to),
        "the configuration has several apps (a, b): name one with --app"
    );
    assert_eq!(
        complaint(&[&to[..], &["--app", "c"]].concat()),
        "the configuration has no app \"c\", but a, b"
    );
    published(&server, &["news", "x", "1", "--app", "b"], "", TO_ONE);
    assert_eq!(json(&mut peer)["event"], "x");
}

#[test]
fn the_embedded_defaults_fit_each_other() {
    if std::path::Path::new("/etc/jsocketd/jsocketd.toml").exists() {
        return eprintln!("SKIPPED: /etc/jsocketd/jsocketd.toml exists, so there are no embedded defaults here");
    }
    let server = Server::start_defaults();
    let (mut peer, _) = subscriber(&server, "jsocketd-key");
    let output = publish(&["news", "x", "1", "--url", &format!("http://{}", server.addr)], "");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json(&mut peer)["event"], "x");
}

#[test]
fn the_server_s_refusal_is_shown() {
    let server = server();
    let url = format!("http://{}", server.addr);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, APP.replace("abcdef", "fedcba")).expect("written");
    let wrong = complaint(&[
        "news",
        "x",
        "1",
        "--url",
        &url,
        "--config",
        path.to_str().expect("UTF-8"),
    ]);
    assert!(
        wrong.starts_with(&format!("{url} refused it with 401: Invalid signature")),
        "{wrong}"
    );
    assert!(!wrong.contains("0123456789"), "{wrong}");

    let to = to(&server);
    let to: Vec<_> = to.iter().map(String::as_str).collect();
    let refused = |first: &[&str]| complaint(&[first, &to].concat());
    assert!(refused(&["a b", "x", "1"]).starts_with(&format!("{url} refused it with 400: ")));
    assert!(refused(&["news", "pusher:x", "1"]).starts_with(&format!("{url} refused it with 400: ")));
    assert!(refused(&["news", "x", &"1".repeat(10_241)]).starts_with(&format!("{url} refused it with 413: ")));
    assert!(refused(&["news", "x", "1", "--socket-id", "me"]).starts_with(&format!("{url} refused it with 400: ")));
}

#[test]
fn a_missing_or_foreign_server_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("a.toml");
    let listener = TcpListener::bind("127.0.0.2:0").expect("a port that no other test takes over");
    let addr = listener.local_addr().expect("bound");
    // Without --url the first listener of the configuration is asked, below the path of [pusher].
    std::fs::write(
        &config,
        format!("[server]\nlisten = [\"{addr}\"]\n[pusher]\npath = \"/ws\"\n{APP}"),
    )
    .expect("written");
    let flags = ["news", "x", "1", "--config", config.to_str().expect("UTF-8")];
    let answers = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwelcome\r\n",
            "answered 200, but not as the Pusher HTTP API does; is --url right?",
        ),
        ("220 mail.example.org ESMTP\r\n", "does not answer in HTTP"),
        ("", "it closed the connection without an answer"),
    ];
    for (answer, wanted) in answers {
        let heard = std::thread::scope(|scope| {
            let server = scope.spawn(|| answer_once(&listener, answer));
            let told = complaint(&flags);
            assert!(
                told.starts_with(&format!("http://{addr}")) && told.ends_with(wanted),
                "{told}"
            );
            server.join().expect("the other server")
        });
        let start = "POST /ws/apps/a/events?auth_key=ka&auth_timestamp=";
        assert!(
            heard.starts_with(start) && heard.contains(&format!("\r\nHost: {addr}\r\n")),
            "{heard}"
        );
    }
    close(listener);
    let told = complaint(&flags);
    assert!(
        told.starts_with(&format!("http://{addr}: Connection refused")),
        "{told}"
    );
}

#[test]
fn an_answer_counts_that_comes_before_the_whole_request_was_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("a.toml");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    std::fs::write(&config, format!("[server]\nlisten = [\"{addr}\"]\n{APP}")).expect("written");
    let flags = ["news", "x", "-", "--config", config.to_str().expect("UTF-8")];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.read_exact(&mut [0; 100]).expect("the beginning of a request");
            // It is closed with the rest unread, so the sender gets a reset.
            stream
                .write_all(b"HTTP/1.1 413 X\r\nContent-Length: 21\r\n\r\n{\"error\":\"too large\"}")
                .expect("an answer");
        });
        let told = complaint_about(&flags, &"x".repeat(1 << 20));
        assert_eq!(told, format!("http://{addr} refused it with 413: too large"));
    });
}

/// Takes one connection, reads a request with a JSON body, says this and closes.
fn answer_once(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    while !heard.ends_with(b"}") {
        let len = stream.read(&mut buffer).expect("a request");
        assert!(len > 0, "a whole request");
        heard.extend_from_slice(&buffer[..len]);
    }
    stream.write_all(answer.as_bytes()).expect("an answer");
    String::from_utf8(heard).expect("UTF-8")
}

#[test]
fn nothing_is_published_without_an_app_or_an_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let empty = file("empty.toml", "");
    assert!(
        complaint(&["c", "e", "d", "--config", &empty]).starts_with("the configuration has no app: write [[apps]]")
    );
    let unix = file(
        "unix.toml",
        &format!("[server]\nlisten = [\"unix:/run/x.sock\"]\n{APP}"),
    );
    assert!(complaint(&["c", "e", "d", "--config", &unix]).ends_with("--url http://HOST:PORT"));
    let query = complaint(&["c", "e", "d", "--config", &unix, "--url", "http://127.0.0.1:1/?x"]);
    assert_eq!(query, "--url must end before its ?");
    let bad = file("bad.toml", "[[apps]]");
    assert_eq!(
        complaint(&["c", "e", "d", "--config", &bad]),
        format!("{bad}:1:1: [[apps]] lacks `id` and `key` and `secret`")
    );
    let secret = publish(&["c", "e", "d", "--url", "https://me:hunter2@example.org"], "");
    let err = String::from_utf8_lossy(&secret.stderr);
    assert!(
        secret.status.code() == Some(2) && err.contains("it must not hold a user name or password"),
        "{err}"
    );
}
