//! Joining channels and leaving them (pusher.md sections 3 and 4): which frames a new subscriber gets and in which
//! order, and which frames the other subscribers get.

use serde_json::value::RawValue;

use super::app::App;
use super::recovery::Absence;
use super::session::Subscription;
use super::subscribe::{Refusal, Subscribe, Ticket};
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::effects::{Effect, HookEvent};
use crate::protocol::frames::{self, Extra, OneOrMore};
use crate::protocol::rows::{Missed, Wanted};
use crate::protocol::{Member, Ruling, Verdict};
use crate::time::Now;

/// The event that confirms a subscription.
const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

impl App {
    /// Whether a connection may subscribe. If not, the connection gets the reason. A valid signature is always enough.
    /// Without a signature, `rule` gives the verdict of the site's rules.
    pub fn admit<'a>(
        &mut self,
        id: ConnectionId,
        subscribe: &'a Subscribe,
        rule: impl FnOnce(ChannelName<'_>) -> Ruling,
        now: Now,
        actions: &mut Actions,
    ) -> Verdict<Ticket<'a>, ()> {
        let channel = &*subscribe.channel;
        let name = match ChannelName::parse(channel) {
            Ok(name) => name,
            Err(why) => {
                Refusal::name(why).tell(id, channel, actions);
                return Verdict::No(());
            }
        };
        if self.is_subscribed(id, name) {
            let why = format!("Existing subscription to channel {channel}");
            actions.send(id, frames::error(&why, None));
            return Verdict::No(());
        }
        match self.find_ticket(id, name, subscribe, rule, now) {
            Ok(Some(ticket)) => Verdict::Yes(ticket),
            Ok(None) => Verdict::NotYet,
            Err(refusal) => {
                refusal.tell(id, channel, actions);
                Verdict::No(())
            }
        }
    }

    fn is_subscribed(&mut self, id: ConnectionId, name: ChannelName<'_>) -> bool {
        let channel = self.roster.channel_index(name.as_str());
        let Some(session) = self.roster.session(id) else {
            return false;
        };
        match name.user() {
            Some(_) => session.user.as_ref().is_some_and(|user| user.subscribed),
            None => channel.is_some_and(|channel| session.find(channel).is_some()),
        }
    }

    /// The ticket with which a connection may join; `None`: the verdict is not known yet.
    fn find_ticket<'a>(
        &self,
        id: ConnectionId,
        name: ChannelName<'a>,
        subscribe: &'a Subscribe,
        rule: impl FnOnce(ChannelName<'_>) -> Ruling,
        now: Now,
    ) -> Result<Option<Ticket<'a>>, Refusal> {
        let most = self.settings.max_channels;
        let has_room = self.roster.bytes < self.settings.subscription_bytes;
        let Some(session) = self.roster.find(id) else {
            return Err(Refusal::auth("the connection is gone"));
        };
        if session.subscriptions.len() >= most {
            return Err(Refusal::limit(format!("a connection has at most {most} channels")));
        }
        if !has_room {
            return Err(Refusal::limit("the app has no room for more subscriptions".to_owned()));
        }
        let user = session.user.as_ref().map(|user| &*user.member.user_id);
        if name.kind() == Kind::ServerToUser && user != name.user() {
            return Err(Refusal::auth("the channel belongs to another user; sign in first"));
        }
        let is_ruled = name.kind() != Kind::ServerToUser && subscribe.is_unsigned();
        let (member, by_rule) = match is_ruled.then(|| rule(name)).flatten() {
            Some(Verdict::Yes(member)) => (member, true),
            Some(Verdict::No(why)) => return Err(Refusal::access(why)),
            Some(Verdict::NotYet) => return Ok(None),
            None => (subscribe.check(name, session, &self.credentials(now))?, false),
        };
        if let Some(member) = &member {
            self.check_room(name, member)?;
        }
        Ok(Some(Ticket {
            subscribe,
            name,
            member,
            by_rule,
        }))
    }

    fn check_room(&self, name: ChannelName<'_>, member: &Member) -> Result<(), Refusal> {
        let most = self.settings.max_presence_members;
        if let Some(channel) = self.roster.channel_index(name.as_str()) {
            let members = &self.roster.channels[channel].members;
            if members.len() >= most && !members.has(&member.user_id) {
                return Err(Refusal::limit(format!("a presence channel has at most {most} members")));
            }
        }
        Ok(())
    }

    /// Adds a connection to a channel. The connection gets the confirmation first, then the cached event or the events
    /// that it missed. After that the other subscribers get `member_added`. `table` returns the next rows of a channel.
    pub fn join(
        &mut self,
        id: ConnectionId,
        ticket: Ticket<'_>,
        absence: &Absence,
        table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        let Ticket {
            name, member, by_rule, ..
        } = ticket;
        if name.kind() == Kind::ServerToUser {
            return self.join_own(id, name, absence, table, now, actions);
        }
        let Some(session) = self.roster.session(id) else { return };
        session.authorized |= !matches!(name.kind(), Kind::Public);
        let recovery = session.recovery;
        let user_id = member.as_ref().map(|member| member.user_id.clone());
        let (channel, is_new) = self.roster.enter(id, name, by_rule, user_id);
        if is_new {
            self.occupied_by_first(name, actions);
        }
        let newcomer = member.filter(|member| self.roster.add_member(channel, member));
        self.tell_succeeded(id, channel, recovery, absence, actions);
        self.replay(id, Some(channel as u32), &absence.replays, table, now, actions);
        if absence.replays.is_empty() {
            self.tell_cached(id, name, now, actions);
        }
        if let Some(member) = newcomer {
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
        let found = &self.roster.channels[channel];
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

    /// Subscribes to the signed-in user's own channel. Its events are sent with or without this subscription, so the
    /// subscription only gets an answer.
    fn join_own(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        absence: &Absence,
        table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        let Some(session) = self.roster.session(id) else { return };
        let recovery = session.recovery;
        if let Some(user) = &mut session.user {
            user.subscribed = true;
        }
        let extra = extra(recovery, absence);
        actions.send(id, frames::bare(SUCCEEDED, Some(name.as_str()), extra));
        self.replay(id, None, &absence.replays, table, now, actions);
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, name: &str, now: Now, actions: &mut Actions) {
        let channel = self.roster.channel_index(name);
        let Some(session) = self.roster.session(id) else { return };
        if let Some(user) = &mut session.user
            && ChannelName::parse(name).ok().and_then(ChannelName::user) == Some(&*user.member.user_id)
        {
            user.subscribed = false;
        }
        // An unknown channel gets no answer (pusher.md 3.3).
        if let Some(index) = channel.and_then(|channel| session.find(channel)) {
            self.drop_subscription(id, index, now, actions);
        }
    }

    /// Checks again the subscribers of a channel that the site's rules admitted (`None`: of all channels). Withdraws
    /// the subscriptions that the rules no longer allow.
    pub fn review(
        &mut self,
        channel: Option<&str>,
        mut judge: impl FnMut(ConnectionId, ChannelName<'_>) -> Ruling,
        now: Now,
        actions: &mut Actions,
    ) {
        let channels: Vec<usize> = match channel {
            Some(name) => self.roster.channel_index(name).into_iter().collect(),
            None => self.roster.channels.iter().map(|(index, _)| index).collect(),
        };
        let mut out = Vec::new();
        for index in channels {
            let found = &self.roster.channels[index];
            let Ok(name) = ChannelName::parse(&found.name) else {
                continue;
            };
            for subscriber in &found.subscribers {
                let session = self.roster.sessions[subscriber.id.slot()].as_deref();
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

    /// Does the same as `review` for all channels of one connection.
    pub fn review_one(
        &mut self,
        id: ConnectionId,
        mut judge: impl FnMut(ChannelName<'_>) -> Ruling,
        now: Now,
        actions: &mut Actions,
    ) {
        let session = self.roster.sessions.get(id.slot()).and_then(Option::as_deref);
        let subscriptions = session
            .filter(|session| session.id == id)
            .map_or(&[][..], |session| session.subscriptions.as_slice());
        let mut out = Vec::new();
        for own in subscriptions {
            let found = &self.roster.channels[own.channel as usize];
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

    /// Ends a subscription and informs the client in the only form that names the channel.
    fn withdraw(&mut self, id: ConnectionId, name: &str, why: &'static str, now: Now, actions: &mut Actions) {
        let channel = self.roster.channel_index(name);
        let index = self
            .roster
            .session(id)
            .and_then(|session| channel.and_then(|channel| session.find(channel)));
        if let Some(index) = index {
            Refusal::withdrawn(why).tell(id, name, actions);
            self.drop_subscription(id, index, now, actions);
        }
    }

    /// Ends the subscription at `index` of a connection's list. The last subscription of the list moves to `index`.
    pub(super) fn drop_subscription(&mut self, id: ConnectionId, index: usize, now: Now, actions: &mut Actions) {
        let Some((channel, gone)) = self.roster.take_member(id, index) else {
            return;
        };
        if let Some(user_id) = gone {
            #[derive(serde::Serialize)]
            struct Removed<'a> {
                user_id: &'a str,
            }
            let name = self.roster.channels[channel].name.to_string();
            let event = "pusher_internal:member_removed";
            let frame = frames::protocol(event, Some(&name), &Removed { user_id: &user_id }, Extra::default());
            self.announce(channel, Some(id), frame, actions);
            self.hook(actions, || HookEvent::MemberRemoved {
                channel: name,
                user_id: user_id.into(),
            });
        }
        match self.roster.leave(id, index) {
            Some(name) => self.vacated_by_last(name, actions),
            None => self.count(channel, now.at, actions),
        }
    }

    fn occupied_by_first(&self, name: ChannelName<'_>, actions: &mut Actions) {
        let channel = || name.as_str().to_owned();
        self.hook(actions, || HookEvent::Occupied { channel: channel() });
        if self.rows_kept.is_some() {
            actions.effect(Effect::Occupied(name.as_str().into()));
        }
    }

    fn vacated_by_last(&self, name: Box<str>, actions: &mut Actions) {
        if self.rows_kept.is_some() {
            actions.effect(Effect::Vacated(name.clone()));
        }
        self.hook(actions, || HookEvent::Vacated { channel: name.into() });
    }
}

/// The reason why a subscription must end that the site's rules allowed before; `None`: it may stay.
fn objection(own: &Subscription, ruling: Ruling) -> Option<&'static str> {
    match ruling {
        Some(Verdict::No(why)) => Some(why),
        None => Some("the site's rules say nothing of this channel any more"),
        Some(Verdict::Yes(Some(member))) if own.member.as_deref() != Some(&*member.user_id) => {
            Some("you would be another member of this channel now")
        }
        Some(Verdict::Yes(_) | Verdict::NotYet) => None,
    }
}

/// The additional fields of a confirmation.
fn extra(recovery: bool, absence: &Absence) -> Extra<'_> {
    Extra {
        id: None,
        pos: recovery.then(|| OneOrMore::of(&absence.positions)),
        // A list of positions is answered with a list, even if it has one entry.
        recovered: absence.list.map(|list| match list {
            true => OneOrMore::More(&absence.recovered),
            false => OneOrMore::of(&absence.recovered),
        }),
    }
}
