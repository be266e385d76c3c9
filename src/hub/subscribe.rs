//! The data of `pusher:subscribe` (pusher.md sections 3 and 4), how it is checked, and what the client gets if it is
//! rejected.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::credentials::{Credentials, Ids, read_member};
use super::session::Session;
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::{Member, SocketId, event, frames};

/// The data of `pusher:subscribe`.
#[derive(Debug, Deserialize)]
pub struct Subscribe {
    pub(super) channel: Box<str>,
    #[serde(default)]
    auth: Option<Box<RawValue>>,
    #[serde(default)]
    channel_data: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) since: Option<Since>,
}

#[derive(Deserialize)]
pub(super) struct Unsubscribe<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
}

/// Why a subscription is rejected, in the form of soketi's `subscription_error` (the only form that names the channel)
/// and of the `pusher:error` that follows it.
pub(super) struct Refusal {
    kind: &'static str,
    status: u16,
    error: Cow<'static, str>,
}

impl Refusal {
    /// Informs the client: in soketi's form, which names the channel, and in Pusher's form.
    pub(super) fn tell(&self, id: ConnectionId, channel: &str, actions: &mut Actions) {
        #[derive(serde::Serialize)]
        struct Data<'a> {
            r#type: &'a str,
            error: &'a str,
            status: u16,
        }
        // A name that is too long is not repeated in full.
        let shown: String = channel.chars().take(event::MAX_NAME).collect();
        let data = Data {
            r#type: self.kind,
            error: &self.error,
            status: self.status,
        };
        actions.send(id, frames::plain("pusher:subscription_error", Some(&shown), &data));
        actions.send(id, frames::error(&self.error, None));
    }

    pub(super) fn auth(error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: "AuthError",
            status: 401,
            error: error.into(),
        }
    }

    pub(super) fn name(error: &'static str) -> Self {
        Self {
            kind: "InvalidChannel",
            status: 4009,
            error: error.into(),
        }
    }

    /// The site's rules deny access.
    pub(super) fn access(error: &'static str) -> Self {
        Self {
            kind: "AccessDenied",
            status: 403,
            error: error.into(),
        }
    }

    /// The site's rules allowed access before and deny it now.
    pub(super) fn withdrawn(error: &'static str) -> Self {
        Self {
            kind: "AccessWithdrawn",
            ..Self::access(error)
        }
    }

    pub(super) fn limit(error: String) -> Self {
        Self {
            kind: "LimitReached",
            status: 4100,
            error: error.into(),
        }
    }
}

/// The permission for a connection to join a channel.
#[derive(Debug)]
pub struct Ticket<'a> {
    pub(super) subscribe: &'a Subscribe,
    pub(super) name: ChannelName<'a>,
    pub(super) member: Option<Member>,
    pub(super) by_rule: bool,
}

impl Subscribe {
    /// Whether the request has no signature at all. A wrong signature is rejected, whatever the site's rules allow.
    pub(super) fn is_unsigned(&self) -> bool {
        let auth = self.auth.as_ref();
        auth.is_none_or(|auth| matches!(auth.get(), "null" | "\"\""))
    }

    /// Checks what this kind of channel requires: nothing, a signature, or a signed member.
    pub(super) fn check(
        &self,
        name: ChannelName<'_>,
        session: &Session,
        credentials: &Credentials<'_>,
    ) -> Result<Option<Member>, Refusal> {
        match name.kind() {
            Kind::Public | Kind::ServerToUser => Ok(None),
            Kind::Private | Kind::Encrypted => {
                self.check_signature(name, session.socket, credentials)?;
                Ok(None)
            }
            Kind::Presence => self.check_member(name, session, credentials).map(Some),
        }
    }

    /// Checks `auth`. On presence channels the signature covers `channel_data`; on private channels it may cover it.
    fn check_signature(
        &self,
        name: ChannelName<'_>,
        socket: SocketId,
        credentials: &Credentials<'_>,
    ) -> Result<(), Refusal> {
        let socket = socket.to_string();
        let auth = match self
            .auth
            .as_ref()
            .map(|auth| serde_json::from_str::<Option<Cow<'_, str>>>(auth.get()))
        {
            Some(Ok(Some(auth))) => auth,
            None | Some(Ok(None)) => "".into(),
            Some(Err(_)) => return Err(Refusal::auth("`auth` is not a string")),
        };
        let channel_data = match self
            .channel_data
            .as_ref()
            .map(|data| serde_json::from_str::<Option<Cow<'_, str>>>(data.get()))
        {
            Some(Ok(data)) => data,
            None => None,
            Some(Err(_)) => return Err(Refusal::auth("`channel_data` is not a string")),
        };
        if auth.is_empty() {
            return Err(Refusal::auth("the channel needs an `auth` signature"));
        }
        let Some((key, given)) = auth.split_once(':') else {
            return Err(Refusal::auth("`auth` has the form key:signature"));
        };
        if key != credentials.key {
            return Err(Refusal::auth(format!("Invalid key in subscription auth data: '{key}'")));
        }
        let matches = |parts: &[&[u8]]| credentials.matches(parts, given);
        let short: [&[u8]; 3] = [socket.as_bytes(), b":", name.as_str().as_bytes()];
        let signed = match &channel_data {
            None => matches(&short),
            Some(data) => {
                let long: [&[u8]; 5] = [short[0], short[1], short[2], b":", data.as_bytes()];
                let either = name.kind() != Kind::Presence;
                matches(&long) | (either && matches(&short))
            }
        };
        if signed {
            return Ok(());
        }
        let form = channel_data.map_or_else(String::new, |data| format!(":{data}"));
        Err(Refusal::auth(format!(
            "Invalid signature: Expected HMAC SHA256 hex digest of {socket}:{}{form}, but got {given}",
            name.as_str(),
        )))
    }

    fn check_member(
        &self,
        name: ChannelName<'_>,
        session: &Session,
        credentials: &Credentials<'_>,
    ) -> Result<Member, Refusal> {
        self.check_signature(name, session.socket, credentials)?;
        let signed = self
            .channel_data
            .as_ref()
            .and_then(|data| serde_json::from_str::<Option<String>>(data.get()).ok());
        let member = match signed.flatten() {
            Some(channel_data) => {
                read_member(&channel_data, "user_id", Ids::StringsAndNumbers).map_err(Refusal::auth)?
            }
            None => match &session.user {
                Some(user) => user.member.clone(),
                None => {
                    let why = "a presence channel needs `channel_data`, or a sign-in first";
                    return Err(Refusal::auth(why));
                }
            },
        };
        let most = credentials.max_user_info_size;
        if member.user_info.as_ref().is_some_and(|info| info.get().len() > most) {
            return Err(Refusal::limit(format!("user_info has at most {most} bytes")));
        }
        Ok(member)
    }
}

impl<'a> Ticket<'a> {
    /// The channel's name.
    pub fn channel(&self) -> &'a str {
        self.name.as_str()
    }
}

/// One position, or one position for each stream.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Since {
    /// One position.
    One(String),
    /// A list of positions.
    Many(Vec<String>),
}

impl Since {
    /// The positions; at most one for each stream is read.
    pub(super) fn given(&self) -> &[String] {
        match self {
            Since::One(position) => std::slice::from_ref(position),
            Since::Many(positions) => &positions[..positions.len().min(2)],
        }
    }
}
