//! The judge of who may hear what: whether a visitor may subscribe to a channel or stay subscribed, and which
//! subscribers have to be judged anew. `subject` reads a channel's name, `facts` keeps what the site's database said of
//! items and categories, `visible` says what that means, `pseudonym` names the members of presence channels. Who a
//! visitor is, and what follows from a verdict, is decided elsewhere.
//!
//! Never more generous than Joomla: what is not known is not answered, and what cannot be known is refused. A visitor
//! who may edit an item sees it in Joomla before it is published; here nobody does.

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

/// A connection that asks, as far as it is known.
#[derive(Debug)]
pub struct Asker<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// `None`: its identity is not known yet.
    pub visitor: Option<Visitor<'a>>,
    /// `None`: the site's rules were not read yet.
    pub acl: Option<&'a Acl>,
    /// Whether its identity or the site's rules are being read again.
    pub is_doubted: bool,
}

const GUEST: Verdict = Verdict::No("guests may not hear this channel");
const NO_MEMBER: Verdict = Verdict::No("guests have no place in presence channels");
const SIGNATURE: Verdict = Verdict::No("the channel needs an `auth` signature");
const HIDDEN: Verdict = Verdict::No("you may not see what this channel is about");
const UNKNOWABLE: Verdict = Verdict::No("what this channel is about cannot be checked");
const FULL: Verdict = Verdict::No("too many items are being watched");

/// The site's rules, what is known of its items, and the channels that are about items.
#[derive(Debug)]
pub struct Access {
    /// Whether channels without a prefix are open to guests.
    guests: bool,
    rules: Vec<ChannelRule>,
    facts: Facts,
    /// Channels with subscribers by what they are about; only those whose facts may change.
    channels: BTreeMap<Subject, Vec<Box<str>>>,
    /// Connections that wait for a fact to be let in.
    askers: BTreeMap<Key, BTreeSet<ConnectionId>>,
    /// Channels whose subscribers could not be judged anew, because something has to be read again first.
    unsettled: BTreeSet<Box<str>>,
}

impl Access {
    /// How old a fact may be that lets somebody in, in seconds.
    pub const FRESH: u64 = FRESH.as_secs();

    /// Nothing is known yet.
    pub fn new(config: &Config) -> Self {
        Self {
            guests: config.joomla.guests.unwrap_or(true),
            rules: config.channels.clone(),
            facts: Facts::new(config.item_types(), config.joomla.sweep_interval),
            channels: BTreeMap::new(),
            askers: BTreeMap::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// Takes over a changed configuration. Where the item types are others, everything is watched anew.
    pub fn reconfigure(&mut self, config: &Config) {
        self.rules.clone_from(&config.channels);
        if self.facts.reload(config.item_types(), config.joomla.sweep_interval) {
            self.askers.clear();
            let channels = std::mem::take(&mut self.channels);
            channels.values().flatten().for_each(|name| self.occupied(name));
        }
    }

    /// Opens channels without a prefix to guests, or closes them.
    pub fn open_to_guests(&mut self, open: bool) {
        self.guests = open;
    }

    // --- verdicts ------------------------------------------------------------------------------------------------

    /// Whether a visitor may subscribe to a channel ([`Age::Fresh`]), or stay subscribed ([`Age::Any`]). `None`: the
    /// site has no say, and only a signature opens the channel.
    ///
    /// A newcomer is judged by facts that are at most [`FRESH`](Self::FRESH) old, and by what was read after the last
    /// control row. A subscriber is judged by the facts that are there. They are never older than the sweep makes them,
    /// except while the database is away, and nobody is thrown out for that. Where the verdict is [`Verdict::NotYet`]
    /// the newcomer goes on when the fact comes, and the channel's subscribers are judged again with the next answer.
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
            // Joomla asks for a log-in before it asks this.
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
            // A type that the configuration no longer has.
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

    /// The first subscriber of a channel came. What the channel is about is read again within each sweep interval, and
    /// its subscribers are judged anew when that changed.
    pub fn occupied(&mut self, name: &str) {
        let Some(subject) = self.watchable(name) else { return };
        self.watch(&subject);
        self.channels.entry(subject).or_default().push(name.into());
    }

    /// The last subscriber left.
    pub fn vacated(&mut self, name: &str) {
        let Some(subject) = self.watchable(name) else { return };
        self.unwatch(&subject);
        if let Some(names) = self.channels.get_mut(&subject) {
            names.retain(|known| **known != *name);
            if names.is_empty() {
                self.channels.remove(&subject);
            }
        }
    }

    /// What a channel is about, if that can change by itself.
    fn watchable(&self, name: &str) -> Option<Subject> {
        let subject = self.subject(ChannelName::parse(name).ok()?);
        matches!(subject, Subject::Item { .. } | Subject::Category { .. }).then_some(subject)
    }

    fn watch(&mut self, subject: &Subject) {
        if let Some(key) = self.facts.key(subject) {
            self.facts.watch(key, subject);
        }
    }

    fn unwatch(&mut self, subject: &Subject) {
        if let Some(key) = self.facts.key(subject) {
            self.facts.unwatch(key, subject);
        }
    }

    // --- questions to the store ----------------------------------------------------------------------------------

    /// What has to be known next. It counts as asked: it is asked again only if it fails, or if no answer comes.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        self.facts.question(now)
    }

    /// When there is a question; in the past: now.
    pub fn question_due(&self) -> Time {
        self.facts.deadline()
    }

    /// What came of a question. An answer to another part's question changes nothing.
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

    /// When [`Access::due`] must be called next, because a date of an item comes.
    pub fn deadline(&self) -> Time {
        self.facts.next_date()
    }

    /// Has subscribers judged anew where a date of an item has come.
    pub fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deadline() <= now.at {
            self.review(now, effects);
        }
    }

    /// Has the subscribers judged anew of what changed, and of what could not be judged the last time.
    fn review(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let changed = self.facts.take_changed(now);
        let mut names = std::mem::take(&mut self.unsettled);
        let changed = changed.iter().filter_map(|subject| self.channels.get(subject));
        names.extend(changed.flatten().cloned());
        if !names.is_empty() {
            effects.push(Effect::Review(names.into_iter().collect()));
        }
    }

    // --- control rows --------------------------------------------------------------------------------------------

    /// An item (`com_content.article`) or category (`com_content.category`) was changed: what is known of it, and with
    /// a category of everything below it, is not believed any more, and asked for at once where somebody watches it.
    pub fn recheck(&mut self, kind: &str, id: u64) {
        self.facts.recheck(kind, id);
    }

    /// Anything may have changed.
    pub fn recheck_all(&mut self) {
        self.facts.recheck_all();
    }

    /// Carries out the rechecks of categories that wait for it.
    pub fn settle(&mut self) {
        self.facts.settle();
    }

    /// Whether something that somebody watches is being read again.
    pub fn has_doubts(&self) -> bool {
        self.facts.has_doubts()
    }

    /// Whether that is so of what a channel is about. `rules_doubted`: whether the site's rules are being read again,
    /// which is a doubt about every channel in which the site has a say.
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
