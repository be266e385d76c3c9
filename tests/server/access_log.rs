//! The access log: a line of JSON for each request and each connection that is over, with the fields that
//! docs/operations.md describes and nothing secret. SIGHUP opens the file again, and a path that cannot be opened does
//! no harm.
//!
//! Full disks are in the unit tests of `server::access_log::file`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::pusher::{ID, KEY, Session, Settings, Site};
use crate::common::{Peer, Server, wait_until};

/// The lines of the file, without the facts that no test can foretell.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let parsed = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let time = line["time"].take();
        let time = time.as_str().expect("a time");
        assert!(
            time.len() == 24 && time.ends_with('Z') && &time[19..20] == ".",
            "{time}"
        );
        assert!(
            line["ms"]
                .take()
                .as_f64()
                .is_some_and(|ms| (0.0..60_000.0).contains(&ms)),
            "{line}"
        );
        assert!(
            line["connection"].take().as_str().is_some_and(|id| id.starts_with('#')),
            "{line}"
        );
        let facts = line.as_object_mut().expect("an object");
        facts.retain(|_, value| !value.is_null());
        line
    });
    parsed.collect()
}

/// The fields that docs/operations.md describes.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../docs/operations.md");
    let (_, table) = text
        .split_once("| field | of | meaning |\n|---|---|---|\n")
        .expect("the table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

/// Waits for these lines, which may come in any order.
fn expect_lines(path: &Path, wanted: &[Value]) {
    let is_there = || {
        let lines = lines(path);
        lines.len() >= wanted.len() && wanted.iter().all(|line| lines.contains(line))
    };
    let seen = || {
        let seen: Vec<String> = lines(path).iter().map(Value::to_string).collect();
        format!("wanted:\n{}\nseen:\n{}", json!(wanted), seen.join("\n"))
    };
    wait_until("the lines of the access log", is_there, seen);
    assert_eq!(lines(path).len(), wanted.len(), "{}", seen());
}

fn request(client: &str, method: &str, path: &str, status: u16, bytes: usize) -> Value {
    json!({"kind": "request", "client": client, "method": method, "path": path, "status": status, "bytes": bytes})
}

/// The line of an HTTP connection that the peer closed after so many requests.
fn plain(requests: usize) -> Value {
    json!({"kind": "connection", "client": "127.0.0.1", "requests": requests, "websocket": false, "end": "peer"})
}

/// Makes one request on a connection of its own, and waits until the server has seen the end.
fn come_and_go(server: &Server, path: &str) {
    let mut peer = Peer::connect(server);
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    peer.send(head).expect_status(404);
    peer.finish_and_drain();
}

#[test]
fn each_request_and_each_connection_has_a_line_with_its_facts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let site = Site::with(Settings {
        server: &format!("access_log = {path:?}"),
        limits: "handshake_timeout = 1",
        ..Settings::default()
    });
    let mut wanted = Vec::new();

    let mut browser = Peer::connect(&site.server);
    let head = "HTTP/1.1\r\nHost: localhost\r\nCookie: MARKER\r\nAuthorization: Bearer MARKER\r\nX-Forwarded-For: ";
    browser
        .send(format!("GET /health?token=MARKER {head}203.0.113.9\r\n\r\n"))
        .expect_status(200);
    let long = "x".repeat(300);
    browser.send(format!("POST /{long} {head}203.0.113.9\r\n\r\n"));
    browser.expect_status(404);
    browser.finish_and_drain();
    let cut = format!("/{}", &long[..199]);
    wanted.push(request("203.0.113.9", "GET", "/health", 200, 6));
    wanted.push(request("203.0.113.9", "POST", &cut, 404, 30));
    let mut connection = plain(2);
    connection["client"] = "203.0.113.9".into();
    wanted.push(connection);
    expect_lines(&path, &wanted);

    // What is no request has only the line of its connection.
    Peer::connect(&site.server).send("nonsense\r\n\r\n").expect_status(400);
    let mut refused = plain(0);
    (refused["end"], refused["why"]) = ("refused".into(), "400 Bad Request".into());
    wanted.push(refused);
    expect_lines(&path, &wanted);
    Peer::connect(&site.server).expect_status(408);
    let mut silent = plain(0);
    (silent["end"], silent["why"]) = ("timeout".into(), "handshake_timeout".into());
    wanted.push(silent);
    expect_lines(&path, &wanted);

    let mut anna = Session::open(&site, "protocol=7&client=MARKER");
    anna.sign_in(r#"{"id":"42","user_info":{"name":"MARKER"}}"#);
    anna.peer.close(1001, "MARKER").expect_close(1001);
    let app = format!("/app/{KEY}");
    wanted.push(request("127.0.0.1", "GET", &app, 101, 0));
    wanted.push(json!({
        "kind": "connection", "client": "127.0.0.1", "app": ID, "user": "42", "requests": 1, "websocket": true,
        "end": "peer", "code": 1001,
    }));
    expect_lines(&path, &wanted);
    let stranger = site.upgrade("/app/unknown?protocol=7");
    drop(stranger);
    wanted.push(request("127.0.0.1", "GET", "/app/unknown", 101, 0));
    wanted.push(json!({
        "kind": "connection", "client": "127.0.0.1", "requests": 1, "websocket": true,
        "end": "server", "code": 4001, "why": "Application does not exist",
    }));
    expect_lines(&path, &wanted);
    let mut rude = site.connect();
    rude.peer.send([0xff; 8]);
    wanted.push(request("127.0.0.1", "GET", &app, 101, 0));
    wanted.push(json!({
        "kind": "connection", "client": "127.0.0.1", "app": ID, "requests": 1, "websocket": true,
        "end": "violation", "code": 1002, "why": "reserved bits are set",
    }));
    expect_lines(&path, &wanted);

    let text = fs::read_to_string(&path).expect("the file");
    assert!(!text.contains("MARKER"), "{text}");
    let parsed = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let written: BTreeSet<String> = parsed
        .flat_map(|line| line.as_object().expect("an object").keys().cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(written, documented());
}

/// Sends SIGHUP and waits for a line of the log that was not there before.
fn reload(server: &Server, toml: Option<&str>, line: &str) {
    if let Some(toml) = toml {
        fs::write(server.config_path(), toml).expect("the configuration is written");
    }
    let count = || server.log().matches(line).count();
    let before = count();
    server.signal(Signal::HUP);
    wait_until(line, || count() > before, || server.log());
}

#[test]
fn sighup_opens_the_file_again_so_that_it_can_be_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, old, older, other] = ["log", "log.1", "log.2", "other"].map(|name| folder.path().join(name));
    let toml = |path: &Path| format!("[server]\naccess_log = {path:?}\n");
    let server = Server::start(&toml(&path));
    let lines = |name: &str| [request("127.0.0.1", "GET", name, 404, 30), plain(1)];
    come_and_go(&server, "/one");
    expect_lines(&path, &lines("/one"));

    fs::rename(&path, &old).expect("it is there");
    come_and_go(&server, "/two");
    expect_lines(&old, &[lines("/one"), lines("/two")].concat());
    reload(&server, None, "the configuration was read again: nothing changed");
    come_and_go(&server, "/three");
    expect_lines(&path, &lines("/three"));

    // A mistake in the configuration does not keep the old file open.
    fs::rename(&path, &older).expect("it is there");
    reload(&server, Some("nonsense"), "the configuration stays as it was: ");
    come_and_go(&server, "/four");
    expect_lines(&path, &lines("/four"));
    expect_lines(&older, &lines("/three"));

    // Another path; one that cannot be opened; none.
    reload(&server, Some(&toml(&other)), "server.access_log changed");
    come_and_go(&server, "/five");
    expect_lines(&other, &lines("/five"));
    let missing = folder.path().join("missing/log");
    reload(
        &server,
        Some(&toml(&missing)),
        "; the file that was open before stays in use",
    );
    come_and_go(&server, "/six");
    let all = [lines("/five"), lines("/six")].concat();
    expect_lines(&other, &all);
    reload(&server, Some(""), "server.access_log changed");
    come_and_go(&server, "/seven");
    reload(&server, Some(&toml(&path)), "server.access_log changed");
    come_and_go(&server, "/eight");
    expect_lines(&path, &[lines("/four"), lines("/eight")].concat());
    expect_lines(&other, &all);
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("jsocketd.toml");
    let missing = folder.path().join("missing/log");
    for (path, why) in [
        (missing.as_path(), "No such file or directory"),
        (folder.path(), "Is a directory"),
        (Path::new("/dev/full"), "it is not a regular file"),
    ] {
        fs::write(&config, format!("[server]\naccess_log = {path:?}\n")).expect("the configuration is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command.arg("--config").arg(&config).args(["--listen", "127.0.0.1:0"]);
        let output = command
            .env("RUST_LOG", "error")
            .output()
            .expect("the server's binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let wanted = format!("jsocketd: [server] access_log: {}: {why}", path.display());
        assert!(said.starts_with(&wanted), "{said}\nlacks {wanted}");
    }
}
