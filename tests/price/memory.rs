//! The memory that one peer can use: the server's memory for subscriptions, and the kernel's for peers that never read.

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use crate::common::peer::KEY as NONCE;
use crate::common::pusher::{KEY, Session, Settings, Site};
use crate::common::{Frame, PATIENCE, Peer, Server};
use serde_json::json;
use socket2::{Domain, Socket, Type};

/// `subscription_bytes`
const SUBSCRIPTIONS: usize = 8 << 20;

/// The memory that a kernel may hold for one peer that does not read.
const KERNEL: usize = 512 << 10;

/// Many connections ask for a thousand channels each; returns by how much the server grew and how many were refused.
fn grown(connections: usize, ask: impl Fn(&Session, usize, usize) -> String) -> (usize, usize) {
    let site = Site::with(Settings {
        limits: "subscriptions_per_second = 0",
        app: &format!("subscription_bytes = {SUBSCRIPTIONS}"),
        ..Settings::default()
    });
    let mut all: Vec<Session> = (0..connections).map(|_| site.connect()).collect();
    let before = site.server.rss();
    let mut refused = 0;
    for (who, session) in all.iter_mut().enumerate() {
        // In portions, so that no answer waits in the server for long.
        for portion in 0..10 {
            let numbers = portion * 100..portion * 100 + 100;
            let frames = numbers.flat_map(|n| Frame::text(ask(session, who, n)).bytes());
            session.peer.send(frames.collect::<Vec<u8>>());
            let is_refusal = |answer: &&serde_json::Value| answer["event"] == "pusher:subscription_error";
            refused += session.rest().iter().filter(is_refusal).count();
        }
    }
    (site.server.rss().saturating_sub(before), refused)
}

fn expect_bounded(what: &str, connections: usize, ask: impl Fn(&Session, usize, usize) -> String) {
    let (grown, refused) = grown(connections, ask);
    println!("{what}: {} KiB, {refused} refused", grown >> 10);
    assert!(
        refused > connections,
        "{what}: the test asked for too little, {refused} were refused"
    );
    assert!(
        grown < SUBSCRIPTIONS * 5 / 2,
        "{what}: {} KiB for subscriptions that may take {} KiB",
        grown >> 10,
        SUBSCRIPTIONS >> 10
    );
}

fn subscribe(channel: &str) -> String {
    json!({"event": "pusher:subscribe", "data": {"channel": channel}}).to_string()
}

#[test]
fn all_names_of_all_connections_take_no_more_than_the_app_may() {
    expect_bounded("names of 164 characters", 40, |_, who, n| {
        subscribe(&format!("{:x>164}", format!("{who}-{n}")))
    });
}

#[test]
fn many_in_the_same_channels_take_no_more_either() {
    expect_bounded("the same names", 300, |_, _, n| subscribe(&format!("c{n}")));
}

#[test]
fn members_with_much_to_say_take_no_more_either() {
    let text = "i".repeat(2000);
    expect_bounded("members", 6, |session, who, n| {
        let channel = format!("presence-{who}-{n}");
        let member = json!({"user_id": "1", "user_info": {"text": text}}).to_string();
        let auth = session.auth_member(&channel, &member);
        let data = json!({"channel": channel, "auth": auth, "channel_data": member});
        json!({"event": "pusher:subscribe", "data": data}).to_string()
    });
}

/// Connects with the smallest receive buffer, so that bytes wait on the server's side.
fn narrow(server: &Server) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("SO_RCVBUF");
    socket
        .connect(&server.addr.into())
        .expect("the server takes the connection");
    let mut peer = Peer::connect(server);
    peer.stream = socket.into();
    peer.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    peer.send(format!(
        "GET /app/{KEY}?protocol=7 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n"
    ));
    peer.expect_switch();
    peer
}

/// Bytes that the kernel holds on the way from one address to the other, which were sent and have not arrived.
fn held(from: SocketAddr, to: SocketAddr) -> Option<usize> {
    let hex = |addr: SocketAddr| match addr {
        SocketAddr::V4(addr) => format!("{:08X}:{:04X}", u32::from_le_bytes(addr.ip().octets()), addr.port()),
        SocketAddr::V6(_) => unreachable!("the tests are on 127.0.0.1"),
    };
    let (from, to) = (hex(from), hex(to));
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table of connections");
    let queues = table.lines().find_map(|line| {
        let mut cells = line.split_whitespace().skip(1);
        let is_it = cells.next() == Some(&*from) && cells.next() == Some(&*to);
        is_it.then(|| cells.nth(1).expect("tx_queue:rx_queue").to_owned())
    })?;
    let (sent, _) = queues.split_once(':').expect("two queues");
    Some(usize::from_str_radix(sent, 16).expect("hexadecimal digits"))
}

#[test]
fn the_kernel_holds_little_for_a_client_that_never_reads() {
    let site = Site::start();
    let mut deaf = Session::greeted(narrow(&site.server));
    deaf.subscribe("feed");
    let (server, own) = (site.server.addr, deaf.peer.stream.local_addr().expect("its address"));
    let mut api = site.api();
    let data = "d".repeat(10_000);
    let (mut most, mut published) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while !site.server.log().contains("slow") {
        assert!(Instant::now() < deadline, "a peer that never reads is never closed");
        api.publish("feed", "event", &data);
        published += data.len();
        most = most.max(held(server, own).unwrap_or(0));
    }
    println!(
        "{} KiB were published, {} KiB the kernel held",
        published >> 10,
        most >> 10
    );
    assert!(most > 0, "the test could not measure the kernel's memory");
    assert!(
        most < KERNEL,
        "the kernel held {} KiB for a peer that reads nothing",
        most >> 10
    );
    // All of it is given back with the connection.
    crate::common::wait_until(
        "the kernel holds nothing",
        || held(server, own).unwrap_or(0) == 0,
        || format!("it holds {:?}", held(server, own)),
    );
}
