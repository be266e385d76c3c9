//! Reads the configuration file: bytes, TOML, known keys, each with its place. What the values mean is decided by `value`.
//! Never shows a line of the file: it may hold a secret.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS};
use super::load::{Place, Problem, Setting};
use super::value::Typed;

/// A larger file is a mistake (a device, a log): refused instead of read into memory.
const LARGEST_FILE: u64 = 1 << 20;

/// The text of the file and its permission bits.
pub(super) fn read(path: &Path) -> Result<(String, u32), Problem> {
    let unreadable = |error: io::Error| Problem {
        place: Place::File(path.into()),
        what: format!("cannot read the configuration file: {error}"),
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Problem {
            place: Place::File(path.into()),
            what: "the configuration file is larger than 1 MiB".into(),
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, mode)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
            Err(Problem {
                place: place(path, &text, good),
                what: "the configuration file is not UTF-8 here".into(),
            })
        }
    }
}

/// The place of the byte at `offset`.
fn place(path: &Path, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place::Text {
        file: path.into(),
        line: before.matches('\n').count() + 1,
        column: before[start..].trim_start_matches('\u{feff}').chars().count() + 1,
    }
}

/// Adds what the file says to `found`, and what it says wrongly to `problems`.
pub(super) fn settings(path: &Path, text: &str, found: &mut Vec<Setting>, problems: &mut Vec<Problem>) {
    let at = |span: Range<usize>| place(path, text, span.start);
    let (document, errors) = DeTable::parse_recoverable(text);
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    if let Some(error) = errors.iter().min_by_key(|error| start(error)) {
        // The first one: the others may be its consequences. Only the message: the error's own Display shows the line.
        problems.push(Problem {
            place: place(path, text, start(error)),
            what: error.message().replace('\n', ", "),
        });
        return;
    }
    for (section, content) in document.get_ref() {
        let DeValue::Table(table) = content.get_ref() else {
            problems.push(Problem {
                place: at(section.span()),
                what: not_a_section(section.get_ref()),
            });
            continue;
        };
        let section_name: &str = section.get_ref();
        if !keys::sections().contains(&section_name) {
            let hint = keys::nearest(section_name, keys::sections());
            let hint = hint.map_or_else(String::new, |near| format!("; did you mean [{near}]?"));
            problems.push(Problem {
                place: at(section.span()),
                what: format!("unknown section [{section_name}]{hint}"),
            });
            continue;
        }
        for (name, value) in table {
            let Some(key) = keys::find(section_name, name.get_ref()) else {
                problems.push(Problem {
                    place: at(name.span()),
                    what: unknown_key(section_name, name.get_ref()),
                });
                continue;
            };
            let items = match value.get_ref() {
                DeValue::Array(items) => items.iter().map(|item| at(item.span())).collect(),
                _ => Vec::new(),
            };
            found.push(Setting {
                key,
                typed: typed(value.get_ref()),
                place: at(value.span()),
                items,
            });
        }
    }
}

fn not_a_section(name: &str) -> String {
    if keys::sections().contains(&name) {
        return format!("`{name}` must be one section, written [{name}]");
    }
    match KEYS.iter().find(|key| key.name == name) {
        Some(key) => format!("`{name}` belongs into [{}]", key.section),
        None => format!("unknown key `{name}` outside of all sections"),
    }
}

fn unknown_key(section: &str, name: &str) -> String {
    let elsewhere = KEYS.iter().find(|key| key.name == name);
    let near = keys::nearest(
        name,
        KEYS.iter().filter(|key| key.section == section).map(|key| key.name),
    );
    let hint = match (elsewhere, near) {
        (Some(key), _) if name != "enabled" => format!("; it belongs into [{}]", key.section),
        (_, Some(near)) => format!("; did you mean `{near}`?"),
        _ => String::new(),
    };
    format!("unknown key `{name}` in [{section}]{hint}")
}

fn typed(value: &DeValue<'_>) -> Typed {
    match value {
        DeValue::String(text) => Typed::Text(text.to_string()),
        DeValue::Integer(number) => Typed::Integer(number.as_str().to_owned(), number.radix()),
        DeValue::Boolean(value) => Typed::Switch(*value),
        DeValue::Array(items) => Typed::List(items.iter().map(|item| typed(item.get_ref())).collect()),
        DeValue::Float(_) => Typed::Other("a number with a fraction"),
        DeValue::Datetime(_) => Typed::Other("a date or time"),
        DeValue::Table(_) => Typed::Other("a table"),
    }
}
