//! `jsocketd listen`: subscribes to channels as any client would and prints each event as one line of JSON. It signs
//! what needs a signature with the secret of the configuration, and connects again when the connection is lost. It ends
//! when nobody reads its output any more, at SIGINT or SIGTERM, and when the server refuses it.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Read, StdoutLock, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use jsocketd::config::{App, Sources};
use jsocketd::protocol::signature;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use socket2::Socket;
use tungstenite::protocol::CloseFrame;
use tungstenite::{HandshakeError, Message, WebSocket};

use super::http::{Server, TIMEOUT, on_one_line, prefix};
use super::{app, complain};
use crate::cli::Listen;

/// The silence after which the server is asked whether it is still there, if it names none.
const SILENCE: Duration = Duration::from_secs(120);

/// How long the answer to that may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The wait before another connection. Each failure doubles it, up to the longest one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Messages that are handled before signals are looked at again.
const AT_ONCE: usize = 1000;

/// Prints the events of the channels until it is stopped.
///
/// # Errors
/// A sentence: the server cannot be reached at the start, or refuses the connection or a channel.
pub fn listen(flags: Listen) -> Result<(), Box<dyn Error>> {
    let sources = Sources::of_process(flags.config.clone(), Vec::new(), None);
    let config = sources.load()?.config;
    let (server, prefix) = match &flags.url {
        Some(url) => (Server::Tcp(url.clone()), prefix(url)?),
        None => (Server::of_listener(&config)?, config.pusher.path.clone()),
    };
    let wanted = Wanted {
        app: app(&config, flags.app.as_deref())?,
        channels: flags.channels.into_iter().collect(),
        prefix,
        server,
    };
    let stop = Stop::new()?;
    let (mut wait, mut was_there) = (FIRST_WAIT, false);
    loop {
        let lost = match Session::open(&wanted) {
            Ok(mut session) => {
                was_there = true;
                let ended = session.run(&stop);
                if session.is_subscribed() {
                    wait = FIRST_WAIT;
                }
                match ended {
                    End::Stopped => return Ok(()),
                    End::Refused(why) => return Err(why.into()),
                    End::Lost(why) => why,
                }
            }
            Err(why) if was_there => why,
            Err(why) => return Err(why.into()),
        };
        complain(format_args!(
            "{lost}; events may be missed until the next try in {} s",
            wait.as_secs()
        ));
        if stop.comes_within(wait)? {
            return Ok(());
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The channels, and the server that sends their events.
struct Wanted<'a> {
    server: Server,
    prefix: String,
    app: &'a App,
    channels: BTreeSet<String>,
}

/// How a session ended.
enum End {
    /// On purpose.
    Stopped,
    /// The server does not want this client; another try would be in vain.
    Refused(String),
    /// The connection is gone.
    Lost(String),
}

/// SIGINT and SIGTERM, as bytes that can be waited for.
struct Stop(UnixStream);

impl Stop {
    fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        pipe::register(SIGINT, writer.try_clone()?)?;
        pipe::register(SIGTERM, writer)?;
        Ok(Self(reader))
    }

    /// Waits for a signal, at most so long.
    fn comes_within(&self, wait: Duration) -> io::Result<bool> {
        self.0.set_read_timeout(Some(wait))?;
        match (&self.0).read(&mut [0]) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => Ok(false),
            // The signal itself interrupts the wait.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// A frame of the server.
#[derive(Deserialize)]
struct Frame<'a> {
    event: String,
    channel: Option<String>,
    user_id: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A line of the output.
#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    data: &'a RawValue,
}

/// A connection to the server.
struct Session<'a> {
    wanted: &'a Wanted<'a>,
    socket: WebSocket<Socket>,
    silence: Duration,
    /// When the server was heard last, and whether it was asked since.
    heard: Instant,
    asked: bool,
    /// The channels whose confirmation has not come yet.
    missing: BTreeSet<String>,
    out: StdoutLock<'static>,
}

impl<'a> Session<'a> {
    /// Connects and becomes a WebSocket.
    fn open(wanted: &'a Wanted<'a>) -> Result<Self, String> {
        let Wanted {
            server, prefix, app, ..
        } = wanted;
        let failed = |why: String| format!("{server}: {why}");
        let stream = server.connect().map_err(|error| failed(error.to_string()))?;
        let timeouts = stream
            .set_read_timeout(Some(TIMEOUT))
            .and_then(|()| stream.set_write_timeout(Some(TIMEOUT)));
        timeouts.map_err(|error| failed(error.to_string()))?;
        let (host, key, version) = (server.host(), &app.key, env!("CARGO_PKG_VERSION"));
        let url = format!("ws://{host}{prefix}/app/{key}?protocol=7&client=jsocketd&version={version}");
        let (socket, _) = tungstenite::client(url, stream).map_err(|error| match error {
            HandshakeError::Failure(error) => failed(on_one_line(&error.to_string())),
            HandshakeError::Interrupted(_) => failed("it does not answer the handshake in time".into()),
        })?;
        let nonblocking = socket.get_ref().set_nonblocking(true);
        nonblocking.map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            wanted,
            socket,
            silence: SILENCE,
            heard: Instant::now(),
            asked: false,
            missing: wanted.channels.clone(),
            out: io::stdout().lock(),
        })
    }

    /// Whether all channels were confirmed.
    fn is_subscribed(&self) -> bool {
        self.missing.is_empty()
    }

    /// Handles what comes until the end of the session.
    fn run(&mut self, stop: &Stop) -> End {
        loop {
            let more = match self.receive() {
                Ok(more) => more,
                Err(end) => return end,
            };
            if let Err(end) = self.wait(stop, more) {
                return end;
            }
        }
    }

    /// Handles the messages that are there. Returns whether there may be more.
    fn receive(&mut self) -> Result<bool, End> {
        for _ in 0..AT_ONCE {
            match self.socket.read() {
                Ok(message) => {
                    (self.heard, self.asked) = (Instant::now(), false);
                    match message {
                        Message::Text(text) => self.handle(&text)?,
                        Message::Close(frame) => return Err(self.closed(frame.as_ref())),
                        _ => {}
                    }
                }
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(true)
    }

    /// Waits until something comes, or the server has been silent for too long.
    fn wait(&mut self, stop: &Stop, more: bool) -> Result<(), End> {
        let patience = if self.asked { PATIENCE } else { Duration::ZERO };
        let left = (self.heard + self.silence + patience).saturating_duration_since(Instant::now());
        let timeout = if more { Duration::ZERO } else { left };
        let timeout = Timespec::try_from(timeout).ok();
        let stdout = io::stdout();
        let mut watched = [
            PollFd::new(&stop.0, PollFlags::IN),
            PollFd::new(self.socket.get_ref(), PollFlags::IN),
            // Only its end is of interest, which is always reported.
            PollFd::new(&stdout, PollFlags::empty()),
        ];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(self.lost(&error)),
        }
        let [stopped, _, out] = watched.map(|watched| watched.revents());
        if !stopped.is_empty() || out.contains(PollFlags::ERR) {
            // The server learns that this client leaves; whether it does no longer counts.
            let _ = self.socket.close(None);
            return Err(End::Stopped);
        }
        if left.is_zero() {
            if self.asked {
                return Err(self.lost(&"it does not answer a ping"));
            }
            self.asked = true;
            self.send(&json!({"event": "pusher:ping", "data": {}}))?;
        }
        Ok(())
    }

    fn handle(&mut self, text: &str) -> Result<(), End> {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            return Err(self.lost(&"it sent a frame that is no event of the Pusher protocol"));
        };
        let data = inner(frame.data);
        match (frame.event.as_str(), frame.channel.as_deref()) {
            ("pusher:connection_established", _) => self.subscribe(&data),
            ("pusher:ping", _) => self.send(&json!({"event": "pusher:pong", "data": {}})),
            ("pusher_internal:subscription_succeeded", Some(channel)) => {
                if self.missing.remove(channel) && self.missing.is_empty() {
                    let channels: Vec<&str> = self.wanted.channels.iter().map(String::as_str).collect();
                    complain(format_args!("listens to {}", on_one_line(&channels.join(", "))));
                }
                Ok(())
            }
            ("pusher:subscription_error", channel) => {
                let error = data["error"].as_str().unwrap_or("the subscription is refused");
                Err(End::Refused(format!(
                    "{} refuses {}: {}",
                    self.wanted.server,
                    on_one_line(channel.unwrap_or_default()),
                    on_one_line(error)
                )))
            }
            ("pusher:error", _) => {
                complain(on_one_line(data["message"].as_str().unwrap_or(text)));
                Ok(())
            }
            (event, _) if event.starts_with("pusher:") || event.starts_with("pusher_internal:") => Ok(()),
            (event, Some(channel)) => self.print(channel, event, frame.user_id.as_deref(), frame.data),
            (_, None) => Ok(()),
        }
    }

    /// The connection is established: subscribes to the channels.
    fn subscribe(&mut self, established: &Value) -> Result<(), End> {
        let Some(socket_id) = established["socket_id"].as_str() else {
            return Err(self.lost(&"it gives no socket id"));
        };
        if let Some(seconds) = established["activity_timeout"].as_u64() {
            self.silence = Duration::from_secs(seconds.clamp(1, SILENCE.as_secs()));
        }
        for channel in &self.wanted.channels {
            let data = subscription(self.wanted.app, socket_id, channel);
            self.send(&json!({"event": "pusher:subscribe", "data": data}))?;
        }
        Ok(())
    }

    fn print(&mut self, channel: &str, event: &str, user_id: Option<&str>, data: Option<&RawValue>) -> Result<(), End> {
        let data = shown(data);
        let line = Line {
            channel,
            event,
            user_id,
            data: &data,
        };
        let line = serde_json::to_string(&line).expect("text always has a JSON form");
        match writeln!(self.out, "{}", harmless(&line)).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(End::Stopped),
            Err(error) => Err(End::Refused(format!("standard output: {error}"))),
        }
    }

    fn send(&mut self, frame: &Value) -> Result<(), End> {
        match self.socket.send(Message::text(frame.to_string())) {
            Ok(()) => Ok(()),
            // The rest is sent with the next read or write.
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The server closed the connection. Codes from 4000 to 4099 say that another try is in vain (Pusher protocol).
    fn closed(&self, frame: Option<&CloseFrame>) -> End {
        let server = &self.wanted.server;
        let Some(CloseFrame { code, reason }) = frame else {
            return End::Lost(format!("{server} closed the connection"));
        };
        let code = u16::from(*code);
        let why = format!("{server} closed the connection with {code}: {}", on_one_line(reason));
        match code {
            4000..4100 => End::Refused(why),
            _ => End::Lost(why),
        }
    }

    fn lost(&self, why: &dyn std::fmt::Display) -> End {
        End::Lost(format!("{}: {}", self.wanted.server, on_one_line(&why.to_string())))
    }
}

/// The data of a subscription, signed where the channel needs it and the app has a secret.
fn subscription(app: &App, socket_id: &str, channel: &str) -> Value {
    let is_presence = channel.starts_with("presence-");
    if !(is_presence || channel.starts_with("private-")) || app.secret.is_empty() {
        return json!({"channel": channel});
    }
    let sign = |text: &str| format!("{}:{}", app.key, signature::hmac_hex(&app.secret, &[text.as_bytes()]));
    if !is_presence {
        let auth = sign(&format!("{socket_id}:{channel}"));
        return json!({"channel": channel, "auth": auth});
    }
    let member = json!({"user_id": format!("jsocketd-listen-{}", std::process::id())}).to_string();
    let auth = sign(&format!("{socket_id}:{channel}:{member}"));
    json!({"channel": channel, "auth": auth, "channel_data": member})
}

/// The data of a frame of the protocol: JSON, or JSON in a string.
fn inner(data: Option<&RawValue>) -> Value {
    let value: Value = data
        .and_then(|data| serde_json::from_str(data.get()).ok())
        .unwrap_or_default();
    match value.as_str().map(serde_json::from_str) {
        Some(Ok(inner)) => inner,
        _ => value,
    }
}

/// The data of an event as it is printed. Publishers send a string that mostly holds JSON: then it is that JSON, on one
/// line. Numbers keep all their digits.
fn shown(data: Option<&RawValue>) -> Box<RawValue> {
    let text = data.map_or("null", RawValue::get);
    let held = serde_json::from_str::<String>(text).ok();
    let held = held.and_then(|held| RawValue::from_string(held).ok());
    let raw = held.unwrap_or_else(|| RawValue::from_string(text.to_owned()).expect("it was JSON before"));
    match raw.get().contains(['\n', '\r', '\t']) {
        true => serde_json::from_str::<Value>(raw.get())
            .and_then(|value| serde_json::value::to_raw_value(&value))
            .unwrap_or(raw),
        false => raw,
    }
}

/// A line of JSON without control characters, which could harm a terminal. They stand in strings only.
fn harmless(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        match c.is_control() {
            true => shown += &format!("\\u{:04x}", u32::from(c)),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    #[test]
    fn the_data_of_an_event_is_the_json_in_its_string() {
        for (data, wanted) in [
            (r#""{\"id\":1}""#, r#"{"id":1}"#),
            (r#""12345678901234567890.5""#, "12345678901234567890.5"),
            (r#""not JSON""#, r#""not JSON""#),
            (r#""""#, r#""""#),
            (r#""{\n  \"a\": [1,\n2]}""#, r#"{"a":[1,2]}"#),
            (r#"{"plain": 1}"#, r#"{"plain": 1}"#),
        ] {
            assert_eq!(shown(Some(&raw(data))).get(), wanted, "{data}");
        }
        assert_eq!(shown(None).get(), "null");
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let line = "{\"data\":\"\u{9b}31m\u{7f}ü\"}";
        assert_eq!(harmless(line), "{\"data\":\"\\u009b31m\\u007fü\"}");
        let back: Value = serde_json::from_str(&harmless(line)).expect("still JSON");
        assert_eq!(back["data"], "\u{9b}31m\u{7f}ü");
    }

    #[test]
    fn only_private_and_presence_channels_are_signed() {
        let app = App::new("a", "key", "secret");
        assert_eq!(subscription(&app, "1.2", "news"), json!({"channel": "news"}));
        // The example of Pusher's documentation.
        let documented = App::new("a", "278d425bdf160c739803", "7ad3773142a6692b25b8");
        assert_eq!(
            subscription(&documented, "1234.1234", "private-foobar")["auth"],
            "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        let member = subscription(&app, "1.2", "presence-room");
        assert!(
            member["channel_data"]
                .as_str()
                .is_some_and(|data| data.contains("jsocketd-listen-"))
        );
        let unsigned = App::new("a", "key", "");
        assert_eq!(
            subscription(&unsigned, "1.2", "private-level-1"),
            json!({"channel": "private-level-1"}),
            "the site's rules decide"
        );
    }
}
