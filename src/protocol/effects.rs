//! The effects that one room requests of another, as data. So the room that decides does not depend on the rooms that
//! act. The service carries out the effects at the end of each of its entry points, in the order in which they were
//! appended.

use serde::Serialize;

use super::rows::Seen;
use super::shared::Shared;
use crate::id::ConnectionId;

/// Something that another room must do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Pass an event to the webhooks of the app with this number.
    Hook(usize, HookEvent),
    /// A channel of the site's app has its first subscriber.
    Occupied(Box<str>),
    /// A channel of the site's app lost its last subscriber.
    Vacated(Box<str>),
    /// The identity of the connection has changed: check its subscriptions again; its waiting messages may go on.
    Wake(ConnectionId),
    /// The connection's waiting messages may go on: the missing fact has arrived.
    GoOn(ConnectionId),
    /// All waiting messages may go on: the missing facts may have arrived.
    WakeAll,
    /// Close a connection of the site, with this code and reason.
    Close(ConnectionId, u16, &'static str),
    /// Close the connections that must not stay on an offline site.
    TurnAway,
    /// Check the subscribers of these channels again.
    Review(Vec<Box<str>>),
    /// Check all subscribers again.
    ReviewAll,
    /// Deliver a row of the outbox table.
    Row(Box<Seen>),
    /// Close all connections that are signed in as this user.
    Terminate(String),
    /// Close all connections of this user of the app with this number, and of this user of the site if the app is the
    /// site's.
    TerminateUser(usize, String),
    /// Poll the outbox table of the app with this number now: rows were committed.
    Nudge(usize),
    /// The facts of the extensions have changed, and with them perhaps the app's credentials.
    Extensions,
    /// Held subscriptions may go on, if they are no longer in doubt.
    Release,
    /// Tell the other processes of the cluster something about the app with this number.
    Share(usize, Shared),
    /// All processes of the cluster have seen this event in the order of the log. One of them passes it to the webhooks
    /// of the app with this number.
    LogHook(usize, HookEvent),
}

/// An event of a channel for the webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name")]
pub enum HookEvent {
    /// The channel has its first subscription.
    #[serde(rename = "channel_occupied")]
    Occupied {
        /// The channel.
        channel: String,
    },
    /// The last subscription of the channel ended.
    #[serde(rename = "channel_vacated")]
    Vacated {
        /// The channel.
        channel: String,
    },
    /// A user has the first subscription to a presence channel.
    #[serde(rename = "member_added")]
    MemberAdded {
        /// The channel.
        channel: String,
        /// The user.
        user_id: String,
    },
    /// A user's last subscription to a presence channel ended.
    #[serde(rename = "member_removed")]
    MemberRemoved {
        /// The channel.
        channel: String,
        /// The user.
        user_id: String,
    },
    /// A client sent an event to the other subscribers.
    #[serde(rename = "client_event")]
    ClientEvent {
        /// The channel.
        channel: String,
        /// The event's name: `client-…`
        event: String,
        /// The data, as it was relayed.
        data: String,
        /// The sender's socket id.
        socket_id: String,
        /// The sender's user id; only on presence channels.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<String>,
    },
    /// A client subscribed to a cache channel that has no cached event.
    #[serde(rename = "cache_miss")]
    CacheMiss {
        /// The channel.
        channel: String,
    },
    /// The number of subscriptions changed.
    #[serde(rename = "subscription_count")]
    SubscriptionCount {
        /// The channel.
        channel: String,
        /// The number of subscriptions.
        #[serde(rename = "subscription_count")]
        count: usize,
    },
}

impl HookEvent {
    /// The channel of the event.
    pub fn channel(&self) -> &str {
        match self {
            Self::Occupied { channel }
            | Self::Vacated { channel }
            | Self::MemberAdded { channel, .. }
            | Self::MemberRemoved { channel, .. }
            | Self::ClientEvent { channel, .. }
            | Self::CacheMiss { channel }
            | Self::SubscriptionCount { channel, .. } => channel,
        }
    }
}
