//! One worker: a copy of this program with one loop.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::child::OURSELVES;
use crate::net::listener::Listener;
use crate::net::supervised::{Line, Order, Word};

/// What systemd tells the process that it has started. Only the supervisor speaks with systemd.
const SYSTEMD: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The program that workers run, with its arguments.
#[derive(Debug)]
pub(super) struct Program {
    /// The path of this program when it was started.
    path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
    /// Whether the file on the disk is started, although it is another one by now.
    is_latest: bool,
}

impl Program {
    /// That of this process.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let mut words = std::env::args_os();
        Ok(Self {
            path: std::env::current_exe()?,
            name: words.next().unwrap_or_else(|| "jsocketd".into()),
            arguments: words.collect(),
            is_latest: false,
        })
    }

    /// From here on the file on the disk is started.
    pub(super) fn use_latest(&mut self) {
        self.is_latest = true;
    }

    /// The file to run: the one on the disk, or that of this process if it is another one. Its own path gives the
    /// process its usual name.
    fn file(&self, latest: bool) -> &Path {
        let id = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
        let ourselves = Path::new(OURSELVES);
        match latest || self.is_latest || id(&self.path) == id(ourselves) {
            true => &self.path,
            false => ourselves,
        }
    }
}

/// A worker, from its start until it is reaped.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: u32,
    child: Child,
    line: Line,
    is_ready: bool,
    /// When it was started.
    pub(super) born: Instant,
    /// When its last word came.
    pub(super) spoke: Instant,
}

impl Worker {
    /// Starts one with these listeners. `latest`: from the file on the disk.
    pub(super) fn start(
        program: &Program,
        latest: bool,
        number: u32,
        listeners: &[(&Listener, bool)],
        watchdog: Option<Duration>,
    ) -> io::Result<Self> {
        let (line, end) = Line::open(listeners, watchdog)?;
        let mut command = Command::new(program.file(latest));
        for name in SYSTEMD {
            command.env_remove(name);
        }
        // Ctrl-C is for the supervisor: in a process group of their own, workers do not get it.
        let command = command.arg0(&program.name).args(&program.arguments).process_group(0);
        let command = command.arg("--worker").arg(number.to_string()).stdin(Stdio::from(end));
        let child = command.spawn()?;
        let now = Instant::now();
        Ok(Self {
            number,
            child,
            line,
            is_ready: false,
            born: now,
            spoke: now,
        })
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The descriptor of the line, for the poller.
    pub(super) fn line(&self) -> RawFd {
        self.line.as_raw_fd()
    }

    /// Whether it serves clients.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    pub(super) fn order(&mut self, order: Order) {
        self.line.order(order);
    }

    /// The words that have come.
    pub(super) fn words(&mut self, now: Instant) -> Vec<Word> {
        let words = self.line.words();
        if !words.is_empty() {
            self.spoke = now;
        }
        self.is_ready |= words.contains(&Word::Ready);
        words
    }

    /// How it has ended; `None`: it runs.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(super) fn kill(&mut self) {
        // It may have ended meanwhile.
        let _ = self.child.kill();
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} (process {})", self.number, self.pid())
    }
}
