//! Rules: SIGHUP reaches one worker after the other, and all of them have the same configuration afterwards: one that
//! the supervisor or any worker would refuse is used by none.

use std::fs;

use rustix::process::Signal;

use crate::common::Peer;
use crate::{Workers, configuration};

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

fn reload(workers: &Workers, toml: &str) {
    fs::write(workers.server.config_path(), toml).expect("written");
    workers.server.signal(Signal::HUP);
}

#[test]
fn one_worker_after_the_other_reads_the_configuration() {
    let workers = Workers::start(3, "");
    let pids = workers.pids();
    let mut peer = Peer::upgrade(&workers.server, "/echo");
    reload(&workers, &configuration(3, "max_connections = 900"));
    let line = "the configuration was read again: server.max_connections changed";
    workers.expect_log(line, 3);
    let log = workers.server.log();
    let order: Vec<&str> = log
        .lines()
        .filter(|found| found.ends_with(line))
        .filter_map(|found| found.split("worker ").nth(1)?.split(':').next())
        .collect();
    assert_eq!(order, ["1", "2", "3"]);
    assert_eq!(workers.pids(), pids, "nobody was restarted");
    peer.text("still here").expect_text("still here");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why_once() {
    let workers = Workers::start(2, "");
    let pids = workers.pids();
    reload(&workers, "[server]\nworkers = 2\nmax_connections = \"many\"\n");
    workers.expect_log("the configuration stays as it was: ", 1);
    assert!(
        workers.server.log().contains("max_connections"),
        "{}",
        workers.server.log()
    );
    reload(&workers, &configuration(2, "max_connections = 900"));
    workers.expect_log("the configuration was read again: server.max_connections changed", 2);
    reload(&workers, &configuration(4, "max_connections = 900"));
    workers.expect_log("a restart is needed for server.workers", 2);
    assert_eq!(workers.pids(), pids);
}

/// The app's only client is connected to one of the workers. The other one would take the configuration.
#[test]
fn a_file_that_one_worker_refuses_is_used_by_none() {
    let workers = Workers::start(2, &format!("\n\n{APP}"));
    let mut peer = Peer::upgrade(&workers.server, "/app/ka?protocol=7");
    peer.any_frame();
    reload(&workers, &configuration(2, "max_connections = 900"));
    workers.expect_log("the configuration stays as it was: worker ", 1);
    let log = workers.server.log();
    assert!(
        log.contains("this would close 1 connection of the app a; stop the server if that is meant"),
        "{log}"
    );
    assert!(!log.contains("was read again"), "{log}");
}

/// logrotate renames the file and sends SIGHUP, whatever the configuration says.
#[test]
fn the_access_log_is_opened_again_by_all_also_with_a_bad_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let workers = Workers::start(2, &format!("access_log = {path:?}"));
    fs::rename(&path, folder.path().join("access.log.1")).expect("renamed");
    let file = workers.server.config_path();
    let good = fs::read_to_string(&file).expect("it is there");
    fs::write(file, format!("{good}\nnonsense")).expect("written");
    let has_new = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| link == path)
    };
    assert!(!workers.pids().iter().any(has_new));
    workers.server.signal(Signal::HUP);
    crate::common::wait_until(
        "all workers have the new file",
        || workers.pids().iter().all(has_new),
        || workers.server.log(),
    );
}
