//! Masks words, numbers and JSON for a trace: some values stay, and tokens or masks replace the others.
//!
//! JSON is parsed, masked value by value, and printed again. Rejected: rewriting the text in place, which keeps white
//! space, escapes and doubled keys. It took more code than everything else here, and its only gain was that a size
//! limit holds to the byte.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Payloads;
use crate::api::parameters;
use crate::hub::ask::is_too_deep;
use crate::protocol::SocketId;
use crate::protocol::channel::{ChannelName, SERVER_TO_USER};
use crate::protocol::position::Position;

/// Ids that are remembered: some megabytes. All further ones share one token.
const REMEMBERED: usize = 100_000;

/// How a value is masked.
#[derive(Clone, Copy)]
pub enum Field {
    /// A text that stays.
    Keep,
    /// A number or a version stays.
    Digits,
    /// The name of a channel, or several.
    Channel,
    /// The id of a user, or several.
    User,
    /// A socket id.
    Socket,
    /// A position, or several.
    Position,
    /// Always masked.
    Secret,
    /// Masked, unless the trace is recorded with payloads.
    Payload,
    /// The same. In a query it is always masked, and so is its name.
    Other,
    /// An object, or several, or a string that holds one: its values by their keys.
    Object(Fields),
}

/// How the value with this key is masked.
pub type Fields = fn(&str) -> Field;

/// Masks values. The same id always gets the same token, and two ids never share one, so a trace stays a story about
/// the same people. Rejected: hashes as tokens, because a name can be guessed from its hash.
#[derive(Debug, Default)]
pub struct Words {
    /// Whether payloads are masked.
    pub payloads: Payloads,
    /// The numbers of the ids of users and sessions, by the fingerprint of the id.
    known: HashMap<[u8; 16], usize>,
    /// The shadow's socket ids by the real ones, of the open connections.
    pub sockets: HashMap<String, String>,
}

impl Words {
    /// The token of an id. It is as long as the id if its number leaves room. A number becomes a number, because 10 and
    /// "10" are one user. An empty text stays empty.
    pub fn token(&mut self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let mut print = [0; 16];
        print.copy_from_slice(&Sha256::digest(text)[..16]);
        let next = self.known.len() + 1;
        let n = match next <= REMEMBERED {
            true => *self.known.entry(print).or_insert(next),
            false => self.known.get(&print).copied().unwrap_or(next),
        };
        match is_number(text) {
            true => n.to_string(),
            false => format!("{:x<width$}", format!("u{n}"), width = text.chars().count()),
        }
    }

    /// Masks a text that a person wrote.
    pub fn payload(&self, text: &str) -> String {
        match self.payloads {
            Payloads::Masked => mask(text),
            Payloads::Plain => text.to_owned(),
        }
    }

    /// Masks a text that has this meaning.
    pub fn text(&mut self, text: &str, field: Field) -> String {
        match field {
            Field::Keep => text.to_owned(),
            Field::Channel => self.channel(text),
            Field::User => self.token(text),
            Field::Socket => self.socket(text),
            Field::Position if text.parse::<Position>().is_ok() => text.to_owned(),
            Field::Object(_) => match parse(text) {
                Some(mut inner) => {
                    self.value(&mut inner, field);
                    inner.to_string()
                }
                None => mask(text),
            },
            Field::Digits if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => text.to_owned(),
            Field::Digits | Field::Position | Field::Secret => mask(text),
            Field::Payload | Field::Other => self.payload(text),
        }
    }

    /// Masks JSON that has this meaning.
    pub fn value(&mut self, value: &mut Value, field: Field) {
        match (&mut *value, field) {
            (Value::String(text), _) => *text = self.text(text, field),
            (Value::Array(list), _) => list.iter_mut().for_each(|value| self.value(value, field)),
            (Value::Object(map), _) => {
                for (key, value) in map {
                    let field = match field {
                        Field::Object(fields) => fields(key),
                        _ => Field::Other,
                    };
                    self.value(value, field);
                }
            }
            (Value::Number(n), Field::User) => *value = number(&self.token(&n.to_string())),
            (Value::Number(n), _) if self.payloads == Payloads::Masked => {
                *value = number(&n.to_string().replace(|c: char| c.is_ascii_digit(), "1"));
            }
            _ => {}
        }
    }

    /// A channel's name stays, except for the user that it may name. A text that is no valid name becomes one that is
    /// none either.
    pub fn channel(&mut self, name: &str) -> String {
        match ChannelName::parse(name).map(ChannelName::user) {
            Ok(None) => name.to_owned(),
            Ok(Some(user)) => format!("{SERVER_TO_USER}{}", self.token(user)),
            Err(_) => format!("#{}", mask(name)),
        }
    }

    /// The shadow's socket id for a real one. An id that no connection has becomes an id that no connection has.
    pub fn socket(&self, id: &str) -> String {
        match id.parse::<SocketId>() {
            Ok(socket) => {
                let known = self.sockets.get(&socket.to_string());
                known.cloned().unwrap_or_else(|| SocketId(0, 0).to_string())
            }
            Err(()) => mask(id),
        }
    }

    /// The parameters of a query, decoded, with their names in lower case. The name of an unknown one is masked too.
    pub fn query(&mut self, query: &str, fields: Fields) -> Vec<(String, String)> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name).to_ascii_lowercase(), decoded(value));
            match fields(&name) {
                Field::Other => (mask(&name), mask(&value)),
                field => (name, self.text(&value, field)),
            }
        });
        pairs.collect()
    }
}

/// JSON that is not nested too deeply for the service.
pub fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(|_| !is_too_deep(text))
}

/// The text of a query.
pub fn join(pairs: &[(String, String)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Letters become `x`, digits 0, every byte beyond ASCII `x`; the rest stays. The length in bytes stays too.
pub fn mask(text: impl AsRef<[u8]>) -> String {
    let masked = text.as_ref().iter().map(|byte| match byte {
        b'0'..=b'9' => '0',
        byte if byte.is_ascii_alphabetic() || !byte.is_ascii() => 'x',
        byte => char::from(*byte),
    });
    masked.collect()
}

/// Whether a text is a number as serde_json writes it. The text and the number may then be the same id.
fn is_number(text: &str) -> bool {
    let number = text.parse::<serde_json::Number>();
    number.is_ok_and(|number| number.to_string() == text)
}

fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    parameters::decode(&text).map_or_else(|| text.clone(), |decoded| decoded.into_owned())
}

/// A text as a part of a path or a query.
pub fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn equal_ids_get_equal_tokens_and_different_ids_different_tokens() {
        let mut words = Words::default();
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
            let token = words.token(original);
            assert_eq!(words.token(original), token);
            assert!(seen.insert(token.clone()), "{original} is {token}, as another");
        }
    }

    #[test]
    fn a_token_is_as_long_as_a_long_original_and_a_number_stays_one() {
        let mut words = Words::default();
        assert_eq!(words.token(""), "");
        assert_eq!(words.token("user-a"), "u1xxxx");
        assert_eq!(words.token("日本語 ab"), "u2xxxx");
        assert_eq!(words.token(&"a".repeat(300)).len(), 300);
        for number in ["10", "-7", "1.5", "0", "47110815"] {
            assert!(is_number(&words.token(number)), "{number}");
        }
        for word in ["007", "1e2", "-0", "1.50", "NaN", "10 "] {
            assert!(!is_number(&words.token(word)), "{word}");
        }
    }

    #[test]
    fn the_memory_is_bounded_and_further_words_share_one_token() {
        let mut words = Words::default();
        let first = words.token("word-0");
        for n in 0..REMEMBERED + 1000 {
            words.token(&format!("word-{n}"));
        }
        assert_eq!(words.known.len(), REMEMBERED);
        assert_eq!(words.token("word-0"), first);
        assert_eq!(words.token("a new one"), "u100001xx");
        assert_eq!(words.token("another 1"), "u100001xx");
        assert_eq!(words.token("12345678"), "100001");
    }

    #[test]
    fn a_mask_has_the_length_of_its_original() {
        for (text, masked) in [
            ("", ""),
            ("hello, World 17", "xxxxx, xxxxx 00"),
            ("grün \"日\"\n", "xxxxx \"xxx\"\n"),
        ] {
            assert_eq!(mask(text), masked);
            assert_eq!(masked.len(), text.len());
        }
    }
}
