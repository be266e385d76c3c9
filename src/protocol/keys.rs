//! What the randomness of a start is used for: one key for each use. Some of the values are shown to everybody, and
//! none of them says anything of the seed or of another one, because each is an HMAC of its own label.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What the operating system's randomness gave at start. Secret, and used for nothing but [`Keys`].
pub type Seed = [u8; 32];

/// See the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// What tells the positions of this run of the server from those of others. Shown.
    pub start: u32,
    /// What tells this process's heartbeat in the state table from those of others. Shown.
    pub process: u32,
    /// What the generator of socket ids begins with. Secret.
    pub sockets: [u8; 32],
    /// What keys the pseudonyms of presence channels. Secret.
    pub pseudonyms: [u8; 32],
}

impl Keys {
    /// The keys of a server that began with this seed.
    pub fn of(seed: &Seed) -> Self {
        Self {
            start: number(derived(seed, "positions")),
            process: number(derived(seed, "process")),
            sockets: derived(seed, "socket ids"),
            pseudonyms: derived(seed, "pseudonyms"),
        }
    }

    /// The keys that may stand in a trace of that server: with what is shown anyway, and clients send back, and with
    /// other socket ids and pseudonyms, because those of a running server are nobody else's business.
    pub fn for_trace(seed: &Seed) -> Self {
        let Self { start, process, .. } = Self::of(seed);
        Self {
            start,
            process,
            ..Self::of(&derived(seed, "trace"))
        }
    }
}

fn derived(seed: &Seed, label: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(seed).expect("HMAC takes keys of every length");
    mac.update(b"jsocketd ");
    mac.update(label.as_bytes());
    mac.finalize().into_bytes().into()
}

fn number(key: [u8; 32]) -> u32 {
    u32::from_le_bytes([key[0], key[1], key[2], key[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bytes of a seed that has each byte once.
    fn seed() -> Seed {
        std::array::from_fn(|n| 0x40 + n as u8)
    }

    #[test]
    fn what_is_shown_is_no_part_of_the_seed_or_of_a_secret() {
        let keys = Keys::of(&seed());
        let secrets = [seed(), keys.sockets, keys.pseudonyms];
        for shown in [keys.start, keys.process] {
            for secret in &secrets {
                let parts = secret.windows(4).map(|part| <[u8; 4]>::try_from(part).unwrap());
                assert!(
                    parts
                        .into_iter()
                        .all(|part| part != shown.to_le_bytes() && part != shown.to_be_bytes())
                );
            }
        }
    }

    #[test]
    fn every_use_has_a_key_of_its_own_and_so_has_every_seed() {
        let mut keys = Vec::new();
        for seed in [seed(), [0; 32]] {
            keys.extend([
                seed,
                derived(&seed, "positions"),
                derived(&seed, "process"),
                derived(&seed, "trace"),
            ]);
            for of in [Keys::of(&seed), Keys::for_trace(&seed)] {
                keys.extend([of.sockets, of.pseudonyms]);
            }
            assert_eq!(Keys::of(&seed).start, Keys::for_trace(&seed).start);
            assert_eq!(Keys::of(&seed).process, Keys::for_trace(&seed).process);
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
