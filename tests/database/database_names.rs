//! Hosts' names whose addresses change while the server runs, or that do not exist yet: those of the site's database
//! and of webhooks' targets. The server's own process never asks the resolver, however long that takes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::joomla::{Session as Login, Site as Joomla};
use crate::common::names::Names;
use crate::common::peer::handshake;
use crate::common::ports::{bound, close, free_port};
use crate::common::visits::{House, Terms, Visitor, expect_soon};
use crate::common::{PATIENCE, Peer, Server, pusher, wait_until};
use jsocketd::joomla::site::Client;
use rustix::process::Signal;

/// A longer time was spent waiting for a resolver.
const STALL: Duration = Duration::from_millis(450);

/// The second, third … address of this machine.
fn loopback(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, n).into()
}

/// A port that is free at several addresses.
fn port() -> u16 {
    loop {
        let port = free_port(loopback(2));
        if (3..=4).all(|n| bound((loopback(n), port).into()).is_ok()) {
            return port;
        }
    }
}

/// A database server as it is reached at another address, until this is dropped: then all connections break.
struct At {
    stop: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    listener: Option<JoinHandle<()>>,
}

impl At {
    fn address(address: SocketAddr, database: SocketAddr) -> Self {
        let mut at = Self {
            stop: Arc::default(),
            streams: Arc::default(),
            listener: None,
        };
        let (stop, streams) = (at.stop.clone(), at.streams.clone());
        let listener = TcpListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).unwrap();
        let listen = move || {
            while !stop.load(Ordering::SeqCst) {
                let Ok((client, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                client.set_nonblocking(false).unwrap();
                let server = TcpStream::connect(database).expect("the database is there");
                let again = |end: &TcpStream| end.try_clone().unwrap();
                streams.lock().unwrap().extend([again(&client), again(&server)]);
                for (mut from, mut to) in [(again(&client), again(&server)), (server, client)] {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
            close(listener);
        };
        at.listener = Some(thread::spawn(listen));
        at
    }
}

impl Drop for At {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A site whose database is `db.test` at this port, and a server that has these names.
fn house(names: &Names, port: u16) -> House {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.configure("host", &format!("'db.test:{port}'"));
    let terms = Terms {
        joomla: "identity_timeout = 1",
        more: "[echo]\nenabled = true",
        ..Terms::default()
    };
    let server = Server::start_with(&terms.toml(), |command, _| {
        command.arg("--joomla").arg(joomla.root());
        command.env("JSOCKETD_LIMITS_DRAIN_SECONDS", "0");
        names.are_those_of(command);
    });
    House {
        joomla,
        site: pusher::Site { server },
    }
}

/// Waits until that many lines of the log have this in them.
fn logged(server: &Server, text: &str, count: usize) {
    let lines = || server.log().lines().filter(|line| line.contains(text)).count();
    wait_until(
        &format!("{count} times {text:?} is logged"),
        || lines() >= count,
        || server.log(),
    );
}

fn log_in(house: &House) -> Login {
    house.joomla.log_in(house.joomla.id_of("anna"), Client::Site)
}

/// Everything is as it should be: a newcomer is known, a row is delivered.
fn expect_all_well(house: &House, login: &Login) {
    let mut console = house.console(&house.page(login));
    expect_soon(console.allowed(), |who| {
        who["identity"] == "user" && who["user_id"] == login.user
    });
    let mut session = house.come_known(login);
    session.enter("wellbeing");
    house.joomla.publish("wellbeing", "well", "1");
    session.expect_event("wellbeing", "well", "1");
}

/// The processes that the server has started and not collected, but for that which belongs to its connection to the
/// database.
fn children(server: &Server) -> Vec<u32> {
    let all = crate::common::children(server.pid).into_iter();
    all.filter(|(_, command)| command != "deadline")
        .map(|(pid, _)| pid)
        .collect()
}

/// None of the look-ups was the server's own, and nothing is left of them.
fn expect_clean(names: &Names, server: &Server) {
    let lookups = names.lookups("db.test");
    assert!(
        !lookups.is_empty() && !lookups.contains(&server.pid),
        "{lookups:?} of {}",
        server.pid
    );
    wait_until(
        "the children are collected",
        || children(server).is_empty(),
        || format!("{:?}", children(server)),
    );
}

/// The server answers at once.
fn expect_awake(server: &Server, peer: &mut Peer) {
    let began = Instant::now();
    peer.text("awake?").expect_text("awake?");
    assert!(began.elapsed() < STALL, "{:?}; {}", began.elapsed(), server.log());
}

fn echo(server: &Server) -> Peer {
    let mut peer = Peer::connect(server);
    peer.send(handshake("/echo"));
    peer.expect_switch();
    peer
}

#[test]
fn a_database_whose_name_has_another_address_is_found() {
    let (names, port) = (Names::none(), port());
    let [old, new] = [2, 3].map(|n| SocketAddr::from((loopback(n), port)));
    names.set(&[("db.test", "127.0.0.2")]);
    let house = house(&names, port);
    let server = &house.site.server;
    let database = house.joomla.server.addr;
    let there = At::address(old, database);
    let login = log_in(&house);
    logged(server, &format!("INFO  the host db.test is known now: {old}"), 1);
    expect_all_well(&house, &login);
    let mut live = house.come_known(&login);
    live.enter("news");
    // One look-up at the start; the database may have been away for a moment then, so there may be a few.
    let before = names.lookups("db.test").len();
    expect_all_well(&house, &login);
    assert_eq!(
        names.lookups("db.test").len(),
        before,
        "while it is there the server does not look"
    );

    drop(there);
    logged(server, "is not available", 1);
    house.joomla.publish("news", "meanwhile", "1");
    // It cannot be reached, and its name says the same as before.
    let looked = || names.lookups("db.test").len();
    wait_until("its name is looked up", || looked() > before, || server.log());
    let _there = At::address(new, database);
    names.set(&[("db.test", "127.0.0.3")]);
    logged(
        server,
        &format!("INFO  the host db.test has other addresses now: {new}"),
        1,
    );
    logged(server, &format!(" at {new}: "), 1);
    live.expect_event("news", "meanwhile", "1");
    expect_all_well(&house, &login);
    assert!(looked() < before + 20, "{} look-ups", looked());
    expect_clean(&names, server);
}

#[test]
fn a_name_that_does_not_exist_yet_is_waited_for() {
    let (names, port) = (Names::none(), port());
    let house = house(&names, port);
    let server = &house.site.server;
    let _there = At::address((loopback(2), port).into(), house.joomla.server.addr);
    let _moved = At::address((loopback(4), port).into(), house.joomla.server.addr);
    let login = log_in(&house);
    logged(server, "WARN  the host db.test is not known yet: ", 1);
    let mut console = house.console(&house.page(&login));
    expect_soon(&mut console, |who| {
        who["identity"] == "guest" && who["provisional"] == true
    });
    let looked = || names.lookups("db.test").len();
    wait_until("it is looked up again and again", || looked() >= 3, || server.log());
    let log = server.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("is not known yet"), 1, "{log}");
    assert_eq!(
        lines("is not available"),
        0,
        "no database was there to be queried: {log}"
    );

    names.set(&[("db.test", "127.0.0.1"), ("db.test", "127.0.0.2")]);
    logged(server, "the host db.test is known now: ", 1);
    expect_soon(console.allowed(), |who| who["identity"] == "user");
    expect_all_well(&house, &login);

    // The site's own configuration gets another name. Until it exists nothing is lost, and no client is disconnected.
    house.joomla.configure("host", &format!("'db4.test:{port}'"));
    logged(server, "WARN  the host db4.test is not known yet: ", 1);
    names.set(&[("db4.test", "127.0.0.4")]);
    logged(server, "the host db4.test is known now: ", 1);
    expect_all_well(&house, &login);
    expect_clean(&names, server);
    assert!(!names.lookups("db4.test").contains(&server.pid));
}

#[test]
fn a_hanging_resolver_does_not_delay_the_loop() {
    let (names, port) = (Names::none(), port());
    names.set(&[("db.test", "hang")]);
    let mut house = house(&names, port);
    let server = &house.site.server;
    let _there = At::address((loopback(2), port).into(), house.joomla.server.addr);
    let login = log_in(&house);
    let mut peer = echo(server);
    let looked = || names.lookups("db.test").len();
    wait_until("it is looked up", || looked() == 1, || server.log());
    expect_awake(server, &mut peer);
    for n in 1..4 {
        server.signal(Signal::HUP);
        logged(server, "the configuration was read again: nothing changed", n);
        expect_awake(server, &mut peer);
        wait_until("it is looked up anew", || looked() == n + 1, || server.log());
        assert_eq!(children(server).len(), 1, "one at a time");
    }
    assert!(
        !server.log().contains("no answer"),
        "it was given up on purpose: {}",
        server.log()
    );
    names.set(&[("db.test", "127.0.0.2")]);
    server.signal(Signal::HUP);
    expect_all_well(&house, &login);
    expect_clean(&names, server);

    // While it is connected the name is looked up once for each reload, and an answer that does not come changes
    // nothing.
    names.set(&[("db.test", "hang")]);
    server.signal(Signal::HUP);
    wait_until("it hangs", || children(server).len() == 1, || server.log());
    expect_all_well(&house, &login);
    let child = children(server)[0];
    let open = fs::read_dir(format!("/proc/{child}/fd"))
        .unwrap()
        .map(|fd| fs::read_link(fd.unwrap().path()).unwrap());
    let inherited: Vec<_> = open
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .collect();
    assert!(
        inherited.is_empty(),
        "a child holds no connection of the server open: {inherited:?}"
    );
    let is_gone = move || !Path::new(&format!("/proc/{child}/exe")).exists();
    server.signal(Signal::TERM);
    assert!(house.site.server.ended().success());
    wait_until("the child has ended with the server", is_gone, String::new);
}

#[test]
fn a_child_does_not_outlive_a_server_that_is_killed() {
    let (names, port) = (Names::none(), port());
    names.set(&[("db.test", "hang")]);
    let mut house = house(&names, port);
    let server = &house.site.server;
    wait_until("it hangs", || names.lookups("db.test").len() == 1, || server.log());
    let child = names.lookups("db.test")[0];
    server.signal(Signal::KILL);
    house.site.server.ended();
    let is_gone = || fs::read(format!("/proc/{child}/cmdline")).map_or(true, |line| line.is_empty());
    wait_until("the child has ended", is_gone, String::new);
}

#[test]
fn a_command_says_that_a_name_is_not_known() {
    let names = Names::none();
    let joomla = Joomla::joomla6();
    joomla.configure("host", "'db.test'");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command.args(arguments).arg("--joomla").arg(joomla.root());
        command.env_remove("JSOCKETD_CONFIG");
        names.are_those_of(&mut command);
        command.output().unwrap()
    };
    for command in [&["check"][..], &["publish", "--outbox", "c", "e", "d"]] {
        let said = run(command);
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success());
        assert!(
            errors.contains("\"db.test\" cannot be used: its name cannot be resolved"),
            "{errors}"
        );
    }
    // It needs the prefix of the tables, not the database.
    assert!(run(&["schema"]).status.success());
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(!help.contains("resolve"), "it is not for people: {help}");
}

/// A target of webhooks at this address; counts the posts that it took.
fn target(address: SocketAddr) -> Arc<Mutex<usize>> {
    let taken = Arc::new(Mutex::new(0));
    let count = taken.clone();
    let listener = TcpListener::bind(address).expect("the address is free");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            *count.lock().unwrap() += 1;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
        }
    });
    taken
}

#[test]
fn a_webhooks_target_is_found_where_its_name_is() {
    let (names, port) = (Names::none(), port());
    let app = "[[apps]]\nid = \"a\"\nkey = \"ka\"\nsecret = \"0123456789abcdef\"\n";
    let hook = format!("[[apps.webhooks]]\nurl = \"http://hook.test:{port}/\"\nevents = [\"channel_occupied\"]\n");
    names.set(&[("hook.test", "hang")]);
    let server = Server::start_with(&format!("{app}{hook}"), |command, _| names.are_those_of(command));
    let mut peer = Peer::upgrade(&server, "/app/ka?protocol=7");
    peer.next_frame();
    let taken = target((loopback(3), port).into());
    let subscribe = |peer: &mut Peer, channel: &str| {
        peer.text(&format!(
            "{{\"event\":\"pusher:subscribe\",\"data\":{{\"channel\":\"{channel}\"}}}}"
        ));
        let (_, answer) = peer.next_frame();
        assert!(String::from_utf8_lossy(&answer).contains("subscription_succeeded"));
    };
    subscribe(&mut peer, "one");
    // No server listens there at first.
    names.set(&[("hook.test", "127.0.0.2")]);
    server.signal(Signal::HUP);
    logged(&server, "the host hook.test is known now: 127.0.0.2", 1);
    subscribe(&mut peer, "two");
    names.set(&[("hook.test", "127.0.0.3")]);
    logged(&server, "the host hook.test has other addresses now: 127.0.0.3", 1);
    let deadline = Instant::now() + PATIENCE;
    while *taken.lock().unwrap() < 2 {
        assert!(Instant::now() < deadline, "{}", server.log());
        thread::sleep(Duration::from_millis(5));
    }
    let lookups = names.lookups("hook.test");
    assert!(!lookups.contains(&server.pid), "{lookups:?}");
}
