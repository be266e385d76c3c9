//! What the supervisor does with one worker after the other: a reload, and the replacement of all workers.
//!
//! Before a reload each worker weighs the new configuration: one that a worker would refuse, because it closes that
//! worker's connections, is used by none. So all workers have the same one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::slots::{START, Said, Slots};
use super::{drain_time, follow};
use crate::config::{Config, Sources};
use crate::net::supervised::{Order, Word};

/// How long a worker may take to weigh a configuration, or to use it.
const ANSWER: Duration = Duration::from_secs(30);

/// See the top of this file.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing is done.
    Idle,
    /// These workers weigh the configuration.
    Weighing {
        asked: Vec<u32>,
        config: Box<Config>,
        until: Instant,
    },
    /// The first of these workers reads the configuration, the others will.
    Reloading {
        remaining: VecDeque<u32>,
        /// When the first one is late; `None`: it was not asked yet.
        until: Option<Instant>,
    },
    /// The first of these workers is replaced, the others will.
    Replacing { remaining: VecDeque<u32>, step: Step },
}

/// How far the replacement of one worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is done yet.
    Begin,
    /// Its successor starts, and must serve by then.
    Starting(Instant),
    /// It drains.
    Leaving,
}

impl Plan {
    /// Reads the configuration, and lets the workers weigh it.
    pub(super) fn reload(sources: &Sources, slots: &mut Slots, now: Instant) -> Self {
        let loaded = match sources.load() {
            Ok(loaded) => loaded,
            Err(error) => return refuse(&error.to_string().replace('\n', "; "), slots),
        };
        let asked = slots.ready().map(|worker| {
            worker.order(Order::Weigh);
            worker.number
        });
        Self::Weighing {
            asked: asked.collect(),
            config: Box::new(loaded.config),
            until: now + ANSWER,
        }
    }

    /// Replaces all workers.
    pub(super) fn replace(slots: &Slots) -> Self {
        log::info!("the workers are replaced, one after the other");
        Self::Replacing {
            remaining: slots.numbers().collect(),
            step: Step::Begin,
        }
    }

    /// When the plan goes on although nothing has happened.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Weighing { until, .. } => Some(*until),
            Self::Reloading { until, .. } => *until,
            Self::Replacing {
                step: Step::Starting(until),
                ..
            } => Some(*until),
            Self::Idle | Self::Replacing { .. } => None,
        }
    }

    /// Goes on as far as possible. `config`: the configuration that the workers have.
    pub(super) fn go_on(&mut self, words: &[Said], slots: &mut Slots, config: &mut Config, now: Instant) {
        let next = match self {
            Self::Idle => None,
            Self::Weighing {
                asked,
                config: new,
                until,
            } => weigh(words, asked, *until, slots, now).map(|verdict| match verdict {
                Ok(()) => {
                    follow(new);
                    config.clone_from(new);
                    let remaining = slots.numbers().collect();
                    Self::Reloading { remaining, until: None }
                }
                Err(why) => refuse(&why, slots),
            }),
            Self::Reloading { remaining, until } => reload(words, remaining, until, slots, now).then_some(Self::Idle),
            Self::Replacing { remaining, step } => replace(remaining, step, slots, config, now).then_some(Self::Idle),
        };
        let Some(next) = next else { return };
        *self = next;
        // A plan that was idle stays idle, so this ends.
        if !matches!(self, Self::Idle) {
            self.go_on(&[], slots, config, now);
        }
    }
}

/// The configuration is not used. Files that were renamed, and certificates, are opened again all the same.
fn refuse(why: &str, slots: &mut Slots) -> Plan {
    log::error!("the configuration stays as it was: {why}");
    slots.ready().for_each(|worker| worker.order(Order::Refresh));
    Plan::Idle
}

/// Whether all workers would use the configuration; `None`: an answer is missing.
fn weigh(
    words: &[Said],
    asked: &mut Vec<u32>,
    until: Instant,
    slots: &mut Slots,
    now: Instant,
) -> Option<Result<(), String>> {
    for (number, word) in words {
        match word {
            Word::Unfit(why) => return Some(Err(format!("worker {number}: {why}"))),
            Word::Fit => asked.retain(|waiting| waiting != number),
            _ => {}
        }
    }
    // A worker that died meanwhile reads the file when it starts.
    asked.retain(|number| slots.worker(*number).is_some_and(|worker| worker.is_ready()));
    match asked.first() {
        None => Some(Ok(())),
        Some(number) if now >= until => Some(Err(format!("worker {number} does not answer"))),
        Some(_) => None,
    }
}

/// Lets one worker after the other use the configuration. Returns whether all have.
fn reload(
    words: &[Said],
    remaining: &mut VecDeque<u32>,
    until: &mut Option<Instant>,
    slots: &mut Slots,
    now: Instant,
) -> bool {
    while let Some(number) = remaining.front().copied() {
        let worker = slots.worker(number);
        let Some(late) = *until else {
            match worker {
                // One that still starts follows the order later.
                Some(worker) if !worker.is_ready() => worker.order(Order::Reload),
                Some(worker) => {
                    worker.order(Order::Reload);
                    *until = Some(now + ANSWER);
                    return false;
                }
                None => {}
            }
            remaining.pop_front();
            continue;
        };
        let has_answered = words
            .iter()
            .any(|(from, word)| *from == number && *word == Word::Reloaded);
        let is_there = worker.is_some_and(|worker| worker.is_ready());
        if is_there && !has_answered && now < late {
            return false;
        }
        if is_there && !has_answered {
            log::warn!(
                "worker {number} has not read the configuration after {} s",
                ANSWER.as_secs()
            );
        }
        *until = None;
        remaining.pop_front();
    }
    true
}

/// Replaces one worker after the other. Returns whether the plan is over.
fn replace(remaining: &mut VecDeque<u32>, step: &mut Step, slots: &mut Slots, config: &Config, now: Instant) -> bool {
    while let Some(number) = remaining.front().copied() {
        let failed = match *step {
            Step::Begin => match slots.start_successor(number) {
                Ok(()) => {
                    *step = Step::Starting(now + START);
                    return false;
                }
                Err(error) => error.to_string(),
            },
            Step::Starting(until) => match slots.successor(number) {
                Some(true) => {
                    slots.promote(number, now + drain_time(config));
                    *step = Step::Leaving;
                    continue;
                }
                Some(false) if now < until => return false,
                Some(false) => format!("it does not serve after {} s", START.as_secs()),
                None => "it has ended".to_owned(),
            },
            Step::Leaving if slots.is_leaving(number) => return false,
            Step::Leaving => {
                log::info!("worker {number} was replaced");
                *step = Step::Begin;
                remaining.pop_front();
                continue;
            }
        };
        slots.drop_successor(number, now + START);
        log::error!("the new worker {number} failed: {failed}; the old workers that are left stay");
        return true;
    }
    log::info!("all workers were replaced");
    slots.use_latest();
    true
}
