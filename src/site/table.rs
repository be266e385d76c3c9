//! The outbox table of the site, if it is read, and the clients that wait for it.

use crate::config::Database;
use crate::outbox::Outbox;
use crate::protocol::effects::Effect;
use crate::protocol::rows::Seen;
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

/// See the file.
#[derive(Debug)]
pub(super) struct Table {
    outbox: Option<Outbox>,
    /// What the outbox was when waiting clients were last woken: its generation, and whether its position was known, or
    /// known not to come.
    woken: (u64, bool),
}

impl Table {
    /// Nothing is known yet. `process`: names this process to others. `most_bytes`: of an event's data.
    pub(super) fn new(settings: &Database, process: u32, most_bytes: usize) -> Self {
        let outbox = || Outbox::new(settings, process, most_bytes);
        Self {
            outbox: settings.outbox.then(outbox),
            woken: (0, false),
        }
    }

    /// Goes on with other settings.
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

    /// Whether rows are on their way, or a transaction is open: everybody's statements wait for its end.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.outbox.as_ref().is_some_and(Outbox::is_on_its_way)
    }

    pub(super) fn question(&mut self, alone: bool, now: Now) -> Option<Question> {
        self.outbox.as_mut()?.question(alone, now)
    }

    /// When there is a question.
    pub(super) fn question_due(&self) -> Time {
        self.outbox.as_ref().map_or(Time::NEVER, Outbox::deadline)
    }

    /// What came of a question. Returns what became visible, and wakes clients that wait for the table's past.
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
