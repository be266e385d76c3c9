//! The ids of members of presence channels if real ids are not shown. A user's pseudonym is the same on all connections
//! in a channel, and different in every other channel. Without the key the pseudonym reveals nothing about the user.
//! User ids are small numbers, so a plain hash could be reversed by trying all of them.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::protocol::Member;
use crate::store::UserRow;

/// The bytes of the hash that are kept: a collision in a channel becomes likely only at 2^60 members. The number is a
/// multiple of five, which base32 writes without padding.
const KEPT: usize = 15;

/// A user as a member of a presence channel: with the real id and names, or with a pseudonym.
pub fn member(key: &[u8], channel: &str, user: &UserRow, names: bool) -> Member {
    if names {
        let info = json!({"name": user.name, "username": user.username});
        return Member {
            user_id: user.id.to_string().into(),
            user_info: serde_json::value::to_raw_value(&info).ok(),
        };
    }
    Member {
        user_id: pseudonym(key, channel, user.id).into(),
        user_info: None,
    }
}

/// The pseudonym of a user in a channel: 24 lower-case letters and digits. It lasts as long as the key. The key must be
/// secret. It is new at each start of a process that is alone; processes of a cluster derive theirs from the site's
/// secret, because they must show the same. Different forms of a channel (`presence-x`, `presence-cache-x`) are
/// different channels.
fn pseudonym(key: &[u8], channel: &str, user_id: u32) -> String {
    debug_assert!(key.len() >= 16, "a short key can be found by trial");
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    // The number has a fixed length, so no other channel and number give the same bytes.
    mac.update(b"jsocketd presence\0");
    mac.update(&user_id.to_be_bytes());
    mac.update(channel.as_bytes());
    let hash = mac.finalize().into_bytes();
    BASE32_NOPAD.encode(&hash[..KEPT]).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn a_pseudonym_depends_on_the_key_the_channel_and_the_user_only() {
        let one = pseudonym(KEY, "presence-a", 42);
        assert_eq!(one, pseudonym(KEY, "presence-a", 42));
        for other in [
            pseudonym(KEY, "presence-a", 43),
            pseudonym(KEY, "presence-b", 42),
            pseudonym(KEY, "presence-cache-a", 42),
            pseudonym(b"another key of enough bytes", "presence-a", 42),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_pseudonym_is_the_one_that_openssl_computes() {
        // printf 'jsocketd presence\0\0\0\0\052presence-a' | openssl dgst -sha256 -hmac KEY -binary | head -c15 |
        // base32
        assert_eq!(pseudonym(KEY, "presence-a", 42), "pdoxp2uqjtjlxmp7erg37pkb");
    }

    #[test]
    fn pseudonyms_are_distinct_and_have_24_base32_digits() {
        let all: HashSet<String> = (0..10_000).map(|user| pseudonym(KEY, "presence-a", user)).collect();
        assert_eq!(all.len(), 10_000);
        for name in all {
            assert_eq!(name.len(), 24);
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)),
                "{name}"
            );
        }
    }
}
