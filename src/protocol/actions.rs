//! What the service wants done, as data, in buffers that are used again: a fan-out to ten thousand costs no allocation
//! per recipient, and none at all once the buffers have grown.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::Response;
use tungstenite::Utf8Bytes;

use super::effects::Effect;
use crate::id::ConnectionId;

/// What shall happen.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answer the request or handshake.
    Respond(ConnectionId, Box<Response<Bytes>>),
    /// Accept the handshake.
    Accept(ConnectionId, Dialect),
    /// Send a message.
    Send(ConnectionId, Message),
    /// Send one text to many: `Actions::recipients` tells whom.
    Fanout(Range<usize>, Utf8Bytes),
    /// Close a WebSocket.
    Close(ConnectionId, u16, Cow<'static, str>),
    /// Give it little time for its request: it will be refused.
    Hurry(ConnectionId),
    /// Find out the facts about the process and hand them in as `Input::Facts` for the same connection.
    Gather(ConnectionId),
    /// Hand in `Input::Flushed` once less than the outbox's high water waits.
    WhenFlushed(ConnectionId),
    /// It ordered something that costs more than its own answer: counts as one of its requests or subscriptions a
    /// second.
    Charge(ConnectionId),
    /// Read nothing more from it until `Release`: what it said already waits for something.
    Hold(ConnectionId),
    /// Read on.
    Release(ConnectionId),
    /// Post a webhook and hand in the outcome with `Service::posted`.
    Post(Box<Post>),
}

/// How a WebSocket is kept alive and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Pings only, and the close codes of RFC 6455.
    Plain,
    /// `pusher:ping` too, and the close codes of the Pusher protocol.
    Pusher,
    /// The same for protocol versions before 6, in which an error frame comes before every close.
    OldPusher,
}

/// A WebSocket message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// UTF-8.
    Text(Utf8Bytes),
    /// Any bytes.
    Binary(Bytes),
}

impl Message {
    /// Bytes of its payload.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether a message is empty")]
    pub fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }
}

/// An outgoing HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Names the target (upper half) and the attempt; comes back with the outcome.
    pub ticket: u64,
    /// `http://host:port/path`
    pub url: String,
    /// Besides Host and Content-Length.
    pub headers: Vec<(String, String)>,
    /// The bytes that were signed.
    pub body: Bytes,
}

/// Actions in the order in which they shall happen.
#[derive(Debug, Default)]
pub struct Actions {
    list: Vec<Action>,
    recipients: Vec<ConnectionId>,
    effects: Vec<Effect>,
}

impl Actions {
    /// Appends an action.
    pub fn push(&mut self, action: Action) {
        self.list.push(action);
    }

    /// Appends something that another room does before the service's entry point ends.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// What other rooms have to do, in order: the list that rooms without actions append to.
    pub fn effects(&mut self) -> &mut Vec<Effect> {
        &mut self.effects
    }

    /// Appends a text for one connection.
    pub fn send(&mut self, to: ConnectionId, text: impl Into<Utf8Bytes>) {
        self.list.push(Action::Send(to, Message::Text(text.into())));
    }

    /// Appends one text for many; nothing when nobody is to get it. Returns how many that are.
    pub fn fan_out(&mut self, to: impl Iterator<Item = ConnectionId>, text: Utf8Bytes) -> usize {
        let start = self.recipients.len();
        self.recipients.extend(to);
        let end = self.recipients.len();
        if end > start {
            self.list.push(Action::Fanout(start..end, text));
        }
        end - start
    }

    /// The actions so far.
    pub fn list(&self) -> &[Action] {
        &self.list
    }

    /// Whom a fan-out is for.
    pub fn recipients(&self, range: Range<usize>) -> &[ConnectionId] {
        &self.recipients[range]
    }

    /// Takes the actions out, leaving the recipients to be looked up.
    pub fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.list)
    }

    /// Makes the buffers empty, to be used again; `list` is what `take` gave.
    pub fn reuse(&mut self, mut list: Vec<Action>) {
        list.clear();
        self.recipients.clear();
        self.list = list;
    }
}
