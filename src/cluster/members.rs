//! The processes of the cluster, as the log shows them. All processes that read the same log have the same list, except
//! for the instants at which they heard of each other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::protocol::shared::ProcessId;
use crate::time::Time;

/// The most processes of a cluster.
pub(super) const MAX_PROCESSES: usize = 256;

/// How many processes that are gone are remembered, so that a late batch of theirs is not taken for a new one.
const MAX_DEPARTED: usize = 1024;

/// The processes.
#[derive(Debug, Default)]
pub(super) struct Members {
    alive: BTreeMap<ProcessId, Member>,
    departed: VecDeque<(ProcessId, Departed)>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    /// The position of its last hello; 0: none in this epoch.
    joined: u64,
    /// The number of its last batch.
    k: u64,
    /// When this process last read a batch of it.
    heard: Time,
    /// What it told is in doubt until it has told all that it held at this position or later.
    doubted: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Departed {
    joined: u64,
    k: u64,
}

/// A batch, as it counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// It was read before.
    Not,
    /// Its events count; what it says about holdings is that of a process which must say hello first.
    Events,
    /// All of it counts.
    All,
}

impl Members {
    /// A batch of a process was read. `joined` is 0 if it belongs to another epoch.
    pub(super) fn read(&mut self, from: ProcessId, joined: u64, k: u64, now: Time) -> Counts {
        let left = self.departed.iter().position(|(process, _)| *process == from);
        let known = left.map(|at| &mut self.departed[at].1);
        if let Some(departed) = known {
            if k != 0 && k <= departed.k {
                return Counts::Not;
            }
            departed.k = departed.k.max(k);
            if joined <= departed.joined {
                return Counts::Events;
            }
            // It had left here only, or its hello was in a hole.
            self.come(from, joined, now);
        }
        let member = self.alive.entry(from).or_insert(Member {
            joined: 0,
            k: 0,
            heard: now,
            doubted: None,
        });
        if k != 0 && k <= member.k {
            return Counts::Not;
        }
        member.k = member.k.max(k);
        member.heard = now;
        // A higher one: its hello was in a hole.
        member.joined = member.joined.max(joined);
        match joined != 0 && joined == member.joined {
            true => Counts::All,
            false => Counts::Events,
        }
    }

    /// The process said hello at this position: what it told before is in doubt.
    pub(super) fn hello(&mut self, process: ProcessId, position: u64, now: Time) {
        self.come(process, position, now);
        self.doubt(process, position);
    }

    fn come(&mut self, process: ProcessId, joined: u64, now: Time) {
        let at = self.departed.iter().position(|(departed, _)| *departed == process);
        let k = at
            .and_then(|at| self.departed.remove(at))
            .map_or(0, |(_, departed)| departed.k);
        let member = self.alive.entry(process).or_insert(Member {
            joined,
            k,
            heard: now,
            doubted: None,
        });
        member.joined = joined;
    }

    /// What the process told is in doubt until it has told all that it held at this position or later.
    pub(super) fn doubt(&mut self, process: ProcessId, position: u64) {
        if let Some(member) = self.alive.get_mut(&process) {
            member.doubted = member.doubted.max(Some(position));
        }
    }

    /// The process has told all that it held at this position. Returns whether nothing is in doubt any more.
    pub(super) fn told(&mut self, process: ProcessId, position: u64) -> bool {
        let member = self.alive.get_mut(&process);
        member.is_some_and(|member| member.doubted.take_if(|since| *since <= position).is_some())
    }

    /// Somebody declared the process dead. Returns whether that counts: it may have said hello since.
    pub(super) fn dead(&mut self, process: ProcessId, joined: u64) -> bool {
        let counts = self.alive.get(&process).is_some_and(|member| member.joined == joined);
        counts && self.remove(process, joined)
    }

    /// The process said that it ends. Returns whether it was there.
    pub(super) fn bye(&mut self, process: ProcessId) -> bool {
        let joined = self.alive.get(&process).map_or(0, |member| member.joined);
        self.remove(process, joined)
    }

    /// Takes a process for gone, on this process only. It comes back with its next batch.
    pub(super) fn lose(&mut self, process: ProcessId) -> bool {
        self.remove(process, 0)
    }

    fn remove(&mut self, process: ProcessId, joined: u64) -> bool {
        let Some(member) = self.alive.remove(&process) else {
            return false;
        };
        if self.departed.len() == MAX_DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back((process, Departed { joined, k: member.k }));
        true
    }

    /// A new epoch begins: positions of the old one mean nothing. Everybody says hello again.
    pub(super) fn begin_epoch(&mut self) {
        for member in self.alive.values_mut() {
            (member.joined, member.doubted) = (0, None);
        }
        for (_, departed) in &mut self.departed {
            departed.joined = 0;
        }
    }

    /// The process that does what only one may do: of those that are alive, the first that said hello.
    pub(super) fn leader(&self) -> Option<ProcessId> {
        let joined = self.alive.iter().filter(|(_, member)| member.joined != 0);
        joined
            .min_by_key(|(_, member)| member.joined)
            .map(|(process, _)| *process)
    }

    /// All processes but this one.
    pub(super) fn others(&self, me: ProcessId) -> Vec<ProcessId> {
        self.alive.keys().copied().filter(|process| *process != me).collect()
    }

    /// Whether what another process than this one told is in doubt.
    pub(super) fn is_doubtful(&self, me: ProcessId) -> bool {
        self.alive
            .iter()
            .any(|(process, member)| *process != me && member.doubted.is_some())
    }

    /// The other processes of which nothing was read for this long at `until`, each with its `joined`.
    pub(super) fn silent(&self, me: ProcessId, lease: Duration, until: Time) -> Vec<(ProcessId, u64)> {
        let others = self.alive.iter().filter(|(process, _)| **process != me);
        let silent = others.filter(|(_, member)| until.since(member.heard) >= lease);
        silent.map(|(process, member)| (*process, member.joined)).collect()
    }

    /// When the first of the others was last read.
    pub(super) fn first_heard(&self, me: ProcessId) -> Option<Time> {
        let others = self.alive.iter().filter(|(process, _)| **process != me);
        others.map(|(_, member)| member.heard).min()
    }

    /// All were read now: nobody is silent because this process could not read.
    pub(super) fn hear_all(&mut self, now: Time) {
        self.alive.values_mut().for_each(|member| member.heard = now);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.alive.len()
    }
}
