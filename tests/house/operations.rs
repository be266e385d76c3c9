//! docs/operations.md against the source: each limit with its default, its message, its line in the log and its metric;
//! sizes, and the lines of proxies and of commands. `docs.rs` has what holds for every document, `metrics.rs` the table
//! of metrics.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use jsocketd::service::metrics::{Format, encode};
use jsocketd::service::snapshot::Snapshot;
use toml::{Table, Value};

use crate::docs::{blocks, defaults, quoted, rows, sources, unquoted};
use crate::{read, root, snippets};

#[test]
fn the_table_of_limits_says_every_default() {
    let sample = sample();
    let stated = defaults("docs/operations.md", 6, &sample);
    for section in ["limits", "server", "[apps]", "database"] {
        let keys = sample[section].as_table().unwrap().iter();
        for (name, _) in keys.filter(|(_, value)| value.is_integer()) {
            assert!(
                stated.contains_key(&(section.to_owned(), name.clone())),
                "operations.md lacks the limit [{section}] {name}"
            );
        }
    }
}

/// The table's last three cells: what the client gets, the line in the log, the metric.
#[test]
fn the_table_of_limits_quotes_the_source() {
    let (source, metrics) = (joined(&sources()), encode(&Snapshot::default(), Format::Text));
    let statuses = BTreeMap::from([
        ("408", "REQUEST_TIMEOUT"),
        ("413", "PAYLOAD_TOO_LARGE"),
        ("414", "URI_TOO_LONG"),
        ("429", "TOO_MANY_REQUESTS"),
        ("431", "REQUEST_HEADER_FIELDS_TOO_LARGE"),
        ("503", "SERVICE_UNAVAILABLE"),
    ]);
    let (mut codes, mut texts, mut families) = (0, 0, 0);
    for ((section, name), row) in defaults("docs/operations.md", 6, &sample()) {
        let [answer, line, metric] = [3, 4, 5].map(|n| row[n].as_str());
        let place = format!("operations.md, [{section}] {name}");
        // A code or status must be one that the source gives.
        let unquoted = answer
            .split('`')
            .step_by(2)
            .flat_map(|part| part.split(|c: char| !c.is_ascii_digit()));
        for number in unquoted.filter(|word| word.len() > 2) {
            let wanted = match statuses.get(number) {
                Some(status) => vec![format!("StatusCode::{status}")],
                None => vec![
                    format!("::new({number}, "),
                    format!("({number}, \""),
                    format!(", {number}, why"),
                    format!("Some({number})"),
                    format!("(\"LimitReached\", {number})"),
                ],
            };
            assert!(
                wanted.iter().any(|wanted| source.contains(wanted)),
                "{place}: nothing answers {number}"
            );
            codes += 1;
        }
        // A text must be the source's, but for what varies: a key's name, and what the dots stand for.
        let quotations = [answer, line]
            .into_iter()
            .flat_map(|cell| cell.split('`').skip(1).step_by(2));
        for text in quotations.filter(|text| text.contains(' ') && !text.contains("RUST_LOG")) {
            for part in text.split('…').flat_map(|part| part.split(name.as_str())) {
                assert!(
                    source.contains(part.trim()),
                    "{place}: the source does not say {part:?}"
                );
            }
            texts += 1;
        }
        let is_counted = metrics.contains(&format!("jsocketd_limits_reached_total{{limit=\"{name}\"}}"));
        if ["limits", "server"].contains(&section.as_str()) {
            assert_eq!(metric.starts_with("counted"), is_counted, "{place}: {metric}");
        }
        let named: Vec<&str> = quoted(metric)
            .into_iter()
            .filter(|name| name.starts_with("jsocketd_"))
            .collect();
        for family in &named {
            assert!(
                metrics.contains(&format!("# TYPE {family} ")),
                "{place}: no metric {family}"
            );
        }
        families += named.len();
        assert!(
            metric.starts_with("counted") || metric.contains("none") || !named.is_empty(),
            "{place}: name a metric, or say none"
        );
    }
    assert!(
        codes > 25 && texts > 25 && families > 25,
        "{codes} codes, {texts} texts, {families} metrics"
    );
}

/// What a small site reads about sizes is what was measured, and a script that exists measures it again.
#[test]
fn the_figures_of_the_sizes_are_those_of_the_benchmarks() {
    let (text, benchmarks) = (read("docs/operations.md"), read("docs/benchmarks.md"));
    let (_, section) = text.split_once("\n## How much it carries\n").unwrap();
    let (_, table) = section.split_once("| what | measured | by |\n").unwrap();
    let (stated, measured) = (rows(table.split("\n\n").next().unwrap()), rows(&benchmarks));
    for row in &stated {
        let [what, figure, by] = row[..] else {
            panic!("{row:?} has a cell too few or too many")
        };
        let number = figure.split(' ').next().unwrap();
        let scenario = unquoted(by).and_then(|by| by.strip_prefix("scripts/load "));
        if let Some(scenario) = scenario {
            let file = format!("scripts/scenarios/{scenario}.toml");
            assert!(root().join(&file).exists(), "{what}: there is no {file}");
        }
        let is_there = measured.iter().any(|row| {
            let has_number = |cell: &&str| cell.split([' ', ';']).any(|word| word == number);
            let is_of = |cell: &&str| scenario.is_none_or(|name| cell.contains(&format!("`{name}`")));
            row.iter().any(is_of) && row.iter().any(has_number)
        });
        assert!(is_there, "{what}: no table of benchmarks.md has {number} by {by}");
    }
    assert!(stated.len() > 10, "only {} figures were found", stated.len());
}

/// The lines of `jsocketd status` that a reader is told to look at are lines that it prints.
#[test]
fn the_lines_of_status_are_those_that_it_prints() {
    let (text, source) = (read("docs/operations.md"), read("src/commands/status.rs"));
    let (_, table) = text.split_once("\n| line | usual | else |\n").unwrap();
    let labels = rows(table.split("\n\n").next().unwrap());
    let labels: Vec<&str> = labels.iter().filter_map(|row| unquoted(row[0])).collect();
    assert!(labels.len() > 6, "only {labels:?} were found");
    for label in labels {
        let is_there = [format!("\"{label}\""), format!("\"{label} {{}}\"")];
        assert!(
            is_there.iter().any(|text| source.contains(text)),
            "status has no line {label}"
        );
    }
}

/// The hops of `jsocketd doctor` that the page explains are those that it has.
#[test]
fn the_hops_of_the_doctor_are_its_own() {
    let (text, source) = (read("docs/operations.md"), read("src/commands/doctor/report.rs"));
    let (_, table) = text.split_once("\n| hop | proved | ").unwrap();
    let rows = table.split("\n\n").next().unwrap().lines().skip(2);
    let explained: BTreeSet<&str> = rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap())).collect();
    let (_, names) = source.split_once("pub mod hop {").unwrap();
    let names = names.split("pub const ALL").next().unwrap();
    let names: BTreeSet<&str> = names.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > 15, "only {names:?} were found");
    assert_eq!(explained, names);
}

/// The configurations of the proxies are those that the commands write.
#[test]
fn the_lines_for_proxies_are_those_of_setup() {
    let text = read("docs/operations.md").replace("\n   ", "\n");
    let block = |language| blocks(&text, "### By hand", language);
    let upstream = "127.0.0.1:8080";
    assert_eq!(
        block("nginx"),
        [
            snippets::nginx_http("jsocketd", upstream),
            snippets::nginx_location("jsocketd", "/ws")
        ]
    );
    assert_eq!(block("apache"), [snippets::apache_location(upstream, "/ws")]);
    assert_eq!(block("caddy"), [snippets::caddy_lines(upstream, "/ws")]);
    let haproxy = snippets::haproxy_frontend("/ws") + "\n" + &snippets::haproxy_backend(upstream, "/ws");
    assert_eq!(block("haproxy"), [haproxy]);
}

/// A message that a reader finds among the symptoms is one that the server writes.
#[test]
fn the_symptoms_quote_the_source() {
    let (text, source) = (read("docs/operations.md"), joined(&sources()));
    let (_, section) = text.split_once("\n## When something is wrong\n").unwrap();
    let rows = rows(section.split("\n## ").next().unwrap());
    let quotations: Vec<&str> = rows
        .iter()
        .flat_map(|row| row[0].split('"').skip(1).step_by(2))
        .collect();
    assert!(quotations.len() > 10, "only {quotations:?} were found");
    for part in quotations.iter().flat_map(|text| text.split('…')) {
        assert!(source.contains(part.trim()), "the source does not say {part:?}");
    }
}

/// The source with the texts on one line that go on in the next one.
fn joined(source: &str) -> String {
    source.split("\\\n").map(str::trim_start).collect()
}

/// The sample configuration, with the keys of an app under the name `[apps]`: there they are commented out.
fn sample() -> Table {
    let text = read("conf/jsocketd.toml");
    let (_, app) = text.split_once("\n#[[apps]]\n").unwrap();
    let is_key = |line: &&str| {
        let name = line.split(" = ").next().unwrap();
        name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let keys: Vec<&str> = app
        .lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.strip_prefix('#'))
        .filter(is_key)
        .collect();
    let app: Table = keys.join("\n").parse().unwrap();
    let mut sample: Table = text.parse().unwrap();
    assert!(app.len() > 20, "the keys of an app were not found");
    sample.insert("[apps]".into(), Value::Table(app));
    sample
}
