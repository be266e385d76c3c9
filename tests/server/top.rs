//! `jsocketd top`: in a terminal that tmux plays, at two sizes, with a server that stands still and one that is gone;
//! however it ends, the terminal is as before. `--once` and `--json` print. What stands in which line is a matter of
//! the unit tests (`src/commands/top/tests.rs`).

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{Peer, Server, children, wait_until};

const TOKEN: &str = "an-admin-token-of-this-test";

const PROGRAM: &str = env!("CARGO_BIN_EXE_jsocketd");

fn server() -> Server {
    Server::start(&format!("[server]\nadmin_token = \"{TOKEN}\"\n"))
}

/// The flags that name this server.
fn flags(server: &Server) -> [String; 4] {
    let config = server.config_path().to_str().expect("UTF-8").to_owned();
    [
        "--url".into(),
        format!("http://{}", server.addr),
        "--config".into(),
        config,
    ]
}

/// A terminal with a shell that runs `top`, and says then how it ended and what the terminal is like.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    fn start(flags: &[String], variables: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let terminal = Self { folder };
        let flags = flags.join(" ");
        let script = format!(
            "echo before; {variables} {PROGRAM} top {flags}; echo \"left with $?\"; stty -a | tr ';' '\\n' | \
             grep -q -w -e '-icanon' -e '-echo' || echo sane; read line"
        );
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &script]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("SHELL", "/bin/sh")
            .arg("-S")
            .arg(self.folder.path().join("tmux"))
            .args(["-u", "-f", "/dev/null"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("tmux runs: it is a package of the same name");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {complaints}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn press(&self, key: &str) -> &Self {
        self.tmux(&["send-keys", key]);
        self
    }

    /// Waits until the screen has this text.
    fn expect(&self, text: &str) -> String {
        wait_until(
            &format!("the screen has {text:?}"),
            || self.screen().contains(text),
            || self.screen(),
        );
        self.screen()
    }

    /// Waits until the screen has this text no longer.
    fn expect_gone(&self, text: &str) {
        let gone = format!("the screen has no {text:?}");
        wait_until(&gone, || !self.screen().contains(text), || self.screen());
    }

    /// Waits until `top` has ended with this code, and the terminal is as it was.
    fn expect_left(&self, code: u8) {
        let screen = self.expect("sane");
        assert!(screen.starts_with("before\n"), "{screen}");
        assert!(screen.contains(&format!("left with {code}\n")), "{screen}");
        assert!(!screen.contains("connections "), "{screen}");
        let cursor = self.tmux(&["display", "-p", "#{cursor_flag} #{alternate_on} #{wrap_flag}"]);
        assert_eq!(cursor, "1 0 1\n");
    }

    /// The process of `top`.
    fn process(&self) -> Pid {
        let shell = self.tmux(&["display", "-p", "#{pane_pid}"]);
        let shell = shell.trim().parse().expect("a process");
        let found = children(shell).into_iter().find(|(_, argument)| argument == "top");
        let (pid, _) = found.expect("top runs");
        Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // With its own socket: no other tmux is concerned.
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn it_fills_the_terminal_and_leaves_it_as_it_was() {
    let server = server();
    let _peer = Peer::upgrade(&server, "/echo");
    let terminal = Terminal::start(&flags(&server), "");
    let screen = terminal.expect("/echo 1");
    let rows: Vec<&str> = screen.lines().collect();
    assert_eq!(rows.len(), 24, "{screen}");
    let title = format!("jsocketd {}, pid {}, up ", env!("CARGO_PKG_VERSION"), server.pid);
    assert!(rows[0].starts_with(&title) && rows[0].ends_with('Z'), "{screen}");
    assert!(rows[23].starts_with("q leave  p pause"), "{screen}");
    assert!(!screen.contains(TOKEN), "{screen}");
    // It follows the server.
    let _other = Peer::upgrade(&server, "/echo");
    terminal.expect("/echo 2");

    terminal.press("s").expect("the newest first");
    terminal.press("s").expect("latest ticks");
    terminal.press("?").expect("Home End scroll");
    terminal.tmux(&["resize-window", "-x", "140", "-y", "50"]);
    wait_until(
        "the screen is drawn anew",
        || {
            terminal
                .screen()
                .lines()
                .nth(49)
                .is_some_and(|line| line.starts_with("q leave"))
        },
        || terminal.screen(),
    );
    assert_eq!(
        terminal.screen().lines().next().map(|line| line.chars().count()),
        Some(140)
    );
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.press("p").expect("PAUSED");
    terminal.press("p").expect_gone("PAUSED");
    terminal.press("q").expect_left(0);
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    let server = server();
    for key in ["Escape", "C-c"] {
        let terminal = Terminal::start(&flags(&server), "");
        terminal.expect("connections ");
        terminal.press(key).expect_left(0);
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let terminal = Terminal::start(&flags(&server), "");
        terminal.expect("connections ");
        kill_process(terminal.process(), signal).expect("it runs");
        terminal.expect_left(0);
    }
}

/// Reading a terminal that is gone ends at once, again and again.
#[test]
fn it_ends_with_its_terminal_also_where_it_ignores_that_signal() {
    let server = server();
    for variables in ["", "trap '' HUP;"] {
        let terminal = Terminal::start(&flags(&server), variables);
        terminal.expect("connections ");
        let process = terminal.process();
        // tmux itself must stay.
        terminal.tmux(&["new-session", "-d", "-s", "other", "sleep 1000"]);
        terminal.tmux(&["kill-session", "-t", "0"]);
        wait_until(
            "top ends",
            || kill_process(process, Signal::CONT).is_err(),
            || format!("{variables:?}"),
        );
    }
}

#[test]
fn a_server_that_gives_no_answer_is_reported_and_asked_again() {
    let server = server();
    let terminal = Terminal::start(&flags(&server), "");
    terminal.expect("connections ");
    server.signal(Signal::STOP);
    terminal.expect("! NO ANSWER FOR ");
    // The keys work all the same.
    terminal.press("s").expect("the newest first");
    server.signal(Signal::CONT);
    terminal.expect_gone("NO ANSWER");
    let url = format!("http://{}", server.addr);
    drop(server);
    let screen = terminal.expect(&format!(": {url}: "));
    assert!(
        screen.contains("! NO ANSWER FOR ") && screen.contains("connections "),
        "{screen}"
    );
    terminal.press("q").expect_left(0);
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() {
    let server = Server::start(&format!("[server]\nadmin_token = \"{TOKEN}\"\nmax_connections = 20\n"));
    let _peers: Vec<Peer> = (0..17).map(|_| Peer::upgrade(&server, "/echo")).collect();
    for (variables, coloured) in [("", true), ("NO_COLOR=1", false)] {
        let terminal = Terminal::start(&flags(&server), variables);
        terminal.expect("NEAR THE LIMIT");
        let colours = terminal.tmux(&["capture-pane", "-p", "-e"]);
        assert_eq!(colours.contains("\u{1b}[38;5;5m"), coloured, "{colours:?}");
    }
}

/// Runs `top` without a terminal. Returns its exit code, what it printed, and its complaints.
fn run(flags: &[&str], config: &Path) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    command.env_clear().arg("top").args(flags).arg("--config").arg(config);
    let output = command.output().expect("jsocketd runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("it ends by itself"),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn it_prints_one_screen_or_json() {
    let server = server();
    let config = server.config_path();
    let url = format!("http://{}", server.addr);
    let (code, screen, complaints) = run(&["--once", "--url", &url], &config);
    assert_eq!((code, complaints.as_str()), (0, ""), "{screen}");
    assert!(
        screen.starts_with(&format!("jsocketd {}, ", env!("CARGO_PKG_VERSION"))),
        "{screen}"
    );
    assert!(screen.contains("\nphases       ") && screen.ends_with('\n'), "{screen}");
    assert!(
        !screen.contains(['\u{1b}', '\r']) && !screen.contains(TOKEN),
        "{screen}"
    );
    assert!(
        screen.lines().count() <= 24 && screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );

    let (code, json, _) = run(&["--json", "--url", &url], &config);
    let both: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(code, 0);
    assert_eq!(both["status"]["pid"], server.pid);
    assert!(both["loop"]["ticks"].as_u64() > Some(0), "{json}");
    assert_eq!(both.as_object().map(serde_json::Map::len), Some(2));

    let (code, out, complaints) = run(&["--url", &url], &config);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        complaints.contains("no terminal") && complaints.contains("--once"),
        "{complaints}"
    );

    let empty = tempfile::NamedTempFile::new().expect("a file");
    let (code, out, complaints) = run(&["--once", "--url", &url], empty.path());
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        complaints.starts_with(&format!("jsocketd: {url} refuses with 401: ")),
        "{complaints}"
    );

    drop(server);
    for flag in ["--once", "--json"] {
        let (code, out, complaints) = run(&[flag, "--url", &url], empty.path());
        assert_eq!((code, out.as_str()), (2, ""), "{flag}");
        assert!(complaints.starts_with(&format!("jsocketd: {url}: ")), "{complaints}");
    }
}
