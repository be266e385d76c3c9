//! The messages of a WebSocket. Each message goes to the protocol of its connection, or waits until the needed facts
//! are known.

use std::time::Duration;

use super::asked;
use super::console::{self, Wanted};
use super::home::Home;
use super::members::{Members, Speaks};
use super::stats::Counts;
use super::waiting::{Said, Waiters, Waiting};
use crate::api::Api;
use crate::config::Config;
use crate::hub::apps::Apps;
use crate::hub::ask::is_ping;
use crate::id::ConnectionId;
use crate::logging::{Kind, More, Quiet};
use crate::protocol::actions::{Action, Actions, Message};
use crate::protocol::{Attempt, Verdict};
use crate::time::Now;

/// One connection while its messages are handled, with everything that this may need.
pub(super) struct Talk<'a> {
    pub(super) id: ConnectionId,
    pub(super) config: &'a Config,
    pub(super) counts: &'a mut Counts,
    pub(super) members: &'a mut Members,
    pub(super) waiters: &'a mut Waiters,
    pub(super) apps: &'a mut Apps,
    pub(super) api: &'a mut Api,
    pub(super) home: &'a mut Home,
    pub(super) quiet: &'a mut Quiet,
    pub(super) now: Now,
    pub(super) actions: &'a mut Actions,
}

impl Talk<'_> {
    /// Handles a message.
    pub(super) fn message(mut self, message: Message) {
        self.counts.messages_in += 1;
        let waits = self
            .members
            .get_mut(self.id)
            .is_some_and(|member| member.waiting().is_some());
        let is_ping = || matches!(&message, Message::Text(text) if is_ping(text));
        let first = Attempt {
            now: self.now,
            ..Attempt::default()
        };
        let rest = match waits && !is_ping() {
            true => Some(Said::Message(message)),
            false => self.process(Said::Message(message), &first),
        };
        if let Some(said) = rest {
            self.keep(said);
        }
    }

    /// Handles a message as far as the facts are known. Returns the part that must wait; `None`: it is done.
    fn process(&mut self, said: Said, attempt: &Attempt) -> Option<Said> {
        let (id, now, len) = (self.id, self.now, said.len());
        let member = self.members.get_mut(id)?;
        let actions = &mut *self.actions;
        let before = actions.list().len();
        let mut rest = None;
        match (&mut member.speaks, said) {
            (Speaks::Echo, Said::Message(message)) => actions.push(Action::Send(id, message)),
            (Speaks::Console(console), Said::Message(message)) => {
                let site = self.home.site_mut();
                let verdict = console.message(id, &message, site, attempt, self.config, actions);
                if let Some(Action::Close(..)) = actions.list()[before..].last()
                    && let Some(more) = self.quiet.allow(Kind::Token, now.at)
                {
                    log::warn!("{id} gave wrong tokens and is closed{}", More(more));
                }
                match verdict {
                    Verdict::Yes(None) => {}
                    Verdict::Yes(Some(event)) => self.publish(&event),
                    Verdict::No(reply) => actions.push(Action::Send(id, console::text(reply))),
                    Verdict::NotYet => rest = Some(Said::Message(message)),
                }
            }
            (Speaks::Pusher(app), said) => {
                let (site, app) = (self.home.of_mut(*app), self.apps.app_mut(*app));
                let asked = match said {
                    Said::Message(message) => app.message(id, &message, now, actions),
                    Said::Asked(asked, _) => asked,
                };
                if !asked::answer(&asked, id, app, site, attempt, self.counts, actions) {
                    rest = Some(Said::Asked(asked, len));
                }
            }
            (Speaks::Http | Speaks::Echo | Speaks::Console(_), _) => {
                debug_assert!(false, "a message came before its handshake was accepted");
            }
        }
        rest
    }

    /// Publishes an event of a console whose user may publish. It goes to the site's app, or to the only app, with the
    /// checks of the HTTP API.
    fn publish(&mut self, event: &Wanted) {
        let mut is_together = false;
        let outcome = match self.home.app().or_else(|| self.apps.only()) {
            Some(app) => {
                let app = self.apps.app_mut(app);
                is_together = app.together().is_some();
                let (channel, name, data) = (&event.channel, &event.name, &event.data);
                self.api.publish(app, channel, name, data, self.now, self.actions)
            }
            None => Err("there are several apps, or none, and no site that says which it is".into()),
        };
        let reply = console::text(console::published(outcome, is_together));
        self.actions.push(Action::Send(self.id, reply));
    }

    /// Keeps a message for later, behind those that wait already.
    fn keep(&mut self, said: Said) {
        let until = self.now.at + Duration::from_secs(self.config.joomla.identity_timeout);
        let Some(member) = self.members.get_mut(self.id) else {
            return;
        };
        let waiting = &mut member.rare.get_or_insert_default().waiting;
        if waiting.is_none() {
            self.waiters.insert(until, self.id);
        }
        let waiting = waiting.get_or_insert_with(|| Waiting::new(self.now.at, until));
        if waiting.push(said, self.config.limits.max_message_size) {
            self.actions.push(Action::Hold(self.id));
        }
    }

    /// Continues a connection's waiting messages as far as possible. `is_last`: the first message gets an answer in any
    /// case.
    pub(super) fn go_on(mut self, mut is_last: bool) {
        let Some(member) = self.members.get_mut(self.id) else {
            return;
        };
        if let Some((code, why)) = self.home.turned_away(self.id, &member.speaks) {
            return self.actions.push(Action::Close(self.id, code, why.into()));
        }
        if !is_last && self.home.site().is_some_and(|site| !site.is_known(self.id)) {
            return;
        }
        while let Some(waiting) = self.members.get_mut(self.id).and_then(|member| member.waiting())
            && let Some((said, attempt)) = waiting.pop(is_last, self.now)
        {
            let len = said.len();
            let rest = self.process(said, &attempt);
            let Some(waiting) = self.members.get_mut(self.id).and_then(|member| member.waiting()) else {
                return;
            };
            if let Some(said) = rest {
                debug_assert!(!is_last, "the last try gets an answer");
                let until = self.now.at + Duration::from_secs(self.config.joomla.identity_timeout);
                if waiting.wait_on(said, until, self.now.at) {
                    self.waiters.insert(until, self.id);
                }
                return;
            }
            is_last = false;
            waiting.answered(len);
        }
        let member = self.members.get_mut(self.id);
        if let Some(waiting) = member.and_then(|member| member.take(|rare| &mut rare.waiting)) {
            if waiting.held {
                self.actions.push(Action::Release(self.id));
            }
            self.waiters.remove(waiting.until, self.id);
        }
    }
}
