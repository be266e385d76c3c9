//! The source of a request: the client's address behind proxies, whether the request names this server (DNS rebinding),
//! whether a page of another site made it, and whether the caller may see the server's state (design section 6). A
//! loopback address proves nothing: behind a proxy every peer is 127.0.0.1.

use std::net::IpAddr;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Request, header};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::config::{self, AllowedOrigin, Config, Networks, Server};
use crate::id::ConnectionId;

/// The peer of a connection, as the loop sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The address of the TCP peer, or the one in its PROXY header; `None`: a Unix socket, where the peer is a proxy on
    /// this machine.
    pub address: Option<IpAddr>,
    /// The connection came by `admin_listen`.
    pub admin: bool,
    /// The connection is over the limit of connections.
    pub surplus: bool,
    /// The connection is encrypted: by TLS here, or by the proxy whose PROXY header says so.
    #[serde(default)]
    pub secure: bool,
}

/// The client's address if the peer is the client and not a proxy.
pub fn direct_address(caller: &Caller, trusted: &Networks) -> Option<IpAddr> {
    caller.address.filter(|peer| !trusted.contains(*peer))
}

/// A request or handshake with its caller. The proxy's headers are read once.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// The connection's peer.
    pub caller: &'a Caller,
    /// The request or handshake.
    pub request: &'a Request<Bytes>,
    /// The peer is a trusted proxy.
    pub is_proxied: bool,
    /// The client's address according to the proxy; `None`: there is no proxy, or it names no address.
    pub forwarded: Option<IpAddr>,
}

impl<'a> Call<'a> {
    /// Reads the headers of a trusted proxy.
    pub fn new(id: ConnectionId, caller: &'a Caller, request: &'a Request<Bytes>, server: &Server) -> Self {
        let is_proxied = direct_address(caller, &server.trusted_proxies).is_none();
        let forwarded = is_proxied.then(|| forwarded_address(request, &server.trusted_proxies));
        Self {
            id,
            caller,
            request,
            is_proxied,
            forwarded: forwarded.flatten(),
        }
    }

    /// The client's own address: the peer's, or the one that a trusted proxy gives; `None`: unknown.
    pub fn address(&self) -> Option<IpAddr> {
        match self.is_proxied {
            true => self.forwarded,
            false => self.caller.address,
        }
    }

    /// The path.
    pub fn path(&self) -> &'a str {
        self.request.uri().path()
    }

    /// The part behind the question mark.
    pub fn query(&self) -> &'a str {
        self.request.uri().query().unwrap_or_default()
    }

    /// Compares the Origin header with the site's own origins.
    pub fn origin(&self, own: Own<'_>) -> Origin {
        let mut values = self.request.headers().get_all(header::ORIGIN).iter();
        let Some(value) = values.next() else {
            return Origin::None;
        };
        let (Ok(text), None) = (value.to_str(), values.next()) else {
            return Origin::Foreign;
        };
        let Ok(page) = text.parse::<config::Origin>() else {
            return Origin::Foreign;
        };
        let is_own = own.server.allowed_origins.iter().any(|allowed| allowed.allows(&page))
            || match own.live_site {
                Some(site) => site.eq_ignore_ascii_case(text),
                None => self.is_of_named_host(&page, own.exact),
            };
        match is_own {
            true => Origin::Own,
            false => Origin::Foreign,
        }
    }

    /// Whether a page of another site made the request. This is for the server's own pages.
    pub fn is_foreign(&self, config: &Config) -> bool {
        self.origin(Own::host(config)) == Origin::Foreign
    }

    /// Whether an origin has the host that the client named. If a proxy reports https, the origin must be https too: an
    /// attacker on the network can create a page on http.
    fn is_of_named_host(&self, page: &config::Origin, exact: bool) -> bool {
        let Some(named) = self.named_host() else {
            return false;
        };
        let named_scheme = self.named_scheme();
        if !page.host.eq_ignore_ascii_case(named.host()) {
            return false;
        }
        let default = if named_scheme == "https" { 443 } else { 80 };
        match exact {
            true => page.scheme == named_scheme && page.known_port() == named.port_u16().or(Some(default)),
            false => page.scheme == "https" || named_scheme != "https",
        }
    }

    /// The host that the client named: the one that a trusted proxy reports, or the request's own. If there are several
    /// proxies, the last one is the trusted one.
    pub fn named_host(&self) -> Option<Authority> {
        match self.said_by_proxy("x-forwarded-host") {
            Some(named) => named.parse().ok(),
            None => host(self.request),
        }
    }

    /// The scheme that the client used: the one that a trusted proxy reports, else that of the connection.
    pub fn named_scheme(&self) -> &'static str {
        let is_https = match self.said_by_proxy("x-forwarded-proto") {
            Some(scheme) => scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss"),
            None => self.caller.secure,
        };
        if is_https { "https" } else { "http" }
    }

    /// The last entry of a header to which each proxy appends.
    fn said_by_proxy(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.request.headers().get_all(name).iter();
        let line = lines.next_back().filter(|_| self.is_proxied)?;
        // A line that cannot be read names nothing.
        let entries = line.to_str().unwrap_or_default();
        entries.rsplit(',').next().map(str::trim)
    }

    /// Whether the request names this machine by a loopback name. This excludes DNS rebinding: a page whose own name
    /// resolves to 127.0.0.1 names the server by its own name.
    pub fn names_loopback(&self) -> bool {
        let Some(named) = host(self.request) else { return false };
        let bare = bare(&named);
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Whether the request names the server by an address, or by a name that no other site can have.
    fn names_address(&self, allowed: &[AllowedOrigin]) -> bool {
        let Some(named) = host(self.request) else { return false };
        let bare = bare(&named);
        bare.parse::<IpAddr>().is_ok()
            || bare.eq_ignore_ascii_case("localhost")
            || allowed.iter().any(|allowed| allowed.has_host(bare))
    }

    /// Whether the caller may see the page and the server's state: under the embedded defaults, on `admin_listen`, or
    /// with the admin token. A browser sends stored credentials with requests of any page, so a page of another site is
    /// never allowed.
    pub fn may_see_state(&self, config: &Config) -> bool {
        if self.is_foreign(config) {
            return false;
        }
        config.embedded_defaults && self.names_loopback()
            || self.caller.admin && self.names_address(&config.server.allowed_origins)
            || has_token(self.request.headers(), &config.server.admin_token)
    }
}

/// The right-most entry of `X-Forwarded-For` that is not a trusted proxy. The client can write anything into the
/// entries further left.
fn forwarded_address(request: &Request<Bytes>, trusted: &Networks) -> Option<IpAddr> {
    let lines = request.headers().get_all("x-forwarded-for").iter();
    let lines = lines.rev().filter_map(|value| value.to_str().ok());
    for entry in lines.flat_map(|line| line.rsplit(',')) {
        // Trusted proxies write addresses only, so an invalid entry means that the entries before it cannot be trusted.
        let address = entry_address(entry.trim())?;
        if !trusted.contains(address) {
            return Some(address);
        }
    }
    None
}

/// `203.0.113.9`, `203.0.113.9:1234`, `2001:db8::1`, `[2001:db8::1]:1234`.
fn entry_address(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse()
        .ok()
        .or_else(|| entry.parse().ok().map(|with_port: std::net::SocketAddr| with_port.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(IpAddr::to_canonical(&address))
}

/// The origin of the page that made the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No Origin header: the request is not from a page (or a same-origin GET).
    None,
    /// The site's own origin, or a configured one.
    Own,
    /// The origin of another site, or `null`.
    Foreign,
}

/// The origins that belong to the site, besides the configured ones.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    server: &'a Server,
    live_site: Option<&'a str>,
    exact: bool,
}

impl<'a> Own<'a> {
    /// The origin of `live_site` if there is one: any page can make its own name resolve to this server, and then its
    /// requests name that host. Without `live_site`: the host that the request names. Ports are ignored because cookies
    /// ignore them, except with `strict_origin`.
    pub fn site(config: &'a Config, live_site: Option<&'a str>) -> Self {
        Self {
            server: &config.server,
            live_site,
            exact: config.pusher.strict_origin,
        }
    }

    /// The host that the request names. This is for requests that need no cookie of the site.
    pub fn host(config: &'a Config) -> Self {
        Self::site(config, None)
    }
}

/// The host that the request names.
pub(super) fn host(request: &Request<Bytes>) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    request.headers().get(header::HOST)?.to_str().ok()?.parse().ok()
}

/// The host without the brackets of an IPv6 address.
fn bare(host: &Authority) -> &str {
    host.host().trim_start_matches('[').trim_end_matches(']')
}

/// Whether `given` is the admin token. An empty token is never right. The comparison takes the same time for all wrong
/// tokens of the right length.
pub fn is_token(given: &str, token: &str) -> bool {
    !token.is_empty() && bool::from(given.as_bytes().ct_eq(token.as_bytes()))
}

/// `Authorization: Bearer TOKEN`, or `Basic` with any name and the token as the password, which browsers can ask for.
pub fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    match value.split_once(' ') {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => is_token(given.trim(), token),
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("basic") => data_encoding::BASE64
            .decode(given.trim().as_bytes())
            .ok()
            .and_then(|pair| String::from_utf8(pair).ok())
            .and_then(|pair| pair.split_once(':').map(|(_, password)| is_token(password, token)))
            .unwrap_or(false),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: (&str, &str) = ("origin", "https://www.example.org");
    const NAMED: (&str, &str) = ("x-forwarded-host", "www.example.org");
    const HTTPS: (&str, &str) = ("x-forwarded-proto", "https");

    fn judged(peer: &str, headers: &[(&str, &str)]) -> Origin {
        judged_by(None, false, peer, headers)
    }

    fn judged_by(live_site: Option<&str>, exact: bool, peer: &str, headers: &[(&str, &str)]) -> Origin {
        let caller = Caller {
            address: peer.parse().ok(),
            admin: false,
            surplus: false,
            secure: false,
        };
        let mut request = Request::get("/app/key").header(header::HOST, "10.0.0.5:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let server = Server {
            allowed_origins: ["https://shop.example", "https://*.shop.example:8443"]
                .map(|origin| origin.parse().expect("an origin"))
                .into(),
            ..Server::default()
        };
        let server = &server;
        let own = Own {
            server,
            live_site,
            exact,
        };
        Call::new(
            ConnectionId::new(1, 1),
            &caller,
            &request.body(Bytes::new()).unwrap(),
            server,
        )
        .origin(own)
    }

    #[test]
    fn a_page_on_the_host_that_the_client_named_is_the_site_s_own() {
        let page = ("origin", "https://www.example.org:8443");
        assert_eq!(judged("127.0.0.1", &[page, NAMED]), Origin::Own);
        assert_eq!(judged("127.0.0.1", &[page]), Origin::Foreign);
        // Only a trusted proxy can report the host, and then no other host counts.
        assert_eq!(judged("203.0.113.9", &[page, NAMED]), Origin::Foreign);
        let evil = ("origin", "http://10.0.0.5");
        assert_eq!(judged("127.0.0.1", &[evil, NAMED]), Origin::Foreign);
        assert_eq!(judged("203.0.113.9", &[evil]), Origin::Own);
        // Entries further left come from the client.
        let both = ("x-forwarded-host", "www.example.org, site.example");
        assert_eq!(judged("127.0.0.1", &[page, both]), Origin::Foreign);
        let twice = [page, NAMED, ("x-forwarded-host", "site.example")];
        assert_eq!(judged("127.0.0.1", &twice), Origin::Foreign);

        for own in ["https://shop.example", "HTTPS://Shop.Example"] {
            assert_eq!(judged("203.0.113.9", &[("origin", own)]), Origin::Own);
        }
        assert_eq!(
            judged("203.0.113.9", &[("origin", "https://a.b.shop.example:8443")]),
            Origin::Own
        );
        for foreign in [
            "null",
            "",
            "https://a.shop.example",
            "https://evilshop.example:8443",
            "www.example.org",
            "//www.example.org",
            "https://www.example.org.evil.example",
            "https://evil.example/www.example.org",
            "http://shop.example",
            "https://shop.example:8443",
        ] {
            let headers = [("origin", foreign), NAMED];
            assert_eq!(judged("127.0.0.1", &headers), Origin::Foreign, "{foreign}");
        }
        let twice = [PAGE, PAGE, NAMED];
        assert_eq!(
            judged("127.0.0.1", &twice),
            Origin::Foreign,
            "two origins are ambiguous"
        );
        assert_eq!(judged("203.0.113.9", &[]), Origin::None);
    }

    #[test]
    fn a_page_on_http_is_foreign_if_the_proxy_reports_https() {
        let insecure = ("origin", "http://www.example.org");
        assert_eq!(judged("127.0.0.1", &[insecure, NAMED]), Origin::Own);
        for https in ["https", "HTTPS", "wss", "http, https"] {
            let said = ("x-forwarded-proto", https);
            assert_eq!(
                judged("127.0.0.1", &[insecure, NAMED, said]),
                Origin::Foreign,
                "{https}"
            );
            assert_eq!(judged("127.0.0.1", &[PAGE, NAMED, said]), Origin::Own, "{https}");
        }
        // Only a trusted proxy can report the scheme, and the last proxy counts.
        let own = [("origin", "http://10.0.0.5"), HTTPS];
        assert_eq!(judged("203.0.113.9", &own), Origin::Own);
        let last = [insecure, NAMED, ("x-forwarded-proto", "https, http")];
        assert_eq!(judged("127.0.0.1", &last), Origin::Own);
    }

    #[test]
    fn an_exact_comparison_includes_scheme_host_and_port() {
        let judged = |peer, headers: &[(&str, &str)]| judged_by(None, true, peer, headers);
        for (origin, own) in [
            ("http://10.0.0.5:8080", Origin::Own),
            ("http://10.0.0.5", Origin::Foreign),
            ("http://10.0.0.5:8081", Origin::Foreign),
            ("https://10.0.0.5:8080", Origin::Foreign),
            ("https://shop.example", Origin::Own),
        ] {
            assert_eq!(judged("203.0.113.9", &[("origin", origin)]), own, "{origin}");
            assert_eq!(judged("127.0.0.1", &[("origin", origin)]), own, "{origin}");
        }
        assert_eq!(judged("127.0.0.1", &[PAGE, NAMED, HTTPS]), Origin::Own);
        assert_eq!(
            judged("127.0.0.1", &[PAGE, NAMED]),
            Origin::Foreign,
            "the proxy reports no scheme"
        );
        let port = ("origin", "https://www.example.org:8443");
        assert_eq!(judged("127.0.0.1", &[port, NAMED, HTTPS]), Origin::Foreign);
        let named = ("x-forwarded-host", "www.example.org:8443");
        assert_eq!(judged("127.0.0.1", &[port, named, HTTPS]), Origin::Own);
        let written = ("origin", "https://www.example.org:443");
        assert_eq!(judged("127.0.0.1", &[written, NAMED, HTTPS]), Origin::Own);
    }

    #[test]
    fn with_a_live_site_the_host_of_the_request_does_not_count() {
        for exact in [false, true] {
            let judged = |headers: &[(&str, &str)]| judged_by(Some(PAGE.1), exact, "127.0.0.1", headers);
            assert_eq!(judged(&[PAGE]), Origin::Own);
            assert_eq!(judged(&[("origin", "https://shop.example")]), Origin::Own);
            for foreign in [
                "http://10.0.0.5:8080",
                "http://www.example.org",
                "https://www.example.org:8443",
            ] {
                assert_eq!(judged(&[("origin", foreign), NAMED]), Origin::Foreign, "{foreign}");
            }
            // A page whose own name resolves to this server.
            let evil = ("origin", "https://evil.example");
            assert_eq!(judged(&[evil, ("x-forwarded-host", "evil.example")]), Origin::Foreign);
        }
    }
}
