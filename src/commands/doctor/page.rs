//! The site's page, as a browser loads it: the name, the certificate, the way to https, the page itself, the package on
//! it, and the session cookie that it sets.

use std::time::Instant;

use serde_json::Value;

use super::address::Address;
use super::cookies::Jar;
use super::exchange::{Answer, ask};
use super::proxy::Product;
use super::report::{Findings, hop};
use super::wire::{Net, Trouble, server_name};

/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 10;

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the page gave.
#[derive(Default)]
pub struct Page {
    /// Where it is, behind all redirects.
    pub address: Option<Address>,
    /// The address and the key of the socket, if the page carries them.
    pub socket: Option<(String, String)>,
    /// The cookies.
    pub jar: Jar,
    /// The clock of the web server, in Unix seconds, and when the answer came.
    pub date: Option<(i64, Instant)>,
    /// The outermost proxy, or the web server.
    pub product: Option<Product>,
    /// The version of the package, if the page or the package's own file has it.
    pub package: Option<String>,
}

/// Loads the page.
pub fn visit(net: &mut Net, url: &Address, findings: &mut Findings) -> Page {
    let mut page = Page::default();
    if !reach(net, url, findings) {
        let why = "the site cannot be reached";
        findings.skip_rest(&[hop::TLS, hop::HTTPS, hop::PAGE, hop::PACKAGE], why);
        return page;
    }
    let Some((address, answer)) = follow(net, url, &mut page, findings) else {
        findings.skip_rest(&[hop::TLS, hop::HTTPS, hop::PACKAGE], "there is no page");
        return page;
    };
    if findings.of(hop::TLS).is_none() {
        findings.skip(
            hop::TLS,
            "the site is served over http; name it with https:// where it has a certificate",
        );
    }
    to_https(net, url, &address, findings);
    page.product = Product::of(&answer);
    page.date = answer.header("date").and_then(date).map(|date| (date, Instant::now()));
    judge(&answer, &address, findings);
    package(net, &answer, &address, &mut page, findings);
    page.address = Some(address);
    page
}

/// The name and its addresses.
fn reach(net: &mut Net, url: &Address, findings: &mut Findings) -> bool {
    let began = Instant::now();
    let addresses = match net.resolve(&url.host, url.port) {
        Ok(addresses) => addresses,
        Err(trouble) => {
            let mend = "see whether the name is spelled right, and what its DNS records are (`host NAME`)";
            findings.fault(hop::NAME, trouble.to_string(), mend);
            return false;
        }
    };
    let reached: Vec<_> = addresses.iter().map(|address| (address, net.reach(*address))).collect();
    let good = reached.iter().filter(|(_, stream)| stream.is_ok()).count();
    let failed: Vec<String> = reached
        .iter()
        .filter_map(|(_, stream)| stream.as_ref().err().map(ToString::to_string))
        .collect();
    let ms = began.elapsed().as_millis();
    match (good, failed.is_empty()) {
        (0, _) => findings.fault(
            hop::NAME,
            failed.join("; "),
            "see whether the web server runs and listens there, and whether a firewall lets its port through",
        ),
        (_, false) => findings.warn(
            hop::NAME,
            format!("{good} of {} addresses accept: {}", addresses.len(), failed.join("; ")),
            "some visitors wait for that address first: let the web server listen there too, or remove the DNS record",
        ),
        (_, true) => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            findings.ok(
                hop::NAME,
                format!("{} is {}, reached in {ms} ms", url.host, list.join(", ")),
            );
        }
    }
    good > 0
}

/// Loads the page and follows redirects. The certificate of the last host is judged.
fn follow(net: &mut Net, url: &Address, page: &mut Page, findings: &mut Findings) -> Option<(Address, Answer)> {
    let mut address = url.clone();
    let mut way = vec![address.to_string()];
    loop {
        let cookies = page.jar.line(&address);
        let (answer, wire) = match ask(net, "GET", &address, &cookies) {
            Ok(asked) => asked,
            Err(Trouble::Tls(why)) => {
                findings.fault(
                    hop::TLS,
                    format!("{}: TLS cannot be set up: {why}", address.authority()),
                    "see whether the port speaks TLS 1.2 or 1.3 and has a certificate for this name: `openssl s_client \
                     -connect HOST:443 -servername HOST`",
                );
                findings.skip(hop::PAGE, "TLS cannot be set up");
                return None;
            }
            Err(trouble) => {
                findings.fault(
                    hop::PAGE,
                    format!("{address}: {trouble}"),
                    "see whether the web server answers at all, and its error log",
                );
                return None;
            }
        };
        page.jar.take(&answer, &address);
        let location = answer
            .header("location")
            .filter(|_| (300..400).contains(&answer.status));
        let Some(location) = location.map(str::to_owned) else {
            if let (true, Ok(name)) = (address.tls, server_name(&address.host)) {
                net.tls.judge(&wire.chain(), &name, findings);
            }
            return Some((address, answer));
        };
        match address.join(&location) {
            Ok(next) if way.len() <= MOST_REDIRECTS => address = next,
            Ok(next) => {
                way.truncate(3);
                findings.fault(
                    hop::PAGE,
                    format!("redirects without an end: {}, …, {next}", way.join(", ")),
                    "compare $live_site and $force_ssl of configuration.php with the redirects of the web server: a proxy \
                     that ends TLS must send X-Forwarded-Proto: https, else PHP redirects to https for ever",
                );
                return None;
            }
            Err(why) => {
                findings.fault(
                    hop::PAGE,
                    format!("{address} redirects to {location:?}: {why}"),
                    "correct $live_site in configuration.php, or the redirect of the web server",
                );
                return None;
            }
        }
        way.push(address.to_string());
    }
}

/// Whether http leads to https.
fn to_https(net: &mut Net, url: &Address, page: &Address, findings: &mut Findings) {
    const MEND: &str = "let the web server redirect http to https, or in Joomla: Global Configuration, Server, Force HTTPS: \
                        Entire Site ($force_ssl = 2)";
    if !page.tls {
        return findings.skip(hop::HTTPS, "the site is served over http");
    }
    if !url.tls {
        return findings.ok(hop::HTTPS, format!("http leads to {page}"));
    }
    if !page.has_usual_port() {
        return findings.skip(
            hop::HTTPS,
            "the address has a port of its own, so http has no known one",
        );
    }
    let plain = Address {
        tls: false,
        port: 80,
        ..page.clone()
    };
    match ask(net, "GET", &plain, "") {
        Err(Trouble::NoConnection(_)) => findings.ok(hop::HTTPS, "nothing listens on the port of http"),
        Err(trouble) => findings.warn(hop::HTTPS, format!("{plain}: {trouble}"), MEND),
        Ok((answer, _)) => {
            let location = answer.header("location").unwrap_or_default();
            match plain.join(location) {
                Ok(next) if next.tls && (300..400).contains(&answer.status) => {
                    findings.ok(hop::HTTPS, format!("http leads to {next}"));
                }
                _ => findings.warn(
                    hop::HTTPS,
                    format!("{plain} answers {} and does not lead to https", answer.status),
                    MEND,
                ),
            }
        }
    }
}

/// Whether the answer is the page of a site that is on.
fn judge(answer: &Answer, address: &Address, findings: &mut Findings) {
    let text = answer.text();
    let says = format!("{address} answers {}", answer.status);
    match answer.status {
        200..300 if answer.is_page() => findings.ok(hop::PAGE, says),
        200..300 => findings.fault(
            hop::PAGE,
            format!("{says} with something that is no HTML page"),
            "name the address of a page of the site",
        ),
        503 if text.contains("user.login") || text.contains("com_users") => findings.fault(
            hop::PAGE,
            format!("{says}: the site is offline; only users who may log in then can connect"),
            "Global Configuration, Site, Site Offline: No (public $offline = false; in configuration.php)",
        ),
        503 => findings.fault(
            hop::PAGE,
            format!("{says}: the site is offline, or PHP is not available"),
            "Global Configuration, Site, Site Offline: No (public $offline = false;), and see the web server's error log",
        ),
        401 => findings.fault(
            hop::PAGE,
            format!("{says}: the web server asks for a password"),
            "browsers ask for it on the socket's path too: exempt that path, or take the password away",
        ),
        403 => findings.fault(
            hop::PAGE,
            format!("{says}: the web server, or a firewall in front of it, refuses this client"),
            "allow this machine's address there, or run the doctor from where visitors are",
        ),
        404 => findings.fault(hop::PAGE, says, "name the address of a page of the site"),
        _ => findings.fault(hop::PAGE, says, "see the web server's error log, and PHP's"),
    }
}

/// The package: its options on the page, or else its file of assets.
fn package(net: &mut Net, answer: &Answer, address: &Address, page: &mut Page, findings: &mut Findings) {
    let options = options(&answer.text());
    let ours = options
        .as_ref()
        .map_or(&Value::Null, |options| &options["com_websockets"]);
    let text = |name: &str| ours[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if let (Some(url), Some(key)) = (text("url"), text("key")) {
        page.socket = Some((url, key));
        page.package = text("module").and_then(|module| Some(module.rsplit_once('?')?.1.to_owned()));
        return version(page.package.as_deref(), "the page loads the script", findings);
    }
    let root = options
        .as_ref()
        .and_then(|options| options["system.paths"]["root"].as_str())
        .filter(|root| root.is_empty() || root.starts_with('/'))
        .map(|root| address.with_path(&format!("{root}/")));
    let folder = root.unwrap_or_else(|| {
        let path = address.bare_path();
        let end = path.find("index.php").unwrap_or(address.folder().len());
        address.with_path(&path[..end])
    });
    let assets = folder.with_path(&format!("{}media/com_websockets/joomla.asset.json", folder.folder()));
    let found = match ask(net, "GET", &assets, "") {
        Ok((found, _)) => found,
        Err(trouble) => return findings.skip(hop::PACKAGE, format!("{assets}: {trouble}")),
    };
    let manifest: Value = serde_json::from_slice(&found.body).unwrap_or_default();
    page.package = manifest["version"].as_str().map(str::to_owned);
    let is_ours = manifest["name"] == "com_websockets";
    match (found.status, is_ours) {
        (200, true) => version(
            page.package.as_deref(),
            "the package is installed, and this page does not load its script",
            findings,
        ),
        (401 | 403 | 429 | 500.., _) => findings.skip(
            hop::PACKAGE,
            format!("the page does not load the script, and {assets} answers {}", found.status),
        ),
        (status, _) => findings.fault(
            hop::PACKAGE,
            format!("the package is not installed: the page does not load its script, and {assets} answers {status}"),
            format!(
                "install pkg_websockets-{VERSION}.zip in System, Install, Extensions; then Components, Websockets, Status"
            ),
        ),
    }
}

/// Compares the package's version with this program's.
fn version(package: Option<&str>, says: &str, findings: &mut Findings) {
    let Some(package) = package else {
        return findings.skip(hop::PACKAGE, format!("{says}, but not in which version"));
    };
    match compare(package, VERSION) {
        Some(std::cmp::Ordering::Equal) => findings.ok(hop::PACKAGE, format!("{says}, version {package}")),
        Some(std::cmp::Ordering::Less) => findings.fault(
            hop::PACKAGE,
            format!("{says}, version {package}, and this jsocketd is {VERSION}: the package is older"),
            format!(
                "install pkg_websockets-{VERSION}.zip over it in System, Install, Extensions; where a cache or a minifier \
                 keeps old pages, empty it"
            ),
        ),
        Some(std::cmp::Ordering::Greater) => findings.fault(
            hop::PACKAGE,
            format!("{says}, version {package}, and this jsocketd is {VERSION}: jsocketd is older"),
            format!("install jsocketd {package}"),
        ),
        None => findings.skip(
            hop::PACKAGE,
            format!("{says}, but its version {package:?} cannot be read"),
        ),
    }
}

/// Compares two versions by their numbers.
pub fn compare(one: &str, other: &str) -> Option<std::cmp::Ordering> {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        let bare = text.split(['-', '+']).next().unwrap_or_default();
        bare.split('.').map(|part| part.parse().ok()).collect()
    };
    Some(numbers(one)?.cmp(&numbers(other)?))
}

/// Joomla's script options of a page.
fn options(html: &str) -> Option<Value> {
    let mut rest = html;
    while let Some(at) = rest.find("joomla-script-options") {
        rest = &rest[at..];
        let json = rest.split_once('>')?.1;
        let json = json.split_once("</script").map_or(json, |(json, _)| json);
        if let Ok(options) = serde_json::from_str::<Value>(json) {
            return Some(options);
        }
        rest = &rest["joomla-script-options".len()..];
    }
    None
}

/// The Unix seconds of a `Date` header: `Mon, 30 Nov 2026 18:33:02 GMT`.
pub fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_once(',')?.1.split_whitespace();
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let text = format!("{year}-{month:02}-{day:0>2}T{time}Z");
    Some(text.parse::<jiff::Timestamp>().ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joomlas_options_are_read_from_the_page() {
        let page = r#"<p class="joomla-script-options">x</p><script type="application/json" nonce="a"
            class="joomla-script-options new">{"com_websockets":{"url":"wss:\/\/a.example\/ws","key":"k"}}</script>"#;
        let options = options(page).expect("options");
        assert_eq!(options["com_websockets"]["url"], "wss://a.example/ws");
        assert!(super::options("<html><script class=\"joomla-script-options\">{").is_none());
    }

    #[test]
    fn versions_and_dates_are_compared_by_their_numbers() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        for (one, other, order) in [
            ("0.2.0", "0.2.0", Some(Equal)),
            ("0.9.0", "0.10.0", Some(Less)),
            ("1.0.0-beta1", "0.2.0", Some(Greater)),
            ("x", "0.2.0", None),
        ] {
            assert_eq!(compare(one, other), order);
        }
        assert_eq!(date("Mon, 30 Nov 2026 18:33:02 GMT"), Some(1_796_063_582));
        assert_eq!(date("yesterday"), None);
    }
}
