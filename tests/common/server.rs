//! Starts the built server on a free port, asks `/proc` about it, and ends it by its process id.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::{PATIENCE, wait_until};

/// Without limits that a test would run into by being many clients on one address.
pub const OPEN: &str = "[limits]\nconnects_per_second = 0\n";

/// A server process. When dropped it is killed, and a panic in its log fails the test.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process id.
    pub pid: u32,
    /// Holds the configuration and the log.
    folder: tempfile::TempDir,
    /// The server's output so far, line by line.
    stdout: Mutex<mpsc::Receiver<String>>,
    /// It was ended on purpose.
    ended: bool,
}

impl Server {
    /// Starts one with this configuration and waits until it is ready.
    pub fn start(toml: &str) -> Self {
        Self::launch(Some(toml), &["127.0.0.1:0"], |_, _| {})
    }

    /// Starts one whose configuration has a `[tls]`. It listens without TLS at `addr`, and with TLS at the address that
    /// is returned.
    pub fn start_secure(toml: &str) -> (Self, SocketAddr) {
        let server = Self::launch(Some(toml), &["127.0.0.1:0 plain", "127.0.0.1:0"], |_, _| {});
        let line = server.printed();
        let secure = line
            .strip_prefix("listening on https://")
            .and_then(|rest| rest.strip_suffix('/'))
            .and_then(|addr| addr.parse().ok())
            .unwrap_or_else(|| panic!("the server's second line is {line:?}"));
        (server, secure)
    }

    /// Starts one whose command, about to run with the log at this path, is changed before.
    pub fn start_with(toml: &str, change: impl FnOnce(&mut Command, &Path)) -> Self {
        Self::launch(Some(toml), &["127.0.0.1:0"], change)
    }

    /// Starts one without a configuration file: the embedded defaults, on a free port.
    pub fn start_defaults() -> Self {
        Self::launch(None, &["127.0.0.1:0"], |_, _| {})
    }

    fn launch(toml: Option<&str>, listen: &[&str], change: impl FnOnce(&mut Command, &Path)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a file for the log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("JSOCKETD_") {
                command.env_remove(name);
            }
        }
        for name in ["RUST_LOG", "JOURNAL_STREAM", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        // The machine's own server may have the socket for administrators.
        command.env("RUNTIME_DIRECTORY", folder.path().join("none"));
        command.arg("serve");
        if let Some(toml) = toml {
            let path = folder.path().join("jsocketd.toml");
            fs::write(&path, toml).expect("the configuration is written");
            command.arg("--config").arg(path);
        }
        command
            .args(listen.iter().flat_map(|address| ["--listen", address]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        change(&mut command, &folder.path().join("log"));
        let mut child = command.spawn().expect("the server's binary starts");
        let pid = child.id();
        let out = child.stdout.take().expect("stdout is a pipe");
        let (sender, stdout) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).for_each(|line| {
                // The channel has no receiver when the test is over.
                let _ = sender.send(line);
            });
        });
        let mut server = Self {
            child,
            addr: ([0; 4], 0).into(),
            pid,
            folder,
            stdout: Mutex::new(stdout),
            ended: false,
        };
        server.addr = server.ready();
        server
    }

    fn ready(&mut self) -> SocketAddr {
        match self.next_line() {
            Ok(line) => line
                .strip_prefix("listening on http://")
                .or_else(|| line.strip_prefix("listening on https://"))
                .and_then(|rest| rest.strip_suffix('/'))
                .and_then(|addr| addr.parse().ok())
                .unwrap_or_else(|| panic!("the server's first line is {line:?}")),
            Err(error) => panic!("the server did not become ready ({error}); its log:\n{}", self.log()),
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The next line that it prints to stdout.
    pub fn printed(&self) -> String {
        self.next_line().expect("another line on stdout")
    }

    fn next_line(&self) -> Result<String, mpsc::RecvTimeoutError> {
        self.stdout.lock().expect("one test, one reader").recv_timeout(PATIENCE)
    }

    /// Where its configuration file is.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("jsocketd.toml")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("the server's process is there");
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended = true;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the server did not end; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> usize {
        let status = self.proc("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS in /proc/PID/status");
        let kib: usize = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number of KiB");
        kib * 1024
    }

    /// CPU time used so far, user and system. It is a server of one thread, and the kernel counts that in nanoseconds.
    pub fn cpu(&self) -> Duration {
        schedule(&self.pid.to_string()).0
    }

    /// Open descriptors.
    pub fn fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid))
            .expect("the server is alive")
            .count()
    }

    /// Waits until it holds that many descriptors, or fewer.
    pub fn expect_fds(&self, most: usize) {
        let what = format!("the server holds {most} descriptors or fewer");
        wait_until(&what, || self.fds() <= most, || format!("it holds {}", self.fds()));
    }

    /// Sets the limit of descriptors of the running process and returns the old one.
    pub fn limit_fds(&self, limit: u64) -> u64 {
        let limits = Rlimit {
            current: Some(limit),
            maximum: None,
        };
        let old = rustix::process::getrlimit(Resource::Nofile);
        let kept = Rlimit {
            maximum: old.maximum,
            ..limits
        };
        let before = prlimit(Some(self.process()), Resource::Nofile, kept).expect("the limit can be set");
        before.current.expect("a finite limit")
    }

    /// Three seconds without a request must cost nothing: a level- or edge-trigger that is never answered makes a loop
    /// spin, and this check shows it.
    pub fn expect_idle(&self) {
        let before = self.cpu();
        std::thread::sleep(Duration::from_secs(3));
        let used = self.cpu() - before;
        assert!(
            used < Duration::from_millis(10),
            "an idle server used {used:?} of CPU in 3 s"
        );
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("the server is alive")
    }
}

/// The scheduler's figures of a thread, by its name in `/proc`: the CPU time that it used, and the time in which it
/// waited for a processor.
pub fn schedule(thread: &str) -> (Duration, Duration) {
    let stat = fs::read_to_string(format!("/proc/{thread}/schedstat")).expect("the thread is alive");
    let mut nanoseconds = stat.split_whitespace().map_while(|n| n.parse().ok());
    let mut next = || Duration::from_nanos(nanoseconds.next().expect("nanoseconds"));
    (next(), next())
}

impl Drop for Server {
    fn drop(&mut self) {
        let alive = matches!(self.child.try_wait(), Ok(None));
        // It fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{log}");
            return;
        }
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
        assert!(alive || self.ended, "the server died during the test:\n{log}");
    }
}
