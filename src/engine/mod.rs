//! The client of a cluster's engine, Redis or Valkey, without its socket: commands in, bytes out; bytes in, answers
//! out. It speaks RESP2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). The library has the codec,
//! and `outline` bounds it. It reads no clock. What is appended and why is decided in `cluster`; `server` has the
//! sockets.
//!
//! A connection begins with HELLO, which logs in and tells version and role. After that each answer belongs to the
//! oldest question that has none. An answer that no honest engine gives to that question ends the connection.
//!
//! Rejected: a client library. Those that do not block bring a runtime of their own.

mod answer;
mod broken;
mod outline;
mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::BytesMut;

use self::answer::{Answer, Question};
pub use self::broken::{Broken, Lie, Nonsense};
use self::outline::Outline;
use crate::protocol::engine::{Command, Fault, Line, Reply};
use crate::time::Time;

/// How long the engine may take to answer, apart from the wait that a command asks for.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Questions without an answer that one connection has at most.
const QUESTIONS: usize = 8;

/// Bytes that wait to be sent at most before no further command is taken.
const UNSENT: usize = 1024 * 1024;

/// How the client logs in, and where the log is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The user; empty: the engine's default user.
    pub user: String,
    /// The password; empty: none.
    pub password: String,
    /// The number of the database.
    pub database: u32,
    /// What the key of the log begins with.
    pub prefix: String,
}

/// Without the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("user", &self.user)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Something that came from the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The greeting is over: commands are taken. The engine's name and version.
    Open(Box<str>),
    /// The answer to the oldest command that had none.
    Reply(Result<Reply, Fault>),
}

/// One connection to the engine, apart from its socket.
pub struct Client {
    key: String,
    /// The bytes that are to be sent, and how many of them were.
    out: Vec<u8>,
    sent: usize,
    received: BytesMut,
    outline: Outline,
    /// The questions without an answer, the oldest first, each with the time until which the answer must be there.
    questions: VecDeque<(Question, Time)>,
    /// The greeting is not over: its answers, as far as they came.
    greeting: Option<Box<str>>,
    is_open: bool,
}

/// Without the bytes: the first of them have the password.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("key", &self.key)
            .field("questions", &self.questions)
            .field("is_open", &self.is_open)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A connection that was just made. The first bytes to send are there.
    pub fn new(line: Line, settings: &Settings, now: Time) -> Self {
        let mut client = Self {
            key: format!("{}log", settings.prefix),
            out: Vec::new(),
            sent: 0,
            received: BytesMut::new(),
            outline: Outline::default(),
            questions: VecDeque::new(),
            greeting: None,
            is_open: false,
        };
        let name = format!("jsocketd-{line}-{}", std::process::id());
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"2"];
        if !settings.password.is_empty() {
            let user = match settings.user.as_str() {
                "" => "default",
                user => user,
            };
            hello.extend([&b"AUTH"[..], user.as_bytes(), settings.password.as_bytes()]);
        }
        hello.extend([&b"SETNAME"[..], name.as_bytes()]);
        request::write(&hello, &mut client.out);
        client.questions.push_back((Question::Hello, now + PATIENCE));
        if settings.database != 0 {
            request::write(&[b"SELECT", settings.database.to_string().as_bytes()], &mut client.out);
            client.questions.push_back((Question::Select, now + PATIENCE));
        }
        client
    }

    /// Whether it can take a command now.
    pub fn is_free(&self) -> bool {
        self.is_open && self.questions.len() < QUESTIONS && self.unsent().len() < UNSENT
    }

    /// Takes a command.
    pub fn give(&mut self, command: &Command, now: Time) {
        debug_assert!(self.is_open, "commands wait until the greeting is over");
        let wait = match command {
            Command::Read { wait_ms, .. } => Duration::from_millis(u64::from(*wait_ms)),
            _ => Duration::ZERO,
        };
        request::write_command(command, &self.key, &mut self.out);
        self.questions.push_back((Question::of(command), now + wait + PATIENCE));
    }

    /// The bytes that are to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// So many of them were sent.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        debug_assert!(self.sent <= self.out.len(), "no more is sent than there was");
        if self.sent == self.out.len() {
            self.sent = 0;
            self.out.clear();
            // A large entry's room is given back.
            self.out.shrink_to(4096);
        }
    }

    /// Takes bytes of the engine. `heard` must be called until it returns `None` before the next bytes are taken.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// What came, one thing a call.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub fn heard(&mut self) -> Result<Option<Heard>, Broken> {
        loop {
            if self.received.is_empty() {
                return Ok(None);
            }
            if self.questions.is_empty() {
                return Err(Lie::Unasked.into());
            }
            let Some(length) = self.outline.end(&self.received)? else {
                return Ok(None);
            };
            let frame = self.received.split_to(length).freeze();
            if self.received.is_empty() {
                // The room of a large answer is given back with its last entry.
                self.received = BytesMut::new();
            }
            let Some((question, _)) = self.questions.pop_front() else {
                return Err(Lie::Unasked.into());
            };
            match question.answer(&frame, &self.key)? {
                Answer::Reply(reply) => return Ok(Some(Heard::Reply(reply))),
                Answer::Hello(engine) => self.greeting = Some(engine),
                Answer::Selected => {}
            }
            if self.questions.is_empty()
                && let Some(engine) = self.greeting.take()
            {
                self.is_open = true;
                return Ok(Some(Heard::Open(engine)));
            }
        }
    }

    /// Until when the next answer must be there.
    pub fn deadline(&self) -> Time {
        self.questions
            .iter()
            .map(|(_, until)| *until)
            .min()
            .unwrap_or(Time::NEVER)
    }

    /// Why the connection is to be given up if its deadline is over.
    pub fn late(&self, now: Time) -> Option<Broken> {
        let late = self.questions.iter().find(|(_, until)| *until <= now);
        late.map(|(question, _)| Broken::Late(question.name()))
    }

    /// Bytes of answers that are not complete.
    pub fn unfinished(&self) -> usize {
        self.received.len()
    }
}
