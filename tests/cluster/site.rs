//! Processes of one Joomla site: all read its outbox table, and together they hold its limits.

use std::time::{Duration, Instant};

use jsocketd::joomla::site::Client;
use serde_json::json;

use crate::common::cluster::{LEASE, together};
use crate::common::engine::Engine;
use crate::common::joomla::Site as Joomla;
use crate::common::outbox::ADMIN_TOKEN;
use crate::common::pusher::{ID, KEY, SECRET, Session, Site};
use crate::common::visits::Arrival;
use crate::common::{Peer, Server, wait_until};

fn serve(joomla: &Joomla, engine: &Engine, limits: &str, app: &str) -> Site {
    let url = engine.url();
    let toml = format!(
        "[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n[engine]\nurl = \"{url}\"\n{LEASE}\n[limits]\n\
         connects_per_second = 0\n{limits}\n[joomla]\napp = \"{ID}\"\nsweep_interval = 3600\n[database]\n\
         poll_ms = 5000\nidle_poll_ms = 5000\n[[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n{app}\n"
    );
    let server = Server::start_with(&toml, |command, _| {
        command.arg("--joomla").arg(joomla.root());
    });
    Site { server }
}

#[test]
fn a_nudge_of_any_process_makes_all_read_the_table() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let engine = Engine::start();
    let sites = [(); 2].map(|()| serve(&joomla, &engine, "", ""));
    together(&sites);
    sites.iter().for_each(|site| drop(crate::common::outbox::ready(site)));
    let mut readers = sites.each_ref().map(Site::connect);
    for reader in &mut readers {
        reader.subscribe("news");
    }
    let mut api = sites[0].api();
    // Both find the row in the same moment, and one of them gives it its number.
    for round in 0..20 {
        let began = Instant::now();
        joomla.publish("news", "e", "1");
        assert_eq!(api.ask("POST", "/nudge", &[], "{}"), json!({}));
        for (number, reader) in readers.iter_mut().enumerate() {
            reader.expect_event("news", "e", "1");
            let took = began.elapsed();
            assert!(
                took < Duration::from_secs(3),
                "round {round}, process {number}: {took:?}"
            );
        }
    }
}

#[test]
fn a_session_has_its_connections_on_all_processes_together() {
    let joomla = Joomla::joomla6();
    let engine = Engine::start();
    let sites = [(); 2].map(|()| serve(&joomla, &engine, "connections_per_session = 2", ""));
    together(&sites);
    let login = joomla.log_in(joomla.id_of("admin"), Client::Site);
    let arrival = Arrival::own().cookie(joomla.cookie(&login));
    let open = |site: &Site| {
        let mut peer = Peer::connect(&site.server);
        peer.send(arrival.handshake(&format!("/app/{KEY}?protocol=7")))
            .expect_switch();
        peer
    };
    let mut stay = sites.each_ref().map(|site| Session::greeted(open(site)));
    let over = "too many connections of this session";
    for (site, session) in sites.iter().zip(&mut stay) {
        // What the other process holds comes with the log: before the event that is published behind it.
        session.subscribe("mark");
        site.api().publish("mark", "e", "1");
        session.expect_event("mark", "e", "1");
    }
    wait_until(
        "both processes count both connections",
        || {
            sites
                .iter()
                .all(|site| open(site).next_frame().0 == crate::common::frame::CLOSE)
        },
        || sites.each_ref().map(|site| site.server.log()).join("\n"),
    );
    for site in &sites {
        assert_eq!(open(site).expect_close(4100), over);
    }
}

#[test]
fn publishes_are_limited_on_all_processes_together() {
    let joomla = Joomla::joomla6();
    let engine = Engine::start();
    let sites = [(); 2].map(|()| serve(&joomla, &engine, "", "publishes_per_second = 50"));
    together(&sites);
    let mut reader = sites[1].connect();
    reader.subscribe("news");
    // How many events a process takes until it refuses one.
    let exhaust = |site: &Site| {
        let mut api = site.api();
        let body = json!({"name": "e", "channel": "news", "data": "1"}).to_string();
        let mut taken = 0;
        loop {
            match api.send("POST", "/events", &[], &body).status {
                200 => taken += 1,
                429 => return taken,
                other => panic!("answered with {other}"),
            }
        }
    };
    let first = exhaust(&sites[0]);
    for _ in 0..first {
        reader.expect_event("news", "e", "1");
    }
    let second = exhaust(&sites[1]);
    assert!(
        first >= 50 && second <= first / 2,
        "{first} on the first process, then {second} on the other one"
    );
}
