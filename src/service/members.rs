//! The service's record of each connection: its protocol, and the work that waits.

use std::net::IpAddr;

use bytes::Bytes;
use http::Request;

use super::caller::Caller;
use super::console::Console;
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
    /// A request for the page. It waits until its user is known.
    pub(super) page: Option<(Caller, Request<Bytes>)>,
    /// The number of the app whose status was requested. The answer waits for the numbers of the process.
    pub(super) status: Option<usize>,
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
    websockets: usize,
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
        let waits = rare.waiting.is_some() || rare.page.is_some() || rare.status.is_some();
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

    /// The connection became a WebSocket.
    pub(super) fn upgrade(&mut self, id: ConnectionId, speaks: Speaks) {
        self.websockets += 1;
        if let Some(member) = self.get_mut(id) {
            member.speaks = speaks;
        }
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Member> {
        let member = self.slots.remove(id)?;
        self.websockets -= usize::from(!matches!(member.speaks, Speaks::Http));
        Some(member)
    }

    /// All members with their connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Member)> {
        self.slots.iter()
    }

    /// The number of open WebSockets.
    pub(super) fn websockets(&self) -> usize {
        self.websockets
    }
}
