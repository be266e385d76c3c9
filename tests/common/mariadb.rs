//! A private MariaDB, started by `scripts/mariadb`: one for all tests of a process, or one of its own for a test that
//! stops or kills it. The server ends with the process that started it, however that ends: the script that holds it
//! waits for the end of a pipe. The module [`joomla`](super::joomla) fills the databases. If `DATABASE_SERVER` names
//! another server than the system's, the script starts that one. `scripts/test --all` runs each test whose name begins
//! with `every_database` beside each of these servers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, wait_until};

/// A server process. When dropped it is killed and its folder removed.
pub struct Mariadb {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where else it listens.
    pub socket: PathBuf,
    pid_file: PathBuf,
    /// None: another process holds it.
    holder: Option<Mutex<Holder>>,
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/mariadb"))
}

/// Runs statements, and says so when any of them fails. (The driver's `query_drop` drops the answers of all but the
/// first, and their errors too.)
pub fn run(connection: &mut Conn, statements: &str) -> mysql::Result<()> {
    let mut answers = connection.query_iter(statements)?;
    while let Some(rows) = answers.iter() {
        for row in rows {
            row?;
        }
    }
    Ok(())
}

/// `scripts/mariadb hold`
struct Holder {
    child: Child,
    /// A line starts the server again, the end ends it. None: it has ended.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: ChildStderr,
}

impl Mariadb {
    /// The server of this process, which the first caller starts; or that of `scripts/mariadb run`, if the test runs in
    /// it.
    ///
    /// # Panics
    /// Without MariaDB: a test that cannot run has failed.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Mariadb>> = OnceLock::new();
        let server = SHARED.get_or_init(|| {
            Arc::new(match std::env::var("TEST_MARIADB_FOLDER") {
                Ok(folder) => Self::of_somebody(Path::new(&folder)),
                Err(_) => Self::start(&[]),
            })
        });
        Arc::clone(server)
    }

    /// A server for the caller alone, with options of mariadbd: `--read-only=1`.
    pub fn start(options: &[&str]) -> Self {
        let mut child = script()
            .arg("hold")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("scripts/mariadb starts");
        let mut holder = Holder {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("stdout is a pipe")),
            errors: child.stderr.take().expect("stderr is a pipe"),
            child,
        };
        let mut server = Self::at(&holder.ready());
        server.holder = Some(Mutex::new(holder));
        server
    }

    fn of_somebody(folder: &Path) -> Self {
        let addr = std::env::var("TEST_MARIADB_ADDRESS").expect("the address stands beside the folder");
        let [socket, pid] = ["socket", "pid"].map(|name| folder.join(name).display().to_string());
        Self::at(&format!("{addr} {socket} {pid}"))
    }

    /// The one that the script spoke of: `127.0.0.1:PORT SOCKET PIDFILE`.
    fn at(place: &str) -> Self {
        let mut words = place.split_whitespace();
        let mut next = || words.next().unwrap_or_else(|| panic!("the script said {place:?}"));
        Self {
            addr: next().parse().expect("an address"),
            socket: next().into(),
            pid_file: next().into(),
            holder: None,
        }
    }

    /// The process id of the server now.
    pub fn pid(&self) -> u32 {
        let text = fs::read_to_string(&self.pid_file).expect("the script wrote the process id");
        text.trim().parse().expect("a process id")
    }

    /// Stops it from doing anything, while its sockets go on taking what comes.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        wait_until(
            "the database is stopped",
            || self.threads_are(|state| state == 'T'),
            || self.states(),
        );
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
        wait_until(
            "the database goes on",
            || self.threads_are(|state| state != 'T'),
            || self.states(),
        );
    }

    /// Kills it: nothing is written, connections are reset.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let path = format!("/proc/{}/cmdline", self.pid());
        let gone = || fs::read(&path).is_ok_and(|line| line.is_empty()) || !Path::new(&path).exists();
        wait_until("the database is gone", gone, || path.clone());
    }

    /// Starts it again with its committed rows, at the same address, and waits until it answers.
    pub fn restart(&self) {
        let holder = self
            .holder
            .as_ref()
            .expect("only a server that a test has started for itself is started again");
        let mut holder = holder.lock().expect("one test, one server");
        let input = holder.input.as_mut().expect("the script runs");
        input.write_all(b"\n").expect("the script reads");
        let place = Self::at(&holder.ready());
        assert_eq!(place.addr, self.addr, "another process took the port of the database");
    }

    /// A connection of root's, to a database or to none.
    pub fn connect(&self, database: Option<&str>) -> Conn {
        let options = OptsBuilder::new()
            .user(Some("root"))
            .db_name(database)
            .socket(self.socket.to_str())
            // Joomla 3 stores "never" as a date of zeros, which MySQL refuses by default.
            .init(vec!["SET sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'"])
            .read_timeout(Some(PATIENCE));
        Conn::new(options).expect("root gets in by the socket")
    }

    /// `scripts/mariadb sql` or another verb for this server; arguments may follow.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = script();
        command.arg(verb).arg(self.socket.parent().expect("a folder"));
        command
    }

    /// Whether the server is a MariaDB, and no MySQL.
    pub fn is_mariadb(&self) -> bool {
        self.version().contains("MariaDB")
    }

    /// The server's own version: `10.11.6-MariaDB-0+deb12u1`, `9.7.4`.
    pub fn version(&self) -> String {
        let version = self.connect(None).query_first("SELECT VERSION()");
        version.expect("every user may").expect("a version")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("no process has the id 0");
        kill_process(pid, signal).expect("the database's process is there");
    }

    /// Whether all of its threads are in such a state. They reach it one by one.
    fn threads_are(&self, wanted: impl Fn(char) -> bool) -> bool {
        let states = self.states();
        !states.is_empty() && states.chars().all(wanted)
    }

    /// The state of each thread, as in `/proc/PID/stat`.
    fn states(&self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        stats
            .filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next())
            .collect()
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let holder = holder.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            holder.input = None;
            // This cannot fail: the process is our child, and no other call has waited for it.
            let _ = holder.child.wait();
        }
    }
}

impl Holder {
    /// The line that it prints when the server is ready.
    fn ready(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script prints text");
        if line.is_empty() {
            let mut why = String::new();
            // The output so far is enough.
            let _ = self.errors.read_to_string(&mut why);
            panic!("there is no database to test with:\n{why}");
        }
        line
    }
}
