//! A Joomla site of a test's own: a database with the tables and rows of a real one, and a folder with its
//! configuration.php. Its methods change the rows as Joomla does when users log in and out, and when administrators
//! block them, move them between groups, publish and unpublish. Rows are written as the site's own configuration.php
//! makes Joomla write them.
//!
//! The fixtures come from sites of Joomla 6.1.0 and 3.10.20 and have the same users: `admin` (super user), `anna`
//! (registered), `bob` (author, Press), `carol` (editor, VIP Gold), `dave` (registered, blocked).

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE32HEX_NOPAD, BASE64, HEXLOWER};
use jsocketd::joomla::site::Client;
use md5::{Digest, Md5};
use mysql::prelude::{FromRow, FromValue, Queryable};
use mysql::{Conn, Params, params};

use super::mariadb::{Mariadb, run};

/// The tables of the outbox, with `#__` for the prefix.
const OUTBOX: &str = "joomla/com_websockets/admin/sql/install.mysql.utf8.sql";

/// A site.
pub struct Site {
    /// Its database server.
    pub server: Arc<Mariadb>,
    /// The name of its database.
    pub database: String,
    /// `#__` in Joomla's SQL stands for it.
    pub prefix: &'static str,
    /// `$secret`
    pub secret: &'static str,
    /// The database user that Joomla itself uses: all privileges on this database, none elsewhere.
    pub user: String,
    /// Its password, with characters that must be quoted in PHP.
    pub password: String,
    joomla3: bool,
    folder: tempfile::TempDir,
}

/// A browser's session on one of the site's two applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The value of the cookie.
    pub id: String,
    /// The application that the cookie belongs to.
    pub client: Client,
    /// 0: a guest.
    pub user: u32,
    /// Of the session text; salt of the form token.
    pub token: String,
}

/// What PHP writes into `data`, as far as it matters.
#[derive(Clone, Debug)]
pub struct SessionText {
    /// 0: a guest.
    pub user: u32,
    /// 32 characters.
    pub token: String,
    /// Requests so far.
    pub counter: u32,
    /// Unix seconds: of the first request, of the last but one, of the last.
    pub timer: [i64; 3],
    /// `com_users.mfa_checked`; Joomla 3 has no such value.
    pub mfa_checked: Option<u32>,
    /// `com_users.mandatory_mfa_setup`
    pub mandatory_mfa_setup: Option<u32>,
    /// The layout and the types of Joomla 3.
    pub joomla3: bool,
}

/// Unix seconds.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970");
    since.as_secs().try_into().expect("it is earlier than the end of days")
}

/// A table with a column `seq`, for `FROM`: the numbers from 1 to this one. (Only MariaDB has tables of its own for
/// that.)
pub fn sequence(to: usize) -> String {
    let digits = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 \
                  UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    let places: Vec<String> = (0..6).map(|n| format!("{digits} d{n}")).collect();
    let sum: Vec<String> = (0..6).map(|n| format!("d{n}.d * {}", 10_u32.pow(n))).collect();
    format!(
        "(SELECT 1 + {} seq FROM {}) numbers WHERE seq <= {to} ORDER BY seq",
        sum.join(" + "),
        places.join(", ")
    )
}

/// `md5` in lower case.
pub fn md5(text: &str) -> String {
    HEXLOWER.encode(&Md5::digest(text))
}

impl Site {
    /// A site of Joomla 6.1 on the server of all tests.
    pub fn joomla6() -> Self {
        Self::joomla6_on(Mariadb::shared())
    }

    /// A site of Joomla 6.1 on this server.
    pub fn joomla6_on(server: Arc<Mariadb>) -> Self {
        Self::new(server, false)
    }

    /// A site of Joomla 3.10 on the server of all tests.
    pub fn joomla3() -> Self {
        Self::new(Mariadb::shared(), true)
    }

    fn new(server: Arc<Mariadb>, joomla3: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let (prefix, secret, tables, configuration) = match joomla3 {
            false => ("j6x_", "0Joyhpv7XRo55TVH", "tables-j6.sql", "j6.1-installer.php"),
            true => ("j3x_", "NrnXOKAcgnBRHfz1", "tables-j3.sql", "j3.10-installer.php"),
        };
        // Several processes may use one server.
        let name = format!("site_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let site = Self {
            database: name.clone(),
            prefix,
            secret,
            user: name,
            password: r"jo'om\la pass".into(),
            joomla3,
            folder: tempfile::tempdir().expect("a temporary folder"),
            server,
        };
        site.create(&fixture(tables));
        fs::write(site.configuration(), fixture(configuration)).expect("configuration.php is written");
        for (field, value) in [
            ("host", site.server.addr.to_string().as_str()),
            ("user", &site.user),
            ("password", &site.password),
            ("db", &site.database),
        ] {
            site.configure(field, &php(value));
        }
        site
    }

    fn create(&self, tables: &str) {
        let (database, version) = (&self.database, self.version());
        let mut root = self.server.connect(None);
        run(
            &mut root,
            &format!("CREATE DATABASE {database}; USE {database}; {tables}"),
        )
        .expect("the tables of the fixture");
        let password = mysql::Value::from(&self.password).as_sql(false);
        let user = &self.user;
        let statements = format!("CREATE USER {user} IDENTIFIED BY {password}; GRANT ALL ON {database}.* TO {user}");
        run(&mut root, &statements).expect("the site's user");
        // The row that says which Joomla this is was not part of the fixtures.
        let manifest =
            format!(r#"{{"name":"files_joomla","type":"file","author":"Joomla! Project","version":"{version}"}}"#);
        self.add_extension("file", "joomla", &manifest, "");
    }

    fn add_extension(&self, kind: &str, element: &str, manifest: &str, params: &str) {
        let more = if self.joomla3 { ", system_data = ''" } else { "" };
        self.exec(
            &format!(
                "INSERT INTO #__extensions SET name = :element, type = :kind, element = :element, folder = '', client_id = :client,
                 enabled = 1, access = 1, manifest_cache = :manifest, params = :params, custom_data = ''{more}"
            ),
            params! { "kind" => kind, element, "client" => kind == "component", manifest, "params" => params },
        );
    }

    /// The version of Joomla.
    pub fn version(&self) -> &'static str {
        if self.joomla3 { "3.10.20" } else { "6.1.0" }
    }

    // --- its files ---------------------------------------------------------------------------------------------------

    /// Its folder, for `[joomla] root` and `--joomla`.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The path of its configuration.php.
    pub fn configuration(&self) -> PathBuf {
        self.root().join("configuration.php")
    }

    /// Writes a property of configuration.php, with its value as it stands in PHP: `configure("lifetime", "1")`.
    pub fn configure(&self, field: &str, literal: &str) {
        let text = fs::read_to_string(self.configuration()).expect("configuration.php is text");
        let start = format!("\tpublic ${field} = ");
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with(&start))
            .map(String::from)
            .collect();
        assert_eq!(
            lines.pop().as_deref(),
            Some("}"),
            "configuration.php ends as Joomla ends it"
        );
        lines.push(format!("{start}{literal};\n}}"));
        fs::write(self.configuration(), lines.join("\n")).expect("configuration.php is written");
    }

    /// A property of configuration.php as it stands there, without quotes; empty if there is none.
    pub fn setting(&self, field: &str) -> String {
        let text = fs::read_to_string(self.configuration()).expect("configuration.php is text");
        let start = format!("\tpublic ${field} = ");
        let literal = text
            .lines()
            .find_map(|line| line.strip_prefix(&start)?.strip_suffix(';'));
        literal.unwrap_or_default().trim_matches('\'').to_owned()
    }

    fn is_on(&self, field: &str, default: bool) -> bool {
        match self.setting(field).as_str() {
            "" => default,
            value => value == "true" || value == "1",
        }
    }

    // --- its database, as root ---------------------------------------------------------------------------------------

    /// Statements, with `#__` for the prefix.
    pub fn sql(&self, statements: &str) {
        run(&mut self.connect(), &self.text(statements)).unwrap_or_else(|why| panic!("{statements}: {why}"));
    }

    /// One statement with parameters; returns the id of the row that it added.
    pub fn exec(&self, statement: &str, params: impl Into<Params>) -> u64 {
        let mut connection = self.connect();
        connection
            .exec_drop(self.text(statement), params)
            .unwrap_or_else(|why| panic!("{statement}: {why}"));
        connection.last_insert_id()
    }

    /// The rows that a statement gives.
    pub fn rows<T: FromRow>(&self, statement: &str) -> Vec<T> {
        self.connect()
            .query(self.text(statement))
            .unwrap_or_else(|why| panic!("{statement}: {why}"))
    }

    /// The only value of the only row that a statement gives.
    pub fn value<T: FromValue>(&self, statement: &str) -> T {
        let mut rows: Vec<(T,)> = self.rows(statement);
        assert_eq!(rows.len(), 1, "{statement}");
        rows.remove(0).0
    }

    /// A connection of one's own, for transactions.
    pub fn connect(&self) -> Conn {
        self.server.connect(Some(&self.database))
    }

    /// SQL with this site's prefix.
    pub fn text(&self, sql: &str) -> String {
        sql.replace("#__", self.prefix)
    }

    /// A database user that may do only this, like `SELECT (id, name) ON #__users`. Returns its name; its password is
    /// the site's.
    pub fn restricted_user(&self, grants: &[&str]) -> String {
        let user = format!("{}_least", self.database);
        let password = mysql::Value::from(&self.password).as_sql(false);
        self.sql(&format!("CREATE USER {user} IDENTIFIED BY {password}"));
        for grant in grants {
            self.sql(&format!("GRANT {grant} TO {user}"));
        }
        user
    }

    // --- sessions ----------------------------------------------------------------------------------------------------

    /// A guest's first page.
    pub fn guest(&self, client: Client) -> Session {
        let session = self.session(0, client);
        self.write(&session, &self.session_text(&session));
        session
    }

    /// A log-in, and the page after it: a second factor is not needed or done.
    pub fn log_in(&self, user: u32, client: Client) -> Session {
        self.log_in_with(user, client, |_| {})
    }

    /// A log-in with something else in its session text.
    pub fn log_in_with(&self, user: u32, client: Client, change: impl FnOnce(&mut SessionText)) -> Session {
        let session = self.session(user, client);
        let mut text = self.session_text(&session);
        change(&mut text);
        self.write(&session, &text);
        session
    }

    /// A log-in whose second factor is still asked for.
    pub fn log_in_half(&self, user: u32, client: Client) -> Session {
        self.log_in_with(user, client, |text| text.mfa_checked = None)
    }

    /// A log-in from a guest's page: a new id, and the guest's row is gone.
    pub fn log_in_from(&self, guest: &Session, user: u32) -> Session {
        let session = self.log_in(user, guest.client);
        self.destroy(guest);
        session
    }

    /// A log-out: all sessions of the user on that application are gone. From Joomla 4 on a guest's session is there
    /// for the browser that did it, and it is returned.
    pub fn log_out(&self, session: &Session) -> Option<Session> {
        self.destroy(session);
        self.destroy_sessions(session.user, Some(session.client));
        let guest = (!self.joomla3).then(|| self.guest(session.client))?;
        self.exec(
            "UPDATE #__session SET client_id = NULL WHERE session_id = ?",
            (guest.id.as_bytes(),),
        );
        Some(guest)
    }

    /// Another request in this session.
    pub fn touch(&self, session: &Session) {
        self.age(session, 0);
    }

    /// The last request in this session was so many seconds ago. Joomla 3 with another handler than the database leaves
    /// the time at the session's start.
    pub fn age(&self, session: &Session, seconds: i64) {
        if self.joomla3 && !self.keeps_texts() {
            return;
        }
        let time = now() - seconds;
        self.exec(
            "UPDATE #__session SET time = ? WHERE session_id = ?",
            (time, session.id.as_bytes()),
        );
    }

    /// This row is gone, as the garbage collection does it.
    pub fn destroy(&self, session: &Session) {
        self.exec("DELETE FROM #__session WHERE session_id = ?", (session.id.as_bytes(),));
    }

    /// Deletes the sessions of a user, if Joomla can find them: `UserHelper::destroyUserSessions`.
    pub fn destroy_sessions(&self, user: u32, client: Option<Client>) {
        let on_client = match client {
            Some(client) if !self.is_on("shared_session", false) => format!("AND client_id = {}", client as u8),
            _ => String::new(),
        };
        if self.is_on("session_metadata", true) {
            self.sql(&format!("DELETE FROM #__session WHERE userid = {user} {on_client}"));
        }
    }

    /// The name of an application's session cookie.
    pub fn cookie_name(&self, client: Client) -> String {
        let name = match (self.setting("session_name"), client) {
            (name, _) if !name.is_empty() => name,
            (_, Client::Site) => "site".into(),
            (_, Client::Administrator) => "administrator".into(),
        };
        md5(&md5(&format!("{}{name}", self.secret)))
    }

    /// `name=value` for the header `Cookie`.
    pub fn cookie(&self, session: &Session) -> String {
        format!("{}={}", self.cookie_name(session.client), session.id)
    }

    /// The form token of this session's pages: `Session::getFormToken()`.
    pub fn form_token(&self, session: &Session) -> String {
        md5(&format!("{}{}{}", self.secret, session.user, session.token))
    }

    /// The session's `data` after a few pages.
    pub fn session_text(&self, session: &Session) -> SessionText {
        SessionText {
            user: session.user,
            token: session.token.clone(),
            counter: 3,
            timer: [now(); 3],
            mfa_checked: (session.user > 0 && !self.joomla3).then_some(1),
            mandatory_mfa_setup: None,
            joomla3: self.joomla3,
        }
    }

    fn session(&self, user: u32, client: Client) -> Session {
        // 26 characters of [0-9a-v]: what PHP makes on Debian.
        let id = BASE32HEX_NOPAD.encode(&rand::random::<[u8; 16]>()).to_lowercase();
        let token = HEXLOWER.encode(&rand::random::<[u8; 16]>());
        Session {
            id,
            client,
            user,
            token,
        }
    }

    fn keeps_texts(&self) -> bool {
        self.setting("session_handler") == "database"
    }

    /// Writes the row that Joomla writes, which depends on how sessions are kept.
    fn write(&self, session: &Session, text: &SessionText) {
        let (texts, metadata) = (self.keeps_texts(), self.joomla3 || self.is_on("session_metadata", true));
        if !texts && !metadata {
            return;
        }
        let shared = self.is_on("shared_session", false);
        let username = match session.user {
            0 => String::new(),
            user => self.value(&format!("SELECT username FROM #__users WHERE id = {user}")),
        };
        self.exec(
            "INSERT INTO #__session (session_id, client_id, guest, time, data, userid, username)
             VALUES (:id, :client, :guest, :time, :data, :user, :username)",
            params! {
                "id" => session.id.as_bytes(),
                "client" => (metadata && !shared).then_some(session.client as u8),
                "guest" => !metadata || session.user == 0,
                "time" => text.timer[2],
                "data" => texts.then(|| text.to_string()),
                "user" => if metadata { session.user } else { 0 },
                "username" => if metadata { username.as_str() } else { "" },
            },
        );
    }

    // --- people, groups, levels --------------------------------------------------------------------------------------

    /// The id of the user of this name.
    pub fn id_of(&self, username: &str) -> u32 {
        self.value(&format!("SELECT id FROM #__users WHERE username = '{username}'"))
    }

    /// An administrator blocks a user: the sessions are gone too.
    pub fn block(&self, user: u32) {
        self.sql(&format!("UPDATE #__users SET block = 1 WHERE id = {user}"));
        self.destroy_sessions(user, None);
    }

    /// Blocks a user with SQL: the sessions stay.
    pub fn block_by_sql(&self, user: u32) {
        self.sql(&format!("UPDATE #__users SET block = 1 WHERE id = {user}"));
    }

    /// A user is deleted.
    pub fn delete_user(&self, user: u32) {
        self.destroy_sessions(user, None);
        self.sql(&format!(
            "DELETE FROM #__user_usergroup_map WHERE user_id = {user}; DELETE FROM #__users WHERE id = {user}"
        ));
    }

    /// A user sets a new password on this session: the others are gone.
    pub fn change_password(&self, session: &Session) {
        let user = session.user;
        if self.is_on("session_metadata", true) {
            self.exec(
                "DELETE FROM #__session WHERE userid = ? AND session_id <> ?",
                (user, session.id.as_bytes()),
            );
        }
    }

    /// A user must set a new password.
    pub fn require_reset(&self, user: u32) {
        self.sql(&format!("UPDATE #__users SET requireReset = 1 WHERE id = {user}"));
    }

    /// A user has a second factor, and backup codes with it.
    pub fn add_second_factor(&self, user: u32) {
        for (method, default) in [("totp", 1), ("backupcodes", 0)] {
            self.exec(
                "INSERT INTO #__user_mfa (user_id, title, method, `default`, options, created_on)
                 VALUES (?, ?, ?, ?, '', UTC_TIMESTAMP())",
                (user, method, method, default),
            );
        }
    }

    /// A user's groups are these.
    pub fn set_groups(&self, user: u32, groups: &[u32]) {
        let rows: Vec<_> = groups.iter().map(|group| format!("({user}, {group})")).collect();
        self.sql(&format!("DELETE FROM #__user_usergroup_map WHERE user_id = {user}"));
        if !rows.is_empty() {
            self.sql(&format!("INSERT INTO #__user_usergroup_map VALUES {}", rows.join(", ")));
        }
    }

    /// Sets the groups of a view level, as JSON: `[2,8]`. Makes the level if there is none of this id.
    pub fn set_level(&self, level: u32, rules: &str) {
        self.exec(
            "INSERT INTO #__viewlevels (id, title, rules) VALUES (:id, CONCAT('Level ', :id), :rules)
             ON DUPLICATE KEY UPDATE rules = VALUES(rules)",
            params! { "id" => level, "rules" => rules },
        );
    }

    // --- items -------------------------------------------------------------------------------------------------------

    /// Changes an article: `state = 0`, `access = 3, publish_down = UTC_TIMESTAMP()`.
    pub fn set_article(&self, id: u64, change: &str) {
        self.sql(&format!("UPDATE #__content SET {change} WHERE id = {id}"));
    }

    /// A new article that is published now and for ever.
    pub fn add_article(&self, category: u64, access: u32) -> u64 {
        let never = if self.joomla3 { "'0000-00-00 00:00:00'" } else { "NULL" };
        let more = if self.joomla3 { ", metakey" } else { "" };
        let mut connection = self.connect();
        connection.query_drop("SET sql_mode = ''").expect("root may");
        connection
            .query_drop(self.text(&format!(
                "INSERT INTO #__content (title, alias, introtext, `fulltext`, state, catid, created, modified, publish_up, publish_down,
                                         images, urls, attribs, metadesc, access, metadata, language{more})
                 VALUES ('An article', UUID(), '', '', 1, {category}, UTC_TIMESTAMP(), UTC_TIMESTAMP(), UTC_TIMESTAMP(), {never},
                         '{{}}', '{{}}', '{{}}', '', {access}, '{{}}', '*'{})",
                if self.joomla3 { ", ''" } else { "" }
            )))
            .expect("an article");
        connection.last_insert_id()
    }

    /// Changes a category: `published = 0`, `access = 3`.
    pub fn set_category(&self, id: u64, change: &str) {
        self.sql(&format!("UPDATE #__categories SET {change} WHERE id = {id}"));
    }

    /// The component is installed with these parameters.
    pub fn install_component(&self, params: &str) {
        self.add_extension("component", "com_websockets", r#"{"version":"1.0.0"}"#, params);
    }

    // --- the outbox --------------------------------------------------------------------------------------------------

    /// Makes the tables of the outbox.
    pub fn create_outbox(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(OUTBOX);
        let statements = fs::read_to_string(path).expect("the SQL of the outbox's tables");
        self.sql(&statements);
    }

    /// Publishes as PHP does outside a transaction. Returns the row's id.
    pub fn publish(&self, channel: &str, event: &str, data: &str) -> u64 {
        self.publish_on(&mut self.connect(), channel, event, data)
    }

    /// Publishes on this connection, within its transaction if it has one.
    pub fn publish_on(&self, connection: &mut Conn, channel: &str, event: &str, data: &str) -> u64 {
        connection
            .exec_drop(
                self.text(
                    "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES (?, ?, ?, UTC_TIMESTAMP(3))",
                ),
                (channel, event, data),
            )
            .expect("a row for the outbox");
        connection.last_insert_id()
    }
}

impl fmt::Display for SessionText {
    /// As PHP's session handler `php` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = BASE64.encode(self.registry().as_bytes());
        write!(f, "joomla|s:{}:\"{encoded}\";", encoded.len())
    }
}

impl SessionText {
    /// The encoded value: PHP's `serialize()` of a `Joomla\Registry\Registry`.
    fn registry(&self) -> String {
        let [start, last, now] = self.timer.map(integer);
        let timer = object("stdClass", &[("start", start), ("last", last), ("now", now)]);
        let session = object(
            "stdClass",
            &[
                ("counter", integer(self.counter.into())),
                ("timer", timer),
                ("token", string(&self.token)),
            ],
        );
        let id = match self.joomla3 && self.user > 0 {
            true => string(&self.user.to_string()),
            false => integer(self.user.into()),
        };
        let mut data = vec![
            ("session", session),
            ("registry", self.wrap(object("stdClass", &[]))),
            ("user", object("Joomla\\CMS\\User\\User", &[("id", id)])),
        ];
        let found = [
            ("mfa_checked", self.mfa_checked),
            ("mandatory_mfa_setup", self.mandatory_mfa_setup),
        ];
        let marks: Vec<_> = found
            .iter()
            .filter_map(|(name, value)| Some((*name, integer((*value)?.into()))))
            .collect();
        if !marks.is_empty() {
            data.push(("com_users", object("stdClass", &marks)));
        }
        let data = object("stdClass", &data);
        self.wrap(if self.joomla3 {
            object("stdClass", &[("__default", data)])
        } else {
            data
        })
    }

    /// A registry of these data.
    fn wrap(&self, data: String) -> String {
        let separator = if self.joomla3 { "separator" } else { "\0*\0separator" };
        object(
            "Joomla\\Registry\\Registry",
            &[
                ("\0*\0data", data),
                ("\0*\0initialized", "b:0;".into()),
                (separator, string(".")),
            ],
        )
    }
}

fn object(class: &str, properties: &[(&str, String)]) -> String {
    let mut text = format!("O:{}:\"{class}\":{}:{{", class.len(), properties.len());
    for (name, value) in properties {
        write!(text, "{}{value}", string(name)).expect("memory suffices");
    }
    text + "}"
}

fn string(text: &str) -> String {
    format!("s:{}:\"{text}\";", text.len())
}

fn integer(value: i64) -> String {
    format!("i:{value};")
}

/// A literal in single quotes.
fn php(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A file of the fixtures.
pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/joomla")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}
