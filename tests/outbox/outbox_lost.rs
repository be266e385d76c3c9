//! The ways in which version 0.1 lost a row, gave it twice, or gave it to a client without the right, each as a test,
//! with the behaviour of version 0.1 beside it. Version 0.1 followed ids, which are handed out before the commit. So it
//! kept a list of missing ids, took them for dead after a while, and guessed at a restart. Clients here keep one
//! position for each channel and stream: see `common/follower.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::between::Between;
use crate::common::follower::Client;
use crate::common::joomla::{Session as Login, Site as Joomla, sequence};
use crate::common::mariadb::Mariadb;
use crate::common::outbox::{ready, serve, stats, wait_for};
use crate::common::pusher::Site;
use crate::common::store::{Outbox as _, Process, age, by_socket, claim, connected, ids, stamp};
use crate::common::visits::{House, control};
use crate::common::wait_until;
use jsocketd::joomla::site::Client as Application;
use jsocketd::outbox::{Reach, Seen};
use jsocketd::protocol::position::Position;
use jsocketd::store::{Look, Question, Store as _};
use mysql::Conn;
use mysql::prelude::Queryable;
use rustix::process::Signal;
use serde_json::json;

fn joomla() -> Joomla {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla
}

/// A server of this site that reads the table.
fn start(joomla: &Joomla) -> Site {
    let site = serve(joomla, "");
    ready(&site);
    site
}

fn kill(mut site: Site) {
    site.server.signal(Signal::KILL);
    site.server.ended();
}

fn begin(joomla: &Joomla) -> Conn {
    let mut connection = joomla.connect();
    connection.query_drop("START TRANSACTION").expect("a transaction");
    connection
}

/// Longer than the least `gap_max` of version 0.1, with which these tests failed there.
const OPEN: Duration = Duration::from_millis(3500);

fn finish(connection: &mut Conn, how: &str) {
    connection.query_drop(how).expect("the transaction ends");
}

/// Rows in `news`, each by itself; their data.
fn publish(joomla: &Joomla, what: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut connection = joomla.connect();
    let all: Vec<String> = what.into_iter().collect();
    for data in &all {
        joomla.publish_on(&mut connection, "news", "e", data);
    }
    all
}

fn named(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name} {n}")).collect()
}

// --- writers that take their time ------------------------------------------------------------------------------------

/// Version 0.1 looked for rows in flight among the newest 10,000 ids when it started, and did not wait for missing ids
/// below them. A statement that inserts 120,000 rows is open across a restart; other rows are committed behind it.
#[test]
fn a_bulk_insert_that_is_open_across_a_restart_is_delivered_by_the_next_server() {
    const ROWS: usize = 120_000;
    const EACH: usize = 60;
    let joomla = joomla();
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    let mut slow = begin(&joomla);
    slow.query_drop(joomla.text(&format!(
        "INSERT INTO #__websockets_outbox (channel, event, data, created)
         SELECT IF(seq % {EACH}, 'others', 'news'), 'e', CONCAT('slow ', seq), UTC_TIMESTAMP(3) FROM {}",
        sequence(ROWS)
    )))
    .expect("the rows");
    let mut all = publish(&joomla, ["before the restart".into()]);
    client.until("news", "before the restart").leave();
    kill(site);
    all.extend(publish(&joomla, ["between".into()]));
    let site = start(&joomla);
    client.come_back(&site);
    all.extend(publish(&joomla, ["after the restart".into()]));
    client.until("news", "after the restart");
    let began = Instant::now();
    finish(&mut slow, "COMMIT");
    all.extend((1..=ROWS / EACH).map(|n| format!("slow {}", n * EACH)));
    client.until_count("news", all.len());
    println!("{ROWS} rows of one transaction were read in {:?}", began.elapsed());
    // So many rows are found in portions, which come in any order.
    let got = &mut client.follower.channels.get_mut("news").expect("its channel").handled;
    got[3..].sort_by_key(|(_, data)| data["slow ".len()..].parse::<usize>().expect("a number"));
    client.expect("news", &all);
    // A client that was away all the time gets the same rows, from the table or from memory.
    let mut other = Client::enter(&site, &["news"]);
    let last = publish(&joomla, ["last".into()]);
    other.until("news", "last").expect("news", &last);
}

/// Version 0.1 gave clients positions up to the oldest row in flight, and a process that started afterwards went on at
/// the last position of the process before: a row that was committed while none ran could be below it.
#[test]
fn a_row_committed_without_a_running_server_reaches_returning_clients() {
    let joomla = joomla();
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    let mut slow = begin(&joomla);
    joomla.publish_on(&mut slow, "news", "e", "slow");
    let mut all = publish(&joomla, named("fast", 20));
    client.until_count("news", 20);
    thread::sleep(OPEN);
    client.ping();
    client.leave();
    kill(site);
    finish(&mut slow, "COMMIT");
    let site = start(&joomla);
    client.come_back(&site);
    all.push("slow".into());
    all.extend(publish(&joomla, ["last".into()]));
    client.until("news", "last").expect("news", &all);
}

/// Version 0.1 took a row that was in flight for longer than `gap_max` for dead. When it was committed after all,
/// connected clients got it. For the others it depended on a list in memory, which went with the process.
#[test]
fn a_late_row_is_delivered_once_although_the_server_is_killed_right_after_it() {
    let joomla = joomla();
    let mut site = start(&joomla);
    let [mut live, mut away] = [Client::enter(&site, &["news"]), Client::enter(&site, &["news"])];
    let mut all = Vec::new();
    for round in 0..5 {
        let mut slow = begin(&joomla);
        let late = format!("late {round}");
        joomla.publish_on(&mut slow, "news", "e", &late);
        all.extend(publish(&joomla, named(&format!("round {round}"), 5)));
        live.until_count("news", all.len());
        away.until_count("news", all.len());
        if round < 3 {
            thread::sleep(OPEN);
        }
        away.ping();
        away.leave();
        finish(&mut slow, "COMMIT");
        all.push(late);
        if round % 2 == 0 {
            live.until_count("news", all.len());
        }
        live.leave();
        kill(site);
        site = start(&joomla);
        live.come_back(&site);
        away.come_back(&site);
    }
    all.extend(publish(&joomla, ["last".into()]));
    live.until("news", "last").expect("news", &all);
    away.until("news", "last").expect("news", &all);
}

/// In version 0.1 each process had its own list of rows in flight and of dead rows. So a client that moved could have a
/// position above a row that the other process had not sent yet, or had sent already.
#[test]
fn a_client_that_moves_between_two_servers_misses_nothing_and_gets_nothing_twice() {
    let joomla = joomla();
    let sites = [start(&joomla), start(&joomla)];
    let mut client = Client::enter(&sites[0], &["news"]);
    let mut all = Vec::new();
    for round in 0..20 {
        let mut slow = begin(&joomla);
        joomla.publish_on(&mut slow, "news", "e", &format!("slow {round}"));
        all.extend(publish(&joomla, named(&format!("round {round}"), 3)));
        client.until_count("news", all.len() - round % 3);
        if round < 2 {
            thread::sleep(OPEN);
        }
        if round % 4 > 1 {
            client.ping();
        }
        // A row that has no number yet would get it behind this one, whose id is lower.
        let unstamped = "SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NULL";
        let are_stamped = || joomla.value::<u64>(unstamped) == 0;
        wait_until("the rows have their numbers", are_stamped, String::new);
        finish(&mut slow, "COMMIT");
        all.push(format!("slow {round}"));
        client.come_back(&sites[(round + 1) % 2]);
    }
    all.extend(publish(&joomla, ["last".into()]));
    client.until("news", "last").expect("news", &all);
    assert_eq!(client.follower.channels["news"].recoveries, 20);
}

/// Version 0.1 remembered 5,000 missing ids one by one, and gave the oldest up when there were more: with every second
/// id in flight, which is what `auto_increment_increment = 2` makes too, rows were lost. The order is not expected: on
/// a slow machine the look behind takes too long beside so many rows, and then the later rows may be found first.
#[test]
fn every_second_id_may_be_missing() {
    const ROWS: usize = 6_000;
    let joomla = joomla();
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    let rows = |of: usize| {
        joomla.text(&format!(
            "INSERT INTO #__websockets_outbox (id, channel, event, data, created)
             SELECT 1000 + 2 * seq + {of}, IF(seq % 10, 'others', 'news'), 'e', CONCAT('{of} ', seq), UTC_TIMESTAMP(3)
             FROM {}",
            sequence(ROWS)
        ))
    };
    let expected = |of: usize| (1..=ROWS / 10).map(move |n| format!("{of} {}", n * 10));
    let mut odd = begin(&joomla);
    odd.query_drop(rows(1)).expect("every second row");
    joomla.sql(&rows(0));
    let mut all: Vec<String> = expected(0).collect();
    client.until_count("news", all.len()).leave();
    kill(site);
    let site = start(&joomla);
    client.come_back(&site);
    finish(&mut odd, "COMMIT");
    all.extend(expected(1));
    client.until_count("news", all.len()).expect_each_once("news", &all);
}

/// Of version 0.1 a client had to remember the ids behind the oldest row in flight, so that it knew doubles: beyond
/// 1,000 of them it handled rows twice.
#[test]
fn a_client_keeps_one_position_beside_a_transaction_that_is_open_all_the_time() {
    let joomla = joomla();
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    let mut slow = begin(&joomla);
    joomla.publish_on(&mut slow, "news", "e", "slow");
    let mut all = Vec::new();
    for part in 0..3 {
        all.extend(publish(&joomla, named(&format!("part {part}"), 500)));
        client.until_count("news", all.len()).come_back(&site);
    }
    finish(&mut slow, "COMMIT");
    all.push("slow".into());
    client.until("news", "slow").come_back(&site);
    all.extend(publish(&joomla, ["last".into()]));
    client.until("news", "last").expect("news", &all);
}

/// Version 0.1 checked for each missing id whether it was locked: beside hundreds of thousands of them rows came late,
/// or were given up. Here a look that takes too long is taken in windows.
#[test]
fn half_a_million_rows_in_flight_hold_nothing_up() {
    let server = Arc::new(Mariadb::start(&["--innodb-buffer-pool-size=128M"]));
    let joomla = Joomla::joomla6_on(Arc::clone(&server));
    joomla.create_outbox();
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    let mut all = publish(&joomla, ["before".into()]);
    let mut slow = joomla.server.connect(Some(&joomla.database));
    slow.query_drop("START TRANSACTION").expect("a transaction");
    let insert = "INSERT INTO #__websockets_outbox (channel, event, data, created)
                  SELECT 'news', 'e', 'slow', UTC_TIMESTAMP(3) FROM";
    for part in 0..5 {
        slow.query_drop(joomla.text(&format!("{insert} {}", sequence(100_000))))
            .expect("the rows");
        all.extend(publish(&joomla, named(&format!("part {part}"), 3)));
    }
    client.until_count("news", all.len());
    let mut took = Vec::new();
    for n in 0..40 {
        let data = format!("beside {n}");
        let began = Instant::now();
        all.extend(publish(&joomla, [data.clone()]));
        client.until("news", &data);
        took.push(began.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    took.sort_unstable();
    println!(
        "commit to delivery beside 500,000 rows in flight: median {:?}, longest {:?}",
        took[20], took[39]
    );
    assert!(took[20] < Duration::from_millis(700), "{took:?}");
    // Beside so many rows some are found in front and some behind, so that a later one may come first.
    all[1..16].sort_unstable();
    let got = &mut client.follower.channels.get_mut("news").expect("its channel").handled;
    got[1..16].sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
    client.expect("news", &all);
    let log = site.server.log();
    assert!(!log.contains("is not available"), "{log}");
    // The test does not wait for the end of the transaction: rolling it back takes longer than the test.
    drop(client);
    server.kill();
}

/// In version 0.1 the first thousand channels for which the table had to be read kept their places for a minute, even
/// those of guests and of empty channels: all other clients got a gap.
#[test]
fn guests_with_a_thousand_recoveries_take_no_other_clients_place() {
    const GUESTS: usize = 80;
    const ASKED: usize = 20;
    const MOST: usize = 16; // of one connection
    let joomla = joomla();
    let site = serve(&joomla, "history_rows = 10");
    let start = ready(&site);
    let mut clients = [0, 1].map(|_| Client::enter(&site, &["news"]));
    let mut all = publish(&joomla, ["before".into()]);
    for client in &mut clients {
        client.until("news", "before").leave();
    }
    all.extend(publish(&joomla, named("meanwhile", 50)));
    wait_for(&site, "rows", |rows| rows == 51);
    let mut guests: Vec<_> = (0..GUESTS).map(|_| site.connect_recovering()).collect();
    for (n, guest) in guests.iter_mut().enumerate() {
        for channel in 0..ASKED {
            guest.say_subscribe(json!({"channel": format!("unknown-{n}-{channel}"), "since": start}));
        }
    }
    let began = Instant::now();
    clients[0].come_back(&site).until_count("news", all.len());
    println!(
        "delivered beside {} recoveries within {:?}",
        GUESTS * ASKED,
        began.elapsed()
    );
    let recovered = guests.iter_mut().map(|guest| {
        let answers = (0..ASKED).map(|_| guest.next());
        answers.filter(|answer| answer["recovered"] == true).count()
    });
    assert_eq!(recovered.collect::<Vec<_>>(), [MOST; GUESTS]);
    // All of them are over, and the places would still be taken.
    clients[1].come_back(&site).until_count("news", all.len());
    for client in &clients {
        client.expect("news", &all);
    }
}

// --- tables that lose rows -------------------------------------------------------------------------------------------

/// Version 0.1 began a new epoch when ids went back, and took the rows of its first answer for history: a control row
/// among them was never obeyed.
#[test]
fn a_control_row_behind_a_truncate_is_obeyed() {
    let joomla = Joomla::joomla6();
    let house = House::by_rows_only(joomla);
    let joomla = &house.joomla;
    for statement in ["TRUNCATE #__websockets_outbox", "DELETE FROM #__websockets_outbox"] {
        let login = joomla.log_in(joomla.id_of("anna"), Application::Site);
        let mut anna = visit(&house, &login, &["news"]);
        publish(joomla, named("before", 10));
        anna.until("news", "before 9");
        joomla.sql(statement);
        control(joomla, "terminate-user", json!({"user_id": login.user}));
        assert_eq!(anna.closed(), 4009, "{statement}");
    }
}

/// A client of the Pusher protocol that asks for recovery, on a page of this session.
fn visit(house: &House, login: &Login, channels: &[&str]) -> Client {
    let session = house.arrive(&house.page(login).query("recovery=1"));
    Client::enter_on(session, channels)
}

/// A site on a database that writes its log once a second, so that a crash takes the last commits along.
fn forgetful() -> (Arc<Mariadb>, Joomla) {
    let server = Arc::new(Mariadb::start(&["--innodb-flush-log-at-trx-commit=0"]));
    let joomla = Joomla::joomla6_on(Arc::clone(&server));
    joomla.create_outbox();
    (server, joomla)
}

/// The rows committed so far are on the disk. Adds a row.
fn flush(server: &Mariadb, joomla: &Joomla) {
    let mut root = server.connect(None);
    let mut set = |value| {
        let sql = format!("SET GLOBAL innodb_flush_log_at_trx_commit = {value}");
        root.query_drop(sql).expect("root may");
    };
    set(1);
    publish(joomla, ["flushed".into()]);
    set(0);
}

/// Publishes a few rows, waits until the client has them, kills the database, and does so again until some are lost.
fn lose_commits(server: &Mariadb, joomla: &Joomla, client: &mut Client) {
    for round in 0..20 {
        let kept = format!("kept {round}");
        publish(joomla, [kept.clone()]);
        client.until("news", &kept);
        flush(server, joomla);
        let before: usize = client.follower.data("news").len() + 1;
        client.until_count("news", before);
        let mut connection = joomla.connect();
        for n in 0..3 {
            joomla.publish_on(&mut connection, "news", "e", &format!("lost {round} {n}"));
        }
        client.until_count("news", before + 3);
        // A row may also lose its number alone, and get another stamp.
        let rows = "SELECT GROUP_CONCAT(seq, ' ', stamped ORDER BY id) FROM #__websockets_outbox";
        let stamps = || joomla.value::<Option<String>>(&format!("{rows} WHERE data LIKE 'lost {round} %'"));
        let stamped = stamps();
        server.kill();
        server.restart();
        if stamps() != stamped {
            return;
        }
    }
    panic!("a database that does not write its log loses nothing: this proves nothing");
}

/// Version 0.1 compared ids: rows that got the ids of lost ones were taken for those, and a client that had the lost
/// ones got `recovered: true` without the new ones. Here the row's mark tells them apart, with the server killed along
/// and without.
#[test]
fn commits_that_a_crash_of_the_database_takes_along_are_a_gap() {
    thread::scope(|scope| {
        for (what, stays, refill) in [
            ("the server stays", true, 0),
            ("the server stays, and as many rows come", true, 3),
            ("the server is killed along", false, 0),
            ("the server is killed along, and as many rows come", false, 3),
            ("the server is killed along, and more rows come", false, 10),
        ] {
            scope.spawn(move || {
                let (server, joomla) = forgetful();
                let mut site = start(&joomla);
                let mut client = Client::enter(&site, &["news"]);
                lose_commits(&server, &joomla, &mut client);
                if stays {
                    publish(&joomla, named("new", refill));
                    assert_eq!(client.closed(), 4200, "{what}");
                } else {
                    // Nothing that it remembers helps.
                    client.leave();
                    kill(site);
                    publish(&joomla, named("new", refill));
                    site = start(&joomla);
                }
                while client.try_come_back(site.connect_recovering()).is_err() {}
                assert_eq!(client.follower.gaps(), 1, "{what}");
                publish(&joomla, ["after".into()]);
                client.persist(&site, "news", "after");
            });
        }
    });
}

/// The same while the server is stopped: when it goes on, another process has stamped more rows than were lost, so the
/// numbers are higher than before and only the last row's mark shows that it is another one.
#[test]
fn commits_that_were_lost_and_made_up_for_while_the_server_was_stopped_are_a_gap() {
    let (server, joomla) = forgetful();
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    for _ in 0..5 {
        site.server.signal(Signal::CONT);
        let before = client.follower.data("news").len();
        flush(&server, &joomla);
        client.until_count("news", before + 1);
        publish(&joomla, named("lost", 3));
        client.until_count("news", before + 4);
        site.server.signal(Signal::STOP);
        let highest: u64 = joomla.value("SELECT MAX(seq) FROM #__websockets_outbox");
        server.kill();
        server.restart();
        let left: u64 = joomla.value("SELECT MAX(seq) FROM #__websockets_outbox");
        let mut other = connected(by_socket(&joomla));
        publish(&joomla, named("new", 10));
        other.stamp_all(Look::Behind);
        site.server.signal(Signal::CONT);
        if left == highest {
            client.until("news", "new 9").leave();
            client = Client::enter(&site, &["news"]);
            continue;
        }
        assert_eq!(client.closed(), 4200);
        while client.try_come_back(site.connect_recovering()).is_err() {}
        assert_eq!(client.follower.gaps(), 1);
        publish(&joomla, ["after".into()]);
        client.persist(&site, "news", "after");
        return;
    }
    panic!("nothing was lost: this proves nothing");
}

// --- processes that stop ---------------------------------------------------------------------------------------------

/// A process that is stopped between the two halves of a stamp has the lock of the counter. The database ends its
/// transaction, the other process goes on, and the stopped one has lost nothing when it wakes up.
#[test]
fn a_process_that_is_stopped_in_its_stamp_holds_the_others_up_for_a_moment() {
    let joomla = joomla();
    // Of the one that is far from its database the transactions are long.
    let database = Between::far(joomla.server.addr, Duration::from_millis(20));
    let host = format!("host = {}", json!(database.addr.to_string()));
    let sites = [serve(&joomla, &host), start(&joomla)];
    ready(&sites[0]);
    let mut clients = sites.each_ref().map(|site| Client::enter(site, &["news"]));
    let mut probe = joomla.connect();
    let mut is_locked = || {
        let sql = "SELECT name FROM #__websockets_state WHERE name = 'position' FOR UPDATE NOWAIT";
        probe.query_drop(joomla.text(sql)).is_err()
    };
    let mut all = Vec::new();
    let mut caught = false;
    for round in 0..200 {
        all.extend(publish(&joomla, [format!("round {round}")]));
        let began = Instant::now();
        while !is_locked() && began.elapsed() < Duration::from_millis(300) {}
        sites[0].server.signal(Signal::STOP);
        // The other one holds it for milliseconds.
        caught = (0..10).all(|_| {
            thread::sleep(Duration::from_millis(20));
            is_locked()
        });
        if caught {
            println!("stopped in its stamp in round {round}");
            break;
        }
        sites[0].server.signal(Signal::CONT);
    }
    assert!(caught, "the server was never stopped in a stamp: this proves nothing");
    let began = Instant::now();
    all.extend(publish(&joomla, ["meanwhile".into()]));
    clients[1].until("news", "meanwhile").expect("news", &all);
    let took = began.elapsed();
    println!("a stopped process held the counter for {took:?}");
    // A process that was stopped in a statement loses its connection half a second after the deadline of the answer.
    // Else MariaDB ends a transaction that stands still after 2 s, and MySQL ends a silent connection after 10 s.
    let longest = match joomla.server.is_mariadb() {
        true => Duration::from_secs(4),
        false => Duration::from_secs(12),
    };
    assert!(took < longest, "{took:?}");
    let log = sites[1].server.log();
    let said = log.contains("another process holds the outbox's counter");
    assert!(said || took < Duration::from_millis(1500), "{took:?}: {log}");
    sites[0].server.signal(Signal::CONT);
    clients[0].until("news", "meanwhile").expect("news", &all);
    all.extend(publish(&joomla, ["after".into()]));
    for (client, site) in clients.iter_mut().zip(sites.iter().rev()) {
        client.until("news", "after").come_back(site).expect("news", &all);
    }
}

/// The late statements of a stopped process have no effect after another process has gone on.
#[test]
fn a_stamp_that_comes_too_late_changes_nothing() {
    let joomla = joomla();
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    let mut stopped = connected(by_socket(&joomla));
    let mut all = Vec::new();
    // It claims rows before the server finds them.
    let claimed = loop {
        all.extend(publish(&joomla, [format!("claimed {}", all.len())]));
        match stopped.ask(&claim(Look::Behind), crate::common::store::at(0)) {
            Ok(jsocketd::store::Answer::Claimed(claimed)) if !claimed.ids.is_empty() => break claimed,
            Ok(_) => drop(stopped.ask_for(Question::Release)),
            Err(_) => {}
        }
    };
    all.extend(publish(&joomla, named("more", 5)));
    client.until("news", "more 4").expect("news", &all);
    let late = stopped.ask(&stamp(&claimed, &claimed.ids), crate::common::store::at(0));
    assert!(late.is_err(), "{late:?}");
    let numbers: Vec<u64> = joomla.rows("SELECT seq FROM #__websockets_outbox ORDER BY seq");
    assert_eq!(
        numbers,
        (1..=all.len() as u64 + 1).collect::<Vec<_>>(),
        "each row once, without holes"
    );
}

/// Version 0.1 deleted only the rows that it had sent itself; a process that had been away for longer went on at the
/// lowest row that was left, and reported no gap. Here the missing number shows the gap.
#[test]
fn a_process_that_was_stopped_for_longer_than_the_retention_reports_a_gap() {
    let joomla = joomla();
    let mut stopped = Process::new(&joomla, 1, 60);
    let mut other = Process::new(&joomla, 2, 60);
    let rows = |count: usize| publish(&joomla, named("row", count)).len();
    rows(10);
    assert_eq!([stopped.live(3).len(), other.live(3).len()], [10, 10]);
    let before = stopped.position();
    rows(10);
    assert_eq!(other.live(3).len(), 10);
    let all = ids(&joomla);
    age(&joomla, &all[..all.len() - 1]);
    other.live(30);
    assert_eq!(ids(&joomla), all[all.len() - 1..]);
    let seen = stopped.live(10);
    assert_eq!(seen.iter().filter(|seen| **seen == Seen::Gap).count(), 1, "{seen:?}");
    assert_eq!(stopped.position(), other.position());
    let Position::Table { .. } = before else {
        panic!("{before}")
    };
    assert_eq!([stopped.reaches(before), other.reaches(before)], [Reach::No, Reach::No]);
    let now = stopped.position();
    assert_eq!([stopped.reaches(now), other.reaches(now)], [Reach::Yes, Reach::Yes]);
    rows(1);
    assert_eq!([stopped.live(3).len(), other.live(3).len()], [1, 1]);
}

// --- the barrier -----------------------------------------------------------------------------------------------------

/// In version 0.1 a client had one position of the table for its whole connection: a row that waited for one channel
/// was below the position that came with another channel.
#[test]
fn of_two_channels_of_a_client_one_may_wait_at_a_barrier() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Application::Site);
    let article = joomla.add_article(2, 1);
    let channel = format!("private-com_content.article.{article}");
    let item = |what: &str| joomla.publish(&channel, "e", what);
    let mut expected = Vec::new();
    for leaves in [false, true] {
        let mut anna = visit(&house, &login, &[&channel, "news"]);
        let mut holder = joomla.connect();
        holder
            .query_drop(joomla.text("LOCK TABLES #__content WRITE"))
            .expect("root may");
        control(
            joomla,
            "recheck-item",
            json!({"type": "com_content.article", "id": article}),
        );
        item("waits");
        publish(joomla, named("news", 3));
        anna.until("news", "news 2").ping();
        assert_eq!(
            anna.follower.data(&channel),
            [""; 0],
            "the server cannot say yet whether anna may subscribe"
        );
        if leaves {
            anna.leave();
        }
        holder.query_drop("UNLOCK TABLES").expect("root may");
        if leaves {
            anna.come_back_on(house.arrive(&house.page(&login).query("recovery=1")));
        }
        item("behind");
        anna.until(&channel, "behind").expect(&channel, &["waits", "behind"]);
        publish(joomla, ["last".into()]);
        expected.push("last");
        anna.until("news", "last")
            .expect("news", &["news 0", "news 1", "news 2", "last"]);
    }
}

/// Rights that go, a control row that says so, and a secret behind it.
struct Farewell {
    house: House,
    /// Keeps the right to the channel.
    stays: Client,
    /// Loses the right to the channel.
    goes: Client,
    login: Login,
}

const SECRETS: &str = "private-group-12";

impl Farewell {
    fn new(server: Arc<Mariadb>) -> Self {
        let house = House::by_rows_only(Joomla::joomla6_on(server));
        let joomla = &house.joomla;
        joomla.set_groups(joomla.id_of("carol"), &[4, 12]);
        let [bob, carol] = ["bob", "carol"].map(|name| joomla.log_in(joomla.id_of(name), Application::Site));
        let goes = visit(&house, &bob, &[SECRETS]);
        let stays = visit(&house, &carol, &[SECRETS]);
        let mut farewell = Self {
            stays,
            goes,
            login: bob,
            house,
        };
        farewell.house.joomla.publish(SECRETS, "e", "before");
        farewell.stays.until(SECRETS, "before");
        farewell.goes.until(SECRETS, "before");
        farewell
    }

    /// SQL that takes the right away.
    fn revoke(&self) -> String {
        let user = self.login.user;
        self.house.joomla.text(&format!(
            "DELETE FROM #__user_usergroup_map WHERE user_id = {user} AND group_id = 12;
             INSERT INTO #__websockets_outbox (channel, event, data, created)
             VALUES ('#control', 'recheck-user', '{{\"user_id\":{user}}}', UTC_TIMESTAMP(3))"
        ))
    }

    fn secret(&self) -> String {
        self.house.joomla.text(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, created)
             VALUES ('{SECRETS}', 'e', 'secret', UTC_TIMESTAMP(3))"
        ))
    }

    /// The client that keeps the right gets the secret. The other client gets the withdrawal, and never the secret, not
    /// even after a reconnect.
    fn expect(mut self, what: &str) {
        self.stays.until(SECRETS, "secret");
        self.stays.expect(SECRETS, &["before", "secret"]);
        while self.goes.follower.refused.is_empty() {
            if let Err(code) = self.goes.read() {
                assert_eq!(code, 4200, "{what}");
                break;
            }
        }
        assert_eq!(self.goes.follower.data(SECRETS), ["before"], "{what}");
        let session = self.house.arrive(&self.house.page(&self.login).query("recovery=1"));
        self.goes.follower.refused.clear();
        self.goes.ask_on(session);
        while self.goes.follower.refused.is_empty() {
            self.goes
                .read()
                .unwrap_or_else(|code| panic!("{what}: closed with {code}"));
        }
        assert_eq!(self.goes.follower.data(SECRETS), ["before"], "{what}");
    }
}

/// Version 0.1 obeyed a control row by asking the database, and delivered the rows behind it in the meantime.
#[test]
fn a_secret_behind_a_control_row_never_reaches_a_client_that_lost_the_right() {
    for round in 0..3 {
        let farewell = Farewell::new(Mariadb::shared());
        let mut connection = farewell.house.joomla.connect();
        let (revoke, secret) = (farewell.revoke(), farewell.secret());
        match round {
            0 => {
                let all = format!("START TRANSACTION; {revoke}; {secret}; COMMIT");
                connection.query_drop(all).expect("one transaction");
                farewell.expect("in one transaction");
            }
            1 => {
                // As it is when the event is written first: within one stamp control rows come first.
                let all = format!("START TRANSACTION; {secret}; {revoke}; COMMIT");
                connection.query_drop(all).expect("one transaction");
                farewell.expect("in one transaction, the other way round");
            }
            _ => {
                let both = format!("START TRANSACTION; {revoke}; COMMIT; START TRANSACTION; {secret}; COMMIT");
                connection.query_drop(both).expect("two transactions");
                farewell.expect("in two transactions");
            }
        }
    }
}

/// The answer cannot come, because the table is locked and then the database is gone: the secret waits, and is not let
/// through when it is back.
#[test]
fn a_barrier_holds_across_an_outage() {
    for stopped in [false, true] {
        let server = Arc::new(Mariadb::start(&[]));
        let mut farewell = Farewell::new(Arc::clone(&server));
        let joomla = &farewell.house.joomla;
        let mut holder = joomla.connect();
        let both = format!("{}; {}", farewell.revoke(), farewell.secret());
        let process = &farewell.house.site.server;
        match stopped {
            // The database dies before the server has seen either row.
            true => {
                process.signal(Signal::STOP);
                joomla.sql(&both);
                server.kill();
                process.signal(Signal::CONT);
            }
            // It dies between the row and the answer.
            false => {
                holder
                    .query_drop(joomla.text("LOCK TABLES #__session WRITE"))
                    .expect("root may");
                joomla.sql(&both);
                farewell.stays.until(SECRETS, "secret");
                server.kill();
            }
        }
        let available = || farewell.house.stats()["database"]["available"] == true;
        wait_until("the outage is noticed", || !available(), || process.log());
        assert_eq!(farewell.goes.follower.data(SECRETS), ["before"]);
        server.restart();
        farewell.expect(if stopped {
            "seen after the outage"
        } else {
            "seen before the outage"
        });
    }
}

/// More control rows than one stamp has room for: nothing that was committed behind them overtakes any of them.
#[test]
fn nothing_overtakes_control_rows_however_many_there_are() {
    let farewell = Farewell::new(Mariadb::shared());
    let joomla = &farewell.house.joomla;
    let mut connection = begin(joomla);
    let other = joomla.id_of("dave");
    let many =
        vec![format!("('#control', 'recheck-user', '{{\"user_id\":{other}}}', UTC_TIMESTAMP(3))"); 900].join(", ");
    let into = joomla.text("INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES");
    connection.query_drop(format!("{into} {many}")).expect("rows");
    connection.query_drop(farewell.revoke()).expect("the last control row");
    finish(&mut connection, "COMMIT");
    connection.query_drop(farewell.secret()).expect("a row");
    farewell.expect("behind 901 control rows");
}

/// Each control row makes the server read the rights again, and the rows behind it wait for that. Where the database is
/// far away, the next control row came before the rights were read, and no client received anything until there were no
/// more of them.
#[test]
fn a_storm_of_control_rows_lets_everything_behind_them_through() {
    let joomla = joomla();
    let database = Between::far(joomla.server.addr, Duration::from_millis(20));
    joomla.configure("host", &format!("'{}'", database.addr));
    let site = start(&joomla);
    let mut client = Client::enter(&site, &["news"]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = joomla.connect();
            while !over.load(Ordering::Relaxed) {
                joomla.publish_on(&mut connection, "#control", "recheck-access", "{}");
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut took = Vec::new();
        for n in 0..10 {
            let data = n.to_string();
            joomla.publish("news", "e", &data);
            let began = Instant::now();
            client.until("news", &data);
            took.push(began.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        took.sort_unstable();
        println!(
            "beside 50 control rows a second and a database 20 ms away: median {:?}",
            took[5]
        );
        assert!(took[9] < Duration::from_secs(3), "{took:?}");
    });
}

// --- the counts that prove it ----------------------------------------------------------------------------------------

/// Numbers have no holes after any failure: everything else depends on that.
#[test]
fn numbers_have_no_holes_after_a_storm() {
    let joomla = joomla();
    let site = start(&joomla);
    thread::scope(|scope| {
        for writer in 0..4 {
            let joomla = &joomla;
            scope.spawn(move || {
                let mut connection = joomla.connect();
                for n in 0..60 {
                    connection.query_drop("START TRANSACTION").expect("a transaction");
                    for _ in 0..=n % 4 {
                        joomla.publish_on(&mut connection, "news", "e", &format!("{writer} {n}"));
                    }
                    finish(&mut connection, if n % 3 == 0 { "ROLLBACK" } else { "COMMIT" });
                }
            });
        }
    });
    let count: u64 = joomla.value("SELECT COUNT(*) - 1 FROM #__websockets_outbox");
    wait_for(&site, "rows", |rows| rows == count);
    let (lowest, highest, rows): (u64, u64, u64) = joomla
        .rows("SELECT MIN(seq), MAX(seq), COUNT(DISTINCT seq) FROM #__websockets_outbox")
        .remove(0);
    assert_eq!((lowest, highest, rows), (1, count + 1, count + 1));
    assert_eq!(stats(&site)["bad"], 0);
}
