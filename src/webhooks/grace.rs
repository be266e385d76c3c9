//! The grace of departures, for one target. A page that is loaded again leaves and returns within a second, and no site
//! needs an event for that. Later events of the same channel wait behind such a departure, so that their order is kept.
//!
//! A lane holds the waiting events of one channel. Only channels with a departure in its grace have a lane. The first
//! event in a lane is always a departure in its grace, and everything behind it waits. So nothing waits longer than the
//! youngest departure ahead of it. If a target wants arrivals but not departures, its departures are not put into the
//! lane's line: they only cancel a return, and no event waits for them.

use std::collections::{HashMap, VecDeque};

use super::event::{GRACE, QUEUE_BYTES, QUEUE_EVENTS, Subject, Waiting};
use crate::protocol::room::give_back;
use crate::time::Time;

/// All events of one target that wait because of a departure.
#[derive(Debug, Default)]
pub(super) struct Grace {
    lanes: HashMap<String, Lane>,
    /// The departures in the order in which their graces end; some were undone since.
    ends: VecDeque<End>,
    next_departure: u64,
    /// Events in all lanes, and the bytes of their bodies.
    events: usize,
    bytes: usize,
}

/// The waiting events of one channel.
#[derive(Debug, Default)]
struct Lane {
    line: VecDeque<Place>,
    /// The number of the line's first place.
    first: u64,
    gone: HashMap<Subject, Gone>,
}

#[derive(Debug)]
struct Place {
    /// `None`: the departure was undone.
    event: Option<Waiting>,
    in_grace: bool,
}

/// A departure that can still be undone.
#[derive(Debug)]
struct Gone {
    departure: u64,
    /// The number of the departure's place; `None` if the target does not want the event.
    place: Option<u64>,
}

#[derive(Debug)]
struct End {
    at: Time,
    channel: String,
    subject: Subject,
    departure: u64,
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
        let departure = self.next_departure;
        self.next_departure += 1;
        let lane = self.lanes.entry(channel.to_owned()).or_default();
        let place = event.map(|event| {
            self.events += 1;
            self.bytes += event.body.len();
            lane.push(event, true)
        });
        // The same subject may leave twice without a return in between, if a reload changed the target's events
        // meanwhile.
        let before = lane.gone.insert(subject.clone(), Gone { departure, place });
        if let Some(place) = before.and_then(|gone| gone.place).and_then(|number| lane.place(number)) {
            place.in_grace = false;
        }
        self.ends.push_back(End {
            at: now + GRACE,
            channel: channel.to_owned(),
            subject,
            departure,
        });
        self.advance(channel, out);
        self.shorten(out);
    }

    /// Records a return. Returns true if it undid a departure; then neither of the two is sent, and the events behind
    /// the departure may leave the lane.
    pub(super) fn undo(&mut self, channel: &str, subject: &Subject, out: &mut Vec<Waiting>) -> bool {
        let Some(lane) = self.lanes.get_mut(channel) else {
            return false;
        };
        let Some(gone) = lane.gone.remove(subject) else {
            return false;
        };
        if let Some(event) = gone.place.and_then(|number| lane.place(number)?.event.take()) {
            self.events -= 1;
            self.bytes -= event.body.len();
        }
        self.advance(channel, out);
        true
    }

    /// Takes an event that has no grace of its own.
    pub(super) fn pass(&mut self, channel: &str, event: Waiting, out: &mut Vec<Waiting>) {
        match self.lanes.get_mut(channel) {
            Some(lane) if !lane.line.is_empty() => {
                self.events += 1;
                self.bytes += event.body.len();
                lane.push(event, false);
                self.shorten(out);
            }
            _ => out.push(event),
        }
    }

    /// Ends every grace that is over by `now`.
    pub(super) fn release(&mut self, now: Time, out: &mut Vec<Waiting>) {
        while self.ends.front().is_some_and(|end| end.at <= now)
            && let Some(end) = self.ends.pop_front()
        {
            give_back(&mut self.ends);
            self.end(&end, out);
        }
    }

    /// The earliest time at which a grace may end.
    pub(super) fn deadline(&self) -> Time {
        self.ends.front().map_or(Time::NEVER, |end| end.at)
    }

    /// Keeps the waiting events within the limits of a queue: beyond them, the graces of the oldest departures end at
    /// once. The queue drops and counts what is too much for it, so events are dropped in one place only.
    fn shorten(&mut self, out: &mut Vec<Waiting>) {
        while self.ends.len() > QUEUE_EVENTS || self.events > QUEUE_EVENTS || self.bytes > QUEUE_BYTES {
            let Some(end) = self.ends.pop_front() else {
                debug_assert!(false, "something waits, but for nobody");
                return;
            };
            self.end(&end, out);
        }
    }

    fn end(&mut self, end: &End, out: &mut Vec<Waiting>) {
        let Some(lane) = self.lanes.get_mut(&end.channel) else {
            return;
        };
        if lane
            .gone
            .get(&end.subject)
            .is_none_or(|gone| gone.departure != end.departure)
        {
            // The departure was undone. A later departure of the same subject has an end of its own.
            return;
        }
        let gone = lane.gone.remove(&end.subject);
        if let Some(place) = gone.and_then(|gone| gone.place).and_then(|number| lane.place(number)) {
            place.in_grace = false;
        }
        self.advance(&end.channel, out);
    }

    /// Releases the events that no longer wait for a grace, and removes an empty lane.
    fn advance(&mut self, channel: &str, out: &mut Vec<Waiting>) {
        let Some(lane) = self.lanes.get_mut(channel) else {
            return;
        };
        while lane
            .line
            .front()
            .is_some_and(|place| place.event.is_none() || !place.in_grace)
            && let Some(place) = lane.line.pop_front()
        {
            lane.first += 1;
            if let Some(event) = place.event {
                self.events -= 1;
                self.bytes -= event.body.len();
                out.push(event);
            }
        }
        if lane.line.is_empty() && lane.gone.is_empty() {
            self.lanes.remove(channel);
            give_back(&mut self.lanes);
        }
    }

    /// Whether nothing is held or remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.ends.is_empty() && self.events == 0 && self.bytes == 0
    }

    /// The number of waiting events.
    pub(super) fn len(&self) -> usize {
        self.events
    }
}

impl Lane {
    /// Appends an event and returns the number of its place.
    fn push(&mut self, event: Waiting, in_grace: bool) -> u64 {
        self.line.push_back(Place {
            event: Some(event),
            in_grace,
        });
        self.first + self.line.len() as u64 - 1
    }

    fn place(&mut self, number: u64) -> Option<&mut Place> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.line.get_mut(index)
    }
}
