//! A bystander beside attacks on a server that has a Joomla site: requests there cost statements and judgements too.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use super::bystander::{Flooder, STATEMENTS, Step, TICK, all, expect_unnoticed};
use crate::common::joomla::Site as Joomla;
use crate::common::pusher::KEY;
use crate::common::visits::{Arrival, HOST, House, Terms};
use crate::common::{Frame, Noise, Peer};
use jsocketd::joomla::site::Client;
use serde_json::json;

fn expect(floor: Duration, limits: &str, prepare: impl Fn(&House) -> Step) {
    let stand = || {
        let terms = Terms {
            limits,
            ..Terms::without_sweep()
        };
        let house = House::with(Joomla::joomla6(), terms);
        house.expect_ready();
        house
    };
    expect_unnoticed(floor, stand, |house| &house.site, prepare);
}

/// A cookie without a session.
fn cookie(house: &House, id: u64) -> String {
    format!("{}={id:v>26}", house.joomla.cookie_name(Client::Site))
}

/// 450 sockets send one invented cookie, as far as the server accepts them, each with as many channels as a burst
/// allows. Then requests for the page send the same cookie.
fn show_one_cookie(house: &House, channels: usize) -> Step {
    let cookie = cookie(house, 1);
    let arrival = Arrival::own().cookie(&cookie);
    let subscribe = |n| json!({"event": "pusher:subscribe", "data": {"channel": format!("c{n}")}});
    let frames: Vec<u8> = (0..channels)
        .flat_map(|n| Frame::text(subscribe(n).to_string()).bytes())
        .collect();
    let mut flooders: Vec<Flooder> = (0..450)
        .filter_map(|_| {
            let mut peer = house.open_app(&arrival);
            let (opcode, _) = peer.next_frame();
            // Others are closed: there are too many of the session.
            (opcode == crate::common::frame::TEXT).then_some(())?;
            peer.send(&frames);
            (0..channels).for_each(|_| drop(peer.next_frame()));
            Some(Flooder::listener(peer))
        })
        .collect();
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nCookie: {cookie}\r\n\r\n").repeat(50);
    flooders.extend((0..20).map(|_| Flooder::new(Peer::connect(&house.site.server), request.clone().into())));
    all(flooders)
}

#[test]
fn one_cookie_that_many_show() {
    expect(TICK, "", |house| show_one_cookie(house, 200));
}

#[test]
fn one_cookie_that_any_number_may_show() {
    let limits = "connections_per_session = 0\nsubscriptions_per_second = 0";
    expect(TICK, limits, |house| show_one_cookie(house, 300));
}

/// Three hundred come in a second, each with a session of its own and 32 frames that ask for items: they wait for an
/// identity, and then for facts, while the answers to others come.
#[test]
fn frames_that_wait_while_answers_come() {
    expect(STATEMENTS, "", |house| {
        let addr = house.site.server.addr;
        let name = house.joomla.cookie_name(Client::Site);
        let (mut noise, mut waiting) = (Noise(1), VecDeque::new());
        let handshake_of = move |id: u64| {
            let path = format!("/app/{KEY}?protocol=7");
            Arrival::own().cookie(format!("{name}={id:v>26}")).handshake(&path)
        };
        Box::new(move || {
            let mut peer = Peer::connect_to(addr);
            peer.send(handshake_of(noise.next()));
            let frames = (0..32).flat_map(|_| {
                let channel = format!("private-com_content.article.{}", noise.next() >> 32);
                let pad = "p".repeat(1900);
                let message = json!({"event": "pusher:subscribe", "data": {"channel": channel}, "pad": pad});
                Frame::text(message.to_string()).bytes()
            });
            let frames: Vec<u8> = frames.collect();
            peer.try_send(frames);
            waiting.push_back(peer);
            if waiting.len() > 300 {
                waiting.pop_front();
            }
            thread::sleep(Duration::from_millis(3));
            true
        })
    });
}

#[test]
fn a_flood_of_form_tokens() {
    let shown = json!({"event": "jsocketd:form_token", "data": {"form_token": "0".repeat(32)}}).to_string();
    let bytes = Frame::text(shown).bytes().repeat(50);
    expect(TICK, "", |house| {
        // Each shows a guest's session of its own.
        let flooder = |_| {
            let guest = house.joomla.guest(Client::Site);
            Flooder::new(house.come(&guest).peer, bytes.clone())
        };
        all((0..5).map(flooder).collect())
    });
}
