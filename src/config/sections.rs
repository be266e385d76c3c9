//! The sections of the configuration: each key with its meaning, its type, its default, and the kind and range of its
//! value. The macro `sections` makes of each entry a field of the section's struct, its default, and a row of [`KEYS`].
//! Reading, printing, comparing and suggesting all walk [`KEYS`], so a new key is one entry here and its line in
//! `conf/jsocketd.toml`; a test compares the two. `value` has the kinds.

use std::ops::RangeInclusive;

use log::LevelFilter;

use super::address::{AdminListen, ListenAddr};
use super::allowed_origin::AllowedOrigin;
use super::key::{APPS, CHANNELS, ITEMS, Key, TLS_NAMES, WEBHOOKS};
use super::listen::ListenEntry;
use super::network::Networks;
use super::value::Field;
use super::{engine, text, tls};

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// In minutes, the unit of `$lifetime`.
const YEAR: u64 = 525_600;
/// In milliseconds, the unit of the times in `[database]` that can delay a tick.
const MINUTE: u64 = 60_000;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The ids of groups, view levels and users; no id is 0.
const IDS: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// The largest value of `max_connections`; also its effective value if descriptors are unlimited.
pub(super) const MOST_CONNECTIONS: u64 = 10_000_000;

/// The secret of [`App::built_in`]. It is public, so it is refused in every source.
pub(super) const BUILT_IN_SECRET: &str = "jsocketd-secret";

/// Declares sections: `STRUCT, HEADER, |config, at| PLACE => { KEYS }`, where a key is `NAME: TYPE = DEFAULT, KIND;`. A
/// key without a default is needed. `+` adds a field that is no key.
macro_rules! sections {
    ($(
        $(#[$about:meta])*
        $Section:ident, $header:expr, |$config:ident, $at:tt| $place:expr => {
            $( $(#[$doc:meta])* $name:ident: $type:ty $(= $default:expr)?, $Kind:ident $(($allowed:expr))?; )*
        } $(+ { $(#[$inner_doc:meta])* $inner:ident: $inner_type:ty })?
    )*) => {
        $(
            $(#[$about])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[$doc])* pub $name: $type, )*
                $( $(#[$inner_doc])* pub $inner: $inner_type, )?
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self {
                        $( $name: default!($($default)?), )*
                        $( $inner: <$inner_type>::default(), )?
                    }
                }
            }
        )*

        /// Every key, in the order of the sample file.
        pub(super) const KEYS: &[Key] = &[$($(
            Key {
                section: $header,
                name: stringify!($name),
                needed: <[&str]>::is_empty(&[$(stringify!($default))?]),
                field: |$config, $at| Field::$Kind(&mut $place.$name $(, $allowed)?),
            },
        )*)*];
    };
}

macro_rules! default {
    () => {
        Default::default()
    };
    ($value:expr) => {
        $value
    };
}

sections! {
    /// `[server]`: the addresses of the server and the clients that may use them.
    Server, "server", |config, _| config.server => {
        /// Where the server listens, and how connections begin there; at least one.
        listen: Vec<ListenEntry> = vec![ListenAddr::Tcp(([127, 0, 0, 1], 8080).into()).into()], Listeners(1);
        /// The processes that serve together, each with one loop.
        workers: usize = 1, Size(1..=64);
        /// Where the page and the state commands need no token. A Unix socket has mode 0600, whatever `unix_mode` says.
        admin_listen: AdminListen = AdminListen::Auto, AdminListener;
        /// The token that opens the same on `listen`; empty: they stay closed there.
        admin_token: String = String::new(), Secret(text::secret);
        /// Permission bits of `unix:` sockets.
        unix_mode: u32 = 0o660, Mode;
        /// Proxies whose forwarding headers count: addresses and networks.
        trusted_proxies: Networks = Networks::loopback(), Peers;
        /// Origins (`https://example.org`, `https://*.example.org`) besides the site's own.
        allowed_origins: Vec<AllowedOrigin> = Vec::new(), Origins;
        /// The most connections at once; 0: what the descriptor limit allows, less a reserve.
        max_connections: usize = 0, Size(0..=MOST_CONNECTIONS);
        /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` overrides it.
        log_level: LevelFilter = LevelFilter::Info, Level;
        /// The file with a line for each request and each connection; empty: none.
        access_log: String = String::new(), Text(text::plain);
    }

    /// `[tls]`: https and wss without a proxy. With a certificate each TCP address of `listen` speaks TLS unless it is
    /// `plain`.
    Tls, "tls", |config, _| config.tls => {
        /// The file of the certificate with its chain, in PEM; empty: none.
        certificate: String = String::new(), Text(text::plain);
        /// The file of its key, in PEM.
        key: String = String::new(), Text(text::plain);
        /// Addresses whose plain HTTP requests are redirected to https.
        redirect_from: Vec<ListenEntry> = Vec::new(), Listeners(0);
        /// A file of authorities that outgoing connections trust besides the built-in ones, in PEM; empty: none.
        ca: String = String::new(), Text(text::plain);
    } + {
        /// `[[tls.names]]`
        names: Vec<TlsName>
    }

    /// `[[tls.names]]`: a certificate for clients that ask for this name. The others get the one of `[tls]`.
    TlsName, TLS_NAMES, |config, at| config.tls.names[at.nth] => {
        /// `www.example.org`, or `*.example.org` for all names with one more label.
        name: String, Text(tls::host_pattern);
        /// The file of the certificate with its chain, in PEM.
        certificate: String, Text(text::plain);
        /// The file of its key, in PEM.
        key: String, Text(text::plain);
    }

    /// `[engine]`: the Valkey or Redis through which several processes are one server. All keys wait for a restart.
    Engine, "engine", |config, _| config.engine => {
        /// An [`EngineUrl`](super::EngineUrl), as it was typed; empty: this process is alone.
        url: String = String::new(), Text(engine::url);
        /// The user of an ACL; empty: the default one.
        user: String = String::new(), Text(text::plain);
        /// The password; empty: none. Never shown.
        password: String = String::new(), Secret(text::password);
        /// The beginning of every key that the server uses there. Servers with the same one are one cluster.
        prefix: String = "jsocketd:".into(), Text(engine::prefix);
        /// Seconds after which a process of which nothing was heard is taken for dead.
        lease: u64 = 10, Time(3..=60);
    }

    /// `[limits]`: times in seconds, sizes in bytes; 0 in a rate means no limit.
    Limits, "limits", |config, _| config.limits => {
        /// From accept to the end of the first request's head and body.
        handshake_timeout: u64 = 10, Time(1..=HOUR);
        /// How long an HTTP connection may be idle between two requests.
        keep_alive_timeout: u64 = 75, Time(1..=HOUR);
        /// How long a WebSocket may be silent before it gets a ping. nginx drops a silent connection after 60 s: the
        /// default is below that.
        ping_interval: u64 = 25, Time(1..=DAY);
        /// How long a WebSocket may stay silent after a ping; then it is dropped.
        ping_timeout: u64 = 30, Time(1..=HOUR);
        /// How long a message in fragments may stay unfinished.
        message_timeout: u64 = 30, Time(1..=HOUR);
        /// How long the peer may take to close its side once we closed ours.
        close_timeout: u64 = 3, Time(1..=60);
        /// A WebSocket message, with all its fragments.
        max_message_size: usize = 65_536, Size(1..=GIB - 1024);
        /// Fragments of one message; at least 65,537 or conformance cases fail.
        max_fragments: u32 = 100_000, Count(65_537..=16_777_216);
        /// Request line and headers together.
        max_head_size: usize = 16_384, Size(1024..=MIB);
        /// Header lines of a request.
        max_headers: usize = 100, Size(8..=1000);
        /// The body of a request.
        max_body_size: usize = 1_048_576, Size(0..=GIB);
        /// The send queue of one connection: the most bytes that may wait. A connection with more is a slow consumer
        /// and is dropped.
        send_queue_bytes: usize = 1_048_576, Size(4096..=GIB);
        /// How long more than a quarter of `send_queue_bytes` may wait.
        send_queue_seconds: u64 = 10, Time(1..=HOUR);
        /// Messages a second from one connection, in bursts of twice as many; above it the connection is read more
        /// slowly.
        messages_per_second: u32 = 0, Count(0..=1_000_000);
        /// New connections a second from one address, in bursts of five times as many; above it they get 429.
        connects_per_second: u32 = 100, Count(0..=1_000_000);
        /// Connections at once from one address; above it they get 429.
        connections_per_address: u32 = 0, Count(0..=MOST_CONNECTIONS);
        /// Connections at once with one session cookie; 0: any.
        connections_per_session: u32 = 100, Count(0..=MOST_CONNECTIONS);
        /// Subscriptions, unsubscribes, sign-ins and form tokens of one connection in a second, on average; 0: any.
        subscriptions_per_second: u32 = 100, Count(0..=1_000_000);
        /// Requests of one connection in a second, on average; where a proxy forwards them, of one address. Signed
        /// requests to the HTTP API do not count when they succeed. 0: any.
        requests_per_second: u32 = 100, Count(0..=1_000_000);
        /// How long a shutdown takes to close the open sockets.
        drain_seconds: u64 = 10, Time(0..=HOUR);
    }

    /// `[loop]`
    Loop, "loop", |config, _| config.looping => {
        /// Milliseconds from which a tick of the loop is slow: it is written to the log.
        slow_ms: u64 = 50, Time(1..=MINUTE);
    }

    /// `[console]`
    Console, "console", |config, _| config.console => {
        /// Whether `/` answers: the console protocol and its page.
        enabled: bool = true, Switch;
    }

    /// `[echo]`
    Echo, "echo", |config, _| config.echo => {
        /// Whether `/echo` answers.
        enabled: bool = true, Switch;
    }

    /// `[pusher]`: the Pusher Channels protocol, for all apps.
    Pusher, "pusher", |config, _| config.pusher => {
        /// The text before `/app/` and `/apps/` in every path: empty, or `/prefix`.
        path: String = String::new(), Text(text::path);
        /// Seconds of silence after which clients are told to ping.
        activity_timeout: u64 = 120, Time(1..=DAY);
        /// Whether a missing `protocol` parameter is refused with 4008 instead of taken as 7.
        strict_protocol: bool = false, Switch;
        /// Whether an Origin must be exactly the site's or an allowed one; any other is refused with 4009.
        strict_origin: bool = false, Switch;
        /// Seconds that a connection has to sign in or to join a private or presence channel; 0: for ever.
        authorization_timeout: u64 = 0, Time(0..=HOUR);
    }

    /// `[joomla]`: the site. Empty and 0 mean the value of its configuration.php.
    Joomla, "joomla", |config, _| config.joomla => {
        /// The folder of configuration.php; empty: none is read.
        root: String = String::new(), Text(text::plain);
        /// The id of the site's app: its connections get the site's identities and access rules.
        app: String = "joomla".into(), Text(text::name);
        /// Whether a connection is a guest until it has shown the form token of its session.
        require_form_token: bool = false, Switch;
        /// Whether channels without a prefix are open to guests; `None`: as com_websockets says, else they are.
        guests: Option<bool> = None, Inherit;
        /// Whether presence channels show real user ids and names instead of pseudonyms; `None`: as com_websockets
        /// says, else pseudonyms.
        presence_names: Option<bool> = None, Inherit;
        /// Seconds to find out the identity of a connection; then it is a guest for the time being.
        identity_timeout: u64 = 5, Time(1..=60);
        /// Seconds in which all sessions and all subscribed items are checked again.
        sweep_interval: u64 = 30, Time(1..=HOUR);
        /// `$secret`: never shown.
        secret: String = String::new(), Secret(text::plain);
        /// `$session_name`
        session_name: String = String::new(), Text(text::plain);
        /// `$shared_session`
        shared_session: Option<bool> = None, Inherit;
        /// `$session_handler`
        session_handler: String = String::new(), Text(text::handler);
        /// `$session_metadata`
        session_metadata: Option<bool> = None, Inherit;
        /// `$lifetime`: minutes for which a session lasts without a request.
        lifetime: u64 = 0, Time(0..=YEAR);
        /// `$live_site`
        live_site: String = String::new(), Text(text::live_site);
        /// `$offline`
        offline: Option<bool> = None, Inherit;
        /// `$root_user`: an id or a user name.
        root_user: String = String::new(), Text(text::plain);
    }

    /// `[database]`: the site's database. Empty means the value of configuration.php.
    Database, "database", |config, _| config.database => {
        /// As `$host`: `localhost`, `db.example.org:3307`, `unix:/path`, …
        host: String = String::new(), Text(text::plain);
        /// `$user`
        user: String = String::new(), Text(text::plain);
        /// `$password`: never shown.
        password: String = String::new(), Secret(text::password);
        /// `$db`
        name: String = String::new(), Text(text::plain);
        /// `$dbprefix`
        prefix: String = String::new(), Text(text::prefix);
        /// `off`, `on` (encrypted, the certificate is not checked), `verify`; empty: as configuration.php says.
        tls: String = String::new(), Text(text::tls);
        /// `$dbsslca`: a file with certificates in PEM.
        tls_ca: String = String::new(), Text(text::plain);
        /// `$dbsslcert`
        tls_cert: String = String::new(), Text(text::plain);
        /// `$dbsslkey`
        tls_key: String = String::new(), Text(text::plain);
        /// Whether the outbox table is read.
        outbox: bool = true, Switch;
        /// Milliseconds of a tick in which statements may be started.
        budget_ms: u64 = 10, Time(1..=1000);
        /// Percent of the loop's time for statements that take longer than `budget_ms`.
        share: u64 = 20, Time(1..=90);
        /// Milliseconds for a statement on the server.
        statement_ms: u64 = 100, Time(10..=10_000);
        /// Milliseconds for a whole answer; then its connection is given up.
        read_timeout_ms: u64 = 500, Time(11..=MINUTE);
        /// Milliseconds to connect.
        connect_timeout_ms: u64 = 1000, Time(10..=MINUTE);
        /// Milliseconds between two reads of the outbox table while rows come.
        poll_ms: u64 = 20, Time(5..=5000);
        /// Milliseconds between them while no row comes.
        idle_poll_ms: u64 = 100, Time(5..=5000);
        /// Seconds for which rows of the outbox table are kept.
        retention: u64 = 3600, Time(60..=7 * DAY);
        /// Rows of the table that are kept in memory for recovery, at most.
        history_rows: usize = 100_000, Size(0..=10_000_000);
        /// Their bytes, at most.
        history_bytes: usize = 64 << 20, Size(0..=GIB);
    }

    /// `[[apps]]`: one app of the Pusher protocol. Apps share nothing.
    App, APPS, |config, at| config.apps[at.nth] => {
        /// In paths of the HTTP API.
        id: String, Text(text::name);
        /// Public, in clients.
        key: String, Text(text::name);
        /// The key of all signatures; never shown. Only the site's app can have none: then nothing can be signed for
        /// it.
        secret: String, Secret(text::secret);
        /// Whether the app may be used at all; 4003 and 403 otherwise.
        enabled: bool = true, Switch;
        /// Connections at once, 0: no limit of its own; 4004 above.
        max_connections: usize = 0, Size(0..=MOST_CONNECTIONS);
        /// Client events; off by default as in the Pusher protocol.
        client_events: bool = false, Switch;
        /// `pusher:signin`.
        user_authentication: bool = true, Switch;
        /// Watchlist events.
        watchlist: bool = true, Switch;
        /// `subscription_count` events.
        subscription_count: bool = false, Switch;
        /// Client events a second and connection, and in a burst.
        client_events_per_second: u32 = 10, Count(1..=1_000_000);
        /// Channels of one connection.
        max_channels: usize = 1000, Size(1..=1_000_000);
        /// Bytes of all the app's subscriptions, with their channels and members; above it a subscription is refused.
        subscription_bytes: usize = 256 << 20, Size(65_536..=GIB);
        /// Distinct users of a presence channel.
        max_presence_members: usize = 100, Size(1..=100_000);
        /// Bytes of `user_info`.
        max_user_info_size: usize = 2048, Size(2..=65_536);
        /// Bytes of an event's data.
        max_event_size: usize = 10_240, Size(1..=MIB);
        /// Publishes a second through the HTTP API, each event and channel counted; 0: no limit; 429 above.
        publishes_per_second: u32 = 0, Count(0..=1_000_000);
        /// Seconds for which a cache channel's last event is kept.
        cache_ttl: u64 = 1800, Time(1..=DAY);
        /// Bytes of all cached events.
        cache_bytes: usize = 16 << 20, Size(0..=GIB);
        /// Events kept for recovery in one channel; 0: no recovery.
        history_events: usize = 1000, Size(0..=1_000_000);
        /// Bytes kept for recovery in one channel.
        history_channel_bytes: usize = 256 << 10, Size(0..=GIB);
        /// Bytes kept for recovery in all.
        history_bytes: usize = 16 << 20, Size(0..=GIB);
        /// Seconds for which an event is kept for recovery.
        history_seconds: u64 = 300, Time(1..=DAY);
    } + {
        /// `[[apps.webhooks]]`
        webhooks: Vec<Webhook>
    }

    /// `[[apps.webhooks]]`: where the server posts events of an app.
    Webhook, WEBHOOKS, |config, at| config.apps[at.nth].webhooks[at.webhook] => {
        /// An [`HttpUrl`](super::HttpUrl), as it was typed. It is shown, so it must not be a secret.
        url: String, Text(text::url);
        /// Some of [`WEBHOOK_EVENTS`](super::text::WEBHOOK_EVENTS); at least one.
        events: Vec<String>, Events;
        /// The beginning of the channels' names; empty: all channels.
        channel_prefix: String = String::new(), Text(text::channel_prefix);
        /// Extra headers: names and values. A value may be a token and is never shown. In the file they are a list of
        /// `"Name: value"`. Rejected: a TOML table, since every other table is a section.
        headers: Vec<(String, String)> = Vec::new(), Headers;
    }

    /// `[[channels]]`: who may subscribe to private and presence channels beyond the site's own rules.
    ChannelRule, CHANNELS, |config, at| config.channels[at.nth] => {
        /// The whole name with its prefix; `*` stands for any number of characters.
        pattern: String, Text(text::pattern);
        /// The members of these groups may, with those of their subgroups,
        groups: Vec<u32> = Vec::new(), Numbers(IDS);
        /// the users with one of these view levels,
        levels: Vec<u32> = Vec::new(), Numbers(IDS);
        /// and these users.
        users: Vec<u32> = Vec::new(), Numbers(IDS);
    }

    /// `[[items]]`: a table of items that have channels of their own, `private-NAME.ID`. An empty name of a column
    /// means that the table has none.
    ItemType, ITEMS, |config, at| config.items[at.nth] => {
        /// `com_example.item`
        name: String, Text(text::item);
        /// Without the prefix: `example_items`.
        table: String, Text(text::identifier);
        /// The key's column.
        id: String, Text(text::identifier);
        /// The column of the view level.
        access: String, Text(text::identifier);
        /// The column of the state: 1 published, 2 archived.
        state: String = String::new(), Text(text::column);
        /// The column of the time of publication.
        publish_up: String = String::new(), Text(text::column);
        /// The column of the end of publication.
        publish_down: String = String::new(), Text(text::column);
        /// The column of the category's id.
        category: String = String::new(), Text(text::column);
    }
}

impl App {
    /// An app with these credentials and every default.
    pub fn new(id: &str, key: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
            ..Self::default()
        }
    }

    /// The app of the embedded defaults. It may use everything that the page shows, since its users are on this
    /// machine.
    pub(crate) fn built_in() -> Self {
        Self {
            client_events: true,
            ..Self::new("joomla", "jsocketd-key", BUILT_IN_SECRET)
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
