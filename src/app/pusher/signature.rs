//! Signatures of the Pusher protocol: HMAC-SHA256 with the app's secret, in lower-case hex, compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The signature of the parts, one behind the other.
pub fn hmac_hex(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// Whether `given` is the signature of the parts. Takes the same time for every wrong one of the right length.
pub fn matches(secret: &str, parts: &[&[u8]], given: &str) -> bool {
    hmac_hex(secret, parts).as_bytes().ct_eq(given.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked examples of the Pusher documentation ("Auth signatures").
    #[test]
    fn the_documentation_s_examples_come_out() {
        let secret = "7ad3773142a6692b25b8";
        assert_eq!(
            hmac_hex(secret, &[b"1234.1234:private-foobar"]),
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        assert_eq!(
            hmac_hex(
                secret,
                &[
                    b"1234.1234:",
                    b"presence-foobar",
                    br#":{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#
                ]
            ),
            "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"
        );
    }
}
