//! Whose fault was it? The kinds of culprits that need a database; `server/culprits.rs` has the others.

use std::fs;

use serde_json::json;

use crate::common::Server;
use crate::common::flight::expect_culprit;
use crate::common::joomla::Site as Joomla;
use crate::common::outbox::{ADMIN_TOKEN, ready, serve};

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
    // The file is looked at every two seconds.
    let file = joomla.configuration();
    let text = fs::read_to_string(&file).expect("it can be read");
    expect_culprit(&site.server, "site", "reading configuration.php again", || {
        fs::write(&file, format!("{text}\n")).expect("written");
        std::thread::sleep(std::time::Duration::from_millis(500));
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
