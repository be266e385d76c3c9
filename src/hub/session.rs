//! The state of one connection in the Pusher protocol.

use serde::Serialize;

use super::channel::Hears;
use crate::protocol::channel::ChannelName;
use crate::protocol::frames::{self, Extra};
use crate::protocol::position::Stream;
use crate::protocol::{Member, Ruling, SocketId, Verdict};
use crate::time::Bucket;

/// The state of one connection in the Pusher protocol.
#[derive(Debug)]
pub struct Session {
    pub(super) socket: SocketId,
    /// The client requested recovery.
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

impl Replay {
    pub(super) fn new(channel: Option<u32>, stream: Stream, n: u64) -> Self {
        Self {
            channel,
            stream,
            n,
            held: false,
        }
    }
}

impl Subscription {
    /// The reason why a subscription must end that the site's rules allowed before; `None`: it may stay.
    pub(super) fn objection(&self, ruling: Ruling) -> Option<&'static str> {
        match ruling {
            Some(Verdict::No(why)) => Some(why),
            None => Some("the site's rules say nothing of this channel any more"),
            Some(Verdict::Yes(Some(member))) if self.member.as_deref() != Some(&*member.user_id) => {
                Some("you would be another member of this channel now")
            }
            Some(Verdict::Yes(_) | Verdict::NotYet) => None,
        }
    }
}

impl Session {
    pub(super) fn new(socket: SocketId, recovery: bool) -> Self {
        Self {
            socket,
            recovery,
            authorized: false,
            subscriptions: Vec::new(),
            replays: Vec::new(),
            recalls: 0,
            user: None,
            client_events: Bucket::default(),
        }
    }

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

    /// The connection unsubscribes from this channel. If it is the own channel of its user, that is noted here.
    pub(super) fn unsubscribe_user(&mut self, name: &str) {
        let channel = ChannelName::parse(name).ok();
        if let (Some(user), Some(channel)) = (&mut self.user, channel)
            && channel.user() == Some(&*user.member.user_id)
        {
            user.subscribed = false;
        }
    }

    /// The index of the subscription to a channel.
    pub(super) fn find(&self, channel: usize) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|own| own.channel as usize == channel)
    }

    /// Whether a replay goes on: it is not held, and its next part follows when the last one has been written.
    pub(super) fn is_replaying(&self) -> bool {
        self.replays.iter().any(|replay| !replay.held)
    }

    /// Whether a replay is held.
    pub(super) fn is_held(&self) -> bool {
        self.replays.iter().any(|replay| replay.held)
    }
}

/// The first frame of a connection. `activity_timeout`: after this silence, in seconds, the client must send a ping.
pub(super) fn greeting(socket: SocketId, activity_timeout: u64) -> String {
    #[derive(Serialize)]
    struct Established {
        socket_id: String,
        activity_timeout: u64,
    }
    let data = Established {
        socket_id: socket.to_string(),
        activity_timeout,
    };
    frames::protocol("pusher:connection_established", None, &data, Extra::default())
}
