//! A user who is there: what its row says, and what follows from the site's groups and view levels.

use super::rights::Rights;
use crate::site::access::Visitor;
use crate::store::UserRow;

/// A user with rights.
#[derive(Debug)]
pub struct User {
    row: UserRow,
    groups: Box<[u32]>,
    levels: Box<[u32]>,
    root: bool,
}

impl User {
    /// A user with the rights that it has now.
    pub fn new(row: UserRow, rights: &Rights) -> Self {
        let mut user = Self {
            row,
            groups: Box::default(),
            levels: Box::default(),
            root: false,
        };
        user.update_rights(rights);
        user
    }

    /// Takes note of a newer row; whether its rights changed.
    pub fn update(&mut self, row: UserRow, rights: &Rights) -> bool {
        self.row = row;
        self.update_rights(rights)
    }

    /// Works its rights out anew; whether they changed.
    pub fn update_rights(&mut self, rights: &Rights) -> bool {
        let (groups, levels, root) = rights.of(&self.row);
        let changed = (&self.groups, &self.levels, self.root) != (&groups, &levels, root);
        (self.groups, self.levels, self.root) = (groups, levels, root);
        changed
    }

    /// As the access rules see it.
    pub fn visitor(&self) -> Visitor<'_> {
        Visitor {
            user: self.row.id,
            groups: &self.groups,
            levels: &self.levels,
            root: self.root,
        }
    }

    /// What its row says.
    pub fn row(&self) -> &UserRow {
        &self.row
    }
}
