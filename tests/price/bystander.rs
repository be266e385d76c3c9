//! A bystander: a connection that pings at a steady pace beside an attack. There are two servers of the same kind.
//! First the attack goes to the one while the bystander pings the other. This shows the cost of the attackers' own
//! share of the machine. Then the same attack goes to the bystander's server. Rejected: a quiet machine for the first
//! figure, because attackers and a server at work take processors from all processes on a small machine.
//!
//! The waits of the server and of the bystander for a processor are caused by the machine and are subtracted: the
//! kernel counts them. If one waits while the other works, that subtracts too much, so the server's work is bounded
//! besides.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::frame::TEXT;
use crate::common::pusher::{Session, Site};
use crate::common::server::schedule;
use crate::common::{Frame, PATIENCE, Peer, Server, alone, wait_until};

/// Pings of one measurement, and the time between two of them. Together they are longer than a second, so that limits
/// by the second begin anew at least once.
const PINGS: usize = 400;
const PACE: Duration = Duration::from_millis(3);

/// How often a machine may be too busy for a comparison. The bursts that limits let through at once belong to the
/// first.
const TRIES: usize = 6;

/// The time that a server at work may add: it serves its attackers' sockets in the same tick as the bystander's, and a
/// tick handles 128 messages. On a slow machine an unoptimised build takes some fifty microseconds for one of them.
/// Without that limit a tick would take ten times as long.
pub const TICK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 8 } else { 2 });

/// The time that it may add where there is always a query to send: `[database] budget_ms`, as it is by default, and the
/// statement that began within it.
pub const STATEMENTS: Duration = Duration::from_millis(15);

/// The server's work while 99 of 100 pings wait, in processor time: the cost of all attackers' bursts at once in an
/// unoptimised build. It is a bound by itself, since a busy machine may make each undisturbed ping slow.
const WORK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 15 } else { 5 });

/// One step of an attack that does not wait; whether there was anything to do.
pub type Step = Box<dyn FnMut() -> bool + Send>;

/// Compares the pings of a bystander beside an attack on its own server with its pings beside an attack on another
/// server. `stand` starts a server, `prepare` brings the attackers to it and returns the step that they repeat.
///
/// # Panics
/// When 99 of 100 pings beside the attack take more than twice as long as undisturbed ones and `floor`, or more work
/// than [`WORK`], in each of [`TRIES`].
pub fn expect_unnoticed<T: Sync>(
    floor: Duration,
    stand: impl Fn() -> T,
    site: fn(&T) -> &Site,
    prepare: impl Fn(&T) -> Step,
) {
    let _alone = alone();
    let (own, other) = (stand(), stand());
    let server = &site(&own).server;
    let bystander = &mut site(&own).connect();
    let (mut here, mut there) = (prepare(&own), prepare(&other));
    let (mut tries, mut least) = (Vec::new(), Duration::MAX);
    for _ in 0..TRIES {
        let undisturbed = beside(server, bystander, &mut there);
        let disturbed = beside(server, bystander, &mut here);
        println!("p99 undisturbed: {undisturbed:?}; beside the attack: {disturbed:?}");
        // After the first try the server may still work off the rest of the attack.
        least = least.min(undisturbed.time);
        if disturbed.time <= 2 * least + floor && disturbed.work <= WORK {
            return;
        }
        tries.push((undisturbed, disturbed));
    }
    panic!("the bystander notices the attack: (undisturbed, beside it) were {tries:#?}");
}

/// 99 of 100 pings took less.
#[derive(Debug)]
struct P99 {
    /// From sending a ping to its answer, without the time spent waiting for a processor.
    time: Duration,
    /// Of the server meanwhile.
    work: Duration,
}

/// The clocks' times.
#[derive(Clone, Copy)]
struct Clocks {
    at: Instant,
    /// The server's processor time.
    work: Duration,
    /// Waited for a processor, by the server and by the bystander.
    waited: Duration,
}

impl Clocks {
    fn read(server: &Server) -> Self {
        let (work, waited) = schedule(&server.pid.to_string());
        Self {
            work,
            waited: waited + schedule("thread-self").1,
            at: Instant::now(),
        }
    }

    /// The time, and the server's work, from here to `end`.
    fn until(&self, end: &Self) -> (Duration, Duration) {
        let waited = end.waited.saturating_sub(self.waited);
        (
            (end.at - self.at).saturating_sub(waited),
            end.work.saturating_sub(self.work),
        )
    }
}

/// The bystander's p99 while an attacker repeats `step`.
fn beside(server: &Server, bystander: &mut Session, step: &mut Step) -> P99 {
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if !step() {
                    thread::sleep(Duration::from_millis(1));
                }
                begun.store(true, Ordering::Relaxed);
            }
        });
        wait_until("the attack has begun", || begun.load(Ordering::Relaxed), String::new);
        let p99 = p99(server, bystander);
        over.store(true, Ordering::Relaxed);
        p99
    })
}

/// Pings when it is time to, whether or not those before have answers: a server that stands still delays all of that
/// time.
fn p99(server: &Server, bystander: &mut Session) -> P99 {
    let ping = Frame::text(r#"{"event":"pusher:ping","data":{}}"#).bytes();
    let (mut sent, mut took) = (VecDeque::new(), Vec::new());
    let mut due = Instant::now();
    while took.len() < PINGS {
        let is_last = sent.len() + took.len() == PINGS;
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() && !is_last {
            sent.push_back(Clocks::read(server));
            bystander.peer.send(&ping);
            due += PACE;
        } else if sent.is_empty() {
            thread::sleep(left);
        } else if bystander.peer.hears_within(left.max(Duration::from_millis(1))) {
            assert_eq!(bystander.peer.next_frame().0, TEXT);
            let begun: Clocks = sent.pop_front().expect("it was asked");
            took.push(begun.until(&Clocks::read(server)));
        } else {
            let oldest = sent.front().expect("one waits").at;
            assert!(oldest.elapsed() < PATIENCE, "a ping has no answer");
        }
    }
    let (times, work): (Vec<Duration>, Vec<Duration>) = took.into_iter().unzip();
    let [time, work] = [times, work].map(|mut all| {
        all.sort();
        all[all.len() * 99 / 100]
    });
    P99 { time, work }
}

/// A connection that sends the same bytes over and over, as fast as they are taken, and reads and forgets what comes.
pub struct Flooder {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The number of bytes of `bytes` that were sent in this round.
    sent: usize,
}

impl Flooder {
    /// From here on nothing that it does waits.
    pub fn new(peer: Peer, bytes: Vec<u8>) -> Self {
        peer.stream
            .set_nonblocking(true)
            .expect("a socket can be made not to wait");
        Self {
            stream: peer.stream,
            bytes,
            sent: 0,
        }
    }

    /// One that only reads.
    pub fn listener(peer: Peer) -> Self {
        Self::new(peer, Vec::new())
    }

    /// Sends and reads as much as possible at once; returns whether that was anything.
    ///
    /// # Panics
    /// When the connection has ended.
    pub fn step(&mut self) -> bool {
        let mut moved = 0;
        if !self.bytes.is_empty() {
            let sent = now(self.stream.write(&self.bytes[self.sent..]));
            self.sent = (self.sent + sent) % self.bytes.len();
            moved += sent;
        }
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the server ended the connection of an attacker"),
            read => moved += now(read),
        }
        moved > 0
    }
}

/// How much was moved; 0: it would have waited.
fn now(moved: std::io::Result<usize>) -> usize {
    match moved {
        Ok(moved) => moved,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("the connection of an attacker: {error}"),
    }
}

/// All of them, each in its turn.
pub fn all(mut flooders: Vec<Flooder>) -> Step {
    Box::new(move || {
        let moved = flooders.iter_mut().filter_map(|flooder| flooder.step().then_some(()));
        moved.count() > 0
    })
}
