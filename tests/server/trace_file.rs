//! The file of `serve --record`: a new one for each start, whole after every tick, bounded, and never a reason for the
//! server to stop. What `replay` says of a file that is cut, empty, no trace, or of another version.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use jsocketd::trace::{Ending, Replayed, replay};
use rustix::process::Signal;

use crate::common::{Peer, Server, wait_until};

/// The least that `--record-limit` takes, in bytes.
const LEAST: usize = 65_536;

/// A server that records to `path`.
fn recording(path: &Path, flags: &[&str]) -> Server {
    Server::start_with("[limits]\ndrain_seconds = 0\n", |command, _| {
        command.arg("--record").arg(path).args(flags);
    })
}

fn echo(peer: &mut Peer, text: &str) {
    peer.text(text).expect_text(text);
}

fn run_replay(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    command.arg("replay").arg(path).output().unwrap()
}

/// What `replay` prints when it succeeds.
fn replayed(path: &Path) -> String {
    let output = run_replay(path);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `replay --story` prints.
fn story(path: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
    let output = command.args(["replay", "--story"]).arg(path).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The lines of a story without headings and times.
fn words(story: &str) -> Vec<&str> {
    let lines = story.lines().filter(|line| line.starts_with("  "));
    lines.map(|line| line[16..].trim_end()).collect()
}

/// What `replay` complains about when it fails.
fn refused(path: &Path, text: impl AsRef<[u8]>) -> String {
    fs::write(path, text).unwrap();
    let output = run_replay(path);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The trace of a server that echoed a message and ended.
fn small_trace(path: &Path) -> String {
    let mut server = recording(path, &[]);
    let mut peer = Peer::upgrade(&server, "/echo");
    echo(&mut peer, "hello");
    peer.close(1000, "").expect_close(1000);
    server.signal(Signal::TERM);
    assert!(server.ended().success(), "{}", server.log());
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_recording_never_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let first = small_trace(&path);
    for n in 1..3 {
        let numbered = folder.path().join(format!("trace.{n}"));
        let server = recording(&path, &[]);
        let line = format!("the trace is written to {}\n", numbered.display());
        assert!(server.log().contains(&line), "{}", server.log());
        assert!(fs::metadata(&numbered).unwrap().len() > 0);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);

    // A folder or a device is no name for a file.
    for other in [folder.path(), Path::new("/dev/null")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        let output = command
            .args(["--listen", "127.0.0.1:0", "--record"])
            .arg(other)
            .output();
        let said = String::from_utf8(output.unwrap().stderr).unwrap();
        let line = format!("cannot record to {}: it exists and is not a file", other.display());
        assert!(said.contains(&line), "{said}");
    }
}

#[test]
fn a_killed_server_leaves_a_trace_of_every_tick() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let mut server = recording(&path, &[]);
    let configurations = || fs::read_to_string(&path).unwrap().matches("{\"config\":").count();
    assert_eq!(
        configurations(),
        1,
        "a server that is ready has written its configuration"
    );
    server.signal(Signal::HUP);
    wait_until(
        "the second configuration is in the file, though no tick follows",
        || configurations() == 2,
        || server.log(),
    );
    let mut peer = Peer::upgrade(&server, "/echo");
    for n in 0..20 {
        echo(&mut peer, &"m".repeat(100 + n));
    }
    // The answer is sent before the tick is over. The answer to the next message shows that it is.
    server.signal(Signal::KILL);
    server.ended();
    let text = fs::read_to_string(&path).unwrap();
    for n in 0..19 {
        assert!(
            text.contains(&format!("\"{}\"", "x".repeat(100 + n))),
            "message {n} is missing"
        );
    }
    assert!(text.ends_with('\n'), "every line is whole");
    let said = replayed(&path);
    let name = path.display();
    assert!(
        said.starts_with(&format!("{name}: ")) && said.contains(" inputs, the same actions\n"),
        "{said}"
    );
    assert!(
        said.ends_with(&format!(
            "{name}: the rest is missing: the server was killed, or it still records\n"
        )),
        "{said}"
    );
}

#[test]
fn a_trace_that_is_cut_anywhere_is_replayed_up_to_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small_trace(&folder.path().join("trace"));
    let path = folder.path().join("cut");
    let first_line = whole.find('\n').unwrap();
    let begin = whole.len() - 400;
    for len in (first_line..first_line + 40).chain(begin..whole.len()) {
        let cut = &whole.as_bytes()[..len];
        fs::write(&path, cut).unwrap();
        let lines = whole[..len].lines().count();
        // A line that lacks only its line feed is whole.
        let is_whole = cut.ends_with(b"\n") || whole.as_bytes()[len] == b'\n';
        let expected = match is_whole {
            true if len == whole.len() - 1 => Ending::Whole,
            true => Ending::Open,
            false => Ending::Cut(lines),
        };
        match replay(&path).unwrap() {
            Replayed::Same { ending, .. } => assert_eq!(ending, expected, "cut at {len} of {}", whole.len()),
            different => panic!("cut at {len}: {different:?}"),
        }
    }
    fs::write(&path, &whole[..whole.len() - 30]).unwrap();
    let (said, lines) = (replayed(&path), whole[..whole.len() - 30].lines().count());
    assert!(
        said.ends_with(&format!(
            "{}: the rest is missing: line {lines} is cut\n",
            path.display()
        )),
        "{said}"
    );
}

#[test]
fn a_recording_stops_at_its_limit_and_the_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let server = recording(&path, &["--record-limit", &LEAST.to_string()]);
    let mut peer = Peer::upgrade(&server, "/echo");
    for _ in 0..4 {
        echo(&mut peer, &"m".repeat(30_000));
    }
    let line = format!(
        "{}: the recording stops: --record-limit ({LEAST} bytes) is reached",
        path.display()
    );
    assert_eq!(server.log().matches(&line).count(), 1, "{}", server.log());
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.len() <= LEAST && text.len() > LEAST - 40_000,
        "{} bytes",
        text.len()
    );
    assert!(text.ends_with("{\"end\":\"limit\"}\n"));
    let said = replayed(&path);
    assert!(
        said.ends_with(": the rest is missing: the file reached --record-limit\n"),
        "{said}"
    );
}

#[test]
fn a_full_disk_stops_the_recording_and_not_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    // A limit of the file's size has the effect of a full disk, if the signal of the limit is ignored.
    let server = Server::start_with("", |command, log| {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap "" XFSZ; ulimit -f 100; exec "$0" "$@""#]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.arg("--record").arg(&path).env_remove("RUST_LOG");
        shell.stdin(Stdio::null()).stdout(Stdio::piped());
        shell.stderr(File::options().append(true).open(log).unwrap());
        *command = shell;
    });
    let mut peer = Peer::upgrade(&server, "/echo");
    for _ in 0..8 {
        echo(&mut peer, &"m".repeat(30_000));
    }
    let line = format!("{}: the recording stops, the server goes on: ", path.display());
    assert_eq!(server.log().matches(&line).count(), 1, "{}", server.log());
    let said = replayed(&path);
    assert!(said.contains(": the rest is missing: "), "{said}");
}

#[test]
fn replay_names_its_file_and_refuses_what_is_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small_trace(&folder.path().join("trace"));
    let path = folder.path().join("other");
    let name = path.display();
    for (text, why) in [
        ("", format!("{name}: the file is empty; ")),
        (
            "GET / HTTP/1.1\n",
            format!("{name}:1: this is not the beginning of a trace; "),
        ),
        (
            "{\"out\":[]}\n",
            format!("{name}:1: this is not the beginning of a trace; "),
        ),
        (&whole[..5], format!("{name}:1: this is not the beginning of a trace; ")),
        (
            "{\"trace\":3}\n",
            format!("{name}:1: the trace has format 3, and this version reads up to 2: "),
        ),
        ("{\"trace\":2}\nnonsense\n", format!("{name}:2: ")),
    ] {
        let said = refused(&path, text);
        assert!(said.starts_with(&format!("jsocketd: {why}")), "{said}");
    }
    let missing = run_replay(&folder.path().join("nothing"));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("nothing: "), "{said}");
}

/// A disk image, for instance: the file is not read to its end before it is refused.
#[test]
fn a_huge_file_without_lines_is_refused_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    File::create(&path).unwrap().set_len(1 << 32).unwrap();
    let mut command = Command::new("sh");
    let replay = "ulimit -v 500000 && exec \"$0\" replay \"$1\"";
    let output = command
        .args(["-c", replay, env!("CARGO_BIN_EXE_jsocketd")])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("image:1: this is not the beginning of a trace"), "{said}");
}

#[test]
fn a_trace_of_version_1_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small_trace(&folder.path().join("trace"));
    let is_new = |line: &&str| {
        ["{\"trace\"", "{\"tick\"", "{\"end\""]
            .iter()
            .any(|new| line.starts_with(new))
    };
    let old: String = whole
        .lines()
        .filter(|line| !is_new(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let path = folder.path().join("old");
    fs::write(&path, &old).unwrap();
    assert!(matches!(
        replay(&path).unwrap(),
        Replayed::Same {
            inputs: 4..,
            ending: Ending::Whole,
            ..
        }
    ));
    fs::write(&path, &old[..old.len() - 3]).unwrap();
    let cut = Ending::Cut(old.lines().count());
    assert!(matches!(replay(&path).unwrap(), Replayed::Same { ending, .. } if ending == cut));
}

#[test]
fn the_limit_has_the_documented_default_and_its_least_value() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        let output = command.arg("serve").args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        )
    };
    let (_, help) = run(&["--help"]);
    assert!(help.contains("[default: 1073741824]"), "{help}");
    let tour = include_str!("../../docs/architecture.md");
    assert!(tour.contains("`--record-limit BYTES`, 1 GiB without the flag"));
    let (_, help) = run(&["--record-limit", "65536"]);
    assert!(help.contains("--record <FILE>"), "the flag needs --record: {help}");
    for wrong in ["65535", "0", "1G"] {
        let (code, said) = run(&["--record", "trace", "--record-limit", wrong]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--record-limit"), "{said}");
    }
}

#[test]
fn a_story_says_in_words_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let whole = small_trace(&path);
    let told = story(&path);
    let all = [
        "the configuration is in force",
        "#0.1 connects from 127.0.0.1",
        "#0.1 asks for a WebSocket: GET /echo",
        "  #0.1 becomes a WebSocket",
        "#0.1 sends a text of 5 bytes: xxxxx",
        "  #0.1 is sent a text of 5 bytes: xxxxx",
        "#0.1 is gone",
        "the server shuts down: it closes its connections",
    ];
    assert_eq!(words(&told), all, "{told}");
    let last = told.lines().rev().take(2).collect::<Vec<_>>();
    assert_eq!(last[1], "the server ended");
    assert_eq!(
        last[0],
        replayed(&path).trim_end(),
        "the result is that of a replay without the story"
    );

    // Every line of a tick stands below the heading of that tick, with its time.
    let (_, after) = told.split_once("#0.1 sends").unwrap();
    let before = &told[..told.len() - after.len()];
    let heading = before.lines().rev().find(|line| line.starts_with("tick ")).unwrap();
    let (began, took) = heading.split_once(" at ").unwrap().1.split_once(", took ").unwrap();
    assert_eq!(
        before.lines().last().unwrap().trim_start(),
        format!("{began}  #0.1 sends")
    );
    assert!(took.strip_suffix(" ms").unwrap().parse::<f64>().is_ok(), "{heading}");

    // A tick without its end, and a text that a terminal would act on.
    let at = whole.find("\"xxxxx\"").unwrap();
    let end = at + whole[at..].find('\n').unwrap() + 1;
    fs::write(&path, whole[..end].replace("xxxxx", "\\u001b[2J\\u202ex")).unwrap();
    let told = story(&path);
    assert!(
        told.contains("a tick whose end is missing\n") && told.contains("a text of 8 bytes: \\u{1b}[2J\\u{202e}x\n"),
        "{told}"
    );

    // A long text is cut.
    fs::write(&path, whole.replace("xxxxx", &"x".repeat(61))).unwrap();
    let told = story(&path);
    let cut = format!(" a text of 61 bytes: {}…", "x".repeat(60));
    assert_eq!(told.matches(&cut).count(), 2, "{told}");
    assert!(include_str!("../../docs/architecture.md").contains("at most 60 characters"));

    // Where the service acts differently, the story ends with what it does now.
    fs::write(&path, whole.replace("#0.1 accept Plain", "#0.1 accept Pusher")).unwrap();
    let told = story(&path);
    assert_eq!(words(&told).last(), Some(&"  #0.1 becomes a WebSocket"), "{told}");
    assert!(told.contains(": other actions\n"), "{told}");
}
