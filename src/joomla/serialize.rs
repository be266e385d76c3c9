//! PHP's serialize format, read into a flat tree whose texts are borrowed from the input. It knows the format and its
//! limits; what the values mean is decided in `session`.
//!
//! The input comes from a table that visitors help to fill, so nothing in it is believed: memory grows with the bytes that
//! were read and never with a length or a count that was only claimed, nesting costs no stack, and the work is linear.
//! Classes are names here: no object is ever made. Enums and objects with a format of their own (`C`) are skipped.
//!
//! The format is parsed here because no crate took more off us than it brought: `phpserz` 0.3 is a bounded tokenizer, but it
//! fails on enums and leaves nesting, counts and references to its user, which is most of this file; `serde_php` has no
//! objects.

use std::fmt;

/// Bytes of an input; a longer one is refused.
pub const LONGEST: usize = 512 * 1024;

/// Arrays and objects within each other. Joomla's own sessions stay below 10; PHP itself stops at 4096.
pub const DEEPEST: usize = 128;

/// Values of one input. The shortest one in an array takes six bytes, so that an input as long as a session's decoded text
/// can be (three quarters of [`LONGEST`]) has no more.
pub const MOST_VALUES: usize = 65_536;

/// The shortest element of an array: `i:0;N;`.
const SHORTEST_ELEMENT: usize = 6;

/// Characters of a number with a fraction; PHP's widest `serialize_precision` writes about a hundred.
const LONGEST_FLOAT: usize = 512;

/// Why a text is not PHP's serialize format. Positions are bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Over [`LONGEST`].
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// Over [`DEEPEST`].
    #[error("more than {DEEPEST} arrays or objects are within each other at byte {0}")]
    TooDeep(usize),
    /// Over [`MOST_VALUES`].
    #[error("it has more than {MOST_VALUES} values")]
    TooMany,
    /// It ends in the middle of something, or claims more than is there.
    #[error("it ends too early for what begins at byte {0}")]
    Truncated(usize),
    /// Something that PHP does not write.
    #[error("byte {0} is not what the format has there")]
    Malformed(usize),
    /// There is something behind the value.
    #[error("something follows the value at byte {0}")]
    Trailing(usize),
}

/// What a value is. Elements of arrays and objects are reached through [`Place`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string; PHP's are bytes.
    Text(&'a [u8]),
    /// An array.
    Array,
    /// An object of this class.
    Object(&'a [u8]),
    /// An enum's case, or an object of a class that writes a format of its own.
    Opaque,
    /// A reference to a value that cannot be told.
    Lost,
}

/// A value that was read, with everything in it.
pub struct Tree<'a> {
    /// In the order of the text: a container comes before its elements.
    nodes: Vec<Node<'a>>,
    /// PHP's numbers for references: the node of each numbered value, the first having number 1.
    numbered: Vec<u32>,
    /// From which number on the numbering is unknown, because an opaque object may have numbered its own.
    known_below: usize,
}

struct Node<'a> {
    /// In an array or object that calls it so; nobody asks for numbers.
    name: Option<&'a [u8]>,
    content: Content<'a>,
    /// The node behind this one and all that is in it.
    after: u32,
}

enum Content<'a> {
    Value(Value<'a>),
    /// The object with this number once more; it has a number itself.
    Same(usize),
    /// Another name of the value with this number; it has none itself.
    Alias(usize),
}

/// A value and where it is in its tree.
#[derive(Clone, Copy)]
pub struct Place<'t, 'a> {
    tree: &'t Tree<'a>,
    node: usize,
}

/// Reads a text that is one value.
///
/// # Errors
/// See [`Error`].
pub fn parse(input: &[u8]) -> Result<Tree<'_>, Error> {
    let (tree, end) = parse_front(input)?;
    if end < input.len() {
        return Err(Error::Trailing(end));
    }
    Ok(tree)
}

/// Reads the value that a text begins with, and where it ends.
///
/// # Errors
/// See [`Error`].
pub fn parse_front(input: &[u8]) -> Result<(Tree<'_>, usize), Error> {
    if input.len() > LONGEST {
        return Err(Error::TooLong);
    }
    let mut reader = Reader { input, at: 0 };
    let mut tree = Tree {
        nodes: Vec::new(),
        numbered: Vec::new(),
        known_below: usize::MAX,
    };
    let mut open: Vec<Open> = Vec::new();
    loop {
        let name = match open.last_mut() {
            Some(container) if container.missing > 0 => {
                container.missing -= 1;
                reader.key()?
            }
            Some(container) => {
                reader.expect(b'}')?;
                let node = container.node;
                tree.nodes[node].after = index(tree.nodes.len());
                open.pop();
                if open.is_empty() {
                    break;
                }
                continue;
            }
            None => None,
        };
        let started = reader.at;
        let (content, elements) = reader.content()?;
        let node = tree.push(name, content)?;
        if let Some(missing) = elements {
            if open.len() == DEEPEST {
                return Err(Error::TooDeep(started));
            }
            open.push(Open { node, missing });
        } else if open.is_empty() {
            break;
        }
    }
    Ok((tree, reader.at))
}

/// An array or object whose elements are being read.
struct Open {
    node: usize,
    missing: usize,
}

/// Inputs are at most [`LONGEST`] bytes, so every index fits.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl<'a> Tree<'a> {
    /// The value itself.
    pub fn root(&self) -> Place<'_, 'a> {
        Place { tree: self, node: 0 }.resolved()
    }

    fn push(&mut self, name: Option<&'a [u8]>, content: Content<'a>) -> Result<usize, Error> {
        let node = self.nodes.len();
        if node == MOST_VALUES {
            return Err(Error::TooMany);
        }
        if !matches!(content, Content::Alias(_)) {
            self.numbered.push(index(node));
        }
        if matches!(content, Content::Value(Value::Opaque)) {
            self.known_below = self.known_below.min(self.numbered.len());
        }
        self.nodes.push(Node {
            name,
            content,
            after: index(node + 1),
        });
        Ok(node)
    }
}

impl<'t, 'a> Place<'t, 'a> {
    /// What is here.
    pub fn value(self) -> Value<'a> {
        match self.tree.nodes[self.node].content {
            Content::Value(value) => value,
            Content::Same(_) | Content::Alias(_) => Value::Lost,
        }
    }

    /// The element of an array or object with this name, as PHP would find it: of several the last. A reference is followed.
    pub fn get(self, name: &str) -> Option<Place<'t, 'a>> {
        let nodes = &self.tree.nodes;
        let end = nodes[self.node].after as usize;
        let (mut at, mut found) = (self.node + 1, None);
        while at < end {
            if nodes[at].name == Some(name.as_bytes()) {
                found = Some(at);
            }
            at = nodes[at].after as usize;
        }
        let (tree, node) = (self.tree, found?);
        Some(Place { tree, node }.resolved())
    }

    /// The value that a reference stands for. One that stands for nothing stays what it is.
    fn resolved(self) -> Self {
        let (tree, mut node) = (self.tree, self.node);
        while let Content::Same(number) | Content::Alias(number) = tree.nodes[node].content {
            let known = number <= tree.known_below;
            match number.checked_sub(1).and_then(|n| tree.numbered.get(n)) {
                // References point backwards, so this ends.
                Some(&target) if known && (target as usize) < node => node = target as usize,
                _ => return self,
            }
        }
        Place { tree, node }
    }
}

impl fmt::Debug for Tree<'_> {
    /// Without the values: they are a visitor's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} values)", self.nodes.len())
    }
}

/// The bytes that are still to be read.
struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A value, and of an array or object how many elements follow.
    fn content(&mut self) -> Result<(Content<'a>, Option<usize>), Error> {
        let tag = self.next()?;
        let value = match tag {
            b'N' => Value::Null,
            b'b' => {
                self.expect(b':')?;
                match self.next()? {
                    b'0' => Value::Bool(false),
                    b'1' => Value::Bool(true),
                    _ => return Err(Error::Malformed(self.at - 1)),
                }
            }
            b'i' => Value::Int(self.integer()?),
            b'd' => Value::Float(self.float()?),
            b's' => Value::Text(self.quoted()?),
            b'E' => {
                self.quoted()?;
                Value::Opaque
            }
            b'r' | b'R' => {
                let number = self.count(b';')?;
                let content = if tag == b'r' {
                    Content::Same(number)
                } else {
                    Content::Alias(number)
                };
                return Ok((content, None));
            }
            b'a' => {
                let elements = self.elements()?;
                return Ok((Content::Value(Value::Array), Some(elements)));
            }
            b'O' => {
                let class = self.quoted()?;
                let elements = self.elements()?;
                return Ok((Content::Value(Value::Object(class)), Some(elements)));
            }
            b'C' => {
                self.custom()?;
                return Ok((Content::Value(Value::Opaque), None));
            }
            _ => return Err(Error::Malformed(self.at - 1)),
        };
        // The integer's and the float's own end is the semicolon.
        if !matches!(tag, b'i' | b'd') {
            self.expect(b';')?;
        }
        Ok((Content::Value(value), None))
    }

    /// An element's key: an integer, or a string, which is its name.
    fn key(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match self.next()? {
            b'i' => self.integer().map(|_| None),
            b's' => {
                let name = self.quoted()?;
                self.expect(b';')?;
                Ok(Some(name))
            }
            _ => Err(Error::Malformed(self.at - 1)),
        }
    }

    fn next(&mut self) -> Result<u8, Error> {
        let byte = self.input.get(self.at).ok_or(Error::Truncated(self.at))?;
        self.at += 1;
        Ok(*byte)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Error> {
        if self.next()? != wanted {
            return Err(Error::Malformed(self.at - 1));
        }
        Ok(())
    }

    /// `:`, digits and what ends them: a length, a count or a reference's number.
    fn count(&mut self, end: u8) -> Result<usize, Error> {
        self.expect(b':')?;
        let started = self.at;
        let mut number: usize = 0;
        loop {
            let byte = self.next()?;
            if byte == end && self.at - 1 > started {
                return Ok(number);
            }
            if !byte.is_ascii_digit() {
                return Err(Error::Malformed(self.at - 1));
            }
            let digit = usize::from(byte - b'0');
            let larger = number.checked_mul(10).and_then(|n| n.checked_add(digit));
            number = larger.ok_or(Error::Malformed(self.at - 1))?;
        }
    }

    /// `:length:"bytes"`
    fn quoted(&mut self) -> Result<&'a [u8], Error> {
        let started = self.at;
        let length = self.count(b':')?;
        self.expect(b'"')?;
        let rest = &self.input[self.at..];
        let bytes = rest.get(..length).ok_or(Error::Truncated(started))?;
        self.at += length;
        self.expect(b'"')?;
        Ok(bytes)
    }

    /// `:count:{`
    fn elements(&mut self) -> Result<usize, Error> {
        let started = self.at;
        let count = self.count(b':')?;
        self.expect(b'{')?;
        if count > (self.input.len() - self.at) / SHORTEST_ELEMENT {
            return Err(Error::Truncated(started));
        }
        Ok(count)
    }

    /// `:length:"class":length:{bytes}`
    fn custom(&mut self) -> Result<(), Error> {
        self.quoted()?;
        let started = self.at;
        let length = self.count(b':')?;
        self.expect(b'{')?;
        if length > self.input.len() - self.at {
            return Err(Error::Truncated(started));
        }
        self.at += length;
        self.expect(b'}')
    }

    /// `:integer;`
    fn integer(&mut self) -> Result<i64, Error> {
        let started = self.at + 1;
        let digits = self.until_semicolon(20)?;
        let plain = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::Malformed(started));
        }
        digits.parse().map_err(|_| Error::Malformed(started))
    }

    /// `:number;`, also `INF`, `-INF` and `NAN`
    fn float(&mut self) -> Result<f64, Error> {
        let started = self.at + 1;
        let digits = self.until_semicolon(LONGEST_FLOAT)?;
        digits.parse().map_err(|_| Error::Malformed(started))
    }

    /// `:text;` of ASCII characters
    fn until_semicolon(&mut self, longest: usize) -> Result<&'a str, Error> {
        self.expect(b':')?;
        let started = self.at;
        while self.next()? != b';' {
            if self.at - started > longest {
                return Err(Error::Malformed(started));
            }
        }
        std::str::from_utf8(&self.input[started..self.at - 1]).map_err(|_| Error::Malformed(started))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a text that is one.
    fn value(text: &str) -> Result<Value<'_>, Error> {
        parse(text.as_bytes()).map(|tree| tree.root().value())
    }

    #[test]
    fn every_kind_of_value_is_read() {
        assert_eq!(value("N;"), Ok(Value::Null));
        assert_eq!(value("b:0;"), Ok(Value::Bool(false)));
        assert_eq!(value("b:1;"), Ok(Value::Bool(true)));
        assert_eq!(value("i:-7;"), Ok(Value::Int(-7)));
        assert_eq!(value("i:9223372036854775807;"), Ok(Value::Int(i64::MAX)));
        assert_eq!(value("i:-9223372036854775808;"), Ok(Value::Int(i64::MIN)));
        assert_eq!(value("d:0.10000000000000001;"), Ok(Value::Float(0.1)));
        assert_eq!(value("d:-INF;"), Ok(Value::Float(f64::NEG_INFINITY)));
        assert!(matches!(value("d:NAN;"), Ok(Value::Float(f)) if f.is_nan()));
        assert_eq!(value("d:1.0E+25;"), Ok(Value::Float(1e25)));
        assert_eq!(value("s:3:\"a\";\";"), Ok(Value::Text(b"a\";")));
        assert_eq!(value("s:0:\"\";"), Ok(Value::Text(b"")));
        assert_eq!(value("a:0:{}"), Ok(Value::Array));
        assert_eq!(value("O:8:\"stdClass\":0:{}"), Ok(Value::Object(b"stdClass")));
        assert_eq!(value("E:11:\"Suit:Hearts\";"), Ok(Value::Opaque));
        assert_eq!(value("C:11:\"ArrayObject\":3:{x}y}"), Ok(Value::Opaque));
        assert_eq!(value("r:1;"), Ok(Value::Lost));
    }

    #[test]
    fn elements_are_found_by_name_and_the_last_one_counts() {
        let tree =
            parse(br#"a:4:{s:1:"k";i:1;i:5;a:1:{s:1:"k";i:9;}s:1:"k";i:2;s:1:"o";O:1:"X":1:{s:1:"p";b:1;}}"#).unwrap();
        let root = tree.root();
        assert_eq!(root.get("k").map(Place::value), Some(Value::Int(2)));
        assert_eq!(
            root.get("o").and_then(|o| o.get("p")).map(Place::value),
            Some(Value::Bool(true))
        );
        assert!(root.get("5").is_none());
        assert!(root.get("p").is_none());
        assert!(root.get("k").unwrap().get("k").is_none());
    }

    #[test]
    fn references_are_followed_by_phps_numbers() {
        // Numbers: 1 the array, 2 the object, 3 its property, 4 the object again; the alias has none; 5 the integer.
        let text = br#"a:5:{s:1:"a";O:1:"X":1:{s:1:"p";i:7;}s:1:"b";r:2;s:1:"c";R:3;s:1:"d";i:8;s:1:"e";R:5;}"#;
        let tree = parse(text).unwrap();
        let root = tree.root();
        assert_eq!(root.get("b").map(Place::value), Some(Value::Object(b"X")));
        assert_eq!(
            root.get("b").and_then(|b| b.get("p")).map(Place::value),
            Some(Value::Int(7))
        );
        assert_eq!(root.get("c").map(Place::value), Some(Value::Int(7)));
        assert_eq!(root.get("e").map(Place::value), Some(Value::Int(8)));
    }

    #[test]
    fn references_forward_to_themselves_or_behind_an_opaque_object_are_lost() {
        fn lost(text: &str) -> Option<Value<'_>> {
            let tree = parse(text.as_bytes()).unwrap();
            tree.root().get("x").map(Place::value)
        }
        assert_eq!(lost(r#"a:2:{s:1:"x";r:3;i:0;i:1;}"#), Some(Value::Lost));
        assert_eq!(lost(r#"a:1:{s:1:"x";r:2;}"#), Some(Value::Lost));
        assert_eq!(lost(r#"a:1:{s:1:"x";R:0;}"#), Some(Value::Lost));
        assert_eq!(
            lost(r#"a:3:{i:0;C:1:"X":4:{i:1;}i:1;i:4;s:1:"x";R:3;}"#),
            Some(Value::Lost)
        );
        assert_eq!(
            lost(r#"a:3:{i:0;i:4;i:1;C:1:"X":4:{i:1;}s:1:"x";R:2;}"#),
            Some(Value::Int(4))
        );
    }

    #[test]
    fn a_claimed_length_or_count_is_not_believed() {
        assert_eq!(value("a:4000000000:{"), Err(Error::Truncated(1)));
        assert_eq!(value("a:2:{i:0;N;}"), Err(Error::Truncated(1)));
        assert_eq!(value("O:1:\"X\":99:{}"), Err(Error::Truncated(7)));
        assert_eq!(value("s:4000000000:\"a\";"), Err(Error::Truncated(1)));
        assert_eq!(value("s:99999999999999999999999999:\"a\";"), Err(Error::Malformed(21)));
        assert_eq!(value("C:1:\"X\":9:{}"), Err(Error::Truncated(7)));
    }

    #[test]
    fn the_limits_hold() {
        let nested = |depth: usize| format!("{}N;{}", "a:1:{i:0;".repeat(depth), "}".repeat(depth));
        assert!(parse(nested(DEEPEST).as_bytes()).is_ok());
        assert!(matches!(parse(nested(DEEPEST + 1).as_bytes()), Err(Error::TooDeep(_))));
        assert!(matches!(
            parse("a:1:{i:0;".repeat(50_000).as_bytes()),
            Err(Error::TooDeep(_))
        ));
        let flat = |count: usize| format!("a:{count}:{{{}}}", "i:0;N;".repeat(count));
        assert!(parse(flat(MOST_VALUES - 1).as_bytes()).is_ok());
        assert!(matches!(parse(flat(MOST_VALUES).as_bytes()), Err(Error::TooMany)));
        assert!(matches!(parse(&vec![b'a'; LONGEST + 1]), Err(Error::TooLong)));
    }

    #[test]
    fn what_php_does_not_write_is_refused() {
        for text in [
            "",
            "x",
            "N",
            "b:2;",
            "i:;",
            "i:1",
            "i:1.5;",
            "i:9223372036854775808;",
            "i:- 1;",
            "d:;",
            "d:x;",
            "s:1:\"ab\";",
            "s:-1:\"\";",
            "s::\"\";",
            "s:1:a;",
            "S:1:\"a\";",
            "a:1:{N;N;}",
            "a:1:{a:0:{}N;}",
            "a:0:{",
            "a:-1:{}",
            "o:1:{}",
            "O:1:\"X\":0:{};",
            "i:1;i:2;",
            "}",
            "a:1:{d:1;N;}",
            "b:1",
            "r:;",
            "R:-1;",
            "E:1:\"a\"",
        ] {
            assert!(value(text).is_err(), "{text}");
        }
        assert_eq!(value("N;N;"), Err(Error::Trailing(2)));
    }

    #[test]
    fn the_front_of_a_text_tells_where_it_ends() {
        assert_eq!(parse_front(b"a:1:{i:0;N;}b|i:2;").map(|(_, end)| end).ok(), Some(12));
        assert_eq!(parse_front(b"s:1:\"a\";x").map(|(_, end)| end).ok(), Some(8));
    }
}
