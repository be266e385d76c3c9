//! How a WebSocket is kept alive. A peer that is silent for `ping_interval` gets a ping. A peer that is silent for
//! `ping_timeout` after the ping is considered dead.

use std::time::Duration;

use crate::config::Limits;
use crate::time::Time;

/// When the last byte came from the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    last_read: Time,
    /// A ping was sent and nothing came since.
    pinged: bool,
}

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// A ping must be sent.
    Ping,
    /// The connection must be closed.
    End,
}

impl KeepAlive {
    pub(super) fn new(now: Time) -> Self {
        Self {
            last_read: now,
            pinged: false,
        }
    }

    /// Bytes came.
    pub(super) fn note_received(&mut self, now: Time) {
        *self = Self::new(now);
    }

    /// When the last byte came.
    pub(super) fn last_read(&self) -> Time {
        self.last_read
    }

    /// When `check` has something to do.
    pub(super) fn deadline(&self, limits: &Limits) -> Time {
        match self.pinged {
            true => self.last_read + Duration::from_secs(limits.ping_interval + limits.ping_timeout),
            false => self.last_read + Duration::from_secs(limits.ping_interval),
        }
    }

    /// The action that is due. A ping that is due counts as sent from here on.
    pub(super) fn check(&mut self, limits: &Limits, now: Time) -> Due {
        if self.deadline(limits) > now {
            return Due::Nothing;
        }
        match std::mem::replace(&mut self.pinged, true) {
            true => Due::End,
            false => Due::Ping,
        }
    }
}
