//! The documentation against the repository: every file that it names exists, every default and constant that it states
//! is the source's, every name of the tour is still a name. It does not judge prose.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jsocketd::config::ItemType;
use jsocketd::protocol::control::Control;
use jsocketd::store::grants::grants;
use toml::{Table, Value};

use crate::{files, read, root};

/// A path in a document that begins so is a file or folder of this repository.
const FOLDERS: [&str; 8] = [
    "src/",
    "conf/",
    "docs/",
    "scripts/",
    "tests/",
    "joomla/",
    "examples/",
    ".ci/",
];

/// The documents of the root and everything in `docs`, by path.
fn documents() -> Vec<(String, String)> {
    let mut paths = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
        .map(str::to_owned)
        .to_vec();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            paths.push(format!("docs/{name}"));
        }
    }
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The cells of the rows of every table in `text`, heads and rules left out.
pub fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("|-");
    (0..lines.len())
        .filter(|n| lines[*n].starts_with('|') && !is_rule(lines[*n]))
        .filter(|n| lines.get(n + 1).is_none_or(|next| !is_rule(next)))
        .map(|n| lines[n].trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The texts between backticks, code blocks left out.
pub fn quoted(text: &str) -> BTreeSet<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// The text without its backticks, if it is wrapped in one pair.
pub fn unquoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?
        .strip_suffix('`')
        .filter(|inner| !inner.contains('`'))
}

#[test]
fn every_file_that_is_named_exists() {
    let mut named = 0;
    for (document, text) in documents() {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !"._/-@".contains(c)) {
            let word = word.trim_end_matches('.');
            if FOLDERS.iter().any(|folder| word.starts_with(folder)) {
                named += 1;
                assert!(
                    root().join(word).exists(),
                    "{document} names {word}, which does not exist"
                );
            }
        }
    }
    assert!(
        named > 50,
        "only {named} files were found in the documents: is the search broken?"
    );
}

#[test]
fn every_link_leads_somewhere() {
    let index = ("tests/README.md".to_owned(), read("tests/README.md"));
    for (document, text) in documents().into_iter().chain([index]) {
        let folder = root().join(&document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&document)
            } else {
                folder.join(file)
            };
            assert!(target.exists(), "{document} links to {link}, which does not exist");
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let found = headings.lines().filter(|line| line.starts_with('#')).any(|line| {
                    let title = line.trim_start_matches('#').trim().to_lowercase();
                    title.replace(' ', "-").replace(['.', ',', '`'], "") == anchor
                });
                assert!(found, "{document} links to {link}, but there is no such heading");
            }
        }
    }
}

#[test]
fn the_periods_of_the_privacy_page_are_the_defaults() {
    let sample = read("conf/jsocketd.toml");
    let parsed: Table = sample.parse().unwrap();
    let text = read("docs/privacy.md");
    let mut stated = 0;
    // `[section] key`, 300 s
    for part in text.split("`[").skip(1) {
        let (key, rest) = part.split_once('`').unwrap();
        let Some((section, name)) = key.split_once("] ") else {
            continue;
        };
        let Some(rest) = rest.strip_prefix(", ") else { continue };
        let seconds: i64 = rest.split(' ').next().unwrap().parse().unwrap();
        assert!(
            rest.starts_with(&format!("{seconds} s")),
            "privacy.md: {key} has no unit"
        );
        // Apps are commented out in the sample: it has none.
        match section {
            "[apps]" => assert!(sample.contains(&format!("#{name} = {seconds} ")), "privacy.md: {key}"),
            section => assert_eq!(parsed[section][name].as_integer(), Some(seconds), "privacy.md: {key}"),
        }
        stated += 1;
    }
    assert!(stated >= 3, "only {stated} periods were found");
}

/// The scripts of pages store nothing but what privacy.md lists.
#[test]
fn the_browser_stores_what_the_privacy_page_says() {
    let scripts = files(&["joomla", "src/page"]);
    let scripts = scripts.iter().filter(|(path, _)| path.ends_with(".js"));
    let mut stores = BTreeMap::new();
    for (path, text) in scripts {
        let code = text.lines().map(|line| line.split("//").next().unwrap());
        let code = code.collect::<Vec<_>>().join("\n");
        for word in ["localStorage", "document.cookie", "indexedDB", "caches."] {
            assert!(!code.contains(word), "{path}: privacy.md does not list {word}");
        }
        let writes = code.matches("sessionStorage.setItem(").count();
        assert_eq!(writes > 0, code.contains("sessionStorage"), "{path}");
        if writes > 0 {
            stores.insert(path.as_str(), writes);
        }
    }
    // The positions and the time of a reload; the commands of the two consoles.
    let listed = [
        ("joomla/com_websockets/media/js/console.js", 1),
        ("joomla/com_websockets/media/js/websockets.js", 2),
        ("src/page/console.js", 1),
    ];
    assert_eq!(stores, BTreeMap::from(listed));
}

/// The rows of a document whose first cell is a key (`[section] name`), by key. The default that the second cell states
/// must be that of the sample.
pub fn defaults(document: &str, cells: usize, sample: &Table) -> BTreeMap<(String, String), Vec<String>> {
    let text = read(document);
    let mut stated = BTreeMap::new();
    for row in rows(&text) {
        let Some((section, name)) = row
            .first()
            .and_then(|cell| unquoted(cell)?.strip_prefix('[')?.split_once("] "))
        else {
            continue;
        };
        let default = match &sample[section][name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(
            unquoted(row[1]),
            Some(default.as_str()),
            "{document}: the default of [{section}] {name}"
        );
        assert_eq!(
            row.len(),
            cells,
            "{document}: [{section}] {name} has a cell too few or too many"
        );
        let cells = row.into_iter().map(str::to_owned).collect();
        stated.insert((section.to_owned(), name.to_owned()), cells);
    }
    stated
}

#[test]
fn the_page_about_joomla_says_every_number_of_the_database() {
    let sample: Table = read("conf/jsocketd.toml").parse().unwrap();
    let stated = defaults("docs/joomla.md", 3, &sample);
    let joomla = ["identity_timeout", "sweep_interval"].map(|name| ("joomla", name));
    let database = sample["database"].as_table().unwrap();
    let numbers = database.iter().filter(|(_, value)| value.is_integer());
    for (section, name) in joomla
        .into_iter()
        .chain(numbers.map(|(name, _)| ("database", name.as_str())))
    {
        assert!(
            stated.contains_key(&(section.to_owned(), name.to_owned())),
            "joomla.md lacks [{section}] {name}"
        );
    }
}

#[test]
fn the_constants_of_the_documents_are_those_of_the_source() {
    for (document, least) in [("docs/architecture.md", 16), ("docs/joomla.md", 10)] {
        constants(document, least);
    }
}

/// Compares the rows `name | value | file | why` of a document with the source.
fn constants(document: &str, least: usize) {
    let text = read(document);
    let mut compared = 0;
    for row in rows(&text) {
        let [name, value, file, _] = row[..] else { continue };
        let (Some(name), Some(value), Some(file)) = (unquoted(name), unquoted(value), unquoted(file)) else {
            continue;
        };
        let source = read(file);
        let start = source
            .find(&format!("const {name}: "))
            .unwrap_or_else(|| panic!("{file} has no constant {name}"));
        let definition = source[start..].split(";\n").next().unwrap();
        let (_, defined) = definition.split_once(" = ").unwrap();
        assert_eq!(value, defined, "{name} in {file}");
        compared += 1;
    }
    assert!(compared >= least, "only {compared} constants were found in {document}");
}

/// The code blocks of a language within a section of a document: from its heading to the next of the same depth or
/// less.
pub fn blocks<'a>(text: &'a str, heading: &str, language: &str) -> Vec<&'a str> {
    let (_, section) = text.split_once(&format!("\n{heading}\n")).unwrap();
    let depth = heading.bytes().take_while(|byte| *byte == b'#').count();
    let ends = (1..=depth).filter_map(|depth| section.find(&format!("\n{} ", "#".repeat(depth))));
    let section = &section[..ends.min().unwrap_or(section.len())];
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_tables_of_the_outbox_are_those_of_the_source() {
    let text = read("docs/joomla.md");
    assert_eq!(
        blocks(&text, "## Publishing through the table", "sql"),
        [read("joomla/com_websockets/admin/sql/install.mysql.utf8.sql")]
    );
}

#[test]
fn the_privileges_are_those_that_check_prints() {
    let text = read("docs/joomla.md");
    let block = blocks(&text, "### Privileges", "sql")[0];
    let stated: Vec<&str> = block.lines().filter(|line| line.starts_with("GRANT")).collect();
    assert_eq!(
        stated,
        grants("joomla", "jos_", "'jsocketd'@'localhost'", &[ItemType::article()])
    );
}

#[test]
fn every_reason_why_a_visitor_is_a_guest_is_explained() {
    let text = read("docs/joomla.md");
    let (_, section) = text.split_once("\n### Why a visitor is a guest\n").unwrap();
    let section = section.split("\n#").next().unwrap();
    let rows = rows(section);
    let stated: BTreeSet<&str> = rows.iter().filter_map(|row| unquoted(row[0])).collect();
    let (all, identity) = (sources(), read("src/joomla/identity.rs"));
    let (_, reasons) = identity.split_once("pub enum Reason {\n").unwrap();
    let (reasons, _) = reasons.split_once("\n}\n").unwrap();
    let names = reasons.lines().filter_map(|line| line.trim().strip_suffix(','));
    // A reason that is never given stands in its own list only.
    let given = names.filter(|name| all.contains(&format!("Reason::{name}")));
    let kebab = |name: &str| -> String {
        let dashed = name.chars().map(|c| match c.is_ascii_uppercase() {
            true => format!("-{}", c.to_ascii_lowercase()),
            false => c.to_string(),
        });
        dashed.collect::<String>().trim_start_matches('-').to_owned()
    };
    let given: BTreeSet<String> = given.map(kebab).collect();
    assert!(given.len() > 10, "only {} reasons were found", given.len());
    assert_eq!(stated, given.iter().map(String::as_str).collect());
}

#[test]
fn every_control_row_that_is_documented_is_understood() {
    let text = read("docs/joomla.md");
    let (_, section) = text.split_once("\n### Control rows\n").unwrap();
    let rows = rows(section.split("\n#").next().unwrap());
    for row in &rows {
        let (verb, data) = (unquoted(row[0]).unwrap(), unquoted(row[1]).unwrap());
        assert!(Control::read(verb, data).is_ok(), "{verb} {data}");
    }
    assert_eq!(rows.len(), 4);
}

#[test]
fn every_name_of_the_tour_is_in_the_source() {
    let source = sources();
    let words: BTreeSet<&str> = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let tour = read("docs/architecture.md");
    let is_name = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let mut checked = 0;
    for name in quoted(&tour).into_iter().flat_map(|name| name.split("::")) {
        let is_word = is_name(name) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        // Single lower-case words (`net`, `x`) are too likely to be found anyway.
        if is_word && (name.contains('_') || name.starts_with(|c: char| c.is_ascii_uppercase())) {
            checked += 1;
            assert!(
                words.contains(name),
                "architecture.md names {name}, which is nowhere in the source"
            );
        }
    }
    assert!(
        checked > 60,
        "only {checked} names were found in the tour: is the search broken?"
    );
}

#[test]
fn the_benchmarks_name_every_scenario_and_what_it_expects() {
    let text = read("docs/benchmarks.md");
    let expectations: BTreeMap<&str, Vec<&str>> = rows(&text)
        .into_iter()
        .filter(|row| row.len() == 3)
        .filter_map(|row| Some((unquoted(row[0])?, row[2].split(", ").filter_map(unquoted).collect())))
        .filter(|(_, expected): &(&str, Vec<&str>)| !expected.is_empty())
        .collect();
    let files = fs::read_dir(root().join("scripts/scenarios")).unwrap();
    for path in files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        // A variant without history has the expectations of its original.
        let name = name.strip_suffix("-no-history").unwrap_or(name);
        let expected = expectations
            .get(name)
            .unwrap_or_else(|| panic!("benchmarks.md lacks the scenario {name}"));
        let scenario = fs::read_to_string(root().join(format!("scripts/scenarios/{name}.toml"))).unwrap();
        for expected in expected {
            assert!(
                scenario
                    .lines()
                    .any(|line| line.split('#').next().unwrap().trim() == *expected),
                "{name} does not expect {expected}"
            );
        }
    }
    for name in expectations.keys() {
        let path = format!("scripts/scenarios/{name}.toml");
        assert!(
            root().join(&path).exists(),
            "benchmarks.md names {name}, which does not exist"
        );
    }
}

/// All Rust of the server, its tests (but not those of this folder) and its dependencies' names in `Cargo.toml`.
pub fn sources() -> String {
    let rust = files(&["src", "tests"])
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs") && !path.starts_with("tests/house/"));
    rust.fold(read("Cargo.toml"), |all, (_, text)| all + &text)
}
