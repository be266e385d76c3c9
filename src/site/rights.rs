//! The site's groups, view levels and rules as they were last read, and when to read them again. They are small, so
//! they are read completely. If they differ from before, the rights of all users are computed anew.

use std::time::Duration;

use crate::config;
use crate::joomla::acl::{Acl, guest_group};
use crate::joomla::site::RootUser;
use crate::site::access::Visitor;
use crate::store::{Answer, AssetRow, Extensions, Failure, GroupRow, LevelRow, Question, UserRow};
use crate::time::{Now, Time};

/// The component whose permissions govern this server.
const COMPONENT: &str = "com_websockets";

/// The permission to use the console.
pub const CONSOLE: &str = "websockets.console";

/// The permission to publish in the console.
pub const PUBLISH: &str = "websockets.publish";
/// The permission to see the server's state in the console.
pub const MONITOR: &str = "websockets.monitor";

/// When the rights are read again after a control row reported a change. The times are the same as for users.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// How often the rights are read while the site is switched off: no control row reports that it is switched on again.
const OFTEN: Duration = Duration::from_secs(2);

/// The pause before a part that could not be read is asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// The pause after a part got no answer. Without it, a database that answers none of these questions would be asked in
/// every tick.
const LOST: Duration = Duration::from_millis(100);

/// How long the outbox waits for rights that changed. Without this wait, control rows could keep a slow database from
/// ever answering. It is longer than a few round trips, and short compared with the wait for a database that does not
/// answer.
const PRESSING: Duration = Duration::from_secs(1);

/// The most planned rounds.
const MOST_ROUNDS: usize = 16;

/// The four questions for the rights.
const PARTS: [Question; 4] = [
    Question::Extensions,
    Question::Groups,
    Question::Levels,
    Question::Assets,
];

/// The rights of the site's users.
#[derive(Debug)]
pub struct Rights {
    groups: Vec<GroupRow>,
    levels: Vec<LevelRow>,
    assets: Vec<AssetRow>,
    extensions: Extensions,
    root: Option<RootUser>,
    acl: Acl,
    guest_groups: Box<[u32]>,
    guest_levels: Box<[u32]>,
    /// Whether all four parts have been read at least once.
    known: bool,
    /// The next of [`PARTS`] in this round; behind the last one: the round is over.
    next: usize,
    /// The next rounds that control rows requested.
    rounds: Vec<Time>,
    /// When the next round begins without a control row.
    sweep: Time,
    waits: bool,
    retry: Time,
    interval: Duration,
    often: bool,
    /// When a control row reported a change, if no round that began later has ended.
    doubted: Option<Time>,
    /// `$root_user` has changed; the next answer reports this.
    root_changed: bool,
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changed {
    /// The rights of users may have changed.
    pub rights: bool,
    /// The facts of the extensions have changed.
    pub extensions: bool,
}

impl Rights {
    /// A state without rights.
    pub fn new(root: Option<RootUser>, settings: &config::Joomla) -> Self {
        let (acl, _) = Acl::new(&[], &[], &[], None);
        Self {
            groups: Vec::new(),
            levels: Vec::new(),
            assets: Vec::new(),
            extensions: Extensions::default(),
            root,
            acl,
            guest_groups: Box::default(),
            guest_levels: Box::default(),
            known: false,
            next: 0,
            rounds: Vec::new(),
            sweep: Time::NEVER,
            waits: false,
            retry: Time::default(),
            interval: Duration::from_secs(settings.sweep_interval),
            often: false,
            doubted: None,
            root_changed: false,
        }
    }

    /// Applies new settings.
    pub fn reconfigure(&mut self, root: Option<RootUser>, settings: &config::Joomla) {
        self.interval = Duration::from_secs(settings.sweep_interval);
        if self.root != root {
            self.root = root;
            self.root_changed = self.known;
        }
    }

    /// Sets whether the rights are read often, from the next round on.
    pub fn read_often(&mut self, often: bool) {
        self.often = often;
    }

    /// Whether everything was read at least once.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The facts of the extensions.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether the site is a Joomla 3.
    pub fn is_joomla3(&self) -> bool {
        let version = self.extensions.joomla_version.as_deref();
        version.is_some_and(|version| version.starts_with("3."))
    }

    /// The rules, once everything was read.
    pub fn known_acl(&self) -> Option<&Acl> {
        self.known.then_some(&self.acl)
    }

    /// Whether an asset's rules allow an action to a visitor. The answer is no until all parts have been read.
    pub fn authorises(&self, visitor: &Visitor<'_>, action: &str, asset: &str) -> bool {
        let acl = self.known_acl();
        acl.is_some_and(|acl| acl.authorise(visitor.user, visitor.groups, visitor.root, action, asset))
    }

    /// Whether the component's permissions allow an action to a visitor. While the site has not set who may use the
    /// console, its managers may use it and see the server's state; to publish, a user needs that very permission.
    /// that.
    pub fn allows(&self, visitor: &Visitor<'_>, action: &str) -> bool {
        let is_unsaid = action != PUBLISH && !self.acl.speaks_of(action, COMPONENT);
        self.authorises(visitor, action, COMPONENT) || is_unsaid && self.authorises(visitor, "core.manage", COMPONENT)
    }

    /// Whether the site has set who may use the console. This is so as soon as `websockets.console` was allowed or
    /// denied to a group.
    pub fn rules_console(&self) -> bool {
        self.acl.speaks_of(CONSOLE, COMPONENT)
    }

    /// A guest as the access rules see it.
    pub fn guest(&self) -> Visitor<'_> {
        Visitor {
            user: 0,
            groups: &self.guest_groups,
            levels: &self.guest_levels,
            root: false,
        }
    }

    /// The groups and levels of a user, with the inherited ones, and whether the user is `$root_user`.
    pub fn of(&self, user: &UserRow) -> (Box<[u32]>, Box<[u32]>, bool) {
        if !self.known {
            return (Box::default(), Box::default(), false);
        }
        let root = match &self.root {
            None => false,
            Some(RootUser::Id(id)) => *id == user.id,
            Some(RootUser::Name(name)) => *name == user.username,
        };
        let groups = self.acl.groups(&user.groups);
        let levels = self.acl.levels(user.id, &groups, root);
        (groups, levels, root)
    }

    /// Whether a control row reported a change, and the rights were not read since.
    pub fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// Whether this has lasted only a short time and the next question is due. Then the rights are read before the
    /// outbox.
    pub fn is_pressing(&self, now: Now) -> bool {
        let is_due = !self.waits && self.retry <= now.at;
        is_due && self.doubted.is_some_and(|since| now.at.since(since) < PRESSING)
    }

    /// A control row reported a change of the rights.
    pub fn suspect(&mut self, now: Now) {
        self.doubted.get_or_insert(now.at);
        if self.next < PARTS.len() {
            // The parts that this round has read may be from before the change.
            self.next = 0;
        }
        self.rounds.push(now.at);
        self.rounds.extend(AGAIN.map(|wait| now.at + wait));
        self.rounds.sort_unstable();
        // A hundred control rows request only a few rounds; the last rounds matter.
        let surplus = self.rounds.len().saturating_sub(MOST_ROUNDS);
        self.rounds.drain(1..=surplus);
    }

    /// The next question, if one is due.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        if self.waits || self.retry > now.at {
            return None;
        }
        if self.next == PARTS.len() {
            if self.next_round() > now.at {
                return None;
            }
            self.rounds.retain(|at| *at > now.at);
            self.sweep = Time::NEVER;
            self.next = 0;
        }
        self.waits = true;
        Some(PARTS[self.next].clone())
    }

    fn next_round(&self) -> Time {
        self.rounds.first().copied().unwrap_or(Time::NEVER).min(self.sweep)
    }

    /// When the next question is due.
    pub fn question_due(&self) -> Time {
        match (self.waits, self.next < PARTS.len()) {
            (true, _) => Time::NEVER,
            (false, true) => self.retry,
            (false, false) => self.next_round().max(self.retry),
        }
    }

    /// Handles an answer of the store. Returns what changed.
    pub fn answer(&mut self, question: &Question, answer: Result<&Answer, &Failure>, now: Now) -> Changed {
        self.waits = false;
        let mut changed = Changed {
            rights: std::mem::take(&mut self.root_changed),
            extensions: false,
        };
        if PARTS.get(self.next) != Some(question) {
            return changed;
        }
        match answer {
            Ok(Answer::Extensions(new)) => {
                changed.extensions = self.extensions != *new;
                self.extensions = new.clone();
            }
            Ok(Answer::Groups(new)) => self.groups.clone_from(new),
            Ok(Answer::Levels(new)) => self.levels.clone_from(new),
            Ok(Answer::Assets(new)) => self.assets.clone_from(new),
            Ok(_) => debug_assert!(false, "the store answered another question"),
            Err(failure) => {
                let is_lost = matches!(failure, Failure::Unavailable(_));
                self.retry = now.at + if is_lost { LOST } else { RETRY };
                return changed;
            }
        }
        self.next += 1;
        if self.next == PARTS.len() {
            changed.rights |= self.complete(now);
        }
        changed
    }

    /// All four parts were read. Returns whether the rights changed.
    fn complete(&mut self, now: Now) -> bool {
        self.doubted = None;
        let usual = self.interval * 8 / 10;
        self.sweep = now.at + if self.often { usual.min(OFTEN) } else { usual };
        let guest = self.extensions.com_users.as_deref().and_then(guest_group);
        let (acl, warnings) = Acl::new(&self.groups, &self.levels, &self.assets, guest);
        if self.known && acl == self.acl {
            return false;
        }
        for warning in warnings {
            log::warn!("the site's access rules: {warning}");
        }
        self.guest_groups = acl.guest_groups().into();
        self.guest_levels = acl.levels(0, &self.guest_groups, false);
        self.acl = acl;
        self.known = true;
        true
    }
}
