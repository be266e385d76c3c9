//! Tests of the probe with scripted servers: each is a list of reads.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::*;
use crate::id::ConnectionId;
use crate::net::io::{Peer, Ready};
use crate::time::Now;

/// A scripted connection: reads in order, then `WouldBlock` for ever.
#[derive(Debug)]
struct Fate {
    connected: Result<bool, io::ErrorKind>,
    reads: VecDeque<Result<Vec<u8>, io::ErrorKind>>,
}

impl Socket for Fate {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reads.pop_front() {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Err(kind)) => Err(kind.into()),
            Some(Ok(bytes)) => {
                let n = bytes.len().min(buffer.len());
                buffer[..n].copy_from_slice(&bytes[..n]);
                if n < bytes.len() {
                    self.reads.push_front(Ok(bytes[n..].to_vec()));
                }
                Ok(n)
            }
        }
    }

    fn write_vectored(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        panic!("a probe sends nothing")
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        self.connected.map_err(io::Error::from)
    }

    fn shutdown_write(&mut self) {}

    fn reset_on_close(&mut self) {}
}

/// Connections in the order in which they will be made.
struct Network(VecDeque<io::Result<Fate>>);

impl Io for Network {
    type Socket = Fate;

    fn connect(&mut self, _: &ListenAddr, n: usize) -> io::Result<Fate> {
        assert_eq!(n, NUMBER);
        self.0.pop_front().expect("no further connection is to be made")
    }

    fn wait(&mut self, _: Option<Duration>, _: &mut Vec<Ready>) -> io::Result<()> {
        unreachable!()
    }

    fn now(&mut self) -> Now {
        unreachable!()
    }

    fn listeners(&self) -> usize {
        unreachable!()
    }

    fn accept(&mut self, _: usize) -> io::Result<(Fate, Peer)> {
        unreachable!()
    }

    fn register(&mut self, _: &mut Fate, _: ConnectionId) -> io::Result<()> {
        unreachable!()
    }
}

/// All scripted bytes come at once, and the end too.
const ALL: Edges = Edges {
    readable: true,
    writable: true,
    read_closed: true,
};

const PATIENCE: Duration = Duration::from_millis(500);

fn fate(reads: &[&[u8]]) -> io::Result<Fate> {
    Ok(Fate {
        connected: Ok(true),
        reads: reads.iter().map(|bytes| Ok(bytes.to_vec())).collect(),
    })
}

/// A probe of as many endpoints as there are fates.
fn start(fates: Vec<io::Result<Fate>>) -> (Probe<Fate>, Network) {
    let endpoints: Vec<ListenAddr> = (0..fates.len())
        .map(|n| ListenAddr::Tcp(([127, 0, 0, 1], 3306 + n as u16).into()))
        .collect();
    let mut network = Network(fates.into());
    let mut probe = Probe::new();
    probe.start(&endpoints, PATIENCE, &mut network, Time(0));
    (probe, network)
}

/// The outcome of a probe when all scripted bytes come at once.
fn outcome(fates: Vec<io::Result<Fate>>) -> Result<usize, String> {
    let (mut probe, mut network) = start(fates);
    for _ in 0..10 {
        probe.note(ALL);
        if let Some(outcome) = probe.turn(&mut network, Time(1000)) {
            assert!(!probe.is_running());
            assert_eq!(probe.deadline(), Time::NEVER);
            assert_eq!(
                probe.turn(&mut network, Time(1000)),
                None,
                "the outcome is reported once"
            );
            return outcome.map_err(|missed| missed.why);
        }
    }
    panic!("no outcome: {probe:?}");
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![payload.len() as u8, (payload.len() >> 8) as u8, 0, 0];
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn a_greeting_ends_the_probe() {
    let greeting = packet(b"\x0a10.11.6-MariaDB\0and so on");
    assert_eq!(outcome(vec![fate(&[&greeting])]), Ok(0));
    let bytes: Vec<&[u8]> = greeting.chunks(1).collect();
    assert_eq!(outcome(vec![fate(&bytes)]), Ok(0), "byte by byte");
    let long = packet(&[b"\x0a", &[b'x'; 4000][..]].concat());
    assert_eq!(outcome(vec![fate(&[&long])]), Ok(0), "as many bytes as are read");
}

#[test]
fn a_greeting_that_drips_is_waited_for_until_its_time_is_over() {
    let greeting = packet(b"\x0a10.11.6-MariaDB\0and so on");
    let (mut probe, mut network) = start(vec![fate(&[&greeting[..9]])]);
    probe.note(ALL);
    assert_eq!(probe.turn(&mut network, Time(1000)), None);
    let missed = probe
        .turn(&mut network, Time(500_000))
        .expect("it ended")
        .expect_err("in time");
    assert!(
        missed.taken && missed.why.ends_with("does not greet within 500 ms"),
        "{missed:?}"
    );
    let why = outcome(vec![fate(&[&greeting[..9], b""])]).expect_err("cut");
    assert!(why.ends_with("it closed the connection in its greeting"), "{why}");
}

#[test]
fn the_endpoints_are_tried_in_turn() {
    let greeting = packet(b"\x0a8.0.36\0");
    let refused = || {
        Ok(Fate {
            connected: Err(io::ErrorKind::ConnectionRefused),
            reads: VecDeque::new(),
        })
    };
    assert_eq!(outcome(vec![refused(), fate(&[&greeting])]), Ok(1));
    let at_once = || Err(io::ErrorKind::NotFound.into());
    assert_eq!(outcome(vec![at_once(), refused(), fate(&[&greeting])]), Ok(2));
    let (mut probe, mut network) = start(vec![refused(), at_once()]);
    probe.note(ALL);
    let missed = probe
        .turn(&mut network, Time(0))
        .expect("it ended")
        .expect_err("no server");
    assert!(!missed.taken, "{missed:?}");
    let why = outcome(vec![refused(), at_once()]).expect_err("no server greets");
    assert_eq!(
        why,
        "127.0.0.1:3306: connection refused; 127.0.0.1:3307: entity not found"
    );
    assert_eq!(outcome(vec![]), Err("its host has no address".to_owned()));
}

#[test]
fn an_error_packet_is_reported_in_the_servers_words() {
    let plain = packet(b"\xff\x10\x04Too many connections");
    let with_state = packet(b"\xff\x10\x04#08004Too many connections");
    for bytes in [plain, with_state] {
        let why = outcome(vec![fate(&[&bytes[..6], &bytes[6..]])]).expect_err("refused");
        assert_eq!(why, "127.0.0.1:3306: Too many connections");
    }
    let cut = packet(b"\xff\x69\x04Host is blocked");
    let why = outcome(vec![fate(&[&cut[..14], b""])]).expect_err("refused");
    assert_eq!(why, "127.0.0.1:3306: Host is", "the connection ended in the middle");
    let endless = [&[255, 255, 255, 0, 0xff, 1, 1][..], &[b'x'; 4000]].concat();
    assert!(outcome(vec![fate(&[&endless])]).is_err());
}

#[test]
fn a_server_of_another_protocol_is_reported_as_no_mysql_server() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\0\0\0\0",
        b"\x05\0\0\0\x09old",
    ] {
        let why = outcome(vec![fate(&[bytes])]).expect_err("no greeting");
        assert!(why.ends_with("what answers is no MySQL server"), "{why}");
    }
    for bytes in [&b""[..], b"\x05\0"] {
        let why = outcome(vec![fate(&[bytes, b""])]).expect_err("no greeting");
        assert!(why.ends_with("it closed the connection without a greeting"), "{why}");
    }
    let reset = Ok(Fate {
        connected: Ok(true),
        reads: [Err(io::ErrorKind::ConnectionReset)].into(),
    });
    assert!(outcome(vec![reset]).expect_err("reset").ends_with("connection reset"));
}

#[test]
fn each_endpoint_has_its_own_time() {
    let never = Ok(Fate {
        connected: Ok(false),
        reads: VecDeque::new(),
    });
    let (mut probe, mut network) = start(vec![never, fate(&[b"\x30"])]);
    assert_eq!(probe.deadline(), Time(500_000));
    probe.note(ALL);
    assert_eq!(probe.deadline(), Time(0), "the probe needs a turn");
    assert_eq!(probe.turn(&mut network, Time(100_000)), None);
    assert_eq!(probe.turn(&mut network, Time(499_999)), None);
    assert_eq!(probe.turn(&mut network, Time(500_000)), None);
    assert_eq!(probe.deadline(), Time(1_000_000), "the next one");
    probe.note(ALL);
    assert_eq!(probe.turn(&mut network, Time(600_000)), None);
    let why = probe
        .turn(&mut network, Time(1_000_000))
        .expect("it ended")
        .expect_err("no server");
    assert_eq!(
        why.why,
        "127.0.0.1:3306: no connection within 500 ms; \
         127.0.0.1:3307: it takes connections and does not greet within 500 ms"
    );
}

#[test]
fn a_probe_that_is_started_again_forgets_the_first() {
    let (mut probe, mut network) = start(vec![fate(&[])]);
    network.0.push_back(fate(&[&packet(b"\x0a11.4")]));
    probe.start(
        &[ListenAddr::Unix("/run/mysqld/mysqld.sock".into())],
        PATIENCE,
        &mut network,
        Time(100),
    );
    probe.note(ALL);
    assert_eq!(probe.turn(&mut network, Time(200)), Some(Ok(0)));
    probe.note(ALL);
    assert_eq!(probe.turn(&mut network, Time(300)), None);
}
