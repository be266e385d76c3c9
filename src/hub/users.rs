//! The signed-in users of an app: their connections and their watchers (pusher.md section 7).

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::channel::{Hears, Subscriber};
use crate::id::ConnectionId;
use crate::protocol::room::give_back;

/// All signed-in users.
#[derive(Debug, Default)]
pub struct Users {
    online: HashMap<Box<str>, Vec<Subscriber>>,
    watchers: HashMap<Box<str>, BTreeSet<ConnectionId>>,
}

impl Users {
    /// The number of signed-in users.
    pub fn online(&self) -> usize {
        self.online.len()
    }

    /// The ids of the signed-in users.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.online.keys().map(|id| &**id)
    }

    /// The connections that are signed in as a user.
    pub fn connections(&self, user: &str) -> &[Subscriber] {
        self.online.get(user).map_or(&[], Vec::as_slice)
    }

    /// Signs a connection in. Returns its index in the user's list; 0: this is the user's first connection.
    pub fn sign_in(&mut self, user: &str, id: ConnectionId, hears: Hears) -> u32 {
        let connections = self.online.entry(user.into()).or_default();
        connections.push(Subscriber {
            id,
            back: 0,
            hears,
            by_rule: false,
        });
        connections.len() as u32 - 1
    }

    /// Signs out the connection at `place` of the user's list. The last connection of the list moves to `place`, and is
    /// returned if it is another one.
    pub fn sign_out(&mut self, user: &str, place: u32) -> Option<ConnectionId> {
        let connections = self.online.get_mut(user)?;
        connections.swap_remove(place as usize);
        let moved = connections.get(place as usize).map(|moved| moved.id);
        if connections.is_empty() {
            self.online.remove(user);
            give_back(&mut self.online);
        }
        moved
    }

    /// The connection at `place`.
    pub fn connection_mut(&mut self, user: &str, place: u32) -> Option<&mut Subscriber> {
        self.online.get_mut(user)?.get_mut(place as usize)
    }

    /// Lets a connection watch a user.
    pub fn watch(&mut self, user: &str, id: ConnectionId) {
        self.watchers.entry(user.into()).or_default().insert(id);
    }

    /// Stops watching.
    pub fn unwatch(&mut self, user: &str, id: ConnectionId) {
        if let Some(watchers) = self.watchers.get_mut(user) {
            watchers.remove(&id);
            if watchers.is_empty() {
                self.watchers.remove(user);
                give_back(&mut self.watchers);
            }
        }
    }

    /// The connections that watch a user.
    pub fn watchers(&self, user: &str) -> impl Iterator<Item = ConnectionId> {
        self.watchers.get(user).into_iter().flatten().copied()
    }
}

/// The users of a watchlist, sorted into online and offline: the data of the first `watchlist_events`.
pub(super) fn status(watched: &[Box<str>], is_online: impl Fn(&str) -> bool) -> Vec<WatchlistEvent<'_>> {
    let (online, offline): (Vec<&str>, Vec<&str>) =
        watched.iter().map(|user| &**user).partition(|user| is_online(user));
    let both = [("online", online), ("offline", offline)];
    let events = both.into_iter().filter(|(_, user_ids)| !user_ids.is_empty());
    events
        .map(|(name, user_ids)| WatchlistEvent { name, user_ids })
        .collect()
}

/// Users who went `online` or `offline`: an entry of `pusher_internal:watchlist_events`.
#[derive(Debug, Serialize)]
pub struct WatchlistEvent<'a> {
    pub(super) name: &'static str,
    pub(super) user_ids: Vec<&'a str>,
}
