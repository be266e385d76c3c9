//! What stands behind a proxy: the server on a port that it keeps over a restart, with an access log, and a small site.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use serde_json::Value;

use crate::common::ports::free_port;
use crate::common::pusher::{ID, KEY, SECRET, Site};
use crate::common::web_server::{Product, WebServer};
use crate::common::{PATIENCE, Server, wait_until};

/// What every page of the site says.
pub const PAGE: &str = "the page of the site";

/// Here are all proxies and servers.
pub const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Apache as Debian installs it, with the modules that the everyday lines name.
pub const EVENT: Product = Product::Apache("event", "headers proxy proxy_http proxy_wstunnel rewrite");
/// The same with the MPM that mod_php needs.
pub const PREFORK: Product = Product::Apache("prefork", "headers proxy proxy_http proxy_wstunnel rewrite");

/// The server and the site.
pub struct Stage {
    /// The server; `None` while it is down.
    site: Option<Site>,
    /// Where it listens for proxies.
    pub backend: SocketAddr,
    /// Where the site is.
    pub pages: SocketAddr,
    toml: String,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Starts both. `server` and `limits` are lines of the tables `[server]` and `[limits]`.
    pub fn new(server: &str, limits: &str) -> Self {
        Self::listening("", server, limits, "")
    }

    /// Starts both. `words` stand behind the server's address, `pusher` in `[pusher]`.
    pub fn listening(words: &str, server: &str, limits: &str, pusher: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("access.log");
        let toml = format!(
            "[server]\naccess_log = \"{}\"\n{server}\n[limits]\nconnects_per_second = 0\n{limits}\n[pusher]\n{pusher}\n\
             [[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n",
            log.display()
        );
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).expect("our own folder");
        fs::create_dir(folder.path().join("site")).expect("a folder of the site");
        fs::write(folder.path().join("site/index.html"), PAGE).expect("its page");
        let mut stage = Self {
            site: None,
            backend: (HERE, free_port(HERE)).into(),
            pages: pages(),
            toml,
            folder,
        };
        stage.start(words);
        stage
    }

    /// Starts the server again where it was.
    pub fn start(&mut self, words: &str) {
        let listen = format!("{} {words}", self.backend);
        let server = Server::start_with(&self.toml, |command, _| {
            command.args(["--listen", listen.trim()]);
        });
        self.site = Some(Site { server });
    }

    /// Ends the server.
    pub fn stop(&mut self) {
        self.site = None;
    }

    /// A folder with the site's page, for web servers that read files.
    pub fn document_root(&self) -> String {
        self.folder.path().join("site").display().to_string()
    }

    /// The lines of the access log.
    pub fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.access_log()).unwrap_or_default();
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let parsed = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        complete.lines().map(parsed).collect()
    }

    /// The addresses of the clients that asked for paths which begin so, in their order, at least `count` of them.
    pub fn clients_of(&self, path: &str, count: usize) -> Vec<String> {
        let clients = || -> Vec<String> {
            let lines = self.lines().into_iter();
            let of_path = lines.filter(|line| line["path"].as_str().is_some_and(|other| other.starts_with(path)));
            of_path
                .map(|line| line["client"].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        let seen = || fs::read_to_string(self.access_log()).unwrap_or_default();
        wait_until("the access log has them", || clients().len() >= count, seen);
        clients()
    }

    /// Starts a product with these lines of an administrator, on a free port.
    pub fn behind(&self, product: Product, lines: &str) -> (WebServer, SocketAddr) {
        let at = SocketAddr::from((HERE, free_port(HERE)));
        let lines = filled(product, lines, at, self.backend, self.pages);
        (WebServer::start(product, at, &lines), at)
    }

    fn access_log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }
}

/// An administrator's lines with this test's addresses in place of those that such lines have: port 80 for the proxy,
/// 127.0.0.1:8080 for the server and 127.0.0.1:8081 for the site.
pub fn filled(product: Product, lines: &str, at: SocketAddr, backend: SocketAddr, pages: SocketAddr) -> String {
    let (listens, listen) = match product {
        Product::Nginx => ("listen 80;", format!("listen {at};")),
        Product::Apache(..) => ("<VirtualHost *:80>", format!("<VirtualHost {at}>")),
        Product::Caddy => ("\n:80 {", format!("\nhttp://:{} {{\n    bind {}", at.port(), at.ip())),
        Product::HaProxy => ("bind *:80\n", format!("bind {at}\n")),
    };
    let other = |text: &str, from: &str, to: &str| {
        let changed = text.replace(from, to);
        assert!(changed != text, "{from} is missing in {text}");
        changed
    };
    let text = other(lines, listens, &listen);
    let text = other(&text, "127.0.0.1:8080", &backend.to_string());
    let text = text.replace("127.0.0.1:8081", &pages.to_string());
    match product {
        Product::Apache(..) => format!("Listen {at}\n{text}"),
        _ => text,
    }
}

/// Starts the site. Its threads end with their connections, and with the process.
fn pages() -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).expect("a port");
    let addr = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || show_pages(&stream));
        }
    });
    addr
}

/// Answers every request of a connection with the page.
fn show_pages(stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(PATIENCE * 4));
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let body = if first.starts_with("HEAD ") { "" } else { PAGE };
        let mut answer = stream;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            PAGE.len()
        );
        if answer.write_all((head + body).as_bytes()).is_err() {
            break;
        }
    }
}
