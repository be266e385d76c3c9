//! Changes inside of a file that belongs to somebody else, byte for byte: a line of ours goes in and comes out again,
//! and every other byte stays, also in files with Windows' line ends or without an end of the last line.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// One change of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "change")]
pub enum Hunk {
    /// A line of our own, with its indentation and line end. It goes after the byte `at`, the start of a line.
    /// Afterwards it is found by its words, wherever it stands then, as often as it stands there.
    Line {
        /// Our line.
        line: String,
        /// Where it is put in. It is not recorded, since it is soon no longer true.
        #[serde(skip)]
        at: usize,
    },
    /// A part in place of another. It is put back if it stands in the text exactly once. If it replaces nothing, it is
    /// taken out wherever it stands.
    Part {
        /// What was there; often empty.
        before: String,
        /// What is there now; not empty.
        after: String,
        /// Where. It is not recorded, since it is soon no longer true.
        #[serde(skip)]
        at: usize,
    },
}

impl Hunk {
    /// Whether a text of somebody else goes.
    pub fn replaces(&self) -> bool {
        matches!(self, Self::Part { before, .. } if !before.is_empty())
    }

    /// The change as it is recorded.
    pub fn without_place(&self) -> Self {
        let mut hunk = self.clone();
        match &mut hunk {
            Self::Line { at, .. } | Self::Part { at, .. } => *at = 0,
        }
        hunk
    }

    fn place(&self) -> (Range<usize>, &str) {
        match self {
            Self::Line { line, at } => (*at..*at, line),
            Self::Part { before, after, at } => (*at..at + before.len(), after),
        }
    }
}

/// The text with the changes.
///
/// # Errors
/// A change does not fit the text, which is a bug.
pub fn apply(text: &[u8], hunks: &[Hunk]) -> Result<Vec<u8>, String> {
    let mut text = text.to_vec();
    let mut places: Vec<_> = hunks.iter().map(Hunk::place).collect();
    places.sort_by_key(|(range, _)| range.start);
    for (range, new) in places.into_iter().rev() {
        if range.end > text.len() {
            return Err("a change does not fit its file; please report it".to_owned());
        }
        text.splice(range, new.bytes());
    }
    Ok(text)
}

/// The text without the changes, and those that can no longer be taken out, as they stand in the record. A line that is
/// gone needs nothing.
pub fn undo<'a>(text: &[u8], hunks: &'a [Hunk]) -> (Vec<u8>, Vec<&'a str>) {
    let (mut text, mut kept) = (text.to_vec(), Vec::new());
    // Lines first: the words of a part can be those of a line.
    let (lines, parts): (Vec<_>, Vec<_>) = hunks.iter().partition(|hunk| matches!(hunk, Hunk::Line { .. }));
    for hunk in lines.into_iter().chain(parts) {
        match hunk {
            Hunk::Line { line, .. } => {
                let ours = line.trim().as_bytes();
                let lines = text.split_inclusive(|byte| *byte == b'\n');
                text = lines
                    .filter(|other| other.trim_ascii() != ours)
                    .collect::<Vec<_>>()
                    .concat();
            }
            Hunk::Part { before, after, .. } => {
                let found: Vec<usize> = places(&text, after.as_bytes()).collect();
                if found.len() == 1 || !found.is_empty() && before.is_empty() {
                    for at in found.into_iter().rev() {
                        text.splice(at..at + after.len(), before.bytes());
                    }
                } else {
                    kept.push(after.as_str());
                }
            }
        }
    }
    (text, kept)
}

fn places<'a>(text: &'a [u8], part: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let last = text.len().saturating_sub(part.len());
    let is_there = move |at: &usize| !part.is_empty() && text.get(*at..).is_some_and(|rest| rest.starts_with(part));
    (0..=last).filter(is_there)
}

/// A line of ours for the inside of a block whose opening ends at the byte `open`. It goes to the next line, with the
/// indentation of what follows there. If more stands behind the opening on its own line, the words of our line go right
/// after the opening.
pub fn inside(text: &[u8], open: usize, words: &str) -> Hunk {
    let rest = &text[open..];
    let end = rest.iter().position(|byte| *byte == b'\n');
    let behind = rest[..end.unwrap_or(rest.len())].trim_ascii();
    let Some(end) = end.filter(|_| behind.is_empty() || behind.starts_with(b"#")) else {
        let (before, after) = (String::new(), format!(" {words}"));
        return Hunk::Part {
            before,
            after,
            at: open,
        };
    };
    let at = open + end + 1;
    let line_end = if rest[..end].ends_with(b"\r") { "\r\n" } else { "\n" };
    let is_word = |line: &&[u8]| !line.trim_ascii().is_empty();
    let blank = |line: &[u8]| {
        line.iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .map(|b| char::from(*b))
            .collect()
    };
    let next = text[at..].split(|byte| *byte == b'\n').find(is_word);
    let indent: String = match next {
        // An empty block: as its end, and one step more.
        Some(line) if line.trim_ascii().starts_with(b"}") || line.trim_ascii().starts_with(b"</") => {
            let outer: String = blank(line);
            if outer.contains('\t') {
                outer + "\t"
            } else {
                outer + "    "
            }
        }
        Some(line) => blank(line),
        None => String::new(),
    };
    let line = format!("{indent}{words}{line_end}");
    Hunk::Line { line, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts `include x;` after the first `{` and takes it out again.
    fn both_ways(text: &str) -> String {
        let open = text.find('{').unwrap() + 1;
        let hunks = [inside(text.as_bytes(), open, "include x;")];
        let after = apply(text.as_bytes(), &hunks).unwrap();
        // As after a reload of the record.
        let hunks: Vec<Hunk> = serde_json::from_str(&serde_json::to_string(&hunks).unwrap()).unwrap();
        assert_eq!(undo(&after, &hunks), (text.into(), vec![]), "{text:?}");
        String::from_utf8(after).unwrap()
    }

    #[test]
    fn a_line_goes_in_and_comes_out() {
        for (before, after) in [
            ("server {\n    a;\n}\n", "server {\n    include x;\n    a;\n}\n"),
            ("server {\n\ta;\n}", "server {\n\tinclude x;\n\ta;\n}"),
            ("server {\r\n  a;\r\n}\r\n", "server {\r\n  include x;\r\n  a;\r\n}\r\n"),
            (
                "server { # main }\n\n a;\n}\n",
                "server { # main }\n include x;\n\n a;\n}\n",
            ),
            ("  server {   \n  }\n", "  server {   \n      include x;\n  }\n"),
            ("server { a; }", "server { include x; a; }"),
            ("server {}", "server { include x;}"),
            ("server {", "server { include x;"),
        ] {
            assert_eq!(both_ways(before), after);
        }
    }

    #[test]
    fn a_line_that_was_copied_moved_or_indented_comes_out_too() {
        let hunk = inside(b"server {\n  a;\n}\n", 8, "include x;");
        let now = b"server {\n  a;\n      include x;\n}\nserver {\n\tinclude x;\r\n  include xx;\n}\n";
        let (text, kept) = undo(now, std::slice::from_ref(&hunk));
        assert_eq!(text, b"server {\n  a;\n}\nserver {\n  include xx;\n}\n");
        assert!(kept.is_empty());
        assert_eq!(undo(b"nothing\n", &[hunk]), (b"nothing\n".to_vec(), vec![]));
    }

    #[test]
    fn a_part_is_put_back_only_where_it_is_unmistakable() {
        let (before, after) = ("root = \"\"".to_owned(), "root = \"/x\"".to_owned());
        let hunks = [Hunk::Part { before, after, at: 2 }];
        let text = apply(b"\xff\nroot = \"\"\n", &hunks).unwrap();
        assert_eq!(text, b"\xff\nroot = \"/x\"\n");
        assert_eq!(undo(&text, &hunks), (b"\xff\nroot = \"\"\n".to_vec(), vec![]));
        for text in ["root = \"/y\"", "root = \"/x\"\nroot = \"/x\"", ""] {
            assert_eq!(
                undo(text.as_bytes(), &hunks),
                (text.into(), vec!["root = \"/x\""]),
                "{text}"
            );
        }
    }

    #[test]
    fn two_blocks_on_one_line_each_get_the_line() {
        let text = b"server { a; } server { b; }";
        let hunks = [inside(text, 8, "include x;"), inside(text, 22, "include x;")];
        let after = apply(text, &hunks).unwrap();
        assert_eq!(after, b"server { include x; a; } server { include x; b; }");
        assert_eq!(undo(&after, &hunks[..1]), (text.to_vec(), vec![]));
    }

    #[test]
    fn what_goes_in_comes_out_of_any_text() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(14);
        let alphabet = b"{{}; a#\n\n\r\t\xff</";
        for _ in 0..20_000 {
            let length = random.random_range(1..60);
            let text: Vec<u8> = (0..length)
                .map(|_| alphabet[random.random_range(0..alphabet.len())])
                .collect();
            let opens = (0..length).filter(|at| text[*at] == b'{');
            let hunks: Vec<Hunk> = opens.map(|at| inside(&text, at + 1, "include x;")).collect();
            let after = apply(&text, &hunks).unwrap();
            assert_eq!(
                after.windows(10).filter(|part| part == b"include x;").count(),
                hunks.len()
            );
            let recorded: Vec<Hunk> = hunks.iter().map(Hunk::without_place).collect();
            let (back, _) = undo(&after, &recorded);
            assert_eq!(back, text, "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn changes_are_made_from_the_end_on() {
        let line = |at, line: &str| Hunk::Line {
            line: line.to_owned(),
            at,
        };
        let text = apply(b"1\n2\n", &[line(4, "c\n"), line(0, "a\n"), line(2, "b\n")]).unwrap();
        assert_eq!(text, b"a\n1\nb\n2\nc\n");
        assert!(apply(b"", &[line(1, "x")]).is_err());
    }
}
