//! Hostile frames after a good handshake: the server answers a violation of RFC 6455 with the right close code, at
//! once, without storing the announced payload. Connections end properly from either side, also in the middle of a
//! message.

use std::time::{Duration, Instant};

use crate::common::frame::{BINARY, CLOSE, PING, TEXT, Width, fragments};
use crate::common::server::OPEN;
use crate::common::{Frame, Peer, Server};

/// This frame, alone and after a good one, ends the connection with this code.
fn violates(server: &Server, what: &str, bytes: &[u8], code: u16) {
    println!("{what}");
    Peer::upgrade(server, "/echo").send(bytes).expect_close(code);
    let mut ws = Peer::upgrade(server, "/echo");
    ws.send([&Frame::text("first").bytes(), bytes].concat());
    ws.expect_text("first").expect_close(code);
}

#[test]
fn protocol_errors_get_1002() {
    let server = Server::start(OPEN);
    let code = |code: u16| Frame::close(code, "").bytes();
    for (what, bytes) in [
        ("an unmasked text", Frame::text("hi").unmasked().bytes()),
        ("an unmasked empty text", Frame::text("").unmasked().bytes()),
        ("an unmasked ping", Frame::ping("hi").unmasked().bytes()),
        ("an unmasked close", Frame::close(1000, "").unmasked().bytes()),
        ("reserved opcode 3", Frame::new(3, "hi").bytes()),
        ("reserved opcode 11", Frame::new(11, "hi").bytes()),
        ("reserved bit 1", Frame::text("hi").reserved(4).bytes()),
        ("reserved bit 2", Frame::text("hi").reserved(2).bytes()),
        ("reserved bit 3", Frame::text("hi").reserved(1).bytes()),
        ("a fragmented ping", Frame::ping("hi").unfinished().bytes()),
        ("a fragmented pong", Frame::pong("hi").unfinished().bytes()),
        ("a fragmented close", Frame::close(1000, "").unfinished().bytes()),
        ("a ping of 126 bytes", Frame::ping([0; 126]).bytes()),
        ("a pong of 126 bytes", Frame::pong([0; 126]).bytes()),
        ("a ping of 64 KB", Frame::ping([0; 65_536]).bytes()),
        ("a close of 126 bytes", Frame::close(1000, [b'a'; 124]).bytes()),
        ("a continuation of nothing", Frame::continuation("hi").bytes()),
        (
            "an unfinished continuation of nothing",
            Frame::continuation("hi").unfinished().bytes(),
        ),
        (
            "a text inside a text",
            [Frame::text("a").unfinished().bytes(), Frame::text("b").bytes()].concat(),
        ),
        (
            "a binary inside a text",
            [Frame::text("a").unfinished().bytes(), Frame::binary("b").bytes()].concat(),
        ),
        ("a close body of one byte", Frame::new(CLOSE, [3]).bytes()),
        ("close code 0", code(0)),
        ("close code 999", code(999)),
        ("close code 1004", code(1004)),
        ("close code 1005", code(1005)),
        ("close code 1006", code(1006)),
        ("close code 1015", code(1015)),
        ("close code 2999", code(2999)),
        ("close code 5000", code(5000)),
        ("close code 65535", code(65_535)),
    ] {
        violates(&server, what, &bytes, 1002);
    }
}

/// A control frame that is too long is refused by its header; the server does not wait for its payload.
#[test]
fn a_long_control_frame_is_refused_by_its_header() {
    let server = Server::start(OPEN);
    for width in [Width::Sixteen, Width::SixtyFour] {
        violates(
            &server,
            "a ping that announces 126",
            &Frame::ping("").announcing(126).width(width).bytes(),
            1002,
        );
    }
}

#[test]
fn invalid_utf8_gets_1007() {
    let server = Server::start(OPEN);
    let invalid: [(&str, &[u8]); 8] = [
        ("a lonely continuation", b"a\x80b"),
        ("a lonely start", b"a\xc3(b"),
        ("overlong", b"\xc0\xaf"),
        ("overlong in three", b"\xe0\x80\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("above U+10FFFF", b"\xf4\x90\x80\x80"),
        ("cut at the end", b"ok \xe2\x82"),
        ("FF", b"\xff"),
    ];
    for (what, text) in invalid {
        violates(&server, what, &Frame::text(text).bytes(), 1007);
        violates(
            &server,
            &format!("{what}, as a reason"),
            &Frame::close(1000, text).bytes(),
            1007,
        );
        for size in 1..=text.len() {
            violates(
                &server,
                &format!("{what}, in fragments of {size}"),
                &fragments(TEXT, text, size),
                1007,
            );
        }
    }
}

#[test]
fn a_character_may_be_split_over_fragments() {
    let server = Server::start(OPEN);
    let text = "κόσμε €uro 🙂";
    let mut ws = Peer::upgrade(&server, "/echo");
    for size in 1..text.len() {
        ws.send(fragments(TEXT, text.as_bytes(), size)).expect_text(text);
    }
    // In a binary message these bytes are allowed.
    ws.binary(b"\xff\xfe").expect_binary(b"\xff\xfe");
}

#[test]
fn too_large_gets_1009_from_the_header_alone() {
    let server = Server::start(OPEN);
    let limit = 65_536;
    let mut ws = Peer::upgrade(&server, "/echo");
    let largest = "x".repeat(limit);
    ws.text(&largest).expect_text(&largest);
    for len in [
        limit as u64 + 1,
        1 << 20,
        u64::from(u32::MAX) + 1,
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX,
    ] {
        for opcode in [TEXT, BINARY] {
            let header = Frame::new(opcode, "").announcing(len).width(Width::SixtyFour).bytes();
            violates(&server, &format!("{len} bytes announced"), &header, 1009);
        }
    }
    // The sum of fragments counts, and the header of the fragment that goes over is enough to refuse it.
    let half = Frame::text(vec![b'a'; limit / 2]).unfinished().bytes();
    let over = Frame::continuation("").announcing(limit as u64 / 2 + 1).bytes();
    violates(&server, "fragments", &[&half[..], &over].concat(), 1009);
    let fits = Frame::continuation(vec![b'a'; limit / 2]).bytes();
    Peer::upgrade(&server, "/echo")
        .send([&half[..], &fits].concat())
        .expect_text(&"a".repeat(limit));
    // … also with a ping between them.
    let between = [&half[..], &Frame::ping("").bytes(), &over].concat();
    Peer::upgrade(&server, "/echo")
        .send(between)
        .expect_pong("")
        .expect_close(1009);
}

#[test]
fn the_configured_size_counts() {
    let server = Server::start("[limits]\nconnects_per_second = 0\nmax_message_size = 1000\n");
    let mut ws = Peer::upgrade(&server, "/echo");
    let largest = "x".repeat(1000);
    ws.text(&largest).expect_text(&largest);
    ws.frame(&Frame::text("").announcing(1001)).expect_close(1009);
    let mut ws = Peer::upgrade(&server, "/");
    ws.frame(&Frame::text("").announcing(1001)).expect_close(1009);
}

#[test]
fn a_hundred_announcements_cost_next_to_nothing() {
    let limits = "[limits]\nconnects_per_second = 0\nmax_message_size = 16777216\nsend_queue_bytes = 33554432\n";
    let server = Server::start(limits);
    let announce = |opcode| {
        let mut ws = Peer::upgrade(&server, "/echo");
        // The pong proves that the header after it has been read with it.
        let header = Frame::new(opcode, "").announcing(16 << 20).bytes();
        ws.send([&Frame::ping("p").bytes()[..], &header].concat())
            .expect_pong("p");
        ws
    };
    let warm: Vec<Peer> = (0..10).map(|_| announce(TEXT)).collect();
    let before = server.rss();
    let held: Vec<Peer> = (0..100)
        .map(|n| announce(if n % 2 == 0 { TEXT } else { BINARY }))
        .collect();
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 2 << 20, "100 announcements of 16 MiB cost {} KiB", grown / 1024);
    drop((warm, held));
}

#[test]
fn ten_thousand_tiny_fragments_are_fine_an_endless_series_is_not() {
    let server = Server::start(OPEN);
    let empty = Frame::continuation("").unfinished().bytes().repeat(10_000);
    let mut ws = Peer::upgrade(&server, "/echo");
    ws.send(
        [
            &Frame::text("a").unfinished().bytes()[..],
            &empty,
            &Frame::continuation("b").bytes(),
        ]
        .concat(),
    );
    ws.expect_text("ab");
    ws.send(fragments(BINARY, &[7; 10_000], 1)).expect_binary(&[7; 10_000]);
    ws.try_send(Frame::text("").unfinished().bytes());
    ws.try_send(Frame::continuation("").unfinished().bytes().repeat(100_001));
    ws.expect_close(1008);
}

#[test]
fn an_unfinished_message_has_a_deadline() {
    let server = Server::start("[limits]\nmessage_timeout = 1\n");
    for (what, bytes) in [
        ("a fragment", Frame::text("a").unfinished().bytes()),
        ("half a frame", Frame::text("ab").announcing(100).bytes()),
        ("half a header", vec![0x81]),
    ] {
        println!("{what}");
        let start = Instant::now();
        let mut ws = Peer::upgrade(&server, "/echo");
        ws.send(&bytes);
        ws.expect_close(1008);
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "{what} was held for {:?}",
            start.elapsed()
        );
    }
    // Pings in between are no progress of the message.
    let mut ws = Peer::upgrade(&server, "/echo");
    ws.frame(&Frame::text("a").unfinished());
    let mut pings = 0_usize;
    while !ws.hears_within(Duration::from_millis(100)) {
        ws.frame(&Frame::pong(""));
        pings += 1;
        assert!(pings < 100, "the message is still unfinished");
    }
    ws.expect_close(1008);
}

#[test]
fn a_close_is_answered_and_the_server_ends_first() {
    let server = Server::start(OPEN);
    let fds = server.fds();
    for code in [1000, 1001, 1003, 1011, 3000, 4321, 4999] {
        let mut ws = Peer::upgrade(&server, "/echo");
        // The end of the stream comes although this side is still open.
        ws.close(code, "bye").expect_close(code);
    }
    Peer::upgrade(&server, "/echo")
        .frame(&Frame::new(CLOSE, ""))
        .expect_bare_close();
    server.expect_fds(fds);
}

/// Frames before the close are answered before it.
#[test]
fn nothing_is_lost_before_a_close() {
    let server = Server::start(OPEN);
    let mut ws = Peer::upgrade(&server, "/echo");
    let messages: Vec<String> = (0..100).map(|n| format!("message {n}")).collect();
    let mut bytes: Vec<u8> = messages.iter().flat_map(|text| Frame::text(text).bytes()).collect();
    bytes.extend(Frame::close(1000, "").bytes());
    ws.send(bytes);
    for message in &messages {
        ws.expect_text(message);
    }
    ws.expect_close(1000);
}

#[test]
fn a_peer_that_does_not_end_after_our_close_is_freed() {
    let server = Server::start("[limits]\nclose_timeout = 1\n");
    let fds = server.fds();
    let mut held = Peer::upgrade(&server, "/echo");
    held.frame(&Frame::new(3, "")).expect_close(1002);
    let mut answered = Peer::upgrade(&server, "/echo");
    answered.close(1000, "").expect_close(1000);
    // Both sides of ours are still open.
    server.expect_fds(fds);
    drop((held, answered));
}

#[test]
fn bytes_after_a_close_are_ignored_and_cut_off() {
    let server = Server::start("[limits]\nclose_timeout = 1\n");
    let fds = server.fds();
    let before = server.rss();
    let mut ws = Peer::upgrade(&server, "/echo");
    let more: Vec<u8> = Frame::text("after").bytes().repeat(100);
    ws.send([&Frame::close(1000, "").bytes()[..], &more].concat());
    ws.try_send(&more);
    ws.expect_close(1000);
    // The server does not read for ever from a peer that goes on sending.
    let deadline = Instant::now() + crate::common::PATIENCE;
    while ws.stream_takes(&more) {
        assert!(
            Instant::now() < deadline,
            "the server still takes bytes after its close"
        );
    }
    server.expect_fds(fds);
    assert!(
        server.rss().saturating_sub(before) < 1 << 20,
        "bytes behind the close were kept"
    );
}

#[test]
fn fin_or_reset_at_any_point_frees_everything() {
    let server = Server::start(OPEN);
    let fds = server.fds();
    let request = crate::common::peer::handshake("/echo");
    let message = [
        Frame::text("hello").unfinished().bytes(),
        Frame::continuation("you").bytes(),
    ]
    .concat();
    let dialogue = [request.as_bytes(), &message, &Frame::new(PING, "p").bytes()].concat();
    for cut in (0..request.len()).step_by(10).chain(request.len()..=dialogue.len()) {
        let mut finished = Peer::connect(&server);
        finished.send(&dialogue[..cut]).finish().drain();
        let mut reset = Peer::connect(&server);
        reset.send(&dialogue[..cut]);
        reset.reset();
    }
    server.expect_fds(fds);
    Peer::upgrade(&server, "/echo").text("alive").expect_text("alive");
}

/// Both directions are closed after every kind of violation.
#[test]
fn every_violation_says_why() {
    let server = Server::start(OPEN);
    for (bytes, code) in [
        (Frame::new(3, "").bytes(), 1002),
        (Frame::text(b"\xff").bytes(), 1007),
        (Frame::text("").announcing(1 << 40).bytes(), 1009),
    ] {
        let mut ws = Peer::upgrade(&server, "/echo");
        // Megabytes behind it must not turn the close frame into a reset.
        let flood = Frame::binary([0; 1000]).bytes().repeat(100);
        ws.try_send([&bytes[..], &flood].concat());
        let reason = ws.expect_close(code);
        assert!(reason.contains(' '), "{code} with the reason {reason:?}");
    }
}
