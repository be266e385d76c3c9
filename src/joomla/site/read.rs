//! Takes each value from our own configuration, else from the site's configuration.php, else Joomla's default. It
//! records where each value came from, and reports all errors at once. `locate` finds the file.
//!
//! A value that cannot be read without running PHP is an error, even if the same value may be missing. A guess about
//! the session's name, the lifetime or the encryption could be wrong without anybody noticing. Each such value can be
//! set in our own configuration.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::host::Host;
use super::live_site::origin;
use super::locate::{cannot_read, locate, read_file, real};
use super::{
    Client, Handler, Inspected, Origin, RootUser, SiteConfig, SiteError, SiteRead, Source, cookie, cookie_name,
};
use crate::config::Config;
use crate::id::key;
use crate::joomla::configuration::{self, Constants, Found, Parsed, Unreadable};
use crate::store::{Database, Secret, Tls, TlsMode};

/// Seconds that a session lives if `$lifetime` is missing, empty or 0 (Joomla's service provider of the session).
const LIFETIME: u64 = 900;

/// Returns the addresses of a host's name and port.
pub type Resolve<'a> = dyn FnMut(&str, u16) -> io::Result<Vec<SocketAddr>> + 'a;

/// Reads the site that the configuration names. `resolve` returns the addresses of a host's name; it is called for the
/// database's host if that host is a name. An empty list means that they are not known yet, which is no error.
///
/// # Errors
/// The file cannot be read; a value that is needed is missing, cannot be determined or cannot be used.
pub fn read(config: &Config, resolve: &mut Resolve<'_>) -> Result<SiteRead, SiteError> {
    inspect(config, resolve).whole()
}

/// Does the same, and returns what is known also when something is missing.
pub fn inspect(config: &Config, resolve: &mut Resolve<'_>) -> Inspected {
    let mut reader = Reader {
        config,
        parsed: Parsed::default(),
        found: Inspected::default(),
    };
    match reader.read_file() {
        Ok(()) => {
            reader.warn_of_code();
            reader.found.database = reader.database(resolve);
            reader.found.site = reader.site();
        }
        Err(why) => reader.refuse(why),
    }
    reader.found
}

/// Takes values and records their origins.
struct Reader<'a> {
    config: &'a Config,
    /// Has no properties if no file is read.
    parsed: Parsed,
    /// What was found so far. Each value that is missing has a problem.
    found: Inspected,
}

impl Reader<'_> {
    fn warn(&mut self, why: impl Into<String>) {
        self.found.warnings.push(why.into());
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.found.problems.push(why.into());
    }

    /// Reads configuration.php, if there is a root.
    fn read_file(&mut self) -> Result<(), String> {
        let root = Path::new(&self.config.joomla.root);
        if root.as_os_str().is_empty() {
            return Ok(());
        }
        let mut constants = Constants::default();
        let path = locate(root, &mut constants, &mut self.found.warnings);
        let (text, stamp) = read_file(&path).map_err(|why| cannot_read(&path, &why))?;
        self.parsed = configuration::parse(&text, &real(&path), &mut constants)
            .map_err(|bad| format!("{}, line {}: {}", path.display(), bad.line, bad.why))?;
        (self.found.file, self.found.stamp) = (Some(path), Some(stamp));
        Ok(())
    }

    fn warn_of_code(&mut self) {
        let Some(file) = &self.found.file else { return };
        for unread in self.parsed.unread() {
            self.found.warnings.push(format!(
                "{}, line {}: the values of {} are not read, as that needs PHP; write those that are needed into [joomla] or \
                 [database]",
                file.display(),
                unread.line,
                unread.part
            ));
        }
        if let Some(line) = self.parsed.dynamic() {
            self.found.warnings.push(format!(
                "{}, line {line}: PHP sets properties here whose names cannot be known; if one of those that are \
                 needed is among them, write it into [joomla] or [database]",
                file.display()
            ));
        }
    }

    /// Takes the value `own` of our own configuration if it is set, else the file's value. `ours` is the key in our own
    /// configuration: `[database] host`.
    fn take<T>(
        &mut self,
        key: &'static str,
        ours: &'static str,
        own: Option<T>,
        from_file: impl FnOnce(&Parsed) -> Result<Option<Found<T>>, Unreadable>,
    ) -> Option<T> {
        let (origin, value) = match own {
            Some(value) => (Origin::Own(ours), Some(value)),
            None => match from_file(&self.parsed) {
                Ok(Some(found)) => (Origin::File(found.line), Some(found.value)),
                Ok(None) => (Origin::Default, None),
                Err(why) => {
                    self.unreadable(&why, ours);
                    return None;
                }
            },
        };
        self.found.sources.push(Source { key, origin });
        value
    }

    fn unreadable(&mut self, why: &Unreadable, ours: &str) {
        let file = self
            .found
            .file
            .as_deref()
            .unwrap_or(Path::new("configuration.php"))
            .display();
        let Unreadable { key, line, why } = why;
        let why = match why == configuration::NOT_UTF8 {
            true => format!(
                "has characters that are not in UTF-8 and cannot be used; change it to one that is, or write another \
                 into {ours}"
            ),
            false => format!("cannot be read without running PHP ({why}); write it into {ours}"),
        };
        self.found.problems.push(format!("{file}, line {line}: ${key} {why}"));
    }

    /// A string that may be missing.
    fn text(&mut self, key: &'static str, ours: &'static str, own: &str) -> Option<String> {
        let own = (!own.is_empty()).then(|| own.to_owned());
        self.take(key, ours, own, |parsed| parsed.text(key))
    }

    /// A string that must not be missing.
    fn needed(&mut self, key: &'static str, ours: &'static str, own: &str) -> Option<String> {
        let problems = self.found.problems.len();
        let value = self.text(key, ours, own);
        if value.is_none() && self.found.problems.len() == problems {
            self.found.problems.push(match &self.found.file {
                Some(file) => format!("{} has no ${key}; write it there, or into {ours}", file.display()),
                None => format!("{ours} is missing: it is needed, as `root` in [joomla] names no folder of a site"),
            });
        }
        value
    }

    fn truth(&mut self, key: &'static str, ours: &'static str, own: Option<bool>) -> Option<bool> {
        self.take(key, ours, own, |parsed| parsed.truth(key))
    }

    fn database(&mut self, resolve: &mut Resolve<'_>) -> Option<Database> {
        let own = &self.config.database;
        self.check_type();
        let host = self.host(&own.host);
        let endpoints = host.as_ref().and_then(|(text, host)| {
            let found = host.endpoints(resolve, &|path| path.exists());
            found.map_err(|why| self.refuse(about_host(text, &why))).ok()
        });
        let (user, password) = self.credentials();
        let name = self.needed("db", "[database] name", &own.name);
        let prefix = self.prefix(&own.prefix);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$');
        if prefix.as_ref().is_some_and(|prefix| !prefix.bytes().all(is_plain)) {
            self.refuse(
                "$dbprefix must be of letters, digits and underscores, like `abc_`; correct it, or [database] prefix",
            );
        }
        let tls = self.tls(host.as_ref().map(|(_, host)| host.name()).unwrap_or_default());
        let (text, host) = host?;
        Some(Database {
            host: text,
            endpoints: endpoints?,
            host_name: host.host_name(),
            user: user?,
            password: Secret(password?),
            name: name?,
            prefix: prefix?,
            tls,
        })
    }

    /// The prefix of the tables. If the file's `$dbprefix` is empty, tables have none, as in Joomla 4 and later
    /// (`DatabaseDriver`); Joomla 3 uses `jos_` then, which our own configuration can say.
    fn prefix(&mut self, own: &str) -> Option<String> {
        let key = "dbprefix";
        match self
            .parsed
            .line(key)
            .filter(|_| own.is_empty() && matches!(self.parsed.text(key), Ok(None)))
        {
            Some(line) => {
                let origin = Origin::File(line);
                self.found.sources.push(Source { key, origin });
                Some(String::new())
            }
            None => self.needed(key, "[database] prefix", own),
        }
    }

    fn check_type(&mut self) {
        match self.parsed.text("dbtype") {
            Ok(None) => {}
            Ok(Some(found)) => {
                let kind = found.value.to_ascii_lowercase();
                if !matches!(kind.as_str(), "mysqli" | "mysql" | "pdomysql") {
                    let file = self.found.file.as_deref().unwrap_or(Path::new("")).display();
                    self.found.problems.push(format!(
                        "{file}, line {}: $dbtype is {kind:?}; jsocketd reads MySQL and MariaDB only, so it cannot \
                         serve this site's identities and outbox. Leave `root` in [joomla] empty to run without the \
                         site",
                        found.line
                    ));
                }
            }
            Err(why) => self.warn(format!("{why}; it is taken for MySQL")),
        }
    }

    /// The host as it is written, and its meaning. If the file's `$host` is missing or empty, Joomla uses `localhost`.
    fn host(&mut self, own: &str) -> Option<(String, Host)> {
        let is_empty = self.found.file.is_some() && own.is_empty() && matches!(self.parsed.text("host"), Ok(None));
        let text = if is_empty {
            self.found.sources.push(Source {
                key: "host",
                origin: Origin::Default,
            });
            "localhost".to_owned()
        } else {
            self.needed("host", "[database] host", own)?
        };
        let host = Host::parse(text.trim());
        let host = host.map_err(|why| self.refuse(about_host(&text, &why))).ok()?;
        Some((text, host))
    }

    /// The user and the password. The password belongs to its user. So if our own configuration names a user, the
    /// file's password is used only if the file names the same user, or if the file's user is missing or unreadable.
    /// The password may be empty, as for a user who is authenticated by the Unix socket.
    fn credentials(&mut self) -> (Option<String>, Option<String>) {
        let own = &self.config.database;
        let user = self.needed("user", "[database] user", &own.user);
        let is_other =
            !own.user.is_empty() && matches!(self.parsed.text("user"), Ok(Some(found)) if found.value != own.user);
        let ours = "[database] password";
        let password = if !own.password.is_empty() || is_other {
            self.take("password", ours, Some(own.password.clone()), |_| Ok(None))
        } else {
            let problems = self.found.problems.len();
            let found = self.text("password", ours, "");
            (self.found.problems.len() == problems).then(|| found.unwrap_or_default())
        };
        (user, password)
    }

    fn tls(&mut self, host: String) -> Tls {
        let own = &self.config.database;
        let origin = Origin::Own("[database] tls");
        let mode = match own.tls.as_str() {
            "" => self.tls_of_file(),
            given => {
                self.found.sources.push(Source {
                    key: "dbencryption",
                    origin,
                });
                match given {
                    "off" => TlsMode::Off,
                    "on" => TlsMode::On,
                    "verify" => TlsMode::Verify,
                    other => {
                        self.refuse(format!("[database] tls is {other:?}; write off, on or verify"));
                        TlsMode::Off
                    }
                }
            }
        };
        let mut tls = Tls {
            mode,
            host,
            ..Tls::default()
        };
        if mode == TlsMode::Off {
            return tls;
        }
        tls.ca = self.pem("dbsslca", "[database] tls_ca", &own.tls_ca);
        tls.cert = self.pem("dbsslcert", "[database] tls_cert", &own.tls_cert);
        tls.key = self.pem("dbsslkey", "[database] tls_key", &own.tls_key);
        if tls.cert.is_some() != tls.key.is_some() {
            self.refuse(
                "of $dbsslcert and $dbsslkey (or [database] tls_cert and tls_key) only one is set; a certificate \
                 needs its key",
            );
        }
        if mode == TlsMode::On {
            self.warn(
                "the connection to the database is encrypted, but its certificate is not checked: [database] tls = \
                 \"verify\" would",
            );
        }
        tls
    }

    /// The TLS mode of the file. In Joomla 4 and later, any `$dbencryption` but 0 turns encryption on (Joomla's service
    /// provider of the database).
    fn tls_of_file(&mut self) -> TlsMode {
        let encryption = self.take("dbencryption", "[database] tls", None, |parsed| {
            parsed.number("dbencryption")
        });
        if encryption.unwrap_or(0.0) as i64 == 0 {
            return TlsMode::Off;
        }
        match self.truth("dbsslverifyservercert", "[database] tls", None) {
            Some(true) => TlsMode::Verify,
            _ => TlsMode::On,
        }
    }

    /// The path of a PEM file. A relative path in the site's file starts at the site's root, as in PHP.
    fn pem(&mut self, key: &'static str, ours: &'static str, own: &str) -> Option<PathBuf> {
        let path = self.text(key, ours, own)?;
        // A path of our own configuration stays as it is.
        let root = if own.is_empty() {
            self.config.joomla.root.as_str()
        } else {
            ""
        };
        let path = path.trim();
        (!path.is_empty()).then(|| Path::new(root).join(path))
    }

    fn site(&mut self) -> Option<SiteConfig> {
        let own = &self.config.joomla;
        let secret = self.needed("secret", "[joomla] secret", &own.secret);
        let shared = self.truth("shared_session", "[joomla] shared_session", own.shared_session);
        let shared = shared.unwrap_or(false);
        let name = self.text("session_name", "[joomla] session_name", &own.session_name);
        if shared && name.is_none() && self.found.problems.is_empty() {
            self.warn(
                "$shared_session is on without a $session_name, so site and administrator still have a session cookie \
                 each; Joomla's own switch in the global configuration makes one",
            );
        }
        let handler = self.text("session_handler", "[joomla] session_handler", &own.session_handler);
        let handler = match handler.as_deref() {
            Some("database") => Handler::Database,
            // `none` is Joomla 3's name for PHP's own files.
            None | Some("none") => Handler::Other("filesystem".into()),
            Some(other) => Handler::Other(other.to_owned()),
        };
        let metadata = self.truth("session_metadata", "[joomla] session_metadata", own.session_metadata);
        let metadata = metadata.unwrap_or(true);
        if let (Handler::Other(name), false) = (&handler, metadata) {
            self.warn(format!(
                "$session_handler is {name:?} and $session_metadata is off, so the database does not know whose a session is \
                 and everybody is a guest. Switch session metadata on in the global configuration, or use the handler `database`"
            ));
        }
        let lifetime = self.lifetime(own.lifetime);
        let live_site = self.text("live_site", "[joomla] live_site", &own.live_site);
        let origin = live_site.as_deref().and_then(origin);
        if live_site.is_some() && origin.is_none() {
            self.warn("$live_site is no http or https address in ASCII, so it is not taken for the site's origin");
        }
        self.warn_of_obstacles(origin.as_deref());
        let offline = self.truth("offline", "[joomla] offline", own.offline);
        let root_user = self.text("root_user", "[joomla] root_user", &own.root_user);
        let secret = secret?;
        Some(SiteConfig {
            cookies: cookies(&secret, name.as_deref(), shared),
            secret: Secret(secret),
            handler,
            metadata,
            lifetime,
            shared,
            live_site: origin,
            offline: offline.unwrap_or(false),
            root_user: root_user.and_then(|text| match (text.trim(), key(text.trim())) {
                ("0", _) => None,
                (_, Some(id)) => Some(RootUser::Id(id)),
                (_, None) => Some(RootUser::Name(text)),
            }),
        })
    }

    /// Warnings about values that keep the session cookie from the socket. Nothing else depends on `$cookie_path` and
    /// `$cookie_domain`, so it is no error if they cannot be read.
    fn warn_of_obstacles(&mut self, live_site: Option<&str>) {
        let [path, domain] = ["cookie_path", "cookie_domain"].map(|key| match self.parsed.text(key) {
            Ok(Some(found)) => found.value,
            Ok(None) | Err(_) => String::new(),
        });
        let obstacles = cookie::obstacles(&path, &domain, live_site, &self.config.pusher.path);
        self.found.warnings.extend(obstacles);
    }

    /// The lifetime in seconds. The file has minutes, which may have a fraction.
    fn lifetime(&mut self, own: u64) -> u64 {
        let own = (own > 0).then_some(own as f64);
        let minutes = self.take("lifetime", "[joomla] lifetime", own, |parsed| parsed.number("lifetime"));
        match minutes.unwrap_or(0.0) {
            0.0 => LIFETIME,
            minutes if minutes < 0.0 => {
                self.warn("$lifetime is negative, so every session has expired and everybody is a guest");
                0
            }
            // A cast of a float that is too large gives the largest integer.
            minutes => (minutes * 60.0) as u64,
        }
    }
}

fn about_host(text: &str, why: &str) -> String {
    format!("the database's host {text:?} cannot be used: {why}. It is $host of configuration.php, or [database] host")
}

/// The names of the session cookies. Joomla names the cookie after `$session_name` if that is set, whether the session
/// is shared or not. Only `$shared_session` decides whether rows of the session table name an application.
fn cookies(secret: &str, session_name: Option<&str>, shared: bool) -> Vec<(Client, String)> {
    let both = [Client::Site, Client::Administrator];
    let mut cookies: Vec<_> = both
        .map(|client| (client, cookie_name(secret, session_name.unwrap_or(client.name()))))
        .into();
    if shared && session_name.is_some() {
        cookies.truncate(1);
    }
    cookies
}
