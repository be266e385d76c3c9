//! The connections, channels and signed-in users of an app. They are linked by index in both directions: a subscription
//! stores its index in the channel's list, and the list's entry stores its index in the connection's list. So the cost
//! of a disconnect depends only on the number of the connection's channels, and a fan-out is one walk over a list.
//! Nothing here sends a frame.

use std::collections::HashMap;

use slab::Slab;

use super::channel::{Channel, Hears, Subscriber};
use super::session::{Session, Subscription};
use super::users::Users;
use crate::id::ConnectionId;
use crate::protocol::channel::{ChannelName, SERVER_TO_USER};
use crate::protocol::position::Stream;
use crate::protocol::room::{give_back, give_back_slots};
use crate::protocol::{Member, SocketId};

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
    /// By slot of the connection.
    pub(super) sessions: Vec<Option<Box<Session>>>,
    pub(super) connections: usize,
    /// By socket id: a publisher may exclude its own connection from an event.
    pub(super) sockets: HashMap<SocketId, ConnectionId>,
    pub(super) users: Users,
    /// The estimated bytes of all subscriptions, with their channels and members. Everything that a client can enlarge
    /// or multiply counts.
    pub(super) bytes: usize,
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
        let session = self.sessions[id.slot()].as_mut().expect("a session enters");
        self.bytes += SUBSCRIPTION;
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
        let (channel, place) = (channel as usize, place as usize);
        let subscribers = &mut self.channels[channel].subscribers;
        subscribers.swap_remove(place);
        if let Some(moved) = subscribers.get(place) {
            let session = self.sessions[moved.id.slot()].as_mut();
            let session = session.expect("a subscriber has a session");
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
        bytes.is_some()
    }

    /// Adds a connection.
    pub(super) fn connect(&mut self, session: Session) {
        let (id, slot) = (session.id, session.id.slot());
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.sessions[slot].is_none(),
            "the last owner of the slot was not said to be closed"
        );
        self.sockets.insert(session.socket, id);
        self.sessions[slot] = Some(Box::new(session));
        self.connections += 1;
    }

    /// Removes a connection that has no subscription any more.
    pub(super) fn disconnect(&mut self, id: ConnectionId) -> Option<Box<Session>> {
        let session = self.sessions.get_mut(id.slot())?.take_if(|session| session.id == id)?;
        give_back_slots(&mut self.sessions);
        self.sockets.remove(&session.socket);
        give_back(&mut self.sockets);
        self.connections -= 1;
        Some(session)
    }

    pub(super) fn channel_index(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn channel(&self, name: &str) -> Option<&Channel> {
        self.channel_index(name).map(|channel| &self.channels[channel])
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
        let session = self.sessions[id.slot()].as_deref();
        let replays = session.map_or(&[][..], |session| session.replays.as_slice());
        replays
            .iter()
            .any(|replay| replay.channel == channel && replay.stream == stream)
    }

    /// Sets how a connection gets the events of a channel, or those of its user.
    pub(super) fn hear(&mut self, id: ConnectionId, channel: Option<u32>, hears: Hears) {
        let Some(session) = self.sessions.get(id.slot()).and_then(Option::as_deref) else {
            return;
        };
        match channel {
            None => {
                if let Some(user) = &session.user {
                    self.users.set_hears(&user.member.user_id, user.place, hears);
                }
            }
            Some(channel) => {
                let mut own = session.subscriptions.iter();
                if let Some(own) = own.find(|own| own.channel == channel) {
                    self.channels[channel as usize].subscribers[own.place as usize].hears = hears;
                }
            }
        }
    }

    pub(super) fn is_by_rule(&self, id: ConnectionId, channel: Option<u32>) -> bool {
        let session = self.sessions.get(id.slot()).and_then(Option::as_deref);
        let mut own = session.map_or(&[][..], |session| &session.subscriptions).iter();
        let own = own.find(|own| Some(own.channel) == channel);
        own.is_some_and(|own| self.channels[own.channel as usize].subscribers[own.place as usize].by_rule)
    }

    /// The session of a connection.
    pub(super) fn find(&self, id: ConnectionId) -> Option<&Session> {
        let session = self.sessions.get(id.slot())?.as_deref();
        session.filter(|session| session.id == id)
    }

    /// The session of a connection.
    pub(super) fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id.slot())?
            .as_deref_mut()
            .filter(|session| session.id == id)
    }
}
