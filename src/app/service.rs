//! The service: what it is told of connections, what it knows of them, and what it wants done. Each protocol's own
//! decisions stand in the file that is named after it; this one only hands inputs to them.

use std::net::IpAddr;

use bytes::Bytes;
use http::Request;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tungstenite::Utf8Bytes;

use super::actions::{Action, Actions, Dialect, Message};
use super::address::{Addresses, Admission};
use super::api::{self, Api};
use super::caller::{self, Caller, Origin};
use super::console::{self, Console};
use super::page::Page;
use super::pusher::SocketId;
use super::pusher::app::Apps;
use super::pusher::gate;
use super::pusher::session::Timing;
use super::routes::{self, Refusal, Route};
use super::webhooks::{Outcome, Webhooks};
use crate::config::{self, Config};
use crate::id::ConnectionId;
use crate::logging::{Kind, More, Quiet};
use crate::time::{Now, Time};

/// What happened to a connection.
#[derive(Clone, Debug)]
pub enum Input {
    /// It was accepted.
    Opened(Caller),
    /// A plain HTTP request came; exactly one `Respond` is owed.
    Request(Caller, Request<Bytes>),
    /// A valid WebSocket handshake came; exactly one `Accept` or `Respond` is owed.
    Handshake(Caller, Request<Bytes>),
    /// A text message came.
    Text(Utf8Bytes),
    /// A binary message came.
    Binary(Bytes),
    /// What was to be written has been written, all but a little; a `WhenFlushed` asked for this.
    Flushed,
    /// What a `Gather` asked for.
    Facts(Box<Facts>),
    /// The connection is gone. Nothing is owed any more.
    Closed,
}

/// What only the loop and the operating system know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Connections of any kind.
    pub connections: usize,
    /// How many there may be.
    pub max_connections: usize,
    /// Resident memory of the process in bytes; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// The loop's recent delays.
    pub lag: Lag,
}

/// How long the loop was away from its poller: what a client that speaks at the worst moment waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Ticks since the start.
    pub ticks: u64,
    /// How many of the latest ticks the percentiles are of.
    pub sample: usize,
    /// Microseconds.
    pub p50_us: u32,
    /// Microseconds.
    pub p99_us: u32,
    /// Microseconds, the longest of the sample.
    pub max_us: u32,
    /// Microseconds, the longest tick in each of the last seconds that had one, newest first; 60 at most.
    pub worst_by_second_us: Vec<u32>,
}

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// WebSockets that are open.
    pub websockets: usize,
    /// Messages that came.
    pub messages_in: u64,
    /// Messages that were sent.
    pub messages_out: u64,
    /// HTTP requests answered, handshakes not counted.
    pub requests: u64,
}

/// What the service knows of one connection.
#[derive(Debug)]
struct Member {
    id: ConnectionId,
    /// What the limits by address counted.
    counted: Option<IpAddr>,
    /// Why every request gets 429, if it does.
    refused: Option<&'static str>,
    speaks: Speaks,
}

#[derive(Debug)]
enum Speaks {
    Http,
    Console(Box<Console>),
    Echo,
    /// The number of the app.
    Pusher(usize),
}

/// All decisions of the server.
#[derive(Debug)]
pub struct Service {
    config: Config,
    page: Page,
    addresses: Addresses,
    /// By slot; an entry whose id is another is nobody's.
    members: Vec<Option<Member>>,
    counts: Counts,
    apps: Apps,
    api: Api,
    /// What tells the positions of this run of the server from those of others.
    start: u32,
    /// Socket ids must not be guessed, so they come from a cryptographic generator; its seed is an input like any other.
    random: StdRng,
    webhooks: Webhooks,
    draining: bool,
    quiet: Quiet,
}

/// The app of the embedded defaults: everybody knows its secret, so the page may know it too.
fn development(config: &Config) -> Option<&config::App> {
    config.apps.first().filter(|_| config.embedded_defaults)
}

/// What the operating system's randomness gave at start.
pub type Seed = [u8; 32];

impl Service {
    /// A service without connections.
    pub fn new(config: Config, seed: Seed) -> Self {
        let start = u32::from_le_bytes([seed[0], seed[1], seed[2], seed[3]]);
        Self {
            webhooks: Webhooks::new(&config.apps),
            apps: Apps::new(&config.apps, start),
            start,
            random: StdRng::from_seed(seed),
            api: Api::default(),
            page: Page::new(development(&config), &config.pusher.path),
            config,
            addresses: Addresses::default(),
            members: Vec::new(),
            counts: Counts::default(),
            draining: false,
            quiet: Quiet::new(),
        }
    }

    /// Obeys another configuration from here on; what was decided stays decided.
    pub fn reconfigure(&mut self, config: Config, actions: &mut Actions) {
        self.webhooks.reconfigure(&config.apps);
        self.apps.reconfigure(&config.apps, self.start, actions);
        self.page = Page::new(development(&config), &config.pusher.path);
        self.config = config;
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.apps.deadline().min(self.webhooks.deadline())
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        for app in self.apps.iter_mut() {
            app.due(now, actions);
        }
        self.tell_webhooks(now);
        self.webhooks.due(now, actions);
    }

    fn tell_webhooks(&mut self, now: Now) {
        for app in self.apps.iter_mut() {
            for event in app.take_hooks() {
                self.webhooks.note(&app.settings.id, event, now);
            }
        }
    }

    /// From here on new WebSockets are turned away and `/ready` says no.
    pub fn drain(&mut self) {
        self.draining = true;
        self.webhooks.drain();
    }

    /// How the post with this ticket went. What follows from it is due.
    pub fn posted(&mut self, ticket: u64, outcome: Outcome<'_>, now: Now) {
        self.webhooks.posted(ticket, outcome, now);
    }

    /// The webhooks, for those who count.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// The apps, for a test that looks into them.
    pub fn apps(&self) -> &Apps {
        &self.apps
    }

    /// Counts since the start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes note of what happened to `id` and appends what shall be done.
    pub fn input(&mut self, id: ConnectionId, input: Input, now: Now, actions: &mut Actions) {
        match input {
            Input::Opened(caller) => self.opened(id, &caller, now, actions),
            Input::Request(caller, request) => self.request(id, &caller, &request, now, actions),
            Input::Handshake(caller, request) => self.handshake(id, &caller, &request, now, actions),
            Input::Text(text) => self.message(id, Message::Text(text), now, actions),
            Input::Binary(bytes) => self.message(id, Message::Binary(bytes), now, actions),
            Input::Facts(facts) => self.facts(id, &facts, now, actions),
            Input::Flushed => self.flushed(id, actions),
            Input::Closed => self.closed(id, now, actions),
        }
        self.tell_webhooks(now);
    }

    fn request(
        &mut self,
        id: ConnectionId,
        caller: &Caller,
        request: &Request<Bytes>,
        now: Now,
        actions: &mut Actions,
    ) {
        self.counts.requests += 1;
        let path = request.uri().path();
        let response = match self.admit(id, caller, request, now) {
            Err(refusal) => refusal,
            Ok(()) if api::is_for(path, &self.config.pusher) => {
                let ours = routes::named_right(request, &self.config)
                    .and_then(|()| routes::from_own_page(request, &self.config));
                ours.err().unwrap_or_else(|| {
                    Box::new(
                        self.api
                            .answer(request, &mut self.apps, &self.config.pusher, now, actions),
                    )
                })
            }
            Ok(()) => Box::new(routes::answer(request, caller, &self.config, &self.page, self.draining)),
        };
        actions.push(Action::Respond(id, response));
    }

    fn handshake(
        &mut self,
        id: ConnectionId,
        caller: &Caller,
        request: &Request<Bytes>,
        now: Now,
        actions: &mut Actions,
    ) {
        if let Some(key) = gate::key(request.uri().path(), &self.config.pusher) {
            return self.enter_app(id, key, caller, request, now, actions);
        }
        let route = self
            .admit(id, caller, request, now)
            .and_then(|()| routes::upgrade(request, caller, &self.config));
        let speaks = match route {
            Err(refusal) => return actions.push(Action::Respond(id, refusal)),
            Ok(Route::Console) => {
                let address = caller::address(caller, request, &self.config.server.trusted_proxies);
                Speaks::Console(Box::new(Console::new(
                    caller::may_see_state(caller, request, &self.config),
                    address,
                    now,
                )))
            }
            Ok(Route::Echo) => Speaks::Echo,
        };
        actions.push(Action::Accept(id, Dialect::Plain));
        self.counts.websockets += 1;
        if let Some(member) = self.member(id) {
            member.speaks = speaks;
        }
        if self.draining {
            actions.push(Action::Close(id, 1001, "the server is shutting down".into()));
        }
    }

    /// A handshake of the Pusher protocol. Whatever is wrong with it is said by a close code behind the upgrade: clients
    /// understand those.
    fn enter_app(
        &mut self,
        id: ConnectionId,
        key: &str,
        caller: &Caller,
        request: &Request<Bytes>,
        now: Now,
        actions: &mut Actions,
    ) {
        if let Err(refusal) = routes::named_right(request, &self.config) {
            return actions.push(Action::Respond(id, refusal));
        }
        let query = request.uri().query().unwrap_or("");
        let dialect = if gate::is_old(query) {
            Dialect::OldPusher
        } else {
            Dialect::Pusher
        };
        actions.push(Action::Accept(id, dialect));
        let entered = match self.admit(id, caller, request, now) {
            _ if self.draining => Err((4100, "the server is shutting down")),
            _ if self.config.pusher.strict_origin
                && caller::origin(request, &self.config.server.allowed_origins) == Origin::Foreign =>
            {
                Err((4009, "Origin not allowed"))
            }
            Err(_) => Err((4100, "Over capacity")),
            Ok(()) => gate::enter(key, query, &self.apps, &self.config.pusher),
        };
        let (app, terms) = match entered {
            Ok(entered) => entered,
            Err((code, why)) => return actions.push(Action::Close(id, code, why.into())),
        };
        self.counts.websockets += 1;
        if let Some(member) = self.member(id) {
            member.speaks = Speaks::Pusher(app);
        }
        let timing = Timing {
            activity_timeout: self.config.pusher.activity_timeout,
            authorization_timeout: self.config.pusher.authorization_timeout,
        };
        let app = self.apps.app_mut(app);
        let mut socket = SocketId(self.random.random(), self.random.random());
        while !app.is_free(socket) {
            socket = SocketId(self.random.random(), self.random.random());
        }
        app.connect(id, socket, terms, timing, now, actions);
    }

    /// A connection was accepted. Who comes without a proxy is known already and counts from here on, or one address that
    /// says nothing could hold every place there is.
    fn opened(&mut self, id: ConnectionId, caller: &Caller, now: Now, actions: &mut Actions) {
        let direct = caller::direct_address(caller, &self.config.server.trusted_proxies);
        let admitted = direct.is_none() || self.count(id, direct, now).is_none();
        if caller.surplus || !admitted {
            actions.push(Action::Hurry(id));
        }
    }

    /// Whether a request may be looked at at all: there is room, and its address did not ask too often.
    fn admit(&mut self, id: ConnectionId, caller: &Caller, request: &Request<Bytes>, now: Now) -> Result<(), Refusal> {
        if caller.surplus {
            return Err(routes::full());
        }
        let refused = match self.member(id) {
            Some(member) => member.refused,
            None => {
                let address = caller::address(caller, request, &self.config.server.trusted_proxies);
                if address.is_none() && !self.config.embedded_defaults {
                    self.addresses.warn_of_silent_proxy();
                }
                self.count(id, address, now)
            }
        };
        refused.map_or(Ok(()), |why| Err(routes::too_many(why)))
    }

    /// Makes a connection a member, counted by its address; why it is refused, if it is.
    fn count(&mut self, id: ConnectionId, address: Option<IpAddr>, now: Now) -> Option<&'static str> {
        let (counted, refused) = match self.addresses.admit(address, &self.config.limits, now.at) {
            Admission::Granted(counted) => (counted, None),
            Admission::Refused(why) => {
                if let Some(more) = self.quiet.allow(Kind::Address, now.at) {
                    log::warn!("{id} is refused: {why}{}", More(more));
                }
                (None, Some(why))
            }
        };
        let slot = id.slot();
        if self.members.len() <= slot {
            self.members.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.members[slot].is_none(),
            "the last owner of the slot was not said to be closed"
        );
        self.members[slot] = Some(Member {
            id,
            counted,
            refused,
            speaks: Speaks::Http,
        });
        refused
    }

    fn message(&mut self, id: ConnectionId, message: Message, now: Now, actions: &mut Actions) {
        self.counts.messages_in += 1;
        let Some(member) = self
            .members
            .get_mut(id.slot())
            .and_then(Option::as_mut)
            .filter(|m| m.id == id)
        else {
            return;
        };
        let before = actions.list().len();
        match &mut member.speaks {
            Speaks::Echo => actions.push(Action::Send(id, message)),
            Speaks::Console(console) => {
                console.message(id, &message, &self.config, now, actions);
                if let Some(Action::Close(..)) = actions.list().last()
                    && let Some(more) = self.quiet.allow(Kind::Token, now.at)
                {
                    log::warn!("{id} gave wrong admin tokens and is closed{}", More(more));
                }
            }
            Speaks::Pusher(app) => match message {
                Message::Text(text) => self.apps.app_mut(*app).text(id, &text, now, actions),
                Message::Binary(_) => self.apps.app_mut(*app).binary(id, actions),
            },
            Speaks::Http => debug_assert!(false, "a message came before its handshake was accepted"),
        }
        self.counts.messages_out += actions.list()[before..]
            .iter()
            .filter(|a| matches!(a, Action::Send(..)))
            .count() as u64;
    }

    fn facts(&mut self, id: ConnectionId, facts: &Facts, now: Now, actions: &mut Actions) {
        let counts = self.counts.clone();
        if let Some(Member {
            speaks: Speaks::Console(console),
            ..
        }) = self.member(id)
            && let Some(text) = console.answer(facts, &counts, now)
        {
            self.counts.messages_out += 1;
            actions.push(Action::Send(id, console::text(text)));
        }
    }

    fn flushed(&mut self, id: ConnectionId, actions: &mut Actions) {
        if let Some(Member {
            speaks: Speaks::Pusher(app),
            ..
        }) = self.member(id)
        {
            let app = *app;
            self.apps.app_mut(app).flushed(id, actions);
        }
    }

    fn closed(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        let Some(slot) = self.members.get_mut(id.slot()) else {
            return;
        };
        if let Some(member) = slot.take_if(|member| member.id == id) {
            if let Speaks::Pusher(app) = member.speaks {
                self.apps.app_mut(app).disconnect(id, now, actions);
            }
            self.addresses.release(member.counted);
            if !matches!(member.speaks, Speaks::Http) {
                self.counts.websockets -= 1;
            }
        }
    }

    fn member(&mut self, id: ConnectionId) -> Option<&mut Member> {
        self.members
            .get_mut(id.slot())?
            .as_mut()
            .filter(|member| member.id == id)
    }
}
