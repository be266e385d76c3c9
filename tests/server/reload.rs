//! Reload (SIGHUP) and the log, as an administrator sees them: the built server with a configuration file, signals, and
//! its lines on standard error. The tests of the configuration check which keys a reload may change.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::common::{Peer, Server, wait_until};
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

/// A connection that opens and closes leaves lines at debug.
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
        shape, "9999-99-99T99:99:99.999Z",
        "UTC, to the millisecond, and no colours in a file"
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
    // The reload's own line is at info, and the old level is still in force when it is written.
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
    let theirs = loud.log().lines().any(|line| line.contains("mio::"));
    assert!(!theirs, "others write warnings alone:\n{}", loud.log());

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
fn a_reload_logs_the_changed_keys_and_the_keys_that_need_a_restart() {
    let server = Server::start(APP);
    let fds = server.fds();
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

    // With connections of these apps it would be refused.
    server.expect_fds(fds);
    reload(&server, "");
    let gone = "apps.b (removed), apps.a (removed)";
    logged(&server, &format!("limits.ping_timeout, echo.enabled, {gone} changed"));
    let (opcode, reason) = Peer::upgrade(&server, "/app/kb?protocol=7").next_frame();
    assert_eq!((opcode, &reason[..2]), (8, &4003_u16.to_be_bytes()[..]), "{reason:?}");
}

/// A connection of the app, which lives.
fn join(server: &Server) -> Peer {
    let mut peer = Peer::upgrade(server, "/app/ka?protocol=7");
    let (_, greeting) = peer.next_frame();
    assert!(String::from_utf8_lossy(&greeting).contains("connection_established"));
    peer
}

fn expect_alive(peer: &mut Peer) {
    peer.text("{\"event\":\"pusher:ping\",\"data\":{}}")
        .expect_text("{\"event\":\"pusher:pong\",\"data\":\"{}\"}");
}

#[test]
fn a_file_that_would_close_connections_changes_nothing() {
    let server = Server::start(APP);
    let fds = server.fds();
    let mut peers = [join(&server), join(&server)];
    let refusal = |count: &str| {
        let meant = "stop the server if that is meant";
        format!("ERROR the configuration stays as it was: this would close {count} of the app a; {meant}")
    };
    reload(&server, "");
    logged(&server, &refusal("2 connections"));
    peers.iter_mut().for_each(expect_alive);

    // Another app beside it is fine, and had the file without it changed the log's level, no line would say so.
    let [mut one, other] = peers;
    drop(other);
    server.expect_fds(fds + 1);
    let other_app = APP.replace("\"a\"", "\"b\"").replace("\"ka\"", "\"kb\"");
    reload(
        &server,
        &format!("[server]\nlog_level = \"error\"\n[limits]\nping_timeout = 7\n{other_app}"),
    );
    logged(&server, &refusal("1 connection"));
    reload(&server, &format!("[limits]\nping_timeout = 7\n{APP}{other_app}"));
    logged(
        &server,
        "INFO  the configuration was read again: limits.ping_timeout, apps.b (added) changed",
    );
    expect_alive(&mut one);

    // The other app has no connections: it may go.
    reload(&server, &format!("[limits]\nping_timeout = 7\n{APP}"));
    logged(
        &server,
        "INFO  the configuration was read again: apps.b (removed) changed",
    );
    expect_alive(&mut one);

    // This is said on purpose, and so is an app that goes after that.
    reload(&server, &format!("{APP}enabled = false\n"));
    let (opcode, reason) = one.next_frame();
    assert_eq!((opcode, &reason[..2]), (8, &4003_u16.to_be_bytes()[..]), "{reason:?}");
    drop(one);
    server.expect_fds(fds);
    reload(&server, "");
    logged(
        &server,
        "INFO  the configuration was read again: apps.a (removed) changed",
    );
}

#[test]
fn an_empty_file_changes_nothing_while_clients_are_connected() {
    let server = Server::start("[limits]\nping_timeout = 7\n");
    let fds = server.fds();
    let mut peer = Peer::upgrade(&server, "/echo");
    reload(&server, "# nothing\n");
    logged(
        &server,
        "the file is empty while 1 connection is open; stop the server if that is meant",
    );
    peer.text("still here").expect_text("still here");
    drop(peer);
    server.expect_fds(fds);
    reload(&server, "");
    logged(
        &server,
        "INFO  the configuration was read again: limits.ping_timeout changed",
    );
    let _peer = Peer::upgrade(&server, "/echo");
    reload(&server, "# nothing again\n");
    logged(&server, "INFO  the configuration was read again: nothing changed");
}

#[test]
fn the_app_of_a_site_does_not_go_while_visitors_are_connected() {
    let site = tempfile::tempdir().expect("a temporary folder");
    let joomla = site.path().join("configuration.php");
    fs::write(
        joomla,
        "<?php class JConfig { public $host = '127.0.0.1:9'; public $user = 'u'; public $password = 'p'; \
         public $db = 'd'; public $dbprefix = 'p_'; public $secret = 's'; }",
    )
    .expect("written");
    let root = format!("[joomla]\nroot = \"{}\"\n", site.path().display());
    let server = Server::start(&format!("{root}app = \"ours\"\n"));
    let mut peer = Peer::upgrade(&server, "/app/ours?protocol=7");
    let (_, greeting) = peer.next_frame();
    assert!(String::from_utf8_lossy(&greeting).contains("connection_established"));
    // The last one names the site's app otherwise.
    for file in ["", "[console]\nenabled = true\n", root.as_str()] {
        let before = server.log().lines().count();
        reload(&server, file);
        let end = "would close 1 connection of the app ours; stop the server if that is meant";
        wait_until(
            "it is refused",
            || server.log().lines().skip(before).any(|line| line.ends_with(end)),
            || server.log(),
        );
    }
    expect_alive(&mut peer);
}
