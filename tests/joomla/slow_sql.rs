//! A database that is slow on purpose: `serve --slow-sql`.

use std::fs;
use std::process::Command;
use std::time::Duration;

use jsocketd::joomla::site::Client;
use rustix::process::Signal;
use serde_json::Value;

use crate::common::joomla::Site as Joomla;
use crate::common::pusher::Site;
use crate::common::visits::{Console, House, Terms};
use crate::common::{Peer, Server, wait_until};

const MS: u64 = 40;
const FLAGS: [&str; 2] = ["--slow-sql", "40"];
const WARNING: &str = "--slow-sql: on purpose, every statement of the database takes 40 ms longer\n";

/// The statements so far, and their time.
fn cost(stats: &Value) -> (u64, Duration) {
    let figure = |name: &str| stats["database"][name].as_u64().expect("a figure");
    (figure("statements"), Duration::from_micros(figure("total_us")))
}

/// Waits for four more statements. Each of them must take its time.
fn expect_slow(stats: impl Fn() -> Value) {
    let (before, time_before) = cost(&stats());
    let has_more = || cost(&stats()).0 >= before + 4;
    wait_until("four more statements are run", has_more, || stats().to_string());
    let (after, time_after) = cost(&stats());
    let least = Duration::from_millis((after - before) * MS);
    assert!(
        time_after - time_before >= least,
        "{after}-{before}: {time_after:?}-{time_before:?}"
    );
}

#[test]
fn every_statement_of_a_site_is_delayed_also_after_a_reload() {
    let joomla = Joomla::joomla6();
    let server = Server::start_with(&Terms::default().toml(), |command, _| {
        command.arg("--joomla").arg(joomla.root()).args(FLAGS);
    });
    let house = House {
        joomla,
        site: Site { server },
    };
    let anna = house.joomla.id_of("anna");
    let page = house.page(&house.joomla.log_in(anna, Client::Site));
    house.expect_user(&page, anna);
    expect_slow(|| house.stats());

    let server = &house.site.server;
    assert_eq!(server.log().matches(WARNING).count(), 1, "{}", server.log());
    let file = fs::read_to_string(server.config_path()).expect("a text");
    fs::write(
        server.config_path(),
        file.replace("[database]", "[database]\nbudget_ms = 11"),
    )
    .expect("it is written");
    server.signal(Signal::HUP);
    let is_reread = || server.log().contains("database.budget_ms changed");
    wait_until("the configuration is read again", is_reread, || server.log());
    expect_slow(|| house.stats());
}

#[test]
fn without_a_site_there_is_a_slow_statement_every_second() {
    let server = Server::start_with(&Terms::default().toml(), |command, _| {
        command.args(FLAGS);
    });
    let warning = "--slow-sql: there is no database; a statement named slow takes 40 ms every second\n";
    assert!(server.log().contains(warning), "{}", server.log());
    let stats = || {
        let peer = Peer::upgrade(&server, "/");
        serde_json::from_str(&Console { peer }.allowed().say("stats")).expect("JSON")
    };
    expect_slow(stats);
}

#[test]
fn a_delay_that_makes_no_sense_is_refused() {
    for wrong in ["0", "60001", "fast", "1.5"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        let output = command.args(["serve", "--slow-sql", wrong]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("--slow-sql <MS>"), "{said}");
    }
    let manual = include_str!("../../docs/operations.md");
    assert!(manual.contains("`jsocketd serve --slow-sql 300` delays every statement by 300 ms (1 to 60,000)"));
}
