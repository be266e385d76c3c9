//! Parses the `http://` and `https://` URLs that this program requests: targets of webhooks, and the server that a
//! command asks. A URL may hold a password, so no refusal repeats it. Other modules resolve the host and send the
//! request.

use std::fmt;
use std::str::FromStr;

use super::origin::{self, BadAuthority};

/// `http://HOST[:PORT][/PATH][?QUERY]`, or the same with `https://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether it is https.
    pub tls: bool,
    /// A name in ASCII or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// 80 if the URL names none, 443 with https.
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
        match self.port == usual_port(self.tls) {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }

    /// The scheme, `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Where the `Location` of an answer from here leads to: a URL, or a path on the same server.
    ///
    /// # Errors
    /// It is none that can be requested.
    pub fn join(&self, location: &str) -> Result<Self, BadUrl> {
        match location {
            rest if rest.starts_with("//") => format!("{}:{rest}", self.scheme()).parse(),
            path if path.starts_with('/') => format!("{}://{}{path}", self.scheme(), self.authority()).parse(),
            full => full.parse(),
        }
    }

    /// Without the query, which may hold a secret.
    pub fn without_query(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{}://{}{path}", self.scheme(), self.authority())
    }
}

impl FromStr for HttpUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("it must be of visible ASCII characters, the others as %XX");
        }
        let (tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err("it must start with http:// or https://"),
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
            tls,
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port: port.unwrap_or(usual_port(tls)),
            path: format!("{slash}{path}"),
        })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.path)
    }
}

fn usual_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
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
            ("https://example.org", "https://example.org/", 443),
            ("HTTPS://example.org:443/a", "https://example.org/a", 443),
            ("https://example.org:80", "https://example.org:80/", 80),
            ("http://example.org:443", "http://example.org:443/", 443),
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
            ("wss://example.org", "http:// or https://"),
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

    #[test]
    fn a_location_is_a_url_or_a_path_on_the_same_server() {
        let from: HttpUrl = "http://example.org:8080/hook?secret=1".parse().expect("a URL");
        for (location, to) in [
            ("/other", "http://example.org:8080/other"),
            ("//EXAMPLE.org/other", "http://example.org/other"),
            ("https://example.com/hook?a=b", "https://example.com/hook?a=b"),
        ] {
            assert_eq!(from.join(location).map(|to| to.to_string()).as_deref(), Ok(to));
        }
        for location in [
            "other",
            "",
            "ftp://example.org/",
            "/a b",
            "http://example.org@example.com/",
        ] {
            assert!(from.join(location).is_err(), "{location}");
        }
        let safe: HttpUrl = "https://example.org/hook".parse().expect("a URL");
        assert_eq!(
            safe.join("/x").map(|to| to.to_string()).as_deref(),
            Ok("https://example.org/x")
        );
        assert_eq!(from.without_query(), "http://example.org:8080/hook");
    }
}
