//! The service's record of each connection: its protocol, and the work that waits.

use std::net::IpAddr;

use bytes::Bytes;
use http::Request;

use super::caller::Caller;
use super::console::Console;
use super::routes::State;
use super::status::Seen;
use super::waiting::Waiting;
use crate::id::ConnectionId;
use crate::protocol::slots::Slots;

/// The service's record of one connection.
#[derive(Debug)]
pub(super) struct Member {
    /// The address that the limits counted.
    pub(super) counted: Option<IpAddr>,
    pub(super) speaks: Speaks,
    /// Fields that few connections have, and only for a short time.
    pub(super) rare: Option<Box<Rare>>,
}

/// Fields that few connections have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Why every request of the connection gets 429; `None`: requests are handled.
    pub(super) refused: Option<&'static str>,
    /// Messages that wait until a fact is known.
    pub(super) waiting: Option<Waiting>,
    /// A request for a guarded place. It waits until its user is known.
    pub(super) visit: Option<(Caller, Request<Bytes>)>,
    /// The answer that waits for the numbers of the process.
    pub(super) wants: Option<Wants>,
}

/// An answer that needs the numbers of the process.
#[derive(Debug)]
pub(super) enum Wants {
    /// The status of the app with this number, for a request that was seen so.
    App(usize, Box<Seen>),
    /// The state of the server.
    State(State),
}

/// The protocol of a connection.
#[derive(Debug)]
pub(super) enum Speaks {
    Http,
    Console(Box<Console>),
    Echo,
    /// The number of the app.
    Pusher(usize),
}

/// The members.
#[derive(Debug, Default)]
pub(super) struct Members {
    slots: Slots<Member>,
    websockets: WebSockets,
}

/// The open WebSockets by protocol.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WebSockets {
    pub(super) console: usize,
    pub(super) echo: usize,
    pub(super) pusher: usize,
}

impl WebSockets {
    /// All of them.
    pub(super) fn total(&self) -> usize {
        self.console + self.echo + self.pusher
    }

    /// The number of those that use this protocol; `None`: it is not the protocol of a WebSocket.
    fn of(&mut self, speaks: &Speaks) -> Option<&mut usize> {
        match speaks {
            Speaks::Http => None,
            Speaks::Console(_) => Some(&mut self.console),
            Speaks::Echo => Some(&mut self.echo),
            Speaks::Pusher(_) => Some(&mut self.pusher),
        }
    }
}

impl Member {
    pub(super) fn new(counted: Option<IpAddr>, refused: Option<&'static str>) -> Self {
        let rare = refused.map(|why| Rare {
            refused: Some(why),
            ..Rare::default()
        });
        Self {
            counted,
            speaks: Speaks::Http,
            rare: rare.map(Box::new),
        }
    }

    pub(super) fn waiting(&mut self) -> Option<&mut Waiting> {
        self.rare.as_mut()?.waiting.as_mut()
    }

    /// Removes one of the rare fields, and frees their memory if none is left.
    pub(super) fn take<T>(&mut self, part: impl FnOnce(&mut Rare) -> &mut Option<T>) -> Option<T> {
        let rare = self.rare.as_mut()?;
        let taken = part(rare).take();
        let waits = rare.waiting.is_some() || rare.visit.is_some() || rare.wants.is_some();
        if rare.refused.is_none() && !waits {
            self.rare = None;
        }
        taken
    }
}

impl Members {
    /// Adds a connection.
    pub(super) fn insert(&mut self, id: ConnectionId, member: Member) {
        self.slots.insert(id, member);
    }

    /// The member of a connection.
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Member> {
        self.slots.get_mut(id)
    }

    /// The member of a connection.
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Member> {
        self.slots.get(id)
    }

    /// The connection became a WebSocket.
    pub(super) fn upgrade(&mut self, id: ConnectionId, speaks: Speaks) {
        let Some(member) = self.slots.get_mut(id) else { return };
        if let Some(count) = self.websockets.of(&speaks) {
            *count += 1;
        }
        member.speaks = speaks;
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Member> {
        let member = self.slots.remove(id)?;
        if let Some(count) = self.websockets.of(&member.speaks) {
            *count -= 1;
        }
        Some(member)
    }

    /// All members with their connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Member)> {
        self.slots.iter()
    }

    /// The open WebSockets.
    pub(super) fn websockets(&self) -> WebSockets {
        self.websockets
    }
}
