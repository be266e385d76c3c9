//! Traces: every input of the service and the shape of the actions that followed, one JSON object a line, and their
//! replay through the same code. A trace is meant to be shown to other people, so an input is masked before it is
//! written to the file.
//!
//! Masking changes the answers of the service. So a recorder has a service of its own, the shadow. The shadow gets the
//! masked inputs, and its actions are the recorded ones. A replay of the file is exact by construction: it differs only
//! when the code differs. A line of its own records each place where the shadow acted differently from the server.
//!
//! Rejected: recording the server's own actions in a form that masking does not change. Then every decision that
//! depends on a secret must be recorded and forced on replay: signatures by either of two secrets, form tokens, second
//! factors in session texts, the admin token. That takes a hook in each module that decides, and one forgotten case
//! makes the replay of an unchanged server fail.

mod masker;
mod shape;
mod visitors;
mod words;

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use log::LevelFilter;
use serde::{Deserialize, Serialize};

use self::masker::Masker;
use self::shape::{kinds, shapes};
use self::words::mask;
use crate::config::{Config, Sources};
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::protocol::actions::{Actions, Message};
use crate::protocol::keys::Keys;
use crate::service::caller::Caller;
use crate::service::{Input, ProcessStats, Seed, Service};
use crate::store::{Answer, Failure, Question};
use crate::time::Now;
use crate::webhooks::Outcome;

/// A line of a trace. Each input of the service has its arm in [`Stage::play`]. A new kind of input needs that arm and
/// a method of the recorder.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The configuration in force from here on, as TOML, and whether it is the embedded defaults.
    Config(String, bool),
    /// The keys of the shadow's random numbers: the first line.
    Keys(Keys),
    /// Draining began.
    Drain,
    /// The service did what was due.
    Due(Now),
    /// An input: its time, its connection, its masked contents.
    In(Now, u64, Masked),
    /// The site's settings from here on.
    Site(Now, Box<SiteConfig>),
    /// A question of the service to the database, and the answer.
    Answered(Now, Question, Result<Answer, Failure>),
    /// The outcome of a post: its status, or why there is none.
    Posted(Now, u64, Result<u16, String>),
    /// The actions of the shadow that followed.
    Out(Vec<String>),
    /// The actions of the server in this place, if they differ from the shadow's.
    Diverged(Vec<String>),
}

/// A masked input.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Masked {
    Opened(Caller),
    Request(Caller, Head),
    Handshake(Caller, Head),
    Text(String),
    Binary(usize),
    Flushed,
    /// Its name in a trace is older than its name here.
    #[serde(rename = "facts")]
    ProcessStats(Box<ProcessStats>),
    Closed,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Whether a trace has the texts of people, or only their lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payloads {
    /// Every payload becomes `x` of the same length.
    #[default]
    Masked,
    /// Messages, the data of events and of rows stay.
    Plain,
}

/// A trace to be written.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The file. It is overwritten.
    pub path: PathBuf,
    /// How much of payloads it has.
    pub payloads: Payloads,
}

/// Writes a trace.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
    masker: Masker,
    shadow: Stage,
    failed: bool,
}

impl Recorder {
    /// A new trace of a service with this configuration. The file is readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(recording: &Recording, config: &Config, seed: Seed) -> io::Result<Self> {
        // The parts that are not masked still show the times and addresses of visitors.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&recording.path)?;
        let mut recorder = Self {
            file: BufWriter::new(file),
            masker: Masker::default(),
            shadow: Stage::default(),
            failed: false,
        };
        recorder.masker.words.payloads = recording.payloads;
        recorder.record(Line::Keys(Keys::for_trace(&seed)));
        recorder.reconfigured(config);
        Ok(recorder)
    }

    /// Another configuration is in force.
    pub fn reconfigured(&mut self, config: &Config) {
        let masked = self.masker.configure(config);
        self.record(Line::Config(masked, config.embedded_defaults));
    }

    /// Draining began.
    pub fn drained(&mut self) {
        self.record(Line::Drain);
    }

    /// The service is about to do what is due.
    pub fn due(&mut self, now: Now) {
        self.record(Line::Due(now));
    }

    /// An input, before the service sees it.
    pub fn input(&mut self, id: ConnectionId, input: &Input, now: Now) {
        let Some(service) = &self.shadow.service else { return };
        let masked = self.masker.input(id, input, service.apps());
        self.record(Line::In(now, id.raw(), masked));
    }

    /// The outcome of a post, before the service gets it.
    pub fn posted(&mut self, ticket: u64, result: Result<u16, &str>, now: Now) {
        self.record(Line::Posted(now, ticket, result.map_err(mask)));
    }

    /// The site was read for the first time, or has changed.
    pub fn known(&mut self, site: &SiteConfig, now: Now) {
        self.masker.cookies = site.cookies.iter().map(|(_, name)| name.clone()).collect();
        self.record(Line::Site(now, Box::new(visitors::site(site))));
    }

    /// The answer of the database, before the service gets it.
    pub fn answered(&mut self, question: &Question, answer: &Result<Answer, Failure>, now: Now) {
        let words = &mut self.masker.words;
        let (question, answer) = (visitors::question(question, words), visitors::answer(answer, words));
        self.record(Line::Answered(now, question, answer));
    }

    /// The actions that followed.
    pub fn actions(&mut self, actions: &Actions) {
        if self.failed {
            return;
        }
        self.masker.followed(actions, &self.shadow.actions);
        self.write(&Line::Out(shapes(&self.shadow.actions)));
        let real = kinds(actions, &self.masker.talks);
        if real != kinds(&self.shadow.actions, &self.masker.talks) {
            self.write(&Line::Diverged(real));
        }
    }

    /// Writes a line and gives it to the shadow.
    fn record(&mut self, line: Line) {
        self.write(&line);
        if self.failed {
            return;
        }
        // The server has logged already what the shadow would log.
        let level = log::max_level();
        log::set_max_level(LevelFilter::Off);
        let played = self.shadow.play(line);
        log::set_max_level(level);
        if let Err(error) = played {
            log::error!("the recording stops here: {error}");
            self.failed = true;
        }
    }

    /// When the disk is full, the recording ends and the server goes on.
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

/// A service that gets its inputs from the lines of a trace: the recorder's shadow, and a replay.
#[derive(Debug, Default)]
struct Stage {
    keys: Keys,
    service: Option<Service>,
    /// The actions that followed the latest line.
    actions: Actions,
}

impl Stage {
    fn play(&mut self, line: Line) -> Result<(), Box<dyn Error>> {
        let done = self.actions.take();
        self.actions.reuse(done);
        let Self { keys, service, actions } = self;
        match line {
            Line::Keys(recorded) => *keys = recorded,
            Line::Config(toml, embedded_defaults) => {
                let mut config = Sources::parse(Path::new("trace"), &toml)?;
                config.embedded_defaults = embedded_defaults;
                match service {
                    Some(service) => service.reconfigure(config, actions),
                    None => *service = Some(Service::with(config, keys.clone())),
                }
            }
            Line::Due(now) => configured(service)?.due(now, actions),
            Line::Drain => configured(service)?.drain(),
            Line::In(now, id, masked) => {
                let id = ConnectionId::from_raw(id).ok_or("no connection has this id")?;
                configured(service)?.input(id, masked.into_input()?, now, actions);
            }
            Line::Posted(now, ticket, result) => {
                let outcome = Outcome::of(result.as_ref().map(|status| *status).map_err(String::as_str));
                configured(service)?.posted(ticket, outcome, now);
            }
            Line::Site(now, site) => configured(service)?.set_site(*site, now, actions),
            Line::Answered(now, question, answer) => {
                let service = configured(service)?;
                // If masking made the service ask another question, the recorded question is used instead.
                let own = service.question(now);
                let question = own.filter(|own| *own == question).unwrap_or(question);
                service.answer(&question, answer, now, actions);
            }
            Line::Out(_) | Line::Diverged(_) => {}
        }
        Ok(())
    }
}

fn configured(service: &mut Option<Service>) -> Result<&mut Service, Box<dyn Error>> {
    service.as_mut().ok_or_else(|| "no configuration before it".into())
}

/// The outcome of a replay.
#[derive(Debug, PartialEq)]
pub enum Replayed {
    /// Every input led to the recorded actions.
    Same {
        /// The number of inputs.
        inputs: usize,
        /// How often masking had made the shadow act differently from the server.
        diverged: usize,
    },
    /// An input led to other actions than this line of the file says.
    Different {
        /// From 1.
        line: usize,
        /// The actions in the file.
        recorded: Vec<String>,
        /// The actions of the replay.
        now: Vec<String>,
    },
}

/// Runs a trace through the service and compares the actions.
///
/// # Errors
/// When the file cannot be read or is no trace. The message names the line.
pub fn replay(path: &Path) -> io::Result<Replayed> {
    let bad = |line: usize, why: &dyn Error| {
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
            Masked::Text(text) => Input::Message(Message::Text(text.into())),
            Masked::Binary(len) => Input::Message(Message::Binary(vec![0; len].into())),
            Masked::ProcessStats(facts) => Input::ProcessStats(facts),
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
            .body(self.body.into())?;
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
