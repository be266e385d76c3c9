//! Hostile and unusual handshakes: the requests that become a WebSocket, the refusals of all others, and a good client
//! that is served meanwhile (RFC 6455 section 4.2, RFC 9112).

use std::time::{Duration, Instant};

use crate::common::peer::{KEY, handshake};
use crate::common::server::OPEN;
use crate::common::{Frame, Noise, Peer, Server, wait_until};

/// A handshake with these header lines after the request line.
fn request(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("GET /echo HTTP/1.1\r\n{lines}\r\n")
}

const HOST: &str = "Host: localhost";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const KEY_LINE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

/// A right handshake with `line` in place of the one that starts like it, and with nothing there if it is only a name.
fn with(line: &str) -> String {
    let name = line.split(':').next().unwrap_or(line);
    let right = [HOST, UPGRADE, CONNECTION, VERSION, KEY_LINE];
    let lines: Vec<&str> = right
        .into_iter()
        .map(|given| {
            if given.starts_with(&format!("{name}:")) {
                line
            } else {
                given
            }
        })
        .filter(|line| line.contains(':'))
        .collect();
    request(&lines)
}

/// A right handshake with this line more.
fn and(line: &str) -> String {
    request(&[HOST, UPGRADE, CONNECTION, VERSION, KEY_LINE, line])
}

/// It is accepted, whole and byte by byte, with the same answer, and the socket works.
fn accepted(server: &Server, what: &str, request: &str) -> String {
    let heads: Vec<String> = [usize::MAX, 1, 7]
        .into_iter()
        .map(|size| {
            println!("{what}, in pieces of {size}");
            let mut ws = Peer::connect(server);
            ws.send_torn(request, size);
            let head = ws.expect_switch();
            ws.text("hi").expect_text("hi").close(1000, "").expect_close(1000);
            head
        })
        .collect();
    assert!(
        heads.iter().all(|head| *head == heads[0]),
        "answers differ with the segments: {heads:?}"
    );
    heads[0].clone()
}

/// It is refused with this status, whole and byte by byte.
fn refused(server: &Server, what: &str, request: impl AsRef<[u8]>, status: u16) -> crate::common::Reply {
    let request = request.as_ref();
    println!("{what}, byte by byte");
    let mut torn = Peer::connect(server);
    for byte in request {
        torn.try_send([*byte]);
    }
    let byte_by_byte = torn.expect_refusal(status);
    println!("{what}, whole");
    let whole = Peer::connect(server).send(request).expect_refusal(status);
    assert_eq!(whole, byte_by_byte, "{what}: answers differ with the segments");
    whole
}

#[test]
fn header_names_and_tokens_in_any_case() {
    let server = Server::start(OPEN);
    accepted(&server, "as it is", &handshake("/echo"));
    accepted(
        &server,
        "lower case",
        &handshake("/echo")
            .to_lowercase()
            .replace("get /echo http", "GET /echo HTTP")
            .replace(&KEY.to_lowercase(), KEY),
    );
    for line in [
        "Upgrade: WebSocket",
        "Upgrade: WEBSOCKET",
        "Connection: UPGRADE",
        "Connection: upgrade",
    ] {
        accepted(&server, line, &with(line));
    }
}

#[test]
fn connection_as_a_list() {
    let server = Server::start(OPEN);
    for line in [
        "Connection: keep-alive, Upgrade",
        "Connection: keep-alive,Upgrade",
        "Connection:Upgrade,keep-alive",
        "Connection: keep-alive , Upgrade",
        "Connection: ,Upgrade,",
        "Connection: keep-alive\r\nConnection: Upgrade",
        "Connection: Upgrade\r\nConnection: keep-alive",
    ] {
        accepted(&server, line, &with(line));
    }
    accepted(&server, "Upgrade as a list", &with("Upgrade: websocket, foo"));
}

#[test]
fn spaces_around_values() {
    let server = Server::start(OPEN);
    accepted(&server, "no space", &with("Upgrade:websocket"));
    accepted(&server, "trailing spaces", &with("Upgrade: websocket  \t "));
    accepted(
        &server,
        "a trailing space after the key",
        &with(&format!("{KEY_LINE} ")),
    );
    accepted(&server, "a tab", &with("Sec-WebSocket-Version:\t13\t"));
}

#[test]
fn absolute_form_targets() {
    let server = Server::start(OPEN);
    let absolute = handshake("/echo").replace("GET /echo", "GET http://localhost/echo");
    accepted(&server, "absolute", &absolute);
    accepted(&server, "a query", &handshake("/echo?a=b&c=%20"));
}

#[test]
fn unknown_extensions_and_protocols_are_not_echoed() {
    let server = Server::start(OPEN);
    for line in [
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Sec-WebSocket-Extensions: x-unknown, foo; bar=1",
        "Sec-WebSocket-Protocol: chat, superchat",
    ] {
        let head = accepted(&server, line, &and(line)).to_ascii_lowercase();
        assert!(
            !head.contains("sec-websocket-extensions") && !head.contains("sec-websocket-protocol"),
            "{head}"
        );
    }
}

#[test]
fn sixty_headers_and_a_large_cookie() {
    let server = Server::start(OPEN);
    let lines: String = (0..55).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    accepted(&server, "60 headers", &and(lines.trim_end()));
    accepted(
        &server,
        "a cookie of 4 KB",
        &and(&format!("Cookie: session={}", "c".repeat(4096))),
    );
}

#[test]
fn no_upgrade_to_websocket() {
    let server = Server::start(OPEN);
    for line in ["Upgrade", "Upgrade: h2c", "Upgrade: websocket2", "Upgrade:"] {
        refused(&server, line, with(line), 400);
    }
    for line in [
        "Connection",
        "Connection: keep-alive",
        "Connection: upgraded",
        "Connection: close",
    ] {
        refused(&server, line, with(line), 400);
    }
    // A plain GET is no broken handshake: the answer names the upgrade that this path needs.
    let plain = Peer::connect(&server)
        .send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect_status(426);
    assert_eq!(plain.header("sec-websocket-version"), Some("13"));
}

#[test]
fn another_version_gets_426_with_ours() {
    let server = Server::start(OPEN);
    for line in [
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Version: 8",
        "Sec-WebSocket-Version: 14",
        "Sec-WebSocket-Version: 013",
        "Sec-WebSocket-Version: x",
        "Sec-WebSocket-Version:",
    ] {
        let reply = refused(&server, line, with(line), 426);
        assert_eq!(reply.header("sec-websocket-version"), Some("13"), "{}", reply.head);
    }
}

#[test]
fn bad_keys_versions_and_hosts_get_400() {
    let server = Server::start(OPEN);
    for line in [
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Key:",
        "Sec-WebSocket-Key: short",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==",
        "Sec-WebSocket-Version: 13, 8",
        "Host",
    ] {
        refused(&server, line, with(line), 400);
    }
    for line in [
        KEY_LINE,
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        VERSION,
        "Sec-WebSocket-Version: 8",
        HOST,
    ] {
        refused(&server, &format!("a second {line}"), and(line), 400);
    }
}

#[test]
fn other_methods_get_405_with_allow() {
    let server = Server::start(OPEN);
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"] {
        println!("{method}");
        let mut peer = Peer::connect(&server);
        peer.send(handshake("/echo").replacen("GET", method, 1));
        // The answer to HEAD has no body.
        let reply = if method == "HEAD" { peer.head() } else { peer.reply() };
        assert_eq!(reply.status, 405, "{}", reply.head);
        assert!(
            reply.header("allow").is_some_and(|allow| allow.contains("GET")),
            "{}",
            reply.head
        );
    }
}

#[test]
fn other_versions_of_http_get_505() {
    let server = Server::start(OPEN);
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/3.0"] {
        refused(&server, version, handshake("/echo").replace("HTTP/1.1", version), 505);
    }
}

#[test]
fn bytes_that_must_not_be_in_a_head_get_400() {
    let server = Server::start(OPEN);
    for (what, request) in [
        (
            "a space before the colon",
            with("Upgrade : websocket").replacen("\r\nUpgrade: websocket", "", 1),
        ),
        ("a tab before the colon", and("X-Tab\t: a")),
        ("a NUL in a name", and("X-N\0l: a")),
        ("a control byte in a name", and("X-\x01: a")),
        ("no name", and(": a")),
        ("no colon", and("nothing")),
        ("a NUL in a value", and("X-Value: a\0b")),
        ("a control byte in a value", and("X-Value: a\x02b")),
        ("DEL in a value", and("X-Value: a\x7fb")),
        ("a bare CR in a value", and("X-Value: a\rb")),
        ("a bare LF in a value", and("X-Value: a\nb")),
        ("a folded line", and("X-Value: a\r\n b")),
        ("a line folded with a tab", and("X-Value: a\r\n\tb")),
        ("a NUL in the target", handshake("/ec\0ho")),
        ("a control byte in the target", handshake("/ec\x01ho")),
        ("a space in the target", handshake("/ec ho")),
        ("no version", handshake("/echo").replace(" HTTP/1.1", "")),
        ("another protocol", handshake("/echo").replace("HTTP/1.1", "HTCPCP/1.0")),
        ("no target", handshake("").replace("GET  ", "GET ")),
    ] {
        refused(&server, what, request, 400);
    }
}

#[test]
fn a_body_on_an_upgrade_request_gets_400() {
    let server = Server::start(OPEN);
    refused(&server, "a length", and("Content-Length: 5"), 400);
    refused(&server, "chunks", and("Transfer-Encoding: chunked"), 400);
}

#[test]
fn bytes_that_are_not_http_get_400_or_a_closed_connection_and_no_log_line() {
    let server = Server::start(OPEN);
    let quiet = server.log();
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend(Noise(7).bytes(517));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let noise = |seed: u64| {
        let mut noise = Noise(seed).bytes(1000);
        noise[0] |= 0x80;
        noise
    };
    for (what, bytes) in [
        ("a TLS hello", hello),
        ("noise", noise(1)),
        ("other noise", noise(2)),
        ("zeros", vec![0; 100]),
    ] {
        println!("{what}");
        Peer::connect(&server).send(bytes).expect_refusal(400);
    }
    println!("an HTTP/2 preface");
    Peer::connect(&server).send(preface).expect_refusal(505);
    for seed in 10..60 {
        println!("noise {seed}");
        Peer::connect(&server).send(noise(seed)).drain();
    }
    assert_eq!(server.log(), quiet, "strangers' noise is no news");
}

#[test]
fn heads_that_are_too_large() {
    let server = Server::start(OPEN);
    let before = server.rss();
    let start = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
    let many: String = (0..1000).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (what, head, status) in [
        (
            "64 KB in one header",
            format!("{start}X: {}\r\n\r\n", "x".repeat(65_536)),
            431,
        ),
        (
            "64 KB in a name",
            format!("{start}{}: x\r\n\r\n", "x".repeat(65_536)),
            431,
        ),
        ("1,000 headers", format!("{start}{many}\r\n"), 431),
        (
            "101 short headers",
            format!("{start}{}\r\n", "a:b\r\n".repeat(100)),
            431,
        ),
        (
            "a target of 64 KB",
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(65_536)),
            414,
        ),
    ] {
        println!("{what}");
        Peer::connect(&server).try_send(head).expect_refusal(status);
    }
    // It is refused at 16 KB, not when it ends.
    println!("a header that never ends");
    Peer::connect(&server)
        .send(format!("{start}X: {}", "x".repeat(16_384 - start.len() - 2)))
        .expect_refusal(431);
    println!("a target that never ends");
    Peer::connect(&server)
        .send(format!("GET /{}", "x".repeat(16_384)))
        .expect_refusal(414);
    println!("just within the limit");
    let rest = 16_384 - start.len() - "X: \r\n\r\n".len();
    Peer::connect(&server)
        .send(format!("{start}X: {}\r\n\r\n", "x".repeat(rest)))
        .expect_status(200);
    // Fifty of them at once, all just below the limit: the bound is per connection, and it comes back.
    let held: Vec<Peer> = (0..50)
        .map(|_| {
            let mut peer = Peer::connect(&server);
            peer.send(format!("{start}X: {}", "x".repeat(16_000)));
            peer
        })
        .collect();
    drop(held);
    server.expect_fds(server.fds() - 1);
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 3 << 20, "memory grew by {} KiB", grown / 1024);
}

/// Parsing from the start again with every piece would read the first bytes of this head sixteen thousand times, 8 GB
/// in all; even when the kernel joins ten pieces to one, that is more than the second that is allowed.
#[test]
fn a_head_in_tiny_pieces_costs_linear_time() {
    let server = Server::start("[limits]\nmax_head_size = 1048576\n");
    let value = "x".repeat(1_048_000);
    let mut peer = Peer::connect(&server);
    peer.send_torn(
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {value}\r\n\r\n"),
        64,
    );
    peer.expect_status(200);
    let used = server.cpu();
    assert!(
        used < Duration::from_secs(1),
        "a head of 1 MiB in pieces of 64 bytes cost {used:?}"
    );
}

#[test]
fn bytes_after_the_request_are_the_first_frames() {
    let server = Server::start(OPEN);
    let hi = Frame::text("hi").bytes();
    println!("whole");
    let mut ws = Peer::connect(&server);
    ws.send([handshake("/echo").as_bytes(), &hi, &hi].concat());
    ws.expect_switch();
    ws.expect_text("hi")
        .expect_text("hi")
        .close(1000, "")
        .expect_close(1000);
    for cut in 1..hi.len() {
        println!("torn after {cut} bytes");
        let mut ws = Peer::connect(&server);
        ws.send([handshake("/echo").as_bytes(), &hi[..cut]].concat());
        ws.expect_switch();
        ws.send(&hi[cut..]).expect_text("hi");
    }
    println!("garbage");
    let mut ws = Peer::connect(&server);
    ws.send([handshake("/echo").as_bytes(), b"\xff\xff\xff\xff"].concat());
    ws.expect_switch();
    ws.expect_close(1002);
}

/// Slow peers are held for a second from accept, then get 408, even if they send bytes meanwhile.
#[test]
fn slow_handshakes_are_dropped_at_the_timeout() {
    let server = Server::start("[limits]\nconnects_per_second = 0\nhandshake_timeout = 1\n");
    let whole = handshake("/echo");
    let bytes = whole.as_bytes();
    let lines: Vec<String> = (0..1000).map(|n| format!("X-{n}: a\r\n")).collect();
    let start = &b"GET /echo HTTP/1.1\r\n"[..];
    let nothing = Vec::<&[u8]>::new;
    let drips = [
        ("nothing sent", &b""[..], nothing()),
        ("half a request", &bytes[..bytes.len() / 2], nothing()),
        ("byte after byte", &b""[..], bytes.chunks(1).collect()),
        (
            "header after header",
            start,
            lines.iter().map(String::as_bytes).collect(),
        ),
        ("everything but the last byte", &bytes[..bytes.len() - 1], nothing()),
    ];
    for (what, first, drip) in drips {
        println!("{what}");
        let accepted = Instant::now();
        let mut peer = Peer::connect(&server);
        peer.send(first);
        // The pace is that of waiting for an answer in between.
        for piece in drip {
            if peer.hears_within(Duration::from_millis(50)) {
                break;
            }
            peer.send(piece);
        }
        peer.expect_refusal(408);
        let held = accepted.elapsed();
        assert!(held >= Duration::from_millis(900), "{what}: dropped after {held:?}");
        assert!(held < Duration::from_secs(4), "{what}: held for {held:?}");
    }
}

#[test]
fn five_hundred_slow_handshakes_do_not_delay_a_good_client() {
    let server = Server::start("[limits]\nconnects_per_second = 0\nhandshake_timeout = 3\n");
    let whole = handshake("/echo");
    let fds = server.fds();
    let mut slow: Vec<Peer> = (0..500)
        .map(|n| {
            let mut peer = Peer::connect(&server);
            peer.send(&whole.as_bytes()[..n % whole.len()]);
            peer
        })
        .collect();
    wait_until(
        "all are accepted",
        || server.fds() >= fds + 500,
        || format!("{} descriptors", server.fds()),
    );
    let mut good = Peer::upgrade(&server, "/echo");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            good.text("hi").expect_text("hi");
            start.elapsed()
        })
        .collect();
    times.sort();
    let p95 = times[times.len() * 95 / 100];
    assert!(
        p95 < Duration::from_millis(10),
        "p95 beside 500 slow handshakes: {p95:?}"
    );
    for peer in &mut slow {
        peer.expect_refusal(408);
    }
    drop(slow);
    server.expect_fds(fds + 1);
    good.text("still here").expect_text("still here");
}
