//! Recognises the usual proxies by their answers, and has the lines that each needs.

use std::fmt;

use super::address::Address;
use super::exchange::Answer;
use crate::commands::snippets::{self, lines};

/// A proxy that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// nginx, and OpenResty.
    Nginx,
    /// Apache's httpd.
    Apache,
    /// Caddy.
    Caddy,
    /// HAProxy. It names itself in its own error pages only.
    Haproxy,
    /// LiteSpeed, and OpenLiteSpeed.
    LiteSpeed,
    /// Cloudflare.
    Cloudflare,
    /// Varnish.
    Varnish,
}

impl Product {
    /// The proxy that an answer came through; the outermost, where there are several.
    pub fn of(answer: &Answer) -> Option<Self> {
        let text = |name: &str| answer.all(name).collect::<Vec<_>>().join(",").to_ascii_lowercase();
        let (server, via) = (text("server"), text("via"));
        let has = |name: &str| answer.header(name).is_some();
        let own_page = || answer.body.starts_with(b"<html><body><h1>");
        Some(match server.as_str() {
            _ if has("cf-ray") || server.contains("cloudflare") => Self::Cloudflare,
            _ if has("x-varnish") || via.contains("varnish") || server.contains("varnish") => Self::Varnish,
            _ if server.contains("nginx") || server.contains("openresty") => Self::Nginx,
            _ if server.contains("apache") => Self::Apache,
            _ if server.contains("caddy") || via.contains("caddy") => Self::Caddy,
            _ if server.contains("litespeed") => Self::LiteSpeed,
            _ if server.contains("haproxy") || via.contains("haproxy") => Self::Haproxy,
            // Its answers of its own have no Server header and this form.
            "" if answer.status >= 400 && own_page() => Self::Haproxy,
            _ => return None,
        })
    }

    /// The lines that pass WebSockets on to the server at `upstream`, on the path of the socket.
    pub fn snippet(self, upstream: &str, socket: &Address) -> String {
        let path = prefix(socket);
        match self {
            Self::Nginx => lines(snippets::Proxy::Nginx, upstream, path),
            Self::Apache => lines(snippets::Proxy::Apache, upstream, path),
            Self::Caddy => lines(snippets::Proxy::Caddy, upstream, path),
            Self::Haproxy => lines(snippets::Proxy::Haproxy, upstream, path),
            Self::LiteSpeed => format!(
                "WebAdmin, Virtual Hosts, the site, Web Socket Proxy: URI {path}/, Address {upstream}"
            ),
            Self::Cloudflare => "Cloudflare's dashboard, the site, Network: WebSockets on. Then see the web server behind it."
                .to_owned(),
            Self::Varnish => "sub vcl_recv {\n    if (req.http.upgrade ~ \"(?i)websocket\") {\n        return (pipe);\n    }\n}\n\
                              sub vcl_pipe {\n    if (req.http.upgrade) {\n        set bereq.http.upgrade = req.http.upgrade;\n        \
                              set bereq.http.connection = req.http.connection;\n    }\n}\n"
                .to_owned(),
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "nginx",
            Self::Apache => "Apache",
            Self::Caddy => "Caddy",
            Self::Haproxy => "HAProxy",
            Self::LiteSpeed => "LiteSpeed",
            Self::Cloudflare => "Cloudflare",
            Self::Varnish => "Varnish",
        })
    }
}

/// What precedes the server's own paths in the address of the socket: `/ws`.
pub fn prefix(socket: &Address) -> &str {
    let path = socket.bare_path();
    path.split("/app/").next().unwrap_or_default().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::super::exchange::parse;
    use super::*;

    fn product(head: &str) -> Option<Product> {
        let bytes = format!("HTTP/1.1 {head}\r\n\r\n");
        let (answer, _) = parse(bytes.as_bytes()).expect("HTTP").expect("whole");
        Product::of(&answer)
    }

    #[test]
    fn a_proxy_is_known_by_its_answers() {
        for (head, wanted) in [
            ("101 X\r\nServer: nginx/1.22.1", Some(Product::Nginx)),
            ("200 X\r\nServer: openresty", Some(Product::Nginx)),
            ("503 X\r\nServer: Apache/2.4.57 (Debian)", Some(Product::Apache)),
            ("502 X\r\nServer: Caddy", Some(Product::Caddy)),
            ("200 X\r\nVia: 1.1 Caddy", Some(Product::Caddy)),
            ("200 X\r\nServer: LiteSpeed", Some(Product::LiteSpeed)),
            ("200 X\r\nServer: nginx\r\nX-Varnish: 32770", Some(Product::Varnish)),
            ("200 X\r\nServer: cloudflare\r\nCF-RAY: 1", Some(Product::Cloudflare)),
            (
                "503 X\r\n\r\n<html><body><h1>503 Service Unavailable</h1>",
                Some(Product::Haproxy),
            ),
            ("101 X\r\nUpgrade: websocket", None),
            ("200 X\r\nServer: Microsoft-IIS/10.0", None),
        ] {
            assert_eq!(product(head), wanted, "{head}");
        }
    }

    #[test]
    fn every_snippet_has_the_path_and_the_target() {
        let socket: Address = "wss://www.example.org/live/ws/app/k".parse().expect("an address");
        for product in [
            Product::Nginx,
            Product::Apache,
            Product::Caddy,
            Product::Haproxy,
            Product::LiteSpeed,
        ] {
            let snippet = product.snippet("127.0.0.1:8081", &socket);
            assert!(
                snippet.contains("/live/ws/") && snippet.contains("127.0.0.1:8081"),
                "{product}: {snippet}"
            );
        }
    }
}
