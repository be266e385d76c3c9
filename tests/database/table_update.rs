//! From version 1 of the outbox's tables to version 2: `jsocketd schema --update` beside a running site, stopped at
//! every point; a server that finds tables of version 1; PHP of version 0.1 on tables of version 2. On every server of
//! `scripts/servers`.

use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::follower::Client;
use crate::common::joomla::{Site as Joomla, fixture};
use crate::common::outbox::{ready, serve, stats, wait_for};
use crate::common::store::{Outbox as _, by_tcp, connected, place};
use crate::common::visits::{House, Terms, Visitor};
use crate::common::wait_until;
use jsocketd::joomla::site::Client as Application;
use jsocketd::store::mysql::MySql;
use jsocketd::store::mysql::update::update;
use jsocketd::store::{Answer, Look};
use mysql::prelude::Queryable;

/// A site with tables of version 1, and rows in them that are ten seconds old.
fn version_1(rows: usize) -> Joomla {
    let joomla = Joomla::joomla6();
    joomla.sql(&fixture("outbox-version-1.sql"));
    joomla.sql(
        "INSERT INTO #__websockets_state VALUES ('epoch', '0000002a', UTC_TIMESTAMP(3)), ('made', 'x', UTC_TIMESTAMP(3)),
         ('deleted_to', 'o0000002a:1', UTC_TIMESTAMP(3)), ('mark', 'x', UTC_TIMESTAMP(3)),
         ('position.00000001', 'o0000002a:7', UTC_TIMESTAMP(3))",
    );
    insert(&joomla, rows);
    joomla
}

/// As PHP of version 0.1 does it.
fn insert(joomla: &Joomla, rows: usize) {
    for from in (0..rows).step_by(1000) {
        let some = (from..rows.min(from + 1000))
            .map(|n| format!("('news', 'e', 'old {n}', NULL, UTC_TIMESTAMP(3) - INTERVAL 10 SECOND)"));
        let values: Vec<String> = some.collect();
        joomla.sql(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, socket_id, created) VALUES {}",
            values.join(", ")
        ));
    }
}

/// Runs the command to its end.
fn run(joomla: &Joomla, command: &[&str]) -> (bool, String) {
    finish(start(joomla, command))
}

fn start(joomla: &Joomla, command: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_jsocketd"))
        .env_clear()
        .args(command)
        .arg("--joomla")
        .arg(joomla.root())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("jsocketd runs")
}

fn finish(child: Child) -> (bool, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = [stdout, stderr].concat();
    (status.success(), String::from_utf8(text).expect("it says text"))
}

const UPDATE: [&str; 2] = ["schema", "--update"];

/// The update from within: `said` is called with each sentence.
fn run_within(store: &mut MySql, patience: u64, mut said: impl FnMut(&str)) -> Result<(), String> {
    update(store, Duration::from_secs(patience), &mut |line| said(&line))
}

fn state(joomla: &Joomla) -> Vec<(String, String)> {
    joomla.rows("SELECT name, value FROM #__websockets_state ORDER BY name")
}

fn numbers(joomla: &Joomla) -> Vec<(u64, Option<u64>)> {
    joomla.rows("SELECT id, seq FROM #__websockets_outbox ORDER BY id")
}

/// The tables have the form of version 2, and the newest row has this number.
fn expect_version_2(joomla: &Joomla, newest: u64) {
    let state = state(joomla);
    let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["deleter", "position", "schema"]);
    assert_eq!((state[0].1.as_str(), state[2].1.as_str()), ("", "2"));
    let (epoch, position) = place(Some(&state[1].1));
    assert!(epoch != 0 && epoch != 0x2a && position.seq == newest, "{state:?}");
    let checked = connected(by_tcp(joomla)).check(&[newest]);
    assert_eq!((checked.newest, &checked.found[..]), (Some(position), &[position][..]));
}

#[test]
fn every_database_s_rows_keep_their_order_and_their_time() {
    let joomla = version_1(1_203);
    joomla.sql("DELETE FROM #__websockets_outbox WHERE id IN (2, 700)");
    let (good, said) = run(&joomla, &UPDATE);
    assert!(good, "{said}");
    for words in [
        "are of version 1",
        "columns and keys of version 2",
        "their numbers: 1201",
        "of version 2 now",
    ] {
        assert!(said.contains(words), "no {words:?} in\n{said}");
    }
    expect_version_2(&joomla, 1_203);
    let other: u64 =
        joomla.value("SELECT COUNT(*) FROM #__websockets_outbox WHERE seq <> id OR stamped <> created OR seq IS NULL");
    assert_eq!(other, 0);
    // They are the tables of a new installation.
    let made = |joomla: &Joomla| -> Vec<String> {
        let texts = ["outbox", "state"].map(|table| {
            let rows: Vec<(String, String)> = joomla.rows(&format!("SHOW CREATE TABLE #__websockets_{table}"));
            let text = rows[0].1.clone();
            let counter = text.find(" AUTO_INCREMENT=").map_or(text.len(), |at| at);
            let rest = text[counter..].find(" DEFAULT").map_or("", |at| &text[counter + at..]);
            format!("{}{rest}", &text[..counter])
        });
        texts.to_vec()
    };
    let new = Joomla::joomla6();
    new.create_outbox();
    assert_eq!(made(&joomla), made(&new));
    // Once more, and by the statements of the installation: nothing is changed.
    let before = (numbers(&joomla), state(&joomla));
    let (good, said) = run(&joomla, &UPDATE);
    assert!(good && said.contains("nothing to do"), "{said}");
    joomla.create_outbox();
    assert_eq!((numbers(&joomla), state(&joomla)), before);
    let (good, said) = run(&joomla, &["check", "--all"]);
    assert!(good && said.contains("the newest row has the number 1203"), "{said}");
}

#[test]
fn every_database_s_empty_tables_get_a_first_row() {
    let joomla = version_1(0);
    let (good, said) = run(&joomla, &UPDATE);
    assert!(good, "{said}");
    expect_version_2(&joomla, 1);
    let rows: Vec<(u64, String, String)> = joomla.rows("SELECT seq, channel, event FROM #__websockets_outbox");
    assert_eq!(rows, [(1, "#control".into(), "begin".into())]);
    // Where everything was deleted ids are high, and the first number is 1 all the same.
    let joomla = version_1(20);
    joomla.sql("DELETE FROM #__websockets_outbox");
    assert!(run(&joomla, &UPDATE).0);
    expect_version_2(&joomla, 1);
}

#[test]
fn every_database_without_tables_is_left_alone() {
    let joomla = Joomla::joomla6();
    let (good, said) = run(&joomla, &UPDATE);
    assert!(
        !good && said.contains("jsocketd schema") && said.contains("websockets_state"),
        "{said}"
    );
    let tables: Vec<String> = joomla.rows("SHOW TABLES LIKE '%websockets%'");
    assert_eq!(tables, [""; 0]);
    joomla.sql(&fixture("outbox-version-1.sql"));
    joomla.sql("DROP TABLE #__websockets_outbox");
    let (good, said) = run(&joomla, &UPDATE);
    assert!(
        !good && said.contains("jsocketd schema") && said.contains("websockets_outbox"),
        "{said}"
    );
    joomla.sql("UPDATE #__websockets_state SET value = '3'");
    let (good, said) = run(&joomla, &UPDATE);
    assert!(!good && said.contains("version 3"), "{said}");
    // Without the flag it prints, as ever.
    let (good, said) = run(&joomla, &["schema"]);
    assert!(
        good && said.contains("CREATE TABLE IF NOT EXISTS `j6x_websockets_outbox`"),
        "{said}"
    );
}

/// A server of version 0.2 logs one sentence about tables of version 1 and serves everything else. They are updated
/// while it runs and while a transaction is open, and rows committed meanwhile are delivered once.
#[test]
fn every_database_is_updated_beside_a_server_and_open_transactions() {
    let joomla = version_1(30);
    let house = House::with(joomla, Terms::without_sweep());
    let joomla = &house.joomla;
    let anna = joomla.log_in(joomla.id_of("anna"), Application::Site);
    let mut stock = house.come_known(&anna);
    stock.enter("news");
    house.site.api().publish("news", "e", "by HTTP");
    stock.expect_event("news", "e", "by HTTP").expect_nothing();
    let log = || house.site.server.log();
    wait_until("it is said", || log().contains("jsocketd schema --update"), log);
    assert_eq!(log().matches("the outbox is not read").count(), 1, "{}", log());

    let mut store = connected(by_tcp(joomla));
    let mut writer = joomla.connect();
    run_within(&mut store, 60, |line| {
        // The columns are there, and the numbers are given next.
        if line.contains("columns and keys") {
            writer.query_drop("START TRANSACTION").expect("a transaction");
            joomla.publish_on(&mut writer, "news", "e", "open");
            joomla.publish("news", "e", "between");
            joomla.publish_on(&mut writer, "news", "e", "open too");
        }
    })
    .expect("it is updated");
    expect_version_2(joomla, 32);
    wait_until(
        "the table is read",
        || log().contains("the outbox table is read from number 33"),
        log,
    );
    stock.expect_nothing();
    writer.query_drop("COMMIT").expect("the end");
    stock.expect_event("news", "e", "open");
    stock.expect_event("news", "e", "open too").expect_nothing();
    let rows = numbers(joomla);
    assert_eq!(rows[30..], [(31, Some(33)), (32, Some(32)), (33, Some(34))]);
}

#[test]
fn every_database_s_locks_are_waited_for_and_not_for_ever() {
    // A transaction that was there before holds up the ALTER.
    let joomla = version_1(3);
    let mut writer = joomla.connect();
    writer.query_drop("START TRANSACTION").expect("a transaction");
    joomla.publish_on(&mut writer, "news", "e", "open");
    let mut store = connected(by_tcp(&joomla));
    let began = Instant::now();
    let mut lines = Vec::new();
    let why = run_within(&mut store, 2, |line| lines.push(line.to_owned())).expect_err("it is locked");
    assert!(why.contains("run it again later"), "{why}");
    assert!(
        lines.iter().any(|line| line.contains("tried again for up to 2 s")),
        "{lines:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(state(&joomla).len(), 6, "nothing was changed");
    let child = start(&joomla, &UPDATE);
    thread::sleep(Duration::from_millis(2500));
    // Others are not held up for long by the one that waits.
    let began = Instant::now();
    joomla.publish("news", "e", "beside");
    assert!(began.elapsed() < Duration::from_millis(1800), "{:?}", began.elapsed());
    writer.query_drop("COMMIT").expect("the end");
    let (good, said) = finish(child);
    assert!(good && said.contains("tried again"), "{said}");
    expect_version_2(&joomla, 5);
}

/// Wherever the update is stopped, no process stamps rows meanwhile, and the next run goes on.
#[test]
fn every_database_goes_on_where_the_update_was_stopped() {
    let joomla = version_1(1_200);
    let own = format!(
        "SELECT id FROM information_schema.PROCESSLIST WHERE user = '{}'",
        joomla.user
    );
    let stop = || {
        joomla
            .rows::<u64>(&own)
            .iter()
            .for_each(|id| joomla.sql(&format!("KILL {id}")))
    };
    for sentence in ["columns and keys", "their numbers"] {
        let mut store = connected(by_tcp(&joomla));
        let why = run_within(&mut store, 60, |line| {
            if line.contains(sentence) {
                stop();
            }
        });
        assert!(why.is_err(), "it was stopped behind {sentence:?}");
        assert_eq!(state(&joomla).len(), 6, "it is of version 1 still");
        insert(&joomla, 1);
    }
    // In the middle of the numbers: a row of the second step is locked.
    joomla.sql("UPDATE #__websockets_outbox SET seq = NULL, stamped = NULL WHERE id > 300");
    let mut holder = joomla.connect();
    holder.query_drop("START TRANSACTION").expect("a transaction");
    let lock = "SELECT id FROM #__websockets_outbox WHERE id = 900 FOR UPDATE";
    holder.query_drop(joomla.text(lock)).expect("a lock");
    let mut store = connected(by_tcp(&joomla));
    let why = run_within(&mut store, 2, |_| ()).expect_err("a row is locked");
    assert!(why.contains("run it again later"), "{why}");
    let done: u64 = joomla.value("SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NOT NULL");
    assert_eq!(done, 800);
    // A process that would stamp finds no position.
    assert_eq!(connected(by_tcp(&joomla)).claim(Look::Behind).tables.position, None);
    holder.query_drop("ROLLBACK").expect("the end");
    let (good, said) = run(&joomla, &UPDATE);
    assert!(good && said.contains("their numbers: 402"), "{said}");
    expect_version_2(&joomla, 1_202);
}

#[test]
fn every_database_s_missing_privileges_are_named() {
    let joomla = version_1(5);
    let user = joomla.restricted_user(&[
        "SELECT, INSERT, UPDATE, DELETE ON #__websockets_outbox",
        "SELECT, INSERT, UPDATE, DELETE ON #__websockets_state",
    ]);
    joomla.configure("user", &format!("'{user}'"));
    let (good, said) = run(&joomla, &UPDATE);
    assert!(!good, "{said}");
    let grant = said
        .split("can run: ")
        .nth(1)
        .unwrap_or_else(|| panic!("{said}"))
        .trim();
    assert!(
        grant.starts_with("GRANT ALTER, CREATE, INSERT ON ") && grant.contains(&user),
        "{said}"
    );
    assert_eq!(state(&joomla).len(), 6, "nothing was changed");
    joomla.sql(grant);
    let (good, said) = run(&joomla, &UPDATE);
    assert!(good, "{said}");
    expect_version_2(&joomla, 5);
}

/// A package of version 0.1 goes on writing: its INSERT has neither of the new columns, its trimmer deletes by ids and
/// notes that under a name without a meaning in version 2.
#[test]
fn every_database_takes_the_statements_of_php_of_version_0_1() {
    let joomla = version_1(3);
    assert!(run(&joomla, &UPDATE).0);
    let site = serve(&joomla, "history_rows = 0");
    ready(&site);
    let mut client = Client::enter(&site, &["news"]);
    insert(&joomla, 2);
    client.until("news", "old 1").expect("news", &["old 0", "old 1"]);
    let position = client.position("news").to_owned();
    client.leave();
    joomla.sql(
        "DELETE FROM #__websockets_outbox WHERE id <= 4 AND created < UTC_TIMESTAMP(3) - INTERVAL 1 SECOND;
         INSERT INTO #__websockets_state (name, value, updated) VALUES ('deleted_to', 'o0000002a:4', UTC_TIMESTAMP(3))
         ON DUPLICATE KEY UPDATE value = 'o0000002a:4', updated = UTC_TIMESTAMP(3)",
    );
    insert(&joomla, 1);
    client.come_back(&site).until_count("news", 3);
    client.expect("news", &["old 0", "old 1", "old 0"]);
    // PHP of version 0.1 may delete the newest row too, as no other version does. Then the server cannot say whether
    // the position was of this table.
    client.leave();
    let rows = stats(&site)["rows"].as_u64();
    joomla.sql("DELETE FROM #__websockets_outbox WHERE seq IS NOT NULL");
    insert(&joomla, 1);
    // Before this row the position is the newest one, and then nothing can be missing.
    wait_for(&site, "rows", |now| Some(now) > rows);
    client.come_back(&site);
    insert(&joomla, 1);
    client.until_count("news", client.follower.data("news").len() + 1);
    assert_eq!(client.follower.gaps(), 1);
    let log = site.server.log();
    assert!(!log.contains("a new epoch of the outbox table begins"), "{log}");
    let mut store = connected(by_tcp(&joomla));
    match store.ask_for(jsocketd::store::Question::State) {
        Answer::State(rows) => assert!(rows.iter().any(|(name, ..)| name == "deleted_to"), "{rows:?}"),
        other => panic!("{other:?}"),
    }
    drop(position);
}
