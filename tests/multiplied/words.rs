//! The messages of clients and of the site: handshakes, requests, frames and session texts.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use data_encoding::BASE64;
use http::Request;
use jsocketd::id::ConnectionId;
use jsocketd::joomla::session::form_token;
use jsocketd::joomla::site::{Client, Handler, SiteConfig};
use jsocketd::protocol::actions::Message;
use jsocketd::service::Input;
use jsocketd::service::caller::Caller;
use serde_json::{Value, json};

use crate::stage::Inputs;

const SITE_SECRET: &str = "0Joyhpv7XRo55TVH";
const SESSION_TOKEN: &str = "0123456789abcdef0123456789abcdef";
const COOKIE: &str = "0ad504c8cb42b9a2c9379cf1921924da";

/// Where all of them are.
pub const CALLER: Caller = Caller {
    address: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1))),
    admin: false,
    surplus: false,
    secure: false,
};

/// A frame of a client of the app.
pub fn say(id: ConnectionId, event: &str, data: Value) -> (ConnectionId, Input) {
    text(id, &json!({"event": event, "data": data}).to_string())
}

/// The same by several.
pub fn all_say(ids: &[ConnectionId], event: &str, data: &Value) -> Inputs {
    ids.iter().map(|id| say(*id, event, data.clone())).collect()
}

pub fn text(id: ConnectionId, text: &str) -> (ConnectionId, Input) {
    (id, Input::Message(Message::Text(text.into())))
}

pub fn get(path: &str, cookie: Option<&str>) -> Input {
    Input::Request(CALLER, request("GET", path, cookie, String::new()))
}

pub fn handshake(path: &str, cookie: Option<&str>) -> Input {
    Input::Handshake(CALLER, request("GET", path, cookie, String::new()))
}

pub fn request(method: &str, path: &str, cookie: Option<&str>, body: String) -> Request<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "example.org")
        // A browser's, which gets the page. Everybody else gets a line, which costs less.
        .header("accept", "text/html");
    let request = match cookie {
        None => request,
        Some(cookie) => request
            .header("origin", "http://example.org")
            .header("cookie", format!("{COOKIE}={cookie}")),
    };
    request.body(body.into()).expect("a request")
}

/// The form token of a user's session.
pub fn token_of(user: u32) -> String {
    form_token(SITE_SECRET, user, SESSION_TOKEN)
}

/// A session's text as PHP writes it.
pub fn session_text(user: u32) -> Vec<u8> {
    let user = format!("s:4:\"user\";O:20:\"Joomla\\CMS\\User\\User\":1:{{s:2:\"id\";i:{user};}}");
    let session = format!("s:7:\"session\";O:8:\"stdClass\":1:{{s:5:\"token\";s:32:\"{SESSION_TOKEN}\";}}");
    let data =
        format!("O:24:\"Joomla\\Registry\\Registry\":1:{{s:7:\"\0*\0data\";O:8:\"stdClass\":2:{{{session}{user}}}}}");
    let encoded = BASE64.encode(data.as_bytes());
    format!("joomla|s:{}:\"{encoded}\";", encoded.len()).into_bytes()
}

pub fn site() -> SiteConfig {
    SiteConfig {
        cookies: vec![(Client::Site, COOKIE.into())],
        secret: jsocketd::store::Secret(SITE_SECRET.into()),
        handler: Handler::Database,
        metadata: true,
        lifetime: 900,
        shared: false,
        live_site: None,
        offline: false,
        root_user: None,
    }
}
