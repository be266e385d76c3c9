//! Looks at the site and the machine, says what it has found, and plans the changes that set the site up.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use jsocketd::config::{Config, Origin, Sources};
use rustix::process::geteuid;

use super::accounts::{Access, Accounts, User};
use super::change::Rights;
use super::edit::apply;
use super::manifest::{Records, Want};
use super::names::Names;
use super::settings;
use super::site::Site;
use super::unit::{self, Systemd};
use super::webserver::{Host, Route, Sought, WebServer};
use super::{Steps, found, say};
use crate::cli::Setup;
use crate::commands::snippets::{Proxy, lines};

/// The user and group that the server runs as.
const USER: &str = "jsocketd";

/// The folder of our configuration files.
const FOLDER: &str = "/etc/jsocketd";

/// The address for PHP that the component has at first.
const FIRST_UPSTREAM: &str = "127.0.0.1:8080";

/// Plans the changes for the site in `folder`.
///
/// # Errors
/// Something is in the way; a sentence says what to do.
pub fn plan(folder: &Path, flags: &Setup, names: &Names, records: &mut Records) -> Result<Steps, Box<dyn Error>> {
    let accounts = Accounts::of_machine();
    let user = accounts.user(USER);
    if user.is_none() && !flags.dry_run {
        return Err(format!(
            "there is no user {USER}, which the server runs as. Make it, and run this again:\n\
             useradd --system --no-create-home --shell /usr/sbin/nologin {USER}"
        )
        .into());
    }
    let group = user.as_ref().map_or(0, |user| user.group);
    let file = names.configuration();
    let site = Site::read(folder, Some(file.as_path()).filter(|file| file.exists()))?;
    let groups = groups(&site, user.as_ref(), &accounts)?;
    let systemd = Systemd::find();
    let wanted = flags.web_server.as_deref().and_then(Proxy::named);
    let configured = flags.url.clone().or_else(|| site.address.clone());
    let host = configured.as_ref().map(|address| address.host.as_str());
    let sought = Sought {
        folder: &site.folder,
        host,
    };
    let (server, hosts) = WebServer::of_site(&sought, wanted)?.unzip();
    let hosts = hosts.unwrap_or_default();
    let address = configured.clone().or_else(|| address_of(&hosts));

    let (want, config) = configuration(names, &file, &site, group)?;
    let mut wants = vec![Want::Folder(
        FOLDER.into(),
        Rights {
            mode: 0o750,
            user: 0,
            group,
        },
    )];
    wants.extend(want);
    if systemd != Systemd::Missing {
        let program = std::env::current_exe()?;
        if unit::origin(names, records) == unit::Origin::Setup {
            can_run(&program, user.as_ref())?;
        }
        wants.extend(unit::wants(names, records, &program, &groups, &accounts));
    }
    let path = site.socket.clone();
    let route = Route {
        upstream: settings::upstream(&config)?,
        path,
    };
    let needs = server
        .as_ref()
        .map(|server| server.needs(&hosts, names, &route))
        .transpose()?
        .unwrap_or_default();
    wants.extend(needs.wants);
    let mut notes = needs.notes;
    if route.upstream.starts_with("unix:") {
        notes.push(format!(
            "the web server's user needs the group {USER} for the Unix socket: usermod -aG {USER} www-data"
        ));
    }

    found("site", &site.root);
    found("configuration.php", &site.describe_file(&accounts));
    let source = match (&flags.url, &site.address) {
        (Some(_), _) => "--url",
        (None, Some(_)) => "$live_site",
        (None, None) => "the web server's name of the host; name another one with --url",
    };
    let told = address.as_ref().map(|address| format!("{address} ({source})"));
    found(
        "address",
        &told.unwrap_or_else(|| "not known; name it with --url".to_owned()),
    );
    found("PHP", &site.php_user(&accounts));
    found(
        "web server",
        &server
            .as_ref()
            .map_or("none that serves this folder".to_owned(), WebServer::describe),
    );
    for host in &hosts {
        let name = host.names.first().map_or("a host without a name", String::as_str);
        let tls = if host.has_tls { ", with TLS" } else { "" };
        found("", &format!("{name} in {}{tls}", host.file.display()));
    }
    found("systemd", systemd.describe());
    if let (unit::Origin::There(path), true) = (unit::origin(names, records), systemd != Systemd::Missing) {
        found(
            "unit",
            &format!("{} is there already and stays as it is", path.display()),
        );
    }
    found(
        "jsocketd",
        &format!("{}, behind {} at {}", file.display(), route.path, route.upstream),
    );
    for note in &notes {
        say(&format!("note: {note}"));
    }

    if let Some(server) = &server {
        records.own.web_server = server.proxy().to_string();
    }
    let changes = records.plan(wants)?;
    let tester = server.as_ref().map(WebServer::proxy);
    let mut next = needs.by_hand;
    next.extend(commands(names, systemd, tester, !changes.is_empty()));
    if server.is_none() {
        next.push(by_hand(wanted, &route));
    }
    next.extend(in_joomla(&route, address.as_ref()));
    Ok(Steps {
        changes,
        tester,
        nothing: "Everything is in its place already: nothing was written.",
        check: check(names, user.as_ref(), &groups)?,
        next,
    })
}

/// The groups with which the server may read configuration.php, beyond those that its user has.
fn groups(site: &Site, user: Option<&User>, accounts: &Accounts) -> Result<BTreeSet<u32>, String> {
    let Some(user) = user else { return Ok(BTreeSet::new()) };
    let refused = match site.access(user)? {
        Access::Granted => return Ok(BTreeSet::new()),
        Access::WithGroups(groups) if groups.contains(&0) => "the group root",
        Access::WithGroups(groups) => return Ok(groups),
        Access::Refused(path) => {
            return Err(format!(
                "no group lets the user {USER} through {}, and `jsocketd setup` does not change the site's permissions. \
                 Run `setfacl -m u:{USER}:{} {}` and this again, or write the values into [joomla] and [database]",
                path.display(),
                if path == site.file { "r" } else { "x" },
                path.display()
            ));
        }
    };
    Err(format!(
        "the user {USER} could read {} only with {refused}, which a server should not have; give the file or its folder \
         to a group of its own",
        site.describe_file(accounts)
    ))
}

/// Refuses a program that the server's user cannot start, as in a home folder.
fn can_run(program: &Path, user: Option<&User>) -> Result<(), String> {
    let access = user.map(|user| user.access(program)).transpose();
    match access.map_err(|why| format!("{}: {why}", program.display()))? {
        None | Some(Access::Granted) => Ok(()),
        Some(_) => Err(format!(
            "the user {USER} cannot start {0}. Copy it first: install -m 0755 {0} /usr/local/bin/jsocketd; then run \
             /usr/local/bin/jsocketd setup",
            program.display()
        )),
    }
}

/// What is wanted of the configuration file, and the configuration then.
fn configuration(names: &Names, file: &Path, site: &Site, group: u32) -> Result<(Option<Want>, Config), String> {
    let parse = |text: &str| Sources::parse(file, text).map_err(|why| why.to_string());
    let (want, text) = if file.exists() {
        let text = fs::read_to_string(file).map_err(|why| format!("{}: {why}", file.display()))?;
        match settings::name_root(file, &text, &site.root)? {
            None => (None, text),
            Some(hunk) => {
                let after = apply(text.as_bytes(), std::slice::from_ref(&hunk))?;
                let after = String::from_utf8_lossy(&after).into_owned();
                (Some(Want::Lines(file.to_owned(), vec![hunk], 0)), after)
            }
        }
    } else {
        let text = settings::new(names, &site.root, settings::free_port(&other_configurations())?);
        let rights = Rights {
            mode: 0o640,
            user: 0,
            group,
        };
        (Some(Want::File(file.to_owned(), text.clone().into(), rights)), text)
    };
    let config = parse(&text)?;
    match config.pusher.path.is_empty() {
        true => Ok((want, config)),
        false => Err(format!(
            "[pusher] path is {:?} in {}, but the web server takes {} away from every path: make it empty",
            config.pusher.path,
            file.display(),
            site.socket
        )),
    }
}

/// The configurations of this machine that can be read.
fn other_configurations() -> Vec<Config> {
    let entries = fs::read_dir(FOLDER)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let files = entries.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    files
        .filter_map(|path| Sources::parse(&path, &fs::read_to_string(&path).ok()?).ok())
        .collect()
}

/// The address that the hosts answer at: the first name that is no pattern.
fn address_of(hosts: &[Host]) -> Option<Origin> {
    let is_name = |name: &&String| name.contains('.') && !name.contains('*') && !name.starts_with('.');
    let with_tls = hosts.iter().filter(|host| host.has_tls).map(|host| ("https", host));
    let mut all = with_tls.chain(hosts.iter().filter(|host| !host.has_tls).map(|host| ("http", host)));
    all.find_map(|(scheme, host)| format!("{scheme}://{}", host.names.iter().find(is_name)?).parse().ok())
}

/// The command that checks the result as the server's user, with the groups of the unit.
fn check(names: &Names, user: Option<&User>, groups: &BTreeSet<u32>) -> Result<Vec<String>, Box<dyn Error>> {
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    let mut command = Vec::new();
    if let (Some(user), true) = (user, geteuid().is_root()) {
        let groups: Vec<String> = user.groups.union(groups).map(u32::to_string).collect();
        command.push("setpriv".to_owned());
        command.push(format!("--reuid={}", user.id));
        command.push(format!("--regid={}", user.group));
        command.push(format!("--groups={}", groups.join(",")));
    }
    let config = names.configuration().to_string_lossy().into_owned();
    command.extend([program, "check".to_owned(), "--config".to_owned(), config]);
    Ok(command)
}

/// The commands that bring the changes into force.
fn commands(names: &Names, systemd: Systemd, proxy: Option<Proxy>, has_changed: bool) -> Vec<String> {
    let (unit, file) = (names.unit(), names.configuration());
    let start = match systemd {
        Systemd::Missing => format!(
            "start the server as the user {USER}: jsocketd serve --config {}",
            file.display()
        ),
        _ if unit::is_enabled(names) => format!("systemctl daemon-reload && systemctl restart {unit}"),
        _ => format!("systemctl daemon-reload && systemctl enable --now {unit}"),
    };
    let reload = proxy.map(|proxy| super::webserver::reload(proxy, systemd != Systemd::Missing).to_owned());
    if has_changed {
        [start].into_iter().chain(reload).collect()
    } else {
        Vec::new()
    }
}

/// What a person puts into a web server that this program does not know.
fn by_hand(wanted: Option<Proxy>, route: &Route) -> String {
    let installed = Proxy::ALL
        .into_iter()
        .filter(|proxy| super::webserver::is_installed(*proxy));
    let mut proxies: Vec<Proxy> = wanted.map_or_else(|| installed.collect(), |proxy| vec![proxy]);
    if proxies.is_empty() {
        proxies = Proxy::ALL.to_vec();
    }
    let texts = proxies.into_iter().map(|proxy| {
        format!(
            "for {proxy}, put in and reload it:\n\n{}",
            lines(proxy, &route.upstream, &route.path)
        )
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// What remains to be done in Joomla, and the proof.
fn in_joomla(route: &Route, address: Option<&Origin>) -> Vec<String> {
    let (site, socket) = match address {
        None => ("https://HOST".to_owned(), format!("wss://HOST{}", route.path)),
        Some(address) => {
            let site = address.to_string();
            let socket = site.replacen("http", "ws", 1) + &route.path;
            (site, socket)
        }
    };
    let php = match route.upstream.as_str() {
        FIRST_UPSTREAM => String::new(),
        upstream if upstream.starts_with("unix:") => {
            ", and \"Address for PHP\" needs a TCP address in `listen`".to_owned()
        }
        upstream => format!(", \"Address for PHP\" http://{upstream}"),
    };
    vec![
        "in Joomla, System, Install, Extensions: install the package pkg_websockets, if it is not there yet".to_owned(),
        format!("in Joomla, Components, Websockets, Options: \"Address for Browsers\" {socket}{php}"),
        format!("jsocketd doctor {site}/"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_a_host_with_tls() {
        let host = |names: &[&str], has_tls| Host {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            has_tls,
            ..Host::default()
        };
        let address = |hosts: &[Host]| address_of(hosts).map(|address| address.to_string());
        let plain = host(&["_", "*.example.org", ".example.org", "a.example.org"], false);
        assert_eq!(
            address(std::slice::from_ref(&plain)).as_deref(),
            Some("http://a.example.org")
        );
        let secure = host(&["b.example.org"], true);
        assert_eq!(address(&[plain, secure]).as_deref(), Some("https://b.example.org"));
        assert_eq!(address(&[host(&["_"], true)]), None);
    }

    #[test]
    fn the_last_lines_name_what_to_enter() {
        let lines = |upstream: &str, address: Option<&str>| {
            let route = Route {
                path: "/ws".into(),
                upstream: upstream.into(),
            };
            in_joomla(&route, address.map(|address| address.parse().unwrap()).as_ref()).join("\n")
        };
        let text = lines("127.0.0.1:8080", Some("https://example.org"));
        assert!(
            text.contains("\"Address for Browsers\" wss://example.org/ws\njsocketd doctor https://example.org/"),
            "{text}"
        );
        let text = lines("127.0.0.1:8081", Some("http://example.org:81"));
        assert!(
            text.contains("ws://example.org:81/ws, \"Address for PHP\" http://127.0.0.1:8081\n"),
            "{text}"
        );
        assert!(lines("127.0.0.1:8080", None).contains("wss://HOST/ws\n"));
    }
}
