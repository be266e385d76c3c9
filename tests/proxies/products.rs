//! The files of `conf/` as they stand, with this test's addresses, names and certificates filled in: beside a site and
//! on a host of its own, over TLS, with http that leads there. Each product first tests its configuration by itself,
//! with the modules that the file names and no other.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::certificates::{Authority, Valid};
use crate::common::ports::free_port;
use crate::common::web_server::{Product, WebServer};
use crate::stage::{HERE, PAGE, Stage};
use crate::visitor::{CLAIMED, THEIR, Visitor};

const NGINX: &str = include_str!("../../conf/nginx.conf");
const APACHE: &str = include_str!("../../conf/apache.conf");
const CADDY: &str = include_str!("../../conf/Caddyfile");
const HAPROXY: &str = include_str!("../../conf/haproxy.cfg");

/// Where a file of `conf/` takes the site's own lines.
const BESIDE: &str = "# Beside the site its own lines stand here";

/// A file of `conf/` for one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conf {
    /// `conf/nginx.conf`
    Nginx,
    /// `conf/apache.conf`, with this MPM.
    Apache(&'static str),
    /// `conf/Caddyfile`
    Caddy,
    /// `conf/haproxy.cfg`
    HaProxy,
}

/// All of them.
pub const ALL: &[Conf] = &[
    Conf::Nginx,
    Conf::Apache("event"),
    Conf::Apache("prefork"),
    Conf::Caddy,
    Conf::HaProxy,
];

/// Where sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below `/ws/` of the site's host.
    Beside,
    /// Below `/ws/` of a host that has nothing else.
    Alone,
}

/// A product that runs, and its visitors.
pub struct Running {
    /// The product.
    pub server: WebServer,
    /// One who comes over http.
    pub plain: Visitor,
    /// One who comes over https.
    pub secure: Visitor,
    /// The host.
    pub name: &'static str,
}

impl Conf {
    /// The product, with what the file says that has to be switched on.
    pub fn product(self) -> Product {
        match self {
            Conf::Nginx => Product::Nginx,
            Conf::Apache(mpm) => {
                let (_, modules) = APACHE.split_once("`a2enmod ").expect("the file names its modules");
                let (modules, _) = modules.split_once('`').expect("the end of the command");
                Product::Apache(mpm, modules)
            }
            Conf::Caddy => Product::Caddy,
            Conf::HaProxy => Product::HaProxy,
        }
    }

    /// Tests the configuration and starts it.
    pub fn start(self, stage: &Stage, place: Place) -> Running {
        self.start_with(stage, place, |lines| lines)
    }

    /// The same with a change of an administrator.
    pub fn start_with(self, stage: &Stage, place: Place, change: impl Fn(String) -> String) -> Running {
        let name = match place {
            Place::Beside => "www.example.org",
            Place::Alone => "ws.example.org",
        };
        let authority = Arc::new(Authority::new());
        let [plain, secure] = [(); 2].map(|()| SocketAddr::from((HERE, free_port(HERE))));
        let lines = self.filled(stage, place, plain, secure, &authority);
        let lines = change(lines.replace("www.example.org", name));
        let test = WebServer::test(self.product(), &lines);
        let said = String::from_utf8_lossy(&test.stderr);
        assert!(test.status.success(), "{self:?}: {said}\n{lines}");
        assert!(
            !said.to_ascii_lowercase().contains("[warn"),
            "{self:?}: {said}\n{lines}"
        );
        Running {
            server: WebServer::start(self.product(), secure, &lines),
            plain: Visitor::new(plain, name, "/ws"),
            secure: Visitor::new(secure, name, "/ws").over_tls(&authority),
            name,
        }
    }

    /// The file with what belongs to this test.
    fn filled(
        self,
        stage: &Stage,
        place: Place,
        plain: SocketAddr,
        secure: SocketAddr,
        authority: &Authority,
    ) -> String {
        let names = ["DNS:www.example.org", "DNS:ws.example.org"];
        let certificate = authority.issue(&names, Valid::Long);
        let files = [&certificate.chain, &certificate.key].map(|file| file.display().to_string());
        let root = stage.document_root();
        let (text, changes) = match self {
            Conf::Nginx => (
                NGINX.to_owned(),
                vec![
                    ("listen 80;", format!("listen {plain};")),
                    ("listen [::]:80;", String::new()),
                    ("listen 443 ssl;", format!("listen {secure} ssl;")),
                    ("listen [::]:443 ssl;", String::new()),
                    (BESIDE, format!("root {root};\n    {BESIDE}")),
                ],
            ),
            Conf::Apache(_) => (
                format!("Listen {plain}\nListen {secure}\n{APACHE}"),
                vec![
                    ("<VirtualHost *:80>", format!("<VirtualHost {plain}>")),
                    ("<VirtualHost *:443>", format!("<VirtualHost {secure}>")),
                    (BESIDE, format!("DocumentRoot {root}\n    {BESIDE}")),
                ],
            ),
            Conf::Caddy => (
                format!(
                    "{{\n    admin off\n    default_bind {}\n    http_port {}\n    https_port {}\n}}\n{CADDY}",
                    secure.ip(),
                    plain.port(),
                    secure.port()
                ),
                vec![(BESIDE, format!("root * {root}\n    file_server\n    {BESIDE}"))],
            ),
            Conf::HaProxy => {
                let both = certificate.in_one_file();
                (
                    HAPROXY.to_owned(),
                    vec![
                        ("bind :80\n", format!("bind {plain}\n")),
                        ("bind :443 ssl", format!("bind {secure} ssl")),
                        ("/etc/haproxy/www.example.org.pem", both.display().to_string()),
                        ("log /dev/log local0", "log stderr local0".to_owned()),
                        ("127.0.0.1:8000", stage.pages.to_string()),
                    ],
                )
            }
        };
        let mut text = replaced(&text, "127.0.0.1:8080", &stage.backend.to_string());
        for (from, to) in changes {
            if from == BESIDE && place == Place::Alone {
                continue;
            }
            text = replaced(&text, from, &to);
        }
        if self == Conf::HaProxy && place == Place::Alone {
            let (before, _) = text.split_once("\nbackend site\n").expect("it is the last part");
            return replaced(before, "    default_backend site\n", "") + "\n";
        }
        if self != Conf::HaProxy {
            text = replaced(&text, "/etc/ssl/certs/www.example.org.pem", &files[0]);
            text = replaced(&text, "/etc/ssl/private/www.example.org.key", &files[1]);
        }
        text
    }
}

/// The text with another word in this place.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is missing in {text}");
    text.replace(from, to)
}

/// What nginx needs to pass sockets on over plain http, behind a proxy that ends TLS: the lines of `conf/nginx.conf`
/// for `http { }`, and its location in a server of its own.
pub fn nginx_inside(at: SocketAddr, backend: SocketAddr) -> String {
    let (http, rest) = NGINX.split_once("# http leads to https.").expect("the first part");
    let (_, location) = rest.split_once("    location ").expect("the location");
    let location = replaced(location, "X-Forwarded-Proto $scheme", "X-Forwarded-Proto https");
    let http = replaced(http, "127.0.0.1:8080", &backend.to_string());
    format!("{http}\nserver {{\nlisten {at};\nlocation {location}")
}

/// The same for Apache.
pub fn apache_inside(at: SocketAddr, backend: SocketAddr) -> String {
    let (_, location) = APACHE.split_once("    <Location ").expect("the location");
    let location = replaced(location, "expr=%{REQUEST_SCHEME}", "\"https\"");
    let location = replaced(&location, "127.0.0.1:8080", &backend.to_string());
    format!("Listen {at}\n<VirtualHost {at}>\n<Location {location}")
}

/// The lines of the access log name visitors by the addresses that they have.
fn expect_clients(stage: &Stage, conf: Conf) {
    for path in ["/app/", "/apps/"] {
        for client in stage.clients_of(path, 1) {
            assert_eq!(client, THEIR.to_string(), "{conf:?} {path}: {:?}", stage.lines());
        }
    }
    assert!(!format!("{:?}", stage.lines()).contains(CLAIMED));
}

/// http leads to https.
fn expect_redirect(running: &Running, conf: Conf) {
    let reply = running.plain.get_head("/ws/app/x?a=b");
    assert!(matches!(reply.status, 301 | 308), "{conf:?}: {}", reply.head);
    let target = reply.header("location").unwrap_or_default();
    let wanted = format!("https://{}", running.name);
    assert!(
        target.starts_with(&wanted) && target.ends_with("/ws/app/x?a=b"),
        "{conf:?}: {target}"
    );
}

fn expect_both_places(conf: Conf) {
    let strict = "strict_origin = true";
    for place in [Place::Beside, Place::Alone] {
        let stage = Stage::listening("", "", "", strict);
        let running = conf.start(&stage, place);
        // What the proxy says about host and scheme makes the origin of its own pages.
        running.secure.clone().of_origin("https").expect_delivery();
        running.secure.clone().of_origin("http").expect_refused_origin();
        expect_clients(&stage, conf);
        expect_redirect(&running, conf);
        if place == Place::Beside {
            let reply = running.secure.get("/");
            assert_eq!(
                (reply.status, reply.body.as_str()),
                (200, PAGE),
                "{conf:?}: {}",
                reply.head
            );
        }
    }
}

#[test]
fn nginx_serves_sites_and_sockets() {
    expect_both_places(Conf::Nginx);
}

#[test]
fn apache_serves_sites_and_sockets() {
    expect_both_places(Conf::Apache("event"));
}

#[test]
fn apache_with_prefork_serves_sites_and_sockets() {
    expect_both_places(Conf::Apache("prefork"));
}

#[test]
fn caddy_serves_sites_and_sockets() {
    expect_both_places(Conf::Caddy);
}

#[test]
fn haproxy_serves_sites_and_sockets() {
    expect_both_places(Conf::HaProxy);
}

/// The lines of docs/operations.md for two machines, in the place of the one server. Both are the same one here.
#[test]
fn haproxy_serves_two_machines() {
    let document = include_str!("../../docs/operations.md");
    let block = document
        .split_once(", then:\n")
        .and_then(|(_, rest)| rest.split_once("```"));
    let (lines, _) = block.expect("the lines for two machines");
    let stage = Stage::listening("", "", "", "strict_origin = true");
    let backend = stage.backend.to_string();
    let lines = ["10.0.0.11:8080", "10.0.0.12:8080"]
        .iter()
        .fold(lines.to_owned(), |lines, machine| replaced(&lines, machine, &backend));
    let one = format!("    server jsocketd {backend} check\n");
    let running = Conf::HaProxy.start_with(&stage, Place::Beside, |text| replaced(&text, &one, &lines));
    let visitor = running.secure.clone().of_origin("https");
    for _ in 0..2 {
        visitor.expect_delivery();
    }
}
