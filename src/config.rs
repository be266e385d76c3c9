//! What the server is told: the configuration file, the environment and the command line, as one typed value.
//!
//! This file says what each key means and what it is by default. `keys` is the one table of all keys: reading, printing,
//! comparing and suggesting go through it. `load` finds the sources, `merge` makes one configuration of them, `file` reads
//! TOML with its places, `value`, `text`, `url`, `address` and `origin` parse.
//! Serde's derive was the loser: it stops at the first mistake and knows neither a range nor the nearest key.

mod address;
mod file;
mod keys;
mod load;
mod merge;
mod origin;
mod text;
mod url;
mod value;

use std::net::IpAddr;

pub use address::{BadAddress, HostName, ListenAddr};
pub use load::{LoadError, Loaded, Place, Problem, Sources};
pub use text::{SHORT_SECRET, SHORTEST_SECRET};
pub use url::{BadUrl, HttpUrl};

/// Everything, with every default filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[limits]`
    pub limits: Limits,
    /// `[console]`
    pub console: Console,
    /// `[echo]`
    pub echo: Echo,
    /// `[pusher]`
    pub pusher: Pusher,
    /// `[joomla]`
    pub joomla: Joomla,
    /// `[database]`
    pub database: Database,
    /// `[[apps]]`; under the embedded defaults the one with the built-in credentials.
    pub apps: Vec<App>,
    /// `[[channels]]`
    pub channels: Vec<ChannelRule>,
    /// `[[items]]`, besides [`ItemType::article`], which is always there.
    pub items: Vec<ItemType>,
    /// Whether there is no configuration file, no site, no admin token or listener, no app of somebody's own, and all listeners
    /// are loopback TCP. Only then are the state commands and the page free for all local callers, and only then does the app
    /// with the built-in credentials exist: the page shows them. A `unix:` listener does not count as local: its
    /// usual client is a proxy, which lends its own nearness to everybody.
    pub embedded_defaults: bool,
}

/// `[server]`: where the server is reached and by whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where the server listens; at least one.
    pub listen: Vec<ListenAddr>,
    /// Where the page and the state commands answer without a token.
    pub admin_listen: Option<ListenAddr>,
    /// The token that opens the same on `listen`; empty: nobody.
    pub admin_token: String,
    /// Permission bits of `unix:` sockets.
    pub unix_mode: u32,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Origins (`https://example.org`) besides the site's own.
    pub allowed_origins: Vec<String>,
    /// The most connections at once; 0: what the descriptor limit allows, less a reserve.
    pub max_connections: usize,
    /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` beats it.
    pub log_level: log::LevelFilter,
}

/// `[limits]`: times in seconds, sizes in bytes; 0 in a rate means no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// From accept to the end of the first request's head and body.
    pub handshake_timeout: u64,
    /// How long an HTTP connection may be idle between two requests.
    pub keep_alive_timeout: u64,
    /// A WebSocket that was silent for so long gets a ping. The default is below the 60 s after which nginx drops a silent
    /// connection.
    pub ping_interval: u64,
    /// A WebSocket that stays silent for so long after a ping is dropped.
    pub ping_timeout: u64,
    /// How long an unfinished (fragmented) message may stay unfinished.
    pub message_timeout: u64,
    /// How long a connection that we closed may take to close its side.
    pub close_timeout: u64,
    /// A WebSocket message: the sum of its fragments.
    pub max_message_size: usize,
    /// Fragments of one message; at least 65,537 or conformance cases fail.
    pub max_fragments: u32,
    /// Request line and headers together.
    pub max_head_size: usize,
    /// Header lines of a request.
    pub max_headers: usize,
    /// The body of a request.
    pub max_body_size: usize,
    /// A slow consumer's hard limit: bytes that wait to be written to one connection …
    pub outbox_bytes: usize,
    /// … and how long more than a quarter of it may wait.
    pub outbox_seconds: u64,
    /// Messages a second from one connection (bursts of twice as many); above it the connection is read more slowly.
    pub messages_per_second: u32,
    /// New connections a second from one address (bursts of five times as many); above it they get 429.
    pub connects_per_second: u32,
    /// Connections at once from one address; above it they get 429.
    pub connections_per_address: u32,
    /// Connections that may show one session cookie at once; 0: any.
    pub connections_per_session: u32,
    /// Subscriptions, their ends, sign-ins and form tokens of one connection in a second, on average; 0: any.
    pub subscriptions_per_second: u32,
    /// Requests of one connection in a second, on average, or of one address by a proxy's connections. Signed ones of the HTTP
    /// API that succeed do not count. 0: any.
    pub requests_per_second: u32,
    /// Over how many seconds live sockets are closed on shutdown.
    pub drain_seconds: u64,
}

/// `[pusher]`: the Pusher Channels protocol, for all apps.
#[derive(Clone, Debug, PartialEq)]
pub struct Pusher {
    /// What stands before `/app/` and `/apps/` in every path: empty, or `/prefix`.
    pub path: String,
    /// Seconds of silence after which clients are told to ping.
    pub activity_timeout: u64,
    /// Whether a missing `protocol` parameter is refused with 4008 instead of taken as 7.
    pub strict_protocol: bool,
    /// Whether everybody is refused with 4009 whose Origin is not exactly the site's or an allowed one.
    pub strict_origin: bool,
    /// Seconds that a connection has to sign in or to join a private or presence channel; 0: for ever.
    pub authorization_timeout: u64,
}

/// `[joomla]`: the site. What is empty or 0 is taken from its configuration.php.
#[derive(Clone, Debug, PartialEq)]
pub struct Joomla {
    /// The folder that configuration.php is in; empty: there is none to be read.
    pub root: String,
    /// The id of the app whose connections get the site's identities and access rules.
    pub app: String,
    /// `$secret`: never shown.
    pub secret: String,
    /// `$session_name`
    pub session_name: String,
    /// `$shared_session`
    pub shared_session: Option<bool>,
    /// `$session_handler`
    pub session_handler: String,
    /// `$session_metadata`
    pub session_metadata: Option<bool>,
    /// `$lifetime`: minutes that a session lives without a request.
    pub lifetime: u64,
    /// `$live_site`
    pub live_site: String,
    /// `$offline`
    pub offline: Option<bool>,
    /// `$root_user`: an id or a user name.
    pub root_user: String,
    /// Whether a connection is a guest until it has proved itself with the form token of its session.
    pub require_form_token: bool,
    /// Whether channels without a prefix are open to guests; `None`: as com_websockets says, and they are if it says nothing.
    pub guests: Option<bool>,
    /// Whether presence channels show real user ids and names instead of pseudonyms; `None`: as com_websockets says, and they
    /// do not if it says nothing.
    pub presence_names: Option<bool>,
    /// Seconds after which a connection whose identity is not known is a guest for the time being.
    pub identity_timeout: u64,
    /// Seconds in which every session and every item that is subscribed to is looked at again.
    pub sweep_interval: u64,
}

/// `[database]`: the site's database. What is empty is taken from configuration.php.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// As `$host`: `localhost`, `db.example.org:3307`, `unix:/path`, …
    pub host: String,
    /// `$user`
    pub user: String,
    /// `$password`: never shown.
    pub password: String,
    /// `$db`
    pub name: String,
    /// `$dbprefix`
    pub prefix: String,
    /// `off`, `on` (encrypted, the certificate is not checked), `verify`; empty: as configuration.php says.
    pub tls: String,
    /// `$dbsslca`: a file with certificates in PEM.
    pub tls_ca: String,
    /// `$dbsslcert`
    pub tls_cert: String,
    /// `$dbsslkey`
    pub tls_key: String,
    /// Whether the outbox table is read.
    pub outbox: bool,
    /// Milliseconds of a tick in which statements may be started.
    pub budget_ms: u64,
    /// Percent of the loop's time that statements may have which take longer than that.
    pub share: u64,
    /// Milliseconds that a statement may take on the server.
    pub statement_ms: u64,
    /// Milliseconds that a whole answer may take until its connection is given up.
    pub read_timeout_ms: u64,
    /// Milliseconds that a connection may take to be made.
    pub connect_timeout_ms: u64,
    /// Milliseconds between two looks at the outbox table while rows come …
    pub poll_ms: u64,
    /// … and while none come.
    pub idle_poll_ms: u64,
    /// Seconds that rows of the outbox table are kept.
    pub retention: u64,
    /// The most rows of the table that are kept in memory for recovery.
    pub history_rows: usize,
    /// The most bytes of them.
    pub history_bytes: usize,
}

/// `[[channels]]`: who may subscribe to private and presence channels that the site's own rules do not cover.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelRule {
    /// The whole name with its prefix; `*` stands for any characters, none included.
    pub pattern: String,
    /// Whoever is in one of these groups, inherited groups included, …
    pub groups: Vec<u32>,
    /// … or has one of these view levels …
    pub levels: Vec<u32>,
    /// … or is one of these users.
    pub users: Vec<u32>,
}

/// `[[items]]`: a table of items that have channels of their own, `private-NAME.ID`. An empty column name: the table has no
/// such column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemType {
    /// `com_example.item`
    pub name: String,
    /// Without the prefix: `example_items`.
    pub table: String,
    /// The key's column.
    pub id: String,
    /// The column of the view level.
    pub access: String,
    /// The column of the state: 1 published, 2 archived.
    pub state: String,
    /// The column of the time from which it is shown.
    pub publish_up: String,
    /// The column of the time up to which it is shown.
    pub publish_down: String,
    /// The column of the category's id.
    pub category: String,
}

/// `[[apps]]`: one app of the Pusher protocol. Apps know nothing of each other.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// In paths of the HTTP API.
    pub id: String,
    /// Public, in clients.
    pub key: String,
    /// Signs; never shown. Empty, which only the site's app can be: nothing can be signed for it.
    pub secret: String,
    /// Whether it may be used at all; 4003 and 403 otherwise.
    pub enabled: bool,
    /// Connections at once, 0: no limit of its own; 4004 above.
    pub max_connections: usize,
    /// Client events; off by default as in the Pusher protocol.
    pub client_events: bool,
    /// `pusher:signin`.
    pub user_authentication: bool,
    /// Watchlist events.
    pub watchlist: bool,
    /// `subscription_count` events.
    pub subscription_count: bool,
    /// Client events a second and connection, and in a burst.
    pub client_events_per_second: u32,
    /// Channels of one connection.
    pub max_channels: usize,
    /// Bytes that all subscriptions of the app take, with their channels and members; then nobody may subscribe.
    pub subscription_bytes: usize,
    /// Distinct users of a presence channel.
    pub max_presence_members: usize,
    /// Bytes of `user_info`.
    pub max_user_info_size: usize,
    /// Bytes of an event's data.
    pub max_event_size: usize,
    /// Publishes a second through the HTTP API, each event and channel counted; 0: no limit; 429 above.
    pub publishes_per_second: u32,
    /// Seconds that a cache channel's last event is kept.
    pub cache_ttl: u64,
    /// Bytes of all cached events.
    pub cache_bytes: usize,
    /// Events kept for recovery in one channel; 0: no recovery.
    pub history_events: usize,
    /// Bytes kept for recovery in one channel.
    pub history_channel_bytes: usize,
    /// Bytes kept for recovery in all.
    pub history_bytes: usize,
    /// Seconds that an event is kept for recovery.
    pub history_seconds: u64,
    /// `[[apps.webhooks]]`
    pub webhooks: Vec<Webhook>,
}

/// `[[apps.webhooks]]`: where events of an app are posted to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Webhook {
    /// An [`HttpUrl`], as it was typed. Not a secret: it is shown.
    pub url: String,
    /// Which of [`WEBHOOK_EVENTS`]; at least one.
    pub events: Vec<String>,
    /// Only channels whose name starts so; empty: all.
    pub channel_prefix: String,
    /// Extra headers: names and values. A value may be a token and is never shown. In the file they are a list of
    /// `"Name: value"`; a TOML table lost because it would be the only one that is not a section.
    pub headers: Vec<(String, String)>,
}

/// The events that a webhook can be asked for (Pusher docs, "Webhooks").
pub const WEBHOOK_EVENTS: [&str; 7] = [
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
];

/// The secret of [`App::built_in`]. Everybody knows it, so it is refused wherever somebody writes it.
const BUILT_IN_SECRET: &str = "jsocketd-secret";

/// `[console]`
#[derive(Clone, Debug, PartialEq)]
pub struct Console {
    /// Whether `/` answers: the console protocol and its page.
    pub enabled: bool,
}

/// `[echo]`
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    /// Whether `/echo` answers.
    pub enabled: bool,
}

/// Descriptors that are not for connections: the poller, listeners, signals, webhooks, the database, files, and those that
/// are taken in beyond `max_connections` only to be told so.
pub const RESERVED_DESCRIPTORS: u64 = 128;

/// The most that `max_connections` may ask for; also the answer where descriptors are unlimited.
pub const MOST_CONNECTIONS: u64 = 10_000_000;

/// What a reload comes to: see [`Config::reloaded`].
#[derive(Clone, Debug, PartialEq)]
pub struct Reload {
    /// What is in force from now on.
    pub config: Config,
    /// What changed and is in force: keys (`limits.ping_interval`, `apps.joomla.watchlist`, `apps.joomla.webhooks`) and
    /// tables that came or went (`apps.shop (added)`, `channels.private-staff-* (removed)`).
    pub changed: Vec<String>,
    /// What changed in the sources but keeps its old value until a restart.
    pub restart: Vec<String>,
}

impl Config {
    /// The configuration as TOML, every key in the order of the sample file, ready to be loaded again. With
    /// [`Secrets::Masked`], a secret that is set reads `***`, which is refused when it is loaded.
    pub fn to_toml(&self, secrets: Secrets) -> String {
        let mut copy = self.clone();
        let mut tables = Vec::new();
        for (section, at) in keys::tables(self) {
            let mut text = format!("{}\n", keys::title(section));
            for key in keys::in_section(section) {
                text += &format!("{} = {}\n", key.name, key.field(&mut copy, at).literal(secrets));
            }
            tables.push(text);
        }
        tables.join("\n")
    }

    /// How many connections may be open at once when the process may have `descriptors` of them.
    pub fn connections_for(&self, descriptors: u64) -> usize {
        let reserve = RESERVED_DESCRIPTORS.min(descriptors / 4);
        let room = usize::try_from((descriptors - reserve).min(MOST_CONNECTIONS)).unwrap_or(usize::MAX);
        match self.server.max_connections {
            0 => room,
            wanted => wanted.min(room),
        }
    }

    /// What becomes of this running configuration when `new` was just loaded: sockets that are bound stay as they are.
    /// `embedded_defaults` can be lost by a reload but never gained, since the old listeners go on; nor is the app that
    /// comes with it.
    pub fn reloaded(&self, new: &Config) -> Reload {
        let mut config = new.clone();
        config.server.listen.clone_from(&self.server.listen);
        config.server.admin_listen.clone_from(&self.server.admin_listen);
        config.server.unix_mode = self.server.unix_mode;
        if config.embedded_defaults && !self.embedded_defaults {
            config.embedded_defaults = false;
            config.apps.clear();
        }
        Reload {
            changed: keys::differences(self, &config),
            restart: keys::differences(&config, new),
            config,
        }
    }
}

/// Whether secrets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// As they are: only for a file that the caller protects.
    Shown,
    /// As `***`; an empty one as empty.
    Masked,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::Tcp(([127, 0, 0, 1], 8080).into())],
            admin_listen: None,
            admin_token: String::new(),
            unix_mode: 0o660,
            trusted_proxies: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
            allowed_origins: Vec::new(),
            max_connections: 0,
            log_level: log::LevelFilter::Info,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: 10,
            keep_alive_timeout: 75,
            ping_interval: 50,
            ping_timeout: 30,
            message_timeout: 30,
            close_timeout: 3,
            max_message_size: 65_536,
            max_fragments: 100_000,
            max_head_size: 16_384,
            max_headers: 100,
            max_body_size: 1_048_576,
            outbox_bytes: 1_048_576,
            outbox_seconds: 10,
            messages_per_second: 0,
            connects_per_second: 100,
            connections_per_address: 0,
            connections_per_session: 100,
            subscriptions_per_second: 100,
            requests_per_second: 100,
            drain_seconds: 10,
        }
    }
}

impl Default for Joomla {
    fn default() -> Self {
        Self {
            root: String::new(),
            app: "joomla".into(),
            secret: String::new(),
            session_name: String::new(),
            shared_session: None,
            session_handler: String::new(),
            session_metadata: None,
            lifetime: 0,
            live_site: String::new(),
            offline: None,
            root_user: String::new(),
            require_form_token: false,
            guests: None,
            presence_names: None,
            identity_timeout: 5,
            sweep_interval: 30,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            host: String::new(),
            user: String::new(),
            password: String::new(),
            name: String::new(),
            prefix: String::new(),
            tls: String::new(),
            tls_ca: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            outbox: true,
            budget_ms: 10,
            share: 20,
            statement_ms: 100,
            read_timeout_ms: 500,
            connect_timeout_ms: 1000,
            poll_ms: 20,
            idle_poll_ms: 100,
            retention: 3600,
            history_rows: 100_000,
            history_bytes: 64 << 20,
        }
    }
}

impl ItemType {
    /// Joomla's own articles.
    pub fn article() -> Self {
        Self {
            name: "com_content.article".into(),
            table: "content".into(),
            id: "id".into(),
            access: "access".into(),
            state: "state".into(),
            publish_up: "publish_up".into(),
            publish_down: "publish_down".into(),
            category: "catid".into(),
        }
    }
}

impl Config {
    /// Whether there is a site: its folder, or at least its database.
    pub fn has_site(&self) -> bool {
        !self.joomla.root.is_empty() || !self.database.name.is_empty()
    }

    /// All item types; [`crate::store::Question::Items`] names one by its index.
    pub fn item_types(&self) -> Vec<ItemType> {
        let mut types = vec![ItemType::article()];
        types.extend(
            self.items
                .iter()
                .filter(|item| item.name != "com_content.article")
                .cloned(),
        );
        types
    }
}

impl Default for Pusher {
    fn default() -> Self {
        Self {
            path: String::new(),
            activity_timeout: 120,
            strict_protocol: false,
            strict_origin: false,
            authorization_timeout: 0,
        }
    }
}

impl App {
    /// The app of the embedded defaults. It may do all that the page shows, for its users are on this machine.
    pub(crate) fn built_in() -> Self {
        Self {
            client_events: true,
            ..Self::new("joomla", "jsocketd-key", BUILT_IN_SECRET)
        }
    }

    /// An app with these credentials and every default.
    pub fn new(id: &str, key: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
            enabled: true,
            max_connections: 0,
            client_events: false,
            user_authentication: true,
            watchlist: true,
            subscription_count: false,
            client_events_per_second: 10,
            max_channels: 1000,
            subscription_bytes: 256 << 20,
            max_presence_members: 100,
            max_user_info_size: 2048,
            max_event_size: 10_240,
            publishes_per_second: 0,
            cache_ttl: 1800,
            cache_bytes: 16 << 20,
            history_events: 1000,
            history_channel_bytes: 256 << 10,
            history_bytes: 16 << 20,
            history_seconds: 300,
            webhooks: Vec::new(),
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Echo {
    fn default() -> Self {
        Self { enabled: true }
    }
}
