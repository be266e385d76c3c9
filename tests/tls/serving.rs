//! What the server speaks where it speaks TLS: 1.2 and 1.3, HTTP/1.1 alone, the certificate for the name that the
//! client asks for; the page, the API and WebSockets as elsewhere, and https for the rules about origins. Plain HTTP
//! gets a sentence there, or a redirect where one is wanted. Numbers and records name it.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpStream};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::peer::{Secure, section};
use crate::common::certificates::{Authority, Valid};
use crate::common::flight::expect_culprit;
use crate::common::outbox::ADMIN_TOKEN;
use crate::common::peer::handshake;
use crate::common::ports::free_port;
use crate::common::{Peer, Server, wait_until};

#[test]
fn it_speaks_tls_1_2_and_1_3_and_http_1_1() {
    let stage = Secure::start("", "");
    for (words, said) in [
        ("-tls1_2 -verify_return_error", "New, TLSv1.2"),
        ("-tls1_3 -verify_return_error", "New, TLSv1.3"),
        ("-tls1_2 -verify_return_error", "Verify return code: 0 (ok)"),
        ("-tls1_3 -verify_return_error", "Verify return code: 0 (ok)"),
        ("-alpn h2,http/1.1", "ALPN protocol: http/1.1"),
        ("-tls1 -cipher DEFAULT@SECLEVEL=0", "SSL alert number"),
        ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", "New, (NONE)"),
        ("-alpn h2", "alert no application protocol"),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", "alert handshake failure"),
    ] {
        let all = stage.openssl(words);
        assert!(all.contains(said), "{words}: no {said:?} in\n{all}");
    }
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let named = |names: &[&str]| authority.issue(names, Valid::Long);
    let default = named(&["DNS:example.org", "IP:127.0.0.1"]);
    let (one, many) = (named(&["DNS:one.example"]), named(&["DNS:*.many.example"]));
    let table = |name: &str, files: &_| {
        format!(
            "[[tls.names]]\nname = \"{name}\"\n{}",
            &section(files)["[tls]\n".len()..]
        )
    };
    let toml = [
        section(&default),
        table("One.example", &one),
        table("*.many.example", &many),
    ]
    .concat();
    let (server, addr) = Server::start_secure(&toml);
    for (name, wanted) in [
        ("one.example", &one),
        ("ONE.EXAMPLE", &one),
        ("a.many.example", &many),
        ("a.b.many.example", &default),
        ("many.example", &default),
        ("example.org", &default),
        ("other.example", &default),
        ("127.0.0.1", &default),
    ] {
        let stream = TcpStream::connect(addr).expect("it listens");
        let mut client = authority.client(name, stream);
        let wanted = CertificateDer::from_pem_file(&wanted.chain).expect("a certificate");
        // A name that the certificate is not for ends the handshake on the client's side.
        let _ = client.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let shown = client.conn.peer_certificates().map(|chain| chain[0].to_vec());
        match shown {
            Some(shown) => assert_eq!(shown, wanted.to_vec(), "{name}"),
            None => assert!(
                !["one.example", "a.many.example", "example.org", "127.0.0.1"].contains(&name),
                "{name}"
            ),
        }
    }
    let log = server.log();
    assert!(log.contains("for one.example, until 20"), "{log}");
}

#[test]
fn everything_is_there_by_https() {
    let app = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";
    let stage = Secure::start(
        "",
        &format!("[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n[pusher]\nstrict_origin = true\n{app}"),
    );
    let mut client = stage.connect();
    for path in ["/health", "/ready"] {
        assert!(
            client.ask(&format!("GET {path}"), "").0.starts_with("HTTP/1.1 200 "),
            "{path}"
        );
    }
    let token = format!("Authorization: Bearer {ADMIN_TOKEN}\r\n");
    let (_, metrics) = client.ask("GET /metrics", &token);
    assert!(
        metrics.contains("jsocketd_tls_handshakes_total{kind=\"full\"} 1\n"),
        "{metrics}"
    );
    let expires = metrics
        .lines()
        .find_map(|line| line.strip_prefix("jsocketd_tls_certificate_expires_seconds "));
    assert!(expires.expect("the gauge").parse::<u64>().expect("a number") > 1_700_000_000);
    let mut echo = stage.connect().upgrade("/echo");
    for len in [0, 1, 125, 5000, 60_000] {
        echo.echo(&"x".repeat(len));
    }
    // The page's own origin is https here; the same host by http is another one.
    for (origin, greets) in [("https", true), ("http", false)] {
        let mut pusher = stage.connect();
        let request = handshake("/app/ka?protocol=7").replace(
            "Upgrade: websocket",
            &format!(
                "Origin: {origin}://localhost:{}\r\nUpgrade: websocket",
                stage.addr.port()
            ),
        );
        pusher.send(request.replace("Host: localhost", &format!("Host: localhost:{}", stage.addr.port())));
        assert!(pusher.head().starts_with("HTTP/1.1 101 "));
        let mut frame = [0; 20];
        pusher.0.read_exact(&mut frame).expect("a frame");
        let text = String::from_utf8_lossy(&frame[2..]).into_owned();
        assert_eq!(text.contains("\"pusher:c"), greets, "{origin}: {text}");
    }
}

#[test]
fn plain_http_gets_a_sentence() {
    let stage = Secure::start("", "");
    let mut peer = Peer::connect_to(stage.addr);
    peer.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let reply = peer.expect_status(400);
    assert!(reply.body.contains("https"), "{reply:?}");
    peer.expect_end();
}

#[test]
fn plain_requests_are_redirected() {
    let stage = Secure::start("redirect_from = [\"127.0.0.1:0\"]", "");
    let line = stage.server.printed();
    let from = line
        .strip_prefix("redirecting from http://")
        .and_then(|rest| rest.strip_suffix('/'));
    let from = from.unwrap_or_else(|| panic!("{line}")).parse().expect("an address");
    let target = format!("https://www.example.org:{}/a?b=c", stage.addr.port());
    for request in ["GET /a?b=c", "POST /a?b=c"] {
        let mut peer = Peer::connect_to(from);
        peer.send(format!(
            "{request} HTTP/1.1\r\nHost: www.example.org:80\r\nContent-Length: 0\r\n\r\n"
        ));
        let reply = peer.expect_status(308);
        assert_eq!(reply.header("Location"), Some(&*target));
    }
    let mut peer = Peer::connect_to(from);
    peer.send(handshake("/echo")).expect_status(308);
    let mut peer = Peer::connect_to(from);
    peer.send("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n").expect_status(400);
}

#[test]
fn plain_requests_of_both_families_are_redirected() {
    let port = free_port(Ipv4Addr::LOCALHOST);
    let listed = format!("redirect_from = [\"[::]:{port}\", \"0.0.0.0:{port}\"]");
    let _stage = Secure::start(&listed, "");
    for from in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let mut peer = Peer::connect_to((from, port).into());
        peer.send("GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n")
            .expect_status(308);
    }
}

#[test]
fn failures_are_counted_by_their_reason() {
    let token = format!("[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n[limits]\nhandshake_timeout = 1\n");
    let stage = Secure::start("", &token);
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(stage.addr).expect("it listens");
        stream.write_all(bytes).expect("it takes them");
        stream
    };
    let _plain = send(b"GET / HTTP/1.1\r\n\r\n");
    let _protocol = send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01x");
    let _silent = send(b"\x16");
    send(b"\x16\x03").shutdown(Shutdown::Both).expect("it is connected");
    stage.openssl("-tls1_1 -cipher DEFAULT@SECLEVEL=0");
    // A client that does not trust the authority says so.
    let mut stranger = Authority::new().client("localhost", TcpStream::connect(stage.addr).expect("it listens"));
    assert!(stranger.write_all(b"x").is_err());
    let metrics = || {
        let mut peer = Peer::connect(&stage.server);
        let token = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n");
        peer.send(token).expect_status(200).body
    };
    for reason in ["plain_http", "protocol", "timeout", "ended", "incompatible", "alert"] {
        let line = format!("jsocketd_tls_failures_total{{reason=\"{reason}\"}} 1\n");
        wait_until(reason, || metrics().contains(&line), metrics);
    }
}

#[test]
fn the_flight_recorder_names_tls() {
    let slow = format!("[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n[loop]\nslow_ms = 60000\n");
    let stage = Secure::start("", &slow);
    let server = &stage.server;
    expect_culprit(server, "tls", "TLS handshake of #", || {
        stage.connect().ask("GET /health", "");
    });
    // Files that cannot be used are read again and again.
    fs::write(&stage.files.key, "no key").expect("written");
    expect_culprit(server, "certificates", "reading certificates", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
    });
}
