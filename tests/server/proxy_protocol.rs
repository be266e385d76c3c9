//! The PROXY protocol at a listener: a trusted proxy names the client, in a header of version 1 or 2 and in pieces of
//! any size; strangers, bad headers and no header at all are closed, named and counted, beside clients that are served.
//!
//! The forms of headers are in the unit tests of `net::proxy_protocol`.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::frame::{CLOSE, TEXT};
use crate::common::peer::handshake;
use crate::common::pusher::{ID, KEY, SECRET};
use crate::common::{Peer, Server, wait_until};

const GET: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The beginning of version 2.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A server with a listener for everybody, and one that expects headers.
struct Behind {
    server: Server,
    proxied: SocketAddr,
    asked: Cell<u32>,
}

impl Behind {
    fn start(toml: &str) -> Self {
        let server = Server::start_with(toml, |command, _| {
            command
                .args(["--listen", "127.0.0.1:0 proxy_protocol"])
                .env("RUST_LOG", "debug");
        });
        let said = server.printed();
        let address = said
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.strip_suffix('/'));
        Self {
            proxied: address.and_then(|address| address.parse().ok()).expect(&said),
            server,
            asked: Cell::new(0),
        }
    }

    /// A connection that begins with these bytes.
    fn connect(&self, header: impl AsRef<[u8]>) -> Peer {
        let mut peer = Peer::connect_to(self.proxied);
        peer.try_send(header);
        peer
    }

    /// The address that the server takes for the client's, on a connection with this header and a request with these
    /// further lines.
    fn client(&self, header: impl AsRef<[u8]>, lines: &str) -> String {
        self.asked.set(self.asked.get() + 1);
        let path = format!("/nowhere-{}", self.asked.get());
        let request = GET.replace("/health", &path).replace("Host", &format!("{lines}Host"));
        self.connect(header).send(request).expect_status(404);
        let begin = format!("GET {path} from ");
        self.server.logged(&begin);
        let log = self.server.log();
        let (_, rest) = log.split_once(&begin).expect("it was waited for");
        rest.split_once(": ").expect("the status").0.to_owned()
    }

    fn ended(&self, reason: &str) -> u64 {
        let path = format!("/metrics HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n");
        let request = GET.replace("/health HTTP/1.1\r\n", &path);
        let reply = Peer::connect(&self.server).send(request).expect_status(200);
        let sample = format!("jsocketd_connections_ended_total{{reason=\"{reason}\"}} ");
        let line = reply.body.lines().find_map(|line| line.strip_prefix(&sample));
        line.expect(&sample).parse().expect("a number")
    }
}

const TOKEN: &str = "a-token-of-the-test";

trait Logged {
    fn logged(&self, words: &str);
    fn count(&self, words: &str) -> usize;
}

impl Logged for Server {
    /// Waits for a line with these words.
    fn logged(&self, words: &str) {
        wait_until(words, || self.log().contains(words), || self.log());
    }

    fn count(&self, words: &str) -> usize {
        self.log().lines().filter(|line| line.contains(words)).count()
    }
}

fn version_1(source: &str) -> String {
    let family = if source.contains(':') { "TCP6" } else { "TCP4" };
    let destination = if source.contains(':') { "::1" } else { "10.0.0.5" };
    format!("PROXY {family} {source} {destination} 54321 443\r\n")
}

/// Version 2 about an IPv4 connection, with extensions.
fn version_2(source: [u8; 4], extensions: &[u8]) -> Vec<u8> {
    let rest = [&source[..], &[10, 0, 0, 5, 0xd4, 0x31, 1, 0xbb], extensions].concat();
    [BINARY, &[0x21, 0x11], &(rest.len() as u16).to_be_bytes(), &rest].concat()
}

#[test]
fn a_trusted_proxy_names_the_client() {
    let behind = Behind::start("");
    assert_eq!(behind.client(version_1("203.0.113.9"), ""), "203.0.113.9");
    assert_eq!(behind.client(version_1("2001:db8::9"), ""), "2001:db8::9");
    assert_eq!(behind.client(version_1("::ffff:203.0.113.8"), ""), "203.0.113.8");
    assert_eq!(behind.client(version_2([203, 0, 113, 10], b""), ""), "203.0.113.10");
    let extended = [&[5, 0, 3][..], b"id7", &[0xee, 1, 0], &[0; 256]].concat();
    assert_eq!(
        behind.client(version_2([203, 0, 113, 11], &extended), ""),
        "203.0.113.11"
    );

    // A connection of the proxy's own keeps the proxy's address.
    let local = [BINARY, &[0x20, 0, 0, 0]].concat();
    assert_eq!(behind.client(local, ""), "127.0.0.1");
    assert_eq!(behind.client("PROXY UNKNOWN\r\n", ""), "127.0.0.1");
}

#[test]
fn a_forwarding_header_counts_only_behind_a_header_with_a_trusted_address() {
    let behind = Behind::start("[server]\ntrusted_proxies = [\"127.0.0.0/8\", \"198.51.100.0/24\"]\n");
    let forwarded = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(behind.client(version_1("203.0.113.9"), forwarded), "203.0.113.9");
    assert_eq!(behind.client(version_1("198.51.100.7"), forwarded), "192.0.2.1");
    assert_eq!(behind.client("PROXY UNKNOWN\r\n", forwarded), "192.0.2.1");
    let both = "X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\n";
    assert_eq!(behind.client(version_2([198, 51, 100, 7], b""), both), "192.0.2.1");
}

#[test]
fn a_reload_changes_who_is_trusted_and_a_half_written_file_does_not() {
    let behind = Behind::start("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    let reload = |toml: &str, says: &str| {
        std::fs::write(behind.server.config_path(), toml).expect("written");
        behind.server.signal(rustix::process::Signal::HUP);
        behind.server.logged(says);
    };
    reload("[server]\ntrusted_proxies = [\"10.0.0.0/", "jsocketd.toml:2:");
    assert_eq!(behind.client(version_1("203.0.113.9"), ""), "203.0.113.9");
    reload(
        "[server]\ntrusted_proxies = [\"127.0.0.1/8\"]\n",
        "write 127.0.0.0/8 for the network",
    );
    assert_eq!(behind.client(version_1("203.0.113.10"), ""), "203.0.113.10");
    reload(
        "[server]\ntrusted_proxies = [\"127.0.0.2\"]\n",
        "server.trusted_proxies",
    );
    behind.connect(version_1("203.0.113.11")).expect_end();
}

#[test]
fn a_header_may_come_in_pieces_and_together_with_the_request() {
    let behind = Behind::start("");
    for header in [version_1("203.0.113.9").into_bytes(), version_2([203, 0, 113, 9], b"")] {
        let together = [&header, GET.as_bytes()].concat();
        behind.connect(&together).expect_status(200);
        for size in [1, 5, 16] {
            behind.connect("").send_torn(&together, size).expect_status(200);
        }
        let mut peer = behind.connect(&header);
        peer.send(handshake("/echo")).expect_switch();
        peer.text("hello").expect_text("hello");
    }
    behind.server.logged("is of 203.0.113.9, says the proxy 127.0.0.1");
}

#[test]
fn a_stranger_is_closed_with_few_lines_and_is_counted() {
    let toml = format!("[server]\nadmin_token = \"{TOKEN}\"\ntrusted_proxies = [\"192.0.2.1\"]\n");
    let behind = Behind::start(&toml);
    for _ in 0..30 {
        behind.connect(version_1("203.0.113.9")).expect_end();
    }
    // Others are served meanwhile.
    Peer::connect(&behind.server).send(GET).expect_status(200);
    let words =
        "comes from 127.0.0.1, which is not in trusted_proxies, to a listener with proxy_protocol, and is closed";
    behind.server.logged(words);
    assert!(behind.server.count(words) < 10, "{}", behind.server.log());
    wait_until(
        "all are counted",
        || behind.ended("stranger") == 30,
        || behind.server.log(),
    );
    assert!(
        !behind.server.log().contains("203.0.113.9"),
        "nobody reads what it sends"
    );
}

#[test]
fn a_bad_header_is_named_and_closed() {
    let toml = format!("[server]\nadmin_token = \"{TOKEN}\"\n");
    let behind = Behind::start(&toml);
    let endless = format!("PROXY TCP4 {}", "1".repeat(200));
    let bad: [(&[u8], &str); 6] = [
        (
            GET.as_bytes(),
            "comes from 127.0.0.1, sent no header of the PROXY protocol and is closed",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello",
            "sent no header of the PROXY protocol",
        ),
        (
            b"PROXY TCP4 2001:db8::9 ::1 1 2\r\nGET / HTTP/1.1\r\n",
            "sent a bad header of the PROXY protocol",
        ),
        (
            b"PROXY TCP4 0.0.0.0 10.0.0.5 1 2\r\n",
            "with 0.0.0.0, which is no client's address",
        ),
        (endless.as_bytes(), "of more than 107 bytes"),
        (&[BINARY, &[0x21, 0x11, 0xff, 0xff]].concat(), "of more than 2048 bytes"),
    ];
    for (bytes, words) in bad {
        behind.connect(bytes).expect_end();
        // A line of the kind is written once a second.
        wait_until(
            words,
            || {
                behind.connect(bytes).expect_end();
                behind.server.log().contains(words)
            },
            || behind.server.log(),
        );
    }
    assert!(behind.ended("bad_header") >= bad.len() as u64);
    // A second header belongs to nobody: it is a bad request.
    let twice = [version_1("203.0.113.9"), version_1("203.0.113.10")].concat();
    behind.connect(twice).expect_status(400);
    let twice = [version_2([203, 0, 113, 9], b""), version_2([203, 0, 113, 9], b"")].concat();
    behind.connect(twice).expect_status(400);
}

#[test]
fn a_header_that_does_not_come_runs_into_the_deadline() {
    let behind = Behind::start("[limits]\nhandshake_timeout = 1\n");
    let began = Instant::now();
    let mut silent = behind.connect("");
    let mut half = behind.connect("PROXY TCP4 203.0");
    // The time of the header belongs to the time of the request.
    let mut late = behind.connect(version_1("203.0.113.9"));
    for peer in [&mut silent, &mut half] {
        peer.drain();
    }
    late.expect_status(408);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    behind.server.logged("ran into handshake_timeout");
    // One that ends before it has said anything, as a health check of a load balancer does.
    assert_eq!(behind.connect("").finish_and_drain(), crate::common::peer::End::Eof);
}

#[test]
fn the_limits_by_address_are_the_client_s() {
    let behind = Behind::start("[limits]\nconnections_per_address = 1\n");
    let mut first = behind.connect(version_1("203.0.113.1"));
    first.send(handshake("/echo")).expect_switch();
    for n in 2..6 {
        let mut other = behind.connect(version_1(&format!("203.0.113.{n}")));
        other.send(GET).expect_status(200);
    }
    behind.connect(version_1("203.0.113.1")).send(GET).expect_status(429);
    first.text("still here").expect_text("still here");
    drop(first);
    wait_until(
        "its place is free",
        || behind.connect(version_1("203.0.113.1")).send(GET).reply().status == 200,
        || behind.server.log(),
    );
}

#[test]
fn a_header_says_whether_the_client_came_by_tls() {
    let behind = Behind::start(&format!(
        "[pusher]\nstrict_origin = true\n[[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n"
    ));
    let opens = |header: &[u8], lines: &str, origin: &str| {
        let mut peer = behind.connect(header);
        let lines = format!("{lines}Origin: {origin}\r\nUpgrade: w");
        peer.send(handshake(&format!("/app/{KEY}?protocol=7")).replace("Upgrade: w", &lines));
        peer.expect_switch();
        let (first, _) = (peer.any_frame(), ());
        match first {
            (TEXT, text) if text.starts_with(br#"{"event":"pusher:connection_established""#) => true,
            (TEXT, _) | (CLOSE, _) => false,
            other => panic!("{other:?}"),
        }
    };
    let by_tls = version_2([203, 0, 113, 9], &[0x20, 0, 5, 1, 0, 0, 0, 0]);
    let without = version_2([203, 0, 113, 9], &[0x20, 0, 5, 0, 0, 0, 0, 0]);
    let version_1 = version_1("203.0.113.9").into_bytes();
    let (https, http) = ("https://localhost", "http://localhost");
    assert!(opens(&by_tls, "", https) && !opens(&by_tls, "", http));
    assert!(!opens(&without, "", https) && opens(&without, "", http));
    assert!(
        !opens(&version_1, "", https) && opens(&version_1, "", http),
        "the port is no proof"
    );
    // A proxy in front of the proxy knows better, if it is trusted.
    let proto = "X-Forwarded-Proto: http\r\n";
    assert!(opens(&by_tls, proto, https), "203.0.113.9 is the client");
    let trusted = version_2([127, 0, 0, 1], &[0x20, 0, 5, 1, 0, 0, 0, 0]);
    assert!(!opens(&trusted, proto, https) && opens(&trusted, proto, http));
}

#[test]
fn a_unix_socket_may_expect_headers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("j.sock");
    let entry = format!("unix:{} proxy_protocol", path.display());
    let server = Server::start_with("", |command, _| {
        command.args(["--listen", &entry]).env("RUST_LOG", "debug");
    });
    assert_eq!(server.printed(), format!("listening on unix:{}", path.display()));
    let ask = |begin: &str| {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream
            .set_read_timeout(Some(crate::common::PATIENCE))
            .expect("a timeout");
        let request = GET.replace("Host", "Connection: close\r\nHost");
        stream.write_all(format!("{begin}{request}").as_bytes()).expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    assert!(
        ask(&version_1("203.0.113.9"))
            .expect("an answer")
            .starts_with("HTTP/1.1 200")
    );
    server.logged("GET /health from 203.0.113.9");
    assert!(ask("PROXY UNKNOWN\r\n").expect("an answer").starts_with("HTTP/1.1 200"));
    server.logged("GET /health from a Unix socket");
    assert!(ask("").map_or(true, |answer| answer.is_empty()), "no header, no answer");
    server.logged("comes from a Unix socket, sent no header");
}
