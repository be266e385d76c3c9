//! One Pusher connection: from `connection_established` to its end, and every frame that a client may send (pusher.md
//! sections 1–4, 7, 8). Nothing that a client sends as JSON ends its connection; it gets an error frame with code null, or
//! 43xx, and goes on.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::app::{App, Hears};
use super::channel::{ChannelName, Kind};
use super::frames::{self, Extra};
use super::history::{History, Position};
use super::presence::Member;
use super::users::WatchlistEvents;
use super::{SocketId, signature};
use crate::app::actions::{Action, Actions};
use crate::app::webhooks::HookEvent;
use crate::id::ConnectionId;
use crate::time::{Now, Time};

/// How deep the JSON of a frame may be nested.
const MAX_DEPTH: usize = 64;

/// Characters of a user id.
const MAX_USER_ID: usize = 128;

/// Bytes of an event's name.
const MAX_EVENT_NAME: usize = 200;

/// Users of a watchlist; the rest is left out (error 4302).
const MAX_WATCHLIST: usize = 100;

/// Bytes of missed events that are sent at once; the rest follows when they have left. Small beside `outbox_bytes`, so that
/// a recovery never makes a slow consumer of anybody.
const REPLAY_AT_ONCE: usize = 64 * 1024;

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
    socket: SocketId,
    pub(super) recovery: bool,
    /// Signed in, or in a private or presence channel at least once.
    pub(super) authorized: bool,
    pub(super) subscriptions: Vec<Subscription>,
    /// Channels whose missed events are still being told.
    pub(super) replays: Vec<Replay>,
    user: Option<Box<User>>,
    client_events: Bucket,
}

/// A connection's place in one channel.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: u32,
    /// The index in the channel's list.
    pub(super) place: u32,
    /// On a presence channel, as whom.
    member: Option<Box<str>>,
}

/// What is still to be told of a channel's past: everything after number `n`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    channel: u32,
    n: u64,
}

/// As whom a connection is signed in.
#[derive(Debug)]
struct User {
    member: Member,
    watchlist: Vec<Box<str>>,
    /// It subscribed to its own `#server-to-user-` channel. (It is told in any case.)
    subscribed: bool,
}

/// A token bucket of one second's worth.
#[derive(Debug)]
struct Bucket {
    /// Thousandths of a token.
    left: u64,
    filled: Time,
}

impl Bucket {
    fn take(&mut self, rate: u32, now: Time) -> bool {
        let full = u64::from(rate) * 1000;
        let millis = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            self.left = self.left.saturating_add(millis.saturating_mul(rate.into())).min(full);
            self.filled = now;
        }
        let may = self.left >= 1000;
        if may {
            self.left -= 1000;
        }
        may
    }
}

/// A frame of a client. Whatever else it has is ignored.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Subscribe<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow, default)]
    auth: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channel_data: Option<&'a RawValue>,
    #[serde(default)]
    since: Option<Since>,
}

/// One position, or one for each stream.
#[derive(Deserialize)]
#[serde(untagged)]
enum Since {
    One(String),
    Many(Vec<String>),
}

impl Since {
    /// The position in the stream of events in memory, if there is one among them.
    fn in_memory(&self) -> Option<Position> {
        match self {
            Since::One(position) => position.parse().ok(),
            Since::Many(positions) => positions.iter().find_map(|position| position.parse().ok()),
        }
    }
}

#[derive(Deserialize)]
struct Unsubscribe<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SignIn<'a> {
    #[serde(borrow)]
    auth: Cow<'a, str>,
    #[serde(borrow)]
    user_data: Cow<'a, str>,
}

/// Why a subscription is refused, in the words of soketi's `subscription_error` (the only form that names the channel) and
/// of the `pusher:error` that follows it.
struct Refusal {
    kind: &'static str,
    status: u16,
    error: Cow<'static, str>,
}

impl Refusal {
    fn auth(error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: "AuthError",
            status: 401,
            error: error.into(),
        }
    }

    fn name(error: &'static str) -> Self {
        Self {
            kind: "InvalidChannel",
            status: 4009,
            error: error.into(),
        }
    }

    fn limit(error: String) -> Self {
        Self {
            kind: "LimitReached",
            status: 4100,
            error: error.into(),
        }
    }
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
            user: None,
            client_events: Bucket {
                left: u64::from(self.settings.client_events_per_second) * 1000,
                filled: now.at,
            },
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
        self.sockets.remove(&session.socket);
        self.connections -= 1;
        if let Some(user) = session.user {
            self.sign_out(id, &user, actions);
        }
    }

    /// A text frame came.
    pub fn text(&mut self, id: ConnectionId, text: &str, now: Now, actions: &mut Actions) {
        if is_too_deep(text) {
            return actions.send(id, frames::error("JSON is nested too deeply", None));
        }
        let frame: Incoming<'_> = match serde_json::from_str(text) {
            Ok(frame) => frame,
            Err(_) => {
                let why = "a frame is a JSON object with a string `event`";
                return actions.send(id, frames::error(why, None));
            }
        };
        let data = frame.data.map(unwrapped);
        let data = data.as_deref().unwrap_or("{}");
        match &*frame.event {
            "pusher:ping" => self.pong(id, actions),
            "pusher:pong" => {}
            "pusher:subscribe" => match serde_json::from_str(data) {
                Ok(subscribe) => self.subscribe(id, &subscribe, now, actions),
                Err(_) => actions.send(
                    id,
                    frames::error("`data` of pusher:subscribe needs a string `channel`", None),
                ),
            },
            "pusher:unsubscribe" => match serde_json::from_str::<Unsubscribe<'_>>(data) {
                Ok(Unsubscribe { channel }) => self.unsubscribe(id, &channel, now, actions),
                Err(_) => actions.send(
                    id,
                    frames::error("`data` of pusher:unsubscribe needs a string `channel`", None),
                ),
            },
            "pusher:signin" => match serde_json::from_str(data) {
                Ok(sign_in) => self.sign_in(id, &sign_in, actions),
                Err(_) => {
                    let why = "`data` of pusher:signin needs the strings `auth` and `user_data`";
                    actions.send(id, frames::error(why, None));
                }
            },
            name if name.starts_with("client-") => self.client_event(id, &frame, now, actions),
            name => {
                let name: String = name.chars().take(MAX_EVENT_NAME).collect();
                actions.send(id, frames::error(&format!("unknown event `{name}`"), None));
            }
        }
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

    // --- subscriptions -------------------------------------------------------------------------------------------

    fn subscribe(&mut self, id: ConnectionId, subscribe: &Subscribe<'_>, now: Now, actions: &mut Actions) {
        let channel = &*subscribe.channel;
        let name = match ChannelName::parse(channel) {
            Ok(name) => name,
            Err(why) => return refuse(id, channel, &Refusal::name(why), actions),
        };
        if self.is_subscribed(id, name) {
            return actions.send(
                id,
                frames::error(&format!("Existing subscription to channel {channel}"), None),
            );
        }
        match self.admit(id, name, subscribe) {
            Err(refusal) => refuse(id, channel, &refusal, actions),
            Ok(_) if name.kind() == Kind::ServerToUser => self.subscribe_user(id, name, subscribe, actions),
            Ok(member) => self.join(id, name, member, subscribe.since.as_ref(), now, actions),
        }
    }

    fn is_subscribed(&mut self, id: ConnectionId, name: ChannelName<'_>) -> bool {
        let channel = self.channel_index(name.as_str());
        let Some(session) = self.session(id) else { return false };
        match name.user() {
            Some(_) => session.user.as_ref().is_some_and(|user| user.subscribed),
            None => channel.is_some_and(|channel| session.find(channel).is_some()),
        }
    }

    /// Whether a connection may subscribe, and as which member.
    fn admit(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        subscribe: &Subscribe<'_>,
    ) -> Result<Option<Member>, Refusal> {
        let most = self.settings.max_channels;
        let Some(session) = self.session(id) else {
            return Err(Refusal::auth("the connection is gone"));
        };
        if session.subscriptions.len() >= most {
            return Err(Refusal::limit(format!("a connection has at most {most} channels")));
        }
        let member = match name.kind() {
            Kind::Public => return Ok(None),
            Kind::ServerToUser => {
                let own = session
                    .user
                    .as_ref()
                    .is_some_and(|user| Some(&*user.member.user_id) == name.user());
                return match own {
                    true => Ok(None),
                    false => Err(Refusal::auth("the channel belongs to another user; sign in first")),
                };
            }
            Kind::Private | Kind::Encrypted => {
                self.check_signature(id, name, subscribe)?;
                None
            }
            Kind::Presence => Some(self.check_member(id, name, subscribe)?),
        };
        Ok(member)
    }

    /// Checks `auth`. On presence channels `channel_data` is part of what was signed; on private ones it may be.
    fn check_signature(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), Refusal> {
        let Some(session) = self.session(id) else {
            return Err(Refusal::auth("the connection is gone"));
        };
        let socket = session.socket.to_string();
        let auth = match subscribe
            .auth
            .map(|auth| serde_json::from_str::<Option<Cow<'_, str>>>(auth.get()))
        {
            Some(Ok(Some(auth))) => auth,
            None | Some(Ok(None)) => "".into(),
            Some(Err(_)) => return Err(Refusal::auth("`auth` is not a string")),
        };
        let channel_data = match subscribe
            .channel_data
            .map(|data| serde_json::from_str::<Option<Cow<'_, str>>>(data.get()))
        {
            Some(Ok(data)) => data,
            None => None,
            Some(Err(_)) => return Err(Refusal::auth("`channel_data` is not a string")),
        };
        if auth.is_empty() {
            return Err(Refusal::auth("the channel needs an `auth` signature"));
        }
        let Some((key, given)) = auth.split_once(':') else {
            return Err(Refusal::auth("`auth` has the form key:signature"));
        };
        if key != self.settings.key {
            return Err(Refusal::auth(format!("Invalid key in subscription auth data: '{key}'")));
        }
        let secret = &self.settings.secret;
        let short: [&[u8]; 3] = [socket.as_bytes(), b":", name.as_str().as_bytes()];
        let signed = match &channel_data {
            None => signature::matches(secret, &short, given),
            Some(data) => {
                let long: [&[u8]; 5] = [short[0], short[1], short[2], b":", data.as_bytes()];
                let either = name.kind() != Kind::Presence;
                signature::matches(secret, &long, given) | (either && signature::matches(secret, &short, given))
            }
        };
        if signed {
            return Ok(());
        }
        let form = channel_data.map_or_else(String::new, |data| format!(":{data}"));
        Err(Refusal::auth(format!(
            "Invalid signature: Expected HMAC SHA256 hex digest of {socket}:{}{form}, but got {given}",
            name.as_str(),
        )))
    }

    fn check_member(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        subscribe: &Subscribe<'_>,
    ) -> Result<Member, Refusal> {
        self.check_signature(id, name, subscribe)?;
        let signed = subscribe
            .channel_data
            .and_then(|data| serde_json::from_str::<Option<String>>(data.get()).ok());
        let member = match signed.flatten() {
            Some(channel_data) => {
                read_member(&channel_data, "user_id", Ids::StringsAndNumbers).map_err(Refusal::auth)?
            }
            None => {
                let user = self.session(id).and_then(|session| session.user.as_ref());
                match user {
                    Some(user) => user.member.clone(),
                    None => {
                        return Err(Refusal::auth(
                            "a presence channel needs `channel_data`, or a sign-in first",
                        ));
                    }
                }
            }
        };
        let most = self.settings.max_user_info_size;
        if member.user_info.as_ref().is_some_and(|info| info.get().len() > most) {
            return Err(Refusal::limit(format!("user_info has at most {most} bytes")));
        }
        let most = self.settings.max_presence_members;
        if let Some(channel) = self.channel_index(name.as_str()) {
            let members = &self.channels[channel].members;
            if members.len() >= most && !members.has(&member.user_id) {
                return Err(Refusal::limit(format!("a presence channel has at most {most} members")));
            }
        }
        Ok(member)
    }

    /// Puts a connection into a channel and tells it everything in order: that it is in, the cached event or what it missed;
    /// then the others that it came.
    fn join(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        member: Option<Member>,
        since: Option<&Since>,
        now: Now,
        actions: &mut Actions,
    ) {
        let Some(session) = self.session(id) else { return };
        let recovery = session.recovery;
        let back = session.subscriptions.len() as u32;
        let hears = if recovery { Hears::Positions } else { Hears::Stock };
        let channel = self.enter(id, name, hears, back);
        let place = self.channels[channel].subscribers.len() as u32 - 1;
        let newcomer = member
            .as_ref()
            .is_some_and(|member| self.channels[channel].members.add(member));
        let user_id = member.as_ref().map(|member| member.user_id.clone());
        let Some(session) = self.session(id) else { return };
        session.authorized |= !matches!(name.kind(), Kind::Public);
        if session.subscriptions.is_empty() {
            // Most connections have one channel; the usual growth would begin with room for four.
            session.subscriptions.reserve_exact(1);
        }
        session.subscriptions.push(Subscription {
            channel: channel as u32,
            place,
            member: user_id,
        });

        let recovered = since.filter(|_| recovery).map(|since| self.reached(name, since));
        self.tell_succeeded(id, channel, recovered, actions);
        match recovered.flatten() {
            Some(n) => self.replay(
                id,
                Replay {
                    channel: channel as u32,
                    n,
                },
                actions,
            ),
            None => self.tell_cached(id, name, now, actions),
        }
        if let (true, Some(member)) = (newcomer, member) {
            #[derive(serde::Serialize)]
            struct Added<'a> {
                user_id: &'a str,
                #[serde(skip_serializing_if = "Option::is_none")]
                user_info: Option<&'a RawValue>,
            }
            let data = Added {
                user_id: &member.user_id,
                user_info: member.user_info.as_deref(),
            };
            let event = "pusher_internal:member_added";
            let frame = frames::protocol(event, Some(name.as_str()), &data, Extra::default());
            self.announce(channel, Some(id), frame, actions);
            let (channel, user_id) = (name.as_str().to_owned(), member.user_id.into());
            self.hook(HookEvent::MemberAdded { channel, user_id });
        }
        self.count(channel, now.at, actions);
    }

    /// `recovered`: whether the client asked for what it missed, and the number after which it is told that.
    fn tell_succeeded(
        &mut self,
        id: ConnectionId,
        channel: usize,
        recovered: Option<Option<u64>>,
        actions: &mut Actions,
    ) {
        let recovery = self.session(id).is_some_and(|session| session.recovery);
        let position = recovery.then(|| self.position_after(recovered).to_string());
        let recovered = recovered.map(|reached| reached.is_some());
        let extra = Extra {
            id: None,
            pos: position.as_deref(),
            recovered,
        };
        let found = &self.channels[channel];
        let event = "pusher_internal:subscription_succeeded";
        #[derive(serde::Serialize)]
        struct Nothing {}
        actions.send(
            id,
            match found.kind {
                Kind::Presence => frames::protocol(event, Some(&found.name), &found.members.roll(), extra),
                _ => frames::protocol(event, Some(&found.name), &Nothing {}, extra),
            },
        );
    }

    fn tell_cached(&mut self, id: ConnectionId, name: ChannelName<'_>, now: Now, actions: &mut Actions) {
        if !name.is_cache() {
            return;
        }
        let channel = name.as_str();
        if let Some(cached) = self.cache.find(channel, now) {
            return actions.send(id, cached.frame(channel));
        }
        #[derive(serde::Serialize)]
        struct Nothing {}
        actions.send(
            id,
            frames::protocol("pusher:cache_miss", Some(channel), &Nothing {}, Extra::default()),
        );
        self.hook(HookEvent::CacheMiss {
            channel: channel.to_owned(),
        });
    }

    /// A signed-in user's own channel: it is told in any case, the subscription is only answered.
    fn subscribe_user(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        subscribe: &Subscribe<'_>,
        actions: &mut Actions,
    ) {
        let Some(session) = self.session(id) else { return };
        let recovery = session.recovery;
        let socket = session.socket;
        if let Some(user) = &mut session.user {
            user.subscribed = true;
        }
        let reached = subscribe
            .since
            .as_ref()
            .filter(|_| recovery)
            .map(|since| self.reached(name, since));
        let position = recovery.then(|| self.position_after(reached).to_string());
        let extra = Extra {
            id: None,
            pos: position.as_deref(),
            recovered: reached.map(|reached| reached.is_some()),
        };
        #[derive(serde::Serialize)]
        struct Nothing {}
        let event = "pusher_internal:subscription_succeeded";
        actions.send(id, frames::protocol(event, Some(name.as_str()), &Nothing {}, extra));
        // One user's channel holds `history_channel_bytes` at most, so it is told at once.
        let Some(mut n) = reached.flatten() else { return };
        while let Some((next, frame, except)) = self.history.next(name.as_str(), n) {
            if except != Some(socket) {
                actions.send(id, frame.clone());
            }
            n = next;
        }
    }

    fn unsubscribe(&mut self, id: ConnectionId, name: &str, now: Now, actions: &mut Actions) {
        let channel = self.channel_index(name);
        let Some(session) = self.session(id) else { return };
        if let Some(user) = &mut session.user
            && ChannelName::parse(name).ok().and_then(ChannelName::user) == Some(&*user.member.user_id)
        {
            user.subscribed = false;
        }
        // An unknown one is answered with silence (pusher.md 3.3).
        if let Some(index) = channel.and_then(|channel| session.find(channel)) {
            self.drop_subscription(id, index, now, actions);
        }
    }

    /// Ends the subscription at `index` of a connection's list, whose last one takes its place.
    fn drop_subscription(&mut self, id: ConnectionId, index: usize, now: Now, actions: &mut Actions) {
        let Some(session) = self.session(id) else { return };
        let Subscription { channel, place, member } = session.subscriptions.swap_remove(index);
        session.replays.retain(|replay| replay.channel != channel);
        let moved = session
            .subscriptions
            .get(index)
            .map(|moved| (moved.channel as usize, moved.place as usize));
        if let Some((channel, place)) = moved {
            self.channels[channel].subscribers[place].back = index as u32;
        }
        let channel = channel as usize;
        let name = self.channels[channel].name.to_string();
        let gone = member.filter(|user_id| self.channels[channel].members.remove(user_id));
        if let Some(user_id) = gone {
            #[derive(serde::Serialize)]
            struct Removed<'a> {
                user_id: &'a str,
            }
            let event = "pusher_internal:member_removed";
            let frame = frames::protocol(event, Some(&name), &Removed { user_id: &user_id }, Extra::default());
            self.announce(channel, Some(id), frame, actions);
            self.hook(HookEvent::MemberRemoved {
                channel: name.clone(),
                user_id: user_id.into(),
            });
        }
        self.leave(channel, place as usize);
        // The last one to leave leaves nobody to be told.
        if self.channel_index(&name) == Some(channel) {
            self.count(channel, now.at, actions);
        }
    }

    // --- recovery ------------------------------------------------------------------------------------------------

    /// The number after which a client missed events of a channel, if all of them are still known.
    fn reached(&self, name: ChannelName<'_>, since: &Since) -> Option<u64> {
        let position = since.in_memory()?;
        let Position::Memory { n, .. } = position;
        self.history.reaches(name.as_str(), position).then_some(n)
    }

    /// The position of a client that was just let in. What it missed follows, so who is cut off in between must be able to
    /// ask again from where it was.
    fn position_after(&self, recovered: Option<Option<u64>>) -> Position {
        let Position::Memory { start, n } = self.position();
        let n = recovered.flatten().unwrap_or(n);
        Position::Memory { start, n }
    }

    /// Tells what was missed, a part at a time: what happens meanwhile waits in the history behind it.
    fn replay(&mut self, id: ConnectionId, replay: Replay, actions: &mut Actions) {
        let Replay { channel, mut n } = replay;
        let name = self.channels[channel as usize].name.clone();
        let Some(session) = self.session(id) else { return };
        let socket = session.socket;
        let waits = !session.replays.is_empty();
        let mut sent = 0;
        while sent < REPLAY_AT_ONCE && !waits {
            let Some((next, frame, except)) = self.history.next(&name, n) else {
                break;
            };
            if except != Some(socket) {
                sent += frame.len();
                actions.send(id, frame.clone());
            }
            n = next;
        }
        let over = !waits && self.history.next(&name, n).is_none();
        self.hear(id, channel, if over { Hears::Positions } else { Hears::Later });
        if over {
            return;
        }
        if !waits {
            actions.push(Action::WhenFlushed(id));
        }
        if let Some(session) = self.session(id) {
            session.replays.push(Replay { channel, n });
        }
    }

    /// What was sent has left: the next part of what was missed follows.
    pub fn flushed(&mut self, id: ConnectionId, actions: &mut Actions) {
        let Some(session) = self.session(id) else { return };
        if session.replays.is_empty() {
            return;
        }
        let replay = session.replays.remove(0);
        let waiting = std::mem::take(&mut session.replays);
        let name = &self.channels[replay.channel as usize].name;
        let Position::Memory { start, .. } = self.position();
        if !self.history.reaches(name, Position::Memory { start, n: replay.n }) {
            // It was told "recovered", and the rest was forgotten meanwhile: it must come back and be told the truth.
            actions.push(Action::Close(id, 4200, "the history ran out during a recovery".into()));
            return;
        }
        self.replay(id, replay, actions);
        let Some(session) = self.session(id) else { return };
        let again = session.replays.is_empty() && !waiting.is_empty();
        session.replays.extend(waiting);
        if again {
            actions.push(Action::WhenFlushed(id));
        }
    }

    fn hear(&mut self, id: ConnectionId, channel: u32, hears: Hears) {
        let place = self.session(id).and_then(|session| {
            session
                .subscriptions
                .iter()
                .find(|own| own.channel == channel)
                .map(|own| own.place as usize)
        });
        if let Some(place) = place {
            self.channels[channel as usize].subscribers[place].hears = hears;
        }
    }

    // --- client events -------------------------------------------------------------------------------------------

    fn client_event(&mut self, id: ConnectionId, frame: &Incoming<'_>, now: Now, actions: &mut Actions) {
        match self.check_client_event(id, frame, now) {
            Err((why, code)) => actions.send(id, frames::error(&why, code)),
            Ok((channel, user_id)) => self.relay(id, channel, user_id.as_deref(), frame, now, actions),
        }
    }

    /// The channel's index and, on a presence channel, as whom the sender is in it.
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
        if frame.event.len() > MAX_EVENT_NAME {
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
        let channel = self.channel_index(name);
        let rate = self.settings.client_events_per_second;
        let Some(session) = self.session(id) else {
            return no("the connection is gone");
        };
        let own = channel.and_then(|channel| session.find(channel).map(|index| (channel, index)));
        let Some((channel, index)) = own else {
            return no(&format!(
                "No current subscription to channel {name}, or subscription in progress"
            ));
        };
        if !session.client_events.take(rate, now.at) {
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
        let Some(socket) = self.session(id).map(|session| session.socket) else {
            return;
        };
        let name = self.channels[channel].name.to_string();
        self.deliver(&name, None, Some(socket), now, actions, |extra| {
            frames::client_event(&frame.event, &name, frame.data, user_id, extra)
        });
        self.hook(HookEvent::ClientEvent {
            channel: name,
            event: frame.event.to_string(),
            data: frame.data.map(|data| unwrapped(data).into_owned()).unwrap_or_default(),
            socket_id: socket.to_string(),
            user_id: user_id.map(str::to_owned),
        });
    }

    // --- users ---------------------------------------------------------------------------------------------------

    fn sign_in(&mut self, id: ConnectionId, sign_in: &SignIn<'_>, actions: &mut Actions) {
        let (member, mut watchlist) = match self.check_sign_in(id, sign_in) {
            Ok(checked) => checked,
            Err(why) => return actions.send(id, frames::error(&why, None)),
        };
        let Some(session) = self.session(id) else { return };
        if let Some(user) = &session.user {
            let same = user.member.user_id == member.user_id;
            return match same {
                true => tell_signed_in(id, &sign_in.user_data, actions),
                false => actions.send(id, frames::error("the connection is signed in as another user", None)),
            };
        }
        tell_signed_in(id, &sign_in.user_data, actions);
        if watchlist.len() > MAX_WATCHLIST {
            watchlist.truncate(MAX_WATCHLIST);
            let why = format!("a watchlist has at most {MAX_WATCHLIST} users; the rest was left out");
            actions.send(id, frames::error(&why, Some(4302)));
        }
        if !self.settings.watchlist {
            watchlist.clear();
        }
        let user_id = member.user_id.clone();
        let Some(session) = self.session(id) else { return };
        let hears = if session.recovery {
            Hears::Positions
        } else {
            Hears::Stock
        };
        session.authorized = true;
        session.user = Some(Box::new(User {
            member,
            watchlist: watchlist.clone(),
            subscribed: false,
        }));
        if self.users.sign_in(&user_id, id, hears) {
            self.tell_watchers("online", &user_id, id, actions);
        }
        for user in &watchlist {
            self.users.watch(user, id);
        }
        let status = self.users.status(&watchlist);
        if !status.is_empty() {
            actions.send(id, watchlist_frame(&status));
        }
    }

    fn check_sign_in(
        &mut self,
        id: ConnectionId,
        sign_in: &SignIn<'_>,
    ) -> Result<(Member, Vec<Box<str>>), Cow<'static, str>> {
        if !self.settings.user_authentication {
            return Err("user authentication is not enabled for this app".into());
        }
        let Some(socket) = self.session(id).map(|session| session.socket.to_string()) else {
            return Err("the connection is gone".into());
        };
        let Some((key, given)) = sign_in.auth.split_once(':') else {
            return Err("`auth` has the form key:signature".into());
        };
        if key != self.settings.key {
            return Err(format!("Invalid key in sign-in auth data: '{key}'").into());
        }
        let signed: [&[u8]; 3] = [socket.as_bytes(), b"::user::", sign_in.user_data.as_bytes()];
        if !signature::matches(&self.settings.secret, &signed, given) {
            return Err(format!(
                "Invalid signature: Expected HMAC SHA256 hex digest of {socket}::user::{{user_data}}, but got {given}"
            )
            .into());
        }
        let member = read_member(&sign_in.user_data, "id", Ids::Strings)?;
        #[derive(Deserialize)]
        struct Watching {
            #[serde(default)]
            watchlist: Option<Vec<serde_json::Value>>,
        }
        let watching: Watching =
            serde_json::from_str(&sign_in.user_data).map_err(|_| "`watchlist` in user_data is not a list")?;
        let mut watchlist: Vec<Box<str>> = Vec::new();
        for entry in watching.watchlist.unwrap_or_default() {
            match read_id(&entry) {
                Some(id) if !watchlist.contains(&id) => watchlist.push(id),
                Some(_) => {}
                None => return Err("`watchlist` in user_data is a list of user ids".into()),
            }
            // One more than is taken is enough to know that there were too many.
            if watchlist.len() > MAX_WATCHLIST {
                break;
            }
        }
        Ok((member, watchlist))
    }

    fn sign_out(&mut self, id: ConnectionId, user: &User, actions: &mut Actions) {
        for watched in &user.watchlist {
            self.users.unwatch(watched, id);
        }
        if self.users.sign_out(&user.member.user_id, id) {
            self.tell_watchers("offline", &user.member.user_id, id, actions);
        }
    }

    fn tell_watchers(&self, change: &'static str, user_id: &str, but: ConnectionId, actions: &mut Actions) {
        let watchers = self
            .users
            .watchers(user_id)
            .iter()
            .copied()
            .filter(|watcher| *watcher != but);
        actions.fan_out(
            watchers,
            watchlist_frame(&WatchlistEvents::change(change, user_id)).into(),
        );
    }
}

impl Session {
    fn find(&self, channel: usize) -> Option<usize> {
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

fn tell_signed_in(id: ConnectionId, user_data: &str, actions: &mut Actions) {
    #[derive(serde::Serialize)]
    struct SignedIn<'a> {
        user_data: &'a str,
    }
    actions.send(
        id,
        frames::plain("pusher:signin_success", None, &SignedIn { user_data }),
    );
}

fn watchlist_frame(events: &WatchlistEvents<'_>) -> String {
    frames::protocol("pusher_internal:watchlist_events", None, events, Extra::default())
}

fn refuse(id: ConnectionId, channel: &str, refusal: &Refusal, actions: &mut Actions) {
    #[derive(serde::Serialize)]
    struct Data<'a> {
        r#type: &'a str,
        error: &'a str,
        status: u16,
    }
    // A name that is far too long is not worth repeating whole.
    let shown: String = channel.chars().take(MAX_EVENT_NAME).collect();
    let data = Data {
        r#type: refusal.kind,
        error: &refusal.error,
        status: refusal.status,
    };
    actions.send(id, frames::plain("pusher:subscription_error", Some(&shown), &data));
    actions.send(id, frames::error(&refusal.error, None));
}

/// `data` may be JSON, or a string that holds JSON (as some clients send it).
fn unwrapped(data: &RawValue) -> Cow<'_, str> {
    if !data.get().starts_with('"') {
        return data.get().into();
    }
    match serde_json::from_str::<Cow<'_, str>>(data.get()) {
        Ok(inner) => inner.into_owned().into(),
        Err(_) => data.get().into(),
    }
}

/// What a user id may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    /// A sign-in (pusher.md 7.2).
    Strings,
    /// `channel_data`, where the documentation's own example has a number (4.1).
    StringsAndNumbers,
}

/// A member from its JSON; `key` is what its id is called there.
fn read_member(json: &str, key: &str, ids: Ids) -> Result<Member, &'static str> {
    if is_too_deep(json) {
        return Err("user data is nested too deeply");
    }
    let data: std::collections::BTreeMap<Cow<'_, str>, Box<RawValue>> =
        serde_json::from_str(json).map_err(|_| "user data is not a JSON object")?;
    let id: Option<serde_json::Value> = data.get(key).and_then(|raw| serde_json::from_str(raw.get()).ok());
    if ids == Ids::Strings && id.as_ref().is_some_and(serde_json::Value::is_number) {
        return Err("the user's id is a string that is not empty");
    }
    let Some(user_id) = id.as_ref().and_then(read_id) else {
        return Err("the user's id is a string that is not empty, or a number");
    };
    if user_id.chars().count() > MAX_USER_ID {
        return Err("the user's id has at most 128 characters");
    }
    let user_info = data.get("user_info").filter(|info| info.get() != "null").cloned();
    Ok(Member { user_id, user_info })
}

/// A user id as a string: 10 and "10" are one user.
fn read_id(value: &serde_json::Value) -> Option<Box<str>> {
    match value {
        serde_json::Value::String(id) if !id.is_empty() => Some(id.as_str().into()),
        serde_json::Value::Number(id) => Some(id.to_string().into()),
        _ => None,
    }
}

/// Whether JSON is nested deeper than 64 levels: one pass, before anything recursive sees it.
pub fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
