//! One app: its settings, its roster and the events that it keeps. This file publishes events, counts subscribers and
//! runs what is due.
//!
//! The frames of a client are handled in `frame.rs`, `join.rs`, `recovery.rs`, `sign_in.rs` and `client_event.rs`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tungstenite::Utf8Bytes;

use super::cache::Cache;
use super::channel::{Channel, Hears, Occupancy, Recipients};
use super::credentials::Credentials;
use super::history::Memory;
use super::replays::Replays;
use super::roster::Roster;
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
use crate::protocol::signature::FormerSecret;
use crate::time::{Now, Time};

/// Above this many subscribers, `subscription_count` goes out at most every [`COUNT_PAUSE`].
const COUNTED_AT_ONCE: usize = 100;

/// See [`COUNTED_AT_ONCE`].
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// One app.
#[derive(Debug)]
pub struct App {
    /// The app's index in the list of all apps.
    number: usize,
    /// The app's section of the configuration.
    pub settings: config::App,
    /// The secret that was valid before the one in the settings, with the time at which it ends.
    pub former: Option<FormerSecret>,
    pub(super) roster: Roster,
    pub(super) cache: Cache,
    pub(super) history: Memory,
    /// The newest position in the outbox table; `None`: the app has no outbox table.
    pub(super) table: Option<Position>,
    /// How long the outbox table of the app's site keeps rows; `None`: the app has no site.
    pub(super) rows_kept: Option<Duration>,
    pub(super) replays: Replays,
    /// Channels whose subscriber count is sent later, with the earliest time for each.
    pub(super) uncounted: BTreeSet<(Time, Box<str>)>,
    /// Connections that must authorize themselves, oldest first.
    pub(super) unauthorized: VecDeque<(Time, ConnectionId)>,
    /// The time of the next round. A round sends positions to connections that asked for recovery, and drops old
    /// events.
    next_round: Time,
    /// Copies of events that were sent to subscribers.
    pub delivered: u64,
}

/// An event to publish.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The channel.
    pub channel: ChannelName<'a>,
    /// The event's name.
    pub event: &'a str,
    /// The data, as the string that stands inside the frame.
    pub data: &'a str,
    /// The connection that gets no copy.
    pub socket_id: Option<SocketId>,
}

impl<'a> Publication<'a> {
    fn recipients(&self) -> Recipients<'a> {
        Recipients {
            channel: self.channel.as_str(),
            user: self.channel.user(),
            except: self.socket_id,
        }
    }
}

impl App {
    /// The former secret, while signatures made with it are accepted.
    pub fn former_secret(&self, now: Now) -> Option<&str> {
        self.former.as_ref().and_then(|former| former.at(now))
    }

    /// The credentials against which signatures are checked.
    pub(super) fn credentials(&self, now: Now) -> Credentials<'_> {
        Credentials {
            key: &self.settings.key,
            secret: &self.settings.secret,
            former: self.former_secret(now),
            max_user_info_size: self.settings.max_user_info_size,
        }
    }

    /// An app without connections. `number` is its index in the list of all apps. `start` distinguishes this run of the
    /// server from other runs.
    pub fn new(number: usize, settings: config::App, start: u32) -> Self {
        Self {
            number,
            settings,
            former: None,
            roster: Roster::default(),
            cache: Cache::default(),
            history: Memory::new(start),
            table: None,
            rows_kept: None,
            replays: Replays::default(),
            uncounted: BTreeSet::new(),
            unauthorized: VecDeque::new(),
            next_round: Time::NEVER,
            delivered: 0,
        }
    }

    /// From here on the app's connections are visitors of a site. `retention`: how long the site's outbox table keeps
    /// rows.
    pub fn belong_to_site(&mut self, retention: Duration) {
        self.rows_kept = Some(retention);
    }

    // --- publishing ----------------------------------------------------------------------------------------------

    /// Delivers an event. Keeps it for new subscribers of a cache channel and for clients that are away.
    pub fn publish(&mut self, publication: &Publication<'_>, now: Now, actions: &mut Actions) {
        let Publication {
            channel, event, data, ..
        } = *publication;
        if channel.is_cache() {
            self.cache
                .put(channel.as_str(), event, data, Duration::ZERO, &self.settings, now);
        }
        self.deliver(publication.recipients(), now, actions, |extra| {
            frames::event(event, channel.as_str(), data, None, extra)
        });
    }

    /// Delivers the event of a row of the outbox table. The table keeps the event for recovery. `logged` is the event
    /// in the form for clients that asked for recovery. If some connections must not get the event yet, call
    /// [`App::hold`] first.
    pub fn publish_row(&mut self, publication: &Publication<'_>, logged: &Logged, now: Now, actions: &mut Actions) {
        let Publication {
            channel, event, data, ..
        } = *publication;
        self.keep_row(publication, Duration::ZERO, now);
        let encode = |extra: Extra<'_>| frames::event(event, channel.as_str(), data, None, extra);
        let frame = logged.frame.clone();
        self.hand_out(publication.recipients(), Stream::Table, frame, actions, encode);
    }

    /// Keeps the event of a row for new subscribers of a cache channel. `age`: the time since the row was stamped.
    pub fn keep_row(&mut self, publication: &Publication<'_>, age: Duration, now: Now) {
        let Publication {
            channel, event, data, ..
        } = *publication;
        if channel.is_cache() {
            self.cache.put(channel.as_str(), event, data, age, &self.settings, now);
            self.arm_round(now.at);
        }
    }

    /// Rows of the table may have been lost. Connections that asked for recovery are closed, so that the clients
    /// reconnect and ask for the missed events.
    pub fn tell_gap(&self, actions: &mut Actions) {
        let all = self.roster.sessions.iter().flatten();
        for session in all.filter(|session| session.recovery && session.hears()) {
            let why = "events may have been lost; come back and ask for what you missed";
            actions.push(Action::Close(session.id, 4200, why.into()));
        }
    }

    /// Delivers one event to all recipients, with or without its position, and keeps it for recovery.
    pub(super) fn deliver(
        &mut self,
        to: Recipients<'_>,
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
            .append(to.channel, with_position.clone(), to.except, &self.settings, now.at);
        self.arm_round(now.at);
        self.hand_out(to, Stream::Memory, with_position, actions, encode);
    }

    fn hand_out(
        &mut self,
        to: Recipients<'_>,
        stream: Stream,
        with_position: Utf8Bytes,
        actions: &mut Actions,
        encode: impl Fn(Extra<'_>) -> String,
    ) {
        let except_id = to.except.and_then(|socket| self.roster.sockets.get(&socket).copied());
        let (channel, subscribers) = self.roster.hearers(to.channel, to.user);
        // A connection with a replay gets this event as a part of the replay.
        let has_replay = |id: ConnectionId| self.roster.has_replay(id, channel, stream);
        let wants_positions = |id: ConnectionId| {
            let session = self.roster.sessions[id.slot()].as_deref();
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

    /// Sends a protocol frame to every subscriber of a channel except one. The frame is not an event and has no
    /// position.
    pub(super) fn announce(&self, channel: usize, except: Option<ConnectionId>, frame: String, actions: &mut Actions) {
        let all = self.roster.channels[channel]
            .subscribers
            .iter()
            .map(|subscriber| subscriber.id);
        actions.fan_out(all.filter(|id| Some(*id) != except), frame.into());
    }

    // --- questions -----------------------------------------------------------------------------------------------

    /// The channels that have subscribers, sorted by name, each with its occupancy.
    pub fn occupied(&self) -> impl Iterator<Item = (&str, Occupancy)> {
        let mut all: Vec<&Channel> = self.roster.channels.iter().map(|(_, channel)| channel).collect();
        all.sort_unstable_by_key(|channel| &channel.name);
        all.into_iter().map(|channel| (&*channel.name, channel.occupancy()))
    }

    /// The occupancy of a channel; `None`: nobody subscribes to it.
    pub fn occupancy(&self, channel: &str) -> Option<Occupancy> {
        self.roster.channel(channel).map(Channel::occupancy)
    }

    /// The distinct users of a presence channel.
    pub fn users(&self, channel: &str) -> Vec<&str> {
        self.roster
            .channel(channel)
            .map(|channel| channel.members.ids().collect())
            .unwrap_or_default()
    }

    /// The cached data of a channel, and for how many seconds it is still kept.
    pub fn cached(&self, channel: &str, now: Now) -> Option<(&str, u64)> {
        self.cache
            .find(channel, now)
            .map(|cached| (cached.data(), cached.seconds_left(now)))
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.roster.connections
    }

    // --- coming and going ----------------------------------------------------------------------------------------

    /// Closes every connection that is signed in as this user (pusher.md 7.6).
    pub fn terminate(&mut self, user_id: &str, actions: &mut Actions) {
        for connection in self.roster.users.connections(user_id) {
            actions.push(Action::Close(
                connection.id,
                4009,
                "You got disconnected by the app.".into(),
            ));
        }
    }

    pub(super) fn close_all(&self, code: u16, why: &'static str, actions: &mut Actions) {
        for session in self.roster.sessions.iter().flatten() {
            actions.push(Action::Close(session.id, code, why.into()));
        }
    }

    /// Sends the number of subscribers: at once, or a little later if the channel has many subscribers.
    pub(super) fn count(&mut self, channel: usize, now: Time, actions: &mut Actions) {
        if !self.settings.subscription_count {
            return;
        }
        let Some(found) = self
            .roster
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
            .chain([self.replays.deadline(), self.next_round])
            .min()
            .unwrap_or(Time::NEVER)
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        while self.uncounted.first().is_some_and(|(at, _)| *at <= now.at) {
            let Some((_, name)) = self.uncounted.pop_first() else {
                break;
            };
            if let Some(channel) = self.roster.channel_index(&name) {
                self.count(channel, now.at, actions);
            }
        }
        while self.unauthorized.front().is_some_and(|(at, _)| *at <= now.at) {
            let Some((_, id)) = self.unauthorized.pop_front() else {
                break;
            };
            give_back(&mut self.unauthorized);
            if self.roster.session(id).is_some_and(|session| !session.authorized) {
                actions.push(Action::Close(
                    id,
                    4009,
                    "Connection not authorized within timeout".into(),
                ));
            }
        }
        self.replays.give_up(&mut self.roster, now.at, actions);
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

    /// Plans the next round for a quarter of the retention from now. The round drops old events and sends positions.
    pub(super) fn arm_round(&mut self, now: Time) {
        if self.next_round == Time::NEVER {
            let retention = Duration::from_secs(self.settings.history_seconds.min(self.settings.cache_ttl));
            let quarter = retention.min(self.rows_kept.unwrap_or(Duration::MAX)) / 4;
            self.next_round = now + quarter.max(Duration::from_secs(1));
        }
    }

    /// Sends the positions, so that the position of a page without events stays recoverable. Returns the number of
    /// recipients.
    fn tell_positions(&mut self, actions: &mut Actions) -> usize {
        let frame = self.position_frame("pusher_internal:position");
        let all = self.roster.sessions.iter().flatten();
        let told = all
            .filter(|session| session.recovery && session.replays.is_empty())
            .map(|session| session.id);
        actions.fan_out(told, frame.into())
    }

    /// A frame with empty data and the positions, one for each stream. While the table's position is unknown, the frame
    /// leaves it out and the client keeps the one it has.
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

    /// Sets the position in the outbox table; `None`: the app's site has no table. The first position is sent to the
    /// connections that asked for recovery before. A connection that subscribed while the table could not be read may
    /// have missed rows, so it is closed and reconnects.
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

    /// Passes an event to the app's webhooks.
    pub(super) fn hook(&self, actions: &mut Actions, event: impl FnOnce() -> HookEvent) {
        if !self.settings.webhooks.is_empty() {
            actions.effect(Effect::Hook(self.number, event()));
        }
    }
}
