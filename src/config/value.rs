//! The values that a source may have, and their meaning: one kind of [`Field`] for each kind of value. A refusal is the
//! rest of a sentence; it never repeats a secret. `sections` says which key has which field.

use std::ops::RangeInclusive;

use log::LevelFilter;

use super::address::AdminListen;
use super::allowed_origin::AllowedOrigin;
use super::listen::ListenEntry;
use super::network::{Network, Networks};
use super::text;

/// The field of a value, with the values that it accepts.
pub(super) enum Field<'a> {
    Switch(&'a mut bool),
    /// A switch that has the site's value as long as it is `""` here.
    Inherit(&'a mut Option<bool>),
    /// A duration, in the unit that the comment of its key names.
    Time(&'a mut u64, RangeInclusive<u64>),
    Size(&'a mut usize, RangeInclusive<u64>),
    Count(&'a mut u32, RangeInclusive<u64>),
    Mode(&'a mut u32),
    Level(&'a mut LevelFilter),
    /// A text that is never shown, with its reader.
    Secret(&'a mut String, text::Reader),
    /// A text, with its reader.
    Text(&'a mut String, text::Reader),
    /// Addresses to listen on, at least so many.
    Listeners(&'a mut Vec<ListenEntry>, usize),
    AdminListener(&'a mut AdminListen),
    Peers(&'a mut Networks),
    Origins(&'a mut Vec<AllowedOrigin>),
    Events(&'a mut Vec<String>),
    Headers(&'a mut Vec<(String, String)>),
    /// A list of whole numbers, each once and each in this range.
    Numbers(&'a mut Vec<u32>, RangeInclusive<u64>),
}

/// Whether secrets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Unchanged.
    Shown,
    /// As this text; an empty one as empty.
    As(&'static str),
}

impl Secrets {
    /// As a text that is refused as a value.
    pub const MASKED: Self = Self::As(MASK);

    fn show(self, secret: &str) -> &str {
        match self {
            Self::As(mask) if !secret.is_empty() => mask,
            _ => secret,
        }
    }
}

/// A value as it was typed, before it is understood.
#[derive(Debug)]
pub(super) enum Typed {
    /// The digits with an optional minus, and their base.
    Integer(String, u32),
    Switch(bool),
    Text(String),
    List(Vec<Typed>),
    /// The type of a value that no key accepts: a float, a date, a table.
    Other(&'static str),
}

/// Why a value was refused: the rest of a sentence that begins with the key, and the item of a list, if it is about
/// one.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) item: Option<usize>,
    pub(super) why: String,
}

/// A masked secret. It is refused as a value: otherwise `check > file` would turn the mask into the secret.
const MASK: &str = "***";

/// Why the mask is refused.
const MASKED: &str = "is ***, which stands for a secret that was masked";

/// The levels of `log_level`. `off` is missing on purpose: our own bugs are always logged.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

impl Field<'_> {
    /// The value that `text`, from the environment, stands for in this field. Commas separate the items of a list.
    pub(super) fn typed(&self, text: &str) -> Typed {
        match self {
            Self::Time(..) | Self::Size(..) | Self::Count(..) => Typed::Integer(text.trim().to_owned(), 10),
            Self::Switch(_) | Self::Inherit(_) => match text {
                "true" => Typed::Switch(true),
                "false" => Typed::Switch(false),
                _ => Typed::Text(text.to_owned()),
            },
            Self::Numbers(..) => Typed::List(parts(text).map(|part| Typed::Integer(part.to_owned(), 10)).collect()),
            Self::Listeners(..) | Self::Peers(_) | Self::Origins(_) | Self::Events(_) | Self::Headers(_) => {
                Typed::List(parts(text).map(|part| Typed::Text(part.to_owned())).collect())
            }
            Self::Mode(_) | Self::Level(_) | Self::Secret(..) | Self::Text(..) | Self::AdminListener(_) => {
                Typed::Text(text.to_owned())
            }
        }
    }

    /// Sets the field to the typed value, if the field accepts it.
    pub(super) fn set(self, typed: &Typed) -> Result<(), Refusal> {
        match self {
            Self::Switch(place) => match typed {
                Typed::Switch(value) => *place = *value,
                other => return refuse(format!("must be true or false, not {}", other.kind())),
            },
            Self::Inherit(place) => match typed {
                Typed::Switch(value) => *place = Some(*value),
                Typed::Text(text) if text.is_empty() => *place = None,
                other => return refuse(format!("must be true, false or \"\", not {}", other.kind())),
            },
            Self::Time(place, range) => *place = whole(typed, &range)?,
            Self::Size(place, range) => *place = narrowed(whole(typed, &range)?),
            Self::Count(place, range) => *place = narrowed(whole(typed, &range)?),
            Self::Mode(place) => *place = mode(typed)?,
            Self::Level(place) => *place = level(typed)?,
            Self::Secret(..) if matches!(typed, Typed::Text(text) if text == MASK) => return refuse(MASKED.into()),
            Self::Secret(place, read) | Self::Text(place, read) => match typed {
                Typed::Text(text) => *place = read(text).or_else(refuse)?,
                other => return refuse(format!("must be a string, not {}", other.kind())),
            },
            Self::Listeners(place, least) => {
                let list: Vec<ListenEntry> = items(typed, |text| text.parse().map_err(|why| named(text, &why)))?;
                if list.len() < least {
                    return refuse("must hold at least one address".into());
                }
                *place = list;
            }
            Self::AdminListener(place) => match typed {
                Typed::Text(text) => match text.parse() {
                    Ok(value) => *place = value,
                    Err(why) => return refuse(format!("cannot be {}", named(text, &why))),
                },
                other => return refuse(format!("must be a string, not {}", other.kind())),
            },
            Self::Peers(place) => {
                let list: Vec<Network> = items(typed, |text| text.parse().map_err(|why| named(text, &why)))?;
                *place = list.into_iter().collect();
            }
            Self::Origins(place) => {
                *place = items(typed, |text| text.parse().map_err(|why| format!("a bad origin: {why}")))?
            }
            Self::Events(place) => {
                let list = items(typed, |name| text::event(name).map_err(|why| named(name, &why)))?;
                if list.is_empty() {
                    return refuse("must hold at least one event".into());
                }
                once_each(&list, |name| name)?;
                *place = list;
            }
            Self::Headers(place) => {
                let list = items(typed, text::header)?;
                if let Some(item) = list.iter().position(|(_, value)| value == MASK) {
                    return Err(Refusal {
                        item: Some(item),
                        why: format!("holds a header whose value {MASKED}"),
                    });
                }
                once_each(&list, |(name, _)| name)?;
                *place = list;
            }
            Self::Numbers(place, range) => *place = numbers(typed, &range)?,
        }
        Ok(())
    }

    /// Whether a secret is set here.
    pub(super) fn holds_secret(&self) -> bool {
        match self {
            Self::Secret(value, _) => !value.is_empty(),
            Self::Headers(value) => !value.is_empty(),
            _ => false,
        }
    }

    /// The value as a TOML literal.
    pub(super) fn literal(&self, secrets: Secrets) -> String {
        match self {
            Self::Switch(value) => value.to_string(),
            Self::Inherit(value) => value.map_or_else(|| quoted(""), |value| value.to_string()),
            Self::Time(value, _) => value.to_string(),
            Self::Size(value, _) => value.to_string(),
            Self::Count(value, _) => value.to_string(),
            Self::Mode(value) => quoted(&format!("{value:04o}")),
            Self::Level(value) => quoted(&value.as_str().to_lowercase()),
            Self::Secret(value, _) => quoted(secrets.show(value)),
            Self::Text(value, _) => quoted(value),
            Self::Listeners(value, _) => list(value.iter()),
            Self::AdminListener(value) => quoted(&value.to_string()),
            Self::Peers(value) => list(value.iter()),
            Self::Origins(value) => list(value.iter()),
            Self::Events(value) => list(value.iter()),
            // Any value may be a token; the names of the headers do not say which.
            Self::Headers(value) => {
                let headers = value.iter();
                list(headers.map(|(name, value)| format!("{name}: {}", secrets.show(value))))
            }
            Self::Numbers(value, _) => format!("{value:?}"),
        }
    }
}

impl Typed {
    /// The type in words, with its article; never the value, which may be a secret in the wrong place.
    fn kind(&self) -> &'static str {
        match self {
            Self::Integer(..) => "a number",
            Self::Switch(_) => "true or false",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

fn refuse<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal { item: None, why })
}

/// A text and why it was refused. The text is shortened, and its control characters are escaped.
fn named(text: &str, why: &dyn std::fmt::Display) -> String {
    let shown: String = text.chars().take(80).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{more}: {why}")
}

fn whole(typed: &Typed, range: &RangeInclusive<u64>) -> Result<u64, Refusal> {
    let (start, end) = (range.start(), range.end());
    within(typed, range).or_else(|it| refuse(format!("must be a whole number from {start} to {end}, not {it}")))
}

/// The number, if it is in this range; else the typed text.
fn within(typed: &Typed, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let Typed::Integer(digits, radix) = typed else {
        return Err(typed.kind().into());
    };
    match u64::from_str_radix(digits, *radix) {
        Ok(value) if range.contains(&value) => Ok(value),
        Ok(value) => Err(value.to_string()),
        Err(_) => Err(named(digits, &"").trim_end_matches(": ").into()),
    }
}

/// The number in the type of its field, which the range keeps it within.
fn narrowed<T: TryFrom<u64>>(value: u64) -> T {
    match T::try_from(value) {
        Ok(narrow) => narrow,
        Err(_) => unreachable!("the ranges of the table fit the types of their fields"),
    }
}

fn mode(typed: &Typed) -> Result<u32, Refusal> {
    let wanted = "must be permission bits in octal from \"0000\" to \"0777\", like \"0660\" or 0o660";
    let digits = match typed {
        Typed::Text(text) => text.strip_prefix("0o").unwrap_or(text),
        Typed::Integer(digits, 8) => digits,
        Typed::Integer(..) => return refuse(format!("{wanted}, not a decimal number")),
        other => return refuse(format!("{wanted}, not {}", other.kind())),
    };
    let octal = !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(digits, 8) {
        Ok(bits) if octal && bits <= 0o777 => Ok(bits),
        _ => refuse(wanted.into()),
    }
}

fn level(typed: &Typed) -> Result<LevelFilter, Refusal> {
    match typed {
        Typed::Text(text) if LEVELS.contains(&text.as_str()) => {
            Ok(text.parse().expect("`log` knows the names of its levels"))
        }
        _ => refuse(format!(
            "must be one of {}",
            LEVELS.map(|name| format!("{name:?}")).join(", ")
        )),
    }
}

/// The items of a list of strings; a refusal names the first bad one.
fn items<T>(typed: &Typed, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Refusal> {
    let Typed::List(list) = typed else {
        return refuse(format!("must be a list of strings, not {}", typed.kind()));
    };
    let read = |(index, item): (usize, &Typed)| {
        let why = match item {
            Typed::Text(text) => match parse(text) {
                Ok(value) => return Ok(value),
                Err(why) => format!("cannot hold {why}"),
            },
            other => format!("must be a list of strings, without {}", other.kind()),
        };
        Err(Refusal { item: Some(index), why })
    };
    list.iter().enumerate().map(read).collect()
}

fn numbers(typed: &Typed, range: &RangeInclusive<u64>) -> Result<Vec<u32>, Refusal> {
    let Typed::List(list) = typed else {
        return refuse(format!("must be a list of numbers, not {}", typed.kind()));
    };
    let (start, end) = (range.start(), range.end());
    let mut read = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let at = |why: String| Refusal { item: Some(index), why };
        let number = within(item, range).map_err(|it| {
            at(format!(
                "must be a list of whole numbers from {start} to {end}, without {it}"
            ))
        })?;
        let number = narrowed(number);
        if read.contains(&number) {
            return Err(at(format!("names {number} a second time")));
        }
        read.push(number);
    }
    Ok(read)
}

/// The items of a list in a variable.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Refuses a list that names something twice, in whatever case.
fn once_each<T>(list: &[T], name: impl Fn(&T) -> &String) -> Result<(), Refusal> {
    for (index, item) in list.iter().enumerate() {
        if list[..index]
            .iter()
            .any(|earlier| name(earlier).eq_ignore_ascii_case(name(item)))
        {
            return Err(Refusal {
                item: Some(index),
                why: format!("names {} a second time", name(item)),
            });
        }
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = values.into_iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", items.join(", "))
}
