//! Listeners: several at once, IPv6, Unix sockets with their permissions, files that exist already at their paths, and
//! the administrators' socket, which nobody has to ask for.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::Server;
use crate::common::ports::close;

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
fn all_addresses_of_ipv6_are_all_of_ipv4_too_unless_ipv4_is_listed() {
    let port_of = |line: &str| -> u16 {
        let port = line.trim_end_matches('/').rsplit(':').next();
        port.and_then(|port| port.parse().ok()).expect(line)
    };
    let (_server, said) = start(&["[::]:0"]);
    assert!(said[0].starts_with("listening on http://[::]:"), "{said:?}");
    let port = port_of(&said[0]);
    for host in ["127.0.0.1", "::1"] {
        let stream = TcpStream::connect((host, port)).expect(host);
        assert!(asks_health(stream).ends_with("alive\n"), "{host}");
    }
    // Somebody else has the port for IPv4.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let refused = refusal(&[&format!("[::]:{port}")]);
    assert!(refused.contains("in use"), "{refused}");
    close(taken);
    for v4 in ["127.0.0.1", "0.0.0.0"] {
        let (_server, said) = start(&[&format!("[::]:{port}"), &format!("{v4}:{port}")]);
        assert_eq!(said[1], format!("listening on http://{v4}:{port}/"));
        for host in ["127.0.0.1", "::1"] {
            let stream = TcpStream::connect((host, port)).expect(host);
            assert!(asks_health(stream).ends_with("alive\n"), "{host} beside {v4}");
        }
    }
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

// --- the administrators' socket --------------------------------------------------------------------------------------

/// Starts a server with a configuration file. Its sockets belong into this folder.
fn start_in(folder: &Path, toml: &str) -> Server {
    Server::start_with(toml, |command, _| {
        command.env("RUNTIME_DIRECTORY", folder);
    })
}

/// The status of the page, which only administrators see.
fn asks_page(mut stream: impl Read + Write) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
        .expect("it takes the request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[9..12]).into_owned()
}

fn asks_page_at(path: &Path) -> String {
    asks_page(UnixStream::connect(path).expect("it listens"))
}

/// Whether the log of a server has a line of this level with these words.
fn warned(server: &Server, words: &str) -> bool {
    let log = server.log();
    log.lines().any(|line| line.contains("WARN") && line.contains(words))
}

#[test]
fn with_a_configuration_file_there_is_a_socket_for_administrators() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    // One that a killed server left behind.
    drop(UnixListener::bind(&path).expect("a socket"));
    let server = start_in(folder.path(), "[server]\nunix_mode = \"0666\"\n");
    assert_eq!(server.printed(), format!("listening on {}", unix(&path)));
    let mode = fs::metadata(&path).expect("the socket's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "whatever unix_mode says");
    assert_eq!(asks_page_at(&path), "200");
    // Its client is no proxy that forgot a header.
    assert!(!server.log().contains("X-Forwarded-For"), "{}", server.log());
    assert_eq!(asks_page(TcpStream::connect(server.addr).expect("it listens")), "403");

    // A second server does not take the socket away, and starts all the same.
    let second = start_in(folder.path(), "");
    assert!(warned(&second, "another process listens"), "{}", second.log());
    assert!(warned(&second, "admin_listen"), "the remedy: {}", second.log());
    drop(second);
    assert_eq!(asks_page_at(&path), "200");
    drop(server);
}

#[test]
fn the_socket_for_administrators_goes_with_its_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = start_in(folder.path(), "");
    let path = folder.path().join("admin.sock");
    assert!(path.exists());
    server.signal(rustix::process::Signal::TERM);
    assert!(server.ended().success());
    assert!(!path.exists());
}

/// Somebody removed the file of the first server, so the second one made its own.
#[test]
fn a_server_leaves_the_socket_of_another_one_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let mut first = start_in(folder.path(), "");
    fs::remove_file(&path).expect("it is there");
    let second = start_in(folder.path(), "");
    first.signal(rustix::process::Signal::TERM);
    assert!(first.ended().success());
    assert_eq!(asks_page_at(&path), "200");
    drop(second);
}

#[test]
fn a_server_that_cannot_have_the_socket_for_administrators_starts_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    for place in [
        folder.path().join("missing"),
        file,
        "/proc".into(),
        "/".repeat(200).into(),
    ] {
        let server = start_in(&place, "");
        assert!(!warned(&server, "administrators"), "{}", server.log());
        assert_eq!(server.fds(), Server::start("").fds());
    }
    let foreign = folder.path().join("admin.sock");
    fs::write(&foreign, "data").expect("a file");
    let server = start_in(folder.path(), "");
    assert!(warned(&server, "is not a socket"), "{}", server.log());
    assert_eq!(fs::read_to_string(&foreign).expect("it is still there"), "data");
}

#[test]
fn nobody_gets_the_socket_for_administrators_who_did_not_want_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let server = start_in(folder.path(), "[server]\nadmin_listen = \"\"\n");
    assert!(!path.exists(), "it is switched off");
    drop(server);
    let mut command = command(&["127.0.0.1:0"]);
    let child = command.env("RUNTIME_DIRECTORY", folder.path()).stdout(Stdio::piped());
    let mut running = Running(child.stderr(Stdio::null()).spawn().expect("the binary starts"));
    let mut line = String::new();
    let mut lines = BufReader::new(running.0.stdout.take().expect("it is piped"));
    lines.read_line(&mut line).expect("it listens");
    assert!(
        !path.exists(),
        "without a configuration file everybody here may see the state anyway"
    );
    drop(running);

    // The proxy's socket never becomes the administrators', also at the same path.
    let toml = format!("[server]\nlisten = [\"127.0.0.1:0\", \"{}\"]\n", unix(&path));
    let config = folder.path().join("jsocketd.toml");
    fs::write(&config, toml).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command
        .env("RUNTIME_DIRECTORY", folder.path())
        .arg("--config")
        .arg(&config);
    let mut running = Running(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts"),
    );
    let mut lines = BufReader::new(running.0.stdout.take().expect("it is piped"));
    for _ in 0..2 {
        lines.read_line(&mut line).expect("it listens");
    }
    assert_eq!(asks_page_at(&path), "403");
}

#[test]
fn a_unix_socket_that_admin_listen_names_is_for_administrators_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.sock");
    let toml = format!("[server]\nadmin_listen = \"{}\"\nunix_mode = \"0666\"\n", unix(&path));
    let server = start_in(folder.path(), &toml);
    let mode = fs::metadata(&path).expect("the socket's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(asks_page_at(&path), "200");
    assert!(!folder.path().join("admin.sock").exists());
    // A page whose own name resolves to this machine names another host.
    let mut evil = UnixStream::connect(&path).expect("it listens");
    evil.write_all(b"GET / HTTP/1.0\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n")
        .expect("taken");
    let mut answer = String::new();
    evil.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // Whoever asks for an address gets it or an error.
    let config = folder.path().join("jsocketd.toml");
    fs::write(&config, toml).expect("written");
    let output = command(&["127.0.0.1:0"])
        .arg("--config")
        .arg(&config)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("mine.sock") && said.contains("another process listens"),
        "{said}"
    );
    drop(server);
}
