//! What a row of the table says. The table is written by whoever may write it, so a row is checked by the rules of the HTTP
//! API: what could not be published there is not published here.

use std::fmt;
use std::time::Duration;

use super::control::{self, Control};
use crate::logging::More;
use crate::protocol::SocketId;
use crate::protocol::channel::ChannelName;
use crate::protocol::event::{self, check_data, check_name, read_socket_id};
use crate::store::Row;
use crate::time::Time;

/// What a row is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An event, which may be published.
    Event(Event),
    /// For the server.
    Control(Control),
}

/// A row that may be published.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) channel: String,
    pub(super) name: String,
    pub(super) data: String,
    pub(super) except: Option<SocketId>,
}

/// Checks a row.
///
/// # Errors
/// Why it cannot be published.
pub(super) fn read(row: Row, max_event_size: usize) -> Result<Meaning, String> {
    let Row {
        channel,
        event: name,
        data,
        socket_id,
        ..
    } = row;
    let data = data.ok_or_else(|| format!("its data is longer than {max_event_size} bytes"))?;
    let refused = |fault: event::Fault| fault.to_string();
    check_data(Some(&data), max_event_size).map_err(refused)?;
    if channel == control::CHANNEL {
        return Control::read(&name, &data).map(Meaning::Control);
    }
    ChannelName::parse(&channel)?;
    check_name(Some(&name)).map_err(refused)?;
    let except = socket_id.as_deref().map(read_socket_id).transpose().map_err(refused)?;
    Ok(Meaning::Event(Event {
        channel,
        name,
        data,
        except,
    }))
}

/// Says what was wrong with a row, at most once a second.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<Time>,
    left_out: u64,
}

impl Complaints {
    pub(super) fn say(&mut self, id: u64, why: &dyn fmt::Display, now: Time) {
        if self.last.is_some_and(|last| now.since(last) < Duration::from_secs(1)) {
            self.left_out += 1;
            return;
        }
        self.last = Some(now);
        let more = More(std::mem::take(&mut self.left_out));
        log::warn!("row {id} of the outbox table is skipped: {why}{more}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(channel: &str, event: &str, data: Option<&str>, socket_id: Option<&str>) -> Row {
        Row {
            id: 1,
            channel: channel.into(),
            event: event.into(),
            data: data.map(str::to_owned),
            socket_id: socket_id.map(str::to_owned),
        }
    }

    #[test]
    fn a_row_is_an_event_or_a_control_row() {
        let event = |channel: &str, except| {
            Meaning::Event(Event {
                channel: channel.into(),
                name: "e".into(),
                data: "{}".into(),
                except,
            })
        };
        for (channel, socket_id, except) in [
            ("news", None, None),
            ("private-cache-x", Some("1.2"), Some(SocketId(1, 2))),
            ("#server-to-user-7", None, None),
        ] {
            let read = read(row(channel, "e", Some("{}"), socket_id), 100);
            assert_eq!(read, Ok(event(channel, except)), "{channel}");
        }
        let control = read(row("#control", "recheck-access", Some("{}"), None), 100);
        assert_eq!(control, Ok(Meaning::Control(Control::RecheckAccess)));
    }

    #[test]
    fn what_the_api_refuses_is_bad_here_too() {
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
            let error = read(bad.clone(), 10).expect_err("it is bad");
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }
}
