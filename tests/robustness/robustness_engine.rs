//! Engines that are none: they send garbage, lie, drip, flood, fall silent or hang up. The server names what is wrong,
//! stays small, and serves its own clients. What each answer means is tested beside `engine`; what the processes of a
//! cluster do about a real engine stands in `cluster`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::common::pusher::{Settings, Site};
use crate::common::wait_until;

/// A good answer to HELLO.
const HELLO: &str = "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n\
    $2\r\nid\r\n:5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

/// What a false engine does on each connection.
type Conduct = fn(TcpStream);

/// Starts a false engine. It ends with the test's process.
fn engine(conduct: Conduct) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            thread::spawn(move || conduct(peer));
        }
    });
    port
}

/// Reads one or more commands; false: the server has hung up.
fn asked(peer: &mut TcpStream) -> bool {
    matches!(peer.read(&mut [0; 64 * 1024]), Ok(1..))
}

/// Answers the greeting with this, and every later command with that.
fn answer(mut peer: TcpStream, greeting: &str, later: &str) {
    let mut text = greeting;
    while asked(&mut peer) && peer.write_all(text.as_bytes()).is_ok() {
        text = later;
    }
}

fn silent(mut peer: TcpStream) {
    while asked(&mut peer) {}
}

fn drips(mut peer: TcpStream) {
    for byte in HELLO.bytes().cycle() {
        thread::sleep(Duration::from_millis(20));
        if peer.write_all(&[byte]).is_err() {
            return;
        }
    }
}

/// An array of long strings without an end.
fn floods(mut peer: TcpStream) {
    let string = format!("$200000\r\n{}\r\n", "x".repeat(200_000));
    if !asked(&mut peer) || peer.write_all(b"*2000\r\n").is_err() {
        return;
    }
    while peer.write_all(string.as_bytes()).is_ok() {}
}

const ENGINES: [(Conduct, &str); 15] = [
    (drop, "closed the connection"),
    (silent, "did not answer HELLO within its time"),
    (drips, "did not answer HELLO within its time"),
    (floods, "longer than any that was asked for"),
    (
        |peer| answer(peer, "HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        "does not speak RESP2",
    ),
    (|peer| answer(peer, "+PONG\r\n", ""), "answer to another question"),
    (
        |peer| answer(peer, ">2\r\n+message\r\n+x\r\n", ""),
        "an answer of an unknown kind",
    ),
    (
        |peer| answer(peer, "$999999999\r\n", ""),
        "longer than any that was asked for",
    ),
    (|peer| answer(peer, &"*1\r\n".repeat(1000), ""), "nested too deep"),
    (
        |peer| answer(peer, &HELLO.replace("7.0.15", "6.2.14"), ""),
        "too old: version 6.2.14",
    ),
    (
        |peer| answer(peer, "-NOAUTH Authentication required.\r\n", ""),
        "set `user` and `password` in [engine]",
    ),
    (|peer| answer(peer, HELLO, ":1\r\n"), "answer to another question"),
    (
        |peer| answer(peer, HELLO, "*-1\r\n*-1\r\n"),
        "answer to another question",
    ),
    (
        |peer| answer(peer, HELLO, "*1\r\n*2\r\n$1\r\n9-1\r\n"),
        "does not speak RESP2",
    ),
    (|peer| answer(peer, HELLO, ""), "within its time"),
];

#[test]
fn an_engine_that_is_none_is_named_and_costs_the_clients_nothing() {
    // All at once, since each needs seconds until it is given up.
    let sites = ENGINES.map(|(conduct, named)| {
        let more = format!("[engine]\nurl = \"redis://127.0.0.1:{}\"\n", engine(conduct));
        let site = Site::with(Settings {
            more: &more,
            ..Settings::default()
        });
        (site, named)
    });
    for (site, named) in &sites {
        let log = || site.server.log();
        wait_until(named, || log().contains(named), log);
        let mut client = site.connect();
        client.subscribe("news");
        // It is delivered when the server has given the engine up.
        site.api().publish("news", "event", "text");
        client.expect_event("news", "event", "text");
        site.api().publish("news", "another", "text");
        client.expect_event("news", "another", "text");
    }
    for (site, named) in &sites {
        let (rss, cpu) = (site.server.rss(), site.server.cpu());
        assert!(rss < 100 << 20, "{named}: {rss} bytes");
        assert!(cpu < Duration::from_secs(10), "{named}: {cpu:?}");
        let lines = site.server.log().matches("connection to the engine").count();
        assert!(
            lines <= 10,
            "{named}: the log has {lines} lines about it:\n{}",
            site.server.log()
        );
    }
}
