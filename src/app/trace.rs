//! Traces: every input of the service and the shape of the actions that followed, a JSON object a line, and their replay
//! through the same code. A trace is made to be shown to others: cookies, credentials and payloads are masked before they
//! reach the file. Letters become `x` and digits `0`, so lengths and structure stay; console commands stay as they are,
//! because they are ours and say nothing of anybody; the right admin token becomes the masked one that the recorded
//! configuration has, so that it still opens what it opened.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::actions::{Action, Actions, Message};
use super::caller::{self, Caller};
use super::console;
use super::service::{Facts, Input, Seed, Service};
use super::webhooks::Outcome;
use crate::config::{Config, Secrets, Sources};
use crate::id::ConnectionId;
use crate::time::Now;

/// What stands in a trace where the admin token was.
const MASKED: &str = "a-masked-admin-token";

/// A line of a trace.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The configuration in force from here on, as TOML, and whether it is the embedded defaults.
    Config(String, bool),
    /// What the service's randomness began with: the first line.
    Seed(Seed),
    /// Draining began.
    Drain,
    /// What was due was done.
    Due(Now),
    /// An input: when, whose, what.
    In(Now, u64, Masked),
    /// How a post went: its status or why there is none.
    Posted(Now, u64, Result<u16, String>),
    /// The actions that followed the input before.
    Out(Vec<String>),
}

/// An input without what is nobody else's business.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Masked {
    Request(Caller, Head),
    Handshake(Caller, Head),
    Text(String),
    Binary(usize),
    Flushed,
    Facts(Box<Facts>),
    Closed,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Writes a trace.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
    token: String,
    failed: bool,
}

impl Recorder {
    /// A new trace of a service that obeys `config`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, config: &Config, seed: Seed) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        let mut recorder = Self {
            file,
            token: String::new(),
            failed: false,
        };
        recorder.write(&Line::Seed(seed));
        recorder.reconfigured(config);
        Ok(recorder)
    }

    /// Another configuration is in force.
    pub fn reconfigured(&mut self, config: &Config) {
        self.token.clone_from(&config.server.admin_token);
        let mut masked = config.clone();
        if !self.token.is_empty() {
            MASKED.clone_into(&mut masked.server.admin_token);
        }
        self.write(&Line::Config(masked.to_toml(Secrets::Shown), config.embedded_defaults));
    }

    /// Draining began.
    pub fn drained(&mut self) {
        self.write(&Line::Drain);
    }

    /// What is due is about to be done.
    pub fn due(&mut self, now: Now) {
        self.write(&Line::Due(now));
    }

    /// An input, before the service sees it.
    pub fn input(&mut self, id: ConnectionId, input: &Input, now: Now) {
        let masked = match input {
            Input::Request(caller, request) => Masked::Request(*caller, self.head(request)),
            Input::Handshake(caller, request) => Masked::Handshake(*caller, self.head(request)),
            Input::Text(text) => Masked::Text(self.command(text)),
            Input::Binary(bytes) => Masked::Binary(bytes.len()),
            Input::Facts(facts) => Masked::Facts(facts.clone()),
            Input::Flushed => Masked::Flushed,
            Input::Closed => Masked::Closed,
        };
        self.write(&Line::In(now, id.raw(), masked));
    }

    /// How a post went, before the service is told.
    pub fn posted(&mut self, ticket: u64, result: Result<u16, &str>, now: Now) {
        self.write(&Line::Posted(now, ticket, result.map_err(mask)));
    }

    /// What followed.
    pub fn actions(&mut self, actions: &Actions) {
        self.write(&Line::Out(shapes(actions)));
    }

    /// A trace is a help, not a duty: when the disk is full, the server goes on without it.
    fn write(&mut self, line: &Line) {
        if self.failed {
            return;
        }
        let written = serde_json::to_writer(&mut self.file, line).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| self.file.write_all(b"\n")) {
            log::error!("the recording stops here: {error}");
            self.failed = true;
        }
    }

    /// A text with its words masked, unless it is a command of the console.
    fn command(&self, text: &str) -> String {
        match text.trim().split_once(char::is_whitespace) {
            Some(("token", given)) if caller::is_token(given.trim(), &self.token) => format!("token {MASKED}"),
            Some(("token", _)) => "token x".to_owned(),
            _ if console::is_command(text.trim()) => text.to_owned(),
            _ => mask(text),
        }
    }

    fn head(&self, request: &Request<Bytes>) -> Head {
        let target = match request.uri().path_and_query().and_then(|both| both.query()) {
            Some(query) => format!("{}?{}", request.uri().path(), mask(query)),
            None => request.uri().path().to_owned(),
        };
        let opens = caller::has_token(request.headers(), &self.token);
        let headers = request.headers().iter().map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let text = match *name {
                header::AUTHORIZATION if opens => format!("Bearer {MASKED}"),
                header::AUTHORIZATION | header::COOKIE | header::PROXY_AUTHORIZATION => mask(&text),
                _ => text,
            };
            (name.to_string(), text)
        });
        let body = mask(&String::from_utf8_lossy(request.body()));
        Head {
            method: request.method().to_string(),
            target,
            headers: headers.collect(),
            body,
        }
    }
}

/// What a replay found.
#[derive(Debug, PartialEq)]
pub enum Replayed {
    /// Every input led to the recorded actions.
    Same {
        /// How many there were.
        inputs: usize,
    },
    /// This line of the file did not.
    Different {
        /// From 1.
        line: usize,
        /// What the file says.
        recorded: Vec<String>,
        /// What came out now.
        now: Vec<String>,
    },
}

/// Runs a trace through the service and compares the actions.
///
/// # Errors
/// When the file cannot be read or is no trace; the line is named.
pub fn replay(path: &Path) -> io::Result<Replayed> {
    let bad = |line: usize, why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}:{line}: {why}", path.display()))
    };
    let mut service: Option<Service> = None;
    let mut actions = Actions::default();
    let (mut inputs, mut seed) = (0, Seed::default());
    for (n, text) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = n + 1;
        match serde_json::from_str(&text?).map_err(|error| bad(line, &error))? {
            Line::Config(toml, embedded_defaults) => {
                let mut config = Sources::parse(path, &toml).map_err(|error| bad(line, &error))?;
                config.embedded_defaults = embedded_defaults;
                match &mut service {
                    Some(service) => {
                        clear(&mut actions);
                        service.reconfigure(config, &mut actions);
                    }
                    None => service = Some(Service::new(config, seed)),
                }
            }
            Line::Seed(recorded) => seed = recorded,
            Line::Due(now) => {
                clear(&mut actions);
                service
                    .as_mut()
                    .ok_or_else(|| bad(line, &"no configuration before it"))?
                    .due(now, &mut actions);
            }
            Line::Drain => service
                .as_mut()
                .ok_or_else(|| bad(line, &"no configuration before it"))?
                .drain(),
            Line::Posted(now, ticket, result) => {
                inputs += 1;
                let outcome = Outcome::of(result.as_ref().map(|status| *status).map_err(String::as_str));
                service
                    .as_mut()
                    .ok_or_else(|| bad(line, &"no configuration before it"))?
                    .posted(ticket, outcome, now);
            }
            Line::In(now, id, masked) => {
                let service = service
                    .as_mut()
                    .ok_or_else(|| bad(line, &"no configuration before it"))?;
                let id = ConnectionId::from_raw(id).ok_or_else(|| bad(line, &"no connection has this id"))?;
                let input = masked.into_input().map_err(|error| bad(line, &error))?;
                inputs += 1;
                clear(&mut actions);
                service.input(id, input, now, &mut actions);
            }
            Line::Out(recorded) => {
                let now = shapes(&actions);
                if now != recorded {
                    return Ok(Replayed::Different { line, recorded, now });
                }
            }
        }
    }
    Ok(Replayed::Same { inputs })
}

fn clear(actions: &mut Actions) {
    let done = actions.take();
    actions.reuse(done);
}

impl Masked {
    fn into_input(self) -> Result<Input, http::Error> {
        Ok(match self {
            Masked::Request(caller, head) => Input::Request(caller, head.into_request()?),
            Masked::Handshake(caller, head) => Input::Handshake(caller, head.into_request()?),
            Masked::Text(text) => Input::Text(text.into()),
            Masked::Binary(len) => Input::Binary(vec![0; len].into()),
            Masked::Facts(facts) => Input::Facts(facts),
            Masked::Flushed => Input::Flushed,
            Masked::Closed => Input::Closed,
        })
    }
}

impl Head {
    fn into_request(self) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(self.target)
            .body(Bytes::from(self.body))?;
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_bytes(value.as_bytes())?,
            );
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn shapes(actions: &Actions) -> Vec<String> {
    actions.list().iter().map(|action| shape(action, actions)).collect()
}

/// An action in a word, a length and a fingerprint of its masked text: enough to see a change, too little to read a
/// message.
fn shape(action: &Action, actions: &Actions) -> String {
    match action {
        Action::Respond(to, response) => {
            let headers: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
            format!(
                "{to} respond {} {} {}",
                response.status().as_u16(),
                headers.join(","),
                print(response.body())
            )
        }
        Action::Accept(to, dialect) => format!("{to} accept {dialect:?}"),
        Action::Fanout(to, text) => {
            format!("{:?} fanout {}", actions.recipients(to.clone()), print(text.as_bytes()))
        }
        Action::WhenFlushed(to) => format!("{to} when flushed"),
        Action::Post(post) => format!("post {} {}", post.ticket, print(&post.body)),
        Action::Send(to, Message::Text(text)) => format!("{to} text {}", print(text.as_bytes())),
        Action::Send(to, Message::Binary(bytes)) => format!("{to} binary {}", bytes.len()),
        Action::Close(to, code, reason) => format!("{to} close {code} {reason}"),
        Action::Gather(to) => format!("{to} gather"),
    }
}

fn print(text: &[u8]) -> String {
    let digest = Sha256::digest(mask(&String::from_utf8_lossy(text)));
    format!("{} {}", text.len(), data_encoding::HEXLOWER.encode(&digest[..8]))
}

/// ASCII letters become `x`, digits `0`, everything beyond ASCII `x`s of the same length; the rest stays.
fn mask(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut masked, c| {
        match c {
            'a'..='z' | 'A'..='Z' => masked.push('x'),
            '0'..='9' => masked.push('0'),
            c if c.is_ascii() => masked.push(c),
            c => masked.extend(std::iter::repeat_n('x', c.len_utf8())),
        }
        masked
    })
}
