//! The four rules of the loop that bite, each with the story that goes wrong without it.

use std::time::Duration;

use jsocketd::net::io::Signal;

use crate::client::{Heard, frame, handshake, parse};
use crate::server;

const MASK: [u8; 4] = [1, 2, 3, 4];

/// A full read means that there may be more, and no edge will say so. (A short one means that there is not, and reading
/// again would cost a call.)
#[test]
fn a_full_read_goes_on_without_a_new_edge_and_a_short_one_does_not() {
    let (mut server, world) = server(1);
    let n = world.borrow_mut().connect(10_000_000);
    world.borrow_mut().send(n, &handshake("/echo"));
    server.tick().unwrap();
    server.tick().unwrap();
    let before = world.borrow().reads;
    world.borrow_mut().send(n, &frame(true, 1, b"short", MASK));
    server.tick().unwrap();
    server.tick().unwrap();
    assert_eq!(world.borrow().reads - before, 1, "a short read is the last one");

    // One edge for far more than the read buffer holds.
    let mut flood = Vec::new();
    for _ in 0..10 {
        flood.extend(frame(true, 2, &[7; 60_000], MASK));
    }
    world.borrow_mut().send(n, &flood);
    let mut received = Vec::new();
    for _ in 0..50 {
        server.tick().unwrap();
        received.extend(world.borrow_mut().receive(n, usize::MAX));
    }
    let (_, heard) = parse(&received);
    assert_eq!(
        heard.len(),
        11,
        "the rest of a flood waits for an edge that never comes"
    );
}

/// When descriptors become free again, the listener gets no edge.
#[test]
fn after_a_want_of_descriptors_waiting_clients_are_served_without_a_new_edge() {
    let (mut server, world) = server(1);
    world.borrow_mut().descriptors = 0;
    let n = world.borrow_mut().connect(10_000);
    world.borrow_mut().send(n, &handshake("/"));
    for _ in 0..100 {
        server.tick().unwrap();
    }
    assert!(
        world.borrow().accepts < 5,
        "the loop spins on a listener that cannot accept"
    );
    let patience = world
        .borrow()
        .patience
        .expect("a client waits, so the loop must wake by itself");
    assert!(patience > Duration::ZERO && patience <= Duration::from_millis(100));

    world.borrow_mut().free_descriptors(10);
    world.borrow_mut().pass(patience);
    for _ in 0..5 {
        server.tick().unwrap();
    }
    assert_eq!(parse(&world.borrow_mut().receive(n, usize::MAX)).0, Some(101));
}

/// However a connection ends, its pending messages are flushed before it is freed.
#[test]
fn the_last_words_are_flushed_before_the_connection_is_freed() {
    let goodbyes: [(&[u8], &[Heard]); 3] = [
        (&frame(true, 8, &1000u16.to_be_bytes(), MASK), &[Heard::Close(1000)]),
        (&[0x81, 0x01, b'x'], &[Heard::Close(1002)]),
        (b"", &[]),
    ];
    for (goodbye, last) in goodbyes {
        let (mut server, world) = server(1);
        // The kernel takes the 101 and a little more.
        let n = world.borrow_mut().connect(150);
        world.borrow_mut().send(n, &handshake("/echo"));
        server.tick().unwrap();
        server.tick().unwrap();
        world.borrow_mut().send(n, &frame(true, 2, &[7; 1000], MASK));
        world.borrow_mut().send(n, goodbye);
        world.borrow_mut().end(n);
        let mut received = Vec::new();
        for _ in 0..100 {
            server.tick().unwrap();
            received.extend(world.borrow_mut().receive(n, 50));
        }
        assert!(world.borrow().pipes[n].freed, "it is freed in the end");
        let (_, heard) = parse(&received);
        assert_eq!(heard.first(), Some(&Heard::Binary(vec![7; 1000])));
        assert_eq!(&heard[1..], last);
    }
}

/// A close with unread input is a reset, and a reset takes the close frame with it: the peer's bytes are read and
/// thrown away until it ends too.
#[test]
fn a_close_of_the_server_survives_the_last_bytes_of_the_peer() {
    let (mut server, world) = server(1);
    let n = world.borrow_mut().connect(10_000);
    world.borrow_mut().send(n, &handshake("/echo"));
    server.tick().unwrap();
    server.tick().unwrap();
    // Unmasked: 1002, with a lot behind it.
    world.borrow_mut().send(n, &[0x81, 0x01, b'x']);
    server.tick().unwrap();
    for _ in 0..20 {
        world.borrow_mut().send(n, &[0; 50_000]);
        server.tick().unwrap();
    }
    world.borrow_mut().end(n);
    for _ in 0..5 {
        server.tick().unwrap();
    }
    let pipe_reset = world.borrow().pipes[n].server_reset;
    assert!(!pipe_reset, "the close became a reset");
    let (_, heard) = parse(&world.borrow_mut().receive(n, usize::MAX));
    assert_eq!(heard, [Heard::Close(1002)]);
}

/// An event for a connection that is gone must not be taken for its successor in the slot.
#[test]
fn a_stale_id_finds_no_connection() {
    let (mut server, world) = server(1);
    let first = world.borrow_mut().connect(10_000);
    world.borrow_mut().send(first, &handshake("/echo"));
    server.tick().unwrap();
    server.tick().unwrap();
    world.borrow_mut().reset(first);
    server.tick().unwrap();
    assert_eq!(server.connections(), 0);
    let second = world.borrow_mut().connect(10_000);
    world.borrow_mut().send(second, &handshake("/echo"));
    server.tick().unwrap();
    server.tick().unwrap();
    let before = world.borrow().reads;
    // From here on strangers' events come, all of them for the first owner of the slot.
    world.borrow_mut().unkind = true;
    world.borrow_mut().forget_newest();
    for _ in 0..50 {
        server.tick().unwrap();
    }
    assert_eq!(
        world.borrow().reads,
        before,
        "another connection's event made the loop read"
    );
    assert_eq!(server.connections(), 1);
}

/// Nothing to do is nothing done: the loop sleeps until the next deadline.
#[test]
fn an_idle_loop_sleeps() {
    let (mut server, world) = server(1);
    server.tick().unwrap();
    server.tick().unwrap();
    assert_eq!(
        world.borrow().patience,
        None,
        "without connections there is nothing to wake for"
    );
    let n = world.borrow_mut().connect(10_000);
    world.borrow_mut().send(n, &handshake("/echo"));
    for _ in 0..4 {
        server.tick().unwrap();
    }
    let patience = world.borrow().patience.expect("a ping will be due");
    assert!(
        patience > Duration::from_secs(5),
        "the next thing is a deadline that is seconds away: {patience:?}"
    );
}

/// A wait is counted from the end of the last tick: what the tick took is no delay of what is due next.
#[test]
fn a_long_tick_does_not_delay_the_next_deadline() {
    let (mut server, world) = server(1);
    let n = world.borrow_mut().connect(10_000);
    world.borrow_mut().send(n, &handshake("/echo"));
    for _ in 0..4 {
        server.tick().unwrap();
    }
    let began = world.borrow().now.at;
    world.borrow_mut().read_takes = Duration::from_secs(3);
    world.borrow_mut().send(n, &frame(true, 1, b"slow", MASK));
    server.tick().unwrap();
    let (ended, timeout) = (world.borrow().now.at, server.timeout().expect("a ping will be due"));
    assert_eq!(ended.since(began), Duration::from_secs(3));
    assert!(timeout > Duration::from_secs(1), "nothing is due yet: {timeout:?}");
    let ping_interval = Duration::from_secs(jsocketd::config::Config::default().limits.ping_interval);
    // The wheel looks within the second after a deadline.
    let latest = began + ping_interval + Duration::from_secs(1);
    assert!(
        ended + timeout <= latest,
        "late by {:?}",
        (ended + timeout).since(latest)
    );
}

/// A second signal ends the server without waiting for its clients.
#[test]
fn a_second_signal_leaves_at_once() {
    let (mut server, world) = server(1);
    let n = world.borrow_mut().connect(10_000);
    world.borrow_mut().send(n, &handshake("/echo"));
    server.tick().unwrap();
    world.borrow_mut().signals.push(Signal::Terminate);
    assert_eq!(server.tick().unwrap(), jsocketd::server::Flow::Continue);
    world.borrow_mut().signals.push(Signal::Terminate);
    assert_eq!(server.tick().unwrap(), jsocketd::server::Flow::Abandon);
}

/// A server that takes few messages a second, and a client on it that has its handshake behind it.
fn throttled(
    world_seed: u64,
    rate: u32,
) -> (
    jsocketd::server::Server<crate::world::SimIo>,
    crate::world::Shared,
    usize,
) {
    let (mut server, world) = server(world_seed);
    let mut config = jsocketd::config::Config::default();
    config.limits.messages_per_second = rate;
    config.limits.ping_interval = 2;
    config.limits.ping_timeout = 1;
    server.reconfigure(config, 1000);
    let n = world.borrow_mut().connect(1_000_000);
    world.borrow_mut().send(n, &handshake("/echo"));
    for _ in 0..3 {
        server.tick().unwrap();
    }
    (server, world, n)
}

/// A client whose messages are not read is not silent: its pong lies behind the messages that wait.
#[test]
fn a_client_that_is_made_to_wait_is_not_taken_for_dead() {
    let (mut server, world, n) = throttled(1, 5);
    for message in 0..100 {
        world
            .borrow_mut()
            .send(n, &frame(true, 1, format!("{message}").as_bytes(), MASK));
    }
    let mut received = Vec::new();
    for _ in 0..600 {
        world.borrow_mut().pass(Duration::from_millis(50));
        server.tick().unwrap();
        let more = world.borrow_mut().receive(n, usize::MAX);
        for _ in more.windows(2).filter(|two| *two == [0x89, 0]) {
            world.borrow_mut().send(n, &frame(true, 10, b"", MASK));
        }
        received.extend(more);
    }
    let (_, heard) = parse(&received);
    let echoes = heard.iter().filter(|heard| matches!(heard, Heard::Text(_))).count();
    assert_eq!(echoes, 100, "the last message: {:?}", heard.last());
}

/// A client that has spent its allowance and sends nothing more costs nothing more.
#[test]
fn a_spent_allowance_does_not_wake_the_loop_for_ever() {
    let (mut server, world, n) = throttled(1, 1);
    for _ in 0..2 {
        world.borrow_mut().send(n, &frame(true, 1, b"x", MASK));
    }
    let mut woken = 0;
    for _ in 0..40 {
        server.tick().unwrap();
        let patience = world.borrow().patience;
        let wait = patience.unwrap_or(Duration::from_secs(60));
        if wait > Duration::ZERO {
            woken += 1;
        }
        let mut world = world.borrow_mut();
        world.pass(wait);
        let more = world.receive(n, usize::MAX);
        for _ in more.windows(2).filter(|two| *two == [0x89, 0]) {
            world.send(n, &frame(true, 10, b"", MASK));
        }
        if world.now.at.seconds() > 20 {
            break;
        }
    }
    // A ping every two seconds, each with a look before it and an answer behind it.
    assert!(woken < 35, "woken {woken} times");
    assert!(
        world.borrow().now.at.seconds() > 20,
        "20 seconds took more than 40 ticks"
    );
}

/// An address that is over its limit holds a place for a moment only, also when it sends nothing.
#[test]
fn a_connection_over_the_limit_does_not_keep_its_place() {
    let (mut server, world) = server(1);
    let mut config = jsocketd::config::Config::default();
    config.limits.connections_per_address = 3;
    server.reconfigure(config, 1000);
    let clients: Vec<usize> = (0..10).map(|_| world.borrow_mut().connect(10_000)).collect();
    for _ in 0..3 {
        server.tick().unwrap();
    }
    assert_eq!(server.connections(), 10);
    for _ in 0..8 {
        world.borrow_mut().pass(Duration::from_secs(1));
        server.tick().unwrap();
        server.tick().unwrap();
        for n in &clients {
            let mut world = world.borrow_mut();
            if world.pipes[*n].server_ended {
                world.end(*n);
            }
        }
    }
    assert_eq!(server.connections(), 3, "those that count may still say something");
}
