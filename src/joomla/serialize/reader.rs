//! Reads the bytes of PHP's serialize format, one value at a time. `serialize` puts the values together.

use super::{Content, Value};

/// The shortest element of an array: `i:0;N;`.
const SHORTEST_ELEMENT: usize = 6;

/// The most characters of a number with a fraction; PHP's widest `serialize_precision` writes about a hundred.
const LONGEST_FLOAT: usize = 512;

/// An input, and the position of the next byte to read. Each method reads something, or returns `None` where the input
/// has something else or ends.
pub(super) struct Reader<'a> {
    pub(super) input: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a value. For an array or object, also returns how many elements follow.
    pub(super) fn content(&mut self) -> Option<(Content<'a>, Option<usize>)> {
        let tag = self.next()?;
        let value = match tag {
            b'a' => return Some((Content::Value(Value::Array), Some(self.elements()?))),
            b'O' => {
                let class = self.class()?;
                return Some((Content::Value(Value::Object(class)), Some(self.elements()?)));
            }
            b'C' => {
                self.class()?;
                let length = self.count(b':')?;
                self.expect(b'{')?;
                self.bytes(length)?;
                self.expect(b'}')?;
                return Some((Content::Value(Value::Opaque), None));
            }
            b'r' => return Some((Content::Same(self.count(b';')?), None)),
            b'R' => return Some((Content::Alias(self.count(b';')?), None)),
            b'i' => return Some((Content::Value(Value::Int(self.integer()?)), None)),
            b'd' => {
                let number = self.until_semicolon(LONGEST_FLOAT)?.parse().ok()?;
                return Some((Content::Value(Value::Float(number)), None));
            }
            b'N' => Value::Null,
            b'b' => {
                self.expect(b':')?;
                match self.next()? {
                    b'0' => Value::Bool(false),
                    b'1' => Value::Bool(true),
                    _ => return None,
                }
            }
            b's' => Value::Text(self.quoted()?),
            b'E' => self.quoted().map(|_| Value::Opaque)?,
            _ => return None,
        };
        self.expect(b';')?;
        Some((Content::Value(value), None))
    }

    /// Reads an element's key: an integer, or a string, which is the element's name.
    pub(super) fn key(&mut self) -> Option<Option<&'a [u8]>> {
        match self.next()? {
            b'i' => self.integer().map(|_| None),
            b's' => {
                let name = self.quoted()?;
                self.expect(b';')?;
                Some(Some(name))
            }
            _ => None,
        }
    }

    fn next(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.input[self.at..].get(..length)?;
        self.at += length;
        Some(bytes)
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// Reads `:`, digits and the byte `end`: a length, a count or a reference's number.
    fn count(&mut self, end: u8) -> Option<usize> {
        self.expect(b':')?;
        let started = self.at;
        let mut number: usize = 0;
        loop {
            let byte = self.next()?;
            if byte == end && self.at - 1 > started {
                return Some(number);
            }
            // A digit is less than 10, so it fits.
            let digit = char::from(byte).to_digit(10)? as usize;
            number = number.checked_mul(10)?.checked_add(digit)?;
        }
    }

    /// `:length:"bytes"`
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let length = self.count(b':')?;
        self.expect(b'"')?;
        let bytes = self.bytes(length)?;
        self.expect(b'"')?;
        Some(bytes)
    }

    /// Reads the quoted name of a class.
    fn class(&mut self) -> Option<&'a [u8]> {
        let class = self.quoted()?;
        let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'\\' | 0x80..);
        (!class.is_empty() && class.iter().all(plain)).then_some(class)
    }

    /// `:count:{`
    fn elements(&mut self) -> Option<usize> {
        let count = self.count(b':')?;
        self.expect(b'{')?;
        (count <= (self.input.len() - self.at) / SHORTEST_ELEMENT).then_some(count)
    }

    /// `:integer;`
    fn integer(&mut self) -> Option<i64> {
        self.until_semicolon(20)?.parse().ok()
    }

    /// `:text;` of ASCII characters
    fn until_semicolon(&mut self, longest: usize) -> Option<&'a str> {
        self.expect(b':')?;
        let rest = &self.input[self.at..];
        let length = rest.iter().take(longest + 1).position(|byte| *byte == b';')?;
        let text = self.bytes(length)?;
        self.at += 1;
        std::str::from_utf8(text).ok()
    }
}
