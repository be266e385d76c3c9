//! A session on the server: the kind of the server, the settings under which our statements run, and the meaning of its
//! errors. A server (or a proxy in between) that does not keep a setting is not used, since our statements rely on
//! every setting.

use std::fmt;

use mysql::Value;

use super::driver::{Conn, Statement, run};
use super::fault::Fault;
use crate::store::CLOCK_TOLERANCE;
use crate::time::Now;

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 10.4 or later.
    MariaDb,
    /// 8.0.13 or later, and any other server that calls itself so.
    MySql,
}

/// The server, and the facts about it that `check` reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its kind.
    pub kind: Kind,
    /// Its version.
    pub version: (u32, u32, u32),
    /// The version as the server writes it.
    pub text: String,
    /// Whether only users with special rights may write.
    pub read_only: bool,
    /// `ROW`, `MIXED`, `STATEMENT`; `None`: the server writes no binary log.
    pub binlog_format: Option<String>,
    /// The server's clock when the session was set up, in Unix seconds, if the server reported it.
    pub clock: Option<i64>,
}

/// The meaning of an error of the server for a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Another transaction holds a lock.
    Locked,
    /// The statement limit was reached.
    TooLong,
    /// Another session ended this one statement.
    Interrupted,
    /// A table or a column is missing.
    Missing,
    /// A privilege is missing.
    Denied,
    /// A limit is used up that the site or other clients need too.
    Exhausted,
    /// The server refuses the statement for another reason.
    Refused,
    /// The connection cannot be used any more.
    Fatal,
}

/// The oldest version of each kind that has what our statements and their settings need.
const OLDEST_MARIADB: (u32, u32, u32) = (10, 4, 0);
const OLDEST_MYSQL: (u32, u32, u32) = (8, 0, 13);

/// Servers that use MySQL's protocol but guarantee less about locks and settings.
const OTHERS: [&str; 7] = [
    "tidb",
    "vitess",
    "oceanbase",
    "singlestore",
    "memsql",
    "doris",
    "starrocks",
];

/// The modes that decide how values are written and compared. Other modes that a site's own server may have
/// (`ONLY_FULL_GROUP_BY`, `ANSI_QUOTES`, …) would change what our statements mean.
const SQL_MODE: &str = "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION";

/// The most bytes of a GROUP_CONCAT. A result of this length may have been cut, so it is rejected.
pub(super) const GROUP_CONCAT: usize = 1 << 20;

/// More rows than any table has. A server may be configured to cut answers short, and then rules would be missing from
/// them.
const ALL_ROWS: &str = "18446744073709551615";

/// Asks for the kind and the version of the server.
pub(super) fn identify(conn: &mut Conn) -> Result<Server, Fault> {
    // A low max_join_size refuses even statements that read no table.
    let sql = "SET SESSION sql_big_selects = 1; SELECT VERSION(), @@version_comment";
    let rows = last(conn, Statement::packet(sql, vec![0, 2]))?;
    let text = |n: usize| rows.first().and_then(|row| row.get(n)).map(text).unwrap_or_default();
    Server::parse(&text(0), &text(1)).map_err(Fault::Unfit)
}

/// Sets the session up, and reads the settings back to check them. `statement_ms`: how long a statement may take; 0: no
/// limit.
pub(super) fn set_up(conn: &mut Conn, server: &mut Server, statement_ms: u64) -> Result<(), Fault> {
    // If the binary log is written by statement, InnoDB refuses writes at READ COMMITTED (1665). Our statements take
    // the same locks at both levels.
    server.learn(&read(conn, "", &FACTS)?);
    let isolation = match server.binlog_format.as_deref() {
        Some("STATEMENT") => "REPEATABLE READ",
        _ => "READ COMMITTED",
    };
    let settings = settings(server.kind, isolation, statement_ms);
    let set = settings.iter().filter(|setting| setting.is_set);
    let list: Vec<String> = set
        .map(|setting| format!("SESSION {} = {}", setting.names[0], setting.value))
        .collect();
    let set = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL {isolation}, READ WRITE; \
         SET NAMES utf8mb4 COLLATE utf8mb4_bin, {}; ",
        list.join(", ")
    );
    let names: Vec<&str> = settings.iter().flat_map(|setting| setting.names).copied().collect();
    let variables = read(conn, &set, &names)?;
    for setting in &settings {
        setting.check(&variables).map_err(Fault::Unfit)?;
    }
    Ok(())
}

/// Sends a packet, since each round trip takes time, and returns the rows of its last statement.
fn last(conn: &mut Conn, packet: Statement) -> Result<Vec<Vec<Value>>, Fault> {
    Ok(run(conn, &packet)?.sets.pop().unwrap_or_default())
}

/// Reads these variables of the session, after the statements of `before`, which return no rows. The names in the
/// answer are in lower case.
fn read(conn: &mut Conn, before: &str, names: &[&str]) -> Result<Vec<(String, String)>, Fault> {
    let list = names.join("','");
    let sql = format!("{before}SHOW SESSION VARIABLES WHERE Variable_name IN ('{list}')");
    let mut columns = vec![0; before.matches("; ").count()];
    columns.push(2);
    let rows = last(conn, Statement::packet(sql, columns))?;
    let read = |row: &Vec<Value>| Some((text(row.first()?).to_lowercase(), text(row.get(1)?)));
    Ok(rows.iter().filter_map(read).collect())
}

/// Whether the connection cannot be used after this error, although the server sent a proper error packet.
pub(super) fn is_fatal(code: u16) -> bool {
    matches!(meaning(code), Meaning::Fatal | Meaning::Exhausted)
}

/// Whether something is missing that an administrator can add.
pub(super) fn is_lack(code: u16) -> bool {
    matches!(meaning(code), Meaning::Missing | Meaning::Denied)
}

/// See [`Meaning`]. The numbers are those of mysqld_error.h of both kinds of servers.
pub(super) fn meaning(code: u16) -> Meaning {
    match code {
        // Lock wait timeout, deadlock, and MySQL's NOWAIT. 1048 is NULL in a column that does not take it: the rows of
        // a stamp were changed meanwhile.
        1205 | 1213 | 3572 | 1048 => Meaning::Locked,
        // max_statement_time of MariaDB, max_execution_time of MySQL.
        1969 | 3024 => Meaning::TooLong,
        1317 => Meaning::Interrupted,
        // Unknown database, column and table.
        1049 | 1054 | 1146 => Meaning::Missing,
        // A privilege of the database, of everything, of a table, of a column, of the server.
        1044 | 1045 | 1142 | 1143 | 1227 => Meaning::Denied,
        // The hourly limit of the account, and the limit of statements that all clients may have prepared. The server
        // would refuse each further question too.
        1226 | 1461 => Meaning::Exhausted,
        // A shutdown, an ended session, network errors, a cluster's node that is not ready (1047), prepared statements
        // that the server has forgotten.
        1047 | 1053 | 1152..=1161 | 1243 | 1615 | 1927 | 2006 | 2013 | 3168 | 3169 | 4031 => Meaning::Fatal,
        _ => Meaning::Refused,
    }
}

/// A setting: the names of its variable (the first one that exists counts), whether it is set here or by another
/// statement, and its value in SQL.
struct Setting {
    names: &'static [&'static str],
    is_set: bool,
    value: String,
}

fn settings(kind: Kind, isolation: &str, statement_ms: u64) -> Vec<Setting> {
    let checked = |names: &'static [&'static str], value: &str| Setting {
        names,
        is_set: false,
        value: value.to_owned(),
    };
    let plain = |names: &'static [&'static str], value: &str| Setting {
        is_set: true,
        ..checked(names, value)
    };
    let mut settings = vec![
        checked(&["transaction_isolation", "tx_isolation"], &isolation.replace(' ', "-")),
        checked(&["transaction_read_only", "tx_read_only"], "OFF"),
        checked(&["character_set_client"], "utf8mb4"),
        checked(&["character_set_connection"], "utf8mb4"),
        checked(&["character_set_results"], "utf8mb4"),
        plain(&["autocommit"], "1"),
        plain(&["sql_mode"], &format!("'{SQL_MODE}'")),
        plain(&["time_zone"], "'+00:00'"),
        plain(&["group_concat_max_len"], &GROUP_CONCAT.to_string()),
        plain(&["sql_select_limit"], ALL_ROWS),
        plain(&["sql_big_selects"], "1"),
        plain(&["sql_safe_updates"], "0"),
        // The wait for tables that are being altered. MariaDB's statement limit ends this wait too.
        plain(&["lock_wait_timeout"], "1"),
        // The server ends a session that is silent for so many seconds. So a process that stops in the middle of a
        // stamp holds the counter's lock no longer than this.
        plain(&["wait_timeout"], "10"),
    ];
    match kind {
        Kind::MariaDb => {
            settings.push(plain(&["innodb_lock_wait_timeout"], "0"));
            settings.push(plain(&["idle_transaction_timeout"], "2"));
            let seconds = statement_ms as f64 / 1000.0;
            settings.push(plain(&["max_statement_time"], &format!("{seconds:.3}")));
        }
        Kind::MySql => {
            // MySQL has no shorter wait, and its statement limit applies to SELECT only.
            settings.push(plain(&["innodb_lock_wait_timeout"], "1"));
            settings.push(plain(&["max_execution_time"], &statement_ms.to_string()));
        }
    }
    settings
}

impl Setting {
    fn check(&self, variables: &[(String, String)]) -> Result<(), String> {
        let found = variables.iter().find(|(name, _)| self.names.contains(&name.as_str()));
        let (name, wanted) = (self.names[0], self.value.trim_matches('\''));
        match found {
            Some((_, value)) if same(value, wanted) => Ok(()),
            other => Err(format!(
                "the server does not keep the session setting {name} = {wanted}: it says {}",
                other.map_or("nothing", |(_, value)| value)
            )),
        }
    }
}

/// Whether two values of a variable mean the same: `ON` and `1`, `0.1` and `0.100000`, modes in another order.
fn same(a: &str, b: &str) -> bool {
    let switch = |text: &str| match text.to_uppercase().as_str() {
        "ON" => "1".to_owned(),
        "OFF" => "0".to_owned(),
        other => other.to_owned(),
    };
    let (a, b) = (switch(a), switch(b));
    let modes = |text: &str| {
        let mut modes: Vec<String> = text.split(',').map(str::to_owned).collect();
        modes.sort();
        modes
    };
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => modes(&a) == modes(&b),
    }
}

/// Variables that are only read, not set.
const FACTS: [&str; 5] = ["read_only", "innodb_read_only", "log_bin", "binlog_format", "timestamp"];

impl Server {
    /// Parses `VERSION()` and `@@version_comment`.
    pub(super) fn parse(version: &str, comment: &str) -> Result<Self, String> {
        let all = format!("{version} {comment}").to_lowercase();
        // MariaDB may put the version of an older MySQL in front: 5.5.5-10.11.6-MariaDB.
        let plain = version.strip_prefix("5.5.5-").unwrap_or(version);
        let mut numbers = plain
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse::<u32>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let number = (next(), next(), next());
        let (kind, oldest, wanted) = match all.contains("mariadb") {
            true => (Kind::MariaDb, OLDEST_MARIADB, "MariaDB 10.4"),
            false => (Kind::MySql, OLDEST_MYSQL, "MySQL 8.0.13"),
        };
        if OTHERS.iter().any(|other| all.contains(other)) {
            return Err(format!("the database is {version}, which is neither MariaDB nor MySQL"));
        }
        if number < oldest {
            return Err(format!(
                "the database is {version}, and {wanted} is the oldest that will do"
            ));
        }
        Ok(Self {
            kind,
            version: number,
            text: version.to_owned(),
            read_only: false,
            binlog_format: None,
            clock: None,
        })
    }

    fn learn(&mut self, variables: &[(String, String)]) {
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let on = |name: &str| same(value(name), "1");
        self.read_only = on("read_only") || on("innodb_read_only");
        self.binlog_format = on("log_bin").then(|| value("binlog_format").to_owned());
        // The value has a fraction.
        self.clock = value("timestamp")
            .split('.')
            .next()
            .and_then(|seconds| seconds.parse().ok());
    }

    /// A sentence about the server's clock, if it differs from ours. To be called right after the session was set up.
    pub fn odd_clock(&self, now: Now) -> Option<String> {
        let ahead = self.clock?.saturating_sub(now.unix());
        let (seconds, way) = (ahead.unsigned_abs(), if ahead > 0 { "ahead of" } else { "behind" });
        (seconds > CLOCK_TOLERANCE.unsigned_abs()).then(|| {
            format!(
                "the database's clock is {seconds} s {way} this machine's: the later of the two ends sessions, and items are \
                 shown only while both say so. Let both machines follow a time server, like chrony or systemd-timesyncd"
            )
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::MariaDb => "MariaDB",
            Kind::MySql => "MySQL",
        };
        write!(f, "{kind} {}", self.text)
    }
}

/// A value of the text protocol.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        let good = [
            ("10.11.6-MariaDB-0+deb12u1", "Debian 12", Kind::MariaDb, (10, 11, 6)),
            ("5.5.5-10.4.0-MariaDB", "", Kind::MariaDb, (10, 4, 0)),
            (
                "11.4.2-MariaDB-log",
                "mariadb.org binary distribution",
                Kind::MariaDb,
                (11, 4, 2),
            ),
            ("10.6.18-13", "MariaDB Enterprise", Kind::MariaDb, (10, 6, 18)),
            ("8.0.13", "MySQL Community Server - GPL", Kind::MySql, (8, 0, 13)),
            ("8.0.36-28", "Percona Server (GPL), Release 28", Kind::MySql, (8, 0, 36)),
            ("9.1.0", "", Kind::MySql, (9, 1, 0)),
        ];
        for (version, comment, kind, number) in good {
            let server = Server::parse(version, comment).expect(version);
            assert_eq!((server.kind, server.version), (kind, number), "{version}");
        }
    }

    #[test]
    fn an_old_or_unknown_server_is_refused_with_a_sentence() {
        let bad = [
            ("10.3.39-MariaDB", "", "MariaDB 10.4"),
            ("5.5.5-10.2.44-MariaDB", "", "MariaDB 10.4"),
            ("8.0.12", "", "MySQL 8.0.13"),
            ("5.7.44-log", "MySQL Community Server (GPL)", "MySQL 8.0.13"),
            ("8.0.11-TiDB-v8.5.0", "TiDB Server", "neither"),
            ("8.0.30-Vitess", "", "neither"),
            ("", "", "MySQL 8.0.13"),
            ("nonsense", "", "MySQL 8.0.13"),
        ];
        for (version, comment, why) in bad {
            let refusal = Server::parse(version, comment).expect_err(version);
            assert!(refusal.contains(why), "{version}: {refusal}");
        }
    }

    #[test]
    fn values_are_compared_by_meaning() {
        for (a, b) in [
            ("ON", "1"),
            ("OFF", "0"),
            ("0.100000", "0.1"),
            ("b,a", "A,B"),
            ("+00:00", "+00:00"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("ON", "0"),
            ("0.2", "0.1"),
            ("a", "a,b"),
            ("SYSTEM", "+00:00"),
            ("", "0"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn a_setting_that_is_not_kept_is_named() {
        let settings = settings(Kind::MariaDb, "READ COMMITTED", 100);
        let limit = settings.last().expect("a session has settings");
        let says = |value: &str| limit.check(&[("max_statement_time".to_owned(), value.to_owned())]);
        assert_eq!(says("0.100000"), Ok(()));
        let why = says("0").expect_err("another value");
        assert!(why.contains("max_statement_time = 0.100: it says 0"), "{why}");
        assert!(limit.check(&[]).expect_err("no value").contains("says nothing"));
    }

    #[test]
    fn a_clock_that_differs_by_more_than_five_seconds_is_named() {
        let mut server = Server::parse("11.8.0-MariaDB", "").expect("a version");
        let now = Now {
            unix_ms: 1_800_000_000_999,
            ..Now::default()
        };
        assert_eq!(server.odd_clock(now), None, "its clock is not known");
        for (ahead, said) in [
            (0, None),
            (5, None),
            (-5, None),
            (6, Some("is 6 s ahead of this machine's")),
            (-6, Some("is 6 s behind this machine's")),
            (600, Some("is 600 s ahead of this machine's")),
        ] {
            let clock = format!("{}.123456", 1_800_000_000 + ahead);
            server.learn(&[("timestamp".to_owned(), clock)]);
            let odd = server.odd_clock(now);
            assert_eq!(odd.is_some(), said.is_some(), "{ahead}: {odd:?}");
            let odd = odd.unwrap_or_default();
            assert!(
                said.is_none_or(|words| odd.contains(words) && odd.contains("time server")),
                "{ahead}: {odd}"
            );
        }
    }
}
