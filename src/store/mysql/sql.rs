//! The statements, one for each kind of question. They read Joomla's tables by key and lock nothing of them; only the two
//! tables of our own are written. Lists of keys are filled up to few lengths by repeating the last key, so that a handful of
//! prepared statements serves them all.

use std::ops::RangeInclusive;

use mysql::Value;

use super::session::GROUP_CONCAT;
use super::survey::{Column, Survey};
use crate::config::ItemType;
use crate::store::{Answer, MOST_KEYS, MOST_RUNS, NewRow, Question, SessionId, SessionRow, Text};

/// Lengths of lists of keys, …
const KEYS: [usize; 4] = [1, 4, 16, MOST_KEYS];

/// … and of lists of ranges.
const RUNS: [usize; 5] = [0, 1, 4, 16, MOST_RUNS];

/// The most rows that one statement may add: each has four parameters, of which there are 65,535 at the most.
const MOST_ROWS: usize = 10_000;

/// The tables of Joomla's that are asked for, and the two of our own.
const TABLES: [&str; 13] = [
    "session",
    "users",
    "user_mfa",
    "user_usergroup_map",
    "usergroups",
    "viewlevels",
    "assets",
    "extensions",
    "categories",
    "content",
    "schemas",
    OUTBOX,
    STATE,
];

const OUTBOX: &str = "websockets_outbox";
const STATE: &str = "websockets_state";

/// A text with its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    pub sql: String,
    pub params: Vec<Value>,
    /// How many columns its rows have.
    pub columns: usize,
}

/// What the statements depend on.
#[derive(Debug)]
pub(super) struct Shape {
    prefix: String,
    items: Vec<ItemType>,
    max_event_size: usize,
    /// Whether second factors have a table.
    mfa: bool,
    /// Whether users have a column `requireReset`.
    require_reset: bool,
    /// Character set and collation of the assets' names, if they are known.
    names: Option<(String, String)>,
}

impl Shape {
    pub(super) fn new(prefix: &str, items: Vec<ItemType>, max_event_size: usize) -> Self {
        Self {
            prefix: prefix.to_owned(),
            items,
            max_event_size,
            mfa: true,
            require_reset: true,
            names: None,
        }
    }

    /// Takes note of what there is.
    pub(super) fn learn(&mut self, survey: &Survey) {
        self.mfa = survey.mfa;
        self.require_reset = survey.require_reset;
        let names = |column: &&Column| column.table == "assets" && column.name == "name";
        let collation = survey.columns.iter().find(names).map(|column| &column.collation);
        let plain = |text: &&String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        self.names = collation.filter(plain).and_then(|collation| {
            let (charset, _) = collation.split_once('_')?;
            Some((charset.to_owned(), collation.clone()))
        });
    }

    /// The names of all tables, without the prefix.
    pub(super) fn tables(&self) -> Vec<&str> {
        let mut tables = TABLES.to_vec();
        tables.extend(self.items.iter().map(|item| item.table.as_str()));
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// A table's name as the server knows it.
    pub(super) fn full_name(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    /// … quoted.
    pub(super) fn table(&self, table: &str) -> String {
        quoted(&self.full_name(table))
    }
}

/// The answer to a question that asks for nothing.
pub(super) fn trivial(question: &Question) -> Option<Answer> {
    match question {
        Question::Sessions { ids, .. } if ids.is_empty() => Some(Answer::Sessions(Vec::new())),
        Question::Users(ids) if ids.is_empty() => Some(Answer::Users(Vec::new())),
        Question::Items { ids, .. } if ids.is_empty() => Some(Answer::Items(Vec::new())),
        Question::Categories(ids) if ids.is_empty() => Some(Answer::Categories(Vec::new())),
        Question::Publish(rows) if rows.is_empty() => Some(Answer::Ids(Vec::new())),
        // Names have no other characters, and the server refuses to compare such a text with the column's.
        Question::Channel { channel, .. } if !channel.is_ascii() => Some(Answer::Rows(Vec::new())),
        _ => None,
    }
}

/// The statement of a question, which is not a trivial one.
///
/// # Errors
/// A sentence, when it cannot be asked.
pub(super) fn statement(question: &Question, shape: &Shape) -> Result<Statement, String> {
    Ok(match question {
        Question::Sessions { ids, text } => sessions(ids, *text, shape),
        Question::Users(ids) => users(ids, shape),
        Question::Groups => plain(
            format!("SELECT id, parent_id, lft, rgt FROM {}", shape.table("usergroups")),
            4,
        ),
        Question::Levels => plain(format!("SELECT id, rules FROM {}", shape.table("viewlevels")), 2),
        Question::Assets => assets(shape),
        Question::Extensions => extensions(shape),
        Question::Items { kind, ids } => match shape.items.get(*kind) {
            Some(item) => items(item, ids, shape),
            None => return Err(format!("there is no item type {kind}")),
        },
        Question::Categories(ids) => categories(ids, shape),
        Question::Tail { after, runs, limit } => tail(*after, runs, *limit, shape),
        Question::Probe(ids) => Statement {
            sql: format!(
                "SELECT id FROM {} WHERE id BETWEEN ? AND ? FOR UPDATE NOWAIT",
                shape.table(OUTBOX)
            ),
            params: between(ids),
            columns: 1,
        },
        Question::Channel { channel, ids, limit } => channel_rows(channel, ids, *limit, shape),
        Question::State => state(shape),
        Question::Write { name, value } => Statement {
            sql: format!(
                "INSERT INTO {} (name, value, updated) VALUES (?, ?, UTC_TIMESTAMP(3)) \
                 ON DUPLICATE KEY UPDATE value = VALUES(value), updated = VALUES(updated)",
                shape.table(STATE)
            ),
            params: vec![name.as_str().into(), value.as_str().into()],
            columns: 0,
        },
        Question::Forget { prefix, seconds } => Statement {
            sql: format!(
                "DELETE FROM {} WHERE name LIKE ? ESCAPE '!' AND updated <= UTC_TIMESTAMP(3) - INTERVAL ? SECOND",
                shape.table(STATE)
            ),
            params: vec![beginning(prefix).into(), (*seconds).into()],
            columns: 0,
        },
        Question::Lock => plain(format!("SELECT GET_LOCK({}, 0)", lock(shape)), 1),
        Question::Unlock => plain(format!("SELECT RELEASE_LOCK({})", lock(shape)), 1),
        Question::Delete(ids) => Statement {
            sql: format!("DELETE FROM {} WHERE id BETWEEN ? AND ?", shape.table(OUTBOX)),
            params: between(ids),
            columns: 0,
        },
        Question::Publish(rows) => publish(rows, shape)?,
    })
}

/// Joomla's rules of a visitor in one statement: the session, its user, the user's groups and second factor. The text only
/// where it is wanted, and only if it is no longer than what is read of it.
fn sessions(ids: &[SessionId], wanted: Text, shape: &Shape) -> Statement {
    let mfa = mfa(shape);
    let needed = match wanted {
        Text::Never => "FALSE".to_owned(),
        // Without metadata a row names no client, and the user stands in the text alone.
        Text::IfNeeded => format!("(s.client_id IS NULL AND COALESCE(s.userid, 0) = 0) OR {mfa}"),
        Text::Always => "TRUE".to_owned(),
    };
    Statement {
        sql: format!(
            "SELECT s.session_id, s.client_id, s.guest, s.time, s.userid, {user}, \
             CASE WHEN OCTET_LENGTH(s.data) <= {longest} AND ({needed}) THEN s.data END \
             FROM {session} s LEFT JOIN {users} u ON u.id = s.userid WHERE s.session_id IN ({keys})",
            user = user_columns(shape, &mfa),
            longest = SessionRow::LONGEST_TEXT,
            session = shape.table("session"),
            users = shape.table("users"),
            keys = marks(padded(ids.len(), &KEYS)),
        ),
        params: keys(ids, |id| Value::Bytes(id.expose().as_bytes().to_vec())),
        columns: 5 + USER_COLUMNS + 1,
    }
}

fn users(ids: &[u32], shape: &Shape) -> Statement {
    Statement {
        sql: format!(
            "SELECT {user} FROM {users} u WHERE u.id IN ({keys})",
            user = user_columns(shape, &mfa(shape)),
            users = shape.table("users"),
            keys = marks(padded(ids.len(), &KEYS)),
        ),
        params: keys(ids, |id| Value::from(*id)),
        columns: USER_COLUMNS,
    }
}

/// What [`user_columns`] are.
pub(super) const USER_COLUMNS: usize = 7;

fn user_columns(shape: &Shape, mfa: &str) -> String {
    format!(
        "u.id, u.name, u.username, u.block, {reset}, {mfa}, \
         (SELECT GROUP_CONCAT(g.group_id SEPARATOR ',') FROM {map} g WHERE g.user_id = u.id)",
        reset = if shape.require_reset { "u.requireReset" } else { "0" },
        map = shape.table("user_usergroup_map"),
    )
}

/// Whether the user has a second factor. Backup codes are made along with one and stay when it goes.
fn mfa(shape: &Shape) -> String {
    match shape.mfa {
        true => format!(
            "EXISTS (SELECT 1 FROM {} m WHERE m.user_id = u.id AND m.method <> 'backupcodes')",
            shape.table("user_mfa")
        ),
        false => "FALSE".to_owned(),
    }
}

/// The root, whatever is right below it, and whatever is named after a component: that is where Joomla looks, and it is there
/// also when the tree is in disorder. Names and elements may have different collations, which do not compare.
///
/// Where the collation is not known, every name is looked at, of which large sites have a hundred thousand.
fn assets(shape: &Shape) -> Statement {
    let assets = shape.table("assets");
    let columns = "a.name, a.rules, a.lft, a.rgt";
    let sql = match &shape.names {
        Some((charset, collation)) => format!(
            "SELECT {columns} FROM {assets} a WHERE a.name = 'root.1' \
             UNION ALL SELECT {columns} FROM {assets} r JOIN {assets} a ON a.parent_id = r.id \
             WHERE r.name = 'root.1' AND a.name NOT LIKE '%.%' \
             UNION ALL SELECT {columns} FROM (SELECT DISTINCT element FROM {extensions} WHERE type = 'component') e \
             JOIN {assets} a ON a.name = CONVERT(e.element USING {charset}) COLLATE {collation}",
            extensions = shape.table("extensions")
        ),
        None => format!("SELECT {columns} FROM {assets} a WHERE a.name = 'root.1' OR a.name NOT LIKE '%.%'"),
    };
    plain(sql, 4)
}

fn extensions(shape: &Shape) -> Statement {
    let sql = format!(
        "SELECT type, element, enabled, params, manifest_cache FROM {} \
         WHERE element IN ('com_users', 'com_websockets', 'joomla') AND type IN ('component', 'file')",
        shape.table("extensions")
    );
    plain(sql, 5)
}

/// The steps of a chain of categories at the most; a longer one, or one that bites its own tail, does not reach the root.
const DEEPEST: u32 = 64;

/// Common tables for chains of categories: `chain` has, for each of the categories that `starts` selects, itself and all above
/// it down from the root as `id/access/published/lft/rgt/level,…`. The steps go by parent, which is an index away; by the
/// nested set alone each item would cost a look at half of all categories.
fn chains(starts: &str, shape: &Shape) -> String {
    let categories = shape.table("categories");
    format!(
        "up (start, depth, id, parent, access, published, lft, rgt, level) AS (\
         SELECT c.id, 0, c.id, c.parent_id, c.access, c.published, c.lft, c.rgt, c.level FROM {categories} c WHERE c.id IN ({starts}) \
         UNION ALL \
         SELECT up.start, up.depth + 1, p.id, p.parent_id, p.access, p.published, p.lft, p.rgt, p.level \
         FROM up JOIN {categories} p ON p.id = up.parent WHERE up.depth < {DEEPEST}), \
         chain AS (SELECT start, GROUP_CONCAT(CONCAT(id, '/', COALESCE(access, 0), '/', COALESCE(published, 0), '/', \
         lft, '/', rgt, '/', level) ORDER BY depth DESC SEPARATOR ',') steps FROM up GROUP BY start)"
    )
}

fn items(item: &ItemType, ids: &[u64], shape: &Shape) -> Statement {
    let column = |name: &str, otherwise: &str| match name.is_empty() {
        true => otherwise.to_owned(),
        false => format!("i.{}", quoted(name)),
    };
    // As text: a zero date has no place in a driver's types, and another type may be somebody's idea of a time.
    let time = |name: &str| match name.is_empty() {
        true => "NULL".to_owned(),
        false => format!("CAST(i.{} AS CHAR)", quoted(name)),
    };
    let found = format!(
        "SELECT {id} id, {access} access, {state} state, {up} up, {down} down, {category} category FROM {table} i WHERE {id} IN ({keys})",
        id = column(&item.id, "NULL"),
        access = column(&item.access, "1"),
        state = column(&item.state, "1"),
        up = time(&item.publish_up),
        down = time(&item.publish_down),
        category = column(&item.category, "NULL"),
        table = shape.table(&item.table),
        keys = marks(padded(ids.len(), &KEYS)),
    );
    let sql = match item.category.is_empty() {
        true => format!("SELECT f.id, f.access, f.state, f.up, f.down, 0, NULL, NULL FROM ({found}) f"),
        false => format!(
            "WITH RECURSIVE found AS ({found}), {chains} \
             SELECT f.id, f.access, f.state, f.up, f.down, 1, f.category, chain.steps \
             FROM found f LEFT JOIN chain ON chain.start = f.category",
            chains = chains("SELECT category FROM found", shape)
        ),
    };
    Statement {
        sql,
        params: keys(ids, |id| Value::from(*id)),
        columns: 8,
    }
}

fn categories(ids: &[u64], shape: &Shape) -> Statement {
    Statement {
        sql: format!(
            "WITH RECURSIVE {chains} SELECT c.id, c.extension, chain.steps FROM chain JOIN {table} c ON c.id = chain.start",
            chains = chains(&marks(padded(ids.len(), &KEYS)), shape),
            table = shape.table("categories"),
        ),
        params: keys(ids, |id| Value::from(*id)),
        columns: 3,
    }
}

/// The columns of an outbox row; data that is too long stays where it is.
fn outbox_columns(shape: &Shape) -> String {
    format!(
        "id, channel, event, CASE WHEN OCTET_LENGTH(data) <= {} THEN data END, socket_id",
        shape.max_event_size
    )
}

fn tail(after: u64, runs: &[RangeInclusive<u64>], limit: u32, shape: &Shape) -> Statement {
    debug_assert!(runs.len() <= MOST_RUNS, "a question has few runs");
    let mut params = vec![Value::from(after)];
    let count = padded(runs.len(), &RUNS);
    for n in 0..count {
        params.extend(between(&runs[n.min(runs.len() - 1)]));
    }
    params.push(limit.into());
    Statement {
        sql: format!(
            "SELECT {} FROM {} WHERE id > ?{} ORDER BY id LIMIT ?",
            outbox_columns(shape),
            shape.table(OUTBOX),
            " OR id BETWEEN ? AND ?".repeat(count)
        ),
        params,
        columns: 5,
    }
}

fn channel_rows(channel: &str, ids: &RangeInclusive<u64>, limit: u32, shape: &Shape) -> Statement {
    let mut params = vec![channel.into()];
    params.extend(between(ids));
    params.push(limit.into());
    Statement {
        sql: format!(
            "SELECT {} FROM {} WHERE channel = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            outbox_columns(shape),
            shape.table(OUTBOX)
        ),
        params,
        columns: 5,
    }
}

/// Both tables at once, each row with its kind: an entry, what the server knows of the outbox table, its first and last id,
/// the row that was marked.
/// Texts are bytes here: the collations of their columns have nothing in common.
fn state(shape: &Shape) -> Statement {
    Statement {
        sql: format!(
            "SELECT 'entry', CAST(name AS BINARY), CAST(value AS BINARY), \
             TIMESTAMPDIFF(MICROSECOND, updated, UTC_TIMESTAMP(3)) DIV 1000, NULL FROM {state} \
             UNION ALL SELECT 'table', CAST(CREATE_TIME AS BINARY), NULL, AUTO_INCREMENT, NULL \
             FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? \
             UNION ALL SELECT 'rows', (SELECT CAST(created AS BINARY) FROM {outbox} ORDER BY id DESC LIMIT 1), NULL, \
             MIN(id), MAX(id) FROM {outbox} \
             UNION ALL SELECT 'mark', CAST(o.created AS BINARY), NULL, o.id, NULL FROM {state} s JOIN {outbox} o \
             ON o.id = CAST(SUBSTRING_INDEX(SUBSTRING_INDEX(s.value, ' ', 1), ':', -1) AS UNSIGNED) WHERE s.name = 'mark'",
            state = shape.table(STATE),
            outbox = shape.table(OUTBOX)
        ),
        params: vec![shape.full_name(OUTBOX).into()],
        columns: 5,
    }
}

/// The name of the lock that whoever deletes rows holds. Such names belong to the whole server and have 64 characters at the
/// most, so it is `jsocketd.` and the MD5 of `DATABASE.TABLE`, which PHP can tell too.
fn lock(shape: &Shape) -> String {
    format!(
        "CONCAT('jsocketd.', MD5(CONCAT(DATABASE(), '.', '{}')))",
        shape.full_name(OUTBOX).replace('\\', "\\\\").replace('\'', "''")
    )
}

fn publish(rows: &[NewRow], shape: &Shape) -> Result<Statement, String> {
    let bytes: usize = rows
        .iter()
        .map(|row| row.data.len() + row.event.len() + row.channel.len() + 100)
        .sum();
    if rows.len() > MOST_ROWS || bytes > super::PACKET - (1 << 20) {
        return Err(format!(
            "{} rows with {bytes} bytes are too many for one statement",
            rows.len()
        ));
    }
    let mut params = Vec::with_capacity(rows.len() * 4);
    for row in rows {
        params.push(row.channel.as_str().into());
        params.push(row.event.as_str().into());
        params.push(row.data.as_str().into());
        params.push(row.socket_id.as_deref().into());
    }
    let marks = vec!["(?, ?, ?, ?, UTC_TIMESTAMP(3))"; rows.len()];
    Ok(Statement {
        sql: format!(
            "INSERT INTO {} (channel, event, data, socket_id, created) VALUES {}",
            shape.table(OUTBOX),
            marks.join(", ")
        ),
        params,
        columns: 0,
    })
}

fn plain(sql: String, columns: usize) -> Statement {
    Statement {
        sql,
        params: Vec::new(),
        columns,
    }
}

fn between(ids: &RangeInclusive<u64>) -> Vec<Value> {
    vec![(*ids.start()).into(), (*ids.end()).into()]
}

/// The length that a list of `count` is filled up to.
fn padded(count: usize, lengths: &[usize]) -> usize {
    lengths.iter().copied().find(|length| *length >= count).unwrap_or(count)
}

/// The keys, the last of them repeated.
fn keys<T>(ids: &[T], value: impl Fn(&T) -> Value) -> Vec<Value> {
    debug_assert!(ids.len() <= MOST_KEYS, "a question has at most {MOST_KEYS} keys");
    let mut values: Vec<Value> = ids.iter().map(value).collect();
    if let Some(last) = values.last().cloned() {
        values.resize(padded(ids.len(), &KEYS), last);
    }
    values
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(",")
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A pattern of what begins so, with `!` as the escape character.
fn beginning(prefix: &str) -> String {
    let mut pattern = String::new();
    for c in prefix.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Whether a GROUP_CONCAT may have been cut.
pub(super) fn is_cut(concat: &[u8]) -> bool {
    concat.len() >= GROUP_CONCAT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_few_lengths_and_repeat_their_last_key() {
        for (count, length) in [(1, 1), (2, 4), (4, 4), (5, 16), (16, 16), (17, 100), (100, 100)] {
            let ids: Vec<u64> = (1..=count).collect();
            let values = keys(&ids, |id| Value::from(*id));
            assert_eq!(values.len(), length);
            assert_eq!(
                values[..ids.len()],
                ids.iter().map(|id| Value::from(*id)).collect::<Vec<_>>()
            );
            assert!(values[ids.len()..].iter().all(|value| *value == Value::from(count)));
        }
    }

    #[test]
    fn all_questions_together_have_no_more_texts_than_are_kept_prepared() {
        let shape = Shape::new("j_", vec![ItemType::article()], 1000);
        let id = |n: usize| SessionId::parse(&format!("s{n}")).expect("a session id");
        let mut texts = std::collections::BTreeSet::new();
        for count in 1..=MOST_KEYS {
            for text in [Text::Never, Text::IfNeeded, Text::Always] {
                let ids = (0..count).map(id).collect();
                texts.insert(statement(&Question::Sessions { ids, text }, &shape).expect("known").sql);
            }
            let ids: Vec<u64> = (0..count as u64).collect();
            let runs = ids.iter().take(MOST_RUNS).map(|id| *id..=*id).collect();
            for question in [
                Question::Users(ids.iter().map(|id| *id as u32).collect()),
                Question::Items {
                    kind: 0,
                    ids: ids.clone(),
                },
                Question::Categories(ids),
                Question::Tail {
                    after: 1,
                    runs,
                    limit: 1,
                },
            ] {
                texts.insert(statement(&question, &shape).expect("known").sql);
            }
        }
        assert_eq!(texts.len(), 3 * 4 + 3 * 4 + 4, "{texts:#?}");
    }

    #[test]
    fn a_pattern_matches_its_beginning_only() {
        assert_eq!(beginning("position."), "position.%");
        assert_eq!(beginning("a_b%c!"), "a!_b!%c!!%");
    }

    #[test]
    fn no_name_ends_its_quotes() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert!(lock(&Shape::new("it's\\", Vec::new(), 0)).contains("'it''s\\\\websockets_outbox'"));
    }

    #[test]
    fn too_many_rows_are_refused_before_they_are_sent() {
        let shape = Shape::new("j_", Vec::new(), 0);
        let row = |data: String| NewRow {
            channel: "c".into(),
            event: "e".into(),
            data,
            socket_id: None,
        };
        assert!(publish(&[row("x".repeat(15 << 20))], &shape).is_err());
        assert!(publish(&vec![row("1".into()); MOST_ROWS + 1], &shape).is_err());
        assert!(publish(&vec![row("1".into()); 100], &shape).is_ok());
    }
}
