//! The state of a running server, `GET /debug/status`: the numbers are right, and only administrators see them.
//! `joomla/component.rs` has the sessions of a site. `jsocketd status` prints it, and its exit codes are for scripts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

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
    // The connection of the request was one of them.
    wait_until(
        "the server has as many descriptors as it said",
        || state["descriptors"] == server.fds() + 1,
        || format!("{} and {}", state["descriptors"], server.fds()),
    );
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
    console
        .text(r#"publish news saved {"id":1}"#)
        .expect_text("Published to 5 connections.");
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
    // Each copy of the event has its bytes.
    assert!(
        grew("bytes_out") > 5 * r#"{"event":"saved","channel":"news"}"#.len() as u64,
        "{traffic}"
    );
    assert!(grew("bytes_in") > 30, "{traffic}");
}

#[test]
fn the_state_is_guarded_as_the_page_is() {
    let server = server();
    for path in ["/", "/debug/status", "/metrics"] {
        for (lines, status) in [
            (String::new(), 401),
            ("Authorization: Bearer wrong\r\n".to_owned(), 401),
            (format!("Authorization: Bearer {TOKEN}\r\n"), 200),
            (
                format!("Authorization: Bearer {TOKEN}\r\nOrigin: https://evil.example\r\n"),
                401,
            ),
        ] {
            let accept = "Accept: text/html, text/plain\r\n";
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{accept}{lines}\r\n");
            let reply = Peer::connect(&server).send(request).expect_status(status);
            for scheme in ["Basic", "Bearer"] {
                let asks = format!("Www-Authenticate: {scheme} realm=\"jsocketd\"");
                assert_eq!(
                    reply.head.contains(&asks),
                    status == 401,
                    "{path} {lines}: {}",
                    reply.head
                );
            }
            assert!(status == 200 || !reply.body.contains("uptime"), "{}", reply.body);
        }
        let post = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let reply = Peer::connect(&server).send(post).expect_status(405);
        let options = if path == "/" { ", OPTIONS" } else { "" };
        assert_eq!(reply.header("allow"), Some(format!("GET, HEAD{options}").as_str()));
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

/// `since` and `limit` of the records of the loop.
#[test]
fn a_watcher_of_the_loop_asks_for_what_is_new_to_it() {
    let server = server();
    let ask = |query: &str| {
        let request =
            format!("GET /debug/loop{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        Peer::connect(&server).send(request).reply()
    };
    let records = |query: &str| -> Value { serde_json::from_str(&ask(query).body).expect("JSON") };
    let numbers = |records: &Value| -> Vec<u64> {
        let ticks = records["recent"].as_array().expect("a list").iter();
        ticks.map(|tick| tick["n"].as_u64().expect("a number")).collect()
    };
    let mut peer = Peer::upgrade(&server, "/echo");
    for n in 0..20 {
        peer.text(&n.to_string()).expect_text(&n.to_string());
    }
    let all = records("");
    let newest = *numbers(&all).last().expect("a tick");
    assert!(newest >= 20 && all["worst"].is_array() && all["worst_hour"].is_array());
    let latest = records("?limit=5");
    let ticks = numbers(&latest);
    assert_eq!(ticks.len(), 5, "{ticks:?}");
    assert!(ticks.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ticks:?}");
    assert!(ticks[4] > newest && latest["worst"].is_array(), "the latest of all");
    assert_eq!(numbers(&records("?limit=1024")).first(), Some(&1), "all that there are");
    assert_eq!(numbers(&records(&format!("?limit=1&since={newest}"))).len(), 1);
    // A list of the worst ticks is left out until it changes. On a busy machine it may change just then.
    let unchanged = || {
        let newest = numbers(&records("?limit=1"))[0];
        records(&format!("?since={newest}&limit=9"))
    };
    wait_until(
        "nothing changes",
        || unchanged().get("worst_hour").is_none() && unchanged().get("worst").is_none(),
        || unchanged().to_string(),
    );
    for wrong in ["", "0", "1025", "-1", "x", "5.0", "99999999999999999999"] {
        let refusal = ask(&format!("?since=1&limit={wrong}"));
        assert_eq!(
            (refusal.status, refusal.body.as_str()),
            (400, "limit must be a number from 1 to 1024\n"),
            "{wrong}"
        );
    }
}

// --- the command -----------------------------------------------------------------------------------------------------

/// Runs `jsocketd status` with these variables. Returns its exit code, what it printed, and its complaints.
fn run(flags: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    run_command(&[&["status"], flags].concat(), variables)
}

/// The same with any command.
fn run_command(words: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command.env_clear().args(words).envs(variables.iter().copied());
    let output = command.output().expect("jsocketd runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("it ends by itself"),
        text(output.stdout),
        text(output.stderr),
    )
}

fn config(server: &Server) -> String {
    server.config_path().to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_command_asks_at_the_socket_for_administrators() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let runtime = [("RUNTIME_DIRECTORY", path)];
    let server = Server::start_with(APP, |command, _| {
        command.env("RUNTIME_DIRECTORY", path);
    });
    let _peer = subscriber(&server);
    let (code, text, complaints) = run(&["--config", &config(&server)], &runtime);
    assert_eq!((code, complaints.as_str()), (0, ""), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!((18..=30).contains(&lines.len()), "{text}");
    for line in &lines {
        let is_path = line.starts_with("configuration");
        assert!(is_path || line.chars().count() <= 80, "{line}");
        assert_eq!(&line[15..16], " ", "the values are aligned: {line}");
    }
    let pid = server.pid;
    for wanted in [
        format!("jsocketd        {}", env!("CARGO_PKG_VERSION")),
        format!("configuration   {}", config(&server)),
        "state           ready".into(),
        "  Pusher        1".into(),
        "app a           1 connection, 1 channel".into(),
        "                1 subscription (".into(),
        "webhooks        0 waiting, 0 delivered, 0 failed, 0 dropped".into(),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&wanted)), "{wanted}:\n{text}");
    }
    assert!(lines[0].contains(&format!(", process {pid}, up ")), "{text}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("memory ") && line.ends_with(" MiB")),
        "{text}"
    );

    let (code, json, _) = run(&["--json", "--config", &config(&server)], &runtime);
    let state: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (code, &state["pid"], &state["apps"][0]["subscriptions"]),
        (0, &json!(pid), &json!(1))
    );
    assert_eq!(
        run(&["--ready", "--config", &config(&server)], &runtime),
        (0, "ready\n".into(), String::new())
    );

    // The server is gone, and its socket with it.
    let gone = config(&server);
    let kept = folder.path().join("kept.toml");
    std::fs::copy(&gone, &kept).expect("copied");
    drop(server);
    let (code, out, complaints) = run(&["--config", kept.to_str().expect("UTF-8")], &runtime);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        complaints.starts_with(&format!("jsocketd: unix:{path}/admin.sock: ")),
        "{complaints}"
    );
    assert!(
        complaints.contains("--url http://HOST:PORT"),
        "the remedy: {complaints}"
    );
}

#[test]
fn the_command_asks_at_a_url_with_the_token() {
    let server = server();
    let url = format!("http://{}", server.addr);
    let (code, text, _) = run(&["--url", &url, "--config", &config(&server)], &[]);
    assert_eq!(
        (code, text.lines().next().map(|line| &line[..8])),
        (0, Some("jsocketd"))
    );
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let elsewhere = ["--url", &url, "--config", empty.path().to_str().expect("UTF-8")];
    let (code, out, _) = run(&elsewhere, &[("JSOCKETD_ADMIN_TOKEN", TOKEN)]);
    assert_eq!((code, out.is_empty()), (0, false), "a variable has the token");
    let (code, out, complaints) = run(&elsewhere, &[]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        complaints.starts_with(&format!("jsocketd: {url} refuses with 401: ")),
        "{complaints}"
    );
    let (code, _, complaints) = run(&elsewhere, &[("JSOCKETD_ADMIN_TOKEN", "another-token-of-a-test")]);
    assert_eq!(code, 1);
    assert!(!complaints.contains("another-token"), "{complaints}");
    assert_eq!(
        run(&[&elsewhere[..], &["--ready"]].concat(), &[]).0,
        0,
        "it needs no token"
    );

    for (answer, words) in [
        ("HTTP/1.0 200 OK\r\n\r\nready, or not", "not as jsocketd does"),
        ("HTTP/1.0 404 X\r\n\r\n\u{1b}[2J", "answers 404"),
        ("SSH-2.0-OpenSSH\r\n", "does not answer in HTTP"),
    ] {
        for flags in [&["--url"][..], &["--ready", "--url"]] {
            let (code, out, complaints) = at_another_server(answer, flags);
            assert_eq!((code, out.as_str()), (2, ""), "{answer}");
            assert!(
                complaints.contains(words) && !complaints.contains('\u{1b}'),
                "{complaints}"
            );
        }
    }
}

/// Reads a request up to the end of its head.
fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        request.extend(byte);
    }
    String::from_utf8(request).expect("UTF-8")
}

/// Runs the command at a server of another kind, which answers this.
fn at_another_server(answer: &str, flags: &[&str]) -> (i32, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            request(&mut stream);
            stream.write_all(answer.as_bytes()).expect("an answer");
        });
        let empty = tempfile::NamedTempFile::new().expect("a file");
        let config = empty.path().to_str().expect("UTF-8").to_owned();
        run(&[flags, &[&url, "--config", &config]].concat(), &[])
    })
}

/// Another server's texts may hold what a terminal obeys. JSON itself allows some of it within strings.
#[test]
fn no_control_character_of_a_server_reaches_the_terminal() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let config = empty.path().to_str().expect("UTF-8");
    let evil = "\u{9b}2J\u{7f}\u{202e}";
    let state = format!(
        "{{\r\n\"product\": \"jsocketd\",\t\"version\": \"{evil}\", \"apps\": [{{\"id\": \"\\u001b[2J{evil}\"}}]}}"
    );
    let records = format!("{{\"blame\": [{{\"name\": \"{evil}\"}}], \"ticks\":\r1}}");
    let body = |path: &str| if path.contains("loop") { &records } else { &state }.clone();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = [
        (&["status"][..], 1),
        (&["status", "--json"], 1),
        (&["top", "--once"], 2),
        (&["top", "--json"], 2),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..asked.iter().map(|(_, times)| times).sum() {
                let (mut stream, _) = listener.accept().expect("a connection");
                let request = request(&mut stream);
                let body = body(request.split(' ').nth(1).expect("a path"));
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).expect("an answer");
            }
        });
        for (words, _) in asked {
            let (code, text, complaints) = run_command(&[words, &["--url", &url, "--config", config]].concat(), &[]);
            assert_eq!((code, complaints.as_str()), (0, ""), "{words:?}");
            let harm = text.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
            assert_eq!(harm, None, "{words:?}: {text:?}");
            if words[1..] == ["--json"] {
                let value: Value = serde_json::from_str(&text).expect("still JSON");
                let state = value.get("status").unwrap_or(&value);
                assert_eq!(state["version"], evil, "with the same content");
                assert_eq!(text.lines().count(), 1, "{text}");
            }
        }
    });
}

/// A script must not take an empty file for an answer; a reader who leaves early has seen enough.
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let server = server();
    let url = format!("http://{}", server.addr);
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--ready"],
        &["top", "--once"],
        &["top", "--json"],
    ] {
        let at = |out: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
            let command = command.env_clear().args(words).args(["--url", &url, "--config"]);
            command.arg(config(&server)).stdout(out).output().expect("it runs")
        };
        let full = at(std::fs::File::create("/dev/full").expect("a device").into());
        let complaints = String::from_utf8_lossy(&full.stderr);
        assert_eq!(full.status.code(), Some(2), "{words:?}: {complaints}");
        assert!(complaints.starts_with("jsocketd: standard output: "), "{complaints}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let left = at(writer.into());
        assert_eq!((left.status.code(), left.stderr.len()), (Some(0), 0), "{words:?}");
    }
}

#[test]
fn the_command_says_whether_new_clients_may_come() {
    let server = Server::start("[limits]\ndrain_seconds = 60\n");
    let url = format!("http://{}", server.addr);
    let ready = ["--ready", "--url", &url, "--config", &config(&server)];
    assert_eq!(run(&ready, &[]), (0, "ready\n".into(), String::new()));
    let _peers = [Peer::upgrade(&server, "/echo"), Peer::upgrade(&server, "/echo")];
    server.signal(rustix::process::Signal::TERM);
    wait_until("the server drains", || run(&ready, &[]).0 == 1, || server.log());
    let (_, line, complaints) = run(&ready, &[]);
    assert_eq!(
        (line.as_str(), complaints.as_str()),
        ("draining: new connections are turned away\n", "")
    );
    drop(server);
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let (code, out, complaints) = run(
        &[
            "--ready",
            "--url",
            &url,
            "--config",
            empty.path().to_str().expect("UTF-8"),
        ],
        &[],
    );
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(complaints.starts_with(&format!("jsocketd: {url}: ")), "{complaints}");
}

/// While the server is down, another program may listen at its address: it gets no token, since nobody named it.
#[test]
fn the_token_is_sent_to_no_address_that_was_only_guessed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jsocketd.toml");
    let toml = format!("[server]\nlisten = [\"{addr}\"]\nadmin_token = \"{TOKEN}\"\n");
    std::fs::write(&file, toml).expect("written");
    let runtime = [("RUNTIME_DIRECTORY", folder.path().to_str().expect("UTF-8"))];
    let (code, _, complaints) = run(&["--config", file.to_str().expect("UTF-8")], &runtime);
    assert!(code == 2 && complaints.contains("admin.sock"), "{complaints}");
    listener.set_nonblocking(true).expect("set");
    assert!(listener.accept().is_err(), "nobody came");
}
