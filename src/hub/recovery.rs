//! The recovery of a client that was away: the client gets exactly the events of a channel that it missed, or an answer
//! that they are no longer known. There are two histories: the events in memory and the outbox table. Each answers for
//! its own positions.

use super::events::Events;
use super::session::Session;
use super::subscribe::{Since, Ticket};
use crate::protocol::Attempt;
use crate::protocol::frames::{Extra, OneOrMore};
use crate::protocol::position::Position;
use crate::protocol::rows::Reach;

/// The most recoveries of one connection for which the table is read: a page has a few channels, and each recovery
/// costs statements.
const MOST_RECALLS: u8 = 16;

/// The answer to a client that was away. Without a request for recovery it is empty.
#[derive(Debug, Default)]
pub struct Absence {
    /// Whether the client sent a list of positions or one position; `None`: it sent no position.
    list: Option<bool>,
    /// For each position of the client: whether everything after it is still known.
    recovered: Vec<bool>,
    /// Where the replay of each stream begins.
    pub(super) replays: Vec<Position>,
    /// The client's positions from now on, one for each stream.
    positions: Vec<String>,
}

impl Absence {
    /// The answer to a client that requested recovery and was away from a channel; `None`: the table must be read
    /// first. `reach`: whether the table still has everything after one of its positions.
    pub(super) fn of(
        session: &mut Session,
        ticket: &Ticket<'_>,
        events: &Events,
        attempt: &Attempt,
        mut reach: impl FnMut(Position) -> Reach,
    ) -> Option<Self> {
        let since = ticket.subscribe.since.as_ref();
        let mut absence = Self {
            list: since.map(|since| matches!(since, Since::Many(_))),
            ..Self::default()
        };
        for text in since.map_or(&[][..], Since::given) {
            let position: Option<Position> = text.parse().ok();
            let reached = match position {
                Some(position @ Position::Table { .. }) => match afford(session, reach(position), attempt) {
                    Reach::Yes => Some(position),
                    Reach::No => None,
                    Reach::Ask | Reach::Read => return None,
                },
                other => other.filter(|position| events.history.reaches(ticket.name.as_str(), *position)),
            };
            absence.recovered.push(reached.is_some());
            absence.replays.extend(reached);
        }
        // If the connection ends during the replay, the client must be able to recover again from the same position.
        let told = |now: Position| {
            let from = absence.replays.iter().find(|from| from.stream() == now.stream());
            from.unwrap_or(&now).to_string()
        };
        absence.positions = events.positions().map(told).collect();
        Some(absence)
    }

    /// For each position that the client sent: whether everything after it is still known.
    pub fn recovered(&self) -> &[bool] {
        &self.recovered
    }

    /// The additional fields of a confirmation.
    pub(super) fn extra(&self) -> Extra<'_> {
        Extra {
            id: None,
            pos: (!self.positions.is_empty()).then(|| OneOrMore::of(&self.positions)),
            // A list of positions is answered with a list, even if it has one entry.
            recovered: self.list.map(|list| match list {
                true => OneOrMore::More(&self.recovered),
                false => OneOrMore::of(&self.recovered),
            }),
        }
    }
}

/// Limits the wait for the table: it ends with the last attempt, and only a few recoveries of a connection read the
/// table.
fn afford(session: &mut Session, reach: Reach, attempt: &Attempt) -> Reach {
    match reach {
        Reach::Ask | Reach::Read if attempt.is_last => Reach::No,
        Reach::Read if attempt.waited.is_none() => {
            let has_some = session.recalls < MOST_RECALLS;
            session.recalls += u8::from(has_some);
            if has_some { Reach::Read } else { Reach::No }
        }
        reach => reach,
    }
}
