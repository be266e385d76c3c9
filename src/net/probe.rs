//! Finds out without waiting whether a MySQL server is there. It connects to each of the endpoints in turn, until a
//! server greets. It reads the greeting only, sends nothing, and closes the connection. Then the driver makes another
//! connection, which could block but now has no reason to.
//!
//! Rejected: the driver's own connect alone. Over a Unix socket it has no timeout. A server that was stopped never
//! greets, though its kernel accepts connections.

use std::time::Duration;

use super::dial::Line;
use super::io::{Io, MOST_OUTGOING, Socket};
use super::polled::Edges;
use crate::config::ListenAddr;
use crate::protocol::greeting::NoGreeting;
use crate::time::Time;

/// The number of the probe's connection among the outgoing ones: the last, which [`super::outgoing`] never counts up
/// to.
pub const NUMBER: usize = MOST_OUTGOING;

/// Bytes of a server's first packet that are read: the text of an error is shorter.
const GREETING: usize = 1024;

/// The protocol version in the greeting (MySQL internals, "Connection Phase"): all servers of this century send 10.
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
    /// The index of the endpoint that is being tried.
    at: usize,
    patience: Duration,
    call: Option<Call<S>>,
    /// Why each endpoint before it failed, and whether one of them took the connection.
    reasons: Vec<String>,
    taken: bool,
}

/// A connection to one endpoint, and the bytes that its server sent.
#[derive(Debug)]
struct Call<S> {
    line: Line<S>,
    received: Vec<u8>,
}

/// The state of a call.
enum Reply {
    Wait,
    Greeted,
    Failed(String),
}

impl<S: Socket> Probe<S> {
    /// Nothing is under way.
    pub fn new() -> Self {
        Self { run: None }
    }

    /// Whether a probe is under way: until `turn` has returned how it ended.
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Begins; each endpoint has `patience` to greet. A probe that is under way is given up.
    pub fn start(&mut self, endpoints: &[ListenAddr], patience: Duration, io: &mut impl Io<Socket = S>, now: Time) {
        // The old connection goes first: they share their number.
        self.run = None;
        let mut run = Run {
            endpoints: endpoints.to_vec(),
            at: 0,
            patience,
            call: None,
            reasons: Vec::new(),
            taken: false,
        };
        run.connect(io, now);
        self.run = Some(run);
    }

    /// Notes readiness. An edge of an earlier connection does no harm: reading a socket that is not ready finds
    /// nothing.
    pub fn note(&mut self, reported: Edges) {
        if let Some(call) = self.run.as_mut().and_then(|run| run.call.as_mut()) {
            call.line.socket.note(reported);
        }
    }

    /// Goes on as far as it can without waiting. When it has ended: the index of the endpoint that greeted, or why none
    /// greeted.
    pub fn turn(&mut self, io: &mut impl Io<Socket = S>, now: Time) -> Option<Result<usize, NoGreeting>> {
        let run = self.run.as_mut()?;
        while let Some(call) = &mut run.call {
            match call.check(now, run.patience) {
                Reply::Wait => return None,
                Reply::Greeted => {
                    let at = run.at;
                    self.run = None;
                    return Some(Ok(at));
                }
                Reply::Failed(why) => {
                    run.taken |= call.line.was_connected();
                    run.call = None;
                    run.give_up(why);
                    run.connect(io, now);
                }
            }
        }
        let missed = NoGreeting {
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
            Some(Run { call: None, .. }) => Time(0),
            Some(Run { call: Some(call), .. }) if call.line.is_ready() => Time(0),
            Some(Run { call: Some(call), .. }) => call.line.deadline,
        }
    }
}

impl<S: Socket> Default for Probe<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Socket> Run<S> {
    /// Connects to the endpoint that is next, or to one after it. Afterwards there is no call if none is left.
    fn connect(&mut self, io: &mut impl Io<Socket = S>, now: Time) {
        while let Some(endpoint) = self.endpoints.get(self.at) {
            match Line::dial(endpoint, NUMBER, io, now + self.patience) {
                Ok(line) => {
                    self.call = Some(Call {
                        line,
                        received: Vec::new(),
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

impl<S: Socket> Call<S> {
    fn check(&mut self, now: Time, patience: Duration) -> Reply {
        match self.read_greeting() {
            Reply::Wait if self.line.deadline <= now => Reply::Failed(match self.line.was_connected() {
                true => format!(
                    "it takes connections and does not greet within {} ms",
                    patience.as_millis()
                ),
                false => format!("no connection within {} ms", patience.as_millis()),
            }),
            other => other,
        }
    }

    fn read_greeting(&mut self) -> Reply {
        match self.line.is_connected() {
            Ok(true) => {}
            Ok(false) => return Reply::Wait,
            Err(error) => return Reply::Failed(error.to_string()),
        }
        let mut buffer = [0; GREETING];
        loop {
            let had = self.received.len();
            let ended = match self.line.socket.read(&mut buffer[had..]) {
                Ok(None) => return Reply::Wait,
                Ok(Some(n)) => {
                    self.received.extend_from_slice(&buffer[had..had + n]);
                    n == 0
                }
                Err(error) => return Reply::Failed(error.to_string()),
            };
            match judge(&self.received, ended) {
                Reply::Wait => {}
                other => return other,
            }
        }
    }
}

/// Judges the server's first packet: three bytes of length, one of sequence, then the packet. `ended`: no more comes.
fn judge(received: &[u8], ended: bool) -> Reply {
    let Some((head, packet)) = received.split_at_checked(4) else {
        return match ended {
            true => Reply::Failed("it closed the connection without a greeting".to_owned()),
            false => Reply::Wait,
        };
    };
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    let whole = packet.len() >= length || ended || received.len() >= GREETING;
    match packet.first() {
        // The whole greeting must come. A server that sends its greeting too slowly would also send its answers too
        // slowly, and the loop waits for answers.
        Some(&PROTOCOL | &ERROR) if !whole => Reply::Wait,
        Some(&PROTOCOL) if packet.len() < length && received.len() < GREETING => {
            Reply::Failed("it closed the connection in its greeting".to_owned())
        }
        Some(&PROTOCOL) => Reply::Greeted,
        Some(&ERROR) => Reply::Failed(refusal(&packet[..length.min(packet.len())])),
        None if !ended && length > 0 => Reply::Wait,
        _ => Reply::Failed("what answers is no MySQL server".to_owned()),
    }
}

/// An error packet: 0xff, two bytes of code, the text (with `#` and a state of five characters before it, if the server
/// has already learnt that the client understands it).
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
mod tests;
