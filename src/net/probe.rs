//! Whether a MySQL server is there, without waiting for it: a connection to each of its endpoints in turn, until one of them
//! greets. The greeting is all that is read, nothing is sent, and the connection is closed: whoever wants to speak with the
//! server makes another one, which may block and now has no reason to.
//!
//! The driver's own connect has no say in this: over a Unix socket it has no timeout at all, and a server that was stopped
//! takes connections (the kernel does) and never greets.

use std::io;
use std::time::Duration;

use super::io::{Io, MOST_OUTGOING, Socket};
use crate::config::ListenAddr;
use crate::time::Time;

/// The number of the probe's connection among the outgoing ones: the last, which [`super::outgoing`] never counts up to.
pub const NUMBER: usize = MOST_OUTGOING;

/// Bytes of a server's first packet that are looked at: an error's text is shorter.
const GREETING: usize = 1024;

/// The versions of the protocol's greeting (MySQL internals, "Connection Phase"): all servers of this century say 10.
const PROTOCOL: u8 = 10;

/// An error instead of a greeting.
const ERROR: u8 = 0xff;

/// The probe. There is one at a time.
#[derive(Debug)]
pub struct Probe<S> {
    run: Option<Run<S>>,
}

#[derive(Debug)]
struct Run<S> {
    endpoints: Vec<ListenAddr>,
    /// Which of them is tried.
    at: usize,
    patience: Duration,
    line: Option<Line<S>>,
    /// What became of those before it, and whether one of them took the connection.
    reasons: Vec<String>,
    taken: bool,
}

#[derive(Debug)]
struct Line<S> {
    socket: S,
    deadline: Time,
    connected: bool,
    awake: bool,
    heard: Vec<u8>,
}

/// Why nobody was greeted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// As a sentence.
    pub why: String,
    /// Somebody took the connection. Servers count those who turn away from them.
    pub taken: bool,
}

/// What a look at a line came to.
enum Look {
    Wait,
    Greeted,
    Failed(String),
}

impl<S: Socket> Probe<S> {
    /// Nothing is under way.
    pub fn new() -> Self {
        Self { run: None }
    }

    /// Whether it is under way: until `turn` has told how it ended.
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Begins; each endpoint has `patience` to greet. What was under way is given up.
    pub fn start(&mut self, endpoints: &[ListenAddr], patience: Duration, io: &mut impl Io<Socket = S>, now: Time) {
        // The old connection goes first: they share their number.
        self.run = None;
        let mut run = Run {
            endpoints: endpoints.to_vec(),
            at: 0,
            patience,
            line: None,
            reasons: Vec::new(),
            taken: false,
        };
        run.connect(io, now);
        self.run = Some(run);
    }

    /// Takes note of readiness. What was meant for an earlier connection does no harm: to look at a socket that is not ready
    /// finds nothing.
    pub fn ready(&mut self) {
        if let Some(line) = self.run.as_mut().and_then(|run| run.line.as_mut()) {
            line.awake = true;
        }
    }

    /// Goes on as far as it can without waiting. When it ended: the index of the endpoint that greeted, or why none did.
    pub fn turn(&mut self, io: &mut impl Io<Socket = S>, now: Time) -> Option<Result<usize, Missed>> {
        let run = self.run.as_mut()?;
        while let Some(line) = &mut run.line {
            match line.look(now, run.patience) {
                Look::Wait => return None,
                Look::Greeted => {
                    let at = run.at;
                    self.run = None;
                    return Some(Ok(at));
                }
                Look::Failed(why) => {
                    run.taken |= line.connected;
                    run.line = None;
                    run.give_up(why);
                    run.connect(io, now);
                }
            }
        }
        let missed = Missed {
            taken: run.taken,
            why: match run.reasons.is_empty() {
                true => "its host has no address".to_owned(),
                false => run.reasons.join("; "),
            },
        };
        self.run = None;
        Some(Err(missed))
    }

    /// When `turn` must be called next if nothing becomes ready.
    pub fn deadline(&self) -> Time {
        match &self.run {
            None => Time::NEVER,
            Some(Run { line: None, .. }) => Time(0),
            Some(Run { line: Some(line), .. }) if line.awake => Time(0),
            Some(Run { line: Some(line), .. }) => line.deadline,
        }
    }
}

impl<S: Socket> Default for Probe<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Socket> Run<S> {
    /// Connects to the endpoint that is next, or to one after it. Afterwards there is no line if none is left.
    fn connect(&mut self, io: &mut impl Io<Socket = S>, now: Time) {
        while let Some(endpoint) = self.endpoints.get(self.at) {
            match io.connect(endpoint, NUMBER) {
                Ok(socket) => {
                    self.line = Some(Line {
                        socket,
                        deadline: now + self.patience,
                        connected: false,
                        awake: false,
                        heard: Vec::new(),
                    });
                    return;
                }
                Err(error) => self.give_up(error.to_string()),
            }
        }
    }

    fn give_up(&mut self, why: String) {
        let endpoint = &self.endpoints[self.at];
        log::debug!("no database at {endpoint}: {why}");
        self.reasons.push(format!("{endpoint}: {why}"));
        self.at += 1;
    }
}

impl<S: Socket> Line<S> {
    fn look(&mut self, now: Time, patience: Duration) -> Look {
        let awake = std::mem::take(&mut self.awake);
        let look = if awake { self.listen() } else { Look::Wait };
        match look {
            Look::Wait if self.deadline <= now => Look::Failed(match self.connected {
                true => format!(
                    "it takes connections and does not greet within {} ms",
                    patience.as_millis()
                ),
                false => format!("no connection within {} ms", patience.as_millis()),
            }),
            other => other,
        }
    }

    fn listen(&mut self) -> Look {
        if !self.connected {
            match self.socket.is_connected() {
                Ok(connected) => self.connected = connected,
                Err(error) => return Look::Failed(error.to_string()),
            }
            if !self.connected {
                return Look::Wait;
            }
        }
        let mut buffer = [0; GREETING];
        loop {
            let read = self.socket.read(&mut buffer[self.heard.len()..]);
            let ended = match read {
                Ok(0) => true,
                Ok(n) => {
                    self.heard
                        .extend_from_slice(&buffer[self.heard.len()..self.heard.len() + n]);
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Look::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Look::Failed(error.to_string()),
            };
            match judge(&self.heard, ended) {
                Look::Wait => {}
                other => return other,
            }
        }
    }
}

/// What the server's first packet says: three bytes of length, one of sequence, then the packet. `ended`: no more comes.
fn judge(heard: &[u8], ended: bool) -> Look {
    let Some((head, packet)) = heard.split_at_checked(4) else {
        return match ended {
            true => Look::Failed("it closed the connection without a greeting".to_owned()),
            false => Look::Wait,
        };
    };
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    let whole = packet.len() >= length || ended || heard.len() >= GREETING;
    match packet.first() {
        // A server that drips its greeting would drip its answers too, and those are waited for.
        Some(&PROTOCOL | &ERROR) if !whole => Look::Wait,
        Some(&PROTOCOL) if packet.len() < length && heard.len() < GREETING => {
            Look::Failed("it closed the connection in its greeting".to_owned())
        }
        Some(&PROTOCOL) => Look::Greeted,
        Some(&ERROR) => Look::Failed(refusal(&packet[..length.min(packet.len())])),
        None if !ended && length > 0 => Look::Wait,
        _ => Look::Failed("what answers is no MySQL server".to_owned()),
    }
}

/// An error packet: 0xff, two bytes of code, the text (with `#` and a state of five characters before it, if the server
/// knows already that we would understand it).
fn refusal(packet: &[u8]) -> String {
    let text = packet.get(3..).unwrap_or_default();
    let text = match text {
        [b'#', _, _, _, _, _, text @ ..] => text,
        text => text,
    };
    match text.is_empty() {
        true => "it refuses connections".to_owned(),
        false => String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::IoSlice;

    use super::*;
    use crate::id::ConnectionId;
    use crate::net::io::{Peer, Ready};
    use crate::time::Now;

    /// What becomes of a connection: reads in order, then `WouldBlock` for ever.
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
            panic!("a probe says nothing")
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

    /// How it ends when everything that was promised comes at once.
    fn outcome(fates: Vec<io::Result<Fate>>) -> Result<usize, String> {
        let (mut probe, mut network) = start(fates);
        for _ in 0..10 {
            probe.ready();
            if let Some(outcome) = probe.turn(&mut network, Time(1000)) {
                assert!(!probe.is_running());
                assert_eq!(probe.deadline(), Time::NEVER);
                assert_eq!(probe.turn(&mut network, Time(1000)), None, "it is told once");
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
    fn a_greeting_ends_it() {
        let greeting = packet(b"\x0a10.11.6-MariaDB\0and so on");
        assert_eq!(outcome(vec![fate(&[&greeting])]), Ok(0));
        let bytes: Vec<&[u8]> = greeting.chunks(1).collect();
        assert_eq!(outcome(vec![fate(&bytes)]), Ok(0), "byte by byte");
        let long = packet(&[b"\x0a", &[b'x'; 4000][..]].concat());
        assert_eq!(outcome(vec![fate(&[&long])]), Ok(0), "as much as is looked at");
    }

    #[test]
    fn a_greeting_that_drips_is_waited_for_until_its_time_is_over() {
        let greeting = packet(b"\x0a10.11.6-MariaDB\0and so on");
        let (mut probe, mut network) = start(vec![fate(&[&greeting[..9]])]);
        probe.ready();
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
        probe.ready();
        let missed = probe
            .turn(&mut network, Time(0))
            .expect("it ended")
            .expect_err("nobody");
        assert!(!missed.taken, "{missed:?}");
        let why = outcome(vec![refused(), at_once()]).expect_err("nobody is there");
        assert_eq!(
            why,
            "127.0.0.1:3306: connection refused; 127.0.0.1:3307: entity not found"
        );
        assert_eq!(outcome(vec![]), Err("its host has no address".to_owned()));
    }

    #[test]
    fn an_error_packet_is_told_in_the_servers_words() {
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
    fn what_is_no_mysql_server_is_none() {
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
        probe.ready();
        assert_eq!(probe.deadline(), Time(0), "it wants its turn");
        assert_eq!(probe.turn(&mut network, Time(100_000)), None);
        assert_eq!(probe.turn(&mut network, Time(499_999)), None);
        assert_eq!(probe.turn(&mut network, Time(500_000)), None);
        assert_eq!(probe.deadline(), Time(1_000_000), "the next one");
        probe.ready();
        assert_eq!(probe.turn(&mut network, Time(600_000)), None);
        let why = probe
            .turn(&mut network, Time(1_000_000))
            .expect("it ended")
            .expect_err("nobody");
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
        probe.ready();
        assert_eq!(probe.turn(&mut network, Time(200)), Some(Ok(0)));
        probe.ready();
        assert_eq!(probe.turn(&mut network, Time(300)), None);
    }
}
