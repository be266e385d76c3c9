//! The unit of systemd: the file of `conf/` where no package has installed one, and a drop-in that gives jsocketd the
//! groups with which it may read configuration.php.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::accounts::Accounts;
use super::change::Rights;
use super::manifest::{Records, Want};
use super::names::Names;

const UNIT: &str = include_str!("../../../conf/jsocketd.service");
const TEMPLATE: &str = include_str!("../../../conf/jsocketd@.service");

/// Their first line where they are written, in place of the advice to copy them.
const HEAD: &str = "# Written by `jsocketd setup`; `jsocketd setup --remove` takes it away.\n\n";

/// The program's path in both.
const PROGRAM: &str = "/usr/local/bin/jsocketd";

/// The folder for the units of an administrator.
const OWN_UNITS: &str = "/etc/systemd/system";

/// The folders for those of packages.
const PACKAGED_UNITS: [&str; 3] = [
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// systemd on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Systemd {
    /// It is the first process.
    Runs,
    /// It is installed, as in the folder of an image that is made.
    Installed,
    /// It is not there.
    Missing,
}

impl Systemd {
    /// Looks for it, as sd_booted(3) does.
    pub fn find() -> Self {
        if Path::new("/run/systemd/system").is_dir() {
            return Self::Runs;
        }
        let is_installed = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"]
            .iter()
            .any(|path| Path::new(path).exists());
        if is_installed { Self::Installed } else { Self::Missing }
    }

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Installed => "is installed and does not run",
            Self::Missing => "is not there, so no unit is written",
        }
    }
}

/// Where the unit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This `setup`, or an earlier one.
    Setup,
    /// A package or an administrator has put it there.
    There(PathBuf),
}

/// Where the unit comes from on this machine.
pub fn origin(names: &Names, records: &Records) -> Origin {
    let file = names.unit_file();
    let own = Path::new(OWN_UNITS).join(&file);
    let packaged = PACKAGED_UNITS.iter().map(|folder| Path::new(folder).join(&file));
    let mut there = [own]
        .into_iter()
        .chain(packaged)
        .filter(|path| path.exists() && !records.has(path));
    there.next().map_or(Origin::Setup, Origin::There)
}

/// The unit, and the drop-in for `groups`, if there are any. `program` is where this program is.
pub fn wants(
    names: &Names,
    records: &Records,
    program: &Path,
    groups: &BTreeSet<u32>,
    accounts: &Accounts,
) -> Vec<Want> {
    let folder = Path::new(OWN_UNITS);
    let mut wants = Vec::new();
    if origin(names, records) == Origin::Setup {
        let text = if names.is_instance() { TEMPLATE } else { UNIT };
        let directives = text.find("[Unit]").map_or(text, |start| &text[start..]);
        let text = HEAD.to_owned() + &directives.replace(PROGRAM, &program.to_string_lossy());
        wants.push(Want::File(folder.join(names.unit_file()), text.into(), Rights::PUBLIC));
    }
    if !groups.is_empty() {
        let groups: Vec<String> = groups.iter().map(|group| accounts.group_name(*group)).collect();
        let text = format!(
            "# Written by `jsocketd setup`: with this group the server may read the site's configuration.php.\n[Service]\n\
             SupplementaryGroups={}\n",
            groups.join(" ")
        );
        let drop_in = folder.join(format!("{}.d", names.unit()));
        let rights = Rights {
            mode: 0o755,
            ..Rights::PUBLIC
        };
        wants.push(Want::Folder(drop_in.clone(), rights));
        wants.push(Want::File(drop_in.join("site.conf"), text.into(), Rights::PUBLIC));
    }
    wants
}

/// Whether `systemctl enable` has made a link to the unit, which would lead nowhere without it.
pub fn is_enabled(names: &Names) -> bool {
    let link = Path::new(OWN_UNITS).join("multi-user.target.wants").join(names.unit());
    link.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The directives by section and name, each with its values in their order.
    fn directives(text: &str) -> BTreeMap<String, Vec<String>> {
        let (mut section, mut found) = (String::new(), BTreeMap::<String, Vec<String>>::new());
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            match line.split_once('=') {
                Some((name, value)) => found
                    .entry(format!("{section} {name}"))
                    .or_default()
                    .push(value.to_owned()),
                None => section = line.to_owned(),
            }
        }
        found
    }

    #[test]
    fn the_template_is_the_unit_with_places_of_its_own() {
        let (mut unit, mut template) = (directives(UNIT), directives(TEMPLATE));
        let own = [
            (
                "[Unit] Description",
                "jsocketd for %i, the real-time server for Joomla sites",
            ),
            (
                "[Service] ExecStart",
                "/usr/local/bin/jsocketd serve --config /etc/jsocketd/%i.toml",
            ),
            // Not a folder in that of the other unit: systemd removes that one with everything in it.
            ("[Service] RuntimeDirectory", "jsocketd-%i"),
        ];
        for (name, value) in own {
            assert_eq!(template.remove(name), Some(vec![value.to_owned()]));
            assert!(unit.remove(name).is_some_and(|values| values.len() == 1), "{name}");
        }
        assert_eq!(template, unit);
        assert!(unit.len() > 40, "{}", unit.len());
    }

    #[test]
    fn the_program_is_where_it_is() {
        for text in [UNIT, TEMPLATE] {
            assert_eq!(text.matches(PROGRAM).count(), 1, "{text}");
        }
    }
}
