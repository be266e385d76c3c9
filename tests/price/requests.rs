//! `[limits] requests_per_second`: of a connection that is kept, and of an address behind a proxy.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::pusher::{Api, Settings, Site};
use crate::common::{Peer, wait_until};
use rustix::process::Signal;

/// Behind no proxy, every client has its own address.
const DIRECT: &str = "trusted_proxies = []";

fn site(server: &str, limits: &str) -> Site {
    Site::with(Settings {
        server,
        limits,
        ..Settings::default()
    })
}

/// A request that a proxy brings for this address.
fn forwarded(request: &str, address: &str) -> String {
    request.replacen("\r\n\r\n", &format!("\r\nX-Forwarded-For: {address}\r\n\r\n"), 1)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The status of each answer to as many requests for this address, in one write.
fn asked(peer: &mut Peer, address: &str, times: usize) -> Vec<u16> {
    peer.send(forwarded(&get("/health"), address).repeat(times));
    (0..times).map(|_| status(peer)).collect()
}

/// Of an answer that does not end the connection.
fn status(peer: &mut Peer) -> u16 {
    let reply = peer.reply();
    assert_ne!(reply.header("connection"), Some("close"), "{}", reply.head);
    if reply.status == 429 {
        assert_eq!(reply.header("retry-after"), Some("1"), "{}", reply.head);
    }
    reply.status
}

#[test]
fn a_kept_connection_is_read_more_slowly_and_answered_in_order() {
    let site = site(DIRECT, "requests_per_second = 50");
    let paths = |n: usize| if n.is_multiple_of(3) { "/health" } else { "/nothing" };
    let all: String = (0..200).map(|n| get(paths(n))).collect();
    let mut busy = Peer::connect(&site.server);
    let began = Instant::now();
    busy.send(all);
    thread::scope(|scope| {
        let reads = scope.spawn(|| {
            for n in 0..200 {
                let expected = if n % 3 == 0 { 200 } else { 404 };
                assert_eq!(busy.reply().status, expected, "the answer to request {n}");
            }
        });
        // Meanwhile others are served, from the same address too.
        let mut others = 0;
        while !reads.is_finished() {
            Peer::connect(&site.server).send(get("/health")).expect_status(200);
            thread::sleep(Duration::from_millis(10));
            others += 1;
        }
        assert!(others > 10, "only {others} others were served meanwhile");
    });
    // A hundred at once, and fifty at the end of this second and of the next.
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(6)).contains(&took),
        "200 requests at 50 a second took {took:?}"
    );
    let log = site.server.log();
    assert!(log.contains("sends more than requests_per_second"), "{log}");
}

#[test]
fn behind_a_proxy_each_address_has_its_own_count_and_the_connection_stays() {
    let site = site("", "requests_per_second = 10");
    let mut proxy = Peer::connect(&site.server);
    let began = Instant::now();
    let statuses = asked(&mut proxy, "203.0.113.1", 60);
    // The tokens that were added while the requests were sent.
    let refilled = 1 + usize::try_from(began.elapsed().as_millis() / 100).expect("a small number");
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(statuses[..20], [200; 20], "a burst of twice as many");
    assert!((20..=20 + refilled).contains(&served), "{served} of 60 were served");
    assert_eq!(served + statuses.iter().filter(|status| **status == 429).count(), 60);

    // The same connection brings others' requests, and another connection brings no more of this address.
    assert_eq!(asked(&mut proxy, "203.0.113.2", 20), [200; 20]);
    let mut another = Peer::connect(&site.server);
    assert_eq!(asked(&mut another, "203.0.113.1", 12).last(), Some(&429));
    // A household has one count.
    assert_eq!(asked(&mut proxy, "2001:db8::1", 20), [200; 20]);
    assert_eq!(asked(&mut proxy, "2001:db8::2", 12).last(), Some(&429));
    // A request without a name of its client is counted with the connection, and so is every client on this machine.
    let mut unnamed = Peer::connect(&site.server);
    unnamed.send(get("/health").repeat(15));
    assert_eq!((0..15).map(|_| status(&mut unnamed)).collect::<Vec<_>>(), [200; 15]);

    wait_until(
        "the address may ask again",
        || asked(&mut proxy, "203.0.113.1", 1) == [200],
        || site.server.log(),
    );
    let log = site.server.log();
    assert!(!log.contains("sends more than"), "nothing was read more slowly: {log}");
}

#[test]
fn signed_requests_are_free_and_wrongly_signed_ones_are_not() {
    const ADDRESS: &str = "203.0.113.1";
    let site = site("", "requests_per_second = 10");
    let mut right = site.api();
    let mut wrong = Api {
        secret: "another-secret-0123456789".into(),
        ..site.api()
    };
    let ask = |api: &mut Api| {
        let request = forwarded(&api.request("GET", "/channels", &[], ""), ADDRESS);
        status(api.peer.send(request))
    };
    assert_eq!((0..100).map(|_| ask(&mut right)).collect::<Vec<_>>(), [200; 100]);
    // They cost the address nothing: all of its burst is left.
    let mut proxy = Peer::connect(&site.server);
    assert_eq!(asked(&mut proxy, ADDRESS, 20), [200; 20]);

    let site = self::site("", "requests_per_second = 10");
    (right.peer, wrong.peer) = (Peer::connect(&site.server), Peer::connect(&site.server));
    let statuses: Vec<u16> = (0..60).map(|_| ask(&mut wrong)).collect();
    assert_eq!(statuses[..20], [401; 20]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );

    // On a connection of one's own it is the same.
    let site = self::site(DIRECT, "requests_per_second = 10");
    right.peer = Peer::connect(&site.server);
    let hundred: String = (0..100).map(|_| right.request("GET", "/channels", &[], "")).collect();
    right.peer.send(hundred);
    for _ in 0..100 {
        assert_eq!(right.peer.reply().status, 200);
    }
    assert!(!site.server.log().contains("sends more than"), "{}", site.server.log());
    wrong.peer = Peer::connect(&site.server);
    let many: String = (0..30).map(|_| wrong.request("GET", "/channels", &[], "")).collect();
    wrong.peer.send(many);
    for _ in 0..30 {
        assert_eq!(wrong.peer.reply().status, 401);
    }
    let log = site.server.log();
    assert!(log.contains("sends more than requests_per_second"), "{log}");
}

#[test]
fn a_reload_changes_the_rate() {
    let site = site("", "requests_per_second = 1");
    let reload = |from: u32, to: u32| {
        let path = site.server.config_path();
        let toml = fs::read_to_string(&path).expect("the configuration");
        let [from, to] = [from, to].map(|rate| format!("requests_per_second = {rate}\n"));
        assert!(toml.contains(&from), "{toml}");
        let lines = site.server.log().matches("the configuration was read again").count();
        fs::write(&path, toml.replace(&from, &to)).expect("written");
        site.server.signal(Signal::HUP);
        wait_until(
            "it is read again",
            || site.server.log().matches("the configuration was read again").count() > lines,
            || site.server.log(),
        );
    };
    let mut proxy = Peer::connect(&site.server);
    assert_eq!(asked(&mut proxy, "203.0.113.1", 10).last(), Some(&429));
    reload(1, 0);
    assert_eq!(asked(&mut proxy, "203.0.113.1", 300), [200; 300]);
    reload(0, 40);
    assert_eq!(asked(&mut proxy, "203.0.113.2", 80), [200; 80]);
    assert_eq!(asked(&mut proxy, "203.0.113.2", 60).last(), Some(&429));
}

/// Many proxies open a connection for each request by default.
#[test]
fn behind_a_proxy_that_keeps_no_connections_it_is_the_same() {
    let site = site("", "requests_per_second = 10");
    let ask = |address| {
        let mut peer = Peer::connect(&site.server);
        peer.send(forwarded(&get("/health"), address)).reply().status
    };
    let statuses: Vec<u16> = (0..60).map(|_| ask("203.0.113.1")).collect();
    assert_eq!(statuses[..20], [200; 20]);
    assert!(statuses.contains(&429), "none of 60 had to wait: {statuses:?}");
    assert_eq!(ask("203.0.113.2"), 200);
}
