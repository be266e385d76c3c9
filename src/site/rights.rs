//! The site's groups, view levels and rules as they were last read. They are small, so they are read completely;
//! `rounds` decides when. If they differ from before, the rights of all users are computed anew.

use std::time::Duration;

use super::rounds::Rounds;
use super::user::Membership;
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

/// The rights of the site's users.
#[derive(Debug)]
pub struct Rights {
    rows: Rows,
    /// Whether the extensions were read.
    has_extensions: bool,
    root: Option<RootUser>,
    /// The rules that follow from the parts; `None`: some parts have not been read yet.
    acl: Option<Acl>,
    guest: Membership,
    rounds: Rounds,
}

/// The parts as they were last read.
#[derive(Debug, Default)]
struct Rows {
    groups: Vec<GroupRow>,
    levels: Vec<LevelRow>,
    assets: Vec<AssetRow>,
    extensions: Extensions,
}

/// The changes that an answer caused.
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
        Self {
            rows: Rows::default(),
            has_extensions: false,
            root,
            acl: None,
            guest: Membership::default(),
            rounds: Rounds::new(Duration::from_secs(settings.sweep_interval)),
        }
    }

    /// Applies new settings. Returns whether the rights of users may have changed.
    pub fn reconfigure(&mut self, root: Option<RootUser>, settings: &config::Joomla) -> bool {
        self.rounds.set_interval(Duration::from_secs(settings.sweep_interval));
        let changed = self.root != root;
        self.root = root;
        changed && self.is_known()
    }

    /// Sets whether the rights are read often, from the next round on.
    pub fn read_often(&mut self, often: bool) {
        self.rounds.set_often(often);
    }

    /// Whether everything was read at least once.
    pub fn is_known(&self) -> bool {
        self.acl.is_some()
    }

    /// Whether the facts of the extensions were read.
    pub fn knows_extensions(&self) -> bool {
        self.has_extensions
    }

    /// The facts of the extensions.
    pub fn extensions(&self) -> &Extensions {
        &self.rows.extensions
    }

    /// Whether the site is a Joomla 3.
    pub fn is_joomla3(&self) -> bool {
        let version = self.rows.extensions.joomla_version.as_deref();
        version.is_some_and(|version| version.starts_with("3."))
    }

    /// The rules, once everything was read.
    pub fn known_acl(&self) -> Option<&Acl> {
        self.acl.as_ref()
    }

    /// Whether an asset's rules allow an action to a visitor. The answer is no until all parts have been read.
    pub fn authorises(&self, visitor: &Visitor<'_>, action: &str, asset: &str) -> bool {
        let acl = self.known_acl();
        acl.is_some_and(|acl| acl.authorise(visitor.user, visitor.groups, visitor.root, action, asset))
    }

    /// Whether the component's permissions allow an action to a visitor. While the site has not set who may use the
    /// console, its managers may use it and see the server's state; to publish, a user needs that very permission.
    pub fn allows(&self, visitor: &Visitor<'_>, action: &str) -> bool {
        let is_unsaid = action != PUBLISH && !self.speaks_of(action);
        self.authorises(visitor, action, COMPONENT) || is_unsaid && self.authorises(visitor, "core.manage", COMPONENT)
    }

    /// Whether the site has set who may use the console. This is so as soon as `websockets.console` was allowed or
    /// denied to a group.
    pub fn rules_console(&self) -> bool {
        self.speaks_of(CONSOLE)
    }

    fn speaks_of(&self, action: &str) -> bool {
        self.known_acl().is_some_and(|acl| acl.speaks_of(action, COMPONENT))
    }

    /// A guest as the access rules see it.
    pub fn guest(&self) -> Visitor<'_> {
        self.guest.visitor(0)
    }

    /// The groups and levels of a user.
    pub fn of(&self, user: &UserRow) -> Membership {
        let Some(acl) = self.known_acl() else {
            return Membership::default();
        };
        let root = match &self.root {
            None => false,
            Some(RootUser::Id(id)) => *id == user.id,
            Some(RootUser::Name(name)) => *name == user.username,
        };
        let groups = acl.groups(&user.groups);
        let levels = acl.levels(user.id, &groups, root);
        Membership { groups, levels, root }
    }

    /// Whether a control row reported a change, and the rights were not read since.
    pub fn is_doubted(&self) -> bool {
        self.rounds.is_doubted()
    }

    /// Whether changed rights are read before the outbox.
    pub fn is_pressing(&self, now: Now) -> bool {
        self.rounds.is_pressing(now)
    }

    /// A control row reported a change of the rights.
    pub fn suspect(&mut self, now: Now) {
        self.rounds.suspect(now);
    }

    /// The next question, if one is due.
    pub fn question(&mut self, now: Now) -> Option<Question> {
        self.rounds.question(now)
    }

    /// When the next question is due.
    pub fn question_due(&self) -> Time {
        self.rounds.due()
    }

    /// Handles an answer of the store. Returns what changed.
    pub fn answer(&mut self, question: &Question, answer: Result<&Answer, &Failure>, now: Now) -> Changed {
        let mut changed = Changed::default();
        if !self.rounds.is_answered(question) {
            return changed;
        }
        let rows = &mut self.rows;
        match answer {
            Ok(Answer::Extensions(new)) => {
                let is_first = !std::mem::replace(&mut self.has_extensions, true);
                changed.extensions = is_first || rows.extensions != *new;
                rows.extensions = new.clone();
            }
            Ok(Answer::Groups(new)) => rows.groups.clone_from(new),
            Ok(Answer::Levels(new)) => rows.levels.clone_from(new),
            Ok(Answer::Assets(new)) => rows.assets.clone_from(new),
            Ok(_) => debug_assert!(false, "the store answered another question"),
            Err(failure) => {
                self.rounds.failed(failure, now);
                return changed;
            }
        }
        changed.rights = self.rounds.passed(now) && self.complete();
        changed
    }

    /// All four parts were read. Returns whether the rights changed.
    fn complete(&mut self) -> bool {
        let rows = &self.rows;
        let guest = rows.extensions.com_users.as_deref().and_then(guest_group);
        let (acl, warnings) = Acl::new(&rows.groups, &rows.levels, &rows.assets, guest);
        if self.known_acl() == Some(&acl) {
            return false;
        }
        for warning in warnings {
            log::warn!("the site's access rules: {warning}");
        }
        let groups: Box<[u32]> = acl.guest_groups().into();
        let (levels, root) = (acl.levels(0, &groups, false), false);
        self.guest = Membership { groups, levels, root };
        self.acl = Some(acl);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::user::User;

    #[test]
    fn another_root_user_changes_the_rights_once_they_are_known() {
        let (settings, now) = (config::Joomla::default(), Now::default());
        let user = UserRow {
            id: 42,
            ..UserRow::default()
        };
        let mut rights = Rights::new(None, &settings);
        assert!(!rights.reconfigure(Some(RootUser::Id(42)), &settings), "no rights yet");
        assert!(!rights.of(&user).root);
        for answer in [
            Answer::Extensions(Extensions::default()),
            Answer::Groups(Vec::new()),
            Answer::Levels(Vec::new()),
            Answer::Assets(Vec::new()),
        ] {
            let question = rights.question(now).expect("a part is due");
            rights.answer(&question, Ok(&answer), now);
        }
        assert!(rights.is_known());
        let mut user = User::new(user, &rights);
        assert!(user.visitor().root);
        assert!(
            !rights.reconfigure(Some(RootUser::Id(42)), &settings),
            "the same root user"
        );
        assert!(rights.reconfigure(None, &settings));
        assert!(user.update_rights(&rights), "the user's connections must be closed");
        assert!(!user.visitor().root);
    }
}
