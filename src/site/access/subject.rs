//! Parses a channel's name into its subject: the users for whom the channel is, by the table of `docs/joomla.md`. Other
//! files decide whether a visitor is one of these users.
//!
//! The site's own names come first. A name in the site's table is never looked up in `[[channels]]`: a pattern that is
//! too wide (`private-*`) must not open a channel that Joomla closes. The same holds for names that only resemble a
//! name of the table (`user-042`, `level-0`): only a signature opens them.

#[cfg(test)]
mod tests;

use crate::config::{ChannelRule, ItemType};
use crate::id::key;
use crate::protocol::channel::{ChannelName, Kind};

/// The users for whom a channel is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// All clients: the name has no prefix.
    Open,
    /// Clients with a signature only.
    Signed,
    /// One user.
    User(u32),
    /// Users in this group, or in a group below it.
    Group(u32),
    /// Users with this view level.
    Level(u32),
    /// Visitors who may see this item.
    Item {
        /// The name of the item's type: `com_content.article`.
        kind: Box<str>,
        /// The item's key.
        id: u64,
    },
    /// Visitors who may see this category.
    Category {
        /// The extension to which the category must belong: `com_content`.
        extension: Box<str>,
        /// The category's key.
        id: u64,
    },
    /// Users who may manage this component.
    Manage(Box<str>),
    /// Users whom the configuration names.
    Ruled(Box<Allowed>),
}

/// The union of all rules that match a name. A rule only allows and never denies, so the order of the rules does not
/// matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Allowed {
    /// Users in one of these groups, or in a group below one of them.
    pub groups: Box<[u32]>,
    /// Also users with one of these view levels.
    pub levels: Box<[u32]>,
    /// Also these users.
    pub users: Box<[u32]>,
}

/// The subject of a channel, by its name. The result is valid until the configuration changes.
pub fn subject(name: ChannelName<'_>, items: &[ItemType], rules: &[ChannelRule]) -> Subject {
    let whole = name.as_str();
    let rest = match name.kind() {
        Kind::Public => return Subject::Open,
        // The key of an encrypted channel comes with its signature. The hub itself checks server-to-user channels.
        Kind::Encrypted | Kind::ServerToUser => return Subject::Signed,
        Kind::Private => whole.strip_prefix("private-"),
        Kind::Presence => whole.strip_prefix("presence-"),
    };
    let rest = rest.unwrap_or(whole);
    let rest = rest.strip_prefix("cache-").unwrap_or(rest);
    match of_site(rest, items) {
        Some(subject) => subject,
        None => ruled(whole, rules),
    }
}

/// The subject by the site's table. `None`: the name is not in the table.
fn of_site(name: &str, items: &[ItemType]) -> Option<Subject> {
    if let Some(component) = name.strip_prefix("manage-")
        && component.starts_with("com_")
    {
        return Some(match is_component(component) {
            true => Subject::Manage(component.into()),
            false => Subject::Signed,
        });
    }
    type Of = fn(u32) -> Subject;
    let forms: [(&str, Of); 3] = [
        ("user-", Subject::User),
        ("group-", Subject::Group),
        ("level-", Subject::Level),
    ];
    for (prefix, subject) in forms {
        if let Some(digits) = name.strip_prefix(prefix).filter(|tail| is_number(tail)) {
            return Some(key(digits).map_or(Subject::Signed, subject));
        }
    }
    let (kind, digits) = name.rsplit_once('.').filter(|(_, tail)| is_number(tail))?;
    // Categories come before the configured types: a configured type with a category's name would not check the
    // categories above.
    if let Some(extension) = kind.strip_suffix(".category").filter(|name| is_component(name)) {
        let extension = extension.into();
        return Some(key(digits).map_or(Subject::Signed, |id| Subject::Category { extension, id }));
    }
    items.iter().find(|item| item.name == kind)?;
    let kind = kind.into();
    Some(key(digits).map_or(Subject::Signed, |id| Subject::Item { kind, id }))
}

/// Whether the name is `com_` and letters, digits and underscores, like the names of Joomla's components.
pub(super) fn is_component(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.strip_prefix("com_")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn ruled(name: &str, rules: &[ChannelRule]) -> Subject {
    let found: Vec<&ChannelRule> = rules.iter().filter(|rule| matches(&rule.pattern, name)).collect();
    if found.is_empty() {
        return Subject::Signed;
    }
    let all = |list: fn(&ChannelRule) -> &[u32]| {
        let mut ids: Vec<u32> = found.iter().flat_map(|rule| list(rule)).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_boxed_slice()
    };
    Subject::Ruled(Box::new(Allowed {
        groups: all(|rule| &rule.groups),
        levels: all(|rule| &rule.levels),
        users: all(|rule| &rule.users),
    }))
}

/// Whether a pattern matches a whole name; `*` stands for any number of characters, also none. Each part is searched
/// once, as far left as possible. So the time is at most proportional to the lengths of the pattern and the name
/// together.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let within = name.strip_prefix(first).and_then(|left| left.strip_suffix(last));
    let Some(mut left) = within else {
        return false;
    };
    middle.split('*').all(|part| match left.find(part) {
        Some(at) => {
            left = &left[at + part.len()..];
            true
        }
        None => false,
    })
}
