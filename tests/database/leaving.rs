//! A process that ends in order takes its heartbeat along, and a database that is slow, locked or gone does not delay
//! the end beyond what the drain promises.

use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use rustix::process::Signal;

use crate::common::between::{Between, Trick};
use crate::common::joomla::Site as Joomla;
use crate::common::{Peer, Server, wait_until};

/// The time that a drain may take that has nobody to wait for: a second for the database, and a good deal more for a
/// busy machine.
const SOON: Duration = Duration::from_secs(5);

/// A server of a site, with more in its configuration, that has written its heartbeat.
fn server(joomla: &Joomla, toml: &str) -> Server {
    let before = beats(joomla).len();
    let server = Server::start_with(toml, |command, _| {
        command.arg("--joomla").arg(joomla.root());
    });
    let has_beaten = || beats(joomla).len() > before;
    wait_until("it has a heartbeat", has_beaten, || server.log());
    // It has also read the answer: it polls after that.
    let polls = || server.log().contains("the outbox table is read");
    wait_until("it reads the table", polls, || server.log());
    server
}

fn joomla() -> Joomla {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla
}

/// The names of the rows of processes.
fn beats(joomla: &Joomla) -> Vec<String> {
    joomla.rows("SELECT name FROM #__websockets_state WHERE name LIKE 'process.%'")
}

/// Ends a server in order. Returns how long that took.
fn end(server: &mut Server) -> Duration {
    let began = Instant::now();
    server.signal(Signal::TERM);
    assert!(server.ended().success(), "{}", server.log());
    began.elapsed()
}

#[test]
fn every_database_loses_the_row_of_a_process_that_ended_and_no_other() {
    let joomla = joomla();
    let mut first = server(&joomla, "");
    let of_first = beats(&joomla);
    let mut second = server(&joomla, "");
    let both: Vec<String> = joomla.rows("SELECT name FROM #__websockets_state ORDER BY name");
    assert!(end(&mut first) < SOON);
    let left: Vec<String> = joomla.rows("SELECT name FROM #__websockets_state ORDER BY name");
    let expected: Vec<String> = both.into_iter().filter(|name| !of_first.contains(name)).collect();
    assert_eq!(left, expected);
    assert_eq!(beats(&joomla).len(), 1);
    assert!(!first.log().contains("stays in the state table"), "{}", first.log());
    // A crash leaves the row.
    second.signal(Signal::KILL);
    second.ended();
    assert_eq!(beats(&joomla).len(), 1);
}

#[test]
fn a_peer_that_does_not_leave_keeps_no_row_there() {
    let joomla = joomla();
    let app = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";
    let limits = "[limits]\ndrain_seconds = 0\nclose_timeout = 1\n";
    let mut server = server(&joomla, &format!("{limits}{app}"));
    // It is asked to close, and answers nothing.
    let peer = Peer::upgrade(&server, "/app/ka?protocol=7");
    let took = end(&mut server);
    assert!(took < SOON, "{took:?}");
    assert_eq!(beats(&joomla), [""; 0], "{}", server.log());
    drop(peer);
}

#[test]
fn a_locked_row_a_lost_privilege_and_a_lost_database_delay_the_end_by_a_second_at_most() {
    // Somebody holds the row.
    let joomla = joomla();
    let mut server = self::server(&joomla, "");
    let mut holder = joomla.connect();
    let lock = "START TRANSACTION; SELECT * FROM #__websockets_state FOR UPDATE";
    holder.query_drop(joomla.text(lock)).expect("root may");
    assert!(end(&mut server) < SOON, "{}", server.log());
    assert_eq!(beats(&joomla).len(), 1);
    holder.query_drop("ROLLBACK").expect("the end");

    // Somebody holds it for a moment.
    joomla.sql("DELETE FROM #__websockets_state WHERE name LIKE 'process.%'");
    let mut server = self::server(&joomla, "");
    holder.query_drop(joomla.text(lock)).expect("root may");
    server.signal(Signal::TERM);
    wait_until("it drains", || server.log().contains("draining"), || server.log());
    holder.query_drop("ROLLBACK").expect("the end");
    assert!(server.ended().success());
    assert_eq!(beats(&joomla), [""; 0], "{}", server.log());

    // The privilege is missing.
    let mut server = self::server(&joomla, "");
    joomla.sql(&format!(
        "REVOKE ALL ON {0}.* FROM {1}; GRANT SELECT, INSERT, UPDATE ON {0}.* TO {1}",
        joomla.database, joomla.user
    ));
    assert!(end(&mut server) < SOON, "{}", server.log());
    let is_said = server
        .log()
        .contains("the heartbeat of this process stays in the state table");
    assert!(is_said || beats(&joomla).is_empty(), "{}", server.log());
}

#[test]
fn a_database_that_hangs_or_is_gone_does_not_delay_the_end() {
    for trick in [Trick::Swallow, Trick::Stall(0), Trick::Cut, Trick::Refuse] {
        let joomla = joomla();
        let proxy = Between::new(joomla.server.addr);
        joomla.configure("host", &format!("'{}'", proxy.addr));
        let mut server = server(&joomla, "");
        proxy.play(trick.clone());
        let took = end(&mut server);
        assert!(took < SOON, "{trick:?}: {took:?}\n{}", server.log());
    }
}

#[test]
fn no_statement_begins_that_could_outlast_the_drain() {
    let joomla = joomla();
    let proxy = Between::new(joomla.server.addr);
    joomla.configure("host", &format!("'{}'", proxy.addr));
    // The drain lasts two seconds at most, and an answer of the database may take longer.
    let toml = "[limits]\ndrain_seconds = 0\nclose_timeout = 1\n[database]\nread_timeout_ms = 3000\n";
    let mut server = server(&joomla, toml);
    let took = end(&mut server);
    assert!(took < SOON, "{took:?}");
    assert_eq!(beats(&joomla).len(), 1, "the row stays, for others to delete");
}
