//! The effect of many or greedy peers on the others: bounded memory for peers that never read, fair turns beside
//! floods, correct counts after storms of resets, and a loop that survives running out of descriptors. Each test ends
//! with a good client that is served, and most with three seconds in which the server must not do anything at all.
//!
//! The numbers are generous where they are times, because tests run unoptimised and beside each other, and exact where
//! they are counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::frame::{BINARY, PONG, TEXT};
use crate::common::peer::{End, handshake};
use crate::common::server::OPEN;
use crate::common::{Frame, Noise, PATIENCE, Peer, Server, alone, wait_until};

#[test]
fn fifty_thousand_unread_pings_cost_no_memory() {
    let server = Server::start("[limits]\nsend_queue_seconds = 600\n");
    let mut good = Peer::upgrade(&server, "/echo");
    good.text("before").expect_text("before");
    let before = server.rss();
    let mut ws = Peer::upgrade(&server, "/echo");
    let sent = ws.stuff(&Frame::ping([b'p'; 125]).bytes(), 50_000);
    println!("{sent} pings were taken");
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 3 << 20, "unread pongs cost {} KiB", grown / 1024);
    good.text("meanwhile").expect_text("meanwhile");
    // No pong is lost either: a client that begins to read late gets one for each ping.
    for _ in 0..sent.min(40_000) {
        ws.expect_frame(PONG, [b'p'; 125]);
    }
}

#[test]
fn a_peer_that_never_reads_is_not_read_from() {
    let server = Server::start("[limits]\nsend_queue_seconds = 600\n");
    let mut good = Peer::upgrade(&server, "/echo");
    let before = server.rss();
    let mut ws = Peer::upgrade(&server, "/echo");
    // 64 KiB each; 1 GiB in all, if they were taken.
    let sent = ws.stuff(&Frame::binary([0; 65_536]).bytes(), 16_384);
    assert!(
        sent < 1000,
        "{sent} messages of 64 KiB were taken from a peer that reads none"
    );
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 4 << 20, "unread echoes cost {} KiB", grown / 1024);
    good.text("others do not notice").expect_text("others do not notice");
    for _ in 0..sent {
        ws.expect_frame(BINARY, [0; 65_536]);
    }
}

#[test]
fn a_peer_that_never_reads_is_dropped_by_age() {
    let server = Server::start("[limits]\nsend_queue_seconds = 1\nclose_timeout = 1\n");
    let mut good = Peer::upgrade(&server, "/echo");
    let fds = server.fds();
    let mut ws = Peer::upgrade(&server, "/echo");
    ws.stuff(&Frame::binary([0; 65_536]).bytes(), 16_384);
    // The connection is reset. Otherwise the kernel would keep megabytes for a peer that never reads.
    server.expect_fds(fds);
    ws.expect_reset();
    good.text("others do not notice").expect_text("others do not notice");
}

/// `send_queue_bytes` limits the sum of answers and pushes. An echo alone stops at a quarter of it, because then the
/// server does not read from it any more; so a large message is made to be the next one when the queue is just below
/// that.
#[test]
fn a_peer_that_reads_too_little_is_dropped_by_bytes() {
    let server = Server::start(
        "[limits]\nmax_message_size = 8388608\nsend_queue_bytes = 8389632\nsend_queue_seconds = 600\nclose_timeout = 1\n",
    );
    let mut good = Peer::upgrade(&server, "/echo");
    let fds = server.fds();
    let mut ws = Peer::upgrade(&server, "/echo");
    // Just below a quarter, then a large one. Wherever the kernel stops taking the echoes, one is left that is small
    // enough for the next message to be read, and the echo of that message is too much. They are megabytes because the
    // kernel reports room in its buffer only when a third of it is free.
    let small = Frame::binary(vec![0; 2 << 20]).bytes();
    let large = Frame::binary(vec![0; 8 << 20]).bytes();
    let bytes = [small, large].concat();
    let mut rest = &bytes[..];
    let deadline = Instant::now() + PATIENCE;
    while !server.log().contains("slow") {
        assert!(
            Instant::now() < deadline,
            "more than send_queue_bytes waits, and the connection stays open"
        );
        let taken = ws.send_some(rest);
        rest = if taken == rest.len() { &bytes } else { &rest[taken..] };
        // It reads a little whenever the server does not: as long as it reads nothing, the server reads nothing either.
        if taken == 0 {
            ws.read_some();
        }
    }
    server.expect_fds(fds);
    ws.expect_reset();
    good.text("others do not notice").expect_text("others do not notice");
}

/// The slow consumer that reads at last finds a close frame with the reason, if it could still be written.
#[test]
fn a_slow_consumer_is_closed_with_1013() {
    let server = Server::start("[limits]\nsend_queue_seconds = 1\nclose_timeout = 10\n");
    let mut ws = Peer::upgrade(&server, "/echo");
    ws.stuff(&Frame::binary([0; 65_536]).bytes(), 16_384);
    wait_until(
        "the decision is made",
        || server.log().contains("slow"),
        || server.log(),
    );
    loop {
        let (opcode, payload) = ws.next_frame();
        if opcode != BINARY {
            assert_eq!((opcode, &payload[..2]), (8, &1013_u16.to_be_bytes()[..]));
            break;
        }
    }
}

/// 95 of 100 round trips of a good client take less than the time returned.
fn p95(server: &Server, rounds: usize) -> Duration {
    let mut good = Peer::upgrade(server, "/echo");
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            good.text("hello").expect_text("hello");
            start.elapsed()
        })
        .collect();
    times.sort();
    times[rounds * 95 / 100]
}

/// Measures a good client beside `flood`, which runs in a thread of its own until it is stopped.
fn p95_beside(server: &Server, flood: impl Fn(&AtomicBool, &AtomicBool) + Send + Sync) -> Duration {
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let flooder = scope.spawn(|| flood(&begun, &over));
        wait_until("the flood has begun", || begun.load(Ordering::Relaxed), String::new);
        let p95 = p95(server, 300);
        over.store(true, Ordering::Relaxed);
        flooder.join().expect("the flood ends");
        p95
    })
}

const FAIR: Duration = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 5 });

#[test]
fn fairness_beside_a_flood_of_frames() {
    let _alone = alone();
    let server = Server::start(OPEN);
    let frames = Frame::text("flood").bytes().repeat(2000);
    let p95 = p95_beside(&server, |begun, over| {
        let mut flooder = Peer::upgrade(&server, "/echo");
        while !over.load(Ordering::Relaxed) {
            flooder.send(&frames);
            for _ in 0..2000 {
                flooder.expect_frame(TEXT, "flood");
            }
            begun.store(true, Ordering::Relaxed);
        }
    });
    assert!(p95 < FAIR, "p95 beside a flood of frames: {p95:?}");
}

#[test]
fn fairness_beside_messages_of_a_megabyte() {
    let _alone = alone();
    let server = Server::start("[limits]\nmax_message_size = 1048576\nsend_queue_bytes = 8388608\n");
    let message = vec![b'm'; 1 << 20];
    let frame = Frame::binary(&message).bytes();
    let p95 = p95_beside(&server, |begun, over| {
        let mut flooder = Peer::upgrade(&server, "/echo");
        while !over.load(Ordering::Relaxed) {
            flooder.send(&frame).expect_frame(BINARY, &message);
            begun.store(true, Ordering::Relaxed);
        }
    });
    assert!(p95 < FAIR, "p95 beside messages of 1 MiB: {p95:?}");
}

#[test]
fn fairness_beside_six_hundred_connects_a_second() {
    let _alone = alone();
    let server = Server::start(OPEN);
    let p95 = p95_beside(&server, |begun, over| {
        let start = Instant::now();
        let mut connected = 0_u32;
        while !over.load(Ordering::Relaxed) {
            drop(Peer::upgrade(&server, "/echo"));
            connected += 1;
            begun.store(true, Ordering::Relaxed);
            let due = start + Duration::from_secs(1) * connected / 600;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
    assert!(p95 < FAIR, "p95 beside 600 connects a second: {p95:?}");
}

/// One round of everything that ends without a goodbye.
fn resets(server: &Server) {
    let request = handshake("/echo");
    for n in 0..200 {
        let mut mid_handshake = Peer::connect(server);
        mid_handshake.send(&request.as_bytes()[..1 + n % (request.len() - 1)]);
        mid_handshake.reset();
        let mut before_the_response = Peer::connect(server);
        before_the_response.send(&request);
        before_the_response.reset();
        let mut mid_frame = Peer::upgrade(server, "/echo");
        mid_frame.send(&Frame::text([b'x'; 300]).bytes()[..1 + n]);
        mid_frame.reset();
        let mut in_flight = Peer::upgrade(server, "/echo");
        in_flight.send(Frame::binary([0; 1000]).bytes().repeat(20));
        in_flight.reset();
    }
}

#[test]
fn resets_leave_nothing_behind() {
    let server = Server::start(OPEN);
    let fds = server.fds();
    resets(&server);
    server.expect_fds(fds);
    let before = server.rss();
    resets(&server);
    server.expect_fds(fds);
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 512 << 10, "another 800 resets cost {} KiB", grown / 1024);
    Peer::upgrade(&server, "/echo").text("alive").expect_text("alive");
    server.expect_fds(fds);
    server.expect_idle();
}

#[test]
fn two_thousand_connects_and_drops_leave_nothing_behind() {
    let server = Server::start(OPEN);
    let fds = server.fds();
    let storm = || {
        for n in 0..2000 {
            let peer = Peer::connect(&server);
            if n % 2 == 0 { drop(peer) } else { peer.reset() }
        }
        server.expect_fds(fds);
    };
    storm();
    let before = server.rss();
    storm();
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 512 << 10, "another 2,000 connects cost {} KiB", grown / 1024);
    Peer::upgrade(&server, "/echo").text("alive").expect_text("alive");
    server.expect_fds(fds);
    server.expect_idle();
}

#[test]
fn a_burst_of_connects_is_served_completely() {
    let server = Server::start(OPEN);
    let mut burst: Vec<Peer> = (0..800)
        .map(|_| {
            let mut peer = Peer::connect(&server);
            peer.send(handshake("/echo")).text("me too");
            peer
        })
        .collect();
    for peer in &mut burst {
        peer.expect_switch();
        peer.expect_text("me too");
    }
}

#[test]
fn without_descriptors_the_loop_neither_spins_nor_dies_nor_goes_deaf() {
    let server = Server::start(OPEN);
    let mut good = Peer::upgrade(&server, "/echo");
    good.text("before").expect_text("before");
    let mut held: Vec<Peer> = (0..3).map(|_| Peer::upgrade(&server, "/echo")).collect();
    let limit = server.limit_fds(server.fds() as u64);
    // The kernel completes their connections; the server cannot take them.
    let mut waiting: Vec<Peer> = (0..6)
        .map(|_| {
            let mut peer = Peer::connect(&server);
            peer.send(handshake("/echo")).text("at last");
            peer
        })
        .collect();
    wait_until(
        "it says that it is out of descriptors",
        || server.log().contains("descriptor"),
        || server.log(),
    );
    let before = server.cpu();
    good.text("still served").expect_text("still served");
    std::thread::sleep(Duration::from_secs(1));
    let used = server.cpu() - before;
    assert!(
        used < Duration::from_millis(50),
        "out of descriptors the loop used {used:?} of CPU in a second"
    );
    let lines = server.log().lines().filter(|line| line.contains("descriptor")).count();
    assert!(lines < 6, "{lines} lines of log about it in two seconds");
    // Three come back; three of the waiting clients are served without a new attempt.
    held.drain(..).for_each(drop);
    wait_until(
        "three of the waiting are served",
        || {
            waiting
                .iter_mut()
                .filter(|peer| peer.hears_within(Duration::from_millis(1)))
                .count()
                >= 3
        },
        || server.log(),
    );
    server.limit_fds(limit);
    for peer in &mut waiting {
        peer.expect_switch();
        peer.expect_text("at last");
    }
    good.text("after").expect_text("after");
    drop(waiting);
    server.expect_idle();
}

#[test]
fn noise_on_open_sockets_disturbs_no_other_client() {
    let server = Server::start(OPEN);
    let fds = server.fds();
    let mut good = Peer::upgrade(&server, "/echo");
    for seed in 1..200 {
        let mut ws = Peer::upgrade(&server, "/echo");
        ws.try_send(Noise(seed).bytes(2000));
        if seed % 10 == 0 {
            good.text("fine").expect_text("fine");
        }
        assert!(matches!(ws.finish_and_drain(), End::Eof | End::Reset));
    }
    drop(good);
    server.expect_fds(fds);
    server.expect_idle();
}

#[test]
fn a_message_rate_slows_its_peer_only() {
    let server = Server::start("[limits]\nmessages_per_second = 50\n");
    let mut good = Peer::upgrade(&server, "/echo");
    let mut ws = Peer::upgrade(&server, "/echo");
    let start = Instant::now();
    ws.send(Frame::text("x").bytes().repeat(200));
    good.text("at once").expect_text("at once");
    for _ in 0..200 {
        ws.expect_text("x");
    }
    // A burst of 100, then 50 a second.
    let took = start.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(6)).contains(&took),
        "200 messages took {took:?}"
    );
}

/// Bodies of a megabyte are read in turn rather than all at once, and every waiting peer is served in the end.
#[test]
fn many_large_bodies_wait_for_each_other_instead_of_taking_all_memory() {
    const PEERS: usize = 200;
    const SIZE: usize = 1_000_000;
    let server = Server::start("[limits]\nhandshake_timeout = 120\n");
    let before = server.rss();
    let body = vec![b'x'; SIZE];
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| Peer::connect(&server)).collect();
    for peer in &mut peers {
        peer.send(format!(
            "POST /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {SIZE}\r\n\r\n"
        ));
    }
    // Each peer sends all but the last byte, as far as the server reads it. As no body is complete, no memory becomes
    // free.
    let mut sent = [0; PEERS];
    let mut taken_last = Instant::now();
    let deadline = taken_last + Duration::from_secs(60);
    // On a busy machine the server may not run for a while.
    while taken_last.elapsed() < Duration::from_secs(2) {
        assert!(Instant::now() < deadline, "the server takes and takes: {sent:?}");
        let mut more = 0;
        for (peer, sent) in peers.iter_mut().zip(&mut sent) {
            let taken = peer.send_some(&body[*sent..SIZE - 1]);
            *sent += taken;
            more += taken;
        }
        if more > 0 {
            taken_last = Instant::now();
        }
    }
    let more = server.rss().saturating_sub(before);
    assert!(more < 130 << 20, "{} MiB for unfinished bodies", more >> 20);
    assert!(
        more > 20 << 20,
        "the test sent too little to prove anything: {} MiB",
        more >> 20
    );

    // Half of them go away: the others go on where they were, in turn.
    peers.truncate(PEERS / 2);
    let deadline = Instant::now() + Duration::from_secs(60);
    while sent[..PEERS / 2].iter().any(|sent| *sent < SIZE) {
        assert!(
            Instant::now() < deadline,
            "the waiting peers are not read any more: {sent:?}"
        );
        for (peer, sent) in peers.iter_mut().zip(&mut sent) {
            if *sent < SIZE {
                *sent += peer.send_some(&body[*sent..]);
            }
        }
    }
    for peer in &mut peers {
        peer.expect_status(405);
    }
}
