//! The site: its visitors, their access to channels, and the events from its database. Each of the four parts has
//! questions for the store: visits, rights, access (facts about items) and outbox. This file gives each part its turn,
//! passes the answers on, and collects the effects for the service.

pub mod access;
mod control;
pub mod cookie;
mod describe;
mod options;
pub mod parameters;
pub mod rights;
mod rounds;
pub mod user;
pub mod visits;

use bytes::Bytes;
use http::Request;
use serde_json::Value;

use self::access::{Access, Age, Asker};
use self::control::{KICKED, Parts};
pub use self::cookie::session_id;
use self::options::Options;
use self::parameters::Parameters;
use self::rights::Rights;
pub use self::rights::{CONSOLE, MONITOR, PUBLISH};
use self::visits::{Proved, Visits, Who};
use crate::config::Config;
use crate::id::{self, ConnectionId};
use crate::joomla::identity::Reason;
use crate::joomla::site::SiteConfig;
use crate::outbox::Outbox;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::control::Control;
use crate::protocol::effects::Effect;
use crate::protocol::keys::Keys;
use crate::protocol::rows::{Missed, Wanted};
use crate::protocol::turn::Turn;
use crate::protocol::{Attempt, Ruling, Verdict};
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

/// The close code and reason for all connections of a site that has switched the server off.
pub const SWITCHED_OFF: (u16, &str) = (4003, "the site has switched jsocketd off");

/// The number of parts that take turns; see [`Site::question_of`].
const PARTS: usize = 4;

/// The site.
#[derive(Debug)]
pub struct Site {
    facts: SiteConfig,
    options: Options,
    rights: Rights,
    visits: Visits,
    access: Access,
    /// `None`: the outbox table is not read.
    outbox: Option<Outbox>,
    /// The state at the last wake-up of clients that wait for rows: the outbox's generation, and whether its position
    /// was no longer expected because it was known or would not come.
    woken: (u64, bool),
    /// The part that asks next.
    turn: Turn,
    /// The key of the pseudonyms on presence channels.
    pseudonyms: [u8; 32],
}

impl Site {
    /// A site of which only the configuration has been read. `most_bytes`: the most bytes of an event's data.
    pub fn new(facts: SiteConfig, config: &Config, keys: &Keys, most_bytes: usize) -> Self {
        let outbox = || Outbox::new(&config.database, keys.process, most_bytes);
        Self {
            options: Options::new(&config.joomla),
            rights: Rights::new(facts.root_user.clone(), &config.joomla),
            visits: Visits::new(&config.joomla),
            access: Access::new(config),
            outbox: config.database.outbox.then(outbox),
            woken: (0, false),
            facts,
            turn: Turn::default(),
            pseudonyms: keys.pseudonyms,
        }
    }

    /// Applies new settings, or changes of the site's configuration.
    pub fn reconfigure(&mut self, facts: SiteConfig, config: &Config, most_bytes: usize, effects: &mut Vec<Effect>) {
        self.visits.reconfigure(&config.joomla);
        if self.rights.reconfigure(facts.root_user.clone(), &config.joomla) {
            self.rights_changed(effects);
        }
        let went_offline = facts.offline && !self.facts.offline;
        self.facts = facts;
        self.options.reconfigure(&config.joomla);
        if let Some(outbox) = &mut self.outbox {
            outbox.reconfigure(&config.database, most_bytes);
        }
        self.access.reconfigure(config);
        self.access.open_to_guests(self.options.is_open_to_guests());
        effects.extend([Effect::ReviewAll, Effect::Release]);
        if went_offline {
            effects.push(Effect::TurnAway);
        }
    }

    /// A connection is opened. Returns whether it may stay: at most `most` connections may have the same session.
    /// `request`: the handshake, given only if the page is the site's own. Cookies of other handshakes are not read,
    /// because browsers send them with requests of other sites' pages too.
    #[must_use]
    pub fn enter(&mut self, id: ConnectionId, request: Option<&Request<Bytes>>, most: u32, now: Now) -> bool {
        let session = request.ok_or(Reason::ForeignOrigin);
        let session = session.and_then(|request| cookie::session(request, &self.facts.cookies));
        self.visits.enter(id, session, most, now)
    }

    /// A request for a place that needs a permission arrived, not from a page of another site. Returns whether the
    /// request has a session. A browser that opens an address sends no Origin, and only its user sees the answer.
    pub fn enter_for_request(&mut self, id: ConnectionId, request: &Request<Bytes>, most: u32, now: Now) -> bool {
        let session = cookie::session(request, &self.facts.cookies);
        session.is_ok() && self.visits.enter(id, session, most, now)
    }

    /// The settings of the site's configuration.php.
    pub fn facts(&self) -> &SiteConfig {
        &self.facts
    }

    /// A connection is closed.
    pub fn leave(&mut self, id: ConnectionId) {
        self.visits.leave(id);
    }

    /// Whether the identity of a connection is known. If not, messages that need it wait.
    pub fn is_known(&self, id: ConnectionId) -> bool {
        self.visits.who(id) != Who::Asking
    }

    /// Why a connection must be closed: the site is switched off, or it is offline and the visitor may not enter.
    pub fn turned_away(&self, id: ConnectionId) -> Option<(u16, &'static str)> {
        if !self.is_enabled() {
            return Some(SWITCHED_OFF);
        }
        if !self.facts.offline || !self.is_known(id) {
            return None;
        }
        // A client that must still send a form token may stay, so that it can send the token.
        let visitor = self.visits.unproved(id, &self.rights)?;
        let may = self.rights.authorises(&visitor, "core.login.offline", "root.1");
        (!may).then_some((4100, "the site is offline"))
    }

    /// Handles the form token of a client. See [`Visits::prove`].
    pub fn prove(&mut self, id: ConnectionId, token: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        self.visits.prove(id, token, now, effects)
    }

    /// Handles the form token of a client; a wrong token has no consequences.
    pub fn show(&mut self, id: ConnectionId, token: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        self.visits.show(id, token, now, effects)
    }

    /// Whether a connection may act as its session's user. A browser sends the cookie with any request, also for
    /// another site's page. So the form token of the session is needed too.
    pub fn is_proved(&self, id: ConnectionId) -> bool {
        self.visits.is_proved(id)
    }

    /// A signature proved the user of a connection. An id that no Joomla user can have is ignored.
    pub fn signed_in(&mut self, id: ConnectionId, user_id: &str, now: Now) {
        if let Some(user) = id::key(user_id) {
            self.visits.sign_in(id, user, now);
        }
    }

    /// Closes all connections of a user, whatever proof they used.
    pub fn terminate(&mut self, user_id: &str, effects: &mut Vec<Effect>) {
        if let Some(user) = id::key(user_id) {
            self.visits.terminate(user, KICKED, effects);
        }
    }

    /// Whether the component's permissions allow an action to a connection. See [`Rights::allows`].
    pub fn may(&self, id: ConnectionId, action: &str) -> bool {
        let visitor = self.visits.visitor(id, &self.rights);
        visitor.is_some_and(|visitor| self.rights.allows(&visitor, action))
    }

    /// See [`Rights::rules_console`].
    pub fn rules_console(&self) -> bool {
        self.rights.rules_console()
    }

    /// The identity of a connection, as JSON. `reasons`: includes the reason why it is a guest.
    pub fn describe(&self, id: ConnectionId, reasons: bool) -> Value {
        let reasons = reasons || self.may(id, MONITOR);
        describe::connection(id, reasons, &self.facts, &self.visits, &self.rights)
    }

    /// The numbers of sessions and of users.
    pub fn counts(&self) -> (usize, usize) {
        self.visits.counts()
    }

    /// The version of Joomla, if it is known.
    pub fn joomla_version(&self) -> Option<&str> {
        self.rights.extensions().joomla_version.as_deref()
    }

    /// The options of the component; `None`: they were not read yet.
    pub fn parameters(&self) -> Option<&Parameters> {
        self.rights.knows_extensions().then(|| self.options.parameters())
    }

    /// Whether the site is offline.
    pub fn is_offline(&self) -> bool {
        self.facts.offline
    }

    /// Whether the site has this server switched on: the kill switch of the component.
    pub fn is_enabled(&self) -> bool {
        self.options.is_enabled()
    }

    /// Whether a connection may subscribe.
    pub fn may_subscribe(&mut self, id: ConnectionId, name: ChannelName<'_>, attempt: &Attempt) -> Ruling {
        let mut ruling = self.judge(id, name, Age::Fresh, attempt.now)?;
        if attempt.is_last && matches!(ruling, Verdict::NotYet) {
            ruling = Verdict::No("the site's rules cannot be checked at the moment");
        }
        if let Verdict::No(_) = ruling {
            self.visits.was_refused(id);
        }
        Some(ruling)
    }

    /// Whether a subscribed connection may stay subscribed.
    pub fn review(&mut self, id: ConnectionId, name: ChannelName<'_>, now: Now) -> Ruling {
        self.judge(id, name, Age::Any, now)
    }

    fn judge(&mut self, id: ConnectionId, name: ChannelName<'_>, age: Age, now: Now) -> Ruling {
        let asker = Asker {
            id,
            visitor: self.visits.visitor(id, &self.rights),
            acl: self.rights.known_acl(),
            is_doubted: self.rights.is_doubted() || self.visits.is_doubted(id),
        };
        let user = asker.visitor.and_then(|visitor| self.visits.user(visitor.user));
        Some(match self.access.judge(name, &asker, age, now)? {
            Verdict::Yes(()) if name.kind() == Kind::Presence => user.map_or(Verdict::NotYet, |user| {
                let names = self.options.shows_names();
                Verdict::Yes(Some(access::member(&self.pseudonyms, name.as_str(), user.row(), names)))
            }),
            Verdict::Yes(()) => Verdict::Yes(None),
            Verdict::No(why) => Verdict::No(why),
            Verdict::NotYet => Verdict::NotYet,
        })
    }

    /// The channel has its first subscriber.
    pub fn occupied(&mut self, name: &str) {
        self.access.occupied(name);
    }

    /// The channel lost its last subscriber.
    pub fn vacated(&mut self, name: &str) {
        self.access.vacated(name);
    }

    /// The outbox, if the table is read.
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// See [`Site::outbox`].
    pub fn outbox_mut(&mut self) -> Option<&mut Outbox> {
        self.outbox.as_mut()
    }

    /// Whether the facts that a control row put in doubt are still being read. Then rows behind it are held for the
    /// connections that the row may concern.
    pub fn has_doubts(&self) -> bool {
        self.rights.is_doubted() || self.visits.has_doubts() || self.access.has_doubts()
    }

    /// Whether the identity of a connection is being read again.
    pub fn doubts_visitor(&self, id: ConnectionId) -> bool {
        self.visits.is_doubted(id)
    }

    /// Whether the site's rules, or the facts about a channel's subject, are being read again.
    pub fn doubts_channel(&self, name: &str) -> bool {
        let rules_doubted = self.rights.is_doubted();
        ChannelName::parse(name).is_ok_and(|name| self.access.is_doubted(name, rules_doubted))
    }

    /// The next row of a channel's past, for a connection that is catching up.
    pub fn missed(&mut self, wanted: &Wanted<'_>, now: Now) -> Missed {
        let is_doubted = self.has_doubts()
            && (wanted.by_rule && self.doubts_channel(wanted.channel) || self.doubts_visitor(wanted.id));
        match self.outbox.as_mut() {
            _ if is_doubted => Missed::Doubted,
            Some(outbox) => outbox.missed(wanted.channel, wanted.after, now),
            None => Missed::Gone,
        }
    }

    /// The next question, if one is due. The parts take turns, so that many questions of one part do not starve the
    /// others.
    ///
    /// `alone`: no client is connected, so the outbox is polled seldom.
    pub fn question(&mut self, alone: bool, now: Now) -> Option<Question> {
        if let Some(outbox) = self.outbox.as_mut().filter(|outbox| outbox.is_on_its_way())
            && let Some(question) = outbox.question(alone, now)
        {
            return Some(question);
        }
        // No visitor can be judged without the rights, so they are read first once.
        if !self.rights.is_known()
            && let Some(question) = self.rights.question(now)
        {
            return Some(question);
        }
        let mut parts = self.turn.round(PARTS);
        let (part, question) = parts.find_map(|part| Some((part, self.question_of(part, alone, now)?)))?;
        self.turn.served(part);
        Some(question)
    }

    /// The question of a part, if one is due.
    fn question_of(&mut self, part: usize, alone: bool, now: Now) -> Option<Question> {
        match part {
            0 if !self.rights.is_known() => None,
            0 => self.visits.question(self.facts.metadata, now),
            // All connections wait for the rights, and each further control row would delay the rights.
            1 if self.rights.is_pressing(now) => None,
            1 => self.outbox.as_mut()?.question(alone, now),
            2 => self.access.question(now),
            _ => self.rights.question(now),
        }
    }

    /// When the next question is due.
    pub fn question_due(&self) -> Time {
        let visits = self.rights.is_known().then(|| self.visits.question_due());
        visits
            .unwrap_or(Time::NEVER)
            .min(self.outbox().map_or(Time::NEVER, Outbox::deadline))
            .min(self.access.question_due())
            .min(self.rights.question_due())
    }

    /// Handles an answer of the store.
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
                let knows = (&self.facts, &self.rights, self.rights.is_joomla3());
                self.visits.sessions(ids, &answer, knows, now, effects);
            }
            Question::Users(ids) => {
                self.visits.users(ids, &answer, &self.rights, now, effects);
            }
            Question::Groups | Question::Levels | Question::Assets | Question::Extensions => {
                let changed = self.rights.answer(question, answer.as_ref(), now);
                if changed.rights {
                    self.rights_changed(effects);
                }
                if changed.extensions {
                    self.read_parameters(now, effects);
                    effects.push(Effect::Extensions);
                }
            }
            Question::Items { .. } | Question::Categories(_) => self.access.answer(question, answer, now, effects),
            _ => {
                let Some(outbox) = &mut self.outbox else { return };
                let seen = outbox.answer(question, answer, now);
                let woken = (outbox.generation(), !outbox.is_coming());
                if std::mem::replace(&mut self.woken, woken) != woken {
                    effects.push(Effect::WakeAll);
                }
                effects.extend(seen.into_iter().map(|seen| Effect::Row(Box::new(seen))));
            }
        }
        if may_settle {
            effects.push(Effect::Release);
        }
    }

    fn rights_changed(&mut self, effects: &mut Vec<Effect>) {
        self.visits.rights_changed(&self.rights, effects);
        effects.extend([Effect::WakeAll, Effect::ReviewAll, Effect::TurnAway]);
    }

    /// The component's options may have changed. The new options hold for present connections and for new ones. Members
    /// of presence channels keep their present names.
    fn read_parameters(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (was_enabled, was_open) = (self.options.is_enabled(), self.options.is_open_to_guests());
        self.options.read(self.rights.extensions(), now);
        if self.options.is_enabled() != was_enabled {
            effects.push(Effect::TurnAway);
            self.rights.read_often(!self.options.is_enabled());
        }
        if self.options.is_open_to_guests() != was_open {
            self.access.open_to_guests(self.options.is_open_to_guests());
            effects.extend([Effect::WakeAll, Effect::ReviewAll]);
        }
    }

    /// Carries out a control row, after the rows before it have been delivered. If the row removes a user, the user
    /// does not get the rows after it.
    pub fn carry_out(&mut self, control: &Control, now: Now, effects: &mut Vec<Effect>) {
        self.parts().carry_out(control, now, effects);
    }

    /// Puts everything in doubt: rows were lost, and control rows may have been among them.
    pub fn doubt_all(&mut self, now: Now) {
        self.parts().doubt_all(now);
    }

    /// Finishes the work of control rows. Call it before the next row is delivered, and after the last one.
    pub fn settle(&mut self) {
        self.access.settle();
    }

    fn parts(&mut self) -> Parts<'_> {
        Parts {
            visits: &mut self.visits,
            rights: &mut self.rights,
            access: &mut self.access,
        }
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.visits.deadline().min(self.access.deadline())
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.visits.due(now, effects);
        self.access.due(now, effects);
    }
}
