//! The events of the last minutes. A client that was away gets exactly the events that it missed, or an answer that
//! they are no longer known. This is the stream `m…` of events that are in memory only; the module `outbox` answers for
//! positions of the outbox table (`o…`).
//!
//! Events are numbered across all channels of an app. A position is the number of the last event that a client got.
//! Each channel is limited by count, bytes and age, and all channels together by bytes. Dropping an event raises a
//! mark; positions below the mark cannot be recovered. A channel that has a log has its own mark. One common mark
//! covers all logs that were removed.

use std::time::Duration;

use tungstenite::Utf8Bytes;

use crate::config::App;
use crate::protocol::SocketId;
use crate::protocol::position::Position;
use crate::protocol::retained::Retained;
use crate::protocol::rows::{Logged, Missed};
use crate::time::Time;

/// The events in memory of one app.
#[derive(Debug)]
pub struct Memory {
    start: u32,
    newest: u64,
    events: Retained<Kept>,
}

#[derive(Debug)]
struct Kept {
    at: Time,
    event: Logged,
}

/// The estimated bytes of an event besides its text and the channel's name: the structures around it.
const OVERHEAD: usize = 128;

/// The bytes of an event. The channel's name counts twice: in the order, and in the index of the logs.
fn cost(channel: &str, frame: &str) -> usize {
    2 * channel.len() + frame.len() + OVERHEAD
}

impl Memory {
    /// An empty history. `start` distinguishes this run of the server from other runs.
    pub fn new(start: u32) -> Self {
        Self {
            start,
            newest: 0,
            events: Retained::default(),
        }
    }

    /// Begins anew. The events above number `after` will be appended; positions below it, or of another start, cannot
    /// be recovered. Returns `false` if the history has all events above `after` already.
    pub fn restart(&mut self, start: u32, after: u64) -> bool {
        if start == self.start && after <= self.newest {
            return false;
        }
        self.events = Retained::default();
        self.events.forget("", after);
        (self.start, self.newest) = (start, after);
        true
    }

    /// Nothing was appended up to number `n` that is not here.
    pub fn advance(&mut self, n: u64) {
        self.newest = self.newest.max(n);
    }

    /// Gives the next event its position and keeps it. `encode` encodes the event with its position. Returns the frame.
    pub fn append(
        &mut self,
        channel: &str,
        except: Option<SocketId>,
        encode: impl FnOnce(&str) -> String,
        limits: &App,
        now: Time,
    ) -> Utf8Bytes {
        self.newest += 1;
        let n = self.newest;
        let frame = Utf8Bytes::from(encode(&self.position().to_string()));
        let cost = cost(channel, &frame);
        if cost > limits.history_channel_bytes.min(limits.history_bytes) || limits.history_events == 0 {
            // If an event is not kept, the events before it cannot be recovered either.
            self.events.forget(channel, n);
            return frame;
        }
        let event = Logged {
            seq: n,
            frame: frame.clone(),
            except,
        };
        self.events.push(channel, n, cost, Kept { at: now, event });
        let is_over = |(events, bytes)| events > limits.history_events || bytes > limits.history_channel_bytes;
        while is_over(self.events.size_of(channel)) {
            self.events.pop_oldest_of(channel);
        }
        while self.events.bytes() > limits.history_bytes {
            self.events.pop_oldest();
        }
        self.expire(limits, now);
        frame
    }

    /// Drops expired events.
    pub fn expire(&mut self, limits: &App, now: Time) {
        let age = Duration::from_secs(limits.history_seconds);
        while self
            .events
            .oldest()
            .is_some_and(|(_, oldest)| now.since(oldest.at) >= age)
        {
            self.events.pop_oldest();
        }
    }

    /// Whether the history is empty, so that nothing can expire.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The position of the newest event.
    pub fn position(&self) -> Position {
        Position::Memory {
            start: self.start,
            n: self.newest,
        }
    }

    /// Whether all events of `channel` after `since` are still kept.
    pub fn reaches(&self, channel: &str, since: Position) -> bool {
        let Position::Memory { start, n } = since else {
            return false;
        };
        start == self.start && n <= self.newest && n >= self.events.complete_above(channel)
    }

    /// The first event of `channel` after number `n`, if all events after `n` are still kept.
    pub fn missed(&self, channel: &str, n: u64) -> Missed {
        let start = self.start;
        if !self.reaches(channel, Position::Memory { start, n }) {
            return Missed::Gone;
        }
        let next = self.events.next(channel, n);
        next.map_or(Missed::Nothing, |(_, kept)| Missed::Event(kept.event.clone()))
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
        memory.append(channel, None, str::to_owned, limits, Time(seconds * 1_000_000));
        memory.position()
    }

    fn missed(memory: &Memory, channel: &str, since: Position) -> Option<Vec<String>> {
        if !memory.reaches(channel, since) {
            return None;
        }
        let Position::Memory { mut n, .. } = since else {
            return None;
        };
        let mut all = Vec::new();
        while let Missed::Event(event) = memory.missed(channel, n) {
            all.push(event.frame.to_string());
            n = event.seq;
        }
        Some(all)
    }

    /// Compares the history with the simplest model: all events, and a rule for which ones may be dropped.
    #[test]
    fn a_recovery_has_exactly_the_missed_events_or_nothing() {
        let limits = limits(4, 2000, 3000);
        let mut memory = Memory::new(7);
        let mut all: Vec<(u64, String)> = Vec::new();
        let mut dice = 1u64;
        for round in 0..3000u64 {
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let channel = format!("c{}", (dice >> 40) % 5);
            publish(&mut memory, &channel, &limits, round / 10);
            all.push((round + 1, channel));
            assert!(memory.events.bytes() <= 3000);
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
                        assert!(back > 0, "a client that missed nothing always gets this answer");
                    }
                }
            }
        }
    }

    #[test]
    fn positions_of_other_runs_and_of_the_future_are_not_recovered() {
        let mut memory = Memory::new(7);
        publish(&mut memory, "c", &limits(10, 10_000, 10_000), 0);
        assert!(memory.reaches("c", Position::Memory { start: 7, n: 0 }));
        assert!(!memory.reaches("c", Position::Memory { start: 8, n: 0 }));
        assert!(!memory.reaches("c", Position::Memory { start: 7, n: 2 }));
    }

    #[test]
    fn age_count_and_bytes_each_limit_the_history() {
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
        assert_eq!(memory.events.bytes(), 0);
        assert!(missed(&memory, "c", first).is_none());
        let newest = memory.position();
        assert_eq!(missed(&memory, "c", newest), Some(Vec::new()));

        // An event that is larger than the whole memory causes a gap; it is not lost silently.
        let tiny = limits(10, 130, 130);
        publish(&mut memory, "c", &tiny, 400);
        assert!(missed(&memory, "c", newest).is_none());
    }
}
