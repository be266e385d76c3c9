//! The HTTP of webhooks: sends the posts that the service asked for, and reports to the service how each of them ended.

use crate::config::Config;
use crate::flight::Kind;
use crate::net::io::{Io, Socket};
use crate::net::outgoing::{Outgoing, Request};
use crate::protocol::actions::Post;
use crate::time::Time;
use crate::trust::Trust;

use super::act::Dispatcher;

/// The connections to the targets of webhooks.
#[derive(Debug)]
pub(super) struct Posts<S> {
    pub(super) outgoing: Outgoing<S>,
}

impl<S: Socket> Posts<S> {
    pub(super) fn new(config: &Config) -> Self {
        let mut posts = Self {
            outgoing: Outgoing::new(),
        };
        posts.configure(config);
        posts
    }

    pub(super) fn configure(&mut self, config: &Config) {
        let hooks = || config.apps.iter().flat_map(|app| &app.webhooks);
        self.outgoing.configure(hooks().map(|hook| hook.url.as_str()));
        // A redirect may lead from http to https.
        if hooks().next().is_some() {
            match Trust::new(&config.tls.authorities()) {
                Ok(trust) => self.outgoing.secure(trust.client().into()),
                // The file was good a moment ago, when the configuration was read.
                Err(bad) => log::error!("webhooks over https trust the same authorities as before: {bad}"),
            }
        }
    }

    /// Sends and receives the bytes of posts, reports outcomes to the service, and lets the service do the work that is
    /// due.
    pub(super) fn carry<I: Io<Socket = S>>(&mut self, dispatcher: &mut Dispatcher<I>, buffer: &mut [u8]) {
        self.turn(dispatcher, buffer);
        for outcome in self.outgoing.outcomes() {
            let result = outcome.result.as_ref().map(|status| *status).map_err(String::as_str);
            dispatcher.decisions.posted(outcome.ticket, result, dispatcher.now);
            dispatcher.piece(|culprit| culprit.kind = Kind::Webhooks);
        }
        dispatcher.due();
        // A connection that was kept can take its next post at once.
        self.turn(dispatcher, buffer);
    }

    fn turn<I: Io<Socket = S>>(&mut self, dispatcher: &mut Dispatcher<I>, buffer: &mut [u8]) {
        if dispatcher.posts.is_empty() && self.outgoing.is_idle() {
            return;
        }
        let now = dispatcher.now.at;
        let posts = dispatcher.posts.len();
        let url = dispatcher.posts.last().map(|post| post.url.clone());
        for post in dispatcher.posts.drain(..) {
            self.outgoing.start(request(post), &mut dispatcher.io, now);
        }
        let is_busy = self.outgoing.turn(&mut dispatcher.io, buffer, now);
        if posts > 0 || is_busy {
            dispatcher.piece(|culprit| {
                (culprit.kind, culprit.count) = (Kind::Webhooks, posts as u32);
                culprit.append(url.as_deref().unwrap_or_default());
            });
        }
    }

    /// When `carry` must be called next if nothing becomes ready.
    pub(super) fn deadline(&self) -> Time {
        self.outgoing.deadline()
    }
}

/// A post as it is sent. The upper half of its ticket is the number of its target.
fn request(post: Post) -> Request {
    Request {
        target: (post.ticket >> 32) as u32,
        ticket: post.ticket,
        url: post.url,
        headers: post.headers,
        body: post.body,
    }
}
