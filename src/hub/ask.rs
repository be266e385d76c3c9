//! What a client may ask for, and how its frames are read (pusher.md section 2).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use super::json::is_too_deep;
use super::subscribe::Subscribe;

/// The frame in which a client shows the form token of its page, and the answer to a right one.
pub(super) const FORM_TOKEN: &str = "jsocketd:form_token";

/// See [`FORM_TOKEN`].
pub const FORM_TOKEN_RIGHT: &str = "jsocketd:form_token_accepted";

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An answer.
    Ping,
    /// Nothing: it answers our ping.
    Pong,
    /// A channel.
    Subscribe,
    /// To leave one.
    Unsubscribe,
    /// To be a user.
    SignIn,
    /// A check of its form token.
    FormToken,
    /// An event for the others in a channel.
    ClientEvent,
}

/// Everything that a client may ask for, by the name of the event, or by how it begins.
pub const ASKS: [(&str, Ask); 7] = [
    ("pusher:ping", Ask::Ping),
    ("pusher:pong", Ask::Pong),
    ("pusher:subscribe", Ask::Subscribe),
    ("pusher:unsubscribe", Ask::Unsubscribe),
    ("pusher:signin", Ask::SignIn),
    (FORM_TOKEN, Ask::FormToken),
    ("client-", Ask::ClientEvent),
];

impl Ask {
    pub(super) fn of(event: &str) -> Option<Self> {
        let names = |(name, ask): &&(&str, Ask)| match ask {
            Ask::ClientEvent => event.starts_with(name),
            _ => event == *name,
        };
        ASKS.iter().find(names).map(|(_, ask)| *ask)
    }

    /// Whether it costs others, or the database, more than the connection's own answer.
    pub(super) fn is_order(self) -> bool {
        match self {
            Ask::Subscribe | Ask::Unsubscribe | Ask::SignIn | Ask::FormToken => true,
            // The last one has a limit of its own.
            Ask::Ping | Ask::Pong | Ask::ClientEvent => false,
        }
    }
}

/// What a frame asks of others than the hub: read once, however often it is tried.
#[derive(Debug)]
#[must_use]
pub enum Asked {
    /// Nothing: it has been answered.
    Done,
    /// To be let into a channel: [`App::admit`](super::app::App::admit), [`absence`](super::app::App::absence) and
    /// [`join`](super::app::App::join).
    Subscribe(Box<Subscribe>),
    /// A check of this form token.
    FormToken(Box<str>),
    /// Nothing, but by a signature it is the user with this id.
    SignedIn(Box<str>),
}

/// A frame of a client. Whatever else it has is ignored.
#[derive(Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

/// `data` may be JSON, or a string that holds JSON (as some clients send it).
pub(super) fn unwrapped(data: &RawValue) -> Cow<'_, str> {
    if !data.get().starts_with('"') {
        return data.get().into();
    }
    match serde_json::from_str::<Cow<'_, str>>(data.get()) {
        Ok(inner) => inner.into_owned().into(),
        Err(_) => data.get().into(),
    }
}
