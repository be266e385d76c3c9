//! The data of `pusher:subscribe` (pusher.md sections 3 and 4), whether the connection may subscribe, and the refusal
//! that the client gets otherwise.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::credentials::{Credentials, read_member};
use super::session::Session;
use super::visible::Visible;
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::{Member, Ruling, SocketId, Verdict, event, frames};

/// The data of `pusher:subscribe`.
#[derive(Debug, Deserialize)]
pub struct Subscribe {
    channel: Box<str>,
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

/// The kind and status of a refusal: the signature is missing or wrong.
const AUTH: (&str, u16) = ("AuthError", 401);

/// The same: the channel's name is not valid.
const NAME: (&str, u16) = ("InvalidChannel", 4009);

/// The same: the site's rules deny access.
const ACCESS: (&str, u16) = ("AccessDenied", 403);

/// The same: the site's rules allowed access before and deny it now.
pub(super) const WITHDRAWN: (&str, u16) = ("AccessWithdrawn", 403);

/// The same: a limit is reached.
const LIMIT: (&str, u16) = ("LimitReached", 4100);

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
        // A reason that was made at run time may repeat a signature or the data of a member.
        match &self.error {
            Cow::Borrowed(why) => log::debug!("{id} may not be subscribed to {shown}: {}, {why}", self.kind),
            Cow::Owned(_) => log::debug!("{id} may not be subscribed to {shown}: {}", self.kind),
        }
        let data = Data {
            r#type: self.kind,
            error: &self.error,
            status: self.status,
        };
        actions.send(id, frames::plain("pusher:subscription_error", Some(&shown), &data));
        actions.send(id, frames::error(&self.error, None));
    }

    pub(super) fn new((kind, status): (&'static str, u16), error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            status,
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
    /// Whether a connection may subscribe. If not, the connection gets the reason. A valid signature is always enough.
    /// Without a signature, `rule` gives the verdict of the site's rules.
    pub(super) fn admit(
        &self,
        id: ConnectionId,
        visible: Visible<'_>,
        credentials: &Credentials<'_>,
        rule: impl FnOnce(ChannelName<'_>) -> Ruling,
        actions: &mut Actions,
    ) -> Verdict<Ticket<'_>, ()> {
        let verdict = self.find_ticket(id, visible, credentials, rule, actions);
        verdict.unwrap_or_else(|refusal| {
            refusal.tell(id, &self.channel, actions);
            Verdict::No(())
        })
    }

    fn find_ticket(
        &self,
        id: ConnectionId,
        visible: Visible<'_>,
        credentials: &Credentials<'_>,
        rule: impl FnOnce(ChannelName<'_>) -> Ruling,
        actions: &mut Actions,
    ) -> Result<Verdict<Ticket<'_>, ()>, Refusal> {
        let name = ChannelName::parse(&self.channel).map_err(|why| Refusal::new(NAME, why))?;
        let roster = visible.here();
        let Some(session) = roster.find(id) else {
            return Ok(Verdict::No(()));
        };
        let channel = roster.channel_index(&self.channel);
        let is_subscribed = match name.user() {
            Some(_) => session.user.as_ref().is_some_and(|user| user.subscribed),
            None => channel.is_some_and(|channel| session.find(channel).is_some()),
        };
        if is_subscribed {
            let why = format!("Existing subscription to channel {}", self.channel);
            actions.send(id, frames::error(&why, None));
            return Ok(Verdict::No(()));
        }
        let settings = credentials.settings;
        let most = settings.max_channels;
        if session.subscriptions.len() >= most {
            let why = format!("a connection has at most {most} channels");
            return Err(Refusal::new(LIMIT, why));
        }
        if roster.bytes >= settings.subscription_bytes {
            return Err(Refusal::new(LIMIT, "the app has no room for more subscriptions"));
        }
        let user = session.user.as_ref().map(|user| &*user.member.user_id);
        if name.kind() == Kind::ServerToUser && user != name.user() {
            return Err(Refusal::new(AUTH, "the channel belongs to another user; sign in first"));
        }
        let is_ruled = name.kind() != Kind::ServerToUser && self.is_unsigned();
        let (member, by_rule) = match is_ruled.then(|| rule(name)).flatten() {
            Some(Verdict::Yes(member)) => (member, true),
            Some(Verdict::No(why)) => return Err(Refusal::new(ACCESS, why)),
            Some(Verdict::NotYet) => return Ok(Verdict::NotYet),
            None => (self.check(name, session, credentials)?, false),
        };
        if let Some(member) = &member {
            let most = settings.max_presence_members;
            let own = channel.map(|channel| &roster.channels[channel]);
            if visible.users(&self.channel, own) >= most && !visible.is_member(&self.channel, own, &member.user_id) {
                let why = format!("a presence channel has at most {most} members");
                return Err(Refusal::new(LIMIT, why));
            }
        }
        Ok(Verdict::Yes(Ticket {
            subscribe: self,
            name,
            member,
            by_rule,
        }))
    }

    /// Whether the request has no signature at all. A wrong signature is rejected even if the rules allow access.
    fn is_unsigned(&self) -> bool {
        let auth = self.auth.as_ref();
        auth.is_none_or(|auth| matches!(auth.get(), "null" | "\"\""))
    }

    /// Checks what this kind of channel requires: nothing, a signature, or a signed member.
    fn check(
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
        let auth = text(self.auth.as_deref(), "auth")?.unwrap_or_default();
        let channel_data = text(self.channel_data.as_deref(), "channel_data")?;
        if auth.is_empty() {
            return Err(Refusal::new(AUTH, "the channel needs an `auth` signature"));
        }
        let short = format!("{socket}:{}", name.as_str());
        let long = channel_data.map(|data| format!("{short}:{data}"));
        let messages: &[&str] = match &long {
            None => &[&short],
            Some(long) if name.kind() == Kind::Presence => &[long],
            Some(long) => &[long, &short],
        };
        credentials
            .check(&auth, messages, "subscription", messages[0])
            .map_err(|why| Refusal::new(AUTH, why))
    }

    fn check_member(
        &self,
        name: ChannelName<'_>,
        session: &Session,
        credentials: &Credentials<'_>,
    ) -> Result<Member, Refusal> {
        self.check_signature(name, session.socket, credentials)?;
        let member = match text(self.channel_data.as_deref(), "channel_data")? {
            Some(channel_data) => read_member(&channel_data, "user_id").map_err(|why| Refusal::new(AUTH, why))?,
            None => match &session.user {
                Some(user) => user.member.clone(),
                None => {
                    let why = "a presence channel needs `channel_data`, or a sign-in first";
                    return Err(Refusal::new(AUTH, why));
                }
            },
        };
        let most = credentials.settings.max_user_info_size;
        if member.user_info.as_ref().is_some_and(|info| info.get().len() > most) {
            return Err(Refusal::new(LIMIT, format!("user_info has at most {most} bytes")));
        }
        Ok(member)
    }
}

/// A field that is a string, null or absent.
fn text<'a>(field: Option<&'a RawValue>, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    let read = field.map(|field| serde_json::from_str::<Option<Cow<'_, str>>>(field.get()));
    let read = read.transpose().map(Option::flatten);
    read.map_err(|_| Refusal::new(AUTH, format!("`{name}` is not a string")))
}

/// The channel, and why the connection may subscribe. Of a member only the id.
impl fmt::Display for Ticket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.name.kind() {
            Kind::Public => "open to everybody",
            Kind::ServerToUser => "by its sign-in",
            _ if self.by_rule => "by the site's rules",
            _ => "by its signature",
        };
        write!(f, "{} ({by})", self.name.as_str())?;
        match &self.member {
            Some(member) => write!(f, " as member {}", member.user_id),
            None => Ok(()),
        }
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
