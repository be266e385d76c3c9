//! Who started the process and is told how it is: systemd, or the supervisor of several workers.

use std::fs::File;
use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use super::listeners::Bound;
use crate::net::poll::MioIo;
use crate::net::supervised::{Line, Word};
use crate::time::Time;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Owner {
    /// The line to the supervisor; `None`: systemd, if it is there.
    line: Option<Line>,
    /// The process must say that it is alive more often than this.
    watchdog: Option<Duration>,
    /// When it said so last.
    said: Time,
}

impl Owner {
    /// A process alone polls the listeners that it has bound.
    pub(super) fn system(bound: Bound) -> io::Result<(Self, MioIo)> {
        let (listeners, admin) = bound.of_one();
        let own = Self {
            line: None,
            watchdog: sd_notify::watchdog_enabled(),
            said: Time(0),
        };
        Ok((own, MioIo::new(listeners, admin)?))
    }

    /// A worker polls the listeners that its supervisor hands over on standard input, and the line to it. Standard
    /// input becomes empty, so that no child gets the line.
    pub(super) fn supervisor() -> io::Result<(Self, MioIo)> {
        let inherited = Line::inherit(rustix::stdio::stdin())?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let own = Self {
            line: Some(inherited.line.twin()?),
            watchdog: inherited.watchdog,
            said: Time(0),
        };
        let mut io = MioIo::new(inherited.listeners, inherited.admin)?;
        io.serve_supervisor(inherited.line)?;
        Ok((own, io))
    }

    /// How often the loop must wake to say that it is alive.
    pub(super) fn wake(&self) -> Option<Duration> {
        self.watchdog.map(|interval| interval / 2)
    }

    /// The process serves clients.
    pub(super) fn ready(&mut self) {
        self.say(NotifyState::Ready, Word::Ready);
    }

    /// The process drains. A supervisor has ordered it, or sees the process end.
    pub(super) fn draining(&mut self) {
        if self.line.is_none() {
            tell_systemd(&[NotifyState::Stopping]);
        }
    }

    /// The loop turns. Returns whether this was said.
    pub(super) fn alive(&mut self, now: Time) -> bool {
        let is_due = self
            .watchdog
            .is_some_and(|interval| now.since(self.said) > interval / 4);
        if is_due {
            self.said = now;
            self.say(NotifyState::Watchdog, Word::Alive);
        }
        is_due
    }

    /// Answers the supervisor.
    pub(super) fn answer(&mut self, word: Word) {
        if let Some(line) = &mut self.line {
            line.say(&word);
        }
    }

    fn say(&mut self, state: NotifyState<'_>, word: Word) {
        match &mut self.line {
            Some(line) => line.say(&word),
            None => tell_systemd(&[state]),
        }
    }
}

/// Does nothing if systemd did not start the process.
pub fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd was not told: {error}");
    }
}
