//! Crowds and rude clients: handshakes at once or never finished beside a bystander who is served meanwhile, the memory
//! of idle connections, floods of key updates, and records in pieces of a byte. `TEST_ALL=1` makes the crowds larger.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::peer::Secure;
use crate::common::server::OPEN;
use crate::common::{PATIENCE, alone, wait_until};

/// The heap of an idle WebSocket over TLS. The issue's own bound.
const IDLE: usize = 12 * 1024;

/// How long an echo of the bystander may take beside a crowd. One tick has 3 ms for handshakes; the rest is the
/// machine.
const ECHO: Duration = Duration::from_millis(250);

fn is_long() -> bool {
    std::env::var_os("TEST_ALL").is_some()
}

/// The first bytes that a client sends.
fn hello(stage: &Secure) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(stage.authority.settings(), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("written");
    bytes
}

#[test]
fn a_thousand_half_handshakes_delay_nobody_and_end() {
    let _alone = alone();
    let stage = Secure::start("", "[limits]\nconnects_per_second = 0\nhandshake_timeout = 3\n");
    let many = 1000;
    let mut bystander = stage.connect().upgrade("/echo");
    let hello = hello(&stage);
    let before = stage.server.fds();
    let mut crowd: Vec<TcpStream> = (0..many)
        .map(|_| TcpStream::connect(stage.addr).expect("it listens"))
        .collect();
    // Each of these costs the server a signature.
    for stream in &mut crowd {
        stream.write_all(&hello).expect("it takes them");
    }
    let mut worst = Duration::ZERO;
    let mut answered = 0;
    while answered < many {
        let began = Instant::now();
        bystander.echo("meanwhile");
        worst = worst.max(began.elapsed());
        let came = |stream: &TcpStream| {
            stream.set_nonblocking(true).expect("a socket");
            let some = stream.peek(&mut [0]).is_ok();
            stream.set_nonblocking(false).expect("a socket");
            some
        };
        answered = crowd.iter().filter(|stream| came(stream)).count();
        assert!(began.elapsed() < PATIENCE, "{answered} of {many} were answered");
    }
    println!("the slowest echo took {worst:?}");
    assert!(worst < ECHO, "an echo took {worst:?}");
    // They never go on, and are ended by handshake_timeout.
    wait_until(
        "the crowd is gone",
        || stage.server.fds() <= before + 1,
        || format!("{} descriptors", stage.server.fds()),
    );
    for stream in &mut crowd {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.is_empty(), "the server's part of the handshake");
    }
    bystander.echo("afterwards");
}

#[test]
fn an_idle_connection_is_small() {
    let _alone = alone();
    let stage = Secure::start("", OPEN);
    let many = if is_long() { 2000 } else { 400 };
    let grow = |many: usize, size: usize| -> Vec<_> {
        let text = "x".repeat(size);
        let mut crowd: Vec<_> = (0..many).map(|_| stage.connect().upgrade("/echo")).collect();
        for client in &mut crowd {
            client.echo(&text);
        }
        crowd
    };
    // The buffers of the loop belong to nobody.
    let _warm = grow(10, 10);
    let before = stage.server.rss();
    let _crowd = grow(many, 10);
    let each = stage.server.rss().saturating_sub(before) / many;
    println!("an idle connection: {each} bytes");
    assert!(each <= IDLE, "an idle connection holds {each} bytes");
    assert!(each > 1000, "the test does not measure: {each} bytes");
}

#[test]
fn records_in_pieces_of_a_byte_are_records() {
    let stage = Secure::start("", "");
    let mut client = stage.connect();
    client
        .0
        .conn
        .writer()
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("taken");
    while client.0.conn.is_handshaking() || client.0.conn.wants_write() {
        let mut bytes = Vec::new();
        while client.0.conn.wants_write() {
            client.0.conn.write_tls(&mut bytes).expect("written");
        }
        for byte in bytes {
            client.0.sock.write_all(&[byte]).expect("it takes it");
        }
        if client.0.conn.is_handshaking() {
            client.0.conn.read_tls(&mut client.0.sock).expect("readable");
            client.0.conn.process_new_packets().expect("TLS");
        }
    }
    assert!(client.head().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_flood_of_key_updates_harms_nobody() {
    let stage = Secure::start("", OPEN);
    let mut bystander = stage.connect().upgrade("/echo");
    let mut rude = stage.connect().upgrade("/echo");
    let before = stage.server.rss();
    for n in 0..3000 {
        if rude.0.conn.refresh_traffic_keys().is_err() || rude.0.flush().is_err() {
            break;
        }
        if n % 100 == 0 {
            bystander.echo("meanwhile");
        }
    }
    bystander.echo("afterwards");
    let grown = stage.server.rss().saturating_sub(before);
    assert!(grown < 4 << 20, "it grew by {} KiB", grown >> 10);
}

#[test]
fn a_client_that_does_not_read_is_dropped_as_elsewhere() {
    let stage = Secure::start("", "[limits]\nsend_queue_bytes = 262144\nsend_queue_seconds = 1\n");
    let mut deaf = stage.connect().upgrade("/echo");
    deaf.0
        .sock
        .set_write_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    let frame = crate::common::Frame::text("x".repeat(60_000)).bytes();
    let began = Instant::now();
    while !stage.server.log().contains("slow consumer") {
        assert!(began.elapsed() < PATIENCE, "{}", stage.server.log());
        // It takes what it takes.
        let _ = deaf.0.write_all(&frame);
        let _ = deaf.0.flush();
    }
}
