//! A client over TLS, in dialogues like those of `common::Peer`; and OpenSSL's.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::certificates::{Asking, Authority, Certificate, Valid};
use crate::common::peer::handshake;
use crate::common::{Frame, PATIENCE, Server};

/// A server with a certificate, whose files the test may exchange.
pub struct Secure {
    pub authority: Authority,
    pub server: Server,
    /// Where it speaks TLS; `server.addr` is plain.
    pub addr: SocketAddr,
    /// The files that its configuration names.
    pub files: Certificate,
    _folder: tempfile::TempDir,
}

impl Secure {
    /// Starts one. `tls`: more lines for `[tls]`; `more`: further sections.
    pub fn start(tls: &str, more: &str) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a folder");
        let files = Certificate {
            chain: folder.path().join("chain.pem"),
            key: folder.path().join("key.pem"),
        };
        copy(
            &authority.issue(&["DNS:localhost", "IP:127.0.0.1"], Valid::Long),
            &files,
        );
        let (server, addr) = Server::start_secure(&format!("{}{tls}\n{more}", section(&files)));
        Self {
            authority,
            server,
            addr,
            files,
            _folder: folder,
        }
    }

    /// Connects.
    pub fn connect(&self) -> Client {
        self.connect_as("localhost")
    }

    /// Connects and asks for this name.
    pub fn connect_as(&self, name: &str) -> Client {
        let stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Client(self.authority.client(name, stream))
    }

    /// Runs OpenSSL's client with these words, and returns all that it prints.
    pub fn openssl(&self, words: &str) -> String {
        let root = self.authority.root().display().to_string();
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &self.addr.to_string(), "-CAfile", &root])
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// The section of the configuration for these files.
pub fn section(files: &Certificate) -> String {
    let (chain, key) = (files.chain.display(), files.key.display());
    format!("[tls]\ncertificate = \"{chain}\"\nkey = \"{key}\"\n")
}

/// Puts a certificate in the place of another.
pub fn copy(from: &Certificate, to: &Certificate) {
    copy_file(&from.chain, &to.chain);
    copy_file(&from.key, &to.key);
}

/// Replaces a file by another, as `mv` does.
pub fn copy_file(from: &PathBuf, to: &PathBuf) {
    let new = to.with_extension("new");
    fs::copy(from, &new).expect("copied");
    fs::rename(&new, to).expect("renamed");
}

/// One connection.
pub struct Client(pub Asking);

impl Client {
    /// Connects a WebSocket to this path.
    pub fn upgrade(mut self, path: &str) -> Self {
        self.send(handshake(path));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).expect("it takes them");
        self.0.flush().expect("it takes them");
        self
    }

    /// Reads up to and with an empty line.
    pub fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("no answer ({error}) after {:?}", String::from_utf8_lossy(&head));
            });
            head.push(byte[0]);
        }
        String::from_utf8(head).expect("a head in ASCII")
    }

    /// Asks by HTTP, with further header lines, and returns the head of the answer and its body.
    pub fn ask(&mut self, request: &str, headers: &str) -> (String, String) {
        self.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        let head = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
        self.0.read_exact(&mut body).expect("the body");
        (head, String::from_utf8(body).expect("text"))
    }

    /// Sends a text to `/echo` and expects it back.
    pub fn echo(&mut self, text: &str) -> &mut Self {
        self.send(Frame::text(text).bytes());
        self.expect_text(text)
    }

    /// Expects a text of less than 64 KiB.
    pub fn expect_text(&mut self, text: &str) -> &mut Self {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a frame");
        assert_eq!(head[0], 0x81, "a text");
        let len = match head[1] {
            126 => {
                let mut wide = [0; 2];
                self.0.read_exact(&mut wide).expect("a length");
                usize::from(u16::from_be_bytes(wide))
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).expect("a payload");
        assert_eq!(String::from_utf8_lossy(&payload), text);
        self
    }

    /// The certificate that the server has shown.
    pub fn shown(&self) -> Vec<u8> {
        let chain = self.0.conn.peer_certificates().expect("after the handshake");
        chain[0].to_vec()
    }
}
