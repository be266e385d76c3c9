//! The state of one connection in the Pusher protocol.

use super::channel::Hears;
use crate::id::ConnectionId;
use crate::protocol::position::Stream;
use crate::protocol::{Member, SocketId};
use crate::time::Bucket;

/// What a client requests in its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The protocol version, 4 to 7.
    pub protocol: u8,
    /// The client asked for recovery: `?recovery=1`.
    pub recovery: bool,
}

/// The state of one connection in the Pusher protocol.
#[derive(Debug)]
pub struct Session {
    pub(super) id: ConnectionId,
    pub(super) socket: SocketId,
    pub(super) recovery: bool,
    /// The connection has signed in, or has joined a private or presence channel at least once.
    pub(super) authorized: bool,
    pub(super) subscriptions: Vec<Subscription>,
    /// The unfinished replays.
    pub(super) replays: Vec<Replay>,
    /// The number of recoveries for which the table was read.
    pub(super) recalls: u8,
    pub(super) user: Option<Box<User>>,
    pub(super) client_events: Bucket,
}

/// A connection's subscription to one channel.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: u32,
    /// The index in the channel's list of subscribers.
    pub(super) place: u32,
    /// On a presence channel, the user id.
    pub(super) member: Option<Box<str>>,
}

/// A replay of a channel: all events of one stream after number `n` must still be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    /// The channel; `None`: the own channel of the connection's user.
    pub(super) channel: Option<u32>,
    pub(super) stream: Stream,
    pub(super) n: u64,
    /// The replay waits until the site answers whether the connection may still subscribe.
    pub(super) held: bool,
}

/// The user as which a connection is signed in.
#[derive(Debug)]
pub(super) struct User {
    pub(super) member: Member,
    /// The index in the list of the user's connections.
    pub(super) place: u32,
    pub(super) watchlist: Vec<Box<str>>,
    /// The user subscribed to its own `#server-to-user-` channel. (Its events are sent in any case.)
    pub(super) subscribed: bool,
}

impl Session {
    /// How the connection gets events when its replays are finished.
    pub(super) fn hears_events(&self) -> Hears {
        match self.recovery {
            true => Hears::Positions,
            false => Hears::Stock,
        }
    }

    /// Whether the connection gets any events: it has a subscription or a signed-in user.
    pub(super) fn hears(&self) -> bool {
        !self.subscriptions.is_empty() || self.user.is_some()
    }

    pub(super) fn find(&self, channel: usize) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|own| own.channel as usize == channel)
    }
}

/// The timeouts of a new connection, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The silence after which the client must send a ping.
    pub activity_timeout: u64,
    /// The time within which the connection must authorize itself; 0: no limit.
    pub authorization_timeout: u64,
}
