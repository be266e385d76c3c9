//! One target: the events that it wants, the queue of its waiting events, and the retries. Only this file drops events,
//! and it counts each one.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::event::{
    Counts, KINDS, Kind, LIFE, LONGEST_PAUSE, ONE_MISS, Outcome, QUEUE_BYTES, QUEUE_EVENTS, Waiting, subject,
};
use super::grace::Grace;
use crate::config;
use crate::logging::{self, More, Quiet};
use crate::protocol::actions::{Action, Actions, Post};
use crate::protocol::effects::HookEvent;
use crate::protocol::room::give_back;
use crate::protocol::signature::hmac_hex;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Target {
    number: u32,
    app_id: String,
    key: String,
    secret: String,
    hook: config::Webhook,
    /// Whether the target wants an event, by kind.
    wants: [bool; KINDS.len()],
    grace: Grace,
    /// Set when departures no longer have a grace.
    hurried: bool,
    misses: Misses,
    /// The waiting events, oldest first. While a post is under way, it sends the first one.
    queue: VecDeque<Waiting>,
    bytes: usize,
    under_way: Option<u64>,
    attempts: u32,
    /// Failures since the last success. The target has this count, not the event: when an event is given up, the pauses
    /// before the next event's tries must not start again at one second.
    failures: u32,
    retry_at: Time,
    /// The first event of the queue was posted and refused with a status. So the target works, and may refuse only this
    /// event.
    refused: bool,
    counts: Counts,
}

/// The cache channels with a miss in the last [`ONE_MISS`].
#[derive(Debug, Default)]
struct Misses {
    channels: HashSet<String>,
    /// The same channels, in the order in which they are forgotten.
    ends: VecDeque<(Time, String)>,
}

impl Target {
    pub(super) fn new(number: u32, hurried: bool) -> Self {
        Self {
            number,
            app_id: String::new(),
            key: String::new(),
            secret: String::new(),
            hook: config::Webhook {
                url: String::new(),
                events: Vec::new(),
                channel_prefix: String::new(),
                headers: Vec::new(),
            },
            wants: Default::default(),
            grace: Grace::default(),
            hurried,
            misses: Misses::default(),
            queue: VecDeque::new(),
            bytes: 0,
            under_way: None,
            attempts: 0,
            failures: 0,
            retry_at: Time(0),
            refused: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn configure(&mut self, app: &config::App, hook: &config::Webhook) {
        self.app_id.clone_from(&app.id);
        self.key.clone_from(&app.key);
        self.secret.clone_from(&app.secret);
        self.hook.clone_from(hook);
        self.wants = Default::default();
        for kind in hook.events.iter().filter_map(|name| Kind::named(name)) {
            self.wants[kind] = true;
        }
    }

    /// Whether this is the target with this app id and URL.
    pub(super) fn is(&self, app_id: &str, url: &str) -> bool {
        self.app_id == app_id && self.hook.url == url
    }

    pub(super) fn app_id(&self) -> &str {
        &self.app_id
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

    /// Records an event; `body` is given only if the event is to be sent. When `hurried`, departures have no grace.
    pub(super) fn note(&mut self, event: &HookEvent, body: Option<Bytes>, now: Time, quiet: &mut Quiet) {
        let waiting = body.map(|body| Waiting { body, since: now });
        let mut out = self.end_grace(now);
        let channel = event.channel();
        match (Kind::of(event), subject(event)) {
            (kind, Some(subject)) if kind.is_departure() && !self.hurried => {
                self.grace.depart(channel, subject, waiting, now, &mut out);
            }
            (kind, Some(subject)) if !kind.is_departure() && self.grace.undo(channel, &subject, &mut out) => {}
            (Kind::CacheMiss, _) if !self.misses.is_new(channel, now) => {}
            _ => {
                if let Some(waiting) = waiting {
                    self.grace.pass(channel, waiting, &mut out);
                }
            }
        }
        self.enqueue(out, now, quiet);
    }

    /// From now on, departures have no grace.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// Ends the graces that are over and returns the released events.
    fn end_grace(&mut self, now: Time) -> Vec<Waiting> {
        let mut out = Vec::new();
        self.grace
            .release(if self.hurried { Time::NEVER } else { now }, &mut out);
        out
    }

    fn enqueue(&mut self, events: Vec<Waiting>, now: Time, quiet: &mut Quiet) {
        for event in events {
            self.bytes += event.body.len();
            self.queue.push_back(event);
            while self.queue.len() > QUEUE_EVENTS || self.bytes > QUEUE_BYTES {
                if !self.drop_oldest() {
                    break;
                }
                self.tell_drop("its queue is full", now, quiet);
            }
        }
    }

    /// Drops the oldest event that is not in a post; returns false if there is none.
    fn drop_oldest(&mut self) -> bool {
        let first = usize::from(self.under_way.is_some());
        let Some(event) = self.queue.remove(first) else {
            return false;
        };
        self.bytes -= event.body.len();
        self.counts.dropped += 1;
        self.refused &= first > 0;
        true
    }

    fn tell_drop(&self, why: &str, now: Time, quiet: &mut Quiet) {
        if let Some(more) = quiet.allow(logging::Kind::WebhookDropped, now) {
            log::warn!(
                "the oldest webhook event for {} was dropped: {why}; {} so far{}",
                self.place(),
                self.counts.dropped,
                More(more)
            );
        }
    }

    pub(super) fn due(&mut self, now: Time, actions: &mut Actions, quiet: &mut Quiet) {
        let out = self.end_grace(now);
        self.enqueue(out, now, quiet);
        if self.under_way.is_some() {
            return;
        }
        while self.queue.front().is_some_and(|event| event.since + LIFE <= now) {
            if self.refused {
                // The target may accept the next event. It waits a second, as after any first failure.
                self.failures = 0;
                self.retry_at = self.retry_at.min(now + Duration::from_secs(1));
            }
            self.drop_oldest();
            self.tell_drop("it is five minutes old", now, quiet);
        }
        if self.retry_at > now {
            return;
        }
        if let Some(event) = self.queue.front() {
            self.attempts = self.attempts.wrapping_add(1);
            let ticket = u64::from(self.number) << 32 | u64::from(self.attempts);
            self.under_way = Some(ticket);
            actions.push(Action::Post(Box::new(self.post(ticket, event.body.clone()))));
        }
    }

    fn post(&self, ticket: u64, body: Bytes) -> Post {
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

    pub(super) fn waits_for(&self, ticket: u64) -> bool {
        self.under_way == Some(ticket)
    }

    pub(super) fn posted(&mut self, outcome: Outcome<'_>, now: Time, quiet: &mut Quiet) {
        self.under_way = None;
        match outcome {
            Outcome::Done => {
                if let Some(event) = self.queue.pop_front() {
                    self.bytes -= event.body.len();
                    give_back(&mut self.queue);
                }
                self.counts.delivered += 1;
                self.refused = false;
                self.retry_at = now;
                if std::mem::take(&mut self.failures) > 0
                    && let Some(more) = quiet.allow(logging::Kind::Webhook, now)
                {
                    let waiting = self.queue.len();
                    log::info!("webhooks reach {} again; {waiting} wait{}", self.place(), More(more));
                }
            }
            Outcome::Refused(status) => {
                self.refused = true;
                self.fail(format_args!("it answered {status}"), now, quiet);
            }
            Outcome::Failed(why) => {
                self.refused = false;
                self.fail(format_args!("{why}"), now, quiet);
            }
        }
    }

    fn fail(&mut self, why: std::fmt::Arguments<'_>, now: Time, quiet: &mut Quiet) {
        let pause = Duration::from_secs(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.counts.failed += 1;
        self.retry_at = now + pause;
        let place = self.place();
        if self.failures > 1 {
            log::debug!("webhook {place} failed {} times in a row: {why}", self.failures);
        } else if let Some(more) = quiet.allow(logging::Kind::Webhook, now) {
            log::warn!(
                "webhook {place} failed: {why}; each event is tried for five minutes{}",
                More(more)
            );
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let queue = match self.queue.front() {
            Some(event) if self.under_way.is_none() => self.retry_at.min(event.since + LIFE),
            _ => Time::NEVER,
        };
        match self.grace.deadline() {
            Time::NEVER => queue,
            _ if self.hurried => Time(0),
            end => queue.min(end),
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.failures == 0 && (!self.queue.is_empty() || !self.grace.is_empty())
    }

    /// Whether nothing waits and no post is under way.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.bytes == 0 && self.under_way.is_none() && self.grace.is_empty()
    }

    #[cfg(test)]
    pub(super) fn remembered_misses(&self) -> usize {
        self.misses.channels.len().max(self.misses.ends.len())
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            waiting: self.queue.len() + self.grace.len(),
            ..self.counts
        }
    }
}

impl Misses {
    /// Whether the channel had no miss in the last [`ONE_MISS`]. Records the miss.
    fn is_new(&mut self, channel: &str, now: Time) -> bool {
        // Any client may cause a miss of any channel. So beyond the number of events in a full queue, the oldest
        // channels are forgotten early.
        while self
            .ends
            .front()
            .is_some_and(|(end, _)| *end <= now || self.ends.len() >= QUEUE_EVENTS)
            && let Some((_, channel)) = self.ends.pop_front()
        {
            self.channels.remove(&channel);
        }
        let new = self.channels.insert(channel.to_owned());
        if new {
            self.ends.push_back((now + ONE_MISS, channel.to_owned()));
        }
        new
    }
}
