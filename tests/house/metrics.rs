//! The table of metrics in docs/operations.md: it has each metric that the server writes, and no other.

use std::collections::BTreeSet;

use jsocketd::service::metrics::{Format, encode};
use jsocketd::service::snapshot::Snapshot;

use crate::docs::quoted;
use crate::read;

#[test]
fn every_limit_that_is_counted_is_a_key() {
    let (sample, text) = (read("conf/jsocketd.toml"), encode(&Snapshot::default(), Format::Text));
    let limits = text.lines().filter_map(|line| {
        line.strip_prefix("jsocketd_limits_reached_total{limit=\"")?
            .split('"')
            .next()
    });
    let limits: Vec<&str> = limits.collect();
    assert!(limits.len() > 10, "only {limits:?} were found");
    for limit in limits {
        assert!(sample.contains(&format!("\n{limit} = ")), "there is no key {limit}");
    }
}

#[test]
fn the_table_has_each_metric_and_no_other() {
    let document = read("docs/operations.md");
    let (_, section) = document.split_once("\n## Metrics\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let stated: Vec<&str> = rows.collect();
    let text = encode(&Snapshot::default(), Format::Text);
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let written: Vec<&str> = types.collect();
    assert!(written.len() > 40, "only {} metrics were found", written.len());
    assert_eq!(stated, written, "the table and the source, in the same order");
    // Elsewhere in the documents a name must exist too.
    for path in ["docs/operations.md", "README.md", "CHANGELOG.md"] {
        let text = read(path);
        // The name of a package of Debian begins in the same way.
        let is_metric = |name: &&str| name.starts_with("jsocketd_") && !name.ends_with(".deb");
        let names = quoted(&text).into_iter().filter(is_metric);
        let unknown: BTreeSet<&str> = names.filter(|name| !written.contains(name)).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
    }
}
