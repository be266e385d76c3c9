//! Actions in a few words each. [`shapes`] are enough to see a change and too little to read a message: a replay
//! compares them. Masking must not change [`kinds`]: with them, the server's actions are compared with its shadow's.

use std::collections::HashMap;

use http::HeaderName;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions, Message};

/// Each action's kind, with headers, reasons, lengths and fingerprints of what is masked.
pub fn shapes(actions: &Actions) -> Vec<String> {
    let detail = |action: &Action| match action {
        Action::Respond(_, response) => {
            let headers: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
            format!(" {} {}", headers.join(","), print(response.body()))
        }
        Action::Fanout(_, text) | Action::Send(_, Message::Text(text)) => format!(" {}", print(text.as_bytes())),
        Action::Send(_, Message::Binary(bytes)) => format!(" {}", bytes.len()),
        Action::Post(post) => format!(" {}", print(&post.body)),
        Action::Close(_, _, reason) => format!(" {reason}"),
        _ => String::new(),
    };
    let shape = |action| kind(action, actions) + &detail(action);
    actions.list().iter().map(shape).collect()
}

/// Each action's kind, with the name of the event that is sent.
pub fn kinds<T>(actions: &Actions, talks: &HashMap<ConnectionId, T>) -> Vec<String> {
    let event = |action: &Action| match action {
        Action::Fanout(_, text) => format!(" {}", event(text)),
        Action::Send(to, Message::Text(text)) if talks.contains_key(to) => format!(" {}", event(text)),
        _ => String::new(),
    };
    let kind = |action| kind(action, actions) + &event(action);
    actions.list().iter().map(kind).collect()
}

/// A word, the connection, and the status or close code.
fn kind(action: &Action, actions: &Actions) -> String {
    match action {
        Action::Respond(to, response) => format!("{to} respond {}", response.status().as_u16()),
        Action::Accept(to, dialect) => format!("{to} accept {dialect:?}"),
        Action::Fanout(to, _) => format!("{:?} fanout", actions.recipients(to.clone())),
        Action::WhenFlushed(to) => format!("{to} when flushed"),
        Action::Post(post) => format!("post {}", post.ticket),
        Action::Send(to, Message::Text(_)) => format!("{to} text"),
        Action::Send(to, Message::Binary(_)) => format!("{to} binary"),
        Action::Close(to, code, _) => format!("{to} close {code}"),
        Action::Hurry(to) => format!("{to} hurry"),
        Action::Gather(to) => format!("{to} gather"),
        Action::ShowLoop(to, view) => format!("{to} show loop {view:?}"),
        Action::Charge(to) => format!("{to} charge"),
        Action::Hold(to) => format!("{to} hold"),
        Action::Release(to) => format!("{to} release"),
    }
}

fn print(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    format!("{} {}", text.len(), data_encoding::HEXLOWER.encode(&digest[..8]))
}

fn parse(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap_or_default()
}

fn event(frame: &str) -> String {
    parse(frame)["event"].as_str().unwrap_or("?").to_owned()
}

/// The socket id with which a connection is greeted in these actions, if it is.
pub fn greeting(actions: &Actions, id: ConnectionId) -> Option<String> {
    actions.list().iter().find_map(|action| match action {
        Action::Send(to, Message::Text(text)) if *to == id => {
            let frame = parse(text);
            let is_greeting = frame["event"] == "pusher:connection_established";
            let data = frame["data"].as_str().filter(|_| is_greeting)?;
            Some(parse(data)["socket_id"].as_str()?.to_owned())
        }
        _ => None,
    })
}
