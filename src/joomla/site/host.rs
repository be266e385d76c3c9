//! Interprets `$host` as Joomla does: each form of `DatabaseDriver::extractHostPortSocket` of joomla/database, and
//! PHP's own rule that `localhost` means a Unix socket whatever the port. The caller passes a function that resolves
//! names, because resolving may take long.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{HostName, ListenAddr};

/// MySQL's port.
const PORT: u16 = 3306;

/// The most addresses of one name that are tried; a pool with more addresses has a proxy in front of it.
const MOST_ADDRESSES: usize = 8;

/// Sockets that `localhost` may mean, as distributions compile them into PHP (`mysqli.default_socket`).
pub(super) const SOCKETS: [&str; 4] = [
    "/run/mysqld/mysqld.sock",
    "/var/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
];

/// The meaning of a value of `$host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// `localhost`: PHP's default socket. The port is used if no socket works.
    Local(u16),
    /// An IP address.
    Address(SocketAddr),
    /// A name to be resolved. An IPv6 address with a zone is one too.
    Name(String, u16),
    /// The path of a socket.
    Socket(PathBuf),
}

impl Host {
    /// Reads a value.
    ///
    /// # Errors
    /// The reason, as a clause about the value: `it …`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket(path);
        }
        if text.starts_with('/') {
            return Err(format!(
                "it is a path, which Joomla takes for a host's name; write unix:{text}"
            ));
        }
        if text.starts_with("p:") || text.starts_with("P:") {
            return Err(
                "it asks for a persistent connection (p:), which Joomla does not support; leave the p: out".into(),
            );
        }
        if text.contains("://") {
            return Err("it is a URL; write the host's name alone".into());
        }
        if let Some(rest) = text.strip_prefix('[') {
            let Some((inside, rest)) = rest.split_once(']') else {
                return Err("its bracket is not closed".into());
            };
            return match rest {
                "" => address(inside, PORT),
                _ => with(
                    inside,
                    rest.strip_prefix(':').ok_or("something stands behind its bracket")?,
                ),
            };
        }
        match text.split_once(':') {
            None => address(text, PORT),
            // With more than one colon it is an IPv6 address without brackets, which has no port. The exception is an
            // IPv4 address with a socket whose path contains colons.
            Some((host, rest))
                if rest.contains(':') && !(rest.starts_with('/') && host.parse::<Ipv4Addr>().is_ok()) =>
            {
                address(text, PORT)
            }
            Some(("", rest)) => with("localhost", rest),
            Some((host, rest)) => with(host, rest),
        }
    }

    /// The addresses to connect to, in the order in which to try them. `is_there` says whether a socket exists. For
    /// `localhost`, the existing ones of [`SOCKETS`] are tried, or all if none exists yet. The list is empty if
    /// `resolve` has no addresses yet.
    ///
    /// # Errors
    /// The reason, as a clause about the value: `it …`.
    pub(super) fn endpoints(
        &self,
        resolve: &mut dyn FnMut(&str, u16) -> io::Result<Vec<SocketAddr>>,
        is_there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<ListenAddr>, String> {
        match self {
            Host::Address(address) => Ok(vec![ListenAddr::Tcp(*address)]),
            Host::Socket(path) => Ok(vec![ListenAddr::Unix(path.clone())]),
            Host::Local(port) => {
                let all = SOCKETS.map(PathBuf::from);
                let mut there: Vec<_> = all.iter().filter(|path| is_there(path)).cloned().collect();
                if there.is_empty() {
                    there = all.into();
                }
                let tcp = ListenAddr::Tcp((Ipv4Addr::LOCALHOST, *port).into());
                Ok(there.into_iter().map(ListenAddr::Unix).chain([tcp]).collect())
            }
            Host::Name(name, port) => {
                let addresses = resolve(name, *port).map_err(|e| format!("its name cannot be resolved: {e}"))?;
                Ok(addresses
                    .into_iter()
                    .take(MOST_ADDRESSES)
                    .map(ListenAddr::Tcp)
                    .collect())
            }
        }
    }

    /// The name that must be resolved, if there is one.
    pub(super) fn host_name(&self) -> Option<HostName> {
        match self {
            Host::Name(host, port) => Some(HostName {
                host: host.clone(),
                port: *port,
            }),
            Host::Local(_) | Host::Address(_) | Host::Socket(_) => None,
        }
    }

    /// The name that the database server's certificate must have.
    pub(super) fn name(&self) -> String {
        match self {
            Host::Local(_) | Host::Socket(_) => "localhost".into(),
            Host::Address(address) => address.ip().to_string(),
            Host::Name(name, _) => name.to_ascii_lowercase(),
        }
    }
}

/// A host with the text behind its colon: a port, or the path of a socket. With a socket, the host is ignored.
fn with(host: &str, rest: &str) -> Result<Host, String> {
    if rest.starts_with('/') {
        return socket(rest);
    }
    match rest.parse::<u16>() {
        Ok(port) if port > 0 && rest.bytes().all(|byte| byte.is_ascii_digit()) => address(host, port),
        _ if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err("its port is not from 1 to 65535".into())
        }
        _ => Err("behind its colon there is neither a port nor the absolute path of a socket".into()),
    }
}

fn address(host: &str, port: u16) -> Result<Host, String> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Host::Local(port));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Host::Address((ip, port).into()));
    }
    let is_zoned = host.split_once('%').is_some_and(|(ip, zone)| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        ip.parse::<std::net::Ipv6Addr>().is_ok() && !zone.is_empty() && zone.bytes().all(is_plain)
    });
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if is_zoned || (!host.is_empty() && host.bytes().all(is_plain)) {
        return Ok(Host::Name(host.to_owned(), port));
    }
    Err("it is neither a host's name nor an IP address nor unix: and a path".into())
}

fn socket(path: &str) -> Result<Host, String> {
    match format!("unix:{path}").parse::<ListenAddr>() {
        Ok(ListenAddr::Unix(path)) => Ok(Host::Socket(path)),
        Ok(ListenAddr::Tcp(_)) => Err("it is no socket".into()),
        Err(why) => Err(format!("its socket cannot be used: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Host {
        Host::Address(text.parse().expect(text))
    }

    /// Every row of the table in joomla.md 2.3, whose results come from PHP.
    #[test]
    fn every_form_of_a_host_is_read_as_joomla_reads_it() {
        let name = |name: &str, port| Host::Name(name.into(), port);
        let socket = |path: &str| Host::Socket(path.into());
        for (text, host) in [
            ("localhost", Host::Local(3306)),
            ("LocalHost", Host::Local(3306)),
            ("localhost:3307", Host::Local(3307)),
            ("127.0.0.1", tcp("127.0.0.1:3306")),
            ("127.0.0.1:33306", tcp("127.0.0.1:33306")),
            ("db.example.org", name("db.example.org", 3306)),
            ("db.example.org:3307", name("db.example.org", 3307)),
            ("my_db", name("my_db", 3306)),
            ("localhost:/path/mysqld.sock", socket("/path/mysqld.sock")),
            ("127.0.0.1:/x.sock", socket("/x.sock")),
            ("127.0.0.1:/a:b.sock", socket("/a:b.sock")),
            (":/x.sock", socket("/x.sock")),
            ("[::1]:/x.sock", socket("/x.sock")),
            ("unix:/path/mysqld.sock", socket("/path/mysqld.sock")),
            (":3307", Host::Local(3307)),
            ("[::1]", tcp("[::1]:3306")),
            ("[::1]:3307", tcp("[::1]:3307")),
            ("::1", tcp("[::1]:3306")),
            ("2001:db8::5", tcp("[2001:db8::5]:3306")),
            ("fe80::1%eth0", name("fe80::1%eth0", 3306)),
            ("[fe80::1%eth0]:3307", name("fe80::1%eth0", 3307)),
        ] {
            assert_eq!(Host::parse(text), Ok(host), "{text}");
        }
    }

    #[test]
    fn hosts_that_joomla_cannot_use_are_refused_with_a_sentence() {
        for (text, sentence) in [
            ("p:db.example.org", "leave the p: out"),
            ("p:localhost", "leave the p: out"),
            ("/run/mysqld/mysqld.sock", "write unix:/run/mysqld/mysqld.sock"),
            ("localhost:mysqld.sock", "neither a port"),
            ("127.0.0.1:", "neither a port"),
            ("127.0.0.1:+1", "neither a port"),
            ("127.0.0.1:0", "1 to 65535"),
            ("127.0.0.1:65536", "1 to 65535"),
            ("unix:run/x.sock", "absolute"),
            ("[::1", "not closed"),
            ("[::1]3307", "behind its bracket"),
            ("mysql://db", "URL"),
            ("db host", "neither a host's name"),
            ("a:b:c", "neither a host's name"),
            ("", "neither a host's name"),
            ("[]", "neither a host's name"),
            ("fe80::1%", "neither a host's name"),
        ] {
            let why = Host::parse(text).expect_err(text);
            assert!(why.contains(sentence), "{text}: {why}");
        }
    }

    fn nobody(name: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        panic!("{name} must not be resolved")
    }

    fn endpoints(text: &str, there: &[&str]) -> Vec<String> {
        let is_there = |path: &Path| there.iter().any(|one| Path::new(one) == path);
        let host = Host::parse(text).expect(text);
        let found = host.endpoints(&mut nobody, &is_there).expect(text);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn localhost_is_tried_as_a_socket_first() {
        assert_eq!(
            endpoints("localhost:3307", &["/tmp/mysql.sock", "/var/run/mysqld/mysqld.sock"]),
            [
                "unix:/var/run/mysqld/mysqld.sock",
                "unix:/tmp/mysql.sock",
                "127.0.0.1:3307"
            ]
        );
        let mut all: Vec<String> = SOCKETS.iter().map(|path| format!("unix:{path}")).collect();
        all.push("127.0.0.1:3306".into());
        assert_eq!(endpoints("localhost", &[]), all, "the database may start later");
        assert_eq!(endpoints("localhost:/x.sock", &[]), ["unix:/x.sock"]);
        assert_eq!(endpoints("[::1]:3307", &SOCKETS), ["[::1]:3307"]);
    }

    #[test]
    fn names_are_resolved_by_the_caller() {
        let host = Host::parse("DB.example.org:3307").expect("a name");
        let addresses: Vec<SocketAddr> = (1..=9).map(|last| SocketAddr::from(([10, 0, 0, last], 3307))).collect();
        let mut asked = Vec::new();
        let mut resolve = |name: &str, port| {
            asked.push((name.to_owned(), port));
            Ok(addresses.clone())
        };
        let found = host.endpoints(&mut resolve, &|_| false).expect("resolved");
        let wanted: Vec<ListenAddr> = addresses[..8].iter().copied().map(ListenAddr::Tcp).collect();
        assert_eq!((found, asked), (wanted, vec![("DB.example.org".to_owned(), 3307)]));
        assert_eq!(host.name(), "db.example.org");
        let none = host.endpoints(&mut |_, _| Ok(Vec::new()), &|_| false);
        assert_eq!(none, Ok(Vec::new()), "it is not known yet");
        let wanted = HostName {
            host: "DB.example.org".into(),
            port: 3307,
        };
        assert_eq!(host.host_name(), Some(wanted));
        assert_eq!(tcp("10.0.0.1:3306").host_name(), None);
        let fails = host.endpoints(&mut |_, _| Err(io::Error::other("broken")), &|_| false);
        assert!(fails.expect_err("no answer").contains("resolved: broken"));
    }
}
