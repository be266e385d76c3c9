//! Traces: every input of the service and the shape of the actions that followed, a JSON object a line, and their replay
//! through the same code. A trace is made to be shown to others, so an input is masked before it reaches the file.
//!
//! Masking changes what the service says. So a recorder has a service of its own, the shadow: it hears the masked inputs, and
//! its actions are the recorded ones. A replay of the file is then exact by construction, and differs only when the code
//! does. Where the shadow does something else than the server did, a line says so. Recording the real actions was the loser:
//! a replay of masked frames and signatures can only be of another story.

mod json;
mod masker;
mod shape;
mod tokens;
mod visitors;

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use log::LevelFilter;
use serde::{Deserialize, Serialize};

use self::masker::{Masker, Speaker};
use self::shape::{greeting, kinds, shapes};
use self::tokens::mask;
use crate::config::{Config, Secrets, Sources};
use crate::hub::gate;
use crate::id::ConnectionId;
use crate::joomla::site::Site;
use crate::protocol::actions::Actions;
use crate::protocol::keys::Keys;
use crate::service::caller::Caller;
use crate::service::{Input, ProcessStats, Seed, Service};
use crate::store::{Answer, Failure, Question};
use crate::time::Now;
use crate::webhooks::Outcome;

/// A line of a trace. Each that tells the service something has its arm in [`Stage::play`], and that is all that an input of
/// a new kind needs besides the recorder's method.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The configuration in force from here on, as TOML, and whether it is the embedded defaults.
    Config(String, bool),
    /// What the shadow's randomness begins with: the first line.
    Keys(Keys),
    /// Draining began.
    Drain,
    /// What was due was done.
    Due(Now),
    /// An input: when, whose, what.
    In(Now, u64, Masked),
    /// What is known of the site from here on.
    Site(Now, Box<Site>),
    /// The question that the service asked of the database, and what it said.
    Answered(Now, Question, Result<Answer, Failure>),
    /// How a post went: its status or why there is none.
    Posted(Now, u64, Result<u16, String>),
    /// The shadow's actions that followed.
    Out(Vec<String>),
    /// What the server did in that place was something else than what the shadow did: this.
    Diverged(Vec<String>),
}

/// An input without what is nobody else's business.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Masked {
    Opened(Caller),
    Request(Caller, Head),
    Handshake(Caller, Head),
    Text(String),
    Binary(usize),
    Flushed,
    Facts(Box<ProcessStats>),
    Closed,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Content,
}

/// A body.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(untagged)]
enum Content {
    Text(String),
    /// So many bytes that are no UTF-8.
    Opaque(usize),
}

impl Content {
    fn masked(body: &Bytes) -> Self {
        match str::from_utf8(body) {
            Ok(text) => Content::Text(mask(text)),
            Err(_) => Content::Opaque(body.len()),
        }
    }

    fn bytes(&self) -> Bytes {
        match self {
            Content::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            // No byte of UTF-8 is this one.
            Content::Opaque(len) => vec![0xff; *len].into(),
        }
    }
}

/// A Pusher connection as the recorder knows it.
#[derive(Debug)]
struct Talk {
    /// The number of the shadow's app.
    app: usize,
    /// The socket ids that the server and the shadow gave.
    real: String,
    shadow: String,
}

/// Writes a trace.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
    masker: Masker,
    shadow: Stage,
    talks: HashMap<ConnectionId, Talk>,
    /// Who is at the door of which app: the actions will tell whether it was let in.
    entering: Option<(ConnectionId, usize)>,
    failed: bool,
}

impl Recorder {
    /// A new trace of a service that obeys `config`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, config: &Config, seed: Seed) -> io::Result<Self> {
        // What is masked is little, but what is left says who came when: it is for the eyes of who asked for it.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let mut recorder = Self {
            file: BufWriter::new(file),
            masker: Masker::default(),
            shadow: Stage::default(),
            talks: HashMap::new(),
            entering: None,
            failed: false,
        };
        recorder.tell(Line::Keys(Keys::for_trace(&seed)));
        recorder.reconfigured(config);
        Ok(recorder)
    }

    /// Another configuration is in force.
    pub fn reconfigured(&mut self, config: &Config) {
        let masked = self.masker.configure(config);
        self.tell(Line::Config(masked.to_toml(Secrets::Shown), config.embedded_defaults));
    }

    /// Draining began.
    pub fn drained(&mut self) {
        self.tell(Line::Drain);
    }

    /// What is due is about to be done.
    pub fn due(&mut self, now: Now) {
        self.tell(Line::Due(now));
    }

    /// An input, before the service sees it.
    pub fn input(&mut self, id: ConnectionId, input: &Input, now: Now) {
        let Some(service) = &self.shadow.service else { return };
        let apps = service.apps();
        let masked = match input {
            Input::Opened(caller) => Masked::Opened(*caller),
            Input::Request(caller, request) => Masked::Request(*caller, self.masker.head(request, apps)),
            Input::Handshake(caller, request) => {
                let key = gate::key(request.uri().path(), self.masker.pusher());
                self.entering = key.and_then(|key| apps.find_key(key)).map(|app| (id, app));
                Masked::Handshake(*caller, self.masker.head(request, apps))
            }
            Input::Text(text) => Masked::Text(match self.talks.get(&id) {
                None => self.masker.plain(text),
                Some(talk) => {
                    let app = &apps.app(talk.app).settings;
                    let (real, shadow) = (&talk.real, &talk.shadow);
                    self.masker.frame(text, Speaker { app, real, shadow })
                }
            }),
            Input::Binary(bytes) => Masked::Binary(bytes.len()),
            Input::Facts(facts) => Masked::Facts(facts.clone()),
            Input::Flushed => Masked::Flushed,
            Input::Closed => {
                if let Some(talk) = self.talks.remove(&id) {
                    self.masker.left(&talk.real);
                }
                Masked::Closed
            }
        };
        self.tell(Line::In(now, id.raw(), masked));
    }

    /// How a post went, before the service is told.
    pub fn posted(&mut self, ticket: u64, result: Result<u16, &str>, now: Now) {
        self.tell(Line::Posted(now, ticket, result.map_err(mask)));
    }

    /// Something new is known of the site.
    pub fn known(&mut self, site: &Site, now: Now) {
        let masked = self.masker.site(site);
        self.tell(Line::Site(now, Box::new(masked)));
    }

    /// What the database said, before the service hears it.
    pub fn answered(&mut self, question: &Question, answer: &Result<Answer, Failure>, now: Now) {
        let (question, answer) = (self.masker.question(question), self.masker.answer(answer));
        self.tell(Line::Answered(now, question, answer));
    }

    /// What followed.
    pub fn actions(&mut self, actions: &Actions) {
        if self.failed {
            return;
        }
        if let Some((id, app)) = self.entering.take()
            && let Some(real) = greeting(actions, id)
        {
            let shadow = greeting(&self.shadow.actions, id).unwrap_or_default();
            self.masker.greeted(&real, &shadow);
            self.talks.insert(id, Talk { app, real, shadow });
        }
        self.write(&Line::Out(shapes(&self.shadow.actions)));
        let real = kinds(actions, &self.talks);
        if real != kinds(&self.shadow.actions, &self.talks) {
            self.write(&Line::Diverged(real));
        }
    }

    /// Writes a line and lets the shadow hear it.
    fn tell(&mut self, line: Line) {
        self.write(&line);
        if self.failed {
            return;
        }
        let told = {
            let _hush = Hush::new();
            self.shadow.play(line)
        };
        if let Err(error) = told {
            log::error!("the recording stops here: {error}");
            self.failed = true;
        }
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
}

/// No log lines as long as it lives: what the shadow warns of, the server has warned of.
struct Hush(LevelFilter);

impl Hush {
    fn new() -> Self {
        let level = log::max_level();
        log::set_max_level(LevelFilter::Off);
        Self(level)
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        log::set_max_level(self.0);
    }
}

/// A service that hears the lines of a trace: the recorder's shadow, and a replay.
#[derive(Debug, Default)]
struct Stage {
    keys: Keys,
    service: Option<Service>,
    /// What the service did last.
    actions: Actions,
}

impl Stage {
    fn play(&mut self, line: Line) -> Result<(), Box<dyn Display>> {
        let done = self.actions.take();
        self.actions.reuse(done);
        let Self { keys, service, actions } = self;
        match line {
            Line::Keys(recorded) => *keys = recorded,
            Line::Config(toml, embedded_defaults) => {
                let mut config = Sources::parse(Path::new("trace"), &toml).map_err(fault)?;
                config.embedded_defaults = embedded_defaults;
                match service {
                    Some(service) => service.reconfigure(config, actions),
                    None => *service = Some(Service::with(config, keys.clone())),
                }
            }
            Line::Due(now) => configured(service)?.due(now, actions),
            Line::Drain => configured(service)?.drain(),
            Line::In(now, id, masked) => {
                let id = ConnectionId::from_raw(id).ok_or_else(|| fault("no connection has this id"))?;
                configured(service)?.input(id, masked.into_input().map_err(fault)?, now, actions);
            }
            Line::Posted(now, ticket, result) => {
                let outcome = Outcome::of(result.as_ref().map(|status| *status).map_err(String::as_str));
                configured(service)?.posted(ticket, outcome, now);
            }
            Line::Site(now, site) => configured(service)?.set_site(*site, now, actions),
            Line::Answered(now, question, answer) => {
                let service = configured(service)?;
                // The service asks of itself. Where masking made it ask something else, the recorded question stands in.
                let own = service.question(now);
                let question = own.filter(|own| *own == question).unwrap_or(question);
                service.answer(&question, answer, now, actions);
            }
            Line::Out(_) | Line::Diverged(_) => {}
        }
        Ok(())
    }
}

fn configured(service: &mut Option<Service>) -> Result<&mut Service, Box<dyn Display>> {
    service.as_mut().ok_or_else(|| fault("no configuration before it"))
}

fn fault(why: impl Display + 'static) -> Box<dyn Display> {
    Box::new(why)
}

/// What a replay found.
#[derive(Debug, PartialEq)]
pub enum Replayed {
    /// Every input led to the recorded actions.
    Same {
        /// How many there were.
        inputs: usize,
        /// How often the server had done something else, because masking changed what it was told.
        diverged: usize,
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
    let bad = |line: usize, why: &dyn Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}:{line}: {why}", path.display()))
    };
    let mut stage = Stage::default();
    let (mut inputs, mut diverged) = (0, 0);
    for (n, text) in BufReader::new(File::open(path)?).lines().enumerate() {
        let number = n + 1;
        let line = serde_json::from_str(&text?).map_err(|error| bad(number, &error))?;
        match line {
            Line::Out(recorded) => {
                let now = shapes(&stage.actions);
                if now != recorded {
                    return Ok(Replayed::Different {
                        line: number,
                        recorded,
                        now,
                    });
                }
                continue;
            }
            Line::Diverged(_) => diverged += 1,
            Line::In(..) | Line::Posted(..) | Line::Answered(..) => inputs += 1,
            Line::Site(..) | Line::Config(..) | Line::Keys(_) | Line::Drain | Line::Due(_) => {}
        }
        stage.play(line).map_err(|why| bad(number, &*why))?;
    }
    Ok(Replayed::Same { inputs, diverged })
}

impl Masked {
    fn into_input(self) -> Result<Input, http::Error> {
        Ok(match self {
            Masked::Opened(caller) => Input::Opened(caller),
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
            .body(self.body.bytes())?;
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
