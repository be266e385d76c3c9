//! The SQL that makes the outbox's tables: one file, which the Joomla package installs as it is and which people can have with
//! their site's prefix. Nothing here runs it.

/// What the state table's row `schema` says of tables made by this SQL.
pub const VERSION: &str = "1";

/// The statements for a site whose tables begin with `prefix` (`jos_`): each ends with a semicolon at the end of a line.
pub fn schema(prefix: &str) -> String {
    include_str!("outbox.sql").replace("#__", prefix)
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
            sql.contains(&format!("('schema', '{VERSION}', UTC_TIMESTAMP(3));")),
            "{sql}"
        );
    }

    #[test]
    fn statements_can_be_told_apart_by_the_semicolon_alone() {
        let comments = include_str!("outbox.sql").lines().filter(|line| line.starts_with("--"));
        for comment in comments {
            assert!(!comment.contains([';', '\'', '"']), "{comment}");
        }
        assert_eq!(schema("x_").matches(';').count(), 3);
    }
}
