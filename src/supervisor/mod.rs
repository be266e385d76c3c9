//! The supervisor: how several processes are one server. It binds the listeners, starts `[server] workers` copies of
//! this program on them, each with one loop, and starts a worker again when it dies. The kernel keeps the clients that
//! wait at a listener, whichever worker dies. It serves no client itself, and tells the workers nothing but orders
//! (`net::supervised`): what they share goes through the engine.
//!
//! `worker` is one process, `slots` all of them and their restarts, `plan` what is done with one worker after another.
//!
//! Rejected: `SO_REUSEPORT`. With a listener of its own for each worker, the clients that wait at the listener of a
//! worker that dies are lost.

mod plan;
mod slots;
mod worker;

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_mio::v1_0::Signals;

use self::plan::Plan;
use self::slots::Slots;
use self::worker::Program;
use crate::config::{Config, Loaded, Sources};
use crate::logging;
use crate::net::supervised::Order;
use crate::server::process::listeners::{self, Urls};
use crate::server::process::owner::tell_systemd;
use crate::server::process::{ServeError, announce};

/// How much longer than its drain a worker may take to end. Then it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker may take to end after the second signal.
const MOMENT: Duration = Duration::from_secs(2);

/// The token of the signals; that of the lines to the workers is the other one.
const SIGNALS: Token = Token(0);
const LINES: Token = Token(1);

/// The errors that keep the workers from starting or stop them.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The listeners cannot be made, or a second signal came.
    #[error("{0}")]
    Serve(#[from] ServeError),
    /// A worker ended before all of them served for the first time.
    #[error("worker {number} ended at the start, with {status}; the lines before say why")]
    AtStart {
        /// Its number.
        number: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// A worker cannot be started, or the poller failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs the workers until a signal ends them. `sources` is read again on SIGHUP.
///
/// # Errors
/// When they cannot start, when the poller fails, or when a second signal cut the drain short.
pub fn run(loaded: Loaded, sources: &Sources) -> Result<(), SuperviseError> {
    let workers = u32::try_from(loaded.config.server.workers).unwrap_or(u32::MAX);
    let bound = listeners::bind(&loaded, workers)?;
    let urls = bound.urls();
    let watchdog = sd_notify::watchdog_enabled();
    let poll = Poll::new()?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2])?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let mut supervisor = Supervisor {
        slots: Slots::new(bound, workers, Program::of_this_process()?, watchdog),
        poll,
        signals,
        plan: Plan::Idle,
        wants_reload: false,
        wants_replacement: false,
        file: loaded.file,
        config: loaded.config,
        urls,
        has_started: false,
        watchdog,
        ending: None,
        was_abandoned: false,
    };
    supervisor.run(sources)
}

/// See the top of this file.
struct Supervisor {
    poll: Poll,
    signals: Signals,
    slots: Slots,
    plan: Plan,
    /// SIGHUP came, and was not followed yet.
    wants_reload: bool,
    /// SIGUSR2 came, and was not followed yet.
    wants_replacement: bool,
    /// The configuration that the workers have.
    config: Config,
    file: Option<std::path::PathBuf>,
    urls: Urls,
    /// All workers have served at the same time.
    has_started: bool,
    /// systemd must be told more often than this that the supervisor lives.
    watchdog: Option<Duration>,
    /// The workers drain. At this time those that are left are killed.
    ending: Option<Instant>,
    was_abandoned: bool,
}

impl Supervisor {
    fn run(&mut self, sources: &Sources) -> Result<(), SuperviseError> {
        let mut events = Events::with_capacity(64);
        self.slots.start_due(Instant::now())?;
        loop {
            for line in self.slots.take_new_lines() {
                self.poll
                    .registry()
                    .register(&mut SourceFd(&line), LINES, Interest::READABLE)?;
            }
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            // There are few workers: all of them are looked at whenever something has happened.
            self.handle_signals();
            let now = Instant::now();
            let words = self.slots.words(now);
            let ended = self.slots.reap(now, self.has_started && self.ending.is_none());
            if let Some((number, status)) = ended.filter(|_| !self.has_started && self.ending.is_none()) {
                self.slots.kill_all();
                return Err(SuperviseError::AtStart { number, status });
            }
            match self.ending {
                Some(until) => {
                    if now >= until {
                        self.slots.kill_all();
                    }
                    if self.slots.are_gone() {
                        return self.end();
                    }
                }
                None => {
                    self.plan.go_on(&words, &mut self.slots, &mut self.config, now);
                    self.begin_plan(sources, now);
                    self.slots.start_due(now)?;
                    self.slots.check(now);
                    self.note_start()?;
                }
            }
            if self.watchdog.is_some() {
                tell_systemd(&[NotifyState::Watchdog]);
            }
        }
    }

    fn end(&self) -> Result<(), SuperviseError> {
        if self.was_abandoned {
            return Err(ServeError::Abandoned.into());
        }
        log::info!("all workers have ended; bye");
        Ok(())
    }

    /// How long the next wait may be.
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let due = [self.slots.due(), self.plan.due(), self.ending];
        let nearest = due.into_iter().flatten().min();
        let until = nearest.map(|at| at.saturating_duration_since(now));
        until
            .into_iter()
            .chain(self.watchdog.map(|interval| interval / 4))
            .min()
    }

    fn handle_signals(&mut self) {
        for signal in self.signals.pending().collect::<Vec<_>>() {
            match signal {
                SIGHUP => self.wants_reload = true,
                SIGUSR1 => self.slots.order_all(Order::Report),
                SIGUSR2 => self.wants_replacement = true,
                SIGTERM | SIGINT => self.terminate(),
                // A worker ended, or one of its children that it left.
                _ => {}
            }
        }
    }

    /// The first signal drains all workers, the second one ends them at once.
    fn terminate(&mut self) {
        let now = Instant::now();
        if self.ending.is_some() {
            self.was_abandoned = true;
            self.ending = Some(now + MOMENT);
            return self.slots.order_all(Order::Abandon);
        }
        tell_systemd(&[NotifyState::Stopping]);
        log::info!("the workers drain");
        self.slots.order_all(Order::Drain);
        self.ending = Some(now + drain_time(&self.config));
    }

    /// Begins what a signal has asked for, unless something else goes on.
    fn begin_plan(&mut self, sources: &Sources, now: Instant) {
        if !self.has_started || !matches!(self.plan, Plan::Idle) {
            return;
        }
        if std::mem::take(&mut self.wants_reload) {
            self.plan = Plan::reload(sources, &mut self.slots, now);
        } else if std::mem::take(&mut self.wants_replacement) {
            self.plan = Plan::replace(&self.slots);
            self.plan.go_on(&[], &mut self.slots, &mut self.config, now);
        }
    }

    /// Says once that all workers serve.
    fn note_start(&mut self) -> io::Result<()> {
        if self.has_started || !self.slots.are_ready() {
            return Ok(());
        }
        self.has_started = true;
        announce(&self.config, self.file.as_deref(), &self.urls)?;
        log::info!(
            "{} workers serve: processes {}",
            self.slots.len(),
            self.slots.processes()
        );
        tell_systemd(&[NotifyState::Ready]);
        Ok(())
    }
}

/// The longest time that a worker needs to drain and end.
fn drain_time(config: &Config) -> Duration {
    let limits = &config.limits;
    Duration::from_secs(limits.drain_seconds + limits.close_timeout + 1) + PATIENCE
}

/// A level from the configuration that was just taken over.
fn follow(config: &Config) {
    logging::set_level(config.server.log_level);
}
