//! A healthy set-up: a site with its database, the server of that site, a server of pages, nginx in front of both, and
//! the doctor on another machine. A test changes one thing.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use jsocketd::joomla::site::Client;
use mysql::params;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::Server;
use crate::common::certificates::{Authority, Certificate};
use crate::common::joomla::{Session, Site as Joomla};
use crate::common::mariadb::Mariadb;
use crate::common::ports::free_port;
use crate::common::web_server::WebServer;
use crate::elsewhere::{Elsewhere, HOST, OTHER};
use crate::site::{Manner, Site};
use crate::web_server;

pub use crate::common::certificates::Valid;

/// The credentials of the site's app, as the component has them.
pub const KEY: &str = "doctors-key";
const SECRET: &str = "a-secret-of-the-component";

/// This version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The lines of a healthy nginx for `http { }`.
pub const MAP: &str = "map $http_upgrade $jsocketd_connection { default upgrade; \"\" \"\"; }";

/// The lines of a healthy nginx in its location.
pub const LINES: &str = "
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $jsocketd_connection;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_read_timeout 300s;
    proxy_buffering off;
";

/// How a stage differs from a healthy one.
#[derive(Default)]
pub struct Plan {
    /// Over TLS, with a certificate for this name.
    pub tls: Option<(&'static str, Valid)>,
    /// Lines of `jsocketd.toml`.
    pub toml: String,
    /// The database server, if it is another one than that of all tests.
    pub mariadb: Option<Arc<Mariadb>>,
}

/// The set-up.
pub struct Stage {
    /// The site's database and folder.
    pub joomla: Joomla,
    /// The server.
    pub server: Server,
    /// The pages.
    pub site: Site,
    /// Where nginx listens, and its certificate with the authority that issued it.
    pub port: u16,
    certificate: Option<(Authority, Certificate)>,
    nginx: Option<WebServer>,
    /// The session that the page makes.
    pub session: Session,
    empty: tempfile::NamedTempFile,
}

/// A hop, as the doctor prints it.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    pub hop: String,
    pub verdict: String,
    pub says: String,
    #[serde(default)]
    pub mend: String,
    #[serde(default)]
    pub snippet: String,
}

/// What the doctor printed.
pub struct Report {
    pub code: i32,
    pub findings: Vec<Finding>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let Finding { hop, verdict, says, .. } = finding;
            writeln!(f, "{verdict:<12} {hop:<15} {says}")?;
        }
        write!(f, "exit code {}", self.code)
    }
}

impl Stage {
    /// The healthy set-up over http.
    pub fn healthy() -> Self {
        Self::new(Plan::default(), |_| {})
    }

    /// The set-up of a plan; `change` changes the site's database before the server starts.
    pub fn new(plan: Plan, change: impl FnOnce(&Joomla)) -> Self {
        let elsewhere = Elsewhere::shared();
        let port = free_port(elsewhere.here);
        let certificate = plan.tls.map(|(name, valid)| {
            let authority = Authority::new();
            let certificate = authority.issue(&[&format!("DNS:{name}")], valid);
            (authority, certificate)
        });
        let tls = certificate.is_some();
        let joomla = Joomla::joomla6_on(plan.mariadb.unwrap_or_else(Mariadb::shared));
        joomla.configure("host", &format!("'localhost:{}'", joomla.server.socket.display()));
        joomla.create_outbox();
        let (http, ws) = if tls { ("https", "wss") } else { ("http", "ws") };
        let options = json!({
            "app_id": "doctors-app", "app_key": KEY, "app_secret": SECRET,
            "server_url": format!("{ws}://{HOST}:{port}/ws"), "server_address": format!("{http}://{HOST}:{port}/ws"),
        });
        joomla.install_component(&options.to_string());
        joomla.sql(&format!(
            "UPDATE #__extensions SET manifest_cache = '{{\"version\":\"{VERSION}\"}}' WHERE element = 'com_websockets'"
        ));
        change(&joomla);
        let session = joomla.guest(Client::Site);
        let server = Server::start_with(&toml(&plan.toml), |command, _| {
            command.arg("--joomla").arg(joomla.root());
        });
        let site = Site::start(Manner {
            status: 200,
            socket: (format!("{ws}://{HOST}:{port}/ws"), KEY.to_owned()),
            package: Some(VERSION.to_owned()),
            loads: true,
            cookie: format!("{}; path=/; HttpOnly", joomla.cookie(&session)),
            ahead: 0,
            redirects: false,
        });
        let mut stage = Self {
            joomla,
            server,
            site,
            port,
            certificate,
            nginx: None,
            session,
            empty: tempfile::NamedTempFile::new().expect("a temporary file"),
        };
        stage.expect_reading();
        stage.serve(MAP, &location(stage.server.addr, LINES));
        stage
    }

    /// Lets nginx do this; `socket` stands beside the location of the pages.
    pub fn serve(&mut self, http: &str, socket: &str) {
        self.nginx = None;
        let certificate = self.certificate.as_ref().map(|(_, certificate)| certificate);
        let files = certificate.map(|certificate| (certificate.chain.as_path(), certificate.key.as_path()));
        let pages = format!(
            "location / {{ proxy_pass http://{}; proxy_pass_header Date; }}",
            self.site.addr
        );
        let at = (Elsewhere::shared().here, self.port);
        self.nginx = Some(web_server::nginx(at, files, http, &format!("{socket}\n{pages}")));
    }

    /// Stops nginx, so that another proxy can have its port.
    pub fn without_nginx(&mut self) -> (std::net::Ipv4Addr, u16) {
        self.nginx = None;
        (Elsewhere::shared().here, self.port)
    }

    /// nginx with the healthy lines, in which one text is replaced by another.
    pub fn serve_with(&mut self, from: &str, to: &str) {
        assert!(LINES.contains(from), "{from}");
        self.serve(MAP, &location(self.server.addr, &LINES.replace(from, to)));
    }

    /// The address of the page.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{HOST}:{}/", self.port)
    }

    /// Runs the doctor on the other machine; it sees the site's folder.
    pub fn examine(&self) -> Report {
        self.examine_with(&["--joomla", &self.joomla.root().display().to_string()])
    }

    /// Runs it with these flags.
    pub fn examine_with(&self, flags: &[&str]) -> Report {
        self.examine_at(&self.url(), flags)
    }

    /// Runs it for another address.
    pub fn examine_at(&self, url: &str, flags: &[&str]) -> Report {
        let mut command = self.command_at(url, flags);
        if let Some((authority, _)) = &self.certificate {
            command.arg("--ca").arg(authority.root());
        }
        let output = command.arg("--json").output().expect("the doctor runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let findings = serde_json::from_str(&text)
            .unwrap_or_else(|why| panic!("{why}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
        let code = output.status.code().expect("it ended by itself");
        Report { code, findings }
    }

    /// The doctor's command, which trusts the usual roots alone.
    pub fn command(&self, flags: &[&str]) -> Command {
        self.command_at(&self.url(), flags)
    }

    fn command_at(&self, url: &str, flags: &[&str]) -> Command {
        let mut command = Elsewhere::shared().command(PathBuf::from(env!("CARGO_BIN_EXE_jsocketd")));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("JSOCKETD_") {
                command.env_remove(name);
            }
        }
        // The machine's own configuration must not count.
        command.env("JSOCKETD_CONFIG", self.empty.path());
        command.args(["doctor", url]).args(flags);
        if !flags.contains(&"--idle") {
            command.args(["--idle", "30"]);
        }
        command
    }

    /// Waits until the server reads the site's tables.
    fn expect_reading(&self) {
        let is_known = || {
            let positions: Vec<String> = self
                .joomla
                .rows("SELECT value FROM #__websockets_state WHERE name = 'position'");
            !positions.is_empty()
        };
        crate::common::wait_until("the server reads the outbox table", is_known, || self.server.log());
    }
}

/// The configuration: a ping after two seconds, unless the lines say otherwise.
fn toml(more: &str) -> String {
    match more.contains("[limits]") {
        true => more.to_owned(),
        false => format!("[limits]\nping_interval = 2\n{more}"),
    }
}

/// The location of the socket.
pub fn location(server: SocketAddr, lines: &str) -> String {
    format!("location /ws/ {{ proxy_pass http://{server}/;\n{lines}\n}}")
}

impl Report {
    /// What was found about a hop.
    pub fn of(&self, hop: &str) -> &Finding {
        let mut found = self.findings.iter().filter(|finding| finding.hop == hop);
        let first = found.next().unwrap_or_else(|| panic!("nothing about {hop}: {self:#?}"));
        found.find(|finding| finding.verdict == "fault").unwrap_or(first)
    }

    /// Nothing is to be mended, and these hops alone were not checked.
    pub fn expect_healthy(&self, unchecked: &[&str]) {
        let odd: Vec<_> = self.findings.iter().filter(|finding| finding.verdict != "ok").collect();
        let expected =
            |finding: &&&Finding| finding.verdict == "not_checked" && unchecked.contains(&finding.hop.as_str());
        let count = odd.iter().filter(expected).count();
        assert!(odd.len() == count && count == unchecked.len(), "{odd:#?}");
        assert_eq!(self.code, 0);
    }

    /// These hops alone are faults; the words stand in what the first one says, mends or shows.
    pub fn expect_faults(&self, hops: &[&str], words: &[&str]) -> &Finding {
        let mut faults: Vec<&str> = self
            .findings
            .iter()
            .filter(|finding| finding.verdict == "fault")
            .map(|finding| finding.hop.as_str())
            .collect();
        faults.dedup();
        assert_eq!(faults, hops, "{self:#?}");
        let finding = self.of(hops[0]);
        let all = format!("{}\n{}\n{}", finding.says, finding.mend, finding.snippet);
        for word in words {
            assert!(all.contains(word), "{word:?} is not in {finding:#?}");
        }
        assert!(!finding.mend.is_empty(), "{finding:#?}");
        assert_eq!(self.code, 1);
        finding
    }

    /// There is no fault, and this hop alone has a warning.
    pub fn expect_warning(&self, hop: &str) -> &Finding {
        let odd = |finding: &&Finding| !["ok", "not_checked"].contains(&finding.verdict.as_str());
        let odd: Vec<_> = self.findings.iter().filter(odd).collect();
        assert!(
            odd.len() == 1 && odd[0].verdict == "warning" && odd[0].hop == hop,
            "{odd:#?}"
        );
        assert_eq!(self.code, 0);
        odd[0]
    }

    /// There is no warning.
    pub fn without_warnings(&self) -> &Self {
        let is_warning = |finding: &&Finding| finding.verdict == "warning";
        assert!(self.findings.iter().filter(is_warning).count() == 0, "{self:#?}");
        self
    }
}

/// A name that the certificate of a stage may have instead.
pub const WRONG_NAME: &str = OTHER;

/// The value of an option of the component.
pub fn set_option(joomla: &Joomla, name: &str, value: &str) {
    let text: String = joomla.value("SELECT params FROM #__extensions WHERE element = 'com_websockets'");
    let mut options: Value = serde_json::from_str(&text).expect("options");
    options[name] = json!(value);
    joomla.exec(
        "UPDATE #__extensions SET params = :options WHERE element = 'com_websockets'",
        params! { "options" => options.to_string() },
    );
}
