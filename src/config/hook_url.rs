//! Where a webhook is posted to: an `http://` URL, taken apart once. Resolving its host and speaking to it are the loop's
//! affair.

use std::net::Ipv6Addr;

/// The parts of `http://host:port/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl {
    /// A name or an IP address, without the brackets of IPv6.
    pub host: String,
    /// 80 when the URL has none.
    pub port: u16,
    /// Path and query, as they stand in the request line.
    pub path: String,
}

impl HookUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// A sentence that says what is wrong. It never repeats the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err("a webhook's URL cannot be https yet; name an http:// one, for instance of a local proxy");
            }
            _ => return Err("a webhook's URL starts with http://"),
        };
        if !rest.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
            return Err("a webhook's URL is ASCII without spaces; other characters are written as %xx or xn--");
        }
        if rest.contains('#') {
            return Err("a webhook's URL has no fragment (#)");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a webhook's URL has no user name or password; use an extra header");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !authority.ends_with(']') => (host, port_number(port)?),
            _ => (authority, 80),
        };
        let host = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']').filter(|text| text.parse::<Ipv6Addr>().is_ok()),
            None => Some(host).filter(|host| is_name(host)),
        };
        let Some(host) = host else {
            return Err("a webhook's host is a name or an IP address");
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.to_owned(),
            port,
            path: format!("{slash}{path}"),
        })
    }

    /// What stands in the `Host` header.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            80 => host,
            port => format!("{host}:{port}"),
        }
    }
}

fn port_number(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err("a webhook's port is a number from 1 to 65535"),
    }
}

fn is_name(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (text, host, port, path, authority) in [
            (
                "http://127.0.0.1:9999/hook",
                "127.0.0.1",
                9999,
                "/hook",
                "127.0.0.1:9999",
            ),
            ("HTTP://example.org", "example.org", 80, "/", "example.org"),
            (
                "http://example.org:80/a?b=c:d",
                "example.org",
                80,
                "/a?b=c:d",
                "example.org",
            ),
            ("http://example.org?b=/", "example.org", 80, "/?b=/", "example.org"),
            ("http://[::1]:81/x", "::1", 81, "/x", "[::1]:81"),
            ("http://[::1]", "::1", 80, "/", "[::1]"),
        ] {
            let url = HookUrl::parse(text).expect(text);
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path));
            assert_eq!(url.authority(), authority);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_it() {
        for (text, part) in [
            ("https://example.org/secret", "https"),
            ("ftp://secret", "http://"),
            ("secret", "http://"),
            ("http://me:secret@example.org/", "user name"),
            ("http://example.org/#secret", "fragment"),
            ("http://example.org/ secret", "ASCII"),
            ("http://bücher.secret/", "ASCII"),
            ("http://example.org/\r\nsecret: x", "ASCII"),
            ("http:///secret", "host"),
            ("http://[::1/secret", "host"),
            ("http://[secret]/", "host"),
            ("http://a:b:80/secret", "host"),
            ("http://example.org:0/secret", "65535"),
            ("http://example.org:/secret", "65535"),
            ("http://example.org:+80/secret", "65535"),
        ] {
            let why = HookUrl::parse(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
