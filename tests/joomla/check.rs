//! `jsocketd check`, `schema` and `publish --outbox` on a real site: the report on a good site, the sentence about each
//! missing thing, and a proof that the printed line fixes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::Arc;

use crate::common::joomla::{Site as Joomla, fixture};
use crate::common::mariadb::Mariadb;
use crate::common::visits::{House, Terms, Visitor, at_once};
use crate::common::wait_until;
use jsocketd::joomla::site::Client;
use mysql::prelude::Queryable;

/// The output of `check` on a site.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a command with nothing in its environment.
fn run(flags: &[&str]) -> Said {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_jsocketd"))
        .env_clear()
        .args(flags)
        .output()
        .expect("jsocketd runs");
    let text = |bytes| String::from_utf8(bytes).expect("it says text");
    let said = Said {
        code: status.code().expect("it ends by itself"),
        out: text(stdout),
        err: text(stderr),
    };
    assert!(!said.err.contains("panicked"), "{}", said.err);
    said
}

/// `check` with more in its configuration file.
fn check_with(joomla: &Joomla, toml: &str) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jsocketd.toml");
    fs::write(
        &file,
        format!("[[apps]]\nid = \"joomla\"\nkey = \"k\"\nsecret = \"0123456789abcdef\"\n{toml}"),
    )
    .expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    let said = run(&[
        "check",
        "--all",
        "--config",
        path(&file),
        "--joomla",
        path(joomla.root()),
    ]);
    // It is a file of TOML, without a secret in it.
    toml::from_str::<toml::Table>(&said.out).unwrap_or_else(|why| panic!("{why}\n{}", said.out));
    for secret in [joomla.secret, &joomla.password, "0123456789abcdef"] {
        assert!(
            !said.out.contains(secret) && !said.err.contains(secret),
            "{secret}: {}{}",
            said.out,
            said.err
        );
    }
    said
}

fn check(joomla: &Joomla) -> Said {
    check_with(joomla, "")
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

impl Said {
    /// All is there: exit code 0.
    fn expect_good(&self) -> &Self {
        assert!(
            self.code == 0 && !self.out.contains("FAULT") && self.out.ends_with("# verdict         good\n"),
            "{}\n{}",
            self.out,
            self.err
        );
        self
    }

    /// These are in the report.
    fn expect(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.out.contains(word), "no {word:?} in\n{}", self.out);
        }
        self
    }

    /// Something is missing, which these words name, on standard error too.
    fn expect_missing(&self, words: &[&str]) -> &Self {
        assert_eq!(self.code, 1, "{}\n{}", self.out, self.err);
        let missing: Vec<&str> = self.err.lines().filter(|line| line.contains("fault: ")).collect();
        for word in words {
            assert!(
                missing.iter().any(|line| line.contains(word)),
                "no {word:?} in\n{}",
                self.err
            );
            assert!(self.out.contains(word), "no {word:?} in\n{}", self.out);
        }
        self
    }
}

#[test]
fn a_good_site_is_reported_in_plain_words() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.configure("live_site", "'https://www.example.org/joomla'");
    joomla.install_component("{}");
    joomla.publish("news", "e", "1");
    let rows = || {
        let tables = ["outbox", "state"].map(|name| format!("(SELECT COUNT(*) FROM #__websockets_{name})"));
        joomla.rows::<(u64, u64)>(&format!("SELECT {}", tables.join(", ")))
    };
    let before = rows();
    let said = check(&joomla);
    let version = joomla.server.version();
    let kind = if joomla.server.is_mariadb() { "MariaDB" } else { "MySQL" };
    said.expect_good().expect(&[
        path(&joomla.configuration()),
        &joomla.database,
        &joomla.server.addr.to_string(),
        &format!("{kind} {}", version.split('.').next().expect("a number")),
        "j6x_",
        "Joomla 6.1.0",
        "com_websockets 1.0.0",
        "database",
        &joomla.cookie_name(Client::Site),
        &joomla.cookie_name(Client::Administrator),
        "https://www.example.org",
        "groups 1, 9",
        "view levels 1, 5",
        "the newest row has the number 1",
    ]);
    let three = Joomla::joomla3();
    three.create_outbox();
    check(&three)
        .expect_good()
        .expect(&["Joomla 3.10.20", "j3x_", &three.cookie_name(Client::Site)]);
    // Nothing was changed by looking.
    assert_eq!(rows(), before);
}

#[test]
fn the_session_handler_and_its_effects_are_reported() {
    for (field, literal, words) in [
        ("session_handler", "'redis'", "redis"),
        ("session_metadata", "false", "text alone"),
        ("shared_session", "true", "shared"),
    ] {
        let joomla = Joomla::joomla6();
        joomla.create_outbox();
        joomla.configure(field, literal);
        let said = check(&joomla);
        assert!(said.out.to_lowercase().contains(words), "no {words:?} in\n{}", said.out);
    }
    let joomla = Joomla::joomla6();
    joomla.configure("session_handler", "'filesystem'");
    joomla.configure("session_metadata", "false");
    // The server cannot identify any user there.
    let said = check_with(&joomla, "[database]\noutbox = false\n");
    said.expect(&["everybody is a guest"]);
}

/// A site whose database's clock is so many seconds ahead of ours. It stands still for each connection.
fn with_clock(ahead: i64) -> Joomla {
    let server = Mariadb::start(&[&format!("--init-connect=SET timestamp = UNIX_TIMESTAMP() + {ahead}")]);
    let joomla = Joomla::joomla6_on(Arc::new(server));
    joomla.create_outbox();
    joomla
}

#[test]
fn differing_clocks_are_reported_and_the_later_one_ends_sessions() {
    at_once(
        [(100, "ahead of", 780), (-100, "behind", 880)],
        |(ahead, way, lives)| {
            let joomla = with_clock(ahead);
            let said = check(&joomla);
            said.expect_good();
            let words = format!("s {way} this machine's");
            assert!(
                said.err.contains("warning: the database's clock is") && said.err.contains(&words),
                "{}",
                said.err
            );
            let house = House::open(joomla);
            let joomla = &house.joomla;
            let anna = joomla.id_of("anna");
            let session = |age| {
                let login = joomla.log_in(anna, Client::Site);
                joomla.age(&login, age);
                house.page(&login)
            };
            house.expect_user(&session(lives), anna);
            house.expect_guest(&session(lives + 40), "expired");
            let log = house.site.server.log();
            assert_eq!(log.matches(&words).count(), 1, "{log}");
        },
    );
    let joomla = with_clock(3);
    assert!(!check(&joomla).out.contains("clock"));
}

#[test]
fn settings_that_keep_the_cookie_from_the_socket_are_named_with_the_remedy() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.configure("cookie_path", "'/joomla'");
    joomla.configure("cookie_domain", "'shop.example'");
    joomla.configure("live_site", "'https://www.example.org/joomla'");
    check(&joomla).expect_good().expect(&[
        "$cookie_path is \"/joomla\"",
        "Write /joomla/ws in the proxy",
        "$cookie_domain is \"shop.example\"",
        "www.example.org by $live_site",
    ]);
    joomla.configure("cookie_domain", "'.example.org'");
    let said = check_with(&joomla, "[pusher]\npath = \"/joomla\"\n");
    assert!(!said.out.contains("$cookie_"), "{}", said.out);
    // The server says so when it starts.
    let house = House::open(joomla);
    let told = || house.site.server.log().contains("$cookie_path");
    wait_until("the start says so", told, || house.site.server.log());
}

#[test]
fn missing_tables_are_named_with_the_sql_that_makes_them() {
    let joomla = Joomla::joomla6();
    let said = check(&joomla);
    said.expect_missing(&["schema"])
        .expect(&["websockets_outbox", "websockets_state", "CREATE TABLE"]);
    let schema = run(&["schema", "--joomla", path(joomla.root())]);
    assert_eq!((schema.code, schema.err.as_str()), (0, ""));
    joomla.sql(&schema.out);
    check(&joomla).expect_good();
    // To run it twice does no harm.
    joomla.sql(&schema.out);
    check_with(&Joomla::joomla6(), "[database]\noutbox = false\n").expect_good();

    joomla.sql("RENAME TABLE #__viewlevels TO #__levels");
    check(&joomla).expect_missing(&["viewlevels"]);
    joomla.sql("RENAME TABLE #__levels TO #__viewlevels; ALTER TABLE #__session DROP COLUMN userid");
    check(&joomla).expect_missing(&["userid"]);
}

#[test]
fn tables_of_version_1_are_named_with_the_command_that_updates_them() {
    let joomla = Joomla::joomla6();
    joomla.sql(&fixture("outbox-version-1.sql"));
    check(&joomla).expect_missing(&["version 1", "jsocketd schema --update"]);
    let update = run(&["schema", "--update", "--joomla", path(joomla.root())]);
    assert_eq!((update.code, update.err.as_str()), (0, ""), "{}", update.out);
    check(&joomla).expect_good();
}

/// A locked table is not missing, and no privilege helps.
#[test]
fn a_locked_table_is_reported_as_locked_and_not_as_missing() {
    for (lock, tried) in [
        ("LOCK TABLES #__websockets_outbox READ", "delete"),
        ("LOCK TABLES #__websockets_outbox WRITE", "check, claim, look"),
        ("LOCK TABLES #__websockets_state READ", "claim, heartbeat, leave, old"),
        ("LOCK TABLES #__websockets_state WRITE", "state"),
        (
            "START TRANSACTION; SELECT * FROM #__websockets_state FOR UPDATE",
            "claim, heartbeat, old",
        ),
    ] {
        let joomla = Joomla::joomla6();
        joomla.create_outbox();
        let mut holder = joomla.connect();
        holder.query_drop(joomla.text(lock)).expect("root may");
        let said = check(&joomla);
        said.expect_good()
            .expect(&["somebody has locked", tried, "run it again"]);
        assert!(!said.out.contains("GRANT"), "{lock}: {}", said.out);
    }
}

#[test]
fn without_a_site_the_schema_has_joomlas_placeholder_or_asks_for_the_site() {
    let said = run(&["schema"]);
    match said.code {
        0 => assert!(said.out.contains("#__websockets_outbox"), "{}", said.out),
        code => assert!(code == 1 && said.err.contains("--joomla"), "{}", said.err),
    }
}

/// Grants as `check` prints them, without the account. The account is the one that has logged in.
fn printed_grants(said: &Said, user: &str) -> Vec<String> {
    let lines = said
        .out
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).strip_prefix("GRANT "));
    let grants: Vec<String> = lines
        .map(|line| {
            let (grant, account) = line.split_once(" TO ").expect("it ends with the user");
            assert_eq!(account, format!("'{user}'@'%';"));
            grant.to_owned()
        })
        .collect();
    assert!(grants.len() > 8, "{}", said.out);
    grants
}

#[test]
fn the_least_privileges_suffice_and_one_less_is_named() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let user = joomla.restricted_user(&["SELECT ON #__session"]);
    joomla.configure("user", &format!("'{user}'"));
    let first = check(&joomla);
    first.expect_missing(&["users"]);
    let grants = printed_grants(&first, &user);
    let all = grants.join("\n");
    assert!(!all.contains("password") && !all.contains("options"), "{all}");
    let text = |grant: &str| grant.replace('`', "");
    for grant in &grants {
        joomla.sql(&format!("GRANT {grant} TO {user}"));
    }
    check(&joomla).expect_good();
    for grant in &grants {
        let (privileges, table) = grant.split_once(" ON ").expect("on a table");
        let name = table.rsplit('.').next().expect("a name").trim_matches('`');
        joomla.sql(&format!("REVOKE {grant} FROM {user}"));
        let said = check(&joomla);
        let column = privileges.contains('(').then_some("user");
        said.expect_missing(&[column.unwrap_or(name)]);
        assert!(
            text(&said.out).contains(&format!("GRANT {}", text(grant))),
            "{grant}\n{}",
            said.out
        );
        joomla.sql(&format!("GRANT {grant} TO {user}"));
    }
    // Each of the columns is needed, and each of the privileges on our own tables.
    for (one, name) in [
        ("SELECT (block) ON #__users", "block"),
        ("SELECT (requireReset) ON #__users", "requireReset"),
        ("SELECT (username) ON #__users", "username"),
        ("SELECT (method) ON #__user_mfa", "method"),
        ("INSERT ON #__websockets_state", "INSERT"),
        ("INSERT ON #__websockets_outbox", "INSERT"),
        ("UPDATE ON #__websockets_outbox", "UPDATE"),
        ("SELECT ON #__websockets_outbox", "SELECT"),
        ("DELETE ON #__websockets_state", "DELETE"),
        ("UPDATE ON #__websockets_state", "UPDATE"),
        ("DELETE ON #__websockets_outbox", "DELETE"),
    ] {
        joomla.sql(&format!("REVOKE {one} FROM {user}"));
        check(&joomla).expect_missing(&[name]);
        joomla.sql(&format!("GRANT {one} TO {user}"));
    }
    check(&joomla).expect_good();

    // And the server does all its work with them.
    let house = House::by_rows_only_here(joomla);
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    joomla.add_second_factor(anna);
    let login = joomla.log_in(anna, Client::Site);
    let mut session = house.come_known(&login);
    session
        .enter("private-com_content.article.2")
        .enter("private-level-2")
        .enter("news");
    joomla.publish("news", "e", "1");
    session.expect_event("news", "e", "1");
    joomla.log_out(&login);
    crate::common::visits::control(joomla, "recheck-user", serde_json::json!({"user_id": anna}));
    session.expect_closed(4200);
    let log = house.site.server.log();
    assert!(!log.contains("denied") && !log.contains("has no answer"), "{log}");
}

trait Here {
    fn by_rows_only_here(joomla: Joomla) -> House;
}

impl Here for House {
    /// A server of a site that has its tables already.
    fn by_rows_only_here(joomla: Joomla) -> House {
        let house = House::with(joomla, Terms::without_sweep());
        house.expect_reading();
        house
    }
}

#[test]
fn an_unreachable_database_and_an_unreadable_file_are_named() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let good = fs::read_to_string(joomla.configuration()).expect("a text");
    let with = |field: &str, literal: &str| {
        fs::write(joomla.configuration(), &good).expect("a file");
        joomla.configure(field, literal);
        check(&joomla)
    };
    with("password", "'wrong'").expect_missing(&["Access denied", &joomla.user]);
    // MySQL hides that there is no such user behind a way to log in that jsocketd may not have.
    let unknown: &[&str] = match joomla.server.is_mariadb() {
        true => &["Access denied", "nobody_of_this_name"],
        false => &["user"],
    };
    with("user", "'nobody_of_this_name'").expect_missing(unknown);
    with("db", "'no_such_database'").expect_missing(&["no_such_database"]);
    with("dbprefix", "'wrong_'").expect_missing(&["wrong_"]);
    with("dbtype", "'pgsql'").expect_missing(&["pgsql", "MySQL"]);
    with("host", "'127.0.0.1:1'").expect_missing(&["127.0.0.1:1"]);
    with("host", "'unix:/nowhere/mysqld.sock'").expect_missing(&["/nowhere/mysqld.sock"]);
    with("host", "'no-such-host.invalid'").expect_missing(&["no-such-host.invalid"]);
    with("dbprefix", "getenv('PREFIX')").expect_missing(&["dbprefix", "[database] prefix"]);
    with("secret", "''").expect_missing(&["secret"]);

    fs::write(joomla.configuration(), "<?php // nothing").expect("a file");
    check(&joomla).expect_missing(&["configuration.php", "JConfig"]);
    fs::remove_file(joomla.configuration()).expect("it is there");
    check(&joomla).expect_missing(&["configuration.php", "there is no"]);
    fs::create_dir(joomla.configuration()).expect("a folder in its place");
    check(&joomla).expect_missing(&["configuration.php"]);
    let said = run(&["check", "--joomla", "/nowhere/at/all"]);
    assert!(said.code == 1 && said.err.contains("/nowhere/at/all"), "{}", said.err);

    // The server says the same and does not start; but it does wait for a database.
    let said = run(&["serve", "--listen", "127.0.0.1:0", "--joomla", "/nowhere/at/all"]);
    assert!(
        said.code == 1 && said.err.contains("/nowhere/at/all") && said.out.is_empty(),
        "{}",
        said.err
    );
}

#[test]
fn several_faults_are_named_in_one_run_wherever_the_database_is() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let good = fs::read_to_string(joomla.configuration()).expect("a text");
    let others: &[(&str, &str)] = &[
        ("secret", "''"),
        ("cookie_path", "'/elsewhere'"),
        ("session_name", "getenv('X')"),
    ];
    for (host, words) in [
        ("'127.0.0.1:1'", "127.0.0.1:1: "),
        ("'no-such-host.invalid'", "its name cannot be resolved"),
        ("'p:localhost'", "persistent connection"),
    ] {
        fs::write(joomla.configuration(), &good).expect("a file");
        for (field, literal) in others.iter().chain(&[("host", host)]) {
            joomla.configure(field, literal);
        }
        let said = check(&joomla);
        assert_eq!(said.err.matches("jsocketd: fault: ").count(), 3, "{}", said.err);
        said.expect_missing(&[words, "has no $secret", "$session_name cannot be read"]);
        assert!(said.err.contains("warning: $cookie_path"), "{}", said.err);
        assert!(
            said.out.contains("# verdict         not good: 3 faults\n"),
            "{}",
            said.out
        );
    }
    // Faults of the file do not hide those of the database.
    fs::write(joomla.configuration(), &good).expect("a file");
    joomla.configure("secret", "''");
    joomla.sql("RENAME TABLE #__viewlevels TO #__levels; DROP TABLE #__websockets_state");
    check(&joomla).expect_missing(&["has no $secret", "viewlevels", "websockets_state"]);
}

#[test]
fn a_privilege_that_several_questions_need_is_one_fault() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let user = joomla.restricted_user(&["SELECT ON #__session"]);
    joomla.configure("user", &format!("'{user}'"));
    let said = check(&joomla);
    said.expect_missing(&["websockets_state", "websockets_outbox", "users"]);
    let mut faults: Vec<&str> = said.err.lines().filter(|line| line.contains("fault: ")).collect();
    let count = faults.len();
    faults.sort_unstable();
    faults.dedup_by_key(|line| line.split_once(": the database").map(|(_, why)| why));
    assert_eq!(faults.len(), count, "{}", said.err);
    // What to run is printed without --all too, before the summary.
    let said = run(&["check", "--joomla", path(joomla.root())]);
    let (remedy, summary) = said.out.split_once("configuration   ").expect("a summary");
    assert!(remedy.contains("\n    GRANT SELECT"), "{}", said.out);
    assert!(summary.lines().count() <= 10, "{}", said.out);
}

#[test]
fn a_good_site_has_a_summary_of_ten_lines() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.install_component("{}");
    let said = run(&["check", "--joomla", path(joomla.root())]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out.lines().count(), 10, "{}", said.out);
    let kind = if joomla.server.is_mariadb() { "MariaDB" } else { "MySQL" };
    for words in [
        &format!(
            "site            {}: Joomla 6.1.0, com_websockets 1.0.0\n",
            joomla.configuration().display()
        ),
        &format!("database        {kind} "),
        "tables          version 2; ",
        "no server reads them\n",
        "visitors        can be identified; guests may enter channels without a prefix, and those of groups 1, 9 and",
        "verdict         good\n",
    ] {
        assert!(said.out.contains(words), "no {words:?} in\n{}", said.out);
    }
    let house = House::by_rows_only_here(joomla);
    let beats = || {
        house
            .joomla
            .value::<u64>("SELECT COUNT(*) FROM #__websockets_state WHERE name LIKE 'process.%'")
    };
    wait_until("it has a heartbeat", || beats() == 1, || house.site.server.log());
    let said = run(&["check", "--joomla", path(house.joomla.root())]);
    assert!(said.out.contains("one server reads them\n"), "{}", said.out);
}

#[test]
fn a_file_that_only_others_may_read_is_named() {
    let joomla = Joomla::joomla6();
    fs::set_permissions(joomla.configuration(), fs::Permissions::from_mode(0o000)).expect("ours");
    if fs::read(joomla.configuration()).is_ok() {
        // Root reads everything, so the user `nobody` runs the check.
        let owner = "65534";
        let chown = |path: &std::path::Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        };
        chown(joomla.root(), 0o755);
        let Output { status, stderr, .. } = Command::new("setpriv")
            .args(["--reuid", owner, "--regid", owner, "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_jsocketd"))
            .args(["check", "--joomla", path(joomla.root())])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .output()
            .expect("setpriv runs");
        let err = String::from_utf8_lossy(&stderr);
        if err.contains("setpriv:") {
            eprintln!("SKIPPED: the user nobody may not run the binary here: {err}");
            return;
        }
        assert!(
            status.code() == Some(1) && err.contains("configuration.php") && err.contains("ermission"),
            "{err}"
        );
        return;
    }
    check(&joomla).expect_missing(&["configuration.php", "ermission"]);
}

#[test]
fn odd_rules_and_settings_are_warned_of() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.set_level(7, "[1");
    joomla.sql("UPDATE #__assets SET rules = '{' WHERE name = 'com_content'");
    let said = check(&joomla);
    said.expect_good();
    assert!(
        said.err.contains("warning") && said.out.contains("com_content"),
        "{}\n{}",
        said.out,
        said.err
    );
    let said = check_with(&joomla, "[joomla]\napp = \"other\"\n");
    said.expect(&["other"]);
}

#[test]
fn publishing_by_the_table_is_delivered_and_mistakes_are_refused_before() {
    let joomla = Joomla::joomla6();
    let house = House::by_rows_only(joomla);
    let root = house.joomla.root();
    let publish = |words: &[&str]| run(&[&["publish", "--outbox", "--joomla", path(root)], words].concat());
    let mut guest = house.come_as_guest();
    guest.enter("news");
    for (event, data) in [("e", "1"), ("näme", "{\"a\": \"ß\"}"), ("e", "not JSON"), ("e", "")] {
        let said = publish(&["--", "news", event, data]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert!(said.out.starts_with("written into the outbox table"), "{}", said.out);
        guest.expect_event("news", event, data);
    }
    let said = publish(&["news", "mine", "1", "--socket-id", &guest.socket_id.clone()]);
    assert_eq!(said.code, 0, "{}", said.err);
    guest.expect_nothing();
    let before: u64 = house.joomla.value("SELECT COUNT(*) FROM #__websockets_outbox");
    for words in [
        &["#control", "recheck-everything", "{}"][..],
        &["a b", "e", "1"],
        &["", "e", "1"],
        &["news", "", "1"],
        &["news", "e", "1", "--socket-id", "x"],
        &["news", "e", &"x".repeat(20_000)],
        &[&"x".repeat(300), "e", "1"],
    ] {
        let said = publish(words);
        assert!(
            said.code == 1 && said.err.starts_with("jsocketd: "),
            "{words:?}: {}",
            said.err
        );
    }
    assert_eq!(
        house.joomla.value::<u64>("SELECT COUNT(*) FROM #__websockets_outbox"),
        before
    );
    let without = Joomla::joomla6();
    let said = run(&[
        "publish",
        "--outbox",
        "--joomla",
        path(without.root()),
        "news",
        "e",
        "1",
    ]);
    assert!(said.code == 1 && said.err.contains("websockets_outbox"), "{}", said.err);
}
