//! The access decisions: whether a visitor may subscribe to a channel or stay subscribed, and which subscribers must be
//! checked again. `subject` parses a channel's name, `facts` stores the facts about items and categories from the
//! site's database, `visible` decides what a visitor may see of them, and `pseudonym` gives the members of presence
//! channels their ids. Other files determine a visitor's identity and carry out the verdicts.
//!
//! The rules are never more generous than Joomla's. While a fact is unknown there is no verdict; a fact that cannot be
//! known means no. In Joomla a visitor who may edit an item sees it before it is published; here the visitor does not.

mod facts;
mod pseudonym;
mod subject;
mod visible;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::facts::Age;
use self::facts::{FRESH, Facts, Key, Known};
pub use self::pseudonym::member;
use self::subject::{Allowed, Subject, subject};
pub use self::visible::Visitor;
use crate::config::{ChannelRule, Config};
use crate::id::ConnectionId;
use crate::joomla::acl::Acl;
use crate::protocol::Verdict;
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::effects::Effect;
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

/// The connection that wants access, as far as it is known.
#[derive(Debug)]
pub struct Asker<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// `None`: its user is not known yet.
    pub visitor: Option<Visitor<'a>>,
    /// `None`: the site's rules were not read yet.
    pub acl: Option<&'a Acl>,
    /// Whether the user or the site's rules are being read again.
    pub is_doubted: bool,
}

const GUEST: Verdict = Verdict::No("guests may not hear this channel");
const NO_MEMBER: Verdict = Verdict::No("guests have no place in presence channels");
const SIGNATURE: Verdict = Verdict::No("the channel needs an `auth` signature");
const HIDDEN: Verdict = Verdict::No("you may not see what this channel is about");
const UNKNOWABLE: Verdict = Verdict::No("what this channel is about cannot be checked");
const FULL: Verdict = Verdict::No("too many items are being watched");

/// The site's rules, and the facts about its items.
#[derive(Debug)]
pub struct Access {
    /// Whether guests may subscribe to channels without a prefix.
    guests: bool,
    rules: Vec<ChannelRule>,
    facts: Facts,
    /// Connections that wait for a fact before they can subscribe.
    askers: BTreeMap<Key, BTreeSet<ConnectionId>>,
    /// Channels whose subscribers could not be checked, because a fact must be read again first.
    unsettled: BTreeSet<Box<str>>,
}

impl Access {
    /// The highest age of a fact that may admit a visitor, in seconds.
    pub const FRESH: u64 = FRESH.as_secs();

    /// A state without facts.
    pub fn new(config: &Config) -> Self {
        Self {
            guests: config.joomla.guests.unwrap_or(true),
            rules: config.channels.clone(),
            facts: Facts::new(config.item_types(), config.joomla.sweep_interval),
            askers: BTreeMap::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// Applies a changed configuration. If the item types changed, all channels about items are watched anew.
    pub fn reconfigure(&mut self, config: &Config) {
        self.rules.clone_from(&config.channels);
        if let Some(watched) = self.facts.reload(config.item_types(), config.joomla.sweep_interval) {
            self.askers.clear();
            watched.iter().for_each(|name| self.occupied(name));
        }
    }

    /// Opens channels without a prefix to guests, or closes them.
    pub fn open_to_guests(&mut self, open: bool) {
        self.guests = open;
    }

    // --- verdicts ------------------------------------------------------------------------------------------------

    /// Whether a visitor may subscribe to a channel ([`Age::Fresh`]) or stay subscribed ([`Age::Any`]). `None`: the
    /// site has no rule for the channel, and only a signature opens it.
    ///
    /// For a new subscriber the facts are at most [`FRESH`](Self::FRESH) old and were read after the last control row.
    /// For a subscriber the present facts count. The sweep limits their age, except while the database is unavailable;
    /// no subscriber is removed for that reason. With [`Verdict::NotYet`] a new subscriber goes on when the fact
    /// arrives, and the channel's subscribers are checked again with the next answer.
    pub fn judge(&mut self, name: ChannelName<'_>, asker: &Asker<'_>, age: Age, now: Now) -> Option<Verdict> {
        let subject = self.subject(name);
        if subject == Subject::Signed {
            return None;
        }
        let verdict = self.judge_asker(&subject, name.kind(), asker, age, now);
        if (verdict, age) == (Verdict::NotYet, Age::Any) {
            self.unsettled.insert(name.as_str().into());
        }
        Some(verdict)
    }

    fn subject(&self, name: ChannelName<'_>) -> Subject {
        subject(name, self.facts.types(), &self.rules)
    }

    fn judge_asker(&mut self, subject: &Subject, kind: Kind, asker: &Asker<'_>, age: Age, now: Now) -> Verdict {
        match (subject, &asker.visitor, asker.acl) {
            _ if asker.is_doubted && age == Age::Fresh => Verdict::NotYet,
            (Subject::Open, ..) if self.guests => Verdict::Yes(()),
            (_, None, _) | (_, _, None) => Verdict::NotYet,
            (_, Some(visitor), _) if kind == Kind::Presence && visitor.user == 0 => NO_MEMBER,
            (_, Some(visitor), Some(acl)) => {
                let verdict = self.judge_visitor(subject, visitor, acl, age, now);
                if let (Verdict::NotYet, Age::Fresh, Some(key)) = (verdict, age, self.facts.key(subject)) {
                    self.askers.entry(key).or_default().insert(asker.id);
                }
                verdict
            }
        }
    }

    fn judge_visitor(&mut self, subject: &Subject, visitor: &Visitor<'_>, acl: &Acl, age: Age, now: Now) -> Verdict {
        let allowed = match subject {
            Subject::Open if self.guests || visitor.user != 0 => return Verdict::Yes(()),
            Subject::Open => return GUEST,
            Subject::Signed => return SIGNATURE,
            Subject::User(user) => visitor.user != 0 && visitor.user == *user,
            Subject::Group(group) => visitor.groups.contains(group),
            Subject::Level(level) => visitor.levels.contains(level),
            // Joomla requires a log-in before it checks this permission.
            Subject::Manage(_) if visitor.user == 0 => false,
            Subject::Manage(component) => {
                acl.authorise(visitor.user, visitor.groups, visitor.root, "core.manage", component)
            }
            Subject::Ruled(allowed) => is_among(allowed, visitor),
            Subject::Item { .. } | Subject::Category { .. } => return self.judge_fact(subject, visitor, age, now),
        };
        if allowed { Verdict::Yes(()) } else { HIDDEN }
    }

    fn judge_fact(&mut self, subject: &Subject, visitor: &Visitor<'_>, age: Age, now: Now) -> Verdict {
        let Some(key) = self.facts.key(subject) else {
            // The configuration does not have this item type any more.
            return SIGNATURE;
        };
        match self.facts.know(key, age, now) {
            Known::Asked => Verdict::NotYet,
            Known::Full => FULL,
            Known::Fact(fact) if fact.is_unknowable() => UNKNOWABLE,
            Known::Fact(fact) if visible::is_visible(fact, subject, visitor, now.unix()) => Verdict::Yes(()),
            Known::Fact(_) => HIDDEN,
        }
    }

    // --- channels ------------------------------------------------------------------------------------------------

    /// The channel has its first subscriber. From here on the subject of the channel is read again within each sweep
    /// interval. If the subject changed, the subscribers are checked again.
    pub fn occupied(&mut self, name: &str) {
        if let Some(key) = self.watchable(name) {
            self.facts.watch(key, name);
        }
    }

    /// The channel lost its last subscriber.
    pub fn vacated(&mut self, name: &str) {
        if let Some(key) = self.watchable(name) {
            self.facts.unwatch(key, name);
        }
    }

    /// The key of a channel's subject, if the subject has facts, which can change.
    fn watchable(&self, name: &str) -> Option<Key> {
        self.facts.key(&self.subject(ChannelName::parse(name).ok()?))
    }

    // --- questions to the store ----------------------------------------------------------------------------------

    /// The next question. It counts as asked, and is asked again only if it fails or gets no answer.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        self.facts.question(now)
    }

    /// When the next question is due; in the past: now.
    pub fn question_due(&self) -> Time {
        self.facts.deadline()
    }

    /// Handles an answer. An answer for another part changes nothing.
    pub fn answer(
        &mut self,
        question: &Question,
        answer: Result<Answer, Failure>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.facts.answer(question, answer, now);
        let askers = facts::keys(question)
            .filter_map(|key| self.askers.remove(&key))
            .flatten();
        effects.extend(askers.map(Effect::GoOn));
        self.review(now, effects);
    }

    /// When [`Access::due`] must be called next, because of an item's date.
    pub fn deadline(&self) -> Time {
        self.facts.next_date()
    }

    /// Requests a check of subscribers if a date of an item has come.
    pub fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deadline() <= now.at {
            self.review(now, effects);
        }
    }

    /// Requests a check of the subscribers whose subjects changed, and of those that could not be checked the last
    /// time.
    fn review(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut names = std::mem::take(&mut self.unsettled);
        names.extend(self.facts.take_changed(now));
        if !names.is_empty() {
            effects.push(Effect::Review(names.into_iter().collect()));
        }
    }

    // --- control rows --------------------------------------------------------------------------------------------

    /// An item (`com_content.article`) or a category (`com_content.category`) was changed. Its facts do not count any
    /// more; with a category this includes everything below it. Watched facts are asked for at once.
    pub fn recheck(&mut self, kind: &str, id: u64) {
        self.facts.recheck(kind, id);
    }

    /// Any fact may have changed.
    pub fn recheck_all(&mut self) {
        self.facts.recheck_all();
    }

    /// Carries out the waiting rechecks of categories.
    pub fn settle(&mut self) {
        self.facts.settle();
    }

    /// Whether a watched fact is being read again.
    pub fn has_doubts(&self) -> bool {
        self.facts.has_doubts()
    }

    /// Whether the facts about a channel's subject are being read again. `rules_doubted`: the site's rules are being
    /// read again; this puts every channel in doubt that is governed by the site's rules.
    pub fn is_doubted(&self, name: ChannelName<'_>, rules_doubted: bool) -> bool {
        match self.subject(name) {
            Subject::Signed => false,
            _ if rules_doubted => true,
            subject => self.facts.key(&subject).is_some_and(|key| self.facts.is_doubted(key)),
        }
    }
}

fn is_among(allowed: &Allowed, visitor: &Visitor<'_>) -> bool {
    let shared = |theirs: &[u32], ours: &[u32]| theirs.iter().any(|id| ours.contains(id));
    shared(&allowed.groups, visitor.groups)
        || shared(&allowed.levels, visitor.levels)
        || (visitor.user != 0 && allowed.users.contains(&visitor.user))
}
