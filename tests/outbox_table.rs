//! The outbox table as its writers, readers and administrators use it, each by itself: order, gaps, bad rows, control rows,
//! positions, several servers on one table, tables that are restored, truncated or deleted from, users with few privileges.
//! All of it at once and under fire stands in `outbox_fire.rs`.

mod common;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::frame::CLOSE;
use common::joomla::{Session as Login, Site as Joomla};
use common::mariadb::Mariadb;
use common::outbox::{enter, parts, pong, positions, ready, row, serve, serve_app, stats, table_position, wait_for};
use common::peer::KEY as NONCE;
use common::pusher::{KEY, Session, Site};
use common::{Peer, wait_until};
use jsocketd::app::outbox::{Outbox, Reach, Seen};
use jsocketd::config::{self, ItemType, ListenAddr};
use jsocketd::joomla::site::{self, Client, Tls};
use jsocketd::protocol::position::Position;
use jsocketd::store::grants::grants;
use jsocketd::store::mysql::MySql;
use jsocketd::store::{Readiness, Store};
use jsocketd::time::{Now, Time};
use mysql::Conn;
use mysql::prelude::Queryable;
use rustix::process::Signal;
use serde_json::json;

/// A site with the tables of the outbox.
fn joomla() -> Joomla {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla
}

/// A site, its server, and where that is in the table.
fn start(database: &str) -> (Joomla, Site, String) {
    let joomla = joomla();
    let site = serve(&joomla, database);
    let position = ready(&site);
    (joomla, site, position)
}

fn kill(mut site: Site) -> String {
    site.server.signal(Signal::KILL);
    site.server.ended();
    site.server.log()
}

/// A client that asks for recovery, in a channel.
fn listener(site: &Site, channel: &str) -> Session {
    let mut session = site.connect_recovering();
    enter(&mut session, channel, None);
    session
}

/// The next event as who asked for recovery gets it: its row, the safe row if that is lower, and the data.
fn event(session: &mut Session) -> (u64, Option<u64>, String) {
    let mut got = session.next();
    while got["event"] == "pusher_internal:position" {
        got = session.next();
    }
    let text = got["data"].as_str().unwrap_or_else(|| panic!("{got}")).to_owned();
    (row(&got["id"]), got.get("pos").map(row), text)
}

/// The data of what was missed, up to the answer to a ping.
fn missed(session: &mut Session) -> Vec<String> {
    let rest = session.rest().into_iter();
    let events = rest.filter(|message| message["event"] != "pusher_internal:position");
    events
        .map(|message| {
            message["data"]
                .as_str()
                .unwrap_or_else(|| panic!("{message}"))
                .to_owned()
        })
        .collect()
}

/// The server ends the connection with this code. From time to time it tells a position.
fn closed(session: &mut Session, code: u16) {
    loop {
        match session.peer.next_frame() {
            (CLOSE, payload) => return assert_eq!(payload[..2], code.to_be_bytes()),
            (_, text) => assert!(String::from_utf8_lossy(&text).contains("pusher_internal:position")),
        }
    }
}

/// Comes back with a position; what was missed, or `None` for a gap.
fn come_back(site: &Site, channel: &str, since: &str) -> Option<Vec<String>> {
    let mut session = site.connect_recovering();
    let got = enter(&mut session, channel, Some(json!(since)));
    let missed = missed(&mut session);
    match got["recovered"].as_bool() {
        Some(true) => Some(missed),
        Some(false) => {
            assert!(missed.is_empty(), "half of it would be worse than nothing: {missed:?}");
            None
        }
        None => panic!("{got}"),
    }
}

/// The safe row, once it is so high.
fn settled(session: &mut Session, wanted: u64) {
    let mut last = 0;
    wait_until(
        &format!("row {wanted} is settled"),
        || {
            last = table_position(&pong(session)["pos"]).map_or(0, |position| parts(&position).1);
            last >= wanted
        },
        String::new,
    );
    assert_eq!(last, wanted);
}

fn begin(joomla: &Joomla) -> Conn {
    let mut connection = joomla.connect();
    connection.query_drop("START TRANSACTION").expect("a transaction");
    connection
}

fn finish(mut connection: Conn, how: &str) {
    connection.query_drop(how).expect("the transaction ends");
}

// --- order ---------------------------------------------------------------------------------------------------------------

#[test]
fn live_order_is_order_of_visibility_and_recovery_order_is_by_id() {
    let (joomla, site, start) = start("");
    let (mut reader, mut stock) = (listener(&site, "news"), site.connect());
    stock.subscribe("news");
    let mut slow = begin(&joomla);
    let first = joomla.publish_on(&mut slow, "news", "e", "first");
    let second = joomla.publish("news", "e", "second");
    assert!(first < second);
    let (id, pos, data) = event(&mut reader);
    assert_eq!((id, data.as_str()), (second, "second"));
    assert_eq!(pos, Some(first - 1), "the gap holds the position back");
    stock.expect_event("news", "e", "second");
    // It is not settled by time.
    assert_eq!(
        table_position(&pong(&mut reader)["pos"]).map(|pos| parts(&pos).1),
        Some(first - 1)
    );
    finish(slow, "COMMIT");
    assert_eq!(event(&mut reader), (first, None, "first".into()));
    stock.expect_event("news", "e", "first").expect_nothing();
    settled(&mut reader, second);
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["first", "second"]);
}

#[test]
fn what_is_rolled_back_is_never_seen_and_holds_nothing_up_for_long() {
    let (joomla, site, start) = start("");
    let mut reader = listener(&site, "news");
    let mut failed = begin(&joomla);
    let gone = joomla.publish_on(&mut failed, "news", "e", "never");
    joomla.publish_on(&mut failed, "news", "e", "never");
    let there = joomla.publish("news", "e", "there");
    assert_eq!(event(&mut reader), (there, Some(gone - 1), "there".into()));
    finish(failed, "ROLLBACK");
    settled(&mut reader, there);
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["there"]);
    assert_eq!(stats(&site)["late"], 0);
}

#[test]
fn a_transaction_is_seen_whole_and_not_before_its_commit() {
    let (joomla, site, _) = start("");
    let mut reader = listener(&site, "news");
    let mut whole = begin(&joomla);
    for n in 0..3 {
        joomla.publish_on(&mut whole, "news", "e", &n.to_string());
        joomla.publish("news", "e", &format!("other {n}"));
        assert_eq!(event(&mut reader).2, format!("other {n}"));
    }
    finish(whole, "COMMIT");
    for n in 0..3 {
        assert_eq!(event(&mut reader).2, n.to_string());
    }
}

#[test]
fn a_transaction_that_outlives_the_server_is_delivered_by_the_next_one() {
    let (joomla, site, start) = start("");
    let mut slow = begin(&joomla);
    joomla.publish_on(&mut slow, "news", "e", "slow");
    let before = joomla.publish("news", "e", "before");
    let mut reader = listener(&site, "news");
    assert!(kill(site).contains("is read from row"));
    let site = serve(&joomla, "");
    let at_start = ready(&site);
    assert!(parts(&at_start).1 < before, "what is in flight is not settled");
    let (mut late, mut stock) = (listener(&site, "news"), site.connect());
    stock.subscribe("news");
    finish(slow, "COMMIT");
    assert_eq!(event(&mut late).2, "slow");
    stock.expect_event("news", "e", "slow").expect_nothing();
    settled(&mut late, before);
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["slow", "before"]);
    reader.peer.drain();
}

/// A position never goes back, although this process had settled less than the one before it had told.
#[test]
fn who_comes_back_after_a_restart_is_not_set_back() {
    let (joomla, site, _) = start("");
    let mut reader = listener(&site, "news");
    let mut told = 0;
    // Holes that are dead for this process and not yet for the next one.
    for _ in 0..3 {
        let mut failed = begin(&joomla);
        joomla.publish_on(&mut failed, "news", "e", "never");
        told = joomla.publish("news", "e", "there");
        finish(failed, "ROLLBACK");
        event(&mut reader);
    }
    settled(&mut reader, told);
    let epoch = parts(&table_position(&pong(&mut reader)["pos"]).expect("it is known")).0;
    kill(site);
    let behind = format!("o{epoch}:0");
    joomla.sql(&format!(
        "UPDATE #__websockets_state SET value = '{behind}' WHERE name LIKE 'position.%'"
    ));
    joomla.publish("news", "e", "news");
    let site = serve(&joomla, "");
    let mut session = site.connect_recovering();
    let since = format!("o{epoch}:{told}");
    let got = enter(&mut session, "news", Some(json!(since)));
    assert_eq!(got["recovered"], true);
    assert_eq!(table_position(&got["pos"]).as_deref(), Some(&*since));
    assert_eq!(event(&mut session), (told + 1, None, "news".into()));
}

// --- writers -------------------------------------------------------------------------------------------------------------

#[test]
fn probes_block_no_writer_at_any_isolation_level() {
    let server = Arc::new(Mariadb::start(&["--log-output=TABLE"]));
    let joomla = Joomla::joomla6_on(Arc::clone(&server));
    joomla.create_outbox();
    let site = serve(&joomla, "");
    ready(&site);
    let mut root = server.connect(None);
    root.query_drop("SET GLOBAL general_log = 1").expect("root may");
    let mut waits = || -> u64 {
        let row: Option<(String, u64)> = root
            .query_first("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'")
            .expect("root may");
        row.expect("a count").1
    };
    let waited = waits();
    let probes = || -> u64 {
        let log = "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE 'SELECT id FROM % FOR UPDATE NOWAIT'";
        server
            .connect(None)
            .query_first(log)
            .expect("root may")
            .expect("a count")
    };
    // A gap that is there all the time, among those that come and go.
    let mut open = begin(&joomla);
    joomla.publish_on(&mut open, "news", "e", "open");
    let over = AtomicBool::new(false);
    let mut took: Vec<Duration> = thread::scope(|scope| {
        let levels = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
        let writers = levels.map(|level| {
            let (joomla, over) = (&joomla, &over);
            scope.spawn(move || {
                let mut connection = joomla.connect();
                let mut took = Vec::new();
                let mut run = |statement: &str| {
                    let began = Instant::now();
                    connection.query_drop(joomla.text(statement)).expect("nothing is in the way");
                    took.push(began.elapsed());
                };
                run("SET SESSION innodb_lock_wait_timeout = 1");
                run(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"));
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    run("START TRANSACTION");
                    for _ in 0..3 {
                        run("INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ('news', 'e', '1', UTC_TIMESTAMP(3))");
                        thread::sleep(Duration::from_millis(3));
                    }
                    run(if n % 2 == 0 { "COMMIT" } else { "ROLLBACK" });
                }
                took
            })
        });
        wait_until(
            "there were enough probes",
            || probes() >= 40,
            || format!("{} probes", probes()),
        );
        over.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("nobody had to wait"))
            .collect()
    });
    took.sort_unstable();
    let (p50, p99, max) = (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
    println!(
        "{} statements beside {} probes: p50 {p50:?}, p99 {p99:?}, max {max:?}",
        took.len(),
        probes()
    );
    assert_eq!(waits(), waited, "somebody waited for a lock");
    assert!(p99 < Duration::from_millis(50), "p99 {p99:?}");
    finish(open, "COMMIT");
}

// --- the start -----------------------------------------------------------------------------------------------------------

#[test]
fn rows_from_before_the_start_are_history_and_nothing_else() {
    let (joomla, site, start) = start("");
    kill(site);
    let anna = joomla.log_in(joomla.id_of("anna"), Client::Site);
    joomla.publish("news", "e", "old");
    joomla.publish("#control", "terminate-user", &format!("{{\"user_id\":{}}}", anna.user));
    joomla.publish("cache-news", "e", "old");
    let site = serve(&joomla, "");
    ready(&site);
    let mut user = visit(&site, &joomla, &anna);
    enter(&mut user, &format!("private-user-{}", anna.user), None);
    let mut stock = site.connect();
    stock.subscribe("news").expect_nothing();
    let mut fresh = listener(&site, "news");
    assert!(missed(&mut fresh).is_empty());
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["old"]);
    joomla.publish("news", "e", "new");
    stock.expect_event("news", "e", "new");
    user.expect_nothing();
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["old", "new"]);
    // The same row is obeyed when it is new.
    joomla.publish("#control", "terminate-user", &format!("{{\"user_id\":{}}}", anna.user));
    closed(&mut user, 4009);
}

/// A page of this session.
fn visit(site: &Site, joomla: &Joomla, login: &Login) -> Session {
    let mut peer = Peer::connect(&site.server);
    peer.send(format!(
        "GET /app/{KEY}?protocol=7 HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nCookie: {}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n",
        joomla.cookie(login)
    ));
    peer.expect_switch();
    Session::greeted(peer)
}

#[test]
fn who_came_before_the_table_was_read_misses_nothing_silently() {
    let server = Arc::new(Mariadb::start(&[]));
    let joomla = Joomla::joomla6_on(Arc::clone(&server));
    joomla.create_outbox();
    server.kill();
    let site = serve(&joomla, "");
    let mut early = site.connect_recovering();
    let got = enter(&mut early, "news", None);
    let since = positions(&got["pos"]);
    assert_eq!(since.len(), 2, "one of each stream: {got}");
    server.restart();
    joomla.publish("news", "e", "before it was read");
    closed(&mut early, 4200);
    let mut back = site.connect_recovering();
    let got = enter(&mut back, "news", Some(json!(since)));
    assert_eq!(got["recovered"], json!([true, false]));
    joomla.publish("news", "e", "after");
    assert_eq!(event(&mut back).2, "after");
    // From here on positions mean something.
    let since = positions(&pong(&mut back)["pos"]);
    back.unsubscribe("news");
    let got = enter(&mut back, "news", Some(json!(since)));
    assert_eq!(got["recovered"], json!([true, true]));
}

// --- rows ----------------------------------------------------------------------------------------------------------------

#[test]
fn a_bad_row_is_skipped_and_counted_and_stops_nothing() {
    let joomla = joomla();
    let site = serve_app(&joomla, "", "max_event_size = 1000");
    ready(&site);
    let mut reader = listener(&site, "news");
    let name = "x".repeat(165);
    let bad = [
        ("a b", "e", "SECRET".to_owned(), "NULL"),
        ("", "e", "SECRET".into(), "NULL"),
        (&*name, "e", "SECRET".into(), "NULL"),
        ("#control2", "e", "SECRET".into(), "NULL"),
        ("news", "pusher:SECRET", "1".into(), "NULL"),
        ("news", "pusher_internal:SECRET", "1".into(), "NULL"),
        ("news", "", "SECRET".into(), "NULL"),
        ("news", "e", "SECRET".repeat(167), "NULL"),
        ("news", "e", "SECRET".repeat(100_000), "NULL"),
        ("news", "e", "SECRET".into(), "'12'"),
        ("news", "e", "SECRET".into(), "'SECRET'"),
        ("#control", "SECRET", "{}".into(), "NULL"),
        ("#control", "recheck-user", "SECRET".into(), "NULL"),
        ("#control", "recheck-user", "{\"user_id\":\"SECRET\"}".into(), "NULL"),
        ("#control", "terminate-user", "{\"user_id\":0}".into(), "NULL"),
        ("#control", "recheck-item", "{\"id\":1}".into(), "NULL"),
        ("#control", "recheck-access", "[]".into(), "NULL"),
    ];
    for (n, (channel, name, data, socket)) in bad.iter().enumerate() {
        joomla.exec(
            &format!(
                "INSERT INTO #__websockets_outbox (channel, event, data, socket_id, created)
                 VALUES (?, ?, ?, {socket}, UTC_TIMESTAMP(3)), ('news', 'e', ?, NULL, UTC_TIMESTAMP(3))"
            ),
            (channel, name, data, n),
        );
        let (id, _, data) = event(&mut reader);
        assert_eq!(data, n.to_string());
        settled(&mut reader, id);
    }
    let counts = stats(&site);
    assert_eq!(
        (&counts["bad"], &counts["rows"]),
        (&json!(bad.len()), &json!(2 * bad.len()))
    );
    let log = site.server.log();
    assert!(log.contains("is skipped"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[test]
fn the_author_of_a_row_gets_no_copy_live_or_replayed() {
    let (joomla, site, start) = start("");
    let (mut author, mut reader) = (listener(&site, "news"), listener(&site, "news"));
    let publish = |socket: &str, data: &str| {
        joomla.exec(
            "INSERT INTO #__websockets_outbox (channel, event, data, socket_id, created)
             VALUES ('news', 'e', ?, ?, UTC_TIMESTAMP(3))",
            (data, socket),
        )
    };
    publish(&author.socket_id, "by the author");
    let last = publish("1.1", "by somebody");
    assert_eq!(event(&mut author).2, "by somebody");
    assert_eq!(event(&mut reader).2, "by the author");
    assert_eq!(event(&mut reader).2, "by somebody");
    for (session, expected) in [
        (&mut author, vec!["by somebody"]),
        (&mut reader, vec!["by the author", "by somebody"]),
    ] {
        settled(session, last);
        session.unsubscribe("news");
        assert_eq!(enter(session, "news", Some(json!(start)))["recovered"], true);
        assert_eq!(missed(session), expected);
    }
}

#[test]
fn a_row_fills_a_cache_channel_and_reaches_a_signed_in_user() {
    let (joomla, site, _) = start("");
    let mut user = site.connect();
    user.sign_in(r#"{"id":"u7"}"#);
    site.connect()
        .ask("cache-news")
        .expect_subscribed("cache-news")
        .expect_cache_miss("cache-news");
    joomla.publish("cache-news", "e", "{\"n\":1e400}");
    joomla.publish("#server-to-user-u7", "e", "yours");
    user.expect_event("#server-to-user-u7", "e", "yours");
    let mut late = site.connect();
    late.ask("cache-news").expect_subscribed("cache-news");
    late.expect_event("cache-news", "e", "{\"n\":1e400}").expect_nothing();
}

// --- positions -----------------------------------------------------------------------------------------------------------

#[test]
fn a_page_that_knows_only_when_it_was_rendered_gets_everything_since() {
    let (joomla, site, _) = start("");
    let mut reader = listener(&site, "news");
    let unix_ms = || u64::try_from(common::joomla::now()).expect("it is later than 1970") * 1000;
    let old = joomla.publish("news", "e", "old");
    assert_eq!(event(&mut reader).2, "old");
    settled(&mut reader, old);
    // A sample is taken every second, and the margin is two: until the old row is behind it.
    let mut rendered = 0;
    wait_until(
        "the old row is older than the margin",
        || {
            rendered = unix_ms();
            come_back(&site, "news", &format!("@{rendered}")).is_some_and(|missed| missed.is_empty())
        },
        || site.server.log(),
    );
    joomla.publish("news", "e", "new");
    assert_eq!(event(&mut reader).2, "new");
    assert_eq!(
        come_back(&site, "news", &format!("@{rendered}")).expect("no gap"),
        ["new"]
    );
    for unknown in [
        "@0",
        "@",
        "@x",
        "@-1",
        "@99999999999999999999",
        &format!("@{}", unix_ms() + 60_000),
    ] {
        assert_eq!(come_back(&site, "news", unknown), None, "{unknown}");
    }
}

#[test]
fn the_state_table_says_how_far_the_process_is() {
    let (joomla, site, start) = start("");
    let (epoch, _) = parts(&start);
    let entry = |name: &str| {
        joomla.value::<String>(&format!(
            "SELECT value FROM #__websockets_state WHERE name LIKE '{name}'"
        ))
    };
    assert_eq!(entry("epoch"), epoch);
    assert_eq!(entry("schema"), "1");
    assert!(!entry("made").is_empty());
    let mut reader = listener(&site, "news");
    for n in 0..2 {
        let id = joomla.publish("news", "e", &n.to_string());
        event(&mut reader);
        let expected = format!("o{epoch}:{id}");
        wait_until(
            "the position is written",
            || entry("position.%") == expected,
            || entry("position.%"),
        );
    }
    // It is written although nothing happens.
    let written =
        || joomla.value::<String>("SELECT CAST(updated AS CHAR) FROM #__websockets_state WHERE name LIKE 'position.%'");
    let first = written();
    wait_until("the heart beats", || written() != first, || first.clone());
    let age: i64 = joomla.value(
        "SELECT TIMESTAMPDIFF(SECOND, updated, UTC_TIMESTAMP(3)) FROM #__websockets_state WHERE name LIKE 'position.%'",
    );
    assert!((0..15).contains(&age), "{age}");
}

#[test]
fn who_comes_while_there_is_no_table_is_sent_back_when_there_is_one() {
    let joomla = Joomla::joomla6();
    let site = serve(&joomla, "");
    let mut session = site.connect_recovering();
    let nowhere = "o00000000:0";
    let entered = enter(&mut session, "news", None);
    assert_eq!(table_position(&entered["pos"]).as_deref(), Some(nowhere));
    assert_eq!(table_position(&pong(&mut session)["pos"]).as_deref(), Some(nowhere));
    let mut stock = site.connect();
    enter(&mut stock, "news", None);
    joomla.create_outbox();
    // What is missing is looked for every ten seconds.
    session.peer.expect_close(4200);
    assert_eq!(come_back(&site, "news", nowhere), None);
    joomla.publish("news", "e", "x");
    stock.expect_event("news", "e", "x");
}

#[test]
fn what_a_position_cannot_know_is_a_gap() {
    let (joomla, site, start) = start("");
    let (epoch, row) = parts(&start);
    let mut reader = listener(&site, "news");
    let id = joomla.publish("news", "e", "x");
    event(&mut reader);
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["x"]);
    assert_eq!(
        come_back(&site, "news", &format!("o{epoch}:{id}")).expect("no gap"),
        [""; 0]
    );
    let other = if epoch == "00000001" { "00000002" } else { "00000001" };
    for unknown in [
        format!("o{other}:{row}"),
        format!("o00000000:{row}"),
        format!("o{epoch}:{}", id + 1_000),
        format!("o{epoch}:{}", u64::MAX),
        format!("o{epoch}:"),
        format!("o{epoch}"),
        "o".into(),
    ] {
        assert_eq!(come_back(&site, "news", &unknown), None, "{unknown}");
    }
}

#[test]
fn a_history_that_memory_does_not_hold_is_read_from_the_table() {
    let (joomla, site, start) = start("history_rows = 10");
    let mut reader = listener(&site, "other");
    for n in 0..40 {
        joomla.publish(["news", "other"][n % 2], "e", &n.to_string());
    }
    (0..20).for_each(|_| drop(event(&mut reader)));
    assert!(stats(&site)["history_rows"].as_u64() <= Some(10));
    let expected: Vec<String> = (0..40).step_by(2).map(|n| n.to_string()).collect();
    let back: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| come_back(&site, "news", &start)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .collect()
    });
    assert!(back.iter().all(|missed| missed.as_ref() == Some(&expected)), "{back:?}");
}

// --- several processes -----------------------------------------------------------------------------------------------------

#[test]
fn two_servers_on_one_table_deliver_the_same_and_share_positions() {
    let joomla = joomla();
    let first = serve(&joomla, "");
    let mut at = ready(&first);
    let second = serve(&joomla, "");
    assert_eq!(parts(&ready(&second)).0, parts(&at).0);
    let sites = [first, second];
    let mut readers = sites.each_ref().map(|site| listener(site, "news"));
    let count = "SELECT COUNT(*) FROM #__websockets_state WHERE name LIKE 'position.%'";
    wait_until(
        "both say how far they are",
        || joomla.value::<u64>(count) == 2,
        || sites[0].server.log(),
    );
    for n in 0..10 {
        let id = joomla.publish("news", "e", &n.to_string());
        for reader in &mut readers {
            assert_eq!(event(reader).2, n.to_string());
        }
        at = format!("o{}:{id}", parts(&at).0);
    }
    // Whoever goes from one to the other misses nothing, however fast.
    for n in 0..20 {
        let id = joomla.publish("news", "e", &n.to_string());
        let mut session = sites[n % 2].connect_recovering();
        assert_eq!(enter(&mut session, "news", Some(json!(at)))["recovered"], true);
        assert_eq!(event(&mut session).2, n.to_string());
        at = format!("o{}:{id}", parts(&at).0);
    }
}

/// A site's store with a clock of the test's own.
struct Process {
    outbox: Outbox,
    store: MySql,
    seconds: u64,
}

impl Process {
    fn new(joomla: &Joomla, number: u32) -> Self {
        let database = site::Database {
            host: joomla.server.addr.to_string(),
            endpoints: vec![ListenAddr::Tcp(joomla.server.addr)],
            user: joomla.user.clone(),
            password: joomla.password.clone(),
            name: joomla.database.clone(),
            prefix: joomla.prefix.to_owned(),
            tls: Tls::default(),
        };
        let settings = config::Database {
            retention: 60,
            ..config::Database::default()
        };
        let mut store = MySql::new(database, settings.clone(), vec![ItemType::article()], 1000);
        store.connect(now(1000, 0)).expect("the database is there");
        let outbox = Outbox::new(&settings, number, 1000);
        let mut process = Self {
            outbox,
            store,
            seconds: 1000,
        };
        process.live(1);
        assert!(process.outbox.is_ready());
        process
    }

    /// Goes on for so many seconds of its own; what it saw.
    fn live(&mut self, seconds: u64) -> Vec<Seen> {
        let mut seen = Vec::new();
        for _ in 0..seconds {
            for ms in (0..1000).step_by(50) {
                let now = now(self.seconds, ms);
                while let Some(question) = self.outbox.question(now) {
                    let answer = self.store.ask(&question, now);
                    self.outbox.answer(&question, answer, now);
                    seen.extend(self.outbox.take_seen());
                }
            }
            self.seconds += 1;
        }
        seen
    }

    fn position(&self, row: u64) -> Position {
        match self.outbox.position() {
            Some(Position::Outbox { epoch, .. }) => Position::Outbox { epoch, row },
            other => panic!("{other:?}"),
        }
    }

    fn reaches(&mut self, row: u64) -> Reach {
        let position = self.position(row);
        self.outbox.reaches("news", position, now(self.seconds, 0))
    }
}

fn now(seconds: u64, ms: u64) -> Now {
    let ms = seconds * 1000 + ms;
    Now {
        at: Time(ms * 1000),
        unix_ms: 1_800_000_000_000 + ms,
    }
}

fn ids(joomla: &Joomla) -> Vec<u64> {
    let rows: Vec<(u64,)> = joomla.rows("SELECT id FROM #__websockets_outbox ORDER BY id");
    rows.into_iter().map(|(id,)| id).collect()
}

#[test]
fn one_process_deletes_and_never_what_another_has_not_seen() {
    let joomla = joomla();
    let publish = |count: usize| -> Vec<u64> { (0..count).map(|_| joomla.publish("news", "e", "x")).collect() };
    let mut first = Process::new(&joomla, 1);
    let mut second = Process::new(&joomla, 2);
    let seen = publish(10);
    assert_eq!(first.live(5).len(), 10);
    assert_eq!(second.live(5).len(), 10);
    let unseen = publish(5);
    assert_eq!(first.live(5).len(), 5);
    assert_eq!([&seen[..], &unseen].concat(), ids(&joomla));
    // By its own clock the rows are old enough, but by the database's the other process lives and has not seen the last ones.
    first.live(90);
    assert_eq!(ids(&joomla), unseen);
    let (last, next) = (seen[9], unseen[4]);
    assert_eq!([first.reaches(last - 1), first.reaches(last)], [Reach::No, Reach::Yes]);
    let deleted: String = joomla.value("SELECT value FROM #__websockets_state WHERE name = 'deleted_to'");
    assert_eq!(deleted, first.position(last).to_string());
    // The other one ended a minute ago.
    joomla
        .sql("UPDATE #__websockets_state SET updated = updated - INTERVAL 61 SECOND WHERE name = 'position.00000002'");
    first.live(90);
    assert_eq!(ids(&joomla), [0; 0]);
    assert_eq!(first.reaches(next), Reach::Yes);
    // And comes back: it is told that there was something.
    let seen = second.live(10);
    assert!(seen.contains(&Seen::Gap), "{seen:?}");
    assert_eq!(second.reaches(last), Reach::No);
    publish(1);
    assert_eq!(second.live(5).len(), 1);
}

#[test]
fn a_delete_that_would_wait_gives_up() {
    let joomla = joomla();
    let mut process = Process::new(&joomla, 1);
    for _ in 0..5 {
        joomla.publish("news", "e", "x");
    }
    assert_eq!(process.live(5).len(), 5);
    let all = ids(&joomla);
    // Somebody else deletes.
    let mut other = joomla.connect();
    let lock = joomla.text("CONCAT('jsocketd.', MD5(CONCAT(DATABASE(), '.#__websockets_outbox')))");
    let got: Option<u8> = other
        .query_first(format!("SELECT GET_LOCK({lock}, 0)"))
        .expect("anybody may");
    assert_eq!(got, Some(1));
    process.live(90);
    assert_eq!(ids(&joomla), all);
    other
        .query_drop(format!("SELECT RELEASE_LOCK({lock})"))
        .expect("it was held");
    // Somebody holds a row.
    let mut other = begin(&joomla);
    other
        .query_drop(joomla.text(&format!(
            "SELECT id FROM #__websockets_outbox WHERE id = {} FOR UPDATE",
            all[3]
        )))
        .expect("nobody else holds it");
    process.live(90);
    assert_eq!(ids(&joomla), all);
    assert_eq!(process.store.readiness(now(process.seconds, 0)), Readiness::Ready);
    finish(other, "ROLLBACK");
    process.live(90);
    assert_eq!(ids(&joomla), [0; 0]);
}

#[test]
fn whoever_deletes_by_hand_tells_those_who_come_from_before() {
    let (joomla, site, start) = start("");
    let (epoch, _) = parts(&start);
    let mut reader = listener(&site, "news");
    let ids: Vec<u64> = (0..6).map(|n| joomla.publish("news", "e", &n.to_string())).collect();
    (0..6).for_each(|_| drop(event(&mut reader)));
    // As PHP trims: what is out of reach first.
    joomla.sql(&format!(
        "REPLACE INTO #__websockets_state VALUES ('deleted_to', 'o{epoch}:{0}', UTC_TIMESTAMP(3));
         DELETE FROM #__websockets_outbox WHERE id <= {0}",
        ids[2]
    ));
    wait_until(
        "the gap is known",
        || come_back(&site, "news", &start).is_none(),
        || site.server.log(),
    );
    assert_eq!(
        come_back(&site, "news", &format!("o{epoch}:{}", ids[2])).expect("no gap"),
        ["3", "4", "5"]
    );
}

// --- tables that are not what they were ----------------------------------------------------------------------------------

fn dump(joomla: &Joomla) -> Vec<u8> {
    let output = Command::new("mariadb-dump")
        .args(["--no-defaults", "--user=root", "--socket"])
        .arg(&joomla.server.socket)
        .arg(&joomla.database)
        .args(["websockets_outbox", "websockets_state"].map(|table| format!("{}{table}", joomla.prefix)))
        .output()
        .expect("mariadb-dump is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn reload(joomla: &Joomla, dump: &[u8]) {
    let mut child = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "--socket"])
        .arg(&joomla.server.socket)
        .arg(&joomla.database)
        .stdin(Stdio::piped())
        .spawn()
        .expect("mariadb is there");
    let mut input = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, dump).expect("it reads");
    drop(input);
    assert!(child.wait().expect("our child").success());
}

/// Whatever sets ids back, told from the table as it is then.
type Harm = (&'static str, fn(&Joomla, &[u8]));

const HARMS: [Harm; 5] = [
    ("a backup is restored", |joomla, dump| reload(joomla, dump)),
    ("the table is restored alone", |joomla, dump| {
        let dump = String::from_utf8(dump.to_vec()).expect("text");
        let state = dump
            .find("-- Table structure for table `j6x_websockets_state`")
            .expect("it is in there");
        reload(joomla, &dump.as_bytes()[..state]);
    }),
    ("truncated", |joomla, _| joomla.sql("TRUNCATE #__websockets_outbox")),
    ("truncated and filled again at once", |joomla, _| {
        let rows = vec!["('news', 'e', 'other', UTC_TIMESTAMP(3))"; 20].join(", ");
        joomla.sql(&format!(
            "TRUNCATE #__websockets_outbox;
             INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES {rows}"
        ));
    }),
    ("counts from one again", |joomla, _| {
        joomla.sql("DELETE FROM #__websockets_outbox; ALTER TABLE #__websockets_outbox AUTO_INCREMENT = 1");
    }),
];

/// Somebody has noted by which row the table is known.
fn marked(joomla: &Joomla) {
    let marks = "SELECT COUNT(*) FROM #__websockets_state WHERE name = 'mark'";
    wait_until("a row is marked", || joomla.value::<u64>(marks) == 1, String::new);
}

/// A second that is not the one in which the table was made, which is all that the server remembers of it.
fn another_second(joomla: &Joomla) {
    let made = "SELECT CREATE_TIME < NOW() FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'j6x_websockets_outbox'";
    wait_until(
        "the table is older than a second",
        || joomla.value::<bool>(made),
        String::new,
    );
}

#[test]
fn ids_that_go_back_while_it_runs_are_a_gap() {
    thread::scope(|scope| {
        for (harm, inflict) in HARMS {
            scope.spawn(move || {
                let (joomla, site, _) = start("");
                let mut reader = listener(&site, "news");
                joomla.publish("news", "e", "kept");
                event(&mut reader);
                let backup = dump(&joomla);
                let lost = (0..5).map(|_| joomla.publish("news", "e", "lost")).max().expect("five");
                (0..5).for_each(|_| drop(event(&mut reader)));
                settled(&mut reader, lost);
                let since = table_position(&pong(&mut reader)["pos"]).expect("it is known");
                marked(&joomla);
                another_second(&joomla);
                inflict(&joomla, &backup);
                // Rows may come before it is noticed what they are.
                while reader.peer.next_frame().0 != CLOSE {}
                wait_for(&site, "epochs", |epochs| epochs == 2);
                assert_ne!(parts(&ready(&site)).0, parts(&since).0, "{harm}");
                assert_eq!(come_back(&site, "news", &since), None, "{harm}");
                let mut reader = listener(&site, "news");
                joomla.publish("news", "e", "new");
                assert_eq!(event(&mut reader).2, "new", "{harm}");
            });
        }
    });
}

#[test]
fn ids_that_go_back_while_it_does_not_run_are_a_gap() {
    let silent: Vec<String> = thread::scope(|scope| {
        let mut cases = Vec::new();
        for (harm, inflict) in HARMS {
            for refill in [0, 1, 20] {
                cases.push(scope.spawn(move || {
                    let (joomla, site, _) = start("");
                    let mut reader = listener(&site, "news");
                    joomla.publish("news", "e", "kept");
                    event(&mut reader);
                    let backup = dump(&joomla);
                    let lost = (0..5).map(|_| joomla.publish("news", "e", "lost")).max().expect("five");
                    (0..5).for_each(|_| drop(event(&mut reader)));
                    settled(&mut reader, lost);
                    let since = table_position(&pong(&mut reader)["pos"]).expect("it is known");
                    let position = format!("SELECT COUNT(*) FROM #__websockets_state WHERE value = '{since}'");
                    let is_written = || joomla.value::<u64>(&position) == 1;
                    wait_until("the position is written", is_written, String::new);
                    marked(&joomla);
                    kill(site);
                    another_second(&joomla);
                    inflict(&joomla, &backup);
                    // Other rows have the ids of those that were lost, and more.
                    for _ in 0..refill {
                        joomla.publish("news", "e", "other");
                    }
                    let site = serve(&joomla, "");
                    ready(&site);
                    let told = come_back(&site, "news", &since);
                    told.map(|missed| format!("{harm}, then {refill} rows: {missed:?}"))
                }));
            }
        }
        cases
            .into_iter()
            .filter_map(|case| case.join().expect("it works"))
            .collect()
    });
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn tables_that_appear_later_are_read_from_then_on() {
    let joomla = Joomla::joomla6();
    let site = serve(&joomla, "");
    let mut stock = site.connect();
    stock.subscribe("news").expect_nothing();
    wait_until(
        "it is said",
        || site.server.log().contains("the outbox table is not read"),
        || site.server.log(),
    );
    joomla.create_outbox();
    ready(&site);
    joomla.publish("news", "e", "x");
    stock.expect_event("news", "e", "x");
}

// --- privileges, and being told ------------------------------------------------------------------------------------------

/// `[database]` for a user of our own.
fn own_user(joomla: &Joomla, name: &str) -> String {
    format!("user = {}\npassword = {}", json!(name), json!(joomla.password))
}

#[test]
fn a_user_with_the_least_privileges_does_it_all() {
    let joomla = joomla();
    let user = joomla.restricted_user(&[]);
    for grant in grants(&joomla.database, joomla.prefix, &user, &[ItemType::article()]) {
        joomla.sql(&grant);
    }
    let site = serve(&joomla, &own_user(&joomla, &user));
    let start = ready(&site);
    let mut reader = listener(&site, "news");
    let mut failed = begin(&joomla);
    joomla.publish_on(&mut failed, "news", "e", "never");
    let id = joomla.publish("news", "e", "x");
    finish(failed, "ROLLBACK");
    assert_eq!(event(&mut reader).2, "x");
    settled(&mut reader, id);
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["x"]);
    let log = site.server.log();
    assert!(!log.contains("no answer") && !log.contains("denied"), "{log}");
}

#[test]
fn without_the_right_to_write_rows_are_delivered_all_the_same() {
    let joomla = joomla();
    let user = joomla.restricted_user(&[]);
    for grant in grants(&joomla.database, joomla.prefix, &user, &[ItemType::article()]) {
        joomla.sql(&grant.replace("SELECT, INSERT, UPDATE, DELETE", "SELECT"));
    }
    let site = serve(&joomla, &own_user(&joomla, &user));
    let start = ready(&site);
    let mut reader = listener(&site, "news");
    let mut slow = begin(&joomla);
    joomla.publish_on(&mut slow, "news", "e", "slow");
    joomla.publish("news", "e", "x");
    assert_eq!(event(&mut reader).2, "x");
    // Probing needs the right to write too; what is not known stays open.
    wait_for(&site, "held_ms", |ms| ms > 1500);
    assert_eq!(stats(&site)["gaps_open"], 1);
    finish(slow, "COMMIT");
    assert_eq!(event(&mut reader).2, "slow");
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["slow", "x"]);
    assert!(site.server.log().contains("cannot be written"), "{}", site.server.log());
}

#[test]
fn a_nudge_is_as_good_as_a_poll() {
    let (joomla, site, _) = start("poll_ms = 5000\nidle_poll_ms = 5000");
    let mut reader = listener(&site, "news");
    let mut api = site.api();
    for n in 0..5 {
        let began = Instant::now();
        joomla.publish("news", "e", &n.to_string());
        assert_eq!(api.ask("POST", "/nudge", &[], "{}"), json!({}));
        assert_eq!(event(&mut reader).2, n.to_string());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    api.secret = "not-the-site's".into();
    assert_eq!(api.send("POST", "/nudge", &[], "{}").status, 401);
}
