//! The service: what it is told of connections, what it knows of them, and what it wants done. Each protocol's own
//! decisions stand in the file that is named after it; this one only hands inputs to them.

pub mod addresses;
pub mod caller;
pub mod console;
pub mod page;
pub mod routes;
mod status;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tungstenite::Utf8Bytes;

use self::addresses::{Addresses, Admission};
use self::caller::{Caller, Origin, Own};
use self::console::{Console, Heard, Wanted};
use self::page::Page;
use self::routes::{Refusal, Route};
use crate::api::{self, Answered, Api};
use crate::config::{self, Config};
use crate::hub::app::{App, Apps, Publication};
use crate::hub::ask::{Progress, Wish};
use crate::hub::gate;
use crate::hub::session::{Door, Timing};
use crate::id::ConnectionId;
use crate::joomla::site::Site as SiteFacts;
use crate::logging::{Kind, More, Quiet};
use crate::outbox::{self, Outbox, Seen};
use crate::protocol::SocketId;
use crate::protocol::actions::{Action, Actions, Dialect, Message};
use crate::protocol::channel::ChannelName;
use crate::protocol::effects::Effect;
use crate::protocol::keys::Keys;
pub use crate::protocol::keys::Seed;
use crate::protocol::room::give_back_slots;
use crate::site::{CONSOLE, SWITCHED_OFF, Site};
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};
use crate::webhooks::{Outcome, Webhooks};

/// Frames of one connection that wait for its identity or for facts; then it is not read any more.
const MOST_WAITING: usize = 32;

/// What a connection is told beyond `connections_per_session`.
const OVER_SESSION: &str = "too many connections of this session";

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
    /// What the site's database cost the loop; `None`: there is none.
    pub sql: Option<Sql>,
}

/// What the database cost the loop since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sql {
    /// Whether questions can be asked.
    pub available: bool,
    /// Statements that were started.
    pub statements: u64,
    /// Ticks whose statements took longer than the budget.
    pub overruns: u64,
    /// The longest time that the statements of one tick took, in microseconds.
    pub worst_us: u64,
    /// The time that all of them took, in microseconds.
    pub total_us: u64,
}

impl Sql {
    /// Takes note of what the statements of a tick took.
    pub fn spend(&mut self, took: Duration, budget: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.overruns += u64::from(took > budget);
        self.worst_us = self.worst_us.max(micros);
        self.total_us = self.total_us.saturating_add(micros);
    }
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
    speaks: Speaks,
    /// What few have, and few have long.
    odd: Option<Box<Odd>>,
}

/// What few connections have.
#[derive(Debug, Default)]
struct Odd {
    /// Why every request gets 429, if it does.
    refused: Option<&'static str>,
    /// What it said while something had to be known first.
    waiting: Option<Waiting>,
    /// It asked for the page, and waits until it is known who it is.
    page: Option<(Caller, Request<Bytes>)>,
    /// It asked for the status of the app with this number, and waits for facts.
    status: Option<usize>,
}

impl Member {
    fn waiting(&mut self) -> Option<&mut Waiting> {
        self.odd.as_mut()?.waiting.as_mut()
    }

    /// Takes away what it has besides, if nothing is left of it.
    fn tidy(&mut self) {
        let is_empty = |odd: &Odd| {
            let waits = odd.waiting.is_some() || odd.page.is_some() || odd.status.is_some();
            odd.refused.is_none() && !waits
        };
        if self.odd.as_deref().is_some_and(is_empty) {
            self.odd = None;
        }
    }
}

/// Messages that wait. The first one is the one that has to.
#[derive(Debug)]
struct Waiting {
    messages: VecDeque<Said>,
    bytes: usize,
    /// Since when the first one waits; `None`: it has not been looked at.
    since: Option<Time>,
    /// When the first one gets an answer whatever is known by then.
    until: Time,
    /// It is not read until some have gone.
    held: bool,
}

/// What a connection said.
#[derive(Debug)]
enum Said {
    Message(Message),
    /// What a message of so many bytes wished for: it has been read, and is tried again.
    Wish(Wish, usize),
}

impl Said {
    fn len(&self) -> usize {
        match self {
            Said::Message(message) => message.len(),
            Said::Wish(_, len) => *len,
        }
    }
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
    /// Socket ids must not be guessed, so they come from a cryptographic generator; the seed behind its key is an input like
    /// any other.
    random: StdRng,
    webhooks: Webhooks,
    site: Option<Box<Site>>,
    /// The number of the app whose connections are the site's visitors.
    site_app: Option<usize>,
    keys: Keys,
    /// Who waits, and until when.
    waiting: BTreeSet<(Time, ConnectionId)>,
    draining: bool,
    quiet: Quiet,
}

/// The app of the embedded defaults: everybody knows its secret, so the page may know it too.
fn development(config: &Config) -> Option<&config::App> {
    config.apps.first().filter(|_| config.embedded_defaults)
}

impl Service {
    /// A service without connections.
    pub fn new(config: Config, seed: Seed) -> Self {
        Self::with(config, Keys::of(&seed))
    }

    /// The same with keys that come from elsewhere.
    pub(super) fn with(config: Config, keys: Keys) -> Self {
        Self {
            webhooks: Webhooks::new(&config.apps),
            apps: Apps::new(&config.apps, keys.start),
            random: StdRng::from_seed(keys.sockets),
            api: Api::default(),
            page: Page::new(development(&config), &config.pusher.path),
            config,
            addresses: Addresses::default(),
            members: Vec::new(),
            counts: Counts::default(),
            site: None,
            site_app: None,
            keys,
            waiting: BTreeSet::new(),
            draining: false,
            quiet: Quiet::new(),
        }
    }

    /// Knows the site from here on, or something new of it.
    pub fn know(&mut self, facts: SiteFacts, now: Now, actions: &mut Actions) {
        let most = self.config.apps.iter().map(|app| app.max_event_size).max().unwrap_or(0);
        match &mut self.site {
            Some(site) => site.reconfigure(facts, &self.config, most, actions.effects()),
            None => {
                self.site = Some(Box::new(Site::new(facts, &self.config, &self.keys, most)));
            }
        }
        // The component may have given the app another id since it was found.
        if self.site_app.is_none() {
            self.find_site_app();
        }
        self.follow(now, actions);
    }

    fn find_site_app(&mut self) {
        self.site_app = self
            .site
            .as_ref()
            .and_then(|_| self.apps.find_id(&self.config.joomla.app));
        if let Some(app) = self.site_app {
            let retention = Duration::from_secs(self.config.database.retention);
            self.apps.app_mut(app).belong_to_site(retention);
        }
    }

    /// The apps with open connections that another configuration does not have, with how many connections they are: all of
    /// these would be closed. An app that stands in it with `enabled = false` is not among them: that is said on purpose.
    pub fn closed_by(&self, config: &Config) -> Vec<(&str, usize)> {
        let mut closed = Vec::new();
        for (n, app) in self.apps.iter().enumerate() {
            // The component may have given it another id; the configuration knows it by its own.
            let id = match self.site_app == Some(n) {
                true => &self.config.joomla.app,
                false => &app.settings.id,
            };
            let is_gone = config.apps.iter().all(|other| other.id != *id);
            if is_gone && app.settings.enabled && app.connections() > 0 {
                closed.push((id.as_str(), app.connections()));
            }
        }
        closed
    }

    /// Obeys another configuration from here on; what was decided stays decided.
    pub fn reconfigure(&mut self, config: Config, actions: &mut Actions) {
        if let Some(app) = self.site_app {
            // The component may have given it another id; the configuration knows it by its own.
            self.apps.app_mut(app).settings.id.clone_from(&self.config.joomla.app);
        }
        self.webhooks.reconfigure(&config.apps);
        self.apps.reconfigure(&config.apps, self.keys.start, actions);
        self.page = Page::new(development(&config), &config.pusher.path);
        self.config = config;
        self.find_site_app();
        self.take_credentials();
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        let site = self.site.as_ref().map_or(Time::NEVER, |site| site.deadline());
        let waiting = self.waiting.first().map_or(Time::NEVER, |(until, _)| *until);
        self.apps
            .deadline()
            .min(self.webhooks.deadline())
            .min(site)
            .min(waiting)
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        for app in self.apps.iter_mut() {
            app.due(now, actions);
        }
        if let Some(site) = &mut self.site {
            site.due(now, actions.effects());
        }
        self.follow(now, actions);
        while let Some((until, id)) = self.waiting.first().copied().filter(|(until, _)| *until <= now.at) {
            self.waiting.remove(&(until, id));
            self.go_on(id, true, now, actions);
        }
        self.run_effects(now, actions);
        self.webhooks.due(now, actions);
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
            Input::Flushed => self.flushed(id, now, actions),
            Input::Closed => self.closed(id, now, actions),
        }
        self.run_effects(now, actions);
    }

    // --- the site ------------------------------------------------------------------------------------------------

    /// The next question for the database, if one is due. Its answer, or why there is none, goes to `answer`.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        let alone = self.site_app.is_none_or(|app| self.apps.app(app).connections() == 0);
        self.site.as_mut()?.question(alone, now)
    }

    /// When there will be a question.
    pub fn question_due(&self) -> Time {
        self.site.as_ref().map_or(Time::NEVER, |site| site.question_due())
    }

    /// Whether rows of the outbox are on their way, or a transaction is open: the next question must be asked at once.
    pub fn goes_on(&self) -> bool {
        let outbox = self.site.as_ref().and_then(|site| site.outbox());
        outbox.is_some_and(|outbox| outbox.is_on_its_way())
    }

    /// What the database says.
    pub fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now, actions: &mut Actions) {
        // What the outbox and the access rules ask for they speak of themselves.
        let is_of_access = matches!(question, Question::Items { .. } | Question::Categories(_));
        let speaks = !is_of_access && !question.is_about_outbox();
        if let Err(Failure::Denied(why) | Failure::Refused(why) | Failure::Malformed(why)) = &answer
            && speaks
            && let Some(more) = self.quiet.allow(Kind::Database, now.at)
        {
            log::warn!(
                "the question for {} has no answer: {why}{}",
                question.name(),
                More(more)
            );
        }
        let Some(site) = &mut self.site else { return };
        site.answer(question, answer, now, actions.effects());
        self.follow(now, actions);
    }

    /// The site, for those who count.
    pub fn site(&self) -> Option<&Site> {
        self.site.as_deref()
    }

    /// The site may know more than before: its table's position, and what follows from it all.
    fn follow(&mut self, now: Now, actions: &mut Actions) {
        // Whoever comes while the effects are carried out comes after the rows among them.
        let position = self
            .site
            .as_ref()
            .and_then(|site| site.outbox().map(Outbox::told_position));
        if let (Some(app), Some(_)) = (self.site_app, &self.site) {
            self.apps.app_mut(app).set_table(position, actions);
        }
        self.run_effects(now, actions);
    }

    /// Carries out what the rooms want of each other. What follows from an effect is carried out before the next effect; what
    /// concerns everybody is carried out once, at the end.
    fn run_effects(&mut self, now: Now, actions: &mut Actions) {
        if actions.effects().is_empty() {
            return;
        }
        let (mut wake_all, mut review_all, mut release) = (false, false, false);
        for effect in std::mem::take(actions.effects()) {
            match effect {
                Effect::WakeAll => wake_all = true,
                Effect::ReviewAll => review_all = true,
                // Those who waited for the same answers go on too.
                Effect::Release => (release, wake_all) = (true, true),
                effect => {
                    self.run_effect(effect, now, actions);
                    self.run_effects(now, actions);
                }
            }
        }
        if review_all {
            self.review(None, now, actions);
        }
        if wake_all {
            for (_, id) in self.waiting.clone() {
                self.go_on(id, false, now, actions);
            }
        }
        if let (true, Some(app), Some(site)) = (release, self.site_app, &mut self.site) {
            self.apps.app_mut(app).release(site, now, actions);
        }
        self.run_effects(now, actions);
    }

    fn run_effect(&mut self, effect: Effect, now: Now, actions: &mut Actions) {
        match effect {
            Effect::Hook(app, event) => self.webhooks.note(&self.apps.app(app).settings.id, event, now),
            Effect::Occupied(channel) => {
                if let Some(site) = &mut self.site {
                    site.occupied(&channel);
                }
            }
            Effect::Vacated(channel) => {
                if let Some(site) = &mut self.site {
                    site.vacated(&channel);
                }
            }
            Effect::Wake(id) => {
                self.review_one(id, now, actions);
                self.go_on(id, false, now, actions);
            }
            Effect::GoOn(id) => self.go_on(id, false, now, actions),
            Effect::Close(id, code, why) => actions.push(Action::Close(id, code, why.into())),
            Effect::Review(channels) => {
                for channel in channels {
                    self.review(Some(&channel), now, actions);
                }
            }
            Effect::TurnAway => {
                let ids: Vec<ConnectionId> = self.members.iter().flatten().map(|member| member.id).collect();
                for id in ids {
                    self.turn_away(id, actions);
                }
            }
            Effect::Row(seen) => self.publish_row(&seen, now, actions),
            Effect::Terminate(user) => {
                if let Some(app) = self.site_app {
                    self.apps.app_mut(app).terminate(&user, actions);
                }
            }
            Effect::TerminateVisitor(app, user) => {
                if let Some(site) = self.site.as_mut().filter(|_| self.site_app == Some(app)) {
                    site.terminate(&user, actions.effects());
                }
            }
            Effect::Nudge(app) => {
                let site = self.site.as_mut().filter(|_| self.site_app == Some(app));
                if let Some(outbox) = site.and_then(|site| site.outbox_mut()) {
                    outbox.nudge(now);
                }
            }
            Effect::Extensions => self.take_credentials(),
            Effect::WakeAll | Effect::ReviewAll | Effect::Release => {}
        }
    }

    fn review(&mut self, channel: Option<&str>, now: Now, actions: &mut Actions) {
        if let (Some(app), Some(site)) = (self.site_app, &mut self.site) {
            let judge = |id, name: ChannelName<'_>| site.review(id, name, now);
            self.apps.app_mut(app).review(channel, judge, now, actions);
        }
    }

    /// Who a connection is may be another than it was: what it hears is judged anew.
    fn review_one(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        if let (Some(app), Some(site)) = (self.site_app, &mut self.site) {
            let judge = |name: ChannelName<'_>| site.review(id, name, now);
            self.apps.app_mut(app).review_one(id, judge, now, actions);
        }
    }

    fn publish_row(&mut self, seen: &Seen, now: Now, actions: &mut Actions) {
        let (Some(app), Some(site)) = (self.site_app, &self.site) else {
            return;
        };
        let app = self.apps.app_mut(app);
        match seen {
            Seen::Event(event) => {
                if let Some(publication) = publication(event) {
                    app.publish_row(&publication, &event.logged, site, now, actions);
                }
            }
            Seen::Past(event, age) => {
                if let Some(publication) = publication(event) {
                    app.keep_row(&publication, Duration::from_millis(*age), now);
                }
            }
            Seen::Gap => app.tell_gap(actions),
            Seen::Control(_) => {}
        }
    }

    /// The component's parameters hold the credentials of the site's app, unless the configuration has some.
    fn take_credentials(&mut self) {
        let (Some(app), Some(site)) = (self.site_app, &self.site) else {
            return;
        };
        let own = self.config.apps.iter().find(|own| own.id == self.config.joomla.app);
        let app = self.apps.app_mut(app);
        if own.is_some_and(|own| !own.secret.is_empty()) {
            app.former = None;
            return;
        }
        let Some(credentials) = &site.parameters().credentials else {
            return;
        };
        app.former.clone_from(&credentials.former);
        let settings = &mut app.settings;
        if (&settings.id, &settings.key, &settings.secret) != (&credentials.id, &credentials.key, &credentials.secret) {
            log::info!("the app {} has its key and secret from the component", credentials.id);
            settings.id.clone_from(&credentials.id);
            settings.key.clone_from(&credentials.key);
            settings.secret.clone_from(&credentials.secret);
        }
    }

    /// Closes a visitor's connection if the site is offline to it; whether it did. The console is no part of the site.
    fn turn_away(&mut self, id: ConnectionId, actions: &mut Actions) -> bool {
        let site_app = self.site_app;
        let is_visitor = |member: &mut Member| matches!(member.speaks, Speaks::Pusher(app) if site_app == Some(app));
        if !self.member(id).is_some_and(is_visitor) {
            return false;
        }
        let away = self.site.as_ref().and_then(|site| site.turned_away(id));
        if let Some((code, why)) = away {
            actions.push(Action::Close(id, code, why.into()));
        }
        away.is_some()
    }

    /// Lets a connection's waiting messages go on, as far as they can.
    fn go_on(&mut self, id: ConnectionId, last_call: bool, now: Now, actions: &mut Actions) {
        if self
            .member(id)
            .is_some_and(|member| member.odd.as_ref().is_some_and(|odd| odd.page.is_some()))
        {
            return self.answer_page(id, actions);
        }
        if self.turn_away(id, actions) {
            return;
        }
        if !last_call && self.site.as_ref().is_some_and(|site| !site.is_known(id)) {
            return;
        }
        let mut last_call = last_call;
        while let Some(waiting) = self.member(id).and_then(Member::waiting)
            && let Some(said) = waiting.messages.pop_front()
        {
            let (waited, len) = (waiting.since.map(|since| now.at.since(since)), said.len());
            let rest = self.process(id, said, waited, last_call, now, actions);
            let Some(waiting) = self.member(id).and_then(Member::waiting) else {
                return;
            };
            if let Some(said) = rest {
                debug_assert!(!last_call, "whoever is called for the last time gets an answer");
                waiting.messages.push_front(said);
                return self.wait_on(id, now);
            }
            last_call = false;
            waiting.bytes -= len;
            waiting.since = None;
        }
        let Some(member) = self.member(id) else { return };
        let waiting = member.odd.as_mut().and_then(|odd| odd.waiting.take());
        member.tidy();
        if let Some(waiting) = waiting {
            if waiting.held {
                actions.push(Action::Release(id));
            }
            self.waiting.remove(&(waiting.until, id));
        }
    }

    /// Another message is the first of those that wait: it has its own time.
    fn wait_on(&mut self, id: ConnectionId, now: Now) {
        let until = now.at + Duration::from_secs(self.config.joomla.identity_timeout);
        let Some(waiting) = self.member(id).and_then(Member::waiting) else {
            return;
        };
        waiting.since.get_or_insert(now.at);
        let before = waiting.until;
        if before <= now.at {
            waiting.until = until;
            self.waiting.insert((until, id));
        }
    }

    /// Keeps a message for later, in its order.
    fn keep(&mut self, id: ConnectionId, said: Said, now: Now, actions: &mut Actions) {
        let patience = Duration::from_secs(self.config.joomla.identity_timeout);
        let most_bytes = self.config.limits.max_message_size;
        let until = now.at + patience;
        let Some(member) = self.member(id) else { return };
        let waiting = &mut member.odd.get_or_insert_default().waiting;
        let begins = waiting.is_none();
        let waiting = waiting.get_or_insert_with(|| Waiting {
            messages: VecDeque::new(),
            bytes: 0,
            since: Some(now.at),
            until,
            held: false,
        });
        waiting.bytes += said.len();
        waiting.messages.push_back(said);
        if !waiting.held && (waiting.messages.len() >= MOST_WAITING || waiting.bytes >= most_bytes) {
            waiting.held = true;
            actions.push(Action::Hold(id));
        }
        if begins {
            self.waiting.insert((until, id));
        }
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
        let mut is_free = false;
        let response = match self.admit(id, caller, request, now) {
            Err(refusal) => Some(refusal),
            Ok(()) if api::is_for(request.uri().path(), &self.config.pusher) => {
                let response = self.api_request(id, caller, request, now, actions);
                // Whoever can sign has limits of its own.
                is_free = response.as_ref().is_none_or(|response| response.status().is_success());
                response
            }
            Ok(()) if self.asks_as_visitor(id, caller, request, now) => None,
            Ok(()) => {
                let (config, page) = (&self.config, &self.page);
                let response = routes::answer(request, caller, false, config, page, self.draining);
                Some(Box::new(response))
            }
        };
        if !is_free {
            self.charge(id, caller, request, now, actions);
        }
        if let Some(response) = response {
            actions.push(Action::Respond(id, response));
        }
    }

    /// Counts a request. A proxy's connections carry everybody's, so there each address has its own count.
    fn charge(&mut self, id: ConnectionId, caller: &Caller, request: &Request<Bytes>, now: Now, actions: &mut Actions) {
        let trusted = &self.config.server.trusted_proxies;
        match caller::forwarded_address(caller, request, trusted) {
            Some(address) => self.addresses.count_request(address, &self.config.limits, now.at),
            None => actions.push(Action::Charge(id)),
        }
    }

    /// A request of the HTTP API. Without an answer it gets one once the facts are there.
    fn api_request(
        &mut self,
        id: ConnectionId,
        caller: &Caller,
        request: &Request<Bytes>,
        now: Now,
        actions: &mut Actions,
    ) -> Option<Box<Response<Bytes>>> {
        let ours = routes::named_right(request, &self.config)
            .and_then(|()| routes::from_own_page(caller, request, &self.config));
        if let Err(refusal) = ours {
            return Some(refusal);
        }
        let pusher = &self.config.pusher;
        let answered = self.api.answer(request, &mut self.apps, pusher, now, actions);
        match answered {
            Answered::Now(response) => Some(Box::new(response)),
            Answered::Status(app) => {
                if let Some(member) = self.member(id) {
                    member.odd.get_or_insert_default().status = Some(app);
                }
                actions.push(Action::Gather(id));
                None
            }
        }
    }

    /// Whether somebody asks for the page with a session of the site: then the answer waits until it is known whose that is.
    fn asks_as_visitor(&mut self, id: ConnectionId, caller: &Caller, request: &Request<Bytes>, now: Now) -> bool {
        if !routes::is_page(request, &self.config) || caller::may_see_state(caller, request, &self.config) {
            return false;
        }
        let Some(site) = &mut self.site else { return false };
        if !site.enter_for_page(id, caller, request, &self.config, now) {
            return false;
        }
        if let Some(member) = self.member(id) {
            member.odd.get_or_insert_default().page = Some((*caller, request.clone()));
        }
        true
    }

    /// It is known who asks for the page.
    fn answer_page(&mut self, id: ConnectionId, actions: &mut Actions) {
        let Some(member) = self.member(id) else { return };
        let page = member.odd.as_mut().and_then(|odd| odd.page.take());
        member.tidy();
        let Some((caller, request)) = page else { return };
        let mut manages = false;
        if let Some(site) = &mut self.site {
            manages = site.may(id, CONSOLE);
            site.leave(id);
        }
        let response = routes::answer(&request, &caller, manages, &self.config, &self.page, self.draining);
        actions.push(Action::Respond(id, Box::new(response)));
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
            Err(refusal) => {
                self.charge(id, caller, request, now, actions);
                return actions.push(Action::Respond(id, refusal));
            }
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
        if let (Speaks::Console(_), Some(site)) = (&speaks, &mut self.site)
            && !site.enter(id, caller, request, &self.config, now)
        {
            return actions.push(Action::Close(id, 1008, OVER_SESSION.into()));
        }
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
            _ if !self.admits_origin(caller, request) => Err((4009, "Origin not allowed")),
            Err(_) => Err((4100, "Over capacity")),
            Ok(()) => gate::enter(key, query, &self.apps, &self.config.pusher),
        };
        let entered = match entered {
            Ok((app, _)) if self.is_switched_off(app) => Err(SWITCHED_OFF),
            other => other,
        };
        let (app, terms) = match entered {
            Ok(entered) => entered,
            Err((code, why)) => return actions.push(Action::Close(id, code, why.into())),
        };
        let is_visitor = self.site_app == Some(app);
        if let Some(site) = self.site.as_mut().filter(|_| is_visitor)
            && !site.enter(id, caller, request, &self.config, now)
        {
            return actions.push(Action::Close(id, 4100, OVER_SESSION.into()));
        }
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
        self.turn_away(id, actions);
    }

    /// Whether an app is that of a site that wants no connections.
    fn is_switched_off(&self, app: usize) -> bool {
        let site = self.site.as_ref().filter(|_| self.site_app == Some(app));
        site.is_some_and(|site| !site.is_enabled())
    }

    /// Whether a page of this origin may have a connection of an app. Under the embedded defaults everybody knows the key.
    fn admits_origin(&self, caller: &Caller, request: &Request<Bytes>) -> bool {
        let origin = match &self.site {
            Some(site) => site.origin(caller, request, &self.config),
            None => caller::origin(caller, request, Own::host(&self.config)),
        };
        match origin {
            Origin::Own => true,
            Origin::None => !self.config.pusher.strict_origin,
            Origin::Foreign => !self.config.pusher.strict_origin && !self.config.embedded_defaults,
        }
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
            Some(member) => member.odd.as_ref().and_then(|odd| odd.refused),
            None => {
                let address = caller::address(caller, request, &self.config.server.trusted_proxies);
                if address.is_none() && !self.config.embedded_defaults {
                    self.addresses.warn_of_silent_proxy();
                }
                self.count(id, address, now)
            }
        };
        match refused {
            Some(why) => Err(routes::too_many(why)),
            None if !self.may_ask(caller, request, now) => Err(routes::too_often()),
            None => Ok(()),
        }
    }

    /// Whether a proxy's connection may bring another request of the address that the proxy names.
    fn may_ask(&mut self, caller: &Caller, request: &Request<Bytes>, now: Now) -> bool {
        let address = caller::forwarded_address(caller, request, &self.config.server.trusted_proxies);
        address.is_none_or(|address| self.addresses.may_ask(address, &self.config.limits, now.at))
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
            speaks: Speaks::Http,
            odd: refused.map(|why| {
                Box::new(Odd {
                    refused: Some(why),
                    ..Odd::default()
                })
            }),
        });
        refused
    }

    fn message(&mut self, id: ConnectionId, message: Message, now: Now, actions: &mut Actions) {
        self.counts.messages_in += 1;
        let waits = self.member(id).and_then(Member::waiting).is_some();
        let is_ping = || matches!(&message, Message::Text(text) if App::is_ping(text));
        let rest = match waits && !is_ping() {
            true => Some(Said::Message(message)),
            false => self.process(id, Said::Message(message), None, false, now, actions),
        };
        if let Some(said) = rest {
            self.keep(id, said, now, actions);
        }
    }

    /// Does what a message asks for, if all is known that this takes; else what is left to be done later.
    fn process(
        &mut self,
        id: ConnectionId,
        said: Said,
        waited: Option<Duration>,
        last_call: bool,
        now: Now,
        actions: &mut Actions,
    ) -> Option<Said> {
        let site_app = self.site_app;
        let member = self
            .members
            .get_mut(id.slot())
            .and_then(Option::as_mut)
            .filter(|m| m.id == id)?;
        let before = actions.list().len();
        let mut rest = None;
        match (&mut member.speaks, said) {
            (Speaks::Echo, Said::Message(message)) => actions.push(Action::Send(id, message)),
            (Speaks::Console(console), Said::Message(message)) => {
                let site = self.site.as_deref_mut();
                let heard = console.message(id, &message, site, last_call, &self.config, now, actions);
                if let Some(Action::Close(..)) = actions.list().last()
                    && let Some(more) = self.quiet.allow(Kind::Token, now.at)
                {
                    log::warn!("{id} gave wrong tokens and is closed{}", More(more));
                }
                match heard {
                    Heard::Done => {}
                    Heard::Later => rest = Some(Said::Message(message)),
                    Heard::Publish(event) => self.publish_by_console(id, &event, now, actions),
                }
            }
            (Speaks::Pusher(app), said) => {
                let site = self.site.as_deref_mut().filter(|_| site_app == Some(*app));
                let mut door = Door {
                    site,
                    waited,
                    last_call,
                    now,
                };
                let (app, door) = (self.apps.app_mut(*app), &mut door);
                match said {
                    Said::Message(Message::Binary(_)) => app.binary(id, actions),
                    Said::Message(Message::Text(text)) => {
                        if let Progress::Later(wish) = app.text(id, &text, door, now, actions) {
                            rest = Some(Said::Wish(wish, text.len()));
                        }
                    }
                    Said::Wish(wish, len) => {
                        if !app.grant(id, &wish, door, now, actions) {
                            rest = Some(Said::Wish(wish, len));
                        }
                    }
                }
            }
            (Speaks::Http | Speaks::Echo | Speaks::Console(_), _) => {
                debug_assert!(false, "a message came before its handshake was accepted");
            }
        }
        self.counts.messages_out += actions.list()[before..]
            .iter()
            .filter(|a| matches!(a, Action::Send(..)))
            .count() as u64;
        rest
    }

    /// An event of somebody on the console who may publish, into the app of the site, or the only one: as by the HTTP API.
    fn publish_by_console(&mut self, id: ConnectionId, event: &Wanted, now: Now, actions: &mut Actions) {
        let app = self.site_app.or_else(|| self.apps.only());
        let outcome = match app {
            Some(app) => {
                let app = self.apps.app_mut(app);
                let (channel, name, data) = (&event.channel, &event.name, &event.data);
                self.api.publish(app, channel, name, data, now, actions)
            }
            None => Err("there are several apps, or none, and no site that says which it is".into()),
        };
        actions.push(Action::Send(id, console::text(console::published(outcome))));
    }

    fn facts(&mut self, id: ConnectionId, facts: &Facts, now: Now, actions: &mut Actions) {
        let member = self.member(id);
        if let Some(app) = member.and_then(|member| member.odd.as_mut()?.status.take()) {
            return self.answer_status(id, app, facts, now, actions);
        }
        let counts = self.counts.clone();
        let site = self.site.as_deref();
        let member = self.members.get_mut(id.slot()).and_then(Option::as_mut);
        if let Some(Member {
            speaks: Speaks::Console(console),
            ..
        }) = member.filter(|member| member.id == id)
            && let Some(text) = console.answer(facts, &counts, site, now)
        {
            self.counts.messages_out += 1;
            actions.push(Action::Send(id, console::text(text)));
        }
    }

    fn answer_status(&mut self, id: ConnectionId, app: usize, facts: &Facts, now: Now, actions: &mut Actions) {
        if let Some(member) = self.member(id) {
            member.tidy();
        }
        let site = self.site.as_deref().filter(|_| self.site_app == Some(app));
        let response = status::answer(facts, self.apps.app(app), site, self.draining, now);
        actions.push(Action::Respond(id, Box::new(response)));
    }

    fn flushed(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        if let Some(Member {
            speaks: Speaks::Pusher(app),
            ..
        }) = self.member(id)
        {
            let app = *app;
            let site = self.site.as_deref_mut().filter(|_| self.site_app == Some(app));
            self.apps.app_mut(app).flushed(id, site, now, actions);
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
            if let Some(site) = &mut self.site {
                site.leave(id);
            }
            if let Some(waiting) = member.odd.as_ref().and_then(|odd| odd.waiting.as_ref()) {
                self.waiting.remove(&(waiting.until, id));
            }
            self.addresses.release(member.counted);
            if !matches!(member.speaks, Speaks::Http) {
                self.counts.websockets -= 1;
            }
            give_back_slots(&mut self.members);
        }
    }

    fn member(&mut self, id: ConnectionId) -> Option<&mut Member> {
        self.members
            .get_mut(id.slot())?
            .as_mut()
            .filter(|member| member.id == id)
    }
}

fn publication(event: &outbox::Event) -> Option<Publication<'_>> {
    Some(Publication {
        channel: ChannelName::parse(&event.channel).ok()?,
        event: &event.event,
        data: &event.data,
        socket_id: event.logged.except,
    })
}
