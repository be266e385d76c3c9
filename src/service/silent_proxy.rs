//! Finds out whether a proxy that is trusted forwards requests without naming their clients. Then the limits per
//! address are off, and the administrator should know. Most requests that name no client prove nothing: the machine's
//! own health checks, commands and PHP come without a proxy, from the same address as a proxy's requests.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, Request, header};

use super::caller::{self, Call};
use crate::config::{ListenAddr, ListenEntry, Origin};

/// Headers that only proxies add.
const OF_PROXIES: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// Why a request looks forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It has a header of a proxy.
    Header,
    /// A page of another machine made it. A browser on this machine may have sent it without a proxy.
    Page,
}

/// The sign that a proxy forwarded a request and did not name the client. `listeners`: where the server listens.
pub fn sign(call: &Call<'_>, listeners: &[ListenEntry]) -> Option<Sign> {
    if call.address().is_some() {
        return None;
    }
    let headers = call.request.headers();
    // Most headers are told by their first letter, as this is done for each request.
    let may_be_of_proxy = |name: &HeaderName| matches!(name.as_str().as_bytes(), [b'f' | b'v' | b'x', ..]);
    let is_of_proxy = |name: &HeaderName| may_be_of_proxy(name) && OF_PROXIES.contains(&name.as_str());
    let sign = match headers.keys().any(is_of_proxy) {
        true => Sign::Header,
        false => {
            let page = headers.get(header::ORIGIN)?.to_str().ok()?.parse::<Origin>().ok()?;
            let is_elsewhere = !is_loopback(&page.host) && !names_listener(call.request, listeners);
            is_elsewhere.then_some(Sign::Page)?
        }
    };
    // A header that names only proxies, such as that of a browser beside the proxy, is no fault of the proxy.
    (!headers.contains_key("x-forwarded-for")).then_some(sign)
}

/// Whether the request names one of our own ports, and a name that may be this machine's: a browser on this machine
/// that needs no proxy does so. One without a name of its own, such as 127.0.0.1, is what a proxy writes.
fn names_listener(request: &Request<Bytes>, listeners: &[ListenEntry]) -> bool {
    let Some(named) = caller::host(request) else {
        return false;
    };
    let is_ours =
        |entry: &ListenEntry| matches!(entry.address, ListenAddr::Tcp(at) if Some(at.port()) == named.port_u16());
    !is_loopback(named.host()) && listeners.iter().any(is_ours)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    is_address || bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Server;
    use crate::id::ConnectionId;
    use crate::service::Caller;

    /// The sign of a request with these headers, which came from this peer; an empty peer is a Unix socket.
    fn of(peer: &str, headers: &[(&str, &str)]) -> Option<Sign> {
        let caller = Caller {
            address: peer.parse().ok(),
            admin: false,
            surplus: false,
            secure: false,
        };
        let mut request = Request::get("/app/key");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::new()).expect("a request");
        let server = Server {
            trusted_proxies: ["127.0.0.1", "10.0.0.4/31"]
                .map(|network| network.parse().expect("a network"))
                .into_iter()
                .collect(),
            ..Server::default()
        };
        let call = Call::new(ConnectionId::new(1, 1), &caller, &request, &server);
        sign(&call, &server.listen)
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:8080");
    const THERE: (&str, &str) = ("host", "www.example.org");
    const PAGE: (&str, &str) = ("origin", "https://www.example.org");

    #[test]
    fn a_request_of_the_machine_itself_is_no_sign() {
        for headers in [
            // curl, a health check, `jsocketd status`, the HTTP API from PHP.
            &[HERE][..],
            &[("host", "localhost:8080"), ("user-agent", "curl/8.5.0")],
            &[
                HERE,
                ("authorization", "Bearer x"),
                ("content-type", "application/json"),
            ],
            // PHP through the proxy's public name, and a page of this machine.
            &[THERE, ("user-agent", "PHP")],
            &[HERE, ("origin", "http://localhost:3000")],
            &[HERE, ("origin", "http://127.0.0.1:8000"), ("cookie", "a=b")],
            &[HERE, ("origin", "http://[::1]")],
            &[HERE, ("origin", "http://joomla.localhost")],
            // A site whose name is in /etc/hosts, without a proxy.
            &[("host", "joomla.test:8080"), ("origin", "http://joomla.test")],
            &[HERE, ("origin", "null")],
        ] {
            for peer in ["127.0.0.1", "10.0.0.5", ""] {
                assert_eq!(of(peer, headers), None, "{peer} {headers:?}");
            }
        }
    }

    #[test]
    fn a_header_of_a_proxy_and_a_page_of_elsewhere_are_signs() {
        for peer in ["127.0.0.1", "10.0.0.5", ""] {
            for name in OF_PROXIES {
                assert_eq!(of(peer, &[HERE, (name, "x")]), Some(Sign::Header), "{name}");
            }
            for host in [HERE, THERE, ("host", "www.example.org:8443")] {
                assert_eq!(of(peer, &[host, PAGE]), Some(Sign::Page), "{host:?}");
            }
        }
    }

    #[test]
    fn a_proxy_that_names_its_client_or_itself_is_not_silent() {
        for address in ["203.0.113.9", "127.0.0.1", "203.0.113.9, 10.0.0.5", "unknown"] {
            let headers = [THERE, PAGE, ("via", "1.1 x"), ("x-forwarded-for", address)];
            assert_eq!(of("127.0.0.1", &headers), None, "{address}");
        }
        assert_eq!(of("203.0.113.9", &[THERE, PAGE, ("via", "1.1 x")]), None, "not trusted");
    }
}
