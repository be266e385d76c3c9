//! The stage for the tests of the API: two apps, connections that are subscribed, and requests that are signed as a
//! client signs them, by other code than `auth`. Only this file sets up the hub. The tests read the hub's effects from
//! the actions.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::api::reply;
use crate::api::{Answered, Api};
use crate::config;
use crate::hub::apps::Apps;
use crate::hub::ask::Asked;
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions, Message};
use crate::protocol::effects::Effect;
use crate::protocol::rows::Missed;
use crate::protocol::signature::hmac_hex;
use crate::protocol::{Attempt, SocketId, Verdict};
use crate::time::{Now, Time};

/// The server's time at the start, in seconds.
pub const START: u64 = 1_800_000_000;

pub struct Stage {
    pub apps: Apps,
    pub config: config::Pusher,
    pub now: Now,
    api: Api,
}

/// The result of a request.
#[derive(Debug)]
pub struct Outcome {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub sent: Vec<Sent>,
    /// The connections that were closed, each with its close code.
    pub closed: Vec<(u32, u16)>,
}

/// A frame that the hub sent.
#[derive(Debug, PartialEq)]
pub struct Sent {
    pub to: Vec<u32>,
    pub channel: String,
    pub event: String,
    pub data: String,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(&[
            config::App::new("7", "key", "secret"),
            config::App::new("8", "other-key", "other-secret"),
        ])
    }

    pub fn with(apps: &[config::App]) -> Self {
        Self {
            apps: Apps::new(apps, 1),
            config: config::Pusher::default(),
            now: Now {
                at: Time::default(),
                unix_ms: START * 1000,
            },
            api: Api::default(),
        }
    }

    /// The settings of app 7, for a test to change.
    pub fn settings(&mut self) -> &mut config::App {
        &mut self.apps.app_mut(0).settings
    }

    pub fn pass(&mut self, milliseconds: u64) {
        self.now.at.0 += milliseconds * 1000;
        self.now.unix_ms += milliseconds;
    }

    /// Opens a connection to app 7 with the socket id `1.{slot}`.
    pub fn connect(&mut self, slot: u32, user: Option<&str>) {
        let settings = config::Pusher::default();
        let (app, id) = (self.apps.app_mut(0), ConnectionId::new(slot, 1));
        app.connect(
            id,
            SocketId(1, slot),
            false,
            &settings,
            self.now,
            &mut Actions::default(),
        );
        if let Some(user) = user {
            let user_data = json!({ "id": user }).to_string();
            let auth = format!(
                "key:{}",
                hmac_hex("secret", &[format!("1.{slot}::user::{user_data}").as_bytes()])
            );
            self.say(
                slot,
                json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}),
            );
        }
    }

    /// Subscribes a connection to a channel, as a member if it is a presence channel.
    pub fn subscribe(&mut self, slot: u32, channel: &str, member: Option<&str>) {
        self.connect(slot, None);
        let mut data = json!({ "channel": channel });
        let mut signed = format!("1.{slot}:{channel}");
        if let Some(member) = member {
            let channel_data = json!({ "user_id": member }).to_string();
            signed = format!("{signed}:{channel_data}");
            data["channel_data"] = channel_data.into();
        }
        data["auth"] = format!("key:{}", hmac_hex("secret", &[signed.as_bytes()])).into();
        self.say(slot, json!({"event": "pusher:subscribe", "data": data}));
    }

    /// Sends a frame of a client, which must not lead to an error.
    fn say(&mut self, slot: u32, frame: Value) {
        let mut actions = Actions::default();
        let (id, now) = (ConnectionId::new(slot, 1), self.now);
        let app = self.apps.app_mut(0);
        if let Asked::Subscribe(subscribe) =
            app.message(id, &Message::Text(frame.to_string().into()), now, &mut actions)
            && let Verdict::Yes(ticket) = app.admit(id, &subscribe, |_| None, now, &mut actions)
        {
            let absence = app.absence(id, &ticket, &Attempt::default(), |_| {
                panic!("the client sent no position")
            });
            let absence = absence.expect("no fact is missing");
            app.join(id, ticket, &absence, |_| Missed::Gone, now, &mut actions);
        }
        let listed = format!("{actions:?}");
        assert!(!listed.contains("error"), "{frame} led to {listed}");
    }

    pub fn send(&mut self, call: &Call) -> Outcome {
        let target = call.target();
        self.raw(&call.method, &target, &call.body)
    }

    pub fn get(&mut self, path: &str, parameters: &[(&str, &str)]) -> Outcome {
        let call = parameters
            .iter()
            .fold(Call::get(path), |call, (name, value)| call.with(name, value));
        self.send(&call)
    }

    pub fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Outcome {
        self.send(&Call::post(path, body))
    }

    pub fn raw(&mut self, method: &str, target: &str, body: &[u8]) -> Outcome {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .body(Bytes::copy_from_slice(body))
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        let mut actions = Actions::default();
        let answered = self
            .api
            .answer(&request, &mut self.apps, &self.config, self.now, &mut actions);
        // In the server, the service carries out effects.
        for effect in std::mem::take(actions.effects()) {
            if let Effect::TerminateUser(app, user) = effect {
                self.apps.app_mut(app).terminate(&user, &mut actions);
            }
        }
        match answered {
            Answered::Now(response) => Outcome::read(response, &actions),
            // In the server, the service gathers the status.
            Answered::Status(app) => Outcome::read(reply::json(&json!({"status of app": app})), &actions),
        }
    }
}

impl Outcome {
    fn read(response: Response<Bytes>, actions: &Actions) -> Self {
        let (mut sent, mut closed) = (Vec::new(), Vec::new());
        for action in actions.list() {
            match action {
                Action::Fanout(range, text) => {
                    let recipients = actions.recipients(range.clone());
                    let frame: BTreeMap<String, String> = serde_json::from_str(text.as_str()).unwrap();
                    sent.push(Sent {
                        to: recipients.iter().map(|id| u32::try_from(id.slot()).unwrap()).collect(),
                        channel: frame["channel"].clone(),
                        event: frame["event"].clone(),
                        data: frame["data"].clone(),
                    });
                }
                Action::Close(id, code, _) => closed.push((u32::try_from(id.slot()).unwrap(), *code)),
                other => panic!("the API made {other:?}"),
            }
        }
        let (parts, body) = response.into_parts();
        let outcome = Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
            sent,
            closed,
        };
        assert_eq!(outcome.headers["content-type"], "application/json", "{outcome:?}");
        assert!(outcome.json().is_object(), "{outcome:?}");
        if outcome.status != 200 {
            let refused = outcome.json();
            assert!(refused["error"].as_str().is_some_and(|text| !text.is_empty()));
            assert_eq!(refused.as_object().unwrap().len(), 1);
            assert!(
                outcome.sent.is_empty() && outcome.closed.is_empty(),
                "refused and carried out: {outcome:?}"
            );
        }
        outcome
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn is(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text.as_str()), (status, text));
    }

    /// Asserts a refusal whose text contains `part`.
    #[track_caller]
    pub fn refuses(&self, status: u16, part: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.error().contains(part), "{:?} has no {part:?}", self.error());
    }
}

/// A request of a client library to app 7.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
    /// In the order of the URL.
    pub parameters: Vec<(String, String)>,
    pub secret: String,
    /// The signature, if it is not the right one.
    pub signature: Option<String>,
}

impl Call {
    pub fn get(path: &str) -> Self {
        Self::new("GET", path, b"")
    }

    pub fn post(path: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", path, body.as_ref())
    }

    pub fn new(method: &str, path: &str, body: &[u8]) -> Self {
        let call = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.to_vec(),
            parameters: Vec::new(),
            secret: "secret".to_owned(),
            signature: None,
        };
        let call = call
            .with("auth_key", "key")
            .with("auth_timestamp", &START.to_string())
            .with("auth_version", "1.0");
        if body.is_empty() {
            return call;
        }
        call.with("body_md5", &HEXLOWER.encode(&Md5::digest(body)))
    }

    /// Adds a parameter.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the value of a parameter.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        for parameter in self.parameters.iter_mut().filter(|(n, _)| n == name) {
            parameter.1 = value.to_owned();
        }
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(n, _)| n != name);
        self
    }

    pub fn secret(mut self, secret: &str) -> Self {
        self.secret = secret.to_owned();
        self
    }

    pub fn signature(mut self, signature: &str) -> Self {
        self.signature = Some(signature.to_owned());
        self
    }

    /// The right value of `auth_signature`.
    pub fn right_signature(&self) -> String {
        // Unlike `auth`, this uses a map instead of a sort, so equal names are kept in their order explicitly.
        let mut sorted = BTreeMap::<String, Vec<&str>>::new();
        for (name, value) in &self.parameters {
            sorted.entry(name.to_lowercase()).or_default().push(value);
        }
        let pairs: Vec<String> = sorted
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")))
            .collect();
        let message = [self.method.as_str(), &self.path, &pairs.join("&")].join("\n");
        let mac = Hmac::<sha2::Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        HEXLOWER.encode(&mac.chain_update(message).finalize().into_bytes())
    }

    /// Path and query.
    pub fn target(&self) -> String {
        let signature = self.signature.clone().unwrap_or_else(|| self.right_signature());
        let all = self
            .parameters
            .iter()
            .cloned()
            .chain([("auth_signature".to_owned(), signature)]);
        let pairs: Vec<String> = all
            .map(|(name, value)| format!("{}={}", encode(&name), encode(&value)))
            .collect();
        format!("{}?{}", self.path, pairs.join("&"))
    }
}

/// Encodes text as in a form.
pub fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b' ' => "+".to_owned(),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}
