//! What may stand in the texts of `[pusher]` and `[[apps]]`. A reader returns the text as it is kept, or the rest of a
//! sentence that says what to write instead; it never repeats what may hold a password.

use http::{HeaderName, HeaderValue, header};

use super::{HttpUrl, WEBHOOK_EVENTS, keys};

/// Reads the text of a key.
pub(super) type Reader = fn(&str) -> Result<String, String>;

/// The longest id or key of an app.
const LONGEST_NAME: usize = 64;

/// The longest channel name of the Pusher protocol.
const LONGEST_CHANNEL: usize = 164;

/// Headers of a webhook that the server writes itself: what it is, where it goes and how long it is.
const OWN_HEADERS: [HeaderName; 13] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("x-pusher-key"),
    HeaderName::from_static("x-pusher-signature"),
    header::USER_AGENT,
];

/// The id or key of an app: what goes into a path and a signature without being escaped.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = (1..=LONGEST_NAME).contains(&text.len());
    match fits
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    {
        true => Ok(text.to_owned()),
        false => Err(format!("must be 1 to {LONGEST_NAME} letters, digits, `_` and `-`")),
    }
}

/// The prefix of all paths. Nothing in it may need escaping, for the HTTP API's signatures cover the path as it was sent.
pub(super) fn path(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'~');
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    match text.strip_prefix('/') {
        None if text.is_empty() => Ok(String::new()),
        Some(rest) if rest.split('/').all(segment) => Ok(text.to_owned()),
        _ => Err(
            "must be empty or like /prefix: of letters, digits, `_`, `-`, `.` and `~`, without a slash at the end"
                .into(),
        ),
    }
}

/// The target of a webhook. Kept as it was typed: its spelling may matter to the other side.
pub(super) fn url(text: &str) -> Result<String, String> {
    match text.parse::<HttpUrl>() {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("is a bad URL: {why}")),
    }
}

/// The beginning of a channel's name.
pub(super) fn channel_prefix(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-=@,.;".contains(&b);
    match text.len() <= LONGEST_CHANNEL && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be the beginning of channel names: up to {LONGEST_CHANNEL} letters, digits and `_-=@,.;`"
        )),
    }
}

/// The name of a webhook event.
pub(super) fn event(text: &str) -> Result<String, String> {
    if WEBHOOK_EVENTS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(match keys::nearest(text, WEBHOOK_EVENTS) {
        Some(near) => format!("there is no such event; did you mean `{near}`?"),
        None => format!("there is no such event, but {}", WEBHOOK_EVENTS.join(", ")),
    })
}

/// `Name: value`, as it stands on the wire. The refusals continue "cannot hold".
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once(':') else {
        return Err("a header without a colon; write \"Name: value\"".into());
    };
    let value = value.trim_matches([' ', '\t']);
    let Ok(known) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err("a header whose name is not one of letters, digits and `-`".into());
    };
    if OWN_HEADERS.contains(&known) {
        return Err(format!("the header {name}, which the server writes itself"));
    }
    if value.is_empty() || !value.is_ascii() || HeaderValue::from_str(value).is_err() {
        return Err(format!(
            "the header {name} with a value that is empty or not of visible ASCII characters"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_escaping() {
        let longest = "a".repeat(LONGEST_NAME);
        for good in ["1", "joomla", "A_b-9", &longest] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        let longer = "a".repeat(LONGEST_NAME + 1);
        for bad in ["", "a b", "a/b", "a.b", "ä", "a:b", "a%20", &longer] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_empty_or_a_prefix() {
        for good in ["", "/a", "/a/b", "/ws.d/~x_-1"] {
            assert_eq!(path(good).as_deref(), Ok(good));
        }
        for bad in [
            "/", "a", "/a/", "//a", "/a//b", "/a b", "/a%20b", "/ä", "/..", "/./a", "/a?b",
        ] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_channel_prefix_begins_channel_names() {
        for good in ["", "private-", "presence-a_b=c@d,e.f;g", &"x".repeat(LONGEST_CHANNEL)] {
            assert_eq!(channel_prefix(good).as_deref(), Ok(good));
        }
        for bad in ["#server-to-user-", "a b", "a*", "ä", &"x".repeat(LONGEST_CHANNEL + 1)] {
            assert!(channel_prefix(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn events_are_known_or_suggested() {
        for known in WEBHOOK_EVENTS {
            assert_eq!(event(known).as_deref(), Ok(known));
        }
        assert!(event("member_add").is_err_and(|why| why.ends_with("did you mean `member_added`?")));
        assert!(event("everything").is_err_and(|why| WEBHOOK_EVENTS.iter().all(|name| why.contains(name))));
    }

    #[test]
    fn a_header_is_taken_apart_and_its_value_is_never_repeated() {
        assert_eq!(header("X-Site: a: b "), Ok(("X-Site".into(), "a: b".into())));
        assert_eq!(
            header("Authorization:Bearer x"),
            Ok(("Authorization".into(), "Bearer x".into()))
        );
        for bad in [
            "hunter2",
            ": hunter2",
            "X Site: hunter2",
            "X-Site : hunter2",
            "X-Site:",
            "X-Site: hunter2\r\nX-Other: 1",
            "X-Site: hünter2 hunter2",
            "Content-Length: hunter2",
            "HOST: hunter2",
            "x-pusher-signature: hunter2",
        ] {
            let why = header(bad).expect_err(bad);
            assert!(!why.contains("nter2"), "{why}");
        }
    }
}
