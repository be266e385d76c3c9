//! Webhooks that the leader sends. Every process notes the same ones, in the order of the log. The others keep them
//! until the leader's mark says that they are on their way, so that a new leader can send them after all.

use std::collections::VecDeque;

use crate::protocol::effects::HookEvent;

/// The most events that are kept.
const MAX_EVENTS: usize = 10_000;

/// The most bytes that the texts of kept events have.
const MAX_BYTES: usize = 8 << 20;

/// A place in the log that stays in order across epochs.
pub(super) type Place = (u32, u64);

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    kept: VecDeque<(Place, usize, HookEvent)>,
    bytes: usize,
    dropped: u64,
}

impl Hooks {
    /// Keeps an event of this place in the log, or drops the oldest ones if there are too many.
    pub(super) fn keep(&mut self, place: Place, app: usize, event: HookEvent) {
        self.bytes += size(&event);
        self.kept.push_back((place, app, event));
        while (self.kept.len() > MAX_EVENTS || self.bytes > MAX_BYTES)
            && let Some((_, _, oldest)) = self.kept.pop_front()
        {
            self.bytes -= size(&oldest);
            self.dropped += 1;
        }
    }

    /// The leader has passed on all up to this place.
    pub(super) fn mark(&mut self, place: Place) {
        while let Some((kept, _, event)) = self.kept.front()
            && *kept <= place
        {
            self.bytes -= size(event);
            self.kept.pop_front();
        }
    }

    /// Takes all: this process is the leader now.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (usize, HookEvent)> {
        self.bytes = 0;
        std::mem::take(&mut self.kept)
            .into_iter()
            .map(|(_, app, event)| (app, event))
    }

    /// How many are kept, and how many were dropped since the start.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.kept.len(), self.dropped)
    }
}

/// The bytes of an event's texts that have no small limit, and of the rest about.
fn size(event: &HookEvent) -> usize {
    let data = match event {
        HookEvent::ClientEvent { data, .. } => data.len(),
        _ => 0,
    };
    256 + event.channel().len() + data
}
