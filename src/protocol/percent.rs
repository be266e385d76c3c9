//! Percent-encoding in paths, queries and cookies.

use std::borrow::Cow;

/// Decodes `%41`. `None`: a percent sign is not followed by two hexadecimal digits, or the result is not UTF-8.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, behind @ ..] = rest else { return None };
        decoded.push(digit(*high)? << 4 | digit(*low)?);
        rest = behind;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// The path of a request as it came, when [`unreserved`] changed it. It is an extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsSent(pub String);

/// Decodes the unreserved characters of a path: `%61` and `a` are the same there (RFC 3986 section 6.2.2.2). Everything
/// else stays encoded: `%2F` is no slash. `None`: the path has no encoded unreserved character, or a percent sign is
/// not followed by two hexadecimal digits. Such a path was not encoded at all, so nothing is decoded: a `%` in front of
/// a decoded character would give it another meaning.
pub fn unreserved(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut parts = path.split('%');
    decoded.push_str(parts.next()?);
    for part in parts {
        let [high, low, ..] = part.as_bytes() else { return None };
        let byte = digit(*high)? << 4 | digit(*low)?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            decoded.push(char::from(byte));
            decoded.push_str(&part[2..]);
        } else {
            decoded.push('%');
            decoded.push_str(part);
        }
    }
    (decoded.len() < path.len()).then_some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    // A digit is less than 16, so it fits.
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_decoded_once_and_strictly() {
        for (text, decoded) in [
            ("", Some("")),
            ("a+b", Some("a+b")),
            ("%41%2f%2F", Some("A//")),
            ("%2541", Some("%41")),
            ("%C3%A4", Some("ä")),
            ("ä", Some("ä")),
            ("%00", Some("\0")),
            ("%", None),
            ("%4", None),
            ("%4g", None),
            ("%+1", None),
            ("%C3", None),
            ("%ff", None),
            ("%ED%A0%80", None),
        ] {
            assert_eq!(decode(text).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn only_unreserved_characters_of_a_path_are_decoded() {
        for (path, decoded) in [
            ("/%61pp/k%65y%2D%2e%5F%7E%30", "/app/key-._~0"),
            ("/%2541%41", "/%2541A"),
            ("/%41%2F%00%C3%A4%20", "/A%2F%00%C3%A4%20"),
        ] {
            assert_eq!(unreserved(path).as_deref(), Some(decoded), "{path}");
        }
        for path in [
            "/",
            "",
            "/app/key",
            "/%2F%2f%25%3F%23%40",
            "/%C3%A4",
            "/%",
            "/%4",
            "/%zz",
            "/%ä%61",
        ] {
            assert_eq!(unreserved(path), None, "{path}");
        }
        // Nothing is decoded twice, and half an encoding spoils all of it.
        for path in ["/%61%", "/%61%6", "/%%361", "/%61%zz", "/%61%+1"] {
            assert_eq!(unreserved(path), None, "{path}");
        }
    }
}
