//! The commands that are not the server: each does its work, prints the result, and ends.

pub mod check;
pub mod publish;
pub mod replay;
pub mod schema;

use std::error::Error;
use std::fmt::Display;

use jsocketd::config::{self, Config};
use jsocketd::joomla::site;
use jsocketd::server::process::lookup::resolve;
use jsocketd::store::Database;
use jsocketd::store::mysql::MySql;
use jsocketd::time::Now;

/// Writes a complaint to standard error. Each of its lines names this program.
pub fn complain(what: impl Display) {
    for line in what.to_string().lines() {
        eprintln!("jsocketd: {line}");
    }
}

/// Connects to the site's database and waits as long as its timeouts allow.
fn open_site(config: &Config) -> Result<MySql, Box<dyn Error>> {
    if !config.has_site() {
        return Err("there is no site: name its folder with --joomla, or its database in [database]".into());
    }
    let read = site::read(config, &mut resolve)?;
    let mut store = site_store(config, read.database);
    store.connect(Now::default())?;
    Ok(store)
}

/// The site's database, not yet connected. No loop waits for its statements, so they may take their time, as on a
/// machine that has just started.
fn site_store(config: &Config, database: Database) -> MySql {
    let settings = config::Database {
        statement_ms: config.database.statement_ms.max(5000),
        read_timeout_ms: config.database.read_timeout_ms.max(10_000),
        ..config.database.clone()
    };
    let most = config.apps.iter().map(|app| app.max_event_size).max().unwrap_or(0);
    MySql::new(database, settings, config.item_types(), most)
}
