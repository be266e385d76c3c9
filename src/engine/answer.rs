//! What an answer means, given the question. An answer that no honest engine gives to the question is an error that
//! ends the connection: the answers after it could belong to other questions, too.

use std::str;

use bytes::Bytes;
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use super::broken::{Broken, Lie, Nonsense};
use super::outline::RECORDS;
use super::request::FIELD;
use crate::protocol::engine::{Command, EntryId, Fault, Reply};

/// Characters of an engine's own text that are shown.
const SHOWN: usize = 160;

/// The oldest version that has `XADD key 5-*`.
const OLDEST: (u32, u32) = (7, 0);

/// A question whose answer is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Hello,
    Select,
    Append(u32),
    Begin(u32),
    Read(EntryId),
    Last,
    Trim,
    Expire,
}

/// The meaning of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The engine's name and version.
    Hello(Box<str>),
    /// The database was chosen.
    Selected,
    /// The answer to a command.
    Reply(Result<Reply, Fault>),
}

impl Question {
    /// What is asked by a command.
    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Append { epoch, .. } => Self::Append(*epoch),
            Command::Begin { epoch, .. } => Self::Begin(*epoch),
            Command::Read { after, .. } => Self::Read(*after),
            Command::Last => Self::Last,
            Command::Trim { .. } => Self::Trim,
            Command::Expire { .. } => Self::Expire,
        }
    }

    /// The engine's name of the command.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hello => "HELLO",
            Self::Select => "SELECT",
            Self::Append(_) | Self::Begin(_) => "XADD",
            Self::Read(_) => "XREAD",
            Self::Last => "XREVRANGE",
            Self::Trim => "XTRIM",
            Self::Expire => "PEXPIRE",
        }
    }

    /// What a complete frame means as the answer to this question about the log in `key`.
    pub(super) fn answer(self, frame: &Bytes, key: &str) -> Result<Answer, Broken> {
        let decoded = decode_range(frame).map_err(|_| Nonsense::Unreadable)?;
        let Some((answer, _)) = decoded.filter(|(_, length)| *length == frame.len()) else {
            return Err(Nonsense::Unreadable.into());
        };
        let kind = Broken::Lie(Lie::Kind(self.name()));
        if let RangeFrame::Error((from, to)) = answer {
            return self.refused(&plain(&frame[from..to])).map(Answer::Reply);
        }
        let reply = match (self, answer) {
            (Self::Hello, RangeFrame::Array(facts)) => return hello(&facts, frame).map(Answer::Hello),
            (Self::Select, RangeFrame::SimpleString(_)) => return Ok(Answer::Selected),
            (Self::Append(_), RangeFrame::Null) => Ok(Reply::NoLog),
            (Self::Append(epoch), RangeFrame::BulkString((from, to))) => {
                let id = id(&frame[from..to])?;
                match id.ms == u64::from(epoch) {
                    true => Ok(Reply::Appended(id)),
                    false => return Err(Lie::Elsewhere(id).into()),
                }
            }
            (Self::Begin(epoch), RangeFrame::BulkString((from, to))) => {
                let id = id(&frame[from..to])?;
                match (id.ms, id.seq) == (u64::from(epoch), 1) {
                    true => Ok(Reply::Appended(id)),
                    false => return Err(Lie::Elsewhere(id).into()),
                }
            }
            (Self::Read(_), RangeFrame::Null) => Ok(Reply::Records(Vec::new())),
            (Self::Read(after), RangeFrame::Array(streams)) => {
                let [RangeFrame::Array(stream)] = streams.as_slice() else {
                    return Err(kind);
                };
                let [RangeFrame::BulkString((from, to)), RangeFrame::Array(entries)] = stream.as_slice() else {
                    return Err(kind);
                };
                if &frame[*from..*to] != key.as_bytes() {
                    return Err(Lie::Key.into());
                }
                records(entries, Some(after), RECORDS, frame, kind)?
            }
            (Self::Last, RangeFrame::Array(entries)) => records(&entries, None, 1, frame, kind)?,
            (Self::Trim, RangeFrame::Integer(count)) => Ok(Reply::Done(u64::try_from(count).map_err(|_| kind)?)),
            (Self::Expire, RangeFrame::Integer(done @ 0..=1)) => Ok(Reply::Done(done.unsigned_abs())),
            _ => return Err(kind),
        };
        Ok(Answer::Reply(reply))
    }

    /// What an error means. Its first word is its kind.
    fn refused(self, text: &str) -> Result<Result<Reply, Fault>, Broken> {
        let text = text.to_owned();
        let kind = text.split(' ').next().unwrap_or_default();
        if let Self::Hello | Self::Select = self {
            return Err(match kind {
                "NOAUTH" | "WRONGPASS" | "NOPERM" => Broken::Denied(text),
                _ if text.contains("unknown command") => Broken::Old("before 6.0".to_owned()),
                _ => Broken::Refused(text),
            });
        }
        Ok(Err(match kind {
            // The IDs of the log only grow, whoever wrote the last one.
            "ERR" if matches!(self, Self::Append(_) | Self::Begin(_)) && text.contains("equal or smaller") => {
                return Ok(Ok(Reply::TooSmall));
            }
            "OOM" => Fault::Full(text),
            "WRONGTYPE" => Fault::WrongType,
            "NOAUTH" | "WRONGPASS" | "NOPERM" => Fault::Denied(text),
            "LOADING" => Fault::Loading,
            // Its role has changed. Another connection may lead to the new primary.
            "READONLY" => return Err(Broken::Replica),
            "MISCONF" | "NOREPLICAS" => Fault::ReadOnly(text),
            "MOVED" | "ASK" | "CLUSTERDOWN" => {
                Fault::Refused(format!("{text} (the cluster mode of the engine is not supported)"))
            }
            _ => Fault::Refused(text),
        }))
    }
}

/// The engine's name and version: its answer to HELLO is a list of names and values.
fn hello(facts: &[RangeFrame], frame: &Bytes) -> Result<Box<str>, Broken> {
    let fact = |wanted: &str| {
        let is_wanted = |name: &RangeFrame| text(name, frame).is_some_and(|name| name == wanted);
        let pair = facts.chunks_exact(2).find(|pair| is_wanted(&pair[0]))?;
        text(&pair[1], frame)
    };
    let kind = || Broken::Lie(Lie::Kind("HELLO"));
    let version = fact("version").ok_or_else(kind)?;
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        return Err(Broken::Old(version));
    }
    if fact("role").is_some_and(|role| role != "master") {
        return Err(Broken::Replica);
    }
    let name = match fact("server").as_deref() {
        Some("valkey") => "Valkey",
        Some("redis") => "Redis",
        _ => "an engine like Redis",
    };
    Ok(format!("{name} {version}").into())
}

/// A text of the engine.
fn text(part: &RangeFrame, frame: &Bytes) -> Option<String> {
    match part {
        RangeFrame::BulkString((from, to)) | RangeFrame::SimpleString((from, to)) => Some(plain(&frame[*from..*to])),
        _ => None,
    }
}

/// The entries of the log, whose ids must grow. The other error is one that leaves the connection alone.
fn records(
    entries: &[RangeFrame],
    after: Option<EntryId>,
    most: usize,
    frame: &Bytes,
    kind: Broken,
) -> Result<Result<Reply, Fault>, Broken> {
    if entries.len() > most {
        return Err(Lie::Many.into());
    }
    let (mut records, mut last) = (Vec::with_capacity(entries.len()), after);
    for entry in entries {
        let RangeFrame::Array(entry) = entry else {
            return Err(kind);
        };
        let [RangeFrame::BulkString((from, to)), fields] = entry.as_slice() else {
            return Err(kind);
        };
        let id = id(&frame[*from..*to])?;
        if last.is_some_and(|last| id <= last) {
            return Err(Lie::Order(id).into());
        }
        last = Some(id);
        match fields {
            RangeFrame::Array(fields) => match fields.as_slice() {
                [RangeFrame::BulkString(name), RangeFrame::BulkString((from, to))]
                    if &frame[name.0..name.1] == FIELD =>
                {
                    records.push((id, frame.slice(*from..*to)));
                }
                _ => return Ok(Err(Fault::Foreign(id))),
            },
            _ => return Err(kind),
        }
    }
    Ok(Ok(Reply::Records(records)))
}

fn id(text: &[u8]) -> Result<EntryId, Lie> {
    let text = str::from_utf8(text).map_err(|_| Lie::Id)?;
    text.parse().map_err(|_| Lie::Id)
}

/// A short printable line of what the engine wrote, without a full stop: it becomes a part of a sentence.
fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown = text.trim_end_matches('.').chars().filter(|c| !c.is_control());
    shown.take(SHOWN).collect()
}
