//! The record of what `jsocketd setup` has made, so that `jsocketd setup --remove` takes away exactly that. It is
//! written before the first change, so that a run that is killed can be run again or removed.
//!
//! A file of our own is known by the checksum of its text: one that an administrator has changed since is theirs. Of a
//! file of somebody else only our own lines are recorded, never its text, which may hold secrets.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::change::{Change, Entry, Rights, is_unfinished};
use super::edit::{self, Hunk};

/// The folder of the records, one for each instance.
const FOLDER: &str = "/var/lib/jsocketd";

/// The format of the record.
const VERSION: u32 = 1;

/// What one `setup` has made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The web server that has its lines: `nginx` or `Apache`; empty: none.
    pub web_server: String,
    /// In the order in which it was made.
    made: Vec<Made>,
}

/// One thing that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
enum Made {
    /// A folder.
    Folder { path: PathBuf },
    /// A file of our own, with the checksum of each text that it had.
    File { path: PathBuf, sha256: Vec<String> },
    /// A symbolic link.
    Link { path: PathBuf, to: PathBuf },
    /// Lines in a file of somebody else.
    Lines { path: PathBuf, hunks: Vec<Hunk> },
}

impl Made {
    fn path(&self) -> &Path {
        let (Self::Folder { path } | Self::File { path, .. } | Self::Link { path, .. } | Self::Lines { path, .. }) =
            self;
        path
    }
}

/// What is to be there when `setup` has done its work.
#[derive(Clone, Debug)]
pub enum Want {
    /// A folder.
    Folder(PathBuf, Rights),
    /// A file of our own.
    File(PathBuf, Vec<u8>, Rights),
    /// A symbolic link.
    Link(PathBuf, PathBuf),
    /// A file of somebody else with our changes; how many unchanged lines a diff shows.
    Lines(PathBuf, Vec<Hunk>, usize),
}

/// The records of this instance and of the others of this machine.
#[derive(Clone, Debug)]
pub struct Records {
    /// This instance's record.
    pub own: Manifest,
    others: Vec<Manifest>,
    path: PathBuf,
}

impl Records {
    /// Reads the records. `base` is `setup`, or `setup-` and the name of the instance.
    ///
    /// # Errors
    /// A record cannot be read; a sentence says which.
    pub fn read(base: &str) -> Result<Self, String> {
        Self::read_in(Path::new(FOLDER), base)
    }

    fn read_in(folder: &Path, base: &str) -> Result<Self, String> {
        let path = folder.join(format!("{base}.json"));
        let mut others = Vec::new();
        let names = match fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(_) => Vec::new(),
        };
        for name in names {
            let is_record = name
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("setup") && name.ends_with(".json"));
            if is_record && name != path {
                others.extend(load(&name)?);
            }
        }
        let own = load(&path)?.unwrap_or_default();
        Ok(Self { own, others, path })
    }

    /// Whether there is a record of this instance.
    pub fn exists(&self) -> bool {
        !self.own.made.is_empty()
    }

    /// Whether this setup or that of another instance has made what is at this path.
    pub fn has(&self, path: &Path) -> bool {
        [&self.own]
            .into_iter()
            .chain(&self.others)
            .any(|manifest| manifest.find(path).is_some())
    }

    /// The changes that make true what is wanted, in order, with the record in front of them: a run that is killed
    /// leaves nothing that is not recorded.
    ///
    /// # Errors
    /// Something else stands where a file of ours belongs; the sentence says what to do.
    pub fn plan(&mut self, wants: Vec<Want>) -> Result<Vec<Change>, String> {
        let folder = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let in_front = [Want::Folder(
            folder.clone(),
            Rights {
                mode: 0o755,
                ..Rights::PUBLIC
            },
        )];
        let mut changes = self.plan_cleaning()?;
        // A killed run has made the folder, but has not recorded it.
        if changes.drain(..).any(|change| change.path == folder) {
            self.own.note(Made::Folder { path: folder.clone() });
        }
        for want in in_front.into_iter().chain(wants) {
            let (Want::Folder(path, _) | Want::File(path, ..) | Want::Link(path, _) | Want::Lines(path, ..)) = &want;
            let path = path.clone();
            let before = Entry::at(&path).map_err(|why| format!("{} cannot be read: {why}", path.display()))?;
            changes.extend(self.resolve(want, path, before)?);
        }
        // Without a change there is nothing to record, but another web server.
        if self.exists() {
            let place = usize::from(changes.first().is_some_and(|change| change.path == folder));
            let record = self.change(Some(&self.own))?;
            changes.splice(place..place, record);
        }
        Ok(changes)
    }

    fn resolve(&mut self, want: Want, path: PathBuf, before: Option<Entry>) -> Result<Option<Change>, String> {
        let is_shared = self.others.iter().any(|other| other.find(&path).is_some());
        let mut context = 3;
        let (after, made) = match (want, &before) {
            (Want::Folder(..), Some(Entry::Folder(_))) => {
                if is_shared {
                    self.own.note(Made::Folder { path });
                }
                return Ok(None);
            }
            (Want::Folder(_, rights), None) => (Entry::Folder(rights), Made::Folder { path: path.clone() }),
            (Want::Link(_, to), Some(Entry::Link(there))) if to == *there => {
                if is_shared {
                    self.own.note(Made::Link { path, to });
                }
                return Ok(None);
            }
            (Want::Link(_, to), None) => {
                let path = path.clone();
                (Entry::Link(to.clone()), Made::Link { path, to })
            }
            (Want::File(_, wanted, rights), None) => {
                let (path, sha256) = (path.clone(), vec![checksum(&wanted)]);
                (Entry::file(wanted, rights), Made::File { path, sha256 })
            }
            (Want::File(_, wanted, _), Some(Entry::File { text, rights, .. })) => {
                let sha256 = vec![checksum(&wanted)];
                let made = Made::File {
                    path: path.clone(),
                    sha256,
                };
                if wanted == *text {
                    if is_shared {
                        self.own.note(made);
                    }
                    return Ok(None);
                }
                let sum = checksum(text);
                let is_ours = |manifest: &Manifest| {
                    matches!(manifest.find(&path),
                    Some(Made::File { sha256, .. }) if sha256.contains(&sum))
                };
                if !is_ours(&self.own) && !self.others.iter().any(is_ours) {
                    return Err(format!(
                        "{} is there already and is not as `jsocketd setup` writes it. Move it away, or take from it \
                         what you have added, and run `jsocketd setup` again",
                        path.display()
                    ));
                }
                (Entry::file(wanted, *rights), made)
            }
            (Want::Lines(_, hunks, shown), Some(Entry::File { text, rights, .. })) => {
                let after = edit::apply(text, &hunks)?;
                if after == *text {
                    return Ok(None);
                }
                context = shown;
                let (path, hunks) = (path.clone(), hunks.iter().map(Hunk::without_place).collect());
                (Entry::file(after, *rights), Made::Lines { path, hunks })
            }
            (_, there) => {
                let what = match there {
                    Some(Entry::Link(to)) => format!("a symbolic link to {}", to.display()),
                    Some(Entry::Folder(_)) => "a folder".to_owned(),
                    Some(Entry::File { .. }) => "a file".to_owned(),
                    None => "nothing".to_owned(),
                };
                return Err(format!(
                    "{} is {what}, which `jsocketd setup` did not make",
                    path.display()
                ));
            }
        };
        self.own.note(made);
        Ok(Some(Change {
            path,
            before,
            after: Some(after),
            context: Some(context),
        }))
    }

    /// The changes that take everything of this instance away again, the last thing first, and sentences about what is
    /// left and why.
    ///
    /// # Errors
    /// A path cannot be read; the sentence names it.
    pub fn plan_removal(&self) -> Result<(Vec<Change>, Vec<String>), String> {
        let (mut changes, mut left) = (Vec::new(), Vec::new());
        for made in self.own.made.iter().rev() {
            let path = made.path();
            // The record goes when all else is gone, but before its folder.
            if self.path.starts_with(path) {
                changes.extend(self.change(None)?);
            }
            let shown = path.display();
            if self.others.iter().any(|other| {
                other
                    .find(path)
                    .is_some_and(|other| !matches!(other, Made::Lines { .. }))
            }) {
                continue;
            }
            let before = Entry::at(path).map_err(|why| format!("{shown} cannot be read: {why}"))?;
            let after = match (made, &before) {
                (_, None) => continue,
                (Made::Folder { .. }, Some(Entry::Folder(_))) if will_be_empty(path, &changes) => None,
                (Made::Folder { .. }, Some(Entry::Folder(_))) => {
                    left.push(format!("{shown} stays: it has other files"));
                    continue;
                }
                (Made::Link { to, .. }, Some(Entry::Link(there))) if to == there => None,
                (Made::File { sha256, .. }, Some(Entry::File { text, .. })) if sha256.contains(&checksum(text)) => None,
                (Made::Lines { hunks, .. }, Some(Entry::File { text, rights, .. })) => {
                    let (after, kept) = edit::undo(text, hunks);
                    left.extend(
                        kept.iter()
                            .map(|line| format!("{shown} has been changed since: look for `{}` in it", line.trim())),
                    );
                    if after == *text {
                        continue;
                    }
                    Some(Entry::file(after, *rights))
                }
                _ => {
                    left.push(format!(
                        "{shown} stays: it has been changed since `jsocketd setup` made it"
                    ));
                    continue;
                }
            };
            let context = match made {
                Made::Lines { hunks, .. } if hunks.iter().any(Hunk::replaces) => Some(0),
                Made::Lines { .. } => Some(3),
                _ => None,
            };
            changes.push(Change {
                path: path.to_owned(),
                before,
                after,
                context,
            });
        }
        if !changes.iter().any(|change| change.path == self.path) {
            changes.extend(self.change(None)?);
        }
        Ok((changes, left))
    }

    /// The changes that take away what a run has left that was killed before it had a record.
    ///
    /// # Errors
    /// A path cannot be read; the sentence names it.
    pub fn plan_cleaning(&self) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        let unfinished = super::change::unfinished(&self.path).map_err(|why| why.to_string())?;
        let folder = self.path.parent().unwrap_or(&self.path).to_owned();
        for path in [unfinished, folder] {
            let before = Entry::at(&path).map_err(|why| format!("{} cannot be read: {why}", path.display()))?;
            // An empty folder alone may be a package's.
            let goes = match &before {
                Some(Entry::File { .. }) => true,
                Some(Entry::Folder(_)) => !changes.is_empty() && will_be_empty(&path, &changes),
                _ => false,
            };
            if goes {
                changes.push(Change {
                    path,
                    before,
                    after: None,
                    context: None,
                });
            }
        }
        Ok(changes)
    }

    /// Removes what a killed run has left beside the places of our files.
    ///
    /// # Errors
    /// A sentence that names the path.
    pub fn sweep(&self) -> Result<(), String> {
        let paths = self.own.made.iter().map(Made::path).chain([self.path.as_path()]);
        for path in paths {
            super::change::discard(path)
                .map_err(|why| format!("what is left of an earlier run at {}: {why}", path.display()))?;
        }
        Ok(())
    }

    /// The changes that write the record, or with `None` take it away. They come before all changes that it is about,
    /// or after their removal.
    ///
    /// # Errors
    /// The record cannot be read or written as text; a sentence.
    pub fn change(&self, manifest: Option<&Manifest>) -> Result<Vec<Change>, String> {
        let say = |why: &dyn std::fmt::Display| format!("{}: {why}", self.path.display());
        let before = Entry::at(&self.path).map_err(|why| say(&why))?;
        let after = match manifest {
            None => None,
            Some(manifest) => {
                let rights = Rights {
                    mode: 0o600,
                    ..Rights::PUBLIC
                };
                let text = serde_json::to_string_pretty(manifest).map_err(|why| say(&why))? + "\n";
                Some(Entry::file(text, rights))
            }
        };
        if let (Some(Entry::File { text, .. }), Some(Entry::File { text: new, .. })) = (&before, &after)
            && text == new
        {
            return Ok(Vec::new());
        }
        Ok(vec![Change {
            path: self.path.clone(),
            before,
            after,
            context: None,
        }])
    }
}

impl Manifest {
    fn find(&self, path: &Path) -> Option<&Made> {
        self.made.iter().find(|made| made.path() == path)
    }

    /// Adds to the record, or to what it has about the path.
    fn note(&mut self, new: Made) {
        self.version = VERSION;
        let Some(old) = self.made.iter_mut().find(|made| made.path() == new.path()) else {
            self.made.push(new);
            return;
        };
        match (old, new) {
            (Made::File { sha256: old, .. }, Made::File { sha256: new, .. }) => add(old, new),
            (Made::Lines { hunks: old, .. }, Made::Lines { hunks: new, .. }) => add(old, new),
            (old, new) => *old = new,
        }
    }
}

fn add<T: PartialEq>(old: &mut Vec<T>, new: Vec<T>) {
    for item in new {
        if !old.contains(&item) {
            old.push(item);
        }
    }
}

fn load(path: &Path) -> Result<Option<Manifest>, String> {
    let text = match fs::read(path) {
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        text => text.map_err(|why| format!("{} cannot be read: {why}", path.display()))?,
    };
    // What stands in the record is removed by root, so nobody else may write it.
    for path in path.ancestors().take(2) {
        let found = path
            .symlink_metadata()
            .map_err(|why| format!("{}: {why}", path.display()))?;
        if found.uid() != 0 && found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 || found.is_symlink() {
            return Err(format!(
                "{} is not root's own, so `jsocketd setup` does not believe what stands in it",
                path.display()
            ));
        }
    }
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|why| format!("{} is not the record of `jsocketd setup`: {why}", path.display()))?;
    match manifest.version {
        VERSION => Ok(Some(manifest)),
        other => Err(format!(
            "{} has the version {other}, and this jsocketd knows only version {VERSION}",
            path.display()
        )),
    }
}

/// Whether nothing is in the folder but what the changes remove, and what a killed run has left, which is swept before.
fn will_be_empty(folder: &Path, changes: &[Change]) -> bool {
    let goes = |path: &Path| {
        is_unfinished(path)
            || changes
                .iter()
                .any(|change| change.path == path && change.after.is_none())
    };
    fs::read_dir(folder).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| goes(&entry.path()))))
}

fn checksum(text: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}
