//! Rows of the site's own tables, as answers carry them: visitors, their rights, and the items that they may view.

use serde::{Deserialize, Serialize};

use super::SessionId;

/// The most seconds by which the database's clock and ours may differ without harm: a statement takes some time, and
/// Joomla itself ends sessions a second or two early or late.
pub const CLOCK_TOLERANCE: i64 = 5;

/// A row of `#__session` with its user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The key.
    pub id: SessionId,
    /// 0 site, 1 administrator; `None` with a shared session or without metadata.
    pub client_id: Option<u8>,
    /// As in the row.
    pub guest: bool,
    /// Unix seconds of the last request.
    pub time: i64,
    /// As in the row; 0 for guests, and without metadata.
    pub user_id: u32,
    /// That user, if there is one.
    pub user: Option<UserRow>,
    /// The session text, if the question asked for it and the text is no longer than [`SessionRow::LONGEST_TEXT`].
    pub text: Option<Vec<u8>>,
    /// The database's clock when the row was read, in Unix seconds.
    pub clock: i64,
}

impl SessionRow {
    /// The most bytes of a session text; a longer text is not fetched.
    pub const LONGEST_TEXT: usize = 512 * 1024;
}

/// A row of `#__users` with the user's second factor and groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserRow {
    /// The key.
    pub id: u32,
    /// The display name.
    pub name: String,
    /// The log-in name.
    pub username: String,
    /// May not log in.
    pub blocked: bool,
    /// Must set a new password first.
    pub require_reset: bool,
    /// Has a second factor; backup codes do not count. False where Joomla has no such table.
    pub mfa: bool,
    /// The groups that the user is mapped to, without their parents.
    pub groups: Vec<u32>,
}

/// A row of `#__usergroups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The key.
    pub id: u32,
    /// The parent's id; 0: none.
    pub parent: u32,
    /// Nested set.
    pub lft: i64,
    /// Nested set.
    pub rgt: i64,
}

/// A row of `#__viewlevels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelRow {
    /// The key.
    pub id: u32,
    /// JSON: a list of group ids and negative user ids.
    pub rules: String,
}

/// A row of `#__assets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRow {
    /// `root.1`, `com_content`, …
    pub name: String,
    /// JSON: action → identity → 0 or 1.
    pub rules: String,
    /// Nested set.
    pub lft: i64,
    /// Nested set.
    pub rgt: i64,
}

/// The facts in `#__extensions` about the extensions that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// The parameters of com_users as JSON; `None`: there is no such row.
    pub com_users: Option<String>,
    /// The parameters of com_websockets as JSON, if it is installed and enabled.
    pub com_websockets: Option<String>,
    /// The version of com_websockets.
    pub package_version: Option<String>,
    /// The version of Joomla (of `files_joomla`).
    pub joomla_version: Option<String>,
}

/// A step of a category's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryStep {
    /// The category.
    pub id: u64,
    /// Its view level.
    pub access: u32,
    /// 1 published, 2 archived, 0 not, -2 in the trash.
    pub published: i8,
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// The key.
    pub id: u64,
    /// Its view level.
    pub access: u32,
    /// 1 published, 2 archived, 0 not, -2 in the trash.
    pub state: i8,
    /// Unix seconds; `None`: always.
    pub publish_up: Option<i64>,
    /// Unix seconds; `None`: for ever.
    pub publish_down: Option<i64>,
    /// The category and all categories above it, from the outermost inwards, without the root. `None`: the type has no
    /// categories. Empty: the item names a category that does not exist.
    pub categories: Option<Vec<CategoryStep>>,
    /// The database's clock when the row was read, in Unix seconds.
    pub clock: i64,
}

/// A category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryRow {
    /// The key.
    pub id: u64,
    /// The extension that the category belongs to: `com_content`.
    pub extension: String,
    /// The category and all categories above it, from the outermost inwards, without the root.
    pub chain: Vec<CategoryStep>,
}
