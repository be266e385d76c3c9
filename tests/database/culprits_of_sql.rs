//! Whose fault was it? The kinds of culprits that need a database; `server/culprits.rs` has the others.

use std::fs;
use std::sync::Arc;

use serde_json::json;

use crate::common::flight::expect_culprit;
use crate::common::joomla::Site as Joomla;
use crate::common::mariadb::Mariadb;
use crate::common::outbox::{ADMIN_TOKEN, ready, serve};
use crate::common::{Server, wait_until};

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
    expect_culprit(&site.server, "statement", "statement ", publish);
    expect_culprit(&site.server, "statements", "many statements", publish);
    // Reading the rows is cheap. Sending them is not, and no channel has most of the subscribers.
    let mut crowd: Vec<_> = (0..300).map(|_| site.connect()).collect();
    for (n, subscriber) in crowd.iter_mut().enumerate() {
        subscriber.subscribe(&format!("room-{}", n / 30));
    }
    let text = expect_culprit(&site.server, "answer", "work after statement ", || {
        let rows: Vec<String> = (0..100)
            .map(|n| format!("('room-{}', 'e', '{n}', UTC_TIMESTAMP(3))", n % 10))
            .collect();
        joomla.sql(&format!(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES {}",
            rows.join(", ")
        ));
    });
    assert!(text.contains("(300 connections)"), "{text}");
    // The file is looked at every two seconds.
    let file = joomla.configuration();
    let text = fs::read_to_string(&file).expect("it can be read");
    expect_culprit(&site.server, "site", "reading configuration.php again", || {
        fs::write(&file, format!("{text}\n")).expect("written");
        std::thread::sleep(std::time::Duration::from_millis(500));
    });
}

/// A database that stands still in the middle of its work.
#[test]
fn a_statement_without_an_answer_is_named_in_the_log_with_the_reason() {
    let database = Arc::new(Mariadb::start(&[]));
    let joomla = Joomla::joomla6_on(Arc::clone(&database));
    joomla.create_outbox();
    let site = serve(&joomla, "poll_ms = 5\nidle_poll_ms = 5\nread_timeout_ms = 300");
    ready(&site);
    let mut subscriber = site.connect();
    subscriber.subscribe("news");
    database.pause();
    let is_named = || {
        let log = site.server.log();
        let mut slow = log.lines().filter(|line| line.contains("slow tick: "));
        slow.any(|line| line.contains(": statement ") && line.contains("(no answer)"))
    };
    wait_until("the statement without an answer is named", is_named, || {
        site.server.log()
    });
    database.resume();
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
