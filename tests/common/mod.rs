//! The harness of the end-to-end tests: a server of its own for each test, and clients on raw sockets that speak in
//! dialogues: send this, expect that. The harness has bytes and deadlines. The tests say what is right.
//!
//! Nothing here waits for time to pass. A test waits for a fact (bytes, the end of a stream, a number in `/proc`). If
//! the fact does not come within [`PATIENCE`], the test fails and shows what came instead.

// Every test binary compiles its own copy and uses a part of it.
#![allow(dead_code)]

pub mod between;
pub mod certificates;
pub mod cluster;
pub mod engine;
pub mod flight;
pub mod follower;
pub mod frame;
pub mod joomla;
pub mod mariadb;
pub mod names;
pub mod outbox;
pub mod peer;
pub mod ports;
pub mod pusher;
pub mod server;
pub mod store;
pub mod visits;
pub mod web_server;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

// A test binary that needs only one of these is no reason to write longer paths in the others.
#[allow(unused_imports)]
pub use {frame::Frame, peer::Peer, peer::Reply, server::Server};

/// How long anything may take that should take milliseconds: an overloaded machine is no failure, a hang is one.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Held by a test that measures time: those of a binary take turns, since each measures a machine that the others would
/// keep busy. Cargo runs binaries one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processes that another one has started and not collected, each with its first argument; zombies have none.
pub fn children(parent: u32) -> Vec<(u32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"))
        .expect("it runs")
        .flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    let argument = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let argument = line.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        String::from_utf8_lossy(argument).into_owned()
    };
    pids.iter().map(|pid| (*pid, argument(pid))).collect()
}

/// Looks again and again until `fact` holds.
///
/// # Panics
/// After [`PATIENCE`], with what `seen` says of the state then.
pub fn wait_until(what: &str, mut fact: impl FnMut() -> bool, seen: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !fact() {
        assert!(Instant::now() < deadline, "waited too long until {what}: {}", seen());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// That many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 56) as u8).collect()
    }
}
