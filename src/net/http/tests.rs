//! Tests with the input of hostile and sloppy clients. Every table is run whole and byte by byte.

use std::time::{Duration, Instant};

use http::{Method, Uri, Version};

use super::scan::{MAX_EMPTY_LINES, MAX_METHOD};
use super::*;
use crate::protocol::percent::AsSent;

const LIMITS: HttpLimits = HttpLimits {
    head: 16_384,
    headers: 100,
    body: 1_000,
};

/// The result of some input, in a form that can be compared.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "tests may waste memory")]
enum Outcome {
    Continue,
    Request {
        method: Method,
        uri: Uri,
        version: Version,
        headers: HeaderMap,
        body: Bytes,
        keep_alive: bool,
        head_only: bool,
        upgrade: bool,
    },
    Refused(u16, Cow<'static, str>),
    InRequest,
}

impl From<Incoming> for Outcome {
    fn from(incoming: Incoming) -> Self {
        let (parts, body) = incoming.request.into_parts();
        Self::Request {
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers,
            body,
            keep_alive: incoming.keep_alive,
            head_only: incoming.head_only,
            upgrade: incoming.upgrade,
        }
    }
}

/// Feeds pieces to one parser up to the first refusal, and ends with `InRequest` if a request is unfinished.
fn parse_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &HttpLimits) -> Vec<Outcome> {
    let mut parser = Parser::new();
    let mut outcomes = Vec::new();
    for mut input in pieces {
        loop {
            match parser.read(&mut input, limits) {
                Progress::More => break assert!(input.is_empty(), "More was returned before all input was consumed"),
                Progress::Continue => outcomes.push(Outcome::Continue),
                Progress::Request(incoming) => {
                    assert!(!parser.in_request());
                    outcomes.push(incoming.into());
                }
                Progress::Refused(refusal) => {
                    assert!(!parser.in_request());
                    outcomes.push(Outcome::Refused(refusal.status.as_u16(), refusal.sentence));
                    return outcomes;
                }
            }
        }
    }
    if parser.in_request() {
        outcomes.push(Outcome::InRequest);
    }
    outcomes
}

/// The outcomes of the whole input, which must be those of its single bytes.
fn outcomes(input: impl AsRef<[u8]>) -> Vec<Outcome> {
    outcomes_within(input.as_ref(), &LIMITS)
}

fn outcomes_within(input: &[u8], limits: &HttpLimits) -> Vec<Outcome> {
    let whole = parse_pieces([input], limits);
    assert_eq!(
        whole,
        parse_pieces(input.chunks(1), limits),
        "whole and byte by byte: {}",
        input.escape_ascii()
    );
    whole
}

/// The one request in the input.
fn request(input: impl AsRef<[u8]>) -> Incoming {
    let input = input.as_ref();
    assert_eq!(outcomes(input).len(), 1, "{}", input.escape_ascii());
    let mut rest = input;
    match Parser::new().read(&mut rest, &LIMITS) {
        Progress::Request(incoming) => incoming,
        other => panic!("{} gave {other:?}", input.escape_ascii()),
    }
}

/// The status with which the input is refused, if there is no other outcome before.
fn refused(input: impl AsRef<[u8]>) -> u16 {
    let input = input.as_ref();
    match &outcomes(input)[..] {
        [Outcome::Refused(status, _)] => *status,
        other => panic!("{} gave {other:?}", input.escape_ascii()),
    }
}

/// A GET with these lines besides Host.
fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn a_plain_request() {
    let incoming = request("GET /a/b?c=d&e HTTP/1.1\r\nHost: example.org:8080\r\nX-Odd:\tsome  value \t\r\n\r\n");
    let request = &incoming.request;
    assert_eq!(request.method(), Method::GET);
    assert_eq!((request.uri().path(), request.uri().query()), ("/a/b", Some("c=d&e")));
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(request.headers()["host"], "example.org:8080");
    assert_eq!(request.headers()["x-odd"], "some  value");
    assert!(request.body().is_empty());
    assert!(incoming.keep_alive && !incoming.head_only && !incoming.upgrade);
}

#[test]
fn junk_is_refused_at_once() {
    let cases: [(&[u8], u16); 11] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x16", 400),
        (b"PRI * HTTP/2", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\0", 400),
        (b"\xff\xfe\xfd", 400),
        (b"{\"a\":1}", 400),
        (b" GET / HTTP/1.1", 400),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 400),
        (b"PROXY TCP4 127.0.0.1", 400),
        (b"GET / FTP", 400),
    ];
    for (input, status) in cases {
        assert_eq!(refused(input), status, "{}", input.escape_ascii());
    }
    // Letters without end could be a method, but not a known one.
    assert_eq!(outcomes("x".repeat(MAX_METHOD)), [Outcome::InRequest]);
    assert_eq!(refused("x".repeat(MAX_METHOD + 1)), 501);
}

#[test]
fn request_lines() {
    let cases = [
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/3", 505),
        ("GET / HTTP/2.1", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/1.22", 400),
        ("GET / HTTP/1.a", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET / HTTP/1.1\n", 400),
        ("GET / HTTP/1.1\rX", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/x.1", 400),
        ("GET /", 400),
        ("GET", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /a\x01 HTTP/1.1", 400),
        ("GET /a\0 HTTP/1.1", 400),
        ("GET /a\t HTTP/1.1", 400),
        ("GET /a\x7f HTTP/1.1", 400),
        ("GET /ä HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET example.org HTTP/1.1", 400),
        ("GET example.org:80 HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS ** HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET http:/a HTTP/1.1", 400),
        ("GET http:// HTTP/1.1", 400),
        ("GET http:///a HTTP/1.1", 400),
        ("GET http://user@a/ HTTP/1.1", 400),
        ("GET http://a:x/ HTTP/1.1", 400),
        ("G\0T / HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
        ("CONNECT a:443 HTTP/1.1", 501),
        ("TRACE / HTTP/1.1", 501),
        ("PROPFIND / HTTP/1.1", 501),
        ("get / HTTP/1.1", 501),
        ("BREW /pot HTTP/1.1", 501),
    ];
    for (line, status) in cases {
        assert_eq!(refused(format!("{line}\r\nHost: a\r\n\r\n")), status, "{line:?}");
    }
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let incoming = request(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(incoming.request.method(), method);
        assert_eq!(incoming.head_only, method == "HEAD");
    }
}

#[test]
fn targets_are_brought_into_origin_form() {
    let cases = [
        ("GET /", "/", "a"),
        ("GET //b/c", "//b/c", "a"),
        ("GET /http://b/c", "/http://b/c", "a"),
        ("GET /%00%0d", "/%00%0d", "a"),
        ("OPTIONS *", "*", "a"),
        ("GET http://b/c?d", "/c?d", "b"),
        ("GET HTTPS://b:8443/c", "/c", "b:8443"),
        ("GET http://b", "/", "b"),
        ("GET http://b?d", "/?d", "b"),
        ("GET ws://b/echo", "/echo", "b"),
        ("GET http://[::1]:80/c", "/c", "[::1]:80"),
        ("GET http://b//c", "//c", "b"),
    ];
    for (line, uri, host) in cases {
        let incoming = request(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(incoming.request.uri(), uri, "{line}");
        assert_eq!(incoming.request.uri().authority(), None, "{line}");
        assert_eq!(
            incoming.request.headers().get_all("host").iter().collect::<Vec<_>>(),
            [host],
            "{line}"
        );
    }
    // HTTP/1.1 needs a Host in any case; HTTP/1.0 gets it from the target.
    assert_eq!(refused("GET http://b/ HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(request("GET http://b/ HTTP/1.0\r\n\r\n").request.headers()["host"], "b");
}

#[test]
fn header_lines() {
    let cases = [
        "X : a\r\n",
        "X\t: a\r\n",
        " X: a\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X\r\n",
        ": a\r\n",
        "X\0: a\r\n",
        "X\x01Y: a\r\n",
        "X\x7f: a\r\n",
        "(X): a\r\n",
        "Ä: a\r\n",
        "X: a\0b\r\n",
        "X: a\x01\r\n",
        "X: a\x1bb\r\n",
        "X: a\x7fb\r\n",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X: a\n",
        "X: a\nY: b\r\n",
        "\n",
        "\rX",
    ];
    for lines in cases {
        assert_eq!(refused(with(lines)), 400, "{lines:?}");
    }
    for name in ["x-name", "X-NAME", "x-NaMe"] {
        for (text, value) in [
            (":v", "v"),
            (":  v  ", "v"),
            (":\tv\t", "v"),
            (":", ""),
            (":  ", ""),
            (":ü", "ü"),
        ] {
            let incoming = request(with(&format!("{name}{text}\r\n")));
            assert_eq!(
                incoming.request.headers()["X-Name"].as_bytes(),
                value.as_bytes(),
                "{name}{text}"
            );
        }
    }
}

#[test]
fn lines_end_with_crlf_only() {
    assert_eq!(refused("GET / HTTP/1.1\nHost: a\n\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\n"), 400);
    assert_eq!(refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
}

#[test]
fn a_few_empty_lines_may_come_first() {
    let plain = outcomes(with(""));
    for lines in [1, 2, MAX_EMPTY_LINES] {
        assert_eq!(outcomes("\r\n".repeat(lines) + &with("")), plain);
    }
    assert_eq!(refused("\r\n".repeat(MAX_EMPTY_LINES + 1)), 400);
    assert_eq!(refused("\rG"), 400);
    // They are no part of a request, and each request may have its own.
    assert_eq!(outcomes("\r\n\r\n\r"), []);
    assert_eq!(
        outcomes(("\r\n".repeat(MAX_EMPTY_LINES) + &with("")).repeat(3)).len(),
        3
    );
}

#[test]
fn hosts() {
    let line = "GET / HTTP/1.1\r\n";
    assert_eq!(refused(format!("{line}\r\n")), 400);
    assert_eq!(refused(format!("{line}Host: a\r\nHost: a\r\n\r\n")), 400);
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), 400);
    let invalid = [
        "", "a b", "a,b", "a/b", "u@a", "a:b", "a:1:2", "a:70000", ":80", "[::1", "[::1]80", "[x]", "::1", "a?", "ä",
        "[::1]:+1", "a:+1", "\"a\"", "http://a",
    ];
    for host in invalid {
        assert_eq!(refused(format!("{line}Host: {host}\r\n\r\n")), 400, "{host}");
    }
    for host in [
        "a",
        "a.example.org",
        "a-b_c.d:1",
        "127.0.0.1:8080",
        "[::1]",
        "[2001:db8::7]:65535",
        "a:",
        "A%20b",
    ] {
        assert_eq!(
            request(format!("{line}Host: {host}\r\n\r\n")).request.headers()["host"],
            host
        );
    }
}

#[test]
fn higher_minor_versions_are_read_as_http_1_1() {
    for minor in 1..=9 {
        let incoming = request(format!("\r\nGET /1.2 HTTP/1.{minor}\r\nHost: a\r\nX: HTTP/1.2\r\n\r\n"));
        assert_eq!(incoming.request.version(), Version::HTTP_11, "HTTP/1.{minor}");
        assert_eq!((incoming.request.uri().path(), incoming.keep_alive), ("/1.2", true));
        assert_eq!(incoming.request.headers()["x"], "HTTP/1.2");
    }
    // They are read by the rules of HTTP/1.1.
    assert_eq!(refused("GET / HTTP/1.2\r\n\r\n"), 400);
    let chunked = "POST / HTTP/1.7\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert_eq!(request(chunked).request.body(), "ok");
}

#[test]
fn encoded_unreserved_characters_of_a_path_are_decoded_and_the_path_as_sent_is_kept() {
    let cases = [
        ("/%61pp/key?a=%61", "/app/key?a=%61", Some("/%61pp/key")),
        ("http://b/%7Euser/%2F", "/~user/%2F", Some("/%7Euser/%2F")),
        ("/%2561", "/%2561", None),
        ("/a%2Fb%", "/a%2Fb%", None),
        ("/app/key?a=%61", "/app/key?a=%61", None),
        ("//%62", "//b", Some("//%62")),
        ("/%2E%2e/x", "/../x", Some("/%2E%2e/x")),
    ];
    for (target, uri, as_sent) in cases {
        let incoming = request(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(incoming.request.uri(), uri, "{target}");
        let kept = incoming.request.extensions().get::<AsSent>();
        assert_eq!(kept.map(|AsSent(path)| path.as_str()), as_sent, "{target}");
    }
}

#[test]
fn http_1_0() {
    let plain = request("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(plain.request.version(), Version::HTTP_10);
    assert!(!plain.keep_alive);
    assert!(request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    assert!(!request("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").keep_alive);
}

#[test]
fn connection_is_a_list() {
    for lines in [
        "Connection: close",
        "connection:x,CLOSE",
        "Connection: x\r\nConnection: y , close ,",
    ] {
        assert!(!request(with(&format!("{lines}\r\n"))).keep_alive, "{lines}");
    }
    for lines in ["Connection: closed", "Connection: not close", "Connection:", "X: close"] {
        assert!(request(with(&format!("{lines}\r\n"))).keep_alive, "{lines}");
    }
}

#[test]
fn sixty_headers_and_a_large_cookie() {
    let lines: String = (0..60).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let incoming = request(with(&format!("{lines}Cookie: {}\r\n", "c".repeat(4096))));
    assert_eq!(incoming.request.headers().len(), 62);
    assert_eq!(incoming.request.headers()["cookie"].len(), 4096);
}

#[test]
fn the_size_the_lines_and_the_target_of_a_head_are_limited() {
    let limits = HttpLimits {
        head: 200,
        headers: 3,
        body: 0,
    };
    let refusal = |input: &str| match &outcomes_within(input.as_bytes(), &limits)[..] {
        [Outcome::Refused(status, _)] => *status,
        [Outcome::Request { .. }] => 200,
        other => panic!("{other:?}"),
    };
    let head_of = |len: usize| {
        let empty = with("X: \r\n").len();
        with(&format!("X: {}\r\n", "x".repeat(len - empty)))
    };
    assert_eq!(head_of(200).len(), 200);
    assert_eq!(refusal(&head_of(200)), 200);
    assert_eq!(refusal(&head_of(201)), 431);
    assert_eq!(refusal(&head_of(201)[..201]), 431);
    assert_eq!(refusal(&format!("GET /{}", "x".repeat(300))), 414);
    assert_eq!(refusal(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(185))), 414);
    assert_eq!(refusal(&with("A:\r\nB:\r\n")), 200);
    assert_eq!(refusal(with("A:\r\nB:\r\nC").trim_end()), 431);
    // An endless head is refused at the limit. Empty lines before a head do not count towards its size.
    assert_eq!(refusal(&format!("\r\n\r\n{}", head_of(200))), 200);
    for piece in ["X: y\r\n", "X", "X: y"] {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\n{}", piece.repeat(20_000))), 431);
    }
    assert_eq!(
        refused(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(65_536))),
        414
    );
}

#[test]
fn a_target_longer_than_the_uri_type_allows_is_refused() {
    let limits = HttpLimits {
        head: 1 << 20,
        headers: 100_000,
        body: 0,
    };
    let input = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(65_535));
    assert!(matches!(
        outcomes_within(input.as_bytes(), &limits)[..],
        [Outcome::Refused(414, _)]
    ));
    // The same for a header name, and for the number of headers.
    let input = with(&format!("{}: a\r\n", "x".repeat(70_000)));
    assert!(matches!(
        outcomes_within(input.as_bytes(), &limits)[..],
        [Outcome::Refused(431, _)]
    ));
    let input = with(&"a:\r\n".repeat(40_000));
    assert!(matches!(
        outcomes_within(input.as_bytes(), &limits)[..],
        [Outcome::Refused(431, _)]
    ));
}

/// Quadratic work would be 8 * 10^12 steps here and not end.
#[test]
fn a_head_in_tiny_pieces_costs_linear_work() {
    let limits = HttpLimits {
        head: 4 << 20,
        headers: 100,
        body: 0,
    };
    let input = with(&format!("X: {}\r\n", "x".repeat(4_000_000)));
    let start = Instant::now();
    let outcomes = parse_pieces(input.as_bytes().chunks(1), &limits);
    assert!(matches!(outcomes[..], [Outcome::Request { .. }]));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn body_lengths() {
    let cases = [
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 5x", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 5.0", 400),
        ("Content-Length:", 400),
        ("Content-Length: ,", 400),
        ("Content-Length: 5,", 400),
        ("Content-Length: 5, 6", 400),
        ("Content-Length: 5, 05", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 5\r\nX: y\r\nContent-Length: x", 400),
        ("Content-Length: 1001", 413),
        ("Content-Length: 99999999999999999999999999", 413),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: 0\r\nTransfer-Encoding: identity", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\t: chunked", 400),
        ("Transfer-Encoding:\r\n chunked", 400),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: chunked-not", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, gzip", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        ("Transfer-Encoding: chunked;q=1", 501),
        ("Transfer-Encoding:", 501),
    ];
    for (lines, status) in cases {
        assert_eq!(
            refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")),
            status,
            "{lines}"
        );
    }
    assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    for lines in [
        "Content-Length: 5",
        "content-length:5 ",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 5",
    ] {
        let incoming = request(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\nabcde"));
        assert_eq!(incoming.request.body(), "abcde", "{lines}");
    }
    assert_eq!(outcomes(with("Content-Length: 5\r\n") + "abcd"), [Outcome::InRequest]);
    assert_eq!(request(with("Content-Length: 0\r\n")).request.body(), "");
    assert_eq!(
        request(with("Content-Length: 1000\r\n") + &"x".repeat(1000))
            .request
            .body()
            .len(),
        1000
    );
}

#[test]
fn chunked_bodies() {
    let head = with("Transfer-Encoding: Chunked\r\n");
    let cases = [
        ("0\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3\r\nabc\r\n2\r\n\r\n\r\n000\r\n\r\n", "abc\r\n"),
        (
            "A\r\n0123456789\r\n00a\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
        ),
        ("3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n", "abc"),
        ("3 \t; a\r\nabc\r\n0\r\n\r\n", "abc"),
        ("1\r\nx\r\n0\r\nTrailer: a\r\nContent-Length: 7\r\n\r\n", "x"),
    ];
    for (body, decoded) in cases {
        let incoming = request(format!("{head}{body}"));
        assert_eq!(incoming.request.body(), decoded, "{body:?}");
        assert_eq!(incoming.request.headers().len(), 2, "trailers are dropped");
    }
    let cases = [
        ("\r\n", 400),
        (";a\r\n", 400),
        ("x\r\n", 400),
        ("-1\r\n", 400),
        ("+1\r\n", 400),
        ("0x1\r\n", 400),
        (" 1\r\n", 400),
        ("1 \r\nx", 400),
        ("1 1\r\n", 400),
        ("1\nx", 400),
        ("1\rx", 400),
        ("1;a\nx", 400),
        ("1;a\0\r\n", 400),
        ("1;a\r;b\r\n", 400),
        ("1\r\nxy", 400),
        ("1\r\nx\n", 400),
        ("1\r\nx\rx", 400),
        ("00000000000000001", 400),
        ("ffffffffffffffff\r\n", 413),
        ("3e9", 413),
        ("1\r\nx\r\n3e8", 413),
        ("0\r\nX : y\r\n", 400),
        ("0\r\n X: y\r\n", 400),
        ("0\r\n\n", 400),
        ("0\r\nX\r\n", 400),
    ];
    for (body, status) in cases {
        assert_eq!(refused(format!("{head}{body}")), status, "{body:?}");
    }
    assert_eq!(
        request(format!("{head}3e7\r\n{}\r\n1\r\nx\r\n0\r\n\r\n", "x".repeat(999)))
            .request
            .body()
            .len(),
        1000
    );
    assert_eq!(outcomes(format!("{head}3\r\nabc\r\n0\r\n\r")), [Outcome::InRequest]);
}

#[test]
fn chunk_extensions_and_trailers_are_bounded() {
    let head = with("Transfer-Encoding: chunked\r\n");
    assert_eq!(refused(format!("{head}1;{}", "x".repeat(LIMITS.head + 1))), 431);
    assert_eq!(
        refused(format!(
            "{head}{}",
            format!("1;{}\r\nx\r\n", "x".repeat(100)).repeat(170)
        )),
        431
    );
    assert_eq!(refused(format!("{head}0\r\nX: {}", "x".repeat(LIMITS.head))), 431);
    assert_eq!(
        refused(format!("{head}0\r\n{}", "X: y\r\n".repeat(LIMITS.headers + 1))),
        431
    );
    assert_eq!(
        request(format!("{head}0\r\n{}\r\n", "X: y\r\n".repeat(LIMITS.headers)))
            .request
            .headers()
            .len(),
        2
    );
}

#[test]
fn a_client_that_waits_gets_100_continue_once() {
    let post = |version: &str, lines: &str| format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n");
    let waiting = post("1.1", "Content-Length: 2\r\nExpect: 100-Continue");
    let mut parser = Parser::new();
    let mut input = waiting.as_bytes();
    assert!(matches!(parser.read(&mut input, &LIMITS), Progress::Continue));
    assert!(parser.in_request());
    assert!(matches!(parser.read(&mut input, &LIMITS), Progress::More));
    assert!(matches!(parser.read(&mut &b"a"[..], &LIMITS), Progress::More));
    assert!(matches!(parser.read(&mut &b""[..], &LIMITS), Progress::More));
    match parser.read(&mut &b"b"[..], &LIMITS) {
        Progress::Request(incoming) => assert_eq!(incoming.request.body(), "ab"),
        other => panic!("{other:?}"),
    }
    let continued = |input: &str| parse_pieces([input.as_bytes()], &LIMITS).contains(&Outcome::Continue);
    assert!(continued(&post(
        "1.1",
        "Transfer-Encoding: chunked\r\nExpect: 100-continue"
    )));
    assert!(!continued(&(waiting + "a")), "the client did not wait");
    assert!(
        !continued(&post("1.1", "Expect: 100-continue")),
        "the request has no body"
    );
    assert!(
        !continued(&post("1.0", "Content-Length: 2\r\nExpect: 100-continue")),
        "HTTP/1.0 has no 100 Continue"
    );
    assert_eq!(refused(post("1.1", "Content-Length: 2\r\nExpect: 200-ok")), 417);
    assert_eq!(
        refused(post("1.1", "Content-Length: 2\r\nExpect: 100-continue, else")),
        417
    );
    assert_eq!(
        refused(post("1.1", "Content-Length: 9999\r\nExpect: 100-continue")),
        413
    );
}

#[test]
fn a_body_on_a_websocket_handshake_is_refused_at_once() {
    for lines in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        assert_eq!(refused(with(&format!("Upgrade: x, WebSocket\r\n{lines}\r\n"))), 400);
    }
    assert!(request(with("Upgrade: websocket\r\nContent-Length: 0\r\n")).upgrade);
    // Another protocol is ignored, so that its request is one like any other.
    let incoming = request(with("Upgrade: h2c\r\nContent-Length: 2\r\n") + "ab");
    assert!(incoming.upgrade);
    assert_eq!(incoming.request.body(), "ab");
}

#[test]
fn pipelined_requests_come_one_by_one_and_the_rest_stays() {
    let input = [
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "\r\nPOST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "\u{81}\u{85} these are frames",
    ]
    .concat();
    let mut parser = Parser::new();
    let mut rest = input.as_bytes();
    for (path, body) in [("/1", ""), ("/2", "abc"), ("/3", "x"), ("/4", "")] {
        match parser.read(&mut rest, &LIMITS) {
            Progress::Request(incoming) => {
                assert_eq!(incoming.request.uri(), path);
                assert_eq!(incoming.request.body(), body);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rest, "\u{81}\u{85} these are frames".as_bytes());
}

#[test]
fn smuggled_requests_are_refused() {
    // Each head has two possible readings, and hides a second request from the reader of one kind. The outcome is a
    // refusal, and nothing else.
    let hidden = "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n",
        "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding\0: chunked\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 0\r\n Content-Length: 5\r\n\r\n",
        "Content-Length: 5\n\n",
    ];
    for lines in cases {
        let status = refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}{hidden}"));
        assert!(status == 400, "{lines:?} gave {status}");
    }
    assert_eq!(
        refused(format!(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"
        )),
        400
    );
    // With an underscore the name is another header, not Content-Length.
    let outcomes = outcomes(with("Content_Length: 5\r\n") + &with(""));
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn no_memory_is_held_between_requests_nor_for_an_announced_body() {
    assert!(size_of::<Parser>() <= 80, "{}", size_of::<Parser>());
    let held = |parser: &Parser| match &parser.state {
        State::Head { seen, .. } => seen.capacity(),
        State::Body(pending) => pending.body.capacity(),
        State::Refused => 0,
    };
    let mut parser = Parser::new();
    let post = with("Content-Length: 1000\r\n");
    let (first, second) = post.as_bytes().split_at(20);
    let _ = parser.read(&mut &first[..], &LIMITS);
    assert!(held(&parser) >= 20 && parser.in_request());
    let _ = parser.read(&mut &second[..], &LIMITS);
    assert!(held(&parser) == 0 && parser.in_request());
    assert!(matches!(
        parser.read(&mut &[b'x'; 1000][..], &LIMITS),
        Progress::Request(_)
    ));
    assert!(held(&parser) == 0 && !parser.in_request());
    // Some clients end a body with one more empty line.
    let _ = parser.read(&mut &b"\r\n"[..], &LIMITS);
    assert!(held(&parser) == 0 && !parser.in_request());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "closed after a refusal")]
fn a_refused_connection_is_not_read() {
    let mut parser = Parser::new();
    for _ in 0..2 {
        let _ = parser.read(&mut &b"\0"[..], &LIMITS);
    }
}

fn written(response: &http::Response<Bytes>, version: Version, head_only: bool, keep_alive: bool) -> String {
    let mut out = Vec::new();
    write_response(&mut out, response, version, head_only, keep_alive, &DateLine::default());
    String::from_utf8(out).expect("it is well formed")
}

#[test]
fn responses() {
    let response = |status: u16, lines: &[(&'static str, &'static str)], body: &'static str| {
        let mut builder = http::Response::builder().status(status);
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        builder.body(Bytes::from(body)).expect("it is well formed")
    };
    let (old, new) = (Version::HTTP_10, Version::HTTP_11);
    let plain = response(200, &[("x-a", "b"), ("x-a", "c")], "hello");
    assert_eq!(
        written(&plain, new, false, true),
        "HTTP/1.1 200 OK\r\nX-A: b\r\nX-A: c\r\nContent-Length: 5\r\n\r\nhello"
    );
    assert_eq!(
        written(&plain, new, true, true),
        "HTTP/1.1 200 OK\r\nX-A: b\r\nX-A: c\r\nContent-Length: 5\r\n\r\n"
    );
    let empty = response(404, &[], "");
    assert_eq!(
        written(&empty, new, false, true),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    );
    let close = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(written(&empty, new, false, false), close);
    assert_eq!(written(&empty, old, false, false), close);
    assert_eq!(
        written(&empty, old, false, true),
        "HTTP/1.1 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
    );
    for status in [204, 304] {
        let text = written(&response(status, &[], "not to be seen"), new, false, true);
        assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length"), "{text}");
    }
    assert_eq!(
        written(&response(103, &[], "no"), new, false, true),
        "HTTP/1.1 103 Early Hints\r\n\r\n"
    );
    let mut dated = (Vec::new(), DateLine::default());
    dated.1.set(784_111_777_000);
    write_response(&mut dated.0, &response(404, &[], ""), new, false, true, &dated.1);
    assert_eq!(
        dated.0,
        b"HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"
    );
    // The response's own headers for its framing are replaced.
    let lies = response(
        200,
        &[
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("connection", "x"),
        ],
        "ab",
    );
    assert_eq!(
        written(&lies, new, false, true),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    );
    // Its own `Connection: close` stays.
    assert!(
        written(&response(200, &[("connection", "close")], ""), new, false, true).contains("Connection: close\r\n")
    );
    assert!(written(&response(799, &[], ""), new, false, true).starts_with("HTTP/1.1 799 \r\n"));
    let names = response(200, &[("sec-websocket-version", "13"), ("www-authenticate", "a")], "");
    assert!(written(&names, new, false, true).contains("\r\nSec-WebSocket-Version: 13\r\nWww-Authenticate: a\r\n"));
}

#[test]
fn header_values_cannot_break_out_of_their_line() {
    for value in ["a\r\nX: y", "a\nb", "a\rb", "a\0b"] {
        assert!(HeaderValue::from_str(value).is_err() && HeaderValue::from_bytes(value.as_bytes()).is_err());
        assert!(HeaderName::from_bytes(value.as_bytes()).is_err());
    }
}

#[test]
fn a_refusal_is_a_sentence_and_closes() {
    let response = timeout().into_response();
    assert_eq!(
        written(&response, Version::HTTP_11, false, true),
        "HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\
         Content-Length: 34\r\n\r\nThe request did not come in time.\n"
    );
    let refusal = Refusal::new(StatusCode::UPGRADE_REQUIRED, "No.")
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    let text = written(&refusal.into_response(), Version::HTTP_11, false, false);
    for line in [
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Connection: close, Upgrade",
    ] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{text}");
    }
}

/// The generator of Marsaglia's "Xorshift RNGs", 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }

    /// Requests made of likely and of bad parts, then damaged a little; sometimes plain noise.
    fn input(&mut self) -> Vec<u8> {
        const STARTS: [&[u8]; 6] = [
            b"GET /%61%2 HTTP/1.2\r\n",
            b"POST /a?b HTTP/1.1\r\nHost: a\r\n",
            b"\r\nPUT http://b/c HTTP/1.1\r\nHost: a\r\n",
            b"HEAD /x HTTP/1.0\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n",
            b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        ];
        const LINES: [&[u8]; 12] = [
            b"Host: a\r\n",
            b"Content-Length: 3\r\n",
            b"content-length:30\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"connection: keep-alive , x\r\n",
            b"Expect: 100-continue\r\n",
            b"Cookie: a=b; c=d\r\n",
            b"X-Empty:\r\n",
            b"X: \xc3\xa4\r\n",
            b" folded\r\n",
            b"bad name: x\r\n",
        ];
        const BODY_SAMPLES: [&[u8]; 7] = [
            b"",
            b"abc",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"0\r\nT: x\r\n\r\n",
            b"5;e\r\nab",
            b"ffffffff\r\n",
            b"\x81\x85",
        ];
        const DAMAGE: [&[u8]; 12] = [
            b"\r",
            b"\n",
            b"\0",
            b" ",
            b":",
            b"\t",
            b",",
            b"\xff",
            b"\x7f",
            b"0",
            b"\r\n",
            b"\r\n\r\n",
        ];
        if self.below(20) == 0 {
            return (0..self.below(40)).map(|_| self.next() as u8).collect();
        }
        let mut input = Vec::new();
        for _ in 0..=self.below(3) {
            input.extend_from_slice(self.pick(&STARTS));
            for _ in 0..self.below(4) {
                input.extend_from_slice(self.pick(&LINES));
            }
            input.extend_from_slice(b"\r\n");
            input.extend_from_slice(self.pick(&BODY_SAMPLES));
        }
        for _ in 0..self.below(4).saturating_sub(1) {
            let at = self.below(input.len());
            match self.below(3) {
                0 => drop(input.remove(at)),
                1 => input[at] = self.next() as u8,
                _ => drop(input.splice(at..at, self.pick(&DAMAGE).iter().copied())),
            }
        }
        input
    }

    /// The same bytes in pieces, some of them empty.
    fn split<'a>(&mut self, mut input: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = [2, 8, 40, 200][self.below(4)];
        let mut pieces = Vec::new();
        while !input.is_empty() {
            let (piece, rest) = input.split_at(self.below(longest).min(input.len()));
            pieces.push(piece);
            input = rest;
        }
        pieces
    }
}

/// Removes `Continue`, because a `100 Continue` depends on the pieces by design.
fn without_continue(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    outcomes.retain(|outcome| *outcome != Outcome::Continue);
    outcomes
}

#[test]
fn two_hundred_thousand_inputs_in_any_pieces() {
    const LIMITS: HttpLimits = HttpLimits {
        head: 160,
        headers: 6,
        body: 40,
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut requests, mut bodies, mut refusals, mut unfinished) = (0, 0, 0, 0);
    for round in 0..200_000 {
        let seed = random.0;
        let input = random.input();
        let pieces = random.split(&input);
        let result = std::panic::catch_unwind(|| {
            let whole = without_continue(parse_pieces([&input[..]], &LIMITS));
            assert_eq!(
                whole,
                without_continue(parse_pieces(pieces, &LIMITS)),
                "whole and in pieces"
            );
            httparse_agrees(&input);
            whole
        });
        let Ok(whole) = result else {
            panic!("round {round}, seed {seed:#x}: {}", input.escape_ascii())
        };
        for outcome in whole {
            match outcome {
                Outcome::Request { body, .. } if body.is_empty() => requests += 1,
                Outcome::Request { .. } => bodies += 1,
                Outcome::Refused(..) => refusals += 1,
                Outcome::InRequest => unfinished += 1,
                Outcome::Continue => unreachable!("left out above"),
            }
        }
    }
    // Inputs that are all refused, or all taken, would prove nothing.
    for (what, count) in [
        ("requests", requests),
        ("bodies", bodies),
        ("refusals", refusals),
        ("unfinished", unfinished),
    ] {
        assert!(count > 5_000, "only {count} {what}");
    }
}

/// A head that the scanner takes, `httparse` takes too, to the same byte.
fn httparse_agrees(input: &[u8]) {
    let mut head = Head::new();
    let ended = input.iter().position(|&byte| head.take(byte, &LIMITS) != Ok(false));
    let Some(index) = ended else { return };
    let mut again = Head::new();
    if input[..=index].iter().all(|&byte| again.take(byte, &LIMITS).is_ok()) {
        // The scanner takes higher minor versions too, and they are read as 1.
        let mut input = input.to_vec();
        let start = input.iter().position(|byte| !b"\r\n".contains(byte)).unwrap();
        let end = start + input[start..].iter().position(|&byte| byte == b'\r').unwrap();
        if (b'2'..=b'9').contains(&input[end - 1]) {
            input[end - 1] = b'1';
        }
        let mut lines = vec![httparse::EMPTY_HEADER; head.fields()];
        let parsed = httparse::Request::new(&mut lines).parse(&input);
        assert_eq!(
            parsed,
            Ok(httparse::Status::Complete(index + 1)),
            "httparse on the same head"
        );
    }
}
