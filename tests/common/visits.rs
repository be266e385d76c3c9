//! A server of a Joomla site, and its visitors: their cookies, the origins of their pages, and the server's identities
//! for them. The module [`joomla`](super::joomla) changes the site meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::joomla::{Session as Login, Site as Joomla};
use super::peer::KEY as NONCE;
use super::pusher::{ID, KEY, Refused, SECRET, Session, Site};
use super::{PATIENCE, Peer, Server, wait_until};
use jsocketd::joomla::site::Client;

/// The name of the site in its visitors' browsers.
pub const HOST: &str = "joomla.example";

/// The time that a busy machine may add to an awaited event.
pub const SLACK: Duration = Duration::from_millis(1500);

/// The token that allows every command.
pub const ADMIN_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server and its site.
pub struct House {
    /// The site.
    pub joomla: Joomla,
    /// The server, with the app of the constants.
    pub site: Site,
}

/// The configuration: lines of TOML.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Seconds.
    pub sweep_interval: u32,
    /// In `[server]`.
    pub server: &'a str,
    /// In `[limits]`.
    pub limits: &'a str,
    /// In `[joomla]`.
    pub joomla: &'a str,
    /// In `[database]`.
    pub database: &'a str,
    /// In `[pusher]`.
    pub pusher: &'a str,
    /// Behind all of that: the app. With another one than the constants' there is no API to publish with.
    pub app: &'a str,
    /// Behind it.
    pub more: &'a str,
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self {
            sweep_interval: 1,
            server: "",
            limits: "",
            joomla: "",
            database: "",
            pusher: "",
            app: "",
            more: "",
        }
    }
}

impl Terms<'_> {
    /// Where nothing is looked at again by itself in the time of a test.
    pub fn without_sweep() -> Self {
        Self {
            sweep_interval: 3600,
            ..Self::default()
        }
    }

    /// As the configuration file has them.
    pub fn toml(&self) -> String {
        let own = format!("[[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n");
        let (app, name) = match self.app {
            "" => (own.as_str(), format!("app = \"{ID}\"")),
            app => (app, String::new()),
        };
        format!(
            "[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n{}\n[limits]\nconnects_per_second = 0\n{}\n[pusher]\n{}\n\
             [joomla]\nsweep_interval = {}\n{name}\n{}\n[database]\n{}\n{app}\n{}\n",
            self.server, self.limits, self.pusher, self.sweep_interval, self.joomla, self.database, self.more
        )
    }
}

impl House {
    /// A server that looks at everything again within a second.
    pub fn open(joomla: Joomla) -> Self {
        Self::with(joomla, Terms::default())
    }

    /// A server.
    pub fn with(joomla: Joomla, terms: Terms<'_>) -> Self {
        let server = Server::start_with(&terms.toml(), |command, _| {
            command.arg("--joomla").arg(joomla.root());
        });
        Self {
            joomla,
            site: Site { server },
        }
    }

    /// A server that looks at nothing again by itself in the time of a test, but reads the outbox table.
    pub fn by_rows_only(joomla: Joomla) -> Self {
        joomla.create_outbox();
        let house = Self::with(joomla, Terms::without_sweep());
        house.expect_reading();
        house
    }

    /// A page of this session, about to connect.
    pub fn page(&self, login: &Login) -> Arrival {
        let arrival = Arrival::own().cookie(self.joomla.cookie(login));
        match login.client {
            Client::Site => arrival,
            Client::Administrator => arrival.query("client=administrator"),
        }
    }

    /// A WebSocket of the app; the answer is not checked.
    pub fn open_app(&self, arrival: &Arrival) -> Peer {
        self.open_app_at(KEY, arrival)
    }

    /// A WebSocket of an app; the answer is not checked.
    pub fn open_app_at(&self, key: &str, arrival: &Arrival) -> Peer {
        let path = format!("/app/{key}?protocol=7&client=js&version=8.6.0&flash=false");
        let mut peer = Peer::connect(&self.site.server);
        peer.send(arrival.handshake(&path));
        peer.expect_switch();
        peer
    }

    /// A client of the Pusher protocol.
    pub fn arrive(&self, arrival: &Arrival) -> Session {
        Session::greeted(self.open_app(arrival))
    }

    /// A client of the Pusher protocol on a page of this session.
    pub fn come(&self, login: &Login) -> Session {
        self.arrive(&self.page(login))
    }

    /// The same, once the user is known: the session is in the channel of this user alone.
    pub fn come_known(&self, login: &Login) -> Session {
        let mut session = self.come(login);
        session.enter(&format!("private-user-{}", login.user));
        session
    }

    /// A client of the Pusher protocol on a page without a logged-in user.
    pub fn come_as_guest(&self) -> Session {
        self.arrive(&Arrival::own())
    }

    /// A console.
    pub fn console(&self, arrival: &Arrival) -> Console {
        let mut peer = Peer::connect(&self.site.server);
        peer.send(arrival.handshake("/?"));
        peer.expect_switch();
        let mut console = Console { peer };
        if let Some(token) = &arrival.token {
            let answer = console.say(&format!("token {token}"));
            assert_eq!(answer, "Allowed: what your account may do answers from here on.");
        }
        console
    }

    /// The server's identity of an arrival.
    pub fn who(&self, arrival: &Arrival) -> Value {
        self.console(arrival).whoami()
    }

    /// The arrival is this user: on the console, and on a Pusher connection, and it is no other user.
    pub fn expect_user(&self, arrival: &Arrival, user: u32) {
        let who = self.who(arrival);
        assert_eq!(
            (&who["identity"], &who["user_id"]),
            (&json!("user"), &json!(user)),
            "{who}\n{arrival:?}"
        );
        self.expect_channels_of(arrival, Some(user));
    }

    /// The arrival is a guest for this reason.
    pub fn expect_guest(&self, arrival: &Arrival, reason: &str) {
        let who = self.who(arrival);
        assert_eq!(
            (&who["identity"], &who["reason"]),
            (&json!("guest"), &json!(reason)),
            "{who}\n{arrival:?}"
        );
        assert!(who.get("user_id").is_none(), "{who}");
        self.expect_channels_of(arrival, None);
    }

    fn expect_channels_of(&self, arrival: &Arrival, own: Option<u32>) {
        let mut session = self.arrive(arrival);
        let users: Vec<u32> = self.joomla.rows("SELECT id FROM #__users");
        for user in users {
            let channel = format!("private-user-{user}");
            match own == Some(user) {
                true => session.enter(&channel),
                false => session.expect_denied(&channel),
            };
        }
    }

    /// Counts and figures of the server.
    pub fn stats(&self) -> Value {
        let stats = self.console(&Arrival::foreign()).allowed().say("stats");
        serde_json::from_str(&stats).unwrap_or_else(|why| panic!("{why}: {stats}"))
    }

    /// Statements that the server has run.
    pub fn statements(&self) -> u64 {
        self.stats()["database"]["statements"].as_u64().expect("a count")
    }

    /// Waits until the outbox table is read.
    pub fn expect_reading(&self) {
        // Rows from before the server reads the table are history and reach no client.
        let guest = &mut self.come_as_guest();
        guest.enter("ready");
        let is_heard = || {
            self.joomla.publish("ready", "yes", "1");
            guest.peer.hears_within(Duration::from_millis(50))
        };
        wait_until("the outbox table is read", is_heard, || self.site.server.log());
    }

    /// Waits until the server has read all that it judges by.
    pub fn expect_ready(&self) -> &Self {
        let stats = || self.stats();
        wait_until(
            "the site is known",
            || !stats()["site"]["joomla"].is_null(),
            || stats().to_string(),
        );
        self
    }
}

/// The handshake of a visitor.
#[derive(Clone, Debug)]
pub struct Arrival {
    host: String,
    origins: Vec<String>,
    /// Further lines of the head.
    lines: Vec<Vec<u8>>,
    /// The form token that it shows on a console.
    token: Option<String>,
    query: String,
}

impl Arrival {
    /// From a page of the site itself, without a cookie.
    pub fn own() -> Self {
        Self::foreign().origin(&format!("https://{HOST}"))
    }

    /// Without an origin and without a cookie.
    pub fn foreign() -> Self {
        Self {
            host: HOST.into(),
            origins: Vec::new(),
            lines: Vec::new(),
            token: None,
            query: String::new(),
        }
    }

    /// To a server of this name.
    pub fn to(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// From a page of this origin too.
    pub fn origin(mut self, origin: &str) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// From a page of this origin and no other.
    pub fn of_origin(mut self, origin: &str) -> Self {
        self.origins.clear();
        self.origin(origin)
    }

    /// From a page that does not send its origin.
    pub fn without_origin(mut self) -> Self {
        self.origins.clear();
        self
    }

    /// With one more header `Cookie`.
    pub fn cookie(self, line: impl AsRef<[u8]>) -> Self {
        self.header([b"Cookie: ", line.as_ref()].concat())
    }

    /// Shows this form token on a console, first of all.
    pub fn proved(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    /// With one more header, as a line.
    pub fn header(mut self, line: impl AsRef<[u8]>) -> Self {
        self.lines.push(line.as_ref().to_vec());
        self
    }

    /// With one more parameter in the URL.
    pub fn query(mut self, query: &str) -> Self {
        self.query = format!("{}&{query}", self.query);
        self
    }

    /// The bytes of the handshake.
    pub fn handshake(&self, path: &str) -> Vec<u8> {
        let mut head = format!(
            "GET {path}{} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n",
            self.query, self.host
        );
        for origin in &self.origins {
            head += &format!("Origin: {origin}\r\n");
        }
        let mut head = head.into_bytes();
        for line in &self.lines {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// A connection to the console.
pub struct Console {
    /// The socket below.
    pub peer: Peer,
}

impl Console {
    /// Says something and returns the answer.
    pub fn say(&mut self, command: &str) -> String {
        let (_, answer) = self.peer.text(command).next_frame();
        String::from_utf8(answer).expect("answers are text")
    }

    /// May see everything from here on.
    pub fn allowed(&mut self) -> &mut Self {
        let answer = self.say(&format!("token {ADMIN_TOKEN}"));
        assert!(answer.starts_with("Allowed"), "{answer}");
        self
    }

    /// The server's identity of the connection, and the reason.
    pub fn whoami(&mut self) -> Value {
        let answer = self.allowed().say("whoami");
        serde_json::from_str(&answer).unwrap_or_else(|why| panic!("{why}: {answer}"))
    }
}

/// The actions of visitors whose browsers send a cookie.
pub trait Visitor {
    /// Asks for a channel and shows no signature.
    fn ask_plainly(&mut self, channel: &str) -> &mut Self;

    /// Gets into a channel without a signature.
    fn enter(&mut self, channel: &str) -> &mut Self;

    /// Gets into a presence channel without a signature; returns the `presence` that came.
    fn enter_presence(&mut self, channel: &str) -> Value;

    /// Is refused a channel by the site's rules.
    fn expect_denied(&mut self, channel: &str) -> &mut Self;

    /// Whether the visitor may enter a channel. It leaves it again.
    fn may_enter(&mut self, channel: &str) -> bool;

    /// The next message withdraws a channel. Returns how long that took.
    fn expect_withdrawn(&mut self, channel: &str) -> Duration;

    /// The next that comes: the connection is closed. Returns the reason and how long that took.
    fn expect_closed(&mut self, code: u16) -> (String, Duration);
}

impl Visitor for Session {
    fn ask_plainly(&mut self, channel: &str) -> &mut Self {
        self.say_subscribe(json!({"channel": channel}))
    }

    fn enter(&mut self, channel: &str) -> &mut Self {
        self.ask_plainly(channel).expect_subscribed(channel)
    }

    fn enter_presence(&mut self, channel: &str) -> Value {
        self.ask_plainly(channel).expect_joined(channel)
    }

    fn expect_denied(&mut self, channel: &str) -> &mut Self {
        let refused = self.ask_plainly(channel).expect_refused(channel);
        assert!(is_access(&refused, "AccessDenied"), "{channel}: {refused:?}");
        self
    }

    fn may_enter(&mut self, channel: &str) -> bool {
        let answer = self.ask_plainly(channel).next();
        assert_eq!(answer["channel"], channel, "{answer}");
        if answer["event"] == "pusher_internal:subscription_succeeded" {
            if channel.starts_with("private-cache-") {
                self.expect_cache_miss(channel);
            }
            self.unsubscribe(channel);
            return true;
        }
        assert_eq!(answer["event"], "pusher:subscription_error", "{answer}");
        assert_eq!(
            (&answer["data"]["type"], &answer["data"]["status"]),
            (&json!("AccessDenied"), &json!(403))
        );
        self.expect_error();
        false
    }

    fn expect_withdrawn(&mut self, channel: &str) -> Duration {
        let began = Instant::now();
        let refused = self.expect_refused(channel);
        assert!(is_access(&refused, "AccessWithdrawn"), "{channel}: {refused:?}");
        began.elapsed()
    }

    fn expect_closed(&mut self, code: u16) -> (String, Duration) {
        let began = Instant::now();
        let reason = self.peer.expect_close(code);
        assert!(!reason.is_empty(), "closed without a word");
        (reason, began.elapsed())
    }
}

fn is_access(refused: &Refused, kind: &str) -> bool {
    refused.kind == kind && refused.status == 403 && !refused.error.is_empty()
}

/// Does the same to each of these at the same time: a sweep or a look at a file mostly waits.
pub fn at_once<T: Send>(of: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for one in of {
            scope.spawn(move || test(one));
        }
    });
}

/// A `recheck-…` or `terminate-…` row of the outbox table.
pub fn control(joomla: &Joomla, verb: &str, what: Value) {
    joomla.publish("#control", verb, &what.to_string());
}

/// Repeats `whoami` until the server's answer is as expected.
pub fn expect_soon(console: &mut Console, expected: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let who = console.whoami();
        if expected(&who) {
            return who;
        }
        assert!(Instant::now() < deadline, "waited too long; it is still {who}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
