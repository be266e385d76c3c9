//! Actions in a few words each: `shapes` for a replay to compare, enough to see a change and too little to read a message;
//! `kinds` for comparing what the server did with what its shadow did, whose words are other ones.

use std::borrow::Cow;
use std::collections::HashMap;

use http::HeaderName;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Talk;
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions, Message};

/// A word, whom it is for, a length and a fingerprint.
pub fn shapes(actions: &Actions) -> Vec<String> {
    actions.list().iter().map(|action| shape(action, actions)).collect()
}

fn shape(action: &Action, actions: &Actions) -> String {
    match action {
        Action::Respond(to, response) => {
            let headers: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
            format!(
                "{to} respond {} {} {}",
                response.status().as_u16(),
                headers.join(","),
                print(response.body())
            )
        }
        Action::Accept(to, dialect) => format!("{to} accept {dialect:?}"),
        Action::Fanout(to, text) => {
            format!("{:?} fanout {}", actions.recipients(to.clone()), print(text.as_bytes()))
        }
        Action::WhenFlushed(to) => format!("{to} when flushed"),
        Action::Post(post) => format!("post {} {}", post.ticket, print(&post.body)),
        Action::Send(to, Message::Text(text)) => format!("{to} text {}", print(text.as_bytes())),
        Action::Send(to, Message::Binary(bytes)) => format!("{to} binary {}", bytes.len()),
        Action::Close(to, code, reason) => format!("{to} close {code} {reason}"),
        Action::Hurry(to) => format!("{to} hurry"),
        Action::Gather(to) => format!("{to} gather"),
        Action::Charge(to) => format!("{to} charge"),
        Action::Hold(to) => format!("{to} hold"),
        Action::Release(to) => format!("{to} release"),
    }
}

/// The text is masked already, so all of it counts.
fn print(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    format!("{} {}", text.len(), data_encoding::HEXLOWER.encode(&digest[..8]))
}

/// What masking must not change: a word, whom it is for, statuses, codes and the names of events.
pub fn kinds(actions: &Actions, talks: &HashMap<ConnectionId, Talk>) -> Vec<String> {
    let kind = |action: &Action| match action {
        Action::Respond(to, response) => format!("{to} respond {}", response.status().as_u16()),
        Action::Accept(to, dialect) => format!("{to} accept {dialect:?}"),
        Action::Fanout(to, text) => format!("{:?} fanout {}", actions.recipients(to.clone()), event(text)),
        Action::WhenFlushed(to) => format!("{to} when flushed"),
        Action::Post(post) => format!("post {}", post.ticket),
        Action::Send(to, Message::Text(text)) if talks.contains_key(to) => format!("{to} text {}", event(text)),
        Action::Send(to, Message::Text(_)) => format!("{to} text"),
        Action::Send(to, Message::Binary(_)) => format!("{to} binary"),
        Action::Close(to, code, _) => format!("{to} close {code}"),
        Action::Hurry(to) => format!("{to} hurry"),
        Action::Gather(to) => format!("{to} gather"),
        Action::Charge(to) => format!("{to} charge"),
        Action::Hold(to) => format!("{to} hold"),
        Action::Release(to) => format!("{to} release"),
    };
    actions.list().iter().map(kind).collect()
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
}

fn event(frame: &str) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
    }
    serde_json::from_str::<Named<'_>>(frame).map_or(Cow::Borrowed("?"), |frame| frame.event)
}

/// The socket id with which a connection is greeted in these actions, if it is.
pub fn greeting(actions: &Actions, id: ConnectionId) -> Option<String> {
    #[derive(Deserialize)]
    struct Established {
        socket_id: String,
    }
    actions.list().iter().find_map(|action| match action {
        Action::Send(to, Message::Text(text)) if *to == id => {
            let frame: Frame<'_> = serde_json::from_str(text).ok()?;
            let data = frame.data.filter(|_| frame.event == "pusher:connection_established")?;
            let established: Established = serde_json::from_str(&data).ok()?;
            Some(established.socket_id)
        }
        _ => None,
    })
}
