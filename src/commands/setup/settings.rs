//! The configuration file of jsocketd: a new one, or an existing one in which only `[joomla] root` changes. Every other
//! byte of an existing file stays, so it is edited by the places that the TOML parser reports. Rejected: writing the
//! parsed document anew, which changes spaces and line ends.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use jsocketd::config::{Config, ListenAddr, ListenEntry, Sources};
use toml::Value;
use toml::de::DeTable;

use super::edit::{Hunk, apply};
use super::names::Names;

/// The port of the first server of a machine.
const FIRST_PORT: u16 = 8080;

/// How many ports are tried.
const PORTS: u16 = 100;

/// The text of a new file. `root` is the site's folder.
pub fn new(names: &Names, root: &str, port: u16) -> String {
    let admin = names.admin_listen().map_or_else(String::new, |address| {
        format!(
            "admin_listen = \"{address}\"  # so that `jsocketd status{}` finds it\n",
            names.flag()
        )
    });
    format!(
        "# Written by `jsocketd setup`. docs/operations.md and conf/jsocketd.toml explain every key, and `jsocketd check{}`
# says what is in force. Credentials come from the options of the component.

[server]
listen = [\"127.0.0.1:{port}\"]
{admin}
[joomla]
root = {}
",
        names.flag(),
        quoted(root)
    )
}

/// A port for a new server: the first one that no other configuration of this machine has and nobody listens on.
///
/// # Errors
/// There is none; a sentence.
pub fn free_port(others: &[Config]) -> Result<u16, String> {
    let mut ports = FIRST_PORT..FIRST_PORT + PORTS;
    let is_taken = |port: u16| {
        others
            .iter()
            .any(|other| other.server.listen.iter().any(|entry| has_port(entry, port)))
    };
    ports
        .find(|port| !is_taken(*port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| {
            format!(
                "the ports from {FIRST_PORT} to {} are all in use",
                FIRST_PORT + PORTS - 1
            )
        })
}

fn has_port(entry: &ListenEntry, port: u16) -> bool {
    matches!(entry.address, ListenAddr::Tcp(address) if address.port() == port)
}

/// The change that names the site's folder in an existing file; `None`: it is named already.
///
/// # Errors
/// The file has a mistake, names another site, or cannot be edited safely; a sentence.
pub fn name_root(path: &Path, text: &str, root: &str) -> Result<Option<Hunk>, String> {
    let config = Sources::parse(path, text).map_err(|why| why.to_string())?;
    if is_same(&config.joomla.root, root) {
        return Ok(None);
    }
    if !config.joomla.root.is_empty() {
        return Err(format!(
            "{} is for the site in {}. For another site on this machine use --instance NAME",
            path.display(),
            config.joomla.root
        ));
    }
    let by_hand = || {
        format!(
            "write root = {} into [joomla] of {} and run this again",
            quoted(root),
            path.display()
        )
    };
    let hunk = change(text, root).ok_or_else(by_hand)?;
    let after = apply(text.as_bytes(), std::slice::from_ref(&hunk))?;
    let after = String::from_utf8(after).map_err(|_| by_hand())?;
    match Sources::parse(path, &after) {
        Ok(after) if after.joomla.root == root => Ok(Some(hunk)),
        _ => Err(by_hand()),
    }
}

/// Whether both paths name the same folder.
fn is_same(configured: &str, root: &str) -> bool {
    configured == root
        || Path::new(configured)
            .canonicalize()
            .is_ok_and(|path| path == Path::new(root))
}

fn change(text: &str, root: &str) -> Option<Hunk> {
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let document = DeTable::parse(text).ok()?;
    let Some((_, table)) = document.get_ref().iter().find(|(name, _)| name.get_ref() == "joomla") else {
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            line_end
        };
        let blank = if text.is_empty() { "" } else { line_end };
        let after = format!("{gap}{blank}[joomla]{line_end}root = {}{line_end}", quoted(root));
        let (before, at) = (String::new(), text.len());
        return Some(Hunk::Part { before, after, at });
    };
    let inner = table.get_ref().as_table()?;
    if let Some((name, value)) = inner.iter().find(|(name, _)| name.get_ref() == "root") {
        // With its name, so that the record finds this place and no other.
        let range = name.span().start..value.span().end;
        let between = text.get(name.span().end..value.span().start)?;
        let before = text.get(range.clone())?.to_owned();
        let after = format!("root{between}{}", quoted(root));
        let at = range.start;
        return before.starts_with("root").then_some(Hunk::Part { before, after, at });
    }
    // The place of a table is its header.
    let header = text.get(table.span())?;
    let end = table.span().end;
    let rest = text[end..].find('\n').map_or(text.len(), |newline| end + newline + 1);
    let gap = if text[..rest].ends_with('\n') { "" } else { line_end };
    let (before, after) = (String::new(), format!("{gap}root = {}{line_end}", quoted(root)));
    header.starts_with('[').then_some(Hunk::Part {
        before,
        after,
        at: rest,
    })
}

/// The text as a TOML string.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// Where the web server reaches this server: the first address of `listen`, that of this machine for one that means
/// every address. A web server sends no header of the PROXY protocol.
///
/// # Errors
/// No address has a port that is known beforehand.
pub fn upstream(config: &Config) -> Result<String, String> {
    let mut listeners = config.server.listen.iter().filter(|entry| !entry.proxy_protocol);
    let known = listeners.find_map(|entry| match &entry.address {
        ListenAddr::Unix(path) => Some(format!("unix:{}", path.display())),
        ListenAddr::Tcp(address) if address.port() == 0 => None,
        ListenAddr::Tcp(address) => Some(reachable(*address).to_string()),
    });
    known.ok_or_else(|| "[server] listen has no address with a port, so no web server can find jsocketd".to_owned())
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::super::edit::undo;
    use super::*;

    fn named(text: &str) -> Result<Option<String>, String> {
        let hunk = name_root(Path::new("x.toml"), text, "/srv/a \"b\"")?;
        Ok(hunk.map(|hunk| {
            let after = apply(text.as_bytes(), std::slice::from_ref(&hunk)).unwrap();
            assert_eq!(undo(&after, &[hunk]), (text.into(), vec![]), "{text}");
            String::from_utf8(after).unwrap()
        }))
    }

    #[test]
    fn only_the_root_changes() {
        for (before, after) in [
            (
                "[joomla]\nroot = \"\"  # the folder\napp = \"a\"\n",
                "[joomla]\nroot = 'ROOT'  # the folder\napp = \"a\"\n",
            ),
            ("[joomla]\r\n  root=''\r\n", "[joomla]\r\n  root='ROOT'\r\n"),
            (
                "[joomla] # x\napp = \"a\"\n[server]\n",
                "[joomla] # x\nroot = 'ROOT'\napp = \"a\"\n[server]\n",
            ),
            ("[joomla]", "[joomla]\nroot = 'ROOT'\n"),
            ("", "[joomla]\nroot = 'ROOT'\n"),
            ("# nothing", "# nothing\n\n[joomla]\nroot = 'ROOT'\n"),
            (
                "[server]\r\nunix_mode = \"0660\"\r\n",
                "[server]\r\nunix_mode = \"0660\"\r\n\r\n[joomla]\r\nroot = 'ROOT'\r\n",
            ),
            ("joomla.root = \"\"\n", "joomla.root = 'ROOT'\n"),
            ("joomla = { root = \"\" }\n", "joomla = { root = 'ROOT' }\n"),
        ] {
            let after = after.replace("'ROOT'", "'/srv/a \"b\"'");
            assert_eq!(named(before), Ok(Some(after)), "{before}");
        }
    }

    #[test]
    fn the_sample_can_be_edited_and_a_new_file_is_a_configuration() {
        let sample = include_str!("../../../conf/jsocketd.toml");
        let after = named(sample).unwrap().unwrap();
        let changed = sample.lines().zip(after.lines()).filter(|(a, b)| a != b).count();
        assert_eq!((changed, sample.lines().count()), (1, after.lines().count()));
        for instance in [None, Some("shop")] {
            let names = Names::of(instance.map(|name| name.parse().unwrap()));
            let config = Sources::parse(Path::new("x"), &new(&names, "/srv/\"x\\", 8081)).unwrap();
            assert_eq!(config.joomla.root, "/srv/\"x\\");
            assert_eq!(upstream(&config).unwrap(), "127.0.0.1:8081");
            assert_eq!(config.server.admin_listen.named().is_some(), instance.is_some());
        }
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        for (text, words) in [
            ("[joomla]\nroot = \"/srv/other\"\n", "is for the site in /srv/other"),
            ("[joomla]\nbad = 1\n", "unknown key `bad`"),
            ("joomla = {}\n", "write root = "),
            ("joomla.app = \"a\"\n", "write root = "),
            ("[joomla]\n\"root\" = \"\"\n", "write root = "),
            ("[", "x.toml"),
        ] {
            let why = named(text).expect_err(text);
            assert!(why.contains(words), "{text}: {why}");
        }
        assert_eq!(named("[joomla]\nroot = '/srv/a \"b\"'\n"), Ok(None));
    }

    #[test]
    fn the_upstream_can_be_reached() {
        for (listen, upstream_is) in [
            ("\"0.0.0.0:90\"", Some("127.0.0.1:90")),
            ("\"[::]:90\"", Some("[::1]:90")),
            ("\"127.0.0.1:0\", \"10.1.2.3:90\"", Some("10.1.2.3:90")),
            ("\"0.0.0.0:80 proxy_protocol\", \"127.0.0.1:90\"", Some("127.0.0.1:90")),
            ("\"unix:/run/x.sock\"", Some("unix:/run/x.sock")),
            ("\"127.0.0.1:0\"", None),
        ] {
            let config = Sources::parse(Path::new("x"), &format!("[server]\nlisten = [{listen}]\n")).unwrap();
            assert_eq!(upstream(&config).ok().as_deref(), upstream_is);
        }
    }

    #[test]
    fn a_port_is_free() {
        let taken = "[server]\nlisten = [\"127.0.0.1:8080\", \"[::1]:8081\"]\n";
        let port = free_port(&[Sources::parse(Path::new("x"), taken).unwrap()]).unwrap();
        assert!((8082..8180).contains(&port), "{port}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(free_port(&[Sources::parse(Path::new("x"), taken).unwrap()]).unwrap() != port);
        drop(listener);
    }
}
