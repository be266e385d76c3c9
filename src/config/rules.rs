//! Checks of several keys together: values that contradict each other, tables that lack a key or share a name, and a
//! site without a folder. A setting that is allowed but probably not meant gives a warning.

use std::path::Path;

use super::address::ListenAddr;
use super::draft::{Draft, Name};
use super::key::{APPS, At, CHANNELS, ITEMS, TLS_NAMES};
use super::problem::{Place, Problem};
use super::sections::{App, BUILT_IN_SECRET};
use super::text::{self, SHORT_SECRET};
use super::{Config, engine, keys, tls};

/// The bytes that a send queue must hold besides the largest message: its frame's header, pongs and the close frame.
const QUEUE_ROOM: usize = 1024;

/// How many times the largest event must fit into a send queue. Otherwise one event with many quotes, each escaped
/// twice, could make all subscribers slow consumers.
const EVENTS_IN_QUEUE: usize = 4;

/// The key of several checks.
const QUEUE: Name = ("limits", "send_queue_bytes");

/// The key that a flag sets too.
pub(super) const ROOT: Name = ("joomla", "root");

/// Checks the tables that may stand several times: whether one lacks keys, or two have the same name. Other mistakes do
/// not hide these.
pub(super) fn check_tables(draft: &Draft, problems: &mut Vec<Problem>) {
    problems.extend(draft.incomplete_tables());
    let config = &draft.config;
    let app_keys = config.apps.iter().map(|app| app.key.as_str()).collect();
    for (section, name, values) in [
        (APPS, "id", keys::names(config, APPS)),
        (APPS, "key", app_keys),
        (CHANNELS, "pattern", keys::names(config, CHANNELS)),
        (ITEMS, "name", keys::names(config, ITEMS)),
        (TLS_NAMES, "name", keys::names(config, TLS_NAMES)),
    ] {
        for (n, value) in values.iter().enumerate() {
            // A value that was refused or is missing has no place.
            if values[..n].contains(value)
                && let Some(place) = draft.place_of((section, name), At::nth(n))
            {
                let what = format!("`{name}` in [[{section}]] is {value:?} a second time");
                problems.push(Problem::new(place, what));
            }
        }
    }
}

/// The site's folder must exist. A trace does not need it: it is replayed anywhere.
pub(super) fn refuse_missing_folder(draft: &Draft, problems: &mut Vec<Problem>) {
    let root = &draft.config.joomla.root;
    if root.is_empty() {
        return;
    }
    let why = match Path::new(root).metadata() {
        Ok(found) if found.is_dir() => return,
        Ok(_) => "it is not a folder".to_owned(),
        Err(error) => error.to_string(),
    };
    let place = draft.place(&[(ROOT, At::FIRST)]);
    let what = format!("`root` in [joomla] cannot be {root:?}: {why}");
    problems.push(Problem::new(place, what).hiding_site());
}

/// Gives a site without an app of its own one. It has no secret, so nobody can sign anything for it: the site's rules
/// alone open its channels.
pub(super) fn add_site_app(draft: &mut Draft, problems: &mut Vec<Problem>) {
    let config = &mut draft.config;
    let id = config.joomla.app.clone();
    if !config.has_site() || config.apps.iter().any(|app| app.id == id) {
        return;
    }
    match config.apps.iter().position(|app| app.key == id) {
        None => config.apps.push(App::new(&id, &id, "")),
        Some(n) => problems.push(Problem::new(
            draft.place(&[((APPS, "key"), At::nth(n))]),
            format!("`key` in [[apps]] is {id:?}, which is the key of the site's own app as long as that has no entry"),
        )),
    }
}

/// The built-in secret works only without a configuration. A trace may have it: the server that wrote it had none.
pub(super) fn refuse_the_built_in_secret(draft: &Draft, problems: &mut Vec<Problem>) {
    for (n, app) in draft.config.apps.iter().enumerate() {
        if app.secret == BUILT_IN_SECRET
            && let Some(place) = draft.place_of((APPS, "secret"), At::nth(n))
        {
            let what = "`secret` in [[apps]] is the built-in one, which everybody knows and which works only without a \
                        configuration; choose another, for example the output of `openssl rand -hex 20`";
            problems.push(Problem::new(place, what));
        }
    }
}

/// Searches for values that contradict each other, and puts all problems in the order of their places. A value that was
/// refused has its default in `draft`, so contradictions are searched for only if every value was accepted.
pub(super) fn finish(draft: &Draft, problems: &mut Vec<Problem>) {
    let is_read = problems.iter().all(|problem| !matches!(problem.place, Place::File(_)));
    if is_read && draft.is_complete() {
        check_queues(draft, problems);
        check_secrets(draft, problems);
        check_listeners(draft, problems);
        tls::check(draft, problems);
        engine::check(draft, problems);
        check_database(draft, problems);
        check_channels(draft, problems);
    }
    problems.sort_by(|one, other| one.place.cmp(&other.place));
}

/// Checks that a send queue can hold the messages and events that the limits allow.
fn check_queues(draft: &Draft, problems: &mut Vec<Problem>) {
    let limits = &draft.config.limits;
    let least = limits.max_message_size + QUEUE_ROOM;
    if limits.send_queue_bytes < least {
        problems.push(Problem::new(
            draft.place(&[(QUEUE, At::FIRST), (("limits", "max_message_size"), At::FIRST)]),
            format!(
                "`send_queue_bytes` in [limits] must be at least `max_message_size` and {QUEUE_ROOM} more, so {least}, not {}",
                limits.send_queue_bytes
            ),
        ));
    }
    let most = limits.send_queue_bytes / EVENTS_IN_QUEUE;
    for (n, app) in draft.config.apps.iter().enumerate() {
        if app.max_event_size > most {
            problems.push(Problem::new(
                draft.place(&[((APPS, "max_event_size"), At::nth(n)), (QUEUE, At::FIRST)]),
                format!(
                    "`max_event_size` in [[apps]] must be at most a quarter of `send_queue_bytes` in [limits], so {most}, not {}",
                    app.max_event_size
                ),
            ));
        }
    }
}

fn check_channels(draft: &Draft, problems: &mut Vec<Problem>) {
    for (n, rule) in draft.config.channels.iter().enumerate() {
        if rule.groups.is_empty() && rule.levels.is_empty() && rule.users.is_empty() {
            problems.push(Problem::new(
                draft.place(&[((CHANNELS, "pattern"), At::nth(n))]),
                "[[channels]] lets nobody in; it needs `groups`, `levels` or `users`",
            ));
        }
    }
}

/// Only the site's app may go without a secret.
fn check_secrets(draft: &Draft, problems: &mut Vec<Problem>) {
    for (n, app) in draft.config.apps.iter().enumerate() {
        if app.secret.is_empty() && !is_of_site(app, &draft.config) {
            problems.push(Problem::new(
                draft.place(&[((APPS, "secret"), At::nth(n))]),
                format!("`secret` in [[apps]] {}", text::short_secret()),
            ));
        }
    }
}

fn check_listeners(draft: &Draft, problems: &mut Vec<Problem>) {
    let server = &draft.config.server;
    let listen = server.listen.iter().map(|entry| &entry.address);
    let all: Vec<_> = listen.chain(server.admin_listen.named()).collect();
    for (index, address) in all.iter().enumerate() {
        let any_port = matches!(address, ListenAddr::Tcp(address) if address.port() == 0);
        if !any_port && all[..index].contains(address) {
            let name = if index == server.listen.len() {
                "admin_listen"
            } else {
                "listen"
            };
            problems.push(Problem::new(
                draft.place(&[(("server", name), At::FIRST), (("server", "listen"), At::FIRST)]),
                format!("`{name}` in [server] names {address} a second time"),
            ));
        }
    }
}

/// Checks the order of the times in `[database]`.
fn check_database(draft: &Draft, problems: &mut Vec<Problem>) {
    let database = &draft.config.database;
    // The database server must have had its full time before the connection is given up, because giving up costs a new
    // connection.
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
            problems.push(Problem::new(
                draft.place(&[(("database", name), At::FIRST), (("database", other), At::FIRST)]),
                format!("`{name}` in [database] {wanted} `{other}`, which is {than}, not {value}"),
            ));
        }
    }
}

/// Whether this is the app whose connections get the site's identities.
fn is_of_site(app: &App, config: &Config) -> bool {
    config.has_site() && app.id == config.joomla.app
}

/// Settings that are allowed but probably not meant, one sentence each. Whether the site's app has a secret is not
/// known here, because the site's component may have one.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.apps.is_empty() {
        warnings.push(format!(
            "there is no app, so nobody can connect to {}/app/: write [[apps]] with id, key and secret into the \
             configuration, or set JSOCKETD_APP_ID, JSOCKETD_APP_KEY and JSOCKETD_APP_SECRET, or name the folder of a Joomla \
             site, which has an app of its own ([joomla] root; `jsocketd setup --joomla DIR` writes it)",
            config.pusher.path
        ));
    }
    if let Some(address @ ListenAddr::Tcp(_)) = config.server.admin_listen.named()
        && !address.is_loopback()
    {
        warnings.push(format!(
            "admin_listen {address} answers without a token to everybody who can reach it"
        ));
    }
    for network in config
        .server
        .trusted_proxies
        .iter()
        .filter(|network| network.is_everything())
    {
        warnings.push(format!(
            "trusted_proxies holds {network}, so everybody can pass for any address with X-Forwarded-For; name the \
             proxies, or their network"
        ));
    }
    warnings.extend(tls::warning(&config.tls, &config.server.listen));
    let token = &config.server.admin_token;
    if !token.is_empty() && token.len() < SHORT_SECRET {
        warnings.push(format!(
            "admin_token has fewer than {SHORT_SECRET} characters and could be guessed"
        ));
    }
    let apps = config.apps.iter().filter(|_| !config.embedded_defaults);
    for app in apps.filter(|app| (1..SHORT_SECRET).contains(&app.secret.len())) {
        warnings.push(format!(
            "the secret of the app {} has fewer than {SHORT_SECRET} characters and could be guessed",
            app.id
        ));
    }
    warnings
}
