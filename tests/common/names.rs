//! Names of hosts that exist for one server alone, and whose addresses a test changes while it runs. The server is
//! started with a small library in front of the system's resolver; see `tests/fixtures/getaddrinfo.c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The names and their addresses.
pub struct Names {
    folder: tempfile::TempDir,
}

impl Names {
    /// No name exists yet.
    ///
    /// # Panics
    /// Where there is no C compiler, without which there would be no server either.
    pub fn none() -> Self {
        let names = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/getaddrinfo.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(names.library())
            .arg(source)
            .arg("-ldl")
            .status()
            .expect("there is a C compiler");
        assert!(compiled.success(), "the library is compiled");
        names.set(&[]);
        names
    }

    /// These are the names from here on, each with an address or with `hang`.
    pub fn set(&self, names: &[(&str, &str)]) {
        let lines: String = names
            .iter()
            .map(|(name, address)| format!("{name} {address}\n"))
            .collect();
        // Renamed into its place: no reader sees half of it.
        let new = self.folder.path().join("new");
        fs::write(&new, lines).expect("written");
        fs::rename(new, self.file()).expect("renamed");
    }

    /// A command that is about to run has these names.
    pub fn are_those_of(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.library()).env("TEST_NAMES", self.file());
    }

    /// The processes that looked this name up so far.
    pub fn lookups(&self, name: &str) -> Vec<u32> {
        let calls = fs::read_to_string(self.folder.path().join("names.calls")).unwrap_or_default();
        let calls = calls.lines().filter_map(|line| line.split_once(' '));
        let calls = calls.filter(|(_, asked)| *asked == name);
        calls.map(|(pid, _)| pid.parse().expect("a process id")).collect()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("names")
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("getaddrinfo.so")
    }
}
