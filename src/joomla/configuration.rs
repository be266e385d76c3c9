//! A site's configuration.php, read without ever running PHP: the public properties of the class `JConfig` as plain
//! values, each with its line. What only PHP could evaluate is remembered with the reason, and is a mistake only where
//! it is needed; which values those are, and what they mean, is said in `site`.
//!
//! Values are bytes, because neither the file nor a password in it has to be UTF-8; [`Parsed::text`] refuses what is
//! not, as a replaced character would be a wrong password. PHP run in a child process was the loser: it would execute
//! whatever somebody has put into the file, and need not be there.
//!
//! A file that ends within a string, a comment or the class is refused as a whole: PHP could not run it, and it is most
//! likely being written at this moment.

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most bytes of a file that is read; real ones have 3,000.
pub const LONGEST_FILE: usize = 1 << 20;

/// The reason of [`Parsed::text`] for a value that [`Parsed::bytes`] would give.
pub const NOT_UTF8: &str = "it has characters that are not in UTF-8";

/// Why a file is not read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadFile {
    /// Where, counted from 1.
    pub line: usize,
    /// What is wrong, as a sentence without its full stop. It never repeats a value.
    pub why: &'static str,
}

impl BadFile {
    fn new(line: usize, why: &'static str) -> Self {
        Self { line, why }
    }
}

/// A value that PHP would have.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(Vec<u8>),
    /// An array, with a key that occurs twice in it twice: the last one counts.
    Array(Vec<(Key, Value)>),
}

/// The key of an array's element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An integer, or a string that is written as one.
    Int(i64),
    /// Another string.
    Text(Vec<u8>),
}

impl Value {
    /// As PHP converts it to a string; `None`: an array.
    fn into_text(self) -> Option<Vec<u8>> {
        Some(match self {
            Value::Null | Value::Bool(false) => Vec::new(),
            Value::Bool(true) => b"1".to_vec(),
            Value::Int(number) => number.to_string().into_bytes(),
            Value::Float(number) => number.to_string().into_bytes(),
            Value::Text(text) => text,
            Value::Array(_) => return None,
        })
    }

    /// As PHP does: everything but `null`, `false`, `0`, `0.0`, `''`, `'0'` and the empty array is true.
    fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(truth) => *truth,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !matches!(text.as_slice(), b"" | b"0"),
            Value::Array(elements) => !elements.is_empty(),
        }
    }

    /// As PHP converts it to a number: of a string the number that it starts with.
    fn to_number(&self) -> f64 {
        match self {
            Value::Null | Value::Array(_) => 0.0,
            Value::Bool(truth) => f64::from(u8::from(*truth)),
            Value::Int(number) => *number as f64,
            Value::Float(number) => *number,
            Value::Text(text) => leading_number(text),
        }
    }
}

fn leading_number(text: &[u8]) -> f64 {
    let text = text.trim_ascii_start();
    let end = |from: usize| -> usize {
        let digits = text[from..].iter();
        from + digits.take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut length = end(usize::from(matches!(text.first(), Some(b'+' | b'-'))));
    if text.get(length) == Some(&b'.') {
        length = end(length + 1);
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        if text.get(length + 1 + sign).is_some_and(u8::is_ascii_digit) {
            length = end(length + 1 + sign);
        }
    }
    std::str::from_utf8(&text[..length])
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

/// A public property.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The line of its name.
    pub line: usize,
    /// Its value, or why that cannot be known without running PHP, as a clause: `it calls getenv()`.
    pub value: Result<Value, String>,
}

/// What a getter found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The value, coerced by meaning.
    pub value: T,
    /// The line of the property's name.
    pub line: usize,
}

/// A value that is there but cannot be known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: ${key} cannot be read: {why}")]
pub struct Unreadable {
    /// The property.
    pub key: String,
    /// The line that makes it so.
    pub line: usize,
    /// Why, as a clause. It never repeats a value.
    pub why: String,
}

/// The public properties of `JConfig`.
#[derive(Clone, Default, PartialEq)]
pub struct Parsed {
    entries: BTreeMap<String, Entry>,
    /// The line of the first method that sets a property whose name is not written there.
    dynamic: Option<usize>,
    /// What methods set, until the class has been read.
    methods: BTreeMap<String, Entry>,
    steps: usize,
}

/// Names alone: values are secrets, some of them.
impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish_non_exhaustive()
    }
}

impl Parsed {
    /// The property as it is written there. `None`: there is none, or it is not public.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The names of all properties, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The line at which a method sets properties whose names cannot be known, if one does.
    pub fn dynamic(&self) -> Option<usize> {
        self.dynamic
    }

    /// A string, or what else PHP would convert to one. Joomla's registry takes the empty string for a missing value,
    /// and so does this: `None` for both and for `null`.
    ///
    /// # Errors
    /// It cannot be known, is an array, or is not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<Found<String>>, Unreadable> {
        let Some(found) = self.bytes(key)? else {
            return Ok(None);
        };
        match String::from_utf8(found.value) {
            Ok(value) => Ok(Some(Found {
                value,
                line: found.line,
            })),
            Err(_) => Err(unreadable(key, found.line, NOT_UTF8)),
        }
    }

    /// As [`text`](Self::text), in any encoding.
    ///
    /// # Errors
    /// It cannot be known or is an array.
    pub fn bytes(&self, key: &str) -> Result<Option<Found<Vec<u8>>>, Unreadable> {
        let Some((value, line)) = self.known(key)? else {
            return Ok(None);
        };
        let Some(value) = value.clone().into_text() else {
            return Err(unreadable(key, line, "it is an array"));
        };
        Ok(Some(Found { value, line }).filter(|found| !found.value.is_empty()))
    }

    /// Whether it is true to PHP. `None` also for the empty string, for which Joomla's registry gives the default.
    ///
    /// # Errors
    /// It cannot be known.
    pub fn truth(&self, key: &str) -> Result<Option<Found<bool>>, Unreadable> {
        let known = self.known(key)?.filter(|(value, _)| !is_empty(value));
        Ok(known.map(|(value, line)| Found {
            value: value.is_true(),
            line,
        }))
    }

    /// A number, also one in a string. `None` also for the empty string.
    ///
    /// # Errors
    /// It cannot be known.
    pub fn number(&self, key: &str) -> Result<Option<Found<f64>>, Unreadable> {
        let known = self.known(key)?.filter(|(value, _)| !is_empty(value));
        Ok(known.map(|(value, line)| Found {
            value: value.to_number(),
            line,
        }))
    }

    /// A number without what stands behind its decimal point, as PHP's `(int)` makes it.
    ///
    /// # Errors
    /// It cannot be known.
    pub fn integer(&self, key: &str) -> Result<Option<Found<i64>>, Unreadable> {
        let exact = match self.known(key)? {
            Some((Value::Int(number), line)) => Some(Found { value: *number, line }),
            _ => None,
        };
        let rounded = self.number(key)?.map(|found| Found {
            value: found.value as i64,
            line: found.line,
        });
        Ok(exact.or(rounded))
    }

    /// `None` for `null` too.
    fn known(&self, key: &str) -> Result<Option<(&Value, usize)>, Unreadable> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Entry { line, value: Err(why) }) => Err(unreadable(key, *line, why)),
            Some(Entry {
                value: Ok(Value::Null), ..
            }) => Ok(None),
            Some(Entry { line, value: Ok(value) }) => Ok(Some((value, *line))),
        }
    }

    fn set(&mut self, name: &[u8], entry: Entry) {
        self.entries.insert(String::from_utf8_lossy(name).into_owned(), entry);
    }

    /// A method sets it, whatever the property's own line says before or after.
    fn assigned(&mut self, name: &[u8], entry: Entry) {
        self.methods.insert(String::from_utf8_lossy(name).into_owned(), entry);
    }

    /// How many steps reading took; linear in the length of the file.
    #[cfg(test)]
    fn steps(&self) -> usize {
        self.steps
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.is_empty())
}

fn unreadable(key: &str, line: usize, why: &str) -> Unreadable {
    Unreadable {
        key: key.to_owned(),
        line,
        why: why.to_owned(),
    }
}

/// Constants that PHP files define, carried from one file to the next as PHP includes them.
#[derive(Clone, Default)]
pub struct Constants {
    known: BTreeMap<Vec<u8>, Constant>,
    file: usize,
}

#[derive(Clone)]
struct Constant {
    value: Result<Value, String>,
    /// In which file it was defined, counted from 1; 0: assumed.
    file: usize,
}

impl Constants {
    /// Takes this for the value as long as no file defines another.
    pub fn assume(&mut self, name: &str, path: &Path) {
        let value = Ok(Value::Text(path.as_os_str().as_bytes().to_vec()));
        self.known.insert(name.into(), Constant { value, file: 0 });
    }

    /// The value of a constant that is a string, if a file defines it; `Err`: why it cannot be known.
    ///
    /// # Errors
    /// As a clause: `it calls getenv()`.
    pub fn defined(&self, name: &str) -> Option<Result<&[u8], &str>> {
        let constant = self.known.get(name.as_bytes()).filter(|constant| constant.file > 0)?;
        Some(match &constant.value {
            Ok(Value::Text(text)) => Ok(text),
            Ok(_) => Err("it is no string"),
            Err(why) => Err(why),
        })
    }

    fn get(&self, name: &[u8]) -> Option<Result<&Value, &str>> {
        let constant = self.known.get(name)?;
        Some(constant.value.as_ref().map_err(String::as_str))
    }

    /// PHP keeps the first definition, and code in front of it decides which one that is: two different ones in one
    /// file cannot be told apart. Joomla's own way from the file to the root, `implode()` in includes/defines.php, is
    /// what is assumed.
    fn define(&mut self, name: &[u8], value: Result<Value, String>) {
        let file = self.file;
        match self.known.get_mut(name) {
            Some(known) if known.file == file && known.value != value => {
                known.value = Err("it is defined twice".to_owned());
            }
            Some(known) if known.file > 0 => {}
            Some(_) if value.as_ref().is_err_and(|why| why == "it calls implode()") => {}
            _ => {
                self.known.insert(name.into(), Constant { value, file });
            }
        }
    }
}

/// Reads a configuration.php. `file` is where it was found; `__DIR__` is its folder.
///
/// # Errors
/// PHP could not run it, it has no class `JConfig` or two, or it is longer than [`LONGEST_FILE`].
pub fn parse(text: &[u8], file: &Path) -> Result<Parsed, BadFile> {
    parse_after(text, file, &mut Constants::default())
}

/// As [`parse`], with the constants of files that PHP reads before.
///
/// # Errors
/// As [`parse`].
pub fn parse_after(text: &[u8], file: &Path, constants: &mut Constants) -> Result<Parsed, BadFile> {
    match read(text, file, constants)? {
        (Some(parsed), steps) => Ok(Parsed { steps, ..parsed }),
        (None, _) => Err(BadFile::new(1, "there is no class JConfig in it")),
    }
}

/// Reads a defines.php: only its constants.
///
/// # Errors
/// PHP could not run it, or it is longer than [`LONGEST_FILE`].
pub fn constants(text: &[u8], file: &Path, constants: &mut Constants) -> Result<(), BadFile> {
    read(text, file, constants).map(|_| ())
}

fn read(text: &[u8], file: &Path, constants: &mut Constants) -> Result<(Option<Parsed>, usize), BadFile> {
    if text.len() > LONGEST_FILE {
        return Err(BadFile::new(1, "it is longer than 1 MiB"));
    }
    let (tokens, steps) = lexer::tokens(text)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    constants.file += 1;
    let mut parser = parser::Parser::new(
        &tokens,
        folder.as_os_str().as_bytes(),
        file.as_os_str().as_bytes(),
        constants,
    );
    let parsed = parser.file()?;
    Ok((parsed, steps + parser.steps()))
}
