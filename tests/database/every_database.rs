//! The promises of the statements about the outbox's tables, checked on a real server: which rows they touch, that none
//! of them waits for a lock, and that a transaction is all or nothing. `scripts/test --all` runs this file on every
//! server of `scripts/servers`, since each of them answers in its own way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::follower::Client;
use crate::common::joomla::Site;
use crate::common::mariadb::Mariadb;
use crate::common::outbox::{ready, serve, wait_for};
use crate::common::store::{Outbox as _, at, by_socket, by_tcp, claim, connected, hasty, is_locked, old, place, stamp};
use crate::common::wait_until;
use jsocketd::protocol::position::Position;
use jsocketd::store::mysql::MySql;
use jsocketd::store::{Answer, Failure, Look, Question, Readiness, Store as _};
use mysql::Conn;
use mysql::prelude::Queryable;

const LEVELS: [&str; 4] = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// The time that a busy machine may take for a statement without a lock: shorter than the shortest wait for a lock that
/// MySQL has (1 s).
const AT_ONCE: Duration = Duration::from_millis(900);

/// A server that writes its binary log by statement, where InnoDB refuses to write at READ COMMITTED.
const BY_STATEMENT: [&str; 3] = ["--log-bin=log", "--binlog-format=STATEMENT", "--server-id=1"];

/// A site with the tables of the outbox.
fn site_on(server: &Arc<Mariadb>) -> Site {
    let site = Site::joomla6_on(Arc::clone(server));
    site.create_outbox();
    site
}

/// The tables as they were when they were made.
fn begin_anew(site: &Site) {
    site.sql("DROP TABLE #__websockets_outbox, #__websockets_state");
    site.create_outbox();
}

fn publish(site: &Site, count: usize) -> Vec<u64> {
    let mut connection = site.connect();
    (0..count)
        .map(|n| site.publish_on(&mut connection, "news", "e", &n.to_string()))
        .collect()
}

/// A transaction that is open.
fn begin(site: &Site, level: &str) -> Conn {
    let mut connection = site.connect();
    for statement in [
        "SET SESSION innodb_lock_wait_timeout = 1",
        &format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"),
        "START TRANSACTION",
    ] {
        connection.query_drop(statement).expect("every user may");
    }
    connection
}

fn seqs(site: &Site) -> Vec<(u64, Option<u64>)> {
    site.rows("SELECT id, seq FROM #__websockets_outbox ORDER BY id")
}

/// How often a statement had to wait for a row's lock.
fn waits(server: &Mariadb) -> u64 {
    let row: Option<(String, u64)> = server
        .connect(None)
        .query_first("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'")
        .expect("root may");
    row.expect("a count").1
}

/// Does it, and says how long it took if that was long.
fn at_once<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = act();
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{what} took {took:?}");
    result
}

// --- whose rows ------------------------------------------------------------------------------------------------------

/// Rows that other transactions have in flight, before, between and behind the existing ones: around 0, 3, 60 and 300
/// old rows, since servers choose other ways through small tables than through large ones.
#[test]
fn every_database_touches_no_row_that_others_have_in_flight() {
    for (options, levels) in [(&[][..], &LEVELS[..]), (&BY_STATEMENT[..], &LEVELS[2..])] {
        let server = Arc::new(Mariadb::start(options));
        let site = site_on(&server);
        let mut store = connected(by_tcp(&site));
        for level in levels {
            for count in [0, 3, 60, 300] {
                begin_anew(&site);
                let before = waits(&server);
                beside_rows_in_flight(&site, &mut store, level, count);
                let waited = waits(&server) - before;
                assert_eq!(
                    waited, 0,
                    "a writer waited for a lock beside {count} rows, {level}, {options:?}"
                );
            }
        }
    }
}

fn beside_rows_in_flight(site: &Site, store: &mut MySql, level: &str, count: usize) {
    let what = |question: &str| format!("{question} beside {count} old rows and writers at {level}");
    let mut old = publish(site, count);
    store.stamp_all(Look::Behind);
    old.insert(0, 1);
    site.sql("UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 2 HOUR");
    let mut first = begin(site, level);
    let mut held = vec![site.publish_on(&mut first, "news", "e", "in flight")];
    let mut there = publish(site, 2);
    let mut second = begin(site, level);
    second.query_drop("SAVEPOINT a").expect("a savepoint");
    site.publish_on(&mut second, "news", "e", "rolled back");
    second.query_drop("ROLLBACK TO SAVEPOINT a").expect("a savepoint");
    let gone = site.publish_on(&mut second, "#control", "recheck-access", "{}");
    held.push(site.publish_on(&mut first, "#control", "recheck-access", "{}"));
    let control = site.publish("#control", "recheck-access", "{}");
    there.extend(publish(site, 1));
    let mut third = begin(site, level);
    let explicit = there[2] + 1000;
    third
        .query_drop(site.text(&format!(
            "INSERT INTO #__websockets_outbox (id, channel, event, data, created)
             VALUES ({explicit}, 'news', 'e', 'explicit', UTC_TIMESTAMP(3))"
        )))
        .expect("a row with an id of the writer's own");

    for look in [Look::Front(0), Look::Behind, Look::Window { after: 0, to: explicit }] {
        let looked = at_once(&what("a look"), || store.look(look));
        assert!(looked.found.is_some(), "{}: {look:?}", what("a look"));
    }
    let stamped = at_once(&what("a stamp"), || store.stamp_all(Look::Behind));
    assert_eq!(stamped, [&[control], &there[..]].concat(), "{}", what("a stamp"));
    let last = old.len() as u64;
    let told: Vec<u64> = at_once(&what("a tail"), || store.tail(last, 500))
        .iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(told, stamped, "{}", what("a tail"));
    assert_eq!(store.check(&[1]).found.len(), 1);
    let mut deleted = Vec::new();
    loop {
        let some = at_once(&what("a deletion"), || store.delete_old(3600, 50));
        if some.is_empty() {
            break;
        }
        deleted.extend(some);
    }
    assert_eq!(deleted, old, "{}", what("a deletion"));

    // All of them go on as if they were alone.
    for writer in [&mut first, &mut second, &mut third] {
        at_once(&what("a writer"), || site.publish_on(writer, "news", "e", "more"));
    }
    for (writer, how) in [
        (&mut first, "COMMIT"),
        (&mut second, "ROLLBACK"),
        (&mut third, "COMMIT"),
    ] {
        at_once(&what(how), || writer.query_drop(how)).expect("the transaction ends");
    }
    let rest = store.stamp_all(Look::Behind);
    assert_eq!(rest[0], held[1], "the control row comes first");
    let rest: BTreeSet<u64> = rest.into_iter().collect();
    assert!(held.iter().chain([&explicit]).all(|id| rest.contains(id)) && !rest.contains(&gone));
    assert_eq!(rest.len(), 5, "{rest:?} of {held:?} and {explicit}");
    let numbers: BTreeSet<u64> = seqs(site).iter().filter_map(|(_, seq)| *seq).collect();
    let expected: BTreeSet<u64> = (last + 1..=last + 9).collect();
    assert_eq!(numbers, expected, "numbers have no holes");
}

/// The statements that a user has run since the log was emptied.
fn logged(site: &Site) -> Vec<String> {
    let rows: Vec<(Vec<u8>,)> = site.rows(&format!(
        "SELECT CAST(argument AS BINARY) FROM mysql.general_log WHERE command_type IN ('Query', 'Execute')
         AND user_host LIKE '{}[%' ORDER BY event_time",
        site.user
    ));
    // Some servers note a packet as a whole.
    let texts = rows
        .into_iter()
        .map(|(text,)| String::from_utf8(text).expect("SQL is text"));
    let all: Vec<String> = texts.collect();
    all.iter()
        .flat_map(|text| text.split(';'))
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

/// The rows that are locked, asked one by one as the server itself would.
fn locked(site: &Site, level: &str, ids: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut other = begin(site, level);
    let table = site.text("#__websockets_outbox");
    let mut is_locked = |id: &u64| {
        let sql = format!("SELECT id FROM {table} WHERE id = {id} FOR UPDATE NOWAIT");
        match other.query_drop(sql) {
            Ok(()) => false,
            Err(mysql::Error::MySqlError(error)) if matches!(error.code, 1205 | 3572) => true,
            Err(error) => panic!("{error}"),
        }
    };
    ids.into_iter().filter(|id| is_locked(id)).collect()
}

/// The very statements of a stamp and of a deletion, taken from the server's log, run again without their COMMIT: while
/// that transaction stands open, every row but its own can be locked by others, and rows can be added everywhere.
#[test]
fn every_database_locks_the_rows_of_a_stamp_and_of_a_deletion_and_no_others() {
    for (options, level) in [(&[][..], LEVELS[1]), (&BY_STATEMENT[..], LEVELS[2])] {
        let server = Arc::new(Mariadb::start(options));
        let site = site_on(&server);
        site.sql("SET GLOBAL log_output = 'TABLE'");
        for count in [0, 3, 60, 300] {
            begin_anew(&site);
            publish(&site, count);
            let mut store = connected(by_tcp(&site));
            store.stamp_all(Look::Behind);
            site.sql("UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 2 HOUR");
            let mut writer = begin(&site, level);
            site.publish_on(&mut writer, "news", "e", "in flight");
            let wanted = publish(&site, 5);
            site.publish_on(&mut writer, "news", "e", "in flight");

            let position: String = site.value("SELECT value FROM #__websockets_state WHERE name = 'position'");
            let stamps = || assert_eq!(connected(by_tcp(&site)).stamp_all(Look::Behind), wanted);
            let mut undo: Vec<String> = wanted
                .iter()
                .map(|id| format!("UPDATE #__websockets_outbox SET seq = NULL, stamped = NULL WHERE id = {id}"))
                .collect();
            undo.push(format!(
                "UPDATE #__websockets_state SET value = '{position}' WHERE name = 'position'"
            ));
            let own = again(&site, level, stamps, &undo.join("; "));
            assert_eq!(own, wanted, "a stamp beside {count} rows");

            let oldest: Vec<u64> = site
                .rows("SELECT id FROM #__websockets_outbox FORCE INDEX (idx_seq) WHERE seq > 0 ORDER BY seq LIMIT 3");
            let last = oldest.len().min(count);
            let deletes = || assert_eq!(connected(by_tcp(&site)).delete_old(3600, 3), oldest[..last]);
            let undo: Vec<String> = oldest[..last]
                .iter()
                .zip(1..)
                .map(|(id, seq)| {
                    format!(
                        "INSERT INTO #__websockets_outbox (id, seq, stamped, channel, event, data, created)
                         VALUES ({id}, {seq}, '2020-01-01', 'news', 'e', '', NOW())"
                    )
                })
                .collect();
            if last > 0 {
                let own = again(&site, level, deletes, &undo.join("; "));
                assert_eq!(own, oldest[..last], "a deletion beside {count} rows");
            }
        }
    }
}

/// Has the store do it, undoes it, does it again by hand up to the COMMIT, and says which rows are locked then.
fn again(site: &Site, level: &str, act: impl Fn(), undo: &str) -> Vec<u64> {
    site.sql("SET GLOBAL general_log = 1");
    act();
    site.sql("SET GLOBAL general_log = 0");
    let all = logged(site);
    site.sql("TRUNCATE mysql.general_log");
    let start = all
        .iter()
        .rposition(|text| text.starts_with("START TRANSACTION"))
        .unwrap_or_else(|| panic!("{all:#?}"));
    let end = all
        .iter()
        .rposition(|text| text.starts_with("COMMIT"))
        .unwrap_or_else(|| panic!("{all:#?}"));
    site.sql(undo);
    let mut connection = begin(site, level);
    for statement in &all[start + 1..end] {
        let text = statement.trim();
        connection
            .query_drop(text)
            .unwrap_or_else(|why| panic!("{text}: {why}"));
    }
    let ids: Vec<u64> = site.rows("SELECT id FROM #__websockets_outbox WHERE data <> 'in flight' ORDER BY id");
    let own = locked(site, level, ids);
    // Others write between, before and behind them.
    let mut other = begin(site, level);
    for id in [100_000, 200_000] {
        let sql = format!(
            "INSERT INTO #__websockets_outbox (id, channel, event, data, created) VALUES ({id}, 'news', 'e', '', NOW())"
        );
        at_once("a writer", || other.query_drop(site.text(&sql))).expect("nothing is in the way");
    }
    at_once("a writer", || site.publish_on(&mut other, "#control", "e", ""));
    other.query_drop("ROLLBACK").expect("the end");
    connection.query_drop("ROLLBACK").expect("the end");
    own
}

// --- all or nothing --------------------------------------------------------------------------------------------------

#[test]
fn every_database_rolls_a_stamp_back_whose_rows_are_not_all_there() {
    let site = site_on(&Mariadb::shared());
    let (mut store, mut other) = (connected(by_tcp(&site)), connected(by_socket(&site)));
    let ids = publish(&site, 3);
    let before: String = site.value("SELECT value FROM #__websockets_state WHERE name = 'position'");
    let changes = [
        (
            "a row is gone",
            format!("DELETE FROM #__websockets_outbox WHERE id = {}", ids[1]),
        ),
        (
            "a row has a number",
            format!("UPDATE #__websockets_outbox SET seq = 99 WHERE id = {}", ids[1]),
        ),
    ];
    for (what, change) in changes {
        let claimed = store.claim(Look::Behind);
        let asked: Vec<u64> = claimed.ids.clone();
        site.sql(&change);
        // The row is left out for a while, as if it were locked.
        assert_eq!(
            store.ask(&stamp(&claimed, &asked), at(0)),
            Err(Failure::Locked),
            "{what}"
        );
        assert_eq!(store.readiness(at(0)), Readiness::Ready, "{what}");
        let numbers: Vec<Option<u64>> = site.rows(&format!(
            "SELECT seq FROM #__websockets_outbox WHERE id IN ({}, {}) ORDER BY id",
            ids[0], ids[2]
        ));
        assert_eq!(numbers, [None, None], "{what}");
        let after: String = site.value("SELECT value FROM #__websockets_state WHERE name = 'position'");
        assert_eq!(after, before, "{what}");
        // The locks are gone too, and the connection is as good as before.
        other.claim(Look::Behind);
        assert_eq!(other.ask_for(Question::Release), Answer::Done);
        if what == "a row is gone" {
            let id = site.publish("news", "e", "again");
            site.sql(&format!(
                "UPDATE #__websockets_outbox SET id = {} WHERE id = {id}",
                ids[1]
            ));
        }
    }
    site.sql("UPDATE #__websockets_outbox SET seq = NULL WHERE seq = 99");
    assert_eq!(store.stamp_all(Look::Behind), ids);
}

/// If any statement of a packet fails, the rest is left out, the others are rolled back, and the connection goes on.
#[test]
fn every_database_rolls_a_packet_back_whose_middle_fails() {
    let site = site_on(&Mariadb::shared());
    let mut store = connected(by_tcp(&site));
    let ids = publish(&site, 3);
    // The second statement of three that write.
    let claimed = store.claim(Look::Behind);
    let highest = Question::Stamp {
        ids: ids.clone(),
        epoch: 1,
        first: 1, // taken
        mark: claimed.tables.now_ms,
    };
    match store.ask(&highest, at(0)) {
        Err(Failure::Refused(why)) => assert!(why.contains("uplicate"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.stamp_all(Look::Behind), ids);
    // A deletion whose second row is locked.
    site.sql("UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 2 HOUR");
    let mut holder = begin(&site, "READ COMMITTED");
    holder
        .query_drop(site.text(&format!(
            "SELECT id FROM #__websockets_outbox WHERE id = {} FOR UPDATE",
            ids[0]
        )))
        .expect("a lock");
    let rows = seqs(&site);
    let found = store.old(3600, 10);
    assert_eq!(found.ids, [1, ids[0], ids[1]]);
    let (ids_, processes) = (found.ids, found.processes);
    let delete = Question::Delete { ids: ids_, processes };
    assert_eq!(
        at_once("a deletion", || store.ask(&delete, at(0))),
        Err(Failure::Locked)
    );
    assert_eq!(store.readiness(at(0)), Readiness::Ready);
    assert_eq!(seqs(&site), rows, "all or nothing");
    holder.query_drop("ROLLBACK").expect("the end");
    assert_eq!(store.delete_old(3600, 10), [1, ids[0], ids[1]]);
}

#[test]
fn every_database_reads_dirty_for_one_statement_only() {
    let site = site_on(&Mariadb::shared());
    let mut store = connected(by_tcp(&site));
    let clean = |store: &mut MySql, when: &str| {
        assert!(store.look(Look::Front(0)).found.is_none(), "{when}");
        let claimed = store.claim(Look::Front(0));
        assert_eq!((claimed.ids, claimed.control), (vec![], vec![]), "{when}");
        assert_eq!(store.ask_for(Question::Release), Answer::Done);
    };
    let mut writer = begin(&site, "READ COMMITTED");
    let open = site.publish_on(&mut writer, "news", "e", "in flight");
    for look in [Look::Behind, Look::Window { after: 0, to: 100 }] {
        assert_eq!(store.look(look).highest, open, "it is read dirty");
        clean(&mut store, "after a look behind");
    }
    writer.query_drop("COMMIT").expect("the end");
    store.stamp_all(Look::Behind);
    // A look that came to nothing: the level was set, and the statement that it was for did not run.
    for _ in 0..3 {
        let mut locker = site.connect();
        locker
            .query_drop(site.text("LOCK TABLES #__websockets_outbox WRITE"))
            .expect("root may");
        let failed = store.ask(&Question::Look(Look::Behind), at(0));
        assert!(is_locked(&failed), "{failed:?}");
        locker.query_drop("UNLOCK TABLES").expect("root may");
        let mut writer = begin(&site, "READ COMMITTED");
        site.publish_on(&mut writer, "news", "e", "in flight");
        clean(&mut store, "after a look behind that failed");
        writer.query_drop("ROLLBACK").expect("the end");
    }
}

// --- locks -----------------------------------------------------------------------------------------------------------

/// Locks of another client: SQL of a transaction or of a session.
const HELD: [(&str, &str); 12] = [
    (
        "the position's row",
        "START TRANSACTION; SELECT value FROM #__websockets_state WHERE name = 'position' FOR UPDATE",
    ),
    (
        "the position's row, as a reader at SERIALIZABLE",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION;
         SELECT value FROM #__websockets_state WHERE name = 'position'",
    ),
    (
        "all rows of the state table",
        "START TRANSACTION; SELECT * FROM #__websockets_state FOR UPDATE",
    ),
    (
        "the first row that waits",
        "START TRANSACTION; SELECT id FROM #__websockets_outbox WHERE data = '0' AND seq IS NULL FOR UPDATE",
    ),
    (
        "the last row that waits",
        "START TRANSACTION; DELETE FROM #__websockets_outbox WHERE id = (SELECT * FROM (SELECT MAX(id) FROM #__websockets_outbox) o)",
    ),
    (
        "all rows of the outbox table",
        "START TRANSACTION; SELECT * FROM #__websockets_outbox FOR UPDATE",
    ),
    ("the outbox table, for reading", "LOCK TABLES #__websockets_outbox READ"),
    (
        "the outbox table, for writing",
        "LOCK TABLES #__websockets_outbox WRITE",
    ),
    ("the state table, for reading", "LOCK TABLES #__websockets_state READ"),
    ("the state table, for writing", "LOCK TABLES #__websockets_state WRITE"),
    (
        "both tables, as a dump has them",
        "LOCK TABLES #__websockets_outbox READ LOCAL, #__websockets_state READ LOCAL",
    ),
    ("everything, as a backup has it", "FLUSH TABLES WITH READ LOCK"),
];

/// With any of these locks no question waits for longer than a statement may take, none opens the breaker, and all of
/// them are answered when the lock is gone.
#[test]
fn every_database_waits_for_no_lock() {
    let server = Arc::new(Mariadb::start(&[]));
    let site = site_on(&server);
    publish(&site, 40);
    let mut store = hasty(by_tcp(&site));
    store.stamp_all(Look::Behind);
    site.sql("UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 2 HOUR");
    publish(&site, 3);
    for (what, sql) in HELD {
        let mut holder = site.connect();
        holder
            .query_drop(site.text(sql))
            .unwrap_or_else(|why| panic!("{what}: {why}"));
        let mut told = Vec::new();
        let mut ask = |question: Question| {
            let began = Instant::now();
            let answer = store.ask(&question, at(0));
            let took = began.elapsed();
            told.push(format!(
                "{} {} in {} ms",
                question.name(),
                short(&answer),
                took.as_millis()
            ));
            assert!(
                answer.is_ok() || is_locked(&answer),
                "while a client holds {what}: {question:?}: {answer:?} after {took:?}\n{told:#?}"
            );
            assert!(took < AT_ONCE, "while a client holds {what}: {told:#?}");
            answer
        };
        for look in [Look::Front(0), Look::Behind, Look::Window { after: 0, to: 100 }] {
            let _ = ask(Question::Look(look));
        }
        let _ = ask(Question::Check(vec![1]));
        let _ = ask(Question::Tail { after: 1, limit: 10 });
        let _ = ask(Question::Beat {
            process: 7,
            position: Position::NOWHERE,
        });
        let _ = ask(Question::Leave(7));
        if let Ok(Answer::Claimed(claimed)) = ask(claim(Look::Behind)) {
            assert_eq!(claimed.ids.len(), 3, "while a client holds {what}");
            if !is_locked(&ask(stamp(&claimed, &claimed.ids))) {
                site_undo(&site);
            }
        }
        if let Ok(Answer::Claimed(_)) = ask(Question::Claim {
            look: Look::Behind,
            limit: 1,
            ensure: true,
        }) {
            let _ = ask(Question::Release);
        }
        if let Ok(Answer::Old(found)) = ask(old(3600, 2)) {
            let delete = Question::Delete {
                ids: found.ids,
                processes: vec![9],
            };
            let _ = ask(delete);
        }
        println!("{what}: {}", told.join(", "));
        assert!(
            !matches!(store.readiness(at(0)), Readiness::Probe),
            "while a client holds {what}"
        );
        for end in ["UNLOCK TABLES", "ROLLBACK"] {
            holder.query_drop(end).expect("the end");
        }
        // All is as it was.
        store.claim(Look::Behind);
        assert_eq!(store.ask_for(Question::Release), Answer::Done);
        store.ask_for(Question::Beat {
            process: 7,
            position: Position::NOWHERE,
        });
        assert_eq!(store.old(0, 1).ids.len(), 1);
        assert_eq!(store.ask_for(Question::Release), Answer::Done);
    }
    assert_eq!(
        store
            .measures()
            .find(|(name, _)| *name == "connect")
            .map(|(_, measure)| measure.count),
        Some(1)
    );
}

/// Takes the numbers of the last three rows away again.
fn site_undo(site: &Site) {
    let position: String = site.value("SELECT value FROM #__websockets_state WHERE name = 'position'");
    let (epoch, last) = place(Some(&position));
    let mark = last.mark;
    let before = Position::Table {
        epoch,
        place: jsocketd::protocol::position::Place {
            seq: last.seq - 3,
            mark,
        },
    };
    site.sql(&format!(
        "UPDATE #__websockets_outbox SET seq = NULL, stamped = NULL WHERE seq > {};
         UPDATE #__websockets_state SET value = '{before}' WHERE name = 'position'",
        last.seq - 3
    ));
}

fn short(answer: &Result<Answer, Failure>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Failure::Locked) => "locked",
        Err(Failure::TooLong) => "too long",
        Err(_) => "failed",
    }
}

/// A process that was stopped between the two halves of a stamp: the server ends its transaction, and another process
/// goes on. The late statements of the stopped process have no effect.
#[test]
fn every_database_takes_the_counter_from_a_process_that_stopped() {
    let site = site_on(&Mariadb::shared());
    let ids = publish(&site, 2);
    let (mut stopped, mut other) = (connected(by_tcp(&site)), connected(by_socket(&site)));
    let claimed = stopped.claim(Look::Behind);
    let began = Instant::now();
    let limit = match other.server().expect("connected").to_string().contains("MariaDB") {
        true => Duration::from_millis(3500),
        false => Duration::from_millis(12_000),
    };
    loop {
        match other.ask(&claim(Look::Behind), at(0)) {
            Ok(_) => break,
            Err(Failure::Locked) => thread::sleep(Duration::from_millis(100)),
            Err(failure) => panic!("{failure}"),
        }
        assert!(
            began.elapsed() < limit,
            "the counter is still locked after {:?}",
            began.elapsed()
        );
    }
    println!("the counter was free after {:?}", began.elapsed());
    assert!(
        began.elapsed() > Duration::from_millis(1000),
        "a slow network is no reason to lose it"
    );
    assert_eq!(other.ask_for(Question::Release), Answer::Done);
    match stopped.ask(&stamp(&claimed, &ids), at(0)) {
        Err(Failure::Unavailable(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(seqs(&site)[1..], [(ids[0], None), (ids[1], None)]);
    assert_eq!(other.stamp_all(Look::Behind), ids);
}

// --- a server beside all that ----------------------------------------------------------------------------------------

/// Tables that another client locks for a while, as dumps, backups and changes of a table do: rows come soon after the
/// lock is gone, the database counts as available all the time, and all other requests are served.
#[test]
fn every_database_s_rows_come_soon_after_a_lock() {
    let server = Arc::new(Mariadb::start(&[]));
    let joomla = site_on(&server);
    let site = serve(&joomla, "");
    ready(&site);
    let mut client = Client::enter(&site, &["news"]);
    let all: String = vec!["('others', 'e', REPEAT('x', 4000), UTC_TIMESTAMP(3))"; 500].join(", ");
    for _ in 0..16 {
        joomla.sql(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES {all}"
        ));
    }
    wait_for(&site, "rows", |rows| rows == 8000);
    let mut expected = Vec::new();
    let held = HELD.iter().map(|(what, sql)| (*what, (*sql).to_owned()));
    let altered = (
        "the table is changed",
        "ALTER TABLE #__websockets_outbox FORCE, ALGORITHM=COPY".to_owned(),
    );
    for (n, (what, sql)) in held.chain([altered]).enumerate() {
        let data = n.to_string();
        let mut holder = joomla.connect();
        // In the middle of it a writer publishes, and may have to wait for the lock as well.
        let ended = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                joomla.publish("news", "e", &data);
            });
            let sql = joomla.text(&sql);
            if !what.contains("changed") {
                holder.query_drop(sql).unwrap_or_else(|why| panic!("{what}: {why}"));
                thread::sleep(Duration::from_millis(1500));
                for end in ["UNLOCK TABLES", "ROLLBACK"] {
                    holder.query_drop(end).expect("the end");
                }
            } else {
                holder.query_drop(sql).unwrap_or_else(|why| panic!("{what}: {why}"));
            }
            writer.join().expect("it publishes");
            Instant::now()
        });
        client.until("news", &data);
        let took = ended.elapsed();
        println!("{what}: the row came {} ms after the end", took.as_millis());
        assert!(took < Duration::from_millis(3000), "{what}: {took:?}");
        expected.push(data);
    }
    client.expect("news", &expected);
    let log = site.server.log();
    assert!(
        !log.contains("is not available") && !log.contains("is not read"),
        "{log}"
    );
}

/// Where the binary log is written by statement the session runs at REPEATABLE READ, and everything works.
#[test]
fn every_database_that_logs_by_statement_does_it_all() {
    let server = Arc::new(Mariadb::start(&BY_STATEMENT));
    let joomla = site_on(&server);
    let sites = [serve(&joomla, "retention = 60"), serve(&joomla, "history_rows = 10")];
    sites.iter().for_each(|site| drop(ready(site)));
    let mut client = Client::enter(&sites[0], &["news"]);
    let mut open = begin(&joomla, LEVELS[2]);
    joomla.publish_on(&mut open, "news", "e", "slow");
    let mut all: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    publish(&joomla, 300);
    client.until_count("news", 300).come_back(&sites[1]);
    open.query_drop("COMMIT").expect("the end");
    all.push("slow".into());
    client.until("news", "slow").come_back(&sites[0]);
    joomla.publish("news", "e", "last");
    all.push("last".into());
    client.until("news", "last").expect("news", &all);
    // Old rows are deleted, and no statement waits.
    let before = waits(&server);
    joomla.sql("UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 2 HOUR WHERE seq <= 100");
    let mut open = begin(&joomla, LEVELS[3]);
    joomla.publish_on(&mut open, "news", "e", "slow again");
    let old = "SELECT COUNT(*) FROM #__websockets_outbox WHERE seq <= 100";
    let logs = || sites[0].server.log();
    wait_until("the old rows are deleted", || joomla.value::<u64>(old) == 0, logs);
    at_once("a writer", || joomla.publish("news", "e", "beside"));
    client.until("news", "beside");
    open.query_drop("COMMIT").expect("the end");
    client.until("news", "slow again");
    assert_eq!(waits(&server), before, "a statement waited for a lock");
    for site in &sites {
        let log = site.server.log();
        assert!(
            !log.contains("is not available") && !log.contains("is not read"),
            "{log}"
        );
    }
}
