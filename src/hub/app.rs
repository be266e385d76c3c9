//! One app's hub: who is connected, which channels there are and who is in them. The structures are doubly linked by index
//! (a subscription knows its place in the channel's list, the list's entry its place in the connection's), so leaving costs
//! as much as the connection has channels, whatever else there is, and a fan-out is one walk over a list.
//!
//! What a client may ask for is in `session.rs`, `subscribe.rs`, `client_event.rs`, `sign_in.rs` and `recovery.rs`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use slab::Slab;
use tungstenite::Utf8Bytes;

use super::cache::Cache;
use super::history::Memory;
use super::presence::Members;
use super::session::{Session, Subscription};
use super::users::Users;
use crate::config;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::effects::{Effect, HookEvent};
use crate::protocol::frames::{self, Extra, OneOrMore};
use crate::protocol::position::{Position, Stream};
use crate::protocol::room::give_back;
use crate::protocol::rows::Logged;
use crate::site::Site;
use crate::site::parameters::Former;
use crate::time::{Now, Time};

/// Above this many subscribers, `subscription_count` goes out at most every [`COUNT_PAUSE`].
const COUNTED_AT_ONCE: usize = 100;

/// See [`COUNTED_AT_ONCE`].
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// All apps.
#[derive(Debug, Default)]
pub struct Apps {
    apps: Vec<App>,
}

impl Apps {
    /// The apps of a configuration, without connections. `start` tells this run of the server from others.
    pub fn new(settings: &[config::App], start: u32) -> Self {
        Self {
            apps: settings
                .iter()
                .enumerate()
                .map(|(number, settings)| App::new(number, settings.clone(), start))
                .collect(),
        }
    }

    /// Obeys another configuration: apps that are still in it keep their connections and change their settings; new ones
    /// are added; one that is gone is disabled, and its connections are closed. `start` is for the new ones.
    pub fn reconfigure(&mut self, settings: &[config::App], start: u32, actions: &mut Actions) {
        for app in &mut self.apps {
            match settings.iter().find(|new| new.id == app.settings.id) {
                Some(new) => app.settings = new.clone(),
                None => app.settings.enabled = false,
            }
            if !app.settings.enabled {
                app.close_all(4003, "application is disabled", actions);
            }
        }
        for new in settings {
            if self.find_id(&new.id).is_none() {
                self.apps.push(App::new(self.apps.len(), new.clone(), start));
            }
        }
    }

    /// The app with this id.
    pub fn find_id(&self, id: &str) -> Option<usize> {
        self.apps.iter().position(|app| app.settings.id == id)
    }

    /// The app with this key.
    pub fn find_key(&self, key: &str) -> Option<usize> {
        self.apps.iter().position(|app| app.settings.key == key)
    }

    /// The app, if there is but one.
    pub fn only(&self) -> Option<usize> {
        (self.apps.len() == 1).then_some(0)
    }

    /// An app by its number.
    pub fn app(&self, n: usize) -> &App {
        &self.apps[n]
    }

    /// An app by its number.
    pub fn app_mut(&mut self, n: usize) -> &mut App {
        &mut self.apps[n]
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &App> {
        self.apps.iter()
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut App> {
        self.apps.iter_mut()
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.apps.iter().map(App::deadline).min().unwrap_or(Time::NEVER)
    }
}

/// One app.
#[derive(Debug)]
pub struct App {
    /// Its place in the list of all apps.
    number: usize,
    /// What the configuration says.
    pub settings: config::App,
    /// The secret before that of the settings, with its end.
    pub former: Option<Former>,
    /// By name; the values are indices of `channels`.
    names: HashMap<Box<str>, usize>,
    pub(super) channels: Slab<Channel>,
    /// By slot of the connection.
    pub(super) sessions: Vec<Option<Box<Session>>>,
    pub(super) connections: usize,
    /// Who gets no copy of what they published.
    pub(super) sockets: HashMap<SocketId, ConnectionId>,
    pub(super) users: Users,
    pub(super) cache: Cache,
    pub(super) history: Memory,
    /// The position in the outbox table, where the app has one, and how long rows are kept.
    pub(super) table: Option<Position>,
    pub(super) table_retention: Duration,
    /// Connections with a subscription that is held, and until when.
    pub(super) held: VecDeque<(Time, ConnectionId)>,
    /// Whether there is a site that wants to be told.
    has_site: bool,
    /// Channels whose count is to be told later, and when at the earliest.
    pub(super) uncounted: BTreeSet<(Time, Box<str>)>,
    /// Connections that must authorize themselves, oldest first.
    pub(super) unauthorized: VecDeque<(Time, ConnectionId)>,
    /// When the positions are told next to those who asked for recovery, and the old is forgotten.
    next_round: Time,
    /// Events that went to a subscriber.
    pub delivered: u64,
    /// Bytes that the subscriptions take, with their channels and members: an estimate that counts everything which a client
    /// can make longer or more.
    pub(super) subscription_bytes: usize,
}

/// What a subscription takes at both of its ends, in bytes.
const SUBSCRIPTION: usize = size_of::<Subscription>() + size_of::<Subscriber>();

/// What a channel takes besides its name, which stands in two places: its entry in the index, and what an allocator adds to
/// the pieces.
const CHANNEL: usize = size_of::<Channel>() + 128;

/// A channel with at least one subscriber.
#[derive(Debug)]
pub struct Channel {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) subscribers: Vec<Subscriber>,
    /// On presence channels.
    pub(super) members: Members,
    /// When `subscription_count` was told last.
    counted: Option<Time>,
}

/// One connection's place in a channel.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber {
    pub(super) id: ConnectionId,
    /// The index of the subscription in the connection's own list.
    pub(super) back: u32,
    pub(super) hears: Hears,
    /// The site's rules let it in, not a signature: when they change, it may have to leave.
    pub(super) by_rule: bool,
}

/// How a subscriber gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// As a stock client: Pusher's frames and nothing else.
    Stock,
    /// With positions.
    Positions,
    /// Not yet in one of the streams: it is still being told what it missed there, or it is held, and what happens meanwhile
    /// waits in the history.
    Later,
}

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Where.
    pub channel: ChannelName<'a>,
    /// The event's name.
    pub event: &'a str,
    /// Its data, as the string that it is inside the frame.
    pub data: &'a str,
    /// Who gets no copy.
    pub socket_id: Option<SocketId>,
}

/// How full a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Connections.
    pub subscriptions: usize,
    /// Distinct users, on presence channels.
    pub users: Option<usize>,
}

impl App {
    /// The secret before that of the settings, while signatures of it are accepted.
    pub fn former_secret(&self, now: Now) -> Option<&str> {
        self.former.as_ref().and_then(|former| former.secret(now))
    }

    fn new(number: usize, settings: config::App, start: u32) -> Self {
        Self {
            number,
            settings,
            former: None,
            names: HashMap::new(),
            channels: Slab::new(),
            sessions: Vec::new(),
            connections: 0,
            sockets: HashMap::new(),
            users: Users::default(),
            cache: Cache::default(),
            history: Memory::new(start),
            table: None,
            table_retention: Duration::MAX,
            held: VecDeque::new(),
            has_site: false,
            uncounted: BTreeSet::new(),
            unauthorized: VecDeque::new(),
            next_round: Time::NEVER,
            delivered: 0,
            subscription_bytes: 0,
        }
    }

    /// The app's connections are a site's visitors. `retention`: how long the site's outbox table keeps rows.
    pub fn belong_to_site(&mut self, retention: Duration) {
        (self.has_site, self.table_retention) = (true, retention);
    }

    // --- publishing ----------------------------------------------------------------------------------------------

    /// Delivers an event, keeps it for newcomers of a cache channel and for those who were away.
    pub fn publish(&mut self, publication: &Publication<'_>, now: Now, actions: &mut Actions) {
        let Publication {
            channel,
            event,
            data,
            socket_id,
        } = *publication;
        if channel.is_cache() {
            self.cache
                .put(channel.as_str(), event, data, Duration::ZERO, &self.settings, now);
        }
        let (name, user) = (channel.as_str(), channel.user());
        self.deliver(name, user, socket_id, now, actions, |extra| {
            frames::event(event, name, data, None, extra)
        });
    }

    /// Delivers an event that stands in a row of the outbox table, which keeps it. `logged`: as clients that asked for recovery
    /// get it.
    pub fn publish_row(
        &mut self,
        publication: &Publication<'_>,
        logged: &Logged,
        site: &Site,
        now: Now,
        actions: &mut Actions,
    ) {
        let Publication {
            channel,
            event,
            data,
            socket_id,
        } = *publication;
        self.keep_row(publication, Duration::ZERO, now);
        let (name, user) = (channel.as_str(), channel.user());
        if site.has_doubts() {
            self.hold_doubted(name, user, logged.seq, site, now.at);
        }
        let encode = |extra: Extra<'_>| frames::event(event, name, data, None, extra);
        self.hand_out(
            name,
            user,
            socket_id,
            Stream::Table,
            logged.frame.clone(),
            actions,
            encode,
        );
    }

    /// Keeps the event of a row for newcomers of a cache channel. `age`: since it was stamped.
    pub fn keep_row(&mut self, publication: &Publication<'_>, age: Duration, now: Now) {
        let Publication {
            channel, event, data, ..
        } = *publication;
        if channel.is_cache() {
            self.cache.put(channel.as_str(), event, data, age, &self.settings, now);
            self.arm_round(now.at);
        }
    }

    /// Rows of the table may have been lost: who asked for recovery comes back, and is told so.
    pub fn tell_gap(&self, actions: &mut Actions) {
        let all = self.sessions.iter().flatten();
        for session in all.filter(|session| session.recovery && session.hears()) {
            let why = "events may have been lost; come back and ask for what you missed";
            actions.push(Action::Close(session.id, 4200, why.into()));
        }
    }

    /// Delivers one event to everybody who is to have it, in the two forms it has, and keeps it for recovery.
    pub(super) fn deliver(
        &mut self,
        name: &str,
        user: Option<&str>,
        except: Option<SocketId>,
        now: Now,
        actions: &mut Actions,
        encode: impl Fn(Extra<'_>) -> String,
    ) {
        let position = self.history.advance();
        let own = position.to_string();
        let with_position: Utf8Bytes = encode(Extra {
            id: Some(&own),
            ..Extra::default()
        })
        .into();
        self.history
            .append(name, with_position.clone(), except, &self.settings, now.at);
        self.arm_round(now.at);
        self.hand_out(name, user, except, Stream::Memory, with_position, actions, encode);
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "what an event is, in parts that come from two places"
    )]
    fn hand_out(
        &mut self,
        name: &str,
        user: Option<&str>,
        except: Option<SocketId>,
        stream: Stream,
        with_position: Utf8Bytes,
        actions: &mut Actions,
        encode: impl Fn(Extra<'_>) -> String,
    ) {
        let except_id = except.and_then(|socket| self.sockets.get(&socket).copied());
        let (channel, subscribers) = self.hearers(name, user);
        // A connection that is still being told of the past meets this event there.
        let has_replay = |id: ConnectionId| self.has_replay(id, channel, stream);
        let wants_positions = |id: ConnectionId| {
            let session = self.sessions[id.slot()].as_deref();
            session.is_some_and(|session| session.recovery)
        };
        let all = || subscribers.iter().filter(|subscriber| Some(subscriber.id) != except_id);
        let with = all().filter(|subscriber| match subscriber.hears {
            Hears::Positions => true,
            Hears::Later => !has_replay(subscriber.id) && wants_positions(subscriber.id),
            Hears::Stock => false,
        });
        let mut delivered = actions.fan_out(with.map(|subscriber| subscriber.id), with_position);
        let stock = || {
            all().filter(|subscriber| match subscriber.hears {
                Hears::Stock => true,
                Hears::Later => !has_replay(subscriber.id) && !wants_positions(subscriber.id),
                Hears::Positions => false,
            })
        };
        if stock().next().is_some() {
            let plain = encode(Extra::default()).into();
            delivered += actions.fan_out(stock().map(|subscriber| subscriber.id), plain);
        }
        self.delivered += delivered as u64;
    }

    /// Whose event it is: the channel (`None`: a user's own one, or nobody hears it) and its subscribers.
    pub(super) fn hearers(&self, name: &str, user: Option<&str>) -> (Option<u32>, &[Subscriber]) {
        let channel = self.channel_index(name).filter(|_| user.is_none());
        let subscribers = match (user, channel) {
            (Some(user), _) => self.users.connections(user),
            (None, Some(channel)) => self.channels[channel].subscribers.as_slice(),
            (None, None) => &[],
        };
        (channel.map(|channel| channel as u32), subscribers)
    }

    /// Sends a frame of the protocol to every subscriber of a channel but one; it is no event and has no position.
    pub(super) fn announce(&self, channel: usize, except: Option<ConnectionId>, frame: String, actions: &mut Actions) {
        let all = self.channels[channel]
            .subscribers
            .iter()
            .map(|subscriber| subscriber.id);
        actions.fan_out(all.filter(|id| Some(*id) != except), frame.into());
    }

    // --- questions -----------------------------------------------------------------------------------------------

    /// The channels that have subscribers, by name, and how many.
    pub fn occupied(&self) -> impl Iterator<Item = (&str, Occupancy)> {
        let mut all: Vec<&Channel> = self.channels.iter().map(|(_, channel)| channel).collect();
        all.sort_unstable_by_key(|channel| &channel.name);
        all.into_iter().map(|channel| (&*channel.name, channel.occupancy()))
    }

    /// How many subscribe to a channel; `None`: nobody.
    pub fn occupancy(&self, channel: &str) -> Option<Occupancy> {
        self.channel(channel).map(Channel::occupancy)
    }

    /// The distinct users of a presence channel.
    pub fn users(&self, channel: &str) -> Vec<&str> {
        self.channel(channel)
            .map(|channel| channel.members.ids().collect())
            .unwrap_or_default()
    }

    /// The cached data of a channel and the seconds that it will be kept.
    pub fn cached(&self, channel: &str, now: Now) -> Option<(&str, u64)> {
        self.cache
            .find(channel, now)
            .map(|cached| (cached.data(), cached.seconds_left(now)))
    }

    /// Connections at this moment.
    pub fn connections(&self) -> usize {
        self.connections
    }

    pub(super) fn channel_index(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    fn channel(&self, name: &str) -> Option<&Channel> {
        self.channel_index(name).map(|channel| &self.channels[channel])
    }

    // --- coming and going ----------------------------------------------------------------------------------------

    /// Closes every connection that is signed in as this user (pusher.md 7.6).
    pub fn terminate(&mut self, user_id: &str, actions: &mut Actions) {
        for connection in self.users.connections(user_id) {
            actions.push(Action::Close(
                connection.id,
                4009,
                "You got disconnected by the app.".into(),
            ));
        }
    }

    fn close_all(&self, code: u16, why: &'static str, actions: &mut Actions) {
        for session in self.sessions.iter().flatten() {
            actions.push(Action::Close(session.id, code, why.into()));
        }
    }

    /// Puts a connection into a channel, which is made if it is not there.
    pub(super) fn enter(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        hears: Hears,
        back: u32,
        actions: &mut Actions,
    ) -> usize {
        let channel = match self.names.get(name.as_str()) {
            Some(channel) => *channel,
            None => {
                let channel = || name.as_str().to_owned();
                self.hook(actions, || HookEvent::Occupied { channel: channel() });
                self.subscription_bytes += CHANNEL + 2 * name.as_str().len();
                let channel = self.channels.insert(Channel::new(name));
                self.names.insert(name.as_str().into(), channel);
                if self.has_site {
                    actions.effect(Effect::Occupied(name.as_str().into()));
                }
                channel
            }
        };
        self.subscription_bytes += SUBSCRIPTION;
        let subscribers = &mut self.channels[channel].subscribers;
        if subscribers.is_empty() {
            // Most channels that one connection makes have one subscriber; the usual growth would begin with room for four.
            subscribers.reserve_exact(1);
        }
        subscribers.push(Subscriber {
            id,
            back,
            hears,
            by_rule: false,
        });
        channel
    }

    /// Takes the subscriber at `place` out of a channel. The last one takes its place, and its connection is told.
    pub(super) fn leave(&mut self, channel: usize, place: usize, actions: &mut Actions) {
        self.subscription_bytes -= SUBSCRIPTION;
        let subscribers = &mut self.channels[channel].subscribers;
        subscribers.swap_remove(place);
        if let Some(moved) = subscribers.get(place).copied() {
            let session = self.sessions[moved.id.slot()]
                .as_mut()
                .expect("who is in a channel has a session");
            session.subscriptions[moved.back as usize].place = place as u32;
        }
        if subscribers.is_empty() {
            // Small again after a crowd, and gone after the last.
            let Channel { name, .. } = self.channels.remove(channel);
            self.subscription_bytes -= CHANNEL + 2 * name.len();
            self.names.remove(&name);
            give_back(&mut self.names);
            give_back(&mut self.channels);
            if self.has_site {
                actions.effect(Effect::Vacated(name.clone()));
            }
            self.hook(actions, || HookEvent::Vacated { channel: name.into() });
        } else {
            give_back(subscribers);
        }
    }

    /// Tells the number of subscribers, now or, in a crowd, a little later.
    pub(super) fn count(&mut self, channel: usize, now: Time, actions: &mut Actions) {
        if !self.settings.subscription_count {
            return;
        }
        let Some(found) = self
            .channels
            .get_mut(channel)
            .filter(|found| found.kind != Kind::Presence)
        else {
            return;
        };
        let earliest = found.counted.map_or(Time(0), |counted| counted + COUNT_PAUSE);
        if found.subscribers.len() > COUNTED_AT_ONCE && earliest > now {
            self.uncounted.insert((earliest, found.name.clone()));
            return;
        }
        found.counted = Some(now);
        #[derive(serde::Serialize)]
        struct Count {
            subscription_count: usize,
        }
        let (name, count) = (found.name.to_string(), found.subscribers.len());
        let data = Count {
            subscription_count: count,
        };
        let event = "pusher_internal:subscription_count";
        let frame = frames::protocol(event, Some(&name), &data, Extra::default());
        self.announce(channel, None, frame, actions);
        self.hook(actions, || HookEvent::SubscriptionCount { channel: name, count });
    }

    // --- time ----------------------------------------------------------------------------------------------------

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        let counts = self.uncounted.first().map(|(at, _)| *at);
        let unauthorized = self.unauthorized.front().map(|(at, _)| *at);
        counts
            .into_iter()
            .chain(unauthorized)
            .chain(self.held.front().map(|(at, _)| *at))
            .chain([self.next_round])
            .min()
            .unwrap_or(Time::NEVER)
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        while self.uncounted.first().is_some_and(|(at, _)| *at <= now.at) {
            let Some((_, name)) = self.uncounted.pop_first() else {
                break;
            };
            if let Some(channel) = self.channel_index(&name) {
                self.count(channel, now.at, actions);
            }
        }
        while self.unauthorized.front().is_some_and(|(at, _)| *at <= now.at) {
            let Some((_, id)) = self.unauthorized.pop_front() else {
                break;
            };
            give_back(&mut self.unauthorized);
            if self.session(id).is_some_and(|session| !session.authorized) {
                actions.push(Action::Close(
                    id,
                    4009,
                    "Connection not authorized within timeout".into(),
                ));
            }
        }
        self.give_up_held(now.at, actions);
        if self.next_round <= now.at {
            self.next_round = Time::NEVER;
            self.history.expire(&self.settings, now.at);
            self.cache.expire(now);
            let told = self.tell_positions(actions);
            if told > 0 || !self.history.is_empty() || !self.cache.is_empty() {
                self.arm_round(now.at);
            }
        }
    }

    /// Sees to it that in a quarter of the retention the old is forgotten and the positions are told.
    pub(super) fn arm_round(&mut self, now: Time) {
        if self.next_round == Time::NEVER {
            let retention = Duration::from_secs(self.settings.history_seconds.min(self.settings.cache_ttl));
            let quarter = retention.min(self.table_retention) / 4;
            self.next_round = now + quarter.max(Duration::from_secs(1));
        }
    }

    /// A page that hears nothing for long must not fall behind what is kept. How many were told.
    fn tell_positions(&mut self, actions: &mut Actions) -> usize {
        let frame = self.position_frame("pusher_internal:position");
        let all = self.sessions.iter().flatten();
        let told = all
            .filter(|session| session.recovery && session.replays.is_empty())
            .map(|session| session.id);
        actions.fan_out(told, frame.into())
    }

    /// A frame with empty data and the positions, one for each stream. While the table's is not known the client keeps what it has.
    pub(super) fn position_frame(&self, event: &str) -> String {
        let table = self.table.filter(|table| *table != Position::NOWHERE);
        let positions: Vec<String> = [Some(self.history.position()), table]
            .iter()
            .flatten()
            .map(Position::to_string)
            .collect();
        frames::bare(
            event,
            None,
            Extra {
                pos: Some(OneOrMore::of(&positions)),
                ..Extra::default()
            },
        )
    }

    /// The position in the outbox table; `None`: the app's site has none. A connection that asked for recovery before there was
    /// one is told. But one that came while the table could not be read may have missed rows, and comes back.
    pub fn set_table(&mut self, position: Option<Position>, actions: &mut Actions) {
        let before = std::mem::replace(&mut self.table, position);
        if position.is_none_or(|position| position == Position::NOWHERE) {
            return;
        }
        match before {
            None => drop(self.tell_positions(actions)),
            Some(Position::NOWHERE) => self.tell_gap(actions),
            Some(_) => {}
        }
    }

    /// Has the app's webhooks told of an event.
    pub(super) fn hook(&self, actions: &mut Actions, event: impl FnOnce() -> HookEvent) {
        if !self.settings.webhooks.is_empty() {
            actions.effect(Effect::Hook(self.number, event()));
        }
    }

    /// The session of a connection.
    pub(super) fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id.slot())?
            .as_deref_mut()
            .filter(|session| session.id == id)
    }
}

impl Channel {
    fn new(name: ChannelName<'_>) -> Self {
        Self {
            name: name.as_str().into(),
            kind: name.kind(),
            subscribers: Vec::new(),
            members: Members::default(),
            counted: None,
        }
    }

    fn occupancy(&self) -> Occupancy {
        let users = (self.kind == Kind::Presence).then(|| self.members.len());
        Occupancy {
            subscriptions: self.subscribers.len(),
            users,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::ask::Progress;
    use crate::hub::session::{Door, Terms, Timing};

    #[test]
    fn a_crowd_that_left_gives_back_its_room() {
        let mut app = App::new(0, config::App::new("7", "key", "secret"), 1);
        let now = Now {
            at: Time(0),
            unix_ms: 0,
        };
        let terms = Terms {
            protocol: 7,
            recovery: false,
        };
        let timing = Timing {
            activity_timeout: 120,
            authorization_timeout: 1,
        };
        let id = |slot| ConnectionId::new(slot, 1);
        let (mut door, actions) = (Door::default(), &mut Actions::default());
        for slot in 0..5000 {
            app.connect(id(slot), SocketId(1, slot), terms, timing, now, actions);
            for channel in [format!("own-{slot}"), "crowd".to_owned()] {
                let frame = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
                let progress = app.text(id(slot), &frame, &mut door, now, actions);
                assert!(matches!(progress, Progress::Done));
            }
        }
        assert_eq!((app.names.len(), app.channels.len()), (5001, 5001));
        app.due(
            Now {
                at: Time(1_000_000),
                ..now
            },
            actions,
        );
        (1..5000).for_each(|slot| app.disconnect(id(slot), now, actions));
        let crowd = &app.channels[app.names["crowd"]].subscribers;
        assert_eq!((app.connections, app.names.len(), crowd.len()), (1, 2, 1));
        let room = [
            app.names.capacity(),
            app.channels.capacity(),
            app.sessions.capacity(),
            app.sockets.capacity(),
            app.unauthorized.capacity(),
            crowd.capacity(),
        ];
        assert!(room.iter().all(|room| *room <= 64), "{room:?}");
    }
}
