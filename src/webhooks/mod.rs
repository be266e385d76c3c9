//! Webhooks: which event is sent to which target, when, and for how long it is retried (pusher.md section 10). This
//! module uses no sockets: `due` returns what to post now, and `posted` takes the outcome of a post. A post has one
//! event, and each target has at most one post under way. So a target receives events in the order of its queue.
//!
//! Every `[[apps.webhooks]]` is a target with its own grace, queue and retries, so a target that fails does not affect
//! another one. Rejected: several events in one post. In the Pusher protocol this is an option of the hosted service
//! ("batching"), and receivers that were written for the default read only the first event.
//!
//! Each target receives the events of one channel in the order in which they happened. So an event that follows a
//! departure in its grace waits behind the departure, at most until that grace ends. An event of another channel does
//! not wait.

mod event;
mod grace;
mod receiver;
mod target;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::Serialize;

use crate::config;
use crate::logging::Quiet;
use crate::protocol::actions::Actions;
pub use crate::protocol::effects::HookEvent;
use crate::time::{Now, Time};

pub use self::event::{Counts, GRACE, KINDS, LIFE, LONGEST_PAUSE, ONE_MISS, Outcome, QUEUE_BYTES, QUEUE_EVENTS};
use self::receiver::Receiver;
use self::target::Target;

/// All targets of all apps.
#[derive(Debug)]
pub struct Webhooks {
    targets: Vec<Target>,
    /// The number of the next new target. Numbers are never reused, so an outcome never reaches a later target by
    /// mistake.
    next: u32,
    /// The counts of targets that were removed from the configuration.
    past: Counts,
    draining: bool,
    quiet: Quiet,
}

impl Webhooks {
    /// Creates the targets of these apps, with empty queues.
    pub fn new(apps: &[config::App]) -> Self {
        let mut webhooks = Self {
            targets: Vec::new(),
            next: 0,
            past: Counts::default(),
            draining: false,
            quiet: Quiet::new(),
        };
        webhooks.reconfigure(apps);
        webhooks
    }

    /// Applies a new configuration. A target with the same app id and URL keeps its waiting events; the new filters,
    /// headers and secret also apply to them. The waiting events of a removed target are dropped.
    pub fn reconfigure(&mut self, apps: &[config::App]) {
        let mut old = std::mem::take(&mut self.targets);
        for app in apps {
            for hook in &app.webhooks {
                let receiver = Receiver::new(app, hook);
                match old.iter().position(|target| target.receiver.is_same(&receiver)) {
                    Some(place) => {
                        let mut target = old.remove(place);
                        target.receiver = receiver;
                        self.targets.push(target);
                    }
                    None => {
                        self.next = self.next.wrapping_add(1);
                        self.targets.push(Target::new(self.next, receiver, self.draining));
                    }
                }
            }
        }
        for target in old {
            let counts = target.counts();
            if counts.waiting > 0 {
                log::warn!(
                    "{} webhook events for {} are dropped: it is no longer configured",
                    counts.waiting,
                    target.receiver.place()
                );
            }
            self.past.add(&Counts {
                waiting: 0,
                dropped: counts.dropped + counts.waiting as u64,
                ..counts
            });
        }
    }

    /// Records an event of the app with this id.
    pub fn note(&mut self, app: &str, event: HookEvent, now: Now) {
        // The protocol's own channels cause no webhooks (pusher.md 7.3).
        if event.channel().starts_with('#') {
            return;
        }
        let mut encoded: Option<Bytes> = None;
        for target in self.targets.iter_mut().filter(|target| target.receiver.app_id == app) {
            let Some(wanted) = target.receiver.interest(&event) else {
                continue;
            };
            let body = wanted.then(|| encoded.get_or_insert_with(|| body(&event, now)).clone());
            target.note(&event, body, now.at, &mut self.quiet);
        }
    }

    /// Appends the posts to send now: at most one for each target, and none for a target whose last post has no outcome
    /// yet.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        for target in &mut self.targets {
            target.due(now.at, actions, &mut self.quiet);
        }
    }

    /// Records the outcome of the post with this ticket; then `due` returns the next post at once. An unknown ticket
    /// belongs to a target that is no longer configured.
    pub fn posted(&mut self, ticket: u64, outcome: Outcome<'_>, now: Now) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.waits_for(ticket)) {
            target.posted(outcome, now.at, &mut self.quiet);
        }
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.targets.iter().map(Target::deadline).min().unwrap_or(Time::NEVER)
    }

    /// The server is shutting down. No client can return, so departures wait no longer.
    pub fn drain(&mut self) {
        self.draining = true;
        for target in &mut self.targets {
            target.hurry();
        }
    }

    /// Whether a working target still has events to receive. Then the process should wait a moment before it ends.
    pub fn is_busy(&self) -> bool {
        self.targets.iter().any(Target::is_busy)
    }

    /// The counts of all targets together.
    pub fn counts(&self) -> Counts {
        let mut all = self.past;
        for target in &self.targets {
            all.add(&target.counts());
        }
        all
    }
}

/// The body of a post. Its time is that of the event, however late it is sent.
fn body(event: &HookEvent, now: Now) -> Bytes {
    #[derive(Serialize)]
    struct Body<'a> {
        time_ms: u64,
        events: [&'a HookEvent; 1],
    }
    let body = Body {
        time_ms: now.unix_ms,
        events: [event],
    };
    serde_json::to_vec(&body)
        .expect("strings and numbers always have a JSON form")
        .into()
}
