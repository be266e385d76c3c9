//! The events of an app: how they get to the subscribers, which ones are kept, and the positions in both streams.

use std::time::Duration;

use super::cache::Cache;
use super::channel::Recipients;
use super::history::Memory;
use super::roster::Roster;
use crate::config;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::channel::ChannelName;
use crate::protocol::frames::{self, Extra, OneOrMore};
use crate::protocol::position::{Position, Stream};
use crate::protocol::rows::{Event, Logged};
use crate::protocol::shared::SharedEvent;
use crate::time::{Now, Time};

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

/// The events that an app keeps.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) cache: Cache,
    pub(super) history: Memory,
    /// The newest position in the outbox table; `None`: the app has no outbox table.
    table: Option<Position>,
    /// How long the outbox table of the app's site keeps rows; `None`: the app has no site.
    rows_kept: Option<Duration>,
    /// The time of the next round. A round sends positions to connections that requested recovery, and drops old
    /// events.
    next_round: Time,
}

impl<'a> Publication<'a> {
    /// The event of a row; `None`: its channel has no valid name.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        Some(Self {
            channel: ChannelName::parse(&event.channel).ok()?,
            event: &event.event,
            data: &event.data,
            socket_id: event.logged.except,
        })
    }

    pub(super) fn recipients(&self) -> Recipients<'a> {
        Recipients {
            channel: self.channel.as_str(),
            user: self.channel.user(),
            except: self.socket_id,
        }
    }

    /// The event for all processes of the cluster.
    pub(super) fn shared(&self) -> SharedEvent {
        SharedEvent {
            channel: self.channel.as_str().into(),
            name: self.event.into(),
            data: self.data.into(),
            except: self.socket_id,
            sender: None,
        }
    }

    pub(super) fn encode(&self, extra: Extra<'_>) -> String {
        frames::event(self.event, self.channel.as_str(), self.data, None, extra)
    }
}

impl Events {
    /// No events. `start` distinguishes this run of the server from other runs.
    pub(super) fn new(start: u32) -> Self {
        Self {
            cache: Cache::default(),
            history: Memory::new(start),
            table: None,
            rows_kept: None,
            next_round: Time::NEVER,
        }
    }

    /// From here on the outbox table of a site keeps rows for this time.
    pub(super) fn set_rows_kept(&mut self, retention: Duration) {
        self.rows_kept = Some(retention);
    }

    /// Keeps an event of a cache channel for new subscribers. `age`: the time since it was published.
    pub(super) fn keep(&mut self, publication: &Publication<'_>, age: Duration, settings: &config::App, now: Now) {
        let Publication {
            channel, event, data, ..
        } = *publication;
        if channel.is_cache() {
            self.cache.put(channel.as_str(), event, data, age, settings, now);
            self.arm_round(settings, now.at);
        }
    }

    /// Delivers an event. Keeps it for new subscribers of a cache channel and for clients that are away. `logged`: the
    /// event as a row of the outbox table, which keeps it for these clients. Returns the number of connections that get
    /// it now.
    pub(super) fn publish(
        &mut self,
        publication: &Publication<'_>,
        logged: Option<&Logged>,
        roster: &Roster,
        settings: &config::App,
        now: Now,
        actions: &mut Actions,
    ) -> usize {
        let (name, channel, app) = (publication.event, publication.channel.as_str(), &settings.id);
        match logged {
            Some(Logged { seq, .. }) => log::debug!("{name} is published to {channel} of {app}, from row {seq}"),
            None => log::debug!("{name} is published to {channel} of {app}"),
        }
        self.keep(publication, Duration::ZERO, settings, now);
        let recipients = publication.recipients();
        let encode = |extra: Extra<'_>| publication.encode(extra);
        match logged {
            Some(logged) => {
                let plain = || encode(Extra::default());
                recipients.send(Stream::Table, logged.frame.clone(), plain, roster, actions)
            }
            None => self.deliver(recipients, encode, roster, settings, now, actions),
        }
    }

    /// Delivers one event to all recipients, with or without its position, and keeps it for recovery. Returns the
    /// number of connections that get it now.
    pub(super) fn deliver(
        &mut self,
        to: Recipients<'_>,
        encode: impl Fn(Extra<'_>) -> String,
        roster: &Roster,
        settings: &config::App,
        now: Now,
        actions: &mut Actions,
    ) -> usize {
        let encode_with = |id: &str| encode(Extra::of_id(id));
        let history = &mut self.history;
        let with_position = history.append(to.channel, to.except, encode_with, settings, now.at);
        self.arm_round(settings, now.at);
        let plain = || encode(Extra::default());
        to.send(Stream::Memory, with_position, plain, roster, actions)
    }

    /// Sends the cached event of a channel to a new subscriber. Returns `false` if there is none.
    pub(super) fn send_cached(&self, id: ConnectionId, channel: &str, now: Now, actions: &mut Actions) -> bool {
        let cached = self.cache.find(channel, now);
        if let Some(cached) = cached {
            actions.send(id, cached.frame(channel));
        }
        cached.is_some()
    }

    /// The newest position of each stream.
    pub(super) fn positions(&self) -> impl Iterator<Item = Position> {
        [Some(self.history.position()), self.table].into_iter().flatten()
    }

    /// A frame with empty data and the positions, one for each stream. While the table's position is unknown, the frame
    /// leaves it out and the client keeps the one it has.
    pub(super) fn position_frame(&self, event: &str) -> String {
        let known = self.positions().filter(|position| *position != Position::NOWHERE);
        let positions: Vec<String> = known.map(|position| position.to_string()).collect();
        let extra = Extra {
            pos: Some(OneOrMore::of(&positions)),
            ..Extra::default()
        };
        frames::bare(event, None, extra)
    }

    /// The positions have this start from here on: see [`Memory::restart`]. Returns whether they changed; then clients
    /// that requested recovery get the new ones.
    pub(super) fn restart(&mut self, start: u32, after: u64, roster: &Roster, actions: &mut Actions) -> bool {
        let is_new = self.history.restart(start, after);
        if is_new {
            self.tell_positions(roster, actions);
        }
        is_new
    }

    /// Sends the positions, so that the position of a page without events stays recoverable. Returns the number of
    /// recipients.
    fn tell_positions(&self, roster: &Roster, actions: &mut Actions) -> usize {
        let frame = self.position_frame("pusher_internal:position");
        let all = roster.sessions.iter();
        let told = all.filter(|(_, session)| session.recovery && session.replays.is_empty());
        actions.fan_out(told.map(|(id, _)| id), frame.into())
    }

    /// Sets the position in the outbox table; `None`: the app's site has no table. The first position is sent to the
    /// connections that requested recovery before. A connection that subscribed while the table could not be read may
    /// have missed rows, so it is closed and reconnects.
    pub(super) fn set_table(&mut self, position: Option<Position>, roster: &Roster, actions: &mut Actions) {
        let before = std::mem::replace(&mut self.table, position);
        if position.is_none_or(|position| position == Position::NOWHERE) {
            return;
        }
        match before {
            None => drop(self.tell_positions(roster, actions)),
            Some(Position::NOWHERE) => close_for_gap(roster, actions),
            Some(_) => {}
        }
    }

    /// Plans the next round for a quarter of the retention from now. The round drops old events and sends positions.
    pub(super) fn arm_round(&mut self, settings: &config::App, now: Time) {
        if self.next_round == Time::NEVER {
            let retention = Duration::from_secs(settings.history_seconds.min(settings.cache_ttl));
            let quarter = retention.min(self.rows_kept.unwrap_or(Duration::MAX)) / 4;
            self.next_round = now + quarter.max(Duration::from_secs(1));
        }
    }

    /// When `due` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.next_round
    }

    /// Does the round if it is due.
    pub(super) fn due(&mut self, roster: &Roster, settings: &config::App, now: Now, actions: &mut Actions) {
        if self.next_round > now.at {
            return;
        }
        self.next_round = Time::NEVER;
        self.history.expire(settings, now.at);
        self.cache.expire(now);
        let told = self.tell_positions(roster, actions);
        if told > 0 || !self.history.is_empty() || !self.cache.is_empty() {
            self.arm_round(settings, now.at);
        }
    }
}

/// Rows of the table may have been lost. Connections that requested recovery are closed, so that the clients reconnect
/// and request the missed events.
pub(super) fn close_for_gap(roster: &Roster, actions: &mut Actions) {
    let all = roster.sessions.iter();
    for (id, _) in all.filter(|(_, session)| session.recovery && session.hears()) {
        let why = "events may have been lost; come back and ask for what you missed";
        actions.push(Action::Close(id, 4200, why.into()));
    }
}
