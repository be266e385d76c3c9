//! Several processes as one server: the built server with `[server] workers`, its supervisor and its workers, ended in
//! every way.

#[path = "../common/mod.rs"]
mod common;

mod ending;
mod reloading;
mod replacing;
mod sharing;

use std::path::Path;
use std::process::Command;

use common::{Server, children, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// A server of several workers.
struct Workers {
    server: Server,
    many: usize,
}

impl Workers {
    /// Starts one with this configuration besides.
    fn start(many: usize, toml: &str) -> Self {
        Self::start_with(many, toml, |_, _| {})
    }

    /// Starts one whose command is changed before.
    fn start_with(many: usize, toml: &str, change: impl FnOnce(&mut Command, &Path)) -> Self {
        let server = Server::start_with(&configuration(many, toml), change);
        let own = Self { server, many };
        own.pids();
        own
    }

    /// The process ids of the workers, by their numbers. Waits until all are there.
    fn pids(&self) -> Vec<u32> {
        let find = || {
            let mut found: Vec<(u32, u32)> = children(self.server.pid)
                .into_iter()
                .filter_map(|(pid, _)| Some((number(pid)?, pid)))
                .collect();
            found.sort_unstable();
            found.into_iter().map(|(_, pid)| pid).collect::<Vec<_>>()
        };
        wait_until(
            "all workers run",
            || find().len() == self.many,
            || format!("{:?}\n{}", find(), self.server.log()),
        );
        find()
    }

    /// Waits until the log has this many lines with that text.
    fn expect_log(&self, text: &str, times: usize) {
        let count = || self.server.log().lines().filter(|line| line.contains(text)).count();
        wait_until(
            &format!("the log has {text:?} {times} times"),
            || count() >= times,
            || self.server.log(),
        );
        assert_eq!(count(), times, "{text:?}: {}", self.server.log());
    }
}

/// The configuration of a server with so many workers. Its engine is away, so each worker serves its own clients.
fn configuration(many: usize, toml: &str) -> String {
    let (server, rest) = toml.split_once("\n\n").unwrap_or((toml, ""));
    format!(
        "[server]\nworkers = {many}\n{server}\n[limits]\nconnects_per_second = 0\ndrain_seconds = 1\n\
         [engine]\nurl = \"unix:/nowhere/redis.sock\"\n{rest}\n"
    )
}

/// The number of a worker.
fn number(pid: u32) -> Option<u32> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let (_, number) = line.trim_end_matches('\0').rsplit_once("--worker\0")?;
    number.parse().ok()
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// The sockets that a process has open.
fn sockets(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
    let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count()
}

fn is_there(pid: u32) -> bool {
    // A process that has ended and was not collected has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn gone(pids: &[u32]) {
    wait_until(
        "these processes have ended",
        || pids.iter().all(|pid| !is_there(*pid)),
        || format!("{:?}", pids.iter().map(|pid| is_there(*pid)).collect::<Vec<_>>()),
    );
}
