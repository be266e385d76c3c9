//! A bystander beside attacks on a server without a site.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::bystander::{Flooder, Step, TICK, all, expect_unnoticed};
use crate::common::frame::TEXT;
use crate::common::peer::handshake;
use crate::common::pusher::{ID, KEY, SECRET, Session, Settings, Site};
use crate::common::{Frame, Peer, Server};
use serde_json::{Value, json};

fn expect(settings: Settings<'_>, prepare: impl Fn(&Site) -> Step) {
    expect_unnoticed(TICK, || Site::with(settings), |site| site, prepare);
}

fn frame(message: &Value) -> Vec<u8> {
    Frame::text(message.to_string()).bytes()
}

fn subscribe(channel: &str) -> Vec<u8> {
    frame(&json!({"event": "pusher:subscribe", "data": {"channel": channel}}))
}

fn unsubscribe(channel: &str) -> Vec<u8> {
    frame(&json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}))
}

/// A member of the presence channel `presence-crowd`, with a `user_info` of a hundred bytes.
fn member(session: &Session, user: usize) -> Vec<u8> {
    let channel = "presence-crowd";
    let data = json!({"user_id": user.to_string(), "user_info": {"name": "n".repeat(88)}}).to_string();
    let auth = session.auth_member(channel, &data);
    let data = json!({"channel": channel, "auth": auth, "channel_data": data});
    frame(&json!({"event": "pusher:subscribe", "data": data}))
}

/// Listeners in a channel, and one client that joins and leaves it as often as it can.
fn churn(site: &Site, there: usize, join: impl Fn(&Session, usize) -> Vec<u8>, leave: &str) -> Step {
    let mut listeners: Vec<Flooder> = (0..there)
        .map(|n| {
            let mut session = site.connect();
            session.peer.send(join(&session, n));
            let is_in = |message: Value| message["event"] == "pusher_internal:subscription_succeeded";
            while !is_in(session.next()) {}
            Flooder::listener(session.peer)
        })
        .collect();
    let churner = site.connect();
    let both = [join(&churner, there), unsubscribe(leave)].concat();
    listeners.push(Flooder::new(churner.peer, both.repeat(100)));
    all(listeners)
}

#[test]
fn a_client_that_joins_and_leaves_a_presence_channel_of_a_hundred() {
    expect(Settings::default(), |site| churn(site, 99, member, "presence-crowd"));
}

#[test]
fn a_client_that_joins_and_leaves_where_subscribers_are_counted() {
    let settings = Settings {
        app: "subscription_count = true",
        ..Settings::default()
    };
    expect(settings, |site| churn(site, 99, |_, _| subscribe("crowd"), "crowd"));
}

/// So many connections that flood the server with the same.
fn flood(count: usize, mut connect: impl FnMut() -> Peer, bytes: &[u8]) -> Step {
    all((0..count).map(|_| Flooder::new(connect(), bytes.to_vec())).collect())
}

/// Twenty connections that send frames of one kind as fast as they can. Nothing limits these but their share of a tick.
fn flood_of(event: &str) {
    let bytes = frame(&json!({"event": event, "data": {}})).repeat(1000);
    let start = || Site::with(Settings::default());
    expect_unnoticed(
        TICK,
        start,
        |site| site,
        |site| flood(20, || site.connect().peer, &bytes),
    );
}

#[test]
fn a_flood_of_pings() {
    flood_of("pusher:ping");
}

#[test]
fn a_flood_of_nonsense() {
    flood_of("nonsense");
}

#[test]
fn a_flood_of_requests_on_kept_connections() {
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    expect(Settings::default(), |site| {
        flood(20, || Peer::connect(&site.server), &request)
    });
}

#[test]
fn a_flood_of_sign_ins() {
    let data = json!({"id": "1", "user_info": {"text": "u".repeat(1000)}}).to_string();
    let auth = format!("site-key:{}", "0".repeat(64));
    let sign_in = frame(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}}));
    let bytes = sign_in.repeat(20);
    let start = || Site::with(Settings::default());
    // All of them may go on in the same second.
    expect_unnoticed(
        TICK,
        start,
        |site| site,
        |site| flood(50, || site.connect().peer, &bytes),
    );
}

/// Fifty clients that are in a channel and read nothing from it.
fn deaf(addr: SocketAddr) -> Vec<Peer> {
    let come = |_| {
        let mut peer = Peer::connect_to(addr);
        peer.send(handshake("/app/site-key?protocol=7")).expect_switch();
        assert_eq!(peer.next_frame().0, TEXT);
        peer.send(subscribe("feed"));
        assert_eq!(peer.next_frame().0, TEXT);
        peer
    };
    (0..50).map(come).collect()
}

#[test]
fn fifty_clients_that_never_read() {
    expect(Settings::default(), |site| {
        let (addr, mut api) = (site.server.addr, site.api());
        let (mut audience, data) = (deaf(addr), "d".repeat(10_000));
        let mut published = 0;
        Box::new(move || {
            api.publish("feed", "event", &data);
            published += 1;
            // Each is closed for its waiting bytes after some hundred of these; then others come.
            if published % 500 == 0 {
                audience = deaf(addr);
            }
            thread::sleep(Duration::from_millis(5));
            !audience.is_empty()
        })
    });
}

fn storm(addr: SocketAddr) -> Step {
    Box::new(move || {
        let mut peers: Vec<Peer> = (0..10).map(|_| Peer::connect_to(addr)).collect();
        for peer in peers.iter_mut().step_by(2) {
            peer.try_send(handshake("/app/site-key?protocol=7"));
        }
        peers.into_iter().step_by(3).for_each(Peer::reset);
        false
    })
}

#[test]
fn a_storm_of_clients_that_connect_and_drop() {
    expect(Settings::default(), |site| storm(site.server.addr));
}

/// The same where their address is counted, and most of them are refused with a time to wait.
#[test]
fn a_storm_of_clients_that_are_counted() {
    let start = || Site {
        server: Server::start(&format!(
            "[server]\ntrusted_proxies = []\n[[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n"
        )),
    };
    expect_unnoticed(TICK, start, |site| site, |site| storm(site.server.addr));
}
