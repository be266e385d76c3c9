//! What the clients and the HTTP API see of an app: what this process holds, and in a cluster what the others hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;

use super::channel::{Channel, Occupancy};
use super::notices::Notices;
use super::presence;
use super::replica::Replica;
use super::roster::Roster;
use crate::protocol::channel::{ChannelName, Kind};

/// See the top of this file.
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a> {
    roster: &'a Roster,
    /// What all processes hold; `None`: this process is alone.
    replica: Option<&'a Replica>,
}

impl<'a> Visible<'a> {
    pub(super) fn of(roster: &'a Roster, notices: &'a Notices) -> Self {
        Self {
            roster,
            replica: notices.replica.as_deref(),
        }
    }

    /// The channels that have subscribers and this prefix, sorted by name, each with its occupancy.
    pub fn occupied(&self, prefix: &'a str) -> Vec<(&'a str, Occupancy)> {
        let own = self.roster.occupied(prefix);
        let Some(replica) = self.replica else {
            return own.collect();
        };
        let own = own.map(|(channel, _)| channel);
        let names: BTreeSet<&str> = own.chain(replica.channels_elsewhere(prefix)).collect();
        let occupancy = |name| Some((name, self.occupancy(name)?));
        names.into_iter().filter_map(occupancy).collect()
    }

    /// The occupancy of a channel; `None`: it has no subscribers.
    pub fn occupancy(&self, channel: &str) -> Option<Occupancy> {
        let own = self.roster.channel(channel);
        let Some(replica) = self.replica else {
            return own.map(Channel::occupancy);
        };
        let subscriptions = own.map_or(0, |own| own.subscribers.len()) + replica.subscriptions(channel).elsewhere;
        let is_presence = || ChannelName::parse(channel).is_ok_and(|name| name.kind() == Kind::Presence);
        (subscriptions > 0).then(|| Occupancy {
            subscriptions,
            users: is_presence().then(|| self.users(channel, own)),
        })
    }

    /// The distinct users of a presence channel, sorted.
    pub fn members(&self, channel: &str) -> Vec<&'a str> {
        let own = self.roster.members(channel);
        let Some(replica) = self.replica else {
            return own.collect();
        };
        let others = replica.members_elsewhere(channel).map(|(user_id, _)| user_id);
        let all: BTreeSet<&str> = own.chain(others).collect();
        all.into_iter().collect()
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.roster.connections() + self.replica.map_or(0, Replica::connections_elsewhere)
    }

    /// The WebSockets that a session of the site has on the other processes. `hash`: the keyed hash of the session's
    /// id.
    pub fn sockets_elsewhere(&self, hash: u64) -> usize {
        self.replica.map_or(0, |replica| replica.sockets_elsewhere(hash))
    }

    /// What this process holds.
    pub(super) fn here(&self) -> &'a Roster {
        self.roster
    }

    /// The number of distinct users of a presence channel. `own`: the channel, if it has subscribers here.
    pub(super) fn users(&self, channel: &str, own: Option<&Channel>) -> usize {
        let is_own = |user_id: &str| own.is_some_and(|own| own.members.has(user_id));
        let others = self.replica.map_or(0, |replica| {
            let others = replica.members_elsewhere(channel);
            others.filter(|(user_id, _)| !is_own(user_id)).count()
        });
        own.map_or(0, |own| own.members.len()) + others
    }

    /// Whether a user is a member of a presence channel.
    pub(super) fn is_member(&self, channel: &str, own: Option<&Channel>, user_id: &str) -> bool {
        own.is_some_and(|own| own.members.has(user_id))
            || self
                .replica
                .is_some_and(|replica| replica.is_member_elsewhere(channel, user_id))
    }

    /// Whether a user is signed in.
    pub(super) fn is_online(&self, user_id: &str) -> bool {
        !self.roster.users.connections(user_id).is_empty()
            || self.replica.is_some_and(|replica| replica.is_online_elsewhere(user_id))
    }
}

/// The data of `subscription_succeeded`: all members of a presence channel.
pub(super) fn roll<'a>(channel: &'a Channel, replica: &'a Replica) -> impl Serialize + 'a {
    let mut hash: BTreeMap<&str, Option<&RawValue>> = replica.members_elsewhere(&channel.name).collect();
    hash.extend(channel.members.iter());
    presence::roll(hash.keys().copied().collect(), hash)
}
