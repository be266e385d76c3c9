//! The service: inputs of connections come in, actions go out. It routes each input to the room that decides, and
//! carries out the effects that the rooms request of each other. It uses no socket and reads no clock.

mod accept;
pub mod addresses;
mod arrival;
mod asked;
pub mod caller;
mod cluster;
mod cluster_stats;
pub mod console;
mod crowds;
mod effects;
mod home;
mod identity;
mod input;
mod members;
pub mod metrics;
pub mod page;
pub mod routes;
pub mod silent_proxy;
pub mod snapshot;
mod stats;
pub mod status;
mod talk;
#[cfg(test)]
mod tests;
mod waiting;

use std::net::IpAddr;

use bytes::Bytes;
use http::Request;

use self::arrival::{Arrival, Entrance};
use self::caller::{Call, Caller};
use self::cluster::Link;
pub use self::cluster_stats::{ClusterStats, Standing};
use self::home::Home;
pub use self::identity::Identity;
pub use self::input::Input;
use self::members::{Members, Speaks, Wants};
pub use self::stats::{Counts, Ends, Lag, PerSecond, Process, ProcessStats, SendQueues, Sql, Statement, TlsStats};
use self::talk::Talk;
use self::waiting::Waiters;
use crate::api::Api;
use crate::cluster::State;
use crate::config::Config;
use crate::hub::apps::Apps;
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::logging::{Kind, More, Quiet};
use crate::protocol::actions::{Action, Actions};
use crate::protocol::engine::{Command, Fault, Line, LineState, Reply};
use crate::protocol::keys::Keys;
pub use crate::protocol::keys::Seed;
use crate::site::Site;
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};
use crate::webhooks::{Outcome, Webhooks};

/// All decisions of the server.
#[derive(Debug)]
pub struct Service {
    config: Config,
    keys: Keys,
    counts: Counts,
    entrance: Entrance,
    members: Members,
    waiters: Waiters,
    apps: Apps,
    api: Api,
    webhooks: Webhooks,
    home: Home,
    /// `None`: there is no engine, and the process is alone.
    link: Option<Box<Link>>,
    quiet: Quiet,
}

impl Service {
    /// A service without connections.
    pub fn new(config: Config, seed: Seed) -> Self {
        Self::with(config, Keys::of(&seed))
    }

    /// The same, with given keys.
    pub(super) fn with(config: Config, keys: Keys) -> Self {
        Self {
            entrance: Entrance::new(&config, keys.sockets),
            webhooks: Webhooks::new(&config.apps),
            apps: Apps::new(&config.apps, keys.start),
            config,
            keys,
            counts: Counts::default(),
            members: Members::default(),
            waiters: Waiters::default(),
            api: Api::default(),
            home: Home::default(),
            link: None,
            quiet: Quiet::new(),
        }
    }

    /// From here on this process is one of a cluster. Call it before the first input.
    pub fn join_cluster(&mut self, seed: &Seed, now: Now) {
        let link = Link::new(&self.config, &mut self.apps, seed, now);
        self.home.join_cluster();
        self.link = Some(Box::new(link));
    }

    /// The site was found, or its configuration changed.
    pub fn set_site(&mut self, facts: SiteConfig, now: Now, actions: &mut Actions) {
        self.home
            .set_site(facts, &self.config, &self.keys, &mut self.apps, actions);
        self.site_changed(now, actions);
    }

    /// Applies a new configuration. Decisions of the past stay as they are.
    pub fn reconfigure(&mut self, config: Config, actions: &mut Actions) {
        self.webhooks.reconfigure(&config.apps);
        self.apps.reconfigure(&config.apps, self.keys.start, actions);
        if let Some(link) = &mut self.link {
            link.set_apps(&mut self.apps, actions);
        }
        self.config = config;
        self.home.find_app(&self.config, &mut self.apps);
        self.home
            .take_credentials(&self.config, &mut self.apps, &mut self.entrance.page);
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        let site = self.home.site().map_or(Time::NEVER, Site::deadline);
        let link = self.link.as_ref().map_or(Time::NEVER, |link| link.deadline());
        let own = self.webhooks.deadline().min(self.waiters.deadline()).min(link);
        self.apps.deadline().min(site).min(own)
    }

    /// The part that has work first, in words.
    pub fn due_part(&self) -> &'static str {
        let parts = [
            (self.apps.deadline(), "channels"),
            (self.webhooks.deadline(), "webhooks"),
            (self.waiters.deadline(), "messages that wait for an identity"),
            (
                self.link.as_ref().map_or(Time::NEVER, |link| link.deadline()),
                "the cluster",
            ),
        ];
        let first = parts.into_iter().find(|(at, _)| *at == self.deadline());
        first.map_or("visitors of the site", |(_, part)| part)
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        for app in self.apps.iter_mut() {
            app.due(now, actions);
        }
        if let Some(site) = self.home.site_mut() {
            site.due(now, actions.effects());
        }
        self.site_changed(now, actions);
        while let Some(id) = self.waiters.pop_due(now.at) {
            self.go_on(id, true, now, actions);
        }
        effects::run(self, now, actions);
        if let Some(link) = &mut self.link {
            link.due(now);
            effects::hear(self, now, actions);
        }
        self.webhooks.due(now, actions);
    }

    /// From here on new WebSockets are rejected and `/ready` fails.
    pub fn drain(&mut self) {
        self.entrance.draining = true;
        self.webhooks.drain();
    }

    /// The outcome of the post with this ticket. The next steps are due at once.
    pub fn posted(&mut self, ticket: u64, outcome: Outcome<'_>, now: Now) {
        self.webhooks.posted(ticket, outcome, now);
    }

    /// The webhooks, for statistics.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// The apps, for inspection.
    pub fn apps(&self) -> &Apps {
        &self.apps
    }

    /// The site, for statistics.
    pub fn site(&self) -> Option<&Site> {
        self.home.site()
    }

    /// The number of open WebSockets.
    pub fn websockets(&self) -> usize {
        self.members.websockets().total()
    }

    /// The address by which the limits count the connection.
    pub fn address(&self, id: ConnectionId) -> Option<IpAddr> {
        self.members.get(id)?.counted
    }

    /// What a connection is now, for the logs.
    pub fn identity(&self, id: ConnectionId) -> Identity<'_> {
        let of = |member| Identity::of(id, member, &self.apps, &self.home);
        self.members.get(id).map_or_else(Identity::default, of)
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Handles an input of the connection `id` and appends the resulting actions.
    pub fn input(&mut self, id: ConnectionId, input: Input, now: Now, actions: &mut Actions) {
        match input {
            Input::Opened(caller) => self.opened(id, &caller, now, actions),
            Input::Request(caller, request) => {
                self.counts.requests += 1;
                self.arrival(id, &caller, &request, now, actions).request();
            }
            Input::Handshake(caller, request) => self.arrival(id, &caller, &request, now, actions).handshake(),
            Input::Message(message) => self.talk(id, now, actions).message(message),
            Input::ProcessStats(facts) => self.facts(id, &facts, now, actions),
            Input::Flushed => self.flushed(id, now, actions),
            Input::Closed => self.closed(id, now, actions),
        }
        effects::run(self, now, actions);
    }

    // --- the site ------------------------------------------------------------------------------------------------

    /// The next question for the database, if one is due. Pass the answer or the failure to `answer`.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        let app = self.home.app();
        let alone = app.is_none_or(|app| self.apps.app(app).roster.connections() == 0);
        self.home.site_mut()?.question(alone, now)
    }

    /// When the next question is due.
    pub fn question_due(&self) -> Time {
        self.home.site().map_or(Time::NEVER, Site::question_due)
    }

    /// The process whose heartbeat is in the site's database.
    pub fn heartbeat(&self) -> Option<u32> {
        self.home.site().and_then(Site::outbox)?.heartbeat()
    }

    /// Whether rows of the outbox are on their way, or a transaction is open: the next question must be asked at once.
    pub fn goes_on(&self) -> bool {
        let outbox = self.home.site().and_then(Site::outbox);
        outbox.is_some_and(|outbox| outbox.is_on_its_way())
    }

    /// Handles an answer of the database.
    pub fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now, actions: &mut Actions) {
        // The outbox and the access rules log the failures of their own questions.
        let is_of_access = matches!(question, Question::Items { .. } | Question::Categories(_));
        let logs = !is_of_access && !question.is_about_outbox();
        if let Err(Failure::Denied(why) | Failure::Refused(why) | Failure::Malformed(why)) = &answer
            && logs
            && let Some(more) = self.quiet.allow(Kind::Database, now.at)
        {
            log::warn!(
                "the question for {} has no answer: {why}{}",
                question.name(),
                More(more)
            );
        }
        let Some(site) = self.home.site_mut() else { return };
        site.answer(question, answer, now, actions.effects());
        self.site_changed(now, actions);
    }

    /// The site's facts may have changed: updates the position of its table and carries out the effects.
    fn site_changed(&mut self, now: Now, actions: &mut Actions) {
        // A client that subscribes while the effects are carried out gets the position after the rows among them.
        self.home.set_table(&mut self.apps, actions);
        effects::run(self, now, actions);
        self.home.settle();
    }

    // --- the cluster ---------------------------------------------------------------------------------------------

    /// The next command for a connection to the engine. Ask until there is none.
    pub fn engine_command(&mut self, line: Line, now: Now) -> Option<Command> {
        self.link.as_mut()?.command(line, now)
    }

    /// The engine answered a command.
    pub fn engine_reply(&mut self, line: Line, reply: Result<Reply, Fault>, now: Now, actions: &mut Actions) {
        if let Some(link) = &mut self.link {
            link.reply(line, reply, now);
            effects::hear(self, now, actions);
        }
    }

    /// A connection to the engine can take commands, or cannot.
    pub fn engine_line(&mut self, line: Line, state: LineState, now: Now, actions: &mut Actions) {
        if let Some(link) = &mut self.link {
            link.line(line, state, now);
            effects::hear(self, now, actions);
        }
    }

    /// The state of the cluster, if there is one.
    pub fn cluster(&self, now: Now) -> Option<State> {
        self.link.as_ref().map(|link| link.state(now))
    }

    /// Whether this process does not know yet what the others of its cluster hold; for two seconds at most.
    pub fn is_joining(&self, now: Now) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_joining(now))
    }

    /// Whether so much waits for the engine of the cluster that clients should not be read; for two seconds at most.
    pub fn is_crowded(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_crowded())
    }

    /// All connections are closed and the process will end: tells the other processes. Returns whether they know it, or
    /// cannot be told now.
    pub fn leave_cluster(&mut self) -> bool {
        self.link.as_mut().is_none_or(|link| {
            link.leave();
            link.has_left()
        })
    }

    // --- connections ---------------------------------------------------------------------------------------------

    /// A connection was accepted. A connection without a proxy has a known address and is counted at once. Otherwise
    /// one address that sends nothing could occupy all connections.
    fn opened(&mut self, id: ConnectionId, caller: &Caller, now: Now, actions: &mut Actions) {
        let direct = caller::direct_address(caller, &self.config.server.trusted_proxies);
        let member = direct.map(|_| self.entrance.count(id, direct, &self.config.limits, now));
        let is_refused = member.as_ref().is_some_and(|member| member.rare.is_some());
        if let Some(member) = member {
            self.members.insert(id, member);
        }
        if caller.surplus || is_refused {
            actions.push(Action::Hurry(id));
        }
    }

    fn arrival<'a>(
        &'a mut self,
        id: ConnectionId,
        caller: &'a Caller,
        request: &'a Request<Bytes>,
        now: Now,
        actions: &'a mut Actions,
    ) -> Arrival<'a> {
        Arrival {
            id,
            call: Call::new(id, caller, request, &self.config.server),
            config: &self.config,
            entrance: &mut self.entrance,
            members: &mut self.members,
            apps: &mut self.apps,
            api: &mut self.api,
            home: &mut self.home,
            link: self.link.as_deref_mut(),
            now,
            actions,
        }
    }

    fn talk<'a>(&'a mut self, id: ConnectionId, now: Now, actions: &'a mut Actions) -> Talk<'a> {
        Talk {
            id,
            config: &self.config,
            counts: &mut self.counts,
            members: &mut self.members,
            waiters: &mut self.waiters,
            apps: &mut self.apps,
            api: &mut self.api,
            home: &mut self.home,
            quiet: &mut self.quiet,
            now,
            actions,
        }
    }

    /// Continues the waiting work of a connection as far as possible. `is_last`: the first message gets an answer now.
    fn go_on(&mut self, id: ConnectionId, is_last: bool, now: Now, actions: &mut Actions) {
        let member = self.members.get_mut(id);
        match member.and_then(|member| member.take(|rare| &mut rare.visit)) {
            Some((caller, request)) => self.arrival(id, &caller, &request, now, actions).visit(),
            None => self.talk(id, now, actions).go_on(is_last),
        }
    }

    /// The numbers of the process arrived, for a request or for the console.
    fn facts(&mut self, id: ConnectionId, facts: &ProcessStats, now: Now, actions: &mut Actions) {
        let snapshot = snapshot::take(self, facts, now);
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(wants) = member.take(|rare| &mut rare.wants) {
            let response = match wants {
                Wants::App(app, seen) => status::answer(&snapshot, app, self.home.of(app).is_some(), &seen, now),
                Wants::State(state) => state.show(&snapshot),
            };
            return actions.push(Action::Respond(id, Box::new(response)));
        }
        if let Speaks::Console(console) = &mut member.speaks
            && let Some(text) = console.answer(&snapshot)
        {
            actions.push(Action::Send(id, console::text(text)));
        }
    }

    fn flushed(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        if let Some(Speaks::Pusher(app)) = self.members.get_mut(id).map(|member| &member.speaks) {
            let table = asked::missed(self.home.of_mut(*app), now);
            self.apps.app_mut(*app).flushed(id, table, now, actions);
        }
    }

    fn closed(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        if let Speaks::Pusher(app) = member.speaks {
            self.apps.app_mut(app).disconnect(id, now, actions);
        }
        if let Some(site) = self.home.site_mut() {
            site.leave(id);
        }
        if let Some(waiting) = member.waiting() {
            self.waiters.remove(waiting.until, id);
        }
        if let Some(link) = &mut self.link {
            link.left(id, self.home.app(), actions);
        }
        self.entrance.addresses.release(member.counted);
    }
}
