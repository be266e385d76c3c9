//! What stands in a trace for words and numbers. The same original gets the same token and two originals never share one, so
//! a story stays the same story: who is in a channel twice, who is watched, what was cached. A token has its original's
//! length in bytes, in characters and as it was escaped, so limits hold and break as they did.
//!
//! Punctuation and white space stay. What carries the token's number are the places of letters and digits, and of everything
//! beyond ASCII: a base-52 number in letters of the same width. A whole number becomes a whole number of as many digits,
//! whether it is a JSON number or a string, because 10 and "10" are one user; 0 stays.
//! Hashes of the originals were the loser: short ones would grow or collide, and a name can be guessed from its hash.

use std::collections::HashMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::json::{self, Fate};

/// Originals that are remembered: some megabytes. Beyond it words become `x` and numbers a power of ten.
const REMEMBERED: usize = 100_000;

/// Letters of an alphabet, whatever its width.
const LETTERS: u64 = 52;

/// The narrowest alphabet; the first is what fills the places that the number does not need.
const ASCII: &[u8; LETTERS as usize] = b"xabcdefghijklmnopqrstuvwyzXABCDEFGHIJKLMNOPQRSTUVWYZ";

/// Places that are enough for every number.
const PLACES: usize = 4;

/// The originals seen so far, by their fingerprint, and their tokens' numbers.
#[derive(Debug, Default)]
pub struct Tokens {
    known: HashMap<[u8; 16], Token>,
    /// How many tokens of a form there are.
    used: HashMap<Form, u64>,
}

/// A form and the places that it has: tokens of different forms are different whatever their numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Word(usize),
    /// `123`
    Whole(usize),
    /// `123.5`
    Fraction(usize),
}

#[derive(Clone, Copy, Debug)]
struct Token {
    form: Form,
    n: u64,
}

impl Form {
    /// The first number and how many there are.
    fn range(self) -> (u64, u64) {
        let first = |places: usize| 10u64.saturating_pow(places.saturating_sub(1) as u32);
        match self {
            Form::Word(places) => (0, LETTERS.saturating_pow(places as u32)),
            Form::Whole(places) | Form::Fraction(places) => {
                let first = first(places);
                (first, first.saturating_mul(9).min(u64::MAX - first))
            }
        }
    }

    fn wider(self) -> Self {
        match self {
            Form::Word(places) => Form::Word(places + 1),
            Form::Whole(places) => Form::Whole(places + 1),
            Form::Fraction(places) => Form::Fraction(places + 1),
        }
    }
}

/// A character as it is written.
#[derive(Clone, Copy)]
struct Glyph<'a> {
    raw: &'a str,
    /// `None`: half of a surrogate pair, which is no character.
    character: Option<char>,
}

impl Tokens {
    /// The token of a text.
    pub fn text(&mut self, text: &str) -> String {
        let glyphs = text.char_indices().map(|(at, c)| Glyph {
            raw: &text[at..at + c.len_utf8()],
            character: Some(c),
        });
        self.token(&glyphs.collect::<Vec<_>>())
    }

    /// The token of any JSON value: that of every string and number in it. Keys, booleans and null stay.
    pub fn value(&mut self, raw: &str) -> String {
        if !json::is_nest(raw) {
            return self.scalar(raw);
        }
        json::rewrite(raw, |_, raw| match json::is_nest(raw) {
            true => Fate::Descend,
            false => Fate::Become(self.scalar(raw)),
        })
    }

    /// The token of a value whose size is limited and whose words decide nothing: never longer than the value.
    pub fn payload(&mut self, raw: &str) -> String {
        let masked = self.value(raw);
        match masked.len() <= raw.len() {
            true => masked,
            false => format!("\"{}\"", "x".repeat(raw.len().saturating_sub(2))),
        }
    }

    fn scalar(&mut self, raw: &str) -> String {
        match raw.as_bytes().first() {
            Some(b'"') => format!("\"{}\"", self.token(&glyphs(&raw[1..raw.len() - 1]))),
            Some(b'-' | b'0'..=b'9') => match raw.parse::<serde_json::Number>() {
                Ok(number) => self.number(&number.to_string()),
                // Too large a number stays one.
                Err(_) => {
                    let end = raw.find(['e', 'E']).unwrap_or(raw.len());
                    raw[..end].replace(|c: char| c.is_ascii_digit(), "9") + &raw[end..]
                }
            },
            _ => raw.to_owned(),
        }
    }

    fn token(&mut self, glyphs: &[Glyph<'_>]) -> String {
        let text: String = glyphs
            .iter()
            .map(|glyph| glyph.character.unwrap_or('\u{fffd}'))
            .collect();
        if is_number(&text) {
            return self.number(&text);
        }
        let places = glyphs.iter().filter(|glyph| glyph.width().is_some()).count();
        let mut out = String::with_capacity(text.len());
        let token = match places {
            // Nothing that could tell anything.
            0 => None,
            _ => self.assign(Form::Word(places.min(PLACES)), &text),
        };
        let mut n = token.map_or(0, |token| token.n);
        for glyph in glyphs {
            match glyph.width() {
                Some(width) => glyph.write(letter(width, n % LETTERS), &mut out),
                None => {
                    out.push_str(glyph.raw);
                    continue;
                }
            }
            n /= LETTERS;
        }
        if let Some(Token {
            form: Form::Word(wanted),
            ..
        }) = token
        {
            for _ in places..wanted {
                out.push(letter(1, n % LETTERS));
                n /= LETTERS;
            }
        }
        out
    }

    /// The token of a number as serde_json writes it.
    fn number(&mut self, text: &str) -> String {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text),
        };
        if text == "0" {
            // It tells nothing, and no other whole number may become it: there is no -0 among them.
            return text.to_owned();
        }
        let is_whole = digits.bytes().all(|b| b.is_ascii_digit());
        let form = match is_whole {
            true => Form::Whole(digits.len()),
            // More digits than these would not come back from a float as they went in.
            false => Form::Fraction(digits.len().saturating_sub(2).clamp(1, 12)),
        };
        let n = self.assign(form, digits).map_or(form.range().0, |token| token.n);
        format!("{sign}{n}{}", if is_whole { "" } else { ".5" })
    }

    fn assign(&mut self, mut form: Form, original: &str) -> Option<Token> {
        let mut print = [0; 16];
        print.copy_from_slice(&Sha256::digest(original)[..16]);
        if let Some(token) = self.known.get(&print) {
            return Some(*token);
        }
        if self.known.len() >= REMEMBERED {
            return None;
        }
        loop {
            let (first, count) = form.range();
            let used = self.used.entry(form).or_default();
            if *used < count {
                let token = Token { form, n: first + *used };
                *used += 1;
                self.known.insert(print, token);
                return Some(token);
            }
            form = form.wider();
        }
    }
}

/// Letters become `x`, digits 0, what is beyond ASCII `x`s of its length; the rest stays. For what has no structure.
pub fn mask(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut masked, c| {
        match c {
            'a'..='z' | 'A'..='Z' => masked.push('x'),
            '0'..='9' => masked.push('0'),
            c if c.is_ascii() => masked.push(c),
            c => masked.extend(std::iter::repeat_n('x', c.len_utf8())),
        }
        masked
    })
}

/// Whether a text is a number as serde_json writes it, so that the number may be meant.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.len() < 40
        && text
            .parse::<serde_json::Number>()
            .is_ok_and(|number| number.to_string() == text)
}

/// A letter of as many bytes of UTF-8.
fn letter(width: usize, n: u64) -> char {
    let beyond = |first: u32| char::from_u32(first + n as u32).unwrap_or('x');
    match width {
        1 => char::from(ASCII[n as usize]),
        2 => beyond(0x0400),
        3 => beyond(0x4e00),
        _ => beyond(0x1_f300),
    }
}

impl Glyph<'_> {
    /// Bytes of UTF-8 of a character that can carry a part of a token.
    fn width(self) -> Option<usize> {
        self.character
            .filter(|c| !c.is_ascii() || c.is_ascii_alphanumeric())
            .map(char::len_utf8)
    }

    /// Writes a letter as this one was written: escaped or not.
    fn write(self, letter: char, out: &mut String) {
        if !self.raw.starts_with("\\u") {
            return out.push(letter);
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}").expect("a String takes all");
        }
    }
}

/// What stands between the quotes of a JSON string, character by character.
fn glyphs(mut inner: &str) -> Vec<Glyph<'_>> {
    let mut all = Vec::with_capacity(inner.len());
    while let Some(first) = inner.chars().next() {
        let (len, character) = match first {
            '\\' => escape(inner),
            c => (c.len_utf8(), Some(c)),
        };
        let (raw, rest) = inner.split_at(len);
        all.push(Glyph { raw, character });
        inner = rest;
    }
    all
}

/// The length of the escape that `text` begins with, and what it means.
fn escape(text: &str) -> (usize, Option<char>) {
    let unit = |at: usize| {
        let hex = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    let Some(one) = unit(0) else {
        let character = match text.as_bytes().get(1) {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(other) => char::from(*other),
            None => '\\',
        };
        return (text.len().min(2), Some(character));
    };
    if let Some(c) = char::from_u32(one.into()) {
        return (6, Some(c));
    }
    match unit(6).and_then(|two| char::decode_utf16([one, two]).next()?.ok()) {
        Some(c) => (12, Some(c)),
        None => (6, None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_stays_the_same_and_the_different_different() {
        let mut tokens = Tokens::default();
        let mut seen = HashSet::new();
        let mut originals: Vec<String> = (0..3000).map(|n: i32| (n - 100).to_string()).collect();
        originals.extend((0..300).map(|n| format!("{}.25", n - 100)));
        originals.extend((0..3000).map(|n| format!("u{n}")));
        originals.extend(('a'..='z').chain('A'..='Z').map(String::from));
        originals.extend(
            "abcdefghijk"
                .chars()
                .flat_map(|c| [format!("{c}-"), format!("-{c}"), format!("{c}ü")]),
        );
        originals.extend(["ü", "ö", "日", "本", "😀", "😁", "007", "1e5", "-", "--", "a b", "a  b"].map(String::from));
        for original in &originals {
            let token = tokens.text(original);
            assert_eq!(tokens.text(original), token);
            assert!(seen.insert(token.clone()), "{original} is {token}, as another");
        }
    }

    #[test]
    fn a_token_is_as_long_as_its_original_however_that_is_written() {
        let mut tokens = Tokens::default();
        for inner in [
            "",
            "a",
            "hello, world",
            "grün",
            "日本語",
            "😀 ok",
            r"a\n\t\\\/\u0001",
            r"\u00fc\u0041",
            r"\ud83d\ude00x",
            r"\ud800!",
            "123",
            "-45",
            "0",
            "12.75",
            "user 17",
        ] {
            let raw = format!("\"{inner}\"");
            let masked = tokens.value(&raw);
            assert!(json::is_json(&masked), "{masked}");
            assert_eq!(masked.len(), raw.len(), "{raw} became {masked}");
            if let Ok(text) = serde_json::from_str::<String>(&raw) {
                let token: String = serde_json::from_str(&masked).unwrap();
                assert_eq!(token.len(), text.len(), "{text:?} became {token:?}");
                assert_eq!(token.chars().count(), text.chars().count());
                assert_eq!(token, tokens.text(&text), "escapes make no difference");
            }
        }
    }

    #[test]
    fn a_number_and_its_text_are_one() {
        let mut tokens = Tokens::default();
        for (number, text) in [
            ("10", "10"),
            ("-7", "-7"),
            ("1.50", "1.5"),
            ("1e2", "100.0"),
            ("-0", "-0.0"),
            ("0", "0"),
        ] {
            let masked: serde_json::Number = tokens.value(number).parse().unwrap();
            assert_eq!(masked.to_string(), tokens.text(text), "{number}");
        }
        assert_eq!(tokens.value("1e400"), "9e400");
    }

    #[test]
    fn whole_numbers_never_grow() {
        let mut tokens = Tokens::default();
        for n in 0..2000 {
            let text = n.to_string();
            assert_eq!(tokens.text(&text).len(), text.len());
        }
        assert_eq!(tokens.value(&u64::MAX.to_string()).len(), 20);
        assert_eq!(tokens.value(&i64::MIN.to_string()).len(), 20);
    }

    #[test]
    fn words_are_gone_and_structure_stays() {
        let mut tokens = Tokens::default();
        let raw = r#"{"name": "Ada Lovelace", "list": ["Ada Lovelace", true, null, 36]}"#;
        let masked = tokens.value(raw);
        assert!(
            !masked.contains("Ada") && !masked.contains("lace") && !masked.contains("36"),
            "{masked}"
        );
        let value: serde_json::Value = serde_json::from_str(&masked).unwrap();
        assert_eq!(value["name"], value["list"][0]);
        assert_eq!(
            (&value["list"][1], &value["list"][2]),
            (&true.into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn the_memory_is_bounded_and_then_words_are_masked_all_the_same() {
        let mut tokens = Tokens::default();
        for n in 0..REMEMBERED + 1000 {
            tokens.text(&format!("word-{n}"));
        }
        assert_eq!(tokens.known.len(), REMEMBERED);
        assert_eq!(tokens.text("a new one"), "x xxx xxx");
        assert_eq!(tokens.text("12345678"), "10000000");
    }

    #[test]
    fn a_payload_never_grows() {
        let mut tokens = Tokens::default();
        for n in 0..200 {
            let raw = format!(
                r#"{{"{n}":"{}","b":1e5}}"#,
                char::from(b'!' + (n % 90) as u8).escape_default()
            );
            if json::is_json(&raw) {
                assert!(tokens.payload(&raw).len() <= raw.len(), "{raw}");
            }
        }
    }
}
