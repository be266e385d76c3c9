//! Webhooks: which event is told to which target, when, and for how long it is tried again (pusher.md section 10). It
//! knows no socket: `due` says what is to be posted, `posted` is told how it went. One event a post, one post at a time
//! for each target, so the order in a target's queue is the order in which it hears.
//!
//! Every `[[apps.webhooks]]` is a target with its own grace, queue and retries: nothing that one target does or fails
//! to do reaches another. Several events in a post were the loser: the Pusher protocol knows it as an option of the
//! hosted service ("batching") and receivers that were written for the default look at the first event only.
//!
//! What each target hears of one channel keeps the order in which it happened. So an event behind a departure that is
//! still in its grace waits with it, at most as long as that. An event of another channel does not.

mod event;
mod grace;
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
use self::target::Target;

/// All targets of all apps.
#[derive(Debug)]
pub struct Webhooks {
    targets: Vec<Target>,
    /// The number of the next new target. It is never used again, so an outcome never reaches a successor.
    next: u32,
    /// What targets that were taken out of the configuration have counted.
    past: Counts,
    draining: bool,
    quiet: Quiet,
}

impl Webhooks {
    /// Nothing waits.
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

    /// Goes on with another configuration. A target with the same app id and URL keeps what waits for it; filters,
    /// headers and the secret are the new ones also for that. What waits for a target that is gone is dropped.
    pub fn reconfigure(&mut self, apps: &[config::App]) {
        let mut old = std::mem::take(&mut self.targets);
        for app in apps {
            for hook in &app.webhooks {
                let same = old.iter().position(|target| target.is(&app.id, &hook.url));
                let mut target = match same {
                    Some(place) => old.remove(place),
                    None => {
                        self.next = self.next.wrapping_add(1);
                        Target::new(self.next, self.draining)
                    }
                };
                target.configure(app, hook);
                self.targets.push(target);
            }
        }
        for target in old {
            let counts = target.counts();
            if counts.waiting > 0 {
                log::warn!(
                    "{} webhook events for {} are dropped: it is no longer configured",
                    counts.waiting,
                    target.place()
                );
            }
            self.past.add(&Counts {
                waiting: 0,
                dropped: counts.dropped + counts.waiting as u64,
                ..counts
            });
        }
    }

    /// Takes note of what happened in the app with this id.
    pub fn note(&mut self, app: &str, event: HookEvent, now: Now) {
        // Channels of the protocol itself are nobody's business (pusher.md 7.3).
        if event.channel().starts_with('#') {
            return;
        }
        let mut encoded: Option<Bytes> = None;
        for target in self.targets.iter_mut().filter(|target| target.app_id() == app) {
            let Some(wanted) = target.interest(&event) else {
                continue;
            };
            let body = wanted.then(|| encoded.get_or_insert_with(|| body(&event, now)).clone());
            target.note(&event, body, now.at, &mut self.quiet);
        }
    }

    /// Appends what is to be posted now: at most one post for each target, until its outcome is known.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        for target in &mut self.targets {
            target.due(now.at, actions, &mut self.quiet);
        }
    }

    /// How the post with this ticket went; `due` has the next one at once. An unknown ticket is that of a target that
    /// is no longer configured.
    pub fn posted(&mut self, ticket: u64, outcome: Outcome<'_>, now: Now) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.waits_for(ticket)) {
            target.posted(outcome, now.at, &mut self.quiet);
        }
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.targets.iter().map(Target::deadline).min().unwrap_or(Time::NEVER)
    }

    /// The server is going: nobody will return, so departures wait no longer.
    pub fn drain(&mut self) {
        self.draining = true;
        for target in &mut self.targets {
            target.hurry();
        }
    }

    /// Whether a target that does not fail is still to be told something: worth a moment before the process ends.
    pub fn is_busy(&self) -> bool {
        self.targets.iter().any(Target::is_busy)
    }

    /// Counts of all targets together.
    pub fn counts(&self) -> Counts {
        let mut all = self.past;
        for target in &self.targets {
            all.add(&target.counts());
        }
        all
    }
}

/// The body of a post. The time in it is that of the event, however late it is told.
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
