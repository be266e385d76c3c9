//! A small blocking HTTP client for the commands that ask a running server, over TCP, TLS or a Unix socket. It has
//! deadlines, since a command must end.
//! Rejected: ureq 3.5 and minreq 3.0. A server may refuse early and close while the request is still being sent: both
//! return the broken connection then, not the answer. minreq takes an answer that is no HTTP for a 503. Neither speaks
//! over a Unix socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jsocketd::config::{Config, HttpUrl, ListenAddr, ListenEntry};
use jsocketd::trust::{self, Trust};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{Domain, SockAddr, Socket, Type};

use super::wire::Wire;

/// How long each address of the server may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the whole exchange may take from then on.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// The most bytes of an answer. No answer that a command asks for is longer; the records of the loop are the longest.
pub const LARGEST: u64 = 2 << 20;

/// The first bytes of an alert of TLS, which answers requests without TLS.
const ALERT: &[u8] = &[21, 3];

/// How many characters are shown of an answer that cannot be read.
const SHOWN: usize = 300;

/// Where a server is asked.
#[derive(Clone, Debug)]
pub enum Server {
    /// At this host and port.
    Tcp(HttpUrl),
    /// There, with TLS.
    Tls(HttpUrl, Box<ClientConfig>),
    /// At this Unix socket.
    Unix(PathBuf),
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Server {
    /// The server at `--url`, whose certificate may be of an authority in these files, and the text before its own
    /// paths.
    ///
    /// # Errors
    /// The URL has a query, or a file has no authority.
    pub fn named(url: &HttpUrl, ca: &[PathBuf]) -> Result<(Self, String), String> {
        if url.path.contains('?') {
            return Err("--url must end before its ?".into());
        }
        let trust = Trust::new(ca).map_err(|bad| format!("--ca {bad}"))?;
        let server = match url.tls {
            true => Self::Tls(url.clone(), Box::new(trust.client())),
            false => Self::Tcp(url.clone()),
        };
        Ok((server, url.path.trim_end_matches('/').to_owned()))
    }

    /// The server at `--url` or in the configuration, and the text before the paths of the Pusher protocol.
    ///
    /// # Errors
    /// Those of [`Self::named`] and [`Self::of_listener`].
    pub fn for_clients(url: Option<&HttpUrl>, ca: &[PathBuf], config: &Config) -> Result<(Self, String), String> {
        match url {
            Some(url) => Self::named(url, ca),
            None => Ok((Self::of_listener(config)?, config.pusher.path.clone())),
        }
    }

    /// The address where the server listens for clients, as seen from this machine: one without TLS, if there is any.
    /// The server at one with TLS must show the certificate of the configuration.
    ///
    /// # Errors
    /// The configuration has no TCP address with a port, or its certificate cannot be read.
    pub fn of_listener(config: &Config) -> Result<Self, String> {
        // A connection without a header of the PROXY protocol is refused where one is expected.
        let tcp = |entry: &ListenEntry| match entry.address {
            ListenAddr::Tcp(address) if address.port() != 0 && !entry.proxy_protocol => {
                Some((config.tls.covers(entry), address))
            }
            _ => None,
        };
        let places = config.server.listen.iter().filter_map(tcp);
        let Some((tls, mut address)) = places.min_by_key(|(tls, _)| *tls) else {
            return Err(
                "the configuration names no TCP address with its port and without proxy_protocol: name the server with \
                 --url http://HOST:PORT"
                    .into(),
            );
        };
        match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let url = HttpUrl {
            tls,
            host: address.ip().to_string(),
            port: address.port(),
            path: "/".into(),
        };
        if !tls {
            return Ok(Self::Tcp(url));
        }
        let client = trust::client_of_own(Path::new(&config.tls.certificate));
        let client = client.map_err(|bad| format!("[tls] certificate {bad}"))?;
        Ok(Self::Tls(url, Box::new(client)))
    }

    /// The server at this address; `None`: its port is not known.
    pub fn at(address: &ListenAddr) -> Option<Self> {
        match address {
            ListenAddr::Unix(path) => Some(Self::Unix(path.clone())),
            ListenAddr::Tcp(address) if address.port() == 0 => None,
            ListenAddr::Tcp(address) => Some(Self::Tcp(HttpUrl {
                tls: false,
                host: address.ip().to_string(),
                port: address.port(),
                path: "/".into(),
            })),
        }
    }

    /// The value of the `Host` header.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp(url) | Self::Tls(url, _) => url.authority(),
            Self::Unix(_) => "localhost".into(),
        }
    }

    /// Connects. Reads and writes wait for [`TIMEOUT`] at most.
    ///
    /// # Errors
    /// A clause: the operating system's error for the last address that was tried, or what is wrong with TLS.
    pub fn connect(&self) -> Result<Wire, String> {
        self.connect_within(CONNECT_TIMEOUT)
    }

    /// `limit` is for each address, and for the handshake of TLS.
    fn connect_within(&self, limit: Duration) -> Result<Wire, String> {
        let plain = |socket: io::Result<Socket>| {
            let socket = socket.map_err(|error| error.to_string())?;
            Ok(Wire::plain(socket, Instant::now() + TIMEOUT))
        };
        match self {
            Self::Tcp(url) => plain(connect(url, limit)),
            Self::Tls(url, config) => {
                let name = ServerName::try_from(url.host.clone());
                let name = name.map_err(|_| "its host is no name for a certificate".to_owned())?;
                let socket = connect(url, limit).map_err(|error| error.to_string())?;
                let wire = Wire::tls(socket, Instant::now() + limit, config, name);
                let mut wire = wire.map_err(|error| handshake_failed(&error, &url.host))?;
                wire.wait_until(Instant::now() + TIMEOUT);
                Ok(wire)
            }
            Self::Unix(path) => plain(Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
                socket.connect_timeout(&SockAddr::unix(path)?, limit)?;
                Ok(socket)
            })),
        }
    }

    /// Asks for a path, with further header lines, each with its line end.
    ///
    /// # Errors
    /// Those of [`Self::exchange`].
    pub fn get(&self, path: &str, lines: &str) -> Result<Answer, String> {
        self.exchange(&self.request(path, lines))
    }

    /// The request for a path, with further header lines.
    pub fn request(&self, path: &str, lines: &str) -> String {
        let (host, version) = (self.host(), env!("CARGO_PKG_VERSION"));
        // HTTP/1.0: no proxy answers it in chunks.
        format!(
            "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: jsocketd/{version}\r\n{lines}Connection: close\r\n\r\n"
        )
    }

    /// Sends a request and returns the answer.
    ///
    /// # Errors
    /// A sentence that names the server: it cannot be reached, is too slow, or does not answer in HTTP.
    pub fn exchange(&self, request: &str) -> Result<Answer, String> {
        let mut exchange = Exchange::begin(self, request, CONNECT_TIMEOUT)?;
        loop {
            if let Some(answer) = exchange.wait(TIMEOUT)? {
                return Ok(answer);
            }
        }
    }
}

/// A request that was sent, and what has come of its answer.
pub struct Exchange {
    server: Server,
    stream: Wire,
    /// Whether the whole request was sent.
    sent: io::Result<()>,
    bytes: Vec<u8>,
    deadline: Instant,
}

impl Exchange {
    /// Connects within `limit` for each address, and sends a request.
    ///
    /// # Errors
    /// A sentence that names the server, which cannot be reached.
    pub fn begin(server: &Server, request: &str, limit: Duration) -> Result<Self, String> {
        let connected = server.connect_within(limit);
        let mut stream = connected.map_err(|why| format!("{server}: {why}"))?;
        let deadline = Instant::now() + TIMEOUT;
        // A server may refuse early: it answers and closes while the rest is still being sent. Its answer counts.
        let sent = stream.write_all(request.as_bytes());
        Ok(Self {
            server: server.clone(),
            stream,
            sent,
            bytes: Vec::new(),
            deadline,
        })
    }

    /// Waits for the answer, at most this long; `None`: it has not come whole.
    ///
    /// # Errors
    /// A sentence that names the server: it is too slow, or does not answer in HTTP.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<Answer>, String> {
        let (server, until) = (&self.server, Instant::now() + limit);
        let received = receive(&mut self.stream, &mut self.bytes, until.min(self.deadline));
        let whole = match received {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && until < self.deadline => return Ok(None),
            received if self.bytes.is_empty() => std::mem::replace(&mut self.sent, Ok(()))
                .and(received)
                .and(Err(io::Error::other("it closed the connection without an answer"))),
            received => received,
        };
        whole.map_err(|error| format!("{server}: {error}"))?;
        match Answer::parse(&self.bytes) {
            Some(answer) => Ok(Some(answer)),
            None if self.bytes.starts_with(ALERT) => Err(format!("{server} speaks TLS at this port: write https://")),
            None => Err(format!("{server} does not answer in HTTP")),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(url) | Self::Tls(url, _) => write!(f, "{}://{}", url.scheme(), url.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Answer {
    /// Reads an answer that has been received whole, or up to the end of its stream.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(end)) = response.parse(bytes) else {
            return None;
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = response.headers.iter();
        Some(Self {
            status: response.code?,
            headers: headers
                .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
                .collect(),
            body: bytes[end..].to_vec(),
        })
    }

    /// The value of a header; its name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The beginning of the body for a terminal.
    pub fn sentence(&self) -> String {
        on_one_line(&String::from_utf8_lossy(&self.body))
    }
}

/// Whether a character from outside could move a terminal's cursor, or show the text around it in another order.
pub fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text from outside, for a terminal: without harmful characters.
pub fn on_one_line(text: &str) -> String {
    let blank = |c: char| if is_harmful(c) { ' ' } else { c };
    let line: String = text.chars().map(blank).collect();
    line.trim().chars().take(SHOWN).collect()
}

/// JSON from outside, for a terminal: on one line and without harmful characters. Those that JSON allows between
/// strings become blanks. It allows none of them within strings, where the others are written in another way.
pub fn harmless(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.push(' '),
            c if is_harmful(c) => shown += &format!("\\u{:04x}", u32::from(c)),
            c => shown.push(c),
        }
    }
    shown
}

/// Why the handshake of TLS failed, as a clause with the remedy.
fn handshake_failed(error: &io::Error, host: &str) -> String {
    match (trust::in_io(error), error.kind()) {
        (Some(fault), _) => trust::what_to_do(fault, host, "--ca FILE"),
        (None, io::ErrorKind::UnexpectedEof) => "it ended the connection in the TLS handshake".into(),
        (None, io::ErrorKind::WouldBlock) => "it does not answer the TLS handshake in time".into(),
        (None, _) => error.to_string(),
    }
}

fn connect(url: &HttpUrl, limit: Duration) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => return Ok(stream.into()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads to the end of the stream or of the announced body.
fn receive(stream: &mut Wire, answer: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let mut buffer = [0; 1 << 16];
    stream.wait_until(deadline);
    while !is_whole(answer) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The deadline.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
        if answer.len() as u64 > LARGEST {
            return Err(io::Error::other("its answer is larger than 2 MiB"));
        }
    }
    Ok(())
}

/// Whether the announced body is complete. Without an announcement it ends with the stream.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(answer) = Answer::parse(bytes) else {
        return false;
    };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    length.is_some_and(|length: usize| answer.body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_announced_body() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n\r\n{}"), "it ends with the stream");
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for bytes in ["HTTP/1.1 502 X\r\n", "SSH-2.0-OpenSSH\r\n", ""] {
            assert_eq!(Answer::parse(bytes.as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_servers_address_is_the_one_that_the_configuration_listens_on() {
        let at = |addresses: &[&str]| {
            let mut config = Config::default();
            config.server.listen = addresses.iter().map(|text| text.parse().expect(text)).collect();
            Server::of_listener(&config).map(|server| server.to_string())
        };
        for (addresses, url) in [
            (&["0.0.0.0:80"][..], "http://127.0.0.1"),
            (&["[::]:81"], "http://[::1]:81"),
            (&["unix:/run/x", "127.0.0.1:0", "10.0.0.1:8080"], "http://10.0.0.1:8080"),
            (
                &["127.0.0.1:82 proxy_protocol", "127.0.0.1:83 plain"],
                "http://127.0.0.1:83",
            ),
        ] {
            assert_eq!(at(addresses).as_deref(), Ok(url));
        }
        assert!(at(&["unix:/run/x", "127.0.0.1:0", "127.0.0.1:1 proxy_protocol"]).is_err());
    }
}
