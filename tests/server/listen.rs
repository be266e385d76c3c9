//! `jsocketd listen` end to end: what it prints, what it signs, when it connects again, and how it ends.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::common::ports::nobody;
use crate::common::{PATIENCE, Peer, Server, wait_until};

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\nclient_events = true\n";

/// A listener at work. It is killed with the test.
struct Listening {
    child: Child,
    out: Option<Lines<BufReader<ChildStdout>>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Listening {
    fn start(server: &Server, channels: &[&str]) -> Self {
        let config = server.config_path();
        Self::start_at(
            &format!("http://{}", server.addr),
            config.to_str().expect("UTF-8"),
            channels,
        )
    }

    fn start_at(url: &str, config: &str, channels: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command
            .env_clear()
            .arg("listen")
            .args(["--url", url, "--config", config]);
        let piped = command.args(channels).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("jsocketd runs");
        Self {
            out: Some(BufReader::new(child.stdout.take().expect("a pipe")).lines()),
            err: BufReader::new(child.stderr.take().expect("a pipe")).lines(),
            child,
        }
    }

    /// The next line of standard output.
    fn event(&mut self) -> Value {
        let line = self.out.as_mut().expect("not closed").next();
        serde_json::from_str(&line.expect("a line").expect("UTF-8")).expect("JSON")
    }

    /// The next line of standard error.
    fn said(&mut self) -> String {
        self.err.next().expect("a line").expect("UTF-8")
    }

    /// Waits for its end, without another line of output. Returns the exit code.
    fn ended(&mut self) -> i32 {
        if let Some(out) = &mut self.out {
            assert!(out.next().is_none(), "it prints nothing more");
        }
        self.child.wait().expect("it ends").code().expect("it ends by itself")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
    }
}

/// Publishes by the command.
fn publish(server: &Server, channel: &str, event: &str, data: &str) -> String {
    let url = format!("http://{}", server.addr);
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command
        .env_clear()
        .args(["publish", channel, event, data, "--url", &url]);
    let output = command
        .arg("--config")
        .arg(server.config_path())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn events_are_printed_as_they_come_and_a_signal_ends_it_well() {
    let server = Server::start(APP);
    let mut listening = Listening::start(&server, &["news", "private-x", "presence-room", "news"]);
    assert_eq!(listening.said(), "jsocketd: listens to news, presence-room, private-x");
    for channel in ["news", "private-x", "presence-room"] {
        assert_eq!(
            publish(&server, channel, "saved", r#"{"id": 1}"#),
            "published to 1 connection\n"
        );
        assert_eq!(
            listening.event(),
            json!({"channel": channel, "event": "saved", "data": {"id": 1}})
        );
    }
    // Text stays text, and a terminal is not harmed.
    publish(&server, "news", "e\u{9b}", "no JSON\n\u{1b}[2J");
    assert_eq!(
        listening.event(),
        json!({"channel": "news", "event": "e\u{9b}", "data": "no JSON\n\u{1b}[2J"})
    );
    publish(&server, "nobody", "x", "1");
    listening.signal(Signal::INT);
    assert_eq!(listening.ended(), 0);
    let mut other = Listening::start(&server, &["news"]);
    other.said();
    other.signal(Signal::TERM);
    assert_eq!(other.ended(), 0);
}

#[test]
fn it_ends_when_nobody_reads_its_output_any_more() {
    let server = Server::start(APP);
    let mut listening = Listening::start(&server, &["news"]);
    listening.said();
    // Without an event: it does not have to write to find out.
    listening.out = None;
    assert_eq!(listening.ended(), 0);
}

#[test]
fn a_refusal_is_named_and_ends_it() {
    let server = Server::start(APP);
    let url = format!("http://{}", server.addr);
    let mut listening = Listening::start(&server, &["news", "a b"]);
    let said = listening.said();
    assert!(said.starts_with(&format!("jsocketd: {url} refuses a b: ")), "{said}");
    assert_eq!(listening.ended(), 1);

    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let wrong_key = write("key.toml", APP.replace("\"ka\"", "\"kb\""));
    let mut listening = Listening::start_at(&url, &wrong_key, &["news"]);
    // The error frame of the protocol may come before the close frame.
    let lines: Vec<String> = std::iter::from_fn(|| listening.err.next()?.ok()).collect();
    let last = lines.last().expect("a line");
    assert!(
        last.starts_with(&format!("jsocketd: {url} closed the connection with 4001: ")),
        "{lines:?}"
    );
    assert_eq!(listening.ended(), 1);

    let wrong_secret = write("secret.toml", APP.replace("abcdef", "fedcba"));
    let mut listening = Listening::start_at(&url, &wrong_secret, &["private-x"]);
    let said = listening.said();
    assert!(
        said.starts_with(&format!("jsocketd: {url} refuses private-x: ")),
        "{said}"
    );
    assert!(!said.contains("0123456789"), "{said}");
    assert_eq!(listening.ended(), 1);

    let good = write("good.toml", APP.to_owned());
    let nobody = nobody();
    let mut listening = Listening::start_at(&format!("http://{nobody}"), &good, &["news"]);
    assert!(listening.said().starts_with(&format!("jsocketd: http://{nobody}: ")));
    assert_eq!(listening.ended(), 1);
    let mut listening = Listening::start_at(&format!("{url}/elsewhere"), &good, &["news"]);
    let said = listening.said();
    assert!(said.contains("404"), "{said}");
    assert_eq!(listening.ended(), 1);
}

/// Takes the listener's next connection and confirms its subscription to `news`.
fn greet(server: &TcpListener, timeout: u64) -> WebSocket<TcpStream> {
    let (stream, _) = server.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut socket = tungstenite::accept(stream).expect("a handshake");
    let data = json!({"socket_id": "1.2", "activity_timeout": timeout}).to_string();
    say(
        &mut socket,
        &json!({"event": "pusher:connection_established", "data": data}),
    );
    assert_eq!(
        hear(&mut socket),
        json!({"event": "pusher:subscribe", "data": {"channel": "news"}})
    );
    say(
        &mut socket,
        &json!({"event": "pusher_internal:subscription_succeeded", "channel": "news", "data": "{}"}),
    );
    socket
}

fn say(socket: &mut WebSocket<TcpStream>, frame: &Value) {
    socket.send(Message::text(frame.to_string())).expect("it is sent");
}

fn hear(socket: &mut WebSocket<TcpStream>) -> Value {
    let text = socket.read().expect("a frame").into_text().expect("text");
    serde_json::from_str(&text).expect("JSON")
}

fn url_of(server: &TcpListener) -> String {
    format!("http://{}", server.local_addr().expect("bound"))
}

/// A server that the test itself plays, and a listener to its channel `news` with its configuration.
fn at_an_artificial_server() -> (TcpListener, NamedTempFile, Listening) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let config = NamedTempFile::new().expect("a file");
    std::fs::write(config.path(), APP).expect("written");
    let listening = Listening::start_at(&url_of(&server), config.path().to_str().expect("UTF-8"), &["news"]);
    (server, config, listening)
}

#[test]
fn it_connects_again_answers_pings_and_asks_a_silent_server() {
    let (server, _config, mut listening) = at_an_artificial_server();
    let mut first = greet(&server, 120);
    assert_eq!(listening.said(), "jsocketd: listens to news");
    say(&mut first, &json!({"event": "pusher:ping", "data": {}}));
    assert_eq!(hear(&mut first)["event"], "pusher:pong");
    say(&mut first, &json!({"event": "one", "channel": "news", "data": "1"}));
    assert_eq!(listening.event(), json!({"channel": "news", "event": "one", "data": 1}));
    drop(first);
    let said = listening.said();
    assert!(
        said.starts_with(&format!("jsocketd: {}: ", url_of(&server))) && said.ends_with("the next try in 1 s"),
        "{said}"
    );

    // After a second of silence the server is asked.
    let mut second = greet(&server, 1);
    assert_eq!(listening.said(), "jsocketd: listens to news");
    assert_eq!(hear(&mut second)["event"], "pusher:ping");
    say(&mut second, &json!({"event": "pusher:pong", "data": "{}"}));
    let close = |code: u16| CloseFrame {
        code: code.into(),
        reason: "come back".into(),
    };
    second.close(Some(close(4200))).expect("it is sent");
    let said = listening.said();
    assert!(said.contains("closed the connection with 4200: come back"), "{said}");

    let mut third = greet(&server, 120);
    assert_eq!(listening.said(), "jsocketd: listens to news");
    third.close(Some(close(4009))).expect("it is sent");
    assert_eq!(
        listening.said(),
        format!(
            "jsocketd: {} closed the connection with 4009: come back",
            url_of(&server)
        )
    );
    assert_eq!(listening.ended(), 1);
}

#[test]
fn a_signal_ends_the_wait_for_another_connection_too() {
    let mut server = Server::start(&format!("[limits]\ndrain_seconds = 1\n{APP}"));
    let mut listening = Listening::start(&server, &["news"]);
    listening.said();
    let mut peer = Peer::upgrade(&server, "/echo");
    server.signal(Signal::TERM);
    peer.expect_close(1001);
    drop(peer);
    assert!(server.ended().success());
    let said = listening.said();
    assert!(said.contains("closed the connection with 4100"), "{said}");
    listening.signal(Signal::INT);
    assert_eq!(listening.ended(), 0);
}

/// A server that accepts, and takes its time with the handshake.
#[test]
fn a_signal_ends_the_wait_for_the_handshake_too() {
    let (server, _config, mut listening) = at_an_artificial_server();
    let (mut stream, _) = server.accept().expect("a connection");
    stream.write_all(b"HTTP/1.1 101 Switching").expect("taken");
    listening.signal(Signal::INT);
    assert_eq!(listening.ended(), 0);
    assert!(listening.err.next().is_none(), "there is nothing to complain about");
}

/// A server that pings without end and reads no answer: what waits to be sent is bounded.
#[test]
fn a_server_that_does_not_read_is_left() {
    let (server, _config, mut listening) = at_an_artificial_server();
    let mut socket = greet(&server, 120);
    assert_eq!(listening.said(), "jsocketd: listens to news");
    let ping = Message::text(json!({"event": "pusher:ping"}).to_string());
    while socket.send(ping.clone()).is_ok() {}
    let said = listening.said();
    assert!(said.starts_with(&format!("jsocketd: {}: ", url_of(&server))), "{said}");
}

#[test]
fn a_signal_ends_the_wait_for_the_reader_of_its_output_too() {
    let server = Server::start(APP);
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command.env_clear().args(["listen", "news", "--url"]);
    command.arg(format!("http://{}", server.addr)).arg("--config");
    let piped = command
        .arg(server.config_path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().expect("jsocketd runs");
    let out = child.stdout.take().expect("a pipe");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert_eq!(err.next().expect("a line").expect("UTF-8"), "jsocketd: listens to news");
    let data = format!("\"{}\"", "x".repeat(9000));
    for _ in 0..20 {
        publish(&server, "news", "large", &data);
    }
    // More than a pipe holds: it is in the middle of a line, and stays there.
    let line = format!("{{\"channel\":\"news\",\"event\":\"large\",\"data\":{data}}}\n").len() as u64;
    let waiting = || rustix::io::ioctl_fionread(&out).expect("a pipe");
    let is_full = || waiting() % line > 0 && waiting() > 48 * 1024;
    wait_until("the output is full", is_full, || waiting().to_string());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it is ours");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
