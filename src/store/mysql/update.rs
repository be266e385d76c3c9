//! Updates the outbox's tables from version 1 to version 2 while the site keeps running. It first changes the columns
//! and keys, then numbers the rows in small steps, then writes the state table. It may be stopped anywhere, and the
//! next run continues from there. The Joomla package does the same in PHP when it is updated (`TableUpdate.php`).
//!
//! The update runs on the command line, so it may wait. But the site must not wait for it. A statement that waits for a
//! table holds up every later statement on this table, so each try is short.

use std::time::{Duration, Instant};

use super::MySql;
use super::columns::{number, text};
use super::driver::{Conn, query};
use super::fault::Fault;
use super::outbox::{self, begin, newest};
use super::session::{self, Meaning};
use super::survey::version;
use crate::protocol::position::{Place, Position};
use crate::store::grants::update_grant;
use crate::store::schema::{OUTBOX, STATE, VERSION, objection};

/// How long to wait for locks, all waits together.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two tries, in which the statements that waited behind the last try can run.
const PAUSE: &str = "DO SLEEP(1)";

/// The number of rows that get their numbers in one transaction: some 20 ms.
const STEP: usize = 500;

/// The columns and keys of version 2, each with the SQL that adds it.
const ADDED: [(&str, &str); 4] = [
    ("seq", "ADD COLUMN `seq` bigint unsigned DEFAULT NULL AFTER `id`"),
    ("stamped", "ADD COLUMN `stamped` datetime(3) DEFAULT NULL AFTER `seq`"),
    ("idx_seq", "ADD UNIQUE KEY `idx_seq` (`seq`)"),
    ("idx_channel_seq", "ADD KEY `idx_channel_seq` (`channel`, `seq`)"),
];

/// The key of version 1 that a new one replaces, and the SQL that removes it.
const OLD_KEY: (&str, &str) = ("idx_channel", "DROP KEY `idx_channel`");

/// Names in the state table that have no meaning in version 2.
const OLD_NAMES: &str = "name IN ('epoch', 'made', 'deleted_to', 'mark') OR name LIKE 'position.%'";

/// Updates the tables of a connected store, whose statements should have no time limit. `patience`: how long to wait
/// for locks, all waits together. `say`: called with a sentence for each thing that was done.
///
/// # Errors
/// A sentence: why the update failed, and what helps. The steps that were done stay, and the next call continues from
/// there.
pub fn update(store: &mut MySql, patience: Duration, say: &mut dyn FnMut(String)) -> Result<(), String> {
    let (outbox, state) = (store.shape.table(OUTBOX), store.shape.table(STATE));
    let (database, prefix) = (store.database.name.clone(), store.database.prefix.clone());
    let table = store.shape.full_name(OUTBOX);
    let link = store.link.as_mut().ok_or("there is no connection to the database")?;
    let conn = &mut link.conn;
    match version(conn, &state).map_err(|fault| explain(&fault))?.as_deref() {
        Some(VERSION) => {
            say(format!(
                "the outbox's tables are of version {VERSION} already: there is nothing to do"
            ));
            return Ok(());
        }
        Some("1") => say("the outbox's tables are of version 1".to_owned()),
        other => return Err(objection(other).unwrap_or_default()),
    }
    let mut update = Update {
        conn,
        outbox,
        state,
        table,
        say,
        patience,
        told: false,
    };
    let done = update.columns().and_then(|()| {
        update.numbers()?;
        update.finish()
    });
    match done {
        Err(Fault::Server(1142..=1143 | 1044, why)) => {
            let account = account(update.conn).unwrap_or_else(|| "'USER'@'HOST'".to_owned());
            let grant = update_grant(&database, &prefix, &account);
            Err(format!("{why}; the site's administrator can run: {grant}"))
        }
        Err(fault) => Err(explain(&fault)),
        Ok(()) => Ok(()),
    }
}

struct Update<'a> {
    conn: &'a mut Conn,
    /// The quoted names of the two tables, and the first one's name without quotes.
    outbox: String,
    state: String,
    table: String,
    say: &'a mut dyn FnMut(String),
    /// How long the update may still wait for locks.
    patience: Duration,
    /// Whether `say` was called about a lock in the way.
    told: bool,
}

impl Update<'_> {
    /// The first step: adds the missing columns and keys in one statement.
    fn columns(&mut self) -> Result<(), Fault> {
        let mut names: Vec<String> = Vec::new();
        for (name, from) in [("COLUMN_NAME", "COLUMNS"), ("INDEX_NAME", "STATISTICS")] {
            let sql = format!(
                "SELECT DISTINCT {name} FROM information_schema.{from} \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{}'",
                self.table
            );
            names.extend(query(self.conn, &sql)?.iter().filter_map(|row| text(row, 0)));
        }
        let has = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let added = ADDED.iter().filter(|(name, _)| !has(name));
        let mut changes: Vec<&str> = added.map(|(_, add)| *add).collect();
        if has(OLD_KEY.0) {
            changes.push(OLD_KEY.1);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let alter = format!("ALTER TABLE {} {}", self.outbox, changes.join(", "));
        self.patiently(|conn| query(conn, &alter).map(drop))?;
        (self.say)(format!("{} has the columns and keys of version {VERSION}", self.table));
        Ok(())
    }

    /// The second step: numbers the rows that exist. A row's number is its id, and the time of its stamp is the time
    /// when it was written. Rows of transactions that are still open get their numbers later, like new rows.
    fn numbers(&mut self) -> Result<(), Fault> {
        let rows = query(self.conn, &format!("SELECT MAX(id) FROM {}", self.outbox))?;
        let top: u64 = rows.first().and_then(|row| number(row, 0)).unwrap_or(0);
        let (mut last, mut count) = (0, 0);
        loop {
            let sql = format!(
                "SELECT id FROM {} WHERE id > {last} AND id <= {top} AND seq IS NULL ORDER BY id LIMIT {STEP}",
                self.outbox
            );
            let rows = query(self.conn, &sql)?;
            let ids: Vec<u64> = rows.iter().filter_map(|row| number(row, 0)).collect();
            let Some(highest) = ids.last() else { break };
            last = *highest;
            let list: Vec<String> = ids.iter().map(u64::to_string).collect();
            let update = format!(
                "UPDATE {} FORCE INDEX (PRIMARY) SET seq = id, stamped = created WHERE id IN ({}) AND seq IS NULL",
                self.outbox,
                list.join(",")
            );
            count += self.patiently(|conn| {
                query(conn, &update)?;
                Ok(conn.affected_rows())
            })?;
        }
        (self.say)(format!("rows that got their numbers: {count}"));
        Ok(())
    }

    /// The third step, in one transaction: writes the position of the stream. The version is written last.
    fn finish(&mut self) -> Result<(), Fault> {
        let (outbox, state) = (self.outbox.clone(), self.state.clone());
        let position = self.patiently(|conn| {
            let done = finish(conn, &outbox, &state);
            if done.is_err() {
                query(conn, "ROLLBACK")?;
            }
            done
        })?;
        (self.say)(match position {
            Some(position) => format!("the tables are of version {VERSION} now, at the position {position}"),
            None => format!("somebody else has updated the tables to version {VERSION} meanwhile"),
        });
        Ok(())
    }

    /// Repeats a try while another session holds a lock.
    fn patiently<T>(&mut self, mut act: impl FnMut(&mut Conn) -> Result<T, Fault>) -> Result<T, Fault> {
        loop {
            let began = Instant::now();
            self.conn.begin();
            match act(self.conn) {
                Err(Fault::Server(code, _))
                    if session::meaning(code) == Meaning::Locked && !self.patience.is_zero() => {}
                done => return done,
            }
            if !std::mem::replace(&mut self.told, true) {
                let seconds = self.patience.as_secs();
                (self.say)(format!(
                    "somebody has locked what has to be changed; it is tried again for up to {seconds} s"
                ));
            }
            query(self.conn, PAUSE)?;
            self.patience = self.patience.saturating_sub(began.elapsed());
        }
    }
}

/// See [`Update::finish`]. Returns the position. `None`: another process has updated the tables meanwhile.
fn finish(conn: &mut Conn, outbox: &str, state: &str) -> Result<Option<Position>, Fault> {
    query(conn, "START TRANSACTION")?;
    let schema = format!("SELECT CAST(value AS BINARY) FROM {state} WHERE name = 'schema' FOR UPDATE");
    let schema = query(conn, &schema)?.first().and_then(|row| text(row, 0));
    if schema.as_deref() != Some("1") {
        query(conn, "ROLLBACK")?;
        return Ok(None);
    }
    let place = |conn: &mut Conn| -> Result<Option<Place>, Fault> {
        let rows = query(conn, &newest(outbox))?;
        Ok(rows.first().and_then(|row| outbox::place(row, 0).ok()))
    };
    let place = match place(conn)? {
        Some(place) => place,
        None => {
            query(conn, &begin(outbox, "UTC_TIMESTAMP(3)"))?;
            place(conn)?.unwrap_or_default()
        }
    };
    let epoch = rand::random::<u32>().max(1);
    let position = Position::Table { epoch, place };
    query(conn, &format!("DELETE FROM {state} WHERE {OLD_NAMES}"))?;
    for (name, value) in [
        ("position", position.to_string()),
        ("deleter", String::new()),
        ("schema", VERSION.to_owned()),
    ] {
        let write =
            format!("REPLACE INTO {state} (name, value, updated) VALUES ('{name}', '{value}', UTC_TIMESTAMP(3))");
        query(conn, &write)?;
    }
    query(conn, "COMMIT")?;
    Ok(Some(position))
}

/// The account whose privileges count, in the form that a GRANT takes.
pub(super) fn account(conn: &mut Conn) -> Option<String> {
    let account = text(query(conn, "SELECT CURRENT_USER()").ok()?.first()?, 0)?;
    let (user, host) = account.rsplit_once('@')?;
    Some(format!("'{user}'@'{host}'"))
}

fn explain(fault: &Fault) -> String {
    match fault {
        Fault::Server(1146, why) => format!("{why}: `jsocketd schema` prints the SQL that makes the tables"),
        Fault::Server(code, why) if session::meaning(*code) == Meaning::Locked => format!(
            "{why}: somebody has had a lock all the time, perhaps an open transaction or a backup; run it again later, it \
             goes on where it is"
        ),
        fault => fault.to_string(),
    }
}
