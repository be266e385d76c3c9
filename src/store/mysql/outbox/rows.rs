//! Reads the answers to the statements about the outbox's tables.

use mysql::Value;

use crate::protocol::position::Place;
use crate::store::mysql::columns::{all, number, text};
use crate::store::mysql::driver::Output;
use crate::store::schema::HEARTBEAT;
use crate::store::{Answer, Checked, Claimed, Failure, Look, Looked, Old, Question, Row};

/// The answer to a question.
///
/// # Errors
/// See [`Failure::Malformed`].
pub(in crate::store::mysql) fn answer(question: &Question, output: Output) -> Result<Answer, Failure> {
    let Output { sets, inserted, .. } = output;
    let set = |n: usize| sets.get(n).map_or(&[][..], Vec::as_slice);
    Ok(match question {
        Question::Look(Look::Front(_) | Look::Anywhere) => Answer::Looked(looked(&[], set(0))?),
        Question::Look(_) => Answer::Looked(looked(set(1), set(2))?),
        Question::Check(_) => Answer::Checked(checked(set(0))?),
        Question::Claim { ensure, .. } => {
            let lock = if *ensure { 3 } else { 1 };
            let position = set(lock).first();
            let tables = Checked {
                position: position.map(|row| text(row, 0).unwrap_or_default()),
                now_ms: position.and_then(|row| number(row, 1)).unwrap_or(0),
                newest: all(set(lock + 1), |row| place(row, 0))?.pop(),
                ..Checked::default()
            };
            Answer::Claimed(Claimed {
                tables,
                ids: all(set(lock + 2), id)?,
                control: all(set(lock + 3), id)?,
            })
        }
        Question::Tail { .. } | Question::Channel(_) => Answer::Rows(all(set(0), row)?),
        Question::Old { .. } => {
            let rows = all(set(3), |row| Ok((id(row)?, number::<u8>(row, 1) == Some(1))))?;
            Answer::Old(Old {
                ids: rows.into_iter().take_while(|(_, old)| *old).map(|(id, _)| id).collect(),
                processes: set(4).iter().filter_map(|row| process(&text(row, 0)?)).collect(),
            })
        }
        Question::State => Answer::State(all(set(0), |row| {
            let column = |n| text(row, n).ok_or("a row of websockets_state");
            Ok((column(0)?, column(1)?, number(row, 2).unwrap_or(i64::MAX)))
        })?),
        Question::Publish(_) => Answer::Added(inserted),
        _ => Answer::Done,
    })
}

/// `ids`: one row with the highest id and the lowest id above the window.
fn looked(ids: &[Vec<Value>], seen: &[Vec<Value>]) -> Result<Looked, Failure> {
    let id = |n: usize| ids.first().and_then(|row| number(row, n));
    let mut looked = Looked {
        highest: id(0).unwrap_or(0),
        next: id(1),
        ..Looked::default()
    };
    for row in seen {
        match number(row, 0) {
            Some(0) => {
                looked.position = Some(text(row, 1).unwrap_or_default());
                looked.now_ms = number(row, 2).unwrap_or(0);
            }
            Some(1) => looked.found = number(row, 2),
            _ => return Err(strange()),
        }
    }
    Ok(looked)
}

fn checked(rows: &[Vec<Value>]) -> Result<Checked, Failure> {
    let mut checked = Checked::default();
    for row in rows {
        let at = |row| place(row, 2).map_err(|_| strange());
        match number(row, 0) {
            Some(0) => checked.position = Some(text(row, 1).unwrap_or_default()),
            Some(1) => checked.schema = text(row, 1),
            Some(2) => checked.newest = Some(at(row)?),
            Some(3) => checked.found.push(at(row)?),
            _ => return Err(strange()),
        }
        if let Some(0 | 1) = number(row, 0) {
            checked.now_ms = number(row, 3).unwrap_or(0);
        }
    }
    Ok(checked)
}

fn strange() -> Failure {
    Failure::Malformed("the answer has a row of an unknown kind".to_owned())
}

fn id(row: &[Value]) -> Result<u64, &'static str> {
    number(row, 0).ok_or("websockets_outbox.id")
}

/// A number and its mark. A row whose number was written by hand without a time has the mark 0.
pub(in crate::store::mysql) fn place(row: &[Value], n: usize) -> Result<Place, &'static str> {
    Ok(Place {
        seq: number(row, n).ok_or("websockets_outbox.seq")?,
        mark: number(row, n + 1).unwrap_or(0),
    })
}

fn row(row: &[Value]) -> Result<Row, &'static str> {
    Ok(Row {
        id: id(row)?,
        place: place(row, 1)?,
        channel: text(row, 3).unwrap_or_default(),
        event: text(row, 4).unwrap_or_default(),
        data: text(row, 5),
        socket_id: text(row, 6),
    })
}

/// The number of the process in a heartbeat's name. A name in any other form is not a heartbeat.
fn process(name: &str) -> Option<u32> {
    let process = u32::from_str_radix(name.strip_prefix(HEARTBEAT)?, 16).ok()?;
    (name == format!("{HEARTBEAT}{process:08x}")).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_of_a_name_is_a_heartbeat() {
        assert_eq!(process("process.0000abcd"), Some(0xabcd));
        for other in [
            "process.",
            "process.abcd",
            "process.0000ABCD",
            "process.+000abcd",
            "position",
        ] {
            assert_eq!(process(other), None, "{other}");
        }
    }
}
