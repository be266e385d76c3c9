//! The crowds that an action may wake, and the events of connections of every protocol.

use bytes::Bytes;
use jsocketd::id::ConnectionId;
use jsocketd::protocol::actions::Message;
use jsocketd::service::Input;
use serde_json::json;

use crate::stage::{Inputs, Stage};
use crate::words::{CALLER, all_say, get, handshake, text};
use crate::{Row, Tells, row};

/// The user of most sessions.
pub const USER: u32 = 42;

/// No crowd.
pub fn nobody(_: &mut Stage, _: usize) {}

/// They use one session, and subscribe to a few channels.
pub fn herd(stage: &mut Stage, crowd: usize) {
    let cookie = stage.log_in(USER, 1);
    let ids = stage.clients(crowd, Some(&cookie));
    for channel in ["news", "private-user-42", "private-cache-user-42"] {
        stage.play(stage.all_subscribe(&ids, channel));
    }
}

/// The channels of clients with many subscriptions.
const MANY: std::ops::Range<usize> = 0..20;

/// They subscribe to the same channels, which are many.
fn listeners(stage: &mut Stage, crowd: usize) {
    let ids = stage.clients(crowd, None);
    for n in MANY {
        stage.play(stage.all_subscribe(&ids, &format!("news-{n}")));
    }
}

/// Guests of the app.
pub fn guests(stage: &mut Stage, crowd: usize) {
    stage.clients(crowd, None);
}

/// Members of a presence channel.
pub fn members(stage: &mut Stage, crowd: usize) {
    let ids = stage.clients(crowd, None);
    stage.play(all_join(stage, &ids, 1));
}

/// Subscribers of a channel by signatures.
pub fn subscribers(stage: &mut Stage, crowd: usize) {
    let ids = stage.clients(crowd, None);
    let all = ids.iter().map(|id| stage.signed(*id, "private-room", None)).collect();
    stage.play(all);
}

/// Each shows another session of one user.
pub fn sessions(stage: &mut Stage, crowd: usize) {
    with_sessions(stage, crowd, 1_000_000);
    stage.settle();
}

/// Each has another session cookie, and none is ever looked up; their messages wait.
pub fn strangers(stage: &mut Stage, crowd: usize) {
    stage.database.link.resting.insert("sessions");
    let ids: Vec<_> = (0..crowd).map(|n| stage.client(Some(&format!("s{n:031x}")))).collect();
    stage.play(stage.all_subscribe(&ids, "private-user-42"));
}

/// They are signed in as one user.
pub fn signed_in(stage: &mut Stage, crowd: usize) {
    stage.log_in(USER, 1);
    let ids = stage.clients(crowd, None);
    stage.play(all_sign_in(stage, &ids));
}

/// They are signed in as many users, and none is ever looked up.
pub fn signing_in(stage: &mut Stage, crowd: usize) {
    stage.database.link.resting.insert("users");
    let ids = stage.clients(crowd, None);
    stage.play(each_signs_in(stage, &ids, 1000, &[]));
}

/// Users that are watched.
pub fn watched() -> Vec<String> {
    (1..=20).map(|user: u32| user.to_string()).collect()
}

/// They watch the same users.
pub fn watchers(stage: &mut Stage, crowd: usize) {
    let ids = stage.clients(crowd, None);
    stage.play(each_signs_in(stage, &ids, 1000, &watched()));
}

/// Guests that request recovery.
pub fn recovering(stage: &mut Stage, crowd: usize) {
    for _ in 0..crowd {
        stage.recovering(None);
    }
}

/// The whole crowd waits for a row that is not there yet, in a channel of this round.
pub fn wait_ahead(stage: &mut Stage) {
    let ask = json!({"channel": format!("room-{}", stage.round), "since": stage.position(1_000_000)});
    stage.feed(all_say(&stage.crowd, "pusher:subscribe", &ask));
}

/// Clients with sessions of one user, each with its own, numbered from `first` on.
pub fn with_sessions(stage: &mut Stage, count: usize, first: u64) -> Vec<ConnectionId> {
    let one = |session| {
        let cookie = stage.log_in(USER, session);
        stage.client(Some(&cookie))
    };
    (first..).take(count).map(one).collect()
}

/// They join the presence channel, as members numbered from `first` on.
pub fn all_join(stage: &Stage, ids: &[ConnectionId], first: u64) -> Inputs {
    let all = ids.iter().zip(first..);
    all.map(|(id, member)| stage.signed(*id, "presence-room", Some(member)))
        .collect()
}

/// They sign in as one user …
pub fn all_sign_in(stage: &Stage, ids: &[ConnectionId]) -> Inputs {
    ids.iter().map(|id| stage.sign_in(*id, USER, &[])).collect()
}

/// … or as users numbered from `first` on, who watch these.
fn each_signs_in(stage: &Stage, ids: &[ConnectionId], first: u32, watchlist: &[String]) -> Inputs {
    let all = ids.iter().zip(first..);
    all.map(|(id, user)| stage.sign_in(*id, user, watchlist)).collect()
}

// --- events of connections -----------------------------------------------------------------------------------------

fn closed(ids: &[ConnectionId]) -> Inputs {
    ids.iter().map(|id| (*id, Input::Closed)).collect()
}

pub fn rows() -> Vec<Row> {
    let mut rows = coming();
    rows.extend(going());
    rows
}

fn coming() -> Vec<Row> {
    vec![
        Row {
            acts: |stage, times| (0..times).map(|_| (stage.accept(), Input::Opened(CALLER))).collect(),
            ..row("input Opened", "in a crowd", Tells::Nobody)
        },
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                (0..times)
                    .map(|_| (stage.opened(), get("/nothing", Some(&cookie))))
                    .collect()
            },
            proof: "404",
            ..row(
                "input Request",
                "for nothing, with a session that many show",
                Tells::Nobody,
            )
        },
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let path = "/app/key?protocol=7&recovery=1";
                (0..times)
                    .map(|_| (stage.opened(), handshake(path, Some(&cookie))))
                    .collect()
            },
            proof: "connection_established",
            ..row("input Handshake", "with a session that many show", Tells::Nobody)
        },
        Row {
            crowd: strangers,
            acts: |stage, times| {
                let path = "/app/key?protocol=7";
                let cookie = |n| format!("s1{n:030x}");
                (0..times)
                    .map(|n| (stage.opened(), handshake(path, Some(&cookie(n)))))
                    .collect()
            },
            proof: "connection_established",
            ..row("input Handshake", "while many wait for an identity", Tells::Nobody)
        },
        Row {
            acts: |stage, times| vec![text(stage.crowd[0], r#"{"event":"nothing"}"#); times],
            proof: "unknown event",
            ..row("input Text", "that asks for nothing", Tells::Nobody)
        },
        Row {
            acts: |stage, times| {
                vec![
                    (
                        stage.crowd[0],
                        Input::Message(Message::Binary(Bytes::from_static(b"x")))
                    );
                    times
                ]
            },
            proof: "binary frames are not supported",
            ..row("input Binary", "with a session that many show", Tells::Nobody)
        },
        Row {
            acts: |stage, times| vec![(stage.crowd[0], Input::Flushed); times],
            ..row("input Flushed", "in a crowd", Tells::Nobody)
        },
        Row {
            acts: |stage, times| vec![(stage.crowd[0], Input::ProcessStats(Box::default())); times],
            ..row("input ProcessStats", "without a request", Tells::Nobody)
        },
    ]
}

fn going() -> Vec<Row> {
    const CLOSED: &str = "input Closed";
    vec![
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids = stage.clients(times, Some(&cookie));
                stage.settle();
                closed(&ids)
            },
            ..row(CLOSED, "with a session that many show", Tells::Nobody)
        },
        Row {
            crowd: listeners,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                for n in MANY {
                    stage.play(stage.all_subscribe(&ids, &format!("news-{n}")));
                }
                closed(&ids)
            },
            ..row(CLOSED, "with many channels of many subscribers", Tells::Nobody)
        },
        Row {
            crowd: sessions,
            acts: |stage, times| {
                let ids = with_sessions(stage, times, 1000);
                stage.settle();
                closed(&ids)
            },
            ..row(CLOSED, "with one of many sessions of a user", Tells::Nobody)
        },
        Row {
            crowd: signed_in,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                stage.play(all_sign_in(stage, &ids));
                closed(&ids)
            },
            ..row(CLOSED, "signed in as a user with many connections", Tells::Nobody)
        },
        Row {
            crowd: signing_in,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                stage.play(each_signs_in(stage, &ids, 1_000_000, &[]));
                closed(&ids)
            },
            ..row(CLOSED, "signed in while many users are looked up", Tells::Nobody)
        },
        Row {
            crowd: watchers,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                stage.play(each_signs_in(stage, &ids, 1_000_000, &watched()));
                closed(&ids)
            },
            ..row(CLOSED, "with a watchlist that many have", Tells::Nobody)
        },
        Row {
            crowd: strangers,
            acts: |stage, times| {
                let ids: Vec<_> = (0..times).map(|n| stage.client(Some(&format!("s1{n:030x}")))).collect();
                stage.play(stage.all_subscribe(&ids, "private-user-42"));
                closed(&ids)
            },
            ..row(CLOSED, "while many wait for an identity", Tells::Nobody)
        },
        Row {
            crowd: members,
            acts: |stage, times| {
                let ids = stage.clients(times, None);
                stage.play(all_join(stage, &ids, 1_000_000));
                closed(&ids)
            },
            proof: "member_removed",
            ..row(CLOSED, "as a member of a presence channel", Tells::Each)
        },
    ]
}
