//! A real nginx on a free port of this machine's address, with a folder of its own.

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
        let pid = rustix::process::Pid::from_child(&self.master);
        // QUIT would wait for WebSockets. Its worker ends with it.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.master.wait();
    }
}
