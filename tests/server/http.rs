//! HTTP/1.1 on the WebSocket port: framing, keep-alive, pipelining, and every status that a refusal can have, each with
//! a sentence (RFC 9110, RFC 9112). Other tests check the answers of the paths.

use std::time::{Duration, Instant};

use crate::common::server::OPEN;
use crate::common::{Frame, Peer, Server};
use rustix::process::Signal;

const GET: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A POST to a path that takes GET only: the test is about how the server reads its body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /health HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

/// The request is read to its end, no byte more and no byte less: the one behind it is answered, too.
fn framed(server: &Server, what: &str, request: &str, status: u16) {
    for size in [usize::MAX, 1] {
        println!("{what}, in pieces of {size}");
        let mut peer = Peer::connect(server);
        peer.send_torn(format!("{request}{GET}"), size);
        peer.expect_status(status);
        peer.expect_status(200);
    }
}

/// The request is refused and nothing behind it is read.
fn refused(server: &Server, what: &str, request: &str, status: u16) -> crate::common::Reply {
    println!("{what}");
    Peer::connect(server)
        .try_send(format!("{request}{GET}"))
        .expect_refusal(status)
}

#[test]
fn keep_alive_is_the_default() {
    let server = Server::start(OPEN);
    let mut peer = Peer::connect(&server);
    for _ in 0..3 {
        let reply = peer.send(GET).expect_status(200);
        assert_eq!(reply.header("connection"), None, "{}", reply.head);
    }
    let close = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_eq!(peer.send(&close).expect_status(200).header("connection"), Some("close"));
    peer.expect_eof();
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let server = Server::start(OPEN);
    let old = "GET /health HTTP/1.0\r\n\r\n";
    let mut peer = Peer::connect(&server);
    assert_eq!(peer.send(old).expect_status(200).header("connection"), Some("close"));
    peer.expect_eof();
    let stay = "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut peer = Peer::connect(&server);
    for _ in 0..2 {
        let reply = peer.send(stay).expect_status(200);
        assert!(
            reply
                .header("connection")
                .is_some_and(|v| v.eq_ignore_ascii_case("keep-alive")),
            "{}",
            reply.head
        );
    }
}

#[test]
fn an_idle_connection_ends_after_keep_alive_timeout() {
    let server = Server::start("[limits]\nkeep_alive_timeout = 1\n");
    let mut peer = Peer::connect(&server);
    peer.send(GET).expect_status(200);
    let idle = Instant::now();
    peer.expect_eof();
    assert!(
        (900..4000).contains(&idle.elapsed().as_millis()),
        "it ended after {:?}",
        idle.elapsed()
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(OPEN);
    let missing = GET.replace("/health", "/missing");
    let head = GET.replace("GET", "HEAD");
    for size in [usize::MAX, 1, 100] {
        let mut peer = Peer::connect(&server);
        peer.send_torn([GET, &missing, &head, GET, &missing].concat(), size);
        peer.expect_status(200);
        peer.expect_status(404);
        assert_eq!(peer.head().status, 200);
        peer.expect_status(200);
        peer.expect_status(404);
    }
    // Many in one segment, and the last one becomes a WebSocket.
    let mut peer = Peer::connect(&server);
    peer.send([GET.repeat(500), crate::common::peer::handshake("/echo")].concat());
    peer.send(Frame::text("hi").bytes());
    for _ in 0..500 {
        peer.expect_status(200);
    }
    peer.expect_switch();
    peer.expect_text("hi");
}

#[test]
fn requests_before_the_peers_end_are_answered() {
    let server = Server::start(OPEN);
    let mut peer = Peer::connect(&server);
    peer.send(GET.repeat(3)).finish();
    for _ in 0..3 {
        peer.expect_status(200);
    }
    peer.expect_eof();
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start_defaults();
    let page = "/ HTTP/1.1\r\nAccept: text/html\r\nX: ";
    for path in ["/health", "/up", "/ready", "/", page, "/missing", "/echo"] {
        println!("{path}");
        let get = GET.replace("/health", path);
        let mut peer = Peer::connect(&server);
        let whole = peer.send(&get).reply();
        let head = peer.send(get.replace("GET", "HEAD")).head();
        assert_eq!(
            (head.status, head.header("content-length")),
            (whole.status, whole.header("content-length"))
        );
        // A body would stand before this answer.
        peer.send(GET).expect_status(200);
    }
}

#[test]
fn expect_100_continue() {
    let server = Server::start(OPEN);
    let head = post("Expect: 100-continue\r\nContent-Length: 5\r\n", "");
    let mut peer = Peer::connect(&server);
    peer.send(&head)
        .expect("HTTP/1.1 100 Continue\r\n\r\n")
        .send("hello")
        .expect_status(405);
    // A client that does not wait for 100 gets its answer all the same. The server sends no 100 before a refusal.
    peer.send(format!("{head}hello{GET}"));
    let mut reply = peer.head();
    if reply.status == 100 {
        reply = peer.reply();
    } else {
        // The body came with the head: RFC 9110 section 10.1.1 lets the server leave the 100 out.
        assert_eq!(reply.status, 405, "{}", reply.head);
        peer.body_of(&mut reply);
    }
    assert_eq!(reply.status, 405, "{}", reply.head);
    peer.expect_status(200);
    let large = post("Expect: 100-continue\r\nContent-Length: 9999999\r\n", "");
    Peer::connect(&server).send(large).expect_refusal(413);
    let other = post("Expect: the-unexpected\r\nContent-Length: 0\r\n", "");
    assert_eq!(Peer::connect(&server).send(other).reply().status, 417);
}

#[test]
fn bodies_are_framed_by_length_or_chunks() {
    let server = Server::start(OPEN);
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    framed(&server, "no body", &post("", ""), 405);
    framed(&server, "a length of 0", &post("Content-Length: 0\r\n", ""), 405);
    framed(&server, "a length", &post("Content-Length: 5\r\n", "hello"), 405);
    framed(
        &server,
        "a body that looks like a request",
        &post("Content-Length: 16\r\n", "GET / HTTP/1.1\r\n"),
        405,
    );
    framed(&server, "chunks", &chunked("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), 405);
    framed(&server, "no chunk", &chunked("0\r\n\r\n"), 405);
    framed(
        &server,
        "an extension",
        &chunked("5;name=value\r\nhello\r\n0\r\n\r\n"),
        405,
    );
    framed(
        &server,
        "a trailer",
        &chunked("5\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n"),
        405,
    );
    framed(
        &server,
        "hexadecimal",
        &chunked(&format!("1F\r\n{}\r\n00\r\n\r\n", "x".repeat(31))),
        405,
    );
    framed(&server, "CRLF inside", &chunked("4\r\n\r\n\r\n\r\n0\r\n\r\n"), 405);
    framed(&server, "an empty line before", &format!("\r\n{GET}"), 200);
    framed(
        &server,
        "GET with a body",
        &GET.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc"),
        200,
    );
}

/// A request that two servers in a row could read differently is refused (request smuggling).
#[test]
fn ambiguous_bodies_get_400() {
    let server = Server::start(OPEN);
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
    ] {
        refused(&server, lines, &post(lines, "0\r\n\r\n"), 400);
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    for body in [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
    ] {
        refused(&server, &format!("chunks {body:?}"), &post(chunked, body), 400);
    }
    refused(
        &server,
        "chunks in HTTP/1.0",
        &post(chunked, "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
        400,
    );
}

#[test]
fn status_404() {
    let server = Server::start("[console]\nenabled = false\n[echo]\nenabled = false\n");
    Peer::connect(&server)
        .send(crate::common::peer::handshake("/"))
        .expect_status(404);
    for path in [
        "/missing",
        "/health/",
        "/../etc/passwd",
        "/echo",
        "/%00",
        "/health%2F",
        "//",
        "//health",
        "/%68ealth%",
    ] {
        println!("{path}");
        let mut peer = Peer::connect(&server);
        peer.send(GET.replace("/health", path)).expect_status(404);
        // It is an answer, not the end.
        peer.send(GET).expect_status(200);
        Peer::connect(&server)
            .send(crate::common::peer::handshake(path))
            .expect_status(404);
    }
}

#[test]
fn status_405_with_allow() {
    let server = Server::start(OPEN);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let mut peer = Peer::connect(&server);
        let reply = peer
            .send(GET.replace("GET", method).replace("/health", "/ready"))
            .expect_status(405);
        assert_eq!(reply.header("allow"), Some("GET, HEAD"), "{method}: {}", reply.head);
        peer.send(GET).expect_status(200);
    }
}

/// The requests of health checks that are left at their defaults, against a server that is left at its own, and against
/// one whose page needs a token.
#[test]
fn health_checks_with_their_defaults_find_the_server_up() {
    let checks = [
        ("HAProxy, option httpchk", "OPTIONS / HTTP/1.0\r\n\r\n", 204),
        (
            "HAProxy 2.2 and newer with a version",
            "OPTIONS / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
            204,
        ),
        ("a ping", "OPTIONS * HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 204),
        ("an old ping", "OPTIONS * HTTP/1.0\r\n\r\n", 204),
        (
            "Kubernetes",
            "GET /up HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n",
            200,
        ),
        (
            "a load balancer of AWS",
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\
             Accept-Encoding: gzip, compressed\r\n\r\n",
            200,
        ),
        (
            "Apache's ProxyHCMethod",
            "HEAD / HTTP/1.0\r\nHost: [::1]:8080\r\n\r\n",
            200,
        ),
        ("a script", "GET / HTTP/1.0\r\n\r\n", 200),
        (
            "curl",
            "GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
            200,
        ),
        (
            "BusyBox",
            "GET /up HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Wget\r\nConnection: close\r\n\r\n",
            200,
        ),
        (
            "wget --spider",
            "HEAD /health HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
            200,
        ),
    ];
    let guarded = "[server]\nadmin_token = \"a-token-of-more-than-enough-characters\"\n";
    let closed = "[console]\nenabled = false\n";
    for server in [Server::start_defaults(), Server::start(guarded), Server::start(closed)] {
        for (who, request, status) in checks {
            println!("{who}: {request:?}");
            let mut peer = Peer::connect(&server);
            let head = peer.send(request).head();
            assert_eq!(head.status, status, "{}", head.head);
            assert_eq!(
                head.header("allow"),
                (status == 204).then_some("GET, HEAD, OPTIONS"),
                "{}",
                head.head
            );
            assert!(head.header("www-authenticate").is_none() && head.header("access-control-allow-origin").is_none());
        }
        let line = Peer::connect(&server).send("GET / HTTP/1.0\r\n\r\n").expect_status(200);
        assert!(
            line.body.starts_with("jsocketd serves WebSockets here."),
            "{}",
            line.body
        );
        assert_eq!(line.header("vary"), Some("Accept"));
    }
    // A browser gets the page, or is asked for the token.
    let browser = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*;q=0.8\r\n\r\n";
    let page = Peer::connect(&Server::start_defaults())
        .send(browser)
        .expect_status(200);
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.head);
    assert_eq!(page.header("vary"), Some("Accept"));
    Peer::connect(&Server::start(guarded)).send(browser).expect_status(401);
}

/// A name that is missing is no loophole: nothing but HTTP/1.0 may leave it out, and what is guarded stays so.
#[test]
fn without_a_configuration_a_request_without_host_sees_no_state() {
    let server = Server::start_defaults();
    for path in [
        "/debug/status",
        "/metrics",
        "/debug/loop",
        "/ HTTP/1.0\r\nAccept: text/html\r\nX:",
    ] {
        Peer::connect(&server)
            .send(format!("GET {path} HTTP/1.0\r\n\r\n"))
            .expect_status(403);
    }
    Peer::connect(&server)
        .send("GET /up HTTP/1.0\r\nHost: evil.example\r\n\r\n")
        .expect_status(421);
    Peer::connect(&server)
        .send("OPTIONS / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .expect_status(421);
}

#[test]
fn higher_minor_versions_and_encoded_letters_are_as_good_as_plain_ones() {
    let server = Server::start_defaults();
    let mut peer = Peer::connect(&server);
    for request in [
        "GET /health HTTP/1.2\r\nHost: localhost\r\n\r\n",
        "GET /%68e%61lth HTTP/1.9\r\nHost: localhost\r\n\r\n",
        "GET http://localhost/u%70?%zz HTTP/1.1\r\nHost: other\r\n\r\n",
    ] {
        let reply = peer.send(request).expect_status(200);
        assert!(reply.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", reply.head);
    }
    for path in ["/echo", "/%65%63ho"] {
        let handshake = crate::common::peer::handshake(path).replace("HTTP/1.1", "HTTP/1.2");
        let mut peer = Peer::connect(&server);
        peer.send(handshake).expect_switch();
        peer.send(Frame::text("hi").bytes()).expect_text("hi");
    }
    // The preface of HTTP/2, and a version that never was.
    for line in ["PRI * HTTP/2.0", "GET / HTTP/2.1", "GET / HTTP/0.9"] {
        refused(&server, line, &format!("{line}\r\nHost: localhost\r\n\r\n"), 505);
    }
}

/// RFC 9110 section 6.6.1. The time is the wall clock's as the answer is made.
#[test]
fn every_answer_has_the_date() {
    let server = Server::start_with("[limits]\nhandshake_timeout = 1\n", |_, _| {});
    let now = || jiff::Timestamp::now().as_second();
    let printer = jiff::fmt::rfc2822::DateTimeParser::new();
    let late = "GET /half";
    for (request, status) in [
        (GET.to_owned(), 200),
        (GET.replace("GET", "HEAD"), 200),
        (GET.replace("GET", "OPTIONS"), 204),
        (GET.replace("/health", "/missing"), 404),
        (GET.replace("GET", "DELETE"), 405),
        (GET.replace("/health", "/apps/none/events"), 404),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (GET.replace("HTTP/1.1", "HTTP/3.0"), 505),
        (crate::common::peer::handshake("/none"), 404),
        (crate::common::peer::handshake("/echo"), 101),
        (late.to_owned(), 408),
    ] {
        println!("{request:?}");
        let before = now();
        let head = Peer::connect(&server).send(&request).head();
        assert_eq!(head.status, status, "{}", head.head);
        assert_eq!(head.head.matches("\r\nDate: ").count(), 1, "{}", head.head);
        let date = head.header("date").expect("it is there");
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        let date = printer.parse_timestamp(date).expect("a date").as_second();
        assert!((before..=now()).contains(&date), "{before} {date} {}", now());
    }
}

#[test]
fn status_408() {
    let server = Server::start("[limits]\nhandshake_timeout = 1\n");
    println!("half a body");
    let mut peer = Peer::connect(&server);
    peer.send(post("Content-Length: 5\r\n", "hel")).expect_refusal(408);
    println!("half a chunk");
    let mut peer = Peer::connect(&server);
    peer.send(post("Transfer-Encoding: chunked\r\n", "5\r\nhel"))
        .expect_refusal(408);
    println!("the second request");
    let mut peer = Peer::connect(&server);
    peer.send(GET).expect_status(200);
    peer.send("GET /hea").expect_refusal(408);
}

#[test]
fn status_413() {
    let server = Server::start("[limits]\nconnects_per_second = 0\nmax_body_size = 1000\n");
    let chunk = format!("{:x}\r\n{}\r\n", 500, "x".repeat(500));
    framed(
        &server,
        "within",
        &post("Content-Length: 1000\r\n", &"x".repeat(1000)),
        405,
    );
    framed(
        &server,
        "chunks within",
        &post("Transfer-Encoding: chunked\r\n", &format!("{chunk}{chunk}0\r\n\r\n")),
        405,
    );
    refused(&server, "a length", &post("Content-Length: 1001\r\n", ""), 413);
    refused(
        &server,
        "a length of no integer",
        &post("Content-Length: 99999999999999999999999\r\n", ""),
        413,
    );
    refused(
        &server,
        "a large length",
        &post("Content-Length: 18446744073709551615\r\n", ""),
        413,
    );
    refused(
        &server,
        "chunks",
        &post("Transfer-Encoding: chunked\r\n", &format!("{chunk}{chunk}1\r\n")),
        413,
    );
    refused(
        &server,
        "a chunk",
        &post("Transfer-Encoding: chunked\r\n", "3e9\r\n"),
        413,
    );
    refused(
        &server,
        "a large chunk",
        &post("Transfer-Encoding: chunked\r\n", "7fffffffffffffff\r\n"),
        413,
    );
}

#[test]
fn status_414_and_431() {
    let server = Server::start("[limits]\nconnects_per_second = 0\nmax_head_size = 1024\nmax_headers = 8\n");
    refused(
        &server,
        "a target",
        &GET.replace("/health", &format!("/{}", "x".repeat(1024))),
        414,
    );
    refused(&server, "a header", &GET.replace("localhost", &"x".repeat(1024)), 431);
    refused(
        &server,
        "nine headers",
        &GET.replace("\r\n\r\n", &format!("{}\r\n\r\n", "\r\nA: b".repeat(8))),
        431,
    );
    let eight = GET.replace("\r\n\r\n", &format!("{}\r\n\r\n", "\r\nA: b".repeat(7)));
    framed(&server, "eight headers", &eight, 200);
}

#[test]
fn status_426_with_the_version() {
    let server = Server::start(OPEN);
    let reply = Peer::connect(&server)
        .send(GET.replace("/health", "/echo"))
        .expect_status(426);
    assert_eq!(reply.header("sec-websocket-version"), Some("13"), "{}", reply.head);
    assert_eq!(reply.header("upgrade"), Some("websocket"), "{}", reply.head);
    assert!(
        reply
            .header("connection")
            .is_some_and(|value| value.to_lowercase().contains("upgrade")),
        "{}",
        reply.head
    );
}

#[test]
fn status_501() {
    let server = Server::start(OPEN);
    refused(&server, "another coding", &post("Transfer-Encoding: gzip\r\n", ""), 501);
    refused(
        &server,
        "another coding before",
        &post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        501,
    );
    refused(
        &server,
        "a method that is too long",
        &GET.replace("GET", &"X".repeat(100)),
        501,
    );
    refused(
        &server,
        "CONNECT",
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
        501,
    );
    let unknown = Peer::connect(&server)
        .send(GET.replace("GET", "BREW"))
        .expect_status(501);
    assert_eq!(unknown.header("allow"), None);
}

#[test]
fn status_503_when_full() {
    let server = Server::start("[server]\nmax_connections = 2\n[limits]\nconnects_per_second = 0\n");
    let mut first = Peer::upgrade(&server, "/echo");
    let second = Peer::upgrade(&server, "/echo");
    for request in [GET.to_owned(), crate::common::peer::handshake("/echo")] {
        let reply = Peer::connect(&server).send(request).expect_refusal(503);
        assert!(reply.header("retry-after").is_some(), "{}", reply.head);
    }
    first.text("undisturbed").expect_text("undisturbed");
    let fds = server.fds();
    drop(second);
    server.expect_fds(fds - 1);
    Peer::upgrade(&server, "/echo")
        .text("room again")
        .expect_text("room again");
}

#[test]
fn status_429_above_the_rate() {
    let server = Server::start("[server]\ntrusted_proxies = []\n[limits]\nconnects_per_second = 1\n");
    // Bursts of five times as many pass; this must take less than a second, or the test proves nothing.
    let start = Instant::now();
    let statuses: Vec<u16> = (0..8)
        .map(|_| Peer::connect(&server).send(GET).reply().status)
        .collect();
    assert!(
        start.elapsed() > Duration::from_secs(1) || statuses == [200, 200, 200, 200, 200, 429, 429, 429],
        "{statuses:?}"
    );
}

/// Asks on a new connection whether traffic may come.
fn ready(server: &Server) -> u16 {
    let mut peer = Peer::connect(server);
    peer.send(GET.replace("/health", "/ready")).reply().status
}

#[test]
fn a_drain_says_so_and_ends_everything() {
    let mut server = Server::start("[limits]\nconnects_per_second = 0\ndrain_seconds = 2\n");
    let mut sockets: Vec<Peer> = (0..5).map(|_| Peer::upgrade(&server, "/echo")).collect();
    let mut begun = Peer::connect(&server);
    begun.send(GET).expect_status(200);
    begun.send("GET /ready HTTP/1.1\r\n");
    assert_eq!(ready(&server), 200);
    server.signal(Signal::TERM);
    while ready(&server) == 200 {}
    // HTTP is still served, a new socket is closed with the reason, and requests that had begun are answered.
    Peer::connect(&server).send(GET).expect_status(200);
    Peer::upgrade(&server, "/echo").expect_close(1001);
    begun.send("Host: localhost\r\n\r\n");
    assert_eq!(begun.reply().status, 503);
    begun.expect_eof();
    for socket in &mut sockets {
        socket.expect_close(1001);
    }
    drop((sockets, begun));
    assert!(server.ended().success(), "a drain is a good end");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start("[limits]\nconnects_per_second = 0\ndrain_seconds = 600\n");
    let idle: Vec<Peer> = (0..3).map(|_| Peer::upgrade(&server, "/echo")).collect();
    server.signal(Signal::TERM);
    // The first has been seen, or the second would be the first.
    while ready(&server) == 200 {}
    server.signal(Signal::TERM);
    server.ended();
    drop(idle);
}

/// The built-in credentials are public: a page of another site must not use them.
#[test]
fn under_the_embedded_defaults_a_foreign_page_has_neither_the_api_nor_a_socket() {
    let server = Server::start_defaults();
    let open = |host: &str, origin: &str| {
        let path = "/app/jsocketd-key?protocol=7";
        let origin = format!("Host: {host}\r\n{origin}");
        let mut peer = Peer::connect(&server);
        peer.send(crate::common::peer::handshake(path).replace("Host: localhost\r\n", &origin));
        peer.expect_switch();
        peer.next_frame()
    };
    for (host, origin) in [
        ("localhost", ""),
        ("127.0.0.1", ""),
        ("localhost", "Origin: http://localhost\r\n"),
        ("localhost", "Origin: https://localhost:5173\r\n"),
        ("[::1]", "Origin: http://[::1]:8080\r\n"),
    ] {
        let (opcode, greeting) = open(host, origin);
        assert_eq!(opcode, 1, "{host} {origin}");
        assert!(String::from_utf8_lossy(&greeting).contains("connection_established"));
    }
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost.evil.example",
        "file://",
    ] {
        let (opcode, close) = open("localhost", &format!("Origin: {origin}\r\n"));
        assert_eq!((opcode, &close[..2]), (8, &4009_u16.to_be_bytes()[..]), "{origin}");
    }
    for (origin, status) in [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://localhost:9", 401),
        ("http://127.0.0.1:1", 401),
    ] {
        let mut peer = Peer::connect(&server);
        let host = if origin.contains("localhost") {
            "localhost"
        } else {
            "127.0.0.1"
        };
        peer.send(format!(
            "POST /apps/joomla/events HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        assert_eq!(peer.reply().status, status, "{origin}");
    }
}
