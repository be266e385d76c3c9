//! `jsocketd doctor`: proves the whole chain of a site from the outside in, one line a hop, and names the line to mend.
//! The outer hops see the site as a browser does and read nothing of the server's configuration. The inner hops need
//! the site's folder and database. A fault does not stop the hops that do not depend on it.
//!
//! `page` is the site, `socket` the way through the proxy, `seen` what the server sees, `inside` the database,
//! `visitor` the session and its rights, `delivery` an event on its way. `report` prints. The doctor writes two rows
//! into the outbox table, for a channel of its own.

mod address;
mod client;
mod clocks;
mod cookies;
mod delivery;
mod exchange;
mod idle;
mod inside;
mod page;
mod proxy;
mod report;
mod seen;
mod socket;
mod tls;
mod visitor;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use jsocketd::site::parameters::Credentials;

use self::address::Address;
use self::clocks::Clocks;
use self::delivery::Delivery;
use self::idle::Idle;
use self::inside::{Inside, Site};
use self::page::Page;
use self::report::{Findings, Verdict, hop};
use self::seen::{Seen, Way};
use self::socket::{Socket, Target};
use self::tls::Tls;
use self::wire::Net;
use crate::cli::Doctor;
use crate::commands::complain;

/// Where the server listens unless its configuration says otherwise.
const UPSTREAM: &str = "127.0.0.1:8080";

/// The exit code when the doctor cannot run.
const CANNOT_RUN: u8 = 2;

/// The hops that need a socket.
const OF_SOCKET: [&str; 9] = [
    hop::UPGRADE,
    hop::GREETING,
    hop::IDLE,
    hop::SECRET,
    hop::CLIENT,
    hop::ORIGIN,
    hop::IDENTITY,
    hop::ACCESS,
    hop::DELIVERY,
];

/// Examines a site. Returns the exit code: see `jsocketd doctor --help`.
pub fn doctor(flags: Doctor) -> ExitCode {
    match examine(flags) {
        Ok(findings) => {
            findings.finish();
            ExitCode::from(u8::from(findings.count(Verdict::Fault) > 0))
        }
        Err(why) => {
            complain(why);
            CANNOT_RUN.into()
        }
    }
}

/// What the outer hops gave.
struct Outside {
    page: Page,
    target: Option<Target>,
    socket: Option<Socket>,
    idle: Option<Idle>,
}

impl Outside {
    /// Looks at the silent connection.
    fn look(&mut self) {
        if let Some(idle) = &mut self.idle {
            idle.look();
        }
    }

    /// The way to the server.
    fn way(&self) -> Way {
        let socket = self.socket.as_ref();
        Way {
            own: socket.and_then(|socket| socket.own),
            product: socket.and_then(|socket| socket.product).or(self.page.product),
        }
    }
}

fn examine(flags: Doctor) -> Result<Findings, String> {
    let mut net = Net::new(Tls::new(&flags.ca)?);
    let mut inside = Inside::look(flags.config, flags.joomla)?;
    let url = url(flags.url.as_deref(), &inside)?;
    let mut findings = Findings::new(flags.json);
    findings.note(&format!(
        "{url}: this takes up to {} s, since a silent connection is watched that long\n",
        flags.idle
    ));
    let page = page::visit(&mut net, &url, &mut findings);
    let named = flags.socket.zip(flags.key);
    let target = target(&page, &url, named, inside.site(), &mut findings);
    let mut outside = Outside {
        page,
        target,
        socket: None,
        idle: None,
    };
    connect(&mut net, &mut outside, Duration::from_secs(flags.idle), &mut findings);
    inner(&mut net, &mut inside, &mut outside, &mut findings);
    if let (Some(mut idle), Some(target), Some(socket)) = (outside.idle, outside.target, outside.socket) {
        idle.finish();
        idle.judge(&target, &socket, &mut findings);
    }
    findings.skip_rest(&hop::ALL, "a hop before it does not work");
    Ok(findings)
}

/// The cookie and the socket.
fn connect(net: &mut Net, outside: &mut Outside, idle: Duration, findings: &mut Findings) {
    let Some(target) = &outside.target else {
        return findings.skip_rest(&[hop::COOKIE], "there is no address of the socket");
    };
    match &outside.page.address {
        Some(_) => visitor::cookie(&outside.page.jar, target, findings),
        None => findings.skip(hop::COOKIE, "there is no page"),
    }
    if is_mixed(target, findings) {
        return findings.skip_rest(&[hop::GREETING, hop::IDLE], "browsers do not open this socket");
    }
    let Some((socket, silent)) = socket::open(net, target, &outside.page.jar, outside.page.product, findings) else {
        return;
    };
    outside.socket = Some(socket);
    match idle.is_zero() {
        true => findings.skip(hop::IDLE, "--idle 0"),
        false => outside.idle = Some(Idle::new(silent, idle)),
    }
}

/// The address of the site: the one that was named, or the site's own.
fn url(named: Option<&str>, inside: &Inside) -> Result<Address, String> {
    let live_site = inside.site().and_then(|site| site.read.site.live_site.as_deref());
    let url = named.or(live_site).ok_or(
        "name the site's public address, like `jsocketd doctor https://www.example.org/`: without $live_site in \
         configuration.php it is not known here",
    )?;
    let address: Address = url
        .parse()
        .map_err(|why| format!("{url:?} is no address of a site: {why}"))?;
    match address.socket {
        true => Err("name the address of the site's page, with https:// or http://; --socket names the socket".into()),
        false => Ok(address),
    }
}

/// The socket: as named, as on the page, or as in the component's options.
fn target(
    page: &Page,
    url: &Address,
    named: Option<(String, String)>,
    site: Option<&Site>,
    findings: &mut Findings,
) -> Option<Target> {
    let of_component = || {
        let site = site?;
        Some((
            site.option("server_url")?.to_owned(),
            site.option("app_key")?.to_owned(),
        ))
    };
    let Some((base, key)) = named.or_else(|| page.socket.clone()).or_else(of_component) else {
        let why = match findings.is_faulty(hop::PACKAGE) || page.address.is_none() {
            true => "the page has no address of the socket",
            false => {
                "the page does not load the script, so it has no address of the socket: name a page that does, or --socket and \
                 --key, or --joomla on the server's machine"
            }
        };
        findings.skip_rest(&OF_SOCKET, why);
        return None;
    };
    let bad = |why: &str| format!("the socket's address is {base:?}: {why}");
    let fault = match base.parse::<Address>() {
        Ok(address) if address.socket => {
            let upstream = site.map_or_else(|| UPSTREAM.to_owned(), Site::upstream);
            return Some(Target::new(
                address,
                &key,
                page.address.as_ref().unwrap_or(url),
                upstream,
            ));
        }
        Ok(_) => bad("it must begin with wss:// or ws://"),
        Err(why) => bad(why),
    };
    findings.fault(
        hop::UPGRADE,
        fault,
        format!(
            "Components, Websockets, Options, Address for Browsers: {}://{}/ws",
            if url.tls { "wss" } else { "ws" },
            url.authority()
        ),
    );
    findings.skip_rest(&OF_SOCKET, "there is no address of the socket");
    None
}

/// Whether browsers refuse the socket because the page is encrypted and the socket is not.
fn is_mixed(target: &Target, findings: &mut Findings) -> bool {
    let is_mixed = target.origin.starts_with("https:") && !target.base.tls;
    if is_mixed {
        findings.fault(
            hop::UPGRADE,
            format!("the page is https and the socket {}: browsers refuse that", target.base),
            format!(
                "Components, Websockets, Options, Address for Browsers: wss://{}{}",
                target.base.authority(),
                target.base.bare_path()
            ),
        );
    }
    is_mixed
}

/// The hops that need the inner side.
fn inner(net: &mut Net, inside: &mut Inside, outside: &mut Outside, findings: &mut Findings) {
    let mut clocks = Clocks::default();
    clocks.note("the clock of the web server and PHP", outside.page.date);
    if let Inside::Closed(_) = inside {
        clocks.judge(findings);
    }
    let has_database = inside::database(inside, findings);
    let Inside::Open(site) = inside else { return };
    outside.look();
    let credentials = site.credentials();
    if !has_database && credentials.is_none() {
        findings.skip(hop::SECRET, "the component's options cannot be read: see \"database\"");
    }
    let seen = see(net, outside, credentials.as_ref(), findings);
    clocks.note("the database's clock", site.clock);
    clocks.note("the clock of jsocketd", seen.as_ref().and_then(|seen| seen.clock));
    if !findings.is_faulty(hop::CLOCKS) {
        clocks.judge(findings);
    }
    if !has_database {
        return;
    }
    visitor::session(site, &outside.page.jar, findings);
    if let (Some(seen), Some(target)) = (&seen, &outside.target) {
        visitor::identity(site, seen, target, &outside.page.jar, findings);
    }
    outside.look();
    match (&mut outside.socket, &credentials) {
        (Some(socket), Some(credentials)) => {
            visitor::access(site, &mut socket.client, findings);
            let delivery = Delivery {
                site,
                client: &mut socket.client,
                socket_id: &socket.socket_id,
                credentials,
                seen: seen.as_ref(),
            };
            delivery.check(net, findings);
        }
        (Some(socket), None) => {
            visitor::access(site, &mut socket.client, findings);
            delivery::write_only(site, findings);
        }
        (None, _) => delivery::write_only(site, findings),
    }
    outside.look();
    inside::versions(site, seen.as_ref().map(|seen| seen.status.version.as_str()), findings);
}

/// What the server sees through the proxy.
fn see(
    net: &mut Net,
    outside: &mut Outside,
    credentials: Option<&Credentials>,
    findings: &mut Findings,
) -> Option<Seen> {
    let (target, way) = (outside.target.as_ref()?, outside.way());
    let Some(credentials) = credentials else {
        if findings.of(hop::SECRET).is_some() {
            return None;
        }
        findings.fault(
            hop::SECRET,
            "neither the component nor jsocketd.toml has credentials of the app",
            "Components, Websockets, Status, Rotate the Secret; or write id, key and secret into [[apps]]",
        );
        return None;
    };
    let seen = seen::status(net, target, &outside.page.jar, credentials, findings)?;
    seen::client(net, target, &seen, &way, credentials, findings);
    seen::origin(target, &seen, way.product, findings);
    outside.look();
    Some(seen)
}
