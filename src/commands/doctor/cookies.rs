//! The cookies of the site's pages, kept and sent as browsers do (RFC 6265 bis), and why one does not reach the socket.

use super::address::Address;
use super::exchange::Answer;

/// The most cookies that are kept.
const MOST: usize = 100;

/// A cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value: a secret, never shown.
    pub value: String,
    /// The host that set it.
    host: String,
    /// Its `Domain`, without a dot in front; `None`: it is for the host alone.
    domain: Option<String>,
    path: String,
    secure: bool,
    same_site_none: bool,
    /// It was set on a page of https.
    by_tls: bool,
}

/// Why a cookie does not reach an address.
pub struct Obstacle {
    /// What is in the way.
    pub says: String,
    /// What to change.
    pub mend: String,
}

/// The cookies.
#[derive(Default)]
pub struct Jar(Vec<Cookie>);

impl Cookie {
    /// Reads a `Set-Cookie`.
    fn parse(line: &str, from: &Address) -> Option<Self> {
        let mut parts = line.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let mut cookie = Self {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            host: from.host.clone(),
            domain: None,
            path: default_path(from),
            secure: false,
            same_site_none: false,
            by_tls: from.tls,
        };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "domain" if !value.is_empty() => {
                    cookie.domain = Some(value.trim_start_matches('.').to_ascii_lowercase());
                }
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "path" => cookie.path = default_path(from),
                "secure" => cookie.secure = true,
                "samesite" => cookie.same_site_none = value.eq_ignore_ascii_case("none"),
                _ => {}
            }
        }
        (!cookie.name.is_empty()).then_some(cookie)
    }

    /// Whether it looks like the cookie of a Joomla session: 32 hexadecimal digits, and a session id.
    pub fn is_of_joomla(&self) -> bool {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        self.name.len() == 32 && self.name.bytes().all(is_digit) && self.value.len() >= 16
    }

    /// Why a browser would not send it to an address.
    pub fn obstacle(&self, to: &Address) -> Option<Obstacle> {
        let obstacle = |says: String, mend: String| Some(Obstacle { says, mend });
        if let Some(domain) = &self.domain
            && !is_within(&self.host, domain)
        {
            return obstacle(
                format!(
                    "its Domain is {domain}, but the page is at {}: browsers refuse it",
                    self.host
                ),
                "make $cookie_domain empty in configuration.php".into(),
            );
        }
        if self.same_site_none && !self.secure {
            return obstacle(
                "it has SameSite=None without Secure: browsers refuse it".into(),
                "set session.cookie_secure = 1 in php.ini, or remove session.cookie_samesite there".into(),
            );
        }
        if self.secure && !self.by_tls {
            return obstacle(
                "it is Secure, but the page came over http: browsers refuse it".into(),
                "serve the site with https only".into(),
            );
        }
        let domain = self.domain.as_deref();
        let fits = domain.map_or(to.host == self.host, |domain| is_within(&to.host, domain));
        if !fits {
            let own = domain.unwrap_or(&self.host);
            return obstacle(
                format!("it is for {own} and not for {}, the host of the socket", to.host),
                format!(
                    "put the socket under the site's own host: Components, Websockets, Options, Address for Browsers: \
                     {}://{}/ws",
                    if to.tls { "wss" } else { "ws" },
                    self.host
                ),
            );
        }
        if !is_below(to.bare_path(), &self.path) {
            let (path, prefix) = (self.path.trim_end_matches('/'), socket_path(to));
            return obstacle(
                format!(
                    "its Path is {}: browsers send it only below that path, and the socket is at {prefix}",
                    self.path
                ),
                format!(
                    "in configuration.php write public $cookie_path = ''; or serve the socket at {path}{prefix} in the proxy \
                     and in the component's options"
                ),
            );
        }
        if self.secure && !to.tls {
            return obstacle(
                "it is Secure, and the socket's address is ws://".into(),
                format!(
                    "Components, Websockets, Options, Address for Browsers: wss://{}{}",
                    to.host,
                    socket_path(to)
                ),
            );
        }
        None
    }
}

impl Jar {
    /// Keeps the cookies of an answer.
    pub fn take(&mut self, answer: &Answer, from: &Address) {
        for cookie in answer.all("set-cookie").filter_map(|line| Cookie::parse(line, from)) {
            self.0.retain(|known| {
                (&known.name, &known.path, &known.domain) != (&cookie.name, &cookie.path, &cookie.domain)
            });
            if self.0.len() < MOST {
                self.0.push(cookie);
            }
        }
    }

    /// The header line with the cookies that a browser sends to this address; empty: it sends none.
    pub fn line(&self, to: &Address) -> String {
        let sent = self.0.iter().filter(|cookie| cookie.obstacle(to).is_none());
        let pairs: Vec<String> = sent.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        match pairs.is_empty() {
            true => String::new(),
            false => format!("Cookie: {}\r\n", pairs.join("; ")),
        }
    }

    /// The cookie of the session: the one with this name, or the first that looks like one.
    pub fn session(&self, name: Option<&str>) -> Option<&Cookie> {
        let named = |cookie: &&Cookie| Some(cookie.name.as_str()) == name;
        self.0
            .iter()
            .find(named)
            .or_else(|| self.0.iter().find(|cookie| cookie.is_of_joomla()))
    }
}

/// The part of a socket's path that the component's option has.
fn socket_path(to: &Address) -> &str {
    to.bare_path().split("/app/").next().unwrap_or_default()
}

/// RFC 6265, 5.1.4.
fn default_path(from: &Address) -> String {
    match from.folder().trim_end_matches('/') {
        "" => "/".to_owned(),
        folder => folder.to_owned(),
    }
}

/// Whether a path matches a cookie's path (RFC 6265, 5.1.4).
fn is_below(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// Whether a host matches a cookie's domain (RFC 6265, 5.1.3).
fn is_within(host: &str, domain: &str) -> bool {
    let is_name = host.parse::<std::net::IpAddr>().is_err();
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || is_name && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn obstacle(line: &str, page: &str, socket: &str) -> Option<String> {
        let cookie = Cookie::parse(line, &address(page)).expect(line);
        cookie.obstacle(&address(socket)).map(|obstacle| obstacle.says)
    }

    #[test]
    fn a_cookie_is_sent_as_browsers_send_it() {
        let socket = "wss://www.example.org/ws/app/k?protocol=7";
        for line in [
            "a=b; path=/",
            "a=b",
            "a=b; Path=/ws; HttpOnly; Secure",
            "a=b; path=/; domain=.Example.org; SameSite=None; secure",
            "a=b; path=/; domain=www.example.org; SameSite=Strict",
        ] {
            assert_eq!(obstacle(line, "https://www.example.org/", socket), None, "{line}");
        }
        for (line, page, socket, why) in [
            (
                "a=b; path=/shop",
                "https://a.example/",
                "wss://a.example/ws/app/k",
                "Path",
            ),
            ("a=b", "https://a.example/shop/x", "wss://a.example/ws/app/k", "Path"),
            ("a=b; path=/w", "https://a.example/", "wss://a.example/ws/app/k", "Path"),
            ("a=b; path=/", "https://a.example/", "wss://ws.a.example/app/k", "host"),
            (
                "a=b; path=/; domain=b.example",
                "https://a.example/",
                "wss://a.example/app/k",
                "Domain",
            ),
            (
                "a=b; path=/; secure",
                "https://a.example/",
                "ws://a.example/app/k",
                "Secure",
            ),
            (
                "a=b; path=/; secure",
                "http://a.example/",
                "wss://a.example/app/k",
                "Secure",
            ),
            (
                "a=b; path=/; samesite=none",
                "https://a.example/",
                "wss://a.example/app/k",
                "SameSite",
            ),
        ] {
            let said = obstacle(line, page, socket).unwrap_or_default();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
