//! The commands that are not the server: each does its work, prints the result, and ends.

mod admin;
pub mod check;
pub mod doctor;
pub mod http;
pub mod listen;
pub mod publish;
pub mod replay;
pub mod schema;
pub mod setup;
mod snippets;
pub mod status;
pub mod top;
mod units;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

use jsocketd::config::{self, App, Config};
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

/// Prints the result of something that was done. If nobody reads it, it is done all the same.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
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

/// The app that a command is about; `id`: the one that was named.
fn app<'a>(config: &'a Config, id: Option<&str>) -> Result<&'a App, String> {
    let ids: Vec<&str> = config.apps.iter().map(|app| app.id.as_str()).collect();
    let ids = ids.join(", ");
    match (id, config.apps.as_slice()) {
        (_, []) => Err(
            "the configuration has no app: write [[apps]] with id, key and secret, or set JSOCKETD_APP_ID, \
                        JSOCKETD_APP_KEY and JSOCKETD_APP_SECRET"
                .into(),
        ),
        (None, [app]) => Ok(app),
        (None, _) => Err(format!(
            "the configuration has several apps ({ids}): name one with --app"
        )),
        (Some(id), apps) => {
            let app = apps.iter().find(|app| app.id == id);
            app.ok_or_else(|| format!("the configuration has no app {id:?}, but {ids}"))
        }
    }
}
