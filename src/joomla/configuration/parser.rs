//! What PHP's tokens mean together: the class `JConfig` with its public properties, calls of `define`, and the values
//! that can be known without running anything. The rest is passed over, bracket by bracket; nothing goes back further
//! than to the start of the value at hand, so the time is linear.

use super::lexer::{Kind, Token};
use super::{BadFile, Constants, Entry, Key, Parsed, Value};

/// Brackets, arrays and signs inside each other in one value.
const DEEPEST: usize = 64;

/// The most bytes that constants may add to a file: `B` that is `A . A`, `C` that is `B . B` and so on would double for
/// ever.
const MOST_COPIED: usize = 1 << 20;

/// Operators that give their left side a new value.
const ASSIGNMENTS: &[&[u8]] = &[
    b"=", b".=", b"??=", b"+=", b"-=", b"*=", b"/=", b"%=", b"**=", b"&=", b"|=", b"^=", b"<<=", b">>=", b"++", b"--",
];

/// Why a value is not known, as a clause: `it calls getenv()`.
type Why = String;

/// Reads tokens of one file.
pub(super) struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    depth: usize,
    steps: usize,
    /// Bytes of constants that were put into values.
    copied: usize,
    /// `__DIR__` and `__FILE__`
    folder: &'t [u8],
    file: &'t [u8],
    constants: &'t mut Constants,
}

/// `+`, `-` and `.` had one rank before PHP 8, so a mixture of them means different things to different versions.
#[derive(Clone, Copy, PartialEq)]
enum Rank {
    None,
    Sum,
    Join,
}

impl<'t, 'a> Parser<'t, 'a> {
    pub(super) fn new(tokens: &'t [Token<'a>], folder: &'t [u8], file: &'t [u8], constants: &'t mut Constants) -> Self {
        Self {
            tokens,
            at: 0,
            depth: 0,
            steps: 0,
            copied: 0,
            folder,
            file,
            constants,
        }
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Everything: the constants that are defined, and the class if it is there.
    pub(super) fn file(&mut self) -> Result<Option<Parsed>, BadFile> {
        let mut found = None;
        while let Some(token) = self.next() {
            match &token.kind {
                // A method or `Name::class`: no declaration.
                Kind::Name(_) if self.follows_member_access() => {}
                Kind::Name(name) if is(name, "class") => {
                    let Some(class) = self.class(token.line)? else {
                        continue;
                    };
                    if found.is_some() {
                        return Err(BadFile::new(
                            token.line,
                            "the class JConfig is declared a second time here",
                        ));
                    }
                    found = Some(class);
                }
                Kind::Name(name) if is(name, "interface") || is(name, "trait") || is(name, "enum") => {
                    if matches!(self.peek(), Some(Kind::Name(_))) {
                        self.skip_body();
                    }
                }
                Kind::Name(name) if is(name, "define") => self.define(),
                Kind::Name(name) if is(name, "const") => self.constant(),
                _ => {}
            }
        }
        Ok(found)
    }

    fn peek(&self) -> Option<&'t Kind<'a>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<&'t Token<'a>> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        self.steps += 1;
        Some(token)
    }

    /// The line of the next token.
    fn line(&self) -> usize {
        let last = self.tokens.last();
        self.tokens.get(self.at).or(last).map_or(1, |token| token.line)
    }

    fn sees(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Kind::Op(here)) if *here == op.as_bytes())
    }

    /// Passes this operator, if it is there.
    fn takes(&mut self, op: &str) -> bool {
        let is_there = self.sees(op);
        if is_there {
            self.next();
        }
        is_there
    }

    /// Whether the token that was just passed stands behind `->`, `::`, `new` or `function`.
    fn follows_member_access(&self) -> bool {
        let before = self.at.checked_sub(2).and_then(|at| self.tokens.get(at));
        match before.map(|token| &token.kind) {
            Some(Kind::Op(op)) => matches!(*op, b"->" | b"?->" | b"::"),
            Some(Kind::Name(name)) => is(name, "function"),
            _ => false,
        }
    }

    /// Behind the bracket that closes the one that was just passed. False: the file ends before.
    fn skip_closed(&mut self) -> bool {
        let mut open = 1_usize;
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Op(b"(" | b"[" | b"{" | b"#[") => open += 1,
                Kind::Op(b")" | b"]" | b"}") => open -= 1,
                _ => {}
            }
            if open == 0 {
                return true;
            }
        }
        false
    }

    /// To the `,`, `;` or closing bracket that ends the value which starts here.
    fn skip_value(&mut self) {
        while let Some(kind) = self.peek() {
            match kind {
                Kind::Op(b"," | b";" | b")" | b"]" | b"}") => return,
                Kind::Op(b"(" | b"[" | b"{" | b"#[") => {
                    self.next();
                    self.skip_closed();
                }
                _ => {
                    self.next();
                }
            }
        }
    }

    /// Behind the body in braces that comes next, or the `;` instead of it.
    fn skip_body(&mut self) -> bool {
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Op(b"{") => return self.skip_closed(),
                Kind::Op(b"(" | b"[" | b"#[") => {
                    self.skip_closed();
                }
                Kind::Op(b";") => return true,
                _ => {}
            }
        }
        false
    }

    /// `define('NAME', value)`, behind the name of the function.
    fn define(&mut self) {
        if !self.takes("(") {
            return;
        }
        let start = self.at;
        self.depth = 0;
        let Ok(Value::Text(name)) = self.value() else {
            self.at = start;
            return;
        };
        if !self.takes(",") {
            return;
        }
        let value = self.whole_value(&[")", ","]);
        self.constants.define(&name, value);
    }

    /// `const NAME = value, …;`, behind `const`.
    fn constant(&mut self) {
        loop {
            let Some(Kind::Name(name)) = self.peek() else {
                return;
            };
            self.next();
            if !self.takes("=") {
                return;
            }
            let value = self.whole_value(&[";", ","]);
            self.constants.define(name, value);
            if !self.takes(",") {
                return;
            }
        }
    }

    /// A class, behind `class`. `None`: another one, which was passed over.
    fn class(&mut self, line: usize) -> Result<Option<Parsed>, BadFile> {
        let is_ours = matches!(self.peek(), Some(Kind::Name(name)) if is(name, "JConfig"));
        if !is_ours {
            // An anonymous class has its arguments first; both have a body.
            self.skip_body();
            return Ok(None);
        }
        while self.peek().is_some() && !self.sees("{") {
            self.next();
        }
        if !self.takes("{") {
            return Err(BadFile::new(
                line,
                "the class JConfig starts here and the file ends within it",
            ));
        }
        let mut parsed = Parsed::default();
        while !self.takes("}") {
            if self.peek().is_none() {
                return Err(BadFile::new(
                    line,
                    "the class JConfig starts here and the file ends within it",
                ));
            }
            self.member(&mut parsed);
        }
        // A method that runs after all properties have got their values.
        let methods = std::mem::take(&mut parsed.methods);
        parsed.entries.extend(methods);
        Ok(Some(parsed))
    }

    /// One member of the class, with its modifiers and its type. Passes at least one token.
    fn member(&mut self, parsed: &mut Parsed) {
        let (mut is_public, mut is_property) = (true, false);
        while let Some(token) = self.next() {
            match &token.kind {
                Kind::Op(b";") => return,
                Kind::Op(b"#[") => {
                    self.skip_closed();
                }
                Kind::Name(name) if is(name, "const") || is(name, "case") => {
                    self.skip_statement();
                    return;
                }
                Kind::Name(name) if is(name, "use") => {
                    self.skip_body();
                    return;
                }
                Kind::Name(name) if is(name, "function") => {
                    self.method(parsed);
                    return;
                }
                Kind::Name(name) if is(name, "private") || is(name, "protected") || is(name, "static") => {
                    // `private(set)` says who may write it (PHP 8.4), which is nobody's affair here.
                    let is_for_writing = self.sees("(");
                    is_public &= is_for_writing;
                    if is_for_writing {
                        self.next();
                        self.skip_closed();
                    }
                }
                Kind::Variable(name) => {
                    is_property = true;
                    self.property(name, token.line, is_public, parsed);
                    break;
                }
                Kind::Op(b"}") => {
                    // The class ends in the middle of a member.
                    self.at -= 1;
                    return;
                }
                // Other modifiers and the type.
                _ => {}
            }
        }
        while is_property && self.takes(",") {
            let line = self.line();
            let Some(Kind::Variable(name)) = self.peek() else {
                break;
            };
            self.next();
            self.property(name, line, is_public, parsed);
        }
        if is_property {
            self.takes(";");
        }
    }

    /// A property, behind its name: up to the `,` or `;` after it.
    fn property(&mut self, name: &[u8], line: usize, is_public: bool, parsed: &mut Parsed) {
        let value = if self.takes("=") {
            self.whole_value(&[";", ","])
        } else {
            Ok(Value::Null)
        };
        let value = if self.takes("{") {
            // Hooks (PHP 8.4).
            self.skip_closed();
            Err("it has hooks".to_owned())
        } else {
            value
        };
        if is_public {
            parsed.set(name, Entry { line, value });
        }
    }

    /// A method, behind `function`. What it gives a new value cannot be known, as it may be the constructor.
    fn method(&mut self, parsed: &mut Parsed) {
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Op(b";") => return,
                Kind::Op(b"(") => {
                    self.skip_closed();
                }
                Kind::Op(b"{") => break,
                _ => {}
            }
        }
        let mut open = 1_usize;
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Op(b"(" | b"[" | b"{" | b"#[") => open += 1,
                Kind::Op(b")" | b"]" | b"}") => open -= 1,
                Kind::Variable(b"this") if self.sees("->") => {
                    self.next();
                    self.assignment(token.line, parsed);
                }
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
    }

    /// Behind `$this->` in a method.
    fn assignment(&mut self, line: usize, parsed: &mut Parsed) {
        match self.peek() {
            Some(Kind::Name(name)) => {
                self.next();
                if matches!(self.peek(), Some(Kind::Op(op)) if ASSIGNMENTS.contains(op)) {
                    let why = "a method of the class sets it".to_owned();
                    parsed.assigned(name, Entry { line, value: Err(why) });
                }
            }
            Some(Kind::Variable(_) | Kind::Op(b"{" | b"$")) => parsed.dynamic = parsed.dynamic.or(Some(line)),
            _ => {}
        }
    }

    /// To behind the `;` that ends this statement.
    fn skip_statement(&mut self) {
        loop {
            self.skip_value();
            match self.peek() {
                Some(Kind::Op(b",")) => {
                    self.next();
                }
                Some(Kind::Op(b";")) => {
                    self.next();
                    return;
                }
                Some(Kind::Op(b")" | b"]")) => {
                    self.next();
                }
                // `}` closes the class.
                _ => return,
            }
        }
    }

    /// A value that one of `ends` follows. If it cannot be known, passes it over and says why.
    fn whole_value(&mut self, ends: &[&str]) -> Result<Value, Why> {
        let start = self.at;
        self.depth = 0;
        let value = self.value();
        if value.is_ok() && ends.iter().any(|end| self.sees(end)) {
            return value;
        }
        let why = match value {
            Err(why) => why,
            Ok(_) => self.why_not(),
        };
        self.at = start;
        self.skip_value();
        Err(why)
    }

    /// Why the next token is no part of a value that can be known. Repeats no text, which may be a secret.
    fn why_not(&self) -> Why {
        match self.peek() {
            None => "it never ends".to_owned(),
            Some(Kind::Opaque(why)) => (*why).to_owned(),
            Some(Kind::Variable(name)) => format!("it uses the variable ${}", shown(name)),
            Some(Kind::Name(name)) => match self.tokens.get(self.at + 1).map(|token| &token.kind) {
                Some(Kind::Op(b"(")) => format!("it calls {}()", shown(name)),
                Some(Kind::Op(b"::")) => format!("it uses {}::", shown(name)),
                _ if is(name, "new") || is(name, "fn") || is(name, "function") || is(name, "match") => {
                    format!("it uses `{}`", shown(name))
                }
                _ => format!("it uses the constant {}", shown(name)),
            },
            Some(Kind::Op(op)) => format!("there is `{}` in it", shown(op)),
            Some(_) => "an operator is missing in it".to_owned(),
        }
    }

    /// Sums and concatenations.
    fn value(&mut self) -> Result<Value, Why> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("it is nested too deeply".to_owned());
        }
        let mut value = self.product()?;
        let mut rank = Rank::None;
        while let Some(Kind::Op(op @ (b"." | b"+" | b"-"))) = self.peek() {
            let here = if *op == b"." { Rank::Join } else { Rank::Sum };
            if rank != Rank::None && rank != here {
                return Err(format!("there is `{}` in it without parentheses", shown(op)));
            }
            rank = here;
            self.next();
            let other = self.product()?;
            value = match *op {
                b"." => {
                    let mut text = joinable(value)?;
                    text.extend_from_slice(&joinable(other)?);
                    Value::Text(text)
                }
                b"+" => integers(&value, &other, i64::checked_add)?,
                _ => integers(&value, &other, i64::checked_sub)?,
            };
        }
        self.depth -= 1;
        Ok(value)
    }

    fn product(&mut self) -> Result<Value, Why> {
        let mut value = self.signed()?;
        while self.takes("*") {
            value = integers(&value, &self.signed()?, i64::checked_mul)?;
        }
        Ok(value)
    }

    fn signed(&mut self) -> Result<Value, Why> {
        let (mut minus, mut signs) = (false, 0);
        loop {
            if self.takes("-") {
                minus = !minus;
            } else if !self.takes("+") {
                break;
            }
            signs += 1;
        }
        match self.operand()? {
            value if signs == 0 => Ok(value),
            Value::Int(number) if minus => number.checked_neg().map(Value::Int).ok_or_else(out_of_range),
            Value::Float(number) if minus => Ok(Value::Float(-number)),
            value @ (Value::Int(_) | Value::Float(_)) => Ok(value),
            _ => Err("it has a sign before something that is no number".to_owned()),
        }
    }

    fn operand(&mut self) -> Result<Value, Why> {
        let here = self.peek();
        match here {
            Some(Kind::Text(text)) => {
                self.next();
                Ok(Value::Text(text.to_vec()))
            }
            Some(Kind::Int(number)) => {
                self.next();
                Ok(Value::Int(*number))
            }
            Some(Kind::Float(number)) => {
                self.next();
                Ok(Value::Float(*number))
            }
            Some(Kind::Op(b"(")) => {
                self.next();
                let value = self.value()?;
                if !self.takes(")") {
                    return Err(self.why_not());
                }
                Ok(value)
            }
            Some(Kind::Op(b"[")) => {
                self.next();
                self.array("]")
            }
            Some(Kind::Name(name)) => self.named(name),
            _ => Err(self.why_not()),
        }
    }

    /// A constant, or one of the two calls that can be known.
    fn named(&mut self, name: &'a [u8]) -> Result<Value, Why> {
        let after = self.tokens.get(self.at + 1).map(|token| &token.kind);
        if let Some(Kind::Op(b"(")) = after {
            if is(name, "array") {
                self.at += 2;
                return self.array(")");
            }
            if is(name, "dirname") {
                self.at += 2;
                return self.dirname();
            }
            return Err(self.why_not());
        }
        let value = match name.to_ascii_lowercase().as_slice() {
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            b"null" => Value::Null,
            b"__dir__" => Value::Text(self.folder.to_vec()),
            b"__file__" => Value::Text(self.file.to_vec()),
            _ => match name {
                b"DIRECTORY_SEPARATOR" => Value::Text(b"/".to_vec()),
                b"PATH_SEPARATOR" => Value::Text(b":".to_vec()),
                b"PHP_EOL" => Value::Text(b"\n".to_vec()),
                _ => match self.constants.get(name) {
                    Some(Ok(Value::Array(_))) => return Err(format!("it uses the array {}", shown(name))),
                    Some(Ok(value)) => value.clone(),
                    Some(Err(why)) => return Err(format!("it uses the constant {}: {why}", shown(name))),
                    None => return Err(self.why_not()),
                },
            },
        };
        let length = match &value {
            Value::Text(text) => text.len(),
            _ => 1,
        };
        self.copied += length;
        self.steps += length;
        if self.copied > MOST_COPIED {
            return Err("constants make the file too long".to_owned());
        }
        self.next();
        Ok(value)
    }

    /// `dirname(path)`, `dirname(path, levels)`, behind the parenthesis.
    fn dirname(&mut self) -> Result<Value, Why> {
        let Value::Text(mut path) = self.value()? else {
            return Err("it calls dirname()".to_owned());
        };
        let mut levels = 1;
        if self.takes(",") {
            let Value::Int(number @ 1..=64) = self.value()? else {
                return Err("it calls dirname()".to_owned());
            };
            levels = number;
        }
        if !self.takes(")") {
            return Err(self.why_not());
        }
        for _ in 0..levels {
            let parent = parent(&path).len();
            path.truncate(parent);
            if path.is_empty() {
                return Err("it calls dirname() of a relative path".to_owned());
            }
        }
        Ok(Value::Text(path))
    }

    /// The elements of an array, behind its opening bracket.
    fn array(&mut self, end: &str) -> Result<Value, Why> {
        let (mut elements, mut next) = (Vec::new(), 0_i64);
        while !self.takes(end) {
            let mut value = self.value()?;
            let key = if self.takes("=>") {
                let key = key(value)?;
                value = self.value()?;
                key
            } else {
                Key::Int(next)
            };
            if let Key::Int(number) = key {
                next = next.max(number.saturating_add(1));
            }
            elements.push((key, value));
            if !self.takes(",") && !self.sees(end) {
                return Err(self.why_not());
            }
        }
        Ok(Value::Array(elements))
    }
}

/// PHP's keywords, classes and functions know no case; a leading backslash is gone already.
fn is(name: &[u8], word: &str) -> bool {
    name.eq_ignore_ascii_case(word.as_bytes())
}

/// A name or an operator for a message: short, without control characters.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(64)]);
    text.chars().filter(|char| !char.is_control()).collect()
}

fn out_of_range() -> Why {
    "it is a number that is out of range".to_owned()
}

fn integers(one: &Value, other: &Value, operation: fn(i64, i64) -> Option<i64>) -> Result<Value, Why> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => operation(*one, *other).map(Value::Int).ok_or_else(out_of_range),
        _ => Err("it calculates with something that is no integer".to_owned()),
    }
}

fn joinable(value: Value) -> Result<Vec<u8>, Why> {
    value
        .into_text()
        .ok_or_else(|| "it puts an array into a string".to_owned())
}

/// What PHP makes of an array's key.
fn key(value: Value) -> Result<Key, Why> {
    Ok(match value {
        Value::Int(number) => Key::Int(number),
        Value::Bool(truth) => Key::Int(truth.into()),
        Value::Float(number) => Key::Int(number as i64),
        Value::Null => Key::Text(Vec::new()),
        Value::Text(text) => {
            let number = std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.parse::<i64>().ok());
            match number {
                Some(number) if number.to_string().as_bytes() == text.as_slice() => Key::Int(number),
                _ => Key::Text(text),
            }
        }
        Value::Array(_) => return Err("it has an array as a key".to_owned()),
    })
}

/// PHP's `dirname` of an absolute path; empty for others.
fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') else {
        return if path.first() == Some(&b'/') { b"/" } else { b"" };
    };
    let kept = path[..slash]
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(1, |at| at + 1);
    &path[..kept]
}
