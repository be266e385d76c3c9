//! The web servers in front of a stage, on this machine's address: nginx and Apache with the lines of a test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::common::web_server::{Product, WebServer};

/// Starts nginx: `http` stands in `http { }`, `server` in `server { }`. `certificate`: files of the chain and the key.
pub fn nginx(at: (Ipv4Addr, u16), certificate: Option<(&Path, &Path)>, http: &str, server: &str) -> WebServer {
    let (ssl, files) = certificate.map_or((String::new(), String::new()), |(chain, key)| {
        let files = format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            chain.display(),
            key.display()
        );
        (" ssl".to_owned(), files)
    });
    let (address, port) = at;
    let lines = format!("{http}\nserver {{\nlisten {address}:{port}{ssl};\n{files}\n{server}\n}}");
    WebServer::start(Product::Nginx, at, &lines)
}

/// Starts Apache: `lines` stand in its one host, and everything else is passed on to the site.
pub fn apache(at: (Ipv4Addr, u16), site: SocketAddr, lines: &str) -> WebServer {
    let (address, port) = at;
    let lines = format!(
        "StartServers 1\nListen {address}:{port}\n<VirtualHost {address}:{port}>\nServerName {}\n{lines}\n\
         ProxyPreserveHost On\nProxyPass /ws/ !\nProxyPass / http://{site}/\n</VirtualHost>\n",
        crate::elsewhere::HOST,
    );
    WebServer::start(Product::Apache("event", "headers proxy proxy_http"), at, &lines)
}

/// Starts Caddy: `lines` stand in its one host, and everything else is passed on to the site.
pub fn caddy(at: (Ipv4Addr, u16), site: SocketAddr, lines: &str) -> WebServer {
    let (address, port) = at;
    let host = crate::elsewhere::HOST;
    let lines = format!("http://{host}:{port} {{\nbind {address}\n{lines}\nhandle {{\nreverse_proxy {site}\n}}\n}}\n");
    WebServer::start(Product::Caddy, at, &lines)
}
