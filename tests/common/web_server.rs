//! Real web servers and proxies of Debian, each on a free port with a folder of its own: nginx, Apache, Caddy and
//! HAProxy. A test has lines for the place where an administrator writes; here stands the smallest configuration around
//! them, with the time-outs that the products have in Debian.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::ports::bound;
use super::{PATIENCE, wait_until};

/// A product, and what differs between its installations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// nginx; the lines stand in `http { }`.
    Nginx,
    /// Apache with this MPM and, besides the modules that Debian enables, these; the lines stand behind them.
    Apache(&'static str, &'static str),
    /// Caddy; the lines are a Caddyfile, without TLS unless they begin with options of their own.
    Caddy,
    /// HAProxy; the lines stand behind `global` and `defaults` of Debian, unless they have their own.
    HaProxy,
}

/// The modules that Debian's apache2 enables, without those that need files of the system and the MPM.
const APACHE: &str = "access_compat alias auth_basic authn_core authz_core authz_host authz_user autoindex deflate dir \
                      env filter mime negotiation reqtimeout setenvif status";

/// Debian's `/etc/apache2/apache2.conf` and `mods-available/reqtimeout.conf`, as far as they are about time.
const APACHE_TIMES: &str = "Timeout 300\nKeepAlive On\nMaxKeepAliveRequests 100\nKeepAliveTimeout 5\n\
                            RequestReadTimeout header=20-40,minrate=500\nRequestReadTimeout body=10,minrate=500\n";

/// Debian's `/etc/haproxy/haproxy.cfg`, without what needs root.
const HAPROXY: &str = "
global
    log stderr local0

defaults
    log global
    mode http
    option httplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000

";

/// A web server. When dropped it is ended.
pub struct WebServer {
    product: Product,
    at: SocketAddr,
    master: Child,
    folder: tempfile::TempDir,
}

impl WebServer {
    /// Starts the product with these lines and waits until it listens at this address.
    pub fn start(product: Product, at: impl Into<SocketAddr>, lines: &str) -> Self {
        let at = at.into();
        let folder = folder();
        let file = written(product, folder.path(), lines);
        let mut command = command(product, folder.path());
        match product {
            Product::Nginx => command.arg("-c").arg(&file),
            Product::Apache(..) => command.args(["-DFOREGROUND", "-f"]).arg(&file),
            Product::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file),
            Product::HaProxy => command.args(["-db", "-f"]).arg(&file),
        };
        let said = folder.path().join("out");
        let out = fs::File::create(&said).expect("a file for the output");
        command
            .stdout(out.try_clone().expect("a second descriptor"))
            .stderr(out);
        let master = command
            .spawn()
            .unwrap_or_else(|why| panic!("{product:?} does not start: {why}"));
        let mut server = Self {
            product,
            at,
            master,
            folder,
        };
        let mut ended = false;
        let listens = || {
            ended = matches!(server.master.try_wait(), Ok(Some(_)));
            ended || TcpStream::connect(at).is_ok()
        };
        let log = || fs::read_to_string(&said).unwrap_or_default();
        wait_until("the product listens", listens, log);
        assert!(!ended, "{product:?} ended: {}\n{lines}", server.log());
        server
    }

    /// Runs the product's own test of its configuration over these lines.
    pub fn test(product: Product, lines: &str) -> Output {
        let folder = folder();
        let file = written(product, folder.path(), lines);
        let mut command = command(product, folder.path());
        match product {
            Product::Nginx => command.arg("-t").arg("-c").arg(&file),
            Product::Apache(..) => command.args(["-t", "-f"]).arg(&file),
            Product::Caddy => command
                .args(["validate", "--adapter", "caddyfile", "--config"])
                .arg(&file),
            Product::HaProxy => command.args(["-c", "-f"]).arg(&file),
        };
        command
            .output()
            .unwrap_or_else(|why| panic!("{product:?} does not start: {why}"))
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("out") + &read("log")
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let process = Pid::from_child(&self.master);
        // Apache and Caddy would wait for WebSockets, and so would nginx with QUIT.
        let _ = match self.product {
            Product::Nginx | Product::HaProxy => kill_process(process, Signal::TERM),
            Product::Caddy => kill_process(process, Signal::KILL),
            Product::Apache(..) => kill_process_group(process, Signal::KILL),
        };
        let _ = self.master.wait();
        // Workers may listen a moment longer, and the next server of the test would not get the port.
        let deadline = Instant::now() + PATIENCE;
        while bound(self.at).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if std::thread::panicking() {
            eprintln!("--- the log of {:?}:\n{}", self.product, self.log());
        }
    }
}

/// A temporary folder in which the workers of a web server may read.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    folder
}

/// The product's program, which uses no folder but this one.
fn command(product: Product, folder: &Path) -> Command {
    let mut command = match product {
        Product::Nginx => Command::new("nginx"),
        Product::Apache(..) => apache(),
        Product::Caddy => Command::new("caddy"),
        Product::HaProxy => Command::new("haproxy"),
    };
    if product == Product::Nginx {
        command.arg("-p").arg(folder).arg("-e").arg(folder.join("log"));
    }
    // Debian's web servers are in a folder that only root has in its path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    command
        .env("PATH", path)
        .env("HOME", folder)
        .env("XDG_DATA_HOME", folder);
    command.env("XDG_CONFIG_HOME", folder).stdin(Stdio::null());
    command
}

/// Apache in a process group of its own, because it sends signals to its whole group. The end of the tests' group does
/// not concern it then, so the kernel ends it when the thread that started it is gone.
fn apache() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "apache2"]).process_group(0);
    command
}

/// Writes the whole configuration.
fn written(product: Product, folder: &Path, lines: &str) -> PathBuf {
    let path = folder.display();
    let text = match product {
        Product::Nginx => {
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .iter()
                .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
                .collect();
            let user = if rustix::process::geteuid().is_root() {
                "user root;\n"
            } else {
                ""
            };
            format!(
                "daemon off;\nworker_processes 1;\n{user}pid {path}/pid;\nevents {{ worker_connections 256; }}\n\
                 http {{\naccess_log off;\n{temporary}\n{lines}\n}}\n"
            )
        }
        Product::Apache(mpm, more) => {
            let mpm = format!("mpm_{mpm}");
            let modules: String = [mpm.as_str()]
                .into_iter()
                .chain(APACHE.split_whitespace())
                .chain(more.split_whitespace())
                // `a2enmod ssl` switches it on too.
                .chain(more.contains("ssl").then_some("socache_shmcb"))
                .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
                .collect();
            let user = match rustix::process::geteuid().is_root() {
                true => "User www-data\nGroup www-data\n",
                false => "",
            };
            format!(
                "ServerRoot {path}\nDefaultRuntimeDir {path}\nPidFile {path}/pid\nErrorLog {path}/log\nServerName \
                 localhost\nMutex file:{path}\nTypesConfig /etc/mime.types\n{modules}{user}{APACHE_TIMES}{lines}\n"
            )
        }
        Product::Caddy if lines.trim_start().starts_with('{') => lines.to_owned(),
        Product::Caddy => format!("{{\n    admin off\n    auto_https off\n}}\n{lines}\n"),
        Product::HaProxy if lines.contains("\ndefaults") => lines.to_owned(),
        Product::HaProxy => format!("{HAPROXY}{lines}\n"),
    };
    let file = folder.join("configuration");
    fs::write(&file, text).expect("the configuration is written");
    file
}
