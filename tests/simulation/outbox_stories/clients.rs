//! Clients that request recovery and follow the rules to the letter: one position for each channel, which is the `id`
//! of its newest event, or one from a pong that came during the subscription. They keep no ids and drop no event.

use std::collections::{BTreeMap, BTreeSet};

use jsocketd::outbox::{Event, Outbox, Reach};
use jsocketd::protocol::position::{Place, Position};
use jsocketd::protocol::rows::Missed;

use crate::outbox_stories::truth::{Kind, Truth, key};

/// A page with its subscriptions.
#[derive(Debug)]
pub struct Client {
    pub name: usize,
    /// Which process it is connected to.
    pub at: Option<usize>,
    pub channels: BTreeMap<&'static str, Channel>,
    /// When it does something next.
    pub next: u64,
}

#[derive(Debug, Default)]
pub struct Channel {
    pub state: State,
    /// `None`: it begins anew.
    pub position: Option<Position>,
    /// Keys of rows since it began.
    handled: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Out,
    /// Since when, and the generation at which it was looked at last.
    Asking(u64, u64),
    /// It received everything up to a number; the rest follows at this time.
    Replaying(u64, u64),
    Live,
}

/// The result of one step of a recovery.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    /// There was a gap, of which the position shown was this one.
    Gap(Position),
    /// The rest of a recovery was forgotten, so the connection is closed.
    Cut,
    Recovered,
}

impl Client {
    pub fn new(name: usize, channels: &[&'static str]) -> Self {
        let channels = channels.iter().map(|channel| (*channel, Channel::default())).collect();
        Self {
            name,
            at: None,
            channels,
            next: 0,
        }
    }

    pub fn connect(&mut self, process: usize, us: u64) {
        self.at = Some(process);
        for channel in self.channels.values_mut() {
            channel.state = State::Asking(us, u64::MAX);
        }
    }

    /// The connection is gone. The positions stay.
    pub fn lose(&mut self) {
        self.at = None;
        for channel in self.channels.values_mut() {
            channel.state = State::Out;
        }
    }

    /// A live event that the process hands on.
    pub fn hear(&mut self, event: &Event, truth: &Truth) {
        let name = self.name;
        if let Some((channel, own)) = self.channels.iter_mut().find(|(channel, _)| **channel == event.channel)
            && own.state == State::Live
        {
            own.take(name, channel, &event.logged.frame, truth);
        }
    }

    /// A pong: it carries the position if no recovery is under way.
    pub fn pong(&mut self, outbox: &Outbox, truth: &Truth) {
        let is_told = |channel: &Channel| !matches!(channel.state, State::Replaying(..));
        let told = outbox.position().filter(|_| self.channels.values().all(is_told));
        let Some(told) = told else { return };
        for (channel, own) in self.channels.iter_mut().filter(|(_, own)| own.state == State::Live) {
            own.move_to(self.name, channel, told, truth);
        }
    }

    /// When something is due.
    pub fn due(&self) -> u64 {
        let replays = self.channels.values().map(|own| match own.state {
            State::Replaying(_, at) => at,
            State::Asking(since, _) => since + LAST_CALL,
            _ => u64::MAX,
        });
        replays.min().unwrap_or(u64::MAX).min(self.next)
    }
}

/// Microseconds after which an unknown position is a no.
const LAST_CALL: u64 = 5_000_000;

impl Channel {
    /// Does the service's part for a client that waits for an answer, or for the next part of the missed events.
    /// `most`: events of a part.
    pub fn recover(
        &mut self,
        (name, channel): (usize, &str),
        outbox: &mut Outbox,
        most: u64,
        us: u64,
        truth: &Truth,
    ) -> Told {
        let now = crate::outbox_stories::stage::at(us);
        match self.state {
            State::Asking(since, looked) => {
                let last_call = us >= since + LAST_CALL;
                if !last_call && (looked == outbox.generation() || outbox.is_coming()) {
                    return Told::Nothing;
                }
                self.state = State::Asking(since, outbox.generation());
                let Some(position) = self.position else {
                    self.begin(outbox);
                    return Told::Nothing;
                };
                let waited = std::time::Duration::from_micros(us - since);
                match outbox.reaches(channel, position, waited, now) {
                    Reach::Ask | Reach::Read if !last_call => {
                        self.state = State::Asking(since, outbox.generation());
                        Told::Nothing
                    }
                    Reach::Yes => {
                        self.state = State::Replaying(position.number(), us);
                        self.recover((name, channel), outbox, most, us, truth)
                    }
                    _ => {
                        self.begin(outbox);
                        Told::Gap(position)
                    }
                }
            }
            State::Replaying(mut seq, at) if at <= us => {
                for _ in 0..most {
                    match outbox.missed(channel, seq, now) {
                        Missed::Gone => return Told::Cut,
                        Missed::Event(logged) => {
                            seq = logged.seq;
                            self.take(name, channel, &logged.frame, truth);
                        }
                        Missed::Nothing | Missed::Doubted => {
                            self.state = State::Live;
                            return Told::Recovered;
                        }
                    }
                }
                self.state = State::Replaying(seq, us + 1000 * most);
                Told::Nothing
            }
            _ => Told::Nothing,
        }
    }

    /// The client loads everything anew, and receives its position.
    fn begin(&mut self, outbox: &Outbox) {
        self.handled.clear();
        self.state = State::Live;
        self.position = Some(outbox.told_position());
    }

    fn take(&mut self, name: usize, channel: &str, frame: &str, truth: &Truth) {
        let id = frame.rsplit_once(r#""id":""#).and_then(|(_, id)| id.split_once('"'));
        let id: Position = id.expect("every event has one").0.parse().expect("a position");
        let Position::Table { place, .. } = id else {
            panic!("{id}")
        };
        let row = truth
            .key_at(place)
            .unwrap_or_else(|| panic!("{name} got {id}, which no row has"));
        let said = frame
            .split_once(r#""data":""#)
            .and_then(|(_, data)| data.split_once(r#"","id""#));
        let said = said.expect("every event has data").0.replace('\\', "");
        assert_eq!(key(&said), Some(row), "{name} got {frame}, which is another row");
        assert!(self.handled.insert(row), "{name} handled row {row} twice");
        self.walk(name, channel, id, Some(row), truth);
        self.position = Some(id);
    }

    fn move_to(&mut self, name: usize, channel: &str, told: Position, truth: &Truth) {
        self.walk(name, channel, told, None, truth);
        self.position = Some(told);
    }

    /// No row of its channel may stand between the client's position and the received row.
    fn walk(&self, name: usize, channel: &str, to: Position, got: Option<usize>, truth: &Truth) {
        let from = self.position.expect("it has a position");
        let (Position::Table { place: start, .. }, Position::Table { place: end, .. }) = (from, to) else {
            panic!("{from} {to}")
        };
        if from == Position::NOWHERE {
            // A client that subscribed without the table must receive a gap before anything else.
            panic!("{name} gets {to} although it has no position");
        }
        assert!(end.seq >= start.seq, "{name} goes back from {from} to {to}");
        let Some(way) = truth.between(start, end) else {
            panic!("{name} comes from {from} to {to} without a gap")
        };
        for (place, row) in way {
            let own = row.filter(|row| truth.rows[*row].kind == Kind::Event(known(channel)));
            assert!(
                own.is_none() || own == got,
                "{name} missed row {own:?} at {place:?} of {channel}"
            );
        }
    }

    /// In the end it has everything.
    pub fn judge(&self, name: usize, channel: &str, newest: Place, truth: &Truth) {
        assert_eq!(self.state, State::Live, "{name} in {channel}");
        let Some(Position::Table { epoch, .. }) = self.position else {
            panic!("{name} has no position")
        };
        let to = Position::Table { epoch, place: newest };
        self.walk(name, channel, to, None, truth);
    }
}

fn known(channel: &str) -> &'static str {
    let mut all = crate::outbox_stories::writers::CHANNELS.into_iter();
    all.find(|known| *known == channel).expect("a channel")
}
