//! `jsocketd listen`: subscribes to channels as any client would and prints each event as one line of JSON. It signs
//! what needs a signature with the secret of the configuration, and connects again when the connection is lost. It ends
//! when nobody reads its output any more, at SIGINT or SIGTERM, and when the server refuses it.

mod line;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use jsocketd::config::{App, Sources};
use jsocketd::protocol::signature;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use tungstenite::client::client_with_config;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{HandshakeError, Message, WebSocket};

use super::http::{Server, TIMEOUT, on_one_line};
use super::wire::Wire;
use super::{app, complain};
use crate::cli::Listen;

/// The silence after which the server is asked whether it is still there, if it names none.
const SILENCE: Duration = Duration::from_secs(120);

/// How long the answer to that may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The wait before another connection. Each failure doubles it, up to the longest one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The most bytes of a message, and of what waits to be sent. No server sends larger events.
const LARGEST: usize = 4 << 20;

/// Bytes that a pipe takes without a wait once it is ready (`PIPE_BUF` of Linux).
const PIECE: usize = 4096;

/// Messages that are handled before signals are looked at again.
const AT_ONCE: usize = 1000;

/// Prints the events of the channels until it is stopped.
///
/// # Errors
/// A sentence: the server cannot be reached at the start, or refuses the connection or a channel.
pub fn listen(flags: Listen) -> Result<(), Box<dyn Error>> {
    let sources = Sources::of_process(flags.config.clone(), Vec::new(), None);
    let config = sources.load()?.config;
    let (server, prefix) = Server::for_clients(flags.url.as_ref(), &flags.ca, &config)?;
    let wanted = Wanted {
        app: app(&config, flags.app.as_deref())?,
        channels: flags.channels.into_iter().collect(),
        prefix,
        server,
    };
    let stop = Stop::new()?;
    let (mut wait, mut was_there) = (FIRST_WAIT, false);
    loop {
        let ended = match Session::open(&wanted, &stop) {
            Ok(mut session) => {
                was_there = true;
                let ended = session.run();
                if session.is_subscribed() {
                    wait = FIRST_WAIT;
                }
                ended
            }
            Err(end) => end,
        };
        let lost = match ended {
            End::Stopped => return Ok(()),
            End::Lost(why) if was_there => why,
            End::Refused(why) | End::Lost(why) => return Err(why.into()),
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
struct Wanted {
    server: Server,
    prefix: String,
    app: App,
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

    /// Waits until the socket or the output is ready for this, at most so long. The end is a signal, or that nobody
    /// reads the output any more.
    fn or_ready(&self, of: &impl AsFd, ready: PollFlags, limit: Option<Duration>) -> Result<(), End> {
        let timeout = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let stdout = io::stdout();
        let mut watched = [
            PollFd::new(&self.0, PollFlags::IN),
            PollFd::new(of, ready),
            // Only its end is of interest, which is always reported.
            PollFd::new(&stdout, PollFlags::empty()),
        ];
        // A signal interrupts the wait, and its byte ends the next one.
        if let Err(error) = retry_on_intr(|| poll(&mut watched, timeout.as_ref())) {
            return Err(End::Lost(error.to_string()));
        }
        let [stopped, _, out] = watched.map(|watched| watched.revents());
        match !stopped.is_empty() || out.contains(PollFlags::ERR) {
            true => Err(End::Stopped),
            false => Ok(()),
        }
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

/// A connection to the server.
struct Session<'a> {
    wanted: &'a Wanted,
    socket: WebSocket<Wire>,
    silence: Duration,
    /// When the server was heard last, and whether it was asked since.
    heard: Instant,
    asked: bool,
    /// The channels whose confirmation has not come yet.
    missing: BTreeSet<String>,
    stop: &'a Stop,
}

impl<'a> Session<'a> {
    /// Connects and becomes a WebSocket.
    fn open(wanted: &'a Wanted, stop: &'a Stop) -> Result<Self, End> {
        let Wanted {
            server, prefix, app, ..
        } = wanted;
        let failed = |why: &dyn Display| End::Lost(format!("{server}: {}", on_one_line(&why.to_string())));
        let mut stream = server.connect().map_err(|why| failed(&why))?;
        stream.never_wait().map_err(|error| failed(&error))?;
        let (host, key, version) = (server.host(), &app.key, env!("CARGO_PKG_VERSION"));
        let url = format!("ws://{host}{prefix}/app/{key}?protocol=7&client=jsocketd&version={version}");
        let limits = WebSocketConfig::default()
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST))
            .max_write_buffer_size(LARGEST);
        let deadline = Instant::now() + TIMEOUT;
        let mut handshake = client_with_config(url, stream, Some(limits));
        let socket = loop {
            let interrupted = match handshake {
                Ok((socket, _)) => break socket,
                Err(HandshakeError::Failure(error)) => return Err(failed(&error)),
                Err(HandshakeError::Interrupted(interrupted)) => interrupted,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(&"it does not answer the handshake in time"));
            }
            stop.or_ready(interrupted.get_ref().get_ref(), PollFlags::IN, Some(left))?;
            handshake = interrupted.handshake();
        };
        Ok(Self {
            wanted,
            socket,
            silence: SILENCE,
            heard: Instant::now(),
            asked: false,
            missing: wanted.channels.clone(),
            stop,
        })
    }

    /// Whether all channels were confirmed.
    fn is_subscribed(&self) -> bool {
        self.missing.is_empty()
    }

    /// Handles what comes until the end of the session.
    fn run(&mut self) -> End {
        let end = loop {
            if let Err(end) = self.receive().and_then(|more| self.wait(more)) {
                break end;
            }
        };
        if let End::Stopped = end {
            // The server learns that this client leaves; whether it does no longer counts.
            let _ = self.socket.close(None);
        }
        end
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
    fn wait(&mut self, more: bool) -> Result<(), End> {
        let patience = if self.asked { PATIENCE } else { Duration::ZERO };
        let left = (self.heard + self.silence + patience).saturating_duration_since(Instant::now());
        let limit = if more { Duration::ZERO } else { left };
        self.stop.or_ready(self.socket.get_ref(), PollFlags::IN, Some(limit))?;
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
            let data = subscription(&self.wanted.app, socket_id, channel);
            self.send(&json!({"event": "pusher:subscribe", "data": data}))?;
        }
        Ok(())
    }

    fn print(&mut self, channel: &str, event: &str, user_id: Option<&str>, data: Option<&RawValue>) -> Result<(), End> {
        let line = line::of_event(channel, event, user_id, data) + "\n";
        let (mut left, out) = (line.as_bytes(), io::stdout());
        while !left.is_empty() {
            // A reader may be slow, and the wait for it must end with a signal.
            self.stop.or_ready(&out, PollFlags::OUT, None)?;
            match rustix::io::write(&out, &left[..left.len().min(PIECE)]) {
                Ok(len) => left = &left[len..],
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Err(End::Stopped),
                Err(error) => return Err(End::Refused(format!("standard output: {error}"))),
            }
        }
        Ok(())
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

    fn lost(&self, why: &dyn Display) -> End {
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

#[cfg(test)]
mod tests {
    use super::*;

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
