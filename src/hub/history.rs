//! What was published in the last minutes, so that somebody who was away can be told exactly what was missed, or honestly
//! that it is not known any more. This is the stream `m…` of events that live in memory only; positions of the outbox table
//! (`o…`) are answered by `outbox`.
//!
//! Events are numbered through all channels of an app. A position is the number of the last event that was seen. Bounds are
//! by count, bytes and age for each channel and by bytes for all; whatever is forgotten raises a mark, below which no
//! position can be recovered from: the channel's own mark as long as the channel has a log, and one for all logs that are
//! gone.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tungstenite::Utf8Bytes;

use crate::config::App;
use crate::protocol::SocketId;
use crate::protocol::position::Position;
use crate::room::give_back;
use crate::time::Time;

/// The events in memory of one app.
#[derive(Debug)]
pub struct Memory {
    start: u32,
    newest: u64,
    logs: HashMap<Box<str>, Log>,
    /// Every event that may still be in a log, oldest first: for what is bounded over all channels.
    order: VecDeque<(u64, Box<str>)>,
    /// Events in all logs, and their bytes.
    events: usize,
    bytes: usize,
    /// The newest event of a log that is gone.
    gone: u64,
}

#[derive(Debug, Default)]
struct Log {
    events: VecDeque<Logged>,
    bytes: usize,
    /// The newest event that was forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Logged {
    n: u64,
    at: Time,
    frame: Utf8Bytes,
    except: Option<SocketId>,
}

/// What an event costs besides its text and its channel's name: an estimate of what the structures around it take.
const OVERHEAD: usize = 128;

/// What an event costs. The name stands in the order, and in the index of the logs.
fn cost(channel: &str, frame: &str) -> usize {
    2 * channel.len() + frame.len() + OVERHEAD
}

impl Memory {
    /// An empty one; `start` tells this run of the server from others.
    pub fn new(start: u32) -> Self {
        Self {
            start,
            newest: 0,
            logs: HashMap::new(),
            order: VecDeque::new(),
            events: 0,
            bytes: 0,
            gone: 0,
        }
    }

    /// Gives the next event its position. `append` must follow, or the event can never be recovered.
    pub fn advance(&mut self) -> Position {
        self.newest += 1;
        self.position()
    }

    /// Keeps the event that was given the newest position.
    pub fn append(&mut self, channel: &str, frame: Utf8Bytes, except: Option<SocketId>, limits: &App, now: Time) {
        let cost = cost(channel, &frame);
        let n = self.newest;
        if cost > limits.history_channel_bytes.min(limits.history_bytes) || limits.history_events == 0 {
            self.forget_all(channel, n);
            return;
        }
        let log = match self.logs.get_mut(channel) {
            Some(log) => log,
            None => self.logs.entry(channel.into()).or_insert_with(|| Log {
                forgotten: self.gone,
                ..Log::default()
            }),
        };
        log.events.push_back(Logged {
            n,
            at: now,
            frame,
            except,
        });
        log.bytes += cost;
        self.bytes += cost;
        self.events += 1;
        while log.events.len() > limits.history_events || log.bytes > limits.history_channel_bytes {
            self.bytes -= log.forget_oldest(channel);
            self.events -= 1;
        }
        self.order.push_back((n, channel.into()));
        while self.bytes > limits.history_bytes {
            self.forget_oldest();
        }
        self.expire(limits, now);
        // A channel that is published to again and again leaves its old places behind.
        if self.order.len() > 2 * self.events + 64 {
            let logs = &self.logs;
            let is_kept = |n: u64, log: &Log| log.events.front().is_some_and(|oldest| oldest.n <= n);
            self.order
                .retain(|(n, channel)| logs.get(channel).is_some_and(|log| is_kept(*n, log)));
        }
    }

    /// Forgets what is too old.
    pub fn expire(&mut self, limits: &App, now: Time) {
        let age = Duration::from_secs(limits.history_seconds);
        while let Some((n, channel)) = self.order.front() {
            let log = self.logs.get(channel);
            let oldest = log.and_then(|log| log.events.front()).filter(|oldest| oldest.n <= *n);
            if oldest.is_some_and(|oldest| now.since(oldest.at) < age) {
                return;
            }
            self.forget_oldest();
        }
    }

    /// Whether nothing is kept, so that nothing can expire.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The position of the newest event.
    pub fn position(&self) -> Position {
        Position::Memory {
            start: self.start,
            n: self.newest,
        }
    }

    /// Whether everything that `channel` had after `since` is still known.
    pub fn reaches(&self, channel: &str, since: Position) -> bool {
        let Position::Memory { start, n } = since else {
            return false;
        };
        let mark = self.logs.get(channel).map_or(self.gone, |log| log.forgotten);
        start == self.start && n <= self.newest && n >= mark
    }

    /// The first event of `channel` after number `n`: its number, its frame, and the socket that must not get it.
    pub fn next(&self, channel: &str, n: u64) -> Option<(u64, &Utf8Bytes, Option<SocketId>)> {
        let events = &self.logs.get(channel)?.events;
        let next = events.get(events.partition_point(|logged| logged.n <= n))?;
        Some((next.n, &next.frame, next.except))
    }

    /// Takes the oldest event of all out, if its channel has not forgotten it already.
    fn forget_oldest(&mut self) {
        let Some((n, channel)) = self.order.pop_front() else {
            return;
        };
        give_back(&mut self.order);
        let Some(log) = self.logs.get_mut(&channel) else { return };
        if log.events.front().is_some_and(|oldest| oldest.n <= n) {
            self.bytes -= log.forget_oldest(&channel);
            self.events -= 1;
        }
        if log.events.is_empty() {
            self.gone = self.gone.max(log.forgotten);
            self.logs.remove(&channel);
            give_back(&mut self.logs);
        }
    }

    /// An event that is not kept makes everything before it unrecoverable too.
    fn forget_all(&mut self, channel: &str, n: u64) {
        if let Some(log) = self.logs.remove(channel) {
            self.bytes -= log.bytes;
            self.events -= log.events.len();
        }
        self.gone = self.gone.max(n);
    }
}

impl Log {
    /// Returns what was freed.
    fn forget_oldest(&mut self, channel: &str) -> usize {
        let Some(oldest) = self.events.pop_front() else {
            return 0;
        };
        give_back(&mut self.events);
        self.forgotten = oldest.n;
        let cost = cost(channel, &oldest.frame);
        self.bytes -= cost;
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(events: usize, channel_bytes: usize, bytes: usize) -> App {
        App {
            history_events: events,
            history_channel_bytes: channel_bytes,
            history_bytes: bytes,
            ..App::new("a", "b", "c")
        }
    }

    fn publish(memory: &mut Memory, channel: &str, limits: &App, seconds: u64) -> Position {
        let position = memory.advance();
        memory.append(
            channel,
            position.to_string().into(),
            None,
            limits,
            Time(seconds * 1_000_000),
        );
        position
    }

    fn missed(memory: &Memory, channel: &str, since: Position) -> Option<Vec<String>> {
        if !memory.reaches(channel, since) {
            return None;
        }
        let Position::Memory { mut n, .. } = since else {
            return None;
        };
        let mut all = Vec::new();
        while let Some((next, frame, _)) = memory.next(channel, n) {
            all.push(frame.to_string());
            n = next;
        }
        Some(all)
    }

    /// Against the plainest idea of a history: everything, and a rule of what may be forgotten.
    #[test]
    fn what_is_recovered_is_exactly_what_was_missed_or_nothing() {
        let limits = limits(4, 2000, 3000);
        let mut memory = Memory::new(7);
        let mut all: Vec<(u64, String)> = Vec::new();
        let mut dice = 1u64;
        for round in 0..3000u64 {
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let channel = format!("c{}", (dice >> 40) % 5);
            publish(&mut memory, &channel, &limits, round / 10);
            all.push((round + 1, channel));
            assert!(memory.bytes <= 3000);
            for back in 0..12u64.min(round) {
                let since = Position::Memory {
                    start: 7,
                    n: round + 1 - back,
                };
                for channel in ["c0", "c1", "c2", "c3", "c4"] {
                    let truth: Vec<String> = all
                        .iter()
                        .filter(|(n, c)| *n > round + 1 - back && c == channel)
                        .map(|(n, _)| Position::Memory { start: 7, n: *n }.to_string())
                        .collect();
                    if let Some(found) = missed(&memory, channel, since) {
                        assert_eq!(found, truth, "round {round}, back {back}, {channel}");
                    } else {
                        assert!(back > 0, "who missed nothing is always told so");
                    }
                }
            }
        }
    }

    #[test]
    fn other_runs_and_the_future_are_not_recovered() {
        let mut memory = Memory::new(7);
        publish(&mut memory, "c", &limits(10, 10_000, 10_000), 0);
        assert!(memory.reaches("c", Position::Memory { start: 7, n: 0 }));
        assert!(!memory.reaches("c", Position::Memory { start: 8, n: 0 }));
        assert!(!memory.reaches("c", Position::Memory { start: 7, n: 2 }));
    }

    #[test]
    fn age_count_and_bytes_each_forget() {
        let by_count = limits(2, 10_000, 10_000);
        let mut memory = Memory::new(7);
        let first = publish(&mut memory, "c", &by_count, 0);
        publish(&mut memory, "c", &by_count, 0);
        assert!(missed(&memory, "c", Position::Memory { start: 7, n: 0 }).is_some());
        publish(&mut memory, "c", &by_count, 0);
        assert!(missed(&memory, "c", Position::Memory { start: 7, n: 0 }).is_none());
        assert_eq!(missed(&memory, "c", first).map(|m| m.len()), Some(2));

        memory.expire(&by_count, Time(299 * 1_000_000));
        assert!(!memory.is_empty());
        memory.expire(&by_count, Time(300 * 1_000_000));
        assert!(memory.is_empty());
        assert_eq!(memory.bytes, 0);
        assert!(missed(&memory, "c", first).is_none());
        let newest = memory.position();
        assert_eq!(missed(&memory, "c", newest), Some(Vec::new()));

        // An event that is larger than all memory is a gap, not a loss in silence.
        let tiny = limits(10, 130, 130);
        publish(&mut memory, "c", &tiny, 400);
        assert!(missed(&memory, "c", newest).is_none());
    }

    /// One event that stays keeps the order from its beginning on; what others forget meanwhile must not stay in it.
    #[test]
    fn places_of_what_was_forgotten_are_few() {
        let limits = limits(4, 10_000, 10_000);
        let mut memory = Memory::new(7);
        publish(&mut memory, "slow", &limits, 0);
        for _ in 0..1000 {
            publish(&mut memory, "fast", &limits, 1);
            assert!(memory.order.len() <= 2 * memory.events + 64);
        }
        assert_eq!(memory.events, 5);
        for channel in ["slow", "fast"] {
            let log = &memory.logs[channel];
            let places = memory
                .order
                .iter()
                .filter(|(n, of)| &**of == channel && *n >= log.events[0].n);
            assert_eq!(places.count(), log.events.len(), "each that is kept has its place");
        }
        memory.expire(&limits, Time(301 * 1_000_000));
        assert_eq!((memory.events, memory.bytes, memory.order.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_forgotten_gives_back_its_room() {
        let limits = limits(10_000, 10_000_000, 10_000_000);
        let mut memory = Memory::new(7);
        for n in 0..5000 {
            publish(&mut memory, &format!("c{n}"), &limits, 0);
            publish(&mut memory, "crowded", &limits, 0);
        }
        publish(&mut memory, "crowded", &limits, 200);
        assert!(memory.logs.capacity() >= 5000 && memory.order.capacity() >= 10_000);
        memory.expire(&limits, Time(300 * 1_000_000));
        let crowded = &memory.logs["crowded"].events;
        assert_eq!(crowded.len(), 1);
        let room = [memory.logs.capacity(), memory.order.capacity(), crowded.capacity()];
        assert!(room.iter().all(|room| *room <= 64), "{room:?}");
    }
}
