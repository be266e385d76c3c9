//! Lines that people have already, from the pages of other projects, when they put the server behind their proxy. Each
//! file of `everyday/` says what kind of page shows it. Sockets, the HTTP API and the site work with nearly all files.
//! The address that the server then takes for the client's is said here: it is why the files of `conf/` are longer.

use crate::common::pusher::KEY;
use crate::common::web_server::{Product, WebServer};
use crate::stage::{EVENT, PAGE, PREFORK, Stage};
use crate::visitor::{CLAIMED, THEIR, Visitor};

/// Lines of `everyday/`.
#[derive(Clone, Copy)]
pub struct Everyday {
    /// The product that they are for.
    pub product: Product,
    /// The file.
    pub lines: &'static str,
    /// The host of the sockets.
    pub name: &'static str,
    /// What precedes the server's paths.
    pub prefix: &'static str,
    /// The address that the server sees.
    client: Client,
}

/// The address that the server takes for the client's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    /// The client's.
    Right,
    /// The one that the client claims to have.
    Claimed,
}

/// Those that work.
pub const WORKING: &[Everyday] = &[
    Everyday {
        product: Product::Nginx,
        lines: include_str!("everyday/nginx-reverb.conf"),
        name: "www.example.org",
        prefix: "",
        client: Client::Right,
    },
    Everyday {
        product: Product::Nginx,
        lines: include_str!("everyday/nginx-soketi.conf"),
        name: "ws.example.org",
        prefix: "",
        client: Client::Right,
    },
    Everyday {
        product: Product::Nginx,
        lines: include_str!("everyday/nginx-websocket.conf"),
        name: "www.example.org",
        prefix: "/ws",
        client: Client::Claimed,
    },
    Everyday {
        product: EVENT,
        lines: include_str!("everyday/apache-rewrite.conf"),
        name: "ws.example.org",
        prefix: "",
        client: Client::Right,
    },
    Everyday {
        product: EVENT,
        lines: include_str!("everyday/apache-wstunnel.conf"),
        name: "www.example.org",
        prefix: "/ws",
        client: Client::Right,
    },
    Everyday {
        product: EVENT,
        lines: include_str!("everyday/apache-prefix.conf"),
        name: "www.example.org",
        prefix: "/ws",
        client: Client::Right,
    },
    Everyday {
        product: PREFORK,
        lines: include_str!("everyday/apache-upgrade.conf"),
        name: "www.example.org",
        prefix: "/ws",
        client: Client::Right,
    },
    Everyday {
        product: Product::Caddy,
        lines: include_str!("everyday/caddy-one-line.conf"),
        name: "ws.example.org",
        prefix: "",
        client: Client::Right,
    },
    Everyday {
        product: Product::Caddy,
        lines: include_str!("everyday/caddy-handle-path.conf"),
        name: "www.example.org",
        prefix: "/ws",
        client: Client::Right,
    },
    Everyday {
        product: Product::HaProxy,
        lines: include_str!("everyday/haproxy-upgrade.conf"),
        name: "www.example.org",
        prefix: "",
        client: Client::Right,
    },
];

impl Everyday {
    /// Starts the product with these lines in front of a stage.
    pub fn before(&self, stage: &Stage) -> (WebServer, Visitor) {
        let (proxy, at) = stage.behind(self.product, self.lines);
        (proxy, Visitor::new(at, self.name, self.prefix))
    }
}

/// All of a product work.
fn expect_working(is_of: impl Fn(Product) -> bool) {
    let stage = Stage::new("", "");
    let mut count = 0;
    for everyday in WORKING.iter().filter(|everyday| is_of(everyday.product)) {
        let before = stage.lines().len();
        let (_proxy, visitor) = everyday.before(&stage);
        visitor.expect_delivery();
        if everyday.name == "www.example.org" {
            let reply = visitor.get("/index.html");
            assert_eq!((reply.status, reply.body.as_str()), (200, PAGE), "{}", everyday.lines);
        }
        let (mut sockets, mut requests) = (Vec::new(), Vec::new());
        let is_there = || {
            let lines = stage.lines().split_off(before);
            let of = |path: &str| -> Vec<String> {
                let lines = lines
                    .iter()
                    .filter(|line| line["path"].as_str().is_some_and(|p| p.starts_with(path)));
                lines.map(|line| line["client"].to_string()).collect()
            };
            (sockets, requests) = (of("/app/"), of("/apps/"));
            !sockets.is_empty() && !requests.is_empty()
        };
        crate::common::wait_until("the access log has both", is_there, String::new);
        let seen = match everyday.client {
            Client::Right => THEIR.to_string(),
            Client::Claimed => CLAIMED.to_owned(),
        };
        let wanted = [format!("\"{seen}\"")];
        assert_eq!(
            (&sockets[..], &requests[..]),
            (&wanted[..], &wanted[..]),
            "{}",
            everyday.lines
        );
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn lines_for_nginx_work() {
    expect_working(|product| product == Product::Nginx);
}

#[test]
fn lines_for_apache_work() {
    expect_working(|product| matches!(product, Product::Apache(..)));
}

#[test]
fn lines_for_caddy_work() {
    expect_working(|product| product == Product::Caddy);
}

#[test]
fn lines_for_haproxy_work() {
    expect_working(|product| product == Product::HaProxy);
}

#[test]
fn a_forgotten_slash_needs_the_path_in_the_configuration() {
    let lines = include_str!("everyday/nginx-no-slash.conf");
    let stage = Stage::new("", "");
    let (_proxy, at) = stage.behind(Product::Nginx, lines);
    let reply = Visitor::new(at, "www.example.org", "/ws").handshake().reply();
    assert_eq!(reply.status, 404, "{}", reply.head);
    let stage = Stage::listening("", "", "", "path = \"/ws\"");
    let (_proxy, at) = stage.behind(Product::Nginx, lines);
    let visitor = Visitor::new(at, "www.example.org", "/ws");
    drop(visitor.session());
    assert_eq!(stage.clients_of(&format!("/ws/app/{KEY}"), 1), [THEIR.to_string()]);
}

#[test]
fn a_proxy_that_drops_the_upgrade_gets_a_sentence() {
    let stage = Stage::new("", "");
    let (_proxy, at) = stage.behind(Product::Nginx, include_str!("everyday/nginx-http-1.0.conf"));
    let reply = Visitor::new(at, "www.example.org", "/ws").handshake().reply();
    assert_eq!(reply.status, 505, "{}", reply.head);
    assert!(reply.body.contains("HTTP/1.1"), "{}", reply.body);
}
