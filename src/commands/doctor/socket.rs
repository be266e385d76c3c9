//! The socket behind the proxy: the handshake, as a browser's page makes it, and the server's greeting. The answers of
//! the usual proxies and of the server itself say which line is missing.

use std::net::IpAddr;
use std::time::Instant;

use super::address::Address;
use super::client::{Client, End, Knocked, PATIENCE, knock};
use super::cookies::Jar;
use super::exchange::Answer;
use super::proxy::{Product, prefix};
use super::report::{Findings, hop};
use super::wire::{Net, Trouble};
use crate::commands::http::on_one_line;

/// The address of the socket, and who connects to it.
pub struct Target {
    /// The address of the client's connection, with the key.
    pub address: Address,
    /// The address in the options.
    pub base: Address,
    /// The key of the app.
    pub key: String,
    /// The origin of the page.
    pub origin: String,
    /// Where the proxy reaches the server, for its lines.
    pub upstream: String,
}

impl Target {
    /// `base` and `key`: those of the component's options.
    pub fn new(base: Address, key: &str, page: &Address, upstream: String) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let folder = base.bare_path().trim_end_matches('/');
        let path = format!("{folder}/app/{key}?protocol=7&client=jsocketd-doctor&version={version}");
        Self {
            address: base.with_path(&path),
            key: key.to_owned(),
            origin: page.origin(),
            base,
            upstream,
        }
    }

    /// The lines for this proxy, or for nginx where it is not known.
    pub fn snippet(&self, product: Option<Product>) -> String {
        product.unwrap_or(Product::Nginx).snippet(&self.upstream, &self.address)
    }
}

/// The socket, as far as it opened.
pub struct Socket {
    /// A connection that was greeted.
    pub client: Client,
    /// The id of the first one.
    pub socket_id: String,
    /// Seconds after which the server wants clients to ask whether it is there.
    pub activity_timeout: u64,
    /// The proxy.
    pub product: Option<Product>,
    /// Our own address on the connection.
    pub own: Option<IpAddr>,
}

/// Opens two connections: an answer that is the same for both was not made for them. The second one stays silent.
pub fn open(
    net: &mut Net,
    target: &Target,
    jar: &Jar,
    site: Option<Product>,
    findings: &mut Findings,
) -> Option<(Socket, Silent)> {
    let cookies = jar.line(&target.address);
    let mut first = attempt(net, target, &cookies, site, None, findings)?;
    let second = attempt(net, target, &cookies, site, first.accept.as_deref(), findings)?;
    let product = first.product;
    let by = product.map_or_else(String::new, |product| format!(" through {product}"));
    let says = format!("{} is upgraded{by}", target.base);
    match product {
        Some(Product::Apache) => findings.warn(
            hop::UPGRADE,
            format!(
                "{says}, which gives each open page one of its workers: without a cap, as many pages as MaxRequestWorkers \
                 (150 on Debian) stop the whole site"
            ),
            "keep max= and acquire= in the ProxyPass of jsocketd's lines, max= below ThreadsPerChild; with mpm_prefork, write \
             max_connections below MaxRequestWorkers into [server] of jsocketd.toml; for more than 150 pages, let nginx, \
             HAProxy or a port of jsocketd's own with [tls] take them",
        ),
        _ => findings.ok(hop::UPGRADE, says),
    }
    let own = first.client.own_address();
    let silent = Silent {
        client: second.client,
        since: Instant::now(),
    };
    let (socket_id, activity_timeout) = match greeting(&mut first.client, target, findings) {
        Some(greeted) => greeted,
        None => {
            findings.skip(hop::IDLE, "the server does not keep the connection");
            return None;
        }
    };
    let socket = Socket {
        client: first.client,
        socket_id,
        activity_timeout,
        product,
        own,
    };
    Some((socket, silent))
}

/// A connection on which nothing is said.
pub struct Silent {
    /// The connection.
    pub client: Client,
    /// When it was opened.
    pub since: Instant,
}

struct Opened {
    client: Client,
    accept: Option<String>,
    product: Option<Product>,
}

/// Sends one handshake and judges its answer. `before`: the `Sec-WebSocket-Accept` of the handshake before.
fn attempt(
    net: &mut Net,
    target: &Target,
    cookies: &str,
    site: Option<Product>,
    before: Option<&str>,
    findings: &mut Findings,
) -> Option<Opened> {
    match knock(net, &target.address, &target.origin, cookies) {
        Knocked::Open(client, answer) => {
            return Some(Opened {
                client: *client,
                accept: answer.header("sec-websocket-accept").map(str::to_owned),
                product: Product::of(&answer).or(site),
            });
        }
        Knocked::Odd(accept, answer) => {
            let product = Product::of(&answer).or(site);
            let again = match before {
                Some(_) => None,
                // Another key: the same answer was not made for either.
                None => match knock(net, &target.address, &target.origin, cookies) {
                    Knocked::Odd(accept, _) => Some(accept),
                    _ => None,
                },
            };
            let is_old = before.is_some() && accept.as_deref() == before || again == Some(accept.clone());
            match is_old && accept.is_some() {
                true => findings.fault_with(
                    hop::UPGRADE,
                    "a cache answers the handshake with the 101 of another client: Sec-WebSocket-Accept is the same for \
                     two keys",
                    format!(
                        "exempt {}/ from the cache (in Varnish, pipe it; at a CDN, a rule \"bypass cache\" for the path)",
                        prefix(&target.address)
                    ),
                    target.snippet(product.filter(|product| *product == Product::Nginx).or(Some(Product::Varnish))),
                ),
                false => findings.fault_with(
                    hop::UPGRADE,
                    match accept {
                        Some(_) => "the answer is 101 with a Sec-WebSocket-Accept that does not belong to the key: not jsocketd, \
                                    or a cache, has answered",
                        None => "the answer is 101 without Sec-WebSocket-Accept: the proxy drops the header, or something else \
                                 has answered",
                    },
                    "pass the answer of jsocketd on unchanged",
                    target.snippet(product),
                ),
            }
        }
        Knocked::Refused(answer) => refused(&answer, target, Product::of(&answer).or(site), findings),
        Knocked::Trouble(trouble) => troubled(&trouble, target, site, findings),
    }
    findings.skip_rest(&[hop::GREETING, hop::IDLE], "there is no socket");
    None
}

/// There is no answer at all.
fn troubled(trouble: &Trouble, target: &Target, site: Option<Product>, findings: &mut Findings) {
    let says = format!("{}: {trouble}", target.base);
    match trouble {
        Trouble::NoName(_) => findings.fault(
            hop::UPGRADE,
            says,
            "correct the host: Components, Websockets, Options, Address for Browsers",
        ),
        Trouble::NoConnection(_) => findings.fault(
            hop::UPGRADE,
            says,
            "correct the port in Components, Websockets, Options, Address for Browsers; behind a firewall, let it through",
        ),
        Trouble::Tls(_) => findings.fault(
            hop::UPGRADE,
            says,
            "the address is wss://, so its port must speak TLS; use the port of the site itself",
        ),
        Trouble::Late => findings.fault_with(
            hop::UPGRADE,
            format!("{says}: the proxy holds the handshake back, or the server hangs"),
            "see whether jsocketd answers at all: `jsocketd status --ready`; a firewall in between may hold handshakes of \
             WebSockets",
            target.snippet(site),
        ),
        _ => findings.fault_with(
            hop::UPGRADE,
            format!("{says}: something in between blocks the upgrade"),
            "let firewalls, \"web application firewalls\" and virus scanners in between pass WebSockets; at the proxy",
            target.snippet(site),
        ),
    }
}

/// An answer other than 101.
fn refused(answer: &Answer, target: &Target, product: Option<Product>, findings: &mut Findings) {
    let text = answer.text();
    let (status, words) = (answer.status, on_one_line(&text));
    let name = product.map_or("the proxy".to_owned(), |product| product.to_string());
    let place = prefix(&target.address);
    let base = &target.base;
    let snippet = || target.snippet(product);
    let mut fault = |says: String, mend: String| findings.fault_with(hop::UPGRADE, says, mend, snippet());
    match status {
        400 if text.contains("without its Upgrade header") => fault(
            format!("{name} passes the request on without its Upgrade header"),
            "let it pass Upgrade and Connection on".into(),
        ),
        400 if text.contains("Connection header of a WebSocket handshake") => fault(
            format!("{name} passes the request on without Upgrade in its Connection header"),
            "let it pass Upgrade and Connection on".into(),
        ),
        505 if text.contains("HTTP/1.0") => fault(
            format!("{name} speaks HTTP/1.0 to jsocketd: {words}"),
            match product {
                Some(Product::Nginx) | None => "write proxy_http_version 1.1; into the location".into(),
                Some(_) => "let it speak HTTP/1.1 to jsocketd".into(),
            },
        ),
        426 => fault(
            format!("426: {words}"),
            "let the proxy pass Upgrade, Connection and Sec-WebSocket-Version on".into(),
        ),
        404 if text.contains("there is no WebSocket at this path") || text.contains("there is nothing at this path") => fault(
            format!("the request reaches jsocketd, but with the path {place}/app/…, which jsocketd does not have: {words}"),
            format!(
                "let {name} take {place} away (in nginx by the slash at the end of proxy_pass), or write path = {place:?} into \
                 [pusher] of jsocketd.toml"
            ),
        ),
        421 => fault(
            format!("421: {words}"),
            "let the proxy pass the Host on, and give jsocketd a configuration file".into(),
        ),
        403 => fault(
            format!("403: {name}, or a firewall in it, refuses WebSockets here: {words}"),
            format!("allow {place}/ there: in ModSecurity and the like, an exception for the path; at a CDN, WebSockets on"),
        ),
        401 => fault(
            format!("401: {name} asks for a password, which browsers do not send with WebSockets everywhere"),
            format!("exempt {place}/ from the password"),
        ),
        429 => fault(
            format!("429: there are too many connections or requests from here: {words}"),
            "wait a minute; where all visitors seem to have one address, see the hop \"client address\"".into(),
        ),
        502..=504 if text.contains("the server is full") => fault(
            format!("{status}: {words}"),
            "raise max_connections in [server] and LimitNOFILE in the unit".into(),
        ),
        503 if product == Some(Product::Apache) => fault(
            "503: Apache does not reach jsocketd, or as many pages are open as max= of its ProxyPass lets through".to_owned(),
            "start jsocketd (`systemctl start jsocketd`, `journalctl -u jsocketd`), and compare `listen` in jsocketd.toml with \
             the address of ProxyPass; if it runs, count the open pages (`jsocketd status`), and see the lines below for their \
             limit"
                .to_owned(),
        ),
        502..=504 => fault(
            format!("{status}: {name} does not reach jsocketd at the address that it has for it"),
            format!(
                "start jsocketd (`systemctl start jsocketd`, `journalctl -u jsocketd`), and compare `listen` in jsocketd.toml \
                 with the address at {name}; under SELinux, `setsebool -P httpd_can_network_connect 1`"
            ),
        ),
        300..400 => fault(
            format!(
                "{status}: {base} redirects to {}, and browsers do not follow that for a WebSocket",
                answer.header("location").unwrap_or("nowhere")
            ),
            "write the last address into Components, Websockets, Options, Address for Browsers, or exempt the path from the \
             redirect"
                .into(),
        ),
        200..300 | 404 => fault(
            format!("{status}: the site itself answers at {place}/, not jsocketd: {name} does not pass this path on"),
            "let it pass the path on".into(),
        ),
        _ => fault(
            format!("{status}: {words}"),
            "see the error log of the proxy, and `journalctl -u jsocketd`".into(),
        ),
    }
}

/// The first frame. Returns the socket id and the activity time-out.
fn greeting(client: &mut Client, target: &Target, findings: &mut Findings) -> Option<(String, u64)> {
    let frame = match client.next(Instant::now() + PATIENCE) {
        Ok(frame) if frame.event == "pusher:connection_established" => frame,
        Ok(frame) if frame.event == "pusher:error" => {
            let message = frame.data["message"].as_str().unwrap_or_default().to_owned();
            let code = frame.data["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            closed(code.unwrap_or_default(), &message, target, findings);
            return None;
        }
        Ok(frame) => {
            findings.fault(
                hop::GREETING,
                format!(
                    "the first frame is {:?} and no greeting of the Pusher protocol",
                    frame.event
                ),
                "something else than jsocketd answers at this address: compare the proxy's target with `listen`",
            );
            return None;
        }
        Err(End::Closed(code, reason)) => {
            closed(code, &reason, target, findings);
            return None;
        }
        Err(End::Late) => {
            findings.fault_with(
                hop::GREETING,
                format!(
                    "the handshake was answered, but nothing comes within {} s",
                    PATIENCE.as_secs()
                ),
                "the proxy holds the server's frames back: switch its buffering off for this path",
                target.snippet(None),
            );
            return None;
        }
        Err(End::Cut(why)) => {
            findings.fault(
                hop::GREETING,
                format!("the handshake was answered, then the connection ended: {why}"),
                "something in between does not pass frames of WebSockets on, or no jsocketd answers there",
            );
            return None;
        }
    };
    let socket_id = frame.data["socket_id"].as_str().unwrap_or_default().to_owned();
    let timeout = frame.data["activity_timeout"].as_u64().unwrap_or(120);
    if socket_id.is_empty() {
        findings.fault(
            hop::GREETING,
            "the greeting has no socket id",
            "something else than jsocketd answers at this address",
        );
        return None;
    }
    // A subscription is answered when the visitor is identified, and a visitor who may not stay is closed then.
    if let Err(End::Closed(code, reason)) = client.subscribe("jsocketd-doctor", None) {
        closed(code, &reason, target, findings);
        return None;
    }
    findings.ok(
        hop::GREETING,
        format!("the server greets with the socket id {socket_id}"),
    );
    Some((socket_id, timeout))
}

/// The server closed the connection at once.
fn closed(code: u16, reason: &str, target: &Target, findings: &mut Findings) {
    let (key, origin) = (&target.key, &target.origin);
    let mend = match code {
        4001 => format!(
            "the server has no app with the key {key}. Either jsocketd runs without the site (--joomla, or [joomla] root), or \
             [[apps]] of jsocketd.toml has another key than Components, Websockets, Options, App Key"
        ),
        4003 => "switch it on: Components, Websockets, Options, Real-time Updates".into(),
        4004 => "raise max_connections of the app in jsocketd.toml".into(),
        4009 => format!(
            "let the proxy pass Host and X-Forwarded-Proto on, or write allowed_origins = [\"{origin}\"] into [server] of \
             jsocketd.toml; compare $live_site in configuration.php with {origin}"
        ),
        4100 if reason.contains("offline") => {
            "Global Configuration, Site, Site Offline: No (public $offline = false; in configuration.php)".into()
        }
        4100 | 1001 => "wait until the server has room or has started again; see `jsocketd status`".into(),
        _ => "see `journalctl -u jsocketd`".into(),
    };
    findings.fault(
        hop::GREETING,
        format!("the server closes the connection with {code}: {reason}"),
        mend,
    );
}
