//! Users and groups of this machine, and what their permission bits let them read. It reads /etc/passwd and /etc/group
//! and asks no directory service: the web server's user, PHP's and jsocketd's are local ones. An access control list is
//! not read either; `jsocketd check`, which runs as the user jsocketd at the end, tells the truth then.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The users and groups.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Name, id, and id of the first group.
    users: Vec<(String, u32, u32)>,
    /// Name, id, members.
    groups: Vec<(String, u32, Vec<String>)>,
}

/// A user with all groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub id: u32,
    /// The id of the first group.
    pub group: u32,
    /// The ids of all groups.
    pub groups: BTreeSet<u32>,
}

/// What a user needs to read a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The user can read it.
    Granted,
    /// The user can read it as a member of these groups, by id.
    WithGroups(BTreeSet<u32>),
    /// No group helps: this file or folder is closed.
    Refused(PathBuf),
}

impl Accounts {
    /// The accounts of this machine.
    pub fn of_machine() -> Self {
        let read = |path: &str| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Self::parse(&read("/etc/passwd"), &read("/etc/group"))
    }

    fn parse(passwd: &str, group: &str) -> Self {
        let rows = |text: &str| -> Vec<Vec<String>> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(|line| line.split(':').map(str::to_owned).collect()).collect()
        };
        let number = |row: &[String], at: usize| row.get(at)?.parse().ok();
        let users = rows(passwd).into_iter();
        let groups = rows(group).into_iter();
        Self {
            users: users
                .filter_map(|row| Some((row[0].clone(), number(&row, 2)?, number(&row, 3)?)))
                .collect(),
            groups: groups
                .filter_map(|row| {
                    let members = row.get(3).map_or("", String::as_str).split(',');
                    Some((row[0].clone(), number(&row, 2)?, members.map(str::to_owned).collect()))
                })
                .collect(),
        }
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<User> {
        let (_, id, group) = self.users.iter().find(|(user, ..)| user == name)?;
        let memberships = self
            .groups
            .iter()
            .filter(|(.., members)| members.iter().any(|member| member == name));
        let groups = memberships.map(|(_, id, _)| *id).chain([*group]).collect();
        Some(User {
            id: *id,
            group: *group,
            groups,
        })
    }

    /// The name of a user, or the id.
    pub fn user_name(&self, id: u32) -> String {
        let found = self.users.iter().find(|(_, user, _)| *user == id);
        found.map_or_else(|| id.to_string(), |(name, ..)| name.clone())
    }

    /// The name of a group, or the id.
    pub fn group_name(&self, id: u32) -> String {
        let found = self.groups.iter().find(|(_, group, _)| *group == id);
        found.map_or_else(|| id.to_string(), |(name, ..)| name.clone())
    }
}

impl User {
    /// What this user needs to read the file at an absolute path without symbolic links: `r` on it, and `x` on each
    /// folder above it.
    ///
    /// # Errors
    /// The path cannot be looked at.
    pub fn access(&self, file: &Path) -> io::Result<Access> {
        let mut needed = BTreeSet::new();
        for path in file.ancestors() {
            let bit = if path == file { 4 } else { 1 };
            let found = path.metadata()?;
            match self.step(found.mode(), found.uid(), found.gid(), bit) {
                Step::Open => {}
                Step::Group(group) => drop(needed.insert(group)),
                Step::Closed => return Ok(Access::Refused(path.into())),
            }
        }
        if needed.is_empty() {
            return Ok(Access::Granted);
        }
        // A member of a group is no longer one of the others.
        let mut member = self.clone();
        member.groups.extend(&needed);
        Ok(match member.access(file)? {
            Access::Refused(path) => Access::Refused(path),
            _ => Access::WithGroups(needed),
        })
    }

    /// Unix asks only the first class that fits: owner, group, others.
    fn step(&self, mode: u32, owner: u32, group: u32, bit: u32) -> Step {
        let (as_owner, as_group, as_other) = (mode >> 6 & bit != 0, mode >> 3 & bit != 0, mode & bit != 0);
        match () {
            () if self.id == owner && as_owner => Step::Open,
            () if self.id == owner => Step::Closed,
            () if self.groups.contains(&group) && as_group => Step::Open,
            () if self.groups.contains(&group) => Step::Closed,
            () if as_other => Step::Open,
            () if as_group => Step::Group(group),
            () => Step::Closed,
        }
    }
}

enum Step {
    Open,
    Group(u32),
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0::/root:/bin/sh\n# a comment\nbroken\nwww-data:x:33:33::/:\njsocketd:x:990:991::/:\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\nsite:x:50:alice,jsocketd\njsocketd:x:991:\n";

    #[test]
    fn a_user_has_all_groups() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        let user = accounts.user("jsocketd").unwrap();
        assert_eq!((user.id, user.group), (990, 991));
        assert_eq!(user.groups, [50, 991].into());
        assert_eq!(accounts.user("broken"), None);
        assert_eq!(accounts.user("alice"), None, "a member without an account");
        assert_eq!(
            (accounts.group_name(33), accounts.group_name(77)),
            ("www-data".into(), "77".into())
        );
        assert_eq!(accounts.user_name(33), "www-data");
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let user = Accounts::parse(PASSWD, GROUP).user("jsocketd").unwrap();
        let step = |mode, owner, group| match user.step(mode, owner, group, 4) {
            Step::Open => "open".to_owned(),
            Step::Group(group) => group.to_string(),
            Step::Closed => "closed".to_owned(),
        };
        assert_eq!(step(0o444, 33, 33), "open");
        assert_eq!(step(0o640, 33, 33), "33", "the group helps");
        assert_eq!(step(0o640, 33, 50), "open", "a member already");
        assert_eq!(step(0o604, 33, 50), "closed", "a member is no other");
        assert_eq!(step(0o600, 33, 33), "closed");
        assert_eq!(step(0o044, 990, 33), "closed", "an owner is no other");
        assert_eq!(step(0o400, 990, 33), "open");
    }

    #[test]
    fn folders_above_count_too() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().canonicalize().unwrap().join("configuration.php");
        fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let above = file.parent().unwrap();
        let stranger = User {
            id: 4_000_000,
            group: 4_000_000,
            groups: [4_000_000].into(),
        };
        let group = file.metadata().unwrap().gid();
        for (folder_mode, mode, access) in [
            (0o755, 0o644, Access::Granted),
            (0o750, 0o644, Access::WithGroups([group].into())),
            (0o755, 0o440, Access::WithGroups([group].into())),
            (0o700, 0o644, Access::Refused(above.into())),
            (0o755, 0o400, Access::Refused(file.clone())),
        ] {
            set(above, folder_mode);
            set(&file, mode);
            assert_eq!(stranger.access(&file).unwrap(), access, "{folder_mode:o} {mode:o}");
        }
        set(above, 0o700);
    }
}
