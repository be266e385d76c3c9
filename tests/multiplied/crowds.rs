//! Those whom an action may wake, and what happens to connections whatever they speak.

use bytes::Bytes;
use jsocketd::app::service::Input;
use jsocketd::id::ConnectionId;
use serde_json::json;

use crate::stage::{Inputs, Stage};
use crate::words::{CALLER, get, handshake, say, text};
use crate::{Row, Tells};

/// The user of most sessions.
pub const USER: u32 = 42;

/// Nobody is there.
pub fn nobody(_: &mut Stage, _: usize) {}

/// They show one session, and hear a few channels.
pub fn herd(stage: &mut Stage, crowd: usize) {
    let cookie = stage.log_in(USER, 1);
    let ids: Vec<_> = (0..crowd).map(|_| stage.client(Some(&cookie))).collect();
    for channel in ["news", "private-user-42", "private-cache-user-42"] {
        let all = ids.iter().map(|id| stage.subscribe(*id, channel)).collect();
        stage.play(all);
    }
}

/// The channels of those who hear many.
const MANY: std::ops::Range<usize> = 0..20;

/// They hear the same channels, which are many.
fn listeners(stage: &mut Stage, crowd: usize) {
    let ids: Vec<_> = (0..crowd).map(|_| stage.client(None)).collect();
    for n in MANY {
        let all = ids
            .iter()
            .map(|id| stage.subscribe(*id, &format!("news-{n}")))
            .collect();
        stage.play(all);
    }
}

/// Guests of the app.
pub fn guests(stage: &mut Stage, crowd: usize) {
    for _ in 0..crowd {
        stage.client(None);
    }
}

/// Members of a presence channel.
pub fn members(stage: &mut Stage, crowd: usize) {
    let ids: Vec<_> = (0..crowd).map(|_| stage.client(None)).collect();
    let all = ids.iter().zip(1..);
    let all = all
        .map(|(id, member)| stage.signed(*id, "presence-room", Some(member)))
        .collect();
    stage.play(all);
}

/// Subscribers of a channel by signatures.
pub fn subscribers(stage: &mut Stage, crowd: usize) {
    let ids: Vec<_> = (0..crowd).map(|_| stage.client(None)).collect();
    let all = ids.iter().map(|id| stage.signed(*id, "private-room", None)).collect();
    stage.play(all);
}

/// Each shows another session of one user.
pub fn sessions(stage: &mut Stage, crowd: usize) {
    for session in 0..crowd {
        let cookie = stage.log_in(USER, 1_000_000 + session as u64);
        stage.client(Some(&cookie));
    }
    stage.settle();
}

/// Each shows another session, and none is ever looked up; what they say waits.
pub fn strangers(stage: &mut Stage, crowd: usize) {
    stage.database.link.resting.insert("sessions");
    let ids: Vec<_> = (0..crowd).map(|n| stage.client(Some(&format!("s{n:031x}")))).collect();
    let all = ids.iter().map(|id| stage.subscribe(*id, "private-user-42")).collect();
    stage.play(all);
}

/// They are signed in as one user.
pub fn signed_in(stage: &mut Stage, crowd: usize) {
    stage.log_in(USER, 1);
    let ids: Vec<_> = (0..crowd).map(|_| stage.client(None)).collect();
    let all = ids.iter().map(|id| stage.sign_in(*id, USER, &[])).collect();
    stage.play(all);
}

/// They are signed in as many users, and none is ever looked up.
pub fn signing_in(stage: &mut Stage, crowd: usize) {
    stage.database.link.resting.insert("users");
    let ids: Vec<_> = (0..crowd).map(|_| stage.client(None)).collect();
    let all = ids.iter().zip(1000..);
    let all = all.map(|(id, user)| stage.sign_in(*id, user, &[])).collect();
    stage.play(all);
}

/// Users that are watched.
pub fn watched() -> Vec<String> {
    (1..=20).map(|user: u32| user.to_string()).collect()
}

/// They watch the same users.
pub fn watchers(stage: &mut Stage, crowd: usize) {
    let (ids, watched): (Vec<_>, _) = ((0..crowd).map(|_| stage.client(None)).collect(), watched());
    let all = ids.iter().zip(1000..);
    let all = all.map(|(id, user)| stage.sign_in(*id, user, &watched)).collect();
    stage.play(all);
}

/// Guests who ask for recovery.
pub fn recovering(stage: &mut Stage, crowd: usize) {
    for _ in 0..crowd {
        stage.recovering(None);
    }
}

/// Everybody waits for a row that is not there yet, in a channel of this round.
pub fn wait_ahead(stage: &mut Stage) {
    let ask = json!({"channel": format!("room-{}", stage.round), "since": stage.position(1_000_000)});
    let all = stage.crowd.iter();
    let all = all.map(|id| say(*id, "pusher:subscribe", ask.clone())).collect();
    stage.feed(all);
}

// --- what happens to connections -----------------------------------------------------------------------------------

fn row(of: &'static str, what: &'static str, tells: Tells) -> Row {
    Row {
        of,
        what,
        tells,
        change: |_| {},
        crowd: herd,
        acts: |_, _| Vec::new(),
        proof: "",
    }
}

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
            acts: |stage, times| (0..times).map(|_| (stage.knock(), Input::Opened(CALLER))).collect(),
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
            acts: |stage, times| vec![(stage.crowd[0], Input::Binary(Bytes::from_static(b"x"))); times],
            proof: "binary frames are not supported",
            ..row("input Binary", "with a session that many show", Tells::Nobody)
        },
        Row {
            acts: |stage, times| vec![(stage.crowd[0], Input::Flushed); times],
            ..row("input Flushed", "in a crowd", Tells::Nobody)
        },
        Row {
            acts: |stage, times| vec![(stage.crowd[0], Input::Facts(Box::default())); times],
            ..row("input Facts", "that nobody asked for", Tells::Nobody)
        },
    ]
}

fn going() -> Vec<Row> {
    const CLOSED: &str = "input Closed";
    vec![
        Row {
            acts: |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids: Vec<_> = (0..times).map(|_| stage.client(Some(&cookie))).collect();
                stage.settle();
                closed(&ids)
            },
            ..row(CLOSED, "with a session that many show", Tells::Nobody)
        },
        Row {
            crowd: listeners,
            acts: |stage, times| {
                let ids: Vec<_> = (0..times).map(|_| stage.client(None)).collect();
                for n in MANY {
                    let all = ids
                        .iter()
                        .map(|id| stage.subscribe(*id, &format!("news-{n}")))
                        .collect();
                    stage.play(all);
                }
                closed(&ids)
            },
            ..row(CLOSED, "with many channels that many hear", Tells::Nobody)
        },
        Row {
            crowd: sessions,
            acts: |stage, times| {
                let all = (0..times).map(|n| {
                    let cookie = stage.log_in(USER, 1000 + n as u64);
                    stage.client(Some(&cookie))
                });
                let ids: Vec<_> = all.collect();
                stage.settle();
                closed(&ids)
            },
            ..row(CLOSED, "with one of many sessions of a user", Tells::Nobody)
        },
        Row {
            crowd: signed_in,
            acts: |stage, times| {
                let ids: Vec<_> = (0..times).map(|_| stage.client(None)).collect();
                let all = ids.iter().map(|id| stage.sign_in(*id, USER, &[])).collect();
                stage.play(all);
                closed(&ids)
            },
            ..row(CLOSED, "signed in as a user as whom many are", Tells::Nobody)
        },
        Row {
            crowd: signing_in,
            acts: |stage, times| {
                let ids: Vec<_> = (0..times).map(|_| stage.client(None)).collect();
                let all = ids.iter().zip(1_000_000..);
                let all = all.map(|(id, user)| stage.sign_in(*id, user, &[])).collect();
                stage.play(all);
                closed(&ids)
            },
            ..row(CLOSED, "signed in while many users are looked up", Tells::Nobody)
        },
        Row {
            crowd: watchers,
            acts: |stage, times| {
                let ids: Vec<_> = (0..times).map(|_| stage.client(None)).collect();
                let all = ids.iter().zip(1_000_000..);
                let all = all.map(|(id, user)| stage.sign_in(*id, user, &watched())).collect();
                stage.play(all);
                closed(&ids)
            },
            ..row(CLOSED, "with a watchlist that many have", Tells::Nobody)
        },
        Row {
            crowd: strangers,
            acts: |stage, times| {
                let ids: Vec<_> = (0..times).map(|n| stage.client(Some(&format!("s1{n:030x}")))).collect();
                let all = ids.iter().map(|id| stage.subscribe(*id, "private-user-42")).collect();
                stage.play(all);
                closed(&ids)
            },
            ..row(CLOSED, "while many wait for an identity", Tells::Nobody)
        },
        Row {
            crowd: members,
            acts: |stage, times| {
                let ids: Vec<_> = (0..times).map(|_| stage.client(None)).collect();
                let all = ids.iter().zip(1_000_000..);
                let all = all
                    .map(|(id, member)| stage.signed(*id, "presence-room", Some(member)))
                    .collect();
                stage.play(all);
                closed(&ids)
            },
            proof: "member_removed",
            ..row(CLOSED, "as a member of a presence channel", Tells::Each)
        },
    ]
}
