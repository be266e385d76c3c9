//! Describes a site in plain sentences for `check`. The sentences contain no secrets.

use super::{Handler, Origin, SiteConfig, SiteRead};
use crate::config::ListenAddr;
use crate::store::TlsMode;

/// Describes the file that was read, the origin of each value, the connection to the database, and the consequences of
/// the session settings for the identities of visitors. The warnings are not included.
pub fn describe(read: &SiteRead) -> Vec<String> {
    let mut sentences = vec![match &read.file {
        Some(file) => format!("The site's configuration is {}.", file.display()),
        None => "No configuration.php is read, as `root` in [joomla] is empty.".to_owned(),
    }];
    sentences.extend(sources(read));
    sentences.push(database(read));
    sentences.push(cookies(&read.site));
    sentences.push(sessions(&read.site));
    sentences.push(format!(
        "A session ends {} s after its last request.",
        read.site.lifetime
    ));
    if let Some(origin) = &read.site.live_site {
        sentences.push(format!("The site's own origin, by $live_site, is {origin}."));
    }
    if read.site.offline {
        sentences.push("The site is offline: only users who may log in offline get a connection.".into());
    }
    if read.site.root_user.is_some() {
        sentences.push("$root_user is set: that user may do everything. It is meant for emergencies.".into());
    }
    sentences
}

/// One sentence for each origin of values.
fn sources(read: &SiteRead) -> Vec<String> {
    let (mut file, mut own, mut default) = (Vec::new(), Vec::new(), Vec::new());
    for source in &read.sources {
        match source.origin {
            Origin::File(line) => file.push(format!("${} (line {line})", source.key)),
            Origin::Own(key) => own.push(format!("${} ({key})", source.key)),
            Origin::Default => default.push(format!("${}", source.key)),
        }
    }
    let places = [
        ("Taken from it", file),
        ("Taken from jsocketd's own configuration", own),
        ("Not set, so Joomla's defaults hold", default),
    ];
    let used = places.into_iter().filter(|(_, list)| !list.is_empty());
    used.map(|(title, list)| format!("{title}: {}.", list.join(", ")))
        .collect()
}

fn database(read: &SiteRead) -> String {
    let database = &read.database;
    let endpoints: Vec<String> = database.endpoints.iter().map(ToString::to_string).collect();
    let is_remote = database
        .endpoints
        .iter()
        .any(|one| matches!(one, ListenAddr::Tcp(_)) && !one.is_loopback());
    let encryption = match database.tls.mode {
        TlsMode::Off if is_remote => "not encrypted, although it leaves this machine",
        TlsMode::Off => "not encrypted",
        TlsMode::On => "encrypted over TCP, its certificate not checked",
        TlsMode::Verify => "encrypted over TCP, its certificate checked",
    };
    let tables = match database.prefix.as_str() {
        "" => "tables without a prefix".to_owned(),
        prefix => format!("tables {prefix}…"),
    };
    format!(
        "The database is {:?} on {:?} ({}), user {:?}, {tables}, {encryption}.",
        database.name,
        database.host,
        endpoints.join(", then "),
        database.user,
    )
}

fn cookies(site: &SiteConfig) -> String {
    match site.cookies.as_slice() {
        [(_, name)] => format!("One session cookie, shared by site and administrator: {name}."),
        cookies => {
            let list: Vec<String> = cookies
                .iter()
                .map(|(client, name)| format!("{} {name}", client.name()))
                .collect();
            format!("Session cookies: {}.", list.join(", "))
        }
    }
}

/// One sentence about the consequences of the site's session settings for identities.
fn sessions(site: &SiteConfig) -> String {
    match (&site.handler, site.metadata) {
        (Handler::Database, true) => {
            "Sessions are in the database with metadata: visitors are known by their row, second factors and \
             form tokens by the session's text."
                .into()
        }
        (Handler::Database, false) => {
            "Sessions are in the database without metadata ($session_metadata is off): visitors are known by \
             the session's text alone."
                .into()
        }
        (Handler::Other(name), true) => format!(
            "Sessions are in {name:?} with metadata in the database: visitors are known by their row, but the \
             session's text is out of reach. Users who have a second factor are guests here, and form tokens cannot \
             be checked; the handler `database` would mend both."
        ),
        (Handler::Other(name), false) => format!(
            "Sessions are in {name:?} and leave no metadata in the database ($session_metadata is off): everybody is \
             a guest here. Switch session metadata on, or use the handler `database`."
        ),
    }
}
