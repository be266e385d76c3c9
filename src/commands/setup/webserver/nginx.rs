//! nginx: its files, the `server { }` blocks in them, and the lines that it needs. The files are those that `nginx -T`
//! names, so that includes, patterns and compiled-in paths are nginx's own answer.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::change::Rights;
use super::super::manifest::Want;
use super::super::names::Names;
use super::nginx_text::{Block, Directive, parse};
use super::{Host, Needs, Route, matches, program, real, refuses, run};
use crate::commands::snippets;

/// nginx's default of `worker_connections`.
const WORKER_CONNECTIONS: u64 = 512;

/// The lines that begin the files in the answer of `nginx -T`.
const FILE: &str = "# configuration file ";

/// An installed nginx.
#[derive(Debug, Default)]
pub struct Nginx {
    version: String,
    /// The main file, without symbolic links.
    main: PathBuf,
    /// The patterns of `include` in `http { }`, absolute.
    http_includes: Vec<PathBuf>,
    worker_connections: u64,
    /// All `server { }` of HTTP.
    pub hosts: Vec<Host>,
}

impl Nginx {
    /// Finds nginx and reads its files; `None`: it is not installed.
    ///
    /// # Errors
    /// It refuses its configuration, or a file cannot be read; a sentence.
    pub fn find() -> Result<Option<Self>, String> {
        let Some(nginx) = program("nginx") else { return Ok(None) };
        let (_, _, about) = run(&nginx, &["-V"])?;
        let main = about
            .split_whitespace()
            .find_map(|word| word.strip_prefix("--conf-path="));
        let main = Path::new(main.unwrap_or("/etc/nginx/nginx.conf"));
        if !main.exists() {
            return Ok(None);
        }
        let (is_good, files, errors) = run(&nginx, &["-T", "-q"])?;
        if !is_good {
            return Err(refuses("nginx", &errors));
        }
        let files = files
            .lines()
            .filter_map(|line| line.strip_prefix(FILE)?.strip_suffix(':'));
        let mut files: Vec<PathBuf> = files
            .map(|file| real(Path::new(file)))
            .filter(|file| file.is_file())
            .collect();
        files.sort();
        files.dedup();
        let texts = files.into_iter().map(|file| {
            let text = fs::read(&file).map_err(|why| format!("{} cannot be read: {why}", file.display()))?;
            Ok((file, text))
        });
        let version = about.lines().find_map(|line| line.strip_prefix("nginx version: "));
        let version = version.unwrap_or("nginx").replace('/', " ");
        Ok(Some(Self::read(version, main, texts.collect::<Result<_, String>>()?)?))
    }

    /// Reads the texts. `main` is the path of the main file as nginx writes it.
    fn read(version: String, main: &Path, files: Vec<(PathBuf, Vec<u8>)>) -> Result<Self, String> {
        let mut found = Self {
            version,
            main: real(main),
            worker_connections: WORKER_CONNECTIONS,
            ..Self::default()
        };
        let parsed = files.into_iter().map(|(path, text)| {
            let directives = parse(&text).map_err(|why| format!("{}, {why}", path.display()))?;
            Ok((path, directives))
        });
        let parsed: Vec<(PathBuf, Vec<Directive>)> = parsed.collect::<Result<_, String>>()?;
        let folder = main.parent().unwrap_or(main);
        for (path, directives) in &parsed {
            let http = directives.iter().filter(|directive| directive.named("http").is_some());
            let http: Vec<&Block> = http.filter_map(|directive| directive.block.as_ref()).collect();
            let inner = http.iter().flat_map(|block| &block.directives);
            found
                .http_includes
                .extend(inner.clone().filter_map(|directive| include(directive, folder)));
            for directive in directives.iter().chain(inner) {
                let (Some([]), Some(block)) = (directive.named("server"), &directive.block) else {
                    continue;
                };
                found.hosts.extend(host(path, block, &parsed, folder));
            }
            let events = directives
                .iter()
                .filter(|directive| directive.named("events").is_some());
            let mut events = events
                .filter_map(|directive| directive.block.as_ref())
                .flat_map(|block| &block.directives);
            if let Some(number) =
                events.find_map(|directive| directive.named("worker_connections")?.first()?.parse().ok())
            {
                found.worker_connections = number;
            }
        }
        Ok(found)
    }

    #[cfg(test)]
    pub fn of_hosts(hosts: Vec<Host>) -> Self {
        Self {
            hosts,
            ..Self::default()
        }
    }

    /// The version.
    pub fn describe(&self) -> String {
        self.version.clone()
    }

    /// The files and lines that it needs.
    ///
    /// # Errors
    /// No file that it includes in `http { }` can be added; or a host cannot be changed.
    pub fn needs(&self, hosts: &[Host], names: &Names, route: &Route) -> Result<Needs, String> {
        let folder = self.main.parent().unwrap_or(&self.main);
        let file = names.web_server_file();
        let mut places = self.http_includes.iter().filter_map(|pattern| {
            let place = pattern.parent()?.canonicalize().ok()?.join(&file);
            (place.starts_with(folder) && matches(&real(pattern.parent()?).join(pattern.file_name()?), &place))
                .then_some(place)
        });
        let is_usual = |place: &PathBuf| place.parent().is_some_and(|folder| folder.ends_with("conf.d"));
        let place = places.clone().find(is_usual).or_else(|| places.next()).ok_or_else(|| {
            format!(
                "{} includes no folder in http {{ }}, so there is no place for a file of jsocketd",
                self.main.display()
            )
        })?;
        let snippets = folder.join("snippets");
        let snippet = if snippets.is_dir() { snippets } else { folder.to_owned() }.join(&file);
        let head = "# Written by `jsocketd setup`; `jsocketd setup --remove` takes it away.\n";
        let http = head.to_owned() + &snippets::nginx_http(&names.upstream(), &route.upstream);
        let location = head.to_owned() + &snippets::nginx_location(&names.upstream(), &route.path);
        let words = format!("include {};", snippet.display());
        let mut needs = Needs::default();
        needs.wants.push(Want::File(place, http.into(), Rights::PUBLIC));
        needs
            .wants
            .push(Want::File(snippet.clone(), location.into(), Rights::PUBLIC));
        needs.include(hosts, folder, &snippet, &words)?;
        needs.notes.push(format!(
            "each open page takes two of nginx's worker_connections, of which each worker has {}; raise them, and \
             worker_rlimit_nofile, for more than {} pages",
            self.worker_connections,
            self.worker_connections / 2
        ));
        Ok(needs)
    }
}

/// The pattern of an include, absolute.
fn include(directive: &Directive, folder: &Path) -> Option<PathBuf> {
    match directive.named("include")? {
        [pattern] => Some(folder.join(pattern)),
        _ => None,
    }
}

/// Reads a `server { }`. `None`: it is none of HTTP, or it only sends visitors elsewhere.
fn host(file: &Path, block: &Block, files: &[(PathBuf, Vec<Directive>)], folder: &Path) -> Option<Host> {
    let mut host = Host {
        file: file.to_owned(),
        open: block.open,
        ..Host::default()
    };
    host.includes = block
        .directives
        .iter()
        .filter_map(|directive| include(directive, folder))
        .collect();
    let is_included = |file: &Path| host.includes.iter().any(|pattern| matches(pattern, file));
    let included = files
        .iter()
        .filter(|(path, _)| is_included(path))
        .flat_map(|(_, directives)| directives);
    let mut is_http = false;
    for directive in block.directives.iter().chain(included) {
        let inner = directive.block.as_ref().map_or(&[][..], |block| &block.directives);
        let Some((name, values)) = directive.words.split_first() else {
            continue;
        };
        match name.as_str() {
            "return" if directive.block.is_none() => return None,
            "server_name" => {
                is_http = true;
                host.names.extend(
                    values
                        .iter()
                        .map(|name| name.to_lowercase())
                        .filter(|name| !name.starts_with('~')),
                );
            }
            "root" => {
                is_http = true;
                host.roots.extend(values.first().map(PathBuf::from));
            }
            "location" => {
                is_http = true;
                let roots = inner.iter().filter_map(|inner| inner.named("root")?.first());
                host.roots.extend(roots.map(PathBuf::from));
            }
            "listen" => host.has_tls |= values.iter().any(|value| value == "ssl" || value == "quic"),
            "ssl" => host.has_tls |= values.first().is_some_and(|value| value == "on"),
            _ => {}
        }
    }
    is_http.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "events { worker_connections 768; }
        stream { server { listen 1; proxy_pass x; } }
        http { include mime.types; include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*; }";

    fn read(site: &str, other: &str) -> Nginx {
        let files = [
            ("/etc/nginx/nginx.conf", MAIN),
            ("/etc/nginx/sites-available/site", site),
            ("/etc/nginx/common", other),
        ];
        let files = files.map(|(path, text)| (path.into(), text.into())).to_vec();
        Nginx::read("nginx 1.22.1".into(), Path::new("/etc/nginx/nginx.conf"), files).unwrap()
    }

    #[test]
    fn hosts_are_found_with_their_folders_and_names() {
        let site =
            "server { listen 80; server_name Example.org .example.net ~^x; return 301 https://$host$request_uri; }
            server {
                listen [::]:443 ssl http2; server_name example.org;
                include common;
                location ~ \\.php$ { root /srv/php; }
                if ($bad) { return 403; }
            }
            server { listen 8080; location / { proxy_pass http://[::1]; } }";
        let nginx = read(site, "root /srv/site;\n");
        assert_eq!(
            nginx.hosts.len(),
            2,
            "the redirect and the stream are left out: {:?}",
            nginx.hosts
        );
        let host = &nginx.hosts[0];
        assert_eq!(host.names, ["example.org"]);
        assert_eq!(host.roots, [PathBuf::from("/srv/php"), "/srv/site".into()]);
        assert!(host.has_tls && !nginx.hosts[1].has_tls);
        assert_eq!(&site[host.open - 8..host.open], "server {");
        assert_eq!(host.includes, [PathBuf::from("/etc/nginx/common")]);
        assert_eq!(nginx.worker_connections, 768);
        assert_eq!(nginx.http_includes.len(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_named() {
        let files = vec![("/etc/nginx/bad".into(), b"a;\nserver {".to_vec())];
        let why = Nginx::read(String::new(), Path::new("/etc/nginx/nginx.conf"), files).unwrap_err();
        assert_eq!(why, "/etc/nginx/bad, line 2: a block without its }");
    }
}
