//! Who calls: the client's address behind proxies, whether the request names this server (DNS rebinding), whether a page of
//! another site made it, and whether the caller may see the server's state (design section 6). Loopback is not trust:
//! behind a proxy every peer is 127.0.0.1.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri, header};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::config::{Config, Server};

/// The other end of a connection, as the loop knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Of the TCP peer; `None` on a Unix socket, where the peer is a proxy on this machine.
    pub address: Option<IpAddr>,
    /// It came by `admin_listen`.
    pub admin: bool,
    /// It is over the limit of connections.
    pub surplus: bool,
}

/// The client's own address: the peer's, or what a trusted proxy says: the right-most entry of `X-Forwarded-For` that is
/// not itself a trusted proxy. Entries further left can be anything that the client wrote. `None`: not known.
pub fn address(caller: &Caller, request: &Request<Bytes>, trusted: &[IpAddr]) -> Option<IpAddr> {
    if let Some(peer) = direct_address(caller, trusted) {
        return Some(peer);
    }
    let lines: Vec<&str> = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        // An entry that is no address was not written by a proxy that can be trusted with the ones before it.
        let address = entry_address(entry.trim())?;
        if !trusted.contains(&address) {
            return Some(address);
        }
    }
    None
}

/// The client's address when the peer is the client itself and no proxy.
pub fn direct_address(caller: &Caller, trusted: &[IpAddr]) -> Option<IpAddr> {
    caller.address.filter(|peer| !trusted.contains(peer))
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

/// Where the page that made the request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No Origin header: not a page (or a same-origin GET).
    None,
    /// The request's own host or a configured origin.
    Own,
    /// Another site, or `null`.
    Foreign,
}

/// Compares the Origin header with the host that the client named (ports aside: cookies ignore them too) and the configured
/// origins.
pub fn origin(caller: &Caller, request: &Request<Bytes>, server: &Server) -> Origin {
    let mut values = request.headers().get_all(header::ORIGIN).iter();
    let Some(value) = values.next() else {
        return Origin::None;
    };
    let (Ok(text), None) = (value.to_str(), values.next()) else {
        return Origin::Foreign;
    };
    if server
        .allowed_origins
        .iter()
        .any(|origin| origin.eq_ignore_ascii_case(text))
    {
        return Origin::Own;
    }
    // Without a scheme it is no origin, whatever it names.
    let named = text.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some());
    let named = named.and_then(|uri| uri.host().map(str::to_owned));
    match (named, named_host(caller, request, server)) {
        (Some(named), Some(own)) if named.eq_ignore_ascii_case(&own) => Origin::Own,
        _ => Origin::Foreign,
    }
}

/// The host that the client named, without its port: what a trusted proxy says of it, or the request's own. Of several
/// proxies the last one is the one that is trusted.
fn named_host(caller: &Caller, request: &Request<Bytes>, server: &Server) -> Option<String> {
    let proxied = direct_address(caller, &server.trusted_proxies).is_none();
    let forwarded = request.headers().get_all("x-forwarded-host").iter().next_back();
    match forwarded.filter(|_| proxied) {
        Some(value) => {
            let last = value.to_str().ok()?.rsplit(',').next()?.trim();
            let authority = last.parse::<http::uri::Authority>().ok()?;
            Some(authority.host().to_owned())
        }
        None => host(request),
    }
}

/// The host that the request names, without its port.
fn host(request: &Request<Bytes>) -> Option<String> {
    if let Some(host) = request.uri().host() {
        return Some(host.to_owned());
    }
    let named = request.headers().get(header::HOST)?.to_str().ok()?;
    named
        .parse::<http::uri::Authority>()
        .ok()
        .map(|authority| authority.host().to_owned())
}

/// Whether the request names this machine by a loopback name. A page whose own name was made to resolve to 127.0.0.1
/// cannot do that.
pub fn names_loopback(request: &Request<Bytes>) -> bool {
    let Some(host) = host(request) else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether the request names the server by an address, or by a name that no other site can have.
fn names_address(request: &Request<Bytes>, allowed: &[String]) -> bool {
    let Some(host) = host(request) else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || bare.eq_ignore_ascii_case("localhost")
        || allowed
            .iter()
            .any(|o| o.parse::<Uri>().is_ok_and(|uri| uri.host() == Some(bare)))
}

/// Whether the caller may see the page and the server's state: under the embedded defaults, on `admin_listen`, or with the
/// admin token. A browser sends remembered credentials for any page, so a page of another site never may.
pub fn may_see_state(caller: &Caller, request: &Request<Bytes>, config: &Config) -> bool {
    if origin(caller, request, &config.server) == Origin::Foreign {
        return false;
    }
    config.embedded_defaults && names_loopback(request)
        || caller.admin && names_address(request, &config.server.allowed_origins)
        || has_token(request.headers(), &config.server.admin_token)
}

/// Whether `given` is the admin token. An empty one opens nothing. Takes the same time for every wrong one of its length.
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

    fn judged(peer: &str, headers: &[(&str, &str)]) -> Origin {
        let caller = Caller {
            address: peer.parse().ok(),
            admin: false,
            surplus: false,
        };
        let mut request = Request::get("/app/key").header(header::HOST, "10.0.0.5:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let server = Server {
            allowed_origins: vec!["https://shop.example".to_owned()],
            ..Server::default()
        };
        origin(&caller, &request.body(Bytes::new()).unwrap(), &server)
    }

    #[test]
    fn a_page_is_the_site_s_own_by_the_host_that_the_client_named() {
        let page = ("origin", "https://www.example.org:8443");
        let forwarded = ("x-forwarded-host", "www.example.org");
        assert_eq!(judged("127.0.0.1", &[page, forwarded]), Origin::Own);
        assert_eq!(judged("127.0.0.1", &[page]), Origin::Foreign);
        // Only a trusted proxy can say what the client named, and then it is the only one.
        assert_eq!(judged("203.0.113.9", &[page, forwarded]), Origin::Foreign);
        let evil = ("origin", "http://10.0.0.5");
        assert_eq!(judged("127.0.0.1", &[evil, forwarded]), Origin::Foreign);
        assert_eq!(judged("203.0.113.9", &[evil]), Origin::Own);
        // What the client wrote itself stands further left.
        let both = ("x-forwarded-host", "www.example.org, site.example");
        assert_eq!(judged("127.0.0.1", &[page, both]), Origin::Foreign);
        let twice = [page, forwarded, ("x-forwarded-host", "site.example")];
        assert_eq!(judged("127.0.0.1", &twice), Origin::Foreign);

        assert_eq!(
            judged("203.0.113.9", &[("origin", "https://shop.example")]),
            Origin::Own
        );
        assert_eq!(judged("203.0.113.9", &[("origin", "null")]), Origin::Foreign);
        assert_eq!(judged("203.0.113.9", &[]), Origin::None);
    }
}
