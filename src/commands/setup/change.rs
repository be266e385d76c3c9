//! Changes of the file system: what stands at a path before and after, shown as a diff, applied in order, and put back
//! in reverse order when one of them fails.
//!
//! A file is written beside its place and renamed, so that no reader meets half of it, and a run that is killed leaves
//! each file as it was or as it is to be. No symbolic link is followed: a link is an entry of its own.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use similar::TextDiff;

/// The largest file that is read. Configuration files have some kilobytes.
const LARGEST_FILE: u64 = 8 << 20;

/// The end of the name of a file that is not in its place yet. Its name begins with a dot, so that no pattern of a web
/// server includes it.
const UNFINISHED: &str = ".jsocketd-setup";

/// Permission bits, user id and group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Permission bits.
    pub mode: u32,
    /// The user's id.
    pub user: u32,
    /// The group's id.
    pub group: u32,
}

impl Rights {
    /// Of a file that everybody may read and root may write.
    pub const PUBLIC: Self = Self {
        mode: 0o644,
        user: 0,
        group: 0,
    };
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// Its bytes.
        text: Vec<u8>,
        /// Its owner and mode.
        rights: Rights,
        /// When it was changed last; `None`: now.
        modified: Option<SystemTime>,
    },
    /// A symbolic link.
    Link(PathBuf),
    /// A folder.
    Folder(Rights),
}

impl Entry {
    /// Reads what stands at a path; `None`: nothing.
    ///
    /// # Errors
    /// It cannot be read, is neither a file nor a link nor a folder, or is larger than a configuration file can be.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        let found = match path.symlink_metadata() {
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            found => found?,
        };
        let rights = Rights {
            mode: found.mode() & 0o7777,
            user: found.uid(),
            group: found.gid(),
        };
        let kind = found.file_type();
        if kind.is_symlink() {
            return path.read_link().map(|to| Some(Self::Link(to)));
        }
        if kind.is_dir() {
            return Ok(Some(Self::Folder(rights)));
        }
        if !kind.is_file() || found.len() > LARGEST_FILE {
            return Err(io::Error::other("it is no regular file, or a very large one"));
        }
        Ok(Some(Self::File {
            text: fs::read(path)?,
            rights,
            modified: Some(found.modified()?),
        }))
    }

    /// A new file.
    pub fn file(text: impl Into<Vec<u8>>, rights: Rights) -> Self {
        let (text, modified) = (text.into(), None);
        Self::File { text, rights, modified }
    }

    fn text(&self) -> &[u8] {
        match self {
            Self::File { text, .. } => text,
            Self::Link(_) | Self::Folder(_) => &[],
        }
    }
}

/// A change of one path.
#[derive(Clone, Debug)]
pub struct Change {
    /// The path, absolute.
    pub path: PathBuf,
    /// What stands there; `None`: nothing.
    pub before: Option<Entry>,
    /// What is to stand there; `None`: nothing.
    pub after: Option<Entry>,
    /// How many unchanged lines the diff shows around the changed ones: none where secrets may be near. `None`: no
    /// diff is shown, only the path.
    pub context: Option<usize>,
}

impl fmt::Display for Change {
    /// A unified diff, or one line for links and folders.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (&self.before, &self.after) {
            (_, Some(Entry::Link(to))) => return writeln!(f, "+ link {path} -> {}", to.display()),
            (Some(Entry::Link(to)), None) => return writeln!(f, "- link {path} -> {}", to.display()),
            (_, Some(Entry::Folder(rights))) => return writeln!(f, "+ folder {path} (mode {:04o})", rights.mode),
            (Some(Entry::Folder(_)), None) => return writeln!(f, "- folder {path}"),
            _ => {}
        }
        let Some(context) = self.context else {
            let sign = if self.after.is_some() { '+' } else { '-' };
            return writeln!(f, "{sign} file {path}");
        };
        let name = |entry: &Option<Entry>| match entry {
            Some(_) => path.to_string(),
            None => "/dev/null".to_owned(),
        };
        let text = |entry: &Option<Entry>| shown(entry.as_ref().map_or(&[][..], Entry::text));
        let (before, after) = (text(&self.before), text(&self.after));
        let diff = TextDiff::from_lines(&before, &after);
        let mut diff = diff.unified_diff();
        diff.context_radius(context)
            .header(&name(&self.before), &name(&self.after))
            .fmt(f)
    }
}

/// The text without characters that a terminal would obey.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .filter(|c| *c != '\r')
        .map(|c| if is_shown(c) { c } else { char::REPLACEMENT_CHARACTER })
        .collect()
}

/// Makes all changes, or none.
///
/// # Errors
/// A sentence that names the path. What had been changed is as it was before.
pub fn apply(changes: &[Change]) -> Result<(), String> {
    for (number, change) in changes.iter().enumerate() {
        if let Err(why) = change.apply() {
            let path = change.path.display();
            return Err(match put_back(&changes[..number]) {
                Ok(()) => format!("{path} cannot be written: {why}; nothing was changed"),
                Err(worse) => format!("{path} cannot be written: {why}; {worse}"),
            });
        }
    }
    Ok(())
}

/// Undoes changes, the last one first.
///
/// # Errors
/// A sentence that names each path that is not as it was.
pub fn put_back(changes: &[Change]) -> Result<(), String> {
    let failed: Vec<String> = changes
        .iter()
        .rev()
        .filter_map(|change| {
            let why = put(&change.path, change.before.as_ref()).err()?;
            Some(format!("{} is not as it was: {why}", change.path.display()))
        })
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ")),
    }
}

impl Change {
    fn apply(&self) -> io::Result<()> {
        if Entry::at(&self.path)? != self.before {
            return Err(io::Error::other("it has changed at this moment"));
        }
        put(&self.path, self.after.as_ref())
    }
}

/// Makes `entry` stand at the path.
fn put(path: &Path, entry: Option<&Entry>) -> io::Result<()> {
    let unfinished = unfinished(path)?;
    let there = path.symlink_metadata().ok();
    let is_folder = there.as_ref().is_some_and(fs::Metadata::is_dir);
    match entry {
        None if is_folder => fs::remove_dir(path),
        None if there.is_some() => fs::remove_file(path),
        None => Ok(()),
        Some(Entry::Folder(_)) if is_folder => Ok(()),
        Some(Entry::Folder(rights)) => {
            fs::create_dir(path)?;
            set_rights(&File::open(path)?, *rights)
        }
        Some(Entry::Link(to)) => {
            discard(path)?;
            symlink(to, &unfinished)?;
            fs::rename(&unfinished, path)
        }
        Some(Entry::File { text, rights, modified }) => {
            discard(path)?;
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&unfinished)?;
            let written = file
                .write_all(text)
                .and_then(|()| set_rights(&file, *rights))
                .and_then(|()| modified.map_or(Ok(()), |time| file.set_modified(time)))
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&unfinished, path));
            if written.is_err() {
                discard(path)?;
            }
            written
        }
    }
}

fn set_rights(file: &File, rights: Rights) -> io::Result<()> {
    let found = file.metadata()?;
    if (found.uid(), found.gid()) != (rights.user, rights.group) {
        fchown(file, Some(rights.user), Some(rights.group))?;
    }
    file.set_permissions(Permissions::from_mode(rights.mode))
}

/// Where a file is written before it is renamed to its path.
///
/// # Errors
/// The path has no name, which is a bug.
pub fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(UNFINISHED);
    Ok(path.with_file_name(hidden))
}

/// Whether this is the name of a file that a killed run has left.
pub fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with('.') && name.ends_with(UNFINISHED)
}

/// Removes what a killed run has left beside this path.
///
/// # Errors
/// It is there and cannot be removed.
pub fn discard(path: &Path) -> io::Result<()> {
    match fs::remove_file(unfinished(path)?) {
        Err(why) if !matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(why),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rights of this process's files.
    fn mine(folder: &Path, mode: u32) -> Rights {
        let found = folder.metadata().unwrap();
        Rights {
            mode,
            user: found.uid(),
            group: found.gid(),
        }
    }

    fn change(path: &Path, after: Option<Entry>) -> Change {
        Change {
            path: path.into(),
            before: Entry::at(path).unwrap(),
            after,
            context: Some(1),
        }
    }

    #[test]
    fn all_changes_are_made_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("old"), "one\n").unwrap();
        fs::set_permissions(at("old"), Permissions::from_mode(0o604)).unwrap();
        let before = Entry::at(&at("old")).unwrap();
        let mut changes = vec![
            change(&at("inner"), Some(Entry::Folder(mine(folder.path(), 0o750)))),
            change(&at("inner/new"), Some(Entry::file("new", mine(folder.path(), 0o640)))),
            change(&at("old"), Some(Entry::file("two\n", mine(folder.path(), 0o604)))),
            change(&at("link"), Some(Entry::Link("old".into()))),
        ];
        apply(&changes).unwrap();
        assert_eq!(fs::read_to_string(at("link")).unwrap(), "two\n");
        assert_eq!(at("old").metadata().unwrap().mode() & 0o777, 0o604);
        assert_eq!(at("inner/new").metadata().unwrap().mode() & 0o777, 0o640);
        put_back(&changes).unwrap();
        assert_eq!(
            Entry::at(&at("old")).unwrap(),
            before,
            "with the time of its last change"
        );
        assert!(!at("inner").exists() && !at("link").exists());

        changes.push(change(
            &at("no/folder"),
            Some(Entry::file("", mine(folder.path(), 0o640))),
        ));
        let why = apply(&changes).unwrap_err();
        assert!(
            why.contains("no/folder cannot be written") && why.ends_with("nothing was changed"),
            "{why}"
        );
        assert_eq!(Entry::at(&at("old")).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_file_that_has_changed_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let change = change(&path, Some(Entry::file("ours", mine(folder.path(), 0o600))));
        fs::write(&path, "theirs").unwrap();
        assert!(apply(&[change]).is_err());
        assert_eq!(fs::read_to_string(path).unwrap(), "theirs");
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, link) = (folder.path().join("secret"), folder.path().join("link"));
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, unfinished(&link).unwrap()).unwrap();
        symlink(&secret, &link).unwrap();
        apply(&[change(&link, Some(Entry::file("ours", mine(folder.path(), 0o600))))]).unwrap();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(fs::read_to_string(&link).unwrap(), "ours");
    }

    #[test]
    fn a_change_is_shown_as_a_diff() {
        let file = |text: &str| Some(Entry::file(text, Rights::PUBLIC));
        let change = |before, after| Change {
            path: "/etc/x".into(),
            before,
            after,
            context: Some(1),
        };
        assert_eq!(
            change(file("a\nb\nc\nd\n"), file("a\nb\nc\nnew \x1b[31m\nd\n")).to_string(),
            "--- /etc/x\n+++ /etc/x\n@@ -3,2 +3,3 @@\n c\n+new \u{fffd}[31m\n d\n"
        );
        assert_eq!(
            change(None, file("a\n")).to_string(),
            "--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+a\n"
        );
        let link = Some(Entry::Link("../y".into()));
        assert_eq!(change(None, link.clone()).to_string(), "+ link /etc/x -> ../y\n");
        assert_eq!(change(link, None).to_string(), "- link /etc/x -> ../y\n");
    }
}
