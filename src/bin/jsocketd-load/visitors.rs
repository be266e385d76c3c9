//! The visitors of a Joomla site. A file holds their cookies and user ids; this module makes their handshakes from
//! them. The origin of the file is no business of this program.

use std::fs;
use std::path::Path;

use crate::client::Greeting;
use crate::failure::Failure;

/// A visitor who is logged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Visitor {
    /// The header `Cookie`.
    cookie: String,
    /// The id of the Joomla user whose session that is.
    user: u32,
}

/// Reads the first `count` visitors of a file: a line each, the header `Cookie`, a tab, the user's id.
pub fn read(path: &Path, count: usize) -> Result<Vec<Visitor>, Failure> {
    let usage = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    parse(&text, count).map_err(usage)
}

fn parse(text: &str, count: usize) -> Result<Vec<Visitor>, String> {
    let wrong = |n: usize| format!("line {}: expected a cookie, a tab and a user's id", n + 1);
    let lines = text.split_terminator('\n').enumerate().take(count);
    let visitors: Vec<_> = lines
        .map(|(n, line)| Visitor::parse(line).ok_or_else(|| wrong(n)))
        .collect::<Result<_, _>>()?;
    match visitors.len() {
        found if found < count => Err(format!("{count} visitors are needed, {found} are there")),
        _ => Ok(visitors),
    }
}

impl Visitor {
    fn parse(line: &str) -> Option<Self> {
        let (cookie, user) = line.split_once('\t')?;
        let is_header = !cookie.is_empty() && cookie.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let user = user.parse().ok().filter(|user| *user > 0)?;
        let cookie = cookie.to_owned();
        is_header.then_some(Self { cookie, user })
    }

    /// A handshake from a page of the server's own host.
    pub fn greeting(&self, host: &str) -> Greeting {
        Greeting::Whole {
            headers: format!("Origin: http://{host}\r\nCookie: {}\r\n", self.cookie),
            early: Vec::new(),
            raw: false,
        }
    }

    /// The channel that only this user may subscribe to.
    pub fn channel(&self) -> String {
        format!("private-user-{}", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_visitors_of_a_file_are_read() {
        let visitors = parse("a=1; b=2\t42\nc=3\t43\nnot needed", 2).unwrap();
        assert_eq!(visitors[0].channel(), "private-user-42");
        let Greeting::Whole { headers, .. } = visitors[1].greeting("127.0.0.1:80") else {
            panic!("a visitor's handshake is whole");
        };
        assert_eq!(headers, "Origin: http://127.0.0.1:80\r\nCookie: c=3\r\n");
    }

    #[test]
    fn a_line_that_is_no_visitor_is_refused_by_number() {
        for line in [
            "",
            "a=1",
            "a=1 42",
            "\t42",
            "a=1\t0",
            "a=1\tanna",
            "a=\u{e4}\t42",
            "a=1\rb\t42",
        ] {
            let refused = parse(&format!("a=1\t42\n{line}\nb=2\t43"), 3).unwrap_err();
            assert!(refused.starts_with("line 2: "), "{line}: {refused}");
        }
    }

    #[test]
    fn too_few_visitors_are_refused() {
        let refused = parse("a=1\t42\n", 2).unwrap_err();
        assert_eq!(refused, "2 visitors are needed, 1 are there");
    }
}
