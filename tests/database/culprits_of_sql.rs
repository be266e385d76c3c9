//! Whose fault was it? The kinds of culprits that need a database; `server/culprits.rs` has the others.

use std::fs;

use serde_json::json;

use crate::common::flight::expect_culprit;
use crate::common::joomla::Site as Joomla;
use crate::common::outbox::{ADMIN_TOKEN, ready, serve};
use crate::common::pusher::{ID, KEY, SECRET, app_handshake};
use crate::common::{Peer, Server};
use jsocketd::joomla::site::Client;
use rustix::process::Signal;

/// A site with an outbox table.
fn joomla() -> Joomla {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla
}

#[test]
fn statements_and_the_file_of_the_site_are_named() {
    let joomla = joomla();
    let site = serve(&joomla, "poll_ms = 5\nidle_poll_ms = 5\nbudget_ms = 1000");
    ready(&site);
    let mut subscribers: Vec<_> = (0..20).map(|_| site.connect()).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("news");
    }
    let publish = || {
        let rows: Vec<String> = (0..300)
            .map(|n| format!("('news', 'e', '{}', UTC_TIMESTAMP(3))", json!({ "n": n })))
            .collect();
        joomla.sql(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES {}",
            rows.join(", ")
        ));
    };
    let text = expect_culprit(&site.server, "statement", "statement ", publish);
    assert!(text.contains(" ms"), "{text}");
    expect_culprit(&site.server, "statements", "many statements", publish);
    // The file is looked at every two seconds.
    let file = joomla.configuration();
    let text = fs::read_to_string(&file).expect("it can be read");
    expect_culprit(&site.server, "site", "reading configuration.php again", || {
        fs::write(&file, format!("{text}\n")).expect("written");
        std::thread::sleep(std::time::Duration::from_millis(500));
    });
}

/// Hundreds of connections wait for the row of one session.
#[test]
fn the_work_after_a_statement_is_named() {
    let joomla = joomla();
    let toml = format!(
        "[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n[limits]\nconnects_per_second = 0\nconnections_per_session = 0\n\
         [loop]\nslow_ms = 60000\n[joomla]\nroot = \"{}\"\napp = \"{ID}\"\n\
         [[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n",
        joomla.root().display()
    );
    let server = Server::start(&toml);
    let login = joomla.log_in(joomla.id_of("bob"), Client::Site);
    let headers = format!(
        "\r\nOrigin: http://localhost\r\nCookie: {}\r\n\r\n",
        joomla.cookie(&login)
    );
    let request = app_handshake("protocol=7").replace("\r\n\r\n", &headers);
    expect_culprit(&server, "answer", "work after statement sessions", || {
        let mut peers: Vec<Peer> = (0..400).map(|_| Peer::connect(&server)).collect();
        server.signal(Signal::STOP);
        for peer in &mut peers {
            peer.send(&request);
        }
        server.signal(Signal::CONT);
        peers.iter_mut().for_each(|peer| {
            peer.expect_switch();
        });
        // A session is asked for once a second.
        std::thread::sleep(std::time::Duration::from_secs(1));
    });
}

/// The log names it.
#[test]
fn a_slow_statement_is_named_in_the_log_with_its_time() {
    let joomla = joomla();
    let toml = format!(
        "[server]\nadmin_token = \"{}\"\n[joomla]\nroot = \"{}\"\n",
        ADMIN_TOKEN,
        joomla.root().display()
    );
    let server = Server::start_with(&toml, |command, _| {
        command.args(["--slow-sql", "80"]);
    });
    let text = expect_culprit(&server, "connect", "connecting to the database", || {});
    assert!(text.contains(" ms"), "{text}");
    let text = expect_culprit(&server, "statement", "statement extensions", || {});
    let ms: f64 = text
        .split(' ')
        .nth(2)
        .and_then(|ms| ms.parse().ok())
        .expect("milliseconds");
    assert!(ms >= 80.0, "{text}");
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("statement extensions"))
        .expect(&log);
    assert!(
        line.contains("slow tick: ") && line.contains("of which work "),
        "{line}"
    );
}
