//! The one table of all keys: which table of the file each one stands in, where it lives in [`Config`], what kind of value
//! it takes and in which range; `value` knows the kinds. Reading, printing, comparing and suggesting all walk this table, so a
//! new key is one line here, its field and its default in the parent, and its line in `conf/jsocketd.toml`; a test compares
//! the three.

use std::ops::RangeInclusive;

use super::value::Field;
use super::{App, ChannelRule, Config, ItemType, MOST_CONNECTIONS, Secrets, Webhook, text};

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
    /// In each `[[channels]]`.
    Rule(for<'a> fn(&'a mut ChannelRule) -> Field<'a>),
    /// In each `[[items]]`.
    Item(for<'a> fn(&'a mut ItemType) -> Field<'a>),
}

/// Which one, among the tables that may stand several times. Meaningless for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// Of all with this header.
    nth: usize,
    /// Of this app.
    webhook: usize,
}

const APPS: &str = "apps";
const WEBHOOKS: &str = "apps.webhooks";
pub(super) const CHANNELS: &str = "channels";
pub(super) const ITEMS: &str = "items";

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// In minutes, the unit of `$lifetime`.
const YEAR: u64 = 525_600;
/// In milliseconds, as all times of `[database]` that a tick can feel.
const MINUTE: u64 = 60_000;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The ids of groups, view levels and users: 0 is nobody's.
const IDS: RangeInclusive<u64> = 1..=u32::MAX as u64;

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

const fn rule(name: &'static str, field: for<'a> fn(&'a mut ChannelRule) -> Field<'a>) -> Key {
    Key {
        section: CHANNELS,
        name,
        needed: false,
        place: Place::Rule(field),
    }
}

const fn item(name: &'static str, field: for<'a> fn(&'a mut ItemType) -> Field<'a>) -> Key {
    Key {
        section: ITEMS,
        name,
        needed: false,
        place: Place::Item(field),
    }
}

/// Every key, in the order of the sample file.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("server", "listen", |c| Field::Listeners(&mut c.server.listen)),
    key("server", "admin_listen", |c| Field::Listener(&mut c.server.admin_listen)),
    key("server", "admin_token", |c| Field::Secret(&mut c.server.admin_token, text::secret)),
    key("server", "unix_mode", |c| Field::Mode(&mut c.server.unix_mode)),
    key("server", "trusted_proxies", |c| Field::Peers(&mut c.server.trusted_proxies)),
    key("server", "allowed_origins", |c| Field::Origins(&mut c.server.allowed_origins)),
    key("server", "max_connections", |c| Field::Size(&mut c.server.max_connections, 0..=MOST_CONNECTIONS)),
    key("server", "log_level", |c| Field::Level(&mut c.server.log_level)),
    key("limits", "handshake_timeout", |c| Field::Time(&mut c.limits.handshake_timeout, 1..=HOUR)),
    key("limits", "keep_alive_timeout", |c| Field::Time(&mut c.limits.keep_alive_timeout, 1..=HOUR)),
    key("limits", "ping_interval", |c| Field::Time(&mut c.limits.ping_interval, 1..=DAY)),
    key("limits", "ping_timeout", |c| Field::Time(&mut c.limits.ping_timeout, 1..=HOUR)),
    key("limits", "message_timeout", |c| Field::Time(&mut c.limits.message_timeout, 1..=HOUR)),
    key("limits", "close_timeout", |c| Field::Time(&mut c.limits.close_timeout, 1..=60)),
    key("limits", "max_message_size", |c| Field::Size(&mut c.limits.max_message_size, 1..=GIB - 1024)),
    key("limits", "max_fragments", |c| Field::Count(&mut c.limits.max_fragments, 65_537..=16_777_216)),
    key("limits", "max_head_size", |c| Field::Size(&mut c.limits.max_head_size, 1024..=MIB)),
    key("limits", "max_headers", |c| Field::Size(&mut c.limits.max_headers, 8..=1000)),
    key("limits", "max_body_size", |c| Field::Size(&mut c.limits.max_body_size, 0..=GIB)),
    key("limits", "outbox_bytes", |c| Field::Size(&mut c.limits.outbox_bytes, 4096..=GIB)),
    key("limits", "outbox_seconds", |c| Field::Time(&mut c.limits.outbox_seconds, 1..=HOUR)),
    key("limits", "messages_per_second", |c| Field::Count(&mut c.limits.messages_per_second, 0..=1_000_000)),
    key("limits", "connects_per_second", |c| Field::Count(&mut c.limits.connects_per_second, 0..=1_000_000)),
    key("limits", "connections_per_address", |c| Field::Count(&mut c.limits.connections_per_address, 0..=MOST_CONNECTIONS)),
    key("limits", "connections_per_session", |c| Field::Count(&mut c.limits.connections_per_session, 0..=MOST_CONNECTIONS)),
    key("limits", "subscriptions_per_second", |c| Field::Count(&mut c.limits.subscriptions_per_second, 0..=1_000_000)),
    key("limits", "requests_per_second", |c| Field::Count(&mut c.limits.requests_per_second, 0..=1_000_000)),
    key("limits", "drain_seconds", |c| Field::Time(&mut c.limits.drain_seconds, 0..=HOUR)),
    key("console", "enabled", |c| Field::Switch(&mut c.console.enabled)),
    key("echo", "enabled", |c| Field::Switch(&mut c.echo.enabled)),
    key("pusher", "path", |c| Field::Text(&mut c.pusher.path, text::path)),
    key("pusher", "activity_timeout", |c| Field::Time(&mut c.pusher.activity_timeout, 1..=DAY)),
    key("pusher", "strict_protocol", |c| Field::Switch(&mut c.pusher.strict_protocol)),
    key("pusher", "strict_origin", |c| Field::Switch(&mut c.pusher.strict_origin)),
    key("pusher", "authorization_timeout", |c| Field::Time(&mut c.pusher.authorization_timeout, 0..=HOUR)),
    key("joomla", "root", |c| Field::Text(&mut c.joomla.root, text::plain)),
    key("joomla", "app", |c| Field::Text(&mut c.joomla.app, text::name)),
    key("joomla", "require_form_token", |c| Field::Switch(&mut c.joomla.require_form_token)),
    key("joomla", "guests", |c| Field::Inherit(&mut c.joomla.guests)),
    key("joomla", "presence_names", |c| Field::Inherit(&mut c.joomla.presence_names)),
    key("joomla", "identity_timeout", |c| Field::Time(&mut c.joomla.identity_timeout, 1..=60)),
    key("joomla", "sweep_interval", |c| Field::Time(&mut c.joomla.sweep_interval, 1..=HOUR)),
    key("joomla", "secret", |c| Field::Secret(&mut c.joomla.secret, text::plain)),
    key("joomla", "session_name", |c| Field::Text(&mut c.joomla.session_name, text::plain)),
    key("joomla", "shared_session", |c| Field::Inherit(&mut c.joomla.shared_session)),
    key("joomla", "session_handler", |c| Field::Text(&mut c.joomla.session_handler, text::handler)),
    key("joomla", "session_metadata", |c| Field::Inherit(&mut c.joomla.session_metadata)),
    key("joomla", "lifetime", |c| Field::Time(&mut c.joomla.lifetime, 0..=YEAR)),
    key("joomla", "live_site", |c| Field::Text(&mut c.joomla.live_site, text::live_site)),
    key("joomla", "offline", |c| Field::Inherit(&mut c.joomla.offline)),
    key("joomla", "root_user", |c| Field::Text(&mut c.joomla.root_user, text::plain)),
    key("database", "host", |c| Field::Text(&mut c.database.host, text::plain)),
    key("database", "user", |c| Field::Text(&mut c.database.user, text::plain)),
    key("database", "password", |c| Field::Secret(&mut c.database.password, text::password)),
    key("database", "name", |c| Field::Text(&mut c.database.name, text::plain)),
    key("database", "prefix", |c| Field::Text(&mut c.database.prefix, text::prefix)),
    key("database", "tls", |c| Field::Text(&mut c.database.tls, text::tls)),
    key("database", "tls_ca", |c| Field::Text(&mut c.database.tls_ca, text::plain)),
    key("database", "tls_cert", |c| Field::Text(&mut c.database.tls_cert, text::plain)),
    key("database", "tls_key", |c| Field::Text(&mut c.database.tls_key, text::plain)),
    key("database", "outbox", |c| Field::Switch(&mut c.database.outbox)),
    key("database", "budget_ms", |c| Field::Time(&mut c.database.budget_ms, 1..=1000)),
    key("database", "share", |c| Field::Time(&mut c.database.share, 1..=90)),
    key("database", "statement_ms", |c| Field::Time(&mut c.database.statement_ms, 10..=10_000)),
    key("database", "read_timeout_ms", |c| Field::Time(&mut c.database.read_timeout_ms, 11..=MINUTE)),
    key("database", "connect_timeout_ms", |c| Field::Time(&mut c.database.connect_timeout_ms, 10..=MINUTE)),
    key("database", "poll_ms", |c| Field::Time(&mut c.database.poll_ms, 5..=5000)),
    key("database", "idle_poll_ms", |c| Field::Time(&mut c.database.idle_poll_ms, 5..=5000)),
    key("database", "retention", |c| Field::Time(&mut c.database.retention, 60..=7 * DAY)),
    key("database", "history_rows", |c| Field::Size(&mut c.database.history_rows, 0..=10_000_000)),
    key("database", "history_bytes", |c| Field::Size(&mut c.database.history_bytes, 0..=GIB)),
    app("id", |a| Field::Text(&mut a.id, text::name)).needed(),
    app("key", |a| Field::Text(&mut a.key, text::name)).needed(),
    app("secret", |a| Field::Secret(&mut a.secret, text::secret)).needed(),
    app("enabled", |a| Field::Switch(&mut a.enabled)),
    app("max_connections", |a| Field::Size(&mut a.max_connections, 0..=MOST_CONNECTIONS)),
    app("client_events", |a| Field::Switch(&mut a.client_events)),
    app("user_authentication", |a| Field::Switch(&mut a.user_authentication)),
    app("watchlist", |a| Field::Switch(&mut a.watchlist)),
    app("subscription_count", |a| Field::Switch(&mut a.subscription_count)),
    app("client_events_per_second", |a| Field::Count(&mut a.client_events_per_second, 1..=1_000_000)),
    app("max_channels", |a| Field::Size(&mut a.max_channels, 1..=1_000_000)),
    app("subscription_bytes", |a| Field::Size(&mut a.subscription_bytes, 65_536..=GIB)),
    app("max_presence_members", |a| Field::Size(&mut a.max_presence_members, 1..=100_000)),
    app("max_user_info_size", |a| Field::Size(&mut a.max_user_info_size, 2..=65_536)),
    app("max_event_size", |a| Field::Size(&mut a.max_event_size, 1..=MIB)),
    app("publishes_per_second", |a| Field::Count(&mut a.publishes_per_second, 0..=1_000_000)),
    app("cache_ttl", |a| Field::Time(&mut a.cache_ttl, 1..=DAY)),
    app("cache_bytes", |a| Field::Size(&mut a.cache_bytes, 0..=GIB)),
    app("history_events", |a| Field::Size(&mut a.history_events, 0..=1_000_000)),
    app("history_channel_bytes", |a| Field::Size(&mut a.history_channel_bytes, 0..=GIB)),
    app("history_bytes", |a| Field::Size(&mut a.history_bytes, 0..=GIB)),
    app("history_seconds", |a| Field::Time(&mut a.history_seconds, 1..=DAY)),
    webhook("url", |w| Field::Text(&mut w.url, text::url)).needed(),
    webhook("events", |w| Field::Events(&mut w.events)).needed(),
    webhook("channel_prefix", |w| Field::Text(&mut w.channel_prefix, text::channel_prefix)),
    webhook("headers", |w| Field::Headers(&mut w.headers)),
    rule("pattern", |r| Field::Text(&mut r.pattern, text::pattern)).needed(),
    rule("groups", |r| Field::Numbers(&mut r.groups, IDS)),
    rule("levels", |r| Field::Numbers(&mut r.levels, IDS)),
    rule("users", |r| Field::Numbers(&mut r.users, IDS)),
    item("name", |i| Field::Text(&mut i.name, text::item)).needed(),
    item("table", |i| Field::Text(&mut i.table, text::identifier)).needed(),
    item("id", |i| Field::Text(&mut i.id, text::identifier)).needed(),
    item("access", |i| Field::Text(&mut i.access, text::identifier)).needed(),
    item("state", |i| Field::Text(&mut i.state, text::column)),
    item("publish_up", |i| Field::Text(&mut i.publish_up, text::column)),
    item("publish_down", |i| Field::Text(&mut i.publish_down, text::column)),
    item("category", |i| Field::Text(&mut i.category, text::column)),
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
            Place::App(field) => field(&mut config.apps[at.nth]),
            Place::Webhook(field) => field(&mut config.apps[at.nth].webhooks[at.webhook]),
            Place::Rule(field) => field(&mut config.channels[at.nth]),
            Place::Item(field) => field(&mut config.items[at.nth]),
        }
    }

    /// Its environment variable. `[server]` is what everybody sets, so it goes without its section. Of apps only the first
    /// one's credentials come from there: that is what a container is given.
    pub(super) fn variable(&self) -> Option<String> {
        let name = match self.section {
            "server" => format!("JSOCKETD_{}", self.name),
            APPS if self.needed => format!("JSOCKETD_APP_{}", self.name),
            section if is_array(section) => return None,
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
    pub(super) const FIRST: Self = Self { nth: 0, webhook: 0 };

    /// Number `n` of the apps, the channel rules or the item types.
    pub(super) const fn nth(n: usize) -> Self {
        Self { nth: n, webhook: 0 }
    }

    /// Number `n` of the tables `section` within this one.
    pub(super) fn inner(self, section: &str, n: usize) -> Self {
        match section {
            WEBHOOKS => Self { webhook: n, ..self },
            _ => Self::nth(n),
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
        _ => {}
    }
    if section == WEBHOOKS && config.apps[at.nth].webhooks.len() <= at.webhook {
        config.apps[at.nth].webhooks.resize(at.webhook + 1, Webhook::default());
    }
}

/// What tells the tables of an array apart: the value of the key that its header is followed by. Webhooks have none; they
/// belong to their app.
pub(super) fn names<'a>(config: &'a Config, section: &str) -> Vec<&'a str> {
    match section {
        APPS => config.apps.iter().map(|app| app.id.as_str()).collect(),
        CHANNELS => config.channels.iter().map(|rule| rule.pattern.as_str()).collect(),
        ITEMS => config.items.iter().map(|item| item.name.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// What differs: keys as `limits.ping_interval` and `apps.joomla.watchlist`, an app's webhooks as a whole, and tables that
/// only one of the two has. Apps, channel rules and item types are told apart by their names; their order means nothing.
pub(super) fn differences(one: &Config, other: &Config) -> Vec<String> {
    let (mut old, mut new) = (one.clone(), other.clone());
    let mut differ = |key: &Key, here: At, there: At| {
        key.field(&mut old, here).literal(Secrets::Shown) != key.field(&mut new, there).literal(Secrets::Shown)
    };
    let once = KEYS.iter().filter(|key| !is_array(key.section));
    let mut told: Vec<_> = once
        .filter(|key| differ(key, At::FIRST, At::FIRST))
        .map(|key| format!("{}.{}", key.section, key.name))
        .collect();
    for section in [APPS, CHANNELS, ITEMS] {
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

    /// The defaults, with the app, the webhook, the rule and the item type of the sample, so that every key has a value.
    fn specimen() -> Config {
        let mut app = App::new("joomla", "joomla-key", "");
        app.webhooks.push(Webhook {
            url: "http://127.0.0.1:9000/hook".into(),
            events: super::super::WEBHOOK_EVENTS.map(str::to_owned).into(),
            ..Webhook::default()
        });
        Config {
            apps: vec![app],
            channels: vec![ChannelRule {
                pattern: "private-staff-*".into(),
                groups: vec![6, 7, 8],
                ..ChannelRule::default()
            }],
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
                .contains("`secret` in [[apps]] must have 12 characters or more"),
            "{refused}"
        );
        let text = sample().replace("secret = \"\"  # signs", "secret = \"0123456789ab\"  # signs");
        let mut wanted = specimen();
        wanted.apps[0].secret = "0123456789ab".into();
        assert_eq!(super::super::Sources::parse(path, &text).expect("a good file"), wanted);
    }

    /// Every key with its range, if it has one.
    fn ranges() -> impl Iterator<Item = (&'static Key, std::ops::RangeInclusive<u64>)> {
        let mut config = specimen();
        KEYS.iter()
            .filter_map(move |key| match key.field(&mut config, At::FIRST) {
                Field::Time(_, range) | Field::Size(_, range) | Field::Count(_, range) => Some((key, range)),
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

    fn typed(value: &toml::Value) -> Typed {
        match value {
            toml::Value::Integer(number) => Typed::Integer(number.to_string(), 10),
            toml::Value::Boolean(value) => Typed::Switch(*value),
            toml::Value::String(text) => Typed::Text(text.clone()),
            toml::Value::Array(list) => Typed::List(list.iter().map(typed).collect()),
            other => panic!("no key takes {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_in_their_ranges_and_survive_printing() {
        let mut config = specimen();
        config.apps[0].secret = "0123456789ab".into();
        let parsed: toml::Table = config.to_toml(Secrets::Shown).parse().expect("TOML");
        let before = config.clone();
        for key in KEYS {
            let table = match key.section {
                WEBHOOKS => &parsed[APPS][0]["webhooks"][0],
                section if is_array(section) => &parsed[section][0],
                section => &parsed[section],
            };
            let typed = typed(&table[key.name]);
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
