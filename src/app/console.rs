//! The console protocol: a text frame is a command, the reply is a text frame. `test`, `version` and the answer to an
//! unknown command are the original's of 2012, to the letter. Everything that tells of the server's state is for those who
//! may see it, and says so to the others.

use std::net::IpAddr;

use serde_json::json;

use super::actions::{Action, Actions, Message};
use super::caller;
use super::pusher::session::Progress;
use super::service::{Counts, Facts};
use super::site::Site;
use crate::config::Config;
use crate::id::ConnectionId;
use crate::time::{Now, Time};

/// What `version` answers.
pub const VERSION: &str = concat!("jsocketd ", env!("CARGO_PKG_VERSION"));

/// Wrong tokens after which the connection is closed.
const WRONG_TOKENS: u8 = 3;

/// Every command: its name, whether it needs permission, and what `help` says of it.
const COMMANDS: [(&str, bool, &str); 9] = [
    ("test", false, "prints a text message"),
    ("version", false, "shows the version of the server"),
    ("help", false, "lists the commands"),
    ("time", false, "tells the server's clock (UTC)"),
    ("whoami", false, "tells who the server thinks you are (JSON)"),
    ("ping", false, "answers pong"),
    (
        "stats",
        true,
        "counts connections and messages, tells uptime and memory (JSON)",
    ),
    ("lag", true, "tells the loop's recent delays (JSON)"),
    (
        "token",
        false,
        "\"token VALUE\" opens the commands that need the admin token",
    ),
];

/// One console connection.
#[derive(Debug)]
pub struct Console {
    may_see_state: bool,
    address: Option<IpAddr>,
    since: Time,
    wrong_tokens: u8,
    /// What was asked for and waits for facts, in order.
    asked: Vec<Question>,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Stats,
    Lag,
}

impl Console {
    /// A console for somebody who may see the server's state, or not.
    pub fn new(may_see_state: bool, address: Option<IpAddr>, now: Now) -> Self {
        Self {
            may_see_state,
            address,
            since: now.at,
            wrong_tokens: 0,
            asked: Vec::new(),
        }
    }

    /// Answers a message: one reply each, at once or, for what only the loop knows, after `Gather`.
    /// What takes to know who is there waits until that is known, unless this is the last call.
    #[allow(clippy::too_many_arguments, reason = "everything that a command may ask about")]
    pub fn message(
        &mut self,
        id: ConnectionId,
        message: &Message,
        site: Option<&Site>,
        last_call: bool,
        config: &Config,
        now: Now,
        actions: &mut Actions,
    ) -> Progress {
        let command = match message {
            Message::Text(command) => command.as_str().trim(),
            Message::Binary(bytes) => {
                let reply = format!(
                    "Commands are text; this was a binary frame of {} bytes. Try help.\n",
                    bytes.len()
                );
                actions.push(Action::Send(id, text(reply)));
                return Progress::Done;
            }
        };
        let personal = COMMANDS.iter().any(|(known, needs, _)| *needs && *known == command) || command == "whoami";
        if personal && !last_call && site.is_some_and(|site| !site.is_known(id)) {
            return Progress::Later;
        }
        self.obey(id, command, site, config, now, actions);
        Progress::Done
    }

    fn obey(
        &mut self,
        id: ConnectionId,
        command: &str,
        site: Option<&Site>,
        config: &Config,
        now: Now,
        actions: &mut Actions,
    ) {
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let needs_permission = COMMANDS.iter().any(|(known, needs, _)| *needs && *known == command);
        let may_see_state = self.may_see_state || site.is_some_and(|site| site.may(id, "websockets.monitor"));
        if needs_permission && !may_see_state {
            return actions.push(Action::Send(id, text(not_allowed(config))));
        }
        let reply = match command {
            "" => "Empty command. Try help.\n".to_owned(),
            "test" => "This is a test!".to_owned(),
            "version" => version(site),
            "help" => help(),
            "time" => time(now),
            "ping" => "pong".to_owned(),
            "whoami" => self.whoami(id, site, may_see_state, now),
            "stats" => return self.ask(id, Question::Stats, actions),
            "lag" => return self.ask(id, Question::Lag, actions),
            _ if name == "token" => return self.token(id, argument.trim(), config, actions),
            _ => "Command not found\n".to_owned(),
        };
        actions.push(Action::Send(id, text(reply)));
    }

    /// Answers the oldest question with facts that have been gathered for it.
    pub fn answer(&mut self, facts: &Facts, counts: &Counts, site: Option<&Site>, now: Now) -> Option<String> {
        if self.asked.is_empty() {
            return None;
        }
        Some(match self.asked.remove(0) {
            Question::Stats => stats(facts, counts, site, now),
            Question::Lag => json!(facts.lag).to_string(),
        })
    }

    fn ask(&mut self, id: ConnectionId, question: Question, actions: &mut Actions) {
        self.asked.push(question);
        actions.push(Action::Gather(id));
    }

    fn token(&mut self, id: ConnectionId, given: &str, config: &Config, actions: &mut Actions) {
        if caller::is_token(given, &config.server.admin_token) {
            self.may_see_state = true;
            return actions.push(Action::Send(
                id,
                text("Allowed: stats and lag answer from here on.".to_owned()),
            ));
        }
        self.wrong_tokens += 1;
        let why = if config.server.admin_token.is_empty() {
            not_allowed(config)
        } else {
            "Not allowed: wrong token.\n".to_owned()
        };
        actions.push(Action::Send(id, text(why)));
        if self.wrong_tokens >= WRONG_TOKENS {
            actions.push(Action::Close(id, 1008, "too many wrong tokens".into()));
        }
    }

    fn whoami(&self, id: ConnectionId, site: Option<&Site>, may_see_state: bool, now: Now) -> String {
        let mut shown = json!({
            "connection": id.to_string(),
            "identity": "guest",
            "address": self.address,
            "may_see_state": may_see_state,
            "connected_seconds": now.at.since(self.since).as_secs(),
        });
        if let (Some(site), Some(shown)) = (site, shown.as_object_mut()) {
            let who = site.describe(id, may_see_state);
            shown.extend(who.as_object().cloned().unwrap_or_default());
        }
        shown.to_string()
    }
}

/// The product, and the site's Joomla once its version is known.
fn version(site: Option<&Site>) -> String {
    match site.and_then(Site::joomla_version) {
        Some(joomla) => format!("{VERSION} (Joomla {joomla})"),
        None => VERSION.to_owned(),
    }
}

/// Whether this text is a command and nothing else.
pub fn is_command(text: &str) -> bool {
    COMMANDS.iter().any(|(known, ..)| *known == text)
}

/// A text message.
pub fn text(text: String) -> Message {
    Message::Text(text.into())
}

fn not_allowed(config: &Config) -> String {
    let how = if config.server.admin_token.is_empty() {
        "the server has no admin_token; set one, or connect by admin_listen"
    } else {
        "say \"token VALUE\" with the server's admin_token first, or connect by admin_listen"
    };
    format!("Not allowed: {how}.\n")
}

fn help() -> String {
    COMMANDS.iter().fold(String::new(), |all, (name, _, what)| {
        all + &format!("{name:<9}{what}\n")
    })
}

fn time(now: Now) -> String {
    i64::try_from(now.unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || "The clock is out of its mind.\n".to_owned(),
            |time| format!("{time:.3}"),
        )
}

fn stats(facts: &Facts, counts: &Counts, site: Option<&Site>, now: Now) -> String {
    let mut shown = json!({
        "connections": facts.connections,
        "max_connections": facts.max_connections,
        "websockets": counts.websockets,
        "messages_in": counts.messages_in,
        "messages_out": counts.messages_out,
        "requests": counts.requests,
        "uptime_seconds": now.at.seconds(),
        "resident_bytes": facts.resident_bytes,
    });
    if let Some(sql) = &facts.sql {
        shown["database"] = json!(sql);
    }
    if let Some(site) = site {
        shown["site"] = site.stats(now);
    }
    shown.to_string()
}
