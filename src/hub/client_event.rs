//! Client events (pusher.md section 8): which connections may send one, and what the subscribers get.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::ask::{Incoming, unwrapped};
use super::channel::Recipients;
use super::roster::Roster;
use crate::config;
use crate::id::ConnectionId;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::effects::HookEvent;
use crate::protocol::frames::{self, Extra};
use crate::protocol::shared::{Sender, SharedEvent};
use crate::protocol::{SocketId, event};
use crate::time::Now;

/// A client event that may be sent.
pub(super) struct ClientEvent<'a> {
    frame: &'a Incoming<'a>,
    channel: Box<str>,
    socket: SocketId,
    /// On a presence channel, the sender's user id.
    user_id: Option<Box<str>>,
}

impl<'a> ClientEvent<'a> {
    /// Checks a client event of a connection.
    ///
    /// # Errors
    /// The error for the client. The one about its rate names the channel, so an application that sends to several
    /// channels can tell which one has to wait.
    pub(super) fn check(
        frame: &'a Incoming<'a>,
        id: ConnectionId,
        roster: &mut Roster,
        settings: &config::App,
        now: Now,
    ) -> Result<Self, String> {
        let checked = Self::of(frame, id, roster, settings, now);
        match &checked {
            Ok(event) => log::debug!("{id} sends {} to {}", event.frame.event, event.channel),
            Err((why, _)) => log::debug!("{id} may not send a client event: {why}"),
        }
        checked.map_err(|(why, code)| {
            let name = frame.channel.as_deref().filter(|_| code.is_some());
            frames::error_of(name, &why, code)
        })
    }

    fn of(
        frame: &'a Incoming<'a>,
        id: ConnectionId,
        roster: &mut Roster,
        settings: &config::App,
        now: Now,
    ) -> Result<Self, (String, Option<u16>)> {
        let no = |why: &str| Err((why.to_owned(), None));
        if !settings.client_events {
            return no("client events are not enabled for this app");
        }
        if frame.event.len() > event::MAX_NAME {
            return no("the name of a client event has at most 200 bytes");
        }
        let most = settings.max_event_size;
        if frame.data.is_some_and(|data| data.get().len() > most) {
            return no(&format!("the data of a client event has at most {most} bytes"));
        }
        let Some(name) = frame.channel.as_deref() else {
            return no("a client event names its channel");
        };
        match ChannelName::parse(name).map(ChannelName::kind) {
            Ok(kind) if may_have(kind) => {}
            _ => return no("client events are for private and presence channels only"),
        }
        let channel = roster.channel_index(name);
        let Some(session) = roster.session(id) else {
            return no("the connection is gone");
        };
        let Some(index) = channel.and_then(|channel| session.find(channel)) else {
            return no(&format!(
                "No current subscription to channel {name}, or subscription in progress"
            ));
        };
        let rate = settings.client_events_per_second;
        if !session.client_events.take(rate, 1, now.at) {
            return Err((format!("at most {rate} client events a second"), Some(4301)));
        }
        Ok(Self {
            frame,
            channel: name.into(),
            socket: session.socket,
            user_id: session.subscriptions[index].member.clone(),
        })
    }

    /// The other subscribers of the channel.
    pub(super) fn recipients(&self) -> Recipients<'_> {
        Recipients {
            channel: &self.channel,
            user: None,
            except: Some(self.socket),
        }
    }

    /// The frame for the recipients.
    pub(super) fn encode(&self, extra: Extra<'_>) -> String {
        let Incoming { event, data, .. } = self.frame;
        frames::client_event(event, &self.channel, *data, self.user_id.as_deref(), extra)
    }

    /// The event for the webhooks.
    pub(super) fn hook(&self) -> HookEvent {
        let Incoming { event, data, .. } = self.frame;
        hook(&self.channel, event, *data, self.socket, self.user_id.as_deref())
    }

    /// The event for all processes of the cluster.
    pub(super) fn into_shared(self) -> SharedEvent {
        SharedEvent {
            channel: self.channel,
            name: (&*self.frame.event).into(),
            data: self.frame.data.map_or("null", RawValue::get).into(),
            except: Some(self.socket),
            sender: Some(Sender {
                socket: self.socket,
                user_id: self.user_id,
            }),
        }
    }
}

/// Whether a channel of this kind may have client events.
pub(super) fn may_have(kind: Kind) -> bool {
    matches!(kind, Kind::Private | Kind::Encrypted | Kind::Presence)
}

/// Whether this may be the name of a client event.
pub(super) fn is_name(event: &str) -> bool {
    event.starts_with("client-") && event.len() <= event::MAX_NAME
}

/// A client event for the webhooks.
pub(super) fn hook(
    channel: &str,
    event: &str,
    data: Option<&RawValue>,
    socket: SocketId,
    user_id: Option<&str>,
) -> HookEvent {
    HookEvent::ClientEvent {
        channel: channel.to_owned(),
        event: event.to_owned(),
        data: data.map(unwrapped).map(Cow::into_owned).unwrap_or_default(),
        socket_id: socket.to_string(),
        user_id: user_id.map(ToOwned::to_owned),
    }
}
