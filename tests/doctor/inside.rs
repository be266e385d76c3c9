//! Faults on the server's machine: the database and its privileges, secrets, clocks, a full disk.

use std::process::Command;
use std::sync::Arc;

use crate::common::mariadb::Mariadb;
use crate::stage::{Plan, Stage, set_option};
use jsocketd::store::grants::grants;

/// The server's own database user, without some of the privileges that it needs.
fn with_user(lacks: &'static str) -> Stage {
    let plan = Plan::default();
    let stage = Stage::new(plan, |joomla| {
        let all = grants(&joomla.database, joomla.prefix, "X", &[]);
        let own: Vec<String> = all
            .iter()
            .filter(|line| !line.contains(lacks))
            .map(|line| line.trim_start_matches("GRANT ").trim_end_matches(" TO X;").to_owned())
            .collect();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        joomla.restricted_user(&own);
    });
    let file = stage.server.config_path();
    let toml = format!(
        "[joomla]\nroot = \"{}\"\n[database]\nuser = \"{}_least\"\npassword = '''{}'''\n",
        stage.joomla.root().display(),
        stage.joomla.database,
        stage.joomla.password
    );
    std::fs::write(file, toml).expect("the configuration is written");
    stage
}

fn examine(stage: &Stage) -> crate::stage::Report {
    stage.examine_with(&["--config", &stage.server.config_path().display().to_string()])
}

#[test]
fn a_missing_grant_is_named() {
    let stage = with_user("viewlevels");
    let report = examine(&stage);
    let line = format!("GRANT SELECT ON `{}`.`j6x_viewlevels` TO ", stage.joomla.database);
    let finding = report.expect_faults(&["privileges"], &[&line, "_least"]);
    assert_eq!(finding.snippet.lines().count(), 1, "{finding:#?}");
    // That line is the remedy.
    stage.joomla.sql(&finding.snippet);
    let report = examine(&stage);
    assert_eq!(report.of("privileges").verdict, "ok", "{report:#?}");
    assert_eq!(report.code, 0);
}

#[test]
fn a_missing_grant_of_the_site_s_own_user_is_named() {
    let stage = Stage::healthy();
    let (database, user) = (&stage.joomla.database, &stage.joomla.user);
    stage.joomla.sql(&format!(
        "REVOKE ALL ON {database}.* FROM {user}; GRANT SELECT ON {database}.* TO {user}"
    ));
    let report = stage.examine();
    let table = format!("`{database}`.`j6x_websockets_outbox` TO ");
    let finding = report.of("outbox");
    assert_eq!(finding.verdict, "fault", "{report:#?}");
    assert!(finding.snippet.contains(&table), "{finding:#?}");
}

#[test]
fn a_wrong_secret_of_the_app_is_named() {
    let plan = Plan {
        toml: "[joomla]\napp = \"doctors-app\"\n[[apps]]\nid = \"doctors-app\"\nkey = \"doctors-key\"\nsecret = \
               \"another-secret-than-the-component\"\n"
            .to_owned(),
        ..Plan::default()
    };
    let report = Stage::new(plan, |_| {}).examine();
    report.expect_faults(&["secret"], &["App Secret", "[[apps]]"]);
    assert_eq!(report.of("greeting").verdict, "ok", "{report:#?}");
}

#[test]
fn a_wrong_secret_of_the_site_is_named() {
    // The server was started with the secret of another site: it looks for another cookie.
    let plan = Plan {
        toml: "[joomla]\nsecret = \"of-another-site\"\n".to_owned(),
        ..Plan::default()
    };
    let report = Stage::new(plan, |_| {}).examine();
    report.expect_faults(&["identity"], &["the server sees none", "[joomla] secret"]);
    // The doctor reads the folder of another site.
    let stage = Stage::healthy();
    let other = tempfile::tempdir().expect("a temporary folder");
    let text = std::fs::read_to_string(stage.joomla.configuration()).expect("configuration.php");
    let text = text.replace(stage.joomla.secret, "of-another-site");
    std::fs::write(other.path().join("configuration.php"), text).expect("a copy");
    let report = stage.examine_with(&["--joomla", &other.path().display().to_string()]);
    report.expect_faults(&["session"], &["$secret", "--joomla"]);
}

#[test]
fn a_clock_that_is_off_by_ten_minutes_is_named() {
    let stage = Stage::healthy();
    stage.site.change(|manner| manner.ahead = 600);
    let report = stage.examine();
    let words = [
        "the clock of the web server and PHP is",
        "s ahead of",
        "timedatectl set-ntp true",
    ];
    report.expect_faults(&["clocks"], &words);
    // The same of the database, whose clock is that of the session row too.
    stage.site.change(|manner| manner.ahead = 0);
    let own = Arc::new(Mariadb::start(&[
        "--init-connect=SET timestamp = UNIX_TIMESTAMP() - 600",
    ]));
    let plan = Plan {
        mariadb: Some(own),
        ..Plan::default()
    };
    let report = Stage::new(plan, |_| {}).examine();
    let finding = report.of("clocks");
    assert_eq!(finding.verdict, "fault", "{report:#?}");
    assert!(finding.says.contains("the database's clock is"), "{finding:#?}");
}

#[test]
fn a_full_disk_of_the_database_is_named() {
    let disk = Disk::new();
    let own = Arc::new(Mariadb::start(&[]));
    let plan = Plan {
        mariadb: Some(own),
        ..Plan::default()
    };
    let stage = Stage::new(plan, |joomla| {
        let text: (String, String) = joomla.rows("SHOW CREATE TABLE #__websockets_outbox").remove(0);
        let moved = format!("{} DATA DIRECTORY = '{}'", text.1, disk.path());
        joomla.sql(&format!("DROP TABLE #__websockets_outbox; {moved}"));
        // Large rows until none fits, then smaller ones. (MariaDB 10.11 crashes where a BLOB of its own pages does not
        // fit.)
        let mut connection = joomla.connect();
        for size in [4000, 200, 10] {
            let sql = joomla.text(&format!(
                "INSERT INTO #__websockets_outbox (channel, event, data, created, seq, stamped)
                 SELECT 'x', 'x', REPEAT('1', {size}), UTC_TIMESTAMP(3), (SELECT COALESCE(MAX(seq), 0) + 1 FROM \
                 #__websockets_outbox o), UTC_TIMESTAMP(3)"
            ));
            let mut written = 0;
            let full = loop {
                match mysql::prelude::Queryable::query_drop(&mut connection, &sql) {
                    Ok(()) => written += 1,
                    Err(error) => break error.to_string(),
                }
                assert!(written < 20_000, "the disk has no end");
            };
            assert!(full.contains("full"), "{full}");
        }
    });
    let report = stage.examine();
    report.expect_faults(&["outbox"], &["is full", "df -h"]);
    assert_eq!(report.of("delivery").verdict, "not_checked", "{report:#?}");
}

/// A small file system in memory. When dropped it is gone.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().expect("a temporary folder"));
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", &disk.path()])
            .status();
        assert!(done.expect("mount runs").success(), "mounting needs root");
        disk
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The database may still have its file open.
        let _ = Command::new("umount").args(["--lazy", &self.path()]).status();
    }
}

#[test]
fn missing_tables_and_a_database_that_is_away_are_named() {
    let stage = Stage::healthy();
    stage.joomla.sql("DROP TABLE #__websockets_outbox, #__websockets_state");
    let report = stage.examine();
    report.expect_faults(&["privileges", "outbox"], &["CREATE TABLE"]);
    stage.joomla.configure("password", "'wrong'");
    let report = stage.examine();
    report.expect_faults(&["database"], &["$password"]);
    assert_eq!(report.of("greeting").verdict, "ok", "{report:#?}");
}

#[test]
fn an_address_for_php_that_nobody_answers_is_named() {
    let stage = Stage::healthy();
    set_option(&stage.joomla, "server_address", "http://127.0.0.1:9");
    let report = stage.examine();
    report.expect_faults(&["nudge"], &["http://127.0.0.1:9", "Address for PHP"]);
}

#[test]
fn what_cannot_run_says_why() {
    let stage = Stage::healthy();
    for (flags, words) in [
        (&["--joomla", "/nowhere"][..], "/nowhere"),
        (&["--ca", "/nowhere"], "/nowhere"),
        (&["--config", "/nowhere"], "/nowhere"),
    ] {
        let output = stage.command(flags).output().expect("the doctor runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(words), "{flags:?}: {text}");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
}
