//! The layer alone, both ends in memory: content comes out as it went in, however the kernel cuts it and whatever the
//! buffer holds; what the kernel does not take is bounded and counted; the end is an end; and whoever breaks TLS is
//! told so and is not read further.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use jsocketd::net::io::Socket;
use jsocketd::net::polled::Polled;
use jsocketd::net::tls::{MOST_UNSENT, NoTls, Session};
use rustls::pki_types::ServerName;

use crate::common::certificates::{Authority, Valid};

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes that the kernel still takes.
    room: usize,
    ended: bool,
}

/// One end of a connection in memory.
struct End {
    from: Rc<RefCell<Pipe>>,
    to: Rc<RefCell<Pipe>>,
    /// Bytes that one read or write moves at most.
    most: usize,
}

impl Socket for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut from = self.from.borrow_mut();
        let n = from.bytes.len().min(buffer.len()).min(self.most);
        if n == 0 && !from.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, byte) in buffer.iter_mut().zip(from.bytes.drain(..n)) {
            *to = byte;
        }
        Ok(n)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut to = self.to.borrow_mut();
        let n = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let n = n.min(to.room).min(self.most);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        to.room -= n;
        to.bytes.extend(slices.iter().flat_map(|slice| slice.iter()).take(n));
        Ok(n)
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn shutdown_write(&mut self) {
        self.to.borrow_mut().ended = true;
    }

    fn reset_on_close(&mut self) {}
}

/// Both ends, which speak TLS.
struct Pair {
    client: Polled<End>,
    server: Polled<End>,
}

const PLENTY: usize = 1 << 30;

impl Pair {
    /// `most`: bytes that one call moves.
    fn new(most: usize) -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(&["DNS:localhost"], Valid::Long);
        let name = ServerName::try_from("localhost").expect("a name");
        let client = Session::client(&authority.settings(), name).expect("a client");
        let server = Session::server(&certificate.server()).expect("a server");
        let mut pair = Self::plain(most);
        pair.client.secure(client);
        pair.server.secure(server);
        pair
    }

    /// Neither end speaks TLS.
    fn plain(most: usize) -> Self {
        let pipe = || {
            Rc::new(RefCell::new(Pipe {
                room: PLENTY,
                ..Pipe::default()
            }))
        };
        let (there, back) = (pipe(), pipe());
        let end = |from: &Rc<RefCell<Pipe>>, to: &Rc<RefCell<Pipe>>| {
            let (from, to) = (from.clone(), to.clone());
            Polled::new(End { from, to, most })
        };
        Self {
            client: end(&back, &there),
            server: end(&there, &back),
        }
    }

    /// The kernel reports all that is so.
    fn report(&mut self) {
        for end in [&mut self.client, &mut self.server] {
            let from = end.stream.from.borrow();
            end.ready.readable |= !from.bytes.is_empty() || from.ended;
            end.ready.read_closed |= from.ended;
            end.ready.writable |= end.stream.to.borrow().room > 0;
        }
    }

    /// Shakes hands to the end.
    fn shaken(mut self) -> Self {
        for _ in 0..20_000 {
            self.report();
            let client = self.client.shake_hands().expect("the client's handshake");
            let server = self.server.shake_hands().expect("the server's handshake");
            if client && server {
                return self;
            }
        }
        panic!("no end of the handshake");
    }
}

/// Reads all that is there. The buffer may be of any size.
fn read_all(end: &mut Polled<End>, size: usize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; size]);
    end.ready.readable = true;
    while end.has_more() {
        if let Some(n) = end.read(&mut buffer).expect("readable") {
            if n == 0 {
                break;
            }
            all.extend_from_slice(&buffer[..n]);
            // The fake kernel reports what is left, as the real one would.
            end.ready.readable |= !end.stream.from.borrow().bytes.is_empty();
        }
    }
    all
}

#[test]
fn content_comes_out_as_it_went_in_for_every_buffer_and_cut() {
    for (most, buffer) in [
        (PLENTY, 65_536),
        (PLENTY, 4096),
        (PLENTY, 300),
        (1, 65_536),
        (777, 20_000),
        (5000, 1),
    ] {
        let mut pair = Pair::new(most).shaken();
        for len in [1, 2, 5000, 16_384, 16_385, 60_000] {
            let sent: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let (mut written, mut came) = (0, Vec::new());
            while came.len() < len {
                pair.report();
                let rest = &sent[written..];
                let halves = rest.split_at(rest.len() / 2);
                if !rest.is_empty()
                    && let Some(n) = pair
                        .server
                        .write(&[IoSlice::new(halves.0), IoSlice::new(halves.1)])
                        .expect("writable")
                {
                    written += n;
                }
                pair.server.flush().expect("writable");
                came.extend(read_all(&mut pair.client, buffer));
            }
            assert_eq!(came, sent, "most {most}, buffer {buffer}, {len} bytes");
        }
        assert_eq!(pair.server.unsent(), 0);
    }
}

#[test]
fn what_the_kernel_does_not_take_is_counted_and_bounded() {
    let mut pair = Pair::new(PLENTY).shaken();
    pair.report();
    pair.server.stream.to.borrow_mut().room = 1000;
    let much = vec![7; 1 << 20];
    let mut taken = 0;
    while let Some(n) = pair.server.write(&[IoSlice::new(&much[taken..])]).expect("writable") {
        taken += n;
    }
    assert!(taken <= MOST_UNSENT, "{taken} bytes were taken");
    assert!(
        pair.server.unsent() + 1000 > taken,
        "{} bytes count",
        pair.server.unsent()
    );
    assert!(!pair.server.ready.writable, "the kernel's refusal is noted");
    // Nothing more is encrypted before that is written.
    pair.server.stream.to.borrow_mut().room = 1;
    pair.report();
    assert_eq!(pair.server.write(&[IoSlice::new(b"more")]).expect("writable"), None);
    pair.server.stream.to.borrow_mut().room = PLENTY;
    pair.report();
    pair.server.flush().expect("writable");
    assert_eq!(pair.server.unsent(), 0);
    assert_eq!(read_all(&mut pair.client, 65_536), &much[..taken]);
}

#[test]
fn nothing_is_taken_before_the_handshake_is_complete() {
    let mut pair = Pair::new(PLENTY);
    pair.report();
    assert!(pair.server.is_handshaking() && pair.client.is_handshaking());
    for end in [&mut pair.client, &mut pair.server] {
        assert_eq!(end.write(&[IoSlice::new(b"early")]).expect("writable"), None);
    }
    let mut pair = pair.shaken();
    assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
    assert_eq!(pair.client.write(&[IoSlice::new(b"late")]).expect("writable"), Some(4));
    assert_eq!(read_all(&mut pair.server, 100), b"late");
}

#[test]
fn a_goodbye_and_a_cut_are_both_an_end() {
    for says_goodbye in [true, false] {
        let mut pair = Pair::new(PLENTY).shaken();
        pair.client.write(&[IoSlice::new(b"last")]).expect("writable");
        match says_goodbye {
            true => assert!(pair.client.finish().expect("writable")),
            false => pair.client.stream.shutdown_write(),
        }
        pair.report();
        let mut buffer = [0; 100];
        assert_eq!(pair.server.read(&mut buffer).expect("readable"), Some(4));
        pair.report();
        assert_eq!(pair.server.read(&mut buffer).expect("readable"), Some(0));
        // The other direction is still open.
        assert_eq!(
            pair.server.write(&[IoSlice::new(b"answer")]).expect("writable"),
            Some(6)
        );
        assert_eq!(read_all(&mut pair.client, 100), b"answer");
    }
}

#[test]
fn plain_http_is_answered_in_plain_http() {
    let mut pair = Pair::new(PLENTY);
    pair.client = Pair::plain(PLENTY).client;
    pair.client.stream.from = pair.server.stream.to.clone();
    pair.client.stream.to = pair.server.stream.from.clone();
    pair.report();
    pair.client
        .write(&[IoSlice::new(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")])
        .expect("writable");
    pair.report();
    let error = pair.server.read(&mut [0; 4096]).expect_err("no TLS");
    assert_eq!(
        error.get_ref().and_then(|why| why.downcast_ref()),
        Some(&NoTls::PlainHttp)
    );
    assert!(pair.server.has_failed() && !pair.server.has_more());
    assert!(pair.server.finish().expect("writable"));
    let answer = String::from_utf8(read_all(&mut pair.client, 4096)).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(body.contains("https"), "{body}");
}

#[test]
fn rubbish_is_answered_with_an_alert_and_never_read_again() {
    for rubbish in [
        &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01xmore"[..],
        b"\x17\x03\x03\x00\x01x",
        b"\x00\x00\x00\x00\x00\x00",
        b"\xff",
    ] {
        let mut pair = Pair::new(PLENTY);
        pair.server.stream.from.borrow_mut().bytes.extend(rubbish);
        pair.report();
        let Err(error) = pair.server.read(&mut [0; 4096]) else {
            assert_eq!(rubbish, b"\xff", "one byte is no record");
            continue;
        };
        assert!(error.get_ref().is_some_and(|why| why.is::<rustls::Error>()), "{error}");
        assert!(pair.server.has_failed());
        let alert: Vec<u8> = pair.server.stream.to.borrow().bytes.iter().copied().collect();
        assert_eq!(alert.first(), Some(&21), "an alert for {rubbish:?}: {alert:?}");
        pair.server.stream.from.borrow_mut().bytes.extend([b'A'; 1000]);
        assert_eq!(read_all(&mut pair.server, 4096), b"");
    }
}

#[test]
fn a_flood_of_empty_records_is_bounded_in_one_read() {
    // A record without content is refused by its type before the handshake; after it, the library counts them.
    let mut pair = Pair::new(PLENTY).shaken();
    let record = [23, 3, 3, 0, 1, 0];
    pair.server
        .stream
        .from
        .borrow_mut()
        .bytes
        .extend(record.iter().cycle().take(600_000));
    pair.report();
    assert!(pair.server.read(&mut [0; 65_536]).is_err(), "a forged record");
    assert!(pair.server.has_failed());
}

#[test]
fn a_certificate_that_is_not_trusted_is_named() {
    let mut pair = Pair::new(PLENTY);
    let name = ServerName::try_from("localhost").expect("a name");
    let stranger = Session::client(&Authority::new().settings(), name).expect("a client");
    pair.client.secure(stranger);
    for _ in 0..10 {
        pair.report();
        if let Err(error) = pair.client.shake_hands() {
            let why = error.get_ref().and_then(|why| why.downcast_ref::<rustls::Error>());
            assert!(matches!(why, Some(rustls::Error::InvalidCertificate(_))), "{error}");
            assert!(pair.client.has_failed());
            return;
        }
        let _ = pair.server.shake_hands();
    }
    panic!("it was trusted");
}
