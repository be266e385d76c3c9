//! Look-ups in the table of keys: all keys and sections, the tables of a configuration, and the differences between two
//! configurations.

use super::key::{APPS, At, CHANNELS, ITEMS, Key, TLS_NAMES, WEBHOOKS};
use super::sections::{App, ChannelRule, ItemType, KEYS, TlsName, Webhook};
use super::{Config, Secrets};

/// The key of this name in this section.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    in_section(section).find(|key| key.name == name)
}

/// The keys of a section.
pub(super) fn in_section(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// All sections, each once.
pub(super) fn sections() -> Vec<&'static str> {
    let mut names: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    names.dedup();
    names
}

/// The section `name` within the section `outer`; the outermost one is the file itself and has no name.
pub(super) fn section_in(outer: &str, name: &str) -> Option<&'static str> {
    sections()
        .into_iter()
        .find(|section| section.rsplit_once('.').unwrap_or(("", section)) == (outer, name))
}

/// Whether a section may stand several times.
pub(super) fn is_array(section: &str) -> bool {
    [APPS, WEBHOOKS, CHANNELS, ITEMS, TLS_NAMES].contains(&section)
}

/// A section as its header stands in the file.
pub(super) fn title(section: &str) -> String {
    match is_array(section) {
        true => format!("[[{section}]]"),
        false => format!("[{section}]"),
    }
}

/// Every table that a configuration has, in the order of the file.
pub(super) fn tables(config: &Config) -> Vec<(&'static str, At)> {
    let mut tables = Vec::new();
    for section in sections() {
        match section {
            TLS_NAMES => tables.extend((0..config.tls.names.len()).map(|n| (TLS_NAMES, At::nth(n)))),
            section if !is_array(section) => tables.push((section, At::FIRST)),
            _ => {}
        }
    }
    for (n, app) in config.apps.iter().enumerate() {
        tables.push((APPS, At::nth(n)));
        tables.extend((0..app.webhooks.len()).map(|webhook| (WEBHOOKS, At { nth: n, webhook })));
    }
    tables.extend((0..config.channels.len()).map(|n| (CHANNELS, At::nth(n))));
    tables.extend((0..config.items.len()).map(|n| (ITEMS, At::nth(n))));
    tables
}

/// Makes room for the table `at`, without the keys that it needs.
pub(super) fn make_room(config: &mut Config, section: &str, at: At) {
    let most = at.nth + 1;
    match section {
        APPS | WEBHOOKS if config.apps.len() < most => config.apps.resize(most, App::new("", "", "")),
        CHANNELS if config.channels.len() < most => config.channels.resize(most, ChannelRule::default()),
        ITEMS if config.items.len() < most => config.items.resize(most, ItemType::default()),
        TLS_NAMES if config.tls.names.len() < most => config.tls.names.resize(most, TlsName::default()),
        _ => {}
    }
    if section == WEBHOOKS && config.apps[at.nth].webhooks.len() <= at.webhook {
        config.apps[at.nth].webhooks.resize(at.webhook + 1, Webhook::default());
    }
}

/// The names of the keys that hold a secret, each once and in order.
pub(super) fn secrets(config: &Config) -> Vec<&'static str> {
    let mut copy = config.clone();
    let mut names = Vec::new();
    for (section, at) in tables(config) {
        let secrets = in_section(section).filter(|key| (key.field)(&mut copy, at).holds_secret());
        names.extend(secrets.map(|key| key.name));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The names of the tables of a section, which tell them apart: the values of the first key. Webhooks have none, since
/// they belong to their app.
pub(super) fn names<'a>(config: &'a Config, section: &str) -> Vec<&'a str> {
    match section {
        APPS => config.apps.iter().map(|app| app.id.as_str()).collect(),
        CHANNELS => config.channels.iter().map(|rule| rule.pattern.as_str()).collect(),
        ITEMS => config.items.iter().map(|item| item.name.as_str()).collect(),
        TLS_NAMES => config.tls.names.iter().map(|name| name.name.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// The differences: keys as `limits.ping_interval` and `apps.joomla.watchlist`, an app's webhooks as a whole, and
/// tables that only one of the two has. Apps, channel rules and item types are compared by their names; their order
/// does not matter.
pub(super) fn differences(one: &Config, other: &Config) -> Vec<String> {
    let (mut old, mut new) = (one.clone(), other.clone());
    let mut differ = |key: &Key, here: At, there: At| {
        (key.field)(&mut old, here).literal(Secrets::Shown) != (key.field)(&mut new, there).literal(Secrets::Shown)
    };
    let once = KEYS.iter().filter(|key| !is_array(key.section));
    let mut told: Vec<_> = once
        .filter(|key| differ(key, At::FIRST, At::FIRST))
        .map(|key| format!("{}.{}", key.section, key.name))
        .collect();
    for section in [TLS_NAMES, APPS, CHANNELS, ITEMS] {
        let (before, after) = (names(one, section), names(other, section));
        for (here, name) in before.iter().enumerate() {
            let Some(there) = after.iter().position(|new| new == name) else {
                told.push(format!("{section}.{name} (removed)"));
                continue;
            };
            told.extend(
                in_section(section)
                    .filter(|key| differ(key, At::nth(here), At::nth(there)))
                    .map(|key| format!("{section}.{name}.{}", key.name)),
            );
            if section == APPS && one.apps[here].webhooks != other.apps[there].webhooks {
                told.push(format!("{APPS}.{name}.webhooks"));
            }
        }
        let added = after.iter().filter(|name| !before.contains(name));
        told.extend(added.map(|name| format!("{section}.{name} (added)")));
    }
    told
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::value::{Field, Typed};
    use super::super::{Sources, Tls, WEBHOOK_EVENTS};
    use super::*;

    const SAMPLE: &str = include_str!("../../conf/jsocketd.toml");

    /// The sample with the commented-out tables in force: a `#` that stands for that has no blank behind it.
    fn sample() -> String {
        let line = |line: &'static str| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with([' ', '#']) => setting,
            _ => line,
        };
        SAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The defaults, with the name, the app, the webhook, the rule and the item type of the sample, so that every key
    /// has a value.
    fn specimen() -> Config {
        let mut app = App::new("joomla", "joomla-key", "");
        app.webhooks.push(Webhook {
            url: "http://127.0.0.1:9000/hook".into(),
            events: WEBHOOK_EVENTS.map(str::to_owned).into(),
            ..Webhook::default()
        });
        Config {
            apps: vec![app],
            channels: vec![ChannelRule {
                pattern: "private-staff-*".into(),
                groups: vec![6, 7, 8],
                ..ChannelRule::default()
            }],
            tls: Tls {
                names: vec![TlsName {
                    name: "www.example.net".into(),
                    certificate: "/etc/letsencrypt/live/example.net/fullchain.pem".into(),
                    key: "/etc/letsencrypt/live/example.net/privkey.pem".into(),
                }],
                ..Tls::default()
            },
            items: vec![ItemType {
                name: "com_example.item".into(),
                table: "example_items".into(),
                id: "id".into(),
                access: "access".into(),
                ..ItemType::default()
            }],
            ..Config::default()
        }
    }

    #[test]
    fn the_sample_file_has_every_default() {
        let sample = sample();
        let lines: Vec<&str> = sample
            .lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .collect();
        let shown = specimen().to_toml(Secrets::Shown);
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
    fn the_sample_app_lacks_only_a_secret() {
        let path = Path::new("sample");
        let refused = Sources::parse(path, &sample()).expect_err("no secret");
        assert!(
            refused
                .to_string()
                .contains("`secret` in [[apps]] must have 12 characters or more"),
            "{refused}"
        );
        let text = sample()
            .replace("secret = \"\"  # signs", "secret = \"0123456789ab\"  # signs")
            .replace("certificate = \"\"  #", "certificate = \"/c\"  #")
            .replace("key = \"\"  # the file", "key = \"/k\"  # the file");
        let mut wanted = specimen();
        (wanted.tls.certificate, wanted.tls.key) = ("/c".into(), "/k".into());
        wanted.apps[0].secret = "0123456789ab".into();
        assert_eq!(Sources::parse(path, &text).expect("a good file"), wanted);
    }

    /// Every key with its range, if it has one.
    fn ranges() -> impl Iterator<Item = (&'static Key, std::ops::RangeInclusive<u64>)> {
        let mut config = specimen();
        KEYS.iter()
            .filter_map(move |key| match (key.field)(&mut config, At::FIRST) {
                Field::Time(_, range) | Field::Size(_, range) | Field::Count(_, range) => Some((key, range)),
                _ => None,
            })
    }

    #[test]
    fn the_sample_file_has_every_range() {
        let sample = sample();
        for (key, range) in ranges() {
            let (_, section) = sample
                .split_once(&format!("\n{}\n", title(key.section)))
                .expect(key.section);
            let line = section
                .lines()
                .find(|line| line.starts_with(&format!("{} = ", key.name)))
                .expect(key.name);
            let wanted = format!("({} to {})", range.start(), range.end());
            assert!(line.ends_with(&wanted), "{line}\nlacks {wanted}");
        }
    }

    #[test]
    fn the_defaults_are_in_their_ranges_and_survive_printing() {
        let mut config = specimen();
        config.apps[0].secret = "0123456789ab".into();
        (config.tls.certificate, config.tls.key) = ("/c".into(), "/k".into());
        let printed = config.to_toml(Secrets::Shown);
        assert_eq!(
            Sources::parse(Path::new("printed"), &printed).expect("a good file"),
            config
        );
    }

    #[test]
    fn every_variable_has_one_meaning() {
        let mut names: Vec<_> = KEYS.iter().filter_map(Key::variable).collect();
        names.push("JSOCKETD_CONFIG".into());
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn ranges_hold_at_both_ends() {
        for (key, range) in ranges() {
            let mut config = specimen();
            let mut set = |value: i128| (key.field)(&mut config, At::FIRST).set(&Typed::Integer(value.to_string(), 10));
            let (start, end) = (i128::from(*range.start()), i128::from(*range.end()));
            assert!(set(start).is_ok() && set(end).is_ok(), "{}", key.name);
            for outside in [start - 1, end + 1, -1, i128::from(i64::MAX), i128::MAX] {
                let why = set(outside).expect_err(key.name).why;
                assert!(why.contains(&format!("from {start} to {end}, not ")), "{why}");
            }
        }
    }
}
