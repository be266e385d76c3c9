//! Telling a connection what it missed, a part at a time (design section 4): what happens meanwhile waits in the history
//! behind it. There are two histories, that of events in memory and that of the outbox table; each answers for itself.
//!
//! A subscription that must not get rows yet, because the site asks again whether it may, waits in the same way: it is *held*
//! at the last row before, and goes on from there when the answer is there.

use std::time::Duration;

use serde::Deserialize;
use tungstenite::Utf8Bytes;

use super::app::{App, Hears, Subscriber};
use super::history::Memory;
use super::session::{Door, Replay, Session};
use crate::id::ConnectionId;
use crate::outbox::{Outbox, Reach};
use crate::protocol::SocketId;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::channel::{ChannelName, SERVER_TO_USER};
use crate::protocol::frames;
use crate::protocol::position::{Position, Stream};
use crate::protocol::room::give_back;
use crate::site::Site;
use crate::time::{Now, Time};

/// Bytes of missed events that are sent at once; the rest follows when they have left. Small beside `send_queue_bytes`, so that
/// a recovery never makes a slow consumer of anybody.
const REPLAY_AT_ONCE: usize = 64 * 1024;

/// Recoveries of one connection for which the table is read: a page has a few channels, and each costs statements.
const MOST_RECALLS: u8 = 16;

/// How long a subscription is held. Then its connection is closed with 4200: it comes back and is judged anew.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// One position, or one for each stream.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Since {
    One(String),
    Many(Vec<String>),
}

/// What can be told of a client's absence.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// Whether the client gave a list of positions; `None`: it gave none.
    pub(super) list: Option<bool>,
    /// For each position that it gave, whether what followed is still known.
    pub(super) recovered: Vec<bool>,
    /// From where each stream is told.
    pub(super) replays: Vec<Position>,
    /// What the client is told of where it now is, one for each stream.
    pub(super) positions: Vec<String>,
}

impl Since {
    /// The positions; more than there are streams are not looked at.
    fn given(&self) -> &[String] {
        match self {
            Since::One(position) => std::slice::from_ref(position),
            Since::Many(positions) => &positions[..positions.len().min(2)],
        }
    }
}

impl App {
    /// What can be told of an absence from a channel; `None`: the table must be asked first.
    pub(super) fn absence(
        &mut self,
        id: ConnectionId,
        name: ChannelName<'_>,
        since: Option<&Since>,
        door: &mut Door<'_>,
    ) -> Option<Absence> {
        let mut absence = Absence {
            list: since.map(|since| matches!(since, Since::Many(_))),
            ..Absence::default()
        };
        if !door.last_call && door.site.as_deref().is_some_and(Site::outbox_is_coming) {
            // Whoever is let in before the table's position is known could miss rows without ever being told.
            return None;
        }
        for text in since.map_or(&[][..], Since::given) {
            let position: Option<Position> = text.parse().ok();
            let reached = match position.map_or(Reach::No, |position| self.reach(id, name, position, door)) {
                Reach::Yes => position,
                Reach::No => None,
                Reach::Ask | Reach::Read => return None,
            };
            absence.recovered.push(reached.is_some());
            absence.replays.extend(reached);
        }
        // Who is cut off before it was told everything must be able to ask again from where it was.
        let told = |now: Position| {
            let from = absence.replays.iter().find(|from| from.stream() == now.stream());
            from.unwrap_or(&now).to_string()
        };
        let positions = [Some(self.history.position()), self.table];
        absence.positions = positions.into_iter().flatten().map(told).collect();
        Some(absence)
    }

    fn reach(&mut self, id: ConnectionId, name: ChannelName<'_>, position: Position, door: &mut Door<'_>) -> Reach {
        let Position::Table { .. } = position else {
            return match self.history.reaches(name.as_str(), position) {
                true => Reach::Yes,
                false => Reach::No,
            };
        };
        let Some(outbox) = door.site.as_deref_mut().and_then(Site::outbox_mut) else {
            return Reach::No;
        };
        let waited = door.waited.unwrap_or_default();
        let reach = outbox.reaches(name.as_str(), position, waited, door.now);
        let Some(session) = self.session(id) else {
            return Reach::No;
        };
        match reach {
            Reach::Ask | Reach::Read if door.last_call => Reach::No,
            Reach::Read if door.waited.is_none() => {
                let has_some = session.recalls < MOST_RECALLS;
                session.recalls += u8::from(has_some);
                if has_some { Reach::Read } else { Reach::No }
            }
            reach => reach,
        }
    }

    // --- replays -------------------------------------------------------------------------------------------------

    /// Tells a connection what it missed of a channel (`None`: of its user's own), from these positions on.
    pub(super) fn replay(
        &mut self,
        id: ConnectionId,
        channel: Option<u32>,
        from: &[Position],
        door: &mut Door<'_>,
        actions: &mut Actions,
    ) {
        let Some(session) = self.session(id).filter(|_| !from.is_empty()) else {
            return;
        };
        let waits = session.replays.iter().any(|replay| !replay.held);
        session.replays.extend(from.iter().map(|position| Replay {
            channel,
            stream: position.stream(),
            n: position.number(),
            held: false,
        }));
        self.hear(id, channel, Hears::Later);
        if !waits {
            self.go_on(id, door.site.as_deref_mut(), door.now, actions);
        }
    }

    /// What was sent has left: the next part of what was missed follows.
    pub fn flushed(&mut self, id: ConnectionId, site: Option<&mut Site>, now: Now, actions: &mut Actions) {
        if self.session(id).is_some_and(|session| !session.replays.is_empty()) {
            self.go_on(id, site, now, actions);
        }
    }

    /// Sends the next part of the replays that are not held.
    fn go_on(&mut self, id: ConnectionId, mut site: Option<&mut Site>, now: Now, actions: &mut Actions) {
        let mut room = REPLAY_AT_ONCE;
        while let Some(session) = self.session(id)
            && let Some(at) = session.replays.iter().position(|replay| !replay.held)
        {
            if room == 0 {
                return actions.push(Action::WhenFlushed(id));
            }
            let replay = session.replays[at];
            let name = self.name_of(id, replay.channel);
            if replay.stream == Stream::Table && self.is_doubted(id, replay.channel, &name, site.as_deref()) {
                self.hold(id, at, now.at);
                continue;
            }
            let outbox = site.as_deref_mut().and_then(Site::outbox_mut);
            if !self.can_go_on(&name, &replay, outbox, now) {
                // It was told "recovered", and the rest was forgotten meanwhile: it must come back and be told the truth.
                let why = "the history ran out during a recovery";
                return actions.push(Action::Close(id, 4200, why.into()));
            }
            let outbox = site.as_deref().and_then(Site::outbox);
            let n = self.send_missed(id, &name, replay, &mut room, outbox, actions);
            let Some(session) = self.session(id) else { return };
            session.replays[at].n = n;
            if room > 0 {
                session.replays.remove(at);
                if session.replays.iter().all(|other| other.channel != replay.channel) {
                    let hears = session.hears_events();
                    self.hear(id, replay.channel, hears);
                }
            }
        }
    }

    /// Sends events of one replay until there are no more, or no room is left; the number of the last one.
    fn send_missed(
        &mut self,
        id: ConnectionId,
        name: &str,
        replay: Replay,
        room: &mut usize,
        outbox: Option<&Outbox>,
        actions: &mut Actions,
    ) -> u64 {
        let mut n = replay.n;
        let Some(Session { socket, recovery, .. }) = self.session(id) else {
            return n;
        };
        let (socket, recovery) = (*socket, *recovery);
        while *room > 0
            && let Some((next, frame, except)) = next_of(&self.history, replay.stream, name, n, outbox)
        {
            if except != Some(socket) {
                *room = room.saturating_sub(frame.len());
                match recovery {
                    true => actions.send(id, frame.clone()),
                    // A stock client gets exactly Pusher's frames.
                    false => actions.send(id, frames::without_id(frame)),
                }
            }
            n = next;
        }
        n
    }

    fn can_go_on(&self, name: &str, replay: &Replay, outbox: Option<&mut Outbox>, now: Now) -> bool {
        match (replay.stream, self.history.position()) {
            (Stream::Memory, Position::Memory { start, .. }) => {
                self.history.reaches(name, Position::Memory { start, n: replay.n })
            }
            (Stream::Memory, Position::Table { .. }) => false,
            (Stream::Table, _) => outbox.is_some_and(|outbox| outbox.goes_on(name, replay.n, now)),
        }
    }

    /// The name of a channel, or of a connection's own one.
    fn name_of(&mut self, id: ConnectionId, channel: Option<u32>) -> Box<str> {
        match channel {
            Some(channel) => self.channels[channel as usize].name.clone(),
            None => {
                let user = self.session(id).and_then(|session| session.user.as_ref());
                let user = user.map_or("", |user| &user.member.user_id);
                format!("{SERVER_TO_USER}{user}").into()
            }
        }
    }

    /// Whether a connection is still to be told of a channel's past in a stream.
    pub(super) fn has_replay(&self, id: ConnectionId, channel: Option<u32>, stream: Stream) -> bool {
        let session = self.sessions[id.slot()].as_deref();
        let replays = session.map_or(&[][..], |session| session.replays.as_slice());
        replays
            .iter()
            .any(|replay| replay.channel == channel && replay.stream == stream)
    }

    /// Sets how a connection gets the events of a channel, or of its user.
    fn hear(&mut self, id: ConnectionId, channel: Option<u32>, hears: Hears) {
        let Some(session) = self.sessions.get(id.slot()).and_then(Option::as_deref) else {
            return;
        };
        match channel {
            None => {
                if let Some(user) = &session.user {
                    self.users.set_hears(&user.member.user_id, user.place, hears);
                }
            }
            Some(channel) => {
                let mut own = session.subscriptions.iter();
                if let Some(own) = own.find(|own| own.channel == channel) {
                    self.channels[channel as usize].subscribers[own.place as usize].hears = hears;
                }
            }
        }
    }

    // --- subscriptions that are held -----------------------------------------------------------------------------

    /// Holds those who would get a row of the table although the site asks again whether they may.
    pub(super) fn hold_doubted(&mut self, name: &str, user: Option<&str>, seq: u64, site: &Site, now: Time) {
        let (channel, subscribers) = self.hearers(name, user);
        let doubts_channel = site.doubts_channel(name);
        let is_doubted = |subscriber: &&Subscriber| {
            let doubted = subscriber.by_rule && doubts_channel || site.doubts_visitor(subscriber.id);
            doubted && !self.has_replay(subscriber.id, channel, Stream::Table)
        };
        let doubted: Vec<ConnectionId> = subscribers.iter().filter(is_doubted).map(|own| own.id).collect();
        for id in doubted {
            let Some(session) = self.session(id) else { continue };
            session.replays.push(Replay {
                channel,
                stream: Stream::Table,
                n: seq - 1,
                held: false,
            });
            let at = session.replays.len() - 1;
            self.hear(id, channel, Hears::Later);
            self.hold(id, at, now);
        }
    }

    fn hold(&mut self, id: ConnectionId, at: usize, now: Time) {
        let Some(session) = self.session(id) else { return };
        let first = session.replays.iter().all(|replay| !replay.held);
        session.replays[at].held = true;
        if first {
            self.held.push_back((now + LONGEST_HOLD, id));
        }
    }

    fn is_doubted(&self, id: ConnectionId, channel: Option<u32>, name: &str, site: Option<&Site>) -> bool {
        let Some(site) = site.filter(|site| site.has_doubts()) else {
            return false;
        };
        let session = self.sessions.get(id.slot()).and_then(Option::as_deref);
        let mut own = session.map_or(&[][..], |session| &session.subscriptions).iter();
        let own = own.find(|own| Some(own.channel) == channel);
        let by_rule =
            own.is_some_and(|own| self.channels[own.channel as usize].subscribers[own.place as usize].by_rule);
        by_rule && site.doubts_channel(name) || site.doubts_visitor(id)
    }

    /// The site knows more than before: those who are in doubt no longer go on.
    pub fn release(&mut self, site: &mut Site, now: Now, actions: &mut Actions) {
        for (deadline, id) in std::mem::take(&mut self.held) {
            let Some(session) = self.session(id) else { continue };
            let waits = session.replays.iter().any(|replay| !replay.held);
            for at in 0..session.replays.len() {
                let replay = self.session(id).map(|session| session.replays[at]);
                let Some(replay) = replay.filter(|replay| replay.held) else {
                    continue;
                };
                let name = self.name_of(id, replay.channel);
                let held = self.is_doubted(id, replay.channel, &name, Some(site));
                if let Some(session) = self.session(id) {
                    session.replays[at].held = held;
                }
            }
            if self.is_held(id) {
                self.held.push_back((deadline, id));
            }
            if !waits {
                self.go_on(id, Some(site), now, actions);
            }
        }
    }

    fn is_held(&mut self, id: ConnectionId) -> bool {
        let session = self.session(id);
        session.is_some_and(|session| session.replays.iter().any(|replay| replay.held))
    }

    /// Closes those who were held for too long.
    pub(super) fn give_up_held(&mut self, now: Time, actions: &mut Actions) {
        while let Some((_, id)) = self.held.front().copied().filter(|(deadline, _)| *deadline <= now) {
            self.held.pop_front();
            give_back(&mut self.held);
            if self.is_held(id) {
                let why = "it could not be checked in time what you may hear; come back";
                actions.push(Action::Close(id, 4200, why.into()));
            }
        }
    }
}

/// The first event of a channel in a stream after number `n`: its number, its frame, and the socket that must not get it.
fn next_of<'a>(
    history: &'a Memory,
    stream: Stream,
    channel: &str,
    n: u64,
    outbox: Option<&'a Outbox>,
) -> Option<(u64, &'a Utf8Bytes, Option<SocketId>)> {
    match stream {
        Stream::Memory => history.next(channel, n),
        Stream::Table => outbox?.next(channel, n),
    }
}
