//! One Pusher connection: its greeting, its end, and every frame that a client may send (pusher.md sections 1 and 2). What the
//! frames ask for is decided in the files that are named after it. Nothing that a client sends as JSON ends its connection;
//! it gets an error frame with code null, or 43xx, and goes on.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::app::{App, Hears};
use super::ask::{Ask, FORM_TOKEN_RIGHT, Incoming, Progress, Wish, Wished, is_too_deep, unwrapped};
use super::presence::Member;
use super::subscribe::Unsubscribe;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::event;
use crate::protocol::frames::{self, Extra};
use crate::protocol::position::Stream;
use crate::protocol::room::{give_back, give_back_slots};
use crate::site::Site;
use crate::site::visits::Proved;
use crate::time::{Bucket, Now};

/// The site as far as an app's connections are its visitors.
#[derive(Debug, Default)]
pub struct Door<'a> {
    /// None: the app has no site, and only signatures open its channels.
    pub site: Option<&'a mut Site>,
    /// How long the frame has been waiting; `None`: it has just come.
    pub waited: Option<Duration>,
    /// The frame has waited long enough: what is not known is a no.
    pub last_call: bool,
    /// The clocks.
    pub now: Now,
}

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
    /// Channels whose missed events are still being told.
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

/// What is still to be told of a channel's past: everything in one stream after number `n`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    /// `None`: the channel of the connection's user.
    pub(super) channel: Option<u32>,
    pub(super) stream: Stream,
    pub(super) n: u64,
    /// It waits until the site knows whether the connection may still hear the channel.
    pub(super) held: bool,
}

/// As whom a connection is signed in.
#[derive(Debug)]
pub(super) struct User {
    pub(super) member: Member,
    /// The index among the connections of the user.
    pub(super) place: u32,
    pub(super) watchlist: Vec<Box<str>>,
    /// It subscribed to its own `#server-to-user-` channel. (It is told in any case.)
    pub(super) subscribed: bool,
}

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
            client_events: Bucket::full(self.settings.client_events_per_second, 1, now.at),
        };
        let slot = id.slot();
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.sessions[slot].is_none(),
            "the last owner of the slot was not said to be closed"
        );
        self.sessions[slot] = Some(Box::new(session));
        self.sockets.insert(socket, id);
        self.connections += 1;
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

    /// Whether a socket id is free.
    pub fn is_free(&self, socket: SocketId) -> bool {
        socket != SocketId(0, 0) && !self.sockets.contains_key(&socket)
    }

    /// Takes a connection out of everything.
    pub fn disconnect(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        if self.session(id).is_none() {
            return;
        }
        while let Some(session) = self.session(id) {
            match session.subscriptions.len() {
                0 => break,
                count => self.drop_subscription(id, count - 1, now, actions),
            }
        }
        let Some(session) = self.sessions[id.slot()].take() else {
            return;
        };
        give_back_slots(&mut self.sessions);
        self.sockets.remove(&session.socket);
        give_back(&mut self.sockets);
        self.connections -= 1;
        if let Some(user) = session.user {
            self.sign_out(id, &user, actions);
        }
    }

    /// A text frame came.
    pub fn text(
        &mut self,
        id: ConnectionId,
        text: &str,
        door: &mut Door<'_>,
        now: Now,
        actions: &mut Actions,
    ) -> Progress {
        if is_too_deep(text) {
            actions.send(id, frames::error("JSON is nested too deeply", None));
            return Progress::Done;
        }
        let frame: Incoming<'_> = match serde_json::from_str(text) {
            Ok(frame) => frame,
            Err(_) => {
                let why = "a frame is a JSON object with a string `event`";
                actions.send(id, frames::error(why, None));
                return Progress::Done;
            }
        };
        let data = frame.data.map(unwrapped);
        let data = data.as_deref().unwrap_or("{}");
        let ask = Ask::of(&frame.event);
        if ask.is_some_and(Ask::is_order) {
            actions.push(Action::Charge(id));
        }
        match ask {
            Some(Ask::Ping) => self.pong(id, actions),
            Some(Ask::Pong) => {}
            Some(Ask::Subscribe) => match serde_json::from_str(data) {
                Ok(subscribe) => return self.try_first(id, Wished::Subscribe(subscribe), door, now, actions),
                Err(_) => actions.send(
                    id,
                    frames::error("`data` of pusher:subscribe needs a string `channel`", None),
                ),
            },
            Some(Ask::FormToken) => match serde_json::from_str(data) {
                Ok(Shown { form_token }) => {
                    return self.try_first(id, Wished::Prove(form_token), door, now, actions);
                }
                Err(_) => {
                    let why = "`data` of jsocketd:form_token needs a string `form_token`";
                    actions.send(id, frames::error(why, None));
                }
            },
            Some(Ask::Unsubscribe) => match serde_json::from_str::<Unsubscribe<'_>>(data) {
                Ok(Unsubscribe { channel }) => self.unsubscribe(id, &channel, now, actions),
                Err(_) => actions.send(
                    id,
                    frames::error("`data` of pusher:unsubscribe needs a string `channel`", None),
                ),
            },
            Some(Ask::SignIn) => match serde_json::from_str(data) {
                Ok(sign_in) => self.sign_in(id, &sign_in, door, now, actions),
                Err(_) => {
                    let why = "`data` of pusher:signin needs the strings `auth` and `user_data`";
                    actions.send(id, frames::error(why, None));
                }
            },
            Some(Ask::ClientEvent) => self.client_event(id, &frame, now, actions),
            None => {
                let name: String = frame.event.chars().take(event::MAX_NAME).collect();
                actions.send(id, frames::error(&format!("unknown event `{name}`"), None));
            }
        }
        Progress::Done
    }

    fn try_first(
        &mut self,
        id: ConnectionId,
        wished: Wished,
        door: &mut Door<'_>,
        now: Now,
        actions: &mut Actions,
    ) -> Progress {
        let wish = Wish(wished);
        match self.grant(id, &wish, door, now, actions) {
            true => Progress::Done,
            false => Progress::Later(wish),
        }
    }

    /// Does what a client wished for, if all is known that this takes; whether it is done.
    pub fn grant(
        &mut self,
        id: ConnectionId,
        Wish(wished): &Wish,
        door: &mut Door<'_>,
        now: Now,
        actions: &mut Actions,
    ) -> bool {
        match wished {
            Wished::Subscribe(subscribe) => self.subscribe(id, subscribe, door, now, actions),
            Wished::Prove(token) => prove(id, token, door, actions),
        }
    }

    /// Whether a frame is a ping, which is answered while others wait.
    pub fn is_ping(text: &str) -> bool {
        text.len() < 100
            && serde_json::from_str(text).is_ok_and(|frame: Incoming<'_>| Ask::of(&frame.event) == Some(Ask::Ping))
    }

    /// A binary frame came.
    pub fn binary(&mut self, id: ConnectionId, actions: &mut Actions) {
        actions.send(id, frames::error("binary frames are not supported", None));
    }

    fn pong(&mut self, id: ConnectionId, actions: &mut Actions) {
        let Some(session) = self.session(id) else { return };
        let frame: Cow<'static, str> = match session.recovery && session.replays.is_empty() {
            true => self.position_frame("pusher:pong").into(),
            false => frames::PONG.into(),
        };
        actions.send(id, &*frame);
    }
}

/// What shows a form token.
#[derive(Deserialize)]
struct Shown {
    form_token: Box<str>,
}

/// The client shows the form token of its page: a second proof, besides the origin, that the page is the site's own. Whether
/// that is done; if not, the token must be known first.
fn prove(id: ConnectionId, token: &str, door: &mut Door<'_>, actions: &mut Actions) -> bool {
    let Some(site) = door.site.as_deref_mut() else {
        actions.send(
            id,
            frames::error("there is no site whose form tokens could be checked", None),
        );
        return true;
    };
    match site.prove(id, token, door.now, actions.effects()) {
        Proved::Right => actions.send(id, frames::bare(FORM_TOKEN_RIGHT, None, Extra::default())),
        Proved::NotYet if !door.last_call => return false,
        Proved::NotYet | Proved::OutOfReach => actions.send(
            id,
            frames::error("the form token cannot be checked at the moment", None),
        ),
        Proved::Wrong => actions.send(id, frames::error("the form token is not this session's", None)),
    }
    true
}

impl Session {
    /// How it gets events once it was told of the past.
    pub(super) fn hears_events(&self) -> Hears {
        match self.recovery {
            true => Hears::Positions,
            false => Hears::Stock,
        }
    }

    /// Whether it subscribed to anything, or is told what concerns its user.
    pub(super) fn hears(&self) -> bool {
        !self.subscriptions.is_empty() || self.user.is_some()
    }

    pub(super) fn find(&self, channel: usize) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|own| own.channel as usize == channel)
    }
}

/// What a new connection is told and held to, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Of silence, after which the client is to ping.
    pub activity_timeout: u64,
    /// Until it must have authorized itself; 0: never.
    pub authorization_timeout: u64,
}
