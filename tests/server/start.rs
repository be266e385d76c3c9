//! What the server says when it starts, and that it is true: who may see the page, whether there is an app, and whether
//! a proxy is silent about its clients. The sentences for a site are in `joomla/component.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{PATIENCE, Server};

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

const TOKEN: &str = "correct-horse-battery-staple";

/// The lines of the log at this level or above with these words.
fn lines(server: &Server, words: &str) -> Vec<String> {
    let log = server.log();
    log.lines()
        .filter(|line| line.contains(words))
        .map(str::to_owned)
        .collect()
}

/// The status of the answer to a request with these header lines.
fn asks(mut stream: impl Read + Write, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it takes the request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.addr).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn without_an_app_one_warning_names_the_ways_out() {
    for (toml, wanted) in [("", 1), (APP, 0), ("[echo]\nenabled = false\n", 1)] {
        let server = Server::start(toml);
        let warnings = lines(&server, "nobody can connect to /app/");
        assert_eq!(warnings.len(), wanted, "{}", server.log());
        let is_named =
            |line: &String| line.contains("WARN") && line.contains("[[apps]]") && line.contains("[joomla] root");
        assert!(warnings.iter().all(is_named), "{warnings:?}");
    }
    assert_eq!(lines(&Server::start_defaults(), "nobody can connect"), [""; 0]);
}

#[test]
fn the_line_about_the_page_says_what_requests_find() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let token = format!("[server]\nadmin_token = \"{TOKEN}\"\n");
    let none = Path::new("/nonexistent");
    for (toml, sockets, words, without_token) in [
        ("", none, "closed at http://", "403"),
        ("", folder.path(), "closed at http://", "403"),
        ("[server]\nadmin_listen = \"\"\n", none, "closed at http://", "403"),
        (token.as_str(), none, "with admin_token", "401"),
        (token.as_str(), folder.path(), "with admin_token", "401"),
    ] {
        let toml = format!("{toml}{APP}");
        let server = Server::start_with(&toml, |command, _| {
            command.env("RUNTIME_DIRECTORY", sockets);
        });
        let said = lines(&server, "page and state: ");
        assert_eq!(said.len(), 1, "{}", server.log());
        assert!(
            said[0].contains(words) && said[0].contains(&server.addr.to_string()),
            "{said:?}"
        );
        let host = "Host: localhost\r\nAccept: text/html\r\n";
        assert_eq!(asks(connect(&server), "/", host), without_token, "{said:?}");
        let authorized = format!("{host}Authorization: Bearer {TOKEN}\r\n");
        let opens = said[0].contains("with admin_token");
        assert_eq!(asks(connect(&server), "/", &authorized) == "200", opens, "{said:?}");
        let named = format!("open at unix:{} without a token", socket.display());
        assert_eq!(said[0].contains(&named), sockets == folder.path(), "{said:?}");
        if sockets == folder.path() {
            let stream = UnixStream::connect(&socket).expect("it listens");
            assert_eq!(asks(stream, "/", host), "200");
        }
        assert_eq!(
            said[0].contains("either opens them"),
            without_token == "403" && sockets == none
        );
    }
    let server = Server::start_defaults();
    let said = lines(&server, "page and state: ");
    assert!(
        said[0].contains("open at http://") && said[0].contains("to this machine"),
        "{said:?}"
    );
    assert_eq!(
        asks(connect(&server), "/", "Host: localhost\r\nAccept: text/html\r\n"),
        "200"
    );
}

/// Runs a command of jsocketd against a server.
fn run(server: &Server, words: &[&str]) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command.env_clear().env("JSOCKETD_ADMIN_TOKEN", TOKEN).args(words);
    command
        .arg("--config")
        .arg(server.config_path())
        .args(["--url", &format!("http://{}", server.addr)]);
    let done = command.stdin(Stdio::null()).output().expect("jsocketd runs");
    done.status.success()
}

const HANDSHAKE: &str =
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

#[test]
fn requests_of_the_machine_itself_give_no_warning_of_a_proxy() {
    let server = Server::start(&format!("[server]\nadmin_token = \"{TOKEN}\"\n{APP}"));
    for path in ["/health", "/ready", "/metrics", "/", "/nothing", "/apps/a/channels"] {
        for host in ["127.0.0.1", "localhost", "www.example.org"] {
            asks(
                connect(&server),
                path,
                &format!("Host: {host}\r\nUser-Agent: curl/8.5.0\r\n"),
            );
        }
    }
    assert!(
        run(&server, &["publish", "news", "e", "1"]),
        "signed, as PHP's calls of the HTTP API are"
    );
    assert!(run(&server, &["status", "--json"]));
    assert!(run(&server, &["top", "--once"]));
    // A WebSocket of a program, and one of a page of this machine.
    let handshake = |more: &str| {
        let lines = format!("Host: localhost\r\n{HANDSHAKE}{more}Connection: Upgrade\r\n");
        let mut stream = connect(&server);
        let request = format!("GET /app/ka?protocol=7 HTTP/1.1\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).expect("it takes the request");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer[9..], b"101");
    };
    handshake("");
    handshake("Origin: http://localhost:3000\r\nCookie: a=b\r\n");
    // A browser beside the proxy.
    handshake("Origin: https://www.example.org\r\nX-Forwarded-For: 127.0.0.1\r\nVia: 1.1 x\r\n");
    assert_eq!(lines(&server, "X-Forwarded-For"), [""; 0], "{}", server.log());
    // Now a proxy that names no client: it is warned of once.
    handshake("Origin: https://www.example.org\r\n");
    handshake("Origin: https://www.example.org\r\nX-Forwarded-Proto: https\r\n");
    let said = lines(&server, "X-Forwarded-For");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("WARN") && said[0].contains("127.0.0.1"), "{said:?}");
}

#[test]
fn a_proxy_that_names_no_client_is_warned_of_whatever_shows_it() {
    for (header, words) in [
        (
            "X-Real-IP: 203.0.113.9\r\n",
            "the proxy at 127.0.0.1 sends no X-Forwarded-For",
        ),
        (
            "X-Forwarded-Proto: https\r\n",
            "the proxy at 127.0.0.1 sends no X-Forwarded-For",
        ),
        (
            "Origin: https://www.example.org\r\n",
            "a page's request came from 127.0.0.1 without X-Forwarded-For",
        ),
    ] {
        let server = Server::start(APP);
        asks(
            connect(&server),
            "/health",
            &format!("Host: 127.0.0.1:8080\r\n{header}"),
        );
        let said = lines(&server, words);
        assert_eq!(said.len(), 1, "{}", server.log());
        assert!(
            said[0].contains("limits per address are off") && said[0].contains("proxy_set_header"),
            "{said:?}"
        );
    }
    // Without a configuration the limits are the machine's own affair.
    let server = Server::start_defaults();
    asks(
        connect(&server),
        "/health",
        "Host: localhost\r\nX-Real-IP: 203.0.113.9\r\n",
    );
    assert_eq!(lines(&server, "X-Forwarded-For"), [""; 0]);
}
