//! Rewrites JSON text value by value and leaves everything else as it was written: white space, the order and the doubling
//! of keys, escapes. Parsing into a tree and printing it was the loser: limits count bytes as they were sent, and what is
//! said of a frame with two `event`s must be said of its masked twin too.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// What becomes of a value.
pub enum Fate {
    /// It stays.
    Keep,
    /// This stands in its place.
    Become(String),
    /// Of an object or a list: its values are judged one by one.
    Descend,
}

/// Whether a text is JSON. Its depth is that which serde_json bears, 128.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether the text of a value is that of an object or a list.
pub fn is_nest(raw: &str) -> bool {
    raw.starts_with(['{', '['])
}

/// A string as JSON.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Rewrites `text`, which is JSON. `judge` is told each value's text and the keys that lead to it; the items of a list have
/// the keys of the list.
pub fn rewrite(text: &str, judge: impl FnMut(&[Cow<'_, str>], &str) -> Fate) -> String {
    debug_assert!(is_json(text), "only JSON can be rewritten");
    let mut walk = Walk {
        text,
        at: 0,
        keys: Vec::new(),
        out: String::with_capacity(text.len()),
        judge,
    };
    walk.value();
    walk.out.push_str(&text[walk.at..]);
    walk.out
}

struct Walk<'a, J> {
    text: &'a str,
    at: usize,
    keys: Vec<Cow<'a, str>>,
    out: String,
    judge: J,
}

impl<J: FnMut(&[Cow<'_, str>], &str) -> Fate> Walk<'_, J> {
    fn value(&mut self) {
        self.copy_space();
        let raw = &self.text[self.at..self.at + extent(&self.text[self.at..])];
        match (self.judge)(&self.keys, raw) {
            Fate::Descend if is_nest(raw) => self.nest(),
            Fate::Descend | Fate::Keep => self.copy(raw.len()),
            Fate::Become(text) => {
                self.out.push_str(&text);
                self.at += raw.len();
            }
        }
    }

    /// An object or a list: both are values between commas, and an object's have a key each.
    fn nest(&mut self) {
        let is_object = self.next() == Some(b'{');
        self.copy(1);
        loop {
            self.copy_space();
            match self.next() {
                None => return,
                Some(b'}' | b']') => return self.copy(1),
                Some(b',') => self.copy(1),
                Some(_) if is_object => self.entry(),
                Some(_) => self.value(),
            }
        }
    }

    fn entry(&mut self) {
        let raw = &self.text[self.at..self.at + extent(&self.text[self.at..])];
        self.copy(raw.len());
        self.copy_space();
        self.copy(1);
        self.keys.push(serde_json::from_str(raw).unwrap_or(Cow::Borrowed(raw)));
        self.value();
        self.keys.pop();
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn copy(&mut self, len: usize) {
        self.out.push_str(&self.text[self.at..self.at + len]);
        self.at += len;
    }

    fn copy_space(&mut self) {
        let rest = &self.text[self.at..];
        self.copy(rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len());
    }
}

/// How long the value is that `text` begins with.
fn extent(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// Behind the closing quote of the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_kept_to_the_byte() {
        for text in [
            "1",
            " [ ] ",
            "{}",
            r#" { "a" : [ 1 , {"b":"\"}]"} , [], -1.5e3 ] ,"a":null , "\u00fc\\":"ü" } "#,
            r#"[[[["x"]]],true]"#,
            r#""\\""#,
        ] {
            assert_eq!(rewrite(text, |_, _| Fate::Descend), text);
        }
    }

    #[test]
    fn every_value_is_judged_with_its_keys() {
        let mut seen = Vec::new();
        let text = r#"{"a":{"b":[1,{"c":"x,y"}]}, "\u0064" : -2 }"#;
        let out = rewrite(text, |keys, raw| {
            if is_nest(raw) {
                return Fate::Descend;
            }
            seen.push(format!("{}={raw}", keys.join(".")));
            Fate::Become(format!("<{}>", raw.len()))
        });
        assert_eq!(seen, ["a.b=1", "a.b.c=\"x,y\"", "d=-2"]);
        assert_eq!(out, r#"{"a":{"b":[<1>,{"c":<5>}]}, "\u0064" : <2> }"#);
    }
}
