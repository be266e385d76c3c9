//! A user with at least one connection: the user's row, and the rights that follow from the site's groups and view
//! levels.

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
    /// A user with the present rights.
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

    /// Applies a newer row. Returns whether the user's rights changed.
    pub fn update(&mut self, row: UserRow, rights: &Rights) -> bool {
        self.row = row;
        self.update_rights(rights)
    }

    /// Computes the user's rights anew. Returns whether they changed.
    pub fn update_rights(&mut self, rights: &Rights) -> bool {
        let (groups, levels, root) = rights.of(&self.row);
        let changed = (&self.groups, &self.levels, self.root) != (&groups, &levels, root);
        (self.groups, self.levels, self.root) = (groups, levels, root);
        changed
    }

    /// The user as the access rules see it.
    pub fn visitor(&self) -> Visitor<'_> {
        Visitor {
            user: self.row.id,
            groups: &self.groups,
            levels: &self.levels,
            root: self.root,
        }
    }

    /// The user's row.
    pub fn row(&self) -> &UserRow {
        &self.row
    }
}
