//! The service over a database in memory, with the crowd that an action may wake. The stage plays the loop: it hands
//! inputs in, carries questions to the database and answers back, and adds up the processor time of the service. There
//! are no sockets, and limits by time are off: only the cost of the action counts here.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use data_encoding::HEXLOWER;
use jsocketd::config::{App, Config, WEBHOOK_EVENTS, Webhook};
use jsocketd::id::ConnectionId;
use jsocketd::protocol::actions::{Action, Actions, Message};
use jsocketd::protocol::signature::hmac_hex;
use jsocketd::service::{Input, Service};
use jsocketd::store::{AssetRow, Extensions, GroupRow, LevelRow, NewRow, SessionId, Store, UserRow};
use jsocketd::time::{Now, Time};
use jsocketd::webhooks::Outcome;
use md5::{Digest, Md5};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::memory::{Item, Memory, Session};
use crate::words::{CALLER, handshake, request, say, session_text, site};

/// Inputs of connections, in order.
pub type Inputs = Vec<(ConnectionId, Input)>;

/// The admin token.
pub const TOKEN: &str = "an admin token of this test";

const SECRET: &str = "a secret of this test";
const START_MS: u64 = 1_700_000_000_000;

/// Longer than a session's answer is good for.
const A_WHILE: Duration = Duration::from_millis(1100);

/// Questions and answers after which it never ends.
const MOST_STEPS: usize = 100_000;

pub struct Stage {
    service: Service,
    pub database: Memory,
    now: Now,
    actions: Actions,
    /// Generations by slot, and the slots that are free.
    slots: Vec<u32>,
    free: Vec<u32>,
    open: HashSet<ConnectionId>,
    sockets: HashMap<ConnectionId, String>,
    /// The connections that the actions may wake.
    pub crowd: Vec<ConnectionId>,
    /// The connections that were opened for the actions of this round.
    actors: Vec<ConnectionId>,
    /// A connection of the crowd was closed.
    pub broken: bool,
    /// Inputs that the loop has to hand in.
    owed: Inputs,
    posts: Vec<u64>,
    /// Processor time of the service.
    spent: Duration,
    /// Actions, with each recipient of a fan-out counted.
    told: usize,
    /// The text to find in actions (none, if it is empty), and how many had it.
    proof: &'static str,
    proved: usize,
    /// A number that no round has twice.
    pub round: u64,
}

/// The processor time of this thread.
fn clock() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

impl Stage {
    /// Without connections; the site is known. `change`: additional configuration.
    pub fn new(change: impl Fn(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.admin_token = TOKEN.into();
        config.limits.connects_per_second = 1_000_000;
        config.limits.connections_per_session = 0;
        config.limits.requests_per_second = 0;
        config.joomla.sweep_interval = 86_400;
        config.joomla.identity_timeout = 86_400;
        // So little that recoveries read the table.
        config.database.history_rows = 4;
        let webhook = Webhook {
            url: "http://127.0.0.1:9/".into(),
            events: WEBHOOK_EVENTS.map(str::to_owned).to_vec(),
            ..Webhook::default()
        };
        config.apps.push(App {
            client_events: true,
            client_events_per_second: 1_000_000,
            max_presence_members: 1_000_000,
            webhooks: vec![webhook],
            ..App::new("joomla", "key", SECRET)
        });
        change(&mut config);
        let mut stage = Self {
            service: Service::new(config, [7; 32]),
            database: Memory::default(),
            now: Now {
                at: Time(0),
                unix_ms: START_MS,
            },
            actions: Actions::default(),
            slots: Vec::new(),
            free: Vec::new(),
            open: HashSet::new(),
            sockets: HashMap::new(),
            crowd: Vec::new(),
            actors: Vec::new(),
            broken: false,
            owed: Vec::new(),
            posts: Vec::new(),
            spent: Duration::ZERO,
            told: 0,
            proof: "",
            proved: 0,
            round: 0,
        };
        stage.fill();
        let now = stage.now;
        stage.service.set_site(site(), now, &mut stage.actions);
        stage.pass(Duration::from_secs(2));
        stage
    }

    fn fill(&mut self) {
        let tables = &mut self.database.tables;
        let group = |(id, parent, lft, rgt)| GroupRow { id, parent, lft, rgt };
        tables.groups = [(1, 0, 1, 6), (2, 1, 2, 3), (9, 1, 4, 5)].map(group).to_vec();
        tables.levels = [(1, "[1]"), (2, "[2]")]
            .map(|(id, rules)| LevelRow {
                id,
                rules: rules.into(),
            })
            .to_vec();
        tables.assets = vec![AssetRow {
            name: "root.1".into(),
            rules: "{}".into(),
            lft: 0,
            rgt: 100,
        }];
        tables.extensions = Extensions {
            com_users: Some(r#"{"guest_usergroup":"9"}"#.into()),
            joomla_version: Some("5.3.2".into()),
            ..Extensions::default()
        };
        for id in 1..=100 {
            let item = Item {
                access: 1,
                state: 1,
                ..Item::default()
            };
            tables.items[0].insert(id, item);
        }
    }

    // --- measuring -------------------------------------------------------------------------------------------------

    /// Counts from here on. `proof`: what each action is answered with.
    pub fn begin(&mut self, proof: &'static str) {
        (self.spent, self.told) = (Duration::ZERO, 0);
        (self.proof, self.proved) = (proof, 0);
    }

    /// The processor time of the service, the number of messages sent, and the number of proofs among them.
    pub fn end(&mut self) -> (Duration, usize, usize) {
        let proved = if self.proof.is_empty() { usize::MAX } else { self.proved };
        self.proof = "";
        (self.spent, self.told, proved)
    }

    // --- the loop --------------------------------------------------------------------------------------------------

    fn timed<T>(&mut self, act: impl FnOnce(&mut Service, Now, &mut Actions) -> T) -> T {
        let before = clock();
        let done = act(&mut self.service, self.now, &mut self.actions);
        self.spent += clock().saturating_sub(before);
        self.look();
        done
    }

    /// Hands inputs in.
    pub fn feed(&mut self, inputs: Inputs) {
        let closed: Vec<ConnectionId> = inputs
            .iter()
            .filter(|(_, input)| matches!(input, Input::Closed))
            .map(|(id, _)| *id)
            .collect();
        self.timed(|service, now, actions| {
            for (id, input) in inputs {
                service.input(id, input, now, actions);
            }
        });
        for id in closed {
            if self.open.remove(&id) {
                self.sockets.remove(&id);
                self.free.push(id.slot() as u32);
            }
        }
    }

    /// Reads the actions of the service, and counts their messages.
    fn look(&mut self) {
        let list = self.actions.take();
        for action in &list {
            self.told += 1;
            self.proved += usize::from(!self.proof.is_empty() && is_proof(action, self.proof));
            match action {
                Action::Fanout(to, _) => self.told += to.len() - 1,
                Action::Send(id, Message::Text(text)) if text.contains("connection_established") => {
                    let socket = text
                        .split("socket_id\\\":\\\"")
                        .nth(1)
                        .and_then(|rest| rest.split('\\').next());
                    self.sockets.insert(*id, socket.expect("a socket id").to_owned());
                }
                Action::Gather(id) => self.owed.push((*id, Input::ProcessStats(Box::default()))),
                Action::WhenFlushed(id) => self.owed.push((*id, Input::Flushed)),
                Action::Close(id, ..) => self.broken |= !self.actors.contains(id),
                Action::Post(post) => self.posts.push(post.ticket),
                _ => {}
            }
        }
        self.actions.reuse(list);
    }

    /// Does the due work, until no work is left at this time.
    pub fn settle(&mut self) {
        self.timed(|service, now, actions| service.due(now, actions));
        for _ in 0..MOST_STEPS {
            let owed = std::mem::take(&mut self.owed);
            let question = self.timed(|service, now, _| service.question(now));
            if owed.is_empty() && question.is_none() {
                return;
            }
            self.feed(owed);
            if let Some(question) = question {
                let answer = self.database.ask(&question, self.now);
                self.timed(|service, now, actions| service.answer(&question, answer, now, actions));
            }
        }
        panic!("it never ends");
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        self.now.at = self.now.at + span;
        self.now.unix_ms += span.as_millis() as u64;
        self.database.tables.now = self.now.unix_ms as i64;
        self.settle();
        for ticket in std::mem::take(&mut self.posts) {
            self.timed(|service, now, _| service.posted(ticket, Outcome::Done, now));
        }
    }

    /// Does the due work, and waits until a session may be looked up again.
    pub fn wait(&mut self) {
        self.settle();
        self.pass(A_WHILE);
    }

    /// Hands inputs in and does everything that follows.
    pub fn play(&mut self, inputs: Inputs) {
        self.feed(inputs);
        self.settle();
    }

    /// The connections of this round's actions are closed.
    pub fn clear(&mut self) {
        let actors = std::mem::take(&mut self.actors);
        self.close(actors);
        self.wait();
        self.round += 1;
    }

    /// The crowd goes.
    pub fn disperse(&mut self) {
        let crowd = std::mem::take(&mut self.crowd);
        self.close(crowd);
        self.wait();
        self.broken = false;
    }

    fn close(&mut self, ids: Vec<ConnectionId>) {
        let ids = ids.into_iter().filter(|id| self.open.contains(id));
        let inputs = ids.map(|id| (id, Input::Closed)).collect();
        self.feed(inputs);
    }

    // --- connections -----------------------------------------------------------------------------------------------

    /// The id of a new connection that nothing was said of yet.
    pub fn accept(&mut self) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(0);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] += 1;
        let id = ConnectionId::new(slot, self.slots[slot as usize]);
        self.open.insert(id);
        self.actors.push(id);
        id
    }

    /// The actors stay, as the crowd.
    pub fn keep(&mut self) {
        self.crowd.append(&mut self.actors);
        self.wait();
    }

    /// A connection that is open and has not said anything.
    pub fn opened(&mut self) -> ConnectionId {
        let id = self.accept();
        self.feed(vec![(id, Input::Opened(CALLER))]);
        id
    }

    /// A WebSocket at a path, by a page of the site.
    pub fn upgraded(&mut self, path: &str, cookie: Option<&str>) -> ConnectionId {
        let id = self.opened();
        self.feed(vec![(id, handshake(path, cookie))]);
        id
    }

    /// A client of the app.
    pub fn client(&mut self, cookie: Option<&str>) -> ConnectionId {
        self.upgraded("/app/key?protocol=7", cookie)
    }

    /// So many of them.
    pub fn clients(&mut self, count: usize, cookie: Option<&str>) -> Vec<ConnectionId> {
        (0..count).map(|_| self.client(cookie)).collect()
    }

    /// A client that asks for recovery.
    pub fn recovering(&mut self, cookie: Option<&str>) -> ConnectionId {
        self.upgraded("/app/key?protocol=7&recovery=1", cookie)
    }

    /// A new session of this user, who is added to the tables; returns the cookie.
    pub fn log_in(&mut self, user: u32, session: u64) -> String {
        let tables = &mut self.database.tables;
        tables.users.entry(user).or_insert_with(|| UserRow {
            id: user,
            name: format!("Name {user}"),
            username: format!("name{user}"),
            blocked: false,
            require_reset: false,
            mfa: false,
            groups: vec![2],
        });
        let cookie = format!("s{session:031x}");
        let row = Session {
            client_id: Some(0),
            guest: false,
            time: tables.now / 1000 + 1_000_000,
            user_id: user,
            data: Some(session_text(user)),
        };
        tables.sessions.insert(SessionId::parse(&cookie).expect("an id"), row);
        cookie
    }

    /// A user logs out, and Joomla says so.
    pub fn log_out(&mut self, user: u32) {
        self.database
            .tables
            .sessions
            .retain(|_, session| session.user_id != user);
        self.commit("#control", "recheck-user", &json!({"user_id": user}).to_string());
    }

    /// A row is committed to the outbox table.
    pub fn commit(&mut self, channel: &str, event: &str, data: &str) {
        self.database.tables.outbox.publish(NewRow {
            channel: channel.into(),
            event: event.into(),
            data: data.into(),
            socket_id: None,
        });
    }

    /// The place of a row in the outbox table's stream, so many numbers from the newest.
    pub fn position(&self, from_newest: i64) -> String {
        let newest = self
            .service
            .site()
            .and_then(|site| site.outbox())
            .expect("it is read")
            .told_position();
        let text = newest.to_string();
        let (epoch, place) = text.split_once(':').expect("a position");
        let (_, mark) = place.split_once('.').expect("a mark");
        format!("{epoch}:{}.{mark}", newest.number() as i64 + from_newest)
    }

    // --- messages of clients ---------------------------------------------------------------------------------------

    pub fn subscribe(&self, id: ConnectionId, channel: &str) -> (ConnectionId, Input) {
        say(id, "pusher:subscribe", json!({"channel": channel}))
    }

    /// The same of several.
    pub fn all_subscribe(&self, ids: &[ConnectionId], channel: &str) -> Inputs {
        ids.iter().map(|id| self.subscribe(*id, channel)).collect()
    }

    /// With a signature; to a presence channel as this member.
    pub fn signed(&self, id: ConnectionId, channel: &str, member: Option<u64>) -> (ConnectionId, Input) {
        let mut data = json!({"channel": channel});
        let mut text = format!("{}:{channel}", self.sockets[&id]);
        if let Some(member) = member {
            let channel_data = json!({"user_id": member.to_string()}).to_string();
            text = format!("{text}:{channel_data}");
            data["channel_data"] = channel_data.into();
        }
        data["auth"] = format!("key:{}", hmac_hex(SECRET, &[text.as_bytes()])).into();
        say(id, "pusher:subscribe", data)
    }

    pub fn sign_in(&self, id: ConnectionId, user: u32, watchlist: &[String]) -> (ConnectionId, Input) {
        let user_data = json!({"id": user.to_string(), "watchlist": watchlist}).to_string();
        let text = format!("{}::user::{user_data}", self.sockets[&id]);
        let auth = format!("key:{}", hmac_hex(SECRET, &[text.as_bytes()]));
        say(id, "pusher:signin", json!({"auth": auth, "user_data": user_data}))
    }

    /// A request to the HTTP API.
    pub fn api(&mut self, method: &str, path: &str, body: &Value) -> (ConnectionId, Input) {
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let mut query = format!("auth_key=key&auth_timestamp={}&auth_version=1.0", self.now.unix());
        if !body.is_empty() {
            query += &format!("&body_md5={}", HEXLOWER.encode(&Md5::digest(&body)));
        }
        let signature = hmac_hex(SECRET, &[format!("{method}\n{path}\n{query}").as_bytes()]);
        let target = format!("{path}?{query}&auth_signature={signature}");
        (
            self.opened(),
            Input::Request(CALLER, request(method, &target, None, body)),
        )
    }
}

/// Whether an action sends this text, or is an answer with this status.
fn is_proof(action: &Action, proof: &str) -> bool {
    match action {
        Action::Send(_, Message::Text(text)) | Action::Fanout(_, text) => text.contains(proof),
        Action::Respond(_, response) => response.status().as_str() == proof,
        _ => false,
    }
}
