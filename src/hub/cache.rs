//! The last event of each cache channel (pusher.md section 5). It is kept also without subscribers, until it expires or
//! the app's cache is full. Then the oldest event is dropped first.

use std::time::Duration;

use crate::config::App;
use crate::protocol::frames::{self, Extra};
use crate::protocol::retained::Retained;
use crate::time::{Now, Time};

/// The estimated bytes of an entry besides its text.
const OVERHEAD: usize = 128;

/// The cached events of one app.
#[derive(Debug, Default)]
pub struct Cache {
    /// One event for each channel, numbered in the order in which they were cached.
    events: Retained<Cached>,
    puts: u64,
    /// Events up to this number may be out of date: events of a cluster were lost.
    doubted: u64,
}

/// A cached event.
#[derive(Debug)]
pub struct Cached {
    until: Time,
    event: Box<str>,
    data: Box<str>,
}

impl Cached {
    /// The event's name.
    pub(super) fn event(&self) -> &str {
        &self.event
    }

    /// The time since it was published.
    pub(super) fn age(&self, limits: &App, now: Now) -> Duration {
        Duration::from_secs(limits.cache_ttl).saturating_sub(self.until.since(now.at))
    }

    /// Its data.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// For how many seconds the event is still kept.
    pub fn seconds_left(&self, now: Now) -> u64 {
        self.until.since(now.at).as_secs()
    }

    /// The frame, as it was when the event was published.
    pub fn frame(&self, channel: &str) -> String {
        frames::event(&self.event, channel, &self.data, None, Extra::default())
    }

    fn cost(&self, channel: &str) -> usize {
        2 * channel.len() + self.event.len() + self.data.len() + OVERHEAD
    }
}

impl Cache {
    /// Caches an event and replaces the channel's event before it. `age`: the time since the event was published.
    pub fn put(&mut self, channel: &str, event: &str, data: &str, age: Duration, limits: &App, now: Now) {
        self.puts += 1;
        self.events.forget(channel, self.puts);
        let until = now.at + Duration::from_secs(limits.cache_ttl).saturating_sub(age);
        let cached = Cached {
            until,
            event: event.into(),
            data: data.into(),
        };
        let cost = cached.cost(channel);
        if until <= now.at || cost > limits.cache_bytes {
            return;
        }
        self.events.push(channel, self.puts, cost, cached);
        while self.events.bytes() > limits.cache_bytes {
            self.events.pop_oldest();
        }
    }

    /// The cached event of a channel, if it has not expired.
    pub fn find(&self, channel: &str, now: Now) -> Option<&Cached> {
        self.events.newest(channel).filter(|cached| cached.until > now.at)
    }

    /// Events were lost: the cached events may be out of date.
    pub(super) fn doubt(&mut self) {
        self.doubted = self.puts;
    }

    /// Whether the channel's cached event is surely the newest one that was published.
    pub(super) fn is_known(&self, channel: &str, now: Now) -> bool {
        let is_new = self.events.next(channel, self.doubted).is_some();
        is_new && self.find(channel, now).is_some()
    }

    /// All cached events, each with its channel.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Cached)> {
        self.events.newest_of_all()
    }

    /// Drops expired events.
    pub fn expire(&mut self, now: Now) {
        while self.events.oldest().is_some_and(|(_, cached)| cached.until <= now.at) {
            self.events.pop_oldest();
        }
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            at: Time(seconds * 1_000_000),
            unix_ms: 0,
        }
    }

    #[test]
    fn the_newest_event_is_cached_until_it_expires() {
        let limits = App {
            cache_ttl: 10,
            ..App::new("a", "b", "c")
        };
        let mut cache = Cache::default();
        cache.put("cache-x", "e", "1", Duration::ZERO, &limits, at(0));
        cache.put("cache-x", "e", "2", Duration::ZERO, &limits, at(5));
        assert_eq!(cache.find("cache-x", at(14)).map(Cached::data), Some("2"));
        assert_eq!(cache.find("cache-x", at(5)).map(|c| c.seconds_left(at(5))), Some(10));
        assert!(cache.find("cache-x", at(15)).is_none());
        cache.expire(at(15));
        assert!(cache.is_empty());
        assert_eq!(cache.events.bytes(), 0);
        let age = Duration::from_secs(4);
        cache.put("cache-x", "e", "3", age, &limits, at(20));
        assert_eq!(cache.find("cache-x", at(20)).map(|c| c.seconds_left(at(20))), Some(6));
        cache.put("cache-x", "e", "4", age * 3, &limits, at(20));
        assert!(cache.find("cache-x", at(20)).is_none(), "the event has expired");
    }

    #[test]
    fn bytes_are_limited_and_the_oldest_event_is_dropped_first() {
        let limits = App {
            cache_bytes: 1000,
            ..App::new("a", "b", "c")
        };
        let mut cache = Cache::default();
        for n in 0..1000 {
            let channel = format!("cache-{}", n % 20);
            cache.put(&channel, "e", &"x".repeat(n % 300), Duration::ZERO, &limits, at(0));
            assert!(cache.events.bytes() <= 1000);
        }
        assert!(cache.find("cache-19", at(0)).is_some());
        cache.put("cache-19", "e", &"x".repeat(2000), Duration::ZERO, &limits, at(0));
        assert!(
            cache.find("cache-19", at(0)).is_none(),
            "an event that does not fit still replaces the event before it"
        );
    }
}
