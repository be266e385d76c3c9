//! One look-up of a host's name. `getaddrinfo` blocks until the name servers answer, so the server never calls it. A
//! child process of the same binary does (`jsocketd resolve SERVER HOST PORT`), prints the addresses and ends. SIGCHLD
//! wakes the loop when the child has ended. Nothing here waits.
//!
//! Rejected: a thread, since the server has one; a resolver of our own, since it would read neither /etc/hosts nor
//! nsswitch.conf as the site's PHP does.

use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::ioctl_fionbio;

use crate::child::{self, OURSELVES};
use crate::config::HostName;
use crate::time::Time;

/// How long one look-up may take. Two name servers that do not answer take ten seconds (resolv.conf(5): `timeout`), and
/// the third one answers.
const LONGEST: Duration = Duration::from_secs(12);

/// Addresses of one name that are used; a pool with more has a proxy in front of it.
const MOST_ADDRESSES: usize = 8;

/// Bytes of an answer that are read: several times as many as its addresses can be.
const MOST_BYTES: u64 = 2048;

/// A child process that looks a name up.
#[derive(Debug)]
pub struct Lookup {
    child: Child,
    deadline: Time,
    /// It was killed, and only its end is awaited.
    killed: bool,
}

/// The addresses of a name, in the order in which to try. May take seconds: for the child and for the command line.
///
/// # Errors
/// The error of the resolver, or that the name has no address.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if addresses.len() < MOST_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(io::Error::other("it has no address")),
        false => Ok(addresses),
    }
}

/// The work of the child of `server`: [`resolve`], as text, one address a line.
///
/// # Errors
/// As [`resolve`], or when the server has ended.
pub fn answer(server: u32, host: &str, port: u16) -> io::Result<String> {
    child::end_with(server)?;
    let addresses = resolve(host, port)?;
    Ok(addresses.iter().map(|address| format!("{address}\n")).collect())
}

impl Lookup {
    /// Starts a child that looks this name up.
    ///
    /// # Errors
    /// When the system can start no further process.
    pub fn of(name: &HostName, now: Time) -> io::Result<Self> {
        let mut command = Command::new(OURSELVES);
        // No shell is in between, and behind the dashes a name cannot be taken for a flag.
        let server = std::process::id().to_string();
        command.args(["resolve", &server, "--", &name.host, &name.port.to_string()]);
        Self::start(command, now, LONGEST)
    }

    fn start(mut command: Command, now: Time, patience: Duration) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn()?;
        // The pipes hold the answer when the child has ended. Another process that holds them open is not waited for.
        let unblocked = match (&child.stdout, &child.stderr) {
            (Some(out), Some(err)) => ioctl_fionbio(out, true).and_then(|()| ioctl_fionbio(err, true)),
            _ => Ok(()),
        };
        debug_assert!(
            unblocked.is_ok(),
            "pipes that were just made can be set to non-blocking"
        );
        Ok(Self {
            child,
            deadline: now + patience,
            killed: false,
        })
    }

    /// When `turn` must be called next if SIGCHLD does not come before.
    pub fn deadline(&self) -> Option<Time> {
        (!self.killed).then_some(self.deadline)
    }

    /// Ends the child. `turn` returns when it has ended.
    pub fn kill(&mut self) {
        self.killed = true;
        // The call fails only if the child has ended already.
        let _ = self.child.kill();
    }

    /// How the child ended, if it has: with at least one address, or why there is none, as a clause. It must be called
    /// until then, or the child stays a zombie.
    pub fn turn(&mut self, now: Time) -> Option<Result<Vec<SocketAddr>, String>> {
        match self.child.try_wait() {
            Ok(Some(status)) if self.killed && !status.success() => {
                Some(Err(format!("no answer within {} s", LONGEST.as_secs())))
            }
            Ok(Some(status)) => {
                let out = contents(self.child.stdout.take());
                Some(match status.success() {
                    true => parse(&out),
                    false => Err(complaint(&contents(self.child.stderr.take())).unwrap_or_else(|| status.to_string())),
                })
            }
            Ok(None) => {
                if now >= self.deadline && !self.killed {
                    self.kill();
                }
                None
            }
            Err(error) => Some(Err(error.to_string())),
        }
    }
}

/// When the server ends, the child ends too; the system collects it.
impl Drop for Lookup {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.child.try_wait();
        }
    }
}

/// The bytes in the pipe of a process that has ended, up to [`MOST_BYTES`].
fn contents(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // The bytes that were read before an error stay.
        let _ = pipe.take(MOST_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The first line that the child wrote about its failure, without the name of the program that each of them begins
/// with.
fn complaint(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let line = line.strip_prefix("jsocketd: ").unwrap_or(line).trim();
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    (!plain.is_empty()).then_some(plain)
}

fn parse(text: &str) -> Result<Vec<SocketAddr>, String> {
    let addresses: Result<Vec<SocketAddr>, _> = text.lines().map(str::parse).collect();
    match addresses {
        Ok(addresses) if (1..=MOST_ADDRESSES).contains(&addresses.len()) => Ok(addresses),
        _ => Err("the answer is no list of addresses".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A child that runs this script.
    fn script(text: &str, patience: Duration) -> Lookup {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        Lookup::start(command, Time(0), patience).expect("sh starts")
    }

    /// The end of a child.
    fn end(mut lookup: Lookup) -> Result<Vec<SocketAddr>, String> {
        let began = Instant::now();
        loop {
            if let Some(end) = lookup.turn(Time(0) + began.elapsed()) {
                let zombies = format!("/proc/{}", lookup.child.id());
                assert!(!std::path::Path::new(&zombies).exists(), "the child was collected");
                return end;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "the child does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn addresses_are_read_and_everything_else_is_refused() {
        let of = |text: &str| end(script(text, LONGEST));
        let addresses = |list: &[&str]| Ok(list.iter().map(|text| text.parse().expect(text)).collect());
        assert_eq!(of("echo 127.0.0.1:3306"), addresses(&["127.0.0.1:3306"]));
        assert_eq!(
            of("echo [::1]:3307; echo '[fe80::1%2]:3307'"),
            addresses(&["[::1]:3307", "[fe80::1%2]:3307"])
        );
        let nonsense = Err("the answer is no list of addresses".to_owned());
        for text in [
            "true",
            "echo",
            "echo db.example.org:3306",
            "echo 127.0.0.1",
            "echo 127.0.0.1:3306; echo nonsense",
            "printf '\\377\\376\\n'",
            "for i in 1 2 3 4 5 6 7 8 9; do echo 127.0.0.$i:3306; done",
            "i=0; while [ $i -lt 2000 ]; do echo 127.0.0.1:3306; i=$((i + 1)); done",
        ] {
            assert_eq!(of(text), nonsense, "{text}");
        }
    }

    #[test]
    fn a_failure_is_reported_in_the_childs_words() {
        let of = |text: &str| end(script(text, LONGEST)).expect_err(text);
        assert_eq!(
            of("echo 'jsocketd: no such name' >&2; echo 127.0.0.1:1; exit 1"),
            "no such name"
        );
        assert_eq!(of("printf 'a\\033[31mb\\nsecond line' >&2; exit 1"), "a[31mb");
        assert_eq!(of("exit 3"), "exit status: 3");
        assert!(of("kill -9 $$").contains("signal: 9"));
        assert!(Lookup::start(Command::new("/nowhere/at all"), Time(0), LONGEST).is_err());
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        for text in [
            "exec sleep 100",
            "trap '' TERM; while :; do :; done",
            "while :; do echo 127.0.0.1:1; done",
        ] {
            let why = end(script(text, Duration::from_millis(50))).expect_err(text);
            assert_eq!(why, "no answer within 12 s", "{text}");
        }
    }

    #[test]
    fn a_pipe_that_another_process_holds_open_is_not_waited_for() {
        let began = Instant::now();
        let end = end(script("sleep 3 & echo 127.0.0.1:3306", LONGEST));
        assert_eq!(end, Ok(vec!["127.0.0.1:3306".parse().expect("an address")]));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn an_address_resolves_to_itself() {
        let one = |text: &str| vec![text.parse::<SocketAddr>().expect(text)];
        assert_eq!(resolve("127.0.0.1", 3306).expect("an address"), one("127.0.0.1:3306"));
        assert!(resolve("no such name; echo 127.0.0.1", 1).is_err());
    }
}
