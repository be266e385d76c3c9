//! Who may hear what: whether a visitor may subscribe to a channel, and when somebody who does must be asked about again.
//! `subject` reads a channel's name, this file decides, `facts` knows the items and categories that the site's database told
//! of, `visible` says what those mean, `pseudonym` names the members of presence channels. Who the visitor is, and what follows
//! from a verdict, is the business of those who ask.
//!
//! Never more generous than Joomla: what is not known is not answered, and what cannot be known is refused. A visitor who may
//! edit an item sees it in Joomla before it is published; here nobody does.

mod facts;
mod pseudonym;
mod subject;
mod visible;

#[cfg(test)]
mod tests;

pub use self::facts::Key;
use self::facts::{Age, Facts, Known};
pub use self::pseudonym::pseudonym;
pub use self::subject::{Allowed, Subject, subject};
use crate::config::Config;
use crate::joomla::acl::Acl;
use crate::store::{Answer, Failure, Question};
use crate::time::{Now, Time};

/// Who asks, as far as the site's rules are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor<'a> {
    /// 0: a guest.
    pub user: u32,
    /// All groups, those above included.
    pub groups: &'a [u32],
    /// All view levels: [`Acl::levels`] gives them, and everything that `root` has.
    pub levels: &'a [u32],
    /// Whether it is configuration.php's `$root_user`.
    pub root: bool,
}

/// Whether a visitor may hear a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Now.
    Yes,
    /// Not now, and why: a sentence for people. It does not tell an item that is hidden from one that does not exist.
    No(&'static str),
    /// It depends on facts that were asked for: decide again after the next [`Access::answer`].
    NotYet,
}

const GUEST: Verdict = Verdict::No("guests may not hear this channel");
const SIGNATURE: Verdict = Verdict::No("the channel needs an `auth` signature");
const HIDDEN: Verdict = Verdict::No("you may not see what this channel is about");
const UNKNOWABLE: Verdict = Verdict::No("what this channel is about cannot be checked");
const FULL: Verdict = Verdict::No("too many items are being watched");

/// The site's rules and what is known of its items.
///
/// What callers do: [`subject`] once for each channel; `decide` for whoever comes; after each `Yes`, in the same breath, `watch`
/// for as long as somebody is subscribed by these rules (not by a signature), and `unwatch` as often. In each work phase
/// `question`, the store, `answer`; then decide again for those who got [`Verdict::NotYet`], and `review` the subscribers of
/// what `take_changed` names.
#[derive(Debug)]
pub struct Access {
    /// Whether channels without a prefix are open to guests.
    guests: bool,
    facts: Facts,
}

impl Access {
    /// How old a fact may be that lets somebody in, in seconds.
    pub const FRESH: u64 = facts::FRESH.as_secs();

    /// Nothing is known yet.
    pub fn new(config: &Config) -> Self {
        Self {
            guests: config.joomla.guests.unwrap_or(true),
            facts: Facts::new(config.item_types(), config.joomla.sweep_interval),
        }
    }

    /// Takes over a changed configuration. Every [`Subject`] was made by the old one: the caller makes them anew. Returns
    /// whether the watches are gone too, because the item types changed: then the caller watches again.
    pub fn reload(&mut self, config: &Config) -> bool {
        self.guests = config.joomla.guests.unwrap_or(true);
        self.facts.reload(config.item_types(), config.joomla.sweep_interval)
    }

    /// Opens channels without a prefix to guests, or closes them. A configuration that is taken over later says it anew.
    pub fn open_to_guests(&mut self, open: bool) {
        self.guests = open;
    }

    /// Whether a visitor may begin to hear a channel. Items and categories are judged by facts that are at most
    /// [`FRESH`](Self::FRESH) old. Who belongs in a presence channel at all (no guests, unless signed) is not asked here.
    pub fn decide(&mut self, subject: &Subject, visitor: &Visitor<'_>, acl: &Acl, now: Now) -> Verdict {
        self.judge(subject, visitor, acl, Age::Fresh, now)
    }

    /// Whether a visitor who hears a channel may go on: as [`Access::decide`], by the facts that are there. They are never older
    /// than the sweep makes them, except while the database is away, and nobody is thrown out for that. After a recheck of
    /// the item it is `NotYet` until the answer is there.
    pub fn review(&mut self, subject: &Subject, visitor: &Visitor<'_>, acl: &Acl, now: Now) -> Verdict {
        self.judge(subject, visitor, acl, Age::Any, now)
    }

    fn judge(&mut self, subject: &Subject, visitor: &Visitor<'_>, acl: &Acl, age: Age, now: Now) -> Verdict {
        let allowed = match subject {
            Subject::Open if self.guests || visitor.user != 0 => return Verdict::Yes,
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
        if allowed { Verdict::Yes } else { HIDDEN }
    }

    fn judge_fact(&mut self, subject: &Subject, visitor: &Visitor<'_>, age: Age, now: Now) -> Verdict {
        let Some(key) = self.facts.key(subject) else {
            // A type that the configuration no longer has.
            return SIGNATURE;
        };
        match (self.facts.know(key, age, now), subject) {
            (Known::Asked, _) => Verdict::NotYet,
            (Known::Full, _) => FULL,
            (Known::Fact(fact), _) if fact.is_unknowable() => UNKNOWABLE,
            (Known::Fact(fact), subject) => match visible::is_visible(fact, subject, visitor, now.unix()) {
                true => Verdict::Yes,
                false => HIDDEN,
            },
        }
    }

    /// Somebody is subscribed: what the channel is about is looked at again within each sweep interval, and
    /// [`Access::take_changed`] says when it changed. Counted.
    pub fn watch(&mut self, subject: &Subject) {
        if let Some(key) = self.facts.key(subject) {
            self.facts.watch(key, subject);
        }
    }

    /// Takes back one [`Access::watch`].
    pub fn unwatch(&mut self, subject: &Subject) {
        if let Some(key) = self.facts.key(subject) {
            self.facts.unwatch(key, subject);
        }
    }

    /// What has to be known next. Counts as asked: it is asked again only if it fails, or if no answer comes.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        self.facts.question(now)
    }

    /// What came of a question. Others' questions are nothing to this.
    pub fn answer(&mut self, question: &Question, answer: Result<Answer, Failure>, now: Now) {
        self.facts.answer(question, answer, now);
    }

    /// By what a subject is known, if that is an item or a category.
    pub fn key(&self, subject: &Subject) -> Option<Key> {
        self.facts.key(subject)
    }

    /// What a question asks for. Others' questions ask for nothing here.
    pub fn keys<'q>(&self, question: &'q Question) -> impl Iterator<Item = Key> + use<'q> {
        facts::keys(question)
    }

    /// When [`Access::question`] has something to ask; in the past: now.
    pub fn deadline(&self) -> Time {
        self.facts.deadline()
    }

    /// When [`Access::take_changed`] has something to tell because a date of an item comes.
    pub fn next_date(&self) -> Time {
        self.facts.next_date()
    }

    /// An item (`com_content.article`) or category (`com_content.category`) was changed: what is known of it, and with a
    /// category of everything below it, is not believed any more, and asked for at once where somebody watches it.
    pub fn recheck(&mut self, kind: &str, id: u64) {
        self.facts.recheck(kind, id);
    }

    /// Carries out the rechecks of categories that wait for it.
    pub fn settle(&mut self) {
        self.facts.settle();
    }

    /// Whether something is not believed any more that somebody watches.
    pub fn has_doubts(&self) -> bool {
        self.facts.has_doubts()
    }

    /// Whether that is so of what a channel is about.
    pub fn is_doubted(&self, subject: &Subject) -> bool {
        self.facts.key(subject).is_some_and(|key| self.facts.is_doubted(key))
    }

    /// Anything may have changed.
    pub fn recheck_all(&mut self) {
        self.facts.recheck_all();
    }

    /// The watched subjects whose facts changed, came, or passed one of their dates since the last time: their subscribers
    /// are to be reviewed. To be called in each work phase, after the questions.
    pub fn take_changed(&mut self, now: Now) -> Vec<Subject> {
        self.facts.take_changed(now)
    }
}

fn is_among(allowed: &Allowed, visitor: &Visitor<'_>) -> bool {
    let shared = |theirs: &[u32], ours: &[u32]| theirs.iter().any(|id| ours.contains(id));
    shared(&allowed.groups, visitor.groups)
        || shared(&allowed.levels, visitor.levels)
        || (visitor.user != 0 && allowed.users.contains(&visitor.user))
}
