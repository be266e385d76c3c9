//! Applies control rows to the parts of the site. A control row reports that rights, users or items changed. Facts that
//! were read before the row are in doubt.

use std::time::Duration;

use super::access::Access;
use super::rights::Rights;
use super::visits::Visits;
use crate::protocol::control::Control;
use crate::protocol::effects::Effect;
use crate::time::Now;

/// The close reason of a user who is kicked out, with the text of hosted Pusher.
pub(super) const KICKED: &str = "You got disconnected by the app.";

/// When facts are read again after a control row, besides at once: Joomla destroys some sessions only after its events.
pub(super) const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// The parts that control rows affect.
pub(super) struct Parts<'a> {
    pub(super) visits: &'a mut Visits,
    pub(super) rights: &'a mut Rights,
    pub(super) access: &'a mut Access,
}

impl Parts<'_> {
    /// Carries out a control row.
    pub(super) fn carry_out(&mut self, control: &Control, now: Now, effects: &mut Vec<Effect>) {
        match control {
            Control::RecheckUser(user) => self.visits.suspect(*user, now),
            Control::TerminateUser(user) => {
                self.visits.terminate(*user, KICKED, effects);
                effects.push(Effect::Terminate(user.to_string()));
                // The database has the change by now, or will have it in a moment. So the user's sessions are looked up
                // again.
                self.visits.suspect(*user, now);
            }
            Control::RecheckItem { kind, id } => self.access.recheck(kind, *id),
            Control::RecheckAccess => self.recheck_access(now),
        }
    }

    /// Rows were lost, and control rows may have been among them.
    pub(super) fn doubt_all(&mut self, now: Now) {
        self.recheck_access(now);
        self.visits.suspect_all(now);
    }

    fn recheck_access(&mut self, now: Now) {
        self.rights.suspect(now);
        self.access.recheck_all();
    }
}
