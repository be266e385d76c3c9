//! The database's accounts, on every server: how they log in, which privileges they lack, how many queries an hour they
//! may send, and how many of them an idle server sends. A failed login gets a sentence that names the reason and the
//! remedy, and `check` tries every statement.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::follower::Client;
use crate::common::joomla::Site;
use crate::common::mariadb::Mariadb;
use crate::common::outbox::{ready, serve, stats};
use crate::common::store::{LONGEST_EVENT, Outbox as _, at, by_socket, by_tcp, connected, new, set_up};
use jsocketd::config::{Config, ItemType, ListenAddr};
use jsocketd::joomla::site;
use jsocketd::protocol::keys::Keys;
use jsocketd::site::Site as Visited;
use jsocketd::store::grants::grants;
use jsocketd::store::mysql::{Kind, MySql};
use jsocketd::store::{Answer, Database, Failure, Look, Question, Readiness, Secret, Store as _};
use jsocketd::time::Now;
use mysql::prelude::Queryable;
use serde_json::json;

/// A site with the tables of the outbox.
fn site_on(server: &Arc<Mariadb>) -> Site {
    let site = Site::joomla6_on(Arc::clone(server));
    site.create_outbox();
    site
}

fn is_mysql(site: &Site) -> bool {
    connected(by_socket(site)).server().expect("connected").kind == Kind::MySql
}

/// The reason why the server cannot connect.
fn refused(database: Database) -> String {
    new(database).connect(at(0)).expect_err("there is no way in")
}

/// A user of the site with all that it is granted there.
fn add_user(site: &Site, name: &str, how: &str) -> Database {
    let user = format!("{}_{name}", site.database);
    site.sql(&format!(
        "CREATE USER {user} {how}; GRANT ALL ON {}.* TO {user}",
        site.database
    ));
    Database { user, ..by_tcp(site) }
}

fn password(text: &str) -> String {
    mysql::Value::from(text).as_sql(false)
}

/// `jsocketd check` for the site, as another user of its database.
fn check(site: &Site, user: &str, password: &str, endpoint: SocketAddr) -> Output {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("jsocketd.toml");
    let toml = format!(
        "[joomla]\nroot = {}\n[database]\nhost = {}\nuser = {}\npassword = {}\n",
        json!(site.root()),
        json!(endpoint.to_string()),
        json!(user),
        json!(password)
    );
    std::fs::write(&file, toml).expect("a file");
    let mut permissions = std::fs::metadata(&file).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&file, permissions).expect("it is ours");
    Command::new(env!("CARGO_BIN_EXE_jsocketd"))
        .args(["check", "--all"])
        .arg("--config")
        .arg(&file)
        .output()
        .expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

// --- log-ins ---------------------------------------------------------------------------------------------------------

fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("it is short").to_le_bytes();
    [&length[..3], &[number], body].concat()
}

fn greeting() -> Vec<u8> {
    let mut body = vec![10];
    body.extend_from_slice(b"11.8.0-MariaDB\0");
    body.extend_from_slice(&[1, 0, 0, 0]); // the connection
    body.extend_from_slice(b"12345678\0");
    body.extend_from_slice(&0xf7fe_u16.to_le_bytes()); // capabilities, without TLS and compression
    body.push(45); // utf8mb4
    body.extend_from_slice(&2_u16.to_le_bytes());
    body.extend_from_slice(&0x801f_u16.to_le_bytes());
    body.push(21);
    body.extend_from_slice(&[0; 10]);
    body.extend_from_slice(b"123456789012\0");
    body.extend_from_slice(b"mysql_native_password\0");
    packet(0, &body)
}

/// A server that answers each log-in with the next of these, and sends nothing when there are no more.
fn fake_server(mut answers: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("its address");
    answers.reverse();
    thread::spawn(move || {
        let mut silent: Vec<TcpStream> = Vec::new();
        for mut client in listener.incoming().flatten() {
            let mut heard = [0; 4096];
            let greeted = client.write_all(&greeting()).and_then(|()| client.read(&mut heard));
            if greeted.is_err() {
                continue;
            }
            match answers.pop() {
                Some(answer) => {
                    let _ = client.write_all(&answer);
                    let _ = client.read(&mut heard);
                }
                None => silent.push(client),
            }
        }
    });
    addr
}

/// Another plugin is asked for.
fn asks_for(plugin: &str) -> Vec<u8> {
    packet(2, &[&[0xfe], plugin.as_bytes(), &[0], &[7; 32][..], &[0]].concat())
}

fn denies() -> Vec<u8> {
    packet(
        2,
        &[&[0xff, 0x15, 0x04][..], b"#28000Access denied for user 'x'"].concat(),
    )
}

fn at_server(site: &Site, addr: SocketAddr) -> Database {
    Database {
        endpoints: vec![ListenAddr::Tcp(addr)],
        ..by_tcp(site)
    }
}

#[test]
fn an_unsupported_account_plugin_is_named_with_the_remedy() {
    let site = Site::joomla6();
    for (plugin, name, remedy) in [
        ("client_ed25519", "plugin ed25519", "VIA mysql_native_password"),
        ("parsec", "plugin parsec", "VIA mysql_native_password"),
        (
            "sha256_password",
            "plugin sha256_password",
            "WITH caching_sha2_password",
        ),
        (
            "mysql_clear_password",
            "plugin mysql_clear_password",
            "WITH caching_sha2_password",
        ),
        ("dialog", "plugin dialog", "VIA mysql_native_password"),
        (
            "authentication_ldap_sasl_client",
            "plugin authentication_ldap",
            "WITH caching_sha2_password",
        ),
    ] {
        // For parsec the server says more before the driver gives up.
        let answer = [asks_for(plugin), packet(4, &[&[1, b'P', 0], &[9; 18][..]].concat())].concat();
        let why = refused(at_server(&site, fake_server(vec![answer.clone()])));
        for part in [name, "user's name is right", remedy] {
            assert!(why.contains(part), "{plugin}: {why}");
        }
        let checked = check(&site, "x", "secret", fake_server(vec![answer]));
        let text = said(&checked);
        assert!(!checked.status.success() && text.contains(name), "{plugin}: {text}");
        assert!(
            !text.contains("panicked") && !text.contains("GRANT"),
            "{plugin}: {text}"
        );
    }
}

/// A server that delays every log-in after a wrong password: each try costs one read timeout and no more, tries become
/// rare, no probe closes at its greeting, and the log has the reason.
#[test]
fn a_log_in_that_is_delayed_after_a_wrong_password_is_no_dead_server() {
    let site = Site::joomla6();
    let mut store = new(at_server(&site, fake_server(vec![denies()])));
    store.probed(Ok(0), at(0));
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let Readiness::Closed(until) = store.readiness(now) else {
            panic!("{:?}", store.readiness(now))
        };
        waits.push(until.since(now.at));
        now = at(until.0 / 1000 + 1);
        assert_eq!(store.readiness(now), Readiness::Ready, "no probe is made");
        let began = Instant::now();
        match store.ask(&Question::Groups, now) {
            Err(Failure::Unavailable(why)) => assert!(why.contains("connection_control"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    assert!(waits[3] > waits[0] * 4, "{waits:?}");
}

/// The same by the server's own plugin, where it has one.
#[test]
fn every_database_that_delays_log_ins_is_waited_for_by_check() {
    let server = Arc::new(Mariadb::start(&[]));
    let site = site_on(&server);
    if server
        .connect(None)
        .query_drop("INSTALL PLUGIN connection_control SONAME 'connection_control.so'")
        .is_err()
    {
        return println!("SKIPPED: this server has no connection_control");
    }
    let wrong = Database {
        password: Secret("wrong".into()),
        ..by_tcp(&site)
    };
    let whys: Vec<String> = (0..5).map(|_| refused(wrong.clone())).collect();
    assert!(
        whys[0].contains("Access denied") && whys[4].contains("connection_control"),
        "{whys:#?}"
    );
    let why = refused(by_tcp(&site));
    assert!(why.contains("connection_control"), "the right one waits as well: {why}");
    let checked = check(&site, &site.user, &site.password, site.server.addr);
    assert!(checked.status.success(), "{}", said(&checked));
    connected(by_tcp(&site));
}

#[test]
fn every_database_refuses_a_misspelt_user_with_a_sentence() {
    let site = Site::joomla6_on(Mariadb::shared());
    let mut whys = Vec::new();
    for n in 0..40 {
        whys.push(refused(Database {
            user: format!("misspelt{n}"),
            ..by_tcp(&site)
        }));
    }
    for why in &whys {
        let is_said = why.contains("Access denied") || why.contains("See first whether the user's name is right");
        assert!(is_said, "{why}");
        assert!(!why.contains("Unknown authentication"), "{why}");
    }
    println!(
        "{} of 40 users that do not exist are asked for another plugin",
        whys.iter().filter(|why| why.contains("plugin")).count()
    );
}

#[test]
fn every_database_takes_a_long_password_or_names_the_remedy() {
    let site = Site::joomla6_on(Mariadb::shared());
    let long = "p".repeat(250);
    let database = add_user(&site, "long", &format!("IDENTIFIED BY {}", password(&long)));
    let database = Database {
        password: Secret(long),
        ..database
    };
    if is_mysql(&site) {
        let why = refused(database.clone());
        assert!(why.contains("RSA") && why.contains("shorter password"), "{why}");
        let checked = check(&site, &database.user, &database.password.0, site.server.addr);
        let text = said(&checked);
        assert!(text.contains("RSA") && !text.contains("panicked"), "{text}");
    } else {
        connected(database.clone());
    }
    connected(Database {
        endpoints: by_socket(&site).endpoints,
        ..database
    });
}

// --- check -----------------------------------------------------------------------------------------------------------

/// Every statement of the server and of the package is one that this server has, and the privileges that `check` prints
/// are enough for all of them.
#[test]
fn every_database_is_asked_everything_by_check() {
    let site = site_on(&Mariadb::shared());
    let user = site.restricted_user(&[]);
    for grant in grants(&site.database, site.prefix, &user, &[ItemType::article()]) {
        site.sql(&grant);
    }
    let before: Vec<(String, String)> = site.rows("SELECT name, value FROM #__websockets_state ORDER BY name");
    let checked = check(&site, &user, &site.password, site.server.addr);
    assert!(checked.status.success(), "{}", said(&checked));
    let after: Vec<(String, String)> = site.rows("SELECT name, value FROM #__websockets_state ORDER BY name");
    assert_eq!(before[..1], after[..1], "the position is as it was");
    for privilege in ["INSERT", "UPDATE", "DELETE"] {
        for table in ["websockets_outbox", "websockets_state"] {
            site.sql(&format!("REVOKE {privilege} ON #__{table} FROM {user}"));
            let checked = check(&site, &user, &site.password, site.server.addr);
            let text = said(&checked);
            let is_needed = !(privilege == "DELETE" && table == "websockets_state");
            if is_needed {
                assert!(!checked.status.success(), "{privilege} {table}: {text}");
                assert!(text.contains("GRANT SELECT"), "{privilege} {table}: {text}");
            }
            site.sql(&format!("GRANT {privilege} ON #__{table} TO {user}"));
        }
    }
}

#[test]
fn every_database_whose_joins_are_limited_answers_all_the_same() {
    let server = Arc::new(Mariadb::start(&[]));
    let site = site_on(&server);
    site.sql("SET GLOBAL max_join_size = 1");
    connected(by_tcp(&site)).ask_for(Question::Groups);
    let checked = check(&site, &site.user, &site.password, site.server.addr);
    assert!(checked.status.success(), "{}", said(&checked));
}

#[test]
fn every_database_without_room_for_prepared_statements_says_so() {
    let server = Arc::new(Mariadb::start(&[]));
    let site = site_on(&server);
    site.sql("SET GLOBAL max_prepared_stmt_count = 0");
    let checked = check(&site, &site.user, &site.password, site.server.addr);
    let text = said(&checked);
    assert!(
        !checked.status.success() && text.contains("raise max_prepared_stmt_count"),
        "{text}"
    );
    assert!(!text.contains("GRANT"), "privileges do not help: {text}");
    assert_eq!(text.matches("FAULT").count(), 1, "it is said once: {text}");
    // The server leaves it alone for longer and longer.
    let mut store = connected(by_tcp(&site));
    let mut now = at(1000);
    for least in [700, 1400, 2900] {
        match store.ask(&Question::Groups, now) {
            Err(Failure::Unavailable(why)) => assert!(why.contains("max_prepared_stmt_count"), "{why}"),
            other => panic!("{other:?}"),
        }
        let Readiness::Closed(until) = store.readiness(now) else {
            panic!("{:?}", store.readiness(now))
        };
        assert!(until.since(now.at) >= Duration::from_millis(least), "{until:?} {now:?}");
        now = at(until.0 / 1000 + 1);
        store.probed(Ok(0), now);
    }
}

// --- limits ----------------------------------------------------------------------------------------------------------

#[test]
fn every_database_shows_the_limits_of_its_account() {
    let site = site_on(&Mariadb::shared());
    let how = format!(
        "IDENTIFIED BY {} WITH MAX_QUERIES_PER_HOUR 50000 MAX_UPDATES_PER_HOUR 20000 MAX_CONNECTIONS_PER_HOUR 500",
        password(&site.password)
    );
    let database = add_user(&site, "limited", &how);
    let mut store = connected(database.clone());
    let limits = store.limits();
    assert_eq!(
        (limits.queries, limits.updates, limits.connections),
        (50_000, 20_000, 500)
    );
    // A tenth of them may be used at once.
    let now = at(1000);
    let mut asked = 0;
    let pause = loop {
        asked += 3;
        let looked = store.ask(&Question::Look(Look::Behind), now);
        match looked {
            Ok(Answer::Looked(looked)) if looked.pause > Duration::ZERO => break looked.pause,
            Ok(_) => {}
            Err(failure) => panic!("{failure}"),
        }
    };
    assert!((4900..=5010).contains(&asked), "{asked}");
    assert!(pause <= Duration::from_millis(600), "{pause:?}");
    let text = said(&check(&site, &database.user, &database.password.0, site.server.addr));
    for part in [
        "may ask 50000 queries an hour (MAX_QUERIES_PER_HOUR)",
        "may send 20000 statements that write an hour (MAX_UPDATES_PER_HOUR)",
        "may connect 500 times an hour",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        connected(by_tcp(&site)).limits(),
        jsocketd::store::mysql::Limits::default()
    );
}

#[test]
fn every_database_that_refuses_more_in_this_hour_is_left_alone() {
    let site = site_on(&Mariadb::shared());
    let how = format!(
        "IDENTIFIED BY {} WITH MAX_QUERIES_PER_HOUR 40",
        password(&site.password)
    );
    let mut store = connected(add_user(&site, "spent", &how));
    let now = at(100);
    // Prepared statements are not counted.
    for _ in 0..100 {
        store.ask_for(Question::Look(Look::Front(0)));
    }
    let mut looks = 0;
    let why = loop {
        match store.ask(&Question::Look(Look::Behind), now) {
            Ok(_) => looks += 1,
            Err(Failure::Unavailable(why)) => break why,
            Err(failure) => panic!("{failure:?}"),
        }
    };
    assert!(looks < 40 / 3, "each statement of a packet is counted: {looks}");
    assert!(
        why.contains("MAX_QUERIES_PER_HOUR") && why.contains("database user of its own"),
        "{why}"
    );
    let Readiness::Closed(first) = store.readiness(now) else {
        panic!("{:?}", store.readiness(now))
    };
    let now = at(first.0 / 1000 + 1);
    store.probed(Ok(0), now);
    set_up(&mut store, now);
    let Readiness::Closed(second) = store.readiness(now) else {
        panic!("{:?}", store.readiness(now))
    };
    assert!(second.since(now.at) > Duration::from_secs(1), "{second:?}");
}

/// Statements that a server has run, and those of them that it counts for the limits of an account: statements sent as
/// text.
fn asked(server: &Mariadb) -> (u64, u64) {
    let mut root = server.connect(None);
    let mut count = |name: &str| -> u64 {
        let row: Option<(String, u64)> = root
            .query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'"))
            .expect("root may");
        row.expect("a count").1
    };
    let all = count("Questions");
    (all, all - count("Com_stmt_execute"))
}

/// A server's site and store with a clock of the test's own.
struct Hours {
    site: Visited,
    store: MySql,
    now: Now,
}

impl Hours {
    fn new(joomla: &Site, database: Database) -> Self {
        let mut config = Config::default();
        config.joomla.root = joomla.root().display().to_string();
        let read = site::read(&config, &mut |_, _| Ok(vec![joomla.server.addr])).expect("a site");
        let mut store = MySql::new(
            database,
            config.database.clone(),
            vec![ItemType::article()],
            LONGEST_EVENT,
        );
        let now = at(1000);
        store.connect(now).expect("the database is there");
        Self {
            site: Visited::new(read.site, &config, &Keys::of(&[7; 32]), LONGEST_EVENT),
            store,
            now,
        }
    }

    /// Goes on for so long.
    fn live(&mut self, alone: bool, span: Duration) {
        let until = self.now.at + span;
        while self.now.at < until {
            assert_eq!(self.store.readiness(self.now), Readiness::Ready, "{:?}", self.store);
            while let Some(question) = self.site.question(alone, self.now) {
                let answer = self.store.ask(&question, self.now);
                assert!(answer.is_ok(), "{question:?}: {answer:?}");
                self.site.answer(&question, answer, self.now, &mut Vec::new());
            }
            let next = self.now.at + Duration::from_micros(1);
            self.now.at = self.site.question_due().max(next).min(until);
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// The figures of `docs/joomla.md`: an hour in which nothing happens.
#[test]
fn every_database_is_asked_seldom_by_an_idle_server() {
    let server = Arc::new(Mariadb::start(&[]));
    let joomla = site_on(&server);
    let hour = |alone: bool| {
        let mut hours = Hours::new(&joomla, by_socket(&joomla));
        hours.live(alone, 2 * MINUTE);
        let (all, counted) = asked(&server);
        hours.live(alone, 60 * MINUTE);
        let after = asked(&server);
        (after.0 - all, after.1 - counted)
    };
    let (among, counted) = hour(false);
    let (alone, counted_alone) = hour(true);
    println!(
        "an idle hour: {among} statements with people, of which {counted} are counted; {alone} alone, {counted_alone} counted"
    );
    let docs = std::fs::read_to_string("docs/joomla.md").expect("the page");
    let docs: Vec<&str> = docs.split_whitespace().collect();
    let docs = docs.join(" ");
    let figure = |before: &str| -> u64 {
        let place = docs.find(before).unwrap_or_else(|| panic!("{before} is not said"));
        let rest = docs[place + before.len()..].trim_start();
        let number: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == ',')
            .filter(|c| *c != ',')
            .collect();
        number.parse().expect("a number")
    };
    assert!(among <= figure("an idle server sends at most"), "{among}");
    assert!(alone <= figure("and without connections at most"), "{alone}");
    assert!(counted <= figure("so of an idle hour they count at most"), "{counted}");
}

/// A row each second, which would be more than 40,000 statements an hour: half of the limit is kept, and the rows come.
#[test]
fn every_database_s_limit_is_kept_while_rows_come() {
    let server = Arc::new(Mariadb::start(&[]));
    let joomla = site_on(&server);
    let how = format!(
        "IDENTIFIED BY {} WITH MAX_QUERIES_PER_HOUR 50000",
        password(&joomla.password)
    );
    let limited = Database {
        endpoints: by_socket(&joomla).endpoints,
        ..add_user(&joomla, "limited", &how)
    };
    let mut writer = joomla.connect();
    let mut hours = Hours::new(&joomla, limited);
    hours.live(false, MINUTE);
    let (_, before) = asked(&server);
    for n in 0..1800 {
        joomla.publish_on(&mut writer, "news", "e", &n.to_string());
        hours.live(false, Duration::from_secs(1));
    }
    let counted = asked(&server).1 - before;
    println!("{counted} statements in half an hour of 50,000 in an hour");
    assert!(
        counted <= 15_300,
        "a tenth at once and a fifth in half an hour: {counted}"
    );
    hours.live(false, Duration::from_secs(10));
    let waiting: u64 = joomla.value("SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NULL");
    assert_eq!(waiting, 0, "all rows have come");
}

// --- upkeep of tables ------------------------------------------------------------------------------------------------

/// OPTIMIZE and ALTER make the table anew while the server reads it: neither is a new epoch, and no client misses an
/// event.
#[test]
fn every_database_s_tables_may_be_optimized_beside_a_server() {
    let server = Arc::new(Mariadb::start(&[]));
    let joomla = site_on(&server);
    let site = serve(&joomla, "");
    let start = ready(&site);
    let mut client = Client::enter(&site, &["news"]);
    let mut away = Client::enter(&site, &["news"]);
    let mut all = Vec::new();
    for (n, sql) in [
        "OPTIMIZE TABLE #__websockets_outbox, #__websockets_state",
        "ALTER TABLE #__websockets_outbox FORCE",
        "ALTER TABLE #__websockets_state FORCE, ALGORITHM=COPY",
        "ANALYZE TABLE #__websockets_outbox",
        "CHECK TABLE #__websockets_outbox",
        "OPTIMIZE TABLE #__websockets_outbox",
    ]
    .iter()
    .enumerate()
    {
        let before = format!("before {n}");
        joomla.publish("news", "e", &before);
        let mut root = joomla.connect();
        let _: Vec<mysql::Row> = root
            .query(joomla.text(sql))
            .unwrap_or_else(|why| panic!("{sql}: {why}"));
        let after = format!("after {n}");
        joomla.publish("news", "e", &after);
        client.until("news", &after);
        all.extend([before, after]);
    }
    away.come_back(&site);
    // A row that meets the lock of an ALTER may be numbered behind one that was written after it.
    all.sort_unstable();
    for client in [&mut client, &mut away] {
        client.until_count("news", all.len());
        let mut got = client.follower.data("news");
        got.sort_unstable();
        assert_eq!(got, all);
        assert_eq!(client.follower.channels["news"].gaps, 0);
    }
    let epoch = |position: &str| position.split(':').next().map(str::to_owned);
    let position: String = joomla.value("SELECT value FROM #__websockets_state WHERE name = 'position'");
    assert_eq!(epoch(&position), epoch(&start), "no new epoch");
    let log = site.server.log();
    for bad in ["new epoch", "is not available", "is not read", "gap"] {
        assert!(!log.contains(bad), "{bad}: {log}");
    }
    assert!(stats(&site)["stamped"].as_u64() >= Some(12));
}
