//! The smallest set of privileges for a database user of our own: to read the tables that decide about visitors and
//! their rights, and to use our own two tables. Of users it may read only the columns that name them and that keep them
//! out; of second factors only whether there is one. It may read neither password hashes nor the secrets of factors.

use crate::config::ItemType;

/// Whole tables that are read.
const READ: [&str; 8] = [
    "session",
    "user_usergroup_map",
    "usergroups",
    "viewlevels",
    "assets",
    "extensions",
    "content",
    "categories",
];

/// Tables of which only some columns are read. Joomla 3 and 4.0 have no `user_mfa`.
const COLUMNS: [(&str, &str); 2] = [
    ("users", "`id`, `name`, `username`, `block`, `requireReset`"),
    ("user_mfa", "`user_id`, `method`"),
];

/// Our own tables.
const OWN: [&str; 2] = ["websockets_outbox", "websockets_state"];

/// The statement for the privileges that an update of the outbox's table needs in addition, while it lasts.
pub fn update_grant(database: &str, prefix: &str, account: &str) -> String {
    format!(
        "GRANT ALTER, CREATE, INSERT ON `{database}`.`{prefix}{}` TO {account};",
        OWN[0]
    )
}

/// The statements, ready to paste, for the user `account` (`'jsocketd'@'localhost'`) of the schema `database`.
pub fn grants(database: &str, prefix: &str, account: &str, items: &[ItemType]) -> Vec<String> {
    let name = |table: &str| format!("`{database}`.`{prefix}{table}`");
    let own_items = items
        .iter()
        .map(|item| item.table.as_str())
        .filter(|table| !READ.contains(table));
    let read = READ.into_iter().chain(own_items);
    let mut statements: Vec<String> = read
        .map(|table| format!("GRANT SELECT ON {} TO {account};", name(table)))
        .collect();
    statements.extend(
        COLUMNS
            .iter()
            .map(|(table, columns)| format!("GRANT SELECT ({columns}) ON {} TO {account};", name(table))),
    );
    statements.extend(
        OWN.iter()
            .map(|table| format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {account};", name(table))),
    );
    statements
}
