//! The sockets while the site's database stands still, is slow, gone, full, read-only, or refuses the login: they stay
//! open, a visitor who connects meanwhile is a guest for the time being, no visitor is ever taken for another user, and
//! everything is as before once the database is back.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::between::{Between, Trick};
use crate::common::joomla::{Session as Login, Site as Joomla};
use crate::common::mariadb::Mariadb;
use crate::common::peer::handshake;
use crate::common::visits::{Console, House, SLACK, Terms, Visitor, expect_soon};
use crate::common::{Frame, Noise, Peer, Server, pusher, wait_until};
use jsocketd::joomla::site::Client;
use mysql::prelude::Queryable;
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long a connection to the database may be silent. Times of these tests differ so much that a busy machine blurs
/// none.
const READ_TIMEOUT: Duration = Duration::from_millis(800);

/// A longer time is a stall; a statement at its limit is none.
const STALL: Duration = Duration::from_millis(450);

const DATABASE: &str = "read_timeout_ms = 800\nstatement_ms = 150\nconnect_timeout_ms = 300\nbudget_ms = 100\n";

/// The terms of all these tests.
fn terms<'a>() -> Terms<'a> {
    Terms {
        server: "log_level = \"debug\"",
        joomla: "identity_timeout = 1",
        database: DATABASE,
        more: "[echo]\nenabled = true",
        ..Terms::default()
    }
}

/// A site with an outbox table, and a server that has read it.
fn house(joomla: Joomla) -> House {
    joomla.create_outbox();
    let house = House::with(joomla, terms());
    house.expect_ready();
    logged(&house, "the outbox table is read from number", 1);
    house
}

/// Waits until that many lines of the log have this in them.
fn logged(house: &House, text: &str, count: usize) {
    let server = &house.site.server;
    wait_until(
        &format!("{count} times {text:?} is logged"),
        || lines_with(server, text) >= count,
        || server.log(),
    );
}

fn lines_with(server: &Server, text: &str) -> usize {
    server.log().lines().filter(|line| line.contains(text)).count()
}

fn database(house: &House, fact: &str) -> u64 {
    house.stats()["database"][fact].as_u64().expect("a count")
}

/// Waits until the database can be used, or cannot.
fn expect_available(house: &House, available: bool) {
    wait_until(
        &format!("the database is available: {available}"),
        || house.stats()["database"]["available"] == available,
        || house.site.server.log(),
    );
}

/// A newcomer is known.
fn expect_known(house: &House, login: &Login) -> pusher::Session {
    let mut console = house.console(&house.page(login));
    expect_soon(console.allowed(), |who| is_user(who, login.user));
    house.come_known(login)
}

/// Everything is as it should be: a newcomer is known, a row is delivered.
fn expect_all_well(house: &House, login: &Login) {
    let mut session = expect_known(house, login);
    session.enter("wellbeing");
    house.joomla.publish("wellbeing", "well", "1");
    session.expect_event("wellbeing", "well", "1");
}

fn is_user(who: &Value, user: u32) -> bool {
    who["identity"] == "user" && who["user_id"] == user
}

fn is_provisional(who: &Value) -> bool {
    who["identity"] == "guest" && who["provisional"] == true
}

/// A visitor who connects now is a guest for the time being, and is admitted without delay. Returns the console, which
/// waits.
fn expect_provisional(house: &House, login: &Login) -> Console {
    let began = Instant::now();
    let mut console = house.console(&house.page(login));
    assert!(began.elapsed() < STALL, "the handshake took {:?}", began.elapsed());
    expect_soon(&mut console, is_provisional);
    console
}

/// No line is written more than once a second.
fn expect_calm(server: &Server) {
    let log = server.log();
    let mut seen = std::collections::HashMap::<(&str, &str), usize>::new();
    for line in log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
    {
        let (time, rest) = line.split_once(' ').expect("a time");
        *seen.entry((time, &rest[..rest.len().min(40)])).or_default() += 1;
    }
    let most = seen.iter().max_by_key(|(_, count)| **count);
    assert!(most.is_none_or(|(_, count)| *count <= 2), "{most:?} in\n{log}");
}

/// A client that sends echoes all the time and notes how long the replies take.
struct Chat {
    stop: Arc<AtomicBool>,
    stalls: Arc<Mutex<Vec<Duration>>>,
    rounds: Arc<AtomicUsize>,
}

impl Chat {
    fn begin(house: &House) -> Self {
        let mut peer = Peer::connect(&house.site.server);
        peer.send(handshake("/echo"));
        peer.expect_switch();
        let chat = Self {
            stop: Arc::default(),
            stalls: Arc::default(),
            rounds: Arc::default(),
        };
        let (stop, stalls, rounds) = (chat.stop.clone(), chat.stalls.clone(), chat.rounds.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let began = Instant::now();
                peer.frame(&Frame::text("still there?")).expect_text("still there?");
                if began.elapsed() > STALL {
                    stalls.lock().expect("no panic").push(began.elapsed());
                }
                rounds.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(3));
            }
        });
        chat
    }

    /// The stalls so far, that which may go on now included.
    fn stalls(&self) -> Vec<Duration> {
        let rounds = self.rounds.load(Ordering::SeqCst);
        wait_until(
            "the chat goes on",
            || self.rounds.load(Ordering::SeqCst) > rounds + 1,
            String::new,
        );
        self.stalls.lock().expect("no panic").clone()
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

// --- it does not answer ----------------------------------------------------------------------------------------------

#[test]
fn a_database_that_stands_still_costs_one_read_timeout_and_no_retry_costs_anything() {
    let server = Arc::new(Mariadb::start(&[]));
    let house = house(Joomla::joomla6_on(Arc::clone(&server)));
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Client::Site);
    let own = format!("private-user-{}", login.user);
    let mut live = house.come_known(&login);
    live.enter("news");
    let chat = Chat::begin(&house);
    let overruns = database(&house, "overruns");

    server.pause();
    logged(&house, "is not available: it did not answer in time", 1);
    expect_available(&house, false);
    let statements = database(&house, "statements");

    let began = Instant::now();
    let mut refused = house.come(&login);
    assert!(began.elapsed() < STALL, "the handshake took {:?}", began.elapsed());
    refused.enter("news");
    refused.expect_denied(&own);
    assert!(
        began.elapsed() > Duration::from_millis(900),
        "the subscription waits for the identity: {:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_secs(1) + SLACK,
        "{:?}",
        began.elapsed()
    );
    let mut quiet = house.come(&login);
    let mut console = expect_provisional(&house, &login);
    // Other clients of the server receive nothing unexpected.
    live.expect_nothing();
    logged(&house, "does not greet within 300 ms", 2);

    assert_eq!(database(&house, "statements"), statements, "none is started meanwhile");
    let after = database(&house, "overruns");
    assert!(after <= overruns + 1, "{overruns} overruns before, {after} after");
    let stalls = chat.stalls();
    assert!(stalls.len() <= 1, "{stalls:?}");
    assert!(stalls.iter().all(|stall| *stall < READ_TIMEOUT + SLACK), "{stalls:?}");

    server.resume();
    let (why, _) = refused.expect_closed(4200);
    assert!(why.contains("known"), "{why}");
    expect_soon(&mut console, |who| is_user(who, login.user));
    quiet.enter(&own);
    joomla.publish("news", "again", "1");
    live.expect_event("news", "again", "1");
    live.expect_nothing();
    expect_all_well(&house, &login);
    let stalls = chat.stalls();
    assert!(stalls.len() <= 1, "{stalls:?}");
    expect_calm(&house.site.server);
}

#[test]
fn slow_statements_of_one_kind_hold_up_no_others() {
    let house = house(Joomla::joomla6());
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Client::Site);
    let mut live = house.come_known(&login);
    live.enter("news");
    let chat = Chat::begin(&house);
    let mut writer = joomla.connect();
    let mut lock = |table: &str| {
        writer
            .query_drop(joomla.text(&format!("LOCK TABLES #__{table} WRITE")))
            .expect("root may");
    };

    // No session can be read.
    lock("session");
    logged(&house, " ms for sessions", 1);
    let mut newcomer = expect_provisional(&house, &login);
    let (began, statements) = (Instant::now(), database(&house, "statements"));
    for n in 1..=3 {
        joomla.publish("news", "still", &n.to_string());
        live.expect_event("news", "still", &n.to_string());
    }
    logged(&house, " ms for sessions", 2);
    let asked = (database(&house, "statements") - statements) as f64 / began.elapsed().as_secs_f64();
    assert!(
        asked < 300.0,
        "{asked} questions a second while some are not to be asked"
    );

    // No rows can be read.
    lock("websockets_outbox");
    expect_soon(&mut newcomer, |who| is_user(who, login.user));
    logged(&house, " ms for look", 1);
    let mut late = house.console(&house.page(&login));
    expect_soon(late.allowed(), |who| is_user(who, login.user));

    writer.query_drop("UNLOCK TABLES").expect("root may");
    joomla.publish("news", "last", "1");
    live.expect_event("news", "last", "1");
    expect_all_well(&house, &login);
    let stalls = chat.stalls();
    assert!(stalls.is_empty(), "{stalls:?}");
    expect_calm(&house.site.server);
}

#[test]
fn a_database_that_is_gone_and_comes_back_is_found_again() {
    let server = Arc::new(Mariadb::start(&[]));
    let house = house(Joomla::joomla6_on(Arc::clone(&server)));
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Client::Site);
    let mut live = house.come_known(&login);
    live.enter("news");
    let chat = Chat::begin(&house);

    server.kill();
    expect_available(&house, false);
    let mut newcomer = expect_provisional(&house, &login);
    live.expect_nothing();
    server.restart();
    expect_soon(&mut newcomer, |who| is_user(who, login.user));
    joomla.publish("news", "again", "1");
    live.expect_event("news", "again", "1");
    live.expect_nothing();
    expect_all_well(&house, &login);
    let stalls = chat.stalls();
    assert!(stalls.is_empty(), "{stalls:?}");
    expect_calm(&house.site.server);
}

// --- it answers, but not as it should --------------------------------------------------------------------------------

/// A question with many ids, in bytes.
const LONG: usize = 600;

/// Consoles of many users, each of a different one.
struct Crowd {
    consoles: Vec<(Console, u32)>,
}

impl Crowd {
    /// All of them come at once.
    fn come(house: &House, logins: &[Login]) -> Self {
        let mut consoles: Vec<(Console, u32)> = logins
            .iter()
            .map(|login| {
                let mut peer = Peer::connect(&house.site.server);
                peer.send(house.page(login).handshake("/?"));
                (Console { peer }, login.user)
            })
            .collect();
        for (console, _) in &mut consoles {
            console.peer.expect_switch();
        }
        Self { consoles }
    }

    /// Asks every console for its identity: its own user, or a guest for the time being. Returns the number of guests.
    fn guests(&mut self) -> usize {
        for (console, _) in &mut self.consoles {
            console.peer.text("whoami");
        }
        let mut guests = 0;
        for (console, user) in &mut self.consoles {
            let (_, answer) = console.peer.next_frame();
            let who: Value = serde_json::from_slice(&answer).unwrap_or_else(|why| panic!("{why}: {answer:?}"));
            match who["identity"].as_str() {
                Some("user") => {
                    assert_eq!(who["user_id"], json!(user), "{who}");
                    assert_eq!(who["username"], format!("crowd{user}"), "{who}");
                }
                Some("guest") => {
                    assert_eq!(who["provisional"], true, "{who} is user {user}");
                    guests += 1;
                }
                _ => panic!("{who}"),
            }
        }
        guests
    }

    fn expect_known(&mut self) {
        wait_until("every user is known", || self.guests() == 0, String::new);
    }
}

/// Obeys this configuration from here on. Each time a key of `[database]` is another, so the database is connected
/// anew.
fn reload(house: &House, terms: Terms<'_>) {
    let before = lines_with(&house.site.server, "the configuration was read again");
    fs::write(house.site.server.config_path(), terms.toml()).expect("written");
    house.site.server.signal(Signal::HUP);
    logged(house, "the configuration was read again", before + 1);
}

#[test]
fn damaged_answers_never_give_a_visitor_another_identity() {
    let joomla = Joomla::joomla6();
    let proxy = Between::for_questions_of(joomla.server.addr, LONG);
    joomla.configure("host", &format!("'{}'", proxy.addr));
    let logins: Vec<Login> = (2000..2050).map(|user| crowd(&joomla, user)).collect();
    let fresh = |round: usize| format!("{DATABASE}outbox = false\nretention = {}\n", 1000 + round);
    let first = fresh(0);
    fn with(database: &str) -> Terms<'_> {
        Terms { database, ..terms() }
    }
    let house = House::with(joomla, with(&first));
    house.expect_ready();
    let mut old = Crowd::come(&house, &logins);
    old.expect_known();

    let mut noise = Noise(0x5eed);
    let mut cut = |most: usize| pusher::below(&mut noise, most);
    let late = READ_TIMEOUT + Duration::from_millis(100);
    let tricks = [
        Trick::Truncate(cut(3000)),
        Trick::Stop(cut(3000)),
        Trick::Delay(late),
        Trick::Swallow,
        Trick::Stop(1 + cut(20)),
        Trick::Delay(late / 2),
        Trick::Truncate(cut(100)),
    ];
    for (round, trick) in tricks.into_iter().enumerate() {
        let played = proxy.played();
        proxy.play(trick.clone());
        // Backwards, so that an answer to the others' question has other rows in the same places.
        let mut order = logins.clone();
        order.rotate_left(round * 4);
        let mut new = Crowd::come(&house, &order);
        wait_until(
            &format!("{trick:?} is played"),
            || proxy.played() > played,
            || house.site.server.log(),
        );
        new.guests();
        old.guests();
        proxy.play(Trick::Pass);
        let toml = fresh(round + 1);
        reload(&house, with(&toml));
        new.expect_known();
        assert_eq!(old.guests(), 0, "a known user stays known after {trick:?}");
        if round % 3 == 0 {
            old = new;
        }
    }
    expect_calm(&house.site.server);
}

fn crowd(joomla: &Joomla, user: u32) -> Login {
    joomla.sql(&format!(
        "INSERT INTO #__users (id, name, username, email, registerDate, params) \
         VALUES ({user}, 'One of many', 'crowd{user}', 'crowd{user}@example.org', UTC_TIMESTAMP(), '{{}}')"
    ));
    joomla.set_groups(user, &[2]);
    joomla.log_in(user, Client::Site)
}

// --- it takes nothing ------------------------------------------------------------------------------------------------

/// Without a number no row is delivered. The log says so once, all other requests are served, and no row is lost.
#[test]
fn where_nothing_can_be_written_people_are_known_and_rows_wait() {
    let server = Arc::new(Mariadb::start(&[]));
    let house = house(Joomla::joomla6_on(Arc::clone(&server)));
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Client::Site);
    let mut live = house.come_known(&login);
    live.enter("news");
    let mut root = server.connect(None);
    let expect_rows_wait = |live: &mut pusher::Session, what: &str, times: usize| {
        joomla.publish("news", what, "1");
        logged(&house, "the outbox is not read", times);
        expect_known(&house, &login);
        house.site.api().publish("news", "by HTTP", "2");
        live.expect_event("news", "by HTTP", "2").expect_nothing();
    };

    root.query_drop("SET GLOBAL read_only = 1").expect("root may");
    expect_rows_wait(&mut live, "read-only", 1);
    root.query_drop("SET GLOBAL read_only = 0").expect("root may");
    live.expect_event("news", "read-only", "1");
    logged(&house, "the outbox can be read", 1);
    expect_all_well(&house, &login);

    let each = |statement: &dyn Fn(&str, &str) -> String| {
        for table in ["outbox", "state"] {
            for verb in ["INSERT", "UPDATE", "DELETE"] {
                joomla.sql(&statement(table, verb));
            }
        }
    };
    each(&|table, verb| {
        format!(
            "CREATE TRIGGER full_{table}_{verb} BEFORE {verb} ON #__websockets_{table} FOR EACH ROW \
             BEGIN IF USER() LIKE '{}%' THEN SIGNAL SQLSTATE 'HY000' \
             SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'; END IF; END",
            joomla.user
        )
    });
    expect_rows_wait(&mut live, "full", 2);
    each(&|table, verb| format!("DROP TRIGGER full_{table}_{verb}"));
    live.expect_event("news", "full", "1");
    expect_all_well(&house, &login);

    // One that starts there.
    let joomla = Joomla::joomla6_on(Arc::clone(&server));
    joomla.create_outbox();
    root.query_drop("SET GLOBAL read_only = 1").expect("root may");
    let other = House::with(joomla, terms());
    let login = other.joomla.log_in(other.joomla.id_of("bob"), Client::Site);
    let mut live = expect_known(&other, &login);
    live.enter("news");
    other.joomla.publish("news", "waits", "1");
    live.expect_nothing();
    root.query_drop("SET GLOBAL read_only = 0").expect("root may");
    live.expect_event("news", "waits", "1");
    expect_all_well(&other, &login);
    expect_calm(&house.site.server);
    expect_calm(&other.site.server);
}

// --- it does not let us in -------------------------------------------------------------------------------------------

#[test]
fn a_wrong_password_makes_guests_of_newcomers_until_it_is_right() {
    let house = house(Joomla::joomla6());
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Client::Site);
    let mut live = house.come_known(&login);
    live.enter("news");
    let mut known = house.console(&house.page(&login));
    expect_soon(&mut known, |who| is_user(who, login.user));
    let wrong = format!("{DATABASE}password = \"not-This-one\"\n");
    let mut expect_locked_out = |times: usize| {
        logged(&house, "Access denied for user", times);
        let newcomer = expect_provisional(&house, &login);
        assert!(is_user(&known.whoami(), login.user), "a known user stays the same user");
        newcomer
    };

    reload(
        &house,
        Terms {
            database: &wrong,
            ..terms()
        },
    );
    let mut newcomer = expect_locked_out(1);
    reload(&house, terms());
    expect_soon(&mut newcomer, |who| is_user(who, login.user));

    let denied = lines_with(&house.site.server, "Access denied for user");
    joomla.configure("password", "'not-This-one'");
    let mut newcomer = expect_locked_out(denied + 1);
    joomla.configure("password", r"'jo\'om\\la pass'");
    expect_soon(&mut newcomer, |who| is_user(who, login.user));

    joomla.publish("news", "again", "1");
    live.expect_event("news", "again", "1");
    expect_all_well(&house, &login);
    let log = house.site.server.log();
    assert!(!log.contains("not-This-one") && !log.contains("la pass"), "{log}");
    expect_calm(&house.site.server);
}

#[test]
fn a_database_with_too_many_connections_is_come_back_to() {
    let server = Arc::new(Mariadb::start(&[]));
    let house = house(Joomla::joomla6_on(Arc::clone(&server)));
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Client::Site);
    let mut live = house.come_known(&login);
    live.enter("news");
    let chat = Chat::begin(&house);
    let mut root = server.connect(None);
    root.query_drop("SET GLOBAL max_connections = 10").expect("root may");
    let mut others = Vec::new();
    let options = || {
        mysql::OptsBuilder::new()
            .user(Some(&joomla.user))
            .pass(Some(&joomla.password))
            .socket(server.socket.to_str())
    };
    while let Ok(other) = mysql::Conn::new(options()) {
        others.push(other);
    }
    let ours: u64 = root
        .query_first("SELECT id FROM information_schema.processlist WHERE user LIKE 'site%' AND host LIKE '127%'")
        .expect("root may")
        .expect("the server is connected");
    root.query_drop(format!("KILL {ours}")).expect("root may");
    // Another connection may take the place first.
    let mut place = None;
    wait_until(
        "the place is taken",
        || {
            place = mysql::Conn::new(options()).ok();
            place.is_some() || lines_with(&house.site.server, "oo many connections") > 0
        },
        String::new,
    );
    logged(&house, "oo many connections", 1);
    let mut newcomer = expect_provisional(&house, &login);
    live.expect_nothing();
    drop((others, place));
    expect_soon(&mut newcomer, |who| is_user(who, login.user));
    expect_all_well(&house, &login);
    let stalls = chat.stalls();
    assert!(stalls.is_empty(), "{stalls:?}");
    expect_calm(&house.site.server);
}
