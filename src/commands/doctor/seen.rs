//! What the server sees through the proxy. The signed status of the app tells it: the client's address, with and
//! without a forged header, the host, the scheme, the origin, the session cookie, and the server's clock.

use std::net::IpAddr;
use std::time::Instant;

use jsocketd::protocol::signature;
use jsocketd::site::parameters::Credentials;
use serde::Deserialize;
use serde_json::Value;

use super::address::Address;
use super::cookies::Jar;
use super::exchange::{Answer, ask};
use super::proxy::{Product, prefix};
use super::report::{Findings, hop};
use super::socket::Target;
use super::wire::Net;
use crate::commands::http::on_one_line;
use crate::commands::now;

/// An address of the documentation (RFC 5737), which no client has.
const FORGED: &str = "198.51.100.77";

/// The status of the app, as far as the doctor needs it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    product: String,
    /// The version of the server.
    pub version: String,
    /// Milliseconds since 1970; 0: the server is older than this field.
    time: u64,
    request: Option<Request>,
    /// The outbox table.
    pub outbox: Value,
    /// The site.
    pub site: Value,
    /// The database.
    pub database: Value,
}

/// The request as the server saw it.
#[derive(Clone, Debug, Deserialize)]
struct Request {
    peer: Option<IpAddr>,
    proxied: bool,
    client: Option<IpAddr>,
    host: Option<String>,
    scheme: String,
    origin: String,
    session: Option<String>,
}

/// What the status told.
pub struct Seen {
    /// The status.
    pub status: Status,
    /// The server's clock in Unix seconds, and when it was read.
    pub clock: Option<(i64, Instant)>,
    /// The proxy that the status came through, by its headers. The server itself has none of them.
    product: Option<Product>,
}

impl Seen {
    /// Whether the server saw a session cookie: `sent`, `bad` or `none`. `None`: the app is not the site's.
    pub fn session(&self) -> Option<&str> {
        self.status.request.as_ref()?.session.as_deref()
    }
}

/// A signed address: `method` on `path`, as the server sees it, at the place of `base`.
fn signed(method: &str, base: &Address, folder: &str, path: &str, credentials: &Credentials) -> Address {
    let seconds = now().unix_ms / 1000;
    let query = format!("auth_key={}&auth_timestamp={seconds}&auth_version=1.0", credentials.key);
    let text = format!("{method}\n{path}\n{query}");
    let signature = signature::hmac_hex(&credentials.secret, &[text.as_bytes()]);
    let own = path.strip_prefix(folder).filter(|_| !folder.is_empty()).unwrap_or(path);
    Address {
        socket: false,
        ..base.with_path(&format!("{folder}{own}?{query}&auth_signature={signature}"))
    }
}

/// Sends a signed request. Most proxies take the path away, and some leave it: the signature is over what arrives.
///
/// # Errors
/// See [`super::wire::Trouble`].
pub fn request(
    net: &mut Net,
    method: &str,
    base: &Address,
    resource: &str,
    credentials: &Credentials,
    lines: &str,
) -> Result<Answer, super::wire::Trouble> {
    let folder = prefix(base).to_owned();
    let bare = format!("/apps/{}/{resource}", credentials.id);
    let to = signed(method, base, &folder, &bare, credentials);
    let (answer, _) = ask(net, method, &to, lines)?;
    let is_refused = answer.status == 401 && answer.text().contains("Invalid signature");
    if folder.is_empty() || !(is_refused || answer.status == 404) {
        return Ok(answer);
    }
    let to = signed(method, base, &folder, &format!("{folder}{bare}"), credentials);
    let (again, _) = ask(net, method, &to, lines)?;
    Ok(if again.status == 200 { again } else { answer })
}

/// Asks for the status as the page's browser would, and judges the secret.
pub fn status(
    net: &mut Net,
    target: &Target,
    jar: &Jar,
    credentials: &Credentials,
    findings: &mut Findings,
) -> Option<Seen> {
    let lines = format!("Origin: {}\r\n{}", target.origin, jar.line(&target.address));
    let answer = match request(net, "GET", &target.base, "status", credentials, &lines) {
        Ok(answer) => answer,
        Err(trouble) => {
            findings.fault(
                hop::SECRET,
                format!("the signed request for the status: {trouble}"),
                "see `journalctl -u jsocketd` and the proxy's error log",
            );
            return None;
        }
    };
    let read: Option<Status> = serde_json::from_slice(&answer.body).ok();
    if let (200, Some(status)) = (answer.status, read.filter(|status| status.product == "jsocketd")) {
        findings.ok(
            hop::SECRET,
            "the server accepts the signature of the component's secret",
        );
        let seconds = i64::try_from(status.time / 1000).ok().filter(|seconds| *seconds > 0);
        let clock = seconds.map(|seconds| (seconds, Instant::now()));
        return Some(Seen {
            status,
            clock,
            product: Product::of(&answer),
        });
    }
    refused(&answer, target, findings);
    None
}

fn refused(answer: &Answer, target: &Target, findings: &mut Findings) {
    let text = answer.text();
    let error: Value = serde_json::from_str(&text).unwrap_or_default();
    let words = on_one_line(error["error"].as_str().unwrap_or(&text));
    let place = prefix(&target.base);
    match answer.status {
        401 if text.contains("Invalid signature") => findings.fault(
            hop::SECRET,
            "the server refuses the signature: App Secret in the component's options is not the server's secret",
            "remove `secret` from [[apps]] in jsocketd.toml, and the server takes the component's; or write the same one into \
             Components, Websockets, Options, App Secret",
        ),
        401 if text.contains("Timestamp expired") => findings.fault(
            hop::CLOCKS,
            format!("the server's clock and this machine's are apart: {words}"),
            "let both machines follow a time server: `timedatectl set-ntp true`, chrony or systemd-timesyncd",
        ),
        401 if text.contains("Unknown auth_key") => findings.fault(
            hop::SECRET,
            format!("the server has another key for this app: {words}"),
            "write the same key into [[apps]] of jsocketd.toml and Components, Websockets, Options, App Key",
        ),
        404 if text.contains("There is no app") => findings.fault(
            hop::SECRET,
            format!("the server has no such app: {words}"),
            "start jsocketd with the site's folder (--joomla, or [joomla] root), and compare [[apps]] with App ID in the \
             component's options",
        ),
        status => findings.skip(
            hop::SECRET,
            format!("the proxy does not pass {place}/apps/ on to jsocketd, which browsers do not need: {status}: {words}"),
        ),
    }
}

/// The way to the server.
#[derive(Clone, Copy)]
pub struct Way {
    /// Our own address on it.
    pub own: Option<IpAddr>,
    /// The proxy.
    pub product: Option<Product>,
}

/// Whether the server sees the client, and whether a client can pretend to be another one.
pub fn client(
    net: &mut Net,
    target: &Target,
    seen: &Seen,
    way: &Way,
    credentials: &Credentials,
    findings: &mut Findings,
) {
    let Way { own, product } = *way;
    let Some(request) = &seen.status.request else {
        let says = "the server is too old to say what it sees";
        return findings.skip_rest(&[hop::CLIENT, hop::ORIGIN], says);
    };
    // The proxy names a trusted address behind the forged one then, so both a right and a wrong proxy look the same.
    if own.is_some_and(|own| own.is_loopback()) {
        return findings.skip(
            hop::CLIENT,
            "the name leads to a loopback address here, so the client is the machine itself; run it from another machine",
        );
    }
    let name = product.map_or("the proxy".to_owned(), |product| product.to_string());
    let lines = format!("Origin: {}\r\nX-Forwarded-For: {FORGED}\r\n", target.origin);
    let forged = self::request(net, "GET", &target.base, "status", credentials, &lines).ok();
    let forged: Option<Status> = forged.and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let pretended = forged
        .and_then(|status| status.request)
        .and_then(|request| request.client);
    let (client, peer) = (request.client, request.peer);
    if pretended.is_some_and(|client| client.to_string() == FORGED) {
        return findings.fault_with(
            hop::CLIENT,
            format!(
                "{name} passes the client's own X-Forwarded-For on: every client can pretend to have any address, and escape \
                 the limits"
            ),
            "let it append the address of its peer ($proxy_add_x_forwarded_for in nginx, option forwardfor in HAProxy)",
            target.snippet(product),
        );
    }
    let Some(client) = client else {
        return findings.fault_with(
            hop::CLIENT,
            format!(
                "{name} does not say in X-Forwarded-For whom it serves: the server does not see its clients, so no limit by \
                 address works"
            ),
            "let it send X-Forwarded-For",
            target.snippet(product),
        );
    };
    if !request.proxied && Some(client) != own && (seen.product.is_some() || is_private(client)) {
        let peer = peer.map_or_else(String::new, |peer| peer.to_string());
        return findings.fault_with(
            hop::CLIENT,
            format!("the server takes the proxy {peer} for the client: all visitors together have one address there"),
            "name the proxy, or the network of its container, in [server] of jsocketd.toml, and reload the server",
            format!("trusted_proxies = [\"127.0.0.1\", \"::1\", \"{peer}\"]"),
        );
    }
    match own {
        Some(own) if own != client && !is_private(own) => findings.warn(
            hop::CLIENT,
            format!("the server sees {client}, and this machine's address on the way to it is {own}"),
            "if another proxy or CDN is in front of the first one, let the first one take the client's address from it \
             (set_real_ip_from and real_ip_header in nginx, mod_remoteip in Apache); if this machine is behind NAT, all is well",
        ),
        Some(own) if own != client => findings.ok(
            hop::CLIENT,
            format!("the server sees {client}, which must be the public address of this machine ({own} is behind NAT)"),
        ),
        _ => findings.ok(hop::CLIENT, format!("the server sees the client as {client}, and no forged address")),
    }
}

/// Whether the server takes the page for the site's own.
pub fn origin(target: &Target, seen: &Seen, product: Option<Product>, findings: &mut Findings) {
    let Some(request) = &seen.status.request else { return };
    let name = product.map_or("the proxy".to_owned(), |product| product.to_string());
    let host = request.host.as_deref().unwrap_or("no host");
    let wanted = target.base.authority();
    let bare = |host: &str| {
        host.rsplit_once(':')
            .map_or(host.to_owned(), |(name, _)| name.to_owned())
    };
    let origin = &target.origin;
    if request.origin != "own" {
        let (says, mend) = match host.eq_ignore_ascii_case(&wanted) {
            false => (
                format!(
                    "the server takes {origin} for another site's page: {name} names the host {host} and not {wanted}"
                ),
                "let it pass the Host on, as it came",
            ),
            true => (
                format!("the server takes {origin} for another site's page, so every visitor from it is a guest"),
                "correct $live_site in configuration.php, or write allowed_origins of [server] in jsocketd.toml",
            ),
        };
        return findings.fault_with(hop::ORIGIN, says, mend, target.snippet(product));
    }
    if !bare(host).eq_ignore_ascii_case(&bare(&wanted)) {
        return findings.warn(
            hop::ORIGIN,
            format!("{origin} is the site's own, but {name} names the host {host} and not {wanted}"),
            "let it pass the Host on, as it came (proxy_set_header Host $http_host; in nginx, ProxyPreserveHost On in Apache)",
        );
    }
    if target.base.tls && request.scheme != "https" {
        return findings.warn(
            hop::ORIGIN,
            format!("{name} does not say that visitors come by https: pages of http are taken for the site's own too"),
            "let it send X-Forwarded-Proto (proxy_set_header X-Forwarded-Proto $scheme; in nginx, RequestHeader set \
             X-Forwarded-Proto expr=%{REQUEST_SCHEME} in Apache)",
        );
    }
    findings.ok(hop::ORIGIN, format!("{origin} is the site's own for the server"));
}

/// Whether an address belongs to a network of its own, behind NAT.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0b1100_0000 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
