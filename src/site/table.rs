//! The outbox table of the site, if it is read, and the wake-ups of the clients that wait for it.

use crate::config::Database;
use crate::outbox::Outbox;
use crate::protocol::effects::Effect;
use crate::protocol::rows::Seen;
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Table {
    outbox: Option<Outbox>,
    /// The state at the last wake-up of waiting clients: the outbox's generation, and whether its position was no
    /// longer expected because it was known or would not come.
    woken: (u64, bool),
}

impl Table {
    /// A table of which nothing has been read. `process` identifies this process to others. `most_bytes`: the most
    /// bytes of an event's data.
    pub(super) fn new(settings: &Database, process: u32, most_bytes: usize) -> Self {
        let outbox = || Outbox::new(settings, process, most_bytes);
        Self {
            outbox: settings.outbox.then(outbox),
            woken: (0, false),
        }
    }

    /// Applies new settings.
    pub(super) fn reconfigure(&mut self, settings: &Database, most_bytes: usize) {
        if let Some(outbox) = &mut self.outbox {
            outbox.reconfigure(settings, most_bytes);
        }
    }

    pub(super) fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    pub(super) fn outbox_mut(&mut self) -> Option<&mut Outbox> {
        self.outbox.as_mut()
    }

    /// Whether rows are on their way, or a transaction is open: the statements of all other parts wait for its end.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.outbox.as_ref().is_some_and(Outbox::is_on_its_way)
    }

    pub(super) fn question(&mut self, alone: bool, now: Now) -> Option<Question> {
        self.outbox.as_mut()?.question(alone, now)
    }

    /// When the next question is due.
    pub(super) fn question_due(&self) -> Time {
        self.outbox.as_ref().map_or(Time::NEVER, Outbox::deadline)
    }

    /// Handles an answer. Returns the rows that became visible, and wakes clients that wait for older rows.
    pub(super) fn answer(
        &mut self,
        question: &Question,
        answer: Result<Answer, Failure>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Vec<Seen> {
        let Some(outbox) = &mut self.outbox else {
            return Vec::new();
        };
        let seen = outbox.answer(question, answer, now);
        let woken = (outbox.generation(), !outbox.is_coming());
        if woken != self.woken {
            self.woken = woken;
            effects.push(Effect::WakeAll);
        }
        seen
    }
}
