//! `[limits] connections_per_session`, and the cost of a session that is not logged in.

use crate::common::between::Between;
use crate::common::frame::TEXT;
use crate::common::joomla::{Session as Login, Site as Joomla};
use crate::common::visits::{Arrival, HOST, House, Terms, Visitor};
use crate::common::{Peer, Reply, wait_until};
use jsocketd::joomla::site::Client;
use serde_json::json;

/// The reason with which a surplus connection is closed.
const OVER: &str = "too many connections of this session";

fn house(limits: &str) -> House {
    let house = House::with(
        Joomla::joomla6(),
        Terms {
            limits,
            ..Terms::without_sweep()
        },
    );
    house.expect_ready();
    house
}

/// A cookie without a session.
fn invented(house: &House, id: &str) -> Arrival {
    Arrival::own().cookie(format!("{}={id:v<26}", house.joomla.cookie_name(Client::Site)))
}

/// The connection if it was accepted.
fn greeted(mut peer: Peer) -> Option<Peer> {
    let (opcode, payload) = peer.next_frame();
    match opcode {
        TEXT => Some(peer),
        _ => {
            assert_eq!(payload, [&4100_u16.to_be_bytes()[..], OVER.as_bytes()].concat());
            None
        }
    }
}

/// The page, asked for with this session.
fn page(house: &House, login: &Login) -> Reply {
    let mut peer = Peer::connect(&house.site.server);
    let query = match login.client {
        Client::Site => "",
        Client::Administrator => "?client=administrator",
    };
    let cookie = house.joomla.cookie(login);
    peer.send(format!(
        "GET /{query} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nCookie: {cookie}\r\n\r\n"
    ));
    peer.reply()
}

#[test]
fn a_session_has_so_many_connections_of_any_kind_and_not_one_more() {
    let house = house("connections_per_session = 3");
    let admin = house.joomla.log_in(house.joomla.id_of("admin"), Client::Administrator);
    let arrival = house.page(&admin);
    let (first, second) = (house.come(&admin), house.console(&arrival));
    // A request for the page is one of them as long as it is not answered.
    assert_eq!(page(&house, &admin).status, 200);
    let mut third = house.come(&admin);

    assert_eq!(house.open_app(&arrival).expect_close(4100), OVER);
    let mut console = Peer::connect(&house.site.server);
    console.send(arrival.handshake("/?")).expect_switch();
    assert_eq!(console.expect_close(1008), OVER);
    // The page is answered as to a client without a session.
    let refused = page(&house, &admin);
    let unknown = page(
        &house,
        &Login {
            id: "0".repeat(26),
            ..admin.clone()
        },
    );
    assert_eq!(
        (refused.status, &refused.body),
        (unknown.status, &unknown.body),
        "{}",
        refused.head
    );
    assert_ne!(refused.status, 200);
    third.enter("those-who-are-in-stay-in");

    // Another session has its own places, and a client without a session is not counted.
    let anna = house.joomla.log_in(house.joomla.id_of("anna"), Client::Site);
    house.come_known(&anna);
    house.come_as_guest();

    // One connection of either kind closes: there is room for one.
    drop(second);
    let mut fourth = None;
    let mut comes = || {
        fourth = greeted(house.open_app(&arrival));
        fourth.is_some()
    };
    wait_until("there is room", &mut comes, || house.site.server.log());
    assert_eq!(house.open_app(&arrival).expect_close(4100), OVER);
    drop((first, fourth));
    wait_until(
        "there is room for the page",
        || page(&house, &admin).status == 200,
        || house.site.server.log(),
    );
}

#[test]
fn by_default_it_is_a_hundred_and_an_invented_cookie_counts_like_any() {
    let house = house("");
    let arrivals = ["a", "b"].map(|id| invented(&house, id));
    for arrival in &arrivals {
        let mut in_it: Vec<_> = (0..100).map(|_| house.arrive(arrival)).collect();
        for _ in 0..3 {
            assert_eq!(house.open_app(arrival).expect_close(4100), OVER);
        }
        in_it.iter_mut().for_each(|session| {
            session.expect_nothing();
        });
    }
}

#[test]
fn zero_lets_any_number_in() {
    let house = house("connections_per_session = 0");
    let arrival = invented(&house, "a");
    let mut all: Vec<_> = (0..150).map(|_| house.arrive(&arrival)).collect();
    all.iter_mut().for_each(|session| {
        session.expect_nothing();
    });
}

/// A guest's row says that it is a guest. Its text may have any length, and a client can make the server read the
/// session again and again.
#[test]
fn the_text_of_a_guests_session_is_not_fetched() {
    const LENGTH: usize = 400_000;
    const GUESTS: usize = 20;
    let joomla = Joomla::joomla6();
    let between = Between::new(joomla.server.addr);
    joomla.configure("host", &format!("'{}'", between.addr));
    let guests: Vec<Login> = (0..GUESTS).map(|_| joomla.guest(Client::Site)).collect();
    let anna = joomla.log_in(joomla.id_of("anna"), Client::Site);
    joomla.sql(&format!(
        "UPDATE #__session SET data = CONCAT(data, REPEAT('x', {LENGTH}))"
    ));
    let house = House::with(joomla, Terms::without_sweep());
    house.expect_ready();
    // The form token stands in the text, so a client with a token makes the server read it.
    let said_for = |login: &Login| {
        let before = between.said();
        let mut session = house.come(login);
        let token = house.joomla.form_token(login);
        session.say(json!({"event": "jsocketd:form_token", "data": {"form_token": token}}));
        let answer = session.next();
        (between.said() - before, answer)
    };
    let said: usize = guests.iter().map(|guest| said_for(guest).0).sum();
    assert!(
        said < LENGTH / 4,
        "the database sent {said} bytes for {GUESTS} guests whose texts have {LENGTH} each"
    );
    let (said, answer) = said_for(&anna);
    assert_eq!(answer["event"], "jsocketd:form_token_accepted", "{answer}");
    assert!(said > LENGTH, "a text was read, and only {said} bytes came");
}
