//! The commands that are not the server: each does its work, prints the result, and ends.

mod admin;
pub mod check;
pub mod doctor;
mod engine;
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
mod wire;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use jsocketd::config::{self, App, Config};
use jsocketd::joomla::site;
use jsocketd::server::process::lookup::resolve;
use jsocketd::site::parameters::{Credentials, Parameters};
use jsocketd::store::mysql::MySql;
use jsocketd::store::{Answer, Database, Extensions, Question, Store};
use jsocketd::time::{Now, Time};

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
    store.connect(now())?;
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

/// The app that a command is about; `id`: the one that was named. The site's app has the credentials of the component,
/// if the configuration has no secret for it: then it may be named by either id.
fn app(config: &Config, id: Option<&str>) -> Result<App, String> {
    let lacks = |app: &App| config.has_site() && app.id == config.joomla.app && app.secret.is_empty();
    let mut apps = config.apps.clone();
    let is_other = |id| config.apps.iter().any(|app| app.id == id && !lacks(app));
    let mut former = None;
    if let Some(app) = apps.iter_mut().find(|app| lacks(app))
        && !id.is_some_and(is_other)
        && let Some(own) = of_component(config).map_err(|why| {
            format!(
                "the configuration has no secret for the app {}, and the component's cannot be read: {why}",
                app.id
            )
        })?
    {
        former = Some(std::mem::replace(&mut app.id, own.id));
        (app.key, app.secret) = (own.key, own.secret);
    }
    let ids: Vec<&str> = apps.iter().map(|app| app.id.as_str()).collect();
    let ids = ids.join(", ");
    let is_named = |app: &App| match id {
        None => true,
        Some(id) => app.id == id || (former.as_deref() == Some(id) && !config.apps.contains(app)),
    };
    let mut found = apps.iter().filter(|app| is_named(app));
    match (found.next(), found.next(), id) {
        (Some(app), None, _) => Ok(app.clone()),
        (Some(_), Some(_), _) => Err(format!(
            "the configuration has several apps ({ids}): name one with --app"
        )),
        (None, _, Some(id)) if !apps.is_empty() => Err(format!("the configuration has no app {id:?}, but {ids}")),
        (None, ..) => Err(
            "the configuration has no app: write [[apps]] with id, key and secret, or set JSOCKETD_APP_ID, \
                        JSOCKETD_APP_KEY and JSOCKETD_APP_SECRET"
                .into(),
        ),
    }
}

/// The credentials in the options of the component.
fn of_component(config: &Config) -> Result<Option<Credentials>, Box<dyn Error>> {
    match open_site(config)?.ask(&Question::Extensions, now())? {
        Answer::Extensions(extensions) => Ok(parameters(&extensions).credentials),
        _ => Ok(None),
    }
}

/// The options of the component.
fn parameters(extensions: &Extensions) -> Parameters {
    Parameters::read(extensions.com_websockets.as_deref(), &Parameters::default(), now())
}

/// The time, for questions to the store.
fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        at: Time(0),
        unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
    }
}
