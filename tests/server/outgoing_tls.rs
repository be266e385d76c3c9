//! The outgoing client over TLS and real sockets: good servers, and servers whose certificate or handshake is bad.

#![allow(clippy::unwrap_used)]

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use jsocketd::trust::Trust;
use rustls::HandshakeKind;

use super::outgoing::{Loop, OK, request, target};
use crate::common::certificates::{Authority, Certificate, Serving, Valid, serve};

/// A client that trusts the authority, for a target at this address under the name `localhost`.
fn client(authority: &Authority, url: &str) -> Loop {
    let mut client = Loop::new(url.replace("http://127.0.0.1", "https://localhost"));
    let trust = Trust::new(&[authority.root()]).unwrap();
    client.outgoing.secure(trust.client().into());
    client
}

/// The certificate of a good server.
fn good(authority: &Authority) -> Certificate {
    authority.issue(&["DNS:localhost"], Valid::Long)
}

/// Answers this many posts on one connection, and returns the end of the connection with the bodies.
fn answer(certificate: &Certificate, stream: TcpStream, posts: usize) -> (BufReader<Serving>, Vec<Vec<u8>>) {
    let mut stream = BufReader::new(serve(&certificate.server(), stream));
    let mut bodies = Vec::new();
    while bodies.len() < posts {
        let (_, body) = request(&mut stream).expect("another post");
        bodies.push(body);
        stream.get_mut().write_all(OK).unwrap();
    }
    (stream, bodies)
}

#[test]
fn posts_follow_each_other_on_one_connection() {
    let authority = Authority::new();
    let certificate = good(&authority);
    let (url, served) = target(move |listener| {
        let (stream, bodies) = answer(&certificate, listener.accept().unwrap().0, 3);
        let tls = &stream.get_ref().conn;
        (bodies, tls.server_name().map(str::to_owned))
    });
    let mut client = client(&authority, &url);
    for body in ["one", "two", "three"] {
        assert_eq!(client.post(body), Ok(200));
    }
    let (bodies, name) = served.join().unwrap();
    assert_eq!(bodies, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert_eq!(
        name.as_deref(),
        Some("localhost"),
        "the name that the server chooses its certificate by"
    );
}

#[test]
fn a_new_connection_resumes_the_session_of_the_last_one() {
    let authority = Authority::new();
    let certificate = good(&authority);
    let config = certificate.server();
    let (url, served) = target(move |listener| {
        let mut kinds = Vec::new();
        while kinds.len() < 3 {
            let mut stream = BufReader::new(serve(&config, listener.accept().unwrap().0));
            if request(&mut stream).is_some() {
                stream.get_mut().write_all(OK).unwrap();
                kinds.push(stream.get_ref().conn.handshake_kind().unwrap());
            }
            stream.get_mut().conn.send_close_notify();
            stream.get_mut().flush().unwrap();
        }
        kinds
    });
    let mut client = client(&authority, &url);
    for n in 0..3 {
        assert_eq!(client.post(n.to_string()), Ok(200));
    }
    let kinds = served.join().unwrap();
    assert_eq!(
        kinds,
        [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]
    );
}

#[test]
fn of_many_handshakes_at_once_none_is_forgotten() {
    const TARGETS: usize = 12;
    let authority = Authority::new();
    let certificate = good(&authority);
    let (url, served) = target(move |listener| {
        let streams: Vec<TcpStream> = (0..TARGETS).map(|_| listener.accept().unwrap().0).collect();
        // They all shake hands at the same time.
        let serve = |stream| {
            let certificate = certificate.clone();
            thread::spawn(move || answer(&certificate, stream, 1).1)
        };
        let serving: Vec<_> = streams.into_iter().map(serve).collect();
        serving.into_iter().map(|one| one.join().unwrap().len()).sum::<usize>()
    });
    let url = url.replace("http://127.0.0.1", "https://localhost");
    let mut client = Loop::of((0..TARGETS).map(|n| format!("{url}&n={n}")).collect());
    let trust = Trust::new(&[authority.root()]).unwrap();
    client.outgoing.secure(trust.client().into());
    for n in 0..TARGETS {
        client.start(n, b"x".to_vec());
    }
    let mut outcomes = client.outcomes(TARGETS);
    outcomes.sort_by_key(|(ticket, _)| *ticket);
    let expected: Vec<_> = (0..TARGETS as u64).map(|ticket| (ticket, Ok(200))).collect();
    assert_eq!(outcomes, expected);
    assert_eq!(served.join().unwrap(), TARGETS);
}

#[test]
fn a_large_body_is_encrypted_as_fast_as_it_is_taken_and_the_loop_sleeps_in_between() {
    let authority = Authority::new();
    let certificate = good(&authority);
    let (url, served) = target(move |listener| {
        let (stream, _) = listener.accept().unwrap();
        // The client meets a full buffer before anything is read.
        thread::sleep(Duration::from_millis(300));
        answer(&certificate, stream, 1).1
    });
    let body: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut client = client(&authority, &url);
    assert_eq!(client.post(body.clone()), Ok(200));
    assert!(served.join().unwrap() == [body], "the body was changed on its way");
    assert!(client.waits < 4000, "the loop spins: {} waits", client.waits);
}

#[test]
fn an_answer_in_tiny_records_is_read() {
    let authority = Authority::new();
    let certificate = good(&authority);
    let (url, served) = target(move |listener| {
        let mut stream = BufReader::new(serve(&certificate.server(), listener.accept().unwrap().0));
        request(&mut stream).unwrap();
        for byte in OK {
            stream.get_mut().write_all(&[*byte]).unwrap();
            stream.get_mut().flush().unwrap();
        }
    });
    let mut client = client(&authority, &url);
    assert_eq!(client.post("x"), Ok(200));
    served.join().unwrap();
}

/// Why a post to a server with this certificate fails; no byte of it reaches the server.
fn refusal(authority: &Authority, certificate: Certificate) -> String {
    let (url, served) = target(move |listener| {
        let mut stream = serve(&certificate.server(), listener.accept().unwrap().0);
        stream.read(&mut [0; 100]).ok()
    });
    let why = client(authority, &url).post("secret").unwrap_err();
    assert_eq!(served.join().unwrap(), None, "the server got the post");
    why
}

#[test]
fn a_server_with_a_bad_certificate_gets_nothing() {
    let authority = Authority::new();
    assert_eq!(
        refusal(&authority, good(&Authority::new())),
        "no authority that is trusted has issued the certificate, or the chain is not complete; if it is an authority \
         of your own, name its certificate with `ca` in [tls]"
    );
    assert_eq!(
        refusal(&authority, authority.issue(&["DNS:www.example.org"], Valid::Long)),
        "the certificate is not for localhost, but for www.example.org: use a name that it is for"
    );
    assert_eq!(
        refusal(&authority, authority.issue(&["DNS:localhost"], Valid::Expired)),
        "the certificate expired on 2020-03-01"
    );
    assert_eq!(
        refusal(&authority, authority.issue(&["DNS:localhost"], Valid::NotYet)),
        "the certificate is valid only from 2049-01-01 on"
    );
}

#[test]
fn a_server_without_tls_is_named() {
    let (url, served) = target(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        // All of it, or the close would be a reset.
        let n = stream.read(&mut [0; 16_384]).unwrap();
        assert!(n > 100, "the beginning of a handshake");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let why = client(&Authority::new(), &url).post("x").unwrap_err();
    assert_eq!(
        why,
        "it does not speak TLS at this port: write http://, or the port that speaks TLS"
    );
    served.join().unwrap();
}

#[test]
fn a_handshake_that_stalls_or_ends_is_a_failure() {
    let (url, served) = target(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        // Until the client gives up.
        while stream.read(&mut [0; 1000]).is_ok_and(|n| n > 0) {}
    });
    let began = Instant::now();
    let why = client(&Authority::new(), &url).post("x").unwrap_err();
    assert_eq!(why, "no TLS handshake within 3 s");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    served.join().unwrap();

    let authority = Authority::new();
    let certificate = good(&authority);
    let (url, served) = target(move |listener| {
        // The first flight of a server, without its end.
        let (stream, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(certificate.server()).unwrap();
        while !tls.wants_write() {
            tls.read_tls(&mut (&stream)).unwrap();
            tls.process_new_packets().unwrap();
        }
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight).unwrap();
        }
        (&stream).write_all(&flight[..flight.len() / 2]).unwrap();
        // Unread bytes of the client would make the end a reset.
        stream.shutdown(Shutdown::Write).unwrap();
        while (&stream).read(&mut [0; 1000]).is_ok_and(|n| n > 0) {}
    });
    let why = client(&authority, &url).post("x").unwrap_err();
    assert_eq!(why, "it closed the connection in the TLS handshake");
    served.join().unwrap();
}

#[test]
fn an_answer_that_is_cut_is_no_success() {
    let authority = Authority::new();
    let certificate = good(&authority);
    let (url, served) = target(move |listener| {
        let mut stream = BufReader::new(serve(&certificate.server(), listener.accept().unwrap().0));
        request(&mut stream).unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200").unwrap();
    });
    let why = client(&authority, &url).post("x").unwrap_err();
    assert_eq!(why, "it closed the connection without an answer");
    served.join().unwrap();
}

#[test]
fn a_redirect_from_http_to_https_on_the_same_host_is_followed() {
    let authority = Authority::new();
    let certificate = good(&authority);
    let (secure, served) = target(move |listener| answer(&certificate, listener.accept().unwrap().0, 1).1);
    let secure = secure.replace("http://127.0.0.1", "https://localhost");
    let (url, redirected) = target(move |listener| {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        request(&mut stream).unwrap();
        let answer = format!("HTTP/1.1 308 X\r\nLocation: {secure}\r\nContent-Length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
    });
    let mut client = Loop::new(url.replace("127.0.0.1", "localhost"));
    let trust = Trust::new(&[authority.root()]).unwrap();
    client.outgoing.secure(trust.client().into());
    assert_eq!(client.post("x"), Ok(200));
    redirected.join().unwrap();
    assert_eq!(served.join().unwrap(), [b"x".to_vec()]);
}
