//! What one room wants of another, as data: the room that decides knows none of those that act. The service carries it
//! out at the end of each of its entry points, in the order in which it was said.

use serde::Serialize;

use super::rows::Seen;
use crate::id::ConnectionId;

/// Something that another room does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The webhooks of the app with this number are told of an event.
    Hook(usize, HookEvent),
    /// A channel of the site's app has its first subscriber.
    Occupied(Box<str>),
    /// Its last subscriber has gone.
    Vacated(Box<str>),
    /// Who the connection is has changed: its subscriptions are judged anew, and its waiting frames may go on.
    Wake(ConnectionId),
    /// Its waiting frames may go on: what they waited for has come.
    GoOn(ConnectionId),
    /// All waiting frames may go on: what they wait for may have come.
    WakeAll,
    /// A connection of the site is closed, with this code and reason.
    Close(ConnectionId, u16, &'static str),
    /// Connections that must not stay on an offline site are closed.
    TurnAway,
    /// Subscribers of these channels are judged anew.
    Review(Vec<Box<str>>),
    /// All subscribers are.
    ReviewAll,
    /// A row of the outbox table is delivered.
    Row(Box<Seen>),
    /// All connections that are signed in as this user are closed.
    Terminate(String),
    /// All connections of the site that are this user's are closed, if the app with this number is the site's.
    TerminateVisitor(usize, String),
    /// The table of the site of the app with this number is worth a look: rows were committed.
    Nudge(usize),
    /// What the extensions say has changed: the app's credentials may have.
    Extensions,
    /// Subscriptions that were held may go on, if they are not in doubt any more.
    Release,
}

/// Something that happened to a channel and may interest a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name")]
pub enum HookEvent {
    /// The first subscription.
    #[serde(rename = "channel_occupied")]
    Occupied {
        /// Where.
        channel: String,
    },
    /// The last subscription ended.
    #[serde(rename = "channel_vacated")]
    Vacated {
        /// Where.
        channel: String,
    },
    /// A user's first subscription.
    #[serde(rename = "member_added")]
    MemberAdded {
        /// Where.
        channel: String,
        /// Who.
        user_id: String,
    },
    /// A user's last subscription ended.
    #[serde(rename = "member_removed")]
    MemberRemoved {
        /// Where.
        channel: String,
        /// Who.
        user_id: String,
    },
    /// A client sent an event to the others.
    #[serde(rename = "client_event")]
    ClientEvent {
        /// Where.
        channel: String,
        /// `client-…`
        event: String,
        /// As it was relayed.
        data: String,
        /// The sender.
        socket_id: String,
        /// The sender as a member; only on presence channels.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<String>,
    },
    /// Somebody subscribed to a cache channel and there was nothing to be told.
    #[serde(rename = "cache_miss")]
    CacheMiss {
        /// Where.
        channel: String,
    },
    /// The number of subscriptions changed.
    #[serde(rename = "subscription_count")]
    SubscriptionCount {
        /// Where.
        channel: String,
        /// How many.
        #[serde(rename = "subscription_count")]
        count: usize,
    },
}

impl HookEvent {
    /// Where it happened.
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
