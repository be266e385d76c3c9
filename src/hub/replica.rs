//! What all processes of a cluster hold, for one app: the subscriptions of each channel, the members, the signed-in
//! users and more, each with the processes that hold it. Every process applies the same states in the same order, so
//! all replicas are equal at the same place of the log. What this process holds stands here too, as it was read back;
//! the roster is ahead of that by what has not been read back yet. Nothing here sends a frame.
//!
//! Two sums matter. The total counts all processes, in the order of the log: the webhooks follow it. The sum elsewhere
//! counts the other processes only: with the roster, it is what the clients see.
//!
//! Rejected: a table for each process. It would be walked faster when a process ends, which is rare, and each sum would
//! need a look into all tables.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use serde_json::value::RawValue;

use super::ask::is_too_deep;
use super::credentials::MAX_USER_ID;
use crate::logging::RareLine;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::room::give_back;
use crate::protocol::shared::{Holding, ProcessId};
use crate::time::Time;

/// The estimated bytes of an entry besides its texts: the structures around it, and the overhead of the allocator.
const ENTRY: usize = size_of::<Holder>() + 160;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Replica {
    /// This process.
    me: ProcessId,
    channels: BTreeMap<Box<str>, Everywhere>,
    users: HashMap<Box<str>, Holders>,
    sessions: HashMap<u64, Holders>,
    connections: Holders,
    /// The estimated bytes of all entries.
    pub(super) bytes: usize,
    /// The line about states that are not kept.
    pub(super) refused: RareLine,
}

/// A channel on all processes.
#[derive(Debug, Default)]
pub(super) struct Everywhere {
    subscriptions: Holders,
    /// The members, if this is a presence channel.
    members: BTreeMap<Box<str>, Holders>,
    /// When the webhook `subscription_count` was noted last.
    pub(super) counted: Option<Time>,
}

/// The processes that hold a thing. Few, so a list is searched.
#[derive(Debug, Default)]
struct Holders(Vec<Holder>);

#[derive(Debug)]
struct Holder {
    process: ProcessId,
    /// How many the process holds; at least 1.
    amount: u32,
    /// The process has not told this state again since it was doubted.
    is_stale: bool,
    /// Of a member: the user's public data.
    user_info: Option<Box<RawValue>>,
}

/// How many of a thing there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// On all processes, in the order of the log.
    pub(super) total: usize,
    /// On the other processes.
    pub(super) elsewhere: usize,
}

/// The sums of a thing before and after a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    pub(super) before: Sums,
    pub(super) after: Sums,
}

/// Why a state is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No server of this version writes such a state.
    Malformed,
    /// The replica has no room.
    Full,
}

impl Holders {
    fn find(&self, process: ProcessId) -> Option<&Holder> {
        self.0.iter().find(|holder| holder.process == process)
    }

    fn sums(&self, me: ProcessId) -> Sums {
        let mut sums = Sums::default();
        for holder in &self.0 {
            let amount = holder.amount as usize;
            sums.total += amount;
            if holder.process != me {
                sums.elsewhere += amount;
            }
        }
        sums
    }

    fn set(&mut self, process: ProcessId, amount: u32, user_info: Option<Box<RawValue>>) {
        self.0.retain(|holder| holder.process != process);
        if amount > 0 {
            self.0.push(Holder {
                process,
                amount,
                is_stale: false,
                user_info,
            });
        }
    }
}

impl Shift {
    /// Whether there was none on any process, and there is one.
    pub(super) fn is_first(self) -> bool {
        self.before.total == 0 && self.after.total > 0
    }

    /// Whether there was one on a process, and there is none.
    pub(super) fn is_last(self) -> bool {
        self.before.total > 0 && self.after.total == 0
    }

    /// Whether the other processes hold the thing or do not: `None`: as before.
    pub(super) fn elsewhere(self) -> Option<bool> {
        let is_held = self.after.elsewhere > 0;
        (is_held != (self.before.elsewhere > 0)).then_some(is_held)
    }
}

impl Everywhere {
    fn is_empty(&self) -> bool {
        self.subscriptions.0.is_empty() && self.members.is_empty()
    }
}

impl Replica {
    /// A replica without entries, in this process.
    pub(super) fn new(me: ProcessId) -> Self {
        Self {
            me,
            channels: BTreeMap::new(),
            users: HashMap::new(),
            sessions: HashMap::new(),
            connections: Holders::default(),
            bytes: 0,
            refused: RareLine::default(),
        }
    }

    /// A process holds this from here on. `most`: the most bytes of all entries.
    ///
    /// # Errors
    /// Why the state is not kept.
    pub(super) fn apply(&mut self, from: ProcessId, holding: &Holding, most: usize) -> Result<Shift, Unfit> {
        check(holding)?;
        let (bytes, amount) = (cost(holding), amount(holding));
        let info = match holding {
            Holding::Member { user_info, .. } if amount > 0 => user_info.clone(),
            _ => None,
        };
        let found = self.holders(holding);
        let before = found.map_or(Sums::default(), |found| found.sums(self.me));
        let held = found.and_then(|found| found.find(from));
        let freed = held.map_or(0, |held| bytes.texts + info_len(held.user_info.as_deref()));
        if held.is_none() && amount == 0 {
            return Ok(Shift { before, after: before });
        }
        let kept = self.bytes - freed + if amount > 0 { bytes.all } else { 0 };
        if amount > 0 && kept > most && kept > self.bytes {
            return Err(Unfit::Full);
        }
        self.bytes = kept;
        let me = self.me;
        let after = self.change(holding, |holders| {
            holders.set(from, amount, info);
            holders.sums(me)
        });
        Ok(Shift { before, after })
    }

    fn holders(&self, of: &Holding) -> Option<&Holders> {
        match of {
            Holding::Subscriptions { channel, .. } => Some(&self.channels.get(channel)?.subscriptions),
            Holding::Member { channel, user_id, .. } => self.channels.get(channel)?.members.get(user_id),
            Holding::User { user_id, .. } => self.users.get(user_id),
            Holding::Session { hash, .. } => self.sessions.get(hash),
            Holding::Connections { .. } => Some(&self.connections),
        }
    }

    /// Changes the holders of a thing, and removes what is empty then.
    fn change<T>(&mut self, of: &Holding, change: impl FnOnce(&mut Holders) -> T) -> T {
        match of {
            Holding::Subscriptions { channel, .. } | Holding::Member { channel, .. } => {
                let own = self.channels.entry(channel.clone()).or_default();
                let changed = match of {
                    Holding::Member { user_id, .. } => {
                        let holders = own.members.entry(user_id.clone()).or_default();
                        let changed = change(holders);
                        if holders.0.is_empty() {
                            own.members.remove(user_id);
                        }
                        changed
                    }
                    _ => change(&mut own.subscriptions),
                };
                if own.is_empty() {
                    self.channels.remove(channel);
                }
                changed
            }
            Holding::User { user_id, .. } => change_in(&mut self.users, user_id.clone(), change),
            Holding::Session { hash, .. } => change_in(&mut self.sessions, *hash, change),
            Holding::Connections { .. } => change(&mut self.connections),
        }
    }

    /// What a process holds may have changed: it tells everything again.
    pub(super) fn doubt(&mut self, of: ProcessId) {
        let channels = self.channels.values_mut().flat_map(|own| {
            let members = own.members.values_mut();
            members.chain([&mut own.subscriptions])
        });
        let rest = self.users.values_mut().chain(self.sessions.values_mut());
        for holders in channels.chain(rest).chain([&mut self.connections]) {
            for holder in holders.0.iter_mut().filter(|holder| holder.process == of) {
                holder.is_stale = true;
            }
        }
    }

    /// The states that end what a process holds: only what it has not told again since it was doubted, or everything.
    /// Members leave before the last subscription ends, as on one process.
    pub(super) fn endings(&self, of: ProcessId, which: Ending) -> Vec<Holding> {
        let ends = |holders: &Holders| {
            let held = holders.find(of);
            held.is_some_and(|held| which == Ending::All || held.is_stale)
        };
        let mut endings = Vec::new();
        for (channel, own) in &self.channels {
            let members = own.members.iter().filter(|(_, holders)| ends(holders));
            endings.extend(members.map(|(user_id, _)| Holding::Member {
                channel: channel.clone(),
                user_id: user_id.clone(),
                user_info: None,
                is_present: false,
            }));
            if ends(&own.subscriptions) {
                let channel = channel.clone();
                endings.push(Holding::Subscriptions { channel, count: 0 });
            }
        }
        let users = self.users.iter().filter(|(_, holders)| ends(holders));
        endings.extend(users.map(|(user_id, _)| Holding::User {
            user_id: user_id.clone(),
            is_online: false,
        }));
        let sessions = self.sessions.iter().filter(|(_, holders)| ends(holders));
        endings.extend(sessions.map(|(hash, _)| Holding::Session {
            hash: *hash,
            sockets: 0,
        }));
        if ends(&self.connections) {
            endings.push(Holding::Connections { count: 0 });
        }
        endings
    }

    /// A channel that a process holds.
    pub(super) fn channel_mut(&mut self, channel: &str) -> Option<&mut Everywhere> {
        self.channels.get_mut(channel)
    }

    /// The subscriptions to a channel.
    pub(super) fn subscriptions(&self, channel: &str) -> Sums {
        let own = self.channels.get(channel);
        own.map_or(Sums::default(), |own| own.subscriptions.sums(self.me))
    }

    /// The channels with these prefixes to which connections of other processes are subscribed, in order.
    pub(super) fn channels_elsewhere<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let range = self
            .channels
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let all = range.take_while(move |(channel, _)| channel.starts_with(prefix));
        all.filter(|(_, own)| own.subscriptions.sums(self.me).elsewhere > 0)
            .map(|(channel, _)| &**channel)
    }

    /// The members of a channel on other processes, in order, each with its public data.
    pub(super) fn members_elsewhere(&self, channel: &str) -> impl Iterator<Item = (&str, Option<&RawValue>)> {
        let members = self.channels.get(channel).into_iter().flat_map(|own| &own.members);
        members.filter_map(|(user_id, holders)| {
            // The lowest process, so that the answer is the same on all processes that see the same.
            let others = holders.0.iter().filter(|holder| holder.process != self.me);
            let first = others.min_by_key(|holder| holder.process)?;
            Some((&**user_id, first.user_info.as_deref()))
        })
    }

    /// Whether a user is a member of a channel on another process.
    pub(super) fn is_member_elsewhere(&self, channel: &str, user_id: &str) -> bool {
        let holders = self.channels.get(channel).and_then(|own| own.members.get(user_id));
        holders.is_some_and(|holders| holders.sums(self.me).elsewhere > 0)
    }

    /// Whether a user is signed in on another process.
    pub(super) fn is_online_elsewhere(&self, user_id: &str) -> bool {
        let holders = self.users.get(user_id);
        holders.is_some_and(|holders| holders.sums(self.me).elsewhere > 0)
    }

    /// The WebSockets of a session on the other processes.
    pub(super) fn sockets_elsewhere(&self, hash: u64) -> usize {
        let holders = self.sessions.get(&hash);
        holders.map_or(0, |holders| holders.sums(self.me).elsewhere)
    }

    /// The connections of the app on the other processes.
    pub(super) fn connections_elsewhere(&self) -> usize {
        self.connections.sums(self.me).elsewhere
    }
}

/// What of a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Everything.
    All,
    /// What the process has not told again since it was doubted.
    Stale,
}

fn change_in<K: Hash + Eq + Clone, T>(
    map: &mut HashMap<K, Holders>,
    key: K,
    change: impl FnOnce(&mut Holders) -> T,
) -> T {
    let holders = map.entry(key.clone()).or_default();
    let changed = change(holders);
    if holders.0.is_empty() {
        map.remove(&key);
        give_back(map);
    }
    changed
}

fn amount(of: &Holding) -> u32 {
    match of {
        Holding::Subscriptions { count, .. } | Holding::Connections { count } => *count,
        Holding::Session { sockets, .. } => *sockets,
        Holding::Member { is_present: is, .. } | Holding::User { is_online: is, .. } => u32::from(*is),
    }
}

/// The bytes of an entry without the public data of a member, and with it.
struct Cost {
    texts: usize,
    all: usize,
}

fn cost(of: &Holding) -> Cost {
    let (texts, info) = match of {
        Holding::Subscriptions { channel, .. } => (channel.len(), None),
        Holding::Member {
            channel,
            user_id,
            user_info,
            ..
        } => (channel.len() + user_id.len(), user_info.as_deref()),
        Holding::User { user_id, .. } => (user_id.len(), None),
        Holding::Session { .. } | Holding::Connections { .. } => (0, None),
    };
    let texts = ENTRY + texts;
    Cost {
        texts,
        all: texts + info_len(info),
    }
}

fn info_len(info: Option<&RawValue>) -> usize {
    info.map_or(0, |info| info.get().len())
}

/// Checks what comes from the engine: no other process writes a state with a bad name.
fn check(holding: &Holding) -> Result<(), Unfit> {
    let is_user = |user_id: &str| !user_id.is_empty() && user_id.chars().count() <= MAX_USER_ID;
    let kind = |channel| ChannelName::parse(channel).ok().map(ChannelName::kind);
    let is_fit = match holding {
        Holding::Subscriptions { channel, .. } => kind(channel).is_some_and(|kind| kind != Kind::ServerToUser),
        Holding::Member {
            channel,
            user_id,
            user_info,
            ..
        } => {
            let info = user_info.as_ref();
            kind(channel) == Some(Kind::Presence)
                && is_user(user_id)
                && info.is_none_or(|info| !is_too_deep(info.get()))
        }
        Holding::User { user_id, .. } => is_user(user_id),
        Holding::Session { .. } | Holding::Connections { .. } => true,
    };
    if is_fit { Ok(()) } else { Err(Unfit::Malformed) }
}
