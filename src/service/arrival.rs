//! The way of a request or handshake from its arrival to its answer: whether the limits allow it, which room decides
//! it, and which protocol the connection uses afterwards.

use std::net::IpAddr;

use bytes::Bytes;
use http::Response;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::addresses::Addresses;
use super::caller::{Call, Origin, Own};
use super::cluster::Link;
use super::console::Console;
use super::crowds::Crowds;
use super::home::Home;
use super::members::{Member, Members, Speaks, Wants};
use super::page::Page;
use super::routes::{self, Answer, Refusal, Route};
use super::silent_proxy;
use super::stats::{Handshakes, Tally, count};
use super::status::Seen;
use crate::api::{self, Answered, Api};
use crate::config::{self, Config};
use crate::hub::apps::Apps;
use crate::hub::gate;
use crate::id::ConnectionId;
use crate::logging::{Kind, More, Quiet};
use crate::protocol::SocketId;
use crate::protocol::actions::{Action, Actions, Dialect};
use crate::site::{SWITCHED_OFF, Site, cookie};
use crate::time::Now;

/// The close reason when a session has more than `connections_per_session` connections.
const OVER_SESSION: &str = "too many connections of this session";

/// The state that decides about new connections and requests.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) addresses: Addresses,
    pub(super) page: Page,
    /// Socket ids must not be guessable, so they come from a cryptographic generator. The seed of its key is an input
    /// like any other.
    random: StdRng,
    /// New WebSockets are rejected.
    pub(super) draining: bool,
    pub(super) handshakes: Handshakes,
    /// How often a limit refused a connection or request, by its key in the configuration.
    pub(super) limits: Tally,
    quiet: Quiet,
}

/// A request or handshake, with everything that its answer may need.
pub(super) struct Arrival<'a> {
    pub(super) id: ConnectionId,
    pub(super) call: Call<'a>,
    pub(super) config: &'a Config,
    pub(super) entrance: &'a mut Entrance,
    pub(super) members: &'a mut Members,
    pub(super) apps: &'a mut Apps,
    pub(super) api: &'a mut Api,
    pub(super) home: &'a mut Home,
    pub(super) link: Option<&'a mut Link>,
    pub(super) now: Now,
    pub(super) actions: &'a mut Actions,
}

impl Entrance {
    /// The state without connections. `key` is for the generator of socket ids.
    pub(super) fn new(config: &Config, key: [u8; 32]) -> Self {
        Self {
            addresses: Addresses::default(),
            page: Page::new(config, config.apps.iter()),
            random: StdRng::from_seed(key),
            draining: false,
            handshakes: Handshakes::default(),
            limits: Tally::default(),
            quiet: Quiet::new(),
        }
    }

    /// Creates the member for a new connection and counts its address, if the limits allow another connection.
    pub(super) fn count(
        &mut self,
        id: ConnectionId,
        address: Option<IpAddr>,
        limits: &config::Limits,
        now: Now,
    ) -> Member {
        let (counted, refused) = match self.addresses.admit(address, limits, now.at) {
            Ok(counted) => (counted, None),
            Err(over) => {
                count(&mut self.limits, over.key());
                (None, Some(over.sentence()))
            }
        };
        if let Some(why) = refused
            && let Some(more) = self.quiet.allow(Kind::Address, now.at)
        {
            log::warn!("{id} is refused: {why}{}", More(more));
        }
        Member::new(counted, refused)
    }
}

impl Arrival<'_> {
    /// Handles a plain request. If there is no answer yet, it follows when the missing facts arrive.
    pub(super) fn request(mut self) {
        let mut is_free = false;
        let response = match self.admit() {
            Err(refusal) => Some(refusal),
            Ok(()) if api::is_for(self.call.path(), &self.config.pusher) => {
                let response = self.api_request();
                // Signed requests have their own limits.
                is_free = response.as_ref().is_none_or(|response| response.status().is_success());
                response
            }
            Ok(()) if self.asks_as_visitor() => None,
            Ok(()) => self.answer(false),
        };
        if !is_free {
            self.charge();
        }
        if let Some(response) = response {
            self.actions.push(Action::Respond(self.id, response));
        }
    }

    /// Goes on with a request for a guarded place: its user is known.
    pub(super) fn visit(mut self) {
        let permission = routes::permission(&self.call, self.config);
        let mut may = false;
        if let Some(site) = self.home.site_mut() {
            may = permission.is_some_and(|permission| site.may(self.id, permission));
            site.leave(self.id);
        }
        if let Some(response) = self.answer(may) {
            self.actions.push(Action::Respond(self.id, response));
        }
    }

    /// The answer to a request that is not for the HTTP API; `None`: it follows when the process's numbers arrive.
    /// `may`: the request's user has the permission that its place needs.
    fn answer(&mut self, may: bool) -> Option<Box<Response<Bytes>>> {
        let Entrance { page, draining, .. } = &*self.entrance;
        let unready = match &self.link {
            _ if *draining => Some(routes::DRAINING),
            Some(link) if link.is_joining(self.now) => Some(routes::JOINING),
            _ => None,
        };
        match routes::answer(&self.call, may, self.config, page, unready) {
            Answer::Now(response) => Some(response),
            Answer::State(state) => {
                self.gather(Wants::State(state));
                None
            }
            Answer::Loop(view) => {
                self.actions.push(Action::ShowLoop(self.id, view));
                None
            }
        }
    }

    /// Requests the process's numbers. They are needed for this answer.
    fn gather(&mut self, wants: Wants) {
        if let Some(member) = self.members.get_mut(self.id) {
            member.rare.get_or_insert_default().wants = Some(wants);
        }
        self.actions.push(Action::Gather(self.id));
    }

    /// Handles a WebSocket handshake.
    pub(super) fn handshake(mut self) {
        let outcome = match gate::key(self.call.path(), &self.config.pusher) {
            Some(key) => self.handshake_of_app(key),
            None => self.handshake_of_ours(),
        };
        let handshakes = &mut self.entrance.handshakes;
        match outcome {
            Ok(()) => handshakes.accepted += 1,
            Err(code) => *handshakes.refused.entry(code).or_default() += 1,
        }
    }

    /// Handles a handshake of a protocol of our own. Like the next function, it returns the status or close code if it
    /// refuses the handshake.
    fn handshake_of_ours(&mut self) -> Result<(), u16> {
        let route = self.admit().and_then(|()| routes::upgrade(&self.call, self.config));
        let speaks = match route {
            Err(refusal) => {
                self.charge();
                return self.refuse(refusal);
            }
            Ok(Route::Console) => {
                let is_admin = self.call.may_see_state(self.config);
                Speaks::Console(Box::new(Console::new(is_admin, self.call.address(), self.now)))
            }
            Ok(Route::Echo) => Speaks::Echo,
        };
        self.actions.push(Action::Accept(self.id, Dialect::Plain));
        if matches!(speaks, Speaks::Console(_)) && !self.enter_site(None) {
            count(&mut self.entrance.limits, "connections_per_session");
            return self.close(1008, OVER_SESSION);
        }
        self.members.upgrade(self.id, speaks);
        match self.entrance.draining {
            true => self.close(1001, "the server is shutting down"),
            false => Ok(()),
        }
    }

    /// Handles a handshake of the Pusher protocol. An invalid handshake is accepted and then closed with a close code,
    /// because Pusher clients understand close codes.
    fn handshake_of_app(&mut self, key: &str) -> Result<(), u16> {
        if let Err(refusal) = routes::named_right(&self.call, self.config) {
            return self.refuse(refusal);
        }
        let dialect = match gate::is_old(self.call.query()) {
            true => Dialect::OldPusher,
            false => Dialect::Pusher,
        };
        self.actions.push(Action::Accept(self.id, dialect));
        let entered = self.enter_app(key);
        let (app, recovery) = match entered {
            Ok(entered) => entered,
            Err((code, why)) => return self.close(code, why),
        };
        let speaks = Speaks::Pusher(app);
        let away = |home: &Home| home.turned_away(self.id, &speaks);
        let app = self.apps.app_mut(app);
        let random = &mut self.entrance.random;
        let mut socket = SocketId(random.random(), random.random());
        while !app.roster.is_free(socket) {
            socket = SocketId(random.random(), random.random());
        }
        log::debug!("{} is socket {socket} of the app {}", self.id, app.settings.id);
        let settings = &self.config.pusher;
        app.connect(self.id, socket, recovery, settings, self.now, self.actions);
        let away = away(self.home);
        self.members.upgrade(self.id, speaks);
        away.map_or(Ok(()), |(code, why)| self.close(code, why))
    }

    /// The app of a handshake, and whether the client requests recovery; or the close code that rejects the handshake.
    fn enter_app(&mut self, key: &str) -> Result<(usize, bool), gate::Refusal> {
        let admitted = self.admit();
        if self.entrance.draining {
            return Err((4100, "the server is shutting down"));
        }
        if !self.admits_origin() {
            return Err((4009, "Origin not allowed"));
        }
        admitted.map_err(|_| (4100, "Over capacity"))?;
        let (app, recovery) = gate::enter(key, self.call.query(), self.apps, &self.config.pusher)?;
        if self.home.of(app).is_some_and(|site| !site.is_enabled()) {
            return Err(SWITCHED_OFF);
        }
        match self.enter_site(Some(app)) {
            true => Ok((app, recovery)),
            false => {
                count(&mut self.entrance.limits, "connections_per_session");
                Err((4100, OVER_SESSION))
            }
        }
    }

    /// Informs the site of a new connection: one of the console (`app` is `None`), or one of the app with this number
    /// if that is the site's app. Returns whether the connection may stay.
    fn enter_site(&mut self, app: Option<usize>) -> bool {
        let is_own = self.origin() == Origin::Own;
        let site = match app {
            Some(app) => self.home.of_mut(app),
            None => self.home.site_mut(),
        };
        let most = self.config.limits.connections_per_session;
        let request = is_own.then_some(self.call.request);
        let Some(site) = site else { return true };
        site.enter(self.id, request, most, self.now) && (!is_own || self.may_enter_cluster(most))
    }

    /// Whether the connection may stay: the other processes of the cluster have few connections of its session.
    fn may_enter_cluster(&mut self, most: u32) -> bool {
        let (Some(link), Some(app), Some(site)) = (&mut self.link, self.home.app(), self.home.site()) else {
            return true;
        };
        let session = cookie::session(self.call.request, &site.facts().cookies).ok();
        session.is_none_or(|(session, client)| {
            let session = Crowds::hash(&site.facts().secret.0, &session, client);
            link.enter(self.id, session, (app, self.apps.app(app)), most, self.actions)
        })
    }

    /// The origin of the page that made the request, compared with the site's own origins.
    fn origin(&self) -> Origin {
        let facts = self.home.site().map(Site::facts);
        let live_site = facts.and_then(|facts| facts.live_site.as_deref());
        self.call.origin(Own::site(self.config, live_site))
    }

    /// Whether a page of this origin may connect to an app. Under the embedded defaults the key is public.
    fn admits_origin(&self) -> bool {
        match self.origin() {
            Origin::Own => true,
            Origin::None => !self.config.pusher.strict_origin,
            Origin::Foreign => !self.config.pusher.strict_origin && !self.config.embedded_defaults,
        }
    }

    /// Whether the request is handled: there is room, and its address stayed within the limits.
    fn admit(&mut self) -> Result<(), Refusal> {
        if self.call.caller.surplus {
            count(&mut self.entrance.limits, "max_connections");
            return Err(routes::full());
        }
        let limits = &self.config.limits;
        if !self.config.embedded_defaults
            && !self.call.caller.admin
            && let Some(sign) = silent_proxy::sign(&self.call, &self.config.server.listen)
        {
            let peer = self.call.caller.address;
            self.entrance.addresses.warn_of_silent_proxy(sign, peer, self.now.at);
        }
        let refused = match self.members.get_mut(self.id) {
            Some(member) => member.rare.as_ref().and_then(|rare| rare.refused),
            None => {
                let address = self.call.address();
                let member = self.entrance.count(self.id, address, limits, self.now);
                let refused = member.rare.as_ref().and_then(|rare| rare.refused);
                self.members.insert(self.id, member);
                refused
            }
        };
        // A proxy's connections carry the requests of many clients, so each address that the proxy names has its own
        // count.
        let addresses = &mut self.entrance.addresses;
        let may_ask = |address| addresses.may_ask(address, limits, self.now.at);
        match refused {
            Some(why) => Err(routes::too_many(why)),
            None if !self.call.forwarded.is_none_or(may_ask) => {
                count(&mut self.entrance.limits, "requests_per_second");
                Err(routes::too_often())
            }
            None => Ok(()),
        }
    }

    /// Counts the request.
    fn charge(&mut self) {
        let addresses = &mut self.entrance.addresses;
        match self.call.forwarded {
            Some(address) => addresses.count_request(address, &self.config.limits, self.now.at),
            None => self.actions.push(Action::Charge(self.id)),
        }
    }

    /// Handles a request of the HTTP API. If there is no answer yet, it follows when the process's numbers arrive.
    fn api_request(&mut self) -> Option<Box<Response<Bytes>>> {
        let (call, config) = (&self.call, self.config);
        let ours = routes::named_right(call, config).and_then(|()| routes::from_own_page(call, config));
        if let Err(refusal) = ours {
            return Some(refusal);
        }
        let answered = self
            .api
            .answer(call.request, self.apps, &config.pusher, self.now, self.actions);
        match answered {
            Answered::Now(response) => Some(Box::new(response)),
            Answered::Status(app) => {
                let site = self.home.of(app);
                let seen = Seen::new(&self.call, self.origin(), site);
                self.gather(Wants::App(app, Box::new(seen)));
                None
            }
        }
    }

    /// Whether a visitor requests a guarded place with a session of the site. Then the answer waits until the session's
    /// user is known.
    fn asks_as_visitor(&mut self) -> bool {
        if routes::permission(&self.call, self.config).is_none()
            || self.call.may_see_state(self.config)
            || self.origin() == Origin::Foreign
        {
            return false;
        }
        let most = self.config.limits.connections_per_session;
        let Some(site) = self.home.site_mut() else { return false };
        if !site.enter_for_request(self.id, self.call.request, most, self.now) {
            return false;
        }
        if let Some(member) = self.members.get_mut(self.id) {
            let visit = (*self.call.caller, self.call.request.clone());
            member.rare.get_or_insert_default().visit = Some(visit);
        }
        true
    }

    /// Refuses the handshake with a response.
    fn refuse(&mut self, refusal: Refusal) -> Result<(), u16> {
        let status = refusal.status().as_u16();
        self.actions.push(Action::Respond(self.id, refusal));
        Err(status)
    }

    /// Refuses the handshake with a close code, after it was accepted.
    fn close(&mut self, code: u16, why: &'static str) -> Result<(), u16> {
        self.actions.push(Action::Close(self.id, code, why.into()));
        Err(code)
    }
}
