//! Rules: workers share each address, every worker gets clients, and each has a listener for administrators of its own.
//! Lines of the log say which worker wrote them, and no two lines of the access log are mixed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Peer, wait_until};
use crate::{Workers, gone, number, signal, sockets};

#[test]
fn every_worker_gets_clients() {
    let workers = Workers::start(3, "");
    let pids = workers.pids();
    let numbers: Vec<_> = pids.iter().filter_map(|pid| number(*pid)).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let before: Vec<usize> = pids.iter().map(|pid| sockets(*pid)).collect();
    let mut peers = Vec::new();
    let new = || -> Vec<usize> { pids.iter().zip(&before).map(|(pid, old)| sockets(*pid) - old).collect() };
    // Which worker is first is chance. Each has some in the end.
    while new().contains(&0) {
        assert!(peers.len() < 2000, "{:?}", new());
        let mut peer = Peer::upgrade(&workers.server, "/echo");
        peer.text("here").expect_text("here");
        peers.push(peer);
    }
    assert_eq!(new().iter().sum::<usize>(), peers.len(), "each client is one worker's");
}

#[test]
fn a_worker_that_is_killed_takes_only_its_own_clients_with_it() {
    let workers = Workers::start(2, "");
    let pids = workers.pids();
    let mut theirs: [Vec<Peer>; 2] = [Vec::new(), Vec::new()];
    while theirs.iter().any(|peers| peers.len() < 3) {
        let before = sockets(pids[0]);
        let peer = Peer::upgrade(&workers.server, "/echo");
        theirs[usize::from(sockets(pids[0]) == before)].push(peer);
        assert!(theirs[0].len() + theirs[1].len() < 2000);
    }
    signal(pids[0], Signal::KILL);
    gone(&pids[..1]);
    let [lost, others] = &mut theirs;
    for peer in lost {
        peer.expect_end();
    }
    for peer in others {
        peer.text("still here").expect_text("still here");
    }
    let again = workers.pids();
    assert!(again[1] == pids[1] && again[0] != pids[0], "{pids:?} {again:?}");
    let log = workers.server.log();
    let line = log.lines().find(|line| line.contains("ended unasked")).expect("a line");
    assert!(
        line.ends_with("with signal: 9 (SIGKILL); it is started again in 100 ms"),
        "{line}"
    );
}

/// The kernel completes connections while no worker accepts. They are nobody's when a worker dies.
#[test]
fn clients_that_wait_while_a_worker_dies_are_served() {
    let workers = Workers::start(2, "");
    let pids = workers.pids();
    pids.iter().for_each(|pid| signal(*pid, Signal::STOP));
    let mut waiting: Vec<Peer> = (0..100).map(|_| Peer::connect(&workers.server)).collect();
    for peer in &mut waiting {
        peer.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    signal(pids[0], Signal::KILL);
    gone(&pids[..1]);
    signal(pids[1], Signal::CONT);
    for peer in &mut waiting {
        assert_eq!(peer.reply().status, 200);
    }
}

#[test]
fn a_worker_that_dies_again_and_again_is_started_after_longer_pauses() {
    let workers = Workers::start(2, "");
    for pause in ["100 ms", "200 ms", "400 ms"] {
        let pid = workers.pids()[1];
        signal(pid, Signal::KILL);
        gone(&[pid]);
        workers.expect_log(&format!("worker 2 (process {pid}) ended unasked"), 1);
        workers.expect_log(&format!("started again in {pause}"), 1);
    }
    // One that is asked to end by somebody else is missed, too.
    let pid = workers.pids()[0];
    signal(pid, Signal::TERM);
    gone(&[pid]);
    workers.expect_log("with exit status: 0; it is started again", 1);
    assert_eq!(workers.pids().len(), 2);
}

#[test]
fn each_worker_has_a_socket_for_administrators() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let workers = Workers::start(2, &format!("admin_listen = \"unix:{path}/admin.sock\""));
    for (n, pid) in workers.pids().into_iter().enumerate() {
        assert_eq!(
            workers.server.printed(),
            format!("listening on unix:{path}/admin.{}.sock", n + 1)
        );
        let mut stream = UnixStream::connect(folder.path().join(format!("admin.{}.sock", n + 1))).expect("a socket");
        stream
            .write_all(b"GET /debug/status HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(&format!("\"pid\":{pid},")), "{answer}");
    }
}

#[test]
fn the_state_of_each_worker_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let workers = Workers::start(2, &format!("admin_listen = \"unix:{path}/admin.sock\""));
    let pids = workers.pids();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command.args(words).arg("--config").arg(workers.server.config_path());
        let output = command.output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, json, _) = run(&["status", "--json"]);
    let states: Vec<Value> = serde_json::from_str(&json).expect("a list");
    let told: Vec<u32> = states
        .iter()
        .map(|state| serde_json::from_value(state["pid"].clone()).expect("a process"))
        .collect();
    assert_eq!((code, told), (Some(0), pids.clone()));
    let (code, second, _) = run(&["status", "--json", "--worker", "2"]);
    let state: Value = serde_json::from_str(&second).expect("one");
    assert_eq!((code, state["pid"].as_u64()), (Some(0), Some(pids[1].into())));
    let (code, text, _) = run(&["status"]);
    assert_eq!(code, Some(0));
    for pid in &pids {
        assert!(text.contains(&pid.to_string()), "{text}");
    }
    let (code, screen, why) = run(&["top", "--once", "--worker", "2"]);
    assert!(code == Some(0) && screen.contains("jsocketd"), "{screen}{why}");
    assert_eq!(run(&["status", "--ready"]).0, Some(0));
    let (code, _, why) = run(&["status", "--worker", "3"]);
    assert!(
        code == Some(2) && why.contains("there is no worker 3"),
        "{code:?} {why}"
    );
    signal(pids[0], Signal::STOP);
    let (code, json, why) = run(&["status", "--json"]);
    signal(pids[0], Signal::CONT);
    let states: Vec<Value> = serde_json::from_str(&json).expect("a list");
    assert!(
        code != Some(0) && states.len() == 1 && why.contains("worker 1: "),
        "{code:?} {why}"
    );
}

#[test]
fn lines_of_all_workers_are_whole_and_say_whose_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let workers = Workers::start(2, &format!("log_level = \"debug\"\naccess_log = {path:?}"));
    let name = "x".repeat(1000);
    let mut requests = 0;
    let lines = || fs::read_to_string(&path).unwrap_or_default();
    for _ in 0..20 {
        let mut peers: Vec<Peer> = (0..50).map(|_| Peer::connect(&workers.server)).collect();
        for peer in &mut peers {
            peer.send(format!(
                "GET /{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            ));
            requests += 1;
        }
        peers.iter_mut().for_each(|peer| assert_eq!(peer.reply().status, 404));
    }
    let whole = || {
        lines()
            .lines()
            .filter(|line| line.contains("\"kind\":\"request\""))
            .count()
    };
    wait_until("every request has its line", || whole() == requests, lines);
    for line in lines().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let log = workers.server.log();
    let is_ours = |line: &str| line.contains(" worker 1: ") || line.contains(" worker 2: ");
    assert!(
        log.lines().filter(|line| line.contains("came from")).all(is_ours),
        "{log}"
    );
    for number in ["1", "2"] {
        assert!(log.contains(&format!(" worker {number}: starts: process ")), "{log}");
    }
    assert_eq!(
        log.matches("page and state: ").count(),
        1,
        "the supervisor says what is the same for all"
    );
    assert_eq!(log.matches("there is no app").count(), 1, "{log}");
}
