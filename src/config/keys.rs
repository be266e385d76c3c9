//! The one table of all keys: where each one lives in [`Config`], what kind of value it takes and in which range; `value` knows the kinds. Reading,
//! printing, comparing and suggesting all walk this table, so a new key is one line here, its field and its default in the
//! parent, and its line in `conf/jsocketd.toml`; a test compares the three.

use super::value::Field;
use super::{Config, MOST_CONNECTIONS, Secrets};

/// A key of the configuration.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// The place of its value, to be read or written.
    pub(super) field: for<'a> fn(&'a mut Config) -> Field<'a>,
}

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const fn key(section: &'static str, name: &'static str, field: for<'a> fn(&'a mut Config) -> Field<'a>) -> Key {
    Key { section, name, field }
}

/// Every key, in the order of the sample file.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("server", "listen", |c| Field::Listeners(&mut c.server.listen)),
    key("server", "admin_listen", |c| Field::Listener(&mut c.server.admin_listen)),
    key("server", "admin_token", |c| Field::Secret(&mut c.server.admin_token)),
    key("server", "unix_mode", |c| Field::Mode(&mut c.server.unix_mode)),
    key("server", "trusted_proxies", |c| Field::Peers(&mut c.server.trusted_proxies)),
    key("server", "allowed_origins", |c| Field::Origins(&mut c.server.allowed_origins)),
    key("server", "max_connections", |c| Field::Size(&mut c.server.max_connections, 0..=MOST_CONNECTIONS)),
    key("server", "log_level", |c| Field::Level(&mut c.server.log_level)),
    key("limits", "handshake_timeout", |c| Field::Seconds(&mut c.limits.handshake_timeout, 1..=HOUR)),
    key("limits", "keep_alive_timeout", |c| Field::Seconds(&mut c.limits.keep_alive_timeout, 1..=HOUR)),
    key("limits", "ping_interval", |c| Field::Seconds(&mut c.limits.ping_interval, 1..=DAY)),
    key("limits", "ping_timeout", |c| Field::Seconds(&mut c.limits.ping_timeout, 1..=HOUR)),
    key("limits", "message_timeout", |c| Field::Seconds(&mut c.limits.message_timeout, 1..=HOUR)),
    key("limits", "close_timeout", |c| Field::Seconds(&mut c.limits.close_timeout, 1..=60)),
    key("limits", "max_message_size", |c| Field::Size(&mut c.limits.max_message_size, 1..=GIB - 1024)),
    key("limits", "max_fragments", |c| Field::Count(&mut c.limits.max_fragments, 65_537..=16_777_216)),
    key("limits", "max_head_size", |c| Field::Size(&mut c.limits.max_head_size, 1024..=MIB)),
    key("limits", "max_headers", |c| Field::Size(&mut c.limits.max_headers, 8..=1000)),
    key("limits", "max_body_size", |c| Field::Size(&mut c.limits.max_body_size, 0..=GIB)),
    key("limits", "outbox_bytes", |c| Field::Size(&mut c.limits.outbox_bytes, 4096..=GIB)),
    key("limits", "outbox_seconds", |c| Field::Seconds(&mut c.limits.outbox_seconds, 1..=HOUR)),
    key("limits", "messages_per_second", |c| Field::Count(&mut c.limits.messages_per_second, 0..=1_000_000)),
    key("limits", "connects_per_second", |c| Field::Count(&mut c.limits.connects_per_second, 0..=1_000_000)),
    key("limits", "connections_per_address", |c| Field::Count(&mut c.limits.connections_per_address, 0..=MOST_CONNECTIONS)),
    key("limits", "drain_seconds", |c| Field::Seconds(&mut c.limits.drain_seconds, 0..=HOUR)),
    key("console", "enabled", |c| Field::Switch(&mut c.console.enabled)),
    key("echo", "enabled", |c| Field::Switch(&mut c.echo.enabled)),
];

impl Key {
    /// The environment variable of this key. `[server]` is what everybody sets, so it goes without its section.
    pub(super) fn variable(&self) -> String {
        match self.section {
            "server" => format!("JSOCKETD_{}", self.name),
            section => format!("JSOCKETD_{section}_{}", self.name),
        }
        .to_uppercase()
    }
}

/// The key of this name in this section.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// All sections, each once.
pub(super) fn sections() -> Vec<&'static str> {
    let mut names: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    names.dedup();
    names
}

/// The keys (`section.name`) whose values differ.
pub(super) fn differences(one: &Config, other: &Config) -> Vec<String> {
    let (mut one, mut other) = (one.clone(), other.clone());
    let shown = |config: &mut Config, key: &Key| (key.field)(config).literal(Secrets::Shown);
    KEYS.iter()
        .filter(|key| shown(&mut one, key) != shown(&mut other, key))
        .map(|key| format!("{}.{}", key.section, key.name))
        .collect()
}

/// The known name that was probably meant: at most a third of its letters are wrong.
pub(super) fn nearest<S: AsRef<str>>(wrong: &str, known: impl IntoIterator<Item = S>) -> Option<S> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name.as_ref()), name))
        .filter(|(distance, name)| *distance <= name.as_ref().len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::super::value::Typed;
    use super::*;

    const SAMPLE: &str = include_str!("../../conf/jsocketd.toml");

    #[test]
    fn the_sample_file_says_every_default() {
        let lines: Vec<&str> = SAMPLE
            .lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .collect();
        let shown = Config::default().to_toml(Secrets::Shown);
        let wanted: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
        let without_comments: Vec<&str> = lines
            .iter()
            .map(|line| line.split("  #").next().unwrap_or(line).trim_end())
            .collect();
        assert_eq!(without_comments, wanted);
        for line in &lines {
            assert!(
                line.starts_with('[') && line.ends_with(']') || line.contains("  # "),
                "no comment: {line}"
            );
        }
    }

    #[test]
    fn the_sample_file_says_every_range() {
        let mut config = Config::default();
        for key in KEYS {
            let (Field::Seconds(_, range) | Field::Size(_, range) | Field::Count(_, range)) = (key.field)(&mut config)
            else {
                continue;
            };
            let line = SAMPLE
                .lines()
                .find(|line| line.starts_with(&format!("{} = ", key.name)))
                .expect(key.name);
            let wanted = format!("({} to {})", range.start(), range.end());
            assert!(line.ends_with(&wanted), "{line}\nlacks {wanted}");
        }
    }

    #[test]
    fn the_defaults_are_in_their_ranges_and_survive_printing() {
        let mut config = Config::default();
        let parsed: toml::Table = config.to_toml(Secrets::Shown).parse().expect("TOML");
        let before = config.clone();
        for key in KEYS {
            let typed = match &parsed[key.section][key.name] {
                toml::Value::Integer(number) => Typed::Integer(number.to_string(), 10),
                toml::Value::Boolean(value) => Typed::Switch(*value),
                toml::Value::String(text) => Typed::Text(text.clone()),
                toml::Value::Array(list) => Typed::List(
                    list.iter()
                        .map(|v| Typed::Text(v.as_str().expect("a string").into()))
                        .collect(),
                ),
                other => panic!("{} is {other:?}", key.name),
            };
            (key.field)(&mut config).set(&typed).expect(key.name);
        }
        assert_eq!(config, before);
    }

    #[test]
    fn every_variable_has_one_meaning() {
        let mut names: Vec<_> = KEYS.iter().map(Key::variable).collect();
        names.push("JSOCKETD_CONFIG".into());
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn ranges_hold_at_both_ends() {
        for key in KEYS {
            let mut config = Config::default();
            let range = match (key.field)(&mut config) {
                Field::Seconds(_, range) | Field::Size(_, range) | Field::Count(_, range) => range,
                _ => continue,
            };
            let mut set = |value: i128| (key.field)(&mut config).set(&Typed::Integer(value.to_string(), 10));
            let (start, end) = (i128::from(*range.start()), i128::from(*range.end()));
            assert!(set(start).is_ok() && set(end).is_ok(), "{}", key.name);
            for outside in [start - 1, end + 1, -1, i128::from(i64::MAX), i128::MAX] {
                let why = set(outside).expect_err(key.name).why;
                assert!(why.contains(&format!("from {start} to {end}, not ")), "{why}");
            }
        }
    }

    #[test]
    fn a_name_is_suggested_only_when_it_is_near() {
        let known = ["ping_interval", "ping_timeout", "enabled"];
        assert_eq!(nearest("ping_interal", known), Some("ping_interval"));
        assert_eq!(nearest("pingtimeout", known), Some("ping_timeout"));
        assert_eq!(nearest("colour", known), None);
    }
}
