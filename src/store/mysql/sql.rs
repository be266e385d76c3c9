//! The statements, one for each kind of question. They read Joomla's tables by key and without locks. Only our own two
//! tables are written.

use mysql::Value;

use super::driver::Statement;
use super::outbox;
use super::session::GROUP_CONCAT;
use super::shape::{Shape, keys, marks, padded, quoted};
use crate::config::ItemType;
use crate::store::{Answer, Question, SessionId, SessionRow, Text};

/// The answer to a question that asks for nothing.
pub(super) fn trivial(question: &Question) -> Option<Answer> {
    match question {
        Question::Sessions { ids, .. } if ids.is_empty() => Some(Answer::Sessions(Vec::new())),
        Question::Users(ids) if ids.is_empty() => Some(Answer::Users(Vec::new())),
        Question::Items { ids, .. } if ids.is_empty() => Some(Answer::Items(Vec::new())),
        Question::Categories(ids) if ids.is_empty() => Some(Answer::Categories(Vec::new())),
        Question::Publish(rows) if rows.is_empty() => Some(Answer::Added(0)),
        // A channel's name is ASCII, and the server refuses to compare another text with the column.
        Question::Channel(range) if !range.channel.is_ascii() => Some(Answer::Rows(Vec::new())),
        _ => None,
    }
}

/// The statement of a question. The question must not be trivial.
///
/// # Errors
/// A sentence, if the question cannot be asked.
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
        other => return outbox::statement(other, shape),
    })
}

/// All that Joomla's rules about a visitor need, in one statement: the session, its user, the user's groups and second
/// factor. The session text is fetched only where it is wanted, and only if it is no longer than
/// [`SessionRow::LONGEST_TEXT`].
fn sessions(ids: &[SessionId], wanted: Text, shape: &Shape) -> Statement {
    let mfa = mfa(shape);
    let needed = match wanted {
        Text::Never => "FALSE".to_owned(),
        // Without metadata a row names no client, and only the text names the user.
        Text::IfNeeded => format!("(s.client_id IS NULL AND COALESCE(s.userid, 0) = 0) OR {mfa}"),
        Text::OfUsers => "s.userid > 0".to_owned(),
        Text::Always => "TRUE".to_owned(),
    };
    Statement::prepared(
        format!(
            "SELECT s.session_id, s.client_id, s.guest, s.time, s.userid, {user}, \
             CASE WHEN OCTET_LENGTH(s.data) <= {longest} AND ({needed}) THEN s.data END, UNIX_TIMESTAMP() \
             FROM {session} s LEFT JOIN {users} u ON u.id = s.userid WHERE s.session_id IN ({keys})",
            user = user_columns(shape, &mfa),
            longest = SessionRow::LONGEST_TEXT,
            session = shape.table("session"),
            users = shape.table("users"),
            keys = marks(padded(ids.len())),
        ),
        keys(ids, |id| Value::Bytes(id.expose().as_bytes().to_vec())),
        5 + USER_COLUMNS + 2,
    )
}

fn users(ids: &[u32], shape: &Shape) -> Statement {
    Statement::prepared(
        format!(
            "SELECT {user} FROM {users} u WHERE u.id IN ({keys})",
            user = user_columns(shape, &mfa(shape)),
            users = shape.table("users"),
            keys = marks(padded(ids.len())),
        ),
        keys(ids, |id| Value::from(*id)),
        USER_COLUMNS,
    )
}

/// The number of columns in [`user_columns`].
pub(super) const USER_COLUMNS: usize = 7;

fn user_columns(shape: &Shape, mfa: &str) -> String {
    format!(
        "u.id, u.name, u.username, u.block, {reset}, {mfa}, \
         (SELECT GROUP_CONCAT(g.group_id SEPARATOR ',') FROM {map} g WHERE g.user_id = u.id)",
        reset = if shape.survey.require_reset {
            "u.requireReset"
        } else {
            "0"
        },
        map = shape.table("user_usergroup_map"),
    )
}

/// Whether the user has a second factor. Backup codes do not count: they are made together with a second factor, and
/// remain when it is removed.
fn mfa(shape: &Shape) -> String {
    match shape.survey.mfa {
        true => format!(
            "EXISTS (SELECT 1 FROM {} m WHERE m.user_id = u.id AND m.method <> 'backupcodes')",
            shape.table("user_mfa")
        ),
        false => "FALSE".to_owned(),
    }
}

/// The assets that Joomla looks up: the root, those right below it, and those named after a component. The last ones
/// are found also when the tree is in disorder. An asset's name and a component's element may have different
/// collations, which the server does not compare, so the element is converted.
///
/// If the collation is not known, the statement reads every name; large sites have a hundred thousand of them.
fn assets(shape: &Shape) -> Statement {
    let assets = shape.table("assets");
    let columns = "a.name, a.rules, a.lft, a.rgt";
    let sql = match &shape.survey.names {
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

/// The most steps of a chain of categories. A chain that is longer, or that runs in a circle, does not reach the root.
const DEEPEST: u32 = 64;

/// Common table expressions for chains of categories. For each category that `starts` selects, `chain` has a row with
/// the category and all categories above it, from the root down, as `id/access/published/lft/rgt/level,…`. Each step
/// goes to the parent, which an index finds. Rejected: the nested set alone, which would read half of all categories
/// for each item.
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
    // Times are read as text: the driver's types have no zero date, and a table may store times in another type.
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
        keys = marks(padded(ids.len())),
    );
    let sql = match item.category.is_empty() {
        true => {
            format!("SELECT f.id, f.access, f.state, f.up, f.down, 0, NULL, NULL, UNIX_TIMESTAMP() FROM ({found}) f")
        }
        false => format!(
            "WITH RECURSIVE found AS ({found}), {chains} \
             SELECT f.id, f.access, f.state, f.up, f.down, 1, f.category, chain.steps, UNIX_TIMESTAMP() \
             FROM found f LEFT JOIN chain ON chain.start = f.category",
            chains = chains("SELECT category FROM found", shape)
        ),
    };
    Statement::prepared(sql, keys(ids, |id| Value::from(*id)), 9)
}

fn categories(ids: &[u64], shape: &Shape) -> Statement {
    Statement::prepared(
        format!(
            "WITH RECURSIVE {chains} SELECT c.id, c.extension, chain.steps FROM chain JOIN {table} c ON c.id = chain.start",
            chains = chains(&marks(padded(ids.len())), shape),
            table = shape.table("categories"),
        ),
        keys(ids, |id| Value::from(*id)),
        3,
    )
}

fn plain(sql: String, columns: usize) -> Statement {
    Statement::prepared(sql, Vec::new(), columns)
}

/// Whether a GROUP_CONCAT may have been cut.
pub(super) fn is_cut(concat: &[u8]) -> bool {
    concat.len() >= GROUP_CONCAT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MOST_KEYS;

    #[test]
    fn all_questions_together_have_no_more_texts_than_are_kept_prepared() {
        let shape = Shape::new("j_", vec![ItemType::article()], 1000);
        let id = |n: usize| SessionId::parse(&format!("s{n}")).expect("a session id");
        let mut texts = std::collections::BTreeSet::new();
        let text_of = |question: &Question| match statement(question, &shape) {
            Ok(Statement::Prepared { sql, .. }) => sql,
            other => panic!("not prepared: {other:?}"),
        };
        for count in 1..=MOST_KEYS {
            for text in [Text::Never, Text::IfNeeded, Text::OfUsers, Text::Always] {
                let ids = (0..count).map(id).collect();
                texts.insert(text_of(&Question::Sessions { ids, text }));
            }
            let ids: Vec<u64> = (0..count as u64).collect();
            for question in [
                Question::Users(ids.iter().map(|id| *id as u32).collect()),
                Question::Items {
                    kind: 0,
                    ids: ids.clone(),
                },
                Question::Categories(ids.clone()),
                Question::Check(ids),
            ] {
                texts.insert(text_of(&question));
            }
        }
        assert_eq!(texts.len(), 4 * 4 + 3 * 4 + 4, "{texts:#?}");
    }
}
