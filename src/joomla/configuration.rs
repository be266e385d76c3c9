//! Reads a site's configuration.php without running PHP: the public properties of the class `JConfig` as plain values,
//! each with its line. It reads strings in both quotings, decimal numbers, booleans, `null`, constants of `define`, and
//! strings joined by dots. Every other value is skipped, with the reason why it cannot be read. That is an error only
//! if the value is needed; `site` decides which values are needed and what they mean. Values of a parent class or a
//! trait are not read, because they may be in another file, which PHP finds by running code.
//!
//! Values are bytes, because neither the file nor a password in it has to be UTF-8. [`Parsed::text`] refuses a value
//! that is not UTF-8, because a replaced character would make a wrong password. Rejected: PHP in a child process,
//! because it would execute any code in the file, and PHP may not be installed.
//!
//! A file that ends within a string, a comment or the class is refused as a whole: PHP could not run it, and it is most
//! likely being written at this moment. A file is also refused if it contains text that cannot be skipped safely.

mod lexer;
mod outside;
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

/// The reason that [`Parsed::text`] gives for a value in another encoding.
pub const NOT_UTF8: &str = "it has characters that are not in UTF-8";

/// Why a file is not read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadFile {
    /// The line, counted from 1.
    pub line: usize,
    /// The error, as a sentence without its full stop. It never repeats a value.
    pub why: &'static str,
}

impl BadFile {
    fn new(line: usize, why: &'static str) -> Self {
        Self { line, why }
    }
}

/// A value as PHP would have it.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Vec<u8>),
}

impl Value {
    /// The value as PHP converts it to a string. A number with a fraction is refused, because PHP's settings decide how
    /// it is written.
    fn into_text(self) -> Result<Vec<u8>, Why> {
        Ok(match self {
            Value::Null | Value::Bool(false) => Vec::new(),
            Value::Bool(true) => b"1".to_vec(),
            Value::Int(number) => number.to_string().into_bytes(),
            Value::Float(_) => return Err("it is a number with a fraction; put it in quotes".to_owned()),
            Value::Text(text) => text,
        })
    }

    /// Whether the value is true to PHP: everything but `null`, `false`, `0`, `0.0`, `''` and `'0'` is.
    fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(truth) => *truth,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !matches!(text.as_slice(), b"" | b"0"),
        }
    }

    /// The value as PHP converts it to a number. A string becomes the number that it starts with.
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

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The value, converted to the type of the getter.
    pub value: T,
    /// The line of the property's name.
    pub line: usize,
}

/// A property that exists but cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: ${key} cannot be read: {why}")]
pub struct Unreadable {
    /// The property.
    pub key: String,
    /// The line that makes the property unreadable.
    pub line: usize,
    /// Why, as a clause. It never repeats a value.
    pub why: String,
}

/// A part of `JConfig` whose values are not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The line that brings the values in.
    pub line: usize,
    /// The part: `the parent class Base`, `the trait Local`, `the constructor's parameters $a and $b`.
    pub part: String,
}

/// The public properties of `JConfig`.
#[derive(Clone, Default, PartialEq)]
pub struct Parsed {
    entries: BTreeMap<String, Entry>,
    unread: Vec<Unread>,
    /// The line of the first method that sets a property through a computed name.
    dynamic: Option<usize>,
}

/// Shows only the names, because some values are secrets.
impl std::fmt::Debug for Parsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish_non_exhaustive()
    }
}

impl Parsed {
    /// The parts of the class whose values are not read.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// Whether the class itself has the property, and the line of its name.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.entries.get(key).map(|entry| entry.line)
    }

    /// The line at which a method sets properties through computed names, if a method does that.
    pub fn dynamic(&self) -> Option<usize> {
        self.dynamic
    }

    /// The property as a string; PHP's rules convert other values. `None` also if the string is empty.
    ///
    /// # Errors
    /// The property cannot be read, is a number with a fraction, or is not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<Found<String>>, Unreadable> {
        let utf8 = |bytes| String::from_utf8(bytes).map_err(|_| NOT_UTF8.to_owned());
        let found = self.found(key, |value| value.clone().into_text().and_then(utf8))?;
        Ok(found.filter(|found| !found.value.is_empty()))
    }

    /// Whether the property is true to PHP.
    ///
    /// # Errors
    /// The property cannot be read.
    pub fn truth(&self, key: &str) -> Result<Option<Found<bool>>, Unreadable> {
        self.found(key, |value| Ok(value.is_true()))
    }

    /// The property as a number; a string becomes the number that it starts with.
    ///
    /// # Errors
    /// The property cannot be read.
    pub fn number(&self, key: &str) -> Result<Option<Found<f64>>, Unreadable> {
        self.found(key, |value| Ok(value.to_number()))
    }

    /// The property's value, converted by `convert`. `None` for `null` and the empty string, for which Joomla's
    /// registry uses the default.
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

    fn leave_out(&mut self, part: Option<Unread>) {
        self.unread.extend(part);
    }

    fn set(&mut self, name: &[u8], line: usize, value: Result<Value, Why>) {
        let name = String::from_utf8_lossy(name).into_owned();
        self.entries.insert(name, Entry { line, value });
    }
}

/// The constants that PHP files define. They are kept from one file to the next, in the order in which PHP includes the
/// files.
#[derive(Clone, Default)]
pub struct Constants {
    known: BTreeMap<Vec<u8>, Constant>,
    file: usize,
}

#[derive(Clone)]
struct Constant {
    value: Result<Value, Why>,
    /// The number of the file that defines the constant, counted from 1; 0 if the value is only assumed.
    file: usize,
}

impl Constants {
    /// Assumes `path` as the constant's value until a file defines another value.
    pub fn assume(&mut self, name: &str, path: &Path) {
        let value = Ok(Value::Text(path.as_os_str().as_bytes().to_vec()));
        self.known.insert(name.into(), Constant { value, file: 0 });
    }

    /// The value of a constant that a file defines as a string; `None` if no file defines the constant.
    ///
    /// # Errors
    /// The reason why the value cannot be determined, as a clause: `it calls getenv()`.
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

    /// PHP keeps the first definition that it runs. If one file has two different definitions, the code around them
    /// decides which one runs, and that cannot be determined here. Joomla's own includes/defines.php computes the root
    /// with `implode()`; then the assumed value is right and stays.
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

/// Reads a configuration.php. `constants` holds the constants of the files that PHP reads before this one. `file` is
/// the path of the file; `__DIR__` is its folder.
///
/// # Errors
/// PHP could not run the file, it has no class `JConfig` or two of them, only PHP can tell whether it declares the
/// class, it cannot be read safely, or it is longer than [`LONGEST_FILE`].
pub fn parse(text: &[u8], file: &Path, constants: &mut Constants) -> Result<Parsed, BadFile> {
    read(text, file, constants)?.ok_or_else(|| BadFile::new(1, "there is no class JConfig in it"))
}

/// Reads only the constants of a defines.php.
///
/// # Errors
/// PHP could not run the file, it cannot be read safely, or it is longer than [`LONGEST_FILE`].
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
