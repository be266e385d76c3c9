//! The addresses that the server listens on, parsed and shown in one notation. `net` binds them. A name is not
//! resolved: the administrator decides where the server listens, not a name server. A name that the server connects to
//! stays a name: it is resolved outside of the loop, again and again.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::listen::ListenEntry;

/// An address to listen on: `127.0.0.1:8080`, `[::1]:0`, `unix:/run/jsocketd/jsocketd.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// TCP over IPv4 or IPv6; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix stream socket at this absolute path.
    Unix(PathBuf),
}

/// The value of `admin_listen`: where the page and the state commands need no token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminListen {
    /// `auto`: the socket `admin.sock` in the folder for sockets, if a configuration file is read and the folder can be
    /// written to. See [`Loaded::admin_socket`](super::Loaded::admin_socket).
    #[default]
    Auto,
    /// Nowhere: an empty text.
    Off,
    /// Here.
    At(ListenAddr),
}

/// A host and port that the server connects to. The name is resolved while the server runs, since its addresses may
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    /// The name, or an IPv6 address with a zone.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The reason why a text is no address to listen on, as a sentence that names the remedy.
pub type BadAddress = String;

/// The longest path of a Unix socket: `sun_path` has 108 bytes and the last one is NUL.
const LONGEST_PATH: usize = 107;

impl ListenAddr {
    /// Whether only processes of this machine can connect, over TCP. Never true of a Unix socket: its usual client is a
    /// proxy, which forwards requests from anywhere.
    pub fn is_loopback(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.ip().to_canonical().is_loopback())
    }

    /// The address of the worker with this number, from 1 on, when each of several has one of its own: the port, the
    /// next one and so on; `admin.sock` becomes `admin.1.sock`, `admin.2.sock` and so on. Port 0 stays 0.
    pub fn of_worker(&self, number: u32) -> Self {
        match self {
            Self::Tcp(address) => {
                let mut address = *address;
                let step = u16::try_from(number.saturating_sub(1)).unwrap_or(u16::MAX);
                if address.port() != 0 {
                    address.set_port(address.port().saturating_add(step));
                }
                Self::Tcp(address)
            }
            Self::Unix(path) => {
                let name = match path.extension() {
                    Some(extension) => format!("{number}.{}", extension.to_string_lossy()),
                    None => number.to_string(),
                };
                Self::Unix(path.with_extension(name))
            }
        }
    }
}

impl FromStr for AdminListen {
    type Err = BadAddress;

    /// Reads `auto`, an empty text, or an address as [`ListenAddr`] does. The options of `listen` are refused: no proxy
    /// belongs in front of this address.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text {
            "" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            address => {
                let entry: ListenEntry = address.parse()?;
                match entry.words().next() {
                    Some(word) => Err(format!(
                        "it has no options, remove `{word}`: no proxy belongs in front of it"
                    )),
                    None => Ok(Self::At(entry.address)),
                }
            }
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => Ok(()),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl AdminListen {
    /// The address that is named; `None`: the value is `auto` or empty.
    pub fn named(&self) -> Option<&ListenAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::Auto | Self::Off => None,
        }
    }
}

impl FromStr for ListenAddr {
    type Err = BadAddress;

    /// Reads `IP:PORT`, `[IPV6]:PORT`, `localhost:PORT` (which is 127.0.0.1) or `unix:/PATH`.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        Err(what_to_write(text))
    }
}

fn unix(path: &str) -> Result<ListenAddr, BadAddress> {
    if path.starts_with('@') {
        return Err("abstract sockets are not supported; write the path of a socket file".into());
    }
    if !path.starts_with('/') {
        return Err("the path of a unix: socket must be absolute".into());
    }
    if path.contains('\0') {
        return Err("the path of a unix: socket must not contain NUL".into());
    }
    if path.ends_with('/') {
        return Err("the path of a unix: socket must name a file, not a directory".into());
    }
    if path.len() > LONGEST_PATH {
        return Err(format!(
            "the path of a unix: socket may have {LONGEST_PATH} bytes, not {}",
            path.len()
        ));
    }
    Ok(ListenAddr::Unix(path.into()))
}

/// A port in plain digits; `u16::from_str` alone would accept `+80`.
fn port(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The sentence for a text that is no address, by the likeliest mistake.
fn what_to_write(text: &str) -> String {
    if text.is_empty() {
        return "an address is missing; write one like 127.0.0.1:8080".into();
    }
    if text.contains("://") {
        return "this is a URL; write only the address and the port, like 127.0.0.1:8080".into();
    }
    if text.starts_with('/') {
        return "write unix: before the path of a socket".into();
    }
    if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 && !text.starts_with('[') {
        return "an IPv6 address needs brackets and a port, like [::1]:8080".into();
    }
    let (host, after) = match text.rsplit_once(':') {
        Some((host, after)) if !text.ends_with(']') => (host, Some(after)),
        _ => (text, None),
    };
    let number = after.unwrap_or(text);
    let only_digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if only_digits && (host.is_empty() || host == "*" || after.is_none()) {
        let shown = port(number).unwrap_or(8080);
        return format!(
            "the host is missing; write 127.0.0.1:{shown} for this machine only, or 0.0.0.0:{shown} and [::]:{shown} for everybody"
        );
    }
    match after {
        None => "the port is missing; write one like 127.0.0.1:8080 (port 0 lets the system choose)".into(),
        Some(after) if port(after).is_none() => "the port must be a number from 0 to 65535".into(),
        Some(_) => "the host must be an IP address or localhost; names are not resolved".into(),
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_come_back_as_they_were_written() {
        let longest = format!("unix:/{}", "x".repeat(LONGEST_PATH - 1));
        for text in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "0.0.0.0:0",
            "unix:/run/a b.sock",
            &longest,
        ] {
            assert_eq!(text.parse::<ListenAddr>().map(|a| a.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("localhost:80".parse::<ListenAddr>(), "127.0.0.1:80".parse());
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        let too_long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for (text, sentence) in [
            ("", "missing"),
            (":8080", "write 127.0.0.1:8080 for this machine"),
            ("8080", "write 127.0.0.1:8080 for this machine"),
            ("*:81", "0.0.0.0:81 and [::]:81"),
            ("127.0.0.1", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("localhost", "the port is missing"),
            ("::1:8080", "needs brackets"),
            ("::1", "needs brackets"),
            ("127.0.0.1:65536", "0 to 65535"),
            ("127.0.0.1:", "0 to 65535"),
            ("localhost:+80", "0 to 65535"),
            ("localhost:", "0 to 65535"),
            ("example.org:80", "names are not resolved"),
            ("http://127.0.0.1:80/", "URL"),
            ("/run/x.sock", "write unix:"),
            ("unix:run/x.sock", "absolute"),
            ("unix:@x", "abstract"),
            ("unix:/run/\0", "NUL"),
            ("unix:/run/", "directory"),
            (&too_long, "107 bytes, not 108"),
        ] {
            let why = text.parse::<ListenAddr>().expect_err(text).to_string();
            assert!(why.contains(sentence), "{text:?}: {why}");
        }
    }

    #[test]
    fn loopback_is_tcp_to_this_machine() {
        let is = |text: &str| text.parse::<ListenAddr>().expect(text).is_loopback();
        assert!(is("127.9.9.9:1") && is("[::1]:1") && is("[::ffff:127.0.0.1]:1"));
        assert!(!is("0.0.0.0:1") && !is("[::]:1") && !is("10.0.0.1:1") && !is("unix:/run/x"));
    }
}
