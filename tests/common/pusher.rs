//! A client of the Pusher protocol and of its HTTP API, for tests that read as dialogues. It signs with an
//! implementation of its own, compares whole frames, and hides nothing: a frame that is not expected fails the test.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha2::Sha256;

use super::frame::TEXT;
use super::peer::{Reply, handshake};
use super::{Frame, Noise, Peer, Server};

/// The app's id.
pub const ID: &str = "4711";
/// The app's key.
pub const KEY: &str = "site-key";
/// The app's secret.
pub const SECRET: &str = "site-secret-0123456789";

/// How the server asks a client that is silent.
pub const ASKS: &[u8] = br#"{"event":"pusher:ping","data":"{}"}"#;

/// A server with one app, which is the constants' one.
pub struct Site {
    /// The process.
    pub server: Server,
}

/// The configuration besides the app's credentials: lines of TOML.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// In `[server]`.
    pub server: &'a str,
    /// In `[limits]`.
    pub limits: &'a str,
    /// In `[pusher]`.
    pub pusher: &'a str,
    /// In the `[[apps]]` of the constants.
    pub app: &'a str,
    /// Behind it: tables of the app, more apps.
    pub more: &'a str,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            server: "",
            limits: "",
            pusher: "",
            app: "client_events = true",
            more: "",
        }
    }
}

impl Site {
    /// Starts one where clients may send events.
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// Starts one.
    pub fn with(settings: Settings<'_>) -> Self {
        let Settings {
            server,
            limits,
            pusher,
            app,
            more,
        } = settings;
        Self {
            server: Server::start(&format!(
                "[server]\n{server}\n[limits]\nconnects_per_second = 0\n{limits}\n[pusher]\n{pusher}\n\
                 [[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n{app}\n{more}\n"
            )),
        }
    }

    /// A client, as pusher-js would connect.
    pub fn connect(&self) -> Session {
        Session::open(self, "protocol=7&client=js&version=8.6.0&flash=false")
    }

    /// A client that asks for recovery.
    pub fn connect_recovering(&self) -> Session {
        Session::open(self, "protocol=7&client=js&version=8.6.0&flash=false&recovery=1")
    }

    /// A WebSocket at this path; the answer is not checked.
    pub fn upgrade(&self, path: &str) -> Peer {
        Peer::upgrade(&self.server, path)
    }

    /// A WebSocket of the app with this query; the answer is not checked.
    pub fn open_app(&self, query: &str) -> Peer {
        self.upgrade(&format!("/app/{KEY}?{query}"))
    }

    /// A client of the HTTP API.
    pub fn api(&self) -> Api {
        Api {
            peer: Peer::connect(&self.server),
            id: ID.to_owned(),
            key: KEY.to_owned(),
            secret: SECRET.to_owned(),
        }
    }
}

/// A connection that is established.
pub struct Session {
    /// The socket below.
    pub peer: Peer,
    /// Its id.
    pub socket_id: String,
}

impl Session {
    /// Connects with this query and reads the greeting.
    pub fn open(site: &Site, query: &str) -> Self {
        Self::greeted(site.open_app(query))
    }

    /// Reads the greeting.
    pub fn greeted(peer: Peer) -> Self {
        let mut session = Self {
            peer,
            socket_id: String::new(),
        };
        let greeting = session.next();
        assert_eq!(greeting["event"], "pusher:connection_established", "{greeting}");
        let data = decoded(&greeting);
        session.socket_id = data["socket_id"].as_str().expect("a string").to_owned();
        session
    }

    // --- saying ----------------------------------------------------------------------------------------------------

    /// Sends a message.
    pub fn say(&mut self, message: Value) -> &mut Self {
        self.say_text(&message.to_string())
    }

    /// Sends a text, which may be no message.
    pub fn say_text(&mut self, text: &str) -> &mut Self {
        self.peer.frame(&Frame::text(text));
        self
    }

    /// Sends a `pusher:subscribe` with this `data`.
    pub fn say_subscribe(&mut self, data: Value) -> &mut Self {
        self.say(json!({"event": "pusher:subscribe", "data": data}))
    }

    /// Sends a `pusher:unsubscribe`.
    pub fn unsubscribe(&mut self, channel: &str) -> &mut Self {
        self.say(json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}))
    }

    /// Sends a client event.
    pub fn whisper(&mut self, channel: &str, event: &str, data: Value) -> &mut Self {
        self.say(json!({"event": event, "channel": channel, "data": data}))
    }

    /// The `auth` of a private channel.
    pub fn auth(&self, channel: &str) -> String {
        auth(&format!("{}:{channel}", self.socket_id))
    }

    /// The `auth` of a presence channel.
    pub fn auth_member(&self, channel: &str, channel_data: &str) -> String {
        auth(&format!("{}:{channel}:{channel_data}", self.socket_id))
    }

    /// The `auth` of a sign-in.
    pub fn auth_user(&self, user_data: &str) -> String {
        auth(&format!("{}::user::{user_data}", self.socket_id))
    }

    /// Sends a subscription to this channel, signed where that is needed.
    pub fn ask(&mut self, channel: &str) -> &mut Self {
        let auth = if channel.starts_with("private-") {
            self.auth(channel)
        } else {
            String::new()
        };
        self.say_subscribe(json!({"channel": channel, "auth": auth}))
    }

    /// Sends a subscription to a presence channel.
    pub fn ask_member(&mut self, channel: &str, channel_data: &str) -> &mut Self {
        let auth = self.auth_member(channel, channel_data);
        self.say_subscribe(json!({"channel": channel, "auth": auth, "channel_data": channel_data}))
    }

    /// Sends a sign-in.
    pub fn ask_sign_in(&mut self, user_data: &str) -> &mut Self {
        let auth = self.auth_user(user_data);
        self.say(json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}))
    }

    // --- what belongs together -------------------------------------------------------------------------------------

    /// Subscribes to a public or private channel.
    pub fn subscribe(&mut self, channel: &str) -> &mut Self {
        self.ask(channel).expect_subscribed(channel)
    }

    /// Subscribes to a presence channel; returns the `presence` that came.
    pub fn join(&mut self, channel: &str, user_id: &str) -> Value {
        self.join_with(channel, &json!({"user_id": user_id}).to_string())
    }

    /// Subscribes to a presence channel with this `channel_data`; returns the `presence` that came.
    pub fn join_with(&mut self, channel: &str, channel_data: &str) -> Value {
        self.ask_member(channel, channel_data).expect_joined(channel)
    }

    /// Signs in.
    pub fn sign_in(&mut self, user_data: &str) -> &mut Self {
        self.ask_sign_in(user_data);
        self.expect(json!({"event": "pusher:signin_success", "data": {"user_data": user_data}}))
    }

    // --- expecting -------------------------------------------------------------------------------------------------

    /// The next frame that asks nothing: the server's pings, frames and messages, are answered.
    pub fn next_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.peer.next_frame() {
                (TEXT, payload) if payload == ASKS => drop(self.say_text(r#"{"event":"pusher:pong","data":{}}"#)),
                frame => return frame,
            }
        }
    }

    /// The next text.
    pub fn next_text(&mut self) -> String {
        let (opcode, payload) = self.next_frame();
        let text = String::from_utf8_lossy(&payload).into_owned();
        assert_eq!(opcode, TEXT, "expected a text, got {text:?}");
        text
    }

    /// The next message.
    pub fn next(&mut self) -> Value {
        parsed(&self.next_text())
    }

    /// The next message is exactly this one. `data` must have the same type, string or not.
    pub fn expect(&mut self, message: Value) -> &mut Self {
        let got = self.next();
        assert!(got == message, "expected {message}\n     got {got}");
        self
    }

    /// The next message has this event, this channel (or none), and a `data` that is a string with this in it.
    pub fn expect_encoded(&mut self, event: &str, channel: Option<&str>, data: Value) -> &mut Self {
        let got = self.next();
        let mut message = json!({"event": event, "data": got["data"]});
        if let Some(channel) = channel {
            message["channel"] = channel.into();
        }
        assert!(got == message, "expected {message}\n     got {got}");
        let inside = decoded(&got);
        assert!(inside == data, "expected {event} with {data}\n     got {inside}");
        self
    }

    /// An event that was published: its data is a string.
    pub fn expect_event(&mut self, channel: &str, event: &str, data: &str) -> &mut Self {
        self.expect(json!({"event": event, "channel": channel, "data": data}))
    }

    /// The subscription to a public or private channel is confirmed.
    pub fn expect_subscribed(&mut self, channel: &str) -> &mut Self {
        self.expect_event(channel, "pusher_internal:subscription_succeeded", "{}")
    }

    /// The subscription to a presence channel is confirmed; returns the `presence`.
    pub fn expect_joined(&mut self, channel: &str) -> Value {
        let got = self.next();
        let event = "pusher_internal:subscription_succeeded";
        let message = json!({"event": event, "channel": channel, "data": got["data"]});
        assert!(got == message, "expected {message}\n     got {got}");
        let mut inside = decoded(&got);
        let presence = inside["presence"].take();
        assert!(presence.is_object() && inside == json!({"presence": null}), "{got}");
        presence
    }

    /// A user came into a presence channel. Where there is no `user_info`, it is missing or null.
    pub fn expect_added(&mut self, channel: &str, user_id: &str, user_info: Value) -> &mut Self {
        let got = self.next();
        let event = "pusher_internal:member_added";
        let message = json!({"event": event, "channel": channel, "data": got["data"]});
        assert!(got == message, "expected {message}\n     got {got}");
        let mut member = decoded(&got);
        if member["user_info"].is_null() {
            member["user_info"] = Value::Null;
        }
        assert_eq!(member, json!({"user_id": user_id, "user_info": user_info}), "{got}");
        self
    }

    /// A user left a presence channel.
    pub fn expect_removed(&mut self, channel: &str, user_id: &str) -> &mut Self {
        let gone = json!({"user_id": user_id});
        self.expect_encoded("pusher_internal:member_removed", Some(channel), gone)
    }

    /// A cache channel is empty.
    pub fn expect_cache_miss(&mut self, channel: &str) -> &mut Self {
        self.expect_event(channel, "pusher:cache_miss", "{}")
    }

    /// An error that leaves the connection open comes next; returns its text.
    pub fn expect_error(&mut self) -> String {
        self.expect_error_code(Value::Null)
    }

    /// An error with this code comes next; returns its text. Its data is an object (rule 2.2).
    pub fn expect_error_code(&mut self, code: impl Into<Value>) -> String {
        let got = self.next();
        let text = got["data"]["message"].clone();
        let message = json!({"event": "pusher:error", "data": {"message": text, "code": code.into()}});
        assert!(got == message, "expected {message}\n     got {got}");
        let text = text.as_str().expect("the message is a string").to_owned();
        assert!(!text.is_empty(), "an error without a word: {got}");
        text
    }

    /// The subscription to this channel is refused, in both forms (rule 3.4).
    pub fn expect_refused(&mut self, channel: &str) -> Refused {
        let got = self.next();
        let data = &got["data"];
        let [kind, error] = ["type", "error"].map(|key| data[key].as_str().unwrap_or_default().to_owned());
        let message = json!({
            "event": "pusher:subscription_error",
            "channel": channel,
            "data": {"type": kind, "error": error, "status": data["status"]},
        });
        assert!(
            got == message && !error.is_empty(),
            "expected {message}\n     got {got}"
        );
        let status = data["status"].as_u64().expect("a number");
        self.expect_error();
        Refused { kind, error, status }
    }

    /// No message has come since, and the server has read all messages that were sent: it answers a `pusher:ping` next.
    /// The messages of other clients have been handled too if they have seen their own pings answered, since there is
    /// one loop.
    pub fn expect_nothing(&mut self) -> &mut Self {
        self.say(json!({"event": "pusher:ping", "data": {}}));
        self.expect(json!({"event": "pusher:pong", "data": "{}"}))
    }

    /// The answer to a `pusher:ping` comes next, with a position or without.
    pub fn expect_pong(&mut self) -> &mut Self {
        let rest = self.rest();
        assert!(rest.is_empty(), "expected nothing, got {rest:?}");
        self
    }

    /// The messages that come before the answer to a `pusher:ping`.
    pub fn rest(&mut self) -> Vec<Value> {
        self.say(json!({"event": "pusher:ping", "data": {}}));
        let mut rest = Vec::new();
        loop {
            let message = self.next();
            if message["event"] == "pusher:pong" {
                return rest;
            }
            rest.push(message);
        }
    }
}

/// Why a subscription was refused.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// `AuthError`, `InvalidChannel`, `LimitReached`.
    pub kind: String,
    /// A sentence.
    pub error: String,
    /// 401 and others.
    pub status: u64,
}

impl Refused {
    /// The signature is not right.
    pub fn is_auth(&self) -> bool {
        (self.kind.as_str(), self.status) == ("AuthError", 401)
    }

    /// There can be no such channel.
    pub fn is_channel(&self) -> bool {
        (self.kind.as_str(), self.status) == ("InvalidChannel", 4009)
    }

    /// There is no room, or something is too large.
    pub fn is_limit(&self) -> bool {
        self.kind == "LimitReached" && matches!(self.status, 4100 | 4301)
    }
}

/// A client of the HTTP API on one connection.
pub struct Api {
    /// The socket below.
    pub peer: Peer,
    /// In the path.
    pub id: String,
    /// `auth_key`
    pub key: String,
    /// Signs.
    pub secret: String,
}

impl Api {
    /// Publishes to one channel; the answer is `{}`.
    pub fn publish(&mut self, channel: &str, event: &str, data: &str) -> &mut Self {
        let answer = self.trigger(json!({"name": event, "channel": channel, "data": data}));
        assert_eq!(answer, json!({}));
        self
    }

    /// `POST /events`; returns the answer, which is a good one.
    pub fn trigger(&mut self, body: Value) -> Value {
        self.ask("POST", "/events", &[], &body.to_string())
    }

    /// `GET`; returns the answer, which is a good one.
    pub fn get(&mut self, path: &str, query: &[(&str, &str)]) -> Value {
        self.ask("GET", path, query, "")
    }

    /// Any request below `/apps/{id}`; the answer is a 200 with an object, and is returned.
    pub fn ask(&mut self, method: &str, path: &str, query: &[(&str, &str)], body: &str) -> Value {
        let reply = self.send(method, path, query, body);
        assert_eq!(
            reply.status, 200,
            "{method} {path} {body}\n{} {}",
            reply.head, reply.body
        );
        let answer = parsed(&reply.body);
        assert!(answer.is_object(), "{}", reply.body);
        answer
    }

    /// Any request below `/apps/{id}`, signed.
    pub fn send(&mut self, method: &str, path: &str, query: &[(&str, &str)], body: &str) -> Reply {
        let request = self.request(method, path, query, body);
        self.peer.send(request).reply()
    }

    /// The bytes of a request.
    pub fn request(&self, method: &str, path: &str, query: &[(&str, &str)], body: &str) -> String {
        let path = format!("/apps/{}{path}", self.id);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut query: Vec<(String, String)> = query.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        query.push(("auth_key".into(), self.key.clone()));
        query.push((
            "auth_timestamp".into(),
            now.expect("it is not 1970").as_secs().to_string(),
        ));
        query.push(("auth_version".into(), "1.0".into()));
        if !body.is_empty() {
            query.push(("body_md5".into(), HEXLOWER.encode(&Md5::digest(body))));
        }
        query.sort();
        let pairs: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let signature = signature(&self.secret, &format!("{method}\n{path}\n{}", pairs.join("&")));
        query.push(("auth_signature".into(), signature));
        let pairs: Vec<String> = query
            .iter()
            .map(|(k, v)| format!("{}={}", escaped(k), escaped(v)))
            .collect();
        format!(
            "{method} {path}?{} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            pairs.join("&"),
            body.len()
        )
    }
}

/// The head of a handshake for the app, to send more right behind it.
pub fn app_handshake(query: &str) -> String {
    handshake(&format!("/app/{KEY}?{query}"))
}

/// An `auth` by the app.
pub fn auth(text: &str) -> String {
    format!("{KEY}:{}", signature(SECRET, text))
}

/// HMAC-SHA256 in lower-case hexadecimal.
pub fn signature(secret: &str, text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is right");
    HEXLOWER.encode(&mac.chain_update(text).finalize().into_bytes())
}

/// The decoded string `data` of a message.
pub fn decoded(message: &Value) -> Value {
    let data = message["data"].as_str();
    parsed(data.unwrap_or_else(|| panic!("data is no string in {message}")))
}

/// One of these, by chance.
pub fn pick<'a, T>(noise: &mut Noise, of: &'a [T]) -> &'a T {
    &of[below(noise, of.len())]
}

/// A number below `n`, by chance.
pub fn below(noise: &mut Noise, n: usize) -> usize {
    (noise.next() >> 33) as usize % n
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// A query's part, percent-encoded.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("a String takes all"),
        }
        out
    })
}
