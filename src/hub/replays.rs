//! Sends a connection the events that it missed, one part at a time (design section 4). New events meanwhile wait in
//! the history.
//!
//! A subscription must not get rows while the site checks again whether it is allowed. Such a subscription is *held* at
//! the last row that it got, and goes on from there when the answer arrives.

use std::collections::VecDeque;
use std::time::Duration;

use super::channel::Subscriber;
use super::history::Memory;
use super::roster::Roster;
use super::session::{Replay, Session};
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::channel::ChannelName;
use crate::protocol::frames;
use crate::protocol::position::Stream;
use crate::protocol::room::give_back;
use crate::protocol::rows::{Missed, Wanted};
use crate::time::{Now, Time};

/// The most bytes of missed events that are sent at once; the rest follows when they have been written. This is small
/// compared with `send_queue_bytes`, so that a recovery never makes a connection a slow consumer.
const REPLAY_AT_ONCE: usize = 64 * 1024;

/// The longest time for which a subscription is held. Then its connection is closed with 4200; the client reconnects
/// and is checked again.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// The replays of an app's connections. Each replay stands in its connection's session.
#[derive(Debug, Default)]
pub(super) struct Replays {
    /// Connections with a held subscription, and the end of each hold.
    held: VecDeque<(Time, ConnectionId)>,
}

impl Replays {
    /// When `give_up` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.held.front().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Sends the next part of the replays that are not held.
    pub(super) fn go_on(
        &mut self,
        id: ConnectionId,
        roster: &mut Roster,
        history: &Memory,
        mut table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        let mut room = REPLAY_AT_ONCE;
        while let Some(session) = roster.session(id)
            && let Some(at) = session.replays.iter().position(|replay| !replay.held)
        {
            if room == 0 {
                return actions.push(Action::WhenFlushed(id));
            }
            let (replay, socket, recovery) = (session.replays[at], session.socket, session.recovery);
            let name = roster.name_of(id, replay.channel);
            let mut wanted = wanted(id, &name, replay, roster);
            let end = loop {
                let missed = match replay.stream {
                    Stream::Memory => history.missed(&name, wanted.after),
                    Stream::Table => table(&wanted),
                };
                let Missed::Event(event) = &missed else {
                    break missed;
                };
                wanted.after = event.seq;
                if event.except != Some(socket) {
                    room = room.saturating_sub(event.frame.len());
                    match recovery {
                        true => actions.send(id, event.frame.clone()),
                        // A stock client gets exactly Pusher's frames.
                        false => actions.send(id, frames::without_id(&event.frame)),
                    }
                }
                if room == 0 {
                    break missed;
                }
            };
            let after = wanted.after;
            let Some(session) = roster.session(id) else { return };
            session.replays[at].n = after;
            match end {
                Missed::Event(_) => {}
                Missed::Doubted => self.hold_replay(id, at, roster, now.at),
                Missed::Gone => {
                    // The client got the answer "recovered", and the rest was dropped meanwhile. It must reconnect and
                    // ask again.
                    let why = "the history ran out during a recovery";
                    return actions.push(Action::Close(id, 4200, why.into()));
                }
                Missed::Nothing => {
                    session.replays.remove(at);
                    if session.replays.iter().all(|other| other.channel != replay.channel) {
                        let hears = session.hears_events();
                        roster.hear(id, replay.channel, hears);
                    }
                }
            }
        }
    }

    /// Holds the subscriptions that would get this row of the table while the site checks again whether they are
    /// allowed. `is_doubted`: whether the site checks a connection again. Its second argument is true if the site's
    /// rules admitted the connection, and false if a signature did.
    pub(super) fn hold(
        &mut self,
        channel: ChannelName<'_>,
        seq: u64,
        is_doubted: impl Fn(ConnectionId, bool) -> bool,
        roster: &mut Roster,
        now: Now,
    ) {
        let (channel, subscribers) = roster.hearers(channel.as_str(), channel.user());
        let is_doubted = |subscriber: &&Subscriber| {
            is_doubted(subscriber.id, subscriber.by_rule) && !roster.has_replay(subscriber.id, channel, Stream::Table)
        };
        let doubted: Vec<ConnectionId> = subscribers.iter().filter(is_doubted).map(|own| own.id).collect();
        for id in doubted {
            roster.add_replay(id, Replay::new(channel, Stream::Table, seq - 1));
            let last = roster.find(id).map_or(0, |session| session.replays.len() - 1);
            self.hold_replay(id, last, roster, now.at);
        }
    }

    fn hold_replay(&mut self, id: ConnectionId, at: usize, roster: &mut Roster, now: Time) {
        let Some(session) = roster.session(id) else { return };
        let is_first = !session.is_held();
        session.replays[at].held = true;
        if is_first {
            self.held.push_back((now + LONGEST_HOLD, id));
        }
    }

    /// The site has new answers: subscriptions that are no longer in doubt go on.
    pub(super) fn release(
        &mut self,
        roster: &mut Roster,
        history: &Memory,
        mut table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        for (deadline, id) in std::mem::take(&mut self.held) {
            let Some(session) = roster.session(id) else {
                continue;
            };
            let is_replaying = session.is_replaying();
            let mut replays = std::mem::take(&mut session.replays);
            for replay in replays.iter_mut().filter(|replay| replay.held) {
                let name = roster.name_of(id, replay.channel);
                replay.held = matches!(table(&wanted(id, &name, *replay, roster)), Missed::Doubted);
            }
            let is_held = replays.iter().any(|replay| replay.held);
            if let Some(session) = roster.session(id) {
                session.replays = replays;
            }
            if is_held {
                self.held.push_back((deadline, id));
            }
            if !is_replaying {
                self.go_on(id, roster, history, &mut table, now, actions);
            }
        }
    }

    /// Closes connections whose subscriptions were held for too long.
    pub(super) fn give_up(&mut self, roster: &Roster, now: Time, actions: &mut Actions) {
        while let Some((_, id)) = self.held.front().copied().filter(|(deadline, _)| *deadline <= now) {
            self.held.pop_front();
            give_back(&mut self.held);
            if roster.find(id).is_some_and(Session::is_held) {
                let why = "it could not be checked in time what you may hear; come back";
                actions.push(Action::Close(id, 4200, why.into()));
            }
        }
    }
}

/// The next row that a replay needs.
fn wanted<'a>(id: ConnectionId, channel: &'a str, replay: Replay, roster: &mut Roster) -> Wanted<'a> {
    let subscriber = roster.subscriber(id, replay.channel);
    Wanted {
        id,
        channel,
        by_rule: subscriber.is_some_and(|subscriber| subscriber.by_rule),
        after: replay.n,
    }
}
