//! Comments and documents have at most 120 columns.

use crate::files;

/// Of a comment or a document.
const COLUMNS: usize = 120;

#[test]
fn comments_and_documents_have_at_most_120_columns() {
    let mut found = 0;
    for (path, text) in files(&["src", "tests", "examples", "docs"]) {
        let long: Vec<usize> = match path.rsplit('.').next() {
            Some("rs") => too_long(&text, |line| line.trim_start().starts_with("//")),
            Some("md") => {
                let mut in_code = false;
                too_long(&text, |line| {
                    in_code ^= line.trim_start().starts_with("```");
                    !in_code && is_prose(line)
                })
            }
            _ => continue,
        };
        found += 1;
        assert!(long.is_empty(), "{path}: more than {COLUMNS} columns in lines {long:?}");
    }
    assert!(found > 200, "the sources were not found");
}

/// The numbers of the lines of this kind that are too long.
fn too_long(text: &str, mut kind: impl FnMut(&str) -> bool) -> Vec<usize> {
    let lines = text.lines().zip(1..);
    lines
        .filter(|(line, _)| kind(line) && line.chars().count() > COLUMNS)
        .map(|(_, number)| number)
        .collect()
}

/// A row of a table is one line, and a word cannot be broken.
fn is_prose(line: &str) -> bool {
    !line.starts_with('|') && line.trim().contains(' ')
}

#[test]
fn this_rule_can_fail() {
    let long = "word ".repeat(30);
    assert_eq!(too_long(&format!("a\n// {long}\n"), |line| line.starts_with("//")), [2]);
    assert_eq!(too_long(&format!("{long}\n| {long}\n"), is_prose), [1]);
}
