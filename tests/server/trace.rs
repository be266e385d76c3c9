//! Recording and replay: by the built server with real connections, and by thousands of stories that are played to the
//! service alone. The rules: a replay is the same, a changed line is found, the file holds no personal data, and
//! masking does not change the story of clients that keep to the protocol.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{Noise, Peer, Server};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::Request;
use jsocketd::config::{App, Config, Webhook};
use jsocketd::id::ConnectionId;
use jsocketd::protocol::actions::{Action, Actions, Message};
use jsocketd::protocol::signature::hmac_hex;
use jsocketd::service::caller::Caller;
use jsocketd::service::{Input, Service};
use jsocketd::time::{Now, Time};
use jsocketd::trace::{Ending, Payloads, Recorder, Recording, Replayed, replay};
use jsocketd::webhooks::{KINDS, Outcome};
use md5::{Digest, Md5};
use rustix::process::Signal;
use serde_json::{Value, json};

const SECRET: &str = "Real-Secret-0451";
/// Stories of each kind: a few seconds each.
const SEEDS: u64 = 500;
const TOKEN: &str = "Real-Admin-Token-0451";

// --- the built server ------------------------------------------------------------------------------------------------

fn run_replay(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jsocketd"))
        .arg("replay")
        .arg(path)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The next frame's event and data.
fn hear(peer: &mut Peer) -> (String, Value) {
    let (_, payload) = peer.next_frame();
    let frame: Value = serde_json::from_slice(&payload).unwrap();
    let data = match &frame["data"] {
        Value::String(inner) => serde_json::from_str(inner).unwrap_or_else(|_| inner.as_str().into()),
        other => other.clone(),
    };
    (frame["event"].as_str().unwrap().to_owned(), data)
}

fn greeted(server: &Server, query: &str) -> (Peer, String) {
    let mut peer = Peer::upgrade(server, &format!("/app/shop-key?protocol=7{query}"));
    let (event, data) = hear(&mut peer);
    assert_eq!(event, "pusher:connection_established");
    (peer, data["socket_id"].as_str().unwrap().to_owned())
}

fn signed(parts: &[&str]) -> String {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    format!("shop-key:{}", hmac_hex(SECRET, &parts))
}

fn subscribe(socket: &str, channel: &str, member: Option<&Value>) -> String {
    let mut data = json!({"channel": channel});
    let member = member.map(Value::to_string);
    match &member {
        Some(member) => {
            data["auth"] = signed(&[socket, ":", channel, ":", member]).into();
            data["channel_data"] = member.as_str().into();
        }
        None if channel.starts_with("pr") => data["auth"] = signed(&[socket, ":", channel]).into(),
        None => {}
    }
    json!({"event": "pusher:subscribe", "data": data}).to_string()
}

fn sign_in(socket: &str, user_data: &Value) -> String {
    let user_data = user_data.to_string();
    let auth = signed(&[socket, "::user::", &user_data]);
    json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}).to_string()
}

/// The target of a signed request of the HTTP API.
fn api_target(method: &str, path: &str, body: &str, unix: u64) -> String {
    let md5 = HEXLOWER.encode(&Md5::digest(body));
    let query = format!("auth_key=shop-key&auth_timestamp={unix}&auth_version=1.0&body_md5={md5}");
    let signature = hmac_hex(SECRET, &[format!("{method}\n{path}\n{query}").as_bytes()]);
    format!("{path}?{query}&auth_signature={signature}")
}

fn post(server: &Server, path: &str, body: &str) -> u16 {
    let unix = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let target = api_target("POST", path, body, unix);
    let mut peer = Peer::connect(server);
    peer.send(format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    peer.reply().status
}

/// Records a server while clients of all kinds speak to it. Returns words of the clients and secrets of the server.
fn recorded(path: &Path, flags: &[&str]) -> Vec<&'static str> {
    let config = format!(
        "[server]\nadmin_token = \"{TOKEN}\"\n[limits]\ndrain_seconds = 0\n[[apps]]\nid = \"shop\"\nkey = \"shop-key\"\n\
         secret = \"{SECRET}\"\nclient_events = true\n"
    );
    let mut server = Server::start_with(&config, |command, _| {
        command.arg("--record").arg(path).args(flags);
    });

    let mut console = Peer::upgrade(&server, "/?login=quokka");
    console.text("test").expect_text("This is a test!");
    console
        .text("please let the quokka in")
        .expect_text("Command not found\n");
    console.text(&format!("token {TOKEN}")).next_frame();
    console.text("stats").next_frame();
    console
        .text("publish news e the quokka is 47110815 here")
        .expect_text("Published to 0 connections.");
    let mut echo = Peer::upgrade(&server, "/echo");
    echo.text("quokkas are 47110815 here")
        .expect_text("quokkas are 47110815 here");
    echo.binary(&[1, 2, 3]).expect_binary(&[1, 2, 3]);
    let mut page = Peer::connect(&server);
    page.send(format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nCookie: session=numbat\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ));
    assert_eq!(page.reply().status, 200);

    let (mut ada, ada_socket) = greeted(&server, "&client=quokka");
    let (mut bob, bob_socket) = greeted(&server, "&recovery=1");
    let member = |id: &str, name: &str| json!({"user_id": id, "user_info": {"name": name}});
    ada.text(&subscribe(
        &ada_socket,
        "presence-room",
        Some(&member("ada-lovelace", "Quokka Ada")),
    ));
    assert_eq!(hear(&mut ada).0, "pusher_internal:subscription_succeeded");
    bob.text(&subscribe(
        &bob_socket,
        "presence-room",
        Some(&member("bob-numbat", "Numbat Bob")),
    ));
    assert_eq!(hear(&mut bob).0, "pusher_internal:subscription_succeeded");
    assert_eq!(hear(&mut ada).0, "pusher_internal:member_added");
    ada.text(r#"{"event":"client-say","channel":"presence-room","data":{"text":"the quokka sleeps"}}"#);
    assert_eq!(hear(&mut bob).0, "client-say");
    ada.text(&sign_in(
        &ada_socket,
        &json!({"id": "ada-lovelace", "watchlist": ["bob-numbat"]}),
    ));
    assert_eq!(hear(&mut ada).0, "pusher:signin_success");
    assert_eq!(hear(&mut ada).0, "pusher_internal:watchlist_events");
    bob.text(r#"{"event":"pusher:subscribe","data":{"channel":"private-x","auth":"shop-key:numbat"}}"#);
    assert_eq!(hear(&mut bob).0, "pusher:subscription_error");
    assert_eq!(hear(&mut bob).0, "pusher:error");

    let event = json!({"name": "sold", "channels": ["presence-room", "#server-to-user-ada-lovelace"],
        "data": "{\"what\":\"a quokka\"}", "socket_id": bob_socket});
    assert_eq!(post(&server, "/apps/shop/events", &event.to_string()), 200);
    assert_eq!(
        (hear(&mut ada).0, hear(&mut ada).0),
        ("sold".to_owned(), "sold".to_owned())
    );
    assert_eq!(
        post(&server, "/apps/shop/users/ada-lovelace/terminate_connections", ""),
        200
    );
    ada.expect_close(4009);
    bob.expect_text(
        r#"{"event":"pusher_internal:member_removed","channel":"presence-room","data":"{\"user_id\":\"ada-lovelace\"}"}"#,
    );

    server.signal(Signal::TERM);
    bob.expect_close(4100);
    bob.finish();
    assert!(server.ended().success(), "{}", server.log());
    vec!["quokka", "numbat", "lovelace", "47110815", "real-secret", "real-admin"]
}

#[test]
fn a_recorded_server_is_replayed_and_the_file_has_no_personal_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let words = recorded(&path, &[]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("presence-room") && text.contains("client-say"),
        "names stay"
    );
    for word in words {
        assert!(
            !text.to_lowercase().contains(&word.to_lowercase()),
            "{word} is in the trace"
        );
    }
    let output = run_replay(&path);
    assert!(output.status.success(), "{}", printed(&output));
    let said = printed(&output);
    assert!(said.ends_with(" inputs, the same actions\n"), "{said}\n{text}");

    // One action that was not: the replay names its line.
    let lines: Vec<&str> = text.lines().collect();
    let n = lines.iter().rposition(|line| line.contains("fanout")).unwrap();
    let mut altered: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    altered[n] = altered[n].replace("fanout", "fan-out");
    fs::write(&path, altered.join("\n")).unwrap();
    let output = run_replay(&path);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains(&format!("trace:{}: other actions", n + 1)),
        "{}",
        printed(&output)
    );
}

#[test]
fn a_plain_trace_has_the_payloads_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    recorded(&path, &["--record-plain"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    for payload in [
        "please let the quokka in",
        "quokkas are 47110815 here",
        "the quokka is 47110815 here",
        "Quokka Ada",
        "the quokka sleeps",
        "a quokka",
    ] {
        assert!(text.contains(payload), "{payload} is not in the trace");
    }
    for secret in [
        SECRET,
        TOKEN,
        "session=numbat",
        "shop-key:numbat",
        "ada-lovelace",
        "login=quokka",
    ] {
        assert!(!text.contains(secret), "{secret} is in the trace");
    }
    let output = run_replay(&path);
    assert!(
        printed(&output).ends_with(" inputs, the same actions\n"),
        "{}",
        printed(&output)
    );
}

// --- the service alone -----------------------------------------------------------------------------------------------

/// A service and its recorder, as the loop joins them.
struct World {
    service: Service,
    recorder: Recorder,
    actions: Actions,
    noise: Noise,
    now: Now,
    next: u32,
    peers: Vec<Client>,
}

struct Client {
    id: ConnectionId,
    socket: String,
    user: u64,
    /// Its channels, as far as the server has confirmed them.
    channels: Vec<&'static str>,
}

const CHANNELS: [&str; 5] = [
    "news",
    "cache-news",
    "private-desk",
    "presence-room",
    "presence-cache-hall",
];

fn config() -> Config {
    let mut config = Config::default();
    config.server.admin_token = TOKEN.to_owned();
    config.joomla.secret = "quokka".to_owned();
    config.database.password = "quokka".to_owned();
    config.limits.connects_per_second = 0;
    config.apps.push(App {
        client_events: true,
        client_events_per_second: 3,
        subscription_count: true,
        max_event_size: 120,
        max_user_info_size: 60,
        history_events: 20,
        webhooks: vec![Webhook {
            url: "http://127.0.0.1:9/quokka".to_owned(),
            events: KINDS.map(str::to_owned).to_vec(),
            channel_prefix: String::new(),
            headers: vec![("X-Token".to_owned(), "quokka".to_owned())],
        }],
        ..App::new("shop", "shop-key", SECRET)
    });
    config
}

impl World {
    fn new(seed: u64, path: &Path, payloads: Payloads) -> Self {
        let path = path.to_owned();
        let limit = u64::MAX;
        let recording = Recording { path, payloads, limit };
        let config = config();
        let start = [seed as u8; 32];
        Self {
            recorder: Recorder::create(&recording, &config, start).unwrap(),
            service: Service::new(config, start),
            actions: Actions::default(),
            noise: Noise(seed * 2 + 1),
            now: Now {
                at: Time(0),
                unix_ms: 1_700_000_000_000,
            },
            next: 1,
            peers: Vec::new(),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.noise.next() >> 33) as usize % n
    }

    fn input(&mut self, id: ConnectionId, input: Input) {
        self.recorder.input(id, &input, self.now);
        self.decide(|service, now, actions| service.input(id, input, now, actions));
    }

    fn decide(&mut self, decision: impl FnOnce(&mut Service, Now, &mut Actions)) {
        let done = self.actions.take();
        self.actions.reuse(done);
        decision(&mut self.service, self.now, &mut self.actions);
        self.recorder.actions(&self.actions);
    }

    fn text(&mut self, id: ConnectionId, text: impl Into<String>) {
        self.input(id, Input::Message(Message::Text(text.into().into())));
    }

    fn new_id(&mut self) -> ConnectionId {
        loop {
            self.next += 1;
            let slot = self.next % 64;
            if self.peers.iter().all(|peer| peer.id.slot() != slot as usize) {
                return ConnectionId::new(slot, self.next / 64 + 1);
            }
        }
    }

    fn request(method: &str, target: &str, body: impl Into<Bytes>) -> Request<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "localhost");
        request.header("cookie", "s=quokka").body(body.into()).unwrap()
    }

    fn caller() -> Caller {
        Caller {
            address: Some([127, 0, 0, 1].into()),
            admin: false,
            surplus: false,
            secure: false,
        }
    }

    /// Asks and goes.
    fn ask(&mut self, request: Request<Bytes>) -> u16 {
        let id = self.new_id();
        self.input(id, Input::Request(Self::caller(), request));
        let status = self.actions.list().iter().find_map(|action| match action {
            Action::Respond(to, response) if *to == id => Some(response.status().as_u16()),
            _ => None,
        });
        self.input(id, Input::Closed);
        status.unwrap()
    }

    fn api(&mut self, method: &str, path: &str, body: &str) -> u16 {
        let target = api_target(method, path, body, self.now.unix_ms / 1000);
        self.ask(Self::request(method, &target, body.to_owned()))
    }

    /// The messages sent to one connection, as JSON.
    fn sent(&self, id: ConnectionId) -> Vec<Value> {
        let texts = self.actions.list().iter().filter_map(|action| match action {
            Action::Send(to, Message::Text(text)) if *to == id => serde_json::from_str(text).ok(),
            _ => None,
        });
        texts.collect()
    }

    fn enter(&mut self) {
        let id = self.new_id();
        let query = ["protocol=7", "protocol=7&recovery=1&client=quokka", ""][self.below(3)];
        let request = Self::request("GET", &format!("/app/shop-key?{query}"), "");
        self.input(id, Input::Handshake(Self::caller(), request));
        let sent = self.sent(id);
        let Some(greeting) = sent.first() else {
            // The app is disabled.
            return self.input(id, Input::Closed);
        };
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        let socket = data["socket_id"].as_str().unwrap().to_owned();
        let user = self.below(6) as u64;
        self.peers.push(Client {
            id,
            socket,
            user,
            channels: Vec::new(),
        });
    }

    /// A user's id: a number, that number as text, or a name.
    fn user_id(&mut self, user: u64) -> Value {
        match user {
            0..2 if self.below(2) == 0 => (user + 47110815).into(),
            0..2 => (user + 47110815).to_string().into(),
            _ => ["quokka", "quokka/ü", "日本 quokka", "q"][user as usize - 2].into(),
        }
    }

    fn words(&mut self) -> String {
        let words = [
            "quokka",
            "ü \"quoted\"",
            "quokka\n",
            "47110815",
            "日本",
            "",
            "😀",
            "a/b\\",
        ];
        let count = self.below(16);
        let mut text = String::new();
        for _ in 0..count {
            text += words[self.below(words.len())];
        }
        text
    }

    fn data(&mut self) -> Value {
        let words = self.words();
        match self.below(5) {
            0 => words.into(),
            1 => json!({"quantity": 47110815, "price": -12.5, "text": words, "ok": true, "none": null}),
            2 => json!([words, 1, 2.25, [{"deep": words}]]),
            3 => json!({"a": 1}).to_string().into(),
            _ => Value::Null,
        }
    }

    /// Something that a client of the protocol says rightly.
    fn speak(&mut self, n: usize) {
        let Client {
            id, ref socket, user, ..
        } = self.peers[n];
        let socket = socket.clone();
        let channel = CHANNELS[self.below(CHANNELS.len())];
        match self.below(8) {
            0..3 => {
                let me = self.user_id(user);
                let words = self.words();
                let member = json!({"user_id": me, "user_info": {"name": words}});
                let member = channel.starts_with("presence-").then_some(&member);
                let mut frame: Value = serde_json::from_str(&subscribe(&socket, channel, member)).unwrap();
                if self.below(3) == 0 {
                    frame["data"]["since"] = format!("m{:08x}:{}", self.below(3), self.below(9)).into();
                }
                if self.below(3) == 0 {
                    frame["data"] = frame["data"].to_string().into();
                }
                self.text(id, frame.to_string());
                if self
                    .sent(id)
                    .iter()
                    .any(|frame| frame["event"] == "pusher_internal:subscription_succeeded")
                {
                    self.peers[n].channels.push(channel);
                }
            }
            3 => {
                self.text(
                    id,
                    json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}).to_string(),
                );
                self.peers[n].channels.retain(|own| *own != channel);
            }
            4 => {
                let data = self.data();
                self.text(
                    id,
                    json!({"event": "client-say", "channel": channel, "data": data}).to_string(),
                );
            }
            5 => {
                let watched: Vec<Value> = (0..6).map(|user| self.user_id(user)).collect();
                let me = self.user_id(user);
                let user_data = json!({"id": me, "user_info": {"name": "quokka"}, "watchlist": watched});
                self.text(id, sign_in(&socket, &user_data));
            }
            6 => {
                let own = match self.user_id(user) {
                    Value::String(user) => user,
                    other => other.to_string(),
                };
                self.text(id, subscribe(&socket, &format!("#server-to-user-{own}"), None));
            }
            _ => self.text(id, r#"{"event":"pusher:ping","data":{}}"#),
        }
    }

    /// Something that the site asks for.
    fn publish(&mut self) {
        let user = self.user_id(4);
        let user = user.as_str().unwrap();
        let data = self.data();
        let name = CHANNELS[self.below(CHANNELS.len())];
        let mut event = json!({"name": "sold", "channels": [name, format!("#server-to-user-{user}")], "data": data,
            "info": "subscription_count"});
        if self.below(2) == 0 {
            let n = self.below(self.peers.len());
            event["socket_id"] = self.peers[n].socket.as_str().into();
        }
        match self.below(6) {
            0..3 => {
                self.api("POST", "/apps/shop/events", &event.to_string());
            }
            3 => {
                let one = json!({"name": "sold", "channel": name, "data": data});
                self.api(
                    "POST",
                    "/apps/shop/batch_events",
                    &json!({"batch": [one, one]}).to_string(),
                );
            }
            4 => {
                let path = [
                    "/apps/shop/channels/presence-room/users",
                    "/apps/shop/channels",
                    "/apps/shop/channels/news",
                ];
                let path = path[self.below(3)];
                self.api("GET", path, "");
            }
            _ => {
                let path = [
                    "/users/%E6%97%A5%E6%9C%AC%20quokka/terminate_connections",
                    "/apps/shop/users/quokka/terminate_connections",
                ];
                let path = path[self.below(2)];
                self.api("POST", path, "");
            }
        }
    }

    /// A message that no client should send.
    fn babble(&mut self, n: usize) {
        let id = self.peers[n].id;
        let socket = self.peers[n].socket.clone();
        let right = subscribe(&socket, "presence-room", Some(&json!({"user_id": "quokka"})));
        let cut = right
            .char_indices()
            .nth(self.below(right.len()))
            .map_or(0, |(at, _)| at);
        let text = match self.below(12) {
            0 => right[..cut].to_owned(),
            1 => right.replace("shop-key:", "shop-key:0"),
            2 => right.replace("shop-key:", "quokka:"),
            3 => right.replacen("presence-room", "private-desk", 1),
            4 => format!(
                "{{\"event\":\"pusher:subscribe\",\"event\":\"x\",\"data\":{}}}",
                self.data()
            ),
            5 => json!({"event": "pusher:subscribe", "data": self.data()}).to_string(),
            6 => json!({"event": self.data(), "data": self.data(), "channel": self.data()}).to_string(),
            7 => {
                json!({"event": "pusher:signin", "data": {"auth": self.words(), "user_data": self.words()}}).to_string()
            }
            8 => "[".repeat(self.below(100)),
            9 => r#"{"event":"client-x","channel":"presence-room","data":"\ud800 quokka \u00fc 1e400"}"#.to_owned(),
            10 => json!({"event": "pusher:subscribe", "data": {"channel": self.words()}}).to_string(),
            _ => self.words(),
        };
        self.text(id, text);
    }

    /// Requests that are wrong in some way.
    fn pester(&mut self) {
        let target = api_target("POST", "/apps/shop/events", "{}", self.now.unix_ms / 1000);
        let body = self.noise.bytes(9);
        let words = self.words().replace(|c: char| !c.is_ascii_alphanumeric(), "%zz");
        let request = match self.below(7) {
            0 => Self::request("POST", &target, body),
            1 => Self::request("POST", &target.replace("auth_key=shop-key", "auth_key=quokka"), "{}"),
            2 => Self::request("POST", &format!("{target}&auth_key=again"), "{}"),
            3 => Self::request("POST", &format!("/apps/shop/events?{words}"), "{\"name\":1}"),
            4 => Self::request("GET", &format!("/apps/shop/channels/{words}"), ""),
            5 => Self::request(
                "POST",
                &format!("/users/{words}/terminate_connections?auth_key=shop-key"),
                "",
            ),
            _ => Self::request("GET", &format!("http://quokka:quokka@localhost/?{words}"), ""),
        };
        self.ask(request);
    }

    fn leave(&mut self, n: usize) {
        let client = self.peers.swap_remove(n);
        self.input(client.id, Input::Closed);
    }

    fn pass(&mut self, micros: u64) {
        self.now.at = Time(self.now.at.0 + micros);
        self.now.unix_ms += micros / 1000;
        if self.service.deadline() <= self.now.at {
            self.recorder.due(self.now);
            self.decide(|service, now, actions| service.due(now, actions));
            self.post();
        }
    }

    /// Answers the posts of webhooks, well or badly.
    fn post(&mut self) {
        let posts = self.actions.list().iter().filter_map(|action| match action {
            Action::Post(post) => Some(post.ticket),
            _ => None,
        });
        for ticket in posts.collect::<Vec<_>>() {
            let result = [Ok(200), Ok(500), Err("the quokka refused the connection")][self.below(3)];
            self.recorder.posted(ticket, result, self.now);
            self.service.posted(ticket, Outcome::of(result), self.now);
        }
    }
}

/// Plays a story and returns the result of its replay, and the file.
fn story(seed: u64, folder: &Path, well_formed: bool, payloads: Payloads) -> (Replayed, String) {
    let path = folder.join("trace");
    let mut world = World::new(seed, &path, payloads);
    for _ in 0..120 {
        let step = world.below(2_000_000) as u64;
        world.pass(step);
        let count = world.peers.len();
        if count == 0 || count < 6 && world.below(4) == 0 {
            world.enter();
            continue;
        }
        let n = world.below(count);
        match world.below(14) {
            0 => world.leave(n),
            1..4 => world.publish(),
            4..7 if !well_formed => world.babble(n),
            7 if !well_formed => world.pester(),
            8 if !well_formed => {
                let mut other = config();
                other.apps[0].secret = format!("{SECRET}-{seed}");
                other.apps[0].enabled = seed.is_multiple_of(2);
                world.recorder.reconfigured(&other);
                world.decide(|service, _, actions| service.reconfigure(other, actions));
            }
            9 => world.input(world.peers[n].id, Input::Flushed),
            10 => world.input(world.peers[n].id, Input::Message(Message::Binary(vec![0; 3].into()))),
            _ => world.speak(n),
        }
    }
    let sockets: Vec<String> = world.peers.iter().map(|peer| peer.socket.clone()).collect();
    drop(world);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        sockets.iter().all(|socket| !text.contains(socket)),
        "seed {seed}: a socket id is in the trace"
    );
    let signatures = sockets.iter().map(|socket| signed(&[socket, ":private-desk"]));
    for signature in signatures {
        assert!(!text.contains(&signature), "seed {seed}: a signature is in the trace");
    }
    let replayed = replay(&path).unwrap();
    // The next story gets the same name, which a recorder does not replace.
    fs::remove_file(&path).unwrap();
    (replayed, text)
}

/// Texts of users that may stand in no trace; `q` and names of channels may.
fn expect_masked(text: &str, seed: u64) {
    for word in ["quokka", "日本", "47110815", "Real-", "😀"] {
        let at = text.find(word);
        assert!(
            at.is_none(),
            "seed {seed}: {word} in {:?}",
            at.map(|at| text.get(at.saturating_sub(200)..at + 20))
        );
    }
}

#[test]
fn masking_never_changes_the_story_of_clients_that_keep_to_the_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let mut events: HashMap<String, usize> = HashMap::new();
    for seed in 1..=SEEDS {
        let (replayed, text) = story(seed, folder.path(), true, Payloads::Masked);
        let diverged = text.lines().find(|line| line.starts_with("{\"diverged"));
        assert!(
            matches!(replayed, Replayed::Same { diverged: 0, .. }),
            "seed {seed}: {replayed:?} {diverged:?}"
        );
        expect_masked(&text, seed);
        for word in ["fanout", "close 4009", "respond 200", "\"post "] {
            *events.entry(word.to_owned()).or_default() += text.matches(word).count();
        }
    }
    assert!(
        ["fanout", "close 4009", "respond 200"]
            .iter()
            .all(|word| events[*word] > 100),
        "too quiet: {events:?}"
    );
}

#[test]
fn every_story_is_replayed_as_it_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=SEEDS {
        let (replayed, text) = story(seed, folder.path(), false, Payloads::Masked);
        assert!(
            matches!(replayed, Replayed::Same { inputs: 1.., .. }),
            "seed {seed}: {replayed:?}"
        );
        assert!(!text.contains("Real-"), "seed {seed}: a secret is in the trace");
    }
}

#[test]
fn a_plain_trace_has_the_same_story_with_its_payloads() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=SEEDS / 10 {
        let (replayed, text) = story(seed, folder.path(), true, Payloads::Plain);
        assert!(
            matches!(replayed, Replayed::Same { diverged: 0, .. }),
            "seed {seed}: {replayed:?}"
        );
        assert!(text.contains("quokka"), "seed {seed}: no payload");
        let (replayed, broken) = story(seed, folder.path(), false, Payloads::Plain);
        assert!(matches!(replayed, Replayed::Same { .. }), "seed {seed}: {replayed:?}");
        for text in [text, broken] {
            assert!(!text.contains("Real-"), "seed {seed}: a secret is in the trace");
        }
    }
}

#[test]
fn a_trace_says_where_the_server_did_something_else_than_its_shadow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let mut world = World::new(1, &path, Payloads::Masked);
    // As if masking had changed the server's input: the server refuses a connection that the shadow greets.
    let mut other = config();
    other.apps[0].enabled = false;
    world.service = Service::new(other, [1; 32]);
    world.enter();
    drop(world);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("{\"diverged\":[\"#2.1 accept Pusher\",\"#2.1 close 4003\"]}"),
        "{text}"
    );
    let (inputs, diverged, ending) = (2, 1, Ending::Open);
    assert_eq!(
        replay(&path).unwrap(),
        Replayed::Same {
            inputs,
            diverged,
            ending
        }
    );
    let output = run_replay(&path);
    assert!(output.status.success());
    assert!(
        printed(&output).contains("trace: 2 inputs, the same actions; diverged lines"),
        "{}",
        printed(&output)
    );
}
