//! The loop's part of the flight recorder: the input that is blamed, and the records as they are shown.

use std::time::Duration;

use http::Method;

use crate::flight::{Culprit, Kind, Recorder, Report, Tick};
use crate::id::ConnectionId;
use crate::logging::{More, RareLine};
use crate::net::event::Event;
use crate::protocol::actions::{Action, LoopView, Message};
use crate::service::status;
use crate::time::{Now, Time};

/// Ticks that the console shows at once.
const TICKS_SHOWN: usize = 20;

/// Bytes of a path that are kept.
const MOST_PATH: usize = 120;

/// The least between two lines about slow ticks with the same kind of culprit.
const SLOW_TICKS: Duration = Duration::from_secs(1);

/// The lines about slow ticks, by the kind of culprit: a flood of one client must not hide a slow statement.
#[derive(Debug, Default)]
pub(super) struct SlowTicks([RareLine; Kind::COUNT]);

impl SlowTicks {
    /// A tick was slow.
    pub(super) fn note(&mut self, tick: &Tick, now: Time) {
        let line = &mut self.0[tick.culprit.kind as usize];
        if let Some(more) = line.allow(SLOW_TICKS, now) {
            log::warn!("slow tick: {tick}{}", More(more));
        }
    }
}

/// The input of one read.
#[derive(Debug, Default)]
pub(super) struct Heard {
    messages: u32,
    /// Bytes of the messages, or of the body.
    bytes: u32,
    requests: u32,
    /// Those of the last request or handshake. The query is left out, since it may hold a signature.
    method: Method,
    path: String,
}

impl Heard {
    /// An event was decoded.
    pub(super) fn note(&mut self, event: &Event) {
        let bytes = match event {
            Event::Message(message) => {
                self.messages += 1;
                message.len()
            }
            Event::Request(request) | Event::Handshake(request) => {
                self.requests += 1;
                self.method.clone_from(request.method());
                self.path.clear();
                let path = request.uri().path();
                self.path.push_str(path.get(..MOST_PATH).unwrap_or(path));
                request.body().len()
            }
            Event::Over(_) => 0,
        };
        self.bytes = self.bytes.saturating_add(bytes as u32);
    }

    /// The connection was read.
    pub(super) fn clear(&mut self) {
        (self.messages, self.requests, self.bytes) = (0, 0, 0);
    }

    /// How many messages, requests and handshakes there were.
    pub(super) fn count(&self) -> u32 {
        self.messages + self.requests
    }

    /// Names a culprit by them.
    pub(super) fn name(&self, culprit: &mut Culprit) {
        culprit.kind = Kind::Input;
        (culprit.count, culprit.bytes) = (self.messages, self.bytes);
        if self.requests > 0 {
            culprit.append(self.method.as_str());
            culprit.append(" ");
            culprit.append(&self.path);
        }
    }
}

/// The action that shows the records to a connection.
pub(super) fn show(flight: &Recorder, to: ConnectionId, view: LoopView, slow_ms: u64, now: Now) -> Action {
    let report = |since, limit| Report::new(flight, since, limit, slow_ms, now);
    let text = match view {
        LoopView::Json { since, limit } => {
            return Action::Respond(to, Box::new(status::records(&report(since, limit))));
        }
        LoopView::Ticks => report(0, TICKS_SHOWN).ticks_text(),
        LoopView::Blame => report(0, 0).blame_text(TICKS_SHOWN),
    };
    Action::Send(to, Message::Text(text.into()))
}
