//! The settings of one target: which events it wants, and how a post for it looks.

use bytes::Bytes;

use super::event::{KINDS, Kind};
use crate::config;
use crate::protocol::actions::Post;
use crate::protocol::effects::HookEvent;
use crate::protocol::signature::hmac_hex;

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) app_id: String,
    key: String,
    secret: String,
    hook: config::Webhook,
    /// Whether the target wants an event, by kind.
    wants: [bool; KINDS.len()],
}

impl Receiver {
    pub(super) fn new(app: &config::App, hook: &config::Webhook) -> Self {
        Self {
            app_id: app.id.clone(),
            key: app.key.clone(),
            secret: app.secret.clone(),
            hook: hook.clone(),
            wants: KINDS.map(|kind| hook.events.iter().any(|wanted| wanted == kind)),
        }
    }

    /// Whether both are the same target: the app id and the URL are equal.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.app_id, &self.hook.url) == (&other.app_id, &other.hook.url)
    }

    /// The target's address for the log, without the query, which may hold a secret.
    pub(super) fn place(&self) -> &str {
        self.hook.url.split('?').next().unwrap_or_default()
    }

    /// Whether the target wants an event: true if the event is sent to it, false if the event is needed only because it
    /// may undo one that is sent.
    pub(super) fn interest(&self, event: &HookEvent) -> Option<bool> {
        if !event.channel().starts_with(&self.hook.channel_prefix) {
            return None;
        }
        let kind = Kind::of(event);
        let wanted = self.wants[kind as usize];
        let undoes = kind.opposite().is_some_and(|other| self.wants[other as usize]);
        (wanted || undoes).then_some(wanted)
    }

    /// The post with this ticket and body.
    pub(super) fn post(&self, ticket: u64, body: Bytes) -> Post {
        let own = [
            ("Content-Type", "application/json".to_owned()),
            ("X-Pusher-Key", self.key.clone()),
            ("X-Pusher-Signature", hmac_hex(&self.secret, &[&body])),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        Post {
            ticket,
            url: self.hook.url.clone(),
            headers: own.chain(self.hook.headers.iter().cloned()).collect(),
            body,
        }
    }
}
