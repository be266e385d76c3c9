//! Reads the text of Apache's configuration, line by line: a backslash at the end of a line joins it with the next one,
//! a line that begins with `#` is a comment, and words may stand in quotes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A line with a directive, or with the beginning or the end of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The numbers of its first and its last line in the file, from 1.
    pub numbers: RangeInclusive<usize>,
    /// The byte behind its last character, before the line end.
    pub end: usize,
    /// Its words, without quotes; the first in lower case. Of `<VirtualHost *:80>` they are `<virtualhost` and `*:80`.
    pub words: Vec<String>,
}

/// The lines of a file that say something. `defined` has the values of `${NAME}`.
pub fn lines(text: &[u8], defined: &BTreeMap<String, String>) -> Vec<Line> {
    let (mut found, mut at, mut number) = (Vec::new(), 0, 1);
    while at < text.len() {
        let first = number;
        let mut whole = Vec::new();
        let end = loop {
            let line_end = text[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(text.len(), |length| at + length);
            let line = &text[at..line_end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let end = at + line.len();
            at = line_end + 1;
            number += 1;
            match line.strip_suffix(b"\\") {
                Some(start) if at <= text.len() => whole.extend_from_slice(start),
                _ => {
                    whole.extend_from_slice(line);
                    break end;
                }
            }
        };
        let words = words(&String::from_utf8_lossy(&whole), defined);
        if !words.is_empty() {
            found.push(Line {
                numbers: first..=number - 1,
                end,
                words,
            });
        }
    }
    found
}

fn words(line: &str, defined: &BTreeMap<String, String>) -> Vec<String> {
    let line = line.trim();
    if line.starts_with('#') {
        return Vec::new();
    }
    let line = match line.strip_prefix('<') {
        Some(_) => line.strip_suffix('>').unwrap_or(line),
        None => line,
    };
    let (mut words, mut rest) = (Vec::new(), line.chars().peekable());
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = rest.next() else { break };
        let quote = matches!(first, '"' | '\'').then_some(first);
        let mut word = String::new();
        if quote.is_none() {
            word.push(first);
        }
        while let Some(c) = rest.next() {
            match c {
                c if Some(c) == quote => break,
                c if quote.is_none() && c.is_whitespace() => break,
                '\\' if quote.is_some() && rest.peek().is_some_and(|next| Some(*next) == quote || *next == '\\') => {
                    word.extend(rest.next());
                }
                c => word.push(c),
            }
        }
        words.push(expanded(word, defined));
    }
    if let Some(first) = words.first_mut() {
        *first = first.to_lowercase();
    }
    words
}

fn expanded(mut word: String, defined: &BTreeMap<String, String>) -> String {
    for (name, value) in defined {
        let variable = format!("${{{name}}}");
        if word.contains(&variable) {
            word = word.replace(&variable, value);
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let defined = BTreeMap::from([("DOC".to_owned(), "/srv/site".to_owned())]);
        let found = lines(text.as_bytes(), &defined);
        assert!(
            found
                .iter()
                .all(|line| line.end <= text.len() && !text[..line.end].ends_with('\n'))
        );
        found
            .iter()
            .map(|line| format!("{} {}", line.numbers.start(), line.words.join("|")))
            .collect()
    }

    #[test]
    fn everyday_files_are_read() {
        for (text, words) in [
            ("<VirtualHost *:80 [::]:80>\n", vec!["1 <virtualhost|*:80|[::]:80"]),
            (
                "\t# <VirtualHost *>\n\n  DocumentRoot \"/srv/a b\"\r\n",
                vec!["3 documentroot|/srv/a b"],
            ),
            (
                "ServerAlias a \\\n   b\\\r\nc\nX y\n",
                vec!["1 serveralias|a|bc", "4 x|y"],
            ),
            ("DocumentRoot ${DOC}/public", vec!["1 documentroot|/srv/site/public"]),
            (
                "</VirtualHost>\n</virtualhost >",
                vec!["1 </virtualhost", "2 </virtualhost"],
            ),
            ("A \"b \\\" c\" 'd\\\\e' \"\"", vec!["1 a|b \" c|d\\e|"]),
            ("A b\\", vec!["1 a|b\\"]),
            ("# comment \\\nstill a comment\nA", vec!["3 a"]),
            ("Header set X \"unfinished", vec!["1 header|set|X|unfinished"]),
            ("", vec![]),
        ] {
            assert_eq!(read(text), words, "{text}");
        }
    }

    #[test]
    fn a_line_ends_before_its_line_end() {
        let text = "<VirtualHost *:80>\r\nA \\\nb\n";
        let ends: Vec<usize> = lines(text.as_bytes(), &BTreeMap::new())
            .iter()
            .map(|line| line.end)
            .collect();
        assert_eq!(ends, [text.find('\r').unwrap(), text.len() - 1]);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(14);
        let alphabet = b"a <>/#\"'\\$\n\r-{}\xff";
        for _ in 0..20_000 {
            let length = random.random_range(0..40);
            let text: Vec<u8> = (0..length)
                .map(|_| alphabet[random.random_range(0..alphabet.len())])
                .collect();
            lines(&text, &BTreeMap::new());
        }
    }
}
