//! The statements with which the Joomla package uses the outbox's tables, in its own forms (`Outbox.php` and
//! `Upkeep.php`). `check` runs them too, since a refusal is not visible where the package runs them. Here they change
//! no row, and their transaction is rolled back. The package's INSERT is that of
//! [`Question::Publish`](crate::store::Question::Publish).

use super::MySql;
use super::driver::query;
use super::fault::Fault;
use super::session::{self, Meaning};
use crate::store::schema::{OUTBOX, STATE};

/// The statements in the order in which they run. Those before START TRANSACTION only read.
fn statements(outbox: &str, state: &str) -> Vec<String> {
    let at_once = "SELECT /*+ MAX_EXECUTION_TIME(100) */";
    let milliseconds = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000";
    vec![
        "SHOW SESSION VARIABLES WHERE Variable_name IN ('version', 'log_bin', 'binlog_format', 'lock_wait_timeout')"
            .to_owned(),
        format!(
            "SELECT `value` FROM {state} WHERE /*!80000 @@SESSION.transaction_isolation *//*M! @@SESSION.tx_isolation */ \
             <> 'SERIALIZABLE' AND `name` = 'position'"
        ),
        format!(
            "SELECT `name`, `value`, TIMESTAMPDIFF(MICROSECOND, `updated`, UTC_TIMESTAMP(3)) DIV 1000 AS `age` FROM {state} \
             WHERE `name` LIKE 'process.%' ORDER BY `updated` DESC"
        ),
        format!(
            "SELECT 1 FROM {state} WHERE `name` LIKE 'process.%' AND `updated` > UTC_TIMESTAMP(3) - INTERVAL 60 SECOND LIMIT 1"
        ),
        "START TRANSACTION".to_owned(),
        format!("{at_once} value FROM {state} WHERE name = 'position' FOR UPDATE NOWAIT"),
        format!("SELECT MAX(seq) FROM {outbox}"),
        format!("{at_once} id FROM {outbox} FORCE INDEX (idx_seq) WHERE seq IS NULL ORDER BY id LIMIT 1"),
        format!(
            "{at_once} id FROM {outbox} FORCE INDEX (idx_channel_seq) WHERE channel = '#control' AND seq IS NULL \
             ORDER BY id LIMIT 1"
        ),
        format!(
            "SELECT UTC_TIMESTAMP(3) AS stamped, CONNECTION_ID() AS connection, LOWER(CONV({milliseconds}, 10, 36)) AS mark"
        ),
        format!("{at_once} id FROM {outbox} WHERE id = 0 FOR UPDATE NOWAIT"),
        format!(
            "UPDATE {outbox} FORCE INDEX (PRIMARY) SET stamped = '2000-01-01', seq = CASE id WHEN 0 THEN 0 END \
             WHERE id IN (0) AND seq IS NULL AND CONNECTION_ID() = 0"
        ),
        format!(
            "UPDATE {state} SET value = '', updated = UTC_TIMESTAMP(3) WHERE name = 'position' AND CONNECTION_ID() = 0"
        ),
        format!("{at_once} name FROM {state} WHERE name = 'deleter' FOR UPDATE NOWAIT"),
        format!(
            "{at_once} id, stamped < UTC_TIMESTAMP(3) - INTERVAL 3600 SECOND AS old FROM {outbox} FORCE INDEX (idx_seq) \
             WHERE seq IS NOT NULL ORDER BY seq LIMIT 1"
        ),
        format!("DELETE FROM {outbox} WHERE id = 0"),
    ]
}

/// Runs all statements. Returns whether all of them were tried: the first statement that meets a lock or its time limit
/// is the last one that is run.
///
/// # Errors
/// The statement that the server refused, and the server's words.
pub fn try_package(store: &mut MySql) -> Result<bool, String> {
    let (outbox, state) = (store.shape.table(OUTBOX), store.shape.table(STATE));
    let Some(link) = store.link.as_mut() else {
        return Err("there is no connection to the database".to_owned());
    };
    link.conn.begin();
    let mut tried = Ok(true);
    for sql in statements(&outbox, &state) {
        match query(&mut link.conn, &sql) {
            Ok(_) => continue,
            Err(Fault::Server(code, _)) if matches!(session::meaning(code), Meaning::Locked | Meaning::TooLong) => {
                tried = Ok(false);
            }
            Err(fault) => tried = Err(format!("{sql}: {fault}")),
        }
        break;
    }
    match query(&mut link.conn, "ROLLBACK") {
        Ok(_) => tried,
        Err(fault) => tried.and(Err(fault.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Functions of SQL in a text: words in capitals before a parenthesis.
    fn functions(text: &str) -> BTreeSet<&str> {
        let capital = |c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit();
        let before = text.split('(').map(|part| part.trim_end_matches(' '));
        let words = before.map(|part| &part[part.rfind(|c| !capital(c)).map_or(0, |at| at + 1)..]);
        words.filter(|word| word.len() > 2).collect()
    }

    #[test]
    fn the_statements_use_every_function_that_the_package_uses() {
        let asked = statements("o", "s").join("; ");
        let asked = functions(&asked);
        for source in [
            include_str!("../../../joomla/com_websockets/admin/src/Publish/Outbox.php"),
            include_str!("../../../joomla/com_websockets/admin/src/Publish/Upkeep.php"),
        ] {
            let used = functions(source);
            assert!(used.contains("UTC_TIMESTAMP"), "{used:?}");
            assert!(used.is_subset(&asked), "{used:?} and {asked:?}");
        }
    }
}
