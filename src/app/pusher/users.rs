//! Signed-in users of an app: their connections, and who watches whom (pusher.md section 7).

use std::collections::HashMap;

use serde::Serialize;

use super::app::{Hears, Subscriber};
use crate::id::ConnectionId;

/// Everybody who is signed in.
#[derive(Debug, Default)]
pub struct Users {
    online: HashMap<Box<str>, Vec<Subscriber>>,
    watchers: HashMap<Box<str>, Vec<ConnectionId>>,
}

impl Users {
    /// The connections that are signed in as a user.
    pub fn connections(&self, user: &str) -> &[Subscriber] {
        self.online.get(user).map_or(&[], Vec::as_slice)
    }

    /// Signs a connection in; whether the user was not there before.
    pub fn sign_in(&mut self, user: &str, id: ConnectionId, hears: Hears) -> bool {
        let connections = self.online.entry(user.into()).or_default();
        connections.push(Subscriber {
            id,
            back: 0,
            hears,
            by_rule: false,
        });
        connections.len() == 1
    }

    /// Signs a connection out; whether it was the user's last.
    pub fn sign_out(&mut self, user: &str, id: ConnectionId) -> bool {
        let Some(connections) = self.online.get_mut(user) else {
            return false;
        };
        connections.retain(|connection| connection.id != id);
        let last = connections.is_empty();
        if last {
            self.online.remove(user);
        }
        last
    }

    /// Sets how a connection gets its user's events.
    pub fn set_hears(&mut self, user: &str, id: ConnectionId, hears: Hears) {
        let connections = self.online.get_mut(user).map_or(&mut [][..], Vec::as_mut_slice);
        if let Some(own) = connections.iter_mut().find(|own| own.id == id) {
            own.hears = hears;
        }
    }

    /// Lets a connection watch a user.
    pub fn watch(&mut self, user: &str, id: ConnectionId) {
        self.watchers.entry(user.into()).or_default().push(id);
    }

    /// Ends it.
    pub fn unwatch(&mut self, user: &str, id: ConnectionId) {
        if let Some(watchers) = self.watchers.get_mut(user) {
            watchers.retain(|watcher| *watcher != id);
            if watchers.is_empty() {
                self.watchers.remove(user);
            }
        }
    }

    /// Who watches a user.
    pub fn watchers(&self, user: &str) -> &[ConnectionId] {
        self.watchers.get(user).map_or(&[], Vec::as_slice)
    }

    /// The watched ones of a list, by whether they are online: the data of a first `watchlist_events`.
    pub fn status<'a>(&self, watched: &'a [Box<str>]) -> WatchlistEvents<'a> {
        let (online, offline): (Vec<&str>, Vec<&str>) = watched
            .iter()
            .map(|user| &**user)
            .partition(|user| self.online.contains_key(*user));
        let both = [("online", online), ("offline", offline)];
        let events = both.into_iter().filter(|(_, user_ids)| !user_ids.is_empty());
        WatchlistEvents {
            events: events
                .map(|(name, user_ids)| WatchlistEvent { name, user_ids })
                .collect(),
        }
    }
}

/// The data of `pusher_internal:watchlist_events`.
#[derive(Debug, Serialize)]
pub struct WatchlistEvents<'a> {
    events: Vec<WatchlistEvent<'a>>,
}

#[derive(Debug, Serialize)]
struct WatchlistEvent<'a> {
    name: &'static str,
    user_ids: Vec<&'a str>,
}

impl<'a> WatchlistEvents<'a> {
    /// One user came (`online`) or went (`offline`).
    pub fn change(name: &'static str, user: &'a str) -> Self {
        Self {
            events: vec![WatchlistEvent {
                name,
                user_ids: vec![user],
            }],
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
