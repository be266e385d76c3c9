//! The console protocol: a text frame is a command, the reply is a text frame. `test`, `version` and the answer to an
//! unknown command are letter for letter those of the original of 2012. Commands that show the server's state or
//! publish need a permission; without it they are refused. A session's cookie is not enough for these commands: they
//! also need the session's form token, or the admin token.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;

use serde_json::json;

use super::caller;
use super::snapshot::Snapshot;
use crate::config::Config;
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions, LoopView, Message};
use crate::protocol::{Attempt, Verdict};
use crate::site::visits::NoProof;
use crate::site::{CONSOLE, MONITOR, PUBLISH, Site};
use crate::time::{Now, Time, utc};

/// The answer of `version`.
pub const VERSION: &str = concat!("jsocketd ", env!("CARGO_PKG_VERSION"));

/// The answer of `publish` when words are missing.
const USAGE: &str = "Not published: say \"publish CHANNEL EVENT DATA\".\n";

/// After this many wrong tokens the connection is closed.
const WRONG_TOKENS: u8 = 3;

/// The users who may give a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// All users, always: with these commands a user gains more permissions.
    All,
    /// Users of the console: all users, unless the site's permissions restrict it.
    Users,
    /// Users who may see the server's state.
    Monitors,
    /// Users who may publish.
    Publishers,
}

impl For {
    /// The permissions on com_websockets that a user of the site needs. `ruled`: the site's permissions restrict the
    /// console. Then users without the permission have only the commands of `For::All`.
    fn permissions(self, ruled: bool) -> impl Iterator<Item = &'static str> {
        let console = (ruled && self != For::All).then_some(CONSOLE);
        let own = match self {
            For::All | For::Users => None,
            For::Monitors => Some(MONITOR),
            For::Publishers => Some(PUBLISH),
        };
        console.into_iter().chain(own)
    }

    /// Whether the command needs more than a cookie.
    fn takes_proof(self) -> bool {
        matches!(self, For::Monitors | For::Publishers)
    }
}

/// Every command: its name, the users who may give it, and its text in `help`.
const COMMANDS: [(&str, For, &str); 12] = [
    ("test", For::Users, "prints a text message"),
    ("version", For::Users, "shows the version of the server"),
    ("help", For::All, "lists the commands"),
    ("time", For::Users, "tells the server's clock (UTC)"),
    ("whoami", For::All, "tells who the server thinks you are (JSON)"),
    ("ping", For::Users, "answers pong"),
    (
        "stats",
        For::Monitors,
        "counts connections and messages, tells uptime and memory (JSON)",
    ),
    ("lag", For::Monitors, "tells the loop's recent delays (JSON)"),
    (
        "ticks",
        For::Monitors,
        "shows the loop's latest ticks and what took the longest in each",
    ),
    (
        "blame",
        For::Monitors,
        "shows what took the longest in the worst ticks of the last hour",
    ),
    (
        "publish",
        For::Publishers,
        "\"publish CHANNEL EVENT DATA\" sends an event to all who hear the channel",
    ),
    (
        "token",
        For::All,
        "\"token VALUE\" opens stats, lag, ticks, blame and publish: the admin token, or your session's form token",
    ),
];

/// An event to publish. Nothing in it has been checked.
#[derive(Debug)]
pub struct Wanted {
    /// The channel.
    pub channel: String,
    /// The event's name.
    pub name: String,
    /// The data, as a string.
    pub data: String,
}

/// One console connection.
#[derive(Debug)]
pub struct Console {
    /// The connection sent the admin token, came by `admin_listen`, or there are no secrets at all.
    is_admin: bool,
    address: Option<IpAddr>,
    since: Time,
    wrong_tokens: u8,
    /// Commands that wait for facts, in order.
    asked: VecDeque<Question>,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Stats,
    Lag,
}

impl Console {
    /// A console. `is_admin`: it may see the server's state without asking the site.
    pub fn new(is_admin: bool, address: Option<IpAddr>, now: Now) -> Self {
        Self {
            is_admin,
            address,
            since: now.at,
            wrong_tokens: 0,
            asked: VecDeque::new(),
        }
    }

    /// Answers a message with one reply: at once, or after `Gather` if only the loop has the facts. A command that
    /// depends on the user waits until the user is known, except in the last attempt. `Yes` carries an event that the
    /// caller must publish; [`published`] is then the reply. `No` carries the reply that the caller must send.
    pub fn message(
        &mut self,
        id: ConnectionId,
        message: &Message,
        site: Option<&mut Site>,
        attempt: &Attempt,
        config: &Config,
        actions: &mut Actions,
    ) -> Verdict<Option<Wanted>, String> {
        let command = match message {
            Message::Text(command) => command.as_str().trim(),
            Message::Binary(bytes) => {
                return Verdict::No(format!(
                    "Commands are text; this was a binary frame of {} bytes. Try help.\n",
                    bytes.len()
                ));
            }
        };
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let (name, argument) = match name {
            "token" | "publish" => (name, argument.trim()),
            // The other commands take no argument.
            _ => (command, ""),
        };
        if name == "token" {
            return self.token(id, argument, site, attempt, config, actions);
        }
        let site = site.as_deref();
        let known = COMMANDS.iter().find(|(known, ..)| *known == name);
        let group = known.map_or(For::Users, |(_, group, _)| *group);
        let ruled = site.is_some_and(Site::rules_console);
        let personal = name == "whoami" || group.permissions(ruled).next().is_some();
        if personal && !attempt.is_last && site.is_some_and(|site| !site.is_known(id)) {
            return Verdict::NotYet;
        }
        log::debug!(
            "{id} gives the command {}",
            known.map_or("that is unknown", |(known, ..)| *known)
        );
        let may = |action| self.is_admin || site.is_some_and(|site| site.may(id, action));
        if let Some(missing) = group.permissions(ruled).find(|action| !may(action)) {
            return Verdict::No(not_allowed(config, site.map(|_| missing)));
        }
        if group.takes_proof() && !self.is_proved(id, site) {
            let why =
                "Not allowed: say \"token VALUE\" first, with the form token of your session or the admin_token.\n";
            return Verdict::No(why.to_owned());
        }
        if name == "publish" {
            return match Wanted::read(argument) {
                Some(wanted) => Verdict::Yes(Some(wanted)),
                None => Verdict::No(USAGE.to_owned()),
            };
        }
        self.run(id, name, site, attempt.now, actions);
        Verdict::Yes(None)
    }

    /// Whether the connection has proved that it may act as its user.
    fn is_proved(&self, id: ConnectionId, site: Option<&Site>) -> bool {
        self.is_admin || site.is_some_and(|site| site.is_proved(id))
    }

    fn run(&mut self, id: ConnectionId, command: &str, site: Option<&Site>, now: Now, actions: &mut Actions) {
        let reply = match command {
            "" => "Empty command. Try help.\n".to_owned(),
            "test" => "This is a test!".to_owned(),
            "version" => version(site),
            "help" => help(),
            "time" => utc(now.unix_ms).unwrap_or_else(|| "The clock shows no date that can be written.\n".to_owned()),
            "ping" => "pong".to_owned(),
            "whoami" => {
                let may_see_state =
                    self.is_admin || site.is_some_and(|site| site.is_proved(id) && site.may(id, MONITOR));
                self.whoami(id, site, may_see_state, now)
            }
            "stats" => return self.ask(id, Question::Stats, actions),
            "lag" => return self.ask(id, Question::Lag, actions),
            "ticks" => return actions.push(Action::ShowLoop(id, LoopView::Ticks)),
            "blame" => return actions.push(Action::ShowLoop(id, LoopView::Blame)),
            _ => "Command not found\n".to_owned(),
        };
        actions.push(Action::Send(id, text(reply)));
    }

    /// Answers the oldest question with facts that have been gathered for it.
    pub fn answer(&mut self, snapshot: &Snapshot) -> Option<String> {
        Some(match self.asked.pop_front()? {
            Question::Stats => stats(snapshot),
            Question::Lag => json!(snapshot.lag).to_string(),
        })
    }

    fn ask(&mut self, id: ConnectionId, question: Question, actions: &mut Actions) {
        self.asked.push_back(question);
        actions.push(Action::Gather(id));
    }

    /// Handles the admin token, or the form token of the session.
    fn token(
        &mut self,
        id: ConnectionId,
        given: &str,
        site: Option<&mut Site>,
        attempt: &Attempt,
        config: &Config,
        actions: &mut Actions,
    ) -> Verdict<Option<Wanted>, String> {
        let has_site = site.is_some();
        let is_admin = caller::is_token(given, &config.server.admin_token);
        let proved = site
            .filter(|_| !is_admin)
            .map(|site| site.show(id, given, attempt.now, actions.effects()));
        let mut answer = |reply: &str| {
            log::debug!("{id} shows a token: {}", reply.trim_end());
            actions.push(Action::Send(id, text(reply.to_owned())));
        };
        if is_admin {
            self.is_admin = true;
            answer("Allowed: all commands answer from here on.");
            return Verdict::Yes(None);
        }
        match proved {
            Some(Verdict::Yes(())) => {
                answer("Allowed: what your account may do answers from here on.");
                return Verdict::Yes(None);
            }
            Some(Verdict::NotYet) if !attempt.is_last => return Verdict::NotYet,
            Some(Verdict::NotYet | Verdict::No(NoProof::OutOfReach)) => {
                answer("Not allowed: the form token of this session cannot be read; the admin_token would do.\n");
            }
            Some(Verdict::No(NoProof::Wrong)) | None if has_site || !config.server.admin_token.is_empty() => {
                answer("Not allowed: wrong token.\n");
            }
            Some(Verdict::No(NoProof::Wrong)) | None => answer(&not_allowed(config, None)),
        }
        self.wrong_tokens += 1;
        if self.wrong_tokens >= WRONG_TOKENS {
            actions.push(Action::Close(id, 1008, "too many wrong tokens".into()));
        }
        Verdict::Yes(None)
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

impl Wanted {
    /// Reads `CHANNEL EVENT DATA`. The data is the rest of the line and may contain spaces.
    pub fn read(argument: &str) -> Option<Self> {
        let (channel, rest) = argument.split_once(char::is_whitespace)?;
        let (name, data) = rest.trim_start().split_once(char::is_whitespace)?;
        Some(Self {
            channel: channel.to_owned(),
            name: name.to_owned(),
            data: data.trim_start().to_owned(),
        })
    }
}

/// The reply to `publish`: to how many connections the event is sent, or why it was not published. `is_together`: other
/// processes of a cluster send it too, and each knows its own connections only.
pub fn published(outcome: Result<usize, Cow<'static, str>>, is_together: bool) -> String {
    let elsewhere = match is_together {
        true => " of this process, and to those of all others",
        false => "",
    };
    match outcome {
        Ok(1) => format!("Published to 1 connection{elsewhere}."),
        Ok(count) => format!("Published to {count} connections{elsewhere}."),
        Err(why) => format!("Not published: {}.\n", why.trim_end_matches('.')),
    }
}

/// The product, and the version of the site's Joomla if it is known.
fn version(site: Option<&Site>) -> String {
    match site.and_then(Site::joomla_version) {
        Some(joomla) => format!("{VERSION} (Joomla {joomla})"),
        None => VERSION.to_owned(),
    }
}

/// The names of all commands.
pub fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, ..)| *name)
}

/// Whether this text is a command and nothing else.
pub fn is_command(text: &str) -> bool {
    commands().any(|known| known == text)
}

/// A text message.
pub fn text(text: String) -> Message {
    Message::Text(text.into())
}

/// The refusal of a command. `missing`: the permission that would allow it to a user of the site.
fn not_allowed(config: &Config, missing: Option<&str>) -> String {
    let how = if config.server.admin_token.is_empty() {
        "the server has no admin_token; set one, or connect by admin_listen"
    } else {
        "say \"token VALUE\" with the server's admin_token first, or connect by admin_listen"
    };
    match missing {
        Some(permission) => format!("Not allowed: it takes {permission} on com_websockets; without a log-in, {how}.\n"),
        None => format!("Not allowed: {how}.\n"),
    }
}

fn help() -> String {
    COMMANDS.iter().fold(String::new(), |all, (name, _, what)| {
        all + &format!("{name:<9}{what}\n")
    })
}

fn stats(snapshot: &Snapshot) -> String {
    let (connections, traffic) = (&snapshot.connections, &snapshot.traffic);
    let mut shown = json!({
        "connections": connections.total,
        "max_connections": connections.max,
        "websockets": connections.websockets,
        "messages_in": traffic.messages_in,
        "messages_out": traffic.messages_out,
        "requests": traffic.requests,
        "uptime_seconds": snapshot.uptime_s,
        "resident_bytes": snapshot.resident_bytes,
    });
    if let Some(sql) = &snapshot.database {
        shown["database"] = json!(sql);
    }
    if let Some(site) = &snapshot.site {
        let outbox = snapshot.outbox.as_ref().map(|outbox| outbox.counters);
        shown["site"] =
            json!({"joomla": site.joomla, "sessions": site.sessions, "users": site.users, "outbox": outbox});
    }
    if let Some(cluster) = &snapshot.cluster {
        shown["cluster"] = json!(cluster);
    }
    shown.to_string()
}
