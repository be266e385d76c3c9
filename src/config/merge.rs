//! Merges what was typed into one configuration and says everything that is wrong with it at once, each mistake with its
//! place: what no single key can get wrong is checked here, what is allowed but probably not meant is warned of. What a single
//! value may be is in `value`.

use std::path::Path;

use super::keys::{self, At, CHANNELS, ITEMS, Key};
use super::load::{Found, LoadError, Place, Problem, Setting};
use super::{App, BUILT_IN_SECRET, Config, ListenAddr, SHORT_SECRET, text};

/// What an outbox must hold besides the largest message: its frame's header, pongs and the close frame.
const OUTBOX_ROOM: usize = 1024;

/// An event must fit this often into an outbox, or one event with many quotes, each escaped twice on its way, could make
/// all subscribers slow consumers.
const EVENTS_IN_OUTBOX: usize = 4;

/// A key by its section and name.
type Name = (&'static str, &'static str);

/// The key that several checks are about.
const OUTBOX: Name = ("limits", "outbox_bytes");

/// The key that a flag sets too.
pub(super) const ROOT: Name = ("joomla", "root");

/// What was put together so far, and where each accepted word on a key was said.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) config: Config,
    places: Vec<(&'static Key, At, Place)>,
}

impl Merged {
    pub(super) fn of(found: Found, problems: &mut Vec<Problem>) -> Self {
        let mut merged = Self::default();
        for table in &found.tables {
            keys::make_room(&mut merged.config, table.section, table.at);
            problems.extend(found.missing(table));
        }
        for setting in found.settings {
            merged.put(setting, problems);
        }
        merged.refuse_doubles(problems);
        merged
    }

    /// A flag had the last word on a key.
    pub(super) fn note(&mut self, (section, name): Name, place: Place) {
        let key = keys::find(section, name).expect("the table has it");
        self.places.push((key, At::FIRST, place));
    }

    fn put(&mut self, setting: Setting, problems: &mut Vec<Problem>) {
        let Setting {
            key,
            at,
            typed,
            place,
            items,
        } = setting;
        match key.field(&mut self.config, at).set(&typed) {
            Ok(()) => self.places.push((key, at, place)),
            Err(refusal) => {
                let item = refusal.item.and_then(|index| items.get(index).cloned());
                problems.push(Problem {
                    place: item.unwrap_or(place),
                    what: format!("`{}` in {} {}", key.name, keys::title(key.section), refusal.why),
                });
            }
        }
    }

    /// Where the last word on a key of this table was said.
    fn said(&self, (section, name): Name, at: At) -> Option<Place> {
        let mut places = self.places.iter().rev();
        let is = |key: &Key| key.section == section && key.name == name;
        places
            .find(|(key, of, _)| is(key) && *of == at)
            .map(|(_, _, place)| place.clone())
    }

    /// The place of the first of these keys that somebody set; at least one was, or the defaults contradict each other.
    fn place(&self, keys: &[(Name, At)]) -> Place {
        let found = keys.iter().find_map(|(key, at)| self.said(*key, *at));
        debug_assert!(found.is_some(), "the defaults of {keys:?} contradict each other");
        found.unwrap_or_else(|| Place::File("the defaults".into()))
    }

    /// No two apps may have the same id or key, no two rules the same pattern, no two item types the same name. Told of
    /// tables with other mistakes too.
    fn refuse_doubles(&self, problems: &mut Vec<Problem>) {
        let keys: Vec<_> = self.config.apps.iter().map(|app| app.key.as_str()).collect();
        for (section, name, values) in [
            ("apps", "id", keys::names(&self.config, "apps")),
            ("apps", "key", keys),
            (CHANNELS, "pattern", keys::names(&self.config, CHANNELS)),
            (ITEMS, "name", keys::names(&self.config, ITEMS)),
        ] {
            for (n, value) in values.iter().enumerate() {
                // A value that was refused or is missing has no place.
                if values[..n].contains(value)
                    && let Some(place) = self.said((section, name), At::nth(n))
                {
                    let what = format!("`{name}` in [[{section}]] is {value:?} a second time");
                    problems.push(Problem { place, what });
                }
            }
        }
    }

    /// The site's folder must be there. Only asked where the site is to be served: a trace is replayed anywhere.
    pub(super) fn refuse_missing_folder(&self, problems: &mut Vec<Problem>) {
        let root = &self.config.joomla.root;
        if root.is_empty() {
            return;
        }
        let why = match Path::new(root).metadata() {
            Ok(found) if found.is_dir() => return,
            Ok(_) => "it is not a folder".to_owned(),
            Err(error) => error.to_string(),
        };
        problems.push(Problem {
            place: self.place(&[(ROOT, At::FIRST)]),
            what: format!("`root` in [joomla] cannot be {root:?}: {why}"),
        });
    }

    /// A site without an app of its own gets one. It has no secret, so nobody can sign anything for it: its channels are open
    /// by the site's rules alone.
    pub(super) fn add_site_app(&mut self, problems: &mut Vec<Problem>) {
        let config = &mut self.config;
        let id = config.joomla.app.clone();
        if !config.has_site() || config.apps.iter().any(|app| app.id == id) {
            return;
        }
        if let Some(n) = config.apps.iter().position(|app| app.key == id) {
            return problems.push(Problem {
                place: self.place(&[(("apps", "key"), At::nth(n))]),
                what: format!(
                    "`key` in [[apps]] is {id:?}, which is the key of the site's own app as long as that has no entry"
                ),
            });
        }
        config.apps.push(App::new(&id, &id, ""));
    }

    pub(super) fn refuse_the_built_in_secret(&self, problems: &mut Vec<Problem>) {
        for (n, app) in self.config.apps.iter().enumerate() {
            if app.secret == BUILT_IN_SECRET
                && let Some(place) = self.said(("apps", "secret"), At::nth(n))
            {
                let what = "`secret` in [[apps]] is the built-in one, which everybody knows and which works only without a \
                            configuration; choose another, for example the output of `openssl rand -hex 20`";
                problems.push(Problem {
                    place,
                    what: what.into(),
                });
            }
        }
    }

    /// The configuration, if nothing is wrong with it.
    pub(super) fn checked(self, mut problems: Vec<Problem>) -> Result<Config, LoadError> {
        if problems.is_empty() {
            self.check(&mut problems);
        }
        if problems.is_empty() {
            return Ok(self.config);
        }
        problems.sort_by(|one, other| one.place.cmp(&other.place));
        Err(LoadError(problems))
    }

    /// What no single key can get wrong.
    fn check(&self, problems: &mut Vec<Problem>) {
        let limits = &self.config.limits;
        let least = limits.max_message_size + OUTBOX_ROOM;
        if limits.outbox_bytes < least {
            problems.push(Problem {
                place: self.place(&[(OUTBOX, At::FIRST), (("limits", "max_message_size"), At::FIRST)]),
                what: format!(
                    "`outbox_bytes` in [limits] must be at least `max_message_size` and {OUTBOX_ROOM} more, so {least}, not {}",
                    limits.outbox_bytes
                ),
            });
        }
        let most = limits.outbox_bytes / EVENTS_IN_OUTBOX;
        for (n, app) in self.config.apps.iter().enumerate() {
            if app.max_event_size > most {
                problems.push(Problem {
                    place: self.place(&[(("apps", "max_event_size"), At::nth(n)), (OUTBOX, At::FIRST)]),
                    what: format!(
                        "`max_event_size` in [[apps]] must be at most a quarter of `outbox_bytes` in [limits], so {most}, not {}",
                        app.max_event_size
                    ),
                });
            }
        }
        self.check_secrets(problems);
        self.check_listeners(problems);
        self.check_database(problems);
        for (n, rule) in self.config.channels.iter().enumerate() {
            if rule.groups.is_empty() && rule.levels.is_empty() && rule.users.is_empty() {
                problems.push(Problem {
                    place: self.place(&[((CHANNELS, "pattern"), At::nth(n))]),
                    what: "[[channels]] lets nobody in; it needs `groups`, `levels` or `users`".into(),
                });
            }
        }
    }

    /// Only the site's app may go without a secret.
    fn check_secrets(&self, problems: &mut Vec<Problem>) {
        for (n, app) in self.config.apps.iter().enumerate() {
            if app.secret.is_empty() && !is_of_site(app, &self.config) {
                problems.push(Problem {
                    place: self.place(&[(("apps", "secret"), At::nth(n))]),
                    what: format!("`secret` in [[apps]] {}", text::short_secret()),
                });
            }
        }
    }

    fn check_listeners(&self, problems: &mut Vec<Problem>) {
        let server = &self.config.server;
        let all: Vec<_> = server.listen.iter().chain(&server.admin_listen).collect();
        for (index, address) in all.iter().enumerate() {
            let any_port = matches!(address, ListenAddr::Tcp(address) if address.port() == 0);
            if !any_port && all[..index].contains(address) {
                let name = if index == server.listen.len() {
                    "admin_listen"
                } else {
                    "listen"
                };
                problems.push(Problem {
                    place: self.place(&[(("server", name), At::FIRST), (("server", "listen"), At::FIRST)]),
                    what: format!("`{name}` in [server] names {address} a second time"),
                });
            }
        }
    }

    /// The times of `[database]` that must not be the wrong way round.
    fn check_database(&self, problems: &mut Vec<Problem>) {
        let database = &self.config.database;
        // The server must have had its time before the connection is given up: that costs a new one.
        let longer = "must be more than";
        let least = "must be at least";
        for (good, (name, value), wanted, (other, than)) in [
            (
                database.read_timeout_ms > database.statement_ms,
                ("read_timeout_ms", database.read_timeout_ms),
                longer,
                ("statement_ms", database.statement_ms),
            ),
            (
                database.idle_poll_ms >= database.poll_ms,
                ("idle_poll_ms", database.idle_poll_ms),
                least,
                ("poll_ms", database.poll_ms),
            ),
        ] {
            if !good {
                problems.push(Problem {
                    place: self.place(&[(("database", name), At::FIRST), (("database", other), At::FIRST)]),
                    what: format!("`{name}` in [database] {wanted} `{other}`, which is {than}, not {value}"),
                });
            }
        }
    }
}

/// Whether this is the app whose connections get the site's identities.
fn is_of_site(app: &App, config: &Config) -> bool {
    config.has_site() && app.id == config.joomla.app
}

/// What is allowed but probably not meant, one sentence each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(address @ ListenAddr::Tcp(_)) = &config.server.admin_listen
        && !address.is_loopback()
    {
        warnings.push(format!(
            "admin_listen {address} answers without a token to everybody who can reach it"
        ));
    }
    let token = &config.server.admin_token;
    if !token.is_empty() && token.len() < SHORT_SECRET {
        warnings.push(format!(
            "admin_token has fewer than {SHORT_SECRET} characters and could be guessed"
        ));
    }
    let apps = config.apps.iter().filter(|_| !config.embedded_defaults);
    for app in apps.filter(|app| app.secret.len() < SHORT_SECRET) {
        warnings.push(match app.secret.is_empty() {
            true => format!(
                "the app {0} has no secret, so signatures and the HTTP API are off for it; an [[apps]] entry with the id {0}, a \
                 key and a secret, or JSOCKETD_APP_ID, JSOCKETD_APP_KEY and JSOCKETD_APP_SECRET, turn them on",
                app.id
            ),
            false => format!(
                "the secret of the app {} has fewer than {SHORT_SECRET} characters and could be guessed",
                app.id
            ),
        });
    }
    warnings
}
