//! Messages that wait until something is known: who the connection is, an item, or the past of the outbox table. The
//! first of a connection's messages is the one that has to wait; the others keep their order behind it.

use std::collections::{BTreeSet, VecDeque};

use crate::hub::ask::Asked;
use crate::id::ConnectionId;
use crate::protocol::Attempt;
use crate::protocol::actions::Message;
use crate::time::{Now, Time};

/// Messages of one connection that may wait; then it is not read any more.
const MOST_WAITING: usize = 32;

/// What waits for an answer.
#[derive(Debug)]
pub(super) enum Said {
    /// A message.
    Message(Message),
    /// What a message of so many bytes asked for: it has been read, and is tried again.
    Asked(Asked, usize),
}

/// The waiting messages of one connection.
#[derive(Debug)]
pub(super) struct Waiting {
    messages: VecDeque<Said>,
    bytes: usize,
    /// Since when the first one waits; `None`: it has not been tried.
    since: Option<Time>,
    /// When the first one gets an answer whatever is known by then.
    pub(super) until: Time,
    /// The connection is not read until some have gone.
    pub(super) held: bool,
}

/// The connections with waiting messages, and until when each waits.
#[derive(Debug, Default)]
pub(super) struct Waiters(BTreeSet<(Time, ConnectionId)>);

impl Said {
    /// Bytes of the message.
    pub(super) fn len(&self) -> usize {
        match self {
            Said::Message(message) => message.len(),
            Said::Asked(_, len) => *len,
        }
    }
}

impl Waiting {
    /// Nothing waits yet; what comes first has been tried now.
    pub(super) fn new(now: Time, until: Time) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            since: Some(now),
            until,
            held: false,
        }
    }

    /// Appends a message. True when the connection is to be held from here on.
    pub(super) fn push(&mut self, said: Said, most_bytes: usize) -> bool {
        self.bytes += said.len();
        self.messages.push_back(said);
        let is_full = self.messages.len() >= MOST_WAITING || self.bytes >= most_bytes;
        let begins = is_full && !self.held;
        self.held |= is_full;
        begins
    }

    /// Takes the first message out for another try.
    pub(super) fn pop(&mut self, is_last: bool, now: Now) -> Option<(Said, Attempt)> {
        let said = self.messages.pop_front()?;
        let waited = self.since.map(|since| now.at.since(since));
        Some((said, Attempt { waited, is_last, now }))
    }

    /// The first message was answered: so many bytes fewer wait.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.since = None;
    }

    /// The first message waits on. If its time is over, that was another message's: it has its own time, until `until`.
    /// True when it begins.
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
    /// A connection waits from here on.
    pub(super) fn insert(&mut self, until: Time, id: ConnectionId) {
        self.0.insert((until, id));
    }

    /// It does not wait any more.
    pub(super) fn remove(&mut self, until: Time, id: ConnectionId) {
        self.0.remove(&(until, id));
    }

    /// Takes out one that has waited long enough.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<ConnectionId> {
        self.0.first().filter(|(until, _)| *until <= now)?;
        self.0.pop_first().map(|(_, id)| id)
    }

    /// All connections that wait.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.0.iter().map(|(_, id)| *id).collect()
    }

    /// When the next one has waited long enough.
    pub(super) fn deadline(&self) -> Time {
        self.0.first().map_or(Time::NEVER, |(until, _)| *until)
    }
}
