//! Rules: SIGUSR2 replaces one worker after the other by the program on the disk; nobody is refused meanwhile, and the
//! clients of the old ones are told to come back at once. If a new one fails, the old ones stay.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::common::{Peer, wait_until};
use crate::{Workers, gone};

const APP: &str = "\n\n[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

/// One request over a new connection. Returns the status line.
fn ask(addr: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(crate::common::PATIENCE))?;
    stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_replacement_under_load_refuses_nobody() {
    let workers = Workers::start(3, APP);
    let (old, addr) = (workers.pids(), workers.server.addr);
    let is_over = AtomicBool::new(false);
    let load = || {
        let mut answers = 0;
        while !is_over.load(Ordering::Relaxed) {
            assert_eq!(ask(addr).expect("an answer"), "HTTP/1.1 200 OK");
            answers += 1;
        }
        answers
    };
    let answers = std::thread::scope(|scope| {
        let loads = [scope.spawn(load), scope.spawn(load)];
        workers.server.signal(Signal::USR2);
        wait_until(
            "all workers were replaced",
            || workers.server.log().contains("all workers were replaced"),
            || workers.server.log(),
        );
        is_over.store(true, Ordering::Relaxed);
        loads
            .map(|load| load.join().expect("no request failed"))
            .iter()
            .sum::<usize>()
    });
    assert!(answers > 10, "{answers}");
    gone(&old);
    assert!(workers.pids().iter().all(|pid| !old.contains(pid)));
    let log = workers.server.log();
    let order: Vec<&str> = log
        .lines()
        .filter_map(|line| line.strip_suffix(" was replaced"))
        .collect();
    assert_eq!(order.len(), 3, "{log}");
    assert!(
        order
            .iter()
            .zip(["1", "2", "3"])
            .all(|(line, number)| line.ends_with(number)),
        "{order:?}"
    );
}

#[test]
fn clients_of_a_replaced_worker_are_told_to_come_back_at_once() {
    let workers = Workers::start(2, APP);
    let mut client = Peer::upgrade(&workers.server, "/app/ka?protocol=7");
    client.any_frame();
    let mut plain = Peer::upgrade(&workers.server, "/echo");
    workers.server.signal(Signal::USR2);
    let reason = "the server was replaced: connect again";
    assert_eq!(client.expect_close(4200), reason);
    assert_eq!(plain.expect_close(1012), reason);
    workers.expect_log("all workers were replaced", 1);
}

/// Copies the server's program, so that a test may change it.
fn copy(folder: &Path) -> std::path::PathBuf {
    let program = folder.join("jsocketd");
    fs::copy(env!("CARGO_BIN_EXE_jsocketd"), &program).expect("copied");
    program
}

/// Puts another program in its place, as a package manager does.
fn replace(program: &Path, text: &str) {
    let new = program.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("it may be run");
    fs::rename(new, program).expect("renamed");
}

#[test]
fn a_new_program_that_fails_leaves_the_old_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = copy(folder.path());
    let workers = Workers::start_with(2, "", |command, _| {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut other = std::process::Command::new(&program);
        other.args(arguments);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        let log = fs::File::options().append(true).open(log_of(command)).expect("the log");
        other
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(log);
        *command = other;
    });
    let pids = workers.pids();
    let mut peer = Peer::upgrade(&workers.server, "/echo");
    replace(&program, "#!/bin/sh\nexit 3\n");
    workers.server.signal(Signal::USR2);
    workers.expect_log(
        "the new worker 1 failed: it has ended; the old workers that are left stay",
        1,
    );
    assert_eq!(workers.pids(), pids);
    peer.text("still here").expect_text("still here");
    // A worker that dies is started from the program that ran before.
    crate::signal(pids[0], Signal::KILL);
    gone(&pids[..1]);
    assert_ne!(workers.pids()[0], pids[0]);
    workers.expect_log(" worker 1: starts: process ", 2);
}

fn log_of(command: &std::process::Command) -> std::path::PathBuf {
    let config = command
        .get_args()
        .skip_while(|argument| *argument != "--config")
        .nth(1)
        .expect("a file");
    Path::new(config).with_file_name("log")
}
