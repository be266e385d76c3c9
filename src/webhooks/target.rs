//! One target: the queue of its waiting events, and the retries. Only this file drops events, and it counts each one.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::event::{Counts, Kind, LIFE, LONGEST_PAUSE, ONE_MISS, Outcome, QUEUE_BYTES, QUEUE_EVENTS, Waiting, subject};
use super::grace::Grace;
use super::receiver::Receiver;
use crate::logging::{self, More, Quiet};
use crate::protocol::actions::{Action, Actions};
use crate::protocol::effects::HookEvent;
use crate::protocol::room::give_back;
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Target {
    number: u32,
    pub(super) receiver: Receiver,
    grace: Grace,
    /// Set when departures no longer have a grace.
    hurried: bool,
    misses: Misses,
    /// The waiting events, oldest first. While a post is under way, it sends the first one.
    queue: VecDeque<Waiting>,
    bytes: usize,
    tries: Tries,
    counts: Counts,
}

/// The tries to send the first event of the queue.
#[derive(Debug, Default)]
struct Tries {
    /// The ticket of the post that has no outcome yet.
    under_way: Option<u64>,
    /// The number of posts so far.
    count: u32,
    /// Failures since the last success. The target has this count, not the event: when an event is given up, the pauses
    /// before the next event's tries must not start again at one second.
    failures: u32,
    /// The reason that the log has named last. Another one is named too, not only the first of a row.
    told: String,
    retry_at: Time,
    /// The first event of the queue was posted and refused with a status. So the target works, and may refuse only this
    /// event.
    refused: bool,
}

/// The cache channels with a miss in the last [`ONE_MISS`].
#[derive(Debug, Default)]
struct Misses {
    channels: HashSet<String>,
    /// The same channels, in the order in which they are forgotten.
    ends: VecDeque<(Time, String)>,
}

impl Target {
    pub(super) fn new(number: u32, receiver: Receiver, hurried: bool) -> Self {
        Self {
            number,
            receiver,
            grace: Grace::default(),
            hurried,
            misses: Misses::default(),
            queue: VecDeque::new(),
            bytes: 0,
            tries: Tries::default(),
            counts: Counts::default(),
        }
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
        let first = usize::from(self.tries.under_way.is_some());
        let Some(event) = self.queue.remove(first) else {
            return false;
        };
        self.bytes -= event.body.len();
        self.counts.dropped += 1;
        self.tries.refused &= first > 0;
        true
    }

    fn tell_drop(&self, why: &str, now: Time, quiet: &mut Quiet) {
        if let Some(more) = quiet.allow(logging::Kind::WebhookDropped, now) {
            log::warn!(
                "the oldest webhook event for {} was dropped: {why}; {} so far{}",
                self.receiver.place(),
                self.counts.dropped,
                More(more)
            );
        }
    }

    pub(super) fn due(&mut self, now: Time, actions: &mut Actions, quiet: &mut Quiet) {
        let out = self.end_grace(now);
        self.enqueue(out, now, quiet);
        if self.tries.under_way.is_some() {
            return;
        }
        while self.queue.front().is_some_and(|event| event.since + LIFE <= now) {
            if self.tries.refused {
                // The target may accept the next event. It waits a second, as after any first failure.
                self.tries.failures = 0;
                self.tries.retry_at = self.tries.retry_at.min(now + Duration::from_secs(1));
            }
            self.drop_oldest();
            self.tell_drop("it is five minutes old", now, quiet);
        }
        if self.tries.retry_at > now {
            return;
        }
        if let Some(event) = self.queue.front() {
            self.tries.count = self.tries.count.wrapping_add(1);
            let ticket = u64::from(self.number) << 32 | u64::from(self.tries.count);
            self.tries.under_way = Some(ticket);
            log::debug!(
                "webhook {} is sent one of {} events",
                self.receiver.place(),
                self.queue.len()
            );
            actions.push(Action::Post(Box::new(self.receiver.post(ticket, event.body.clone()))));
        }
    }

    pub(super) fn waits_for(&self, ticket: u64) -> bool {
        self.tries.under_way == Some(ticket)
    }

    pub(super) fn posted(&mut self, outcome: Outcome<'_>, now: Time, quiet: &mut Quiet) {
        self.tries.under_way = None;
        match outcome {
            Outcome::Done => {
                if let Some(event) = self.queue.pop_front() {
                    self.bytes -= event.body.len();
                    give_back(&mut self.queue);
                }
                self.counts.delivered += 1;
                log::debug!("webhook {} has taken an event", self.receiver.place());
                self.tries.refused = false;
                self.tries.retry_at = now;
                if std::mem::take(&mut self.tries.failures) > 0
                    && let Some(more) = quiet.allow(logging::Kind::Webhook, now)
                {
                    let waiting = self.queue.len();
                    log::info!(
                        "webhooks reach {} again; {waiting} wait{}",
                        self.receiver.place(),
                        More(more)
                    );
                }
            }
            Outcome::Refused(status) => {
                self.tries.refused = true;
                self.fail(format_args!("it answered {status}"), now, quiet);
            }
            Outcome::Failed(why) => {
                self.tries.refused = false;
                self.fail(format_args!("{why}"), now, quiet);
            }
        }
    }

    fn fail(&mut self, why: std::fmt::Arguments<'_>, now: Time, quiet: &mut Quiet) {
        let pause = Duration::from_secs(1 << self.tries.failures.min(16)).min(LONGEST_PAUSE);
        self.tries.failures = self.tries.failures.saturating_add(1);
        self.counts.failed += 1;
        self.tries.retry_at = now + pause;
        let (place, failures) = (self.receiver.place(), self.tries.failures);
        let why = why.to_string();
        if failures > 1 && why == self.tries.told {
            log::debug!("webhook {place} failed {failures} times in a row: {why}");
        } else if let Some(more) = quiet.allow(logging::Kind::Webhook, now) {
            log::warn!(
                "webhook {place} failed: {why}; each event is tried for five minutes{}",
                More(more)
            );
            self.tries.told = why;
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let queue = match self.queue.front() {
            Some(event) if self.tries.under_way.is_none() => self.tries.retry_at.min(event.since + LIFE),
            _ => Time::NEVER,
        };
        match self.grace.deadline() {
            Time::NEVER => queue,
            _ if self.hurried => Time(0),
            end => queue.min(end),
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.tries.failures == 0 && (!self.queue.is_empty() || !self.grace.is_empty())
    }

    /// Whether nothing waits and no post is under way.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.bytes == 0 && self.tries.under_way.is_none() && self.grace.is_empty()
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
