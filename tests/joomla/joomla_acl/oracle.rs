//! Joomla's rules once more, written to be compared with its PHP line by line and not to be quick: ancestors by walking
//! parents, rules by merging maps from the root down.

use std::collections::HashMap;

use serde_json::Value;

pub struct Group {
    pub id: u32,
    /// 0: none.
    pub parent: u32,
}

pub struct Asset {
    pub name: String,
    pub rules: String,
    /// Where in the list; none: the root.
    pub parent: Option<usize>,
}

pub struct Site {
    pub groups: Vec<Group>,
    pub levels: Vec<(u32, String)>,
    pub assets: Vec<Asset>,
    pub guest_group: u32,
}

type Merged = HashMap<String, HashMap<i64, i64>>;

impl Site {
    /// `getGroupsByUser`
    pub fn groups(&self, user: u32, mapped: &[u32]) -> Vec<u32> {
        let start = if user == 0 {
            vec![self.guest_group]
        } else {
            mapped.to_vec()
        };
        let mut found: Vec<u32> = start.iter().flat_map(|&group| self.path(group)).collect();
        if start.is_empty() || user == 0 && found.is_empty() {
            found.push(1);
        }
        found.sort();
        found.dedup();
        found
    }

    /// A group and its parents.
    fn path(&self, group: u32) -> Vec<u32> {
        match self.groups.iter().find(|g| g.id == group) {
            Some(found) if found.parent == 0 => vec![group],
            Some(found) => [self.path(found.parent), vec![group]].concat(),
            None => Vec::new(),
        }
    }

    /// `getAuthorisedViewLevels`
    pub fn levels(&self, user: u32, groups: &[u32], root: bool) -> Vec<u32> {
        let mut authorised = vec![1];
        for (level, rules) in &self.levels {
            for element in php_elements(rules) {
                let own = element < 0 && -element == i64::from(user);
                let in_group = element >= 0 && groups.iter().any(|&g| i64::from(g) == element);
                let of_super_users = element > 0 && {
                    let path = self.path(u32::try_from(element).unwrap_or(0));
                    let identities: Vec<i64> = path.into_iter().map(i64::from).collect();
                    allow(&self.merged("root.1"), "core.admin", &identities) == Some(true)
                };
                if root && of_super_users || !root && (own || in_group) {
                    authorised.push(*level);
                    break;
                }
            }
        }
        authorised.sort();
        authorised.dedup();
        authorised
    }

    /// `User::authorise`
    pub fn authorise(&self, user: u32, groups: &[u32], action: &str, asset: &str) -> bool {
        let mut identities = vec![-i64::from(user)];
        identities.extend(groups.iter().map(|&group| i64::from(group)));
        if user > 0 && allow(&self.merged("root.1"), "core.admin", &identities) == Some(true) {
            return true;
        }
        allow(&self.merged(asset), action, &identities).unwrap_or(false)
    }

    /// `getAssetRules`
    fn merged(&self, asset: &str) -> Merged {
        let named = |name: &str| self.assets.iter().position(|asset| asset.name == name);
        let extension = asset.split_once('.').map_or(asset, |(extension, _)| extension);
        let mut at = named(asset).or_else(|| named(extension)).or_else(|| named("root.1"));
        let mut ancestors = Vec::new();
        while let Some(index) = at {
            ancestors.insert(0, index);
            at = self.assets[index].parent;
        }
        let mut merged = Merged::new();
        for index in ancestors {
            if let Ok(Value::Object(actions)) = serde_json::from_str(&self.assets[index].rules) {
                for (action, identities) in actions {
                    merge_action(&mut merged, action, &identities);
                }
            }
        }
        merged
    }
}

/// `Rules::mergeAction`
fn merge_action(merged: &mut Merged, action: String, identities: &Value) {
    let known = merged.contains_key(&action);
    let rule = merged.entry(action).or_default();
    // Only the constructor of a new Rule reads JSON within JSON.
    let inner = match identities {
        Value::String(text) if !known => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    let entries: Vec<(i64, Value)> = match inner {
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (php_int(&key), value)).collect(),
        Value::Array(list) => (0..).zip(list).collect(),
        _ => Vec::new(),
    };
    for (identity, allow) in entries {
        let allow = i64::from(php_bool(&allow));
        let merged = rule.entry(identity).or_insert(allow);
        if *merged != 0 {
            *merged = allow;
        }
    }
}

/// `Rule::allow`
fn allow(merged: &Merged, action: &str, identities: &[i64]) -> Option<bool> {
    let mut result = None;
    for identity in identities {
        if let Some(said) = merged.get(action)?.get(identity) {
            result = Some(*said != 0);
            if *said == 0 {
                break;
            }
        }
    }
    result
}

/// `(int)` of a string.
fn php_int(text: &str) -> i64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    let number = &text[..sign + digits];
    let beyond = if number.starts_with('-') { i64::MIN } else { i64::MAX };
    if digits == 0 {
        0
    } else {
        number.parse().unwrap_or(beyond)
    }
}

/// `(bool)`
fn php_bool(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty() && text != "0",
        Value::Array(list) => !list.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

/// The elements of `(array) json_decode(…)` that are numbers, also in quotation marks.
fn php_elements(rules: &str) -> Vec<i64> {
    let values = match serde_json::from_str(rules).unwrap_or(Value::Null) {
        Value::Array(list) => list,
        Value::Object(entries) => entries.into_iter().map(|(_, value)| value).collect(),
        Value::Null => Vec::new(),
        scalar => vec![scalar],
    };
    let numbers = values.iter().filter_map(|value| match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    });
    numbers.collect()
}
