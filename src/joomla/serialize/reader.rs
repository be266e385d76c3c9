//! Reads the bytes of PHP's serialize format, one value at a time. `serialize` puts the values together.

use super::{Content, Error, Value};

/// The shortest element of an array: `i:0;N;`.
const SHORTEST_ELEMENT: usize = 6;

/// The most characters of a number with a fraction; PHP's widest `serialize_precision` writes about a hundred.
const LONGEST_FLOAT: usize = 512;

/// An input, and the position of the next byte to read.
pub(super) struct Reader<'a> {
    pub(super) input: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a value. For an array or object, also returns how many elements follow.
    pub(super) fn content(&mut self) -> Result<(Content<'a>, Option<usize>), Error> {
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
                let class = self.class()?;
                let elements = self.elements()?;
                return Ok((Content::Value(Value::Object(class)), Some(elements)));
            }
            b'C' => {
                self.custom()?;
                return Ok((Content::Value(Value::Opaque), None));
            }
            _ => return Err(Error::Malformed(self.at - 1)),
        };
        // `integer` and `float` consume the semicolon themselves.
        if !matches!(tag, b'i' | b'd') {
            self.expect(b';')?;
        }
        Ok((Content::Value(value), None))
    }

    /// Reads an element's key: an integer, or a string, which is the element's name.
    pub(super) fn key(&mut self) -> Result<Option<&'a [u8]>, Error> {
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

    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), Error> {
        if self.next()? != wanted {
            return Err(Error::Malformed(self.at - 1));
        }
        Ok(())
    }

    /// Reads `:`, digits and the byte `end`: a length, a count or a reference's number.
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

    /// Reads the quoted name of a class.
    fn class(&mut self) -> Result<&'a [u8], Error> {
        let started = self.at;
        let class = self.quoted()?;
        let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'\\' | 0x80..);
        if class.is_empty() || !class.iter().all(plain) {
            return Err(Error::Malformed(started));
        }
        Ok(class)
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
        self.class()?;
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
