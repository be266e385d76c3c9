//! Finds out which of the tables and columns exist that not every site has, and which version the outbox's tables have.
//! A statement leaves out only what is absent for sure. A table that we merely may not read could be the one that
//! lists the users with a second factor. So the statements still read it, and the server's refusal names what is
//! missing.

use super::columns;
use super::driver::{Conn, query};
use super::fault::Fault;
use super::session::{is_fatal, text};
use super::shape::{Shape, Survey};
use crate::store::schema::{STATE, VERSION};
use crate::store::{Answer, Checked};

/// Joomla's release that brought `#__user_mfa`.
const MFA: (u32, u32) = (4, 2);

/// Errors of the server: ER_BAD_FIELD_ERROR, ER_NO_SUCH_TABLE.
const NO_COLUMN: u16 = 1054;
const NO_TABLE: u16 = 1146;

/// Surveys the tables with one statement, and a few more if something is missing.
pub(super) fn survey(conn: &mut Conn, shape: &Shape) -> Result<Survey, Fault> {
    let [users, mfas, assets] = ["users", "user_mfa", "assets"].map(|table| shape.full_name(table));
    let list = [&users, &mfas, &assets].map(|table| literal(table)).join(",");
    let rows = query(
        conn,
        &format!(
            "SELECT TABLE_NAME, COLUMN_NAME, COALESCE(COLLATION_NAME, '') FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({list})"
        ),
    )?;
    // The collation of a column that we may see. Some servers keep names in lower case, whatever the prefix is.
    let seen = |table: &str, column: &str| {
        rows.iter().find_map(|row| {
            let [own_table, own_column, collation] = row.as_slice() else {
                return None;
            };
            let same = text(own_table).eq_ignore_ascii_case(table) && text(own_column).eq_ignore_ascii_case(column);
            same.then(|| text(collation))
        })
    };
    let require_reset = seen(&users, "requireReset").is_some() || {
        let sql = format!("SELECT requireReset FROM {} LIMIT 0", shape.table("users"));
        refusal(conn, &sql)? != Some(NO_COLUMN)
    };
    let mfa = seen(&mfas, "user_id").and(seen(&mfas, "method")).is_some() || {
        let sql = format!("SELECT user_id, method FROM {} LIMIT 0", shape.table("user_mfa"));
        match refusal(conn, &sql)? {
            None => true,
            Some(NO_TABLE) => false,
            // If nothing of a table is granted to a user, the server does not show this user whether the table
            // exists.
            Some(_) => joomla_version(conn, shape)?.is_none_or(|version| version >= MFA),
        }
    };
    let plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let names = seen(&assets, "name").filter(plain).and_then(|collation| {
        let (charset, _) = collation.split_once('_')?;
        Some((charset.to_owned(), collation))
    });
    Ok(Survey {
        mfa,
        require_reset,
        names,
    })
}

/// The number of the error with which the server refuses a query. `None`: the server accepts it.
fn refusal(conn: &mut Conn, sql: &str) -> Result<Option<u16>, Fault> {
    match query(conn, sql) {
        Ok(_) => Ok(None),
        Err(Fault::Server(code, _)) if !is_fatal(code) => Ok(Some(code)),
        Err(fault) => Err(fault),
    }
}

/// The major and minor version of Joomla, if we may read it.
fn joomla_version(conn: &mut Conn, shape: &Shape) -> Result<Option<(u32, u32)>, Fault> {
    let sql = format!(
        "SELECT manifest_cache FROM {} WHERE element = 'joomla' AND type = 'file'",
        shape.table("extensions")
    );
    let rows = match query(conn, &sql) {
        Err(Fault::Server(code, _)) if !is_fatal(code) => return Ok(None),
        other => other?,
    };
    let manifest = rows.first().and_then(|row| row.first()).map(text).unwrap_or_default();
    let version = columns::manifest_version(&manifest).unwrap_or_default();
    let mut numbers = version.split('.').map(str::parse::<u32>);
    Ok(match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    })
}

/// The version of the outbox's tables, as the state table has it.
pub(super) fn version(conn: &mut Conn, state: &str) -> Result<Option<String>, Fault> {
    let sql = format!("SELECT CAST(value AS BINARY) FROM {state} WHERE name = 'schema'");
    Ok(query(conn, &sql)?.first().and_then(|row| columns::text(row, 0)))
}

/// The answer to a [`Question::Check`] that was refused because the tables have another version, and so other columns.
pub(super) fn other_version(conn: &mut Conn, shape: &Shape) -> Result<Option<Answer>, Fault> {
    let schema = match version(conn, &shape.table(STATE)) {
        Err(Fault::Server(..)) => None,
        version => version?,
    };
    Ok(schema.filter(|schema| *schema != VERSION).map(|schema| {
        Answer::Checked(Checked {
            schema: Some(schema),
            ..Checked::default()
        })
    }))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
