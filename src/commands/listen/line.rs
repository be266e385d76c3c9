//! An event as a line of the output.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::commands::http::harmless;

#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    data: &'a RawValue,
}

/// The event as one line of JSON. Publishers send a string that mostly holds JSON: then it is that JSON. Numbers keep
/// all their digits.
pub fn of_event(channel: &str, event: &str, user_id: Option<&str>, data: Option<&RawValue>) -> String {
    let held = data.and_then(|data| serde_json::from_str::<String>(data.get()).ok());
    let held = held.and_then(|held| RawValue::from_string(held).ok());
    let line = Line {
        channel,
        event,
        user_id,
        data: held.as_deref().or(data).unwrap_or(RawValue::NULL),
    };
    harmless(&serde_json::to_string(&line).expect("text always has a JSON form"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_data_of_an_event_is_the_json_in_its_string() {
        let of = |data: Option<&str>| {
            let data = data.map(|json| RawValue::from_string(json.to_owned()).expect("JSON"));
            of_event("news", "saved", None, data.as_deref())
        };
        for (data, wanted) in [
            (r#""{\"id\":1}""#, r#"{"id":1}"#),
            (r#""12345678901234567890.5""#, "12345678901234567890.5"),
            (r#""not JSON""#, r#""not JSON""#),
            (r#""""#, r#""""#),
            (r#""{\n \"a\":\t[1.10,\r\n2]}""#, r#"{  "a": [1.10,  2]}"#),
            (r#"{"plain": 1}"#, r#"{"plain": 1}"#),
        ] {
            let line = format!(r#"{{"channel":"news","event":"saved","data":{wanted}}}"#);
            assert_eq!(of(Some(data)), line, "{data}");
        }
        assert!(of(None).ends_with(r#""data":null}"#));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let line = of_event("\u{1b}[2J", "\u{9b}31m\u{7f}ü\u{202e}", Some("\r"), None);
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        let back: Value = serde_json::from_str(&line).expect("still JSON");
        let parts = [&back["channel"], &back["event"], &back["user_id"]];
        assert_eq!(parts, ["\u{1b}[2J", "\u{9b}31m\u{7f}ü\u{202e}", "\r"]);
    }
}
