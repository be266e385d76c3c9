//! The WebSockets of each session of the site, for the limit of a session in a cluster. The other processes know a
//! session by a hash only, whose key is derived from the site's secret.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::id::ConnectionId;
use crate::joomla::site::Client;
use crate::protocol::room::give_back;
use crate::protocol::shared::Holding;
use crate::protocol::slots::Slots;
use crate::store::SessionId;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Crowds {
    /// The session of each connection.
    sessions: Slots<u64>,
    /// The number of connections of each session.
    counts: HashMap<u64, u32>,
}

impl Crowds {
    /// The hash by which all processes of the site know a session.
    pub(super) fn hash(secret: &str, session: &SessionId, client: Client) -> u64 {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
        mac.update(match client {
            Client::Site => b"jsocketd session of the site\0".as_slice(),
            Client::Administrator => b"jsocketd session of the administrator\0".as_slice(),
        });
        mac.update(session.expose().as_bytes());
        let hash = mac.finalize().into_bytes();
        hash.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
    }

    /// How many connections of this process have the session.
    pub(super) fn count(&self, hash: u64) -> u32 {
        self.counts.get(&hash).copied().unwrap_or(0)
    }

    /// A connection of the session has come. Returns what the process holds now.
    pub(super) fn enter(&mut self, id: ConnectionId, hash: u64) -> Holding {
        let count = self.counts.entry(hash).or_default();
        *count += 1;
        let sockets = *count;
        self.sessions.insert(id, hash);
        Holding::Session { hash, sockets }
    }

    /// The connection is closed. Returns what the process holds now, if the connection had a session.
    pub(super) fn leave(&mut self, id: ConnectionId) -> Option<Holding> {
        let hash = self.sessions.remove(id)?;
        let count = self.counts.get_mut(&hash)?;
        *count -= 1;
        let sockets = *count;
        if sockets == 0 {
            self.counts.remove(&hash);
            give_back(&mut self.counts);
        }
        Some(Holding::Session { hash, sockets })
    }

    /// All sessions with their numbers of connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.counts.iter().map(|(hash, count)| (*hash, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(holding: Holding) -> u32 {
        match holding {
            Holding::Session { sockets, .. } => sockets,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_session_has_its_own_count() {
        let mut crowds = Crowds::default();
        let id = |slot| ConnectionId::new(slot, 1);
        assert_eq!(sockets(crowds.enter(id(1), 7)), 1);
        assert_eq!(sockets(crowds.enter(id(2), 7)), 2);
        assert_eq!(sockets(crowds.enter(id(3), 8)), 1);
        assert_eq!(crowds.leave(id(2)).map(sockets), Some(1));
        assert_eq!(crowds.leave(id(2)).map(sockets), None);
        assert_eq!((crowds.count(7), crowds.count(8), crowds.count(9)), (1, 1, 0));
        assert_eq!(crowds.leave(id(1)).map(sockets), Some(0));
        assert_eq!(crowds.iter().collect::<Vec<_>>(), [(8, 1)]);
    }

    #[test]
    fn a_hash_depends_on_the_secret_the_session_and_the_application() {
        let session = |text: &str| SessionId::parse(text).unwrap();
        let (a, b) = (session(&"a".repeat(32)), session(&"b".repeat(32)));
        let all = [
            Crowds::hash("secret", &a, Client::Site),
            Crowds::hash("secret", &b, Client::Site),
            Crowds::hash("secret", &a, Client::Administrator),
            Crowds::hash("other", &a, Client::Site),
        ];
        for (n, hash) in all.iter().enumerate() {
            assert!(!all[..n].contains(hash));
        }
        assert_eq!(all[0], Crowds::hash("secret", &a, Client::Site));
    }
}
