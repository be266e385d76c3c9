//! Splits a configuration file into PHP's tokens, each with its line. It handles the tokens that configuration files
//! contain. Strings are decoded here; a string that PHP would have to evaluate becomes the reason why it is not read.
//! `parser` decides what the tokens mean together.
//!
//! Every byte is consumed once and examined a bounded number of times, so the time is linear in the length of the text.

use super::{BadFile, Value};

/// The most characters between the braces of `\u{…}`; PHP allows any number of leading zeros.
const LONGEST_CODE_POINT: usize = 16;

/// A token with the line that it starts in, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    pub line: usize,
    /// Of an opening bracket: the index of the bracket that closes it, or the number of tokens if none does. Of any
    /// other token: its own index.
    pub closes: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// `$name`, without the dollar sign.
    Variable(&'a [u8]),
    /// A keyword, or the name of a constant, class or function, without a leading backslash.
    Name(&'a [u8]),
    /// A string or a number, or the reason why it is not read, as a clause: `it …`.
    Literal(Literal),
    /// An operator or a bracket. `#[` counts as a bracket, and `?>` counts as `;`, as in PHP.
    Op(&'a [u8]),
}

type Literal = Result<Value, &'static str>;

/// Operators that give their left side a new value.
pub(super) const ASSIGNMENTS: &[&[u8]] = &[
    b"??=", b"**=", b"<<=", b">>=", b".=", b"+=", b"-=", b"*=", b"/=", b"%=", b"&=", b"|=", b"^=", b"++", b"--", b"=",
];

/// Operators of several characters that contain another operator, longest first.
const OPERATORS: &[&[u8]] = &[b"===", b"==", b"=>", b"?->", b"->", b"::"];

/// Splits a text into tokens.
pub(super) fn tokens(text: &[u8]) -> Result<Vec<Token<'_>>, BadFile> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let (mut tokens, mut open) = (Vec::<Token<'_>>::new(), Vec::new());
    lexer.skip_html();
    while let Some((kind, line)) = lexer.token()? {
        let closes = tokens.len();
        match kind {
            Kind::Name(name) if name.eq_ignore_ascii_case(b"__halt_compiler") => break,
            Kind::Op(b"(" | b"[" | b"{" | b"#[") => open.push(closes),
            Kind::Op(b")" | b"]" | b"}") => {
                if let Some(opening) = open.pop() {
                    tokens[opening].closes = closes;
                }
            }
            _ => {}
        }
        tokens.push(Token { kind, line, closes });
    }
    let end = tokens.len();
    open.into_iter().for_each(|opening| tokens[opening].closes = end);
    Ok(tokens)
}

/// Whether a name may start with this byte. PHP takes every byte above ASCII for a letter.
fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_name(byte: u8) -> bool {
    starts_name(byte) || byte.is_ascii_digit()
}

/// Compares names without regard to case, as PHP does for keywords, classes and functions. A leading backslash was
/// removed before.
pub(super) fn is(name: &[u8], word: &str) -> bool {
    name.eq_ignore_ascii_case(word.as_bytes())
}

/// A name or an operator for a message: short, without control characters.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(64)]);
    text.chars().filter(|char| !char.is_control()).collect()
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn bad(&self, why: &'static str) -> BadFile {
        BadFile::new(self.line, why)
    }

    /// Consumes `count` bytes and counts lines as PHP does: `\n`, `\r\n` and the lone `\r` of old Macs end a line.
    fn pass(&mut self, count: usize) -> &'a [u8] {
        let end = (self.at + count).min(self.text.len());
        let passed = &self.text[self.at..end];
        for (at, byte) in passed.iter().enumerate() {
            let next = passed.get(at + 1).or_else(|| self.text.get(end));
            if *byte == b'\n' || (*byte == b'\r' && next != Some(&b'\n')) {
                self.line += 1;
            }
        }
        self.at = end;
        passed
    }

    /// Consumes the bytes from here as long as `such` holds for them.
    fn pass_while(&mut self, such: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let count = rest.iter().position(|byte| !such(*byte)).unwrap_or(rest.len());
        self.pass(count)
    }

    /// Skips the text up to and including the next opening tag, or up to the end of the file.
    fn skip_html(&mut self) {
        let rest = self.rest();
        let opens = |(at, five): (usize, &[u8])| {
            five.eq_ignore_ascii_case(b"<?php") && rest.get(at + 5).is_none_or(u8::is_ascii_whitespace)
        };
        let tag = rest.windows(5).enumerate().position(opens);
        self.pass(tag.map_or(rest.len(), |at| at + 5));
    }

    /// The next token and its line; `None` at the end.
    fn token(&mut self) -> Result<Option<(Kind<'a>, usize)>, BadFile> {
        self.skip_blanks()?;
        let line = self.line;
        let kind = match *self.rest() {
            [] => return Ok(None),
            [b'?', b'>', ..] => {
                self.pass(2);
                self.skip_html();
                Kind::Op(b";")
            }
            [b'$', next, ..] if starts_name(next) => {
                self.pass(1);
                Kind::Variable(self.pass_while(in_name))
            }
            [b'\'' | b'"' | b'`', ..] => Kind::Literal(self.quoted()?),
            [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => Kind::Literal(self.number()),
            [b'<', b'<', b'<', ..] => Kind::Literal(self.heredoc()?),
            [b'\\', next, ..] if starts_name(next) => {
                self.pass(1);
                Kind::Name(self.pass_while(|byte| in_name(byte) || byte == b'\\'))
            }
            [byte, ..] if starts_name(byte) => Kind::Name(self.pass_while(|byte| in_name(byte) || byte == b'\\')),
            [b'#', b'[', ..] => Kind::Op(self.pass(2)),
            _ => {
                let rest = self.rest();
                let mut long = OPERATORS.iter().chain(ASSIGNMENTS);
                let found = long.find(|operator| rest.starts_with(operator));
                Kind::Op(self.pass(found.map_or(1, |operator| operator.len())))
            }
        };
        Ok(Some((kind, line)))
    }

    /// Skips white space and comments. A line comment ends at `?>` too; `#[` starts an attribute, not a comment.
    fn skip_blanks(&mut self) -> Result<(), BadFile> {
        loop {
            let rest = self.rest();
            let length = match rest {
                [b' ' | b'\t' | b'\n' | b'\r', ..] => 1,
                [b'#', b'[', ..] => return Ok(()),
                [b'#', ..] | [b'/', b'/', ..] => {
                    let ends = |at: &usize| matches!(rest[*at], b'\n' | b'\r') || rest[*at..].starts_with(b"?>");
                    (0..rest.len()).find(ends).unwrap_or(rest.len())
                }
                [b'/', b'*', inside @ ..] => {
                    let end = inside.windows(2).position(|two| two == b"*/");
                    end.ok_or_else(|| self.bad("a comment starts here and never ends"))? + 4
                }
                _ => return Ok(()),
            };
            self.pass(length);
        }
    }

    /// Reads a string in single quotes, double quotes or backticks. A string with a variable in it is not read. A file
    /// with code in braces in a string is refused: the code may contain quotes of its own, so only PHP can tell where
    /// the string ends.
    fn quoted(&mut self) -> Result<Literal, BadFile> {
        let rest = self.rest();
        let quote = rest[0];
        let is_evaluated = quote != b'\'';
        let mut why = (quote == b'`').then_some("it runs a command of the shell");
        let mut at = 1;
        loop {
            match (rest.get(at), rest.get(at + 1)) {
                (None, _) => return Err(self.bad("a string starts here and never ends")),
                (Some(byte), _) if *byte == quote => break,
                (Some(b'\\'), _) => at += 1,
                (Some(b'{'), Some(b'$')) | (Some(b'$'), Some(b'{')) if is_evaluated => {
                    return Err(self.bad("a string with code in braces starts here; join its parts with dots instead"));
                }
                (Some(b'$'), Some(next)) if is_evaluated && starts_name(*next) => {
                    why = why.or(Some("it puts a variable into a string"));
                }
                _ => {}
            }
            at += 1;
        }
        let inside = &self.pass(at + 1)[1..at];
        Ok(why.map_or_else(|| unescaped(inside, quote), Err))
    }

    /// Skips a heredoc: `<<<A`, `<<<"A"` or `<<<'A'` up to the line that starts with `A`. Its text is not read.
    fn heredoc(&mut self) -> Result<Literal, BadFile> {
        let mut lines = self.rest().split_inclusive(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let label = first[3..].trim_ascii_start();
        let label = label.strip_prefix(b"'").or(label.strip_prefix(b"\"")).unwrap_or(label);
        let label = &label[..label.iter().take_while(|byte| in_name(**byte)).count()];
        let mut length = first.len();
        for line in lines.take_while(|_| !label.is_empty()) {
            let text = line.trim_ascii_start();
            if text
                .strip_prefix(label)
                .is_some_and(|after| !after.first().is_some_and(|byte| in_name(*byte)))
            {
                self.pass(length + line.len() - text.len() + label.len());
                return Ok(Err("it is a heredoc"));
            }
            length += line.len();
        }
        Err(self.bad("a heredoc starts here and never ends"))
    }

    /// Reads a decimal number. Letters and digits that follow directly are part of it, so that `0x1F` is not read as
    /// `0`.
    fn number(&mut self) -> Literal {
        let rest = self.rest();
        let mut end = 1;
        while let Some(byte) = rest.get(end) {
            let is_sign = matches!(byte, b'+' | b'-') && matches!(rest[end - 1], b'e' | b'E');
            if !(in_name(*byte) || *byte == b'.' || is_sign) {
                break;
            }
            end += 1;
        }
        let text = std::str::from_utf8(self.pass(end)).unwrap_or_default();
        let is_octal = text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        match (text.parse(), text.parse()) {
            (Ok(number), _) if !is_octal => Ok(Value::Int(number)),
            (_, Ok(number)) if !is_octal => Ok(Value::Float(number)),
            _ => Err("it is a number that is not decimal"),
        }
    }
}

/// Decodes the text between two quotes. In single quotes, only the quote and the backslash can be escaped. A backslash
/// that escapes nothing stands for itself.
fn unescaped(text: &[u8], quote: u8) -> Literal {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        // The byte that the digits stand for, and how many bytes after the backslash belong to them.
        let number = |from: usize, most: usize, radix: u32| -> (u8, usize) {
            let digits = after[from..].iter().take(most);
            let digits = digits.map_while(|byte| char::from(*byte).to_digit(radix));
            let (value, count) = digits.fold((0, 0), |(value, count), digit| (value * radix + digit, count + 1));
            ((value & 0xff) as u8, from + count)
        };
        let (decoded, length) = match after.first() {
            Some(next) if *byte == b'\\' && (*next == b'\\' || *next == quote) => (*next, 1),
            Some(next) if *byte == b'\\' && quote != b'\'' => match next {
                b'n' => (b'\n', 1),
                b't' => (b'\t', 1),
                b'r' => (b'\r', 1),
                b'v' => (0x0b, 1),
                b'e' => (0x1b, 1),
                b'f' => (0x0c, 1),
                b'$' => (b'$', 1),
                b'0'..=b'7' => number(0, 3, 8),
                b'x' | b'X' if number(1, 2, 16).1 > 1 => number(1, 2, 16),
                b'u' if after.get(1) == Some(&b'{') => {
                    let Some((char, length)) = code_point(&after[2..]) else {
                        return Err("it has a \\u{…} that is no character");
                    };
                    out.extend(char.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &after[2 + length..];
                    continue;
                }
                _ => (b'\\', 0),
            },
            _ => (*byte, 0),
        };
        out.push(decoded);
        rest = &after[length..];
    }
    Ok(Value::Text(out))
}

/// Reads the rest of `\u{1F600}` after the opening brace: the character, and the length with the closing brace.
fn code_point(text: &[u8]) -> Option<(char, usize)> {
    let end = text.iter().take(LONGEST_CODE_POINT).position(|byte| *byte == b'}')?;
    let digits = text[..end].iter().all(u8::is_ascii_hexdigit).then_some(&text[..end])?;
    let value = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((char::from_u32(value)?, end + 1))
}
