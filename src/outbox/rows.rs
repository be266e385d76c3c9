//! Parses and checks a row of the table. Every program with the privilege may write rows. So a row is checked by the
//! rules of the HTTP API, and a row that the API would reject is not published.

use crate::protocol::channel::ChannelName;
use crate::protocol::control::{self, Control};
use crate::protocol::event::{check_data, check_name, read_socket_id};
use crate::protocol::frames::{self, Extra};
use crate::protocol::position::Position;
use crate::protocol::rows::{Event, Logged};
use crate::store::{NewRow, Row};

/// The meaning of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An event, which may be published.
    Event(Event),
    /// A control row for the server. `None`: there is nothing to do.
    Control(Option<Control>),
}

/// Checks, before a row is written, whether it may be published, or carried out if it is a control row.
///
/// # Errors
/// A sentence that says what is wrong with the row.
pub fn check(row: &NewRow, max_event_size: usize) -> Result<(), String> {
    read(row.clone().into(), max_event_size, 0).map(drop)
}

/// Checks a row.
///
/// # Errors
/// The reason why the row cannot be published.
pub(super) fn read(row: Row, max_event_size: usize, epoch: u32) -> Result<Meaning, String> {
    let too_long = || format!("its data is longer than {max_event_size} bytes");
    let data = row.data.ok_or_else(too_long)?;
    check_data(Some(&data), max_event_size)?;
    if row.channel == control::CHANNEL {
        return Control::read(&row.event, &data).map(Meaning::Control);
    }
    ChannelName::parse(&row.channel)?;
    check_name(Some(&row.event))?;
    let except = row.socket_id.as_deref().map(read_socket_id).transpose()?;
    let place = row.place;
    let position = Position::Table { epoch, place }.to_string();
    let extra = Extra {
        id: Some(&position),
        ..Extra::default()
    };
    let frame = frames::event(&row.event, &row.channel, &data, None, extra).into();
    let seq = place.seq;
    Ok(Meaning::Event(Event {
        logged: Logged { seq, frame, except },
        channel: row.channel,
        event: row.event,
        data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SocketId;
    use crate::protocol::position::Place;

    fn row(channel: &str, event: &str, data: Option<&str>, socket_id: Option<&str>) -> Row {
        Row {
            id: 1,
            place: Place { seq: 7, mark: 35 },
            channel: channel.into(),
            event: event.into(),
            data: data.map(str::to_owned),
            socket_id: socket_id.map(str::to_owned),
        }
    }

    #[test]
    fn a_row_is_an_event_or_a_control_row() {
        let event = |channel: &str, except| {
            let frame = format!(r#"{{"event":"e","channel":"{channel}","data":"{{}}","id":"o0000000a:7.z"}}"#);
            let (seq, frame) = (7, frame.into());
            Meaning::Event(Event {
                channel: channel.into(),
                event: "e".into(),
                data: "{}".into(),
                logged: Logged { seq, frame, except },
            })
        };
        for (channel, socket_id, except) in [
            ("news", None, None),
            ("private-cache-x", Some("1.2"), Some(SocketId(1, 2))),
            ("#server-to-user-7", None, None),
        ] {
            let read = read(row(channel, "e", Some("{}"), socket_id), 100, 10);
            assert_eq!(read, Ok(event(channel, except)), "{channel}");
        }
        let begin = read(row("#control", "begin", Some("{}"), None), 100, 10);
        assert_eq!(begin, Ok(Meaning::Control(None)));
        let control = read(row("#control", "recheck-access", Some("{}"), None), 100, 10);
        assert_eq!(control, Ok(Meaning::Control(Some(Control::RecheckAccess))));
    }

    #[test]
    fn a_row_that_the_api_would_refuse_is_bad() {
        let long = "x".repeat(201);
        for (bad, why) in [
            (row("a b", "e", Some("{}"), None), "letters"),
            (row("", "e", Some("{}"), None), "empty"),
            (row("#Control", "e", Some("{}"), None), "letters"),
            (row("news", "", Some("{}"), None), "name"),
            (row("news", &long, Some("{}"), None), "201"),
            (row("news", "pusher:x", Some("{}"), None), "reserved"),
            (row("news", "pusher_internal:x", Some("{}"), None), "reserved"),
            (row("news", "e", Some("0123456789x"), None), "11 bytes"),
            (row("news", "e", None, None), "longer than 10"),
            (row("news", "e", Some("{}"), Some("x")), "socket_id"),
            (row("#control", "e", Some("{}"), None), "verb"),
        ] {
            let error = read(bad.clone(), 10, 10).expect_err("the row is bad");
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }
}
