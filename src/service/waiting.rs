//! Messages that wait until a fact is known: the connection's user, an item, or older rows of the outbox table. Only
//! the first message of a connection waits for a fact; the others keep their order behind it.

use std::collections::{BTreeSet, VecDeque};

use crate::hub::ask::Asked;
use crate::id::ConnectionId;
use crate::protocol::Attempt;
use crate::protocol::actions::Message;
use crate::time::{Now, Time};

/// The most messages of one connection that wait. At this number the connection is not read any more.
const MOST_WAITING: usize = 32;

/// A waiting message.
#[derive(Debug)]
pub(super) enum Said {
    /// A message that was not parsed.
    Message(Message),
    /// The request in a message, and the message's size in bytes. It was parsed, and is tried again.
    Asked(Asked, usize),
}

/// The waiting messages of one connection.
#[derive(Debug)]
pub(super) struct Waiting {
    messages: VecDeque<Said>,
    bytes: usize,
    /// Since when the first message waits; `None`: it was not tried.
    since: Option<Time>,
    /// When the first message gets an answer in any case.
    pub(super) until: Time,
    /// The connection is not read until some messages are answered.
    pub(super) held: bool,
}

/// The connections with waiting messages, with the end of each wait.
#[derive(Debug, Default)]
pub(super) struct Waiters(BTreeSet<(Time, ConnectionId)>);

impl Said {
    /// The size of the message in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Said::Message(message) => message.len(),
            Said::Asked(_, len) => *len,
        }
    }
}

impl Waiting {
    /// An empty list. The first message to be added has just been tried.
    pub(super) fn new(now: Time, until: Time) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            since: Some(now),
            until,
            held: false,
        }
    }

    /// Appends a message. Returns true if the connection must be held from here on.
    pub(super) fn push(&mut self, said: Said, most_bytes: usize) -> bool {
        self.bytes += said.len();
        self.messages.push_back(said);
        let is_full = self.messages.len() >= MOST_WAITING || self.bytes >= most_bytes;
        let begins = is_full && !self.held;
        self.held |= is_full;
        begins
    }

    /// Removes the first message for another attempt.
    pub(super) fn pop(&mut self, is_last: bool, now: Now) -> Option<(Said, Attempt)> {
        let said = self.messages.pop_front()?;
        let waited = self.since.map(|since| now.at.since(since));
        Some((said, Attempt { waited, is_last, now }))
    }

    /// The first message was answered: subtracts its bytes.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.since = None;
    }

    /// The first message still waits. If the wait is over, it was the wait of an earlier message, and a new wait
    /// begins, which ends at `until`. Returns true if a new wait begins.
    pub(super) fn wait_on(&mut self, said: Said, until: Time, now: Time) -> bool {
        self.messages.push_front(said);
        self.since.get_or_insert(now);
        let begins = self.until <= now;
        if begins {
            self.until = until;
        }
        begins
    }
}

impl Waiters {
    /// A connection begins to wait.
    pub(super) fn insert(&mut self, until: Time, id: ConnectionId) {
        self.0.insert((until, id));
    }

    /// A connection does not wait any more.
    pub(super) fn remove(&mut self, until: Time, id: ConnectionId) {
        self.0.remove(&(until, id));
    }

    /// Removes a connection whose wait is over.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<ConnectionId> {
        self.0.first().filter(|(until, _)| *until <= now)?;
        self.0.pop_first().map(|(_, id)| id)
    }

    /// All connections that wait.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.0.iter().map(|(_, id)| *id).collect()
    }

    /// When the next wait is over.
    pub(super) fn deadline(&self) -> Time {
        self.0.first().map_or(Time::NEVER, |(until, _)| *until)
    }
}
