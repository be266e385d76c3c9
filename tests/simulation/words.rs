//! Stories in words: the notes of the clients and of the network between what the server decided. The server's part is
//! the story that `jsocketd replay --story` tells of a trace.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use jsocketd::time::Now;
use jsocketd::trace::{self, Payloads, Recording};

use crate::{play, server};

/// The seed of the story that is kept in a file: one client, and a few mishaps.
const SEED: u64 = 391;

/// What clients and the network do.
#[derive(Default)]
pub struct Notes {
    /// The number of the latest tick.
    tick: u64,
    /// By tick: the notes of what happens before it, of what arrives in it, and of what leaves in it.
    all: BTreeMap<u64, [Vec<String>; 3]>,
}

impl Notes {
    /// A tick begins.
    pub fn tick(&mut self) {
        self.tick += 1;
    }

    /// Something happens before the next tick.
    pub fn before(&mut self, now: Now, what: String) {
        self.all.entry(self.tick + 1).or_default()[0].push(stamped(now, &what));
    }

    /// Something arrives at the server in the latest tick.
    pub fn arrives(&mut self, now: Now, what: String) {
        self.all.entry(self.tick).or_default()[1].push(stamped(now, &what));
    }

    /// Something leaves the server in the latest tick.
    pub fn leaves(&mut self, now: Now, what: String) {
        self.all.entry(self.tick).or_default()[2].push(stamped(now, &what));
    }
}

/// As the lines of the server's story.
fn stamped(now: Now, what: &str) -> String {
    format!("{:>5}.{:06} s  {what}", now.at.0 / 1_000_000, now.at.0 % 1_000_000)
}

/// Plays a story and returns it in words, and how it ended.
fn told(seed: u64) -> (String, std::thread::Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording {
        path: folder.path().join("trace"),
        payloads: Payloads::Plain,
        limit: u64::MAX,
    };
    let (mut server, world) = server(seed);
    world.borrow_mut().notes = Some(Notes::default());
    server.record(&recording).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| play(server, &world)));
    let mut decided = Vec::new();
    trace::tell(&recording.path, &mut decided).unwrap();
    let notes = world.borrow_mut().notes.take().unwrap();
    (joined(&notes, &String::from_utf8(decided).unwrap()), result)
}

/// The notes of the world and the story of the server, tick by tick.
fn joined(notes: &Notes, decided: &str) -> String {
    let mut ticks: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let mut tick = 0;
    for line in decided.lines() {
        if let Some(rest) = line.strip_prefix("tick ") {
            tick = rest.split(' ').next().unwrap().parse().unwrap();
        }
        ticks.entry(tick).or_default().push(line.trim_end());
    }
    let mut story = Vec::new();
    for tick in 0..=notes.tick + 1 {
        let none = Default::default();
        let [before, arrives, leaves] = notes.all.get(&tick).unwrap_or(&none);
        if !before.is_empty() {
            story.push(format!("before tick {tick}"));
        }
        story.extend_from_slice(before);
        let decided = ticks.get(&tick).map_or(&[][..], Vec::as_slice);
        match decided.first() {
            Some(heading) => story.push((*heading).to_owned()),
            None if arrives.is_empty() && leaves.is_empty() => {}
            None => story.push(format!("tick {tick}, without a decision")),
        }
        story.extend_from_slice(arrives);
        story.extend(decided.iter().skip(1).map(|line| (*line).to_owned()));
        story.extend_from_slice(leaves);
    }
    story.join("\n") + "\n"
}

/// Prints a story, also one that ends badly.
pub fn print(seed: u64) {
    let (story, result) = told(seed);
    // The output that goes through `print!` is only shown when the test fails.
    io::stdout().write_all(story.as_bytes()).unwrap();
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/story.txt")
}

/// The story in the file shows how the loop takes its decisions. A change of them is seen here.
#[test]
fn a_short_story_is_told_as_in_the_file() {
    let (story, result) = told(SEED);
    result.unwrap();
    if std::env::var_os("SIM_RENEW").is_some() {
        fs::write(kept(), &story).unwrap();
    }
    let file = fs::read_to_string(kept()).unwrap_or_default();
    if let Some((n, (now, kept))) = story
        .lines()
        .zip(file.lines())
        .enumerate()
        .find(|(_, (now, kept))| now != kept)
    {
        panic!(
            "line {} of {}:\n  was {kept}\n  is  {now}\n{RENEW}",
            n + 1,
            self::kept().display()
        );
    }
    assert_eq!(
        story.lines().count(),
        file.lines().count(),
        "{}: {RENEW}",
        kept().display()
    );
}

const RENEW: &str = "If the change is meant, renew the file: SIM_RENEW=1 cargo test --test simulation words";

/// A story must not depend on being told.
#[test]
fn telling_a_story_does_not_change_it() {
    for seed in [1, 77, 4242] {
        let (mut server, world) = server(seed);
        let folder = tempfile::tempdir().unwrap();
        world.borrow_mut().notes = Some(Notes::default());
        let path = folder.path().join("trace");
        let (payloads, limit) = (Payloads::Plain, u64::MAX);
        server.record(&Recording { path, payloads, limit }).unwrap();
        play(server, &world);
        assert_eq!(world.borrow().history, crate::story(seed), "seed {seed}");
    }
}
