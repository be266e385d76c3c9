//! Writes a trace while the server runs: masks each input, gives it to the shadow, and writes both the input and the
//! shadow's actions into the file.

use std::io;
use std::path::{Path, PathBuf};

use log::LevelFilter;

use super::file::TraceFile;
use super::masker::Masker;
use super::shape::{kinds, shapes};
use super::words::mask;
use super::{End, FORMAT, Line, Stage, visitors};
use crate::config::Config;
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::protocol::actions::Actions;
use crate::protocol::keys::Keys;
use crate::service::{Input, Seed};
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

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
    /// The file. If it exists, the trace is written to the same name with `.1`, `.2` and so on behind it.
    pub path: PathBuf,
    /// How much of payloads it has.
    pub payloads: Payloads,
    /// The most bytes of the file. The recording stops before it would exceed them.
    pub limit: u64,
}

/// Writes a trace.
#[derive(Debug)]
pub struct Recorder {
    file: TraceFile,
    masker: Masker,
    shadow: Stage,
    /// How many ticks are over.
    ticks: u64,
}

impl Recorder {
    /// A new trace of a service with this configuration. The file is readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be made, or the configuration has an engine.
    pub fn create(recording: &Recording, config: &Config, seed: Seed) -> io::Result<Self> {
        if config.engine.place().is_some() {
            let why = "a trace cannot hold what other processes do: leave out `--record`, or `url` in [engine]";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let mut recorder = Self {
            file: TraceFile::create(&recording.path, recording.limit)?,
            masker: Masker::default(),
            shadow: Stage::default(),
            ticks: 0,
        };
        recorder.masker.words.payloads = recording.payloads;
        recorder.record(Line::Trace(FORMAT));
        recorder.record(Line::Keys(Keys::for_trace(&seed)));
        recorder.reconfigured(config);
        recorder.file.flush();
        Ok(recorder)
    }

    /// Where the trace is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether the recording is over: nothing is written any more.
    pub fn is_over(&self) -> bool {
        self.file.is_closed()
    }

    /// The tick that began at `began` ended at `ended`. Its lines are in the file from here on.
    pub fn ticked(&mut self, began: Time, ended: Time) {
        self.ticks += 1;
        if self.file.has_unwritten() {
            let took = u64::try_from(ended.since(began).as_micros()).unwrap_or(u64::MAX);
            self.file.append(&Line::Tick(self.ticks, began, took));
            self.file.flush();
        }
    }

    /// The work between two ticks is done. Its lines are in the file from here on.
    pub fn flush(&mut self) {
        self.file.flush();
    }

    /// The server ends.
    pub fn finish(&mut self) {
        self.file.end(End::Server);
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
        if self.is_over() {
            return;
        }
        self.masker.followed(actions, &self.shadow.actions);
        self.file.append(&Line::Out(shapes(&self.shadow.actions)));
        let real = kinds(actions, &self.masker.talks);
        if real != kinds(&self.shadow.actions, &self.masker.talks) {
            self.file.append(&Line::Diverged(real));
        }
    }

    /// Writes a line and gives it to the shadow.
    fn record(&mut self, line: Line) {
        self.file.append(&line);
        if self.is_over() {
            return;
        }
        // The server has logged already what the shadow would log.
        let level = log::max_level();
        log::set_max_level(LevelFilter::Off);
        let played = self.shadow.play(line);
        log::set_max_level(level);
        if let Err(error) = played {
            self.file.fail(error);
        }
    }
}
