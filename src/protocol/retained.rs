//! A log of the newest entries of many channels, for clients that come later. Entries have numbers that grow across all
//! channels. Of each channel the newest entries are kept, without a gap. The owner sets the limits and removes the
//! oldest entries. The log counts entries and bytes, and records from which number on a channel is complete.

use std::collections::{HashMap, VecDeque};

use super::room::give_back;

/// The order may keep places of removed entries: this many, plus as many as there are entries.
const STALE: usize = 64;

/// See the top of this file.
#[derive(Debug)]
pub struct Retained<T> {
    channels: HashMap<Box<str>, Channel<T>>,
    /// The places of the entries, oldest first. When an entry is removed from its channel, its place stays here for a
    /// while.
    order: VecDeque<(u64, Box<str>)>,
    entries: usize,
    bytes: usize,
    /// The highest number up to which channels without entries may have lost entries.
    gone: u64,
}

/// The entries of one channel; at least one.
#[derive(Debug)]
struct Channel<T> {
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    /// The number up to which the channel may have lost entries.
    gone: u64,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    bytes: usize,
    value: T,
}

impl<T> Default for Retained<T> {
    fn default() -> Self {
        Self {
            channels: HashMap::new(),
            order: VecDeque::new(),
            entries: 0,
            bytes: 0,
            gone: 0,
        }
    }
}

impl<T> Retained<T> {
    /// Keeps an entry. Its number is higher than all numbers before. `bytes` is its cost.
    pub fn push(&mut self, channel: &str, number: u64, bytes: usize, value: T) {
        let entry = Entry { number, bytes, value };
        match self.channels.get_mut(channel) {
            Some(own) => {
                own.entries.push_back(entry);
                own.bytes += bytes;
            }
            None => {
                let own = Channel {
                    entries: VecDeque::from([entry]),
                    bytes,
                    gone: self.gone,
                };
                self.channels.insert(channel.into(), own);
            }
        }
        self.order.push_back((number, channel.into()));
        self.entries += 1;
        self.bytes += bytes;
        // Entries that were removed from their channels left their places behind.
        if self.order.len() > 2 * self.entries + STALE {
            let channels = &self.channels;
            self.order
                .retain(|(number, channel)| is_kept(channels, channel, *number));
        }
    }

    /// The number of entries of all channels.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The bytes of all entries.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of entries of a channel, and their bytes.
    pub fn size_of(&self, channel: &str) -> (usize, usize) {
        let own = self.channels.get(channel);
        own.map_or((0, 0), |own| (own.entries.len(), own.bytes))
    }

    /// The number above which every entry of a channel is kept.
    pub fn complete_above(&self, channel: &str) -> u64 {
        self.channels.get(channel).map_or(self.gone, |own| own.gone)
    }

    /// The first entry of a channel above a number.
    pub fn next(&self, channel: &str, number: u64) -> Option<(u64, &T)> {
        let entries = &self.channels.get(channel)?.entries;
        let next = entries.get(entries.partition_point(|entry| entry.number <= number))?;
        Some((next.number, &next.value))
    }

    /// The newest entry of a channel.
    pub fn newest(&self, channel: &str) -> Option<&T> {
        let newest = self.channels.get(channel)?.entries.back()?;
        Some(&newest.value)
    }

    /// The newest entry of each channel, in no order.
    pub fn newest_of_all(&self) -> impl Iterator<Item = (&str, &T)> {
        let all = self.channels.iter();
        all.filter_map(|(channel, own)| Some((&**channel, &own.entries.back()?.value)))
    }

    /// The oldest entry of all channels, and its number.
    pub fn oldest(&mut self) -> Option<(u64, &T)> {
        while let Some((number, channel)) = self.order.front()
            && !is_kept(&self.channels, channel, *number)
        {
            self.order.pop_front();
        }
        let (_, channel) = self.order.front()?;
        let oldest = self.channels.get(channel)?.entries.front()?;
        Some((oldest.number, &oldest.value))
    }

    /// Removes the oldest entry of all channels. Returns it with its channel.
    pub fn pop_oldest(&mut self) -> Option<(Box<str>, T)> {
        self.oldest()?;
        let (_, channel) = self.order.pop_front()?;
        give_back(&mut self.order);
        let value = self.pop_oldest_of(&channel)?;
        Some((channel, value))
    }

    /// Removes the oldest entry of a channel.
    pub fn pop_oldest_of(&mut self, channel: &str) -> Option<T> {
        let own = self.channels.get_mut(channel)?;
        let oldest = own.entries.pop_front()?;
        give_back(&mut own.entries);
        own.gone = oldest.number;
        own.bytes -= oldest.bytes;
        self.entries -= 1;
        self.bytes -= oldest.bytes;
        if own.entries.is_empty() {
            self.forget(channel, oldest.number);
        }
        Some(oldest.value)
    }

    /// Removes all entries of a channel. The channel had more entries up to this number, which are not kept.
    pub fn forget(&mut self, channel: &str, number: u64) {
        if let Some(own) = self.channels.remove(channel) {
            self.entries -= own.entries.len();
            self.bytes -= own.bytes;
            give_back(&mut self.channels);
        }
        self.gone = self.gone.max(number);
    }
}

/// Whether the entry with this number is still in its channel.
fn is_kept<T>(channels: &HashMap<Box<str>, Channel<T>>, channel: &str, number: u64) -> bool {
    let oldest = channels.get(channel).and_then(|own| own.entries.front());
    oldest.is_some_and(|oldest| oldest.number <= number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_newest_entries_and_records_where_they_begin() {
        let mut log = Retained::default();
        for number in 1..=6 {
            log.push(if number % 2 == 0 { "even" } else { "odd" }, number, 10, number);
        }
        assert_eq!((log.len(), log.bytes(), log.size_of("odd")), (6, 60, (3, 30)));
        assert_eq!(log.oldest(), Some((1, &1)));
        assert_eq!(log.newest("odd"), Some(&5));
        assert_eq!(log.pop_oldest_of("odd"), Some(1));
        assert_eq!(log.pop_oldest(), Some(("even".into(), 2)));
        assert_eq!((log.complete_above("odd"), log.complete_above("even")), (1, 2));
        assert_eq!((log.next("odd", 1), log.next("odd", 5)), (Some((3, &3)), None));
        assert_eq!(log.complete_above("other"), 0);
        log.forget("odd", 7);
        assert_eq!((log.len(), log.bytes()), (2, 20));
        assert_eq!(log.oldest(), Some((4, &4)));
        assert_eq!((log.complete_above("odd"), log.complete_above("even")), (7, 2));
        log.push("odd", 8, 10, 8);
        assert_eq!(log.complete_above("odd"), 7);
    }

    /// One old entry stays at the front of the order. Places of entries that were removed behind it must not pile up.
    #[test]
    fn the_order_keeps_few_places_of_removed_entries() {
        let mut log = Retained::default();
        log.push("slow", 1, 1, ());
        for number in 2..1000 {
            log.push("fast", number, 1, ());
            if log.size_of("fast").0 > 4 {
                log.pop_oldest_of("fast");
            }
            assert!(log.order.len() <= 2 * (log.len() + 1) + STALE);
        }
        assert_eq!(log.len(), 5);
        for channel in ["slow", "fast"] {
            let entries = &log.channels[channel].entries;
            let oldest = entries[0].number;
            let places = log.order.iter().filter(|(n, of)| &**of == channel && *n >= oldest);
            assert_eq!(places.count(), entries.len(), "every kept entry has its place");
        }
        while log.pop_oldest().is_some() {}
        assert_eq!((log.len(), log.bytes(), log.order.len()), (0, 0, 0));
    }

    #[test]
    fn removed_entries_give_back_their_capacity() {
        let mut log = Retained::default();
        for number in 0..5000 {
            log.push(&format!("c{number}"), 2 * number, 1, ());
            log.push("crowded", 2 * number + 1, 1, ());
        }
        log.push("crowded", 10_000, 1, ());
        assert!(log.channels.capacity() >= 5000 && log.order.capacity() >= 10_000);
        while log.len() > 1 {
            log.pop_oldest();
        }
        let crowded = &log.channels["crowded"].entries;
        assert_eq!(crowded.len(), 1);
        let room = [log.channels.capacity(), log.order.capacity(), crowded.capacity()];
        assert!(room.iter().all(|room| *room <= 64), "{room:?}");
    }
}
