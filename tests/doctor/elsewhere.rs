//! Another machine: a network namespace with an address of its own and its own file of hosts. It is gone with the
//! process of the tests, however that ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The names of the site, as the other machine resolves them.
pub const HOST: &str = "www.example.org";
/// A name of the same machine that the site does not have.
pub const OTHER: &str = "other.example.org";

/// The other machine.
pub struct Elsewhere {
    /// Keeps the namespace as long as its standard input is open.
    holder: Child,
    /// The address of this machine, as seen from there.
    pub here: Ipv4Addr,
    /// The address of the other machine.
    pub there: Ipv4Addr,
    _folder: tempfile::TempDir,
}

impl Elsewhere {
    /// The one of this process.
    ///
    /// # Panics
    /// Without root: a test that cannot run has failed.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Elsewhere> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let process = std::process::id();
        // The range for tests of networks (RFC 2544), which no real network has.
        let [_, _, high, low] = process.to_be_bytes();
        let address = |last| Ipv4Addr::new(198, 18 + (high & 1), low, last);
        let (here, there) = (address(1), address(2));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hosts = folder.path().join("hosts");
        fs::write(&hosts, format!("127.0.0.1 localhost\n{here} {HOST} {OTHER}\n")).expect("the hosts are written");
        let script = format!("mount --bind {} /etc/hosts && echo ready && read -r _", hosts.display());
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("it prints text");
        assert_eq!(line, "ready\n", "a network namespace needs root");
        let namespace = holder.id().to_string();
        let (own, other) = (format!("jd{process}a"), format!("jd{process}b"));
        ip(&[
            "link", "add", &own, "type", "veth", "peer", "name", &other, "netns", &namespace,
        ]);
        ip(&["addr", "add", &format!("{here}/30"), "dev", &own]);
        ip(&["link", "set", &own, "up"]);
        let elsewhere = Self {
            holder,
            here,
            there,
            _folder: folder,
        };
        for words in [
            &["link", "set", "lo", "up"][..],
            &["addr", "add", &format!("{there}/30"), "dev", &other],
            &["link", "set", &other, "up"],
        ] {
            let done = elsewhere.command(PathBuf::from("ip")).args(words).status();
            assert!(done.expect("ip runs there").success(), "ip {words:?}");
        }
        elsewhere
    }

    /// A command that will run there.
    pub fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.holder.id()))
            .args(["--net", "--mount", "--"])
            .arg(program);
        command
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("ip runs");
    assert!(
        output.status.success(),
        "ip {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
