//! A client that follows the rules of `docs/protocol.md` for clients that must miss nothing, to the letter: it keeps
//! one position for each channel and stream, and nothing else. It remembers no ids and drops no doubles, so an event
//! that comes twice, or behind a later one, fails the test. [`Follower`] is the rules alone; [`Client`] adds a
//! connection.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::frame::CLOSE;
use super::outbox::positions;
use super::pusher::{Session, Site};
use jsocketd::protocol::position::Position;

/// The state that a client keeps for one channel, and the events that it received.
#[derive(Debug, Default)]
pub struct Followed {
    /// The newest position of each stream, by its first character.
    pub positions: BTreeMap<char, String>,
    /// `subscription_succeeded` came on this connection.
    joined: bool,
    /// Position and data of each event, in the order in which they were handled.
    pub handled: Vec<(String, String)>,
    /// How often the server reported a gap of the table, and how often a recovery. (Memory goes with the process.)
    pub gaps: usize,
    /// See `gaps`.
    pub recoveries: usize,
}

/// The rules.
#[derive(Debug, Default)]
pub struct Follower {
    /// By the name of the channel.
    pub channels: BTreeMap<String, Followed>,
    /// `pusher:subscription_error` came for these.
    pub refused: Vec<String>,
}

impl Follower {
    /// It wants these channels and has no positions.
    pub fn of(channels: &[&str]) -> Self {
        let channels = channels.iter().map(|name| ((*name).to_owned(), Followed::default()));
        Self {
            channels: channels.collect(),
            refused: Vec::new(),
        }
    }

    /// The messages to send when a connection is open.
    pub fn subscribes(&self) -> Vec<Value> {
        let one = |(name, own): (&String, &Followed)| {
            let mut data = json!({"channel": name});
            if !own.positions.is_empty() {
                data["since"] = json!(own.positions.values().collect::<Vec<_>>());
            }
            json!({"event": "pusher:subscribe", "data": data})
        };
        self.channels.iter().map(one).collect()
    }

    /// The connection is gone.
    pub fn lost(&mut self) {
        self.channels.values_mut().for_each(|own| own.joined = false);
    }

    /// Whether all channels were confirmed on this connection.
    pub fn is_in(&self) -> bool {
        self.channels.values().all(|own| own.joined)
    }

    /// Handles a message. False: it is none that has to do with recovery.
    ///
    /// # Panics
    /// When the server breaks a rule.
    pub fn take(&mut self, message: &Value) -> bool {
        let name = message["channel"].as_str().unwrap_or_default();
        match message["event"].as_str().expect("an event") {
            "pusher:pong" | "pusher_internal:position" => {
                let told = positions(&message["pos"]);
                self.channels
                    .values_mut()
                    .filter(|own| own.joined)
                    .for_each(|own| own.go_to(&told));
            }
            "pusher_internal:subscription_succeeded" => {
                let own = self.channels.get_mut(name).expect("it asked for this channel");
                own.joined = true;
                let answers: Vec<bool> = match message.get("recovered") {
                    None => Vec::new(),
                    Some(told) => serde_json::from_value(told.clone()).expect("a list, as since was"),
                };
                assert_eq!(
                    answers.len(),
                    own.positions.len(),
                    "an answer to each position: {message}"
                );
                for (_, recovered) in own.positions.keys().zip(&answers).filter(|(stream, _)| **stream == 'o') {
                    own.gaps += usize::from(!recovered);
                    own.recoveries += usize::from(*recovered);
                }
                own.positions.clear();
                own.go_to(&positions(&message["pos"]));
            }
            "pusher:subscription_error" => self.refused.push(name.to_owned()),
            event if !event.starts_with("pusher") => {
                let own = self.channels.get_mut(name).expect("it asked for this channel");
                assert!(own.joined, "before the confirmation: {message}");
                let id = message["id"]
                    .as_str()
                    .unwrap_or_else(|| panic!("without a position: {message}"));
                own.expect_next(id, message);
                own.go_to(&[id.to_owned()]);
                let text = message["data"].as_str().unwrap_or_else(|| panic!("{message}"));
                own.handled.push((id.to_owned(), text.to_owned()));
            }
            _ => return false,
        }
        true
    }

    /// The data of the handled events of a channel.
    pub fn data(&self, channel: &str) -> Vec<&str> {
        self.channels[channel]
            .handled
            .iter()
            .map(|(_, data)| data.as_str())
            .collect()
    }

    /// How often the server reported a gap of the table.
    pub fn gaps(&self) -> usize {
        self.channels.values().map(|own| own.gaps).sum()
    }
}

impl Followed {
    fn go_to(&mut self, told: &[String]) {
        for position in told {
            let stream = position.chars().next().expect("a position");
            self.positions.insert(stream, position.clone());
        }
    }

    /// An event stands behind the position that the client has. To the client positions are opaque; a test looks into
    /// them.
    fn expect_next(&self, id: &str, message: &Value) {
        let stream = id.chars().next().expect("a position");
        let Some(Ok(before)) = self.positions.get(&stream).map(|position| position.parse::<Position>()) else {
            return;
        };
        let next: Position = id.parse().unwrap_or_else(|()| panic!("no position: {message}"));
        let run = |position| match position {
            Position::Memory { start, .. } => start,
            Position::Table { epoch, .. } => epoch,
        };
        assert!(
            run(next) != run(before) || next.number() > before.number(),
            "a double, or out of order, at {before}: {message}"
        );
    }
}

/// A client with a connection, or without one at the moment.
pub struct Client {
    /// The client's state.
    pub follower: Follower,
    session: Option<Session>,
}

impl Client {
    /// Connects, asks for these channels and waits until it is in all of them.
    pub fn enter(site: &Site, channels: &[&str]) -> Self {
        let mut client = Self {
            follower: Follower::of(channels),
            session: None,
        };
        client.come_back(site);
        client
    }

    /// The same on a connection that is there.
    pub fn enter_on(session: Session, channels: &[&str]) -> Self {
        let mut client = Self {
            follower: Follower::of(channels),
            session: None,
        };
        client.come_back_on(session);
        client
    }

    /// Drops its connection, if it has one, without a word.
    pub fn leave(&mut self) -> &mut Self {
        self.session = None;
        self.follower.lost();
        self
    }

    /// Connects again, to this server or to another, and waits until it is in all channels.
    pub fn come_back(&mut self, site: &Site) -> &mut Self {
        self.come_back_on(site.connect_recovering())
    }

    /// The same on a connection that is there.
    pub fn come_back_on(&mut self, session: Session) -> &mut Self {
        self.try_come_back(session)
            .unwrap_or_else(|code| panic!("closed with {code} before it was in"));
        self
    }

    /// Asks for its channels on this connection and reads nothing yet.
    pub fn ask_on(&mut self, mut session: Session) {
        self.leave();
        for message in self.follower.subscribes() {
            session.say(message);
        }
        self.session = Some(session);
    }

    /// Comes back; or the code with which it is sent away meanwhile.
    pub fn try_come_back(&mut self, session: Session) -> Result<(), u16> {
        self.ask_on(session);
        while !self.follower.is_in() {
            self.read()?;
        }
        Ok(())
    }

    /// Reads until it has handled this event, and comes back as often as it is sent away to ask again.
    pub fn persist(&mut self, site: &Site, channel: &str, data: &str) -> &mut Self {
        while !self.follower.data(channel).contains(&data) {
            let read = match self.session {
                Some(_) => self.read().map(drop),
                None => self.try_come_back(site.connect_recovering()),
            };
            if let Err(code) = read {
                assert_eq!(code, 4200, "before {data:?}");
            }
        }
        self
    }

    /// Handles the next message, and returns it; or the code of the close.
    pub fn read(&mut self) -> Result<Value, u16> {
        let session = self.session.as_mut().expect("it is connected");
        let (opcode, payload) = session.next_frame();
        if opcode == CLOSE {
            self.leave();
            return Err(u16::from_be_bytes([payload[0], payload[1]]));
        }
        let message: Value = serde_json::from_slice(&payload).expect("JSON");
        self.follower.take(&message);
        Ok(message)
    }

    /// Reads until it has handled this event.
    pub fn until(&mut self, channel: &str, data: &str) -> &mut Self {
        while !self.follower.data(channel).contains(&data) {
            self.read()
                .unwrap_or_else(|code| panic!("closed with {code} before {data:?}"));
        }
        self
    }

    /// Reads until it has handled so many events of a channel.
    pub fn until_count(&mut self, channel: &str, count: usize) -> &mut Self {
        while self.follower.channels[channel].handled.len() < count {
            self.read()
                .unwrap_or_else(|code| panic!("closed with {code} before event {count}"));
        }
        self
    }

    /// Reads everything up to the answer to a ping.
    pub fn ping(&mut self) -> Value {
        let session = self.session.as_mut().expect("it is connected");
        session.say(json!({"event": "pusher:ping", "data": {}}));
        loop {
            let message = self
                .read()
                .unwrap_or_else(|code| panic!("closed with {code} before the pong"));
            if message["event"] == "pusher:pong" {
                return message;
            }
        }
    }

    /// Reads until the connection is closed; the code.
    pub fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.read() {
                return code;
            }
        }
    }

    /// Its position in the table's stream of a channel.
    pub fn position(&self, channel: &str) -> &str {
        &self.follower.channels[channel].positions[&'o']
    }

    /// The client has handled exactly these events of a channel, and the server has reported no gap.
    pub fn expect<T: AsRef<str>>(&self, channel: &str, expected: &[T]) -> &Self {
        let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
        let got = self.follower.data(channel);
        let first = got.iter().zip(&expected).position(|(got, expected)| got != expected);
        assert!(
            got == expected,
            "{channel}: {} events instead of {}, and another one at {first:?}: {:?} …",
            got.len(),
            expected.len(),
            &got[first.unwrap_or(0)..got.len().min(first.unwrap_or(0) + 10)]
        );
        assert_eq!(self.follower.channels[channel].gaps, 0, "{channel}");
        self
    }

    /// As [`Self::expect`], but in any order.
    pub fn expect_each_once(&self, channel: &str, expected: &[String]) {
        let (mut got, mut expected) = (self.follower.data(channel), expected.iter().collect::<Vec<_>>());
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(got, expected, "{channel}");
        assert_eq!(self.follower.channels[channel].gaps, 0, "{channel}");
    }
}
