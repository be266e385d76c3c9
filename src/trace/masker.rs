//! What of an input may stand in a trace. Names of channels and events, positions and the protocol's own words
//! stay; what people said, who they are and what proves it does not. What was signed rightly is signed again with the
//! masked secret, what was signed wrongly stays wrong: the service decides of the masked input as it did of the real one.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderName, Request, header};
use md5::{Digest, Md5};
use serde::Deserialize;

use super::json::{Fate, is_json, is_nest, quoted, rewrite};
use super::tokens::{Tokens, mask};
use super::{Content, Head};
use crate::api::parameters::{self, Parameters};
use crate::config::{self, Config};
use crate::hub::apps::Apps;
use crate::hub::ask::is_too_deep;
use crate::hub::gate;
use crate::protocol::SocketId;
use crate::protocol::channel::{ChannelName, SERVER_TO_USER};
use crate::protocol::signature;
use crate::service::{caller, console};

/// Headers that are shown as they are: what decides how a request is served. All others may hold anything, a cookie, a token,
/// the address of a page, and are masked.
const SHOWN: [HeaderName; 13] = [
    header::HOST,
    header::ORIGIN,
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::IF_NONE_MATCH,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
];

/// What stands in a trace where the admin token was.
const MASKED_TOKEN: &str = "a-masked-admin-token";

/// What stands there for the secret of every app.
const MASKED_SECRET: &str = "a-masked-secret";

/// Masks what it is shown.
#[derive(Debug, Default)]
pub struct Masker {
    pub(super) tokens: Tokens,
    /// The names of the site's session cookies.
    pub(super) cookies: Vec<String>,
    admin_token: String,
    /// The apps' real secrets, by id. As in the hub, an app that is no longer configured keeps what it had.
    secrets: HashMap<String, String>,
    pusher: config::Pusher,
    /// The socket ids of the connections that are there, and the shadow's for them.
    sockets: HashMap<String, String>,
}

/// Who speaks on a Pusher connection, and with whom.
#[derive(Clone, Copy)]
pub struct Speaker<'a> {
    /// The app, with the masked secret.
    pub app: &'a config::App,
    /// The socket id that the client was told.
    pub real: &'a str,
    /// The socket id that the shadow told; another one, for its seed is another.
    pub shadow: &'a str,
}

/// A frame of a client, as the session reads it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
}

/// What a signature in a frame may cover, and it.
#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow)]
    auth: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    channel_data: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user_data: Option<Cow<'a, str>>,
}

impl Masker {
    /// A configuration without its secrets, which are known to the masker from here on.
    pub fn configure(&mut self, config: &Config) -> Config {
        self.admin_token.clone_from(&config.server.admin_token);
        self.pusher.clone_from(&config.pusher);
        let mut masked = config.clone();
        if !self.admin_token.is_empty() {
            MASKED_TOKEN.clone_into(&mut masked.server.admin_token);
        }
        // The service knows neither of them from here, so nothing depends on what they are.
        masked.joomla.secret.clear();
        masked.database.password.clear();
        for app in &mut masked.apps {
            // An app without a secret is one that nothing can be signed for: it stays that.
            if !app.secret.is_empty() {
                let secret = std::mem::replace(&mut app.secret, MASKED_SECRET.to_owned());
                self.secrets.insert(app.id.clone(), secret);
            }
            for hook in &mut app.webhooks {
                hook.url = self.hook_url(&hook.url);
                for (_, value) in &mut hook.headers {
                    *value = mask(value);
                }
            }
        }
        masked
    }

    /// `[pusher]` as it is in force.
    pub fn pusher(&self) -> &config::Pusher {
        &self.pusher
    }

    /// A connection has this socket id, and that in the shadow.
    pub fn greeted(&mut self, real: &str, shadow: &str) {
        self.sockets.insert(real.to_owned(), shadow.to_owned());
    }

    /// The connection with this socket id is gone.
    pub fn left(&mut self, real: &str) {
        self.sockets.remove(real);
    }

    /// The shadow's socket id for a real one. What is well formed but nobody's becomes an id that nobody can have.
    fn socket(&self, id: &str) -> String {
        match id.parse::<SocketId>() {
            Ok(socket) => {
                let known = self.sockets.get(&socket.to_string());
                known.cloned().unwrap_or_else(|| SocketId(0, 0).to_string())
            }
            Err(()) => mask(id),
        }
    }

    /// The host stays; a path may be all that a receiver's secret consists of.
    fn hook_url(&mut self, url: &str) -> String {
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
        format!("{}{}", &url[..end], self.tokens.text(&url[end..]))
    }

    /// A text of a connection that speaks no Pusher: a command of the console stays.
    pub fn plain(&mut self, text: &str) -> String {
        match text.trim().split_once(char::is_whitespace) {
            Some(("token", given)) if caller::is_token(given.trim(), &self.admin_token) => {
                format!("token {MASKED_TOKEN}")
            }
            Some(("token", _)) => "token x".to_owned(),
            Some(("publish", rest)) => match console::Wanted::read(rest.trim()) {
                Some(event) => format!(
                    "publish {} {} {}",
                    self.channel(&event.channel),
                    event.name,
                    mask(&event.data)
                ),
                None => "publish".to_owned(),
            },
            _ if console::is_command(text.trim()) => text.to_owned(),
            _ => mask(text),
        }
    }

    // --- frames of the Pusher protocol -----------------------------------------------------------------------------

    /// A text of a Pusher connection.
    pub fn frame(&mut self, text: &str, speaker: Speaker<'_>) -> String {
        if is_too_deep(text) || !is_json(text) {
            return mask(text);
        }
        let event = serde_json::from_str::<Named<'_>>(text).map(|frame| frame.event);
        let event = event.as_deref().unwrap_or_default();
        let is_asked = matches!(event, "pusher:subscribe" | "pusher:unsubscribe" | "pusher:signin");
        rewrite(text, |keys, raw| match keys {
            [] if is_nest(raw) => Fate::Descend,
            [key] => match &**key {
                "event" if raw.starts_with('"') => Fate::Keep,
                "channel" => self.channel_value(raw),
                "data" if is_asked => Fate::Become(self.asked(event, raw, speaker)),
                _ => Fate::Become(self.tokens.payload(raw)),
            },
            _ => Fate::Become(self.tokens.value(raw)),
        })
    }

    /// The data of a frame that asks for something: an object, or an object in a string.
    fn asked(&mut self, event: &str, raw: &str, speaker: Speaker<'_>) -> String {
        match serde_json::from_str::<Cow<'_, str>>(raw) {
            Ok(inner) if is_json(&inner) => quoted(&self.asked_object(event, &inner, speaker)),
            Ok(inner) => quoted(&mask(&inner)),
            Err(_) => self.asked_object(event, raw, speaker),
        }
    }

    fn asked_object(&mut self, event: &str, data: &str, speaker: Speaker<'_>) -> String {
        let signed = self.sign_again(event, data, speaker);
        rewrite(data, |keys, raw| match keys {
            [] if is_nest(raw) => Fate::Descend,
            [key] => match (&**key, &signed) {
                ("channel", _) => self.channel_value(raw),
                ("auth", Some(signed)) => Fate::Become(quoted(signed)),
                ("auth", None) => Fate::Become(wrong_auth(raw, speaker.app)),
                ("since", _) if is_nest(raw) => Fate::Descend,
                ("since", _) if is_position(raw) => Fate::Keep,
                ("channel_data" | "user_data", _) => Fate::Become(self.member_value(raw)),
                _ => Fate::Become(self.tokens.value(raw)),
            },
            _ => Fate::Become(self.tokens.value(raw)),
        })
    }

    /// The signature of the masked data, if that of the real data was right.
    fn sign_again(&mut self, event: &str, data: &str, speaker: Speaker<'_>) -> Option<String> {
        let signed: Signed<'_> = serde_json::from_str(data).ok()?;
        let (key, given) = signed.auth.split_once(':').filter(|(key, _)| *key == speaker.app.key)?;
        let secret = self.secrets.get(&speaker.app.id)?.clone();
        let again = |parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            format!("{key}:{}", signature::hmac_hex(&speaker.app.secret, &parts))
        };
        let is_right = |parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            signature::matches(&secret, &parts, given)
        };
        if event == "pusher:signin" {
            let user_data = signed.user_data?;
            let right = is_right(&[speaker.real, "::user::", &user_data]);
            return right.then(|| again(&[speaker.shadow, "::user::", &self.member(&user_data)]));
        }
        let channel = signed.channel?;
        let masked = self.channel(&channel).into_owned();
        if let Some(channel_data) = &signed.channel_data
            && is_right(&[speaker.real, ":", &channel, ":", channel_data])
        {
            return Some(again(&[speaker.shadow, ":", &masked, ":", &self.member(channel_data)]));
        }
        is_right(&[speaker.real, ":", &channel]).then(|| again(&[speaker.shadow, ":", &masked]))
    }

    fn member_value(&mut self, raw: &str) -> String {
        match serde_json::from_str::<Cow<'_, str>>(raw) {
            Ok(member) => quoted(&self.member(&member)),
            Err(_) => self.tokens.value(raw),
        }
    }

    /// `channel_data` or `user_data`: JSON that says who somebody is.
    fn member(&mut self, text: &str) -> String {
        if !is_json(text) {
            return mask(text);
        }
        rewrite(text, |keys, raw| match keys {
            [] if is_nest(raw) => Fate::Descend,
            [key] if key == "user_info" => Fate::Become(self.tokens.payload(raw)),
            _ => Fate::Become(self.tokens.value(raw)),
        })
    }

    fn channel_value(&mut self, raw: &str) -> Fate {
        match serde_json::from_str::<Cow<'_, str>>(raw) {
            Ok(name) => match self.channel(&name) {
                Cow::Borrowed(_) => Fate::Keep,
                Cow::Owned(masked) => Fate::Become(quoted(&masked)),
            },
            Err(_) => Fate::Become(self.tokens.value(raw)),
        }
    }

    /// A channel's name stays, but for the user that it may name; what is no name could be anything.
    fn channel<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        match ChannelName::parse(name).map(ChannelName::user) {
            Ok(None) => name.into(),
            Ok(Some(user)) => format!("{SERVER_TO_USER}{}", self.tokens.text(user)).into(),
            Err(_) => self.tokens.text(name).into(),
        }
    }

    // --- requests --------------------------------------------------------------------------------------------------

    /// A request or handshake; `apps` are those of the shadow.
    pub fn head(&mut self, request: &Request<Bytes>, apps: &Apps) -> Head {
        let uri = request.uri();
        let query = uri.query();
        let is_api = crate::api::is_for(uri.path(), &self.pusher);
        let (path, query, body) = if is_api {
            self.api_request(request, apps)
        } else if let Some(key) = gate::key(uri.path(), &self.pusher) {
            let path = match apps.find_key(key) {
                Some(_) => uri.path().to_owned(),
                None => format!("{}/app/{}", self.pusher.path, self.tokens.text(key)),
            };
            (path, query.map(terms), Content::masked(request.body()))
        } else {
            (uri.path().to_owned(), query.map(mask), Content::masked(request.body()))
        };
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        Head {
            method: request.method().to_string(),
            target: format!("{}{path}{query}", origin(uri)),
            headers: self.headers(request),
            body,
        }
    }

    fn headers(&mut self, request: &Request<Bytes>) -> Vec<(String, String)> {
        let opens = caller::has_token(request.headers(), &self.admin_token);
        let headers = request.headers().iter().map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let text = match *name {
                header::AUTHORIZATION if opens => format!("Bearer {MASKED_TOKEN}"),
                _ if SHOWN.contains(name) => text,
                header::COOKIE => self.cookie(&text),
                _ => mask(&text),
            };
            (name.to_string(), text)
        });
        headers.collect()
    }

    /// A request of the HTTP API: its path, query and body.
    fn api_request(&mut self, request: &Request<Bytes>, apps: &Apps) -> (String, Option<String>, Content) {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        let given = Parameters::parse(query).ok();
        let one = |name: &str| given.as_ref().and_then(|given| given.one(name).ok().flatten());
        let app = self.app_of(uri.path(), one("auth_key"), apps);
        let secret = app.and_then(|app| self.secrets.get(&app.id)).cloned();
        let is_right = secret.is_some_and(|secret| {
            given.as_ref().is_some_and(|given| {
                let message = canonical(request.method().as_str(), uri.path(), given);
                signature::matches(
                    &secret,
                    &[message.as_bytes()],
                    one("auth_signature").unwrap_or_default(),
                )
            })
        });

        let path = self.api_path(uri.path());
        let body = self.api_body(request.body());
        let md5 = HEXLOWER.encode(&Md5::digest(request.body()));
        let is_whole = one("body_md5").is_some_and(|given| given.eq_ignore_ascii_case(&md5));
        let mut pairs: Vec<String> = match &given {
            None => vec![mask(query)],
            Some(_) => {
                let key = app.map(|app| app.key.as_str());
                let pairs = query.split('&').filter(|pair| !pair.is_empty());
                pairs
                    .filter_map(|pair| self.api_parameter(pair, key, is_right, is_whole))
                    .collect()
            }
        };
        if given.is_some() && is_whole {
            pairs.push(format!("body_md5={}", HEXLOWER.encode(&Md5::digest(body.bytes()))));
        }
        if let (true, Some(app), Ok(signed)) = (is_right, app, Parameters::parse(&pairs.join("&"))) {
            let message = canonical(request.method().as_str(), &path, &signed);
            let again = signature::hmac_hex(&app.secret, &[message.as_bytes()]);
            pairs.push(format!("auth_signature={again}"));
        }
        (path, uri.query().map(|_| pairs.join("&")), body)
    }

    fn app_of<'a>(&self, path: &str, auth_key: Option<&str>, apps: &'a Apps) -> Option<&'a config::App> {
        let rest = path.strip_prefix(self.pusher.path.as_str()).unwrap_or(path);
        let n = match rest.strip_prefix("/apps/") {
            Some(rest) => {
                let id = rest.split_once('/').map_or(rest, |(id, _)| id);
                apps.find_id(&parameters::decode(id)?)
            }
            None => apps.find_key(auth_key?),
        };
        n.map(|n| &apps.app(n).settings)
    }

    /// The user of `/users/{id}/terminate_connections` and the channel of `/channels/{name}` are masked as elsewhere.
    fn api_path(&mut self, path: &str) -> String {
        let start = self.pusher.path.len();
        let mut start = start + path.get(start..).map_or(0, |rest| usize::from(rest.starts_with('/')));
        if path[start..].starts_with("apps/") {
            let id = start + "apps/".len();
            start = path[id..].find('/').map_or(path.len(), |at| id + at + 1);
        }
        let (before, resource) = path.split_at(start);
        if let Some(user) = resource
            .strip_prefix("users/")
            .and_then(|rest| rest.strip_suffix("/terminate_connections"))
        {
            let user = parameters::decode(user).unwrap_or(Cow::Borrowed(user));
            let masked = self.tokens.text(&user);
            return format!("{before}users/{}/terminate_connections", encode(&masked));
        }
        if let Some(rest) = resource.strip_prefix("channels/") {
            let (name, end) = rest.strip_suffix("/users").map_or((rest, ""), |name| (name, "/users"));
            if let Some(name) = parameters::decode(name)
                && let Cow::Owned(masked) = self.channel(&name)
            {
                return format!("{before}channels/{}{end}", encode(&masked));
            }
        }
        path.to_owned()
    }

    /// One parameter, or nothing when it is what is written anew behind the others.
    fn api_parameter(&mut self, pair: &str, key: Option<&str>, is_right: bool, is_whole: bool) -> Option<String> {
        let (raw_name, raw) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| {
            let text = text.replace('+', " ");
            parameters::decode(&text).map_or_else(|| text.clone(), Cow::into_owned)
        };
        let value = decoded(raw);
        let masked = match decoded(raw_name).to_ascii_lowercase().as_str() {
            "auth_signature" if is_right => return None,
            "body_md5" if is_whole => return None,
            "auth_key" if Some(value.as_str()) == key => value,
            "auth_timestamp" | "auth_version" if value.len() < 20 && !value.contains(char::is_alphabetic) => value,
            "info" | "filter_by_prefix" | "name" => value,
            "socket_id" => self.socket(&value),
            "channel" | "channels" | "channels[]" => self.channel(&value).into_owned(),
            "data" => self.tokens.text(&value),
            "auth_signature" | "body_md5" | "auth_key" | "auth_timestamp" | "auth_version" => mask(&value),
            _ => {
                return Some(format!(
                    "{}={}",
                    encode(&mask(&decoded(raw_name))),
                    encode(&mask(&value))
                ));
            }
        };
        Some(format!("{raw_name}={}", encode(&masked)))
    }

    /// The body of a publish or a batch of them.
    fn api_body(&mut self, body: &Bytes) -> Content {
        let Ok(text) = str::from_utf8(body) else {
            return Content::Opaque(body.len());
        };
        if is_too_deep(text) || !is_json(text) {
            return Content::masked(body);
        }
        Content::Text(rewrite(text, |keys, raw| {
            match keys.strip_prefix(&["batch".into()]).unwrap_or(keys) {
                [] if is_nest(raw) => Fate::Descend,
                [key] => match &**key {
                    "channels" if is_nest(raw) => Fate::Descend,
                    "channel" | "channels" => self.channel_value(raw),
                    "name" | "info" if raw.starts_with('"') => Fate::Keep,
                    "socket_id" => Fate::Become(match serde_json::from_str::<Cow<'_, str>>(raw) {
                        Ok(id) => quoted(&self.socket(&id)),
                        Err(_) => self.tokens.value(raw),
                    }),
                    _ => Fate::Become(self.tokens.payload(raw)),
                },
                _ => Fate::Become(self.tokens.value(raw)),
            }
        }))
    }
}

/// An `auth` that was wrong, or none: of the same form and wrong again, for `x` is no hexadecimal digit.
fn wrong_auth(raw: &str, app: &config::App) -> String {
    let Ok(auth) = serde_json::from_str::<Cow<'_, str>>(raw) else {
        return mask_value(raw);
    };
    match auth.split_once(':') {
        Some((key, given)) if key == app.key => quoted(&format!("{key}:{}", wrong(given))),
        _ => quoted(&wrong(&auth)),
    }
}

fn wrong(signature: &str) -> String {
    mask(signature).replace('0', "x")
}

/// A value that is no string where a string should be: only its kind counts.
fn mask_value(raw: &str) -> String {
    match raw.as_bytes().first() {
        Some(b'"') => "\"\\ud800\"".to_owned(),
        Some(b'{') => "{}".to_owned(),
        Some(b'[') => "[]".to_owned(),
        Some(b'-' | b'0'..=b'9') => "0".to_owned(),
        _ => raw.to_owned(),
    }
}

/// Whether a JSON string is a position, which tells nothing of anybody: `"m0123abcd:17"`.
fn is_position(raw: &str) -> bool {
    let position = raw.trim_matches('"').split_once(':');
    position.is_some_and(|(start, n)| {
        start.len() <= 20
            && start
                .get(1..)
                .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            && n.len() <= 20
            && n.bytes().all(|b| b.is_ascii_digit())
    })
}

/// The query of a Pusher handshake: what counts there stays.
fn terms(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some(("protocol", version)) if version.parse::<u32>().is_ok() => pair.to_owned(),
        Some(("protocol", _)) => "protocol=x".to_owned(),
        Some(("recovery", "1") | ("client", "administrator")) => pair.to_owned(),
        Some((name @ ("recovery" | "client" | "version" | "flash"), value)) => format!("{name}={}", mask(value)),
        _ => mask(pair),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// What an absolute target has before its path. A name and password in it are nobody's business.
fn origin(uri: &http::Uri) -> String {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            let authority = authority.as_str();
            format!(
                "{scheme}://{}",
                authority.rsplit_once('@').map_or(authority, |(_, host)| host)
            )
        }
        _ => String::new(),
    }
}

/// What is signed of a request of the HTTP API.
fn canonical(method: &str, path: &str, parameters: &Parameters<'_>) -> String {
    format!("{method}\n{path}\n{}", parameters.sorted("auth_signature"))
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
            }
        }
    }
    out
}
