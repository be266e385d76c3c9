//! The configuration file, the environment and the command line as one typed value, [`Config`].
//!
//! `sections` declares each key with its meaning, default and range; `keys` looks them up. [`Sources`] (`load`) finds
//! the sources; `file` and `environment` read them into a `draft`, which puts each value where it belongs and remembers
//! its place; `rules` checks values against each other; `openness` says who may see the page. `value`, `text`, `url`,
//! `address`, `listen` and `origin` parse values. Rejected: serde's derive, since it stops at the first mistake and
//! knows neither a range nor the nearest key.

mod address;
mod allowed_origin;
mod draft;
mod engine;
mod environment;
mod file;
mod key;
mod keys;
mod listen;
mod load;
mod network;
mod openness;
mod origin;
mod problem;
mod rules;
mod sections;
mod service_links;
mod text;
mod tls;
mod url;
mod value;

pub use address::{AdminListen, BadAddress, HostName, ListenAddr};
pub use allowed_origin::AllowedOrigin;
pub use engine::{EnginePlace, EngineUrl, LARGEST_SHARED_EVENT};
pub use listen::ListenEntry;
pub use load::{Inspected, Loaded, Sources};
pub use network::{BadNetwork, Network, Networks};
pub use openness::openness;
pub use origin::{BadOrigin, Origin};
pub use problem::{LoadError, Place, Problem};
pub use sections::{
    App, ChannelRule, Console, Database, Echo, Engine, ItemType, Joomla, Limits, Loop, Pusher, Server, Tls, TlsName,
    Webhook,
};
pub use text::{SHORT_SECRET, SHORTEST_SECRET, WEBHOOK_EVENTS};
pub use url::{BadUrl, HttpUrl};
pub use value::Secrets;

use sections::MOST_CONNECTIONS;

/// All sections, with every default filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[tls]`
    pub tls: Tls,
    /// `[engine]`
    pub engine: Engine,
    /// `[limits]`
    pub limits: Limits,
    /// `[loop]`
    pub looping: Loop,
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
    /// Whether there is no configuration file, no site, no admin token or listener, no configured app, and all
    /// listeners are loopback TCP. Only then are the state commands and the page open to all local callers, and only
    /// then does the app with the built-in credentials exist, which the page shows. A `unix:` listener does not count
    /// as local: its usual client is a proxy, which forwards requests from anywhere.
    pub embedded_defaults: bool,
}

/// Descriptors that are not for connections: the poller, listeners, signals, webhooks, the database, files, and the
/// connections beyond `max_connections`, which are accepted only to send them a refusal.
pub const RESERVED_DESCRIPTORS: u64 = 128;

/// The result of a reload: see [`Config::reloaded`].
#[derive(Clone, Debug, PartialEq)]
pub struct Reload {
    /// The configuration in force from now on.
    pub config: Config,
    /// The changes that are in force: keys (`limits.ping_interval`, `apps.joomla.watchlist`, `apps.joomla.webhooks`)
    /// and tables that were added or removed (`apps.shop (added)`, `channels.private-staff-* (removed)`).
    pub changed: Vec<String>,
    /// Keys that changed in the sources but keep their old values until a restart.
    pub restart: Vec<String>,
}

impl Config {
    /// The configuration as TOML, every key in the order of the sample file, ready to be loaded again. With
    /// [`Secrets::MASKED`], a secret that is set reads `***`, which is refused when it is loaded.
    pub fn to_toml(&self, secrets: Secrets) -> String {
        let mut copy = self.clone();
        let mut tables = Vec::new();
        for (section, at) in keys::tables(self) {
            let mut text = format!("{}\n", keys::title(section));
            for key in keys::in_section(section) {
                text += &format!("{} = {}\n", key.name, (key.field)(&mut copy, at).literal(secrets));
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

    /// The configuration in force after a reload, when this one was in force and `new` was just loaded: bound sockets
    /// stay as they are, and speak TLS or not as before. A reload can end `embedded_defaults` but not begin it, since
    /// the old listeners go on; the same holds for the built-in app.
    pub fn reloaded(&self, new: &Config) -> Reload {
        let mut config = new.clone();
        config.server.listen.clone_from(&self.server.listen);
        config.server.admin_listen.clone_from(&self.server.admin_listen);
        config.server.unix_mode = self.server.unix_mode;
        config.server.workers = self.server.workers;
        config.tls.redirect_from.clone_from(&self.tls.redirect_from);
        config.engine.clone_from(&self.engine);
        if config.tls.is_on() != self.tls.is_on() {
            let ca = std::mem::take(&mut config.tls.ca);
            config.tls = Tls { ca, ..self.tls.clone() };
        }
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
