//! The protocol's side of one connection, as data.

use super::channel::Hears;
use crate::id::ConnectionId;
use crate::protocol::position::Stream;
use crate::protocol::{Member, SocketId};
use crate::time::Bucket;

/// What a connection asked for in its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// 4 to 7.
    pub protocol: u8,
    /// `?recovery=1`
    pub recovery: bool,
}

/// The protocol's side of one connection.
#[derive(Debug)]
pub struct Session {
    pub(super) id: ConnectionId,
    pub(super) socket: SocketId,
    pub(super) recovery: bool,
    /// Signed in, or in a private or presence channel at least once.
    pub(super) authorized: bool,
    pub(super) subscriptions: Vec<Subscription>,
    /// The replays that are not finished.
    pub(super) replays: Vec<Replay>,
    /// Recoveries for which the table was read.
    pub(super) recalls: u8,
    pub(super) user: Option<Box<User>>,
    pub(super) client_events: Bucket,
}

/// A connection's place in one channel.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: u32,
    /// The index in the channel's list.
    pub(super) place: u32,
    /// On a presence channel, as whom.
    pub(super) member: Option<Box<str>>,
}

/// A replay of a channel: everything in one stream after number `n` is still to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    /// `None`: the channel of the connection's user.
    pub(super) channel: Option<u32>,
    pub(super) stream: Stream,
    pub(super) n: u64,
    /// It waits until the site says whether the connection may still subscribe.
    pub(super) held: bool,
}

/// As whom a connection is signed in.
#[derive(Debug)]
pub(super) struct User {
    pub(super) member: Member,
    /// The index among the connections of the user.
    pub(super) place: u32,
    pub(super) watchlist: Vec<Box<str>>,
    /// It subscribed to its own `#server-to-user-` channel. (It gets the events in any case.)
    pub(super) subscribed: bool,
}

impl Session {
    /// How it gets events when its replays are finished.
    pub(super) fn hears_events(&self) -> Hears {
        match self.recovery {
            true => Hears::Positions,
            false => Hears::Stock,
        }
    }

    /// Whether it gets any events: it has a subscription, or a user.
    pub(super) fn hears(&self) -> bool {
        !self.subscriptions.is_empty() || self.user.is_some()
    }

    pub(super) fn find(&self, channel: usize) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|own| own.channel as usize == channel)
    }
}

/// The times that hold for a new connection, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Of silence, after which the client is to ping.
    pub activity_timeout: u64,
    /// Until it must have authorized itself; 0: never.
    pub authorization_timeout: u64,
}
