//! Listeners: several at once, IPv6, Unix sockets with their permissions, and files that exist already at their paths.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(listen: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    for address in listen {
        command.args(["--listen", address]);
    }
    command.env("JSOCKETD_UNIX_MODE", "0600").env_remove("JSOCKETD_CONFIG");
    command
}

/// Starts a server and returns where it says it listens.
fn start(listen: &[&str]) -> (Running, Vec<String>) {
    let mut command = command(listen);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut running = Running(child);
    let lines = BufReader::new(running.0.stdout.take().expect("it is piped")).lines();
    let said = lines.take(listen.len()).map(|line| line.expect("a line")).collect();
    (running, said)
}

/// The error of a server that cannot start.
fn refusal(listen: &[&str]) -> String {
    let output = command(listen).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("words")
}

fn asks_health(mut stream: impl Read + Write) -> String {
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it takes the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[test]
fn several_listeners_answer_and_port_0_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("j.sock");
    let (_server, said) = start(&["127.0.0.1:0", "[::1]:0", &unix(&path)]);
    for line in &said[..2] {
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.strip_suffix('/'))
            .expect(line);
        assert!(!address.ends_with(":0"), "{line}");
        assert!(asks_health(TcpStream::connect(address).expect(address)).ends_with("alive\n"));
    }
    assert!(said[1].contains("[::1]"), "{said:?}");
    assert_eq!(said[2], format!("listening on {}", unix(&path)));
    assert!(asks_health(UnixStream::connect(&path).expect("it listens")).ends_with("alive\n"));
    let mode = fs::metadata(&path).expect("the socket's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_stale_socket_is_replaced_a_live_one_and_a_file_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("j.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "no server listens, but the file is there");
    let (_server, _) = start(&[&unix(&path)]);
    assert!(asks_health(UnixStream::connect(&path).expect("it listens")).ends_with("alive\n"));

    let live = refusal(&[&unix(&path)]);
    assert!(live.contains("another process listens"), "{live}");
    assert!(asks_health(UnixStream::connect(&path).expect("the first one goes on")).ends_with("alive\n"));

    let file = folder.path().join("precious");
    fs::write(&file, "data").expect("a file");
    let refused = refusal(&[&unix(&file)]);
    assert!(refused.contains("is not a socket"), "{refused}");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "data");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let refused = refusal(&[&address]);
    assert!(refused.contains(&address) && refused.contains("in use"), "{refused}");
}
