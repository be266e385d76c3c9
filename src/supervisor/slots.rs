//! All workers by number, those that leave, and the restarts.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::worker::{Program, Worker};
use crate::net::supervised::{Order, Word};
use crate::server::process::listeners::Bound;

/// The pause before a worker that died is started again. It doubles each time, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A worker that lived for this long died of something new: the pause is the shortest again.
const WELL: Duration = Duration::from_secs(30);

/// How long a worker may take until it serves. Then it is killed.
pub(super) const START: Duration = Duration::from_secs(60);

/// A word of the worker with this number.
pub(super) type Said = (u32, Word);

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Slots {
    bound: Bound,
    program: Program,
    watchdog: Option<Duration>,
    slots: Vec<Slot>,
    /// Those that drain, each with the time when it is killed.
    leaving: Vec<(Worker, Instant)>,
    /// Lines that the poller does not know yet.
    new_lines: Vec<RawFd>,
}

/// The place of one worker.
#[derive(Debug)]
struct Slot {
    number: u32,
    worker: Option<Worker>,
    /// The one that takes its place when it serves.
    successor: Option<Worker>,
    pause: Duration,
    /// When a worker is started here, if there is none.
    due: Instant,
}

impl Slots {
    pub(super) fn new(bound: Bound, workers: u32, program: Program, watchdog: Option<Duration>) -> Self {
        let now = Instant::now();
        let slot = |number| Slot {
            number,
            worker: None,
            successor: None,
            pause: SHORTEST_PAUSE,
            due: now,
        };
        Self {
            bound,
            program,
            watchdog,
            slots: (1..=workers).map(slot).collect(),
            leaving: Vec::new(),
            new_lines: Vec::new(),
        }
    }

    /// How many workers there should be.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        1..=u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Their process ids, for people.
    pub(super) fn processes(&self) -> String {
        let ids = self.slots.iter().filter_map(|slot| slot.worker.as_ref());
        let ids: Vec<String> = ids.map(|worker| worker.pid().to_string()).collect();
        ids.join(", ")
    }

    /// Whether each worker serves clients.
    pub(super) fn are_ready(&self) -> bool {
        self.slots.iter().all(Slot::is_ready)
    }

    /// Whether no process is left.
    pub(super) fn are_gone(&self) -> bool {
        self.leaving.is_empty()
            && self
                .slots
                .iter()
                .all(|slot| slot.worker.is_none() && slot.successor.is_none())
    }

    /// The workers that serve, without those that leave.
    pub(super) fn ready(&mut self) -> impl Iterator<Item = &mut Worker> {
        let workers = self.slots.iter_mut().filter_map(|slot| slot.worker.as_mut());
        workers.filter(|worker| worker.is_ready())
    }

    /// The worker with this number.
    pub(super) fn worker(&mut self, number: u32) -> Option<&mut Worker> {
        self.slot(number).and_then(|slot| slot.worker.as_mut())
    }

    fn slot(&mut self, number: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.number == number)
    }

    fn processes_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        let leaving = self.leaving.iter_mut().map(|(worker, _)| worker);
        self.slots
            .iter_mut()
            .flat_map(|slot| slot.worker.iter_mut().chain(&mut slot.successor))
            .chain(leaving)
    }

    /// Gives an order to all processes.
    pub(super) fn order_all(&mut self, order: Order) {
        self.processes_mut().for_each(|worker| worker.order(order));
    }

    /// Kills all processes.
    pub(super) fn kill_all(&mut self) {
        self.processes_mut().for_each(Worker::kill);
    }

    /// Lines that the poller must watch from here on.
    pub(super) fn take_new_lines(&mut self) -> Vec<RawFd> {
        std::mem::take(&mut self.new_lines)
    }

    /// Starts the workers that are missing and due.
    ///
    /// # Errors
    /// When none could be started for the first time.
    pub(super) fn start_due(&mut self, now: Instant) -> io::Result<()> {
        for n in 0..self.slots.len() {
            let slot = &self.slots[n];
            if slot.worker.is_none() && slot.successor.is_none() && slot.due <= now {
                let started = self.start(slot.number, false);
                let slot = &mut self.slots[n];
                match started {
                    Ok(worker) => slot.worker = Some(worker),
                    Err(error) => {
                        log::error!("worker {} cannot be started: {error}", slot.number);
                        slot.wait(now);
                    }
                }
            }
        }
        match self.are_gone() {
            true => Err(io::Error::other("no worker can be started")),
            false => Ok(()),
        }
    }

    fn start(&mut self, number: u32, latest: bool) -> io::Result<Worker> {
        let listeners = self.bound.of_worker(number);
        let worker = Worker::start(&self.program, latest, number, &listeners, self.watchdog)?;
        self.new_lines.push(worker.line());
        log::debug!("{worker} was started");
        Ok(worker)
    }

    /// Starts a successor of this worker from the file on the disk.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn start_successor(&mut self, number: u32) -> io::Result<()> {
        let successor = self.start(number, true)?;
        if let Some(slot) = self.slot(number) {
            slot.successor = Some(successor);
        }
        Ok(())
    }

    /// Whether there is a successor that serves clients; `None`: there is none.
    pub(super) fn successor(&mut self, number: u32) -> Option<bool> {
        let successor = self.slot(number)?.successor.as_ref()?;
        Some(successor.is_ready())
    }

    /// Gives up a successor.
    pub(super) fn drop_successor(&mut self, number: u32, until: Instant) {
        if let Some(mut worker) = self.slot(number).and_then(|slot| slot.successor.take()) {
            worker.kill();
            self.leaving.push((worker, until));
        }
    }

    /// The successor takes the place of the old one, which drains and is killed at `until`.
    pub(super) fn promote(&mut self, number: u32, until: Instant) {
        let Some(slot) = self.slot(number) else { return };
        if let Some(successor) = slot.successor.take()
            && let Some(mut old) = slot.worker.replace(successor)
        {
            old.order(Order::Replace);
            self.leaving.push((old, until));
        }
    }

    /// Whether a replaced worker with this number still drains.
    pub(super) fn is_leaving(&self, number: u32) -> bool {
        self.leaving.iter().any(|(worker, _)| worker.number == number)
    }

    /// From here on restarts use the file on the disk.
    pub(super) fn use_latest(&mut self) {
        self.program.use_latest();
    }

    /// The words that have come.
    pub(super) fn words(&mut self, now: Instant) -> Vec<Said> {
        let mut said = Vec::new();
        for worker in self.processes_mut() {
            let words = worker.words(now);
            said.extend(words.into_iter().map(|word| (worker.number, word)));
        }
        said
    }

    /// Takes away the processes that have ended. `is_restarted`: they will be started again. Returns one that should
    /// not have ended.
    pub(super) fn reap(&mut self, now: Instant, is_restarted: bool) -> Option<(u32, ExitStatus)> {
        let mut unasked = None;
        for slot in &mut self.slots {
            if let Some(status) = slot.worker.as_mut().and_then(Worker::ended)
                && let Some(worker) = slot.worker.take()
            {
                unasked = Some((slot.number, status));
                if now.duration_since(worker.born) >= WELL {
                    slot.pause = SHORTEST_PAUSE;
                }
                if is_restarted {
                    let pause = slot.wait(now).as_millis();
                    log::error!("{worker} ended unasked, with {status}; it is started again in {pause} ms");
                }
            }
            if let Some(status) = slot.successor.as_mut().and_then(Worker::ended) {
                log::error!("the new worker {} ended, with {status}", slot.number);
                slot.successor = None;
            }
        }
        self.leaving.retain_mut(|(worker, _)| match worker.ended() {
            Some(status) if status.success() => false,
            Some(status) => {
                log::warn!("{worker} ended, with {status}");
                false
            }
            None => true,
        });
        unasked
    }

    /// Kills workers that hang.
    pub(super) fn check(&mut self, now: Instant) {
        let watchdog = self.watchdog;
        for worker in self.slots.iter_mut().filter_map(|slot| slot.worker.as_mut()) {
            let silent = now.duration_since(worker.spoke);
            match watchdog {
                _ if !worker.is_ready() && now.duration_since(worker.born) > START => {
                    log::error!("{worker} does not serve after {} s and is killed", START.as_secs());
                }
                Some(limit) if worker.is_ready() && silent > limit => {
                    log::error!("{worker} was silent for {} s and is killed", silent.as_secs());
                }
                _ => continue,
            }
            worker.kill();
            (worker.born, worker.spoke) = (now, now);
        }
        for (worker, until) in &mut self.leaving {
            if now >= *until {
                log::error!("{worker} did not end and is killed");
                worker.kill();
                *until = now + START;
            }
        }
    }

    /// When there is something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        let starts = self.slots.iter().map(|slot| match &slot.worker {
            Some(worker) if !worker.is_ready() => Some(worker.born + START),
            Some(_) => None,
            None if slot.successor.is_some() => None,
            None => Some(slot.due),
        });
        let ends = self.leaving.iter().map(|(_, until)| *until);
        starts.flatten().chain(ends).min()
    }
}

impl Slot {
    fn is_ready(&self) -> bool {
        self.worker.as_ref().is_some_and(Worker::is_ready)
    }

    /// The next worker is started after a pause, which is returned.
    fn wait(&mut self, now: Instant) -> Duration {
        let pause = self.pause;
        self.due = now + pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}
