//! Engines that do not do their work: stopped, gone, restarted empty, slow, full, somebody else's, liars. Each time a
//! process says what is wrong, serves its own clients, and heals by itself, with presence corrected.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::between::{Between, Trick};
use crate::common::certificates::{Authority, Valid};
use crate::common::cluster::{
    cluster, process, process_with, processes, together, wait_for_standing, wait_for_what_is_shared, wait_until_alone,
};
use crate::common::engine::Answer::{Line, Number};
use crate::common::engine::Engine;
use crate::common::ports::free_port;
use crate::common::pusher::{Settings, Site};
use crate::common::wait_until;

const ROOM: &str = "presence-room";

/// The process publishes to its own clients, at once.
fn expect_local_service(site: &Site) {
    let mut session = site.connect();
    session.subscribe("local");
    let began = Instant::now();
    site.api().publish("local", "e", "1");
    session.expect_event("local", "e", "1");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "a local event took {took:?}");
}

/// The processes are one server: an event that is published on any reaches the clients of all.
fn expect_common_service(sites: &[Site]) {
    together(sites);
    let mut sessions: Vec<_> = sites.iter().map(Site::connect).collect();
    for session in &mut sessions {
        session.subscribe("common");
    }
    for (number, site) in sites.iter().enumerate() {
        site.api().publish("common", "e", &number.to_string());
        for session in &mut sessions {
            session.expect_event("common", "e", &number.to_string());
        }
    }
}

/// Each of the two processes has a member; then this is done to the engine, both are alone, and it is undone. In the
/// end both rolls are right. Returns why the first process was alone.
fn outage(engine: &mut Engine, sites: &[Site; 2], begin: impl Fn(&mut Engine), end: impl Fn(&mut Engine)) -> String {
    let [a, b] = sites;
    let (mut ann, mut bob) = (a.connect(), b.connect());
    ann.join(ROOM, "ann");
    wait_for_what_is_shared(a, b);
    bob.join(ROOM, "bob");
    ann.expect_added(ROOM, "bob", Value::Null);
    begin(engine);
    let [why, _] = sites.each_ref().map(wait_until_alone);
    sites.iter().for_each(expect_local_service);
    // The lease of the other's member ends, and somebody comes whom only one process sees.
    ann.expect_removed(ROOM, "bob");
    bob.expect_removed(ROOM, "ann");
    let mut eve = b.connect();
    assert_eq!(eve.join(ROOM, "eve")["ids"], json!(["bob", "eve"]));
    bob.expect_added(ROOM, "eve", Value::Null);
    end(engine);
    together(sites);
    let mut came = [ann.next(), ann.next()].map(|message| crate::common::pusher::decoded(&message)["user_id"].clone());
    came.sort_by_key(Value::to_string);
    assert_eq!(came, ["bob", "eve"]);
    bob.expect_added(ROOM, "ann", Value::Null);
    eve.expect_added(ROOM, "ann", Value::Null);
    for session in [&mut ann, &mut bob, &mut eve] {
        session.expect_nothing();
    }
    expect_common_service(sites);
    assert!(a.server.log().contains("The engine works again"), "{}", a.server.log());
    why
}

#[test]
fn an_engine_that_stops_for_a_while_is_waited_for() {
    let mut engine = Engine::start();
    let sites = processes::<2>(&engine.url());
    outage(&mut engine, &sites, |engine| engine.pause(), |engine| engine.resume());
}

/// Publishes by so many connections at once, so many batches on each, 90 kB a batch.
fn flood(site: &Site, connections: usize, batches: usize, meanwhile: impl FnOnce()) {
    let event = json!({"name": "e", "channel": "flood", "data": "x".repeat(9000)});
    let body = json!({"batch": vec![event; 10]}).to_string();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            let (mut api, body) = (site.api(), &body);
            scope.spawn(move || (0..batches).for_each(|_| drop(api.ask("POST", "/batch_events", &[], body))));
        }
        meanwhile();
    });
}

/// An event still gets from one process to the other, and neither has been alone.
fn expect_no_isolation(sites: &[Site]) {
    expect_common_service(sites);
    for site in sites {
        assert_eq!(cluster(site)["isolations"], 0, "{}", site.server.log());
    }
}

#[test]
fn a_flood_of_publications_waits_for_the_engine_and_isolates_nobody() {
    let engine = Engine::start();
    let sites = processes::<2>(&engine.url());
    engine.pause();
    // Twice as much as may wait for the engine, and all of it at once.
    flood(&sites[0], 30, 6, || {
        std::thread::sleep(Duration::from_millis(700));
        engine.resume();
    });
    expect_no_isolation(&sites);
}

#[test]
fn the_engine_needs_no_more_memory_than_the_documents_say_whatever_is_published() {
    let document = include_str!("../../docs/operations.md");
    let words = document.split("\nand at most ").nth(1).expect("the size of the log");
    let enough = words.split("So ").nth(1).and_then(|words| words.split(" MB").next());
    let option = format!("{}mb", enough.expect("megabytes"));
    let engine = Engine::start_with(&["--maxmemory", &option, "--maxmemory-policy", "noeviction"]);
    let sites = processes::<2>(&engine.url());
    flood(&sites[0], 20, 100, || {});
    expect_no_isolation(&sites);
}

#[test]
fn an_engine_that_comes_back_empty_is_filled_again() {
    let mut engine = Engine::start();
    let sites = processes::<2>(&engine.url());
    outage(&mut engine, &sites, Engine::kill, Engine::restart);
}

#[test]
fn a_network_that_is_cut_heals() {
    let mut engine = Engine::start();
    let between = Between::new(engine.addr());
    let sites = processes::<2>(&format!("redis://{}", between.addr));
    outage(
        &mut engine,
        &sites,
        |_| between.play(Trick::Cut),
        |_| between.play(Trick::Pass),
    );
}

#[test]
fn a_full_engine_is_named_and_used_again_when_it_has_room() {
    let mut engine = Engine::start();
    let sites = processes::<2>(&engine.url());
    let limit = |engine: &mut Engine, limit: &str| {
        assert_eq!(engine.ask(&format!("CONFIG SET maxmemory {limit}")), Line("OK".into()));
    };
    let why = outage(
        &mut engine,
        &sites,
        |engine| limit(engine, "1"),
        |engine| limit(engine, "0"),
    );
    assert!(why.contains("full") || why.contains("OOM"), "{why}");
}

#[test]
fn a_slow_engine_makes_events_slow_and_loses_none() {
    let engine = Engine::start();
    let between = Between::far(engine.addr(), Duration::from_millis(100));
    let sites = processes::<2>(&format!("redis://{}", between.addr));
    expect_common_service(&sites);
    let mut session = sites[1].connect();
    session.subscribe("many");
    let mut api = sites[0].api();
    let wanted: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    for n in &wanted {
        api.publish("many", "e", n);
    }
    for n in &wanted {
        session.expect_event("many", "e", n);
    }
    assert_eq!(cluster(&sites[0])["isolations"], 0);
}

#[test]
fn a_log_that_is_deleted_begins_anew() {
    let engine = Engine::start();
    let sites = processes::<2>(&engine.url());
    let (mut ann, mut bob) = (sites[0].connect(), sites[1].connect());
    ann.join(ROOM, "ann");
    wait_for_what_is_shared(&sites[0], &sites[1]);
    bob.join(ROOM, "bob");
    ann.expect_added(ROOM, "bob", Value::Null);
    for _ in 0..3 {
        assert_eq!(engine.ask("DEL jsocketd:log"), Number(1));
        wait_until(
            "there is a log again",
            || engine.length("jsocketd:log") > 1,
            || sites[0].server.log(),
        );
        expect_common_service(&sites);
    }
    for session in [&mut ann, &mut bob] {
        session.expect_nothing();
    }
}

#[test]
fn a_key_of_somebody_else_is_named_and_left_alone() {
    let engine = Engine::start();
    assert_eq!(engine.ask("SET jsocketd:log mine"), Line("OK".into()));
    let a = process(&engine.url());
    let why = wait_until_alone(&a);
    expect_local_service(&a);
    assert_eq!(
        engine.ask("GET jsocketd:log"),
        crate::common::engine::Answer::Text("mine".into())
    );
    assert!(why.contains("key") || why.contains("prefix"), "{why}");
    // A stream that another program writes.
    assert!(matches!(
        engine.ask("XADD other:log * some thing"),
        crate::common::engine::Answer::Text(_)
    ));
    let b = process_with(&engine.url(), "prefix = \"other:\"", Settings::default());
    let why = wait_until_alone(&b);
    expect_local_service(&b);
    assert_eq!(engine.length("other:log"), 1, "nothing was written to it");
    assert!(why.contains("key") || why.contains("prefix"), "{why}");
}

#[test]
fn what_answers_in_another_language_is_no_engine() {
    let engine = Engine::start();
    let between = Between::new(engine.addr());
    let url = format!("redis://{}", between.addr);
    for lie in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        b"$999999999999\r\n",
        b"*1000000\r\n*1000000\r\n*1000000\r\n",
        b":1\r\n",
    ] {
        between.play(Trick::Answer(lie.to_vec()));
        let site = process(&url);
        wait_until_alone(&site);
        expect_local_service(&site);
        between.play(Trick::Pass);
        wait_for_standing(&site, "together", 1);
    }
}

#[test]
fn an_engine_speaks_tls_and_its_certificate_is_checked() {
    let authority = Authority::new();
    let certificate = authority.issue(&["DNS:localhost"], Valid::Long);
    let port = free_port(Ipv4Addr::LOCALHOST).to_string();
    let [chain, key] = [&certificate.chain, &certificate.key].map(|file| file.display().to_string());
    let _engine = Engine::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &chain,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ]);
    let trusting = format!("[tls]\nca = \"{}\"", authority.root().display());
    let with = |host: &str, more: &str| process_with(&format!("rediss://{host}:{port}"), more, Settings::default());
    let good = [with("localhost", &trusting), with("localhost", &trusting)];
    expect_common_service(&good);
    for (bad, why) in [
        (with("localhost", ""), "no authority that is trusted"),
        (with("127.0.0.1", &trusting), "127.0.0.1"),
    ] {
        let told = wait_until_alone(&bad);
        assert!(told.contains(why), "{told}");
        expect_local_service(&bad);
    }
}

#[test]
fn a_password_of_an_acl_is_asked_for_and_a_wrong_one_is_named() {
    let engine = Engine::start_with(&["--requirepass", "right-one"]);
    let with = |password: &str| {
        process_with(
            &engine.url(),
            &format!("password = \"{password}\""),
            Settings::default(),
        )
    };
    let good = with("right-one");
    wait_for_standing(&good, "together", 1);
    let bad = with("wrong-one");
    wait_until_alone(&bad);
    for site in [&good, &bad] {
        assert!(
            !site.server.log().contains("-one"),
            "the log has a password: {}",
            site.server.log()
        );
        expect_local_service(site);
    }
}

#[test]
fn the_smallest_account_of_the_documents_is_enough() {
    let document = include_str!("../../docs/operations.md");
    let line = document.lines().find(|line| line.starts_with("ACL SETUSER jsocketd "));
    let line = line.expect("an account").replace("PASSWORD", "right-one");
    let engine = Engine::start();
    assert_eq!(engine.ask(&line), Line("OK".into()));
    let account = "user = \"jsocketd\"\npassword = \"right-one\"";
    let sites = [(); 2].map(|()| process_with(&engine.url(), account, Settings::default()));
    expect_common_service(&sites);
    // The commands that a quiet minute does not need.
    for command in ["XTRIM jsocketd:log MINID 1-1", "PEXPIRE jsocketd:log 60000"] {
        let asked = engine.ask(&format!("ACL DRYRUN jsocketd {command}"));
        assert_eq!(asked, Line("OK".into()), "{command}");
    }
    for command in ["XADD another * b x", "DEL jsocketd:log"] {
        let asked = engine.ask(&format!("ACL DRYRUN jsocketd {command}"));
        assert_ne!(asked, Line("OK".into()), "{command}");
    }
    for site in &sites {
        let log = site.server.log();
        assert!(!log.contains("NOPERM") && !log.contains("alone"), "{log}");
    }
}
