//! The state of each connection of the site: its session, its identity and its proofs. A connection whose session has
//! no answer for too long is a guest for now.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::config;
use crate::id::ConnectionId;
use crate::joomla::identity::Reason;
use crate::protocol::Verdict;
use crate::protocol::effects::Effect;
use crate::protocol::room::give_back;
use crate::protocol::slots::Slots;
use crate::time::{Now, Time};

/// The identity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Not known yet: the look-up is on its way.
    Asking,
    /// A guest, for this reason.
    Guest(Reason),
    /// A guest for now: the look-up waits for the database.
    Provisional,
    /// A user.
    User(u32),
}

/// A clause for the log, to follow the connection's id.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Asking => f.write_str("has a session; its user is looked up"),
            Who::Guest(reason) => write!(f, "is a guest: {reason}"),
            Who::Provisional => write!(f, "is a guest for now: {}", Reason::DatabaseUnavailable),
            Who::User(user) => write!(f, "is user {user}"),
        }
    }
}

/// Whether a form token is the one of the connection's session.
pub type Proved = Verdict<(), NoProof>;

/// Why a form token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoProof {
    /// The token is wrong.
    Wrong,
    /// The session's token is unknown although the database was asked: the text cannot be read, or has no token.
    OutOfReach,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Visit {
    /// The index of the connection's session.
    pub(super) session: Option<usize>,
    pub(super) who: Who,
    /// The page has sent the session's form token, or needs none.
    pub(super) is_proved: bool,
    /// When the session's token was requested for this connection; `None`: it was not.
    pub(super) asks_for_token: Option<Time>,
    /// The connection was denied something that it might have got with another identity.
    pub(super) was_refused: bool,
}

impl Visit {
    /// Whether the connection was denied something as a guest.
    pub(super) fn is_refused_guest(&self) -> bool {
        self.was_refused && matches!(self.who, Who::Provisional | Who::Guest(_))
    }
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Visitors {
    visits: Slots<Visit>,
    /// Connections that wait for an identity, with the end of each wait, oldest first.
    patience: VecDeque<(Time, ConnectionId)>,
    /// After this time a connection without an identity becomes a guest.
    timeout: Duration,
    /// A user who has not sent the session's form token counts as a guest.
    require_token: bool,
}

impl Visitors {
    /// A state without connections.
    pub(super) fn new(settings: &config::Joomla) -> Self {
        Self {
            visits: Slots::default(),
            patience: VecDeque::new(),
            timeout: Duration::from_secs(settings.identity_timeout),
            require_token: settings.require_form_token,
        }
    }

    pub(super) fn reconfigure(&mut self, settings: &config::Joomla) {
        self.timeout = Duration::from_secs(settings.identity_timeout);
        self.require_token = settings.require_form_token;
    }

    pub(super) fn requires_token(&self) -> bool {
        self.require_token
    }

    /// Adds a connection with the index of its session, or with the reason why it has none.
    pub(super) fn enter(&mut self, id: ConnectionId, session: Result<usize, Reason>, now: Now) {
        let who = session.map_or_else(Who::Guest, |_| Who::Asking);
        log::debug!("{id} {who}");
        let visit = Visit {
            session: session.ok(),
            who,
            is_proved: false,
            asks_for_token: None,
            was_refused: false,
        };
        self.visits.insert(id, visit);
        if who == Who::Asking {
            self.wait(id, now);
        }
    }

    /// Removes a connection.
    pub(super) fn leave(&mut self, id: ConnectionId) -> Option<Visit> {
        self.visits.remove(id)
    }

    pub(super) fn of(&self, id: ConnectionId) -> Option<&Visit> {
        self.visits.get(id)
    }

    pub(super) fn of_mut(&mut self, id: ConnectionId) -> Option<&mut Visit> {
        self.visits.get_mut(id)
    }

    /// The identity as which a connection may act. A user without the required proof is a guest.
    pub(super) fn who(&self, id: ConnectionId) -> Who {
        match self.visits.get(id) {
            None => Who::Guest(Reason::NoCookie),
            Some(visit) => match visit.who {
                Who::User(_) if self.require_token && !visit.is_proved => Who::Guest(Reason::NoFormToken),
                who => who,
            },
        }
    }

    /// Sets the identity of a connection. An answer that changes nothing wakes no connection.
    pub(super) fn becomes(&mut self, id: ConnectionId, who: Who, effects: &mut Vec<Effect>) {
        let Some(visit) = self.visits.get_mut(id) else { return };
        if visit.who != who || visit.asks_for_token.is_some() {
            log::debug!("{id} {who}");
            visit.who = who;
            effects.push(Effect::Wake(id));
        }
    }

    /// The connection waits for its identity from here on.
    pub(super) fn wait(&mut self, id: ConnectionId, now: Now) {
        self.patience.push_back((now.at + self.timeout, id));
    }

    /// When `due` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.patience.front().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// A connection that has waited long enough becomes a guest for now.
    pub(super) fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((_, id)) = self.patience.front().copied().filter(|(at, _)| *at <= now.at) {
            self.patience.pop_front();
            give_back(&mut self.patience);
            if let Some(visit) = self.visits.get_mut(id)
                && visit.who == Who::Asking
            {
                visit.who = Who::Provisional;
                log::debug!("{id} {}", visit.who);
                effects.push(Effect::Wake(id));
            }
        }
    }
}
