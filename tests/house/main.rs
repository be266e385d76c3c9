//! Rules about the repository that no compiler checks: these tests read its sources, documents and scripts as text.

#![allow(clippy::unwrap_used)]

mod arrows;
mod build;
mod columns;
mod docs;
mod index;
mod metrics;
mod operations;
mod programs;
mod protocol_document;
#[allow(dead_code)]
#[path = "../../src/commands/snippets.rs"]
mod snippets;
mod tour;

use std::fs;
use std::path::Path;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository, by its path.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text file in these folders of the repository, by its path; packages of npm are not the repository's.
fn files(folders: &[&str]) -> Vec<(String, String)> {
    let mut folders: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.ends_with("node_modules") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.push((name.to_owned(), text));
            }
        }
    }
    found
}
