//! A request's body as the fields of a JSON object. Values are kept as they were written until they are needed, because
//! data that is not text must reach the subscribers byte for byte. Nesting is limited before anything is parsed
//! (pusher.md 2.6).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::reply::Refusal;

/// How many arrays and objects may be nested.
pub const MAX_DEPTH: usize = 64;

/// The known fields of a body; every other field is ignored. If a field occurs twice, the last one counts, as in PHP
/// and JavaScript.
#[derive(Debug, Default)]
pub struct Body<'a> {
    pub name: Option<&'a RawValue>,
    pub channel: Option<&'a RawValue>,
    pub channels: Option<&'a RawValue>,
    pub data: Option<&'a RawValue>,
    pub socket_id: Option<&'a RawValue>,
    pub info: Option<&'a RawValue>,
    pub batch: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// Reads a body; an empty one has no fields.
    ///
    /// # Errors
    /// 400 when the body is not UTF-8, is nested too deep, is not JSON or is not an object.
    pub fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let text = str::from_utf8(body).map_err(|error| Refusal::bad(format!("Invalid body: {error}")))?;
        if depth(body) > MAX_DEPTH {
            return Err(Refusal::bad(format!(
                "Invalid body: nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Self::parse(text).map_err(|refusal| refusal.of("Invalid body"))
    }

    /// Reads an object whose depth was checked before.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        serde_json::from_str(text).map_err(|error| Refusal::bad(error.to_string()))
    }
}

/// The text of a field; `None` when the field is missing or null.
pub fn text<'a>(field: Option<&'a RawValue>, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(raw) = field.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    match serde_json::from_str::<Text<'a>>(raw.get()) {
        Ok(text) => Ok(Some(text.0)),
        Err(error) => Err(Refusal::bad(format!("{name}: {error}"))),
    }
}

/// The items of a field, `N` at most, and the number of further items; `None` when the field is missing or null.
pub fn list<'a, T: Deserialize<'a>, const N: usize>(
    field: Option<&'a RawValue>,
    name: &str,
) -> Result<Option<AtMost<T, N>>, Refusal> {
    let Some(raw) = field.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    serde_json::from_str(raw.get())
        .map(Some)
        .map_err(|error| Refusal::bad(format!("{name}: {error}")))
}

/// A string, borrowed if it has no escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The first items of a list. A list of a million items needs no more memory than one of `N`.
#[derive(Debug)]
pub struct AtMost<T, const N: usize> {
    pub items: Vec<T>,
    pub more: usize,
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = AtMost<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < N {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(AtMost { items, more: 0 }),
                    }
                }
                let mut more = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    more += 1;
                }
                Ok(AtMost { items, more })
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Field {
            Name,
            Channel,
            Channels,
            Data,
            SocketId,
            Info,
            Batch,
            #[serde(other)]
            Unknown,
        }

        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Body<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut body = Body::default();
                while let Some(field) = map.next_key()? {
                    let slot = match field {
                        Field::Name => &mut body.name,
                        Field::Channel => &mut body.channel,
                        Field::Channels => &mut body.channels,
                        Field::Data => &mut body.data,
                        Field::SocketId => &mut body.socket_id,
                        Field::Info => &mut body.info,
                        Field::Batch => &mut body.batch,
                        Field::Unknown => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(map.next_value()?);
                }
                Ok(body)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// How deep arrays and objects are nested, found in one pass without a stack. For text that is not JSON the result is
/// meaningless, which does no harm: the parser refuses that text.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next()
                    && *byte != b'"'
                {
                    if *byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count_for_the_depth() {
        for (text, deepest) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{}],"b":[]}"#, 3),
            (r#"["[[[[", "\"[[[", "\\", [0]]"#, 2),
            ("]]]][", 1),
            (r#"["\"#, 1),
        ] {
            assert_eq!(depth(text.as_bytes()), deepest, "{text}");
        }
    }

    #[test]
    fn a_list_keeps_its_first_items_and_counts_the_rest() {
        let text = format!("[{}1]", "1,".repeat(999));
        let list: AtMost<u8, 10> = serde_json::from_str(&text).unwrap();
        assert_eq!((list.items.len(), list.more), (10, 990));
        assert!(list.items.capacity() <= 16);
        let list: AtMost<u8, 10> = serde_json::from_str("[1,2]").unwrap();
        assert_eq!((list.items, list.more), (vec![1, 2], 0));
    }
}
