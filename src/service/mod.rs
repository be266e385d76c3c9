//! The service: inputs of connections come in, actions go out. It routes each input to the room that decides, and
//! carries out the effects that the rooms request of each other. It uses no socket and reads no clock.

mod accept;
pub mod addresses;
mod arrival;
mod asked;
pub mod caller;
pub mod console;
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
mod waiting;

use std::net::IpAddr;

use bytes::Bytes;
use http::Request;

use self::arrival::{Arrival, Entrance};
use self::caller::{Call, Caller};
use self::home::Home;
pub use self::identity::Identity;
pub use self::input::Input;
use self::members::{Members, Speaks, Wants};
pub use self::stats::{Counts, Ends, Lag, PerSecond, Process, ProcessStats, SendQueues, Sql, Statement, TlsStats};
use self::talk::Talk;
use self::waiting::Waiters;
use crate::api::Api;
use crate::config::Config;
use crate::hub::apps::Apps;
use crate::hub::roster::Reviewed;
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::logging::{Kind, More, Quiet};
use crate::protocol::actions::{Action, Actions};
use crate::protocol::effects::Effect;
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
            quiet: Quiet::new(),
        }
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
        self.config = config;
        self.home.find_app(&self.config, &mut self.apps);
        self.home
            .take_credentials(&self.config, &mut self.apps, &mut self.entrance.page);
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        let site = self.home.site().map_or(Time::NEVER, Site::deadline);
        let own = self.webhooks.deadline().min(self.waiters.deadline());
        self.apps.deadline().min(site).min(own)
    }

    /// The part that has work first, in words.
    pub fn due_part(&self) -> &'static str {
        let parts = [
            (self.apps.deadline(), "channels"),
            (self.webhooks.deadline(), "webhooks"),
            (self.waiters.deadline(), "messages that wait for an identity"),
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
        self.run_effects(now, actions);
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
        self.run_effects(now, actions);
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
        self.run_effects(now, actions);
        self.home.settle();
    }

    // --- effects -------------------------------------------------------------------------------------------------

    /// Carries out the effects that the rooms request of each other. The consequences of an effect are carried out
    /// before the next effect. Effects that concern all connections are carried out once, at the end.
    fn run_effects(&mut self, now: Now, actions: &mut Actions) {
        if actions.effects().is_empty() {
            return;
        }
        let (mut wake_all, mut review_all, mut release) = (false, false, false);
        for effect in std::mem::take(actions.effects()) {
            match effect {
                Effect::WakeAll => wake_all = true,
                Effect::ReviewAll => review_all = true,
                // Messages that waited for the same answers go on too.
                Effect::Release => (release, wake_all) = (true, true),
                effect => {
                    self.run_effect(effect, now, actions);
                    self.run_effects(now, actions);
                }
            }
        }
        if review_all {
            self.home.review(Reviewed::All, &mut self.apps, now, actions);
        }
        if wake_all {
            for id in self.waiters.ids() {
                self.go_on(id, false, now, actions);
            }
        }
        if release {
            self.home.release(&mut self.apps, now, actions);
        }
        self.run_effects(now, actions);
    }

    fn run_effect(&mut self, effect: Effect, now: Now, actions: &mut Actions) {
        let (home, apps) = (&mut self.home, &mut self.apps);
        match effect {
            Effect::Hook(app, event) => self.webhooks.note(&apps.app(app).settings.id, event, now),
            Effect::Occupied(channel) => home.site_mut().into_iter().for_each(|site| site.occupied(&channel)),
            Effect::Vacated(channel) => home.site_mut().into_iter().for_each(|site| site.vacated(&channel)),
            Effect::Wake(id) => {
                home.review(Reviewed::Connection(id), apps, now, actions);
                self.go_on(id, false, now, actions);
            }
            Effect::GoOn(id) => self.go_on(id, false, now, actions),
            Effect::Close(id, code, why) => actions.push(Action::Close(id, code, why.into())),
            Effect::Review(channels) => {
                for channel in channels {
                    home.review(Reviewed::Channel(&channel), apps, now, actions);
                }
            }
            Effect::TurnAway => {
                for (id, member) in self.members.iter() {
                    if let Some((code, why)) = home.turned_away(id, &member.speaks) {
                        actions.push(Action::Close(id, code, why.into()));
                    }
                }
            }
            Effect::Row(seen) => home.publish_row(&seen, apps, now, actions),
            Effect::Terminate(user) => {
                if let Some(app) = home.app() {
                    apps.app_mut(app).terminate(&user, actions);
                }
            }
            Effect::TerminateVisitor(app, user) => {
                if let Some(site) = home.of_mut(app) {
                    site.terminate(&user, actions.effects());
                }
            }
            Effect::Nudge(app) => {
                if let Some(outbox) = home.of_mut(app).and_then(Site::outbox_mut) {
                    outbox.nudge(now);
                }
            }
            Effect::Extensions => home.take_credentials(&self.config, apps, &mut self.entrance.page),
            // A server without an engine is alone.
            Effect::Share(..) | Effect::LogHook(..) | Effect::WakeAll | Effect::ReviewAll | Effect::Release => {}
        }
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
        self.entrance.addresses.release(member.counted);
    }
}
