//! Whose fault was it? Each kind of culprit is brought about in a running server, and the flight recorder must name it.
//! `database/culprits_of_sql.rs` has the kinds that need a database. A test of the documents checks that each kind has
//! a case.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::flight::{culprit, expect_culprit, records};
use crate::common::outbox::ADMIN_TOKEN;
use crate::common::pusher::{Settings, Site};
use crate::common::{Frame, Peer, Server, wait_until};

/// A site without slow ticks: on a busy machine the machine would be blamed for many of them.
fn site(limits: &str, more: &str) -> Site {
    site_that_logs(60_000, limits, more)
}

/// A site whose ticks are slow from so many milliseconds on.
fn site_that_logs(slow_ms: u64, limits: &str, more: &str) -> Site {
    Site::with(Settings {
        server: &format!("admin_token = \"{ADMIN_TOKEN}\""),
        limits: &format!(
            "requests_per_second = 0\nsubscriptions_per_second = 0\n{limits}\n[loop]\nslow_ms = {slow_ms}"
        ),
        app: "client_events = true\nmax_channels = 5000",
        more,
        ..Settings::default()
    })
}

/// Lets the process stand still while `during` is done, so that all of it is in one tick afterwards.
fn stopped(server: &Server, during: impl FnOnce()) {
    server.signal(Signal::STOP);
    during();
    std::thread::sleep(Duration::from_millis(20));
    server.signal(Signal::CONT);
}

/// Peers at `/echo`.
fn echoes(site: &Site, many: usize) -> Vec<Peer> {
    (0..many).map(|_| site.upgrade("/echo")).collect()
}

#[test]
fn a_huge_request_is_named_with_its_connection_and_path() {
    let site = site("max_body_size = 4000000", "");
    let mut api = site.api();
    let events: Vec<Value> = (0..10)
        .map(|_| json!({"name": "e", "channel": "c", "data": "x".repeat(300_000)}))
        .collect();
    let body = json!({ "batch": events }).to_string();
    let text = expect_culprit(&site.server, "input", "POST /apps/4711/batch_events", || {
        api.send("POST", "/batch_events", &[], &body);
    });
    assert!(text.starts_with('#') && text.contains(" bytes)"), "{text}");
}

#[test]
fn a_flood_is_named_with_its_connection() {
    let site = site("", "");
    let mut peer = site.upgrade("/echo");
    let flood: Vec<u8> = (0..3000).flat_map(|_| Frame::text("flood").bytes()).collect();
    let text = expect_culprit(&site.server, "input", "messages", || {
        peer.send(&flood);
        (0..3000).for_each(|_| {
            peer.next_frame();
        });
    });
    assert!(text.contains(" messages, ") || text.contains("(1 message, "), "{text}");
}

#[test]
fn input_of_many_connections_is_not_blamed_on_one() {
    let site = site("", "");
    let mut peers = echoes(&site, 200);
    let text = expect_culprit(&site.server, "inputs", "many connections", || {
        stopped(&site.server, || {
            for peer in &mut peers {
                peer.text(&"all at once ".repeat(100));
            }
        });
    });
    assert!(text.contains(" connections)"), "{text}");
}

#[test]
fn a_giant_fan_out_is_named_with_its_channel() {
    let site = site("", "");
    let _subscribers: Vec<_> = (0..1000)
        .map(|_| {
            let mut session = site.connect();
            session.subscribe("giant");
            session
        })
        .collect();
    let mut api = site.api();
    let text = expect_culprit(&site.server, "fan-out", "giant", || {
        api.publish("giant", "e", &"x".repeat(1000));
    });
    assert!(text.contains("000 recipients, "), "{text}");
}

/// The pings are written because of the timers.
#[test]
fn pings_of_many_connections_are_timers() {
    let site = site("ping_interval = 1", "");
    let _peers = echoes(&site, 500);
    expect_culprit(&site.server, "timers", "deadlines of connections", || {});
    expect_crowd(&site.server, "deadlines of connections");
}

#[test]
fn answers_to_many_connections_are_writes() {
    let site = site("", "");
    let mut peers = echoes(&site, 300);
    expect_culprit(&site.server, "writes", "writes to connections", || {
        stopped(&site.server, || {
            for peer in &mut peers {
                peer.text("x");
            }
        });
        for peer in &mut peers {
            peer.expect_text("x");
        }
    });
}

/// Waits until a tick that wrote to a crowd has this culprit.
fn expect_crowd(server: &Server, name: &str) {
    let crowds = || -> Vec<Value> {
        let records = records(server);
        let recent = records["recent"].as_array().expect("a list").iter();
        let crowds = recent.filter(|tick| tick["counts"]["writes"].as_u64() >= Some(200));
        crowds.map(|tick| tick["culprit"].clone()).collect()
    };
    let is_named = || crowds().iter().any(|culprit| culprit["name"] == name);
    wait_until(name, is_named, || json!(crowds()).to_string());
}

/// One piece of work closes many connections. The time of writing to them counts for that work, also in the next tick.
#[test]
fn work_that_closes_many_connections_is_named_for_the_time_of_writing_to_them() {
    let site = site("", "");
    let mut sessions: Vec<_> = (0..400).map(|_| site.connect()).collect();
    for session in &mut sessions {
        session.sign_in(r#"{"id":"42"}"#);
    }
    let mut api = site.api();
    api.ask("POST", "/users/42/terminate_connections", &[], "");
    expect_crowd(&site.server, "POST /apps/4711/users/42/terminate_connections");
    drop(sessions);

    // An app is switched off. The connections are closed between two ticks, and the close frames are written in the
    // next one.
    let mut sessions: Vec<_> = (0..400).map(|_| site.connect()).collect();
    let path = site.server.config_path();
    let config = fs::read_to_string(&path).expect("it can be read");
    let disabled = config.replace("[[apps]]\n", "[[apps]]\nenabled = false\n");
    assert_ne!(config, disabled);
    fs::write(&path, disabled).expect("written");
    site.server.signal(Signal::HUP);
    for session in &mut sessions {
        session.peer.drain();
    }
    expect_crowd(&site.server, "reading the configuration again");
}

#[test]
fn new_and_lost_connections_are_named() {
    let site = site("", "");
    let mut peers = Vec::new();
    expect_culprit(&site.server, "accepts", "new connections", || {
        stopped(&site.server, || {
            peers.extend((0..200).map(|_| Peer::connect(&site.server)))
        });
    });
    // Each of the new ones is reported as writable, and has nothing to read.
    let text = expect_culprit(&site.server, "events", "events", || {
        stopped(&site.server, || {
            peers.extend((0..200).map(|_| Peer::connect(&site.server)))
        });
    });
    assert!(text.contains(" events)"), "{text}");
    expect_culprit(&site.server, "close", "end of #", || {
        let mut busy = site.connect();
        for n in 0..1000 {
            busy.subscribe(&format!("c{n}"));
        }
    });
    // These connections have no subscriptions: only the end of their sockets takes time.
    drop(peers);
    let text = expect_culprit(&site.server, "closes", "ends of connections", || {
        let peers = echoes(&site, 300);
        stopped(&site.server, || peers.into_iter().for_each(Peer::reset));
    });
    assert!(text.contains(" connections)"), "{text}");
}

#[test]
fn what_the_process_does_between_two_ticks_is_named() {
    let site = site(
        "",
        "[[apps.webhooks]]\nurl = \"http://no-such-host.invalid/hook\"\nevents = [\"channel_occupied\"]",
    );
    let server = &site.server;
    expect_culprit(server, "names", "looking up no-such-host.invalid", || {
        server.signal(Signal::HUP)
    });
    let config = fs::read_to_string(site.server.config_path()).expect("it can be read");
    fs::write(
        site.server.config_path(),
        config.replace("slow_ms = 60000", "slow_ms = 2"),
    )
    .expect("written");
    expect_culprit(server, "reload", "reading the configuration again", || {
        server.signal(Signal::HUP)
    });
    expect_culprit(server, "report", "a report for the administrator", || {
        server.signal(Signal::USR1)
    });
    let log = site.server.log();
    for part in [
        "culprits of the worst ticks of the last hour:",
        "the latest ticks:",
        "tick 1: ",
    ] {
        assert!(log.contains(part), "{part}\n{log}");
    }
}

#[test]
fn webhooks_and_what_is_due_are_named() {
    let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook", target.local_addr().expect("an address"));
    let hooks = format!("[[apps.webhooks]]\nurl = \"{url}\"\nevents = [\"channel_occupied\", \"channel_vacated\"]");
    let site = site("", &hooks);
    let mut channels = 0..;
    let mut occupy = || {
        let mut session = site.connect();
        for n in channels.by_ref().take(50) {
            session.subscribe(&format!("c{n}"));
        }
    };
    expect_culprit(&site.server, "due", "webhooks", &mut occupy);
    let text = expect_culprit(&site.server, "webhooks", &url, &mut occupy);
    assert!(text.contains("post"), "{text}");
}

#[test]
fn files_that_the_server_writes_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, trace) = (folder.path().join("access"), folder.path().join("trace"));
    let toml = format!(
        "[server]\nadmin_token = \"{ADMIN_TOKEN}\"\naccess_log = \"{}\"\n",
        log.display()
    );
    let server = Server::start(&toml);
    expect_culprit(&server, "access-log", "writing the access log", || {
        Peer::connect(&server)
            .send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect_status(200);
    });
    let toml = format!("[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n");
    let server = Server::start_with(&toml, |command, _| {
        command.arg("--record").arg(&trace);
    });
    let mut console = Peer::upgrade(&server, "/echo");
    expect_culprit(&server, "trace", "writing the trace", || {
        console.text("x").expect_text("x");
    });
}

#[test]
fn a_drain_is_named() {
    let site = site("drain_seconds = 300", "");
    let _peers = echoes(&site, 300);
    site.server.signal(Signal::TERM);
    expect_culprit(&site.server, "drain", "the drain", || {});
}

#[test]
fn a_process_that_stood_still_is_not_the_fault_of_a_client() {
    let site = site_that_logs(50, "", "");
    let mut peers: Vec<Peer> = echoes(&site, 4);
    let flood: Vec<u8> = (0..2000).flat_map(|_| Frame::text("flood").bytes()).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    let found = || culprit(&site.server, "machine", "did not run");
    while found().is_none() {
        assert!(Instant::now() < deadline, "{}", records(&site.server)["blame"]);
        for peer in &mut peers {
            peer.send_some(&flood);
        }
        stopped(&site.server, || std::thread::sleep(Duration::from_millis(100)));
        for peer in &mut peers {
            peer.read_some();
        }
    }
}

/// Clients that bring about slow ticks without end do not fill the disk, and hide no other culprit.
#[test]
fn slow_ticks_have_at_most_one_line_a_second_and_kind() {
    let site = site_that_logs(1, "", "");
    let began = Instant::now();
    let mut peers = echoes(&site, 300);
    let slow = || records(&site.server)["slow_ticks"].as_u64().expect("a number");
    while slow() < 100 {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", slow());
        stopped(&site.server, || {
            for peer in &mut peers {
                peer.text("x");
            }
        });
        for peer in &mut peers {
            peer.expect_text("x");
        }
    }
    let log = site.server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" slow tick: ")).collect();
    assert!(
        lines
            .iter()
            .all(|line| line.contains(" WARN ") && line.contains(" ms, of which ")),
        "{log}"
    );
    assert!(lines.iter().any(|line| line.ends_with(" more)")), "{log}");
    let records = records(&site.server);
    let recent = records["recent"].as_array().expect("a list").iter();
    let kinds: BTreeSet<String> = recent
        .filter(|tick| tick["us"].as_u64() >= Some(1000))
        .map(|tick| tick["culprit"]["kind"].to_string())
        .collect();
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!(lines.len() <= kinds.len() * seconds, "{seconds} s, {kinds:?}\n{log}");
}

/// Nothing that the process does is without a name.
#[test]
fn few_slow_ticks_have_no_culprit() {
    let site = site_that_logs(1, "", "");
    let mut subscribers: Vec<_> = (0..300).map(|_| site.connect()).collect();
    for session in &mut subscribers {
        session.subscribe("busy");
    }
    let mut api = site.api();
    // The longer ones among the latest 1024, by number, with the text of their culprits.
    let mut slow: BTreeMap<u64, String> = BTreeMap::new();
    let mut look = || {
        let records = records(&site.server);
        let recent = records["recent"].as_array().expect("a list").iter();
        for tick in recent.filter(|tick| tick["us"].as_u64() >= Some(1000)) {
            let text = tick["culprit"].to_string();
            slow.insert(tick["n"].as_u64().expect("a number"), text);
        }
        slow.len()
    };
    let flood: Vec<u8> = (0..500).flat_map(|_| Frame::text("flood").bytes()).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while look() < 100 && Instant::now() < deadline {
        api.publish("busy", "e", &"x".repeat(5000));
        let mut peers = echoes(&site, 50);
        for peer in &mut peers {
            peer.send(&flood[..]);
        }
        for peer in &mut peers {
            (0..500).for_each(|_| {
                peer.next_frame();
            });
        }
        stopped(&site.server, || peers.drain(..).for_each(Peer::reset));
        site.server.signal(Signal::HUP);
        site.server.signal(Signal::USR1);
    }
    let nameless: Vec<&String> = slow
        .values()
        .filter(|text| text.contains(r#""kind":"other""#))
        .collect();
    assert!(slow.len() >= 20, "too few slow ticks to judge: {slow:?}");
    assert!(
        nameless.len() * 20 <= slow.len(),
        "{} of {}: {nameless:?}",
        nameless.len(),
        slow.len()
    );
}

#[test]
fn the_phases_add_up_and_the_number_of_a_tick_limits_the_answer() {
    let site = site("", "");
    let mut peer = site.upgrade("/echo");
    for n in 0..50 {
        peer.text(&n.to_string()).expect_text(&n.to_string());
    }
    let all = records(&site.server);
    let ticks = all["recent"].as_array().expect("a list");
    assert!(ticks.len() >= 50);
    for pair in ticks.windows(2) {
        assert_eq!(pair[0]["n"].as_u64().map(|n| n + 1), pair[1]["n"].as_u64());
    }
    for tick in ticks {
        let phases = tick["phases_us"].as_object().expect("an object");
        let sum: u64 = phases.values().filter_map(Value::as_u64).sum();
        assert_eq!(Some(sum), tick["us"].as_u64(), "{tick}");
    }
    let newest = ticks.last().and_then(|tick| tick["n"].as_u64()).expect("a number");
    let ask = |since: &str| {
        let request = format!(
            "GET /debug/loop?since={since} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
        );
        Peer::connect(&site.server).send(request).reply()
    };
    let later: Value = serde_json::from_str(&ask(&newest.to_string()).body).expect("JSON");
    let later = later["recent"].as_array().expect("a list");
    assert!(later.iter().all(|tick| tick["n"].as_u64() > Some(newest)) && !later.is_empty());
    for wrong in ["", "-1", "x", "99999999999999999999"] {
        assert_eq!(ask(wrong).status, 400, "{wrong}");
    }
    let none: Value = serde_json::from_str(&ask("18446744073709551615").body).expect("JSON");
    assert_eq!(none["recent"], json!([]));
    // Without the token nobody sees the records.
    let request = "GET /debug/loop HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(Peer::connect(&site.server).send(request).reply().status, 401);
}

#[test]
fn the_console_shows_the_records() {
    let server = Server::start_defaults();
    let mut console = Peer::upgrade(&server, "/");
    let mut ask = |command: &str| {
        let (_, text) = console.text(command).next_frame();
        String::from_utf8(text).expect("text")
    };
    ask("test");
    let ticks = ask("ticks");
    assert!(ticks.lines().count() >= 2, "{ticks}");
    assert!(ticks.lines().all(|line| line.contains(" tick ")), "{ticks}");
    let blame = ask("blame");
    assert!(
        blame.starts_with("culprits of the worst ticks of the last hour:\n"),
        "{blame}"
    );
}
