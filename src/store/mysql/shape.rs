//! The facts that the statements depend on: the names of the tables, the result of a survey, and lists of keys. A list
//! is filled up to one of a few lengths by repeating its last key, so that a small number of prepared statements is
//! enough for all lists.

use mysql::Value;

use crate::config::ItemType;
use crate::store::MOST_KEYS;

/// The lengths that lists of keys are filled up to.
const KEYS: [usize; 4] = [1, 4, 16, MOST_KEYS];

/// Whether the tables and columns exist that not every site has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Whether there is a table of second factors: Joomla 4.2 and later.
    pub mfa: bool,
    /// Whether the table of users has a column `requireReset`: Joomla 3.2 and later.
    pub require_reset: bool,
    /// The character set and collation of the assets' names, if they are known.
    pub names: Option<(String, String)>,
}

/// The facts that the statements depend on.
#[derive(Debug)]
pub(super) struct Shape {
    prefix: String,
    pub(super) items: Vec<ItemType>,
    pub(super) max_event_size: usize,
    /// The newest survey.
    pub(super) survey: Survey,
}

impl Shape {
    pub(super) fn new(prefix: &str, items: Vec<ItemType>, max_event_size: usize) -> Self {
        Self {
            prefix: prefix.to_owned(),
            items,
            max_event_size,
            survey: Survey {
                mfa: true,
                require_reset: true,
                names: None,
            },
        }
    }

    /// A table's name with the prefix.
    pub(super) fn full_name(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    /// A table's name with the prefix, quoted.
    pub(super) fn table(&self, table: &str) -> String {
        quoted(&self.full_name(table))
    }
}

/// The length that a list of `count` is filled up to.
pub(super) fn padded(count: usize) -> usize {
    KEYS.iter().copied().find(|length| *length >= count).unwrap_or(count)
}

/// The keys, filled up by repeating the last one.
pub(super) fn keys<T>(ids: &[T], value: impl Fn(&T) -> Value) -> Vec<Value> {
    debug_assert!(ids.len() <= MOST_KEYS, "a question has at most {MOST_KEYS} keys");
    let mut values: Vec<Value> = ids.iter().map(value).collect();
    if let Some(last) = values.last().cloned() {
        values.resize(padded(ids.len()), last);
    }
    values
}

pub(super) fn marks(count: usize) -> String {
    vec!["?"; count].join(",")
}

pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_few_lengths_and_repeat_their_last_key() {
        for (count, length) in [(1, 1), (2, 4), (4, 4), (5, 16), (16, 16), (17, 100), (100, 100)] {
            let ids: Vec<u64> = (1..=count).collect();
            let values = keys(&ids, |id| Value::from(*id));
            assert_eq!(values.len(), length);
            assert_eq!(
                values[..ids.len()],
                ids.iter().map(|id| Value::from(*id)).collect::<Vec<_>>()
            );
            assert!(values[ids.len()..].iter().all(|value| *value == Value::from(count)));
        }
    }

    #[test]
    fn a_backquote_in_a_name_is_doubled() {
        assert_eq!(quoted("a`b"), "`a``b`");
    }
}
