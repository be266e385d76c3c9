//! The actions that the loop carries out for the service, as data. The buffers are reused: a fan-out to ten thousand
//! connections costs no allocation per recipient, and no allocation at all once the buffers have grown.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::Response;
use tungstenite::Utf8Bytes;

use super::effects::Effect;
use crate::id::ConnectionId;

/// One thing that the loop must do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answer the request or handshake.
    Respond(ConnectionId, Box<Response<Bytes>>),
    /// Accept the handshake.
    Accept(ConnectionId, Dialect),
    /// Send a message.
    Send(ConnectionId, Message),
    /// Send one text to many connections; `Actions::recipients` has their ids.
    Fanout(Range<usize>, Utf8Bytes),
    /// Close a WebSocket.
    Close(ConnectionId, u16, Cow<'static, str>),
    /// Shorten the time that the connection has for its request, because the request will be rejected.
    Hurry(ConnectionId),
    /// Collect the facts about the process and pass them as `Input::ProcessStats` for the same connection.
    Gather(ConnectionId),
    /// Show the records of the loop.
    ShowLoop(ConnectionId, LoopView),
    /// Pass `Input::Flushed` once less than the send queue's high-water mark waits.
    WhenFlushed(ConnectionId),
    /// The connection's request costs more than its own answer: count it in the connection's limit of requests or
    /// subscriptions a second.
    Charge(ConnectionId),
    /// Read nothing more from the connection until `Release`: its messages already wait for something.
    Hold(ConnectionId),
    /// Read from the connection again.
    Release(ConnectionId),
    /// Post a webhook and pass the outcome to `Service::posted`.
    Post(Box<Post>),
}

/// How the records of the loop are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopView {
    /// As JSON, in the answer of the request: the ticks after number `since`, and of the latest ones at most `limit`.
    Json {
        /// The number of a tick; 0: all ticks.
        since: u64,
        /// From 1 to [`SAMPLE`](crate::flight::SAMPLE).
        limit: usize,
    },
    /// The latest ticks, in a message.
    Ticks,
    /// The culprits of the worst ticks of the last hour, in a message.
    Blame,
}

/// How a WebSocket is kept alive and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Pings only, and the close codes of RFC 6455.
    Plain,
    /// `pusher:ping` too, and the close codes of the Pusher protocol.
    Pusher,
    /// The same for protocol versions before 6: an error frame comes before every close.
    OldPusher,
}

/// A WebSocket message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// UTF-8 text.
    Text(Utf8Bytes),
    /// Any bytes.
    Binary(Bytes),
}

impl Message {
    /// The size of the payload in bytes.
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
    /// The target (upper half) and the attempt. The ticket comes back with the outcome.
    pub ticket: u64,
    /// `http://host:port/path`
    pub url: String,
    /// The headers besides Host and Content-Length.
    pub headers: Vec<(String, String)>,
    /// The bytes that were signed.
    pub body: Bytes,
}

/// Actions in the order in which the loop must carry them out.
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

    /// Appends an effect. Another room carries it out before the service's entry point ends.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The effects for other rooms, in order. Rooms that have no `Actions` append to this list.
    pub fn effects(&mut self) -> &mut Vec<Effect> {
        &mut self.effects
    }

    /// Appends a text for one connection.
    pub fn send(&mut self, to: ConnectionId, text: impl Into<Utf8Bytes>) {
        self.list.push(Action::Send(to, Message::Text(text.into())));
    }

    /// Appends one text for many connections, or nothing if there is no recipient. Returns the number of recipients.
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

    /// The recipients of a fan-out.
    pub fn recipients(&self, range: Range<usize>) -> &[ConnectionId] {
        &self.recipients[range]
    }

    /// Removes the actions from the buffers. The recipients stay for `recipients`.
    pub fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.list)
    }

    /// Empties the buffers for reuse. `list` is the list that `take` returned.
    pub fn reuse(&mut self, mut list: Vec<Action>) {
        list.clear();
        self.recipients.clear();
        self.list = list;
    }
}
