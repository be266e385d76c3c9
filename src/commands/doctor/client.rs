//! A client of the Pusher protocol on the public address, as a browser's page is one.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use jsocketd::protocol::signature;
use rand::RngExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::address::Address;
use super::exchange::{Answer, begin};
use super::wire::{Net, Trouble, Wire};
use crate::commands::http::on_one_line;

/// The most bytes of a message.
const LARGEST: usize = 4 << 20;

/// How long one answer of the server may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How a handshake ended.
pub enum Knocked {
    /// The answer is 101, and its `Sec-WebSocket-Accept` is the right one.
    Open(Box<Client>, Answer),
    /// The answer is 101 with this `Sec-WebSocket-Accept`, which is wrong.
    Odd(Option<String>, Answer),
    /// Another answer.
    Refused(Answer),
    /// None.
    Trouble(Trouble),
}

/// Why nothing more comes.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The server closed the connection with this code and reason.
    Closed(u16, String),
    /// The connection is gone without a word.
    Cut(String),
    /// Nothing came in time.
    Late,
}

/// A frame.
#[derive(Debug)]
pub struct Frame {
    /// The event.
    pub event: String,
    /// Its channel.
    pub channel: Option<String>,
    /// Its data, out of its string if it is in one.
    pub data: Value,
}

#[derive(Deserialize)]
struct Raw<'a> {
    event: String,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A connection that was upgraded.
pub struct Client(WebSocket<Wire>);

/// Sends a handshake, as a browser does from a page of this origin, with these cookies.
pub fn knock(net: &mut Net, to: &Address, origin: &str, cookies: &str) -> Knocked {
    let key = BASE64.encode(&rand::rng().random::<[u8; 16]>());
    let lines = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
         Origin: {origin}\r\n{cookies}"
    );
    let mut wire = match net.connect(to) {
        Ok(wire) => wire,
        Err(trouble) => return Knocked::Trouble(trouble),
    };
    let mut answer = match begin(&mut wire, "GET", to, &lines) {
        Ok(answer) => answer,
        Err(trouble) => return Knocked::Trouble(trouble),
    };
    if answer.status != 101 {
        // A refusal of one sentence mostly comes with the head; else a moment is waited for it.
        wire.wait_until(net.deadline(Duration::from_secs(1)));
        if answer.body.is_empty() {
            let mut rest = [0; 4096];
            let read = io::Read::read(&mut wire, &mut rest).unwrap_or_default();
            answer.body.extend_from_slice(&rest[..read]);
        }
        return Knocked::Refused(answer);
    }
    let accept = answer.header("sec-websocket-accept").map(str::to_owned);
    if accept.as_deref() != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Knocked::Odd(accept, answer);
    }
    let limits = WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let early = std::mem::take(&mut answer.body);
    let socket = WebSocket::from_partially_read(wire, early, Role::Client, Some(limits));
    Knocked::Open(Box::new(Client(socket)), answer)
}

impl Client {
    /// The next frame. A ping of the server is answered, and returned if it is one of the Pusher protocol.
    ///
    /// # Errors
    /// None comes until then.
    pub fn next(&mut self, until: Instant) -> Result<Frame, End> {
        self.0.get_mut().wait_until(until);
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => {
                    let Ok(raw) = serde_json::from_str::<Raw<'_>>(&text) else {
                        return Err(End::Cut(format!(
                            "it sent a message that is no frame of the Pusher protocol: {}",
                            on_one_line(&text)
                        )));
                    };
                    if raw.event == "pusher:ping" {
                        self.send(&json!({"event": "pusher:pong", "data": {}}))?;
                    }
                    let data = raw.data.and_then(|data| serde_json::from_str(data.get()).ok());
                    return Ok(Frame {
                        event: raw.event,
                        channel: raw.channel,
                        data: inner(data.unwrap_or_default()),
                    });
                }
                Ok(Message::Close(frame)) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (u16::from(frame.code), on_one_line(&frame.reason))
                    });
                    return Err(End::Closed(code, reason));
                }
                Ok(_) => {}
                Err(error) => return Err(end(&error)),
            }
        }
    }

    /// The next frame for which this holds; others are passed over.
    ///
    /// # Errors
    /// None comes within [`PATIENCE`].
    pub fn frame_that(&mut self, fits: impl Fn(&Frame) -> bool) -> Result<Frame, End> {
        let until = Instant::now() + PATIENCE;
        loop {
            let frame = self.next(until)?;
            if fits(&frame) {
                return Ok(frame);
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, frame: &Value) -> Result<(), End> {
        self.0
            .send(Message::text(frame.to_string()))
            .map_err(|error| end(&error))
    }

    /// Subscribes to a channel; `auth` is the signature where it needs one. Returns why it was refused.
    ///
    /// # Errors
    /// There is no answer.
    pub fn subscribe(&mut self, channel: &str, auth: Option<String>) -> Result<Result<(), String>, End> {
        let data = match auth {
            Some(auth) => json!({"channel": channel, "auth": auth}),
            None => json!({"channel": channel}),
        };
        self.0.get_mut().wait_until(Instant::now() + PATIENCE);
        self.send(&json!({"event": "pusher:subscribe", "data": data}))?;
        let answer = self.frame_that(|frame| {
            let kinds = ["pusher_internal:subscription_succeeded", "pusher:subscription_error"];
            frame.channel.as_deref() == Some(channel) && kinds.contains(&frame.event.as_str())
        })?;
        Ok(match answer.event.as_str() {
            "pusher:subscription_error" => Err(on_one_line(answer.data["error"].as_str().unwrap_or_default())),
            _ => Ok(()),
        })
    }

    /// Our own address on the connection.
    pub fn own_address(&self) -> Option<IpAddr> {
        self.0.get_ref().own_address()
    }
}

/// The signature of a subscription.
pub fn signed(key: &str, secret: &str, socket_id: &str, channel: &str) -> String {
    let text = format!("{socket_id}:{channel}");
    format!("{key}:{}", signature::hmac_hex(secret, &[text.as_bytes()]))
}

fn end(error: &Error) -> End {
    match error {
        Error::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => End::Late,
        error => End::Cut(on_one_line(&error.to_string())),
    }
}

/// Data of the protocol: JSON, or JSON in a string.
fn inner(data: Value) -> Value {
    match data.as_str().map(serde_json::from_str) {
        Some(Ok(inner)) => inner,
        _ => data,
    }
}
