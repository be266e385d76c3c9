//! Handshakes good and bad, read by the parser that reads them in the server.

use super::*;
use crate::net::http::{HttpLimits, Parser, Progress};

const LIMITS: HttpLimits = HttpLimits {
    head: 16_384,
    headers: 100,
    body: 1_000,
};

/// The example of RFC 6455 section 1.3.
const GOOD: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn request(input: &str) -> Request<Bytes> {
    match Parser::new().read(&mut input.as_bytes(), &LIMITS) {
        Progress::Request(incoming) => incoming.request,
        other => panic!("{input:?} gave {other:?}"),
    }
}

/// The good handshake with one part replaced, which must be in it.
fn changed(from: &str, to: &str) -> Request<Bytes> {
    assert!(GOOD.contains(from), "{from}");
    request(&GOOD.replace(from, to))
}

fn refusal(request: &Request<Bytes>) -> Refusal {
    assert!(wants_websocket(request), "it is to be judged: {request:?}");
    check(request).expect_err("it is to be refused")
}

#[test]
fn the_example_of_the_rfc() {
    let request = request(GOOD);
    assert!(wants_websocket(&request));
    let mut out = Vec::new();
    let accept = check(&request).expect("it is well formed");
    accept.write(&mut out, &DateLine::default());
    assert_eq!(
        String::from_utf8(out).expect("it is well formed"),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
}

#[test]
fn other_valid_spellings_are_accepted() {
    let good = check(&request(GOOD)).expect("it is well formed");
    let cases = [
        ("GET /chat ", "GET http://server.example.com/chat "),
        ("GET /chat ", "GET /chat?a=b "),
        ("GET /chat HTTP/1.1", "GET /c%68at HTTP/1.2"),
        ("Upgrade: websocket", "UPGRADE:WebSocket"),
        ("Upgrade: websocket", "upgrade: h2c , WEBSOCKET  "),
        ("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
        ("Connection: Upgrade", "connection:keep-alive,upgrade"),
        ("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        ("Connection: Upgrade", "Connection: , UPGRADE ,"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Sec-WebSocket-Version: 13", "sec-websocket-version:13   "),
        ("Sec-WebSocket-Key: ", "SEC-WEBSOCKET-KEY:\t"),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol: chat, x\r\nSec-WebSocket-Version",
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Extensions: permessage-deflate; a, x\r\nSec-WebSocket-Version",
        ),
        ("Host", "Content-Length: 0\r\nHost"),
    ];
    for (from, to) in cases {
        assert_eq!(check(&changed(from, to)).as_ref(), Ok(&good), "{to}");
    }
    let keys = [
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "//////////////////////==",
        "+/+/+/+/+/+/+/+/+/+/+Q==",
    ];
    for key in keys {
        let accept = check(&changed("dGhlIHNhbXBsZSBub25jZQ==", key)).expect("it is well formed");
        assert_eq!(accept.key, derive_accept_key(key.as_bytes()));
    }
}

#[test]
fn refusals_and_their_statuses() {
    let (key, version) = (
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\n",
    );
    let cases = [
        ("GET", "POST", 405),
        ("GET", "HEAD", 405),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("Upgrade: websocket\r\n", "", 400),
        ("Upgrade: websocket", "Upgrade: h2c", 400),
        ("Upgrade: websocket", "Upgrade: websockets", 400),
        ("Upgrade: websocket", "Upgrade:", 400),
        ("Connection: Upgrade\r\n", "", 400),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
        ("Connection: Upgrade", "Connection: keep-alive Upgrade", 400),
        (version, "", 426),
        (version, "Sec-WebSocket-Version: 8\r\n", 426),
        (version, "Sec-WebSocket-Version: 014\r\n", 426),
        (version, "Sec-WebSocket-Version: 013\r\n", 426),
        (version, "Sec-WebSocket-Version: 13.0\r\n", 426),
        (version, "Sec-WebSocket-Version:\r\n", 426),
        (version, "Sec-WebSocket-Version: 13, 8\r\n", 400),
        (
            version,
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n",
            400,
        ),
        (
            version,
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n",
            400,
        ),
        (key, "", 400),
        (key, "Sec-WebSocket-Key:\r\n", 400),
        (key, &[key, key].concat(), 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTE=", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTEx", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTExMQ==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub2_jZQ==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBs=SBub25jZQ==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBs SBub25jZQ==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==, x", 400),
    ];
    for (from, to, status) in cases {
        let refusal = refusal(&changed(from, to));
        assert_eq!(refusal.status, status, "{to}: {}", refusal.sentence);
        assert!(refusal.sentence.ends_with('.'), "{}", refusal.sentence);
    }
}

#[test]
fn a_status_carries_the_header_it_demands() {
    let header = |refusal: Refusal, name: HeaderName| refusal.into_response().headers().get(name).cloned();
    assert_eq!(
        header(refusal(&changed("GET", "PUT")), header::ALLOW).expect("it is well formed"),
        "GET"
    );
    let other = changed("Version: 13", "Version: 12");
    assert_eq!(
        header(refusal(&other), header::SEC_WEBSOCKET_VERSION).expect("it is well formed"),
        "13"
    );
    assert_eq!(
        header(refusal(&other), header::UPGRADE).expect("it is well formed"),
        "websocket"
    );
}

#[test]
fn a_body_is_refused() {
    let mut with_body = request(GOOD);
    *with_body.body_mut() = Bytes::from_static(b"x");
    let mut announced = request(GOOD);
    announced
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from_static("10"));
    let mut chunked = request(GOOD);
    chunked
        .headers_mut()
        .insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    for request in [with_body, announced, chunked] {
        assert_eq!(
            refusal(&request).sentence,
            "A WebSocket handshake must not have a body."
        );
    }
}

#[test]
fn requests_that_are_no_handshake_are_not_judged_as_one() {
    for lines in [
        "",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "Upgrade: TLS/1.2\r\n",
        "Connection: upgrade\r\n",
    ] {
        assert!(
            !wants_websocket(&request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))),
            "{lines}"
        );
    }
    for lines in [
        "Upgrade: websocket\r\n",
        "Sec-WebSocket-Key: x\r\n",
        "Sec-WebSocket-Version: 13\r\n",
    ] {
        assert!(
            wants_websocket(&request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))),
            "{lines}"
        );
    }
}
