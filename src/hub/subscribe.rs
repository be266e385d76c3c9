//! Coming into channels and leaving them (pusher.md sections 3 and 4): who may, what a newcomer is told and in which order, and
//! what the others hear of it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::app::App;
use super::presence::Member;
use super::recovery::{Absence, Since};
use super::session::{Door, Subscription};
use super::sign_in::{Ids, read_member};
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::effects::HookEvent;
use crate::protocol::event;
use crate::protocol::frames::{self, Extra, OneOrMore};
use crate::protocol::signature;
use crate::site::May;
use crate::time::Now;

#[derive(Debug, Deserialize)]
pub(super) struct Subscribe {
    pub(super) channel: Box<str>,
    #[serde(default)]
    pub(super) auth: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) channel_data: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) since: Option<Since>,
}

#[derive(Deserialize)]
pub(super) struct Unsubscribe<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
}

/// The confirmation.
const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

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

    /// The site's rules say no.
    fn access(error: &'static str) -> Self {
        Self {
            kind: "AccessDenied",
            status: 403,
            error: error.into(),
        }
    }

    /// The site's rules said yes, and now say no.
    fn withdrawn(error: &'static str) -> Self {
        Self {
            kind: "AccessWithdrawn",
            ..Self::access(error)
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

/// What lets a connection into a channel.
struct Ticket {
    member: Option<Member>,
    by_rule: bool,
}

/// The answer at a channel's door.
enum Admission {
    In(Ticket),
    Refused(Refusal),
    Later,
}

impl From<Refusal> for Admission {
    fn from(refusal: Refusal) -> Self {
        Admission::Refused(refusal)
    }
}

impl App {
    /// Whether it is done; if not, something must be known first, and the same is to come again then.
    pub(super) fn subscribe(
        &mut self,
        id: ConnectionId,
        subscribe: &Subscribe,
        door: &mut Door<'_>,
        now: Now,
        actions: &mut Actions,
    ) -> bool {
        let channel = &*subscribe.channel;
        let name = match ChannelName::parse(channel) {
            Ok(name) => name,
            Err(why) => {
                refuse(id, channel, &Refusal::name(why), actions);
                return true;
            }
        };
        if self.is_subscribed(id, name) {
            let why = format!("Existing subscription to channel {channel}");
            actions.send(id, frames::error(&why, None));
            return true;
        }
        let ticket = match self.admit(id, name, subscribe, door, now) {
            Admission::In(ticket) => ticket,
            Admission::Later => return false,
            Admission::Refused(refusal) => {
                refuse(id, channel, &refusal, actions);
                return true;
            }
        };
        let recovery = self.session(id).is_some_and(|session| session.recovery);
        let since = subscribe.since.as_ref().filter(|_| recovery);
        let absence = match recovery {
            true => self.absence(id, name, since, door),
            false => Some(Absence::default()),
        };
        let Some(absence) = absence else {
            return false;
        };
        match name.kind() {
            Kind::ServerToUser => self.subscribe_user(id, name, &absence, door, actions),
            _ => self.join(id, name, ticket, &absence, door, actions),
        }
        true
    }

    fn is_subscribed(&mut self, id: ConnectionId, name: ChannelName<'_>) -> bool {
        let channel = self.channel_index(name.as_str());
        let Some(session) = self.session(id) else { return false };
        match name.user() {
            Some(_) => session.user.as_ref().is_some_and(|user| user.subscribed),
            None => channel.is_some_and(|channel| session.find(channel).is_some()),
        }
    }

    /// Whether a connection may subscribe, and as which member. A signature is always enough; without one the site's rules
    /// decide.
    fn admit(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        subscribe: &Subscribe,
        door: &mut Door<'_>,
        now: Now,
    ) -> Admission {
        let most = self.settings.max_channels;
        let has_room = self.subscription_bytes < self.settings.subscription_bytes;
        let Some(session) = self.session(id) else {
            return Refusal::auth("the connection is gone").into();
        };
        if session.subscriptions.len() >= most {
            return Refusal::limit(format!("a connection has at most {most} channels")).into();
        }
        if !has_room {
            return Refusal::limit("the app has no room for more subscriptions".to_owned()).into();
        }
        if name.kind() == Kind::ServerToUser {
            let own = session
                .user
                .as_ref()
                .is_some_and(|user| Some(&*user.member.user_id) == name.user());
            return match own {
                true => Admission::In(Ticket {
                    member: None,
                    by_rule: false,
                }),
                false => Refusal::auth("the channel belongs to another user; sign in first").into(),
            };
        }
        if is_unsigned(subscribe)
            && let Some(site) = door.site.as_deref_mut()
        {
            let member = match site.may_subscribe(id, name, door.last_call, now) {
                May::Yes => Some(None),
                May::As(member) => Some(Some(member)),
                May::No(why) => return Refusal::access(why).into(),
                May::NotYet => return Admission::Later,
                May::NotOurs => None,
            };
            if let Some(member) = member {
                if let Some(member) = &member
                    && let Err(refusal) = self.check_room(name, member)
                {
                    return refusal.into();
                }
                return Admission::In(Ticket { member, by_rule: true });
            }
        }
        let checked = match name.kind() {
            Kind::Public | Kind::ServerToUser => Ok(None),
            Kind::Private | Kind::Encrypted => self.check_signature(id, name, subscribe, now).map(|()| None),
            Kind::Presence => self.check_member(id, name, subscribe, now).map(Some),
        };
        match checked {
            Ok(member) => Admission::In(Ticket { member, by_rule: false }),
            Err(refusal) => refusal.into(),
        }
    }

    /// Checks `auth`. On presence channels `channel_data` is part of what was signed; on private ones it may be.
    fn check_signature(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        subscribe: &Subscribe,
        now: Now,
    ) -> Result<(), Refusal> {
        let Some(session) = self.session(id) else {
            return Err(Refusal::auth("the connection is gone"));
        };
        let socket = session.socket.to_string();
        let auth = match subscribe
            .auth
            .as_ref()
            .map(|auth| serde_json::from_str::<Option<Cow<'_, str>>>(auth.get()))
        {
            Some(Ok(Some(auth))) => auth,
            None | Some(Ok(None)) => "".into(),
            Some(Err(_)) => return Err(Refusal::auth("`auth` is not a string")),
        };
        let channel_data = match subscribe
            .channel_data
            .as_ref()
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
        let (secret, former) = (&self.settings.secret, self.former_secret(now));
        let matches = |parts: &[&[u8]]| signature::matches_either(secret, former, parts, given);
        let short: [&[u8]; 3] = [socket.as_bytes(), b":", name.as_str().as_bytes()];
        let signed = match &channel_data {
            None => matches(&short),
            Some(data) => {
                let long: [&[u8]; 5] = [short[0], short[1], short[2], b":", data.as_bytes()];
                let either = name.kind() != Kind::Presence;
                matches(&long) | (either && matches(&short))
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
        subscribe: &Subscribe,
        now: Now,
    ) -> Result<Member, Refusal> {
        self.check_signature(id, name, subscribe, now)?;
        let signed = subscribe
            .channel_data
            .as_ref()
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
        self.check_room(name, &member)?;
        Ok(member)
    }

    fn check_room(&self, name: ChannelName<'_>, member: &Member) -> Result<(), Refusal> {
        let most = self.settings.max_presence_members;
        if let Some(channel) = self.channel_index(name.as_str()) {
            let members = &self.channels[channel].members;
            if members.len() >= most && !members.has(&member.user_id) {
                return Err(Refusal::limit(format!("a presence channel has at most {most} members")));
            }
        }
        Ok(())
    }

    /// Puts a connection into a channel and tells it everything in order: that it is in, the cached event or what it missed;
    /// then the others that it came.
    fn join(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        ticket: Ticket,
        absence: &Absence,
        door: &mut Door<'_>,
        actions: &mut Actions,
    ) {
        let Ticket { member, by_rule } = ticket;
        let now = door.now;
        let Some(session) = self.session(id) else { return };
        let (recovery, hears) = (session.recovery, session.hears_events());
        let back = session.subscriptions.len() as u32;
        let channel = self.enter(id, name, hears, back, actions);
        let place = self.channels[channel].subscribers.len() as u32 - 1;
        let newcomer = member
            .as_ref()
            .and_then(|member| self.channels[channel].members.add(member));
        self.subscription_bytes += newcomer.unwrap_or_default();
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
        self.channels[channel].subscribers[place as usize].by_rule = by_rule;

        self.tell_succeeded(id, channel, recovery, absence, actions);
        self.replay(id, Some(channel as u32), &absence.replays, door, actions);
        if absence.replays.is_empty() {
            self.tell_cached(id, name, now, actions);
        }
        if let (Some(_), Some(member)) = (newcomer, member) {
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
            self.hook(actions, || HookEvent::MemberAdded { channel, user_id });
        }
        self.count(channel, now.at, actions);
    }

    fn tell_succeeded(
        &mut self,
        id: ConnectionId,
        channel: usize,
        recovery: bool,
        absence: &Absence,
        actions: &mut Actions,
    ) {
        let extra = extra(recovery, absence);
        let found = &self.channels[channel];
        actions.send(
            id,
            match found.kind {
                Kind::Presence => frames::protocol(SUCCEEDED, Some(&found.name), &found.members.roll(), extra),
                _ => frames::bare(SUCCEEDED, Some(&found.name), extra),
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
        self.hook(actions, || HookEvent::CacheMiss {
            channel: channel.to_owned(),
        });
    }

    /// A signed-in user's own channel: it is told in any case, the subscription is only answered.
    fn subscribe_user(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        absence: &Absence,
        door: &mut Door<'_>,
        actions: &mut Actions,
    ) {
        let Some(session) = self.session(id) else { return };
        let recovery = session.recovery;
        if let Some(user) = &mut session.user {
            user.subscribed = true;
        }
        let extra = extra(recovery, absence);
        actions.send(id, frames::bare(SUCCEEDED, Some(name.as_str()), extra));
        self.replay(id, None, &absence.replays, door, actions);
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

    /// Judges anew everybody whom the site's rules let into a channel (`None`: into any), and withdraws the subscriptions of
    /// those who may not hear it any more.
    pub fn review(
        &mut self,
        channel: Option<&str>,
        mut judge: impl FnMut(ConnectionId, ChannelName<'_>) -> May,
        now: Now,
        actions: &mut Actions,
    ) {
        let channels: Vec<usize> = match channel {
            Some(name) => self.channel_index(name).into_iter().collect(),
            None => self.channels.iter().map(|(index, _)| index).collect(),
        };
        let mut out = Vec::new();
        for index in channels {
            let found = &self.channels[index];
            let Ok(name) = ChannelName::parse(&found.name) else {
                continue;
            };
            for subscriber in &found.subscribers {
                let session = self.sessions[subscriber.id.slot()].as_deref();
                let own = session.map(|session| &session.subscriptions[subscriber.back as usize]);
                let own = own.filter(|_| subscriber.by_rule);
                if let Some(why) = own.and_then(|own| objection(own, judge(subscriber.id, name))) {
                    out.push((subscriber.id, found.name.clone(), why));
                }
            }
        }
        for (id, name, why) in out {
            self.withdraw(id, &name, why, now, actions);
        }
    }

    /// Does the same for all channels of one connection.
    pub fn review_one(
        &mut self,
        id: ConnectionId,
        mut judge: impl FnMut(ChannelName<'_>) -> May,
        now: Now,
        actions: &mut Actions,
    ) {
        let session = self.sessions.get(id.slot()).and_then(Option::as_deref);
        let subscriptions = session
            .filter(|session| session.id == id)
            .map_or(&[][..], |session| session.subscriptions.as_slice());
        let mut out = Vec::new();
        for own in subscriptions {
            let found = &self.channels[own.channel as usize];
            if !found.subscribers[own.place as usize].by_rule {
                continue;
            }
            let channel = &found.name;
            let Ok(name) = ChannelName::parse(channel) else {
                continue;
            };
            if let Some(why) = objection(own, judge(name)) {
                out.push((channel.clone(), why));
            }
        }
        for (name, why) in out {
            self.withdraw(id, &name, why, now, actions);
        }
    }

    /// Ends a subscription, and tells the client in the one form that names the channel.
    fn withdraw(&mut self, id: ConnectionId, name: &str, why: &'static str, now: Now, actions: &mut Actions) {
        let channel = self.channel_index(name);
        let index = self
            .session(id)
            .and_then(|session| channel.and_then(|channel| session.find(channel)));
        if let Some(index) = index {
            refuse(id, name, &Refusal::withdrawn(why), actions);
            self.drop_subscription(id, index, now, actions);
        }
    }

    /// Ends the subscription at `index` of a connection's list, whose last one takes its place.
    pub(super) fn drop_subscription(&mut self, id: ConnectionId, index: usize, now: Now, actions: &mut Actions) {
        let Some(session) = self.session(id) else { return };
        let Subscription {
            channel, place, member, ..
        } = session.subscriptions.swap_remove(index);
        session.replays.retain(|replay| replay.channel != Some(channel));
        let moved = session
            .subscriptions
            .get(index)
            .map(|moved| (moved.channel as usize, moved.place as usize));
        if let Some((channel, place)) = moved {
            self.channels[channel].subscribers[place].back = index as u32;
        }
        let channel = channel as usize;
        let name = self.channels[channel].name.to_string();
        let members = &mut self.channels[channel].members;
        let gone = member.and_then(|user_id| members.remove(&user_id).map(|bytes| (user_id, bytes)));
        if let Some((user_id, bytes)) = gone {
            self.subscription_bytes -= bytes;
            #[derive(serde::Serialize)]
            struct Removed<'a> {
                user_id: &'a str,
            }
            let event = "pusher_internal:member_removed";
            let frame = frames::protocol(event, Some(&name), &Removed { user_id: &user_id }, Extra::default());
            self.announce(channel, Some(id), frame, actions);
            self.hook(actions, || HookEvent::MemberRemoved {
                channel: name.clone(),
                user_id: user_id.into(),
            });
        }
        self.leave(channel, place as usize, actions);
        // The last one to leave leaves nobody to be told.
        if self.channel_index(&name) == Some(channel) {
            self.count(channel, now.at, actions);
        }
    }
}

/// Why a subscription that the site's rules allowed must end, if it must.
fn objection(own: &Subscription, may: May) -> Option<&'static str> {
    match may {
        May::No(why) => Some(why),
        May::NotOurs => Some("the site's rules say nothing of this channel any more"),
        May::As(member) if own.member.as_deref() != Some(&*member.user_id) => {
            Some("you would be another member of this channel now")
        }
        May::Yes | May::As(_) | May::NotYet => None,
    }
}

/// What a confirmation says besides that it is one.
fn extra(recovery: bool, absence: &Absence) -> Extra<'_> {
    Extra {
        id: None,
        pos: recovery.then(|| OneOrMore::of(&absence.positions)),
        // A list is answered by a list, also when it holds one.
        recovered: absence.list.map(|list| match list {
            true => OneOrMore::More(&absence.recovered),
            false => OneOrMore::of(&absence.recovered),
        }),
    }
}

/// Whether a subscription carries no signature at all. A wrong one is refused, whatever the site's rules say.
fn is_unsigned(subscribe: &Subscribe) -> bool {
    subscribe
        .auth
        .as_ref()
        .is_none_or(|auth| matches!(auth.get(), "null" | "\"\""))
}

fn refuse(id: ConnectionId, channel: &str, refusal: &Refusal, actions: &mut Actions) {
    #[derive(serde::Serialize)]
    struct Data<'a> {
        r#type: &'a str,
        error: &'a str,
        status: u16,
    }
    // A name that is far too long is not worth repeating whole.
    let shown: String = channel.chars().take(event::MAX_NAME).collect();
    let data = Data {
        r#type: refusal.kind,
        error: &refusal.error,
        status: refusal.status,
    };
    actions.send(id, frames::plain("pusher:subscription_error", Some(&shown), &data));
    actions.send(id, frames::error(&refusal.error, None));
}
