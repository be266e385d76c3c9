//! The service with its trace: all inputs and all actions pass through here, so they are recorded here too. The actions
//! of a decision wait until the dispatcher carries them out.

use std::io;
use std::path::PathBuf;

use crate::config::Config;
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::protocol::actions::Actions;
use crate::protocol::engine::{Command, Fault, Line, LineState, Reply};
use crate::service::{Input, Seed, Service};
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};
use crate::trace::{Recorder, Recording};
use crate::webhooks::Outcome;

use super::Flow;

/// The service, and what it decided.
pub(super) struct Decisions {
    pub(super) service: Service,
    /// The seed of the service's randomness, for the trace.
    seed: Seed,
    recorder: Option<Recorder>,
    /// The actions of the last decision.
    pub(super) actions: Actions,
}

impl Decisions {
    pub(super) fn new(config: &Config, seed: Seed, now: Now) -> Self {
        let mut service = Service::new(config.clone(), seed);
        if config.engine.place().is_some() {
            service.join_cluster(&seed, now);
        }
        Self {
            service,
            seed,
            recorder: None,
            actions: Actions::default(),
        }
    }

    /// Records from here on. Returns the path of the trace.
    pub(super) fn record(&mut self, recording: &Recording, config: &Config) -> io::Result<PathBuf> {
        let recorder = Recorder::create(recording, config, self.seed)?;
        Ok(self.recorder.insert(recorder).path().to_owned())
    }

    /// The tick that began at `began` ended at `ended`: its lines of the trace are written. Returns whether there is a
    /// trace.
    pub(super) fn end_tick(&mut self, began: Time, ended: Time, flow: Flow) -> bool {
        let Some(recorder) = &mut self.recorder else {
            return false;
        };
        recorder.ticked(began, ended);
        if flow != Flow::Continue {
            recorder.finish();
        }
        if recorder.is_over() {
            self.recorder = None;
        }
        true
    }

    /// Work between two ticks is done: its lines of the trace are written.
    pub(super) fn flush(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
        }
    }

    pub(super) fn reconfigure(&mut self, config: Config) {
        if let Some(recorder) = &mut self.recorder {
            recorder.reconfigured(&config);
        }
        self.decide(|service, actions| service.reconfigure(config, actions));
    }

    pub(super) fn set_site(&mut self, site: SiteConfig, now: Now) {
        if let Some(recorder) = &mut self.recorder {
            recorder.known(&site, now);
        }
        self.decide(|service, actions| service.set_site(site, now, actions));
    }

    pub(super) fn drain(&mut self) {
        self.service.drain();
        if let Some(recorder) = &mut self.recorder {
            recorder.drained();
        }
    }

    /// Something happened on a connection.
    pub(super) fn input(&mut self, id: ConnectionId, input: Input, now: Now) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(id, &input, now);
        }
        self.decide(|service, actions| service.input(id, input, now, actions));
    }

    /// The database answered.
    pub(super) fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now) {
        if let Some(recorder) = &mut self.recorder {
            recorder.answered(question, &answer, now);
        }
        self.decide(|service, actions| service.answer(question, answer, now, actions));
    }

    /// A post ended with this status, or without one for this reason.
    pub(super) fn posted(&mut self, ticket: u64, result: Result<u16, &str>, now: Now) {
        if let Some(recorder) = &mut self.recorder {
            recorder.posted(ticket, result, now);
        }
        self.service.posted(ticket, Outcome::of(result), now);
    }

    /// Time has passed: the service does the work that is due. Returns the part that had work, if one had.
    pub(super) fn due(&mut self, now: Now) -> Option<&'static str> {
        if self.service.deadline() > now.at {
            return None;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.due(now);
        }
        let part = self.service.due_part();
        self.decide(|service, actions| service.due(now, actions));
        Some(part)
    }

    /// The next command for a connection to the engine. A trace has no engine, so nothing of this is recorded.
    pub(super) fn engine_command(&mut self, line: Line, now: Now) -> Option<Command> {
        self.service.engine_command(line, now)
    }

    /// The engine answered a command.
    pub(super) fn engine_reply(&mut self, line: Line, reply: Result<Reply, Fault>, now: Now) {
        self.decide(|service, actions| service.engine_reply(line, reply, now, actions));
    }

    /// A connection to the engine can take commands, or cannot.
    pub(super) fn engine_line(&mut self, line: Line, state: LineState, now: Now) {
        self.decide(|service, actions| service.engine_line(line, state, now, actions));
    }

    /// Tells the cluster that this process ends. Returns whether it knows, or cannot be told.
    pub(super) fn leave_cluster(&mut self) -> bool {
        self.service.leave_cluster()
    }

    fn decide(&mut self, decision: impl FnOnce(&mut Service, &mut Actions)) {
        decision(&mut self.service, &mut self.actions);
        if let Some(recorder) = &mut self.recorder {
            recorder.actions(&self.actions);
        }
    }
}
