//! The index `tests/README.md` against the folder: every test stands in it, every file that it names exists, and so
//! does every group of the Rust tests.

use std::collections::BTreeSet;

use crate::docs::quoted;
use crate::{files, read, root};

/// The folders that the documents name from the root of the repository; every other path is below `tests/`.
const ELSEWHERE: [&str; 4] = ["conf/", "scripts/", "src/", "tests/"];

#[test]
fn every_test_has_its_row() {
    let text = read("tests/README.md");
    let named = named(&text);
    let all: Vec<String> = files(&["tests"])
        .into_iter()
        .filter_map(|(path, text)| test(&path, &text))
        .collect();
    assert!(
        all.len() > 80,
        "only {} tests were found: is the search broken?",
        all.len()
    );
    let is_named = |path: &str| {
        named
            .iter()
            .any(|name| path == *name || name.ends_with('/') && path.starts_with(name))
    };
    let missing: Vec<&String> = all.iter().filter(|path| !is_named(path)).collect();
    assert!(missing.is_empty(), "tests/README.md lacks: {missing:?}");
}

#[test]
fn every_folder_has_its_row() {
    let text = read("tests/README.md");
    let named = named(&text);
    let folders: BTreeSet<String> = files(&["tests"])
        .into_iter()
        .filter_map(|(path, _)| folder(&path))
        .collect();
    let missing: Vec<&String> = folders
        .iter()
        .filter(|folder| !named.iter().any(|name| name.starts_with(folder.as_str())))
        .collect();
    assert!(missing.is_empty(), "tests/README.md lacks: {missing:?}");
}

#[test]
fn every_file_of_the_index_exists() {
    let text = read("tests/README.md");
    for name in paths(&text) {
        let folder = if is_elsewhere(name) { "" } else { "tests" };
        assert!(
            root().join(folder).join(name).exists(),
            "tests/README.md names {name}, which does not exist"
        );
    }
}

#[test]
fn every_group_says_how_it_is_run() {
    let text = read("tests/README.md");
    let prefix = "cargo test --test ";
    let stated: BTreeSet<&str> = quoted(&text)
        .into_iter()
        .filter_map(|words| words.strip_prefix(prefix))
        .collect();
    let all = files(&["tests"]);
    let groups = all
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("tests/")?.strip_suffix("/main.rs"));
    assert_eq!(stated, groups.collect());
}

/// The files and folders that the index names.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let names = quoted(text).into_iter();
    names.filter(|name| name.contains('/') && !name.contains(' '))
}

/// Whether a path begins at the root of the repository, and not in `tests/`.
fn is_elsewhere(path: &str) -> bool {
    ELSEWHERE.iter().any(|folder| path.starts_with(folder))
}

/// Those below `tests/`.
fn named(text: &str) -> BTreeSet<&str> {
    paths(text).filter(|name| !is_elsewhere(name)).collect()
}

/// The path of a file below `tests/`, if there are tests in it.
fn test(path: &str, text: &str) -> Option<String> {
    let is_test = match path.rsplit_once('.')? {
        (_, "rs") => text.contains("\n#[test]\n"),
        (stem, "mjs") => stem.ends_with(".test"),
        (stem, "php") => stem.ends_with("Test"),
        (stem, "py") => stem.contains("/test_"),
        _ => false,
    };
    is_test.then(|| path["tests/".len()..].to_owned())
}

/// The folder of `tests/` in which a file is, with its slash.
fn folder(path: &str) -> Option<String> {
    let (folder, _) = path.strip_prefix("tests/")?.split_once('/')?;
    Some(format!("{folder}/"))
}
