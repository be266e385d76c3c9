//! Reads a site's configuration.php without running PHP: the public properties of the class `JConfig` as plain values,
//! each with its line. The values that are read are strings in both quotings, decimal numbers, booleans, `null`,
//! constants of `define`, and strings joined by dots. Everything else is passed over with the reason why it cannot be
//! read, and that is a mistake only where the value is needed; `site` says which values those are and what they mean.
//!
//! Values are bytes, because neither the file nor a password in it has to be UTF-8; [`Parsed::text`] refuses a value
//! that is not UTF-8, as a replaced character would make a wrong password. Rejected: PHP in a child process, which
//! would execute whatever somebody has put into the file, and need not be installed.
//!
//! A file that ends within a string, a comment or the class is refused as a whole: PHP could not run it, and it is most
//! likely being written at this moment. So is a file with text in which nothing can be passed over safely.

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most bytes of a file that is read; real ones have 3,000.
pub const LONGEST_FILE: usize = 1 << 20;

/// The most characters of a string that are read as a number.
const LONGEST_NUMBER: usize = 64;

/// The reason of [`Parsed::text`] for a value in another encoding.
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
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Vec<u8>),
}

impl Value {
    /// As PHP converts it to a string. How it writes a floating-point number depends on its settings.
    fn into_text(self) -> Result<Vec<u8>, Why> {
        Ok(match self {
            Value::Null | Value::Bool(false) => Vec::new(),
            Value::Bool(true) => b"1".to_vec(),
            Value::Int(number) => number.to_string().into_bytes(),
            Value::Float(_) => return Err("it is a number with a fraction; put it in quotes".to_owned()),
            Value::Text(text) => text,
        })
    }

    /// As PHP does: everything but `null`, `false`, `0`, `0.0`, `''` and `'0'` is true.
    fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(truth) => *truth,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !matches!(text.as_slice(), b"" | b"0"),
        }
    }

    /// As PHP converts it to a number: of a string the number that it starts with.
    fn to_number(&self) -> f64 {
        match self {
            Value::Null => 0.0,
            Value::Bool(truth) => f64::from(u8::from(*truth)),
            Value::Int(number) => *number as f64,
            Value::Float(number) => *number,
            Value::Text(text) => leading_number(text),
        }
    }
}

/// The longest start of a text that is a number, else 0.
fn leading_number(text: &[u8]) -> f64 {
    let text = text.trim_ascii_start();
    let plain = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let length = text.iter().take(LONGEST_NUMBER).take_while(plain).count();
    let starts = (1..=length).rev().map(|end| &text[..end]);
    let mut numbers = starts.filter_map(|start| std::str::from_utf8(start).ok()?.parse().ok());
    numbers.next().unwrap_or(0.0)
}

/// Why a value cannot be read without running PHP, as a clause: `it calls getenv()`.
type Why = String;

/// A public property.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// The line of its name, or of the assignment that makes it unreadable.
    line: usize,
    value: Result<Value, Why>,
}

/// What a getter found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The value, coerced by meaning.
    pub value: T,
    /// The line of the property's name.
    pub line: usize,
}

/// A value that is there but cannot be read.
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
}

/// Names alone: values are secrets, some of them.
impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish_non_exhaustive()
    }
}

impl Parsed {
    /// The line at which a method sets properties whose names cannot be known, if one does.
    pub fn dynamic(&self) -> Option<usize> {
        self.dynamic
    }

    /// A string, or the string that PHP would make of another value. `None` also where that is empty.
    ///
    /// # Errors
    /// It cannot be read, is a number with a fraction, or is not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<Found<String>>, Unreadable> {
        let utf8 = |bytes| String::from_utf8(bytes).map_err(|_| NOT_UTF8.to_owned());
        let found = self.found(key, |value| value.clone().into_text().and_then(utf8))?;
        Ok(found.filter(|found| !found.value.is_empty()))
    }

    /// Whether it is true to PHP.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn truth(&self, key: &str) -> Result<Option<Found<bool>>, Unreadable> {
        self.found(key, |value| Ok(value.is_true()))
    }

    /// A number, also the one that a string starts with.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn number(&self, key: &str) -> Result<Option<Found<f64>>, Unreadable> {
        self.found(key, |value| Ok(value.to_number()))
    }

    /// What `convert` makes of a value. `None` for `null` and the empty string, for which Joomla's registry gives the
    /// default.
    fn found<T>(
        &self,
        key: &str,
        convert: impl FnOnce(&Value) -> Result<T, Why>,
    ) -> Result<Option<Found<T>>, Unreadable> {
        let Some(Entry { line, value }) = self.entries.get(key) else {
            return Ok(None);
        };
        let found = match value {
            Ok(Value::Null) => return Ok(None),
            Ok(Value::Text(text)) if text.is_empty() => return Ok(None),
            Ok(value) => convert(value),
            Err(why) => Err(why.clone()),
        };
        match found {
            Ok(value) => Ok(Some(Found { value, line: *line })),
            Err(why) => Err(Unreadable {
                key: key.to_owned(),
                line: *line,
                why,
            }),
        }
    }

    fn set(&mut self, name: &[u8], line: usize, value: Result<Value, Why>) {
        let name = String::from_utf8_lossy(name).into_owned();
        self.entries.insert(name, Entry { line, value });
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
    value: Result<Value, Why>,
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
    fn define(&mut self, name: &[u8], value: Result<Value, Why>) {
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

/// Reads a configuration.php, with the constants of the files that PHP reads before. `file` is where it was found;
/// `__DIR__` is its folder.
///
/// # Errors
/// PHP could not run it, it has no class `JConfig` or two, it cannot be read safely, or it is longer than
/// [`LONGEST_FILE`].
pub fn parse(text: &[u8], file: &Path, constants: &mut Constants) -> Result<Parsed, BadFile> {
    read(text, file, constants)?.ok_or_else(|| BadFile::new(1, "there is no class JConfig in it"))
}

/// Reads a defines.php: only its constants.
///
/// # Errors
/// PHP could not run it, it cannot be read safely, or it is longer than [`LONGEST_FILE`].
pub fn constants(text: &[u8], file: &Path, constants: &mut Constants) -> Result<(), BadFile> {
    read(text, file, constants).map(|_| ())
}

fn read(text: &[u8], file: &Path, constants: &mut Constants) -> Result<Option<Parsed>, BadFile> {
    if text.len() > LONGEST_FILE {
        return Err(BadFile::new(1, "it is longer than 1 MiB"));
    }
    constants.file += 1;
    parser::read(&lexer::tokens(text)?, file, constants)
}
