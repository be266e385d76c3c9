//! Signatures of the Pusher protocol: HMAC-SHA256 with the app's secret, in lower-case hexadecimal. The callers decide
//! which text is signed. A message comes in parts, so that no caller has to join them.

use std::fmt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::time::Now;

/// The signature of a message. The message is the concatenation of the parts.
pub fn hmac_hex(secret: &str, message: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    for part in message {
        mac.update(part);
    }
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// Whether `given` is the signature of the message. The comparison takes the same time for all wrong signatures of the
/// right length. With an empty secret no signature is valid, because this secret is public.
pub fn matches(secret: &str, message: &[&[u8]], given: &str) -> bool {
    !secret.is_empty() && bool::from(hmac_hex(secret, message).as_bytes().ct_eq(given.as_bytes()))
}

/// The same, also with the former secret while it is valid. Both secrets are always tried.
pub fn matches_either(secret: &str, former: Option<&str>, message: &[&[u8]], given: &str) -> bool {
    let by_former = former.is_some_and(|former| matches(former, message, given));
    matches(secret, message, given) | by_former
}

/// A secret that was replaced. It is never displayed.
#[derive(Clone, PartialEq)]
pub struct FormerSecret {
    /// The secret.
    pub secret: String,
    /// The first Unix second in which it is not valid any more.
    pub until: u64,
}

impl FormerSecret {
    /// The secret, while it is valid.
    pub fn at(&self, now: Now) -> Option<&str> {
        (now.unix_ms / 1000 < self.until).then_some(&self.secret)
    }
}

impl fmt::Debug for FormerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormerSecret")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the worked examples in Pusher's documentation.
    const SECRET: &str = "7ad3773142a6692b25b8";

    #[test]
    fn the_worked_examples_of_the_documentation_hold() {
        for (message, signature) in [
            (
                "1234.1234:private-foobar",
                "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
            ),
            (
                r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#,
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            ),
            (
                r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#,
                "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
            ),
        ] {
            assert_eq!(hmac_hex(SECRET, &[message.as_bytes()]), signature, "{message}");
            assert!(matches(SECRET, &[message.as_bytes()], signature), "{message}");
        }
    }

    #[test]
    fn the_first_cases_of_rfc_4231_hold() {
        let key = "\x0b".repeat(20);
        assert_eq!(
            hmac_hex(&key, &[b"Hi There"]),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hmac_hex("Jefe", &[b"what do ya want ", b"", b"for nothing?"]),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_wrong_signature_does_not_match() {
        let message: &[&[u8]] = &[b"1234.1234", b":", b"private-foobar"];
        let right = hmac_hex(SECRET, message);
        assert!(matches(SECRET, message, &right));
        for wrong in [
            String::new(),
            right.to_uppercase(),
            format!("{right}0"),
            format!(" {right}"),
            right[..63].to_owned(),
            format!("{}0", &right[..63]),
            "0".repeat(64),
        ] {
            assert!(!matches(SECRET, message, &wrong), "{wrong:?}");
        }
        assert!(!matches("another", message, &right));
        assert!(!matches("", message, &hmac_hex("", message)), "an empty secret");
        for (secret, former, is_right) in [
            (SECRET, None, true),
            (SECRET, Some("another"), true),
            ("another", Some(SECRET), true),
            ("another", None, false),
            ("another", Some("a third"), false),
            ("", Some(""), false),
        ] {
            assert_eq!(
                matches_either(secret, former, message, &right),
                is_right,
                "{secret} {former:?}"
            );
        }
    }
}
