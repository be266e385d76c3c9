//! Positions, and what somebody with a position missed.

use std::ops::RangeInclusive;
use std::time::Duration;

use tungstenite::Utf8Bytes;

use super::rows::{self, Meaning};
use super::{Duty, Outbox, Phase};
use crate::protocol::SocketId;
use crate::protocol::position::Position;
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

/// A position that is so far above what is known is no other process's, which may be ahead by a poll or two.
const AHEAD: u64 = 1_000_000;

/// For how long it is believed that rows up to a position are not there.
const ABOVE_KNOWN: Duration = Duration::from_secs(1);

/// The position of those who came before the table was read, or while it cannot be. No epoch has this number.
pub const NOWHERE: Position = Position::Outbox { epoch: 0, row: 0 };

/// Whether everything after a position can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By [`Outbox::next`]; before each further part [`Outbox::goes_on`] is asked.
    Yes,
    /// Never: the client is told of a gap.
    No,
    /// It is being found out; it may be another answer when [`Outbox::generation`] has changed.
    Ask,
    /// As `Yes`, but this process has not settled yet what the one before it, or another one, had: a client that is told
    /// now gets lower positions than it has, and has to know events that it may have forgotten. It becomes `Yes` when
    /// [`Outbox::generation`] has changed.
    Soon,
}

/// Somebody came from above what is known: another process may have seen more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Above {
    row: u64,
    /// Questions for rows that had been asked by then.
    tails: u64,
    /// All rows were read since; the state is still to be looked at.
    looked: bool,
    /// When no such id was found.
    in_vain: Option<Time>,
}

impl Above {
    fn new(row: u64, tails: u64) -> Self {
        Self {
            row,
            tails,
            looked: false,
            in_vain: None,
        }
    }
}

impl Outbox {
    /// Up to where everything was told to everybody; `None` while that is not known.
    pub fn position(&self) -> Option<Position> {
        let row = self.told;
        let ready = self.phase == Phase::Ready;
        self.epoch
            .filter(|_| ready)
            .map(|epoch| Position::Outbox { epoch, row })
    }

    /// What clients are told to be their position. While it is not known, also because the table is missing or may not be
    /// read, it is one that never means anything, so that whoever has it is told of a gap later.
    pub fn told_position(&self) -> Position {
        self.position().unwrap_or(NOWHERE)
    }

    /// The position of who rendered a page at a time of the wall clock, in milliseconds since 1970. `None`: not known, as far
    /// as this process has seen.
    pub fn position_at(&self, unix_ms: u64, now: Now) -> Option<Position> {
        let epoch = self.epoch.filter(|_| self.phase == Phase::Ready)?;
        let row = self.samples.at(unix_ms, now)?;
        Some(Position::Outbox { epoch, row })
    }

    /// Changes when an [`Reach::Ask`] may have become something else.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether everything that `channel` had after `since` can be told to who comes with this position. Before each further
    /// part that is told: [`Outbox::goes_on`].
    pub fn reaches(&mut self, channel: &str, since: Position, now: Now) -> Reach {
        let Position::Outbox { epoch, row } = since else {
            return Reach::No;
        };
        if self.refused.is_some() || self.epoch.is_some_and(|own| own != epoch) {
            return Reach::No;
        }
        if self.phase != Phase::Ready {
            return Reach::Ask;
        }
        if row > self.head {
            return self.reaches_above(row, now.at);
        }
        if self.late.is_uncertain(channel, row) {
            return Reach::No;
        }
        let reach = self.goes_on(channel, row, now);
        if reach == Reach::Yes && row > self.told {
            self.settling = Some(self.settling.unwrap_or(row).min(row));
            return Reach::Soon;
        }
        reach
    }

    /// Whether the rest of a recovery can be told to who was told everything up to a row: in this epoch, and what appears
    /// below `row` meanwhile is told at once. Memory is bounded, so what was there may be gone.
    pub fn goes_on(&mut self, channel: &str, row: u64, now: Now) -> Reach {
        if self.phase != Phase::Ready || row < self.deleted_to {
            return Reach::No;
        }
        match self.history.covers(channel, row, now.at) {
            Some(true) => Reach::Yes,
            Some(false) => Reach::No,
            None if self.history.want(channel, row, now.at) => Reach::Ask,
            None => Reach::No,
        }
    }

    /// Nobody is told of a gap only because another process was faster.
    fn reaches_above(&mut self, row: u64, now: Time) -> Reach {
        if row - self.head > AHEAD {
            return Reach::No;
        }
        let tails = self.tails;
        match &mut self.above {
            Some(above) if row <= above.row => match above.in_vain {
                Some(at) if at + ABOVE_KNOWN > now => return Reach::No,
                Some(_) => *above = Above::new(above.row, tails),
                None => return Reach::Ask,
            },
            above => *above = Some(Above::new(row, tails)),
        }
        self.tail_at = now;
        Reach::Ask
    }

    /// All rows that there are were read.
    pub(super) fn looked_above(&mut self, now: Time) {
        let Some(above) = &mut self.above else { return };
        if above.row <= self.head {
            self.above = None;
            self.generation += 1;
        } else if !above.looked && self.tails > above.tails {
            above.looked = true;
            self.state_at = now;
        }
    }

    /// These ids were handed out, be it for rows that were never committed: another process may know of them.
    pub(super) fn looked_at_state(&mut self, handed_out: u64, now: Time) {
        let Some(above) = self
            .above
            .as_mut()
            .filter(|above| above.looked && above.in_vain.is_none())
        else {
            return;
        };
        self.generation += 1;
        if above.row > handed_out {
            above.in_vain = Some(now);
            return;
        }
        if above.row > self.head {
            self.runs.open(self.head + 1..=above.row, now);
            self.head = above.row;
        }
        self.above = None;
    }

    /// The first event of a channel after a row: its id, its frame and the socket that must not get it. The frame has no
    /// safe position yet: see [`Outbox::with_pos`].
    pub fn next(&self, channel: &str, n: u64) -> Option<(u64, &Utf8Bytes, Option<SocketId>)> {
        let row = self.history.next(channel, n)?;
        Some((row.id, &row.frame, row.except))
    }

    /// The frame of [`Outbox::next`] as it is sent now: with the safe position if that is lower than its own. Without it a
    /// client would believe that it was told everything before.
    pub fn with_pos(&self, id: u64, frame: &Utf8Bytes) -> Utf8Bytes {
        match self.epoch {
            Some(epoch) => with_pos(frame, id, epoch, self.told),
            None => frame.clone(),
        }
    }

    // --- channels that are read again ----------------------------------------------------------------------------

    pub(super) fn ask_recall(&mut self) -> Option<(Duty, Question)> {
        let (channel, ids) = self.history.question()?;
        let question = Question::Channel {
            channel: channel.to_string(),
            ids: ids.clone(),
            limit: self.limit,
        };
        Some((Duty::Recall(channel, ids), question))
    }

    pub(super) fn on_recall(
        &mut self,
        channel: &str,
        ids: &RangeInclusive<u64>,
        question: &Question,
        answer: Result<Answer, Failure>,
    ) {
        let Question::Channel { limit, .. } = question else {
            return;
        };
        let mut rows = match answer {
            Ok(Answer::Rows(rows)) => rows,
            Err(Failure::Unavailable(_)) => return self.ask_less(*limit),
            Err(Failure::Locked) => return self.history.read_again(channel),
            _ => {
                self.history.refuse(channel);
                self.generation += 1;
                return;
            }
        };
        rows.sort_by_key(|row| row.id);
        let full = rows.len() >= *limit as usize;
        let last = rows.last().filter(|_| full).map(|row| row.id);
        let up_to = last.unwrap_or(*ids.end()).clamp(*ids.start(), *ids.end());
        let mut kept = Vec::new();
        for row in rows {
            let id = row.id;
            // What the tail did not see yet will be told as news.
            let known = ids.contains(&id) && !self.runs.lacks(id);
            if !known || row.channel != channel {
                continue;
            }
            if let Ok(Meaning::Event(event)) = rows::read(row, self.max_event_size) {
                kept.push(self.log(id, &event));
            }
        }
        self.history.read(channel, kept, up_to);
        self.generation += 1;
    }
}

/// Adds the safe position to a frame, if it is lower than the frame's own: the last field of the object.
pub(super) fn with_pos(frame: &Utf8Bytes, id: u64, epoch: u32, safe: u64) -> Utf8Bytes {
    let Some(open) = frame.strip_suffix('}').filter(|_| safe < id) else {
        return frame.clone();
    };
    let position = Position::Outbox { epoch, row: safe };
    format!("{open},\"pos\":\"{position}\"}}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frames::{self, Extra, OneOrMore};

    #[test]
    fn a_frame_gets_the_safe_position_where_the_encoder_puts_it() {
        let with = |pos: Option<&String>| {
            let id = Some("o0000000a:7");
            let extra = Extra {
                id,
                pos: pos.map(OneOrMore::One),
                recovered: None,
            };
            frames::event("e", "c", "{\"a\":\"}\"}", None, extra)
        };
        let plain: Utf8Bytes = with(None).into();
        assert_eq!(
            with_pos(&plain, 7, 10, 6).as_str(),
            with(Some(&"o0000000a:6".to_owned()))
        );
        assert_eq!(with_pos(&plain, 7, 10, 7), plain);
    }
}
