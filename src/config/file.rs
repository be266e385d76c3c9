//! Reads the configuration file: bytes, TOML, known keys, each with its place. `value` decides what the values mean. No
//! message shows a line of the file, which may hold a secret.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::Draft;
use super::key::{At, Key};
use super::problem::{Place, Problem};
use super::sections::KEYS;
use super::value::Typed;
use super::{keys, text};

/// A larger file is a mistake (a device, a log): refused instead of read into memory.
const LARGEST_FILE: u64 = 1 << 20;

/// Keys of earlier versions: section, name and remedy, as the rest of a sentence that begins with the key.
const FORMER: [(&str, &str, &str); 3] = [
    (
        "database",
        "gap_max",
        "means nothing since version 0.2, because no row is waited for any more; remove it",
    ),
    (
        "limits",
        "outbox_bytes",
        "is called `send_queue_bytes` since version 0.2",
    ),
    (
        "limits",
        "outbox_seconds",
        "is called `send_queue_seconds` since version 0.2",
    ),
];

/// The text of the file and its permission bits.
pub(super) fn read(path: &Path) -> Result<(String, u32), Problem> {
    let refuse = |what: String| Problem::new(Place::File(path.into()), what).hiding_site();
    let unreadable = |error: io::Error| refuse(format!("cannot read the configuration file: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refuse("the configuration file is larger than 1 MiB".into()));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, mode)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
            let place = place(path, &text, good);
            Err(Problem::new(place, "the configuration file is not UTF-8 here").hiding_site())
        }
    }
}

/// Whether every user of this machine can read a file with these permission bits: all folders of its path let them in.
pub(super) fn is_open_to_all(path: &Path, mode: u32) -> bool {
    let lets_in = |folder: &Path| {
        folder
            .metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    mode & 0o004 != 0 && real.ancestors().skip(1).all(lets_in)
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

/// Puts the values of the file into `draft`, and its mistakes into `problems`.
pub(super) fn parse(path: &Path, text: &str, draft: &mut Draft, problems: &mut Vec<Problem>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    if let Some(error) = errors.iter().min_by_key(|error| start(error)) {
        // Only the first error is reported: the others may be its consequences. Only its message is used: the error's
        // own Display shows the line.
        let what = error.message().replace('\n', ", ");
        problems.push(Problem::new(place(path, text, start(error)), what).hiding_site());
        return;
    }
    let mut reader = Reader {
        path,
        text,
        draft,
        problems,
    };
    reader.table("", At::FIRST, document.get_ref());
}

/// Walks the tables of a file.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    draft: &'a mut Draft,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        place(self.path, self.text, span.start)
    }

    /// `section`: the section that is concerned.
    fn problem(&mut self, section: &str, span: Range<usize>, what: String) {
        let place = self.place(span);
        self.problems.push(Problem::new(place, what).within(section));
    }

    /// Reads the keys and sections of one table; the file itself is the one without a name.
    fn table(&mut self, section: &'static str, at: At, table: &DeTable<'_>) {
        for (name, value) in table {
            if let Some(key) = keys::find(section, name.get_ref()) {
                self.put(key, at, value);
            } else if let Some(inner) = keys::section_in(section, name.get_ref()) {
                self.section(inner, at, name, value);
            } else {
                let meant = match section {
                    "" => text::nearest(name.get_ref(), keys::sections()).unwrap_or_default(),
                    section => section,
                };
                self.problem(meant, name.span(), unknown(section, name.get_ref(), value.get_ref()));
            }
        }
    }

    fn put(&mut self, key: &'static Key, at: At, value: &Spanned<DeValue<'_>>) {
        let (path, text) = (self.path, self.text);
        let put = self.draft.put((key, at), &typed(value.get_ref()), |item| {
            let items = value.get_ref().as_array();
            let item = item.and_then(|index| items?.get(index));
            place(path, text, item.unwrap_or(value).span().start)
        });
        self.problems.extend(put.err());
    }

    /// Reads a section, or all tables of a section that may stand several times.
    fn section(&mut self, section: &'static str, at: At, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let is_array = keys::is_array(section);
        match value.get_ref() {
            DeValue::Table(table) if !is_array => return self.table(section, at, table),
            DeValue::Array(items) if is_array && items.iter().all(|item| item.get_ref().is_table()) => {
                for (n, item) in items.iter().enumerate() {
                    let (at, place) = (at.inner(section, n), self.place(item.span()));
                    self.draft.add_table(section, at, place);
                    if let DeValue::Table(table) = item.get_ref() {
                        self.table(section, at, table);
                    }
                }
                return;
            }
            _ => {}
        }
        let count = if is_array { "sections, each" } else { "one section," };
        let what = format!("`{}` must be {count} written {}", name.get_ref(), keys::title(section));
        self.problem(section, name.span(), what);
    }
}

/// The sentence for an unknown name in this table, by the likeliest mistake.
fn unknown(section: &str, name: &str, value: &DeValue<'_>) -> String {
    let meant = |near: Option<String>| near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    let is_section = match value {
        DeValue::Table(_) => true,
        DeValue::Array(items) => !items.is_empty() && items.iter().all(|item| item.get_ref().is_table()),
        _ => false,
    };
    if section.is_empty() && is_section {
        let inner = keys::sections()
            .into_iter()
            .find(|known| known.ends_with(&format!(".{name}")));
        let near = inner.or_else(|| text::nearest(name, keys::sections())).map(keys::title);
        return format!("unknown section [{name}]{}", meant(near));
    }
    if let Some((.., what)) = FORMER.iter().find(|former| (former.0, former.1) == (section, name)) {
        return format!("`{name}` in {} {what}", keys::title(section));
    }
    let elsewhere: Vec<_> = KEYS.iter().filter(|key| key.name == name).collect();
    match (section, elsewhere.as_slice()) {
        ("", [key, ..]) => format!("`{name}` belongs in {}", keys::title(key.section)),
        ("", []) => format!("unknown key `{name}` outside of all sections"),
        (_, [key]) => format!(
            "unknown key `{name}` in {}; it belongs in {}",
            keys::title(section),
            keys::title(key.section)
        ),
        _ => {
            let near = text::nearest(name, keys::in_section(section).map(|key| key.name));
            let near = near.map(|near| format!("`{near}`"));
            format!("unknown key `{name}` in {}{}", keys::title(section), meant(near))
        }
    }
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
