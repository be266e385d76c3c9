//! The inner side: the server's configuration, the site's folder and its database. Only a machine that has them can
//! check these hops. The outer hops know nothing of them.

use std::path::PathBuf;
use std::time::Instant;

use jsocketd::config::{Config, ListenAddr, Sources};
use jsocketd::joomla::site::{self, Client, SiteRead};
use jsocketd::server::process::lookup::resolve;
use jsocketd::site::parameters::Credentials;
use jsocketd::store::grants::grants;
use jsocketd::store::mysql::MySql;
use jsocketd::store::schema::schema;
use jsocketd::store::{Answer, Extensions, Question, Store};
use serde_json::Value;

use super::page::compare;
use super::report::{Findings, hop};
use crate::commands::{check, engine, now, parameters, site_store};

/// Why the inner hops are not checked from another machine.
const ELSEWHERE: &str = "run it on the server's machine, with --joomla DIR or --config FILE";

/// The hops that need the inner side.
pub const HOPS: [&str; 14] = [
    hop::ENGINE,
    hop::DATABASE,
    hop::PRIVILEGES,
    hop::SECRET,
    hop::CLIENT,
    hop::ORIGIN,
    hop::SESSION,
    hop::IDENTITY,
    hop::ACCESS,
    hop::OUTBOX,
    hop::DELIVERY,
    hop::NUDGE,
    hop::CLOCKS,
    hop::VERSIONS,
];

/// What is known of the inner side.
pub enum Inside {
    /// Nothing, for this reason.
    Closed(String),
    /// The site cannot be read.
    Unreadable(String),
    /// The site.
    Open(Box<Site>),
}

/// The site's folder and database.
pub struct Site {
    /// The server's configuration.
    pub config: Config,
    /// The site's.
    pub read: SiteRead,
    /// The database, or why it cannot be reached.
    pub store: Result<MySql, String>,
    /// The database's clock in Unix seconds, and when it was read.
    pub clock: Option<(i64, Instant)>,
    /// The rows of #__extensions.
    pub extensions: Extensions,
    /// The component's options.
    pub options: Value,
}

impl Inside {
    /// Reads the configuration and the site, and connects to the database. `--config` or `--joomla` was given:
    /// `is_wanted`.
    ///
    /// # Errors
    /// The configuration that was named cannot be read.
    pub fn look(config: Option<PathBuf>, joomla: Option<PathBuf>) -> Result<Self, String> {
        let is_wanted = config.is_some() || joomla.is_some();
        let config = match Sources::of_process(config, Vec::new(), joomla).load() {
            Ok(loaded) => loaded.config,
            Err(error) if is_wanted => return Err(error.to_string()),
            Err(error) => return Ok(Self::Closed(format!("the configuration cannot be read: {error}"))),
        };
        if !config.has_site() {
            return Ok(Self::Closed(format!("no site is named here: {ELSEWHERE}")));
        }
        let read = match site::read(&config, &mut resolve) {
            Ok(read) => read,
            Err(error) => return Ok(Self::Unreadable(error.to_string())),
        };
        let mut store = site_store(&config, read.database.clone());
        let store = store.connect(now()).map(|()| store);
        let mut site = Site {
            clock: None,
            config,
            read,
            store,
            extensions: Extensions::default(),
            options: Value::Null,
        };
        if let Ok(store) = &mut site.store {
            let clock = store.server().and_then(|server| server.clock);
            site.clock = clock.map(|clock| (clock, Instant::now()));
            if let Ok(Answer::Extensions(extensions)) = store.ask(&Question::Extensions, now()) {
                let options = extensions.com_websockets.as_deref().unwrap_or_default();
                site.options = serde_json::from_str(options).unwrap_or_default();
                site.extensions = extensions;
            }
        }
        Ok(Self::Open(Box::new(site)))
    }

    /// The site, if its folder can be read.
    pub fn site(&self) -> Option<&Site> {
        match self {
            Self::Open(site) => Some(site),
            _ => None,
        }
    }
}

impl Site {
    /// An option of the component that is not empty.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options[name]
            .as_str()
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    /// The name of the cookie of the site's sessions.
    pub fn cookie(&self) -> Option<&str> {
        let cookies = self.read.site.cookies.iter();
        let mut of_site = cookies.filter(|(client, _)| *client == Client::Site);
        of_site.next().map(|(_, name)| name.as_str())
    }

    /// The credentials with which PHP signs: the component's, else those of the configuration.
    pub fn credentials(&self) -> Option<Credentials> {
        parameters(&self.extensions).credentials.or_else(|| {
            let app = self.config.apps.iter().find(|app| app.id == self.config.joomla.app)?;
            (!app.secret.is_empty()).then(|| Credentials {
                id: app.id.clone(),
                key: app.key.clone(),
                secret: app.secret.clone(),
                former: None,
            })
        })
    }

    /// Where the proxy reaches the server.
    pub fn upstream(&self) -> String {
        // A web server sends no header of the PROXY protocol.
        let mut listeners = self.config.server.listen.iter().filter(|entry| !entry.proxy_protocol);
        match listeners.next().map(|entry| &entry.address) {
            Some(ListenAddr::Unix(path)) => format!("unix:{}", path.display()),
            Some(ListenAddr::Tcp(address)) => address.to_string(),
            None => super::UPSTREAM.to_owned(),
        }
    }
}

/// The database and the privileges of its user. Returns whether it can be asked.
pub fn database(inside: &mut Inside, findings: &mut Findings) -> bool {
    let site = match inside {
        Inside::Closed(why) => {
            findings.skip_rest(&HOPS, why);
            return false;
        }
        Inside::Unreadable(why) => {
            findings.fault(
                hop::DATABASE,
                format!("the site cannot be read: {why}"),
                "correct the folder, or write the values into [joomla] and [database] of jsocketd.toml",
            );
            return false;
        }
        Inside::Open(site) => site,
    };
    engine(&site.config, findings);
    let database = &site.read.database;
    let store = match &site.store {
        Ok(store) => store,
        Err(why) => {
            findings.fault(
                hop::DATABASE,
                format!("the database {} at {}: {why}", database.name, database.host),
                "see whether the database server runs, and compare $host, $user, $password and $db of configuration.php, or \
                 [database] of jsocketd.toml, with its accounts",
            );
            return false;
        }
    };
    let server = store.server().map_or_else(String::new, ToString::to_string);
    findings.ok(
        hop::DATABASE,
        format!("{server}, the database {} as the user {}", database.name, database.user),
    );
    privileges(site, findings);
    true
}

/// The engine through which several processes are one server.
fn engine(config: &Config, findings: &mut Findings) {
    match engine::ask(config) {
        None => findings.ok(hop::ENGINE, "none: one process, alone"),
        Some(Ok(found)) => findings.ok(hop::ENGINE, found.to_string()),
        Some(Err(why)) => findings.fault(
            hop::ENGINE,
            why,
            "see whether it runs and whether this machine may reach it, and compare [engine] of jsocketd.toml with its \
             settings",
        ),
    }
}

/// Runs every statement of the server, as `jsocketd check` does.
fn privileges(site: &mut Site, findings: &mut Findings) {
    let account = site.store.as_mut().ok().and_then(MySql::account);
    let faults = check::faults_of_site(&site.config);
    if faults.is_empty() {
        return findings.ok(hop::PRIVILEGES, "the database allows every statement of the server");
    }
    for fault in &faults {
        match grant(fault, account.as_deref(), site) {
            Some(line) => findings.fault_with(
                hop::PRIVILEGES,
                fault,
                "run this as the database's root; the server notices it by itself",
                line,
            ),
            None if fault.contains("`jsocketd schema`") => findings.fault_with(
                hop::PRIVILEGES,
                fault,
                "install the package, which makes the tables, or run this SQL",
                schema(&site.read.database.prefix),
            ),
            None => findings.fault(hop::PRIVILEGES, fault, "`jsocketd check --all` says more"),
        }
    }
}

/// The GRANT that a refusal asks for. The refusal names the user with the host that it came from, and not the account.
pub fn grant(refusal: &str, account: Option<&str>, site: &Site) -> Option<String> {
    refusal.split_once(" denied to user ")?;
    let database = &site.read.database;
    let lines = grants(&database.name, &database.prefix, account?, &site.config.item_types());
    let is_named = |line: &&String| {
        let table = line.split_once(" ON ").and_then(|(_, rest)| rest.split(" TO ").next());
        let table = table.and_then(|table| table.rsplit('.').next()).unwrap_or_default();
        let bare = table.trim_matches('`');
        ["`", "'"]
            .iter()
            .any(|quote| refusal.contains(&format!("{quote}{bare}{quote}")))
    };
    let named = lines.iter().find(is_named).cloned();
    Some(named.unwrap_or_else(|| lines.join("\n")))
}

/// Whether package and server fit together. `server`: the server's version.
pub fn versions(site: &Site, server: Option<&str>, findings: &mut Findings) {
    let Some(package) = site.extensions.package_version.as_deref() else {
        return findings.fault(
            hop::VERSIONS,
            "com_websockets is not installed in this site's database",
            format!(
                "install pkg_websockets-{}.zip in System, Install, Extensions; and see whether --joomla names the folder of \
                 this site",
                server.unwrap_or(env!("CARGO_PKG_VERSION"))
            ),
        );
    };
    let joomla = site
        .extensions
        .joomla_version
        .as_deref()
        .unwrap_or("of an unknown version");
    let Some(server) = server else {
        return findings.skip(
            hop::VERSIONS,
            format!("Joomla {joomla}, package {package}; the server has not said its version"),
        );
    };
    let all = format!("Joomla {joomla}, package {package}, server {server}");
    match compare(package, server) {
        Some(std::cmp::Ordering::Equal) => findings.ok(hop::VERSIONS, all),
        Some(std::cmp::Ordering::Less) => findings.fault(
            hop::VERSIONS,
            format!("{all}: the package is older than the server"),
            format!("install pkg_websockets-{server}.zip over it in System, Install, Extensions"),
        ),
        _ => findings.fault(
            hop::VERSIONS,
            format!("{all}: the server is older than the package"),
            format!("install jsocketd {package} and start it again"),
        ),
    }
}
