//! A client of the simulated network: it sends its bytes in pieces, reads when it likes, and compares the server's
//! answers with the plainest possible model of the server.

use crate::world::{Dice, World};

/// The content of a frame of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

impl Heard {
    fn words(&self) -> String {
        match self {
            Heard::Text(text) => format!("a text of {} bytes", text.len()),
            Heard::Binary(bytes) => format!("a binary message of {} bytes", bytes.len()),
            Heard::Ping(_) => "a ping".to_owned(),
            Heard::Pong(_) => "a pong".to_owned(),
            Heard::Close(code) => format!("a close with {code}"),
        }
    }
}

/// Encodes one masked client frame.
pub fn frame(fin: bool, opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

pub fn handshake(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// Takes the head of the answer and whole frames off the front of `bytes`.
pub fn parse(bytes: &[u8]) -> (Option<u16>, Vec<Heard>) {
    let mut transcript = Transcript::default();
    transcript.append(bytes);
    (transcript.status, transcript.heard)
}

/// The messages that a client has received so far.
#[derive(Default)]
pub struct Transcript {
    rest: Vec<u8>,
    pub status: Option<u16>,
    pub heard: Vec<Heard>,
}

impl Transcript {
    pub fn append(&mut self, bytes: &[u8]) {
        self.rest.extend(bytes);
        if self.status.is_none() {
            let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") else {
                return;
            };
            self.status = Some(std::str::from_utf8(&self.rest[9..12]).unwrap().parse().unwrap());
            self.rest.drain(..end + 4);
        }
        if self.status == Some(101) {
            let taken = frames(&self.rest, &mut self.heard);
            self.rest.drain(..taken);
        }
    }
}

/// Decodes whole frames and returns how many bytes they took.
fn frames(bytes: &[u8], heard: &mut Vec<Heard>) -> usize {
    let mut rest = bytes;
    while rest.len() >= 2 {
        assert_eq!(rest[1] & 0x80, 0, "a server frame is not masked");
        let (head, len) = match rest[1] {
            126 if rest.len() >= 4 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            127 if rest.len() >= 10 => (10, u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize),
            126 | 127 => break,
            n => (2, usize::from(n)),
        };
        if rest.len() < head + len {
            break;
        }
        let payload = rest[head..head + len].to_vec();
        heard.push(match rest[0] {
            0x81 => Heard::Text(payload),
            0x82 => Heard::Binary(payload),
            0x88 => Heard::Close(payload.get(..2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]))),
            0x89 => Heard::Ping(payload),
            0x8a => Heard::Pong(payload),
            other => panic!("an unexpected frame {other:#x}"),
        });
        rest = &rest[head + len..];
    }
    bytes.len() - rest.len()
}

/// How a client's story goes, apart from its messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// Sends all, reads all, closes with a close frame.
    Polite,
    /// Sends all, then ends its side without a close frame.
    Abrupt,
    /// Is reset after so many of its bytes.
    Reset(usize),
    /// Never reads.
    Deaf,
}

impl Fate {
    fn words(self) -> String {
        match self {
            Fate::Polite => "then it closes the WebSocket".to_owned(),
            Fate::Abrupt => "then it disconnects without a close".to_owned(),
            Fate::Reset(at) => format!("after {at} of them it resets the connection"),
            Fate::Deaf => "it never reads".to_owned(),
        }
    }
}

pub struct Client {
    pub n: usize,
    pub fate: Fate,
    /// Everything it will say.
    script: Vec<u8>,
    sent: usize,
    pub told: Transcript,
    /// The answers that must come, in order; without pings of the server and pongs.
    pub expected: Vec<Heard>,
    pub done: bool,
    answered_pings: usize,
    closing: bool,
}

impl Client {
    pub fn new(world: &mut World, fate: Fate) -> Self {
        let dice = &mut world.dice;
        let echo = dice.one_in(2);
        let mut script = handshake(if echo { "/echo" } else { "/" });
        let mut expected = Vec::new();
        for _ in 0..dice.below(12) {
            if echo {
                say_echo(dice, &mut script, &mut expected)
            } else {
                say_command(dice, &mut script, &mut expected)
            }
        }
        let fate = if let Fate::Reset(_) = fate {
            Fate::Reset(dice.below(script.len() + 1))
        } else {
            fate
        };
        let room = 16 + dice.below(4096);
        let n = world.connect(room);
        world.tell(|| {
            let (messages, bytes, end) = (expected.len(), script.len(), fate.words());
            let path = if echo { "/echo" } else { "/" };
            format!("client {n} will send {bytes} bytes: a handshake to {path}, messages: {messages}; {end}")
        });
        Self {
            n,
            fate,
            script,
            sent: 0,
            told: Transcript::default(),
            expected,
            done: false,
            answered_pings: 0,
            closing: false,
        }
    }

    /// Does one small thing.
    pub fn step(&mut self, world: &mut World) {
        if self.done {
            return;
        }
        if self.sent < self.script.len() {
            let most = self.script.len() - self.sent;
            let largest = if world.dice.one_in(2) { most.min(7) } else { most };
            let piece = 1 + world.dice.below(largest);
            let until = match self.fate {
                Fate::Reset(at) => at.min(self.sent + piece),
                _ => self.sent + piece,
            };
            world.send(self.n, &self.script[self.sent..until]);
            self.sent = until;
            if self.fate == Fate::Reset(until) {
                world.reset(self.n);
                self.done = true;
                return;
            }
        }
        if self.fate != Fate::Deaf && !world.dice.one_in(3) {
            let most = 1 + world.dice.below(8192);
            let more = world.receive(self.n, most);
            let (status, known) = (self.told.status, self.told.heard.len());
            self.told.append(&more);
            if !more.is_empty() {
                let status = self.told.status.filter(|_| status.is_none());
                let status = status.map(|status| format!("the status {status}"));
                let heard = self.told.heard[known..].iter().map(Heard::words);
                let all: Vec<String> = status.into_iter().chain(heard).collect();
                let end = if all.is_empty() { "" } else { ": " };
                world.tell(|| format!("client {} reads {} bytes{end}{}", self.n, more.len(), all.join(", ")));
            }
            self.react(world);
        }
    }

    fn react(&mut self, world: &mut World) {
        let heard = &self.told.heard;
        let pings: Vec<&Vec<u8>> = heard
            .iter()
            .filter_map(|h| {
                if let Heard::Ping(payload) = h {
                    Some(payload)
                } else {
                    None
                }
            })
            .collect();
        for ping in pings.iter().skip(self.answered_pings) {
            if self.sent == self.script.len() && !self.closing {
                world.send(self.n, &frame(true, 10, ping, [9, 9, 9, 9]));
                self.answered_pings += 1;
            }
        }
        let answers = answers(heard).count();
        let said_all = self.sent == self.script.len();
        if said_all && !self.closing && (answers >= self.expected.len() || self.fate == Fate::Abrupt) {
            self.closing = true;
            match self.fate {
                Fate::Polite => world.send(self.n, &frame(true, 8, &1000u16.to_be_bytes(), [1, 2, 3, 4])),
                _ => world.end(self.n),
            }
        }
        let pipe = &world.pipes[self.n];
        if pipe.server_ended && pipe.to_client.is_empty() {
            if !pipe.client_ended {
                world.end(self.n);
            }
            self.done = true;
        }
    }
}

/// The answers alone, without the messages that the server sent unasked.
pub fn answers(heard: &[Heard]) -> impl Iterator<Item = &Heard> {
    heard.iter().filter(|h| matches!(h, Heard::Text(_) | Heard::Binary(_)))
}

fn say_echo(dice: &mut Dice, script: &mut Vec<u8>, expected: &mut Vec<Heard>) {
    let size = match dice.below(8) {
        0 => 0,
        1 if dice.one_in(20) => 60_000 + dice.below(5_000),
        2 => 125 + dice.below(3),
        _ => dice.below(300),
    };
    let text = dice.one_in(2);
    let payload: Vec<u8> = (0..size)
        .map(|n| if text { b'a' + (n % 26) as u8 } else { n as u8 })
        .collect();
    let mut rest = &payload[..];
    let mut opcode = if text { 1 } else { 2 };
    while dice.one_in(3) {
        let (piece, others) = rest.split_at(dice.below(rest.len() + 1));
        script.extend(frame(false, opcode, piece, (dice.roll() as u32).to_be_bytes()));
        if dice.one_in(3) {
            script.extend(frame(true, 9, b"now?", [4, 3, 2, 1]));
        }
        rest = others;
        opcode = 0;
    }
    script.extend(frame(true, opcode, rest, (dice.roll() as u32).to_be_bytes()));
    expected.push(if text {
        Heard::Text(payload)
    } else {
        Heard::Binary(payload)
    });
}

fn say_command(dice: &mut Dice, script: &mut Vec<u8>, expected: &mut Vec<Heard>) {
    let (command, reply): (&[u8], &str) = match dice.below(5) {
        0 => (b"test", "This is a test!"),
        1 => (b"version", jsocketd::service::console::VERSION),
        2 => (b"ping", "pong"),
        3 => (b"nonsense", "Command not found\n"),
        _ => (b"", "Empty command. Try help.\n"),
    };
    script.extend(frame(true, 1, command, (dice.roll() as u32).to_be_bytes()));
    expected.push(Heard::Text(reply.as_bytes().to_vec()));
}
