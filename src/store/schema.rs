//! The SQL that makes the outbox's tables. It is one file of the Joomla package, which installs it unchanged.
//! Administrators can print it with their site's prefix. Nothing here runs it.

/// The text of the file.
const SQL: &str = include_str!("../../joomla/com_websockets/admin/sql/install.mysql.utf8.sql");

/// The two tables, without the prefix.
pub(super) const OUTBOX: &str = "websockets_outbox";
pub(super) const STATE: &str = "websockets_state";

/// The value of the state table's row `schema` for tables made by this SQL.
pub const VERSION: &str = "2";

/// The beginning of a heartbeat's name in the state table; the process follows in eight hexadecimal digits.
pub const HEARTBEAT: &str = "process.";

/// Why tables of this version cannot be used, as a sentence. `None`: they can be used.
pub fn objection(version: Option<&str>) -> Option<String> {
    match version {
        Some(VERSION) => None,
        Some("1") => Some(format!(
            "the outbox's tables are of version 1, this server needs version {VERSION}: update the Joomla package, or run \
             `jsocketd schema --update`"
        )),
        Some(version) => Some(format!(
            "the outbox's tables are of version {version}, this server knows {VERSION}"
        )),
        None => Some("the state table does not say which version the outbox's tables are".to_owned()),
    }
}

/// The statements for a site whose tables begin with `prefix` (`jos_`): each ends with a semicolon at the end of a
/// line.
pub fn schema(prefix: &str) -> String {
    SQL.replace("#__", prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_put_where_joomla_puts_it() {
        let sql = schema("abc_");
        assert!(!sql.contains("#__"), "{sql}");
        for made in ["`abc_websockets_outbox` (", "`abc_websockets_state` ("] {
            assert!(sql.contains(&format!("CREATE TABLE IF NOT EXISTS {made}")), "{sql}");
        }
        assert!(
            sql.contains(&format!("('schema', '{VERSION}', UTC_TIMESTAMP(3))")),
            "{sql}"
        );
    }

    #[test]
    fn every_semicolon_ends_a_statement() {
        let comments = SQL.lines().filter(|line| line.starts_with("--"));
        for comment in comments {
            assert!(!comment.contains([';', '\'', '"']), "{comment}");
        }
        assert_eq!(schema("x_").matches(';').count(), 5);
    }

    /// `Installer::splitSql` of Joomla 4.4, 5 and 6, where it is the same. Left out are its marker for statements that
    /// may fail, and the semicolon that it adds to a last statement without one. It gives backquotes no meaning, and a
    /// `#` begins a comment only if it does not begin the prefix.
    fn split_as_joomla(sql: &str) -> Vec<String> {
        let at = |i: usize, text: &str| sql[i..].starts_with(text);
        let (mut queries, mut query, mut start) = (Vec::new(), String::new(), 0);
        // The end of the open string or comment, and whether it is a comment.
        let mut open: Option<(&str, bool)> = None;
        let mut i = 0;
        while i < sql.len() {
            match open {
                Some((end, comment)) if at(i, end) => {
                    i += end.len() - 1;
                    start = if comment { i + 1 } else { start };
                    open = None;
                }
                Some(_) => {}
                None => {
                    let hash = at(i, "#") && !at(i, "#__");
                    let hint = at(i, "/*!") || at(i, "/*+");
                    open = match &sql[i..] {
                        rest if rest.starts_with('"') => Some(("\"", false)),
                        rest if rest.starts_with('\'') => Some(("'", false)),
                        rest if rest.starts_with("--") || hash => Some(("\n", true)),
                        rest if rest.starts_with("/*") && !hint => Some(("*/", true)),
                        _ => None,
                    };
                    if open.is_some_and(|(_, comment)| comment) {
                        query += &sql[start..i];
                    }
                }
            }
            if open.is_some_and(|(_, comment)| comment) {
                start = i + 1;
            }
            let ends = open.is_none() && at(i, ";");
            if ends || i + 1 == sql.len() {
                query += sql.get(start..=i).unwrap_or_default();
                let whole = std::mem::take(&mut query);
                queries.extend(Some(whole.trim().to_owned()).filter(|whole| !whole.is_empty()));
                start = i + 1;
            }
            i += 1;
        }
        queries
    }

    #[test]
    fn joomla_s_installer_finds_five_statements_and_nothing_to_update() {
        let statements = split_as_joomla(SQL);
        for (statement, begins) in statements.iter().zip([
            "CREATE TABLE IF NOT EXISTS `#__websockets_outbox` (",
            "CREATE TABLE IF NOT EXISTS `#__websockets_state` (",
            "INSERT IGNORE INTO `#__websockets_state` ",
            "INSERT INTO `#__websockets_outbox` ",
            "INSERT IGNORE INTO `#__websockets_state` ",
        ]) {
            assert!(statement.starts_with(begins) && statement.ends_with(';'), "{statement}");
            assert_eq!(statement.matches(';').count(), 1, "{statement}");
        }
        assert_eq!(statements.len(), 5, "{statements:#?}");
        for update in [
            include_str!("../../joomla/com_websockets/admin/sql/updates/mysql/0.1.0.sql"),
            include_str!("../../joomla/com_websockets/admin/sql/updates/mysql/0.2.0.sql"),
        ] {
            assert_eq!(split_as_joomla(update), [""; 0]);
        }
        // Cases that the files do not have.
        let other = "# a; 'b\nSELECT ';', \"'\", `#__x`; /* c; */ SELECT 2 -- d;";
        assert_eq!(split_as_joomla(other), ["SELECT ';', \"'\", `#__x`;", "SELECT 2"]);
    }
}
