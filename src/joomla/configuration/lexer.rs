//! PHP's tokens, as far as configuration files hold them: text in, tokens with their lines out. Strings are decoded
//! here; those that PHP would have to evaluate become [`Kind::Opaque`]. What tokens mean together is decided in
//! `parser`.
//!
//! Every byte is passed once and looked at a bounded number of times, so the time is linear in the length of the text.

use std::borrow::Cow;

use super::BadFile;

/// Strings inside expressions inside strings, and so on. PHP knows no limit; people stop at two.
const DEEPEST: usize = 16;

/// A token with the line that it starts in, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// `$name`, without the dollar sign.
    Variable(&'a [u8]),
    /// A keyword, a constant, a class or a function: without a leading backslash.
    Name(&'a [u8]),
    /// A string with nothing in it that must be evaluated.
    Text(Cow<'a, [u8]>),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// What is a value but cannot be known without running PHP, and why: `it …`.
    Opaque(&'static str),
    /// An operator or a bracket. `#[` is one, and `?>` is a `;` as in PHP.
    Op(&'a [u8]),
}

/// Operators of several characters, longest first: `=` must not be seen in `==` and `=>`.
const OPERATORS: &[&[u8]] = &[
    b"<<<", b"<=>", b"**=", b"...", b"<<=", b">>=", b"===", b"!==", b"?->", b"??=", b"::", b"->", b"=>", b"==", b"!=",
    b"<=", b">=", b"&&", b"||", b"??", b"++", b"--", b"+=", b"-=", b"*=", b"/=", b".=", b"%=", b"&=", b"|=", b"^=",
    b"<<", b">>", b"**", b"|>",
];

/// All tokens, and how many steps that took.
pub(super) fn tokens(text: &[u8]) -> Result<(Vec<Token<'_>>, usize), BadFile> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
        steps: 0,
    };
    let mut tokens = Vec::new();
    if lexer.skip_html() {
        while let Some(token) = lexer.token(0)? {
            let halt = matches!(token.kind, Kind::Name(name) if name.eq_ignore_ascii_case(b"__halt_compiler"));
            if halt {
                break;
            }
            tokens.push(token);
        }
    }
    Ok((tokens, lexer.steps))
}

/// Whether a name may start with it; PHP takes every byte above ASCII for a letter.
fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_name(byte: u8) -> bool {
    starts_name(byte) || byte.is_ascii_digit()
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    steps: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The byte that is `ahead` bytes from here.
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Passes `count` bytes, counting lines as PHP does: `\n`, `\r\n` and the lone `\r` of old Macs.
    fn pass(&mut self, count: usize) -> &'a [u8] {
        let end = (self.at + count).min(self.text.len());
        let passed = &self.text[self.at..end];
        for (at, byte) in passed.iter().enumerate() {
            let next = passed.get(at + 1).or_else(|| self.text.get(end));
            if *byte == b'\n' || (*byte == b'\r' && next != Some(&b'\n')) {
                self.line += 1;
            }
        }
        self.steps += count + 1;
        self.at = end;
        passed
    }

    /// The bytes from here as long as they are such.
    fn pass_while(&mut self, such: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let count = rest.iter().position(|byte| !such(*byte)).unwrap_or(rest.len());
        self.pass(count)
    }

    /// To behind the next opening tag; false: there is none.
    fn skip_html(&mut self) -> bool {
        while self.at < self.text.len() {
            self.pass_while(|byte| byte != b'<');
            let rest = self.rest();
            let is_long = rest.len() >= 5 && rest[..5].eq_ignore_ascii_case(b"<?php");
            if is_long && rest.get(5).is_none_or(u8::is_ascii_whitespace) {
                self.pass(5);
                return true;
            }
            if rest.starts_with(b"<?")
                && rest
                    .get(2)
                    .is_some_and(|byte| *byte == b'=' || byte.is_ascii_whitespace())
            {
                self.pass(2 + usize::from(rest[2] == b'='));
                return true;
            }
            self.pass(1);
        }
        false
    }

    /// The next token; `None` at the end. `depth` is that of strings in strings.
    fn token(&mut self, depth: usize) -> Result<Option<Token<'a>>, BadFile> {
        if depth > DEEPEST {
            return Err(self.bad("strings are nested too deeply in each other"));
        }
        self.skip_blanks()?;
        let line = self.line;
        let Some(byte) = self.peek(0) else {
            return Ok(None);
        };
        let kind = match byte {
            b'?' if self.peek(1) == Some(b'>') => {
                self.pass(2);
                self.skip_html();
                Kind::Op(b";")
            }
            b'$' if self.peek(1).is_some_and(starts_name) => {
                self.pass(1);
                Kind::Variable(self.pass_while(in_name))
            }
            b'b' | b'B' if self.is_binary_string() => {
                self.pass(1);
                return self.token(depth);
            }
            b'\'' => self.single_quoted()?,
            b'"' => self.double_quoted(depth)?,
            b'`' => {
                self.double_quoted(depth)?;
                Kind::Opaque("it runs a command of the shell")
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            b'<' if self.rest().starts_with(b"<<<") => match self.heredoc()? {
                Some(kind) => kind,
                None => Kind::Op(self.pass(3)),
            },
            b'\\' => {
                self.pass(1);
                match self.pass_while(|byte| in_name(byte) || byte == b'\\') {
                    b"" => Kind::Op(b"\\"),
                    name => Kind::Name(name),
                }
            }
            _ if starts_name(byte) => Kind::Name(self.pass_while(|byte| in_name(byte) || byte == b'\\')),
            b'#' => Kind::Op(self.pass(2)),
            _ => {
                let long = OPERATORS.iter().find(|operator| self.rest().starts_with(operator));
                Kind::Op(self.pass(long.map_or(1, |operator| operator.len())))
            }
        };
        Ok(Some(Token { kind, line }))
    }

    /// `b'…'`, `b"…"` and `b<<<…` mean what they mean without the letter.
    fn is_binary_string(&self) -> bool {
        matches!(self.peek(1), Some(b'\'' | b'"')) || self.rest()[1..].starts_with(b"<<<")
    }

    /// White space and comments. A line comment ends at `?>` too; `#[` starts an attribute and no comment.
    fn skip_blanks(&mut self) -> Result<(), BadFile> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c), _) => {
                    self.pass_while(|byte| byte.is_ascii_whitespace() || byte == 0x0b);
                }
                (Some(b'#'), Some(b'[')) => return Ok(()),
                (Some(b'#'), _) | (Some(b'/'), Some(b'/')) => self.skip_line_comment(),
                (Some(b'/'), Some(b'*')) => {
                    let rest = &self.rest()[2..];
                    let Some(length) = rest.windows(2).position(|two| two == b"*/") else {
                        return Err(self.bad("a comment starts here and never ends"));
                    };
                    self.pass(length + 4);
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_line_comment(&mut self) {
        loop {
            self.pass_while(|byte| !matches!(byte, b'\n' | b'\r' | b'?'));
            match (self.peek(0), self.peek(1)) {
                (Some(b'?'), next) if next != Some(b'>') => self.pass(1),
                _ => return,
            };
        }
    }

    /// Only `\\` and `\'` are escapes; every other backslash is one.
    fn single_quoted(&mut self) -> Result<Kind<'a>, BadFile> {
        let rest = self.rest();
        let (mut at, mut escapes) = (1, false);
        loop {
            match rest.get(at) {
                None => return Err(self.bad("a string starts here and never ends")),
                Some(b'\'') => break,
                Some(b'\\') => {
                    escapes = true;
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        let inside = &self.pass(at + 1)[1..at];
        if !escapes {
            return Ok(Kind::Text(inside.into()));
        }
        let mut decoded = Vec::with_capacity(inside.len());
        let mut bytes = inside.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let escaped = if byte == b'\\' {
                bytes.next_if(|next| matches!(next, b'\\' | b'\''))
            } else {
                None
            };
            decoded.push(escaped.unwrap_or(byte));
        }
        Ok(Kind::Text(decoded.into()))
    }

    /// A string in double quotes or backticks. Variables in it make it opaque; code in braces is passed token by token,
    /// as it may hold quotes of its own.
    fn double_quoted(&mut self, depth: usize) -> Result<Kind<'a>, BadFile> {
        let (line, quote) = (self.line, self.rest()[0]);
        self.pass(1);
        let start = self.at;
        let mut opaque = false;
        loop {
            self.pass_while(|byte| byte != quote && !matches!(byte, b'\\' | b'$' | b'{'));
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Err(BadFile::new(line, "a string starts here and never ends")),
                (Some(b'\\'), _) => {
                    self.pass(2);
                }
                (Some(byte), _) if byte == quote => break,
                (Some(b'$'), Some(b'{')) | (Some(b'{'), Some(b'$')) => {
                    opaque = true;
                    // Of `{$` the brace alone, of `${` both: the code follows.
                    self.pass(1 + usize::from(self.peek(0) == Some(b'$')));
                    self.skip_code(depth + 1)?;
                }
                (Some(b'$'), Some(next)) if starts_name(next) => {
                    opaque = true;
                    self.pass(1);
                }
                _ => {
                    self.pass(1);
                }
            }
        }
        let inside = &self.text[start..self.at];
        self.pass(1);
        if opaque {
            return Ok(Kind::Opaque("it puts a variable into a string"));
        }
        Ok(escaped(inside, Some(quote)))
    }

    /// To behind the brace that closes the one before.
    fn skip_code(&mut self, depth: usize) -> Result<(), BadFile> {
        let line = self.line;
        let mut open = 1;
        while let Some(token) = self.token(depth)? {
            match token.kind {
                Kind::Op(b"{") => open += 1,
                Kind::Op(b"}") => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
        Err(BadFile::new(line, "a brace inside a string is never closed"))
    }

    /// `<<<A`, `<<<"A"` or `<<<'A'` up to the line that starts with `A`, whose indentation is taken from every line
    /// (PHP 7.3). `None`: no such label follows.
    fn heredoc(&mut self) -> Result<Option<Kind<'a>>, BadFile> {
        let rest = self.rest();
        let blanks = rest[3..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let quote = rest
            .get(3 + blanks)
            .copied()
            .filter(|byte| matches!(byte, b'\'' | b'"'));
        let from = 3 + blanks + usize::from(quote.is_some());
        let length = rest[from..].iter().take_while(|byte| in_name(**byte)).count();
        let label = &rest[from..from + length];
        let mut at = from + length;
        if label.first().is_none_or(|byte| !starts_name(*byte)) || (quote.is_some() && rest.get(at).copied() != quote) {
            return Ok(None);
        }
        at += usize::from(quote.is_some());
        at += match rest.get(at..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([b'\n' | b'\r', ..]) => 1,
            _ => return Ok(None),
        };
        let start = at;
        loop {
            let line = &rest[at..];
            let indent = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let closes = line[indent..].strip_prefix(label);
            self.steps += 1 + indent + label.len();
            if closes.is_some_and(|after| after.first().is_none_or(|byte| !in_name(*byte))) {
                let body = without_last_newline(&rest[start..at]);
                self.pass(at + indent + length);
                return Ok(Some(heredoc_text(body, &line[..indent], quote == Some(b'\''))));
            }
            let Some(end) = line.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return Err(self.bad("a heredoc starts here and never ends"));
            };
            at += end + 1;
        }
    }

    fn number(&mut self) -> Kind<'a> {
        let radix = match (self.peek(0), self.peek(1)) {
            (Some(b'0'), Some(b'x' | b'X')) => 16,
            (Some(b'0'), Some(b'b' | b'B')) => 2,
            (Some(b'0'), Some(b'o' | b'O')) => 8,
            _ => 10,
        };
        let digits = |bytes: &[u8]| -> String {
            let plain = bytes.iter().filter(|byte| **byte != b'_');
            plain.map(|byte| char::from(*byte)).collect()
        };
        if radix != 10 {
            self.pass(2);
            let text = digits(self.pass_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            return i64::from_str_radix(&text, radix)
                .map_or(Kind::Opaque("it is a number that is out of range"), Kind::Int);
        }
        let rest = self.rest();
        let run = |from: usize| -> usize {
            let digits = rest[from..].iter();
            digits
                .take_while(|byte| byte.is_ascii_digit() || **byte == b'_')
                .count()
        };
        let mut end = run(0);
        let mut is_float = false;
        if rest.get(end) == Some(&b'.') && rest.get(end + 1) != Some(&b'.') {
            is_float = true;
            end += 1;
            end += run(end);
        }
        let sign = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
        let exponent = matches!(rest.get(end), Some(b'e' | b'E'));
        if exponent && rest.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            is_float = true;
            end += 1 + sign;
            end += run(end);
        }
        let text = digits(self.pass(end));
        let bad = Kind::Opaque("it is a number that is none");
        if is_float {
            return text.parse().map_or(bad, Kind::Float);
        }
        match text.strip_prefix('0') {
            Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).map_or(bad, Kind::Int),
            _ => match text.parse() {
                Ok(number) => Kind::Int(number),
                Err(_) => text.parse().map_or(bad, Kind::Float),
            },
        }
    }

    fn bad(&self, why: &'static str) -> BadFile {
        BadFile::new(self.line, why)
    }
}

fn without_last_newline(body: &[u8]) -> &[u8] {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body.strip_suffix(b"\r").unwrap_or(body)
}

fn heredoc_text<'a>(body: &'a [u8], indent: &[u8], is_nowdoc: bool) -> Kind<'a> {
    let mut plain = Cow::Borrowed(body);
    if !indent.is_empty() {
        let mut lines = Vec::with_capacity(body.len());
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(indent) {
                Some(line) => lines.extend_from_slice(line),
                None if line.iter().all(u8::is_ascii_whitespace) => {
                    lines.extend(line.iter().filter(|byte| matches!(byte, b'\r' | b'\n')));
                }
                None => return Kind::Opaque("its lines are indented less than its end"),
            }
        }
        plain = Cow::Owned(lines);
    }
    if is_nowdoc {
        return Kind::Text(plain);
    }
    if has_variable(&plain) {
        return Kind::Opaque("it puts a variable into a string");
    }
    match plain {
        Cow::Borrowed(text) => escaped(text, None),
        Cow::Owned(text) => match escaped(&text, None) {
            Kind::Text(text) => Kind::Text(text.into_owned().into()),
            Kind::Opaque(why) => Kind::Opaque(why),
            _ => Kind::Opaque("it is no string"),
        },
    }
}

fn has_variable(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'\\', _) => at += 1,
            (b'$', Some(next)) if *next == b'{' || starts_name(*next) => return true,
            (b'{', Some(b'$')) => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

/// The escapes of double-quoted strings and heredocs. Of the quotes only the string's own can be escaped; what is no
/// escape keeps its backslash.
fn escaped(text: &[u8], quote: Option<u8>) -> Kind<'_> {
    if !text.contains(&b'\\') {
        return Kind::Text(text.into());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let Some(next) = after.first().copied().filter(|_| *byte == b'\\') else {
            out.push(*byte);
            continue;
        };
        let number = |from: usize, most: usize, radix: u32| -> (u32, usize) {
            let digits = after[from..].iter().take(most);
            let digits = digits.map_while(|byte| char::from(*byte).to_digit(radix));
            digits.fold((0, 0), |(value, count), digit| (value * radix + digit, count + 1))
        };
        let simple = match next {
            b'n' => Some(b'\n'),
            b't' => Some(b'\t'),
            b'r' => Some(b'\r'),
            b'v' => Some(0x0b),
            b'e' => Some(0x1b),
            b'f' => Some(0x0c),
            b'\\' | b'$' => Some(next),
            _ if Some(next) == quote => Some(next),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            rest = &after[1..];
            continue;
        }
        match next {
            b'0'..=b'7' => {
                let (value, count) = number(0, 3, 8);
                out.push((value & 0xff) as u8);
                rest = &after[count..];
            }
            b'x' | b'X' if number(1, 2, 16).1 > 0 => {
                let (value, count) = number(1, 2, 16);
                out.push((value & 0xff) as u8);
                rest = &after[1 + count..];
            }
            b'u' if after.get(1) == Some(&b'{') => {
                let zeros = after[2..].iter().take_while(|byte| **byte == b'0').count();
                let (value, count) = number(2 + zeros, 7, 16);
                let end = 2 + zeros + count;
                if zeros + count == 0 || after.get(end) != Some(&b'}') || !push_code_point(&mut out, value) {
                    return Kind::Opaque("it has a \\u{…} that is no character");
                }
                rest = &after[end + 1..];
            }
            _ => out.push(b'\\'),
        }
    }
    Kind::Text(out.into())
}

/// As PHP does it: surrogates too, which then are no UTF-8. False: above Unicode.
fn push_code_point(out: &mut Vec<u8>, value: u32) -> bool {
    match char::from_u32(value) {
        Some(char) => out.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
        None if value <= 0xffff => {
            let tail = |shift: u32| 0x80 | (value >> shift & 0x3f) as u8;
            out.extend([0xe0 | (value >> 12) as u8, tail(6), tail(0)]);
        }
        None => return false,
    }
    true
}
