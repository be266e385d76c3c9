//! Client events (pusher.md section 8): which connections may send one, and what the subscribers get.

use super::app::App;
use super::ask::{Incoming, unwrapped};
use super::channel::Recipients;
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::effects::HookEvent;
use crate::protocol::{event, frames};
use crate::time::Now;

impl App {
    pub(super) fn client_event(&mut self, id: ConnectionId, frame: &Incoming<'_>, now: Now, actions: &mut Actions) {
        match self.check_client_event(id, frame, now) {
            Err((why, code)) => actions.send(id, frames::error(&why, code)),
            Ok((channel, user_id)) => self.relay(id, channel, user_id.as_deref(), frame, now, actions),
        }
    }

    /// Checks a client event. Returns the channel's index and, on a presence channel, the sender's user id.
    #[allow(clippy::type_complexity)]
    fn check_client_event(
        &mut self,
        id: ConnectionId,
        frame: &Incoming<'_>,
        now: Now,
    ) -> Result<(usize, Option<Box<str>>), (String, Option<u16>)> {
        let no = |why: &str| Err((why.to_owned(), None));
        if !self.settings.client_events {
            return no("client events are not enabled for this app");
        }
        if frame.event.len() > event::MAX_NAME {
            return no("the name of a client event has at most 200 bytes");
        }
        let most = self.settings.max_event_size;
        if frame.data.is_some_and(|data| data.get().len() > most) {
            return no(&format!("the data of a client event has at most {most} bytes"));
        }
        let Some(name) = frame.channel.as_deref() else {
            return no("a client event names its channel");
        };
        match ChannelName::parse(name).map(ChannelName::kind) {
            Ok(Kind::Private | Kind::Encrypted | Kind::Presence) => {}
            _ => return no("client events are for private and presence channels only"),
        }
        let channel = self.roster.channel_index(name);
        let rate = self.settings.client_events_per_second;
        let Some(session) = self.roster.session(id) else {
            return no("the connection is gone");
        };
        let own = channel.and_then(|channel| session.find(channel).map(|index| (channel, index)));
        let Some((channel, index)) = own else {
            return no(&format!(
                "No current subscription to channel {name}, or subscription in progress"
            ));
        };
        if !session.client_events.take(rate, 1, now.at) {
            return Err((format!("at most {rate} client events a second"), Some(4301)));
        }
        Ok((channel, session.subscriptions[index].member.clone()))
    }

    fn relay(
        &mut self,
        id: ConnectionId,
        channel: usize,
        user_id: Option<&str>,
        frame: &Incoming<'_>,
        now: Now,
        actions: &mut Actions,
    ) {
        let Some(socket) = self.roster.session(id).map(|session| session.socket) else {
            return;
        };
        let name = self.roster.channels[channel].name.to_string();
        let to = Recipients {
            channel: &name,
            user: None,
            except: Some(socket),
        };
        self.deliver(to, now, actions, |extra| {
            frames::client_event(&frame.event, &name, frame.data, user_id, extra)
        });
        self.hook(actions, || HookEvent::ClientEvent {
            channel: name,
            event: frame.event.to_string(),
            data: frame.data.map(|data| unwrapped(data).into_owned()).unwrap_or_default(),
            socket_id: socket.to_string(),
            user_id: user_id.map(str::to_owned),
        });
    }
}
