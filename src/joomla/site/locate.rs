//! Finds a site's configuration.php through its files `defines.php`, and reads files of bounded length.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Stamp;
use crate::joomla::configuration::{self, Constants, LONGEST_FILE};

/// Finds configuration.php. It is in the root, unless a defines.php in the root or in includes/ moves it. The files are
/// read in the order of Joomla's index.php. If the place cannot be determined, a warning says so, and the root is used.
pub(super) fn locate(root: &Path, constants: &mut Constants, warnings: &mut Vec<String>) -> PathBuf {
    for name in ["JPATH_BASE", "JPATH_ROOT", "JPATH_SITE", "JPATH_PUBLIC"] {
        constants.assume(name, &real(root));
    }
    include(&root.join("defines.php"), constants, warnings);
    // The defines.php of a public folder (Joomla 5) names the real root. The files of the real root are read next.
    let mut base = root.to_owned();
    if let Some(Ok(moved)) = constants.defined("JPATH_ROOT") {
        let moved = PathBuf::from(std::ffi::OsStr::from_bytes(moved));
        if moved.is_absolute() && real(&moved) != real(&base) {
            include(&moved.join("defines.php"), constants, warnings);
            base = moved;
        }
    }
    include(&base.join("includes/defines.php"), constants, warnings);
    match constants.defined("JPATH_CONFIGURATION") {
        Some(Ok(folder)) => {
            let folder = Path::new(std::ffi::OsStr::from_bytes(folder));
            // A relative path starts in PHP's working directory, which is usually the root.
            let folder = root.join(folder);
            // Joomla's own defines.php names the root itself. Then the path of the root stays as it is configured: if
            // it is a symbolic link, the link may be moved to the next release.
            if real(&folder) != real(root) {
                base = folder;
            }
        }
        Some(Err(why)) => warnings.push(format!(
            "defines.php in {} moves configuration.php to where only PHP knows ({why}); {} is read instead",
            root.display(),
            base.join("configuration.php").display()
        )),
        None => {}
    }
    base.join("configuration.php")
}

/// Reads the constants of a file, if the file exists.
fn include(path: &Path, constants: &mut Constants, warnings: &mut Vec<String>) {
    match read_file(path) {
        Ok((text, _)) => {
            if let Err(bad) = configuration::constants(&text, &real(path), constants) {
                warnings.push(format!(
                    "{}, line {}: {}; it is left out",
                    path.display(),
                    bad.line,
                    bad.why
                ));
            }
        }
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        Err(why) => warnings.push(format!("{} cannot be read and is left out: {why}", path.display())),
    }
}

/// The path as PHP writes it: absolute, without symbolic links.
pub(super) fn real(path: &Path) -> PathBuf {
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.canonicalize().unwrap_or_else(|_| absolute())
}

/// Reads a regular file of bounded length. Other files are refused: opening a pipe would wait for its writer.
pub(super) fn read_file(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    let limit = LONGEST_FILE as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut text)?;
    Ok((text, Stamp::of(&metadata)))
}

/// A sentence that says why a file was not read and how to fix that.
pub(super) fn cannot_read(path: &Path, why: &io::Error) -> String {
    let path = path.display();
    match why.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            format!("there is no {path}; `root` in [joomla] must be the folder that the site's configuration.php is in")
        }
        io::ErrorKind::PermissionDenied => format!(
            "{path} cannot be read: permission denied. Let the user that runs jsocketd read it, for instance with \
             `setfacl -m u:jsocketd:r {path}` or with `chgrp jsocketd {path}` and `chmod 0640 {path}` if the web \
             server owns it; it must be able to enter the folders above, too (`setfacl -m u:jsocketd:x FOLDER`). Or \
             leave `root` in [joomla] empty and write the values into [joomla] and [database]"
        ),
        _ => format!("{path} cannot be read: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_do() {
        let path = Path::new("/srv/site/configuration.php");
        for (kind, words) in [
            (
                io::ErrorKind::NotFound,
                ["there is no /srv/site/configuration.php", "`root` in [joomla]"],
            ),
            (
                io::ErrorKind::PermissionDenied,
                ["setfacl -m u:jsocketd:r /srv/site/configuration.php", "chmod 0640"],
            ),
            (
                io::ErrorKind::TimedOut,
                ["/srv/site/configuration.php cannot be read", "timed out"],
            ),
        ] {
            let sentence = cannot_read(path, &kind.into());
            assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        }
    }
}
