//! The time in which a connection must authorize itself: it signs in, or it joins a channel that needs a permission
//! (pusher.md 1.5).

use std::collections::VecDeque;
use std::time::Duration;

use super::roster::Roster;
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions};
use crate::protocol::room::give_back;
use crate::time::Time;

/// The connections that must authorize themselves, oldest first, each with its deadline.
#[derive(Debug, Default)]
pub(super) struct Unauthorized(pub(super) VecDeque<(Time, ConnectionId)>);

impl Unauthorized {
    /// A connection must authorize itself within this many seconds; 0: it need not.
    pub(super) fn push(&mut self, id: ConnectionId, timeout: u64, now: Time) {
        if timeout > 0 {
            self.0.push_back((now + Duration::from_secs(timeout), id));
        }
    }

    /// When `due` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.0.front().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Closes the connections whose time is over.
    pub(super) fn due(&mut self, roster: &Roster, now: Time, actions: &mut Actions) {
        while let Some((_, id)) = self.0.front().copied().filter(|(at, _)| *at <= now) {
            self.0.pop_front();
            give_back(&mut self.0);
            if roster.find(id).is_some_and(|session| !session.authorized) {
                let why = "Connection not authorized within timeout";
                actions.push(Action::Close(id, 4009, why.into()));
            }
        }
    }
}
