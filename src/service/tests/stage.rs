//! The stage: services as the processes of a cluster, with one app, and their clients. It plays the loop of each one.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::Request;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::engine::Engine;
use super::words::{caller, frame, request};
use crate::config::{App, Config, WEBHOOK_EVENTS, Webhook};
use crate::id::ConnectionId;
use crate::joomla::site::{Client as Site, Handler, SiteConfig};
use crate::protocol::actions::{Action, Actions, Message};
use crate::protocol::engine::{Command, Line, LineState};
use crate::protocol::signature::hmac_hex;
use crate::service::{Input, Service};
use crate::time::{Now, Time};
use crate::webhooks::Outcome;

const START_MS: u64 = 1_800_000_000_000;
const STEP: Duration = Duration::from_millis(50);
/// The name of the site's cookie.
const COOKIE: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "a secret of this test";

/// A client: its process and its connection.
pub type Client = (usize, ConnectionId);

/// See the top of this file.
pub struct Stage {
    processes: Vec<Option<Process>>,
    pub engine: Engine,
    config: Config,
    now: Now,
    next: u32,
    socket_ids: HashMap<Client, String>,
    hooks: Vec<String>,
}

struct Process {
    service: Service,
    up: bool,
    /// The command that waits for an answer, by line.
    asked: [Option<Command>; 2],
    frames: HashMap<ConnectionId, Vec<Value>>,
    closed: HashMap<ConnectionId, u16>,
    responses: HashMap<ConnectionId, (u16, Value)>,
}

impl Stage {
    /// So many processes that know each other.
    pub fn new(processes: usize) -> Self {
        Self::with(processes, |_| {})
    }

    /// The same, with another configuration.
    pub fn with(processes: usize, change: impl Fn(&mut Config)) -> Self {
        let mut config = Config::default();
        config.engine.url = "redis://127.0.0.1".into();
        config.limits.connects_per_second = 0;
        let webhook = Webhook {
            url: "http://127.0.0.1:9/".into(),
            events: WEBHOOK_EVENTS
                .iter()
                .filter(|name| **name != "subscription_count")
                .map(|name| (*name).to_owned())
                .collect(),
            ..Webhook::default()
        };
        config.joomla.app = "7".into();
        config.apps = vec![App {
            client_events: true,
            webhooks: vec![webhook],
            ..App::new("7", "key", SECRET)
        }];
        change(&mut config);
        let mut stage = Self {
            processes: Vec::new(),
            engine: Engine::default(),
            config,
            now: Now {
                at: Time(1_000_000),
                unix_ms: START_MS,
            },
            next: 0,
            socket_ids: HashMap::new(),
            hooks: Vec::new(),
        };
        for _ in 0..processes {
            stage.come();
            stage.pass(Duration::from_secs(3));
        }
        stage
    }

    /// One more process starts.
    pub fn come(&mut self) -> usize {
        let seed = [self.processes.len() as u8 + 1; 32];
        let mut service = Service::new(self.config.clone(), seed);
        service.join_cluster(&seed, self.now);
        self.processes.push(Some(Process {
            service,
            up: false,
            asked: [None, None],
            frames: HashMap::new(),
            closed: HashMap::new(),
            responses: HashMap::new(),
        }));
        self.settle();
        self.processes.len() - 1
    }

    /// A process dies.
    pub fn kill(&mut self, process: usize) {
        self.processes[process] = None;
    }

    /// A process drains, closes its connections, and ends.
    pub fn drain(&mut self, process: usize) {
        let clients: Vec<Client> = self.socket_ids.keys().copied().filter(|(p, _)| *p == process).collect();
        self.of(process).service.drain();
        for client in clients {
            self.close(client);
        }
        for _ in 0..20 {
            self.settle();
            if self.of(process).service.leave_cluster() {
                return self.kill(process);
            }
            self.pass(STEP);
        }
        panic!("the process cannot leave the cluster");
    }

    /// The configuration changes. Each process reads it when it is told to.
    pub fn change(&mut self, change: impl Fn(&mut Config)) {
        change(&mut self.config);
    }

    /// A process reads the configuration again.
    pub fn reload(&mut self, process: usize) {
        let config = self.config.clone();
        self.decide(process, |service, _, actions| service.reconfigure(config, actions));
        self.settle();
    }

    fn of(&mut self, process: usize) -> &mut Process {
        self.processes[process].as_mut().expect("the process lives")
    }

    fn decide(&mut self, process: usize, decision: impl FnOnce(&mut Service, Now, &mut Actions)) {
        let (now, mut actions) = (self.now, Actions::default());
        let of = self.processes[process].as_mut().expect("the process lives");
        decision(&mut of.service, now, &mut actions);
        let mut posts = Vec::new();
        for action in actions.list() {
            match action {
                Action::Send(id, Message::Text(text)) => of.frames.entry(*id).or_default().push(frame(text.as_str())),
                Action::Fanout(range, text) => {
                    for id in actions.recipients(range.clone()) {
                        of.frames.entry(*id).or_default().push(frame(text.as_str()));
                    }
                }
                Action::Close(id, code, _) => {
                    of.closed.entry(*id).or_insert(*code);
                }
                Action::Respond(id, response) => {
                    let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
                    of.responses.insert(*id, (response.status().as_u16(), body));
                }
                Action::Post(post) => posts.push((post.ticket, post.body.clone())),
                _ => {}
            }
        }
        for (ticket, body) in posts {
            let body = frame(std::str::from_utf8(&body).expect("UTF-8"));
            for event in body["events"].as_array().into_iter().flatten() {
                let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                self.hooks.push(format!("{} {}", text("name"), text("channel")));
            }
            self.of(process).service.posted(ticket, Outcome::of(Ok(200)), now);
        }
    }

    /// Carries commands and replies until nothing is left to do now.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut has_worked = false;
            for process in 0..self.processes.len() {
                if self.processes[process].is_some() {
                    has_worked |= self.turn(process);
                }
            }
            if !has_worked {
                return;
            }
        }
        panic!("the processes never come to rest");
    }

    fn turn(&mut self, process: usize) -> bool {
        let (now, is_there) = (self.now, !self.engine.cut);
        let mut has_worked = self.of(process).service.deadline() <= now.at;
        if has_worked {
            self.decide(process, |service, now, actions| service.due(now, actions));
        }
        if self.of(process).up != is_there {
            has_worked = true;
            self.of(process).up = is_there;
            self.of(process).asked = [None, None];
            for line in Line::BOTH {
                let state = match is_there {
                    true => LineState::Up { engine: "model".into() },
                    false => LineState::Down { why: "is cut".into() },
                };
                self.decide(process, |service, now, actions| {
                    service.engine_line(line, state, now, actions);
                });
            }
        }
        for line in Line::BOTH {
            let of = self.of(process);
            if of.up && of.asked[line.index()].is_none() {
                of.asked[line.index()] = of.service.engine_command(line, now);
            }
            let asked = self.of(process).asked[line.index()].clone();
            if let Some(reply) = asked.and_then(|command| self.engine.answer(&command)) {
                has_worked = true;
                self.of(process).asked[line.index()] = None;
                self.decide(process, |service, now, actions| {
                    service.engine_reply(line, Ok(reply), now, actions);
                });
            }
        }
        has_worked
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.at + time;
        while self.now.at < end {
            self.settle();
            self.now.at = self.now.at + STEP;
            self.now.unix_ms += STEP.as_millis() as u64;
        }
        self.settle();
    }

    // --- clients -------------------------------------------------------------------------------------------------

    fn open(&mut self) -> ConnectionId {
        self.next += 1;
        ConnectionId::new(self.next, 1)
    }

    /// Opens a client of the app that recovers what it missed.
    pub fn connect(&mut self, process: usize) -> Client {
        self.connect_to(process, "key")
    }

    /// The same for the app with this key.
    pub fn connect_to(&mut self, process: usize, key: &str) -> Client {
        let id = self.open();
        let path = format!("/app/{key}?protocol=7&recovery=1");
        self.decide(process, |service, now, actions| {
            service.input(id, Input::Opened(caller()), now, actions);
            let request = request("GET", &path, "");
            service.input(id, Input::Handshake(caller(), request), now, actions);
        });
        let client = (process, id);
        let greeting = self.take(client).remove(0);
        let data = frame(greeting["data"].as_str().expect("a greeting"));
        let socket_id = data["socket_id"].as_str().expect("a socket id").to_owned();
        self.socket_ids.insert(client, socket_id);
        client
    }

    /// All processes find the site of the app.
    pub fn find_site(&mut self) {
        for process in 0..self.processes.len() {
            let site = SiteConfig {
                cookies: vec![(Site::Site, COOKIE.to_owned())],
                secret: crate::store::Secret("a secret of the site".into()),
                handler: Handler::Database,
                metadata: true,
                lifetime: 900,
                shared: false,
                live_site: None,
                offline: false,
                root_user: None,
            };
            self.decide(process, |service, now, actions| service.set_site(site, now, actions));
        }
    }

    /// Opens a client with a session of the site.
    pub fn visit(&mut self, process: usize, session: &str) -> Client {
        let id = self.open();
        let request = Request::builder()
            .uri("/app/key?protocol=7")
            .header("host", "example.org")
            .header("origin", "http://example.org")
            .header("cookie", format!("{COOKIE}={session}"))
            .body(Bytes::new())
            .expect("a request");
        self.decide(process, |service, now, actions| {
            service.input(id, Input::Opened(caller()), now, actions);
            service.input(id, Input::Handshake(caller(), request), now, actions);
        });
        (process, id)
    }

    /// Sends a frame.
    pub fn say(&mut self, (process, id): Client, frame: Value) {
        let message = Message::Text(frame.to_string().into());
        self.decide(process, |service, now, actions| {
            service.input(id, Input::Message(message), now, actions);
            // The loop hands this in when the send queue is empty.
            service.input(id, Input::Flushed, now, actions);
        });
    }

    /// Subscribes to a public channel; `after`: the position after which events are missing.
    pub fn subscribe(&mut self, client: Client, channel: &str, after: Option<&Value>) {
        let mut data = json!({ "channel": channel });
        if let Some(after) = after {
            data["since"] = after.clone();
        }
        self.say(client, json!({"event": "pusher:subscribe", "data": data}));
    }

    /// Joins a presence channel.
    pub fn join(&mut self, client: Client, channel: &str, user: &str) {
        let channel_data = json!({ "user_id": user }).to_string();
        let signed = format!("{}:{channel}:{channel_data}", self.socket_ids[&client]);
        let auth = format!("key:{}", hmac_hex(SECRET, &[signed.as_bytes()]));
        let data = json!({"channel": channel, "auth": auth, "channel_data": channel_data});
        self.say(client, json!({"event": "pusher:subscribe", "data": data}));
    }

    /// Signs in.
    pub fn sign_in(&mut self, client: Client, user: &str) {
        let user_data = json!({ "id": user }).to_string();
        let signed = format!("{}::user::{user_data}", self.socket_ids[&client]);
        let auth = format!("key:{}", hmac_hex(SECRET, &[signed.as_bytes()]));
        self.say(
            client,
            json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}),
        );
    }

    /// The client goes.
    pub fn close(&mut self, client: Client) {
        let (process, id) = client;
        self.socket_ids.remove(&client);
        self.decide(process, |service, now, actions| {
            service.input(id, Input::Closed, now, actions);
        });
    }

    /// The frames that the client got since the last call.
    pub fn take(&mut self, (process, id): Client) -> Vec<Value> {
        self.of(process).frames.remove(&id).unwrap_or_default()
    }

    /// The code with which the client's connection was closed.
    pub fn closed(&mut self, (process, id): Client) -> Option<u16> {
        self.of(process).closed.get(&id).copied()
    }

    /// The webhook events that were sent since the last call.
    pub fn hooks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.hooks)
    }

    // --- the HTTP API --------------------------------------------------------------------------------------------

    /// Publishes an event by a process's HTTP API.
    pub fn publish(&mut self, process: usize, channel: &str, name: &str, data: &str) -> (u16, Value) {
        self.publish_as(process, ("7", "key", SECRET), channel, name, data)
    }

    /// The same for an app with this id, key and secret.
    pub fn publish_as(
        &mut self,
        process: usize,
        app: (&str, &str, &str),
        channel: &str,
        name: &str,
        data: &str,
    ) -> (u16, Value) {
        let body = json!({"name": name, "channel": channel, "data": data}).to_string();
        let path = format!("/apps/{}/events", app.0);
        self.ask(process, "POST", &path, "", &body, (app.1, app.2))
    }

    /// Sends a signed POST request.
    pub fn post(&mut self, process: usize, path: &str, body: &str) -> (u16, Value) {
        self.ask(process, "POST", path, "", body, ("key", SECRET))
    }

    /// Sends a signed GET request.
    pub fn get(&mut self, process: usize, path: &str, query: &str) -> (u16, Value) {
        self.ask(process, "GET", path, query, "", ("key", SECRET))
    }

    /// The same for an app with this id, key and secret.
    pub fn get_as(&mut self, process: usize, app: (&str, &str, &str), path: &str) -> (u16, Value) {
        self.ask(process, "GET", path, "", "", (app.1, app.2))
    }

    fn ask(
        &mut self,
        process: usize,
        method: &str,
        path: &str,
        query: &str,
        body: &str,
        (key, secret): (&str, &str),
    ) -> (u16, Value) {
        let mut parameters = vec![
            format!("auth_key={key}"),
            format!("auth_timestamp={}", self.now.unix_ms / 1000),
            "auth_version=1.0".to_owned(),
        ];
        if !body.is_empty() {
            parameters.push(format!("body_md5={}", HEXLOWER.encode(&Md5::digest(body))));
        }
        parameters.extend(query.split('&').filter(|part| !part.is_empty()).map(str::to_owned));
        parameters.sort();
        let query = parameters.join("&");
        let signature = hmac_hex(secret, &[[method, path, &query].join("\n").as_bytes()]);
        let request = request(method, &format!("{path}?{query}&auth_signature={signature}"), body);
        let id = self.open();
        self.decide(process, |service, now, actions| {
            service.input(id, Input::Opened(caller()), now, actions);
            service.input(id, Input::Request(caller(), request), now, actions);
            service.input(id, Input::Closed, now, actions);
        });
        self.of(process).responses.remove(&id).expect("a request is answered")
    }
}
