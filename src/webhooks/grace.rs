//! The grace of departures, for one target. A page that is loaded again leaves and returns within a second, and no site
//! needs an event for that. Later events of the same channel wait behind such a departure, so that their order is kept.
//!
//! Every departure and every event gets the next number. The line holds the events that wait, by channel and number.
//! The first event of a channel is always a departure in its grace, and everything behind it waits. So nothing waits
//! longer than the youngest departure ahead of it. If a target wants arrivals but not departures, its departures are
//! not put into the line: they only cancel a return, and no event waits for them.

use std::collections::BTreeMap;

use super::event::{GRACE, QUEUE_BYTES, QUEUE_EVENTS, Subject, Waiting};
use crate::time::Time;

/// All events of one target that wait because of a departure.
#[derive(Debug, Default)]
pub(super) struct Grace {
    line: BTreeMap<(String, u64), Waiting>,
    /// The departures in their grace, by number; so the first one is the first whose grace ends.
    departures: BTreeMap<u64, Departure>,
    /// The number of the departure of each subject that can still return.
    gone: BTreeMap<(String, Subject), u64>,
    next: u64,
    /// The bytes of the bodies in the line.
    bytes: usize,
}

#[derive(Debug)]
struct Departure {
    ends: Time,
    channel: String,
    subject: Subject,
}

impl Grace {
    /// Records a departure. Without an event, the departure is only remembered, so that a return can undo it.
    pub(super) fn depart(
        &mut self,
        channel: &str,
        subject: Subject,
        event: Option<Waiting>,
        now: Time,
        out: &mut Vec<Waiting>,
    ) {
        let number = self.append(channel, event);
        let before = self.gone.insert((channel.to_owned(), subject.clone()), number);
        // The same subject may leave twice without a return in between, if a reload changed the target's events
        // meanwhile.
        if let Some(before) = before {
            self.departures.remove(&before);
        }
        let departure = Departure {
            ends: now + GRACE,
            channel: channel.to_owned(),
            subject,
        };
        self.departures.insert(number, departure);
        self.advance(channel, out);
        self.shorten(out);
    }

    /// Records a return. Returns true if it undid a departure; then neither of the two is sent, and the events behind
    /// the departure may leave the line.
    pub(super) fn undo(&mut self, channel: &str, subject: &Subject, out: &mut Vec<Waiting>) -> bool {
        let Some(number) = self.gone.remove(&(channel.to_owned(), subject.clone())) else {
            return false;
        };
        self.departures.remove(&number);
        self.take(channel, number);
        self.advance(channel, out);
        true
    }

    /// Takes an event that has no grace of its own.
    pub(super) fn pass(&mut self, channel: &str, event: Waiting, out: &mut Vec<Waiting>) {
        self.append(channel, Some(event));
        self.advance(channel, out);
        self.shorten(out);
    }

    /// Ends every grace that is over by `now`.
    pub(super) fn release(&mut self, now: Time, out: &mut Vec<Waiting>) {
        while self.deadline() <= now && self.end_first(out) {}
    }

    /// When the next grace ends.
    pub(super) fn deadline(&self) -> Time {
        let first = self.departures.first_key_value();
        first.map_or(Time::NEVER, |(_, departure)| departure.ends)
    }

    /// Keeps the waiting events within the limits of a queue: beyond them, the graces of the oldest departures end at
    /// once. The queue drops and counts the events beyond its limits, so events are dropped in one place only.
    fn shorten(&mut self, out: &mut Vec<Waiting>) {
        while self.departures.len() > QUEUE_EVENTS || self.line.len() > QUEUE_EVENTS || self.bytes > QUEUE_BYTES {
            if !self.end_first(out) {
                debug_assert!(false, "waiting events without a departure");
                return;
            }
        }
    }

    /// Ends the oldest grace. Returns whether there was one.
    fn end_first(&mut self, out: &mut Vec<Waiting>) -> bool {
        let Some((_, Departure { channel, subject, .. })) = self.departures.pop_first() else {
            return false;
        };
        let gone = (channel, subject);
        self.gone.remove(&gone);
        self.advance(&gone.0, out);
        true
    }

    /// Gives an event, or a departure without one, its number, and puts the event into the line.
    fn append(&mut self, channel: &str, event: Option<Waiting>) -> u64 {
        let number = self.next;
        self.next += 1;
        if let Some(event) = event {
            self.bytes += event.body.len();
            self.line.insert((channel.to_owned(), number), event);
        }
        number
    }

    /// Takes an event out of the line, if it is there.
    fn take(&mut self, channel: &str, number: u64) -> Option<Waiting> {
        let event = self.line.remove(&(channel.to_owned(), number))?;
        self.bytes -= event.body.len();
        Some(event)
    }

    /// Releases the first events of a channel that are no departure in its grace.
    fn advance(&mut self, channel: &str, out: &mut Vec<Waiting>) {
        let first = (channel.to_owned(), 0);
        while let Some(((of, number), _)) = self.line.range(&first..).next()
            && of == channel
            && !self.departures.contains_key(number)
        {
            let number = *number;
            out.extend(self.take(channel, number));
        }
    }

    /// Whether nothing is held or remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.departures.is_empty() && self.gone.is_empty() && self.bytes == 0
    }

    /// The number of waiting events.
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }
}
