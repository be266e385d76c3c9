//! The time from a row's commit to its subscribers, the cost of looking at the table, and the time of each statement.
//! The figures are printed. With `cargo test --release --test speed outbox_speed -- --nocapture` they must be as
//! promised, else only of that order. The best of five rounds counts, because other programs of the machine may disturb
//! a round. `DATABASE_SERVER` names another server than the system's.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::between::Between;
use crate::common::joomla::Site as Joomla;
use crate::common::mariadb::Mariadb;
use crate::common::outbox::{enter, ready, serve};
use crate::common::pusher::{Site, below};
use crate::common::store::{Outbox as _, by_tcp, connected};
use crate::common::{Noise, alone};
use jsocketd::store::mysql::MySql;
use jsocketd::store::{Answer, Look, Question};
use mysql::Conn;
use mysql::prelude::Queryable;
use serde_json::json;

const ROWS: usize = 200;

/// Servers whose code is not optimized, on machines that do a lot besides, have this much more time.
const SLACK: u32 = if cfg!(debug_assertions) { 10 } else { 1 };

const ROUNDS: usize = 5;

fn joomla() -> Joomla {
    joomla_with(&[])
}

fn joomla_with(options: &[&str]) -> Joomla {
    let joomla = Joomla::joomla6_on(Arc::new(Mariadb::start(options)));
    joomla.create_outbox();
    joomla
}

/// Measures until it is less than that, in one of a few rounds.
fn expect_below<T: PartialOrd + std::fmt::Debug>(most: T, mut round: impl FnMut() -> T) {
    let rounds: Vec<T> = (0..ROUNDS)
        .map(|_| round())
        .take_while(|measured| *measured >= most)
        .collect();
    assert!(rounds.len() < ROUNDS, "{rounds:?} and never below {most:?}");
}

/// Commits a row now and then, and returns how long each took to a subscriber: the median and the 99th percentile.
fn deliver(joomla: &Joomla, site: &Site, rows: usize, mut after: impl FnMut()) -> (Duration, Duration) {
    let mut reader = site.connect_recovering();
    enter(&mut reader, "news", None);
    let (committed, came) = thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut came = Vec::new();
            while came.len() < rows {
                if reader.next()["event"] == "e" {
                    came.push(Instant::now());
                }
            }
            came
        });
        let (mut connection, mut noise) = (joomla.connect(), Noise(0x5eed));
        let mut committed = Vec::new();
        for _ in 0..rows {
            joomla.publish_on(&mut connection, "news", "e", "{}");
            committed.push(Instant::now());
            after();
            thread::sleep(Duration::from_micros(5_000 + below(&mut noise, 10_000) as u64));
        }
        (committed, reading.join().expect("it reads"))
    });
    let mut took: Vec<Duration> = committed
        .iter()
        .zip(came)
        .map(|(at, came)| came.saturating_duration_since(*at))
        .collect();
    took.sort_unstable();
    (took[rows / 2], took[rows * 99 / 100])
}

#[test]
fn a_committed_row_is_delivered_within_a_poll() {
    let _alone = alone();
    let joomla = joomla();
    let site = serve(&joomla, "poll_ms = 20\nidle_poll_ms = 20");
    ready(&site);
    expect_below(Duration::from_millis(25) * SLACK, || {
        let (p50, p99) = deliver(&joomla, &site, ROWS, || ());
        println!("commit to delivery, polled every 20 ms: p50 {p50:?}, p99 {p99:?}");
        p99
    });
}

#[test]
fn a_committed_row_is_delivered_at_once_after_a_nudge() {
    let _alone = alone();
    let joomla = joomla();
    let site = serve(&joomla, "poll_ms = 1000\nidle_poll_ms = 1000");
    let mut api = site.api();
    ready(&site);
    expect_below(Duration::from_millis(10) * SLACK, || {
        let (p50, p99) = deliver(&joomla, &site, ROWS, || {
            assert_eq!(api.ask("POST", "/nudge", &[], "{}"), json!({}));
        });
        println!("commit to delivery, nudged: p50 {p50:?}, p99 {p99:?}");
        p99
    });
}

#[test]
fn looking_every_twenty_milliseconds_costs_next_to_nothing() {
    let _alone = alone();
    const TIME: Duration = Duration::from_secs(4);
    const MOST_CPU: f64 = 1.0; // percent of a core
    let joomla = joomla();
    // Ten thousand rows are there, as after a busy hour.
    let rows = vec!["('news', 'e', '{}', UTC_TIMESTAMP(3))"; 1000].join(", ");
    for _ in 0..10 {
        joomla.sql(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES {rows}"
        ));
    }
    let every = "poll_ms = 20\nidle_poll_ms = 20";
    let socket = format!(
        "host = {}\n{every}",
        json!(format!("unix:{}", joomla.server.socket.display()))
    );
    let sites = [
        serve(&joomla, &socket),
        serve(&joomla, every),
        serve(&joomla, "outbox = false"),
    ];
    sites[..2].iter().for_each(|site| drop(ready(site)));
    // Without connections they would look seldom.
    let _visitors = sites.each_ref().map(Site::connect);
    let cpu = || sites.each_ref().map(|site| site.server.cpu());
    let asked = || joomla.rows::<(String, usize)>("SHOW GLOBAL STATUS LIKE 'Questions'")[0].1;
    let looks = 2 * TIME.as_millis() as usize / 20;
    expect_below(MOST_CPU * f64::from(SLACK), || {
        let (began, before, asked_before) = (Instant::now(), cpu(), asked());
        thread::sleep(TIME);
        let statements = asked() - asked_before;
        assert!(statements > looks / 2, "{statements} statements: this proves nothing");
        let (took, after) = (began.elapsed(), cpu());
        let share = |n: usize| (after[n] - before[n]).as_secs_f64() / took.as_secs_f64() * 100.0;
        let [by_socket, by_tcp, rest] = [0, 1, 2].map(share);
        println!(
            "polling every 20 ms: {by_socket:.2} % of a core by the socket, {by_tcp:.2} % by TCP, {rest:.2} % without"
        );
        by_socket - rest
    });
}

/// A COMMIT that takes 20 ms, as on a slow disk: the writer's own is over when the time begins, the stamp's is part of
/// it.
#[test]
fn a_slow_commit_is_paid_once() {
    let _alone = alone();
    let options: &[&str] = match std::env::var("DATABASE_SERVER") {
        Ok(name) if name.starts_with("mysql") => &[
            "--log-bin=log",
            "--server-id=1",
            "--binlog-group-commit-sync-delay=20000",
        ],
        _ => &[
            "--log-bin=log",
            "--server-id=1",
            "--binlog-commit-wait-count=1000",
            "--binlog-commit-wait-usec=20000",
        ],
    };
    let joomla = joomla_with(options);
    let began = Instant::now();
    for _ in 0..20 {
        joomla.publish("other", "e", "{}");
    }
    let commit = began.elapsed() / 20;
    assert!(
        commit > Duration::from_millis(18),
        "a commit takes {commit:?}: this proves nothing"
    );
    let site = serve(&joomla, "poll_ms = 20\nidle_poll_ms = 20");
    ready(&site);
    // The poll, the commit, and 5 ms; and SQL, which has a fifth of the time, rests for the commit before it.
    expect_below(Duration::from_millis(20 + 5) * SLACK + commit * 6, || {
        let (p50, p99) = deliver(&joomla, &site, ROWS, || ());
        println!("commit to delivery, where a commit takes {commit:?}: p50 {p50:?}, p99 {p99:?}");
        p99
    });
}

/// A row takes four questions: it is looked for, claimed, stamped and read. Each is a round trip.
#[test]
fn a_database_that_is_far_away_costs_four_round_trips() {
    let _alone = alone();
    let joomla = joomla();
    for away in [10, 90].map(Duration::from_millis) {
        let between = Between::far(joomla.server.addr, away);
        let address = between.addr.to_string();
        let settings = format!("host = {}\npoll_ms = 20\nidle_poll_ms = 20", json!(address));
        let site = serve(&joomla, &settings);
        ready(&site);
        // The poll that is under way may just have missed the row; and SQL, which has a fifth of the time, rests for
        // each way.
        expect_below(Duration::from_millis(25) * SLACK + away * 60, || {
            let (p50, p99) = deliver(&joomla, &site, 12, || thread::sleep(away * 4));
            println!("commit to delivery with a database {away:?} away: p50 {p50:?}, p99 {p99:?}");
            p50
        });
    }
}

// --- statements ------------------------------------------------------------------------------------------------------

/// How long something takes: the median of a few rounds.
fn median(rounds: usize, mut act: impl FnMut() -> Duration) -> Duration {
    let mut took: Vec<Duration> = (0..rounds).map(|_| act()).collect();
    took.sort_unstable();
    took[rounds / 2]
}

fn timed(act: impl FnOnce()) -> Duration {
    let began = Instant::now();
    act();
    began.elapsed()
}

/// So many rows in statements of a thousand, on this connection.
fn insert(joomla: &Joomla, connection: &mut Conn, rows: usize) {
    let some = |count| vec!["('news', 'e', '{\"n\":1}', UTC_TIMESTAMP(3))"; count].join(", ");
    let into = joomla.text("INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES");
    for _ in 0..rows / 1000 {
        connection.query_drop(format!("{into} {}", some(1000))).expect("rows");
    }
    if !rows.is_multiple_of(1000) {
        connection
            .query_drop(format!("{into} {}", some(rows % 1000)))
            .expect("rows");
    }
}

fn stamp_everything(store: &mut MySql) {
    while !store.stamp_all(Look::Behind).is_empty() {}
}

/// The times of the statements, in microseconds.
fn costs(joomla: &Joomla, store: &mut MySql, what: &str) -> Vec<(String, u128)> {
    let mut connection = joomla.connect();
    let highest = store.look(Look::Behind).highest;
    let mut costs = Vec::new();
    let mut note = |name: String, took: Duration| {
        println!("{what}: {name}: {:.2} ms", took.as_secs_f64() * 1000.0);
        costs.push((name, took.as_micros()));
    };
    note(
        "an empty poll".into(),
        median(50, || {
            timed(|| assert!(store.look(Look::Front(highest)).found.is_none()))
        }),
    );
    let behind = median(5, || timed(|| drop(store.look(Look::Behind))));
    note("a look behind".into(), behind);
    let window = Look::Window {
        after: highest.saturating_sub(20_000),
        to: highest,
    };
    note(
        "a window of 20,000 ids".into(),
        median(5, || timed(|| drop(store.look(window)))),
    );
    for (name, far) in [("in front", false), ("behind", true)] {
        for rows in [1, 10, 100, 200, 500] {
            let took = median(9, || {
                insert(joomla, &mut connection, rows);
                let look = match far {
                    true => Look::Behind,
                    false => Look::Front(connection.last_insert_id() - 1),
                };
                timed(|| assert_eq!(store.stamp_all(look).len(), rows))
            });
            note(format!("a stamp of {rows} rows found {name}"), took);
        }
    }
    let last = store.check(&[]).newest.expect("there are rows").seq;
    for rows in [1_u32, 100, 500] {
        let took = median(9, || {
            timed(|| assert_eq!(store.tail(last - u64::from(rows), 500).len(), rows as usize))
        });
        note(format!("a tail of {rows} rows"), took);
    }
    for rows in [50, 100, 200] {
        let took = median(5, || {
            timed(|| assert_eq!(store.delete_old(0, rows).len(), rows as usize))
        });
        note(format!("a deletion of {rows} rows"), took);
    }
    let beat = Question::Beat {
        process: 1,
        position: "o00000001:1.1".parse().expect("a position"),
    };
    note(
        "a heartbeat".into(),
        median(9, || timed(|| assert_eq!(store.ask_for(beat.clone()), Answer::Done))),
    );
    costs
}

/// A stamp is two packets, and an idle poll one statement. Rows of others that are in flight, and rows that a backup's
/// old snapshot keeps, make looks behind dear, and nothing else.
#[test]
fn every_database_stamps_in_milliseconds_beside_hundred_thousand_rows() {
    let _alone = alone();
    const MANY: usize = 100_000;
    let joomla = joomla_with(&["--innodb-buffer-pool-size=256M"]);
    let mut store = connected(by_tcp(&joomla));
    println!("{}", store.server().expect("connected"));
    let mut connection = joomla.connect();
    insert(&joomla, &mut connection, 10_000);
    stamp_everything(&mut store);
    let plain = costs(&joomla, &mut store, "10,000 rows");

    let mut open = joomla.connect();
    open.query_drop("START TRANSACTION").expect("a transaction");
    insert(&joomla, &mut open, MANY);
    let beside = costs(&joomla, &mut store, "beside 100,000 rows in flight");
    open.query_drop("ROLLBACK").expect("the end");

    let mut backup = joomla.connect();
    backup
        .query_drop(
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT",
        )
        .expect("a snapshot");
    insert(&joomla, &mut connection, MANY);
    stamp_everything(&mut store);
    let unpurged = costs(
        &joomla,
        &mut store,
        "100,000 rows that were stamped and could not be purged",
    );
    drop(backup);

    // The statements of every poll and of every row cost the same everywhere.
    for (others, what) in [(beside, "rows in flight"), (unpurged, "rows that could not be purged")] {
        for ((name, plain), (_, took)) in plain
            .iter()
            .zip(others)
            .filter(|((name, _), _)| !name.contains("behind"))
        {
            let most = (plain * 4 + 3_000) * u128::from(SLACK);
            assert!(
                took <= most,
                "{name} takes {took} µs beside {what}, and {plain} µs without"
            );
        }
    }
}
