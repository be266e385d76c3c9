//! Every connection with the loop's own state of it, and the lists of the connections for which a phase has work.
//! [`Connections::requeue`] alone decides which lists a connection belongs to. The flags of an [`Entry`] prevent that a
//! connection is in a list twice. The phase decides what it does with its list.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::config::Limits;
use crate::id::ConnectionId;
use crate::net::connection::Connection;
use crate::net::io::Socket;
use crate::net::table::Table;
use crate::net::wheel::Wheel;
use crate::protocol::room::give_back;
use crate::service::SendQueues;
use crate::time::Time;

use super::READ_BUFFER;

/// Bytes of unfinished requests, and of input that may not be decoded yet, in all connections together. Above a quarter
/// of it one read is of [`SMALL_READ`] bytes. Above all of it, connections that hold more than [`READ_BUFFER`] wait for
/// the others: a body may be a megabyte, and ten thousand of them would take all memory.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one read while all connections together hold much input that may not be decoded yet.
const SMALL_READ: usize = 4096;

/// Connections that are checked in one tick when their deadlines come. Ten thousand clients that came in one second are
/// pinged in a few ticks, with messages in between.
const CHECKS: usize = 2048;

/// A list that a phase works off while other entries are added for the next tick. It reuses its two buffers.
#[derive(Debug, Default)]
pub(super) struct List {
    filling: Vec<ConnectionId>,
    spare: Vec<ConnectionId>,
}

impl List {
    pub(super) fn push(&mut self, id: ConnectionId) {
        self.filling.push(id);
    }

    pub(super) fn len(&self) -> usize {
        self.filling.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filling.is_empty()
    }

    /// Takes all entries out. Further entries are for the next time.
    pub(super) fn take(&mut self) -> Vec<ConnectionId> {
        std::mem::replace(&mut self.filling, std::mem::take(&mut self.spare))
    }

    /// Keeps the buffer that `take` returned, without the memory that only a crowd needed.
    pub(super) fn recycle(&mut self, mut worked_off: Vec<ConnectionId>) {
        give_back(&mut worked_off);
        worked_off.clear();
        self.spare = worked_off;
    }
}

/// A connection with the loop's own state of it.
#[derive(Debug)]
pub(super) struct Entry<S> {
    pub(super) connection: Connection<S>,
    /// It is over the limit of connections: its request gets 503.
    pub(super) surplus: bool,
    /// The service wants no input from it for a while.
    pub(super) on_hold: bool,
    /// The service wants an input when its send queue is empty.
    pub(super) tell_when_flushed: bool,
    memory: Memory,
    /// The bytes of this connection that `Connections::request_bytes` counts.
    counted: usize,
    /// It is in the list of this name; `queued`: in `again`.
    dirty: bool,
    queued: bool,
    departed: bool,
    /// In which second the wheel will name it; `u64::MAX`: never.
    check_at: u64,
}

/// Whether a connection that holds much of a request may be read while all of them together hold too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Free,
    /// It is in `waiting_for_memory` and is not read.
    Waiting,
    /// It is the first of those that wait. It is read, since its request can become complete and free its memory.
    Admitted,
}

impl<S: Socket> Entry<S> {
    /// Whether it is not read although it could be: other connections need the memory, or the service waits for an
    /// answer. A connection whose peer has gone is read to its end, which frees its memory.
    pub(super) fn is_held(&self) -> bool {
        (self.on_hold || self.memory == Memory::Waiting)
            && self.connection.is_live()
            && !self.connection.socket.ready.read_closed
    }
}

/// All connections, and the lists.
#[derive(Debug)]
pub(super) struct Connections<S> {
    table: Table<Entry<S>>,
    wheel: Wheel,
    /// To be read in this tick, or again in the next.
    pub(super) again: List,
    /// Connections with something to write.
    pub(super) dirty: List,
    /// Connections that said their last word since the last reap.
    pub(super) departed: List,
    /// How many connections have said their last word and are still there.
    closing: usize,
    /// Connections that have ended.
    doomed: List,
    /// Connections whose deadline may have come.
    due: Vec<ConnectionId>,
    /// Bytes that all connections hold of unfinished requests and of input that may not be decoded yet.
    request_bytes: usize,
    waiting_for_memory: VecDeque<ConnectionId>,
}

impl<S: Socket> Connections<S> {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            wheel: Wheel::new(),
            again: List::default(),
            dirty: List::default(),
            departed: List::default(),
            closing: 0,
            doomed: List::default(),
            due: Vec::new(),
            request_bytes: 0,
            waiting_for_memory: VecDeque::new(),
        }
    }

    pub(super) fn insert(&mut self, connection: Connection<S>, surplus: bool) -> ConnectionId {
        self.table.insert(Entry {
            connection,
            surplus,
            on_hold: false,
            tell_when_flushed: false,
            memory: Memory::Free,
            counted: 0,
            dirty: false,
            queued: false,
            departed: false,
            check_at: u64::MAX,
        })
    }

    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Entry<S>> {
        self.table.find(id)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many of them have said their last word and are about to end.
    pub(super) fn closing(&self) -> usize {
        self.closing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.table.ids()
    }

    /// What waits in the send queues. It takes a look at every connection.
    pub(super) fn send_queues(&self) -> SendQueues {
        let mut found = SendQueues::default();
        for entry in self.table.iter() {
            let bytes = entry.connection.waiting();
            found.bytes += bytes;
            found.largest = found.largest.max(bytes);
            found.waiting += usize::from(bytes > 0);
            found.slow += usize::from(entry.connection.is_slow());
        }
        found
    }

    /// How many bytes one read may take.
    pub(super) fn most_at_once(&self) -> usize {
        match self.request_bytes > MAX_BODY_BYTES / 4 {
            true => SMALL_READ,
            false => READ_BUFFER,
        }
    }

    /// Whether a phase has something to do now. `reads`: clients are read.
    pub(super) fn has_work(&self, reads: bool) -> bool {
        let lists = [&self.dirty, &self.departed, &self.doomed];
        let has_news = reads && !self.again.is_empty();
        has_news || !self.due.is_empty() || lists.iter().any(|list| !list.is_empty())
    }

    /// When the wheel has a connection to be checked.
    pub(super) fn next_check(&self) -> Time {
        self.wheel.next_check().unwrap_or(Time::NEVER)
    }

    /// Takes the connections whose deadline may have come by `now` from the wheel. Returns how often `next_due` may be
    /// called in this tick.
    pub(super) fn expire(&mut self, now: Time) -> usize {
        self.wheel.expire(now, &mut self.due);
        self.due.len().min(CHECKS)
    }

    /// The next connection whose deadline may have come, if it is still there and was not checked since.
    pub(super) fn next_due(&mut self, now: Time) -> Option<(ConnectionId, &mut Connection<S>)> {
        let id = self.due.pop()?;
        give_back(&mut self.due);
        let entry = self.table.find(id).filter(|entry| entry.check_at <= now.seconds())?;
        entry.check_at = u64::MAX;
        Some((id, &mut entry.connection))
    }

    /// The entry of a connection that was taken out of `again`.
    pub(super) fn dequeue(&mut self, id: ConnectionId) -> Option<&mut Entry<S>> {
        let entry = self.table.find(id)?;
        entry.queued = false;
        Some(entry)
    }

    /// The entry of a connection that was taken out of `dirty`.
    pub(super) fn clean(&mut self, id: ConnectionId) -> Option<&mut Entry<S>> {
        let entry = self.table.find(id)?;
        entry.dirty = false;
        Some(entry)
    }

    /// Puts a connection into the lists where it now belongs. It is called after each change to a connection.
    pub(super) fn requeue(&mut self, id: ConnectionId, limits: &Limits, now: Time) {
        let Some(entry) = self.table.find(id) else { return };
        let connection = &mut entry.connection;
        if !connection.is_live() && !entry.departed {
            entry.departed = true;
            self.closing += 1;
            self.departed.push(id);
        }
        if connection.is_doomed() {
            self.doomed.push(id);
            return;
        }
        let held = connection.request_bytes();
        self.request_bytes = self.request_bytes - std::mem::replace(&mut entry.counted, held) + held;
        if self.request_bytes > MAX_BODY_BYTES && held > READ_BUFFER && entry.memory == Memory::Free {
            entry.memory = Memory::Waiting;
            self.waiting_for_memory.push_back(id);
        }
        connection.note_backlog(limits, now);
        if !entry.dirty && connection.wants_flush(limits) {
            entry.dirty = true;
            self.dirty.push(id);
        }
        if connection.has_more() && !entry.queued && !entry.is_held() && !entry.connection.is_paused(limits, now) {
            entry.queued = true;
            self.again.push(id);
        }
        let deadline = entry.connection.deadline(limits, now);
        self.wheel.schedule(id, deadline, &mut entry.check_at);
    }

    /// Does what `requeue` does, for a connection whose send queue alone has changed. Such a change moves its deadline
    /// only when the queue crosses the high-water mark. Otherwise the wheel is left alone: computing a deadline fetches
    /// the decoder's memory into the cache, and a fan-out would pay more for that than for the rest of the work per
    /// recipient.
    pub(super) fn requeue_written(&mut self, id: ConnectionId, limits: &Limits, now: Time) {
        self.write(id, limits, now, |_| {});
    }

    /// Appends the same frame to the send queue of each of these connections. Not inlined: what the caller keeps in
    /// registers would cost each recipient two instructions.
    #[inline(never)]
    pub(super) fn fan_out(&mut self, recipients: &[ConnectionId], frame: &Bytes, limits: &Limits, now: Time) {
        for id in recipients {
            self.write(*id, limits, now, |connection| connection.send_shared(frame));
        }
    }

    fn write(&mut self, id: ConnectionId, limits: &Limits, now: Time, append: impl FnOnce(&mut Connection<S>)) {
        let Some(entry) = self.table.find(id) else { return };
        let connection = &mut entry.connection;
        append(connection);
        let usual = connection.is_websocket() && !connection.has_more();
        if !usual || connection.note_backlog(limits, now) {
            return self.requeue(id, limits, now);
        }
        if !entry.dirty && connection.wants_flush(limits) {
            entry.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Frees the connections that ended. Returns how many there were.
    pub(super) fn free_doomed(&mut self) -> usize {
        if self.doomed.is_empty() {
            return 0;
        }
        let doomed = self.doomed.take();
        let freed = doomed.len();
        for id in &doomed {
            if let Some(entry) = self.table.remove(*id) {
                self.request_bytes -= entry.counted;
                self.closing -= usize::from(entry.departed);
            }
        }
        self.doomed.recycle(doomed);
        freed
    }

    /// Request-memory backpressure: admits connections that waited for memory. While there is room it admits all of
    /// them, otherwise the first one alone, whose request can become complete and free its memory.
    pub(super) fn admit_waiting(&mut self, limits: &Limits, now: Time) {
        while let Some(id) = self.waiting_for_memory.front().copied() {
            let room = self.request_bytes <= MAX_BODY_BYTES;
            let first = self.table.find(id);
            let holds = first.as_ref().is_some_and(|entry| entry.connection.request_bytes() > 0);
            if let Some(entry) = first {
                entry.memory = match holds && !room {
                    true => Memory::Admitted,
                    false => Memory::Free,
                };
                self.requeue(id, limits, now);
            }
            if holds && !room {
                return;
            }
            self.waiting_for_memory.pop_front();
        }
    }
}
