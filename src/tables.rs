//! `jsocketd schema`: prints the SQL of the outbox's tables, or with `--update` makes version 2 of tables of version 1 in the
//! site's database. It makes no tables where there are none: that is the administrator's to run, or the Joomla package's.

use std::error::Error;

use jsocketd::config::{Config, Sources};
use jsocketd::joomla::site;
use jsocketd::store::mysql::update::{PATIENCE, update};
use jsocketd::store::schema::schema;

use crate::publish::open_site;

/// An ALTER of a large table takes its time, and nobody waits for this process.
const LONGEST_STATEMENT_MS: u64 = 3_600_000;

/// Prints the SQL of the tables. Without a site the prefix stays what Joomla's own SQL files have.
///
/// # Errors
/// When the configuration cannot be read.
pub fn print(sources: &Sources) -> Result<(), Box<dyn Error>> {
    let config = sources.load()?.config;
    let prefix = match config.has_site() {
        true => site::read(&config, &mut |_, _| Ok(Vec::new()))?.database.prefix,
        false => "#__".to_owned(),
    };
    print!("{}", schema(&prefix));
    Ok(())
}

/// Updates the tables, and says what it did.
///
/// # Errors
/// A sentence: why it could not, and what helps.
pub fn bring_up_to_date(sources: &Sources) -> Result<(), Box<dyn Error>> {
    let mut config: Config = sources.load()?.config;
    config.database.statement_ms = LONGEST_STATEMENT_MS;
    config.database.read_timeout_ms = LONGEST_STATEMENT_MS;
    let mut store = open_site(&config)?;
    Ok(update(&mut store, PATIENCE, &mut |line| println!("{line}"))?)
}
