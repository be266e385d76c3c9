//! Telling a connection what it missed, a part at a time (design section 4): what happens meanwhile waits in the history
//! behind it. There are two histories, that of events in memory and that of the outbox table; each answers for itself.

use serde::Deserialize;
use tungstenite::Utf8Bytes;

use super::app::{App, Hears};
use super::history::History;
use super::session::{Door, Replay};
use crate::app::actions::{Action, Actions};
use crate::app::outbox::{NOWHERE, Outbox, Reach};
use crate::app::site::Site;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::channel::ChannelName;
use crate::protocol::position::{Position, Stream};
use crate::time::Now;

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

/// What can be told of a client's absence.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// Whether the client gave a list of positions; `None`: it gave none.
    pub(super) list: Option<bool>,
    /// For each position that it gave, whether what followed is still known.
    pub(super) recovered: Vec<bool>,
    /// From where each stream is told.
    pub(super) replays: Vec<(Stream, u64)>,
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
    pub(super) fn absence(&self, name: ChannelName<'_>, since: Option<&Since>, door: &mut Door<'_>) -> Option<Absence> {
        let mut absence = Absence {
            list: since.map(|since| matches!(since, Since::Many(_))),
            ..Absence::default()
        };
        if !door.last_call && door.site.as_deref().is_some_and(Site::outbox_is_coming) {
            // Whoever is let in before the table's position is known could miss rows without ever being told.
            return None;
        }
        for text in since.map_or(&[][..], Since::given) {
            let reached = match self.reach(name, text, door) {
                Reach::Yes => start(text, door),
                Reach::No => None,
                Reach::Ask | Reach::Soon => return None,
            };
            absence.recovered.push(reached.is_some());
            absence.replays.extend(reached);
        }
        let told = |stream| absence.replays.iter().find(|(of, _)| *of == stream).map(|(_, n)| *n);
        let Position::Memory { start, n } = self.history.position() else {
            return Some(absence);
        };
        // Who is cut off before it was told everything must be able to ask again from where it was.
        let mut positions = vec![Position::Memory {
            start,
            n: told(Stream::Memory).unwrap_or(n),
        }];
        match self.table {
            Some(Position::Outbox { epoch, row }) => positions.push(Position::Outbox {
                epoch,
                row: told(Stream::Table).unwrap_or(row),
            }),
            // Nobody knows what is missed from here on, and whoever comes back with this is told so.
            _ if door.site.as_deref().is_some_and(|site| site.outbox().is_some()) => positions.push(NOWHERE),
            _ => {}
        }
        absence.positions = positions.iter().map(Position::to_string).collect();
        Some(absence)
    }

    fn reach(&self, name: ChannelName<'_>, text: &str, door: &mut Door<'_>) -> Reach {
        let Some(position) = position(text, door) else {
            return Reach::No;
        };
        match position {
            Position::Memory { .. } if self.history.reaches(name.as_str(), position) => Reach::Yes,
            Position::Memory { .. } => Reach::No,
            Position::Outbox { .. } => {
                let outbox = door.site.as_deref_mut().and_then(|site| site.outbox_mut());
                match outbox.map_or(Reach::No, |outbox| outbox.reaches(name.as_str(), position, door.now)) {
                    Reach::Ask if door.last_call => Reach::No,
                    Reach::Soon if door.last_call => Reach::Yes,
                    reach => reach,
                }
            }
        }
    }

    /// Tells what was missed, a part at a time: what happens meanwhile waits in the history behind it.
    pub(super) fn replay(&mut self, id: ConnectionId, replay: Replay, outbox: Option<&Outbox>, actions: &mut Actions) {
        let Replay { channel, stream, mut n } = replay;
        let name = self.channels[channel as usize].name.clone();
        let Some(session) = self.session(id) else { return };
        let socket = session.socket;
        let waits = !session.replays.is_empty();
        let mut sent = 0;
        while sent < REPLAY_AT_ONCE && !waits {
            let Some((next, frame, except)) = self.next_of(stream, &name, n, outbox) else {
                break;
            };
            if except != Some(socket) {
                sent += frame.len();
                actions.send(id, frame);
            }
            n = next;
        }
        if waits || self.next_of(stream, &name, n, outbox).is_some() {
            if !waits {
                actions.push(Action::WhenFlushed(id));
            }
            if let Some(session) = self.session(id) {
                session.replays.push(Replay { channel, stream, n });
            }
        }
        let Some(session) = self.session(id) else { return };
        let over = session.replays.iter().all(|replay| replay.channel != channel);
        self.hear(id, channel, if over { Hears::Positions } else { Hears::Later });
    }

    /// The first event of a channel in a stream after number `n`: its number, its frame, and the socket that must not get it.
    pub(super) fn next_of(
        &self,
        stream: Stream,
        channel: &str,
        n: u64,
        outbox: Option<&Outbox>,
    ) -> Option<(u64, Utf8Bytes, Option<SocketId>)> {
        match stream {
            Stream::Memory => {
                let (next, frame, except) = self.history.next(channel, n)?;
                Some((next, frame.clone(), except))
            }
            Stream::Table => {
                let outbox = outbox?;
                let (next, frame, except) = outbox.next(channel, n)?;
                Some((next, outbox.with_pos(next, frame), except))
            }
        }
    }

    /// What was sent has left: the next part of what was missed follows.
    pub fn flushed(&mut self, id: ConnectionId, mut outbox: Option<&mut Outbox>, now: Now, actions: &mut Actions) {
        let Some(session) = self.session(id) else { return };
        if session.replays.is_empty() {
            return;
        }
        let replay = session.replays.remove(0);
        let waiting = std::mem::take(&mut session.replays);
        let name = &self.channels[replay.channel as usize].name;
        let reaches = match (replay.stream, self.history.position()) {
            (Stream::Memory, Position::Memory { start, .. }) => {
                self.history.reaches(name, Position::Memory { start, n: replay.n })
            }
            (Stream::Memory, _) => false,
            (Stream::Table, _) => match (self.table, &mut outbox) {
                // Of another epoch nobody is told any more: at its beginning all are sent back.
                (Some(_), Some(outbox)) => outbox.goes_on(name, replay.n, now) == Reach::Yes,
                _ => false,
            },
        };
        if !reaches {
            // It was told "recovered", and the rest was forgotten meanwhile: it must come back and be told the truth.
            actions.push(Action::Close(id, 4200, "the history ran out during a recovery".into()));
            return;
        }
        self.replay(id, replay, outbox.as_deref(), actions);
        let Some(session) = self.session(id) else { return };
        let again = session.replays.is_empty() && !waiting.is_empty();
        session.replays.extend(waiting);
        let unfinished = session.replays.iter().any(|other| other.channel == replay.channel);
        if again {
            actions.push(Action::WhenFlushed(id));
        }
        if unfinished {
            self.hear(id, replay.channel, Hears::Later);
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

/// What a client's position stands for: a guest's cached page carries the time of its rendering instead, `@` and milliseconds.
fn position(text: &str, door: &Door<'_>) -> Option<Position> {
    match text.strip_prefix('@') {
        None => text.parse().ok(),
        Some(unix_ms) => {
            let outbox = door.site.as_deref().and_then(|site| site.outbox())?;
            outbox.position_at(unix_ms.parse().ok()?, door.now)
        }
    }
}

fn start(text: &str, door: &Door<'_>) -> Option<(Stream, u64)> {
    match position(text, door)? {
        Position::Memory { n, .. } => Some((Stream::Memory, n)),
        Position::Outbox { row, .. } => Some((Stream::Table, row)),
    }
}
