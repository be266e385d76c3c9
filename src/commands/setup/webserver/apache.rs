//! Apache as Debian and its descendants arrange it: `apache2ctl` says which virtual hosts, modules and variables there
//! are, and the folders `mods-available` and `conf-available` hold what can be switched on. Other arrangements, such as
//! `/etc/httpd`, are not known here; then `setup` prints the lines for a person.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::super::change::Rights;
use super::super::manifest::Want;
use super::super::names::Names;
use super::apache_text::lines;
use super::{Host, Needs, Route, program, real, refuses, run};
use crate::commands::snippets;

/// The folder of the configuration.
const FOLDER: &str = "/etc/apache2";

/// The modules of the lines in `snippets`.
const MODULES: [&str; 3] = ["proxy", "proxy_http", "headers"];

/// The first version that can pass a WebSocket on with mod_proxy_http.
const FIRST_VERSION: [u32; 3] = [2, 4, 47];

/// An installed Apache.
#[derive(Debug, Default)]
pub struct Apache {
    version: [u32; 3],
    /// `event`, `worker` or `prefork`.
    mpm: String,
    /// How many requests and WebSockets it serves at once.
    workers: u32,
    /// The names of the modules that are loaded, without `_module`.
    modules: BTreeSet<String>,
    /// All virtual hosts.
    pub hosts: Vec<Host>,
}

impl Apache {
    /// Finds Apache and reads its files; `None`: it is not installed, or arranged in another way.
    ///
    /// # Errors
    /// It refuses its configuration, or a file cannot be read; a sentence.
    pub fn find() -> Result<Option<Self>, String> {
        let Some(control) = program("apache2ctl").filter(|_| Path::new(FOLDER).join("mods-available").is_dir()) else {
            return Ok(None);
        };
        let dump = |what: &str| match run(&control, &["-t", "-D", what])? {
            (true, text, _) => Ok(text),
            (false, _, errors) => Err(refuses("Apache", &errors)),
        };
        let hosts = dump("DUMP_VHOSTS")?;
        let modules = dump("DUMP_MODULES")?;
        let defined = defines(&dump("DUMP_RUN_CFG")?);
        let (_, about, _) = run(&control, &["-V"])?;
        let mut found = Self::about(&about);
        found.modules = loaded(&modules);
        let configured = fs::read(format!("{FOLDER}/mods-enabled/mpm_{}.conf", found.mpm)).unwrap_or_default();
        found.workers = workers(&configured, &found.mpm);
        for (file, number) in places(&hosts) {
            let text = fs::read(&file).map_err(|why| format!("{} cannot be read: {why}", file.display()))?;
            found.hosts.extend(host(&real(&file), &text, number, &defined));
        }
        found.hosts.dedup();
        Ok(Some(found))
    }

    /// Reads the answer of `apache2ctl -V`.
    fn about(text: &str) -> Self {
        let after = |key: &str| {
            text.lines()
                .find_map(|line| Some(line.trim().strip_prefix(key)?.trim().to_owned()))
        };
        let version = after("Server version:").unwrap_or_default();
        let digits = version
            .split_once("Apache/")
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .next();
        let mut version = [0; 3];
        for (place, part) in version.iter_mut().zip(digits.unwrap_or_default().split('.')) {
            *place = part.parse().unwrap_or_default();
        }
        let mpm = after("Server MPM:").unwrap_or_default().to_lowercase();
        Self {
            version,
            mpm,
            ..Self::default()
        }
    }

    /// The version and the way in which it serves.
    pub fn describe(&self) -> String {
        let [major, minor, patch] = self.version;
        format!("Apache {major}.{minor}.{patch} with mpm_{}", self.mpm)
    }

    /// The files, links and lines that it needs.
    ///
    /// # Errors
    /// It is too old, lacks a module, or a host cannot be changed.
    pub fn needs(&self, hosts: &[Host], names: &Names, route: &Route) -> Result<Needs, String> {
        if self.version < FIRST_VERSION {
            return Err(format!(
                "{} cannot pass WebSockets on; 2.4.47 is the first that can",
                self.describe()
            ));
        }
        let folder = Path::new(FOLDER);
        let snippet = folder.join("conf-available").join(names.web_server_file());
        let text = "# Written by `jsocketd setup`; `jsocketd setup --remove` takes it away.\n".to_owned()
            + &snippets::apache_location(&route.upstream, &route.path);
        let mut needs = Needs {
            wants: self.module_links(folder)?,
            notes: vec![self.note()],
            ..Needs::default()
        };
        needs
            .wants
            .push(Want::File(snippet.clone(), text.into(), Rights::PUBLIC));
        let words = format!("Include {}", snippet.display());
        needs.include(hosts, folder, &snippet, &words)?;
        Ok(needs)
    }

    /// What each WebSocket costs.
    fn note(&self) -> String {
        let most = self.workers;
        match self.mpm.as_str() {
            "prefork" => format!(
                "Apache runs with mpm_prefork: each open page takes one of its {most} processes (MaxRequestWorkers) for \
                 as long as it is open, so {most} open pages stop the whole site. Nothing in Apache limits them: write \
                 max_connections = {} into [server] of jsocketd.toml. mpm_event with PHP-FPM has cheaper workers; nginx \
                 or HAProxy in front of Apache, or a port of jsocketd's own with [tls], needs none",
                most * 2 / 3
            ),
            mpm => format!(
                "each open page takes one of Apache's {most} workers (MaxRequestWorkers of mpm_{mpm}) for as long as it \
                 is open. The lines leave 3 of the 25 threads of each process to the site (max=22); where ThreadsPerChild \
                 is not 25, write 3 less than it. For more than 150 pages let nginx, HAProxy or a port of jsocketd's own \
                 with [tls] take them"
            ),
        }
    }

    /// The links of `mods-enabled` that are missing, as a2enmod makes them: a module after those that it depends on.
    fn module_links(&self, folder: &Path) -> Result<Vec<Want>, String> {
        let mut order = Vec::new();
        for module in MODULES {
            self.add_module(folder, module, &mut order)?;
        }
        let mut wants = Vec::new();
        for module in order {
            for end in ["conf", "load"] {
                let file = format!("{module}.{end}");
                if folder.join("mods-available").join(&file).is_file() {
                    let target = Path::new("../mods-available").join(&file);
                    wants.push(Want::Link(folder.join("mods-enabled").join(file), target));
                }
            }
        }
        Ok(wants)
    }

    fn add_module(&self, folder: &Path, module: &str, order: &mut Vec<String>) -> Result<(), String> {
        // A module is loaded, or switched on by another setup, or both.
        let is_linked = folder.join("mods-enabled").join(format!("{module}.load")).exists();
        if order.iter().any(|other| other == module) || self.modules.contains(module) && !is_linked {
            return Ok(());
        }
        let file = folder.join("mods-available").join(format!("{module}.load"));
        let text = fs::read(&file).map_err(|why| {
            format!(
                "Apache's module {module} is not installed: {} cannot be read ({why})",
                file.display()
            )
        })?;
        for other in depends(&String::from_utf8_lossy(&text)) {
            self.add_module(folder, &other, order)?;
        }
        if !order.iter().any(|other| other == module) {
            order.push(module.to_owned());
        }
        Ok(())
    }
}

/// The modules that a file of `mods-available` says it depends on.
fn depends(text: &str) -> Vec<String> {
    let words = text.lines().filter_map(|line| line.strip_prefix("# Depends:"));
    words.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The modules in the answer to `DUMP_MODULES`.
fn loaded(dump: &str) -> BTreeSet<String> {
    let names = dump
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.strip_suffix("_module"));
    names.map(str::to_owned).collect()
}

/// The values of variables in the answer to `DUMP_RUN_CFG`.
fn defines(dump: &str) -> BTreeMap<String, String> {
    let values = dump
        .lines()
        .filter_map(|line| line.strip_prefix("Define: ")?.split_once('='));
    values
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The files and lines in the answer to `DUMP_VHOSTS`: each host's line ends with `(FILE:LINE)`.
fn places(dump: &str) -> BTreeSet<(PathBuf, usize)> {
    let places = dump.lines().filter_map(|line| {
        let (_, place) = line.trim_end().strip_suffix(')')?.rsplit_once(" (/")?;
        let (file, number) = place.rsplit_once(':')?;
        Some((Path::new("/").join(file), number.parse().ok()?))
    });
    places.collect()
}

/// Reads the host that begins at a line; of an opening on several lines Apache names the last one.
fn host(file: &Path, text: &[u8], number: usize, defined: &BTreeMap<String, String>) -> Option<Host> {
    let lines = lines(text, defined);
    let mut lines = lines.iter().skip_while(|line| *line.numbers.end() < number);
    let first = lines
        .next()
        .filter(|line| line.numbers.contains(&number) && line.words[0] == "<virtualhost")?;
    let mut host = Host {
        file: file.to_owned(),
        open: first.end,
        ..Host::default()
    };
    for line in lines.take_while(|line| line.words[0] != "</virtualhost") {
        let Some((name, values)) = line.words.split_first() else {
            continue;
        };
        match name.as_str() {
            "documentroot" => host.roots.extend(values.first().map(PathBuf::from)),
            "servername" | "serveralias" => host.names.extend(values.iter().map(|name| server_name(name))),
            "sslengine" => host.has_tls = values.first().is_some_and(|value| value.eq_ignore_ascii_case("on")),
            "include" | "includeoptional" => {
                host.includes
                    .extend(values.first().map(|file| Path::new(FOLDER).join(file)));
            }
            _ => {}
        }
    }
    Some(host)
}

/// The host of a `ServerName`, which may have a scheme and a port.
fn server_name(text: &str) -> String {
    let name = text.split_once("://").map_or(text, |(_, rest)| rest).to_lowercase();
    match name.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
        _ => name,
    }
}

/// The number of `MaxRequestWorkers` in the file of a multi-processing module, or Apache's default.
fn workers(text: &[u8], mpm: &str) -> u32 {
    let lines = lines(text, &BTreeMap::new());
    let mut values = lines
        .iter()
        .filter(|line| line.words[0] == "maxrequestworkers" || line.words[0] == "maxclients");
    let found = values.find_map(|line| line.words.get(1)?.parse().ok());
    found.unwrap_or(if mpm == "prefork" { 256 } else { 400 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_apache_are_read() {
        let dump = "VirtualHost configuration:\n\
            *:80                   is a NameVirtualHost\n         \
            default server a.example (/etc/apache2/sites-enabled/a.conf:1)\n         \
            port 80 namevhost a.example (/etc/apache2/sites-enabled/a.conf:1)\n                 \
            alias www.a.example\n         \
            port 80 namevhost b.example (/etc/apache2/sites-enabled/b (old).conf:12)\n\
            [::1]:443              c.example (macro 'x' (defined on line 3 of \"/etc/m\") used on line 5 of \"/etc/n\":2)\n";
        let found: Vec<(PathBuf, usize)> = places(dump).into_iter().collect();
        assert_eq!(
            found,
            [
                ("/etc/apache2/sites-enabled/a.conf".into(), 1),
                ("/etc/apache2/sites-enabled/b (old).conf".into(), 12)
            ]
        );
        let about = Apache::about("Server version: Apache/2.4.71 (Debian)\nServer MPM:     prefork\n  threaded: no\n");
        assert_eq!(about.describe(), "Apache 2.4.71 with mpm_prefork");
        assert!(loaded("Loaded Modules:\n core_module (static)\n proxy_http_module (shared)\n").contains("proxy_http"));
        assert_eq!(
            defines("Define: A\nDefine: B=/x=y\nUser: x\n"),
            [("B".into(), "/x=y".into())].into()
        );
        assert_eq!(depends("# Depends: proxy  alias\nLoadModule x\n"), ["proxy", "alias"]);
        assert_eq!(
            workers(b"<IfModule mpm_prefork_module>\n MaxRequestWorkers\t  42\n", "prefork"),
            42
        );
        assert_eq!(
            (workers(b"", "prefork"), workers(b"#MaxRequestWorkers 1", "event")),
            (256, 400)
        );
    }

    #[test]
    fn a_host_is_read_from_its_line() {
        let text = "# <VirtualHost>\n<VirtualHost *:80>\n  ServerName A.example:80\n</VirtualHost>\n<IfModule mod_ssl.c>\n\
            <virtualhost *:443 \\\n   [::]:443>\r\n\tServerName https://b.example\n\tServerAlias *.b.example c.example\n\
            \tDocumentRoot \"${ROOT}/x\"\n\tSSLEngine On\n\t<Directory /srv>\n\t\tRequire all granted\n\t</Directory>\n\
            \tInclude conf-available/jsocketd.conf\n</VirtualHost>\n</IfModule>\nDocumentRoot /elsewhere\n";
        let defined = BTreeMap::from([("ROOT".to_owned(), "/srv".to_owned())]);
        let read = |number| host(Path::new("/etc/apache2/x"), text.as_bytes(), number, &defined);
        let second = read(7).unwrap();
        assert_eq!(read(6).as_ref(), Some(&second));
        assert_eq!(second.names, ["b.example", "*.b.example", "c.example"]);
        assert_eq!(second.roots, [PathBuf::from("/srv/x")]);
        assert_eq!(
            second.includes,
            [PathBuf::from("/etc/apache2/conf-available/jsocketd.conf")]
        );
        assert!(second.has_tls && text[..second.open].ends_with("[::]:443>"));
        assert_eq!(read(2).unwrap().names, ["a.example"]);
        assert_eq!((read(1), read(3), read(99)), (None, None, None));
    }

    #[test]
    fn each_open_page_takes_a_worker() {
        let note = |mpm: &str| {
            Apache {
                mpm: mpm.into(),
                workers: 150,
                ..Apache::default()
            }
            .note()
        };
        for (mpm, words) in [
            ("prefork", "150 processes"),
            ("event", "150 workers"),
            ("worker", "150 workers"),
        ] {
            assert!(note(mpm).contains(words), "{}", note(mpm));
        }
    }

    #[test]
    fn modules_come_after_those_that_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join("mods-available").join(name), text).unwrap();
        fs::create_dir(folder.path().join("mods-available")).unwrap();
        fs::create_dir(folder.path().join("mods-enabled")).unwrap();
        file("proxy_http.load", "# Depends: proxy\n");
        file("proxy.load", "");
        file("proxy.conf", "");
        let apache = Apache::default();
        let why = apache.module_links(folder.path()).unwrap_err();
        assert!(why.contains("module headers is not installed"), "{why}");
        file("headers.load", "");
        let links = |apache: &Apache| -> Vec<String> {
            let wants = apache.module_links(folder.path()).unwrap();
            wants
                .iter()
                .map(|want| match want {
                    Want::Link(path, to) => {
                        assert_eq!(to.file_name(), path.file_name());
                        path.file_name().unwrap().to_string_lossy().into_owned()
                    }
                    _ => panic!("{want:?}"),
                })
                .collect()
        };
        assert_eq!(
            links(&apache),
            ["proxy.conf", "proxy.load", "proxy_http.load", "headers.load"]
        );
        let modules = ["headers", "proxy"].map(str::to_owned).into();
        assert_eq!(
            links(&Apache {
                modules,
                ..Apache::default()
            }),
            ["proxy_http.load"],
            "built in, or loaded elsewhere"
        );
    }
}
