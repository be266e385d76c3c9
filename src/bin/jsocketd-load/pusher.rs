//! The messages of a client of the Pusher protocol and of the site behind it: subscriptions, signed publishes, and
//! enough of the server's frames to check them. This is own code like `wire`: the server's code would share the
//! server's mistakes.

use std::borrow::Cow;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::Sha256;

/// The event that is published.
pub const EVENT: &str = "load";

/// An app's credentials.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    pub id: String,
    pub key: String,
    secret: String,
}

impl FromStr for App {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':').filter(|part| !part.is_empty()).map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(id), Some(key), Some(secret)) => Ok(Self { id, key, secret }),
            _ => Err("expected ID:KEY:SECRET"),
        }
    }
}

impl App {
    /// Where clients connect.
    pub fn path(&self) -> String {
        format!("/app/{}?protocol=7&client=jsocketd-load&version=1.0", self.key)
    }

    /// A signed `POST /apps/{id}/events` of one event on one channel. It is valid for ten minutes, however often it is
    /// sent.
    pub fn publish(&self, host: &str, channel: &str, data: &str, unix_seconds: u64) -> Vec<u8> {
        let body = json!({ "name": EVENT, "channel": channel, "data": data }).to_string();
        let path = format!("/apps/{}/events", self.id);
        let query = format!(
            "auth_key={}&auth_timestamp={unix_seconds}&auth_version=1.0&body_md5={}",
            self.key,
            HEXLOWER.encode(&Md5::digest(&body))
        );
        let signature = self.sign(&format!("POST\n{path}\n{query}"));
        post(host, &format!("{path}?{query}&auth_signature={signature}"), &body)
    }

    /// `auth` of a subscription to a private or, with `channel_data`, a presence channel.
    pub fn auth(&self, socket_id: &str, channel: &str, channel_data: &str) -> String {
        let signature = self.sign(&format!("{socket_id}:{channel}:{channel_data}"));
        format!("{}:{signature}", self.key)
    }

    fn sign(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        HEXLOWER.encode(&mac.finalize().into_bytes())
    }
}

/// A request with a JSON body.
pub fn post(host: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// The payload of an event's frame as Pusher writes it. Servers may write it in another order.
pub fn event(channel: &str, data: &str) -> String {
    format!(r#"{{"event":"{EVENT}","channel":"{channel}","data":"{data}"}}"#)
}

/// A client's subscription to a public channel.
pub fn subscribe(channel: &str) -> String {
    json!({ "event": "pusher:subscribe", "data": { "channel": channel } }).to_string()
}

/// A client's signed subscription.
pub fn subscribe_signed(channel: &str, auth: &str, channel_data: &str) -> String {
    let data = json!({ "channel": channel, "auth": auth, "channel_data": channel_data });
    json!({ "event": "pusher:subscribe", "data": data }).to_string()
}

/// A client's farewell to a channel.
pub fn unsubscribe(channel: &str) -> String {
    json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } }).to_string()
}

/// A frame of the server.
#[derive(Debug, Deserialize)]
pub struct Frame<'a> {
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow, default)]
    pub channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl<'a> Frame<'a> {
    /// Reads a frame; `None` when it is not one.
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The data, when it is a string.
    pub fn data(&self) -> Option<Cow<'a, str>> {
        serde_json::from_str::<Text<'a>>(self.data?.get())
            .ok()
            .map(|text| text.0)
    }

    /// Whether the frame belongs to the protocol and to no channel: pings and the like, which may come at any time.
    pub fn is_upkeep(&self) -> bool {
        self.event == "pusher:ping" || self.event == "pusher:pong"
    }

    /// The socket id of `pusher:connection_established`.
    pub fn socket_id(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Established {
            socket_id: String,
        }
        let data = self.data().filter(|_| self.event == "pusher:connection_established")?;
        let established: Established = serde_json::from_str(&data).ok()?;
        Some(established.socket_id)
    }

    /// Whether the frame says that the subscription to `channel` succeeded.
    pub fn is_succeeded(&self, channel: &str) -> bool {
        self.event == "pusher_internal:subscription_succeeded" && self.channel.as_deref() == Some(channel)
    }
}

/// Serde borrows a `Cow` only where an attribute says so, and attributes stand on fields.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked examples of the Pusher documentation.
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let app: App = "3:278d425bdf160c739803:7ad3773142a6692b25b8".parse().unwrap();
        assert_eq!(
            app.auth(
                "1234.1234",
                "presence-foobar",
                r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#
            ),
            "278d425bdf160c739803:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"
        );
        let signed = "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&\
                      body_md5=ec365a775a4cd0599faeb73354201b6f";
        assert_eq!(
            app.sign(signed),
            "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }

    #[test]
    fn a_publish_is_one_whole_request() {
        let app: App = "1:k:s".parse().unwrap();
        let request = app.publish("127.0.0.1:80", "c", "data", 7);
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(used) = head.parse(&request).unwrap() else {
            panic!("the head is not whole");
        };
        let body = &request[used..];
        assert_eq!(body.len().to_string().as_bytes(), head.headers[2].value);
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body, json!({ "name": "load", "channel": "c", "data": "data" }));
        assert!(
            head.path
                .unwrap()
                .starts_with("/apps/1/events?auth_key=k&auth_timestamp=7&")
        );
    }

    #[test]
    fn frames_of_the_server_are_understood() {
        let text = event("c", "0000000001");
        let frame = Frame::read(text.as_bytes()).unwrap();
        assert_eq!((&*frame.event, frame.channel.as_deref()), (EVENT, Some("c")));
        assert_eq!(frame.data().as_deref(), Some("0000000001"));
        let established =
            br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":9}"}"#;
        let frame = Frame::read(established).unwrap();
        assert_eq!(frame.socket_id().as_deref(), Some("1.2"));
        let error = br#"{"event":"pusher:error","data":{"message":"no","code":null}}"#;
        assert_eq!(Frame::read(error).unwrap().data(), None);
    }

    #[test]
    fn credentials_have_three_parts() {
        assert!("a:b:c:d".parse::<App>().is_ok(), "a secret may have colons");
        for bad in ["", "a:b", "a::c", "a:b:"] {
            assert!(bad.parse::<App>().is_err(), "{bad}");
        }
    }
}
