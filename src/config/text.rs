//! Reads texts: paths, names, secrets, patterns, and identifiers in SQL. A reader returns the text to keep, or the rest
//! of a sentence that names the remedy. The sentence never repeats a text that may hold a password.

use http::{HeaderName, HeaderValue, header};

use super::origin::Origin;
use super::url::HttpUrl;

/// Reads the text of a key.
pub(super) type Reader = fn(&str) -> Result<String, String>;

/// The longest id or key of an app.
const LONGEST_NAME: usize = 64;

/// The fewest characters of an app's secret and of `admin_token`. Shorter ones can be guessed: against one signature,
/// or by a request with each token.
pub const SHORTEST_SECRET: usize = 12;

/// A secret or token with fewer characters gets a warning.
pub const SHORT_SECRET: usize = 16;

/// The longest name of a table or column (MySQL manual, "Identifier Length Limits").
const LONGEST_IDENTIFIER: usize = 64;

/// The longest channel name of the Pusher protocol.
const LONGEST_CHANNEL: usize = 164;

/// The events that a webhook can request (Pusher docs, "Webhooks").
pub const WEBHOOK_EVENTS: [&str; 7] = [
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
];

/// Headers that the server writes itself into each webhook.
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

/// The text, if it fits; otherwise the text to write instead.
fn keep_if(fits: bool, text: &str, wanted: impl Into<String>) -> Result<String, String> {
    match fits {
        true => Ok(text.to_owned()),
        false => Err(wanted.into()),
    }
}

/// The id or key of an app: it gets into paths and signatures, where nothing may need escaping.
pub(super) fn name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let fits = (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(plain);
    let wanted = format!("must be 1 to {LONGEST_NAME} letters, digits, `_` and `-`");
    keep_if(fits, text, wanted)
}

/// The prefix of all paths. Nothing in it may need escaping: the HTTP API's signatures cover the path as it was sent.
pub(super) fn path(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'~');
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    let fits = text.is_empty() || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment));
    let wanted = "must be empty or like /prefix: of letters, digits, `_`, `-`, `.` and `~`, without a slash at the end";
    keep_if(fits, text, wanted)
}

/// The target of a webhook. Kept as it was typed: its spelling may matter to the other side.
pub(super) fn url(text: &str) -> Result<String, String> {
    match text.parse::<HttpUrl>() {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("is a bad URL: {why}")),
    }
}

/// Whether the Pusher protocol allows this byte in a channel's name.
fn in_channel(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte)
}

/// The beginning of a channel's name.
pub(super) fn channel_prefix(text: &str) -> Result<String, String> {
    let fits = text.len() <= LONGEST_CHANNEL && text.bytes().all(in_channel);
    let wanted =
        format!("must be the beginning of channel names: up to {LONGEST_CHANNEL} letters, digits and `_-=@,.;`");
    keep_if(fits, text, wanted)
}

/// A pattern of channels for `[[channels]]`.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    if !text.starts_with("private-") && !text.starts_with("presence-") {
        return Err("must start with private- or presence-: other channels are open to everybody".into());
    }
    if text.starts_with("private-encrypted-") {
        return Err("cannot start with private-encrypted-: such a channel always needs a signature".into());
    }
    let fits = text.len() <= LONGEST_CHANNEL && text.bytes().all(|b| in_channel(b) || b == b'*');
    let wanted = format!("must be up to {LONGEST_CHANNEL} letters, digits and `_-=@,.;`, and `*` for any of them");
    keep_if(fits, text, wanted)
}

/// An app's secret or `admin_token`: it must be easy to type into a header. `rules` decides whether it may be empty.
pub(super) fn secret(text: &str) -> Result<String, String> {
    match text.len() {
        1..SHORTEST_SECRET => Err(short_secret()),
        _ => keep_if(
            text.bytes().all(|b| b.is_ascii_graphic()),
            text,
            "must be of visible ASCII characters, without spaces",
        ),
    }
}

/// Why a secret that is too short is refused.
pub(super) fn short_secret() -> String {
    format!("must have {SHORTEST_SECRET} characters or more, like the output of `openssl rand -hex 20`")
}

/// A password of the database: anything that configuration.php can hold.
pub(super) fn password(text: &str) -> Result<String, String> {
    keep_if(!text.contains('\0'), text, "cannot hold the character U+0000")
}

/// A text that gets into messages and names of files: anything on one line.
pub(super) fn plain(text: &str) -> Result<String, String> {
    let fits = !text.contains(char::is_control);
    keep_if(fits, text, "must be a text without control characters")
}

/// A session handler of Joomla: `database`, `filesystem`, `redis`, …; extensions may add others.
pub(super) fn handler(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let wanted = "must be the name of a session handler, like \"database\" or \"redis\"";
    keep_if(text.bytes().all(plain), text, wanted)
}

/// The address of the site, with or without a path.
pub(super) fn live_site(text: &str) -> Result<String, String> {
    let wanted = "must be empty or the site's address, like \"https://example.org\"";
    if text.is_empty() {
        return Ok(String::new());
    }
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(wanted.into());
    }
    match Origin::of_address(text) {
        Ok(_) => plain(text),
        Err(why) => Err(format!("{wanted}: {why}")),
    }
}

/// The prefix of the site's tables, for which `#__` stands.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let fits = text.len() <= LONGEST_IDENTIFIER && text.bytes().all(in_identifier);
    keep_if(
        fits,
        text,
        format!("must be up to {LONGEST_IDENTIFIER} letters, digits and `_`"),
    )
}

/// How the connection to the database is encrypted.
pub(super) fn tls(text: &str) -> Result<String, String> {
    let fits = matches!(text, "" | "off" | "on" | "verify");
    keep_if(fits, text, "must be \"off\", \"on\", \"verify\" or \"\"")
}

fn in_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A table or a column. It gets into SQL between backticks, where it must not need escaping.
pub(super) fn identifier(text: &str) -> Result<String, String> {
    let fits = (1..=LONGEST_IDENTIFIER).contains(&text.len()) && text.bytes().all(in_identifier);
    let wanted = format!("must be 1 to {LONGEST_IDENTIFIER} letters, digits and `_`");
    keep_if(fits, text, wanted)
}

/// A column that a table may lack.
pub(super) fn column(text: &str) -> Result<String, String> {
    match text {
        "" => Ok(String::new()),
        _ => identifier(text),
    }
}

/// An item type: a component and a word of its own, as in Joomla's contexts.
pub(super) fn item(text: &str) -> Result<String, String> {
    match text.strip_prefix("com_").and_then(|rest| rest.split_once('.')) {
        Some((_, "category")) => Err("cannot be a component's categories: they have channels already".into()),
        Some(("content", "article")) => Err("cannot be com_content.article: articles have channels already".into()),
        Some((component, word)) if identifier(component).is_ok() && identifier(word).is_ok() => Ok(text.to_owned()),
        _ => Err("must be like com_example.item: letters, digits and `_` on both sides of the dot".into()),
    }
}

/// The name of a webhook event.
pub(super) fn event(text: &str) -> Result<String, String> {
    if WEBHOOK_EVENTS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(match nearest(text, WEBHOOK_EVENTS) {
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

/// The known name that was probably meant: at most a third of its letters differ.
pub(super) fn nearest<S: AsRef<str>>(wrong: &str, known: impl IntoIterator<Item = S>) -> Option<S> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name.as_ref()), name))
        .filter(|(distance, name)| *distance <= name.as_ref().len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
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
    fn a_pattern_must_name_private_or_presence_channels() {
        let longest = format!("private-{}", "x".repeat(LONGEST_CHANNEL - 8));
        for good in [
            "private-staff-*",
            "presence-*",
            "private-cache-a*b*",
            "private-",
            &longest,
        ] {
            assert_eq!(pattern(good).as_deref(), Ok(good));
        }
        let longer = format!("{longest}x");
        for bad in [
            "",
            "*",
            "private",
            "cache-private-a",
            "private-encrypted-*",
            "private-a b",
            "private-ä",
            "private-#",
            &longer,
        ] {
            assert!(pattern(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_identifier_needs_no_escaping() {
        let longest = "a".repeat(LONGEST_IDENTIFIER);
        for good in ["id", "Publish_Up2", "1", &longest] {
            assert_eq!(identifier(good).as_deref(), Ok(good));
            assert_eq!(column(good).as_deref(), Ok(good));
            assert_eq!(prefix(good).as_deref(), Ok(good));
        }
        let longer = "a".repeat(LONGEST_IDENTIFIER + 1);
        for bad in ["a`b", "a b", "a.b", "a-b", "a'", "ä", "a\0", "#__a", &longer] {
            assert!(identifier(bad).is_err(), "{bad:?}");
            assert!(column(bad).is_err() && prefix(bad).is_err(), "{bad:?}");
        }
        assert!(identifier("").is_err());
        assert_eq!((column(""), prefix("")), (Ok(String::new()), Ok(String::new())));
    }

    #[test]
    fn an_item_is_a_component_and_a_word() {
        for good in [
            "com_example.item",
            "com_a_b2.Some_Thing",
            "com_content.news",
            "com_x.article",
        ] {
            assert_eq!(item(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "com_example",
            "com_.x",
            "com_x.",
            "example.item",
            "com_x.y.z",
            "com_x.y-z",
            "com_x.y z",
            "com_content.article",
            "com_content.category",
            "com_x.category",
        ] {
            assert!(item(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_live_site_is_an_address_with_or_without_a_path() {
        for good in [
            "",
            "https://example.org",
            "http://example.org:8080/joomla/",
            "https://[::1]/",
        ] {
            assert_eq!(live_site(good).as_deref(), Ok(good));
        }
        for bad in [
            "example.org",
            "ftp://example.org",
            "https://",
            "https:///joomla",
            "https://a b/",
            "https://example.org/\n",
            "https://me:hunter2@example.org/",
        ] {
            let why = live_site(bad).expect_err(bad);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn the_other_texts_are_checked_by_their_meaning() {
        for good in ["", "it's \\ \"any\" pässword\n"] {
            assert_eq!(password(good).as_deref(), Ok(good));
        }
        assert!(password("a\0").is_err());
        assert_eq!(plain("/srv/my site").as_deref(), Ok("/srv/my site"));
        assert!(plain("a\nb").is_err() && plain("a\0").is_err());
        assert!(handler("").is_ok() && handler("database").is_ok() && handler("Redis!").is_err());
        for good in ["", "off", "on", "verify"] {
            assert_eq!(tls(good).as_deref(), Ok(good));
        }
        assert!(tls("true").is_err());
        let longest_refused = "x".repeat(SHORTEST_SECRET - 1);
        assert!(
            secret("").is_ok() && secret(&longest_refused).is_err() && secret(&format!("{longest_refused}x")).is_ok()
        );
        for bad in ["a b", "ä"] {
            assert!(secret(&bad.repeat(SHORTEST_SECRET)).is_err(), "{bad}");
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

    #[test]
    fn a_name_is_suggested_only_for_a_similar_one() {
        let known = ["ping_interval", "ping_timeout", "enabled"];
        assert_eq!(nearest("ping_interal", known), Some("ping_interval"));
        assert_eq!(nearest("pingtimeout", known), Some("ping_timeout"));
        assert_eq!(nearest("colour", known), None);
    }
}
