//! The addresses that the doctor visits: those of the site's pages and of its socket.

use std::fmt;
use std::str::FromStr;

use jsocketd::config::Origin;

/// `http://`, `https://`, `ws://` or `wss://`, a host, and perhaps a port, a path and a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether it is https or wss.
    pub tls: bool,
    /// Whether it is ws or wss.
    pub socket: bool,
    /// A name in ASCII or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query; it begins with a slash.
    pub path: String,
}

impl Address {
    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.has_usual_port() {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }

    /// Whether the port is the usual one of the scheme.
    pub fn has_usual_port(&self) -> bool {
        self.port == if self.tls { 443 } else { 80 }
    }

    /// What browsers send as `Origin` from a page at this address.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }

    /// The path without its query.
    pub fn bare_path(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// The folder of the path, with its slash at the end.
    pub fn folder(&self) -> &str {
        let path = self.bare_path();
        &path[..path.rfind('/').map_or(0, |at| at + 1)]
    }

    /// The same server with another path.
    pub fn with_path(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// Where a `Location` of an answer from here leads to.
    ///
    /// # Errors
    /// A sentence about "it".
    pub fn join(&self, location: &str) -> Result<Self, &'static str> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.tls { "https" } else { "http" };
        match location {
            "" => Err("it is empty"),
            full if full.contains("://") && !full.starts_with('/') => full.parse(),
            other if other.starts_with("//") => format!("{scheme}:{other}").parse(),
            absolute if absolute.starts_with('/') => Ok(self.with_path(absolute)),
            relative => Ok(self.with_path(&format!("{}{relative}", self.folder()))),
        }
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it must be of visible ASCII characters, the others as %XX or, in the host, as xn--");
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("it must start with https://, http://, wss:// or ws://")?;
        let (tls, socket) = match scheme.to_ascii_lowercase().as_str() {
            "https" => (true, false),
            "http" => (false, false),
            "wss" => (true, true),
            "ws" => (false, true),
            _ => return Err("it must start with https://, http://, wss:// or ws://"),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let origin = Origin::from_str(&format!("{}://{authority}", if tls { "https" } else { "http" }))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = path.split('#').next().unwrap_or_default();
        Ok(Self {
            tls,
            socket,
            port: origin.known_port().unwrap_or(if tls { 443 } else { 80 }),
            host: origin.host.trim_matches(['[', ']']).to_owned(),
            path: format!("{slash}{path}"),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.socket, self.tls) {
            (false, false) => "http",
            (false, true) => "https",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn an_address_is_taken_apart() {
        for (text, shown, origin) in [
            (
                "https://www.Example.org",
                "https://www.example.org/",
                "https://www.example.org",
            ),
            (
                "HTTPS://example.org:8443/a?b#c",
                "https://example.org:8443/a?b",
                "https://example.org:8443",
            ),
            (
                "wss://example.org:443/ws",
                "wss://example.org/ws",
                "https://example.org",
            ),
            ("ws://[::1]:8080?x", "ws://[::1]:8080/?x", "http://[::1]:8080"),
        ] {
            let address = address(text);
            assert_eq!(
                (address.to_string().as_str(), address.origin().as_str()),
                (shown, origin)
            );
        }
        for bad in [
            "www.example.org",
            "ftp://a/",
            "https://",
            "https://me@a/",
            "https://a:0/",
            "https://ü/",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_location_is_followed_from_where_it_was_given() {
        let page = address("https://example.org/joomla/index.php?a=/b");
        for (location, wanted) in [
            ("/en/", "https://example.org/en/"),
            ("en", "https://example.org/joomla/en"),
            ("//www.example.org/x#y", "https://www.example.org/x"),
            ("http://other.example:81/", "http://other.example:81/"),
        ] {
            assert_eq!(
                page.join(location).map(|there| there.to_string()).as_deref(),
                Ok(wanted)
            );
        }
        assert!(page.join("").is_err() && page.join("ftp://a/").is_err());
    }
}
