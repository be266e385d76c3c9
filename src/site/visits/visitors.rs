//! What is known of each connection of the site: the session that it shows, who it is, and what it has proved. A
//! connection whose session has no answer for too long is a guest for the time being.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config;
use crate::id::ConnectionId;
use crate::joomla::identity::Reason;
use crate::protocol::effects::Effect;
use crate::protocol::room::give_back;
use crate::protocol::slots::Slots;
use crate::time::{Now, Time};

/// Who a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The question is on its way.
    Asking,
    /// A guest, for this reason.
    Guest(Reason),
    /// A guest for the time being: the question waits for the database.
    Provisional,
    /// A user.
    User(u32),
}

/// What became of a form token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    /// It is the session's.
    Right,
    /// It is not. The connection is a guest from here on.
    Wrong,
    /// The session's is not known yet.
    NotYet,
    /// The session's is not known, although the database was asked: the text cannot be read, or has no token.
    OutOfReach,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Visit {
    /// The index of the session that it shows.
    pub(super) session: Option<usize>,
    pub(super) who: Who,
    /// The page has shown the session's form token, or needs none.
    pub(super) is_proved: bool,
    /// When the session was asked for its token on this connection's behalf, if it was.
    pub(super) asks_for_token: Option<Time>,
    /// It was refused something that it might have got as somebody else.
    pub(super) was_refused: bool,
}

impl Visit {
    /// Whether it was refused something as a guest.
    pub(super) fn is_refused_guest(&self) -> bool {
        self.was_refused && matches!(self.who, Who::Provisional | Who::Guest(_))
    }
}

/// See the file.
#[derive(Debug)]
pub(super) struct Visitors {
    visits: Slots<Visit>,
    /// Connections that wait for an identity, and until when, oldest first.
    patience: VecDeque<(Time, ConnectionId)>,
    /// A connection that waits for its identity for longer is a guest.
    timeout: Duration,
    /// A user who has not shown the session's form token is a guest.
    require_token: bool,
}

impl Visitors {
    /// No connection.
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

    /// A connection came, with the index of its session or the reason why it has none.
    pub(super) fn enter(&mut self, id: ConnectionId, session: Result<usize, Reason>, now: Now) {
        let who = session.map_or_else(Who::Guest, |_| Who::Asking);
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

    /// A connection is gone.
    pub(super) fn leave(&mut self, id: ConnectionId) -> Option<Visit> {
        self.visits.remove(id)
    }

    pub(super) fn of(&self, id: ConnectionId) -> Option<&Visit> {
        self.visits.get(id)
    }

    pub(super) fn of_mut(&mut self, id: ConnectionId) -> Option<&mut Visit> {
        self.visits.get_mut(id)
    }

    /// Who a connection is, and may act as: without the proof that is asked for, a user is a guest.
    pub(super) fn who(&self, id: ConnectionId) -> Who {
        match self.visits.get(id) {
            None => Who::Guest(Reason::NoCookie),
            Some(visit) => match visit.who {
                Who::User(_) if self.require_token && !visit.is_proved => Who::Guest(Reason::NoFormToken),
                who => who,
            },
        }
    }

    /// An answer says who a connection is. An answer that changes nothing wakes nobody.
    pub(super) fn becomes(&mut self, id: ConnectionId, who: Who, effects: &mut Vec<Effect>) {
        let Some(visit) = self.visits.get_mut(id) else { return };
        if visit.who != who || visit.asks_for_token.is_some() {
            visit.who = who;
            effects.push(Effect::Wake(id));
        }
    }

    /// A connection waits for its identity from now on.
    pub(super) fn wait(&mut self, id: ConnectionId, now: Now) {
        self.patience.push_back((now.at + self.timeout, id));
    }

    /// When `due` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.patience.front().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// A connection that has waited long enough is a guest for the time being.
    pub(super) fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((_, id)) = self.patience.front().copied().filter(|(at, _)| *at <= now.at) {
            self.patience.pop_front();
            give_back(&mut self.patience);
            if let Some(visit) = self.visits.get_mut(id)
                && visit.who == Who::Asking
            {
                visit.who = Who::Provisional;
                effects.push(Effect::Wake(id));
            }
        }
    }
}
