//! `jsocketd schema`: prints the SQL of the outbox's tables, or with `--update` changes tables of version 1 in the
//! site's database to version 2. It does not create tables: an administrator or the Joomla package creates them.

use std::error::Error;

use jsocketd::config::Sources;
use jsocketd::joomla::site;
use jsocketd::store::mysql::update;
use jsocketd::store::schema::schema;

use super::open_site;

/// In milliseconds. An ALTER of a large table takes long, and no client waits for this process.
const LONGEST_STATEMENT_MS: u64 = 3_600_000;

/// Prints the SQL of the tables. Without a site their prefix is `#__`, as in Joomla's own SQL files.
///
/// # Errors
/// When the configuration, or the site that it names, cannot be read.
pub fn print(sources: &Sources) -> Result<(), Box<dyn Error>> {
    let config = sources.load()?.config;
    let prefix = match config.has_site() {
        true => site::read(&config, &mut |_, _| Ok(Vec::new()))?.database.prefix,
        false => "#__".to_owned(),
    };
    print!("{}", schema(&prefix));
    Ok(())
}

/// Updates the tables and prints each step.
///
/// # Errors
/// A sentence that names the reason and the remedy.
pub fn update(sources: &Sources) -> Result<(), Box<dyn Error>> {
    let mut config = sources.load()?.config;
    config.database.statement_ms = LONGEST_STATEMENT_MS;
    config.database.read_timeout_ms = LONGEST_STATEMENT_MS;
    let mut store = open_site(&config)?;
    Ok(update::update(&mut store, update::PATIENCE, &mut |line| {
        println!("{line}")
    })?)
}
