//! A private engine: `redis-server`, or what `ENGINE_SERVER` names, in a temporary folder, on a free port and a Unix
//! socket, without persistence. A test can stop it, kill it, start it again empty, and ask it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::ports::{bound, free_port};
use super::{PATIENCE, wait_until};

/// What an engine answers (RESP2).
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// `+OK` and its like.
    Line(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Number(i64),
    /// Bytes, which are text in these tests.
    Text(String),
    /// Nothing.
    Nil,
    /// Several.
    List(Vec<Answer>),
}

/// The engine. When dropped it is killed.
pub struct Engine {
    child: Child,
    folder: tempfile::TempDir,
    addr: SocketAddr,
    options: Vec<String>,
}

impl Engine {
    /// Starts one without a password.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with these options on its command line.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into(), options)
    }

    /// Starts one at this address.
    pub fn start_at(addr: SocketAddr, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let child = spawn(&folder, addr, &options);
        let mut engine = Self {
            child,
            folder,
            addr,
            options,
        };
        engine.wait();
        engine
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The value of `[engine] url`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// The same by its Unix socket.
    pub fn socket_url(&self) -> String {
        format!("unix:{}", self.folder.path().join("socket").display())
    }

    /// Stops it: connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it. Everything that it held is lost.
    pub fn kill(&mut self) {
        // It fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was, empty.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.folder, self.addr, &self.options);
        self.wait();
    }

    /// Asks it something on a connection of its own. The words are separated by single spaces.
    pub fn ask(&self, words: &str) -> Answer {
        self.ask_each(&words.split(' ').collect::<Vec<_>>())
    }

    /// The same with words in which there may be spaces.
    pub fn ask_each(&self, words: &[&str]) -> Answer {
        Asking::connect(self.addr).ask(words)
    }

    /// The length of a stream; 0 where there is none.
    pub fn length(&self, key: &str) -> i64 {
        match self.ask_each(&["XLEN", key]) {
            Answer::Number(length) => length,
            other => panic!("XLEN is answered by {other:?}"),
        }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("out")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the engine's process is there");
    }

    fn wait(&mut self) {
        let mut ended = false;
        let (addr, child) = (self.addr, &mut self.child);
        let out = self.folder.path().join("out");
        wait_until(
            "the engine listens",
            || {
                ended = matches!(child.try_wait(), Ok(Some(_)));
                ended || TcpStream::connect(addr).is_ok()
            },
            || fs::read_to_string(&out).unwrap_or_default(),
        );
        assert!(!ended, "the engine ended: {}", self.log());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        wait_until("the port is free", || bound(self.addr).is_ok(), || self.log());
        if std::thread::panicking() {
            eprintln!("--- the engine's log:\n{}", self.log());
        }
    }
}

/// Starts the program. The kernel ends it when the thread that started it is gone, so that a test that is killed leaves
/// nothing running.
fn spawn(folder: &tempfile::TempDir, addr: SocketAddr, options: &[String]) -> Child {
    let name = std::env::var("ENGINE_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let out = fs::File::create(folder.path().join("out")).expect("a file for the output");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", &name]);
    command.args(["--bind", &addr.ip().to_string(), "--port", &addr.port().to_string()]);
    command.args(["--unixsocket", &folder.path().join("socket").display().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--protected-mode", "no"]);
    command.args(options).current_dir(folder.path()).stdin(Stdio::null());
    command
        .stdout(out.try_clone().expect("a second descriptor"))
        .stderr(out);
    command
        .spawn()
        .unwrap_or_else(|why| panic!("{name} does not start: {why}"))
}

/// A connection on which a test asks an engine.
pub struct Asking(BufReader<TcpStream>);

impl Asking {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the engine listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket can do that");
        Self(BufReader::new(stream))
    }

    /// Asks, and reads the answer.
    pub fn ask(&mut self, words: &[&str]) -> Answer {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(bytes.as_bytes()).expect("the engine reads");
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the engine answers");
        let line = line.trim_end();
        let rest = line.get(1..).unwrap_or_default();
        let number = || rest.parse::<i64>().unwrap_or_else(|why| panic!("{why} in {line:?}"));
        match line.bytes().next() {
            Some(b'+') => Answer::Line(rest.to_owned()),
            Some(b'-') => Answer::Error(rest.to_owned()),
            Some(b':') => Answer::Number(number()),
            Some(b'$' | b'*') if number() < 0 => Answer::Nil,
            Some(b'$') => {
                let mut bytes = vec![0; number() as usize + 2];
                self.0.read_exact(&mut bytes).expect("the whole text");
                bytes.truncate(bytes.len() - 2);
                Answer::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            Some(b'*') => Answer::List((0..number()).map(|_| self.answer()).collect()),
            _ => panic!("{line:?} is no answer"),
        }
    }
}
