//! The target of the load: a WebSocket URL that must name a loopback address, so that a typing mistake never becomes an
//! attack on a foreign server. No flag lifts this.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Uri;

use crate::failure::Failure;

/// A server on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The path that the URL names, when it names more than `/`.
    path: Option<String>,
}

impl Target {
    /// Reads `ws://127.0.0.1:8080/echo`; `http://` is taken alike, since that is what the server prints.
    pub fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("{url}: {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("this is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("ws" | "http")) {
            return Err(wrong("the URL must start with ws:// (plain TCP)"));
        }
        let host = uri.host().unwrap_or_default();
        let ip = match host.trim_matches(['[', ']']) {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            literal => literal
                .parse()
                .map_err(|_| wrong("the host must be a loopback address such as 127.0.0.1"))?,
        };
        if !ip.is_loopback() {
            return Err(wrong(
                "this is not a loopback address; the load generator only talks to this machine",
            ));
        }
        let port = uri.port_u16().unwrap_or(80);
        let path = uri.path_and_query().map(|path| path.as_str().to_owned());
        Ok(Self {
            address: SocketAddr::new(ip, port),
            path: path.filter(|path| path != "/"),
        })
    }

    /// The path of the handshake: the URL's own path, else the usual path of the scenario.
    pub fn path_or<'a>(&'a self, usual: &'a str) -> &'a str {
        self.path.as_deref().unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_path_keeps_it() {
        let target = Target::parse("ws://127.0.0.1:8080/app/key?x=1").unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(target.path_or("/echo"), "/app/key?x=1");
    }

    #[test]
    fn a_url_without_a_path_leaves_it_to_the_scenario() {
        for url in ["ws://localhost:9", "http://127.0.0.1:9/", "ws://[::1]:9/"] {
            assert_eq!(Target::parse(url).unwrap().path_or("/echo"), "/echo", "{url}");
        }
    }

    #[test]
    fn only_this_machine_is_a_target() {
        for url in [
            "ws://192.168.1.2/",
            "ws://10.0.0.1:80",
            "ws://0.0.0.0:80",
            "ws://[::ffff:10.0.0.1]:80",
            "ws://example.org/",
            "ws://127.0.0.1.example.org/",
            "wss://127.0.0.1/",
            "127.0.0.1:8080",
        ] {
            assert!(matches!(Target::parse(url), Err(Failure::Usage(_))), "{url}");
        }
    }
}
