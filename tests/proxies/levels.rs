//! Two proxies behind each other. Each adds the address that it sees, and the server skips those that it trusts.
//! HAProxy can say the address in front of all bytes instead, by the PROXY protocol.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::PATIENCE;
use crate::common::certificates::{Authority, Valid};
use crate::common::ports::free_port;
use crate::common::web_server::{Product, WebServer};
use crate::products::{Conf, Place, apache_inside, nginx_inside, replaced};
use crate::stage::{EVENT, HERE, Stage};
use crate::visitor::{CLAIMED, THEIR, Visitor};

/// The server knows the address of the client.
fn expect_client(stage: &Stage, visitor: &Visitor) {
    visitor.expect_delivery();
    assert_eq!(stage.clients_of("/app/", 1), [THEIR.to_string()]);
    assert_eq!(stage.clients_of("/apps/", 1), [THEIR.to_string()]);
    assert!(!format!("{:?}", stage.lines()).contains(CLAIMED));
}

/// A free address.
fn free() -> SocketAddr {
    (HERE, free_port(HERE)).into()
}

/// HAProxy in front of this address, with a line of its backend and the words of its server.
fn haproxy_before(inner: SocketAddr, line: &str, words: &str) -> (WebServer, SocketAddr) {
    let at = free();
    let lines = format!(
        "frontend outer\n    bind {at}\n    default_backend inner\nbackend inner\n    {line}\n    server inner {inner} \
         {words}\n"
    );
    (WebServer::start(Product::HaProxy, at, &lines), at)
}

#[test]
fn haproxy_before_nginx_keeps_client_and_scheme() {
    let stage = Stage::listening("", "", "", "strict_origin = true");
    let inner = free();
    let _nginx = WebServer::start(Product::Nginx, inner, &nginx_inside(inner, stage.backend));
    let outer = Conf::HaProxy.start_with(&stage, Place::Beside, |lines| {
        let lines = replaced(&lines, &stage.backend.to_string(), &inner.to_string());
        // The inner one takes the path away. HAProxy's check has no Host, which nginx would pass on as it is.
        let lines = replaced(&lines, "http-request replace-path ^/ws(/.*) \\1", "");
        let check = "option httpchk\n    http-check send meth GET uri /ws/ready ver HTTP/1.1 hdr Host www.example.org";
        replaced(&lines, "option httpchk GET /ready", check)
    });
    let visitor = outer.secure.of_origin("https");
    expect_client(&stage, &visitor);
    visitor.of_origin("http").expect_refused_origin();
}

#[test]
fn nginx_before_apache_keeps_client_and_scheme() {
    let stage = Stage::listening("", "", "", "strict_origin = true");
    let inner = free();
    let _apache = WebServer::start(EVENT, inner, &apache_inside(inner, stage.backend));
    let outer = Conf::Nginx.start_with(&stage, Place::Beside, |lines| {
        let lines = replaced(&lines, &stage.backend.to_string(), &inner.to_string());
        replaced(&lines, "proxy_pass http://jsocketd/;", "proxy_pass http://jsocketd;")
    });
    let visitor = outer.secure.of_origin("https");
    expect_client(&stage, &visitor);
    visitor.of_origin("http").expect_refused_origin();
}

#[test]
fn everyday_lines_behind_each_other_keep_the_client() {
    let stage = Stage::new("", "");
    let (_apache, inner) = stage.behind(EVENT, include_str!("everyday/apache-rewrite.conf"));
    let at = free();
    let middle = include_str!("everyday/nginx-soketi.conf");
    let middle = replaced(middle, "listen 80;", &format!("listen {at};"));
    let middle = replaced(&middle, "127.0.0.1:8080", &inner.to_string());
    let _nginx = WebServer::start(Product::Nginx, at, &middle);
    let (_haproxy, at) = haproxy_before(at, "option forwardfor", "");
    expect_client(&stage, &Visitor::new(at, "ws.example.org", ""));
}

/// HAProxy says the address before all bytes, also that of its own checks.
fn expect_proxy_protocol(words: &str) {
    let stage = Stage::listening("proxy_protocol", "", "", "");
    let words = format!("{words} check inter 50ms fall 1");
    let (haproxy, at) = haproxy_before(stage.backend, "option httpchk GET /health", &words);
    // The client's header counts no more than without a proxy.
    expect_client(&stage, &Visitor::new(at, "ws.example.org", ""));
    stage.clients_of("/health", 3);
    assert!(!haproxy.log().contains("DOWN"), "{}", haproxy.log());
    // Nobody else may say an address, and nobody may leave it out.
    for hello in ["PROXY TCP4 192.0.2.66 127.0.0.1 4000 80\r\n", ""] {
        let mut stranger = Visitor::new(stage.backend, "ws.example.org", "").connect();
        stranger.try_send(format!("{hello}GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let mut answer = Vec::new();
        stranger.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = stranger.stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn haproxy_says_the_client_by_the_proxy_protocol() {
    expect_proxy_protocol("send-proxy");
    expect_proxy_protocol("send-proxy-v2");
}

/// HAProxy in front of this address, which looks at no byte of HTTP.
fn tcp_before(inner: SocketAddr, bind: &str, words: &str) -> (WebServer, SocketAddr) {
    let at = free();
    let lines = format!(
        "frontend outer\n    mode tcp\n    option tcplog\n    bind {at} {bind}\n    default_backend inner\nbackend inner\n    \
         mode tcp\n    server inner {inner} {words}\n"
    );
    (WebServer::start(Product::HaProxy, at, &lines), at)
}

#[test]
fn haproxy_says_by_the_proxy_protocol_that_it_ends_tls() {
    let authority = Arc::new(Authority::new());
    let certificate = authority.issue(&["DNS:ws.example.org"], Valid::Long);
    let stage = Stage::listening("proxy_protocol", "", "", "strict_origin = true");
    let both = certificate.in_one_file().display().to_string();
    let (_haproxy, at) = tcp_before(stage.backend, &format!("ssl crt {both}"), "send-proxy-v2-ssl");
    let visitor = Visitor::new(at, "ws.example.org", "")
        .over_tls(&authority)
        .of_origin("https");
    expect_client(&stage, &visitor);
    visitor.of_origin("http").expect_refused_origin();
}

#[test]
fn the_file_for_haproxy_works_with_the_proxy_protocol() {
    let stage = Stage::listening("proxy_protocol", "", "", "strict_origin = true");
    let running = Conf::HaProxy.start_with(&stage, Place::Beside, |lines| {
        let usual = format!("\n    server jsocketd {} check\n", stage.backend);
        let (_, other) = lines
            .split_once("    # server jsocketd 127.0.0.1:8081 ")
            .expect("the other way");
        let words = other.lines().next().unwrap_or_default();
        replaced(
            &lines,
            &usual,
            &format!("\n    server jsocketd {} {words}\n", stage.backend),
        )
    });
    expect_client(&stage, &running.secure.of_origin("https"));
}

#[test]
fn haproxy_passes_tls_through_and_says_the_client() {
    let authority = Arc::new(Authority::new());
    let certificate = authority.issue(&["DNS:ws.example.org"], Valid::Long);
    let [chain, key] = [&certificate.chain, &certificate.key].map(|file| file.display());
    let tls = format!("strict_origin = true\n[tls]\ncertificate = \"{chain}\"\nkey = \"{key}\"");
    let stage = Stage::listening("proxy_protocol", "", "", &tls);
    let (_haproxy, at) = tcp_before(stage.backend, "", "send-proxy-v2");
    let visitor = Visitor::new(at, "ws.example.org", "")
        .over_tls(&authority)
        .of_origin("https");
    expect_client(&stage, &visitor);
    visitor.of_origin("http").expect_refused_origin();
}
