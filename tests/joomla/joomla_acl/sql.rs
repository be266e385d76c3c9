//! Reads the rows of a dump's INSERT statements: enough SQL for the fixtures.

use std::collections::HashMap;

use jsocketd::store::{AssetRow, GroupRow, LevelRow};

/// The tables of a dump, by name without the prefix: each row has its columns by name, as text; NULL is none.
pub struct Dump(HashMap<String, Vec<HashMap<String, Option<String>>>>);

impl Dump {
    pub fn read(name: &str) -> Self {
        let text = String::from_utf8(super::fixture(name)).unwrap();
        let (mut columns, mut tables) = (Vec::new(), HashMap::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("CREATE TABLE") {
                columns.clear();
            } else if let Some(column) = line.strip_prefix("  `") {
                columns.push(column.split('`').next().unwrap().to_owned());
            } else if let Some(rest) = line.strip_prefix("INSERT INTO `") {
                let table = rest.split('`').next().unwrap().split_once('_').unwrap().1;
                let mut rows = Vec::new();
                for line in lines.by_ref() {
                    let cells = cells(line);
                    assert_eq!(cells.len(), columns.len(), "{line}");
                    rows.push(columns.iter().cloned().zip(cells).collect());
                    if line.ends_with(';') {
                        break;
                    }
                }
                tables.insert(table.to_owned(), rows);
            }
        }
        Dump(tables)
    }

    fn rows<T>(&self, table: &str, make: impl Fn(&dyn Fn(&str) -> String) -> T) -> Vec<T> {
        let rows = self.0.get(table).unwrap_or_else(|| panic!("no table {table}"));
        let made = rows
            .iter()
            .map(|row| make(&|column| row[column].clone().unwrap_or_default()));
        made.collect()
    }

    pub fn groups(&self) -> Vec<GroupRow> {
        self.rows("usergroups", |cell| GroupRow {
            id: cell("id").parse().unwrap(),
            parent: cell("parent_id").parse().unwrap(),
            lft: cell("lft").parse().unwrap(),
            rgt: cell("rgt").parse().unwrap(),
        })
    }

    pub fn levels(&self) -> Vec<LevelRow> {
        self.rows("viewlevels", |cell| LevelRow {
            id: cell("id").parse().unwrap(),
            rules: cell("rules"),
        })
    }

    pub fn assets(&self) -> Vec<AssetRow> {
        self.rows("assets", |cell| AssetRow {
            name: cell("name"),
            rules: cell("rules"),
            lft: cell("lft").parse().unwrap(),
            rgt: cell("rgt").parse().unwrap(),
        })
    }

    /// Ids in the order of the table.
    pub fn users(&self) -> Vec<u32> {
        self.rows("users", |cell| cell("id").parse().unwrap())
    }

    /// The groups that a user is mapped to.
    pub fn mapped(&self, user: u32) -> Vec<u32> {
        let map = self.rows("user_usergroup_map", |cell| {
            (
                cell("user_id").parse::<u32>().unwrap(),
                cell("group_id").parse::<u32>().unwrap(),
            )
        });
        map.into_iter().filter(|(id, _)| *id == user).map(|(_, g)| g).collect()
    }

    pub fn guest_group(&self) -> Option<u32> {
        let params = self.rows("extensions", |cell| cell("params"));
        let params: serde_json::Value = serde_json::from_str(&params[0]).unwrap();
        params["guest_usergroup"].as_str()?.parse().ok()
    }
}

/// `(1,'it\'s',NULL),`
fn cells(line: &str) -> Vec<Option<String>> {
    let line = line.trim_end_matches([',', ';']);
    let inner = line.strip_prefix('(').and_then(|l| l.strip_suffix(')')).expect(line);
    let (mut cells, mut chars) = (Vec::new(), inner.chars().peekable());
    loop {
        let mut cell = String::new();
        let quoted = chars.next_if_eq(&'\'').is_some();
        while let Some(c) = chars.next() {
            match c {
                '\'' if quoted => break,
                '\\' if quoted => cell.push(match chars.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                }),
                ',' if !quoted => break,
                c => cell.push(c),
            }
        }
        cells.push((quoted || cell != "NULL").then_some(cell));
        if quoted && chars.next().is_none() || chars.peek().is_none() {
            return cells;
        }
    }
}
