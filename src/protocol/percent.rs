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
}
