//! The JSON in the columns `rules`: an asset's rules allow and deny actions to groups and users
//! (`Joomla\CMS\Access\Rules`), and a view level's rules list the groups and users that it opens for. The JSON is read
//! as PHP reads it. Where PHP would guess or ignore something, the result is [`Odd`], and that part never grants
//! anything.

use std::collections::BTreeMap;

use serde_json::Value;

/// The rules of one asset.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rules {
    /// The rules cannot be read, so they deny everything.
    denies: bool,
    actions: BTreeMap<String, Rule>,
}

/// The rule of one asset for one action.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rule {
    /// The rule cannot be read, so it denies everybody.
    denies: bool,
    /// Groups, and users as negative numbers; 0 is a guest.
    identities: BTreeMap<i64, bool>,
}

/// Rules that are not as they should be.
#[derive(Debug)]
pub(super) struct Odd<T> {
    /// The end of a sentence that begins "the rules of …".
    pub(super) why: &'static str,
    /// The part that could be read, without granting too much.
    pub(super) rest: T,
}

impl Rules {
    /// Rules that deny everything to everybody.
    pub(super) fn denying() -> Self {
        Self {
            denies: true,
            actions: BTreeMap::new(),
        }
    }

    /// Reads an asset's rules: action → identity → allowed or not.
    pub(super) fn parse(text: &str) -> Result<Self, Odd<Self>> {
        let odd = || Odd {
            why: "cannot be read, so it denies everything",
            rest: Self::denying(),
        };
        let actions = match decode(text).ok_or_else(odd)? {
            value if is_nothing(&value) => return Ok(Self::default()),
            Value::Object(actions) => actions,
            _ => return Err(odd()),
        };
        let mut all_plain = true;
        let actions = actions.into_iter().map(|(action, identities)| {
            let (rule, plain) = Rule::read(&identities);
            all_plain &= plain;
            (action, rule)
        });
        let rules = Self {
            denies: false,
            actions: actions.collect(),
        };
        if all_plain {
            return Ok(rules);
        }
        Err(Odd {
            why: "name an action or an identity in a way that cannot be read: it is not allowed there",
            rest: rules,
        })
    }

    /// `Rule::allow`: `false` if one of the identities is denied the action, else `true` if one of them is allowed it.
    pub(super) fn verdict(&self, action: &str, identities: impl Iterator<Item = i64>) -> Option<bool> {
        if self.denies {
            return Some(false);
        }
        let rule = self.actions.get(action)?;
        if rule.denies {
            return Some(false);
        }
        let said = identities.filter_map(|identity| rule.identities.get(&identity).copied());
        said.reduce(|all, one| all && one)
    }

    /// Whether these rules allow or deny the action to anybody.
    pub(super) fn speak_of(&self, action: &str) -> bool {
        let rule = self.actions.get(action);
        self.denies || rule.is_some_and(|rule| rule.denies || !rule.identities.is_empty())
    }
}

impl Rule {
    /// Reads the value of an action. The flag says whether all of it was understood.
    fn read(value: &Value) -> (Self, bool) {
        let entries: Vec<(Option<i64>, &Value)> = match value {
            value if is_nothing(value) => return (Self::default(), true),
            Value::Object(entries) => entries.iter().map(|(key, value)| (identity(key), value)).collect(),
            // To PHP a list is an array whose keys are 0, 1, 2, …
            Value::Array(list) => (0..).map(Some).zip(list).collect(),
            _ => return (Self::denying(), false),
        };
        let (mut rule, mut plain) = (Self::default(), true);
        for (identity, value) in entries {
            match (identity, truth(value)) {
                (Some(identity), Some(allowed)) => {
                    // The same identity may occur twice, as "4" and "04": a denial wins.
                    let merged = rule.identities.entry(identity).or_insert(allowed);
                    *merged &= allowed;
                }
                // An unknown identity would be allowed the action, so the entry is ignored.
                (None, Some(true)) => plain = false,
                // Either the identity or the value is unknown, and the entry may be a denial.
                (_, _) => return (Self::denying(), false),
            }
        }
        (rule, plain)
    }

    fn denying() -> Self {
        Self {
            denies: true,
            identities: BTreeMap::new(),
        }
    }
}

/// Reads a view level's rules: a list of groups and, as negative numbers, users.
pub(super) fn members(text: &str) -> Result<Vec<i64>, Odd<Vec<i64>>> {
    let nobody = || Odd {
        why: "cannot be read, so it opens for nobody",
        rest: Vec::new(),
    };
    let values: Vec<Value> = match decode(text).ok_or_else(nobody)? {
        value if is_nothing(&value) => Vec::new(),
        Value::Array(list) => list,
        // PHP writes a list with gaps as an object. PHP's decoder fails at a property whose name begins with a zero
        // byte.
        Value::Object(list) if !list.keys().any(|key| key.starts_with('\0')) => {
            list.into_iter().map(|(_, value)| value).collect()
        }
        _ => return Err(nobody()),
    };
    let numbers: Vec<i64> = values.iter().filter_map(number).collect();
    if numbers.len() == values.len() {
        return Ok(numbers);
    }
    Err(Odd {
        why: "name members that are no ids: they are passed over",
        rest: numbers,
    })
}

/// Decodes a column. An empty column means the same as no rules.
fn decode(text: &str) -> Option<Value> {
    if text.trim().is_empty() {
        return Some(Value::Null);
    }
    serde_json::from_str(text).ok()
}

/// Whether the value is one of those that PHP writes for "no rules".
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// PHP's `(bool)` of a plain value.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Null => Some(false),
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) => Some(!matches!(text.as_str(), "" | "0")),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A group, or a user as a negative number, in a list. Old sites write the number in quotation marks.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => identity(text),
        _ => None,
    }
}

/// A group, or a user as a negative number, as an object's key. Joomla casts each key to an integer
/// (`Rule::mergeIdentities`), so `"04"` is group 4 to Joomla, and a denial under that name must count. That is why
/// `id::key`, which allows one spelling only, is not used here.
fn identity(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| key.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_identity_is_allowed_nothing_that_joomla_does_not_allow_it() {
        for bad in crate::id::MISSPELT {
            // Joomla applies PHP's `(int)` to every identity. The result is 0 if the text does not begin with digits.
            let of_php = match bad.trim() {
                "+42" | "042" | "0042" | "42" | "42.0" => 42,
                "-42" => -42,
                "4_2" => 4,
                _ => 0,
            };
            let allows = |allowed: u8, identity: i64| {
                let text = serde_json::json!({"core.edit": {bad: allowed}}).to_string();
                let rules = Rules::parse(&text).unwrap_or_else(|odd| odd.rest);
                rules.verdict("core.edit", [identity].into_iter())
            };
            for identity in [42, -42, 4, 0, 1] {
                assert!(
                    allows(1, identity) != Some(true) || identity == of_php,
                    "{bad:?} {identity}"
                );
            }
            assert_eq!(allows(0, of_php), Some(false), "the denial of {bad:?}");
        }
    }
}
