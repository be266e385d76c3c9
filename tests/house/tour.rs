//! Everything that exists must be documented: phases, lists and limits of the loop, files of the source, keys, flags,
//! commands. `docs.rs` tests the other direction: everything that is documented must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsocketd::flight::Kind;
use toml::{Table, Value};

use crate::docs::quoted;
use crate::{read, root};

/// The files that are read in an hour, as the tour names them.
const HOUR: [&str; 8] = [
    "examples/echo.rs",
    "src/server/mod.rs",
    "src/net/io.rs",
    "src/net/poll.rs",
    "src/net/polled.rs",
    "src/net/connection.rs",
    "src/net/send_queue.rs",
    "src/net/wheel.rs",
];

fn tour() -> String {
    read("docs/architecture.md")
}

/// The files below a folder, from the root, without those that are tests.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                found.push(name);
            }
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// The source up to its tests.
fn product(file: &str) -> String {
    let text = read(file);
    text.split("\n#[cfg(test)]").next().unwrap().to_owned()
}

/// All words between backticks or in code blocks, in every document.
fn words_of_the_documents() -> BTreeSet<String> {
    let mut paths = vec![root().join("README.md")];
    paths.extend(
        entries(&root().join("docs"))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|ext| ext == "md")),
    );
    let mut words = BTreeSet::new();
    for path in paths {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("```").enumerate().flat_map(|(n, part)| match n % 2 {
            0 => part.split('`').skip(1).step_by(2).collect(),
            _ => vec![part],
        });
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        for part in code {
            words.extend(part.split(|c: char| !is_part(c)).map(str::to_owned));
        }
    }
    words
}

/// Fails with a list of the names for which `is_there` is false.
fn all_there(what: &str, least: usize, names: &[String], is_there: impl Fn(&str) -> bool) {
    assert!(names.len() >= least, "only {} of these were found: {what}", names.len());
    let missing: Vec<&String> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "not documented: {what}: {missing:?}");
}

#[test]
fn every_phase_has_its_row_in_its_place() {
    let source = read("src/server/mod.rs");
    let (_, body) = source.split_once("pub fn tick(").unwrap();
    let body = body.split("\n    }\n").next().unwrap();
    let calls = body.lines().filter_map(|line| line.trim().strip_prefix("self."));
    let phases: Vec<&str> = calls
        .filter_map(|call| call.split_once("()"))
        .map(|(name, _)| name)
        .filter(|name| !name.contains('.'))
        .collect();
    assert!(phases.len() > 7, "{phases:?}");
    let tour = tour();
    let (_, section) = tour.split_once("\n## One tick\n").unwrap();
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let stated: Vec<&str> = rows.map(|(name, _)| name).take(phases.len()).collect();
    assert_eq!(stated, phases);
}

/// The fields of the loop's structs that are lists of something.
#[test]
fn every_list_of_the_loop_is_in_the_tour() {
    let mut lists = Vec::new();
    for file in ["mod", "connections", "act", "accept"] {
        for line in product(&format!("src/server/{file}.rs")).lines() {
            let Some((name, kind)) = line.strip_suffix(',').and_then(|line| line.split_once(": ")) else {
                continue;
            };
            let is_list =
                kind == "List" || (kind.starts_with("Vec<") || kind.starts_with("VecDeque<")) && !kind.contains("u8");
            if is_list && line.starts_with("    ") && !line.starts_with("     ") {
                lists.push(name.rsplit(' ').next().unwrap().to_owned());
            }
        }
    }
    // The two buffers of a list are no lists of their own.
    lists.retain(|name| name != "filling" && name != "spare");
    let tour = tour();
    let names = quoted(&tour);
    all_there("lists", 9, &lists, |name| names.contains(name));
}

/// Constants of `server/` and `net/` that are numbers or durations.
#[test]
fn every_limit_of_the_loop_has_its_row() {
    let mut limits = Vec::new();
    for file in sources("src/server").into_iter().chain(sources("src/net")) {
        for line in product(&file).lines() {
            let line = line
                .trim_start_matches("pub ")
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub(crate) ");
            let Some((name, rest)) = line.strip_prefix("const ").and_then(|rest| rest.split_once(": ")) else {
                continue;
            };
            let kind = rest.split(' ').next().unwrap();
            let is_number = ["usize", "isize", "Duration"].contains(&kind)
                || kind
                    .strip_prefix(['u', 'i', 'f'])
                    .is_some_and(|bits| bits.parse::<u32>().is_ok());
            if is_number {
                limits.push(format!("| `{name}` | {}", file));
            }
        }
    }
    let tour = tour();
    let has_row = |limit: &str| {
        let (name, file) = limit.rsplit_once(' ').unwrap();
        tour.lines()
            .any(|line| line.starts_with(name) && line.contains(&format!("| `{file}` |")))
    };
    all_there("limits", 30, &limits, has_row);
}

/// At the top of the source, every file or folder has a row; in the rooms that the tour is about, every file has one.
#[test]
fn every_file_of_the_house_has_its_row() {
    let mut files = Vec::new();
    for folder in ["src", "src/server", "src/net"] {
        for path in entries(&root().join(folder)) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true => files.push(format!("{name}/")),
                false => files.push(name),
            }
        }
    }
    // These two have their files in the table.
    files.retain(|name| name != "src/server/" && name != "src/net/");
    let tour = tour();
    let names = quoted(&tour);
    all_there("files", 50, &files, |name| names.contains(name));
}

#[test]
fn every_key_is_in_the_documents() {
    let sample = read("conf/jsocketd.toml");
    // A key that is commented out in the sample is a key too.
    let is_key = |line: &str| {
        line.split_once(" = ")
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let names = sample
        .lines()
        .map(|line| line.trim_start_matches('#'))
        .filter(|line| is_key(line));
    let mut keys: BTreeSet<String> = names
        .filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()))
        .collect();
    for section in sample.parse::<Table>().unwrap().values().filter_map(Value::as_table) {
        keys.extend(section.keys().cloned());
    }
    let words = words_of_the_documents();
    let keys: Vec<String> = keys.into_iter().collect();
    all_there("keys", 90, &keys, |key| words.contains(key));
}

/// The commands that `help` shows. Commands that only the server starts are hidden there.
#[test]
fn every_command_and_every_flag_is_in_the_documents() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_jsocketd"))
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&["--help"]);
    let (_, section) = all.split_once("Commands:\n").unwrap();
    let commands = section
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    let commands: Vec<String> = commands.filter(|name| *name != "help").map(str::to_owned).collect();
    let mut flags = BTreeSet::new();
    for command in &commands {
        for word in help(&[command, "--help"]).split_whitespace() {
            let flag = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            if flag.starts_with("--") && !["--", "--help", "--version"].contains(&flag) {
                flags.insert(flag.to_owned());
            }
        }
    }
    let words = words_of_the_documents();
    all_there("commands", 5, &commands, |name| words.contains(name));
    let flags: Vec<String> = flags.into_iter().collect();
    all_there("flags", 7, &flags, |flag| words.contains(flag));
}

#[test]
fn every_console_command_is_in_the_documents() {
    let source = read("src/service/console.rs");
    let (_, list) = source.split_once("const COMMANDS: ").unwrap();
    let list = list.split("\n];").next().unwrap();
    let names = list
        .split('(')
        .skip(1)
        .filter_map(|row| row.trim_start().strip_prefix('"')?.split('"').next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let words = words_of_the_documents();
    all_there("console commands", 10, &names, |name| words.contains(name));
}

/// Each kind of culprit of a slow tick has a row in operations.md and a test that brings it about.
#[test]
fn every_kind_of_culprit_is_explained_and_brought_about() {
    let manual = read("docs/operations.md");
    let (_, table) = manual.split_once("| culprit | what it is |").unwrap();
    let rows = table.split("\n\n").next().unwrap().lines().skip(2);
    let explained: BTreeSet<&str> = rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap())).collect();
    assert_eq!(explained, Kind::names().collect());
    let files = [
        "tests/server/culprits.rs",
        "tests/database/culprits_of_sql.rs",
        "tests/tls/serving.rs",
    ];
    let cases: String = files.map(read).concat().split_whitespace().collect();
    // Nothing is known that brings "other" about: such a tick is a fault of the recorder.
    for kind in Kind::names().filter(|kind| *kind != "other") {
        let is_expected = ["&site.server", "&server", "server"].into_iter().any(|server| {
            cases.contains(&format!("expect_culprit({server},\"{kind}\","))
                || cases.contains(&format!("culprit({server},\"{kind}\","))
        });
        assert!(is_expected, "no case expects {kind} of a running server");
    }
}

#[test]
fn the_tour_says_how_long_the_files_of_the_hour_are() {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines: usize = HOUR
        .iter()
        .map(|file| product(file).lines().filter(is_code).count())
        .sum();
    let tour = tour();
    let (_, section) = tour.split_once("\n## The loop in an hour\n").unwrap();
    let stated = section.split("about ").nth(1).unwrap().split(' ').next().unwrap();
    let stated: usize = stated.replace(',', "").parse().unwrap();
    assert!(
        lines.abs_diff(stated) <= 50,
        "the tour says {stated} lines, and these are {lines}"
    );
    let names = quoted(section.split("\n## ").next().unwrap());
    all_there("files of the hour", HOUR.len(), &HOUR.map(str::to_owned), |name| {
        names.contains(name)
    });
}

/// The solution of the tour's first exercise fits onto the source, and the command works.
#[test]
fn the_exercise_has_a_solution() {
    let patch = root().join("docs/exercise-console-command.patch");
    let copy = tempfile::tempdir().unwrap();
    let all = std::env::var_os("TEST_ALL").is_some();
    let parts: &[&str] = match all {
        // The files that the source includes, and the files that Cargo needs.
        true => &["src", "conf", "joomla", "tests/fixtures", "Cargo.toml", "Cargo.lock"],
        false => &["src/service"],
    };
    for part in parts {
        let to = copy.path().join(part);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        run(Command::new("cp").arg("-r").arg(root().join(part)).arg(to));
    }
    run(Command::new("git").arg("apply").arg(patch).current_dir(copy.path()));
    if all {
        // The copy shares the dependencies that are built already.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut test = Command::new(env!("CARGO"));
        test.args(["test", "--offline", "--lib", "service::console"])
            .current_dir(copy.path());
        // The variables that Cargo sets for this test are removed: ring's build script reads some of them, so ring and
        // all that depends on it would be compiled again, in the copy and then here.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text == "OUT_DIR" || text.starts_with("CARGO_MANIFEST") || text.starts_with("CARGO_PKG") {
                test.env_remove(name);
            }
        }
        run(test.env("CARGO_TARGET_DIR", target));
    } else {
        println!("SKIPPED: the patched source is built with TEST_ALL=1");
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
