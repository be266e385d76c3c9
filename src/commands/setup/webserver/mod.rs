//! The web server in front of the site: which one it is, which of its hosts are the site's, and what has to change so
//! that they pass `/ws/` on to jsocketd. `nginx` and `apache` know the two formats; here is what both have in common.

mod apache;
mod apache_text;
mod nginx;
mod nginx_text;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use glob::{MatchOptions, Pattern};

use super::edit::{self, Hunk};
use super::manifest::Want;
use super::names::Names;
use crate::commands::snippets::Proxy;
use apache::Apache;
use nginx::Nginx;

/// Folders of programs that root's PATH may lack.
const SYSTEM_PROGRAMS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// A virtual host, by its place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The file, without symbolic links.
    pub file: PathBuf,
    /// The byte behind its opening.
    pub open: usize,
    /// The folders that it serves.
    pub roots: Vec<PathBuf>,
    /// Its names, in lower case.
    pub names: Vec<String>,
    /// Whether it speaks TLS.
    pub has_tls: bool,
    /// The files that it includes, perhaps as patterns.
    pub includes: Vec<PathBuf>,
}

/// The lines that pass requests on: the path before jsocketd's own, and where jsocketd listens.
#[derive(Clone, Debug)]
pub struct Route {
    /// `/ws`
    pub path: String,
    /// `127.0.0.1:8080`
    pub upstream: String,
}

/// What a web server needs.
#[derive(Debug, Default)]
pub struct Needs {
    /// What is to be there.
    pub wants: Vec<Want>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What a person has to do, because it is not ours to do.
    pub by_hand: Vec<String>,
}

/// A web server of this machine.
#[derive(Debug)]
pub enum WebServer {
    /// nginx
    Nginx(Nginx),
    /// Apache
    Apache(Apache),
}

/// What is known of the site, to find its hosts.
pub struct Sought<'a> {
    /// The site's folder, without symbolic links.
    pub folder: &'a Path,
    /// The host of the site's address, in lower case.
    pub host: Option<&'a str>,
}

impl WebServer {
    /// The web server in front of the site, with the site's hosts; `None`: none is known. nginx comes first, because
    /// where both serve a site, nginx is in front.
    ///
    /// # Errors
    /// It refuses its own configuration, as things are; a sentence with its message.
    pub fn of_site(sought: &Sought<'_>, wanted: Option<Proxy>) -> Result<Option<(Self, Vec<Host>)>, String> {
        for proxy in [Proxy::Nginx, Proxy::Apache] {
            if wanted.is_some_and(|wanted| wanted != proxy) {
                continue;
            }
            let found = match proxy {
                Proxy::Nginx => Nginx::find()?.map(Self::Nginx),
                Proxy::Apache => Apache::find()?.map(Self::Apache),
                // Their files are a person's to change: a Caddyfile and haproxy.cfg have no folder for files of others.
                Proxy::Caddy | Proxy::Haproxy => None,
            };
            if let Some(server) = found {
                let hosts = server.hosts_of(sought);
                if !hosts.is_empty() {
                    return Ok(Some((server, hosts)));
                }
            }
        }
        Ok(None)
    }

    /// Which one it is.
    pub fn proxy(&self) -> Proxy {
        match self {
            Self::Nginx(_) => Proxy::Nginx,
            Self::Apache(_) => Proxy::Apache,
        }
    }

    /// Its name and version.
    pub fn describe(&self) -> String {
        match self {
            Self::Nginx(nginx) => nginx.describe(),
            Self::Apache(apache) => apache.describe(),
        }
    }

    /// The hosts of the site: those that serve its folder or have its host's name, else those of a folder above.
    fn hosts_of(&self, sought: &Sought<'_>) -> Vec<Host> {
        let hosts = match self {
            Self::Nginx(nginx) => &nginx.hosts,
            Self::Apache(apache) => &apache.hosts,
        };
        let is_named = |host: &Host| {
            sought
                .host
                .is_some_and(|name| host.names.iter().any(|own| answers_to(own, name)))
        };
        let serves = |host: &Host| host.roots.iter().any(|root| real(root) == sought.folder);
        let is_above = |host: &Host| {
            // A folder like / or /var is no site's.
            let mut roots = host.roots.iter().map(|root| real(root));
            roots.any(|root| root.components().count() > 2 && sought.folder.starts_with(&root))
        };
        let found: Vec<Host> = hosts
            .iter()
            .filter(|host| serves(host) || is_named(host))
            .cloned()
            .collect();
        match found.is_empty() {
            true => hosts.iter().filter(|host| is_above(host)).cloned().collect(),
            false => found,
        }
    }

    /// What it needs to pass the route's requests on at these hosts.
    ///
    /// # Errors
    /// It cannot be arranged; a sentence that says what to do.
    pub fn needs(&self, hosts: &[Host], names: &Names, route: &Route) -> Result<Needs, String> {
        match self {
            Self::Nginx(nginx) => nginx.needs(hosts, names, route),
            Self::Apache(apache) => apache.needs(hosts, names, route),
        }
    }
}

/// The web server's own test of its configuration: a program and its arguments.
fn own_test(proxy: Proxy) -> (&'static str, &'static [&'static str]) {
    match proxy {
        Proxy::Nginx => ("nginx", &["-t"]),
        Proxy::Apache => ("apache2ctl", &["configtest"]),
        Proxy::Caddy => (
            "caddy",
            &["validate", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"],
        ),
        Proxy::Haproxy => ("haproxy", &["-c", "-f", "/etc/haproxy/haproxy.cfg"]),
    }
}

/// Whether the web server can be asked.
pub fn is_installed(proxy: Proxy) -> bool {
    program(own_test(proxy).0).is_some()
}

/// Runs the web server's own test of its configuration.
///
/// # Errors
/// What the web server says.
pub fn test(proxy: Proxy) -> Result<(), String> {
    let (name, arguments) = own_test(proxy);
    let program = program(name).ok_or_else(|| format!("there is no {name}"))?;
    match run(&program, arguments)? {
        (true, ..) => Ok(()),
        (false, output, errors) => Err([output.trim(), errors.trim()].join("\n").trim().to_owned()),
    }
}

/// The command that brings a change into force. New modules of Apache take effect at a reload too.
pub fn reload(proxy: Proxy, with_systemd: bool) -> &'static str {
    match (proxy, with_systemd) {
        (Proxy::Nginx, true) => "systemctl reload nginx",
        (Proxy::Nginx, false) => "nginx -s reload",
        (Proxy::Apache, true) => "systemctl reload apache2",
        (Proxy::Apache, false) => "apache2ctl graceful",
        (Proxy::Caddy, true) => "systemctl reload caddy",
        (Proxy::Caddy, false) => "caddy reload --config /etc/caddy/Caddyfile --adapter caddyfile",
        (Proxy::Haproxy, true) => "systemctl reload haproxy",
        (Proxy::Haproxy, false) => "start haproxy again with -sf and the ids of its processes",
    }
}

impl Needs {
    /// Adds the changes that make each host include `snippet`. `folder` is the web server's own: a file elsewhere is a
    /// person's to change.
    ///
    /// # Errors
    /// A host passes the same path on for another jsocketd; a sentence.
    fn include(&mut self, hosts: &[Host], folder: &Path, snippet: &Path, words: &str) -> Result<(), String> {
        let mut files: BTreeMap<&Path, Vec<Hunk>> = BTreeMap::new();
        for host in hosts {
            let file = host.file.display();
            if host.includes.iter().any(|include| matches(include, snippet)) {
                continue;
            }
            let is_ours = |include: &&PathBuf| {
                let name = include.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                include.parent() == snippet.parent() && name.starts_with("jsocketd") && name.ends_with(".conf")
            };
            if let Some(other) = host.includes.iter().find(is_ours) {
                return Err(format!(
                    "the host in {file} includes {} already, and one host cannot pass the same path on to two servers",
                    other.display()
                ));
            }
            if !host.file.starts_with(folder) {
                let name = host.names.first().map_or("the site", String::as_str);
                self.by_hand.push(format!(
                    "put `{words}` into the host of {name} in {file}, which is outside of {}",
                    folder.display()
                ));
                continue;
            }
            let text = fs::read(&host.file).map_err(|why| format!("{file} cannot be read: {why}"))?;
            let hunk = edit::inside(&text, host.open, words);
            files.entry(&host.file).or_default().push(hunk);
        }
        let lines = files
            .into_iter()
            .map(|(path, hunks)| Want::Lines(path.into(), hunks, 3));
        self.wants.extend(lines);
        Ok(())
    }
}

/// Whether a host with the name `own` answers to `name`. Both are in lower case.
fn answers_to(own: &str, name: &str) -> bool {
    if let Some(end) = own.strip_prefix('*') {
        return !end.is_empty() && name.len() > end.len() && name.ends_with(end);
    }
    if own.starts_with('.') {
        return name.ends_with(own) || name == &own[1..];
    }
    match own.strip_suffix(".*") {
        Some(start) => name.strip_prefix(start).is_some_and(|end| end.starts_with('.')),
        None => own == name,
    }
}

/// Whether the path fits the pattern of an include, as glob(3) has it; a pattern that is none fits no path.
fn matches(pattern: &Path, path: &Path) -> bool {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let pattern = pattern.to_str().and_then(|pattern| Pattern::new(pattern).ok());
    pattern.is_some_and(|pattern| pattern.matches_path_with(path, options))
}

/// The path without symbolic links, or as it is if nothing is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The path of a program; `None`: it is not installed.
fn program(name: &str) -> Option<PathBuf> {
    let own = env::var("PATH").unwrap_or_default();
    let folders = format!("{own}:{SYSTEM_PROGRAMS}");
    let mut paths = folders
        .split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Path::new(folder).join(name));
    paths.find(|path| path.is_file())
}

/// The sentence for a web server that refuses its configuration before anything has changed.
fn refuses(name: &str, message: &str) -> String {
    let hint = match rustix::process::geteuid().is_root() {
        true => "",
        false => " (only root may read all of it: use sudo)",
    };
    format!(
        "{name} refuses its configuration as it is now{hint}:\n{}",
        message.trim()
    )
}

/// Runs a program and waits for it: whether it succeeded, and what it wrote to standard output and standard error.
fn run(program: &Path, arguments: &[&str]) -> Result<(bool, String, String), String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("{} cannot be run: {why}", program.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_glob() {
        for (pattern, path, fit) in [
            ("/etc/nginx/conf.d/*.conf", "/etc/nginx/conf.d/jsocketd.conf", true),
            ("/etc/nginx/*/*.conf", "/etc/nginx/conf.d/jsocketd.conf", true),
            ("/etc/nginx/*.conf", "/etc/nginx/conf.d/jsocketd.conf", false),
            ("/a/*", "/a/.b", false),
            ("/a/*b*c", "/a/xbxbc", true),
            ("/a/*b*c", "/a/xbxbd", false),
            ("/a/?.conf", "/a/b.conf", true),
            ("/a/?.conf", "/a/.conf", false),
            ("/a/b", "/a/b", true),
            ("/a/[bc]", "/a/c", true),
            ("/a/[", "/a/[", false),
        ] {
            assert_eq!(matches(Path::new(pattern), Path::new(path)), fit, "{pattern} {path}");
        }
    }

    #[test]
    fn a_host_answers_to_its_names() {
        for (own, name, does) in [
            ("example.org", "example.org", true),
            ("example.org", "www.example.org", false),
            ("*.example.org", "www.example.org", true),
            ("*.example.org", "example.org", false),
            (".example.org", "example.org", true),
            (".example.org", "www.example.org", true),
            ("www.example.*", "www.example.org", true),
            ("www.example.*", "www.examples", false),
            ("_", "example.org", false),
            ("*", "example.org", false),
            ("", "example.org", false),
        ] {
            assert_eq!(answers_to(own, name), does, "{own} {name}");
        }
    }

    #[test]
    fn the_folder_of_a_host_decides_else_its_name_else_a_folder_above() {
        let host = |root: &str, name: &str| Host {
            roots: vec![root.into()],
            names: vec![name.to_owned()],
            ..Host::default()
        };
        let hosts = vec![
            host("/no/such/site", "a.example"),
            host("/no/such", "b.example"),
            host("/no/public", "c.example"),
            host("/", "d.example"),
        ];
        let server = WebServer::Nginx(Nginx::of_hosts(hosts));
        let names = |folder: &str, host: Option<&str>| -> Vec<String> {
            let folder = Path::new(folder);
            let found = server.hosts_of(&Sought { folder, host });
            found.iter().map(|host| host.names[0].clone()).collect()
        };
        assert_eq!(names("/no/such/site", None), ["a.example"]);
        assert_eq!(names("/no/such/site", Some("c.example")), ["a.example", "c.example"]);
        assert_eq!(names("/no/such/other", None), ["b.example"]);
        assert_eq!(names("/no/suchlike", None), [""; 0]);
        assert_eq!(names("/elsewhere", Some("d.example")), ["d.example"]);
    }
}
