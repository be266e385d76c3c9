//! A server that reads a site's outbox table, its figures, and positions in the table.

use jsocketd::protocol::position::Position;
use serde_json::{Value, json};

use super::joomla::Site as Joomla;
use super::pusher::{ID, KEY, SECRET, Session, Site};
use super::{Peer, Server, wait_until};

/// The token of the administrator.
pub const ADMIN_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Starts a server of this site, with these lines in `[database]`. Nothing is looked at again by itself but the table.
pub fn serve(joomla: &Joomla, database: &str) -> Site {
    serve_app(joomla, database, "")
}

/// The same, with these lines in `[[apps]]`.
pub fn serve_app(joomla: &Joomla, database: &str, app: &str) -> Site {
    let toml = format!(
        "[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n[limits]\nconnects_per_second = 0\n\
         [joomla]\napp = \"{ID}\"\nsweep_interval = 3600\n[database]\n{database}\n\
         [[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n{app}\n"
    );
    let server = Server::start_with(&toml, |command, _| {
        command.arg("--joomla").arg(joomla.root());
    });
    Site { server }
}

/// Waits until the server has its position in the table; returns the position.
pub fn ready(site: &Site) -> String {
    let mut session = site.connect_recovering();
    let mut found = None;
    wait_until(
        "the server reads the table",
        || {
            // Epoch 0 means that the server has no position.
            found = table_position(&pong(&mut session)["pos"]).filter(|position| !position.starts_with("o00000000:"));
            found.is_some()
        },
        || site.server.log(),
    );
    found.unwrap_or_default()
}

/// The answer to a ping.
pub fn pong(session: &mut Session) -> Value {
    session.say(json!({"event": "pusher:ping", "data": {}}));
    loop {
        let message = session.next();
        if message["event"] == "pusher:pong" {
            return message;
        }
        assert_eq!(message["event"], "pusher_internal:position", "{message}");
    }
}

/// The positions in a field that holds one or a list.
pub fn positions(value: &Value) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{value} is no position"))
            .to_owned()
    };
    match value {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().map(text).collect(),
        one => vec![text(one)],
    }
}

/// The one that is of the table.
pub fn table_position(value: &Value) -> Option<String> {
    positions(value).into_iter().find(|position| position.starts_with('o'))
}

/// The number in a position of the table.
pub fn seq(position: &Value) -> u64 {
    match position.as_str().unwrap_or_default().parse() {
        Ok(Position::Table { place, .. }) => place.seq,
        _ => panic!("{position} is no position in the table"),
    }
}

/// The console's figures of the outbox table.
pub fn stats(site: &Site) -> Value {
    let mut peer = Peer::upgrade(&site.server, "/");
    let mut say = |command: &str| {
        let (_, answer) = peer.text(command).next_frame();
        String::from_utf8(answer).expect("answers are text")
    };
    assert!(say(&format!("token {ADMIN_TOKEN}")).starts_with("Allowed"));
    let all: Value = serde_json::from_str(&say("stats")).expect("JSON");
    all["site"]["outbox"].clone()
}

/// Waits until a count of the outbox table is so.
pub fn wait_for(site: &Site, count: &str, right: impl Fn(u64) -> bool) {
    let what = format!("the count of {count} is right");
    let now = || stats(site)[count].as_u64().expect("a number");
    wait_until(
        &what,
        || right(now()),
        || format!("{}\n{}", stats(site), site.server.log()),
    );
}

/// Subscribes without a signature; returns the confirmation.
pub fn enter(session: &mut Session, channel: &str, since: Option<Value>) -> Value {
    let mut data = json!({"channel": channel});
    if let Some(since) = since {
        data["since"] = since;
    }
    session.say_subscribe(data);
    let got = session.next();
    assert_eq!(got["event"], "pusher_internal:subscription_succeeded", "{got}");
    assert_eq!(got["channel"], channel, "{got}");
    got
}
