//! The connections, channels and signed-in users of an app. They are linked by index in both directions: a subscription
//! stores its index in the channel's list, and the list's entry stores its index in the connection's list. So the cost
//! of a disconnect depends only on the number of the connection's channels, and a fan-out is one walk over a list.
//! Nothing here sends a frame.

use std::collections::HashMap;
use std::slice;

use serde::{Deserialize, Serialize};
use slab::Slab;

use super::channel::{Channel, Hears, Occupancy, Subscriber};
use super::session::{Replay, Session, Subscription};
use super::users::Users;
use crate::id::ConnectionId;
use crate::protocol::channel::{ChannelName, SERVER_TO_USER};
use crate::protocol::position::Stream;
use crate::protocol::room::give_back;
use crate::protocol::slots::Slots;
use crate::protocol::{Member, Ruling, SocketId};

/// The bytes of a subscription in both lists.
const SUBSCRIPTION: usize = size_of::<Subscription>() + size_of::<Subscriber>();

/// The bytes of a channel besides its name: its entry in the index, and the overhead of the allocator. The name is
/// stored twice.
const CHANNEL: usize = size_of::<Channel>() + 128;

/// See the top of this file.
#[derive(Debug, Default)]
pub struct Roster {
    /// By name; the values are indices of `channels`.
    pub(super) names: HashMap<Box<str>, usize>,
    pub(super) channels: Slab<Channel>,
    pub(super) sessions: Slots<Box<Session>>,
    /// By socket id: a publisher may exclude its own connection from an event.
    pub(super) sockets: HashMap<SocketId, ConnectionId>,
    pub(super) users: Users,
    /// All subscriptions, and all members of presence channels: a user counts once in each.
    subscriptions: usize,
    members: usize,
    /// The estimated bytes of all subscriptions, with their channels and members. Everything that a client can enlarge
    /// or multiply counts.
    pub(super) bytes: usize,
}

/// How full an app is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Open connections.
    pub connections: usize,
    /// Channels with subscribers.
    pub channels: usize,
    /// Subscriptions of all connections.
    pub subscriptions: usize,
    /// Members of all presence channels; a user counts once in each channel.
    pub members: usize,
    /// Users who are signed in.
    pub users: usize,
    /// The estimated bytes of all subscriptions, which `subscription_bytes` of the app limits.
    pub subscription_bytes: usize,
}

/// The subscriptions to review.
#[derive(Clone, Copy, Debug)]
pub enum Reviewed<'a> {
    /// All subscriptions of the app.
    All,
    /// The subscriptions to this channel.
    Channel(&'a str),
    /// The subscriptions of this connection.
    Connection(ConnectionId),
}

impl Roster {
    /// Adds a connection to a channel and creates the channel if needed. Returns the channel's index, and whether it is
    /// new.
    pub(super) fn enter(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        by_rule: bool,
        member: Option<Box<str>>,
    ) -> (usize, bool) {
        let found = self.channel_index(name.as_str());
        let channel = found.unwrap_or_else(|| {
            self.bytes += CHANNEL + 2 * name.as_str().len();
            let channel = self.channels.insert(Channel::new(name));
            self.names.insert(name.as_str().into(), channel);
            channel
        });
        let session = self.sessions.get_mut(id).expect("a subscriber has a session");
        self.bytes += SUBSCRIPTION;
        self.subscriptions += 1;
        let subscribers = &mut self.channels[channel].subscribers;
        if subscribers.is_empty() {
            // Most channels that a connection creates have one subscriber. The usual growth would reserve room for
            // four.
            subscribers.reserve_exact(1);
        }
        if session.subscriptions.is_empty() {
            // Most connections have one channel.
            session.subscriptions.reserve_exact(1);
        }
        session.subscriptions.push(Subscription {
            channel: channel as u32,
            place: subscribers.len() as u32,
            member,
        });
        subscribers.push(Subscriber {
            id,
            back: session.subscriptions.len() as u32 - 1,
            hears: session.hears_events(),
            by_rule,
        });
        (channel, found.is_none())
    }

    /// The subscription at `index` of a connection's list is about to end. Returns its channel. If this was the user's
    /// last connection in a presence channel, returns the user too.
    pub(super) fn take_member(&mut self, id: ConnectionId, index: usize) -> Option<(usize, Option<Box<str>>)> {
        let own = self.session(id)?.subscriptions.get_mut(index)?;
        let (channel, member) = (own.channel as usize, own.member.take());
        let members = &mut self.channels[channel].members;
        let gone = member.and_then(|user_id| Some((members.remove(&user_id)?, user_id)));
        self.bytes -= gone.as_ref().map_or(0, |(bytes, _)| *bytes);
        self.members -= usize::from(gone.is_some());
        Some((channel, gone.map(|(_, user_id)| user_id)))
    }

    /// Removes the subscription at `index` from the connection's list and from the channel. In both lists the last
    /// entry moves to the free index. Returns the channel's name if the channel is gone too.
    pub(super) fn leave(&mut self, id: ConnectionId, index: usize) -> Option<Box<str>> {
        let session = self.session(id)?;
        let Subscription { channel, place, .. } = session.subscriptions.swap_remove(index);
        session.replays.retain(|replay| replay.channel != Some(channel));
        let moved = session.subscriptions.get(index);
        if let Some((channel, place)) = moved.map(|moved| (moved.channel as usize, moved.place as usize)) {
            self.channels[channel].subscribers[place].back = index as u32;
        }
        self.bytes -= SUBSCRIPTION;
        self.subscriptions -= 1;
        let (channel, place) = (channel as usize, place as usize);
        log::debug!("{id} leaves {}", self.channels[channel].name);
        let subscribers = &mut self.channels[channel].subscribers;
        subscribers.swap_remove(place);
        if let Some(moved) = subscribers.get(place) {
            let session = self.sessions.get_mut(moved.id).expect("a subscriber has a session");
            session.subscriptions[moved.back as usize].place = place as u32;
        }
        if !subscribers.is_empty() {
            give_back(subscribers);
            return None;
        }
        Some(self.remove_channel(channel))
    }

    fn remove_channel(&mut self, channel: usize) -> Box<str> {
        let Channel { name, .. } = self.channels.remove(channel);
        self.bytes -= CHANNEL + 2 * name.len();
        self.names.remove(&name);
        give_back(&mut self.names);
        give_back(&mut self.channels);
        name
    }

    /// Counts a connection of a user in a presence channel. Returns whether it is the user's first one there.
    pub(super) fn add_member(&mut self, channel: usize, member: &Member) -> bool {
        let bytes = self.channels[channel].members.add(member);
        self.bytes += bytes.unwrap_or_default();
        self.members += usize::from(bytes.is_some());
        bytes.is_some()
    }

    /// Adds a connection.
    pub(super) fn connect(&mut self, id: ConnectionId, session: Session) {
        self.sockets.insert(session.socket, id);
        self.sessions.insert(id, Box::new(session));
    }

    /// Removes a connection that has no subscription any more.
    pub(super) fn disconnect(&mut self, id: ConnectionId) -> Option<Box<Session>> {
        let session = self.sessions.remove(id)?;
        self.sockets.remove(&session.socket);
        give_back(&mut self.sockets);
        Some(session)
    }

    pub(super) fn channel_index(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn channel(&self, name: &str) -> Option<&Channel> {
        self.channel_index(name).map(|channel| &self.channels[channel])
    }

    /// The channels that have subscribers and this prefix, sorted by name, each with its occupancy.
    pub fn occupied(&self, prefix: &str) -> impl Iterator<Item = (&str, Occupancy)> {
        let all = self.channels.iter().map(|(_, channel)| channel);
        let mut all: Vec<&Channel> = all.filter(|channel| channel.name.starts_with(prefix)).collect();
        all.sort_unstable_by_key(|channel| &channel.name);
        all.into_iter().map(|channel| (&*channel.name, channel.occupancy()))
    }

    /// The distinct users of a presence channel.
    pub fn members(&self, channel: &str) -> impl Iterator<Item = &str> {
        self.channel(channel)
            .into_iter()
            .flat_map(|channel| channel.members.ids())
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.sockets.len()
    }

    /// How full the app is.
    pub fn load(&self) -> Load {
        Load {
            connections: self.connections(),
            channels: self.channels.len(),
            subscriptions: self.subscriptions,
            members: self.members,
            users: self.users.online(),
            subscription_bytes: self.bytes,
        }
    }

    /// Whether no connection has this socket id.
    pub fn is_free(&self, socket: SocketId) -> bool {
        socket != SocketId(0, 0) && !self.sockets.contains_key(&socket)
    }

    /// Whether a connection requested recovery.
    pub fn wants_recovery(&self, id: ConnectionId) -> bool {
        self.find(id).is_some_and(|session| session.recovery)
    }

    /// The recipients of an event: the channel and its subscribers. The channel is `None` if it is a user's own channel
    /// or has no subscribers.
    pub(super) fn hearers(&self, name: &str, user: Option<&str>) -> (Option<u32>, &[Subscriber]) {
        let channel = self.channel_index(name).filter(|_| user.is_none());
        let subscribers = match (user, channel) {
            (Some(user), _) => self.users.connections(user),
            (None, Some(channel)) => self.channels[channel].subscribers.as_slice(),
            (None, None) => &[],
        };
        (channel.map(|channel| channel as u32), subscribers)
    }

    /// The name of a channel, or of the own channel of the connection's user.
    pub(super) fn name_of(&mut self, id: ConnectionId, channel: Option<u32>) -> Box<str> {
        match channel {
            Some(channel) => self.channels[channel as usize].name.clone(),
            None => {
                let user = self.session(id).and_then(|session| session.user.as_ref());
                let user = user.map_or("", |user| &user.member.user_id);
                format!("{SERVER_TO_USER}{user}").into()
            }
        }
    }

    /// Whether a connection has an unfinished replay of a channel in a stream.
    pub(super) fn has_replay(&self, id: ConnectionId, channel: Option<u32>, stream: Stream) -> bool {
        let is_of = |replay: &Replay| replay.channel == channel && replay.stream == stream;
        self.find(id).is_some_and(|session| session.replays.iter().any(is_of))
    }

    /// How a connection with unfinished replays hears a new event of a channel in a stream. Few recipients have one.
    #[cold]
    pub(super) fn hears_beside_replays(&self, id: ConnectionId, channel: Option<u32>, stream: Stream) -> Hears {
        match self.has_replay(id, channel, stream) {
            // The connection gets this event as a part of the replay.
            true => Hears::Later,
            false => self.find(id).map_or(Hears::Later, Session::hears_events),
        }
    }

    /// Adds a replay to a connection. New events of the channel wait until the replay is finished.
    pub(super) fn add_replay(&mut self, id: ConnectionId, replay: Replay) {
        if let Some(session) = self.session(id) {
            session.replays.push(replay);
            self.hear(id, replay.channel, Hears::Later);
        }
    }

    /// Sets how a connection gets the events of a channel (`None`: of its user).
    pub(super) fn hear(&mut self, id: ConnectionId, channel: Option<u32>, hears: Hears) {
        if let Some(subscriber) = self.subscriber(id, channel) {
            subscriber.hears = hears;
        }
    }

    /// A connection's place in a channel, or among the connections of its user (`None`).
    pub(super) fn subscriber(&mut self, id: ConnectionId, channel: Option<u32>) -> Option<&mut Subscriber> {
        let session = self.sessions.get(id)?;
        let Some(channel) = channel else {
            let user = session.user.as_ref()?;
            return self.users.connection_mut(&user.member.user_id, user.place);
        };
        let own = session.subscriptions.iter().find(|own| own.channel == channel)?;
        self.channels[channel as usize].subscribers.get_mut(own.place as usize)
    }

    /// The subscriptions that the site's rules admitted before and no longer allow, each with the reason.
    pub(super) fn review<'a>(
        &'a self,
        which: Reviewed<'_>,
        mut judge: impl FnMut(ConnectionId, ChannelName<'_>) -> Ruling,
    ) -> Vec<(ConnectionId, Box<str>, &'static str)> {
        let all = |channel: &'a Channel| (channel, &channel.subscribers[..]);
        let reviewed: Vec<(&Channel, &[Subscriber])> = match which {
            Reviewed::All => self.channels.iter().map(|(_, channel)| all(channel)).collect(),
            Reviewed::Channel(name) => self.channel(name).map(all).into_iter().collect(),
            Reviewed::Connection(id) => {
                let own = self.find(id).into_iter().flat_map(|session| &session.subscriptions);
                own.map(|own| {
                    let channel = &self.channels[own.channel as usize];
                    (channel, slice::from_ref(&channel.subscribers[own.place as usize]))
                })
                .collect()
            }
        };
        let mut withdrawn = Vec::new();
        for (channel, subscribers) in reviewed {
            let Ok(name) = ChannelName::parse(&channel.name) else {
                continue;
            };
            for subscriber in subscribers.iter().filter(|subscriber| subscriber.by_rule) {
                let session = self.find(subscriber.id);
                let own = session.map(|session| &session.subscriptions[subscriber.back as usize]);
                if let Some(why) = own.and_then(|own| own.objection(judge(subscriber.id, name))) {
                    withdrawn.push((subscriber.id, channel.name.clone(), why));
                }
            }
        }
        withdrawn
    }

    /// The id of the user as which a connection is signed in.
    pub fn user_of(&self, id: ConnectionId) -> Option<&str> {
        let user = self.find(id)?.user.as_ref()?;
        Some(&user.member.user_id)
    }

    /// The session of a connection.
    pub(super) fn find(&self, id: ConnectionId) -> Option<&Session> {
        self.sessions.get(id).map(|session| &**session)
    }

    /// The session of a connection.
    pub(super) fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.sessions.get_mut(id).map(|session| &mut **session)
    }
}
