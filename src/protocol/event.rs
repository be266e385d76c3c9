//! Checks of published events (pusher.md 9.2): the same for the HTTP API, the console and rows of the outbox table.

use std::borrow::Cow;
use std::fmt;

use super::SocketId;

/// The most characters of an event's name.
pub const MAX_NAME: usize = 200;

/// Why an event may not be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A part of the event is missing or wrong; the sentence is for its author.
    Bad(Cow<'static, str>),
    /// The data is too long; the sentence is for its author.
    TooLarge(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Bad(why) => f.write_str(why),
            Fault::TooLarge(why) => f.write_str(why),
        }
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

fn bad(why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::Bad(why.into())
}

/// Checks an event's name: it has 1 to [`MAX_NAME`] characters and is not a name of the protocol.
///
/// # Errors
/// See [`Fault`].
pub fn check_name(name: Option<&str>) -> Result<&str, Fault> {
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| bad("Missing parameter: name"))?;
    let length = name.chars().count();
    if length > MAX_NAME {
        return Err(bad(format!(
            "The event's name has {length} characters, {MAX_NAME} at most are allowed"
        )));
    }
    if name.starts_with("pusher:") || name.starts_with("pusher_internal:") {
        return Err(bad(format!(
            "Only the server publishes {name:?}: names with pusher: and pusher_internal: are reserved"
        )));
    }
    Ok(name)
}

/// Checks an event's data: it has at most `limit` bytes.
///
/// # Errors
/// See [`Fault`].
pub fn check_data(data: Option<&str>, limit: usize) -> Result<&str, Fault> {
    let data = data.ok_or_else(|| bad("Missing parameter: data"))?;
    if data.len() <= limit {
        return Ok(data);
    }
    Err(Fault::TooLarge(format!(
        "The data content of this event exceeds the allowed maximum ({limit} bytes). It has {} bytes.",
        data.len()
    )))
}

/// Parses the id of the socket that gets no copy. A well-formed id without a connection is allowed.
///
/// # Errors
/// See [`Fault`].
pub fn read_socket_id(text: &str) -> Result<SocketId, Fault> {
    text.parse()
        .map_err(|()| bad("Invalid socket_id: it is two numbers with a dot"))
}
