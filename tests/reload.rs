//! Reload (SIGHUP) and the log, as an administrator sees them: the built server with a configuration file, signals, and what
//! it wrote to standard error. Which keys a reload may change is tested with the configuration.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::{Peer, Server, wait_until};
use rustix::process::Signal;

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

/// Waits for a line of the log that ends so, and returns it.
fn logged(server: &Server, end: &str) -> String {
    wait_until(
        &format!("a line ends with {end:?}"),
        || line(server, end).is_some(),
        || server.log(),
    );
    line(server, end).expect("it was there")
}

fn line(server: &Server, end: &str) -> Option<String> {
    server.log().lines().find(|line| line.ends_with(end)).map(str::to_owned)
}

/// Writes this configuration and asks for a reload.
fn reload(server: &Server, toml: &str) {
    fs::write(server.config_path(), toml).expect("written");
    server.signal(Signal::HUP);
}

/// A connection that comes and goes leaves lines at debug.
fn come_and_go(server: &Server) {
    let mut peer = Peer::upgrade(server, "/echo");
    peer.finish_and_drain();
}

/// How many lines of the log have this level.
fn count(server: &Server, level: &str) -> usize {
    server
        .log()
        .lines()
        .filter(|line| line.split(' ').nth(1) == Some(level))
        .count()
}

#[test]
fn a_line_for_a_terminal_has_the_time_the_level_and_a_sentence() {
    let server = Server::start("");
    let line = logged(&server, " connections");
    let (time, rest) = line.split_once(' ').expect("a time");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(
        shape, "9999-99-99T99:99:99Z",
        "UTC, to the second, and no colours in a file"
    );
    assert!(
        rest.starts_with("INFO  the descriptor limit is "),
        "ours at info have no module: {line}"
    );
}

#[test]
fn a_line_for_the_journal_has_a_priority_and_no_time() {
    let server = Server::start_with("", |command, log| {
        let log = fs::metadata(log).expect("the log");
        command.env("JOURNAL_STREAM", format!("{}:{}", log.dev(), log.ino()));
    });
    assert!(logged(&server, " connections").starts_with("<6>the descriptor limit is "));
    let inherited = Server::start_with("", |command, _| {
        command.env("JOURNAL_STREAM", "1:1");
    });
    let line = logged(&inherited, " connections");
    assert!(!line.starts_with('<'), "standard error goes elsewhere: {line}");
}

#[test]
fn the_level_follows_the_file_and_its_reload() {
    let server = Server::start("[server]\nlog_level = \"warn\"\n");
    come_and_go(&server);
    reload(&server, "[server]\nlog_level = \"trace\"\n");
    // The reload's own line is at info, and what is in force when it is written is still the old level.
    wait_until(
        "a connection leaves lines at debug",
        || {
            come_and_go(&server);
            count(&server, "DEBUG") > 0
        },
        || server.log(),
    );
    let log = server.log();
    let mut low = log
        .lines()
        .filter(|line| line.contains("DEBUG") || line.contains("TRACE"));
    assert!(
        low.all(|line| line.contains(" jsocketd::")),
        "only ours, with their module:\n{log}"
    );
    reload(&server, "[server]\nlog_level = \"error\"\n");
    logged(&server, "the configuration was read again: server.log_level changed");
    let before = server.log();
    come_and_go(&server);
    reload(&server, "[server]\nlog_level = \"info\"\n");
    reload(&server, "[server]\nlog_level = \"bad\"\n");
    logged(
        &server,
        "must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
    );
    let after = server.log();
    let since = after.strip_prefix(&before).expect("a log only grows");
    assert!(!since.contains("DEBUG") && !since.contains("TRACE"), "{since}");
}

#[test]
fn rust_log_beats_the_file_and_every_reload() {
    let quiet = Server::start_with("[server]\nlog_level = \"trace\"\n", |command, _| {
        command.env("RUST_LOG", "error");
    });
    come_and_go(&quiet);
    reload(&quiet, "[server]\nlog_level = \"debug\"\n");
    come_and_go(&quiet);
    reload(&quiet, "[server]\nlog_level = \"bad\"\n");
    logged(
        &quiet,
        "must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
    );
    assert_eq!(quiet.log().lines().count(), 1, "{}", quiet.log());

    let loud = Server::start_with("[server]\nlog_level = \"error\"\n", |command, _| {
        command.env("RUST_LOG", "jsocketd=debug,mio=trace");
    });
    come_and_go(&loud);
    wait_until(
        "a connection leaves lines at debug",
        || count(&loud, "DEBUG") > 0,
        || loud.log(),
    );
    assert!(
        loud.log().lines().any(|line| line.contains("TRACE mio::")),
        "others have their module:\n{}",
        loud.log()
    );

    let unset = Server::start_with("", |command, _| {
        command.env("RUST_LOG", "");
    });
    logged(&unset, " connections");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let server = Server::start(APP);
    let url = |key: &str| format!("/app/{key}?protocol=7");
    reload(
        &server,
        &format!(
            "{}[echo]\nenabled = false\nenable = 1\n[limits]\nping_timeout = 0\n",
            APP.replace("ka", "kb")
        ),
    );
    let line = logged(&server, "must be a whole number from 1 to 3600, not 0");
    let file = server.config_path();
    let file = file.display();
    assert!(
        line.contains(&format!(
            " ERROR the configuration stays as it was: {file}:7:1: unknown key `enable` in [echo]; did you mean `enabled`?; {file}:9:16: "
        )),
        "{line}"
    );
    Peer::upgrade(&server, "/echo")
        .text("still here")
        .expect_text("still here");
    let frame = Peer::upgrade(&server, &url("ka")).next_frame();
    assert!(String::from_utf8_lossy(&frame.1).contains("connection_established"));

    fs::remove_file(server.config_path()).expect("removed");
    server.signal(Signal::HUP);
    logged(
        &server,
        "cannot read the configuration file: No such file or directory (os error 2)",
    );
    Peer::upgrade(&server, "/echo")
        .text("still here")
        .expect_text("still here");
}

#[test]
fn what_changed_is_named_and_what_waits_for_a_restart_too() {
    let server = Server::start(APP);
    reload(&server, APP);
    logged(&server, "INFO  the configuration was read again: nothing changed");
    let file = format!(
        "[server]\nunix_mode = \"0600\"\n[limits]\nping_timeout = 7\n[echo]\nenabled = false\n{}{APP}client_events = true\n",
        APP.replace("\"a\"", "\"b\"").replace("\"ka\"", "\"kb\"")
    );
    reload(&server, &file);
    let named = "limits.ping_timeout, echo.enabled, apps.a.client_events, apps.b (added)";
    logged(
        &server,
        &format!("INFO  the configuration was read again: {named} changed"),
    );
    logged(&server, "WARN  a restart is needed for server.unix_mode");
    Peer::connect(&server)
        .send("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect_status(404);
    let frame = Peer::upgrade(&server, "/app/kb?protocol=7").next_frame();
    assert!(
        String::from_utf8_lossy(&frame.1).contains("connection_established"),
        "the new app is there"
    );

    reload(&server, "");
    let gone = "apps.b (removed), apps.a (removed)";
    logged(&server, &format!("limits.ping_timeout, echo.enabled, {gone} changed"));
    let (opcode, reason) = Peer::upgrade(&server, "/app/kb?protocol=7").next_frame();
    assert_eq!((opcode, &reason[..2]), (8, &4003_u16.to_be_bytes()[..]), "{reason:?}");
}
