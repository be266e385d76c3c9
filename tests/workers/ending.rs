//! Rules: the server ends as a whole, in order or at once; no worker outlives its supervisor; and a server that cannot
//! start says so and ends.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;

use crate::common::{PATIENCE, Peer, wait_until};
use crate::{Workers, configuration, gone, is_there};

const APP: &str = "\n\n[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

#[test]
fn all_workers_drain_and_then_the_server_ends() {
    let mut workers = Workers::start(3, APP);
    let pids = workers.pids();
    let mut clients: Vec<Peer> = (0..30)
        .map(|_| Peer::upgrade(&workers.server, "/app/ka?protocol=7"))
        .collect();
    clients.iter_mut().for_each(|client| drop(client.any_frame()));
    workers.server.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.expect_close(4100), "the server is shutting down");
    }
    drop(clients);
    assert!(workers.server.ended().success());
    assert!(!pids.iter().any(|pid| is_there(*pid)), "they ended before");
    let log = workers.server.log();
    assert!(log.contains("all workers have ended; bye"), "{log}");
    assert!(!log.contains("unasked"), "{log}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut workers = Workers::start(2, "");
    let pids = workers.pids();
    // Each worker has clients that would be asked to leave one by one.
    let clients: Vec<Peer> = (0..30).map(|_| Peer::upgrade(&workers.server, "/echo")).collect();
    workers.server.signal(Signal::INT);
    workers.expect_log("draining ", 2);
    workers.server.signal(Signal::INT);
    assert_eq!(workers.server.ended().code(), Some(1));
    assert!(!pids.iter().any(|pid| is_there(*pid)));
    drop(clients);
}

#[test]
fn a_worker_that_hangs_delays_the_end_for_a_bounded_time() {
    let mut workers = Workers::start(2, "");
    let pids = workers.pids();
    crate::signal(pids[0], Signal::STOP);
    workers.server.signal(Signal::TERM);
    workers.expect_log("the workers drain", 1);
    workers.server.signal(Signal::TERM);
    assert_eq!(workers.server.ended().code(), Some(1));
    assert!(!pids.iter().any(|pid| is_there(*pid)));
}

#[test]
fn no_worker_outlives_its_supervisor() {
    let mut workers = Workers::start(2, APP);
    let (pids, addr) = (workers.pids(), workers.server.addr);
    let mut client = Peer::upgrade(&workers.server, "/app/ka?protocol=7");
    client.any_frame();
    workers.server.signal(Signal::KILL);
    workers.server.ended();
    // The address is free before they have drained: a new server may start at once.
    wait_until(
        "the port is free",
        || TcpListener::bind(addr).is_ok(),
        || "it is not".to_owned(),
    );
    assert_eq!(client.expect_close(4100), "the server is shutting down");
    drop(client);
    gone(&pids);
}

/// Runs the server until it ends; returns its exit code and its log.
fn run(arguments: &[&str], toml: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jsocketd.toml");
    std::fs::write(&path, toml).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command
        .arg("serve")
        .arg("--config")
        .arg(&path)
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments);
    command
        .env("RUNTIME_DIRECTORY", folder.path().join("none"))
        .stdin(Stdio::null());
    let output = command.output().expect("it runs");
    assert!(output.stdout.is_empty(), "nothing is announced");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn a_server_whose_workers_cannot_start_ends() {
    let (code, log) = run(&[], &configuration(2, "access_log = \"/nowhere/at/all/access.log\""));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("/nowhere/at/all/access.log"), "{log}");
    assert!(log.contains("ended at the start, with exit status: 1"), "{log}");
}

#[test]
fn an_address_that_is_taken_is_named_before_any_worker_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, log) = run(&["--listen", &address], &configuration(2, ""));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains(&format!("cannot listen on {address}")) && !log.contains("worker"),
        "{log}"
    );
}

#[test]
fn a_worker_without_a_supervisor_says_what_it_needs() {
    let (code, log) = run(&["--worker", "1"], &configuration(2, ""));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("--worker is for the supervisor of several workers alone"),
        "{log}"
    );
}

/// systemd hears of the supervisor alone, and a worker whose loop hangs is found by the watchdog.
#[test]
fn a_worker_that_hangs_is_killed_by_the_watchdog() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    // A socket that nobody reads would soon hold the supervisor up.
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(n) = socket.recv(&mut buffer)
            && sender
                .send(String::from_utf8_lossy(&buffer[..n]).trim().to_owned())
                .is_ok()
        {}
    });
    let workers = Workers::start_with(2, "", |command, _| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    });
    let receive = || messages.recv_timeout(PATIENCE).expect("systemd gets a message in time");
    let mut first = receive();
    while first == "WATCHDOG=1" {
        first = receive();
    }
    assert_eq!(first, "READY=1");
    assert_eq!(receive(), "WATCHDOG=1");
    let pids = workers.pids();
    crate::signal(pids[1], Signal::STOP);
    workers.expect_log(" was silent for 1 s and is killed", 1);
    gone(&pids[1..]);
    let again = workers.pids();
    assert!(again[0] == pids[0] && again[1] != pids[1]);
    messages.try_iter().for_each(drop);
    assert_eq!(receive(), "WATCHDOG=1", "the supervisor lives");
}
