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

mod file;
mod masker;
mod recorder;
mod replay;
mod shape;
mod story;
mod visitors;
mod words;

use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use serde::{Deserialize, Serialize};

use crate::config::Sources;
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::protocol::actions::{Actions, Message};
use crate::protocol::keys::Keys;
use crate::service::caller::Caller;
use crate::service::{Input, ProcessStats, Service};
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};
use crate::webhooks::Outcome;

pub use self::recorder::{Payloads, Recorder, Recording};
pub use self::replay::{Ending, Replayed, replay, tell};

/// The version of the format. Version 1 has no line with the version, no ticks and no end; it can still be replayed.
const FORMAT: u32 = 2;

/// A line of a trace. Each input of the service has its arm in [`Stage::play`]. A new kind of input needs that arm and
/// a method of the recorder.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The version of the format: the first line.
    Trace(u32),
    /// The configuration in force from here on, as TOML, and whether it is the embedded defaults.
    Config(String, bool),
    /// The keys of the shadow's random numbers.
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
    /// The tick whose lines came before is over: its number, when it began, and how many microseconds it took. A tick
    /// without a line has no such line either.
    Tick(u64, Time, u64),
    /// The recording is over: the last line.
    End(End),
}

/// Why a recording is over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum End {
    /// The server ended.
    Server,
    /// The file reached its limit.
    Limit,
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
            Line::Trace(_) | Line::Out(_) | Line::Diverged(_) | Line::Tick(..) | Line::End(_) => {}
        }
        Ok(())
    }
}

fn configured(service: &mut Option<Service>) -> Result<&mut Service, Box<dyn Error>> {
    service.as_mut().ok_or_else(|| "no configuration before it".into())
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
