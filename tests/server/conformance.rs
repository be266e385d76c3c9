//! The groups of the Autobahn|Testsuite, case by case, on raw sockets: framing, pings, reserved bits, opcodes,
//! fragmentation, UTF-8, closing, sizes. They run everywhere; the suite itself (`tests/autobahn`) needs CPython 2.7.
//! Groups 12 and 13 test an extension that is not offered.
//!
//! Where the suite accepts several outcomes, this file accepts the one that robustness demands: the server answers a
//! violation with a close frame of the right code, after the answers to all frames before it.

use std::time::Duration;

use crate::common::frame::{BINARY, CLOSE, Frame, PING, TEXT, fragments};
use crate::common::server::OPEN;
use crate::common::{Noise, Peer, Server};

/// The next action of the server.
enum Expect<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Pong(&'a [u8]),
    /// A close frame with this code and the end of the stream.
    Close(u16),
}
use Expect::{Binary, Close, Pong, Text};

/// A case: its number in the suite, the frames to send, the expected frames. The frames are sent at once, then, with a
/// new connection, in single bytes, so that every case also meets the decoder at every torn edge.
fn dialogue(server: &Server, case: &str, frames: &[Frame], expected: &[Expect]) {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    let pieces: &[usize] = if bytes.len() < 1000 {
        &[usize::MAX, 1]
    } else {
        &[usize::MAX, 997]
    };
    for &size in pieces {
        println!("case {case} in pieces of {size}");
        let mut ws = Peer::upgrade(server, "/echo");
        // The server may have ended the connection before the last bytes behind a violation are sent.
        for piece in bytes.chunks(size) {
            ws.try_send(piece);
        }
        let mut closed = false;
        for expect in expected {
            match expect {
                Text(payload) => _ = ws.expect_frame(TEXT, payload),
                Binary(payload) => _ = ws.expect_frame(BINARY, payload),
                Pong(payload) => _ = ws.expect_pong(payload),
                Close(code) => {
                    ws.expect_close(*code);
                    closed = true;
                }
            }
        }
        // Nothing unasked-for stands between the last answer and the close.
        if !closed {
            ws.close(1000, "done").expect_close(1000);
        }
    }
}

#[test]
fn group_1_framing() {
    let server = Server::start("[limits]\nconnects_per_second = 0\nmax_message_size = 131072\n");
    for len in [0, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = vec![b'*'; len];
        dialogue(
            &server,
            &format!("1.1, {len} bytes"),
            &[Frame::text(&payload)],
            &[Text(&payload)],
        );
        let payload = Noise(1 + len as u64).bytes(len);
        dialogue(
            &server,
            &format!("1.2, {len} bytes"),
            &[Frame::binary(&payload)],
            &[Binary(&payload)],
        );
    }
}

#[test]
fn group_2_pings_and_pongs() {
    let server = Server::start(OPEN);
    let long = vec![0xfe; 125];
    let odd = [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    dialogue(&server, "2.1", &[Frame::ping("")], &[Pong(b"")]);
    dialogue(
        &server,
        "2.2",
        &[Frame::ping("Hello, world!")],
        &[Pong(b"Hello, world!")],
    );
    dialogue(&server, "2.3", &[Frame::ping(odd)], &[Pong(&odd)]);
    dialogue(&server, "2.4 and 2.6", &[Frame::ping(&long)], &[Pong(&long)]);
    dialogue(&server, "2.5", &[Frame::ping([0xfe; 126])], &[Close(1002)]);
    dialogue(&server, "2.7", &[Frame::pong("")], &[]);
    dialogue(&server, "2.8", &[Frame::pong("unsolicited pong payload")], &[]);
    let after_pong = [Frame::pong("unsolicited pong payload"), Frame::ping("ping payload")];
    dialogue(&server, "2.9", &after_pong, &[Pong(b"ping payload")]);
    let payloads: Vec<String> = (0..10).map(|n| format!("payload-{n}")).collect();
    let pings: Vec<Frame> = payloads.iter().map(Frame::ping).collect();
    let pongs: Vec<Expect> = payloads.iter().map(|payload| Pong(payload.as_bytes())).collect();
    dialogue(&server, "2.10 and 2.11", &pings, &pongs);
}

#[test]
fn group_3_reserved_bits() {
    let server = Server::start(OPEN);
    let (hello, ping) = (Frame::text("Hello, world!"), Frame::ping("x"));
    dialogue(&server, "3.1", &[hello.clone().reserved(1)], &[Close(1002)]);
    for bits in [2, 3, 4] {
        let frames = [hello.clone(), hello.clone().reserved(bits), ping.clone()];
        dialogue(
            &server,
            &format!("3.{bits}"),
            &frames,
            &[Text(b"Hello, world!"), Close(1002)],
        );
    }
    dialogue(&server, "3.5", &[Frame::binary([0; 8]).reserved(5)], &[Close(1002)]);
    dialogue(&server, "3.6", &[ping.reserved(6)], &[Close(1002)]);
    dialogue(&server, "3.7", &[Frame::close(1000, "").reserved(7)], &[Close(1002)]);
    for bits in 1..8 {
        let second = [Frame::text("a").unfinished(), Frame::continuation("b").reserved(bits)];
        dialogue(&server, &format!("a continuation with {bits}"), &second, &[Close(1002)]);
    }
}

#[test]
fn group_4_opcodes() {
    let server = Server::start(OPEN);
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for payload in ["", "reserved opcode payload"] {
            let odd = Frame::new(opcode, payload);
            dialogue(
                &server,
                &format!("4, opcode {opcode}"),
                std::slice::from_ref(&odd),
                &[Close(1002)],
            );
            let after = [Frame::text("Hello, world!"), odd, Frame::ping("")];
            dialogue(
                &server,
                &format!("4, opcode {opcode} later"),
                &after,
                &[Text(b"Hello, world!"), Close(1002)],
            );
        }
    }
}

#[test]
fn group_5_fragmentation() {
    let server = Server::start(OPEN);
    let start = || Frame::text("fragment1").unfinished();
    let end = || Frame::continuation("fragment2");
    let whole: &[u8] = b"fragment1fragment2";
    dialogue(
        &server,
        "5.1",
        &[Frame::ping("fragment1").unfinished(), end()],
        &[Close(1002)],
    );
    dialogue(
        &server,
        "5.2",
        &[Frame::pong("fragment1").unfinished(), end()],
        &[Close(1002)],
    );
    let close = Frame::new(CLOSE, [3, 232]).unfinished();
    dialogue(
        &server,
        "a close frame in fragments",
        &[close, Frame::continuation("")],
        &[Close(1002)],
    );
    dialogue(&server, "5.3 to 5.5", &[start(), end()], &[Text(whole)]);
    let binary = [Frame::binary("fragment1").unfinished(), end()];
    dialogue(&server, "5.3 to 5.5, binary", &binary, &[Binary(whole)]);
    dialogue(
        &server,
        "5.6 to 5.8",
        &[start(), Frame::ping("p"), end()],
        &[Pong(b"p"), Text(whole)],
    );
    let hello = || Frame::text("Hello, world!");
    dialogue(
        &server,
        "5.9 to 5.11",
        &[Frame::continuation("x"), hello()],
        &[Close(1002)],
    );
    dialogue(
        &server,
        "5.12 to 5.14",
        &[Frame::continuation("x").unfinished(), hello()],
        &[Close(1002)],
    );
    let late = [start(), end(), Frame::continuation("x").unfinished(), hello()];
    dialogue(&server, "5.15", &late, &[Text(whole), Close(1002)]);
    let pair = [Frame::continuation("fragment1").unfinished(), Frame::text("fragment2")];
    dialogue(&server, "5.16", &[&pair[..], &pair[..]].concat(), &[Close(1002)]);
    let pair = [Frame::continuation("fragment1"), Frame::text("fragment2")];
    dialogue(&server, "5.17", &[&pair[..], &pair[..]].concat(), &[Close(1002)]);
    dialogue(&server, "5.18", &[start(), Frame::text("fragment2")], &[Close(1002)]);
    dialogue(
        &server,
        "5.18, binary",
        &[start(), Frame::binary("fragment2")],
        &[Close(1002)],
    );
    let part = |n: u8| Frame::continuation(format!("fragment{n}")).unfinished();
    let five = [
        start(),
        part(2),
        Frame::ping("pongme 1"),
        part(3),
        Frame::ping("pongme 2"),
        part(4),
        Frame::continuation("fragment5"),
    ];
    let answers = [
        Pong(b"pongme 1"),
        Pong(b"pongme 2"),
        Text(b"fragment1fragment2fragment3fragment4fragment5"),
    ];
    dialogue(&server, "5.19 and 5.20", &five, &answers);
    let pongs = [start(), Frame::pong("unasked"), end()];
    dialogue(&server, "a pong between fragments", &pongs, &[Text(whole)]);
}

/// Sends `payload` as a text, whole, in two halves and in single-byte fragments: it comes back when it is UTF-8, else
/// the close code is 1007.
fn utf8(server: &Server, what: &str, payload: &[u8]) {
    let half = payload.len().div_ceil(2).max(1);
    for size in [usize::MAX, half, 1] {
        println!("{what}: {} in fragments of {size}", payload.escape_ascii());
        let mut ws = Peer::upgrade(server, "/echo");
        ws.try_send(fragments(TEXT, payload, size));
        match std::str::from_utf8(payload) {
            Ok(_) => ws.expect_frame(TEXT, payload).close(1000, "").expect_close(1000),
            Err(_) => ws.expect_close(1007),
        };
    }
}

#[test]
fn group_6_utf8() {
    let server = Server::start(OPEN);
    let valid = "κόσμε Hello-µ@ßöäüàá-UTF-8!! 🙂".as_bytes();
    // 6.1: nothing at all, and nothing around something.
    utf8(&server, "6.1.1", b"");
    let empty = Frame::text("").unfinished();
    let more = Frame::continuation("").unfinished();
    dialogue(
        &server,
        "6.1.2",
        &[empty.clone(), more, Frame::continuation("")],
        &[Text(b"")],
    );
    let middle = Frame::continuation("middle frame payload").unfinished();
    dialogue(
        &server,
        "6.1.3",
        &[empty, middle, Frame::continuation("")],
        &[Text(b"middle frame payload")],
    );
    utf8(&server, "6.2", valid);
    // 6.3 and 6.4: wrong in the middle, and wrong in the fragment that is not the last one.
    let broken = [valid, b"\xed\xa0\x80edited"].concat();
    utf8(&server, "6.3", &broken);
    let above = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64";
    utf8(&server, "6.4", above);
    // 6.5 and 6.6: every beginning of a valid text.
    let kosme = "κόσμε".as_bytes();
    for end in 1..=kosme.len() {
        utf8(&server, "6.6", &kosme[..end]);
    }
}

#[test]
fn group_6_utf8_sequences() {
    let server = Server::start(OPEN);
    // 6.7 to 6.11: the first and last of each length, and the code points around the surrogates and the end.
    let borders: [&[u8]; 22] = [
        b"\x00",
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\x7f",
        b"\xdf\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xf4\x90\x80\x80",
        // 6.15: incomplete sequences in a row.
        b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf\xfb\xbf\xbf\xbf",
        // 6.17 and 6.18: overlong, at least and at most.
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        // 6.19: an overlong NUL.
        b"\xf0\x80\x80\x80",
    ];
    for sequence in borders {
        utf8(&server, "6.7 to 6.19", sequence);
    }
    // 6.12: continuations without a start, up to all sixty-four.
    for len in 1..=7 {
        utf8(&server, "6.12", &b"\x80\xbf\x80\xbf\x80\xbf\x80"[..len]);
    }
    utf8(&server, "6.12.8", &(0x80..=0xbf).collect::<Vec<u8>>());
    // 6.13: starts without a continuation, each followed by a space.
    utf8(
        &server,
        "6.13",
        &(0xc0..=0xfd).flat_map(|start: u8| [start, b' ']).collect::<Vec<u8>>(),
    );
    // 6.20 and 6.21: surrogates, alone and in pairs.
    for high in [
        "\u{d7ff}".as_bytes(),
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xaf\xbf",
    ] {
        utf8(&server, "6.20", high);
        for low in [&b"\xed\xb0\x80"[..], b"\xed\xbf\xbf"] {
            utf8(&server, "6.20", low);
            utf8(&server, "6.21", &[high, low].concat());
        }
    }
    // 6.22 and 6.23: noncharacters and specials are text like any other.
    let planes = (0..=16).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    for point in planes.chain(0xfff9..=0xfffd) {
        let character = char::from_u32(point).expect("no surrogate");
        utf8(&server, "6.22 and 6.23", character.to_string().as_bytes());
    }
}

/// Every class of sequence of up to four bytes: bytes at the borders of RFC 3629's grammar in all combinations. Rust's
/// own decoder is the oracle. Valid sequences go over one connection, each invalid one needs a connection of its own.
#[test]
fn group_6_utf8_all_classes_of_sequences() {
    let server = Server::start(OPEN);
    let mut echo = Peer::upgrade(&server, "/echo");
    let second = [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0];
    let later = [0x7f, 0x80, 0xbf, 0xc0];
    let mut sequences: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let starts = [
        0x7f, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xf8, 0xff,
    ];
    for a in starts {
        for b in second {
            sequences.push(vec![a, b]);
            if (0xe0..0xf8).contains(&a) {
                sequences.extend(later.map(|c| vec![a, b, c]));
            }
            if (0xf0..0xf8).contains(&a) {
                sequences.extend(later.iter().flat_map(|&c| later.map(|d| vec![a, b, c, d])));
            }
        }
    }
    assert!(sequences.len() > 700);
    for sequence in sequences {
        if let Ok(text) = std::str::from_utf8(&sequence) {
            echo.text(text).expect_text(text);
            continue;
        }
        println!("invalid: {}", sequence.escape_ascii());
        Peer::upgrade(&server, "/echo")
            .frame(&Frame::text(&sequence))
            .expect_close(1007);
        // A sequence that the end of a fragment cuts off is no error yet; a wrong sequence stays wrong.
        let mut ws = Peer::upgrade(&server, "/echo");
        ws.try_send(fragments(TEXT, &[b"ok ", &sequence[..]].concat(), 4))
            .expect_close(1007);
    }
}

#[test]
fn group_7_closing() {
    let server = Server::start("[limits]\nconnects_per_second = 0\nmax_message_size = 262144\n");
    let (hello, bye) = (Frame::text("Hello World!"), Frame::close(1000, ""));
    dialogue(
        &server,
        "7.1.1",
        &[hello.clone(), bye.clone()],
        &[Text(b"Hello World!"), Close(1000)],
    );
    dialogue(&server, "7.1.2", &[bye.clone(), bye.clone()], &[Close(1000)]);
    dialogue(&server, "7.1.3", &[bye.clone(), Frame::ping("x")], &[Close(1000)]);
    dialogue(&server, "7.1.4", &[bye.clone(), hello.clone()], &[Close(1000)]);
    let torn = [
        Frame::text("fragment1").unfinished(),
        bye.clone(),
        Frame::continuation("fragment2"),
    ];
    dialogue(&server, "7.1.5", &torn, &[Close(1000)]);
    let large = vec![b'*'; 262_144];
    let after_large = [Frame::text(&large), bye.clone(), Frame::ping("x")];
    dialogue(&server, "7.1.6", &after_large, &[Text(&large), Close(1000)]);
    for size in [1, usize::MAX] {
        println!("case 7.3.1 in pieces of {size}");
        Peer::upgrade(&server, "/echo")
            .send_torn(Frame::new(CLOSE, "").bytes(), size)
            .expect_bare_close();
    }
    dialogue(&server, "7.3.2", &[Frame::new(CLOSE, "a")], &[Close(1002)]);
    dialogue(&server, "7.3.3", &[bye], &[Close(1000)]);
    dialogue(&server, "7.3.4", &[Frame::close(1000, "Hello World!")], &[Close(1000)]);
    dialogue(&server, "7.3.5", &[Frame::close(1000, [b'*'; 123])], &[Close(1000)]);
    dialogue(&server, "7.3.6", &[Frame::close(1000, [b'*'; 124])], &[Close(1002)]);
    let reason = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64";
    dialogue(&server, "7.5.1", &[Frame::close(1000, reason)], &[Close(1007)]);
    dialogue(
        &server,
        "7.5.1, cut",
        &[Frame::close(1000, &reason[..4])],
        &[Close(1007)],
    );
}

/// RFC 6455 section 7.4 and the registry: 1000–1003 and 1007–1014 are protocol codes, 3000–4999 are free for
/// applications; the others must not be seen on the wire.
#[test]
fn group_7_close_codes() {
    let server = Server::start(OPEN);
    let borders = [0, 1, 2999, 3000, 3999, 4000, 4999, 5000, 5001, 32_768, 65_535];
    let codes = borders.into_iter().chain(990..1030).chain((0..6000).step_by(101));
    for code in codes {
        println!("close code {code}");
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for reason in ["", "reason"] {
            let mut ws = Peer::upgrade(&server, "/echo");
            ws.close(code, reason).expect_close(if valid { code } else { 1002 });
        }
    }
}

/// Limits for messages of 16 MiB: nothing of it may be taken for a slow consumer.
const LARGE: &str = "[limits]\nconnects_per_second = 0\nmax_message_size = 16777216\nsend_queue_bytes = 67108864\n";
const MIB: usize = 1 << 20;

fn large(server: &Server) -> Peer {
    Peer::upgrade(server, "/echo").patient(Duration::from_secs(60))
}

#[test]
fn group_9_sizes() {
    let server = Server::start(LARGE);
    for len in [MIB / 16, MIB / 4, MIB, 4 * MIB, 8 * MIB, 16 * MIB] {
        println!("9.1 and 9.2, {len} bytes");
        let payload = vec![b'*'; len];
        let mut ws = large(&server);
        ws.frame(&Frame::text(&payload)).expect_frame(TEXT, &payload);
        ws.frame(&Frame::binary(&payload)).expect_frame(BINARY, &payload);
        ws.close(1000, "").expect_close(1000);
    }
}

#[test]
fn group_9_fragments() {
    let server = Server::start(LARGE);
    let payload = vec![b'*'; 4 * MIB];
    for size in [64, 256, 1024, 4096, 16_384, 65_536, MIB / 4, MIB, 4 * MIB] {
        println!("9.3 and 9.4, fragments of {size}");
        let mut ws = large(&server);
        ws.send(fragments(TEXT, &payload, size)).expect_frame(TEXT, &payload);
        ws.send(fragments(BINARY, &payload, size))
            .expect_frame(BINARY, &payload);
    }
}

#[test]
fn group_9_pieces() {
    let server = Server::start(LARGE);
    let payload = vec![b'*'; MIB];
    for size in [64, 128, 256, 512, 1024, 2048] {
        println!("9.5 and 9.6, pieces of {size}");
        let mut ws = large(&server);
        ws.send_torn(Frame::text(&payload).bytes(), size)
            .expect_frame(TEXT, &payload);
        ws.send_torn(Frame::binary(&payload).bytes(), size)
            .expect_frame(BINARY, &payload);
    }
}

#[test]
fn group_9_round_trips() {
    let server = Server::start(LARGE);
    for len in [0, 16, 64, 256, 1024, 4096] {
        println!("9.7 and 9.8, {len} bytes");
        let payload = vec![b'*'; len];
        let (mut text, mut binary) = (large(&server), large(&server));
        for _ in 0..1000 {
            text.frame(&Frame::text(&payload)).expect_frame(TEXT, &payload);
            binary.frame(&Frame::binary(&payload)).expect_frame(BINARY, &payload);
        }
    }
}

#[test]
fn group_10_auto_fragmentation() {
    let server = Server::start(OPEN);
    let payload = vec![b'*'; 65_536];
    let mut ws = Peer::upgrade(&server, "/echo");
    ws.send(fragments(TEXT, &payload, 1300))
        .expect_frame(TEXT, &payload)
        .close(1000, "")
        .expect_close(1000);
}

/// A group's table could be empty, or its dialogue deaf; here a wrong expectation must be noticed.
#[test]
#[should_panic(expected = "expected pong")]
fn a_wrong_expectation_fails() {
    let server = Server::start(OPEN);
    dialogue(&server, "self-test", &[Frame::new(PING, "a")], &[Pong(b"b")]);
}
