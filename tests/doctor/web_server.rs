//! A real nginx, or a real Apache, on a free port of this machine's address, with a folder of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::wait_until;

/// nginx. When dropped it is ended.
pub struct Nginx {
    master: Child,
    _folder: tempfile::TempDir,
}

/// A port that is free now.
pub fn free_port(address: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

impl Nginx {
    /// Starts it: `http` stands in `http { }`, `server` in `server { }`. `certificate`: files of the chain and the key.
    pub fn start(at: (Ipv4Addr, u16), certificate: Option<(&Path, &Path)>, http: &str, server: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (ssl, files) = certificate.map_or((String::new(), String::new()), |(chain, key)| {
            let files = format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                chain.display(),
                key.display()
            );
            (" ssl".to_owned(), files)
        });
        let path = folder.path().display();
        let (address, port) = at;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
            .collect();
        let config = format!(
            "daemon off;\nworker_processes 1;\nuser {};\npid {path}/pid;\nerror_log {path}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{temporary}\n{http}\nserver {{\nlisten {address}:{port}{ssl};\n{files}\n{server}\n}}\n}}\n",
            crate::stage::user(),
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("the configuration is written");
        let master = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let log = || fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        wait_until("nginx listens", || TcpStream::connect((address, port)).is_ok(), log);
        Self {
            master,
            _folder: folder,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.master);
    }
}

/// Apache. When dropped it is ended.
pub struct Apache {
    master: Child,
    _folder: tempfile::TempDir,
}

impl Apache {
    /// Starts it: `lines` stand in its one host, and everything else is passed on to the site.
    pub fn start(at: (Ipv4Addr, u16), site: std::net::SocketAddr, lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().display();
        let modules: String = ["mpm_event", "authz_core", "headers", "proxy", "proxy_http"]
            .iter()
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .collect();
        let (address, port) = at;
        let config = format!(
            "ServerRoot {path}\nDefaultRuntimeDir {path}\nPidFile {path}/pid\nErrorLog {path}/error.log\nServerName {address}\n{modules}\
             User www-data\nGroup www-data\nStartServers 1\nListen {address}:{port}\n\
             <VirtualHost {address}:{port}>\nServerName {}\n{lines}\nProxyPreserveHost On\n\
             ProxyPass /ws/ !\nProxyPass / http://{site}/\n</VirtualHost>\n",
            crate::elsewhere::HOST,
        );
        let file = folder.path().join("apache.conf");
        fs::write(&file, config).expect("the configuration is written");
        let master = Command::new("apache2")
            .args(["-DFOREGROUND", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("Apache starts");
        let log = || fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        wait_until("Apache listens", || TcpStream::connect((address, port)).is_ok(), log);
        Self {
            master,
            _folder: folder,
        }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        end(&mut self.master);
    }
}

/// Ends a server with its workers.
fn end(master: &mut Child) {
    // QUIT and WINCH would wait for WebSockets.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(master), rustix::process::Signal::TERM);
    let _ = master.wait();
}
