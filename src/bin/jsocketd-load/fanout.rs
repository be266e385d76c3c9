//! The fanout scenario: many clients subscribe to one channel, one client publishes, and every subscriber must receive
//! every event once and in order. Other servers may take turns with jsocketd: another server of the Pusher protocol, or
//! a bare server that sends each posted event to every connection.

use std::time::Duration;

use hdrhistogram::Histogram;
use jsocketd::time::Time;

use crate::client::Script;
use crate::fleet::{histogram, random_mask};
use crate::process::Process;
use crate::pusher::{self, Frame};
use crate::target::Target;
use crate::wire;

mod rounds;

pub use rounds::run;

/// The channel that all subscribers share.
pub const CHANNEL: &str = "load";
/// The digits of an event's number, with which its data begins.
pub const DIGITS: usize = 10;

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub connections: usize,
    /// Bytes of an event's data.
    pub size: usize,
    pub pace: Pace,
    pub rounds: usize,
}

/// How fast is published.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second, for so long.
    Rate(f64, Duration),
    /// So many at once.
    Burst(usize),
}

impl Pace {
    fn publishes(self) -> usize {
        match self {
            Pace::Rate(rate, span) => (rate * span.as_secs_f64()).ceil() as usize,
            Pace::Burst(count) => count,
        }
    }
}

/// One of the servers.
pub struct Side<'a> {
    pub name: &'a str,
    pub target: &'a Target,
    pub process: Option<&'a Process>,
    /// The server does not implement the Pusher protocol: every connection receives every posted event.
    pub bare: bool,
}

/// One round on one side: the subscribers and the events that they received.
struct Fanout {
    bare: bool,
    lanes: Vec<Lane>,
    subscribed: usize,
    events: Vec<Event>,
    /// Events that every subscriber has received.
    complete: usize,
    answered: usize,
    deliveries: u64,
    /// When the last delivery came.
    last_delivery: Time,
    /// Microseconds from the request to each delivery, and to the last one.
    each: Histogram<u64>,
    last: Histogram<u64>,
    wrong: u64,
    lost: u64,
    first_wrong: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    subscribed: bool,
    /// The number of the event that must come next.
    next: usize,
}

/// Something that was published.
struct Event {
    data: String,
    sent: Time,
    /// The frame as the first subscriber got it, once its content was checked; the others' is compared byte by byte.
    frame: Vec<u8>,
    deliveries: usize,
}

impl Fanout {
    fn new(connections: usize, bare: bool) -> Self {
        Self {
            bare,
            lanes: vec![Lane::default(); connections],
            subscribed: 0,
            events: Vec::new(),
            complete: 0,
            answered: 0,
            deliveries: 0,
            last_delivery: Time(0),
            each: histogram(),
            last: histogram(),
            wrong: 0,
            lost: 0,
            first_wrong: None,
        }
    }

    /// Takes note that an event is published now.
    fn published(&mut self, data: String, now: Time) {
        self.events.push(Event {
            data,
            sent: now,
            frame: Vec::new(),
            deliveries: 0,
        });
    }

    fn is_settled(&self) -> bool {
        self.complete == self.events.len() && self.answered == self.events.len()
    }

    /// Forgets the figures, not the order of events.
    fn reset(&mut self) {
        self.deliveries = 0;
        self.each.reset();
        self.last.reset();
    }

    fn note_wrong(&mut self, id: usize, what: &str, bytes: &[u8]) {
        self.wrong += 1;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        self.first_wrong
            .get_or_insert_with(|| format!("connection {id}: {what}: {shown}"));
    }

    /// The greeting of the server and the answer to the subscription.
    fn greeted(&mut self, id: usize, bytes: &[u8]) {
        match Frame::read(bytes) {
            Some(frame) if frame.is_succeeded(CHANNEL) => {
                self.lanes[id].subscribed = true;
                self.subscribed += 1;
            }
            Some(frame) if frame.socket_id().is_some() => {}
            _ => self.note_wrong(id, "instead of subscription_succeeded came", bytes),
        }
    }

    /// A frame that is not, byte for byte, the one that must come next: the first of its kind, or one too early or too
    /// late.
    fn examine(&mut self, id: usize, bytes: &[u8], now: Time) {
        let Some(frame) = Frame::read(bytes) else {
            return self.note_wrong(id, "this is no frame", bytes);
        };
        if frame.is_upkeep() {
            return;
        }
        let data = frame.data().unwrap_or_default();
        let number = data.get(..DIGITS).and_then(|digits| digits.parse::<usize>().ok());
        let next = self.lanes[id].next;
        let whole = frame.event == pusher::EVENT
            && frame.channel.as_deref() == Some(CHANNEL)
            && number
                .and_then(|number| self.events.get(number))
                .is_some_and(|event| event.data == data);
        match number {
            Some(number) if whole && number >= next => {
                // The skipped events count as lost. A skipped event that arrives later counts as wrong.
                self.lost += (number - next) as u64;
                self.events[number].frame = bytes.to_vec();
                self.lanes[id].next = number;
                self.deliver(id, now);
            }
            Some(_) if whole => self.note_wrong(id, "an event came twice or out of order", bytes),
            _ => self.note_wrong(id, "an event that was not published", bytes),
        }
    }

    fn deliver(&mut self, id: usize, now: Time) {
        let lane = &mut self.lanes[id];
        let event = &mut self.events[lane.next];
        lane.next += 1;
        event.deliveries += 1;
        let micros = now.since(event.sent).as_micros() as u64;
        let _ = self.each.record(micros);
        if event.deliveries == self.lanes.len() {
            let _ = self.last.record(micros);
            self.complete += 1;
        }
        self.deliveries += 1;
        self.last_delivery = now;
    }

    /// Counts the events that will not come any more.
    fn give_up(&mut self) {
        let all = self.events.len();
        self.lost += self.lanes.iter().map(|lane| (all - lane.next) as u64).sum::<u64>();
        self.lost += (all - self.answered) as u64;
    }
}

impl Script for Fanout {
    fn upgraded(&mut self, id: usize, out: &mut Vec<u8>) {
        match self.lanes.get_mut(id) {
            None => {} // the publisher
            Some(lane) if self.bare => {
                lane.subscribed = true;
                self.subscribed += 1;
            }
            Some(_) => wire::encode(wire::TEXT, pusher::subscribe(CHANNEL).as_bytes(), random_mask(), out),
        }
    }

    fn received(&mut self, id: usize, bytes: &[u8], _: &mut Vec<u8>, now: Time) {
        let lane = self.lanes[id];
        if !lane.subscribed {
            return self.greeted(id, bytes);
        }
        match self.events.get(lane.next) {
            Some(event) if event.frame == bytes => self.deliver(id, now),
            _ => self.examine(id, bytes, now),
        }
    }

    fn answered(&mut self, id: usize, status: u16, body: &[u8], _: &mut Vec<u8>, _: Time) {
        self.answered += 1;
        if status != 200 {
            self.note_wrong(id, &format!("a publish was answered with {status}"), body);
        }
    }
}

/// The data of an event: its number and a filling.
fn data(number: usize, size: usize) -> String {
    let mut data = format!("{number:0DIGITS$}");
    data.extend((DIGITS..size).map(|at| char::from(b'a' + ((at + number) % 26) as u8)));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fan-out to two subscribers with `published` events on the way.
    fn fanout(published: usize) -> Fanout {
        let mut fanout = Fanout::new(2, false);
        for id in 0..2 {
            receive(
                &mut fanout,
                id,
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#,
            );
            receive(
                &mut fanout,
                id,
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"load","data":"{}"}"#,
            );
        }
        (0..published).for_each(|number| fanout.published(data(number, 30), Time(0)));
        fanout
    }

    fn receive(fanout: &mut Fanout, id: usize, text: &str) {
        fanout.received(id, text.as_bytes(), &mut Vec::new(), Time(5));
    }

    fn frame(number: usize) -> String {
        pusher::event(CHANNEL, &data(number, 30))
    }

    #[test]
    fn everything_once_and_in_order_is_right() {
        let mut fanout = fanout(3);
        assert_eq!(fanout.subscribed, 2);
        for id in 0..2 {
            (0..3).for_each(|number| receive(&mut fanout, id, &frame(number)));
            receive(&mut fanout, id, r#"{"event":"pusher:ping","data":"{}"}"#);
        }
        fanout.answered = 3;
        assert!(fanout.is_settled());
        assert_eq!((fanout.deliveries, fanout.wrong, fanout.lost), (6, 0, 0));
        assert_eq!((fanout.each.len(), fanout.last.len()), (6, 3));
    }

    #[test]
    fn another_order_of_the_fields_is_the_same_event() {
        let mut fanout = fanout(1);
        receive(&mut fanout, 0, &frame(0));
        let other = format!(r#"{{"data":"{}","channel":"load","event":"load"}}"#, data(0, 30));
        receive(&mut fanout, 1, &other);
        assert_eq!((fanout.deliveries, fanout.wrong), (2, 0));
    }

    #[test]
    fn a_skipped_event_is_lost_and_a_repeated_event_is_wrong() {
        let mut fanout = fanout(3);
        receive(&mut fanout, 0, &frame(1));
        assert_eq!((fanout.lost, fanout.wrong), (1, 0));
        receive(&mut fanout, 0, &frame(0));
        receive(&mut fanout, 0, &frame(1));
        assert_eq!((fanout.lost, fanout.wrong), (1, 2));
        fanout.answered = 3;
        fanout.give_up();
        assert_eq!(
            fanout.lost,
            1 + 1 + 3,
            "the skipped one, the third, and all of the other subscriber's"
        );
    }

    #[test]
    fn an_event_that_was_not_published_is_wrong() {
        let mut fanout = fanout(1);
        for text in [
            &frame(1),
            "{}",
            "no",
            &frame(0).replace("\"load\"", "\"x\""),
            &frame(0).replace("k", "l"),
        ] {
            let before = fanout.wrong;
            receive(&mut fanout, 0, text);
            assert_eq!(fanout.wrong, before + 1, "{text}");
        }
        assert_eq!(fanout.deliveries, 0);
        fanout.answered(2, 401, b"no", &mut Vec::new(), Time(5));
        assert_eq!(fanout.wrong, 6);
    }
}
