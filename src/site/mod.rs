//! The site: who its visitors are, what they may hear, and what its database publishes. Each of the four parts has questions
//! for the store: visits, rights, access (facts of items) and outbox. This file gives each its turn, hands the answers on,
//! and collects what follows for the service.

pub mod access;
pub mod parameters;
pub mod rights;
pub mod user;
pub mod visits;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};

use self::access::{Access, Subject, Verdict};
use self::parameters::Parameters;
use self::rights::Rights;
use self::visits::{Proved, Visits, Who};
use crate::api;
use crate::config::{self, Config};
use crate::hub::presence::Member;
use crate::id::{self, ConnectionId};
use crate::joomla::identity::Reason;
use crate::joomla::site::{Client, Site as Facts};
use crate::outbox::{Outbox, Seen};
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::control::Control;
use crate::protocol::effects::Effect;
use crate::protocol::keys::Keys;
use crate::room::give_back;
use crate::service::caller::{self, Caller, Origin, Own};
use crate::store::{Answer, Failure, Question, SessionId};
use crate::time::{Now, Time};

/// The component whose permissions are about this server.
const COMPONENT: &str = "com_websockets";

/// The permission to use the console.
pub const CONSOLE: &str = "websockets.console";

/// … to publish with it, and to see the server's state.
pub const PUBLISH: &str = "websockets.publish";
/// See [`PUBLISH`].
pub const MONITOR: &str = "websockets.monitor";

/// The close of all connections of a site that wants none.
pub const SWITCHED_OFF: (u16, &str) = (4003, "the site has switched jsocketd off");

/// What a user is told who is kicked out, in the words of hosted Pusher.
const KICKED: &str = "You got disconnected by the app.";

/// Whether a connection may subscribe to a channel by the site's rules.
#[derive(Clone, Debug)]
pub enum May {
    /// It may.
    Yes,
    /// It may, as this member of a presence channel.
    As(Member),
    /// It may not, for this reason.
    No(&'static str),
    /// It is not known yet: ask again when it is woken.
    NotYet,
    /// The site has no say: only a signature opens the channel.
    NotOurs,
}

/// By which facts somebody is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Fresh ones: it is to be let in.
    Fresh,
    /// Those that are there: it is in.
    Any,
}

/// Whose turn it is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Visits,
    Outbox,
    Access,
    Rights,
}

const PARTS: [Part; 4] = [Part::Visits, Part::Outbox, Part::Access, Part::Rights];

/// The site.
#[derive(Debug)]
pub struct Site {
    facts: Facts,
    settings: config::Joomla,
    rules: Vec<config::ChannelRule>,
    items: Vec<config::ItemType>,
    parameters: Parameters,
    rights: Rights,
    visits: Visits,
    access: Access,
    /// Who waits to be judged by an item or a category until it is known.
    askers: HashMap<access::Key, BTreeSet<ConnectionId>>,
    outbox: Option<Outbox>,
    /// Of what the outbox's past says: see `Outbox::generation`.
    generation: u64,
    /// Whether its position is known, or will not be.
    outbox_came: bool,
    /// Channels with subscribers, by what they are about; only those whose facts may change.
    channels: HashMap<Subject, Vec<Box<str>>>,
    /// Whose turn it is.
    turn: usize,
    /// Keys the pseudonyms of presence channels.
    pseudonyms: [u8; 32],
    /// Channels whose subscribers could not be judged anew, because the facts had to be looked at again first.
    unsettled: BTreeSet<Box<str>>,
}

impl Site {
    /// A site that nothing is known of but its configuration.
    pub fn new(facts: Facts, config: &Config, keys: &Keys, most_bytes: usize) -> Self {
        let interval = Duration::from_secs(config.joomla.sweep_interval);
        let timeout = Duration::from_secs(config.joomla.identity_timeout);
        Self {
            rights: Rights::new(facts.root_user.clone(), interval),
            visits: Visits::new(interval, timeout, config.joomla.require_form_token),
            access: Access::new(config),
            askers: HashMap::new(),
            outbox: config
                .database
                .outbox
                .then(|| Outbox::new(&config.database, keys.process, most_bytes)),
            generation: 0,
            outbox_came: false,
            facts,
            settings: config.joomla.clone(),
            rules: config.channels.clone(),
            items: config.item_types(),
            parameters: Parameters::default(),
            channels: HashMap::new(),
            turn: 0,
            pseudonyms: keys.pseudonyms,
            unsettled: BTreeSet::new(),
        }
    }

    /// Obeys other settings, or knows something new of the site's configuration.
    pub fn reconfigure(&mut self, facts: Facts, config: &Config, most_bytes: usize, effects: &mut Vec<Effect>) {
        let interval = Duration::from_secs(config.joomla.sweep_interval);
        let timeout = Duration::from_secs(config.joomla.identity_timeout);
        self.rights.reconfigure(facts.root_user.clone(), interval);
        self.visits
            .reconfigure(interval, timeout, config.joomla.require_form_token);
        let went_offline = facts.offline && !self.facts.offline;
        self.facts = facts;
        self.settings = config.joomla.clone();
        self.rules = config.channels.clone();
        self.items = config.item_types();
        if let Some(outbox) = &mut self.outbox {
            outbox.reconfigure(&config.database, most_bytes);
        }
        let items_changed = self.access.reload(config);
        self.access.open_to_guests(self.is_open_to_guests());
        if items_changed {
            self.askers.clear();
            // The item types are others, so everything is watched anew.
            for (name, subject) in std::mem::take(&mut self.channels)
                .into_iter()
                .flat_map(|(subject, names)| names.into_iter().map(move |name| (name, subject.clone())))
                .collect::<Vec<_>>()
            {
                self.access.unwatch(&subject);
                self.occupied(&name);
            }
        }
        effects.extend([Effect::ReviewAll, Effect::Release]);
        if went_offline {
            effects.push(Effect::TurnAway);
        }
    }

    // --- visitors --------------------------------------------------------------------------------------------------

    /// A connection comes with this handshake; whether it may: not with a session that as many show as may.
    #[must_use]
    pub fn enter(
        &mut self,
        id: ConnectionId,
        caller: &Caller,
        request: &Request<Bytes>,
        config: &Config,
        now: Now,
    ) -> bool {
        let most = config.limits.connections_per_session;
        self.visits.enter(id, self.session(caller, request, config), most, now)
    }

    /// Somebody asks for the console's page; whether it shows a session. A browser that goes to an address sends no Origin, and
    /// nobody but its user sees what it gets.
    pub fn enter_for_page(
        &mut self,
        id: ConnectionId,
        caller: &Caller,
        request: &Request<Bytes>,
        config: &Config,
        now: Now,
    ) -> bool {
        if self.origin(caller, request, config) == Origin::Foreign {
            return false;
        }
        let session = self.cookie(request);
        let most = config.limits.connections_per_session;
        session.is_ok() && self.visits.enter(id, session, most, now)
    }

    /// The session that a handshake shows, or why it shows none. The cookie is read only for the site's own pages: browsers
    /// send it for others' too.
    fn session(
        &self,
        caller: &Caller,
        request: &Request<Bytes>,
        config: &Config,
    ) -> Result<(SessionId, Client), Reason> {
        if self.origin(caller, request, config) != Origin::Own {
            return Err(Reason::ForeignOrigin);
        }
        self.cookie(request)
    }

    fn cookie(&self, request: &Request<Bytes>) -> Result<(SessionId, Client), Reason> {
        let wanted = match request
            .uri()
            .query()
            .unwrap_or("")
            .split('&')
            .any(|p| p == "client=administrator")
        {
            true => Client::Administrator,
            false => Client::Site,
        };
        let mut found = None;
        for (client, name) in &self.facts.cookies {
            let Some(value) = cookie(request, name) else { continue };
            let session = session_id(value).ok_or(Reason::BadCookie);
            // A shared session without a name has two cookies, and each application reads its own.
            if *client == wanted {
                return session.map(|session| (session, *client));
            }
            found = found.or(Some((session, *client)));
        }
        let (session, client) = found.ok_or(Reason::NoCookie)?;
        Ok((session?, client))
    }

    /// Where the page of a request comes from.
    pub fn origin(&self, caller: &Caller, request: &Request<Bytes>, config: &Config) -> Origin {
        caller::origin(caller, request, Own::site(config, self.facts.live_site.as_deref()))
    }

    /// A connection is gone.
    pub fn leave(&mut self, id: ConnectionId) {
        self.visits.leave(id);
    }

    /// Whether it is known who a connection is; if not, its frames that need it wait.
    pub fn is_known(&self, id: ConnectionId) -> bool {
        self.visits.who(id) != Who::Asking
    }

    /// Why a connection must not stay: the site wants nobody, or it is offline and it is not among those who may in.
    pub fn turned_away(&self, id: ConnectionId) -> Option<(u16, &'static str)> {
        if !self.is_enabled() {
            return Some(SWITCHED_OFF);
        }
        if !self.facts.offline || !self.is_known(id) {
            return None;
        }
        // Whoever has yet to show a form token must be let in to show it.
        let visitor = self.visits.unproved(id, &self.rights)?;
        let may = self.rights.is_known() && self.authorised(&visitor, "core.login.offline", "root.1");
        (!may).then_some((4100, "the site is offline"))
    }

    /// The client shows its form token.
    pub fn prove(&mut self, id: ConnectionId, token: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        let proved = self.visits.prove(id, token, now, effects);
        proved
    }

    /// The same, but a wrong one has no consequences.
    pub fn show(&mut self, id: ConnectionId, token: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        let proved = self.visits.show(id, token, now, effects);
        proved
    }

    /// Whether a connection may act as its session's user: a cookie alone goes with any request, also with one that a page of
    /// others makes, so it takes the form token of the session.
    pub fn is_proved(&self, id: ConnectionId) -> bool {
        self.visits.is_proved(id)
    }

    /// A connection proved by a signature who it is. An id that is no Joomla user's says nothing of the site.
    pub fn signed_in(&mut self, id: ConnectionId, user_id: &str, now: Now) {
        if let Some(user) = id::key(user_id) {
            self.visits.sign_in(id, user, now);
        }
    }

    /// All connections of a user are to be closed, however they showed whose they are.
    pub fn terminate(&mut self, user_id: &str, effects: &mut Vec<Effect>) {
        if let Some(user) = id::key(user_id) {
            self.visits.terminate(user, KICKED, effects);
        }
    }

    fn authorised(&self, visitor: &access::Visitor<'_>, action: &str, asset: &str) -> bool {
        self.rights
            .acl()
            .authorise(visitor.user, visitor.groups, visitor.root, action, asset)
    }

    /// Whether a connection may do something that the component's permissions are about. Its managers may see what there is
    /// as long as the site does not say who may; nobody publishes who was not allowed just that.
    pub fn may(&self, id: ConnectionId, action: &str) -> bool {
        let Some(visitor) = self.visits.visitor(id, &self.rights) else {
            return false;
        };
        let is_unsaid = || action != PUBLISH && !self.rights.acl().speaks_of(action, COMPONENT);
        self.rights.is_known()
            && (self.authorised(&visitor, action, COMPONENT)
                || is_unsaid() && self.authorised(&visitor, "core.manage", COMPONENT))
    }

    /// Whether the site says who may use the console: as soon as somebody was given `websockets.console`, or denied it.
    pub fn rules_console(&self) -> bool {
        self.rights.acl().speaks_of(CONSOLE, COMPONENT)
    }

    /// Who a connection is, as JSON. `reasons`: with the reason why it is a guest.
    pub fn describe(&self, id: ConnectionId, reasons: bool) -> Value {
        let who = self.visits.who(id);
        let Some(visitor) = self.visits.visitor(id, &self.rights) else {
            return json!({"identity": "unknown"});
        };
        let mut shown = match (who, self.visits.user(visitor.user)) {
            (Who::User(user), Some(found)) => json!({
                "identity": "user",
                "user_id": user,
                "username": found.row().username,
                "client": match self.visits.client(id) {
                    _ if self.facts.shared && self.facts.cookies.len() == 1 => "site and administrator",
                    Some(Client::Administrator) => "administrator",
                    _ => "site",
                },
            }),
            (Who::Provisional, _) => json!({"identity": "guest", "provisional": true}),
            _ => json!({"identity": "guest"}),
        };
        shown["groups"] = json!(visitor.groups);
        shown["levels"] = json!(visitor.levels);
        if reasons || self.may(id, MONITOR) {
            shown["reason"] = match who {
                Who::Guest(reason) => json!(reason.code()),
                Who::Provisional => json!(Reason::StoreUnavailable.code()),
                Who::User(_) | Who::Asking => Value::Null,
            };
        }
        shown
    }

    /// Counts, as JSON.
    pub fn stats(&self, now: Now) -> Value {
        let (sessions, users) = self.visits.counts();
        json!({
            "joomla": self.joomla_version(),
            "sessions": sessions,
            "users": users,
            "outbox": self.outbox.as_ref().map(|outbox| json!(outbox.counters(now))),
        })
    }

    /// The version of Joomla, once it is known.
    pub fn joomla_version(&self) -> Option<&str> {
        self.rights.extensions().joomla_version.as_deref()
    }

    /// What the component's options say.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Whether guests may hear channels without a prefix.
    fn is_open_to_guests(&self) -> bool {
        self.settings.guests.or(self.parameters.guests).unwrap_or(true)
    }

    /// Whether members of presence channels have their ids and names.
    fn shows_names(&self) -> bool {
        let said = self.settings.presence_names.or(self.parameters.presence_names);
        said.unwrap_or(false)
    }

    /// Whether the site is offline.
    pub fn is_offline(&self) -> bool {
        self.facts.offline
    }

    /// Whether the site wants this server at all: the kill switch of the component.
    pub fn is_enabled(&self) -> bool {
        self.parameters.enabled.unwrap_or(true)
    }

    // --- access ----------------------------------------------------------------------------------------------------

    /// Whether a connection may subscribe. `last_call`: it has waited long enough, so what is not known is a no.
    pub fn may_subscribe(&mut self, id: ConnectionId, name: ChannelName<'_>, last_call: bool, now: Now) -> May {
        let may = self.judge(id, name, Age::Fresh, now);
        match may {
            May::NotYet if last_call => {
                self.visits.was_refused(id);
                May::No("the site's rules cannot be checked at the moment")
            }
            May::No(_) => {
                self.visits.was_refused(id);
                may
            }
            _ => may,
        }
    }

    /// Whether a connection that hears a channel may go on.
    pub fn review(&mut self, id: ConnectionId, name: ChannelName<'_>, now: Now) -> May {
        let may = self.judge(id, name, Age::Any, now);
        if matches!(may, May::NotYet) {
            self.unsettled.insert(name.as_str().into());
        }
        may
    }

    fn judge(&mut self, id: ConnectionId, name: ChannelName<'_>, age: Age, now: Now) -> May {
        let subject = access::subject(name, &self.items, &self.rules);
        // A newcomer is judged by what is known after a control row, never by what was known before it.
        let doubted = age == Age::Fresh && (self.rights.is_doubted() || self.visits.is_doubted(id));
        match subject {
            Subject::Signed => return May::NotOurs,
            _ if doubted => return May::NotYet,
            Subject::Open if self.is_open_to_guests() => return May::Yes,
            _ => {}
        }
        let Some(visitor) = self.visits.visitor(id, &self.rights) else {
            return May::NotYet;
        };
        if !self.rights.is_known() {
            return May::NotYet;
        }
        if name.kind() == Kind::Presence && visitor.user == 0 {
            return May::No("guests have no place in presence channels");
        }
        let user = visitor.user;
        let acl = self.rights.acl();
        let verdict = match age {
            Age::Fresh => self.access.decide(&subject, &visitor, acl, now),
            Age::Any => self.access.review(&subject, &visitor, acl, now),
        };
        if let (Verdict::NotYet, Age::Fresh, Some(key)) = (verdict, age, self.access.key(&subject)) {
            self.askers.entry(key).or_default().insert(id);
        }
        match verdict {
            Verdict::No(why) => May::No(why),
            Verdict::NotYet => May::NotYet,
            Verdict::Yes if name.kind() == Kind::Presence => self.member(name, user),
            Verdict::Yes => May::Yes,
        }
    }

    fn member(&self, name: ChannelName<'_>, user: u32) -> May {
        let Some(found) = self.visits.user(user) else {
            return May::NotYet;
        };
        if self.shows_names() {
            let row = found.row();
            let info = json!({"name": row.name, "username": row.username});
            return May::As(Member {
                user_id: user.to_string().into(),
                user_info: serde_json::value::to_raw_value(&info).ok(),
            });
        }
        May::As(Member {
            user_id: access::pseudonym(&self.pseudonyms, name.as_str(), user).into(),
            user_info: None,
        })
    }

    /// The first subscriber of a channel came.
    pub fn occupied(&mut self, name: &str) {
        let Some(subject) = self.subject_of(name) else { return };
        self.access.watch(&subject);
        self.channels.entry(subject).or_default().push(name.into());
    }

    /// The last one left.
    pub fn vacated(&mut self, name: &str) {
        let Some(subject) = self.subject_of(name) else { return };
        self.access.unwatch(&subject);
        if let Some(names) = self.channels.get_mut(&subject) {
            names.retain(|known| **known != *name);
            if names.is_empty() {
                self.channels.remove(&subject);
                give_back(&mut self.channels);
            }
        }
    }

    /// What a channel is about, if that can change by itself.
    fn subject_of(&self, name: &str) -> Option<Subject> {
        let name = ChannelName::parse(name).ok()?;
        let subject = access::subject(name, &self.items, &self.rules);
        matches!(subject, Subject::Item { .. } | Subject::Category { .. }).then_some(subject)
    }

    // --- the outbox table ------------------------------------------------------------------------------------------

    /// What was published through the table, if it is read.
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// See `outbox`.
    pub fn outbox_mut(&mut self) -> Option<&mut Outbox> {
        self.outbox.as_mut()
    }

    /// Whether the outbox table's position will be known in a moment.
    pub fn outbox_is_coming(&self) -> bool {
        self.outbox.as_ref().is_some_and(Outbox::is_coming)
    }

    /// Whether a control row has no answer yet: then rows behind it wait for those of whom it may be.
    pub fn has_doubts(&self) -> bool {
        self.rights.is_doubted() || self.visits.has_doubts() || self.access.has_doubts()
    }

    /// Whether it is being asked again who a connection is.
    pub fn doubts_visitor(&self, id: ConnectionId) -> bool {
        self.visits.is_doubted(id)
    }

    /// Whether it is being asked again who may hear a channel by the site's rules.
    pub fn doubts_channel(&self, name: &str) -> bool {
        let Ok(name) = ChannelName::parse(name) else {
            return false;
        };
        match access::subject(name, &self.items, &self.rules) {
            Subject::Signed => false,
            subject => self.rights.is_doubted() || self.access.is_doubted(&subject),
        }
    }

    /// Rows were lost, and control rows may have been among them.
    fn doubt_all(&mut self, now: Now) {
        self.rights.suspect(now);
        self.access.recheck_all();
        self.visits.suspect_all(now);
    }

    fn obey(&mut self, control: &Control, now: Now, effects: &mut Vec<Effect>) {
        match control {
            Control::RecheckUser(user) => self.visits.suspect(*user, now),
            Control::TerminateUser(user) => {
                self.visits.terminate(*user, KICKED, effects);
                effects.push(Effect::Terminate(user.to_string()));
                // What the row says is true by now, or will be in a moment: who comes back is looked up again.
                self.visits.suspect(*user, now);
            }
            Control::RecheckItem { kind, id } => self.access.recheck(kind, *id),
            Control::RecheckAccess => {
                self.rights.suspect(now);
                self.access.recheck_all();
            }
        }
    }

    // --- questions to the store ------------------------------------------------------------------------------------

    /// The next question, if one is due. The parts take turns, so that a storm of one kind starves no other.
    ///
    /// `alone`: nobody is connected who could hear of it.
    pub fn question(&mut self, alone: bool, now: Now) -> Option<Question> {
        // Rows are on their way: a transaction may be open, and everybody's statements wait for its end.
        if let Some(outbox) = self.outbox.as_mut().filter(|outbox| outbox.is_on_its_way())
            && let Some(question) = outbox.question(alone, now)
        {
            return Some(question);
        }
        // Without the rights nobody can be judged, so they come first once.
        if !self.rights.is_known()
            && let Some(question) = self.rights.question(now)
        {
            return Some(question);
        }
        for _ in 0..PARTS.len() {
            let part = PARTS[self.turn];
            self.turn = (self.turn + 1) % PARTS.len();
            let question = match part {
                Part::Visits if !self.rights.is_known() => None,
                Part::Visits => self.visits.question(self.facts.metadata, now),
                // Everybody waits for the answer, and each further row of this kind would put it off.
                Part::Outbox if self.rights.is_pressing(now) => None,
                Part::Outbox => self.outbox.as_mut().and_then(|outbox| outbox.question(alone, now)),
                Part::Access => self.access.question(now),
                Part::Rights => self.rights.question(now),
            };
            if question.is_some() {
                return question;
            }
        }
        None
    }

    /// When there will be a question.
    pub fn question_due(&self) -> Time {
        let visits = match self.rights.is_known() {
            true => self.visits.question_due(),
            false => Time::NEVER,
        };
        let outbox = self.outbox.as_ref().map_or(Time::NEVER, Outbox::deadline);
        visits
            .min(outbox)
            .min(self.access.deadline())
            .min(self.rights.question_due())
    }

    /// What the store says.
    pub fn answer(
        &mut self,
        question: &Question,
        answer: Result<Answer, Failure>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let may_settle = !question.is_about_outbox() && self.has_doubts();
        match question {
            Question::Sessions { ids, .. } => {
                let rows = rows(&answer, |answer| match answer {
                    Answer::Sessions(rows) => Some(rows.as_slice()),
                    _ => None,
                });
                let knows = (&self.facts, &self.rights, self.rights.is_joomla3());
                self.visits.sessions(ids, rows, knows, now, effects);
            }
            Question::Users(ids) => {
                let rows = rows(&answer, |answer| match answer {
                    Answer::Users(rows) => Some(rows.as_slice()),
                    _ => None,
                });
                self.visits.users(ids, rows, &self.rights, now, effects);
            }
            Question::Groups | Question::Levels | Question::Assets | Question::Extensions => {
                self.rights.answer(question, answer.as_ref(), now);
                self.rights_answered(now, effects);
            }
            Question::Items { .. } | Question::Categories(_) => {
                self.access.answer(question, answer, now);
                let asked = self.access.keys(question);
                let askers = asked.filter_map(|key| self.askers.remove(&key)).flatten();
                effects.extend(askers.map(Effect::GoOn));
                give_back(&mut self.askers);
                self.access_changed(now, effects);
            }
            _ => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.answer(question, answer, now);
                }
                self.seen(now, effects);
            }
        }
        if may_settle {
            effects.push(Effect::Release);
        }
    }

    fn rights_answered(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.rights.take_changed() {
            self.visits.rights_changed(&self.rights, effects);
            effects.push(Effect::WakeAll);
            effects.push(Effect::ReviewAll);
            effects.push(Effect::TurnAway);
        }
        if self.rights.take_extensions_changed() {
            self.read_parameters(now, effects);
            effects.push(Effect::Extensions);
        }
    }

    /// The component's options may be others: whoever is there is judged by them like whoever comes. Members of presence
    /// channels keep the names under which the others know them.
    fn read_parameters(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let said = self.rights.extensions().com_websockets.as_deref();
        let new = Parameters::read(said, &self.parameters, now);
        if let Some(weakness) = new.weakness.filter(|_| new.weakness != self.parameters.weakness) {
            log::warn!("{weakness}");
        }
        let (was_enabled, was_open) = (self.is_enabled(), self.is_open_to_guests());
        self.parameters = new;
        if self.is_enabled() != was_enabled {
            match was_enabled {
                true => log::warn!("the site has switched jsocketd off: its app's connections are closed"),
                false => log::info!("the site has switched jsocketd on again"),
            }
            effects.push(Effect::TurnAway);
            self.rights.read_often(was_enabled);
        }
        if self.is_open_to_guests() != was_open {
            self.access.open_to_guests(!was_open);
            effects.push(Effect::WakeAll);
            effects.push(Effect::ReviewAll);
        }
    }

    fn access_changed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let changed = self.access.take_changed(now);
        let mut names = std::mem::take(&mut self.unsettled);
        let changed = changed.iter().filter_map(|subject| self.channels.get(subject));
        names.extend(changed.flatten().cloned());
        let names: Vec<Box<str>> = names.into_iter().collect();
        if !names.is_empty() {
            effects.push(Effect::Review(names));
        }
    }

    fn seen(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(outbox) = &mut self.outbox else { return };
        let is_coming = outbox.is_coming();
        if outbox.generation() != self.generation || self.outbox_came == is_coming {
            self.outbox_came = !is_coming;
            // Somebody may have waited for the table's past.
            self.generation = outbox.generation();
            effects.push(Effect::WakeAll);
        }
        for seen in outbox.take_seen() {
            match seen {
                Seen::Control(control) => {
                    // Who is put out by a row does not hear the rows after it.
                    self.obey(&control, now, effects);
                }
                Seen::Gap => {
                    effects.push(Effect::Row(Box::new(seen)));
                    self.doubt_all(now);
                }
                Seen::Event(_) | Seen::Past(..) => effects.push(Effect::Row(Box::new(seen))),
            }
        }
        self.access.settle();
    }

    // --- time ------------------------------------------------------------------------------------------------------

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.visits.deadline().min(self.access.next_date())
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.visits.due(now, effects);
        if self.access.next_date() <= now.at {
            self.access_changed(now, effects);
        }
    }
}

/// The rows of an answer, if it is one to that question.
fn rows<'a, T>(
    answer: &'a Result<Answer, Failure>,
    pick: impl Fn(&'a Answer) -> Option<&'a [T]>,
) -> Result<&'a [T], &'a Failure> {
    match answer {
        Ok(answer) => {
            let rows = pick(answer);
            debug_assert!(rows.is_some(), "the store answered another question");
            Ok(rows.unwrap_or_default())
        }
        Err(failure) => Err(failure),
    }
}

/// The value of a cookie. Browsers send the more specific of several with the same name first; PHP takes that one. Joomla's
/// names are 32 hexadecimal digits, so what PHP makes of dots, spaces and escapes in names does not matter.
fn cookie<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    // Other cookies may hold any bytes; they must not hide ours.
    let lines = request.headers().get_all(header::COOKIE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        // PHP leaves out spaces in front of a name, and keeps those behind a value.
        .filter_map(|pair| str::from_utf8(pair).ok()?.trim_ascii_start().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The session id in a cookie's value. PHP writes the comma of an id as `%2C` and decodes what it reads; an escape that is none
/// stays as it is in PHP, and a session id has no percent sign.
pub fn session_id(value: &str) -> Option<SessionId> {
    SessionId::parse(&api::parameters::decode(value)?)
}
