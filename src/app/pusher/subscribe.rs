//! Coming into channels and leaving them (pusher.md sections 3 and 4): who may, what a newcomer is told and in which order, and
//! what the others hear of it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::app::{App, Hears};
use super::channel::{ChannelName, Kind};
use super::frames::{self, Extra};
use super::history::History;
use super::presence::Member;
use super::recovery::Since;
use super::session::{MAX_EVENT_NAME, Replay, Subscription};
use super::sign_in::{Ids, read_member};
use super::signature;
use crate::app::actions::Actions;
use crate::app::webhooks::HookEvent;
use crate::id::ConnectionId;
use crate::time::Now;

#[derive(Deserialize)]
pub(super) struct Subscribe<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) auth: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) channel_data: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) since: Option<Since>,
}

#[derive(Deserialize)]
pub(super) struct Unsubscribe<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
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
    pub(super) fn subscribe(&mut self, id: ConnectionId, subscribe: &Subscribe<'_>, now: Now, actions: &mut Actions) {
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
        actions.send(
            id,
            match found.kind {
                Kind::Presence => frames::protocol(event, Some(&found.name), &found.members.roll(), extra),
                _ => frames::bare(event, Some(&found.name), extra),
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
        actions.send(id, frames::bare("pusher:cache_miss", Some(channel), Extra::default()));
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
        let event = "pusher_internal:subscription_succeeded";
        actions.send(id, frames::bare(event, Some(name.as_str()), extra));
        // One user's channel holds `history_channel_bytes` at most, so it is told at once.
        let Some(mut n) = reached.flatten() else { return };
        while let Some((next, frame, except)) = self.history.next(name.as_str(), n) {
            if except != Some(socket) {
                actions.send(id, frame.clone());
            }
            n = next;
        }
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, name: &str, now: Now, actions: &mut Actions) {
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
    pub(super) fn drop_subscription(&mut self, id: ConnectionId, index: usize, now: Now, actions: &mut Actions) {
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
