//! One app in a cluster: what the log of the cluster says of it. An event of the log is delivered here, whichever
//! process published it. A state of the log goes to the replica; the app's own clients see the difference, and the
//! webhooks get the changes in the order of the log.
//!
//! A client sees each change once: the hub tells the change of this process when it happens, and this file tells the
//! change of another process, each only if the visible set has changed by it.

use std::time::Duration;

use serde_json::value::RawValue;

use super::channel::Recipients;
use super::client_event;
use super::events::{Events, Publication, close_for_gap};
use super::notices::{Change, Notices, announce_member, narrow, tell_watchers};
use super::replica::{Ending, Shift, Unfit};
use super::roster::Roster;
use crate::config;
use crate::logging::More;
use crate::protocol::Member;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::channel::ChannelName;
use crate::protocol::effects::HookEvent;
use crate::protocol::event;
use crate::protocol::frames::{self, Extra};
use crate::protocol::position::Stream;
use crate::protocol::shared::{CachedEvent, Holding, ProcessId, Sender, Shared, SharedEvent};
use crate::time::Now;

/// All processes together may hold this many times what one process may hold, by the estimate that
/// `subscription_bytes` of the app limits. An engine that lies cannot make the memory grow beyond it.
const PROCESSES: usize = 4;

/// The longest time between two lines about states that are not kept.
const PAUSE: Duration = Duration::from_secs(60);

/// See the top of this file.
#[derive(Debug)]
pub struct Together<'a> {
    pub(super) roster: &'a mut Roster,
    pub(super) events: &'a mut Events,
    pub(super) notices: &'a mut Notices,
    pub(super) settings: &'a config::App,
}

impl Together<'_> {
    // --- what the processes hold ---------------------------------------------------------------------------------

    /// All that this process holds; with the cached events too. The sessions of a site are the service's.
    pub fn holdings(&self, with_cache: bool, now: Now) -> Vec<Shared> {
        let mut all = vec![Shared::Holds(Holding::Connections {
            count: narrow(self.roster.connections()),
        })];
        for (_, channel) in &self.roster.channels {
            all.push(Shared::Holds(Holding::Subscriptions {
                channel: channel.name.clone(),
                count: narrow(channel.subscribers.len()),
            }));
            let members = channel.members.iter();
            all.extend(members.map(|(user_id, user_info)| {
                Shared::Holds(Holding::Member {
                    channel: channel.name.clone(),
                    user_id: user_id.into(),
                    user_info: user_info.map(ToOwned::to_owned),
                    is_present: true,
                })
            }));
        }
        let users = self.roster.users.ids();
        all.extend(users.map(|user_id| {
            Shared::Holds(Holding::User {
                user_id: user_id.into(),
                is_online: true,
            })
        }));
        let cached = with_cache.then(|| self.events.cache.iter()).into_iter().flatten();
        all.extend(cached.map(|(channel, cached)| {
            let age = cached.age(self.settings, now).as_millis();
            Shared::Cached(CachedEvent {
                channel: channel.into(),
                name: cached.event().into(),
                data: cached.data().into(),
                age: u64::try_from(age).unwrap_or(u64::MAX),
            })
        }));
        all
    }

    /// A process, perhaps this one, holds this from here on.
    pub fn heard(&mut self, from: ProcessId, holding: &Holding, now: Now, actions: &mut Actions) {
        let most = self.settings.subscription_bytes.saturating_mul(PROCESSES);
        let Some(replica) = &mut self.notices.replica else {
            return;
        };
        match replica.apply(from, holding, most) {
            Ok(shift) if shift.before == shift.after => {}
            Ok(shift) => self.tell(holding, shift, now, actions),
            Err(unfit) => {
                let Some(more) = replica.refused.allow(PAUSE, now.at) else {
                    return;
                };
                let (id, more) = (&self.settings.id, More(more));
                match unfit {
                    Unfit::Malformed => log::warn!(
                        "app {id}: the engine's log says that a process holds something that cannot be; it is \
                         ignored{more}"
                    ),
                    Unfit::Full => log::warn!(
                        "app {id}: the processes of the cluster hold more than {PROCESSES} times subscription_bytes; \
                         what is beyond is missing here; raise it{more}"
                    ),
                }
            }
        }
    }

    /// Tells the clients and the webhooks what a state has changed.
    fn tell(&mut self, holding: &Holding, shift: Shift, now: Now, actions: &mut Actions) {
        let (notices, settings) = (&mut *self.notices, self.settings);
        match holding {
            Holding::Subscriptions { channel, .. } => {
                let hook: Option<fn(String) -> HookEvent> = match () {
                    () if shift.is_first() => Some(|channel| HookEvent::Occupied { channel }),
                    () if shift.is_last() => Some(|channel| HookEvent::Vacated { channel }),
                    () => None,
                };
                if let Some(hook) = hook {
                    notices.log_hook(settings, actions, || hook(channel.to_string()));
                }
                notices.log_count(channel, settings, now.at, actions);
                let own = self.roster.channel_index(channel);
                if let Some(own) = own.filter(|_| shift.before.elsewhere != shift.after.elsewhere) {
                    notices.send_count(&mut self.roster.channels[own], settings, now.at, actions);
                }
            }
            Holding::Member {
                channel,
                user_id,
                user_info,
                ..
            } => {
                if shift.is_first() || shift.is_last() {
                    let change = Change::of(shift.is_first());
                    notices.log_hook(settings, actions, || change.hook(channel, user_id));
                }
                let own = self.roster.channel(channel);
                let Some(own) = own.filter(|own| !own.members.has(user_id)) else {
                    return;
                };
                if let Some(is_member) = shift.elsewhere() {
                    let member = Member {
                        user_id: user_id.clone(),
                        user_info: user_info.clone().filter(|_| is_member),
                    };
                    announce_member(Change::of(is_member), &member, own, None, actions);
                }
            }
            Holding::User { user_id, .. } => {
                let users = &self.roster.users;
                let is_here = !users.connections(user_id).is_empty();
                if let Some(is_online) = shift.elsewhere().filter(|_| !is_here) {
                    tell_watchers(is_online, user_id, None, users, actions);
                }
            }
            Holding::Session { .. } | Holding::Connections { .. } => {}
        }
    }

    /// Entries of a process may have been lost: it tells everything again, and `fresh` follows.
    pub fn stale(&mut self, of: ProcessId) {
        if let Some(replica) = &mut self.notices.replica {
            replica.doubt(of);
        }
    }

    /// A process has told everything again: what it did not tell is over.
    pub fn fresh(&mut self, of: ProcessId, now: Now, actions: &mut Actions) {
        self.end(of, Ending::Stale, now, actions);
    }

    /// A process is gone, and with it all that it held. This process too can be declared gone: then it tells everything
    /// again.
    pub fn gone(&mut self, of: ProcessId, now: Now, actions: &mut Actions) {
        self.end(of, Ending::All, now, actions);
    }

    fn end(&mut self, of: ProcessId, which: Ending, now: Now, actions: &mut Actions) {
        let replica = self.notices.replica.as_deref();
        let endings = replica.map_or(Vec::new(), |replica| replica.endings(of, which));
        for holding in &endings {
            self.heard(of, holding, now, actions);
        }
    }

    // --- events --------------------------------------------------------------------------------------------------

    /// Delivers an event of the log with the number `n` of its position. Returns the number of connections that get it.
    /// An event that was delivered before, or that no other process writes, is ignored.
    pub fn deliver(&mut self, shared: &SharedEvent, n: u64, now: Now, actions: &mut Actions) -> usize {
        let (roster, settings) = (&*self.roster, self.settings);
        let Some(read) = self.read(shared, n) else { return 0 };
        self.events.history.advance(n.saturating_sub(1));
        match read {
            Read::Published(publication) => self.events.publish(&publication, None, roster, settings, now, actions),
            Read::Sent(sent) => {
                let encode = |extra: Extra<'_>| sent.encode(extra);
                let recipients = sent.recipients();
                let count = self.events.deliver(recipients, encode, roster, settings, now, actions);
                self.notices.log_hook(settings, actions, || sent.hook());
                count
            }
        }
    }

    /// Keeps an event that was published `age` ago for clients that recover here, and delivers it to nobody.
    pub fn keep_past(&mut self, shared: &SharedEvent, n: u64, age: Duration, now: Now) {
        let Some(read) = self.read(shared, n) else { return };
        let (history, settings) = (&mut self.events.history, self.settings);
        history.advance(n.saturating_sub(1));
        let at = now.at - age;
        match read {
            Read::Published(publication) => {
                let channel = publication.channel.as_str();
                let encode = |id: &str| publication.encode(Extra::of_id(id));
                history.append(channel, publication.socket_id, encode, settings, at);
                self.events.keep(&publication, age, settings, now);
            }
            Read::Sent(sent) => {
                let encode = |id: &str| sent.encode(Extra::of_id(id));
                history.append(&shared.channel, shared.except, encode, settings, at);
            }
        }
        self.events.arm_round(settings, now.at);
    }

    /// Checks an event of the log; `None`: it was read before, or no server of this version writes it.
    fn read<'a>(&self, shared: &'a SharedEvent, n: u64) -> Option<Read<'a>> {
        if n <= self.events.history.position().number() {
            return None;
        }
        let channel = ChannelName::parse(&shared.channel).ok()?;
        match &shared.sender {
            None => {
                event::check_name(Some(&shared.name)).ok()?;
                Some(Read::Published(Publication {
                    channel,
                    event: &shared.name,
                    data: &shared.data,
                    socket_id: shared.except,
                }))
            }
            Some(sender) => {
                let data: &RawValue = serde_json::from_str(&shared.data).ok()?;
                let is_fit = client_event::may_have(channel.kind()) && client_event::is_name(&shared.name);
                is_fit.then_some(Read::Sent(Sent { shared, sender, data }))
            }
        }
    }

    /// Keeps a cached event that another process told, unless the channel has one since the last gap: that one is
    /// newer.
    pub fn keep_cached(&mut self, cached: &CachedEvent, now: Now) {
        let Ok(channel) = ChannelName::parse(&cached.channel) else {
            return;
        };
        if self.events.cache.is_known(&cached.channel, now) || event::check_name(Some(&cached.name)).is_err() {
            return;
        }
        let publication = Publication {
            channel,
            event: &cached.name,
            data: &cached.data,
            socket_id: None,
        };
        self.events
            .keep(&publication, Duration::from_millis(cached.age), self.settings, now);
    }

    /// This process let pass so many publishes of the HTTP API.
    pub fn published(&self, count: usize, actions: &mut Actions) {
        self.notices.share(Shared::Published(narrow(count)), actions);
    }

    /// A client, of whichever process, subscribed to a cache channel without a cached event.
    pub fn cache_missed(&mut self, channel: &str, actions: &mut Actions) {
        if ChannelName::parse(channel).is_ok_and(ChannelName::is_cache) {
            self.notices.log_hook(self.settings, actions, || HookEvent::CacheMiss {
                channel: channel.to_owned(),
            });
        }
    }

    // --- positions -----------------------------------------------------------------------------------------------

    /// The positions have this start from here on, and the events above number `after` will be delivered. Positions of
    /// another start, or below `after`, are no longer known.
    pub fn set_epoch(&mut self, start: u32, after: u64, actions: &mut Actions) {
        if !self.events.restart(start, after, self.roster, actions) {
            return;
        }
        // The numbers of unfinished replays belong to the former positions.
        for (id, session) in self.roster.sessions.iter() {
            if session.replays.iter().any(|replay| replay.stream == Stream::Memory) {
                let why = "the positions have changed; come back and ask for what you missed";
                actions.push(Action::Close(id, 4200, why.into()));
            }
        }
    }

    /// All entries up to number `n` were read. Other apps have some of the numbers.
    pub fn advance(&mut self, n: u64) {
        self.events.history.advance(n);
    }

    /// Events may have been lost: clients that requested recovery reconnect and request them, and what another process
    /// tells of cached events counts more than what is here.
    pub fn gap(&mut self, actions: &mut Actions) {
        self.events.cache.doubt();
        close_for_gap(self.roster, actions);
    }
}

/// An event of the log.
enum Read<'a> {
    Published(Publication<'a>),
    Sent(Sent<'a>),
}

/// The same, sent by a client.
struct Sent<'a> {
    shared: &'a SharedEvent,
    sender: &'a Sender,
    data: &'a RawValue,
}

impl Sent<'_> {
    fn recipients(&self) -> Recipients<'_> {
        Recipients {
            channel: &self.shared.channel,
            user: None,
            except: self.shared.except,
        }
    }

    fn encode(&self, extra: Extra<'_>) -> String {
        let SharedEvent { name, channel, .. } = self.shared;
        frames::client_event(name, channel, Some(self.data), self.sender.user_id.as_deref(), extra)
    }

    fn hook(&self) -> HookEvent {
        client_event::hook(
            &self.shared.channel,
            &self.shared.name,
            Some(self.data),
            self.sender.socket,
            self.sender.user_id.as_deref(),
        )
    }
}
