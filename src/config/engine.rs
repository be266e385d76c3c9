//! `[engine]` as a whole: the URL of the engine, and the keys that need each other.

use std::path::PathBuf;
use std::str::FromStr;

use super::address::ListenAddr;
use super::draft::Draft;
use super::key::{APPS, At};
use super::origin::{self, BadAuthority};
use super::problem::Problem;
use super::sections::Engine;

/// The most bytes of an event's data where there is an engine. An entry of its log, which must hold one event with its
/// JSON escaped, has 256 KiB.
pub const LARGEST_SHARED_EVENT: usize = 40_000;

/// The longest prefix of a key.
const LONGEST_PREFIX: usize = 100;

/// `redis://HOST[:PORT][/DATABASE]`, the same with `rediss://`, or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUrl {
    /// Where the engine is.
    pub place: EnginePlace,
    /// The number of the database; 0 if the URL names none.
    pub database: u32,
}

/// Where an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePlace {
    /// A host.
    Tcp {
        /// A name in ASCII or an IP address, an IPv6 address without its brackets.
        host: String,
        /// 6379 if the URL names none.
        port: u16,
        /// Whether the connection is encrypted.
        tls: bool,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Engine {
    /// Where the engine is; `None`: there is none.
    pub fn place(&self) -> Option<EngineUrl> {
        self.url.parse().ok()
    }

    /// The key of the log.
    pub fn log(&self) -> String {
        format!("{}log", self.prefix)
    }
}

impl FromStr for EngineUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("unix:") {
            return match text.parse() {
                Ok(ListenAddr::Unix(path)) => Ok(Self {
                    place: EnginePlace::Unix(path),
                    database: 0,
                }),
                _ => Err("the path of a unix: socket must begin with a slash"),
            };
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err("it must start with redis://, rediss:// (with TLS) or unix:/"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') || rest.contains('?') {
            return Err("user name and password belong to the keys `user` and `password`, and there are no parameters");
        }
        let (host, port) = origin::host_and_port(authority).map_err(|bad| match bad {
            BadAuthority::Host => "its host must be a name in ASCII (xn-- for others) or an IP address",
            BadAuthority::Port => "its port must be a number from 1 to 65535",
        })?;
        let is_number = path.len() <= 5 && path.bytes().all(|b| b.is_ascii_digit());
        let database = match path {
            "" => Some(0),
            _ => path.parse().ok().filter(|_| is_number),
        };
        Ok(Self {
            place: EnginePlace::Tcp {
                host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
                port: port.unwrap_or(6379),
                tls,
            },
            database: database.ok_or("behind its host there may be the number of a database, as in redis://host/1")?,
        })
    }
}

/// The URL of an engine, as it was typed.
pub(super) fn url(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(char::is_control) {
        true if text.is_empty() => Ok(String::new()),
        true => Err("must be a text without control characters".into()),
        false => match text.parse::<EngineUrl>() {
            Ok(_) => Ok(text.to_owned()),
            Err(why) => Err(format!("is a bad URL: {why}")),
        },
    }
}

/// The beginning of the keys.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":._-{}/".contains(&b);
    match (1..=LONGEST_PREFIX).contains(&text.len()) && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be 1 to {LONGEST_PREFIX} letters, digits and `:._-{{}}/`")),
    }
}

/// Checks that the keys of `[engine]` that need each other are there, and that each event fits into the log.
pub(super) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    let config = &draft.config;
    let engine = &config.engine;
    let has_engine = !engine.url.is_empty();
    if !engine.user.is_empty() && engine.password.is_empty() {
        let place = draft.place(&[(("engine", "user"), At::FIRST)]);
        problems.push(Problem::new(place, "`user` in [engine] lacks its `password`"));
    }
    if config.server.workers > 1 && !has_engine {
        let place = draft.place(&[(("server", "workers"), At::FIRST)]);
        let what = format!(
            "{} `workers` in [server] need a `url` in [engine]: without an engine the clients of one would not get the \
             events of another",
            config.server.workers
        );
        problems.push(Problem::new(place, what));
    }
    for (n, app) in config.apps.iter().enumerate() {
        if has_engine && app.max_event_size > LARGEST_SHARED_EVENT {
            let place = draft.place(&[((APPS, "max_event_size"), At::nth(n)), (("engine", "url"), At::FIRST)]);
            let what = format!(
                "`max_event_size` in [[apps]] must be at most {LARGEST_SHARED_EVENT} where [engine] has a `url`, not {}",
                app.max_event_size
            );
            problems.push(Problem::new(place, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Sources};
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        Sources::parse(Path::new("f"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_taken_apart() {
        let tcp = |host: &str, port, tls, database| EngineUrl {
            place: EnginePlace::Tcp {
                host: host.into(),
                port,
                tls,
            },
            database,
        };
        for (text, url) in [
            ("redis://127.0.0.1", tcp("127.0.0.1", 6379, false, 0)),
            ("redis://Redis.example:7000/", tcp("redis.example", 7000, false, 0)),
            ("rediss://[::1]:7000/12", tcp("::1", 7000, true, 12)),
            (
                "unix:/run/redis/redis.sock",
                EngineUrl {
                    place: EnginePlace::Unix("/run/redis/redis.sock".into()),
                    database: 0,
                },
            ),
        ] {
            assert_eq!(text.parse(), Ok(url), "{text}");
            let config = read(&format!("[engine]\nurl = \"{text}\"\n")).expect(text);
            assert_eq!(config.engine.place(), text.parse().ok());
        }
        assert_eq!(Config::default().engine.place(), None);
        assert_eq!(Config::default().engine.log(), "jsocketd:log");
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, why) in [
            ("url = \"127.0.0.1:6379\"", "redis://"),
            ("url = \"http://127.0.0.1\"", "redis://"),
            ("url = \"unix:redis.sock\"", "slash"),
            ("url = \"redis://:hunter2@127.0.0.1\"", "`password`"),
            ("url = \"redis://127.0.0.1?db=1\"", "parameters"),
            ("url = \"redis://127.0.0.1/x\"", "number of a database"),
            ("url = \"redis://127.0.0.1/+1\"", "number of a database"),
            ("url = \"redis://127.0.0.1/123456\"", "number of a database"),
            ("url = \"redis://127.0.0.1:0\"", "port"),
            ("url = \"redis://\"", "host"),
            ("url = \"redis://a b\"", "host"),
            ("url = \"redis://a\\u0001\"", "control"),
            (
                "[server]\nworkers = 2",
                "2 `workers` in [server] need a `url` in [engine]",
            ),
            ("prefix = \"\"", "letters"),
            ("prefix = \"a b\"", "letters"),
            ("lease = 2", "from 3 to 60"),
            ("user = \"me\"", "lacks its `password`"),
            ("password = \"***\"", "masked"),
        ] {
            let refused = read(&format!("[engine]\n{text}\n")).expect_err(text);
            assert!(
                refused.contains(why) && !refused.contains("hunter2"),
                "{text}\n{refused}"
            );
        }
        let app = "[[apps]]\nid = \"a\"\nkey = \"a\"\nsecret = \"a-good-secret\"\nmax_event_size = 40001\n";
        assert!(read(app).is_ok());
        let refused = read(&format!("[engine]\nurl = \"redis://127.0.0.1\"\n{app}")).expect_err("too large");
        assert!(refused.contains("at most 40000"), "{refused}");
    }

    #[test]
    fn an_engine_waits_for_a_restart() {
        let old = read("[engine]\nurl = \"redis://127.0.0.1\"\n").expect("good");
        let new = read("[engine]\nurl = \"redis://127.0.0.2\"\nlease = 5\n").expect("good");
        let reload = old.reloaded(&new);
        assert_eq!((reload.changed.len(), &reload.config.engine), (0, &old.engine));
        assert_eq!(reload.restart, ["engine.url", "engine.lease"]);
    }
}
