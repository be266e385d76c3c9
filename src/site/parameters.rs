//! The options of com_websockets that the server reads: whether the server is switched on, what guests may subscribe
//! to, whether members have names, and the credentials of the site's app with the former secret. They come as the JSON
//! that Joomla stores. In this JSON a switch may be a number, a string or a boolean, and any field may be missing or
//! invalid.
//!
//! A missing option has the server's default. The server's own configuration takes precedence over all options.

use std::fmt;

use serde_json::{Map, Value};

use crate::config::{SHORT_SECRET, SHORTEST_SECRET};
use crate::protocol::signature::FormerSecret;
use crate::time::Now;

/// The most seconds for which a former secret is valid beside the new one.
pub const GRACE: u64 = 600;

/// The options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The kill switch; missing: the server is switched on.
    pub enabled: Option<bool>,
    /// Whether guests may subscribe to channels without a prefix.
    pub guests: Option<bool>,
    /// Whether presence channels show real ids and names.
    pub presence_names: Option<bool>,
    /// The credentials of the site's app: all three or none.
    pub credentials: Option<Credentials>,
    /// Whether the app's secret is too weak.
    pub weakness: Option<Weakness>,
}

/// A secret that can be found by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// The secret is so short that it is rejected: there are no credentials.
    Refused,
    /// The secret is short but valid.
    Short,
}

impl fmt::Display for Weakness {
    /// A sentence with the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, rest) = match self {
            Weakness::Refused => (
                SHORTEST_SECRET,
                "so it is refused, and the HTTP API and signatures are off",
            ),
            Weakness::Short => (SHORT_SECRET, "and could be guessed"),
        };
        write!(
            f,
            "the secret in the options of com_websockets has fewer than {least} characters, {rest}; make a new one there"
        )
    }
}

impl Weakness {
    fn of(secret: &str) -> Option<Self> {
        match secret.len() {
            1..SHORTEST_SECRET => Some(Weakness::Refused),
            SHORTEST_SECRET..SHORT_SECRET => Some(Weakness::Short),
            _ => None,
        }
    }
}

/// The credentials of the site's app.
#[derive(Clone, PartialEq)]
pub struct Credentials {
    /// The id in paths of the HTTP API.
    pub id: String,
    /// The key for clients. Public.
    pub key: String,
    /// The secret for signatures; never shown.
    pub secret: String,
    /// The former secret.
    pub former: Option<Former>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Former {
    /// The secret with its end: the stated time, but at most [`GRACE`] after the secret was first read.
    pub secret: FormerSecret,
    /// The time in the options, as a Unix second.
    stated: u64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .field("former", &self.former)
            .finish_non_exhaustive()
    }
}

impl Parameters {
    /// Parses the options; `None`: the component is not installed, or disabled. A text that is no JSON object was not
    /// written by Joomla, so the options `before` stay.
    pub fn read(text: Option<&str>, before: &Self, now: Now) -> Self {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Self::default();
        };
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(text) else {
            return before.clone();
        };
        let known = before.credentials.as_ref().and_then(|before| before.former.as_ref());
        let weakness = fields.get("app_secret").and_then(Value::as_str).and_then(Weakness::of);
        Self {
            enabled: switch(&fields, "enabled"),
            guests: switch(&fields, "guests"),
            presence_names: switch(&fields, "presence_names"),
            credentials: Credentials::read(&fields, known, now).filter(|_| weakness != Some(Weakness::Refused)),
            weakness,
        }
    }

    /// What is wrong with the secret of the site's app, which has none in the configuration, as a sentence with the
    /// remedy.
    pub fn complaint(&self, app: &str) -> Option<String> {
        match (self.weakness, &self.credentials) {
            (Some(weakness @ Weakness::Refused), _) | (Some(weakness @ Weakness::Short), Some(_)) => {
                Some(weakness.to_string())
            }
            (None, Some(_)) => None,
            (_, None) => Some(format!(
                "the app {app} has no secret, so signatures and the HTTP API are off for it: neither com_websockets on the site \
                 nor the configuration has one. The package makes one when it is installed; an [[apps]] entry with the id \
                 {app}, a key and a secret, or JSOCKETD_APP_ID, JSOCKETD_APP_KEY and JSOCKETD_APP_SECRET, do it too"
            )),
        }
    }
}

impl Credentials {
    fn read(fields: &Map<String, Value>, known: Option<&Former>, now: Now) -> Option<Self> {
        Some(Self {
            id: text(fields, "app_id")?,
            key: text(fields, "app_key")?,
            secret: text(fields, "app_secret")?,
            former: Former::read(fields, known, now),
        })
    }
}

impl Former {
    fn read(fields: &Map<String, Value>, known: Option<&Former>, now: Now) -> Option<Self> {
        let (secret, stated) = (text(fields, "app_secret_old")?, number(fields, "app_secret_old_until")?);
        let again = known.filter(|known| known.secret.secret == secret && known.stated == stated);
        // When the options are read again because of another change, the end must not move.
        let until = match again {
            Some(known) => known.secret.until,
            None => stated.min(now.unix_ms / 1000 + GRACE),
        };
        let secret = FormerSecret { secret, until };
        Some(Self { secret, stated })
    }
}

/// Reads `1`, `"1"` and `true`, or their opposites.
pub fn switch(fields: &Map<String, Value>, name: &str) -> Option<bool> {
    let text = match fields.get(name)? {
        Value::Bool(value) => return Some(*value),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    match text.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    let text = fields.get(name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(fields: &Map<String, Value>, name: &str) -> Option<u64> {
    match fields.get(name)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::Time;

    const START: u64 = 1_800_000_000;

    fn at(second: u64) -> Now {
        Now {
            at: Time::default(),
            unix_ms: second * 1000,
        }
    }

    fn read(params: &str) -> Parameters {
        Parameters::read(Some(params), &Parameters::default(), at(START))
    }

    #[test]
    fn a_switch_is_a_number_a_text_or_a_boolean() {
        for (on, off) in [("1", "0"), ("\"1\"", "\"0\""), ("true", "false")] {
            let all = read(&format!(r#"{{"enabled":{on},"guests":{off},"presence_names":{on}}}"#));
            assert_eq!(
                (all.enabled, all.guests, all.presence_names),
                (Some(true), Some(false), Some(true))
            );
        }
        for nonsense in ["2", "-1", "0.0", "\"\"", "\"yes\"", "\" 1\"", "null", "[1]", "{}"] {
            assert_eq!(
                read(&format!(r#"{{"enabled":{nonsense}}}"#)).enabled,
                None,
                "{nonsense}"
            );
        }
        assert_eq!(read("{}"), Parameters::default());
    }

    #[test]
    fn text_that_is_no_object_changes_nothing_and_missing_text_means_the_defaults() {
        let off = read(r#"{"enabled":0}"#);
        for corrupt in ["{corrupt", "[]", "null", "1"] {
            assert_eq!(Parameters::read(Some(corrupt), &off, at(START)), off, "{corrupt}");
        }
        for gone in [None, Some(""), Some("{}")] {
            assert_eq!(
                Parameters::read(gone, &off, at(START)),
                Parameters::default(),
                "{gone:?}"
            );
        }
    }

    #[test]
    fn credentials_are_complete_or_absent() {
        let all = json!({"app_id": "i", "app_key": "k", "app_secret": "0123456789abcdef"});
        assert!(read(&all.to_string()).credentials.is_some());
        for name in ["app_id", "app_key", "app_secret"] {
            for bad in [json!(""), json!(1), Value::Null] {
                let mut some = all.clone();
                some[name] = bad;
                assert!(read(&some.to_string()).credentials.is_none(), "{some}");
            }
        }
    }

    #[test]
    fn a_complaint_names_the_remedy_and_a_good_secret_has_none() {
        let all = |secret: &str| json!({"app_id": "i", "app_key": "k", "app_secret": secret}).to_string();
        assert_eq!(read(&all("0123456789abcdef")).complaint("a"), None);
        for (params, words) in [
            ("{}", "the app a has no secret"),
            (
                r#"{"app_id":"i","app_secret":"0123456789ab"}"#,
                "the app a has no secret",
            ),
            (&all("0123456789ab"), "could be guessed"),
            (&all("short"), "so it is refused"),
        ] {
            let said = read(params).complaint("a").expect(params);
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_short_secret_is_refused_or_reported() {
        for (length, weakness, is_there) in [
            (1, Some(Weakness::Refused), false),
            (SHORTEST_SECRET - 1, Some(Weakness::Refused), false),
            (SHORTEST_SECRET, Some(Weakness::Short), true),
            (SHORT_SECRET - 1, Some(Weakness::Short), true),
            (SHORT_SECRET, None, true),
        ] {
            let text = json!({"app_id": "i", "app_key": "k", "app_secret": "x".repeat(length)}).to_string();
            let read = read(&text);
            assert_eq!(
                (read.weakness, read.credentials.is_some()),
                (weakness, is_there),
                "{length}"
            );
        }
        assert_eq!(read(r#"{"app_id":"i","app_key":"k","app_secret":""}"#).weakness, None);
    }

    fn rotated(until: &Value) -> String {
        json!({"app_id": "i", "app_key": "k", "app_secret": "a-new-one-of-some-length", "app_secret_old": "old", "app_secret_old_until": until})
            .to_string()
    }

    fn valid(parameters: &Parameters, second: u64) -> bool {
        let former = parameters.credentials.as_ref().and_then(|all| all.former.as_ref());
        former.and_then(|former| former.secret.at(at(second))) == Some("old")
    }

    #[test]
    fn the_old_secret_is_valid_up_to_its_second_and_ten_minutes_at_the_most() {
        for until in [json!(START + 60), json!((START + 60).to_string())] {
            let read = read(&rotated(&until));
            assert!(valid(&read, START) && valid(&read, START + 59), "{until}");
            assert!(!valid(&read, START + 60), "{until}");
        }
        let far = read(&rotated(&json!(u64::MAX)));
        assert!(valid(&far, START + GRACE - 1) && !valid(&far, START + GRACE));
        // The time of the first reading counts.
        let again = Parameters::read(Some(&rotated(&json!(u64::MAX))), &far, at(START + 300));
        assert!(valid(&again, START + GRACE - 1) && !valid(&again, START + GRACE));
        assert!(!valid(&read(&rotated(&json!(START))), START));
    }

    #[test]
    fn an_old_secret_with_an_invalid_time_is_not_valid() {
        for nonsense in [
            json!(-1),
            json!(1.9e9),
            json!("soon"),
            json!("+1900000000"),
            json!(" 1900000000"),
            json!(""),
            json!("99999999999999999999999"),
            json!(true),
            Value::Null,
            json!([1_900_000_000]),
        ] {
            assert!(!valid(&read(&rotated(&nonsense)), START), "{nonsense}");
        }
        let nameless = rotated(&json!(START + 60)).replace(r#""old""#, r#""""#);
        assert!(!valid(&read(&nameless), START));
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", read(&rotated(&json!(START + 60)).replace("new", "hidden")));
        assert!(!shown.contains("hidden") && !shown.contains("\"old\""), "{shown}");
    }
}
