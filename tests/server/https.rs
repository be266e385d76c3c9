//! Clients of https: the commands `publish`, `listen`, `status` and `top` work as over http, what is wrong with TLS or
//! a certificate is one sentence with its remedy, and webhooks trust the authority in `ca` of `[tls]`. What a webhook
//! fails for is named.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustls::ServerConfig;

use super::outgoing::{OK, request};
use crate::common::certificates::{Authority, Certificate, Valid, relay, serve};
use crate::common::ports::free_port;
use crate::common::{PATIENCE, Peer, Server, wait_until};

const TOML: &str = "[server]\nadmin_token = \"0123456789abcdef\"\n\
                    [[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";

/// Listens on a port of 127.0.0.1 and hands each client over, on a thread of its own, until the test's process ends.
fn listen(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    addr
}

/// A proxy that speaks TLS in front of a server.
fn front(config: Arc<ServerConfig>, to: SocketAddr) -> SocketAddr {
    listen(move |stream| {
        // A client that does not like the certificate leaves: that is its own affair.
        let _ = relay(
            serve(&config, stream),
            TcpStream::connect(to).expect("the server listens"),
        );
    })
}

/// A command of this server's configuration.
fn command(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command
        .env_clear()
        .args(words)
        .arg("--config")
        .arg(server.config_path());
    command
}

fn run(server: &Server, words: &[&str]) -> Output {
    command(server, words).output().expect("jsocketd runs")
}

/// What a `publish` that must fail complains about.
fn complaint(server: &Server, url: &str, flags: &[&str]) -> String {
    let words = [&["publish", "news", "e", "d", "--url", url], flags].concat();
    let output = run(server, &words);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let line = err.strip_prefix("jsocketd: ").and_then(|rest| rest.strip_suffix('\n'));
    line.filter(|line| !line.contains('\n'))
        .unwrap_or_else(|| panic!("not one complaint: {err}"))
        .to_owned()
}

#[test]
fn the_commands_work_over_https() {
    let authority = Authority::new();
    let certificate = authority.issue(&["DNS:localhost", "IP:127.0.0.1"], Valid::Long);
    let server = Server::start(TOML);
    let front = front(certificate.server(), server.addr);
    let root = authority.root().display().to_string();
    let (by_name, by_address) = (
        format!("https://localhost:{}", front.port()),
        format!("https://{front}"),
    );
    let to = ["--url", &by_name, "--ca", &root];

    let mut listening = command(&server, &[&["listen", "news"][..], &to].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("jsocketd runs");
    let mut notes = BufReader::new(listening.stderr.take().expect("a pipe")).lines();
    let said = notes.next().expect("a line").expect("text");
    assert_eq!(said, "jsocketd: listens to news");

    for url in [&by_name, &by_address] {
        let words = ["publish", "news", "saved", "{\"id\":1}", "--url", url, "--ca", &root];
        let published = run(&server, &words);
        let text = String::from_utf8_lossy(&published.stdout);
        let err = String::from_utf8_lossy(&published.stderr);
        assert_eq!((&*text, &*err), ("published to 1 connection\n", ""));
    }
    let mut events = BufReader::new(listening.stdout.take().expect("a pipe")).lines();
    for _ in 0..2 {
        let event = events.next().expect("a line").expect("text");
        assert_eq!(event, r#"{"channel":"news","event":"saved","data":{"id":1}}"#);
    }
    kill_process(Pid::from_child(&listening), Signal::TERM).expect("it runs");
    assert!(listening.wait().expect("it ends").success());

    for words in [&["status"][..], &["top", "--once"]] {
        let output = run(&server, &[words, &to].concat());
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(0), ""), "{words:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("connections"),
            "{words:?}"
        );
    }
}

#[test]
fn every_fault_of_a_certificate_is_a_sentence_with_its_remedy() {
    let authority = Authority::new();
    let server = Server::start(TOML);
    let root = authority.root().display().to_string();
    let own = ["--ca", root.as_str()];
    let localhost = ["DNS:localhost"];
    for (certificate, flags, wanted) in [
        (
            authority.issue(&localhost, Valid::Long),
            &[][..],
            "no authority that is trusted has issued the certificate, or the chain is not complete; if it is an \
             authority of your own, name its certificate with --ca FILE",
        ),
        (
            authority.issue(&["DNS:www.example.org", "IP:192.0.2.1"], Valid::Long),
            &own,
            "the certificate is not for localhost, but for www.example.org, 192.0.2.1: use a name that it is for",
        ),
        (
            authority.issue(&localhost, Valid::Expired),
            &own,
            "the certificate expired on 2020-03-01",
        ),
        (
            authority.issue(&localhost, Valid::NotYet),
            &own,
            "the certificate is valid only from 2049-01-01 on",
        ),
        (
            authority.itself(),
            &own,
            "the certificate is that of an authority (CA:TRUE), which no server may use for itself: make one with \
             `openssl req -x509 -addext basicConstraints=critical,CA:FALSE …`",
        ),
    ] {
        let url = format!("https://localhost:{}", front(certificate.server(), server.addr).port());
        assert_eq!(complaint(&server, &url, flags), format!("{url}: {wanted}"));
    }
}

#[test]
fn a_peer_without_tls_and_one_that_expects_it_are_told_apart() {
    let authority = Authority::new();
    let server = Server::start(TOML);
    let plain = format!("https://{}", server.addr);
    assert_eq!(
        complaint(&server, &plain, &[]),
        format!("{plain}: it does not speak TLS at this port: write http://, or the port that speaks TLS")
    );
    let certificate = authority.issue(&["DNS:localhost"], Valid::Long);
    let url = format!("http://{}", front(certificate.server(), server.addr));
    assert_eq!(
        complaint(&server, &url, &[]),
        format!("{url} speaks TLS at this port: write https://")
    );
}

#[test]
fn a_handshake_that_stalls_or_ends_is_no_hang() {
    let server = Server::start(TOML);
    let silent = format!("https://{}", listen(std::mem::forget));
    assert_eq!(
        complaint(&server, &silent, &[]),
        format!("{silent}: it does not answer the TLS handshake in time")
    );
    let cut = listen(|mut stream| {
        let mut hello = [0; 64];
        stream.read_exact(&mut hello).expect("the beginning of a handshake");
    });
    let said = complaint(&server, &format!("https://{cut}"), &[]);
    let ends = ["in the TLS handshake", "reset by peer (os error 104)"];
    assert!(ends.iter().any(|end| said.ends_with(end)), "{said}");
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let server = Server::start(TOML);
    let said = complaint(&server, "https://localhost:1", &["--ca", "/nowhere/ca.pem"]);
    assert_eq!(said, "--ca /nowhere/ca.pem: No such file or directory (os error 2)");
    let config = server.config_path().display().to_string();
    let said = complaint(&server, "https://localhost:1", &["--ca", &config]);
    assert_eq!(said, format!("--ca {config}: it has no certificate in PEM"));
}

#[test]
fn without_a_url_a_server_that_speaks_tls_alone_is_known_by_its_certificate() {
    let authority = Authority::new();
    let certificate = authority.issue(&["DNS:www.example.org"], Valid::Long);
    let other = authority.issue(&["DNS:www.example.org"], Valid::Long);
    let port = free_port(Ipv4Addr::LOCALHOST);
    let toml = |certificate: &Certificate| {
        format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\n[server]\nlisten = [\"127.0.0.1:{port}\"]\n{}",
            certificate.chain,
            certificate.key,
            TOML.trim_start_matches("[server]\n")
        )
    };
    let (server, _) = Server::start_secure(&toml(&certificate));
    // The address of the configuration, which flags have replaced, is where the server is asked.
    let front = TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
    let to = server.addr;
    let config = certificate.server();
    thread::spawn(move || {
        for stream in front.incoming().flatten() {
            let _ = relay(
                serve(&config, stream),
                TcpStream::connect(to).expect("the server listens"),
            );
        }
    });
    let published = run(&server, &["publish", "news", "saved", "1"]);
    let err = String::from_utf8_lossy(&published.stderr);
    assert_eq!(
        (&*String::from_utf8_lossy(&published.stdout), &*err),
        ("published to 0 connections\n", "")
    );

    std::fs::write(server.config_path(), toml(&other)).expect("written");
    let refused = run(&server, &["publish", "news", "saved", "1"]);
    let err = String::from_utf8_lossy(&refused.stderr);
    assert!(
        err.contains("it shows another certificate than that in the configuration"),
        "{err}"
    );
}

#[test]
fn webhooks_go_to_a_server_that_an_authority_of_our_own_has_certified() {
    let authority = Authority::new();
    let certificate = authority.issue(&["DNS:localhost"], Valid::Long).server();
    let (tell, told) = mpsc::channel();
    let target = listen(move |stream| {
        let mut stream = BufReader::new(serve(&certificate, stream));
        while let Some((lines, body)) = request(&mut stream) {
            tell.send((lines, body)).expect("the test waits");
            stream.get_mut().write_all(OK).expect("the server reads");
        }
    });
    let toml = |ca: &str| {
        format!(
            "[tls]\nca = {ca:?}\n{TOML}[[apps.webhooks]]\nurl = \"https://localhost:{}/hook?token=1\"\n\
             events = [\"channel_occupied\"]\n",
            target.port()
        )
    };
    let server = Server::start(&toml(""));
    let mut peer = Peer::upgrade(&server, "/app/ka?protocol=7");
    peer.next_frame();
    peer.text(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    let why = "no authority that is trusted has issued the certificate";
    wait_until(
        "the log names the fault",
        || server.log().contains(why),
        || server.log(),
    );
    assert!(
        server.log().contains("name its certificate with `ca` in [tls]"),
        "{}",
        server.log()
    );

    // A file that cannot be used changes nothing.
    std::fs::write(server.config_path(), toml("/nowhere/ca.pem")).expect("written");
    server.signal(Signal::HUP);
    let why = "`ca` in [tls] cannot be used: /nowhere/ca.pem: No such file or directory (os error 2)";
    wait_until("the reload is refused", || server.log().contains(why), || server.log());
    let checked = run(&server, &["check"]);
    let err = String::from_utf8_lossy(&checked.stderr);
    assert!(
        err.contains(&format!(":2:6: {why}")) && checked.status.code() == Some(1),
        "{err}"
    );

    std::fs::write(server.config_path(), toml(&authority.root().display().to_string())).expect("written");
    server.signal(Signal::HUP);
    let (lines, body) = told.recv_timeout(PATIENCE).expect("the webhook comes");
    assert_eq!(lines[0], "POST /hook?token=1 HTTP/1.1");
    assert_eq!(lines[1], format!("Host: localhost:{}", target.port()));
    assert!(String::from_utf8_lossy(&body).contains("channel_occupied"));
    assert!(!server.log().contains("token=1"), "{}", server.log());
}

#[test]
fn a_webhook_that_fails_for_another_reason_is_named_again() {
    let (tell, told) = mpsc::channel();
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = target.local_addr().expect("bound");
    thread::spawn(move || {
        for (n, stream) in target.incoming().flatten().enumerate() {
            let mut stream = BufReader::new(stream);
            request(&mut stream).expect("a post");
            let status = if n == 0 { "500 First" } else { "503 Then" };
            let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).expect("it reads");
            if tell.send(()).is_err() {
                return;
            }
        }
    });
    let server = Server::start(&format!(
        "{TOML}[[apps.webhooks]]\nurl = \"http://{addr}/hook\"\nevents = [\"channel_occupied\"]\n"
    ));
    let mut peer = Peer::upgrade(&server, "/app/ka?protocol=7");
    peer.next_frame();
    peer.text(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    for _ in 0..4 {
        told.recv_timeout(PATIENCE).expect("it is tried again");
    }
    for why in ["it answered 500", "it answered 503"] {
        assert_eq!(server.log().matches(why).count(), 1, "{why}: {}", server.log());
    }
}
