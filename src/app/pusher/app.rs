//! A stand-in for the hub, just enough for the HTTP API's tests: it knows who is subscribed and sends events on. To be
//! replaced as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::channel::ChannelName;
use crate::app::actions::{Action, Actions};
use crate::config;
use crate::id::ConnectionId;
use crate::time::Now;

/// All apps.
#[derive(Debug, Default)]
pub struct Apps(Vec<App>);

impl Apps {
    /// With these settings.
    pub fn new(settings: &[config::App]) -> Self {
        Self(settings.iter().cloned().map(App::new).collect())
    }

    /// By id.
    pub fn find_id(&self, id: &str) -> Option<usize> {
        self.0.iter().position(|app| app.settings.id == id)
    }

    /// By key.
    pub fn find_key(&self, key: &str) -> Option<usize> {
        self.0.iter().position(|app| app.settings.key == key)
    }

    /// One of them.
    pub fn app(&self, n: usize) -> &App {
        &self.0[n]
    }

    /// One of them.
    pub fn app_mut(&mut self, n: usize) -> &mut App {
        &mut self.0[n]
    }
}

/// One app.
#[derive(Debug)]
pub struct App {
    /// What it may do.
    pub settings: config::App,
    connections: BTreeMap<ConnectionId, (SocketId, Option<String>)>,
    channels: BTreeMap<String, Vec<(ConnectionId, Option<String>)>>,
    cache: BTreeMap<String, (String, u64)>,
}

/// An event to be published.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Where.
    pub channel: ChannelName<'a>,
    /// Its name.
    pub event: &'a str,
    /// Its data as it stands inside the JSON string, decoded.
    pub data: &'a str,
    /// Who does not get it.
    pub socket_id: Option<SocketId>,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Connections.
    pub subscriptions: usize,
    /// Distinct users, in presence channels.
    pub users: Option<usize>,
}

/// The name of a connection in the Pusher protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u32, pub u32);

impl FromStr for SocketId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (a, b) = text.split_once('.').ok_or(())?;
        Ok(Self(a.parse().map_err(|_| ())?, b.parse().map_err(|_| ())?))
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl App {
    fn new(settings: config::App) -> Self {
        Self {
            settings,
            connections: BTreeMap::new(),
            channels: BTreeMap::new(),
            cache: BTreeMap::new(),
        }
    }

    /// Sends an event to its channel.
    pub fn publish(&mut self, publication: &Publication<'_>, now: Now, actions: &mut Actions) {
        let name = publication.channel.as_str();
        if publication.channel.is_cache() {
            let expires = now.unix_ms / 1000 + self.settings.cache_ttl;
            self.cache
                .insert(name.to_owned(), (publication.data.to_owned(), expires));
        }
        let frame = serde_json::json!({"event": publication.event, "channel": name, "data": publication.data});
        let connections = &self.connections;
        let user = publication.channel.user();
        let of_user = connections
            .iter()
            .filter(|(_, (_, signed_in))| user.is_some() && signed_in.as_deref() == user)
            .map(|(id, _)| *id);
        let of_channel = self.channels.get(name).into_iter().flatten().map(|(id, _)| *id);
        actions.fan_out(
            of_user
                .chain(of_channel)
                .filter(|id| Some(connections[id].0) != publication.socket_id),
            frame.to_string().into(),
        );
    }

    /// Channels with subscribers.
    pub fn occupied(&self) -> impl Iterator<Item = (&str, Occupancy)> {
        self.channels
            .keys()
            .filter_map(|name| Some((name.as_str(), self.occupancy(name)?)))
    }

    /// How many are in a channel; `None` when nobody is.
    pub fn occupancy(&self, channel: &str) -> Option<Occupancy> {
        Some(Occupancy {
            subscriptions: self.channels.get(channel)?.len(),
            users: channel.starts_with("presence-").then(|| self.users(channel).len()),
        })
    }

    /// Distinct users of a presence channel.
    pub fn users(&self, channel: &str) -> Vec<&str> {
        let members = self.channels.get(channel).into_iter().flatten();
        let mut users: Vec<&str> = members.filter_map(|(_, user)| user.as_deref()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// The last event of a cache channel and its seconds to live.
    pub fn cached(&self, channel: &str, now: Now) -> Option<(&str, u64)> {
        let (data, expires) = self.cache.get(channel)?;
        let ttl = expires.saturating_sub(now.unix_ms / 1000);
        (ttl > 0).then_some((data.as_str(), ttl))
    }

    /// Closes the connections that are signed in as a user.
    pub fn terminate(&mut self, user_id: &str, actions: &mut Actions) {
        for (id, (_, user)) in &self.connections {
            if user.as_deref() == Some(user_id) {
                actions.push(Action::Close(*id, 4009, "terminated".into()));
            }
        }
    }

    /// Open WebSockets.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// For tests: a connection, signed in or not.
    pub fn connect(&mut self, id: ConnectionId, socket_id: SocketId, user: Option<&str>) {
        self.connections.insert(id, (socket_id, user.map(str::to_owned)));
    }

    /// For tests: a subscription.
    pub fn subscribe(&mut self, id: ConnectionId, channel: &str, user: Option<&str>) {
        let members = self.channels.entry(channel.to_owned()).or_default();
        members.push((id, user.map(str::to_owned)));
    }
}
