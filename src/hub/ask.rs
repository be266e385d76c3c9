//! The requests that a client may send, and how its frames are read (pusher.md section 2).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::subscribe::Subscribe;

/// How deep the JSON of a frame may be nested.
const MAX_DEPTH: usize = 64;

/// The event with which a client sends the form token of its page.
pub(super) const FORM_TOKEN: &str = "jsocketd:form_token";

/// The event that accepts a form token.
pub const FORM_TOKEN_RIGHT: &str = "jsocketd:form_token_accepted";

/// A request that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `pusher:ping`: it gets an answer.
    Ping,
    /// `pusher:pong`: the answer to our ping.
    Pong,
    /// To subscribe to a channel.
    Subscribe,
    /// To unsubscribe from a channel.
    Unsubscribe,
    /// To sign in as a user.
    SignIn,
    /// To check the client's form token.
    FormToken,
    /// To send an event to the other subscribers of a channel.
    ClientEvent,
}

/// All requests that a client may send, by the name of the event or by its prefix.
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

    /// Whether the request costs other connections or the database something, and not only the connection's own answer.
    pub(super) fn is_order(self) -> bool {
        match self {
            Ask::Subscribe | Ask::Unsubscribe | Ask::SignIn | Ask::FormToken => true,
            // Client events have a limit of their own.
            Ask::Ping | Ask::Pong | Ask::ClientEvent => false,
        }
    }
}

/// The part of a frame that the hub cannot answer alone. The frame is parsed once, also if the answer takes several
/// attempts.
#[derive(Debug)]
#[must_use]
pub enum Asked {
    /// The frame has been answered.
    Done,
    /// The client wants to subscribe: call [`App::admit`](super::app::App::admit),
    /// [`absence`](super::app::App::absence) and [`join`](super::app::App::join).
    Subscribe(Box<Subscribe>),
    /// Check this form token.
    FormToken(Box<str>),
    /// The frame has been answered; the connection signed in as the user with this id.
    SignedIn(Box<str>),
}

/// A frame of a client. Other fields are ignored.
#[derive(Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

/// The data of a frame with a form token.
#[derive(Deserialize)]
pub(super) struct Shown {
    pub(super) form_token: Box<str>,
}

impl<'a> Incoming<'a> {
    /// Reads the text of a frame.
    pub(super) fn read(text: &'a str) -> Result<Self, Cow<'static, str>> {
        if is_too_deep(text) {
            return Err("JSON is nested too deeply".into());
        }
        serde_json::from_str(text).map_err(|_| "a frame is a JSON object with a string `event`".into())
    }

    /// Reads the frame's data. `data` is the unwrapped data, and `needs` says in an error what the data needs.
    pub(super) fn read_data<'d, T: Deserialize<'d>>(&self, data: &'d str, needs: &str) -> Result<T, Cow<'static, str>> {
        serde_json::from_str(data).map_err(|_| format!("`data` of {} needs {needs}", self.event).into())
    }
}

/// Whether a frame is a ping. A ping is answered even while other frames wait.
pub fn is_ping(text: &str) -> bool {
    text.len() < 100
        && serde_json::from_str(text).is_ok_and(|frame: Incoming<'_>| Ask::of(&frame.event) == Some(Ask::Ping))
}

/// `data` may be JSON, or a string that contains JSON (some clients send that).
pub(super) fn unwrapped(data: &RawValue) -> Cow<'_, str> {
    if !data.get().starts_with('"') {
        return data.get().into();
    }
    match serde_json::from_str::<Cow<'_, str>>(data.get()) {
        Ok(inner) => inner.into_owned().into(),
        Err(_) => data.get().into(),
    }
}

/// Whether JSON is nested deeper than 64 levels. This is one pass; it runs before a recursive parser reads the JSON.
pub fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
