//! The statements about the outbox's two tables; `rows` reads their answers. Their forms were chosen by measurement, on
//! MariaDB 10.11 and 11.8 and MySQL 9.7, with concurrent writers at all isolation levels. Each rejected form is named
//! beside the chosen one. One rule holds for all statements: they touch no row that another transaction has in flight,
//! and they wait for no lock.
//!
//! A transaction is sent in two packets of several statements each, so it costs two round trips. Packets hold integers
//! and texts of our own, so no text from outside can become SQL. When a statement of a packet fails the server skips
//! the rest of the packet, and the caller rolls back.

mod rows;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mysql::Value;

use super::driver::{PACKET, Statement};
use super::shape::{Shape, keys, marks, padded};
use crate::protocol::control::{BEGIN, CHANNEL};
use crate::protocol::position::{Place, Position};
use crate::store::schema::{HEARTBEAT, OUTBOX, STATE};
use crate::store::{Look, NewRow, Question};

pub(super) use self::rows::{answer, place};

/// The most rows that one statement may add. Each row has four parameters, and a statement has at most 65,535.
const MOST_ROWS: usize = 10_000;

/// Milliseconds since 1970 of a time in UTC, whatever the session's time zone is. Rejected: `UNIX_TIMESTAMP`, which
/// reads its argument in the session's time zone and on some servers ends in 2038.
fn milliseconds(time: &str) -> String {
    format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {time}) DIV 1000")
}

/// The statement of a question about these tables.
///
/// # Errors
/// A sentence, if the question cannot be asked.
pub(super) fn statement(question: &Question, shape: &Shape) -> Result<Statement, String> {
    let (outbox, state) = (shape.table(OUTBOX), shape.table(STATE));
    Ok(match question {
        Question::Look(look) => self::look(*look, &outbox, &state),
        Question::Check(seqs) => check(seqs, &outbox, &state),
        Question::Claim { look, limit, ensure } => claim(*look, *limit, *ensure, &outbox, &state),
        Question::Stamp {
            ids,
            epoch,
            first,
            mark,
        } => stamp(ids, *epoch, *first, *mark, &outbox, &state)?,
        Question::Renew { epoch, newest, mark } => renew(*epoch, *newest, *mark, &outbox, &state)?,
        Question::Release => Statement::packet("ROLLBACK", vec![0]),
        // This uses the index alone. Rejected: one statement together with the look, which needs a temporary table for
        // its texts and took twice as long for 500 rows.
        Question::Tail { after, limit } => Statement::prepared(
            format!(
                "SELECT {} FROM {outbox} FORCE INDEX (idx_seq) WHERE seq > ? ORDER BY seq LIMIT ?",
                columns(shape)
            ),
            vec![(*after).into(), (*limit).into()],
            COLUMNS,
        ),
        Question::Channel(range) => Statement::prepared(
            format!(
                "SELECT {} FROM {outbox} FORCE INDEX (idx_channel_seq) \
                 WHERE channel = ? AND seq > ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
                columns(shape)
            ),
            vec![
                range.channel.as_str().into(),
                range.after.into(),
                range.to.into(),
                range.limit.into(),
            ],
            COLUMNS,
        ),
        Question::Old { retention, dead, limit } => old(*retention, *dead, *limit, &outbox, &state),
        Question::Delete { ids, processes } => delete(ids, processes, &outbox, &state),
        Question::Beat { process, position } => beat(*process, *position, &state),
        Question::Leave(process) => leave(*process, &state),
        Question::State => Statement::prepared(
            format!(
                "SELECT CAST(name AS BINARY), CAST(value AS BINARY), \
                 TIMESTAMPDIFF(MICROSECOND, updated, UTC_TIMESTAMP(3)) DIV 1000 FROM {state} ORDER BY name"
            ),
            Vec::new(),
            3,
        ),
        Question::Publish(rows) => publish(rows, &outbox)?,
        other => return Err(format!("the question for {} is not about the outbox", other.name())),
    })
}

/// Reads the number and the mark of the newest row that has a number.
pub(super) fn newest(outbox: &str) -> String {
    let mark = milliseconds("stamped");
    format!("SELECT seq, {mark} FROM {outbox} FORCE INDEX (idx_seq) WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1")
}

/// Adds the first numbered row of a table that has none. `stamped`: its time, in SQL.
pub(super) fn begin(outbox: &str, stamped: &str) -> String {
    format!(
        "INSERT INTO {outbox} (seq, stamped, channel, event, data, created) \
         VALUES (1, {stamped}, '{CHANNEL}', '{BEGIN}', '{{}}', UTC_TIMESTAMP(3))"
    )
}

// --- looking ---------------------------------------------------------------------------------------------------------

/// The rows that wait for a number, as the rest of a SELECT. New rows are read by the primary key alone (0.05–0.3 ms).
/// All rows are read by the index of the numbers (0.03–3 ms, but a second and more where 200,000 rows are in flight or
/// could not be purged yet). Rejected: to leave the choice to the server, which takes either index, and on small tables
/// a scan.
fn waiting(look: Look, outbox: &str, number: impl Fn(u64) -> String) -> String {
    let (index, condition) = match look {
        Look::Front(above) => ("PRIMARY", format!("id > {} AND", number(above))),
        Look::Behind | Look::Anywhere => ("idx_seq", String::new()),
        Look::Window { after, to } => ("PRIMARY", format!("id > {after} AND id <= {to} AND")),
    };
    format!("FROM {outbox} FORCE INDEX ({index}) WHERE {condition} seq IS NULL ORDER BY id")
}

/// Reads the position, and whether a row waits: rows of `(kind, text, number)`.
///
/// The highest id is read at READ UNCOMMITTED: a consistent read steps back over every row in flight at the end of the
/// table (9 ms for 50,000).
fn look(look: Look, outbox: &str, state: &str) -> Statement {
    let seen = |waiting: String| {
        format!(
            "(SELECT 0 kind, CAST(value AS BINARY) text, {now} number FROM {state} WHERE name = 'position') \
             UNION ALL (SELECT 1, NULL, id {waiting} LIMIT 1)",
            now = milliseconds("UTC_TIMESTAMP(3)")
        )
    };
    let alone = |params: Vec<Value>| Statement::prepared(seen(waiting(look, outbox, |_| "?".to_owned())), params, 3);
    let next = match look {
        Look::Front(above) => return alone(vec![above.into()]),
        Look::Anywhere => return alone(Vec::new()),
        Look::Behind => "NULL".to_owned(),
        Look::Window { to, .. } => format!("(SELECT MIN(id) FROM {outbox} WHERE id > {to})"),
    };
    let seen = seen(waiting(look, outbox, |number| number.to_string()));
    Statement::packet(
        format!(
            "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; \
             SELECT MAX(id), {next} FROM {outbox}; \
             {seen}"
        ),
        vec![0, 2, 3],
    )
}

/// Reads everything as of one instant: rows of `(kind, text, seq, mark)`.
fn check(seqs: &[u64], outbox: &str, state: &str) -> Statement {
    let mark = milliseconds("stamped");
    let mut sql = format!(
        "(SELECT 0 kind, CAST(value AS BINARY) text, NULL seq, {now} mark FROM {state} WHERE name = 'position') \
         UNION ALL (SELECT 1, CAST(value AS BINARY), NULL, {now} FROM {state} WHERE name = 'schema') \
         UNION ALL (SELECT 2, NULL, seq, {mark} FROM {outbox} FORCE INDEX (idx_seq) \
         WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1)",
        now = milliseconds("UTC_TIMESTAMP(3)")
    );
    if !seqs.is_empty() {
        sql += &format!(
            " UNION ALL (SELECT 3, NULL, seq, {mark} FROM {outbox} FORCE INDEX (idx_seq) WHERE seq IN ({}))",
            marks(padded(seqs.len()))
        );
    }
    Statement::prepared(sql, keys(seqs, |seq| Value::from(*seq)), 4)
}

// --- stamping --------------------------------------------------------------------------------------------------------

/// Makes a row of the state table if it is missing. A row that exists is not touched, so no session waits. Rejected:
/// INSERT IGNORE, which waits for the lock of a row that exists.
fn ensure(name: &str, state: &str) -> String {
    format!(
        "INSERT INTO {state} (name, value, updated) SELECT '{name}', '', UTC_TIMESTAMP(3) FROM (SELECT 1) one \
         WHERE NOT EXISTS (SELECT 1 FROM {state} s WHERE s.name = '{name}')"
    )
}

/// The first half of a stamp. It takes the counter's lock before it reads anything, so that no other process stamps the
/// same rows; it does not wait for the lock. It reads the control rows after the other rows, so that a row which was
/// committed after a control row is never stamped before that control row.
fn claim(look: Look, limit: u32, ensure: bool, outbox: &str, state: &str) -> Statement {
    let waiting = waiting(look, outbox, |number| number.to_string());
    let lock = |columns: &str| format!("SELECT {columns} FROM {state} WHERE name = 'position' FOR UPDATE NOWAIT");
    // The lock comes first, since an INSERT waits while another session has locked the table.
    let (ensured, mut columns) = match ensure {
        true => (
            format!("{}; {}; ", lock("1"), self::ensure("position", state)),
            vec![0, 1, 0],
        ),
        false => (String::new(), vec![0]),
    };
    columns.extend([2, 2, 1, 1]);
    Statement::packet(
        format!(
            "START TRANSACTION; {ensured}\
             {position}; \
             {newest}; \
             SELECT id {waiting} LIMIT {limit}; \
             SELECT id FROM {outbox} FORCE INDEX (idx_channel_seq) WHERE channel = '{CHANNEL}' AND seq IS NULL \
             ORDER BY id LIMIT {limit}",
            position = lock(&format!("CAST(value AS BINARY), {}", milliseconds("UTC_TIMESTAMP(3)"))),
            newest = newest(outbox),
        ),
        columns,
    )
}

/// The second half of a stamp. With the hint the UPDATE touches exactly these rows. Without the hint all servers reach
/// rows that others have in flight, and wait. One statement locks the rows before the UPDATE, with a look-up by the
/// primary key for each row. It fails at once where a row or the whole table is locked. The UPDATE alone would wait for
/// such a lock, on MySQL for longer than our connection lives. The look-ups cost 0.05 ms for one row and 0.5 ms for
/// 200. Rejected: to lock the rows by a list, where the hint has no effect; to lock them by a statement for each row,
/// which takes as long as the UPDATE.
///
/// The position moves by the number of rows that were changed, or not at all. If the count differs, the value is NULL.
/// The column does not take NULL, so this is an error, and the transaction is rolled back.
fn stamp(ids: &[u64], epoch: u32, first: u64, mark: u64, outbox: &str, state: &str) -> Result<Statement, String> {
    let count = ids.len() as u64;
    if count == 0 {
        return Err("there is nothing to stamp".to_owned());
    }
    let numbered = ids.iter().zip(first..);
    let cases: String = numbered.map(|(id, seq)| format!(" WHEN {id} THEN {seq}")).collect();
    let list: Vec<String> = ids.iter().map(u64::to_string).collect();
    let position = Position::Table {
        epoch,
        place: Place {
            seq: first + count - 1,
            mark,
        },
    };
    Ok(Statement::packet(
        format!(
            "{lock}; \
             UPDATE {outbox} FORCE INDEX (PRIMARY) SET stamped = '{stamped}', seq = CASE id{cases} END \
             WHERE id IN ({list}) AND seq IS NULL; \
             UPDATE {state} SET value = IF(ROW_COUNT() = {count}, '{position}', NULL), updated = UTC_TIMESTAMP(3) \
             WHERE name = 'position'; \
             COMMIT",
            lock = lock(ids, outbox),
            stamped = datetime(mark)?,
            list = list.join(","),
        ),
        vec![1, 0, 0, 0],
    ))
}

/// Locks these rows, or fails at once if another session has locked one of them or the table.
fn lock(ids: &[u64], outbox: &str) -> String {
    let ids: String = ids.iter().map(|id| format!(" UNION ALL SELECT {id}")).collect();
    format!(
        "SELECT COUNT(o.id) FROM (SELECT 0 id{ids}) i \
         STRAIGHT_JOIN {outbox} o FORCE INDEX (PRIMARY) ON o.id = i.id FOR UPDATE NOWAIT"
    )
}

/// A new epoch continues after the newest row.
fn renew(epoch: u32, newest: Option<Place>, mark: u64, outbox: &str, state: &str) -> Result<Statement, String> {
    let (first_row, place) = match newest {
        Some(place) => (None, place),
        None => (
            Some(begin(outbox, &format!("'{}'", datetime(mark)?)) + "; "),
            Place { seq: 1, mark },
        ),
    };
    let columns = vec![0; 2 + first_row.iter().len()];
    let position = Position::Table { epoch, place };
    let sql = format!(
        "{}UPDATE {state} SET value = '{position}', updated = UTC_TIMESTAMP(3) WHERE name = 'position'; COMMIT",
        first_row.unwrap_or_default()
    );
    Ok(Statement::packet(sql, columns))
}

/// A mark as the column's text.
fn datetime(mark: u64) -> Result<String, String> {
    let time = i64::try_from(mark)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = time.ok_or_else(|| format!("{mark} ms is no time"))?;
    Ok(time
        .to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S%.3f")
        .to_string())
}

// --- deleting --------------------------------------------------------------------------------------------------------

/// The first half of a deletion: the oldest rows, read without locks. The newest row is never among them, since its
/// number and mark distinguish a table from its copies.
fn old(retention: u64, dead: u64, limit: u32, outbox: &str, state: &str) -> Statement {
    Statement::packet(
        format!(
            "START TRANSACTION; \
             SELECT 1 FROM {state} WHERE name = 'deleter' FOR UPDATE NOWAIT; \
             {ensure}; \
             SELECT id, stamped < UTC_TIMESTAMP(3) - INTERVAL {retention} SECOND FROM {outbox} FORCE INDEX (idx_seq) \
             WHERE seq < (SELECT MAX(seq) FROM {outbox}) ORDER BY seq LIMIT {limit}; \
             SELECT CAST(name AS BINARY) FROM {state} \
             WHERE name LIKE '{HEARTBEAT}%' AND updated < UTC_TIMESTAMP(3) - INTERVAL {dead} SECOND LIMIT {limit}",
            ensure = ensure("deleter", state),
        ),
        vec![0, 1, 0, 2, 1],
    )
}

/// The second half of a deletion: one statement locks all rows, then each row is deleted by its own statement (1.8 ms
/// for 50 rows; MySQL 7 ms). Rejected: a list or a range, which become scans on small tables and wait for rows in
/// flight; a range at REPEATABLE READ even blocks every writer.
fn delete(ids: &[u64], processes: &[u32], outbox: &str, state: &str) -> Statement {
    let (mut sql, mut columns) = (lock(ids, outbox), vec![1]);
    for id in ids {
        sql += &format!("; DELETE FROM {outbox} WHERE id = {id}");
        columns.push(0);
    }
    for process in processes {
        sql += &format!("; {}", silence(*process, state));
        columns.extend([1, 0]);
    }
    columns.push(0);
    Statement::packet(sql + "; COMMIT", columns)
}

/// Writes a heartbeat. Rejected: the INSERT alone, which waits while another session has locked the table.
fn beat(process: u32, position: Position, state: &str) -> Statement {
    let name = format!("{HEARTBEAT}{process:08x}");
    Statement::packet(
        format!(
            "START TRANSACTION; \
             SELECT 1 FROM {state} WHERE name = '{name}' FOR UPDATE NOWAIT; \
             INSERT INTO {state} (name, value, updated) VALUES ('{name}', '{position}', UTC_TIMESTAMP(3)) \
             ON DUPLICATE KEY UPDATE value = VALUES(value), updated = VALUES(updated); \
             COMMIT"
        ),
        vec![0, 1, 0, 0],
    )
}

/// Deletes the heartbeat of a process, or fails at once if another session has locked it.
fn silence(process: u32, state: &str) -> String {
    let row = format!("FROM {state} WHERE name = '{HEARTBEAT}{process:08x}'");
    format!("SELECT 1 {row} FOR UPDATE NOWAIT; DELETE {row}")
}

/// Deletes the heartbeat of the process that asks. No other session needs its row, so the lock lasts for this alone.
fn leave(process: u32, state: &str) -> Statement {
    let sql = format!("START TRANSACTION; {}; COMMIT", silence(process, state));
    Statement::packet(sql, vec![0, 1, 0, 0])
}

// --- rows ------------------------------------------------------------------------------------------------------------

/// The number of columns in [`columns`].
const COLUMNS: usize = 7;

/// The columns of a row. Data that is too long is not fetched.
fn columns(shape: &Shape) -> String {
    format!(
        "id, seq, {}, channel, event, CASE WHEN OCTET_LENGTH(data) <= {} THEN data END, socket_id",
        milliseconds("stamped"),
        shape.max_event_size
    )
}

fn publish(rows: &[NewRow], outbox: &str) -> Result<Statement, String> {
    let bytes: usize = rows
        .iter()
        .map(|row| row.data.len() + row.event.len() + row.channel.len() + 100)
        .sum();
    if rows.len() > MOST_ROWS || bytes > PACKET - (1 << 20) {
        return Err(format!(
            "{} rows with {bytes} bytes are too many for one statement",
            rows.len()
        ));
    }
    let params = rows.iter().flat_map(|row| -> [Value; 4] {
        [
            row.channel.as_str().into(),
            row.event.as_str().into(),
            row.data.as_str().into(),
            row.socket_id.as_deref().into(),
        ]
    });
    let marks = vec!["(?, ?, ?, ?, UTC_TIMESTAMP(3))"; rows.len()].join(", ");
    Ok(Statement::prepared(
        format!("INSERT INTO {outbox} (channel, event, data, socket_id, created) VALUES {marks}"),
        params.collect(),
        0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_row(data: String) -> NewRow {
        NewRow {
            channel: "c".into(),
            event: "e".into(),
            data,
            socket_id: None,
        }
    }

    #[test]
    fn too_many_rows_are_refused_before_they_are_sent() {
        assert!(publish(&[new_row("x".repeat(15 << 20))], "o").is_err());
        assert!(publish(&vec![new_row("1".into()); MOST_ROWS + 1], "o").is_err());
        assert!(publish(&vec![new_row("1".into()); 100], "o").is_ok());
    }

    #[test]
    fn a_stamp_moves_the_position_by_as_many_numbers_as_it_has_rows() {
        let Ok(Statement::Packet { sql, .. }) = stamp(&[7, 3, 9], 0xab, 41, 1_767_225_600_123, "o", "s") else {
            panic!("a stamp is a packet");
        };
        let set = "stamped = '2026-01-01 00:00:00.123', seq = CASE id WHEN 7 THEN 41 WHEN 3 THEN 42 WHEN 9 THEN 43 END";
        assert!(sql.contains(set), "{sql}");
        assert!(
            sql.contains("IF(ROW_COUNT() = 3, 'o000000ab:43.mjuohs3f', NULL)"),
            "{sql}"
        );
        assert!(stamp(&[], 1, 1, 1, "o", "s").is_err());
        assert!(
            stamp(&[1], 1, 1, u64::MAX, "o", "s").is_err(),
            "the mark is no valid time"
        );
    }
}
