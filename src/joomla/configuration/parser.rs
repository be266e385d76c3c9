//! Finds in PHP's tokens the class `JConfig` with its public properties, calls of `define`, and the values that can be
//! read. All other code is skipped, bracket by bracket. The parser goes back at most to the start of the current value,
//! so the time is linear.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::lexer::{ASSIGNMENTS, Kind, Token, is, shown};
use super::outside;
use super::{BadFile, Constants, Parsed, Value, Why};

/// How many calls of `dirname` may be nested; real files have at most three.
const DEEPEST: usize = 16;

/// The most bytes that constants may add to a file. Without a limit, `B` that is `A . A`, `C` that is `B . B` and so on
/// would double the text each time.
const MOST_COPIED: usize = 1 << 20;

/// Where a value ends, if it stands there outside of the value's own brackets.
const VALUE_ENDS: &[&str] = &[",", ";", ")", "]", "}"];

/// The same for a statement.
const STATEMENT_ENDS: &[&str] = &[";", ")", "]", "}"];

/// Reads the tokens of a file: its constants, and the class `JConfig` if the file declares it.
///
/// # Errors
/// The class is declared twice or behind a condition, or the file ends within it.
pub(super) fn read(tokens: &[Token<'_>], file: &Path, constants: &mut Constants) -> Result<Option<Parsed>, BadFile> {
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        block: 0,
        open: 0,
        copied: 0,
        file,
        constants,
    };
    parser.file()
}

struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    /// How many calls of `dirname` the current operand is in.
    depth: usize,
    /// The end of the block of code that the parser is in, if it is in one.
    block: usize,
    /// How many blocks without braces it is in: `if (…): … endif;`.
    open: usize,
    /// Bytes of constants that were copied into values.
    copied: usize,
    /// `__FILE__`
    file: &'t Path,
    constants: &'t mut Constants,
}

impl<'t, 'a> Parser<'t, 'a> {
    fn file(&mut self) -> Result<Option<Parsed>, BadFile> {
        let mut found = None;
        while let Some(token) = self.next() {
            if token.kind == Kind::Op(b"{") {
                self.block = self.block.max(token.closes);
            }
            let Kind::Name(name) = token.kind else { continue };
            match name.to_ascii_lowercase().as_slice() {
                // The name of a member, or `Name::class`: no declaration.
                _ if self.follows_member_access() => {}
                b"class" if self.sees_name("JConfig") => {
                    if found.is_some() {
                        let why = "the class JConfig is declared a second time here";
                        return Err(BadFile::new(token.line, why));
                    }
                    if self.at <= self.block || self.open > 0 {
                        return Err(BadFile::new(token.line, outside::CONDITIONAL));
                    }
                    found = Some(self.class(token.line)?);
                }
                word @ (b"if" | b"while" | b"for" | b"foreach" | b"switch") => match outside::guard(self.rest()) {
                    Some(length) if word == b"if" => self.at += length,
                    _ => self.open += usize::from(outside::opens_without_brace(self.tokens, self.at)),
                },
                b"endif" | b"endwhile" | b"endfor" | b"endforeach" | b"endswitch" => {
                    self.open = self.open.saturating_sub(1);
                }
                // Its braces are no condition.
                b"namespace" => {
                    self.skip_to(&[";", "{"]);
                    self.at += 1;
                }
                // The arguments of an anonymous class come before its body; both kinds of class have a body.
                b"class" => self.skip_to(STATEMENT_ENDS),
                b"interface" | b"trait" | b"enum" if matches!(self.peek(), Some(Kind::Name(_))) => {
                    self.skip_to(STATEMENT_ENDS);
                }
                b"define" => self.define(),
                b"const" => self.constant(),
                _ => {}
            }
        }
        Ok(found)
    }

    fn rest(&self) -> &'t [Token<'a>] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<&'t Kind<'a>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<&'t Token<'a>> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    fn sees(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Kind::Op(here)) if *here == op.as_bytes())
    }

    fn sees_name(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Kind::Name(name)) if is(name, word))
    }

    /// Consumes this operator if it comes next, and returns whether it did.
    fn takes(&mut self, op: &str) -> bool {
        let is_there = self.sees(op);
        self.at += usize::from(is_there);
        is_there
    }

    /// Whether the token that was just consumed follows `->`, `::` or `function`.
    fn follows_member_access(&self) -> bool {
        let before = self.at.checked_sub(2).and_then(|at| self.tokens.get(at));
        match before.map(|token| &token.kind) {
            Some(Kind::Op(op)) => matches!(*op, b"->" | b"?->" | b"::"),
            Some(Kind::Name(name)) => is(name, "function"),
            _ => false,
        }
    }

    /// Skips to one of `ends` outside of all brackets. Also stops behind a body in braces if a name or an attribute
    /// follows, because that begins the next statement.
    fn skip_to(&mut self, ends: &[&str]) {
        while let Some(token) = self.tokens.get(self.at) {
            if ends.iter().any(|end| self.sees(end)) {
                return;
            }
            self.at = token.closes + 1;
            if token.kind == Kind::Op(b"{") && matches!(self.peek(), Some(Kind::Name(_) | Kind::Op(b"#["))) {
                return;
            }
        }
    }

    /// Reads `define('NAME', value)`. The name of the function was consumed before.
    fn define(&mut self) {
        if !self.takes("(") {
            return;
        }
        let start = self.at;
        match (self.value(), self.takes(",")) {
            (Ok(Value::Text(name)), true) => {
                let value = self.whole_value();
                self.constants.define(&name, value);
            }
            _ => self.at = start,
        }
    }

    /// Reads `const NAME = value, …;`. The keyword `const` was consumed before.
    fn constant(&mut self) {
        while let Some(Kind::Name(name)) = self.peek() {
            self.at += 1;
            if !self.takes("=") {
                return;
            }
            let value = self.whole_value();
            self.constants.define(name, value);
            if !self.takes(",") {
                return;
            }
        }
    }

    /// Reads the class. The keyword `class` was consumed before; it is in this line.
    fn class(&mut self, line: usize) -> Result<Parsed, BadFile> {
        let (mut parsed, mut assigned) = (Parsed::default(), BTreeMap::new());
        parsed.leave_out(outside::parent(self.rest()));
        self.skip_to(&["{"]);
        let end = self.next().map_or(usize::MAX, |open| open.closes);
        if end >= self.tokens.len() {
            let why = "the class JConfig starts here and the file ends within it";
            return Err(BadFile::new(line, why));
        }
        while self.at <= end {
            self.member(&mut parsed, &mut assigned)?;
        }
        // Methods run after all properties have their values; the constructor runs at once.
        for (name, line) in assigned {
            parsed.set(name, line, Err("a method of the class sets it".to_owned()));
        }
        Ok(parsed)
    }

    /// Reads one member of the class, with its modifiers and its type, or the end of the class. `assigned` collects the
    /// properties that methods set, with the lines.
    fn member(&mut self, parsed: &mut Parsed, assigned: &mut BTreeMap<&'a [u8], usize>) -> Result<(), BadFile> {
        let mut is_public = true;
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Op(b";" | b"}") => return Ok(()),
                Kind::Op(b"#[") => self.at = token.closes + 1,
                Kind::Variable(name) => return self.properties(name, token.line, is_public, parsed),
                Kind::Name(name) => match name.to_ascii_lowercase().as_slice() {
                    b"function" => {
                        self.method(parsed, assigned);
                        return Ok(());
                    }
                    b"const" | b"case" | b"use" => {
                        if is(name, "use") {
                            parsed.leave_out(outside::traits(self.rest()));
                        }
                        self.skip_to(STATEMENT_ENDS);
                        return Ok(());
                    }
                    // `private(set)` restricts only who may write the property (PHP 8.4), so the property stays public
                    // for reading.
                    b"private" | b"protected" => is_public &= self.sees("("),
                    b"static" => is_public = false,
                    _ => {}
                },
                // The type.
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the properties of one declaration up to and including the `;`. The name of the first property was consumed
    /// before.
    fn properties(
        &mut self,
        mut name: &'a [u8],
        mut line: usize,
        is_public: bool,
        parsed: &mut Parsed,
    ) -> Result<(), BadFile> {
        loop {
            let value = match self.takes("=") {
                true => self.whole_value(),
                false => Ok(Value::Null),
            };
            if is_public {
                parsed.set(name, line, value);
            }
            let is_list = self.takes(",");
            let Some(token) = self.next() else { return Ok(()) };
            match token.kind {
                Kind::Op(b";") if !is_list => return Ok(()),
                Kind::Variable(next) if is_list => (name, line) = (next, token.line),
                _ => {
                    let why = "the property before this has neither `;` nor `,` behind it; one with hooks is not read";
                    return Err(BadFile::new(token.line, why));
                }
            }
        }
    }

    /// Reads a method. The keyword `function` was consumed before. The value of a property that the method sets cannot
    /// be determined, because the method may be the constructor.
    fn method(&mut self, parsed: &mut Parsed, assigned: &mut BTreeMap<&'a [u8], usize>) {
        let start = self.at;
        if self.sees_name("__construct") {
            let parameters = outside::parameters(&self.rest()[1..]);
            for token in &parameters {
                if let Kind::Variable(name) = token.kind {
                    parsed.set(name, token.line, Err("it is a parameter of the constructor".to_owned()));
                }
            }
            parsed.leave_out(outside::named(&parameters));
        }
        self.skip_to(STATEMENT_ENDS);
        let end = self.at.min(self.tokens.len());
        for four in self.tokens[start..end].windows(4) {
            match [0, 1, 2, 3].map(|n| &four[n].kind) {
                [Kind::Variable(b"this"), Kind::Op(b"->"), Kind::Name(name), Kind::Op(op)]
                    if ASSIGNMENTS.contains(op) =>
                {
                    assigned.insert(name, four[0].line);
                }
                [
                    Kind::Variable(b"this"),
                    Kind::Op(b"->"),
                    Kind::Variable(_) | Kind::Op(b"{" | b"$"),
                    _,
                ] => {
                    parsed.dynamic = parsed.dynamic.or(Some(four[0].line));
                }
                _ => {}
            }
        }
    }

    /// Reads a value up to its end. If the value cannot be read, it is skipped and the reason is returned.
    fn whole_value(&mut self) -> Result<Value, Why> {
        let start = self.at;
        let why = match self.value() {
            Ok(value) if VALUE_ENDS.iter().any(|end| self.sees(end)) => return Ok(value),
            Ok(_) => self.why_not(),
            Err(why) => why,
        };
        self.at = start;
        self.skip_to(VALUE_ENDS);
        Err(why)
    }

    /// Why the next token cannot be part of a value that can be read. The reason repeats no string, because a string
    /// may be a secret.
    fn why_not(&self) -> Why {
        match self.peek() {
            None => "it never ends".to_owned(),
            Some(Kind::Literal(Err(why))) => (*why).to_owned(),
            Some(Kind::Literal(Ok(_))) => "an operator is missing in it".to_owned(),
            Some(Kind::Variable(name)) => format!("it uses the variable ${}", shown(name)),
            Some(Kind::Op(b"[")) => "it is an array".to_owned(),
            Some(Kind::Op(op)) => format!("there is `{}` in it", shown(op)),
            Some(Kind::Name(name)) => match self.tokens.get(self.at + 1).map(|token| &token.kind) {
                Some(Kind::Op(b"(")) if is(name, "array") => "it is an array".to_owned(),
                Some(Kind::Op(b"(")) => format!("it calls {}()", shown(name)),
                Some(Kind::Op(b"::")) => format!("it uses {}::", shown(name)),
                _ if ["new", "fn", "function", "match"].iter().any(|word| is(name, word)) => {
                    format!("it uses `{}`", shown(name))
                }
                _ => format!("it uses the constant {}", shown(name)),
            },
        }
    }

    /// Reads a value: one operand, or several joined by dots.
    fn value(&mut self) -> Result<Value, Why> {
        self.depth = 0;
        self.joined()
    }

    fn joined(&mut self) -> Result<Value, Why> {
        let first = self.operand()?;
        if !self.sees(".") {
            return Ok(first);
        }
        let mut text = first.into_text()?;
        while self.takes(".") {
            text.extend(self.operand()?.into_text()?);
        }
        Ok(Value::Text(text))
    }

    fn operand(&mut self) -> Result<Value, Why> {
        let minus = self.takes("-");
        let is_signed = minus || self.takes("+");
        let value = match self.peek() {
            // A literal is never negative.
            Some(Kind::Literal(Ok(Value::Int(number)))) => Value::Int(if minus { -number } else { *number }),
            Some(Kind::Literal(Ok(Value::Float(number)))) => Value::Float(if minus { -number } else { *number }),
            _ if is_signed => return Err("it has a sign before something that is no number".to_owned()),
            Some(Kind::Literal(Ok(value))) => value.clone(),
            Some(Kind::Name(name)) => return self.named(name),
            _ => return Err(self.why_not()),
        };
        self.at += 1;
        Ok(value)
    }

    /// Reads a constant, or a call of `dirname`, the only function that is read.
    fn named(&mut self, name: &'a [u8]) -> Result<Value, Why> {
        if self
            .tokens
            .get(self.at + 1)
            .is_some_and(|next| next.kind == Kind::Op(b"("))
        {
            return match is(name, "dirname") {
                true => self.dirname(),
                false => Err(self.why_not()),
            };
        }
        let path = |path: &Path| Value::Text(path.as_os_str().as_bytes().to_vec());
        let value = match name.to_ascii_lowercase().as_slice() {
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            b"null" => Value::Null,
            b"__file__" => path(self.file),
            b"__dir__" => path(self.file.parent().unwrap_or(Path::new("/"))),
            _ if name == b"DIRECTORY_SEPARATOR" => Value::Text(b"/".to_vec()),
            _ => match self.constants.get(name) {
                Some(Ok(value)) => value.clone(),
                Some(Err(why)) => return Err(format!("it uses the constant {}: {why}", shown(name))),
                None => return Err(self.why_not()),
            },
        };
        if let Value::Text(text) = &value {
            self.copied += text.len();
        }
        if self.copied > MOST_COPIED {
            return Err("constants make the file too long".to_owned());
        }
        self.at += 1;
        Ok(value)
    }

    /// Reads `dirname(path)` or `dirname(path, levels)`.
    fn dirname(&mut self) -> Result<Value, Why> {
        self.at += 2;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("it is nested too deeply".to_owned());
        }
        let path = self.joined()?;
        let levels = match self.takes(",") {
            true => self.operand()?,
            false => Value::Int(1),
        };
        let (Value::Text(mut path), Value::Int(levels @ 1..=64)) = (path, levels) else {
            return Err("it calls dirname()".to_owned());
        };
        if !self.takes(")") {
            return Err(self.why_not());
        }
        if !path.starts_with(b"/") {
            return Err("it calls dirname() of a relative path".to_owned());
        }
        self.depth -= 1;
        let is_slash = |byte: &u8| *byte == b'/';
        let trim =
            |path: &mut Vec<u8>| path.truncate(path.iter().rposition(|byte| !is_slash(byte)).map_or(0, |at| at + 1));
        for _ in 0..levels {
            trim(&mut path);
            path.truncate(path.iter().rposition(is_slash).unwrap_or(0));
            trim(&mut path);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(Value::Text(path))
    }
}
