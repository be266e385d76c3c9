//! Masks the inputs of a trace. The names of channels and events, positions and the protocol's own words stay. Payloads
//! become `x` of the same length, unless the trace is recorded with payloads. Ids of users become tokens. Secrets are
//! always replaced.
//!
//! The shadow cannot check the signature of a masked message. So the masker checks the real signature, and signs the
//! masked message with the masked secret if the real signature was right.

use std::collections::HashMap;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Request, header};
use md5::{Digest, Md5};
use serde_json::Value;

use super::shape::greeting;
use super::visitors;
use super::words::{Field, Words, encode, join, mask, parse};
use super::{Head, Masked};
use crate::api::auth;
use crate::api::parameters::{self, Parameters};
use crate::config::{self, Config, Secrets};
use crate::hub::apps::Apps;
use crate::hub::gate;
use crate::id::ConnectionId;
use crate::protocol::actions::{Actions, Message};
use crate::protocol::signature;
use crate::service::{Input, caller, console};

/// Headers that stay, because they decide how a request is served. All others are masked, because they may hold
/// anything: a cookie, a token, the address of a page.
const SHOWN: &str = "accept host origin connection upgrade sec-websocket-key sec-websocket-version content-length \
                     content-type transfer-encoding expect if-none-match x-forwarded-for x-forwarded-host";

/// The text that replaces every secret in a trace.
const MASKED_SECRET: &str = "a-masked-secret";

fn client_event(key: &str) -> Field {
    match key {
        "event" => Field::Keep,
        "channel" => Field::Channel,
        _ => Field::Other,
    }
}

/// Any other frame of a client.
fn frame(key: &str) -> Field {
    match key {
        "data" => Field::Object(asked),
        _ => client_event(key),
    }
}

/// The data of a frame that makes a request.
fn asked(key: &str) -> Field {
    match key {
        "channel" => Field::Channel,
        "since" => Field::Position,
        "auth" | "form_token" => Field::Secret,
        "channel_data" | "user_data" => Field::Object(member),
        _ => Field::Other,
    }
}

fn member(key: &str) -> Field {
    match key {
        "user_id" | "id" | "watchlist" => Field::User,
        _ => Field::Other,
    }
}

/// The body of a publish or a batch, and the query of every request of the HTTP API.
fn publish(key: &str) -> Field {
    match key {
        "name" | "info" | "filter_by_prefix" => Field::Keep,
        "channel" | "channels" | "channels[]" => Field::Channel,
        "socket_id" => Field::Socket,
        "data" => Field::Payload,
        "batch" => Field::Object(publish),
        "auth_timestamp" | "auth_version" => Field::Digits,
        "auth_key" | "auth_signature" | "body_md5" => Field::Secret,
        _ => Field::Other,
    }
}

/// The query of a Pusher handshake.
fn handshake(key: &str) -> Field {
    match key {
        "protocol" | "recovery" | "version" | "flash" => Field::Digits,
        _ => Field::Other,
    }
}

/// Masks inputs. It needs [`Masker::configure`] before the first one.
#[derive(Debug, Default)]
pub struct Masker {
    /// The masked words.
    pub words: Words,
    /// The open Pusher connections.
    pub talks: HashMap<ConnectionId, Talk>,
    /// The names of the site's session cookies.
    pub cookies: Vec<String>,
    /// The connection of the latest handshake and its app. The actions show whether it was accepted.
    entering: Option<(ConnectionId, usize)>,
    admin_token: String,
    /// The apps' real secrets, by id. As in the hub, an app that is no longer configured keeps its secret.
    secrets: HashMap<String, String>,
    pusher: config::Pusher,
}

/// A Pusher connection.
#[derive(Debug)]
pub struct Talk {
    /// The number of the shadow's app.
    app: usize,
    /// The socket id that the server gave.
    socket: String,
}

impl Masker {
    /// A configuration without its secrets, as TOML. The masker remembers the real ones.
    pub fn configure(&mut self, config: &Config) -> String {
        self.admin_token.clone_from(&config.server.admin_token);
        self.pusher.clone_from(&config.pusher);
        let secrets = config.apps.iter().map(|app| (app.id.clone(), app.secret.clone()));
        self.secrets.extend(secrets);
        let mut masked = config.clone();
        for hook in masked.apps.iter_mut().flat_map(|app| &mut app.webhooks) {
            hook.url = self.hook_url(&hook.url);
        }
        // An empty secret stays empty: the server refuses everything that would need it.
        masked.to_toml(Secrets::As(MASKED_SECRET))
    }

    /// The host stays. The path may be the receiver's only secret.
    fn hook_url(&mut self, url: &str) -> String {
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
        match &url[end..] {
            "" => url.to_owned(),
            path => format!("{}/{}", &url[..end], self.words.token(path)),
        }
    }

    /// Masks an input. `apps` are those of the shadow.
    pub fn input(&mut self, id: ConnectionId, input: &Input, apps: &Apps) -> Masked {
        match input {
            Input::Opened(caller) => Masked::Opened(*caller),
            Input::Request(caller, request) => Masked::Request(*caller, self.head(request, apps)),
            Input::Handshake(caller, request) => {
                let app = gate::key(request.uri().path(), &self.pusher).and_then(|key| apps.find_key(key));
                self.entering = app.map(|app| (id, app));
                Masked::Handshake(*caller, self.head(request, apps))
            }
            Input::Message(Message::Text(text)) => Masked::Text(match self.talks.get(&id) {
                None => self.plain(text),
                Some(talk) => {
                    let (app, socket) = (&apps.app(talk.app).settings, talk.socket.clone());
                    self.frame(text, app, &socket)
                }
            }),
            Input::Message(Message::Binary(bytes)) => Masked::Binary(bytes.len()),
            Input::ProcessStats(facts) => {
                let mut facts = facts.clone();
                // The path may have a person's name.
                facts.process.config_file = None;
                Masked::ProcessStats(facts)
            }
            Input::Flushed => Masked::Flushed,
            Input::Closed => {
                if let Some(talk) = self.talks.remove(&id) {
                    self.words.sockets.remove(&talk.socket);
                }
                Masked::Closed
            }
        }
    }

    /// Notes the actions of the server and of the shadow that followed an input: they give a new connection its socket
    /// ids.
    pub fn followed(&mut self, actions: &Actions, shadow: &Actions) {
        if let Some((id, app)) = self.entering.take()
            && let Some(socket) = greeting(actions, id)
        {
            let other = greeting(shadow, id).unwrap_or_default();
            self.words.sockets.insert(socket.clone(), other);
            self.talks.insert(id, Talk { app, socket });
        }
    }

    // --- messages ----------------------------------------------------------------------------------------------------

    /// A text of a connection that does not speak Pusher. A command of the console stays.
    fn plain(&mut self, text: &str) -> String {
        match text.trim().split_once(char::is_whitespace) {
            Some(("token", given)) if caller::is_token(given.trim(), &self.admin_token) => {
                format!("token {MASKED_SECRET}")
            }
            Some(("token", _)) => "token x".to_owned(),
            Some(("publish", rest)) => match console::Wanted::read(rest.trim()) {
                Some(event) => {
                    let channel = self.words.channel(&event.channel);
                    format!("publish {channel} {} {}", event.name, self.words.payload(&event.data))
                }
                None => "publish".to_owned(),
            },
            _ if console::is_command(text.trim()) => text.to_owned(),
            _ => self.words.payload(text),
        }
    }

    /// A text of a Pusher connection with this socket id. `app` has the masked secret.
    fn frame(&mut self, text: &str, app: &config::App, socket: &str) -> String {
        let Some(mut value) = parse(text) else {
            // A part of a frame may hold a signature.
            return mask(text);
        };
        let event = value["event"].as_str();
        let is_client_event = event.is_some_and(|event| event.starts_with("client-"));
        if !is_client_event && let Some(data) = value["data"].as_str().and_then(parse) {
            // The service reads an object in a string as the object.
            value["data"] = data;
        }
        let signed = self.signed(&value["data"], app, socket);
        let fields = if is_client_event { client_event } else { frame };
        self.words.value(&mut value, Field::Object(fields));
        if let Some(signed) = signed
            && let Some(message) = &messages(&self.words.socket(socket), &value["data"])[signed]
        {
            let signature = signature::hmac_hex(&app.secret, &[message.as_bytes()]);
            value["data"]["auth"] = format!("{}:{signature}", app.key).into();
        }
        value.to_string()
    }

    /// The index of the message that the signature in this data is valid for, in the list of [`messages`].
    fn signed(&self, data: &Value, app: &config::App, socket: &str) -> Option<usize> {
        let (key, given) = data["auth"].as_str()?.split_once(':')?;
        let secret = self.secrets.get(&app.id).filter(|_| key == app.key)?;
        let is_right = |message: &String| signature::matches(secret, &[message.as_bytes()], given);
        let messages = messages(socket, data);
        messages
            .iter()
            .position(|message| message.as_ref().is_some_and(is_right))
    }

    // --- requests ----------------------------------------------------------------------------------------------------

    fn head(&mut self, request: &Request<Bytes>, apps: &Apps) -> Head {
        let (path, query) = (request.uri().path(), request.uri().query());
        let (path, query, body) = if crate::api::is_for(path, &self.pusher) {
            self.api_request(request, apps)
        } else if let Some(key) = gate::key(path, &self.pusher) {
            let key = apps.find_key(key).map_or_else(|| mask(key), |_| key.to_owned());
            let query = query.map(|query| join(&self.words.query(query, handshake)));
            (format!("{}/app/{key}", self.pusher.path), query, mask(request.body()))
        } else {
            (path.to_owned(), query.map(mask), mask(request.body()))
        };
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        Head {
            method: request.method().to_string(),
            target: format!("{}{path}{query}", origin(request.uri())),
            headers: self.headers(request),
            body,
        }
    }

    fn headers(&mut self, request: &Request<Bytes>) -> Vec<(String, String)> {
        let opens = caller::has_token(request.headers(), &self.admin_token);
        let headers = request.headers().iter().map(|(name, value)| {
            let text = || String::from_utf8_lossy(value.as_bytes());
            let text = match *name {
                header::AUTHORIZATION if opens => format!("Bearer {MASKED_SECRET}"),
                header::COOKIE => visitors::cookie(&text(), &self.cookies, &mut self.words),
                _ if SHOWN.split(' ').any(|shown| name == shown) => text().into_owned(),
                _ => mask(value),
            };
            (name.to_string(), text)
        });
        headers.collect()
    }

    /// A request of the HTTP API: its path, query and body.
    fn api_request(&mut self, request: &Request<Bytes>, apps: &Apps) -> (String, Option<String>, String) {
        let path = self.api_path(request.uri().path());
        let body = str::from_utf8(request.body()).ok().and_then(parse);
        let body = body.map_or_else(
            || mask(request.body()),
            |mut body| {
                self.words.value(&mut body, Field::Object(publish));
                body.to_string()
            },
        );
        let Some(query) = request.uri().query() else {
            return (path, None, body);
        };
        let Ok(given) = Parameters::parse(query) else {
            return (path, Some(mask(query)), body);
        };
        let one = |name: &str| given.one(name).ok().flatten().unwrap_or_default();
        let message = |path: &str, given: &Parameters<'_>| {
            format!("{}\n{path}\n{}", request.method(), given.sorted("auth_signature")).into_bytes()
        };
        let mut pairs = self.words.query(query, publish);
        if one("body_md5").eq_ignore_ascii_case(&md5(request.body())) {
            set(&mut pairs, "body_md5", &md5(body.as_bytes()));
        }
        if let Some(app) = apps.find_key(one("auth_key")) {
            let app = &apps.app(app).settings;
            set(&mut pairs, "auth_key", &app.key);
            let secret = self.secrets.get(&app.id).map_or("", String::as_str);
            let masked = join(&pairs);
            if auth::is_signed(request, &given, one("auth_signature"), secret, None, &self.pusher)
                && let Ok(masked) = Parameters::parse(&masked)
            {
                let signature = signature::hmac_hex(&app.secret, &[&message(&path, &masked)]);
                set(&mut pairs, "auth_signature", &signature);
            }
        }
        (path, Some(join(&pairs)), body)
    }

    /// The user of `/users/{id}/terminate_connections` and the channel of `/channels/{name}` are masked as elsewhere.
    fn api_path(&mut self, path: &str) -> String {
        let user = path.strip_suffix("/terminate_connections");
        if let Some((before, user)) = user.and_then(|path| path.split_once("/users/")) {
            let user = parameters::decode(user).unwrap_or(user.into());
            return format!(
                "{before}/users/{}/terminate_connections",
                encode(&self.words.token(&user))
            );
        }
        let Some((before, name)) = path.split_once("/channels/") else {
            return path.to_owned();
        };
        let (name, end) = name.strip_suffix("/users").map_or((name, ""), |name| (name, "/users"));
        match parameters::decode(name) {
            Some(name) => format!("{before}/channels/{}{end}", encode(&self.words.channel(&name))),
            None => format!("{before}/channels/{}{end}", mask(name)),
        }
    }
}

/// The messages that the signature of a frame may cover: a sign-in, a channel with a member, a channel alone.
fn messages(socket: &str, data: &Value) -> [Option<String>; 3] {
    let text = |key: &str| data[key].as_str();
    let channel = text("channel").map(|channel| format!("{socket}:{channel}"));
    [
        text("user_data").map(|user| format!("{socket}::user::{user}")),
        channel
            .clone()
            .zip(text("channel_data"))
            .map(|(channel, member)| format!("{channel}:{member}")),
        channel,
    ]
}

fn set(pairs: &mut [(String, String)], name: &str, value: &str) {
    let own = pairs.iter_mut().filter(|(own, _)| own == name);
    own.for_each(|(_, own)| value.clone_into(own));
}

fn md5(body: &[u8]) -> String {
    HEXLOWER.encode(&Md5::digest(body))
}

/// The scheme and host of an absolute target, without a name and password.
fn origin(uri: &http::Uri) -> String {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            let authority = authority.as_str();
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        _ => String::new(),
    }
}
