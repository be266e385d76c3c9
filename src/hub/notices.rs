//! Informs a channel's subscribers, the app's webhooks and the site when the channel changes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::channel::Channel;
use super::roster::Roster;
use crate::config;
use crate::id::ConnectionId;
use crate::protocol::Member;
use crate::protocol::actions::Actions;
use crate::protocol::channel::Kind;
use crate::protocol::effects::{Effect, HookEvent};
use crate::protocol::frames::{self, Extra};
use crate::time::Time;

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
    /// Channels whose subscriber count is sent later, with the earliest time for each.
    uncounted: BTreeSet<(Time, Box<str>)>,
}

/// How the members of a presence channel changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Added,
    /// The member has no `user_info`.
    Removed,
}

impl Notices {
    pub(super) fn new(app: usize) -> Self {
        Self {
            app,
            has_site: false,
            uncounted: BTreeSet::new(),
        }
    }

    /// From here on the app's connections are visitors of a site.
    pub(super) fn belong_to_site(&mut self) {
        self.has_site = true;
    }

    /// Passes an event to the app's webhooks.
    pub(super) fn hook(&self, settings: &config::App, actions: &mut Actions, event: impl FnOnce() -> HookEvent) {
        if !settings.webhooks.is_empty() {
            actions.effect(Effect::Hook(self.app, event()));
        }
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
        channel.announce(Some(id), frame, actions);
        self.hook(settings, actions, || {
            let (channel, user_id) = (channel.name.to_string(), member.user_id.into());
            match change {
                Change::Added => HookEvent::MemberAdded { channel, user_id },
                Change::Removed => HookEvent::MemberRemoved { channel, user_id },
            }
        });
    }

    /// Sends the number of subscribers: at once, or a little later if the channel has many subscribers.
    pub(super) fn count(&mut self, channel: &mut Channel, settings: &config::App, now: Time, actions: &mut Actions) {
        if !settings.subscription_count || channel.kind == Kind::Presence {
            return;
        }
        let earliest = channel.counted.map_or(Time(0), |counted| counted + COUNT_PAUSE);
        let count = channel.subscribers.len();
        if count > COUNTED_AT_ONCE && earliest > now {
            self.uncounted.insert((earliest, channel.name.clone()));
            return;
        }
        channel.counted = Some(now);
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

    /// When `due` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.uncounted.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Sends the counts that are due.
    pub(super) fn due(&mut self, roster: &mut Roster, settings: &config::App, now: Time, actions: &mut Actions) {
        while self.deadline() <= now
            && let Some((_, name)) = self.uncounted.pop_first()
        {
            if let Some(channel) = roster.channel_index(&name) {
                self.count(&mut roster.channels[channel], settings, now, actions);
            }
        }
    }
}
