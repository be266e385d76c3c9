//! The keys that are derived from the random seed of a start, one key for each use. Clients can see some of the keys. A
//! key reveals nothing about the seed or about another key, because each key is an HMAC of its own label.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The random bytes from the operating system at the start. The seed is secret; it is used only for [`Keys`].
pub type Seed = [u8; 32];

/// See the top of this file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// Distinguishes the positions of this run of the server from those of other runs. Public.
    pub start: u32,
    /// Distinguishes this process's heartbeat in the state table from those of other processes. Public.
    pub process: u32,
    /// The seed of the generator of socket ids. Secret.
    pub sockets: [u8; 32],
    /// The key of the pseudonyms on presence channels. Secret.
    pub pseudonyms: [u8; 32],
}

impl Keys {
    /// The keys of a server with this seed.
    pub fn of(seed: &Seed) -> Self {
        Self {
            start: number(derived(seed, "positions")),
            process: number(derived(seed, "process")),
            sockets: derived(seed, "socket ids"),
            pseudonyms: derived(seed, "pseudonyms"),
        }
    }

    /// The same keys, but pseudonyms are those of all processes that serve the site with this secret.
    #[must_use]
    pub fn of_site(self, secret: &str) -> Self {
        Self {
            pseudonyms: derived(secret.as_bytes(), "pseudonyms of a cluster"),
            ..self
        }
    }

    /// The keys for a trace of that server. The public keys are the same, because clients send them back. The keys of
    /// socket ids and pseudonyms are different, because those of a running server are secret.
    pub fn for_trace(seed: &Seed) -> Self {
        let Self { start, process, .. } = Self::of(seed);
        Self {
            start,
            process,
            ..Self::of(&derived(seed, "trace"))
        }
    }
}

/// The seed of what this process draws for its cluster. Secret.
pub fn of_cluster(seed: &Seed) -> Seed {
    derived(seed, "cluster")
}

fn derived(seed: &[u8], label: &str) -> [u8; 32] {
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

    /// A seed in which no byte occurs twice.
    fn seed() -> Seed {
        std::array::from_fn(|n| 0x40 + n as u8)
    }

    #[test]
    fn public_keys_are_no_part_of_the_seed_or_of_a_secret_key() {
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
    fn every_use_and_every_seed_has_its_own_key() {
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

    #[test]
    fn processes_of_a_site_have_the_same_pseudonyms_and_nothing_else() {
        let (a, b) = (
            Keys::of(&seed()).of_site("secret"),
            Keys::of(&[0; 32]).of_site("secret"),
        );
        assert_eq!(a.pseudonyms, b.pseudonyms);
        assert_ne!((a.sockets, a.start, a.process), (b.sockets, b.start, b.process));
        assert_ne!(a.pseudonyms, Keys::of(&seed()).of_site("other").pseudonyms);
        assert_ne!(a.pseudonyms, Keys::of(&seed()).pseudonyms);
        assert_ne!(of_cluster(&seed()), seed());
    }
}
