//! The one table of all keys: which table of the file each one stands in, where it lives in [`Config`], what kind of value
//! it takes and in which range; `value` knows the kinds. Reading, printing, comparing and suggesting all walk this table, so a
//! new key is one line here, its field and its default in the parent, and its line in `conf/jsocketd.toml`; a test compares
//! the three.

use super::value::Field;
use super::{App, Config, MOST_CONNECTIONS, Secrets, Webhook, text};

/// A key of the configuration.
pub(super) struct Key {
    /// The name of its table: `limits`, `apps.webhooks`.
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// Whether it has no default: whoever writes the table must write the key.
    pub(super) needed: bool,
    place: Place,
}

/// The place of a key's value, to be read or written.
enum Place {
    /// In a table that stands once, `[limits]`.
    Once(for<'a> fn(&'a mut Config) -> Field<'a>),
    /// In each `[[apps]]`.
    App(for<'a> fn(&'a mut App) -> Field<'a>),
    /// In each `[[apps.webhooks]]`.
    Webhook(for<'a> fn(&'a mut Webhook) -> Field<'a>),
}

/// Which one, among the tables that may stand several times. Meaningless for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    app: usize,
    webhook: usize,
}

const APPS: &str = "apps";
const WEBHOOKS: &str = "apps.webhooks";

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The fewest characters of an app's secret.
const SHORTEST_SECRET: usize = 8;

const fn key(section: &'static str, name: &'static str, field: for<'a> fn(&'a mut Config) -> Field<'a>) -> Key {
    Key {
        section,
        name,
        needed: false,
        place: Place::Once(field),
    }
}

const fn app(name: &'static str, field: for<'a> fn(&'a mut App) -> Field<'a>) -> Key {
    Key {
        section: APPS,
        name,
        needed: false,
        place: Place::App(field),
    }
}

const fn webhook(name: &'static str, field: for<'a> fn(&'a mut Webhook) -> Field<'a>) -> Key {
    Key {
        section: WEBHOOKS,
        name,
        needed: false,
        place: Place::Webhook(field),
    }
}

/// Every key, in the order of the sample file.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("server", "listen", |c| Field::Listeners(&mut c.server.listen)),
    key("server", "admin_listen", |c| Field::Listener(&mut c.server.admin_listen)),
    key("server", "admin_token", |c| Field::Secret(&mut c.server.admin_token, 0)),
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
    key("pusher", "path", |c| Field::Text(&mut c.pusher.path, text::path)),
    key("pusher", "activity_timeout", |c| Field::Seconds(&mut c.pusher.activity_timeout, 1..=DAY)),
    key("pusher", "strict_protocol", |c| Field::Switch(&mut c.pusher.strict_protocol)),
    key("pusher", "strict_origin", |c| Field::Switch(&mut c.pusher.strict_origin)),
    key("pusher", "authorization_timeout", |c| Field::Seconds(&mut c.pusher.authorization_timeout, 0..=HOUR)),
    app("id", |a| Field::Text(&mut a.id, text::name)).needed(),
    app("key", |a| Field::Text(&mut a.key, text::name)).needed(),
    app("secret", |a| Field::Secret(&mut a.secret, SHORTEST_SECRET)).needed(),
    app("enabled", |a| Field::Switch(&mut a.enabled)),
    app("max_connections", |a| Field::Size(&mut a.max_connections, 0..=MOST_CONNECTIONS)),
    app("client_events", |a| Field::Switch(&mut a.client_events)),
    app("user_authentication", |a| Field::Switch(&mut a.user_authentication)),
    app("watchlist", |a| Field::Switch(&mut a.watchlist)),
    app("subscription_count", |a| Field::Switch(&mut a.subscription_count)),
    app("client_events_per_second", |a| Field::Count(&mut a.client_events_per_second, 1..=1_000_000)),
    app("max_channels", |a| Field::Size(&mut a.max_channels, 1..=1_000_000)),
    app("max_presence_members", |a| Field::Size(&mut a.max_presence_members, 1..=100_000)),
    app("max_user_info_size", |a| Field::Size(&mut a.max_user_info_size, 2..=65_536)),
    app("max_event_size", |a| Field::Size(&mut a.max_event_size, 1..=MIB)),
    app("publishes_per_second", |a| Field::Count(&mut a.publishes_per_second, 0..=1_000_000)),
    app("cache_ttl", |a| Field::Seconds(&mut a.cache_ttl, 1..=DAY)),
    app("cache_bytes", |a| Field::Size(&mut a.cache_bytes, 0..=GIB)),
    app("history_events", |a| Field::Size(&mut a.history_events, 0..=1_000_000)),
    app("history_channel_bytes", |a| Field::Size(&mut a.history_channel_bytes, 0..=GIB)),
    app("history_bytes", |a| Field::Size(&mut a.history_bytes, 0..=GIB)),
    app("history_seconds", |a| Field::Seconds(&mut a.history_seconds, 1..=DAY)),
    webhook("url", |w| Field::Text(&mut w.url, text::url)).needed(),
    webhook("events", |w| Field::Events(&mut w.events)).needed(),
    webhook("channel_prefix", |w| Field::Text(&mut w.channel_prefix, text::channel_prefix)),
    webhook("headers", |w| Field::Headers(&mut w.headers)),
];

impl Key {
    const fn needed(mut self) -> Self {
        self.needed = true;
        self
    }

    /// The place of its value in the table `at`, for which there is room.
    pub(super) fn field<'a>(&self, config: &'a mut Config, at: At) -> Field<'a> {
        match self.place {
            Place::Once(field) => field(config),
            Place::App(field) => field(&mut config.apps[at.app]),
            Place::Webhook(field) => field(&mut config.apps[at.app].webhooks[at.webhook]),
        }
    }

    /// Its environment variable. `[server]` is what everybody sets, so it goes without its section. Of apps only the first
    /// one's credentials come from there: that is what a container is given.
    pub(super) fn variable(&self) -> Option<String> {
        let name = match self.section {
            "server" => format!("JSOCKETD_{}", self.name),
            APPS if self.needed => format!("JSOCKETD_APP_{}", self.name),
            APPS | WEBHOOKS => return None,
            section => format!("JSOCKETD_{section}_{}", self.name),
        };
        Some(name.to_uppercase())
    }

    /// Whether this is one of the three keys that make an app.
    pub(super) fn is_credential(&self) -> bool {
        self.section == APPS && self.needed
    }
}

impl At {
    /// The first table of any kind.
    pub(super) const FIRST: Self = Self { app: 0, webhook: 0 };

    /// The app number `n`.
    pub(super) const fn app(n: usize) -> Self {
        Self { app: n, webhook: 0 }
    }

    /// Number `n` of the tables `section` within this one.
    pub(super) fn inner(self, section: &str, n: usize) -> Self {
        match section {
            WEBHOOKS => Self { webhook: n, ..self },
            _ => Self::app(n),
        }
    }
}

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
    in_section(section).any(|key| !matches!(key.place, Place::Once(_)))
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
    let once = sections().into_iter().filter(|section| !is_array(section));
    let mut tables: Vec<_> = once.map(|section| (section, At::FIRST)).collect();
    for (n, app) in config.apps.iter().enumerate() {
        tables.push((APPS, At::app(n)));
        tables.extend((0..app.webhooks.len()).map(|webhook| (WEBHOOKS, At { app: n, webhook })));
    }
    tables
}

/// Makes room for the table `at`, without the keys that it needs.
pub(super) fn make_room(config: &mut Config, section: &str, at: At) {
    let apps = &mut config.apps;
    while is_array(section) && apps.len() <= at.app {
        apps.push(App::new("", "", ""));
    }
    while section == WEBHOOKS && apps[at.app].webhooks.len() <= at.webhook {
        apps[at.app].webhooks.push(Webhook::default());
    }
}

/// What differs: keys as `limits.ping_interval` and `apps.joomla.watchlist`, an app's webhooks as a whole, and apps that
/// only one of the two has. Apps are told apart by their ids; their order means nothing.
pub(super) fn differences(one: &Config, other: &Config) -> Vec<String> {
    let (mut old, mut new) = (one.clone(), other.clone());
    let mut differ = |key: &Key, here: At, there: At| {
        key.field(&mut old, here).literal(Secrets::Shown) != key.field(&mut new, there).literal(Secrets::Shown)
    };
    let once = KEYS.iter().filter(|key| !is_array(key.section));
    let mut names: Vec<_> = once
        .filter(|key| differ(key, At::FIRST, At::FIRST))
        .map(|key| format!("{}.{}", key.section, key.name))
        .collect();
    for (here, app) in one.apps.iter().enumerate() {
        let id = &app.id;
        let Some(there) = other.apps.iter().position(|new| new.id == *id) else {
            names.push(format!("{APPS}.{id} (removed)"));
            continue;
        };
        names.extend(
            in_section(APPS)
                .filter(|key| differ(key, At::app(here), At::app(there)))
                .map(|key| format!("{APPS}.{id}.{}", key.name)),
        );
        if app.webhooks != other.apps[there].webhooks {
            names.push(format!("{APPS}.{id}.webhooks"));
        }
    }
    let known = |id: &str| one.apps.iter().any(|app| app.id == id);
    names.extend(
        other
            .apps
            .iter()
            .filter(|app| !known(&app.id))
            .map(|app| format!("{APPS}.{} (added)", app.id)),
    );
    names
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

    /// The sample with the commented-out tables in force: a `#` that stands for that has no blank behind it.
    fn sample() -> String {
        let line = |line: &'static str| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with([' ', '#']) => setting,
            _ => line,
        };
        SAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The defaults, with the app and the webhook of the sample, so that every key has a value.
    fn specimen() -> Config {
        let mut app = App::new("joomla", "joomla-key", "");
        app.webhooks.push(Webhook {
            url: "http://127.0.0.1:9000/hook".into(),
            events: super::super::WEBHOOK_EVENTS.map(str::to_owned).into(),
            ..Webhook::default()
        });
        Config {
            apps: vec![app],
            ..Config::default()
        }
    }

    #[test]
    fn the_sample_file_says_every_default() {
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
    fn the_sample_app_waits_only_for_a_secret() {
        let path = std::path::Path::new("sample");
        let refused = super::super::Sources::parse(path, &sample()).expect_err("no secret");
        assert!(
            refused
                .to_string()
                .ends_with("`secret` in [[apps]] must have 8 characters or more"),
            "{refused}"
        );
        let text = sample().replace("secret = \"\"", "secret = \"12345678\"");
        let mut wanted = specimen();
        wanted.apps[0].secret = "12345678".into();
        assert_eq!(super::super::Sources::parse(path, &text).expect("a good file"), wanted);
    }

    /// Every key with its range, if it has one.
    fn ranges() -> impl Iterator<Item = (&'static Key, std::ops::RangeInclusive<u64>)> {
        let mut config = specimen();
        KEYS.iter()
            .filter_map(move |key| match key.field(&mut config, At::FIRST) {
                Field::Seconds(_, range) | Field::Size(_, range) | Field::Count(_, range) => Some((key, range)),
                _ => None,
            })
    }

    #[test]
    fn the_sample_file_says_every_range() {
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
        config.apps[0].secret = "12345678".into();
        let parsed: toml::Table = config.to_toml(Secrets::Shown).parse().expect("TOML");
        let before = config.clone();
        for key in KEYS {
            let table = match key.section {
                WEBHOOKS => &parsed[APPS][0]["webhooks"][0],
                APPS => &parsed[APPS][0],
                section => &parsed[section],
            };
            let typed = match &table[key.name] {
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
            key.field(&mut config, At::FIRST).set(&typed).expect(key.name);
        }
        assert_eq!(config, before);
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
            let mut set = |value: i128| {
                key.field(&mut config, At::FIRST)
                    .set(&Typed::Integer(value.to_string(), 10))
            };
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
