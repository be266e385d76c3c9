//! The one reader of origins: of those in the configuration, of the site's address, and of a request's `Origin` header.

use std::fmt;
use std::str::FromStr;

/// An origin in the one spelling that browsers send (RFC 6454, 6.2): lower case, without the default port of the
/// scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `https`; any scheme but those of WebSockets.
    pub scheme: String,
    /// A name in ASCII or an IP address, an IPv6 address in its brackets.
    pub host: String,
    /// 1 to 65535; `None`: the default port of the scheme.
    pub port: Option<u16>,
}

/// The reason why a text is no origin, as a sentence. It never repeats the text, which may hold a password.
pub type BadOrigin = &'static str;

impl Origin {
    /// The origin of an address, with or without a path. Its port may be empty (RFC 3986, 3.2.3).
    ///
    /// # Errors
    /// When the text before the path is no origin.
    pub fn of_address(text: &str) -> Result<Self, BadOrigin> {
        let host = text.find("://").map_or(0, |at| at + 3);
        let end = text[host..].find(['/', '?', '#', '\\']);
        let origin = &text[..end.map_or(text.len(), |end| host + end)];
        origin.strip_suffix(':').unwrap_or(origin).parse()
    }

    /// The port, also where it is the default one of http or https.
    pub fn known_port(&self) -> Option<u16> {
        self.port.or_else(|| default_port(&self.scheme))
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        if text == "*" {
            return Err("an origin cannot be `*`; list each one");
        }
        const NO_SCHEME: BadOrigin = "an origin starts with its scheme, like https://example.org";
        let (scheme, authority) = text.split_once("://").ok_or(NO_SCHEME)?;
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        if matches!(scheme.as_str(), "ws" | "wss") {
            return Err("an origin is that of the page: http or https, not ws or wss");
        }
        let in_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.chars().all(in_scheme) {
            return Err(NO_SCHEME);
        }
        if authority.contains('@') {
            return Err("an origin has no user name or password");
        }
        if authority.contains(['/', '?', '#']) {
            return Err("an origin ends after its host or port, without a slash or a path");
        }
        let (host, port) = host_and_port(&authority).map_err(|bad| match bad {
            BadAuthority::Host => {
                "an origin's host is a name in ASCII (xn-- for others) or an IP address, without wildcards"
            }
            BadAuthority::Port => "an origin's port must be a number from 1 to 65535",
        })?;
        Ok(Self {
            host: host.to_owned(),
            port: port.filter(|port| default_port(&scheme) != Some(*port)),
            scheme,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The half of `HOST[:PORT]` that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadAuthority {
    Host,
    Port,
}

/// Takes `HOST[:PORT]` apart. An IPv6 address stands in brackets and keeps them.
pub(super) fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), BadAuthority> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !host_is_good(host) {
        return Err(BadAuthority::Host);
    }
    let Some(port) = port else {
        return Ok((host, None));
    };
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err(BadAuthority::Port),
    }
}

fn host_is_good(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        let address = inside.strip_suffix(']').unwrap_or("");
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let origin = text.parse::<Origin>();
        origin.map(|origin| origin.to_string()).map_err(|why| why.to_string())
    }

    #[test]
    fn origins_are_spelled_as_browsers_do() {
        for (written, sent) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.ORG:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(parse(written).as_deref(), Ok(sent));
        }
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            ("*", "list each one"),
            ("example.org", "scheme"),
            ("1x://example.org", "scheme"),
            ("wss://example.org", "not ws"),
            ("https://example.org/", "slash"),
            ("https://example.org?x", "slash"),
            ("https://me:secret@example.org", "user name"),
            ("https://", "host"),
            ("https://*.example.org", "wildcards"),
            ("https://bücher.example", "xn--"),
            ("https://[::1", "host"),
            ("https://example.org:", "1 to 65535"),
            ("https://example.org:+1", "1 to 65535"),
            ("https://example.org:0", "1 to 65535"),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains(sentence) && !why.contains("secret"), "{text:?}: {why}");
        }
    }

    #[test]
    fn an_address_has_the_origin_before_its_path() {
        for (address, origin) in [
            ("https://Example.org:443/joomla/?a#b", "https://example.org"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://example.org?a/b", "http://example.org"),
            ("http://example.org\\a", "http://example.org"),
            ("http://example.org:/a", "http://example.org"),
        ] {
            let found = Origin::of_address(address).map(|origin| origin.to_string());
            assert_eq!(found.as_deref(), Ok(origin), "{address}");
        }
        for bad in ["example.org/a", "", "https:", "https:///a", "https://me@example.org/"] {
            assert!(Origin::of_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_is_known_without_being_written() {
        let port = |text: &str| text.parse::<Origin>().expect(text).known_port();
        assert_eq!((port("http://a"), port("https://a")), (Some(80), Some(443)));
        assert_eq!((port("http://a:443"), port("capacitor://a")), (Some(443), None));
    }
}
