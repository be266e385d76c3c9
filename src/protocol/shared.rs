//! What the processes of one cluster tell each other. Each process appends to one log and reads it whole, its own
//! entries included, so all processes see the same entries in the same order. What a process holds is told as a state
//! ("three subscriptions", "not a member"), never as a change ("one more"): such an entry may be told twice.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::SocketId;

/// A process of the cluster: a random number, new with each incarnation. A process that was declared dead comes back
/// with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId(pub u64);

/// Something about an app that one process tells all processes of the cluster, itself included.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shared {
    /// An event for the subscribers of a channel.
    Event(SharedEvent),
    /// What the process holds from here on.
    Holds(Holding),
    /// The last event of a cache channel, for a process that has just come.
    Cached(CachedEvent),
    /// Close all connections that are signed in as this user.
    Terminate(Box<str>),
    /// Rows were committed to the outbox table: poll it now.
    Nudge,
    /// A client subscribed to this cache channel, which has no cached event.
    CacheMiss(Box<str>),
    /// The process published this many events through the HTTP API.
    Published(u32),
}

/// An event of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedEvent {
    /// The channel; a user's own channel too.
    pub channel: Box<str>,
    /// The event's name.
    pub name: Box<str>,
    /// The data, as the string that stands inside the frame. If a client sent the event: the JSON as the client wrote
    /// it.
    pub data: Box<str>,
    /// The connection that gets no copy, whichever process has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<SocketId>,
    /// The sender, if a client sent the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
}

/// The client that sent an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// Its socket id.
    pub socket: SocketId,
    /// Its user id; only on presence channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Box<str>>,
}

/// A cached event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CachedEvent {
    /// The channel.
    pub channel: Box<str>,
    /// The event's name.
    pub name: Box<str>,
    /// The data, as the string that stands inside the frame.
    pub data: Box<str>,
    /// The time since it was published, in milliseconds.
    pub age: u64,
}

/// What a process holds, as a state. Of the same thing only the newest state counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    /// The subscriptions to a channel; 0: the channel is vacated there.
    Subscriptions {
        /// The channel.
        channel: Box<str>,
        /// How many connections of the process are subscribed.
        count: u32,
    },
    /// A member of a presence channel.
    Member {
        /// The channel.
        channel: Box<str>,
        /// The user.
        user_id: Box<str>,
        /// The user's public data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_info: Option<Box<RawValue>>,
        /// Whether the user is a member there.
        is_present: bool,
    },
    /// A signed-in user.
    User {
        /// The user.
        user_id: Box<str>,
        /// Whether a connection of the process is signed in as this user.
        is_online: bool,
    },
    /// The WebSockets of one session of the site.
    Session {
        /// A keyed hash of the session's id.
        hash: u64,
        /// How many the process has.
        sockets: u32,
    },
    /// The connections of the app.
    Connections {
        /// How many the process has.
        count: u32,
    },
}

/// The thing of which a [`Holding`] is the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldingKey {
    /// The subscriptions to a channel.
    Subscriptions(Box<str>),
    /// A user in a presence channel.
    Member(Box<str>, Box<str>),
    /// A signed-in user.
    User(Box<str>),
    /// The WebSockets of a session.
    Session(u64),
    /// The connections of the app.
    Connections,
}

impl Holding {
    /// The thing whose state this is.
    pub fn key(&self) -> HoldingKey {
        match self {
            Self::Subscriptions { channel, .. } => HoldingKey::Subscriptions(channel.clone()),
            Self::Member { channel, user_id, .. } => HoldingKey::Member(channel.clone(), user_id.clone()),
            Self::User { user_id, .. } => HoldingKey::User(user_id.clone()),
            Self::Session { hash, .. } => HoldingKey::Session(*hash),
            Self::Connections { .. } => HoldingKey::Connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_written_and_read_again() {
        let info = RawValue::from_string(r#"{"name":"Ann \"A\"","n":[1,2.50]}"#.into()).unwrap();
        let socket = SocketId(1, u32::MAX);
        let all = [
            Shared::Event(SharedEvent {
                channel: "presence-x".into(),
                name: "client-é".into(),
                data: "{\"a\":\"\u{1}\"}".into(),
                except: Some(socket),
                sender: Some(Sender {
                    socket,
                    user_id: Some("7".into()),
                }),
            }),
            Shared::Event(SharedEvent {
                channel: "x".into(),
                name: "e".into(),
                data: "".into(),
                except: None,
                sender: None,
            }),
            Shared::Holds(Holding::Subscriptions {
                channel: "x".into(),
                count: 3,
            }),
            Shared::Holds(Holding::Member {
                channel: "presence-x".into(),
                user_id: "7".into(),
                user_info: Some(info),
                is_present: true,
            }),
            Shared::Holds(Holding::User {
                user_id: "7".into(),
                is_online: false,
            }),
            Shared::Holds(Holding::Session {
                hash: u64::MAX,
                sockets: 2,
            }),
            Shared::Holds(Holding::Connections { count: 7 }),
            Shared::Cached(CachedEvent {
                channel: "cache-x".into(),
                name: "e".into(),
                data: "1".into(),
                age: 12,
            }),
            Shared::Terminate("7".into()),
            Shared::Nudge,
            Shared::CacheMiss("cache-x".into()),
            Shared::Published(10),
        ];
        for shared in all {
            let text = serde_json::to_string(&shared).unwrap();
            let again: Shared = serde_json::from_str(&text).unwrap();
            assert_eq!(format!("{again:?}"), format!("{shared:?}"), "{text}");
        }
    }

    #[test]
    fn only_states_of_the_same_thing_have_the_same_key() {
        let member = |channel: &str, user_id: &str, is_present| Holding::Member {
            channel: channel.into(),
            user_id: user_id.into(),
            user_info: None,
            is_present,
        };
        assert_eq!(member("a", "b", true).key(), member("a", "b", false).key());
        assert_ne!(member("a", "b", true).key(), member("a", "c", true).key());
        assert_ne!(member("a", "b", true).key(), member("ab", "", true).key());
        let user = |is_online| Holding::User {
            user_id: "7".into(),
            is_online,
        };
        assert_eq!(user(true).key(), user(false).key());
    }
}
