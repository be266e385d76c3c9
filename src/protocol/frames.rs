//! The server's frames (pusher.md section 2), built as text. Data is encoded twice where the protocol requires it. The
//! data of a publisher is escaped once and otherwise passed on byte for byte.

use serde::Serialize;
use serde_json::value::RawValue;

/// `pusher:pong` for a stock client.
pub const PONG: &str = r#"{"event":"pusher:pong","data":"{}"}"#;

/// Fields in the order of hosted Pusher; absent fields are left out.
#[derive(Serialize)]
struct Frame<'a, D: Serialize> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    data: D,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Extra::is_empty", flatten)]
    extra: Extra<'a>,
}

/// Fields only for connections that requested recovery.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Extra<'a> {
    /// The event's own position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The positions up to which all events have been sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos: Option<OneOrMore<'a, String>>,
    /// Whether the events after the client's positions follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<OneOrMore<'a, bool>>,
}

/// One value is written as itself, several values as a list.
#[derive(Serialize)]
#[serde(untagged)]
pub enum OneOrMore<'a, T> {
    /// One value.
    One(&'a T),
    /// A list.
    More(&'a [T]),
}

impl<T> Clone for OneOrMore<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for OneOrMore<'_, T> {}

impl<'a, T> OneOrMore<'a, T> {
    /// One value if the list has exactly one entry, else a list.
    pub fn of(values: &'a [T]) -> Self {
        match values {
            [one] => OneOrMore::One(one),
            more => OneOrMore::More(more),
        }
    }
}

impl<'a> Extra<'a> {
    /// The position of an event, and nothing more.
    pub fn of_id(id: &'a str) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.id.is_none() && self.pos.is_none() && self.recovered.is_none()
    }
}

fn text(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("strings and raw JSON always serialize")
}

/// The channel of one of these frames, or its event if it has no channel: what a person knows it by.
pub fn label(frame: &str) -> &str {
    let Some(rest) = frame.strip_prefix(r#"{"event":""#) else {
        return "";
    };
    let Some(end) = end_of_string(rest) else { return "" };
    let (event, rest) = rest.split_at(end);
    let channel = rest.strip_prefix(r#"","channel":""#);
    channel
        .and_then(|rest| end_of_string(rest).map(|end| &rest[..end]))
        .unwrap_or(event)
}

/// Where the JSON string that has begun ends: at the first quotation mark that is not escaped.
fn end_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// An event of a channel, with its data as a JSON string.
pub fn event(event: &str, channel: &str, data: &str, user_id: Option<&str>, extra: Extra<'_>) -> String {
    text(&Frame {
        event,
        channel: Some(channel),
        data,
        user_id,
        extra,
    })
}

/// The frame of an event without its position. The position is the last field of the object.
pub fn without_id(frame: &str) -> String {
    match frame.rsplit_once(",\"id\":\"") {
        Some((rest, _)) => format!("{rest}}}"),
        None => frame.to_owned(),
    }
}

/// A client event, with its data as the sender wrote it.
pub fn client_event(
    event: &str,
    channel: &str,
    data: Option<&RawValue>,
    user_id: Option<&str>,
    extra: Extra<'_>,
) -> String {
    text(&Frame {
        event,
        channel: Some(channel),
        data,
        user_id,
        extra,
    })
}

/// A protocol frame whose data is a JSON object in a string.
pub fn protocol(event: &str, channel: Option<&str>, data: &impl Serialize, extra: Extra<'_>) -> String {
    text(&Frame {
        event,
        channel,
        data: text(data),
        user_id: None,
        extra,
    })
}

/// A protocol frame without data: its data is `"{}"`.
pub fn bare(event: &str, channel: Option<&str>, extra: Extra<'_>) -> String {
    #[derive(Serialize)]
    struct Nothing {}
    protocol(event, channel, &Nothing {}, extra)
}

/// A protocol frame whose data is a JSON object, not a string: `pusher:error`, `pusher:signin_success`,
/// `pusher:subscription_error`.
pub fn plain(event: &str, channel: Option<&str>, data: &impl Serialize) -> String {
    text(&Frame {
        event,
        channel,
        data,
        user_id: None,
        extra: Extra::default(),
    })
}

/// `pusher:error`. On a connection that stays open `code` is `None` or 43xx: a smaller code means to clients that the
/// connection closes.
pub fn error(message: &str, code: Option<u16>) -> String {
    error_of(None, message, code)
}

/// The same about a channel.
pub fn error_of(channel: Option<&str>, message: &str, code: Option<u16>) -> String {
    #[derive(Serialize)]
    struct Data<'a> {
        message: &'a str,
        code: Option<u16>,
    }
    plain("pusher:error", channel, &Data { message, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_known_by_its_channel_or_else_by_its_event() {
        for name in ["news", "a\"b", "back\\", "\\\"x", "ü"] {
            let frame = event(name, "private-room", "\"channel\":\"x\"", None, Extra::default());
            assert_eq!(label(&frame), "private-room", "{frame}");
        }
        assert_eq!(label(PONG), "pusher:pong");
        for other in [
            "",
            "{}",
            "{\"event\":\"",
            "{\"event\":\"x",
            "{\"event\":\"x\",\"channel\":\"y",
        ] {
            assert!(label(other).len() <= 1, "{other}");
        }
    }

    #[test]
    fn data_is_encoded_twice_and_otherwise_untouched() {
        assert_eq!(
            event(
                "e\\x",
                "c",
                "{\"big\":123456789012345678901234567890,\"f\":1e400,\"s\":\"ü\\u00fc\\n\"}",
                None,
                Extra::default()
            ),
            r#"{"event":"e\\x","channel":"c","data":"{\"big\":123456789012345678901234567890,\"f\":1e400,\"s\":\"ü\\u00fc\\n\"}"}"#
        );
    }

    #[test]
    fn the_data_of_a_client_event_is_passed_on_byte_for_byte() {
        let raw: Box<RawValue> = serde_json::from_str("{ \"a\" : 1.0e400 }").unwrap();
        assert_eq!(
            client_event("client-x", "presence-c", Some(&raw), Some("7"), Extra::default()),
            r#"{"event":"client-x","channel":"presence-c","data":{ "a" : 1.0e400 },"user_id":"7"}"#
        );
    }

    #[test]
    fn errors_carry_an_object_with_a_code_or_null() {
        assert_eq!(
            error("no", None),
            r#"{"event":"pusher:error","data":{"message":"no","code":null}}"#
        );
        assert_eq!(
            error("no", Some(4301)),
            r#"{"event":"pusher:error","data":{"message":"no","code":4301}}"#
        );
        assert_eq!(
            error_of(Some("private-x"), "no", Some(4301)),
            r#"{"event":"pusher:error","channel":"private-x","data":{"message":"no","code":4301}}"#
        );
    }

    #[test]
    fn a_frame_without_its_position_is_the_frame_of_a_stock_client() {
        let data = r#"{"x":"\",\"id\":\"1\"}"}"#;
        let extra = Extra {
            id: Some("o0000000a:7.z"),
            ..Extra::default()
        };
        let plain = event("e", "c", data, None, Extra::default());
        assert_eq!(without_id(&event("e", "c", data, None, extra)), plain);
    }

    #[test]
    fn only_recovery_adds_fields() {
        let extra = Extra {
            id: Some("m1:2"),
            ..Extra::default()
        };
        assert_eq!(
            event("e", "c", "d", None, extra),
            r#"{"event":"e","channel":"c","data":"d","id":"m1:2"}"#
        );
    }
}
