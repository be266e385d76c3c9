//! A user with at least one connection: the user's row, and the rights that follow from the site's groups and view
//! levels.

use super::rights::Rights;
use crate::site::access::Visitor;
use crate::store::UserRow;

/// A user with rights.
#[derive(Debug)]
pub struct User {
    row: UserRow,
    membership: Membership,
}

/// The groups and view levels of a user or a guest, with the inherited ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The groups.
    pub groups: Box<[u32]>,
    /// The view levels.
    pub levels: Box<[u32]>,
    /// Whether the user is `$root_user`.
    pub root: bool,
}

impl Membership {
    /// The user with this id, or a guest (0), as the access rules see it.
    pub fn visitor(&self, user: u32) -> Visitor<'_> {
        Visitor {
            user,
            groups: &self.groups,
            levels: &self.levels,
            root: self.root,
        }
    }
}

impl User {
    /// A user with the present rights.
    pub fn new(row: UserRow, rights: &Rights) -> Self {
        let membership = rights.of(&row);
        Self { row, membership }
    }

    /// Applies a newer row. Returns whether the user's rights changed.
    pub fn update(&mut self, row: UserRow, rights: &Rights) -> bool {
        self.row = row;
        self.update_rights(rights)
    }

    /// Computes the user's rights anew. Returns whether they changed.
    pub fn update_rights(&mut self, rights: &Rights) -> bool {
        let before = std::mem::replace(&mut self.membership, rights.of(&self.row));
        before != self.membership
    }

    /// The user as the access rules see it.
    pub fn visitor(&self) -> Visitor<'_> {
        self.membership.visitor(self.row.id)
    }

    /// The user's row.
    pub fn row(&self) -> &UserRow {
        &self.row
    }
}
