//! Tests of a whole app, without network connections.

mod cluster;
mod log;
mod model;

use super::app::App;
use crate::config;
use crate::hub::ask::Asked;
use crate::id::ConnectionId;
use crate::protocol::SocketId;
use crate::protocol::actions::{Actions, Message};
use crate::protocol::rows::Missed;
use crate::protocol::{Attempt, Verdict};
use crate::time::{Now, Time};

#[test]
fn memory_is_given_back_after_many_connections_have_left() {
    let mut app = App::new(0, config::App::new("7", "key", "secret"), 1);
    let now = Now {
        at: Time(0),
        unix_ms: 0,
    };
    let settings = config::Pusher {
        authorization_timeout: 1,
        ..config::Pusher::default()
    };
    let id = |slot| ConnectionId::new(slot, 1);
    let actions = &mut Actions::default();
    for slot in 0..5000 {
        app.connect(id(slot), SocketId(1, slot), false, &settings, now, actions);
        for channel in [format!("own-{slot}"), "crowd".to_owned()] {
            let frame = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
            let Asked::Subscribe(subscribe) = app.message(id(slot), &Message::Text(frame.into()), now, actions) else {
                panic!("the frame requests a channel");
            };
            let Verdict::Yes(ticket) = app.admit(id(slot), &subscribe, |_| None, now, actions) else {
                panic!("the channel is open");
            };
            let absence = app.absence(id(slot), &ticket, &Attempt::default(), |_| {
                panic!("the client sent no position")
            });
            let absence = absence.expect("no fact is missing");
            app.join(id(slot), ticket, &absence, |_| Missed::Nothing, now, actions);
        }
    }
    assert_eq!((app.roster.names.len(), app.roster.channels.len()), (5001, 5001));
    app.due(
        Now {
            at: Time(1_000_000),
            ..now
        },
        actions,
    );
    (1..5000).for_each(|slot| app.disconnect(id(slot), now, actions));
    let crowd = &app.roster.channels[app.roster.names["crowd"]].subscribers;
    assert_eq!(
        (app.roster.connections(), app.roster.names.len(), crowd.len()),
        (1, 2, 1)
    );
    let room = [
        app.roster.names.capacity(),
        app.roster.channels.capacity(),
        app.roster.sockets.capacity(),
        app.unauthorized.0.capacity(),
        crowd.capacity(),
    ];
    assert!(room.iter().all(|room| *room <= 64), "{room:?}");
}
