//! Joomla's access control over rows that are already in memory: the groups of a user, the view levels they open, and
//! whether an action is allowed on an asset. It follows `Joomla\CMS\Access\Access` and `User::authorise` (the same in
//! Joomla 3 to 6). The callers decide what the rights are used for.
//!
//! It must never be more generous than Joomla. Joomla ignores a row that it cannot read, and so also ignores a denial
//! in that row. Where a row cannot be read as Joomla reads it, the asset or the action denies everybody instead, a view
//! level opens for nobody, and a warning reports the row.

mod rules;

use std::borrow::Cow;
use std::collections::BTreeMap;

use rules::Rules;

use crate::id::key;
use crate::store::{AssetRow, GroupRow, LevelRow};

/// The asset above all others.
const ROOT: &str = "root.1";

/// The action that makes a super user: a user to whom it is allowed at the root may do everything.
const SUPER: &str = "core.admin";

/// The view level that everybody has, whatever its rules say. It is also the id of the group for users without a group.
const PUBLIC: u32 = 1;

/// Groups, view levels and assets of a site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acl {
    groups: BTreeMap<u32, Group>,
    levels: Vec<Level>,
    /// By name, in lower case.
    assets: BTreeMap<String, Asset>,
    /// The groups of a guest.
    guest_groups: Box<[u32]>,
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    parent: u32,
    span: Span,
}

#[derive(Clone, Debug, PartialEq)]
struct Level {
    id: u32,
    /// Groups, and users as negative numbers.
    members: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Asset {
    span: Span,
    rules: Rules,
}

/// A place in a nested set.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    lft: i64,
    rgt: i64,
}

impl Span {
    /// Whether this place is the other's ancestor or the same place.
    fn holds(self, other: Span) -> bool {
        self.lft <= other.lft && self.rgt >= other.rgt
    }
}

impl Acl {
    /// Builds the access control from the tables' rows, and returns warnings about rows that are not as they should be.
    /// `guest_group` is the parameter `guest_usergroup` of com_users.
    pub fn new(
        groups: &[GroupRow],
        levels: &[LevelRow],
        assets: &[AssetRow],
        guest_group: Option<u32>,
    ) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut acl = Acl {
            groups: groups.iter().map(|row| (row.id, Group::from(row))).collect(),
            levels: levels.iter().map(|row| Level::new(row, &mut warnings)).collect(),
            assets: BTreeMap::new(),
            guest_groups: Box::default(),
        };
        for row in assets {
            let asset = Asset::new(row, &mut warnings);
            // Names are unique in the table, but they may differ in case only. Of two such rows, it is unclear which
            // one is meant.
            if let Some(twin) = acl.assets.insert(row.name.to_ascii_lowercase(), asset) {
                warnings.push(format!("the asset {:?} is there twice: it denies everything", row.name));
                let rules = Rules::denying();
                acl.assets
                    .insert(row.name.to_ascii_lowercase(), Asset { rules, ..twin });
            }
        }
        if !acl.assets.contains_key(ROOT) {
            warnings.push(format!("there is no asset {ROOT}: nothing is allowed to anybody"));
        }
        let guests = acl.ancestors(&[guest_group.unwrap_or(PUBLIC)]);
        acl.guest_groups = if guests.is_empty() { [PUBLIC].into() } else { guests };
        (acl, warnings)
    }

    /// All groups of a user who is mapped to the groups `mapped`: these and their ancestors, sorted. A user without
    /// mapped groups is in group 1. A user whose mapped groups do not exist is in no group.
    pub fn groups(&self, mapped: &[u32]) -> Box<[u32]> {
        if mapped.is_empty() {
            return [PUBLIC].into();
        }
        self.ancestors(mapped)
    }

    /// All groups of a guest.
    pub fn guest_groups(&self) -> &[u32] {
        &self.guest_groups
    }

    /// The view levels of a user (0: a guest) who is in these groups, ancestors included; sorted. `root` marks the user
    /// whom configuration.php names in `$root_user`. That user has every level that a group of super users has; other
    /// super users have only the levels that name them.
    pub fn levels(&self, user: u32, groups: &[u32], root: bool) -> Box<[u32]> {
        let opens = |&member: &i64| match u32::try_from(member) {
            Ok(group) if root => self.is_super_group(group),
            Ok(group) => groups.contains(&group),
            Err(_) => !root && user > 0 && member == -i64::from(user),
        };
        let open = self.levels.iter().filter(|level| level.members.iter().any(opens));
        let mut ids: Vec<u32> = open.map(|level| level.id).chain([PUBLIC]).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into()
    }

    /// Whether a user (0: a guest) who is in these groups, ancestors included, may do this action on an asset:
    /// `com_content`, `com_content.article.17`; empty: the root. For an unknown asset, the rules of its component
    /// apply; for an unknown component, those of the root. `root` marks the user of configuration.php's `$root_user`,
    /// who may do everything.
    pub fn authorise(&self, user: u32, groups: &[u32], root: bool, action: &str, asset: &str) -> bool {
        root || self.is_super_user(user, groups) || self.allows(user, groups, &clean(action), &clean(asset))
    }

    /// Whether the rules of an asset, or those that it inherits, have an entry for an action.
    pub fn speaks_of(&self, action: &str, asset: &str) -> bool {
        let (action, asset) = (clean(action), clean(asset));
        self.chain(&asset).any(|rules| rules.speak_of(&action))
    }

    /// Whether a user may do everything.
    fn is_super_user(&self, user: u32, groups: &[u32]) -> bool {
        user > 0 && self.allows(user, groups, SUPER, ROOT)
    }

    /// `Access::check`: merges the rules of the assets from the root down to this one. One denial is enough to deny.
    fn allows(&self, user: u32, groups: &[u32], action: &str, asset: &str) -> bool {
        // Joomla takes a number for the asset's id, and ids are not known here. Without the root, no rule is certain.
        if asset.parse::<f64>().is_ok() || !self.assets.contains_key(ROOT) {
            return false;
        }
        let identities = || {
            let own = -i64::from(user);
            std::iter::once(own).chain(groups.iter().map(|&group| i64::from(group)))
        };
        let mut allowed = false;
        for rules in self.chain(asset) {
            match rules.verdict(action, identities()) {
                Some(true) => allowed = true,
                Some(false) => return false,
                None => {}
            }
        }
        allowed
    }

    /// The rules of an asset and of all that it inherits from: the root, its component, and the assets in between.
    /// Joomla looks for ancestors only among the component's own assets and the root. So another component's asset with
    /// a wrong place in the nested set has no effect.
    fn chain<'a>(&'a self, asset: &'a str) -> impl Iterator<Item = &'a Rules> {
        let component = asset.split('.').next().unwrap_or(asset);
        let found = self.assets.get(asset).or_else(|| self.assets.get(component));
        let span = found.filter(|_| asset != ROOT).map(|asset| asset.span);
        let below = format!("{component}.");
        let between = self
            .assets
            .range(below.clone()..)
            .take_while(move |(name, _)| name.starts_with(&below))
            .filter(move |(name, asset)| *name != ROOT && span.is_some_and(|span| asset.span.holds(span)))
            .map(|(_, asset)| asset);
        let top = [Some(ROOT), span.map(|_| component)];
        let top = top.into_iter().flatten().filter_map(|name| self.assets.get(name));
        top.chain(between).map(|asset| &asset.rules)
    }

    /// The groups and all their ancestors in the nested set, sorted.
    fn ancestors(&self, groups: &[u32]) -> Box<[u32]> {
        let spans: Vec<Span> = groups.iter().filter_map(|id| Some(self.groups.get(id)?.span)).collect();
        let holds_one = |group: &Group| spans.iter().any(|&span| group.span.holds(span));
        let found = self.groups.iter().filter(|(_, group)| holds_one(group));
        found.map(|(&id, _)| id).collect()
    }

    /// `Access::checkGroup`: whether the rules of a group and its parents, up to the top, make its members super users.
    fn is_super_group(&self, group: u32) -> bool {
        let mut path = Vec::new();
        let mut at = group;
        while at != 0 {
            // A broken or circular path grants nothing.
            match self.groups.get(&at) {
                Some(group) if path.len() < self.groups.len() => {
                    path.push(at);
                    at = group.parent;
                }
                _ => return false,
            }
        }
        let path = path.iter().map(|&group| i64::from(group));
        self.assets
            .get(ROOT)
            .is_some_and(|root| root.rules.verdict(SUPER, path) == Some(true))
    }
}

impl From<&GroupRow> for Group {
    fn from(row: &GroupRow) -> Self {
        let GroupRow { parent, lft, rgt, .. } = *row;
        let span = Span { lft, rgt };
        Group { parent, span }
    }
}

impl Level {
    fn new(row: &LevelRow, warnings: &mut Vec<String>) -> Self {
        let members = rules::members(&row.rules).unwrap_or_else(|odd| {
            warnings.push(format!("the rules of view level {} {}", row.id, odd.why));
            odd.rest
        });
        Level { id: row.id, members }
    }
}

impl Asset {
    fn new(row: &AssetRow, warnings: &mut Vec<String>) -> Self {
        let AssetRow { lft, rgt, .. } = *row;
        let rules = Rules::parse(&row.rules).unwrap_or_else(|odd| {
            warnings.push(format!("the rules of the asset {:?} {}", row.name, odd.why));
            odd.rest
        });
        let span = Span { lft, rgt };
        Asset { span, rules }
    }
}

/// The name of an action or an asset in the form in which Joomla looks it up: lower case, with a dot for each run of
/// spaces and hyphens.
fn clean(key: &str) -> Cow<'_, str> {
    let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let key = key.trim_matches(|c| c != '\x0c' && (space(c) || c == '\0'));
    let plain = |c: char| !c.is_ascii_uppercase() && !space(c) && c != '-';
    if key.chars().all(plain) {
        return Cow::Borrowed(key);
    }
    let mut cleaned = String::with_capacity(key.len());
    let mut in_run = false;
    for c in key.chars() {
        let gap = space(c) || c == '-';
        match (gap, in_run) {
            (false, _) => cleaned.push(c.to_ascii_lowercase()),
            (true, false) => cleaned.push('.'),
            (true, true) => {}
        }
        in_run = gap;
    }
    Cow::Owned(cleaned)
}

/// The group of guests: `guest_usergroup` in the parameters of com_users, a number or its digits. Joomla's form writes
/// nothing else. With any other value, guests are only in the public group.
pub fn guest_group(params: &str) -> Option<u32> {
    let params: serde_json::Value = serde_json::from_str(params).ok()?;
    match params.get("guest_usergroup")? {
        serde_json::Value::Number(number) => number.as_u64().and_then(|id| u32::try_from(id).ok()),
        serde_json::Value::String(text) => key(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_group_is_not_the_guests() {
        assert_eq!(guest_group(r#"{"guest_usergroup":"42"}"#), Some(42));
        for bad in crate::id::MISSPELT {
            let params = serde_json::json!({ "guest_usergroup": bad }).to_string();
            assert_eq!(guest_group(&params), None, "{bad:?}");
        }
    }
}
