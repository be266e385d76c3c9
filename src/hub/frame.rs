//! One Pusher connection: its greeting, its end, and every frame that a client may send (pusher.md sections 1 and 2).
//! The files with the names of the requests decide the requests. No JSON that a client sends closes its connection: a
//! bad frame gets an error frame with code null or 43xx, and the connection stays open.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::app::App;
use super::ask::{Ask, Asked, Incoming, is_too_deep, unwrapped};
use super::session::{Session, Terms, Timing};
use super::subscribe::Unsubscribe;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::event;
use crate::protocol::frames::{self, Extra};
use crate::time::{Bucket, Now};

impl App {
    // --- the connection ------------------------------------------------------------------------------------------

    /// Greets a connection. `socket` is new and random.
    pub fn connect(
        &mut self,
        id: ConnectionId,
        socket: SocketId,
        terms: Terms,
        timing: Timing,
        now: Now,
        actions: &mut Actions,
    ) {
        let session = Session {
            id,
            socket,
            recovery: terms.recovery,
            authorized: false,
            subscriptions: Vec::new(),
            replays: Vec::new(),
            recalls: 0,
            user: None,
            client_events: Bucket::default(),
        };
        self.roster.connect(session);
        if timing.authorization_timeout > 0 {
            self.unauthorized
                .push_back((now.at + Duration::from_secs(timing.authorization_timeout), id));
        }
        if terms.recovery {
            self.arm_round(now.at);
        }
        #[derive(serde::Serialize)]
        struct Established {
            socket_id: String,
            activity_timeout: u64,
        }
        let data = Established {
            socket_id: socket.to_string(),
            activity_timeout: timing.activity_timeout,
        };
        actions.send(
            id,
            frames::protocol("pusher:connection_established", None, &data, Extra::default()),
        );
    }

    /// Whether no connection has this socket id.
    pub fn is_free(&self, socket: SocketId) -> bool {
        socket != SocketId(0, 0) && !self.roster.sockets.contains_key(&socket)
    }

    /// Removes a connection from the app: its subscriptions, its user and its session.
    pub fn disconnect(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        if self.roster.session(id).is_none() {
            return;
        }
        while let Some(session) = self.roster.session(id) {
            match session.subscriptions.len() {
                0 => break,
                count => self.drop_subscription(id, count - 1, now, actions),
            }
        }
        let Some(session) = self.roster.disconnect(id) else {
            return;
        };
        if let Some(user) = session.user {
            self.sign_out(id, &user, actions);
        }
    }

    /// Handles a text frame. Returns what the hub cannot answer alone.
    pub fn text(&mut self, id: ConnectionId, text: &str, now: Now, actions: &mut Actions) -> Asked {
        let asked = match is_too_deep(text) {
            true => Err("JSON is nested too deeply".into()),
            false => serde_json::from_str(text)
                .map_err(|_| "a frame is a JSON object with a string `event`".into())
                .and_then(|frame| self.frame(id, &frame, now, actions)),
        };
        asked.unwrap_or_else(|why: Cow<'static, str>| {
            actions.send(id, frames::error(&why, None));
            Asked::Done
        })
    }

    /// Handles a parsed frame. An error is sent to the client.
    fn frame(
        &mut self,
        id: ConnectionId,
        frame: &Incoming<'_>,
        now: Now,
        actions: &mut Actions,
    ) -> Result<Asked, Cow<'static, str>> {
        let data = frame.data.map(unwrapped);
        let data = data.as_deref().unwrap_or("{}");
        let ask = Ask::of(&frame.event);
        if ask.is_some_and(Ask::is_order) {
            actions.push(Action::Charge(id));
        }
        match ask {
            Some(Ask::Ping) => self.pong(id, actions),
            Some(Ask::Pong) => {}
            Some(Ask::Subscribe) => {
                let subscribe = serde_json::from_str(data);
                let subscribe = subscribe.map_err(|_| "`data` of pusher:subscribe needs a string `channel`")?;
                return Ok(Asked::Subscribe(subscribe));
            }
            Some(Ask::FormToken) => {
                let shown = serde_json::from_str(data);
                let Shown { form_token } =
                    shown.map_err(|_| "`data` of jsocketd:form_token needs a string `form_token`")?;
                return Ok(Asked::FormToken(form_token));
            }
            Some(Ask::Unsubscribe) => {
                let unsubscribe = serde_json::from_str::<Unsubscribe<'_>>(data);
                let unsubscribe = unsubscribe.map_err(|_| "`data` of pusher:unsubscribe needs a string `channel`")?;
                self.unsubscribe(id, &unsubscribe.channel, now, actions);
            }
            Some(Ask::SignIn) => {
                let sign_in = serde_json::from_str(data);
                let sign_in =
                    sign_in.map_err(|_| "`data` of pusher:signin needs the strings `auth` and `user_data`")?;
                return Ok(self.sign_in(id, &sign_in, now, actions));
            }
            Some(Ask::ClientEvent) => self.client_event(id, frame, now, actions),
            None => {
                let name: String = frame.event.chars().take(event::MAX_NAME).collect();
                return Err(format!("unknown event `{name}`").into());
            }
        }
        Ok(Asked::Done)
    }

    /// Whether a frame is a ping. A ping is answered even while other frames wait.
    pub fn is_ping(text: &str) -> bool {
        text.len() < 100
            && serde_json::from_str(text).is_ok_and(|frame: Incoming<'_>| Ask::of(&frame.event) == Some(Ask::Ping))
    }

    /// Handles a binary frame.
    pub fn binary(&mut self, id: ConnectionId, actions: &mut Actions) -> Asked {
        actions.send(id, frames::error("binary frames are not supported", None));
        Asked::Done
    }

    fn pong(&mut self, id: ConnectionId, actions: &mut Actions) {
        let Some(session) = self.roster.session(id) else { return };
        let frame: Cow<'static, str> = match session.recovery && session.replays.is_empty() {
            true => self.position_frame("pusher:pong").into(),
            false => frames::PONG.into(),
        };
        actions.send(id, &*frame);
    }
}

/// The data of a frame with a form token.
#[derive(Deserialize)]
struct Shown {
    form_token: Box<str>,
}
