//! What the log has shown to this process so far, and its own place among the others. Every entry is applied once, in
//! the log's order.

use std::time::Duration;

use bytes::Bytes;

use super::PATIENCE;
use super::batch::{self, Batch, Entry, MAX_ENTRIES};
use super::hooks::{Hooks, Place};
use super::members::{Counts, Members};
use super::news::{News, Phase};
use crate::protocol::effects::HookEvent;
use crate::protocol::engine::EntryId;
use crate::protocol::shared::{ProcessId, Shared};
use crate::time::{Now, Time};

/// See the top of this file.
#[derive(Debug)]
pub(super) struct View {
    pub(super) me: ProcessId,
    /// The position of this process's hello in this epoch; 0: it does not belong to the others now.
    pub(super) joined: u64,
    /// Since when `joined` is 0 or has its value.
    pub(super) since: Time,
    /// A hello must be said. Inside: whether the others are to tell what they hold.
    pub(super) hello: Option<bool>,
    members: Members,
    hooks: Hooks,
    /// The process is alone.
    alone: Option<Alone>,
    /// Own batches up to this number were handled when the process became alone.
    handled: u64,
    /// The others have told what they hold, once.
    is_complete: bool,
    was_leader: bool,
    epoch: u32,
    /// The position up to which the log was read.
    position: u64,
    /// The place that the next mark of this process names.
    marked: Place,
    /// Others asked for what this process holds; whether with the cache.
    question: Option<bool>,
}

#[derive(Debug)]
struct Alone {
    since: Time,
    why: String,
    /// The number of the last event.
    n: u64,
}

impl View {
    pub(super) fn new(me: ProcessId, now: Time) -> Self {
        Self {
            me,
            joined: 0,
            since: now,
            hello: Some(true),
            members: Members::default(),
            hooks: Hooks::default(),
            alone: None,
            handled: 0,
            is_complete: false,
            was_leader: false,
            epoch: 0,
            position: 0,
            marked: (0, 0),
            question: None,
        }
    }

    /// The next entry does not follow the one before: the process must say hello again.
    pub(super) fn jump(&mut self, id: EntryId, is_gap: bool, is_epoch: bool, now: Now, news: &mut Vec<News>) {
        self.epoch = u32::try_from(id.ms).unwrap_or(0);
        if is_epoch {
            self.members.begin_epoch();
        }
        self.step_out(true, now);
        if is_gap {
            news.push(News::Gap);
        }
        self.position = match id.seq {
            1 => 0,
            seq => first_position(seq) - 1,
        };
        if self.alone.is_none() {
            news.push(News::Epoch {
                start: self.epoch,
                after: self.position,
            });
        }
    }

    /// This process no longer belongs to the others until it has said hello.
    fn step_out(&mut self, ask: bool, now: Now) {
        if self.joined != 0 {
            (self.joined, self.since) = (0, now.at);
        }
        self.hello = Some(ask || self.hello == Some(true));
        self.question = None;
    }

    /// Applies an entry of the log. `ids` are the ids of the apps. Returns whether this process's standing changed, so
    /// that it must tell all that it holds again.
    pub(super) fn apply(
        &mut self,
        batch: Batch,
        id: EntryId,
        is_past: bool,
        ids: &[Box<str>],
        now: Now,
        news: &mut Vec<News>,
    ) -> bool {
        let base = first_position(id.seq);
        self.position = base + MAX_ENTRIES as u64 - 1;
        let joined = if batch.epoch == self.epoch { batch.joined } else { 0 };
        let from = batch.from;
        // The entry that begins an epoch has no number and says nothing about its process.
        let counts = match batch.k {
            0 => Counts::Not,
            k => self.members.read(from, joined, k, now.at),
        };
        if counts == Counts::Not {
            return false;
        }
        let is_handled = from == self.me && batch.k <= self.handled;
        let find = |id| ids.iter().position(|own| own == id);
        let apps: Vec<_> = batch.apps.iter().map(find).collect();
        let before = self.joined;
        for (n, entry) in (base..).zip(batch.entries) {
            match entry {
                Entry::A(app, what) => {
                    let is_wanted = match what {
                        Shared::Holds(_) => counts == Counts::All,
                        _ => !is_handled,
                    };
                    if let Some(Some(app)) = apps.get(app)
                        && is_wanted
                    {
                        news.extend(self.shared(from, *app, what, n, is_past));
                    }
                }
                Entry::Hello { ask } => self.hello(from, n, ask, is_handled, now, news),
                Entry::Told(position) => {
                    if counts == Counts::All && self.members.told(from, position) {
                        news.push(News::Fresh { of: from });
                    }
                }
                Entry::Dead(process, joined) => self.dead(process, joined, is_past, now, news),
                Entry::Bye => self.bye(from, is_past, now, news),
                Entry::Mark(position) => self.hooks.mark((self.epoch, position)),
            }
        }
        self.joined != before
    }

    /// What a process tells about an app, as news.
    fn shared(&mut self, from: ProcessId, app: usize, what: Shared, n: u64, is_past: bool) -> Option<News> {
        let mine = from == self.me;
        match (&mut self.alone, what) {
            (None, Shared::Event(event)) if is_past => Some(News::Past {
                app,
                event,
                n,
                age: Duration::ZERO,
            }),
            _ if is_past => None,
            (alone, what) => Some(News::Shared {
                from,
                mine,
                app,
                what,
                late: alone.is_some(),
                n: alone.as_mut().map_or(n, Alone::next),
            }),
        }
    }

    fn hello(&mut self, from: ProcessId, n: u64, ask: bool, is_handled: bool, now: Now, news: &mut Vec<News>) {
        self.members.hello(from, n, now.at);
        news.push(News::Stale { of: from });
        if from != self.me {
            if ask {
                let with_cache = self.question == Some(true) || self.is_leader();
                self.question = Some(with_cache);
            }
            return;
        }
        // Since then the process became alone, and will say another hello.
        if is_handled {
            return;
        }
        (self.joined, self.since) = (n, now.at);
        self.question = self.question.or(Some(false));
        if ask {
            for other in self.members.others(self.me) {
                self.members.doubt(other, n);
                news.push(News::Stale { of: other });
            }
        }
        let others = self.members.len() - 1;
        match self.alone.take() {
            Some(alone) => {
                self.members.hear_all(now.at);
                news.push(News::Epoch {
                    start: self.epoch,
                    after: n,
                });
                let seconds = now.at.since(alone.since).as_secs();
                log::info!(
                    "The engine works again, after {seconds} s; processes of the cluster beside this one: {others}"
                );
            }
            None => log::info!("This process belongs to the cluster; processes beside it: {others}"),
        }
    }

    fn dead(&mut self, process: ProcessId, joined: u64, is_past: bool, now: Now, news: &mut Vec<News>) {
        if !self.members.dead(process, joined) {
            return;
        }
        news.push(News::Gone { of: process });
        if process == self.me {
            log::warn!("The other processes of the cluster took this one for dead");
            self.step_out(false, now);
        } else if !is_past {
            log::warn!(
                "Process {:016x} of the cluster was silent for its lease: it is taken for dead",
                process.0
            );
        }
    }

    fn bye(&mut self, process: ProcessId, is_past: bool, now: Now, news: &mut Vec<News>) {
        if !self.members.bye(process) {
            return;
        }
        news.push(News::Gone { of: process });
        if process == self.me {
            self.step_out(true, now);
        } else if !is_past {
            log::info!("Process {:016x} has left the cluster", process.0);
        }
    }

    /// The question of the others for what this process holds, if there is one that it can answer.
    pub(super) fn take_question(&mut self) -> Option<News> {
        let question = if self.joined == 0 { None } else { self.question.take() };
        question.map(|with_cache| News::TellAll { with_cache })
    }

    /// From here on the process is alone. What it has written and not read back (`batches`, up to number `k`), and what
    /// it has not written (`waiting`), is for its own clients.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn isolate(
        &mut self,
        why: String,
        start: u32,
        (batches, k): (Vec<Bytes>, u64),
        waiting: Vec<(usize, Shared)>,
        ids: &[Box<str>],
        now: Now,
        news: &mut Vec<News>,
    ) {
        self.step_out(true, now);
        match &mut self.alone {
            Some(alone) => alone.why = why,
            None => {
                self.alone = Some(Alone {
                    since: now.at,
                    why,
                    n: 0,
                });
                news.push(News::Epoch { start, after: 0 });
            }
        }
        for batch in batches.iter().filter_map(|bytes| batch::read(bytes).ok()) {
            if batch.k <= self.handled {
                continue;
            }
            for entry in batch.entries {
                if let Entry::A(app, what) = entry
                    && let Some(app) = batch.apps.get(app).and_then(|id| ids.iter().position(|own| own == id))
                {
                    news.extend(self.handle_alone(app, what));
                }
            }
        }
        self.handled = k;
        for (app, what) in waiting {
            news.extend(self.handle_alone(app, what));
        }
    }

    /// Something of this process that no other will read.
    pub(super) fn handle_alone(&mut self, app: usize, what: Shared) -> Option<News> {
        let alone = self.alone.as_mut()?;
        if matches!(what, Shared::Holds(_) | Shared::Cached(_) | Shared::Published(_)) {
            return None;
        }
        Some(News::Shared {
            from: self.me,
            mine: true,
            app,
            what,
            n: alone.next(),
            late: false,
        })
    }

    /// Both lines to the engine are up for the first time: a process that became alone before comes now.
    pub(super) fn meet(&mut self, now: Now) {
        if self.alone.take().is_some() {
            self.since = now.at;
        }
    }

    /// An event for the webhooks. Returns it if this process sends it.
    pub(super) fn hook(&mut self, app: usize, event: HookEvent) -> Option<News> {
        let is_own = matches!(event, HookEvent::ClientEvent { .. } | HookEvent::CacheMiss { .. });
        match &self.alone {
            // Nobody else can know of it.
            Some(_) if is_own => Some(News::Hook { app, event }),
            // The others saw what this process has only been told.
            None if !self.is_complete => None,
            None if self.is_leader() => Some(News::Hook { app, event }),
            _ => {
                self.hooks.keep((self.epoch, self.position), app, event);
                None
            }
        }
    }

    /// The position that the leader's mark names: that of one beat ago, so that what was passed on has been sent.
    pub(super) fn next_mark(&mut self) -> Option<u64> {
        if !self.is_leader() {
            return None;
        }
        let (epoch, position) = std::mem::replace(&mut self.marked, (self.epoch, self.position));
        (epoch == self.epoch).then_some(position)
    }

    /// Draws the conclusions that time and news allow.
    pub(super) fn settle(&mut self, lease: Duration, now: Now, news: &mut Vec<News>) {
        if self.alone.is_some() {
            for (process, _) in self.members.silent(self.me, lease, now.at) {
                self.members.lose(process);
                news.push(News::Gone { of: process });
            }
        }
        if !self.is_complete && self.joined != 0 {
            let waited = now.at.since(self.since) >= PATIENCE;
            self.is_complete = waited || !self.members.is_doubtful(self.me);
        }
        let is_leader = self.is_leader();
        if is_leader && !std::mem::replace(&mut self.was_leader, is_leader) {
            self.marked = (0, 0);
            news.extend(self.hooks.take().map(|(app, event)| News::Hook { app, event }));
        }
        self.was_leader = is_leader;
    }

    /// When [`View::settle`] has something to do, besides what others do.
    pub(super) fn waits_until(&self) -> Option<Time> {
        (!self.is_complete && self.joined != 0).then(|| self.since + PATIENCE)
    }

    /// The others that were silent for the lease at `until`, each with its `joined`.
    pub(super) fn silent(&self, lease: Duration, until: Time) -> Vec<(ProcessId, u64)> {
        self.members.silent(self.me, lease, until)
    }

    /// When the first of the others was last read.
    pub(super) fn first_heard(&self) -> Option<Time> {
        self.members.first_heard(self.me)
    }

    /// The process that does what only one may do, as far as this process can see.
    pub(super) fn leader(&self) -> Option<ProcessId> {
        self.members.leader().filter(|_| self.alone.is_none())
    }

    /// Whether that is this process.
    pub(super) fn is_leader(&self) -> bool {
        self.joined != 0 && self.is_complete && self.leader() == Some(self.me)
    }

    /// The position up to which the log was read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many processes there are.
    pub(super) fn processes(&self) -> usize {
        self.members.len()
    }

    /// How many webhook events are kept, and how many were dropped.
    pub(super) fn hooks(&self) -> (usize, u64) {
        self.hooks.size()
    }

    /// See [`State::complete`](super::State::complete).
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the process is alone.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// Why the process is alone.
    pub(super) fn why_alone(&self) -> Option<&str> {
        self.alone.as_ref().map(|alone| &*alone.why)
    }

    /// How the process stands to the others.
    pub(super) fn phase(&self) -> Phase {
        match &self.alone {
            Some(Alone { since, why, .. }) => Phase::Isolated {
                since: *since,
                why: why.clone(),
            },
            None if self.joined != 0 && self.is_complete => Phase::Together,
            None => Phase::Joining,
        }
    }
}

impl Alone {
    fn next(&mut self) -> u64 {
        self.n += 1;
        self.n
    }
}

/// The position of the first thing in the entry with this number.
fn first_position(seq: u64) -> u64 {
    seq * MAX_ENTRIES as u64
}
