//! Tests with sites on disk: files that Joomla wrote, files that people edited, no file at all, and our own
//! configuration together with each.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::*;
use crate::config::Config;
use crate::store::{Database, Tls, TlsMode};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/joomla");

/// The smallest configuration.php that is accepted.
const SITE: &str = "<?php
class JConfig {
\tpublic $dbtype = 'mysqli';
\tpublic $host = '10.0.0.9';
\tpublic $user = 'web';
\tpublic $password = 'hunter2';
\tpublic $db = 'site';
\tpublic $dbprefix = 'abc_';
\tpublic $secret = '0Joyhpv7XRo55TVH';
}";

/// A folder with a configuration.php, and a configuration that names it.
struct Folder {
    folder: tempfile::TempDir,
    config: Config,
}

impl Folder {
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.joomla.root = folder.path().to_str().expect("UTF-8").into();
        Self { folder, config }
    }

    fn new(text: impl AsRef<[u8]>) -> Self {
        let site = Self::empty();
        site.write("configuration.php", text);
        site
    }

    /// [`SITE`] with more lines; a line for a property that [`SITE`] has replaces that one.
    fn with(lines: &str) -> Self {
        let replaced = |line: &&str| {
            let key = line.split(" = ").next().unwrap_or(line);
            !key.contains('$') || !lines.contains(&format!("{} ", key.trim()))
        };
        let kept: Vec<&str> = SITE.trim_end_matches('}').lines().filter(replaced).collect();
        Self::new(format!("{}\n{lines}\n}}", kept.join("\n")))
    }

    fn fixture(name: &str) -> Self {
        Self::new(fs::read(format!("{FIXTURES}/{name}")).expect(name))
    }

    fn own(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect(name);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn try_read(&self) -> Result<SiteRead, SiteError> {
        read(&self.config, &mut no_names)
    }

    fn read(&self) -> SiteRead {
        self.try_read().expect("a site")
    }

    /// The error sentences of a site that cannot be read.
    fn problems(&self) -> Vec<String> {
        self.try_read().expect_err("no site").problems
    }
}

fn no_names(name: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    Err(io::Error::other(format!("nobody asked for {name}")))
}

fn endpoints(read: &SiteRead) -> Vec<String> {
    read.database.endpoints.iter().map(ToString::to_string).collect()
}

fn origin_of(read: &SiteRead, key: &str) -> Origin {
    let found: Vec<_> = read.sources.iter().filter(|source| source.key == key).collect();
    assert_eq!(found.len(), 1, "{key}: {:?}", read.sources);
    found[0].origin
}

#[test]
fn cookies_are_named_as_live_sites_name_them() {
    for (secret, name, cookie) in [
        ("0Joyhpv7XRo55TVH", "site", "0ad504c8cb42b9a2c9379cf1921924da"),
        ("0Joyhpv7XRo55TVH", "administrator", "5386e5f722696aa90f2935566d512572"),
        (
            "0Joyhpv7XRo55TVH",
            "abcdefgh12345678",
            "b012cda0daa1fc0177f69db47aab238b",
        ),
        ("jMGxFIKLjptGq9MU", "site", "edf59d66cf8d5fd78ab22b261cc07bf6"),
        ("jMGxFIKLjptGq9MU", "administrator", "fbf4e6b64c61b8d5c1af98c764ea6df7"),
        ("NrnXOKAcgnBRHfz1", "site", "2714917f7858c222c76007d85c9689c5"),
        ("NrnXOKAcgnBRHfz1", "administrator", "200a543f9e69e4069de5d763cd04359c"),
    ] {
        assert_eq!(cookie_name(secret, name), cookie, "{name}");
    }
}

#[test]
fn real_files_make_sites() {
    for (file, host, user, password, name, prefix, cookies) in [
        (
            "j3.10-installer.php",
            "127.0.0.1:33306",
            "jlab",
            "jlab",
            "joomla3",
            "j3x_",
            ["2714917f7858c222c76007d85c9689c5", "200a543f9e69e4069de5d763cd04359c"],
        ),
        (
            "j5.3-after-admin-save-odd-password.php",
            "127.0.0.1:33306",
            "joomla",
            r"jo'om\la pass",
            "joomla5",
            "j5x_",
            ["edf59d66cf8d5fd78ab22b261cc07bf6", "fbf4e6b64c61b8d5c1af98c764ea6df7"],
        ),
        (
            "j6.1-installer.php",
            "127.0.0.1:33306",
            "jlab",
            "jlab",
            "joomla6",
            "j6x_",
            ["0ad504c8cb42b9a2c9379cf1921924da", "5386e5f722696aa90f2935566d512572"],
        ),
    ] {
        let folder = Folder::fixture(file);
        let read = folder.read();
        assert_eq!(
            read.database,
            Database {
                host: host.into(),
                endpoints: vec![host.parse().expect(host)],
                host_name: None,
                user: user.into(),
                password: Secret(password.into()),
                name: name.into(),
                prefix: prefix.into(),
                tls: Tls {
                    mode: TlsMode::Off,
                    host: "127.0.0.1".into(),
                    ..Tls::default()
                },
            },
            "{file}"
        );
        let site = &read.site;
        assert_eq!(
            site.cookies,
            [
                (Client::Site, cookies[0].to_owned()),
                (Client::Administrator, cookies[1].to_owned())
            ]
        );
        assert_eq!(
            (&site.handler, site.metadata, site.lifetime),
            (&Handler::Database, true, 900),
            "{file}"
        );
        assert_eq!((site.shared, site.offline), (false, false), "{file}");
        assert_eq!((&site.live_site, &site.root_user), (&None, &None), "{file}");
        assert_eq!(
            (read.file, read.warnings),
            (Some(folder.path("configuration.php")), Vec::new()),
            "{file}"
        );
        let metadata = fs::metadata(folder.path("configuration.php")).expect("it is there");
        assert_eq!(read.stamp, Some(Stamp::of(&metadata)));
    }
    let read = Folder::fixture("j4.4-unix-socket.php").read();
    assert_eq!(endpoints(&read), ["unix:/run/mysqld/mysqld.sock"]);
    assert_eq!(read.database.host, "localhost:/run/mysqld/mysqld.sock");
}

#[test]
fn a_hand_edited_file_makes_a_site() {
    let folder = Folder::fixture("hand-edited.php");
    let mut asked = Vec::new();
    let address: SocketAddr = "10.1.2.3:3307".parse().expect("an address");
    let read = read(&folder.config, &mut |name, port| {
        asked.push((name.to_owned(), port));
        Ok(vec![address])
    })
    .expect("a site");
    assert_eq!(asked, [("db.internal".to_owned(), 3307)]);
    assert_eq!(endpoints(&read), ["10.1.2.3:3307"]);
    assert_eq!(
        (read.database.password.0.as_str(), read.database.tls.host.as_str()),
        (r"a;b}c'd\e", "db.internal")
    );
    assert_eq!(read.site.lifetime, 900);
    assert_eq!(
        (origin_of(&read, "host"), origin_of(&read, "offline")),
        (Origin::File(8), Origin::Default)
    );
    // A name that cannot be resolved is an error that names the host and both keys.
    let problems = folder.problems();
    let words = ["db.internal:3307", "$host", "[database] host", "nobody asked"];
    assert!(
        problems.len() == 1 && words.iter().all(|word| problems[0].contains(word)),
        "{problems:?}"
    );
}

#[test]
fn no_file_is_needed() {
    let mut config = Config::default();
    config.database.host = "[::1]:3307".into();
    let problems = read(&config, &mut no_names).expect_err("incomplete").problems;
    let missing = [
        "[database] user",
        "[database] name",
        "[database] prefix",
        "[joomla] secret",
    ];
    assert_eq!(problems.len(), missing.len(), "{problems:?}");
    for (problem, key) in problems.iter().zip(missing) {
        assert!(problem.starts_with(key), "{problem}");
    }
    config.database.user = "push".into();
    config.database.name = "site".into();
    config.database.prefix = "abc_".into();
    config.joomla.secret = "0Joyhpv7XRo55TVH".into();
    let least = read(&config, &mut no_names).expect("a site");
    assert_eq!(
        (least.database.password.0.as_str(), least.database.tls.mode),
        ("", TlsMode::Off)
    );
    assert_eq!(
        (&least.site.handler, least.site.metadata),
        (&Handler::Other("filesystem".into()), true)
    );
    assert_eq!((least.site.lifetime, least.file, least.stamp), (900, None, None));

    config.database.password = "hunter2".into();
    config.database.tls = "verify".into();
    config.database.tls_ca = "/etc/ca.pem".into();
    config.joomla.session_name = "abcdefgh12345678".into();
    config.joomla.shared_session = Some(true);
    config.joomla.session_handler = "database".into();
    config.joomla.session_metadata = Some(false);
    config.joomla.lifetime = 30;
    config.joomla.live_site = "HTTPS://Example.org/joomla".into();
    config.joomla.offline = Some(true);
    config.joomla.root_user = "admin".into();
    let read = read(&config, &mut no_names).expect("a site");
    assert_eq!(
        read.site,
        SiteConfig {
            cookies: vec![(Client::Site, "b012cda0daa1fc0177f69db47aab238b".into())],
            secret: Secret("0Joyhpv7XRo55TVH".into()),
            handler: Handler::Database,
            metadata: false,
            lifetime: 1800,
            shared: true,
            live_site: Some("https://example.org".into()),
            offline: true,
            root_user: Some(RootUser::Name("admin".into())),
        }
    );
    let tls = Tls {
        mode: TlsMode::Verify,
        host: "::1".into(),
        ca: Some("/etc/ca.pem".into()),
        cert: None,
        key: None,
    };
    assert_eq!((read.database.tls, read.database.password.0.as_str()), (tls, "hunter2"));
    assert_eq!(read.warnings, Vec::<String>::new());
}

#[test]
fn our_own_configuration_wins_over_the_file() {
    let folder = Folder::with("public $offline = true; public $session_handler = 'redis'; public $lifetime = 60;").own(
        |config| {
            config.database.host = "10.0.0.1".into();
            config.database.name = "other".into();
            config.joomla.offline = Some(false);
            config.joomla.session_handler = "database".into();
            config.joomla.lifetime = 5;
        },
    );
    let read = folder.read();
    assert_eq!(endpoints(&read), ["10.0.0.1:3306"]);
    assert_eq!(
        (read.database.name.as_str(), read.database.user.as_str()),
        ("other", "web")
    );
    assert_eq!(
        (read.site.offline, &read.site.handler, read.site.lifetime),
        (false, &Handler::Database, 300)
    );
    assert_eq!(origin_of(&read, "host"), Origin::Own("[database] host"));
    assert_eq!(origin_of(&read, "user"), Origin::File(5));
}

#[test]
fn a_password_belongs_to_its_user() {
    let password = |user: &str, password: &str| {
        let folder = Folder::new(SITE).own(|config| {
            config.database.user = user.into();
            config.database.password = password.into();
        });
        folder.read().database.password.0
    };
    assert_eq!(password("", ""), "hunter2");
    assert_eq!(password("web", ""), "hunter2");
    assert_eq!(
        password("push", ""),
        "",
        "the site's password is not shown to another user's server"
    );
    assert_eq!(password("push", "own"), "own");
    assert_eq!(password("", "own"), "own");
    let folder = Folder::with("public $user = USER;").own(|config| config.database.user = "web".into());
    assert_eq!(folder.read().database.password.0, "hunter2");
}

#[test]
fn each_value_that_is_missing_or_computed_is_named() {
    for (key, ours) in [
        ("user", "[database] user"),
        ("db", "[database] name"),
        ("secret", "[joomla] secret"),
    ] {
        for nothing in ["''", "null"] {
            let folder = Folder::with(&format!("public ${key} = {nothing};"));
            let problems = folder.problems();
            let file = folder.path("configuration.php").display().to_string();
            let wanted = format!("{file} has no ${key}; write it there, or into {ours}");
            assert_eq!(problems, [wanted]);
        }
    }
    for (key, ours) in [
        ("host", "[database] host"),
        ("user", "[database] user"),
        ("password", "[database] password"),
        ("db", "[database] name"),
        ("dbprefix", "[database] prefix"),
        ("dbencryption", "[database] tls"),
        ("secret", "[joomla] secret"),
        ("session_name", "[joomla] session_name"),
        ("shared_session", "[joomla] shared_session"),
        ("session_handler", "[joomla] session_handler"),
        ("session_metadata", "[joomla] session_metadata"),
        ("lifetime", "[joomla] lifetime"),
        ("live_site", "[joomla] live_site"),
        ("offline", "[joomla] offline"),
        ("root_user", "[joomla] root_user"),
    ] {
        let folder = Folder::with(&format!("public ${key} = getenv('SITE');"));
        let line = fs::read_to_string(folder.path("configuration.php")).expect("text");
        let line = line.lines().position(|line| line.contains("getenv")).expect("a line") + 1;
        let problems = folder.problems();
        let file = folder.path("configuration.php").display().to_string();
        let wanted = format!(
            "{file}, line {line}: ${key} cannot be read without running PHP (it calls getenv()); write it into {ours}"
        );
        assert_eq!(problems, [wanted]);
    }
    // A value that is not needed may be anything.
    Folder::with("public $smtppass = getenv('SMTP'); public $sitename = \"$x\";").read();
}

#[test]
fn an_empty_prefix_means_tables_without_one() {
    for nothing in ["''", "null", "\"\"", "false"] {
        let folder = Folder::with(&format!("public $dbprefix = {nothing};"));
        let read = folder.read();
        assert_eq!(read.database.prefix, "", "{nothing}");
        assert!(matches!(origin_of(&read, "dbprefix"), Origin::File(_)), "{nothing}");
        let told = super::describe(&read).join(" ");
        assert!(told.contains("tables without a prefix"), "{told}");
        // Joomla 3 takes another one then.
        let folder = folder.own(|config| config.database.prefix = "jos_".into());
        assert_eq!(folder.read().database.prefix, "jos_");
    }
    let folder = Folder::with("");
    let text = fs::read_to_string(folder.path("configuration.php")).expect("text");
    let without: String = text
        .lines()
        .filter(|line| !line.contains("$dbprefix"))
        .map(|line| format!("{line}\n"))
        .collect();
    folder.write("configuration.php", without);
    let problems = folder.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("has no $dbprefix"),
        "{problems:?}"
    );
}

#[test]
fn values_from_a_parent_a_trait_or_a_parameter_are_said_to_be_unread() {
    let folder = Folder::with("use Local;\nfunction __construct(public $session_name = 'x') { }");
    let problems = folder.problems();
    let words = [
        "$session_name cannot be read",
        "a parameter of the constructor",
        "[joomla] session_name",
    ];
    assert!(
        problems.len() == 1 && words.iter().all(|word| problems[0].contains(word)),
        "{problems:?}"
    );
    let folder = folder.own(|config| config.joomla.session_name = "y".into());
    let text = fs::read_to_string(folder.path("configuration.php")).expect("text");
    folder.write(
        "configuration.php",
        text.replace("class JConfig", "class JConfig extends Base"),
    );
    let read = folder.read();
    let file = folder.path("configuration.php").display().to_string();
    assert_eq!(read.warnings.len(), 3, "{:?}", read.warnings);
    for (warning, part) in read.warnings.iter().zip([
        "the parent class Base are not read",
        "the trait Local are not read",
        "the constructor's parameters $session_name are not read",
    ]) {
        assert!(
            warning.starts_with(&format!("{file}, line ")) && warning.contains(part),
            "{warning}"
        );
        assert!(warning.contains("[joomla] or [database]"), "{warning}");
    }
}

#[test]
fn our_own_configuration_replaces_a_value_that_a_constructor_sets() {
    let folder = Folder::with("function __construct() { $this->password = getenv('P'); }");
    let problems = folder.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("line 10: $password"),
        "{problems:?}"
    );
    let folder = folder.own(|config| config.database.password = "own".into());
    let read = folder.read();
    assert_eq!((read.database.password.0.as_str(), read.warnings.len()), ("own", 0));
    let folder = Folder::with("function __construct() { foreach ($_ENV as $k => $v) { $this->$k = $v; } }");
    let warnings = folder.read().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("line 10"), "{warnings:?}");
}

#[test]
fn other_encodings_are_refused_and_not_changed() {
    let folder = Folder::new(SITE.replace("hunter2", "caf\u{e9}"));
    assert_eq!(folder.read().database.password.0, "café");
    let latin1: Vec<u8> = SITE
        .bytes()
        .flat_map(|byte| if byte == b'2' { vec![0xe9] } else { vec![byte] })
        .collect();
    let problems = Folder::new(latin1).problems();
    let words = ["line 6: $password", "not in UTF-8", "[database] password"];
    assert!(
        problems.len() == 1 && words.iter().all(|word| problems[0].contains(word)),
        "{problems:?}"
    );
    assert!(!problems[0].contains("hunter"));
}

#[test]
fn only_mysql_is_read() {
    for kind in ["mysqli", "mysql", "pdomysql", "MySQLi", ""] {
        Folder::with(&format!("public $dbtype = '{kind}';")).read();
    }
    for kind in ["pgsql", "postgresql", "sqlsrv"] {
        let problems = Folder::with(&format!("public $dbtype = '{kind}';")).problems();
        assert!(
            problems.len() == 1 && problems[0].contains(&format!("$dbtype is {kind:?}")),
            "{problems:?}"
        );
        assert!(problems[0].contains("MySQL and MariaDB only"));
    }
    let warnings = Folder::with("public $dbtype = DB;").read().warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("taken for MySQL"),
        "{warnings:?}"
    );
}

#[test]
fn hosts_that_cannot_be_used_are_named() {
    for host in ["p:db", "/x.sock", "db:x", "localhost:99999"] {
        let problems = Folder::with(&format!("public $host = '{host}';")).problems();
        let words = [&format!("{host:?}"), "$host of configuration.php", "[database] host"];
        assert!(
            problems.len() == 1 && words.iter().all(|word| problems[0].contains(word)),
            "{problems:?}"
        );
    }
    let read = Folder::with("public $host = '';").read();
    assert_eq!(
        (read.database.host.as_str(), origin_of(&read, "host")),
        ("localhost", Origin::Default)
    );
    assert_eq!(endpoints(&read).last().map(String::as_str), Some("127.0.0.1:3306"));
    let problems = Folder::with("public $dbprefix = 'a`b_';").problems();
    assert!(problems.len() == 1 && problems[0].contains("$dbprefix"), "{problems:?}");
}

#[test]
fn encryption_is_read_as_joomla_reads_it() {
    let tls = |lines: &str| Folder::with(lines).read().database.tls;
    for off in [
        "",
        "public $dbencryption = 0;",
        "public $dbencryption = '';",
        "public $dbencryption = '0'; public $dbsslca = '/ca';",
    ] {
        let off = tls(off);
        assert_eq!((off.mode, off.ca), (TlsMode::Off, None));
    }
    for on in [
        "public $dbencryption = 1;",
        "public $dbencryption = '2'; public $dbsslverifyservercert = '';",
        "public $dbencryption = true; public $dbsslverifyservercert = false;",
    ] {
        assert_eq!(tls(on).mode, TlsMode::On, "{on}");
    }
    let lines = "public $dbencryption = 2; public $dbsslverifyservercert = '1'; public $dbsslca = ' /etc/ca.pem ';
        public $dbsslcert = 'keys/cert.pem'; public $dbsslkey = 'keys/key.pem';";
    let folder = Folder::with(lines);
    let verify = Tls {
        mode: TlsMode::Verify,
        host: "10.0.0.9".into(),
        ca: Some("/etc/ca.pem".into()),
        cert: Some(folder.path("keys/cert.pem")),
        key: Some(folder.path("keys/key.pem")),
    };
    assert_eq!(folder.read().database.tls, verify);
    let folder = folder.own(|config| config.database.tls = "off".into());
    assert_eq!(folder.read().database.tls.mode, TlsMode::Off);
    let problems = Folder::with("public $dbencryption = 2; public $dbsslcert = 'c';").problems();
    assert!(problems.len() == 1 && problems[0].contains("$dbsslkey"), "{problems:?}");
    let problems = Folder::new(SITE)
        .own(|config| config.database.tls = "yes".into())
        .problems();
    assert!(
        problems.len() == 1 && problems[0].contains("off, on or verify"),
        "{problems:?}"
    );
}

#[test]
fn session_settings_are_read_as_joomla_reads_them() {
    let read = |lines: &str| Folder::with(lines).read();
    let site = |lines: &str| read(lines).site;
    let other = |name: &str| Handler::Other(name.into());
    for (lines, handler) in [
        ("", other("filesystem")),
        ("public $session_handler = '';", other("filesystem")),
        ("public $session_handler = 'none';", other("filesystem")),
        ("public $session_handler = 'redis';", other("redis")),
        ("public $session_handler = 'database';", Handler::Database),
    ] {
        assert_eq!(site(lines).handler, handler, "{lines}");
    }
    for (lines, seconds) in [
        ("", 900),
        ("public $lifetime = '';", 900),
        ("public $lifetime = 0;", 900),
        ("public $lifetime = '0';", 900),
        ("public $lifetime = '45';", 2700),
        ("public $lifetime = 1440;", 86_400),
        ("public $lifetime = 0.5;", 30),
        ("public $lifetime = -1;", 0),
        ("public $lifetime = 1e300;", u64::MAX),
    ] {
        assert_eq!(site(lines).lifetime, seconds, "{lines}");
    }
    for (lines, metadata) in [
        ("", true),
        ("public $session_metadata = '';", true),
        ("public $session_metadata = '1';", true),
        ("public $session_metadata = '0';", false),
        ("public $session_metadata = false;", false),
    ] {
        assert_eq!(site(lines).metadata, metadata, "{lines}");
    }
    let two = site("");
    let shared = "0ad504c8cb42b9a2c9379cf1921924da";
    assert_eq!(two.cookies[0], (Client::Site, shared.to_owned()));
    let without_name = read("public $shared_session = true;");
    assert_eq!(
        (without_name.site.shared, &without_name.site.cookies),
        (true, &two.cookies)
    );
    assert!(without_name.warnings.len() == 1 && without_name.warnings[0].contains("$session_name"));
    let name = "public $session_name = 'abcdefgh12345678';";
    let both = "b012cda0daa1fc0177f69db47aab238b".to_owned();
    let one = read(&format!("public $shared_session = '1'; {name}"));
    assert_eq!(
        (one.site.cookies, one.warnings.len()),
        (vec![(Client::Site, both.clone())], 0)
    );
    let unshared = site(name);
    assert_eq!(
        (unshared.shared, unshared.cookies),
        (false, vec![(Client::Site, both.clone()), (Client::Administrator, both)])
    );
}

#[test]
fn the_other_values_are_read_as_joomla_reads_them() {
    let site = |lines: &str| Folder::with(lines).read().site;
    for (lines, user) in [
        ("public $root_user = 42;", Some(RootUser::Id(42))),
        ("public $root_user = '42';", Some(RootUser::Id(42))),
        ("public $root_user = 'admin';", Some(RootUser::Name("admin".into()))),
        ("public $root_user = '';", None),
        ("public $root_user = 0;", None),
    ] {
        assert_eq!(site(lines).root_user, user, "{lines}");
    }
    for bad in crate::id::MISSPELT {
        // Spaces around the value are ignored, as in PHP.
        let (line, is_42) = (format!("public $root_user = '{bad}';"), bad.trim() == "42");
        assert_eq!(site(&line).root_user == Some(RootUser::Id(42)), is_42, "{line}");
    }
    assert!(site("public $offline = '1';").offline && !site("public $offline = '0';").offline);
    assert_eq!(
        site("public $live_site = 'http://X.org:80/';").live_site.as_deref(),
        Some("http://x.org")
    );
    let read = Folder::with("public $live_site = 'x.org';").read();
    assert!(read.site.live_site.is_none() && read.warnings[0].contains("$live_site"));
}

/// Joomla's own includes/defines.php: of 3 and 4.0, and of 5 and 6.
const OLD_DEFINES: &str = "<?php
defined('_JEXEC') or die;
$parts = explode(DIRECTORY_SEPARATOR, JPATH_BASE);
define('JPATH_ROOT', implode(DIRECTORY_SEPARATOR, $parts));
define('JPATH_SITE', JPATH_ROOT);
define('JPATH_CONFIGURATION', JPATH_ROOT);";
const NEW_DEFINES: &str = r"<?php
\defined('_JEXEC') or die;
\defined('JPATH_BASE') || \define('JPATH_BASE', \dirname(__DIR__));
\defined('JPATH_ROOT') || \define('JPATH_ROOT', JPATH_BASE);
\defined('JPATH_CONFIGURATION') || \define('JPATH_CONFIGURATION', JPATH_ROOT);";

#[test]
fn joomlas_own_defines_move_nothing() {
    for defines in [OLD_DEFINES, NEW_DEFINES, "<?php ?>", "no PHP"] {
        let folder = Folder::new(SITE);
        folder.write("includes/defines.php", defines);
        let read = folder.read();
        assert_eq!(
            (read.file, read.warnings),
            (Some(folder.path("configuration.php")), Vec::new()),
            "{defines}"
        );
    }
    // A root that is a symbolic link stays one.
    let folder = Folder::new(SITE);
    folder.write("includes/defines.php", NEW_DEFINES);
    let links = tempfile::tempdir().expect("a folder");
    let link = links.path().join("current");
    std::os::unix::fs::symlink(folder.folder.path(), &link).expect("a link");
    let linked = Folder {
        folder: links,
        config: Config::default(),
    }
    .own(|config| config.joomla.root = link.to_str().expect("UTF-8").into());
    assert_eq!(linked.read().file, Some(link.join("configuration.php")));
}

#[test]
fn a_defines_file_moves_the_configuration() {
    let other = Folder::new(SITE);
    let moved = fs::canonicalize(other.folder.path())
        .expect("a path")
        .join("configuration.php");
    let path = moved.parent().expect("a folder").to_str().expect("UTF-8");
    for (file, defines) in [
        ("defines.php", format!("<?php define('JPATH_CONFIGURATION', '{path}');")),
        (
            "includes/defines.php",
            format!("<?php define('JPATH_CONFIGURATION', '{path}');"),
        ),
        ("defines.php", format!("<?php const JPATH_ROOT = '{path}';")),
        (
            "defines.php",
            format!("<?php define('MINE', '{path}/'); define('JPATH_CONFIGURATION', MINE . '.');"),
        ),
    ] {
        for own in ["", OLD_DEFINES, NEW_DEFINES] {
            let folder = Folder::empty();
            folder.write("includes/defines.php", own);
            folder.write(file, &defines);
            let read = folder.read();
            let file = read.file.and_then(|file| fs::canonicalize(file).ok());
            assert_eq!(
                (file.as_deref(), read.warnings),
                (Some(moved.as_path()), Vec::new()),
                "{defines}"
            );
        }
    }
    // Joomla's own defines.php for a public folder. The real root has a defines.php of its own.
    other.write("includes/defines.php", NEW_DEFINES);
    let folder = Folder::empty();
    let public = format!(
        "<?php\ndefine('JPATH_ROOT', '{path}');\ndefine('JPATH_PUBLIC', '/p');
define('JPATH_BASE', JPATH_ROOT . $applicationPath);\n"
    );
    folder.write("defines.php", public);
    assert_eq!(folder.read().file, Some(moved));
}

#[test]
fn a_defines_file_that_only_php_understands_gives_a_warning() {
    let folder = Folder::new(SITE);
    for (defines, words) in [
        ("<?php define('JPATH_CONFIGURATION', getenv('C'));", "it calls getenv()"),
        (
            "<?php if (X) { define('JPATH_CONFIGURATION', '/a'); } else { define('JPATH_CONFIGURATION', '/b'); }",
            "defined twice",
        ),
        (
            "<?php define('JPATH_CONFIGURATION', '/a",
            "line 1: a string starts here",
        ),
    ] {
        folder.write("defines.php", defines);
        let read = folder.read();
        assert_eq!(read.file, Some(folder.path("configuration.php")), "{defines}");
        assert!(
            read.warnings.len() == 1 && read.warnings[0].contains(words),
            "{:?}",
            read.warnings
        );
    }
}

#[test]
fn a_missing_or_incomplete_file_is_reported() {
    let folder = Folder::empty();
    let file = folder.path("configuration.php");
    let problems = folder.problems();
    assert!(
        problems.len() == 1 && problems[0].starts_with(&format!("there is no {}", file.display())),
        "{problems:?}"
    );
    folder.write("configuration.php", &SITE[..SITE.len() - 1]);
    let problems = folder.problems();
    assert_eq!(
        problems,
        [format!(
            "{}, line 2: the class JConfig starts here and the file ends within it",
            file.display()
        )]
    );
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("a folder");
    assert!(folder.problems()[0].contains("no regular file"));
    let folder = Folder::new(vec![b' '; 2 << 20]);
    assert!(folder.problems()[0].contains("longer than 1 MiB"));
}

#[test]
fn secrets_are_never_shown() {
    let folder = Folder::with("public $session_handler = 'database';");
    let read = folder.read();
    let shown = format!("{read:?}\n{}", describe(&read).join("\n"));
    assert!(
        !shown.contains("hunter2") && !shown.contains("0Joyhpv7XRo55TVH"),
        "{shown}"
    );
    assert!(
        shown.contains("password: ***") && shown.contains("secret: ***"),
        "{shown}"
    );
}

#[test]
fn check_names_the_origin_of_every_value() {
    let folder =
        Folder::with("public $session_handler = 'database'; public $live_site = 'https://x.org';").own(|config| {
            config.database.name = "other".into();
        });
    let sentences = describe(&folder.read());
    assert_eq!(
        sentences,
        [
            &format!(
                "The site's configuration is {}.",
                folder.path("configuration.php").display()
            ),
            "Taken from it: $host (line 4), $user (line 5), $password (line 6), $dbprefix (line 8), $secret (line 9), \
             $session_handler (line 10), $live_site (line 10).",
            "Taken from jsocketd's own configuration: $db ([database] name).",
            "Not set, so Joomla's defaults hold: $dbencryption, $shared_session, $session_name, $session_metadata, $lifetime, \
             $offline, $root_user.",
            "The database is \"other\" on \"10.0.0.9\" (10.0.0.9:3306), user \"web\", tables abc_…, not encrypted, although it \
             leaves this machine.",
            "Session cookies: site 0ad504c8cb42b9a2c9379cf1921924da, administrator 5386e5f722696aa90f2935566d512572.",
            "Sessions are in the database with metadata: visitors are known by their row, second factors and form tokens by \
             the session's text.",
            "A session ends 900 s after its last request.",
            "The site's own origin, by $live_site, is https://x.org.",
        ]
    );
}

#[test]
fn check_describes_the_consequences_of_the_session_handler() {
    for (handler, metadata, words) in [
        ("database", true, "second factors and form tokens by the session's text"),
        ("database", false, "by the session's text alone"),
        ("redis", true, "Users who have a second factor are guests here"),
        ("filesystem", false, "everybody is a guest here"),
    ] {
        let folder = Folder::with(&format!(
            "public $session_handler = '{handler}'; public $session_metadata = {metadata}; public $offline = 1;
             public $root_user = 'x';"
        ));
        let text = describe(&folder.read()).join("\n");
        for words in [words, "The site is offline", "$root_user is set"] {
            assert!(text.contains(words), "{text}");
        }
    }
    let shared = Folder::with("public $shared_session = 1; public $session_name = 'n';");
    assert!(
        describe(&shared.read())
            .join("\n")
            .contains("One session cookie, shared by")
    );
    let mut config = Folder::new(SITE).config;
    config.joomla.root = String::new();
    config.database.host = "localhost".into();
    config.database.user = "u".into();
    config.database.name = "d".into();
    config.database.prefix = "p_".into();
    config.joomla.secret = "s".into();
    let read = read(&config, &mut no_names).expect("a site");
    assert!(describe(&read)[0].contains("No configuration.php is read"));
}

#[test]
fn a_watch_begins_with_the_state_that_was_read() {
    let folder = Folder::new(SITE);
    let look = |path: &Path| fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
    let path = folder.path("configuration.php");
    let mut watch = Watch::new(folder.read().stamp);
    assert!(!watch.changed(look(&path)));
    folder.write("configuration.php", SITE.replace("abc_", "abcd_"));
    assert!(watch.changed(look(&path)) && !watch.changed(look(&path)));
}
