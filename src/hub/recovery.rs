//! What a client that was away gets: exactly the events that it missed of a channel, or an answer that they are no
//! longer known. There are two histories: the events in memory and the outbox table. Each answers for its own
//! positions.

use super::app::App;
use super::channel::Hears;
use super::session::Replay;
use super::subscribe::{Since, Ticket};
use crate::id::ConnectionId;
use crate::protocol::Attempt;
use crate::protocol::actions::Actions;
use crate::protocol::channel::ChannelName;
use crate::protocol::position::Position;
use crate::protocol::rows::{Missed, Reach, Wanted};
use crate::time::Now;

/// The most recoveries of one connection for which the table is read: a page has a few channels, and each recovery
/// costs statements.
const MOST_RECALLS: u8 = 16;

/// The answer to a client that was away.
#[derive(Debug, Default)]
pub struct Absence {
    /// Whether the client sent a list of positions or one position; `None`: it sent no position.
    pub(super) list: Option<bool>,
    /// For each position of the client: whether everything after it is still known.
    pub(super) recovered: Vec<bool>,
    /// Where the replay of each stream begins.
    pub(super) replays: Vec<Position>,
    /// The client's positions from now on, one for each stream.
    pub(super) positions: Vec<String>,
}

impl App {
    /// Whether a connection asked for recovery.
    pub fn wants_recovery(&self, id: ConnectionId) -> bool {
        let session = self.roster.sessions.get(id.slot()).and_then(Option::as_deref);
        session.is_some_and(|session| session.id == id && session.recovery)
    }

    /// The answer to a client that was away from a channel; `None`: the table must be asked first. `reach`: whether the
    /// table still has everything after one of its positions.
    pub fn absence(
        &mut self,
        id: ConnectionId,
        ticket: &Ticket<'_>,
        attempt: &Attempt,
        mut reach: impl FnMut(Position) -> Reach,
    ) -> Option<Absence> {
        if !self.wants_recovery(id) {
            return Some(Absence::default());
        }
        let since = ticket.subscribe.since.as_ref();
        let mut absence = Absence {
            list: since.map(|since| matches!(since, Since::Many(_))),
            ..Absence::default()
        };
        for text in since.map_or(&[][..], Since::given) {
            let position: Option<Position> = text.parse().ok();
            let reached = match position {
                Some(position @ Position::Table { .. }) => match self.afford(id, reach(position), attempt) {
                    Reach::Yes => Some(position),
                    Reach::No => None,
                    Reach::Ask | Reach::Read => return None,
                },
                other => other.filter(|position| self.history.reaches(ticket.name.as_str(), *position)),
            };
            absence.recovered.push(reached.is_some());
            absence.replays.extend(reached);
        }
        // If the connection ends during the replay, the client must be able to recover again from the same position.
        let told = |now: Position| {
            let from = absence.replays.iter().find(|from| from.stream() == now.stream());
            from.unwrap_or(&now).to_string()
        };
        let positions = [Some(self.history.position()), self.table];
        absence.positions = positions.into_iter().flatten().map(told).collect();
        Some(absence)
    }

    /// Limits the wait for the table: it ends with the last attempt, and only a few recoveries of a connection read the
    /// table.
    fn afford(&mut self, id: ConnectionId, reach: Reach, attempt: &Attempt) -> Reach {
        match reach {
            Reach::Ask | Reach::Read if attempt.is_last => Reach::No,
            Reach::Read if attempt.waited.is_none() => {
                let Some(session) = self.roster.session(id) else {
                    return Reach::No;
                };
                let has_some = session.recalls < MOST_RECALLS;
                session.recalls += u8::from(has_some);
                if has_some { Reach::Read } else { Reach::No }
            }
            reach => reach,
        }
    }

    /// Sends a connection the events of a channel after these positions (`None`: of its user's own channel).
    pub(super) fn replay(
        &mut self,
        id: ConnectionId,
        channel: Option<u32>,
        from: &[Position],
        table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        let Some(session) = self.roster.session(id).filter(|_| !from.is_empty()) else {
            return;
        };
        let waits = session.replays.iter().any(|replay| !replay.held);
        session.replays.extend(from.iter().map(|position| Replay {
            channel,
            stream: position.stream(),
            n: position.number(),
            held: false,
        }));
        self.roster.hear(id, channel, Hears::Later);
        if !waits {
            self.replays
                .go_on(id, &mut self.roster, &self.history, table, now, actions);
        }
    }

    /// The send queue is nearly empty: sends the next part of the replays.
    pub fn flushed(
        &mut self,
        id: ConnectionId,
        table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        if self
            .roster
            .session(id)
            .is_some_and(|session| !session.replays.is_empty())
        {
            self.replays
                .go_on(id, &mut self.roster, &self.history, table, now, actions);
        }
    }

    /// Holds the subscriptions that would get this row of the table while the site checks again whether they are
    /// allowed. `is_doubted`: whether the site checks a connection again. Its second argument is true if the site's
    /// rules admitted the connection, and false if a signature did.
    pub fn hold(
        &mut self,
        channel: ChannelName<'_>,
        seq: u64,
        is_doubted: impl Fn(ConnectionId, bool) -> bool,
        now: Now,
    ) {
        self.replays.hold(channel, seq, is_doubted, &mut self.roster, now);
    }

    /// The site has new answers: subscriptions that are no longer in doubt go on.
    pub fn release(&mut self, table: impl FnMut(&Wanted<'_>) -> Missed, now: Now, actions: &mut Actions) {
        self.replays
            .release(&mut self.roster, &self.history, table, now, actions);
    }
}
