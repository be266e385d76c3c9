//! The cluster: what this process and the others tell each other by one ordered log in an engine. Every process appends
//! batches to the log and reads all of them, its own included. So all processes see the same entries in the same order,
//! and each one answers all questions from what it has seen.
//!
//! This room decides what is appended, who belongs to the cluster, who leads, when a process is alone, and what an
//! entry means for these questions. It has no sockets and no clock: the loop carries commands to the engine and replies
//! back. What a holding or an event means is decided by the rooms that get the [`News`].
//!
//! - `batch`: the form of an entry of the log
//! - `view`: what the log has shown so far
//! - `outbound`: what waits to be written
//! - `lines` with `writer`, `reader` and `retry`: what was written and not read back; the next entry, gaps, another log
//!   in the place of this one
//! - `members`: who is there, who leads, whose holdings are in doubt
//! - `hooks`, `retention`: webhooks for the case that the leader dies; how much of the log stays
//!
//! **Alone.** If an event is not read back within [`PATIENCE`], or the engine cannot be used for so long, the process
//! isolates itself: events go to its own clients at once, under an epoch of its own, so that a client that changes the
//! process is told of a gap. As soon as the process reads a hello of its own again, it is together with the others.

mod batch;
mod hooks;
mod lines;
mod members;
mod news;
mod outbound;
mod reader;
mod retention;
mod retry;
mod view;
mod writer;

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::batch::{Draft, Entry};
use self::lines::Lines;
use self::members::MAX_PROCESSES;
pub use self::news::{News, Phase, State};
use self::outbound::Outbound;
use self::reader::Came;
use self::retention::Retention;
use self::view::View;
use crate::logging::{More, RareLine};
use crate::protocol::effects::HookEvent;
use crate::protocol::engine::{Command, EntryId, Fault, Line, Reply};
pub use crate::protocol::shared::ProcessId;
use crate::protocol::shared::Shared;
use crate::time::{Now, Time};

/// How long an event waits for the engine, and how long a process that comes waits for the others.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A process that stays alone says so this often.
const REMINDER: Duration = Duration::from_secs(60);

/// A deadline that cannot be kept now is looked at again after this time.
const LATER: Duration = Duration::from_millis(50);

/// This process, as one of the cluster. See the top of this file.
#[derive(Debug)]
pub struct Cluster {
    lease: Duration,
    apps: Vec<Box<str>>,
    random: StdRng,
    lines: Lines,
    outbound: Outbound,
    view: View,
    retention: Retention,
    /// When the next batch is due although there is nothing to tell.
    beat: Time,
    leaving: Leaving,
    /// The engine holds something that is not ours: nothing is asked or written until the next [`Cluster::set_apps`].
    is_given_up: bool,
    reminder: RareLine,
    deadline: Time,
    isolations: u64,
    batches_read: u64,
}

/// Whether the process leaves the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Wanted,
    /// The batch with this number says so.
    Said(u64),
}

impl Cluster {
    /// A process that has not met the others. `lease`: how long they wait for it before they take it for dead. `apps`:
    /// the apps' ids; an app's index here is its number everywhere else. `seed`: random bytes.
    pub fn new(lease: Duration, apps: &[&str], seed: [u8; 32], now: Now) -> Self {
        let mut random = StdRng::from_seed(seed);
        Self {
            lease,
            apps: apps.iter().map(|id| Box::from(*id)).collect(),
            lines: Lines::new(now.at),
            outbound: Outbound::default(),
            view: View::new(ProcessId(random.random()), now.at),
            random,
            retention: Retention::default(),
            beat: now.at,
            leaving: Leaving::No,
            is_given_up: false,
            reminder: RareLine::default(),
            deadline: now.at + PATIENCE,
            isolations: 0,
            batches_read: 0,
        }
    }

    /// This process. The id stays the same for its whole life.
    pub fn me(&self) -> ProcessId {
        self.view.me
    }

    /// The apps from here on. What the others hold of a new app was not read before, so they tell it again. A process
    /// that gave up the engine tries it again.
    pub fn set_apps(&mut self, apps: &[&str]) {
        if apps.iter().any(|id| self.apps.iter().all(|old| **old != **id)) {
            self.view.hello = Some(true);
        }
        self.apps = apps.iter().map(|id| Box::from(*id)).collect();
        if std::mem::take(&mut self.is_given_up) {
            self.lines.reader.restart();
        }
    }

    /// Tells all processes something about an app. It comes back as [`News::Shared`] when it is read; at once if this
    /// process is alone. A holding is not told while the process does not belong to the others: [`News::TellAll`] asks
    /// for it later.
    pub fn share(&mut self, app: usize, what: Shared, now: Now, news: &mut Vec<News>) {
        let is_state = matches!(what, Shared::Holds(_) | Shared::Cached(_));
        if self.view.is_alone() {
            if !is_state {
                news.extend(self.view.handle_alone(app, what));
            }
            return;
        }
        if is_state && self.view.joined == 0 {
            return;
        }
        self.outbound.push(app, what, now.at);
        self.deadline = self.deadline.min(now.at + PATIENCE);
        if self.outbound.is_full() {
            self.isolate("is too slow: too much waits for it".to_owned(), now, news);
        }
    }

    /// Takes a part of the answer to [`News::TellAll`]: a holding that is not empty, or a cached event.
    pub fn snapshot(&mut self, app: usize, what: Shared) {
        if self.view.joined != 0 {
            self.outbound.snapshot(app, what);
        }
    }

    /// The answer to [`News::TellAll`] is whole.
    pub fn told(&mut self) {
        if self.view.joined != 0 {
            self.outbound.told(self.view.position());
        }
    }

    /// Passes on an event for the webhooks, which follows from the news that is being handled. One process sends it.
    pub fn hook(&mut self, app: usize, event: HookEvent, news: &mut Vec<News>) {
        news.extend(self.view.hook(app, event));
    }

    /// Whether so much waits for the engine that more should not be let in. This ends when some of it is written, or
    /// after [`PATIENCE`], when the process is alone.
    pub fn is_crowded(&self) -> bool {
        self.outbound.is_crowded()
    }

    /// The position up to which the log was read; 0 while the process is alone.
    pub fn read_to(&self) -> u64 {
        if self.view.is_alone() { 0 } else { self.view.position() }
    }

    /// The next command for the engine on this line.
    pub fn command(&mut self, line: Line, now: Now) -> Option<Command> {
        if self.is_given_up {
            return None;
        }
        match line {
            Line::Reading => self.lines.reader.command(now.at),
            Line::Writing if !self.lines.writer.is_free(now.at) => None,
            Line::Writing => self.write(now),
        }
    }

    fn write(&mut self, now: Now) -> Option<Command> {
        if self.lines.writer.begins() {
            let epoch = self.lines.reader.next_epoch(self.random.random(), now);
            let first = Draft::new(self.me(), epoch, 0, 0).finish();
            return Some(self.lines.writer.begin(epoch, first));
        }
        let epoch = self.lines.reader.epoch();
        // A process that has not read the whole log may not know that it is not ours, or another one.
        if !self.lines.reader.has_caught_up() || !self.lines.writer.may_append(epoch) {
            return None;
        }
        if let Some(command) = self.lines.writer.again(epoch) {
            return Some(command);
        }
        // First: a flood of batches would never let the log be cut.
        let is_leader = self.view.is_leader();
        if let Some(command) = is_leader.then(|| self.retention.command(self.lease)).flatten() {
            return Some(self.lines.writer.other(command));
        }
        let bytes = self.lines.writer.next_k().and_then(|k| self.batch(k, epoch, now))?;
        self.beat = now.at + self.lease / 3;
        self.plan(now.at);
        Some(self.lines.writer.append(epoch, bytes, now.at))
    }

    /// The next batch, if there is something to tell.
    fn batch(&mut self, k: u64, epoch: u32, now: Now) -> Option<Bytes> {
        if matches!(self.leaving, Leaving::Said(_)) {
            return None;
        }
        let mut draft = Draft::new(self.me(), epoch, self.view.joined, k);
        if self.lines.reader.has_caught_up()
            && self.leaving == Leaving::No
            && let Some(ask) = self.view.hello.take()
        {
            draft.push(&Entry::Hello { ask });
        }
        let is_beat = self.view.joined != 0 && !self.view.is_alone() && self.beat <= now.at;
        if is_beat {
            self.beat_entries(&mut draft, now);
        }
        if !self.view.is_alone() {
            self.outbound.fill(&mut draft, &self.apps);
            match self.outbound.take_refused() {
                0 => {}
                count => log::warn!("{count} entries are too large for the cluster's log and were dropped"),
            }
        }
        if self.leaving == Leaving::Wanted && self.outbound.oldest().is_none() {
            draft.push(&Entry::Bye);
            self.leaving = Leaving::Said(k);
        }
        (is_beat || draft.len() > 0).then(|| draft.finish())
    }

    /// What is told from time to time: who is dead, and what the leader has passed on.
    fn beat_entries(&mut self, draft: &mut Draft, now: Now) {
        // A few at a time: a batch keeps some places for such entries.
        let silent = self.view.silent(self.lease, self.lines.reader.read_until());
        for (process, joined) in silent.into_iter().take(4) {
            draft.push(&Entry::Dead(process, joined));
        }
        if let Some(position) = self.view.next_mark() {
            draft.push(&Entry::Mark(position));
        }
        if self.view.is_leader() {
            self.retention.beat(self.lease, now.at);
        }
    }

    /// The engine answered the command of this line.
    pub fn reply(&mut self, line: Line, reply: Result<Reply, Fault>, now: Now, news: &mut Vec<News>) {
        match (line, reply) {
            (_, Err(fault)) => {
                self.lines.refused(line, &fault, now.at);
                if matches!(fault, Fault::WrongType | Fault::Foreign(_)) {
                    self.give_up(fault.to_string(), now, news);
                }
            }
            (Line::Writing, Ok(reply)) => self.lines.written(&reply, now.at),
            (Line::Reading, Ok(reply)) => {
                for (id, bytes) in self.lines.read(reply, now.at) {
                    self.record(id, &bytes, now, news);
                    if self.is_given_up || self.lines.reader.reads_again() {
                        break;
                    }
                }
                news.extend(self.view.take_question());
            }
        }
        self.settle(now, news);
    }

    /// An entry of the log was read.
    fn record(&mut self, id: EntryId, bytes: &[u8], now: Now, news: &mut Vec<News>) {
        let came = self.lines.reader.came(id, bytes);
        let Came::Next {
            is_past,
            is_first,
            has_gap,
            is_epoch,
        } = came
        else {
            return match came {
                Came::Stray => self.lines.writer.lost(),
                Came::Foreign => self.give_up(batch::Unreadable::Foreign.to_string(), now, news),
                _ => {}
            };
        };
        let batch = match batch::read(bytes) {
            Ok(batch) => batch,
            Err(why) => return self.give_up(why.to_string(), now, news),
        };
        self.batches_read += 1;
        if is_first || has_gap || is_epoch {
            if is_epoch {
                self.retention.clear();
            }
            self.lines.writer.jumped(id, is_epoch);
            self.outbound.forget_holdings();
            self.view.jump(id, has_gap && !is_past, is_epoch, now, news);
        }
        self.retention.note(id, bytes.len(), self.lease, now.at);
        if batch.from == self.me() {
            self.lines.writer.read_back(batch.k);
        }
        if self.view.apply(batch, id, is_past, &self.apps, now, news) {
            self.outbound.forget_holdings();
            self.beat = now.at;
        }
        if self.view.processes() > MAX_PROCESSES {
            self.give_up(format!("has more than {MAX_PROCESSES} processes in its log"), now, news);
        }
    }

    /// A line to the engine is up, or it is down for a reason: a clause whose subject is the engine.
    pub fn engine(&mut self, line: Line, state: Result<(), String>, now: Now, news: &mut Vec<News>) {
        if self.lines.set(line, state, now.at) {
            self.view.meet(now);
        }
        self.settle(now, news);
    }

    /// When [`Cluster::due`] must be called next.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, news: &mut Vec<News>) {
        if now.at >= self.deadline {
            self.settle(now, news);
        }
    }

    /// Draws the conclusions that time and news allow.
    fn settle(&mut self, now: Now, news: &mut Vec<News>) {
        let since = self.trouble_since();
        if !self.view.is_alone() && since.is_some_and(|since| now.at.since(since) >= PATIENCE) {
            let why = self.lines.why();
            self.isolate(why, now, news);
        }
        self.view.settle(self.lease, now, news);
        if let Some(why) = self.view.why_alone()
            && self.leaving == Leaving::No
            && let Some(count) = self.reminder.allow(REMINDER, now.at)
        {
            log::warn!("This process is alone: the engine {why}{}", More(count));
        }
        self.plan(now.at);
    }

    fn plan(&mut self, now: Time) {
        let is_alone = self.view.is_alone();
        let trouble = self.trouble_since().filter(|_| !is_alone);
        let patience = trouble.map(|since| since + PATIENCE);
        let beat = (self.view.joined != 0 && !is_alone).then_some(self.beat);
        let silent = self.view.first_heard().map(|heard| heard + self.lease);
        let (waits, retry) = (self.view.waits_until(), self.lines.retry_at(now));
        let all = [patience, beat, silent, waits, retry];
        let next = all.into_iter().flatten().min();
        self.deadline = next.map_or(Time::NEVER, |next| next.max(now + LATER));
    }

    /// Since when something is not as it should be.
    fn trouble_since(&self) -> Option<Time> {
        let outside = (self.view.joined == 0).then_some(self.view.since);
        let all = [self.lines.trouble_since(), outside, self.outbound.oldest()];
        all.into_iter().flatten().min()
    }

    /// Nothing is asked or written until the administrator has changed something.
    fn give_up(&mut self, why: String, now: Now, news: &mut Vec<News>) {
        self.is_given_up = true;
        self.isolate(why, now, news);
    }

    fn isolate(&mut self, why: String, now: Now, news: &mut Vec<News>) {
        let (batches, k) = self.lines.writer.give_up();
        let waiting = self.outbound.take_local();
        if self.leaving == Leaving::No {
            log::warn!("The engine {why}: this process serves its own clients alone");
            self.reminder = RareLine::default();
            self.reminder.allow(REMINDER, now.at);
        }
        self.isolations += u64::from(!self.view.is_alone());
        let start = self.random.random();
        self.view
            .isolate(why, start, (batches, k), waiting, &self.apps, now, news);
        self.plan(now.at);
    }

    /// This process ends: it says so behind all that waits.
    pub fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Wanted;
        }
    }

    /// Whether the others know that the process ends, or cannot be told.
    pub fn has_left(&self) -> bool {
        match self.leaving {
            Leaving::No => false,
            _ if self.view.is_alone() => true,
            Leaving::Wanted => self.view.joined == 0,
            Leaving::Said(k) => self.lines.writer.is_written(k),
        }
    }

    /// The cluster, for status and metrics.
    pub fn state(&self, now: Now) -> State {
        let (waiting_entries, waiting_bytes) = self.outbound.size();
        let (batches_written, unread_batches) = self.lines.writer.numbers();
        let (hooks_kept, hooks_dropped) = self.view.hooks();
        State {
            phase: self.view.phase(),
            processes: self.view.processes().max(1),
            leader: self.view.leader(),
            is_leader: self.view.is_leader(),
            complete: self.view.is_complete(),
            waiting_entries,
            waiting_bytes,
            unread_batches,
            log_bytes: self.retention.bytes(),
            lag: now.at.since(self.lines.writer.oldest().unwrap_or(now.at)),
            isolations: self.isolations,
            batches_written,
            batches_read: self.batches_read,
            hooks_kept,
            hooks_dropped,
        }
    }
}
