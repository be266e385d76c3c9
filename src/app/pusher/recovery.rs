//! Telling a connection what it missed, a part at a time (design section 4): what happens meanwhile waits in the history
//! behind it.

use serde::Deserialize;

use super::app::{App, Hears};
use super::channel::ChannelName;
use super::history::{History, Position};
use super::session::Replay;
use crate::app::actions::{Action, Actions};
use crate::id::ConnectionId;

/// Bytes of missed events that are sent at once; the rest follows when they have left. Small beside `outbox_bytes`, so that
/// a recovery never makes a slow consumer of anybody.
const REPLAY_AT_ONCE: usize = 64 * 1024;

/// One position, or one for each stream.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Since {
    One(String),
    Many(Vec<String>),
}

impl Since {
    /// The position in the stream of events in memory, if there is one among them.
    pub(super) fn in_memory(&self) -> Option<Position> {
        let in_memory = |text: &String| {
            let position = text.parse().ok();
            position.filter(|position| matches!(position, Position::Memory { .. }))
        };
        match self {
            Since::One(position) => in_memory(position),
            Since::Many(positions) => positions.iter().find_map(in_memory),
        }
    }
}

impl App {
    /// The number after which a client missed events of a channel, if all of them are still known.
    pub(super) fn reached(&self, name: ChannelName<'_>, since: &Since) -> Option<u64> {
        let position = since.in_memory()?;
        let Position::Memory { n, .. } = position else {
            return None;
        };
        self.history.reaches(name.as_str(), position).then_some(n)
    }

    /// The position of a client that was just let in. What it missed follows, so who is cut off in between must be able to
    /// ask again from where it was.
    pub(super) fn position_after(&self, recovered: Option<Option<u64>>) -> Position {
        match (self.position(), recovered.flatten()) {
            (Position::Memory { start, .. }, Some(n)) => Position::Memory { start, n },
            (newest, _) => newest,
        }
    }

    /// Tells what was missed, a part at a time: what happens meanwhile waits in the history behind it.
    pub(super) fn replay(&mut self, id: ConnectionId, replay: Replay, actions: &mut Actions) {
        let Replay { channel, mut n } = replay;
        let name = self.channels[channel as usize].name.clone();
        let Some(session) = self.session(id) else { return };
        let socket = session.socket;
        let waits = !session.replays.is_empty();
        let mut sent = 0;
        while sent < REPLAY_AT_ONCE && !waits {
            let Some((next, frame, except)) = self.history.next(&name, n) else {
                break;
            };
            if except != Some(socket) {
                sent += frame.len();
                actions.send(id, frame.clone());
            }
            n = next;
        }
        let over = !waits && self.history.next(&name, n).is_none();
        self.hear(id, channel, if over { Hears::Positions } else { Hears::Later });
        if over {
            return;
        }
        if !waits {
            actions.push(Action::WhenFlushed(id));
        }
        if let Some(session) = self.session(id) {
            session.replays.push(Replay { channel, n });
        }
    }

    /// What was sent has left: the next part of what was missed follows.
    pub fn flushed(&mut self, id: ConnectionId, actions: &mut Actions) {
        let Some(session) = self.session(id) else { return };
        if session.replays.is_empty() {
            return;
        }
        let replay = session.replays.remove(0);
        let waiting = std::mem::take(&mut session.replays);
        let name = &self.channels[replay.channel as usize].name;
        let reached = match self.position() {
            Position::Memory { start, .. } => self.history.reaches(name, Position::Memory { start, n: replay.n }),
            Position::Outbox { .. } => false,
        };
        if !reached {
            // It was told "recovered", and the rest was forgotten meanwhile: it must come back and be told the truth.
            actions.push(Action::Close(id, 4200, "the history ran out during a recovery".into()));
            return;
        }
        self.replay(id, replay, actions);
        let Some(session) = self.session(id) else { return };
        let again = session.replays.is_empty() && !waiting.is_empty();
        session.replays.extend(waiting);
        if again {
            actions.push(Action::WhenFlushed(id));
        }
    }

    fn hear(&mut self, id: ConnectionId, channel: u32, hears: Hears) {
        let place = self.session(id).and_then(|session| {
            session
                .subscriptions
                .iter()
                .find(|own| own.channel == channel)
                .map(|own| own.place as usize)
        });
        if let Some(place) = place {
            self.channels[channel as usize].subscribers[place].hears = hears;
        }
    }
}
