//! Informs a channel's subscribers, the app's webhooks and the site when the channel changes. In a cluster the other
//! processes are informed too, and the webhooks follow the log of the cluster instead (`together.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::channel::Channel;
use super::replica::Replica;
use super::roster::Roster;
use super::users::{Users, WatchlistEvent};
use super::visible;
use crate::config;
use crate::id::ConnectionId;
use crate::protocol::Member;
use crate::protocol::actions::Actions;
use crate::protocol::channel::Kind;
use crate::protocol::effects::{Effect, HookEvent};
use crate::protocol::frames::{self, Extra};
use crate::protocol::shared::{Holding, ProcessId, Shared};
use crate::time::Time;

/// The event that confirms a subscription.
const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

/// Above this many subscribers, `subscription_count` goes out at most every [`COUNT_PAUSE`].
const COUNTED_AT_ONCE: usize = 100;

/// See [`COUNTED_AT_ONCE`].
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// The notices of one app.
#[derive(Debug)]
pub(super) struct Notices {
    /// The app's index in the list of all apps.
    app: usize,
    /// The app's connections are visitors of a site.
    has_site: bool,
    /// What all processes of the cluster hold; `None`: this process is alone.
    pub(super) replica: Option<Box<Replica>>,
    /// The counts for subscribers.
    counts: Counts,
    /// The counts for the webhooks of a cluster.
    hook_counts: Counts,
}

/// The channels whose number of subscribers is sent later, with the earliest time for each.
#[derive(Debug, Default)]
struct Counts(BTreeSet<(Time, Box<str>)>);

/// How the members of a presence channel changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Added,
    /// The member has no `user_info`.
    Removed,
}

impl Counts {
    /// Whether the count of a channel is sent now; else it is sent later. `counted`: when it was sent last.
    fn allow(&mut self, channel: &str, count: usize, counted: &mut Option<Time>, now: Time) -> bool {
        let earliest = counted.map_or(Time(0), |counted| counted + COUNT_PAUSE);
        if count > COUNTED_AT_ONCE && earliest > now {
            self.0.insert((earliest, channel.into()));
            return false;
        }
        *counted = Some(now);
        true
    }

    fn deadline(&self) -> Time {
        self.0.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    fn pop_due(&mut self, now: Time) -> Option<Box<str>> {
        let is_due = self.deadline() <= now;
        is_due.then(|| self.0.pop_first()).flatten().map(|(_, channel)| channel)
    }
}

impl Notices {
    pub(super) fn new(app: usize) -> Self {
        Self {
            app,
            has_site: false,
            replica: None,
            counts: Counts::default(),
            hook_counts: Counts::default(),
        }
    }

    /// From here on the app's connections are visitors of a site.
    pub(super) fn belong_to_site(&mut self) {
        self.has_site = true;
    }

    /// From here on this process is one of a cluster.
    pub(super) fn join_cluster(&mut self, me: ProcessId) {
        self.replica = Some(Box::new(Replica::new(me)));
    }

    /// Whether this process is one of a cluster.
    pub(super) fn is_together(&self) -> bool {
        self.replica.is_some()
    }

    /// Tells the other processes of the cluster something.
    pub(super) fn share(&self, what: Shared, actions: &mut Actions) {
        actions.effect(Effect::Share(self.app, what));
    }

    /// Tells the other processes of the cluster what this one holds, if there is a cluster.
    pub(super) fn hold(&self, holding: impl FnOnce() -> Holding, actions: &mut Actions) {
        if self.is_together() {
            self.share(Shared::Holds(holding()), actions);
        }
    }

    /// Passes an event to the app's webhooks. In a cluster one process does so for all, when all have read the event in
    /// the log.
    fn hook(&self, settings: &config::App, actions: &mut Actions, event: impl FnOnce() -> HookEvent) {
        if !settings.webhooks.is_empty() && !self.is_together() {
            actions.effect(Effect::Hook(self.app, event()));
        }
    }

    /// The same for an event that all processes of the cluster see now.
    pub(super) fn log_hook(&self, settings: &config::App, actions: &mut Actions, event: impl FnOnce() -> HookEvent) {
        if !settings.webhooks.is_empty() {
            actions.effect(Effect::LogHook(self.app, event()));
        }
    }

    /// A client sent an event to the other subscribers; a process that is alone.
    pub(super) fn client_event(
        &self,
        settings: &config::App,
        actions: &mut Actions,
        event: impl FnOnce() -> HookEvent,
    ) {
        self.hook(settings, actions, event);
    }

    /// A client subscribed to a cache channel without a cached event.
    pub(super) fn cache_miss(&self, id: ConnectionId, channel: &str, settings: &config::App, actions: &mut Actions) {
        actions.send(id, frames::bare("pusher:cache_miss", Some(channel), Extra::default()));
        if settings.webhooks.is_empty() {
            return;
        }
        if self.is_together() {
            return self.share(Shared::CacheMiss(channel.into()), actions);
        }
        self.hook(settings, actions, || HookEvent::CacheMiss {
            channel: channel.to_owned(),
        });
    }

    /// The confirmation of a subscription. `found`: the channel, unless it is a user's own.
    pub(super) fn confirmation(&self, channel: &str, found: Option<&Channel>, extra: Extra<'_>) -> String {
        let presence = found.filter(|found| found.kind == Kind::Presence);
        match (presence, &self.replica) {
            (None, _) => frames::bare(SUCCEEDED, Some(channel), extra),
            (Some(found), None) => frames::protocol(SUCCEEDED, Some(channel), &found.members.roll(), extra),
            (Some(found), Some(replica)) => {
                frames::protocol(SUCCEEDED, Some(channel), &visible::roll(found, replica), extra)
            }
        }
    }

    /// The app has this many connections.
    pub(super) fn connections(&self, count: usize, actions: &mut Actions) {
        self.hold(|| Holding::Connections { count: narrow(count) }, actions);
    }

    /// A channel has its first subscriber.
    pub(super) fn occupied(&self, channel: &str, settings: &config::App, actions: &mut Actions) {
        self.hook(settings, actions, || HookEvent::Occupied {
            channel: channel.to_owned(),
        });
        if self.has_site {
            actions.effect(Effect::Occupied(channel.into()));
        }
    }

    /// A channel lost its last subscriber.
    pub(super) fn vacated(&self, channel: Box<str>, settings: &config::App, actions: &mut Actions) {
        if self.has_site {
            actions.effect(Effect::Vacated(channel.clone()));
        }
        if self.is_together() {
            return self.share(Shared::Holds(Holding::Subscriptions { channel, count: 0 }), actions);
        }
        self.hook(settings, actions, || HookEvent::Vacated {
            channel: channel.into(),
        });
    }

    /// A user joined a presence channel, or left it, with the connection `id`.
    pub(super) fn member(
        &self,
        change: Change,
        member: Member,
        channel: &Channel,
        id: ConnectionId,
        settings: &config::App,
        actions: &mut Actions,
    ) {
        let user_id = &member.user_id;
        let is_elsewhere = |replica: &Replica| replica.is_member_elsewhere(&channel.name, user_id);
        if !self.replica.as_deref().is_some_and(is_elsewhere) {
            announce_member(change, &member, channel, Some(id), actions);
        }
        self.hook(settings, actions, || change.hook(&channel.name, user_id));
        self.hold(
            || Holding::Member {
                channel: channel.name.clone(),
                user_id: member.user_id.clone(),
                user_info: member.user_info.clone(),
                is_present: matches!(change, Change::Added),
            },
            actions,
        );
    }

    /// Tells the other processes the number of subscribers here: before the members and a cache miss, so that webhooks
    /// have the same order as without a cluster.
    pub(super) fn subscriptions(&self, channel: &Channel, actions: &mut Actions) {
        self.hold(
            || Holding::Subscriptions {
                channel: channel.name.clone(),
                count: narrow(channel.subscribers.len()),
            },
            actions,
        );
    }

    /// The number of subscribers changed here.
    pub(super) fn count(&mut self, channel: &mut Channel, settings: &config::App, now: Time, actions: &mut Actions) {
        self.subscriptions(channel, actions);
        self.send_count(channel, settings, now, actions);
    }

    /// Sends the number of subscribers: at once, or a little later if the channel has many subscribers.
    pub(super) fn send_count(
        &mut self,
        channel: &mut Channel,
        settings: &config::App,
        now: Time,
        actions: &mut Actions,
    ) {
        if !settings.subscription_count || channel.kind == Kind::Presence {
            return;
        }
        let replica = self.replica.as_deref();
        let elsewhere = replica.map_or(0, |replica| replica.subscriptions(&channel.name).elsewhere);
        let count = channel.subscribers.len() + elsewhere;
        let Channel { name, counted, .. } = channel;
        if !self.counts.allow(name, count, counted, now) {
            return;
        }
        #[derive(Serialize)]
        struct Count {
            subscription_count: usize,
        }
        let event = "pusher_internal:subscription_count";
        let data = Count {
            subscription_count: count,
        };
        let frame = frames::protocol(event, Some(&channel.name), &data, Extra::default());
        channel.announce(None, frame, actions);
        self.hook(settings, actions, || HookEvent::SubscriptionCount {
            channel: channel.name.to_string(),
            count,
        });
    }

    /// The number of subscribers on all processes changed: the same for the webhooks.
    pub(super) fn log_count(&mut self, channel: &str, settings: &config::App, now: Time, actions: &mut Actions) {
        let is_counted = settings.subscription_count && !channel.starts_with("presence-");
        let Some(replica) = self.replica.as_deref_mut().filter(|_| is_counted) else {
            return;
        };
        let count = replica.subscriptions(channel).total;
        let Some(everywhere) = replica.channel_mut(channel).filter(|_| count > 0) else {
            return;
        };
        if self.hook_counts.allow(channel, count, &mut everywhere.counted, now) {
            let channel = channel.to_owned();
            self.log_hook(settings, actions, || HookEvent::SubscriptionCount { channel, count });
        }
    }

    /// A user signed in with the first connection, or signed out with the last one: the connection `id`.
    pub(super) fn user(&self, is_online: bool, user_id: &str, id: ConnectionId, users: &Users, actions: &mut Actions) {
        let is_elsewhere = |replica: &Replica| replica.is_online_elsewhere(user_id);
        if !self.replica.as_deref().is_some_and(is_elsewhere) {
            tell_watchers(is_online, user_id, Some(id), users, actions);
        }
        self.hold(
            || Holding::User {
                user_id: user_id.into(),
                is_online,
            },
            actions,
        );
    }

    /// When `due` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.counts.deadline().min(self.hook_counts.deadline())
    }

    /// Sends the counts that are due.
    pub(super) fn due(&mut self, roster: &mut Roster, settings: &config::App, now: Time, actions: &mut Actions) {
        while let Some(name) = self.counts.pop_due(now) {
            if let Some(channel) = roster.channel_index(&name) {
                self.send_count(&mut roster.channels[channel], settings, now, actions);
            }
        }
        while let Some(name) = self.hook_counts.pop_due(now) {
            self.log_count(&name, settings, now, actions);
        }
    }
}

impl Change {
    /// The change of a member who is there from here on, or not.
    pub(super) fn of(is_present: bool) -> Self {
        match is_present {
            true => Change::Added,
            false => Change::Removed,
        }
    }

    /// The event for the webhooks.
    pub(super) fn hook(self, channel: &str, user_id: &str) -> HookEvent {
        let (channel, user_id) = (channel.to_owned(), user_id.to_owned());
        match self {
            Change::Added => HookEvent::MemberAdded { channel, user_id },
            Change::Removed => HookEvent::MemberRemoved { channel, user_id },
        }
    }
}

/// Tells the subscribers of a presence channel, except one, that a user joined or left.
pub(super) fn announce_member(
    change: Change,
    member: &Member,
    channel: &Channel,
    except: Option<ConnectionId>,
    actions: &mut Actions,
) {
    #[derive(Serialize)]
    struct Data<'a> {
        user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_info: Option<&'a RawValue>,
    }
    let data = Data {
        user_id: &member.user_id,
        user_info: member.user_info.as_deref(),
    };
    let event = match change {
        Change::Added => "pusher_internal:member_added",
        Change::Removed => "pusher_internal:member_removed",
    };
    let frame = frames::protocol(event, Some(&channel.name), &data, Extra::default());
    channel.announce(except, frame, actions);
}

/// Tells the connections that watch a user, except one, that the user is online or offline now.
pub(super) fn tell_watchers(
    is_online: bool,
    user_id: &str,
    except: Option<ConnectionId>,
    users: &Users,
    actions: &mut Actions,
) {
    let watchers = users.watchers(user_id).filter(|watcher| Some(*watcher) != except);
    let event = WatchlistEvent {
        name: if is_online { "online" } else { "offline" },
        user_ids: vec![user_id],
    };
    actions.fan_out(watchers, watchlist_frame(&[event]).into());
}

/// The frame for a connection that watches users.
pub(super) fn watchlist_frame(events: &[WatchlistEvent<'_>]) -> String {
    #[derive(Serialize)]
    struct WatchlistEvents<'a> {
        events: &'a [WatchlistEvent<'a>],
    }
    let data = WatchlistEvents { events };
    frames::protocol("pusher_internal:watchlist_events", None, &data, Extra::default())
}

/// A count as the processes tell it.
pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
