//! Parses the plain `http://` URLs that this program requests: targets of webhooks, and the server of `publish`. A URL
//! may hold a password, so no refusal repeats it. Other modules resolve the host and send the request.

use std::fmt;
use std::str::FromStr;

use super::origin::{self, BadAuthority};

/// `http://HOST[:PORT][/PATH][?QUERY]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// A name in ASCII or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// 80 if the URL names none.
    pub port: u16,
    /// Path and query, as they stand in a request line; `/` if the URL has none.
    pub path: String,
}

/// Why a text is no URL that can be requested, as a sentence about "it".
pub type BadUrl = &'static str;

impl HttpUrl {
    /// The value of the `Host` header.
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

impl FromStr for HttpUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("it must be of visible ASCII characters, the others as %XX");
        }
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err("https comes with TLS; until then it must start with http://");
            }
            _ => return Err("it must start with http://"),
        };
        if rest.contains('#') {
            return Err("it must end before its #");
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it must not hold a user name or password");
        }
        let (host, port) = origin::host_and_port(authority).map_err(|bad| match bad {
            BadAuthority::Host => "its host must be a name in ASCII (xn-- for others) or an IP address",
            BadAuthority::Port => "its port must be a number from 1 to 65535",
        })?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port: port.unwrap_or(80),
            path: format!("{slash}{path}"),
        })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (text, shown, port) in [
            ("http://example.org", "http://example.org/", 80),
            ("HTTP://Example.ORG:80/Hook", "http://example.org/Hook", 80),
            (
                "http://127.0.0.1:9000/index.php?option=com_ajax",
                "http://127.0.0.1:9000/index.php?option=com_ajax",
                9000,
            ),
            ("http://[::1]:9000?x=a@b", "http://[::1]:9000/?x=a@b", 9000),
            ("http://[::1]", "http://[::1]/", 80),
        ] {
            let url: HttpUrl = text.parse().expect(text);
            assert_eq!((url.to_string().as_str(), url.port), (shown, port));
            assert_eq!(url.to_string().parse(), Ok(url), "what is shown means the same");
        }
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            ("", "http://"),
            ("example.org/hook", "http://"),
            ("ftp://example.org", "http://"),
            ("https://example.org", "comes with TLS"),
            ("http://me:hunter2@example.org/", "password"),
            ("http://example.org/a b", "visible"),
            ("http://example.org/ü", "visible"),
            ("http://example.org/#a", "#"),
            ("http://", "host"),
            ("http:///hook", "host"),
            ("http://*/", "host"),
            ("http://example.org:0/", "port"),
            ("http://example.org:/", "port"),
            ("http://example.org:65536/", "port"),
        ] {
            let why = text.parse::<HttpUrl>().expect_err(text).to_string();
            assert!(why.contains(sentence) && !why.contains("hunter2"), "{text:?}: {why}");
        }
    }
}
