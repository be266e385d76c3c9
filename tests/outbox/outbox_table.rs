//! The outbox table as its writers, readers and administrators use it, each by itself: order, bad rows, control rows,
//! positions, several servers on one table, tables that are restored, emptied or deleted from, users with few
//! privileges. The ways in which version 0.1 lost a row stand in `outbox_lost.rs`, all of it at once and under fire in
//! `outbox_fire.rs`.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::follower::Client;
use crate::common::frame::CLOSE;
use crate::common::joomla::{Session as Login, Site as Joomla};
use crate::common::mariadb::Mariadb;
use crate::common::outbox::{enter, pong, positions, ready, seq, serve, serve_app, stats, table_position, wait_for};
use crate::common::peer::KEY as NONCE;
use crate::common::pusher::{KEY, Session, Site};
use crate::common::store::{Process, age, at, ids};
use crate::common::{Peer, wait_until};
use jsocketd::config::ItemType;
use jsocketd::joomla::site::Client as Application;
use jsocketd::outbox::Reach;
use jsocketd::protocol::position::{Place, Position};
use jsocketd::store::grants::grants;
use jsocketd::store::{Readiness, Store as _};
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

/// The next event of a client with recovery: its number and its data.
fn event(session: &mut Session) -> (u64, String) {
    let mut got = session.next();
    while got["event"] == "pusher_internal:position" {
        got = session.next();
    }
    assert!(got.get("pos").is_none(), "an event has one position: {got}");
    let text = got["data"].as_str().unwrap_or_else(|| panic!("{got}")).to_owned();
    (seq(&got["id"]), text)
}

/// The data of the missed events, up to the answer to a ping.
fn missed(session: &mut Session) -> Vec<String> {
    let rest = session.rest().into_iter();
    let events = rest.filter(|message| message["event"] != "pusher_internal:position");
    let text = |message: serde_json::Value| message["data"].as_str().map(str::to_owned);
    events.map(|message| text(message).expect("an event")).collect()
}

/// Epoch and number of a position.
fn place(position: &str) -> (u32, u64) {
    let (epoch, place) = crate::common::store::place(Some(position));
    (epoch, place.seq)
}

/// The number of the client's position.
fn told(session: &mut Session) -> u64 {
    let position = table_position(&pong(session)["pos"]).expect("a position of the table");
    place(&position).1
}

/// The server ends the connection with this code. From time to time it sends a position.
fn closed(session: &mut Session, code: u16) {
    loop {
        match session.next_frame() {
            (CLOSE, payload) => return assert_eq!(payload[..2], code.to_be_bytes()),
            (_, text) => assert!(String::from_utf8_lossy(&text).contains("pusher_internal:position")),
        }
    }
}

/// Reconnects with a position; returns the missed events, or `None` for a gap.
fn come_back(site: &Site, channel: &str, since: &str) -> Option<Vec<String>> {
    let mut session = site.connect_recovering();
    let got = enter(&mut session, channel, Some(json!(since)));
    // A long recovery comes in parts, and pongs have no position before it is over.
    let mut all = missed(&mut session);
    while table_position(&pong(&mut session)["pos"]).is_none() {
        all.extend(missed(&mut session));
    }
    match got["recovered"].as_bool() {
        Some(true) => Some(all),
        Some(false) => {
            assert!(all.is_empty(), "half of it would be worse than nothing: {all:?}");
            None
        }
        None => panic!("{got}"),
    }
}

fn begin(joomla: &Joomla) -> Conn {
    let mut connection = joomla.connect();
    connection.query_drop("START TRANSACTION").expect("a transaction");
    connection
}

fn finish(mut connection: Conn, how: &str) {
    connection.query_drop(how).expect("the transaction ends");
}

fn publish(joomla: &Joomla, what: std::ops::Range<usize>) -> Vec<String> {
    let mut connection = joomla.connect();
    let all: Vec<String> = what.map(|n| n.to_string()).collect();
    for data in &all {
        joomla.publish_on(&mut connection, "news", "e", data);
    }
    all
}

// --- order -----------------------------------------------------------------------------------------------------------

#[test]
fn all_clients_get_one_order_and_it_is_the_order_of_visibility() {
    let (joomla, site, start) = start("");
    let (_, before) = place(&start);
    let (mut reader, mut stock) = (listener(&site, "news"), site.connect());
    stock.subscribe("news");
    let mut slow = begin(&joomla);
    joomla.publish_on(&mut slow, "news", "e", "written first");
    joomla.publish("news", "e", "committed first");
    assert_eq!(event(&mut reader), (before + 1, "committed first".into()));
    stock.expect_event("news", "e", "committed first");
    assert_eq!(told(&mut reader), before + 1, "nothing holds the position back");
    finish(slow, "COMMIT");
    assert_eq!(event(&mut reader), (before + 2, "written first".into()));
    stock.expect_event("news", "e", "written first").expect_nothing();
    let all = ["committed first", "written first"];
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), all);
    kill(site);
    let site = serve(&joomla, "");
    ready(&site);
    assert_eq!(
        come_back(&site, "news", &start).expect("no gap"),
        all,
        "after a restart too"
    );
}

#[test]
fn rolled_back_rows_are_never_delivered_and_delay_no_others() {
    let (joomla, site, start) = start("");
    let (_, before) = place(&start);
    let mut reader = listener(&site, "news");
    let mut failed = begin(&joomla);
    joomla.publish_on(&mut failed, "news", "e", "never");
    failed.query_drop("SAVEPOINT a").expect("a savepoint");
    joomla.publish_on(&mut failed, "news", "e", "never");
    joomla.publish("news", "e", "there");
    assert_eq!(event(&mut reader), (before + 1, "there".into()));
    failed.query_drop("ROLLBACK TO SAVEPOINT a").expect("a savepoint");
    finish(failed, "ROLLBACK");
    joomla.publish("news", "e", "next");
    assert_eq!(event(&mut reader), (before + 2, "next".into()), "numbers have no holes");
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["there", "next"]);
}

#[test]
fn a_transaction_is_seen_whole_and_not_before_its_commit() {
    let (joomla, site, _) = start("");
    let mut reader = listener(&site, "news");
    let mut whole = begin(&joomla);
    for n in 0..3 {
        joomla.publish_on(&mut whole, "news", "e", &n.to_string());
        joomla.publish("news", "e", &format!("other {n}"));
        assert_eq!(event(&mut reader).1, format!("other {n}"));
    }
    finish(whole, "COMMIT");
    for n in 0..3 {
        assert_eq!(event(&mut reader).1, n.to_string());
    }
}

/// A look in front begins behind the ids of a while ago. A transaction that was open for longer has rows on both sides.
#[test]
fn rows_of_one_transaction_come_in_the_order_in_which_they_were_written() {
    let (joomla, site, start) = start("");
    let mut reader = listener(&site, "news");
    let mut slow = begin(&joomla);
    for n in 0..5 {
        joomla.publish_on(&mut slow, "news", "e", &format!("slow {n}"));
        joomla.publish("news", "e", &format!("fast {n}"));
        assert_eq!(event(&mut reader).1, format!("fast {n}"));
        thread::sleep(Duration::from_millis(700));
    }
    finish(slow, "COMMIT");
    for n in 0..5 {
        assert_eq!(event(&mut reader).1, format!("slow {n}"));
    }
    let all: Vec<String> = ["fast", "slow"]
        .iter()
        .flat_map(|name| (0..5).map(move |n| format!("{name} {n}")))
        .collect();
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), all);
}

/// Ids are the table's own business: rows may have any, in any order.
#[test]
fn ids_do_not_matter() {
    let (joomla, site, start) = start("");
    let mut reader = listener(&site, "news");
    let ids = [5_000_000_000_u64, 500, 400, 18_000_000_000_000_000_000, 450, 2_000];
    for id in ids {
        joomla.exec(
            "INSERT INTO #__websockets_outbox (id, channel, event, data, created) VALUES (?, 'news', 'e', ?, UTC_TIMESTAMP(3))",
            (id, id.to_string()),
        );
        assert_eq!(event(&mut reader).1, id.to_string());
    }
    let all = ids.map(|id| id.to_string());
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), all);
}

// --- writers ---------------------------------------------------------------------------------------------------------

#[test]
fn stamps_block_no_writer_at_any_isolation_level() {
    let server = Arc::new(Mariadb::start(&[]));
    let joomla = Joomla::joomla6_on(Arc::clone(&server));
    joomla.create_outbox();
    let site = serve(&joomla, "");
    ready(&site);
    let mut root = server.connect(None);
    let mut waits = || -> u64 {
        let row: Option<(String, u64)> = root
            .query_first("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'")
            .expect("root may");
        row.expect("a count").1
    };
    let waited = waits();
    let mut open = begin(&joomla);
    joomla.publish_on(&mut open, "news", "e", "open all the time");
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
        wait_for(&site, "stamped", |stamped| stamped >= 300);
        over.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("no writer had to wait"))
            .collect()
    });
    took.sort_unstable();
    let (p50, p99, max) = (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
    println!(
        "{} statements of writers: p50 {p50:?}, p99 {p99:?}, max {max:?}",
        took.len()
    );
    assert_eq!(waits(), waited, "a writer waited for a lock");
    assert!(p99 < Duration::from_millis(50), "p99 {p99:?}");
    finish(open, "COMMIT");
}

// --- the start -------------------------------------------------------------------------------------------------------

#[test]
fn rows_stamped_before_the_start_are_history_only() {
    let (joomla, site, start) = start("");
    let anna = joomla.log_in(joomla.id_of("anna"), Application::Site);
    let mut reader = Client::enter(&site, &["cache-news"]);
    let terminate = || joomla.publish("#control", "terminate-user", &format!("{{\"user_id\":{}}}", anna.user));
    joomla.publish("news", "e", "old");
    terminate();
    joomla.publish("cache-news", "e", "old");
    reader.until("cache-news", "old");
    kill(site);
    let site = serve(&joomla, "");
    ready(&site);
    let mut user = visit(&site, &joomla, &anna);
    enter(&mut user, &format!("private-user-{}", anna.user), None);
    let mut stock = site.connect();
    stock.subscribe("news").expect_nothing();
    stock.ask("cache-news").expect_subscribed("cache-news");
    stock.expect_event("cache-news", "e", "old").expect_nothing();
    let mut fresh = listener(&site, "news");
    assert!(missed(&mut fresh).is_empty());
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["old"]);
    joomla.publish("news", "e", "new");
    stock.expect_event("news", "e", "new");
    user.expect_nothing();
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["old", "new"]);
    // The same row is obeyed when it is new.
    terminate();
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
fn a_client_that_subscribed_before_the_table_was_read_gets_a_gap() {
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
    assert_eq!(event(&mut back).1, "after");
    // From here on positions mean something.
    let since = positions(&pong(&mut back)["pos"]);
    back.unsubscribe("news");
    let got = enter(&mut back, "news", Some(json!(since)));
    assert_eq!(got["recovered"], json!([true, true]));
}

// --- rows ------------------------------------------------------------------------------------------------------------

#[test]
fn a_bad_row_is_skipped_and_counted_and_stops_nothing() {
    let joomla = joomla();
    let site = serve_app(&joomla, "", "max_event_size = 1000");
    let before = place(&ready(&site)).1;
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
        let (seq, data) = event(&mut reader);
        assert_eq!((seq, data), (before + 2 * (n as u64 + 1), n.to_string()));
        assert_eq!(told(&mut reader), seq, "a bad row has its number like any other");
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
    publish("1.1", "by another");
    let (last, data) = event(&mut author);
    assert_eq!(data, "by another");
    assert_eq!(event(&mut reader).1, "by the author");
    assert_eq!(event(&mut reader).1, "by another");
    for (session, expected) in [
        (&mut author, vec!["by another"]),
        (&mut reader, vec!["by the author", "by another"]),
    ] {
        assert_eq!(told(session), last);
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

// --- positions -------------------------------------------------------------------------------------------------------

#[test]
fn the_state_table_has_the_position_and_the_heartbeat() {
    let (joomla, site, start) = start("");
    let entry = |name: &str| {
        joomla.value::<String>(&format!(
            "SELECT value FROM #__websockets_state WHERE name LIKE '{name}'"
        ))
    };
    assert_eq!((entry("position"), entry("schema")), (start.clone(), "2".into()));
    let mut client = Client::enter(&site, &["news"]);
    for n in ["0", "1"] {
        joomla.publish("news", "e", n);
        client.until("news", n);
        assert_eq!(entry("position"), client.position("news"), "as a client has it");
    }
    // It is written although nothing happens.
    let first = entry("process.%");
    wait_until("the heart beats", || entry("process.%") != first, || first.clone());
    assert_eq!(entry("process.%"), entry("position"));
    let age: i64 = joomla.value(
        "SELECT TIMESTAMPDIFF(SECOND, updated, UTC_TIMESTAMP(3)) FROM #__websockets_state WHERE name LIKE 'process.%'",
    );
    assert!((0..15).contains(&age), "{age}");
}

#[test]
fn clients_that_connected_without_a_table_must_reconnect_when_it_appears() {
    let joomla = Joomla::joomla6();
    let site = serve(&joomla, "");
    let mut session = site.connect_recovering();
    let nowhere = "o00000000:0.0";
    let entered = enter(&mut session, "news", None);
    assert_eq!(table_position(&entered["pos"]).as_deref(), Some(nowhere));
    assert_eq!(table_position(&pong(&mut session)["pos"]), None, "no row was sent");
    let mut stock = site.connect();
    enter(&mut stock, "news", None);
    joomla.create_outbox();
    // The server looks for missing tables every ten seconds.
    session.peer.expect_close(4200);
    assert_eq!(come_back(&site, "news", nowhere), None);
    joomla.publish("news", "e", "x");
    stock.expect_event("news", "e", "x");
}

#[test]
fn an_unknown_position_is_a_gap() {
    let (joomla, site, start) = start("");
    let (epoch, row) = crate::common::store::place(Some(&start));
    let mut client = Client::enter(&site, &["news"]);
    joomla.publish("news", "e", "x");
    client.until("news", "x");
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["x"]);
    assert_eq!(
        come_back(&site, "news", client.position("news")).expect("no gap"),
        [""; 0]
    );
    let position = |epoch, seq, mark| {
        let place = Place { seq, mark };
        Position::Table { epoch, place }.to_string()
    };
    let unknown = [
        position(epoch ^ 1, row.seq, row.mark),
        position(0, row.seq, row.mark),
        position(epoch, row.seq, row.mark + 1),
        position(epoch, 0, 0),
        position(epoch, row.seq + 1000, row.mark),
        position(epoch, u64::MAX, u64::MAX),
        format!("o{epoch:08x}:{}", row.seq), // of version 0.1
        format!("@{}", crate::common::joomla::now() * 1000),
        format!("o{epoch:08x}"),
        "o".into(),
        String::new(),
    ];
    // A position above the newest row is waited for, in case that another process was faster.
    thread::scope(|scope| {
        for unknown in &unknown {
            let site = &site;
            scope.spawn(move || assert_eq!(come_back(site, "news", unknown), None, "{unknown}"));
        }
    });
}

/// To the table's collation, rows of a channel whose name ends with a blank are rows of this channel. To jsocketd they
/// are not: they must not be sent, and they must not make a part of the history look complete.
#[test]
fn a_history_that_memory_does_not_hold_is_read_from_the_table() {
    // Where there is no memory for it either, it is a gap.
    for (settings, is_told) in [
        ("history_rows = 10", true),
        ("history_rows = 0", true),
        ("history_bytes = 2000", false),
    ] {
        let (joomla, site, start) = start(settings);
        let mut reader = listener(&site, "other");
        let rows: Vec<String> = (0..2000)
            .map(|n| {
                format!(
                    "('{}', 'e', '{n}', UTC_TIMESTAMP(3))",
                    ["news", "other", "news ", "third"][n % 4]
                )
            })
            .collect();
        joomla.sql(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES {}",
            rows.join(", ")
        ));
        (0..500).for_each(|_| drop(event(&mut reader)));
        wait_for(&site, "rows", |rows| rows == 2000);
        assert!(stats(&site)["history_rows"].as_u64() <= Some(20), "{settings}");
        let all: Vec<String> = (0..2000).step_by(4).map(|n| n.to_string()).collect();
        let expected = is_told.then_some(all);
        let back: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| come_back(&site, "news", &start)))
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().expect("no panic"))
                .collect()
        });
        let right = |missed: &Option<Vec<String>>| *missed == expected;
        assert!(
            back.iter().all(right),
            "{settings}: {:?}",
            back.iter().map(|all| all.as_ref().map(Vec::len))
        );
    }
}

// --- several processes -----------------------------------------------------------------------------------------------

#[test]
fn two_servers_on_one_table_deliver_the_same_and_share_positions() {
    let joomla = joomla();
    let first = serve(&joomla, "");
    let at = ready(&first);
    let second = serve(&joomla, "");
    assert_eq!(ready(&second), at);
    let sites = [first, second];
    let mut readers = sites.each_ref().map(|site| Client::enter(site, &["news"]));
    let count = "SELECT COUNT(*) FROM #__websockets_state WHERE name LIKE 'process.%'";
    wait_until(
        "both hearts beat",
        || joomla.value::<u64>(count) == 2,
        || sites[0].server.log(),
    );
    let all = publish(&joomla, 0..50);
    for reader in &mut readers {
        reader.until_count("news", 50);
    }
    let [one, other] = &readers;
    one.expect("news", &all);
    assert_eq!(
        one.follower.channels["news"].handled,
        other.follower.channels["news"].handled
    );
    let stamped: u64 = sites
        .iter()
        .map(|site| stats(site)["stamped"].as_u64().expect("a count"))
        .sum();
    assert_eq!(stamped, 50, "each row once");
}

#[test]
fn old_rows_are_deleted_in_order_but_never_the_newest_row_or_an_uncommitted_one() {
    let joomla = joomla();
    let mut first = Process::new(&joomla, 1, 60);
    let rows: Vec<u64> = (0..70).map(|_| joomla.publish("news", "e", "x")).collect();
    assert_eq!(first.live(5).len(), 70);
    assert_eq!(ids(&joomla).len(), 71);
    let mut second = Process::new(&joomla, 2, 60);
    age(&joomla, &[&[1], &rows[..65]].concat());
    let mut open = begin(&joomla);
    joomla.publish_on(&mut open, "news", "e", "open");
    first.live(30);
    assert_eq!(ids(&joomla), rows[65..], "the young ones stay");
    age(&joomla, &rows[65..]);
    second.live(30);
    assert_eq!(ids(&joomla), rows[69..], "and the newest");
    let deleted = [&first, &second].map(|process| process.outbox.counters(at(0)).deleted);
    assert_eq!(deleted.iter().sum::<u64>(), 70, "{deleted:?}");
    finish(open, "COMMIT");
    assert_eq!([first.live(5).len(), second.live(5).len()], [1, 1], "both go on");
}

/// A position whose row was deleted is a gap, even if jsocketd did not delete it.
#[test]
fn a_position_is_believed_as_long_as_its_row_is_there() {
    let joomla = joomla();
    let mut process = Process::new(&joomla, 1, 3600);
    let mut all = Vec::new();
    for _ in 0..6 {
        joomla.publish("news", "e", "x");
        assert_eq!(process.live(1).len(), 1);
        all.push(process.position());
    }
    for position in &all {
        assert_eq!(process.reaches(*position), Reach::Yes, "{position}");
    }
    let mut fresh = Process::new(&joomla, 2, 3600);
    // An administrator, or the trimmer of version 0.1, by ids.
    let rows = ids(&joomla);
    joomla.sql(&format!("DELETE FROM #__websockets_outbox WHERE id <= {}", rows[3]));
    let expected = [Reach::No, Reach::No, Reach::No, Reach::Yes, Reach::Yes, Reach::Yes];
    for (position, expected) in all.iter().zip(expected) {
        assert_eq!(fresh.reaches(*position), expected, "{position}");
    }
}

#[test]
fn a_delete_that_would_wait_gives_up() {
    let joomla = joomla();
    let mut process = Process::new(&joomla, 1, 60);
    for _ in 0..5 {
        joomla.publish("news", "e", "x");
    }
    assert_eq!(process.live(5).len(), 5);
    let all = ids(&joomla);
    age(&joomla, &all);
    for lock in [
        "SELECT name FROM #__websockets_state WHERE name = 'deleter' FOR UPDATE".to_owned(),
        format!("SELECT id FROM #__websockets_outbox WHERE id = {} FOR UPDATE", all[3]),
    ] {
        let mut other = begin(&joomla);
        other.query_drop(joomla.text(&lock)).expect("no other client holds it");
        process.live(30);
        assert_eq!(ids(&joomla), all, "{lock}");
        let now = at(process.seconds * 1000);
        assert_eq!(process.store.readiness(now), Readiness::Ready, "{lock}");
        finish(other, "ROLLBACK");
    }
    process.live(30);
    assert_eq!(ids(&joomla), all[5..]);
}

// --- tables that were changed ----------------------------------------------------------------------------------------

fn dump(joomla: &Joomla) -> Vec<u8> {
    let output = joomla
        .server
        .command("dump")
        .arg(&joomla.database)
        .args(["websockets_outbox", "websockets_state"].map(|table| format!("{}{table}", joomla.prefix)))
        .output()
        .expect("the script is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn reload(joomla: &Joomla, dump: &[u8]) {
    let mut child = joomla
        .server
        .command("sql")
        .stdin(Stdio::piped())
        .spawn()
        .expect("the script is there");
    let mut input = child.stdin.take().expect("a pipe");
    let database = format!("USE {};\n", joomla.database);
    for text in [database.as_bytes(), dump] {
        std::io::Write::write_all(&mut input, text).expect("it reads");
    }
    drop(input);
    assert!(child.wait().expect("our child").success());
}

/// The head of a dump, and its part for each table.
fn parts(dump: &[u8]) -> [&[u8]; 3] {
    let text = str::from_utf8(dump).expect("text");
    let at = |table: &str| text.find(&format!("-- Table structure for table `j6x_websockets_{table}`"));
    let (outbox, state) = (
        at("outbox").expect("it is in there"),
        at("state").expect("it is in there"),
    );
    [&dump[..outbox], &dump[outbox..state], &dump[state..]]
}

/// A damage to a table, given a backup of it.
type Harm = (&'static str, fn(&Joomla, &[u8]));

const HARMS: [Harm; 6] = [
    ("a backup is restored", |joomla, dump| reload(joomla, dump)),
    ("the outbox table is restored alone", |joomla, dump| {
        let [head, outbox, _] = parts(dump);
        reload(joomla, &[head, outbox].concat());
    }),
    ("the state table is restored alone", |joomla, dump| {
        let [head, _, state] = parts(dump);
        reload(joomla, &[head, state].concat());
    }),
    ("the outbox table is emptied", |joomla, _| {
        joomla.sql("TRUNCATE #__websockets_outbox")
    }),
    ("ids count from one again", |joomla, _| {
        joomla.sql("DELETE FROM #__websockets_outbox; ALTER TABLE #__websockets_outbox AUTO_INCREMENT = 1");
    }),
    ("both tables are made anew", |joomla, _| {
        joomla.sql("DROP TABLE #__websockets_outbox, #__websockets_state");
        joomla.create_outbox();
    }),
];

/// Rows that a client has, rows in a backup, rows that a client missed, and a damage: a client that comes back with its
/// position gets a gap, or exactly the rows that were committed afterwards, in order and once.
fn inflict(harm: Harm, refill: usize, running: bool) {
    let (what, inflict) = harm;
    let what = format!("{what}, then {refill} rows, while the server runs: {running}");
    let (joomla, site, _) = start("");
    let mut clients = [Client::enter(&site, &["news"]), Client::enter(&site, &["news"])];
    joomla.publish("news", "e", "kept");
    for client in &mut clients {
        client.until("news", "kept");
    }
    let backup = dump(&joomla);
    for n in 0..5 {
        joomla.publish("news", "e", &format!("lost {n}"));
    }
    for client in &mut clients {
        client.until("news", "lost 4");
    }
    let [live, away] = &mut clients;
    away.leave();
    let site = match running {
        true => {
            inflict(&joomla, &backup);
            site
        }
        false => {
            kill(site);
            inflict(&joomla, &backup);
            serve(&joomla, "")
        }
    };
    // Other rows have the ids of the lost ones, and more.
    let all: Vec<String> = (0..refill).map(|n| format!("other {n}")).collect();
    for data in &all {
        joomla.publish("news", "e", data);
    }
    joomla.publish("news", "e", "last");
    if running {
        // The client gets all rows, or must reconnect.
        while live.follower.data("news").last() != Some(&"last") {
            if let Err(code) = live.read() {
                assert_eq!(code, 4200, "{what}");
                break;
            }
        }
    }
    ready(&site);
    for client in &mut clients {
        let before = client.follower.data("news").len();
        // It may be sent away once more to ask.
        while client.follower.data("news").last() != Some(&"after") {
            if client.try_come_back(site.connect_recovering()).is_ok() {
                joomla.publish("news", "e", "after");
                while client.follower.data("news").last() != Some(&"after") && client.read().is_ok() {}
            }
        }
        let follower = &client.follower;
        let mut got: Vec<&str> = follower.data("news").split_off(6.min(before));
        got.retain(|data| *data != "after");
        let expected: Vec<&str> = all.iter().map(String::as_str).chain(["last"]).collect();
        match follower.gaps() {
            0 => assert_eq!(got, expected, "{what}"),
            _ => assert!(got.len() <= expected.len(), "{what}: {got:?}"),
        }
    }
    let log = site.server.log();
    assert!(
        log.matches("a new epoch of the outbox table begins").count() <= 1,
        "{what}: {log}"
    );
}

#[test]
fn tables_that_go_back_while_the_server_runs_are_a_gap_or_nothing() {
    thread::scope(|scope| {
        for harm in HARMS {
            scope.spawn(move || [0, 20].map(|refill| inflict(harm, refill, true)));
        }
    });
}

#[test]
fn tables_that_go_back_while_no_server_runs_are_a_gap_or_nothing() {
    thread::scope(|scope| {
        for harm in HARMS {
            // Fewer, as many and more than were lost.
            scope.spawn(move || [0, 4, 20].map(|refill| inflict(harm, refill, false)));
        }
    });
}

/// A copy of a site has the same epoch and the same numbers: only the rows' marks show that a client comes from the
/// original.
#[test]
fn a_copy_of_a_site_is_another_table() {
    let (original, site, start) = start("");
    let mut client = Client::enter(&site, &["news"]);
    original.publish("news", "e", "before");
    client.until("news", "before");
    let before = client.position("news").to_owned();
    let copy = Joomla::joomla6();
    copy.create_outbox();
    reload(&copy, &dump(&original));
    original.publish("news", "e", "in the original");
    client.until("news", "in the original");
    let after = client.position("news").to_owned();
    let other = serve(&copy, "");
    ready(&other);
    let mut reader = listener(&other, "news");
    copy.publish("news", "e", "in the copy");
    assert_eq!(event(&mut reader).1, "in the copy");
    assert_eq!(
        come_back(&other, "news", &start).expect("it is older than the copy"),
        ["before", "in the copy"]
    );
    assert_eq!(
        come_back(&other, "news", &before).expect("it is as old as the copy"),
        ["in the copy"]
    );
    assert_eq!(come_back(&other, "news", &after), None);
}

/// A statement that rebuilds a table changes no position.
#[test]
fn a_table_that_is_rebuilt_is_the_same() {
    let (joomla, site, start) = start("");
    let mut client = Client::enter(&site, &["news"]);
    let all = publish(&joomla, 0..20);
    for (n, statement) in [
        "OPTIMIZE TABLE #__websockets_outbox",
        "ALTER TABLE #__websockets_outbox FORCE",
        "ANALYZE TABLE #__websockets_outbox",
    ]
    .iter()
    .enumerate()
    {
        joomla.rows::<mysql::Row>(statement);
        joomla.publish("news", "e", &format!("after {n}"));
        client.until("news", &format!("after {n}"));
    }
    assert_eq!(come_back(&site, "news", &start).expect("no gap").len(), all.len() + 3);
    assert_eq!(stats(&site)["epochs"], 1);
}

#[test]
fn tables_that_appear_later_are_read_from_then_on() {
    let joomla = Joomla::joomla6();
    let site = serve(&joomla, "");
    let mut stock = site.connect();
    stock.subscribe("news").expect_nothing();
    wait_until(
        "it is said",
        || site.server.log().contains("the outbox is not read"),
        || site.server.log(),
    );
    joomla.create_outbox();
    ready(&site);
    joomla.publish("news", "e", "x");
    stock.expect_event("news", "e", "x");
}

/// Without --single-transaction a dump locks the tables for as long as it takes.
#[test]
fn a_dump_that_locks_the_tables_holds_rows_up_no_longer_than_itself() {
    let (joomla, site, _) = start("");
    let mut client = Client::enter(&site, &["news"]);
    let rows = vec!["('others', 'e', REPEAT('x', 10000), UTC_TIMESTAMP(3))"; 500].join(", ");
    for _ in 0..5 {
        joomla.sql(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES {rows}"
        ));
    }
    let began = Instant::now();
    wait_for(&site, "rows", |rows| rows == 2500);
    println!("2,500 rows of 10 KB were read in {:?}", began.elapsed());
    let over = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        let dumps = scope.spawn(|| {
            let took = |_| {
                let began = Instant::now();
                dump(&joomla);
                began.elapsed()
            };
            let longest = (0..4).map(took).max();
            over.store(true, Ordering::Relaxed);
            longest.expect("it dumped")
        });
        let mut count = 0;
        let mut worst = Duration::ZERO;
        while !over.load(Ordering::Relaxed) || count < 20 {
            let data = count.to_string();
            joomla.publish("news", "e", &data);
            let committed = Instant::now();
            client.until("news", &data);
            worst = worst.max(committed.elapsed());
            count += 1;
        }
        let longest = dumps.join().expect("it dumps");
        println!("the row that took longest came after {worst:?}; the longest dump took {longest:?}");
        assert!(worst < longest + Duration::from_secs(4), "{worst:?}, {longest:?}");
        count
    });
    let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    client.expect("news", &expected);
    assert!(!site.server.log().contains("is not available"));
}

// --- privileges, and nudges ------------------------------------------------------------------------------------------

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
    let site = serve(&joomla, &format!("{}\nretention = 60", own_user(&joomla, &user)));
    let start = ready(&site);
    let mut reader = listener(&site, "news");
    joomla.publish("news", "e", "x");
    assert_eq!(event(&mut reader).1, "x");
    assert_eq!(come_back(&site, "news", &start).expect("no gap"), ["x"]);
    age(&joomla, &ids(&joomla));
    wait_for(&site, "deleted", |deleted| deleted == 1);
    let beats = "SELECT COUNT(*) FROM #__websockets_state WHERE name LIKE 'process.%'";
    assert_eq!(joomla.value::<u64>(beats), 1);
    let log = site.server.log();
    assert!(!log.contains("no answer") && !log.contains("denied"), "{log}");
}

/// Without the right to write no row gets its number: one sentence says so, and everything else goes on.
#[test]
fn without_the_right_to_write_nothing_is_delivered_and_it_is_said() {
    let joomla = joomla();
    let user = joomla.restricted_user(&[]);
    for grant in grants(&joomla.database, joomla.prefix, &user, &[ItemType::article()]) {
        joomla.sql(&grant.replace("SELECT, INSERT, UPDATE, DELETE", "SELECT"));
    }
    let site = serve(&joomla, &own_user(&joomla, &user));
    let anna = joomla.log_in(joomla.id_of("anna"), Application::Site);
    let mut user = visit(&site, &joomla, &anna);
    enter(&mut user, &format!("private-user-{}", anna.user), None);
    let mut stock = site.connect();
    stock.subscribe("news");
    joomla.publish("news", "e", "from the table");
    wait_until(
        "it is said",
        || site.server.log().contains("the outbox is not read"),
        || site.server.log(),
    );
    site.api().publish("news", "e", "by HTTP");
    stock.expect_event("news", "e", "by HTTP").expect_nothing();
    user.expect_nothing();
    let log = site.server.log();
    assert_eq!(log.matches("the outbox is not read").count(), 1, "{log}");
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
        assert_eq!(event(&mut reader).1, n.to_string());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    api.secret = "not-the-site's".into();
    assert_eq!(api.send("POST", "/nudge", &[], "{}").status, 401);
}
