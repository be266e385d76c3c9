//! A channel with subscribers, and how the subscribers get events.

use tungstenite::Utf8Bytes;

use super::presence::Members;
use super::roster::Roster;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::actions::Actions;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::position::Stream;
use crate::time::Time;

/// A channel with at least one subscriber.
#[derive(Debug)]
pub struct Channel {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) subscribers: Vec<Subscriber>,
    /// The members, if this is a presence channel.
    pub(super) members: Members,
    /// When `subscription_count` was sent last.
    pub(super) counted: Option<Time>,
}

/// One connection's place in a channel.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber {
    pub(super) id: ConnectionId,
    /// The index of the subscription in the connection's own list.
    pub(super) back: u32,
    pub(super) hears: Hears,
    /// The site's rules admitted this subscriber, not a signature. When the rules change, it may have to leave.
    pub(super) by_rule: bool,
}

/// How a subscriber gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// As a stock client: only Pusher's frames.
    Stock,
    /// With positions.
    Positions,
    /// Not yet, in at least one stream: a replay of that stream is unfinished or held. New events wait in the history.
    Later,
}

/// The recipients of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipients<'a> {
    /// The channel's name.
    pub(super) channel: &'a str,
    /// The user, if the channel is a user's own.
    pub(super) user: Option<&'a str>,
    /// The connection that gets no copy.
    pub(super) except: Option<SocketId>,
}

/// How full a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// The number of subscribed connections.
    pub subscriptions: usize,
    /// The number of distinct users, if this is a presence channel.
    pub users: Option<usize>,
}

impl Channel {
    pub(super) fn new(name: ChannelName<'_>) -> Self {
        Self {
            name: name.as_str().into(),
            kind: name.kind(),
            subscribers: Vec::new(),
            members: Members::default(),
            counted: None,
        }
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let users = (self.kind == Kind::Presence).then(|| self.members.len());
        Occupancy {
            subscriptions: self.subscribers.len(),
            users,
        }
    }

    /// Sends a protocol frame to every subscriber except one. The frame is not an event and has no position.
    pub(super) fn announce(&self, except: Option<ConnectionId>, frame: String, actions: &mut Actions) {
        let all = self.subscribers.iter().map(|subscriber| subscriber.id);
        actions.fan_out(all.filter(|id| Some(*id) != except), frame.into());
    }
}

impl Recipients<'_> {
    /// The number of connections here that are recipients now.
    pub(super) fn count(&self, roster: &Roster) -> usize {
        let except = self.except.and_then(|socket| roster.sockets.get(&socket).copied());
        let (_, subscribers) = roster.hearers(self.channel, self.user);
        subscribers.iter().filter(|own| Some(own.id) != except).count()
    }

    /// Sends an event of a stream: `with_position` to connections that requested recovery, and the frame that `plain`
    /// encodes to the others. Returns the number of connections.
    pub(super) fn send(
        &self,
        stream: Stream,
        with_position: Utf8Bytes,
        plain: impl FnOnce() -> String,
        roster: &Roster,
        actions: &mut Actions,
    ) -> usize {
        let except = self.except.and_then(|socket| roster.sockets.get(&socket).copied());
        let (channel, subscribers) = roster.hearers(self.channel, self.user);
        let hears = |subscriber: &Subscriber| match subscriber.hears {
            Hears::Later => roster.hears_beside_replays(subscriber.id, channel, stream),
            hears => hears,
        };
        let of = |kind| {
            let all = subscribers.iter().filter(move |own| Some(own.id) != except);
            all.filter(move |own| hears(own) == kind).map(|own| own.id)
        };
        let sent = actions.fan_out(of(Hears::Positions), with_position);
        match of(Hears::Stock).next() {
            Some(_) => sent + actions.fan_out(of(Hears::Stock), plain().into()),
            None => sent,
        }
    }
}
