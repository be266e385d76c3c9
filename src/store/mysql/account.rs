//! The hourly limits of our account on the server, and how much of them is used. Hosters set `MAX_QUERIES_PER_HOUR` for
//! the site's own user, and each query of ours is one less for the site. So we use at most half of the limit. Each
//! statement adds to a debt, and time pays the debt off. While the debt is too large, the outbox's table is polled less
//! often. A statement itself is never delayed, since a client may wait for its answer.
//!
//! Servers count each statement that comes as text, also each one of a packet, but no prepared statement (measured on
//! MariaDB 10.11 and 11.8 and MySQL 9.7). So a look in front costs nothing, and a stamp costs nine statements.
//!
//! Rejected: one longer pause for all looks. It would be right for a storm of rows and far too long for a quiet site.

use std::time::Duration;

use super::driver::{Conn, Statement, query};
use super::fault::Fault;
use super::session::text;
use crate::time::Time;

/// The share of the hourly limit that is paid off within an hour: 40 %. Together with [`AHEAD`] our use is half of the
/// limit.
const SHARE: f64 = 0.4;

/// A debt up to here causes no wait: it is a tenth of the limit, which may be used at once.
const AHEAD: Duration = Duration::from_secs(900);

/// The longest pause. The server closes a session that is silent for 10 s.
const LONGEST: Duration = Duration::from_secs(5);

/// The number of statements that set up a session, about.
const SESSION: u64 = 12;

/// The hourly limits of the account, as far as the server reports them. 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `MAX_QUERIES_PER_HOUR`: statements of any kind.
    pub queries: u64,
    /// `MAX_UPDATES_PER_HOUR`: statements that write.
    pub updates: u64,
    /// `MAX_CONNECTIONS_PER_HOUR`.
    pub connections: u64,
}

impl Limits {
    /// Finds the limits in the text of `SHOW CREATE USER` or of `SHOW GRANTS`. Text in quotes is skipped: it is a name
    /// or a password.
    fn parse(sql: &str) -> Self {
        let mut words = Vec::new();
        let mut quote = None;
        for part in sql.split_inclusive(['\'', '"', '`']) {
            let end = part.chars().next_back().filter(|end| matches!(end, '\'' | '"' | '`'));
            match quote {
                Some(open) if end == Some(open) => quote = None,
                Some(_) => {}
                None => {
                    words.extend(part.trim_end_matches(['\'', '"', '`']).split_whitespace());
                    quote = end;
                }
            }
        }
        let after = |name: &str| {
            let place = words.iter().position(|word| *word == name);
            let number = place.and_then(|place| words.get(place + 1));
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Self {
            queries: after("MAX_QUERIES_PER_HOUR"),
            updates: after("MAX_UPDATES_PER_HOUR"),
            connections: after("MAX_CONNECTIONS_PER_HOUR"),
        }
    }

    /// The meaning of the limits, a sentence each.
    pub fn describe(&self) -> Vec<String> {
        let limits = [
            (self.queries, "ask", "queries", "MAX_QUERIES_PER_HOUR"),
            (self.updates, "send", "statements that write", "MAX_UPDATES_PER_HOUR"),
        ];
        let limited = limits.into_iter().filter(|(limit, ..)| *limit > 0);
        let mut sentences: Vec<String> = limited
            .map(|(limit, act, what, name)| {
                format!(
                    "the database user may {act} {limit} {what} an hour ({name}), and the site may need them too: jsocketd uses \
                     at most half of them, and when that is not enough it looks for rows of the outbox more seldom"
                )
            })
            .collect();
        if self.connections > 0 {
            sentences.push(format!(
                "the database user may connect {} times an hour (MAX_CONNECTIONS_PER_HOUR); jsocketd keeps one connection",
                self.connections
            ));
        }
        sentences
    }

    /// Whether half of the limits is too little for this server even while nothing happens.
    pub fn are_scarce(&self) -> bool {
        let too_few = |limit: u64, least: u64| limit > 0 && limit < least;
        too_few(self.queries, 12_000) || too_few(self.updates, 3_000)
    }
}

/// Reads the limits. An ordinary user may read its own limits: in MariaDB's grants, and in the statement that would
/// make the user. If neither can be read, no limits are known, and the result is [`Limits::default`].
///
/// # Errors
/// Only when the connection is lost.
pub(super) fn limits(conn: &mut Conn) -> Result<Limits, Fault> {
    for sql in ["SHOW CREATE USER CURRENT_USER()", "SHOW GRANTS"] {
        match query(conn, sql) {
            Ok(rows) => {
                let texts: Vec<String> = rows.iter().flatten().map(text).collect();
                return Ok(Limits::parse(&texts.join(" ")));
            }
            // An older server, or a proxy in between.
            Err(Fault::Server(..)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(Limits::default())
}

/// How much of the limits was used. This outlives a connection, as the server's own count does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    limits: Limits,
    queries: Debt,
    updates: Debt,
}

impl Account {
    /// Notes a new connection and the limits of its user.
    pub(super) fn connected(&mut self, limits: Limits, now: Time) {
        if self.limits != limits {
            self.limits = limits;
            self.queries = Debt::new(limits.queries);
            self.updates = Debt::new(limits.updates);
            limits.describe().iter().for_each(|sentence| log::info!("{sentence}"));
        }
        self.queries.add(SESSION, now);
    }

    /// See [`Limits`].
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Notes a statement that is sent.
    pub(super) fn asks(&mut self, statement: &Statement, now: Time) {
        let writes = |sql: &str| {
            ["UPDATE ", "INSERT ", "DELETE "]
                .iter()
                .any(|word| sql.starts_with(word))
        };
        if let Statement::Packet { sql, columns } = statement {
            self.queries.add(columns.len() as u64, now);
            self.updates
                .add(sql.split("; ").filter(|sql| writes(sql)).count() as u64, now);
        }
    }

    /// How long the next look should wait.
    pub(super) fn pause(&self, now: Time) -> Duration {
        self.queries.pause(now).max(self.updates.pause(now)).min(LONGEST)
    }
}

/// The time that has to pass until our statements are within our share of a limit.
#[derive(Clone, Copy, Debug, Default)]
struct Debt {
    /// The time that each statement adds; zero without a limit.
    each: Duration,
    all: Duration,
    at: Time,
}

impl Debt {
    fn new(limit: u64) -> Self {
        let each = match limit {
            0 => Duration::ZERO,
            limit => Duration::from_secs(3600).div_f64(limit as f64 * SHARE),
        };
        Self {
            each,
            ..Self::default()
        }
    }

    fn left(&self, now: Time) -> Duration {
        self.all.saturating_sub(now.since(self.at))
    }

    fn add(&mut self, statements: u64, now: Time) {
        let statements = u32::try_from(statements).unwrap_or(u32::MAX);
        self.all = self.left(now).saturating_add(self.each.saturating_mul(statements));
        self.at = now;
    }

    fn pause(&self, now: Time) -> Duration {
        self.left(now).saturating_sub(AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_servers_write_them() {
        let all = Limits {
            queries: 50_000,
            updates: 20_000,
            connections: 500,
        };
        for (sql, expected) in [
            (
                "GRANT USAGE ON *.* TO `lim`@`%` IDENTIFIED BY PASSWORD '*B690' WITH MAX_QUERIES_PER_HOUR 50000 \
                 MAX_UPDATES_PER_HOUR 20000 MAX_CONNECTIONS_PER_HOUR 500 GRANT ALL PRIVILEGES ON `s`.* TO `lim`@`%`",
                all,
            ),
            (
                "CREATE USER `lim`@`%` IDENTIFIED WITH 'caching_sha2_password' AS <secret> REQUIRE NONE WITH \
                 MAX_QUERIES_PER_HOUR 50000 MAX_UPDATES_PER_HOUR 20000 MAX_CONNECTIONS_PER_HOUR 500 PASSWORD EXPIRE DEFAULT",
                all,
            ),
            (
                "CREATE USER `MAX_QUERIES_PER_HOUR 5`@`%` REQUIRE NONE",
                Limits::default(),
            ),
            (
                "CREATE USER `a`@`%` COMMENT 'it''s MAX_UPDATES_PER_HOUR 5 '",
                Limits::default(),
            ),
            ("WITH MAX_QUERIES_PER_HOUR", Limits::default()),
            ("", Limits::default()),
        ] {
            assert_eq!(Limits::parse(sql), expected, "{sql}");
        }
    }

    /// A client that asks whenever there is no pause stays below half of the limit in each hour, also in the first one.
    #[test]
    fn half_of_an_hour_s_queries_is_never_exceeded() {
        for limit in [10_000, 50_000, 100_000, 1_000_000] {
            let mut account = Account::default();
            let limits = Limits {
                queries: limit,
                ..Limits::default()
            };
            account.connected(limits, Time(0));
            let look = Statement::packet("SELECT 1; SELECT 1; SELECT 1", vec![1; 3]);
            let mut asked: Vec<u64> = Vec::new();
            let mut now = Time(0);
            while now < Time(3 * 3600 * 1_000_000) {
                account.asks(&look, now);
                asked.push(now.0);
                now = now + account.pause(now).max(Duration::from_millis(20));
            }
            let in_hour = |from: u64| {
                asked
                    .iter()
                    .filter(|at| (from..from + 3_600_000_000).contains(at))
                    .count()
                    * 3
            };
            let most = (0..120).map(|minute| in_hour(minute * 60_000_000)).max().unwrap_or(0);
            assert!(most as u64 <= limit / 2 + 3, "{most} of {limit}");
            assert!(
                most as u64 > limit / 3 || limit == 1_000_000,
                "{most} of {limit}: it is not too careful"
            );
        }
    }

    #[test]
    fn statements_that_write_have_a_limit_of_their_own() {
        let mut account = Account::default();
        let limits = Limits {
            updates: 1000,
            ..Limits::default()
        };
        account.connected(limits, Time(0));
        let look = Statement::packet("SELECT 1", vec![1]);
        (0..10_000).for_each(|_| account.asks(&look, Time(0)));
        assert_eq!(account.pause(Time(0)), Duration::ZERO);
        let stamp = Statement::packet("UPDATE a; UPDATE b; COMMIT", vec![0; 3]);
        for _ in 0..60 {
            account.asks(&stamp, Time(0));
        }
        assert_eq!(account.pause(Time(0)), LONGEST);
    }

    #[test]
    fn an_account_without_limits_never_waits() {
        let mut account = Account::default();
        account.connected(Limits::default(), Time(0));
        for _ in 0..100_000 {
            account.asks(&Statement::packet("SELECT 1", vec![1]), Time(0));
        }
        assert_eq!(account.pause(Time(0)), Duration::ZERO);
        assert_eq!(Limits::default().describe(), [""; 0]);
    }
}
