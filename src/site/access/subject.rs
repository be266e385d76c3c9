//! Reads from a channel's name whom the channel is for, by the table of `docs/joomla.md`. Whether a visitor is one of
//! them is decided elsewhere.
//!
//! The site's own names go first. A name that the site's table covers is never looked up in `[[channels]]`: a pattern
//! that is a little too wide (`private-*`) must not open what Joomla closes. The same holds for near misses: only a
//! signature opens a channel whose name merely looks like one of the table (`user-042`, `level-0`).

#[cfg(test)]
mod tests;

use crate::config::{ChannelRule, ItemType};
use crate::id::key;
use crate::protocol::channel::{ChannelName, Kind};

/// Whom a channel is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Everybody: it has no prefix.
    Open,
    /// Whoever has a signature, and nobody else.
    Signed,
    /// One user.
    User(u32),
    /// Whoever is in this group, or in one below it.
    Group(u32),
    /// Whoever has this view level.
    Level(u32),
    /// Whoever may see this item.
    Item {
        /// The name of its type: `com_content.article`.
        kind: Box<str>,
        /// Its key.
        id: u64,
    },
    /// Whoever may see this category.
    Category {
        /// Whose category it must be: `com_content`.
        extension: Box<str>,
        /// Its key.
        id: u64,
    },
    /// Whoever may manage this component.
    Manage(Box<str>),
    /// Whoever the configuration names.
    Ruled(Box<Allowed>),
}

/// What all rules that match a name say together. Each rule lets somebody in and none shuts anybody out, so their order
/// does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Allowed {
    /// Whoever is in one of these groups, or in one below, …
    pub groups: Box<[u32]>,
    /// … or has one of these view levels …
    pub levels: Box<[u32]>,
    /// … or is one of these users.
    pub users: Box<[u32]>,
}

/// Whom a channel is for, by its name. The answer is good for as long as the configuration is.
pub fn subject(name: ChannelName<'_>, items: &[ItemType], rules: &[ChannelRule]) -> Subject {
    let whole = name.as_str();
    let rest = match name.kind() {
        Kind::Public => return Subject::Open,
        // The key of an encrypted channel comes with its signature; a server-to-user channel has a door of its own.
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

/// The site's table. `None`: the name is not in it.
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
    // Before the configured types: a type that somebody named like a category would not know of the categories above.
    if let Some(extension) = kind.strip_suffix(".category").filter(|name| is_component(name)) {
        let extension = extension.into();
        return Some(key(digits).map_or(Subject::Signed, |id| Subject::Category { extension, id }));
    }
    items.iter().find(|item| item.name == kind)?;
    let kind = kind.into();
    Some(key(digits).map_or(Subject::Signed, |id| Subject::Item { kind, id }))
}

/// Whether it is `com_` and letters, digits and underscores, as the names of Joomla's components are.
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

/// Whether a pattern covers a whole name; `*` stands for any characters, none included. Each part is looked for once,
/// as far left as it can be, so that no pattern takes longer than its length and the name's together.
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
